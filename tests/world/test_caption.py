"""One grammar, two readers: what is sampled as ids parses back to what it was sampled to say."""

import re
from itertools import pairwise, product

import jax
import numpy as np
import pytest
from helpers import equals, seeded

from tinyclip.world import WORLDS, get_world
from tinyclip.world.caption import Grammar, Slot
from tinyclip.world.scene import ANY
from tinyclip.world.worlds import TURNED

SAMPLES = 4000  # as many as conftest.py says to one compiled program


def readings(name, meaning):
    """The ways to read a scene: two where it is a pair."""
    return [meaning] if name != "pairs" else [meaning, np.array([*meaning[4:], (1, 0, 3, 2)[meaning[3]], *meaning[:3]])]


def sentences_of(grammar, meaning, only=None):
    """Every sentence that can be said of one reading, with how often it should be said, written down without the table."""
    chances, total = {}, sum(weight for _, weight in grammar.templates)
    for template, weight in grammar.templates:
        if only not in (None, template):
            continue
        words = [re.fullmatch(r"\{(\w+)\}", word) for word in template.split()]
        slots = [grammar.slots[hit[1]] if hit else None for hit in words]
        ways = [slot.phrases[meaning[slot.column]] if slot else (word,) for slot, word in zip(slots, template.split(), strict=True)]
        choices = list(product(*ways))
        for choice in choices:
            sentence = " ".join(choice)
            chances[sentence] = chances.get(sentence, 0) + weight / total / len(choices)
    return chances


@pytest.mark.parametrize("name", WORLDS)
def test_a_sampled_caption_parses_back_to_what_it_says(name, captioned):
    grammar = get_world(name).grammar
    _, _, said, sentences = captioned(name)
    for sentence, expected in dict(zip(sentences[:310], said[:310], strict=True)).items():
        parsed = [tuple(map(int, meaning)) for meaning in grammar.parse(sentence)]
        assert parsed == [tuple(map(int, expected))], f"{name}: {sentence!r} was sampled to say {expected} but parses as {parsed}"


@pytest.mark.parametrize("name", WORLDS)
def test_a_caption_says_the_scene_or_leaves_a_factor_open(name, captioned):
    meaning, _, said, _ = captioned(name)
    fits = [((said == row) | (said == ANY)).all(1) for row in np.stack([readings(name, row) for row in meaning], 1)]
    assert np.any(fits, axis=0).all(), f"{name}: a caption says something else than its scene"
    assert (said != ANY).any(1).all(), f"{name}: a caption says nothing at all"
    assert (said != ANY).any(0).all() or name == "sixteen", f"{name}: some factor is never told"


@pytest.mark.parametrize("name", WORLDS)
def test_sampled_tokens_are_start_words_end_and_padding(name, captioned):
    world = get_world(name)
    tokenizer = world.tokenizer()
    _, tokens, _, sentences = captioned(name)
    assert tokens.dtype == np.int32 and tokens.shape == (SAMPLES, world.context), f"{name}: tokens are {tokens.dtype} {tokens.shape}"
    assert (tokens[:, 0] == tokenizer.start).all(), f"{name}: a caption does not begin with <start>"
    assert ((tokens == tokenizer.end).sum(1) == 1).all(), f"{name}: a caption has not exactly one <end>"
    assert ((tokens == tokenizer.start).sum(1) == 1).all(), f"{name}: <start> occurs again within a caption"
    after = np.cumsum(tokens == tokenizer.end, axis=1) - (tokens == tokenizer.end)
    assert ((tokens == 0) == (after == 1)).all(), f"{name}: padding is not exactly what follows <end>"
    assert (tokenizer(sentences[:500]) == tokens[:500]).all(), (
        f"{name}: the tokenizer writes the same sentences as other ids than the table"
    )


@pytest.mark.parametrize("name", WORLDS)
def test_every_phrase_of_every_slot_is_said(name, captioned):
    grammar, sentences = get_world(name).grammar, " , ".join(["", *captioned(name)[3], ""])
    for phrase in (way for slot in grammar.slots.values() for ways in slot.phrases for way in ways):
        assert f" {phrase} " in sentences, f"{name}: the phrase {phrase!r} is never sampled"


@pytest.mark.parametrize("name", WORLDS)
def test_sentences_are_sampled_as_often_as_their_templates_weights_say(name, caption):
    world = get_world(name)
    total = sum(weight for _, weight in world.grammar.templates)
    for row in (0, -1):
        meaning, counts, chances = world.seen[row], {}, {}
        tokens = np.asarray(caption(name)(jax.random.key(7), np.tile(meaning, (SAMPLES, 1))).tokens)
        for ids, count in zip(*np.unique(tokens, axis=0, return_counts=True), strict=True):
            counts[world.tokenizer().decode(ids)] = int(count)
        both = readings(name, meaning)  # a caption of a pair starts from either thing
        for reading, share in zip(both, (1 - TURNED, TURNED) if len(both) == 2 else (1,), strict=True):
            for sentence, chance in sentences_of(world.grammar, reading).items():
                chances[sentence] = chances.get(sentence, 0) + chance * share
        strange = set(counts) - set(chances)
        assert not strange, f"{name}: {sorted(strange)[:2]} was sampled but is no sentence of the scene {meaning}"
        for sentence, chance in chances.items():
            # Five standard deviations: none of some hundred sentences passes it by chance.
            expected, count = SAMPLES * chance, counts.get(sentence, 0)
            assert abs(count - expected) < 5 * expected**0.5 + 3, f"{name}: {sentence!r} came {count} times, not {expected:.0f}"
        for template, weight in world.grammar.templates:
            own = {sentence for reading in both for sentence in sentences_of(world.grammar, reading, template)}
            expected, count = SAMPLES * weight / total, sum(counts.get(sentence, 0) for sentence in own)
            assert abs(count - expected) < 5 * expected**0.5, f"{name}: {template!r} came {count} times, not {expected:.0f}"


@pytest.mark.parametrize("name", WORLDS)
def test_the_longest_sentence_just_fits_the_context(name):
    world = get_world(name)
    grammar, longest = world.grammar, ""
    for template, _ in grammar.templates:
        sentence = template
        for key, slot in grammar.slots.items():
            phrase = max((way for ways in slot.phrases for way in ways), key=lambda way: len(way.split()))
            sentence = sentence.replace("{" + key + "}", phrase)
        longest = max(longest, sentence, key=lambda text: len(text.split()))
    assert grammar.longest == len(longest.split()), f"{name}: the longest sentence is {longest!r}, but longest is {grammar.longest}"
    tokens = world.tokenizer()([longest])[0]
    assert tokens[-1] == world.tokenizer().end, f"{name}: {longest!r} does not fill the context exactly: {tokens}"


@pytest.mark.parametrize("name", WORLDS)
def test_the_canonical_captions_parse_to_what_they_describe(name):
    world = get_world(name)
    for held_out in (False, True):
        sentences, said = world.canonical(held_out)
        for sentence, meaning in list(zip(sentences, said, strict=True))[:: 1 + len(said) // 120]:
            parsed = world.grammar.parse(sentence)
            assert len(parsed) == 1 and (parsed[0] == meaning).all(), f"{name}: {sentence!r} describes {meaning} but parses as {parsed}"


@pytest.mark.parametrize("name", WORLDS)
def test_every_template_describes_and_parses_back(name):
    world = get_world(name)
    meaning = world.seen[len(world.seen) // 2]
    for template, _ in world.grammar.templates:
        sentence = world.grammar.describe(meaning, template)
        expected = np.where(world.grammar.said(template), meaning, ANY)
        assert [tuple(row) for row in world.grammar.parse(sentence)] == [tuple(expected)], f"{name}: {sentence!r} does not say {expected}"


@pytest.mark.parametrize("name", WORLDS)
def test_a_stands_before_no_vowel(name):
    grammar = get_world(name).grammar
    assert not any(word[0] in "aeiou" for slot in grammar.slots.values() for ways in slot.phrases for way in ways
                   for word in re.findall(r"\ba (\w+)", way)), f"{name}: a phrase says 'a' where 'an' is right"  # fmt: skip
    for template, _ in grammar.templates:
        words = template.split()
        for before, after in pairwise(words):
            if before == "a":
                heads = [way for ways in grammar.slots[after[1:-1]].phrases for way in ways] if after[0] == "{" else [after]
                wrong = [head for head in heads if head[0] in "aeiou"]
                assert not wrong, f"{name}: {template!r} can say 'a {wrong and wrong[0]}' where 'an' is right"


@pytest.mark.parametrize(
    ("name", "sentence", "said"),
    [
        ("single", "a large red circle", {0: 1, 1: 0, 2: 0}),
        ("single", "a big red disc", {0: 1, 1: 0, 2: 0}),
        ("single", "something red", {1: 0}),
        ("single", "a crescent", {2: 7}),
        ("single", "a little blue heart in the bottom center", {0: 0, 1: 3, 2: 4, 3: 2, 4: 1}),
        ("single", "A BIG star that is PINK", {0: 1, 1: 6, 2: 3}),
        ("pairs", "a red circle left of a blue square", {1: 0, 2: 0, 3: 0, 5: 3, 6: 1}),
        ("pairs", "a blue box to the right of a red disc", {1: 3, 2: 1, 3: 1, 5: 0, 6: 0}),
        ("pairs", "under a brown moon is a cyan ring", {1: 4, 2: 6, 3: 3, 5: 7, 6: 7}),
        ("pairs", "something red", {1: 0}),
        ("animals", "in the snow a white lion is sleeping", {0: 2, 1: 1, 2: 2, 3: 3}),
        ("animals", "something playing with a ball", {2: 5}),
        ("sixteen", "a yellow star", {1: 1, 2: 3}),
    ],
)
def test_a_sentence_says_what_a_reader_takes_it_to_say(name, sentence, said):
    grammar = get_world(name).grammar
    expected = [said.get(f, ANY) for f in range(grammar.factors)]
    parsed = [list(map(int, meaning)) for meaning in grammar.parse(sentence)]
    assert parsed == [expected], f"{name}: {sentence!r} parses as {parsed}, not as {expected}"


@pytest.mark.parametrize(
    "sentence",
    ["", "a", "red circle", "a circle red", "a red circle left of", "a red circle a red circle", "a large big circle", "colour", "{shape}"],
)
def test_nonsense_has_no_meaning(sentence):
    for name in WORLDS:
        parsed = get_world(name).grammar.parse(sentence)
        assert parsed == [], f"{name}: {sentence!r} is no sentence but parses as {parsed}"


def small_grammar():
    """Two slots of one factor, phrases of one and of three words, an ambiguous sentence."""
    tone = Slot(0, (("dark", "as dark as night"), ("pale",)))
    thing = Slot(1, (("cup", "vessel"), ("jug", "vessel"), ("pot",)))
    return Grammar(2, {"tone": tone, "thing": thing}, (("a {thing} that is {tone}", 2), ("{tone} and {tone}", 1), ("a {thing}", 1)))


def test_a_word_of_two_values_has_two_meanings():
    parsed = [tuple(map(int, row)) for row in small_grammar().parse("a vessel that is as dark as night")]
    assert sorted(parsed) == [(0, 0), (0, 1)], f"an ambiguous sentence should have both meanings, not {parsed}"


def test_a_factor_told_twice_must_be_told_alike():
    grammar = small_grammar()
    assert [tuple(row) for row in grammar.parse("dark and as dark as night")] == [(0, ANY)], (
        "a factor told twice in two ways is still one meaning"
    )
    assert grammar.parse("dark and pale") == [], "a sentence that contradicts itself has no meaning"


def test_a_grammar_knows_its_words_and_its_longest_sentence():
    grammar = small_grammar()
    expected = sorted({"a", "that", "is", "and", "dark", "as", "night", "pale", "cup", "vessel", "jug", "pot"})
    assert grammar.words == expected, f"the words should be those of templates and phrases, sorted, not {grammar.words}"
    assert grammar.longest == 9, f"'as dark as night and as dark as night' has 9 words, longest is {grammar.longest}"
    assert grammar.said("a {thing}").tolist() == [False, True], "said() should mark the factors of the template's slots"


@pytest.mark.exercise("2.3")
def test_a_scene_is_described_by_the_usual_phrases_in_the_template():
    grammar = small_grammar()
    first = "the first template, and of each value the first phrase"
    equals("describe of a pale cup, [1, 0]", grammar.describe(np.array([1, 0])), "a cup that is pale", first)
    equals("describe of a dark pot, [0, 2]", grammar.describe(np.array([0, 2])), "a pot that is dark", first)
    equals("describe of a pale cup in '{tone} and {tone}'", grammar.describe(np.array([1, 0]), "{tone} and {tone}"), "pale and pale")


@pytest.mark.exercise("2.3")
def test_any_grammar_describes_as_a_loop_over_its_template_does():
    random = seeded(1)
    made_up = iter(random.permutation([a + b + c + d for a in "bdfg" for b in "aeiou" for c in "klmn" for d in "aeiou"]).tolist())
    columns = random.permutation(4).tolist()  # of which the last is told by no slot
    phrases = [tuple((next(made_up), f"{next(made_up)} {next(made_up)}") for _ in range(values)) for values in (3, 2, 4)]
    slots = {key: Slot(column, ways) for key, column, ways in zip(("how", "what", "where"), columns, phrases, strict=False)}
    templates = (("the {what} is {how} {where}", 1), ("{where} lies a {how} {what}", 3))
    grammar = Grammar(4, slots, templates)
    for template in (None, templates[1][0], templates[0][0]):
        for _ in range(3):
            values = [int(random.integers(n)) for n in (3, 2, 4)]
            meaning = np.zeros(4, int)
            meaning[columns[:3]] = values
            words = (template or templates[0][0]).split()
            for key, ways, value in zip(("{how}", "{what}", "{where}"), phrases, values, strict=True):
                words[words.index(key)] = ways[value][0]
            given = f" in {template!r}" if template else ""
            told = ", ".join(f"{key} in column {slot.column}" for key, slot in slots.items())
            equals(f"describe of {meaning.tolist()}{given} ({told})", grammar.describe(meaning, template), " ".join(words))
