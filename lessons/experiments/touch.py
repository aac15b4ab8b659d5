"""Does the space show what a finger can feel, and what it cannot?"""

import numpy as np
from flax import nnx

from lessons.experiments import Experiment
from lessons.experiments.senses import WORLD, bundle, conditions, finds_pictures, knows
from tinyclip.senses import SenseEncoder, confusions
from tinyclip.senses.touch import ANGLES, TELLS, TOKENS, feel
from tinyclip.world.scene import SHAPES


def finger(seed: int) -> SenseEncoder:
    """A fresh one."""
    return SenseEncoder(TOKENS, ANGLES // TOKENS, bundle().config.embed, rngs=nnx.Rngs(seed))


def score(finger: SenseEncoder) -> dict[str, float]:
    """Touch and sentences about shape, size with shape, colour, and colour with shape; the two smooth outlines, and the worst other confusion."""
    scores = knows(finger, feel, "shape", "a {shape}") | knows(finger, feel, "size_and_shape", "a {size} {shape}")
    scores |= knows(finger, feel, "colour", "something {colour}") | knows(finger, feel, "colour_and_shape", "a {colour} {shape}")
    _, shares = confusions(bundle(), WORLD, finger, feel, "a {shape}")
    circle, ring = SHAPES.index("circle"), SHAPES.index("ring")
    smooth = shares[[circle, circle, ring, ring], [circle, ring, circle, ring]]
    rest = shares.copy()
    rest[[circle, ring], [ring, circle]] = 0
    np.fill_diagonal(rest, 0)
    names = ("circle_as_circle", "circle_as_ring", "ring_as_circle", "ring_as_ring")
    return scores | dict(zip(names, smooth, strict=True)) | {"worst_other_confusion": rest.max()} | finds_pictures(finger, feel, TELLS)


EXPERIMENT = Experiment(
    "touch",
    "Touch was trained against pictures only: does it find the shape, and is colour left to chance?",
    conditions(finger, feel, TELLS, score, steps=300),
)
