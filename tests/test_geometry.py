"""The geometry of the space: each measure against a loop, a closed form, or a space whose geometry is known."""

import numpy as np
import pytest
from helpers import check, seeded

from tinyclip import evaluate, geometry


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def two_sets(k, B=7, M=5, E=4):
    """Unit vectors in two places of the sphere."""
    rng = seeded(k)
    return unit(rng.normal(size=(B, E)) + 2 * np.eye(E)[0]), unit(rng.normal(size=(M, E)) + 2 * np.eye(E)[1])


@pytest.mark.exercise("14.1")
def test_closing_nothing_of_the_gap_changes_nothing():
    images, texts = two_sets(1)
    moved, to = geometry.close_gap(images, texts, 0.0)
    check("close_gap with share 0, the pictures", moved, images, 1e-12, "nothing moves, and their length is 1 already")
    check("close_gap with share 0, the captions", to, texts, 1e-12, "nothing moves, and their length is 1 already")


@pytest.mark.exercise("14.1")
def test_each_set_is_moved_by_half_and_mended():
    images, texts = two_sets(2)
    gap = [sum(text[e] for text in texts) / 5 - sum(image[e] for image in images) / 7 for e in range(4)]
    for share in (1.0, -0.6, 1.7):
        want = []
        for points, half in ((images, share / 2), (texts, -share / 2)):
            for point in points:
                new = [point[e] + half * gap[e] for e in range(4)]
                length = sum(number * number for number in new) ** 0.5
                want.append([number / length for number in new])
        hint = f"pictures go by {share / 2:+g} of the arrow from their mean to the captions', captions by {-share / 2:+g}, then all to length 1"
        found = np.concatenate(geometry.close_gap(images, texts, share))
        check(f"close_gap with share {share:g} of 7 pictures and 5 captions, one below the other", found, np.array(want), 1e-9, hint)


@pytest.mark.exercise("14.1")
def test_closing_the_gap_leaves_what_it_was_given():
    images, texts = two_sets(3)
    before = images.copy(), texts.copy()
    geometry.close_gap(images, texts, 0.8)
    for name, now, then in zip(("pictures", "captions"), (images, texts), before, strict=True):
        check(f"the {name} that were given to close_gap", now, then, 0.0, "who gave them still needs them as they were")


def test_a_share_of_one_closes_most_of_the_gap_and_two_opens_it_again():
    images, texts = two_sets(4, 200, 100, 8)
    before, closed, passed = (evaluate.modality_gap(*geometry.close_gap(images, texts, share)) for share in (0.0, 1.0, 2.0))
    assert closed < 0.2 * before, f"closing the whole gap should leave little of {before:.2f}, but leaves {closed:.2f}"
    assert passed > 0.5 * before, f"moving by twice the gap should open it again on the other side, but it is {passed:.2f} instead of {before:.2f}"


def test_cosine_distances_are_those_of_a_double_loop():
    points = 3 * seeded(5).normal(size=(6, 4))
    want = [1 - unit(points[i]) @ unit(points[j]) for i in range(6) for j in range(i + 1, 6)]
    check("cosine_distances of 6 points", geometry.cosine_distances(points), np.array(want), 1e-12, "each pair once, 15 in all")


def test_the_distance_of_one_hot_factors_counts_what_differs():
    meaning = seeded(6).integers(0, 3, (9, 4))
    meaning[0] = 2  # every value occurs
    points = geometry.one_hot_factors(meaning)
    assert points.shape == (9, 12), f"four factors of three values make 12 columns, not {points.shape}"
    want = [(meaning[i] != meaning[j]).mean() for i in range(9) for j in range(i + 1, 9)]
    check("cosine distances of one-hot factors", geometry.cosine_distances(points), np.array(want), 1e-12, "the share of factors that differ")


@pytest.mark.exercise("14.2")
def test_ranks_of_numbers_that_all_differ():
    order = seeded(7).permutation(8)
    check("ranks of 8 numbers without a tie", geometry.ranks(np.sqrt(order + 1.0)), order.astype(float), 1e-12, "the smallest is 0, the largest 7")


@pytest.mark.exercise("14.2")
def test_ranks_of_numbers_that_tie():
    turn = seeded(8).permutation(6)
    values, want = np.array([2.5, -1.0, 2.5, 0.3, 2.5, 0.3]), np.array([4.0, 0.0, 4.0, 1.5, 4.0, 1.5])
    hint = "-1 is at 0; the two 0.3 share places 1 and 2, whose mean is 1.5; the three 2.5 share 3, 4 and 5"
    check(f"ranks of {values[turn].tolist()}", geometry.ranks(values[turn]), want[turn], 1e-12, hint)
    check("ranks of five equal numbers", geometry.ranks(np.full(5, seeded(9).normal())), np.full(5, 2.0), 1e-12, "all share the places 0 to 4")


@pytest.mark.exercise("14.2")
def test_ranks_are_what_counting_gives():
    values = seeded(10).integers(0, 6, 40) / 4
    want = [sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2 for value in values]
    check("ranks of 40 numbers, many of which tie", geometry.ranks(values), np.array(want), 1e-12, "those below, and half of those equal")


@pytest.mark.parametrize("many_ties", [False, True])
def test_spearman_is_scipys(many_ties):
    stats = pytest.importorskip("scipy.stats")
    rng = seeded(11)
    x, y = rng.normal(size=(2, 60))
    y = y + x
    if many_ties:
        x, y = np.round(x), np.round(y)
    want = float(stats.spearmanr(x, y).statistic)
    assert abs(geometry.spearman(x, y) - want) < 1e-12, f"scipy says {want:.6f}, tinyclip {geometry.spearman(x, y):.6f}"


def test_spearman_asks_for_order_alone():
    x = seeded(12).normal(size=30)
    assert geometry.spearman(x, np.exp(3 * x)) == pytest.approx(1), "a growing function keeps the order, so the correlation of ranks is 1"
    assert geometry.spearman(x, -(x**3)) == pytest.approx(-1), "a falling function turns the order round, so the correlation of ranks is -1"
    assert geometry.spearman(x, np.ones(30)) == 0, "a list of equal values has no order: 0"


def test_a_turned_and_widened_space_is_the_same_space():
    rng = seeded(13)
    points = unit(rng.normal(size=(20, 5)))
    turn = np.linalg.qr(rng.normal(size=(7, 7)))[0][:5]  # into seven dimensions
    same = geometry.representational_similarity(points, 3 * points @ turn)
    assert same == pytest.approx(1), f"turning and stretching a space keeps its angles, so the similarity should be 1, not {same}"
    chance = np.mean([geometry.representational_similarity(points, rng.permutation(points)) for _ in range(50)])
    assert abs(chance) < 0.1, f"when it is forgotten which thing is which, the similarity should be about 0, not {chance:.3f}"


WORLD = np.array([(c, s, z) for c in range(3) for s in range(4) for z in range(2)])


@pytest.mark.parametrize("factor", [0, 1, 2])
def test_analogies_are_all_there_are(factor):
    def differ_in(x, y):
        return set(np.flatnonzero(x != y))

    n, want = len(WORLD), set()
    for a in range(n):
        for b in range(n):
            if differ_in(WORLD[a], WORLD[b]) == {factor}:
                for c in range(n):
                    for d in range(n):
                        same_step = WORLD[d][factor] == WORLD[a][factor] and WORLD[c][factor] == WORLD[b][factor]
                        if c != b and same_step and differ_in(WORLD[c], WORLD[d]) == {factor}:
                            want.add((a, b, c, d))
    found = geometry.analogies(WORLD, factor)
    assert len(found) == len(want), f"factor {factor} has {len(want)} analogies, not {len(found)}"
    assert set(map(tuple, found.tolist())) == want, f"some analogies in factor {factor} are wrong"


def test_analogies_leave_out_what_does_not_exist():
    found = geometry.analogies(WORLD[WORLD.any(axis=1)], 0)  # without the thing 0, 0, 0
    rows = WORLD[WORLD.any(axis=1)][found]
    assert (rows[:, 0] - rows[:, 1] + rows[:, 2] == rows[:, 3]).all(), "a - b + c should be d in every factor, for every analogy"
    assert len(found) < len(geometry.analogies(WORLD, 0)), "an analogy whose answer is not among the things should be left out"
    assert geometry.analogies(WORLD[:1], 0).shape == (0, 4), "a single thing has no analogies, which is a table of no rows and four columns"


def test_a_space_that_adds_up_solves_every_analogy():
    rng = seeded(14)
    parts = [rng.normal(size=(k, 16)) for k in (3, 4, 2)]
    points = sum(part[values] for part, values in zip(parts, WORLD.T, strict=True))
    for factor in range(3):
        rows = geometry.analogies(WORLD, factor)
        for exclude in (True, False):
            found = geometry.analogy_accuracy(points, points, unit(points), rows, exclude)
            # The gallery's lengths are gone, and with them a little of what adds up.
            assert found > 0.9, f"where vectors add up, nearly all analogies should come out right, but {found:.2f} do (exclude={exclude})"


def test_excluding_the_inputs_flatters():
    points = np.eye(24)  # nothing is like anything else
    rows = geometry.analogies(WORLD, 0)
    plain = geometry.analogy_accuracy(points, points, points, rows, exclude=False)
    excluded = geometry.analogy_accuracy(points, points, points, rows)
    assert plain == 0, f"a - b + c is nearest to a and to c here, so no analogy is right, but {plain:.2f} are"
    assert excluded == pytest.approx(1 / 21), f"once a, b and c are out, all 21 others tie: 1/21, not {excluded:.3f}"


def test_no_direction_finds_c_itself():
    points = unit(seeded(15).normal(size=(24, 6)))
    rows = geometry.analogies(WORLD, 1)
    found = geometry.analogy_accuracy(np.zeros_like(points), points, points, rows, exclude=False)
    assert found == 0, f"without a direction the nearest thing is c, never d: {found}"
