# %% [markdown]
# # Lesson 13 · Looking inside
#
# *9 min to read, a minute to run*
#
# **Question.** Which pixels made the model say "a red circle"? And how would we know that a map of them is right?
#
# There are many ways to colour a picture by "what the model looked at". All of them look convincing; that proves little. In our world we know where
# each thing is, pixel by pixel: its **mask** (lesson 02). So we can do what photographs rarely allow, and *score* a map.

# %%
import jax
import numpy as np

import tinyclip
from lessons.experiments import looking_inside as experiment
from lessons.kit import GREEN, RED, Lesson
from tinyclip import explain

lesson = Lesson("13")
bundle = tinyclip.load("pairs")
model, P, encode = bundle.model, bundle.config.image.patch, jax.jit(bundle.model.encode_image)
B = 60 if lesson.fast else 150
asked = experiment.ask(bundle, B, seed=13)  # scenes of two things: a sentence names the first, in the next scene the second, and so on
images, masks = asked.images, asked.named_mask
lesson.shapes(pictures=asked.pictures, images=images, masks=masks)

# %% [markdown]
# ## A question has two sides
#
# "Why a red circle?" is half a question; "why a red circle *rather than* a blue star?" is a whole one. The difference of the two sentences' vectors
# is the direction that tells them apart; we call it `towards`. Here the two name the two things of one picture: what moves the picture's vector along
# `towards` speaks for the named thing and against the other. B counts pictures, S is their side in pixels, N counts tokens.
#
# ## Paint it over, and look again
#
# The plainest test of "it was these pixels" is to take them away. Paint a square over with the backdrop's colour: how far does the dot product with
# `towards` fall? Each pixel gets the mean fall over all squares that cover it. This is **occlusion**; it needs nothing from the model's inside.

# %%
named, other = bundle.embed_texts(asked.named), bundle.embed_texts(asked.other)  # (B, E)
towards = named - other


def occlusion_by_loops(image, direction, size, stride):
    S, whole = len(image), encode(image[None])[0] @ direction
    fall, covered = np.zeros((2, S, S))
    for top in range(stride - size, S, stride):
        for left in range(stride - size, S, stride):
            square, painted = np.s_[max(top, 0) : top + size, max(left, 0) : left + size], image.copy()
            painted[square] = np.median(image.reshape(-1, 3), axis=0)
            fall[square] += float(whole - encode(painted[None])[0] @ direction)
            covered[square] += 1
    return fall / covered


lesson.compare("occlusion", occlusion_by_loops(images[0], towards[0], 16, 16), explain.occlusion(model, images, towards, size=16, stride=16)[0])

# %% [markdown]
# ## Two scores, and what a guess gets
#
# The **pointing game**: does the map's largest pixel lie on the mask? No tolerance; among several largest, each counts its share. **Intersection over
# union** (IoU): take as many of the map's largest pixels as the mask has; divide the pixels that both have by those that either has.

# %%
lesson.predict("one who does not look points at the middle of the picture. Is that better than pointing at any pixel?")
maps = {name: draw() for name, draw in (experiment.maps(model, images, towards) | experiment.guesses(asked, P)).items()}  # each (B, S, S)
hits = unions = 0.0
for values, mask in zip(maps["occlusion"], masks, strict=True):
    hits += mask[values == values.max()].mean()
    n, last = mask.sum(), np.sort(values, axis=None)[-mask.sum()]
    both = mask[values > last].sum() + (n - (values > last).sum()) * mask[values == last].mean()  # those that tie share the last places
    unions += both / (2 * n - both)
lesson.compare("pointing game", hits / B, explain.pointing_game(maps["occlusion"], masks))
lesson.compare("IoU", unions / B, explain.iou(maps["occlusion"], masks))
lesson.show(explain.occlusion, explain.pointing_game, explain.iou, explain.centre_prior)
middle, anywhere = (lesson.claim(f"{name}, here", explain.pointing_game(maps[name], masks)) for name in ("the middle", "any pixel"))
lesson.answer(f"no: {middle:.1%} against {anywhere:.1%}. With two things, the middle is mostly the gap between them.")

# %% [markdown]
# ## Looking instead of asking
#
# Occlusion takes hundreds of passes. Cheaper maps look inside. **Gradient × input**: the slope of that dot product in each pixel, times the pixel.
# **Attention**: how much the class token looks at each patch in the last block. **Patch similarity**: each patch's last token, read as if it were the
# class token. And **relevance** (Chefer and others, 2021): attention that *mattered*. R, N × N, says how much token j has contributed to token i; at
# first each is only itself. A block with attention A, and slope G in it, adds to R the mean over its heads of max(A · G, 0), times R. So what was
# looked at, as far as that spoke *for* the answer, brings along all that it had gathered before. The class token's row of R is the map.

# %%
pairs = explain.attention_gradients(model, images[:2], towards[:2])  # A and G of each block
R = np.stack([np.eye(pairs[0][0].shape[-1])] * 2)
for A, G in np.asarray(pairs):
    gathered = np.zeros_like(R)
    for b, i, k in np.ndindex(*R.shape):
        gathered[b, i] += np.maximum(A[b, :, i, k] * G[b, :, i, k], 0).mean() * R[b, k]
    R = R + gathered
lesson.shapes(A=A, G=G, R=R)
lesson.compare("relevance", R, explain.relevance(model, images[:2], towards[:2]))
lesson.show(explain.with_added_weights, explain.attention_gradients, explain.relevance_step, explain.relevance, explain.image_relevance)
lesson.show(explain.text_relevance, explain.class_attention, explain.patch_similarity, explain.gradient_times_input, explain.on_shifted_grids)

# %% [markdown]
# The last three speak of whole patches, which is coarse: even one who *knew* the mask would often miss ("the mask, one grid" below). So we shift the
# picture under the grid, two pixels at a time, and take the mean. Relevance stands in the table both ways.
#
# ## Break it: a model that has learned nothing
#
# This check has felled many a map (Adebayo and others, 2018): give the model random weights. It knows nothing now, so a map of what it knows must not
# find the named thing more often than the other. `python -m lessons.experiments.looking_inside` made the table, from three sets of scenes.

# %%
lesson.predict("with random weights, in what share of the scenes does gradient × input still point at the named thing?")
table, spread = experiment.EXPERIMENT.results(), experiment.EXPERIMENT.spread
print(f"  {'points at':<21}named | other   IoU     here, {B} scenes: named     random weights: named | other")
for name in maps:
    named_, other_, iou = (lesson.claim(f"{name}: {key}", spread(name, key)[0]) for key in ("named", "other", "iou"))
    here = lesson.claim(f"{name}, here", explain.pointing_game(maps[name], masks))
    line, blind = f"  {name:<19}{named_:7.1%} |{other_:6.1%}  {iou:.2f}     {here:10.1%}", f"{name}, random weights"
    if blind in table:
        line += "                  {:18.1%} |{:6.1%}".format(*(lesson.claim(f"{blind}: {key}", spread(blind, key)[0]) for key in ("named", "other")))
    print(line)
lesson.answer(f"{lesson.results['gradient x input, random weights: named']:.0%}, about as when trained. It finds what stands out, whatever is asked.")

# %% [markdown]
# Half the points on the named thing sounds good, until the rest is found on the *other* thing. Attention cannot even be asked: no sentence enters it.
# Relevance depends on what was learned, and is far more often right than wrong. Occlusion is nearly always right.
#
# ## Which words?
#
# The same rule reads the other tower, where `towards` belongs to the pictures. To know the right answer, give a picture a **twin**: the same but for
# the first thing's colour, its shape, or the relation. Which word of the caption tells the two apart? We ask with the twin and without.

# %%
for change in experiment.CHANGES:
    here = lesson.claim(f"words, {change}, here", experiment.words(bundle, asked, change)["right word"])
    conditions = [f"words, {change}{more}" for more in ("", ", no twin", ", random weights")]
    shares = " · ".join(f"{name} {lesson.claim(name, spread(name, 'right word')[0]):.1%}" for name in conditions)
    print(f"  right word here {here:.1%}; in the table: {shares}")
print(f"  a random word would be right in {lesson.claim('any word', spread('words, colour', 'any word')[0]):.1%} of the captions\n")

# %% [markdown]
# Half a question hardly gets an answer: without a twin, a colour is found little better than by chance, a shape in a third, a relation never. Now:
# one scene, asked for each of its things, then with random weights; a dot on each map's largest pixel, green on the named thing and orange off it.

# %%
first, figure = experiment.both_ways(asked, 3), lesson.new_figure(9.2, 5.4)  # a batch of two: one scene, asked for the one thing and the other
top, bottom = figure.subfigures(2, 1, height_ratios=(3.1, 1.25))
grid, shown = top.subplots(3, 7), ("gradient x input", "attention", "patch similarity", "relevance", "occlusion")
rows = (bundle, 0, ""), (bundle, 1, ""), (experiment.random_weights(bundle, 0), 0, "random weights:\n")
for axes, (who, k, label) in zip(grid, rows, strict=True):
    draw = experiment.maps(who.model, first.images, experiment.direction(who, first))
    axes[0].imshow(first.pictures[k])
    axes[1].imshow(first.named_mask[k], cmap="gray")
    axes[0].set_ylabel(label + first.named[k], fontsize=8, rotation=0, ha="right", va="center")
    for place, name in zip(axes[2:], shown, strict=True):
        values = draw[name]()[k]  # (S, S)
        y, x = np.unravel_index(values.argmax(), values.shape)
        place.imshow(values, cmap="cividis")
        place.plot(x, y, "o", ms=6, mec="white", color=GREEN if first.named_mask[k, y, x] else RED)
for i, axes in enumerate(grid.flat):
    axes.set(xticks=[], yticks=[])
    axes.set_title(("picture", "mask", *shown)[i] if i < 7 else "", fontsize=8.5)
words = experiment.WORLD.grammar.describe(np.asarray(first.scenes.meaning)[0]).split()
relevance = np.stack([experiment.word_relevance(bundle, asked, change)[3, : len(words)] for change in experiment.CHANGES])
axes = bottom.subplots()
shades = axes.imshow(relevance / relevance.sum(axis=1, keepdims=True), cmap="Blues", vmin=0, vmax=1, aspect="auto")
axes.set_title("which word tells the picture from a twin with ...", fontsize=8.5)
axes.set(xticks=range(len(words)), xticklabels=words, yticks=range(3), yticklabels=[f"another {change}" for change in experiment.CHANGES])
bottom.colorbar(shades, ax=axes, label="share of relevance")
lesson.figure(figure)

# %%
lesson.recap(
    "a map answers a question: ask for one thing rather than another",
    "score maps where the truth is known, beside a guess that does not look and a model that knows nothing",
    "what you measure by taking it away (occlusion) is so, for pictures such as it has met; what you read off the inside you must check",
)
lesson.try_this("let `towards = other - named`", "occlusion here falls to nearly 0: it finds the other thing. Attention stays as it was.")
lesson.try_this("let `towards = named`, half a question", "gradient x input gains, others stay about where they were: the cost is with words.")
lesson.end()
