"""The gap between pictures and sentences, and what the space's distances and directions mean: by temperature, and by what captions leave out.

The world `single` with captions of size, colour and shape; small models from the same starts. The control that knows nothing is the untrained
model; each measure has its own control besides (other pictures of the same things, shuffled rows, no direction). Lesson 14 shows them.
"""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from lessons.experiments import Condition, Experiment, Params
from tinyclip.bundle import Bundle
from tinyclip.config import CLIPConfig, TrainConfig
from tinyclip.data import WorldSource
from tinyclip.evaluate import alignment, draw_bytes, modality_gap, recalls, uniformity
from tinyclip.geometry import analogies, analogy_accuracy, close_gap, one_hot_factors, representational_similarity
from tinyclip.losses import contrastive_loss
from tinyclip.train import initial_state, make_model, make_step
from tinyclip.world import World, get_world

FACTORS = {"size": [0], "colour": [1], "shape": [2], "place": [3, 4]}  # columns of `meaning`; no caption here tells the place
SETS = 8  # pictures of each thing
SHARES = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)  # of the gap that is closed
SHUFFLES = 100
RUN = {"steps": 600, "batch_size": 64, "learning_rate": 4e-3, "warmup": 40, "weight_decay": 0.3}


@cache
def world(vague: float = 0.0) -> World:
    """`single`, where every caption tells size, colour and shape; `vague` is the weight of each of four templates that leave something out."""
    single = get_world("single")
    short = ("a {colour} {shape}", "a {size} {shape}", "a {shape}", "something {colour}")
    slots = {name: single.grammar.slots[name] for name in ("size", "colour", "shape")}
    templates = (("a {size} {colour} {shape}", 1.0), *((text, vague) for text in short))
    return replace(single, grammar=replace(single.grammar, slots=slots, templates=templates))


def config() -> CLIPConfig:
    """The same for all conditions."""
    tokenizer = world().tokenizer()
    text = {"depth": 1, "vocab": tokenizer.vocab, "context": world().context, "end_token": tokenizer.end}
    return CLIPConfig.preset("nano", image={"mean": world().mean, "std": world().std}, text=text)


def start(seed: int = 0) -> Params:
    """The state before training: one for all conditions of a seed."""
    return initial_state(config(), TrainConfig(**RUN, seed=seed))


def train(seed: int, scale: float | None = None, vague: float = 0.0) -> Params:
    """Parameters after training, with the scale learned as usual or put back to a fixed one after every step."""
    run = TrainConfig(**RUN, seed=seed)
    step, source = make_step(config(), run), WorldSource(world(vague), config(), run)

    def hold(state: Params) -> Params:
        if scale is not None:
            state.params["log_logit_scale"][...] = jnp.log(jnp.float32(scale))
        return state

    def one(state: Params, number: jax.Array) -> tuple[Params, None]:
        return hold(step(state, source.batch(number))[0]), None

    return jax.jit(lambda state: jax.lax.scan(one, hold(state), jnp.arange(run.steps))[0])(start(seed)).params


@cache
def things() -> tuple[np.ndarray, np.ndarray]:
    """All 128 meanings in `SETS` places each, (SETS, 128, 5), the held-out ones among them, and a new picture of each."""
    told = np.unique(np.concatenate([world().seen, world().held_out])[:, :3], axis=0)
    place = np.random.default_rng(14).integers(0, 3, (SETS, len(told), 2))
    meaning = np.concatenate([np.broadcast_to(told, (SETS, *told.shape)), place], axis=-1)
    pictures = draw_bytes(world(), world().dress(jax.random.key(14), meaning.reshape(-1, 5)), config().image.size)
    return meaning, pictures.reshape(*meaning.shape[:2], *pictures.shape[1:])


def bundle(params: Params) -> Bundle:
    """A condition's parameters as a model to use."""
    return Bundle(make_model(config(), params), world().tokenizer())


def embed(bundle: Bundle) -> tuple[np.ndarray, np.ndarray, float]:
    """Embeddings of the pictures (SETS, 128, E) and of their captions (128, E), and the scale."""
    meaning, pictures = things()
    images = bundle.embed_images(pictures.reshape(-1, *pictures.shape[2:]))
    texts = bundle.embed_texts([world().grammar.describe(row) for row in meaning[0]])
    return images.reshape(*pictures.shape[:2], -1), texts, float(bundle.model.logit_scale)


def score(params: Params) -> dict[str, float]:
    """Every number of the lesson, for one model."""
    images, texts, scale = embed(bundle(params))
    return gap_scores(images, texts, scale) | similarity_scores(images, texts) | analogy_scores(images, texts)


def gap_scores(images: np.ndarray, texts: np.ndarray, scale: float) -> dict[str, float]:
    """The gap and its control, and what moving the two sets together does to search and to the loss."""
    flat = images.reshape(-1, images.shape[-1])
    own = np.tile(np.eye(len(texts), dtype=bool), (SETS, 1))  # (SETS · 128, 128)
    scores = {
        "scale": scale,
        "gap": modality_gap(flat, texts),
        "gap between two sets of pictures": modality_gap(*images.reshape(2, -1, images.shape[-1])),
        "alignment": alignment(flat, np.tile(texts, (SETS, 1))),
        "uniformity, pictures": float(np.mean([uniformity(part) for part in images])),
        "uniformity, captions": uniformity(texts),
    }
    for share in SHARES:
        moved, to = close_gap(flat, texts, share)
        found = recalls(moved, to, own)
        scores[f"picture to caption, share {share:g}"] = found["image_to_text_recall_at_1"]
        scores[f"caption to picture, share {share:g}"] = found["text_to_image_recall_at_1"]
        scores[f"gap, share {share:g}"] = modality_gap(moved, to)
        parts = moved.reshape(images.shape)
        scores[f"loss, share {share:g}"] = float(np.mean([contrastive_loss(jnp.asarray(part), jnp.asarray(to), scale) for part in parts]))
    return scores


def similarity_scores(images: np.ndarray, texts: np.ndarray) -> dict[str, float]:
    """Representational similarity of pictures, captions and the world's factors; the control shuffles which thing is which."""
    meaning, rng = things()[0][0], np.random.default_rng(0)
    factors = {name: one_hot_factors(meaning[:, columns]) for name, columns in FACTORS.items()}
    factors["size, colour and shape"] = one_hot_factors(meaning[:, :3])
    scores = {"pictures ~ captions": representational_similarity(images[0], texts)}
    scores["pictures ~ other pictures of the same"] = representational_similarity(images[0], images[1])
    for name, points in factors.items():
        scores[f"pictures ~ {name}"] = representational_similarity(images[0], points)
        scores[f"captions ~ {name}"] = representational_similarity(texts, points)
    shuffled = [representational_similarity(images[0], rng.permutation(texts)) for _ in range(SHUFFLES)]
    return scores | {"pictures ~ captions, shuffled: mean": float(np.mean(shuffled)), "pictures ~ captions, shuffled: most": max(shuffled)}


def analogy_scores(images: np.ndarray, texts: np.ndarray) -> dict[str, float]:
    """All analogies in size, colour and shape: among captions, among pictures, and directions of captions added to pictures."""
    rng, rows = np.random.default_rng(0), np.concatenate([analogies(things()[0][0][:, :3], factor) for factor in range(3)])
    first, second, shuffled = images[0], images[1], rng.permutation(texts)
    ways = {
        "captions": (texts, texts, texts),
        "pictures": (first, first, second),
        "caption's direction, picture to picture": (texts, first, second),
        "caption's direction, picture to caption": (texts, first, texts),
        "captions, shuffled directions": (shuffled, texts, texts),
        "captions, no direction": (np.zeros_like(texts), texts, texts),
        "picture to picture, shuffled directions": (shuffled, first, second),
        "picture to picture, no direction": (np.zeros_like(texts), first, second),
    }
    scores = {"analogies": len(rows)}
    for name, spaces in ways.items():
        scores[f"analogy: {name}"] = analogy_accuracy(*spaces, rows)
        scores[f"analogy: {name}, nothing excluded"] = analogy_accuracy(*spaces, rows, exclude=False)
    return scores


def _condition(name: str, **how: float) -> Condition:
    return Condition(name, partial(train, **how), score, lambda: start().params)


EXPERIMENT = Experiment(
    "gap",
    "Where does the gap between pictures and sentences come from, what does closing it do, and what do distances and directions mean?",
    (
        Condition("untrained", lambda seed: start(seed).params, score, lambda: start().params),
        _condition("learned scale"),
        _condition("scale 5", scale=5.0),
        _condition("scale 15", scale=15.0),
        _condition("scale 50", scale=50.0),
        _condition("vague captions", vague=0.15),
    ),
)
