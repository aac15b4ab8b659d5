"""The animals world: a cat, a dog or a lion that does something somewhere, drawn like a picture book.

All animals share one skeleton, a row of numbers for each animal and action (`_skeletons`): where body, legs, tail and head are. A thick
line that narrows towards one end (`limb`) makes bodies, legs, tails and ears; only the heads differ in kind. A drawing is a list of layers
(colour, signed distance, perhaps opacity), painted from back to front. Animals live in a frame of their own: x forward, y up, (0, 0) on the
ground below them, lengths in halves of a picture. Places live in the picture's: `turn`, from the backdrop's number, chooses their tint,
`spot` where things stand, and `at` is the ground below the animal.
"""

from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .draw import Plane, box, circle, coverage, ellipse, paint, pixel_grid, segment, wedge
from .scene import Scenes, unit

ANIMALS = ("cat", "dog", "lion")
# Red, green and blue in 0..255; black is a dark grey, so that legs still show against the body.
COATS = {"black": (52, 50, 60), "white": (250, 248, 242), "grey": (164, 168, 178), "brown": (126, 76, 42), "ginger": (242, 146, 46)}
ACTIONS = ("sitting", "standing", "sleeping", "running", "jumping", "playing with a ball")
PLACES = ("on a mat", "in the jungle", "on the beach", "in the snow", "in the garden")

# Of each coat: its rim (light on black, else dark: white must show in snow and black in the jungle), then mane, tail tip and a dog's ears.
_RIMS, _MANES = (0x9090A4, 0x707084, 0x484C5A, 0x361C0E, 0x803A0A), (0x6C5E64, 0xCEBA98, 0x6C707E, 0x482816, 0xA84816)
_BALLS = (0xEC3038, 0x286EF0, 0xFAD428, 0xC43CC8)
_RIM, _WHITE, _INK = 0.035, 0xFFFFFF, 0x16121A  # the rim's width; colours

Picture = Float[Array, "4 S S"]  # red, green, blue, and how much of a pixel is the animal
Scalar = Float[Array, ""]
Layers = list[tuple]  # of a colour, a signed distance and perhaps an opacity, from back to front

# x, y, radius of hip and of chest; head x, y, tilt; paws (far hind, far fore, near hind, near fore); tail's root, angle there and bend to
# the tip, in degrees from straight back up; the shadow's half-width and darkness.
_POSES = {
    "sitting": ((-0.2, 0.27, 0.27), (0.02, 0.56, 0.2), (0.08, 0.96, 0), ((0.16, 0.07), (0.26, 0.08), (0.02, 0.07), (0.12, 0.06)),
                (-0.4, 0.14, -5, 100), (0.55, 0.35)),
    "standing": ((-0.36, 0.5, 0.2), (0.2, 0.52, 0.21), (0.38, 0.9, 0), ((-0.22, 0.09), (0.34, 0.09), (-0.42, 0.06), (0.14, 0.06)),
                 (-0.5, 0.58, 50, 60), (0.65, 0.35)),
    "sleeping": ((-0.3, 0.25, 0.25), (0.1, 0.2, 0.2), (0.37, 0.3, -10), ((0.02, 0.07), (0.64, 0.06), (-0.04, 0.06), (0.52, 0.05)),
                 (-0.48, 0.1, 15, 110), (0.75, 0.35)),
    "running": ((-0.3, 0.52, 0.18), (0.24, 0.56, 0.2), (0.5, 0.84, -8), ((-0.52, 0.12), (0.46, 0.1), (-0.74, 0.3), (0.74, 0.24)),
                (-0.42, 0.6, 25, 60), (0.5, 0.22)),
    "jumping": ((-0.34, 0.6, 0.19), (0.08, 0.88, 0.2), (0.3, 1.16, 10), ((-0.4, 0.24), (0.52, 0.76), (-0.64, 0.32), (0.48, 0.58)),
                (-0.44, 0.66, 10, 80), (0.36, 0.45)),
    "playing": ((-0.5, 0.56, 0.2), (-0.04, 0.36, 0.19), (0.12, 0.68, 8), ((-0.42, 0.08), (0.24, 0.06), (-0.58, 0.06), (0.5, 0.3)),
                (-0.58, 0.66, 70, 50), (0.65, 0.35)),
}  # fmt: skip
# Of each animal: girth, a leg's radius; the tail's length, radius at root and tip, degrees higher; its tuft's radius.
_BUILDS = ((0.9, 0.075, 0.78, 0.06, 0.05, 0, 0.05), (1.0, 0.085, 0.36, 0.075, 0.04, 25, 0.04), (1.08, 0.1, 0.62, 0.045, 0.04, 0, 0.1))


def _skeletons() -> tuple[np.ndarray, np.ndarray]:
    """Bones (2, 3, 6, 10, 6), x, y, radius at either end of body, legs, tail, tuft; `Animal.rest` (2, 3, 6, 5); for both ends of a wag."""
    bones, rest = [], []
    for wag, build, pose in ((w, b, p) for w in (-1, 1) for b in _BUILDS for p in _POSES.values()):
        (girth, leg, length, thick, thin, lift, tuft), (hip, chest, head, paws, (x, y, angle, bend), shadow) = build, pose
        legs = [(*top[:2], 1.25 * leg, *paw, leg) for top, paw in zip((hip, chest) * 2, paws, strict=True)]
        turn = np.radians(angle + lift + 14 * wag + np.linspace(0, 1, 4) * (bend + 20 * wag))
        step = length / 4 * np.stack([-np.cos(turn), np.sin(turn)], axis=1)
        knots = np.column_stack([np.cumsum([(x, y), *step], axis=0), np.linspace(thick, thin, 5)])
        tip = (*(knots[-1, :2] - 0.5 * step[-1]), tuft, *(knots[-1, :2] + 0.4 * step[-1]), 0.7 * tuft)
        bones.append([(*hip[:2], hip[2] * girth, *chest[:2], chest[2] * girth), *legs, *np.hstack([knots[:-1], knots[1:]]), tip])
        rest.append((*head[:2], np.radians(head[2] + 3 * wag), *shadow))
    return np.float32(bones).reshape(2, 3, 6, 10, 6), np.float32(rest).reshape(2, 3, 6, 5)


class Animal(NamedTuple):
    """The numbers an animal is drawn from (of a batch: with B in front)."""

    bones: Float[Array, "10 6"]
    rest: Float[Array, "5"]  # head x, y, tilt; the shadow's half-width and darkness
    place: Float[Array, "4"]  # x and y of the ground below it, scale, 1 to face right or -1
    colours: Float[Array, "4 3"]  # coat, rim, mane, ball
    awake: Scalar  # 1 or 0


def _rgb(colour: int) -> np.ndarray:
    return np.float32([colour >> 16, colour >> 8 & 255, colour & 255]) / 255


def _hue(turn: Scalar, light: float, depth: float) -> Float[Array, "3"]:
    return light + depth * jnp.cos(2 * np.pi * turn + np.float32([0.0, 2.1, 4.2]))


def _lay(picture: Picture, scale: Scalar | float, layers: Layers, animal: float = 0.0) -> Picture:
    """Paint layers over a picture; `scale` is the picture's length of their distances' unit; `animal` is 1 where they are part of it."""
    for colour, distance, *opacity in layers:
        cover = coverage(scale * distance) * (opacity[0] if opacity else 1.0)
        colour = jnp.append(_rgb(colour) if isinstance(colour, int) else colour, animal)
        # The barrier keeps XLA from computing the distance once for each of the four planes: twice as fast on a CPU.
        picture = paint(picture, colour, jax.lax.optimization_barrier(cover))
    return picture


def _least(*distances: Plane) -> Plane:
    return reduce(jnp.minimum, distances)


def _nearest(x: Plane, period: float) -> Plane:
    """x from the nearest multiple of `period`: what is drawn with it repeats for ever at the cost of one."""
    return x - period * jnp.round(x / period)


def _turn(x: Plane, y: Plane, angle: Scalar) -> tuple[Plane, Plane]:
    c, s = jnp.cos(angle), jnp.sin(angle)
    return c * x + s * y, c * y - s * x


def limb(x: Plane, y: Plane, bone: Float[Array, "6"] | tuple[float | int, ...]) -> Plane:
    """A thick line whose radius changes evenly from end to end; `bone` is x, y, radius at either end."""
    ax, ay, a, bx, by, b = bone
    dx, dy = bx - ax, by - ay
    along = jnp.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0, 1)
    return jnp.sqrt((x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2) - (a + along * (b - a))


def _solid(distance: Plane, colour: Float[Array, "3"], rim: Float[Array, "3"]) -> Layers:
    """A part with its rim, made to look round by shading towards the edge."""
    return [(rim, distance - _RIM), (colour, distance), (rim, distance, 0.3 * jnp.clip(1 + distance / 0.12, 0, 1) ** 2)]


def _body(x: Plane, y: Plane, animal: Animal) -> Layers:
    coat, rim, mane, _ = animal.colours
    trunk, far_hind, far_fore, near_hind, near_fore, *tail, tuft = (limb(x, y, animal.bones[k]) for k in range(10))
    behind, near, trunk = _least(far_hind, far_fore, *tail), _least(near_hind, near_fore), _least(trunk, near_hind, near_fore)
    edge = (rim, jnp.maximum(jnp.abs(near) - 0.012, trunk), 0.45)  # else the near legs would melt into the body
    return [*_solid(behind, 0.8 * coat + 0.2 * rim, rim), *_solid(tuft, mane, rim), *_solid(trunk, coat, rim), edge]


def _face(u: Plane, v: Plane, animal: Animal, eyes: tuple, iris: int, muzzle: tuple, nose: tuple, tip: int) -> Layers:
    """`eyes` is half the way between them, height, size; `muzzle` and `nose` height, half-width, half-height; `tip` the nose's colour."""
    (apart, up, eye), (height, wide, high), (middle, half, tall), u = eyes, muzzle, nose, u - 0.05  # it looks a little to where it goes
    ex, ey, glint, awake = jnp.abs(u) - apart, v - up, 0.28 * eye, animal.awake
    lid = jnp.maximum(jnp.abs(circle(ex, ey - 0.03, 0.065)) - 0.018, ey - 0.01)
    mouth = jnp.maximum(jnp.abs(circle(jnp.abs(u) - 0.042, v - middle + 0.055, 0.042)) - 0.011, v - middle + 0.05)
    return [
        (0.45 * animal.colours[0] + 0.55, ellipse(u, v - height, wide, high)), (0x46282C, mouth), (tip, ellipse(u, v - middle, half, tall)),
        (animal.colours[1], lid, 1 - awake), (iris, ellipse(ex, ey, eye, 1.12 * eye), awake),
        (_INK, ellipse(ex, ey, 0.66 * eye, 0.86 * eye), awake), (_WHITE, circle(u - apart * jnp.sign(u) - 0.02, ey - 0.03, glint), awake),
    ]  # fmt: skip


def _cat(u: Plane, v: Plane, animal: Animal) -> Layers:
    (coat, rim, mane, _), m, f = animal.colours, jnp.abs(u), jnp.abs(u - 0.05)
    skull = _least(ellipse(u, v, 0.36, 0.29), limb(m, v, (0.17, 0.14, 0.13, 0.27, 0.42, 0.012)))
    ear, stripe = limb(m, v, (0.2, 0.23, 0.055, 0.255, 0.36, 0.008)), limb(_nearest(u, 0.08), v, (0, 0.28, 0.024, 0, 0.15, 0.012))
    whiskers = _least(segment(f, v, (0.17, -0.09), (0.46, -0.05), 0.009), segment(f, v, (0.17, -0.13), (0.44, -0.17), 0.009))
    face = _face(u, v, animal, (0.145, 0.03, 0.082), 0xCEE860, (-0.12, 0.13, 0.08), (-0.07, 0.048, 0.034), 0xEC6E80)
    return [*_solid(skull, coat, rim), (0xF4A0A8, ear), (mane, jnp.maximum(stripe, m - 0.11)), *face, (rim, whiskers)]


def _dog(u: Plane, v: Plane, animal: Animal) -> Layers:
    (coat, rim, mane, _), skull = animal.colours, ellipse(u, v, 0.31, 0.3)
    ear = limb(jnp.abs(u), v, (0.25, 0.18, 0.075, 0.36, -0.12, 0.115))
    tongue = jnp.maximum(segment(u, v, (0.06, -0.2), (0.06, -0.28), 0.048), v + 0.18)
    face = _face(u, v, animal, (0.125, 0.07, 0.076), _WHITE, (-0.12, 0.165, 0.125), (-0.055, 0.07, 0.05), 0x241C20)
    return [*_solid(skull, coat, rim), *face, (0xF06078, tongue, animal.awake), *_solid(ear, mane, rim)]


def _lion(u: Plane, v: Plane, animal: Animal) -> Layers:
    (coat, rim, mane, _), ear = animal.colours, circle(jnp.abs(u) - 0.24, v - 0.24, 0.085)
    # Eleven locks: the cosine of eleven times the angle, as a power of a complex number of length one.
    locks = circle(u, v, 0.42) - 0.035 * (((u + 1j * v) / jnp.sqrt(u * u + v * v + 1e-6)) ** 11).real
    face = _face(u, v, animal, (0.118, 0.06, 0.072), 0xFFE278, (-0.11, 0.135, 0.1), (-0.05, 0.062, 0.04), 0x482422)
    return [*_solid(locks, mane, rim), *_solid(_least(ellipse(u, v, 0.28, 0.27), ear), coat, rim), *face]


def _dream(x: Plane, y: Plane, animal: Animal) -> Layers:
    layers = []
    for left, low, size in ((-0.06, 0.8, 0.12), (0.26, 1.02, 0.17)):
        u, v = animal.place[3] * (x - left) / size, (y - low) / size  # a mirrored z would be an s
        z = size * _least(box(u, jnp.abs(v) - 0.75, 0.9, 0.25), segment(u, v, (-0.6, -0.7), (0.6, 0.7), 0.25))
        layers += [(_WHITE, z - 0.03), (0x4048B8, z)]
    return layers


def _dust(x: Plane, y: Plane, animal: Animal) -> Layers:
    puffs = _least(circle(x + 0.76, y - 0.05, 0.1), circle(x + 0.61, y - 0.02, 0.06), circle(x + 0.91, y - 0.02, 0.07))
    return [(0x9A8E84, puffs - 0.03, 0.8), (0xFAF4EA, puffs)]


def _ball(x: Plane, y: Plane, animal: Animal) -> Layers:
    ball, distance, seam = animal.colours[3], circle(x - 0.64, y - 0.2, 0.2), jnp.abs(circle(x - 0.94, y - 0.5, 0.42)) - 0.035
    return [*_solid(distance, ball, 0.4 * ball), (_WHITE, jnp.maximum(seam, distance))]


def _mat(x: Plane, y: Plane, turn: Scalar, spot: Scalar, at: Float[Array, "4"]) -> Layers:
    u, v = x - 1.3 * (spot - 0.5), y + 0.52
    window, mat = box(u, v, 0.34, 0.32, 0.03), ellipse(x - at[0], y - at[1], 0.9, 0.22)
    return [
        (_hue(turn, 0.78, 0.1), y - 9), (_WHITE, jnp.abs(_nearest(x, 0.25)) - 0.04, 0.3), (0xFAF8F0, _least(window - 0.06, 0.24 - y)),
        (0xA0D4F4, jnp.maximum(window, 0.025 - jnp.minimum(jnp.abs(u), jnp.abs(v)))), (0xCEA070, 0.31 - y),
        (0xA07248, jnp.maximum(jnp.abs(_nearest(y - 0.31, 0.23)) - 0.008, 0.33 - y), 0.7),
        (_hue(turn + 0.45, 0.42, 0.34), mat), (0xFFF0C8, jnp.abs(mat + 0.06) - 0.018),
    ]  # fmt: skip


def _jungle(x: Plane, y: Plane, turn: Scalar, spot: Scalar, at: Float[Array, "4"]) -> Layers:
    vines = jnp.maximum(jnp.abs(_nearest(x - spot - 0.06 * jnp.sin(4 * y), 0.5)) - 0.025, y - 0.1)
    glow = 0.75 * jnp.clip(1.1 - circle(x, y + 0.15, 0.0), 0, 1)
    layers = [(0x10422C, y - 9), (0x3A5C28, 0.42 - y), (0x96C460, y - 9, glow), (0x28542A, vines)]
    leaves = (  # x, y of the root, direction in degrees (0 right, 90 down), length, light
        (-1.1, -0.9, 35, 1.0, 0.9), (-0.45, -1.15, 70, 0.8, 0.7), (0.25, -1.15, 105, 0.75, 0.95), (1.1, -0.95, 140, 1.05, 0.75),
        (-1.1, 0.55, -50, 0.9, 0.75), (1.1, 0.5, -125, 0.95, 0.95), (-1.15, 0.95, -15, 0.75, 1.0), (1.15, 1.0, -160, 0.7, 0.7),
    )  # fmt: skip
    for k, (left, top, angle, length, light) in enumerate(leaves):
        u, v = _turn(x - left, y - top, np.radians(angle) + 0.5 * jnp.sin(2 * np.pi * spot + 2 * k))
        leaf = circle(u - length / 2, jnp.abs(v) + 0.4 * length, 0.64 * length)
        green = light * (_rgb(0x2E9642) + 0.1 * jnp.cos(2 * np.pi * turn + k) * np.float32([1.0, 0.2, 0.0]))
        layers += [(0x0A3222, leaf - 0.02), (green, leaf), (1.25 * green, jnp.maximum(jnp.abs(v) - 0.014, leaf + 0.03))]
    return layers


def _beach(x: Plane, y: Plane, turn: Scalar, spot: Scalar, at: Float[Array, "4"]) -> Layers:
    sun, shore = circle(x - 1.5 * (spot - 0.5), y + 0.7, 0.17), 0.22 + 0.03 * jnp.sin(5 * x + 6 * turn) - y
    waves = jnp.maximum(jnp.abs(_nearest(y + 0.02 - 0.02 * jnp.sin(14 * x + 20 * spot), 0.14)) - 0.012, -0.14 - y)
    u, v = jnp.abs(x - 0.72 * jnp.where(spot < 0.5, 1, -1)), y + 0.32
    roof, pole = jnp.maximum(ellipse(u, v, 0.46, 0.36), v), box(u, v - 0.35, 0.022, 0.42)
    return [
        (0x96D8FA, y - 9), (0xFFF4AA, sun - 0.06, 0.5), (0xFFDA3C, sun), (0x1E82C8, -0.2 - y), (0xBEE8FA, waves, 0.6),
        (_WHITE, shore - 0.04), (0xF8DEA0, shore), (_WHITE, pole), (_hue(turn, 0.6, 0.38), roof),
        (_WHITE, jnp.maximum(roof, jnp.abs(u + 0.3 * v - 0.14) - 0.07)),
    ]  # fmt: skip


def _snow(x: Plane, y: Plane, turn: Scalar, spot: Scalar, at: Float[Array, "4"]) -> Layers:
    layers = [(_hue(turn, 0.0, 0.04) + _rgb(0xA8C0E0), y - 9)]
    for k, (left, size) in enumerate(((-0.75, 1.0), (0.0, 0.7), (0.75, 1.1))):
        u, v = (x - left - 0.3 * jnp.sin(2 * np.pi * spot + 2 * k)) / size, (y - 0.15) / size
        tiers = [wedge(u, v + lift, [(0.0, -0.42), (wide, 0.0), (-wide, 0.0)]) for lift, wide in ((0.1, 0.34), (0.38, 0.27), (0.64, 0.19))]
        layers += [(0x24685C, size * _least(*tiers)), (0xFAFCFF, size * jnp.maximum(tiers[2], v + 0.84))]
    u = x + 0.17 * jnp.floor(y / 0.36) ** 2 + spot
    flake = circle(_nearest(u, 0.42), _nearest(y - 0.18, 0.36) + 0.08 * jnp.sin(9 * jnp.round(u / 0.42)), 0.045)
    hill, field = 0.12 + 0.1 * jnp.sin(2.2 * x + 2 * np.pi * spot) - y, 0.4 + 0.06 * jnp.sin(3 * x - 2 * np.pi * spot) - y
    return [*layers, (0xE2EAF8, hill), (0xFAFCFF, field), (_WHITE, flake)]


def _garden(x: Plane, y: Plane, turn: Scalar, spot: Scalar, at: Float[Array, "4"]) -> Layers:
    u, hedge = jnp.abs(_nearest(x + 0.3 * spot, 0.26)), 0.1 * jnp.abs(jnp.sin(5 * (x + spot))) - 0.5 - y
    fence = _least(jnp.maximum(u - 0.075, jnp.maximum(u - y - 0.42, y - 0.22)), jnp.abs(jnp.abs(y + 0.08) - 0.16) - 0.035)
    row = jnp.floor((y - 0.2) / 0.27)
    column = jnp.round((x + 0.21 * row + 0.4 * spot) / 0.4)
    u = jnp.abs(x + 0.21 * row + 0.4 * spot - 0.4 * column + 0.07 * jnp.sin(5 * column + 3 * row))
    v = _nearest(y - 0.335, 0.27) + 0.05 * jnp.cos(7 * column + row) + 9.0 * (y < 0.2)  # no flowers but on the lawn
    stalk, petals = box(u, v - 0.06, 0.014, 0.07), _least(circle(u - 0.04, v, 0.042), circle(u, jnp.abs(v) - 0.04, 0.042))
    return [
        (0xB0E2FA, y - 9), (0x46964C, hedge), (0x96A0B0, fence - 0.014), (0xFFFCF6, fence), (0x7CC854, 0.18 - y), (0x328232, stalk),
        (_hue(turn, 0.72, 0.28), petals), (_hue(turn + 0.4, 0.72, 0.28), petals + column % 2), (0xFFE246, circle(u, v, 0.028)),
    ]  # fmt: skip


def draw_animals(scenes: Scenes, size: int) -> tuple[Float[Array, "B S S 3"], Float[Array, "B 2 S S"]]:
    """Pictures in 0..1 and masks, 0..1, of the animal and of its ball (empty where there is none), at any resolution.

    `meaning` is animal, coat, action, place; `looks` is backdrop, facing, x, y, size, light, where things in the place stand, wag and ball.
    As in `draw_things`, a CPU draws one picture at a time and an accelerator the whole batch.
    """
    meaning, looks = jnp.asarray(scenes.meaning), jnp.asarray(scenes.looks)
    (kind, coat, action, _), (_, side, x, y, room, light, spot, wag) = meaning.T, unit(looks).T
    # A small animal may stand almost anywhere: were a pose always seen at one spot, what was learned of a head elsewhere would not help there.
    scale = 0.65 + 0.35 * room
    left, ground = (0.95 - 0.8 * scale) * (2 * x - 1), 0.82 - 0.875 * (1.05 - scale) * y
    place = jnp.stack([left, ground, scale, jnp.where(side < 0.5, 1.0, -1.0)], axis=1)
    rims, manes, balls = (jnp.asarray([_rgb(colour) for colour in table]) for table in (_RIMS, _MANES, _BALLS))
    coats = jnp.asarray(list(COATS.values()), jnp.float32) / 255
    colours = jnp.stack([coats[coat], rims[coat], manes[coat], balls[looks[:, 7] % len(_BALLS)]], axis=1)
    (bones_0, bones_1), (rest_0, rest_1) = (jnp.asarray(table)[:, kind, action] for table in _skeletons())
    bones, rest = bones_0 + wag[:, None, None] * (bones_1 - bones_0), rest_0 + wag[:, None] * (rest_1 - rest_0)
    animals = Animal(bones, rest, place, colours, (action != ACTIONS.index("sleeping")).astype(jnp.float32))
    tints = unit((looks[:, 0] * 157) % 256)  # the product scatters, as in `draw.backdrop`
    (gx, gy), blank = pixel_grid(size), jnp.zeros((4, size, size))

    def one(scene: tuple[Animal, Int[Array, "4"], Float[Array, "3"]]) -> tuple[Float[Array, "S S 3"], Float[Array, "2 S S"]]:
        animal, (kind, _, action, place), (turn, light, spot) = scene
        (left, ground, scale, facing), (head_x, head_y, tilt, wide, dark) = animal.place, animal.rest
        x, y = facing * (gx - left) / scale, (ground - gy) / scale
        u, v = _turn(x - head_x, y - head_y, tilt)
        scenery = [lambda d=d: _lay(blank, 1.0, d(gx, gy, turn, spot, animal.place)) for d in (_mat, _jungle, _beach, _snow, _garden)]
        picture = _lay(jax.lax.switch(place, scenery), scale, [(0x1E1E3C, ellipse(x, y, wide, 0.09), dark)])
        picture = _lay(picture, scale, _body(x, y, animal), 1.0)
        picture = jax.lax.switch(kind, [lambda d=d: _lay(picture, scale, d(u, v, animal), 1.0) for d in (_cat, _dog, _lion)])
        extras = [lambda d=d: _lay(picture, scale, d(x, y, animal)) for d in (_dream, _dust, _ball)]
        *picture, mask = jax.lax.switch(jnp.asarray([0, 0, 1, 2, 0, 3])[action], [lambda: picture, *extras])
        ball = jnp.where(action == ACTIONS.index("playing with a ball"), coverage(scale * circle(x - 0.64, y - 0.2, 0.2 + _RIM)), 0)
        warmth = 0.88 + 0.12 * light + 0.03 * (light - 0.5) * np.float32([1.0, 0.0, -1.0])
        return jnp.clip(jnp.stack(picture, axis=-1) * warmth, 0, 1), jnp.stack([mask, ball])

    whole = None if jax.default_backend() == "cpu" else len(looks)
    return jax.lax.map(one, (animals, meaning, jnp.stack([tints, light, spot], axis=1)), batch_size=whole)
