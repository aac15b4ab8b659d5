"""tinyclip: how pictures and sentences come to live in one space, by being the smallest code that really does it.

Names are loaded when first used (PEP 562), so that `import tinyclip` and `tinyclip --help` are quick.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {  # name -> the module it lives in
    "CLIP": "clip",
    "CLIPConfig": "config",
    "ImageConfig": "config",
    "TextConfig": "config",
    "TrainConfig": "config",
    "UserError": "errors",
    "Bundle": "bundle",
    "load": "bundle",
}
_MODULES = (
    "bpe",
    "bundle",
    "by_hand",
    "checkpoint",
    "clip",
    "config",
    "data",
    "encoders",
    "evaluate",
    "explain",
    "fairness",
    "geometry",
    "large_batch",
    "losses",
    "openai",
    "parallel",
    "plots",
    "search",
    "senses",
    "streamed",
    "tokenizer",
    "train",
    "transformer",
    "world",
)

__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
