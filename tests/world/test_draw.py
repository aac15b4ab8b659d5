"""Pixels and masks: areas in closed form, clean edges, and the same scene at every resolution."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import check, seeded

from tinyclip.world import get_world
from tinyclip.world.draw import DISTANCES, backdrop, box, circle, coverage, ellipse, masks_of, paint, pixel_grid, segment, wedge
from tinyclip.world.scene import COLOURS, SHAPES, Things
from tinyclip.world.splits import BACKDROPS

TURN = np.sin(np.pi / 5)
# Two circles of radius 1 and 0.8 overlap in a lens; its area from the two sectors less the two triangles.
FAR = np.hypot(0.45, 0.1)
LENS = (
    0.64 * np.arccos((FAR**2 + 0.64 - 1) / (2 * FAR * 0.8))
    + np.arccos((FAR**2 + 1 - 0.64) / (2 * FAR))
    - 0.5 * np.sqrt((-FAR + 1.8) * (FAR + 0.2) * (FAR - 0.2) * (FAR + 1.8))
)
AREAS = {  # of a shape of radius 1
    "circle": np.pi * 0.95**2,
    "square": 1.64**2,
    "triangle": 1.9 * 1.8 / 2,
    "star": 10 * 0.5 * 1.05 * 0.45 * TURN,
    "heart": 1.7**2 * (0.5 + np.pi / 8),  # a square on its tip and two half-discs
    "cross": 2 * 1.9 * 0.64 - 0.64**2,
    "ring": np.pi * (0.98**2 - 0.5**2),
    "moon": np.pi - LENS,
}
# For every shape points that lie inside and outside, y down, chosen so that a shape that stands on its head or is mirrored fails.
POINTS = {
    "circle": ([(0, 0), (0.6, -0.6)], [(0.75, 0.75), (0, 1)]),
    "square": ([(0.75, 0.75), (-0.75, 0.75)], [(0.9, 0), (0, -0.9)]),
    "triangle": ([(0.8, 0.7), (-0.8, 0.7), (0, -0.85)], [(0.5, -0.5), (0, 0.9)]),
    "star": ([(0, -0.95), (0.55, 0.75), (-0.55, 0.75)], [(0, 0.6), (0.5, -0.6)]),
    "heart": ([(0.5, -0.6), (-0.5, -0.6), (0, 0.8)], [(0, -0.9), (0.6, 0.6)]),
    "cross": ([(0.85, 0), (0, -0.85)], [(0.5, 0.5), (-0.5, 0.5)]),
    "ring": ([(0.74, 0), (0, -0.9)], [(0, 0), (0.3, 0.3)]),
    "moon": ([(-0.8, 0), (-0.3, 0.8)], [(0.45, -0.1), (0.8, 0)]),
}


@cache
def _masks(size):
    """One jitted `masks_of` for each resolution, for all eight shapes at once."""
    return jax.jit(lambda things: masks_of(things, size))


def eight(radius=0.6, x=0.07, y=-0.11, tilt=0.1):
    """A thing of every shape."""
    full = [jnp.full((8, 1), v, jnp.float32) for v in (radius, x, y, tilt)]
    return Things(jnp.arange(8)[:, None], jnp.arange(8)[:, None], *full)


@pytest.fixture(scope="module")
def frames():
    """The signed distances of every shape on a fine grid of its own frame, and the grid."""
    axis = np.linspace(-1.5, 1.5, 301, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)

    def every(x, y):
        return {name: distance(x, y) for name, distance in DISTANCES.items()}

    return x, y, jax.tree.map(np.asarray, jax.jit(every)(x, y))


def at(distance, x, y):
    return np.asarray(distance(*(jnp.asarray([[v]], jnp.float32) for v in (x, y)))).item()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_distance_is_negative_inside_and_positive_outside(shape, frames):
    inside, outside = POINTS[shape]
    for x, y in inside:
        assert at(DISTANCES[shape], x, y) < 0, f"({x}, {y}) lies inside the {shape}, but its distance is not negative"
    for x, y in outside:
        assert at(DISTANCES[shape], x, y) > 0, f"({x}, {y}) lies outside the {shape}, but its distance is not positive"
    x, y, distances = frames
    assert (distances[shape][np.hypot(x, y) > 1.3] > 0).all(), f"the {shape} reaches beyond 1.3 times its radius"


@pytest.mark.parametrize("shape", SHAPES)
def test_a_distance_grows_by_one_for_every_unit_walked_away_from_the_edge(shape, frames):
    x, _, distances = frames
    step = float(x[0, 1] - x[0, 0])
    down, right = np.gradient(distances[shape].astype(np.float64), step)
    slope = np.hypot(down, right)[np.abs(distances[shape]) < 0.06]
    # A corner or a ridge bends the distance within a grid step; everywhere else the slope must be one, or edges would not be a pixel wide.
    share = (np.abs(slope - 1) < 0.03).mean()
    assert share > 0.9, f"near the {shape}'s edge only {share:.0%} of the points have slope 1: its edge is blurred or jagged"


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mask_has_the_area_of_its_shape(shape):
    cover = np.asarray(_masks(192)(eight()))[SHAPES.index(shape), 0]
    area, expected = cover.sum() * (2 / 192) ** 2, AREAS[shape] * 0.6**2
    assert abs(area / expected - 1) < 0.01, f"the mask of a {shape} has area {area:.4f} where the closed form says {expected:.4f}"


def test_a_mask_covers_as_much_at_every_resolution():
    fine, coarse = (np.asarray(_masks(size)(eight())).mean((1, 2, 3)) for size in (192, 24))
    for shape, a, b in zip(SHAPES, fine, coarse, strict=True):
        assert abs(b / a - 1) < 0.03, f"a {shape} covers {a:.4f} of the picture at 192 px but {b:.4f} at 24 px: edges are not anti-aliased"


def test_masks_lie_between_0_and_1_and_reach_both():
    masks = np.asarray(_masks(192)(eight()))
    assert masks.min() == 0 and masks.max() == 1, f"masks run from {masks.min()} to {masks.max()}, not from 0 to 1"
    assert (masks.max((1, 2, 3)) == 1).all(), "a shape is nowhere fully opaque"


def test_edges_are_one_pixel_wide():
    masks = np.asarray(_masks(192)(eight()))[:, 0]
    pixels = 192 / 2 * 0.6  # of one radius
    for shape, length in (("circle", 2 * np.pi * 0.95), ("square", 8 * 0.82), ("ring", 2 * np.pi * (0.98 + 0.5))):
        partial = ((masks > 0) & (masks < 1))[SHAPES.index(shape)].sum()
        ratio = partial / (length * pixels)
        assert 0.85 < ratio < 1.15, f"the edge of a {shape} is {ratio:.2f} pixels wide, not one"


def test_a_mask_is_where_the_thing_is():
    x, y = (np.asarray(v) for v in pixel_grid(192))
    masks = np.asarray(_masks(192)(eight(radius=0.3, x=0.4, y=-0.2)))[:, 0]
    for shape in ("circle", "square", "cross", "ring", "star"):
        cover = masks[SHAPES.index(shape)]
        centre = (cover * x).sum() / cover.sum(), (cover * y).sum() / cover.sum()
        assert np.allclose(centre, (0.4, -0.2), atol=0.01), f"a {shape} placed at (0.4, -0.2) has its middle at {centre}"


def test_a_tilt_turns_a_shape_by_its_angle():
    x, y = (np.asarray(v) for v in pixel_grid(192))
    cover = np.asarray(_masks(192)(eight(x=0.0, y=0.0, tilt=0.1)))[SHAPES.index("triangle"), 0]
    low = (y * np.cos(0.1) - x * np.sin(0.1)) > 0.6 * 0.8 - 0.04  # a strip just above the base, which a positive tilt lowers on the right
    straight = cover[low & (y * np.cos(0.1) - x * np.sin(0.1) < 0.6 * 0.8 - 0.02) & (np.abs(x) < 0.4)]
    assert straight.min() == 1, "a tilt of 0.1 does not turn the base of a triangle clockwise by 0.1 radians"
    below = cover[(y * np.cos(0.1) - x * np.sin(0.1) > 0.6 * 0.8 + 0.02)]
    assert below.max() == 0, "a tilted triangle reaches below its tilted base"


def test_the_grid_runs_right_and_down_from_pixel_centre_to_pixel_centre():
    x, y = (np.asarray(v) for v in pixel_grid(4))
    assert np.allclose(x[0], [-0.75, -0.25, 0.25, 0.75]), f"x of a row of 4 pixels should be their centres, left to right, not {x[0]}"
    assert np.allclose(y[:, 0], [-0.75, -0.25, 0.25, 0.75]), (
        f"y of a column of 4 pixels should be their centres, top to bottom, not {y[:, 0]}"
    )


@pytest.mark.exercise("2.1")
def test_coverage_is_a_half_on_the_edge_and_full_half_a_pixel_inside():
    pixel = 2 / 5
    ramp = np.array([0.0, -0.25, 0.25, -2, 2])  # in pixels
    want = np.array([0.5, 0.75, 0.25, 1, 0])
    got = coverage(jnp.asarray(np.tile(ramp * pixel, (5, 1)), jnp.float32))
    if np.shape(got) == (5, 5):
        for cover, expected, far in zip(np.asarray(got)[0], want, ramp, strict=True):
            where = f"{abs(far):g} pixels {'inside' if far < 0 else 'outside'}" if far else "on the edge"
            check(f"coverage of a pixel whose centre is {where}, S = 5", cover, np.float32(expected), 1e-6)
    check("coverage of 5 equal rows, (S, S) = (5, 5)", got, np.tile(want, (5, 1)), 1e-6)


@pytest.mark.exercise("2.1")
def test_coverage_adds_up_to_the_length_inside():
    """Below a straight upright edge at x = a, each row of pixels is covered over a length of a + 1."""
    S, random = 7, seeded(1)
    axis = (np.arange(S) + 0.5) * 2 / S - 1
    edges = random.uniform(-0.8, 0.8, size=S)  # one a row
    got = coverage(jnp.asarray(axis[None, :] - edges[:, None], jnp.float32))
    check(f"the length covered left of an edge, in each of {S} rows of pixels", np.asarray(got).sum(-1) * (2 / S), edges + 1, 1e-5,
          "a row is S pixels of width 2 / S")  # fmt: skip
    slow = [[min(max(0.5 - (x - a) / (2 / S), 0.0), 1.0) for x in axis] for a in edges]
    check(f"coverage left of an edge, (S, S) = {(S, S)}", got, np.array(slow), 1e-5)


@pytest.mark.exercise("2.2")
def test_the_distance_to_a_box_in_numbers():
    cases = (("beside", (0.9, 0.1), 0.4), ("below", (0.3, 0.8), 0.6), ("beyond a corner of", (0.8, -0.6), 0.5), ("within", (0.1, 0.15), -0.05))
    for place, point, want in cases:
        got = box(*(jnp.full((4, 4), v, jnp.float32) for v in point), 0.5, 0.2)
        name = f"box at {point}, {place} a box of width 0.5 and height 0.2"
        if np.shape(got) == (4, 4):
            check(name, np.asarray(got)[0, 0], np.float32(want), 1e-6)
        check(f"{name}, 4 by 4 times", got, np.full((4, 4), want), 1e-6)


def to_box(x, y, w, h, corner=0.0):
    """The distance to a box, point by point: inside to the nearest of four edges, outside to the nearest point of the box."""
    w, h = w - corner, h - corner
    if -w <= x <= w and -h <= y <= h:
        return -min(w - x, w + x, h - y, h + y) - corner
    return np.hypot(x - min(max(x, -w), w), y - min(max(y, -h), h)) - corner


@pytest.mark.exercise("2.2")
@pytest.mark.parametrize("rounded", [False, True], ids=["sharp", "rounded"])
def test_the_distance_to_a_box_is_that_to_its_nearest_point(rounded):
    random = seeded(2)
    w, h = (float(v) for v in random.uniform([0.5, 0.2], [0.7, 0.3]))
    corner = float(random.uniform(0.1, 0.15)) if rounded else 0.0
    u, v = random.uniform(0.1, 0.9, size=(2, 4, 4))
    signs = np.resize([1, -1], (4, 4)), np.resize([1, 1, -1, -1], (4, 4))  # four quadrants
    kind = "a rounded box" if rounded else "a box"
    flat_w, flat_h = w - corner, h - corner
    places = {
        "beside": (w + u, v * flat_h),
        "below and above": (u * flat_w, h + v),
        "within": (u * flat_w, v * flat_h),
        "beyond the corners of": (w + u, h + v),
        "around": (w * 2 * u, h * 2 * v),
    }
    for place, (x, y) in places.items():
        x, y = np.float32(x * signs[0]), np.float32(y * signs[1])
        got = box(jnp.asarray(x), jnp.asarray(y), w, h, corner) if rounded else box(jnp.asarray(x), jnp.asarray(y), w, h)
        want = np.array([[to_box(float(a), float(b), w, h, corner) for a, b in zip(*row, strict=True)] for row in zip(x, y, strict=True)])
        size = f"width {w:.2f}, height {h:.2f}" + (f", corner {corner:.2f}" if rounded else "")
        check(f"box at 16 points {place} {kind} ({size})", got, want, 1e-5)


def test_paint_blends_by_coverage():
    plane, cover = jnp.full((2, 2), 0.2), jnp.asarray([[0.0, 0.5], [1.0, 0.25]])
    check("painted", paint(plane, jnp.float32(1.0), cover), np.float32([[0.2, 0.6], [1.0, 0.4]]), 1e-6, "mix ground and colour by coverage")
    check("painted in its own colour", paint(plane, jnp.float32(0.2), cover), plane, 1e-6, "painting the ground's own colour changes it")


def polygon(x, y, corners):
    """Any simple polygon: the nearest edge gives the distance, the number of edges crossed on the way out gives the sign."""
    nearest, sign = jnp.full_like(x, jnp.inf), jnp.ones_like(x)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        nearest = jnp.minimum(nearest, segment(x, y, (ax, ay), (bx, by), 0.0))
        crosses = (ay > y) != (by > y)
        sign = jnp.where(crosses & (x < (bx - ax) * (y - ay) / (by - ay if by != ay else 1.0) + ax), -sign, sign)
    return sign * nearest


def test_distances_of_the_primitives_are_exact():
    cases = [
        ("circle", circle, {"radius": 0.5}, (0.6, 0.8), 0.5),
        ("segment beside", segment, {"start": (0.0, 0.0), "end": (1.0, 0.0), "radius": 0.1}, (0.5, 0.4), 0.3),
        ("segment beyond", segment, {"start": (0.0, 0.0), "end": (1.0, 0.0), "radius": 0.1}, (1.3, 0.4), 0.4),
        ("ellipse to the right", ellipse, {"width": 0.5, "height": 0.25}, (0.5, 0.0), 0.0),
        ("ellipse below", ellipse, {"width": 0.5, "height": 0.25}, (0.0, 0.25), 0.0),
        ("polygon outside (a yardstick of these tests)", polygon, {"corners": [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]}, (1.3, 1.4), 0.5),
        ("polygon inside", polygon, {"corners": [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]}, (0.3, 0.5), -0.3),
        ("wedge inside", wedge, {"corners": [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]}, (0.3, 0.5), -0.3),
        ("wedge outside", wedge, {"corners": [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]}, (0.5, -0.2), 0.2),
    ]
    for name, distance, sizes, point, expected in cases:
        got = at(lambda x, y, d=distance, s=sizes: d(x, y, **s), *point)
        assert abs(got - expected) < 1e-6, f"{name}: the distance at {point} is {got:.4f}, not {expected:.4f}"


def test_a_polygon_and_a_wedge_agree_on_what_is_inside():
    corners = [(0.0, -0.7), (0.8, 0.1), (0.3, 0.8), (-0.6, 0.2)]
    a, b = map(np.asarray, jax.jit(lambda x, y: (polygon(x, y, corners), wedge(x, y, corners)))(*pixel_grid(41)))
    assert ((a < 0) == (b < 0))[np.abs(b) > 1e-5].all(), "polygon and wedge disagree about the inside of a convex polygon"
    assert (a[a > 0] >= b[a > 0] - 1e-6).all(), "outside, the true distance cannot be less than the distance to the nearest half-plane"


def test_the_star_is_the_polygon_of_its_ten_corners():
    """It is measured in one tenth of the plane, onto which mirrors fold the rest: a wrong mirror would show only in some of its points."""
    turns = np.arange(10) * np.pi / 5
    corners = [(float(r * np.sin(turn)), float(-r * np.cos(turn))) for r, turn in zip(5 * (1.05, 0.45), turns, strict=True)]
    star, ten = map(np.asarray, jax.jit(lambda x, y: (DISTANCES["star"](x, y), polygon(x, y, corners)))(*pixel_grid(201)))
    differ = ((star < 0) != (ten < 0))[np.abs(ten) > 1e-5]
    assert not differ.any(), f"the star and the polygon of its corners disagree about {differ.mean():.1%} of the picture"


def test_the_pixels_of_a_thing_are_of_its_colour(drawn):
    palette = np.array(list(COLOURS.values())) / 255
    for name, columns in (("single", [1]), ("pairs", [1, 5])):
        meaning, _, pictures, masks = drawn(name, 24)
        for k, column in enumerate(columns):
            b, i, j = np.nonzero(masks[:, k] == 1)
            assert len(b) > 1000, f"{name}: hardly a pixel is fully covered by thing {k}"
            off = np.abs(pictures[b, i, j] - palette[meaning[b, column]]).max()
            assert off < 1e-5, f"{name}: a pixel covered by thing {k} differs from its colour by {off:.3f}"


def test_the_things_of_a_pair_never_overlap(drawn):
    for size in (24, 96):
        both = drawn("pairs", size)[3].sum(1)
        assert both.max() <= 1 + 1e-6, f"at {size} px two things share a pixel"


@pytest.mark.parametrize("name", ["single", "pairs"])
def test_a_scene_looks_the_same_at_24_and_at_96_pixels(name, drawn):
    for what, k in (("picture", 2), ("mask", 3)):
        coarse, fine = drawn(name, 24)[k][:20], drawn(name, 96)[k]
        if what == "picture":
            coarse, fine = np.moveaxis(coarse, -1, 1), np.moveaxis(fine, -1, 1)
        small = fine.reshape(*fine.shape[:2], 24, 4, 24, 4).mean((3, 5))
        far = np.abs(small - coarse)
        # At corners a pixel's coverage is an estimate from the distance at its centre, so a few differ; none by much.
        assert far.mean() < 0.004, f"{name}: the {what} at 24 px and the averaged one at 96 px differ by {far.mean():.4f} on average"
        assert far.max() < 0.4, f"{name}: the {what} at 24 px and the averaged one at 96 px differ by {far.max():.2f} somewhere"


@pytest.mark.parametrize("name", ["single", "pairs"])
def test_drawing_the_whole_batch_at_once_gives_the_same_pictures(name, drawn, drawn_at_once):
    meaning, _, pictures, masks = drawn(name, 24)
    world = get_world(name)
    scenes = world.sample(jax.random.key(11), len(meaning))
    at_once, loops = drawn_at_once(name, scenes)
    assert loops <= {1}, f"{name}: an accelerator is given a loop of {max(loops)} rounds over the things instead of the whole batch"
    for what, a, b in (("picture", at_once[0], pictures), ("mask", at_once[1], masks)):
        far = np.abs(np.asarray(a) - b).max()
        assert far < 1 / 255, f"{name}: a {what} drawn as on an accelerator differs by {far:.4f} from the one drawn one at a time"


def test_the_same_scenes_are_drawn_bit_for_bit_the_same(program):
    world = get_world("pairs")
    scenes = [world.sample(jax.random.key(seed), 500) for seed in (11, 11, 12)]
    a, b, c = (np.asarray(program("pairs", 24)(s)[0]) for s in scenes)
    assert (a == b).all(), "the same key drew two different batches"
    assert (a != c).any((1, 2, 3)).all(), "another key drew a picture that was drawn before"


def test_every_colour_stands_out_against_every_backdrop(drawn):
    light = np.array([0.2126, 0.7152, 0.0722])  # how bright red, green and blue look
    palette = np.array(list(COLOURS.values())) / 255
    _, _, pictures, masks = drawn("single", 24)
    ground = pictures[masks[:, 0] == 0] @ light
    for name, colour in zip(COLOURS, palette @ light, strict=True):
        assert ground.min() - colour > 0.08, f"{name} has brightness {colour:.2f}, hardly darker than a backdrop of {ground.min():.2f}"
    gaps = np.abs(palette[:, None] - palette[None]).max(-1) + np.eye(len(palette))
    assert gaps.min() > 0.2, "two colours are so alike that they cannot be told apart"


def test_backdrops_vary_and_stay_pale():
    looks = np.random.default_rng(1).integers(0, 256, (256, 6))
    ground = jax.jit(lambda looks: backdrop(looks, 6))
    grounds = np.asarray(ground(looks))
    assert grounds.min() > 0.75 and grounds.max() <= 1, (
        f"a backdrop runs from {grounds.min():.2f} to {grounds.max():.2f}: it should be pale"
    )
    assert np.ptp(grounds.mean((1, 2, 3))) > 0.1, "all backdrops are equally bright"
    assert np.ptp(grounds.mean(-1), axis=(1, 2)).max() > 0.01, "backdrops have no gradient"
    east = [[0, 128, 0, 0, 0, 0], [0, 128, 128, 0, 0, 0]]  # directions of 0 and of half a turn
    first, second = np.asarray(ground(np.resize(east, (256, 6))))[:2].mean((1, 3))
    assert first[0] < first[-1] and second[0] > second[-1], "the direction does not turn the gradient of a backdrop"


def test_every_split_sees_every_tint():
    looks = np.zeros((256, 6), int)
    looks[:, 0] = np.arange(256)
    colour = np.asarray(jax.jit(lambda looks: backdrop(looks, 3))(looks)).mean((1, 2))
    tint = np.angle((colour - colour.mean(1, keepdims=True)) @ np.exp(-1j * np.array([0.0, 2.1, 4.2])))
    for split, (low, high) in BACKDROPS.items():
        angles = np.sort(tint[low:high])
        gap = np.diff([*angles, angles[0] + 2 * np.pi]).max()
        # 28 backdrops spread evenly lie 0.22 apart; a split of neighbouring tints would leave a gap of more than 5.
        assert gap < 1.0, f"the {split} split never sees tints over {gap:.1f} radians of the colour circle"
