# %% [markdown]
# # Lesson 10 · Training
#
# *10 min to read, 40 seconds to run*
#
# **Question.** What happens between a model that knows nothing and one that does, and how can we see early whether it will get there?
#
# Lesson 09 gave every number of the model its slope. Training is what remains: move each number a little downhill, draw a fresh batch, repeat.

# %%
import dataclasses
import math
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lessons.kit import BLUE, GREEN, GREY, ORANGE, RED, Lesson
from tinyclip import Bundle, CLIPConfig, by_hand, evaluate, plots, train
from tinyclip.checkpoint import Checkpoints
from tinyclip.config import RECIPES, TrainConfig
from tinyclip.data import Batch, WorldSource, normalise
from tinyclip.world import get_world

lesson = Lesson("10")
rng = np.random.default_rng(0)

# %% [markdown]
# ## How far to step
#
# Three decisions make up one update. Here they are for a table of weights and its slopes, one number at a time.
# - **Adam.** Keep a running average of each number's slope, and one of its square. Step by the first divided by the root of the second: a number
#   moves by about the *learning rate*, whether its slopes are large or small, and less where they keep changing sign. (The averages begin at 0,
#   so at first they are too small; dividing by 1 − 0.9ⁿ and 1 − 0.98ⁿ at step n mends that.)
# - **Weight decay.** Besides, pull every matrix a little towards 0: the W of AdamW.
# - **Warm-up and decay.** At first the averages know nothing, so the learning rate grows from 0. At the end it falls to 0, to settle.
#
# Before that, a gradient that is longer than `clip_norm`, all its numbers taken as one vector, is cut to that length.

# %%
small = TrainConfig(steps=60, batch_size=8, learning_rate=3e-3, warmup=10, weight_decay=0.1)


def rate(step):
    done = (step - small.warmup) / (small.steps - small.warmup)
    return small.learning_rate * (step / small.warmup if done < 0 else (1 + math.cos(math.pi * done)) / 2)


def adamw(weights, slopes, mean, square, step):
    cut = min(1.0, small.clip_norm / math.sqrt(sum(g * g for g in slopes.flat)))
    for i in np.ndindex(weights.shape):
        g = cut * slopes[i]
        mean[i] = 0.9 * mean[i] + 0.1 * g
        square[i] = 0.98 * square[i] + 0.02 * g * g
        usual, spread = mean[i] / (1 - 0.9 ** (step + 1)), math.sqrt(square[i] / (1 - 0.98 ** (step + 1)))  # since both began at 0
        weights[i] -= rate(step) * (usual / (spread + 1e-6) + small.weight_decay * weights[i])


optimizer = train.make_optimizer(small)
weights, mean, square = rng.normal(size=(2, 3)), np.zeros((2, 3)), np.zeros((2, 3))
theirs = {"kernel": jnp.asarray(weights, jnp.float32)}
memory, update = optimizer.init(theirs), jax.jit(optimizer.update)
for step in range(5):
    slopes = rng.normal(size=(2, 3))
    adamw(weights, slopes, mean, square, step)
    change, memory = update({"kernel": jnp.asarray(slopes, jnp.float32)}, memory, theirs)
    theirs = {"kernel": theirs["kernel"] + change["kernel"]}
lesson.compare("weights after five steps of AdamW", weights, theirs["kernel"])
lesson.compare("learning rates", [rate(k) for k in range(60)], [by_hand.learning_rate(k, small) for k in range(60)])
lesson.show(TrainConfig, train.make_optimizer, train.decays, by_hand.adamw, by_hand.learning_rate)

# %% [markdown]
# ## One step, and the first thing to try
#
# `make_step` returns a function `(state, batch) → (state, measures)`. The state is all that training changes: weights, the optimiser's averages,
# and the number of steps done. Before any long run, give the model eight pairs and nothing else. If it cannot learn *these* by heart,
# something is broken, and no amount of data will mend it.

# %%
world, tokenizer = get_world("sixteen"), get_world("sixteen").tokenizer()
text = {"depth": 1, "vocab": tokenizer.vocab, "context": tokenizer.context, "end_token": tokenizer.end}
config = CLIPConfig.preset("nano", image={"depth": 1, "mean": world.mean, "std": world.std}, text=text)

scenes = world.dress(jax.random.key(0), world.seen[:144:18])  # eight different pairs of colour and shape
pictures = normalise(evaluate.draw_bytes(world, scenes, config.image.size) / np.float32(255), config.image)
eight = Batch(pictures, jnp.asarray(tokenizer([world.grammar.describe(row) for row in scenes.meaning])), jnp.eye(8, dtype=bool))
lesson.shapes(images=eight.images, tokens=eight.tokens, positives=eight.positives)
lesson.predict(f"eight pairs: ln 8 = {math.log(8):.2f} is the loss of a model that treats all alike. What will the loss be after 60 steps?")

fresh = train.initial_state(config, small)
one_step = jax.jit(train.make_step(config, small))


def go_on(state, steps):
    losses, clock = [], time.perf_counter()
    for _ in range(steps):
        state, measures = one_step(state, eight)
        losses.append(float(measures.loss))
    return state, losses, 1000 * (time.perf_counter() - clock) / steps


half, first_losses, _ = go_on(fresh, 30)
_, later_losses, milliseconds = go_on(half, 30)
begun, ended = lesson.claim("eight pairs, first loss", first_losses[0]), lesson.claim("eight pairs, last loss", later_losses[-1])
lesson.answer(f"from {begun:.2f} to {ended:.4f}: eight pairs are soon known by heart.")
lesson.show(train.make_step, by_hand.train_step)

# %% [markdown]
# ## The same step in the style of Flax
#
# Flax's own way is `nnx.jit`: the model and the optimiser are objects that the step changes in place. It reads well, and it computes the same.
# But on every call Flax takes the objects apart into arrays and puts them together again, in Python. With a model this small, that shows.

# %%
model = train.make_model(config, fresh.params)
keeper = nnx.Optimizer(model, train.make_optimizer(small), wrt=nnx.Param)


@nnx.jit
def nnx_step(model, optimizer, batch):
    loss, gradient = nnx.value_and_grad(lambda model: train.loss_of(model, batch, small))(model)
    optimizer.update(model, gradient)
    model.log_logit_scale[...] = jnp.clip(model.log_logit_scale[...], 0, train.MAX_LOG_SCALE)
    return loss


nnx_losses, clock = [float(nnx_step(model, keeper, eight))], time.perf_counter()  # the first call compiles
nnx_losses += [float(nnx_step(model, keeper, eight)) for _ in range(29)]
nnx_milliseconds = 1000 * (time.perf_counter() - clock) / 29
lesson.compare("30 losses of nnx.jit and of our step", nnx_losses, first_losses)
lesson.claim("nnx.jit takes, times as long", nnx_milliseconds / milliseconds)
print(f"  a step on eight pairs: {milliseconds:.1f} ms as a pure function, {nnx_milliseconds:.1f} ms with nnx.jit\n")

# %% [markdown]
# ## Stop, and go on
#
# A run that is stopped should go on as if nothing had happened. What is saved, a **checkpoint**, is the *whole* state: the weights, the optimiser's
# averages, and the step, which sets the learning rate. No random numbers need saving: batch k is made from the number k.

# %%
with tempfile.TemporaryDirectory() as folder:
    checkpoints = Checkpoints(Path(folder))
    checkpoints.save(half)
    _, resumed, _ = go_on(jax.device_get(checkpoints.restore(fresh)), 30)
    checkpoints.close()
lesson.compare("30 losses, resumed and uninterrupted", resumed, later_losses)
lesson.show(Checkpoints)

# %% [markdown]
# ## Break it: a learning rate a hundred times too high
#
# The eight pairs again, with NumPy's step of lesson 09. The first steps fling the weights so far that every picture gets the same embedding. Then all
# logits of a row are equal, the loss is exactly ln N (lesson 07's log B), and no slope tells one picture from another any more: the run has
# *collapsed*. The symptom is a loss that stands still at ln N, to four digits.

# %%
wild = dataclasses.replace(small, learning_rate=100 * small.learning_rate)
weights, moments, stuck = by_hand.parameters(fresh.params), None, []
for k in range(40):
    weights, moments, value = by_hand.train_step(weights, moments, k, tuple(map(np.asarray, eight)), config, wild)
    stuck.append(float(value))
alike, _ = by_hand.encode_image(weights, config, np.asarray(eight.images))
least = lesson.claim("too fast: least cosine between two pictures", float((alike @ alike.T).min()))
print(f"  loss {stuck[0]:.4f}, then {stuck[20]:.4f}, then {stuck[-1]:.4f}; ln 8 = {math.log(8):.4f}; cosine of two pictures: {least:.4f} or more\n")
lesson.claim("too fast: last loss above ln 8", stuck[-1] - math.log(8))

# %% [markdown]
# ## One loop
#
# Now the real thing: fresh pictures at every step, drawn inside the step itself, so nothing can be learned by heart. `train` runs `chunk` steps in
# one compiled call and then hands back a report (it uses up the state it is given, hence a copy); we look at the model on pictures it has never seen,
# and go on. What to watch:
# - the **loss**, between two rulers: ln N, for knowing nothing (a loss that stays there has *collapsed*), and the **floor**, which captions that
#   are true of several pictures impose (lesson 07). It can begin above ln N: a fresh model is not neutral, but wrong at random.
# - the **accuracy** on new pictures: which of the 16 sentences is nearest?
# - the **logit scale**: it should settle or rise slowly; a plunge towards 1 means that the pairs look like noise.

# %%
lesson.predict("the model has to tell four colours and four shapes apart. Which will it learn first, the colours or the shapes?")
run = TrainConfig(**RECIPES["sixteen"]["train"] | ({"steps": 400} if lesson.fast else {}))
names, said = world.canonical()
new = world.sample(jax.random.key(11), 256, "validation")
new_pictures, true = evaluate.draw_bytes(world, new, config.image.size), np.asarray(world.true_of(said, new.meaning))
meaning = np.asarray(new.meaning)


def look(state):
    bundle = Bundle(train.make_model(config, state.params), tokenizer)
    images, texts = bundle.embed_images(new_pictures), bundle.embed_texts(names)
    return images, texts, evaluate.zero_shot_accuracy(images, texts, true)


looks, chunks, seconds = {0: look(fresh)}, [], 0.0
for report in train.train(config, run, WorldSource(world, config, run), jax.tree.map(jnp.copy, fresh)):  # training consumes its state
    step, now, seconds = int(report.state.step), report.measures, seconds + report.seconds
    chunks.append(now)
    if step % 50 == 0:
        looks[step] = look(report.state)
        print(f"  step {step:>3}: loss {now.loss.mean():.2f}, right {looks[step][2]:.0%}, scale {now.logit_scale[-1]:.1f}")
losses, floors, _, scales, _ = map(np.concatenate, zip(*chunks, strict=True))
nearest = said[(looks[50][0] @ looks[50][1].T).argmax(1)]  # (256, F): what the nearest sentence says at step 50
colour, shape = (float((nearest[:, f] == meaning[:, f]).mean()) for f in (1, 2))
lesson.claim("step 50: colour right", colour)
lesson.claim("step 50: shape right", shape)
lesson.answer(f"the colours. At step 50 the nearest sentence has the right colour for {colour:.0%} of the pictures, the right shape for {shape:.0%}.")
before, after = lesson.claim("accuracy before", looks[0][2]), lesson.claim("accuracy after", looks[run.steps][2])
print(f"  in {lesson.claim('seconds of training', seconds):.0f} s of training, compiling included, from {before:.0%} right to {after:.0%}\n")
lesson.claim("first loss", float(losses[0]))
lesson.claim("last loss above its floor", float(np.mean(losses[-25:]) - np.mean(floors[-25:])))
lesson.claim("logit scale after", float(scales[-1]))
lesson.show(train.train, WorldSource, plots.training_curve)

# %% [markdown]
# ## The space, frame by frame
#
# Above, the loss between its rulers. Below, the same new pictures and sentences at four moments, flattened to the two main directions of the
# *last* frame. A mark has the colour and shape of the thing in the picture (a triangle is a triangle); a black ring is a sentence. A flat map
# cannot keep sixteen crowds apart, so trust the accuracy rather than the eye.

# %%
frames = [0, 50, 150, run.steps]
centred = {k: (looks[k][0] - looks[k][0].mean(0), looks[k][1] - looks[k][1].mean(0)) for k in frames}
directions = np.linalg.svd(np.concatenate(centred[run.steps]), full_matrices=False)[2][:2].T  # (E, 2)
figure = lesson.new_figure(7.6, 4.6)
grid = figure.add_gridspec(2, 4, height_ratios=[1, 1.1])
curve = figure.add_subplot(grid[0, :])
curve.plot(losses, color=BLUE, lw=1, label="loss")
curve.plot(floors, color=ORANGE, lw=1, label="floor")
curve.axhline(math.log(run.batch_size), color=GREY, ls="--", lw=1, label="ln N: knowing nothing")
curve.set(xlabel="step", ylabel="nats", ylim=(0, None), xlim=(-0.01 * run.steps, 1.01 * run.steps))
right = curve.twinx()
right.plot(list(looks), [100 * seen[2] for seen in looks.values()], ".-", color=GREEN, lw=1, ms=4, label="accuracy on new pictures")
right.set(ylabel="accuracy, %", ylim=(0, 105))
curve.legend(handles=[*curve.lines, *right.lines], frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8)
reach = 1.1 * max(np.abs(points @ directions).max() for points in centred[run.steps])
paint = np.array([RED, ORANGE, GREEN, BLUE])[meaning[:, 1]]
for column, k in enumerate(frames):
    axes = figure.add_subplot(grid[1, column])
    images, texts = (points @ directions for points in centred[k])
    for shape, mark in enumerate("os^*"):
        mine = meaning[:, 2] == shape
        axes.scatter(*images[mine].T, s=9, c=paint[mine], marker=mark, lw=0, alpha=0.8)
    axes.scatter(*texts.T, s=34, facecolors="none", edgecolors="black", lw=0.8)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal", title=f"step {k}: {looks[k][2]:.0%} right")
    axes.set(xlabel="first direction", ylabel="" if column else "second direction (no unit)")
lesson.figure(figure)

# %%
lesson.recap(
    "one step is: loss, gradient, a step of AdamW, clamp the scale; a run is that, with the learning rate warmed up and let down",
    "first overfit eight pairs; then watch the loss between ln N and its floor, and the accuracy on pictures that are new",
    "a checkpoint is the whole state, or it is not a checkpoint",
)
lesson.try_this('in `eight = …`, give all eight the same sentence: `tokenizer(["a red circle"] * 8)`', "their loss never falls below ln 8.")
lesson.try_this("make `wild` three times as fast as `small`, not a hundred", "the loss falls below 0.01 within the 40 steps.")
lesson.end()
