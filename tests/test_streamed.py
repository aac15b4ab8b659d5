"""The losses in blocks are the losses of the full matrix, in value, gradient and nothing else: their memory grows with N, not with N²."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import check, check_gradients

from tinyclip.losses import contrastive_loss, sigmoid_loss
from tinyclip.streamed import in_blocks, streamed_contrastive_loss, streamed_sigmoid_loss

LOSSES = {  # name -> in blocks, with the full matrix; both of (images, texts, scale, bias)
    "contrastive": (
        lambda i, t, s, b, chunk: streamed_contrastive_loss(i, t, s, chunk) + 0 * b,
        lambda i, t, s, b: contrastive_loss(i, t, s) + 0 * b,
    ),
    "sigmoid": (lambda i, t, s, b, chunk: streamed_sigmoid_loss(i, t, s, b, chunk), sigmoid_loss),
}


def pairs(n, width=6, dtype=np.float32):
    x = np.random.default_rng(n).normal(size=(2, n, width))
    return tuple(jnp.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True), dtype))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("n", "chunk"), [(12, 4), (13, 5), (13, 64), (1, 3)], ids=str)
def test_value_and_gradients_are_those_of_the_full_matrix(name, n, chunk):
    streamed, full = LOSSES[name]
    args = (*pairs(n), jnp.float32(14.3), jnp.float32(-7.0))
    value, gradients = jax.jit(jax.value_and_grad(lambda *args: streamed(*args, chunk), argnums=(0, 1, 2, 3)))(*args)
    want, wanted = jax.jit(jax.value_and_grad(full, argnums=(0, 1, 2, 3)))(*args)
    check(f"{name} loss of {n} pairs in blocks of {chunk}", value, want, 1e-5)
    if n > 1:
        check_gradients(f"{name} loss of {n} pairs in blocks of {chunk}", gradients, wanted, 1e-5)


@pytest.mark.parametrize("loss", ["contrastive", "sigmoid"])
@pytest.mark.parametrize(("B", "M", "m", "chunk"), [(12, 12, 12, 4), (13, 13, 13, 5), (13, 26, 13, 5), (13, 26, 26, 64), (2, 3, 2, 3)], ids=str)
def test_shared_positives_and_extra_texts_count_as_in_the_full_matrix(loss, B, M, m, chunk):
    rng = np.random.default_rng(B)
    x = [rng.normal(size=(rows, 6)) for rows in (B, M)]
    images, texts = (jnp.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), jnp.float32) for rows in x)
    positives = jnp.asarray((rng.random((B, m)) < 0.2) | np.eye(B, m, dtype=bool))
    full, streamed, numbers = {
        "contrastive": (contrastive_loss, streamed_contrastive_loss, (jnp.float32(14.3),)),
        "sigmoid": (sigmoid_loss, streamed_sigmoid_loss, (jnp.float32(14.3), jnp.float32(-7.0))),
    }[loss]
    wrt = tuple(range(2 + len(numbers)))
    want, wanted = jax.jit(jax.value_and_grad(lambda *args: full(*args, positives=positives), wrt))(images, texts, *numbers)
    value, gradients = jax.jit(jax.value_and_grad(lambda *args: streamed(*args, chunk, positives=positives), wrt))(images, texts, *numbers)
    what = f"{loss} loss of {B} pictures and {M} texts, {m} of them with known pictures, in blocks of {chunk}"
    check(what, value, want, 1e-5)
    check_gradients(what, gradients, wanted, 1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_thousand_pairs_agree_to_1e_5(name):
    streamed, full = LOSSES[name]
    args = (*pairs(1000, 64), jnp.float32(50.0), jnp.float32(-10.0))
    value, gradients = jax.jit(jax.value_and_grad(lambda *args: streamed(*args, 192), argnums=(0, 1, 2, 3)))(*args)
    want, wanted = jax.jit(jax.value_and_grad(full, argnums=(0, 1, 2, 3)))(*args)
    check(f"{name} loss of 1,000 pairs", value, want, 1e-5)
    check_gradients(f"{name} loss of 1,000 pairs", gradients, wanted, 1e-5)


def test_collapsed_pairs_cost_ln_n_and_huge_logits_stay_finite():
    x = jnp.tile(pairs(1)[0], (9, 1))
    check("9 equal pairs in blocks of 4", jax.jit(lambda x: streamed_contrastive_loss(x, x, 20.0, 4))(x), np.float32(math.log(9)), 1e-5)
    images, texts = pairs(9)
    for name, (streamed, full) in LOSSES.items():
        value, gradient = jax.jit(jax.value_and_grad(lambda i, t, streamed=streamed: streamed(i, t, 1e4, -10.0, 4)))(images, texts)
        check(f"{name} loss at a scale of 10,000", value, jax.jit(lambda i, t, full=full: full(i, t, 1e4, -10.0))(images, texts), 1e-5)
        assert jnp.isfinite(gradient).all(), f"{name}: the gradient at a scale of 10,000 is not finite"


def test_half_precision_is_compared_in_float32_and_float64_stays():
    images, texts = (x.astype(jnp.bfloat16) for x in pairs(7))
    run = jax.jit(lambda i, t: streamed_contrastive_loss(i, t, 50.0, 3))
    assert run(images, texts).dtype == jnp.float32
    with jax.enable_x64(True):
        args = pairs(7, dtype=np.float64)
        check("float64", run(*args), contrastive_loss(*args, 50.0), 1e-12)
        narrow, scale, bias = pairs(7), np.float64(50), np.float64(-9)
        check("float32, the scale float64", streamed_contrastive_loss(*narrow, scale, 3), contrastive_loss(*narrow, scale), 1e-5)
        check("float32, scale and bias float64", streamed_sigmoid_loss(*narrow, scale, bias, 3), sigmoid_loss(*narrow, scale, bias), 1e-5)


def test_blocks_hold_every_row_once_with_its_number():
    rows, numbers = in_blocks(jnp.arange(10.0).reshape(5, 2), 2)
    check("rows in blocks of 2", rows, np.array([[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9], [0, 0]]], np.float32), 0)
    check("their numbers", numbers, np.array([[0, 1], [2, 3], [4, 5]]), 0)


def temporaries(loss, n):
    """Bytes that XLA sets aside for forward and backward of n pairs, beyond inputs and results; nothing is run."""
    x = jax.ShapeDtypeStruct((n, 64), jnp.float32)
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2))).lower(x, x, jnp.float32(10.0)).compile().memory_analysis().temp_size_in_bytes


def test_memory_does_not_grow_with_n_squared():
    n = 32_768
    for name, loss in (("contrastive", streamed_contrastive_loss), ("sigmoid", lambda i, t, s: streamed_sigmoid_loss(i, t, s, -10.0))):
        small = temporaries(loss, n)
        assert small <= 300e6, f"the {name} loss of {n:,} pairs in blocks takes {small / 1e6:,.0f} MB: want at most 300"
        assert temporaries(loss, n // 4) > small / 8, f"the {name} loss in blocks should grow with N"
    full = temporaries(contrastive_loss, n)
    assert full > 8e9, f"the full matrix of {n:,} pairs should take more than 8 GB, or there is nothing to save; it takes {full / 1e9:.1f}"
