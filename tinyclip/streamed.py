"""The losses in blocks of rows: the same values and the same gradients, in memory that grows with N and not with N².

The full matrix of logits of N = 32,768 pairs takes 4 GiB, and its gradient as much again. But a loss needs only sums along its rows and columns,
so we make the matrix a block of rows at a time and keep the running sums. `jax.checkpoint` makes each block once more on the way back, instead of
keeping it: more arithmetic, far less memory. For plain pairs, one sentence a picture: `tinyclip train` takes the full matrix, as its captions
share their targets. Lesson 17.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .losses import Scalar
from .transformer import at_least_float32

Blocks = tuple[Float[Array, "n chunk E"], Int[Array, "n chunk"]]


def in_blocks(images: Float[Array, "N E"], chunk: int) -> Blocks:
    """Rows in blocks of one size, and the number of each row; the last block is filled up with rows of zeros, numbered N and more."""
    N, E = images.shape
    blocks = -(-N // chunk)
    rows = jnp.pad(images, ((0, blocks * chunk - N), (0, 0))).reshape(blocks, chunk, E)
    return rows, jnp.arange(blocks * chunk).reshape(blocks, chunk)


def streamed_contrastive_loss(
    image_embeddings: Float[Array, "N E"], text_embeddings: Float[Array, "N E"], logit_scale: Float[Array, ""] | float, chunk: int = 512
) -> Scalar:
    """`losses.contrastive_loss` of plain pairs, in nats, without the (N, N) matrix. Lesson 17.

    A row's log-sum-exp is known as soon as its block is made; a column's is built up over all blocks, relative to the largest logit so far.
    """
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    N, logit_scale = len(images), jnp.asarray(logit_scale, images.dtype)

    @partial(jax.checkpoint, prevent_cse=False)  # inside a scan there is nothing it could be merged with
    def block(columns: tuple[Array, Array], part: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        high, total = columns  # (N,), (N,): the largest logit so far, and Σ e^(logit - high)
        rows, number = part
        logits = logit_scale * rows @ texts.T  # (chunk, N)
        real = jnp.where((number < N)[:, None], logits, -jnp.inf)
        higher = jax.lax.stop_gradient(jnp.maximum(high, real.max(0)))  # it drops out of the result, so it needs no gradient
        return (higher, total * jnp.exp(high - higher) + jnp.exp(real - higher).sum(0)), jax.nn.logsumexp(logits, axis=1)

    start = jnp.full(N, -jnp.inf, images.dtype), jnp.zeros(N, images.dtype)
    (high, total), rows = jax.lax.scan(block, start, in_blocks(images, min(chunk, N)))
    own = logit_scale * (images * texts).sum(-1)  # (N,)
    image_to_text = (rows.reshape(-1)[:N] - own).mean()
    text_to_image = (jnp.log(total) + high - own).mean()
    return (image_to_text + text_to_image) / 2


def streamed_sigmoid_loss(
    image_embeddings: Float[Array, "N E"],
    text_embeddings: Float[Array, "N E"],
    logit_scale: Float[Array, ""] | float,
    logit_bias: Float[Array, ""] | float,
    chunk: int = 512,
) -> Scalar:
    """`losses.sigmoid_loss` of plain pairs without the (N, N) matrix: every pair is a question of its own, so blocks simply add up. Lesson 17."""
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    N, logit_scale, logit_bias = len(images), *(jnp.asarray(x, images.dtype) for x in (logit_scale, logit_bias))

    @partial(jax.checkpoint, prevent_cse=False)
    def block(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        rows, number = part
        logits = logit_scale * rows @ texts.T + logit_bias  # (chunk, N)
        surprise = -jax.nn.log_sigmoid(jnp.where(number[:, None] == jnp.arange(N), logits, -logits))
        return total + jnp.where((number < N)[:, None], surprise, 0).sum(), None

    total, _ = jax.lax.scan(block, jnp.zeros((), images.dtype), in_blocks(images, min(chunk, N)))
    return total / N
