"""Lesson 05: the text encoder."""

import jax
import jax.numpy as jnp

from lessons.classroom.answers import right, wrong
from tinyclip.encoders import causal_mask, end_position, run_blocks


@wrong("5.1", "is this where the largest id stands, as in OpenAI's code? It is the end token only where no id is larger")
def end_position_of_the_largest_id(tokens, end_token):
    return jnp.argmax(tokens, axis=1)


@wrong("5.1", "is this the last end token? What stands behind the first one is no longer part of the sentence")
def end_position_of_the_last(tokens, end_token):
    T = tokens.shape[1]
    return T - 1 - jnp.argmax(tokens[:, ::-1] == end_token, axis=1)


@wrong("5.1", "along which axis are the tokens of one sentence? This looks through the batch")
def end_position_in_the_batch(tokens, end_token):
    return jnp.argmax(tokens == end_token, axis=0)


@wrong("5.1", "without an axis, argmax counts through the whole table: want one number for each sentence")
def end_position_in_all(tokens, end_token):
    return jnp.argmax(tokens == end_token)


@wrong("5.1", "is this how many tokens there are up to the end? Positions count from 0")
def end_position_counted_from_one(tokens, end_token):
    return jnp.argmax(tokens == end_token, axis=1) + 1


@wrong("5.1", "is this the last token that is not 0? What comes behind the end token need not be 0")
def end_position_before_the_padding(tokens, end_token):
    return (tokens != 0).sum(axis=1) - 1


@wrong("5.1", "nonzero finds all end tokens of all sentences: want the first of each")
def end_position_by_nonzero(tokens, end_token):
    return jnp.nonzero(tokens == end_token)[1]


@wrong("5.1", "compiled code runs before there are numbers, so no `if` or int() can ask for one: which operation finds them all at once?")
def end_position_by_a_loop(tokens, end_token):
    ends = []
    for row in tokens:
        for i, token in enumerate(row):
            if token == end_token:
                ends.append(i)
                break
    return jnp.array(ends)


@wrong("5.1", "compiled code runs before there are numbers, so no `if` or int() can ask for one: which operation finds them all at once?")
def end_position_by_lists(tokens, end_token):
    return jnp.array([list(map(int, row)).index(end_token) for row in tokens])


@right("5.1")
def end_position_by_the_least_position(tokens, end_token):
    T = tokens.shape[1]
    return jnp.where(tokens == end_token, jnp.arange(T), T).min(axis=-1)


@right("5.1")
def end_position_by_counting_what_comes_before(tokens, end_token):
    return (jnp.cumsum(tokens == end_token, axis=1) == 0).sum(axis=1)


@wrong("5.2", "did you forget the positions? Without them the model cannot tell the words' order")
def text_encoder_without_positions(self, tokens, dtype, record=None):
    x = self.token_embedding[...][tokens].astype(dtype)
    if record is not None:
        record |= {"tokens": x}
    pooled = run_blocks(self.blocks, x, causal_mask(tokens.shape[1]), end_position(tokens, self.end_token), record)
    return self.norm_final(pooled)


@wrong("5.2", "a sentence may be shorter than the context: how many rows of the position table does it need?")
def text_encoder_with_all_positions(self, tokens, dtype, record=None):
    x = (self.token_embedding[...][tokens] + self.position_embedding[...]).astype(dtype)
    if record is not None:
        record |= {"tokens": x}
    pooled = run_blocks(self.blocks, x, causal_mask(tokens.shape[1]), end_position(tokens, self.end_token), record)
    return self.norm_final(pooled)


@wrong("5.2", "is the position table looked up by token id? Row i of it belongs to place i")
def text_encoder_with_positions_of_ids(self, tokens, dtype, record=None):
    x = (self.token_embedding[...][tokens] + self.position_embedding[...][tokens]).astype(dtype)
    if record is not None:
        record |= {"tokens": x}
    pooled = run_blocks(self.blocks, x, causal_mask(tokens.shape[1]), end_position(tokens, self.end_token), record)
    return self.norm_final(pooled)


@wrong("5.2", "did you forget the causal mask? Then the end token also reads what stands behind it")
def text_encoder_without_mask(self, tokens, dtype, record=None):
    x = (self.token_embedding[...][tokens] + self.position_embedding[...][: tokens.shape[1]]).astype(dtype)
    if record is not None:
        record |= {"tokens": x}
    return self.norm_final(run_blocks(self.blocks, x, None, end_position(tokens, self.end_token), record))


@wrong("5.2", "is the mask turned round? A token sees itself and what comes before it")
def text_encoder_with_a_turned_mask(self, tokens, dtype, record=None):
    T = tokens.shape[1]
    x = (self.token_embedding[...][tokens] + self.position_embedding[...][:T]).astype(dtype)
    if record is not None:
        record |= {"tokens": x}
    return self.norm_final(run_blocks(self.blocks, x, causal_mask(T).T, end_position(tokens, self.end_token), record))


@wrong("5.2", "is it read at the last place? What stands behind the end token is no part of the sentence")
def text_encoder_read_at_the_last_place(self, tokens, dtype, record=None):
    B, T = tokens.shape
    x = (self.token_embedding[...][tokens] + self.position_embedding[...][:T]).astype(dtype)
    if record is not None:
        record |= {"tokens": x}
    return self.norm_final(run_blocks(self.blocks, x, causal_mask(T), jnp.full(B, T - 1), record))


@wrong("5.2", "is it read at the first token? Under a causal mask that one has seen nothing but itself")
def text_encoder_read_at_the_first_place(self, tokens, dtype, record=None):
    B, T = tokens.shape
    x = (self.token_embedding[...][tokens] + self.position_embedding[...][:T]).astype(dtype)
    if record is not None:
        record |= {"tokens": x}
    return self.norm_final(run_blocks(self.blocks, x, causal_mask(T), jnp.zeros(B, int), record))


@wrong("5.2", "is it read at the largest id, as in OpenAI's code? Here the end token need not be the largest")
def text_encoder_read_at_the_largest_id(self, tokens, dtype, record=None):
    T = tokens.shape[1]
    x = (self.token_embedding[...][tokens] + self.position_embedding[...][:T]).astype(dtype)
    if record is not None:
        record |= {"tokens": x}
    return self.norm_final(run_blocks(self.blocks, x, causal_mask(T), tokens.argmax(1), record))


@wrong("5.2", "is it the mean of all tokens? Those before the end have not seen the whole sentence")
def text_encoder_read_as_the_mean(self, tokens, dtype, record=None):
    T = tokens.shape[1]
    x = (self.token_embedding[...][tokens] + self.position_embedding[...][:T]).astype(dtype)
    if record is not None:
        record |= {"tokens": x}
    for i, block in enumerate(self.blocks):
        x, attention = block(x, causal_mask(T))
        if record is not None:
            record |= {f"block_{i}": x, f"attention_{i}": attention}
    return self.norm_final(x.mean(1))


@wrong("5.2", "did you forget norm_final?")
def text_encoder_without_norm(self, tokens, dtype, record=None):
    T = tokens.shape[1]
    x = (self.token_embedding[...][tokens] + self.position_embedding[...][:T]).astype(dtype)
    if record is not None:
        record |= {"tokens": x}
    return run_blocks(self.blocks, x, causal_mask(T), end_position(tokens, self.end_token), record)


@wrong("5.2", "the blocks write themselves into the record: who notes what went into the first of them, as `tokens`?")
def text_encoder_that_notes_no_tokens(self, tokens, dtype, record=None):
    T = tokens.shape[1]
    x = (self.token_embedding[...][tokens] + self.position_embedding[...][:T]).astype(dtype)
    return self.norm_final(run_blocks(self.blocks, x, causal_mask(T), end_position(tokens, self.end_token), record))


@wrong("5.2", "is there always a record? Nobody may have asked for one")
def text_encoder_that_always_notes(self, tokens, dtype, record=None):
    T = tokens.shape[1]
    x = (self.token_embedding[...][tokens] + self.position_embedding[...][:T]).astype(dtype)
    record["tokens"] = x
    return self.norm_final(run_blocks(self.blocks, x, causal_mask(T), end_position(tokens, self.end_token), record))


@wrong("5.2", "are the blocks given the record? They note themselves in it")
def text_encoder_whose_blocks_note_nothing(self, tokens, dtype, record=None):
    T = tokens.shape[1]
    x = (self.token_embedding[...][tokens] + self.position_embedding[...][:T]).astype(dtype)
    if record is not None:
        record["tokens"] = x
    return self.norm_final(run_blocks(self.blocks, x, causal_mask(T), end_position(tokens, self.end_token), None))


@wrong("5.2", "what is `dtype` for? The tables are float32, and so is all that is made of them")
def text_encoder_in_float32(self, tokens, dtype, record=None):
    T = tokens.shape[1]
    x = self.token_embedding[...][tokens] + self.position_embedding[...][:T]
    if record is not None:
        record |= {"tokens": x}
    return self.norm_final(run_blocks(self.blocks, x, causal_mask(T), end_position(tokens, self.end_token), record))


@right("5.2")
def text_encoder_that_runs_all_rows(self, tokens, dtype, record=None):
    B, T = tokens.shape
    notes = {} if record is None else record
    x = jnp.take(self.token_embedding[...].astype(dtype), tokens, axis=0)
    x = notes["tokens"] = x + self.position_embedding[...].astype(dtype)[:T]
    for i, block in enumerate(self.blocks):
        x, notes[f"attention_{i}"] = block(x, causal_mask(T))
        notes[f"block_{i}"] = x
    return self.norm_final(x)[jnp.arange(B), end_position(tokens, self.end_token)]


@right("5.2")
def text_encoder_by_products_with_one_hot_rows(self, tokens, dtype, record=None):
    T = tokens.shape[1]
    words = jax.nn.one_hot(tokens, len(self.token_embedding[...])) @ self.token_embedding[...]
    x = jnp.asarray(words + self.position_embedding[...][None, jnp.arange(T)], dtype)
    if record is not None:
        record["tokens"] = x
    return self.norm_final(run_blocks(self.blocks, x, causal_mask(T), end_position(tokens, self.end_token), record))
