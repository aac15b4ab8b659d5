# %% [markdown]
# # Lesson 14 · The gap, and the geometry of the space
#
# *9 min to read, 15 seconds to run*
#
# **Question.** Pictures and sentences share one space: do they share a place in it, and do its distances and directions mean anything?
#
# `python -m lessons.experiments gap` trained small models on pictures of one thing, each kind from three starts (**seeds**): with a learned scale, as
# in lesson 08; with the scale held at 5, 15 or 50; and with **vague captions**, some of which leave something out ("a circle", "something red"). A
# number with a range behind it is the mean of three seeds. Beside them: lesson 11's model, trained longer, and on vague captions too. B counts
# pictures, E an embedding's numbers.

# %%
import numpy as np

import tinyclip
from lessons.experiments import gap
from lessons.kit import BLUE, ORANGE, Lesson
from tinyclip import plots
from tinyclip.evaluate import alignment, modality_gap, uniformity, zero_shot_accuracy
from tinyclip.geometry import analogies, analogy_accuracy, close_gap, cosine_distances, one_hot_factors, ranks, representational_similarity, spearman

lesson = Lesson("14")
meaning, pictures = gap.things()  # every size, colour and shape, 128 things, in 8 places each
names = ("untrained", "learned scale", "vague captions")
models = {name: gap.bundle(gap.EXPERIMENT.load(name)) for name in names} | {"lesson 11's": tinyclip.load("shapes")}
space = {name: gap.embed(model)[:2] for name, model in models.items()}
space = {name: (images.reshape(-1, images.shape[-1]), texts) for name, (images, texts) in space.items()}  # (B, E) and (128, E)


def told(condition, score, form=".2f"):
    mean, least, most = gap.EXPERIMENT.spread(condition, score)
    return f"{lesson.claim(f'{condition}: {score}', mean):{form}} ({least:{form}} to {most:{form}})"


# %% [markdown]
# ## Two clouds
#
# The mean of all pictures is a point, and so is the mean of all sentences. The distance between these two points is the **modality gap**. Two more
# measures go with it: **alignment**, the mean squared distance between a picture and its own sentence; and **uniformity**, the lower the more evenly
# points spread over the sphere: the logarithm of the mean of exp(−2 · squared distance) over all pairs of different points.

# %%
lesson.predict("unit vectors are at most 2 apart. Before any training, how far apart are the mean picture and the mean sentence?")
images, texts = space["untrained"]
lesson.shapes(meaning=meaning, pictures=pictures, images=images, texts=texts)
means = [sum(points) / len(points) for points in (images, texts)]
lesson.compare("the gap", sum((a - b) ** 2 for a, b in zip(*means, strict=True)) ** 0.5, modality_gap(images, texts))
own = np.tile(texts, (len(meaning), 1))  # (B, E): each picture's own sentence
lesson.compare("alignment", np.mean([sum((image - text) ** 2) for image, text in zip(images, own, strict=True)]), alignment(images, own))
kernel = [np.exp(-2 * sum((a - b) ** 2)) for i, a in enumerate(texts) for j, b in enumerate(texts) if i != j]
lesson.compare("uniformity", np.log(np.mean(kernel)), uniformity(texts))
cone = lesson.claim("mean cosine of two pictures, untrained", float(1 - cosine_distances(images[:128]).mean()))
lesson.answer(f"{told('untrained', 'gap')}. An untrained tower fills a narrow cone (two pictures have a cosine of {cone:.2f}), each tower its own.")
lesson.show(modality_gap, alignment, uniformity, plots.space_map)

# %% [markdown]
# ## What keeps it open
#
# Training pulls a picture to its own sentence and pushes it from the others. Two things are said to leave a gap: a large scale, where some pairs do
# not match (Liang et al. 2022, section 4), and sentences that do not tell all that pictures show (Schrodi et al. 2024). The control is the distance
# between the means of two sets of pictures of the *same* things. "Found": pictures whose nearest of the 128 sentences is their own.

# %%
for name in ("untrained", "scale 5", "scale 15", "scale 50", "learned scale", "vague captions"):
    control, even = told(name, "gap between two sets of pictures", ".3f"), told(name, "uniformity, pictures")
    print(f"  {name:<15} gap {told(name, 'gap', '.3f')}, two sets of pictures {control}, found {told(name, 'picture to caption, share 0', '.0%')}")
    print(f"  {'':<15} alignment {told(name, 'alignment')}, uniformity of pictures {even}")
print(f"  the scale that was learned: {told('learned scale', 'scale', '.0f')}\n")

# %% [markdown]
# Trained, a pair lies together, and points spread out; vague captions leave pairs apart.
#
# ## Closing it by hand
#
# Move all pictures along the line between the two means, all sentences the other way, each by half, and bring every vector back to length 1.

# %%
lesson.predict("close the gap of lesson 11's model by hand. Will it find the own sentence of more pictures, of fewer, or of as many?")
images, texts = space["lesson 11's"]
step = (sum(texts) / len(texts) - sum(images) / len(images)) / 2
by_hand = [(point + move) / sum((point + move) ** 2) ** 0.5 for points, move in ((images, step), (texts, -step)) for point in points]
lesson.compare("moved vectors", by_hand, np.concatenate(close_gap(images, texts, 1.0)))
true = np.tile(np.eye(128, dtype=bool), (len(meaning), 1))
for share in (0.0, 0.5, 1.0, 2.0):
    moved, key = close_gap(images, texts, share), f"lesson 11's, share {share:g}"
    left, found = lesson.claim(f"{key}: gap", modality_gap(*moved)), lesson.claim(f"{key}: found", zero_shot_accuracy(*moved, true))
    small = [told("vague captions", f"{what}, share {share:g}", form) for what, form in (("picture to caption", ".0%"), ("loss", ".2f"))]
    print(f"  share {share:>4g}: gap {left:.2f}, found {found:.1%}; trained on vague captions, asked whole ones: found {small[0]}, loss {small[1]}")
change = lesson.results["lesson 11's, share 1: found"] - lesson.results["lesson 11's, share 0: found"]
lesson.answer(f"as many, but for {change:+.1%}: one step for all hardly changes which is nearest. (For Liang et al. the loss rose; here it falls.)")
lesson.show(close_gap)

# %% [markdown]
# ## Break it: compare the means of different things
#
# It is a gap between *modalities* only if both sets are about the same things. Take the model with a learned scale, and only its red pictures.

# %%
images, texts = space["learned scale"]
red, blue = (images[meaning[..., 1].reshape(-1) == colour] for colour in (0, 3))
for what, one, other in (("all, and all sentences", images, texts), ("red ones, and all sentences", red, texts), ("red ones, blue ones", red, blue)):
    print(f"  pictures: {what:<28} {lesson.claim(f'gap, {what}', modality_gap(one, other)):.2f}")

# %% [markdown]
# ## Do distances mean anything?
#
# **Representational similarity** asks it without looking at axes: list the distances of all pairs of things in one space, list them in the other, and
# see whether both lists have the same *order*. That is Spearman's correlation: replace every number by its **rank**, its place from the smallest
# (equal numbers share the mean of theirs), and correlate the ranks: 1 is the same order, 0 none. The world itself is such a space: two things are the
# farther apart, the more of their size, colour and shape differ. The control shuffles, 100 times, which thing is which.

# %%
few = images[:30], texts[:30]
by_loops = [np.array([1 - points[i] @ points[j] for i in range(30) for j in range(i + 1, 30)]) for points in few]
by_hand = [[sum(distances < one) + (sum(distances == one) - 1) / 2 for one in distances] for distances in by_loops]  # ranks, by counting
lesson.compare("representational similarity", np.corrcoef(by_hand)[0, 1], representational_similarity(*few))
for name in ("untrained", "learned scale"):
    control = told(name, "pictures ~ captions, shuffled: most")
    print(f"  {name}: pictures ~ captions {told(name, 'pictures ~ captions')}; shuffled at most {control}")
    for what in ("size, colour and shape", "place"):
        print(f"    the world's {what:<22} ~ pictures {told(name, f'pictures ~ {what}')}, ~ captions {told(name, f'captions ~ {what}')}")
lesson.show(cosine_distances, one_hot_factors, ranks, spearman, representational_similarity)

# %% [markdown]
# No picture was ever compared with a picture, yet they come to lie around each other as sentences do. The place, of which no sentence tells, is lost.
#
# ## Do directions mean anything?
#
# "A red circle" − "a blue circle" + "a blue star": is the nearest sentence "a red star"? We try *every* such sum, in size, colour and shape. It is
# usual to leave the three inputs out of the search; that flatters, since the sum has often hardly left the third. Here all may be the answer. In
# brackets: the range of three seeds; for lesson 11's model, the share with the inputs left out. Controls: the direction of two other sentences, none.

# %%
rows = np.concatenate([analogies(meaning[0][:, :3], factor) for factor in range(3)])  # (A, 4): a - b + c = d
lesson.predict(f"there are {lesson.claim('analogies', len(rows)):,} such sums. What share of them lies nearest to the right sentence, untrained?")
images, texts = space["lesson 11's"]
a, b, c, d = rows[::100].T
nearest = [max(range(128), key=lambda k, point=point: point @ texts[k]) for point in texts[a] - texts[b] + texts[c]]
lesson.compare("analogies", np.mean(nearest == d), analogy_accuracy(texts, texts, texts, rows[::100], exclude=False))
ways = {  # the space of the direction a - b, that of c, and that of d
    "captions": (texts, texts, texts),
    "captions, shuffled directions": (np.random.default_rng(0).permutation(texts), texts, texts),
    "captions, no direction": (0 * texts, texts, texts),
    "pictures": (images[:128], images[:128], images[128:256]),  # the answer is another picture of the thing
    "caption's direction, picture to caption": (texts, images[:128], texts),
}
for way, spaces in ways.items():
    shares = [told(name, f"analogy: {way}, nothing excluded", ".0%") for name in ("untrained", "learned scale")]
    for excluded, what in ((False, "all allowed"), (True, "inputs left out")):
        shares.append(f"{lesson.claim(f'{way}, {what}', analogy_accuracy(*spaces, rows, excluded)):.0%}")
    print(f"  {way:<40} untrained {shares[0]}, learned scale {shares[1]}, lesson 11's {shares[2]} ({shares[3]})")
free = told("untrained", "analogy: captions, nothing excluded", ".0%")
lesson.answer(f"{free}. A fresh text tower nearly adds its words up; a short training loses part of that. Pictures have to learn it.")
lesson.show(analogies, analogy_accuracy)

# %%
figure = lesson.new_figure(7.6, 2.7)
for axes, name in zip(figure.subplots(1, 3), names, strict=True):
    images, texts = space[name]
    line = texts.mean(0) - images.mean(0)
    along = line / np.linalg.norm(line)
    spread = np.concatenate([points - points.mean(0) for points in (images, texts)])
    across = np.linalg.svd(spread - np.outer(spread @ along, along), full_matrices=False)[2][0]  # the main direction at right angles to it
    for points, colour, size, label in ((images, BLUE, 3, "pictures"), (texts, ORANGE, 8, "sentences")):
        axes.scatter(points @ along, points @ across, s=size, c=colour, label=label, linewidths=0)
    axes.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal", xlabel="along the line of the means")
    axes.set(ylabel="main direction across it", title=f"{name}: gap {np.linalg.norm(line):.2f}")
figure.axes[0].legend(frameon=False, loc="lower center", handletextpad=0.1, markerscale=2)
lesson.figure(figure)

# %%
lesson.recap(
    "towers start in two cones; training closes the gap, a little less at a large scale, and much less if sentences leave things out",
    "closing the rest by hand changes search little: all sentences move by one arrow, and the nearest mostly stays the nearest",
    "ask of distances whether their order is the world's, and of directions whether all analogies hold, each beside a control and an untrained model",
)
lesson.try_this("for `red, blue`, take meaning[..., 4] and (0, 2): left, right", "a gap of 0.10, not 1.31: no sentence tells the side.")
lesson.try_this("give `captions` half the direction: (0.5 * texts, texts, texts)", "lesson 11's: 33 % (74 %). Half-way, the third is still nearest.")
lesson.end()
