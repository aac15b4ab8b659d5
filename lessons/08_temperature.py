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

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lessons.kit import BLUE, GREEN, GREY, ORANGE, Lesson
from tinyclip import by_hand, clip, evaluate, losses, train
from tinyclip.config import RECIPES, CLIPConfig, TrainConfig
from tinyclip.data import normalise
from tinyclip.world import get_world

lesson = Lesson("08")
random = np.random.default_rng(8)


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


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

# %%
B = 64
lesson.predict(
    f"scale 1, {B} perfect pairs: each picture has cosine 1 with its own sentence and −1 with all others. What share does the right one get?"
)
bound = math.log(1 + (B - 1) * math.exp(-2))
lesson.claim("share of a perfect answer at scale 1", math.exp(-bound))
lesson.claim("bound at scale 1", bound)
lesson.answer(
    f"{math.exp(-bound):.1%}. At scale 1 the loss of {B} pairs cannot go below log(1 + {B - 1} e⁻²) = {bound:.2f} nats, whatever the encoders do."
)

# %% [markdown]
# Even that is out of reach: not everyone can be opposite to everyone. B vectors, all equally far apart, reach a cosine of −1/(B − 1) at best.
# The bound itself holds for every scale as log(1 + (B − 1) e⁻²ˢ), and shrinks to nothing as s grows.

# %%
corners = jnp.array(unit(np.eye(B) - 1 / B))  # (B, B): the corners of a simplex
apart = lesson.claim("the best arrangement at scale 1", float(losses.contrastive_loss(corners, corners, 1.0)))
lesson.claim("the best arrangement at scale 1/0.07", float(losses.contrastive_loss(corners, corners, 1 / 0.07)))
print(f"{B} vectors as far apart as can be: loss {apart:.2f} at scale 1, {lesson.results['the best arrangement at scale 1/0.07']:.5f} at 1/0.07\n")

# %% [markdown]
# ## Why it is learned as a logarithm
#
# The best scale changes while a model learns, so CLIP learns it along with the rest: the number learned is t, and s = eᵗ. First, s is then positive
# whatever t is; a negative scale would reward the wrong pairs. Second, what matters about a scale is its *ratio*: from 10 to 20 is as far as from 50
# to 100. Adam, the rule by which we train (lesson 10), moves each number by about a fixed amount per step, the **learning rate**; on t that is a
# ratio. When t grows a little, s grows s times as much: the slope in t is s times the slope in s.

# %%
images, texts = (jnp.array(x) for x in unit(random.standard_normal((2, B, 32))))
log_scale = jnp.float32(math.log(1 / 0.07))
slope = jax.grad(lambda t: losses.contrastive_loss(images, texts, jnp.exp(t)))(log_scale)
by_scale = by_hand.contrastive_loss_backward(by_hand.contrastive_loss(np.array(images), np.array(texts), float(jnp.exp(log_scale)))[1])[2]
lesson.shapes(images=images, texts=texts, log_scale=log_scale, slope=slope)
lesson.compare("the slope in t", jnp.exp(log_scale) * by_scale, slope)

rate = RECIPES["sixteen"]["train"]["learning_rate"]
steps_as_log = lesson.claim("Adam steps from 1/0.07 to 100 as a logarithm", round((math.log(100) - math.log(1 / 0.07)) / rate))
steps_as_number = lesson.claim("Adam steps from 1/0.07 to 100 as a number", round((100 - 1 / 0.07) / rate))
print(f"  from 1/0.07 to 100 at rate {rate}: about {steps_as_log:,} steps on t, {steps_as_number:,} on s itself")
lesson.show(clip.CLIP)

# %% [markdown]
# ## Break it: clamp in the forward pass
#
# The better the pairs fit, the more a larger scale pays, and it would grow without end. CLIP's authors found that training became unstable, and
# kept it at 100 or less. So does tinyclip: after each update, t is cut back (**clamped**) to the range from log 1 to log 100. It looks equivalent to
# leave t alone and to cut the scale where it is used, in the *forward pass* from inputs to loss. But beyond the cut the loss no longer depends
# on t: its slope there is 0. Suppose t has come to log 120, and the pairs at hand (random vectors) call for a much smaller scale.


# %%
def descend(clamp_inside, t, steps=100, rate=0.05):
    def loss(t):
        return losses.contrastive_loss(images, texts, jnp.exp(jnp.clip(t, 0, train.MAX_LOG_SCALE) if clamp_inside else t))

    slope = jax.jit(jax.grad(loss))
    first = float(slope(t))
    for _ in range(steps):
        t = t - rate * slope(t)
        t = t if clamp_inside else jnp.clip(t, 0, train.MAX_LOG_SCALE)
    return first, float(jnp.exp(t))


for name, clamp_inside in (("after the update", False), ("in the forward pass", True)):
    first, reached = descend(clamp_inside, jnp.float32(math.log(120)))
    print(f"  clamped {name}: first slope {first:.2f}, and 100 steps later the scale is {reached:.1f}")
    lesson.claim(f"first slope, clamped {name}", first)
    lesson.claim(f"scale, clamped {name}", reached)
lesson.show(train.make_step)

# %% [markdown]
# ## Three small trainings
#
# The world `sixteen` again, with the smallest model, from the same start, on the same batches of 64: as CLIP does it; with unit vectors and the
# scale fixed at 1; and with the scale fixed at 1 but the vectors left as long as they come. (`intermediates` gives us the vectors before they are
# normalised. The two switches are inputs of one function, so that it is compiled once. Lesson 10 takes such a training apart;
# until then you may skip this code and read its curves.)

# %%
world, steps, piece = get_world("sixteen"), 100 if lesson.fast else 200, 25
tokenizer = world.tokenizer()
text = {"vocab": tokenizer.vocab, "context": tokenizer.context, "end_token": tokenizer.end}
config = CLIPConfig.preset("nano", image={"mean": world.mean, "std": world.std}, text=text)
run = TrainConfig(**(RECIPES["sixteen"]["train"] | {"steps": steps, "batch_size": B, "warmup": 10}))
captions, said = world.canonical()
tokens = jnp.asarray(tokenizer(captions))  # (16, T): every sentence of this world


def some(number, split):
    scenes = world.sample(jax.random.key(8), number, split)
    pictures = evaluate.draw_bytes(world, scenes, config.image.size)
    return normalise(pictures / np.float32(255), config.image), np.asarray(world.true_of(said, scenes.meaning))


(pictures, true), (new_pictures, new_true) = some(1500, "train"), some(500, "validation")
which = jnp.asarray(true.argmax(1))  # (1500,): the caption of each picture
optimizer, graphdef = train.make_optimizer(run), nnx.graphdef(nnx.eval_shape(lambda: clip.CLIP(config, rngs=nnx.Rngs(0))))


def embed(params, images, unit_length):
    model = nnx.merge(graphdef, params)
    x = model.encode_image(images, intermediates=True)[1]["projected"]
    y = model.encode_text(tokens, intermediates=True)[1]["projected"]  # (16, E)
    return jnp.where(unit_length, clip.l2_normalise(x), x), jnp.where(unit_length, clip.l2_normalise(y), y), model.logit_scale


@jax.jit
def some_steps(params, moments, numbers, unit_length, learned):
    def step(state, number):
        rows = jax.random.randint(jax.random.key(number), (B,), 0, len(pictures))

        def loss(params):
            x, y, scale = embed(params, pictures[rows], unit_length)
            same = which[rows][:, None] == which[rows]  # (B, B): true captions share the target
            return losses.contrastive_loss(x, y[which[rows]], jnp.where(learned, scale, 1.0), same)

        value, gradient = jax.value_and_grad(loss)(state[0])
        updates, moments = optimizer.update(gradient, state[1], state[0])
        params = optax.apply_updates(state[0], updates)
        params["log_logit_scale"][...] = jnp.clip(params["log_logit_scale"][...], 0, train.MAX_LOG_SCALE)
        return (params, moments), value

    (params, moments), values = jax.lax.scan(step, (params, moments), numbers)
    return params, moments, values, embed(params, new_pictures, unit_length)


start, ended, curves = train.initial_state(config, run), {}, {}
for name, unit_length, learned in (("learned scale", True, True), ("scale 1", True, False), ("scale 1, any length", False, False)):
    params, moments, curves[name] = start.params, start.opt_state, []
    for done in range(0, steps, piece):
        params, moments, values, (x, y, scale) = some_steps(params, moments, np.arange(done, done + piece), unit_length, learned)
        x, y = np.asarray(x), np.asarray(y)
        curves[name].append(evaluate.zero_shot_accuracy(x, y, new_true))
    ended[name] = x, y
    lesson.claim(f"accuracy, {name}", curves[name][-1])
    lesson.claim(f"loss, {name}", float(values.mean()))
    print(f"  {name:<20} loss {float(values.mean()):.2f}, right among 16 captions: {curves[name][-1]:.0%} of {len(x)} new pictures")
lesson.claim("lead of the learned scale", curves["learned scale"][-1] - curves["scale 1"][-1])

# %% [markdown]
# (Every loss here contains the floor of repeated captions, lesson 07.) At scale 1, a flat softmax tells good from better too faintly: the model is
# far behind after equally many steps. Without normalisation it does train, and in this small world no worse: the lengths of its vectors
# have grown into a scale of their own. What is lost is the *one* scale for all. The product of two lengths differs from pair to pair, so a score
# is loudness as well as likeness (lesson 01): search all new pictures with a sentence, and the best score mostly belongs to another picture
# than the best cosine.

# %%
x, y = ended["scale 1, any length"]
products = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)  # (500, 16)
scores = x @ y.T
moved = float((scores.argmax(0) != (scores / products).argmax(0)).mean())
print(f"  products of lengths: from {products.min():.0f} to {products.max():.0f}; another picture than the nearest wins {moved:.0%} of the searches")
lesson.claim("least product of lengths", float(products.min()))
lesson.claim("largest over least product of lengths", float(products.max() / products.min()))
lesson.claim("searches won by another picture", moved)

# %% [markdown]
# ## A loss that needs a bias too
#
# The **sigmoid loss** asks B² questions, each by itself: does this sentence belong to this picture, yes or no? The share of yes is 1/(1 + e⁻ˡ) for a
# logit l = s · cosine + b, and the surprise log(1 + e⁻ˡ) if yes is right, log(1 + eˡ) if no. Nearly all answers are no, and the learned **bias** b
# says so from the start: s = 10, b = −10. With b = 0, the many "no" would drown the rest. No question looks at another, so even a single pair has a
# loss; in the contrastive loss it has nothing to compare with and gets 0. The clamp belongs to the contrastive loss alone: models trained with this
# one have gone beyond 100.


# %%
def sigmoid_by_loop(images, texts, s, b):
    surprise = 0.0
    for i, image in enumerate(images):
        for j, sentence in enumerate(texts):
            logit = s * float(image @ sentence) + b
            surprise += math.log1p(math.exp(-logit if i == j else logit))
    return surprise / len(images)  # a sum over pairs divided by B, not by B²


lesson.compare("the sigmoid loss", sigmoid_by_loop(images, texts, 10, -10), losses.sigmoid_loss(images, texts, 10.0, -10.0))
with_bias = lesson.claim("sigmoid loss at the start, b = -10", float(losses.sigmoid_loss(images, texts, 10.0, -10.0)))
without = lesson.claim("sigmoid loss at the start, b = 0", float(losses.sigmoid_loss(images, texts, 10.0, 0.0)))
alone = lesson.claim("contrastive loss of one pair", abs(float(losses.contrastive_loss(images[:1], texts[:1], 10.0))))
print(f"  random vectors: {with_bias:.1f} with b = −10, {without:.1f} with b = 0; one pair: contrastive {alone:.1f}\n")
lesson.show(losses.sigmoid_loss)

# %%
figure = lesson.new_figure(7.6, 3.2)
left, right = figure.subplots(1, 2)
for k, (s, colour) in enumerate(zip(scales, (ORANGE, BLUE, GREY), strict=True)):
    left.bar(np.arange(5) + 0.27 * (k - 1), 100 * np.array(shares[s]), 0.27, color=colour, label=f"scale {s:.0f}")
left.set_xticks(range(5), [f"{c:.1f}".replace("-", "−") for c in cosines])
left.set(xlabel="cosine with five sentences (no unit)", ylabel="share, %", ylim=(0, 102), title="the same cosines, three scales")
left.legend(frameon=False)
for (name, curve), colour, line in zip(curves.items(), (BLUE, ORANGE, GREEN), ("-", "-", "--"), strict=True):
    right.plot(range(piece, steps + 1, piece), 100 * np.array(curve), line, color=colour, marker=".", label=name)
right.axhline(100 / 16, color=GREY, lw=1, ls=":")
right.text(steps, 100 / 16 + 1.5, "guessing", color=GREY, ha="right")
right.set(xlabel="training step", ylabel="right on new pictures, %", ylim=(0, 102), title="three trainings")
right.legend(frameon=False, loc="upper left")
lesson.figure(figure)

# %%
lesson.recap(
    "cosines differ by 2 at most; without a scale a softmax over them stays nearly flat, and the loss cannot fall",
    "the scale is learned as t = log s: positive by itself, and moved by ratios",
    "clamp t after the update; clamped in the forward pass it has no slope, and never comes back",
)
lesson.try_this("in `with_bias = …`, let b be -math.log(B - 1)", "at the start the loss is then about 7.5: that b says how rare a yes is.")
lesson.try_this("set the third training's `learned` to True", "14 times any length is too hard a start: it ends near the run at scale 1.")
lesson.end()
