"""What is kept apart stays apart, and an exact negative is exact."""

from collections import Counter
from itertools import product

import jax
import numpy as np
import pytest

from tinyclip.world import WORLDS, get_world
from tinyclip.world.animals import ACTIONS, ANIMALS
from tinyclip.world.scene import COLOURS, SHAPES
from tinyclip.world.splits import BACKDROPS, HELD_OUT_PAIRS, pair_swaps, set_split, turn_round

KINDS = ("colours", "shapes", "things")


def things(rows):
    """Every (colour, shape) drawn in rows of pairs, (B, 2, 2)."""
    rows = np.asarray(rows)
    return np.stack([rows[..., [1, 2]], rows[..., [5, 6]]], axis=-2)


def held_out(colour_shape):
    """Which of these (colour, shape) are held out, from the list alone."""
    table = np.zeros((len(COLOURS), len(SHAPES)), bool)
    table[tuple(np.array(sorted(HELD_OUT_PAIRS)).T)] = True
    return table[colour_shape[..., 0], colour_shape[..., 1]]


def converse(rows):
    """The other reading of pairs, written down a second time."""
    rows = np.array(rows)
    return np.concatenate([rows[..., 4:], np.array([1, 0, 3, 2])[rows[..., 3:4]], rows[..., :3]], axis=-1)


def test_each_colour_and_each_shape_is_held_out_once():
    assert len(HELD_OUT_PAIRS) == 8, f"8 colour-shape pairs should be held out, not {len(HELD_OUT_PAIRS)}"
    for what, k, values in (("colour", 0, COLOURS), ("shape", 1, SHAPES)):
        counts = Counter(pair[k] for pair in HELD_OUT_PAIRS)
        assert counts == dict.fromkeys(range(len(values)), 1), f"not every {what} is in exactly one held-out pair: {counts}"


def test_held_out_pairs_are_never_drawn_in_training():
    single, pairs = get_world("single"), get_world("pairs")
    assert not held_out(single.seen[:, 1:3]).any(), "single: a held-out colour-shape pair is among the seen meanings"
    assert held_out(single.held_out[:, 1:3]).all(), "single: a seen colour-shape pair is among the held-out meanings"
    assert {tuple(map(int, row)) for row in single.held_out[:, 1:3]} == HELD_OUT_PAIRS, "single: a held-out pair is never asked for"
    assert not held_out(things(pairs.seen)).any(), "pairs: a held-out colour-shape pair is among the seen meanings"
    assert held_out(things(pairs.held_out)).any(-1).all(), "pairs: a meaning of seen things only is among the held-out ones"
    for world in (single, pairs):
        rows = np.concatenate([world.seen, world.held_out])
        assert len(np.unique(rows, axis=0)) == len(rows), f"{world.name}: a meaning is listed twice, or is seen and held out"


def test_no_negative_of_training_shows_a_held_out_pair():
    seen = get_world("pairs").seen
    swapped = np.asarray(pair_swaps(seen))
    for kind, rows in zip(KINDS, np.moveaxis(swapped, 1, 0), strict=True):
        assert not held_out(things(rows)).any(), f"exchanging {kind} in a seen meaning makes a held-out colour-shape pair"
    both = np.asarray(pair_swaps(swapped))
    assert not held_out(things(both)).any(), "exchanging twice makes a held-out colour-shape pair out of a seen meaning"


def test_the_seen_pairs_are_all_that_may_be_seen():
    expected = 0
    for a, b in product(product(range(8), range(8)), repeat=2):
        mixed = {a, b, (a[0], b[1]), (b[0], a[1])}
        expected += a[0] != b[0] and a[1] != b[1] and not mixed & HELD_OUT_PAIRS
    assert len(get_world("pairs").seen) == expected * 2 * 2 * 4 // 2, (
        "pairs: the seen meanings are not every allowed couple in every size and relation"
    )
    assert len(get_world("single").seen) == 56 * 2 * 9, "single: the seen meanings are not every allowed pair in every size and place"
    assert len(get_world("single").held_out) == 8 * 2 * 9, "single: the held-out meanings are not every held-out pair in every size and place"


@pytest.mark.parametrize("name", ["single", "pairs"])
def test_no_training_caption_names_a_held_out_pair(name, captioned):
    said = captioned(name)[2]
    columns = [(1, 2)] if name == "single" else [(1, 2), (5, 6), (1, 6), (5, 2)]
    for colour, shape in columns:
        named = {tuple(map(int, row)) for row in said[:, [colour, shape]]}
        assert not named & HELD_OUT_PAIRS, f"{name}: a training caption names the held-out {named & HELD_OUT_PAIRS}"


@pytest.mark.parametrize("name", WORLDS)
def test_splits_are_told_apart_by_the_backdrop(name):
    world, numbers = get_world(name), {}
    for split, (low, high) in BACKDROPS.items():
        looks = np.asarray(world.sample(jax.random.key(9), 500, split).looks)
        numbers[split] = set(looks[:, 0].tolist())
        assert numbers[split] <= set(range(low, high)), f"{name}: {split} uses a backdrop outside {low} to {high - 1}"
        assert len(numbers[split]) > 0.8 * (high - low), f"{name}: {split} uses only {len(numbers[split])} of its {high - low} backdrops"
        spread = looks[:, 1:]
        assert spread.min() == 0 and spread.max() == 255, f"{name}: the other bytes of {split} run from {spread.min()} to {spread.max()}"
    for a, b in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not numbers[a] & numbers[b], f"{name}: {a} and {b} share backdrops"
    used = sum(high - low for low, high in BACKDROPS.values())
    assert used == 256, f"the splits use {used} of the 256 backdrops"


def test_every_scene_of_two_things_is_listed_once():
    for rows in (get_world("pairs").seen, get_world("pairs").held_out):
        scenes = set(map(tuple, rows.tolist()))
        both = scenes & set(map(tuple, converse(rows).tolist()))
        assert not both, f"{len(both)} scenes are listed in both of their readings"


def test_setting_the_split_changes_nothing_but_the_backdrop():
    looks = np.random.default_rng(3).integers(0, 200, (50, 6))
    moved = np.asarray(set_split(jax.random.key(0), jax.numpy.asarray(looks), "test"))
    assert (moved[:, 1:] == looks[:, 1:]).all(), "set_split changes more than the first byte"
    assert (moved[:, 0] >= 228).all(), "set_split('test') leaves a backdrop of another split"


def test_a_caption_and_its_converse_are_one_scene():
    rows = get_world("pairs").seen
    turned = np.asarray(turn_round(rows))
    assert (turned == converse(rows)).all(), "turn_round does not exchange the things and turn the relation into its converse"
    assert (np.asarray(turn_round(turned)) == rows).all(), "turning round twice does not give the same reading back"
    open_ = np.array([[-1, 0, 2, -1, -1, -1, -1]])
    assert np.asarray(turn_round(open_)).tolist() == [[-1, -1, -1, -1, -1, 0, 2]], "turning round a caption fills in the relation it leaves open"


def test_a_swap_exchanges_what_its_name_says():
    row = np.array([[0, 1, 2, 3, 1, 5, 6]])
    assert get_world("pairs").swap_names == KINDS, "the kinds of swap are not named in their order"
    expected = {"colours": [0, 5, 2, 3, 1, 1, 6], "shapes": [0, 1, 6, 3, 1, 5, 2], "things": [1, 5, 6, 3, 0, 1, 2]}
    for (kind, want), got in zip(expected.items(), np.asarray(pair_swaps(row))[0].tolist(), strict=True):
        assert got == want, f"exchanging {kind} in {row[0].tolist()} gives {got}, not {want}"


def test_a_swap_is_always_another_meaning():
    for rows in (get_world("pairs").seen, get_world("pairs").held_out):
        swapped = np.asarray(pair_swaps(rows))
        for told in ([0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 5, 6]):  # with sizes, and without
            for k, kind in enumerate(KINDS):
                same = (swapped[:, k][:, told] == rows[:, told]).all(1) | (swapped[:, k][:, told] == converse(rows)[:, told]).all(1)
                assert not same.any(), f"exchanging {kind} in {rows[same.argmax()]} gives the same scene again"


def test_a_swap_is_never_true_of_the_scene():
    world = get_world("pairs")
    meaning, true_of = world.seen[::449], jax.jit(world.true_of)
    swapped = np.asarray(pair_swaps(meaning))
    for k, kind in enumerate(KINDS):
        for sizes in (True, False):
            said = swapped[:, k].copy()
            if not sizes:
                said[:, [0, 4]] = -1
            true = np.asarray(true_of(said, meaning)).diagonal()
            assert not true.any(), f"the caption with exchanged {kind} is true of the original scene"


def test_a_swap_uses_the_same_words():
    world = get_world("pairs")
    meaning = world.seen[::269]
    for template in (world.grammar.templates[0][0], world.grammar.templates[3][0]):
        for row, swaps in zip(meaning, np.asarray(pair_swaps(meaning)), strict=True):
            words = Counter(world.grammar.describe(row, template).split())
            for kind, other in zip(KINDS, swaps, strict=True):
                sentence = world.grammar.describe(other, template)
                assert Counter(sentence.split()) == words, f"{sentence!r}, with {kind} exchanged, has other words than {sorted(words)}"


def test_about_a_tenth_of_the_animal_action_pairs_are_held_out():
    world = get_world("animals")
    seen, kept = ({(int(a), int(b)) for a, b in rows[:, [0, 2]]} for rows in (world.seen, world.held_out))
    assert not seen & kept, f"animals: the held-out {seen & kept} occur in training"
    assert len(seen | kept) == len(ANIMALS) * len(ACTIONS), "animals: some animal never does something, seen or held out"
    share = len(kept) / len(seen | kept)
    assert 0.05 <= share <= 0.15, f"animals: {share:.0%} of the animal-action pairs are held out, not about a tenth"
    lion = ANIMALS.index("lion"), ACTIONS.index("playing with a ball")
    assert lion in kept, "animals: a lion playing with a ball should be held out"


@pytest.mark.parametrize("sentence", ["a cat sitting on a mat", "a dog playing with a ball", "a lion sitting in the jungle"])
def test_the_famous_animal_sentences_are_seen(sentence):
    world = get_world("animals")
    (meaning,) = world.grammar.parse(sentence)
    fits = ((world.seen == meaning) | (meaning == -1)).all(1)
    assert fits.any(), f"no training picture shows {sentence!r}"
    against = ((world.held_out == meaning) | (meaning == -1)).all(1)
    assert not against.any(), f"{sentence!r} is true of a held-out picture"


def test_each_value_of_an_animal_factor_is_seen_with_four_of_each_other():
    rows = get_world("animals").seen
    names = ("animal", "coat", "action", "place")
    for a, b in product(range(4), range(4)):
        for value in np.unique(rows[:, a]) if a != b else ():
            met = len(np.unique(rows[rows[:, a] == value, b]))
            assert met >= 4, f"{names[a]} {value} is seen with {met} values of {names[b]} only"


def test_nothing_of_sixteen_is_held_out():
    world = get_world("sixteen")
    assert len(world.held_out) == 0, "the yardstick of other toy CLIPs holds nothing out"
    assert {tuple(map(int, row)) for row in world.seen[:, 1:3]} == set(product(range(4), range(4))), "sixteen is not 4 colours x 4 shapes"
    assert len(world.seen) == 16 * 2 * 9, "sixteen does not hold every size and place"
