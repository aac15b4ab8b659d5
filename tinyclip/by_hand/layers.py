"""The layers that look at one token at a time, and what runs backward through them.

Every forward returns its result and, by name, what its backward will need. Every backward takes `dy`, the gradient of the loss with respect to
that result (of the same shape), and returns gradients of the same shapes as what went in. They all follow from one rule: a small change of the
inputs changes the loss by the sum, over all numbers of y, of dy times their change. Write down the change of y, sort by input, read off.

B batch · T tokens · D width. `*B` stands for any leading axes. Lesson 04 has the layers, lesson 09 the way back.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

Saved = dict[str, Any]
Parameters = dict[Any, Any]  # a nested dict of arrays, in the shape of the Flax model's
Array = np.ndarray


def linear(params: Parameters, x: Float[Array, "*B i"]) -> tuple[Float[Array, "*B o"], Saved]:
    """y = x W + b on the last axis; W is (in, out), and b may be missing."""
    y = x @ params["kernel"]
    return y + params["bias"] if "bias" in params else y, {"x": x, "params": params}


def linear_backward(dy: Float[Array, "*B o"], saved: Saved) -> tuple[Float[Array, "*B i"], Parameters]:
    """The change of y is δx W + x δW + δb. Hence dx = dy Wᵀ, dW = xᵀ dy and db = Σ dy, both summed over all tokens of all sentences.

    x may have any number of axes before the last. `saved` holds x and params; the gradient has the keys of params, so no "bias" where there is none.
    """
    x, params = saved["x"], saved["params"]
    dx = dy @ params["kernel"].T
    dy_flat, x_flat = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])  # (B·T, o), (B·T, i)
    gradient = {"kernel": x_flat.T @ dy_flat}
    if "bias" in params:
        gradient["bias"] = dy_flat.sum(0)
    return dx, gradient


def layer_norm(params: Parameters, x: Float[Array, "*B D"], eps: float) -> tuple[Float[Array, "*B D"], Saved]:
    """y = g n + b, where n = (x - mean) / sqrt(variance + eps), over the D numbers of each token."""
    centred = x - x.mean(-1, keepdims=True)
    inverse = 1 / np.sqrt((centred * centred).mean(-1, keepdims=True) + eps)  # one over the standard deviation
    normalised = centred * inverse
    return normalised * params["scale"] + params["bias"], {"normalised": normalised, "inverse": inverse, "params": params}


def layer_norm_backward(dy: Float[Array, "*B D"], saved: Saved) -> tuple[Float[Array, "*B D"], Parameters]:
    """dg = Σ dy n and db = Σ dy over all tokens; dn = dy g. What remains is n = c r, with c = x - mean and r = (mean(c²) + eps)^-½.

    δr = -r³ mean(c δc), so δn = r δc - c r³ mean(c δc) = r (δc - n mean(n δc)). The map from δc to δn is symmetric, so the same map takes
    dn to dc; and so is the one that takes the mean off: dx = dc - mean(dc). Since n has mean 0, together
    dx = r (dn - mean(dn) - n mean(n dn)): neither a shift nor a stretch of a token can change the loss, and the gradient has no part in
    either direction. `saved` holds n as normalised, r as inverse, and params.
    """
    n, r = saved["normalised"], saved["inverse"]
    tokens = tuple(range(dy.ndim - 1))
    gradient = {"scale": (dy * n).sum(tokens), "bias": dy.sum(tokens)}
    dn = dy * saved["params"]["scale"]
    dx = r * (dn - dn.mean(-1, keepdims=True) - n * (n * dn).mean(-1, keepdims=True))
    return dx, gradient


def sigmoid(x: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """1 / (1 + e^-x), by whichever of e^x and e^-x does not overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def quick_gelu(x: Float[Array, "*B D"]) -> tuple[Float[Array, "*B D"], Saved]:
    """x s, where s = sigmoid(1.702 x)."""
    s = sigmoid(1.702 * x)
    return x * s, {"x": x, "s": s}


def quick_gelu_backward(dy: Float[Array, "*B D"], saved: Saved) -> Float[Array, "*B D"]:
    """The sigmoid's slope is s (1 - s), so the product rule gives dx = dy (s + 1.702 x s (1 - s))."""
    x, s = saved["x"], saved["s"]
    return dy * (s + 1.702 * x * s * (1 - s))


def gelu(x: Float[Array, "*B D"]) -> tuple[Float[Array, "*B D"], Saved]:
    """x Φ, where Φ = (1 + erf(x / √2)) / 2 is the chance that a standard normal number is below x."""
    phi = ((1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2))) / 2).astype(x.dtype)
    return x * phi, {"x": x, "phi": phi}


def gelu_backward(dy: Float[Array, "*B D"], saved: Saved) -> Float[Array, "*B D"]:
    """Φ's slope is the bell curve e^(-x²/2) / √(2π), so the product rule gives dx = dy (Φ + x e^(-x²/2) / √(2π))."""
    x, phi = saved["x"], saved["phi"]
    return dy * (phi + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi))


ACTIVATIONS = {"quick_gelu": (quick_gelu, quick_gelu_backward), "gelu": (gelu, gelu_backward)}


def mlp(params: Parameters, x: Float[Array, "B T D"], activation: str) -> tuple[Float[Array, "B T D"], Saved]:
    """Two linear layers with an activation between them."""
    hidden, up = linear(params["up"], x)
    active, middle = ACTIVATIONS[activation][0](hidden)
    y, down = linear(params["down"], active)
    return y, {"up": up, "middle": middle, "down": down, "activation": activation}


def mlp_backward(dy: Float[Array, "B T D"], saved: Saved) -> tuple[Float[Array, "B T D"], Parameters]:
    """The chain rule, last layer first: each backward's dx is the dy of the one before it."""
    dactive, ddown = linear_backward(dy, saved["down"])
    dhidden = ACTIVATIONS[saved["activation"]][1](dactive, saved["middle"])
    dx, dup = linear_backward(dhidden, saved["up"])
    return dx, {"up": dup, "down": ddown}


def l2_normalise(x: Float[Array, "*B E"], eps: float = 1e-12) -> tuple[Float[Array, "*B E"], Saved]:
    """u = x r, where r = (|x|² + eps)^-½: every row to length 1, and a row of zeros stays zeros."""
    inverse = 1 / np.sqrt((x * x).sum(-1, keepdims=True) + x.dtype.type(eps))
    return x * inverse, {"unit": x * inverse, "inverse": inverse}


def l2_normalise_backward(dy: Float[Array, "*B E"], saved: Saved) -> Float[Array, "*B E"]:
    """δr = -r³ (x · δx), so δu = r (δx - u (u · δx)): what is along u is taken out. The map is symmetric, hence dx = r (dy - u (u · dy)).

    The gradient is at right angles to the embedding: a length that is thrown away cannot matter.
    """
    u, r = saved["unit"], saved["inverse"]
    return r * (dy - u * (u * dy).sum(-1, keepdims=True))
