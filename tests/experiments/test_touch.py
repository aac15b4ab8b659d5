"""Touch: shape and size are felt, colour is not, and two smooth outlines are one."""

import pytest
from claims import lies_within, mean_within, scores_again, table_is_whole

from lessons.experiments import get, rounded

TOUCH = get("touch")
CLAIM = {"to_shape_all": (0.80, 0.92), "to_colour_all": (0.05, 0.20), "worst_other_confusion": (0, 0.20)}


def test_the_table_is_whole():
    table_is_whole(TOUCH)


def test_shape_and_size_are_felt():
    # A finger that tells all but circle from ring, and guesses there, has 6/8 + 2/8 · 1/2 = 87.5 %.
    lies_within(TOUCH, "aligned", CLAIM | {"to_shape_held_out": (0.75, 0.97), "to_size_and_shape_all": (0.75, 0.92)})


def test_a_ring_feels_like_a_circle():
    for scores in TOUCH.results()["aligned"].values():
        mixed = scores["circle_as_ring"] + scores["ring_as_circle"]
        assert mixed > 0.6, f"touch should mix up circles and rings, but the two shares of mistakes sum to {mixed:.2f} (1 is pure guessing)"
        smooth = [scores["circle_as_circle"] + scores["circle_as_ring"], scores["ring_as_ring"] + scores["ring_as_circle"]]
        # Not all: what lies between two sentences may lie nearest to a third.
        assert min(smooth) > 0.80, f"whatever is smooth should mostly be felt as circle or ring, got {smooth}"


def test_colour_is_at_chance():
    mean_within(TOUCH, "aligned", {"to_colour_all": (0.10, 0.15), "chance_colour": (0.125, 0.125)})
    mean_within(TOUCH, "aligned", {"to_colour_and_shape_all": (0.07, 0.15)})  # one in eight colours, where the shape is right: 0.875 / 8 = 0.11
    # A shape was never seen in its held-out colour, so that colour is never what it suggests.
    lies_within(TOUCH, "aligned", {"to_colour_held_out": (0, 0.05)})


def test_an_untrained_finger_is_at_chance():
    mean_within(TOUCH, "untrained", {"to_shape_all": (0.05, 0.25), "to_colour_all": (0.05, 0.25)})


@pytest.mark.slow
@pytest.mark.parametrize("condition", ["aligned", "untrained"])
def test_the_committed_model_scores_what_the_table_says(condition):
    scores_again(TOUCH, condition)


@pytest.mark.slow
def test_training_again_reaches_the_claim():
    scores = TOUCH["aligned"].score(rounded(TOUCH["aligned"].train(1)))
    for name, (least, most) in CLAIM.items():
        assert least <= scores[name] <= most, f"touch, trained again with seed 1: {name} is {scores[name]:.4f}, not between {least} and {most}"
