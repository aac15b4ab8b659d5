"""The two losses: every picture must find its sentence and every sentence its picture, by softmax or by sigmoid.

Similarities are taken in at least float32: with a scale of 100, rounding them to bfloat16 moves a logit by up to 0.2.
B pairs · M texts, B or more (extra texts are hard negatives) · E joint embedding. Lessons 07 and 08.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .transformer import at_least_float32

Scalar = Float[Array, ""]


def cross_entropy(logits: Float[Array, "R C"], targets: Float[Array, "R C"]) -> Scalar:
    """Mean over rows of -Σ target · log softmax(logits), in nats; each row of targets is first shared out to sum to 1. Lesson 07."""
    targets = targets / targets.sum(-1, keepdims=True)
    return -(targets * jax.nn.log_softmax(logits)).sum(-1).mean()


def true_pairs(positives: Bool[Array, "B m"] | None, B: int, M: int) -> Bool[Array, "B M"]:
    """Which text is true of which picture: the i-th of the i-th, unless more is known; texts that `positives` leaves out are true of none."""
    return jnp.eye(B, M, dtype=bool) if positives is None else jnp.pad(positives, ((0, 0), (0, M - positives.shape[1])))


def contrastive_loss(
    image_embeddings: Float[Array, "B E"],
    text_embeddings: Float[Array, "M E"],
    logit_scale: Float[Array, ""] | float,
    positives: Bool[Array, "B M"] | Bool[Array, "B B"] | None = None,
) -> Scalar:
    """CLIP's symmetric loss, in nats (paper, figure 3). Lesson 07; equal logits give ln B.

    `image_embeddings[i]` and `text_embeddings[i]` belong together; texts after the first B are extra negatives, which have no picture of
    their own. `positives[i, j]` = caption j is true of picture i: true captions then share the target instead of being false negatives.
    Similarities are taken in at least float32.
    """
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    B, M = len(images), len(texts)
    logits = logit_scale * images @ texts.T  # (B, M)
    targets = true_pairs(positives, B, M).astype(logits.dtype)
    image_to_text = cross_entropy(logits, targets)  # each picture chooses among all texts
    text_to_image = cross_entropy(logits[:, :B].T, targets[:, :B].T)  # each own text chooses among the pictures
    return (image_to_text + text_to_image) / 2


def sigmoid_loss(
    image_embeddings: Float[Array, "B E"],
    text_embeddings: Float[Array, "M E"],
    logit_scale: Float[Array, ""] | float,
    logit_bias: Float[Array, ""] | float,
    positives: Bool[Array, "B M"] | Bool[Array, "B B"] | None = None,
) -> Scalar:
    """Every picture with every text is its own yes-or-no question (Zhai et al. 2023, algorithm 1): a sum over all pairs, divided by B.

    Arguments as for `contrastive_loss`; here a true caption is simply one more "yes". Lesson 08.
    """
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    B, M = len(images), len(texts)
    logits = logit_scale * images @ texts.T + logit_bias  # (B, M)
    true = true_pairs(positives, B, M)
    return -jax.nn.log_sigmoid(jnp.where(true, logits, -logits)).sum() / B
