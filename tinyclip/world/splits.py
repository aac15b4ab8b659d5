"""What is kept apart: splits by the backdrop's number, held-out combinations, and exact negatives.

Three questions are asked of a trained model, and each needs its own guarantee. *Does it know new pictures?* No test picture can have been
drawn in training: the split is read off the backdrop's number. *Does it know new combinations?* Held-out pairs (a colour with a shape, an
animal with an action) never occur in training, neither drawn nor in any caption, negatives included. *Does it know who is where?* A swap
says the same words about another scene. Lesson 02.
"""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from .animals import ACTIONS, ANIMALS, COATS, PLACES
from .scene import COLOURS, COLUMNS, RELATIONS, ROWS, SHAPES, SIZES

BACKDROPS = {"train": (0, 200), "validation": (200, 228), "test": (228, 256)}  # the first byte of `looks`

# Every colour and every shape is missing in exactly one combination.
HELD_OUT_PAIRS = frozenset((colour, (3 * colour + 2) % len(SHAPES)) for colour in range(len(COLOURS)))

_PAIRS = list(product(range(len(COLOURS)), range(len(SHAPES))))


def single_meanings(held_out: bool) -> Int[np.ndarray, "M 5"]:
    """All meanings of one thing (size, colour, shape, row, column) whose colour-shape pair is, or is not, held out."""
    pairs = [pair for pair in _PAIRS if (pair in HELD_OUT_PAIRS) == held_out]
    sizes, rows, columns = range(len(SIZES)), range(len(ROWS)), range(len(COLUMNS))
    return np.array([(size, *pair, row, column) for size, pair, row, column in product(sizes, pairs, rows, columns)])


def pair_meanings(held_out: bool) -> Int[np.ndarray, "M 7"]:
    """All meanings of two things (size, colour, shape, relation, size, colour, shape) that differ in colour and in shape, each scene once:
    read from its left or upper thing, so that the relation is "left of" or "above".

    Seen: neither thing nor any swap of the two is a held-out pair. Held out: at least one of the two things is.
    """
    meanings = []
    for (colour_1, shape_1), (colour_2, shape_2) in product(_PAIRS, _PAIRS):
        if colour_1 == colour_2 or shape_1 == shape_2:
            continue
        things, swapped = {(colour_1, shape_1), (colour_2, shape_2)}, {(colour_2, shape_1), (colour_1, shape_2)}
        if HELD_OUT_PAIRS & things if held_out else not HELD_OUT_PAIRS & (things | swapped):
            for size_1, relation, size_2 in product(range(len(SIZES)), range(0, len(RELATIONS), 2), range(len(SIZES))):
                meanings.append((size_1, colour_1, shape_1, relation, size_2, colour_2, shape_2))
    return np.array(meanings)


def pair_swaps(meaning: Int[Array | np.ndarray, "*B 7"]) -> Int[Array, "*B 3 7"]:
    """The exact negatives of a pair: colours exchanged, shapes exchanged, things exchanged (which is the relation turned round).

    Same words, always another meaning, since both colours and both shapes differ. Sizes stay where they are said, except that things that
    are exchanged take their sizes along. jit-able. Lesson 12.
    """
    orders = jnp.asarray([(0, 5, 2, 3, 4, 1, 6), (0, 1, 6, 3, 4, 5, 2), (4, 5, 6, 3, 0, 1, 2)])
    return jnp.asarray(meaning)[..., orders]


@jax.jit
def turn_round(meaning: Int[Array | np.ndarray, "*B 7"]) -> Int[Array, "*B 7"]:
    """The same scene read from its other thing: "A left of B" is "B right of A"."""
    relation = meaning[..., 3:4]
    converse = jnp.where(relation < 0, relation, relation ^ 1)
    return jnp.concatenate([meaning[..., 4:], converse, meaning[..., :3]], axis=-1)


def set_split(key: Array, looks: Int[Array, "B L"], split: str) -> Int[Array, "B L"]:
    """The same looks with a backdrop of that split ("train", "validation" or "test")."""
    low, high = BACKDROPS[split]
    return looks.at[:, 0].set(jax.random.randint(key, looks.shape[:1], low, high, dtype=looks.dtype))


def sixteen_meanings() -> Int[np.ndarray, "M 5"]:
    """All meanings of the yardstick: the first 4 colours x 4 shapes, anywhere, in both sizes; nothing is held out."""
    sizes, rows, columns = range(len(SIZES)), range(len(ROWS)), range(len(COLUMNS))
    return np.array([(size, colour, shape, row, column) for size, colour, shape, row, column in product(sizes, range(4), range(4), rows, columns)])


# 5 of the 48 animal-action pairs are never seen. Every animal and every action is missing in at most one of them.
HELD_OUT_ACTIONS = frozenset(
    {("lion", "playing with a ball"), ("cat", "jumping"), ("mammoth", "sleeping"), ("pig", "running"), ("mouse", "standing")}
)


def animal_meanings(held_out: bool) -> Int[np.ndarray, "M 4"]:
    """All meanings of one animal (animal, coat, action, place) whose animal-action pair is, or is not, held out."""
    return np.array(
        [
            meaning
            for meaning in product(*(range(len(values)) for values in (ANIMALS, COATS, ACTIONS, PLACES)))
            if ((ANIMALS[meaning[0]], ACTIONS[meaning[2]]) in HELD_OUT_ACTIONS) == held_out
        ]
    )
