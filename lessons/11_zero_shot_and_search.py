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
from lessons.kit import BLUE, GREEN, ORANGE, Lesson
from tinyclip.evaluate import draw_bytes, evaluate_world, linear_probe, prompt_ensemble, recall_at_k, zero_shot_accuracy
from tinyclip.search import classify, nearest
from tinyclip.world import get_world

lesson = Lesson("11")
world = get_world("single")
model = tinyclip.load("shapes")  # made by `tinyclip train`, which never sees a held-out pair

# %% [markdown]
# ## The nearest sentence
#
# Two sets of B pictures: new pictures of colour-shape pairs as in training, and pictures of the held-out pairs of lesson 02, such as a red triangle:
# the model has met red, and it has met triangles, but never the two together, neither drawn nor named. For each picture, which class sentence has
# the largest cosine? (C counts the class sentences and F the factors that one can name: size, colour, shape, row, column.)

# %%
B = 1000
scenes = {"seen": world.sample(jax.random.key(11), B, "test"), "unseen": world.sample(jax.random.key(12), B, "test", held_out=True)}
meaning = {name: np.asarray(scene.meaning) for name, scene in scenes.items()}
images = {name: model.embed_images(draw_bytes(world, scene, 32)) for name, scene in scenes.items()}  # (B, E), each of length 1

said = np.concatenate([world.canonical()[1], world.canonical(held_out=True)[1]])  # (C, F): what each class sentence says
captions = [world.grammar.describe(row) for row in said]
classes = model.embed_texts(captions)  # (C, E)
true = {name: np.asarray(world.true_of(said, rows)) for name, rows in meaning.items()}  # (B, C)
lesson.shapes(images=images["seen"], classes=classes, true=true["seen"])

chance = lesson.claim("chance", 1 / len(captions))
lesson.predict(f"there are {len(captions)} sentences: chance is {chance:.1%}. What share of the pictures of unseen pairs gets the right one?")
accuracy = {}
for name in images:
    right = 0
    for image, fits in zip(images[name], true[name], strict=True):
        cosines = [float(image @ sentence) for sentence in classes]
        right += bool(fits[cosines.index(max(cosines))])
    accuracy[name] = lesson.claim(f"zero-shot, {name} pairs", zero_shot_accuracy(images[name], classes, true[name]))
    lesson.compare(f"zero-shot accuracy, {name} pairs", right / B, accuracy[name])
lesson.answer(f"{accuracy['unseen']:.1%}, against {accuracy['seen']:.1%} for seen pairs. Colour and shape were learned apart and put together.")

# %% [markdown]
# ## Prompt ensembles: several sentences a class
#
# One sentence is an accident of wording. So write P sentences for each class, embed all, and take the mean: one vector a class, no slower to use.
# Normalise each, average, and **normalise again**, since a mean of different unit vectors is shorter than 1. Here all wordings lie on nearly the same
# spot, so there is little to mend; on the photographs of ImageNet, 80 wordings gave 3.5 points more than one (CLIP paper, section 3.1.4).

# %%
templates = [text for text, _ in world.grammar.templates[:5]]
every = np.stack([model.embed_texts([world.grammar.describe(row, text) for row in said]) for text in templates])  # (P, C, E)
together = prompt_ensemble(every)
by_loop = [sum(vector / np.linalg.norm(vector) for vector in every[:, c]) / len(every) for c in range(len(captions))]
lesson.compare("prompt ensembles", [mean / np.linalg.norm(mean) for mean in by_loop], together)
lesson.claim("shortest mean of a class", float(np.linalg.norm(by_loop, axis=1).min()))
lesson.show(tinyclip.load, tinyclip.Bundle, zero_shot_accuracy, prompt_ensemble)
for name in images:
    alone = [zero_shot_accuracy(images[name], one, true[name]) for one in every]
    ensemble = lesson.claim(f"ensemble, {name} pairs", zero_shot_accuracy(images[name], together, true[name]))
    print(f"  {name:<6} pairs: the {len(templates)} templates alone {min(alone):.1%} to {max(alone):.1%}, together {ensemble:.1%}")

# %% [markdown]
# ## Break it: leave out the right answer
#
# The softmax of the scaled cosines looks like a probability, but it only divides 100 % among the sentences *offered*. Offer two wrong ones, or a
# single one. The symptom: certainty about what is plainly not there.


# %%
def truth(sentence, rows):
    return np.asarray(world.true_of(np.array(world.grammar.parse(sentence)), rows)).any(axis=1)  # (B,): of which scenes is it true?


wrong = ["a small blue heart", "a large green ring"]
neither = np.flatnonzero(~truth(wrong[0], meaning["seen"]) & ~truth(wrong[1], meaning["seen"]))[:100]
shares = np.array([classify(model, images["seen"][i], wrong) for i in neither])  # (100, 2)
sure = lesson.claim("sure of a wrong answer: more than 90 %", float((shares.max(axis=1) > 0.9).mean()))
single = lesson.claim("a single caption", float(classify(model, images["seen"][neither[0]], wrong[:1])[0]))
print(f"{sure:.0%} of them are given to one of {shares.shape[1]} captions with more than 90 %; offered a single one, it gets {single:.0%}\n")

# %% [markdown]
# ## Search and captioning: the same table, read both ways
#
# A sentence's nearest pictures are a **search**; a picture's nearest sentence is its **caption**, from a list of sentences. How good is a search? For
# every sentence: is its own picture among the k nearest? The share of yes is **recall@k**. We make it hard: one picture for each seen scene, nine
# places (three rows by three columns) for each size, colour and shape, and sentences that name the place.

# %%
lesson.show(classify, nearest, recall_at_k, evaluate_world, linear_probe)
for query in ("something pink", "a green star"):
    found, fitting = nearest(model.embed_texts([query])[0], images["seen"], 10)[0], truth(query, meaning["seen"])
    lesson.claim(f"{query}: true of the 10 nearest", int(fitting[found].sum()))
    print(f"  {query!r} is true of {fitting[found].sum()} of the 10 nearest, and of {fitting.mean():.0%} of all")
placed = sorted({world.grammar.describe(row, "something {colour} {at_row}") for row in world.seen})  # 8 colours x 3 rows
right = [truth(q, meaning["seen"])[nearest(model.embed_texts([q])[0], images["seen"], 10)[0]].sum() for q in placed]
mean = lesson.claim("with a row: true of the 10 nearest", float(np.mean(right)))
print(f"  {placed[0]!r} and {len(placed) - 1} like it are true of {mean:.1f} of the 10 nearest; blind to the row, of {10 / 3:.1f}")
named = np.array([nearest(image, classes, 1)[0][0] for image in images["unseen"][:100]])
lesson.claim("captions of unseen pairs that are true, of 100", int(true["unseen"][np.arange(100), named].sum()))
print(f"  a picture of {world.grammar.describe(meaning['unseen'][0])!r} is captioned {captions[named[0]]!r}")

rows = world.seen  # (Q, F)
gallery = model.embed_images(draw_bytes(world, world.dress(jax.random.key(13), rows), 32))
questions = model.embed_texts([world.grammar.describe(row, "a {size} {colour} {shape} in the {row} {column}") for row in rows])
similarity = questions @ gallery.T
nearer = [sum(score > scores[i] for score in scores) for i, scores in enumerate(similarity.tolist())]  # than the sentence's own picture
for k in (1, 3, 9):
    recall = lesson.claim(f"recall@{k}", recall_at_k(similarity, np.eye(len(rows), dtype=bool), k))
    lesson.compare(f"recall@{k}", sum(n < k for n in nearer) / len(rows), recall)
    print(f"  recall@{k}: {recall:.1%}; guessing among the nine places {k / 9:.1%}, among all pictures {k / len(rows):.1%}")
with_place, weights = zip(*((world.grammar.said(text)[3:].any(), weight) for text, weight in world.grammar.templates), strict=True)
lesson.claim("share of training sentences with a place", float(np.average(with_place, weights=weights)))

# %% [markdown]
# Pink it finds, rows only by chance. The recalls say the same: of nine pictures alike in size, colour and shape, it picks blindly. This small model
# knows *what* and does not know *where*; one training sentence in seven names a place, and its training was short. (Lesson 12 has more such.)
#
# ## A linear probe beside it
#
# Given labelled pictures, the usual way is a **linear probe**: keep the embeddings, and find one vector of weights for each class, whose dot product
# with an embedding comes as near as can be to 1 for that class and to 0 for the others (**least squares**; CLIP's paper fits by logistic regression):
# once with NumPy's solver, the penalty on large weights added as rows, once by the library's formula. A probe for the pair can never name a pair that
# its labels lack. Probes for colour and for shape, put together, can, since the space keeps the two apart.


# %%
def probe_by_hand(train, labels, test, ridge=1e-3):
    x = np.c_[train, np.ones(len(train))].astype(np.float64)
    penalty = np.sqrt(ridge * len(x)) * np.eye(x.shape[1])
    targets = np.eye(labels.max() + 1)[labels]
    weights = np.linalg.lstsq(np.r_[x, penalty], np.r_[targets, np.zeros((x.shape[1], targets.shape[1]))], rcond=None)[0]
    return (np.c_[test, np.ones(len(test))] @ weights).argmax(axis=1)


labelled = world.sample(jax.random.key(14), 4000, "validation")
known, labels = model.embed_images(draw_bytes(world, labelled, 32)), np.asarray(labelled.meaning)
pair = {name: rows[:, 1] * 8 + rows[:, 2] for name, rows in (meaning | {"known": labels}).items()}  # one of 64
pair_classes = model.embed_texts([world.grammar.describe(np.array([0, c, s, 0, 0]), "a {colour} {shape}") for c, s in np.ndindex(8, 8)])  # (64, E)
bars = {"zero-shot, no labels": [float(((images[name] @ pair_classes.T).argmax(1) == pair[name]).mean()) for name in images]}
bars["probe for the pair"] = [linear_probe(known, pair["known"], images[name], pair[name]) for name in images]
lesson.compare("linear probe", (probe_by_hand(known, pair["known"], images["seen"]) == pair["seen"]).mean(), bars["probe for the pair"][0])
guess = {name: [probe_by_hand(known, labels[:, f], images[name]) == meaning[name][:, f] for f in (1, 2)] for name in images}
bars["probes for colour, for shape"] = [float((guess[name][0] & guess[name][1]).mean()) for name in images]
for what, (with_seen, with_unseen) in bars.items():
    print(f"  {what:<30} seen pairs {lesson.claim(f'{what}: seen', with_seen):.1%}, unseen pairs {lesson.claim(f'{what}: unseen', with_unseen):.1%}")

# %%
axes = lesson.new_figure(6.4, 3.3).subplots()
for k, ((what, values), colour) in enumerate(zip(bars.items(), (BLUE, ORANGE, GREEN), strict=True)):
    axes.bar_label(axes.bar(np.arange(2) + 0.27 * (k - 1), 100 * np.array(values), 0.25, color=colour, label=what), fmt="%.0f")
axes.set(xticks=[0, 1], xticklabels=["seen pairs", "pairs never seen"], ylim=(0, 150), yticks=range(0, 101, 20), ylabel="right, of 64 pairs, %")
axes.legend(frameon=False)
lesson.figure(axes.figure)

# %%
lesson.recap(
    "a class is a sentence; classifying, searching and captioning are all nearest neighbours in one table",
    "colour-shape pairs that were never trained are recognised, because words name their parts",
    "a softmax compares what it is offered: it does not know that the right answer is missing",
)
lesson.try_this("after `gallery = …`, write gallery = gallery * 0 + gallery.mean(axis=0)", "all tie: for the library chance, for the loop 100 %.")
lesson.try_this(
    'in `shares = …`, offer the truth as well: [*wrong, captions[true["seen"][i].argmax()]] for `wrong`',
    "nearly all are given to one of 3 captions with more than 90 %, and now it is the truth: the model was never in doubt, only badly asked.",
)
lesson.end()
