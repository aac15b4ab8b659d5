"""Every function by hand is JAX's, forward and backward, and every backward is the slope that central differences measure."""

import inspect

import jax
import numpy as np
import pytest
from cases import CASES, SCALE, UNIT_IMAGES, UNIT_TEXTS, X, away, check_case, module
from helpers import check

from tinyclip import by_hand, transformer
from tinyclip.by_hand import layers, losses, towers, training
from tinyclip.by_hand import transformer as hand_transformer


@pytest.mark.parametrize("wide", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_a_function_by_hand_is_the_one_in_jax_forward_and_backward(name, wide):
    check_case(name, wide)


@pytest.mark.parametrize("name", CASES)
def test_a_backward_is_the_slope_that_central_differences_measure(name):
    case, rng, h = CASES[name], np.random.default_rng(2), 1e-5
    y, saved = case.forward(*case.args)
    dy = away(y)
    leaves, tree = jax.tree.flatten(case.args)
    gradients = jax.tree.leaves(tuple(case.backward(dy, saved)))
    largest = max(np.abs(leaf).max() for leaf in gradients)
    for i, (leaf, gradient) in enumerate(zip(leaves, gradients, strict=True)):
        way = rng.normal(size=leaf.shape)
        ends = (tree.unflatten([*leaves[:i], leaf + side * h * way, *leaves[i + 1 :]]) for side in (1, -1))
        up, down = ((dy * case.forward(*args)[0]).sum() for args in ends)
        slope, claimed = (up - down) / (2 * h), (gradient * way).sum()
        assert abs(slope - claimed) <= 1e-6 * largest * np.sqrt(leaf.size) + 1e-8, (
            f"{case.name}_backward: along a random way the loss changes by {slope:.8g}, but the gradient of argument {i} says {claimed:.8g}"
        )


def test_every_backward_has_a_case():
    public = {name for name in vars(by_hand) if name.endswith("_backward")}
    cases = {f"{case.name}_backward" for case in CASES.values()}
    assert public == cases, f"no case for {public - cases}, no function for {cases - public}"


def test_every_backward_carries_its_derivation_and_every_public_function_a_docstring():
    for name, function in vars(by_hand).items():
        if inspect.isfunction(function):
            assert function.__doc__, f"{name} has no docstring"
        if name.endswith("_backward"):
            assert len(function.__doc__) > 55, f"{name}: a few lines of mathematics belong in its docstring"


def test_nothing_by_hand_uses_jax_or_optax_except_the_conversion():
    for part in (layers, hand_transformer, towers, losses, training):
        source = inspect.getsource(part)
        for name in ("jax.", "jnp", "flax", "optax", "grad("):
            assert name not in source.replace("jaxtyping", ""), f"{part.__name__} speaks of {name}: by hand means NumPy"


# The slow twins


@pytest.mark.parametrize("mask", [None, "causal"])
def test_attention_is_the_loops(mask):
    params, _ = module(lambda rngs: transformer.Attention(12, 3, out_std=0.1, rngs=rngs))
    allowed = None if mask is None else by_hand.causal_mask(X.shape[1])
    check("attention", by_hand.attention(params, X, 3, allowed)[0], by_hand.attention_by_loops(params, X, 3, allowed), 1e-12)


def test_the_contrastive_loss_is_the_loops():
    texts = UNIT_TEXTS[: len(UNIT_IMAGES)]
    fast, slow = by_hand.contrastive_loss(UNIT_IMAGES, texts, SCALE)[0], by_hand.contrastive_loss_by_loops(UNIT_IMAGES, texts, SCALE)
    check("contrastive_loss", fast, slow, 1e-12)
