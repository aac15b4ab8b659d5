"""Every annotation of tinyclip is checked at run time in the tests: shapes and types, by jaxtyping and beartype."""

import os
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if not any("slow" in argument for argument in sys.argv):
    # The fast tests compile a thousand little programs and run each once: let XLA compile quickly rather than well (a third of the time).
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")

from jaxtyping import install_import_hook

install_import_hook("tinyclip", "beartype.beartype")
