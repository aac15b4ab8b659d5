"""Smell: colour is told, shape is left to chance."""

import pytest
from claims import lies_within, mean_within, scores_again, table_is_whole

from lessons.experiments import get, rounded

SMELL = get("smell")
CLAIM = {"to_colour_all": (0.90, 1), "to_shape_all": (0.05, 0.25)}


def test_the_table_is_whole():
    table_is_whole(SMELL)


def test_smell_tells_the_colour_and_leaves_shape_to_chance():
    lies_within(SMELL, "aligned", CLAIM | {"to_colour_held_out": (0.85, 1), "from_colour_seen": (0.85, 1)})
    mean_within(SMELL, "aligned", {"to_shape_all": (0.09, 0.16), "chance_shape": (0.125, 0.125)})
    # A colour was never seen on its held-out shape, so that shape is never what it suggests.
    lies_within(SMELL, "aligned", {"to_shape_held_out": (0, 0.05)})


def test_an_untrained_nose_is_at_chance():
    mean_within(SMELL, "untrained", {"to_colour_all": (0.05, 0.25), "to_shape_all": (0.05, 0.25)})


@pytest.mark.slow
@pytest.mark.parametrize("condition", ["aligned", "untrained"])
def test_the_committed_model_scores_what_the_table_says(condition):
    scores_again(SMELL, condition)


@pytest.mark.slow
def test_training_again_reaches_the_claim():
    scores = SMELL["aligned"].score(rounded(SMELL["aligned"].train(1)))
    for name, (least, most) in CLAIM.items():
        assert least <= scores[name] <= most, f"smell, trained again with seed 1: {name} is {scores[name]:.4f}, not between {least} and {most}"
