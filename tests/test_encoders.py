"""The two towers, against plain NumPy, and the ways in which a ViT or a text encoder is almost right."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import call, check, differs, equals, numbers, numpy_block, numpy_layer_norm, numpy_linear, randomised, seeded

from tinyclip.config import ImageConfig, TextConfig
from tinyclip.encoders import ImageEncoder, TextEncoder, causal_mask, end_position, patchify

B, S, P = 5, 9, 3  # 3 x 3 patches of 27 numbers, N = 10 tokens
T, V, END = 7, 11, 3  # the end token is not the largest id
IMAGE = ImageConfig(size=S, patch=P, width=12, depth=2, heads=3, mlp=20)
TEXT = TextConfig(vocab=V, context=T, end_token=END, width=16, depth=2, heads=2, mlp=24)
RNG = seeded()
IMAGES = RNG.normal(size=(B, S, S, 3)).astype(np.float32)
TOKENS = np.array([
    [8, 10, 4, 3, 0, 0, 0],
    [8, 10, 3, 10, 3, 5, 9],  # two end tokens, and the largest id before and after the first
    [8, 9, 1, 2, 10, 7, 3],  # the end token is last
    [3, 10, 10, 10, 10, 10, 3],  # it is first
    [10, 9, 3, 3, 3, 3, 3],
])  # fmt: skip
ENDS = [3, 2, 6, 0, 2]


def an_image_encoder():
    return randomised(lambda: ImageEncoder(IMAGE, rngs=nnx.Rngs(0)), 1)


def a_text_encoder():
    return randomised(lambda: TextEncoder(TEXT, rngs=nnx.Rngs(0)), 2)


def test_fresh_embeddings_have_openais_spread():
    image = ImageEncoder(replace(IMAGE, size=64, patch=4, width=64, heads=4), rngs=nnx.Rngs(0))
    text = TextEncoder(replace(TEXT, vocab=400, end_token=399, context=80, width=64, heads=4), rngs=nnx.Rngs(0))
    wanted = {
        "the image tower's position embedding": (image.position_embedding, 64**-0.5), "the class embedding": (image.class_embedding, 64**-0.5),
        "the token embedding": (text.token_embedding, 0.02), "the text tower's position embedding": (text.position_embedding, 0.01),
    }  # fmt: skip
    for name, (param, std) in wanted.items():
        found, slack = np.asarray(param[...]).std() / std, 4 / np.sqrt(2 * param[...].size)
        assert abs(found - 1) < slack, f"{name} should begin with a spread of {std:.3g}, but has {found:.2f} times that"


@pytest.fixture(scope="module")
def image_run():
    """(images, parameters or None) -> pooled, intermediates: one compilation for all tests."""
    graphdef, params = nnx.split(an_image_encoder())

    @jax.jit
    def run(images, params):
        record = {}
        return nnx.merge(graphdef, params)(images, record), record

    return lambda images, new=None: run(jnp.asarray(images), params if new is None else nnx.state(new))


@pytest.fixture(scope="module")
def read():
    """tokens (B, T) -> the text encoder's pooled rows, by the quick path."""
    encoder = a_text_encoder()
    return jax.jit(lambda tokens: encoder(tokens, jnp.dtype("float32")))


# Patches


def patches_by_loops(images, P=P):
    B, S, _, _ = images.shape
    squares = [images[:, y : y + P, x : x + P].reshape(B, -1) for y in range(0, S, P) for x in range(0, S, P)]
    return np.stack(squares, axis=1)


@pytest.mark.exercise("6.1")
def test_patchify_cuts_row_by_row_and_flattens_as_y_x_channel():
    """Grid, patch, channels and batch all differ; every number is another."""
    b, y, x, channel = np.indices((B, 8, 8, 3))
    images = (1000 * b + 100 * y + 10 * x + channel).astype(np.float32)
    hint = "pixel (y, x) has 1000 picture + 100 y + 10 x + channel; patches go row by row, and each is flattened as (y, x, channel)"
    check("patchify of pictures (B, 8, 8, 3) into patches of side 2", patchify(jnp.asarray(images), 2), patches_by_loops(images, 2), 0, hint)


@pytest.mark.exercise("6.1")
def test_patchify_of_other_sizes_moves_every_number_and_changes_none():
    for side in (4, 8):  # four patches, and the whole picture as one
        images = seeded(side).normal(size=(2, 8, 8, 3)).astype(np.float32)
        check(f"patchify of pictures (2, 8, 8, 3), side {side}", patchify(jnp.asarray(images), side), patches_by_loops(images, side), 0)


@pytest.mark.exercise("6.1")
def test_patchify_can_be_compiled_and_keeps_the_dtype():
    got = jax.eval_shape(lambda images: patchify(images, 2), jax.ShapeDtypeStruct((B, 8, 8, 3), jnp.bfloat16))
    equals("patchify of bfloat16 pictures, compiled: its shape", tuple(got.shape), (B, 16, 12))
    equals("patchify of bfloat16 pictures, compiled: its dtype", str(got.dtype), "bfloat16", "numbers are moved, none is changed")


def test_patchify_puts_the_right_half_of_a_picture_into_the_odd_patches():
    picture = np.zeros((1, 2 * P, 2 * P, 3), np.float32)
    picture[:, :, P:] = 1
    got = np.asarray(patchify(jnp.asarray(picture), P)).mean(-1)[0].tolist()
    assert got == [0, 1, 0, 1], f"patchify: a picture whose right half is white should have patches of 0, 1, 0, 1, got {got}: row by row"


def test_patch_embedding_is_a_convolution_with_stride_p():
    encoder = an_image_encoder()
    kernel = encoder.patch_embedding.kernel[...]
    want = jax.lax.conv_general_dilated(
        jnp.asarray(IMAGES), kernel.reshape(P, P, 3, IMAGE.width), (P, P), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    got = encoder.patch_embedding(patchify(jnp.asarray(IMAGES), P))
    check("the embedded patches", got, want.reshape(B, -1, IMAGE.width), 1e-5, "a kernel (P, P, 3, D) flattened is (y, x, channel) by D")
    assert encoder.patch_embedding.bias is None, "patch embedding: OpenAI's has no bias"


# The image encoder


def image_tokens_by_numpy(p, images):
    """The embedded patches, and what goes into the first block."""
    patches = numpy_linear(p["patch_embedding"], patches_by_loops(images.astype(np.float64)))
    first = np.broadcast_to(p["class_embedding"], (len(images), 1, IMAGE.width))
    return patches, numpy_layer_norm(p["norm_pre"], np.concatenate([first, patches], axis=1) + p["position_embedding"])


def image_by_numpy(p, images):
    x = image_tokens_by_numpy(p, images)[1]
    for i in range(IMAGE.depth):
        x = numpy_block(p["blocks"][i], x, IMAGE.heads)
    return numpy_layer_norm(p["norm_post"], x[:, 0])


IMAGE_RECORD = sorted(["patches", "tokens", *(f"{kind}_{i}" for i in range(IMAGE.depth) for kind in ("block", "attention"))])


@pytest.mark.exercise("6.2")
def test_image_encoder_is_openais_vit_and_notes_every_step():
    encoder, images = an_image_encoder(), seeded(1).normal(size=(B, S, S, 3)).astype(np.float32)
    p = numbers(encoder)
    patches, tokens = image_tokens_by_numpy(p, images)

    @jax.jit
    def run(images):
        record = {}
        return encoder(images, record), record

    pooled, record = run(images)
    equals("the names in ImageEncoder's record", sorted(record), IMAGE_RECORD)
    check("the embedded patches (B, N - 1, D)", record["patches"], patches, 1e-5)
    hint = "the class token and the patches, each with its position, normalised"
    check("the tokens before the first block (B, N, D)", record["tokens"], tokens, 1e-5, hint)
    hint = "the tokens before the first block are right; the last block's token 0, normalised"
    check("ImageEncoder", pooled, image_by_numpy(p, images), 1e-5, hint)


@pytest.mark.exercise("6.2")
def test_image_encoder_without_a_record_gives_the_same():
    encoder, images = an_image_encoder(), seeded(2).normal(size=(B, S, S, 3)).astype(np.float32)
    check("ImageEncoder without a record", call(encoder, jnp.asarray(images)), image_by_numpy(numbers(encoder), images), 1e-5)


@pytest.mark.exercise("6.2")
def test_image_encoder_computes_in_the_dtype_of_its_images():
    encoder = an_image_encoder()

    def run(images):
        record = {}
        return encoder(images, record), record["tokens"]

    shapes = jax.eval_shape(run, jax.ShapeDtypeStruct((B, S, S, 3), jnp.bfloat16))
    hint = "images in bfloat16, and all that they meet is made bfloat16 too"
    equals("the dtypes of ImageEncoder's result and tokens", [str(a.dtype) for a in shapes], ["bfloat16"] * 2, hint)


def test_the_class_token_comes_first_and_position_0_is_its_own(image_run):
    encoder = an_image_encoder()
    p = numbers(encoder)
    _, record = image_run(IMAGES)
    want = numpy_layer_norm(p["norm_pre"], p["class_embedding"] + p["position_embedding"][0])
    check(
        "the first token",
        record["tokens"][:, 0],
        np.tile(want, (B, 1)),
        1e-5,
        "it is norm_pre(class embedding + position 0), whatever the picture",
    )
    patch = numpy_linear(p["patch_embedding"], patches_by_loops(IMAGES)) + p["position_embedding"][1:]
    check("the other tokens", record["tokens"][:, 1:], numpy_layer_norm(p["norm_pre"], patch), 1e-5, "patch i has position i + 1")


def test_only_positions_tell_patches_apart(image_run):
    order = RNG.permutation(9)
    squares = IMAGES.reshape(B, 3, P, 3, P, 3).transpose(0, 1, 3, 2, 4, 5).reshape(B, 9, P, P, 3)[:, order]
    shuffled = squares.reshape(B, 3, 3, P, P, 3).transpose(0, 1, 3, 2, 4, 5).reshape(B, S, S, 3)
    moved = an_image_encoder()
    moved.position_embedding[...] = moved.position_embedding[...][np.concatenate([[0], 1 + order])]
    before, _ = image_run(IMAGES)
    check(
        "pooled, patches shuffled together with their positions",
        image_run(shuffled, moved)[0],
        before,
        1e-5,
        "position i + 1 belongs to patch i",
    )
    differs("pooled, patches shuffled and positions not", image_run(shuffled)[0], before, 1e-2, "are the positions used?")


def test_every_patch_reaches_the_pooled_vector(image_run):
    before, _ = image_run(IMAGES)
    for row, column in np.ndindex(3, 3):
        other = IMAGES.copy()
        other[:, row * P : (row + 1) * P, column * P : (column + 1) * P] += 1
        differs(f"pooled after a change of patch ({row}, {column})", image_run(other)[0], before, 1e-3, "the image tower has no mask")


def test_pictures_do_not_see_each_other(image_run):
    other = IMAGES.copy()
    other[1] += 1
    rest = np.array([0, 2, 3, 4])
    check(
        "pooled of the other pictures after a change of picture 1",
        image_run(other)[0][rest],
        image_run(IMAGES)[0][rest],
        0,
        "does a batch axis mix?",
    )


# The text encoder


def sentences(k):
    """Token ids (B, T) whose first end tokens stand first, last and between, most with a second one behind, and where those are."""
    rng = seeded(k)
    tokens = rng.choice([token for token in range(V) if token != END], size=(B, T))
    ends = [0, T - 1, *rng.integers(1, T - 2, size=B - 2)]
    for row, end in zip(tokens, ends, strict=True):
        row[[end, rng.integers(end, T)]] = END
    tokens[-1, -1] = END
    return tokens, ends


def text_tokens_by_numpy(p, tokens):
    return p["token_embedding"][tokens] + p["position_embedding"][: tokens.shape[1]]


def text_by_numpy(p, tokens, ends):
    x, T = text_tokens_by_numpy(p, tokens), tokens.shape[1]
    for i in range(TEXT.depth):
        x = numpy_block(p["blocks"][i], x, TEXT.heads, np.tril(np.ones((T, T), bool)))
    return numpy_layer_norm(p["norm_final"], x[np.arange(len(tokens)), ends])


TEXT_RECORD = sorted(["tokens", *(f"{kind}_{i}" for i in range(TEXT.depth) for kind in ("block", "attention"))])


@pytest.mark.exercise("5.2")
def test_text_encoder_is_openais_and_reads_the_first_end_token():
    encoder, (tokens, ends) = a_text_encoder(), sentences(3)
    p = numbers(encoder)

    @jax.jit
    def run(tokens):
        record = {}
        return encoder(tokens, jnp.dtype("float32"), record), record

    pooled, record = run(tokens)
    equals("the names in TextEncoder's record", sorted(record), TEXT_RECORD)
    hint = "a row of each of the two tables, added"
    check("the tokens before the first block (B, T, D)", record["tokens"], text_tokens_by_numpy(p, tokens), 1e-5, hint)
    hint = "the tokens before the first block are right; the last block's row at the first end token, normalised"
    check("TextEncoder", pooled, text_by_numpy(p, tokens, ends), 1e-5, hint)


@pytest.mark.exercise("5.2")
def test_text_encoder_without_a_record_and_with_sentences_shorter_than_the_context():
    encoder, (tokens, ends) = a_text_encoder(), sentences(4)
    tokens, ends = tokens[:, : T - 2], np.minimum(ends, T - 3)
    tokens[np.arange(B), ends] = END
    got = jax.jit(lambda tokens: encoder(tokens, jnp.dtype("float32")))(tokens)
    check("TextEncoder of sentences of T - 2 tokens", got, text_by_numpy(numbers(encoder), tokens, ends), 1e-5, "positions count from the start")


@pytest.mark.exercise("5.2")
def test_text_encoder_computes_in_the_dtype_it_is_given():
    encoder = a_text_encoder()

    def run(tokens):
        record = {}
        return encoder(tokens, jnp.dtype("bfloat16"), record), record["tokens"]

    shapes = jax.eval_shape(run, jax.ShapeDtypeStruct((B, T), jnp.int32))
    hint = "dtype is bfloat16; the two tables are float32"
    equals("the dtypes of TextEncoder's result and tokens", [str(a.dtype) for a in shapes], ["bfloat16"] * 2, hint)


def test_what_stands_after_the_end_token_cannot_matter(read):
    other = TOKENS.copy()
    for row, end in zip(other, ENDS, strict=True):
        row[end + 1 :] = RNG.permutation(V)[: T - 1 - end]
    check(
        "pooled, with other tokens after the end",
        read(other),
        read(TOKENS),
        0,
        "a later token is seen, or it is not the first end token that is read",
    )


def test_every_token_up_to_the_end_matters(read):
    before = read(TOKENS)
    for row, end in enumerate(ENDS):
        for i in range(end):
            other = TOKENS.copy()
            other[row, i] = 1 if other[row, i] != 1 else 2
            differs(
                f"pooled of sentence {row} after a change of token {i}",
                read(other)[row],
                before[row],
                1e-3,
                "the end token sees all before it",
            )


def test_a_shorter_array_gives_the_same_vectors(read):
    short = TOKENS[[0, 1, 4], :5]
    check(
        "pooled of sentences cut after the end token",
        read(short),
        read(TOKENS)[np.array([0, 1, 4])],
        1e-6,
        "positions count from the start",
    )


@pytest.mark.exercise("5.1")
def test_end_position_is_that_of_the_first_end_token():
    tokens, ends = sentences(5)
    hint = f"the end token is {END} here; ids go up to {V - 1}, and it may stand twice"
    check("end_position", end_position(jnp.asarray(tokens), END), ends, 0, hint)
    tokens, ends = np.array([[2, 0, 1, 0, 0], [0, 2, 2, 1, 2], [1, 2, 1, 1, 0]]), [1, 0, 4]
    check("end_position, where the end token is 0", end_position(jnp.asarray(tokens), 0), ends, 0, "no id is special but the one that is given")


@pytest.mark.exercise("5.1")
def test_end_position_can_be_compiled():
    got = jax.eval_shape(lambda tokens: end_position(tokens, END), jax.ShapeDtypeStruct((B, T), jnp.int32))
    equals("end_position, compiled: its shape", tuple(got.shape), (B,))


@pytest.mark.exercise("4.1")
@pytest.mark.parametrize("size", [2, 1, 7])
def test_causal_mask_lets_a_token_look_at_itself_and_back(size):
    mask, want = causal_mask(size), np.array([[j <= i for j in range(size)] for i in range(size)])
    check(f"causal_mask({size})", mask, want, 0, "row i says where token i may look: at itself, and at all before it")
    assert isinstance(mask, jax.Array), f"causal_mask: want an array of JAX, got {type(mask).__module__}.{type(mask).__name__}"


def test_towers_of_one_block_work_too():
    one = randomised(lambda: TextEncoder(TextConfig(V, T, END, 16, 1, 2, 24), rngs=nnx.Rngs(0)), 3)
    p = numbers(one)
    x = numpy_block(p["blocks"][0], p["token_embedding"][TOKENS] + p["position_embedding"], 2, np.tril(np.ones((T, T), bool)))
    got = jax.jit(lambda tokens: one(tokens, jnp.dtype("float32")))(TOKENS)
    check("TextEncoder of depth 1", got, numpy_layer_norm(p["norm_final"], x[np.arange(B), ENDS]), 1e-5, "its first block is also its last")


def test_activation_and_eps_come_from_the_configuration(image_run):
    other = randomised(lambda: ImageEncoder(ImageConfig(S, P, 12, 2, 3, 20, "gelu"), rngs=nnx.Rngs(0)), 1)
    differs(
        "pooled with gelu instead of quick_gelu", call(other, jnp.asarray(IMAGES)), image_run(IMAGES)[0], 1e-4, "is the activation fixed?"
    )
    for make, config in ((ImageEncoder, ImageConfig(eps=1e-3)), (TextEncoder, TextConfig(eps=1e-3))):
        module = nnx.eval_shape(lambda make=make, config=config: make(config, rngs=nnx.Rngs(0)))
        eps = {m.eps for _, m in nnx.iter_graph(module) if hasattr(m, "eps")}
        assert eps == {1e-3}, f"{make.__name__}: every LayerNorm should have the configuration's eps 0.001, got {eps}"
