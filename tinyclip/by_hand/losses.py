"""The two losses, from embeddings to one number and back.

Forwards, backwards and gradients as in `layers.py`; the backward of a number starts with 1, so it needs no `dy`.
B pictures · M texts, the first B of which belong to the pictures · E embedding. Lesson 07 has the losses, lesson 09 the way back.
"""

import math

import numpy as np
from jaxtyping import Bool, Float

from .layers import Array, Saved, sigmoid
from .transformer import softmax

Scalar = Float[Array, ""] | np.floating | float


def cross_entropy(logits: Float[Array, "B M"], targets: Float[Array, "B M"]) -> tuple[Scalar, Saved]:
    """-Σ target log softmax(logits), the mean over rows; each row of targets is first shared out to sum to 1."""
    targets = targets / targets.sum(-1, keepdims=True)
    high = logits.max(-1, keepdims=True)
    log_p = logits - high - np.log(np.exp(logits - high).sum(-1, keepdims=True))
    return -(targets * log_p).sum(-1).mean(), {"p": softmax(logits)[0], "targets": targets}


def cross_entropy_backward(saved: Saved) -> Float[Array, "B M"]:
    """log p_j = x_j - log Σ e^x, so δ(log p_j) = δx_j - Σ_k p_k δx_k. Weighted with targets that sum to 1: dx = (p - target) / B.

    What was predicted minus what is true: the simplest gradient there is. `saved` holds "p" and the shared-out "targets", each (B, M).
    """
    return (saved["p"] - saved["targets"]) / len(saved["p"])


def true_pairs(positives: Bool[Array, "B m"] | None, B: int, M: int) -> Bool[Array, "B M"]:
    """Which text is true of which picture: the i-th of the i-th, unless more is known; texts that `positives` leaves out are true of none."""
    true = np.zeros((B, M), bool)
    positives = np.eye(B, dtype=bool) if positives is None else positives
    true[:, : positives.shape[1]] = positives
    return true


def contrastive_loss(
    images: Float[Array, "B E"], texts: Float[Array, "M E"], logit_scale: Scalar, positives: Bool[Array, "B m"] | None = None
) -> tuple[Scalar, Saved]:
    """The mean of two cross-entropies: each picture chooses among all texts, each text of a picture among the pictures."""
    B, M = len(images), len(texts)
    cosines = images @ texts.T  # (B, M)
    logits = logit_scale * cosines
    targets = true_pairs(positives, B, M).astype(logits.dtype)
    image_to_text, rows = cross_entropy(logits, targets)
    text_to_image, columns = cross_entropy(logits[:, :B].T, targets[:, :B].T)
    saved = {"images": images, "texts": texts, "logit_scale": logit_scale, "cosines": cosines, "rows": rows, "columns": columns}
    return (image_to_text + text_to_image) / 2, saved


def contrastive_loss_backward(saved: Saved) -> tuple[Float[Array, "B E"], Float[Array, "M E"], Scalar]:
    """dlogits is half of each direction's, the second turned back; texts without a picture were asked in the first alone.

    With logits = s I Tᵀ: dI = s dlogits T, dT = s dlogitsᵀ I, and ds = Σ dlogits ∘ (I Tᵀ). `saved` holds images, texts, logit_scale and cosines,
    and as rows and columns what `cross_entropy` saved of the two directions.
    """
    images, texts, scale = saved["images"], saved["texts"], saved["logit_scale"]
    dlogits = cross_entropy_backward(saved["rows"]) / 2  # (B, M)
    dlogits[:, : len(images)] += cross_entropy_backward(saved["columns"]).T / 2
    dscale = (dlogits * saved["cosines"]).sum()
    return scale * dlogits @ texts, scale * dlogits.T @ images, dscale


def contrastive_loss_by_loops(images: Float[Array, "B E"], texts: Float[Array, "B E"], logit_scale: Scalar) -> float:
    """`contrastive_loss` of plain pairs, one question at a time: how surprised is each picture by its text, and each text by its picture? Slow."""
    B, surprise = len(images), 0.0
    for i in range(B):
        own = float(logit_scale * images[i] @ texts[i])
        among_texts = [float(logit_scale * images[i] @ texts[j]) for j in range(B)]
        among_images = [float(logit_scale * images[j] @ texts[i]) for j in range(B)]
        for logits in (among_texts, among_images):
            most = max(logits)
            surprise += most + math.log(sum(math.exp(logit - most) for logit in logits)) - own  # -log of the softmax at its own
    return surprise / (2 * B)


def sigmoid_loss(
    images: Float[Array, "B E"], texts: Float[Array, "M E"], logit_scale: Scalar, logit_bias: Scalar, positives: Bool[Array, "B m"] | None = None
) -> tuple[Scalar, Saved]:
    """Σ log(1 + e^(-z l)) / B over all pairs, where l is the pair's logit and z is 1 for a true pair and -1 for any other."""
    cosines = images @ texts.T  # (B, M)
    logits = logit_scale * cosines + logit_bias
    signs = np.where(true_pairs(positives, len(images), len(texts)), 1, -1).astype(logits.dtype)
    loss = np.logaddexp(0, -signs * logits).sum() / len(images)
    return loss, {"images": images, "texts": texts, "logit_scale": logit_scale, "cosines": cosines, "logits": logits, "signs": signs}


def sigmoid_loss_backward(saved: Saved) -> tuple[Float[Array, "B E"], Float[Array, "M E"], Scalar, Scalar]:
    """The slope of log(1 + e^-x) is -sigmoid(-x), so dl = -z sigmoid(-z l) / B; from there as in the contrastive loss, and dbias = Σ dl.

    `saved` holds images, texts, logit_scale, cosines, logits (all B M of them) and signs, the z.
    """
    images, texts, scale, signs = saved["images"], saved["texts"], saved["logit_scale"], saved["signs"]
    dlogits = -signs * sigmoid(-signs * saved["logits"]) / len(images)
    dscale, dbias = (dlogits * saved["cosines"]).sum(), dlogits.sum()
    return scale * dlogits @ texts, scale * dlogits.T @ images, dscale, dbias
