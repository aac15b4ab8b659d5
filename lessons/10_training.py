# %% [markdown]
# # Lesson 10 · Training
#
# *10 min to read, 40 seconds to run*
#
# **Question.** What happens between a model that knows nothing and one that does, and how can we see early whether it will get there?
#
# Lesson 09 gave every number of the model its slope. Training is what remains: move each number a little downhill, draw a fresh batch, repeat.

# %%
import math
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lessons.kit import BLUE, GREEN, ORANGE, RED, Lesson
from tinyclip import Bundle, CLIPConfig, by_hand, compiling, evaluate, plots, train
from tinyclip.checkpoint import Checkpoints
from tinyclip.config import RECIPES, TrainConfig
from tinyclip.data import Batch, WorldSource, normalise
from tinyclip.world import get_world

lesson = Lesson("10")
rng = np.random.default_rng(0)

# %% [markdown]
# ## How far to step
#
# Three decisions make up one update. (Before them, a gradient longer than `clip_norm`, all its numbers taken as one vector, is cut to that length.)
# - **Adam** keeps a running average of each number's slope, and one of its square, and steps by the first divided by the root of the second: by about
#   the *learning rate*, be the slopes large or small. (Both begin at 0, and so too small; dividing by 1 − 0.9ⁿ and 1 − 0.98ⁿ at step n mends that.)
# - **Weight decay** pulls every matrix but those of the positions a little towards 0 besides: the W of AdamW.
# - **Warm-up and decay.** At first the averages know nothing, so the learning rate grows from 0. At the end it falls to 0, to settle.

# %%
small = TrainConfig(steps=60, batch_size=8, learning_rate=3e-3, warmup=10, weight_decay=0.1)
rates = small.learning_rate * np.append(np.arange(10) / 10, (1 + np.cos(np.pi * np.arange(50) / 50)) / 2)  # a straight line up, half a cosine down
weights, mean, square = rng.normal(size=(2, 3)), np.zeros((2, 3)), np.zeros((2, 3))
theirs, optimizer = jnp.asarray(weights, jnp.float32), train.make_optimizer(small)
memory = optimizer.init(theirs)
for n in range(1, 6):
    slopes = rng.normal(size=(2, 3))
    g = slopes * min(1, small.clip_norm / np.linalg.norm(slopes))
    mean, square = 0.9 * mean + 0.1 * g, 0.98 * square + 0.02 * g * g
    weights -= rates[n - 1] * (mean / (1 - 0.9**n) / (np.sqrt(square / (1 - 0.98**n)) + 1e-6) + small.weight_decay * weights)
    change, memory = optimizer.update(jnp.asarray(slopes, jnp.float32), memory, theirs)
    theirs = theirs + change
lesson.compare("learning rates", rates, [by_hand.learning_rate(k, small) for k in range(60)])
lesson.compare("weights after five steps of AdamW", weights, theirs)
lesson.show(TrainConfig, train.make_optimizer, train.decays, by_hand.adamw, by_hand.learning_rate)

# %% [markdown]
# ## One step, and the first thing to try
#
# `make_step` returns a function `(state, batch) → (state, measures)`. The state is all that training changes: weights, the optimiser's averages, and
# the number of steps done. (Flax's own `nnx.jit` changes model and optimiser in place instead.) Before any long run, give the model eight pairs and
# nothing else. If it cannot learn *these* by heart, something is broken, and no amount of data will mend it.

# %%
world, tokenizer = get_world("sixteen"), get_world("sixteen").tokenizer()
text = {"depth": 1, "vocab": tokenizer.vocab, "context": tokenizer.context, "end_token": tokenizer.end}
config = CLIPConfig.preset("nano", image={"depth": 1, "mean": world.mean, "std": world.std}, text=text)
scenes = world.dress(jax.random.key(0), world.seen[:144:18])  # eight different pairs of colour and shape
pictures = normalise(evaluate.draw_bytes(world, scenes, config.image.size) / np.float32(255), config.image)
eight = Batch(pictures, jnp.asarray(tokenizer([world.grammar.describe(row) for row in scenes.meaning])), jnp.eye(8, dtype=bool))
lesson.shapes(images=eight.images, tokens=eight.tokens, positives=eight.positives)
lesson.predict(f"eight pairs: ln 8 = {math.log(8):.2f} is the loss of a model that treats all alike. What will the loss be after 60 steps?")
fresh, one_step = train.initial_state(config, small), jax.jit(train.make_step(config, small))
model = train.make_model(config, fresh.params)
keeper = nnx.Optimizer(model, train.make_optimizer(small), wrt=nnx.Param)


@nnx.jit
def nnx_step(model, optimizer, batch):
    loss, gradient = nnx.value_and_grad(lambda model: train.loss_of(model, batch, small))(model)
    optimizer.update(model, gradient)
    return loss  # we leave out the clamp: a scale of 14 will not reach 100 in 30 steps


def go_on(state):
    losses, clock = [], time.perf_counter()
    for _ in range(30):
        state, measures = one_step(state, eight)
        losses.append(float(measures.loss))
    return state, losses, time.perf_counter() - clock


half, first_losses, _ = go_on(fresh)
_, later_losses, seconds = go_on(half)
lesson.claim("eight pairs, first loss", first_losses[0])
lesson.answer(f"{lesson.claim('eight pairs, last loss', later_losses[-1]):.4f}: eight pairs are soon known by heart.")
nnx_losses, clock = [float(nnx_step(model, keeper, eight))], time.perf_counter()  # the first call compiles
nnx_losses += [float(nnx_step(model, keeper, eight)) for _ in range(30)]
print(f"  a step with nnx.jit takes {lesson.claim('nnx.jit takes, times as long', (time.perf_counter() - clock) / seconds):.1f} times as long")
lesson.compare("30 losses of nnx.jit and of our step", nnx_losses[:30], first_losses)
with tempfile.TemporaryDirectory() as folder:  # a run that was stopped goes on as if nothing had happened, if the *whole* state was saved
    checkpoints = Checkpoints(Path(folder))
    checkpoints.save(half)
    lesson.compare("30 losses, resumed and uninterrupted", go_on(jax.device_get(checkpoints.restore(fresh)))[1], later_losses)
    checkpoints.close()

# %% [markdown]
# ## Break it: a learning rate a hundred times too high
#
# The eight pairs, with NumPy's step. The first steps fling the weights so far that every picture gets the same embedding. From then on no slope
# tells one picture from another: the run has *collapsed*. The symptom is a loss that stands still at ln B, to four digits.

# %%
wild = TrainConfig(steps=60, batch_size=8, learning_rate=100 * small.learning_rate, warmup=10, weight_decay=0.1)
weights, moments, stuck = by_hand.parameters(fresh.params), None, []
for k in range(40):
    weights, moments, value = by_hand.train_step(weights, moments, k, tuple(map(np.asarray, eight)), config, wild)
    stuck.append(float(value))
alike, _ = by_hand.encode_image(weights, config, np.asarray(eight.images))
least = lesson.claim("too fast: least cosine between two pictures", float((alike @ alike.T).min()))
print(f"  loss {stuck[0]:.4f}, then {stuck[20]:.4f}, then {stuck[-1]:.4f}; ln 8 = {math.log(8):.4f}; cosine of two pictures: {least:.4f} or more\n")
lesson.claim("too fast: last loss above ln 8", stuck[-1] - math.log(8))

# %% [markdown]
# ## One loop, and the space frame by frame
#
# Now fresh pictures at every step, so nothing can be learned by heart. `train` runs 25 steps in one compiled call, then hands back a report, and we
# look at the model on pictures it has never seen. Watch the **loss** between its two rulers, ln B and the **floor** (lesson 07); the **accuracy** on
# new pictures; and the **logit scale**: a plunge towards 1 means that the pairs look like noise. The figure shows pictures (in their colours) and
# sentences (rings), flattened to the two main directions of the *last* frame: too flat for sixteen crowds, so trust the accuracy rather than the eye.

# %%
lesson.predict("the model has to tell four colours and four shapes apart. Which will it learn first, the colours or the shapes?")
# The world's recipe is for three blocks: a single one learns more in a little longer, and with less decay.
run = TrainConfig(**RECIPES["sixteen"]["train"] | {"steps": 400 if lesson.fast else 700, "weight_decay": 0.1})
names, said = world.canonical()
new = world.sample(jax.random.key(11), 256, "validation")
new_pictures, true = evaluate.draw_bytes(world, new, config.image.size), np.asarray(world.true_of(said, new.meaning))
meaning, chunks, seconds = np.asarray(new.meaning), [], 0.0
bundle = Bundle(train.make_model(config, fresh.params), tokenizer)
looks = {0: (bundle.embed_images(new_pictures), bundle.embed_texts(names))}
right = {0: evaluate.zero_shot_accuracy(*looks[0], true)}
for report in train.train(config, run, WorldSource(world, config, run), jax.tree.map(jnp.copy, fresh)):  # training uses up the state it is given
    now, step, seconds = report.measures, int(report.state.step), seconds + report.seconds
    chunks.append(now)
    bundle = Bundle(train.make_model(config, report.state.params), tokenizer)
    looks[step] = bundle.embed_images(new_pictures), bundle.embed_texts(names)
    right[step] = evaluate.zero_shot_accuracy(*looks[step], true)
    print(f"  step {step:>3}: loss {now.loss.mean():.2f}, floor {now.floor.mean():.2f}, right {right[step]:.0%}, scale {now.logit_scale[-1]:.1f}")
nearest = said[(looks[50][0] @ looks[50][1].T).argmax(1)]  # (256, F): what the nearest sentence says at step 50
colour, shape = (lesson.claim(f"step 50: {what} right", float((nearest[:, f] == meaning[:, f]).mean())) for f, what in ((1, "colour"), (2, "shape")))
lesson.answer(f"the colours. At step 50 the nearest sentence has the right colour for {colour:.0%} of the pictures, the right shape for {shape:.0%}.")
lesson.claim("accuracy before", right[0])
lesson.claim("accuracy after", right[run.steps])
lesson.claim("seconds of training", seconds)
lesson.claim("first loss", float(chunks[0].loss[0]))
lesson.claim("last loss above its floor", float(np.mean(now.loss[-25:] - now.floor[-25:])))
lesson.claim("logit scale after", float(now.logit_scale[-1]))
lesson.show(train.make_step, by_hand.train_step, Checkpoints, train.train, WorldSource, plots.training_curve)
lesson.show(compiling.on_cpu, compiling.soon, compiling.products_apart)

# %%
figure = lesson.new_figure(7.6, 2.4)
directions = np.linalg.svd(np.concatenate([points - points.mean(0) for points in looks[run.steps]]), full_matrices=False)[2][:2].T  # (E, 2)
for axes, k in zip(figure.subplots(1, 4), (0, 50, 150, run.steps), strict=True):
    images, texts = ((points - points.mean(0)) @ directions for points in looks[k])
    axes.scatter(*images.T, s=9, c=np.array([RED, ORANGE, GREEN, BLUE])[meaning[:, 1]])
    axes.scatter(*texts.T, s=34, facecolors="none", edgecolors="black")
    axes.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), aspect="equal", xticks=[], yticks=[], xlabel="no unit", title=f"step {k}: {right[k]:.0%} right")
lesson.figure(figure)

# %%
lesson.recap(
    "one step is: loss, gradient, a step of AdamW, clamp the scale; a run is that, with the learning rate warmed up and let down",
    "first overfit eight pairs; then watch the loss between ln B and its floor, and the accuracy on pictures that are new",
    "a checkpoint is the whole state, or it is not a checkpoint",
)
lesson.try_this('in `eight = …`, give all eight the same sentence: `tokenizer(["a red circle"] * 8)`', "their loss never falls below ln 8.")
lesson.try_this("make `wild` three times as fast as `small`, not a hundred", "the loss falls below 0.01 within the 40 steps.")
lesson.end()
