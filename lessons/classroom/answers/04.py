"""Lesson 04: attention."""

import jax
import jax.numpy as jnp
import numpy as np

from lessons.classroom.answers import right, wrong
from tinyclip.transformer import at_least_float32


@wrong("4.1", "is the table turned round? Row i says where token i may look")
def causal_mask_turned(T):
    return jnp.triu(jnp.ones((T, T), bool))


@wrong("4.1", "may a token not look at itself?")
def causal_mask_without_itself(T):
    return jnp.tril(jnp.ones((T, T), bool), -1)


@wrong("4.1", "is True where looking is forbidden, as in PyTorch's nn.MultiheadAttention? Here True means: may look")
def causal_mask_forbids(T):
    return jnp.triu(jnp.ones((T, T), bool), 1)


@wrong("4.1", "ones and zeros are numbers: what is the question, `may it look?`, answered with?")
def causal_mask_of_numbers(T):
    return jnp.tril(jnp.ones((T, T)))


@wrong("4.1", "is this what is added to the scores, 0 and -inf? Here it is asked who may look: True or False")
def causal_mask_to_be_added(T):
    return jnp.triu(jnp.full((T, T), -jnp.inf), 1)


@wrong("4.1", "the blocks pick rows of it in compiled code, which cannot be done with a NumPy array: what is its JAX twin?")
def causal_mask_of_numpy(T):
    return np.tril(np.ones((T, T), bool))


@wrong("4.1", "JAX arrays cannot be changed in place: is there one comparison, of all i with all j, that gives the table at once?")
def causal_mask_in_place(T):
    mask = jnp.zeros((T, T), bool)
    for i in range(T):
        mask[i, : i + 1] = True
    return mask


@right("4.1")
def causal_mask_by_comparison(T):
    token = jnp.arange(T)
    return token[None, :] <= token[:, None]


@right("4.1")
def causal_mask_by_loops(T):
    return jnp.array([[j <= i for j in range(T)] for i in range(T)])


@wrong("4.2", "is it normalised over the batch? Mean and variance are of the D numbers of one token")
def layer_norm_over_the_batch(self, x):
    exact = at_least_float32(x)
    centred = exact - exact.mean(0, keepdims=True)
    variance = (centred * centred).mean(0, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + self.eps) * self.scale[...] + self.bias[...]).astype(x.dtype)


@wrong("4.2", "is it one mean for all numbers? Every token has its own mean and variance")
def layer_norm_over_everything(self, x):
    exact = at_least_float32(x)
    centred = exact - exact.mean()
    return (centred * jax.lax.rsqrt((centred * centred).mean() + self.eps) * self.scale[...] + self.bias[...]).astype(x.dtype)


@wrong("4.2", "a mean along the last axis loses that axis: how is it kept, so that it fits x again?")
def layer_norm_no_keepdims(self, x):
    exact = at_least_float32(x)
    centred = exact - exact.mean(-1)
    return (centred * jax.lax.rsqrt((centred * centred).mean(-1) + self.eps) * self.scale[...] + self.bias[...]).astype(x.dtype)


@wrong("4.2", "is the variance divided by D - 1? The D numbers are all there is, not a sample")
def layer_norm_unbiased(self, x):
    exact = at_least_float32(x)
    variance = exact.var(-1, ddof=1, keepdims=True)
    return ((exact - exact.mean(-1, keepdims=True)) * jax.lax.rsqrt(variance + self.eps) * self.scale[...] + self.bias[...]).astype(x.dtype)


@wrong("4.2", "is eps added to the deviation? It belongs to the variance, under the root")
def layer_norm_eps_outside(self, x):
    exact = at_least_float32(x)
    normalised = (exact - exact.mean(-1, keepdims=True)) / (exact.std(-1, keepdims=True) + self.eps)
    return (normalised * self.scale[...] + self.bias[...]).astype(x.dtype)


@wrong("4.2", "is eps a fixed number? Each LayerNorm has been given its own")
def layer_norm_eps_fixed(self, x):
    exact = at_least_float32(x)
    centred = exact - exact.mean(-1, keepdims=True)
    return (centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) * self.scale[...] + self.bias[...]).astype(x.dtype)


@wrong("4.2", "did you forget eps? A token of equal numbers has variance 0")
def layer_norm_without_eps(self, x):
    exact = at_least_float32(x)
    centred = exact - exact.mean(-1, keepdims=True)
    return (centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True)) * self.scale[...] + self.bias[...]).astype(x.dtype)


@wrong("4.2", "is it divided by the variance? Which root of it makes the new variance 1?")
def layer_norm_without_the_root(self, x):
    exact = at_least_float32(x)
    centred = exact - exact.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    return (centred / (variance + self.eps) * self.scale[...] + self.bias[...]).astype(x.dtype)


@wrong("4.2", "is the mean taken off? This is RMSNorm, which only divides")
def layer_norm_of_the_root_mean_square(self, x):
    exact = at_least_float32(x)
    square = (exact * exact).mean(-1, keepdims=True)
    return (exact * jax.lax.rsqrt(square + self.eps) * self.scale[...] + self.bias[...]).astype(x.dtype)


@wrong("4.2", "did you forget the learned scale and bias?")
def layer_norm_without_parameters(self, x):
    exact = at_least_float32(x)
    centred = exact - exact.mean(-1, keepdims=True)
    return (centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + self.eps)).astype(x.dtype)


@wrong("4.2", "did you forget the learned bias?")
def layer_norm_without_bias(self, x):
    exact = at_least_float32(x)
    centred = exact - exact.mean(-1, keepdims=True)
    return (centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + self.eps) * self.scale[...]).astype(x.dtype)


@wrong("4.2", "is the variance mean(x²) - mean(x)²? Two large numbers nearly cancel there: take the mean off first")
def layer_norm_by_cancelling(self, x):
    exact = at_least_float32(x)
    mean = exact.mean(-1, keepdims=True)
    variance = (exact * exact).mean(-1, keepdims=True) - mean * mean
    return ((exact - mean) * jax.lax.rsqrt(variance + self.eps) * self.scale[...] + self.bias[...]).astype(x.dtype)


@wrong("4.2", "scale and bias are float32, and make float32 of what they touch: in which dtype did x come?")
def layer_norm_comes_out_as_float32(self, x):
    exact = at_least_float32(x)
    centred = exact - exact.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + self.eps) * self.scale[...] + self.bias[...]


@wrong("4.2", "are mean and variance taken in x's own dtype? In half precision squares overflow, or lose their digits")
def layer_norm_in_half_precision(self, x):
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + self.eps) * self.scale[...] + self.bias[...]).astype(x.dtype)


@right("4.2")
def layer_norm_by_var(self, x):
    y = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    y = (y - jnp.mean(y, axis=-1, keepdims=True)) / jnp.sqrt(jnp.var(y, axis=-1, keepdims=True) + self.eps)
    return jnp.asarray(self.scale * y + self.bias, x.dtype)


@right("4.2")
def layer_norm_of_one_token_after_another(self, x):
    def one(token):
        mean = token.sum() / len(token)
        return (token - mean) / ((token - mean) @ (token - mean) / len(token) + self.eps) ** 0.5

    flat = jnp.stack([one(token) for token in at_least_float32(x).reshape(-1, x.shape[-1])])
    return (flat * self.scale[...] + self.bias[...]).reshape(x.shape).astype(x.dtype)


@wrong("4.3", "are the scores divided by √K? Without it, wide heads have scores so far apart that one token takes all")
def attention_without_scale(self, queries, tokens, mask=None):
    q, k, v = (self.split(x) for x in (self.query(queries), self.key(tokens), self.value(tokens)))
    scores = at_least_float32(jnp.einsum("brhk,bthk->bhrt", q, k))
    if mask is not None:
        scores = jnp.where(mask if mask.ndim == 2 else mask[:, None], scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=-1)
    heads = jnp.einsum("bhrt,bthk->brhk", weights.astype(v.dtype), v)
    return self.out(heads.reshape(queries.shape)), weights


@wrong("4.3", "are the scores divided by √D? A score adds up the K products of one head")
def attention_by_root_d(self, queries, tokens, mask=None):
    q, k, v = (self.split(x) for x in (self.query(queries), self.key(tokens), self.value(tokens)))
    scores = at_least_float32(jnp.einsum("brhk,bthk->bhrt", q * queries.shape[-1] ** -0.5, k))
    if mask is not None:
        scores = jnp.where(mask if mask.ndim == 2 else mask[:, None], scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=-1)
    heads = jnp.einsum("bhrt,bthk->brhk", weights.astype(v.dtype), v)
    return self.out(heads.reshape(queries.shape)), weights


@wrong("4.3", "are the scores divided by K? A sum of K random products has a spread of its root")
def attention_by_k(self, queries, tokens, mask=None):
    q, k, v = (self.split(x) for x in (self.query(queries), self.key(tokens), self.value(tokens)))
    scores = at_least_float32(jnp.einsum("brhk,bthk->bhrt", q / q.shape[-1], k))
    if mask is not None:
        scores = jnp.where(mask if mask.ndim == 2 else mask[:, None], scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=-1)
    heads = jnp.einsum("bhrt,bthk->brhk", weights.astype(v.dtype), v)
    return self.out(heads.reshape(queries.shape)), weights


@wrong("4.3", "is the softmax over the queries? Each query shares its attention out among the tokens")
def attention_softmax_over_queries(self, queries, tokens, mask=None):
    q, k, v = (self.split(x) for x in (self.query(queries), self.key(tokens), self.value(tokens)))
    scores = at_least_float32(jnp.einsum("brhk,bthk->bhrt", q * q.shape[-1] ** -0.5, k))
    if mask is not None:
        scores = jnp.where(mask if mask.ndim == 2 else mask[:, None], scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=-2)
    heads = jnp.einsum("bhrt,bthk->brhk", weights.astype(v.dtype), v)
    return self.out(heads.reshape(queries.shape)), weights


@wrong("4.3", "did you forget the mask?")
def attention_without_mask(self, queries, tokens, mask=None):
    q, k, v = (self.split(x) for x in (self.query(queries), self.key(tokens), self.value(tokens)))
    scores = at_least_float32(jnp.einsum("brhk,bthk->bhrt", q * q.shape[-1] ** -0.5, k))
    weights = jax.nn.softmax(scores, axis=-1)
    heads = jnp.einsum("bhrt,bthk->brhk", weights.astype(v.dtype), v)
    return self.out(heads.reshape(queries.shape)), weights


@wrong("4.3", "is the mask turned round? True is where a query may look")
def attention_mask_turned(self, queries, tokens, mask=None):
    q, k, v = (self.split(x) for x in (self.query(queries), self.key(tokens), self.value(tokens)))
    scores = at_least_float32(jnp.einsum("brhk,bthk->bhrt", q * q.shape[-1] ** -0.5, k))
    if mask is not None:
        scores = jnp.where(mask if mask.ndim == 2 else mask[:, None], jnp.finfo(scores.dtype).min, scores)
    weights = jax.nn.softmax(scores, axis=-1)
    heads = jnp.einsum("bhrt,bthk->brhk", weights.astype(v.dtype), v)
    return self.out(heads.reshape(queries.shape)), weights


@wrong("4.3", "is the mask applied after the softmax? What is taken away then is missing from the sum")
def attention_mask_after_softmax(self, queries, tokens, mask=None):
    q, k, v = (self.split(x) for x in (self.query(queries), self.key(tokens), self.value(tokens)))
    weights = jax.nn.softmax(at_least_float32(jnp.einsum("brhk,bthk->bhrt", q * q.shape[-1] ** -0.5, k)), axis=-1)
    if mask is not None:
        weights = weights * (mask if mask.ndim == 2 else mask[:, None])
    heads = jnp.einsum("bhrt,bthk->brhk", weights.astype(v.dtype), v)
    return self.out(heads.reshape(queries.shape)), weights


@wrong("4.3", "are the forbidden scores set to 0? The softmax gives e⁰ = 1 to those: which score gets nothing?")
def attention_mask_of_zeros(self, queries, tokens, mask=None):
    q, k, v = (self.split(x) for x in (self.query(queries), self.key(tokens), self.value(tokens)))
    scores = at_least_float32(jnp.einsum("brhk,bthk->bhrt", q * q.shape[-1] ** -0.5, k))
    if mask is not None:
        scores = jnp.where(mask if mask.ndim == 2 else mask[:, None], scores, 0)
    weights = jax.nn.softmax(scores, axis=-1)
    heads = jnp.einsum("bhrt,bthk->brhk", weights.astype(v.dtype), v)
    return self.out(heads.reshape(queries.shape)), weights


@wrong("4.3", "is -10000 low enough? Scores may be lower still: replace the forbidden ones, by the lowest number there is")
def attention_mask_not_low_enough(self, queries, tokens, mask=None):
    q, k, v = (self.split(x) for x in (self.query(queries), self.key(tokens), self.value(tokens)))
    scores = at_least_float32(jnp.einsum("brhk,bthk->bhrt", q * q.shape[-1] ** -0.5, k))
    if mask is not None:
        scores = scores + jnp.where(mask if mask.ndim == 2 else mask[:, None], 0.0, -1e4)
    weights = jax.nn.softmax(scores, axis=-1)
    heads = jnp.einsum("bhrt,bthk->brhk", weights.astype(v.dtype), v)
    return self.out(heads.reshape(queries.shape)), weights


@wrong("4.3", "a mask may have an axis for the batch, (B, R, T), but none for the heads: where does that axis belong?")
def attention_mask_without_heads(self, queries, tokens, mask=None):
    q, k, v = (self.split(x) for x in (self.query(queries), self.key(tokens), self.value(tokens)))
    scores = at_least_float32(jnp.einsum("brhk,bthk->bhrt", q * q.shape[-1] ** -0.5, k))
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=-1)
    heads = jnp.einsum("bhrt,bthk->brhk", weights.astype(v.dtype), v)
    return self.out(heads.reshape(queries.shape)), weights


@wrong("4.3", "has every mask an axis for the batch? It may also be (R, T), the same for all")
def attention_mask_always_of_a_batch(self, queries, tokens, mask=None):
    q, k, v = (self.split(x) for x in (self.query(queries), self.key(tokens), self.value(tokens)))
    scores = at_least_float32(jnp.einsum("brhk,bthk->bhrt", q * q.shape[-1] ** -0.5, k))
    if mask is not None:
        scores = jnp.where(mask[:, None], scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=-1)
    heads = jnp.einsum("bhrt,bthk->brhk", weights.astype(v.dtype), v)
    return self.out(heads.reshape(queries.shape)), weights


@wrong("4.3", "did you forget the last layer, `out`? It mixes what the heads have found")
def attention_without_out(self, queries, tokens, mask=None):
    q, k, v = (self.split(x) for x in (self.query(queries), self.key(tokens), self.value(tokens)))
    scores = at_least_float32(jnp.einsum("brhk,bthk->bhrt", q * q.shape[-1] ** -0.5, k))
    if mask is not None:
        scores = jnp.where(mask if mask.ndim == 2 else mask[:, None], scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=-1)
    heads = jnp.einsum("bhrt,bthk->brhk", weights.astype(v.dtype), v)
    return heads.reshape(queries.shape), weights


@wrong("4.3", "(B, H, R, K) laid out as (B, R, D) mixes rows: which two axes must change places before?")
def attention_heads_not_moved_back(self, queries, tokens, mask=None):
    q, k, v = (self.split(x).transpose(0, 2, 1, 3) for x in (self.query(queries), self.key(tokens), self.value(tokens)))
    scores = at_least_float32(q @ k.transpose(0, 1, 3, 2) * q.shape[-1] ** -0.5)
    if mask is not None:
        scores = jnp.where(mask if mask.ndim == 2 else mask[:, None], scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=-1)
    return self.out((weights.astype(v.dtype) @ v).reshape(queries.shape)), weights


@wrong("4.3", "are keys and values made of the queries? They come from all tokens, of which the queries may be a part")
def attention_of_the_queries_alone(self, queries, tokens, mask=None):
    q, k, v = (self.split(x) for x in (self.query(queries), self.key(queries), self.value(queries)))
    scores = at_least_float32(jnp.einsum("brhk,bthk->bhrt", q * q.shape[-1] ** -0.5, k))
    if mask is not None:
        scores = jnp.where(mask if mask.ndim == 2 else mask[:, None], scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=-1)
    heads = jnp.einsum("bhrt,bthk->brhk", weights.astype(v.dtype), v)
    return self.out(heads.reshape(queries.shape)), weights


@wrong("4.3", "is the softmax written out as exp over its sum? Large scores overflow: jax.nn.softmax takes the largest off first")
def attention_softmax_that_overflows(self, queries, tokens, mask=None):
    q, k, v = (self.split(x) for x in (self.query(queries), self.key(tokens), self.value(tokens)))
    scores = at_least_float32(jnp.einsum("brhk,bthk->bhrt", q * q.shape[-1] ** -0.5, k))
    if mask is not None:
        scores = jnp.where(mask if mask.ndim == 2 else mask[:, None], scores, jnp.finfo(scores.dtype).min)
    weights = jnp.exp(scores) / jnp.exp(scores).sum(-1, keepdims=True)
    heads = jnp.einsum("bhrt,bthk->brhk", weights.astype(v.dtype), v)
    return self.out(heads.reshape(queries.shape)), weights


@wrong("4.3", "is the softmax taken in the dtype of the tokens? Its statistics want at least float32")
def attention_softmax_in_half_precision(self, queries, tokens, mask=None):
    q, k, v = (self.split(x) for x in (self.query(queries), self.key(tokens), self.value(tokens)))
    scores = jnp.einsum("brhk,bthk->bhrt", q * q.shape[-1] ** -0.5, k)
    if mask is not None:
        scores = jnp.where(mask if mask.ndim == 2 else mask[:, None], scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=-1)
    return self.out(jnp.einsum("bhrt,bthk->brhk", weights, v).reshape(queries.shape)), weights


@wrong("4.3", "the weights are float32 for the softmax's sake: do they make float32 of bfloat16 values?")
def attention_comes_out_as_float32(self, queries, tokens, mask=None):
    q, k, v = (self.split(x) for x in (self.query(queries), self.key(tokens), self.value(tokens)))
    scores = at_least_float32(jnp.einsum("brhk,bthk->bhrt", q * q.shape[-1] ** -0.5, k))
    if mask is not None:
        scores = jnp.where(mask if mask.ndim == 2 else mask[:, None], scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=-1)
    heads = jnp.einsum("bhrt,bthk->brhk", weights, v)
    return self.out(heads.reshape(queries.shape)), weights


@wrong("4.3", "the weights are wanted too: what is looked at, and how much, is the second result")
def attention_without_weights(self, queries, tokens, mask=None):
    q, k, v = (self.split(x) for x in (self.query(queries), self.key(tokens), self.value(tokens)))
    scores = at_least_float32(jnp.einsum("brhk,bthk->bhrt", q * q.shape[-1] ** -0.5, k))
    if mask is not None:
        scores = jnp.where(mask if mask.ndim == 2 else mask[:, None], scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=-1)
    heads = jnp.einsum("bhrt,bthk->brhk", weights.astype(v.dtype), v)
    return self.out(heads.reshape(queries.shape))


@right("4.3")
def attention_head_by_head(self, queries, tokens, mask=None):
    q, k, v = self.query(queries), self.key(tokens), self.value(tokens)
    K = q.shape[-1] // self.heads
    found, looked = [], []
    for h in range(self.heads):
        mine = slice(h * K, (h + 1) * K)
        scores = at_least_float32(q[..., mine] @ k[..., mine].transpose(0, 2, 1)) / K**0.5
        weights = jax.nn.softmax(scores if mask is None else jnp.where(mask, scores, -jnp.inf))
        looked.append(weights)
        found.append(weights.astype(v.dtype) @ v[..., mine])
    return self.out(jnp.concatenate(found, axis=-1)), jnp.stack(looked, axis=1)


@right("4.3")
def attention_by_matrix_products(self, queries, tokens, mask=None):
    q, k, v = (jnp.swapaxes(self.split(x), 1, 2) for x in (self.query(queries), self.key(tokens), self.value(tokens)))
    scores = at_least_float32(q) @ jnp.swapaxes(at_least_float32(k), -1, -2) / jnp.sqrt(q.shape[-1])
    if mask is not None:
        while mask.ndim < 4:
            mask = mask[:, None] if mask.ndim == 3 else mask[None]
        scores = scores + jnp.where(mask, 0, -jnp.inf)
    weights = jax.nn.softmax(scores)
    return self.out((weights.astype(v.dtype) @ v).transpose(0, 2, 1, 3).reshape(queries.shape)), weights
