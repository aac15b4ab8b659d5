"""One state, one step, one loop.

`for report in train(...)` yields after every chunk of steps and knows nothing of files, screens or evaluation: whoever iterates hangs those
on it. The step is a pure function of (state, batch); `many_steps` makes one program of several.
CLIP paper, section 2.5. Lesson 10.
"""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from .clip import CLIP, blueprint
from .compiling import on_cpu, products_apart
from .config import CLIPConfig, TrainConfig
from .data import Batch, Source
from .large_batch import in_pieces
from .losses import contrastive_loss, sigmoid_loss
from .parallel import everywhere
from .streamed import streamed_contrastive_loss, streamed_sigmoid_loss

MAX_LOG_SCALE = float(np.log(100))


class State(NamedTuple):
    """All that training changes."""

    params: nnx.State
    opt_state: Any
    step: Int[Array, ""]  # steps done


class Measures(NamedTuple):
    """What one step tells about itself, all scalars (in a `Report`: one number a step)."""

    loss: Float[Array, "*steps"]
    floor: Float[Array, "*steps"]  # mean entropy of the targets in use, see `floor_of`; 0 where each picture has one
    gradient_norm: Float[Array, "*steps"]
    logit_scale: Float[Array, "*steps"]
    finite: Bool[Array, "*steps"]  # False: loss or gradient was not finite, and the update was skipped


class Report(NamedTuple):
    """After a chunk: the state, which the next chunk will consume, the measures of its steps, and its seconds (the first includes compiling)."""

    state: State
    measures: Measures
    seconds: float


def decays(path: tuple, leaf: Array) -> bool:
    """Weight decay is for matrices and token embeddings: not for biases, gains, the temperature, position or class embeddings. Lesson 10."""
    return leaf.ndim > 1 and not any("position_embedding" in str(part) or "class_embedding" in str(part) for part in path)


def make_optimizer(run: TrainConfig) -> optax.GradientTransformation:
    """AdamW as CLIP used it for its ViTs: beta (0.9, 0.98), eps 1e-6, warm-up, cosine to zero. Ours besides: gradients cut to a norm. Lesson 10."""
    rate = optax.warmup_cosine_decay_schedule(0.0, run.learning_rate, min(run.warmup, run.steps // 2), run.steps)
    # eps 1e-8 would turn rounding noise in gradients that are truly 0 (those of the key biases) into steps of full size.
    adam = optax.chain(optax.clip_by_global_norm(run.clip_norm), optax.scale_by_adam(0.9, 0.98, 1e-6))
    return optax.chain(
        optax.flatten(adam),  # all leaves as one vector: far fewer kernels for XLA to compile
        optax.add_decayed_weights(run.weight_decay, partial(jax.tree.map_with_path, decays)),
        optax.scale_by_learning_rate(rate),
    )


def initial_state(model: CLIPConfig, run: TrainConfig, mesh: Mesh | None = None, meanwhile: Callable[[State], Any] | None = None) -> State:
    """Fresh parameters and optimiser, everywhere on the mesh. On a CPU under one jit, compiled in a hurry since it runs once.

    While they are made, `meanwhile` is called in a thread, with a state of mere shapes; what it returns or raises is dropped.
    """

    def init(key: Array) -> State:
        params = nnx.state(CLIP(model, rngs=nnx.Rngs(key)), nnx.Param)
        if model.loss == "sigmoid":
            # As if one pair in B were true: the paper's -10 is about -ln of its batch, 32,768. From -10, `single` is learned far later.
            params["logit_bias"][...] = jnp.full((), -math.log(run.batch_size), float)
        return State(params, make_optimizer(run).init(params), jnp.zeros((), jnp.int32))

    def op_by_op(key: Array) -> State:
        return jax.device_put(init(key), mesh and everywhere(mesh))

    key = jax.random.key(run.seed)
    options = None if isinstance(key, jax.core.Tracer) else on_cpu(0)  # inside another program, as of `jax.eval_shape`, there can be none
    program = jax.jit(init, out_shardings=mesh and everywhere(mesh), compiler_options=options)
    # On a CPU, one program is seconds quicker than many tiny ones. For a card, XLA takes 80 s to compile the drawing of a ViT-B/32, and op by op
    # ten; but of several processes, each holds a part of a mesh, and only a program can make what lies on all of it.
    draw = program if jax.default_backend() == "cpu" or jax.process_count() > 1 else op_by_op
    if meanwhile is None:
        return draw(key)
    with ThreadPoolExecutor(1) as beside:
        beside.submit(meanwhile, program.eval_shape(key))
        return draw(key)


def make_model(config: CLIPConfig, params: nnx.State) -> CLIP:
    """The model with these parameters."""
    return nnx.merge(blueprint(config)[0], params, copy=True)


def floor_of(positives: Bool[Array, "B M"]) -> Float[Array, ""]:
    """The contrastive loss with shared targets cannot go below this, in nats: the mean entropy of its targets over both directions. Lesson 07.

    A picture with k true captions in the batch has a target of entropy ln k, and so has a caption that is true of k pictures
    (one of the first B: the others ask nothing).
    """
    B = len(positives)
    return (jnp.log(positives.sum(1)).mean() + jnp.log(positives[:, :B].sum(0)).mean()) / 2


def loss_of(model: CLIP, batch: Batch, run: TrainConfig) -> Float[Array, ""]:
    """The run's loss on one batch."""
    images = in_pieces(remembering(model.encode_image, run.remat), batch.images, run.micro_batch)
    texts = in_pieces(remembering(model.encode_text, run.remat), batch.tokens, run.micro_batch)
    scale, positives = model.logit_scale, batch.positives if run.shared_positives else None
    # Micro-batches are for batches so large that the matrix of logits may not fit, either.
    contrastive, sigmoid = (streamed_contrastive_loss, streamed_sigmoid_loss) if run.micro_batch else (contrastive_loss, sigmoid_loss)
    with jax.default_matmul_precision("float32"):  # or a card rounds the embeddings that it compares to ten bits of mantissa
        if model.logit_bias is not None:
            return sigmoid(images, texts, scale, model.logit_bias[...], positives=positives)
        return contrastive(images, texts, scale, positives=positives)


def remembering(tower: Callable, remat: bool) -> Callable:
    """The tower; with `remat`, only each block's output is kept for the way back, and the rest is computed again. Lesson 17."""
    return jax.checkpoint(tower, policy=jax.checkpoint_policies.save_only_these_names("block")) if remat else tower


def make_step(config: CLIPConfig, run: TrainConfig) -> Callable[[State, Batch], tuple[State, Measures]]:
    """The training step: loss, gradient, update, clamp. A pure function, so it can be jitted, scanned and sharded. Lessons 08 and 10."""
    graphdef, _ = blueprint(config)
    optimizer = make_optimizer(run)

    def step(state: State, batch: Batch) -> tuple[State, Measures]:
        def loss(params: nnx.State) -> Float[Array, ""]:
            return loss_of(nnx.merge(graphdef, params), batch, run)

        value, gradient = jax.value_and_grad(loss)(state.params)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        scale = params["log_logit_scale"]
        if config.loss == "contrastive":
            # After the update, not in the forward pass: there, a clamped scale would get no gradient and never come back.
            scale[...] = jnp.clip(scale[...], 0, MAX_LOG_SCALE)
        norm = optax.tree.norm(ravel_pytree(gradient)[0])  # as one vector, like the optimiser
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        params, opt_state = jax.tree.map(partial(jnp.where, finite), (params, opt_state), (state.params, state.opt_state))
        floor = floor_of(batch.positives) if run.shared_positives else jnp.zeros(())
        measures = Measures(value, floor, norm, jnp.exp(params["log_logit_scale"][...]), finite)
        return State(params, opt_state, state.step + 1), measures

    return step


def many_steps(step: Callable[[State, Any], tuple[State, Measures]], mesh: Mesh | None = None) -> Callable[[State, Any], tuple[State, Measures]]:
    """One program that does a step for each of its inputs; the state it is given is consumed.

    XLA:CPU allocates (and the kernel zeroes) a step's temporaries once a call: 20 steps a call make a small CLIP 1.5 to 2.2x as fast
    (`tinyclip bench --tricks`).
    """
    return jax.jit(
        lambda state, inputs: jax.lax.scan(step, state, inputs),
        donate_argnums=0,
        out_shardings=mesh and everywhere(mesh),
        compiler_options=on_cpu(1, **products_apart()),
    )


def train(config: CLIPConfig, run: TrainConfig, source: Source, state: State | None = None, mesh: Mesh | None = None) -> Iterator[Report]:
    """Train to `run.steps`, from the beginning or from `state`; yields a `Report` after every chunk. Lesson 10.

    With a mesh, each of its devices computes its rows of the batch, and all hold the whole state; the source shares out the rows. Lesson 17.

    Chunks start at absolute multiples of `run.chunk`, so a resumed run takes the very same steps. A report's state is valid until the next
    chunk begins, which reuses its memory: copy what you want to keep.
    """
    step = make_step(config, run)
    run_chunk = many_steps(lambda state, x: step(state, source.batch(x)), mesh)
    if state is None:
        inputs = source.inputs(0, min(run.chunk, run.steps))
        # Compiled beside the initialisation, it need not be compiled again below, where a mistake in it is told: nearly a second off the start.
        state = initial_state(config, run, mesh, meanwhile=lambda shapes: run_chunk.lower(shapes, inputs).compile())
    start = int(state.step)
    while start < run.steps:
        stop = min((start // run.chunk + 1) * run.chunk, run.steps)
        clock = time.perf_counter()
        state, measures = run_chunk(state, source.inputs(start, stop))
        measures = jax.device_get(measures)  # waits for the chunk
        yield Report(state, measures, time.perf_counter() - clock)
        start = stop
