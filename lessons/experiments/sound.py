"""Does an ear that was only ever shown pictures understand sentences?"""

from flax import nnx

from lessons.experiments import Experiment
from lessons.experiments.senses import bundle, conditions, finds_pictures, knows
from tinyclip.senses import SenseEncoder
from tinyclip.senses.sound import BANDS, FRAMES, TELLS, hear


def ear(seed: int) -> SenseEncoder:
    """A fresh one."""
    return SenseEncoder(FRAMES, BANDS, bundle().config.embed, rngs=nnx.Rngs(seed))


def score(ear: SenseEncoder) -> dict[str, float]:
    """Sound and the 64 sentences "a {colour} {shape}", both ways; colour and shape alone; and the pictures it was trained with."""
    scores = knows(ear, hear, "text", "a {colour} {shape}")
    scores |= knows(ear, hear, "colour", "something {colour}") | knows(ear, hear, "shape", "a {shape}")
    return scores | finds_pictures(ear, hear, TELLS)


EXPERIMENT = Experiment(
    "sound",
    "Sound was trained against pictures only: does it find its sentence among 64?",
    conditions(ear, hear, TELLS, score, steps=300),
)
