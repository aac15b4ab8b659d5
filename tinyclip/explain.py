"""Which pixels, and which words, made a picture and a sentence fit? Maps that claim to say so, and what a claim is worth.

A map is asked about a direction of the joint space, `towards`: a sentence's vector (what speaks for "a red circle"?), or the difference of two
(for that rather than for "a blue square"?). A map that looks right proves little, so here every map is scored: the toy world knows where the
named thing is. Relevance is that of Chefer et al. 2021, "Generic Attention-model Explainability", section 3.
B batch · S picture side · N image tokens · T text tokens · H heads · E embedding · g = S / P patches along a side. Lesson 13.
"""

from collections.abc import Callable
from functools import partial, wraps
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from .clip import CLIP, Images, Tokens, l2_normalise
from .encoders import end_position
from .transformer import Attention

Towards = Float[Array | np.ndarray, "B E"]
Patches = Float[Array, "B g g"]
Maps = Float[np.ndarray, "B S S"]
Masks = Bool[np.ndarray, "B S S"]

# Scores


def pointing_game(maps: Maps, masks: Masks) -> float:
    """The share of pictures in which the map's largest pixel lies on the mask (Zhang et al. 2016, there with 15 pixels' tolerance, here with none).

    Pixels that tie count as what a random choice among them would give on average. Lesson 13.
    """
    largest = maps == maps.max(axis=(1, 2), keepdims=True)
    return float(((largest & masks).sum(axis=(1, 2)) / largest.sum(axis=(1, 2))).mean())


def iou(maps: Maps, masks: Masks) -> float:
    """Intersection over union of the mask and the map's n largest pixels, n being the pixels of the mask; the mean over pictures. Lesson 13.

    Pixels that tie for the last places share them: a map that is the same everywhere gets chance, whatever the order of its pixels. Raises
    `ValueError` for a mask without a pixel, which no map could find.
    """
    if not masks.any(axis=(1, 2)).all():
        raise ValueError(f"iou: mask {int(masks.any(axis=(1, 2)).argmin())} has no pixel")
    total = 0.0
    for values, mask in zip(maps, masks, strict=True):
        n = int(mask.sum())
        last = np.sort(values, axis=None)[-n]
        above, ties = values > last, values == last
        both = (above & mask).sum() + (n - above.sum()) / ties.sum() * (ties & mask).sum()
        total += both / (2 * n - both)
    return float(total / len(maps))


def centre_prior(number: int, size: int) -> Maps:
    """The map of one who does not look: the nearer to the middle, the larger. Lesson 13."""
    axis = 2 * np.arange(size) + 1 - size  # whole numbers, so that what lies equally far ties exactly
    return np.broadcast_to(-np.hypot(axis[:, None], axis[None, :]), (number, size, size))


# From patches to pixels


def on_shifted_grids(method: Callable[[Images], Patches], images: Images, patch: int, stride: int) -> Maps:
    """A map of patches as a map of pixels: the picture is shifted under the grid, `stride` pixels at a time, and each pixel gets the mean of
    what the patches over it were given. With `stride` = `patch` nothing is shifted. The picture's edge is repeated outwards. Lesson 13.
    """
    images = np.asarray(images)
    pixels, last = np.arange(images.shape[1]), images.shape[1] - 1
    shifts = np.arange(0, patch, stride) - (patch - stride) // 2
    total = np.zeros(images.shape[:3])
    for down, right in product(shifts, repeat=2):
        rows, columns = np.clip(pixels + down, 0, last), np.clip(pixels + right, 0, last)
        coarse = np.asarray(method(images[:, rows][:, :, columns]))  # (B, g, g)
        rows, columns = np.clip(pixels - down, 0, last) // patch, np.clip(pixels - right, 0, last) // patch
        total += coarse[:, rows][:, :, columns]
    return total / len(shifts) ** 2


# Maps


def _compiled(function: Callable, **options: tuple[str, ...]) -> Callable:
    """A function of a model, compiled. It works on a copy, so that it may take the model apart."""

    @partial(jax.jit, static_argnums=0, **options)
    def inner(graphdef, state, *args, **named):
        return function(nnx.merge(graphdef, state), *args, **named)

    return wraps(function)(lambda model, *args, **named: inner(*nnx.split(model), *args, **named))


@_compiled
def class_attention(model: CLIP, images: Images) -> Patches:
    """How much the class token looks at each patch in the last block, the mean of its heads. It knows of no sentence. Lesson 13."""
    record = model.encode_image(images, intermediates=True)[1]
    return _grid(record[f"attention_{len(model.image.blocks) - 1}"].mean(axis=1)[:, 0])


@_compiled
def patch_similarity(model: CLIP, images: Images, towards: Towards) -> Patches:
    """Each patch's token after the last block, read as if it were the class token, along `towards`. No training made patches fit. Lesson 13."""
    tokens = model.encode_image(images, intermediates=True)[1][f"block_{len(model.image.blocks) - 1}"]  # (B, N, D)
    embeddings = l2_normalise(model.image_projection(model.image.norm_post(tokens)))  # (B, N, E)
    return _grid(jnp.einsum("bne,be->bn", embeddings, towards))


@_compiled
def gradient_times_input(model: CLIP, images: Images, towards: Towards) -> Float[Array, "B S S"]:
    """Slope of the similarity in each pixel, times the pixel, summed over the channels: exact if the model were linear. Lesson 13."""
    images = jnp.asarray(images, model.dtype)
    return (jax.grad(lambda images: (model.encode_image(images) * towards).sum())(images) * images).sum(axis=-1)


@partial(_compiled, static_argnames=("size", "stride"))
def occlusion(model: CLIP, images: Images, towards: Towards, *, size: int = 8, stride: int = 2) -> Float[Array, "B S S"]:
    """How far the similarity falls when a square of `size` pixels is painted over (Zeiler & Fergus 2014): for each pixel the mean over all
    squares that cover it, placed every `stride` pixels. The paint is the picture's median colour, its backdrop. Lesson 13.
    """
    images = jnp.asarray(images, model.dtype)
    paint = jnp.median(images, axis=(1, 2), keepdims=True)  # (B, 1, 1, 3)
    pixel, start = jnp.arange(images.shape[1]), jnp.arange(stride - size, images.shape[1], stride)[:, None]
    line = (pixel >= start) & (pixel < start + size)  # (places, S)
    squares = (line[:, None, :, None] & line[None, :, None, :]).reshape(-1, len(pixel), len(pixel))

    def similarity(images: Float[Array, "B S S 3"]) -> Float[Array, "B 1 1"]:
        return (model.encode_image(images) * towards).sum(axis=-1)[:, None, None]

    whole = similarity(images)

    def paint_over(total: Float[Array, "B S S"], square: Bool[Array, "S S"]) -> tuple[Float[Array, "B S S"], None]:
        return total + square * (whole - similarity(jnp.where(square[..., None], paint, images))), None

    return jax.lax.scan(paint_over, jnp.zeros(images.shape[:3]), squares)[0] / squares.sum(axis=0)


def _grid(tokens: Float[Array, "B N"]) -> Patches:
    """What was said of the tokens, without the class token, laid out as the patches lie."""
    g = int((tokens.shape[1] - 1) ** 0.5)
    return tokens[:, 1:].reshape(-1, g, g)


# Relevance: attention that mattered


def relevance_step(
    relevance: Float[Array, "B N N"], attention: Float[Array, "B H N N"], gradient: Float[Array, "B H N N"]
) -> Float[Array, "B N N"]:
    """One block's step: R + M R, a matrix product, where M is the attention times its gradient, negatives cut to 0, the mean over the heads.

    `[i, j]` is how much token j has contributed to token i so far; before the first block every token is only itself, R = identity.
    Chefer et al. 2021, equations 5 and 6. Lesson 13.
    """
    mattered = jax.nn.relu(attention * gradient).mean(axis=1)  # (B, N, N)
    return relevance + mattered @ relevance


def with_added_weights(attention: Attention, added: Float[Array, "B H N N"]) -> Callable:
    """The same attention with `added` on top of its weights: that much more of each value, through the same output matrix. Lesson 13."""

    def attend(queries: Float[Array, "B N D"], tokens: Float[Array, "B N D"], mask: Bool[Array, "N N"] | None = None) -> tuple[Array, Array]:
        attended, weights = attention(queries, tokens, mask)
        more = jnp.einsum("bhrt,bthk->brhk", added.astype(tokens.dtype), attention.split(attention.value(tokens)))  # (B, N, H, K)
        return attended + more.reshape(queries.shape) @ attention.out.kernel[...].astype(tokens.dtype), weights

    return attend


@partial(_compiled, static_argnames=("tower",))
def attention_gradients(
    model: CLIP, inputs: Images | Tokens, towards: Towards, *, tower: str = "image"
) -> list[tuple[Float[Array, "B H N N"], Float[Array, "B H N N"]]]:
    """The attention weights of each block of a tower ("image" or "text"), and the slope of the similarity in each of them. Lesson 13.

    The weights are made inside the block, where no slope can be asked for: so zeros are added to them, and the zeros' slope is taken.
    """
    parts = nnx.split(model)

    def similarity(added: list[Float[Array, "B H N N"]]) -> tuple[Float[Array, ""], list[Float[Array, "B H N N"]]]:
        copy = nnx.merge(*parts)
        encode, blocks = {"image": (copy.encode_image, copy.image.blocks), "text": (copy.encode_text, copy.text.blocks)}[tower]
        for block, zeros in zip(blocks, added, strict=True):
            block.attention = with_added_weights(block.attention, zeros)
        embeddings, record = encode(inputs, intermediates=True)
        return (embeddings * towards).sum(), [record[f"attention_{i}"] for i in range(len(blocks))]

    config = getattr(model.config, tower)
    B, N = len(inputs), config.tokens if tower == "image" else inputs.shape[1]
    gradients, attentions = jax.grad(similarity, has_aux=True)([jnp.zeros((B, config.heads, N, N))] * config.depth)
    return list(zip(attentions, gradients, strict=True))


def relevance(model: CLIP, inputs: Images | Tokens, towards: Towards, *, tower: str = "image") -> Float[Array, "B N N"]:
    """How much each token of a tower has contributed to each other, along `towards`, after all blocks. Lesson 13."""
    pairs = attention_gradients(model, inputs, towards, tower=tower)
    B, _, N, _ = pairs[0][0].shape
    result = jnp.broadcast_to(jnp.eye(N), (B, N, N))
    for attention, gradient in pairs:
        result = relevance_step(result, attention, gradient)
    return result


def image_relevance(model: CLIP, images: Images, towards: Towards) -> Patches:
    """What each patch has contributed to the class token, at which a picture is read. Lesson 13."""
    return _grid(relevance(model, images, towards)[:, 0])


def text_relevance(model: CLIP, tokens: Tokens, towards: Towards) -> Float[Array, "B T"]:
    """What each token has contributed to the end token, at which a sentence is read; 0 for what stands after it. Lesson 13."""
    end = end_position(jnp.asarray(tokens), model.config.text.end_token)
    contributed = relevance(model, tokens, towards, tower="text") - jnp.eye(tokens.shape[1])  # that a token is itself is no contribution
    return jnp.take_along_axis(contributed, end[:, None, None], axis=1)[:, 0]
