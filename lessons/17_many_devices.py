# %% [markdown]
# # Lesson 17 · Many devices
#
# *9 min to read, half a minute to run*
#
# **Question.** CLIP was trained with batches of 32,768 pairs, too many for any device of its day. How can many devices, or one with patience,
# compute the loss of a batch that none of them ever holds?
#
# Mostly, each device trains on its rows of the batch, and gradients are averaged in the end. Here every picture is compared with *every* sentence, so
# devices must talk in the middle of the loss. This lesson has eight, pretended by one CPU; what they say to each other is real. A batch has B pairs
# with embeddings of E numbers, and each of n devices holds b = B / n of them.

# %%
from unittest import mock

import jax
import numpy as np
from flax import nnx

import tinyclip
from lessons.kit import Lesson
from tinyclip import benchmark, by_hand, clip, data, evaluate, large_batch, losses, parallel, plots, streamed, train
from tinyclip.config import TrainConfig
from tinyclip.world import get_world

lesson = Lesson("17")
jax.config.update("jax_platforms", "cpu")  # a graphics card cannot pretend to be several
parallel.start(devices=8)  # only before JAX does anything: in a notebook that has used JAX already, restart the kernel
mesh, world, B, scale = parallel.make_mesh(8), get_world("single"), 64, 1 / 0.07
n, b = mesh.size, B // mesh.size

# %% [markdown]
# ## A batch shared out
#
# The **mesh** is the row of devices. An array shared out by rows is still *one* array of B rows, but each device holds only its piece. Our towers
# here are the smallest there are, one random matrix each: on a picture's pixels, and on how often each word is in a sentence.

# %%
scenes = world.sample(jax.random.key(17), B)
tokens, said = world.caption(jax.random.key(18), scenes.meaning)
pictures = evaluate.draw_bytes(world, scenes, 32) / np.float32(255)
batch = jax.jit(lambda batch: data.shared_out(batch, mesh))(data.Batch(pictures, tokens, world.true_of(said, scenes.meaning)))
for name, array in batch._asdict().items():
    lesson.shapes(**{name: array, "on the 4th device": array.addressable_shards[3].data})
lesson.show(parallel.make_mesh, parallel.by_rows, parallel.everywhere, data.shared_out)
words = np.array([np.bincount(row, minlength=world.tokenizer().vocab) for row in np.asarray(tokens)])
sides = [np.float32(side.reshape(B, -1) - side.reshape(B, -1).mean(0)) for side in (pictures, words)]
towers = [np.float32(np.random.default_rng(17).normal(0, side.shape[1] ** -0.5, (side.shape[1], 32))) for side in sides]
images, texts = (by_hand.l2_normalise(side @ tower)[0] for side, tower in zip(sides, towers, strict=True))  # (B, E) each

# %% [markdown]
# ## Gather: everybody gets all embeddings
#
# A tower keeps thousands of numbers for each picture; the embedding is only E. So let each device have all embeddings, and compute the loss of its
# own rows: b pictures against B sentences, b sentences against B pictures. The eight workers, as a list:

# %%
workers = [(images[b * d :][:b], texts[b * d :][:b]) for d in range(n)]


def surprise(rows, columns, first):
    """The mean surprise of rows that choose among columns; the first row's own is column number `first`."""
    logits = scale * rows @ columns.T  # (b, columns)
    return (np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(b), first + np.arange(b)]).mean()


def cosine(one, other):
    return float(np.ravel(one) @ np.ravel(other) / np.linalg.norm(one) / np.linalg.norm(other))


all_images, all_texts = (np.concatenate(pieces) for pieces in zip(*workers, strict=True))
gathered = np.mean([(surprise(i, all_texts, b * d) + surprise(t, all_images, b * d)) / 2 for d, (i, t) in enumerate(workers)])
alone = np.mean([(surprise(i, t, 0) + surprise(t, i, 0)) / 2 for i, t in workers])  # for later: nobody gathers

want, wanted = jax.value_and_grad(jax.jit(lambda i, t: losses.contrastive_loss(i, t, scale)), (0, 1))(images, texts)  # on one device
value, slopes = jax.value_and_grad(jax.jit(lambda i, t: parallel.sharded_contrastive_loss(i, t, scale, mesh)), (0, 1))(images, texts)
lesson.compare("the gathered loss", gathered, value)
lesson.compare("the loss, one device and eight", want, value)
lesson.compare("its gradients, one device and eight", wanted, slopes)
lesson.show(parallel.sharded_contrastive_loss)

# %% [markdown]
# ## Break it: forget to gather
#
# Each device for itself, and then the mean: that runs without an error. So does a subtler slip: gather, but let no gradient through (in some
# frameworks, gathering has none). An embedding is a question on its own device and an answer on all; what it learns as an answer is then lost.

# %%
lesson.predict(f"each of {n} devices compares only its own {b} pairs. Is the mean of their losses lower or higher than the true loss? By how much?")
lower = lesson.claim("local negatives: lower by", float(want - alone))
lesson.answer(f"lower, by {lower:.2f}: {alone:.2f} and not {want:.2f}. Among {b} it is easier: by ln {n} = {np.log(n):.2f} if all look alike.")
gather = jax.lax.all_gather
with mock.patch.object(jax.lax, "all_gather", lambda *args, **options: jax.lax.stop_gradient(gather(*args, **options))):
    value, slopes = jax.value_and_grad(jax.jit(lambda i, t: parallel.sharded_contrastive_loss(i, t, scale, mesh)), (0, 1))(images, texts)
lesson.compare("the loss, gathered without a way back", want, value)
print(f"but its gradient has cosine {lesson.claim('no way back: cosine of the gradients', cosine(slopes, wanted)):.3f} with the true one\n")

# %% [markdown]
# ## Ring: nobody ever has all
#
# The sigmoid loss (lesson 08) asks about each pair by itself, in any order. So let the sentences go round: each device compares its pictures with the
# sentences it has, hands these on to its neighbour, and gets others. After n − 1 hand-overs all have met.

# %%
bias, total, met = -10.0, 0.0, np.full((n, n), np.nan)  # met: in which step a device's pictures met a device's sentences
has = [(d, t) for d, (_, t) in enumerate(workers)]  # what each device has: at first, its own
for step in range(n):
    for d, (i, _) in enumerate(workers):
        whose, t = has[d]
        true = np.eye(b, dtype=bool) & (whose == d)
        logits = scale * i @ t.T + bias  # (b, b)
        total, met[d, whose] = total + np.log1p(np.exp(np.where(true, -logits, logits))).sum(), step
    has = [has[-1], *has[:-1]]
value = jax.jit(lambda i, t: parallel.sharded_sigmoid_loss(i, t, scale, bias, mesh))(images, texts)
lesson.compare("the sigmoid loss as a ring", total / B, value)
lesson.compare("the sigmoid loss, one device and eight", jax.jit(losses.sigmoid_loss)(images, texts, scale, bias), value)
lesson.show(parallel.sharded_sigmoid_loss)

# %% [markdown]
# ## One device, one part after the other
#
# What eight devices do at once, one can do in turn. For the *loss*: make a few rows of the logits, add to the sums, forget them. For the *towers*,
# others have **accumulation**: average the gradients of small micro-batches. Here that is the forgotten gather again. But towers never look from row
# to row, so there is an exact way, **cached gradients**: embed a few rows at a time, keeping only embeddings; take the loss and its gradient in them;
# then go through the rows again, now with the way back. Here for the pictures' tower:

# %%
rows, tower, gradient = sides[0], towers[0], 0.0
embedded = np.concatenate([by_hand.l2_normalise(rows[k:][:b] @ tower)[0] for k in range(0, B, b)])
slopes = by_hand.contrastive_loss_backward(by_hand.contrastive_loss(embedded, texts, scale)[1])[0]  # (B, E)
for k in range(0, B, b):
    _, saved = by_hand.l2_normalise(rows[k:][:b] @ tower)
    gradient += rows[k:][:b].T @ by_hand.l2_normalise_backward(slopes[k:][:b], saved)
slope = jax.jit(jax.grad(lambda w, r, t: losses.contrastive_loss(clip.l2_normalise(r @ w), t, scale)))
whole, naive = slope(tower, rows, texts), sum(slope(tower, rows[k:][:b], texts[k:][:b]) for k in range(0, B, b)) / n
in_pieces = jax.jit(jax.grad(lambda w, r, t: losses.contrastive_loss(large_batch.in_pieces(lambda r: clip.l2_normalise(r @ w), r, b), t, scale)))
pieces = in_pieces(tower, rows, texts)
lesson.compare("cached gradients", gradient, pieces)
for name, other in (("cached gradients", pieces), ("averaged over micro-batches", naive)):
    print(f"  {name}: cosine {lesson.claim(f'{name}: cosine', cosine(other, whole)):.3f} with the gradient of the whole batch")

graph, parameters = nnx.split(tinyclip.load("shapes").model)  # real towers: how much waits for the way back? (Sizes only, nothing is computed.)
runs = {"whole batch": TrainConfig(), f"micro-batches of {b}": TrainConfig(batch_size=B, micro_batch=b), "rematerialisation": TrainConfig(remat=True)}
for name, run in runs.items():
    kept = jax.tree.leaves(jax.eval_shape(lambda p, run=run: jax.vjp(lambda p: train.loss_of(nnx.merge(graph, p), batch, run), p)[1], parameters))
    print(f"  towers, {name:<18} {lesson.claim(f'{name}: MB kept', sum(x.size * x.dtype.itemsize for x in kept) / 1e6):5.1f} MB")
for name, costs in benchmark.loss_costs([4096, 16384], measured=0).items():
    print(f"  loss, {name:<20}", *(f"{lesson.claim(f'{name}, {N:,} pairs: MB', used / 1e6):5,.0f} MB for {N:,} pairs " for N, used, _ in costs))
lesson.show(large_batch.in_pieces, train.remembering, train.train)
lesson.show(streamed.streamed_contrastive_loss, streamed.streamed_sigmoid_loss, plots.loss_costs)

# %% [markdown]
# Micro-batches keep least for the way back; while one of them is worked on, what it needs for itself comes on top. Rematerialisation (`--remat`)
# keeps only what each block gives, and computes the rest again. `tinyclip train --devices 8` trains on eight: XLA, JAX's compiler, splits the step by
# where the rows lie, and adds the communication itself. Several machines are given the same command, `--coordinator HOST:PORT --processes 2` with it,
# but `--process-id 0` here and 1 there. The lesson in one picture: which eighth of the pictures meets which of the sentences, and in which step?

# %%
figure, eighths = lesson.new_figure(9.0, 3.2), np.arange(n)
names = ("nobody gathers", "gather", "ring", "one device, in blocks")
steps = (np.where(np.eye(n) > 0, 0, np.nan), np.zeros((n, n)), met, np.repeat(eighths[:, None], n, axis=1))
notes = (f"loss {alone:.1f}, not {want:.1f}", f"{b} × {B} logits on each", f"{b} × {b} logits on each", f"{b} × {B} logits on it")
for axes, name, when, note in zip(figure.subplots(1, 4, sharey=True), names, steps, notes, strict=True):
    axes.imshow(when, cmap="Blues", vmin=-2, vmax=n + 6)
    for row, column in np.argwhere(np.isfinite(when)):
        axes.text(column, row, f"{when[row, column]:.0f}", ha="center", va="center", fontsize=8)
    axes.set(title=name, xlabel=f"eighth of the sentences\n{note}", xticks=eighths, yticks=eighths)
figure.axes[0].set_ylabel("eighth of the pictures"), figure.suptitle("In which step do they meet?", fontsize=10)
lesson.figure(figure)

# %%
lesson.recap(
    "every picture meets every sentence: devices must talk in the middle of the loss, and its gradients must find their way back",
    "without gathering, or averaged over micro-batches, the loss looks better and the gradient points elsewhere",
    "logits can be shared out, go round, or be made in turn, and towers work in pieces: none of it changes a number",
)
lesson.try_this("let `scale` be 1.0", "local negatives are lower by ln 8 almost to the digit, and the gradients of both mistakes come nearer.")
lesson.try_this("in the ring, write range(n - 1)", "no error, and the loss is off by less than 0.01; the picture shows who never met.")
lesson.end()
