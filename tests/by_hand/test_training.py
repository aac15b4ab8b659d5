"""A training step by hand is the one JAX takes, fifty times in a row."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
from cases import CONFIG, IMAGES, POSITIVES, SIGMOID, TEXT, TOKENS, B
from flax import nnx
from helpers import check, randomised

from tinyclip import by_hand
from tinyclip.clip import CLIP
from tinyclip.config import TrainConfig
from tinyclip.data import Batch
from tinyclip.train import State, decays, make_optimizer, make_step

SHALLOW = replace(CONFIG, text=replace(TEXT, depth=1))  # quicker to compile
RUN = TrainConfig(steps=50, batch_size=B, warmup=5, learning_rate=3e-3, weight_decay=0.2, clip_norm=0.8)


def a_state(config):
    """Random parameters: quicker than fresh ones, which are compiled first, and no bias is 0."""
    params = nnx.state(randomised(lambda: CLIP(config, rngs=nnx.Rngs(0))), nnx.Param)
    params["log_logit_scale"][...] = jnp.full((), 2.0)
    return State(params, jax.jit(make_optimizer(RUN).init)(params), jnp.zeros((), jnp.int32))


def test_the_learning_rate_is_optax_schedule():
    for run in (RUN, TrainConfig(steps=7, warmup=40), TrainConfig(steps=3, warmup=0)):
        schedule = optax.warmup_cosine_decay_schedule(0.0, run.learning_rate, min(run.warmup, run.steps // 2), run.steps)
        want = [float(schedule(step)) for step in range(run.steps)]
        check(f"learning_rate of {run.steps} steps", np.array([by_hand.learning_rate(step, run) for step in range(run.steps)]), want, 1e-9)


def test_weight_decay_falls_on_the_same_parameters_as_in_jax():
    params = a_state(SIGMOID).params
    mask, tree = nnx.to_pure_dict(jax.tree.map_with_path(decays, params)), by_hand.parameters(params)
    assert dict(by_hand.named_leaves(mask)) == {path: by_hand.decays(path, leaf) for path, leaf in by_hand.named_leaves(tree)}


def test_clip_by_global_norm_cuts_only_what_is_too_long():
    tree = {"a": np.array([3.0, 0.0]), "b": {"c": np.array([[4.0]])}}
    cut, kept = by_hand.clip_by_global_norm(tree, 1.0), by_hand.clip_by_global_norm(tree, 6.0)
    check("clip_by_global_norm: a", cut["a"], [0.6, 0.0], 1e-12, "the norm of all leaves together is 5: did you clip each leaf alone?")
    check("clip_by_global_norm: b", cut["b"]["c"], [[0.8]], 1e-12)
    check("clip_by_global_norm of a short gradient", kept["a"], tree["a"], 0, "a short gradient is not stretched")


def test_adamw_is_the_optimiser_of_train():
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(3, 4)), "bias": rng.normal(size=4)}
    sizes = [1e-6, 1e-6, 40.0, 0.1, 1.0, 5.0, 0.02, 0.5]
    gradients = [{name: size * rng.normal(size=value.shape) for name, value in params.items()} for size in sizes]
    optimizer, mine, moments = make_optimizer(RUN), params, None
    with jax.enable_x64(True):
        theirs, update = jax.tree.map(jnp.asarray, params), jax.jit(optimizer.update)
        state = optimizer.init(theirs)
        for step, gradient in enumerate(gradients):
            updates, state = update(jax.tree.map(jnp.asarray, gradient), state, theirs)
            theirs = jax.tree.map(jnp.add, theirs, updates)
            mine, moments = by_hand.adamw(mine, gradient, moments, step, RUN)
            for name in params:
                check(f"adamw: {name} after step {step + 1}", mine[name], theirs[name], 1e-7)  # optax counts steps in float32


def test_fifty_steps_by_hand_and_by_jax_have_the_same_losses():
    """The key biases are left out of the comparison of parameters: adding one vector to all keys adds the same number to all scores of a query,
    which the softmax ignores. Their true gradient is 0, what is computed is rounding, and AdamW makes steps out of rounding.
    """
    rng = np.random.default_rng(3)
    state = a_state(SHALLOW)
    params = by_hand.parameters(state.params)
    mine, moments, step = params, None, jax.jit(make_step(SHALLOW, RUN))
    for k in range(RUN.steps):
        pick = rng.permutation(len(TOKENS))
        images = (IMAGES + 0.3 * rng.normal(size=IMAGES.shape)).astype(np.float32)
        batch = images, TOKENS[pick], POSITIVES[:, pick]
        mine, moments, loss = by_hand.train_step(mine, moments, k, batch, SHALLOW, RUN)
        state, measures = step(state, Batch(*map(jnp.asarray, batch)))
        assert abs(loss / float(measures.loss) - 1) <= 1e-4, f"train_step {k + 1}: the loss is {loss:.7g} by hand and {measures.loss:.7g} by JAX"
    theirs = dict(by_hand.named_leaves(by_hand.parameters(state.params)))
    for path, leaf in by_hand.named_leaves(mine):
        if path[-2:] != ("key", "bias"):
            check(f"{path} after fifty steps", leaf, theirs[path], 2e-3, "the losses agree, but this parameter has wandered off")
        assert leaf.dtype == np.float32, f"{path} has become {leaf.dtype}"
    assert float(measures.loss) < 0.8 * by_hand.clip_loss(params, SHALLOW, *batch)[0], "fifty steps taught nothing"


def test_the_temperature_is_clamped_after_the_step():
    run = TrainConfig(steps=4, batch_size=B, warmup=0, learning_rate=3.0, clip_norm=100.0)
    params = by_hand.parameters(a_state(CONFIG).params) | {"log_logit_scale": np.float32(4.6)}
    for start in (9.0, 4.6, 0.1, -4.0):
        params["log_logit_scale"] = np.array(start, np.float32)
        after = by_hand.train_step(params, None, 0, (IMAGES.astype(np.float32), TOKENS[:B], None), CONFIG, run)[0]["log_logit_scale"]
        assert 0 <= after <= np.float32(math.log(100)), f"log_logit_scale went from {start} to {after}: clamp it to [0, ln 100] after the update"
        if start in (9.0, -4.0):  # a step of at most 3 cannot lead back
            assert after == np.float32(math.log(100) if start > 0 else 0), f"from {start}, the clamp should lead to its edge, not to {after}"
