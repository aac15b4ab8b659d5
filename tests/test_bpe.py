"""Byte-pair encoding: learned as a plain counter would, applied in the order learned, and CLIP's ids where CLIP's merges are given."""

import html
import json
import unicodedata
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from helpers import equals, seeded
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinyclip import bpe
from tinyclip.bpe import BPE, SYMBOL_OF, WORD_END, clean, join, spell, split, train
from tinyclip.errors import UserError
from tinyclip.world import get_world

quick = settings(max_examples=80, deadline=None, database=None)
texts = st.text(max_size=40) | st.text(alphabet="ab '</w>0.é½ſ\N{GRINNING FACE}", max_size=30)
some_captions = st.lists(st.text(alphabet="abc ", max_size=12), max_size=6)

# The first merges of CLIP's published list, enough for a few little words; their ids are those that CLIP gives.
PUBLISHED = """"bpe_simple_vocab_16e6.txt#version: 0.2
i n\nt h\na n\nr e\na r\ne r\nth e</w>\nin g</w>\no u\no n\ns t\no r\ne n\no n</w>\na l\na t\ne r</w>\ni t\ni n</w>\nt o</w>\nr o
i s</w>\nl e\ni c\na t</w>\nan d</w>\ne d</w>\no f</w>"""


@pytest.fixture(scope="module")
def captions():
    return get_world("pairs").canonical()[0][::7]


@pytest.fixture(scope="module")
def small(captions):
    return train(captions, 40)


def counted_naively(captions, merges):
    """Training as its definition says: every word of every caption, counted again for every merge."""
    words, learned = [spell(word) for caption in captions for word in split(caption)], []
    for _ in range(merges):
        tally = Counter(pair for word in words for pair in pairwise(word))
        if not tally:
            break
        most = max(tally.values())
        best = sorted(pair for pair in tally if tally[pair] == most)[0]
        words = [joined_naively(word, best) for word in words]
        learned.append(best)
    return tuple(learned)


def joined_naively(word, pair):
    """With a list that shrinks as it is read."""
    word, k = list(word), 0
    while k + 1 < len(word):
        if (word[k], word[k + 1]) == pair:
            word[k : k + 2] = ["".join(pair)]
        k += 1
    return word


def by_brute_force(tokenizer, word):
    """Every merge that was ever learned, applied to the word in the order of learning."""
    symbols = spell(word)
    for pair in tokenizer.merges:
        symbols = joined_naively(symbols, pair)
    return symbols


# Training.


def test_training_equals_a_naive_counter_merge_by_merge(captions):
    some = [*captions[:40], "It's 42 cafés, it's 42 cafés!"]
    fast, slow = train(some, 60).merges, counted_naively(some, 60)
    for k, (got, wanted) in enumerate(zip(fast, slow, strict=True)):
        assert got == wanted, f"merge {k} is {got}, but counting everything again gives {wanted}"


@quick
@given(some_captions, st.integers(0, 12))
@example(["aaa aaaa aaaaa"], 9)
@example(["abab ababab baba"], 9)
def test_training_equals_a_naive_counter_on_any_captions(some, merges):
    assert train(some, merges).merges == counted_naively(some, merges), f"training on {some!r} does not learn what a naive counter does"


def test_of_equally_frequent_pairs_the_first_in_order_is_learned():
    assert train(["dc ba", "ba dc"], 1).merges == (("b", "a</w>"),), "a tie should go to the pair that comes first by its code points"


def test_the_order_of_the_captions_does_not_matter(captions):
    assert train(captions, 50) == train(captions[::-1], 50), "the same captions in another order give other merges"


def test_fewer_merges_are_learned_than_asked_if_every_word_is_whole():
    assert train(["a cat"], 99).merges == (("a", "t</w>"), ("c", "at</w>")), "training should stop when no neighbours are left"
    assert train([], 99).merges == () == train(["", "a b"], 99).merges, "without neighbours there is nothing to learn"


def test_the_first_merges_of_a_longer_training_are_those_of_a_shorter(captions):
    assert train(captions, 50).merges[:20] == train(captions, 20).merges, "training longer changes the merges learned first"


def test_merges_do_not_cross_words():
    assert all(WORD_END not in pair[0] for pair in train(["ab ab ab ab cd"], 99).merges), "a merge joins the end of a word to the next one"


# Encoding and decoding.


@quick
@given(texts)
def test_encoding_applies_the_merges_in_the_order_learned(small, text):
    for word in split(text):
        assert small.symbols(word) == by_brute_force(small, word), f"{word!r} is not what applying each merge in turn gives"


@quick
@given(some_captions, st.lists(st.text(alphabet="abc", min_size=1, max_size=9), max_size=4))
def test_encoding_applies_any_merges_in_the_order_learned(some, words):
    tokenizer = train(some, 9)
    for word in words:
        assert tokenizer.symbols(word) == by_brute_force(tokenizer, word), f"{word!r} with {tokenizer.merges} is out of order"


@quick
@given(texts)
@example("<</w>>")
@example("naïve café – “quoted” \N{FAMILY} &lt;b&gt;")
@example("\udc80 half a pair")
@example("\ud83d\ude00")
def test_any_text_comes_back_up_to_the_clean_up(small, text):
    ids = small.encode(text)
    assert all(0 <= i < small.vocab - 2 for i in ids), f"{text!r} has ids outside of the vocabulary, or a start or end token"
    back = small.decode(ids)
    assert back == " ".join(split(text)), f"{text!r} comes back as {back!r}"
    assert back.replace(" ", "") == clean(text).replace(" ", ""), f"{text!r} loses characters: {back!r}"


@quick
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Zs", "Cc"]), max_size=20))
def test_no_byte_is_ever_unknown(text):
    ids = BPE(()).encode(text)
    written = "".join(split(text)).encode()
    assert len(ids) == len(written) and max(ids, default=0) < 512, "without merges, every byte should be one token"
    assert [bpe.BYTE_OF[BPE(()).tokens[i].removesuffix(WORD_END)] for i in ids] == list(written), f"{text!r} is not spelled in its bytes"


def test_every_byte_is_a_symbol_of_its_own():
    assert sorted(SYMBOL_OF) == list(range(256)) and len(set(SYMBOL_OF.values())) == 256, "the table of bytes misses some, or repeats a character"
    assert all(symbol.isprintable() and not symbol.isspace() for symbol in SYMBOL_OF.values()), "a symbol cannot be seen"
    assert (SYMBOL_OF[ord("a")], SYMBOL_OF[0], SYMBOL_OF[ord(" ")], SYMBOL_OF[0xAD]) == ("a", "Ā", "Ġ", "Ń"), "these are not CLIP's characters"


def test_a_word_never_seen_falls_into_pieces_and_not_into_an_error(small):
    assert len(small.encode("rhinoceros")) > 1, "a word never seen should be several tokens"
    assert small.decode(small.encode("A rhinoceros \N{RHINOCEROS}!")) == "a rhinoceros \N{RHINOCEROS}!"


# One merge.


def check_join(symbols, pair, expected, hint=""):
    """Names no type of sequence: any may be given."""
    equals(f"join of {' · '.join(symbols) or 'no symbols'} with the pair {' · '.join(pair)}", join(symbols, pair), expected, hint)


@pytest.mark.exercise("3.2")
def test_every_occurrence_of_a_pair_is_joined_from_the_left():
    check_join(["l", "o", "w</w>"], ("l", "o"), ["lo", "w</w>"])
    check_join(["a", "b", "c", "a", "b"], ("a", "b"), ["ab", "c", "ab"])
    check_join(["a", "a", "a"], ("a", "a"), ["aa", "a"], "a symbol that has been joined is used up")
    check_join(["a"] * 4, ("a", "a"), ["aa", "aa"])


@pytest.mark.exercise("3.2")
def test_what_is_no_pair_stays_as_it_is():
    check_join(["b", "a"], ("a", "b"), ["b", "a"])
    check_join(["ab", "c"], ("a", "bc"), ["ab", "c"], "a pair is two symbols")
    check_join(["al", "o"], ("l", "o"), ["al", "o"], "l is only a part of the symbol al")
    check_join(["a", "bc"], ("a", "b"), ["a", "bc"], "b is only a part of the symbol bc")
    check_join(["a"], ("a", "b"), ["a"])
    check_join([], ("a", "b"), [])
    given = ["a", "b", "a", "b"]
    join(given, ("a", "b"))
    equals("the list that was given to join, afterwards", given, ["a", "b", "a", "b"])


@pytest.mark.exercise("3.2")
def test_any_symbols_are_joined_as_in_a_list_that_shrinks():
    random = seeded(1)
    letters = [str(letter) for letter in random.permutation(list("cdefghijklmnopqrstuvwxyz"))[:2]]
    for kind in (list, tuple):
        symbols = [str(symbol) for symbol in random.choice([*letters, "".join(letters)], size=17)]
        for pair in ((letters[0], letters[0]), tuple(letters), (letters[1], "".join(letters))):
            check_join(kind(symbols), pair, joined_naively(symbols, pair))


# A word read with the merges.


@pytest.mark.exercise("3.3")
def test_of_several_known_pairs_the_one_learned_first_is_joined():
    tokenizer = BPE((("l", "o"), ("o", "w"), ("e", "r</w>"), ("h", "e"), ("t", "h"), ("t", "he"), ("he", "r</w>")))
    for word, symbols in (("lower", ["lo", "w", "er</w>"]), ("then", ["the", "n</w>"]), ("her", ["h", "er</w>"]), ("x", ["x</w>"])):
        name = f"symbols of {word!r}, merges {', '.join('·'.join(pair) for pair in tokenizer.merges)}"
        equals(name, tokenizer.symbols(word), symbols)
    equals("symbols of 'aaaa', merge a·a", BPE((("a", "a"),)).symbols("aaaa"), ["aa", "a", "a</w>"], "the last symbol is a</w>")


@pytest.mark.exercise("3.3")
def test_without_merges_a_word_is_its_bytes_and_a_special_token_stays_whole():
    equals("symbols of 'cat', no merges", BPE(()).symbols("cat"), ["c", "a", "t</w>"])
    equals("symbols of 'é', no merges", BPE(()).symbols("é"), ["Ã", "©</w>"], "é is two bytes, 195 and 169, written Ã and ©")
    for special in (bpe.START, bpe.END):
        equals(f"symbols of {special!r}, no merges", BPE(()).symbols(special), [special], "a special token is one symbol")


@pytest.mark.exercise("3.3")
def test_any_merges_are_applied_lowest_rank_first():
    random = seeded(2)
    pool, merges = ["a", "b", "c", "a</w>", "b</w>", "c</w>"], []
    while len(merges) < 14:
        first, second = (pool[i] for i in random.integers(len(pool), size=2))
        if WORD_END not in first and first + second not in pool and len(first + second) < 9:
            merges.append((first, second))
            pool.append(first + second)
    tokenizer = BPE(tuple(merges))
    for _ in range(12):
        word = "".join(random.choice(list("abc"), size=9))
        symbols = [*word[:-1], word[-1] + WORD_END]
        while True:
            ranks = [merges.index(pair) for pair in pairwise(symbols) if pair in merges]
            if not ranks:
                break
            symbols = joined_naively(symbols, merges[min(ranks)])
        name = f"symbols of {word!r}, merges {', '.join('·'.join(pair) for pair in merges)}"
        equals(name, tokenizer.symbols(word), symbols, "the pair learned first is joined first")


# Words, as CLIP splits them.


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's, he'll; they've I'm we'd you're don't", "it 's , he 'll ; they 've i 'm we 'd you 're don 't"),
        ("rock'n'roll 's 'S x'Sy", "rock ' n ' roll 's 's x 's y"),
        ("1984 3.5 a1b2", "1 9 8 4 3 . 5 a 1 b 2"),
        ("½ x² Ⅷ ٣٤ 五", "½ x ² ⅷ ٣ ٤ 五"),
        ("wow!!! (so)... a_b -- #tag @me", "wow !!! ( so )... a _ b -- # tag @ me"),
        ("Café NAÏVE Straße ΣΊΣΥΦΟΣ", "café naïve straße σίσυφος"),
        ("cafe\N{COMBINING ACUTE ACCENT}", "café"),
        ("x\N{COMBINING ACUTE ACCENT}y", "x \N{COMBINING ACUTE ACCENT} y"),
        ("red\N{HEAVY BLACK HEART}\N{HEAVY BLACK HEART}heart", "red \N{HEAVY BLACK HEART}\N{HEAVY BLACK HEART} heart"),
        ("it’s “fine”", "it 's \" fine \""),
        ("a &amp;amp; b &lt;3", "a & b < 3"),
        (" \t a\n\n red \N{NO-BREAK SPACE}circle ", "a red circle"),
        ("<|startoftext|>hi<|ENDOFTEXT|>", "<|startoftext|> hi <|endoftext|>"),
        ("", ""),
    ],
)  # fmt: skip
def test_words_are_split_as_clip_does(text, words):
    assert split(text) == words.split(), f"{text!r} is split into {split(text)}"


def test_letters_and_numbers_are_unicodes_own_for_every_assigned_character():
    chars = [char for char in map(chr, range(0x110000)) if unicodedata.category(char) not in ("Cs", "Co", "Cn")]
    chars = [char for char in chars if not char.isspace()]
    kinds = [unicodedata.category(char)[0] for char in chars]
    wanted = [word for char, kind in zip(chars, kinds, strict=True) for word in ([char, char] if kind == "N" else [char * 2])]
    assert bpe._pattern().findall(" ".join(char * 2 for char in chars)) == wanted, "numbers should stand alone, as \\p{N} does, all others in runs"
    wanted = [word for char, kind in zip(chars, kinds, strict=True) for word in ([char + "a"] if kind == "L" else [char, "a"])]
    assert bpe._pattern().findall(" ".join(char + "a" for char in chars)) == wanted, "letters, and only they, should join a letter, as \\p{L} does"


@quick
@given(texts)
def test_cleaning_twice_as_html_is_enough_and_splitting_loses_nothing(text):
    assert "".join(split(text)) == "".join(clean(text).split()), f"splitting {text!r} loses or adds characters"
    assert clean(text) == clean(text).lower() and "  " not in clean(text) and clean(text) == clean(text).strip()
    assert clean(html.escape(text)) == clean(text) or "&" in text, f"{text!r} is read differently as HTML"


# Ids and rows.


def test_the_vocabulary_is_in_clips_order(small):
    assert small.vocab == len(small.tokens) == 256 + 256 + 40 + 2 == len(small.ids)
    assert small.tokens[:2] == ["!", '"'] and small.tokens[256:258] == ["!</w>", '"</w>'], (
        "the bytes should come first, then the bytes that end words"
    )
    assert small.tokens[512] == "".join(small.merges[0]) and small.tokens[-3] == "".join(small.merges[-1]), "the merges should follow in order"
    assert (small.tokens[small.start], small.tokens[small.end]) == ("<|startoftext|>", "<|endoftext|>")
    assert small.end == small.vocab - 1, "the end token should have the largest id"
    assert 256 + 256 + bpe.CLIP_MERGES + 2 == 49_408, "CLIP's vocabulary has 49,408 tokens"


def test_published_merges_give_clips_ids():
    tokenizer = BPE.from_merges(PUBLISHED.splitlines())
    assert tokenizer.merges[0] == ("i", "n") and len(tokenizer.merges) == 28, "the first line is a header, not a merge"
    wanted = {"a": [320], "the": [518], "in": [530], "to": [531], "is": [533], "and": [537], "of": [539], ".": [269], ",": [267], "!": [256]}
    for word, ids in wanted.items():
        assert tokenizer.encode(word) == ids, f"{word!r} is {tokenizer.encode(word)}, but CLIP says {ids}"
    assert tokenizer.encode("The king, OF and.") == [*[518], *[74, 519], *[267], *[539], *[537], *[269]]


def test_merges_survive_being_written_and_read(small):
    lines = ["#version: 0.2", *map(" ".join, small.merges), ""]
    assert BPE.from_merges(lines, json.dumps(small.ids)) == small, "merges written as lines come back as others"
    assert len(BPE.from_merges(["a a"] * (bpe.CLIP_MERGES + 9)).merges) == bpe.CLIP_MERGES, "CLIP takes only so many lines of the published file"


@pytest.mark.parametrize("lines", [["a b", "ab"], ["a b c"], ["ab c", "a b"], ["a b", "ab </w>"], ["日 本"]])
def test_a_damaged_or_shuffled_file_of_merges_is_refused(lines):
    with pytest.raises(UserError, match="known by then"):
        BPE.from_merges(lines)


def test_a_vocabulary_of_another_model_is_refused(small):
    with pytest.raises(UserError, match="different ids"):
        BPE.from_merges(map(" ".join, small.merges), json.dumps(small.ids | {"<|endoftext|>": 7}))


def test_a_row_is_start_words_end_padding(small):
    rows = replace(small, context=8)(["a red circle", ""])
    ids = small.encode("a red circle")
    assert rows.shape == (2, 8) and rows.dtype == np.int32, f"the rows are {rows.shape} of {rows.dtype}"
    assert rows[0].tolist() == [small.start, *ids, small.end, *[0] * (6 - len(ids))], f"the first row is {rows[0]}"
    assert rows[1].tolist() == [small.start, small.end, 0, 0, 0, 0, 0, 0], "an empty caption is start and end, as in CLIP"
    assert small([]).shape == (0, 77) and small(["a"]).shape == (1, 77), "CLIP reads 77 tokens"
    assert small.decode(rows[0]) == "a red circle", "decoding a row should drop start, end and padding"


def test_a_sentence_too_long_is_an_error_that_says_the_limit(small):
    with pytest.raises(UserError) as error:
        small(["a red circle", "a " * 76])
    for part in ("76 tokens", "room for 75", "'a a a"):
        assert part in str(error.value), f"the error for a long caption does not contain {part!r}: {error.value}"
    assert small(["a " * 75])[0, -1] == small.end, "75 tokens and start and end are 77"


@quick
@given(texts, st.integers(2, 9))
def test_truncation_keeps_the_end_token(small, text, context):
    row = replace(small, context=context)([text], truncate=True)[0].tolist()
    ids = small.encode(text)[: context - 2]
    assert row[: len(ids) + 2] == [small.start, *ids, small.end], f"{text!r} cut to {context} is {row}"
    assert max(row) == small.end and row.count(small.end) == 1, "the largest id should stand once in each row: at the end token"


def test_one_sentence_instead_of_a_list_is_a_type_error(small):
    with pytest.raises(TypeError, match="list of sentences"):
        small("a red circle")
