"""CLIP as published by OpenAI, Hugging Face and open_clip: the same model under other names, in other shapes. Names, shapes and transposes only.

Three dialects hold the same numbers. PyTorch keeps a linear layer as (out, in), we as (in, out), so its weights are turned; OpenAI's two
projections and open_clip's are no layers but plain matrices (in, out), so they are not. Lesson 18; CLIP paper, section 2.4.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float

from .config import CLIPConfig
from .weights import Piece, Shape, Tensor

IGNORED = ("position_ids", "input_resolution", "context_length", "vocab_size", "attn_mask")  # buffers and counts, no parameters


def same(x: Tensor) -> Tensor:
    """As it is."""
    return x


def turned(x: Tensor) -> Tensor:
    """(out, in) to (in, out), and back."""
    return x.T


def from_convolution(x: Float[np.ndarray, "D 3 P P"]) -> Float[np.ndarray, "p D"]:
    """A convolution of stride P, which sees (channel, y, x), is a linear layer on patches laid out as (y, x, channel)."""
    return x.transpose(2, 3, 1, 0).reshape(-1, x.shape[0])


def to_convolution(x: Float[np.ndarray, "p D"]) -> Float[np.ndarray, "D 3 P P"]:
    """The inverse of `from_convolution`."""
    patch = round((x.shape[0] / 3) ** 0.5)
    return x.reshape(patch, patch, 3, -1).transpose(3, 2, 0, 1)


def third(k: int, then: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """OpenAI keeps query, key and value one below the other, in one tensor of 3 D rows."""
    return lambda x: then(np.split(x, 3)[k])


def norm(ours: str, theirs: str, D: int) -> Iterator[tuple[str, Piece]]:
    """A LayerNorm: their weight is our scale."""
    yield f"{ours}.scale", Piece(f"{theirs}.weight", (D,), same)
    yield f"{ours}.bias", Piece(f"{theirs}.bias", (D,), same)


def linear(ours: str, theirs: str, shape: Shape) -> Iterator[tuple[str, Piece]]:
    """A linear layer of theirs, (out, in), with its bias."""
    yield f"{ours}.kernel", Piece(f"{theirs}.weight", shape, turned)
    yield f"{ours}.bias", Piece(f"{theirs}.bias", shape[:1], same)


def hugging_face(config: CLIPConfig) -> Iterator[tuple[str, Piece]]:
    """Our names -> those of `transformers.CLIPModel`. The misspelt `pre_layrnorm` is theirs."""
    image, text = config.image, config.text
    patches, vision, language = (image.width, 3, image.patch, image.patch), "vision_model", "text_model"
    yield "image.patch_embedding.kernel", Piece(f"{vision}.embeddings.patch_embedding.weight", patches, from_convolution)
    yield "image.class_embedding", Piece(f"{vision}.embeddings.class_embedding", (image.width,), same)
    yield "image.position_embedding", Piece(f"{vision}.embeddings.position_embedding.weight", (image.tokens, image.width), same)
    yield from norm("image.norm_pre", f"{vision}.pre_layrnorm", image.width)
    yield from norm("image.norm_post", f"{vision}.post_layernorm", image.width)
    yield "image_projection.kernel", Piece("visual_projection.weight", (config.embed, image.width), turned)
    yield "text.token_embedding", Piece(f"{language}.embeddings.token_embedding.weight", (text.vocab, text.width), same)
    yield "text.position_embedding", Piece(f"{language}.embeddings.position_embedding.weight", (text.context, text.width), same)
    yield from norm("text.norm_final", f"{language}.final_layer_norm", text.width)
    yield "text_projection.kernel", Piece("text_projection.weight", (config.embed, text.width), turned)
    yield "log_logit_scale", Piece("logit_scale", (), same)
    for tower, theirs, part in (("image", vision, image), ("text", language, text)):
        for i in range(part.depth):
            block, layer, D = f"{tower}.blocks.{i}", f"{theirs}.encoder.layers.{i}", part.width
            yield from norm(f"{block}.norm_1", f"{layer}.layer_norm1", D)
            yield from norm(f"{block}.norm_2", f"{layer}.layer_norm2", D)
            for name, other in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "out_proj")):
                yield from linear(f"{block}.attention.{name}", f"{layer}.self_attn.{other}", (D, D))
            yield from linear(f"{block}.mlp.up", f"{layer}.mlp.fc1", (part.mlp, D))
            yield from linear(f"{block}.mlp.down", f"{layer}.mlp.fc2", (D, part.mlp))


def openai(config: CLIPConfig, prefix: str = "") -> Iterator[tuple[str, Piece]]:
    """Our names -> those of OpenAI's state dict; open_clip has the same, some of its models with the text tower under the prefix `text.`."""
    image, text = config.image, config.text
    yield "image.patch_embedding.kernel", Piece("visual.conv1.weight", (image.width, 3, image.patch, image.patch), from_convolution)
    yield "image.class_embedding", Piece("visual.class_embedding", (image.width,), same)
    yield "image.position_embedding", Piece("visual.positional_embedding", (image.tokens, image.width), same)
    yield from norm("image.norm_pre", "visual.ln_pre", image.width)
    yield from norm("image.norm_post", "visual.ln_post", image.width)
    yield "image_projection.kernel", Piece("visual.proj", (image.width, config.embed), same)
    yield "text.token_embedding", Piece(f"{prefix}token_embedding.weight", (text.vocab, text.width), same)
    yield "text.position_embedding", Piece(f"{prefix}positional_embedding", (text.context, text.width), same)
    yield from norm("text.norm_final", f"{prefix}ln_final", text.width)
    yield "text_projection.kernel", Piece(f"{prefix}text_projection", (text.width, config.embed), same)
    yield "log_logit_scale", Piece("logit_scale", (), same)
    if config.loss == "sigmoid":
        yield "logit_bias", Piece("logit_bias", (), same)
    for tower, theirs, part in (("image", "visual.", image), ("text", prefix, text)):
        for i in range(part.depth):
            block, layer, D = f"{tower}.blocks.{i}", f"{theirs}transformer.resblocks.{i}", part.width
            yield from norm(f"{block}.norm_1", f"{layer}.ln_1", D)
            yield from norm(f"{block}.norm_2", f"{layer}.ln_2", D)
            for k, name in enumerate(("query", "key", "value")):
                yield f"{block}.attention.{name}.kernel", Piece(f"{layer}.attn.in_proj_weight", (3 * D, D), third(k, turned))
                yield f"{block}.attention.{name}.bias", Piece(f"{layer}.attn.in_proj_bias", (3 * D,), third(k, same))
            yield from linear(f"{block}.attention.out", f"{layer}.attn.out_proj", (D, D))
            yield from linear(f"{block}.mlp.up", f"{layer}.mlp.c_fc", (part.mlp, D))
            yield from linear(f"{block}.mlp.down", f"{layer}.mlp.c_proj", (D, part.mlp))


def to_hugging_face(params: dict[str, Tensor], config: CLIPConfig) -> dict[str, Tensor]:
    """Our parameters by dotted name, as `transformers.CLIPModel` names and turns them."""
    back = {from_convolution: to_convolution}
    return {piece.name: np.array(back.get(piece.take, piece.take)(params[ours]), order="C") for ours, piece in hugging_face(config)}
