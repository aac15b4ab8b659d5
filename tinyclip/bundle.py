"""A model as a folder: `config.json`, `model.safetensors`, `tokenizer.json`, and for a trained one `history.json`. Weights without code.

`load` gives a `Bundle`: the model with the tokenizer and the preprocessing it was trained with, which is what every use of it needs together.
"""

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8
from PIL import Image
from safetensors.numpy import save

from . import published
from .bpe import BPE
from .clip import CLIP
from .config import CLIPConfig
from .data import normalise
from .errors import UserError
from .folder import fit
from .tokenizer import WordTokenizer
from .train import make_model
from .weights import Tensors, dotted, json_object, own_names, read_parameters

PRETRAINED = Path(__file__).resolve().parent.parent / "data" / "pretrained"
CONFIG, WEIGHTS, TOKENIZER, HISTORY = "config.json", "model.safetensors", "tokenizer.json", "history.json"
BLOCK = 256  # pictures or sentences embedded at once, fewer where the model is large
LARGE = 1 << 20  # tokens x width that a block of a large model holds


@dataclass(frozen=True)
class Bundle:
    """A model, and what turns pictures and sentences into its input. Lesson 11."""

    model: CLIP
    tokenizer: WordTokenizer | BPE
    name: str = "model"
    trained_on: dict[str, str] = field(default_factory=dict)  # {"world": name}, or {"data": folder, "captioned": its fingerprint}, if known
    history: dict[str, Any] = field(default_factory=dict)  # of its training, if known

    @property
    def config(self) -> CLIPConfig:
        return self.model.config

    def preprocess(self, images: Sequence[Image.Image] | UInt8[np.ndarray, "B h w 3"]) -> Float[np.ndarray, "B S S 3"]:
        """Pictures of any size to the model's input: shortest side to S (bicubic), centre cut, 0..1, then mean and std.

        Raises `UserError` for something that is no picture.
        """
        size, config = self.config.image.size, self.config.image
        if isinstance(images, np.ndarray):
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
                raise UserError(f"preprocess wants pictures as (B, height, width, 3) of uint8, not {images.shape} of {images.dtype}.")
            images = images if images.shape[1:3] == (size, size) else [Image.fromarray(image) for image in images]
        if not isinstance(images, np.ndarray):
            if not images or not all(isinstance(image, Image.Image) for image in images):
                raise UserError("preprocess wants a list of PIL pictures, at least one, or one array (B, height, width, 3) of uint8.")
            images = np.stack([fit(image, size) for image in images])
        return np.asarray(normalise(images.astype(np.float32) / 255, config))

    def embed_images(self, images: Sequence[Image.Image] | UInt8[np.ndarray, "B h w 3"]) -> Float[np.ndarray, "B E"]:
        """Pictures to unit vectors, in batches. Lesson 00."""
        block = block_of(self.config.image.tokens * self.config.image.width)
        return self._embed(_encode_image, images, block, self.preprocess)

    def embed_texts(self, sentences: Sequence[str]) -> Float[np.ndarray, "B E"]:
        """Sentences to unit vectors, in batches. Lesson 00. Raises `UserError` for what the tokenizer does not know."""
        block = block_of(self.config.text.context * self.config.text.width)
        return self._embed(_encode_text, self.tokenizer(sentences), block)

    def _embed(
        self, encode: Callable[[nnx.GraphDef, nnx.State, Any], Array], rows: Any, size: int, prepare: Callable[[Any], Any] = lambda rows: rows
    ) -> Float[np.ndarray, "B E"]:
        """In blocks of one shape, the last filled up by repeating its first row: one compilation serves every number of rows."""
        model, parts = nnx.split(self.model), [np.zeros((0, self.config.embed), np.float32)]
        for start in range(0, len(rows), size):
            block = prepare(rows[start : start + size])
            missing = size - len(block) if len(rows) > 1 else 0
            full = np.concatenate([block, np.repeat(block[:1], missing, axis=0)])
            parts.append(np.asarray(encode(*model, full), np.float32)[: len(block)])
        return np.concatenate(parts)


def block_of(numbers: int) -> int:
    """How many rows are embedded at once: `BLOCK`, or for a large model a smaller power of two, so that few rows need no large block."""
    return max(8, min(BLOCK, 1 << (LARGE // numbers).bit_length() - 1)) if numbers <= LARGE else 8


@jax.jit(static_argnums=0)
def _encode_image(graphdef: nnx.GraphDef, state: nnx.State, images: Float[Array, "B S S 3"]) -> Float[Array, "B E"]:
    return nnx.merge(graphdef, state).encode_image(images)


@jax.jit(static_argnums=0)
def _encode_text(graphdef: nnx.GraphDef, state: nnx.State, tokens: Int[Array, "B T"]) -> Float[Array, "B E"]:
    return nnx.merge(graphdef, state).encode_text(tokens)


def flat(params: nnx.State) -> dict[str, Float[np.ndarray, "..."]]:
    """Parameters by dotted name, sorted."""
    named = {dotted(path): np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(params)}
    return dict(sorted(named.items()))


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write beside, then rename: a reader, or a full disk, never meets half a file."""
    beside = path.with_name(path.name + ".part")
    try:
        beside.write_bytes(data.encode() if isinstance(data, str) else data)
        os.replace(beside, path)
    except OSError as error:
        raise UserError(f"could not write {path} ({error.strerror or error}): free some space, or choose another folder.") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def write_all(folder: Path, files: dict[str, bytes | Any]) -> None:
    """Bytes, text, or what becomes JSON, by file name. Into an empty folder, all of it or nothing: half would be in the way of the next try."""
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"could not make the folder {folder}: {error.strerror}.") from None
    empty = not any(folder.iterdir())
    try:
        for name, content in files.items():
            write_atomically(folder / name, content if isinstance(content, bytes | str) else json.dumps(content, indent=1) + "\n")
    except BaseException:  # Ctrl-C, too
        with contextlib.suppress(OSError):
            for name in files if empty else ():
                (folder / name).unlink(missing_ok=True)
            if not existed:
                folder.rmdir()
        raise


def save_bundle(folder: Path, bundle: Bundle, extra: dict[str, Any] | None = None) -> None:
    """Write a model folder. `extra` is added to `config.json` beside the model's own configuration."""
    config = {"format": "tinyclip", "model": bundle.config.to_json()} | (extra or {}) | bundle.trained_on
    words = json.dumps(bundle.tokenizer.to_json()) + "\n"
    weights = save(flat(nnx.state(bundle.model, nnx.Param)), metadata={"format": "tinyclip"})
    write_all(folder, {CONFIG: config, TOKENIZER: words, WEIGHTS: weights})


def save_for_hugging_face(folder: Path, bundle: Bundle) -> None:
    """Write a snapshot that `transformers.CLIPModel.from_pretrained` loads. Raises `UserError` if it has no place for the model. Lesson 18."""
    files, tensors = published.hugging_face_files(bundle.config, bundle.tokenizer, flat(nnx.state(bundle.model, nnx.Param)))
    write_all(folder, files | {WEIGHTS: save(tensors, metadata={"format": "pt"})})


def find(name: str | Path) -> Path:
    """The model folder of that path, or the pretrained one of that name. Raises `UserError` if there is neither."""
    folder = Path(name)
    names = sorted(p.name for p in PRETRAINED.glob("*") if p.is_dir())
    shipped = str(name) in names
    if folder.is_dir() and not (shipped and not any(folder.glob("*.json"))):  # `tinyclip draw --count 100 shapes` makes a folder `shapes`, no model
        return folder
    if shipped:
        return PRETRAINED / str(name)
    if folder.is_file():
        raise UserError(f"{folder} is a file: name the model's folder, which holds {CONFIG}, {WEIGHTS} and {TOKENIZER}.")
    known = f"or one of the pretrained models: {', '.join(names)}" if names else "since no pretrained models lie beside the package"
    raise UserError(f"there is no model at {str(name)!r}: name a folder written by `tinyclip train`, {known}.")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, which must be there. Raises `UserError` if it is missing or damaged."""
    data = json_object(path)
    if data is None:
        raise UserError(f"{path.parent} is not a whole model: {path.name} is missing.")
    return data


def read_history(folder: Path) -> dict[str, Any]:
    """A run's `history.json`. Raises `UserError` if it is missing, or holds anything but a run's measures."""
    history = read_json(folder / HISTORY)
    series = [history.get(name) for name in ("loss", "floor", "logit_scale")]
    after_chunks = history.get("accuracy")
    paired = isinstance(after_chunks, list) and all(_numbers(entry) and len(entry) == 2 for entry in after_chunks)
    if not isinstance(history.get("log_n"), int | float) or not paired or not all(map(_numbers, series)):
        raise UserError(f"{folder / HISTORY} is damaged: it does not hold a run's history.")
    return history


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, int | float) for value in values)


def load(name: str | Path, image_size: int | None = None) -> Bundle:
    """A model as a `Bundle`: a folder of ours, the short name of a pretrained model, or a CLIP as Hugging Face or open_clip publish it.

    A published one keeps its own sizes, activation, tokenizer and pixels' mean and spread; `image_size` resizes the positions of its patches to
    pictures of another side. Raises `UserError` in one sentence for a folder that is missing, incomplete, damaged, or of another shape than
    its configuration. Lessons 00, 11 and 18.
    """
    folder = find(name)
    config_data = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else None
    if published.is_published(folder, config_data):
        config, params, tokenizer = published.read(folder, config_data, image_size)
        return Bundle(make_model(config, params), tokenizer, folder.resolve().name)
    config_data, words = read_json(folder / CONFIG), read_json(folder / TOKENIZER)
    if config_data.get("format") != "tinyclip":
        raise UserError(f"{folder / CONFIG} describes neither a tinyclip model nor a published CLIP.")
    try:
        config = CLIPConfig.from_json(config_data.get("model", {}))
    except UserError as error:
        raise UserError(f"{folder / CONFIG} is damaged: {error}") from None
    try:
        listed = words["merges" if words.get("type") == "bpe" else "words"]
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            raise TypeError
        tokenizer = BPE.from_json(words) if words.get("type") == "bpe" else WordTokenizer.from_json(words)
    except (KeyError, TypeError, ValueError, UserError):  # a `UserError` for words that are the tokenizer's own
        raise UserError(f"{folder / TOKENIZER} is damaged: it wants a list of words, or of merges, and a context.") from None
    # A published model may have room for more tokens than its tokenizer knows.
    if tokenizer.vocab > config.text.vocab or (tokenizer.end, tokenizer.context) != (config.text.end_token, config.text.context):
        raise UserError(f"{folder / TOKENIZER} does not belong to {folder / CONFIG}: they disagree about the vocabulary or the context.")
    params = read_parameters(Tensors(folder / WEIGHTS), config, own_names(config))
    if image_size is not None and image_size != config.image.size:
        config, params = published.resized(config, params, image_size)
    history = read_history(folder) if (folder / HISTORY).is_file() else {}
    trained_on = {key: config_data[key] for key in ("world", "data", "captioned") if isinstance(config_data.get(key), str)}
    return Bundle(make_model(config, params), tokenizer, folder.resolve().name, trained_on, history)
