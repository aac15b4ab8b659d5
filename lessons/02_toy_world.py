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
for size, colour, shape, row, column in np.asarray(scenes.meaning):
    print(f"  {SIZES[size]} {list(COLOURS)[colour]} {SHAPES[shape]}, {ROWS[row]} {COLUMNS[column]}")

# %% [markdown]
# ## Drawing: how far is it to the edge?
#
# A shape is a function, its **signed distance**: from a point to the shape's edge, negative inside. For a disc of radius r around (0, 0) it is
# `√(x² + y²) − r`. Lengths are in halves of a picture: x runs from −1 (left) to 1 (right), y from −1 (top) to 1 (bottom). A pixel, 2/S wide in a
# picture of S × S, is *covered* by `1/2 − distance / (pixel's width)`, cut to 0..1: all inside, all outside, or in part. Where it is covered,
# the colour is laid over the backdrop. First a loop over the pixels.

# %%
disc = Scenes(np.array([[1, 0, 0, 1, 1]]), np.array([[17, 99, 30, 200, 60, 128]]))  # a large red circle near the centre
thing = place_single(disc)
x0, y0, radius = (float(value[0, 0]) for value in (thing.x, thing.y, thing.radius))
S, red = 32, np.array(COLOURS["red"]) / 255


def draw_by_loop(ground):
    picture, mask = np.array(ground), np.zeros((S, S))
    for row in range(S):
        for column in range(S):
            x, y = (column + 0.5) * 2 / S - 1, (row + 0.5) * 2 / S - 1  # of the pixel's middle
            distance = ((x - x0) ** 2 + (y - y0) ** 2) ** 0.5 - 0.95 * radius  # a disc is drawn a little smaller than its radius says
            mask[row, column] = min(1, max(0, 0.5 - distance / (2 / S)))
            picture[row, column] += mask[row, column] * (red - picture[row, column])
    return picture, mask


by_loop, mask_by_loop = draw_by_loop(backdrop(jnp.asarray(disc.looks), S)[0])
picture, masks = world.draw(disc, S)
lesson.shapes(picture=picture, masks=masks)
lesson.compare("pixels", by_loop, picture[0])
lesson.compare("masks", mask_by_loop, masks[0, 0])
lesson.show(draw_things, masks_of)

# %% [markdown]
# Since partly covered pixels count in part, the **mask**, how much of each pixel the thing covers, adds up to the area of the true disc, `π r²`,
# to less than a pixel. (The picture is 2 × 2 in these lengths, so its area is 4.) And the same distances draw at any size. Masks will tell us
# (lesson 13) whether a model looks at the right place.

# %%
area = float(masks.sum()) * (2 / S) ** 2
true_area = float(np.pi * (0.95 * radius) ** 2)
lesson.claim("area in the mask / true area", area / true_area)
print(f"area from the mask {area:.4f}, from geometry {true_area:.4f} (in quarters of the picture)\n")

# %% [markdown]
# ## Sentences: one grammar, read in two directions
#
# Size, colour, shape, row and column are a scene's **factors**. A template such as "a {size} {colour} {shape}" has a slot for each factor that it
# names, and a slot has phrases for each value, sometimes several ("small", "little"). *Describing* fills slots; *parsing* asks which meanings could
# have produced the words, and gives −1 for what is left open. Training draws a new random sentence for every picture, as rows of whole numbers too
# (tokens, lesson 03): that is `GrammarTable`. Beside the `tokens` it gives `said`: the meaning that the sentence states, again with −1.


# %%
def describe_by_hand(meaning):
    size, colour, shape = meaning[:3]
    return f"a {SIZES[size]} {list(COLOURS)[colour]} {SHAPES[shape]}"


rows = np.asarray(scenes.meaning)
same = sum(describe_by_hand(row) == world.grammar.describe(row) for row in rows)
lesson.claim("described alike, of 4", int(same))
for sentence in ("a little disc", "something blue at the bottom", "blue a something"):
    print(f"  {sentence!r} can mean {[reading.tolist() for reading in world.grammar.parse(sentence)]}")

number = 2_000 if lesson.fast else 5_000
training = world.sample(jax.random.key(1), number)
spoken = world.caption(jax.random.key(2), training.meaning)
tokenizer = world.tokenizer()
captions = [tokenizer.decode(row) for row in np.asarray(spoken.tokens)]
lesson.shapes(meaning=training.meaning, tokens=spoken.tokens, said=spoken.said)
lesson.show(GrammarTable)
said = np.asarray(spoken.said)
understood = np.array([(row == np.array(world.grammar.parse(caption))).all(1).any() for caption, row in zip(captions, said, strict=True)])
fits = np.asarray(world.true_of(spoken.said, training.meaning))  # [i, j]: is caption j true of scene i?
lesson.claim("captions that parse back to what was said", float(understood.mean()))
lesson.claim("captions true of their own picture", float(fits.diagonal().mean()))
lesson.claim("captions true of another picture", float((fits.sum() - number) / (number * (number - 1))))
print(f"of {number} captions, such as {captions[0]!r}, {understood.mean():.0%} parse back; {fits.diagonal().mean():.0%} are true of their own")
print(f"picture. Of any other picture, {lesson.results['captions true of another picture']:.1%} are true as well; lesson 07 has to reckon with that.")

# %% [markdown]
# ## What is kept apart
#
# A trained model will be asked two questions, and each needs a guarantee. *Does it know new pictures?* The backdrop's number, 0..255, says to
# which **split** a scene belongs: no test picture can be drawn in training. *Does it know new combinations?* Some of the pairs of a colour and a
# shape are **held out**: neither drawn in training nor named in any of its sentences. Each colour and each shape is missing in exactly one
# pair, so both are well known, apart.
#
# The world `pairs`, two things in a picture, keeps to this too, and so do its **swaps**: what would be said, falsely, if the two things exchanged
# their colours, their shapes or their places. A row of it is size, colour, shape, relation, size, colour, shape.

# %%
lesson.predict(f"how many of {number} training pictures, or of their captions, show or name one of the {len(HELD_OUT_PAIRS)} held-out pairs?")
lesson.show(single_meanings)
print("  splits by backdrop:", BACKDROPS)
drawn = sum((int(colour), int(shape)) in HELD_OUT_PAIRS for _, colour, shape, *_ in np.asarray(training.meaning))
parsed = [reading for caption in captions for reading in world.grammar.parse(caption)]
named = sum((int(colour), int(shape)) in HELD_OUT_PAIRS for _, colour, shape, *_ in parsed)

pairs = get_world("pairs")  # two things in a picture, and for each three sentences that are false of it: negatives
two = pairs.sample(jax.random.key(3), number)
every = np.concatenate([np.asarray(two.meaning)[:, None], np.asarray(pairs.swaps(two.meaning))], axis=1)  # (B, 1 + 3, 7)
of_two = 0
for first in (1, 5):  # where the colour of either thing stands; its shape comes next
    for colour, shape in HELD_OUT_PAIRS:
        of_two += int(((every[..., first] == colour) & (every[..., first + 1] == shape)).sum())
lesson.claim("held-out pairs", len(HELD_OUT_PAIRS))
lesson.claim("held-out pairs drawn in training", drawn)
lesson.claim("held-out pairs named in training", named)
lesson.claim("held-out pairs in scenes of two, negatives included", of_two)
asked = np.asarray(world.sample(jax.random.key(4), number, "test", held_out=True).meaning)
lesson.claim("held-out pairs among the held-out scenes", float(np.mean([(c, s) in HELD_OUT_PAIRS for _, c, s, *_ in asked.tolist()])))
lesson.answer(f"{drawn} pictures and {named} captions; {of_two} of {every[..., 0].size} scenes of two and their swaps. Never, not just rarely.")

# %% [markdown]
# ## Break it: hold out at random
#
# The usual way is to shuffle all scenes and keep an eighth of them for the test. Then every pair of the test was met in training, a few pixels to the
# left. The symptom is a good one, and that is the trouble: accuracy on "new" scenes, the share of right answers, is splendid, and tells nothing about
# new combinations.

# %%
all_meanings = np.concatenate([world.seen, world.held_out])
shuffled = np.random.default_rng(0).permutation(all_meanings)
test, rest = shuffled[: len(world.held_out)], shuffled[len(world.held_out) :]
known = {tuple(pair) for pair in rest[:, 1:3].tolist()}
met = float(np.mean([tuple(pair) in known for pair in test[:, 1:3].tolist()]))
lesson.claim("random hold-out: test pairs met in training", met)
print(f"of {len(test)} scenes held out at random, {met:.0%} have a colour-shape pair that training has shown")

# %% [markdown]
# ## The world in one picture
#
# Left, the signed distance of a star: the edge is where it is 0. Middle, the picture that it draws. Right, all 64 pairs; training never sees
# those in the boxes.

# %%
figure = lesson.new_figure(8.8, 3.1)
left, middle, right = figure.subplots(1, 3, width_ratios=(1.1, 1, 1.15))
axis = np.linspace(-1, 1, 200, dtype=np.float32)
gx, gy = np.meshgrid(axis, axis)
distance = 0.55 * np.asarray(DISTANCES["star"](jnp.asarray(gx / 0.55), jnp.asarray(gy / 0.55)))
field = left.imshow(distance, extent=(-1, 1, 1, -1), cmap="PuOr", vmin=-0.5, vmax=0.5)
left.contour(gx, gy, distance, levels=[-0.2, 0.2, 0.4, 0.6], colors="white", linewidths=0.6)
left.contour(gx, gy, distance, levels=[0], colors="black", linewidths=1.8)
left.set(title="signed distance to the edge", xlabel="x (halves of a picture)", ylabel="y (halves of a picture)")
left.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
figure.colorbar(field, ax=left, shrink=0.75, ticks=[-0.5, 0, 0.5]).ax.set_yticklabels(["-0.5\ninside", "0", "0.5\noutside"])
middle_looks = [0, 128, 0, 128, 128, 128]
grid = np.array([[1, colour, shape, 1, 1] for colour in range(8) for shape in range(8)])
tiles = draw_bytes(world, Scenes(grid, np.tile(middle_looks, (64, 1))), S)
star = (3, SHAPES.index("star"))  # blue
middle.imshow(tiles[8 * star[0] + star[1]], interpolation="nearest", extent=(0, S, S, 0))
middle.set(title=f'"{world.grammar.describe(grid[8 * star[0] + star[1]])}"', xlabel="pixels", xticks=[0, 16, 32], yticks=[0, 16, 32])
right.imshow(tiles.reshape(8, 8, S, S, 3).transpose(0, 2, 1, 3, 4).reshape(8 * S, 8 * S, 3), extent=(0, 8, 8, 0), interpolation="antialiased")
for colour, shape in HELD_OUT_PAIRS:
    right.add_patch(Rectangle((shape, colour), 1, 1, fill=False, edgecolor="black", linewidth=1.8))
right.set(title="boxes: never seen in training", xlabel="shape", ylabel="colour")
right.set_xticks(np.arange(8) + 0.5, SHAPES, rotation=45, ha="right", rotation_mode="anchor", fontsize=7)
right.set_yticks(np.arange(8) + 0.5, list(COLOURS), fontsize=7)
right.tick_params(length=0)
lesson.figure(figure)

# %%
lesson.recap(
    "a scene is a row of whole numbers; picture, mask, sentence and truth follow from it",
    "a signed distance draws clean edges at any size, and its coverage is the mask",
    "new pictures and new combinations are different questions: only what is held out by design can answer the second",
)
lesson.try_this("draw the disc with S = 128 instead of 32", "the area in the mask comes nearer still to the true one.")
lesson.try_this(
    "hold out half of all scenes at random: `len(shuffled) // 2` for `len(world.held_out)`, twice",
    "still every pair of the test is met in training.",
)
lesson.end()
