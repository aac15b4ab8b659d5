"""A world = what can be (meanings), how it looks (draw), how it is said (grammar). Here are the four of them.

Everything outside this package knows a world only through `World`: sample scenes, draw them, caption them, ask what is true.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..compiling import on_cpu
from ..errors import UserError
from ..tokenizer import WordTokenizer, known_words
from .animals import draw_animals
from .caption import Grammar, GrammarTable, Spoken
from .draw import draw_things
from .grammars import ANIMALS, PAIRS, SINGLE, SIXTEEN
from .scene import ANY, Scenes, Things, place_pair, place_single
from .splits import animal_meanings, pair_meanings, pair_swaps, set_split, single_meanings, sixteen_meanings, turn_round

# How often a scene of two things is told from its right or lower thing. At one half, which thing comes first says nothing on its own: only
# together with the relation does it mean anything, and such a pure "exclusive or" takes gradient descent very long to notice.
TURNED = 0.25

# Where fewer scenes are wanted, so many are drawn: the first are the same, whatever their number, and one program a split serves all of them.
# `tinyclip train` had seven, each of which took a second to compile.
ALIKE = 32_768

Drawing = tuple[Float[Array, "B S S 3"], Float[Array, "B n S S"]]


@dataclass(frozen=True, eq=False)
class World:
    """One toy world. Arrays of scenes are `Scenes`; all sampling is a function of a key and jit-able. Lesson 02."""

    name: str
    grammar: Grammar
    seen: Int[np.ndarray, "M F"]  # every meaning that may occur in training, a row each
    held_out: Int[np.ndarray, "m F"]  # and those that never do; may be empty
    looks: int  # L, how many bytes describe the rest of a picture
    render: Callable[[Scenes, int], Drawing]
    turn: Callable | None = None  # the second reading of a meaning, where a scene has two
    swaps: Callable | None = None  # meaning (B, F) -> exact negatives (B, kinds, F)
    swap_names: tuple[str, ...] = ()  # one for each kind
    mean: tuple[float, float, float] = (0.84, 0.83, 0.83)  # of its pixels, by channel (a test measures them)
    std: tuple[float, float, float] = (0.17, 0.17, 0.18)

    @property
    def context(self) -> int:
        """T: tokens of the longest sentence, start and end included."""
        return self.grammar.longest + 2

    def tokenizer(self) -> WordTokenizer:
        """The word tokenizer of this world's grammar."""
        return WordTokenizer(self.grammar.words, self.context)

    @property
    def table(self) -> GrammarTable:
        return _table(self)

    def sample(self, key: Array, number: int, split: str = "train", held_out: bool = False) -> Scenes:
        """`number` random scenes: meanings drawn evenly from the seen (or the held-out) ones, looks from a split's share."""
        meanings = np.asarray(self.held_out if held_out else self.seen, np.int32)
        if isinstance(key, jax.core.Tracer):  # part of a larger program
            rows, looks = _sample(self, key, len(meanings), number, split)
            return Scenes(jnp.asarray(meanings)[rows[:, 0]], looks)
        rows, looks = map(np.asarray, _program()(self, key, len(meanings), max(number, ALIKE), split))
        return Scenes(jnp.asarray(meanings[rows[:number, 0]]), jnp.asarray(looks[:number]))

    def dress(self, key: Array, meaning: Int[Array | np.ndarray, "B F"], split: str = "test") -> Scenes:
        """Scenes with these meanings and random looks."""
        bytes_, backdrop = jax.random.split(key)
        looks = jax.random.randint(bytes_, (meaning.shape[0], self.looks), 0, 256, dtype=jnp.int32)
        return Scenes(meaning, set_split(backdrop, looks, split))

    def draw(self, scenes: Scenes, size: int = 32) -> Drawing:
        """Pictures (B, S, S, 3) in 0..1, and masks (B, n, S, S): how much of each pixel each thing covers."""
        return self.render(Scenes(*map(jnp.asarray, scenes)), size)

    def caption(self, key: Array, meaning: Int[Array | np.ndarray, "B F"]) -> Spoken:
        """A random true sentence for every scene: tokens (B, T), and what each says (B, F)."""
        if self.turn is not None:
            key, coin = jax.random.split(key)
            meaning = jnp.where(jax.random.bernoulli(coin, TURNED, (meaning.shape[0], 1)), self.turn(meaning), meaning)
        return self.table.sample(key, meaning)

    def true_of(self, said: Int[Array | np.ndarray, "M F"], meaning: Int[Array | np.ndarray, "B F"]) -> Bool[Array, "B M"]:
        """`[i, j]`: is what caption j says true of scene i? Exact: what a caption leaves open (-1) fits anything."""

        def fits(meaning: Int[Array | np.ndarray, "B F"]) -> Bool[Array, "B M"]:
            # One (B, M) comparison a factor: F is small, and a (B, M, F) array would be slower to make than to reduce.
            true = jnp.ones((meaning.shape[0], said.shape[0]), bool)
            for f in range(meaning.shape[1]):
                true &= (said[None, :, f] == meaning[:, f, None]) | (said[None, :, f] == ANY)
            return true

        return fits(meaning) if self.turn is None else fits(meaning) | fits(self.turn(meaning))

    def canonical(self, held_out: bool = False) -> tuple[list[str], Int[np.ndarray, "M F"]]:
        """All distinct canonical captions of the seen (or held-out) meanings, and what each says (a caption and its converse are one)."""
        told = self.grammar.said(self.grammar.templates[0][0])
        rows = np.where(told, self.held_out if held_out else self.seen, ANY)
        said = np.unique(self.one_reading(rows), axis=0)
        return [self.grammar.describe(row) for row in said], said

    def one_reading(self, meaning: Int[np.ndarray, "B F"]) -> Int[np.ndarray, "B F"]:
        """Each scene's meaning in one fixed reading, so that equal rows are equal scenes."""
        meaning = np.asarray(meaning)
        if self.turn is None or not len(meaning):
            return meaning
        other = np.asarray(self.turn(meaning))
        return np.array([min(a, b) for a, b in zip(map(tuple, meaning), map(tuple, other), strict=True)])

    def fill(self, said: Int[np.ndarray, "F"], seed: int = 0) -> Int[np.ndarray, "F"]:
        """A full meaning of which `said` is true: what it leaves open is taken from a random meaning of this world that fits best."""
        every = np.concatenate([self.seen, self.held_out]) if len(self.held_out) else self.seen
        agree = ((every == said) | (said == ANY)).sum(1)
        best = every[np.flatnonzero(agree == agree.max())]
        return np.where(said == ANY, best[np.random.default_rng(seed).integers(len(best))], said)


def _sample(world: World, key: Array, meanings: int | Int[Array, ""], number: int, split: str) -> Scenes:
    """Scenes with the row of each one's meaning in place of it."""
    row, looks = jax.random.split(key)
    return world.dress(looks, jax.random.randint(row, (number, 1), 0, meanings), split)


@cache
def _program() -> Callable[..., Scenes]:
    """`_sample` alone, compiled in a hurry: it runs a few times."""
    return jax.jit(_sample, static_argnames=("world", "number", "split"), compiler_options=on_cpu(0))


@cache
def _table(world: World) -> GrammarTable:
    tokenizer = world.tokenizer()
    return GrammarTable(world.grammar, tokenizer.ids, tokenizer.start, tokenizer.end, world.context)


def _shapes(place: Callable[[Scenes], Things]) -> Callable[[Scenes, int], Drawing]:
    return lambda scenes, size: draw_things(place(scenes), scenes.looks, size)


NOTHING = np.zeros((0, 5), int)


@cache
def get_world(name: str) -> World:
    """The world of that name: single, pairs, sixteen or animals. Raises `UserError` for any other."""
    if name == "single":
        return World(name, SINGLE, single_meanings(False), single_meanings(True), looks=6, render=_shapes(place_single))
    if name == "sixteen":
        mean, std = (0.84, 0.83, 0.82), (0.17, 0.17, 0.20)
        return World(name, SIXTEEN, sixteen_meanings(), NOTHING, looks=6, render=_shapes(place_single), mean=mean, std=std)
    if name == "pairs":
        return World(
            name, PAIRS, pair_meanings(False), pair_meanings(True), looks=9, render=_shapes(place_pair),
            turn=turn_round, swaps=pair_swaps, swap_names=("colours", "shapes", "things"),
            mean=(0.83, 0.82, 0.82),
            std=(0.19, 0.19, 0.19),
        )  # fmt: skip
    if name == "animals":
        seen, held_out = animal_meanings(False), animal_meanings(True)
        mean, std = (0.55, 0.60, 0.55), (0.25, 0.22, 0.29)
        return World(name, ANIMALS, seen, held_out, looks=8, render=draw_animals, mean=mean, std=std)
    raise UserError(f"there is no world called {name!r}: choose one of {', '.join(WORLDS)}.")


WORLDS = ("single", "pairs", "animals", "sixteen")


def read_anywhere(sentence: str, only: str | None = None) -> tuple[World, Int[np.ndarray, "F"]]:
    """The world in whose grammar a sentence can be said, and its meaning there. Raises `UserError` if there is none."""
    worlds = [get_world(name) for name in ([only] if only else WORLDS)]
    words = known_words(sentence, {word for world in worlds for word in world.grammar.words}, "the toy world does not know")
    for world in worlds:
        meanings = world.grammar.parse(" ".join(words))
        if meanings:
            return world, meanings[0]
    example = worlds[0].grammar.describe(worlds[0].seen[0])
    raise UserError(f"the toy world knows these words but not this sentence, {sentence!r}: say it like {example!r}.")
