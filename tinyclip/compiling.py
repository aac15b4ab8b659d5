"""How XLA is asked to compile on a CPU: soon rather than perfectly.

Nothing here changes what is computed, but for rounding. On a GPU or a TPU, XLA's own defaults stand. Lesson 10.
"""

from importlib.metadata import version
from typing import Any

import jax

# XLA's newer code generator for fused loops takes much longer over a train step than its older one, and makes none that is faster: with what else
# is asked below, 1.9x (`tinyclip bench --tricks`, "compiling_soon"). But within a fused loop, the older one can compute a value again for each use,
# as where a concatenation lies between: in nested layers, 2, 4, 8, ... copies until memory is full (see `world.draw.paint`). So it is not for every
# program; and it will go some day, and XLA refuses an option that it does not know.
OLDER_LOOPS = {"xla_cpu_use_fusion_emitters": False}
HAVE_OLDER_LOOPS = ((0, 8), (0, 11))  # jaxlib, from and to before


def soon(level: int) -> dict[str, Any]:
    """XLA's options for compiling soon: LLVM's optimisation level, none of its expensive passes, and the quicker code generator. Lesson 10."""
    first, end = HAVE_OLDER_LOOPS
    older = OLDER_LOOPS if first <= tuple(map(int, version("jaxlib").split(".")[:2])) < end else {}
    return {"xla_backend_optimization_level": level, "xla_llvm_disable_expensive_passes": True} | older


def on_cpu(level: int, **options: bool) -> dict[str, Any] | None:
    """The options for a program that must compile soon, and others; not on a CPU: None, which is XLA's defaults. Lesson 10.

    Level 1 is for a train step (`tinyclip bench --tricks` compares all of this with XLA's defaults), level 0 for what runs once.
    """
    return soon(level) | options if jax.default_backend() == "cpu" else None
