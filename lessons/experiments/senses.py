"""What the experiments `sound`, `touch` and `smell` share: an encoder aligned with pictures, an untrained one as its control, and their scores."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax
import numpy as np
from flax import nnx

import tinyclip
from lessons.experiments import Condition, Params
from tinyclip.bundle import Bundle
from tinyclip.evaluate import draw_bytes, recall_at_k
from tinyclip.senses import Sense, SenseEncoder, align, embed_sense, emergent_scores, told_by
from tinyclip.world import get_world

WORLD = get_world("single")


@cache
def bundle() -> Bundle:
    """The frozen model of pictures and sentences."""
    with jax.ensure_compile_time_eval():  # real arrays, also when first asked for inside a trace
        return tinyclip.load("shapes")


def with_params(make: Callable[[int], SenseEncoder], params: Params) -> SenseEncoder:
    """The encoder that `make` makes, with these parameters."""
    return nnx.merge(nnx.graphdef(nnx.eval_shape(partial(make, 0))), params)


def conditions(
    make: Callable[[int], SenseEncoder], sense: Sense, tells: Sequence[int], score: Callable[[SenseEncoder], dict[str, float]], **how: Any
) -> tuple[Condition, Condition]:
    """The encoder that `make` makes from a seed: aligned with pictures, and as it was before; `how` goes to `align`."""

    def trained(seed: int) -> Params:
        return nnx.state(align(bundle(), WORLD, make(seed), sense, tells, seed=seed, **how)[0], nnx.Param)

    def untrained(seed: int) -> Params:
        return nnx.state(make(seed), nnx.Param)

    def scored(params: Params) -> dict[str, float]:
        return score(with_params(make, params))

    return Condition("aligned", trained, scored, partial(untrained, 0)), Condition("untrained", untrained, scored, partial(untrained, 0))


def knows(encoder: SenseEncoder, sense: Sense, what: str, template: str) -> dict[str, float]:
    """`emergent_scores` with sentences of a template, each name with `what` for "text"; `_all` is over seen and held-out readings together."""
    scores = emergent_scores(bundle(), WORLD, encoder, sense, template)
    seen, held_out = len(WORLD.seen), len(WORLD.held_out)
    scores["to_text_all"] = (seen * scores["to_text_seen"] + held_out * scores["to_text_held_out"]) / (seen + held_out)
    return {name.replace("text", what).replace("chance", f"chance_{what}"): value for name, value in scores.items()}


@cache
def _pictures() -> np.ndarray:
    every = np.concatenate([WORLD.seen, WORLD.held_out])
    return bundle().embed_images(draw_bytes(WORLD, WORLD.dress(jax.random.key(5), every), bundle().config.image.size))


def finds_pictures(encoder: SenseEncoder, sense: Sense, tells: Sequence[int]) -> dict[str, float]:
    """What was trained: is the nearest of all new pictures, one of every meaning, one that agrees in all the sense can tell?"""
    every = np.concatenate([WORLD.seen, WORLD.held_out])
    true = np.asarray(WORLD.true_of(told_by(every, tells), every)).T  # (readings, pictures)
    similarity, seen = embed_sense(encoder, sense, every) @ _pictures().T, len(WORLD.seen)
    rows = {"seen": slice(0, seen), "held_out": slice(seen, None)}
    return {f"to_picture_{suffix}": recall_at_k(similarity[part], true[part], 1) for suffix, part in rows.items()}
