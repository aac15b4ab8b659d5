"""The losses' ways back, each by itself: forwards written here, gradients by central differences in float64."""

import numpy as np
import pytest
from helpers import check, equals, numerical_gradient, seeded

from tinyclip.by_hand import losses

B, M, E = 4, 6, 3  # pairs, texts (two of them extra), numbers in an embedding


def unit(rows, rng):
    x = rng.normal(size=(rows, E))
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def cosines_logits_true(images, texts, scale, positives):
    true = np.zeros((len(images), len(texts)), bool)
    true[:, : positives.shape[1]] = positives
    cosines = images @ texts.T
    return cosines, scale * cosines, true


def cross_entropy(logits, true):
    """By its formula, and what its way back needs."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    targets = true / true.sum(1, keepdims=True)
    return -(targets * np.log(p)).sum(1).mean(), {"p": p, "targets": targets.astype(p.dtype)}


def contrastive(images, texts, scale, positives):
    cosines, logits, true = cosines_logits_true(images, texts, scale, positives)
    n = len(images)
    (forth, rows), (back, columns) = cross_entropy(logits, true), cross_entropy(logits[:, :n].T, true[:, :n].T)
    saved = {"images": images, "texts": texts, "logit_scale": scale, "cosines": cosines, "rows": rows, "columns": columns}
    return (forth + back) / 2, saved


def sigmoid(images, texts, scale, bias, positives):
    cosines, logits, true = cosines_logits_true(images, texts, scale, positives)
    logits = logits + bias
    signs = np.where(true, 1, -1).astype(logits.dtype)
    saved = {"images": images, "texts": texts, "logit_scale": scale, "cosines": cosines, "logits": logits, "signs": signs}
    return np.logaddexp(0, -signs * logits).sum() / len(images), saved


def example(k, shared):
    """Pairs alone, or with extra texts and captions that are true of several pictures."""
    rng = seeded(k)
    images, texts = unit(B, rng), unit(M if shared else B, rng)
    positives = np.eye(B, M if shared else B, dtype=bool)
    if shared:
        positives |= rng.random((B, M)) < 0.2
        positives[0, 1] = positives[2, M - 1] = True
    return [images, texts, np.array(rng.uniform(2, 5))], positives


def check_backward(name, backward, forward, args, hint, tolerance=1e-6):
    """Each gradient is that of central differences; nothing that was saved is changed."""
    _, saved = forward(*args)
    copies = {key: value.copy() if isinstance(value, np.ndarray) else {k: v.copy() for k, v in value.items()} for key, value in saved.items()}
    wanted = [numerical_gradient(lambda x, i=i: forward(*args[:i], x, *args[i + 1 :])[0], arg) for i, arg in enumerate(args)]
    found, what = backward(saved), ["the images", "the texts", "the scale", "the bias"][: len(args)]
    assert isinstance(found, tuple) and len(found) == len(args), f"{name} should return {len(args)} things: the gradients of {', '.join(what)}"
    for of, gradient, want in zip(what, found, wanted, strict=True):
        check(f"{name}, gradient of {of}", gradient, want, tolerance, hint)
    for key, before in copies.items():
        parts = before.items() if isinstance(before, dict) else [(None, before)]
        for part, value in parts:
            now, of = (saved[key][part], f"saved[{key!r}][{part!r}]") if part else (saved[key], f"saved[{key!r}]")
            check(f"{of} after {name}", now, value, 0, "a way back changes nothing that was saved")


def check_kind(name, backward, forward, args):
    """float32 in, float32 out."""
    found = backward(forward(*(np.asarray(x, np.float32) for x in args))[1])
    for gradient, of in zip(found[:2], ("images", "texts"), strict=True):
        equals(f"{name}: the gradient of float32 {of} is", str(gradient.dtype), "float32", "numbers keep their kind")


@pytest.mark.exercise("9.2")
@pytest.mark.parametrize("shared", [False, True], ids=["pairs alone", "extra texts, shared captions"])
def test_the_contrastive_losss_way_back_is_that_of_central_differences(shared):
    args, positives = example(1 + shared, shared)
    check_backward(
        f"contrastive_loss_backward of {B} pictures and {len(args[1])} texts", lambda saved: losses.contrastive_loss_backward(saved),
        lambda *args: contrastive(*args, positives), args, "central differences of the loss give it",
    )  # fmt: skip


@pytest.mark.exercise("9.2")
def test_the_contrastive_losss_way_back_keeps_float32():
    args, positives = example(3, True)
    check_kind("contrastive_loss_backward", lambda saved: losses.contrastive_loss_backward(saved), lambda *args: contrastive(*args, positives), args)


@pytest.mark.exercise("8.2")
@pytest.mark.parametrize("shared", [False, True], ids=["pairs alone", "extra texts, shared captions"])
def test_the_sigmoid_losss_way_back_is_that_of_central_differences(shared):
    args, positives = example(4 + shared, shared)
    check_backward(
        f"sigmoid_loss_backward of {B} pictures and {len(args[1])} texts", lambda saved: losses.sigmoid_loss_backward(saved),
        lambda *args: sigmoid(*args, positives), [*args, np.array(seeded(6).uniform(-3, -1))], "central differences of the loss give it",
    )  # fmt: skip


@pytest.mark.exercise("8.2")
def test_a_sure_and_right_answer_has_no_slope_and_a_sure_and_wrong_one_has_slope_1():
    """A scale of 0 leaves the bias alone in every logit."""
    rng = seeded(7)
    positives = np.eye(B, dtype=bool)
    for bias, want, said in ((-60.0, -1.0, "surely no"), (60.0, B - 1.0, "surely yes")):
        _, saved = sigmoid(unit(B, rng), unit(B, rng), np.array(0.0), np.array(bias), positives)
        got = losses.sigmoid_loss_backward(saved)[3]
        hint = f"each of {B} pictures has 1 true and {B - 1} false texts: the sum over the {B * B} pairs, divided by {B}"
        check(f"sigmoid_loss_backward, gradient of the bias where every answer is {said}", got, want, 1e-9, hint)


@pytest.mark.exercise("8.2")
def test_the_sigmoid_losss_way_back_keeps_float32():
    args, positives = example(8, True)
    args = [*args, np.array(-2.0)]
    check_kind("sigmoid_loss_backward", lambda saved: losses.sigmoid_loss_backward(saved), lambda *args: sigmoid(*args, positives), args)
