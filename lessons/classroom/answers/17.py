"""Lesson 17: many devices."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from lessons.classroom.answers import right, wrong
from tinyclip.parallel import AXIS, _checked

# 17.1 sharded_sigmoid_loss


@wrong("17.1", "are there true pairs in every round? After a hand-over, the i-th text is another device's: all answers are no")
def ring_with_a_diagonal_in_every_round(image_embeddings, text_embeddings, logit_scale, logit_bias, mesh):
    images, texts = _checked(mesh, image_embeddings, text_embeddings)
    n, B = mesh.size, len(images)

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(AXIS), P(AXIS), P(), P()), out_specs=P())
    def loss(images, texts, scale, bias):
        @jax.checkpoint
        def surprise(texts):
            logits = scale * images @ texts.T + bias
            return -jax.nn.log_sigmoid(jnp.where(jnp.eye(len(images), dtype=bool), logits, -logits)).sum()

        def hand_on(texts, _):
            return jax.lax.ppermute(texts, AXIS, [(d, (d + 1) % n) for d in range(n)]), surprise(texts)

        return jax.lax.psum(jax.lax.scan(hand_on, texts, jnp.arange(n))[1].sum(), AXIS) / B

    return loss(images, texts, *(jnp.asarray(x, images.dtype) for x in (logit_scale, logit_bias)))


@wrong("17.1", "does each device ask about its own texts alone? The others' must come round to it")
def ring_of_one_round(image_embeddings, text_embeddings, logit_scale, logit_bias, mesh):
    images, texts = _checked(mesh, image_embeddings, text_embeddings)
    B = len(images)

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(AXIS), P(AXIS), P(), P()), out_specs=P())
    def loss(images, texts, scale, bias):
        logits = scale * images @ texts.T + bias
        true = jnp.eye(len(images), dtype=bool)
        return jax.lax.psum(-jax.nn.log_sigmoid(jnp.where(true, logits, -logits)).sum(), AXIS) / B

    return loss(images, texts, *(jnp.asarray(x, images.dtype) for x in (logit_scale, logit_bias)))


@wrong("17.1", "is one round missing? n devices have n blocks of texts, and each of them must be asked about")
def ring_one_round_short(image_embeddings, text_embeddings, logit_scale, logit_bias, mesh):
    images, texts = _checked(mesh, image_embeddings, text_embeddings)
    n, B = mesh.size, len(images)

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(AXIS), P(AXIS), P(), P()), out_specs=P())
    def loss(images, texts, scale, bias):
        total = 0.0
        for step in range(n - 1):
            logits = scale * images @ texts.T + bias
            true = jnp.eye(len(images), dtype=bool) & (step == 0)
            total = total - jax.nn.log_sigmoid(jnp.where(true, logits, -logits)).sum()
            texts = jax.lax.ppermute(texts, AXIS, [(d, (d + 1) % n) for d in range(n)])
        return jax.lax.psum(total, AXIS) / B

    return loss(images, texts, *(jnp.asarray(x, images.dtype) for x in (logit_scale, logit_bias)))


@wrong("17.1", "are the texts handed on before anybody has asked about them? In the first round each device still has its own")
def ring_that_hands_on_first(image_embeddings, text_embeddings, logit_scale, logit_bias, mesh):
    images, texts = _checked(mesh, image_embeddings, text_embeddings)
    n, B = mesh.size, len(images)

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(AXIS), P(AXIS), P(), P()), out_specs=P())
    def loss(images, texts, scale, bias):
        total = 0.0
        for step in range(n):
            texts = jax.lax.ppermute(texts, AXIS, [(d, (d + 1) % n) for d in range(n)])
            logits = scale * images @ texts.T + bias
            true = jnp.eye(len(images), dtype=bool) & (step == 0)
            total = total - jax.nn.log_sigmoid(jnp.where(true, logits, -logits)).sum()
        return jax.lax.psum(total, AXIS) / B

    return loss(images, texts, *(jnp.asarray(x, images.dtype) for x in (logit_scale, logit_bias)))


@wrong("17.1", "are the devices' sums averaged? Each has asked other questions: they add up, and B divides them once")
def ring_averaged_over_the_devices(image_embeddings, text_embeddings, logit_scale, logit_bias, mesh):
    images, texts = _checked(mesh, image_embeddings, text_embeddings)
    n, B = mesh.size, len(images)

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(AXIS), P(AXIS), P(), P()), out_specs=P())
    def loss(images, texts, scale, bias):
        total = 0.0
        for step in range(n):
            logits = scale * images @ texts.T + bias
            true = jnp.eye(len(images), dtype=bool) & (step == 0)
            total = total - jax.nn.log_sigmoid(jnp.where(true, logits, -logits)).sum()
            texts = jax.lax.ppermute(texts, AXIS, [(d, (d + 1) % n) for d in range(n)])
        return jax.lax.pmean(total, AXIS) / B

    return loss(images, texts, *(jnp.asarray(x, images.dtype) for x in (logit_scale, logit_bias)))


@wrong("17.1", "did you divide by b, the rows of one device? The sum is over all pairs: B divides it")
def ring_divided_by_own_rows(image_embeddings, text_embeddings, logit_scale, logit_bias, mesh):
    images, texts = _checked(mesh, image_embeddings, text_embeddings)
    n = mesh.size

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(AXIS), P(AXIS), P(), P()), out_specs=P())
    def loss(images, texts, scale, bias):
        total = 0.0
        for step in range(n):
            logits = scale * images @ texts.T + bias
            true = jnp.eye(len(images), dtype=bool) & (step == 0)
            total = total - jax.nn.log_sigmoid(jnp.where(true, logits, -logits)).sum()
            texts = jax.lax.ppermute(texts, AXIS, [(d, (d + 1) % n) for d in range(n)])
        return jax.lax.psum(total, AXIS) / len(images)

    return loss(images, texts, *(jnp.asarray(x, images.dtype) for x in (logit_scale, logit_bias)))


@wrong("17.1", "is everything gathered? The value is right, but the texts should go round: never more than (b, b) logits on a device")
def ring_that_gathers(image_embeddings, text_embeddings, logit_scale, logit_bias, mesh):
    images, texts = _checked(mesh, image_embeddings, text_embeddings)
    B = len(images)

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(AXIS), P(AXIS), P(), P()), out_specs=P())
    def loss(images, texts, scale, bias):
        logits = scale * images @ jax.lax.all_gather(texts, AXIS, tiled=True).T + bias
        own = jax.lax.axis_index(AXIS) * len(images) + jnp.arange(len(images))
        true = own[:, None] == jnp.arange(B)
        return jax.lax.psum(-jax.nn.log_sigmoid(jnp.where(true, logits, -logits)).sum(), AXIS) / B

    return loss(images, texts, *(jnp.asarray(x, images.dtype) for x in (logit_scale, logit_bias)))


@wrong("17.1", "do the logits of all rounds wait for the gradient? jax.checkpoint makes each block once more instead")
def ring_that_remembers_all(image_embeddings, text_embeddings, logit_scale, logit_bias, mesh):
    images, texts = _checked(mesh, image_embeddings, text_embeddings)
    n, B = mesh.size, len(images)

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(AXIS), P(AXIS), P(), P()), out_specs=P())
    def loss(images, texts, scale, bias):
        def hand_on(texts, step):
            logits = scale * images @ texts.T + bias
            true = jnp.eye(len(images), dtype=bool) & (step == 0)
            surprise = -jax.nn.log_sigmoid(jnp.where(true, logits, -logits)).sum()
            return jax.lax.ppermute(texts, AXIS, [(d, (d + 1) % n) for d in range(n)]), surprise

        return jax.lax.psum(jax.lax.scan(hand_on, texts, jnp.arange(n))[1].sum(), AXIS) / B

    return loss(images, texts, *(jnp.asarray(x, images.dtype) for x in (logit_scale, logit_bias)))


@right("17.1")
def ring_round_by_round(image_embeddings, text_embeddings, logit_scale, logit_bias, mesh):
    images, texts = _checked(mesh, image_embeddings, text_embeddings)
    n, b = mesh.size, len(images) // mesh.size

    def loss(images, texts, scale, bias):
        def block(texts, yes):
            logits = scale * images @ texts.T + bias
            return jnp.logaddexp(0, jnp.where(yes, -logits, logits)).sum()

        total = jax.checkpoint(block)(texts, jnp.eye(b, dtype=bool))
        for _ in range(n - 1):
            texts = jax.lax.ppermute(texts, AXIS, [((d + 1) % n, d) for d in range(n)])
            total = total + jax.checkpoint(block)(texts, jnp.zeros((b, b), bool))
        return jax.lax.psum(total, AXIS) / (n * b)

    ring = jax.shard_map(loss, mesh=mesh, in_specs=(P(AXIS), P(AXIS), P(), P()), out_specs=P())
    return ring(images, texts, jnp.asarray(logit_scale, images.dtype), jnp.asarray(logit_bias, images.dtype))


# 17.2 in_pieces


@wrong("17.2", "does each row get another row's embedding? How rows were dealt to the pieces must be undone in the end")
def in_pieces_not_undone(encode, rows, piece):
    if not piece or piece == len(rows):
        return encode(rows)
    dealt = rows.reshape(piece, len(rows) // piece, *rows.shape[1:]).swapaxes(0, 1)
    return jax.lax.map(jax.checkpoint(encode), dealt).reshape(len(rows), -1)


@wrong("17.2", "is `piece` the number of pieces here? It is the number of rows in each of them")
def in_pieces_of_another_size(encode, rows, piece):
    if not piece or piece == len(rows):
        return encode(rows)
    dealt = rows.reshape(piece, len(rows) // piece, *rows.shape[1:])
    return jax.lax.map(jax.checkpoint(encode), dealt).reshape(len(rows), -1)


@wrong("17.2", "does every piece keep its intermediates for the way back? Forgetting them is what this is for")
def in_pieces_that_forgets_nothing(encode, rows, piece):
    if not piece or piece == len(rows):
        return encode(rows)
    return jax.lax.map(encode, rows.reshape(len(rows) // piece, piece, *rows.shape[1:])).reshape(len(rows), -1)


@wrong("17.2", "are all rows encoded at once? Forgotten they are, but on the way back all intermediates are there together again")
def in_pieces_at_once(encode, rows, piece):
    return jax.checkpoint(encode)(rows)


@wrong("17.2", "is a piece of 0 rows asked for? 0 means all rows at once")
def in_pieces_without_zero(encode, rows, piece):
    dealt = rows.reshape(len(rows) // piece, piece, *rows.shape[1:])
    return jax.lax.map(jax.checkpoint(encode), dealt).reshape(len(rows), -1)


@wrong("17.2", "are the pieces still stacked, (pieces, piece, E)? The result has one row for each row: (B, E)")
def in_pieces_still_stacked(encode, rows, piece):
    if not piece:
        return encode(rows)
    return jax.lax.map(jax.checkpoint(encode), rows.reshape(len(rows) // piece, piece, *rows.shape[1:]))


@right("17.2")
def in_pieces_one_after_the_other(encode, rows, piece):
    size = piece or len(rows)
    parts = [jax.checkpoint(encode)(rows[start : start + size]) for start in range(0, len(rows), size)]
    return jnp.concatenate(parts)
