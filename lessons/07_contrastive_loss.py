# %% [markdown]
# # Lesson 07 · The contrastive loss
#
# *9 min to read, half a minute to run*
#
# **Question.** Which single number says how badly pictures and sentences fit, and how does one read it?
#
# The two encoders of lessons 05 and 06 turn a batch of **B** pictures and their B sentences into 2 B unit vectors of **E** numbers. Nobody tells
# CLIP where a vector should lie. It is only told which belong together, and it is asked 2 B questions: whose sentence is this, whose picture
# is that? The loss is its mean surprise at the answers. It is *contrastive*: every answer is weighed against all others of the batch.

# %%
import dataclasses
import math

import jax
import jax.numpy as jnp
import matplotlib.patches
import numpy as np

import tinyclip
from lessons.kit import BLUE, GREEN, GREY, ORANGE, RED, Lesson
from tinyclip import by_hand, clip, evaluate, losses, plots
from tinyclip.config import TrainConfig
from tinyclip.train import floor_of, initial_state, make_model
from tinyclip.world import get_world

lesson = Lesson("07")
random = np.random.default_rng(7)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


# %% [markdown]
# ## Surprise
#
# Picture *i* has a cosine with every sentence. Times a **scale** *s* they are called **logits**; CLIP starts with s = 1/0.07, and lesson 08 is about
# that number. As in lesson 04, a softmax turns logits into shares `p` that add up to 1. The surprise is `−log p` at the true sentence: 0 if it was
# sure and right, large if it was sure and wrong. `log` is the natural logarithm, so surprise comes in **nats**. In loops, every question by itself:


# %%
def loss_by_loop(images, texts, s):
    B, surprise = len(images), 0.0
    for i in range(B):
        p_text = [math.exp(s * (images[i] @ texts[j])) for j in range(B)]  # picture i chooses among the sentences
        p_image = [math.exp(s * (images[j] @ texts[i])) for j in range(B)]  # sentence i chooses among the pictures
        surprise += -math.log(p_text[i] / sum(p_text)) - math.log(p_image[i] / sum(p_image))
    return surprise / (2 * B)


def softmax(x, axis):
    powers = np.exp(x - x.max(axis, keepdims=True))  # the largest taken off, or e^x overflows
    return powers / powers.sum(axis, keepdims=True)


images, texts, scale = unit(random.standard_normal((6, 8))), unit(random.standard_normal((6, 8))), 1 / 0.07
logits = scale * images @ texts.T  # (B, B)
rows, columns = softmax(logits, 1), softmax(logits, 0)  # pictures ask along the rows, sentences along the columns
lesson.shapes(images=images, texts=texts, logits=logits, rows=rows, columns=columns)

by_numpy = -(np.log(rows.diagonal()).mean() + np.log(columns.diagonal()).mean()) / 2
lesson.compare("the loss by loops", loss_by_loop(images, texts, scale), by_numpy)
lesson.compare("the loss", by_numpy, losses.contrastive_loss(jnp.array(images), jnp.array(texts), scale))
lesson.show(losses.contrastive_loss, losses.cross_entropy, by_hand.contrastive_loss_by_loops, by_hand.contrastive_loss)

# %% [markdown]
# Both directions read the same table, one along its rows, the other down its columns. They are not the same number, because the table is not
# symmetric: picture 1 with sentence 2 is one cosine, picture 2 with sentence 1 another.

# %%
image_to_text, text_to_image = -np.log(rows.diagonal()).mean(), -np.log(columns.diagonal()).mean()
print(f"each picture chooses among the sentences: {image_to_text:.2f} nats; each sentence among the pictures: {text_to_image:.2f}\n")
lesson.claim("the two directions differ by", float(abs(image_to_text - text_to_image)))

# %% [markdown]
# ## The gradient: predicted minus true
#
# A **slope** says how much the loss grows when one number grows a little; the **gradient** is all the slopes together. Training moves every number
# against its slope (lessons 09 and 10). So which way should a logit move? The slope of one question's surprise is `p` for every wrong answer and
# `p − 1` for the right one: what was predicted minus what is true. All 2 B questions count alike, hence the `2 * B`. From the logits it is one
# matrix product back to the vectors: moving picture i along sentence j raises their logit, s times as fast. `jax.grad` turns a function into the
# function of its slopes. Three ways to the same numbers: by hand, by JAX, and by moving one number a little and looking (**finite differences**).

# %%
B = len(images)
wrong_by = (rows - np.eye(B) + columns - np.eye(B)) / (2 * B)  # (B, B): the gradient of the logits
by_own_hand = scale * wrong_by @ texts  # (B, E): of the pictures
saved = by_hand.contrastive_loss(images, texts, scale)[1]
lesson.compare("the gradient by hand", by_own_hand, by_hand.contrastive_loss_backward(saved)[0])
lesson.compare("the gradient by JAX", by_own_hand, jax.grad(losses.contrastive_loss)(jnp.array(images), jnp.array(texts), scale))

little, slopes = 1e-5, np.zeros_like(images)
for place in np.ndindex(images.shape):
    nudge = np.zeros_like(images)
    nudge[place] = little
    up, down = (by_hand.contrastive_loss(images + sign * nudge, texts, scale)[0] for sign in (1, -1))
    slopes[place] = (up - down) / (2 * little)
lesson.compare("the gradient by finite differences", slopes, by_own_hand)
lesson.show(by_hand.contrastive_loss_backward)

# %% [markdown]
# ## First ruler: knowing nothing
#
# A loss means something only beside a ruler. Suppose an encoder has **collapsed**: every picture and every sentence lands on one and the same point.

# %%
B, E = 128, 64
lesson.predict(f"with all {B} pictures and all {B} sentences at one point, is the loss 0, because every picture sits on its sentence?")
point = np.ones((B, E)) / math.sqrt(E)
collapsed = float(by_hand.contrastive_loss(point, point, scale)[0])
lesson.claim("collapsed, less log B", collapsed - math.log(B))
lesson.claim("collapsed", collapsed)
lesson.answer(f"no, {collapsed:.3f} = log {B}: each of {B} answers gets the share 1/{B}. The field calls this ruler 'log N', N being its batch.")

# %% [markdown]
# Collapsed is not the same as random. Independent random unit vectors have cosines that scatter around 0 by 1/√E, so the logits scatter by s/√E, and
# being confidently wrong costs extra, about half the square of that scatter: the loss is about `log B + s²/2E`. This holds while s²/E is small beside
# log B. Below E = 64 it says too much.


# %%
def of_random(E, draws=20):
    pairs = unit(random.standard_normal((draws, 2, B, E)))
    return float(np.mean([by_hand.contrastive_loss(x, y, scale)[0] for x, y in pairs]))


measured = {E: of_random(E) for E in (16, 64, 256, 1024)}
for E, loss in measured.items():
    formula = math.log(B) + scale**2 / (2 * E)
    lesson.claim(f"random, E = {E}: formula less measured", formula - loss)
    print(f"  random unit vectors, E = {E:<5} measured {loss:.2f}   log B + s²/2E = {formula:.2f}")

# %% [markdown]
# ## A real model, before and after
#
# A fresh model, its weights as they were drawn at random before any training, is neither: its vectors lie in a narrow cone, more collapsed than
# random. So we measure. The world `sixteen` says "a red circle": four colours and four shapes, nothing more. `tinyclip train --world sixteen` trained
# the model that we load.

# %%
world, bundle = get_world("sixteen"), tinyclip.load("sixteen")
captions, said = world.canonical()
scenes = world.sample(jax.random.key(7), B, "test")
pictures = evaluate.draw_bytes(world, scenes, bundle.config.image.size)
true = np.asarray(world.true_of(said, scenes.meaning))  # (B, 16): is the caption true of the picture?
own = true.argmax(1)
positives = jnp.array(true[:, own])  # (B, B): is the caption of picture j true of picture i?


def loss_of(bundle, positives=None):
    x, y = bundle.embed_images(pictures), bundle.embed_texts([captions[k] for k in own])
    return float(losses.contrastive_loss(jnp.array(x), jnp.array(y), bundle.model.logit_scale, positives))


fresh = dataclasses.replace(bundle, model=make_model(bundle.config, initial_state(bundle.config, TrainConfig()).params))
untrained, trained = lesson.claim("fresh model", loss_of(fresh)), lesson.claim("trained model", loss_of(bundle))
cone = lesson.claim("mean cosine of two pictures, fresh", float(np.mean(fresh.embed_images(pictures) @ fresh.embed_images(pictures).T)))
print(f"  fresh: {untrained:.2f} nats (log {B} = {math.log(B):.2f}); trained: {trained:.2f}; mean cosine of two fresh pictures: {cone:.2f}")
lesson.show(clip.CLIP)

# %% [markdown]
# ## Second ruler: the floor
#
# Why does the trained model not come near 0? Among 128 pictures and 16 captions, a caption returns about eight times. A picture of a red circle
# cannot know which of eight equal sentences was its own: the best it can do is 1/8 each, a surprise of log 8. The mean over all questions is the
# **floor**. Tell the loss which captions are true of which pictures (`positives`), and the true ones *share* the target: of eight, each should get
# 1/8, instead of one all and seven nothing. Equal captions have equal vectors, so here that changes nothing; the floor is what tells you that
# training is done.

# %%
floor = float(floor_of(positives))
print(f"  floor {floor:.3f}, loss {trained:.3f}: {trained - floor:.3f} left to learn")
lesson.claim("floor", floor)
lesson.claim("trained, above the floor", trained - floor)
lesson.claim("shared targets change", abs(loss_of(bundle, positives) - trained))
lesson.show(floor_of, plots.training_curve)

# %% [markdown]
# ## Break it: call true captions false
#
# It is different when captions are true of several pictures without being equal: "a circle" is true of the red circle too. Here are four
# pictures, each with one caption. We let the eight vectors move freely, downhill along the gradient above: once each picture's own caption alone
# counts as true, once all true captions share the target.

# %%
four = ["red circle", "red square", "blue circle", "blue square"]
says = ["something red", "a red square", "a circle", "a blue square"]
fits = np.array([[1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], bool)  # picture by caption


def settle(positives, steps=1000, rate=0.1):
    start = np.random.default_rng(0)
    x, y = unit(start.standard_normal((4, 8))), unit(start.standard_normal((4, 8)))
    for _ in range(steps):
        dx, dy, _ = by_hand.contrastive_loss_backward(by_hand.contrastive_loss(x, y, scale, positives)[1])
        x, y = unit(x - rate * dx), unit(y - rate * dy)
    return x @ y.T, float(by_hand.contrastive_loss(x, y, scale, positives)[0])


(plain, plain_loss), (shared, shared_loss) = settle(None), settle(fits)
print(f"  own caption only:   loss {plain_loss:.3f}; cosine of the red circle with 'a circle': {plain[0, 2]:+.2f}")
print(f"  all true captions:  loss {shared_loss:.3f}, floor {float(floor_of(jnp.array(fits))):.3f}; the same cosine: {shared[0, 2]:+.2f}\n")
lesson.claim("four pictures: plain loss", plain_loss)
lesson.claim("four pictures: shared loss above its floor", shared_loss - float(floor_of(jnp.array(fits))))
lesson.claim("red circle with 'a circle', plain", float(plain[0, 2]))
lesson.claim("red circle with 'a circle', shared", float(shared[0, 2]))
lesson.claim("shared: lowest true less highest false", float(shared[fits].min() - shared[~fits].max()))

# %% [markdown]
# The symptom is treacherous: the *lower* loss belongs to the worse space. Told that "a circle" is false of the red circle, it drove the two apart.
# Sharing costs a floor and keeps the truth. Below: the rulers of a batch of 128, and both spaces (frames mark what is true).

# %%
figure = lesson.new_figure(8.4, 3.3)
ruler, *tables = figure.subplots(1, 3, width_ratios=[1.15, 1, 1])
marks = {"random, E = 64": measured[64], "fresh model": untrained, "collapsed: log B": collapsed, "trained model": trained}
for (name, value), colour in zip(marks.items(), (GREY, ORANGE, GREY, BLUE), strict=True):
    ruler.plot([0, 0.25], [value] * 2, color=colour, lw=2.5)
    ruler.text(0.3, value + 0.17 * (value == trained), f"{name}, {value:.2f}", color=colour, va="center")
ruler.axhspan(0, floor, xmax=0.25, color=GREEN, alpha=0.3, lw=0)
ruler.text(0.3, floor - 0.3, f"floor, {floor:.2f}", color=GREEN, va="center")
ruler.set(xlim=(0, 1), ylim=(0, 7), xticks=[], ylabel="loss of a batch of 128, nats", title="reading a loss")
ruler.spines["bottom"].set_visible(False)
for axes, table, title in ((tables[0], plain, f"own caption only: {plain_loss:.2f}"), (tables[1], shared, f"true ones share: {shared_loss:.2f}")):
    shown = axes.imshow(table, cmap="cividis", vmin=-1, vmax=1)
    for i, j in np.ndindex(4, 4):
        value = table[i, j].round(1) + 0.0  # no "−0.0"
        axes.text(j, i, f"{value:.1f}".replace("-", "−"), ha="center", va="center", color="white" if value < 0.4 else "black")
        if fits[i, j]:
            axes.add_patch(matplotlib.patches.Rectangle((j - 0.44, i - 0.44), 0.88, 0.88, fill=False, edgecolor=RED, lw=2))
    axes.set_xticks(range(4), says, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(4), four if axes is tables[0] else [""] * 4)
    axes.set_title(title)
figure.colorbar(shown, ax=tables, shrink=0.8, label="cosine (no unit)")
lesson.figure(figure)

# %%
lesson.recap(
    "the loss is the mean surprise of 2 B questions, and its gradient is what was predicted minus what is true",
    "log B means that nothing is known, or that all has collapsed; random vectors stand higher, by s²/2E",
    "captions true of several pictures set a floor; share the target among them, or the loss drives true pairs apart",
)
lesson.try_this("in `collapsed = …`, let the scale be 100", "still exactly log B: equal logits stay equal, whatever they are multiplied by.")
lesson.try_this(
    "in `fits`, let the last caption be true of the red square too, as 'a square' would be",
    "the floor of the four rises to about 0.48, the shared loss with it.",
)
lesson.end()
