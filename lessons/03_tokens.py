# %% [markdown]
# # Lesson 03 · Tokens
#
# *8 min to read, a few seconds to run*
#
# **Question.** How does a sentence become numbers, and what becomes of a word that was never seen?
#
# A model reads no letters. It reads whole numbers, the **ids** of **tokens**: a token is a piece of text that has a number of its own. What the
# pieces are is for us to choose. This lesson makes two choices: whole words, as tinyclip's models do, and pieces of words, as CLIP does. Our
# examples are the captions of three toy worlds; a world's `canonical()` lists them, each once and in its plainest wording.

# %%
from collections import Counter
from itertools import pairwise

import numpy as np
from matplotlib.patches import Rectangle

from lessons.kit import BLUE, GREEN, GREY, ORANGE, RED, Lesson
from tinyclip import UserError
from tinyclip.bpe import BPE, CLIP_CONTEXT, CLIP_MERGES, join, spell, split, train
from tinyclip.tokenizer import WordTokenizer
from tinyclip.world import get_world

lesson = Lesson("03")
captions = [caption for name in ("single", "pairs", "animals") for caption in get_world(name).canonical()[0]]
distinct = sorted({word for caption in captions for word in caption.split()})
count = lesson.claim("captions", len(captions))
print(f"{count:,} captions of three toy worlds, such as {captions[0]!r}, use {lesson.claim('words', len(distinct))} different words\n")

# %% [markdown]
# ## One word, one id
#
# Sort the words and count them off. Id 0 is kept for **padding**: sentences differ in length, rows of an array do not, so short rows are filled up.
# Two more ids mark where a sentence starts and where it ends. The end token gets the largest id, as in CLIP. A batch of B sentences becomes an
# array (B, T), where T is the number of tokens in a row: the **context**.

# %%
id_of = {word: i for i, word in enumerate(["<pad>", *distinct, "<start>", "<end>"])}
longest = max(len(caption.split()) for caption in captions)


def row_by_hand(sentence):
    ids = [id_of["<start>"], *(id_of[word] for word in sentence.split()), id_of["<end>"]]
    return ids + [id_of["<pad>"]] * (longest + 2 - len(ids))


words = WordTokenizer.of(captions)
tokens = words(captions)
lesson.compare("ids of words", [row_by_hand(caption) for caption in captions], tokens)
lesson.shapes(tokens=tokens)
print(f"  {captions[0]!r} -> {tokens[0].tolist()} -> {words.decode(tokens[0])!r}")
lesson.show(WordTokenizer, WordTokenizer.__call__)

# %% [markdown]
# ## A word that nobody taught
#
# An id for "unknown" would hide a typing mistake: "a red circel" would still get an answer, for a sentence with a hole. With so few words the
# honest reply is an error that names the word and the nearest known ones.

# %%
try:
    words(["a red circel"])
except UserError as error:
    complaint = str(error)
print(f"  {complaint}\n")
lesson.claim("the error suggests circle", "'circle'" in complaint)

# %% [markdown]
# ## Bytes: nothing is unknown
#
# CLIP read the captions of 400 million pictures. No list of words is long enough for those. But every text is a row of **bytes**, numbers from 0
# to 255: "a" is one byte, "é" two, most emoji four. With a token for each byte nothing is ever unknown; the price is long sentences.
#
# **Byte-pair encoding** (BPE) buys the length back. First cut the text into words, so that no token ever spans two, and spell each word in bytes.
# `</w>` marks the last byte of a word, so that the *at* of "cat" and of "atlas" differ. Then, again and again: find the two neighbours that stand
# together most often, and make them one new token. That is a **merge**. The plain version counts everything anew for each.

# %%
print("  the bytes of é:", list("é".encode()), " and the spelling of 'cat':", spell("cat"))
lesson.show(split, spell)


def train_by_counting(captions, merges):
    spelled = [spell(word) for caption in captions for word in split(caption)]
    learned = []
    for _ in range(merges):
        tally = Counter()
        for symbols in spelled:
            tally.update(pairwise(symbols))
        most = max(tally.values())
        best = min(pair for pair in tally if tally[pair] == most)  # of equals the first, or two runs could differ
        spelled = [join(symbols, best) for symbols in spelled]
        learned.append(best)
        print(f"  merge {len(learned)}: {best[0]:>3} + {best[1]:<5} stood together {most:,} times")
    return BPE(tuple(learned))


some = captions[::25]
by_counting, few = train_by_counting(some, 8), train(some, 8)
lesson.compare("ids after 8 merges", *(np.concatenate([bpe.encode(c) for c in some]) for bpe in (by_counting, few)))
lesson.show(train, join)

# %% [markdown]
# ## Reading with the merges
#
# To read a word, spell it and apply the merges *in the order in which they were learned*. A frequent word ends as one token, and a rare one as
# several: never as an error. Ids are given in CLIP's order: 256 bytes, the same 256 ending a word, the merges as learned, start, end.

# %%
bpe = train(captions, 1000)  # it stops by itself: there is nothing to merge once each word is one token
lesson.claim("merges", len(bpe.merges))
lesson.predict(f"{len(bpe.merges)} merges were learned from {len(distinct)} words. How many tokens is 'rhinoceros', which no caption holds?")
pieces = bpe.symbols("rhinoceros")
lesson.claim("pieces of rhinoceros", len(pieces))
lesson.answer(f"{len(pieces)}: {' + '.join(pieces)}. No error, and not one token for each of its {len('rhinoceros')} letters either.")


def symbols_by_hand(word):
    symbols = spell(word)
    for pair in bpe.merges:
        symbols = join(symbols, pair)
    return symbols


said = [word for sentence in (*distinct, "It's 42 rhinoceroses, a naïve 🦏!") for word in split(sentence)]
by_hand = [bpe.ids[symbol] for word in said for symbol in symbols_by_hand(word)]
lesson.compare("ids of all words", by_hand, [bpe.ids[symbol] for word in said for symbol in bpe.symbols(word)])
print(f"  back from ids: {bpe.decode(bpe.encode('It’s 42 rhinoceroses, a naïve 🦏!'))!r}")
lesson.show(BPE, BPE.symbols, BPE.encode, BPE.decode)

# %% [markdown]
# ## Break it: merges in the wrong order
#
# Why in the order learned? Take instead the first pair from the left that is any merge at all. Nothing complains, and decoding still returns the
# sentence. The symptom: some words that were one token fall into pieces. A trained model would meet ids it never saw in that place.
# (`bpe.ranks` holds every merge with its place in the order; here we only ask whether a pair is in it.)


# %%
def from_the_left(word):
    symbols = spell(word)
    while known := [pair for pair in pairwise(symbols) if pair in bpe.ranks]:
        symbols = join(symbols, known[0])
    return symbols


fallen = [word for word in distinct if from_the_left(word) != bpe.symbols(word)]
for word in fallen:
    print(f"  {word:<10} should be {bpe.symbols(word)}, but from the left it is {from_the_left(word)}")
lesson.claim("words fallen apart", len(fallen))
lesson.claim("still decoded", all(bpe.decode([bpe.ids[symbol] for symbol in from_the_left(word)]) == word for word in distinct))

# %% [markdown]
# ## CLIP's two numbers: 49,408 and 77
#
# CLIP's tokenizer is this one with more merges. The paper's vocabulary is smaller, because it counts the bytes once; the released code has them
# twice, bare and ending a word. And T is 77: the model learns a vector for each position (lesson 05), and its table has 77 rows. Start and end take
# two. The rest is room for *tokens*, neither words nor letters; each digit is one. A sentence that is too long is an error. If you ask for truncation
# its tail goes, but never the end token, because CLIP reads the whole sentence off it (lesson 05 too).

# %%
unmerged = lesson.claim("tokens without merges", BPE(()).vocab)  # 256 bytes, the same ending a word, start and end
clips = lesson.claim("CLIP's vocabulary", unmerged + CLIP_MERGES)
print(f"  256 + 256 bytes, start and end: {unmerged}; with CLIP's {CLIP_MERGES:,} merges: {clips:,}; in the paper: {clips - 256:,}")
room = lesson.claim("room for a sentence", CLIP_CONTEXT - 2)
print(f"  here, with {len(bpe.merges)} merges: {bpe.vocab}; of CLIP's {CLIP_CONTEXT} places {room} are left for the sentence")
rows = bpe(["a red circle", "a red circle " * 30], truncate=True)
lesson.shapes(rows=rows)
lesson.claim("a truncated row ends with the end token", bool(rows[1, -1] == bpe.end))
try:
    bpe(["a red circle " * 30])
except UserError as error:
    print(f"  {error}")
lesson.show(BPE.__call__)

# %% [markdown]
# ## Watch a sentence shrink
#
# Left: one sentence, a box for each token, after more and more merges (whole words are green). Right: the mean length of a caption. It falls from
# a token for each letter to a token for each word, and no further: merges never cross a space.

# %%
sentence, said = "a rabbit sleeping in the garden", Counter(word for caption in captions for word in caption.split())
steps, curve = [0, 5, 20, 50, 80, 110, len(bpe.merges)], [*range(0, len(bpe.merges), 4), len(bpe.merges)]
learned = [BPE(bpe.merges[:k]) for k in curve]
lengths = [sum(times * len(early.symbols(word)) for word, times in said.items()) / len(captions) for early in learned]
lesson.claim("tokens per caption, bytes only", lengths[0])
lesson.claim("tokens per caption, all merges", lengths[-1])
by_words = lesson.claim("words per caption", said.total() / len(captions))

figure = lesson.new_figure(9.0, 3.2)
left, right = figure.subplots(1, 2, width_ratios=[2.1, 1])
for row, k in enumerate(steps):
    x = 0
    for word in split(sentence):
        symbols = BPE(bpe.merges[:k]).symbols(word)
        for text in (symbol.removesuffix("</w>") for symbol in symbols):
            colour = GREEN if len(symbols) == 1 else BLUE if len(text) > 1 else GREY
            left.add_patch(Rectangle((x + 0.06, row - 0.36), len(text) - 0.12, 0.72, facecolor=colour, alpha=0.25, edgecolor=colour))
            left.text(x + len(text) / 2, row, text, ha="center", va="center", fontsize=9, family="monospace")
            x += len(text)
        x += 1
left.set(xlim=(-0.4, len(sentence)), ylim=(len(steps) - 0.4, -0.6), xticks=[], yticks=range(len(steps)), yticklabels=steps)
left.set(ylabel="merges learned", title="one sentence, cut into tokens")
left.spines[:].set_visible(False)
right.plot(curve, lengths, color=ORANGE, lw=2)
right.axhline(by_words, color=RED, ls="--", lw=1)
right.text(curve[-1], by_words - 1.5, "words per caption", color=RED, ha="right", va="center")
right.set(xlabel="merges learned", ylabel="tokens per caption", ylim=(0, None), title="shorter and shorter")
lesson.figure(figure)

# %%
lesson.recap(
    "a tokenizer turns sentences into rows of ids, (B, T): start, the sentence, end, padding",
    "with words as tokens an unknown word is an error; with bytes nothing is unknown, and merges make frequent words short",
    "merges belong in the order in which they were learned: in another order the text survives, the ids do not",
)
lesson.try_this(
    "in `bpe = …`, learn 40 merges instead of 1000",
    "a caption takes more than twice as many tokens; its words fall apart, and not one is unknown.",
)
lesson.try_this("train `bpe` on `[*captions, *['a rhinoceros'] * 10]`", "rhinoceros becomes one token, for fewer new merges than it has letters.")
lesson.end()
