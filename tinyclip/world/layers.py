"""What pictures of animals are painted with: lists of layers, a few moves on planes, and one thick line.

A drawing is a list of layers (colour, signed distance, perhaps opacity), painted from back to front.
"""

from functools import reduce

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .draw import Plane, coverage, paint

WHITE, INK = 0xFFFFFF, 0x16121A

# Red, green, blue, and how much of a pixel is the animal. Not one array: for that, XLA's older code generator would compute every distance four
# times, and training on animals take 1.6x as long (data/benchmarks.md).
Picture = tuple[Plane, Plane, Plane, Plane]
Scalar = Float[Array, ""]
Layers = list[tuple]  # of a colour, a signed distance and perhaps an opacity, from back to front


def rgb(colour: int) -> np.ndarray:
    """0xRRGGBB as three numbers in 0..1."""
    return np.float32([colour >> 16, colour >> 8 & 255, colour & 255]) / 255


def hue(turn: Scalar, light: float, depth: float) -> Float[Array, "3"]:
    """A colour that goes once round the rainbow as `turn` goes from 0 to 1."""
    return light + depth * jnp.cos(2 * np.pi * turn + np.float32([0.0, 2.1, 4.2]))


def lay(picture: Picture, scale: Scalar | float, layers: Layers, animal: float = 0.0) -> Picture:
    """Paint layers over a picture; `scale` is the picture's length of their distances' unit; `animal` is 1 where they are part of it."""
    for colour, distance, *opacity in layers:
        cover = coverage(scale * distance) * (opacity[0] if opacity else 1.0)
        colour = jnp.append(rgb(colour) if isinstance(colour, int) else colour, animal)
        picture = tuple(paint(plane, colour[k], cover) for k, plane in enumerate(picture))
    return picture


def least(*distances: Plane) -> Plane:
    """The union of shapes."""
    return reduce(jnp.minimum, distances)


def nearest(x: Plane, period: float) -> Plane:
    """x from the nearest multiple of `period`: what is drawn with it repeats for ever at the cost of one."""
    return x - period * jnp.round(x / period)


def turn(x: Plane, y: Plane, angle: Scalar) -> tuple[Plane, Plane]:
    """The same points seen from axes turned by `angle`."""
    c, s = jnp.cos(angle), jnp.sin(angle)
    return c * x + s * y, c * y - s * x


def limb(x: Plane, y: Plane, bone: Float[Array, "6"] | tuple[float | int, ...]) -> Plane:
    """A thick line whose radius changes evenly from end to end; `bone` is x, y, radius at either end."""
    ax, ay, a, bx, by, b = bone
    dx, dy = bx - ax, by - ay
    along = jnp.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0, 1)
    return jnp.sqrt((x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2) - (a + along * (b - a))
