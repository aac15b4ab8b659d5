"""The two losses, against loops, closed forms and central differences."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import check, numerical_gradient, seeded

from tinyclip.losses import contrastive_loss, cross_entropy, sigmoid_loss
from tinyclip.train import floor_of

B, M, E = 5, 8, 6  # pairs, texts (three of them extra), numbers in an embedding
SEVEN, TEN = 7, 10  # pairs and texts where an exercise is checked: two sizes only, for every new one is compiled
RNG = seeded()


def unit(rows, width=E, dtype=np.float32, rng=RNG):
    x = rng.normal(size=(rows, width))
    return jnp.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True), dtype)


IMAGES, TEXTS = unit(B), unit(M)
POSITIVES = jnp.asarray([[i == j or (3 * i + j) % 4 == 1 for j in range(M)] for i in range(B)])
SCALE = 7.3


def log_softmax(row):
    top = max(row)
    return [v - top - math.log(sum(math.exp(w - top) for w in row)) for v in row]


def both_directions(images, texts, scale, positives=None):
    """Picture to text and text to picture, each a mean over its rows, one pair at a time."""
    images, texts = np.asarray(images, float), np.asarray(texts, float)
    positives = None if positives is None else np.asarray(positives)
    B, M = len(images), len(texts)
    cosines = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in texts.tolist()] for x in images.tolist()]

    def true(i, j):
        return i == j if positives is None else j < positives.shape[1] and bool(positives[i, j])

    def one(rows, columns, cosine, true):
        total = 0.0
        for r in range(rows):
            log_p = log_softmax([scale * cosine(r, c) for c in range(columns)])
            share = [c for c in range(columns) if true(r, c)]
            total -= sum(log_p[c] for c in share) / len(share)
        return total / rows

    return one(B, M, lambda i, j: cosines[i][j], true), one(B, B, lambda j, i: cosines[i][j], lambda j, i: true(i, j))


def contrastive_by_loops(*args):
    return sum(both_directions(*args)) / 2


def some_positives(rng, pairs, texts):
    """The own captions and some others, at least one of them among the own texts and one among the extra ones."""
    positives = np.eye(pairs, texts, dtype=bool) | (rng.random((pairs, texts)) < 0.2)
    positives[0, 1] = positives[3, -2] = True
    return jnp.asarray(positives)


# The contrastive loss


@pytest.mark.parametrize("n", [3, pytest.param(SEVEN, marks=pytest.mark.exercise("7.2")), 128])
def test_collapsed_embeddings_cost_ln_n(n):
    x = jnp.asarray(np.tile(unit(1, rng=seeded(n)), (n, 1)))
    check(f"contrastive_loss of {n} equal pairs", contrastive_loss(x, x, SCALE), np.float32(math.log(n)), 1e-5, f"equal logits give ln {n}")


def test_random_unit_vectors_cost_about_ln_n_plus_s_squared_over_2e():
    n, width, scale = 256, 64, 7.0
    rng = np.random.default_rng(1)
    losses = [contrastive_loss(unit(n, width, rng=rng), unit(n, width, rng=rng), scale) for _ in range(4)]
    want = math.log(n) + scale**2 / (2 * width)
    check(
        "contrastive_loss of random vectors",
        np.float32(np.mean(losses)),
        np.float32(want),
        0.015,
        "random cosines have variance 1/E, not 0",
    )


@pytest.mark.exercise("7.2")
@pytest.mark.parametrize(("n", "texts"), [(SEVEN, SEVEN), (SEVEN, TEN)], ids=["no extra texts", "extra texts"])
def test_contrastive_loss_is_the_loop_over_all_pairs(n, texts):
    rng = seeded(20 + texts)
    args = unit(n, rng=rng), unit(texts, rng=rng), SCALE
    hint = f"the mean of {2 * n} questions: each picture among {texts} texts, each own text among {n} pictures"
    check(f"contrastive_loss of {n} pictures and {texts} texts", contrastive_loss(*args), np.float32(contrastive_by_loops(*args)), 1e-5, hint)


@pytest.mark.parametrize(
    ("texts", "told"),
    [(SEVEN, SEVEN), pytest.param(TEN, TEN, marks=pytest.mark.exercise("7.2")), pytest.param(TEN, SEVEN, marks=pytest.mark.exercise("7.2"))],
    ids=["no extra texts", "extra texts", "own only"],
)
def test_shared_targets_are_the_loop_over_all_pairs(texts, told):
    rng = seeded(30 + texts + told)
    args = unit(SEVEN, rng=rng), unit(texts, rng=rng), SCALE, some_positives(rng, SEVEN, told)
    hint = "each row of targets is shared out to sum to 1, in each direction for itself"
    check(f"contrastive_loss with positives {(SEVEN, told)} and {texts} texts", contrastive_loss(*args),
          np.float32(contrastive_by_loops(*args)), 1e-5, hint)  # fmt: skip


@pytest.mark.parametrize("loss", [contrastive_loss, partial(sigmoid_loss, logit_bias=-3.0)], ids=["contrastive", "sigmoid"])
@pytest.mark.parametrize("texts", [B, M])
def test_identity_positives_are_the_same_as_none(loss, texts):
    got = loss(IMAGES, TEXTS[:texts], SCALE, positives=jnp.eye(B, texts, dtype=bool))
    check(
        "the loss with identity positives",
        got,
        loss(IMAGES, TEXTS[:texts], SCALE),
        1e-7,
        "None means: picture i and text i belong together",
    )
    narrow = loss(IMAGES, TEXTS[:texts], SCALE, positives=jnp.eye(B, dtype=bool))
    check(
        "the loss with narrow identity positives", narrow, got, 1e-7, "where positives are narrower than the texts, extra texts are false"
    )


def test_exchanging_the_roles_of_pictures_and_texts_changes_nothing():
    forth = contrastive_loss(IMAGES, TEXTS[:B], SCALE)
    check("contrastive_loss(texts, images)", contrastive_loss(TEXTS[:B], IMAGES, SCALE), forth, 1e-6, "is it one direction only?")
    back = contrastive_loss(TEXTS[:B], IMAGES, SCALE, POSITIVES[:, :B].T)
    check(
        "... with positives",
        back,
        contrastive_loss(IMAGES, TEXTS[:B], SCALE, POSITIVES[:, :B]),
        1e-6,
        "are targets shared out in one direction only?",
    )


@pytest.mark.parametrize("loss", [contrastive_loss, partial(sigmoid_loss, logit_bias=-3.0)], ids=["contrastive", "sigmoid"])
def test_the_order_of_the_pairs_does_not_matter(loss):
    order = np.array([3, 0, 4, 1, 2])
    both = np.concatenate([order, [7, 5, 6]])
    want = loss(IMAGES, TEXTS, SCALE, positives=POSITIVES)
    check("the loss of shuffled pairs", loss(IMAGES[order], TEXTS[both], SCALE, positives=POSITIVES[order][:, both]), want, 1e-6)
    assert abs(float(loss(IMAGES[order], TEXTS, SCALE) - loss(IMAGES, TEXTS, SCALE))) > 1e-3, (
        "shuffling the pictures alone must change the loss"
    )


@pytest.mark.parametrize("positives", [None, POSITIVES], ids=["own", "shared"])
@pytest.mark.parametrize("name", ["contrastive", "sigmoid"])
def test_gradients_are_those_of_central_differences(name, positives):
    with jax.enable_x64(True):
        loss = contrastive_loss if name == "contrastive" else partial(sigmoid_loss, logit_bias=-2.0)
        f = jax.jit(lambda x, y, log_scale: loss(x, y, jnp.exp(log_scale), positives=positives))
        args = [unit(B, dtype=np.float64), unit(M, dtype=np.float64), np.float64(1.2)]
        gradients = jax.jit(jax.grad(f, argnums=(0, 1, 2)))(*args)
        for i, what in enumerate(("image embeddings", "text embeddings", "log_logit_scale")):
            want = numerical_gradient(lambda v, i=i: f(*args[:i], v, *args[i + 1 :]), args[i])
            error = np.abs(np.asarray(gradients[i]) - want).max() / np.abs(want).max()
            assert error < 1e-7, (
                f"{name} loss: the gradient for the {what} is off by {error:.1g}: is one direction cut off by stop_gradient?"
            )


def test_extra_texts_are_negatives_of_pictures_only():
    """Pictures equal own texts and all are orthogonal; the extra texts equal picture 0."""
    n, extra, s = 4, 3, 2.5
    eye = jnp.eye(n, 6)
    texts = jnp.concatenate([eye, jnp.repeat(eye[:1], extra, axis=0)])
    first = math.log((1 + extra) * math.exp(s) + n - 1) - s  # picture 0 meets its own vector 1 + extra times
    other = math.log(math.exp(s) + n - 1 + extra) - s
    back = math.log(math.exp(s) + n - 1) - s  # a text chooses among the n pictures
    image_to_text = (first + (n - 1) * other) / n
    check("contrastive_loss with extra texts", contrastive_loss(eye, texts, s), np.float32((image_to_text + back) / 2), 1e-6, mistakes={
        "were the extra texts ignored?": np.float32(back),
        "this is the direction from picture to text alone": np.float32(image_to_text),
    })  # fmt: skip


def test_perfect_embeddings_reach_the_entropy_floor_and_no_scale_goes_below():
    same = jnp.asarray([0, 0, 0, 1, 1, 2, 3])  # three captions are one, two are one
    positives = same[:, None] == same[None, :]
    x = jnp.eye(4, 6)[same]
    want = (3 * math.log(3) + 2 * math.log(2)) / 7
    check("floor_of", floor_of(positives), np.float32(want), 1e-6, "the mean logarithm of how many captions are true")
    check(
        "contrastive_loss of perfect duplicates",
        contrastive_loss(x, x, 100.0, positives),
        np.float32(want),
        1e-5,
        "they reach the floor exactly",
    )
    check(
        "... with identity targets",
        contrastive_loss(x, x, 100.0),
        np.float32(want),
        1e-5,
        "equal captions impose it, shared targets or not",
    )
    for scale in (1.0, 10.0, 1e4):
        for seed in range(3):
            noisy = x + 0.3 * unit(7, rng=np.random.default_rng(seed))
            got = float(contrastive_loss(noisy, x, scale, positives))
            assert got >= want - 1e-5, f"contrastive_loss: {got:.4f} is below the floor {want:.4f}: do the targets of each row sum to 1?"


@pytest.mark.parametrize("loss", [contrastive_loss, partial(sigmoid_loss, logit_bias=-10.0)], ids=["contrastive", "sigmoid"])
def test_huge_logits_stay_finite_in_value_and_gradient(loss):
    value, gradient = jax.value_and_grad(loss)(IMAGES, TEXTS, 1e4)
    assert jnp.isfinite(value), f"the loss at a scale of 10,000 is {value}: take log_softmax or log_sigmoid, not log of exp"
    assert jnp.isfinite(gradient).all(), "the gradient at a scale of 10,000 is not finite: take log_softmax or log_sigmoid, not log of exp"


def test_the_scale_may_be_a_number_or_an_array():
    want = contrastive_loss(IMAGES, TEXTS, SCALE)
    check("contrastive_loss with the scale as an array", contrastive_loss(IMAGES, TEXTS, jnp.float32(SCALE)), want, 1e-7)
    want = sigmoid_loss(IMAGES, TEXTS, SCALE, -3.0)
    check("sigmoid_loss with scale and bias as arrays", sigmoid_loss(IMAGES, TEXTS, jnp.float32(SCALE), jnp.float32(-3)), want, 1e-7)


def test_a_single_pair_costs_nothing():
    check(
        "contrastive_loss of one pair",
        contrastive_loss(IMAGES[:1], TEXTS[:1], SCALE),
        np.float32(0),
        1e-7,
        "a softmax over one candidate is 1",
    )


# Cross-entropy

ROWS, COLUMNS = 3, 5


@pytest.mark.exercise("7.1")
def test_cross_entropy_of_equal_logits_is_ln_of_their_number():
    targets = np.eye(ROWS, COLUMNS, dtype=np.float32)
    logits = np.full((ROWS, COLUMNS), seeded(1).normal(), np.float32)
    got = cross_entropy(jnp.asarray(logits), jnp.asarray(targets))
    check("cross_entropy of equal logits", got, np.float32(math.log(COLUMNS)), 1e-6, f"the share of each of {COLUMNS} answers is 1/{COLUMNS}")


@pytest.mark.exercise("7.1")
def test_cross_entropy_is_a_mean_over_rows_in_nats():
    rng = seeded(2)
    logits = 2 * rng.normal(size=(ROWS, COLUMNS))
    weights = rng.uniform(0.2, 3, (ROWS, COLUMNS))
    for what, targets in (
        ("one true answer a row", np.eye(ROWS, COLUMNS, 1)),
        ("two true answers a row", np.eye(ROWS, COLUMNS) + np.eye(ROWS, COLUMNS, 2)),
        ("targets that do not sum to 1", weights),
    ):
        rows = []
        for row, x in zip(targets.tolist(), logits.tolist(), strict=True):
            rows.append(-sum(target / sum(row) * v for target, v in zip(row, log_softmax(x), strict=True)))
        got = cross_entropy(jnp.asarray(logits, jnp.float32), jnp.asarray(targets, jnp.float32))
        surprises = ", ".join(f"{row:.4g}" for row in rows)
        check(f"cross_entropy with {what}", got, np.float32(sum(rows) / ROWS), 1e-5, f"the surprises of the {ROWS} rows are {surprises}")


@pytest.mark.exercise("7.1")
def test_cross_entropy_of_huge_logits_is_finite():
    logits, targets = np.zeros((ROWS, COLUMNS)), np.eye(ROWS, COLUMNS)
    got = cross_entropy(jnp.asarray(logits + 1000, jnp.float32), jnp.asarray(targets, jnp.float32))
    hint = f"equal logits give ln {COLUMNS}, however large they are"
    check("cross_entropy of logits that are all 1000", got, np.float32(math.log(COLUMNS)), 1e-5, hint)
    logits[0, 0] = logits[1, 1] = 1000  # sure and right
    logits[2, 3] = 300  # sure and wrong: a surprise of 300 nats
    got = cross_entropy(jnp.asarray(logits, jnp.float32), jnp.asarray(targets, jnp.float32))
    check("cross_entropy of logits as large as 1000", got, np.float32(100), 1e-6, "the surprises are 0, 0 and 300 nats")


# The sigmoid loss


def sigmoid_by_loops(images, texts, scale, bias, positives=None):
    images, texts, total = np.asarray(images, float), np.asarray(texts, float), 0.0
    positives = None if positives is None else np.asarray(positives)
    for i in range(len(images)):
        for j in range(len(texts)):
            true = i == j if positives is None else j < positives.shape[1] and positives[i, j]
            logit = scale * float(np.dot(images[i], texts[j])) + bias
            total += np.logaddexp(0, -logit if true else logit)
    return total / len(images)


@pytest.mark.exercise("8.1")
def test_sigmoid_loss_of_logits_that_are_all_0_is_m_ln_2():
    rng = seeded(50)
    got = sigmoid_loss(unit(SEVEN, rng=rng), unit(TEN, rng=rng), 0.0, 0.0)
    check(f"sigmoid_loss of {SEVEN} pictures and {TEN} texts, all logits 0", got, np.float32(TEN * math.log(2)), 1e-5,
          f"each of {SEVEN * TEN} questions costs ln 2, and the sum is divided by {SEVEN}")  # fmt: skip


@pytest.mark.parametrize(
    "told",
    [pytest.param(None, marks=pytest.mark.exercise("8.1")), pytest.param(TEN, marks=pytest.mark.exercise("8.1")), SEVEN],
    ids=["own", "shared", "shared, narrow"],
)
def test_sigmoid_loss_is_the_loop_over_all_pairs_divided_by_b(told):
    rng = seeded(60)
    args = unit(SEVEN, rng=rng), unit(TEN, rng=rng), SCALE, -2.0, some_positives(rng, SEVEN, told) if told else None
    name = f"sigmoid_loss of {SEVEN} pictures and {TEN} texts{f' with positives {(SEVEN, told)}' if told else ''}"
    check(name, sigmoid_loss(*args), np.float32(sigmoid_by_loops(*args)), 1e-5, "log(1 + e^-z logit), summed over all pairs, divided by B")


@pytest.mark.exercise("8.1")
def test_sigmoid_loss_of_huge_logits_is_finite():
    rng = seeded(70)
    args = unit(SEVEN, rng=rng), unit(TEN, rng=rng), 1e4, -10.0
    check("sigmoid_loss at a scale of 10,000", sigmoid_loss(*args), np.float32(sigmoid_by_loops(*args)), 1e-5, "log(1 + e^x) of a large x is x")


@pytest.mark.parametrize(("bias", "want"), [(-10.0, 10.0116), (-2.71, 19.202), (-math.log(255), 6.5433)])
def test_sigmoid_loss_of_256_orthogonal_pairs_has_these_values(bias, want):
    """Pictures orthogonal to all texts: every logit is the bias. The last bias is the best one, -ln(N - 1)."""
    n = 256
    images, texts = jnp.eye(n, 2 * n), jnp.eye(n, 2 * n, n)
    formula = math.log1p(math.exp(-bias)) + (n - 1) * math.log1p(math.exp(bias))
    check("the formula ln(1 + e^-b) + (N - 1) ln(1 + e^b)", formula, want, 1e-4)
    got = sigmoid_loss(images, texts, 10.0, bias)
    check(f"sigmoid_loss of orthogonal vectors, bias {bias:.2f}", got, np.float32(formula), 1e-5, mistakes={
        "did you divide by all N² pairs? Divide by N": np.float32(formula / n),
        "did you forget to divide by N?": np.float32(formula * n),
    })  # fmt: skip


def test_the_best_bias_for_uninformative_embeddings_is_minus_ln_n_minus_1():
    n = 12
    x, y = jnp.eye(n, 2 * n), jnp.eye(n, 2 * n, n)
    slope = jax.grad(lambda bias: sigmoid_loss(x, y, 10.0, bias))
    check(
        "the slope of sigmoid_loss at its best bias",
        slope(jnp.float32(-math.log(n - 1))),
        np.float32(0),
        1e-5,
        "one yes among N questions a row",
    )
    assert slope(jnp.float32(0.0)) > 1, "sigmoid_loss: at bias 0 the many false pairs should pull the bias down"


def test_scale_and_bias_of_the_sigmoid_loss_get_their_gradients():
    with jax.enable_x64(True):
        images, texts = (jnp.asarray(v, "float64") for v in (IMAGES, TEXTS))
        f = jax.jit(lambda v: sigmoid_loss(images, texts, v[0], v[1]))
        got = jax.grad(f)(jnp.asarray([3.0, -1.0]))
        check("gradient of sigmoid_loss for scale and bias", got, numerical_gradient(f, [3.0, -1.0]), 1e-7)


# Both: the last to speak of an exercise


@pytest.mark.parametrize(
    "name", [pytest.param("contrastive_loss", marks=pytest.mark.exercise("7.2")), pytest.param("sigmoid_loss", marks=pytest.mark.exercise("8.1"))]
)
def test_bfloat16_embeddings_are_compared_in_float32(name):
    rng = seeded(40)
    x, y = (unit(rows, rng=rng).astype(jnp.bfloat16) for rows in (SEVEN, TEN))
    wide = [np.asarray(v.astype(jnp.float32), float) for v in (x, y)]
    if name == "contrastive_loss":
        got, want = contrastive_loss(x, y, 100.0), contrastive_by_loops(*wide, 100.0)
    else:
        got, want = sigmoid_loss(x, y, 100.0, -10.0), sigmoid_by_loops(*wide, 100.0, -10.0)
    check(f"{name} of bfloat16 embeddings", got, np.float32(want), 1e-5, "similarities are taken in at least float32")
    assert got.dtype == jnp.float32, f"{name} of bfloat16 embeddings should be float32, but is {got.dtype}"
