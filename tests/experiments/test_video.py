"""What the table of the experiment `video` says, and that its models say so too."""

import numpy as np
import pytest
from claims import scores_again
from helpers import check

from lessons.experiments import get, rounded, senses, sound, video

EXPERIMENT = get("video")
CLAIMS = {  # (condition, score) -> the range in which every seed lies
    ("mean", "thing"): (0.97, 1),
    ("mean", "axis"): (0.5, 0.75),
    ("mean", "direction"): (0.499, 0.501),
    ("mean", "film to sentence"): (0.25, 0.4),
    ("no positions", "thing"): (0.97, 1),
    ("no positions", "axis"): (0.97, 1),
    ("no positions", "direction"): (0.499, 0.501),
    ("no positions", "film to sentence"): (0.47, 0.51),
    ("transformer", "thing"): (0.97, 1),
    ("transformer", "axis"): (0.97, 1),
    ("transformer", "direction"): (0.97, 1),
    ("transformer", "film to sentence"): (0.97, 1),
    ("transformer", "sentence to film"): (0.97, 1),
    ("transformer", "direction, shuffled"): (0.45, 0.55),
    ("transformer", "direction, one frame"): (0.45, 0.55),
}


@pytest.mark.parametrize(("condition", "score"), CLAIMS)
def test_the_table(condition, score):
    _, least, most = EXPERIMENT.spread(condition, score)
    low, high = CLAIMS[condition, score]
    assert low <= least and most <= high, f"video, {condition}: {score} lies in {least} to {most}, not within {low} to {high}"
    assert len(EXPERIMENT.results()[condition]) == 3, f"video, {condition}: the table should hold three seeds"


def test_what_knows_no_order_gets_exactly_half_of_the_directions():
    """By construction: every other new film is the one before it run backward."""
    similarity = np.repeat(np.random.default_rng(0).normal(size=(6, 1, 12)), 2, axis=1).reshape(12, 12)  # a film and its reverse look alike
    check("directions of one film a sentence", video.directions(similarity), 0.5, 0, "whichever sentence of the two is nearer, it is right once")
    twice = np.repeat(np.eye(4), 3, axis=0)
    check("directions when all is right", video.directions(twice), 1.0, 0)
    check("directions when all is wrong", video.directions(twice[:, [1, 0, 3, 2]]), 0.0, 0)


def test_films_without_order_keep_their_frames():
    films = np.random.default_rng(0).normal(size=(5, 8, 3))
    changed = video.without_order(films)
    check("shuffled frames, sorted", np.sort(changed["shuffled"], axis=1), np.sort(films, axis=1), 0, "the same frames, in another order")
    assert (changed["shuffled"] != films).any(axis=(1, 2)).all(), "every film should be shuffled"
    check("one frame eight times", changed["one frame"], np.repeat(changed["one frame"][:, :1], 8, axis=1), 0)
    own = [(still[0] == film).all(axis=1).any() for still, film in zip(changed["one frame"], films, strict=True)]
    assert all(own), "a still is one of the film's own frames"


@pytest.mark.slow
@pytest.mark.parametrize("condition", ["mean", "transformer", "no positions"])
def test_the_committed_models_score_what_the_table_says(condition):
    scores_again(EXPERIMENT, condition)


@pytest.mark.slow
def test_a_training_reaches_the_claim():
    scores = EXPERIMENT["transformer"].score(rounded(EXPERIMENT["transformer"].train(0)))
    assert scores["direction"] >= 0.97, f"the transformer, trained again, tells only {scores['direction']:.1%} of the directions"


@pytest.mark.slow
@pytest.mark.parametrize("case", video.CASES)
def test_two_senses_find_more_than_each_alone_unless_one_is_drowned(case):
    senses.bundle()
    ear = senses.with_params(sound.ear, get("sound").load("aligned"))
    scores = video.together(ear, *video.CASES[case], seed=0)
    for name, value in video.TOGETHER.results()[case]["0"].items():
        assert abs(scores[name] - value) <= 0.02, f"{case}: {name} finds {scores[name]:.1%}, but {value:.1%} in the table"
    best = max(scores["film"], scores["sound"])
    if case == "drowned sound":
        assert scores["both"] < best, f"{case}: a sum that trusts both alike should be dragged down, but they find {scores}"
    else:
        assert scores["both"] > best, f"{case}: both senses together should beat each alone, but they find {scores}"
