"""Words to ids and back."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyclip.errors import UserError
from tinyclip.tokenizer import WordTokenizer, split_words

WORDS = ["red", "a", "circle", "blue", "square", "left", "of"]
quick = settings(max_examples=60, deadline=None, database=None)


@pytest.fixture(scope="module")
def tokenizer():
    return WordTokenizer(WORDS, context=9)


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


def test_punctuation_within_a_word_stays():
    assert split_words("It's a state-of-the-art, 'half-red' CIRCLE!") == ["it's", "a", "state-of-the-art", "half-red", "circle"], (
        "split_words should strip punctuation around words only"
    )


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
        assert set(tokenizer.decode(tokens[0]).split()) <= set(WORDS), f"{text!r} was accepted but holds unknown words"
