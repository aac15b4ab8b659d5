"""Words -> ids, for a world whose sentences are built from a few dozen words.

Ids: `<pad>` is 0, then the words in alphabetical order, then `<start>`, and `<end>` is the largest, as in CLIP. A word that was never
learned has no embedding worth using, so it is an error that names the word and the nearest known ones. Lesson 03.
"""

import difflib
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from jaxtyping import Int

from .errors import UserError

PAD, START, END = OWN = "<pad>", "<start>", "<end>"
PUNCTUATION = ".,;:!?\"'()[]“”‘’"


class WordTokenizer:
    """Splits at spaces, lower-cases, drops punctuation around words; sentences become rows of `context` ids. Lesson 03.

    Sentences are `<start> words <end>`, padded with 0. The text encoder reads the whole sentence off its end token (CLIP paper, section 2.4),
    so truncation keeps it.
    """

    def __init__(self, words: Iterable[str], context: int) -> None:
        self.words = sorted(set(words))
        if own := sorted(set(OWN) & set(self.words)):
            raise UserError(f"the word {own[0]!r} is the tokenizer's own, and no sentence may say it: leave it out.")
        self.context = context
        self._known = frozenset(self.words)
        self.ids = {word: i for i, word in enumerate([PAD, *self.words, START, END])}

    @classmethod
    def of(cls, captions: Sequence[str], longest: int = 77) -> "WordTokenizer":
        """The tokenizer of these captions: all their words, and room for the longest. Raises `UserError` for one beyond `longest` tokens."""
        split = [split_words(caption) for caption in captions]
        for caption, words in zip(captions, split, strict=True):
            if not words or len(words) > longest - 2:
                raise UserError(f"the caption {_shorten(caption)!r} has {len(words)} words: it must have 1 to {longest - 2}.")
        return cls({word for words in split for word in words}, max(map(len, split)) + 2)

    @property
    def start(self) -> int:
        return len(self.words) + 1

    @property
    def end(self) -> int:
        return len(self.words) + 2

    @property
    def vocab(self) -> int:
        """V, the number of ids."""
        return len(self.words) + 3

    def __call__(self, sentences: Sequence[str], truncate: bool = False) -> Int[np.ndarray, "B T"]:
        """Token ids, (B, T) int32; with `truncate`, the words that fit between start and end.

        Raises `UserError` for an unknown word, cut off or not, and for a sentence longer than the context unless `truncate`.
        """
        if isinstance(sentences, str):
            raise TypeError("the tokenizer takes a list of sentences; for one sentence write tokenizer([sentence])")
        tokens = np.zeros((len(sentences), self.context), np.int32)
        for row, sentence in zip(tokens, sentences, strict=True):
            ids = [self.ids[word] for word in self.split(sentence)]
            if len(ids) > self.context - 2 and not truncate:
                raise UserError(
                    f"the caption {_shorten(sentence)!r} has {len(ids)} words, but this model reads at most {self.context - 2}: shorten it."
                )
            ids = [self.start, *ids[: self.context - 2], self.end]
            row[: len(ids)] = ids
        return tokens

    def split(self, sentence: str) -> list[str]:
        """The words of a sentence, each known to the vocabulary."""
        return known_words(sentence, self._known, "this model never learned")

    def decode(self, ids: Sequence[int] | Int[np.ndarray, "T"]) -> str:
        """The sentence between `<start>` and the first `<end>`."""
        known, words = [PAD, *self.words, START, END], []
        for i in ids:
            if i == self.end:
                break
            if i not in (0, self.start):
                words.append(known[i])
        return " ".join(words)

    def to_json(self) -> dict:
        return {"type": "words", "context": self.context, "words": self.words}

    @classmethod
    def from_json(cls, data: dict) -> "WordTokenizer":
        return cls(data["words"], data["context"])


def split_words(sentence: str) -> list[str]:
    """Lower-cased words without the punctuation around them."""
    words = (word.strip(PUNCTUATION) for word in sentence.lower().split())
    return [word for word in words if word]


def known_words(sentence: str, vocabulary: Collection[str], complaint: str) -> list[str]:
    """The words of a sentence. Raises `UserError` if there are none, or for the first that is not in the vocabulary, with the nearest that are."""
    words = split_words(sentence)
    if not words:
        raise UserError(f"the caption is empty: use some of the words {_some(vocabulary)}.")
    for word in words:
        if word not in vocabulary:
            near = difflib.get_close_matches(word, sorted(vocabulary), n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known are {_some(vocabulary)}."
            raise UserError(f"{complaint} the word {word!r} in {_shorten(sentence)!r}: {hint}")
    return words


def _some(words: Collection[str], most: int = 60) -> str:
    """The words in alphabetical order: all of a toy world's, the first of a large vocabulary's."""
    return ", ".join(sorted(words)[:most]) + (f" and {len(words) - most:,} more" if len(words) > most else "")


def _shorten(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
