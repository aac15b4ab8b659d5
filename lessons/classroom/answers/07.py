"""Lesson 07: the contrastive loss."""

import jax
import jax.numpy as jnp
import numpy as np

from lessons.classroom.answers import right, wrong
from tinyclip.losses import at_least_float32, cross_entropy, true_pairs

# 7.1 cross_entropy


@wrong("7.1", "are the targets of a row shared out, so that each row of them sums to 1?")
def cross_entropy_not_shared(logits, targets):
    return -(targets * jax.nn.log_softmax(logits)).sum(-1).mean()


@wrong("7.1", "did you sum over the rows instead of taking the mean?")
def cross_entropy_summed(logits, targets):
    targets = targets / targets.sum(-1, keepdims=True)
    return -(targets * jax.nn.log_softmax(logits)).sum()


@wrong("7.1", "is it the mean over all logits? Sum along a row first: there is one surprise a row")
def cross_entropy_mean_of_all(logits, targets):
    targets = targets / targets.sum(-1, keepdims=True)
    return -(targets * jax.nn.log_softmax(logits)).mean()


@wrong("7.1", "is the softmax taken down the columns? Each row chooses among its columns")
def cross_entropy_down_columns(logits, targets):
    targets = targets / targets.sum(-1, keepdims=True)
    return -(targets * jax.nn.log_softmax(logits, axis=0)).sum(-1).mean()


@wrong("7.1", "is the sign turned? The logarithm of a probability is below 0, and surprise is above it")
def cross_entropy_with_the_wrong_sign(logits, targets):
    targets = targets / targets.sum(-1, keepdims=True)
    return (targets * jax.nn.log_softmax(logits)).sum(-1).mean()


@wrong("7.1", "is only one true answer read in each row? There may be several, and they share the target")
def cross_entropy_of_one_label(logits, targets):
    rows = jnp.arange(len(logits))
    return -jax.nn.log_softmax(logits)[rows, targets.argmax(-1)].mean()


@wrong("7.1", "does a probability become 0 before its logarithm is taken? There is a function that gives both in one, and stays finite")
def cross_entropy_by_softmax_then_log(logits, targets):
    targets = targets / targets.sum(-1, keepdims=True)
    return -(targets * jnp.log(jax.nn.softmax(logits))).sum(-1).mean()


@wrong("7.1", "do the exponentials overflow? Take the largest logit of a row off first")
def cross_entropy_by_exp(logits, targets):
    targets = targets / targets.sum(-1, keepdims=True)
    powers = jnp.exp(logits)
    return -(targets * (logits - jnp.log(powers.sum(-1, keepdims=True)))).sum(-1).mean()


@wrong("7.1", "is the logarithm of base 2? The surprise is wanted in nats")
def cross_entropy_in_bits(logits, targets):
    targets = targets / targets.sum(-1, keepdims=True)
    return -(targets * jax.nn.log_softmax(logits)).sum(-1).mean() / jnp.log(2)


@right("7.1")
def cross_entropy_by_logsumexp(logits, targets):
    own = (targets * logits).sum(axis=1) / targets.sum(axis=1)
    return jnp.mean(jax.scipy.special.logsumexp(logits, axis=1) - own)


@right("7.1")
def cross_entropy_row_by_row(logits, targets):
    surprise = 0.0
    for row, target in zip(logits, targets, strict=True):
        shifted = row - row.max()
        surprise = surprise - (target / target.sum() * (shifted - jnp.log(jnp.exp(shifted).sum()))).sum()
    return surprise / logits.shape[0]


# 7.2 contrastive_loss


@wrong("7.2", "did you forget to average the two directions?")
def contrastive_loss_summed(image_embeddings, text_embeddings, logit_scale, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    logits = logit_scale * images @ texts.T
    targets = true_pairs(positives, len(images), len(texts)).astype(logits.dtype)
    B = len(images)
    return cross_entropy(logits, targets) + cross_entropy(logits[:, :B].T, targets[:, :B].T)


@wrong("7.2", "this is the direction from picture to text alone: each text of a picture must find its picture, too")
def contrastive_loss_of_pictures(image_embeddings, text_embeddings, logit_scale, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    logits = logit_scale * images @ texts.T
    return cross_entropy(logits, true_pairs(positives, len(images), len(texts)).astype(logits.dtype))


@wrong("7.2", "this is the direction from text to picture alone: each picture must find its text, too")
def contrastive_loss_of_texts(image_embeddings, text_embeddings, logit_scale, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    B, logits = len(images), logit_scale * images @ texts.T
    targets = true_pairs(positives, B, len(texts)).astype(logits.dtype)
    return cross_entropy(logits[:, :B].T, targets[:, :B].T)


@wrong("7.2", "did you sum over the batch instead of taking the mean?")
def contrastive_loss_summed_over_the_batch(image_embeddings, text_embeddings, logit_scale, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    B, logits = len(images), logit_scale * images @ texts.T
    targets = true_pairs(positives, B, len(texts)).astype(logits.dtype)
    return B * (cross_entropy(logits, targets) + cross_entropy(logits[:, :B].T, targets[:, :B].T)) / 2


@wrong("7.2", "did you forget the scale? Logits are cosines times it")
def contrastive_loss_without_the_scale(image_embeddings, text_embeddings, logit_scale, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    B, logits = len(images), images @ texts.T
    targets = true_pairs(positives, B, len(texts)).astype(logits.dtype)
    return (cross_entropy(logits, targets) + cross_entropy(logits[:, :B].T, targets[:, :B].T)) / 2


@wrong("7.2", "did you divide by the scale? The scale is 1 / temperature already")
def contrastive_loss_divided_by_the_scale(image_embeddings, text_embeddings, logit_scale, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    B, logits = len(images), images @ texts.T / logit_scale
    targets = true_pairs(positives, B, len(texts)).astype(logits.dtype)
    return (cross_entropy(logits, targets) + cross_entropy(logits[:, :B].T, targets[:, :B].T)) / 2


@wrong("7.2", "did you exponentiate the scale once more? The model has done it, when it is given here")
def contrastive_loss_with_exp_of_the_scale(image_embeddings, text_embeddings, logit_scale, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    B, logits = len(images), jnp.exp(logit_scale) * images @ texts.T
    targets = true_pairs(positives, B, len(texts)).astype(logits.dtype)
    return (cross_entropy(logits, targets) + cross_entropy(logits[:, :B].T, targets[:, :B].T)) / 2


@wrong("7.2", "are other true captions still counted as false? `positives` says which are true")
def contrastive_loss_of_own_captions(image_embeddings, text_embeddings, logit_scale, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    B, logits = len(images), logit_scale * images @ texts.T
    targets = jnp.eye(B, len(texts), dtype=logits.dtype)
    return (cross_entropy(logits, targets) + cross_entropy(logits[:, :B].T, targets[:, :B].T)) / 2


@wrong("7.2", "were the extra texts ignored? The pictures could choose them, too")
def contrastive_loss_without_extra_texts(image_embeddings, text_embeddings, logit_scale, positives=None):
    B = len(image_embeddings)
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)[:B]
    logits = logit_scale * images @ texts.T
    targets = true_pairs(None if positives is None else positives[:, :B], B, B).astype(logits.dtype)
    return (cross_entropy(logits, targets) + cross_entropy(logits.T, targets.T)) / 2


@wrong("7.2", "do texts without a picture of their own ask, too? Their row of targets is empty: only the first B have an answer")
def contrastive_loss_in_which_all_texts_ask(image_embeddings, text_embeddings, logit_scale, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    logits = logit_scale * images @ texts.T
    targets = true_pairs(positives, len(images), len(texts)).astype(logits.dtype)
    return (cross_entropy(logits, targets) + cross_entropy(logits.T, targets.T)) / 2


@wrong("7.2", "is the second direction asked with the targets of the first? They have to be turned like the logits")
def contrastive_loss_with_targets_not_turned(image_embeddings, text_embeddings, logit_scale, positives=None):
    images, texts = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
    B, logits = len(images), logit_scale * images @ texts.T
    targets = true_pairs(positives, B, len(texts)).astype(logits.dtype)
    return (cross_entropy(logits, targets) + cross_entropy(logits[:, :B].T, targets[:, :B])) / 2


@wrong("7.2", "is the product taken in bfloat16? At a scale of 100 its rounding moves a logit: go to float32 before")
def contrastive_loss_in_bfloat16(image_embeddings, text_embeddings, logit_scale, positives=None):
    B, M = len(image_embeddings), len(text_embeddings)
    logits = logit_scale * image_embeddings @ text_embeddings.T
    targets = true_pairs(positives, B, M).astype(logits.dtype)
    return (cross_entropy(logits, targets) + cross_entropy(logits[:, :B].T, targets[:, :B].T)) / 2


@wrong("7.2", "is the product taken in bfloat16, and float32 made of what is left? Go to float32 before the product")
def contrastive_loss_cast_too_late(image_embeddings, text_embeddings, logit_scale, positives=None):
    B, M = len(image_embeddings), len(text_embeddings)
    logits = logit_scale * at_least_float32(image_embeddings @ text_embeddings.T)
    targets = true_pairs(positives, B, M).astype(logits.dtype)
    return (cross_entropy(logits, targets) + cross_entropy(logits[:, :B].T, targets[:, :B].T)) / 2


@wrong("7.2", "do the positives have a column for every text? They may leave the extra texts out: `true_pairs` fills them up")
def contrastive_loss_of_positives_as_they_are(image_embeddings, text_embeddings, logit_scale, positives=None):
    B = len(image_embeddings)
    logits = logit_scale * at_least_float32(image_embeddings) @ at_least_float32(text_embeddings).T
    targets = (jnp.eye(*logits.shape) if positives is None else positives).astype(logits.dtype)
    return (cross_entropy(logits, targets) + cross_entropy(logits[:, :B].T, targets[:, :B].T)) / 2


@right("7.2")
def contrastive_loss_with_a_helper(image_embeddings, text_embeddings, logit_scale, positives=None):
    n = image_embeddings.shape[0]
    targets = jnp.asarray(true_pairs(positives, n, text_embeddings.shape[0]), jnp.float32)
    table = cosines(image_embeddings, text_embeddings) * logit_scale
    return 0.5 * (cross_entropy(table, targets) + cross_entropy(table[:, :n].T, targets[:, :n].T))


def cosines(images, texts):
    return jnp.einsum("be,me->bm", at_least_float32(images), at_least_float32(texts))


# 7.3 cross_entropy_backward, by hand


@wrong("7.3", "is the sign turned? Where too little was predicted, a larger logit makes the loss smaller")
def cross_entropy_backward_sign(saved):
    return (saved["targets"] - saved["p"]) / len(saved["p"])


@wrong("7.3", "the loss is a mean over rows: what does each row's gradient get divided by?")
def cross_entropy_backward_not_divided(saved):
    return saved["p"] - saved["targets"]


@wrong("7.3", "did you divide by the number of logits? The loss is a mean over the B rows")
def cross_entropy_backward_mean_of_all(saved):
    return (saved["p"] - saved["targets"]) / saved["p"].size


@wrong("7.3", "did you divide by M, the columns? The loss is a mean over the B rows")
def cross_entropy_backward_by_columns(saved):
    return (saved["p"] - saved["targets"]) / saved["p"].shape[1]


@wrong("7.3", "this is the slope in the probabilities: how does each of them move with the logits of its row?")
def cross_entropy_backward_no_softmax(saved):
    return -saved["targets"] / saved["p"] / len(saved["p"])


@wrong("7.3", "p - target is past the softmax already: is the softmax's slope taken a second time?")
def cross_entropy_backward_softmax_twice(saved):
    p = saved["p"]
    dy = (p - saved["targets"]) / len(p)
    return p * (dy - (p * dy).sum(-1, keepdims=True))


@wrong("7.3", "did you take off 1 wherever there is a target? Several true answers share one 1")
def cross_entropy_backward_hard_targets(saved):
    return (saved["p"] - (saved["targets"] > 0)) / len(saved["p"])


@wrong("7.3", "are the saved probabilities themselves changed? The -= of an array changes it for everybody who holds it")
def cross_entropy_backward_in_place(saved):
    dlogits = saved["p"]
    dlogits -= saved["targets"]
    dlogits /= len(dlogits)
    return dlogits


@right("7.3")
def cross_entropy_backward_row_by_row(saved):
    B, M = saved["p"].shape
    dlogits = np.empty((B, M))
    for b in range(B):
        for j in range(M):
            dlogits[b, j] = saved["p"][b, j] / B - saved["targets"][b, j] / B
    return dlogits


@right("7.3")
def cross_entropy_backward_in_two_steps(saved):
    p = saved["p"]
    dp = -saved["targets"] / p / p.shape[0]
    return p * dp - p * np.einsum("bm,bm->b", p, dp)[:, None]


# 7.4 floor_of


@wrong("7.4", "did you forget to average the two directions?")
def floor_of_summed(positives):
    B = len(positives)
    return jnp.log(positives.sum(1)).mean() + jnp.log(positives[:, :B].sum(0)).mean()


@wrong("7.4", "this is the floor of the pictures alone: a caption that is true of several pictures must guess, too")
def floor_of_pictures(positives):
    return jnp.log(positives.sum(1)).mean()


@wrong("7.4", "this is the floor of the captions alone: a picture with several true captions must guess, too")
def floor_of_captions(positives):
    return jnp.log(positives[:, : len(positives)].sum(0)).mean()


@wrong("7.4", "is it the logarithm of a mean? Each picture has its own surprise, and the floor is their mean")
def floor_of_the_mean_count(positives):
    B = len(positives)
    return (jnp.log(positives.sum(1).mean()) + jnp.log(positives[:, :B].sum(0).mean())) / 2


@wrong("7.4", "do extra captions ask, too? Only the first B have a picture, and one that is true of none has the logarithm of 0")
def floor_of_all_captions(positives):
    return (jnp.log(positives.sum(1)).mean() + jnp.log(positives.sum(0)).mean()) / 2


@wrong("7.4", "are the extra captions left out for the pictures, too? A picture may choose among all M")
def floor_of_own_captions(positives):
    own = positives[:, : len(positives)]
    return (jnp.log(own.sum(1)).mean() + jnp.log(own.sum(0)).mean()) / 2


@wrong("7.4", "did you sum over the pictures instead of taking the mean?")
def floor_of_summed_pictures(positives):
    B = len(positives)
    return (jnp.log(positives.sum(1)).sum() + jnp.log(positives[:, :B].sum(0)).sum()) / 2


@wrong("7.4", "is the logarithm of base 2? The floor is wanted in nats, like the loss")
def floor_of_in_bits(positives):
    B = len(positives)
    return (jnp.log2(positives.sum(1)).mean() + jnp.log2(positives[:, :B].sum(0)).mean()) / 2


@right("7.4")
def floor_of_by_entropies(positives):
    def entropy(table):
        shares = table / table.sum(-1, keepdims=True)
        return -jnp.where(table, shares * jnp.log(jnp.where(table, shares, 1)), 0).sum(-1).mean()

    return (entropy(positives) + entropy(positives[:, : positives.shape[0]].T)) / 2
