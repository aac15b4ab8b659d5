"""The two towers, against plain NumPy, and the ways in which a ViT or a text encoder is almost right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import call, check, differs, numbers, numpy_block, numpy_layer_norm, numpy_linear, randomised

from tinyclip.config import ImageConfig, TextConfig
from tinyclip.encoders import ImageEncoder, TextEncoder, causal_mask, end_position, patchify

B, S, P = 5, 9, 3  # 3 x 3 patches of 27 numbers, N = 10 tokens
T, V, END = 7, 11, 3  # the end token is not the largest id
IMAGE = ImageConfig(size=S, patch=P, width=12, depth=2, heads=3, mlp=20)
TEXT = TextConfig(vocab=V, context=T, end_token=END, width=16, depth=2, heads=2, mlp=24)
RNG = np.random.default_rng(0)
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


def patches_by_loops(images, order="y x c", columns_first=False):
    B, S, _, C = images.shape
    grid, rows = S // P, []
    for b in range(B):
        for first in range(grid):
            for second in range(grid):
                row, column = (second, first) if columns_first else (first, second)
                square = images[b, row * P : (row + 1) * P, column * P : (column + 1) * P]  # (y, x, C)
                axes = {"y": 0, "x": 1, "c": 2}
                rows.append(square.transpose([axes[name] for name in order.split()]).reshape(-1))
    return np.stack(rows).reshape(B, grid * grid, P * P * C)


def test_patchify_cuts_row_by_row_and_flattens_as_y_x_channel():
    check("patchify", patchify(jnp.asarray(IMAGES), P), patches_by_loops(IMAGES), 0, mistakes={
        "each patch is flattened as (channel, y, x): want (y, x, channel)": patches_by_loops(IMAGES, "c y x"),
        "each patch is flattened as (x, y, channel): want (y, x, channel)": patches_by_loops(IMAGES, "x y c"),
        "the patches are listed column by column: want row by row": patches_by_loops(IMAGES, columns_first=True),
        "the rows of pixels are cut, not squares: did you forget the transpose?": IMAGES.reshape(B, 9, 27),
    })  # fmt: skip


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


def image_by_numpy(p, images, *, class_last=False, norm_pre=True, norm_post=True, mean_pool=False, late_norm=False, read=None):
    patches = numpy_linear(p["patch_embedding"], patches_by_loops(images.astype(np.float64)))
    first = np.broadcast_to(p["class_embedding"], (len(images), 1, IMAGE.width))
    x = np.concatenate([patches, first] if class_last else [first, patches], axis=1)
    x = numpy_layer_norm(p["norm_pre"], x) + p["position_embedding"] if late_norm else x + p["position_embedding"]
    x = numpy_layer_norm(p["norm_pre"], x) if norm_pre and not late_norm else x
    for i in range(IMAGE.depth):
        x = numpy_block(p["blocks"][i], x, IMAGE.heads)
    pooled = x.mean(1) if mean_pool else x[:, read if read is not None else -1 if class_last else 0]
    return numpy_layer_norm(p["norm_post"], pooled) if norm_post else pooled


def test_image_encoder_is_openais_vit():
    encoder = an_image_encoder()
    p = numbers(encoder)
    check("ImageEncoder", call(encoder, jnp.asarray(IMAGES)), image_by_numpy(p, IMAGES), 1e-5, mistakes={
        "the class token comes first, and position 0 belongs to it": image_by_numpy(p, IMAGES, class_last=True),
        "it is read at the first token, but the class token stands last": image_by_numpy(p, IMAGES, class_last=True, read=0),
        "did you forget norm_pre, before the first block?": image_by_numpy(p, IMAGES, norm_pre=False),
        "norm_pre comes after the positions are added, not before": image_by_numpy(p, IMAGES, late_norm=True),
        "did you forget norm_post?": image_by_numpy(p, IMAGES, norm_post=False),
        "this is the mean of all tokens: a CLIP reads off the class token": image_by_numpy(p, IMAGES, mean_pool=True),
        "did you forget the class token's position embedding?": image_by_numpy(without_position_0(p), IMAGES),
        "did you forget the position embeddings?": image_by_numpy(p | {"position_embedding": 0 * p["position_embedding"]}, IMAGES),
    })  # fmt: skip


def without_position_0(p):
    positions = p["position_embedding"].copy()
    positions[0] = 0
    return p | {"position_embedding": positions}


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


def text_by_numpy(p, tokens, pool=None, mask=True, positions=True, norm=True):
    T = tokens.shape[1]
    causal = np.tril(np.ones((T, T), bool))
    mask = {True: causal, "transposed": causal.T, False: None}[mask]
    x = p["token_embedding"][tokens] + (p["position_embedding"][:T] if positions else 0)
    for i in range(TEXT.depth):
        x = numpy_block(p["blocks"][i], x, TEXT.heads, mask)
    at = [list(row).index(END) for row in tokens] if pool is None else pool
    pooled = x[np.arange(len(tokens)), at]
    return numpy_layer_norm(p["norm_final"], pooled) if norm else pooled


def test_text_encoder_is_openais_and_reads_the_first_end_token(read):
    p = numbers(a_text_encoder())
    last = [T - 1 - list(row[::-1]).index(END) for row in TOKENS]
    check("TextEncoder", read(TOKENS), text_by_numpy(p, TOKENS), 1e-5, mistakes={
        "it is read at the largest id: want the first end token": text_by_numpy(p, TOKENS, TOKENS.argmax(1)),
        "it is read at the last end token: want the first": text_by_numpy(p, TOKENS, last),
        "it is read at the last position: want the first end token": text_by_numpy(p, TOKENS, [T - 1] * B),
        "it is read at the first position: want the first end token": text_by_numpy(p, TOKENS, [0] * B),
        "is the causal mask transposed?": text_by_numpy(p, TOKENS, mask="transposed"),
        "did you forget norm_final?": text_by_numpy(p, TOKENS, norm=False),
        "did you forget the causal mask?": text_by_numpy(p, TOKENS, mask=False),
        "did you forget the position embeddings?": text_by_numpy(p, TOKENS, positions=False),
    })  # fmt: skip


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


def test_end_position_is_that_of_the_first_end_token():
    check("end_position", end_position(jnp.asarray(TOKENS), END), ENDS, 0, mistakes={
        "this is the position of the largest id: want the first end token": TOKENS.argmax(1),
        "this is the position of the last end token: want the first": [T - 1 - list(row[::-1]).index(END) for row in TOKENS],
    })  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 7])
def test_causal_mask_lets_a_token_look_at_itself_and_back(size):
    want = np.array([[j <= i for j in range(size)] for i in range(size)])
    check("causal_mask", causal_mask(size), want, 0, mistakes={
        "it is transposed: row i says where token i may look": want.T,
        "a token may look at itself": want & ~np.eye(size, dtype=bool),
    })  # fmt: skip


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
