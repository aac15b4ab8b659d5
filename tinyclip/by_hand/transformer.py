"""Attention and the block around it, the only place where tokens look at one another.

Forwards, backwards and gradients as in `layers.py`. B batch · T tokens (queries; keys are counted with t) · D width · H heads · K head width.
Lesson 04 has attention, lesson 09 the way back.
"""

import math

import numpy as np
from jaxtyping import Bool, Float

from .layers import Array, Parameters, Saved, layer_norm, layer_norm_backward, linear, linear_backward, mlp, mlp_backward


def softmax(x: Float[Array, "*B t"]) -> tuple[Float[Array, "*B t"], Saved]:
    """p = e^x / Σ e^x on the last axis. Taking the largest x off first changes nothing but keeps e^x from overflowing."""
    powers = np.exp(x - x.max(-1, keepdims=True))
    p = powers / powers.sum(-1, keepdims=True)
    return p, {"p": p}


def softmax_backward(dy: Float[Array, "*B t"], saved: Saved) -> Float[Array, "*B t"]:
    """δp_i = p_i (δx_i - Σ_j p_j δx_j): raising all x alike changes nothing. The map is symmetric, hence dx_i = p_i (dy_i - Σ_j p_j dy_j)."""
    p = saved["p"]
    return p * (dy - (p * dy).sum(-1, keepdims=True))


def split_heads(x: Float[Array, "B T D"], heads: int) -> Float[Array, "B H T K"]:
    """Head h gets the h-th slice of K = D / H numbers of every token."""
    B, T, D = x.shape
    return x.reshape(B, T, heads, D // heads).transpose(0, 2, 1, 3)


def merge_heads(x: Float[Array, "B H T K"]) -> Float[Array, "B T D"]:
    """The inverse of `split_heads`. Both only move numbers, so each is also the other's backward."""
    B, H, T, K = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, T, H * K)


def attention(
    params: Parameters, x: Float[Array, "B T D"], heads: int, mask: Bool[Array, "T T"] | None = None
) -> tuple[Float[Array, "B T D"], Saved]:
    """A = softmax(q kᵀ / √K), then A v, in H heads; `mask` is True where a query may look."""
    (q, query), (k, key), (v, value) = (linear(params[name], x) for name in ("query", "key", "value"))
    q, k, v = (split_heads(a, heads) for a in (q, k, v))  # (B, H, T, K)
    scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(q.shape[-1])  # (B, H, T, T)
    if mask is not None:
        scores = np.where(mask, scores, np.finfo(scores.dtype).min)
    weights, soft = softmax(scores)
    y, out = linear(params["out"], merge_heads(weights @ v))
    return y, {"q": q, "k": k, "v": v, "soft": soft, "query": query, "key": key, "value": value, "out": out}


def attention_backward(dy: Float[Array, "B T D"], saved: Saved) -> tuple[Float[Array, "B T D"], Parameters]:
    """With O = A v: dA = dO vᵀ and dv = Aᵀ dO. With S = q kᵀ / √K: dq = dS k / √K and dk = dSᵀ q / √K.

    A masked score has A = 0, and the softmax's backward multiplies by A: its gradient is 0 without a word about the mask. x went three ways,
    so its gradient is the sum of three.
    """
    q, k, v, weights = saved["q"], saved["k"], saved["v"], saved["soft"]["p"]
    heads, root = q.shape[1], math.sqrt(q.shape[-1])
    dmerged, dout = linear_backward(dy, saved["out"])
    dheads = split_heads(dmerged, heads)  # (B, H, T, K)
    dweights = dheads @ v.transpose(0, 1, 3, 2)  # (B, H, T, T)
    dv = weights.transpose(0, 1, 3, 2) @ dheads
    dscores = softmax_backward(dweights, saved["soft"])
    dq = dscores @ k / root
    dk = dscores.transpose(0, 1, 3, 2) @ q / root
    dx_query, dquery = linear_backward(merge_heads(dq), saved["query"])
    dx_key, dkey = linear_backward(merge_heads(dk), saved["key"])
    dx_value, dvalue = linear_backward(merge_heads(dv), saved["value"])
    return dx_query + dx_key + dx_value, {"query": dquery, "key": dkey, "value": dvalue, "out": dout}


def attention_by_loops(params: Parameters, x: Float[Array, "B T D"], heads: int, mask: Bool[Array, "T T"] | None = None) -> Float[Array, "B T D"]:
    """`attention`, one sentence, one head and one query at a time: what the matrix products really say. Slow."""
    q, k, v = (x @ params[name]["kernel"] + params[name]["bias"] for name in ("query", "key", "value"))  # (B, T, D)
    B, T, D = x.shape
    K, mixed = D // heads, np.zeros_like(x)
    for b in range(B):
        for h in range(heads):
            mine = slice(h * K, (h + 1) * K)
            for i in range(T):  # token i asks
                visible = [j for j in range(T) if mask is None or mask[i, j]]
                scores = [float(q[b, i, mine] @ k[b, j, mine]) / math.sqrt(K) for j in visible]
                powers = [math.exp(score - max(scores)) for score in scores]
                for j, power in zip(visible, powers, strict=True):  # token j answers, as loudly as its key fits
                    mixed[b, i, mine] += power / sum(powers) * v[b, j, mine]
    return mixed @ params["out"]["kernel"] + params["out"]["bias"]


def block(
    params: Parameters, x: Float[Array, "B T D"], heads: int, activation: str, eps: float, mask: Bool[Array, "T T"] | None = None
) -> tuple[Float[Array, "B T D"], Saved]:
    """x + attention(norm(x)), then x + mlp(norm(x))."""
    tokens, norm_1 = layer_norm(params["norm_1"], x, eps)
    attended, attend = attention(params["attention"], tokens, heads, mask)
    x = x + attended
    tokens, norm_2 = layer_norm(params["norm_2"], x, eps)
    thought, think = mlp(params["mlp"], tokens, activation)
    return x + thought, {"norm_1": norm_1, "attention": attend, "norm_2": norm_2, "mlp": think}


def block_backward(dy: Float[Array, "B T D"], saved: Saved) -> tuple[Float[Array, "B T D"], Parameters]:
    """A sum hands its gradient to both of its terms. So dy reaches x unchanged along the residual, past all layers, and each branch adds its own:
    this is much of why deep towers learn.
    """
    dtokens, dmlp = mlp_backward(dy, saved["mlp"])
    dx, dnorm_2 = layer_norm_backward(dtokens, saved["norm_2"])
    dx = dy + dx
    dtokens, dattention = attention_backward(dx, saved["attention"])
    dbranch, dnorm_1 = layer_norm_backward(dtokens, saved["norm_1"])
    return dx + dbranch, {"norm_1": dnorm_1, "attention": dattention, "norm_2": dnorm_2, "mlp": dmlp}
