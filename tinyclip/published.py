"""A folder as Hugging Face or open_clip publish a CLIP, read into our classes and written for theirs. Lesson 18.

Everything comes from the folder's own files: sizes, activation and epsilon from `config.json` (where there is none, from the shapes of the
tensors), words from `vocab.json` and `merges.txt` or `tokenizer.json`, the pixels' mean and spread from `preprocessor_config.json`.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from . import openai
from .bpe import BPE
from .config import ACTIVATIONS, PRESETS, CLIPConfig, ImageConfig, TextConfig
from .errors import UserError
from .tokenizer import END, PAD, PUNCTUATION, START, WordTokenizer
from .weights import Shape, Tensors, json_object, read_parameters

PIXELS = {name: PRESETS["vit_b_32"][0][name] for name in ("mean", "std")}  # OpenAI's, where a folder does not say
CONFIG, PIXEL_CONFIG, OPEN_CLIP = "config.json", "preprocessor_config.json", "open_clip_config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "open_clip_model.safetensors", "open_clip_model.safetensors.index.json")
VISION_DEFAULTS = {  # what `transformers` takes where a config leaves something out
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 224, "patch_size": 32,
    "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "num_channels": 3,
}  # fmt: skip
TEXT_DEFAULTS = {
    "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8,
    "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "eos_token_id": 49407,
}  # fmt: skip
LEGACY_END = 2  # an old config's eos_token_id; `transformers` then pools at the largest id, which in CLIP's vocabulary is the end token


def weights_file(folder: Path) -> Path | None:
    """The folder's safetensors, or the index of several; one of any other name if it is the only one. None if there is none."""
    named = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    found = named or sorted(folder.glob("*.safetensors"))
    return found[0] if named or len(found) == 1 else None


def is_published(folder: Path, config: dict[str, Any] | None) -> bool:
    """Does the folder look like a published CLIP rather than one of ours?"""
    if config is not None and ("vision_config" in config or config.get("model_type") == "clip"):
        return True
    return (folder / OPEN_CLIP).is_file() or (config is None and weights_file(folder) is not None)


def read(folder: Path, config_data: dict[str, Any] | None, image_size: int | None = None) -> tuple[CLIPConfig, nnx.State, BPE | WordTokenizer]:
    """Configuration, parameters and tokenizer of a published CLIP; with `image_size`, its positions resized to pictures of that side."""
    file = weights_file(folder)
    if file is None:
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in (".pt", ".bin", ".pth", ".ckpt"))
        if pickles:
            raise UserError(
                f"{folder / pickles[0]} is a pickle, which can run code when it is opened, so tinyclip does not: save it as safetensors "
                f"where you trust it (safetensors.torch.save_file), or take the model's safetensors file."
            )
        raise UserError(f"{folder} is not a whole model: model.safetensors is missing.")
    tensors = Tensors(file)
    prefix = "text." if any(name.startswith("text.") for name in tensors.shapes) else ""
    if "visual.conv1.weight" in tensors.shapes or "visual.layer1.0.conv1.weight" in tensors.shapes:
        if "visual.proj" not in tensors.shapes:
            raise UserError(f"{file} is a CLIP with a ResNet or another image tower; tinyclip reads those with a Vision Transformer.")
        config = config_of_shapes(tensors.shapes, prefix, folder)
        pieces = dict(openai.openai(config, prefix))
    else:
        if config_data is None:
            raise UserError(f"{folder} is not a whole model: {CONFIG} is missing, and {file.name} does not have OpenAI's names.")
        config = config_of(config_data, folder)
        pieces = dict(openai.hugging_face(config))
    tokenizer = tokenizer_of(folder, config)
    params = read_parameters(tensors, config, pieces, openai.IGNORED)
    if image_size is not None and image_size != config.image.size:
        config, params = resized(config, params, image_size)
    return config, params, tokenizer


def config_of(data: dict[str, Any], folder: Path) -> CLIPConfig:
    """Our configuration from Hugging Face's `config.json`. Raises `UserError` for nonsense."""
    try:
        vision, text = ({**defaults, **(data.get(key) or {}), **(data.get(f"{key}_dict") or {})} for key, defaults in
                        (("vision_config", VISION_DEFAULTS), ("text_config", TEXT_DEFAULTS)))  # fmt: skip
        if vision["num_channels"] != 3:
            raise UserError(f"it reads pictures of {vision['num_channels']} channels, not 3.")
        for part in (vision, text):
            if part["hidden_act"] not in ACTIVATIONS:
                raise UserError(f"its activation is {str(part['hidden_act'])!r}; tinyclip has {' and '.join(ACTIVATIONS)}.")
        size = int(vision["image_size"])
        end = text["eos_token_id"] if text["eos_token_id"] != LEGACY_END else text["vocab_size"] - 1
        return CLIPConfig(
            image=ImageConfig(size=size, patch=int(vision["patch_size"]), **_tower(vision), **pixels_of(folder, size)),
            text=TextConfig(vocab=int(text["vocab_size"]), context=int(text["max_position_embeddings"]), end_token=int(end), **_tower(text)),
            embed=int(data.get("projection_dim") or 512),
        )
    except UserError as error:
        raise UserError(f"{folder / CONFIG} does not describe a CLIP that tinyclip can read: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{folder / CONFIG} does not describe a CLIP that tinyclip can read: {type(error).__name__} at {error}.") from None


def _tower(part: dict[str, Any]) -> dict[str, Any]:
    sizes = {"width": "hidden_size", "depth": "num_hidden_layers", "heads": "num_attention_heads", "mlp": "intermediate_size"}
    return {ours: int(part[theirs]) for ours, theirs in sizes.items()} | {"activation": part["hidden_act"], "eps": float(part["layer_norm_eps"])}


def pixels_of(folder: Path, size: int) -> dict[str, tuple[float, ...]]:
    """Mean and spread of the pixels, from `preprocessor_config.json` or open_clip's config; OpenAI's if neither is there."""
    data = json_object(folder / PIXEL_CONFIG)
    if data is None:
        data = (json_object(folder / OPEN_CLIP) or {}).get("preprocess_cfg") or {}
        data = {"image_mean": data.get("mean"), "image_std": data.get("std")}
    for key in ("size", "crop_size"):
        side = data.get(key)
        side = set(side.values()) if isinstance(side, dict) else {side}
        if side - {size, None}:
            raise UserError(f"{PIXEL_CONFIG} wants pictures of {key} {data[key]}, but the model reads {size} pixels.")
    try:
        found = {ours: tuple(float(x) for x in data.get(theirs) or PIXELS[ours]) for ours, theirs in (("mean", "image_mean"), ("std", "image_std"))}
        if any(len(numbers) != 3 for numbers in found.values()):
            raise ValueError
        return found
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{PIXEL_CONFIG} should have three numbers each as image_mean and image_std.") from None


def config_of_shapes(shapes: dict[str, Shape], prefix: str, folder: Path) -> CLIPConfig:
    """Our configuration from the shapes of OpenAI's tensors, as OpenAI's own loader finds it; heads are 64 wide.

    The activation is OpenAI's QuickGELU, unless open_clip's config is there and does not ask for it.
    """
    told = (json_object(folder / OPEN_CLIP) or {}).get("model_cfg")

    def tower(theirs: str, width: int, part: str) -> dict[str, Any]:
        depth = len({name for name in shapes if re.fullmatch(rf"{re.escape(theirs)}transformer\.resblocks\.\d+\.ln_1\.weight", name)})
        heads = ((told or {}).get("text_cfg") or {}).get("heads") if part == "text" else None
        head_width = ((told or {}).get("vision_cfg") or {}).get("head_width", 64) if part == "image" else 64
        if not isinstance(head_width, int) or head_width < 1:
            raise UserError(f"{folder / OPEN_CLIP} has heads that are {head_width!r} wide: head_width must be a positive whole number.")
        activation = "quick_gelu" if told is None or told.get("quick_gelu") else "gelu"
        mlp = shapes[f"{theirs}transformer.resblocks.0.mlp.c_fc.weight"][0]
        return {"width": width, "depth": depth, "heads": heads or max(1, width // head_width), "mlp": mlp, "activation": activation}

    try:
        width, _, patch, _ = shapes["visual.conv1.weight"]
        size = patch * round((shapes["visual.positional_embedding"][0] - 1) ** 0.5)
        vocab, text_width = shapes[f"{prefix}token_embedding.weight"]
        context = shapes[f"{prefix}positional_embedding"][0]
        return CLIPConfig(
            image=ImageConfig(size=size, patch=patch, **tower("visual.", width, "image"), **pixels_of(folder, size)),
            text=TextConfig(vocab=vocab, context=context, end_token=vocab - 1, **tower(prefix, text_width, "text")),
            embed=shapes["visual.proj"][1],
            loss="sigmoid" if "logit_bias" in shapes else "contrastive",
        )
    except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
        raise UserError(f"the tensors in {folder} do not have the shapes of a CLIP: {type(error).__name__} at {error}.") from None


def tokenizer_of(folder: Path, config: CLIPConfig) -> BPE | WordTokenizer:
    """CLIP's byte-level BPE from `vocab.json` and `merges.txt`, or from `tokenizer.json`, which may also hold the words of one of our exports."""
    model = (json_object(folder / "tokenizer.json") or {}).get("model") or {}
    if not isinstance(model, dict) or not isinstance(model.get("vocab") or {}, dict):
        raise UserError(f"{folder / 'tokenizer.json'} is damaged: its model, or its vocab, is not a JSON object.")
    if model.get("type") == "WordLevel":
        ids = model.get("vocab") or {}
        tokenizer = WordTokenizer((word for word in ids if word not in (PAD, START, END)), config.text.context)
        if tokenizer.ids != ids:
            raise UserError(f"{folder / 'tokenizer.json'} is a list of words that tinyclip did not write.")
    else:
        try:
            if (folder / "merges.txt").is_file():
                lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
                known = json_object(folder / "vocab.json")
            else:
                lines = [merge if isinstance(merge, str) else " ".join(merge) for merge in model.get("merges") or []]
                known = model.get("vocab")
            if not lines:
                raise UserError(f"{folder} is not a whole model: merges.txt and vocab.json, or tokenizer.json, are missing.")
            tokenizer = BPE.from_merges(lines, json.dumps(known) if known else "", context=config.text.context)
        except (OSError, UnicodeDecodeError, TypeError) as error:
            raise UserError(f"the tokenizer's files in {folder} are damaged: {error}.") from None
    if tokenizer.vocab > config.text.vocab or tokenizer.end != config.text.end_token:
        raise UserError(
            f"the tokenizer in {folder} has {tokenizer.vocab} tokens and ends sentences with {tokenizer.end}, "
            f"but the model has {config.text.vocab} and reads at {config.text.end_token}: they belong to different models."
        )
    return tokenizer


def resized(config: CLIPConfig, params: nnx.State, size: int) -> tuple[CLIPConfig, nnx.State]:
    """The model for pictures of another side: the grid of positions resized (bicubic, smoothed where it shrinks), as open_clip does."""
    if size < 1 or size % config.image.patch:
        raise UserError(f"a picture of {size} pixels does not divide into patches of {config.image.patch}: take a multiple.")
    tower = params["image"]
    tower["position_embedding"] = tower["position_embedding"].replace(resize_positions(tower["position_embedding"][...], size // config.image.patch))
    return replace(config, image=replace(config.image, size=size)), params


def resize_positions(positions: Float[Array, "N D"], grid: int) -> Float[Array, "n D"]:
    """The class token's position as it is; those of the patches, a square grid, resized to another side: bicubic, smoothed where it shrinks."""
    old = round((len(positions) - 1) ** 0.5)
    patches = positions[1:].reshape(old, old, -1)
    patches = jax.image.resize(patches, (grid, grid, patches.shape[-1]), "bicubic")
    return jnp.concatenate([positions[:1], patches.reshape(grid * grid, -1)])


# And back: our models for Hugging Face's classes


def hugging_face_files(
    config: CLIPConfig, tokenizer: BPE | WordTokenizer, params: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A snapshot's JSON files by name, and its tensors."""
    if config.loss != "contrastive":
        raise UserError("Hugging Face's CLIP has no logit bias, which this model was trained with: only contrastive models can be exported to it.")
    image, text = config.image, config.text
    end = {"bos_token_id": tokenizer.start, "eos_token_id": text.end_token, "pad_token_id": 0}

    def tower(part: ImageConfig | TextConfig, kind: str) -> dict[str, Any]:
        sizes = {"hidden_size": part.width, "num_hidden_layers": part.depth, "num_attention_heads": part.heads, "intermediate_size": part.mlp}
        return sizes | {"hidden_act": part.activation, "layer_norm_eps": part.eps, "projection_dim": config.embed, "model_type": kind}

    vision = tower(image, "clip_vision_model") | {"image_size": image.size, "patch_size": image.patch, "num_channels": 3}
    language = tower(text, "clip_text_model") | {"vocab_size": text.vocab, "max_position_embeddings": text.context} | end
    whole = {"architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": config.embed, "dtype": "float32", "torch_dtype": "float32"}
    pixels = {
        "image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"shortest_edge": image.size}, "resample": 3,
        "do_center_crop": True, "crop_size": {"height": image.size, "width": image.size}, "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "image_mean": list(image.mean), "image_std": list(image.std), "do_convert_rgb": True,
    }  # fmt: skip
    files = {CONFIG: whole | {"vision_config": vision, "text_config": language}, PIXEL_CONFIG: pixels} | tokenizer_files(tokenizer)
    return files, openai.to_hugging_face(params, config)


def tokenizer_files(tokenizer: BPE | WordTokenizer) -> dict[str, Any]:
    """The tokenizer's files as Hugging Face reads them: JSON objects, and merges as lines of text."""
    if isinstance(tokenizer, BPE):
        settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": tokenizer.context}
        merges = "\n".join(["#version: 0.2", *map(" ".join, tokenizer.merges)]) + "\n"
        return {"vocab.json": tokenizer.ids, "merges.txt": merges, "tokenizer_config.json": settings}
    specials = {PAD: 0, START: tokenizer.start, END: tokenizer.end}
    first, last = ({"SpecialToken": {"id": token, "type_id": 0}} for token in (START, END))
    added = [
        {"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for token, i in specials.items()
    ]
    around = f"(^|(?<=\\s))[{re.escape(PUNCTUATION)}]+|[{re.escape(PUNCTUATION)}]+($|(?=\\s))"
    whole = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Lowercase"}, {"type": "Replace", "pattern": {"Regex": around}, "content": ""},
        ]},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing", "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "single": [first, {"Sequence": {"id": "A", "type_id": 0}}, last],
            "special_tokens": {token: {"id": token, "ids": [specials[token]], "tokens": [token]} for token in (START, END)},
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": tokenizer.ids, "unk_token": "<unk>"},  # which is no word: an unknown one is an error there too
    }  # fmt: skip
    names = {"pad_token": PAD, "bos_token": START, "eos_token": END}
    return {
        "tokenizer.json": whole,
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": tokenizer.context} | names,
    }
