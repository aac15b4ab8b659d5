"""A sense of one's own, made up: a smell for every colour."""

from flax import nnx

from lessons.experiments import Experiment
from lessons.experiments.senses import bundle, conditions, finds_pictures, knows
from tinyclip.senses import SenseEncoder
from tinyclip.senses.smell import RECEPTORS, SNIFFS, TELLS, smell


def nose(seed: int) -> SenseEncoder:
    """A fresh one, smaller than the others: there is less to know."""
    return SenseEncoder(SNIFFS, RECEPTORS, bundle().config.embed, width=32, depth=1, rngs=nnx.Rngs(seed))


def score(nose: SenseEncoder) -> dict[str, float]:
    """Smell and sentences about colour, and about shape."""
    return knows(nose, smell, "colour", "something {colour}") | knows(nose, smell, "shape", "a {shape}") | finds_pictures(nose, smell, TELLS)


EXPERIMENT = Experiment(
    "smell",
    "Smell was trained against pictures only: does it find the colour, and is shape left to chance?",
    conditions(nose, smell, TELLS, score, steps=150),
)
