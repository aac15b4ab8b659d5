"""Byte-level byte-pair encoding, CLIP's own (CLIP paper, section 2.4): any text becomes ids, and no word is ever unknown. Lesson 03.

Text is cleaned, split into words, and each word spelled in bytes, the last one marked `</w>`; then neighbours are joined into longer symbols,
in the order in which these merges were learned. Ids: the 256 bytes, the same 256 ending a word, the merges in order, `<|startoftext|>`, and
`<|endoftext|>` is the largest. With CLIP's published merges these are CLIP's ids: V = 49,408.
"""

import html
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, takewhile
from math import inf

import numpy as np
from jaxtyping import Int

from .errors import UserError

Pair = tuple[str, str]
START, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"
CLIP_CONTEXT, CLIP_MERGES = 77, 48_894
# Each byte as one visible character, so that symbols can be printed and stored in lines: itself if it has a shape, else one from 256 on.
_UNSEEN = [*range(0x21), *range(0x7F, 0xA1), 0xAD]  # controls, spaces and the soft hyphen
SYMBOL_OF = {byte: chr(byte) for byte in range(256) if byte not in _UNSEEN} | {byte: chr(256 + k) for k, byte in enumerate(_UNSEEN)}
BYTE_OF = {symbol: byte for byte, symbol in SYMBOL_OF.items()}
_STRAIGHT = str.maketrans("ʼ‘’‚‛“”„‟", "'''''" + '""""')


def clean(text: str) -> str:
    """Lower case, single spaces, straight quotes, composed accents, no HTML codes: CLIP's clean-up (ftfy's mending, too, where it is installed)."""
    text = _mend()(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))  # half a surrogate pair has no bytes of its own
    text = html.unescape(html.unescape(text)).translate(_STRAIGHT)
    return " ".join(unicodedata.normalize("NFC", text).split()).lower()


@cache
def _mend() -> Callable[[str], str]:
    """ftfy's repair of text that was decoded wrongly ("schÃ¶n"), if the `openai` extra is installed."""
    try:
        from ftfy import fix_text
    except ImportError:
        return str
    return fix_text


@cache
def _pattern() -> re.Pattern[str]:
    """A word is an ending such as 's, a run of letters, ONE digit, or a run of anything else. `re` knows no class of numbers such as ½: list them."""
    odd = "".join(char for char in map(chr, range(0x110000)) if unicodedata.category(char) in ("Nl", "No"))
    specials, endings = f"{re.escape(START)}|{re.escape(END)}", "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    return re.compile(rf"{specials}|{endings}|[^\W\d_{odd}]+|[\d{odd}]|(?:[^\w\s]|_)+")


def split(text: str) -> list[str]:
    """The words of a text, cleaned; no merge ever crosses from one to the next. "It's 42!" -> it, 's, 4, 2, !"""
    return _pattern().findall(clean(text))


def spell(word: str) -> list[str]:
    """A word as symbols, one a byte, the last with the mark of the word's end: "cat" -> c, a, t</w>."""
    symbols = [SYMBOL_OF[byte] for byte in word.encode()]
    return [*symbols[:-1], symbols[-1] + WORD_END]


def join(symbols: Sequence[str], pair: Pair) -> list[str]:
    """The symbols with every occurrence of the pair, from the left, made one."""
    joined, k = [], 0
    while k < len(symbols):
        found = tuple(symbols[k : k + 2]) == pair
        joined.append("".join(pair) if found else symbols[k])
        k += 2 if found else 1
    return joined


def train(captions: Iterable[str], merges: int) -> "BPE":
    """Learn up to `merges` merges: each joins the most frequent pair of neighbours (of equals, the first in code-point order). Lesson 03.

    Fewer are learned if every word has become one symbol. Only words that hold the joined pair are counted again.
    """
    words = [(spell(word), count) for word, count in Counter(word for caption in captions for word in split(caption)).items()]
    tally, places, learned = Counter(), defaultdict(set), []

    def add(k: int, sign: int) -> None:
        for pair in pairwise(words[k][0]):
            tally[pair] += sign * words[k][1]
            places[pair].add(k)

    for k in range(len(words)):
        add(k, 1)
    while tally and len(learned) < merges:
        best = min(tally, key=lambda pair: (-tally[pair], pair))
        learned.append(best)
        for k in places.pop(best):
            add(k, -1)
            words[k] = join(words[k][0], best), words[k][1]
            add(k, 1)
        tally = +tally  # drops the pairs that are gone
    return BPE(tuple(learned))


@dataclass
class BPE:
    """A tokenizer that is nothing but its merges, in the order in which they were learned; V ids, `tokens[i]` the symbol of id i. Lesson 03."""

    merges: tuple[Pair, ...]
    context: int = CLIP_CONTEXT  # T, tokens a sentence may have, start and end included

    def __post_init__(self) -> None:
        self.ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self.tokens = [*BYTE_OF, *(symbol + WORD_END for symbol in BYTE_OF), *map("".join, self.merges), START, END]
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self.vocab, self.start, self.end = len(self.tokens), len(self.tokens) - 2, len(self.tokens) - 1

    @classmethod
    def from_merges(cls, lines: Iterable[str], vocabulary: str = "", context: int = CLIP_CONTEXT) -> "BPE":
        """From the lines of a published merges.txt. Raises `UserError` for bad lines, or if its vocab.json, as text, has other ids."""
        merges = [tuple(line.split()) for line in lines if line.strip() and "#version" not in line][:CLIP_MERGES]
        known = set(BPE(()).tokens)
        for pair in merges:
            if len(pair) != 2 or not known.issuperset(pair):
                raise UserError(f"{' '.join(pair)[:80]!r} among the merges is no pair of symbols known by then: the file is out of order.")
            known.add("".join(pair))
        bpe = cls(tuple(merges), context)
        if vocabulary and json.loads(vocabulary) != bpe.ids:
            raise UserError("the vocabulary and the merges give different ids: take both files from the same model.")
        return bpe

    def symbols(self, word: str) -> list[str]:
        """The symbols of one word: of all pairs of neighbours join the one learned first, until no neighbours were ever learned.

        A special token, START or END, stays whole.
        """
        symbols = [word] if word in (START, END) else spell(word)
        while (first := min(pairwise(symbols), key=lambda pair: self.ranks.get(pair, inf), default=None)) in self.ranks:
            symbols = join(symbols, first)
        return symbols

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without start, end and padding."""
        return [self.ids[symbol] for word in split(text) for symbol in self.symbols(word)]

    def decode(self, ids: Sequence[int] | Int[np.ndarray, "T"]) -> str:
        """The words before the first end token, a space between any two: "it's" comes back as "it 's"."""
        symbols = [self.tokens[i] for i in takewhile(lambda i: i != self.end, ids) if i != self.start]
        text = bytes(BYTE_OF.get(char, ord(" ")) for char in "".join(symbols).replace(WORD_END, " "))
        return text.decode("utf-8", "replace").strip()

    def __call__(self, sentences: Sequence[str], truncate: bool = False) -> Int[np.ndarray, "B T"]:
        """Token ids, (B, T = context) int32, padded with 0. Raises `UserError` for one too long, unless `truncate` cuts it before its end token."""
        context = self.context
        if isinstance(sentences, str):
            raise TypeError("the tokenizer takes a list of sentences; for one sentence write tokenizer([sentence])")
        rows = np.zeros((len(sentences), context), np.int32)
        for row, sentence in zip(rows, sentences, strict=True):
            ids = self.encode(sentence)
            if len(ids) > context - 2 and not truncate:
                raise UserError(f"the caption {sentence[:80]!r} has {len(ids)} tokens, but there is room for {context - 2}: shorten it.")
            ids = [self.start, *ids[: context - 2], self.end]
            row[: len(ids)] = ids
        return rows

    def to_json(self) -> dict:
        return {"type": "bpe", "context": self.context, "merges": [" ".join(pair) for pair in self.merges]}

    @classmethod
    def from_json(cls, data: dict) -> "BPE":
        return cls.from_merges(data["merges"], context=data["context"])
