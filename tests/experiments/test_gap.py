"""Lesson 14's experiment: what its table says, that the committed models score what it says, and that training leads there again."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from claims import scores_again

from lessons.experiments import gap, rounded
from tinyclip.bundle import flat

EXPERIMENT = gap.EXPERIMENT
NAMES = [condition.name for condition in EXPERIMENT.conditions]
TRAINED = NAMES[1:]


def within(condition, score, least, most):
    for seed, scores in EXPERIMENT.results()[condition].items():
        assert least <= scores[score] <= most, f"{condition}, seed {seed}: {score} is {scores[score]}, not between {least} and {most}"


def test_the_table_has_three_seeds_of_every_condition():
    results = EXPERIMENT.results()
    assert set(results) == set(NAMES), f"the table has the conditions {sorted(results)}, and the experiment {sorted(NAMES)}"
    for name, seeds in results.items():
        assert set(seeds) == {"0", "1", "2"}, f"{name} should have the seeds 0, 1 and 2, not {sorted(seeds)}"
    kinds = {frozenset(scores) for seeds in results.values() for scores in seeds.values()}
    assert len(kinds) == 1, "every seed of every condition should have the same scores"


@pytest.mark.parametrize(
    ("condition", "least", "most"),
    [
        ("untrained", 1.1, 1.35), ("scale 5", 0, 0.03), ("scale 15", 0.03, 0.09), ("scale 50", 0.07, 0.17),
        ("learned scale", 0.05, 0.14), ("vague captions", 0.6, 0.85),
    ],
)  # fmt: skip
def test_the_gap_depends_on_temperature_a_little_and_on_vague_captions_a_lot(condition, least, most):
    within(condition, "gap", least, most)
    within(condition, "gap between two sets of pictures", 0, 0.02)


@pytest.mark.parametrize(("lower", "higher"), [("scale 5", "scale 15"), ("scale 15", "scale 50"), ("learned scale", "vague captions")])
def test_of_two_conditions_one_leaves_the_larger_gap_from_every_start(lower, higher):
    results = EXPERIMENT.results()
    for seed in ("0", "1", "2"):
        a, b = results[lower][seed]["gap"], results[higher][seed]["gap"]
        assert a < b, f"seed {seed}: the gap of {lower} should be smaller than that of {higher}, but they are {a} and {b}"


def test_scales_that_are_held_stay_where_they_are():
    for scale in (5, 15, 50):
        within(f"scale {scale}", "scale", 0.998 * scale, 1.002 * scale)  # float16 rounds the logarithm
    within("learned scale", "scale", 30, 40)


@pytest.mark.parametrize("condition", TRAINED)
def test_closing_the_gap_changes_search_by_a_few_points(condition):
    for seed, scores in EXPERIMENT.results()[condition].items():
        before, after = scores["picture to caption, share 0"], scores["picture to caption, share 1"]
        assert abs(after - before) < 0.06, f"{condition}, seed {seed}: closing the gap moves recall@1 from {before} to {after}, by 6 points or more"
        left = scores["gap, share 1"]
        assert left < 0.1 * scores["gap"] + 0.01, f"{condition}, seed {seed}: closing the gap of {scores['gap']} leaves {left}"


def test_training_makes_both_spaces_alike_and_what_is_not_told_is_not_kept():
    for condition in TRAINED:
        within(condition, "pictures ~ captions", 0.88, 1)
        within(condition, "pictures ~ place", -0.05, 0.05)
    within("untrained", "pictures ~ captions", 0, 0.2)
    for condition in NAMES:
        within(condition, "pictures ~ captions, shuffled: most", -0.1, 0.1)


def test_sentences_add_up_before_training_and_pictures_do_not():
    within("untrained", "analogy: captions, nothing excluded", 0.85, 1)
    within("untrained", "analogy: pictures, nothing excluded", 0, 0.05)
    within("learned scale", "analogy: captions, nothing excluded", 0.4, 0.65)
    within("learned scale", "analogy: caption's direction, picture to caption, nothing excluded", 0.3, 0.55)
    for condition in NAMES:
        within(condition, "analogy: captions, shuffled directions, nothing excluded", 0, 0.05)
        within(condition, "analogy: captions, no direction, nothing excluded", 0, 0)
        within(condition, "analogy: captions, no direction", 0.03, 0.13)  # what leaving the inputs out gives away


def test_models_are_small():
    sizes = [EXPERIMENT.path(name).stat().st_size for name in NAMES]
    assert max(sizes) < 500_000 and sum(sizes) < 2_500_000, f"the models take {sizes} bytes, more than 500,000 each or 2,500,000 together"


def test_vague_captions_are_said_only_where_they_should_be():
    meaning = jnp.asarray(gap.world().seen[:64])
    for vague, least, most in ((0.0, 1, 1), (0.15, 0.4, 0.85)):
        said = np.asarray(gap.world(vague).caption(jax.random.key(1), meaning).said)[:, :3]
        full = float((said >= 0).all(axis=1).mean())
        assert least <= full <= most, f"with weight {vague} of vague captions, {full:.0%} of the captions tell size, colour and shape"
    assert gap.world(0.15).tokenizer().ids == gap.world().tokenizer().ids, "all conditions need the same words, or their models differ in shape"


@pytest.mark.slow
@pytest.mark.parametrize("condition", NAMES)
def test_committed_models_score_what_the_table_says(condition):
    scores_again(EXPERIMENT, condition)


@pytest.mark.slow
def test_training_anew_leads_to_the_claim():
    scores = gap.score(rounded(EXPERIMENT["learned scale"].train(0)))
    assert 0.03 < scores["gap"] < 0.16, f"training with a learned scale should nearly close the gap, but leaves {scores['gap']:.2f}"
    found = scores["picture to caption, share 0"]
    assert found > 0.6, f"training should find most pictures' captions, but finds {found:.0%}"
    assert scores["pictures ~ captions"] > 0.9, "both spaces should be alike after training"


@pytest.mark.slow
def test_a_held_scale_is_put_back_after_every_step():
    with mock.patch.dict(gap.RUN, {"steps": 3}):
        held, free = (flat(gap.train(0, scale=scale))["log_logit_scale"] for scale in (50.0, None))
    assert abs(float(np.exp(held)) - 50) < 1e-3, f"the scale was held at 50, but is {float(np.exp(held)):.2f}"
    assert float(free) != float(held), "the scale that is learned should not be the one that is held"
