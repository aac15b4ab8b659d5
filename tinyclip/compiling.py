"""How XLA is asked to compile on a CPU: soon rather than perfectly, and for few cores.

Nothing here changes what is computed, but for rounding. On a GPU or a TPU, XLA's own defaults stand. Lesson 10.
"""

import os
from importlib.metadata import version
from typing import Any

import jax

# XLA's newer code generator for fused loops takes much longer over a train step than its older one, and makes none that is faster: with what else
# is asked below, 1.3 to 2.0x (`tinyclip bench --tricks`, "compiling_soon"). But within a fused loop, the older one can compute a value again for
# each use, as where a concatenation lies between: in nested layers, 2, 4, 8, ... copies until memory is full (see `world.draw.paint`). So it is not
# for every program. In jaxlib 0.12 it is gone, where compiling takes 1.3x as long, and XLA refuses an option that it does not know.
OLDER_LOOPS = {"xla_cpu_use_fusion_emitters": False}
HAVE_OLDER_LOOPS = ((0, 8), (0, 11))  # jaxlib, from and to before

# Two cores had rather do one matrix product each than halves of two: 1.1x (`tinyclip bench --tricks`, "one_product_a_core"). Eigen can be told to
# keep a product to one thread. YNNPACK cannot, so all of them are left to Eigen, and only sums, at which it is quick, to YNNPACK; that takes half a
# second more to compile.
ONE_PRODUCT_A_CORE = {"xla_cpu_multi_thread_eigen": False}
ONLY_SUMS_TO_YNNPACK = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}
HAVE_YNNPACK = ((0, 10), (0, 11))


def known(options: dict[str, Any], versions: tuple[tuple[int, int], tuple[int, int]]) -> dict[str, Any]:
    """The options, if jaxlib is of one of the versions, from the first to before the second; else none."""
    first, end = versions
    return options if first <= tuple(map(int, version("jaxlib").split(".")[:2])) < end else {}


def soon(level: int) -> dict[str, Any]:
    """XLA's options for compiling soon: LLVM's optimisation level, none of its expensive passes, and the quicker code generator. Lesson 10."""
    usual = {"xla_backend_optimization_level": level, "xla_llvm_disable_expensive_passes": True}
    return usual | known(OLDER_LOOPS, HAVE_OLDER_LOOPS)


def products_apart() -> dict[str, Any]:
    """XLA's options for a program of many matrix products, where there are two cores at most; else none. Lesson 10."""
    return ONE_PRODUCT_A_CORE | known(ONLY_SUMS_TO_YNNPACK, HAVE_YNNPACK) if (os.cpu_count() or 1) <= 2 else {}


def on_cpu(level: int, **options: Any) -> dict[str, Any] | None:
    """The options for a program that must compile soon, and others; not on a CPU: None, which is XLA's defaults. Lesson 10.

    Level 1 is for a train step (`tinyclip bench --tricks` compares all of this with XLA's defaults), level 0 for what runs once.
    """
    return soon(level) | options if jax.default_backend() == "cpu" else None
