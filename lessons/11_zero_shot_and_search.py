# %% [markdown]
# # Lesson 11 · Zero-shot classification and search
#
# *8 min to read, half a minute to run*
#
# **Question.** How can a model put names to things that it was never shown under that name?
#
# A classifier has a fixed list of classes, learned from labelled pictures. CLIP has none. To classify, write one sentence for each class, embed
# the sentences, and take for each picture the nearest. No label was used, and none of the classes has to have been in training: **zero-shot**.

# %%
import jax
import numpy as np

import tinyclip
from lessons.kit import BLUE, GREEN, GREY, ORANGE, Lesson
from tinyclip import evaluate
from tinyclip.evaluate import draw_bytes, linear_probe, prompt_ensemble, recall_at_k, zero_shot_accuracy
from tinyclip.search import classify, nearest
from tinyclip.world import get_world

lesson = Lesson("11")
world = get_world("single")
model = tinyclip.load("shapes")  # made by `tinyclip train`, which never sees a held-out pair
lesson.show(tinyclip.load, tinyclip.Bundle)

# %% [markdown]
# ## Pictures that no model has seen
#
# Two sets of B pictures. The first shows colour-shape pairs as in training, in new pictures; the second only the held-out pairs of lesson 02, such
# as a red triangle: the model has met red, and it has met triangles, but never the two together, neither drawn nor named.
# (Below, C counts the class sentences and F the factors that one can name: size, colour, shape, row, column.)

# %%
B = 1000
scenes = {"seen": world.sample(jax.random.key(11), B, "test"), "unseen": world.sample(jax.random.key(12), B, "test", held_out=True)}
meaning = {name: np.asarray(scene.meaning) for name, scene in scenes.items()}
pictures = {name: draw_bytes(world, scene, 32) for name, scene in scenes.items()}
images = {name: model.embed_images(pixels) for name, pixels in pictures.items()}  # (B, E), each of length 1

said = np.concatenate([world.canonical()[1], world.canonical(held_out=True)[1]])  # (C, F): what each class sentence says
captions = [world.grammar.describe(row) for row in said]
classes = model.embed_texts(captions)  # (C, E)
true = {name: np.asarray(world.true_of(said, rows)) for name, rows in meaning.items()}  # (B, C)
lesson.shapes(pictures=pictures["seen"], images=images["seen"], classes=classes, true=true["seen"])

# %% [markdown]
# ## Zero-shot: the nearest sentence
#
# In a loop: for each picture, which class sentence has the largest cosine? The library does it with one product of matrices.

# %%
chance = 1 / len(captions)
lesson.predict(f"there are {len(captions)} sentences, so chance is {chance:.1%}. What share of the pictures of unseen pairs gets the right one?")


def zero_shot_by_loop(images, classes, true):
    right = 0
    for image, truth in zip(images, true, strict=True):
        cosines = [float(image @ sentence) for sentence in classes]
        right += bool(truth[cosines.index(max(cosines))])
    return right / len(images)


accuracy = {name: zero_shot_accuracy(images[name], classes, true[name]) for name in images}
for name in images:
    lesson.compare(f"zero-shot accuracy, {name} pairs", zero_shot_by_loop(images[name], classes, true[name]), accuracy[name])
    lesson.claim(f"zero-shot, {name} pairs", accuracy[name])
lesson.claim("chance", chance)
lesson.show(zero_shot_accuracy)
lesson.answer(f"{accuracy['unseen']:.1%}, against {accuracy['seen']:.1%} for seen pairs. Colour and shape were learned apart and put together.")

# %% [markdown]
# ## Prompt ensembles: several sentences a class
#
# One sentence is an accident of wording. So write P sentences for each class, embed all, and take the mean: one vector a class, no slower to use.
# The order is: normalise each, average, **normalise again**, since a mean of different unit vectors is shorter than 1.

# %%
templates = [text for text, _ in world.grammar.templates[:5]]
every = np.stack([model.embed_texts([world.grammar.describe(row, text) for row in said]) for text in templates])  # (P, C, E)


def ensemble_by_loop(every):
    out = []
    for c in range(every.shape[1]):
        mean = sum(vector / np.linalg.norm(vector) for vector in every[:, c]) / len(every)
        out.append(mean / np.linalg.norm(mean))
    return np.array(out)


together = prompt_ensemble(every)
lesson.shapes(every=every, together=together)
lesson.compare("prompt ensembles", ensemble_by_loop(every), together)
lesson.show(prompt_ensemble)
for name in images:
    alone = [zero_shot_accuracy(images[name], one, true[name]) for one in every]
    ensemble = lesson.claim(f"ensemble, {name} pairs", zero_shot_accuracy(images[name], together, true[name]))
    print(f"  {name:<6} pairs: the {len(templates)} templates alone {min(alone):.1%} to {max(alone):.1%}, together {ensemble:.1%}")
length = lesson.claim("shortest mean of a class", float(np.linalg.norm(every.mean(axis=0), axis=1).min()))
print(f"the means are {length:.4f} long or more: here all {len(templates)} wordings lie on nearly the same spot, so an ensemble has little to mend.")

# %% [markdown]
# On photographs, where "crane" alone may be a bird or a machine, it mends a good deal (CLIP paper, section 3.1.4).
#
# ## Break it: leave out the right answer
#
# The softmax of the scaled cosines looks like a probability, but it only divides 100 % among the sentences *offered*. Offer two wrong ones, or a
# single one. The symptom: certainty about what is plainly not there.


# %%
def truth(sentence, rows):
    return np.asarray(world.true_of(np.array(world.grammar.parse(sentence)), rows)).any(axis=1)  # (B,): of which scenes is it true?


wrong = ["a small blue heart", "a large green ring"]
neither = np.flatnonzero(~truth(wrong[0], meaning["seen"]) & ~truth(wrong[1], meaning["seen"]))[:100]
doubt = np.array([classify(model, images["seen"][i], wrong).max() for i in neither])
single = float(classify(model, images["seen"][neither[0]], wrong[:1])[0])
lesson.claim("sure of a wrong answer: more than 90 %", float((doubt > 0.9).mean()))
lesson.claim("a single caption", single)
lesson.show(classify)
print(f"of {len(neither)} pictures of neither, {(doubt > 0.9).sum()} are given to one of the two with more than 90 %")
print(f"{captions[int(true['seen'][neither[0]].argmax())]!r}, offered only {wrong[0]!r}: {single:.0%}\n")

# %% [markdown]
# ## Search and captioning: the same table, read both ways
#
# A sentence's nearest pictures are a **search**; a picture's nearest sentence is its **caption**, from a list of sentences.

# %%
lesson.show(nearest)
for query in ("something pink", "a green star", "something pink at the bottom"):
    found, _ = nearest(model.embed_texts([query])[0], images["seen"], 10)
    fitting = truth(query, meaning["seen"])
    lesson.claim(f"{query}: true of the 10 nearest", int(fitting[found].sum()))
    print(f"  {query!r} is true of {fitting[found].sum()} of the 10 nearest, and of {fitting.mean():.0%} of all")
named = np.array([nearest(image, classes, 1)[0][0] for image in images["unseen"][:100]])
lesson.claim("captions of unseen pairs that are true, of 100", int(true["unseen"][np.arange(100), named].sum()))
for i in range(3):
    print(f"  a picture of {world.grammar.describe(meaning['unseen'][i])!r} is captioned {captions[named[i]]!r}")

# %% [markdown]
# It finds *something pink*. At the bottom? There it seems to miss. Is that bad luck, or something it does not know? For that we need a measure.
#
# ## Recall@k
#
# For every sentence: is its own picture among the k nearest? The share of yes is **recall@k**. We make it hard: one picture for each seen
# scene, nine places (three rows by three columns) for each size, colour and shape, and sentences that name the place.

# %%
rows = world.seen  # (Q, F)
gallery = model.embed_images(draw_bytes(world, world.dress(jax.random.key(13), rows), 32))
questions = model.embed_texts([world.grammar.describe(row, "a {size} {colour} {shape} in the {row} {column}") for row in rows])
similarity = questions @ gallery.T
lesson.shapes(questions=questions, gallery=gallery, similarity=similarity)


def recall_by_loop(similarity, k):
    hits = 0
    for i, scores in enumerate(similarity.tolist()):
        nearer = sum(score > scores[i] for score in scores)
        hits += nearer < k
    return hits / len(similarity)


own = np.eye(len(rows), dtype=bool)
for k in (1, 3, 9):
    recall = lesson.claim(f"recall@{k}", recall_at_k(similarity, own, k))
    lesson.compare(f"recall@{k}", recall_by_loop(similarity, k), recall)
    print(f"  recall@{k}: {recall:.1%}; guessing among the nine places {k / 9:.1%}, among all pictures {k / len(rows):.1%}")
weights = np.array([weight for _, weight in world.grammar.templates])
with_place = np.array([world.grammar.said(text)[3:].any() for text, _ in world.grammar.templates])
places = lesson.claim("share of training sentences with a place", float(weights[with_place].sum() / weights.sum()))
print(f"{places:.0%} of the training sentences name a row or a column")
lesson.show(recall_at_k, evaluate.evaluate_world)

# %% [markdown]
# The numbers give it away. Recall@9 is nearly perfect and recall@1 a ninth: of nine pictures alike in size, colour and shape, it picks blindly.
# This small model knows *what* and does not know *where*; few training sentences name a place, and its training was short. One number, such as
# the zero-shot accuracy above, would never have told. (Lesson 12 looks for more such blind spots.)

# %% [markdown]
# ## A linear probe beside it
#
# Given labelled pictures, the usual way is a **linear probe**: keep the embeddings as they are, and find one vector of weights for each class,
# whose dot product with an embedding comes as near as can be to 1 for that class and to 0 for the others (**least squares**). Here it is once with
# NumPy's general solver, a small penalty on large weights added as extra rows, and once by the library's formula.


# %%
def probe_by_hand(train, labels, test, ridge=1e-3):
    x = np.c_[train, np.ones(len(train))].astype(np.float64)
    penalty = np.sqrt(ridge * len(x)) * np.eye(x.shape[1])
    targets = np.eye(labels.max() + 1)[labels]
    weights = np.linalg.lstsq(np.r_[x, penalty], np.r_[targets, np.zeros((x.shape[1], targets.shape[1]))], rcond=None)[0]
    return (np.c_[test, np.ones(len(test))] @ weights).argmax(axis=1)


labelled = world.sample(jax.random.key(14), 4000, "validation")
known, labels = model.embed_images(draw_bytes(world, labelled, 32)), np.asarray(labelled.meaning)
pair = {name: rows[:, 1] * 8 + rows[:, 2] for name, rows in meaning.items()}  # one of 64
pair_labels = labels[:, 1] * 8 + labels[:, 2]
numbers = (32, 64, 128, 256, 512, 1024, 2048, 4000)
curve = [linear_probe(known[:n], pair_labels[:n], images["seen"], pair["seen"]) for n in numbers]
by_hand = float((probe_by_hand(known, pair_labels, images["seen"]) == pair["seen"]).mean())
lesson.compare("linear probe", by_hand, curve[-1])
lesson.show(linear_probe)

words = [[f"a {world.grammar.slots['colour'].phrases[c][0]} {world.grammar.slots['shape'].phrases[s][0]}" for s in range(8)] for c in range(8)]
pair_classes = model.embed_texts([sentence for row in words for sentence in row])  # (64, E)
bars = {"zero-shot, no labels": [float(((images[name] @ pair_classes.T).argmax(1) == pair[name]).mean()) for name in images]}
bars["probe for the pair"] = [linear_probe(known, pair_labels, images[name], pair[name]) for name in images]
guess = {name: [probe_by_hand(known, labels[:, f], images[name]) == meaning[name][:, f] for f in (1, 2)] for name in images}
bars["probes for colour, for shape"] = [float((guess[name][0] & guess[name][1]).mean()) for name in images]
for what, (with_seen, with_unseen) in bars.items():
    print(f"  {what:<30} seen pairs {lesson.claim(f'{what}: seen', with_seen):.1%}, unseen pairs {lesson.claim(f'{what}: unseen', with_unseen):.1%}")

# %% [markdown]
# A probe for the pair can never name a pair that its labels lack. Probes for colour and for shape can put the two together, but what they learned
# about shape leans on the pairs they saw. A sentence names even what nobody has ever labelled.

# %%
figure = lesson.new_figure(8.6, 3.3)
left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
zero = bars["zero-shot, no labels"]
left.axhline(100 * zero[0], color=BLUE, linestyle="--", label="zero-shot, no labels")
left.plot(numbers, 100 * np.array(curve), "o-", color=ORANGE, ms=4, label="linear probe")
left.set(xscale="log", xticks=[32, 128, 512, 2048], xticklabels=["32", "128", "512", "2048"], ylim=(0, 104), title="64 classes, seen pairs")
left.minorticks_off()
left.set(xlabel="labelled pictures", ylabel="accuracy, %")
left.legend(frameon=False, loc="lower right")
for k, ((what, values), colour) in enumerate(zip(bars.items(), (BLUE, ORANGE, GREEN), strict=True)):
    at = np.arange(2) + 0.27 * (k - 1)
    right.bar(at, 100 * np.array(values), 0.25, color=colour, label=what)
    for x, value in zip(at, values, strict=True):
        right.text(x, 100 * value + 1.5, f"{100 * value:.0f}", ha="center", fontsize=8)
right.axhline(100 / 64, color=GREY, linewidth=0.8, linestyle=":")
right.set(xticks=[0, 1], xticklabels=["pairs seen in training", "pairs never seen"], ylim=(0, 138), yticks=range(0, 101, 20), ylabel="accuracy, %")
right.set(title=f"with {numbers[-1]} labels (dotted: chance)")
right.legend(frameon=False, loc="upper right", fontsize=8)
lesson.figure(figure)

# %%
lesson.recap(
    "a class is a sentence; classifying, searching and captioning are all nearest neighbours in one table",
    "colour-shape pairs that were never trained are recognised, because words name their parts",
    "a softmax compares what it is offered: it does not know that the right answer is missing",
)
lesson.try_this(
    "after `gallery = …`, write gallery = gallery * 0 + gallery.mean(axis=0)",
    "all pictures tie: the library says chance, the loop says 100 %. Ties must count as luck, or a broken model looks perfect.",
)
lesson.try_this(
    'in `doubt = …`, offer the truth as well and read its share: classify(model, images["seen"][i], [*wrong, captions[true["seen"][i].argmax()]])[2]',
    "nearly every picture goes to the truth with more than 90 %: the model was never in doubt, only badly asked.",
)
lesson.end()
