# %% [markdown]
# # Lesson 09 · Backprop by hand
#
# *12 min to read, 15 seconds to run*
#
# **Question.** How does the loss know which way each of a model's numbers should move, and can we work it out without any framework?
#
# Training needs one slope for every number in the model: *if this number grew a little, how much would the loss grow?* All the slopes together are
# the **gradient**. JAX finds it by itself (*autodiff*). Here we find it with NumPy, and then train a whole CLIP with it, beside JAX, step for step.

# %%
from unittest import mock

import jax
import numpy as np

from lessons.kit import BLUE, GREY, ORANGE, RED, Lesson
from tinyclip import CLIPConfig, by_hand
from tinyclip.by_hand import layers, losses, towers, training, transformer
from tinyclip.config import TrainConfig
from tinyclip.data import WorldSource
from tinyclip.train import initial_state, make_step
from tinyclip.world import get_world

lesson = Lesson("09")
rng = np.random.default_rng(0)

# %% [markdown]
# ## A slope, by nudging
#
# The slow way needs no thought at all. Nudge one number up in its array, then down, and ask `loss()`. It takes two runs of the model for every
# number; the smallest model of this course has thousands of them, CLIP has millions. But it is always right, up to rounding, so it is our judge.


# %%
def by_nudging(loss, numbers, h=1e-6):
    slopes = np.zeros_like(numbers)
    for i in np.ndindex(numbers.shape):
        kept = numbers[i]
        numbers[i] = kept + h
        up = loss()
        numbers[i] = kept - h
        slopes[i] = (up - loss()) / (2 * h)
        numbers[i] = kept
    return slopes


# %% [markdown]
# ## The chain rule, with one linear layer
#
# Let `y = x W + b` for four tokens, and let the loss be `½ Σ (y - wanted)²`. We write `dy` for the slopes of the loss in the numbers of y:
# here `dy = y - wanted`, as ½u² has slope u. Take one weight, W[i, o]. It touches y[t, o] of every token t, and moves it x[t, i] times as far as it
# moves itself. So its slope is the sum over tokens of `x[t, i] · dy[t, o]`. That is the **chain rule**: slopes along a path multiply, paths add up.
#
# The same reasoning gives x: x[t, i] reaches y[t, o] through W[i, o], hence `dx = dy Wᵀ`. That dx is the `dy` of whatever stands before this
# layer. So the slopes walk backward through the model, one layer at a time.

# %%
x, wanted = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
params = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
y, saved = layers.linear(params, x)
dy = y - wanted
lesson.shapes(x=x, W=params["kernel"], y=y, dy=dy)

by_loops = np.zeros((3, 2))
for t in range(4):
    for i in range(3):
        for o in range(2):
            by_loops[i, o] += x[t, i] * dy[t, o]

dx, gradient = layers.linear_backward(dy, saved)
lesson.compare("dW of a linear layer, by loops", by_loops, gradient["kernel"])
lesson.compare(
    "dW of a linear layer, by nudging",
    by_nudging(lambda: ((layers.linear(params, x)[0] - wanted) ** 2).sum() / 2, params["kernel"]),
    gradient["kernel"],
)
lesson.compare("dx of a linear layer, by nudging", by_nudging(lambda: ((layers.linear(params, x)[0] - wanted) ** 2).sum() / 2, x), dx)
lesson.show(layers.linear_backward, by_hand.parameters)

# %% [markdown]
# ## The loss: what was predicted minus what is true
#
# The softmax turns a row of logits into probabilities p (the shares of lesson 07), and cross-entropy is minus the logarithm of the true one's.
# Raising logit j costs p_j, for it takes probability from the others; raising the true one also wins 1. So a row's slopes are `p - target`, and the
# mean over B rows divides by B. Each row sums to 0: what one candidate gains, the others lose.

# %%
logits, targets = rng.normal(size=(3, 4)), np.eye(3, 4)
dlogits = losses.cross_entropy_backward(losses.cross_entropy(logits, targets)[1])
lesson.compare("(p - target) / B", by_nudging(lambda: losses.cross_entropy(logits, targets)[0], logits), dlogits)
print(dlogits.round(3), "\n")
lesson.claim("a row of (p - target) / B sums to", float(np.abs(dlogits.sum(1)).max()))
lesson.show(losses.cross_entropy_backward, losses.contrastive_loss_backward)

# %% [markdown]
# ## LayerNorm: what cannot matter has no slope
#
# LayerNorm takes off a token's mean and divides by its spread. Add 5 to all of a token's numbers, or double them, and nothing comes out
# differently. So the gradient must have no part in those two directions. The formula says just that: take the incoming slopes, remove their
# mean, remove their part along the normalised token, and divide by the spread. (The doubling is exact but for `eps`, which is tiny.)

# %%
token, dy = rng.normal(size=(1, 8)), rng.normal(size=(1, 8))
norm = {"scale": rng.normal(size=8), "bias": rng.normal(size=8)}
_, saved = layers.layer_norm(norm, token, 1e-5)
dx, _ = layers.layer_norm_backward(dy, saved)
lesson.compare("dx of LayerNorm", by_nudging(lambda: float((dy * layers.layer_norm(norm, token, 1e-5)[0]).sum()), token), dx)
shift, stretch = abs(float(dx.sum())), abs(float((dx * (token - token.mean())).sum()))
print(f"slope along 'all numbers up': {shift:.0e}; along 'all numbers further apart': {stretch:.0e}\n")
lesson.claim("LayerNorm's slope along a shift", shift)
lesson.claim("LayerNorm's slope along a stretch", stretch)
lesson.show(layers.layer_norm_backward)

# %% [markdown]
# ## Attention: three ways in, and a bias that does nothing
#
# A token enters attention as query, as key and as value, so its slope is the sum of three. Each of the three has a bias, a vector added to all
# queries, to all keys, to all values.

# %%
lesson.predict("one of attention's biases gets a gradient of exactly 0, whatever the loss. Query, key or value?")
tokens, dy = rng.normal(size=(2, 5, 8)), rng.normal(size=(2, 5, 8))
attend = {name: {"kernel": rng.normal(size=(8, 8)) / 3, "bias": rng.normal(size=8)} for name in ("query", "key", "value", "out")}
_, saved = transformer.attention(attend, tokens, heads=2)
dx, gradient = transformer.attention_backward(dy, saved)
lesson.compare("dx of attention", by_nudging(lambda: float((dy * transformer.attention(attend, tokens, heads=2)[0]).sum()), tokens), dx)
sizes = {name: float(np.abs(gradient[name]["bias"]).max()) for name in ("query", "key", "value")}
lesson.claim("largest slope of the key bias", sizes["key"])
lesson.claim("largest slope of the query bias", sizes["query"])
lesson.answer("the key's. " + ", ".join(f"{name} {size:.0e}" for name, size in sizes.items()) + ": what the key's has is rounding.")

# %% [markdown]
# Why? Query q scores key k by their dot product. Add one vector c to *all* keys, and every score of q grows by the same number, q · c. The
# softmax ignores a number that is added to all. (The query bias is different: it adds b · k, another number for every key.) We can watch it:

# %%
before = saved["soft"]["p"]
attend["key"]["bias"] += 10 * rng.normal(size=8)
moved = transformer.attention(attend, tokens, heads=2)[1]["soft"]["p"]
lesson.claim("attention weights moved by a new key bias", float(np.abs(moved - before).max()))
print(f"with a wholly different key bias, no attention weight moves by more than {np.abs(moved - before).max():.0e}\n")
lesson.show(transformer.attention_backward, transformer.softmax_backward)

# %% [markdown]
# ## The whole model
#
# The rest is plumbing: run everything forward, keep what the way back needs, then call every layer's backward in the opposite order. The model
# is a very small CLIP on the world `sixteen` (four colours, four shapes). One nudge can check all of its slopes at once: move *all* numbers along
# a random direction v. The loss must change by gradient · v times the size of the nudge.
# (The weights stand in dictionaries within dictionaries, a *tree*; the arrays are its *leaves*, and the names on the way to one are its path.)

# %%
world, tower = get_world("sixteen"), {"width": 16, "depth": 1, "heads": 2, "mlp": 32}
words = {"vocab": world.tokenizer().vocab, "context": world.context, "end_token": world.tokenizer().end}
config = CLIPConfig.preset("nano", image=tower, text=tower | words, embed=16)
run = TrainConfig(steps=60, batch_size=16, warmup=5, learning_rate=5e-3, weight_decay=0.1)
state, draw = initial_state(config, run), jax.jit(WorldSource(world, config, run).batch)

exact, batch = by_hand.parameters(state.params, np.float64), tuple(map(np.asarray, draw(0)))
_, saved = training.clip_loss(exact, config, *batch)
slopes = dict(training.named_leaves(training.clip_loss_backward(saved)))
v = {path: rng.normal(size=leaf.shape) for path, leaf in training.named_leaves(exact)}
up, down = (
    training.clip_loss(training.tree_of([(path, leaf + h * v[path]) for path, leaf in training.named_leaves(exact)]), config, *batch)[0]
    for h in (1e-6, -1e-6)
)
lesson.shapes(images=batch[0], tokens=batch[1], positives=batch[2])
print(f"  {lesson.claim('numbers in the model', sum(leaf.size for leaf in slopes.values())):,} slopes in {len(slopes)} arrays")
lesson.compare("gradient of the whole model along v", (up - down) / 2e-6, sum((slopes[path] * v[path]).sum() for path in v))
lesson.show(training.clip_loss, training.clip_loss_backward, towers.encode_image_backward, towers.encode_text_backward)

# %% [markdown]
# ## Training without autodiff, beside JAX
#
# Same weights, same batches, in float32 as always. `train_step` by hand takes loss, gradient and one step of the optimiser (lesson 10); JAX takes
# the step of the library. Rounding differs between the two, and training feeds on its own results, so tiny differences may grow.


# %%
def train_by_hand():
    params, moments, found = by_hand.parameters(state.params), None, []
    for k in range(run.steps):
        params, moments, value = training.train_step(params, moments, k, tuple(map(np.asarray, batches[k])), config, run)
        found.append(float(value))
    return np.array(found), dict(training.named_leaves(params))


batches = [draw(k) for k in range(run.steps)]
step, theirs, jax_losses = jax.jit(make_step(config, run)), state, []
for batch in batches:
    theirs, measures = step(theirs, batch)
    jax_losses.append(float(measures.loss))
hand_losses, mine = train_by_hand()
apart = np.abs(hand_losses / jax_losses - 1)
lesson.claim("losses differ by at most, relative", float(apart.max()))
lesson.claim("first loss", hand_losses[0].item())
lesson.claim("mean of the last ten losses", float(hand_losses[-10:].mean()))
print(f"over {run.steps} steps the two losses differ by at most {apart.max():.0e} of their size\n")
lesson.show(training.train_step)

# %% [markdown]
# The losses agree. Do the weights? Compare each array's difference with its own size. The key biases began at 0 and have a true gradient of 0; all
# that ever moved them is rounding, and the two programs round differently. They have nothing in common, and it changes nothing.

# %%
final = dict(training.named_leaves(by_hand.parameters(theirs.params)))
wandered = {path: float(np.linalg.norm(mine[path] - final[path]) / np.linalg.norm(final[path])) for path in mine}
keys = {path: size for path, size in wandered.items() if path[-2:] == ("key", "bias")}
others = max(size for path, size in wandered.items() if path not in keys)
lesson.claim("key biases differ by at least, of their size", min(keys.values()))
lesson.claim("all other weights differ by at most, of their size", others)
print(f"key biases differ by {min(keys.values()):.0%} of their size or more, all other arrays by {others:.1e} or less\n")

# %% [markdown]
# ## Break it: let a repeated word count once
#
# A word that occurs several times in a batch reads one row of the table several times: paths add up, so its slopes must be summed. In NumPy,
# `dtable[tokens] += dy` looks like a sum, but keeps only the last one of each word. Nothing crashes. The loss still falls. Only a judge notices.


# %%
def wrong_backward(dy, saved):
    dtable = np.zeros(saved["table"].shape, dy.dtype)
    dtable[saved["tokens"]] += dy
    return dtable


with mock.patch.object(towers, "embed_tokens_backward", wrong_backward):  # ours in the library's place, for these lines
    broken_losses, _ = train_by_hand()
broken_apart = np.abs(broken_losses / jax_losses - 1)
lesson.claim("broken: mean of the last ten losses", float(broken_losses[-10:].mean()))
lesson.claim("broken: losses differ by up to, relative", float(broken_apart.max()))
print(f"the broken run still learns: its loss falls from {broken_losses[0]:.2f} to {broken_losses[-10:].mean():.2f}")
print(f"the right one reaches {hand_losses[-10:].mean():.2f}; at worst, the two are {broken_apart.max():.0%} apart\n")

# %%
figure = lesson.new_figure(7.6, 3.2)
left, right = figure.subplots(1, 2)
left.plot(jax_losses, color=ORANGE, lw=4, alpha=0.6, label="JAX")
left.plot(hand_losses, ".", color=BLUE, ms=4, label="by hand")
left.plot(broken_losses, color=RED, lw=1, ls="--", label="by hand, broken")
left.set(xlabel="step", ylabel="loss, nats", title="Two programs, one descent", ylim=(0, None))
left.legend(frameon=False)
right.semilogy(np.where(apart > 0, apart, np.nan), ".", color=BLUE, ms=4)
right.semilogy(np.where(broken_apart > 0, broken_apart, np.nan), "--", color=RED, lw=1)
right.axhline(1e-4, color=GREY, lw=1)
right.annotate("what we ask for", (run.steps, 1e-4), xytext=(0, -10), textcoords="offset points", ha="right", color=GREY, fontsize=8)
right.set(xlabel="step", ylabel="|loss / JAX's loss − 1|", title="How far apart", ylim=(1e-8, 1))
lesson.figure(figure)

# %%
lesson.recap(
    "slopes along a path multiply, paths add up: every layer turns the dy behind it into the dy before it",
    "what cannot change the loss (a shift before LayerNorm, a key bias) has a gradient of 0",
    "a wrong gradient often still trains: check it against a nudge, never against a falling loss",
)
lesson.try_this("in tinyclip/by_hand/transformer.py, drop `+ dx_value`", "the difference in dx of attention jumps to about 3. Put it back.")
lesson.try_this("give `by_nudging` h=1e-13", "little agrees to better than a thousandth: so small a change of the loss drowns in rounding.")
lesson.end()
