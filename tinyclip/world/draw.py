"""Scene -> pixels and masks, by signed distances.

A shape is a function that tells, for every point, how far it is from the shape's edge: negative inside, positive outside. A pixel is then
covered by clip(1/2 - distance / pixel width, 0, 1), which is a clean edge at any resolution, and the same number is the shape's mask. Distances
need to be right near the edge only: farther off, some (star, moon, triangle, cross, ellipse) are mere bounds, and cheaper for it.
Distances to the primitives follow Inigo Quilez, "2D distance functions". Lesson 02.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .scene import COLOURS, SHAPES, Things, unit

Plane = Float[Array, "S S"]
Length = Float[Array, ""] | float | int
Point = tuple[Length, Length]
Distance = Callable[[Plane, Plane], Plane]


def pixel_grid(size: int) -> tuple[Plane, Plane]:
    """x and y of every pixel's centre, (S, S) each, in units of half a picture: x to the right, y down, (0, 0) in the middle."""
    axis = (jnp.arange(size, dtype=jnp.float32) + 0.5) * (2 / size) - 1
    return jnp.broadcast_to(axis[None, :], (size, size)), jnp.broadcast_to(axis[:, None], (size, size))


def coverage(distance: Plane) -> Plane:
    """How much of each pixel lies inside, 0..1, from the signed distance at its centre (in units of half a picture)."""
    return jnp.clip(0.5 - distance * (distance.shape[-1] / 2), 0, 1)


def paint(plane: Plane, colour: Float[Array, ""], cover: Plane) -> Plane:
    """Lay a colour over one plane of a picture where it covers."""
    # Not plane + cover * (colour - plane): of many layers, XLA's older code generator would make 2, 4, 8, ... copies.
    return (1 - cover) * plane + cover * colour


def circle(x: Plane, y: Plane, radius: Length = 1.0) -> Plane:
    """A disc around the origin."""
    return jnp.sqrt(x * x + y * y) - radius


def box(x: Plane, y: Plane, width: Length, height: Length, corner: Length = 0.0) -> Plane:
    """A rectangle of half-extents `width` and `height` whose corners are rounded with radius `corner`."""
    dx, dy = jnp.abs(x) - (width - corner), jnp.abs(y) - (height - corner)
    outside = jnp.sqrt(jnp.maximum(dx, 0) ** 2 + jnp.maximum(dy, 0) ** 2)
    return outside + jnp.minimum(jnp.maximum(dx, dy), 0) - corner


def segment(x: Plane, y: Plane, start: Point, end: Point, radius: Length) -> Plane:
    """A thick line with round ends."""
    ax, ay = x - start[0], y - start[1]
    bx, by = end[0] - start[0], end[1] - start[1]
    along = jnp.clip((ax * bx + ay * by) / (bx * bx + by * by), 0, 1)
    return jnp.sqrt((ax - along * bx) ** 2 + (ay - along * by) ** 2) - radius


def ellipse(x: Plane, y: Plane, width: Length, height: Length) -> Plane:
    """An ellipse of half-axes `width` and `height`; first-order distance, exact on the edge."""
    level = jnp.sqrt((x / width) ** 2 + (y / height) ** 2)
    slope = jnp.sqrt((x / width**2) ** 2 + (y / height**2) ** 2)
    return level * (level - 1) / jnp.maximum(slope, 1e-6)


def wedge(x: Plane, y: Plane, corners: list[Point]) -> Plane:
    """A convex polygon (corners clockwise on the screen) as the intersection of its edges' half-planes: cheap, exact on the edge."""
    sides = []
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        length = np.hypot(bx - ax, by - ay)
        sides.append(((x - ax) * (by - ay) - (y - ay) * (bx - ax)) / length)
    return jnp.stack(sides).max(0)


def _square(x: Plane, y: Plane) -> Plane:
    return box(x, y, 0.82, 0.82)


def _triangle(x: Plane, y: Plane) -> Plane:
    return wedge(x, y + 0.05, [(0.0, -0.95), (0.95, 0.85), (-0.95, 0.85)])


def _star(x: Plane, y: Plane) -> Plane:
    # Mirrors fold the plane onto one of the ten half-points; then measure to its single edge. (Folding the angle instead takes 8 times as long.)
    px, py = jnp.abs(x), -y
    for angle in (3 * np.pi / 5, np.pi / 5):
        nx, ny = np.cos(angle), -np.sin(angle)
        beyond = 2 * jnp.maximum(px * nx + py * ny, 0)
        px, py = px - beyond * nx, py - beyond * ny
    px = jnp.abs(px)
    (ax, ay), (bx, by) = (0.0, 1.05), (0.45 * np.sin(np.pi / 5), 0.45 * np.cos(np.pi / 5))
    length = np.hypot(bx - ax, by - ay)
    return -((px - ax) * (by - ay) - (py - ay) * (bx - ax)) / length


def _heart(x: Plane, y: Plane) -> Plane:
    px, py = jnp.abs(x) / 1.7, (0.9 - y) / 1.7  # Quilez' heart stands on (0, 0) and is about 1.1 high
    lobe = jnp.sqrt((px - 0.25) ** 2 + (py - 0.75) ** 2) - np.sqrt(2) / 4
    low = 0.5 * jnp.maximum(px + py, 0.0)
    point = jnp.sqrt(jnp.minimum(px**2 + (py - 1) ** 2, (px - low) ** 2 + (py - low) ** 2)) * jnp.sign(px - py)
    return 1.7 * jnp.where(px + py > 1, lobe, point)


def _cross(x: Plane, y: Plane) -> Plane:
    return jnp.minimum(box(x, y, 0.95, 0.32), box(x, y, 0.32, 0.95))


def _ring(x: Plane, y: Plane) -> Plane:
    return jnp.abs(circle(x, y, 0.74)) - 0.24


def _moon(x: Plane, y: Plane) -> Plane:
    return jnp.maximum(circle(x, y, 1.0), -circle(x - 0.45, y + 0.1, 0.8))


DISTANCES: dict[str, Distance] = {
    "circle": lambda x, y: circle(x, y, 0.95),
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "cross": _cross,
    "ring": _ring,
    "moon": _moon,
}


# A byte has 256 values, so what a backdrop needs of trigonometry is looked up: XLA would compute it once for every pixel.
_ANGLES = 2 * np.pi * unit(np.arange(256))
_COMPASS = np.float32([np.cos(_ANGLES), np.sin(_ANGLES)]).T  # (256, 2) east and south, by direction
# Multiplying by an odd number scatters neighbouring numbers over all tints, so that every split sees every tint.
_TINTS = np.float32(0.015 * np.cos(_ANGLES[np.arange(256) * 157 % 256, None] + [0.0, 2.1, 4.2]))  # (256, 3) by number


def backdrop(looks: Int[Array, "B L"], size: int) -> Float[Array, "B S S 3"]:
    """Soft two-tone grounds, pale so that every colour stands out: number, shade and direction are the first three bytes of `looks`."""
    number, shade, direction = looks[:, 0], unit(looks[:, 1]), looks[:, 2]
    dark, light = 0.80 + 0.14 * shade, 0.83 + 0.16 * shade
    x, y = pixel_grid(size)
    east, south = jnp.asarray(_COMPASS)[direction].T[:, :, None, None]  # (B, 1, 1) each
    grey = dark[:, None, None] + (light - dark)[:, None, None] * (0.5 + 0.35 * (x * east + y * south))  # (B, S, S)
    return jnp.clip(grey[..., None] + jnp.asarray(_TINTS)[number][:, None, None, :], 0, 1)


def masks_of(things: Things, size: int) -> Float[Array, "B n S S"]:
    """How much of every pixel each thing covers, 0..1. Lesson 02.

    On a CPU `lax.map` takes one thing at a time, so that `lax.switch` runs only the shape that is there: 3 to 4x the pictures/s of `vmap`, under
    which a switch computes every shape and selects. On an accelerator that selection is the faster form.
    """
    cos, sin = jnp.cos(things.tilt) / things.radius, jnp.sin(things.tilt) / things.radius
    # From the picture's coordinates to the shape's own, in which it has radius 1 and stands upright.
    frame = jnp.stack([cos, sin, -cos * things.x - sin * things.y, sin * things.x - cos * things.y, things.radius], axis=-1)  # (B, n, 5)

    def one(thing: tuple[Int[Array, ""], Float[Array, "5"]]) -> Plane:
        shape, (cos, sin, dx, dy, radius) = thing
        x, y = pixel_grid(size)

        def cover(distance: Distance) -> Callable[[], Plane]:
            return lambda: coverage(radius * distance(cos * x + sin * y + dx, cos * y - sin * x + dy))

        return jax.lax.switch(shape, [cover(DISTANCES[name]) for name in SHAPES])

    B, n = things.shape.shape
    at_once = None if jax.default_backend() == "cpu" else B * n
    return jax.lax.map(one, (things.shape.reshape(-1), frame.reshape(-1, 5)), batch_size=at_once).reshape(B, n, size, size)


def draw_things(things: Things, looks: Int[Array, "B L"], size: int) -> tuple[Float[Array, "B S S 3"], Float[Array, "B n S S"]]:
    """Pictures in 0..1, and a mask for each thing, at any resolution. Lesson 02."""
    palette = jnp.asarray(list(COLOURS.values()), jnp.float32) / 255
    masks, pictures = masks_of(things, size), backdrop(looks, size)
    for k in range(masks.shape[1]):
        colour = palette[things.colour[:, k]][:, None, None, :]  # (B, 1, 1, 3)
        pictures = pictures + masks[:, k, :, :, None] * (colour - pictures)
    return pictures, masks
