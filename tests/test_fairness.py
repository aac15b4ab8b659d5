"""Group by group: accuracies and their gap, equalised odds, even drawing and what it costs, and how sure a small group leaves us."""

import warnings

import numpy as np
import pytest
from helpers import check, seeded

from tinyclip.fairness import balanced_chances, effective_number, equalised_odds, gap, group_accuracies, wilson_interval


def test_accuracies_are_counted_group_by_group():
    rng = np.random.default_rng(0)
    right, group = rng.random(50) < 0.6, np.r_[np.arange(4), rng.integers(0, 4, 46)]
    wanted = [sum(r for r, g in zip(right, group, strict=True) if g == k) / sum(g == k for g in group) for k in range(4)]
    check("group_accuracies of 50 answers in 4 groups", group_accuracies(right, group, 4), np.array(wanted), 1e-12)
    check("gap of 0.9, 0.2, 0.6", gap(np.array([0.9, 0.2, 0.6])), 0.7, 1e-12)


def test_a_group_without_members_has_no_accuracy():
    with pytest.raises(ValueError, match="nobody belongs to group 1"):
        group_accuracies(np.array([True, False]), np.array([0, 2]), 3)


def rates_by_hand(said, true, member):
    counts = {(t, m): [0, 0] for t in (True, False) for m in (True, False)}  # [yes, asked]
    for s, t, m in zip(said.tolist(), true.tolist(), member.tolist(), strict=True):
        counts[t, m][0] += s
        counts[t, m][1] += 1
    share = {key: yes / asked for key, (yes, asked) in counts.items()}
    return share[True, True] - share[True, False], share[False, True] - share[False, False]


@pytest.mark.exercise("15.1")
def test_the_odds_differ_by_what_counting_gives():
    rng = seeded(151)
    every = np.array([[s, t, m] for s in (0, 1) for t in (0, 1) for m in (0, 1)], bool)  # so that no rate is one of nobody
    for number, shares in ((40, (0.7, 0.2, 0.4)), (90, (0.3, 0.8, 0.7))):
        said, true, member = np.concatenate([every, rng.random((number, 3)) < shares]).T
        odds = equalised_odds(said, true, member)
        assert isinstance(odds, tuple) and len(odds) == 2, "equalised_odds should return two numbers: the difference for true and for false positives"
        hint = "first the rates among those for whom yes is true, then among those for whom it is not; members less others"
        check(f"equalised_odds of {number + 8} answers", np.array(odds), np.array(rates_by_hand(said, true, member)), 1e-9, hint)


@pytest.mark.exercise("15.1")
def test_answers_that_look_only_at_the_truth_have_equal_odds():
    true, member = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0], bool), np.array([1, 0, 0, 0, 1, 1, 1, 1, 0], bool)
    check("equalised_odds of always right answers", np.array(equalised_odds(true, true, member)), np.zeros(2), 1e-12, "all rates are 1 or 0")
    check("equalised_odds of always wrong answers", np.array(equalised_odds(~true, true, member)), np.zeros(2), 1e-12, "all rates are 0 or 1")
    check("equalised_odds of yes to members only", np.array(equalised_odds(member, true, member)), np.ones(2), 1e-12, "members get yes, others no")
    check("equalised_odds of yes to others only", np.array(equalised_odds(~member, true, member)), -np.ones(2), 1e-12, "a difference has a sign")


@pytest.mark.exercise("15.1")
def test_a_rate_of_nobody_is_an_error():
    yes, no = np.ones(3, bool), np.zeros(3, bool)
    some = np.array([True, False, True])
    for case, (true, member) in enumerate(((yes, some), (no, some), (some, yes), (some, no), (some, some))):
        raises_one_of_nobody(case, some, true, member)


def raises_one_of_nobody(case, said, true, member):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns of the mean of nothing, but does not say whose
        try:
            got = equalised_odds(said, true, member)
        except ValueError:
            got = "a ValueError"
    assert got == "a ValueError", f"equalised_odds, where a rate is one of nobody (case {case}), should raise a ValueError, got {got}"


@pytest.mark.exercise("15.2")
def test_every_group_is_drawn_equally_often():
    rng = seeded(152)
    names = np.array([7, 2, 11, 4])  # any numbers may name groups
    group = rng.permutation(np.repeat(names, [1, 3, 10, 26]))
    chances = balanced_chances(group)
    wanted = np.array([1 / (4 * sum(group == g)) for g in group])
    check("balanced_chances of 40 examples in 4 groups", chances, wanted, 1e-12, "the chances of a group's members sum to 1/4")
    check("sum of balanced_chances", chances.sum(), 1.0, 1e-12, "chances sum to 1")


@pytest.mark.exercise("15.2")
def test_even_groups_are_drawn_evenly():
    check("balanced_chances of 3 groups of 2", balanced_chances(np.array([0, 1, 2, 2, 1, 0])), np.full(6, 1 / 6), 1e-12, "all groups are of one size")
    check("balanced_chances of one group of 5", balanced_chances(np.full(5, 3)), np.full(5, 0.2), 1e-12, "there is one group")


def test_the_effective_number_counts_what_is_drawn():
    check("effective_number of 8 even chances", effective_number(np.full(8, 0.125)), 8.0, 1e-12)
    check("effective_number of one that is always drawn", effective_number(np.array([1.0, 0, 0])), 1.0, 1e-12)
    check("effective_number, scaled", effective_number(np.array([3.0, 3.0, 0.0])), 2.0, 1e-12, "the scale of the chances does not matter")
    members = np.array([1, 3, 10, 26])
    chances = balanced_chances(np.repeat(np.arange(4), members))
    check("effective_number of 4 balanced groups", effective_number(chances), 16 / (1 / members).sum(), 1e-9, "G² over the sum of 1 / members")


def test_wilsons_interval_is_where_the_error_is_z_standard_errors():
    for right, number in ((0, 5), (5, 5), (3, 10), (450, 500)):
        for edge in wilson_interval(right, number, 2.0):
            hint = "at both ends of the interval the share lies z = 2 standard errors away"
            check(f"edge of {right} of {number}", (right / number - edge) ** 2, 4 * edge * (1 - edge) / number, 1e-12, hint)
    low, high = wilson_interval(0, 5)
    assert abs(low) < 1e-12 and 0.4 < high < 0.5, f"0 of 5 right allows a true share of up to 43 %, but the interval is {low:.2f} to {high:.2f}"


def test_errors_are_one_sentence():
    some, yes = np.array([True, False]), np.array([True, True])
    try:
        equalised_odds(some, some, yes)
    except ValueError as error:
        assert "nobody for whom true is True and member is False" in str(error), f"the error should say which rate is one of nobody: {error}"
    else:
        raise AssertionError("equalised_odds without others should raise a ValueError")
