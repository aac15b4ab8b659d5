"""Batches far larger than memory: cached gradients (Gao et al. 2021, "GradCache").

What fills the memory of a training step is first what the towers remember for their way back (and then the loss: see `streamed.py`, which goes with
this). Yet the towers never look from one row to another: only the loss compares rows, and it needs nothing but the embeddings, which are small. So
embed a few rows at a time and forget all else; take the loss and its gradient with respect to all embeddings at once; then go through the rows
again, a few at a time, remembering now, and add up. The cost is one more forward pass.

Averaging the losses of micro-batches, as other losses allow, is something else here: each row would be compared with its own micro-batch only.
Lesson 17.
"""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float


def in_pieces(encode: Callable[[Array], Float[Array, "n E"]], rows: Array, piece: int) -> Float[Array, "B E"]:
    """`encode(rows)`, `piece` rows at a time; its gradient too holds the intermediates of only one piece at a time. Exact. Lesson 17.

    `jax.checkpoint` is all of it: a piece's intermediates are thrown away, and made again when the gradient comes by. 0 means all rows at once.
    `piece` must divide their number.
    """
    if not piece or piece == len(rows):
        return encode(rows)
    pieces = len(rows) // piece
    # Each piece takes every `pieces`-th row, not neighbours: where rows are shared out to devices, all devices then work on every piece.
    dealt = rows.reshape(piece, pieces, *rows.shape[1:]).swapaxes(0, 1)
    embedded = jax.lax.map(jax.checkpoint(encode), dealt)  # (pieces, piece, E)
    return embedded.swapaxes(0, 1).reshape(len(rows), -1)
