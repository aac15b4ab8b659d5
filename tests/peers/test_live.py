"""The same agreements as tests/test_published.py, live: random models, pictures and sentences through torch and transformers and through ours.

They need the `peers` extra (`pip install -e ".[peers]"`); without it they are skipped by name.
"""

import html
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import check, check_gradients, seeded
from PIL import Image

import tinyclip
from tinyclip import bundle, published
from tinyclip.losses import contrastive_loss, sigmoid_loss

torch = pytest.importorskip("torch", reason="the peers extra is not installed: pip install -e '.[peers]'")
transformers = pytest.importorskip("transformers", reason="the peers extra is not installed: pip install -e '.[peers]'")

FIXTURES = Path(__file__).parent / "fixtures"
PROCESSOR = getattr(transformers, "CLIPImageProcessorPil", transformers.CLIPImageProcessor)  # not torchvision's, which rounds when it resizes
MODELS = ("quick_gelu", "gelu", "legacy")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(autouse=True)
def exact():
    with jax.default_matmul_precision("highest"):
        yield


def theirs(folder):
    return transformers.CLIPModel.from_pretrained(folder).eval()


@pytest.mark.parametrize("name", MODELS)
def test_a_snapshot_computes_what_transformers_computes(name):
    ours, model, rng = tinyclip.load(FIXTURES / name), theirs(FIXTURES / name), seeded(1)
    config = ours.config
    images = rng.normal(size=(5, config.image.size, config.image.size, 3)).astype(np.float32)
    tokens = rng.integers(3, config.text.vocab - 2, size=(6, config.text.context)).astype(np.int32)
    for k, row in enumerate(tokens):
        row[-1 - k % 4 :] = 0
        row[-1 - k % 4] = config.text.end_token
    with torch.no_grad():
        whole = model(pixel_values=torch.tensor(images).permute(0, 3, 1, 2), input_ids=torch.tensor(tokens).long())
    image_embeddings, text_embeddings, scale = ours.model(images, tokens)
    check("image embeddings", image_embeddings, whole.image_embeds.numpy(), 1e-5)
    check("text embeddings", text_embeddings, whole.text_embeds.numpy(), 1e-5)
    check("logits", scale * image_embeddings @ text_embeddings.T, whole.logits_per_image.numpy(), 1e-5)


@pytest.mark.parametrize("name", ["shapes", "pairs"])
def test_our_models_loaded_by_transformers_give_our_embeddings(name, tmp_path):
    """Sentences of three lengths, through their tokenizer; pictures through their processor."""
    ours = tinyclip.load(name)
    bundle.save_for_hugging_face(tmp_path / name, ours)
    model, tokenizer = theirs(tmp_path / name), transformers.AutoTokenizer.from_pretrained(tmp_path / name)
    sentences = ["a circle", "Something RED!", "a large red circle" if name == "shapes" else "a red circle left of a blue square"]
    ids = tokenizer(sentences, padding="max_length", max_length=ours.config.text.context, return_tensors="pt")["input_ids"]
    assert np.array_equal(ids.numpy(), ours.tokenizer(sentences)), f"their ids are {ids.tolist()}"
    pictures = [Image.fromarray(seeded(2).integers(0, 256, size=(41, 37, 3), dtype=np.uint8)) for _ in range(3)]
    pixels = PROCESSOR.from_pretrained(tmp_path / name)(pictures, return_tensors="pt")["pixel_values"]
    check("pixels", ours.preprocess(pictures), pixels.permute(0, 2, 3, 1).numpy(), 1e-5)
    with torch.no_grad():
        whole = model(input_ids=ids, pixel_values=pixels)
    check("text embeddings", ours.embed_texts(sentences), whole.text_embeds.numpy(), 1e-5)
    check("image embeddings", ours.embed_images(pictures), whole.image_embeds.numpy(), 1e-5)
    check("logit scale", float(ours.model.logit_scale), model.logit_scale.exp().item(), 1e-5)


def test_the_losses_gradients_are_those_of_torch_autograd():
    rng = seeded(3)
    images, texts = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.normal(size=(2, 7, 12)).astype(np.float32))

    def torch_gradients(loss):
        leaves = [torch.tensor(x, requires_grad=True) for x in (images, texts, np.float32(2.2), np.float32(-3.0))]
        value = loss(*leaves)
        value.backward()
        return value.item(), [leaf.grad.numpy() if leaf.grad is not None else np.zeros(leaf.shape, np.float32) for leaf in leaves]

    def clip(i, t, log_scale, bias):
        logits, own = log_scale.exp() * i @ t.T, torch.arange(7)
        return (torch.nn.functional.cross_entropy(logits, own) + torch.nn.functional.cross_entropy(logits.T, own)) / 2

    def siglip(i, t, log_scale, bias):
        signs = 2 * torch.eye(7) - 1
        return -torch.nn.functional.logsigmoid(signs * (log_scale.exp() * i @ t.T + bias)).sum() / 7

    for name, theirs_, ours in (
        ("contrastive", clip, lambda i, t, s, b: contrastive_loss(i, t, jnp.exp(s)) + 0 * b),
        ("sigmoid", siglip, lambda i, t, s, b: sigmoid_loss(i, t, jnp.exp(s), b)),
    ):
        want, gradients = torch_gradients(theirs_)
        args = [jnp.asarray(x) for x in (images, texts, np.float32(2.2), np.float32(-3.0))]
        got, found = jax.value_and_grad(ours, argnums=(0, 1, 2, 3))(*args)
        check(f"{name} loss", got, np.float32(want), 1e-5)
        check_gradients(f"{name} loss", tuple(found), tuple(gradients), 1e-5)


def test_a_whole_models_gradient_is_that_of_torch_autograd():
    """Every parameter of both towers, through the loss, under their names."""
    ours, model, rng = tinyclip.load(FIXTURES / "quick_gelu"), theirs(FIXTURES / "quick_gelu"), seeded(4)
    config = ours.config
    images = rng.normal(size=(4, config.image.size, config.image.size, 3)).astype(np.float32)
    tokens = rng.integers(3, config.text.vocab - 2, size=(4, config.text.context)).astype(np.int32)
    tokens[:, -1] = config.text.end_token
    whole = model(pixel_values=torch.tensor(images).permute(0, 3, 1, 2), input_ids=torch.tensor(tokens).long(), return_loss=True)
    whole.loss.backward()
    from flax import nnx

    graphdef, params = nnx.split(ours.model, nnx.Param)

    @jax.jit
    def gradient(params):
        return jax.grad(lambda p: contrastive_loss(*nnx.merge(graphdef, p)(images, tokens)))(params)

    from tinyclip import openai

    got = openai.to_hugging_face(bundle.flat(gradient(params)), config)
    want = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    check_gradients("CLIP", {name: got[name] for name in want}, want, 1e-5)


SENTENCES = [
    "a red circle left of a blue square", "It's  42 Cats, isn't it?", "naïve café — “quoted” &amp;amp; <b>bold</b>", "don't    panic!!!",
    "ÅÄÖ ß ½ ² ① 東京 🦏🦏", "cafe\u0301", "it’s ‘so’", "schÃ¶n",
    "under_score and-hyphen 3.14", "<|startoftext|>a cat<|endoftext|>", "", "I'LL they'RE we'd", "tab\tnew\nline", "1234567890", "a" * 40,
]  # fmt: skip


def test_ids_are_openais():
    """OpenAI's clean-up (ftfy, HTML codes twice, spaces, lower case) and then Hugging Face's byte-level BPE, with the same merges."""
    ftfy = pytest.importorskip("ftfy", reason="the openai extra is not installed: pip install -e '.[openai]'")
    ours = tinyclip.load(FIXTURES / "quick_gelu").tokenizer
    tokenizer = transformers.CLIPTokenizer.from_pretrained(FIXTURES / "quick_gelu")
    for sentence in SENTENCES:
        want = tokenizer(" ".join(html.unescape(html.unescape(ftfy.fix_text(sentence))).split()).lower())["input_ids"]
        got = replace(ours, context=len(want))([sentence])[0].tolist()
        assert got == want, f"{sentence!r}: want {tokenizer.convert_ids_to_tokens(want)}, got {[ours.tokens[i] for i in got]}"


@pytest.mark.parametrize(("old", "new"), [(3, 7), (7, 4), (5, 5), (4, 6)])
def test_positions_are_resized_as_torch_does(old, new):
    positions = seeded(5).normal(size=(1 + old * old, 6)).astype(np.float32)
    grid = torch.tensor(positions[1:]).reshape(1, old, old, 6).permute(0, 3, 1, 2)
    want = torch.nn.functional.interpolate(grid, size=(new, new), mode="bicubic", antialias=True, align_corners=False)
    want = np.concatenate([positions[:1], want.permute(0, 2, 3, 1).reshape(new * new, 6).numpy()])
    check(f"a grid of {old} at {new}", published.resize_positions(jnp.asarray(positions), new), want, 1e-5)


def test_preprocessing_is_theirs_for_any_size():
    ours, rng = tinyclip.load(FIXTURES / "gelu"), seeded(6)
    processor = PROCESSOR.from_pretrained(FIXTURES / "gelu")
    for height, width in rng.integers(5, 80, size=(25, 2)):
        picture = Image.fromarray(rng.integers(0, 256, size=(height, width, 3), dtype=np.uint8))
        want = processor(picture, return_tensors="pt")["pixel_values"].permute(0, 2, 3, 1).numpy()
        check(f"a picture of {height} x {width}", ours.preprocess([picture]), want, 1e-5)
