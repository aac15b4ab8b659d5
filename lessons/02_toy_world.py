# %% [markdown]
# # Lesson 02 · A world whose truth is known
#
# *7 min to read, a quarter of a minute to run*
#
# **Question.** Where do pictures come from of which we know everything, and which questions can only they answer?
#
# Captioned photographs tell what somebody thought worth saying. Whether an unsaid thing is there, and whether a model has met it before, nobody
# knows. So we make a world: a **scene** is a few whole numbers, and the picture, the sentence, the outline and the truth all follow from them.

# %%
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.patches import Rectangle

from lessons.kit import Lesson
from tinyclip.evaluate import draw_bytes
from tinyclip.world import World, get_world
from tinyclip.world.caption import GrammarTable
from tinyclip.world.draw import DISTANCES, backdrop, draw_things, masks_of
from tinyclip.world.scene import COLOURS, COLUMNS, ROWS, SHAPES, SIZES, Scenes, place_pair, place_single
from tinyclip.world.splits import BACKDROPS, HELD_OUT_PAIRS, single_meanings

lesson = Lesson("02")

# %% [markdown]
# ## A scene is a row of whole numbers
#
# `meaning` holds what a sentence can tell: size, colour, shape, row, column. `looks` holds what none can: the backdrop, the exact spot, the tilt,
# a byte (0..255) each. B scenes are two arrays with B rows. Random choices need a *key*: the same key, the same scenes, on every machine.

# %%
world = get_world("single")
scenes = world.sample(jax.random.key(0), 4)
lesson.shapes(meaning=scenes.meaning, looks=scenes.looks)
lesson.show(World, place_single, place_pair)
rows = np.asarray(scenes.meaning)
size, colour, shape, row, column = rows[0]
print(f"  {rows[0]} is a {SIZES[size]} {list(COLOURS)[colour]} {SHAPES[shape]}, {ROWS[row]} {COLUMNS[column]}\n")

# %% [markdown]
# ## Drawing: how far is it to the edge?
#
# A shape is a function, its **signed distance**: from a point to the shape's edge, negative inside. (Near the edge it must be right; farther off,
# some of ours only bound it.) For a disc of radius r around (0, 0) it is `√(x² + y²) − r`. Lengths are in halves of a picture: x runs from −1
# (left) to 1 (right), y from −1 (top) to 1 (bottom). A pixel, 2/S wide in a picture of S × S, is *covered* by `1/2 − distance / (pixel's width)`,
# cut to 0..1: all inside, all outside, or in part. Where it is covered, the colour is laid over the backdrop. How much of each pixel is covered is
# the thing's **mask**. First a loop over the pixels.

# %%
disc = Scenes(np.array([[1, 0, 0, 1, 1]]), np.array([[17, 99, 30, 200, 60, 128]]))  # a large red circle near the centre
thing = place_single(disc)
x0, y0, radius = (float(value[0, 0]) for value in (thing.x, thing.y, thing.radius))
S, red = 32, np.array(COLOURS["red"]) / 255
picture_by_loop, mask_by_loop = np.array(backdrop(jnp.asarray(disc.looks), S)[0]), np.zeros((S, S))
for row in range(S):
    for column in range(S):
        x, y = (column + 0.5) * 2 / S - 1, (row + 0.5) * 2 / S - 1  # of the pixel's middle
        distance = ((x - x0) ** 2 + (y - y0) ** 2) ** 0.5 - 0.95 * radius  # a disc is drawn a little smaller than its radius says
        mask_by_loop[row, column] = min(1, max(0, 0.5 - distance / (2 / S)))
        picture_by_loop[row, column] += mask_by_loop[row, column] * (red - picture_by_loop[row, column])

picture, masks = world.draw(disc, S)
lesson.shapes(picture=picture, masks=masks)
lesson.compare("pixels", picture_by_loop, picture[0])
lesson.compare("masks", mask_by_loop, masks[0, 0])
lesson.show(draw_things, masks_of)
ratio = lesson.claim("area in the mask / true area", float(masks.sum()) * (2 / S) ** 2 / float(np.pi * (0.95 * radius) ** 2))
print(f"the mask adds up to {ratio:.4f} of the disc's true area, π r²: pixels covered in part count in part\n")

# %% [markdown]
# ## Sentences: one grammar, read in two directions
#
# Size, colour, shape, row and column are a scene's **factors**. A template such as "a {size} {colour} {shape}" has a slot for each factor that it
# names, and a slot has phrases for each value, sometimes several ("small", "little"). *Describing* fills slots; *parsing* asks which meanings could
# have produced the words, and gives −1 for what is left open. Training draws a new random sentence for every picture, as rows of whole numbers too
# (tokens, lesson 03): that is `GrammarTable`. Beside the `tokens` it gives `said`: the meaning that the sentence states, again with −1.

# %%
by_hand = [f"a {SIZES[size]} {list(COLOURS)[colour]} {SHAPES[shape]}" for size, colour, shape, _, _ in rows]
lesson.claim("described alike, of 4", sum(plain == world.grammar.describe(row) for plain, row in zip(by_hand, rows, strict=True)))
for sentence in ("a little disc", "something blue at the bottom", "blue a something"):
    print(f"  {sentence!r} can mean {[reading.tolist() for reading in world.grammar.parse(sentence)]}")

number = 2_000 if lesson.fast else 5_000
training = world.sample(jax.random.key(1), number)
spoken = world.caption(jax.random.key(2), training.meaning)
tokenizer = world.tokenizer()
captions = [tokenizer.decode(row) for row in np.asarray(spoken.tokens)]
lesson.shapes(meaning=training.meaning, tokens=spoken.tokens, said=spoken.said)
lesson.show(GrammarTable)
readings = [np.array(world.grammar.parse(caption)) for caption in captions]
understood = [(said == reading).all(axis=1).any() for said, reading in zip(np.asarray(spoken.said), readings, strict=True)]
fits = np.asarray(world.true_of(spoken.said, training.meaning))  # [i, j]: is caption j true of scene i?
parsed = lesson.claim("captions that parse back to what was said", float(np.mean(understood)))
own = lesson.claim("captions true of their own picture", float(fits.diagonal().mean()))
other = lesson.claim("captions true of another picture", float((fits.sum() - number) / (number * (number - 1))))
print(f"{captions[0]!r} and {number - 1} more: {parsed:.0%} parse back; {own:.0%} are true of their own picture, {other:.1%} of another (lesson 07)")

# %% [markdown]
# ## What is kept apart
#
# A trained model will be asked two questions, and each needs a guarantee. *Does it know new pictures?* The backdrop's number, 0..255, says to which
# **split** a scene belongs: no test picture can be drawn in training. (A third split, *validation*, is to look at while one trains.) *Does it know
# new combinations?* Some pairs of a colour and a shape are **held out**: neither drawn in training nor named in any of its sentences. Each colour and
# each shape is missing in exactly one pair.
#
# The world `pairs`, two things in a picture, keeps to this too, and so do its **swaps**: what would be said, falsely, if the two things exchanged
# their colours, their shapes or their places. A row of it is size, colour, shape, relation, size, colour, shape.

# %%
lesson.predict(f"how many training pictures and captions hold one of the {lesson.claim('held-out pairs', len(HELD_OUT_PAIRS))} held-out pairs?")
lesson.show(single_meanings)
print("  splits by backdrop:", BACKDROPS)
held_out = np.zeros((9, 9), bool)  # [colour, shape]; the last row and column are for -1, left open
held_out[tuple(zip(*HELD_OUT_PAIRS, strict=True))] = True
pairs = get_world("pairs")
two = pairs.sample(jax.random.key(3), number).meaning
every = np.concatenate([np.asarray(two)[:, None], np.asarray(pairs.swaps(two))], axis=1)  # (B, 1 + 3, 7): the scene and its three swaps
asked = np.asarray(world.sample(jax.random.key(4), number, "test", held_out=True).meaning)
shown, heard = np.asarray(training.meaning), np.concatenate(readings)
drawn = lesson.claim("held-out pairs drawn in training", int(held_out[shown[:, 1], shown[:, 2]].sum()))
named = lesson.claim("held-out pairs named in training", int(held_out[heard[:, 1], heard[:, 2]].sum()))
of_two = sum(int(held_out[every[..., at], every[..., at + 1]].sum()) for at in (1, 5))  # the colour of either thing, its shape next
lesson.claim("held-out pairs in scenes of two, negatives included", of_two)
lesson.claim("held-out pairs among the held-out scenes", float(held_out[asked[:, 1], asked[:, 2]].mean()))
lesson.answer(f"{drawn} and {named} of {number}; and {of_two} of {every[..., 0].size} scenes of two and their swaps. Never, not just rarely.")

# %% [markdown]
# ## Break it: hold out at random
#
# The usual way is to shuffle all scenes and keep an eighth of them for the test. Then training has met every pair of the test, a few pixels to the
# left. The symptom is a good one, and that is the trouble: accuracy, the share of right answers, is splendid, and says nothing of new combinations.

# %%
shuffled = np.random.default_rng(0).permutation(np.concatenate([world.seen, world.held_out]))
test, rest = shuffled[: len(world.held_out)], shuffled[len(world.held_out) :]
known = np.zeros((8, 8), bool)
known[rest[:, 1], rest[:, 2]] = True
met = lesson.claim("random hold-out: test pairs met in training", float(known[test[:, 1], test[:, 2]].mean()))
print(f"of {len(test)} scenes held out at random, {met:.0%} have a colour-shape pair that training has shown")

# %% [markdown]
# ## The world in one picture
#
# Left, the signed distance of a heart: its edge is where it is 0. Middle, the picture it draws. Right, all 64 pairs; boxes mark the held-out ones.

# %%
figure = lesson.new_figure(8.8, 3.1)
left, middle, right = figure.subplots(1, 3, width_ratios=(1.1, 1, 1.15))
x, y = np.meshgrid(*[np.linspace(-1, 1, 200, dtype=np.float32)] * 2)
distance = 0.55 * np.asarray(DISTANCES["heart"](jnp.asarray(x / 0.55), jnp.asarray(y / 0.55)))
field = left.imshow(distance, extent=(-1, 1, 1, -1), cmap="PuOr", vmin=-0.5, vmax=0.5)
left.contour(x, y, distance, levels=[0], colors="black", linewidths=1.8)
left.set(title="signed distance to the edge", xlabel="x (halves of a picture)", ylabel="y (halves of a picture)")
figure.colorbar(field, ax=left, shrink=0.75, label="inside < 0 < outside")

grid = np.array([[1, colour, shape, 1, 1] for colour in range(8) for shape in range(8)])
tiles = draw_bytes(world, Scenes(grid, np.tile([0, 128, 0, 128, 128, 128], (64, 1))), S)
heart = 8 * list(COLOURS).index("blue") + SHAPES.index("heart")
middle.imshow(tiles[heart])
middle.set(title=f'"{world.grammar.describe(grid[heart])}"', xlabel="x (pixels)", ylabel="y (pixels)")
right.imshow(np.vstack([np.hstack(tiles[start : start + 8]) for start in range(0, 64, 8)]), extent=(0, 8, 8, 0))
for colour, shape in HELD_OUT_PAIRS:
    right.add_patch(Rectangle((shape, colour), 1, 1, fill=False, edgecolor="black", linewidth=1.8))
right.set(title="boxes: never seen in training", xlabel="shape", ylabel="colour")
right.set_xticks(np.arange(8) + 0.5, SHAPES, rotation=45, ha="right", rotation_mode="anchor", fontsize=7)
right.set_yticks(np.arange(8) + 0.5, list(COLOURS), fontsize=7)
lesson.figure(figure)

# %%
lesson.recap(
    "a scene is a row of whole numbers; picture, mask, sentence and truth follow from it",
    "a signed distance draws clean edges at any size, and its coverage is the mask",
    "new pictures and new combinations are different questions: only what is held out by design can answer the second",
)
lesson.try_this("draw the disc with S = 128 instead of 32", "the area in the mask comes nearer still to the true one.")
lesson.try_this("hold out half of all at random: `len(shuffled) // 2` for `len(world.held_out)`, twice", "every pair of the test is still met.")
lesson.end()
