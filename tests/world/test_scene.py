"""Where things stand: inside the picture, in the ninth they name, and so that exactly one relation holds."""

from functools import cache
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tinyclip.world import get_world, scene
from tinyclip.world.draw import DISTANCES
from tinyclip.world.scene import COLOURS, COLUMNS, MAX_TILT, RELATIONS, ROWS, SHAPES, SIZES, Scenes, place_pair, place_single

PAIRS = 4000  # random scenes of two things


@cache
def outline(shape):
    """The points of a shape that lie farthest out in 180 directions, in its own frame: all that its extent depends on."""
    axis = np.linspace(-1.3, 1.3, 261)
    x, y = np.meshgrid(axis, axis)
    inside = np.asarray(jax.jit(DISTANCES[shape])(np.float32(x), np.float32(y))) <= 0
    points = np.stack([x[inside], y[inside]], axis=1)
    angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    return points[np.unique((points @ np.stack([np.cos(angles), np.sin(angles)])).argmax(0))]


def extents(things):
    """Left, right, top, bottom of every thing, each (B, n), from its shape, radius, place and tilt."""
    things = type(things)(*map(np.asarray, things))
    c, s = np.cos(things.tilt)[..., None], np.sin(things.tilt)[..., None]
    edges = np.zeros((4, *things.shape.shape))
    for k, name in enumerate(SHAPES):
        (u, v), here = outline(name).T, things.shape == k
        x = things.x[here][:, None] + things.radius[here][:, None] * (c[here] * u - s[here] * v)
        y = things.y[here][:, None] + things.radius[here][:, None] * (s[here] * u + c[here] * v)
        for edge, value in zip(edges, (x.min(-1), x.max(-1), y.min(-1), y.max(-1)), strict=True):
            edge[here] = value
    return edges


@pytest.fixture(scope="module")
def pairs():
    """Random scenes of two things, half of them at the utmost of every freedom (bytes 0 and 255), and where their things are."""
    random = np.random.default_rng(5)
    meaning = get_world("pairs").seen[random.integers(len(get_world("pairs").seen), size=PAIRS)]
    meaning[:, 3] = random.integers(
        4, size=PAIRS
    )  # the world lists every scene once, as "left of" or "above"; all four must be placed rightly
    looks = random.integers(0, 256, (PAIRS, 9))
    looks[::2] = 255 * (looks[::2] > 127)
    return meaning, jax.jit(place_pair)(Scenes(meaning, looks))


@pytest.fixture(scope="module")
def singles():
    """Every meaning of one thing with every utmost of place and tilt, and where the things are."""
    every = np.concatenate([get_world("single").seen, get_world("single").held_out])
    ends = np.array(list(product((0, 255), repeat=3)))
    meaning = np.repeat(every, len(ends), axis=0)
    looks = np.hstack([np.zeros((len(meaning), 3), int), np.tile(ends, (len(every), 1))])
    return meaning, jax.jit(place_single)(Scenes(meaning, looks))


def test_there_are_eight_colours_eight_shapes_and_two_sizes():
    assert len(COLOURS) >= 8, f"the world promises at least 8 colours but has {len(COLOURS)}"
    assert len(SHAPES) >= 8, f"the world promises at least 8 shapes but has {len(SHAPES)}"
    assert len(SIZES) == len(scene.RADII) == len(scene.PAIR_RADII) == 2, "every size needs a radius, alone and in a pair"
    assert set(DISTANCES) == set(SHAPES), "a shape without a distance function cannot be drawn"
    every = np.concatenate([get_world("single").seen, get_world("single").held_out])
    expected = set(product(range(2), range(8), range(8), range(3), range(3)))
    assert {tuple(map(int, row)) for row in every} == expected, "single does not hold every size x colour x shape x row x column"
    assert len(every) == len(expected), "single holds a meaning twice"


def test_a_relation_and_its_converse_are_neighbours_in_the_list():
    opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    for k, name in enumerate(RELATIONS):
        assert RELATIONS[k ^ 1] == opposite[name], f"relation ^ 1 turns {name!r} into {RELATIONS[k ^ 1]!r}, not into its converse"


def test_a_byte_becomes_a_number_strictly_between_0_and_1():
    values = np.asarray(scene.unit(jnp.arange(256)))
    assert values.min() > 0 and values.max() < 1, "unit() reaches 0 or 1, where an interval's end would count to its neighbour"
    assert np.allclose(np.diff(values), 1 / 256), "unit() does not spread the bytes evenly"
    assert np.isclose(values.mean(), 0.5), "unit() is not centred on one half"


def test_single_things_stay_inside_the_picture(singles):
    left, right, top, bottom = extents(singles[1])
    over = max(-left.min(), right.max(), -top.min(), bottom.max())
    assert over <= 1, f"a thing reaches {over:.3f} halves of a picture from the centre: it is cut off at the edge"


def test_single_things_stand_in_the_ninth_they_name(singles):
    (size, _, _, row, column), things = singles[0].T, singles[1]
    room = 0.96 - np.asarray(scene.RADII)[size]  # as far as a centre may go, so that the thing stays inside
    for axis, third, names, centre in (("x", column, COLUMNS, things.x), ("y", row, ROWS, things.y)):
        place = 1.5 * (np.asarray(centre)[:, 0] / room + 1)  # 0..1 in the first third, 1..2 in the second, 2..3 in the last
        wrong = np.flatnonzero(np.floor(place) != third)
        assert not len(wrong), f"{axis}: {len(wrong)} things said to be {names[third[wrong[0]]]!r} have their centre in another third"
        assert len(np.unique(np.round(place, 3))) == 6, f"{axis}: the bytes 0 and 255 do not move a thing through its third"
        for k in range(3):
            least, most = place[third == k].min() - k, place[third == k].max() - k
            assert least < 0.02 and most > 0.98, f"{axis}: a thing cannot reach the whole of {names[k]!r}, only {least:.2f} to {most:.2f}"


def test_a_large_thing_is_larger_than_a_small_one(singles, pairs):
    for name, size, radius in (("single", singles[0][:, :1], singles[1].radius), ("pairs", pairs[0][:, [0, 4]], pairs[1].radius)):
        radius = np.asarray(radius)
        small, large = radius[size == 0].max(), radius[size == 1].min()
        assert large > 1.3 * small, f"{name}: a large thing has radius {large:.2f} and a small one {small:.2f}: hard to tell apart"


def test_things_tilt_a_little_to_either_side(singles, pairs):
    for name, things in (("single", singles[1]), ("pairs", pairs[1])):
        tilt = np.asarray(things.tilt)
        assert np.abs(tilt).max() <= MAX_TILT, f"{name}: a thing is tilted by {np.abs(tilt).max():.3f}, more than MAX_TILT"
        for k in range(tilt.shape[1]):
            assert tilt[:, k].min() < -0.9 * MAX_TILT and tilt[:, k].max() > 0.9 * MAX_TILT, f"{name}: thing {k} does not tilt both ways"
    first, second = np.asarray(pairs[1].tilt).T
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1, "the two things of a pair tilt together"


def test_the_things_of_a_pair_stay_inside_the_picture(pairs):
    left, right, top, bottom = extents(pairs[1])
    over = max(-left.min(), right.max(), -top.min(), bottom.max())
    assert over <= 1, f"a thing reaches {over:.3f} halves of a picture from the centre: it is cut off at the edge"


def test_the_things_of_a_pair_are_those_the_meaning_names(pairs):
    (size_1, colour_1, shape_1, _, size_2, colour_2, shape_2), things = pairs[0].T, pairs[1]
    assert (np.asarray(things.shape) == np.stack([shape_1, shape_2], 1)).all(), (
        "the shapes drawn are not those of the meaning, in its order"
    )
    assert (np.asarray(things.colour) == np.stack([colour_1, colour_2], 1)).all(), (
        "the colours drawn are not those of the meaning, in order"
    )
    radius = np.asarray(scene.PAIR_RADII)[np.stack([size_1, size_2], 1)]
    assert np.allclose(things.radius, radius), "the radii drawn are not those of the sizes in the meaning"


def test_exactly_one_relation_holds_in_a_pair_and_it_is_the_one_named(pairs):
    meaning, things = pairs
    (left_1, left_2), (right_1, right_2), (top_1, top_2), (bottom_1, bottom_2) = (edge.T for edge in extents(things))
    # A relation holds if there is a clear gap along its axis and the offset across is at most half the smaller radius.
    gaps = np.stack([left_2 - right_1, left_1 - right_2, top_2 - bottom_1, top_1 - bottom_2])  # left of, right of, above, below
    small = np.asarray(things.radius).min(1)
    offset_x = np.abs(np.asarray(things.x[:, 0] - things.x[:, 1]))
    offset_y = np.abs(np.asarray(things.y[:, 0] - things.y[:, 1]))
    near = np.stack([offset_y, offset_y, offset_x, offset_x]) <= 0.5 * small
    holds = (gaps > 0) & near  # (4, B)
    assert (holds.sum(0) == 1).all(), f"in {(holds.sum(0) != 1).sum()} of {PAIRS} scenes not exactly one relation holds"
    assert (holds.argmax(0) == meaning[:, 3]).all(), "the relation that holds is not the one that the meaning names"
    assert (gaps > 0).sum(0).max() == 1, "two things are apart along both axes: two relations could be said of them"
    least = gaps[meaning[:, 3], np.arange(PAIRS)].min()
    # Half a pixel at 32 px: enough that some backdrop shows between the two.
    assert least > 1 / 32, f"the smallest gap is {least:.4f} halves of a picture: not a clear one"


def test_a_pair_moves_freely(pairs):
    meaning, things = pairs
    x, y = np.asarray(things.x), np.asarray(things.y)
    for k, name in enumerate(RELATIONS):
        here = meaning[:, 3] == k
        across, along = (y, x) if k < 2 else (x, y)
        assert across[here].min() < -0.45 and across[here].max() > 0.45, f"{name}: the pair keeps to the middle across its axis"
        middle = along[here].mean(1)
        assert middle.max() - middle.min() > 0.3, f"{name}: the pair always stands at the same place along its axis"
        offset = across[here][:, 0] - across[here][:, 1]
        assert offset.min() < -0.1 and offset.max() > 0.1, f"{name}: the first thing is never to either side of the second"


def test_both_colours_and_both_shapes_of_a_pair_differ():
    for rows in (get_world("pairs").seen, get_world("pairs").held_out):
        assert (rows[:, 1] != rows[:, 5]).all(), "a pair has two things of one colour: exchanging colours would say the same"
        assert (rows[:, 2] != rows[:, 6]).all(), "a pair has two things of one shape: exchanging shapes would say the same"


def test_masks_reach_as_far_as_the_geometry_says(drawn):
    meaning, looks, _, masks = drawn("pairs", 96)
    left, right, top, bottom = extents(place_pair(Scenes(meaning, looks)))
    covered = masks > 0.5
    pixel = 2 / 96
    for axis, low, high in ((2, left, right), (3, top, bottom)):
        line = covered.any(axis=axis)  # (B, n, S)
        first, last = line.argmax(-1) * pixel - 1, 1 - line[..., ::-1].argmax(-1) * pixel
        far = max(np.abs(first - low).max(), np.abs(last - high).max())
        assert far < 2 * pixel, f"a mask ends {far / pixel:.1f} pixels from where radius, place and tilt put its edge"
