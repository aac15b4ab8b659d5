"""How fast this machine is at each part of the work, beside what it can do at best: its own rate at large matrix products, measured here and now.

Rates are medians of several runs; machines are noisy, so compare ratios.
"""

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from . import encoders, plots, train
from .config import CLIPConfig, TrainConfig
from .data import Batch, WorldSource
from .flops import forward_flops, step_flops
from .losses import contrastive_loss
from .search import nearest
from .streamed import streamed_contrastive_loss
from .train import initial_state, make_model, make_step, many_steps
from .transformer import Linear
from .world import get_world

Figures = dict[str, tuple[float, str]]  # name -> value, unit
ROWS, WIDTH = 1_000_000, 64  # of the embeddings that are searched


def seconds(run: Callable[[], Any], times: int = 5) -> float:
    """Median wall time of a call, after one that compiles."""
    jax.block_until_ready(run())
    taken = []
    for _ in range(times):
        clock = time.perf_counter()
        jax.block_until_ready(run())
        taken.append(time.perf_counter() - clock)
    return statistics.median(taken)


def matrix_rate(dtype: str = "float32") -> float:
    """GFLOP/s of one large matrix product: what the machine can do at best."""
    size = 2048 if jax.default_backend() == "cpu" else 8192  # on a card, 2048 would measure launching
    a = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(jnp.matmul)
    return 2 * size**3 / seconds(lambda: product(a, a)) / 1e9


def drawing_rate(world: str, size: int = 32, number: int = 1024) -> float:
    """Pictures drawn a second, `number` at a time: of many more than a cache holds, a good part goes into fetching fresh memory."""
    toy = get_world(world)
    scenes = toy.sample(jax.random.key(0), number)
    draw = jax.jit(lambda scenes: toy.draw(scenes, size)[0])
    return number / seconds(lambda: draw(scenes))


def pairs_per_second(step: Callable, config: CLIPConfig, run: TrainConfig, inputs: Any) -> float:
    """Of a step done for each of the inputs, in one call, as `train` does it."""
    chunk, state = many_steps(step), initial_state(config, run)

    def call() -> jax.Array:
        nonlocal state
        state, measures = chunk(state, inputs)
        return measures.loss

    return run.batch_size * len(jax.tree.leaves(inputs)[0]) / seconds(call, 3)


def training_rate(config: CLIPConfig, run: TrainConfig, steps: int = TrainConfig.chunk) -> float:
    """Pairs a second of whole training steps: drawing, captions, forward, backward and update."""
    step, source = make_step(config, run), WorldSource(get_world("single"), config, run)
    return pairs_per_second(lambda state, n: step(state, source.batch(n)), config, run, jnp.arange(steps))


def compile_time(config: CLIPConfig, run: TrainConfig) -> float:
    """Seconds that XLA takes to compile a chunk of training steps."""
    step, source = make_step(config, run), WorldSource(get_world("single"), config, run)
    chunk = many_steps(lambda state, n: step(state, source.batch(n)))
    traced = chunk.lower(jax.eval_shape(lambda: initial_state(config, run)), jnp.arange(run.chunk))
    kept = jax.config.jax_enable_compilation_cache
    try:
        jax.config.update("jax_enable_compilation_cache", False)  # or it would be the time of finding what was compiled before
        reset_cache()
        clock = time.perf_counter()
        traced.compile()
        return time.perf_counter() - clock
    finally:
        jax.config.update("jax_enable_compilation_cache", kept)
        reset_cache()


def step_rate(config: CLIPConfig, run: TrainConfig, steps: int) -> float:
    """Pairs a second of training steps on batches that are there already: forward, backward and update."""
    step, B, S, text = make_step(config, run), run.batch_size, config.image.size, config.text
    tokens = np.random.default_rng(0).integers(1, text.vocab - 1, (steps, B, text.context), np.int32)
    tokens = jnp.asarray(np.where(tokens == text.end_token, 0, tokens)).at[:, :, -1].set(text.end_token)
    images = jax.random.normal(jax.random.key(1), (steps, B, S, S, 3))
    return pairs_per_second(lambda state, batch: step(state, Batch(*batch, jnp.eye(B, dtype=bool))), config, run, (images, tokens))


def search_seconds(rows: int = ROWS, width: int = WIDTH) -> float:
    """Seconds of one search for the 10 nearest of `rows` embeddings that lie in a file, memory-mapped."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows keeps a file that is mapped
        gallery = np.lib.format.open_memmap(f"{folder}/gallery.npy", "w+", np.float32, (rows, width))
        for start in range(0, rows, 100_000):
            part = rng.normal(size=gallery[start : start + 100_000].shape).astype(np.float32)
            gallery[start : start + 100_000] = part / np.linalg.norm(part, axis=1, keepdims=True)
        gallery.flush()
        gallery = np.load(f"{folder}/gallery.npy", mmap_mode="r")
        query = np.array(gallery[rows // 2])
        return seconds(lambda: nearest(query, gallery, 10), 9)


def loss_costs(numbers: Sequence[int], width: int = 64, measured: int = 8192) -> dict[str, list[tuple[int, float, float]]]:
    """Memory and time of the contrastive loss and its gradients, with the full matrix and in blocks, against the number of pairs.

    For each form a list of (N, bytes, seconds): the bytes beyond inputs and results, by XLA's own account, and seconds (NaN above `measured`).
    """
    found: dict[str, list[tuple[int, float, float]]] = {}
    for name, loss in (("full matrix", contrastive_loss), ("in blocks of rows", streamed_contrastive_loss)):
        for n in numbers:
            x = jax.random.normal(jax.random.key(0), (2, n, width))
            images, texts = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
            args = images, texts, jnp.float32(20.0)
            program = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2))).lower(*args).compile()
            taken = seconds(lambda program=program, args=args: program(*args), 3) if n <= measured else math.nan
            found.setdefault(name, []).append((n, float(program.memory_analysis().temp_size_in_bytes), taken))
    return found


def tricks(config: CLIPConfig, run: TrainConfig) -> Figures:
    """How many times as fast each thing that was done for speed makes what it speeds up: measured with it and without it, here and now."""

    def three_dimensional(self: Linear, x: jax.Array) -> jax.Array:
        y = x @ self.kernel[...].astype(x.dtype)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)

    def every_row(blocks: Any, x: jax.Array, mask: Any, read: jax.Array, record: Any) -> jax.Array:
        for block in blocks:
            x, _ = block(x, mask)
        return jnp.take_along_axis(x, read[:, None, None], axis=1)[:, 0]

    usual, usual_wait = training_rate(config, run), compile_time(config, run)
    with mock.patch.object(Linear, "__call__", three_dimensional):
        unflattened = training_rate(config, run)
    with mock.patch.object(encoders, "run_blocks", every_row):
        unselected = training_rate(config, run)
    with mock.patch.object(os, "cpu_count", lambda: math.inf):
        halved = training_rate(config, run)
    with mock.patch.object(train, "on_cpu", lambda level, **options: options):
        thorough, thorough_wait = training_rate(config, run), compile_time(config, run)
    with mock.patch.object(jax, "default_backend", lambda: "gpu"):
        every_shape = drawing_rate("pairs")
    return {
        f"{run.chunk}_steps_a_call": (usual / training_rate(config, run, 1), "x"),
        "one_product_a_core": (usual / halved, "x"),
        "compiling_soon": (thorough_wait / usual_wait, "x"),
        "running_what_compiled_soon": (usual / thorough, "x"),
        "flat_matrix_products": (usual / unflattened, "x"),
        "only_the_row_that_is_read": (usual / unselected, "x"),
        "only_the_shape_that_is_there": (drawing_rate("pairs") / every_shape, "x"),
    }


FIRST_STEP = """
import os, sys
from tinyclip import cli
cli.begin_quickly()
from tinyclip import run
run.Watch = lambda plan: os._exit(0)  # it is made as soon as the first chunk is done
sys.exit(cli.main(["train", "--steps", "1", "--out", sys.argv[1]]) or 1)  # a training that comes to its end was not timed
"""


def start_up(times: int = 3) -> Figures:
    """What waiting there is before anything happens: of importing, of `--help`, and of `tinyclip train` until its first chunk, here of one step,
    is done, with nothing compiled yet and with all compiled before. Medians of so many programs each."""

    def program(*command: str, **environment: str) -> float:
        clock = time.perf_counter()
        inherited = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
        subprocess.run([sys.executable, *command], env=inherited | environment, capture_output=True, check=True)
        return time.perf_counter() - clock

    cold, cached = [], []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            for taken in (cold, cached):
                taken.append(program("-c", FIRST_STEP, f"{folder}/{len(taken)}-{taken is cold}", XDG_CACHE_HOME=folder))
    return {
        "import_tinyclip": (statistics.median(program("-c", "import tinyclip") for _ in range(times)), "s"),
        "tinyclip_help": (statistics.median(program("-m", "tinyclip", "--help") for _ in range(times)), "s"),
        "first_step_cold": (statistics.median(cold), "s"),
        "first_step_cached": (statistics.median(cached), "s"),
    }


def losses(path: Path) -> Figures:
    """What the loss costs, from 256 pairs to 32,768, drawn to `path`, and as figures; times up to 8,192."""
    costs = loss_costs([256 << i for i in range(8)])
    plots.loss_costs(costs, path)
    figures = {f"memory_{name}_{n}": (taken / 1e6, "MB") for name, rows in costs.items() for n, taken, _ in rows}
    return figures | {f"time_{name}_{n}": (passed, "s") for name, rows in costs.items() for n, _, passed in rows if passed == passed}


def config_of(size: str, dtype: str) -> CLIPConfig:
    """A model of that size: a toy with its world's words, a published one with OpenAI's vocabulary."""
    changes = {}
    if size in ("nano", "tiny", "small"):
        tokenizer = get_world("single").tokenizer()
        changes = {"text": {"vocab": tokenizer.vocab, "context": tokenizer.context, "end_token": tokenizer.end}}
    return CLIPConfig.preset(size, dtype=None if dtype == "float32" else dtype, **changes)


def benchmark(size: str, dtype: str, batch: int = 128, with_tricks: bool = False) -> Figures:
    """All figures, by name, with their units. Shares are of `matrix_products`, measured before and after in the same run."""
    config, run, world = config_of(size, dtype), TrainConfig(batch_size=batch), get_world("single")
    toy = config.text.context == world.context
    before = matrix_rate(dtype)
    params = initial_state(config, run).params
    images = jnp.zeros((batch, config.image.size, config.image.size, 3))
    tokens = jnp.full((batch, config.text.context), config.text.end_token)
    encode = {
        name: jax.jit(lambda params, x, name=name: getattr(make_model(config, params), name)(x)) for name in ("encode_image", "encode_text")
    }
    rates = {
        "picture": batch / seconds(lambda: encode["encode_image"](params, images)),
        "sentence": batch / seconds(lambda: encode["encode_text"](params, tokens)),
    }
    step = step_rate(config, run, run.chunk if size in ("nano", "tiny") else 2)
    machine = (before + matrix_rate(dtype)) / 2
    forward = {name: sum(parts.values()) for name, parts in forward_flops(config).items()}
    pair = step_flops(config, batch) / batch
    tokenizer, said = world.tokenizer(), ["there is a small red circle"] * 2000
    name, search = f"{size}_{dtype}", search_seconds()
    embedding: Figures = {}
    for what, rate in rates.items():
        embedding |= {
            f"embedding_{what}s": (rate, f"{what}s/s"),
            f"embedding_arithmetic_a_{what}": (forward[what] / 1e6, "MFLOP"),
            f"embedding_{what}s_arithmetic": (rate * forward[what] / 1e9, "GFLOP/s"),
            f"embedding_{what}s_share": (100 * rate * forward[what] / 1e9 / machine, "% of matrix products"),
        }
    return {
        f"matrix_products_{dtype}": (machine, "GFLOP/s"),
        f"train_step_{name}": (step, "pairs/s"),
        "train_step_arithmetic_a_pair": (pair / 1e6, "MFLOP"),
        "train_step_arithmetic": (step * pair / 1e9, "GFLOP/s"),
        "train_step_share": (100 * step * pair / 1e9 / machine, "% of matrix products"),
        **({f"training_with_drawing_{name}": (training_rate(config, run), "pairs/s")} if toy else {}),
        **embedding,
        "drawing_one_thing": (drawing_rate("single"), "pictures/s"),
        "drawing_two_things": (drawing_rate("pairs"), "pictures/s"),
        "drawing_animals": (drawing_rate("animals"), "pictures/s"),
        "tokenising": (2000 / seconds(lambda: np.asarray(tokenizer(said))), "sentences/s"),
        "search_in_a_million": (1000 * search, "ms"),
        "search_in_a_million_arithmetic": (2 * ROWS * WIDTH / search / 1e9, "GFLOP/s"),
        **(tricks(config, run) if with_tricks and toy else {}),
    }
