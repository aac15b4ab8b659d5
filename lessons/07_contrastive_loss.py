# %% [markdown]
# # Lesson 07 · The contrastive loss
#
# *9 min to read, half a minute to run*
#
# **Question.** Which single number says how badly pictures and sentences fit, and how does one read it?
#
# The encoders of lessons 05 and 06 turn a batch of **B** pictures and their B sentences into 2 B unit vectors of **E** numbers. Nobody tells CLIP
# where a vector should lie, only which belong together: whose sentence is this, whose picture is that? The loss is its mean surprise at the answers
# to these 2 B questions. It is *contrastive*: every answer is weighed against all others of the batch.

# %%
import math

import jax
import jax.numpy as jnp
import numpy as np

from lessons.kit import Lesson
from tinyclip import Bundle, by_hand, clip, evaluate, load, losses, plots
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
# Picture *i* has a cosine with every sentence. Times a **scale** *s* they are called **logits**; CLIP starts with s = 1/0.07, and lesson 08 is
# about that number. As in lesson 04, a softmax turns logits into shares `p` that add up to 1. The surprise is `−ln p` at the true sentence: 0 if it
# was sure and right, large if it was sure and wrong. `ln` is the natural logarithm, `log` in code; with it, surprise is counted in **nats**.


# %%
def loss_by_loop(images, texts, s):
    B, surprise = len(images), 0.0
    for i in range(B):
        p_text = [math.exp(s * (images[i] @ texts[j])) for j in range(B)]  # picture i chooses among the sentences
        p_image = [math.exp(s * (images[j] @ texts[i])) for j in range(B)]  # sentence i chooses among the pictures
        surprise += -math.log(p_text[i] / sum(p_text)) - math.log(p_image[i] / sum(p_image))
    return surprise / (2 * B)


images, texts, scale = unit(random.standard_normal((6, 8))), unit(random.standard_normal((6, 8))), 1 / 0.07
logits = scale * images @ texts.T  # (B, B)
powers = np.exp(logits)
rows, columns = powers / powers.sum(1, keepdims=True), powers / powers.sum(0, keepdims=True)  # pictures ask along rows, sentences along columns
lesson.shapes(images=images, texts=texts, logits=logits, rows=rows, columns=columns)

image_to_text, text_to_image = -np.log(rows.diagonal()).mean(), -np.log(columns.diagonal()).mean()
by_numpy = (image_to_text + text_to_image) / 2
lesson.compare("the loss by loops", loss_by_loop(images, texts, scale), by_numpy)
lesson.compare("the loss", by_numpy, losses.contrastive_loss(jnp.array(images), jnp.array(texts), scale))
lesson.show(losses.contrastive_loss, losses.cross_entropy, by_hand.contrastive_loss_by_loops, by_hand.contrastive_loss)
lesson.claim("the two directions differ by", float(abs(image_to_text - text_to_image)))  # for a table of cosines is not symmetric
print(f"each picture among the sentences: {image_to_text:.2f} nats; each sentence among the pictures: {text_to_image:.2f}\n")

# %% [markdown]
# ## The gradient: predicted minus true
#
# A **slope** says how much the loss grows when one number grows a little; the **gradient** is all the slopes together. Training moves every number
# against its slope. The slope of one question's surprise in an answer's logit is `p` if the answer is wrong and `p − 1` if it is right: what was
# predicted minus what is true. All 2 B questions count alike, hence the `2 * B`. From there it is one matrix product back to the vectors: moving
# picture i along sentence j raises their logit, s times as fast. We check it against `jax.grad`, which turns a function into the function of its
# slopes, and by moving one number a little and looking (**finite differences**).

# %%
wrong_by = (rows - np.eye(6) + columns - np.eye(6)) / (2 * 6)  # (B, B): the gradient of the logits
by_own_hand = scale * wrong_by @ texts  # (B, E): of the pictures
lesson.compare("the gradient by hand", by_own_hand, by_hand.contrastive_loss_backward(by_hand.contrastive_loss(images, texts, scale)[1])[0])
lesson.compare("the gradient by JAX", by_own_hand, jax.grad(losses.contrastive_loss)(jnp.array(images), jnp.array(texts), scale))

nudges = 1e-5 * np.eye(images.size).reshape(-1, *images.shape)  # (B E, B, E): each moves one number a little
up, down = (np.array([by_hand.contrastive_loss(images + sign * nudge, texts, scale)[0] for nudge in nudges]) for sign in (1, -1))
lesson.compare("the gradient by finite differences", (up - down) / 2e-5, by_own_hand.ravel())

# %% [markdown]
# ## First ruler: knowing nothing
#
# A loss means something only beside a ruler. Suppose an encoder has **collapsed**: every picture and every sentence lands on one and the same
# point. Or suppose that the vectors are random, and independent: then their cosines scatter around 0 by 1/√E, the logits by s/√E, and being
# confidently wrong costs about half the square of that on top of ln B. (Only while s²/E is small beside ln B: below E = 64 it says too much.)

# %%
B, E = 128, 64
lesson.predict(f"with all {B} pictures and all {B} sentences at one point, is the loss 0, because every picture sits on its sentence?")
point = np.ones((B, E)) / math.sqrt(E)
collapsed = lesson.claim("collapsed", float(by_hand.contrastive_loss(point, point, scale)[0]))
lesson.claim("collapsed, less log B", collapsed - math.log(B))
lesson.answer(f"no, {collapsed:.3f} = ln {B}: each of {B} answers gets the share 1/{B}. Papers call this ruler 'log N': N is their B.")

for E in (16, 64, 256, 1024):
    pairs, formula = unit(random.standard_normal((20, 2, B, E))), math.log(B) + scale**2 / (2 * E)
    measured = float(np.mean([by_hand.contrastive_loss(x, y, scale)[0] for x, y in pairs]))
    lesson.claim(f"random, E = {E}: formula less measured", formula - measured)
    print(f"  random unit vectors, E = {E:<5} measured {measured:.2f}   ln B + s²/2E = {formula:.2f}")

# %% [markdown]
# ## Second ruler: the floor
#
# Now a real model. The world `sixteen` says "a red circle": four colours, four shapes, nothing more. `tinyclip train --world sixteen` trained the
# one that we load. A fresh one, with weights drawn at random, is neither collapsed nor random: its vectors lie in a narrow cone.
#
# Even the trained one cannot come near 0. Among 128 pictures and 16 captions, a caption returns about eight times, and no picture of a red circle
# can know which of eight equal sentences was its own: the best is 1/8 each, a surprise of ln 8. The mean over all questions is the **floor**: it
# tells you when training is done. Told which captions are true of which pictures (`positives`), the loss lets the true ones *share* the target:
# of eight, each should get 1/8, instead of one all. Equal captions have equal vectors, so here that changes nothing.

# %%
world, bundle = get_world("sixteen"), load("sixteen")
captions, said = world.canonical()
scenes = world.sample(jax.random.key(7), B, "test")
pictures = evaluate.draw_bytes(world, scenes, bundle.config.image.size)
true = np.asarray(world.true_of(said, scenes.meaning))  # (B, 16): is the caption true of the picture?
own = true.argmax(1)
positives = jnp.array(true[:, own])  # (B, B): is the caption of picture j true of picture i?
fresh = Bundle(make_model(bundle.config, initial_state(bundle.config, TrainConfig()).params), bundle.tokenizer)
x, y = (jnp.array([b.embed_images(pictures), b.embed_texts([captions[k] for k in own])]) for b in (fresh, bundle))  # (2, B, E) of each model
untrained = lesson.claim("fresh model", float(losses.contrastive_loss(*x, fresh.model.logit_scale)))
trained = lesson.claim("trained model", float(losses.contrastive_loss(*y, bundle.model.logit_scale)))
floor = lesson.claim("floor", float(floor_of(positives)))
lesson.claim("trained, above the floor", trained - floor)
cone = lesson.claim("mean cosine of two pictures, fresh", float((x[0] @ x[0].T).mean()))
print(f"  fresh: {untrained:.2f} nats, mean cosine of two of its pictures {cone:.2f}; trained: {trained:.3f} nats, floor {floor:.3f}")
lesson.claim("shared targets change", abs(float(losses.contrastive_loss(*y, bundle.model.logit_scale, positives)) - trained))
lesson.show(by_hand.contrastive_loss_backward, clip.CLIP, floor_of, plots.training_curve)

# %% [markdown]
# ## Break it: call true captions false
#
# It is different when captions are true of several pictures without being equal: "a circle" is true of the red circle too. Here are four pictures,
# each with one caption. We let the eight vectors move freely, downhill along the gradient above: once each picture's own caption alone counts as
# true (plain), once all true captions share the target (shared). In the figure, numbers stand where the caption is true.

# %%
four, says = ["red circle", "red square", "blue circle", "blue square"], ["something red", "a red square", "a circle", "a blue square"]
fits = np.array([[1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], bool)  # picture by caption
spaces, ends, least = {}, {}, float(floor_of(jnp.array(fits)))
for name, targets in (("plain", None), ("shared", fits)):
    x, y = unit(np.random.default_rng(0).standard_normal((2, 4, 8)))
    for _ in range(1000):
        dx, dy, _ = by_hand.contrastive_loss_backward(by_hand.contrastive_loss(x, y, scale, targets)[1])
        x, y = unit(x - 0.1 * dx), unit(y - 0.1 * dy)
    spaces[name], ends[name] = x @ y.T, float(by_hand.contrastive_loss(x, y, scale, targets)[0])
    circle = lesson.claim(f"red circle with 'a circle', {name}", float(spaces[name][0, 2]))
    print(f"  {name:<7} loss {ends[name]:.3f}, floor {0 if targets is None else least:.3f}; cosine of the red circle with 'a circle': {circle:+.2f}")
lesson.claim("four pictures: plain loss", ends["plain"])
lesson.claim("four pictures: shared loss above its floor", ends["shared"] - least)
lesson.claim("shared: lowest true less highest false", float(spaces["shared"][fits].min() - spaces["shared"][~fits].max()))
print("  the symptom is treacherous: the lower loss belongs to the worse space. Told that 'a circle' is false of a red circle, it drove them apart.")

# %%
figure = lesson.new_figure(7.0, 3.3)
for axes, (name, cosines) in zip(figure.subplots(1, 2), spaces.items(), strict=True):
    shown = axes.imshow(cosines, cmap="cividis", vmin=-1, vmax=1)
    for i, j in np.argwhere(fits):
        axes.text(j, i, f"{cosines[i, j]:z.1f}", ha="center", va="center")
    axes.set_xticks(range(4), says, rotation=40, ha="right", rotation_mode="anchor")
    axes.set(yticks=range(4), yticklabels=four, title=f"{name} targets: loss {ends[name]:.2f}")
figure.colorbar(shown, ax=figure.axes, shrink=0.8, label="cosine (no unit)")
lesson.figure(figure)

# %%
lesson.recap(
    "the loss is the mean surprise of 2 B questions, and its gradient is what was predicted minus what is true",
    "ln B means that nothing is known, or that all has collapsed; random vectors stand higher, by s²/2E",
    "captions true of several pictures set a floor; share the target among them, or the loss drives true pairs apart",
)
lesson.try_this("in `collapsed = …`, let the scale be 100", "still exactly ln B: equal logits stay equal, whatever they are multiplied by.")
lesson.try_this("make the last caption 'a square', in `fits` true of the red square too", "the floor rises to about 0.48, the shared loss with it.")
lesson.end()
