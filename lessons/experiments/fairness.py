"""In a collection of pictures, red things are circles 95 % of the time. Whom does that harm, what repairs it, and at what price?

The world is `sixteen` (4 colours x 4 shapes), one large thing near the middle, seen through a bad camera: 16 pixels a side and strong grain.
A colour is then mostly plain and a shape often in doubt, and where it is in doubt "red, so a circle" is the best guess on pictures like those in
training: the harm is no matter of training too little, and the control is the same training on the same number of pictures, all kinds even.

Data are a fixed collection, as in life, not fresh pictures every step: to show a small group more often is to repeat its few pictures.
A quarter of the things are red. In the biased collection 95 % of the red ones are circles, and the other three shapes share the rest; each other
colour has all four shapes equally often. So 95 % of red things are circles, and of circles 56 % are red. Lesson 15 shows what came out.
"""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lessons.experiments import Condition, Experiment, Params
from tinyclip.bundle import Bundle
from tinyclip.clip import CLIP
from tinyclip.config import CLIPConfig, TrainConfig
from tinyclip.data import Batch, normalise
from tinyclip.evaluate import draw_bytes
from tinyclip.fairness import balanced_chances, equalised_odds, gap, group_accuracies
from tinyclip.train import make_model
from tinyclip.train import train as train_steps
from tinyclip.world import World, get_world
from tinyclip.world.scene import COLOURS, Scenes

KINDS = 4  # colours, and shapes
GROUPS = ("red circles", "other red things", "other circles", "all others")
SIZE, GRAIN = 16, 0.45  # pixels a side; standard deviation of the grain, where white is 1
PICTURES, EACH = 4000, 250  # in a collection; and of each colour and shape in the test
MORE = 5 * PICTURES  # in a large collection
RUN = {"steps": 400, "batch_size": 64, "learning_rate": 3e-3, "warmup": 20, "weight_decay": 0.1, "chunk": 50}
TEMPLATES = (("a {colour} {shape}", 2), ("a {shape}", 3), ("something {colour}", 1))


def draw_grainy(scenes: Scenes, size: int) -> tuple[jax.Array, jax.Array]:
    """The world's pictures with grain, which is a function of `looks` like all else that no caption tells."""
    pictures, masks = get_world("sixteen").draw(scenes, size)

    def grain(looks: jax.Array) -> jax.Array:
        high, low = (part @ jnp.asarray([65536, 256, 1]) for part in (looks[:3], looks[3:]))
        return jax.random.normal(jax.random.fold_in(jax.random.key(high), low), (size, size, 3))

    return jnp.clip(pictures + GRAIN * jax.vmap(grain)(jnp.asarray(scenes.looks)), 0, 1), masks


@cache
def world(biased: bool) -> World:
    """Its meanings are drawn evenly from rows, so rows that are repeated make the bias."""
    sixteen = get_world("sixteen")
    rows = sixteen.seen[(sixteen.seen[:, 0] == 1) & (sixteen.seen[:, 3:] == 1).all(1)]  # large, in the middle: one row a colour and shape
    red, circle = rows[:, 1] == 0, rows[:, 2] == 0
    times = np.where(red & circle, 57, np.where(red, 1, 15)) if biased else 1  # 57 of 57 + 3 is 95 %; every colour has 60
    return replace(sixteen, seen=np.repeat(rows, times, axis=0), grammar=replace(sixteen.grammar, templates=TEMPLATES), render=draw_grainy)


def config() -> CLIPConfig:
    """The same for all conditions."""
    tokenizer, context = world(True).tokenizer(), world(True).context
    image = {"size": SIZE, "width": 48, "depth": 1, "mlp": 192, "mean": (0.7, 0.7, 0.7), "std": (0.35, 0.35, 0.35)}
    text = {"width": 32, "depth": 1, "mlp": 128, "vocab": tokenizer.vocab, "context": context, "end_token": tokenizer.end}
    return CLIPConfig.preset("nano", image=image, text=text)


def groups_of(meaning: np.ndarray) -> np.ndarray:
    """0 to 3, as in GROUPS."""
    return 2 * (meaning[:, 1] != 0) + (meaning[:, 2] != 0)


def kinds_of(meaning: np.ndarray) -> np.ndarray:
    """0 to 15: which colour with which shape."""
    return KINDS * meaning[:, 1] + meaning[:, 2]


class Collection:
    """Batches from a fixed collection of pictures, each drawn with its own chance; captions are fresh.

    With `swapped`, a batch has twice as many texts: for every picture, one more of its colour and of another shape.
    """

    def __init__(self, biased: bool, run: TrainConfig, balanced: bool = False, swapped: bool = False, pictures: int = PICTURES) -> None:
        scenes = world(biased).sample(jax.random.key(15_000 + run.seed), pictures)
        self.pictures, self.meaning = draw_bytes(world(biased), scenes, SIZE), np.asarray(scenes.meaning)
        self.chances = balanced_chances(kinds_of(self.meaning)) if balanced else np.full(pictures, 1 / pictures)
        self.run, self.world, self.swapped = run, world(biased), swapped

    def inputs(self, start: int, stop: int) -> dict[str, np.ndarray]:
        steps, size = np.arange(start, stop), self.run.batch_size
        rows = np.stack([np.random.default_rng((self.run.seed, step)).choice(len(self.pictures), size, p=self.chances) for step in steps])
        return {"pictures": self.pictures[rows], "meaning": self.meaning[rows], "step": steps}

    def batch(self, inputs: dict[str, jax.Array]) -> Batch:
        keys, meaning = jax.random.split(jax.random.fold_in(jax.random.key(self.run.seed), inputs["step"]), 3), inputs["meaning"]
        tokens, said = self.world.caption(keys[0], meaning)
        if self.swapped:
            shape = (meaning[:, 2] + jax.random.randint(keys[1], (len(meaning),), 1, KINDS)) % KINDS
            other = self.world.caption(keys[2], meaning.at[:, 2].set(shape))
            tokens, said = jnp.concatenate([tokens, other.tokens]), jnp.concatenate([said, other.said])
        return Batch(normalise(inputs["pictures"].astype(jnp.float32) / 255, config().image), tokens, self.world.true_of(said, meaning))


def train(seed: int, **how: bool | int) -> Params:
    """Parameters after training; `how` is that of `Collection`."""
    run = TrainConfig(**RUN, seed=seed)
    *_, last = train_steps(config(), run, Collection(run=run, **how))
    return last.state.params


@cache
def new_pictures() -> tuple[np.ndarray, np.ndarray]:
    """Meanings and pictures of the test: new ones, as many of every colour and shape."""
    meaning = np.repeat(world(False).seen, EACH, axis=0)
    return meaning, draw_bytes(world(False), world(False).dress(jax.random.key(15), meaning), SIZE)


def answers(params: Params, template: str = "a {shape}", given: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    """For every picture of the test, or those given, the shape (0 to 3) whose sentence is nearest; a colour in the template is the picture's own."""
    bundle, (meaning, pictures) = Bundle(make_model(config(), params), world(True).tokenizer()), given or new_pictures()
    rows = world(False).seen  # all colours and shapes, in the order of `kinds_of`
    sentences = bundle.embed_texts([world(True).grammar.describe(row, template) for row in rows]).reshape(KINDS, KINDS, -1)
    return np.einsum("be,bse->bs", bundle.embed_images(pictures), sentences[meaning[:, 1]]).argmax(1)


def colours(params: Params) -> float:
    """The share of pictures of the test whose colour is named right."""
    bundle, (meaning, pictures) = Bundle(make_model(config(), params), world(True).tokenizer()), new_pictures()
    sentences = bundle.embed_texts([f"something {name}" for name in list(COLOURS)[:KINDS]])
    return float(((bundle.embed_images(pictures) @ sentences.T).argmax(1) == meaning[:, 1]).mean())


def score(params: Params) -> dict[str, float]:
    """Every number of the lesson's table, for one model."""
    (meaning, _), said = new_pictures(), answers(params)
    right = said == meaning[:, 2]
    by_group = group_accuracies(right, groups_of(meaning), len(GROUPS))
    by_kind = group_accuracies(right, kinds_of(meaning), KINDS * KINDS)
    given = group_accuracies(answers(params, "a {colour} {shape}") == meaning[:, 2], groups_of(meaning), len(GROUPS))
    more_true, more_false = equalised_odds(said == 0, meaning[:, 2] == 0, meaning[:, 1] == 0)
    shares = np.bincount(kinds_of(world(True).seen)) / len(world(True).seen)
    return {
        **dict(zip(GROUPS, by_group.tolist(), strict=True)),
        "gap": gap(by_group),
        "gap, colour said": gap(given),
        "true circles, red less others": more_true,
        "false circles, red less others": more_false,
        "all kinds even": float(by_kind.mean()),
        "kinds as in the biased collection": float(shares @ by_kind),
        "colour": colours(params),
    }


def _condition(name: str, **how: bool | int) -> Condition:
    return Condition(name, partial(train, **how), score, lambda: nnx.state(CLIP(config(), rngs=nnx.Rngs(0)), nnx.Param))


EXPERIMENT = Experiment(
    "fairness",
    "Red things are circles 95 % of the time: whom does that harm, what repairs it, and at what price?",
    (
        _condition("fair", biased=False),
        _condition("biased", biased=True),
        _condition("rebalanced", biased=True, balanced=True),
        _condition("biased with more pictures", biased=True, pictures=MORE),
        _condition("rebalanced with more pictures", biased=True, balanced=True, pictures=MORE),
        _condition("swapped captions", biased=True, swapped=True),
        _condition("rebalanced with swapped captions", biased=True, balanced=True, swapped=True),
    ),
)
