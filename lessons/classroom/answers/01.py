"""Lesson 01: vectors of length 1."""

import jax
import jax.numpy as jnp
import numpy as np

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


@wrong("1.2", "did you forget the square? Alignment takes squared distances")
def alignment_of_distances(images, texts):
    return float(np.linalg.norm(images - texts, axis=1).mean())


@wrong("1.2", "is it the mean over all B E numbers? Add up along each row first: a pair has one distance")
def alignment_mean_of_all(images, texts):
    return float(((images - texts) ** 2).mean())


@wrong("1.2", "did you sum over the pairs instead of taking the mean?")
def alignment_summed(images, texts):
    return float(((images - texts) ** 2).sum())


@wrong("1.2", "is this the distance between the two means? Each pair has a distance of its own")
def alignment_of_the_means(images, texts):
    return float(((images.mean(0) - texts.mean(0)) ** 2).sum())


@wrong("1.2", "this is the mean cosine: how does a squared distance come from it?")
def alignment_as_cosine(images, texts):
    return float((images * texts).sum(1).mean())


@wrong("1.2", "is every picture compared with every sentence? Only those of one row belong together")
def alignment_of_all_pairs(images, texts):
    return float(((images[:, None] - texts[None]) ** 2).sum(-1).mean())


@wrong("1.2", "are the differences added up before they are squared? They cancel each other")
def alignment_squared_too_late(images, texts):
    return float(((images - texts).sum(1) ** 2).mean())


@right("1.2")
def alignment_by_cosines(images, texts):
    total = sum(2 - 2 * float(np.dot(x, y)) for x, y in zip(images, texts, strict=True))
    return total / len(images)
