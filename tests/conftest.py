"""Every annotation of tinyclip is checked at run time in the tests: shapes and types, by jaxtyping and beartype."""

import atexit
import gc
import os
import shutil
import sys
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

gc.set_threshold(100_000, 50, 50)  # tracing makes many objects and little garbage: looking for it took 3 % of the tests' time
jax.config.update("jax_num_cpu_devices", 8)  # pretended, for what runs on many devices; everything else stays on the first of them

if not os.environ.get("TINYCLIP_TESTS"):  # one folder for the session, which its workers inherit: what one has trained or compiled, all have
    os.environ["TINYCLIP_TESTS"] = tempfile.mkdtemp(prefix="tinyclip-tests-")
    atexit.register(shutil.rmtree, os.environ["TINYCLIP_TESTS"], ignore_errors=True)

if "TINYCLIP_CHECK" not in os.environ:  # in the check of an exercise the hook's message would come before the test's own
    from jaxtyping import install_import_hook

    install_import_hook("tinyclip", "beartype.beartype")

if os.environ["JAX_PLATFORMS"] != "cpu":  # a card, which several workers and their programs share
    for name, value in {
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # or each takes three quarters of its memory
        "XLA_FLAGS": "--xla_gpu_deterministic_ops=true",  # or gradients are added up in any order
        "JAX_DEFAULT_MATMUL_PRECISION": "highest",  # or float32 products are rounded to ten bits of mantissa (TF32)
    }.items():
        os.environ.setdefault(name, value)
    jax.config.update("jax_default_matmul_precision", os.environ["JAX_DEFAULT_MATMUL_PRECISION"])
elif "XLA_FLAGS" not in os.environ and "PYTEST_XDIST_WORKER" not in os.environ and not any("slow" in argument for argument in sys.argv):
    from tinyclip.compiling import soon

    # The fast tests compile a thousand little programs and run each once: let XLA compile quickly rather than well. Workers inherit it; they do
    # not see the command line.
    os.environ["XLA_FLAGS"] = " ".join(f"--{name}={str(value).lower()}" for name, value in soon(0).items())
