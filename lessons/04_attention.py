# %% [markdown]
# # Lesson 04 · Attention
#
# *8 min to read, a few seconds to run*
#
# **Question.** How does a word learn what the other words say?
#
# In "a red circle left of a blue square", the circle is red and the square is blue. A model that only counts words cannot know that: each word has to
# look at the others. *Attention* is how. In a transformer, nowhere else does one word, or one piece of a picture, learn anything from another.

# %%
import jax.numpy as jnp
import numpy as np

import tinyclip
from lessons.kit import Lesson
from tinyclip import by_hand, encoders, transformer

lesson = Lesson("04")

# %% [markdown]
# ## What goes in
#
# Lesson 03 made a sentence into T tokens. Here each token is already a list of D numbers (lesson 05 says where they come from), so a sentence is a
# table, (T, D). We take the table and the weights of a small model that is already trained, `pairs`, so that there is something to see.
#
# For reading the code: with `intermediates=True` a model also hands out what it computes on its way; a layer's matrix is its `kernel`, what is added
# after it its `bias`; `by_hand` is the same model in plain NumPy, whose functions return a result and what they kept, hence many a `[0]` and `[1]`.

# %%
sentence = "a red circle left of a blue square"
bundle = tinyclip.load("pairs")
words = ["<start>", *sentence.split(), "<end>"]
T, H, eps = len(words), bundle.config.text.heads, bundle.config.text.eps
block, weights = bundle.model.text.blocks[0], by_hand.parameters(bundle.model)["text"]["blocks"][0]
tokens = np.array(bundle.model.encode_text(bundle.tokenizer([sentence])[:, :T], intermediates=True)[1]["tokens"])  # (B = 1, T, D)
lesson.shapes(tokens=tokens, query=weights["attention"]["query"]["kernel"])

# %% [markdown]
# ## First, an even footing: LayerNorm
#
# Some tokens are loud, with large numbers; some are quiet. **LayerNorm** brings the D numbers of every token to mean 0 and variance 1 (the mean
# of their squares), multiplies each by a learned scale and adds a learned bias. (`eps` is a tiny number that keeps us from dividing by zero.)

# %%
x = np.empty_like(tokens)
for t in range(T):
    centred = tokens[0, t] - tokens[0, t].mean()
    x[0, t] = centred / np.sqrt((centred**2).mean() + eps) * weights["norm_1"]["scale"] + weights["norm_1"]["bias"]
lesson.compare("LayerNorm", x, block.norm_1(jnp.asarray(tokens)))
lesson.show(transformer.LayerNorm, by_hand.layer_norm)

# %% [markdown]
# ## A question, a label, an answer
#
# A **matrix** makes a new list out of a list: each new number is the dot product of the list with one of the matrix's columns. Three learned
# matrices make three lists out of every token: its **query** (what am I looking for?), its **key** (what am I?) and its **value**
# (what do I have to say?). Token i *scores* token j by the dot product of i's query with j's key: lesson 01's question, how alike are two arrows?
#
# **Heads.** Each list is cut into H slices of K = D / H numbers. Each is a head, with scores of its own: one may look for colours, one for the word
# before. **Softmax** turns one row of scores into shares: raise e to the power of each, divide by the sum. All are positive, and they add up to 1.
# These are the **attention weights**; unlike the weights of the model they are not learned, but computed anew for every sentence.
#
# First one head in loops. A token may look at itself and at those before it, no further: the section on looking ahead says why.

# %%
lesson.predict("in the first head of this trained model, which word does 'circle' look at most?")
query, key = (by_hand.linear(weights["attention"][name], x[0])[0] for name in ("query", "key"))  # x W + b: (T, D) each
K, looks = query.shape[1] // H, np.zeros((T, T))  # how much token i looks at token j in head 0
for i in range(T):
    scores = [sum(query[i, k] * key[j, k] for k in range(K)) / np.sqrt(K) for j in range(i + 1)]
    powers = [np.exp(score) for score in scores]
    for j in range(i + 1):
        looks[i, j] = powers[j] / sum(powers)
circle, square = words.index("circle"), words.index("square")
favourite = lesson.claim("circle looks most at", words[int(looks[circle].argmax())])
lesson.claim("square looks most at", words[int(looks[square].argmax())])
lesson.claim("circle's look at red", float(looks[circle].max()))
lesson.answer(f"{favourite!r}, with {looks[circle].max():.0%} of its attention; 'square' gives {looks[square].max():.0%} to 'blue'.")

# %% [markdown]
# Nobody told it to. It was trained to match sentences with pictures, and this helps. (Not every head can be read so easily.) A head's output is the
# mean of the values, weighted so. The heads' slices go side by side again and pass through one last matrix, `out`.
#
# **Why divide by √K?** The dot product of two random lists of K numbers grows like √K. Large scores make softmax put everything on one token.
#
# ## All heads: loops, matrices, JAX
#
# The loops say what is meant, the matrix products say it at once, and JAX says the same so that a GPU can run it. (JAX is NumPy that can also be
# compiled and differentiated; Flax NNX is where a layer keeps its weights.) `mask[i, j]` is true where token i may look at token j.

# %%
products = np.random.default_rng(0).normal(size=(2, 2000, K)).prod(axis=0).sum(axis=1)
spread = lesson.claim("spread of random dot products", float(products.std()))
print(f"dot products of random lists of K = {K} numbers spread by ±{spread:.1f}; √K = {np.sqrt(K):.1f}\n")

mask = np.array(encoders.causal_mask(T))
slow = by_hand.attention_by_loops(weights["attention"], x, H, mask)  # (1, T, D)
plain, _ = by_hand.attention(weights["attention"], x, H, mask)
jx, jmask = jnp.asarray(x), jnp.asarray(mask)  # the same numbers as JAX arrays
library, library_looks = block.attention(jx, jx, jmask)  # (1, T, D) and (1, H, T, T)
lesson.shapes(output=library, attention=library_looks)
lesson.compare("attention, loops against matrices", slow, plain)
lesson.compare("attention, loops against JAX", slow, library)
lesson.compare("weights of head 0, our loop against JAX", looks, library_looks[0, 0])
lesson.show(transformer.Attention, by_hand.attention, by_hand.attention_by_loops, encoders.causal_mask)

# %% [markdown]
# ## The block around it
#
# A **block** is attention, then an **MLP** (multi-layer perceptron): two matrices with a bend between them, for every token alone. The bend is
# QuickGELU, x times a number between 0 and 1 that grows with x; without it two matrices would be no more than one. Both parts *add* to the token:
# `x + attention(norm(x))`, then `x + mlp(norm(x))`. What a token knew, it keeps. Such blocks, one after another, are a **transformer**.

# %%
attended = tokens + slow
hidden, _ = by_hand.linear(weights["mlp"]["up"], by_hand.layer_norm(weights["norm_2"], attended, eps)[0])
bent = hidden / (1 + np.exp(-1.702 * hidden))
lesson.compare("the block", attended + by_hand.linear(weights["mlp"]["down"], bent)[0], block(jnp.asarray(tokens), jmask)[0])
lesson.show(transformer.Block, transformer.quick_gelu)

# %% [markdown]
# ## Never look ahead
#
# That mask is **causal**: a token sees itself and what came before. CLIP's text encoder has it, its image encoder has none. Let us change the last
# word, "square", into "star", and see how far the outputs of the block before it move.

# %%
both = bundle.tokenizer([sentence, sentence.replace("square", "star")])[:, :T]
pair = np.array(bundle.model.encode_text(both, intermediates=True)[1]["tokens"])  # (2, T, D)
masked, free = block(jnp.asarray(pair), jmask)[0], block(jnp.asarray(pair))[0]  # (2, T, D) each
with_mask = lesson.claim("earlier outputs move, with mask", float(np.abs(masked[0] - masked[1])[:square].max()))
without = lesson.claim("earlier outputs move, without mask", float(np.abs(free[0] - free[1])[:square].max()))
print(f"outputs before 'square' move by at most {with_mask:.1e} with the mask, and by {without:.2f} without it")

# %% [markdown]
# ## Break it: mask after the softmax
#
# A natural idea: compute the weights for all tokens, then set the forbidden ones to 0. Nothing complains. But softmax has already divided by a sum
# that the forbidden tokens were part of. The symptom: rows no longer add up to 1, and the future leaks through the sum. The right way is to make
# the forbidden *scores* as low as can be, before the softmax. (`saved["soft"]["p"]` holds the weights, `saved["v"]` the values.)

# %%
saved = by_hand.attention(weights["attention"], by_hand.layer_norm(weights["norm_1"], pair, eps)[0], H)[1]
everywhere = saved["soft"]["p"][0, 0]  # (T, T): our sentence's weights in head 0, without a mask
late = by_hand.merge_heads((saved["soft"]["p"] * mask) @ saved["v"]) @ weights["attention"]["out"]["kernel"]  # the bias would cancel
total = lesson.claim("sum of circle's row, masked too late", float((everywhere * mask)[circle].sum()))
leak = lesson.claim("earlier outputs move, masked too late", float(np.abs(late[0] - late[1])[:square].max()))
print(f"masked too late, the weights of 'circle' add up to {total:.2f} instead of 1, and earlier outputs move by {leak:.2f}")

# %% [markdown]
# ## The picture
#
# One row for each token: how much it looks at which. On the left, find "circle" and "square", each at its own colour; grey is out of sight. On the
# right is the same head without its mask. It was never trained to look ahead, and now "circle" falls for the other thing's colour.

# %%
figure = lesson.new_figure(8.6, 4.2)
panels = figure.subplots(1, 2, sharey=True)
for axes, shown, title in zip(panels, (np.where(mask, looks, np.nan), everywhere), ("with the causal mask", "without a mask"), strict=True):
    image = axes.imshow(shown, cmap="Blues", vmin=0, vmax=1)
    axes.set(title=title, xlabel="the token looked at (its key)", facecolor="#dddddd")
    axes.set_xticks(range(T), words, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(T), words)
panels[0].set_ylabel("the token that looks (its query)")
figure.colorbar(image, ax=panels, shrink=0.8, label="attention weight (a row adds up to 1)")
lesson.figure(figure)
lesson.claim("without the mask, circle looks most at", words[int(everywhere[circle].argmax())])

# %%
lesson.recap(
    "attention: every token takes a weighted mean of values, by how well its query fits their keys",
    "heads do this side by side, each on its own slice; an MLP then works on every token alone",
    "a causal mask, applied before the softmax, keeps every token ignorant of what comes later",
)
lesson.try_this("begin with sentence = 'a blue square left of a red circle'", "'circle' still looks most at 'red', and 'square' at 'blue'.")
lesson.try_this("drop `/ np.sqrt(K)` in the loops", "'circle' gives 'red' more than 99 %; head 0 then differs from JAX's by some 0.4.")
lesson.end()
