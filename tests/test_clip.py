"""CLIP as a whole: unit vectors, one temperature, two paths that agree."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import check, check_gradients, differs, equals, numbers, numerical_gradient, randomised, seeded

from tinyclip.clip import CLIP, l2_normalise
from tinyclip.config import CLIPConfig, ImageConfig, TextConfig

B, M, S, T, V, E, END = 5, 8, 9, 7, 11, 6, 3
IMAGE = ImageConfig(size=S, patch=3, width=12, depth=1, heads=3, mlp=20)
TEXT = TextConfig(vocab=V, context=T, end_token=END, width=16, depth=2, heads=2, mlp=24)
CONFIG = CLIPConfig(image=IMAGE, text=TEXT, embed=E)
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(B, S, S, 3)).astype(np.float32)
TOKENS = RNG.integers(4, V, size=(M, T))  # int64, as NumPy makes them
TOKENS[np.arange(M), RNG.integers(2, T, size=M)] = END


def a_clip(config=CONFIG, seed=1):
    return randomised(lambda: CLIP(config, rngs=nnx.Rngs(0)), seed)


@pytest.fixture(scope="module")
def paths():
    """Both paths of both encoders, with the gradient of one and the same function of their embeddings."""
    graphdef, params = nnx.split(a_clip())

    def run(params, intermediates):
        model = nnx.merge(graphdef, params)
        images, texts = model.encode_image(IMAGES, intermediates), model.encode_text(TOKENS, intermediates)
        (x, seen), (y, said) = (images, texts) if intermediates else ((images, {}), (texts, {}))
        return (jnp.sin(3 * x @ y.T) * jnp.arange(1.0, M + 1)).sum(), (x, y, seen, said)

    both = (jax.jit(jax.value_and_grad(partial(run, intermediates=flag), has_aux=True))(params) for flag in (False, True))
    return [(aux, gradient) for (_, aux), gradient in both]


# l2_normalise


@pytest.mark.exercise("1.1")
def test_l2_normalise_gives_x_over_its_length():
    x = seeded(1).normal(size=(2, B, E)).astype(np.float32) * 10
    want = np.array([[row / math.sqrt(sum(v * v for v in row)) for row in rows] for rows in x.astype(float)])
    table = np.concatenate([[[3, 4, 0, 0, 0, 0]], x[0, 1:]]).astype(np.float32)
    got = l2_normalise(jnp.asarray(table))
    if np.shape(got) == (B, E):
        check("l2_normalise, row 0 of a table, 3, 4, 0, 0, 0, 0", np.asarray(got)[0], np.array([0.6, 0.8, 0, 0, 0, 0]), 1e-6, "3² + 4² = 5²")
    check(f"l2_normalise of a table (B, E) = {(B, E)}", got, np.concatenate([[[0.6, 0.8, 0, 0, 0, 0]], want[0, 1:]]), 1e-6)
    check(f"l2_normalise of vectors in a table, {x.shape}", l2_normalise(jnp.asarray(x)), want, 1e-6, "the last axis is that of a vector's numbers")


@pytest.mark.exercise("1.1")
def test_l2_normalise_of_zeros_is_zeros_with_a_finite_gradient():
    x, w = seeded(2).normal(size=(2, B, E)).astype(np.float32)
    unit = x / np.sqrt((x * x).sum(-1, keepdims=True))
    x[2] = unit[2] = 0
    check("l2_normalise with a row of zeros among others", l2_normalise(jnp.asarray(x)), unit, 1e-6, "the row of zeros stays zeros")
    short = l2_normalise(jnp.asarray(x[0] * 1e-4))
    check("l2_normalise of a vector of about 1e-4", short, unit[0], 1e-3, "eps, 1e-12, is added to the sum of squares, and no more than that")
    gradient = jax.grad(lambda x: (l2_normalise(x) * w).sum())(jnp.asarray(x))
    finite = bool(jnp.isfinite(gradient).all())
    equals("is the gradient of l2_normalise at a row of zeros finite", finite, True, "x / |x| has none there, x · rsqrt(Σ x² + eps) has")


def test_the_gradient_of_l2_normalise_is_orthogonal_to_the_vector_and_right():
    with jax.enable_x64(True):
        x, w = RNG.normal(size=(B, E)), RNG.normal(size=(B, E))
        f = jax.jit(lambda x: (l2_normalise(x) * w).sum())
        gradient = jax.grad(f)(jnp.asarray(x))
        check("gradient of l2_normalise", gradient, numerical_gradient(f, x), 1e-8, "does the gradient flow through the length too?")
        check(
            "gradient of l2_normalise along the vector", (gradient * x).sum(-1), np.zeros(B), 1e-9, "a longer vector has the same direction"
        )


@pytest.mark.exercise("1.1")
def test_l2_normalise_works_in_at_least_float32():
    x = jnp.asarray(seeded(3).normal(size=(B, E)), jnp.bfloat16)
    got = l2_normalise(x)
    equals("the dtype of l2_normalise of bfloat16", str(got.dtype), "float32")
    check("the lengths of normalised bfloat16 vectors", np.linalg.norm(got, axis=-1), np.ones(B), 1e-6, "float32 knows 7 digits, bfloat16 only 3")
    with jax.enable_x64(True):
        equals("the dtype of l2_normalise of float64", str(l2_normalise(jnp.ones(3, "float64")).dtype), "float64")


# The model


def test_embeddings_are_unit_vectors_of_e_numbers(paths):
    (x, y, _, _), _ = paths[0]
    for name, embeddings, rows in (("encode_image", x, B), ("encode_text", y, M)):
        assert embeddings.shape == (rows, E), f"{name}: want {rows} vectors of {E} numbers, got {embeddings.shape}"
        check(
            f"{name}: the vectors' lengths",
            jnp.sqrt((embeddings**2).sum(-1)),
            np.ones(rows, np.float32),
            1e-5,
            "did you forget to normalise?",
        )
        differs(f"{name}: the first vector and the second", embeddings[0], embeddings[1], 1e-2, "all inputs give the same vector")


def test_embeddings_are_the_projected_pooled_vectors_normalised(paths):
    p = numbers(a_clip())
    _, _, seen, said = paths[1][0]
    for name, embeddings, record in (("image", paths[1][0][0], seen), ("text", paths[1][0][1], said)):
        projected = np.asarray(record["pooled"], np.float64) @ p[f"{name}_projection"]["kernel"]
        check(f"{name}: projected", record["projected"], projected, 1e-5, "the projection is a matrix (D, E) without bias")
        check(
            f"{name}: embeddings",
            embeddings,
            projected / np.linalg.norm(projected, axis=-1, keepdims=True),
            1e-5,
            "project first, then normalise",
        )
        assert set(p[f"{name}_projection"]) == {"kernel"}, (
            f"{name}_projection: want a kernel and no bias, got {sorted(p[f'{name}_projection'])}"
        )


def test_intermediates_have_these_names_and_shapes(paths):
    _, _, seen, said = paths[1][0]
    N, want = 10, {}
    want["encode_image"] = {
        "patches": (B, N - 1, 12), "tokens": (B, N, 12), "block_0": (B, N, 12),
        "attention_0": (B, 3, N, N), "pooled": (B, 12), "projected": (B, E),
    }  # fmt: skip
    want["encode_text"] = {
        "tokens": (M, T, 16), "block_0": (M, T, 16), "block_1": (M, T, 16),
        "attention_0": (M, 2, T, T), "attention_1": (M, 2, T, T), "pooled": (M, 16), "projected": (M, E),
    }  # fmt: skip
    for name, record in (("encode_image", seen), ("encode_text", said)):
        shapes = {key: value.shape for key, value in record.items()}
        assert shapes == want[name], f"{name}(intermediates=True): want {want[name]}, got {shapes}"
        for i in range(2 if record is said else 1):
            check(
                f"{name}: attention_{i} summed over keys",
                record[f"attention_{i}"].sum(-1),
                np.ones(shapes[f"attention_{i}"][:3], np.float32),
                1e-5,
            )


def test_the_path_with_intermediates_agrees_with_the_quick_one_in_outputs_and_gradients(paths):
    ((x, y, _, _), gradient), ((x_all, y_all, _, _), gradient_all) = paths
    check("encode_image with intermediates", x_all, x, 1e-6, "the quick path computes one row of the last block: it must be the same row")
    check("encode_text with intermediates", y_all, y, 1e-6, "the quick path computes one row of the last block: it must be the same row")
    check_gradients(
        "encoding with intermediates", gradient_all, gradient, 1e-6, "the quick path must give keys and values of all tokens their gradient"
    )


def test_every_parameter_gets_a_gradient(paths):
    _, gradient = paths[0]
    for path, leaf in jax.tree_util.tree_flatten_with_path(gradient)[0]:
        name = jax.tree_util.keystr(path)
        if "log_logit_scale" not in name and "['key']['bias']" not in name:  # the first is not in that function; the second cannot matter
            assert float(jnp.abs(leaf).max()) > 1e-4, f"{name} gets no gradient: is it used?"


def test_the_logit_scale_is_the_exponential_of_its_parameter_and_starts_at_1_over_0_07():
    fresh = jax.jit(lambda: CLIP(CONFIG, rngs=nnx.Rngs(0)).log_logit_scale[...])()  # the other parameters are not even compiled
    check("fresh log_logit_scale", fresh, np.float32(math.log(1 / 0.07)), 1e-6, mistakes={
        "it holds the multiplier itself: want its logarithm": np.float32(1 / 0.07),
        "this is the logarithm of the temperature: want that of 1 / temperature": np.float32(math.log(0.07)),
    })  # fmt: skip
    model = a_clip()
    model.log_logit_scale[...] = jnp.asarray(1.5)
    check("logit_scale", model.logit_scale, np.float32(math.exp(1.5)), 1e-6, mistakes={"did you forget the exponential?": np.float32(1.5)})


def test_calling_the_model_gives_images_texts_and_the_exponentiated_scale(paths):
    model = a_clip()
    model.log_logit_scale[...] = jnp.asarray(1.5)
    out = jax.jit(lambda: model(IMAGES, TOKENS))()
    assert len(out) == 3, f"CLIP(...): want image embeddings, text embeddings and the scale, got {len(out)} things"
    (x, y, _, _), _ = paths[0]
    check("CLIP(...)[0]", out[0], x, 1e-6, "first the image embeddings")
    check("CLIP(...)[1]", out[1], y, 1e-6, "then the text embeddings")
    check("CLIP(...)[2]", out[2], np.float32(math.exp(1.5)), 1e-6, mistakes={"the scale should be exponentiated already": np.float32(1.5)})


def test_only_a_sigmoid_model_has_a_bias_and_it_starts_at_scale_10_bias_minus_10():
    assert a_clip().logit_bias is None, "a contrastive model must have no logit_bias: softmax would not notice it"
    sigmoid = CLIPConfig(image=IMAGE, text=TEXT, embed=E, loss="sigmoid")
    bias, scale = jax.jit(lambda: [(model := CLIP(sigmoid, rngs=nnx.Rngs(0))).logit_bias[...], model.log_logit_scale[...]])()
    check("fresh logit_bias", bias, np.float32(-10), 0)
    check("fresh log_logit_scale of a sigmoid model", scale, np.float32(math.log(10)), 1e-6, "it starts at a scale of 10")


def test_numpy_and_jax_arrays_are_both_welcome(paths):
    model = a_clip()
    (x, y, _, _), _ = paths[0]  # from NumPy, under jit
    check("encode_image of a JAX array", jax.jit(model.encode_image)(jnp.asarray(IMAGES)), x, 1e-6)
    check("encode_text of a JAX array of int32", jax.jit(model.encode_text)(jnp.asarray(TOKENS, jnp.int32)), y, 1e-6)


def test_modules_hold_nothing_but_params():
    state = nnx.eval_shape(lambda: CLIP(CONFIG, rngs=nnx.Rngs(0)))
    variables = [(path, value) for path, value in nnx.iter_graph(state) if isinstance(value, nnx.Variable)]
    others = ["/".join(map(str, path)) for path, value in variables if type(value) is not nnx.Param]
    assert len(variables) > 50, f"want all the parameters of two towers, found only {len(variables)} variables"
    assert not others, (
        f"{', '.join(others)}: not an nnx.Param; a module that holds random keys or statistics behaves differently in the tree mode"
    )


def test_the_model_works_in_the_tree_mode_of_nnx(paths):
    graphdef, params = nnx.split(a_clip(), graph=False)
    got = jax.jit(lambda params: nnx.merge(graphdef, params).encode_text(TOKENS))(params)
    check("encode_text in the tree mode", got, paths[0][0][1], 1e-6, "are two modules sharing one array, or is a list not an nnx.List?")


def test_bfloat16_is_a_switch_that_leaves_parameters_and_similarity_in_float32(paths):
    config = CLIPConfig(image=IMAGE, text=TEXT, embed=E, dtype="bfloat16")
    graphdef, params = nnx.split(a_clip(config))
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(params)}
    assert dtypes == {"float32"}, f"parameters must stay float32 under dtype='bfloat16', got {dtypes}"

    def run(params):
        model = nnx.merge(graphdef, params)
        (x, seen), (y, said) = model.encode_image(IMAGES, True), model.encode_text(TOKENS, True)
        return (x @ y.T).sum(), (x, y, seen, said, model.logit_scale)

    _, (x, y, seen, said, scale) = jax.jit(run)(params)
    gradient, _ = jax.eval_shape(jax.grad(run, has_aux=True), params)
    for name, record in (("encode_image", seen), ("encode_text", said)):
        for key in ("tokens", "block_0", "pooled", "projected"):
            assert record[key].dtype == jnp.bfloat16, f"{name}: {key} should be bfloat16 under the switch, got {record[key].dtype}"
    for name, value in (("image embeddings", x), ("text embeddings", y), ("logit_scale", scale)):
        assert value.dtype == jnp.float32, f"{name} must be float32 even when the towers compute in bfloat16, got {value.dtype}"
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(gradient)} == {"float32"}, "gradients of float32 parameters must be float32"
    (want, want_texts, _, _), _ = paths[0]
    check("image embeddings in bfloat16", x, want, 0.1, "more than rounding is lost")
    check("text embeddings in bfloat16", y, want_texts, 0.1, "more than rounding is lost")
    assert float(jnp.abs(x - want).max()) > 1e-5, "dtype='bfloat16' changes nothing: is the switch connected?"


def test_float64_parameters_compute_in_float64():
    with jax.enable_x64(True):
        model = randomised(lambda: CLIP(CONFIG, rngs=nnx.Rngs(0)), 1, np.float64)
        got = jax.eval_shape(lambda: model(IMAGES, TOKENS))
    assert [str(a.dtype) for a in got] == ["float64"] * 3, f"a float64 model should compute in float64, got {[str(a.dtype) for a in got]}"
