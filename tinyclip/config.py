"""What a model is, and what a training run is: frozen dataclasses, every field stated, nothing derived from something else.

A model's configuration is saved beside its weights, so a folder explains itself. Sizes from `nano` (seconds on a laptop) to OpenAI's
`vit_l_14_336` are presets of the same class: the real CLIP differs from the toy in numbers only.
"""

import dataclasses
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .errors import UserError

ACTIVATIONS = ("quick_gelu", "gelu")
Activation = Literal["quick_gelu", "gelu"]


@dataclass(frozen=True)
class ImageConfig:
    """The image encoder, a ViT. Lesson 06."""

    size: int = 32  # S, pixels along one side
    patch: int = 8  # P, pixels along one side of a patch; divides `size`
    width: int = 96  # D
    depth: int = 2  # blocks
    heads: int = 4  # H; divides `width`
    mlp: int = 384  # hidden width of the MLP
    activation: Activation = "quick_gelu"
    eps: float = 1e-5  # of LayerNorm
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)  # a pixel in 0..1 becomes (pixel - mean) / std
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)

    @property
    def tokens(self) -> int:
        """N: the patches and the class token."""
        return (self.size // self.patch) ** 2 + 1


@dataclass(frozen=True)
class TextConfig:
    """The text encoder, a causal transformer read off at its end token. Lesson 05."""

    vocab: int = 64  # V
    context: int = 16  # T, tokens a sentence may have, start and end included
    end_token: int = 63  # sentences are pooled at the first of these
    width: int = 64  # D
    depth: int = 2
    heads: int = 4
    mlp: int = 256
    activation: Activation = "quick_gelu"
    eps: float = 1e-5


@dataclass(frozen=True)
class CLIPConfig:
    """Two encoders and the space they share (CLIP paper, section 2.4). Lesson 18."""

    image: ImageConfig = field(default_factory=ImageConfig)
    text: TextConfig = field(default_factory=TextConfig)
    embed: int = 64  # E, numbers in an embedding
    loss: Literal["contrastive", "sigmoid"] = "contrastive"  # the sigmoid loss adds a learned `logit_bias`
    dtype: Literal["float32", "bfloat16"] | None = None  # what the towers compute in; None: as the parameters are

    def __post_init__(self) -> None:
        check_model(self)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "CLIPConfig":
        """A named size; `changes` replace fields of the configuration, or of `image` / `text` when given as dicts.

        `CLIPConfig.preset("tiny", text={"vocab": 40, "end_token": 39})`
        """
        if name not in PRESETS:
            raise UserError(f"there is no size called {name!r}: choose one of {', '.join(PRESETS)}.")
        image, text, embed = PRESETS[name]
        image, text = image | changes.pop("image", {}), text | changes.pop("text", {})
        return cls(image=ImageConfig(**image), text=TextConfig(**text), **({"embed": embed} | changes))

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "CLIPConfig":
        """The inverse of `to_json`. Raises `UserError` for a field that is missing, unknown or out of range."""
        try:
            _complete(cls, data, "")
            _complete(ImageConfig, data["image"], "image.")
            _complete(TextConfig, data["text"], "text.")
            image = data["image"] | {name: tuple(float(v) for v in data["image"][name]) for name in ("mean", "std")}
            return cls(**(data | {"image": ImageConfig(**image), "text": TextConfig(**data["text"])}))
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(f"the model's configuration is not one of tinyclip's: {error}.") from None


def _complete(kind: type, data: object, prefix: str) -> None:
    """Raises `UserError` for a field that is missing: nothing in a saved configuration is left to a default that may change."""
    if not isinstance(data, dict):
        raise UserError(f"the model's configuration is not one of tinyclip's: {prefix[:-1] or 'it'} is no JSON object.")
    for field_ in dataclasses.fields(kind):
        if field_.name not in data:
            raise UserError(f"the model's configuration lacks the field {prefix}{field_.name}.")


def _tower(width: int, depth: int, heads: int) -> dict[str, int]:
    return {"width": width, "depth": depth, "heads": heads, "mlp": 4 * width}


_CLIP_PIXELS = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
_CLIP_TEXT = {"vocab": 49408, "context": 77, "end_token": 49407}

PRESETS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {  # name -> image, text, embed
    "nano": (_tower(64, 2, 4), _tower(64, 2, 4), 32),
    "tiny": (_tower(96, 2, 4), _tower(64, 2, 4), 64),
    "small": (_tower(192, 6, 6) | {"patch": 4}, _tower(192, 4, 6), 128),
    "vit_b_32": ({"size": 224, "patch": 32} | _tower(768, 12, 12) | _CLIP_PIXELS, _tower(512, 12, 8) | _CLIP_TEXT, 512),
    "vit_b_16": ({"size": 224, "patch": 16} | _tower(768, 12, 12) | _CLIP_PIXELS, _tower(512, 12, 8) | _CLIP_TEXT, 512),
    "vit_l_14": ({"size": 224, "patch": 14} | _tower(1024, 24, 16) | _CLIP_PIXELS, _tower(768, 12, 12) | _CLIP_TEXT, 768),
    "vit_l_14_336": ({"size": 336, "patch": 14} | _tower(1024, 24, 16) | _CLIP_PIXELS, _tower(768, 12, 12) | _CLIP_TEXT, 768),
}


@dataclass(frozen=True)
class TrainConfig:
    """One training run: how long, how fast, on what. Lesson 10."""

    steps: int = 900
    batch_size: int = 128  # B, pairs a step; every other pair in it is a negative
    learning_rate: float = 3e-3  # at its peak; at 5e-3, in 700 steps, some seeds get a quarter of what was held out wrong (data/README.md)
    warmup: int = 40  # steps of linear warm-up; then a cosine down to zero
    weight_decay: float = 0.5  # decoupled; weights of matrices only
    clip_norm: float = 1.0  # the gradient's global norm is cut to this
    shared_positives: bool = True  # a caption that is true of several pictures in the batch is a positive of each
    # In worlds that have swaps: "captions" adds one swapped caption a picture as an extra text; "scenes" puts each scene beside all its swaps.
    hard_negatives: Literal["none", "captions", "scenes"] = "none"
    micro_batch: int = 0  # rows the towers embed at once, for batches larger than memory; 0: all. Exact, one forward pass more. Lesson 17
    remat: bool = False  # keep only each block's output for the way back, compute the rest again: less memory on a card, more time
    chunk: int = 20  # steps a call; evaluation, checkpoints and Ctrl-C act between chunks
    seed: int = 0

    def __post_init__(self) -> None:
        check_run(self)


# What each world is trained with unless told otherwise: on two CPU cores `single` is done within a minute, `pairs` within ten.
RECIPES: dict[str, dict[str, Any]] = {
    "single": {"size": "tiny", "train": {"steps": 900}},
    "sixteen": {
        "size": "nano",
        "image": {"depth": 3, "mlp": 128},  # the last block is read at one row: with two blocks, patches look at each other only once
        "train": {"steps": 650, "batch_size": 64, "learning_rate": 3e-3, "chunk": 25},
    },
    "pairs": {
        "size": "tiny",
        "image": {"depth": 3},
        "text": {"depth": 3},
        "train": {"steps": 4000, "learning_rate": 2e-3, "warmup": 100, "weight_decay": 0.1, "hard_negatives": "captions", "chunk": 50},
    },
    "animals": {
        "size": "tiny",
        "image": {"depth": 3},
        "train": {"steps": 5000, "learning_rate": 2e-3, "warmup": 100, "weight_decay": 0.3, "chunk": 50},
    },
    "folder": {"size": "tiny", "train": {"steps": 400, "batch_size": 64}},
}
# With the sigmoid loss, so many times the steps a recipe says, at a rate so many times lower: at the full rate, what is known of the pairs held out
# from `single`, and of the shapes of `sixteen`, hangs on the seed (data/README.md).
CALMER = 2


def recipe_for(name: str, loss: str | None = None) -> dict[str, Any]:
    """What a world, or a `folder`, is trained with: its recipe; with the sigmoid loss, CALMER times as long and as slowly."""
    recipe = RECIPES[name]
    run, rate = recipe["train"], recipe["train"].get("learning_rate", TrainConfig.learning_rate)
    return recipe if loss != "sigmoid" else recipe | {"train": run | {"steps": CALMER * run["steps"], "learning_rate": rate / CALMER}}


def cache_folder() -> Path:
    """Where decoded pictures and compiled programs are kept: `$XDG_CACHE_HOME/tinyclip` or `~/.cache/tinyclip`. It may be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinyclip"


def check_model(config: CLIPConfig) -> None:
    """Raises `UserError` with one sentence if the numbers cannot be a model."""
    for name, tower in (("image", config.image), ("text", config.text)):
        for key in ("width", "depth", "heads", "mlp"):
            _positive(f"{name}.{key}", getattr(tower, key))
        if tower.width % tower.heads:
            raise UserError(f"{name}.width {tower.width} does not divide into {tower.heads} heads: make it a multiple.")
        if tower.activation not in ACTIVATIONS:
            raise UserError(f"{name}.activation is {tower.activation!r}: choose one of {', '.join(ACTIVATIONS)}.")
        if not 0 < tower.eps < 1:
            raise UserError(f"{name}.eps is {tower.eps}: a LayerNorm wants a small positive number such as 1e-5.")
    for key in ("size", "patch"):
        _positive(f"image.{key}", getattr(config.image, key))
    for key in ("vocab", "context"):
        _positive(f"text.{key}", getattr(config.text, key))
    _positive("embed", config.embed)
    if config.image.size % config.image.patch:
        raise UserError(f"a picture of {config.image.size} pixels does not divide into patches of {config.image.patch}: make it a multiple.")
    pixels = (*config.image.mean, *config.image.std)
    if len(config.image.mean) != 3 or len(config.image.std) != 3 or not min(config.image.std) > 0 or not all(map(math.isfinite, pixels)):
        raise UserError("image.mean and image.std are three finite numbers each, and no std may be 0 or less.")
    if not isinstance(config.text.end_token, int) or not 0 <= config.text.end_token < config.text.vocab:
        raise UserError(f"text.end_token {config.text.end_token} is not among the {config.text.vocab} tokens.")
    if config.loss not in ("contrastive", "sigmoid"):
        raise UserError(f"loss is {config.loss!r}: choose contrastive or sigmoid.")
    if config.dtype not in (None, "float32", "bfloat16"):
        raise UserError(f"dtype is {config.dtype!r}: choose float32 or bfloat16.")


def check_run(config: TrainConfig) -> None:
    """Raises `UserError` with one sentence if the numbers cannot be a training run."""
    for key, least, most in (("steps", 1, 10_000_000), ("batch_size", 2, 1_000_000), ("chunk", 1, 10_000), ("warmup", 0, 10_000_000)):
        value = getattr(config, key)
        if not least <= value <= most:
            name = key.replace("_", "-")
            why = " (with a single pair there is nothing to tell apart)" if key == "batch_size" and value == 1 else ""
            raise UserError(f"--{name} is {value}, but must lie between {least} and {most:,}{why}.")
    if not 0 <= config.micro_batch <= config.batch_size or (config.micro_batch and config.batch_size % config.micro_batch):
        raise UserError(f"--micro-batch is {config.micro_batch}, but must divide the batch of {config.batch_size} evenly.")
    if config.hard_negatives not in ("none", "captions", "scenes"):
        raise UserError(f"--hard-negatives is {config.hard_negatives!r}, but must be none, captions or scenes.")
    for key in ("learning_rate", "clip_norm"):
        if not 0 < getattr(config, key) < float("inf"):
            raise UserError(f"--{key.replace('_', '-')} is {getattr(config, key)}, but must be a positive number.")
    if not 0 <= config.weight_decay < float("inf"):
        raise UserError(f"--weight-decay is {config.weight_decay}, but must be 0 or more.")
    if not 0 <= config.seed < 2**32:
        raise UserError(f"--seed is {config.seed}, but must lie between 0 and 2^32 - 1.")


def _positive(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 1_000_000:
        raise UserError(f"{name} is {value!r}, but must be a whole number from 1 to 1,000,000.")
