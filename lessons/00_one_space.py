# %% [markdown]
# # Lesson 00 · One space for pictures and sentences
#
# *5 min to read, a quarter of a minute to run*
#
# **Question.** How can a computer tell that a picture and a sentence are about the same thing?
#
# A **modality** is a form in which something reaches us: a picture, a sentence, a sound. A picture of a cat is thousands of numbers, one for the
# red, the green and the blue of every pixel. The sentence "a cat sitting on a mat" is six words. Laid side by side, the two have nothing in
# common, although they are about the same cat. This lesson shows the way out, with a model that is already trained and hardly any mathematics.
#
# Lines that begin with `lesson.` only ask and report: `predict` lets you guess first, `shapes` says how large an array is, `compare` how far two
# ways to the same numbers differ, `show` where the library's own version stands; `claim` notes a number for a test. You may always skip the
# lines that draw the figure. Numbers are kept in NumPy's arrays; JAX, beside it, is NumPy that can do more (lessons 01 and 04).

# %%
import tempfile
from pathlib import Path

import jax
import numpy as np
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

import tinyclip
from lessons.kit import BLUE, GREEN, ORANGE, Lesson
from tinyclip import UserError, evaluate, plots
from tinyclip.search import nearest
from tinyclip.tokenizer import split_words
from tinyclip.world import get_world

lesson = Lesson("00")

# %% [markdown]
# ## Three sentences, three pictures
#
# A small program draws a picture book of eight animals, so we always know what a picture shows. Each scene is a few whole numbers: which animal,
# which coat, what it does, where. The rest, such as the backdrop, is drawn at random; `key(1)` names the draw, so that it is always the same.

# %%
sentences = ["a cat sitting on a mat", "a dog playing with a ball", "a lion sitting in the jungle"]
world = get_world("animals")
scenes = world.dress(jax.random.key(1), np.array([[0, 4, 0, 0], [1, 3, 5, 4], [2, 4, 0, 1]]))  # animal, coat, action, place
pictures = evaluate.draw_bytes(world, scenes, 32)  # 32 x 32 pixels of red, green and blue
lesson.shapes(pictures=pictures)
print(f"  one picture is {pictures[0].size} numbers; the first sentence is the words {split_words(sentences[0])}\n")

# %% [markdown]
# ## A place for everything
#
# A **model** is a computation with many adjustable numbers in it, its **weights**; to **train** it is to adjust them by examples. Ours is two
# readers, one of pictures and one of sentences, and each answers with a list of 64 numbers. Such a list is an **embedding**: a place, as two
# numbers are a place on a map and three a place in a room. All the places there could be are the **embedding space**.
#
# Both readers were trained together, on pairs of a picture and a sentence, to give the two of a pair places near each other and all others places
# far apart. Nobody told them what an animal is. Two such readers are a **CLIP**, after "contrastive language–image pre-training" (OpenAI, 2021).
# Ours is a tiny one; the command was `tinyclip train --world animals`, and lesson 10 does such a training.

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
# opposite ones. To score a pair, multiply the two lists number by number and add up; lesson 01 says why. Here it is once for a pair at a time,
# and once for all nine pairs together: `a @ b.T` does it for each row of a with each row of b.

# %%
lesson.predict("the highest score is 1. What will a picture score with its own sentence: about 1, about a half, or about 0?")
one_at_a_time = np.zeros((3, 3))
for i in range(3):
    for j in range(3):
        for k in range(64):
            one_at_a_time[i, j] += picture_places[i, k] * sentence_places[j, k]
scores = picture_places @ sentence_places.T  # a row for each picture, a column for each sentence
lesson.compare("scores", one_at_a_time, scores)

own, others = scores.diagonal(), scores[~np.eye(3, dtype=bool)]
lesson.claim("lowest score with its own sentence", float(own.min()))
lesson.claim("highest score with another sentence", float(others.max()))
lesson.claim("pictures nearest to their own sentence", int((scores.argmax(axis=1) == np.arange(3)).sum()))
lesson.answer(f"{own.min():.2f} or more, and at most {others.max():.2f} with another's. What counts is who is nearest, not how near to 1 it is.")

# %% [markdown]
# ## Break it: two spaces instead of one
#
# Why must it be *one* space? Write each sentence's 64 numbers backwards. Among themselves sentences do not notice: each number meets its own kind.
# But a picture's first number now meets a sentence's last, never made for each other. The symptom: all scores near 0, even of the true pairs.

# %%
backwards = sentence_places[:, ::-1]
change = lesson.claim("change among the sentences", float(np.abs(backwards @ backwards.T - sentence_places @ sentence_places.T).max()))
apart = (picture_places @ backwards.T).diagonal()
lesson.claim("own sentence, two spaces", float(np.abs(apart).mean()))
print(f"sentences among themselves: changed by {change:.1e}; pictures with their own sentences: {apart.round(2)} instead of {own.round(2)}")

# %% [markdown]
# ## A map
#
# Six places in a space of 64 numbers cannot be drawn, but their shadow on a sheet of paper can. `svd` finds the sheet on which it is largest (no
# later step needs to know how). Pictures as a group stand apart from sentences as a group (lesson 14 asks why), so each group is first moved to the
# middle. **A map loses distances**: what is far apart may fall together on paper. Therefore the true scores stand beside the map.

# %%
centred = np.concatenate([places - places.mean(axis=0) for places in (picture_places, sentence_places)])
_, strength, directions = np.linalg.svd(centred, full_matrices=False)  # the directions in which the six points spread most, strongest first
points = centred @ directions[:2].T  # (6, 2)
kept = lesson.claim("share of the spread on the map", float((strength[:2] ** 2).sum() / (strength**2).sum()))

figure = lesson.new_figure(8.6, 4.4)
left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
for k, colour in enumerate((BLUE, ORANGE, GREEN)):
    pair = points[[k, k + 3]]  # the picture's place, then the sentence's
    left.plot(*pair.T, "o-", color=colour, lw=1.2, ms=7, markevery=[0])
    left.plot(*pair[1], "D", color=colour, ms=6)
    left.add_artist(AnnotationBbox(OffsetImage(pictures[k], zoom=1.5), pair.mean(axis=0), (0, 44), boxcoords="offset points", frameon=False))
    left.annotate(sentences[k], pair.mean(axis=0), (0, -16), textcoords="offset points", ha="center", va="top")
    right.add_artist(AnnotationBbox(OffsetImage(pictures[k], zoom=1.25), (-0.9, k), frameon=False, annotation_clip=False))
left.margins(0.35, 0.55)
left.set(xlabel="first direction (no unit)", ylabel="second direction (no unit)", title=f"● pictures and ◆ sentences: {kept:.0%} of their spread")
for (row, column), value in np.ndenumerate(scores):
    right.text(column, row, f"{value:.2f}", ha="center", va="center", color="black" if value > 0.25 else "white")
right.imshow(scores, cmap="cividis", vmin=-0.3, vmax=0.6)
right.set(xticks=range(3), xticklabels=["cat, mat", "dog, ball", "lion, jungle"], yticks=[], title="the true scores, 1 is the most")
lesson.figure(figure)

# %% [markdown]
# ## Now you: type a sentence, get pictures
#
# Draw five hundred new pictures (`"test"`: such as no training has drawn) and give each its place. A sentence gets a place too; the pictures nearest
# to it are the answer. Whether they are right, the world itself can say: `parse` reads the sentence, `true_of` looks whether it is true of a scene.
# After three examples, and one with a word that the model never learned, you are asked for sentences of your own (on a terminal).

# %%
gallery_scenes = world.sample(jax.random.key(7), 500, "test")
gallery_meaning = np.asarray(gallery_scenes.meaning)
gallery = evaluate.draw_bytes(world, gallery_scenes, 32)
gallery_places = model.embed_images(gallery)  # once, however many searches follow
lesson.show(nearest)


def search(sentence):
    print(f"  {sentence}")
    try:
        rows, how_near = nearest(model.embed_texts([sentence])[0], gallery_places, 3)
    except UserError as error:
        print(f"    {error}")
        return []
    for row, value in zip(rows, how_near, strict=True):
        print(f"    {value:5.2f}  {world.grammar.describe(gallery_meaning[row])}")
    return rows


hits = 0
for sentence in ("a rabbit running", "something white in the snow", "a lion"):
    found, said = search(sentence), np.array(world.grammar.parse(sentence))
    hits += int(np.asarray(world.true_of(said, gallery_meaning[found])).sum())
print(f"  {lesson.claim('found pictures of which the sentence is true, of 9', hits)} of 9 are what was asked for")
search("a giraffe in the snow")

while lesson.asks and (sentence := input("  a sentence (Enter to end): ").strip()):
    if len(found := search(sentence)):
        path = Path(tempfile.gettempdir()) / "tinyclip-found.png"
        print(f"    pictures: {plots.picture_grid(gallery[found], ['first', 'second', 'third'], path, sentence)}")

# %%
lesson.recap(
    "a modality is a form in which something arrives; an embedding is its place, a list of numbers",
    "pictures and sentences get places in one space, so that the two can be compared at all",
    "what is about the same thing is nearest; everything else, search to begin with, follows from that",
)
lesson.try_this("give the cat another coat (the second number of its row: 0 is black)", "its sentence names no coat, and stays far above the others.")
lesson.try_this("let the cat sit in the jungle (the last number of its row: 1)", "its sentence and the lion's come close: half of each is now true.")
lesson.end()
