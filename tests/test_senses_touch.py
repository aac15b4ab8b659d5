"""Touch and smell: outlines against closed forms and a walk inwards along the ray; what is felt and what is not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import check, seeded

from tinyclip.senses import smell, touch
from tinyclip.world.draw import DISTANCES
from tinyclip.world.scene import COLOURS, RADII, SHAPES

outline = jax.jit(touch.outline, static_argnums=0)
ANGLES = np.concatenate([np.arange(12) * np.pi / 6 + 0.02, seeded(1).uniform(-4, 9, 52)])
COS, SIN = np.cos(ANGLES), np.sin(ANGLES)


def test_a_circle_and_a_ring_are_the_same_all_round():
    check("outline of a circle", outline("circle", ANGLES), np.full(64, 0.95), 1e-5)
    check("outline of a ring", outline("ring", ANGLES), np.full(64, 0.98), 1e-5, "its hole is not felt: 0.74 + 0.24")


def test_straight_edges_have_their_closed_forms():
    c, s = np.abs(COS), np.abs(SIN)
    check("outline of a square", outline("square", ANGLES), 0.82 / np.maximum(c, s), 1e-5, "0.82 / max(|cos|, |sin|)")
    along, across = np.maximum(c, s), np.minimum(c, s)
    cross = np.minimum(0.95 / along, np.maximum(0.32 / across, 0.32 / along))
    check("outline of a cross", outline("cross", ANGLES), cross, 1e-5, "an arm ends at 0.95 and is 0.32 wide to either side")
    # The edges of the triangle through (0, -1), (0.95, 0.8), (-0.95, 0.8), y down.
    bottom = np.where(SIN > 0, 0.8 / np.where(SIN > 0, SIN, 1), np.inf)
    slope = 1.8 * c - 0.95 * SIN
    side = np.where(slope > 0, 0.95 / np.where(slope > 0, slope, 1), np.inf)
    check("outline of a triangle", outline("triangle", ANGLES), np.minimum(bottom, side), 1e-5, "y is down, so angles run clockwise")


def test_the_moon_is_felt_where_it_is_and_missing_where_its_bite_is_open():
    # Along the ray: within the circle of radius 1, and not within the circle of radius 0.8 around (0.45, -0.1), which holds the middle.
    half = COS * 0.45 - SIN * 0.1
    bite = half + np.sqrt(half**2 + 0.64 - 0.45**2 - 0.1**2)
    check("outline of a moon", outline("moon", ANGLES), np.where(bite < 1, 1.0, 0.0), 1e-5, "1 where the bite ends before it, else nothing")
    assert (bite < 1).any() and (bite > 1).any(), "the case should hold angles of both kinds"


@pytest.mark.parametrize("shape", SHAPES)
def test_the_outermost_crossing_is_where_a_walk_inwards_first_meets_the_shape(shape):
    radii = np.linspace(1.4, 0, 576)[:, None]
    x, y = (jnp.asarray((radii * turned).reshape(192, 192)) for turned in (COS, SIN))  # distances are taken of square planes
    inside = np.asarray(DISTANCES[shape](x, y)).reshape(576, 64) <= 0
    want = np.where(inside.any(0), radii[inside.argmax(0), 0], 0)
    off = np.abs(np.asarray(outline(shape, ANGLES)) - want).max()
    assert off < 0.0025, f"the outline of a {shape} is up to {off:.4f} from where a walk inwards in steps of 0.0024 meets it"


def felt(meaning, key=0):
    """Radii in units of half a picture, (B, A)."""
    readings = jax.jit(touch.feel)(jax.random.key(key), np.array(meaning))
    return np.asarray(readings).reshape(len(meaning), -1) * 0.15 + 0.35


def test_colour_and_place_are_not_felt():
    shapes = [(1, 0, shape, 0, 0) for shape in range(8)]
    others = [(1, 5, shape, 2, 1) for shape in range(8)]
    check("what is felt of the same shapes in another colour elsewhere", felt(shapes), felt(others), 0, "touch must not depend on colour or place")


def test_what_is_felt_is_the_outline_turned_scaled_and_noisy():
    turns = np.linspace(-np.pi / 12, np.pi / 12, 241)
    angles = np.arange(64) * 2 * np.pi / 64
    found, scales = [], []
    for shape in ("square", "triangle", "star"):
        table = np.asarray(outline(shape, (angles - turns[:, None]).ravel())).reshape(241, 64)
        for size in (0, 1):
            for radius in felt([(size, 0, SHAPES.index(shape), 0, 0)] * 40, size):
                scale = (table * radius).sum(1) / (table**2).sum(1)  # the best for each turn
                error = ((scale[:, None] * table - radius) ** 2).mean(1) ** 0.5
                best = error.argmin()
                assert error[best] < 2 * touch.NOISE, f"no turn of a {shape} within 15 degrees gives what was felt: off by {error[best]:.3f}"
                found.append(turns[best])
                scales.append(scale[best] / RADII[size])
    assert max(found) > 0.22 and min(found) < -0.22, f"turns should reach 15 degrees (0.26) either way, got {min(found):.2f} to {max(found):.2f}"
    assert 0.83 < min(scales) < 0.88 and 1.12 < max(scales) < 1.17, f"lengths should be off by up to 15 %, got {min(scales):.2f} to {max(scales):.2f}"


def test_the_noise_of_touch_is_as_stated():
    radius = felt([(1, 0, 0, 0, 0)] * 200)
    check("the noise around a circle", radius.std(1).mean(), touch.NOISE, 0.001, "a circle's outline is constant, so all that varies is noise")


def test_a_smell_tells_the_colour_and_nothing_else():
    meaning = np.array([(0, colour, 3, 0, 0) for colour in range(8)] * 200)
    sniff = jax.jit(partial(smell.smell, jax.random.key(2)))
    readings = np.asarray(sniff(meaning))
    assert readings.shape == (1600, smell.SNIFFS, smell.RECEPTORS), f"want {smell.SNIFFS} sniffs by {smell.RECEPTORS} receptors, got {readings.shape}"
    mean = readings.reshape(200, 8, -1, smell.RECEPTORS).mean((0, 2))
    check("the mean smell of each colour", mean, smell.RESPONSE, 0.03, "the receptors' fixed response")
    noise = (readings.reshape(200, 8, -1, smell.RECEPTORS) - smell.RESPONSE[:, None]).std()
    check("the noise of a receptor", float(noise), smell.NOISE, 0.01)
    meaning[:, [0, 2, 3, 4]] = (1, 6, 2, 2)
    check("the smell of other shapes of the same colours", sniff(meaning), readings, 0)
    assert len(smell.RESPONSE) == len(COLOURS), "every colour needs a smell"


def test_smell_is_a_sense_in_under_40_lines():
    with open(smell.__file__) as file:
        lines = len(file.readlines())
    assert lines < 40, f"smell.py has {lines} lines, but is the template: a sense of one's own takes under 40"
