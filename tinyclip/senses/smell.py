"""Smell: a made-up sense, and the template for a sense of your own. It is all that a sense needs: say what is sensed of a scene.

    smell -> readings        bundle, world = tinyclip.load("shapes"), get_world("single")
                             nose = SenseEncoder(SNIFFS, RECEPTORS, bundle.config.embed, width=32, depth=1, rngs=nnx.Rngs(0))
    one call                 nose, losses = align(bundle, world, nose, smell, TELLS, steps=200)
    does it know words?      emergent_scores(bundle, world, nose, smell, "something {colour}")

Lesson 16.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

SNIFFS, RECEPTORS = 4, 6
TELLS = (1,)  # of a meaning of the world `single`: the colour
NOISE = 0.5
RESPONSE = np.random.default_rng(0).normal(size=(8, RECEPTORS)).astype(np.float32)  # of each receptor to each colour


def smell(key: Array, meaning: Int[Array | np.ndarray, "B 5"]) -> Float[Array, "B n c"]:
    """The sense of smell: a few sniffs at every scene of the world `single`, each the noisy answer of all receptors to its colour. jit-able."""
    colour = jnp.asarray(meaning)[:, 1]
    clean = jnp.asarray(RESPONSE)[colour][:, None]  # (B, 1, c)
    return clean + NOISE * jax.random.normal(key, (len(colour), SNIFFS, RECEPTORS))
