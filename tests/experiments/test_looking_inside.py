"""What lesson 13 says of maps: the committed table, and the same scores computed anew."""

import numpy as np
import pytest
from helpers import check

import tinyclip
from lessons.experiments import looking_inside
from lessons.experiments.looking_inside import EXPERIMENT
from tinyclip.world.scene import COLOURS

ASKED = ("patch similarity", "relevance", "relevance, one grid", "occlusion", "gradient x input", "attention")


def every(condition, score):
    return [scores[score] for scores in EXPERIMENT.results()[condition].values()]


def test_the_table_was_made_with_three_seeds():
    for condition, seeds in EXPERIMENT.results().items():
        assert sorted(seeds) == ["0", "1", "2"], f"{condition} should have been scored with seeds 0, 1 and 2, not {sorted(seeds)}"


def test_occlusion_points_at_the_named_thing():
    named, other = every("occlusion", "named"), every("occlusion", "other")
    assert min(named) >= 0.9, f"occlusion should point at the named thing in at least 90 % of the scenes of every seed, not {min(named):.1%}"
    assert max(other) <= 0.02, f"occlusion should hardly ever point at the other thing, but does in {max(other):.1%}"
    assert min(every("occlusion", "iou")) >= 0.5, "the largest pixels of occlusion should overlap the mask by half"
    best = max((name for name in ASKED), key=lambda name: np.mean(every(name, "named")))
    assert best == "occlusion", f"occlusion should be the best of the maps, not {best}"


def test_every_score_stands_beside_a_guess():
    anywhere, middle = max(every("any pixel", "named")), max(every("the middle", "named"))
    assert 0.06 <= anywhere <= 0.09, f"a random pixel should lie on the named thing as often as it is large, not {anywhere:.1%}"
    assert middle < anywhere, f"the middle should be a worse guess than any pixel, but hits {middle:.1%}"
    for name in ("relevance", "occlusion", "gradient x input", "attention", "patch similarity"):
        assert min(every(name, "named")) > 2 * anywhere, f"{name} should beat a random pixel twice over"


def preference(condition):
    """Of the scenes in which a map points at one of the two things, how often it is the named one: a half is chance."""
    named, other = np.mean(every(condition, "named")), np.mean(every(condition, "other"))
    return named / (named + other)


@pytest.mark.parametrize("name", ASKED)
def test_with_random_weights_a_map_falls_to_chance_between_the_two_things(name):
    blind = preference(f"{name}, random weights")
    assert 0.4 <= blind <= 0.6, f"{name} of a model that knows nothing should point at either thing alike, but at the named one in {blind:.1%}"


def test_the_two_maps_that_are_asked_prefer_the_named_thing():
    for name, least in (("occlusion", 0.99), ("relevance", 0.8)):
        assert preference(name) >= least, f"{name} should prefer the named thing in {least:.0%} of its hits, not in {preference(name):.1%}"


def test_what_depends_on_learning_and_what_does_not():
    for name, least in (("occlusion", 0.6), ("relevance", 0.3)):
        fall = np.mean(every(name, "named")) - np.mean(every(f"{name}, random weights", "named"))
        assert fall >= least, f"{name} should fall by {least:.0%} when the weights are random, not by {fall:.1%}"
    name = "gradient x input"
    fall = abs(np.mean(every(name, "named")) - np.mean(every(f"{name}, random weights", "named")))
    assert fall <= 0.1, f"{name} should hit as often with random weights as with trained ones, but differs by {fall:.1%}"
    for name in ("gradient x input", "attention"):
        lead = np.mean(every(name, "named")) - np.mean(every(name, "other"))
        assert abs(lead) <= 0.12, f"{name} should hardly tell the two things apart, but leads by {lead:.1%}"


def test_shifted_grids_see_finer_than_one_grid():
    one, shifted, ceiling = (np.mean(every(name, "named")) for name in ("relevance, one grid", "relevance", "the mask, one grid"))
    assert one < ceiling < 0.6, f"patches of one grid should not reach what the mask itself would get there ({ceiling:.1%}), but hit {one:.1%}"
    assert shifted > ceiling, f"on shifted grids relevance should pass the ceiling of one grid, {ceiling:.1%}, but hits {shifted:.1%}"


@pytest.mark.parametrize("change", looking_inside.CHANGES)
def test_the_word_that_was_changed_is_the_most_relevant(change):
    both, one, blind = (np.mean(every(f"words, {change}{more}", "right word")) for more in ("", ", no twin", ", random weights"))
    assert both >= 0.95, f"asked against the twin, the word of the {change} should be the most relevant in 95 % of the captions, not {both:.1%}"
    assert max(one, blind) <= 0.6, f"without the twin or the weights that should be lost, but it is {one:.1%} and {blind:.1%}"


def test_scenes_are_asked_for_what_is_in_them():
    bundle = tinyclip.load("pairs")
    asked = looking_inside.ask(bundle, 6, 5)
    for k, meaning in enumerate(np.asarray(asked.scenes.meaning)):
        things = [looking_inside.WORLD.grammar.describe(meaning, f"a {{colour_{i}}} {{shape_{i}}}") for i in (1, 2)]
        pair = [asked.named[k], asked.other[k]]
        assert pair == (things if k % 2 == 0 else things[::-1]), f"scene {k} should name the one and the other of {things}, not {pair}"
        assert not (asked.named_mask[k] & asked.other_mask[k]).any(), "the two things of a scene should not overlap"
        inside = [asked.pictures[k][mask].mean(axis=0) for mask in (asked.named_mask[k], asked.other_mask[k])]
        colours = [np.array(COLOURS[sentence.split()[1]]) for sentence in pair]
        for colour, seen in zip(colours, inside, strict=True):
            assert np.abs(colour - seen).max() < 40, f"the mask of a thing of colour {colour} should lie on it, but its pixels are {seen.round()}"


@pytest.mark.slow
def test_the_table_is_what_the_scores_say_now():
    bundle = tinyclip.load("pairs")
    asked, table = looking_inside.ask(bundle, looking_inside.SCENES, 0), EXPERIMENT.results()
    drawn = looking_inside.maps(bundle.model, asked.images, looking_inside.direction(bundle, asked)) | looking_inside.guesses(asked, 8)
    for name in ("the middle", "gradient x input", "relevance, one grid", "occlusion"):
        for key, value in looking_inside.score(drawn[name](), asked).items():
            check(f"{name}: {key}", np.float64(value), table[name]["0"][key], 0.005)
    for change in looking_inside.CHANGES:
        found = looking_inside.words(bundle, asked, change)["right word"]
        check(f"words, {change}", np.float64(found), table[f"words, {change}"]["0"]["right word"], 0.005)
