"""For whom does a model work? Accuracy group by group, the gap between groups, what one answer means in each, and how sure that is.

Measures on plain arrays: whether each of B answers was right, and who belongs to which group. Lesson 15.
"""

import numpy as np
from jaxtyping import Bool, Float, Int


def group_accuracies(right: Bool[np.ndarray, "B"], group: Int[np.ndarray, "B"], groups: int) -> Float[np.ndarray, "G"]:
    """The share of right answers in each of `groups` groups, 0..1. Lesson 15; the least of them is the worst-group accuracy (Sagawa et al. 2020).

    Raises ValueError for a group that nobody belongs to: it has no accuracy, and leaving it out would hide that it was never tested.
    """
    members = np.bincount(group, minlength=groups)
    if not members.all():
        raise ValueError(f"group_accuracies: nobody belongs to group {int(members.argmin())}")
    return np.bincount(group, weights=right, minlength=groups) / members


def gap(accuracies: Float[np.ndarray, "G"]) -> float:
    """How far the worst group lies behind the best, 0..1. Lesson 15."""
    return float(accuracies.max() - accuracies.min())


def equalised_odds(said: Bool[np.ndarray, "B"], true: Bool[np.ndarray, "B"], member: Bool[np.ndarray, "B"]) -> tuple[float, float]:
    """True and false positive rate of a yes-or-no answer among members, less the same among all others: both -1..1. Lesson 15.

    The true positive rate is the share of yes where yes is true, the false positive rate the share of yes where it is not. Odds are equalised
    when both differences are 0 (Hardt et al. 2016). Raises ValueError where a rate is one of nobody.
    """
    rates = []
    for truth in (True, False):
        for own in (True, False):
            asked = (true == truth) & (member == own)
            if not asked.any():
                raise ValueError(f"equalised_odds: nobody for whom true is {truth} and member is {own}")
            rates.append(said[asked].mean())
    return float(rates[0] - rates[1]), float(rates[2] - rates[3])


def balanced_chances(group: Int[np.ndarray, "B"]) -> Float[np.ndarray, "B"]:
    """The chance with which to draw each example, so that every group that occurs is drawn equally often; they sum to 1. Lesson 15.

    Within a group all are equally likely: the members of a small group are drawn again and again.
    """
    _, own, members = np.unique(group, return_inverse=True, return_counts=True)
    return 1 / (len(members) * members[own])


def effective_number(chances: Float[np.ndarray, "B"]) -> float:
    """As how many evenly drawn examples do these count? (Σ p)² / Σ p², from 1 to B (Kish 1965). What uneven drawing costs. Lesson 15."""
    return float(chances.sum() ** 2 / (chances**2).sum())


def wilson_interval(right: int, number: int, z: float = 1.96) -> tuple[float, float]:
    """Where a share may truly lie when `right` of `number` answers were right; `z` = 1.96 gives 95 % (Wilson 1927). Lesson 15.

    Unlike share ± z · standard error it is honest for few answers: 0 of 5 right does not mean never.
    """
    share, spread = right / number, z * z / number
    middle, half = share + spread / 2, z * np.sqrt(share * (1 - share) / number + spread / (4 * number))
    return float((middle - half) / (1 + spread)), float((middle + half) / (1 + spread))
