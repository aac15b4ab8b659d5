# %% [markdown]
# # Lesson 18 · The real CLIP
#
# *8 min to read, a few seconds to run*
#
# **Question.** How far is the model of these lessons from the one that OpenAI published, and what does it take to go there?
#
# Not far: it is the same code with other numbers in its configuration. OpenAI's **ViT-B/32** ("vision transformer, base size, patches of 32") has
# wider vectors and more blocks, and was trained on 400 million pictures with captions (the largest ViT for twelve days, on 256 GPUs). What it knows
# is in a file of numbers. To use it, we need their names for the numbers, and their way to lay them out. This lesson is about names and transposes.

# %%
import math
import os
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import load_file

import tinyclip
from lessons.kit import BLUE, GREY, ORANGE, Lesson
from tinyclip import bundle as bundles
from tinyclip import clip, config, evaluate, openai, published, transformer
from tinyclip.weights import dotted
from tinyclip.world.worlds import get_world

lesson = Lesson("18")
lesson.predict("ViT-B/32 has pictures of 224 pixels, width 768 and 512, 12 blocks in each tower, 49,408 tokens. How many numbers is that?")

# %% [markdown]
# ## The same class, other numbers
#
# Count what a tower of width D with an MLP of 4 D holds: four D × D matrices with biases for attention, two D × 4 D matrices with biases for the MLP,
# two LayerNorms of 2 D. That is a block. Around: patches and class token, or words; positions; 2 LayerNorms (texts: 1); a matrix to E; one scale.

# %%
def count(size: str) -> dict[str, int]:
    c = config.CLIPConfig.preset(size)
    block = {tower: 4 * (D * D + D) + 2 * 4 * D * D + 5 * D + 4 * D for tower, D in (("image", c.image.width), ("text", c.text.width))}
    image = c.image.patch**2 * 3 * c.image.width + (c.image.tokens + 1) * c.image.width + c.image.depth * block["image"] + 4 * c.image.width
    text = (c.text.vocab + c.text.context) * c.text.width + c.text.depth * block["text"] + 2 * c.text.width
    return {"image": image, "text": text, "projections": (c.image.width + c.text.width) * c.embed + 1}


def library_count(size: str) -> int:
    _, shapes = clip.blueprint(config.CLIPConfig.preset(size))  # nothing is allocated
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


sizes = ("nano", "tiny", "small", "vit_b_32", "vit_l_14_336")
counted = {size: count(size) for size in sizes}
lesson.compare("parameter counts", [sum(counted[size].values()) for size in sizes], [library_count(size) for size in sizes])
real = lesson.claim("parameters of ViT-B/32", sum(counted["vit_b_32"].values()))
lesson.answer(f"{real:,}, the published number; {counted['vit_b_32']['text'] / real:.0%} of it is the text tower, 25 million its word table.")
lesson.show(config.CLIPConfig, clip.CLIP, clip.blueprint)

# %% [markdown]
# ## Their names, their layouts
#
# PyTorch keeps a linear layer's weights as (out, in), ours are (in, out): turn them. OpenAI keeps query, key and value in one tensor of 3 D rows
# (Hugging Face, below, in three): cut it. And patches are made by a *convolution* with stride P there: a filter of (3, P, P) numbers, slid over the
# picture in steps of P. A patch meets the filter once, so each output is one dot product: a linear layer, if its numbers are laid out as our patches
# are, (y, x, channel). First as the convolution says it, one position at a time, then as the library does.

# %%
lent = tinyclip.load("sixteen")  # our smallest model stands in for the large one
ours, world = bundles.flat(nnx.state(lent.model, nnx.Param)), get_world("sixteen")
with tempfile.TemporaryDirectory() as folder:
    bundles.save_for_hugging_face(Path(folder), lent)  # `tinyclip export sixteen FOLDER --format hf`
    theirs, again = load_file(Path(folder) / "model.safetensors"), tinyclip.load(folder)
table = dict(openai.hugging_face(lent.config))
for name in ("image.patch_embedding.kernel", "image.blocks.0.attention.query.kernel", "text.token_embedding", "log_logit_scale"):
    print(f"  {name:<38} {ours[name].shape!s:<10} <- {table[name].name} {theirs[table[name].name].shape}")

scenes = world.sample(jax.random.key(0), 200, "test")
pictures = evaluate.draw_bytes(world, scenes, lent.config.image.size)
images, filters, P = lent.preprocess(pictures), theirs["vision_model.embeddings.patch_embedding.weight"], lent.config.image.patch
lesson.shapes(images=images, filters=filters)
slid = np.zeros((2, 16, len(filters)))
for b, row, column in np.ndindex(2, 4, 4):
    seen = images[b, row * P : (row + 1) * P, column * P : (column + 1) * P].transpose(2, 0, 1)  # (3, P, P), as the filters are
    slid[b, 4 * row + column] = (filters * seen).sum((1, 2, 3))
patches = lent.model.encode_image(images[:2], intermediates=True)[1]["patches"]
lesson.compare("patches by convolution", slid, patches)
lesson.show(openai.hugging_face, openai.openai, openai.from_convolution, openai.to_hugging_face)

# %% [markdown]
# ## There and back
#
# The folder that we wrote is what `transformers.CLIPModel.from_pretrained` reads, and it gives our embeddings to 1e-5 (a test of the library
# runs both, and Hugging Face's random models through ours, block by block). Read back, it is the same model: what is told by two sides must agree.

# %%
captions = sorted({world.grammar.describe(meaning) for meaning in np.asarray(scenes.meaning)})
true = np.array([[world.grammar.describe(meaning) == caption for caption in captions] for meaning in np.asarray(scenes.meaning)])
lesson.compare("embeddings, written and read again", again.embed_images(pictures), lent.embed_images(pictures))
lesson.show(tinyclip.load, published.read, published.hugging_face_files, bundles.save_for_hugging_face)

# %% [markdown]
# ## Break it: one slip
#
# A slip in names or transposes need not be noticed: D × D matrices fit either way round, and the model runs. (GELU is what lesson 04's
# QuickGELU imitates; open_clip trains its own CLIPs.) One slip at a time: how many pictures find their caption, and how far off are embeddings?

# %%
def slip(changes: dict[str, np.ndarray], **other: str) -> tuple[float, float]:
    """With some parameters exchanged, or another activation: zero-shot accuracy, and the largest change in an embedding."""
    towers = {name: {**vars(getattr(lent.config, name)), **other} for name in ("image", "text")}
    changed = config.CLIPConfig(config.ImageConfig(**towers["image"]), config.TextConfig(**towers["text"]), lent.config.embed)
    structure, shapes = clip.blueprint(changed)
    filled = [(path, leaf.replace(jnp.asarray((ours | changes)[dotted(path)]))) for path, leaf in nnx.to_flat_state(shapes)]
    model = nnx.merge(structure, nnx.from_flat_state(filled))
    run = jax.jit(lambda images, tokens: model(images, tokens)[:2])
    found, classes = map(np.asarray, run(images, lent.tokenizer(captions)))
    return evaluate.zero_shot_accuracy(found, classes, true), float(np.abs(found - lent.embed_images(pictures)).max())


squares = [name for name in ours if "attention" in name and "kernel" in name]
filters_flat = filters.reshape(len(filters), -1).T  # (channel, y, x) instead of (y, x, channel)
norms = {f"image.norm_{a}.{k}": ours[f"image.norm_{b}.{k}"] for a, b in (("pre", "post"), ("post", "pre")) for k in ("scale", "bias")}
slips = {
    "nothing": slip({}),
    "attention not turned": slip({name: ours[name].T for name in squares}),
    "patches as (channel, y, x)": slip({"image.patch_embedding.kernel": filters_flat}),
    "norm_pre and norm_post swapped": slip(norms),
    "GELU for QuickGELU": slip({}, activation="gelu"),
}
for name, (share, off) in slips.items():
    lesson.claim(f"{name}: accuracy", share), lesson.claim(f"{name}: off by", off)
    print(f"  {name:<32} {share:>4.0%} right, embeddings off by up to {off:.2g}")
print("  the last two are the treacherous ones: all looks well. OpenAI's weights want QuickGELU, most of open_clip's GELU: no tensor says which.")
lesson.show(transformer.quick_gelu, transformer.gelu)

# %% [markdown]
# ## The file itself, if you have it
#
# With OpenAI's ViT-B/32 (600 MB: huggingface.co/openai/clip-vit-base-patch32, revision refs/pr/15) as `clip-vit-base-patch32` in this folder, or its
# place in `CLIP_FOLDER`, the lesson goes on with it. It reads 224 pixels. To read 336, only the positions of its patches must change: a square grid
# of rows, resized as a picture is (bicubic); the class token's row is about no place, and stays. What carries over from the toy? The loss, the
# temperature, the floor under the loss, the ways to measure: they belong to the method, not to its size.

# %%
place = Path(os.environ.get("CLIP_FOLDER", "clip-vit-base-patch32"))
if place.is_dir():
    large, large_pictures = tinyclip.load(place), pictures[:16]
    said = [f"a photo of {caption}" for caption in captions]
    right = evaluate.zero_shot_accuracy(large.embed_images(large_pictures), large.embed_texts(said), true[:16])
    print(f"  {place}: {right:.0%} of 16 drawn shapes named, of {len(captions)} captions; it never saw our world")
else:
    print(f"  {place} is not there: skipped")

# %%
figure = lesson.new_figure(9.0, 3.4)
left, right_axes = figure.subplots(1, 2)
for k, total in enumerate(sum(counted[size].values()) for size in sizes):
    left.barh(k, total, color=BLUE if k < 3 else ORANGE)
    left.annotate(f" {total / 1e6:,.1f} million", (total, k), va="center", fontsize=8)
left.set(xscale="log", xlim=(1e5, 2e10), xlabel="parameters", title="one class, five configurations", yticks=range(len(sizes)), yticklabels=sizes)
for k, (share, off) in enumerate(slips.values()):
    right_axes.barh(k, share, color=GREY if k == 0 else ORANGE)
    right_axes.annotate(f" {share:.0%}, off by {off:.1g}", (share, k), va="center", fontsize=8)
right_axes.axvline(1 / len(captions), color="black", lw=0.8, ls=":")
right_axes.set(xlim=(0, 1.6), xticks=[0, 0.5, 1], xlabel="find their caption (dotted: chance)", title="one slip in the mapping")
right_axes.set(yticks=range(len(slips)), yticklabels=slips)
left.invert_yaxis(), right_axes.invert_yaxis()
lesson.figure(figure)

# %%
lesson.recap(
    "OpenAI's CLIP is this code with other numbers: 151,277,313 of them in ViT-B/32",
    "to load it takes names and transposes; a convolution with stride P is a linear layer on patches",
    "accuracy can hide a slip: compare numbers, block by block, with what somebody else computed",
)
lesson.try_this("keep only the first of `squares`: `squares = squares[:1]`", "one matrix the wrong way round is enough to lose pictures.")
lesson.try_this("add 'vit_b_16' to `sizes`", "149.6 million: fewer than ViT-B/32, since its filters for smaller patches are smaller.")
lesson.end()
