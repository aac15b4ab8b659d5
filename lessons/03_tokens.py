# %% [markdown]
# # Lesson 03 · Tokens
#
# *8 min to read, a few seconds to run*
#
# **Question.** How does a sentence become numbers, and what becomes of a word that was never seen?
#
# A model reads no letters. It reads whole numbers, the **ids** of **tokens**: a token is a piece of text that has a number of its own. Which pieces
# is for us to choose. This lesson makes two choices: whole words, as tinyclip's models do, and pieces of words, as CLIP does. Our examples are the
# captions of three toy worlds; a world's `canonical()` lists them, each once and in its plainest wording.

# %%
from collections import Counter
from itertools import pairwise

import numpy as np

from lessons.kit import BLUE, GREEN, GREY, ORANGE, RED, Lesson
from tinyclip import UserError
from tinyclip.bpe import BPE, CLIP_CONTEXT, CLIP_MERGES, join, spell, split, train
from tinyclip.tokenizer import WordTokenizer
from tinyclip.world import get_world

lesson = Lesson("03")
captions = [caption for name in ("single", "pairs", "animals") for caption in get_world(name).canonical()[0]]
distinct = sorted({word for caption in captions for word in caption.split()})
print(f"{lesson.claim('captions', len(captions)):,} captions, such as {captions[0]!r}, use {lesson.claim('words', len(distinct))} different words\n")

# %% [markdown]
# ## One word, one id
#
# Sort the words and count them off. Id 0 is kept for **padding**: sentences differ in length, rows of an array do not, so short rows are filled up.
# Two more ids mark where a sentence starts and where it ends; the end token's is the largest, as in CLIP. A batch of B sentences becomes an
# array (B, T), where T is the number of tokens in a row: the **context**.
#
# An id for "unknown" would hide a typing mistake: "a red circel" would still get an answer, for a sentence with a hole. With so few words the
# honest reply is an error that names the word and the nearest known ones.

# %%
id_of = {word: i for i, word in enumerate(["<pad>", *distinct, "<start>", "<end>"])}
by_hand = np.full((len(captions), max(len(caption.split()) for caption in captions) + 2), id_of["<pad>"])
for row, caption in zip(by_hand, captions, strict=True):
    ids = [id_of["<start>"], *(id_of[word] for word in caption.split()), id_of["<end>"]]
    row[: len(ids)] = ids

words = WordTokenizer.of(captions)
tokens = words(captions)
lesson.compare("ids of words", by_hand, tokens)
lesson.shapes(tokens=tokens)
print(f"  {captions[0]!r} -> {tokens[0].tolist()} -> {words.decode(tokens[0])!r}")
lesson.show(WordTokenizer, WordTokenizer.__call__)
try:
    words(["a red circel"])
except UserError as error:
    print(f"  {error}\n")
    lesson.claim("the error suggests circle", "'circle'" in str(error))

# %% [markdown]
# ## Bytes: nothing is unknown
#
# CLIP read the captions of 400 million pictures. No list of words is long enough for those. But every text is a row of **bytes**, numbers from 0
# to 255: "a" is one byte, "é" two, an emoji four or more. With a token for each byte nothing is ever unknown; the price is long sentences.
#
# **Byte-pair encoding** (BPE) buys the length back. Cut the text into words, so that no token ever spans two, and spell each in bytes. `</w>` marks
# the last byte of a word, so that the *at* of "cat" and of "atlas" differ. Then, again and again, make one new token of the two neighbours that
# stand together most often. That is a **merge**. The plain version counts everything anew for each.

# %%
some = captions[::25]
spelled = [spell(word) for caption in some for word in split(caption)]
for k in range(8):
    tally = Counter(pair for symbols in spelled for pair in pairwise(symbols))
    best = min(tally, key=lambda pair: (-tally[pair], pair))  # the most frequent; of equals the first, or two runs could differ
    spelled = [join(symbols, best) for symbols in spelled]
    print(f"  merge {k + 1}: {best[0]:>3} + {best[1]:<5} stood together {tally[best]:,} times")
few = train(some, 8)
lesson.compare("ids after 8 merges", [few.ids[symbol] for symbols in spelled for symbol in symbols], np.concatenate([few.encode(c) for c in some]))
lesson.show(split, spell, train, join)

# %% [markdown]
# ## Reading with the merges
#
# To read a word, spell it and apply the merges *in the order in which they were learned*. A frequent word ends as one token, and a rare one as
# several: never as an error. Ids are given in CLIP's order: 256 bytes, the same 256 ending a word, the merges as learned, start, end.

# %%
bpe = train(captions, 1000)  # it stops by itself: there is nothing to merge once each word is one token
merges = lesson.claim("merges", len(bpe.merges))
lesson.predict(f"{merges} merges were learned from {len(distinct)} words. How many tokens is 'rhinoceros', which no caption holds?")
pieces = bpe.symbols("rhinoceros")
lesson.answer(f"{lesson.claim('pieces of rhinoceros', len(pieces))}: {' + '.join(pieces)}. No error, and fewer tokens than letters.")

said = [word for sentence in (*distinct, "It's 42 rhinoceroses, a naïve 🦏!") for word in split(sentence)]
by_hand = []
for word in said:
    symbols = spell(word)
    for pair in bpe.merges:
        symbols = join(symbols, pair)
    by_hand += [bpe.ids[symbol] for symbol in symbols]
lesson.compare("ids of all words", by_hand, [bpe.ids[symbol] for word in said for symbol in bpe.symbols(word)])
print(f"  back from ids: {bpe.decode(bpe.encode('It’s 42 rhinoceroses, a naïve 🦏!'))!r}")
lesson.show(BPE, BPE.symbols, BPE.encode, BPE.decode)

# %% [markdown]
# ## Break it: merges in the wrong order
#
# Why in the order learned? Take instead the first pair from the left that is any merge at all (`bpe.ranks` knows them all). Nothing complains, and
# decoding still returns the sentence. The symptom: some words that were one token fall into pieces, ids that no trained model saw in that place.

# %%
from_the_left = {}
for word in distinct:
    symbols = spell(word)
    while known := [pair for pair in pairwise(symbols) if pair in bpe.ranks]:
        symbols = join(symbols, known[0])
    from_the_left[word] = symbols
fallen = [word for word in distinct if from_the_left[word] != bpe.symbols(word)]
print("  from the left:", {word: from_the_left[word] for word in fallen})
lesson.claim("words fallen apart", len(fallen))
lesson.claim("still decoded", all(bpe.decode([bpe.ids[symbol] for symbol in from_the_left[word]]) == word for word in distinct))

# %% [markdown]
# ## CLIP's two numbers: 49,408 and 77
#
# CLIP's tokenizer is this one with more merges. (The paper counts the bytes once; the released code has them twice, bare and ending a word.) T is 77,
# for the model learns a vector for each of 77 positions (lesson 05). Start and end take two; the rest is for *tokens*, neither words nor letters.
# Too long a sentence is an error; truncated, on request, it loses its tail but never the end token, off which CLIP reads the whole sentence.

# %%
unmerged = lesson.claim("tokens without merges", BPE(()).vocab)  # 256 bytes, the same ending a word, start and end
clips = lesson.claim("CLIP's vocabulary", unmerged + CLIP_MERGES)
print(f"  256 + 256 bytes, start and end: {unmerged}; with CLIP's {CLIP_MERGES:,} merges: {clips:,}; in the paper: {clips - 256:,}")
print(f"  here, with {merges} merges: {bpe.vocab}; room in CLIP's {CLIP_CONTEXT} places: {lesson.claim('room for a sentence', CLIP_CONTEXT - 2)}")
rows = bpe(["a red circle", "a red circle " * 30], truncate=True)
lesson.claim("a truncated row ends with the end token", bool(rows[1, -1] == bpe.end))
lesson.show(BPE.__call__)

# %% [markdown]
# ## Watch a sentence shrink
#
# Left: one sentence, a box for each token, after more and more merges (whole words are green). Right: the mean length of a caption. It falls from
# a token for each letter to a token for each word, and no further: merges never cross a space.

# %%
often = Counter(word for caption in captions for word in caption.split())
curve = [*range(0, merges, 4), merges]
lengths = [sum(times * len(BPE(bpe.merges[:k]).symbols(word)) for word, times in often.items()) / len(captions) for k in curve]
lesson.claim("tokens per caption, bytes only", lengths[0])
lesson.claim("tokens per caption, all merges", lengths[-1])

figure = lesson.new_figure(9.0, 3.2)
left, right = figure.subplots(1, 2, width_ratios=[2.1, 1])
sentence, steps = "a rabbit sleeping in the garden", [0, 5, 20, 50, 80, 110, merges]
whole = {word + "</w>" for word in split(sentence)}
for row, k in enumerate(steps):
    x, early = 0, BPE(bpe.merges[:k])
    for text in (symbol for word in split(sentence) for symbol in early.symbols(word)):
        bare = text.removesuffix("</w>")
        colour = GREEN if text in whole else BLUE if len(bare) > 1 else GREY
        left.barh(row, len(bare) - 0.12, 0.72, x + 0.06, color=colour, alpha=0.25)
        left.text(x + len(bare) / 2, row, bare, ha="center", va="center", family="monospace")
        x += len(bare) + (text != bare)  # a space after the end of a word
left.set(xlim=(-0.4, len(sentence)), ylim=(len(steps) - 0.4, -0.6), xticks=[], yticks=range(len(steps)), yticklabels=steps)
left.set(ylabel="merges learned", title="one sentence, cut into tokens")
right.plot(curve, lengths, color=ORANGE, lw=2)
right.axhline(lesson.claim("words per caption", often.total() / len(captions)), color=RED, ls="--", lw=1)
right.set(xlabel="merges learned", ylabel="tokens per caption (dashed: words)", ylim=(0, None), title="shorter and shorter")
lesson.figure(figure)

# %%
lesson.recap(
    "a tokenizer turns sentences into rows of ids, (B, T): start, the sentence, end, padding",
    "with words as tokens an unknown word is an error; with bytes nothing is unknown, and merges make frequent words short",
    "merges belong in the order in which they were learned: in another order the text survives, the ids do not",
)
lesson.try_this("in `bpe = …`, learn 40 merges instead of 1000", "captions take more than twice as many tokens; no word is unknown.")
lesson.try_this("train `bpe` on `[*captions, *['a rhinoceros'] * 10]`", "rhinoceros becomes one token, for fewer new merges than it has letters.")
lesson.end()
