"""What must hold whatever the numbers are."""

import warnings

import numpy as np
import pytest
from cases import CONFIG, END, IMAGES, PARAMS, TOKENS, B, E, M, T, V
from flax import nnx
from helpers import check, randomised
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tinyclip import by_hand
from tinyclip.clip import CLIP

FEW = settings(max_examples=25, deadline=None)
SOME = settings(max_examples=60, deadline=None)
MODERATE = st.floats(-5, 5, width=32)
IMAGE_EMBEDDINGS, _ = by_hand.encode_image(PARAMS, CONFIG, IMAGES)
TEXT_EMBEDDINGS, _ = by_hand.encode_text(PARAMS, CONFIG, TOKENS[:B])


@FEW
@given(st.permutations(range(B)))
def test_a_permuted_batch_gives_permuted_embeddings_and_gradients_and_the_same_loss(order):
    order = np.array(order)
    images, _ = by_hand.encode_image(PARAMS, CONFIG, IMAGES[order])
    texts, _ = by_hand.encode_text(PARAMS, CONFIG, TOKENS[:B][order])
    check("encode_image of a permuted batch", images, IMAGE_EMBEDDINGS[order], 1e-12, "does a picture's embedding depend on its neighbours?")
    check("encode_text of a permuted batch", texts, TEXT_EMBEDDINGS[order], 1e-12, "does a sentence's embedding depend on its neighbours?")
    before, was = by_hand.contrastive_loss(IMAGE_EMBEDDINGS, TEXT_EMBEDDINGS, 7.0)
    after, now = by_hand.contrastive_loss(images, texts, 7.0)
    check("contrastive_loss of a permuted batch", after, before, 1e-12)
    for turned, straight in zip(by_hand.contrastive_loss_backward(now)[:2], by_hand.contrastive_loss_backward(was)[:2], strict=True):
        check("contrastive_loss_backward of a permuted batch", turned, straight[order], 1e-12)


@SOME
@given(arrays(np.float64, (B, M), elements=MODERATE), arrays(np.float64, (B, 1), elements=MODERATE))
def test_a_constant_added_to_a_row_of_logits_leaves_that_directions_cross_entropy_alone(logits, constants):
    targets = np.eye(B, M)
    (plain, was), (shifted, now) = by_hand.cross_entropy(logits, targets), by_hand.cross_entropy(logits + constants, targets)
    check("cross_entropy with a constant a row", shifted, plain, 1e-12, "a softmax sees differences only")
    check("cross_entropy_backward with a constant a row", by_hand.cross_entropy_backward(now), by_hand.cross_entropy_backward(was), 1e-12)
    check("cross_entropy_backward: rows sum to 0", by_hand.cross_entropy_backward(was).sum(1), np.zeros(B), 1e-12)


@SOME
@given(st.floats(-0.2, 0.2), st.floats(1, 50))
def test_a_constant_added_to_all_cosines_leaves_the_symmetric_loss_alone(constant, scale):
    # One more number in every embedding, 1 on one side and the constant on the other, adds the constant to every cosine.
    images = np.column_stack([IMAGE_EMBEDDINGS, np.ones(B)])
    plain, _ = by_hand.contrastive_loss(np.column_stack([IMAGE_EMBEDDINGS, np.ones(B)]), np.column_stack([TEXT_EMBEDDINGS, np.zeros(B)]), scale)
    shifted, _ = by_hand.contrastive_loss(images, np.column_stack([TEXT_EMBEDDINGS, np.full(B, constant)]), scale)
    check("contrastive_loss with a constant in every logit", shifted, plain, 1e-10)


@FEW
@given(arrays(np.int64, (B, T), elements=st.integers(0, V - 1)))
def test_what_stands_after_the_end_token_does_not_matter(noise):
    tokens = TOKENS[:B]
    after = np.arange(T) > (tokens == END).argmax(1)[:, None]
    texts, saved = by_hand.encode_text(PARAMS, CONFIG, np.where(after, noise, tokens))
    check("encode_text with other padding", texts, TEXT_EMBEDDINGS, 1e-12, "can a token look at later ones, or is the sentence read off late?")
    unread = set(range(V)) - set(tokens[~after])
    gradient = by_hand.encode_text_backward(np.ones_like(texts), saved)["text"]["token_embedding"]
    check("encode_text_backward: words after the end", gradient[sorted(unread)], np.zeros((len(unread), 16)), 1e-12)


@SOME
@given(arrays(np.float64, (4, E), elements=st.floats(-1e3, 1e3, width=32)), arrays(np.float64, (4, E), elements=MODERATE))
def test_embeddings_have_length_1_and_a_gradient_at_right_angles(x, dy):
    unit, saved = by_hand.l2_normalise(x)
    lengths = np.linalg.norm(x, axis=1)
    far = lengths > 1e-2
    check("l2_normalise: lengths", np.linalg.norm(unit[far], axis=1), np.ones(far.sum()), 1e-7)
    dx = by_hand.l2_normalise_backward(dy, saved)
    along = (dx * x)[far].sum(1) / (1e-9 + np.linalg.norm(dx[far], axis=1) * lengths[far])
    size = np.linalg.norm(dx[far], axis=1) * lengths[far]
    check("l2_normalise_backward: the part along x", np.where(size > 1e-6, along, 0), np.zeros(far.sum()), 1e-5)


def test_zero_vectors_give_no_nan():
    zeros = np.zeros((B, E))
    unit, saved = by_hand.l2_normalise(zeros)
    check("l2_normalise of zeros", unit, zeros, 0)
    assert np.isfinite(by_hand.l2_normalise_backward(np.ones((B, E)), saved)).all(), "l2_normalise_backward: 0 / 0 at a zero vector"
    y, saved = by_hand.layer_norm({"scale": np.ones(E), "bias": np.zeros(E)}, zeros, 1e-5)
    assert np.isfinite(y).all() and np.isfinite(by_hand.layer_norm_backward(np.ones((B, E)), saved)[0]).all(), "layer_norm of equal numbers"


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_logits_of_ten_thousand_give_no_nan_and_no_warning(kind):
    sign = np.where(np.arange(B)[:, None] % 2, 1, -1).astype(kind)
    images, texts = sign * np.eye(B, E, dtype=kind), np.eye(B, E, dtype=kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scale in (kind(1e4), kind(-1e4)):
            loss, saved = by_hand.contrastive_loss(images, texts, scale)
            results = [loss, *by_hand.contrastive_loss_backward(saved)]
            loss, saved = by_hand.sigmoid_loss(images, texts, scale, kind(-10))
            results += [loss, *by_hand.sigmoid_loss_backward(saved)]
            for result in results:
                assert np.isfinite(result).all(), "a loss or its gradient is not finite at logits of 10,000: take the largest logit off first"
        for function in (by_hand.quick_gelu, by_hand.gelu):
            y, saved = function(np.array([-1e4, 0, 1e4], kind))
            check(function.__name__, y, [0, 0, 1e4], 1e-6)
            backward = getattr(by_hand, f"{function.__name__}_backward")
            check(backward.__name__, backward(np.ones(3, kind), saved), [0, 0.5, 1], 1e-6)


def test_parameters_are_copies_of_the_models():
    model = randomised(lambda: CLIP(CONFIG, rngs=nnx.Rngs(0)))
    start = float(model.log_logit_scale[...])
    tree = by_hand.parameters(model)
    assert set(tree) == {"image", "text", "image_projection", "text_projection", "log_logit_scale"}
    assert list(tree["text"]["blocks"]) == [0, 1], "blocks are counted, not named"
    tree["log_logit_scale"] += 1
    check("the model's own temperature", model.log_logit_scale[...], start, 0, "parameters() should copy")
    assert by_hand.parameters(model, np.float64)["image_projection"]["kernel"].dtype == np.float64
