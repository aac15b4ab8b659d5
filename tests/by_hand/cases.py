"""Every function of `tinyclip.by_hand` that has a backward, beside its JAX twin, with random inputs whose sizes all differ.

A case's functions are looked up in their modules when they are called, so that a test may break one and see who notices.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from helpers import check, check_gradients, randomised

from tinyclip import by_hand, clip, encoders, losses, transformer
from tinyclip.by_hand import layers, towers, training
from tinyclip.by_hand import losses as hand_losses
from tinyclip.by_hand import transformer as hand_transformer
from tinyclip.config import CLIPConfig, ImageConfig, TextConfig

B, M, S, P, T, V, E, END = 5, 8, 9, 3, 7, 11, 6, 3
IMAGE = ImageConfig(size=S, patch=P, width=12, depth=1, heads=3, mlp=20, activation="gelu")
TEXT = TextConfig(vocab=V, context=T + 2, end_token=END, width=16, depth=2, heads=2, mlp=24)
CONFIG = CLIPConfig(image=IMAGE, text=TEXT, embed=E)
SIGMOID = replace(CONFIG, loss="sigmoid")

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(B, S, S, 3))
TOKENS = RNG.integers(4, V, size=(M, T))
TOKENS[np.arange(M), RNG.integers(2, T, size=M)] = END
X = RNG.normal(size=(B, T, 12))
UNIT_IMAGES, UNIT_TEXTS = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (RNG.normal(size=(B, E)), RNG.normal(size=(M, E))))
POSITIVES = np.eye(B, M, dtype=bool) | (RNG.random((B, M)) < 0.2)
TARGETS = RNG.random((B, M)) + 0.1
SCALE, BIAS = np.array(7.0), np.array(-3.0)
CAUSAL = np.tril(np.ones((T, T), bool))


@dataclass
class Case:
    """`forward(*args)` gives y and what is saved, `backward(dy, saved)` a tuple of gradients as `args`, `twin(*args)` JAX's y."""

    name: str
    args: tuple
    forward: Callable
    backward: Callable
    twin: Callable


CASES: dict[str, Case] = {}


def case(name: str, *args: Any, forward: Callable, backward: Callable, twin: Callable) -> None:
    CASES[name] = Case(name.split()[0], args, forward, backward, twin)


def module(make: Callable[[nnx.Rngs], Any]) -> tuple[Any, Callable]:
    """Random parameters, and a function of (method, parameters, arguments) that runs the Flax module with them."""
    model = randomised(lambda: make(nnx.Rngs(0)))
    graphdef, state = nnx.split(model)

    def run(params: Any, *args: Any, method: str = "__call__") -> Any:
        own = jax.tree.map(lambda leaf: leaf, state)
        nnx.replace_by_pure_dict(own, params)
        return getattr(nnx.merge(graphdef, own), method)(*args)

    return by_hand.parameters(model, np.float64), run


def known(booleans: Any) -> Any:
    """As JAX wants them."""
    return None if booleans is None else jnp.asarray(booleans)


def turned(dx_gradient: tuple) -> tuple:
    """by_hand returns the gradient of x first; here the parameters stand first."""
    return dx_gradient[1], dx_gradient[0]


for label, bias in (("linear", True), ("linear without a bias", False)):
    params, run = module(lambda rngs, bias=bias: transformer.Linear(12, 9, bias=bias, rngs=rngs))
    case(label, params, X, forward=lambda p, x: layers.linear(p, x), backward=lambda dy, s: turned(layers.linear_backward(dy, s)), twin=run)

params, run = module(lambda rngs: transformer.LayerNorm(12, eps=1e-5, rngs=rngs))
case(
    "layer_norm", params, 3 + 2 * X, forward=lambda p, x: layers.layer_norm(p, x, 1e-5),
    backward=lambda dy, s: turned(layers.layer_norm_backward(dy, s)), twin=run,
)  # fmt: skip
case(
    "quick_gelu", 3 * X, forward=lambda x: layers.quick_gelu(x),
    backward=lambda dy, s: (layers.quick_gelu_backward(dy, s),), twin=transformer.quick_gelu,
)  # fmt: skip
case("gelu", 3 * X, forward=lambda x: layers.gelu(x), backward=lambda dy, s: (layers.gelu_backward(dy, s),), twin=transformer.gelu)
case(
    "softmax", 3 * X, forward=lambda x: hand_transformer.softmax(x),
    backward=lambda dy, s: (hand_transformer.softmax_backward(dy, s),), twin=lambda x: jax.nn.softmax(x, axis=-1),
)  # fmt: skip
case(
    "l2_normalise", X, forward=lambda x: layers.l2_normalise(x),
    backward=lambda dy, s: (layers.l2_normalise_backward(dy, s),), twin=clip.l2_normalise,
)  # fmt: skip
params, run = module(lambda rngs: transformer.MLP(12, 20, "quick_gelu", out_std=0.1, rngs=rngs))
case("mlp", params, X, forward=lambda p, x: layers.mlp(p, x, "quick_gelu"), backward=lambda dy, s: turned(layers.mlp_backward(dy, s)), twin=run)
for label, mask in (("attention", None), ("attention that is causal", CAUSAL)):
    params, run = module(lambda rngs: transformer.Attention(12, 3, out_std=0.1, rngs=rngs))
    case(
        label, params, X, forward=lambda p, x, mask=mask: hand_transformer.attention(p, x, 3, mask),
        backward=lambda dy, s: turned(hand_transformer.attention_backward(dy, s)), twin=lambda p, x, run=run, mask=mask: run(p, x, x, known(mask))[0],
    )  # fmt: skip
params, run = module(lambda rngs: transformer.Block(12, 3, 20, 2, activation="quick_gelu", eps=1e-5, rngs=rngs))
case(
    "block", params, X, forward=lambda p, x: hand_transformer.block(p, x, 3, "quick_gelu", 1e-5, CAUSAL),
    backward=lambda dy, s: turned(hand_transformer.block_backward(dy, s)), twin=lambda p, x, run=run: run(p, x, known(CAUSAL))[0],
)  # fmt: skip
case(
    "patchify", IMAGES, forward=lambda x: (towers.patchify(x, P), {}),
    backward=lambda dy, s: (towers.patchify_backward(dy, P),), twin=lambda x: encoders.patchify(x, P),
)  # fmt: skip
case(
    "embed_tokens", RNG.normal(size=(V, 12)), forward=lambda table: towers.embed_tokens(table, TOKENS),
    backward=lambda dy, s: (towers.embed_tokens_backward(dy, s),), twin=lambda table: table[TOKENS],
)  # fmt: skip
ROWS = np.array([2, 0, 6, 3, 2])
case(
    "take_rows", X, forward=lambda x: towers.take_rows(x, ROWS),
    backward=lambda dy, s: (towers.take_rows_backward(dy, s),), twin=lambda x: x[np.arange(B), ROWS],
)  # fmt: skip
params, run = module(lambda rngs: encoders.ImageEncoder(IMAGE, rngs=rngs))
case(
    "image_encoder", params, IMAGES, forward=lambda p, x: towers.image_encoder(p, IMAGE, x),
    backward=lambda dy, s: turned(towers.image_encoder_backward(dy, s)), twin=run,
)  # fmt: skip
params, run = module(lambda rngs: encoders.TextEncoder(TEXT, rngs=rngs))
case(
    "text_encoder", params, forward=lambda p: towers.text_encoder(p, TEXT, TOKENS),
    backward=lambda dy, s: (towers.text_encoder_backward(dy, s),), twin=lambda p, run=run: run(p, known(TOKENS), p["token_embedding"].dtype),
)  # fmt: skip
for label, config in (("clip_loss", CONFIG), ("clip_loss with the sigmoid loss", SIGMOID)):
    params, run = module(lambda rngs, config=config: clip.CLIP(config, rngs=rngs))

    def twin(p: Any, run: Callable = run, config: CLIPConfig = config) -> Any:
        images, texts, scale = run(p, jnp.asarray(IMAGES, p["log_logit_scale"].dtype), TOKENS)
        if config.loss == "sigmoid":
            return losses.sigmoid_loss(images, texts, scale, p["logit_bias"], known(POSITIVES))
        return losses.contrastive_loss(images, texts, scale, known(POSITIVES))

    def forward(p: Any, config: CLIPConfig = config) -> Any:
        return training.clip_loss(p, config, IMAGES.astype(p["log_logit_scale"].dtype), TOKENS, POSITIVES)

    case(label, params, forward=forward, backward=lambda dy, s: (training.clip_loss_backward(s),), twin=twin)
PARAMS, RUN = module(lambda rngs: clip.CLIP(CONFIG, rngs=rngs))
IMAGE_PART, TEXT_PART = ({name: PARAMS[name] for name in (tower, f"{tower}_projection")} for tower in ("image", "text"))
case(
    "encode_image", IMAGE_PART, IMAGES, forward=lambda p, x: towers.encode_image(p, CONFIG, x),
    backward=lambda dy, s: turned(towers.encode_image_backward(dy, s)),
    twin=lambda p, x: RUN(jax.tree.map(lambda leaf: jnp.asarray(leaf, x.dtype), PARAMS) | p, x, method="encode_image"),
)  # fmt: skip
case(
    "encode_text", TEXT_PART, forward=lambda p: towers.encode_text(p, CONFIG, TOKENS),
    backward=lambda dy, s: (towers.encode_text_backward(dy, s),),
    twin=lambda p: RUN(jax.tree.map(lambda leaf: jnp.asarray(leaf, p["text_projection"]["kernel"].dtype), PARAMS) | p, TOKENS, method="encode_text"),
)  # fmt: skip
case(
    "cross_entropy", 3 * RNG.normal(size=(B, M)), forward=lambda x: hand_losses.cross_entropy(x, TARGETS.astype(x.dtype)),
    backward=lambda dy, s: (hand_losses.cross_entropy_backward(s),), twin=lambda x: losses.cross_entropy(x, jnp.asarray(TARGETS, x.dtype)),
)  # fmt: skip
for label, texts, positives in (
    ("contrastive_loss", UNIT_TEXTS[:B], None),
    ("contrastive_loss with more texts", UNIT_TEXTS, None),
    ("contrastive_loss with shared captions", UNIT_TEXTS, POSITIVES),
):
    case(
        label, UNIT_IMAGES, texts, SCALE, forward=lambda x, y, s, positives=positives: hand_losses.contrastive_loss(x, y, s, positives),
        backward=lambda dy, s: hand_losses.contrastive_loss_backward(s),
        twin=lambda x, y, s, positives=positives: losses.contrastive_loss(x, y, s, known(positives)),
    )  # fmt: skip
for label, positives in (("sigmoid_loss", None), ("sigmoid_loss with shared captions", POSITIVES)):
    case(
        label, UNIT_IMAGES, UNIT_TEXTS, SCALE, BIAS, forward=lambda x, y, s, b, positives=positives: hand_losses.sigmoid_loss(x, y, s, b, positives),
        backward=lambda dy, s: hand_losses.sigmoid_loss_backward(s),
        twin=lambda x, y, s, b, positives=positives: losses.sigmoid_loss(x, y, s, b, known(positives)),
    )  # fmt: skip


def as_kind(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf, dtype), tree)


def away(y: Any) -> Any:
    """A fixed random gradient of y; of a single number: 1."""
    y = np.asarray(y)
    return np.random.default_rng(1).normal(size=y.shape).astype(y.dtype) if y.ndim else np.ones((), y.dtype)


@cache
def by_jax(name: str, wide: bool) -> tuple[Any, tuple]:
    """JAX's y and gradients, in float64 if `wide`."""
    case = CASES[name]

    @jax.jit
    def run(dy: Any, *args: Any) -> Any:
        y, pull = jax.vjp(case.twin, *args)
        return y, pull(dy)

    with jax.enable_x64(wide):
        args = as_kind(case.args, np.float64 if wide else np.float32)
        dy = away(case.forward(*args)[0])
        return jax.device_get(run(dy, *args))


def check_case(name: str, wide: bool) -> None:
    """by_hand's y and gradients are JAX's."""
    case, kind = CASES[name], np.float64 if wide else np.float32
    y, saved = case.forward(*as_kind(case.args, kind))
    want_y, want = by_jax(name, wide)
    if np.asarray(y).dtype != kind:
        raise AssertionError(f"{case.name}: {kind.__name__} in, {np.asarray(y).dtype} out")
    check(case.name, y, want_y, 1e-12 if wide else 1e-5)
    gradients = case.backward(away(y), saved)
    for leaf in jax.tree.leaves(gradients):
        if np.asarray(leaf).dtype != kind:
            raise AssertionError(f"{case.name}_backward: {kind.__name__} in, {np.asarray(leaf).dtype} out")
    check_gradients(f"{case.name}_backward", tuple(gradients), tuple(want), 1e-10 if wide else 1e-5)
