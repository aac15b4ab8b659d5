"""Lesson 08: the temperature, and the sigmoid loss."""

import jax
import jax.numpy as jnp
import numpy as np

from lessons.classroom.answers import right, wrong
from tinyclip.by_hand.layers import sigmoid
from tinyclip.losses import at_least_float32, true_pairs

# 8.1 sigmoid_loss


@wrong("8.1", "did you take the mean over all B M pairs? The sum is divided by B alone")
def sigmoid_loss_mean_of_all(image_embeddings, text_embeddings, logit_scale, logit_bias, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    logits = logit_scale * images @ texts.T + logit_bias
    true = true_pairs(positives, len(images), len(texts))
    return -jax.nn.log_sigmoid(jnp.where(true, logits, -logits)).mean()


@wrong("8.1", "did you forget to divide by B?")
def sigmoid_loss_summed(image_embeddings, text_embeddings, logit_scale, logit_bias, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    logits = logit_scale * images @ texts.T + logit_bias
    true = true_pairs(positives, len(images), len(texts))
    return -jax.nn.log_sigmoid(jnp.where(true, logits, -logits)).sum()


@wrong("8.1", "did you divide by the number of texts? It is divided by the number of pictures")
def sigmoid_loss_divided_by_texts(image_embeddings, text_embeddings, logit_scale, logit_bias, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    logits = logit_scale * images @ texts.T + logit_bias
    true = true_pairs(positives, len(images), len(texts))
    return -jax.nn.log_sigmoid(jnp.where(true, logits, -logits)).sum() / len(texts)


@wrong("8.1", "did you forget the bias?")
def sigmoid_loss_without_the_bias(image_embeddings, text_embeddings, logit_scale, logit_bias, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    logits = logit_scale * images @ texts.T
    true = true_pairs(positives, len(images), len(texts))
    return -jax.nn.log_sigmoid(jnp.where(true, logits, -logits)).sum() / len(images)


@wrong("8.1", "is the bias subtracted? It is added to the logits, and is below 0 itself")
def sigmoid_loss_minus_the_bias(image_embeddings, text_embeddings, logit_scale, logit_bias, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    logits = logit_scale * images @ texts.T - logit_bias
    true = true_pairs(positives, len(images), len(texts))
    return -jax.nn.log_sigmoid(jnp.where(true, logits, -logits)).sum() / len(images)


@wrong("8.1", "is the bias multiplied by the scale? It is added after that")
def sigmoid_loss_with_a_scaled_bias(image_embeddings, text_embeddings, logit_scale, logit_bias, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    logits = logit_scale * (images @ texts.T + logit_bias)
    true = true_pairs(positives, len(images), len(texts))
    return -jax.nn.log_sigmoid(jnp.where(true, logits, -logits)).sum() / len(images)


@wrong("8.1", "is the bias turned with the sign of a false pair? It belongs to the logit, and the whole logit is turned")
def sigmoid_loss_with_the_bias_outside(image_embeddings, text_embeddings, logit_scale, logit_bias, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    logits = logit_scale * images @ texts.T
    signs = jnp.where(true_pairs(positives, len(images), len(texts)), 1, -1)
    return -jax.nn.log_sigmoid(signs * logits + logit_bias).sum() / len(images)


@wrong("8.1", "is every pair asked to be a yes? Of a false pair the right answer is no")
def sigmoid_loss_all_yes(image_embeddings, text_embeddings, logit_scale, logit_bias, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    logits = logit_scale * images @ texts.T + logit_bias
    return -jax.nn.log_sigmoid(logits).sum() / len(images)


@wrong("8.1", "are the false pairs left out? Each of them is a question, too")
def sigmoid_loss_of_true_pairs(image_embeddings, text_embeddings, logit_scale, logit_bias, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    logits = logit_scale * images @ texts.T + logit_bias
    true = true_pairs(positives, len(images), len(texts))
    return -jnp.where(true, jax.nn.log_sigmoid(logits), 0).sum() / len(images)


@wrong("8.1", "are other true captions still counted as false? `positives` says which are true")
def sigmoid_loss_of_own_captions(image_embeddings, text_embeddings, logit_scale, logit_bias, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    logits = logit_scale * images @ texts.T + logit_bias
    true = jnp.eye(len(images), len(texts), dtype=bool)
    return -jax.nn.log_sigmoid(jnp.where(true, logits, -logits)).sum() / len(images)


@wrong("8.1", "were the extra texts ignored? Each of them is a no for every picture")
def sigmoid_loss_without_extra_texts(image_embeddings, text_embeddings, logit_scale, logit_bias, positives=None):
    B = len(image_embeddings)
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)[:B]
    logits = logit_scale * images @ texts.T + logit_bias
    true = true_pairs(None if positives is None else positives[:, :B], B, B)
    return -jax.nn.log_sigmoid(jnp.where(true, logits, -logits)).sum() / B


@wrong("8.1", "does a probability become 0 before its logarithm is taken? There is a function that gives both in one, and stays finite")
def sigmoid_loss_by_sigmoid_then_log(image_embeddings, text_embeddings, logit_scale, logit_bias, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    logits = logit_scale * images @ texts.T + logit_bias
    true = true_pairs(positives, len(images), len(texts))
    return -jnp.log(jax.nn.sigmoid(jnp.where(true, logits, -logits))).sum() / len(images)


@wrong("8.1", "is the product taken in bfloat16? At a scale of 100 its rounding moves a logit: go to float32 before")
def sigmoid_loss_in_bfloat16(image_embeddings, text_embeddings, logit_scale, logit_bias, positives=None):
    B, M = len(image_embeddings), len(text_embeddings)
    logits = logit_scale * image_embeddings @ text_embeddings.T + logit_bias
    true = true_pairs(positives, B, M)
    return -jax.nn.log_sigmoid(jnp.where(true, logits, -logits)).sum() / B


@right("8.1")
def sigmoid_loss_by_softplus(image_embeddings, text_embeddings, logit_scale, logit_bias, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    signs = 2 * true_pairs(positives, images.shape[0], texts.shape[0]) - 1
    logits = logit_scale * jnp.einsum("be,me->bm", images, texts) + logit_bias
    return jax.nn.softplus(-signs * logits).sum(axis=1).mean()


# 8.2 sigmoid_loss_backward, by hand


@wrong("8.2", "did you divide by all B M pairs? The loss is a sum over pairs, divided by B")
def sigmoid_loss_backward_mean_of_all(saved):
    images, texts, scale, signs = saved["images"], saved["texts"], saved["logit_scale"], saved["signs"]
    dlogits = -signs * sigmoid(-signs * saved["logits"]) / signs.size
    return scale * dlogits @ texts, scale * dlogits.T @ images, (dlogits * saved["cosines"]).sum(), dlogits.sum()


@wrong("8.2", "did you forget to divide by B?")
def sigmoid_loss_backward_of_the_sum(saved):
    images, texts, scale, signs = saved["images"], saved["texts"], saved["logit_scale"], saved["signs"]
    dlogits = -signs * sigmoid(-signs * saved["logits"])
    return scale * dlogits @ texts, scale * dlogits.T @ images, (dlogits * saved["cosines"]).sum(), dlogits.sum()


@wrong("8.2", "do false pairs get their sign? The loss of a false pair grows with its logit")
def sigmoid_loss_backward_without_the_sign(saved):
    images, texts, scale, signs = saved["images"], saved["texts"], saved["logit_scale"], saved["signs"]
    dlogits = -sigmoid(-signs * saved["logits"]) / len(images)
    return scale * dlogits @ texts, scale * dlogits.T @ images, (dlogits * saved["cosines"]).sum(), dlogits.sum()


@wrong("8.2", "is the slope large where the answer is sure and right? There it should be 0: look at the sign inside the sigmoid")
def sigmoid_loss_backward_with_the_sign_inside(saved):
    images, texts, scale, signs = saved["images"], saved["texts"], saved["logit_scale"], saved["signs"]
    dlogits = -signs * sigmoid(signs * saved["logits"]) / len(images)
    return scale * dlogits @ texts, scale * dlogits.T @ images, (dlogits * saved["cosines"]).sum(), dlogits.sum()


@wrong("8.2", "is the sign turned? A larger logit makes the loss of a true pair smaller")
def sigmoid_loss_backward_turned(saved):
    images, texts, scale, signs = saved["images"], saved["texts"], saved["logit_scale"], saved["signs"]
    dlogits = signs * sigmoid(-signs * saved["logits"]) / len(images)
    return scale * dlogits @ texts, scale * dlogits.T @ images, (dlogits * saved["cosines"]).sum(), dlogits.sum()


@wrong("8.2", "is it the slope of the sigmoid, s (1 - s)? The loss has a logarithm around it, whose slope is simpler")
def sigmoid_loss_backward_slope_of_the_sigmoid(saved):
    images, texts, scale, signs = saved["images"], saved["texts"], saved["logit_scale"], saved["signs"]
    s = sigmoid(signs * saved["logits"])
    dlogits = -signs * s * (1 - s) / len(images)
    return scale * dlogits @ texts, scale * dlogits.T @ images, (dlogits * saved["cosines"]).sum(), dlogits.sum()


@wrong("8.2", "did you forget the scale? Moving a picture along a text raises their logit s times as fast as their cosine")
def sigmoid_loss_backward_without_the_scale(saved):
    images, texts, signs = saved["images"], saved["texts"], saved["signs"]
    dlogits = -signs * sigmoid(-signs * saved["logits"]) / len(images)
    return dlogits @ texts, dlogits.T @ images, (dlogits * saved["cosines"]).sum(), dlogits.sum()


@wrong("8.2", "is the scale's slope taken with the logits? With the scale growing, a logit grows by its cosine")
def sigmoid_loss_backward_with_dscale_of_logits(saved):
    images, texts, scale, signs = saved["images"], saved["texts"], saved["logit_scale"], saved["signs"]
    dlogits = -signs * sigmoid(-signs * saved["logits"]) / len(images)
    return scale * dlogits @ texts, scale * dlogits.T @ images, (dlogits * saved["logits"]).sum(), dlogits.sum()


@wrong("8.2", "is the bias's slope a mean? The bias is in every logit, so it gets the sum of their slopes")
def sigmoid_loss_backward_with_a_mean_for_the_bias(saved):
    images, texts, scale, signs = saved["images"], saved["texts"], saved["logit_scale"], saved["signs"]
    dlogits = -signs * sigmoid(-signs * saved["logits"]) / len(images)
    return scale * dlogits @ texts, scale * dlogits.T @ images, (dlogits * saved["cosines"]).sum(), dlogits.mean()


@wrong("8.2", "is the bias's slope multiplied by the scale? The bias is added after the scale")
def sigmoid_loss_backward_with_a_scaled_bias(saved):
    images, texts, scale, signs = saved["images"], saved["texts"], saved["logit_scale"], saved["signs"]
    dlogits = -signs * sigmoid(-signs * saved["logits"]) / len(images)
    return scale * dlogits @ texts, scale * dlogits.T @ images, (dlogits * saved["cosines"]).sum(), scale * dlogits.sum()


@right("8.2")
def sigmoid_loss_backward_predicted_minus_true(saved):
    true = saved["signs"] > 0
    slopes = (sigmoid(saved["logits"]) - true) / true.shape[0]
    slopes = slopes.astype(saved["logits"].dtype)
    dimages = saved["logit_scale"] * np.einsum("bm,me->be", slopes, saved["texts"])
    dtexts = saved["logit_scale"] * np.einsum("bm,be->me", slopes, saved["images"])
    return dimages, dtexts, np.vdot(slopes, saved["cosines"]), slopes.sum()
