"""Lesson 09: backpropagation by hand."""

import numpy as np

from lessons.classroom.answers import right, wrong


@wrong("9.1", "is dW turned round? W is (in, out), and its gradient has the same shape")
def linear_backward_turned(dy, saved):
    x, params = saved["x"], saved["params"]
    dy_flat, x_flat = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    gradient = {"kernel": dy_flat.T @ x_flat}
    if "bias" in params:
        gradient["bias"] = dy_flat.sum(0)
    return dy @ params["kernel"].T, gradient


@wrong("9.1", "is W used as it stands in dx? Which way must it turn for what came out to find what went in?")
def linear_backward_forward_again(dy, saved):
    x, params = saved["x"], saved["params"]
    dx = dy @ params["kernel"]
    dy_flat, x_flat = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    gradient = {"kernel": x_flat.T @ dy_flat}
    if "bias" in params:
        gradient["bias"] = dy_flat.sum(0)
    return dx, gradient


@wrong("9.1", "x.T turns all axes of (B, T, D), not the last two: are the leading axes laid flat first?")
def linear_backward_not_flat(dy, saved):
    x, params = saved["x"], saved["params"]
    gradient = {"kernel": x.T @ dy}
    if "bias" in params:
        gradient["bias"] = dy.sum(0)
    return dy @ params["kernel"].T, gradient


@wrong("9.1", "are there always sentences, tokens and numbers? x may have any number of axes before the last: lay them flat")
def linear_backward_of_three_axes(dy, saved):
    x, params = saved["x"], saved["params"]
    gradient = {"kernel": np.einsum("bti,bto->io", x, dy)}
    if "bias" in params:
        gradient["bias"] = dy.sum((0, 1))
    return dy @ params["kernel"].T, gradient


@wrong("9.1", "is the bias's gradient summed over sentences only? The same bias is added to every token")
def linear_backward_bias_over_one_axis(dy, saved):
    x, params = saved["x"], saved["params"]
    dy_flat, x_flat = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    gradient = {"kernel": x_flat.T @ dy_flat}
    if "bias" in params:
        gradient["bias"] = dy.sum(0)
    return dy @ params["kernel"].T, gradient


@wrong("9.1", "did you take the mean over the tokens? Each of them moves the loss, and the moves add up")
def linear_backward_mean(dy, saved):
    x, params = saved["x"], saved["params"]
    dy_flat, x_flat = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    gradient = {"kernel": x_flat.T @ dy_flat / len(x_flat)}
    if "bias" in params:
        gradient["bias"] = dy_flat.mean(0)
    return dy @ params["kernel"].T, gradient


@wrong("9.1", "a layer may have no bias: is its gradient left out then?")
def linear_backward_always_a_bias(dy, saved):
    x, params = saved["x"], saved["params"]
    dy_flat, x_flat = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return dy @ params["kernel"].T, {"kernel": x_flat.T @ dy_flat, "bias": dy_flat.sum(0)}


@wrong("9.1", "did you forget the bias's gradient?")
def linear_backward_never_a_bias(dy, saved):
    x, params = saved["x"], saved["params"]
    return dy @ params["kernel"].T, {"kernel": x.reshape(-1, x.shape[-1]).T @ dy.reshape(-1, dy.shape[-1])}


@right("9.1")
def linear_backward_by_einsum(dy, saved):
    kernel = saved["params"]["kernel"]
    i, o = kernel.shape
    x, dy_flat = saved["x"].reshape(-1, i), dy.reshape(-1, o)
    gradient = {"kernel": np.einsum("ni,no->io", x, dy_flat)}
    if "bias" in saved["params"]:
        gradient["bias"] = np.einsum("no->o", dy_flat)
    return np.einsum("...o,io->...i", dy, kernel), gradient


@right("9.1")
def linear_backward_token_by_token(dy, saved):
    x, params = saved["x"], saved["params"]
    dx, gradient = np.zeros_like(x), {name: np.zeros_like(value) for name, value in params.items()}
    for token in np.ndindex(*x.shape[:-1]):
        dx[token] = params["kernel"] @ dy[token]
        gradient["kernel"] += np.outer(x[token], dy[token])
        if "bias" in gradient:
            gradient["bias"] += dy[token]
    return dx, gradient


@wrong("9.2", "did you forget the half? The loss is the mean of two directions")
def contrastive_loss_backward_without_the_half(saved):
    images, texts, scale = saved["images"], saved["texts"], saved["logit_scale"]
    rows, columns = saved["rows"], saved["columns"]
    B = len(images)
    dlogits = (rows["p"] - rows["targets"]) / B
    dlogits[:, :B] += (columns["p"] - columns["targets"]).T / B
    return scale * dlogits @ texts, scale * dlogits.T @ images, (dlogits * saved["cosines"]).sum()


@wrong("9.2", "is the gradient of the second direction turned back? In its table the texts are the rows")
def contrastive_loss_backward_not_turned_back(saved):
    images, texts, scale = saved["images"], saved["texts"], saved["logit_scale"]
    rows, columns = saved["rows"], saved["columns"]
    B = len(images)
    dlogits = (rows["p"] - rows["targets"]) / (2 * B)
    dlogits[:, :B] += (columns["p"] - columns["targets"]) / (2 * B)
    return scale * dlogits @ texts, scale * dlogits.T @ images, (dlogits * saved["cosines"]).sum()


@wrong("9.2", "is this the way back of the pictures' questions alone? The texts asked, too")
def contrastive_loss_backward_of_the_rows(saved):
    images, texts, scale = saved["images"], saved["texts"], saved["logit_scale"]
    dlogits = (saved["rows"]["p"] - saved["rows"]["targets"]) / (2 * len(images))
    return scale * dlogits @ texts, scale * dlogits.T @ images, (dlogits * saved["cosines"]).sum()


@wrong("9.2", "did you forget the scale? Moving a picture along a text raises their logit s times as fast as their cosine")
def contrastive_loss_backward_without_the_scale(saved):
    images, texts = saved["images"], saved["texts"]
    rows, columns = saved["rows"], saved["columns"]
    B = len(images)
    dlogits = (rows["p"] - rows["targets"]) / (2 * B)
    dlogits[:, :B] += (columns["p"] - columns["targets"]).T / (2 * B)
    return dlogits @ texts, dlogits.T @ images, (dlogits * saved["cosines"]).sum()


@wrong("9.2", "is the scale's slope taken with the logits? They contain the scale already: with it growing, a logit grows by its cosine")
def contrastive_loss_backward_with_dscale_of_logits(saved):
    images, texts, scale = saved["images"], saved["texts"], saved["logit_scale"]
    rows, columns = saved["rows"], saved["columns"]
    B = len(images)
    dlogits = (rows["p"] - rows["targets"]) / (2 * B)
    dlogits[:, :B] += (columns["p"] - columns["targets"]).T / (2 * B)
    return scale * dlogits @ texts, scale * dlogits.T @ images, (dlogits * scale * saved["cosines"]).sum()


@wrong("9.2", "is the sign turned? It is predicted minus true")
def contrastive_loss_backward_true_minus_predicted(saved):
    images, texts, scale = saved["images"], saved["texts"], saved["logit_scale"]
    rows, columns = saved["rows"], saved["columns"]
    B = len(images)
    dlogits = (rows["targets"] - rows["p"]) / (2 * B)
    dlogits[:, :B] += (columns["targets"] - columns["p"]).T / (2 * B)
    return scale * dlogits @ texts, scale * dlogits.T @ images, (dlogits * saved["cosines"]).sum()


@wrong("9.2", "did you forget that each direction is a mean over B questions?")
def contrastive_loss_backward_of_sums(saved):
    images, texts, scale = saved["images"], saved["texts"], saved["logit_scale"]
    rows, columns = saved["rows"], saved["columns"]
    dlogits = (rows["p"] - rows["targets"]) / 2
    dlogits[:, : len(images)] += (columns["p"] - columns["targets"]).T / 2
    return scale * dlogits @ texts, scale * dlogits.T @ images, (dlogits * saved["cosines"]).sum()


@wrong("9.2", "are the texts' gradients made of texts? A text's logits are made of the pictures it met")
def contrastive_loss_backward_texts_from_texts(saved):
    images, texts, scale = saved["images"], saved["texts"], saved["logit_scale"]
    rows, columns = saved["rows"], saved["columns"]
    B = len(images)
    dlogits = (rows["p"] - rows["targets"]) / (2 * B)
    dlogits[:, :B] += (columns["p"] - columns["targets"]).T / (2 * B)
    return scale * dlogits @ texts, scale * dlogits.T @ texts[:B], (dlogits * saved["cosines"]).sum()


@wrong("9.2", "is `saved` changed on the way? With -= and += the forward's own tables are overwritten")
def contrastive_loss_backward_in_place(saved):
    images, texts, scale = saved["images"], saved["texts"], saved["logit_scale"]
    rows, columns = saved["rows"], saved["columns"]
    B = len(images)
    dlogits = rows["p"]
    dlogits -= rows["targets"]
    dlogits[:, :B] += (columns["p"] - columns["targets"]).T
    dlogits /= 2 * B
    return scale * dlogits @ texts, scale * dlogits.T @ images, (dlogits * saved["cosines"]).sum()


@wrong("9.2", "does np.zeros make the gradient float64? Give it the kind of numbers that came in")
def contrastive_loss_backward_in_float64(saved):
    images, texts, scale = saved["images"], saved["texts"], saved["logit_scale"]
    rows, columns = saved["rows"], saved["columns"]
    B = len(images)
    dlogits = np.zeros(rows["p"].shape)
    dlogits += (rows["p"] - rows["targets"]) / (2 * B)
    dlogits[:, :B] += (columns["p"] - columns["targets"]).T / (2 * B)
    return scale * dlogits @ texts, scale * dlogits.T @ images, (dlogits * saved["cosines"]).sum()


@right("9.2")
def contrastive_loss_backward_by_einsum(saved):
    rows, columns = saved["rows"], saved["columns"]
    B, M = rows["p"].shape
    back = np.pad((columns["p"] - columns["targets"]).T, ((0, 0), (0, M - B)))
    slopes = (rows["p"] - rows["targets"] + back) / (2 * B)
    dcosines = slopes * saved["logit_scale"]
    dimages, dtexts = np.einsum("bm,me->be", dcosines, saved["texts"]), np.einsum("bm,be->me", dcosines, saved["images"])
    return dimages, dtexts, np.vdot(slopes, saved["cosines"])


@wrong("9.3", "is this the slope of each p in its own x only? All x of a row move all p of it")
def softmax_backward_diagonal(dy, saved):
    p = saved["p"]
    return p * (1 - p) * dy


@wrong("9.3", "did you forget the sum over the row? Raising one x takes from all the others' shares")
def softmax_backward_no_sum(dy, saved):
    return saved["p"] * dy


@wrong("9.3", "did you forget the factor p in front? Where p is 0, x cannot matter")
def softmax_backward_no_factor(dy, saved):
    p = saved["p"]
    return dy - (p * dy).sum(-1, keepdims=True)


@wrong("9.3", "what is taken off is the mean of dy: weighted with what?")
def softmax_backward_plain_mean(dy, saved):
    p = saved["p"]
    return p * (dy - dy.mean(-1, keepdims=True))


@wrong("9.3", "is the sum over everything? Every row is a softmax by itself")
def softmax_backward_sum_of_all(dy, saved):
    p = saved["p"]
    return p * (dy - (p * dy).sum())


@wrong("9.3", "a sum along the last axis loses that axis, and then fits no longer: how is it kept?")
def softmax_backward_no_keepdims(dy, saved):
    p = saved["p"]
    return p * (dy - (p * dy).sum(-1))


@wrong("9.3", "is the sum over the rows? Each row shares out its own 1, along the last axis")
def softmax_backward_down_the_columns(dy, saved):
    p = saved["p"]
    return p * (dy - (p * dy).sum(0, keepdims=True))


@wrong("9.3", "p_i stands in front of the whole bracket: does it reach the sum as well?")
def softmax_backward_p_inside(dy, saved):
    p = saved["p"]
    return p * dy - (p * dy).sum(-1, keepdims=True)


@right("9.3")
def softmax_backward_by_jacobian(dy, saved):
    p = saved["p"]
    jacobian = p[..., :, None] * np.eye(p.shape[-1]) - p[..., :, None] * p[..., None, :]
    return np.einsum("...ij,...j->...i", jacobian, dy)


@right("9.3")
def softmax_backward_row_by_row(dy, saved):
    p, dx = saved["p"], np.empty_like(dy)
    for row in np.ndindex(*p.shape[:-1]):
        dx[row] = p[row] * dy[row] - p[row] * np.dot(p[row], dy[row])
    return dx


@wrong("9.4", "does dy pass the scale on its way back to n?")
def layer_norm_backward_no_scale(dy, saved):
    n, r = saved["normalised"], saved["inverse"]
    tokens = tuple(range(dy.ndim - 1))
    dx = r * (dy - dy.mean(-1, keepdims=True) - n * (n * dy).mean(-1, keepdims=True))
    return dx, {"scale": (dy * n).sum(tokens), "bias": dy.sum(tokens)}


@wrong("9.4", "are mean and deviation held fixed? Both move with x, and each takes its part out of the gradient")
def layer_norm_backward_fixed_statistics(dy, saved):
    n, r = saved["normalised"], saved["inverse"]
    tokens = tuple(range(dy.ndim - 1))
    return r * dy * saved["params"]["scale"], {"scale": (dy * n).sum(tokens), "bias": dy.sum(tokens)}


@wrong("9.4", "the mean moves with x too: what of dn is left when a token is shifted as a whole?")
def layer_norm_backward_mean_held_fixed(dy, saved):
    n, r = saved["normalised"], saved["inverse"]
    tokens = tuple(range(dy.ndim - 1))
    dn = dy * saved["params"]["scale"]
    return r * (dn - n * (n * dn).mean(-1, keepdims=True)), {"scale": (dy * n).sum(tokens), "bias": dy.sum(tokens)}


@wrong("9.4", "the deviation moves with x too: what of dn is left when a token is stretched as a whole?")
def layer_norm_backward_deviation_held_fixed(dy, saved):
    n, r = saved["normalised"], saved["inverse"]
    tokens = tuple(range(dy.ndim - 1))
    dn = dy * saved["params"]["scale"]
    return r * (dn - dn.mean(-1, keepdims=True)), {"scale": (dy * n).sum(tokens), "bias": dy.sum(tokens)}


@wrong("9.4", "are these sums over the D numbers? Mean and variance share every change out among D")
def layer_norm_backward_sums(dy, saved):
    n, r = saved["normalised"], saved["inverse"]
    tokens = tuple(range(dy.ndim - 1))
    dn = dy * saved["params"]["scale"]
    dx = r * (dn - dn.sum(-1, keepdims=True) - n * (n * dn).sum(-1, keepdims=True))
    return dx, {"scale": (dy * n).sum(tokens), "bias": dy.sum(tokens)}


@wrong("9.4", "did you forget r? The wider a token's numbers are spread, the less each of them moves n")
def layer_norm_backward_no_inverse(dy, saved):
    n = saved["normalised"]
    tokens = tuple(range(dy.ndim - 1))
    dn = dy * saved["params"]["scale"]
    dx = dn - dn.mean(-1, keepdims=True) - n * (n * dn).mean(-1, keepdims=True)
    return dx, {"scale": (dy * n).sum(tokens), "bias": dy.sum(tokens)}


@wrong("9.4", "is the scale's gradient dy times the scale? The scale multiplies n: which of the two does its slope hold?")
def layer_norm_backward_scale_times_scale(dy, saved):
    n, r = saved["normalised"], saved["inverse"]
    tokens = tuple(range(dy.ndim - 1))
    dn = dy * saved["params"]["scale"]
    dx = r * (dn - dn.mean(-1, keepdims=True) - n * (n * dn).mean(-1, keepdims=True))
    return dx, {"scale": dn.sum(tokens), "bias": dy.sum(tokens)}


@wrong("9.4", "the bias is added after the scale: does its gradient pass the scale?")
def layer_norm_backward_bias_behind_the_scale(dy, saved):
    n, r = saved["normalised"], saved["inverse"]
    tokens = tuple(range(dy.ndim - 1))
    dn = dy * saved["params"]["scale"]
    dx = r * (dn - dn.mean(-1, keepdims=True) - n * (n * dn).mean(-1, keepdims=True))
    return dx, {"scale": (dn * n).sum(tokens), "bias": dn.sum(tokens)}


@wrong("9.4", "are scale and bias summed over the first axis only? All tokens of all sentences share them")
def layer_norm_backward_over_one_axis(dy, saved):
    n, r = saved["normalised"], saved["inverse"]
    dn = dy * saved["params"]["scale"]
    dx = r * (dn - dn.mean(-1, keepdims=True) - n * (n * dn).mean(-1, keepdims=True))
    return dx, {"scale": (dy * n).sum(0), "bias": dy.sum(0)}


@wrong("9.4", "are scale and bias summed over the D numbers? Each of the D has its own, shared by all tokens")
def layer_norm_backward_over_the_width(dy, saved):
    n, r = saved["normalised"], saved["inverse"]
    dn = dy * saved["params"]["scale"]
    dx = r * (dn - dn.mean(-1, keepdims=True) - n * (n * dn).mean(-1, keepdims=True))
    return dx, {"scale": (dy * n).sum(-1), "bias": dy.sum(-1)}


@right("9.4")
def layer_norm_backward_in_three_steps(dy, saved):
    n, r, D = saved["normalised"], saved["inverse"], dy.shape[-1]
    dn = np.multiply(dy, saved["params"]["scale"])
    dc = r * dn  # n = c r: once through c, and once through r
    dc = dc - n * r * np.sum(dn * n, -1, keepdims=True) / D
    dx = dc - np.sum(dc, -1, keepdims=True) / D
    flat = dy.reshape(-1, D)
    return dx, {"bias": flat.sum(0), "scale": np.einsum("td,td->d", flat, n.reshape(-1, D))}


@right("9.4")
def layer_norm_backward_by_jacobian(dy, saved):
    n, r, D = saved["normalised"], saved["inverse"], dy.shape[-1]
    jacobian = r[..., None] * (np.eye(D) - 1 / D - n[..., :, None] * n[..., None, :] / D)
    dx = np.einsum("...ij,...j->...i", jacobian, dy * saved["params"]["scale"])
    scale, bias = np.zeros(D), np.zeros(D)
    for token in np.ndindex(*dy.shape[:-1]):
        scale += dy[token] * n[token]
        bias += dy[token]
    return dx, {"scale": scale, "bias": bias}
