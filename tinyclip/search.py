"""What the space is for: pictures by sentence, sentences by picture, classes by description. All three are one thing: nearest neighbours.

Lesson 11. CLIP paper, section 3.1.
"""

import numpy as np
from jaxtyping import Float, Int

from .bundle import Bundle

BLOCK = 65_536  # rows scored at once: memory for the scores stays small, however large (or memory-mapped) the gallery


def nearest(query: Float[np.ndarray, "E"], gallery: Float[np.ndarray, "G E"], k: int) -> tuple[Int[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """The k rows of the gallery with the largest dot product, best first, and these products; exact, ties by lower index. Lessons 00 and 11.

    k larger than the gallery gives the whole gallery. It is scored `BLOCK` rows at a time, of which only the best are kept: memory stays small,
    however large it is.
    """
    rows, scores, worst = np.zeros(0, np.int64), np.zeros(0, np.float32), -np.inf
    for start in range(0, len(gallery), BLOCK):
        part = gallery[start : start + BLOCK] @ query
        likely = np.flatnonzero(part >= worst)  # nearly none, once a few blocks have been seen
        rows, scores = np.concatenate([rows, start + likely]), np.concatenate([scores, part[likely]])
        if len(rows) > k:
            worst = np.partition(scores, len(scores) - k)[len(scores) - k]
            keep = np.flatnonzero(scores >= worst)  # may hold more than k where scores tie: the sort below decides
            rows, scores = rows[keep], scores[keep]
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


def classify(bundle: Bundle, image: Float[np.ndarray, "E"], captions: list[str]) -> Float[np.ndarray, "C"]:
    """Probabilities over the given captions for one embedded picture: the softmax of its scaled cosines.

    They are relative to these captions: with a single one it is always 1. A model trained with the sigmoid loss gives each its own
    probability instead.
    """
    model = bundle.model
    logits = float(model.logit_scale) * (bundle.embed_texts(captions) @ image)  # (C,)
    if model.logit_bias is not None:
        return 1 / (1 + np.exp(-(logits + float(model.logit_bias[...]))))
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()
