"""CLIP in NumPy, forward and backward, with nothing but matrices: the twin of the Flax model, and proof that there is no magic in it.

Read `layers.py`, `transformer.py`, `towers.py`, `losses.py`, `training.py`, in this order. Every layer, tower and loss `f` has an `f_backward`
derived by hand; the tests hold each to JAX's own gradient. `parameters(model)` turns a Flax model into the nested dict of arrays all of them
take, so that one set of weights runs through both. Numbers keep their kind: float64 in, float64 out. Lesson 09.
"""

from typing import Any

import jax
import numpy as np
from flax import nnx

from .layers import (
    Parameters,
    gelu,
    gelu_backward,
    l2_normalise,
    l2_normalise_backward,
    layer_norm,
    layer_norm_backward,
    linear,
    linear_backward,
    mlp,
    mlp_backward,
    quick_gelu,
    quick_gelu_backward,
    sigmoid,
)
from .losses import (
    contrastive_loss,
    contrastive_loss_backward,
    contrastive_loss_by_loops,
    cross_entropy,
    cross_entropy_backward,
    sigmoid_loss,
    sigmoid_loss_backward,
)
from .towers import (
    causal_mask,
    embed_tokens,
    embed_tokens_backward,
    encode_image,
    encode_image_backward,
    encode_text,
    encode_text_backward,
    image_encoder,
    image_encoder_backward,
    patchify,
    patchify_backward,
    take_rows,
    take_rows_backward,
    text_encoder,
    text_encoder_backward,
)
from .training import adamw, clip_by_global_norm, clip_loss, clip_loss_backward, decays, learning_rate, named_leaves, train_step, tree_of
from .transformer import (
    attention,
    attention_backward,
    attention_by_loops,
    block,
    block_backward,
    merge_heads,
    softmax,
    softmax_backward,
    split_heads,
)


def parameters(model: nnx.Module | nnx.State, dtype: Any = None) -> Parameters:
    """A Flax module's parameters (or a training state's) as a nested dict of NumPy arrays: the only lines here that know of Flax.

    They are copies, in `dtype` if one is given.
    """
    state = model if isinstance(model, nnx.State) else nnx.state(model, nnx.Param)
    return jax.tree.map(lambda leaf: np.array(leaf, dtype), nnx.to_pure_dict(state))
