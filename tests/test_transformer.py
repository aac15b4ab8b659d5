"""The block both towers are built from, against plain loops."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import call, check, check_gradients, differs, equals, numbers, randomised, seeded

from tinyclip.transformer import MLP, Attention, Block, LayerNorm, Linear, at_least_float32, gelu, quick_gelu

B, T, D, H, F = 5, 7, 12, 3, 20  # batch, tokens, width, heads (of 4 numbers each), hidden width of the MLP
RNG = seeded()
X = RNG.normal(size=(B, T, D)).astype(np.float32)
CAUSAL = np.array([[j <= i for j in range(T)] for i in range(T)])


def an_attention(seed=1, dtype=np.float32):
    return randomised(lambda: Attention(D, H, out_std=0.1, rngs=nnx.Rngs(0)), seed, dtype)


def a_block(seed=2, dtype=np.float32):
    return randomised(lambda: Block(D, H, F, 2, activation="quick_gelu", eps=1e-5, rngs=nnx.Rngs(0)), seed, dtype)


# Activations


def test_quick_gelu_is_x_times_sigmoid_of_1_702_x():
    x = np.linspace(-6, 6, 41, dtype=np.float32)
    want = [v / (1 + math.exp(-1.702 * v)) for v in x.tolist()]
    exact = [v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in x.tolist()]
    silu = [v / (1 + math.exp(-v)) for v in x.tolist()]
    check("quick_gelu", quick_gelu(jnp.asarray(x)), want, 1e-6, mistakes={
        "this is the exact GELU: OpenAI's weights need x sigmoid(1.702 x)": exact,
        "did you forget the factor 1.702?": silu,
    })  # fmt: skip


def test_gelu_is_exact_and_not_the_tanh_approximation():
    x = np.linspace(-6, 6, 41, dtype=np.float32)
    want = [v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in x.tolist()]
    tanh = [v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) / 2 for v in x.tolist()]
    check("gelu", gelu(jnp.asarray(x)), want, 1e-6, mistakes={
        "this is the tanh approximation, JAX's default: say approximate=False": tanh,
        "this is quick_gelu": [v / (1 + math.exp(-1.702 * v)) for v in x.tolist()],
    })  # fmt: skip


def test_the_two_gelus_are_up_to_0_0203_apart():
    x = jnp.linspace(-6, 6, 2001)
    check(
        "the largest difference of gelu and quick_gelu",
        jnp.abs(gelu(x) - quick_gelu(x)).max(),
        0.0203,
        1e-4,
        "weights trained with one need it",
    )


# Precision


@pytest.mark.parametrize(
    ("given", "want"), [("bfloat16", "float32"), ("float16", "float32"), ("float32", "float32"), ("float64", "float64")]
)
def test_at_least_float32_raises_half_precision_and_never_lowers(given, want):
    with jax.enable_x64(True):
        got = at_least_float32(jnp.ones(3, given)).dtype
    assert got == want, f"at_least_float32: {given} should become {want}, got {got}"


def test_bfloat16_goes_in_and_out_but_softmax_is_float32():
    attention = an_attention()
    x = jnp.asarray(X, jnp.bfloat16)
    out, weights = call(attention, x, x)
    assert out.dtype == jnp.bfloat16, f"Attention: bfloat16 in must give bfloat16 out, got {out.dtype}"
    assert weights.dtype == jnp.float32, f"Attention: the softmax must be taken in float32, got {weights.dtype}"
    check(
        "Attention's weights, summed over the keys",
        weights.sum(-1),
        np.ones((B, H, T), np.float32),
        1e-6,
        "is the softmax taken in bfloat16?",
    )
    check("Attention in bfloat16", out, attention_by_loops(numbers(attention), X, X)[0], 0.05, "much more than rounding is lost")
    y, _ = call(a_block(), x)
    assert y.dtype == jnp.bfloat16, f"Block: bfloat16 in must give bfloat16 out, got {y.dtype}: is a parameter or a constant float32?"


# Linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("lead", [(), (B,), (B, T), (2, B, T)], ids=str)
def test_linear_is_x_w_plus_b_on_the_last_axis(lead, bias):
    i, o = 3, 4
    layer = randomised(lambda: Linear(i, o, bias=bias, rngs=nnx.Rngs(0)), 3)
    x = RNG.normal(size=(*lead, i)).astype(np.float32)
    p = numbers(layer)
    want = np.zeros((*lead, o))
    for at in np.ndindex(*want.shape):
        *token, out = at
        want[at] = sum(float(x[(*token, k)]) * p["kernel"][k, out] for k in range(i)) + (p["bias"][out] if bias else 0)
    check("Linear", layer(jnp.asarray(x)), want, 1e-6, mistakes={"did you forget the bias?": want - p.get("bias", 0)})


def test_linear_without_bias_has_no_bias_and_a_fresh_bias_is_zero():
    assert Linear(2, 3, bias=False, rngs=nnx.Rngs(0)).bias is None, "Linear(bias=False) must have no bias parameter"
    check("a fresh bias", Linear(2, 3, rngs=nnx.Rngs(0)).bias[...], np.zeros(3), 0)


def test_fresh_weights_have_openais_spread():
    width, hidden, depth = 64, 150, 8
    make = partial(Block, width, 2, hidden, depth, activation="gelu", eps=1e-5)
    fresh = jax.jit(lambda: nnx.to_pure_dict(nnx.state(make(rngs=nnx.Rngs(0)))))()
    small = width**-0.5 * (2 * depth) ** -0.5
    for layer, want in [
        (fresh["attention"]["query"], width**-0.5),
        (fresh["attention"]["key"], width**-0.5),
        (fresh["attention"]["value"], width**-0.5),
        (fresh["attention"]["out"], small),
        (fresh["mlp"]["up"], (2 * width) ** -0.5),
        (fresh["mlp"]["down"], small),
    ]:
        check(
            "the spread of a fresh kernel",
            np.std(layer["kernel"]) / want,
            1.0,
            0.05,
            "layers that write into the residual stream start smaller",
        )
    q, k, v = (np.asarray(fresh["attention"][name]["kernel"]) for name in ("query", "key", "value"))
    differs("fresh query and key", q, k, 0.01, "were they drawn with the same random key?")
    differs("fresh key and value", k, v, 0.01, "were they drawn with the same random key?")


# LayerNorm


def layer_norm_by_formula(x, scale, bias, eps=1e-5, axis=-1):
    x = np.asarray(x, np.float64)
    return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + eps) * scale + bias


def a_norm(eps=1e-5):
    norm = randomised(lambda: LayerNorm(D, eps=eps, rngs=nnx.Rngs(0)), 4)
    return norm, numbers(norm)


@pytest.mark.parametrize(
    "shape", [(D,), *(pytest.param(s, marks=pytest.mark.exercise("4.2")) for s in ((B, T, D), (B, D)))], ids=str
)
def test_layer_norm_is_the_formula_for_every_token_alone(shape):
    norm, p = a_norm()
    x = (2 * seeded(1).normal(size=shape) + 0.7).astype(np.float32)
    hint = "every token by itself: its D numbers to mean 0 and variance 1, then scale and bias"
    check(f"LayerNorm of {shape}", norm(jnp.asarray(x)), layer_norm_by_formula(x, **p), 1e-5, hint)


@pytest.mark.exercise("4.2")
def test_layer_norm_uses_its_eps_inside_the_root():
    x = (0.003 * seeded(2).normal(size=(B, D))).astype(np.float32)  # of variance 9e-6, as small as eps
    for eps in (1e-5, 1e-3):
        norm, p = a_norm(eps=eps)
        hint = f"the variance is about 0.000009 here, and eps is {eps:g}: it keeps the root away from 0"
        check(f"LayerNorm of nearly equal numbers, eps {eps:g}", norm(jnp.asarray(x)), layer_norm_by_formula(x, **p, eps=eps), 1e-5, hint)


@pytest.mark.exercise("4.2")
def test_layer_norm_keeps_its_precision_when_the_mean_is_1000():
    norm, p = a_norm()
    x = (seeded(3).normal(size=(B, D)) + 1000).astype(np.float32)
    hint = "the variance is 1, and the mean of x² is a million: float32 has 7 digits"
    check("LayerNorm of numbers around 1000", norm(jnp.asarray(x)), layer_norm_by_formula(x, **p), 5e-4, hint)


@pytest.mark.exercise("4.2")
def test_layer_norm_of_float16_is_float16_and_exact_inside():
    """Their squares are above float16's largest number, 65,504."""
    norm, p = a_norm()
    x = jnp.asarray(seeded(4).choice([-1, 1], size=(B, D)) * seeded(5).uniform(400, 900, size=(B, D)), jnp.float16)
    got = norm(x)
    equals("the dtype of LayerNorm of float16", str(getattr(got, "dtype", type(got).__name__)), "float16", "what goes in as x comes out as y")
    hint = "in float16 their squares, above 65504, are infinite: mean and variance are taken in float32"
    check("LayerNorm of float16 numbers of many hundreds", got, layer_norm_by_formula(np.asarray(x, np.float32), **p), 2**-9, hint)


def test_layer_norm_takes_its_statistics_in_float32_even_in_bfloat16():
    norm, p = a_norm()
    x = jnp.asarray(RNG.normal(size=(B, D)) + 20, jnp.bfloat16)
    want = layer_norm_by_formula(np.asarray(x.astype(jnp.float32)), **p)
    got = norm(x)
    assert got.dtype == jnp.bfloat16, f"LayerNorm: bfloat16 in must give bfloat16 out, got {got.dtype}"
    check(
        "LayerNorm in bfloat16", got, want, 2**-8, "one rounding at the end is all that may be lost: are the statistics taken in bfloat16?"
    )


# Attention


def attention_by_loops(p, queries, tokens, mask=None, scale=(D // H) ** -0.5):
    """softmax(q kᵀ / √K) v, one query and one head at a time. The mask is (R, T) or (B, R, T)."""
    K = D // H
    q, k, v = (x @ p[name]["kernel"] + p[name]["bias"] for name, x in (("query", queries), ("key", tokens), ("value", tokens)))
    R, T = queries.shape[1], tokens.shape[1]
    weights, heads = np.zeros((len(tokens), H, R, T)), np.zeros((len(tokens), R, D))
    for b in range(len(tokens)):
        for h in range(H):
            part = slice(h * K, (h + 1) * K)
            for i in range(R):
                may = [mask is None or (mask[i, j] if mask.ndim == 2 else mask[b, i, j]) for j in range(T)]
                scores = [scale * sum(q[b, i, part] * k[b, j, part]) if may[j] else -math.inf for j in range(T)]
                e = [math.exp(score - max(scores)) for score in scores]
                weights[b, h, i] = [value / sum(e) for value in e]
                heads[b, i, part] = sum(weights[b, h, i, j] * v[b, j, part] for j in range(T))
    return heads @ p["out"]["kernel"] + p["out"]["bias"], weights


R = 6
QUERIES = RNG.normal(size=(B, R, D)).astype(np.float32)
MASKS = {
    "no mask": None,
    "a mask (R, T)": np.array([[(3 * i + 2 * j) % 5 != 0 or j == i for j in range(T)] for i in range(R)]),
    "a mask (B, R, T)": np.array([[[(2 * b + 3 * i + j) % 4 != 0 for j in range(T)] for i in range(R)] for b in range(B)]),
}


def two(name, result):
    """What an attention returns, if it is a pair."""
    given = type(result).__name__
    assert isinstance(result, tuple) and len(result) == 2, f"{name}: want two results, the attended rows and the weights, got {given}"
    return result


@pytest.mark.exercise("4.3")
@pytest.mark.parametrize("name", MASKS)
def test_attention_is_softmax_of_q_k_over_root_k_times_v(name):
    attention, mask = an_attention(), MASKS[name]
    result = call(attention, jnp.asarray(QUERIES), jnp.asarray(X), mask if mask is None else jnp.asarray(mask))
    out, weights = two(f"attention with {name}", result)
    want, want_weights = attention_by_loops(numbers(attention), QUERIES, X, mask)
    check(f"attention weights (B, H, R, T) with {name}", weights, want_weights, 1e-5, "softmax(q kᵀ / √K) over the T tokens, where the mask allows")
    check(f"attention with {name}", out, want, 1e-5, "the weights are right: what is left is the weighted values, head beside head, and `out`")


@pytest.mark.exercise("4.3")
def test_attention_weights_of_a_query_sum_to_1_and_are_0_where_it_may_not_look():
    x = jnp.asarray(100 * X)  # scores of many hundreds
    _, weights = two("attention", call(an_attention(), x, x, jnp.asarray(CAUSAL)))
    check("attention weights of large scores, summed over the tokens", weights.sum(-1), np.ones((B, H, T), np.float32), 1e-6)
    ahead = np.asarray(weights)[:, :, ~CAUSAL]
    check("attention weights where the mask forbids to look", ahead, np.zeros_like(ahead), 0, "exactly 0, however large the scores are")


@pytest.mark.exercise("4.3")
def test_attention_in_bfloat16_takes_its_softmax_in_float32():
    """Numbers so small and whole that bfloat16 holds every product and score exactly: only the softmax can round."""
    rng, attention = seeded(6), an_attention(dtype=jnp.bfloat16)
    for layer in (attention.query, attention.key):
        kernel = np.zeros((D, D))
        kernel[rng.permutation(D), np.arange(D)] = rng.choice([-1, 1], size=D)
        layer.kernel[...], layer.bias[...] = jnp.asarray(kernel, jnp.bfloat16), jnp.zeros(D, jnp.bfloat16)
    x = rng.integers(-1, 2, size=(B, T, D))
    out, weights = two("attention in bfloat16", attention(jnp.asarray(x, jnp.bfloat16), jnp.asarray(x, jnp.bfloat16)))
    kinds = [str(getattr(a, "dtype", type(a).__name__)) for a in (out, weights)]
    equals("the dtypes of attention's result and weights in bfloat16", kinds, ["bfloat16", "float32"], "bfloat16 has 3 digits")
    hint = "bfloat16 has 3 digits: the softmax is taken in float32"
    check("attention weights in bfloat16", weights, attention_by_loops(numbers(attention), x, x)[1], 1e-6, hint)


def test_attention_with_a_square_causal_mask_looks_back_and_not_ahead():
    attention = an_attention()
    p = numbers(attention)
    _, weights = call(attention, jnp.asarray(X), jnp.asarray(X), jnp.asarray(CAUSAL))
    check("attention weights under a causal mask", weights, attention_by_loops(p, X, X, CAUSAL)[1], 1e-5, mistakes={
        "is the mask transposed? Row i says where query i may look": attention_by_loops(p, X, X, CAUSAL.T)[1],
    })  # fmt: skip


def test_a_key_bias_cannot_matter():
    """It adds one number to all scores of a query, which softmax takes out again."""
    attention = an_attention()
    before, _ = call(attention, jnp.asarray(X), jnp.asarray(X))
    attention.key.bias[...] = attention.key.bias[...] + 3.0
    after, _ = call(attention, jnp.asarray(X), jnp.asarray(X))
    check("attention after a change of the key bias", after, before, 1e-5, "is the softmax over another axis than the keys?")
    attention.query.bias[...] = attention.query.bias[...] + 3.0
    differs(
        "attention after a change of the query bias",
        call(attention, jnp.asarray(X), jnp.asarray(X))[0],
        after,
        1e-2,
        "is the query bias used?",
    )


def reorder_columns(attention, order):
    """The same attention with the D inner numbers in another order."""
    other = an_attention()
    for layer in (other.query, other.key, other.value):
        layer.kernel[...] = layer.kernel[...][:, order]
        layer.bias[...] = layer.bias[...][order]
    other.out.kernel[...] = other.out.kernel[...][order]
    return other


def test_heads_may_change_places_but_numbers_may_not_move_between_heads():
    K, heads = D // H, [2, 0, 1]
    attention = an_attention()
    out, weights = call(attention, jnp.asarray(X), jnp.asarray(X))
    swapped, moved = call(
        reorder_columns(attention, np.array([h * K + i for h in heads for i in range(K)])), jnp.asarray(X), jnp.asarray(X)
    )
    check(
        "attention with its heads in another order",
        swapped,
        out,
        1e-5,
        "head h is the h-th slice of K numbers, in q, k, v and in the output",
    )
    check(
        "attention weights with the heads in another order",
        moved,
        weights[:, np.array(heads)],
        1e-5,
        "head h is the h-th slice of K numbers",
    )
    mixed, _ = call(reorder_columns(attention, np.array([(i * 5) % D for i in range(D)])), jnp.asarray(X), jnp.asarray(X))
    differs("attention with numbers moved between heads", mixed, out, 1e-2, "the heads are not separate")


def test_a_heads_weights_depend_on_its_own_slice_only():
    attention = an_attention()
    _, before = call(attention, jnp.asarray(X), jnp.asarray(X))
    kernel = attention.query.kernel[...]
    attention.query.kernel[...] = kernel.at[:, : D // H].multiply(-2)
    _, after = call(attention, jnp.asarray(X), jnp.asarray(X))
    check(
        "the weights of heads 1 and 2 after a change of head 0",
        after[:, 1:],
        before[:, 1:],
        0,
        "the heads are not separate slices of K numbers",
    )
    differs("the weights of head 0 after a change of head 0", after[:, 0], before[:, 0], 1e-2, "head 0 should be the first K numbers")


# MLP


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_mlp_is_two_layers_with_its_activation_between_for_every_token_alone(activation):
    mlp = randomised(lambda: MLP(D, F, activation, out_std=0.1, rngs=nnx.Rngs(0)), 5)
    p = numbers(mlp)

    def by_hand(kind):
        hidden = X @ p["up"]["kernel"] + p["up"]["bias"]
        if kind == "gelu":
            hidden = hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2))) / 2
        if kind == "quick_gelu":
            hidden = hidden / (1 + np.exp(-1.702 * hidden))
        return hidden @ p["down"]["kernel"] + p["down"]["bias"]

    other = "gelu" if activation == "quick_gelu" else "quick_gelu"
    check(f"MLP with {activation}", call(mlp, jnp.asarray(X)), by_hand(activation), 1e-5, mistakes={
        f"this is {other}: is the activation fixed?": by_hand(other),
        "did you forget the activation?": by_hand("none"),
    })  # fmt: skip


# Block


def block_by_loops(p, x, mask=None, *, norms=True, second_norm=True):
    def norm(name, x):
        return layer_norm_by_formula(x, **p[name])

    def mlp(x):
        hidden = x @ p["mlp"]["up"]["kernel"] + p["mlp"]["up"]["bias"]
        return hidden / (1 + np.exp(-1.702 * hidden)) @ p["mlp"]["down"]["kernel"] + p["mlp"]["down"]["bias"]

    inside = norm("norm_1", x) if norms else x
    attended, weights = attention_by_loops(p["attention"], inside, inside, mask)
    x = x + attended
    return x + mlp(norm("norm_2", x) if norms and second_norm else x), weights


@pytest.mark.parametrize("mask", [None, CAUSAL], ids=["no mask", "causal"])
def test_block_adds_attention_of_the_norm_and_then_mlp_of_the_norm(mask):
    block = a_block()
    p = numbers(block)
    out, weights = call(block, jnp.asarray(X), mask if mask is None else jnp.asarray(mask))
    want, want_weights = block_by_loops(p, X, mask)
    inside = layer_norm_by_formula(X, **p["norm_1"])
    attended = attention_by_loops(p["attention"], inside, inside, mask)[0]
    tail = want - X - attended
    post = layer_norm_by_formula(X + attention_by_loops(p["attention"], X, X, mask)[0], **p["norm_1"])
    check("Block", out, want, 1e-5, mistakes={
        "did you forget the second norm? x + mlp(norm_2(x))": block_by_loops(p, X, mask, second_norm=False)[0],
        "did you forget the norms?": block_by_loops(p, X, mask, norms=False)[0],
        "did you forget to add x back after the attention?": block_by_loops(p, np.zeros_like(X), mask)[0] * 0 + attended + tail,
        "did you forget to add x back after the MLP?": tail,
        "did you normalise after adding instead of before?": post,
    })  # fmt: skip
    check("Block's attention weights", weights, want_weights, 1e-5)


def test_a_block_that_writes_nothing_changes_nothing():
    block = a_block()
    for layer in (block.attention.out, block.mlp.down):
        layer.kernel[...], layer.bias[...] = jnp.zeros_like(layer.kernel[...]), jnp.zeros_like(layer.bias[...])
    check(
        "Block with zeros in its two output layers",
        call(block, jnp.asarray(X))[0],
        X,
        0,
        "x is added back as it is: pre-norm, not post-norm",
    )


def test_under_a_causal_mask_a_later_token_never_moves_an_earlier_one():
    block = a_block()
    run = jax.jit(lambda x, mask: block(x, mask)[0])
    for j in range(T):
        other = X.copy()
        other[:, j] += RNG.normal(size=D)
        before, after = run(X, CAUSAL), run(other, CAUSAL)
        if j:
            check(
                f"tokens before {j} after a change of token {j}",
                after[:, :j],
                before[:, :j],
                0,
                "a token looked ahead: is the mask transposed?",
            )
        for i in range(j, T):
            differs(f"token {i} after a change of token {j}", after[:, i], before[:, i], 1e-3, "it should see all tokens up to itself")
        if j:
            free = run(other, np.ones((T, T), bool)) - run(X, np.ones((T, T), bool))
            differs(
                f"token 0 without a mask after a change of token {j}",
                free[:, 0],
                np.zeros((B, D)),
                1e-4,
                "without a mask all tokens see all",
            )


def test_without_a_mask_the_order_of_the_tokens_does_not_matter():
    block, order = a_block(), RNG.permutation(T)
    run = jax.jit(lambda x: block(x)[0])
    check(
        "Block on tokens in another order",
        run(X[:, order]),
        run(X)[:, order],
        1e-5,
        "only positions may tell tokens apart, and a block has none",
    )


@pytest.mark.parametrize("mask", [None, CAUSAL], ids=["no mask", "causal"])
def test_block_with_rows_equals_those_rows_of_the_full_block_in_outputs_and_gradients(mask):
    graphdef, params = nnx.split(a_block())
    rows = jnp.asarray(np.stack([RNG.permutation(T)[:R] for _ in range(B)]))  # other rows in every sentence, in any order
    mix = jnp.asarray(RNG.normal(size=(B, R, D)), jnp.float32)

    def full(params, x):
        y, weights = nnx.merge(graphdef, params)(x, mask if mask is None else jnp.asarray(mask))
        return jnp.take_along_axis(y, rows[:, :, None], axis=1), jnp.take_along_axis(weights, rows[:, None, :, None], axis=2)

    def picked(params, x):
        return nnx.merge(graphdef, params)(x, mask if mask is None else jnp.asarray(mask), rows)

    def loss(f):
        def value(params, x):
            y, weights = f(params, x)
            return (jnp.sin(y) * mix).sum(), (y, weights)

        return jax.value_and_grad(value, argnums=(0, 1), has_aux=True)

    ((_, want), want_gradients), ((_, got), gradients) = jax.jit(lambda *args: (loss(full)(*args), loss(picked)(*args)))(
        params, jnp.asarray(X)
    )
    check(
        "Block(rows=...)", got[0], want[0], 1e-6, "rows picks the queries, and with them rows of the mask; keys and values see all tokens"
    )
    check("the weights of Block(rows=...)", got[1], want[1], 1e-6, "rows picks the queries, and with them rows of the mask")
    check_gradients("Block(rows=...)", gradients, want_gradients, 1e-6, "keys and values of all tokens must get their gradient")


def test_float64_stays_float64_throughout():
    with jax.enable_x64(True):
        x = jnp.asarray(RNG.normal(size=(B, T, D)))
        block = a_block(dtype=np.float64)
        got, weights = call(block, x, jnp.asarray(CAUSAL))
        p = numbers(block)
        want, want_weights = block_by_loops(p, np.asarray(x), CAUSAL)
        assert (got.dtype, weights.dtype) == ("float64", "float64"), (
            f"a float64 block gives {got.dtype} and weights {weights.dtype}, not float64"
        )
        check("Block in float64", got, want, 1e-5)
        check("Block in float64", got, want, 1e-13, "somewhere inside, the numbers are rounded to float32")
        check("Block's attention weights in float64", weights, want_weights, 1e-13, "somewhere inside, the numbers are rounded to float32")
