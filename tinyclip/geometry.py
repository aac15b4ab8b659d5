"""The shape of the space: the gap between pictures and sentences, whether its distances mirror the world's, and whether meanings add up.

Plain arrays in, numbers out; rows are things, and row i of two arrays is the same thing. n things · E embedding · F factors. Lesson 14.
"""

import numpy as np
from jaxtyping import Float, Int

from .evaluate import recall_at_k, to_unit


def close_gap(
    images: Float[np.ndarray, "B E"], texts: Float[np.ndarray, "M E"], share: float
) -> tuple[Float[np.ndarray, "B E"], Float[np.ndarray, "M E"]]:
    """Both sets moved towards each other along the line that joins their means, each by half of `share`, and back to length 1. Lesson 14.

    A share of 0 changes nothing, 1 puts the two means in one place (until the lengths are mended), more makes them pass each other, and less
    than 0 widens the gap (Liang et al. 2022, section 4.2; widened in 5.2).
    """
    step = share / 2 * (texts.mean(0) - images.mean(0))  # (E,)
    return to_unit(images + step), to_unit(texts - step)


def cosine_distances(points: Float[np.ndarray, "n E"]) -> Float[np.ndarray, "p"]:
    """1 - cosine of every pair of rows, each pair once: p = n (n - 1) / 2 numbers. Lesson 14."""
    points = to_unit(points)
    first, second = np.triu_indices(len(points), 1)
    return 1 - (points @ points.T)[first, second]


def one_hot_factors(meaning: Int[np.ndarray, "n F"]) -> Float[np.ndarray, "n f"]:
    """A world's factors as points: one 1 for each factor, at its value. Two rows' cosine is the share of factors they agree in. Lesson 14."""
    return np.concatenate([np.eye(column.max() + 1)[column] for column in meaning.T], axis=1)


def ranks(values: Float[np.ndarray, "p"]) -> Float[np.ndarray, "p"]:
    """Each value's place from the smallest, which is 0; values that tie share the mean of their places. Lesson 14."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(sizes) - (sizes + 1) / 2)[group]


def spearman(x: Float[np.ndarray, "p"], y: Float[np.ndarray, "p"]) -> float:
    """How alike two lists are in order, -1..1: the correlation of their ranks (Spearman 1904). Lesson 14.

    A list whose values are all alike has no order and agrees with none: 0.
    """
    a, b = ranks(x), ranks(y)
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm else 0.0


def representational_similarity(x: Float[np.ndarray, "n E"], y: Float[np.ndarray, "n e"]) -> float:
    """Are things that are near in one space near in the other? The rank correlation of both spaces' cosine distances. Lesson 14.

    The spaces need not have the same axes, nor as many (Kriegeskorte et al. 2008). What chance gives: shuffle the rows of one.
    """
    return spearman(cosine_distances(x), cosine_distances(y))


def analogies(meaning: Int[np.ndarray, "n F"], factor: int) -> Int[np.ndarray, "A 4"]:
    """All rows (a, b, c, d) with "a is to b as d is to c" in one factor: red circle - blue circle + blue star = red star. Lesson 14.

    a and b differ in `factor` only, and so do d and c, in the same way; c differs from b in something else. No meaning may occur twice.
    """
    row_of = {tuple(row): i for i, row in enumerate(meaning.tolist())}
    found = []
    for a, to in enumerate(meaning.tolist()):
        for b, start in enumerate(meaning.tolist()):
            if a == b or any(to[f] != start[f] for f in range(len(to)) if f != factor):
                continue
            for c in np.flatnonzero(meaning[:, factor] == start[factor]).tolist():
                d = row_of.get((*meaning[c, :factor].tolist(), to[factor], *meaning[c, factor + 1 :].tolist()))
                if c != b and d is not None:
                    found.append((a, b, c, d))
    return np.array(found, int).reshape(-1, 4)


def analogy_accuracy(
    directions: Float[np.ndarray, "n E"],
    starts: Float[np.ndarray, "n E"],
    gallery: Float[np.ndarray, "n E"],
    rows: Int[np.ndarray, "A 4"],
    exclude: bool = True,
) -> float:
    """The share of analogies for which the thing nearest to directions[a] - directions[b] + starts[c] is the gallery's d. Lesson 14.

    The three spaces may differ: text directions can be added to pictures. With `exclude`, a, b and c may not be the answer, as is usual
    (Mikolov et al. 2013) and flattering (Linzen 2016): the sum often lies nearest to c. Ties count as luck, as in `recall_at_k`.
    """
    a, b, c, d = rows.T
    similarity = (directions[a] - directions[b] + starts[c]) @ to_unit(gallery).T  # (A, n)
    if exclude:
        np.put_along_axis(similarity, rows[:, :3], -np.inf, axis=1)
    return recall_at_k(similarity, np.arange(len(gallery)) == d[:, None], 1)
