"""How fast this machine is at each part of the work, beside what it can do at best: its own rate at large matrix products, measured here and now.

Rates are medians of several runs; machines are noisy, so compare ratios.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from . import encoders
from .config import CLIPConfig, TrainConfig
from .data import WorldSource
from .train import initial_state, make_model, make_step
from .transformer import Linear
from .world import get_world

Figures = dict[str, tuple[float, str]]  # name -> value, unit


def seconds(run: Callable[[], Any], times: int = 5) -> float:
    """Median wall time of a call, after one that compiles."""
    jax.block_until_ready(run())
    taken = []
    for _ in range(times):
        clock = time.perf_counter()
        jax.block_until_ready(run())
        taken.append(time.perf_counter() - clock)
    return statistics.median(taken)


def matrix_rate(size: int = 2048) -> float:
    """GFLOP/s of one large float32 matrix product."""
    a = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(jnp.matmul)
    return 2 * size**3 / seconds(lambda: product(a, a)) / 1e9


def drawing_rate(world: str, size: int = 32, number: int = 1024) -> float:
    """Pictures drawn a second, `number` at a time: of many more than a cache holds, a good part goes into fetching fresh memory."""
    toy = get_world(world)
    scenes = toy.sample(jax.random.key(0), number)
    draw = jax.jit(lambda scenes: toy.draw(scenes, size)[0])
    return number / seconds(lambda: draw(scenes))


def training_rate(config: CLIPConfig, run: TrainConfig, steps: int = 10) -> float:
    """Pairs a second of whole training steps: drawing, captions, forward, backward and update."""
    step, source = make_step(config, run), WorldSource(get_world("single"), config, run)
    chunk = jax.jit(lambda state, numbers: jax.lax.scan(lambda state, n: step(state, source.batch(n)), state, numbers))
    state = initial_state(config, run)
    return run.batch_size * steps / seconds(lambda: chunk(state, jnp.arange(steps)), 3)


def tricks(config: CLIPConfig, run: TrainConfig) -> Figures:
    """How many times as fast each thing that was done for speed makes what it speeds up: measured with it and without it, here and now."""

    def three_dimensional(self: Linear, x: jax.Array) -> jax.Array:
        y = x @ self.kernel[...].astype(x.dtype)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)

    def every_row(blocks: Any, x: jax.Array, mask: Any, read: jax.Array, record: Any) -> jax.Array:
        for block in blocks:
            x, _ = block(x, mask)
        return jnp.take_along_axis(x, read[:, None, None], axis=1)[:, 0]

    usual = training_rate(config, run)
    with mock.patch.object(Linear, "__call__", three_dimensional):
        unflattened = training_rate(config, run)
    with mock.patch.object(encoders, "run_blocks", every_row):
        unselected = training_rate(config, run)
    with mock.patch.object(jax, "default_backend", lambda: "gpu"):
        every_shape = drawing_rate("pairs")
    return {
        "ten_steps_a_call": (usual / training_rate(config, run, 1), "x"),
        "flat_matrix_products": (usual / unflattened, "x"),
        "only_the_row_that_is_read": (usual / unselected, "x"),
        "only_the_shape_that_is_there": (drawing_rate("pairs") / every_shape, "x"),
    }


def benchmark(size: str, dtype: str, with_tricks: bool = False) -> Figures:
    """All figures, by name, with their units."""
    world, run = get_world("single"), TrainConfig()
    tokenizer = world.tokenizer()
    text = {"vocab": tokenizer.vocab, "context": tokenizer.context, "end_token": tokenizer.end}
    config = CLIPConfig.preset(size, text=text, dtype=None if dtype == "float32" else dtype)
    model = make_model(config, initial_state(config, run).params)
    images, tokens = jnp.zeros((256, config.image.size, config.image.size, 3)), jnp.asarray(tokenizer(["a large red circle"] * 256))
    encode_image, encode_text = (jax.jit(lambda model, x, name=name: getattr(model, name)(x)) for name in ("encode_image", "encode_text"))
    sentences = ["there is a small red circle"] * 2000
    return {
        "matrix_products": (matrix_rate(), "GFLOP/s"),
        "drawing_one_thing": (drawing_rate("single"), "pictures/s"),
        "drawing_two_things": (drawing_rate("pairs"), "pictures/s"),
        "drawing_animals": (drawing_rate("animals"), "pictures/s"),
        "tokenising": (2000 / seconds(lambda: np.asarray(tokenizer(sentences))), "sentences/s"),
        "embedding_pictures": (256 / seconds(lambda: encode_image(model, images)), "pictures/s"),
        "embedding_sentences": (256 / seconds(lambda: encode_text(model, tokens)), "sentences/s"),
        f"training_{size}_{dtype}": (training_rate(config, run), "pairs/s"),
        **(tricks(config, run) if with_tricks else {}),
    }
