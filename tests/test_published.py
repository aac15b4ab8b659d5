"""CLIP as others publish it: files of Hugging Face, OpenAI and open_clip give Hugging Face's own numbers, which tests/peers/make_fixtures.py made."""

import json
import math
import shutil
import struct
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import call, check, raises_one_sentence, randomised, seeded
from PIL import Image
from safetensors.numpy import load_file, save_file
from trained import fails, works

import tinyclip
from tinyclip import bundle as bundles
from tinyclip import openai, published
from tinyclip.bpe import BPE, CLIP_MERGES
from tinyclip.clip import CLIP, blueprint
from tinyclip.config import CLIPConfig
from tinyclip.encoders import patchify, run_blocks
from tinyclip.errors import UserError
from tinyclip.weights import dotted

FIXTURES = Path(__file__).parent / "peers" / "fixtures"
MODELS = ("quick_gelu", "gelu", "legacy", "openai")


@pytest.fixture(autouse=True)
def exact():
    with jax.default_matmul_precision("highest"):
        yield


@cache
def loaded(name):
    return tinyclip.load(FIXTURES / name)


@cache
def expected(name):
    return load_file(FIXTURES / name / "expected.safetensors")


@cache
def computed(name):
    """All that our model computes on the same inputs."""
    model, wanted = loaded(name).model, expected(name)

    @jax.jit
    def run(images, tokens):
        return model.encode_image(images, intermediates=True), model.encode_text(tokens, intermediates=True)

    return run(wanted["images"], wanted["tokens"])


@pytest.mark.parametrize("name", MODELS)
def test_hidden_states_pooled_and_projected_vectors_are_hugging_faces(name):
    wanted = expected(name)
    for tower, (embeddings, record) in zip(("image", "text"), computed(name), strict=True):
        check(f"{name}: the {tower} tower's input", record["tokens"], wanted[f"{tower}_0"], 1e-5)
        depth = getattr(loaded(name).config, tower).depth
        for i in range(depth):
            check(f"{name}: {tower} after block {i}", record[f"block_{i}"], wanted[f"{tower}_{i + 1}"], 1e-5)
        for ours, theirs in (("pooled", "pooled"), ("projected", "projected")):
            check(f"{name}: {tower} {ours}", record[ours], wanted[f"{tower}_{theirs}"], 1e-5)
        check(f"{name}: {tower} embeddings", embeddings, wanted[f"{tower}_embeddings"], 1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_hugging_faces(name):
    wanted, (images, _), (texts, _) = expected(name), *computed(name)
    scale = loaded(name).model.logit_scale
    check(f"{name}: logits", scale * images @ texts.T, wanted["logits"], 1e-5, "exp(logit_scale) times the cosines")


@pytest.mark.parametrize("name", MODELS)
def test_a_shorter_array_of_tokens_gives_hugging_faces_vectors(name):
    wanted = expected(name)
    check(f"{name}: sentences of 3", call(loaded(name).model.encode_text, wanted["tokens"][:1, :3]), wanted["text_embeddings_of_3"], 1e-5)


def test_every_configuration_is_what_the_files_say():
    config = loaded("gelu").config
    assert (config.image.activation, config.image.eps, config.text.eps) == ("gelu", 1e-3, 1e-2)
    assert (config.image.size, config.image.patch, config.image.width, config.image.heads, config.image.mlp) == (12, 3, 20, 2, 36)
    assert (config.text.context, config.text.depth, config.embed) == (11, 1, 22)
    assert config.image.mean == (0.48145466, 0.4578275, 0.40821073) and config.image.std == (0.26862954, 0.26130258, 0.27577711)
    assert loaded("legacy").config.text.end_token == loaded("legacy").config.text.vocab - 1, "an end token of 2 is an old config's"


# Preprocessing and tokens


@pytest.mark.parametrize("k", range(5))
def test_pixels_are_hugging_faces(k):
    """Pillow's bicubic on bytes, shortest side, centre cut, mean and std."""
    stored = load_file(FIXTURES / "pictures.safetensors")
    got = loaded("quick_gelu").preprocess([Image.fromarray(stored[f"picture_{k}"])])[0]
    check(f"a picture of {stored[f'picture_{k}'].shape[:2]} at 15 pixels", got, stored[f"pixels_{k}"], 1e-5)


def test_sentences_become_rows_of_the_models_context():
    tokenizer = loaded("quick_gelu").tokenizer
    rows = tokenizer(["a red circle", "a cat sitting on a mat " * 9], truncate=True)
    assert rows.shape == (2, 14) and rows[0, 0] == tokenizer.start and (rows == tokenizer.end).sum(1).tolist() == [1, 1]
    assert rows[1, -1] == tokenizer.end, "what is cut keeps its end token"
    raises_one_sentence(UserError, lambda: tokenizer(["a cat sitting on a mat " * 9]), "room for 12")


def test_clips_published_vocabulary_gives_openais_ids():
    """Clean-up, split, merges in their order, 77 places, the end token kept. The merges not needed here are filled with pairs that never occur."""
    stored = json.loads((FIXTURES / "published_tokens.json").read_text(encoding="utf-8"))
    needed = {int(rank): tuple(pair.split()) for rank, pair in stored["merges"].items()}
    tokenizer = BPE(tuple(needed.get(rank, (f"<{rank}", ">")) for rank in range(CLIP_MERGES)))
    assert (tokenizer.vocab, tokenizer.start, tokenizer.end) == (49408, 49406, 49407)
    for sentence, ids in stored["ids"].items():
        got = tokenizer([sentence], truncate=True)[0].tolist()
        assert got == ids + [0] * (77 - len(ids)), f"{sentence!r}: want {ids}, got {got}"
    assert len(stored["ids"]["the " * 90]) == 77, "the longest sentence is cut, and ends with its end token"


def test_a_tokenizer_json_is_as_good_as_vocabulary_and_merges(tmp_path):
    folder = copied("quick_gelu", tmp_path)
    vocab, merges = json.loads((folder / "vocab.json").read_text()), (folder / "merges.txt").read_text().splitlines()[1:]
    for form in (merges, [line.split() for line in merges]):  # older and newer files
        for damaged in ({"model": [1]}, {"model": {"type": "WordLevel", "vocab": 5}}, {"model": {"type": "BPE", "vocab": [1], "merges": form}}):
            (folder / "tokenizer.json").write_text(json.dumps(damaged))
            raises_one_sentence(UserError, lambda folder=folder: tinyclip.load(folder), str(folder / "tokenizer.json"), "damaged")
        (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": vocab, "merges": form}}))
        for name in ("vocab.json", "merges.txt"):
            (folder / name).unlink(missing_ok=True)
        assert tinyclip.load(folder).tokenizer == loaded("quick_gelu").tokenizer


# Other forms of the same weights


def copied(name, tmp_path, **tensors):
    """A copy of a fixture's folder, with its tensors changed."""
    folder = tmp_path / name
    shutil.copytree(FIXTURES / name, folder, ignore=shutil.ignore_patterns("expected*"))
    if tensors:
        save_file(load_file(folder / "model.safetensors") | tensors, folder / "model.safetensors")
    return folder


def flat(bundle):
    return bundles.flat(nnx.state(bundle.model, nnx.Param))


def same_parameters(a, b, tolerance=0.0):
    a, b = flat(a), flat(b)
    assert a.keys() == b.keys()
    for name in a:
        check(name, a[name], b[name], tolerance)


def test_sharded_files_are_read_through_their_index(tmp_path):
    folder = copied("quick_gelu", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, mine in parts.items():
        save_file({name: tensors[name] for name in mine}, folder / file)
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {name: file for file, mine in parts.items() for name in mine}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    same_parameters(tinyclip.load(folder), loaded("quick_gelu"))
    index["weight_map"][names[0]] = "../elsewhere.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    raises_one_sentence(UserError, lambda: tinyclip.load(folder), "../elsewhere.safetensors", "refused")
    index["weight_map"][names[0]] = "model-00002-of-00002.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    raises_one_sentence(UserError, lambda: tinyclip.load(folder), names[0], "but it does not")


@pytest.mark.parametrize(("kind", "tolerance"), [("float16", 1e-3), ("bfloat16", 1e-2)])
def test_half_precision_files_are_read_as_float32(kind, tolerance, tmp_path):
    folder = copied("quick_gelu", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: np.asarray(jnp.asarray(x).astype(kind)) for name, x in tensors.items()}, folder / "model.safetensors")
    bundle = tinyclip.load(folder)
    assert {x.dtype for x in flat(bundle).values()} == {np.dtype(np.float32)}
    same_parameters(bundle, loaded("quick_gelu"), tolerance)


def test_open_clips_prefix_and_config_are_understood(tmp_path):
    folder = copied("openai", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tower = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection")
    renamed = {f"text.{name}" if name.startswith(tower) else name: x for name, x in tensors.items()}
    save_file(renamed, folder / "open_clip_model.safetensors")
    (folder / "model.safetensors").unlink()
    told = {"model_cfg": {"vision_cfg": {}, "text_cfg": {"heads": 1}}, "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]}}
    (folder / "open_clip_config.json").write_text(json.dumps(told))
    bundle = tinyclip.load(folder)
    same_parameters(bundle, loaded("openai"))
    assert bundle.config.image.activation == bundle.config.text.activation == "gelu", "open_clip's own models use GELU unless they say quick_gelu"
    assert (bundle.config.image.mean, bundle.config.image.std) == ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": told["model_cfg"] | {"quick_gelu": True}}))
    assert tinyclip.load(folder).config == loaded("openai").config


def test_open_clips_logit_bias_is_read(tmp_path):
    folder = copied("openai", tmp_path)
    save_file(load_file(folder / "model.safetensors") | {"logit_bias": np.array(-7.5, np.float32)}, folder / "model.safetensors")
    bundle = tinyclip.load(folder)
    assert bundle.config.loss == "sigmoid", "a model with a logit_bias was trained with the sigmoid loss"
    assert bundle.model.logit_bias[...] == -7.5, f"its bias is -7.5, got {bundle.model.logit_bias[...]}"


def test_heads_are_64_wide_in_openais_names(tmp_path):
    assert loaded("openai").config.image.heads == 1 and loaded("openai").config.image.width == 64
    folder = copied("openai", tmp_path)

    def told(width):
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"vision_cfg": {"head_width": width}, "text_cfg": {"heads": 1}}}))

    told(16)
    assert tinyclip.load(folder).config.image.heads == 4, "unless open_clip's config says that they are 16 wide"
    for wrong in (0, "wide", -16):
        told(wrong)
        raises_one_sentence(UserError, lambda: tinyclip.load(folder), "open_clip_config.json", f"{wrong!r} wide")


# A wrong mapping cannot pass


SLIPS = {
    "query weights not turned": lambda p: turn(p, "image.blocks.0.attention.query.kernel"),
    "key weights not turned": lambda p: turn(p, "text.blocks.0.attention.key.kernel"),
    "value weights not turned": lambda p: turn(p, "image.blocks.1.attention.value.kernel"),
    "output weights not turned": lambda p: turn(p, "text.blocks.1.attention.out.kernel"),
    "up and down not turned": lambda p: p | {
        "image.blocks.0.mlp.up.kernel": p["image.blocks.0.mlp.up.kernel"].T.reshape(p["image.blocks.0.mlp.up.kernel"].shape),
        "image.blocks.0.mlp.down.kernel": p["image.blocks.0.mlp.down.kernel"].T.reshape(p["image.blocks.0.mlp.down.kernel"].shape),
    },
    "projection not turned": lambda p: p | {"image_projection.kernel": p["image_projection.kernel"].T.reshape(p["image_projection.kernel"].shape)},
    "text projection not turned": lambda p: p | {"text_projection.kernel": p["text_projection.kernel"].T.reshape(p["text_projection.kernel"].shape)},
    "patches as (channel, y, x)": lambda p: p | {"image.patch_embedding.kernel": channels_first(p["image.patch_embedding.kernel"])},
    "patches as (x, y, channel)": lambda p: p | {"image.patch_embedding.kernel": columns_first(p["image.patch_embedding.kernel"])},
    "query and key exchanged": lambda p: swap(p, "image.blocks.0.attention.query", "image.blocks.0.attention.key"),
    "key and value exchanged": lambda p: swap(p, "text.blocks.0.attention.key", "text.blocks.0.attention.value"),
    "the LayerNorms of a block exchanged": lambda p: swap(p, "text.blocks.0.norm_1", "text.blocks.0.norm_2"),
    "norm_pre and norm_post exchanged": lambda p: swap(p, "image.norm_pre", "image.norm_post"),
    "class token's position last": lambda p: p | {"image.position_embedding": np.roll(p["image.position_embedding"], -1, axis=0)},
    "blocks in another order": lambda p: swap(p, "text.blocks.0.", "text.blocks.1."),
    "scale not exponentiated": lambda p: p | {"log_logit_scale": np.log(p["log_logit_scale"])},
}  # fmt: skip


def turn(params, name):
    return params | {name: params[name].T}


def swap(params, one, other):
    there = {name: x for name, x in params.items() if name.startswith(one)}
    return params | {n.replace(one, other): x for n, x in there.items()} | {n: params[n.replace(one, other)] for n in there}


def channels_first(kernel):
    return kernel.reshape(5, 5, 3, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)


def columns_first(kernel):
    return kernel.reshape(5, 5, 3, -1).transpose(1, 0, 2, 3).reshape(kernel.shape)


@cache
def logits_run(config):
    """One compilation for all slips: parameters by dotted name -> logits of the stored inputs."""
    wanted = expected("quick_gelu")
    graphdef, state = blueprint(config)

    @jax.jit
    def run(params):
        leaves = [(path, leaf.replace(params[dotted(path)])) for path, leaf in nnx.to_flat_state(state)]
        images, texts, scale = nnx.merge(graphdef, nnx.from_flat_state(leaves))(wanted["images"], wanted["tokens"])
        return scale * images @ texts.T

    return run


def logits_of(params, config=None):
    return np.asarray(logits_run(config or loaded("quick_gelu").config)({name: jnp.asarray(x) for name, x in params.items()}))


@pytest.mark.parametrize("slip", SLIPS)
def test_a_wrong_mapping_would_be_seen(slip):
    right = flat(loaded("quick_gelu"))
    check("the logits without a slip", logits_of(right), expected("quick_gelu")["logits"], 1e-5)
    error = np.abs(logits_of(SLIPS[slip](right)) - expected("quick_gelu")["logits"]).max()
    assert not error < 1e-3, f"{slip}: the logits move by only {error:.1g}, so the comparison with Hugging Face's would not notice it"


@pytest.mark.parametrize("tower", ["image", "text"])
def test_the_wrong_activation_would_be_seen(tower):
    bundle = loaded("quick_gelu")
    config = replace(bundle.config, **{tower: replace(getattr(bundle.config, tower), activation="gelu")})
    error = np.abs(logits_of(flat(bundle), config) - expected("quick_gelu")["logits"]).max()
    assert error > 1e-3, f"GELU for QuickGELU moves the logits by only {error:.1g}"


def test_the_class_token_last_would_be_seen():
    """Patches first, then the class token, which is read at the end: the same set of tokens, were it not for their positions."""
    bundle, wanted = loaded("quick_gelu"), expected("quick_gelu")
    encoder = bundle.model.image

    def class_token_last(images):
        patches = encoder.patch_embedding(patchify(images, 5))
        last = jnp.broadcast_to(encoder.class_embedding[...], (3, 1, 24))
        x = encoder.norm_pre(jnp.concatenate([patches, last], axis=1) + encoder.position_embedding[...])
        return encoder.norm_post(run_blocks(encoder.blocks, x, None, jnp.full(3, 9), None))

    pooled = call(class_token_last, jnp.asarray(wanted["images"]))
    assert np.abs(np.asarray(pooled) - wanted["image_pooled"]).max() > 1e-3


# And back


def test_a_published_model_written_for_hugging_face_comes_back_bit_for_bit(tmp_path):
    for name in ("quick_gelu", "gelu"):
        bundle = loaded(name)
        bundles.save_for_hugging_face(tmp_path / name, bundle)
        again = tinyclip.load(tmp_path / name)
        same_parameters(again, bundle)
        assert again.config == bundle.config and again.tokenizer == bundle.tokenizer
        theirs, ours = load_file(FIXTURES / name / "model.safetensors"), load_file(tmp_path / name / "model.safetensors")
        assert theirs.keys() == ours.keys()
        for tensor in theirs:
            check(tensor, ours[tensor], theirs[tensor], 0)


def test_our_own_model_goes_there_and_back(tmp_path):
    bundle = tinyclip.load("sixteen")
    bundles.save_for_hugging_face(tmp_path / "hf", bundle)
    again = tinyclip.load(tmp_path / "hf")
    same_parameters(again, bundle)
    assert again.config == bundle.config
    sentences = ["a red circle", "A blue square!"]
    assert np.array_equal(again.tokenizer(sentences), bundle.tokenizer(sentences))


def test_a_published_model_saved_as_ours_comes_back(tmp_path):
    bundles.save_bundle(tmp_path / "ours", loaded("gelu"))
    again = tinyclip.load(tmp_path / "ours")
    same_parameters(again, loaded("gelu"))
    assert again.config == loaded("gelu").config and again.tokenizer == loaded("gelu").tokenizer


def test_a_model_with_room_for_more_tokens_than_its_tokenizer_knows_is_saved_as_ours(tmp_path):
    wide = loaded("gelu")
    more = replace(wide.config, text=replace(wide.config.text, vocab=wide.config.text.vocab + 5))
    bundles.save_bundle(tmp_path / "ours", replace(wide, model=randomised(lambda: CLIP(more, rngs=nnx.Rngs(0)))))
    assert tinyclip.load(tmp_path / "ours").config == more


def test_a_model_with_a_logit_bias_is_refused(tmp_path):
    config = replace(loaded("gelu").config, loss="sigmoid")
    model = randomised(lambda: CLIP(config, rngs=nnx.Rngs(0)))
    bundle = replace(loaded("gelu"), model=model)
    raises_one_sentence(UserError, lambda: bundles.save_for_hugging_face(tmp_path / "x", bundle), "logit bias")
    assert not (tmp_path / "x").exists()


# Another size of picture, on request


def cubic(t):
    """The bicubic curve of Keys, a = -1/2."""
    t = abs(t)
    return 1.5 * t**3 - 2.5 * t**2 + 1 if t <= 1 else -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


def resized_by_loops(line, new):
    """Numbers at the middles of `old` cells, read at the middles of `new` cells; where they shrink, each reads over a wider stretch."""
    old, stretch, result = len(line), max(1.0, len(line) / new), []
    for k in range(new):
        place = (k + 0.5) * old / new - 0.5
        weights = [cubic((i - place) / stretch) for i in range(old)]
        result.append(sum(w * x for w, x in zip(weights, line, strict=True)) / sum(weights))
    return result


@pytest.mark.exercise("18.2")
@pytest.mark.parametrize(("old", "new"), [(3, 5), (4, 2)], ids=["larger", "smaller"])
def test_positions_are_resized_as_a_square_and_the_class_token_is_kept(old, new):
    positions = seeded(old).normal(size=(1 + old * old, 6)).astype(np.float32)
    got = published.resize_positions(jnp.asarray(positions), new)
    square = np.array([[resized_by_loops(positions[1:].reshape(old, old, 6)[:, c, d], new) for c in range(old)] for d in range(6)])  # (6, old, new)
    square = np.array([[resized_by_loops(square[d, :, r], new) for r in range(new)] for d in range(6)])  # (6, new rows, new columns)
    want = np.concatenate([positions[:1], square.transpose(1, 2, 0).reshape(new * new, 6)]).astype(np.float32)
    check(f"resize_positions of a {old} x {old} grid to {new} x {new}", got, want, 1e-5, "row 0 is the class token's")


@pytest.mark.exercise("18.1")
@pytest.mark.parametrize("kind", [np.float32, np.float64], ids=["float32", "float64"])
def test_a_convolution_with_stride_p_is_a_linear_layer_on_patches(kind):
    rng, P, D = seeded(1), 4, 5
    filters, picture = rng.normal(size=(D, 3, P, P)).astype(kind), rng.normal(size=(P, P, 3)).astype(kind)
    slid = np.array([sum(filters[d, c, y, x] * picture[y, x, c] for c in range(3) for y in range(P) for x in range(P)) for d in range(D)])
    kernel = openai.from_convolution(filters)
    want = np.array([[filters[d, c, y, x] for d in range(D)] for y in range(P) for x in range(P) for c in range(3)])
    hint = "row (y P + x) 3 + c holds every filter's number for pixel (y, x), channel c"
    check(f"from_convolution of {D} filters of 3 x {P} x {P}", kernel, want, 0, hint)
    check("a patch, laid out as (y, x, channel), times the kernel", picture.reshape(-1) @ kernel, slid, 1e-5)


def test_positions_are_resized_on_request():
    bundle = tinyclip.load(FIXTURES / "quick_gelu", image_size=25)
    assert bundle.config.image.size == 25 and bundle.model.image.position_embedding[...].shape == (26, 24)
    before = loaded("quick_gelu").model.image.position_embedding[...]
    check("the class token's position", bundle.model.image.position_embedding[...][0], before[0], 0)
    assert bundle.embed_images([Image.new("RGB", (31, 29), "red")]).shape == (1, 10)
    for size in (26, 0, -5):
        raises_one_sentence(UserError, lambda size=size: tinyclip.load(FIXTURES / "quick_gelu", image_size=size), f"{size} pixels", "patches of 5")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(10, 4)), jnp.float32)
    check("a grid resized to its own size", published.resize_positions(x, 3), x, 1e-6)
    flat_grid = jnp.concatenate([x[:1], jnp.ones((9, 4))])
    check("a flat grid stays flat", published.resize_positions(flat_grid, 7)[1:], jnp.ones((49, 4)), 1e-5)


# The commands


def test_the_commands_work_on_a_published_model_unchanged(tmp_path):
    model, pictures = FIXTURES / "quick_gelu", tmp_path / "pictures"
    pictures.mkdir()
    captions = ["a cat", "a red cat", "a mat"]
    for name, colour in zip("abc", ("red", "green", "blue"), strict=True):
        Image.new("RGB", (40, 33), colour).save(pictures / f"{name}.png")
    rows = [{"file_name": f"{name}.png", "text": text} for name, text in zip("abc", captions, strict=True)]
    (pictures / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "captions.txt").write_text("\n".join(captions))
    classified = works("classify", model, pictures / "a.png", *captions)
    assert all(caption in classified for caption in captions)
    assert "a mat" in works("caption", model, pictures / "b.png", "--captions", tmp_path / "captions.txt", "-k", 3)
    assert "a.png" in works("search", model, "a cat", "--images", pictures, "-k", 3, "--out", tmp_path / "grid.png")
    scores = json.loads(works("evaluate", model, "--data", pictures, "--json"))
    assert {"image_to_text_recall_at_1", "text_to_image_recall_at_1", "logit_scale", "modality_gap"} <= scores.keys()
    works("export", model, tmp_path / "ours")
    same_parameters(tinyclip.load(tmp_path / "ours"), loaded("quick_gelu"))
    works("export", tmp_path / "ours", tmp_path / "theirs", "--format", "hf")
    same_parameters(tinyclip.load(tmp_path / "theirs"), loaded("quick_gelu"))
    fails("evaluate", model, names=("--world", "--data"))
    fails("search", model, "a cat", names=("--images",))
    fails("caption", model, pictures / "b.png", names=("--captions",))
    fails("plot", model, names=("quick_gelu",))


# Bad files


def spoiled(change):
    def make(folder):
        data = json.loads((folder / "config.json").read_text())
        change(data)
        (folder / "config.json").write_text(json.dumps(data))

    return make


def header(folder, edit):
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    data = json.loads(raw[8 : 8 + length])
    edit(data)
    text = json.dumps(data).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


def overlap(data):
    first, second = [name for name in data if name != "__metadata__"][:2]
    data[first]["data_offsets"] = data[second]["data_offsets"]


def resave(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


BAD = {
    "a missing tensor": (lambda f: resave(f, lambda t: t.pop("logit_scale")), ("lacks", "logit_scale")),
    "a tensor too many": (lambda f: resave(f, lambda t: t.update(extra=np.zeros(3, np.float32))), ("beyond", "extra")),
    "a wrong shape": (lambda f: resave(f, lambda t: t.update(logit_scale=np.zeros((2, 2), np.float32))), ("logit_scale", "(2, 2)")),
    "whole numbers": (lambda f: resave(f, lambda t: t.update({"visual_projection.weight": np.zeros((10, 24), np.int8)})), ("I8", "quantised")),
    "a truncated file": (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-100]), ("damaged",)),
    "a header of 2^60 bytes": (lambda f: (f / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}" * 40), ("damaged",)),
    "a header that is no JSON": (lambda f: (f / "model.safetensors").write_bytes(struct.pack("<Q", 8) + b"not json"), ("damaged",)),
    "overlapping tensors": (lambda f: header(f, overlap), ("damaged",)),
    "an empty file": (lambda f: (f / "model.safetensors").write_bytes(b""), ("damaged",)),
    "a pickle": (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), ("pickle", "safetensors")),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), ("model.safetensors is missing",)),
    "a width of 0": (spoiled(lambda d: d["vision_config"].update(hidden_size=0)), ("image.width",)),
    "a width that is text": (spoiled(lambda d: d["text_config"].update(hidden_size="wide")), ("config.json",)),
    "a huge width": (spoiled(lambda d: d["text_config"].update(hidden_size=1 << 40)), ("text.width",)),
    "heads that do not fit": (spoiled(lambda d: d["vision_config"].update(num_attention_heads=7)), ("7 heads",)),
    "another activation": (spoiled(lambda d: d["vision_config"].update(hidden_act="gelu_new")), ("gelu_new", "quick_gelu")),
    "a config that is a list": (lambda f: (f / "config.json").write_text("[]"), ("config.json",)),
    "a tower that is a number": (spoiled(lambda d: d.update(vision_config=3)), ("config.json",)),
    "an epsilon that is text": (spoiled(lambda d: d["text_config"].update(layer_norm_eps="tiny")), ("config.json",)),
    "grey pictures": (spoiled(lambda d: d["vision_config"].update(num_channels=1)), ("1 channels",)),
    "another end token": (spoiled(lambda d: d["text_config"].update(eos_token_id=7)), ("reads at 7",)),
    "no merges": (lambda f: (f / "merges.txt").unlink(), ("merges.txt",)),
    "merges out of order": (lambda f: (f / "merges.txt").write_text("ab c\na b\n"), ("out of order",)),
    "another vocabulary": (lambda f: (f / "vocab.json").write_text('{"a": 0}'), ("different ids",)),
    "a mean of two numbers": (lambda f: (f / "preprocessor_config.json").write_text('{"image_mean": [1, 2]}'), ("three numbers",)),
    "pixels of another size": (lambda f: (f / "preprocessor_config.json").write_text('{"crop_size": 224}'), ("224", "15")),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_folder_gets_one_clear_sentence(case, tmp_path):
    folder = copied("quick_gelu", tmp_path)
    spoil, words = BAD[case]
    spoil(folder)
    raises_one_sentence(UserError, lambda: tinyclip.load(folder), *words)


def test_a_resnet_is_refused_by_name(tmp_path):
    folder = copied("openai", tmp_path)
    resave(folder, lambda t: (t.pop("visual.proj"), t.update({"visual.layer1.0.conv1.weight": np.zeros((2, 2, 1, 1), np.float32)})))
    raises_one_sentence(UserError, lambda: tinyclip.load(folder), "ResNet")


PARAMETERS = {"vit_b_32": 151_277_313, "vit_b_16": 149_620_737, "vit_l_14": 427_616_513, "vit_l_14_336": 427_944_193}


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_published_sizes_have_exactly_the_published_number_of_parameters(name):
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(blueprint(CLIPConfig.preset(name))[1]))
    assert count == PARAMETERS[name], (
        f"{name}: want {PARAMETERS[name]:,} parameters as OpenAI's, got {count:,} ({count - PARAMETERS[name]:+,})"
    )


def test_the_presets_are_what_openais_names_say():
    """The tables name every parameter of the published models once, by shapes alone."""
    for name in ("vit_b_32", "vit_l_14_336"):
        config = CLIPConfig.preset(name)
        ours = {dotted(path): tuple(leaf.shape) for path, leaf in nnx.to_flat_state(blueprint(config)[1])}
        for pieces in (dict(openai.hugging_face(config)), dict(openai.openai(config))):
            assert pieces.keys() == ours.keys()
        shapes = {piece.name: piece.shape for piece in dict(openai.openai(config)).values()}
        assert published.config_of_shapes(shapes, "", FIXTURES) == config
