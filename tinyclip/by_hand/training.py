"""The loss of a whole model, its gradient, and one step of AdamW: all that a framework does in a training step, in sight.

B batch · S picture side · T text tokens · M texts, the first B of which belong to the pictures. Lesson 09 has the gradient, lesson 10 the step.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ..config import CLIPConfig, TrainConfig
from .layers import Array, Parameters, Saved
from .losses import Scalar, contrastive_loss, contrastive_loss_backward, sigmoid_loss, sigmoid_loss_backward
from .towers import encode_image, encode_image_backward, encode_text, encode_text_backward


def clip_loss(
    params: Parameters, config: CLIPConfig, images: Float[Array, "B S S 3"], tokens: Int[Array, "M T"], positives: Bool[Array, "B m"] | None = None
) -> tuple[Scalar, Saved]:
    """The loss of a batch under the model's own loss, in nats."""
    image_embeddings, image = encode_image(params, config, images)
    text_embeddings, text = encode_text(params, config, tokens)
    scale = np.exp(params["log_logit_scale"])
    if config.loss == "sigmoid":
        loss, head = sigmoid_loss(image_embeddings, text_embeddings, scale, params["logit_bias"], positives)
    else:
        loss, head = contrastive_loss(image_embeddings, text_embeddings, scale, positives)
    return loss, {"image": image, "text": text, "head": head, "config": config}


def clip_loss_backward(saved: Saved) -> Parameters:
    """The gradient of every parameter, as a tree like `params`. With s = e^t, the temperature's is dt = s ds."""
    gradient = {}
    if saved["config"].loss == "sigmoid":
        dimages, dtexts, dscale, gradient["logit_bias"] = sigmoid_loss_backward(saved["head"])
    else:
        dimages, dtexts, dscale = contrastive_loss_backward(saved["head"])
    _, dimage = encode_image_backward(dimages, saved["image"])
    gradient |= dimage
    gradient |= encode_text_backward(dtexts, saved["text"])
    gradient["log_logit_scale"] = dscale * saved["head"]["logit_scale"]
    return gradient


def named_leaves(tree: Parameters, path: tuple = ()) -> list[tuple[tuple, Any]]:
    """Every array in a tree with the names that lead to it."""
    return [
        leaf for name, value in tree.items() for leaf in (named_leaves(value, (*path, name)) if isinstance(value, dict) else [((*path, name), value)])
    ]


def tree_of(leaves: list[tuple[tuple, Any]]) -> Parameters:
    """The inverse of `named_leaves`."""
    tree: Parameters = {}
    for path, value in leaves:
        at = tree
        for name in path[:-1]:
            at = at.setdefault(name, {})
        at[path[-1]] = value
    return tree


def clip_by_global_norm(gradient: Parameters, most: float) -> Parameters:
    """All numbers of all leaves as one long vector: cut to length `most` if it is longer, its direction kept.

    Zeros stay zeros, float32 stays float32, and the arrays given stay as they are.
    """
    norm = math.sqrt(sum(float((leaf * leaf).sum()) for _, leaf in named_leaves(gradient)))
    return tree_of([(path, leaf * leaf.dtype.type(min(1.0, most / max(norm, 1e-30)))) for path, leaf in named_leaves(gradient)])


def decays(path: tuple, leaf: Array) -> bool:
    """Weight decay is for matrices and token embeddings, and for nothing else."""
    return leaf.ndim > 1 and path[-1] not in ("position_embedding", "class_embedding")


def learning_rate(step: int, run: TrainConfig) -> float:
    """Linear warm-up from 0, for at most `steps // 2` steps, then half a cosine down to 0. `step` counts from 0."""
    warmup = min(run.warmup, run.steps // 2)
    if step < warmup:
        return run.learning_rate * step / warmup
    return run.learning_rate * (1 + math.cos(math.pi * (step - warmup) / (run.steps - warmup))) / 2


def adamw(
    params: Parameters, gradient: Parameters, moments: dict[str, Parameters] | None, step: int, run: TrainConfig
) -> tuple[Parameters, dict[str, Parameters]]:
    """One step of AdamW, with beta (0.9, 0.98) and eps 1e-6 as for CLIP's ViTs; returns the new parameters and moments (None before the first step).

    The gradient is first cut to `run.clip_norm`. `step` counts from 0, and t is step + 1. The arrays given stay as they are.
    Moments are {"mean": a tree as params, "square": another}: running averages of g and g². Both start at 0 and are too small by the factor
    1 - betaᵗ at first: dividing it out leaves averages of what was seen. Each number then moves by about the learning rate, whatever the size
    of its gradient: mean / √square. Weight decay pulls towards 0 apart from that, and is not scaled by any gradient (the W in AdamW).
    """
    gradient = clip_by_global_norm(gradient, run.clip_norm)
    means, squares = ({} if moments is None else dict(named_leaves(moments[name])) for name in ("mean", "square"))
    gradients, t, rate, moved = dict(named_leaves(gradient)), step + 1, learning_rate(step, run), []
    for path, leaf in named_leaves(params):
        g = gradients[path]
        means[path] = 0.9 * means.get(path, 0) + 0.1 * g
        squares[path] = 0.98 * squares.get(path, 0) + 0.02 * g * g
        update = means[path] / (1 - 0.9**t) / (np.sqrt(squares[path] / (1 - 0.98**t)) + 1e-6)
        if decays(path, leaf):
            update = update + run.weight_decay * leaf
        moved.append((path, np.asarray(leaf - rate * update)))
    return tree_of(moved), {"mean": tree_of(list(means.items())), "square": tree_of(list(squares.items()))}


def train_step(
    params: Parameters,
    moments: dict[str, Parameters] | None,
    step: int,
    batch: tuple[Array, Array, Array | None],
    config: CLIPConfig,
    run: TrainConfig,
) -> tuple[Parameters, dict[str, Parameters], Scalar]:
    """One training step on (images, tokens, positives), as `train.make_step` takes it; returns parameters, moments and the loss before it."""
    images, tokens, positives = batch
    loss, saved = clip_loss(params, config, images, tokens, positives)
    params, moments = adamw(params, clip_loss_backward(saved), moments, step, run)
    if config.loss == "contrastive":
        scale = params["log_logit_scale"]
        params["log_logit_scale"] = np.asarray(np.clip(scale, 0, math.log(100)), scale.dtype)
    return params, moments, loss
