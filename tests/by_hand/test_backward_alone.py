"""Four backwards, each by itself: the forward and what it saves are written here, so that nothing but the backward can be wrong."""

import numpy as np
import pytest
from helpers import check, equals, numerical_gradient, seeded

from tinyclip.by_hand.layers import layer_norm_backward, linear_backward
from tinyclip.by_hand.losses import cross_entropy_backward
from tinyclip.by_hand.transformer import softmax_backward


def two(name, result):
    """A backward's gradient of its input, and those of its parameters."""
    given = type(result).__name__
    assert isinstance(result, tuple) and len(result) == 2, f"{name}: want two things, dx and a dict of the parameters' gradients, got {given}"
    return result


# Linear


@pytest.mark.exercise("9.1")
@pytest.mark.parametrize("lead", [(4, 5), (4,), ()], ids=str)
def test_linear_backward_is_what_a_nudge_of_each_number_does(lead):
    rng = seeded(1)
    x, kernel, bias, dy = (rng.normal(size=shape) for shape in ((*lead, 2), (2, 3), (3,), (*lead, 3)))
    name = f"linear_backward, x {x.shape} and W (2, 3)"
    dx, gradient = two(name, linear_backward(dy, {"x": x, "params": {"kernel": kernel, "bias": bias}}))
    equals(f"the parameters of {name}", sorted(gradient), ["bias", "kernel"])
    check(f"dx of {name}", dx, numerical_gradient(lambda x: (dy * (x @ kernel + bias)).sum(), x), 1e-8)
    check(f"dW of {name}", gradient["kernel"], numerical_gradient(lambda kernel: (dy * (x @ kernel + bias)).sum(), kernel), 1e-8)
    check(f"db of {name}", gradient["bias"], numerical_gradient(lambda bias: (dy * (x @ kernel + bias)).sum(), bias), 1e-8)


@pytest.mark.exercise("9.1")
def test_a_linear_layer_without_a_bias_has_no_gradient_of_one():
    rng = seeded(2)
    x, kernel, dy = (rng.normal(size=shape) for shape in ((4, 5, 2), (2, 3), (4, 5, 3)))
    dx, gradient = two("linear_backward without a bias", linear_backward(dy, {"x": x, "params": {"kernel": kernel}}))
    equals("the parameters of linear_backward without a bias", sorted(gradient), ["kernel"])
    loops = np.zeros((2, 3))
    for b, t, i, o in np.ndindex(4, 5, 2, 3):
        loops[i, o] += x[b, t, i] * dy[b, t, o]  # y[b, t, o] moves by x[b, t, i] when W[i, o] grows by 1
    check("dx of linear_backward without a bias", dx, [[[sum(dy[b, t] * kernel[i]) for i in range(2)] for t in range(5)] for b in range(4)], 1e-12)
    check("dW of linear_backward without a bias", gradient["kernel"], loops, 1e-12)


# Cross-entropy


def softmax_by_rows(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def a_table(k):
    """Logits (B, M) of 3 questions with 5 answers each, and targets: one true answer, two that share, and all by unequal parts."""
    rng = seeded(k)
    targets = np.array([np.eye(5)[rng.integers(5)], [0, 0.5, 0, 0.5, 0], rng.random(5) + 0.1])
    return rng.normal(size=(3, 5)), targets / targets.sum(1, keepdims=True)


@pytest.mark.exercise("7.3")
def test_cross_entropy_backward_is_what_a_nudge_of_each_logit_does():
    logits, targets = a_table(3)

    def loss(logits):
        return -(targets * np.log(softmax_by_rows(logits))).sum() / 3

    got = cross_entropy_backward({"p": softmax_by_rows(logits), "targets": targets})
    check("cross_entropy_backward of a table (3, 5)", got, numerical_gradient(loss, logits), 1e-8)
    check("the sums of its rows", np.sum(got, 1), np.zeros(3), 1e-12, "a row whose logits all grow alike is no more surprised")


@pytest.mark.exercise("7.3")
def test_cross_entropy_backward_of_logits_that_know_nothing():
    n, M = 4, 6
    p, targets = np.full((n, M), 1 / M), np.eye(n, M)
    want = [[(1 / M - (i == j)) / n for j in range(M)] for i in range(n)]
    check("cross_entropy_backward of equal logits (4, 6)", cross_entropy_backward({"p": p, "targets": targets}), want, 1e-12)


@pytest.mark.exercise("7.3")
def test_cross_entropy_backward_leaves_what_was_saved_alone():
    logits, targets = a_table(4)
    saved = {"p": softmax_by_rows(logits), "targets": targets.copy()}
    cross_entropy_backward(saved)
    check("saved['p'] after cross_entropy_backward", saved["p"], softmax_by_rows(logits), 0, "what is saved still belongs to the forward")
    check("saved['targets'] after cross_entropy_backward", saved["targets"], targets, 0, "what is saved still belongs to the forward")


# Softmax


@pytest.mark.exercise("9.3")
@pytest.mark.parametrize("lead", [(2, 3, 4), ()], ids=str)
def test_softmax_backward_is_what_a_nudge_of_each_number_does(lead):
    rng = seeded(5)
    x, dy = rng.normal(size=(2, *lead, 5))
    got = softmax_backward(dy, {"p": softmax_by_rows(x)})
    check(f"softmax_backward of {x.shape}", got, numerical_gradient(lambda x: (dy * softmax_by_rows(x)).sum(), x), 1e-8)
    check("the sums of its rows", np.sum(got, -1), np.zeros(lead), 1e-12, "numbers of a row that all grow alike leave its softmax as it is")


@pytest.mark.exercise("9.3")
def test_softmax_backward_gives_nothing_to_what_may_not_be_looked_at():
    rng = seeded(6)
    p = softmax_by_rows(np.where(np.tri(4, dtype=bool), rng.normal(size=(3, 4, 4)), -np.inf))
    dy = rng.normal(size=p.shape)
    want = np.zeros_like(p)
    for b, r, i, j in np.ndindex(3, 4, 4, 4):
        want[b, r, i] += p[b, r, i] * ((i == j) - p[b, r, j]) * dy[b, r, j]  # the slope of p_j in x_i is p_i (1 if i is j, else 0, less p_j)
    check("softmax_backward under a causal mask", softmax_backward(dy, {"p": p}), want, 1e-12, "where p is 0, so is the gradient")


# LayerNorm


def layer_norm_forward(x, scale, bias, eps):
    """The result, and what is saved of it."""
    inverse = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)
    normalised = (x - x.mean(-1, keepdims=True)) * inverse
    return normalised * scale + bias, {"normalised": normalised, "inverse": inverse, "params": {"scale": scale, "bias": bias}}


@pytest.mark.exercise("9.4")
@pytest.mark.parametrize(("lead", "eps"), [((2, 3), 1e-5), ((4,), 0.5), ((), 1e-5)], ids=str)
def test_layer_norm_backward_is_what_a_nudge_of_each_number_does(lead, eps):
    rng = seeded(7)
    x, dy = rng.normal(size=(2, *lead, 5)) * 2
    scale, bias = rng.normal(size=(2, 5))
    name = f"layer_norm_backward of {x.shape}"
    dx, gradient = two(name, layer_norm_backward(dy, layer_norm_forward(x, scale, bias, eps)[1]))
    equals(f"the parameters of {name}", sorted(gradient), ["bias", "scale"])
    bias_slopes = numerical_gradient(lambda bias: (dy * layer_norm_forward(x, scale, bias, eps)[0]).sum(), bias)
    check(f"the bias's gradient in {name}", gradient["bias"], bias_slopes, 1e-7)
    scale_slopes = numerical_gradient(lambda scale: (dy * layer_norm_forward(x, scale, bias, eps)[0]).sum(), scale)
    check(f"the scale's gradient in {name}", gradient["scale"], scale_slopes, 1e-7)
    slopes = numerical_gradient(lambda x: (dy * layer_norm_forward(x, scale, bias, eps)[0]).sum(), x)
    check(f"dx of {name}", dx, slopes, 1e-6)


@pytest.mark.exercise("9.4")
def test_layer_norm_backward_has_no_part_along_a_shift_or_a_stretch():
    rng = seeded(8)
    x, dy = rng.normal(size=(2, 3, 4, 6))
    saved = layer_norm_forward(x, rng.normal(size=6), rng.normal(size=6), 0.0)[1]
    dx, _ = two("layer_norm_backward", layer_norm_backward(dy, saved))
    shift, stretch = np.sum(dx, -1), np.sum(dx * saved["normalised"], -1)
    check("dx of layer_norm_backward, summed over a token", shift, np.zeros((3, 4)), 1e-10, "a token shifted as a whole stays as it is")
    check("dx of layer_norm_backward times n, summed over a token", stretch, np.zeros((3, 4)), 1e-10, "so does one stretched as a whole")
