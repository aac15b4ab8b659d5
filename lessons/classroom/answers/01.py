"""Lesson 01: vectors of length 1."""

import jax
import jax.numpy as jnp

from lessons.classroom.answers import right, wrong
from tinyclip.transformer import at_least_float32


@wrong("1.1", "did you divide by the sum of squares, without its root?")
def l2_normalise_without_the_root(x, eps=1e-12):
    x = at_least_float32(x)
    return x / ((x * x).sum(-1, keepdims=True) + eps)


@wrong("1.1", "did you divide by the sum of sizes? That is another length (L1); this one is the root of the sum of squares")
def l2_normalise_of_l1(x, eps=1e-12):
    x = at_least_float32(x)
    return x / (jnp.abs(x).sum(-1, keepdims=True) + eps)


@wrong("1.1", "did you normalise the columns? The E numbers of one vector lie along the last axis")
def l2_normalise_of_columns(x, eps=1e-12):
    x = at_least_float32(x)
    return x * jax.lax.rsqrt((x * x).sum(0, keepdims=True) + eps)


@wrong("1.1", "is axis 1 always the last one? x may have more leading axes than one")
def l2_normalise_along_axis_1(x, eps=1e-12):
    x = at_least_float32(x)
    return x * jax.lax.rsqrt((x * x).sum(1, keepdims=True) + eps)


@wrong("1.1", "did you divide by one length of the whole array? Every row has a length of its own")
def l2_normalise_of_everything(x, eps=1e-12):
    x = at_least_float32(x)
    return x * jax.lax.rsqrt((x * x).sum() + eps)


@wrong("1.1", "do the shapes fit? A sum over the last axis takes that axis away, unless it is told to keep it")
def l2_normalise_without_keepdims(x, eps=1e-12):
    x = at_least_float32(x)
    return x * jax.lax.rsqrt((x * x).sum(-1) + eps)


@wrong("1.1", "do the shapes fit? A sum over the last axis takes that axis away, unless it is told to keep it")
def l2_normalise_divided_without_keepdims(x, eps=1e-12):
    x = at_least_float32(x)
    return x / jnp.sqrt((x * x).sum(-1) + eps)


@wrong("1.1", "what is 0 / 0? A row of zeros has the length 0")
def l2_normalise_without_eps(x, eps=1e-12):
    x = at_least_float32(x)
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


@wrong("1.1", "did you take the root of 0? Its slope there is infinite: eps helps only under the root")
def l2_normalise_with_eps_outside(x, eps=1e-12):
    x = at_least_float32(x)
    return x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + eps)


@wrong("1.1", "did you compute in bfloat16? It keeps 8 bits of a number: too few for what comes next")
def l2_normalise_in_its_own_dtype(x, eps=1e-12):
    return x * jax.lax.rsqrt((x * x).sum(-1, keepdims=True) + eps)


@wrong("1.1", "did you turn everything into float32? At least float32 leaves float64 as it is")
def l2_normalise_always_in_float32(x, eps=1e-12):
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt((x * x).sum(-1, keepdims=True) + eps)


@right("1.1")
def l2_normalise_by_einsum(x, eps=1e-12):
    x = jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))
    return jnp.einsum("...e,...->...e", x, 1 / jnp.sqrt(jnp.einsum("...e,...e->...", x, x) + eps))


@right("1.1")
def l2_normalise_with_two_wheres(x, eps=1e-12):
    x = at_least_float32(x)
    squares = jnp.sum(x**2, axis=-1)[..., None]
    zero = squares == 0
    return jnp.where(zero, 0, x / jnp.sqrt(jnp.where(zero, 1, squares)))
