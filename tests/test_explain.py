"""Maps of what mattered, each against a slow or a known answer."""

from functools import cache, partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import check, numbers, numerical_gradient, numpy_layer_norm, numpy_linear, numpy_mlp, numpy_softmax, randomised, seeded

from tinyclip import explain
from tinyclip.clip import CLIP
from tinyclip.config import CLIPConfig, ImageConfig, TextConfig
from tinyclip.transformer import Attention

CONFIG = CLIPConfig(
    image=ImageConfig(size=8, patch=4, width=12, depth=2, heads=3, mlp=20),
    text=TextConfig(vocab=11, context=7, end_token=10, width=8, depth=2, heads=2, mlp=18),
    embed=6,
)
TOKENS = np.array([[9, 3, 5, 10, 0, 0, 0], [9, 1, 2, 4, 7, 6, 10]], np.int32)


@cache
def model():
    return randomised(lambda: CLIP(CONFIG, rngs=nnx.Rngs(0)), seed=5)


@cache
def encode():
    """The pictures' embeddings, compiled once for all tests."""
    return partial(jax.jit(lambda model, images: model.encode_image(images)), model())


@cache
def record():
    """The pictures of `some(2, 8, 8, 3)` inside the model."""
    inside = jax.jit(lambda model, images: model.encode_image(images, intermediates=True)[1])
    return jax.tree.map(np.asarray, inside(model(), some(2, 8, 8, 3)))


def some(*shape, k=0):
    return seeded(k).normal(size=shape).astype(np.float32)


# Scores


def pointing(maps, masks):
    return np.float64(explain.pointing_game(maps, masks))


@pytest.mark.exercise("13.1")
def test_pointing_counts_the_largest_pixels_on_the_mask():
    rng = seeded(1)
    maps, masks = rng.normal(size=(40, 5, 5)), rng.random((40, 5, 5)) < 0.3
    for k in range(40):
        y, x = np.unravel_index(maps[k].argmax(), (5, 5))
        masks[k, y, x] = k < 13
    found = pointing(maps.astype(np.float32), masks)
    check("pointing_game of 40 maps, 13 with the largest pixel on the mask", found, 13 / 40, 1e-9, "13 of 40 point at their mask")
    found = pointing(maps.astype(np.float32) - 100, masks)
    check("pointing_game of the same maps, all less 100", found, 13 / 40, 1e-9, "only the order of the pixels matters")


@pytest.mark.exercise("13.1")
def test_pointing_takes_ties_as_luck():
    rng = seeded(2)
    masks = rng.random((7, 6, 6)) < 0.4
    found = pointing(np.full((7, 6, 6), rng.normal(), np.float32), masks)
    check("pointing_game of maps that are the same everywhere", found, masks.mean(), 1e-6, "a random pixel lies on the mask that often")
    maps = np.zeros((2, 6, 6), np.float32)
    maps[0, 1, 2:5] = maps[1, 5, :4] = 1  # 3 pixels tie in one picture, 4 in the other
    masks = np.zeros((2, 6, 6), bool)
    masks[0, 1, 4] = masks[1, 5, 1:4] = True
    hint = "1 of 3 tied pixels lies on the mask in one picture, 3 of 4 in the other"
    check("pointing_game of two maps with ties", pointing(maps, masks), (1 / 3 + 3 / 4) / 2, 1e-6, hint)


def test_iou_is_that_of_as_many_pixels_as_the_mask_has():
    rng = seeded(3)
    maps, masks = rng.normal(size=(9, 5, 5)).astype(np.float32), rng.random((9, 5, 5)) < 0.3
    masks[:, 0, 0] = True
    want = []
    for values, mask in zip(maps, masks, strict=True):
        top = set(sorted(np.ndindex(5, 5), key=lambda at, values=values: -values[at])[: mask.sum()])
        on = set(map(tuple, np.argwhere(mask).tolist()))
        want.append(len(top & on) / len(top | on))
    check("iou of 9 random maps", np.float64(explain.iou(maps, masks)), np.mean(want), 1e-9)
    check("iou of the masks themselves", np.float64(explain.iou(masks.astype(np.float32), masks)), 1.0, 1e-9, "a map that is the mask scores 1")


def test_iou_takes_ties_as_luck():
    mask = np.zeros((1, 4, 4), bool)
    mask[0, 0] = True  # 4 of 16 pixels: of 4 random ones, one lies on it
    for order in (mask, mask[:, ::-1], mask.transpose(0, 2, 1)):
        check("iou of a map that is the same everywhere", np.float64(explain.iou(np.ones((1, 4, 4), np.float32), order)), 1 / 7, 1e-9)


def test_a_mask_without_a_pixel_is_an_error():
    masks = np.ones((3, 4, 4), bool)
    masks[1] = False
    with pytest.raises(ValueError, match="iou: mask 1 has no pixel"):
        explain.iou(np.ones((3, 4, 4), np.float32), masks)


def test_the_centre_prior_falls_off_from_the_middle():
    drawn = explain.centre_prior(2, 6)
    for values in drawn:
        check("centre_prior, turned by a quarter", np.rot90(values), values, 1e-9, "all directions are alike")
        assert (values == values.max()).sum() == 4 and values.argmax() == 14, "the 4 pixels around the middle of 6 x 6 are the nearest to it"


# Shifted grids


def brightness(images):
    B, S = images.shape[:2]
    return np.asarray(images)[..., 0].reshape(B, S // 4, 4, S // 4, 4).mean(axis=(2, 4))


def test_unshifted_every_pixel_gets_its_patch():
    images = some(2, 12, 12, 3)
    drawn = explain.on_shifted_grids(brightness, images, 4, 4)
    check("on_shifted_grids without shifts", drawn, brightness(images).repeat(4, axis=1).repeat(4, axis=2), 1e-6)


@pytest.mark.parametrize("stride", [1, 2])
def test_shifted_every_pixel_gets_the_mean_over_the_patches_that_cover_it(stride):
    images = some(2, 12, 12, 3)
    wide = np.pad(images[..., 0], ((0, 0), (6, 6), (6, 6)), mode="edge")
    shifts = [k - (4 - stride) // 2 for k in range(0, 4, stride)]
    drawn = explain.on_shifted_grids(brightness, images, 4, stride)
    for y, x in product(range(3, 9), repeat=2):  # away from the edge
        values = []
        for down, right in product(shifts, repeat=2):
            top, left = ((at - shift) // 4 * 4 + shift for at, shift in ((y, down), (x, right)))
            values.append(wide[:, top + 6 : top + 10, left + 6 : left + 10].mean(axis=(1, 2)))
        check(f"on_shifted_grids, stride {stride}, pixel {y, x}", drawn[:, y, x], np.mean(values, axis=0), 1e-5)


# Maps


def test_attention_is_the_class_tokens_in_the_last_block():
    images = some(2, 8, 8, 3)
    weights = record()["attention_1"]  # (B, H, N, N)
    check("class_attention", explain.class_attention(model(), images), weights.mean(axis=1)[:, 0, 1:].reshape(2, 2, 2), 1e-6)


def test_patch_similarity_reads_each_patch_as_the_class_token_is_read():
    images, towards = some(2, 8, 8, 3), some(2, 6, k=1)
    tokens = record()["block_1"]
    p = numbers(model())
    projected = numpy_layer_norm(p["image"]["norm_post"], tokens[:, 1:]) @ p["image_projection"]["kernel"]  # (B, N - 1, E)
    cosines = np.einsum("bne,be->bn", projected / np.linalg.norm(projected, axis=-1, keepdims=True), towards)
    check("patch_similarity", explain.patch_similarity(model(), images, towards), cosines.reshape(2, 2, 2), 1e-5)


def test_gradient_times_input_is_the_slope_along_the_picture():
    images, towards = some(2, 8, 8, 3), some(2, 6, k=1)
    drawn = explain.gradient_times_input(model(), images, towards)
    half = np.zeros((8, 8, 1), np.float32)
    half[:3] = 1  # the upper three rows grow by a hundredth
    slope = ((encode()(images * (1 + 0.01 * half)) - encode()(images * (1 - 0.01 * half))) * towards).sum(axis=-1) / 0.02
    check("gradient_times_input, upper rows", np.asarray(drawn)[:, :3].sum(axis=(1, 2)), slope, 5e-3, "the slope as these rows grow")


def test_occlusion_is_the_mean_fall_over_the_squares_that_cover_a_pixel():
    images, towards = some(2, 8, 8, 3), some(2, 6, k=1)
    whole, total, count = encode()(images), np.zeros((2, 8, 8)), np.zeros((8, 8))
    for top, left in product(range(-1, 8, 2), repeat=2):  # squares of 3, every 2 pixels, the first and last half outside
        square = np.s_[max(top, 0) : top + 3, max(left, 0) : left + 3]
        painted = images.copy()
        for b in range(2):
            painted[b][square] = np.median(images[b].reshape(-1, 3), axis=0)
        total[(slice(None), *square)] += ((whole - encode()(painted)) * towards).sum(axis=-1)[:, None, None]
        count[square] += 1
    check("occlusion, squares of 3 every 2 pixels", explain.occlusion(model(), images, towards, size=3, stride=2), total / count, 1e-5)


# Relevance


@pytest.mark.exercise("13.2")
def test_a_step_of_relevance_on_random_numbers():
    rng = seeded(6)
    relevance, attention, gradient = rng.random((2, 4, 4)), rng.random((2, 3, 4, 4)), rng.normal(size=(2, 3, 4, 4))
    want = relevance.copy()
    for b, i, j in np.ndindex(2, 4, 4):
        for k in range(4):
            mattered = sum(max(attention[b, h, i, k] * gradient[b, h, i, k], 0) for h in range(3)) / 3
            want[b, i, j] += mattered * relevance[b, k, j]
    found = explain.relevance_step(*(jnp.asarray(x, jnp.float32) for x in (relevance, attention, gradient)))
    check("relevance_step of random numbers, B = 2, H = 3, N = 4", found, want, 1e-5)


@pytest.mark.exercise("13.2")
def test_a_step_of_relevance_passes_on_what_was_gathered():
    attention, one = np.zeros((1, 2, 3, 3), np.float32), np.ones((1, 2, 3, 3), np.float32)
    attention[0, 0, 0, 1] = 1.0  # in one of two heads, token 0 looks at token 1
    relevance = np.eye(3, dtype=np.float32)[None]
    relevance[0, 1, 2] = 0.5  # which had gathered something from token 2
    found = explain.relevance_step(*map(jnp.asarray, (relevance, attention, one)))
    want = np.array([[[1, 0.5, 0.25], [0, 1, 0.5], [0, 0, 1]]])
    check("relevance_step where token 0 looks at 1, which knows of 2", found, want, 1e-6, "half of token 1's own and of what it had gathered")
    found = explain.relevance_step(*map(jnp.asarray, (relevance, attention, -one)))
    check("relevance_step with all gradients negative", found, relevance, 1e-6, "what speaks against the similarity is left out")


def numpy_tower(p, x, heads, causal, read, added):
    """The read row after all blocks, in float64, with `added` on top of each block's attention weights; and the weights themselves."""
    kept = []
    for block, more in zip((p["blocks"][i] for i in range(len(p["blocks"]))), added, strict=True):
        N, D = x.shape
        normed = numpy_layer_norm(block["norm_1"], x)
        q, k, v = (numpy_linear(block["attention"][name], normed).reshape(N, heads, -1).transpose(1, 0, 2) for name in ("query", "key", "value"))
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(D // heads)
        kept.append(numpy_softmax(np.where(np.tril(np.ones((N, N))) > 0, scores, -np.inf) if causal else scores))
        x = x + numpy_linear(block["attention"]["out"], ((kept[-1] + more) @ v).transpose(1, 0, 2).reshape(N, D))
        x = x + numpy_mlp(block["mlp"], numpy_layer_norm(block["norm_2"], x))
    return x[read], kept


def slow_relevance(p, x, config, causal, read, finish, towards):
    """Chefer's rule in loops, with gradients by nudging each attention weight of each block."""
    N = len(x)
    added = np.zeros((config.depth, config.heads, N, N))

    def similarity(added):
        vector = finish(numpy_tower(p, x, config.heads, causal, read, added)[0])
        return vector / np.linalg.norm(vector) @ towards

    gradient, relevance = numerical_gradient(similarity, added), np.eye(N)
    for attention, slope in zip(numpy_tower(p, x, config.heads, causal, read, added)[1], gradient, strict=True):
        relevance = relevance + np.maximum(attention * slope, 0).mean(axis=0) @ relevance
    return relevance


def test_relevance_of_patches_is_that_by_nudging_every_attention_weight():
    images, towards, p = some(2, 8, 8, 3), some(2, 6, k=1), numbers(model())
    finish = lambda row: numpy_layer_norm(p["image"]["norm_post"], row) @ p["image_projection"]["kernel"]  # noqa: E731
    tokens = np.asarray(record()["tokens"], np.float64)
    want = np.stack([slow_relevance(p["image"], x, CONFIG.image, False, 0, finish, t) for x, t in zip(tokens, towards, strict=True)])
    check("relevance of the image tower", explain.relevance(model(), images, towards), want, 1e-4)
    check("image_relevance", explain.image_relevance(model(), images, towards), want[:, 0, 1:].reshape(2, 2, 2), 1e-4, "the class token's row")


@pytest.mark.slow  # it would take a good part of the fast suite's four minutes
def test_relevance_of_words_is_that_by_nudging_every_attention_weight():
    towards, p, ends = some(2, 6, k=1), numbers(model()), (3, 6)
    finish = lambda row: numpy_layer_norm(p["text"]["norm_final"], row) @ p["text_projection"]["kernel"]  # noqa: E731
    want = []
    for row, end, t in zip(TOKENS, ends, towards, strict=True):
        x = p["text"]["token_embedding"][row] + p["text"]["position_embedding"]
        want.append((slow_relevance(p["text"], x, CONFIG.text, True, end, finish, t) - np.eye(7))[end])
    found = explain.text_relevance(model(), TOKENS, towards)
    check("text_relevance", found, np.stack(want), 1e-4, "the end token's row")
    assert not np.asarray(found)[0, 4:].any(), "what stands after the end token cannot have mattered"


def test_explaining_leaves_the_model_as_it_was():
    explain.relevance(model(), TOKENS, some(2, 6, k=1), tower="text")
    kinds = {type(block.attention) for tower in (model().image, model().text) for block in tower.blocks}
    assert kinds == {Attention}, f"the model that was asked should keep its attention, but has {kinds}"
