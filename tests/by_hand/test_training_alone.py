"""The three parts of an optimiser's step, each by itself: closed forms, and AdamW by its formulas in float64."""

import math

import numpy as np
import pytest
from helpers import check, equals, seeded

from tinyclip.by_hand import training
from tinyclip.config import TrainConfig

# The learning rate


def rates(run, steps):
    return np.array([training.learning_rate(step, run) for step in steps])


@pytest.mark.exercise("10.1")
def test_the_rate_grows_from_0_to_its_peak_in_a_straight_line():
    run = TrainConfig(steps=20, warmup=4, learning_rate=float(seeded(1).uniform(0.1, 2)))
    want = run.learning_rate * np.array([0, 1, 2, 3, 4]) / 4
    hint = "0 at step 0, and the peak at step 4, where the warm-up ends"
    check("learning_rate at steps 0 to 4, the warm-up", rates(run, range(5)), want, 1e-9, hint)


@pytest.mark.exercise("10.1")
def test_the_rate_then_falls_to_0_by_half_a_cosine():
    run = TrainConfig(steps=20, warmup=4, learning_rate=float(seeded(2).uniform(0.1, 2)))
    want = run.learning_rate * np.array([1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0])
    check("learning_rate at steps 4, 8, 12, 16 and 20", rates(run, range(4, 21, 4)), want, 1e-9, "half the peak half-way between steps 4 and 20")


@pytest.mark.exercise("10.1")
def test_a_warm_up_takes_at_most_half_of_the_run_and_may_be_missing():
    peak = float(seeded(3).uniform(0.1, 2))
    got = rates(TrainConfig(steps=4, warmup=0, learning_rate=peak), range(4))
    want = peak * (1 + np.cos(np.pi * np.arange(4) / 4)) / 2
    check("learning_rate without a warm-up", got, want, 1e-9, "the cosine begins at step 0")
    got = rates(TrainConfig(steps=6, warmup=40, learning_rate=peak), range(6))
    want = peak * np.array([0, 1 / 3, 2 / 3, 1, 0.75, 0.25])
    check("learning_rate of 6 steps with a warm-up of 40", got, want, 1e-9, "the warm-up is cut to half of the run")
    got = rates(TrainConfig(steps=7, warmup=40, learning_rate=peak), range(4))
    check("learning_rate of 7 steps with a warm-up of 40", got, peak * np.array([0, 1 / 3, 2 / 3, 1]), 1e-9, "it is cut to steps // 2 = 3 steps")


# The gradient's length


def leaves(tree, path=()):
    """Every leaf by the names that lead to it."""
    found = {}
    for name, value in tree.items():
        found |= leaves(value, (*path, name)) if isinstance(value, dict) else {(*path, name): value}
    return found


def tree_like(kind=np.float64, rng=None, size=1.0):
    shapes = {"kernel": (3, 4), "bias": (4,), "block": {"position_embedding": (5, 2), "token_embedding": (6, 2)}, "log_logit_scale": ()}

    def fill(shape):
        return {name: fill(of) for name, of in shape.items()} if isinstance(shape, dict) else np.asarray(size * rng.normal(size=shape), kind)

    return fill(shapes)


def check_tree(name, got, want, tolerance, hint=""):
    equals(f"{name}: the names of the arrays", sorted(map(str, leaves(got))) if isinstance(got, dict) else got, sorted(map(str, leaves(want))))
    for path, leaf in leaves(want).items():
        check(f"{name}, {' '.join(path)}", leaves(got)[path], leaf, tolerance, hint)


@pytest.mark.exercise("10.2")
def test_a_gradient_that_is_too_long_is_cut_as_one_vector():
    tree = {"a": np.array([1.0, 4.0]), "b": {"c": np.array([[8.0]])}}
    want = {"a": np.array([1.0, 4.0]) / 3, "b": {"c": np.array([[8.0]]) / 3}}
    check_tree("clip_by_global_norm of (1, 4) and (8) to 3", training.clip_by_global_norm(tree, 3.0), want, 1e-12, "all numbers together are 9 long")
    tree = tree_like(rng=seeded(4))
    length = math.sqrt(sum((leaf**2).sum() for leaf in leaves(tree).values()))
    want = {"bias": tree["bias"] * 0.3 / length, "kernel": tree["kernel"] * 0.3 / length}
    cut = training.clip_by_global_norm(tree, 0.3)
    for name, leaf in want.items():
        check(f"clip_by_global_norm to 0.3, {name}", cut[name], leaf, 1e-9, f"all numbers together are {length:.4g} long")
    length = math.sqrt(sum((leaf**2).sum() for leaf in leaves(cut).values()))
    check("the length of what clip_by_global_norm cut to 0.3", np.float64(length), 0.3, 1e-9)


@pytest.mark.exercise("10.2")
def test_a_short_gradient_stays_as_it_is():
    tree, same = tree_like(rng=seeded(5)), tree_like(rng=seeded(5))
    check_tree("clip_by_global_norm of a short gradient", training.clip_by_global_norm(tree, 1000.0), same, 0, "what is short enough is not changed")
    zero = {"a": np.zeros(3), "b": {"c": np.zeros((2, 2))}}
    check_tree("clip_by_global_norm of zeros", training.clip_by_global_norm(zero, 1.0), zero, 0, "zeros are short enough")


@pytest.mark.exercise("10.2")
def test_cutting_keeps_the_kind_of_numbers_and_what_it_was_given():
    given, same = tree_like(np.float32, seeded(6)), tree_like(np.float32, seeded(6))
    cut = training.clip_by_global_norm(given, 0.3)
    check_tree("the gradient given to clip_by_global_norm, afterwards", given, same, 0, "it returns a new tree")
    equals("clip_by_global_norm of float32 arrays gives", str(cut["kernel"].dtype), "float32", "numbers keep their kind")


# AdamW


def adamw(params, gradients, run):
    """Parameters and moments after each step, by the formulas; of every leaf by itself."""
    p, mean, square, history = leaves(params), {}, {}, []
    for step, gradient in enumerate(gradients):
        g = leaves(gradient)
        cut = min(1.0, run.clip_norm / math.sqrt(sum((leaf**2).sum() for leaf in g.values())))
        warm, t = min(run.warmup, run.steps // 2), step + 1
        rate = step / warm if step < warm else (1 + math.cos(math.pi * (step - warm) / (run.steps - warm))) / 2
        for path in p:
            mean[path] = 0.9 * mean.get(path, 0) + 0.1 * cut * g[path]
            square[path] = 0.98 * square.get(path, 0) + 0.02 * (cut * g[path]) ** 2
            move = mean[path] / (1 - 0.9**t) / (np.sqrt(square[path] / (1 - 0.98**t)) + 1e-6)
            decay = run.weight_decay if path[-1] in ("kernel", "token_embedding") else 0
            p[path] = p[path] - run.learning_rate * rate * (move + decay * p[path])
        history.append((dict(p), dict(mean), dict(square)))
    return history


def follow(params, gradients, run):
    """The same by the library, as flat dicts."""
    moments, history = None, []
    for step, gradient in enumerate(gradients):
        found = training.adamw(params, gradient, moments, step, run)
        assert isinstance(found, tuple) and len(found) == 2, "adamw should return two things: the parameters and the moments"
        params, moments = found
        equals("adamw, the names of the moments", sorted(moments), ["mean", "square"])
        history.append(tuple({path: np.array(leaf) for path, leaf in leaves(tree).items()} for tree in (params, moments["mean"], moments["square"])))
    return history


LEAVES = {
    ("bias",): "a bias does not decay",
    ("kernel",): "a matrix decays",
    ("block", "token_embedding"): "token embeddings decay",
    ("block", "position_embedding"): "position embeddings do not decay",
    ("log_logit_scale",): "the temperature does not decay",
}


@pytest.mark.exercise("10.3")
def test_the_first_step_moves_every_number_by_the_learning_rate():
    rng = seeded(10)
    params, gradient = tree_like(rng=rng), tree_like(rng=rng, size=0.01)
    run = TrainConfig(steps=9, warmup=0, learning_rate=0.05, weight_decay=0.4, clip_norm=10.0)
    want = adamw(params, [gradient], run)[0][0]
    got = follow(params, [gradient], run)[0][0]
    for path, hint in LEAVES.items():
        hint = f"at first mean / √square is the slope's sign, so every number moves by the rate; {hint}"
        check(f"adamw, {' '.join(path)} after the first step", got[path], want[path], 1e-9, hint)


@pytest.mark.exercise("10.3")
def test_the_moments_are_running_averages_of_the_cut_gradient_and_its_square():
    rng = seeded(11)
    params, gradients = tree_like(rng=rng), [tree_like(rng=rng, size=size) for size in (1.0, 0.05, 3.0)]
    run = TrainConfig(steps=9, warmup=2, learning_rate=0.05, weight_decay=0.4, clip_norm=0.8)
    wanted = adamw(params, gradients, run)
    for step, (got, want) in enumerate(zip(follow(params, gradients, run), wanted, strict=True), 1):
        for which, name in ((1, "mean"), (2, "square")):
            found = got[which].get(("kernel",))
            check(f"adamw, moments: {name} of kernel after step {step}", found, want[which]["kernel",], 1e-9, "of the gradient after it was cut")


@pytest.mark.exercise("10.3")
def test_some_steps_of_adamw_are_those_of_its_formulas():
    rng = seeded(12)
    params = tree_like(rng=rng)
    kept = {path: leaf.copy() for path, leaf in leaves(params).items()}
    gradients = [tree_like(rng=rng, size=size) for size in (1e-6, 2e-6, 1e-6, 0.5, 0.02, 5.0)]  # eps counts at first; the last is cut
    run = TrainConfig(steps=7, warmup=2, learning_rate=0.05, weight_decay=0.4, clip_norm=1.0)
    wanted = adamw(params, gradients, run)
    for step, (got, want) in enumerate(zip(follow(params, gradients, run), wanted, strict=True), 1):
        for path in (("bias",), ("kernel",)):
            hint = "mean / (√square + 1e-6), of the averages freed from their start at 0, times the rate"
            check(f"adamw, {' '.join(path)} after step {step}", got[0][path], want[0][path], 1e-8, hint)
    check("the kernel given to adamw, afterwards", params["kernel"], kept["kernel",], 0, "it returns new parameters")


@pytest.mark.exercise("10.3")
def test_adamw_keeps_float32():
    rng = seeded(13)
    params, gradient = (tree_like(np.float32, rng) for _ in range(2))
    (after, mean, square) = follow(params, [gradient], TrainConfig(steps=9, warmup=0))[0]
    for name, leaf in (("kernel", after), ("mean of kernel", mean), ("square of kernel", square)):
        equals(f"adamw with float32 arrays, {name}", str(leaf["kernel",].dtype), "float32", "numbers keep their kind")
