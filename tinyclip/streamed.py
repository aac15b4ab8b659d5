"""The losses in blocks of rows: the same values and the same gradients, in memory that grows with N and not with N².

The full matrix of logits of N = 32,768 pairs takes 4 GiB, and its gradient as much again. But a loss needs only sums along its rows and columns,
so we make the matrix a block of rows at a time and keep the running sums. `jax.checkpoint` makes each block once more on the way back, instead of
keeping it: more arithmetic, far less memory. With `--micro-batch`, `tinyclip train` takes these. Lesson 17.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from .losses import Scalar
from .transformer import at_least_float32

Blocks = tuple[Shaped[Array, "n chunk c"], Int[Array, "n chunk"]]


def in_blocks(rows: Shaped[Array, "B c"], chunk: int) -> Blocks:
    """Rows in blocks of one size, and the number of each row; the last block is filled up with rows of zeros, numbered B and more."""
    B, c = rows.shape
    n = -(-B // chunk)
    return jnp.pad(rows, ((0, n * chunk - B), (0, 0))).reshape(n, chunk, c), jnp.arange(n * chunk).reshape(n, chunk)


def drawn_to(texts: Float[Array, "M E"], positives: Bool[Array, "B m"] | None, B: int, chunk: int) -> Float[Array, "B E"]:
    """What the loss draws each picture to: its true texts, each weighted by its part of the picture's target and of its own, halved."""
    if positives is None:
        return texts[:B]
    m, (blocks, _) = positives.shape[1], in_blocks(positives, chunk)
    fitting = jax.lax.map(lambda fits: fits.sum(0), blocks).sum(0)  # at once, XLA would count in 4 bytes a pair
    of_texts = jnp.where(jnp.arange(m) < B, 1 / fitting, 0)  # extra texts choose no picture

    @partial(jax.checkpoint, prevent_cse=False)
    def block(fits: Bool[Array, "chunk m"]) -> Float[Array, "chunk E"]:
        of_pictures = 1 / jnp.maximum(fits.sum(1, keepdims=True), 1)  # a row that only fills up has none
        return jnp.where(fits, of_pictures + of_texts, 0).astype(texts.dtype) @ texts[:m] / 2

    return jax.lax.map(block, blocks).reshape(-1, texts.shape[1])[:B]


def streamed_contrastive_loss(
    image_embeddings: Float[Array, "B E"],
    text_embeddings: Float[Array, "M E"],
    logit_scale: Float[Array, ""] | float,
    chunk: int = 512,
    positives: Bool[Array, "B M"] | Bool[Array, "B B"] | None = None,
) -> Scalar:
    """`losses.contrastive_loss`, in nats, without the (B, M) matrix of logits: `chunk` rows of it at a time. Lesson 17.

    A row's log-sum-exp is known as soon as its block is made; a column's is built up over all blocks, relative to the largest logit so far.
    `positives`, if given, is a byte a pair, and the only thing here that grows with both.
    """
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    B, chunk, logit_scale = len(images), min(chunk, len(images)), jnp.asarray(logit_scale, images.dtype)

    @partial(jax.checkpoint, prevent_cse=False)  # inside a scan there is nothing it could be merged with
    def block(columns: tuple[Array, Array], part: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        high, total = columns  # (B,), (B,): the largest logit so far, and Σ e^(logit - high)
        rows, number = part
        logits = logit_scale * rows @ texts.T  # (chunk, M)
        real = jnp.where((number < B)[:, None], logits[:, :B], -jnp.inf)
        higher = jax.lax.stop_gradient(jnp.maximum(high, real.max(0)))  # it drops out of the result, so it needs no gradient
        return (higher, total * jnp.exp(high - higher) + jnp.exp(real - higher).sum(0)), jax.nn.logsumexp(logits, axis=1)

    start = jnp.full(B, -jnp.inf, images.dtype), jnp.zeros(B, images.dtype)
    (high, total), rows = jax.lax.scan(block, start, in_blocks(images, chunk))
    true = logit_scale * (images * drawn_to(texts, positives, B, chunk)).sum(-1)  # (B,)
    return ((rows.reshape(-1)[:B] + jnp.log(total) + high) / 2 - true).mean()


def streamed_sigmoid_loss(
    image_embeddings: Float[Array, "B E"],
    text_embeddings: Float[Array, "M E"],
    logit_scale: Float[Array, ""] | float,
    logit_bias: Float[Array, ""] | float,
    chunk: int = 512,
    positives: Bool[Array, "B M"] | Bool[Array, "B B"] | None = None,
) -> Scalar:
    """`losses.sigmoid_loss` without the (B, M) matrix: every pair is a question of its own, so blocks simply add up. Lesson 17."""
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    logit_scale, logit_bias = (jnp.asarray(x, images.dtype) for x in (logit_scale, logit_bias))
    B, M, chunk = len(images), len(texts), min(chunk, len(images))

    @partial(jax.checkpoint, prevent_cse=False)
    def block(total: Array, part: tuple[Array, Array, Array | None]) -> tuple[Array, None]:
        rows, number, fits = part
        logits = logit_scale * rows @ texts.T + logit_bias  # (chunk, M)
        true = number[:, None] == jnp.arange(M) if fits is None else jnp.pad(fits, ((0, 0), (0, M - fits.shape[1])))
        surprise = -jax.nn.log_sigmoid(jnp.where(true, logits, -logits))
        return total + jnp.where((number < B)[:, None], surprise, 0).sum(), None

    blocks = *in_blocks(images, chunk), None if positives is None else in_blocks(positives, chunk)[0]
    total, _ = jax.lax.scan(block, jnp.zeros((), images.dtype), blocks)
    return total / B
