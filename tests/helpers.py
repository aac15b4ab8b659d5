"""What all tests share: one comparison that says what is wrong, numerical gradients, and modules full of random numbers."""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


class DiffersError(AssertionError):
    """Two things differ: `problem` says what and how, `hint` what it may mean."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(f"{problem}{f': {hint}' if hint else ''}")
        self.problem, self.hint = problem, hint


# The classroom sets it, and is told all that a test compares: a known mistake is recognised by what it gives.
listen: Callable[[str, Any], None] | None = None


def seeded(k: int = 0) -> np.random.Generator:
    """Random numbers for the tests that check exercises: the same at every run, but others in every grading."""
    return np.random.default_rng([int(os.environ.get("TINYCLIP_SEED", "0")), k])


def importing(*folders: Any) -> dict[str, str]:
    """For the environment of a program: it imports from these folders first, then from wherever else it may."""
    return {"PYTHONPATH": os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])}


def check(name: str, actual: Any, expected: Any, tolerance: float, hint: str = "", *, mistakes: dict[str, Any] | None = None) -> None:
    """`actual` is `expected`: the same shape, the same kind of numbers, finite where it should be, and equal to `tolerance`.

    Equal to t means max|a - b| <= t * max(1, max|b|). `mistakes` maps a question ("did you forget ...?") to the wrong numbers that this
    mistake would give: if `actual` is one of them, the message asks that question instead of giving the hint.
    """
    __tracebackhide__ = True
    if listen:
        listen(name, actual)
    problem = _differs(actual, expected, tolerance)
    if problem:
        for question, wrong in (mistakes or {}).items():
            if not _differs(actual, wrong, tolerance) and _differs(wrong, expected, tolerance):
                hint = question
                break
        raise DiffersError(f"{name}: {problem}", "" if actual is None else hint)


def equals(name: str, actual: Any, expected: Any, hint: str = "") -> None:
    """`actual` is exactly `expected`: for text, lists and other things that are no arrays."""
    __tracebackhide__ = True
    if listen:
        listen(name, actual)
    if type(actual) is not type(expected) or actual != expected:
        raise DiffersError(f"{name}: want {_shown(expected)}, got {_shown(actual)}", hint)


def jitted(name: str, function: Callable, *args: Any) -> Any:
    """What the function gives under `jax.jit`."""
    __tracebackhide__ = True
    try:
        return jax.jit(function)(*args)
    except jax.errors.JAXTypeError as error:
        hint = "it must also run inside a jitted step, where its arguments have no values yet: jnp, not np, and no float()"
        raise DiffersError(f"{name}, jitted: it stops with {type(error).__name__}", hint) from None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:199]}…"


def differs(name: str, actual: Any, other: Any, least: float, hint: str = "") -> None:
    """`actual` and `other` are of one shape and somewhere at least `least` apart."""
    __tracebackhide__ = True
    if listen:
        listen(name, actual)
    a, b = _numbers(actual), _numbers(other)
    if a.shape != b.shape:
        raise AssertionError(f"{name}: the two have different shapes, {a.shape} and {b.shape}{f': {hint}' if hint else ''}")
    if not np.abs(a - b).max() >= least:
        raise AssertionError(f"{name}: want a difference of at least {least:g}, got {np.abs(a - b).max():.3g}{f': {hint}' if hint else ''}")


def check_gradients(name: str, actual: Any, expected: Any, tolerance: float, hint: str = "") -> None:
    """Two trees of gradients agree: every leaf to `tolerance` times the largest number in all of `expected`."""
    __tracebackhide__ = True
    a, b = (jax.tree_util.tree_flatten_with_path(tree)[0] for tree in (actual, expected))
    if [path for path, _ in a] != [path for path, _ in b]:
        raise AssertionError(f"{name}: the gradients are of different parameters")
    largest = max(np.abs(_numbers(leaf)).max(initial=0) for _, leaf in b)
    for (path, x), (_, y) in zip(a, b, strict=True):
        error = np.abs(_numbers(x) - _numbers(y)).max(initial=0)
        if not error <= tolerance * largest:
            leaf = jax.tree_util.keystr(path) or "it"
            raise AssertionError(
                f"{name}: the gradient of {leaf} is off by {error / largest:.2g} of the largest{f': {hint}' if hint else ''}"
            )


def raises_one_sentence(error: type[Exception], action: Callable[[], Any], *words: str) -> None:
    """`action` raises `error` with one short sentence that holds all of `words`."""
    __tracebackhide__ = True
    try:
        action()
    except error as caught:
        text = str(caught)
        if "\n" in text or not text.endswith(".") or len(text) > 300:
            raise AssertionError(f"want one sentence of at most 300 characters that ends with a full stop, got {text!r}") from caught
        missing = [word for word in words if word not in text]
        if missing:
            raise AssertionError(f"the message should name {missing[0]!r}, but it is {text!r}") from caught
    except Exception as caught:
        raise AssertionError(f"want a {error.__name__} that names {' and '.join(words)}, got {type(caught).__name__}: {caught}") from caught
    else:
        raise AssertionError(f"want a {error.__name__} that names {' and '.join(words)}, but nothing was raised")


def numerical_gradient(f: Callable[[np.ndarray], Any], x: Any, step: float = 1e-5) -> np.ndarray:
    """The gradient of a scalar function at `x` by central differences, one number at a time, in float64."""
    x = np.array(x, np.float64)
    gradient = np.zeros_like(x)
    for i in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[i] += step
        down[i] -= step
        gradient[i] = (float(f(up)) - float(f(down))) / (2 * step)
    return gradient


def randomised(make: Callable[[], Any], seed: int = 0, dtype: Any = np.float32) -> Any:
    """The module that `make` makes, with random numbers in every parameter: fresh biases are 0 and would hide a forgotten one."""
    rng = np.random.default_rng(seed)
    module = nnx.eval_shape(make)  # nothing is drawn or compiled

    def fill(path: tuple, leaf: Any) -> jax.Array:
        noise = rng.normal(size=leaf.shape)
        name = jax.tree_util.keystr(path)
        value = 1 + 0.3 * noise if "'scale'" in name else noise * leaf.shape[0] ** -0.5 if leaf.ndim > 1 else 0.5 * noise
        return jnp.asarray(value, dtype)

    nnx.update(module, jax.tree.map_with_path(fill, nnx.state(module)))
    return module


def numbers(module: Any) -> dict[str, Any]:
    """A module's parameters as nested dicts of float64 NumPy arrays."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), nnx.to_pure_dict(nnx.state(module, nnx.Param)))


def call(module: Callable, *args: Any) -> Any:
    """`module(*args)` under one jit: much quicker than op by op."""
    return jax.jit(lambda *args: module(*args))(*args)


# The block in plain NumPy, for the towers' references. The transformer's own tests use loops instead.


def numpy_layer_norm(p: dict[str, np.ndarray], x: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * p["scale"] + p["bias"]


def numpy_softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def numpy_linear(p: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    return x @ p["kernel"] + p.get("bias", 0)


def numpy_attention(p: dict[str, Any], x: np.ndarray, heads: int, mask: np.ndarray | None = None) -> np.ndarray:
    B, T, D = x.shape
    q, k, v = (numpy_linear(p[name], x).reshape(B, T, heads, D // heads).transpose(0, 2, 1, 3) for name in ("query", "key", "value"))
    scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(D // heads)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    return numpy_linear(p["out"], (numpy_softmax(scores) @ v).transpose(0, 2, 1, 3).reshape(B, T, D))


def numpy_mlp(p: dict[str, Any], x: np.ndarray) -> np.ndarray:
    hidden = numpy_linear(p["up"], x)
    return numpy_linear(p["down"], hidden / (1 + np.exp(-1.702 * hidden)))


def numpy_block(p: dict[str, Any], x: np.ndarray, heads: int, mask: np.ndarray | None = None) -> np.ndarray:
    x = x + numpy_attention(p["attention"], numpy_layer_norm(p["norm_1"], x), heads, mask)
    return x + numpy_mlp(p["mlp"], numpy_layer_norm(p["norm_2"], x))


def _numbers(x: Any) -> np.ndarray:
    return np.asarray(jnp.asarray(x).astype(jnp.float32) if getattr(x, "dtype", None) == jnp.bfloat16 else x, np.float64)


def _kind(x: Any) -> str:
    dtype = getattr(x, "dtype", None)
    dtype = np.asarray(x).dtype if dtype is None else dtype
    for kind, name in ((np.bool_, "booleans"), (np.integer, "integers"), (np.floating, "floats")):
        if jnp.issubdtype(dtype, kind):
            return name
    return str(dtype)


def _differs(actual: Any, expected: Any, tolerance: float) -> str:
    """What is different, in words; empty if nothing is."""
    if actual is None:
        return "want a result, got None: is there a `return`?"
    if np.shape(actual) != np.shape(expected):
        turned = ", transposed" if np.shape(actual) == np.shape(expected)[::-1] else ""
        return f"want shape {np.shape(expected)}, got {np.shape(actual)}{turned}"
    if _kind(actual) != _kind(expected):
        return f"want {_kind(expected)}, got {_kind(actual)}"
    a, b = _numbers(actual), _numbers(expected)
    if not a.size:
        return ""
    lost = np.isfinite(b) & ~np.isfinite(a)
    if lost.any():
        where = tuple(map(int, np.argwhere(lost)[0]))
        return f"want finite numbers, got {a[where]}{f' at {where}' if where else ''}"
    bound = tolerance * max(1.0, np.abs(b[np.isfinite(b)]).max(initial=0))
    with np.errstate(invalid="ignore"):
        error = np.where(a == b, 0.0, np.abs(a - b))
    if (error <= bound).all():
        return ""
    worst = tuple(map(int, np.unravel_index(np.argmax(error), error.shape)))
    text = f"want {b[worst]:.6g}, got {a[worst]:.6g}"
    if worst:
        text += f" at {worst} (the largest of {int((error > bound).sum())} differences among {a.size} numbers)"
        factor = (a * b).sum() / max((b * b).sum(), 1e-300)
        if abs(factor - 1) > 1e-3 and np.abs(factor) > 1e-6 and np.abs(a - factor * b).max() <= bound:
            text += f", {factor:.6g} times what it should be everywhere"
    return text
