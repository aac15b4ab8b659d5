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

from lessons.kit import BLUE, RED, Lesson
from tinyclip import CLIPConfig, by_hand
from tinyclip.config import TrainConfig
from tinyclip.data import WorldSource
from tinyclip.train import initial_state, make_step
from tinyclip.world import get_world

lesson = Lesson("09")
rng = np.random.default_rng(0)

# %% [markdown]
# ## Two ways to a slope: nudging, and the chain rule
#
# The slow way needs no thought at all: nudge one number up in its array, then down, and ask `loss()`. That is two runs of the model for every number,
# and CLIP has millions. But it is always right, up to rounding, so it is our judge.
# The fast way: let `y = x W + b` for four tokens, and let the loss be `½ Σ (y - wanted)²`. We write `dy` for the slopes of the loss in the numbers of
# y: here `dy = y - wanted`, as ½u² has slope u. The weight W[i, o] touches y[t, o] of every token t, and moves it x[t, i] times as far as itself. So
# its slope is the sum over tokens of `x[t, i] · dy[t, o]`. That is the **chain rule**: slopes along a path multiply, paths add up. In the same way
# x[t, i] reaches y[t, o] through W[i, o], hence `dx = dy Wᵀ`; and that is the `dy` of whatever stands before this layer.


# %%
def by_nudging(loss, numbers, h=1e-6):
    slopes = np.zeros_like(numbers)
    for i in np.ndindex(numbers.shape):
        kept = numbers[i]
        for sign in (1, -1):
            numbers[i] = kept + sign * h
            slopes[i] += sign * loss() / (2 * h)
        numbers[i] = kept
    return slopes


x, wanted = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
params = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
y, saved = by_hand.linear(params, x)
dy, by_loops = y - wanted, np.zeros((3, 2))
for t, i, o in np.ndindex(4, 3, 2):
    by_loops[i, o] += x[t, i] * dy[t, o]
lesson.shapes(x=x, W=params["kernel"], y=y, dy=dy)
dx, gradient = by_hand.linear_backward(dy, saved)
lesson.compare("dW of a linear layer, by loops", by_loops, gradient["kernel"])
for name, numbers, slopes in (("dW", params["kernel"], gradient["kernel"]), ("dx", x, dx)):
    nudged = by_nudging(lambda: ((by_hand.linear(params, x)[0] - wanted) ** 2).sum() / 2, numbers)
    lesson.compare(f"{name} of a linear layer, by nudging", nudged, slopes)

# %% [markdown]
# ## What cannot matter has no slope
#
# Add a number to all logits of a row, and the softmax's shares p stay as they are: so a row of the loss's slopes, `(p - target) / B` as in lesson 07,
# sums to 0. LayerNorm takes off a token's mean and divides by its spread: add 5 to all of a token's numbers, or double them, and nothing comes out
# differently (but for the tiny `eps`). So its backward removes two parts of the incoming slopes, their mean and what lies along the normalised token.
# A token enters attention as query, as key and as value, so its slope is the sum of three; and each of these three has a bias, added to all tokens.

# %%
logits, targets = rng.normal(size=(3, 4)), np.eye(3, 4)
dlogits = by_hand.cross_entropy_backward(by_hand.cross_entropy(logits, targets)[1])
lesson.compare("(p - target) / B", by_nudging(lambda: by_hand.cross_entropy(logits, targets)[0], logits), dlogits)
lesson.claim("a row of (p - target) / B sums to", float(np.abs(dlogits.sum(1)).max()))

token, dy = rng.normal(size=(1, 8)), rng.normal(size=(1, 8))
norm = {"scale": rng.normal(size=8), "bias": rng.normal(size=8)}
dx = by_hand.layer_norm_backward(dy, by_hand.layer_norm(norm, token, 1e-5)[1])[0]
lesson.compare("dx of LayerNorm", by_nudging(lambda: float((dy * by_hand.layer_norm(norm, token, 1e-5)[0]).sum()), token), dx)
lesson.claim("LayerNorm's slope along a shift", abs(float(dx.sum())))
lesson.claim("LayerNorm's slope along a stretch", abs(float((dx * (token - token.mean())).sum())))

lesson.predict("one of attention's biases gets a gradient of exactly 0, whatever the loss. Query, key or value?")
tokens, dy = rng.normal(size=(2, 5, 8)), rng.normal(size=(2, 5, 8))
attend = {name: {"kernel": rng.normal(size=(8, 8)) / 3, "bias": rng.normal(size=8)} for name in ("query", "key", "value", "out")}
saved = by_hand.attention(attend, tokens, heads=2)[1]
dx, gradient = by_hand.attention_backward(dy, saved)
lesson.compare("dx of attention", by_nudging(lambda: float((dy * by_hand.attention(attend, tokens, heads=2)[0]).sum()), tokens), dx)
for name in ("query", "key"):
    print(f"  {name} bias: {lesson.claim(f'largest slope of the {name} bias', float(np.abs(gradient[name]['bias']).max())):.0e}")
attend["key"]["bias"] += 10 * rng.normal(size=8)
after = by_hand.attention(attend, tokens, heads=2)[1]
lesson.claim("attention weights moved by a new key bias", float(np.abs(after["soft"]["p"] - saved["soft"]["p"]).max()))
lesson.answer("the key's: one vector c added to all keys adds q · c to every score of a query q, and the softmax ignores what is added to all.")
lesson.show(by_hand.linear_backward, by_hand.parameters, by_hand.cross_entropy_backward, by_hand.contrastive_loss_backward)
lesson.show(by_hand.layer_norm_backward, by_hand.attention_backward, by_hand.softmax_backward)

# %% [markdown]
# ## The whole model, and its training
#
# The rest is plumbing: run everything forward, keep what the way back needs, then call every layer's backward in the opposite order. The weights of
# our very small CLIP stand in dictionaries within dictionaries, a *tree* whose *leaves* are arrays. One nudge checks all slopes: move *all* numbers
# along a random direction v, and the loss must change by gradient · v times the size of the nudge. Then we train, once by hand and once by JAX, from
# the same weights on the same batches. Expect one difference: the key biases begin at 0 and have no slope. By hand their slope comes out as rounding
# noise, of which Adam makes steps; in JAX they stay at 0: a block read at one token makes no keys, as q · (x W) = (q Wᵀ) · x (`Attention.of_rows`).

# %%
world, tower = get_world("sixteen"), {"width": 16, "depth": 1, "heads": 2, "mlp": 32}
words = {"vocab": world.tokenizer().vocab, "context": world.context, "end_token": world.tokenizer().end}
config = CLIPConfig.preset("nano", image=tower, text=tower | words, embed=16)
run = TrainConfig(steps=60, batch_size=16, warmup=5, learning_rate=5e-3, weight_decay=0.1)
state = initial_state(config, run)
batches = jax.device_get(jax.lax.map(WorldSource(world, config, run).batch, np.arange(run.steps)))  # images, tokens, positives of every step
exact, batch = dict(by_hand.named_leaves(by_hand.parameters(state.params, np.float64))), [part[0] for part in batches]
slopes = dict(by_hand.named_leaves(by_hand.clip_loss_backward(by_hand.clip_loss(by_hand.tree_of([*exact.items()]), config, *batch)[1])))
v = {path: rng.normal(size=leaf.shape) for path, leaf in exact.items()}
moved = ([(path, leaf + h * v[path]) for path, leaf in exact.items()] for h in (1e-6, -1e-6))
up, down = (by_hand.clip_loss(by_hand.tree_of(leaves), config, *batch)[0] for leaves in moved)
print(f"  {lesson.claim('numbers in the model', sum(leaf.size for leaf in slopes.values())):,} slopes in {len(slopes)} arrays")
lesson.compare("gradient of the whole model along v", (up - down) / 2e-6, sum((slopes[path] * v[path]).sum() for path in v))
lesson.show(by_hand.clip_loss, by_hand.clip_loss_backward, by_hand.encode_image_backward, by_hand.encode_text_backward, by_hand.train_step)


def train_by_hand():
    params, moments, found = by_hand.parameters(state.params), None, []
    for k in range(run.steps):
        params, moments, value = by_hand.train_step(params, moments, k, tuple(part[k] for part in batches), config, run)
        found.append(float(value))
    return np.array(found), dict(by_hand.named_leaves(params))


after, measures = jax.lax.scan(make_step(config, run), state, batches)
hand_losses, mine = train_by_hand()
apart = lesson.claim("losses differ by at most, relative", float(np.abs(hand_losses / measures.loss - 1).max()))
reached = lesson.claim("mean of the last ten losses", float(hand_losses[-10:].mean()))
theirs = dict(by_hand.named_leaves(by_hand.parameters(after.params)))
far = {path: float(np.linalg.norm(leaf - theirs[path]) / np.linalg.norm(leaf)) for path, leaf in mine.items()}
keys = lesson.claim("key biases differ by at least, of their size", min(size for path, size in far.items() if path[-2:] == ("key", "bias")))
others = lesson.claim("all other weights differ by at most, of their size", max(size for path, size in far.items() if path[-2:] != ("key", "bias")))
print(f"from a loss of {lesson.claim('first loss', hand_losses[0].item()):.2f} to {reached:.2f}: the losses differ by {apart:.0e} of their size")
print(f"at the end, the key biases differ by {keys:.0%} of their size, all other arrays by {others:.1e} or less\n")

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


with mock.patch.object(by_hand.towers, "embed_tokens_backward", wrong_backward):  # ours in the library's place, for this line
    broken_losses, _ = train_by_hand()
falls = lesson.claim("broken: mean of the last ten losses", float(broken_losses[-10:].mean()))
worst = lesson.claim("broken: losses differ by up to, relative", float(np.abs(broken_losses / measures.loss - 1).max()))
print(f"the broken loss is up to {worst:.0%} away; yet it falls, to {falls:.2f}; the right one reaches {reached:.2f}\n")

# %%
axes = lesson.new_figure(5.6, 3.4).subplots()
axes.semilogy(np.abs(broken_losses / measures.loss - 1), "--", color=RED, label="by hand, broken")
axes.semilogy(np.abs(hand_losses / measures.loss - 1), ".", color=BLUE, label="by hand (at 0 where there is no dot)")
axes.set(xlabel="step", ylabel="|loss / JAX's loss − 1|", title="How far the losses are from JAX's", ylim=(1e-8, 100))
axes.legend(frameon=False)
lesson.figure(axes.figure)

# %%
lesson.recap(
    "slopes along a path multiply, paths add up: every layer turns the dy behind it into the dy before it",
    "what cannot change the loss (a shift before LayerNorm, a key bias) has a gradient of 0",
    "a wrong gradient often still trains: check it against a nudge, never against a falling loss",
)
lesson.try_this("in tinyclip/by_hand/transformer.py, drop `+ dx_value`; run this file itself", "dx of attention is off by about 3. Put it back.")
lesson.try_this("give `by_nudging` h=1e-13", "little agrees to better than a thousandth: so small a change of the loss drowns in rounding.")
lesson.end()
