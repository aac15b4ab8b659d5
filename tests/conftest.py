"""Every annotation of tinyclip is checked at run time in the tests: shapes and types, by jaxtyping and beartype."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

install_import_hook("tinyclip", "beartype.beartype")
