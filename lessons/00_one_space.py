# %% [markdown]
# # Lesson 00 · One space for pictures and sentences
#
# *5 min to read, a quarter of a minute to run*
#
# **Question.** How can a computer tell that a picture and a sentence are about the same thing?
#
# A **modality** is a form in which something reaches us: as a picture, as a sentence, as a sound. A picture of a cat is thousands of numbers, one
# for the red, the green and the blue of every pixel. The sentence "a cat sitting on a mat" is six words. Laid side by side, the two have nothing
# in common, although they are about the same cat. This lesson shows the way out, with a model that is already trained, and with hardly any
# mathematics.
#
# Lines that begin with `lesson.` only ask and report: `predict` lets you guess first, `shapes` says how large an array is, `compare` how far two ways
# to the same numbers differ, `show` where the library's own version stands; `claim` notes a number for a test. The lines that draw the figure may
# always be skipped. Numbers are kept in NumPy's arrays; JAX, which stands beside it, is NumPy that can do more (lessons 01 and 04).

# %%
import tempfile
from pathlib import Path

import jax
import numpy as np
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

import tinyclip
from lessons.kit import BLUE, GREEN, ORANGE, Lesson
from tinyclip import UserError, plots
from tinyclip.evaluate import draw_bytes
from tinyclip.search import nearest
from tinyclip.tokenizer import split_words
from tinyclip.world import get_world

lesson = Lesson("00")

# %% [markdown]
# ## Three sentences, three pictures
#
# No photographs here: a small program draws a picture book of eight animals, and so we always know what a picture shows. Each scene is a few
# whole numbers: which animal, which coat, what it does, where. The rest, such as the backdrop, is drawn at random; `key(1)` names the draw, so
# that it is the same every time. Lesson 02 is about such scenes.

# %%
sentences = ["a cat sitting on a mat", "a dog playing with a ball", "a lion sitting in the jungle"]
world = get_world("animals")
scenes = world.dress(jax.random.key(1), np.array([[0, 4, 0, 0], [1, 3, 5, 4], [2, 4, 0, 1]]))  # animal, coat, action, place
pictures = draw_bytes(world, scenes, 32)  # 32 x 32 pixels of red, green and blue
words = [split_words(sentence) for sentence in sentences]
lesson.shapes(pictures=pictures)
print(f"  one picture is {pictures[0].size} numbers; the first sentence is {len(words[0])} words, {words[0]}\n")

# %% [markdown]
# ## A place for everything
#
# A **model** is a computation with many adjustable numbers in it, its **weights**; to **train** it is to adjust them by examples. Two readers
# trained as below are a **CLIP**, after "contrastive language–image pre-training" (OpenAI, 2021). Ours is a tiny one.
#
# The model is two readers. One reads pictures, the other reads sentences, and each answers with a list of 64 numbers. Such a list is an
# **embedding**: a place, as two numbers are a place on a map and three a place in a room. All the places there could be are the **embedding
# space**. Both readers were trained together, on pairs of a picture and a sentence, to give the two of a pair places near each other and all
# others places far apart. Nobody told them what an animal is. (The command was `tinyclip train --world animals`; lesson 10 does such a training.)

# %%
model = tinyclip.load("animals")
picture_places = model.embed_images(pictures)
sentence_places = model.embed_texts(sentences)
lesson.shapes(picture_places=picture_places, sentence_places=sentence_places)
lesson.show(tinyclip.load, model.embed_images.__func__, model.embed_texts.__func__)

# %% [markdown]
# ## How near?
#
# Two places get a score for how near they are: 1 for the very same place, about 0 for two that have nothing to do with each other, below 0 for
# opposite ones. To score a pair, multiply the two lists number by number and add up; why that is the right thing is lesson 01. Here it is
# once for a pair at a time, and once for all nine pairs together: `a @ b.T` does it for each row of a with each row of b.

# %%
lesson.predict("the highest score is 1. What will a picture score with its own sentence: about 1, about a half, or about 0?")


def score(place, other):
    total = 0.0
    for a, b in zip(place, other, strict=True):
        total += float(a) * float(b)
    return total


one_at_a_time = [[score(picture, sentence) for sentence in sentence_places] for picture in picture_places]
scores = picture_places @ sentence_places.T  # a row for each picture, a column for each sentence
lesson.compare("scores", one_at_a_time, scores)

own, others = scores.diagonal(), scores[~np.eye(3, dtype=bool)]
lesson.claim("lowest score with its own sentence", float(own.min()))
lesson.claim("highest score with another sentence", float(others.max()))
lesson.claim("pictures nearest to their own sentence", int((scores.argmax(axis=1) == np.arange(3)).sum()))
lesson.answer(f"{own.min():.2f} or more, and at most {others.max():.2f} with another's. What counts is who is nearest, not how near to 1 it is.")
for sentence, row in zip(sentences, scores, strict=True):
    print(f"  its picture, with each of the three: {'  '.join(f'{value:5.2f}' for value in row)}   {sentence}")

# %% [markdown]
# ## Break it: two spaces instead of one
#
# Why must it be *one* space? Write every sentence's 64 numbers in the opposite order. The sentences do not notice: each number still meets its
# own kind, and their scores among themselves are the same as before. But now the first number of a picture meets the last of a sentence, and
# these two were never made for each other. The symptom: all scores near 0, one's own sentence no better than any other.

# %%
backwards = sentence_places[:, ::-1]
change = np.abs(backwards @ backwards.T - sentence_places @ sentence_places.T).max()
apart = (picture_places @ backwards.T).diagonal()
lesson.claim("change among the sentences", float(change))
lesson.claim("own sentence, two spaces", float(np.abs(apart).mean()))
print(f"sentences among themselves: changed by {change:.1e}; pictures with their own sentences: {apart.round(2)} instead of {own.round(2)}")

# %% [markdown]
# ## A map
#
# Six places in a space of 64 numbers cannot be drawn, but their shadow on a sheet of paper can. We take the sheet on which the shadow is largest
# (`svd` finds it; no later step needs to know how).
# **A map loses distances**: points far apart in the space may fall close together on paper. And pictures as a group stand apart from sentences
# as a group (lesson 14 asks why), so each group is first moved to the middle. Therefore the true scores stand beside the map.

# %%
centred = np.concatenate([places - places.mean(axis=0) for places in (picture_places, sentence_places)])
_, strength, directions = np.linalg.svd(centred, full_matrices=False)  # the directions in which the six points spread most, strongest first
points = centred @ directions[:2].T  # (6, 2)
kept = float((strength[:2] ** 2).sum() / (strength**2).sum())
lesson.claim("share of the spread on the map", kept)

figure = lesson.new_figure(8.6, 3.9)
left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
for k, colour in enumerate((BLUE, ORANGE, GREEN)):
    left.plot(*zip(points[k], points[k + 3], strict=True), color=colour, lw=1.2)
    left.plot(*points[k], "o", color=colour, ms=7)
    left.plot(*points[k + 3], "D", color=colour, ms=6, markeredgecolor="white")
    x, top, bottom = points[k::3, 0].mean(), points[k::3, 1].max(), points[k::3, 1].min()
    above = {"xybox": (0, 36), "boxcoords": "offset points", "frameon": False, "annotation_clip": False}
    left.add_artist(AnnotationBbox(OffsetImage(pictures[k], zoom=1.5), (x, top), **above))
    left.annotate(sentences[k], (x, bottom), xytext=(0, -9), textcoords="offset points", ha="center", va="top")
    right.add_artist(AnnotationBbox(OffsetImage(pictures[k], zoom=1.25), (-0.9, k), frameon=False, annotation_clip=False))
    for j in range(3):
        right.text(j, k, f"{scores[k, j]:.2f}", ha="center", va="center", color="black" if scores[k, j] > 0.25 else "white")
left.plot([], [], "o", color="grey", label="a picture's place")
left.plot([], [], "D", color="grey", label="a sentence's place")
left.legend(loc="lower right", frameon=False)
low, high = points.min(axis=0), points.max(axis=0)
left.set(xlim=(low[0] - 0.5, high[0] + 0.55), ylim=(low[1] - 0.4, high[1] + 0.55), xticks=[], yticks=[])
left.set(xlabel="first direction of the map (no unit)", ylabel="second direction (no unit)", title=f"six places on a map: {kept:.0%} of their spread")
right.imshow(scores, cmap="cividis", vmin=-0.3, vmax=0.6)
right.set(xticks=range(3), xticklabels=["cat, mat", "dog, ball", "lion, jungle"], yticks=[], title="the true scores, 1 is the most")
right.spines[:].set_visible(False)
lesson.figure(figure)

# %% [markdown]
# ## Now you: type a sentence, get pictures
#
# That is all a search needs. Draw some hundred new pictures (`"test"`: such as no training has drawn), give each its place, once. A sentence gets
# a place too; the pictures nearest to it are the answer. Whether they are the right ones, the world itself can say: `parse` reads the sentence,
# `true_of` looks whether it is true of a scene. There are three examples, and one with a word that the model never learned; on a terminal you are
# then asked for sentences of your own.

# %%
gallery_scenes = world.sample(jax.random.key(7), 500, "test")
gallery_meaning = np.asarray(gallery_scenes.meaning)
gallery = draw_bytes(world, gallery_scenes, 32)
gallery_places = model.embed_images(gallery)
lesson.shapes(gallery=gallery, gallery_places=gallery_places)
lesson.show(nearest)


def search(sentence):
    rows, how_near = nearest(model.embed_texts([sentence])[0], gallery_places, 3)
    for row, value in zip(rows, how_near, strict=True):
        print(f"    {value:5.2f}  {world.grammar.describe(gallery_meaning[row])}")
    return rows


hits = 0
for sentence in ("a rabbit running", "something white in the snow", "a lion"):
    print(f"  {sentence}")
    found, (said,) = search(sentence), world.grammar.parse(sentence)
    hits += int(np.asarray(world.true_of(said[None], gallery_meaning[found])).sum())
lesson.claim("found pictures of which the sentence is true, of 9", hits)
print(f"  {hits} of 9 are what was asked for\n  a giraffe in the snow")
try:
    search("a giraffe in the snow")
except UserError as error:
    print(f"    {error}")

while lesson.asks and (sentence := input("  a sentence (Enter to end): ").strip()):
    try:
        found = search(sentence)
        path = Path(tempfile.gettempdir()) / "tinyclip-found.png"
        print(f"    pictures: {plots.picture_grid(gallery[found], ['first', 'second', 'third'], path, sentence)}")
    except UserError as error:
        print(f"    {error}")

# %%
lesson.recap(
    "a modality is a form in which something arrives; an embedding is its place, a list of numbers",
    "pictures and sentences get places in one space, so that the two can be compared at all",
    "what is about the same thing is nearest; everything else, search to begin with, follows from that",
)
lesson.try_this(
    "give the cat another coat (the second number of its row: 0 for black)",
    "its own sentence, which names no coat, stays far above the others.",
)
lesson.try_this(
    "let the cat sit in the jungle (the last number of its row: 1)",
    "its scores with its own sentence and with the lion's come close to each other, half way down: now half of each sentence is true.",
)
lesson.end()
