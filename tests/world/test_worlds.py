"""A world as the rest of tinyclip sees it: sampling, truth, reading, and the numbers it promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import check, seeded

from tinyclip.errors import UserError
from tinyclip.world import WORLDS, get_world, read_anywhere, worlds
from tinyclip.world.caption import Grammar
from tinyclip.world.scene import ANY
from tinyclip.world.worlds import TURNED, World

CONVERSE = {ANY: ANY, 0: 1, 1: 0, 2: 3, 3: 2}


def readings(world, meaning):
    """The ways to read a scene, in plain Python."""
    meaning = [int(v) for v in meaning]
    return [meaning] if world.name != "pairs" else [meaning, [*meaning[4:], CONVERSE[meaning[3]], *meaning[:3]]]


@pytest.mark.parametrize("name", WORLDS)
def test_truth_is_what_a_slow_loop_finds(name):
    world, random = get_world(name), np.random.default_rng(0)
    meaning = world.seen[random.integers(len(world.seen), size=23)]
    # Half of what is said is taken from the scenes themselves, some from their other reading, and most of it leaves something open.
    said = np.concatenate([meaning[:17], world.seen[random.integers(len(world.seen), size=24)]])
    said[:6] = [readings(world, row)[-1] for row in said[:6]]
    said = np.where(random.random(said.shape) < 0.6, ANY, said)
    said[0], said[1] = readings(world, meaning[0])[-1], ANY
    slow = np.zeros((len(meaning), len(said)), bool)
    for i, scene in enumerate(meaning):
        for j, words in enumerate(said):
            slow[i, j] = any(
                all(w in (ANY, v) for w, v in zip(map(int, words), reading, strict=True)) for reading in readings(world, scene)
            )
    fast = np.asarray(jax.jit(world.true_of)(said, meaning))
    assert fast.shape == slow.shape, f"{name}: true_of has shape {fast.shape}, not (scenes, captions) = {slow.shape}"
    assert (fast == slow).all(), f"{name}: true_of disagrees with a plain loop for scene, caption {np.argwhere(fast != slow)[0]}"
    assert 0.05 < slow.mean() < 0.95, "this test compares hardly anything true, or hardly anything false"


def a_world(turn=None):
    """A world of three factors of which only the truth is asked."""
    nothing = np.zeros((0, 3), int)
    return World("a world", Grammar(3, {}, ()), nothing, nothing, looks=0, render=lambda scenes, size: None, turn=turn)


def backwards(meaning):
    """The second reading of a scene: a, b, c is also c, b, a."""
    return jnp.asarray(meaning)[..., ::-1]


def true_slowly(said, meaning, turned):
    return np.array([
        [any(all(word in (ANY, v) for word, v in zip(words, way, strict=True)) for way in ([scene, scene[::-1]] if turned else [scene]))
         for words in said.tolist()] for scene in meaning.tolist()
    ])  # fmt: skip


@pytest.mark.exercise("2.4")
@pytest.mark.parametrize("turned", [False, True], ids=["one reading", "two readings"])
def test_a_caption_is_true_where_all_that_it_says_fits_one_reading(turned):
    world = a_world(backwards if turned else None)
    scenes = np.array([[0, 1, 2], [2, 1, 1], [0, 2, 2], [1, 1, 0]])
    said = np.array([[0, 1, 2], [0, ANY, 2], [ANY, ANY, ANY], [2, 1, 0], [0, 1, 0], [1, ANY, ANY]])
    want = np.array([[1, 1, 1, turned, 0, 0], [0, 0, 1, 0, 0, turned], [0, 1, 1, 0, 0, 0], [0, 0, 1, 0, 0, 1]], bool)
    got = world.true_of(jnp.asarray(said), jnp.asarray(scenes))
    ways = " (a scene a, b, c is also c, b, a)" if turned else ""
    if np.shape(got) == want.shape:
        for i, j in ((0, 0), (1, 0), (0, 4), (2, 1), (0, 3), (1, 5)):
            name = f"true_of: is {said[j].tolist()} true of {scenes[i].tolist()} (1 or 0){ways}"
            check(name, np.asarray(got)[i, j], want[i, j], 0, "-1 leaves a factor open")
    check(f"true_of of 4 scenes and 6 captions{ways}", got, want, 0)


@pytest.mark.exercise("2.4")
@pytest.mark.parametrize("turned", [False, True], ids=["one reading", "two readings"])
def test_the_table_of_truth_is_what_a_loop_finds(turned):
    random, world = seeded(1), a_world(backwards if turned else None)
    meaning = random.integers(3, size=(4, 3))
    said = np.where(random.random((6, 3)) < 0.4, ANY, random.integers(3, size=(6, 3)))
    said[:4:2], said[1:4:2] = meaning[:4:2], meaning[1:4:2, ::-1]
    said[3, 1] = ANY
    ways = "two readings" if turned else "one reading"
    want = true_slowly(said, meaning, turned)
    check(f"true_of of 4 scenes and 6 captions, {ways}", world.true_of(jnp.asarray(said), jnp.asarray(meaning)), want, 0)
    if turned:
        check(f"true_of of 4 scenes and 6 captions, {ways}, inside jax.jit", jax.jit(world.true_of)(said, meaning), want, 0)


@pytest.mark.parametrize("name", WORLDS)
def test_a_caption_is_true_of_its_own_scene(name, captioned):
    world, (meaning, _, said, _) = get_world(name), captioned(name)
    true = np.asarray(jax.jit(world.true_of)(said, meaning))
    assert true.diagonal().all(), f"{name}: a sampled caption is not true of its scene"
    assert not true.all(), f"{name}: every caption is true of everything"


def test_a_pair_is_told_from_either_of_its_things(captioned):
    meaning, _, said, _ = captioned("pairs")
    whole = (said[:, 3] != ANY) & (said[:, 1] != ANY)
    first = (said[whole, 1] == meaning[whole, 1]).mean()
    assert abs(first - (1 - TURNED)) < 0.03, f"a caption starts with the first thing in {first:.0%} of the scenes, not in {1 - TURNED:.0%}"
    assert 0.1 <= TURNED <= 0.5, f"captions that start from the other thing should be common, not {TURNED:.0%} of all"


@pytest.mark.parametrize(
    ("name", "seen", "held_out"), [("single", 8 * 8 * 2 - 16, 16), ("pairs", None, None), ("animals", 43 * 25, 5 * 25), ("sixteen", 16, 0)]
)
def test_the_canonical_captions_are_all_and_distinct(name, seen, held_out):
    world = get_world(name)
    for kind, rows, count in (("seen", world.seen, seen), ("held-out", world.held_out, held_out)):
        sentences, said = world.canonical(kind != "seen")
        if name == "pairs":  # two readings of one scene are one caption
            count = len({frozenset(tuple(reading[k] for k in (1, 2, 3, 5, 6)) for reading in readings(world, row)) for row in rows})
        assert len(sentences) == len(said) == count, f"{name}: {len(sentences)} {kind} canonical captions, not {count}"
        assert len(set(sentences)) == len(sentences), f"{name}: a {kind} canonical caption comes twice"
        if count:
            sample = rows[:: max(1, len(rows) // 40)]
            true = np.asarray(jax.jit(world.true_of)(said, sample))
            assert (true.sum(1) == 1).all(), f"{name}: not exactly one canonical caption is true of a {kind} scene"


def test_there_are_at_least_sixty_captions_of_animals():
    assert len(get_world("animals").canonical()[0]) >= 60, "animals should have at least 60 canonical captions"


def test_one_reading_is_the_same_for_a_scene_and_its_converse():
    world = get_world("pairs")
    rows = world.held_out[::97]
    turned = np.array([readings(world, row)[1] for row in rows])
    assert (world.one_reading(rows) == world.one_reading(turned)).all(), "a scene and its converse have two fixed readings"
    fixed = world.one_reading(rows)
    assert all(row.tolist() in readings(world, other) for row, other in zip(fixed, rows, strict=True)), (
        "the fixed reading is of another scene"
    )
    plain = get_world("single").seen[:7]
    assert (get_world("single").one_reading(plain) == plain).all(), "where a scene has one reading, that is it"


@pytest.mark.parametrize("name", WORLDS)
def test_the_same_seed_gives_the_same_scenes_and_captions(name, caption, captioned):
    world, (meaning, tokens, _, _) = get_world(name), captioned(name)
    first, again, other = (world.sample(jax.random.key(seed), 500) for seed in (11, 11, 12))
    for what, a, b, c in zip(("meaning", "looks"), first, again, other, strict=True):
        assert (a == b).all(), f"{name}: the same seed gave two different {what}"
        assert (a != c).any(), f"{name}: two seeds gave the same {what}"
    assert (caption(name)(jax.random.key(4), meaning).tokens == tokens).all(), f"{name}: the same seed gave two different captions"
    changed = (caption(name)(jax.random.key(5), meaning).tokens != tokens).any()
    assert changed or name == "sixteen", f"{name}: two seeds gave the same captions"


def test_scenes_are_the_same_without_jit(drawn):
    world = get_world("single")
    jitted = jax.jit(world.sample, static_argnums=1)(jax.random.key(11), 500)
    meaning, looks, _, _ = drawn("single", 24)
    assert (jitted.meaning == meaning).all() and (jitted.looks == looks).all(), "scenes differ between jit and no jit"


@pytest.mark.slow  # every operation is compiled by itself: 4 s
def test_captions_are_the_same_without_jit(captioned):
    world = get_world("pairs")
    meaning, tokens, said, _ = captioned("pairs")
    plain = world.caption(jax.random.key(4), jnp.asarray(meaning))
    assert (plain.tokens == tokens).all() and (plain.said == said).all(), "captions differ between jit and no jit"


def test_meanings_are_sampled_evenly_and_from_the_right_list():
    world = get_world("single")
    for held_out, rows in ((False, world.seen), (True, world.held_out)):
        found = np.asarray(world.sample(jax.random.key(0), 500, "test", held_out).meaning)
        kinds, allowed = set(map(tuple, found.tolist())), set(map(tuple, rows.tolist()))
        assert kinds <= allowed, f"sampling with held_out={held_out} gives {len(kinds - allowed)} meanings that are not in its list"
        # 500 even draws from 1008 rows meet 394 of them, from 144 rows 140, give or take 10; draws that prefer some rows meet fewer.
        expected = len(rows) * (1 - np.exp(-500 / len(rows)))
        assert abs(len(kinds) - expected) < 40, f"500 draws meet {len(kinds)} of {len(rows)} meanings where even ones meet {expected:.0f}"
        for f in range(5):
            values = set(rows[:, f].tolist())
            assert set(found[:, f].tolist()) == values, f"500 draws never meet {values - set(found[:, f].tolist())} of factor {f}"


def test_few_scenes_are_the_first_of_many_and_need_no_program_of_their_own():
    world, key = get_world("single"), jax.random.key(6)
    many = world.sample(key, 40_000, "test")  # a program of its own, since it is more than are drawn anyhow
    before = worlds._program()._cache_size()
    for number in (1, 7, 500):
        few, inside = world.sample(key, number, "test"), jax.jit(lambda key, number=number: world.sample(key, number, "test"))(key)
        for name in ("meaning", "looks"):
            first = np.asarray(getattr(many, name))[:number]
            assert np.array_equal(getattr(few, name), first), f"sample: {number} scenes should be the first of 40,000, but their {name} is not"
            assert np.array_equal(getattr(inside, name), first), f"sample: inside a program, the {name} of {number} scenes differs"
    outside = worlds._program()._cache_size() - before
    assert outside <= 1, f"sample: one program should serve every small number of scenes, but {outside} were compiled"


def test_a_dressed_scene_keeps_its_meaning():
    world = get_world("pairs")
    meaning = jnp.asarray(world.seen[:500], jnp.int32)
    first, second = (world.dress(jax.random.key(seed), meaning) for seed in (0, 1))
    assert (first.meaning == meaning).all(), "dressing a scene changes what it shows"
    assert first.looks.shape == (500, world.looks), f"looks are {first.looks.shape}, not (500, {world.looks})"
    assert (first.looks[:, 0] >= 228).all(), "a scene dressed for the test split has another split's backdrop"
    assert (first.looks != second.looks).any(1).all(), "two keys dress a scene alike"


@pytest.mark.parametrize("name", WORLDS)
def test_filling_a_caption_gives_a_scene_of_which_it_is_true(name):
    world, random = get_world(name), np.random.default_rng(4)
    every = np.concatenate([world.seen, world.held_out])
    rows = {tuple(row) for row in every.tolist()}
    for row in every[random.integers(len(every), size=30)]:
        said = np.where(random.random(len(row)) < 0.6, ANY, row)
        full = world.fill(said, seed=int(random.integers(100)))
        assert (full != ANY).all(), f"{name}: filling {said} leaves a factor open: {full}"
        assert ((said == full) | (said == ANY)).all(), f"{name}: {said} is not true of its filling {full}"
        assert tuple(full.tolist()) in rows, f"{name}: {said} can be completed to a meaning of this world, but {full} is none"
    nothing = np.full(len(every[0]), ANY)
    assert (world.fill(nothing, 3) == world.fill(nothing, 3)).all(), f"{name}: the same seed fills a caption in two ways"
    assert len({tuple(world.fill(nothing, seed)) for seed in range(20)}) > 5, f"{name}: the seed hardly changes how a caption is filled"


def test_a_meaning_the_world_does_not_have_is_still_drawn_as_said():
    world = get_world("pairs")
    (said,) = world.grammar.parse("a red circle left of a red square")
    full = world.fill(said)
    assert (full[said != ANY] == said[said != ANY]).all() and (full != ANY).all(), f"{full} is not two red things as asked for"


@pytest.mark.parametrize("name", WORLDS)
def test_the_mean_and_spread_of_the_pixels_are_those_the_world_states(name, drawn):
    world, pictures = get_world(name), drawn(name, 24)[2]
    assert len(pictures) == 500, "the pixels should be measured on 500 pictures"
    for what, stated, measured in (("mean", world.mean, pictures.mean((0, 1, 2))), ("std", world.std, pictures.std((0, 1, 2)))):
        off = np.abs(np.array(stated) - measured).max()
        assert off < 0.03, f"{name}: {what} should be about {tuple(float(round(v, 3)) for v in measured)}, not {stated}"


@pytest.mark.parametrize("name", WORLDS)
def test_pictures_and_masks_have_the_promised_form(name, drawn):
    meaning, _, pictures, masks = drawn(name, 24)
    count = {"single": 1, "sixteen": 1, "pairs": 2, "animals": 2}[name]
    assert pictures.shape == (500, 24, 24, 3), f"{name}: pictures are {pictures.shape}"
    assert masks.shape == (500, count, 24, 24), f"{name}: masks are {masks.shape}"
    assert meaning.shape[1] == get_world(name).grammar.factors, f"{name}: the grammar speaks of another number of factors than scenes have"
    for what, values in (("pictures", pictures), ("masks", masks)):
        assert values.dtype == np.float32, f"{name}: {what} are {values.dtype}, not float32"
        assert values.min() >= 0 and values.max() <= 1, f"{name}: {what} run from {values.min()} to {values.max()}, outside 0..1"


def test_the_four_worlds_have_their_names():
    assert set(WORLDS) == {"single", "pairs", "animals", "sixteen"}, f"the worlds are {WORLDS}"
    for name in WORLDS:
        assert get_world(name).name == name, f"get_world({name!r}) is called {get_world(name).name!r}"
        assert get_world(name) is get_world(name), (
            f"get_world({name!r}) builds a new world every time: nothing compiled would be found again"
        )


def test_an_unknown_world_is_an_error_that_lists_the_worlds():
    with pytest.raises(UserError) as error:
        get_world("triples")
    for word in ("triples", *WORLDS):
        assert word in str(error.value), f"the error for an unknown world does not mention {word!r}: {error.value}"


@pytest.mark.parametrize(
    ("sentence", "name", "said"),
    [
        ("a large red circle", "single", {0: 1, 1: 0, 2: 0}),
        ("A big, red disc.", "single", {0: 1, 1: 0, 2: 0}),
        ("a red circle left of a blue square", "pairs", {1: 0, 2: 0, 3: 0, 5: 3, 6: 1}),
        ("a cat sitting on a mat", "animals", {0: 0, 2: 0, 3: 0}),
    ],
)
def test_a_sentence_is_read_in_the_world_that_can_say_it(sentence, name, said):
    world, meaning = read_anywhere(sentence)
    assert world.name == name, f"{sentence!r} was read in {world.name}, not in {name}"
    assert meaning.tolist() == [said.get(f, ANY) for f in range(len(meaning))], f"{sentence!r} was read as {meaning}"


def test_a_sentence_is_read_in_the_one_world_asked_for():
    for name in ("single", "pairs", "sixteen"):
        assert read_anywhere("a red circle", only=name)[0].name == name, f"'a red circle' was not read in {name}, the only world asked for"
    with pytest.raises(UserError, match="circle"):
        read_anywhere("a red circle", only="animals")
    with pytest.raises(UserError, match="triples"):
        read_anywhere("a red circle", only="triples")


@pytest.mark.parametrize(
    ("sentence", "wrong", "near"), [("a red circel", "circel", "circle"), ("a lion siting on a mat", "siting", "sitting")]
)
def test_an_unknown_word_is_named_with_a_near_one(sentence, wrong, near):
    with pytest.raises(UserError) as error:
        read_anywhere(sentence)
    for word in (wrong, near, sentence):
        assert repr(word) in str(error.value), f"the error for {sentence!r} does not mention {word!r}: {error.value}"


def test_an_unknown_word_like_no_other_lists_the_known_ones():
    with pytest.raises(UserError) as error:
        read_anywhere("a zzzzzz circle", only="sixteen")
    for word in ("zzzzzz", "circle", "yellow"):
        assert word in str(error.value), f"the error for a word like no other does not mention {word!r}: {error.value}"
    assert "did you mean" not in str(error.value), f"the error suggests something for a word like no other: {error.value}"


@pytest.mark.parametrize("sentence", ["circle a red", "a red circle left of"])
def test_known_words_that_are_no_sentence_get_an_example(sentence):
    with pytest.raises(UserError) as error:
        read_anywhere(sentence)
    text = str(error.value)
    assert repr(sentence) in text and "not this sentence" in text, f"the error for {sentence!r} is {text}"
    example = get_world(WORLDS[0]).grammar.describe(get_world(WORLDS[0]).seen[0])
    assert repr(example) in text, f"the error for {sentence!r} shows no sentence that would do: {text}"


def test_an_empty_sentence_is_an_error_of_its_own():
    with pytest.raises(UserError, match="empty"):
        read_anywhere(" . ")


def test_scenes_of_numpy_and_of_jax_are_drawn_alike(program, drawn):
    meaning, _, pictures, _ = drawn("single", 24)
    scenes = get_world("single").sample(jax.random.key(11), 500)
    assert (np.asarray(scenes.meaning) == meaning).all(), "the fixture's scenes are not those of the key"
    assert (np.asarray(program("single", 24)(scenes)[0]) == pictures).all(), "a jax scene is drawn unlike the same scene in NumPy"


def test_a_worlds_context_and_tokenizer_come_from_its_grammar():
    for name in WORLDS:
        world = get_world(name)
        tokenizer = world.tokenizer()
        assert world.context == world.grammar.longest + 2 == tokenizer.context, (
            f"{name}: the context is not the longest sentence, start and end"
        )
        assert tokenizer.words == world.grammar.words, f"{name}: the tokenizer has other words than the grammar"
        assert world.table.context == world.context, f"{name}: the grammar's table has another context"
        assert (world.swaps is None) == (name != "pairs"), f"{name}: only pairs has exact negatives"
