"""Touch: a finger goes once round the outline and feels how far it is from the middle, angle by angle. It feels shape and size, never colour.

The outlines are read off the very signed distances that the pictures are drawn with: there is no second definition of a shape.
B things · A angles · n tokens of c neighbouring angles. Lesson 16.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..world.draw import DISTANCES
from ..world.scene import RADII, SHAPES

ANGLES, TOKENS = 64, 16  # how many angles are felt, in how many tokens
TELLS = (0, 2)  # of a meaning of the world `single`: size and shape
MAX_TURN = np.pi / 12  # 15 degrees either way
GRIP = 0.15  # a hand knows lengths to 15 % only
NOISE = 0.02  # of a reading, in units of half a picture
FINE = 720  # angles in the table that `feel` reads off, two a degree


def outline(shape: str, angles: Float[Array | np.ndarray, "A"]) -> Float[Array, "A"]:
    """How far from a shape's middle its outermost edge lies, in the shape's own units, at angles in radians from the right, clockwise: to
    1e-4, and jit-able.

    Holes and dents that the ray has passed through are not felt: a ring is as smooth as a circle. 0 where the ray never meets the shape (the
    middle of the moon lies in its bite).
    """
    radii = jnp.linspace(0, 1.5, 301)  # beyond every shape

    def along_the_ray(angle: Float[Array, ""]) -> Float[Array, ""]:
        def inside(radius: Float[Array, ""]) -> Bool[Array, ""]:
            point = (radius * turned for turned in (jnp.cos(angle), jnp.sin(angle)))
            return DISTANCES[shape](*(v.reshape(1, 1) for v in point))[0, 0] <= 0  # a plane of one point

        last = jnp.where(jax.vmap(inside)(radii), radii, -1.0).max()  # the outermost that is inside

        def halve(_: Int[Array, ""], ends: tuple) -> tuple:
            middle = (ends[0] + ends[1]) / 2
            within = inside(middle)
            return jnp.where(within, middle, ends[0]), jnp.where(within, ends[1], middle)

        edge, _ = jax.lax.fori_loop(0, 16, halve, (last, last + radii[1]))
        return jnp.where(last < 0, 0.0, edge)

    return jax.vmap(along_the_ray)(jnp.asarray(angles))


@cache
def _outlines() -> Float[Array, "8 a"]:
    with jax.ensure_compile_time_eval():  # also when first asked for inside a traced step
        angles = jnp.arange(FINE) * (2 * np.pi / FINE)
        return jnp.stack([jax.jit(outline, static_argnums=0)(shape, angles) for shape in SHAPES])


def feel(key: Array, meaning: Int[Array | np.ndarray, "B 5"]) -> Float[Array, "B n c"]:
    """The sense of touch: the outlines of scenes of the world `single`, turned by up to 15 degrees, noisy, in tokens of neighbouring angles.

    Lengths in units of half a picture, brought to around 0 with a spread of about 1. jit-able.
    """
    size, _, shape, _, _ = jnp.asarray(meaning).T
    B = len(size)
    turns, grips, noise = jax.random.split(key, 3)
    turn = jax.random.uniform(turns, (B, 1), minval=-MAX_TURN, maxval=MAX_TURN)
    angle = (jnp.arange(ANGLES) * (2 * np.pi / ANGLES) - turn) * (FINE / (2 * np.pi))  # in steps of the table, (B, A)
    outlines = _outlines()[shape]  # (B, FINE)
    radius = jnp.take_along_axis(outlines, jnp.round(angle).astype(int) % FINE, axis=1)
    scale = jnp.asarray(RADII)[size][:, None] * (1 + jax.random.uniform(grips, (B, 1), minval=-GRIP, maxval=GRIP))
    felt = scale * radius + NOISE * jax.random.normal(noise, radius.shape)
    return ((felt - 0.35) / 0.15).reshape(B, TOKENS, ANGLES // TOKENS)
