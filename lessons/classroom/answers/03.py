"""Lesson 03: sentences as rows of ids, and byte-pair encoding."""

from itertools import pairwise
from math import inf

import numpy as np

from lessons.classroom.answers import right, wrong
from tinyclip.bpe import END, START, WORD_END, join, spell
from tinyclip.errors import UserError


@wrong("3.1", "where is the start token? A sentence is start, words, end")
def tokens_without_start(self, sentences, truncate=False):
    tokens = np.zeros((len(sentences), self.context), np.int32)
    for row, sentence in zip(tokens, sentences, strict=True):
        ids = [self.ids[word] for word in self.split(sentence)]
        if len(ids) > self.context - 2 and not truncate:
            raise UserError("too long.")
        ids = [*ids[: self.context - 2], self.end]
        row[: len(ids)] = ids
    return tokens


@wrong("3.1", "where is the end token? The encoder reads the whole sentence off it")
def tokens_without_end(self, sentences, truncate=False):
    tokens = np.zeros((len(sentences), self.context), np.int32)
    for row, sentence in zip(tokens, sentences, strict=True):
        ids = [self.ids[word] for word in self.split(sentence)]
        if len(ids) > self.context - 2 and not truncate:
            raise UserError("too long.")
        ids = [self.start, *ids[: self.context - 2]]
        row[: len(ids)] = ids
    return tokens


@wrong("3.1", "does the end token stand at the end of the row? It follows the last word; the padding comes after it")
def tokens_with_end_after_the_padding(self, sentences, truncate=False):
    tokens = np.zeros((len(sentences), self.context), np.int32)
    for row, sentence in zip(tokens, sentences, strict=True):
        ids = [self.ids[word] for word in self.split(sentence)]
        if len(ids) > self.context - 2 and not truncate:
            raise UserError("too long.")
        ids = [self.start, *ids[: self.context - 2]]
        row[: len(ids)], row[-1] = ids, self.end
    return tokens


@wrong("3.1", "did you pad on the left? Token 0 is the start; the zeros follow the end token")
def tokens_padded_on_the_left(self, sentences, truncate=False):
    tokens = np.zeros((len(sentences), self.context), np.int32)
    for row, sentence in zip(tokens, sentences, strict=True):
        ids = [self.ids[word] for word in self.split(sentence)]
        if len(ids) > self.context - 2 and not truncate:
            raise UserError("too long.")
        ids = [self.start, *ids[: self.context - 2], self.end]
        row[self.context - len(ids) :] = ids
    return tokens


@wrong("3.1", "did you pad with the end token? It should stand once; the places after it are 0")
def tokens_padded_with_end(self, sentences, truncate=False):
    tokens = np.full((len(sentences), self.context), self.end, np.int32)
    for row, sentence in zip(tokens, sentences, strict=True):
        ids = [self.ids[word] for word in self.split(sentence)]
        if len(ids) > self.context - 2 and not truncate:
            raise UserError("too long.")
        ids = [self.start, *ids[: self.context - 2]]
        row[: len(ids)] = ids
    return tokens


@wrong("3.1", "are all ids one too small? 0 is the padding, so a word's place in self.words is not yet its id")
def tokens_by_place_in_words(self, sentences, truncate=False):
    tokens = np.zeros((len(sentences), self.context), np.int32)
    for row, sentence in zip(tokens, sentences, strict=True):
        ids = [self.words.index(word) for word in self.split(sentence)]
        if len(ids) > self.context - 2 and not truncate:
            raise UserError("too long.")
        ids = [self.start, *ids[: self.context - 2], self.end]
        row[: len(ids)] = ids
    return tokens


@wrong("3.1", "did cutting a long sentence cut off its end token? Cut the words, then put the end token after them")
def tokens_cut_with_their_end(self, sentences, truncate=False):
    tokens = np.zeros((len(sentences), self.context), np.int32)
    for row, sentence in zip(tokens, sentences, strict=True):
        ids = [self.ids[word] for word in self.split(sentence)]
        if len(ids) > self.context - 2 and not truncate:
            raise UserError("too long.")
        ids = [self.start, *ids, self.end][: self.context]
        row[: len(ids)] = ids
    return tokens


@wrong("3.1", "did you cut a long sentence without being told to? Unless `truncate` is set, it is an error")
def tokens_always_cut(self, sentences, truncate=False):
    tokens = np.zeros((len(sentences), self.context), np.int32)
    for row, sentence in zip(tokens, sentences, strict=True):
        ids = [self.start, *[self.ids[word] for word in self.split(sentence)][: self.context - 2], self.end]
        row[: len(ids)] = ids
    return tokens


@wrong("3.1", "is a sentence that is too long an error even with `truncate`? Then it should be cut")
def tokens_never_cut(self, sentences, truncate=False):
    tokens = np.zeros((len(sentences), self.context), np.int32)
    for row, sentence in zip(tokens, sentences, strict=True):
        ids = [self.start, *[self.ids[word] for word in self.split(sentence)], self.end]
        if len(ids) > self.context:
            raise UserError("too long.")
        row[: len(ids)] = ids
    return tokens


@wrong("3.1", "is there room for one word more? Start and end take two places of the context, and no other")
def tokens_with_a_place_to_spare(self, sentences, truncate=False):
    tokens = np.zeros((len(sentences), self.context), np.int32)
    for row, sentence in zip(tokens, sentences, strict=True):
        ids = [self.ids[word] for word in self.split(sentence)]
        if len(ids) >= self.context - 2 and not truncate:
            raise UserError("too long.")
        ids = [self.start, *ids[: self.context - 2], self.end]
        row[: len(ids)] = ids
    return tokens


@wrong("3.1", "are the rows of floats? Ids are whole numbers: np.zeros wants to be told so")
def tokens_of_floats(self, sentences, truncate=False):
    tokens = np.zeros((len(sentences), self.context))
    for row, sentence in zip(tokens, sentences, strict=True):
        ids = [self.ids[word] for word in self.split(sentence)]
        if len(ids) > self.context - 2 and not truncate:
            raise UserError("too long.")
        ids = [self.start, *ids[: self.context - 2], self.end]
        row[: len(ids)] = ids
    return tokens


@wrong("3.1", "are the ids int64, as Python's own numbers become? They should be int32")
def tokens_of_int64(self, sentences, truncate=False):
    rows = []
    for sentence in sentences:
        ids = [self.ids[word] for word in self.split(sentence)]
        if len(ids) > self.context - 2 and not truncate:
            raise UserError("too long.")
        ids = [self.start, *ids[: self.context - 2], self.end]
        rows.append(ids + [0] * (self.context - len(ids)))
    return np.array(rows, np.int64).reshape(len(rows), self.context)


@wrong("3.1", "did you return lists? One array (B, T) of int32 holds all rows")
def tokens_as_lists(self, sentences, truncate=False):
    rows = []
    for sentence in sentences:
        ids = [self.ids[word] for word in self.split(sentence)]
        if len(ids) > self.context - 2 and not truncate:
            raise UserError("too long.")
        ids = [self.start, *ids[: self.context - 2], self.end]
        rows.append(ids + [0] * (self.context - len(ids)))
    return rows


@wrong("3.1", "what comes of no sentences? An array of 0 rows, each as long as the context")
def tokens_of_nothing(self, sentences, truncate=False):
    rows = []
    for sentence in sentences:
        ids = [self.ids[word] for word in self.split(sentence)]
        if len(ids) > self.context - 2 and not truncate:
            raise UserError("too long.")
        ids = [self.start, *ids[: self.context - 2], self.end]
        rows.append(ids + [0] * (self.context - len(ids)))
    return np.array(rows, np.int32)


@wrong("3.1", "did you look the raw pieces up? self.split cleans the words, and refuses unknown ones by name")
def tokens_of_raw_pieces(self, sentences, truncate=False):
    tokens = np.zeros((len(sentences), self.context), np.int32)
    for row, sentence in zip(tokens, sentences, strict=True):
        ids = [self.ids[word] for word in sentence.split()]
        if len(ids) > self.context - 2 and not truncate:
            raise UserError("too long.")
        ids = [self.start, *ids[: self.context - 2], self.end]
        row[: len(ids)] = ids
    return tokens


@right("3.1")
def tokens_by_padding(self, sentences, truncate=False):
    T, rows = self.context, []
    for sentence in sentences:
        words = self.split(sentence)
        if not truncate and len(words) + 2 > T:
            raise UserError(f"{sentence!r} is longer than {T - 2} words.")
        ids = [self.start] + [self.ids[word] for word in words]
        ids = [*ids[: T - 1], self.end]
        rows.append(np.pad(np.array(ids, np.int32), (0, T - len(ids))))
    return np.array(rows, np.int32).reshape(-1, T)


@wrong("3.2", "did you step by one after a pair? Its second symbol is used up: in a, a, a only one pair is joined")
def join_overlapping(symbols, pair):
    joined, k = [], 0
    while k < len(symbols):
        if tuple(symbols[k : k + 2]) == pair:
            joined.append("".join(pair))
        elif not (k and tuple(symbols[k - 1 : k + 1]) == pair):
            joined.append(symbols[k])
        k += 1
    return joined


@wrong("3.2", "did the pair's second symbol stay behind? After a pair you step by two")
def join_with_the_second_left(symbols, pair):
    joined = []
    for k in range(len(symbols)):
        found = tuple(symbols[k : k + 2]) == pair
        joined.append("".join(pair) if found else symbols[k])
    return joined


@wrong("3.2", "where is the last symbol? It has no neighbour to its right, but it must be copied")
def join_without_the_last(symbols, pair):
    joined, k = [], 0
    while k < len(symbols) - 1:
        found = (symbols[k], symbols[k + 1]) == pair
        joined.append("".join(pair) if found else symbols[k])
        k += 2 if found else 1
    return joined


@wrong("3.2", "did you look beyond the last symbol? It has no neighbour to its right")
def join_beyond_the_end(symbols, pair):
    joined, k = [], 0
    while k < len(symbols):
        found = (symbols[k], symbols[k + 1]) == pair
        joined.append("".join(pair) if found else symbols[k])
        k += 2 if found else 1
    return joined


@wrong("3.2", "did you stop after the first pair? Every occurrence is joined")
def join_once(symbols, pair):
    for k in range(len(symbols) - 1):
        if (symbols[k], symbols[k + 1]) == pair:
            return [*symbols[:k], "".join(pair), *symbols[k + 2 :]]
    return list(symbols)


@wrong("3.2", "did you compare the joined text? The symbols ab, c are not the pair (a, bc), though both read abc")
def join_by_text(symbols, pair):
    joined, k = [], 0
    while k < len(symbols):
        found = "".join(symbols[k : k + 2]) == "".join(pair) and k + 1 < len(symbols)
        joined.append("".join(pair) if found else symbols[k])
        k += 2 if found else 1
    return joined


@wrong("3.2", "did you walk from the right? In a, a, a it is the first two that are joined")
def join_from_the_right(symbols, pair):
    joined, k = [], len(symbols)
    while k > 0:
        found = k > 1 and (symbols[k - 2], symbols[k - 1]) == pair
        joined.insert(0, "".join(pair) if found else symbols[k - 1])
        k -= 2 if found else 1
    return joined


@wrong("3.2", "did you change the list you were given? Write a new one: whoever called still needs theirs")
def join_in_place(symbols, pair):
    symbols, k = symbols if isinstance(symbols, list) else list(symbols), 0
    while k + 1 < len(symbols):
        if (symbols[k], symbols[k + 1]) == pair:
            symbols[k : k + 2] = ["".join(pair)]
        k += 1
    return symbols


@wrong("3.2", "is the pair still a pair? It should become one symbol, one string")
def join_as_a_tuple(symbols, pair):
    joined, k = [], 0
    while k < len(symbols):
        found = tuple(symbols[k : k + 2]) == pair
        joined.append(pair if found else symbols[k])
        k += 2 if found else 1
    return joined


@wrong("3.2", "is a part of a longer symbol joined, as in al o with the pair (l, o)? A pair is two whole symbols")
def join_by_replacing_text(symbols, pair):
    return " ".join(symbols).replace(" ".join(pair), "".join(pair)).split()


@right("3.2")
def join_by_eating(symbols, pair):
    rest, joined = list(symbols)[::-1], []
    while rest:
        joined.append(rest.pop())
        if rest and (joined[-1], rest[-1]) == tuple(pair):
            joined[-1] += rest.pop()
    return joined


@wrong("3.3", "did you join the first pair from the left that is known? The one that was learned first goes first")
def symbols_from_the_left(self, word):
    symbols = [word] if word in (START, END) else spell(word)
    while (first := next((pair for pair in pairwise(symbols) if pair in self.ranks), None)) is not None:
        symbols = join(symbols, first)
    return symbols


@wrong("3.3", "did you join the pair learned last? The smallest rank goes first")
def symbols_by_the_largest_rank(self, word):
    symbols = [word] if word in (START, END) else spell(word)
    while (first := max(pairwise(symbols), key=lambda pair: self.ranks.get(pair, -1), default=None)) in self.ranks:
        symbols = join(symbols, first)
    return symbols


@wrong("3.3", "did you stop after one merge? Go on until no neighbours were ever learned")
def symbols_after_one_merge(self, word):
    symbols = [word] if word in (START, END) else spell(word)
    first = min(pairwise(symbols), key=lambda pair: self.ranks.get(pair, inf), default=None)
    return join(symbols, first) if first in self.ranks else symbols


@wrong("3.3", "where is the mark of the word's end? The last symbol of a word carries </w> (see spell)")
def symbols_without_the_end(self, word):
    symbols = [word] if word in (START, END) else list(word)
    while (first := min(pairwise(symbols), key=lambda pair: self.ranks.get(pair, inf), default=None)) in self.ranks:
        symbols = join(symbols, first)
    return symbols


@wrong("3.3", "is </w> a symbol by itself? It is written onto the last symbol of a word (see spell)")
def symbols_with_the_end_apart(self, word):
    symbols = [word] if word in (START, END) else [*word, WORD_END]
    while (first := min(pairwise(symbols), key=lambda pair: self.ranks.get(pair, inf), default=None)) in self.ranks:
        symbols = join(symbols, first)
    return symbols


@wrong("3.3", "did you spell in letters? A letter beyond ASCII is several bytes, and each byte is a symbol (see spell)")
def symbols_of_letters(self, word):
    symbols = [word] if word in (START, END) else [*word[:-1], word[-1] + WORD_END]
    while (first := min(pairwise(symbols), key=lambda pair: self.ranks.get(pair, inf), default=None)) in self.ranks:
        symbols = join(symbols, first)
    return symbols


@wrong("3.3", "did you spell a special token? <|endoftext|> is one symbol as it is")
def symbols_of_specials(self, word):
    symbols = spell(word)
    while (first := min(pairwise(symbols), key=lambda pair: self.ranks.get(pair, inf), default=None)) in self.ranks:
        symbols = join(symbols, first)
    return symbols


@wrong("3.3", "what if only one symbol is left? Then there is no pair, and you are done")
def symbols_of_one_pair_at_least(self, word):
    symbols = [word] if word in (START, END) else spell(word)
    while (first := min(pairwise(symbols), key=lambda pair: self.ranks.get(pair, inf))) in self.ranks:
        symbols = join(symbols, first)
    return symbols


@wrong("3.3", "when are you done? As soon as the best pair left is one that was never learned")
def symbols_to_the_whole_word(self, word):
    symbols = [word] if word in (START, END) else spell(word)
    while len(symbols) > 1:
        symbols = join(symbols, min(pairwise(symbols), key=lambda pair: self.ranks.get(pair, inf)))
    return symbols


@wrong("3.3", "did you take the longest pieces from the left? The merges decide, in the order in which they were learned")
def symbols_by_the_longest(self, word):
    if word in (START, END):
        return [word]
    spelled, known, symbols = spell(word), set(self.tokens), []
    while spelled:
        size = next(size for size in range(len(spelled), 0, -1) if "".join(spelled[:size]) in known)
        symbols.append("".join(spelled[:size]))
        spelled = spelled[size:]
    return symbols


@right("3.3")
def symbols_by_every_merge_in_turn(self, word):
    if word.startswith("<|"):
        return [word]
    symbols = spell(word)
    for pair in self.merges:
        symbols = join(symbols, pair)
    return symbols


@right("3.3")
def symbols_by_sorting(self, word):
    symbols = spell(word) if word not in (START, END) else [word]
    while True:
        known = sorted((self.ranks[pair], pair) for pair in pairwise(symbols) if pair in self.ranks)
        if not known:
            return symbols
        symbols = join(symbols, known[0][1])
