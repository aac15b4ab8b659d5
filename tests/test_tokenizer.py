"""Words to ids and back."""

import json

import numpy as np
import pytest
from helpers import check, equals, seeded
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyclip.errors import UserError
from tinyclip.tokenizer import WordTokenizer, known_words, split_words

WORDS = ["red", "a", "circle", "blue", "square", "left", "of"]
quick = settings(max_examples=60, deadline=None, database=None)


@pytest.fixture(scope="module")
def tokenizer():
    return WordTokenizer(WORDS, context=9)


def new_words(random, count):
    """Words that nobody knows, no two of which share a letter, so that a mistyped one is near to one only."""
    letters = random.permutation(list("abcdefghijklmnopqrstuvwxyz"))
    return ["".join(some) for some in np.array_split(letters, 26 // 5)[:count]]


def outcome(call):
    """What comes of a call: its result, or the kind of error that it raises on purpose."""
    try:
        return call()
    except (UserError, ValueError, KeyError) as error:
        return f"a {type(error).__name__}"


def named(call, candidates):
    """Which of the candidates the message of the call's UserError names."""
    try:
        call()
    except UserError as error:
        return [word for word in candidates if word in str(error)]
    return "no UserError"


# A sentence into words.


@pytest.mark.exercise("0.1")
def test_capitals_and_white_space_do_not_matter():
    for sentence in ("a red circle", "A Red CIRCLE", "  a   red circle ", "a\tred\ncircle"):
        equals(f"split_words({sentence!r})", split_words(sentence), ["a", "red", "circle"])


@pytest.mark.exercise("0.1")
def test_punctuation_around_a_word_goes_and_within_a_word_stays():
    for sentence in ("a red circle.", "a, red; circle?!", '"a (red) [circle]', "“a ‘red’ circle”"):
        equals(f"split_words({sentence!r})", split_words(sentence), ["a", "red", "circle"])
    equals('split_words("it\'s state-of-the-art")', split_words("it's state-of-the-art"), ["it's", "state-of-the-art"])


@pytest.mark.exercise("0.1")
def test_what_is_only_punctuation_is_no_word():
    for sentence, words in (("a red . circle", ["a", "red", "circle"]), ("...", []), ("", [])):
        equals(f"split_words({sentence!r})", split_words(sentence), words)


@pytest.mark.exercise("0.1")
def test_any_words_come_back_from_a_badly_typed_sentence():
    random = seeded(1)
    words = [str(word) for word in random.permutation([*new_words(random, 4), "o'clock", "part-time"])]
    typed = "".join(
        random.choice(["", "'", "(", "“", "!["]) + random.choice([word, word.upper(), word.title()]) + random.choice(["", ".", "?!", ")", "”,"])
        + random.choice([" ", "  ", "\t", "\n", " ... "])
        for word in words
    )  # fmt: skip
    equals(f"split_words({typed!r})", split_words(typed), words)


# Words that nobody taught it.


@pytest.mark.exercise("0.2")
def test_the_words_come_back_if_all_are_known():
    vocabulary = new_words(seeded(2), 4)
    sentence = f"{vocabulary[2].upper()}, ({vocabulary[0]})  {vocabulary[2]} . {vocabulary[3]}!"
    words = [vocabulary[k] for k in (2, 0, 2, 3)]
    equals(f"known_words({sentence!r}), all known", outcome(lambda: known_words(sentence, vocabulary, "unheard of is")), words)


@pytest.mark.exercise("0.2")
def test_an_unknown_word_is_a_user_error_with_the_nearest_known_one():
    random = seeded(3)
    first, second, third, unlike = new_words(random, 4)
    vocabulary, complaint = [str(word) for word in random.permutation([first, second, third])], f"complaint {random.integers(100, 1000)}:"
    mistyped, also = first[:2] + first[3:], second[:-1]
    for sentence, unknown, near in (
        (f"{third} {mistyped}", mistyped, [first]),
        (f"{mistyped} {third} {also}", mistyped, [first]),
        (f"{third} {unlike}", unlike, []),
    ):
        name = f"known_words({sentence!r}) where {unknown!r} is unknown"
        equals(name, outcome(lambda sentence=sentence: known_words(sentence, vocabulary, complaint)), "a UserError")
        candidates = [complaint, unknown, first, second] if near else [complaint, unknown]  # if none is near, others may be named instead
        got = named(lambda sentence=sentence: known_words(sentence, vocabulary, complaint), candidates)
        hint = "the error names the complaint, the first unknown word, and the known words near it"
        equals(f"{name}: of {candidates} its error names", got, [complaint, unknown, *near], hint)


@pytest.mark.exercise("0.2")
def test_no_word_at_all_is_a_user_error():
    for sentence in ("", " ?! ..."):
        equals(f"known_words({sentence!r})", outcome(lambda sentence=sentence: known_words(sentence, WORDS, "unheard of is")), "a UserError")


# Sentences to rows of ids.


@pytest.mark.exercise("3.1")
def test_every_sentence_becomes_a_row_of_start_words_end_and_padding():
    random = seeded(4)
    words, T = sorted(new_words(random, 5)), 7
    tokenizer = WordTokenizer(words, T)  # padding is 0, the words 1 to 5, start 6, end 7
    rows, sentences = [], []
    for length in (2, 1, 4, 5):
        ids = [int(i) for i in random.integers(1, 6, size=length)]
        rows.append([6, *ids, 7] + [0] * (T - 2 - length))
        sentences.append(" ".join(words[i - 1] for i in ids).capitalize() + ".")
    got = outcome(lambda: tokenizer(sentences[:3]))
    name = f"the tokenizer, T = {T}, start {tokenizer.start}, end {tokenizer.end}"
    equals(f"{name}: the kind of its result", str(getattr(got, "dtype", got if isinstance(got, str) else type(got).__name__)), "int32")
    for sentence, row, expected in zip(sentences, got.tolist(), rows, strict=False):
        equals(f"{name}: the row of {len(sentence.split())} words", row, expected)
    check(f"{name}: the rows of 3 sentences", got, np.array(rows[:3]), 0)
    equals(f"{name}: the row of 5 words", np.asarray(outcome(lambda: tokenizer(sentences[3:]))).tolist(), rows[3:], "5 words, start and end just fit")


@pytest.mark.exercise("3.1")
def test_a_sentence_too_long_is_cut_before_its_end_token_or_refused():
    random = seeded(5)
    words, T = sorted(new_words(random, 5)), 6
    tokenizer, ids = WordTokenizer(words, T), [int(i) for i in random.integers(1, 6, size=8)]
    long, cut = " ".join(words[i - 1] for i in ids), [6, *ids[:4], 7]
    by_one = " ".join(long.split()[:5])
    for name, sentence in (("8 words", long), ("5 words", by_one)):
        got = outcome(lambda sentence=sentence: tokenizer([sentence], truncate=True))
        got = got if isinstance(got, str) else np.asarray(got).tolist()
        equals(f"the tokenizer, T = {T}, end {tokenizer.end}: {name}, truncate=True", got, [cut], "the first 4 words, between start and end")
        refused = outcome(lambda sentence=sentence: tokenizer([words[0], sentence]))
        equals(f"the tokenizer, T = {T}: {name}, without truncate", refused if isinstance(refused, str) else "rows", "a UserError")


@pytest.mark.exercise("3.1")
def test_no_sentences_give_no_rows_and_unknown_words_an_error():
    tokenizer = WordTokenizer(WORDS, context=9)
    equals("the shape of the tokens of no sentences, T = 9", np.shape(tokenizer([])), (0, 9))
    refused = outcome(lambda: tokenizer(["a red circle", "a red circel"]))
    equals("the tokenizer for the unknown word 'circel'", refused if isinstance(refused, str) else "rows", "a UserError")
    refused = outcome(lambda: WordTokenizer(WORDS, context=4)(["a red circel"], truncate=True))
    name = "the tokenizer, T = 4, for the unknown word 'circel' among what is cut off"
    equals(name, refused if isinstance(refused, str) else "rows", "a UserError", "every word is looked at, then the rest is cut off")


def test_ids_are_pad_then_sorted_words_then_start_then_end(tokenizer):
    expected = {"<pad>": 0, "a": 1, "blue": 2, "circle": 3, "left": 4, "of": 5, "red": 6, "square": 7, "<start>": 8, "<end>": 9}
    assert tokenizer.ids == expected, f"the ids are {tokenizer.ids}"
    assert (tokenizer.start, tokenizer.end, tokenizer.vocab) == (8, 9, 10), "start, end and vocab do not follow from the words"
    assert max(tokenizer.ids.values()) == tokenizer.end == tokenizer.vocab - 1, "<end> is not the largest id, as it is in CLIP"


def test_the_order_and_number_of_the_words_given_do_not_matter(tokenizer):
    other = WordTokenizer(reversed([*WORDS, *WORDS]), context=9)
    assert other.ids == tokenizer.ids, "the same words in another order, or twice, get other ids"


def test_a_sentence_becomes_start_words_end_padding(tokenizer):
    tokens = tokenizer(["a red circle", "blue", "a red circle left of a square"])
    expected = [[8, 1, 6, 3, 9, 0, 0, 0, 0], [8, 2, 9, 0, 0, 0, 0, 0, 0], [8, 1, 6, 3, 4, 5, 1, 7, 9]]
    assert tokens.tolist() == expected, f"the tokens are {tokens.tolist()}"
    assert tokens.dtype == np.int32, f"the tokens are {tokens.dtype}, not int32"
    assert tokenizer([]).shape == (0, 9), "no sentences should give no rows"


def test_punctuation_capitals_and_spaces_do_not_matter(tokenizer):
    plain = tokenizer(["a red circle"])[0].tolist()
    for sentence in ("A red circle.", "  a   RED\tcircle\n", '"A (red) circle!"', "“a red circle”", "a, red; circle?", "a red . circle"):
        assert tokenizer([sentence])[0].tolist() == plain, f"{sentence!r} is tokenized unlike 'a red circle'"


def test_an_unknown_word_is_named_with_a_near_one(tokenizer):
    with pytest.raises(UserError) as error:
        tokenizer(["a red circle", "a red Circel."])
    for part in ("'circel'", "'circle'", "'a red Circel.'", "did you mean"):
        assert part in str(error.value), f"the error for an unknown word does not contain {part}: {error.value}"


def test_an_unknown_word_like_no_other_lists_the_known_ones(tokenizer):
    with pytest.raises(UserError) as error:
        tokenizer(["a zzzz circle"])
    for part in ("'zzzz'", "a, blue, circle, left, of, red, square"):
        assert part in str(error.value), f"the error for a word like no other does not contain {part!r}: {error.value}"
    assert "did you mean" not in str(error.value), f"the error suggests something for a word like no other: {error.value}"


def test_a_large_vocabulary_is_not_told_whole():
    with pytest.raises(UserError) as error:
        WordTokenizer([f"w{i}" for i in range(20_000)], 9)(["zzzzzz"])
    assert len(str(error.value)) < 600 and "19,940 more" in str(error.value), f"want some words and how many more, got {str(error.value)[:600]}"


@pytest.mark.parametrize("special", ["<pad>", "<start>", "<end>"])
def test_a_special_token_in_a_caption_is_an_unknown_word(tokenizer, special):
    with pytest.raises(UserError) as error:
        tokenizer([f"a {special} circle"])
    assert special in str(error.value), f"a caption that contains {special} should be refused by name: {error.value}"


def test_a_caption_beyond_the_context_is_an_error_that_says_the_limit(tokenizer):
    caption = "a red circle left of a blue square"
    with pytest.raises(UserError) as error:
        tokenizer([caption])
    for part in (repr(caption), "8 words", "at most 7"):
        assert part in str(error.value), f"the error for a long caption does not contain {part!r}: {error.value}"
    assert tokenizer(["a red circle left of a square"])[0, -1] == tokenizer.end, "a caption that just fits is not accepted"


def test_an_error_about_a_very_long_caption_is_short(tokenizer):
    with pytest.raises(UserError) as error:
        tokenizer(["red circle " * 200])
    assert "400 words" in str(error.value) and len(str(error.value)) < 250, f"the error repeats a very long caption: {error.value}"


def test_truncation_keeps_the_first_words_and_the_end(tokenizer):
    tokens = tokenizer(["a red circle left of a blue square", "a circle"], truncate=True)
    assert tokens[0].tolist() == [8, 1, 6, 3, 4, 5, 1, 2, 9], f"a truncated caption is {tokens[0].tolist()}: its first 7 words, then <end>"
    assert tokens[1].tolist() == [8, 1, 3, 9, 0, 0, 0, 0, 0], "truncate changes a caption that fits"


@pytest.mark.parametrize("caption", ["", "   ", "...", "?! ()"])
def test_an_empty_caption_is_an_error(tokenizer, caption):
    with pytest.raises(UserError, match="empty"):
        tokenizer(["a circle", caption])


def test_one_sentence_instead_of_a_list_is_an_error_that_says_how(tokenizer):
    with pytest.raises(TypeError, match=r"tokenizer\(\[sentence\]\)"):
        tokenizer("a red circle")


def test_decoding_stops_at_the_first_end_and_leaves_out_the_specials(tokenizer):
    assert tokenizer.decode([8, 1, 6, 3, 9, 4, 9, 0]) == "a red circle", "decode goes on after the first <end>"
    assert tokenizer.decode([1, 0, 2]) == "a blue", "decode writes padding as a word"
    assert tokenizer.decode(np.array([8, 9, 0], np.int32)) == "", "decode of no words should be empty"


def test_a_tokenizer_survives_its_file(tokenizer):
    again = WordTokenizer.from_json(json.loads(json.dumps(tokenizer.to_json())))
    assert again.ids == tokenizer.ids and again.context == tokenizer.context, "a tokenizer read back from JSON differs"
    sentence = ["a blue square left of a circle"]
    assert (again(sentence) == tokenizer(sentence)).all(), "a tokenizer read back from JSON writes other ids"
    assert tokenizer.to_json()["type"] == "words", "the file does not say what kind of tokenizer it is"


def test_a_tokenizer_of_captions_knows_their_words_and_has_room_for_the_longest():
    tokenizer = WordTokenizer.of(["A dog.", "a dog and a cat", "the cat"])
    assert tokenizer.words == ["a", "and", "cat", "dog", "the"], f"the words are {tokenizer.words}"
    assert tokenizer.context == 7, f"the longest caption has 5 words, start and end: 7, not {tokenizer.context}"


@pytest.mark.parametrize("special", ["<pad>", "<START>", "(<end>)"])
def test_a_tokenizer_of_captions_refuses_the_words_that_are_its_own(special):
    with pytest.raises(UserError) as error:
        WordTokenizer.of(["one two", f"three {special} four"])
    assert special.lower().strip("()") in str(error.value), f"of two tokens {special} the sentence would end at the first: {error.value}"


@pytest.mark.parametrize(("caption", "words"), [("one two three four", 4), (" !", 0)])
def test_a_tokenizer_of_captions_refuses_one_too_long_or_empty(caption, words):
    with pytest.raises(UserError) as error:
        WordTokenizer.of(["one two", caption], longest=5)
    for part in (repr(caption), f"{words} words", "1 to 3"):
        assert part in str(error.value), f"the error for a caption of {words} words does not contain {part!r}: {error.value}"


@quick
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=7))
def test_any_sentence_of_known_words_comes_back(words):
    tokenizer, sentence = WordTokenizer(WORDS, context=9), " ".join(words)
    tokens = tokenizer([sentence])
    assert tokenizer.decode(tokens[0]) == sentence, f"{sentence!r} comes back as {tokenizer.decode(tokens[0])!r}"
    assert (tokens[0] != 0).sum() == len(words) + 2, f"{sentence!r} should be {len(words)} words, start and end: {tokens[0]}"


@quick
@given(st.sets(st.text("abcdefgh", min_size=1, max_size=5), min_size=1, max_size=12), st.data())
def test_any_vocabulary_round_trips(words, data):
    longest = data.draw(st.integers(1, 6))
    tokenizer = WordTokenizer(words, longest + 2)
    sentence = data.draw(st.lists(st.sampled_from(sorted(words)), min_size=1, max_size=2 * longest))
    tokens = tokenizer([" ".join(sentence)], truncate=True)[0]
    assert tokenizer.decode(tokens).split() == sentence[:longest], f"{sentence} comes back as {tokenizer.decode(tokens).split()}"
    assert list(tokens).count(tokenizer.end) == 1, f"{tokens} has not exactly one <end>"


@quick
@given(st.text(max_size=30))
def test_any_text_is_tokenized_or_refused_with_a_message(text):
    tokenizer = WordTokenizer(WORDS, context=9)
    try:
        tokens = tokenizer([text])
    except UserError as error:
        assert str(error), f"{text!r} is refused without a word"
    else:
        assert tokenizer.decode(tokens[0]).split() == split_words(text), f"{text!r} was accepted, but {tokenizer.decode(tokens[0])!r} comes back"
