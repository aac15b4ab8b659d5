"""Both towers and the projections: a picture or a sentence goes in, a point on the unit sphere comes out, and the gradient finds its way back.

Forwards, backwards and gradients as in `layers.py`. `params` is the tree of the whole model, as `parameters` gives it, and a backward returns
the part of that tree its tower has.
B batch · S picture side · P patch · N image tokens · T text tokens · V vocabulary · D width · E embedding. Lessons 05 and 06.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from ..config import CLIPConfig, ImageConfig, TextConfig
from .layers import Array, Parameters, Saved, l2_normalise, l2_normalise_backward, layer_norm, layer_norm_backward, linear, linear_backward
from .transformer import block, block_backward


def patchify(images: Float[Array, "B S S 3"], patch: int) -> Float[Array, "B n p"]:
    """Pictures cut into squares, row by row, each laid out as one row of P·P·3 numbers (y, x, channel)."""
    B, S, _, _ = images.shape
    grid = S // patch
    squares = [
        images[:, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch].reshape(B, -1)
        for row in range(grid)
        for column in range(grid)
    ]
    return np.stack(squares, axis=1)


def patchify_backward(dy: Float[Array, "B n p"], patch: int) -> Float[Array, "B S S 3"]:
    """Every number was moved and none was changed: move its gradient back."""
    B, n, _ = dy.shape
    grid = round(n**0.5)
    dimages = np.zeros((B, grid * patch, grid * patch, 3), dy.dtype)
    for i in range(n):
        row, column = divmod(i, grid)
        dimages[:, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] = dy[:, i].reshape(B, patch, patch, 3)
    return dimages


def embed_tokens(table: Float[Array, "V D"], tokens: Int[Array, "B T"]) -> tuple[Float[Array, "B T D"], Saved]:
    """Token t is row t of the table."""
    return table[tokens], {"tokens": tokens, "table": table}


def embed_tokens_backward(dy: Float[Array, "B T D"], saved: Saved) -> Float[Array, "V D"]:
    """A row that was read in several places gets the sum of their gradients, a row that was not read gets 0 (a scatter-add)."""
    dtable = np.zeros(saved["table"].shape, dy.dtype)
    np.add.at(dtable, saved["tokens"], dy)  # dtable[tokens] += dy would keep only one of several
    return dtable


def causal_mask(T: int) -> Bool[Array, "T T"]:
    """`[i, j]`: may token i look at token j? Only if j is not later."""
    return np.tril(np.ones((T, T), bool))


def take_rows(x: Float[Array, "B T D"], rows: Int[Array, "B"]) -> tuple[Float[Array, "B D"], Saved]:
    """One token of each sentence or picture."""
    return x[np.arange(len(x)), rows], {"rows": rows, "shape": x.shape}


def take_rows_backward(dy: Float[Array, "B D"], saved: Saved) -> Float[Array, "B T D"]:
    """Tokens that were not read have gradient 0: they matter only through what the read one saw of them, in the blocks below."""
    dx = np.zeros(saved["shape"], dy.dtype)
    dx[np.arange(len(dy)), saved["rows"]] = dy
    return dx


def run_blocks(
    params: Parameters, x: Float[Array, "B T D"], config: ImageConfig | TextConfig, mask: Bool[Array, "T T"] | None
) -> tuple[Float[Array, "B T D"], list[Saved]]:
    """All blocks in turn."""
    saved = []
    for i in range(config.depth):
        x, kept = block(params[i], x, config.heads, config.activation, config.eps, mask)
        saved.append(kept)
    return x, saved


def run_blocks_backward(dy: Float[Array, "B T D"], saved: list[Saved]) -> tuple[Float[Array, "B T D"], Parameters]:
    """All blocks in turn, the last first."""
    gradient = {}
    for i in reversed(range(len(saved))):
        dy, gradient[i] = block_backward(dy, saved[i])
    return dy, gradient


def image_encoder(params: Parameters, config: ImageConfig, images: Float[Array, "B S S 3"]) -> tuple[Float[Array, "B D"], Saved]:
    """ViT: patches and a class token, positions, blocks, and the class token read off."""
    patches, embed = linear(params["patch_embedding"], patchify(images, config.patch))  # (B, N - 1, D)
    first = np.broadcast_to(params["class_embedding"], (len(images), 1, config.width))
    x = np.concatenate([first, patches], axis=1) + params["position_embedding"]  # (B, N, D)
    x, norm_pre = layer_norm(params["norm_pre"], x, config.eps)
    x, blocks = run_blocks(params["blocks"], x, config, None)
    pooled, take = take_rows(x, np.zeros(len(images), int))
    y, norm_post = layer_norm(params["norm_post"], pooled, config.eps)
    return y, {"embed": embed, "norm_pre": norm_pre, "blocks": blocks, "take": take, "norm_post": norm_post, "patch": config.patch}


def image_encoder_backward(dy: Float[Array, "B D"], saved: Saved) -> tuple[Float[Array, "B S S 3"], Parameters]:
    """Also the gradient of the pixels. A parameter that every picture shares (class token, positions) sums its gradient over the batch."""
    dpooled, dnorm_post = layer_norm_backward(dy, saved["norm_post"])
    dx, dblocks = run_blocks_backward(take_rows_backward(dpooled, saved["take"]), saved["blocks"])
    dx, dnorm_pre = layer_norm_backward(dx, saved["norm_pre"])  # (B, N, D)
    dpatches, dembed = linear_backward(dx[:, 1:], saved["embed"])
    gradient = {
        "patch_embedding": dembed,
        "class_embedding": dx[:, 0].sum(0),
        "position_embedding": dx.sum(0),
        "norm_pre": dnorm_pre,
        "blocks": dblocks,
        "norm_post": dnorm_post,
    }
    return patchify_backward(dpatches, saved["patch"]), gradient


def text_encoder(params: Parameters, config: TextConfig, tokens: Int[Array, "B T"]) -> tuple[Float[Array, "B D"], Saved]:
    """A causal transformer, read off at the first end token."""
    T = tokens.shape[1]
    x, embed = embed_tokens(params["token_embedding"], tokens)
    x = x + params["position_embedding"][:T]  # (B, T, D)
    x, blocks = run_blocks(params["blocks"], x, config, causal_mask(T))
    pooled, take = take_rows(x, (tokens == config.end_token).argmax(1))
    y, norm_final = layer_norm(params["norm_final"], pooled, config.eps)
    return y, {"embed": embed, "positions": params["position_embedding"], "blocks": blocks, "take": take, "norm_final": norm_final}


def text_encoder_backward(dy: Float[Array, "B D"], saved: Saved) -> Parameters:
    """Positions that no sentence reached, and tokens after the end, have gradient 0."""
    dpooled, dnorm_final = layer_norm_backward(dy, saved["norm_final"])
    dx, dblocks = run_blocks_backward(take_rows_backward(dpooled, saved["take"]), saved["blocks"])  # (B, T, D)
    dpositions = np.zeros(saved["positions"].shape, dx.dtype)
    dpositions[: dx.shape[1]] = dx.sum(0)
    dtable = embed_tokens_backward(dx, saved["embed"])
    return {"token_embedding": dtable, "position_embedding": dpositions, "blocks": dblocks, "norm_final": dnorm_final}


def encode_image(params: Parameters, config: CLIPConfig, images: Float[Array, "B S S 3"]) -> tuple[Float[Array, "B E"], Saved]:
    """Normalised pictures -> unit vectors; `CLIP.encode_image` in NumPy."""
    pooled, tower = image_encoder(params["image"], config.image, images)
    projected, project = linear(params["image_projection"], pooled)
    embeddings, normalise = l2_normalise(projected)
    return embeddings, {"tower": tower, "project": project, "normalise": normalise}


def encode_image_backward(dy: Float[Array, "B E"], saved: Saved) -> tuple[Float[Array, "B S S 3"], Parameters]:
    """The chain rule, the last step first: normalisation, projection, tower; down to the first patch, and to the pixels. Lesson 09."""
    dprojected = l2_normalise_backward(dy, saved["normalise"])
    dpooled, dprojection = linear_backward(dprojected, saved["project"])
    dimages, dtower = image_encoder_backward(dpooled, saved["tower"])
    return dimages, {"image": dtower, "image_projection": dprojection}


def encode_text(params: Parameters, config: CLIPConfig, tokens: Int[Array, "B T"]) -> tuple[Float[Array, "B E"], Saved]:
    """Token ids -> unit vectors; `CLIP.encode_text` in NumPy."""
    pooled, tower = text_encoder(params["text"], config.text, tokens)
    projected, project = linear(params["text_projection"], pooled)
    embeddings, normalise = l2_normalise(projected)
    return embeddings, {"tower": tower, "project": project, "normalise": normalise}


def encode_text_backward(dy: Float[Array, "B E"], saved: Saved) -> Parameters:
    """The chain rule, the last step first: normalisation, projection, tower; down to the first word.

    Words are not numbers: there is no gradient of the tokens themselves. Lesson 09.
    """
    dprojected = l2_normalise_backward(dy, saved["normalise"])
    dpooled, dprojection = linear_backward(dprojected, saved["project"])
    return {"text": text_encoder_backward(dpooled, saved["tower"]), "text_projection": dprojection}
