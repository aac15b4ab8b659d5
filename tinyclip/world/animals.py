"""The animals world: a cat, a dog, a lion or one of five others does something somewhere, drawn like a picture book.

All animals share one skeleton, a row of numbers for each animal and action (`_skeletons`): where body, legs, tail and head are. A thick
line that narrows towards one end (`limb`) makes bodies, legs, tails and ears; only the heads differ in kind. Animals live in a frame of their
own: x forward, y up, (0, 0) on the ground below them, lengths in halves of a picture. `places.py` paints what is behind them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .draw import Plane, box, circle, coverage, ellipse, pixel_grid, segment
from .layers import INK, WHITE, Layers, Scalar, lay, least, limb, nearest, rgb, turn
from .places import SCENERY
from .scene import Scenes, unit

ANIMALS = ("cat", "dog", "lion", "rabbit", "mouse", "mammoth", "deer", "pig")
# Red, green and blue in 0..255; black is a dark grey, so that legs still show against the body.
COATS = {"black": (52, 50, 60), "white": (250, 248, 242), "grey": (164, 168, 178), "brown": (126, 76, 42), "ginger": (242, 146, 46)}
ACTIONS = ("sitting", "standing", "sleeping", "running", "jumping", "playing with a ball")
PLACES = ("on a mat", "in the jungle", "on the beach", "in the snow", "in the garden")

# Of each coat: its rim (light on black, else dark: white must show in snow and black in the jungle), then mane, tail tip and a dog's ears.
_RIMS, _MANES = (0x9090A4, 0x707084, 0x484C5A, 0x361C0E, 0x803A0A), (0x6C5E64, 0xCEBA98, 0x6C707E, 0x482816, 0xA84816)
_BALLS = (0xEC3038, 0x286EF0, 0xFAD428, 0xC43CC8)
_RIM, _HEAD = 0.035, 1.35  # the rim's width; how much larger heads are than life, so that they tell the animals apart at 32 pixels

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
    "jumping": ((-0.34, 0.58, 0.19), (0.08, 0.86, 0.2), (0.3, 1.1, 10), ((-0.4, 0.22), (0.52, 0.74), (-0.64, 0.3), (0.48, 0.56)),
                (-0.44, 0.64, 10, 80), (0.36, 0.45)),
    "playing": ((-0.5, 0.56, 0.2), (-0.04, 0.36, 0.19), (0.12, 0.68, 8), ((-0.42, 0.08), (0.24, 0.06), (-0.58, 0.06), (0.5, 0.3)),
                (-0.58, 0.66, 70, 50), (0.65, 0.35)),
}  # fmt: skip
# Of each animal: girth, a leg's radius; the tail's length, radius at root and tip, degrees higher; its tuft's radius.
_BUILDS = (
    (0.9, 0.075, 0.78, 0.06, 0.05, 0, 0.05), (1.0, 0.085, 0.36, 0.075, 0.04, 25, 0.04), (1.08, 0.1, 0.62, 0.045, 0.04, 0, 0.1),
    (0.95, 0.08, 0.12, 0.08, 0.08, 30, 0.12), (0.8, 0.06, 0.85, 0.035, 0.02, 0, 0.02), (1.3, 0.13, 0.42, 0.035, 0.025, -10, 0.06),
    (0.88, 0.06, 0.2, 0.07, 0.05, 40, 0.06), (1.22, 0.085, 0.24, 0.04, 0.03, 50, 0.04),
)  # fmt: skip


def _skeletons() -> tuple[np.ndarray, np.ndarray]:
    """Bones (2, 8, 6, 10, 6), x, y, radius at either end of body, legs, tail, tuft; `Animal.rest` (2, 8, 6, 5); for both ends of a wag."""
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
    shape = 2, len(_BUILDS), len(_POSES)
    return np.float32(bones).reshape(*shape, 10, 6), np.float32(rest).reshape(*shape, 5)


class Animal(NamedTuple):
    """The numbers an animal is drawn from (of a batch: with B in front)."""

    bones: Float[Array, "10 6"]
    rest: Float[Array, "5"]  # head x, y, tilt; the shadow's half-width and darkness
    place: Float[Array, "4"]  # x and y of the ground below it, scale, 1 to face right or -1
    colours: Float[Array, "4 3"]  # coat, rim, mane, ball
    awake: Scalar  # 1 or 0


def _solid(distance: Plane, colour: Float[Array, "3"], rim: Float[Array, "3"]) -> Layers:
    """A part with its rim, made to look round by shading towards the edge."""
    return [(rim, distance - _RIM), (colour, distance), (rim, distance, 0.3 * jnp.clip(1 + distance / 0.12, 0, 1) ** 2)]


def _body(x: Plane, y: Plane, animal: Animal) -> Layers:
    coat, rim, mane, _ = animal.colours
    trunk, far_hind, far_fore, near_hind, near_fore, *tail, tuft = (limb(x, y, animal.bones[k]) for k in range(10))
    behind, near, trunk = least(far_hind, far_fore, *tail), least(near_hind, near_fore), least(trunk, near_hind, near_fore)
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
        (INK, ellipse(ex, ey, 0.66 * eye, 0.86 * eye), awake), (WHITE, circle(u - apart * jnp.sign(u) - 0.02, ey - 0.03, glint), awake),
    ]  # fmt: skip


def _cat(u: Plane, v: Plane, animal: Animal) -> Layers:
    (coat, rim, mane, _), m, f = animal.colours, jnp.abs(u), jnp.abs(u - 0.05)
    skull = least(ellipse(u, v, 0.36, 0.29), limb(m, v, (0.17, 0.14, 0.13, 0.27, 0.42, 0.012)))
    ear, stripe = limb(m, v, (0.2, 0.23, 0.055, 0.255, 0.36, 0.008)), limb(nearest(u, 0.08), v, (0, 0.28, 0.024, 0, 0.15, 0.012))
    whiskers = least(segment(f, v, (0.17, -0.09), (0.46, -0.05), 0.009), segment(f, v, (0.17, -0.13), (0.44, -0.17), 0.009))
    face = _face(u, v, animal, (0.145, 0.03, 0.082), 0xCEE860, (-0.12, 0.13, 0.08), (-0.07, 0.048, 0.034), 0xEC6E80)
    return [*_solid(skull, coat, rim), (0xF4A0A8, ear), (mane, jnp.maximum(stripe, m - 0.11)), *face, (rim, whiskers)]


def _dog(u: Plane, v: Plane, animal: Animal) -> Layers:
    (coat, rim, mane, _), skull = animal.colours, ellipse(u, v, 0.31, 0.3)
    ear = limb(jnp.abs(u), v, (0.25, 0.18, 0.075, 0.36, -0.12, 0.115))
    tongue = jnp.maximum(segment(u, v, (0.06, -0.2), (0.06, -0.28), 0.048), v + 0.18)
    face = _face(u, v, animal, (0.125, 0.07, 0.076), WHITE, (-0.12, 0.165, 0.125), (-0.055, 0.07, 0.05), 0x241C20)
    return [*_solid(skull, coat, rim), *face, (0xF06078, tongue, animal.awake), *_solid(ear, mane, rim)]


def _lion(u: Plane, v: Plane, animal: Animal) -> Layers:
    (coat, rim, mane, _), ear = animal.colours, circle(jnp.abs(u) - 0.24, v - 0.24, 0.085)
    # Eleven locks: the cosine of eleven times the angle, as a power of a complex number of length one.
    locks = circle(u, v, 0.42) - 0.035 * (((u + 1j * v) / jnp.sqrt(u * u + v * v + 1e-6)) ** 11).real
    face = _face(u, v, animal, (0.118, 0.06, 0.072), 0xFFE278, (-0.11, 0.135, 0.1), (-0.05, 0.062, 0.04), 0x482422)
    return [*_solid(locks, mane, rim), *_solid(least(ellipse(u, v, 0.28, 0.27), ear), coat, rim), *face]


def _rabbit(u: Plane, v: Plane, animal: Animal) -> Layers:
    coat, rim, _, _ = animal.colours
    skull, ear = ellipse(u, v, 0.29, 0.28), limb(jnp.abs(u), v, (0.12, 0.2, 0.075, 0.19, 0.56, 0.07))
    inner = limb(jnp.abs(u), v, (0.12, 0.22, 0.03, 0.185, 0.53, 0.03))
    face = _face(u, v, animal, (0.135, 0.05, 0.08), 0xC87850, (-0.12, 0.12, 0.08), (-0.065, 0.04, 0.026), 0xEC6E80)
    return [*_solid(least(skull, ear), coat, rim), (0xF4A0A8, inner), *face, (WHITE, box(u - 0.05, v + 0.23, 0.04, 0.045, 0.01))]


def _mouse(u: Plane, v: Plane, animal: Animal) -> Layers:
    coat, rim, _, _ = animal.colours
    ear = circle(jnp.abs(u) - 0.3, v - 0.24)
    face = _face(u, v, animal, (0.115, 0.01, 0.06), INK, (-0.13, 0.1, 0.075), (-0.09, 0.055, 0.045), 0xF06078)
    return [*_solid(ear + 0.78, coat, rim), (0xF4A0A8, ear + 0.86), *_solid(ellipse(u, v + 0.03, 0.26, 0.25), coat, rim), *face]


def _mammoth(u: Plane, v: Plane, animal: Animal) -> Layers:
    coat, rim, mane, _ = animal.colours
    trunk = least(limb(u, v, (0.04, -0.05, 0.1, 0.08, -0.4, 0.075)), limb(u, v, (0.08, -0.4, 0.075, 0.28, -0.46, 0.06)))
    tusk = limb(jnp.abs(u - 0.05), v, (0.15, -0.15, 0.055, 0.27, -0.38, 0.03))
    face = _face(u, v, animal, (0.13, 0.09, 0.06), WHITE, (-0.1, 0.1, 0.08), (-0.06, 0.03, 0.03), 0x241C20)
    ears = [*_solid(ellipse(jnp.abs(u) - 0.38, v - 0.03, 0.22, 0.3), coat, rim), (mane, ellipse(jnp.abs(u) - 0.4, v - 0.02, 0.13, 0.2), 0.5)]
    return [*ears, *_solid(ellipse(u, v, 0.27, 0.29), coat, rim), *face, (rim, tusk - _RIM), (WHITE, tusk), *_solid(trunk, coat, rim)]


def _deer(u: Plane, v: Plane, animal: Animal) -> Layers:
    (coat, rim, _, _), m = animal.colours, jnp.abs(u)
    antler = least(limb(m, v, (0.1, 0.22, 0.035, 0.27, 0.58, 0.022)), segment(m, v, (0.16, 0.36), (0.38, 0.48), 0.024))
    ear = limb(m, v, (0.2, 0.12, 0.06, 0.4, 0.16, 0.03))
    face = _face(u, v, animal, (0.125, 0.06, 0.072), 0x8A5A30, (-0.15, 0.13, 0.14), (-0.11, 0.065, 0.045), 0x241C20)
    return [(0x7A4A20, antler - 0.025), (0xE8C088, antler), *_solid(least(ellipse(u, v, 0.24, 0.29), ear), coat, rim), *face]


def _pig(u: Plane, v: Plane, animal: Animal) -> Layers:
    (coat, rim, mane, _), w = animal.colours, u - 0.05
    ear, nostril = limb(jnp.abs(u), v, (0.2, 0.2, 0.1, 0.36, 0.3, 0.02)), ellipse(jnp.abs(w) - 0.055, v + 0.08, 0.025, 0.04)
    face = _face(u, v, animal, (0.145, 0.08, 0.06), INK, (-0.1, 0.17, 0.13), (-0.08, 0.15, 0.11), 0xF48CA0)
    return [*_solid(ellipse(u, v, 0.31, 0.28), coat, rim), *_solid(ear, mane, rim), *face, (0xA03850, nostril)]


def _dream(x: Plane, y: Plane, animal: Animal) -> Layers:
    layers = []
    for left, low, size in ((-0.06, 0.8, 0.12), (0.26, 1.02, 0.17)):
        u, v = animal.place[3] * (x - left) / size, (y - low) / size  # a mirrored z would be an s
        z = size * least(box(u, jnp.abs(v) - 0.75, 0.9, 0.25), segment(u, v, (-0.6, -0.7), (0.6, 0.7), 0.25))
        layers += [(WHITE, z - 0.03), (0x4048B8, z)]
    return layers


def _dust(x: Plane, y: Plane, animal: Animal) -> Layers:
    puffs = least(circle(x + 0.76, y - 0.05, 0.1), circle(x + 0.61, y - 0.02, 0.06), circle(x + 0.91, y - 0.02, 0.07))
    return [(0x9A8E84, puffs - 0.03, 0.8), (0xFAF4EA, puffs)]


def _ball(x: Plane, y: Plane, animal: Animal) -> Layers:
    ball, distance, seam = animal.colours[3], circle(x - 0.64, y - 0.2, 0.2), jnp.abs(circle(x - 0.94, y - 0.5, 0.42)) - 0.035
    return [*_solid(distance, ball, 0.4 * ball), (WHITE, jnp.maximum(seam, distance))]


_HEADS = (_cat, _dog, _lion, _rabbit, _mouse, _mammoth, _deer, _pig)


def draw_animals(scenes: Scenes, size: int) -> tuple[Float[Array, "B S S 3"], Float[Array, "B 2 S S"]]:
    """Pictures in 0..1 and masks, 0..1, of the animal and of its ball (empty where there is none), at any resolution.

    `meaning` is animal, coat, action, place; `looks` is backdrop, facing, x, y, size, light, where things in the place stand, wag and ball.
    As in `draw_things`, a CPU draws one picture at a time and an accelerator the whole batch.
    """
    meaning, looks = jnp.asarray(scenes.meaning), jnp.asarray(scenes.looks)
    (kind, coat, action, _), (_, side, x, y, room, light, spot, wag) = meaning.T, unit(looks).T
    (bones_0, bones_1), (rest_0, rest_1) = (jnp.asarray(table)[:, kind, action] for table in _skeletons())
    bones, rest = bones_0 + wag[:, None, None] * (bones_1 - bones_0), rest_0 + wag[:, None] * (rest_1 - rest_0)
    scale = 0.78 + 0.16 * room
    # Every pose has its head in the same region. Were each pose's head seen at a spot of its own, what was learned there would not help elsewhere.
    facing = jnp.where(side < 0.5, 1.0, -1.0)
    left, ground = facing * (0.05 + 0.35 * x - scale * rest[:, 0]), jnp.clip(0.25 * y - 0.05 + scale * rest[:, 1], 0.3, 0.95)
    place = jnp.stack([left, ground, scale, facing], axis=1)
    rims, manes, balls = (jnp.asarray([rgb(colour) for colour in table]) for table in (_RIMS, _MANES, _BALLS))
    coats = jnp.asarray(list(COATS.values()), jnp.float32) / 255
    colours = jnp.stack([coats[coat], rims[coat], manes[coat], balls[looks[:, 7] % len(_BALLS)]], axis=1)
    animals = Animal(bones, rest, place, colours, (action != ACTIONS.index("sleeping")).astype(jnp.float32))
    tints = unit((looks[:, 0] * 157) % 256)  # the product scatters, as in `draw.backdrop`
    (gx, gy), blank = pixel_grid(size), (jnp.zeros((size, size)),) * 4

    def one(scene: tuple[Animal, Int[Array, "4"], Float[Array, "3"]]) -> tuple[Float[Array, "S S 3"], Float[Array, "2 S S"]]:
        animal, (kind, _, action, place), (tint, light, spot) = scene
        (left, ground, scale, facing), (head_x, head_y, tilt, wide, dark) = animal.place, animal.rest
        x, y = facing * (gx - left) / scale, (ground - gy) / scale
        u, v = turn((x - head_x) / _HEAD, (y - head_y) / _HEAD, tilt)
        scenery = [lambda d=d: lay(blank, 1.0, d(gx, gy, tint, spot, animal.place)) for d in SCENERY]
        picture = lay(jax.lax.switch(place, scenery), scale, [(0x1E1E3C, ellipse(x, y, wide, 0.09), dark)])
        picture = lay(picture, scale, _body(x, y, animal), 1.0)
        picture = jax.lax.switch(kind, [lambda d=d: lay(picture, _HEAD * scale, d(u, v, animal), 1.0) for d in _HEADS])
        extras = [lambda d=d: lay(picture, scale, d(x, y, animal)) for d in (_dream, _dust, _ball)]
        *picture, mask = jax.lax.switch(jnp.asarray([0, 0, 1, 2, 0, 3])[action], [lambda: picture, *extras])
        ball = jnp.where(action == ACTIONS.index("playing with a ball"), coverage(scale * circle(x - 0.64, y - 0.2, 0.2 + _RIM)), 0)
        warmth = 0.88 + 0.12 * light + 0.03 * (light - 0.5) * np.float32([1.0, 0.0, -1.0])
        return jnp.clip(jnp.stack(picture, axis=-1) * warmth, 0, 1), jnp.clip(jnp.stack([mask, ball]), 0, 1)

    whole = None if jax.default_backend() == "cpu" else len(looks)
    return jax.lax.map(one, (animals, meaning, jnp.stack([tints, light, spot], axis=1)), batch_size=whole)
