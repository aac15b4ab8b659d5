"""What is in a picture: scenes of coloured shapes, as rows of small integers.

A batch of scenes is two integer arrays. `meaning` holds what a caption can say (size, colour, shape, where); `looks` holds what it cannot
(the exact spot, the tilt, the backdrop). Everything else follows from these: pixels (`draw.py`), sentences (`caption.py`), and the truth of
a sentence about a picture. Lesson 02 draws and reads them.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

COLOURS = {  # name -> red, green, blue in 0..255: all darker than any backdrop, so that a shape looks alike in every colour
    "red": (215, 30, 35),
    "yellow": (222, 170, 10),
    "green": (30, 140, 50),
    "blue": (30, 70, 210),
    "cyan": (20, 165, 190),
    "purple": (125, 45, 175),
    "pink": (235, 85, 160),
    "brown": (115, 65, 30),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "moon")
SIZES = ("small", "large")
RADII = (0.32, 0.55)  # of a small and a large thing, in units of half a picture
PAIR_RADII = (0.30, 0.43)  # where two share the picture
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "center", "right")
RELATIONS = ("left of", "right of", "above", "below")  # relation ^ 1 is its converse
MAX_TILT = 0.12  # radians either way

ANY = -1  # in a caption's meaning: nothing is said about this factor


class Scenes(NamedTuple):
    """A batch of scenes: `meaning` (B, F) factor values, one column a factor, and `looks` (B, L) bytes 0..255 for all that no caption tells.

    The first byte of `looks` is the backdrop's number, which also tells the split (`splits.py`).
    """

    meaning: Int[Array | np.ndarray, "B F"]
    looks: Int[Array | np.ndarray, "B L"]


class Things(NamedTuple):
    """What to draw: n things a picture, lengths in units of half a picture, x to the right and y down from the centre."""

    shape: Int[Array, "B n"]
    colour: Int[Array, "B n"]
    radius: Float[Array, "B n"]
    x: Float[Array, "B n"]
    y: Float[Array, "B n"]
    tilt: Float[Array, "B n"]


def unit(byte: Int[Array | np.ndarray, "*b"]) -> Float[Array | np.ndarray, "*b"]:
    """A byte 0..255 as the middle of its 256th of the interval 0..1: never quite 0 or 1."""
    return (byte.astype(jnp.float32) + 0.5) / 256


def place_single(scenes: Scenes) -> Things:
    """One thing; its centre lies anywhere in the ninth its row and column name, of the area that keeps the thing inside the picture. Lesson 02.

    `meaning` is size, colour, shape, row, column; `looks` is backdrop, its shade, its direction, x, y, tilt.
    """
    size, colour, shape, row, column = jnp.asarray(scenes.meaning).T
    _, _, _, x, y, tilt = unit(jnp.asarray(scenes.looks)).T
    radius = jnp.asarray(RADII)[size]
    room = 0.96 - radius  # the centre stays in [-room, room]; the tip of a tilted heart lies 7 % of its radius further out
    x = room * (2 * (column + x) / 3 - 1)
    y = room * (2 * (row + y) / 3 - 1)
    tilt = MAX_TILT * (2 * tilt - 1)
    return Things(*(v[:, None] for v in (shape, colour, radius, x, y, tilt)))


def place_pair(scenes: Scenes) -> Things:
    """Two things of which exactly one relation holds: a clear gap along one axis, an offset under half the smaller radius along the other.

    `meaning` is size, colour, shape, relation, size, colour, shape; `looks` is backdrop, its shade, its direction, then where the first
    thing stands along, the gap, where both stand across, the offset, and two tilts. Lesson 02.
    """
    size_1, colour_1, shape_1, relation, size_2, colour_2, shape_2 = jnp.asarray(scenes.meaning).T
    _, _, _, start, gap, across, offset, tilt_1, tilt_2 = unit(jnp.asarray(scenes.looks)).T
    radius_1, radius_2 = jnp.asarray(PAIR_RADII)[size_1], jnp.asarray(PAIR_RADII)[size_2]
    # Lay the pair out from low to high along its axis; "right of" and "below" then only exchange the two ends.
    spare = 2 * 0.97 - 2 * radius_1 - 2 * radius_2  # what is left of the picture's length when both things are in it
    gap = spare * (0.4 + 0.6 * gap) * 0.9
    low = -0.97 + (spare - gap) * start
    turned = relation % 2 == 1
    along_1 = jnp.where(turned, low + 2 * radius_2 + gap + radius_1, low + radius_1)
    along_2 = jnp.where(turned, low + radius_2, low + 2 * radius_1 + gap + radius_2)
    room = 0.97 - jnp.maximum(radius_1, radius_2)
    reach = 0.5 * jnp.minimum(radius_1, radius_2)  # the largest offset, half of it to either side
    across_1 = (room - reach / 2) * (2 * across - 1) + reach * (offset - 0.5)
    across_2 = (room - reach / 2) * (2 * across - 1) - reach * (offset - 0.5)
    upright = relation >= 2
    pair = [
        (
            shape_1,
            colour_1,
            radius_1,
            jnp.where(upright, across_1, along_1),
            jnp.where(upright, along_1, across_1),
            MAX_TILT * (2 * tilt_1 - 1),
        ),
        (
            shape_2,
            colour_2,
            radius_2,
            jnp.where(upright, across_2, along_2),
            jnp.where(upright, along_2, across_2),
            MAX_TILT * (2 * tilt_2 - 1),
        ),
    ]
    return Things(*(jnp.stack(v, axis=1) for v in zip(*pair, strict=True)))
