# %% [markdown]
# # Lesson 06 · The image encoder
#
# *7 min to read, a few seconds to run*
#
# **Question.** A transformer reads words in a row. How can it read a picture?
#
# A picture is a table of S × S pixels, each with three numbers, its **channels**: red, green, blue. There are no words in it. The idea of the **ViT**
# (vision transformer) is to make some: cut the picture into squares and call each square a token. After that, nothing is new.

# %%
import jax
import jax.numpy as jnp
import numpy as np

import tinyclip
from lessons.kit import BLUE, ORANGE, Lesson
from tinyclip import by_hand, clip, config, encoders, evaluate
from tinyclip.world.worlds import get_world

lesson = Lesson("06")
bundle, world = tinyclip.load("pairs"), get_world("pairs")
settings, everything = bundle.config.image, by_hand.parameters(bundle.model)
weights, P = everything["image"], settings.patch
grid = settings.size // P

scenes = world.sample(jax.random.key(1), 250, "test")
pictures = evaluate.draw_bytes(world, scenes, settings.size)  # (B, S, S, 3), bytes 0 … 255
images = bundle.preprocess(pictures)  # the same with each channel brought to about mean 0 and variance 1
captions = [world.grammar.describe(meaning) for meaning in np.asarray(scenes.meaning)]
lesson.shapes(pictures=pictures, images=images)

# %% [markdown]
# ## Patches are tokens
#
# A **patch** is a square of P × P pixels. We cut row by row, as one reads, and lay the P·P·3 numbers of each patch out in one line. First pixel by
# pixel, then the library's three moves: reshape, transpose, reshape.

# %%
few = 3
patches_by_loops = np.zeros((few, grid * grid, P * P * 3), np.float32)
for b in range(few):
    for row in range(grid):
        for column in range(grid):
            pixels = [images[b, row * P + y, column * P + x] for y in range(P) for x in range(P)]
            patches_by_loops[b, row * grid + column] = np.concatenate(pixels)
patches = np.array(encoders.patchify(jnp.asarray(images), P))
lesson.shapes(patches=patches)
lesson.compare("patches", patches_by_loops, patches[:few])
lesson.compare("patches, NumPy twin", by_hand.patchify(images, P), patches)
lesson.show(encoders.patchify, by_hand.patchify)

# %% [markdown]
# ## From patches to one vector
#
# 1. A matrix turns the numbers of each patch into D numbers, as the word table did for ids. (Elsewhere you may find it as a *convolution* with
#    stride P: a small filter, slid over the picture in steps of P pixels. That is the same thing.)
# 2. A picture has no end token, so one is invented: the **class token**, the same learned D numbers for every picture, put in front. It shows
#    nothing; it is there to collect. That makes N = (S / P)² + 1 tokens.
# 3. A learned row for its position is added to each token; then a LayerNorm, and lesson 04's blocks. No mask: a picture has no "later".
# 4. The class token is read off. LayerNorm, projection, length 1, as for a sentence.


# %%
def picture_vectors(patches, positions=weights["position_embedding"]):
    """Patches (B, N - 1, P·P·3) to unit vectors (B, E)."""
    x = patches @ weights["patch_embedding"]["kernel"]  # (B, N - 1, D)
    first = np.broadcast_to(weights["class_embedding"], (len(x), 1, settings.width))
    x = np.concatenate([first, x], axis=1) + positions  # (B, N, D)
    x = by_hand.layer_norm(weights["norm_pre"], x, settings.eps)[0]
    for i in range(settings.depth):
        x = by_hand.block(weights["blocks"][i], x, settings.heads, settings.activation, settings.eps)[0]
    pooled = by_hand.layer_norm(weights["norm_post"], x[:, 0], settings.eps)[0]  # (B, D)
    projected = pooled @ everything["image_projection"]["kernel"]  # (B, E)
    return projected / np.sqrt((projected**2).sum(axis=1, keepdims=True))


embeddings = picture_vectors(patches)
library, inside = bundle.model.encode_image(images[:few], intermediates=True)
lesson.shapes(tokens=inside["tokens"], attention=inside["attention_0"], pooled=inside["pooled"], embeddings=library)
lesson.compare("the pictures' vectors", embeddings[:few], library)
lesson.compare("the pictures' vectors, by the NumPy twin", by_hand.encode_image(everything, bundle.config, images[:few])[0], library)
lesson.show(encoders.ImageEncoder, clip.CLIP.encode_image, by_hand.image_encoder, config.ImageConfig)

# %% [markdown]
# ## What the position is for
#
# To attention a picture is a *bag* of tokens: a weighted mean does not care in which order its terms come. We take the patches' positions away, by
# giving all patches one and the same row, the mean of theirs; the class token keeps its own. Then we shuffle.

# %%
lesson.predict("without positions, shuffle the patches of a picture like a puzzle. How far does its vector move: not at all, a little, a lot?")
nowhere = weights["position_embedding"].copy()
nowhere[1:] = nowhere[1:].mean(axis=0)
random, moved = np.random.default_rng(0), {"with": [], "without": []}
for _ in range(10):
    order = random.permutation(grid * grid)
    for name, positions in (("with", weights["position_embedding"]), ("without", nowhere)):
        change = picture_vectors(patches[:20, order], positions) - picture_vectors(patches[:20], positions)
        moved[name] += list(np.linalg.norm(change, axis=1))
still = lesson.claim("shuffling moves the vector, without positions", float(max(moved["without"])))
mean = lesson.claim("shuffling moves the vector, with positions (mean)", float(np.mean(moved["with"])))
lesson.answer(f"not at all: {still:.0e}, which is rounding. With positions it moves by {mean:.2f} on average, of at most 2.")

# %% [markdown]
# So what can such a model not know? Where things are. For each picture we offer two sentences, the true one and the one with its two things swapped:
# "a red star above a brown cross" or "a brown cross above a red star". Guessing would be right half of the time.

# %%
swapped = [world.grammar.describe(meaning) for meaning in np.asarray(world.swaps(scenes.meaning))[:, world.swap_names.index("things")]]
true_texts = bundle.embed_texts(captions)
towards = true_texts - bundle.embed_texts(swapped)  # a picture is nearer to the true sentence if its dot product with this is positive
placed = lesson.claim("right order, with positions", float(((embeddings * towards).sum(axis=1) > 0).mean()))
lost = lesson.claim("right order, without positions", float(((picture_vectors(patches, nowhere) * towards).sum(axis=1) > 0).mean()))
print(f"true sentence preferred to the swapped one: {placed:.0%} with positions, {lost:.0%} without\n")

# %% [markdown]
# ## Break it: forget the transpose
#
# `images.reshape(B, N - 1, P·P·3)` gives exactly the right shape, and nothing complains. But memory runs along whole rows of pixels, so each "patch"
# is a thin strip from edge to edge. The symptom: a model that was fine finds almost nothing. (Trained on strips from the start it would learn
# *something*, which is why this mistake lives long.)

# %%
strips, names = images.reshape(len(images), grid * grid, P * P * 3), np.array(captions)


def finds_itself(vectors):
    """The share of pictures whose nearest sentence, of all, is their own."""
    return float((names[(vectors @ true_texts.T).argmax(axis=1)] == names).mean())


whole = lesson.claim("finds its sentence, patches", finds_itself(embeddings))
torn = lesson.claim("finds its sentence, strips", finds_itself(picture_vectors(strips)))
lesson.claim("strips have the shape of patches", strips.shape == patches.shape)
print(f"own sentence found among {len(captions)}: {whole:.0%} from patches, {torn:.0%} from strips")

# %% [markdown]
# ## The picture
#
# The first scene, cut and numbered; the same patches shuffled; and how far the vector moved in 200 such shuffles. Without positions the two pictures
# are one and the same to the model.

# %%
figure = lesson.new_figure(8.6, 3.0)
original, puzzle, dots = figure.subplots(1, 3, width_ratios=(1, 1, 1.25))
squares = pictures[0].reshape(grid, P, grid, P, 3).transpose(0, 2, 1, 3, 4).reshape(-1, P, P, 3)
for axes, order, title in ((original, np.arange(grid * grid), "patches 1 to 16"), (puzzle, random.permutation(grid * grid), "shuffled")):
    axes.imshow(squares[order].reshape(grid, grid, P, P, 3).transpose(0, 2, 1, 3, 4).reshape(pictures[0].shape))
    for k, patch in enumerate(order):
        axes.text(k % grid * P, k // grid * P + 0.2, str(patch + 1), fontsize=7, va="top", bbox={"color": "white", "pad": 0.8})
    edges = np.arange(1, grid) * P - 0.5
    axes.set(title=title, xticks=edges, yticks=edges, xticklabels=[], yticklabels=[])
    axes.grid(color="white", lw=2)
    axes.tick_params(length=0)
original.set_xlabel(captions[0])
for place, name, colour in ((0, "with", BLUE), (1, "without", ORANGE)):
    dots.plot(place + random.uniform(-0.2, 0.2, len(moved[name])), moved[name], "o", ms=3, alpha=0.5, color=colour)
dots.set(xlim=(-0.6, 1.6), ylim=(-0.04, 1.04), ylabel="distance the vector moves (0 to 2)", title="shuffling the patches")
dots.set_xticks([0, 1], ["with positions", "without"])
lesson.figure(figure)

# %% [markdown]
# ## Must it be a transformer?
#
# No. Anything that ends in E numbers would do. CLIP's authors also trained **ResNets**, networks of convolutions that slide small filters over the
# picture, and so know from the start that near pixels belong together. A ViT has to learn that from data. In return it is made of the very block
# that reads the sentences, which is why this course needs only one; and of all that the authors trained, their best was a ViT.

# %%
lesson.recap(
    "cut the picture into patches, and let one matrix make a token of each: from there on a picture is a sentence",
    "the class token collects what the picture is about, and is read off at the end",
    "without position embeddings a picture is a bag of patches, and left is right",
)
lesson.try_this("let `nowhere[1:] = 0` instead of the mean", "the same: shuffling moves nothing, order is a guess. Any one row will do.")
lesson.try_this("in `picture_vectors`, read `x.mean(axis=1)`, not `x[:, 0]`", "few find their sentence: this model learned to collect in x[:, 0].")
lesson.end()
