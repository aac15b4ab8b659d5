"""Make tests/peers/fixtures/ with Hugging Face's own CLIP: small snapshots with random weights, and all that it computes from them.

    pip install -e ".[peers]" && python tests/peers/make_fixtures.py

Each folder is a snapshot as `save_pretrained` writes it, beside `expected.safetensors`: inputs, hidden states after every block, pooled and
projected vectors, logits. `openai/` holds the first one's weights under OpenAI's names, put together with torch alone.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from tinyclip.bpe import train

FIXTURES = Path(__file__).parent / "fixtures"
CAPTIONS = ["a red circle left of a blue square", "a large green heart", "a cat sitting on a mat", "something striped, isn't it?"]
BPE = train(CAPTIONS, 20)
V = BPE.vocab
MODELS = {  # all sizes differ; grids of 3, 4 and 2; both activations; the end token named, and left as the 2 of old configs
    "quick_gelu": {
        "projection_dim": 10,
        "vision_config": {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 15,
                          "patch_size": 5, "hidden_act": "quick_gelu"},
        "text_config": {"vocab_size": V, "hidden_size": 16, "intermediate_size": 28, "num_hidden_layers": 3, "num_attention_heads": 2,
                        "max_position_embeddings": 14, "hidden_act": "quick_gelu", "eos_token_id": V - 1, "bos_token_id": V - 2},
    },
    "gelu": {
        "projection_dim": 22,
        "vision_config": {"hidden_size": 20, "intermediate_size": 36, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 12,
                          "patch_size": 3, "hidden_act": "gelu", "layer_norm_eps": 1e-3},
        "text_config": {"vocab_size": V, "hidden_size": 18, "intermediate_size": 30, "num_hidden_layers": 1, "num_attention_heads": 3,
                        "max_position_embeddings": 11, "hidden_act": "gelu", "layer_norm_eps": 1e-2, "eos_token_id": V - 1, "bos_token_id": V - 2},
    },
    "legacy": {
        "projection_dim": 12,
        "vision_config": {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4, "image_size": 14,
                          "patch_size": 7, "hidden_act": "quick_gelu"},
        "text_config": {"vocab_size": V, "hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 3,
                        "max_position_embeddings": 9, "hidden_act": "quick_gelu", "eos_token_id": 2, "bos_token_id": 0},
    },
}  # fmt: skip


def random_model(config: dict, seed: int) -> CLIPModel:
    """Random numbers in every parameter: fresh biases are 0 and fresh gains 1, and would hide a slip."""
    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(**config)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            if name == "logit_scale":
                parameter.fill_(2.3)
            elif parameter.ndim == 1:
                parameter.copy_(0.5 * noise + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
            else:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
    return model


def expected(model: CLIPModel, name: str, seed: int) -> dict[str, torch.Tensor]:
    """Inputs, and what the model makes of them."""
    config, generator = model.config, np.random.default_rng(seed)
    size, context = config.vision_config.image_size, config.text_config.max_position_embeddings
    images = torch.tensor(generator.normal(size=(3, 3, size, size)), dtype=torch.float32)
    tokens = torch.tensor(generator.integers(3, V - 2, size=(4, context)))
    for row, end in zip(tokens, (2, context // 2, context - 2, context - 1), strict=True):  # the end token inside and at the last position
        row[0], row[end], row[end + 1 :] = V - 2, V - 1, 0
    with torch.no_grad():
        vision = model.vision_model(pixel_values=images, output_hidden_states=True)
        text = model.text_model(input_ids=tokens, output_hidden_states=True)
        whole = model(input_ids=tokens, pixel_values=images)
        found = {
            "images": images.permute(0, 2, 3, 1), "tokens": tokens.int(),
            "image_pooled": vision.pooler_output, "text_pooled": text.pooler_output,
            "image_projected": model.visual_projection(vision.pooler_output), "text_projected": model.text_projection(text.pooler_output),
            "image_embeddings": whole.image_embeds, "text_embeddings": whole.text_embeds, "logits": whole.logits_per_image,
        }  # fmt: skip
        for tower, states in (("image", vision.hidden_states), ("text", text.hidden_states)):
            found |= {f"{tower}_{i}": state for i, state in enumerate(states)}
    shortest = model(input_ids=tokens[:, :3][:1], pixel_values=images).text_embeds.detach()  # a shorter array of tokens
    return {key: value.contiguous() for key, value in (found | {"text_embeddings_of_3": shortest}).items()}


def openai_names(model: CLIPModel) -> dict[str, torch.Tensor]:
    """The same weights as OpenAI keeps them."""
    state, found = model.state_dict(), {}

    def block(theirs: str, ours: str) -> None:
        found[f"{ours}.attn.in_proj_weight"] = torch.cat([state[f"{theirs}.self_attn.{k}_proj.weight"] for k in "qkv"])
        found[f"{ours}.attn.in_proj_bias"] = torch.cat([state[f"{theirs}.self_attn.{k}_proj.bias"] for k in "qkv"])
        for a, b in (("self_attn.out_proj", "attn.out_proj"), ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"), ("mlp.fc1", "mlp.c_fc"),
                     ("mlp.fc2", "mlp.c_proj")):  # fmt: skip
            for kind in ("weight", "bias"):
                found[f"{ours}.{b}.{kind}"] = state[f"{theirs}.{a}.{kind}"]

    config = model.config
    for tower, part, ours in (("vision", config.vision_config, "visual."), ("text", config.text_config, "")):
        for i in range(part.num_hidden_layers):
            block(f"{tower}_model.encoder.layers.{i}", f"{ours}transformer.resblocks.{i}")
    vision, text = "vision_model.embeddings", "text_model.embeddings"
    found |= {
        "visual.conv1.weight": state[f"{vision}.patch_embedding.weight"], "visual.class_embedding": state[f"{vision}.class_embedding"],
        "visual.positional_embedding": state[f"{vision}.position_embedding.weight"], "visual.proj": state["visual_projection.weight"].T,
        "token_embedding.weight": state[f"{text}.token_embedding.weight"], "positional_embedding": state[f"{text}.position_embedding.weight"],
        "text_projection": state["text_projection.weight"].T, "logit_scale": state["logit_scale"],
        "input_resolution": torch.tensor(model.config.vision_config.image_size), "context_length": torch.tensor(9), "vocab_size": torch.tensor(V),
    }  # fmt: skip
    for a, b in (("vision_model.pre_layrnorm", "visual.ln_pre"), ("vision_model.post_layernorm", "visual.ln_post"),
                 ("text_model.final_layer_norm", "ln_final")):  # fmt: skip
        found |= {f"{b}.{kind}": state[f"{a}.{kind}"] for kind in ("weight", "bias")}
    return {name: tensor.contiguous().clone() for name, tensor in found.items()}


def write(name: str, config: dict, seed: int) -> None:
    """One snapshot with its expected numbers."""
    folder, model = FIXTURES / name, random_model(config, seed)
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    save_file(expected(model, name, seed), folder / "expected.safetensors")
    (folder / "vocab.json").write_text(json.dumps(BPE.ids))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, BPE.merges)]) + "\n")
    size = config["vision_config"]["image_size"]
    processor = CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    processor.save_pretrained(folder)


def pictures() -> None:
    """Bytes of odd sizes, and what Hugging Face's slow (Pillow) processor makes of them at 15 pixels."""
    generator, found = np.random.default_rng(5), {}
    processor = CLIPImageProcessor(size={"shortest_edge": 15}, crop_size={"height": 15, "width": 15})
    for k, (height, width) in enumerate(((23, 17), (16, 31), (15, 15), (9, 40), (64, 48))):
        coarse = generator.integers(0, 256, size=(max(2, height // 4), max(2, width // 4), 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        found[f"picture_{k}"] = torch.tensor(np.asarray(picture))
        found[f"pixels_{k}"] = processor(picture, return_tensors="pt")["pixel_values"][0].permute(1, 2, 0).contiguous()
    save_file(found, FIXTURES / "pictures.safetensors")


def main() -> None:
    shutil.rmtree(FIXTURES, ignore_errors=True)
    for seed, (name, config) in enumerate(MODELS.items()):
        write(name, config, seed)
    (FIXTURES / "openai").mkdir()
    # 64-wide heads are part of OpenAI's names, so this one has one head a tower of 64 and 128 numbers.
    wide = {"hidden_size": 64, "num_attention_heads": 1, "intermediate_size": 32, "num_hidden_layers": 1}
    config = MODELS["quick_gelu"] | {"vision_config": MODELS["quick_gelu"]["vision_config"] | wide,
                                     "text_config": MODELS["quick_gelu"]["text_config"] | wide | {"num_hidden_layers": 2}}  # fmt: skip
    model = random_model(config, 9).half().float()
    save_file({name: tensor.half() for name, tensor in openai_names(model).items()}, FIXTURES / "openai" / "model.safetensors")
    save_file(expected(model, "openai", 9), FIXTURES / "openai" / "expected.safetensors")
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(FIXTURES / "quick_gelu" / name, FIXTURES / "openai" / name)
    pictures()
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "python": sys.version.split()[0]}
    (FIXTURES / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")
    print(f"{sum(path.stat().st_size for path in FIXTURES.rglob('*') if path.is_file()):,} bytes in {FIXTURES}")


if __name__ == "__main__":
    main()
