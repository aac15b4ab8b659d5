"""Lesson 13: looking inside."""

import jax
import jax.numpy as jnp
import numpy as np

from lessons.classroom.answers import right, wrong

# 13.1 pointing_game


@wrong("13.1", "does the first of several largest pixels count alone? Ties should count as luck among them")
def pointing_game_first_of_ties(maps, masks):
    where = maps.reshape(len(maps), -1).argmax(axis=1)
    return float(masks.reshape(len(masks), -1)[np.arange(len(maps)), where].mean())


@wrong("13.1", "is it enough that one of the tied pixels lies on the mask? Then a map that is the same everywhere scores 100 %")
def pointing_game_generous(maps, masks):
    largest = maps == maps.max(axis=(1, 2), keepdims=True)
    return float((largest & masks).any(axis=(1, 2)).mean())


@wrong("13.1", "is the largest pixel sought over all pictures at once? Each map has its own")
def pointing_game_one_maximum(maps, masks):
    largest = maps == maps.max()
    return float((largest & masks).sum() / largest.sum())


@wrong("13.1", "are the largest pixels of all pictures thrown together? Each picture counts the same, however many of its pixels tie")
def pointing_game_by_pixel(maps, masks):
    largest = maps == maps.max(axis=(1, 2), keepdims=True)
    return float((largest & masks).sum() / largest.sum())


@wrong("13.1", "is it the share of the map that lies on the mask? The game asks about its largest pixel only")
def pointing_game_energy(maps, masks):
    return float(((maps * masks).sum(axis=(1, 2)) / maps.sum(axis=(1, 2))).mean())


@wrong("13.1", "does a strongly negative pixel count as large? The sign says for or against")
def pointing_game_of_sizes(maps, masks):
    largest = np.abs(maps) == np.abs(maps).max(axis=(1, 2), keepdims=True)
    return float(((largest & masks).sum(axis=(1, 2)) / largest.sum(axis=(1, 2))).mean())


@wrong("13.1", "are row and column exchanged?")
def pointing_game_turned(maps, masks):
    largest = maps == maps.max(axis=(1, 2), keepdims=True)
    return float(((largest & masks.transpose(0, 2, 1)).sum(axis=(1, 2)) / largest.sum(axis=(1, 2))).mean())


@right("13.1")
def pointing_game_picture_by_picture(maps, masks):
    return float(np.mean([mask[drawn == drawn.max()].mean() for drawn, mask in zip(maps, masks, strict=True)]))


@right("13.1")
def pointing_game_with_weights(maps, masks):
    flat = maps.reshape(len(maps), -1)
    weights = (flat >= flat.max(1)[:, None]) * 1.0
    weights /= weights.sum(1)[:, None]
    return float(np.einsum("bp,bp->", weights, masks.reshape(len(maps), -1) * 1.0) / len(maps))


# 13.2 relevance_step


@wrong("13.2", "are the negatives left in? What speaks against the answer is cut to 0")
def relevance_step_with_negatives(relevance, attention, gradient):
    return relevance + (attention * gradient).mean(axis=1) @ relevance


@wrong("13.2", "are the negatives cut after the mean over the heads? A head that speaks against would cancel one that speaks for")
def relevance_step_cut_too_late(relevance, attention, gradient):
    return relevance + jax.nn.relu((attention * gradient).mean(axis=1)) @ relevance


@wrong("13.2", "are the heads summed? It is their mean")
def relevance_step_sum_of_heads(relevance, attention, gradient):
    return relevance + jax.nn.relu(attention * gradient).sum(axis=1) @ relevance


@wrong("13.2", "is the mean taken over the heads, the second axis?")
def relevance_step_mean_of_queries(relevance, attention, gradient):
    return relevance + jnp.broadcast_to(jax.nn.relu(attention * gradient).mean(axis=(1, 2))[:, None], relevance.shape) @ relevance


@wrong("13.2", "is the product the wrong way round? This block's attention stands on the left: it gathers what the tokens had gathered before")
def relevance_step_wrong_order(relevance, attention, gradient):
    return relevance + relevance @ jax.nn.relu(attention * gradient).mean(axis=1)


@wrong("13.2", "is what was gathered before forgotten? The block adds to it, as its residual does")
def relevance_step_without_residual(relevance, attention, gradient):
    return jax.nn.relu(attention * gradient).mean(axis=1) @ relevance


@wrong("13.2", "is this block's attention added alone? It passes on what its tokens had gathered: times R")
def relevance_step_without_chain(relevance, attention, gradient):
    return relevance + jax.nn.relu(attention * gradient).mean(axis=1)


@wrong("13.2", "is the gradient left out? Then it is all that was looked at, not what mattered")
def relevance_step_attention_only(relevance, attention, gradient):
    return relevance + attention.mean(axis=1) @ relevance


@wrong("13.2", "is the size taken instead of cutting the negatives? What speaks against would count as for")
def relevance_step_of_sizes(relevance, attention, gradient):
    return relevance + jnp.abs(attention * gradient).mean(axis=1) @ relevance


@wrong("13.2", "is it a product number by number? It is a matrix product: token i gathers through k what k had gathered from j")
def relevance_step_elementwise(relevance, attention, gradient):
    return relevance + jax.nn.relu(attention * gradient).mean(axis=1) * relevance


@right("13.2")
def relevance_step_by_einsum(relevance, attention, gradient):
    mattered = jnp.maximum(attention * gradient, 0)
    return relevance + jnp.einsum("bhik,bkj->bij", mattered, relevance) / attention.shape[1]


@right("13.2")
def relevance_step_with_identity(relevance, attention, gradient):
    product = attention * gradient
    mattered = jnp.where(product > 0, product, 0).sum(1) / product.shape[1]
    return (jnp.eye(relevance.shape[-1]) + mattered) @ relevance
