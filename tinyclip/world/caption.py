"""Scene <-> sentence: one grammar, read in two directions.

A grammar is a list of templates ("a {size} {colour} {shape}") and, for every slot, the phrases that may stand there for each value of a
factor ("small" or "little"). `describe` and `parse` read it with plain strings; `GrammarTable` is the same grammar compiled into integer
arrays, so that a jitted training step can draw a fresh sentence for every picture. Lesson 02.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .scene import ANY


@dataclass(frozen=True)
class Slot:
    """A place in a template: the column of `meaning` it tells, and its phrases: for each value the ways to say it, the usual one first."""

    column: int
    phrases: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Grammar:
    """Templates with their weights (how often each is drawn), and the slots they use. The first template is the canonical one."""

    factors: int  # columns of `meaning`
    slots: dict[str, Slot]
    templates: tuple[tuple[str, float | int], ...]

    def pieces(self, template: str) -> list[str | Slot]:
        """A template cut into its literal words and its slots, in order."""
        return [self.slots[word[1:-1]] if word[0] == "{" else word for word in template.split()]

    @cached_property
    def words(self) -> list[str]:
        """Every word of the grammar, sorted."""
        literal = {word for text, _ in self.templates for word in text.split() if word[0] != "{"}
        spoken = {word for slot in self.slots.values() for ways in slot.phrases for way in ways for word in way.split()}
        return sorted(literal | spoken)

    @cached_property
    def longest(self) -> int:
        """Words in the longest sentence."""
        return max(sum(map(_words_in, self.pieces(text))) for text, _ in self.templates)

    def said(self, template: str) -> Bool[np.ndarray, "F"]:
        """Which factors a template speaks of."""
        told = np.zeros(self.factors, bool)
        told[[piece.column for piece in self.pieces(template) if isinstance(piece, Slot)]] = True
        return told

    def describe(self, meaning: Int[np.ndarray, "F"], template: str | None = None) -> str:
        """The sentence for one scene's meaning: the canonical template unless another is given, each phrase in its usual form."""
        pieces = self.pieces(template or self.templates[0][0])
        return " ".join(piece if isinstance(piece, str) else piece.phrases[meaning[piece.column]][0] for piece in pieces)

    def parse(self, sentence: str) -> list[Int[np.ndarray, "F"]]:
        """All meanings a sentence can have, with ANY (-1) for what it leaves open; an empty list if it is no sentence of this grammar."""
        words = sentence.lower().split()
        readings = (_readings(self.pieces(text), words, (ANY,) * self.factors) for text, _ in self.templates)
        return [np.array(meaning) for meaning in dict.fromkeys(meaning for found in readings for meaning in found)]


def _words_in(piece: str | Slot) -> int:
    return 1 if isinstance(piece, str) else max(len(way.split()) for ways in piece.phrases for way in ways)


def _readings(pieces: list[str | Slot], words: list[str], meaning: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Every meaning under which the pieces say exactly these words, given what was already said."""
    if not pieces:
        if not words:
            yield meaning
        return
    piece, rest = pieces[0], pieces[1:]
    if isinstance(piece, str):
        if words[:1] == [piece]:
            yield from _readings(rest, words[1:], meaning)
        return
    for value, ways in enumerate(piece.phrases):
        for way in map(str.split, ways):
            if words[: len(way)] == way and meaning[piece.column] in (ANY, value):
                yield from _readings(rest, words[len(way) :], (*meaning[: piece.column], value, *meaning[piece.column + 1 :]))


class Spoken(NamedTuple):
    """Sampled captions: token ids (B, T), and what each says, (B, F), with ANY for what it leaves open."""

    tokens: Int[Array, "B T"]
    said: Int[Array, "B F"]


class GrammarTable:
    """The grammar as integer arrays: a sentence is a row of phrases, one for each piece of its template, laid end to end. Lesson 02.

    `word_to_id` must know every word of the grammar; `start`, `end` are the ids around a sentence, 0 pads it to `context`.
    """

    def __init__(self, grammar: Grammar, word_to_id: dict[str, int], start: int, end: int, context: int) -> None:
        rows: list[list[int]] = [[]]  # row 0 is the empty phrase, for the pieces a short template does not have
        first: dict[Slot, list[int]] = {}  # slot -> for each value the row of its first phrase
        ways: dict[int, int] = {}  # that row -> how many phrases follow from it

        def add(phrases: tuple[str, ...]) -> int:
            rows.extend([word_to_id[word] for word in phrase.split()] for phrase in phrases)
            ways[len(rows) - len(phrases)] = len(phrases)
            return len(rows) - len(phrases)

        for slot in dict.fromkeys(grammar.slots.values()):
            first[slot] = [add(phrases) for phrases in slot.phrases]
        literal = {word: add((word,)) for text, _ in grammar.templates for word in text.split() if word[0] != "{"}

        templates = [grammar.pieces(text) for text, _ in grammar.templates]
        length, values = max(map(len, templates)), max(len(slot.phrases) for slot in grammar.slots.values())
        columns = np.zeros((len(templates), length), np.int32)
        firsts = np.zeros((len(templates), length, values), np.int32)
        for t, pieces in enumerate(templates):
            for k, piece in enumerate(pieces):
                if isinstance(piece, Slot):
                    columns[t, k], firsts[t, k, : len(piece.phrases)] = piece.column, first[piece]
                else:
                    firsts[t, k] = literal[piece]
        phrases = np.zeros((len(rows), max(map(len, rows))), np.int32)
        for r, row in enumerate(rows):
            phrases[r, : len(row)] = row
        self.start, self.end, self.context = start, end, context
        self.columns, self.firsts, self.phrases = columns, firsts, phrases
        self.lengths = np.array([len(row) for row in rows], np.int32)
        self.ways = np.array([ways.get(r, 1) for r in range(len(rows))], np.int32)
        self.told = np.stack([grammar.said(text) for text, _ in grammar.templates])
        weights = np.array([weight for _, weight in grammar.templates])
        self.chances: Float[np.ndarray, "t"] = (np.cumsum(weights) / weights.sum()).astype(np.float32)

    def sample(self, key: Array, meaning: Int[Array, "B F"]) -> Spoken:
        """A random true sentence for every scene. jit-able; `meaning` must leave nothing open."""
        pick, phrase = jax.random.split(key)
        B = meaning.shape[0]
        arrays = self.columns, self.firsts, self.phrases, self.lengths, self.ways, self.told
        columns, firsts, phrases, lengths, ways, told = map(jnp.asarray, arrays)  # a NumPy array cannot be indexed with a traced one
        template = jnp.searchsorted(self.chances, jax.random.uniform(pick, (B,)))  # (B,)
        value = jnp.take_along_axis(meaning, columns[template], axis=1)  # (B, L)
        row = jnp.take_along_axis(firsts[template], value[..., None], axis=2)[..., 0]  # (B, L)
        row = row + jnp.floor(jax.random.uniform(phrase, row.shape) * ways[row]).astype(row.dtype)
        # Word p of the sentence lies in the first phrase that ends after p.
        ends = jnp.cumsum(lengths[row], axis=1)  # (B, L)
        p = jnp.broadcast_to(jnp.arange(self.context - 1), (B, self.context - 1))
        piece = jnp.minimum((ends[:, None, :] <= p[:, :, None]).sum(-1), ends.shape[1] - 1)  # (B, T - 1)
        offset = p - jnp.take_along_axis(ends - lengths[row], piece, axis=1)
        word = phrases[jnp.take_along_axis(row, piece, axis=1), jnp.minimum(offset, phrases.shape[1] - 1)]
        total = ends[:, -1:]
        body = jnp.where(p < total, word, jnp.where(p == total, self.end, 0))
        tokens = jnp.concatenate([jnp.full((B, 1), self.start), body], axis=1).astype(jnp.int32)  # (B, T)
        return Spoken(tokens, jnp.where(told[template], meaning, ANY))
