"""A model folder: what is saved is what is loaded, bit for bit, and every way it can be broken is named."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from flax import nnx
from helpers import importing, raises_one_sentence, randomised
from PIL import Image
from safetensors.numpy import load_file, save_file

import tinyclip
from tinyclip import bundle
from tinyclip.clip import CLIP
from tinyclip.config import CLIPConfig, ImageConfig, TextConfig
from tinyclip.errors import UserError
from tinyclip.tokenizer import WordTokenizer

WORDS = ["a", "blue", "circle", "red", "square"]
CONFIG = CLIPConfig(
    ImageConfig(size=10, patch=5, width=12, depth=1, heads=3, mlp=14, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)),
    TextConfig(vocab=8, context=6, end_token=7, width=8, depth=1, heads=2, mlp=9),
    embed=7,
)


def make(seed=0, config=CONFIG):
    model = randomised(lambda: CLIP(config, rngs=nnx.Rngs(0)), seed)
    return bundle.Bundle(model, WordTokenizer(WORDS, 6), "mine", {"world": "sixteen"}, {"loss": [2.0, 1.0]})


@pytest.fixture(scope="module")
def one():
    return make()


@pytest.fixture
def saved(one, tmp_path):
    bundle.save_bundle(tmp_path / "deep" / "mine", one, {"train": {"steps": 3}})
    return tmp_path / "deep" / "mine"


def pictures(number, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (number, height, width, 3), dtype=np.uint8)


def test_what_is_saved_is_loaded_bit_for_bit(one, saved):
    back = bundle.load(saved)
    before, after = (bundle.flat(nnx.state(b.model, nnx.Param)) for b in (one, back))
    assert list(before) == list(after), f"the same parameters should come back, but these differ: {set(before) ^ set(after)}"
    for name in before:
        assert np.array_equal(before[name], after[name]), f"{name} should come back bit for bit"
        assert after[name].dtype == np.float32, f"{name} should be float32, got {after[name].dtype}"
    assert back.config == one.config, f"the configuration should come back, got {back.config}"
    assert (back.name, back.trained_on) == ("mine", {"world": "sixteen"}), f"want the folder's name and its world, got {back.name}, {back.trained_on}"
    images, sentences = pictures(3, 13, 11), ["a red circle", "a blue square"]
    assert np.array_equal(one.embed_images(images), back.embed_images(images)), "a loaded model should embed pictures as before, bit for bit"
    assert np.array_equal(one.embed_texts(sentences), back.embed_texts(sentences)), "a loaded model should embed sentences as before, bit for bit"
    assert json.loads((saved / "config.json").read_text())["train"] == {"steps": 3}, "what is given as extra should stand in config.json"


def test_saving_twice_writes_the_same_bytes(one, saved, tmp_path):
    bundle.save_bundle(tmp_path / "again", one, {"train": {"steps": 3}})
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (saved / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), f"{name} should be the same bytes each time"


def test_other_tools_can_read_the_weights(saved, one):
    tensors = load_file(saved / "model.safetensors")
    assert "log_logit_scale" in tensors and tensors["log_logit_scale"].shape == (), f"want a scalar log_logit_scale among {sorted(tensors)[:5]}"
    assert all(np.isfinite(tensor).all() for tensor in tensors.values()), "all weights should be finite"
    assert "logit_bias" not in tensors, "a contrastive model has no logit_bias"


def test_a_sigmoid_model_keeps_its_bias(tmp_path):
    config = CLIPConfig(CONFIG.image, CONFIG.text, embed=7, loss="sigmoid")
    bundle.save_bundle(tmp_path / "s", make(config=config))
    back = bundle.load(tmp_path / "s")
    assert back.model.logit_bias is not None, "a model of the sigmoid loss should come back with its bias"


def test_pictures_and_arrays_are_preprocessed_alike(one):
    for height, width in ((10, 10), (13, 29), (40, 17)):
        arrays = pictures(3, height, width)
        from_arrays, from_pictures = one.preprocess(arrays), one.preprocess([Image.fromarray(array) for array in arrays])
        assert from_arrays.shape == (3, 10, 10, 3) and from_arrays.dtype == np.float32, f"want (3, 10, 10, 3) float32, got {from_arrays.shape}"
        assert np.array_equal(from_arrays, from_pictures), f"{height} x {width}: arrays and pictures should be preprocessed alike"


def test_preprocessing_normalises_each_channel(one):
    grey = np.full((1, 10, 10, 3), 51, np.uint8)
    wanted = (0.2 - np.array([0.1, 0.2, 0.3])) / np.array([0.4, 0.5, 0.6])
    got = one.preprocess(grey)[0, 4, 4]
    assert np.abs(got - wanted).max() < 1e-6, f"a grey of 0.2 should become {wanted}, got {got}"


@pytest.mark.parametrize("shape", [(2, 10, 10), (2, 3, 10, 10), (2, 10, 10, 4), (10, 10, 3), ()])
def test_arrays_of_another_shape_are_refused(one, shape):
    raises_one_sentence(UserError, lambda: one.preprocess.__wrapped__(one, np.zeros(shape, np.uint8)), str(shape), "uint8")


def test_arrays_of_another_type_are_refused(one):
    raises_one_sentence(UserError, lambda: one.preprocess.__wrapped__(one, np.zeros((2, 10, 10, 3), np.float32)), "float32", "uint8")


@pytest.mark.parametrize("images", [[], ["x.png"], [np.zeros((10, 10, 3), np.uint8)]], ids=["none", "a name", "an array"])
def test_what_is_no_picture_is_refused(one, images):
    raises_one_sentence(UserError, lambda: one.preprocess.__wrapped__(one, images), "PIL", "uint8")


def test_many_are_embedded_as_few_are(one, monkeypatch):
    images, sentences = pictures(9, 10, 10), [f"a {colour} {shape}" for colour in ("red", "blue") for shape in ("circle", "square", "a")]
    together, said = one.embed_images(images), one.embed_texts(sentences)
    sizes = {"image": [], "text": []}
    for kind, encode in (("image", bundle._encode_image), ("text", bundle._encode_text)):
        monkeypatch.setattr(bundle, f"_encode_{kind}", lambda *rest, kind=kind, encode=encode: sizes[kind].append(len(rest[-1])) or encode(*rest))
    monkeypatch.setattr(bundle, "block_of", lambda numbers: 4)
    pieces, said_pieces = one.embed_images(images), one.embed_texts(sentences)
    assert pieces.shape == (9, 7) and said_pieces.shape == (6, 7), f"9 pictures and 6 sentences, got {pieces.shape} and {said_pieces.shape}"
    assert sizes == {"image": [4, 4, 4], "text": [4, 4]}, f"they should be embedded in blocks of 4, the last filled up, got {sizes}"
    off = max(np.abs(pieces - together).max(), np.abs(said_pieces - said).max())
    assert off < 1e-5, f"embedding in batches of 4 should change nothing, but changes {off}"
    lists = one.embed_images([Image.fromarray(image) for image in images])
    assert np.abs(lists - together).max() < 1e-5, "a list of pictures should be embedded as an array of them"
    lengths = np.linalg.norm(together, axis=1)
    assert np.abs(lengths - 1).max() < 1e-5, f"embeddings should be unit vectors, got lengths {lengths}"


def test_nothing_to_embed_gives_no_rows(one):
    assert one.embed_images(pictures(0, 10, 10)).shape == (0, 7), "no pictures should give an array of no rows"
    assert one.embed_texts([]).shape == (0, 7), "no sentences should give an array of no rows"


def rewrite(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def tensors(path, change):
    data = load_file(path)
    change(data)
    save_file(data, path)


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


C, W, T, H = "config.json", "model.safetensors", "tokenizer.json", "history.json"
BROKEN = {
    "no config": (C, lambda p: p.unlink(), ""),
    "no weights": (W, lambda p: p.unlink(), ""),
    "no tokenizer": (T, lambda p: p.unlink(), ""),
    "config is a folder": (C, lambda p: (p.unlink(), p.mkdir()), ""),
    "weights are a folder": (W, lambda p: (p.unlink(), p.mkdir()), ""),
    "config is no json": (C, lambda p: p.write_text("{'a'"), "JSON"),
    "config is no text": (C, lambda p: p.write_bytes(b"\xff\xfe\x00"), ""),
    "config has too many brackets": (C, lambda p: p.write_text("[" * 100_000), "JSON"),
    "config has a number of 5,000 digits": (C, lambda p: p.write_text('{"a": ' + "9" * 5000 + "}"), "JSON"),
    "mean is beyond all numbers": (C, lambda p: rewrite(p, lambda d: d["model"]["image"].update(mean=[10**400, 0, 0])), ""),
    "mean is not a number": (C, lambda p: rewrite(p, lambda d: d["model"]["image"].update(mean=[float("nan"), 0, 0])), "mean"),
    "config is empty": (C, lambda p: p.write_text(""), "JSON"),
    "config is a list": (C, lambda p: p.write_text("[1]"), ""),
    "config of another kind": (C, lambda p: rewrite(p, lambda d: d.update(format="onnx")), ""),
    "config without a model": (C, lambda p: rewrite(p, lambda d: d.pop("model")), ""),
    "model is a list": (C, lambda p: rewrite(p, lambda d: d.update(model=[1])), ""),
    "unknown field": (C, lambda p: rewrite(p, lambda d: d["model"].update(colour=3)), "colour"),
    "unknown field of the image": (C, lambda p: rewrite(p, lambda d: d["model"]["image"].update(colour=3)), "colour"),
    "missing field": (C, lambda p: rewrite(p, lambda d: d["model"]["text"].pop("width")), "width"),
    "width is a string": (C, lambda p: rewrite(p, lambda d: d["model"]["image"].update(width="12")), "width"),
    "width is a fraction": (C, lambda p: rewrite(p, lambda d: d["model"]["image"].update(width=12.5)), "width"),
    "eps is a string": (C, lambda p: rewrite(p, lambda d: d["model"]["image"].update(eps="x")), ""),
    "mean is a number": (C, lambda p: rewrite(p, lambda d: d["model"]["image"].update(mean=0.5)), ""),
    "mean is two numbers": (C, lambda p: rewrite(p, lambda d: d["model"]["image"].update(mean=[0.5, 0.5])), "mean"),
    "end token is a string": (C, lambda p: rewrite(p, lambda d: d["model"]["text"].update(end_token="7")), "end_token"),
    "activation is a list": (C, lambda p: rewrite(p, lambda d: d["model"]["image"].update(activation=["gelu"])), "activation"),
    "loss is a number": (C, lambda p: rewrite(p, lambda d: d["model"].update(loss=3)), "loss"),
    "image is a number": (C, lambda p: rewrite(p, lambda d: d["model"].update(image=3)), ""),
    "weights are empty": (W, lambda p: p.write_bytes(b""), ""),
    "weights are cut at the head": (W, lambda p: cut(p, 40), ""),
    "weights are cut at the end": (W, lambda p: cut(p, p.stat().st_size - 9), ""),
    "weights are text": (W, lambda p: p.write_text("hello, these are no weights at all"), ""),
    "a tensor is missing": (W, lambda p: tensors(p, lambda d: d.pop("image_projection.kernel")), "image_projection.kernel"),
    "a tensor too many": (W, lambda p: tensors(p, lambda d: d.update(extra=np.zeros(3, np.float32))), "extra"),
    "a tensor of another shape": (W, lambda p: tensors(p, lambda d: d.update({"image_projection.kernel": np.zeros((7, 12), np.float32)})), "(7, 12)"),
    "config of another width": (C, lambda p: rewrite(p, lambda d: d["model"].update(embed=9)), "9"),
    "tokenizer is no json": (T, lambda p: p.write_text("no"), "JSON"),
    "tokenizer is a list": (T, lambda p: p.write_text("[]"), ""),
    "tokenizer without words": (T, lambda p: rewrite(p, lambda d: d.pop("words")), ""),
    "words are a number": (T, lambda p: rewrite(p, lambda d: d.update(words=3)), ""),
    "words are numbers": (T, lambda p: rewrite(p, lambda d: d.update(words=[1, 2, 3, 4, 5])), ""),
    "words are the tokenizer's own": (T, lambda p: rewrite(p, lambda d: d.update(words=["a", "<end>"])), ""),
    "words are a sentence": (T, lambda p: rewrite(p, lambda d: d.update(words="abcde")), ""),
    "context is a string": (T, lambda p: rewrite(p, lambda d: d.update(context="6")), ""),
    "tokenizer of another vocabulary": (T, lambda p: rewrite(p, lambda d: d["words"].append("green")), ""),
    "tokenizer of another context": (T, lambda p: rewrite(p, lambda d: d.update(context=9)), ""),
    "history is no json": (H, lambda p: p.write_text("{"), "JSON"),
    "history is a list": (H, lambda p: p.write_text("[1]"), ""),
}


def break_all(folder, places):
    """Each kind of broken folder, in a place of its own: what `load` says of it."""
    said = {}
    for number, (kind, (name, damage, _)) in enumerate(BROKEN.items()):
        place = Path(places) / str(number)
        shutil.copytree(folder, place)
        damage(place / name)
        try:
            bundle.load(place)
            said[kind] = ("nothing", "")
        except Exception as error:
            said[kind] = (type(error).__name__, str(error))
    print(json.dumps(said))


@pytest.fixture(scope="module")
def complaints(one, tmp_path_factory):
    """In a process without the tests' checks of types: these would complain before the program can."""
    folder = tmp_path_factory.mktemp("broken")
    bundle.save_bundle(folder / "mine", one)
    (folder / "mine" / H).write_text('{"loss": [1.0]}')
    code = "import sys, test_bundle; test_bundle.break_all(*sys.argv[1:])"
    paths = importing(Path(__file__).parent, Path(tinyclip.__file__).parent.parent)
    result = subprocess.run(
        [sys.executable, "-c", code, str(folder / "mine"), str(folder)], capture_output=True, text=True, env={**os.environ, **paths}
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_model_folder_is_named_in_one_sentence(complaints, kind):
    (name, _, word), (raised, text) = BROKEN[kind], complaints[kind]
    name = W if kind == "config of another width" else name  # there it is the weights that do not fit
    assert raised == "UserError", f"{kind}: load should raise a UserError that names {name}, but raised {raised}: {text}"
    assert "\n" not in text and text.endswith((".", "?")), f"{kind}: the message should be one sentence, got {text!r}"
    assert name in text and word in text, f"{kind}: the message should name {name} and {word!r}, but it is {text!r}"


def test_a_model_that_is_not_there_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    raises_one_sentence(UserError, lambda: bundle.load(tmp_path / "none"), str(tmp_path / "none"))
    raises_one_sentence(UserError, lambda: bundle.load(tmp_path / "file"), str(tmp_path / "file"), "is a file")
    raises_one_sentence(UserError, lambda: bundle.load("no-such-model"), "'no-such-model'")


def test_a_pretrained_model_is_found_by_its_name(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bundle, "PRETRAINED", tmp_path / "shelf")
    raises_one_sentence(UserError, lambda: bundle.find("short"), "'short'")
    shutil.copytree(saved, tmp_path / "shelf" / "short")
    assert bundle.find("short") == tmp_path / "shelf" / "short", "a short name should be looked for among the pretrained models"
    raises_one_sentence(UserError, lambda: bundle.find("shor"), "'shor'", "short")
    (tmp_path / "short").mkdir()
    (tmp_path / "short" / "metadata.jsonl").write_text("{}")
    assert bundle.find("short") == tmp_path / "shelf" / "short", "a folder of pictures, as `tinyclip draw` makes it, is no model: it hides none"
    (tmp_path / "short" / "config.json").write_text("{}")
    assert bundle.find("short") == Path("short"), "a model here goes before a pretrained one of the same name"
    for here in (".", "..", "./", ""):
        assert bundle.find(here) == Path(here), f"{here!r} is a folder and no pretrained model's name, but {bundle.find(here)} was found"


def test_our_own_model_too_is_read_for_pictures_of_another_side(saved, one):
    size, patch = one.config.image.size, one.config.image.patch
    larger = bundle.load(saved, image_size=size + patch)
    side = larger.config.image.size
    assert side == size + patch, f"image_size={size + patch} was asked for, but the model reads pictures of {side}"
    assert larger.embed_images([Image.new("RGB", (31, 29), "red")]).shape == (1, one.config.embed)
    before, after = bundle.flat(nnx.state(one.model, nnx.Param)), bundle.flat(nnx.state(larger.model, nnx.Param))
    changed = [name for name in before if before[name].shape != after[name].shape or not np.array_equal(before[name], after[name])]
    assert changed == ["image.position_embedding"], f"only the positions of the patches should change, but these did: {changed}"
    raises_one_sentence(UserError, lambda: bundle.load(saved, image_size=size + 1), f"{size + 1} pixels", f"patches of {patch}")


def test_a_model_without_history_or_world_loads(one, tmp_path):
    bundle.save_bundle(tmp_path / "bare", bundle.Bundle(one.model, one.tokenizer))
    back = bundle.load(tmp_path / "bare")
    assert (back.trained_on, back.history) == ({}, {}), f"nothing is known of its training, got {back.trained_on}, {back.history}"
    assert tinyclip.load(tmp_path / "bare").name == "bare", "tinyclip.load should be bundle.load"


@pytest.mark.parametrize("when", ["writing", "renaming"])
def test_a_full_disk_leaves_the_old_file_and_no_half_one(tmp_path, monkeypatch, when):
    path = tmp_path / "weights"
    path.write_bytes(b"old")
    whole = Path.write_bytes

    def full(self, data):
        whole(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    def refuse(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full) if when == "writing" else monkeypatch.setattr(bundle.os, "replace", refuse)
    raises_one_sentence(UserError, lambda: bundle.write_atomically(path, b"new and longer"), str(path), "No space left")
    assert path.is_file(), "the old file should stay, but it is gone"
    assert path.read_bytes() == b"old", f"the old file should stay whole, got {path.read_bytes()!r}"
    assert [p.name for p in tmp_path.iterdir()] == ["weights"], f"no half file may be left, got {[p.name for p in tmp_path.iterdir()]}"


def test_a_file_that_really_does_not_fit_ends_in_a_user_error(tmp_path):
    code = """
import resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from tinyclip.bundle import write_atomically
from tinyclip.errors import UserError
write_atomically(Path(sys.argv[1]), "old")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomically(Path(sys.argv[1]), b"x" * 5000)
except UserError as error:
    print(error)
"""
    path, package = tmp_path / "weights", str(Path(tinyclip.__file__).parent.parent)
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=package)
    assert "could not write" in result.stdout and str(path) in result.stdout, f"want a UserError that names the file: {result.stdout}{result.stderr}"
    left = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert left == {"weights": b"old"}, f"the old file should stay and no half one, got {list(left)}"


@pytest.mark.parametrize("save", [bundle.save_bundle, bundle.save_for_hugging_face])
@pytest.mark.parametrize("existed", [False, True])
def test_what_does_not_fit_whole_is_taken_back(one, tmp_path, monkeypatch, save, existed):
    folder, real = tmp_path / "model", bundle.write_atomically
    if existed:
        folder.mkdir()

    def full(path, data):
        if path.name == bundle.WEIGHTS:
            raise UserError(f"could not write {path}: No space left on device.")
        real(path, data)

    monkeypatch.setattr(bundle, "write_atomically", full)
    raises_one_sentence(UserError, lambda: save(folder, one), "No space left", bundle.WEIGHTS)
    left = [path.name for path in tmp_path.rglob("*")]
    assert left == ["model"] * existed, f"half a model would be in the way of the next try, but there is {left}"


def test_ctrl_c_while_a_model_is_written_leaves_nothing(one, tmp_path, monkeypatch):
    def stop(beside, path):
        if path.name == bundle.WEIGHTS:
            raise KeyboardInterrupt
        real(beside, path)

    real = os.replace
    monkeypatch.setattr(bundle.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        bundle.save_bundle(tmp_path / "model", one)
    left = [path.name for path in tmp_path.rglob("*")]
    assert left == [], f"half a model would be in the way of the next try, but there is {left}"


WHOLE = {"loss": [1.0], "floor": [1.0], "logit_scale": [1.0], "accuracy": [[1, 50.0]], "log_n": 1.0}


@pytest.mark.parametrize("history", [[], {}, {"loss": 3}, WHOLE | {"logit_scale": ["x"]}, WHOLE | {"accuracy": [1, 2]}, WHOLE | {"accuracy": [[1]]}])
def test_a_damaged_history_is_named(saved, tmp_path, history):
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    (folder / bundle.HISTORY).write_text(json.dumps(history))
    raises_one_sentence(UserError, lambda: bundle.load(folder), str(folder / bundle.HISTORY), "damaged")
    (folder / bundle.HISTORY).write_text(json.dumps(WHOLE))
    assert bundle.load(folder).history == WHOLE, "a whole history should be read"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(saved, tmp_path, value):
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    tensors = load_file(folder / bundle.WEIGHTS)
    name = sorted(tensors)[3]
    tensors[name].flat[-1] = value
    save_file(tensors, folder / bundle.WEIGHTS)
    raises_one_sentence(UserError, lambda: bundle.load(folder), str(folder / bundle.WEIGHTS), name, "not finite")


def test_a_place_that_cannot_be_made_is_a_user_error(one, tmp_path):
    (tmp_path / "file").write_text("x")
    raises_one_sentence(UserError, lambda: bundle.save_bundle(tmp_path / "file" / "m", one), "could not make", str(tmp_path / "file"))
