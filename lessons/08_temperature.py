# %% [markdown]
# # Lesson 08 · Temperature
#
# *8 min to read, a minute to run*
#
# **Question.** Why does CLIP multiply its cosines by a number, and why may that number neither be fixed at 1 nor run free?
#
# In lesson 07 a *scale* s stood before every cosine. Its inverse 1/s is called the **temperature**: hot makes all answers alike, cold makes the
# largest take all. As before, a batch has B pictures and B sentences, each a unit vector of E numbers.

# %%
import math
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from lessons.kit import BLUE, GREEN, GREY, ORANGE, Lesson
from tinyclip import by_hand, clip, evaluate, losses, train
from tinyclip.clip import l2_normalise
from tinyclip.config import RECIPES, CLIPConfig, TrainConfig
from tinyclip.data import WorldSource, normalise
from tinyclip.world import get_world

lesson = Lesson("08")

# %% [markdown]
# ## What the scale does
#
# A picture has these cosines with five sentences; the first is its own. A softmax turns scale times cosine into shares. It sees differences only,
# and cosines differ by 2 at the very most.

# %%
cosines, scales = np.array([0.8, 0.6, 0.4, 0.0, -0.2]), (1.0, 1 / 0.07, 100.0)
shares = {s: [math.exp(s * c) / sum(math.exp(s * other) for other in cosines) for c in cosines] for s in scales}
for s in scales:
    print(f"  scale {s:5.1f}: " + "  ".join(f"{share:7.2%}" for share in shares[s]))
    lesson.claim(f"own share at scale {s:.0f}", shares[s][0])
lesson.compare("the shares", shares[100.0], jax.nn.softmax(100.0 * cosines))

B = 64
lesson.predict(f"scale 1, {B} perfect pairs: a picture has cosine 1 with its sentence and −1 with all others. What share does the right one get?")
bound = lesson.claim("bound at scale 1", math.log(1 + (B - 1) * math.exp(-2)))
share = lesson.claim("share of a perfect answer at scale 1", math.exp(-bound))
lesson.answer(f"{share:.1%}. At scale 1 the loss of {B} pairs cannot go below ln(1 + {B - 1} e⁻²) = {bound:.2f} nats, whatever the encoders do.")

# Not even that can be had: B vectors, all equally far apart, reach a cosine of −1/(B − 1) at best, not −1.
corners = l2_normalise(jnp.eye(B) - 1 / B)  # (B, B): such vectors, the corners of a simplex
apart = lesson.claim("the best arrangement at scale 1", float(losses.contrastive_loss(corners, corners, 1.0)))
colder = lesson.claim("the best arrangement at scale 1/0.07", float(losses.contrastive_loss(corners, corners, 1 / 0.07)))
print(f"{B} vectors as far apart as can be: loss {apart:.2f} at scale 1, {colder:.5f} at 1/0.07\n")

# %% [markdown]
# ## Why it is learned as a logarithm
#
# The best scale changes while a model learns, so CLIP learns it along with the rest: the number learned is t, and s = eᵗ. So s is positive whatever
# t is. And what matters about a scale is its *ratio*: from 10 to 20 is as far as from 50 to 100. Adam, the rule by which we train (lesson 10), moves
# each number by about a fixed amount per step, the **learning rate**; on t that is a ratio. When t grows a little, s grows s times as much: the slope
# in t is s times the slope in s.

# %%
images, texts = l2_normalise(jnp.array(np.random.default_rng(8).standard_normal((2, B, 32)), jnp.float32))
log_scale = jnp.float32(math.log(1 / 0.07))
slope = jax.grad(lambda t: losses.contrastive_loss(images, texts, jnp.exp(t)))(log_scale)
by_scale = by_hand.contrastive_loss_backward(by_hand.contrastive_loss(np.array(images), np.array(texts), float(jnp.exp(log_scale)))[1])[2]
lesson.shapes(images=images, texts=texts, log_scale=log_scale, slope=slope)
lesson.compare("the slope in t", jnp.exp(log_scale) * by_scale, slope)

rate = RECIPES["sixteen"]["train"]["learning_rate"]
for name, distance in (("logarithm", math.log(100) - math.log(1 / 0.07)), ("number", 100 - 1 / 0.07)):
    print(f"  from 1/0.07 to 100 as a {name}: {lesson.claim(f'Adam steps from 1/0.07 to 100 as a {name}', round(distance / rate)):,} steps of {rate}")

# %% [markdown]
# ## Break it: clamp in the forward pass
#
# The better the pairs fit, the more a larger scale pays. CLIP's authors found that training became unstable, and kept it at 100 or less. So does
# tinyclip: after each update, t is cut back (**clamped**) to the range from 0 to ln 100. Does it come to the same to leave t alone and cut the scale
# where it is used, in the *forward pass* from inputs to loss? No: beyond the cut the loss does not depend on t, so its slope there is 0. Suppose
# t has come to ln 120, and the pairs at hand (random vectors) call for a much smaller scale.

# %%
for name, inside in (("after the update", False), ("in the forward pass", True)):
    most = train.MAX_LOG_SCALE if inside else math.inf
    slope = jax.jit(jax.grad(lambda t, most=most: losses.contrastive_loss(images, texts, jnp.exp(jnp.minimum(t, most)))))
    t = jnp.float32(math.log(120))
    first = lesson.claim(f"first slope, clamped {name}", float(slope(t)))
    for _ in range(100):
        t = t - 0.05 * slope(t)
        t = t if inside else jnp.clip(t, 0, train.MAX_LOG_SCALE)
    reached = lesson.claim(f"scale, clamped {name}", float(jnp.exp(t)))
    print(f"  clamped {name}: first slope {first:.2f}, and 100 steps later the scale is {reached:.1f}")
lesson.show(clip.CLIP, train.make_step)

# %% [markdown]
# ## Three small trainings
#
# The world `sixteen` again, from one start and on the same batches of 64: as CLIP does it; with unit vectors and the scale fixed at 1; and with the
# scale fixed at 1 but the vectors left as long as they come. Take `small_training` as given: it is the library's own training (lesson 10), with
# another function in the place of `l2_normalise`, and another number in that of MAX_LOG_SCALE: if it is 0, the clamp leaves no scale but 1.

# %%
world = get_world("sixteen")
words = {"vocab": world.tokenizer().vocab, "context": world.context, "end_token": world.tokenizer().end}
config = CLIPConfig.preset("nano", image={"mean": world.mean, "std": world.std}, text=words)
run = TrainConfig(**(RECIPES["sixteen"]["train"] | {"steps": 100 if lesson.fast else 200, "warmup": 10}))
captions, said = world.canonical()
new = world.sample(jax.random.key(8), 500, "validation")
true = np.asarray(world.true_of(said, new.meaning))  # (500, 16): is the caption true of the new picture?
pictures, tokens = normalise(evaluate.draw_bytes(world, new, config.image.size) / np.float32(255), config.image), world.tokenizer()(captions)
pieces = np.arange(run.steps).reshape(-1, 25)  # the numbers of the steps, 25 between two looks at the model
start, step, source = train.initial_state(config, run), train.make_step(config, run), WorldSource(world, config, run)


@jax.jit
def small_training(unit_length, most):  # inputs, so that one compilation serves all three trainings
    def piece(state, numbers):
        state, measures = jax.lax.scan(lambda state, k: step(state, source.batch(k)), state, numbers)
        return state, (measures.loss.mean(), *train.make_model(config, state.params)(pictures, tokens))

    lengths = mock.patch.object(clip, "l2_normalise", lambda x: jnp.where(unit_length, l2_normalise(x), x))
    with lengths, mock.patch.object(train, "MAX_LOG_SCALE", most):
        return jax.lax.scan(piece, start, pieces)[1]  # after each piece: its loss, the pictures' vectors, the sentences', the scale


curves = {}
for name, unit_length, most in (("learned scale", True, train.MAX_LOG_SCALE), ("scale 1", True, 0.0), ("scale 1, any length", False, 0.0)):
    loss, x, y, _ = map(np.asarray, small_training(unit_length, most))
    curves[name] = [evaluate.zero_shot_accuracy(*vectors, true) for vectors in zip(x, y, strict=True)]
    right = lesson.claim(f"accuracy, {name}", curves[name][-1])
    print(f"  {name:<20} loss {lesson.claim(f'loss, {name}', float(loss[-1])):.2f}, right among 16 captions: {right:.0%} of 500 new pictures")
lesson.claim("lead of the learned scale", curves["learned scale"][-1] - curves["scale 1"][-1])

scores, products = x[-1] @ y[-1].T, np.linalg.norm(x[-1], axis=1)[:, None] * np.linalg.norm(y[-1], axis=1)  # (500, 16), of the last training
moved = lesson.claim("searches won by another picture", float((scores.argmax(0) != (scores / products).argmax(0)).mean()))
print(f"  products of lengths: from {products.min():.0f} to {products.max():.0f}; another picture than the nearest wins {moved:.0%} of the searches")
lesson.claim("least product of lengths", float(products.min()))
lesson.claim("largest over least product of lengths", float(products.max() / products.min()))

# %% [markdown]
# At scale 1, a flat softmax tells good from better too faintly, and the model falls far behind. Without normalisation it trains about as well: its
# lengths have become a scale of their own. What is lost is the *one* scale for all. A score is then loudness as well as likeness (lesson 01): in a
# search among all new pictures, the best score mostly belongs to another picture than the best cosine.
#
# ## A loss that needs a bias too
#
# The **sigmoid loss** asks B² questions, each by itself: does this sentence belong to this picture, yes or no? The share of yes is 1/(1 + e⁻ˡ) for a
# logit l = s · cosine + b, and the surprise ln(1 + e⁻ˡ) if yes is right, ln(1 + eˡ) if no. Nearly all answers are no, and the learned **bias** b says
# so from the start: s = 10, b = −10, about −ln of the paper's batch of 32,768 (`tinyclip train` starts at −ln B). With b = 0, the many "no" would
# drown the rest. No question looks at another, so even a single pair has a loss; the contrastive loss has nothing to compare it with, and is 0.

# %%
bias = -10.0
signed = np.array(10 * images @ texts.T + bias, np.float64) * (1 - 2 * np.eye(B))  # (B, B): a true pair's logit with its sign turned
with_bias = lesson.claim("sigmoid loss at the start, b = -10", float(losses.sigmoid_loss(images, texts, 10.0, bias)))
without = lesson.claim("sigmoid loss at the start, b = 0", float(losses.sigmoid_loss(images, texts, 10.0, 0.0)))
lesson.claim("contrastive loss of one pair", abs(float(losses.contrastive_loss(images[:1], texts[:1], 10.0))))
lesson.compare("the sigmoid loss", np.log1p(np.exp(signed)).sum() / B, with_bias)  # a sum over pairs divided by B, not by B²
print(f"  random vectors: {with_bias:.1f} with b = {bias:.1f}, {without:.1f} with b = 0\n")
lesson.show(losses.sigmoid_loss)

# %%
axes = lesson.new_figure(5.2, 3.4).subplots()
for (name, curve), colour in zip(curves.items(), (BLUE, ORANGE, GREEN), strict=True):
    axes.plot(pieces[:, -1] + 1, 100 * np.array(curve), ".-", color=colour, label=name)
axes.axhline(100 / 16, color=GREY, ls=":", label="guessing")
axes.set(xlabel="training step", ylabel="right on new pictures, %", ylim=(0, 102), title="Three trainings")
axes.legend(frameon=False, loc="upper left")
lesson.figure(axes.figure)

# %%
lesson.recap(
    "cosines differ by 2 at most; without a scale a softmax over them stays nearly flat, and the loss cannot fall",
    "the scale is learned as t = ln s: positive by itself, and moved by ratios",
    "clamp t after the update; clamped in the forward pass it has no slope, and never comes back",
)
lesson.try_this("let `bias` be -math.log(B - 1)", "at the start the loss is then about 7.5: that b says how rare a yes is.")
lesson.try_this("give the third training train.MAX_LOG_SCALE", "14 times any length is too hard a start: it ends near the run at scale 1, or below.")
lesson.end()
