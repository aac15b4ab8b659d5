"""Tensors in safetensors files, read one at a time into a model: no code in them, no copy of the whole, and every shape checked before it is read.

The files' own library checks the header (lengths, offsets, types); here it is compared with what the configuration asks for.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float
from safetensors import SafetensorError, safe_open

from .clip import blueprint
from .config import CLIPConfig
from .errors import UserError

Tensor = Float[np.ndarray, "..."]
Shape = tuple[int, ...]
KINDS = ("F64", "F32", "F16", "BF16")


class Piece(NamedTuple):
    """Where a parameter is found: the tensor's name and shape in the file, and how to make ours of it."""

    name: str
    shape: Shape
    take: Callable[[Tensor], Tensor]


class Tensors:
    """The tensors of one file, or of several that an index file names. `shapes` of all of them are known at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = shards(path) if path.suffix == ".json" else {path: None}
        self.place: dict[str, Path] = {}
        self.shapes: dict[str, Shape] = {}
        for file, promised in self.files.items():
            with _opened(file) as tensors:
                for name in tensors.keys():  # noqa: SIM118
                    self.place[name], self.shapes[name] = file, tuple(tensors.get_slice(name).get_shape())
            if promised and not promised <= self.shapes.keys():
                raise UserError(f"{path} says that {file.name} holds {min(promised - self.shapes.keys())}, but it does not.")

    def read(self, name: str) -> Tensor:
        """One tensor, in float32. The file is opened for each, so that no more than one tensor of it is in memory."""
        with _opened(self.place[name]) as tensors:
            kind = tensors.get_slice(name).get_dtype()
            if kind not in KINDS:
                raise UserError(f"{self.place[name]}: {name} holds {kind}, not floats: tinyclip does not read quantised models.")
            values = np.asarray(tensors.get_tensor(name)).astype(np.float32)
        if not np.isfinite(values).all():
            raise UserError(f"{self.place[name]}: {name} holds numbers that are not finite: the file is damaged, or its training went astray.")
        return values


def _opened(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="numpy")
    except FileNotFoundError:
        raise UserError(f"{path.parent} is not a whole model: {path.name} is missing.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is damaged and cannot be read as safetensors: {str(error).splitlines()[0][:120]}.") from None


def shards(index: Path) -> dict[Path, set[str]]:
    """The files that an index names, each with the tensors it should hold. All must lie beside the index."""
    try:
        named = json_object(index)["weight_map"].items()
        found: dict[Path, set[str]] = {}
        for tensor, file in named:
            if Path(file).name != file or not file.endswith(".safetensors"):
                raise UserError(f"{index} names {file!r}, which is no safetensors file beside it: refused.")
            found.setdefault(index.parent / file, set()).add(tensor)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{index} is damaged: it should be JSON with a `weight_map` from tensors to files.") from None
    return found


def json_object(path: Path) -> dict[str, Any] | None:
    """A file's JSON object, or None if there is no such file. Raises `UserError` for a file that cannot be read, or holds anything else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"could not read {path}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:  # also of a number with too many digits, and of brackets too deep
        raise UserError(f"{path} is damaged: it is not valid JSON ({str(error)[:100]}).") from None
    if not isinstance(data, dict):
        raise UserError(f"{path} is damaged: it is not a JSON object.")
    return data


def own_names(config: CLIPConfig) -> dict[str, Piece]:
    """Our parameters under our own dotted names."""
    named = ((dotted(path), leaf) for path, leaf in nnx.to_flat_state(blueprint(config)[1]))
    return {name: Piece(name, tuple(leaf.shape), lambda x: x) for name, leaf in named}


def read_parameters(tensors: Tensors, config: CLIPConfig, pieces: dict[str, Piece], ignored: tuple[str, ...] = ()) -> nnx.State:
    """A model's parameters. Raises `UserError` for a tensor that is missing, too many, or of another shape than the configuration asks for."""
    wanted = {piece.name: piece.shape for piece in pieces.values()}
    _complain(tensors.path, "lacks", wanted.keys() - tensors.shapes.keys())
    _complain(tensors.path, "has, beyond its configuration,", {n for n in tensors.shapes.keys() - wanted.keys() if n.split(".")[-1] not in ignored})
    for name, shape in wanted.items():
        if tensors.shapes[name] != shape and not (shape == () and tensors.shapes[name] == (1,)):
            raise UserError(f"{tensors.path}: {name} has shape {tensors.shapes[name]}, but config.json asks for {shape}.")
    leaves = []
    for path, leaf in nnx.to_flat_state(blueprint(config)[1]):
        piece = pieces[dotted(path)]
        leaves.append((path, leaf.replace(jnp.asarray(piece.take(tensors.read(piece.name).reshape(piece.shape))))))
    return nnx.from_flat_state(leaves)


def dotted(path: tuple[str | int, ...]) -> str:
    """A path in the tree of parameters as one name: image.blocks.0.mlp.up.kernel."""
    return ".".join(map(str, path))


def _complain(path: Path, verb: str, names: Iterable[str]) -> None:
    names = sorted(names)
    if names:
        raise UserError(f"{path} {verb} {len(names)} tensor{'s' * (len(names) > 1)}, such as {names[0]}: it belongs to another model.")
