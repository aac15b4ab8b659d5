"""Blind spots: what is compared is what is said, the table holds its claims, and the committed models score what it says."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from claims import scores_again

from lessons.experiments import blind_spots as b
from tinyclip.evaluate import binding_scores
from tinyclip.world.splits import pair_swaps

TABLE = b.EXPERIMENT.results()
SEEDS = ("0", "1", "2")
EVERYONE = ("blind", "bag of words", "cured", "given away", "one a set", "one a set cured", "core pairs")
RECALLS = ("image_to_text_recall_at_1", "text_to_image_recall_at_1")


def words(rows):
    """The words of each scene's caption, as a bag."""
    return [tuple(sorted(b.WORLD.grammar.describe(row).split())) for row in np.asarray(rows)]


def test_the_small_world_has_every_scene_with_all_of_its_swaps():
    scenes = {tuple(row) for row in b.WORLD.seen.tolist()}
    assert len(scenes) == len(b.WORLD.seen) == 440, f"the small world should have 440 different scenes, got {len(scenes)} of {len(b.WORLD.seen)}"
    swaps = {tuple(row) for row in np.asarray(pair_swaps(b.WORLD.seen)).reshape(-1, 7).tolist()}
    assert swaps == scenes, f"{len(swaps - scenes)} swaps of its scenes are no scenes of the small world"


@pytest.mark.parametrize("name", ["GALLERY", "FOREVER", "ONE_A_SET", "OTHER_SETS"])
def test_words_alone_identify_the_scenes_that_are_searched(name):
    bags = Counter(words(getattr(b, name).seen))
    assert max(bags.values()) == 1, f"{name}: two scenes have the same words, {bags.most_common(1)[0][0]}"


def test_the_gallery_has_one_of_every_scene_and_its_swaps():
    assert set(words(b.GALLERY.seen)) == set(words(b.WORLD.seen)), "the gallery lacks some scene of which it has no swap either"
    left = Counter(b.GALLERY.seen[:, 1].tolist())
    assert min(left[colour] for colour in range(b.N)) > 5, f"the gallery should not be sorted: colours on the left {left}"


def test_a_sorted_batch_never_has_two_swaps_and_all_scenes_have_their_turn():
    draw, seen, lefts = jax.jit(lambda key: b.SORTED.sample(key, 64).meaning), set(), set()
    for seed in range(60):
        rows = np.unique(np.asarray(draw(jax.random.key(seed))), axis=0)
        bags = Counter(words(rows))
        assert max(bags.values()) == 1, f"batch {seed} has a scene and its swap: {bags.most_common(1)[0][0]}"
        for first, second in ((1, 5), (2, 6)):
            both = set(rows[:, first].tolist()) & set(rows[:, second].tolist())
            assert not both, f"batch {seed} has {both} of column {first} on both sides"
        seen |= {tuple(row) for row in rows.tolist()}
        lefts.add(tuple(sorted(set(rows[:, 1].tolist()))))
    assert len(lefts) > 10, f"the colours on the left should change from batch to batch, but are one of {lefts}"
    assert len(seen) > 420, f"nearly all of the 440 scenes should occur in 60 batches, but {len(seen)} did"


def test_of_each_set_of_swaps_only_one_scene_ever_occurs():
    trained, scored = b.ONE_A_SET.seen, b.OTHER_SETS.seen
    assert (len(trained), len(scored)) == (672, 168), f"four fifths of 840 sets are trained with, got {len(trained)} and {len(scored)}"
    bags = Counter(words(np.concatenate([trained, scored])))
    assert set(bags.values()) == {1}, f"two scenes have the same words, {bags.most_common(1)[0][0]}"
    assert set(bags) == set(words(b.LARGER.seen)), "some set of swaps has no scene in either part"
    first = Counter(trained[:, 1].tolist())
    assert min(first[colour] for colour in range(8)) > 40, f"the lot should favour nobody, but these come first: {first}"


def test_the_other_sets_are_neither_drawn_nor_said_in_training():
    said = np.concatenate([b.ONE_A_SET.seen, np.asarray(pair_swaps(b.ONE_A_SET.seen)).reshape(-1, 7)])  # own captions, and all that the cure adds
    both = set(words(said)) & set(words(b.OTHER_SETS.seen))
    assert not both, f"training speaks of scenes it is scored on: {both.pop()}"
    drawn = np.asarray(b.ONE_A_SET.sample(jax.random.key(3), 256).meaning)
    lost = {tuple(row) for row in drawn.tolist()} - {tuple(row) for row in b.ONE_A_SET.seen.tolist()}
    assert not lost, f"a batch has a scene that lost the lot: {lost}"


def test_a_bag_of_words_cannot_tell_swaps_apart():
    tokenizer = b.WORLD.tokenizer()
    bag = b.BagTokenizer(tokenizer.words, tokenizer.context)
    row = b.GALLERY.seen[3]
    sentences = [b.WORLD.grammar.describe(each) for each in [row, *np.asarray(pair_swaps(row))]]
    tokens, plain = bag(sentences), tokenizer(sentences)
    assert (tokens == tokens[0]).all(), f"a sentence and its swaps should be the same bag, got {tokens.tolist()}"
    assert len({tuple(each) for each in plain.tolist()}) == 4, "the plain tokens of a sentence and its swaps should differ"
    assert (np.sort(plain) == tokens).all(), "a bag should hold the words of its sentence and no others"
    assert (tokens[:, -1] == tokenizer.end).all(), "the end token should stand last, where it has seen all words"


def test_cases_are_a_scene_and_one_swap_with_picture_before_caption():
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(2, 5, 4, 3))
    found = b.cases(images, texts)
    assert found.shape == (15, 2, 2), f"5 scenes with 3 swaps each are 15 cases of 2 x 2, got shape {found.shape}"
    for kind in range(3):
        for n in range(5):
            for i, picture in enumerate((0, kind + 1)):
                for j, caption in enumerate((0, kind + 1)):
                    want = images[n, picture] @ texts[n, caption]
                    got = found[5 * kind + n, i, j]
                    assert abs(got - want) < 1e-12, f"case {n} of kind {kind}: picture {picture} with caption {caption} scores {want}, got {got}"


def test_a_score_that_never_looks_at_the_picture_has_no_text_score():
    texts = np.random.default_rng(1).normal(size=(50, 4, 8))
    images = np.broadcast_to(np.random.default_rng(2).normal(size=8), (50, 4, 8))
    scores = binding_scores(np.round(b.cases(images, texts), 9))
    assert set(scores.values()) == {0.0}, f"one and the same picture everywhere can get no case right, got {scores}"


# The table.


def of(condition, score):
    """A score of all three seeds."""
    return np.array([TABLE[condition][seed][score] for seed in SEEDS])


def test_the_table_has_every_condition_and_seed():
    assert {name: tuple(seeds) for name, seeds in TABLE.items()} == dict.fromkeys(EVERYONE, SEEDS), f"the table is not whole: {list(TABLE)}"
    for name in EVERYONE:
        assert b.EXPERIMENT.path(name).stat().st_size < 450_000, f"the model of {name} is larger than 450 kB"


@pytest.mark.parametrize("blind", ["blind", "one a set"])
def test_the_blind_models_find_pictures_and_do_not_bind(blind):
    for recall in RECALLS:
        assert of(blind, recall).min() >= 0.9, f"{blind}: {recall} should look fine, got {of(blind, recall)}"
    group, things = of(blind, "binding_group"), of(blind, "binding_group_things")
    assert group.max() <= 0.5, f"{blind}: the group score should be at most 50 % with every seed, got {group}"
    assert things.max() <= 0.167, f"{blind}: who is where should be known no better than by chance, got {things}"


def test_a_bag_of_words_finds_pictures_and_gets_no_swap_right():
    assert of("bag of words", "image_to_text_recall_at_1").min() >= 0.9, "a bag of words should find captions among scenes that words identify"
    for score in ("binding_text", "binding_group"):
        assert of("bag of words", score).max() == 0, f"all captions tie for a bag of words, but {score} is {of('bag of words', score)}"


@pytest.mark.parametrize(("blind", "cured"), [("blind", "cured"), ("one a set", "one a set cured")])
def test_the_cure_binds_and_costs_no_recall(blind, cured):
    group = of(cured, "binding_group")
    assert group.min() >= 0.9, f"{cured}: the group score should be at least 90 % with every seed, got {group}"
    for recall in RECALLS:
        lost = of(blind, recall).mean() - of(cured, recall).mean()
        assert lost <= 0.02, f"{cured}: the cure should cost at most 2 points of {recall}, but costs {100 * lost:.1f}"


def test_negatives_that_words_give_away_teach_no_binding():
    assert of("given away", "own_caption").min() >= 0.95, "captions that never are true should be turned down"
    assert of("given away", "own_caption_unseen").min() >= 0.8, "and nearly all of them turned down without the picture"
    assert of("given away", "binding_group").max() <= 0.25, f"so nothing is learned about who is where, got {of('given away', 'binding_group')}"


def test_without_the_picture_the_others_are_at_chance():
    for name in ("blind", "cured", "one a set", "one a set cured", "core pairs"):
        blindfold = of(name, "own_caption_unseen")
        assert (np.abs(blindfold - 0.5) < 0.15).all(), f"{name}: without the picture half of the captions should be preferred, got {blindfold}"


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERYONE)
def test_a_committed_model_scores_what_the_table_says(name):
    scores_again(b.EXPERIMENT, name)


@pytest.mark.slow
def test_a_cured_model_trained_anew_binds():
    params = b.trained(b.WorldSource, b.SORTED, "captions", seed=0)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(params)), "training should leave finite parameters"
    group = b.measure(*b.views(b.bundle(params), b.GALLERY))["binding_group"]
    assert group >= 0.9, f"a cured model trained anew should have a group score of at least 90 %, got {group:.1%}"
