"""The five places of the animals world, each painted in its own way.

Places live in the picture's frame: `turn`, from the backdrop's number, chooses their tint, `spot` where things stand, and `at` is the ground
below the animal.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .draw import Plane, box, circle, ellipse, wedge
from .layers import WHITE, Layers, Scalar, hue, least, nearest, rgb
from .layers import turn as turned


def mat(x: Plane, y: Plane, turn: Scalar, spot: Scalar, at: Float[Array, "4"]) -> Layers:
    """A room: wallpaper, window, floorboards, and a mat below the animal."""
    u, v = x - 1.3 * (spot - 0.5), y + 0.52
    window, mat = box(u, v, 0.34, 0.32, 0.03), ellipse(x - at[0], y - at[1], 0.9, 0.22)
    return [
        (hue(turn, 0.78, 0.1), y - 9), (WHITE, jnp.abs(nearest(x, 0.25)) - 0.04, 0.3), (0xFAF8F0, least(window - 0.06, 0.24 - y)),
        (0xA0D4F4, jnp.maximum(window, 0.025 - jnp.minimum(jnp.abs(u), jnp.abs(v)))), (0xCEA070, 0.31 - y),
        (0xA07248, jnp.maximum(jnp.abs(nearest(y - 0.31, 0.23)) - 0.008, 0.33 - y), 0.7),
        (hue(turn + 0.45, 0.42, 0.34), mat), (0xFFF0C8, jnp.abs(mat + 0.06) - 0.018),
    ]  # fmt: skip


def jungle(x: Plane, y: Plane, turn: Scalar, spot: Scalar, at: Float[Array, "4"]) -> Layers:
    """Big leaves around a clearing, and vines."""
    vines = jnp.maximum(jnp.abs(nearest(x - spot - 0.06 * jnp.sin(4 * y), 0.5)) - 0.025, y - 0.1)
    glow = 0.75 * jnp.clip(1.1 - circle(x, y + 0.15, 0.0), 0, 1)
    layers = [(0x10422C, y - 9), (0x3A5C28, 0.42 - y), (0x96C460, y - 9, glow), (0x28542A, vines)]
    leaves = (  # x, y of the root, direction in degrees (0 right, 90 down), length, light
        (-1.1, -0.9, 35, 1.0, 0.9), (-0.45, -1.15, 70, 0.8, 0.7), (0.25, -1.15, 105, 0.75, 0.95), (1.1, -0.95, 140, 1.05, 0.75),
        (-1.1, 0.55, -50, 0.9, 0.75), (1.1, 0.5, -125, 0.95, 0.95), (-1.15, 0.95, -15, 0.75, 1.0), (1.15, 1.0, -160, 0.7, 0.7),
    )  # fmt: skip
    for k, (left, top, angle, length, light) in enumerate(leaves):
        u, v = turned(x - left, y - top, np.radians(angle) + 0.5 * jnp.sin(2 * np.pi * spot + 2 * k))
        leaf = circle(u - length / 2, jnp.abs(v) + 0.4 * length, 0.64 * length)
        green = light * (rgb(0x2E9642) + 0.1 * jnp.cos(2 * np.pi * turn + k) * np.float32([1.0, 0.2, 0.0]))
        layers += [(0x0A3222, leaf - 0.02), (green, leaf), (1.25 * green, jnp.maximum(jnp.abs(v) - 0.014, leaf + 0.03))]
    return layers


def beach(x: Plane, y: Plane, turn: Scalar, spot: Scalar, at: Float[Array, "4"]) -> Layers:
    """Sky with a sun, sea, sand, and a parasol."""
    sun, shore = circle(x - 1.5 * (spot - 0.5), y + 0.7, 0.17), 0.22 + 0.03 * jnp.sin(5 * x + 6 * turn) - y
    waves = jnp.maximum(jnp.abs(nearest(y + 0.02 - 0.02 * jnp.sin(14 * x + 20 * spot), 0.14)) - 0.012, -0.14 - y)
    u, v = jnp.abs(x - 0.72 * jnp.where(spot < 0.5, 1, -1)), y + 0.32
    roof, pole = jnp.maximum(ellipse(u, v, 0.46, 0.36), v), box(u, v - 0.35, 0.022, 0.42)
    return [
        (0x96D8FA, y - 9), (0xFFF4AA, sun - 0.06, 0.5), (0xFFDA3C, sun), (0x1E82C8, -0.2 - y), (0xBEE8FA, waves, 0.6),
        (WHITE, shore - 0.04), (0xF8DEA0, shore), (WHITE, pole), (hue(turn, 0.6, 0.38), roof),
        (WHITE, jnp.maximum(roof, jnp.abs(u + 0.3 * v - 0.14) - 0.07)),
    ]  # fmt: skip


def snow(x: Plane, y: Plane, turn: Scalar, spot: Scalar, at: Float[Array, "4"]) -> Layers:
    """Firs, hills, and falling snow."""
    layers = [(hue(turn, 0.0, 0.04) + rgb(0xA8C0E0), y - 9)]
    for k, (left, size) in enumerate(((-0.75, 1.0), (0.0, 0.7), (0.75, 1.1))):
        u, v = (x - left - 0.3 * jnp.sin(2 * np.pi * spot + 2 * k)) / size, (y - 0.15) / size
        tiers = [wedge(u, v + lift, [(0.0, -0.42), (wide, 0.0), (-wide, 0.0)]) for lift, wide in ((0.1, 0.34), (0.38, 0.27), (0.64, 0.19))]
        layers += [(0x24685C, size * least(*tiers)), (0xFAFCFF, size * jnp.maximum(tiers[2], v + 0.84))]
    u = x + 0.17 * jnp.floor(y / 0.36) ** 2 + spot
    flake = circle(nearest(u, 0.42), nearest(y - 0.18, 0.36) + 0.08 * jnp.sin(9 * jnp.round(u / 0.42)), 0.045)
    hill, field = 0.12 + 0.1 * jnp.sin(2.2 * x + 2 * np.pi * spot) - y, 0.4 + 0.06 * jnp.sin(3 * x - 2 * np.pi * spot) - y
    return [*layers, (0xE2EAF8, hill), (0xFAFCFF, field), (WHITE, flake)]


def garden(x: Plane, y: Plane, turn: Scalar, spot: Scalar, at: Float[Array, "4"]) -> Layers:
    """A hedge, a fence, and flowers on a lawn."""
    u, hedge = jnp.abs(nearest(x + 0.3 * spot, 0.26)), 0.1 * jnp.abs(jnp.sin(5 * (x + spot))) - 0.5 - y
    fence = least(jnp.maximum(u - 0.075, jnp.maximum(u - y - 0.42, y - 0.22)), jnp.abs(jnp.abs(y + 0.08) - 0.16) - 0.035)
    row = jnp.floor((y - 0.2) / 0.27)
    column = jnp.round((x + 0.21 * row + 0.4 * spot) / 0.4)
    u = jnp.abs(x + 0.21 * row + 0.4 * spot - 0.4 * column + 0.07 * jnp.sin(5 * column + 3 * row))
    v = nearest(y - 0.335, 0.27) + 0.05 * jnp.cos(7 * column + row) + 9.0 * (y < 0.2)  # no flowers but on the lawn
    stalk, petals = box(u, v - 0.06, 0.014, 0.07), least(circle(u - 0.04, v, 0.042), circle(u, jnp.abs(v) - 0.04, 0.042))
    return [
        (0xB0E2FA, y - 9), (0x46964C, hedge), (0x96A0B0, fence - 0.014), (0xFFFCF6, fence), (0x7CC854, 0.18 - y), (0x328232, stalk),
        (hue(turn, 0.72, 0.28), petals), (hue(turn + 0.4, 0.72, 0.28), petals + column % 2), (0xFFE246, circle(u, v, 0.028)),
    ]  # fmt: skip


SCENERY = (mat, jungle, beach, snow, garden)
