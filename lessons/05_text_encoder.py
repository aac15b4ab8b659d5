# %% [markdown]
# # Lesson 05 · The text encoder
#
# *7 min to read, a few seconds to run*
#
# **Question.** How does a whole sentence become one vector?
#
# Lesson 03 turned a sentence into T token ids. Lesson 04 built a block, which lets tokens look back at one another. What is missing is a way in, from
# ids to lists of numbers, and a way out, from T tokens to a single vector of E numbers. Both are short.

# %%
import jax
import jax.numpy as jnp
import numpy as np

import tinyclip
from lessons.kit import ORANGE, Lesson
from tinyclip import by_hand, clip, config, encoders

lesson = Lesson("05")
bundle = tinyclip.load("shapes")
settings, everything = bundle.config.text, by_hand.parameters(bundle.model)
weights, END = everything["text"], settings.end_token

# %% [markdown]
# ## The way in: two tables
#
# The **token embedding** is a learned table with one row of D numbers for each of the V ids: the token with id 33 is row 33. A row says nothing about
# *where* the word stands, so a second table, the **position embedding**, adds one for each position. (`settings.width` is D; V is `settings.vocab`.)

# %%
sentence = "a small red circle"
ids = bundle.tokenizer([sentence])  # (B = 1, T)
T = ids.shape[1]
words = ["<start>", *sentence.split(), "<end>"] + ["<pad>"] * (T - len(sentence.split()) - 2)
x = np.empty((1, T, settings.width), np.float32)
for t in range(T):
    x[0, t] = weights["token_embedding"][ids[0, t]] + weights["position_embedding"][t]
in_flax, inside = bundle.model.encode_text(ids, intermediates=True)
lesson.shapes(ids=ids, token_embedding=weights["token_embedding"], position_embedding=weights["position_embedding"], tokens=x)
lesson.compare("the way in", x, inside["tokens"])

twice = bundle.tokenizer(["a picture of a small red circle"])
first, second = np.flatnonzero(twice[0] == ids[0, 1])
rows, positions = weights["token_embedding"][twice[0]], weights["position_embedding"]
same = lesson.claim("two a's differ, before positions", float(np.abs(rows[first] - rows[second]).max()))
apart = lesson.claim("two a's differ, after positions", float(np.abs((rows + positions)[first] - (rows + positions)[second]).max()))
print(f"the two a's of 'a picture of a small red circle' differ by {same:.1f} before their positions are added, by {apart:.2f} after\n")

# %% [markdown]
# ## The way out: read one token
#
# After the last block there are T lists of D numbers, and every one could claim to be the sentence. But the mask lets each token see only what came
# before it. So only one of them has seen the whole sentence and nothing else: **`<end>`**. Its row is taken, brought to an even footing by one
# last LayerNorm, multiplied by a (D, E) matrix, the **projection**, and divided by its length (lesson 01).


# %%
CAUSAL = by_hand.causal_mask(T)


def every_vector(ids, table=weights["token_embedding"], mask=CAUSAL):
    """Token ids (B, T) to unit vectors (B, T, E): what each sentence would be, read at each of its tokens."""
    x = table[ids] + weights["position_embedding"]
    for i in range(settings.depth):
        x = by_hand.block(weights["blocks"][i], x, settings.heads, settings.activation, settings.eps, mask)[0]  # (B, T, D)
    projected = by_hand.layer_norm(weights["norm_final"], x, settings.eps)[0] @ everything["text_projection"]["kernel"]  # (B, T, E)
    return projected / np.sqrt((projected**2).sum(axis=2, keepdims=True))


def sentence_vectors(ids, where, **how):
    return every_vector(ids, **how)[np.arange(len(ids)), where]  # (B, E): each sentence read at the token `where`


def first_end(ids):
    return np.array([list(row).index(END) for row in ids])


plain, end = sentence_vectors(ids, first_end(ids)), int(first_end(ids)[0])
lesson.shapes(last_block=inside[f"block_{settings.depth - 1}"], pooled=inside["pooled"], projected=inside["projected"], embedding=plain)
lesson.compare("the end's position", first_end(ids), encoders.end_position(jnp.asarray(ids), END))
lesson.compare("the sentence's vector", plain, in_flax)
lesson.compare("the sentence's vector, by the NumPy twin", by_hand.encode_text(everything, bundle.config, ids)[0], in_flax)
lesson.show(encoders.TextEncoder, encoders.end_position, clip.CLIP.encode_text, by_hand.text_encoder, config.TextConfig)

# %% [markdown]
# ## What stands behind the end
#
# All sentences of a batch need the same T, so short ones are filled up with `<pad>`, id 0. Many encoders are handed a second mask that hides the
# padding. Ours has none. We write random words over the padding and see how far the sentence's vector moves. (Two unit vectors are at most 2 apart.)

# %%
lesson.predict("overwrite the padding with random words. How far does the sentence's vector move?")
random = np.random.default_rng(0)
scribbled = np.repeat(ids, 50, axis=0)
scribbled[:, end + 1 :] = random.integers(1, settings.vocab, size=(50, T - end - 1))


def farthest(some, others):
    return float(np.linalg.norm(some - others, axis=1).max())


padding = lesson.claim("padding moves the vector", farthest(jax.jit(bundle.model.encode_text)(scribbled), in_flax))
lesson.claim("no padding at all moves the vector", farthest(bundle.model.encode_text(ids[:, : end + 1]), in_flax))
unmasked = [sentence_vectors(rows, end, mask=None) for rows in (scribbled, ids)]
seen = lesson.claim("padding moves the vector, without mask", farthest(*unmasked))
lesson.answer(f"not at all (by {padding:.0e}): `<end>` cannot look ahead. Without the causal mask it would move by up to {seen:.2f}.")

# %% [markdown]
# ## Break it: read the largest id
#
# OpenAI's code finds the end in another way: `ids.argmax()`, the position of the *largest* id. That is the same as long as `<end>` outranks every
# word, as it does in CLIP's vocabulary. Then somebody adds a word. Let us teach ours "crimson" in the cheapest way: one more row in the table, a copy
# of "red". Its id is V, one more than that of `<end>`.

# %%
CRIMSON = settings.vocab
copied, red = bundle.tokenizer.ids["red"], bundle.tokenizer.ids["red"]
table = np.concatenate([weights["token_embedding"], weights["token_embedding"][copied : copied + 1]])  # (V + 1, D)
red_ones = [f"a small red {shape}" for shape in ("circle", "square", "triangle", "star", "heart", "cross", "ring", "moon")]
in_red = bundle.tokenizer(red_ones)
in_crimson = np.where(in_red == red, CRIMSON, in_red)

by_end = sentence_vectors(in_crimson, first_end(in_crimson), table=table)
by_largest = sentence_vectors(in_crimson, in_crimson.argmax(axis=1), table=table)
good = lesson.claim("farthest crimson from red, read at the end", farthest(by_end, bundle.embed_texts(red_ones)))
wide = lesson.claim("crimson circle and star apart, read at the end", float(np.linalg.norm(by_end[0] - by_end[3])))
none = lesson.claim("crimson sentences apart, read at the largest id", farthest(by_largest, by_largest[0]))
print(f"at the end: crimson is within {good:.0e} of red, circle and star are {wide:.2f} apart; at the largest id: all shapes within {none:.0e}")

# %% [markdown]
# The symptom: every sentence with the new word is cut off right there. What comes after, the shape, is never read, and no error says so. It has
# happened to people who added words to a published CLIP. We look for the first `<end>` instead.
#
# ## The picture
#
# One matrix shows the whole lesson. We change one token (columns), read the vector off at one token (rows), and measure how far it moved, on average.
# Above the diagonal nothing ever moves. Only the row of `<end>` hears the whole sentence and nothing else.

# %%
tries, influence = 20, np.zeros((T, T))
for j in range(T):
    altered = np.repeat(ids, tries, axis=0)
    altered[:, j] = random.integers(1, END - 1, size=tries)
    influence[:, j] = np.linalg.norm(every_vector(altered) - every_vector(ids), axis=2).mean(axis=0)
lesson.claim("least influence of a word on the end", float(influence[end, 1:end].min()))
lesson.claim("most influence of a later token on an earlier", float(np.triu(influence, 1).max()))

figure = lesson.new_figure(6.4, 4.6)
axes = figure.subplots()
image = axes.imshow(np.where(np.tri(T, dtype=bool), influence, np.nan), cmap="Blues", vmin=0, vmax=1.4)
axes.set(xlabel="the token we change", ylabel="the token we read", facecolor="#dddddd")
axes.set_xticks(range(T), words, rotation=45, ha="right", rotation_mode="anchor")
axes.set_yticks(range(T), words)
for i, j in zip(*np.tril_indices(T), strict=True):
    axes.text(j, i, f"{influence[i, j]:.1f}", ha="center", va="center", fontsize=7, color="white" if influence[i, j] > 0.7 else "black")
axes.axhspan(end - 0.5, end + 0.5, fill=False, edgecolor=ORANGE, lw=2.5)
axes.text((end + T) / 2, end, "deaf to the padding", ha="center", va="center", fontsize=9)
figure.colorbar(image, label="how far the vector moves (a distance, 0 to 2)")
lesson.figure(figure)

# %% [markdown]
# ## Must it be a transformer?
#
# No. Anything that takes a sentence and ends in E numbers would do, because all that CLIP looks at is the vector. BERT would, another well-known
# transformer: it reads in both directions, so it does need a mask for the padding, and it is read off at its first token. An older recurrent network
# would, which reads word by word and keeps a summary; even the mean of the words' rows would, though deaf to their order. We show a transformer
# because the same block serves pictures in lesson 06, because all tokens are computed at once, and because the published CLIP's weights fit it.

# %%
lesson.recap(
    "ids pick rows of a table; a row for the position is added; blocks mix them",
    "the sentence is read off at its first end token: under a causal mask it is the first to have seen everything",
    "what stands behind the end cannot matter, so padding needs no mask of its own",
)
lesson.try_this("after `ids = …`, write a second end: `ids[0, -1] = END`", "no difference grows: only the first one is read.")
lesson.try_this("let `copied` be the id of 'blue'", "read at the end, crimson is about 1 away from red; at the largest id, all shapes are still one.")
lesson.end()
