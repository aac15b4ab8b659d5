"""Two towers of the same blocks: a picture or a sentence goes in, one vector of D numbers comes out.

Both compute what OpenAI's CLIP computes, which is easy to get almost right: the class token comes first and is normalised together with the
patches before the first block; the sentence is read off its first end token, not its last token (OpenAI finds it otherwise: `end_position`).
B batch · S picture side · P patch · N image tokens · T text tokens · V vocabulary · D width. CLIP paper, section 2.4. Lessons 05 and 06.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from .config import ImageConfig, TextConfig
from .transformer import Block, LayerNorm, Linear

Intermediates = dict[str, Array]


def patchify(images: Float[Array, "B S S 3"], patch: int) -> Float[Array, "B n p"]:
    """Cut pictures into non-overlapping squares, row by row: (B, (S/P)², P·P·3), each square flattened as (y, x, channel). Lesson 06.

    As in ViT (Dosovitskiy et al. 2021, section 3.1). A linear layer on these is the same as a convolution with kernel and stride P.
    """
    B, S, _, C = images.shape
    grid = S // patch
    squares = images.reshape(B, grid, patch, grid, patch, C).transpose(0, 1, 3, 2, 4, 5)  # (B, row, column, y, x, C)
    return squares.reshape(B, grid * grid, patch * patch * C)


def causal_mask(T: int) -> Bool[Array, "T T"]:
    """`[i, j]`: may token i look at token j? Only if j is not later. Lesson 04."""
    return jnp.tril(jnp.ones((T, T), bool))


def end_position(tokens: Int[Array, "B T"], end_token: int) -> Int[Array, "B"]:
    """Where each sentence's first end token stands. Lesson 05.

    OpenAI takes the largest id instead, which is the same only while the end token outranks all others. A row without an end token would
    silently be read at 0: tokenizers always write one.
    """
    return jnp.argmax(tokens == end_token, axis=1)


def run_blocks(
    blocks: Sequence[Block], x: Float[Array, "B T D"], mask: Bool[Array, "T T"] | None, read: Int[Array, "B"], record: Intermediates | None
) -> Float[Array, "B D"]:
    """All blocks in turn; the result is the row at `read`. With a `record`, every row is computed and every block noted in it."""
    for i, block in enumerate(blocks):
        last = i == len(blocks) - 1
        x, attention = block(x, mask, rows=read[:, None] if last and record is None else None)
        x = checkpoint_name(x, "block")  # all that `--remat` keeps for the way back
        if record is not None:
            record |= {f"block_{i}": x, f"attention_{i}": attention}
    return x[:, 0] if record is None else jnp.take_along_axis(x, read[:, None, None], axis=1)[:, 0]


class ImageEncoder(nnx.Module):
    """ViT: patches become tokens, a class token collects what the picture is about. Lesson 06."""

    def __init__(self, config: ImageConfig, *, rngs: nnx.Rngs) -> None:
        D, std = config.width, config.width**-0.5
        self.patch_embedding = Linear(config.patch**2 * 3, D, bias=False, rngs=rngs)
        self.class_embedding = nnx.Param(std * jax.random.normal(rngs.params(), (D,)))
        self.position_embedding = nnx.Param(std * jax.random.normal(rngs.params(), (config.tokens, D)))
        self.norm_pre = LayerNorm(D, eps=config.eps, rngs=rngs)
        self.blocks = nnx.List(
            [Block(D, config.heads, config.mlp, config.depth, activation=config.activation, eps=config.eps, rngs=rngs) for _ in range(config.depth)]
        )
        self.norm_post = LayerNorm(D, eps=config.eps, rngs=rngs)
        self.patch = config.patch

    def __call__(self, images: Float[Array, "B S S 3"], record: Intermediates | None = None) -> Float[Array, "B D"]:
        """Normalised pictures -> one vector each. A `record` is filled: `patches` as embedded, `tokens` as the blocks get them, each block."""
        patches = self.patch_embedding(patchify(images, self.patch))  # (B, N - 1, D)
        B, _, D = patches.shape
        first = jnp.broadcast_to(self.class_embedding[...].astype(images.dtype), (B, 1, D))
        x = jnp.concatenate([first, patches], axis=1) + self.position_embedding[...].astype(images.dtype)  # (B, N, D)
        x = self.norm_pre(x)
        if record is not None:
            record |= {"patches": patches, "tokens": x}
        pooled = run_blocks(self.blocks, x, None, jnp.zeros(B, int), record)
        return self.norm_post(pooled)  # (B, D)


class TextEncoder(nnx.Module):
    """A causal transformer: only the end token has seen the whole sentence, so the sentence is read off there. Lesson 05."""

    def __init__(self, config: TextConfig, *, rngs: nnx.Rngs) -> None:
        D = config.width
        self.token_embedding = nnx.Param(0.02 * jax.random.normal(rngs.params(), (config.vocab, D)))
        self.position_embedding = nnx.Param(0.01 * jax.random.normal(rngs.params(), (config.context, D)))
        self.blocks = nnx.List(
            [Block(D, config.heads, config.mlp, config.depth, activation=config.activation, eps=config.eps, rngs=rngs) for _ in range(config.depth)]
        )
        self.norm_final = LayerNorm(D, eps=config.eps, rngs=rngs)
        self.end_token = config.end_token

    def __call__(self, tokens: Int[Array, "B T"], dtype: jnp.dtype, record: Intermediates | None = None) -> Float[Array, "B D"]:
        """Token ids -> one vector each, computed in `dtype`. A `record` is filled: `tokens` as the blocks get them, each block.

        Sentences may be shorter than the context; what stands after the end token cannot matter, since no earlier token may look at it.
        """
        T = tokens.shape[1]
        x = (self.token_embedding[...][tokens] + self.position_embedding[...][:T]).astype(dtype)  # (B, T, D)
        if record is not None:
            record |= {"tokens": x}
        pooled = run_blocks(self.blocks, x, causal_mask(T), end_position(tokens, self.end_token), record)
        return self.norm_final(pooled)  # (B, D)
