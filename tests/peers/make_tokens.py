"""Make tests/peers/fixtures/published_tokens.json: the ids that OpenAI's tokenizer gives with CLIP's published merges, and those merges it needs.

    pip download --no-deps open_clip_torch && python -m zipfile -e open_clip_torch-*.whl unpacked && pip install -e ".[peers]"
    python tests/peers/make_tokens.py unpacked/open_clip

open_clip's wheel carries OpenAI's tokenizer and the file of merges (1.4 MB, too much for a test); of the 48,894 merges the few hundred are kept
that could join anything within these sentences, each at its place.
"""

import gzip
import json
import sys
import types
from collections import defaultdict
from pathlib import Path

from tinyclip.bpe import BPE, spell, split

SENTENCES = [
    "a photo of a cat", "A PHOTO of two dogs playing with a ball.", "a red circle left of a blue square", "It's  42 Cats, isn't it?",
    "naïve café — “quoted” &amp;amp; <b>bold</b>", "don't    panic!!!", "ÅÄÖ ß ½ ² ① 東京 🦏🦏", "cafe\u0301", "it’s ‘so’",
    "under_score and-hyphen 3.14",
    "itap of a rhinoceros.", "a bad photo of the hard to see {}.", "I'LL they'RE we'd", "antidisestablishmentarianism", "Привет, мир", "مرحبا",
    "1234567890", "http://example.com/?a=1&b=2", "#nofilter @user", "a\tb\nc", "\u00a0non\u00a0breaking", "😀😃", "e=mc²", "the " * 90, "",
]  # fmt: skip


def main(package: Path) -> None:
    lines = gzip.decompress((package / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    made_of = defaultdict(list)
    for rank, pair in enumerate(merges):
        made_of["".join(pair)].append((rank, pair))
    needed = {}
    for word in {word for sentence in SENTENCES for word in split(sentence)}:
        symbols = spell(word)
        for start in range(len(symbols)):
            for stop in range(start + 2, len(symbols) + 1):
                needed |= dict(made_of.get("".join(symbols[start:stop]), []))
    module = types.ModuleType("openai_tokenizer")
    module.__file__ = str(package / "tokenizer.py")
    sys.modules[module.__name__] = module
    exec(compile((package / "tokenizer.py").read_text(), module.__file__, "exec"), module.__dict__)
    tokenizer, ours, found = module.SimpleTokenizer(), BPE(tuple(merges)), {}
    for sentence in SENTENCES:
        ids = tokenizer(sentence)[0].tolist()
        assert ids == ours([sentence], truncate=True)[0].tolist(), f"{sentence!r} differs"
        found[sentence] = ids[: ids.index(49407) + 1]
    written = {"merges": {rank: " ".join(pair) for rank, pair in sorted(needed.items())}, "ids": found}
    file = Path(__file__).parent / "fixtures" / "published_tokens.json"
    file.write_text(json.dumps(written, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    print(f"{len(SENTENCES)} sentences, {len(needed)} merges, {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
