"""CLIP: two towers, two projections into one space, one learned temperature (CLIP paper, section 2.3 and figure 3). Lesson 07."""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from .config import CLIPConfig
from .encoders import ImageEncoder, Intermediates, TextEncoder
from .transformer import Linear, at_least_float32

Images = Float[Array | np.ndarray, "B S S 3"]
Tokens = Int[Array | np.ndarray, "M T"]


def l2_normalise(x: Float[Array, "*B E"], eps: float = 1e-12) -> Float[Array, "*B E"]:
    """Every row to length 1, in at least float32; zeros stay zeros, with a finite gradient, thanks to `eps` (x / |x| has none there). Lesson 01."""
    x = at_least_float32(x)
    return x * jax.lax.rsqrt((x * x).sum(-1, keepdims=True) + eps)


class CLIP(nnx.Module):
    """Pictures and sentences as points on one unit sphere of E numbers: the cosine of two points is their dot product.

    `log_logit_scale` is the logarithm of the factor on the cosines, 1/temperature; it starts at ln(1/0.07) (OpenAI calls it `logit_scale`).
    `logit_bias` exists for the sigmoid loss only (Zhai et al. 2023, section 3.2: it starts at scale 10, bias -10;
    training starts from a bias for its own batch, see `train.initial_state`).
    Lessons 08 and 18.
    """

    def __init__(self, config: CLIPConfig, *, rngs: nnx.Rngs) -> None:
        self.image = ImageEncoder(config.image, rngs=rngs)
        self.text = TextEncoder(config.text, rngs=rngs)
        self.image_projection = Linear(config.image.width, config.embed, bias=False, rngs=rngs)
        self.text_projection = Linear(config.text.width, config.embed, bias=False, rngs=rngs)
        sigmoid = config.loss == "sigmoid"
        self.log_logit_scale = nnx.Param(jnp.full((), math.log(10 if sigmoid else 1 / 0.07), float))
        self.logit_bias = nnx.Param(jnp.full((), -10.0, float)) if sigmoid else None
        self.config = config

    @property
    def dtype(self) -> jnp.dtype:
        """What the towers compute in."""
        return jnp.dtype(self.config.dtype or self.log_logit_scale[...].dtype)

    def encode_image(self, images: Images, intermediates: bool = False) -> Float[Array, "B E"] | tuple[Float[Array, "B E"], Intermediates]:
        """Pictures, already normalised by `preprocess`, to unit vectors. Lesson 06.

        With `intermediates`, also a dict of named arrays: patches, tokens, block_i, attention_i (B, H, N, N), pooled, projected.
        """
        record = {} if intermediates else None
        pooled = self.image(jnp.asarray(images, self.dtype), record)
        return self._embed(pooled, self.image_projection(pooled), record)

    def encode_text(self, tokens: Tokens, intermediates: bool = False) -> Float[Array, "M E"] | tuple[Float[Array, "M E"], Intermediates]:
        """Token ids to unit vectors. Lesson 05. With `intermediates`, also a dict of named arrays, as for pictures."""
        record = {} if intermediates else None
        pooled = self.text(jnp.asarray(tokens), self.dtype, record)
        return self._embed(pooled, self.text_projection(pooled), record)

    def _embed(
        self, pooled: Float[Array, "B D"], projected: Float[Array, "B E"], record: Intermediates | None
    ) -> Float[Array, "B E"] | tuple[Float[Array, "B E"], Intermediates]:
        embeddings = l2_normalise(projected)
        return embeddings if record is None else (embeddings, record | {"pooled": pooled, "projected": projected})

    @property
    def logit_scale(self) -> Float[Array, ""]:
        """The multiplier of the cosines, exponentiated."""
        return jnp.exp(at_least_float32(self.log_logit_scale[...]))

    def __call__(self, images: Images, tokens: Tokens) -> tuple[Float[Array, "B E"], Float[Array, "M E"], Float[Array, ""]]:
        """Image embeddings, text embeddings, and the logit scale (already exponentiated)."""
        return self.encode_image(images), self.encode_text(tokens), self.logit_scale


@cache
def blueprint(config: CLIPConfig) -> tuple[nnx.GraphDef, nnx.State]:
    """A model without its numbers: how it is built, and the shape of each parameter. Lesson 18.

    Made once, since that takes a second for a large model: all callers share what is returned, and must not change it.
    """
    return nnx.split(nnx.eval_shape(lambda: CLIP(config, rngs=nnx.Rngs(0))), nnx.Param)
