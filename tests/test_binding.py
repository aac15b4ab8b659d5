"""Exercises 12.1 and 12.2: the scores of a binding test, and the exact negatives it is made of."""

import numpy as np
import pytest
from helpers import check, equals, jitted, seeded

from tinyclip.evaluate import binding_scores
from tinyclip.world.splits import pair_swaps

SCORES = ("binding_text", "binding_image", "binding_group")


def scores(similarity):
    """Text, image and group of similarities [case, picture, caption]."""
    found = binding_scores(np.array(similarity, np.float32))
    equals("the names that binding_scores gives", sorted(found), sorted(SCORES))
    return np.array([found[name] for name in SCORES], np.float64)


def moved(rows, seed):
    """The same cases in random order, every case moved up or down by its own number, which decides nothing."""
    rng = seeded(seed)
    return (np.array(rows, float) + rng.integers(-9, 9, (len(rows), 1, 1)))[rng.permutation(len(rows))]


@pytest.mark.exercise("12.1")
def test_each_picture_and_each_caption_must_find_its_own():
    cases = {  # similarity[picture, caption] -> right by text, image, group
        "all four are right": ([[3, 1], [0, 2]], (1, 1, 1)),
        "the pictures choose right, the captions do not": ([[5, 4], [1, 2]], (1, 0, 0)),
        "the captions choose right, the pictures do not": ([[5, 1], [4, 2]], (0, 1, 0)),
        "only the first picture chooses right": ([[4, 3], [5, 1]], (0, 0, 0)),
        "only the first caption chooses right": ([[4, 5], [3, 1]], (0, 0, 0)),
        "none is right": ([[1, 4], [3, 0]], (0, 0, 0)),
    }
    for what, (similarity, wanted) in cases.items():
        got = scores(moved([similarity], 1))
        check(f"binding_scores (text, image, group) where {what}", got, np.array(wanted, float), 1e-9, f"the similarities are {similarity}")


@pytest.mark.exercise("12.1")
def test_binding_scores_are_shares_of_all_cases():
    similarity = seeded(2).normal(size=(700, 2, 2)).astype(np.float32)
    text = image = group = 0
    for (a, b), (c, d) in similarity.tolist():  # a: first picture with first caption, b: first picture with second caption, ...
        text += a > b and d > c
        image += a > c and d > b
        group += a > b and d > c and a > c and d > b
    want = np.array([text, image, group]) / 700
    check("binding_scores of 700 random cases", scores(similarity), want, 1e-9, "text, image and group as a loop over the cases counts them")


@pytest.mark.exercise("12.1")
def test_a_tie_is_not_right():
    cases = {
        "all four are equal": ([[2, 2], [2, 2]], (0, 0, 0)),
        "the second picture cannot decide": ([[3, 1], [2, 2]], (0, 1, 0)),
        "the first caption cannot decide": ([[2, 1], [2, 3]], (1, 0, 0)),
        "a caption scores alike with both pictures": ([[4, 1], [4, 1]], (0, 0, 0)),
    }
    for what, (similarity, wanted) in cases.items():
        got = scores(moved([similarity], 3))
        check(f"binding_scores (text, image, group) where {what}", got, np.array(wanted, float), 1e-9, f"the similarities are {similarity}")


def meanings(shape, seed):
    """Rows of seven numbers that all differ, so that each number tells where it came from."""
    rng = seeded(seed)
    return np.stack([rng.permutation(7) for _ in range(int(np.prod(shape)))]).reshape(*shape, 7)


def exchanged(row):
    """By hand: colours exchanged, shapes exchanged, things exchanged."""
    size_1, colour_1, shape_1, relation, size_2, colour_2, shape_2 = row
    return [
        [size_1, colour_2, shape_1, relation, size_2, colour_1, shape_2],
        [size_1, colour_1, shape_2, relation, size_2, colour_2, shape_1],
        [size_2, colour_2, shape_2, relation, size_1, colour_1, shape_1],
    ]


@pytest.mark.exercise("12.2")
def test_the_three_swaps_of_each_meaning():
    rows = meanings((5,), 4)
    want = np.array([exchanged(row) for row in rows.tolist()])  # (5, 3, 7)
    got = pair_swaps(rows)
    equals("the shape of pair_swaps of 5 meanings", np.shape(got), (5, 3, 7), "one row for each kind, in the place before the factors")
    for k, kind in enumerate(("colours", "shapes", "things")):
        hint = f"the columns are size, colour, shape, relation, size, colour, shape; {rows[0].tolist()} becomes {want[0, k].tolist()}"
        check(f"pair_swaps of 5 meanings, {kind} exchanged", np.asarray(got)[:, k], want[:, k], 0, hint)
    check("pair_swaps of 5 meanings, jitted", jitted("pair_swaps of 5 meanings", pair_swaps, rows), want, 0)


@pytest.mark.exercise("12.2")
def test_swaps_of_one_meaning_of_many_and_of_what_is_left_open():
    rows = meanings((2, 4), 5)
    want = np.array([[exchanged(row) for row in group] for group in rows.tolist()])  # (2, 4, 3, 7)
    check("pair_swaps of 2 x 4 meanings", pair_swaps(rows), want, 0, "any number of axes may stand before the factors")
    check("pair_swaps of a single meaning", pair_swaps(rows[1, 2]), want[1, 2], 0, "any number of axes may stand before the factors, also none")
    open_ = [-1, 5, 2, 3, -1, 0, 7]
    check(f"pair_swaps of {open_}", pair_swaps(np.array(open_)), np.array(exchanged(open_)), 0, "what is left open, -1, moves like any other value")
