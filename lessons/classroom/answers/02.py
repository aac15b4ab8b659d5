"""Lesson 02: a scene as pixels, as a sentence, and which sentences are true of it."""

import jax
import jax.numpy as jnp
import numpy as np

from lessons.classroom.answers import right, wrong
from tinyclip.world.caption import Slot
from tinyclip.world.scene import ANY


@wrong("2.1", "is the sign turned? Inside a shape the distance is negative, and there the pixel is covered")
def coverage_of_the_outside(distance):
    return jnp.clip(0.5 + distance * (distance.shape[-1] / 2), 0, 1)


@wrong("2.1", "how wide is the picture? It runs from -1 to 1, so a pixel is 2 / S wide")
def coverage_of_a_picture_1_wide(distance):
    return jnp.clip(0.5 - distance * distance.shape[-1], 0, 1)


@wrong("2.1", "did you multiply by the width of a pixel? The distance should be counted in pixels")
def coverage_times_the_width(distance):
    return jnp.clip(0.5 - distance * (2 / distance.shape[-1]), 0, 1)


@wrong("2.1", "did you leave the distance as it is? Its unit is half a picture; the edge is one pixel wide")
def coverage_without_the_width(distance):
    return jnp.clip(0.5 - distance, 0, 1)


@wrong("2.1", "how much is covered when the edge runs through a pixel's middle?")
def coverage_without_the_half(distance):
    return jnp.clip(-distance * (distance.shape[-1] / 2), 0, 1)


@wrong("2.1", "is every pixel all in or all out? At the edge some are partly covered")
def coverage_all_or_nothing(distance):
    return (distance < 0).astype(jnp.float32)


@wrong("2.1", "can a pixel be covered more than wholly, or less than not at all?")
def coverage_without_limits(distance):
    return 0.5 - distance * (distance.shape[-1] / 2)


@right("2.1")
def coverage_by_its_three_parts(distance):
    pixel = 2 / len(distance)
    ramp = (pixel / 2 - distance) / pixel
    return jnp.where(distance >= pixel / 2, 0.0, jnp.where(distance <= -pixel / 2, 1.0, ramp))


@wrong("2.2", "are `width` and `height` halved? They are half-extents already: from the middle to an edge")
def box_of_whole_widths(x, y, width, height, corner=0.0):
    dx, dy = jnp.abs(x) - (width / 2 - corner), jnp.abs(y) - (height / 2 - corner)
    return jnp.sqrt(jnp.maximum(dx, 0) ** 2 + jnp.maximum(dy, 0) ** 2) + jnp.minimum(jnp.maximum(dx, dy), 0) - corner


@wrong("2.2", "what about the points to the left and above? The sign of x or y should make no difference")
def box_of_one_quadrant(x, y, width, height, corner=0.0):
    dx, dy = x - (width - corner), y - (height - corner)
    return jnp.sqrt(jnp.maximum(dx, 0) ** 2 + jnp.maximum(dy, 0) ** 2) + jnp.minimum(jnp.maximum(dx, dy), 0) - corner


@wrong("2.2", "are x and y exchanged? `width` goes with x, `height` with y")
def box_turned(x, y, width, height, corner=0.0):
    dx, dy = jnp.abs(x) - (height - corner), jnp.abs(y) - (width - corner)
    return jnp.sqrt(jnp.maximum(dx, 0) ** 2 + jnp.maximum(dy, 0) ** 2) + jnp.minimum(jnp.maximum(dx, dy), 0) - corner


@wrong("2.2", "is the larger of dx and dy the distance everywhere? Beyond a corner, the nearest point is the corner itself")
def box_by_the_larger_everywhere(x, y, width, height, corner=0.0):
    dx, dy = jnp.abs(x) - (width - corner), jnp.abs(y) - (height - corner)
    return jnp.maximum(dx, dy) - corner


@wrong("2.2", "did you add dx and dy beyond a corner? The straight way to the corner is shorter (Pythagoras)")
def box_by_the_sum(x, y, width, height, corner=0.0):
    dx, dy = jnp.abs(x) - (width - corner), jnp.abs(y) - (height - corner)
    return jnp.maximum(dx, 0) + jnp.maximum(dy, 0) + jnp.minimum(jnp.maximum(dx, dy), 0) - corner


@wrong("2.2", "is the length of (dx, dy) right beside an edge? Only the parts above 0 count outside")
def box_by_the_length_everywhere(x, y, width, height, corner=0.0):
    dx, dy = jnp.abs(x) - (width - corner), jnp.abs(y) - (height - corner)
    return jnp.where(jnp.maximum(dx, dy) > 0, jnp.sqrt(dx**2 + dy**2), jnp.maximum(dx, dy)) - corner


@wrong("2.2", "is it 0 everywhere inside? There the distance is negative, and tells how far the nearest edge is")
def box_without_an_inside(x, y, width, height, corner=0.0):
    dx, dy = jnp.abs(x) - (width - corner), jnp.abs(y) - (height - corner)
    return jnp.sqrt(jnp.maximum(dx, 0) ** 2 + jnp.maximum(dy, 0) ** 2) - corner


@wrong("2.2", "is it the far edge that you measure to inside? Of dx and dy, both negative there, which one is nearer to 0?")
def box_by_the_far_edge(x, y, width, height, corner=0.0):
    dx, dy = jnp.abs(x) - (width - corner), jnp.abs(y) - (height - corner)
    return jnp.sqrt(jnp.maximum(dx, 0) ** 2 + jnp.maximum(dy, 0) ** 2) + jnp.minimum(jnp.minimum(dx, dy), 0) - corner


@wrong("2.2", "is the rounded rectangle too large? Make room for the corner's radius before you grow by it")
def box_grown(x, y, width, height, corner=0.0):
    dx, dy = jnp.abs(x) - width, jnp.abs(y) - height
    return jnp.sqrt(jnp.maximum(dx, 0) ** 2 + jnp.maximum(dy, 0) ** 2) + jnp.minimum(jnp.maximum(dx, dy), 0) - corner


@wrong("2.2", "is the rounded rectangle too small? The smaller rectangle has to grow by the radius again")
def box_shrunk(x, y, width, height, corner=0.0):
    dx, dy = jnp.abs(x) - (width - corner), jnp.abs(y) - (height - corner)
    return jnp.sqrt(jnp.maximum(dx, 0) ** 2 + jnp.maximum(dy, 0) ** 2) + jnp.minimum(jnp.maximum(dx, dy), 0)


@wrong("2.2", "are the corners still sharp? `corner` is not used yet")
def box_with_sharp_corners(x, y, width, height, corner=0.0):
    dx, dy = jnp.abs(x) - width, jnp.abs(y) - height
    return jnp.sqrt(jnp.maximum(dx, 0) ** 2 + jnp.maximum(dy, 0) ** 2) + jnp.minimum(jnp.maximum(dx, dy), 0)


@right("2.2")
def box_by_the_nearest_point(x, y, width, height, corner=0.0):
    w, h = width - corner, height - corner
    near_x, near_y = jnp.clip(x, -w, w), jnp.clip(y, -h, h)
    inside = jnp.min(jnp.stack([w - x, w + x, h - y, h + y]), axis=0)
    return jnp.where(inside >= 0, -inside, jnp.hypot(x - near_x, y - near_y)) - corner


@wrong("2.3", "did you take the last phrase? The usual one comes first")
def describe_by_the_last(self, meaning, template=None):
    pieces = self.pieces(template or self.templates[0][0])
    return " ".join(piece if isinstance(piece, str) else piece.phrases[meaning[piece.column]][-1] for piece in pieces)


@wrong("2.3", "is the template that is given used? The first one is for when there is none")
def describe_by_the_first_template(self, meaning, template=None):
    pieces = self.pieces(self.templates[0][0])
    return " ".join(piece if isinstance(piece, str) else piece.phrases[meaning[piece.column]][0] for piece in pieces)


@wrong("2.3", "do the values come in the order of the slots? Each slot names the column of the meaning that it tells")
def describe_in_order(self, meaning, template=None):
    values = iter(meaning)
    pieces = self.pieces(template or self.templates[0][0])
    return " ".join(piece if isinstance(piece, str) else piece.phrases[next(values)][0] for piece in pieces)


@wrong("2.3", "is it a list of words? A sentence is one string, with spaces")
def describe_as_a_list(self, meaning, template=None):
    pieces = self.pieces(template or self.templates[0][0])
    return [piece if isinstance(piece, str) else piece.phrases[meaning[piece.column]][0] for piece in pieces]


@wrong("2.3", "where are the spaces between the words?")
def describe_without_spaces(self, meaning, template=None):
    pieces = self.pieces(template or self.templates[0][0])
    return "".join(piece if isinstance(piece, str) else piece.phrases[meaning[piece.column]][0] for piece in pieces)


@wrong("2.3", "did you join all phrases of a value? A slot has several ways to say it, and wants one")
def describe_by_all_phrases(self, meaning, template=None):
    pieces = self.pieces(template or self.templates[0][0])
    return " ".join(piece if isinstance(piece, str) else piece.phrases[meaning[piece.column]] for piece in pieces)


@wrong("2.3", "where are the template's own words? Only the slots speak")
def describe_by_slots_only(self, meaning, template=None):
    pieces = self.pieces(template or self.templates[0][0])
    return " ".join(piece.phrases[meaning[piece.column]][0] for piece in pieces if isinstance(piece, Slot))


@wrong("2.3", "what is self.templates[0]? A template comes together with its weight")
def describe_with_the_weight(self, meaning, template=None):
    pieces = self.pieces(template or self.templates[0])
    return " ".join(piece if isinstance(piece, str) else piece.phrases[meaning[piece.column]][0] for piece in pieces)


@right("2.3")
def describe_by_replacing(self, meaning, template=None):
    sentence = self.templates[0][0] if template is None else template
    for name, slot in self.slots.items():
        if "{" + name + "}" in sentence:
            usual, *_ = slot.phrases[meaning[slot.column]]
            sentence = sentence.replace("{" + name + "}", usual)
    return sentence


@wrong("2.4", "is -1 a value like any other? It says that the caption leaves this factor open: that fits anything")
def true_of_without_any(self, said, meaning):
    def fits(meaning):
        return (jnp.asarray(said)[None] == meaning[:, None]).all(-1)

    return fits(meaning) if self.turn is None else fits(meaning) | fits(self.turn(meaning))


@wrong("2.4", "is one factor that fits enough? All of them must")
def true_of_by_any_factor(self, said, meaning):
    said = jnp.asarray(said)

    def fits(meaning):
        return ((said[None] == meaning[:, None]) | (said[None] == ANY)).any(-1)

    return fits(meaning) if self.turn is None else fits(meaning) | fits(self.turn(meaning))


@wrong("2.4", "is it turned? Scenes go down (B), captions go right (M)")
def true_of_turned(self, said, meaning):
    said = jnp.asarray(said)

    def fits(meaning):
        return ((said[:, None] == meaning[None]) | (said[:, None] == ANY)).all(-1)

    return fits(meaning) if self.turn is None else fits(meaning) | fits(self.turn(meaning))


@wrong("2.4", "can the scene be read in a second way? Then a caption that fits that reading is true as well (self.turn)")
def true_of_one_reading(self, said, meaning):
    said = jnp.asarray(said)
    return ((said[None] == meaning[:, None]) | (said[None] == ANY)).all(-1)


@wrong("2.4", "must both readings fit? One is enough")
def true_of_both_readings(self, said, meaning):
    said = jnp.asarray(said)

    def fits(meaning):
        return ((said[None] == meaning[:, None]) | (said[None] == ANY)).all(-1)

    return fits(meaning) if self.turn is None else fits(meaning) & fits(self.turn(meaning))


@wrong("2.4", "may one factor fit one reading and the next factor the other? All must fit the same reading")
def true_of_mixed_readings(self, said, meaning):
    said = jnp.asarray(said)
    fits = (said[None] == meaning[:, None]) | (said[None] == ANY)
    if self.turn is not None:
        fits |= said[None] == self.turn(meaning)[:, None]
    return fits.all(-1)


@wrong("2.4", "is 0 open as well? 0 is a value; only -1 leaves a factor open")
def true_of_with_0_open(self, said, meaning):
    said = jnp.asarray(said)

    def fits(meaning):
        return ((said[None] == meaning[:, None]) | (said[None] <= 0)).all(-1)

    return fits(meaning) if self.turn is None else fits(meaning) | fits(self.turn(meaning))


@wrong("2.4", "did you compare caption j with scene j only? The answer is a table: every caption with every scene")
def true_of_own_only(self, said, meaning):
    def fits(meaning):
        return ((said == meaning) | (said == ANY)).all(-1)

    return fits(meaning) if self.turn is None else fits(meaning) | fits(self.turn(meaning))


@wrong("2.4", "do NumPy or Python loops do the comparing? Training calls this inside jax.jit, where arrays have no numbers yet")
def true_of_in_numpy(self, said, meaning):
    def fits(meaning):
        return ((np.asarray(said)[None] == np.asarray(meaning)[:, None]) | (np.asarray(said)[None] == ANY)).all(-1)

    return jnp.asarray(fits(meaning) if self.turn is None else fits(meaning) | fits(self.turn(meaning)))


@right("2.4")
def true_of_by_counting(self, said, meaning):
    readings = [jnp.asarray(meaning)]
    if self.turn is not None:
        readings.append(self.turn(meaning))
    said = jnp.asarray(said)
    wrong_factors = [((said != ANY) & (said != reading[:, None, :])).sum(axis=2) for reading in readings]
    return jnp.stack(wrong_factors).min(axis=0) == 0


@right("2.4")
def true_of_one_pair_at_a_time(self, said, meaning):
    def pair(words, scene):
        return jnp.all(jnp.where(words == ANY, True, words == scene))

    table = jax.vmap(jax.vmap(pair, (0, None)), (None, 0))
    true = table(jnp.asarray(said), jnp.asarray(meaning))
    if self.turn:
        true = jnp.logical_or(true, table(jnp.asarray(said), self.turn(meaning)))
    return true
