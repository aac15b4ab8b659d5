"""Video: does it matter to know the order of the frames, and does a second sense help where the first is noisy?

Three ways to pool a film's 8 frames: their mean; a small transformer over them; and, as a control, that transformer without position embeddings.
All see each frame through the frozen image tower of the pretrained model `sixteen`, and as a thumbnail of 4 x 4 pixels. The trained transformer is
also shown shuffled frames, and a single frame eight times. Half of all new films are the other half run backward, so what ignores order gets
exactly half of the directions.

`together` asks another question, which takes no training: films of all 64 things of the world `single`, and their sounds by the committed ear.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

import tinyclip
from lessons.experiments import Condition, Experiment, Params, senses, sound
from tinyclip.evaluate import recall_at_k
from tinyclip.senses import Sense, SenseEncoder, embed_sense
from tinyclip.senses.sound import log_mel_on_device, waveform
from tinyclip.senses.video import (
    FRAMES,
    MOTIONS,
    PIECE,
    THUMBNAIL,
    VideoCLIP,
    film,
    frame_features,
    learn,
    mean_direction,
    moving_world,
    paired_scenes,
)
from tinyclip.world.scene import Scenes

STEPS, BATCH, RATE = 1200, 64, 0.002
TRAINING = 4096  # films, the same for all conditions of a seed
EACH = 10  # new films of every sentence
FEATURES = 64 + 3 * THUMBNAIL**2  # of a frame: the tower's width and the thumbnail

_film = jax.jit(film)


@cache
def pretrained() -> tinyclip.Bundle:
    """The model that looks at single frames."""
    return tinyclip.load("sixteen")


def draw(scenes: Scenes) -> Float[np.ndarray, "B F S S 3"]:
    """Their films, drawn in pieces."""
    pieces = [Scenes(*(jnp.asarray(rows[i : i + PIECE]) for rows in scenes)) for i in range(0, len(scenes.meaning), PIECE)]
    return np.concatenate([np.asarray(_film(piece)) for piece in pieces])


@cache
def training_films(seed: int) -> tuple[Float[np.ndarray, "n F D"], np.ndarray]:
    """The frames' features of `TRAINING` films, and what they mean."""
    scenes = moving_world().sample(jax.random.key(seed), TRAINING)
    return frame_features(pretrained(), draw(scenes)), np.asarray(scenes.meaning)


@cache
def new_films(each: int = EACH) -> Float[np.ndarray, "B F S S 3"]:
    """Films of `paired_scenes`, `each` of every sentence, with backdrops that training never drew."""
    return draw(paired_scenes(each))


@cache
def new_features(each: int = EACH) -> Float[np.ndarray, "B F D"]:
    """The frames' features of `new_films`."""
    return frame_features(pretrained(), new_films(each))


def fresh(pool: str, seed: int = 0) -> Params:
    """Parameters before training."""
    return nnx.state(VideoCLIP(FEATURES, pool, rngs=nnx.Rngs(seed)), nnx.Param)


def model_of(pool: str, params: Params) -> VideoCLIP:
    """The model with these parameters."""
    model = nnx.eval_shape(lambda: VideoCLIP(FEATURES, pool, rngs=nnx.Rngs(0)))
    nnx.update(model, params)
    return model


def train(pool: str, seed: int) -> Params:
    """Parameters after training."""
    start = model_of(pool, jax.jit(fresh, static_argnums=(0, 1))(pool, seed))
    return nnx.state(learn(start, *training_films(seed), seed=seed, steps=STEPS, batch_size=BATCH, learning_rate=RATE)[0], nnx.Param)


@jax.jit(static_argnums=0)
def _encode(graph: nnx.GraphDef, params: Params, features: Float[Array, "B F D"]) -> Float[Array, "B E"]:
    return nnx.merge(graph, params).encode_video(features)


def embed_films(model: VideoCLIP, features: Float[np.ndarray, "B F D"]) -> Float[np.ndarray, "B E"]:
    """Unit vectors of films, given as their frames' features."""
    return np.asarray(_encode(*nnx.split(model), jnp.asarray(features)))


def embed_sentences(model: VideoCLIP) -> Float[np.ndarray, "M E"]:
    """Unit vectors of all sentences "a {colour} {shape} {motion}", in the order of `moving_world().seen`."""
    world = moving_world()
    return np.asarray(model.encode_text(world.tokenizer()([world.grammar.describe(row) for row in world.seen])))


def directions(similarity: Float[np.ndarray, "B M"]) -> float:
    """The share of films that are nearer to their own sentence than to that of the film run backward; films in the order of `new_films`."""
    rows, M = np.arange(len(similarity)), similarity.shape[1]
    own = rows // (len(rows) // M)
    return float((similarity[rows, own] > similarity[rows, own ^ 1]).mean())


def without_order(features: Float[np.ndarray, "B F D"]) -> dict[str, Float[np.ndarray, "B F D"]]:
    """The same films with their frames shuffled, and with one frame, taken at random, in the place of all."""
    rng, rows = np.random.default_rng(0), np.arange(len(features))[:, None]
    order = rng.permuted(np.tile(np.arange(FRAMES), (len(features), 1)), axis=1)
    return {"shuffled": features[rows, order], "one frame": features[rows, np.repeat(order[:, :1], FRAMES, axis=1)]}


def score(pool: str, params: Params) -> dict[str, float]:
    """Retrieval both ways, what of a sentence was right, and the direction when the order of the frames is destroyed."""
    model, films, seen = model_of(pool, params), new_features(), moving_world().seen
    texts = embed_sentences(model)
    similarity = embed_films(model, films) @ texts.T  # (B, M)
    true = np.repeat(np.eye(len(seen), dtype=bool), EACH, axis=0)
    meaning, named = np.repeat(seen, EACH, axis=0), seen[similarity.argmax(1)]
    scores = {
        "film to sentence": recall_at_k(similarity, true, 1),
        "sentence to film": recall_at_k(similarity.T, true.T, 1),
        "thing": (named[:, :2] == meaning[:, :2]).all(1).mean(),
        "axis": (named[:, 2] // 2 == meaning[:, 2] // 2).mean(),
        "direction": directions(similarity),
    }
    if pool == "transformer":
        scores |= {f"direction, {name}": directions(embed_films(model, each) @ texts.T) for name, each in without_order(films).items()}
    return scores


def condition(pool: str) -> Condition:
    """One way of pooling."""
    return Condition(pool, partial(train, pool), partial(score, pool), partial(fresh, pool))


EXPERIMENT = Experiment(
    "video",
    f"Can films of {len(MOTIONS)} motions be told from the mean of their frames, or does it take their order?",
    (condition("mean"), condition("transformer"), condition("no positions")),
)


# Two senses of one scene, in the space of the model `shapes`: both were made for it apart, and have never met.

TOGETHER = Experiment("film_with_sound", "Under noise in one of them, do film and sound together find more sentences than each alone?", ())
CASES = {  # spread of the noise on pixels (in 0..1) and on samples (in -1..1)
    "no noise": (0.0, 0.0),
    "noisy film": (0.12, 0.0),
    "noisy sound": (0.0, 0.02),
    "drowned sound": (0.0, 0.1),
}


@cache
def things(each: int) -> np.ndarray:
    """`each` of every colour and shape, held-out pairs too, as meanings of the world `single`; their sizes and places do not matter here."""
    return np.array([(0, colour, shape, 1, 1) for colour in range(8) for shape in range(8) for _ in range(each)])


@cache
def watch(noise: float, seed: int, each: int) -> Float[np.ndarray, "B E"]:
    """Films of these things in random motion, as the mean direction of their frames."""
    rng, meaning = np.random.default_rng(seed), things(each)
    moving = np.column_stack([meaning[:, 1:3], rng.integers(0, len(MOTIONS), len(meaning))])
    films = draw(moving_world().dress(jax.random.key(seed), moving))
    noisy = np.clip(films + noise * rng.standard_normal(films.shape, np.float32), 0, 1)
    frames = senses.bundle().embed_images((noisy.reshape(-1, *films.shape[2:]) * 255 + 0.5).astype(np.uint8))
    return np.asarray(mean_direction(frames.reshape(*films.shape[:2], -1)))


@cache  # one function for each noise, and so one program
def noisy(noise: float) -> Sense:
    """`sound.hear` with noise of this spread on the samples."""

    def heard(key: Array, meaning: Array) -> Float[Array, "B n c"]:
        sound_key, noise_key = jax.random.split(key)
        waves = waveform(sound_key, meaning)
        return log_mel_on_device(waves + noise * jax.random.normal(noise_key, waves.shape)) / 3  # as `sound.hear` has it

    return heard


def listen(ear: SenseEncoder, noise: float, seed: int, each: int) -> Float[np.ndarray, "B E"]:
    """The sounds of these things."""
    return embed_sense(ear, noisy(noise), things(each), seed)


def together(ear: SenseEncoder, film_noise: float, sound_noise: float, seed: int, each: int = 2) -> dict[str, float]:
    """The share that finds its sentence among 64, "a red circle" and so on: by eye, by ear, and by the mean direction of both."""
    sentences = senses.bundle().embed_texts([senses.WORLD.grammar.describe(row, "a {colour} {shape}") for row in things(each)[::each]])
    seen, heard = watch(film_noise, seed, each), listen(ear, sound_noise, seed, each)
    both = np.asarray(mean_direction(np.stack([seen, heard], axis=1)))
    true = np.repeat(np.eye(len(sentences), dtype=bool), each, axis=0)
    return {name: recall_at_k(vectors @ sentences.T, true, 1) for name, vectors in (("film", seen), ("sound", heard), ("both", both))}


if __name__ == "__main__":
    ear, results = senses.with_params(sound.ear, sound.EXPERIMENT.load("aligned")), {}
    for case, noise in CASES.items():
        for seed in range(3):
            scores = {name: round(value, 4) for name, value in together(ear, *noise, seed).items()}
            results.setdefault(case, {})[str(seed)] = scores
            print(f"{case} · draw {seed} · {scores}", flush=True)
    TOGETHER.write(results, "python -m lessons.experiments.video")
