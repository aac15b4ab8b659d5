"""Lesson 06: the image encoder."""

import jax
import jax.numpy as jnp
import numpy as np

from lessons.classroom.answers import right, wrong
from tinyclip.encoders import causal_mask, patchify, run_blocks


@wrong("6.1", "are rows of pixels cut, not squares? Which axes must stand side by side before they are laid out as one?")
def patchify_without_transpose(images, patch):
    B, S, _, C = images.shape
    grid = S // patch
    return images.reshape(B, grid * grid, patch * patch * C)


@wrong("6.1", "(S, S) is (grid, P, grid, P): of which pixels is a patch made if it is split as (P, grid, P, grid)?")
def patchify_every_other_pixel(images, patch):
    B, S, _, C = images.shape
    grid = S // patch
    squares = images.reshape(B, patch, grid, patch, grid, C).transpose(0, 2, 4, 1, 3, 5)
    return squares.reshape(B, grid * grid, patch * patch * C)


@wrong("6.1", "are the patches listed column by column? Row by row, as one reads")
def patchify_column_by_column(images, patch):
    B, S, _, C = images.shape
    grid = S // patch
    squares = images.reshape(B, grid, patch, grid, patch, C).transpose(0, 3, 1, 2, 4, 5)
    return squares.reshape(B, grid * grid, patch * patch * C)


@wrong("6.1", "is each patch laid out with its channels first? Its order is y, x, channel")
def patchify_channels_first(images, patch):
    B, S, _, C = images.shape
    grid = S // patch
    squares = images.reshape(B, grid, patch, grid, patch, C).transpose(0, 1, 3, 5, 2, 4)
    return squares.reshape(B, grid * grid, patch * patch * C)


@wrong("6.1", "is each patch laid out as x, y, channel? y comes first")
def patchify_turned_patches(images, patch):
    B, S, _, C = images.shape
    grid = S // patch
    squares = images.reshape(B, grid, patch, grid, patch, C).transpose(0, 1, 3, 4, 2, 5)
    return squares.reshape(B, grid * grid, patch * patch * C)


@wrong("6.1", "a patch is one row of P·P·3 numbers, and a picture a list of them: which axes are still to be joined?")
def patchify_left_as_squares(images, patch):
    B, S, _, C = images.shape
    grid = S // patch
    return images.reshape(B, grid, patch, grid, patch, C).transpose(0, 1, 3, 2, 4, 5)


@wrong("6.1", "are the patches of all pictures in one list? The batch keeps its own axis")
def patchify_as_one_list(images, patch):
    B, S, _, C = images.shape
    grid = S // patch
    squares = images.reshape(B, grid, patch, grid, patch, C).transpose(0, 1, 3, 2, 4, 5)
    return squares.reshape(B * grid * grid, patch * patch * C)


@wrong("6.1", "np works on numbers, and compiled code runs before there are any: what is its twin in jnp?")
def patchify_with_numpy(images, patch):
    B, S, _, _ = images.shape
    starts = range(0, S, patch)
    squares = [images[:, y : y + patch, x : x + patch].reshape(B, -1) for y in starts for x in starts]
    return np.stack(squares, axis=1)


@right("6.1")
def patchify_square_by_square(images, patch):
    B, S, _, _ = images.shape
    starts = range(0, S, patch)
    squares = [images[:, y : y + patch, x : x + patch].reshape(B, -1) for y in starts for x in starts]
    return jnp.stack(squares, axis=1)


@right("6.1")
def patchify_one_picture_at_a_time(images, patch):
    def one(picture):
        rows = jnp.stack(jnp.split(picture, len(picture) // patch, axis=0))  # (grid, P, S, 3)
        squares = jnp.stack(jnp.split(rows, len(picture) // patch, axis=2), axis=1)
        return squares.reshape(-1, squares[0, 0].size)

    return jax.vmap(one)(images)


@wrong("6.2", "does the class token stand last? It comes first, and position 0 is its own")
def image_encoder_class_token_last(self, images, record=None):
    patches = self.patch_embedding(patchify(images, self.patch))
    B, n, D = patches.shape
    first = jnp.broadcast_to(self.class_embedding[...].astype(images.dtype), (B, 1, D))
    x = self.norm_pre(jnp.concatenate([patches, first], axis=1) + self.position_embedding[...].astype(images.dtype))
    if record is not None:
        record |= {"patches": patches, "tokens": x}
    return self.norm_post(run_blocks(self.blocks, x, None, jnp.full(B, n), record))


@wrong("6.2", "the class token is one vector: how does every picture of the batch get one?")
def image_encoder_one_class_token(self, images, record=None):
    patches = self.patch_embedding(patchify(images, self.patch))
    first = self.class_embedding[...].astype(images.dtype)[None, None]
    x = self.norm_pre(jnp.concatenate([first, patches], axis=1) + self.position_embedding[...].astype(images.dtype))
    if record is not None:
        record |= {"patches": patches, "tokens": x}
    return self.norm_post(run_blocks(self.blocks, x, None, jnp.zeros(len(images), int), record))


@wrong("6.2", "did you forget the positions? Without them a picture is a bag of patches")
def image_encoder_without_positions(self, images, record=None):
    patches = self.patch_embedding(patchify(images, self.patch))
    B, _, D = patches.shape
    first = jnp.broadcast_to(self.class_embedding[...].astype(images.dtype), (B, 1, D))
    x = self.norm_pre(jnp.concatenate([first, patches], axis=1))
    if record is not None:
        record |= {"patches": patches, "tokens": x}
    return self.norm_post(run_blocks(self.blocks, x, None, jnp.zeros(B, int), record))


@wrong("6.2", "do the patches begin at position 0? That row belongs to the class token")
def image_encoder_patches_at_position_0(self, images, record=None):
    patches = self.patch_embedding(patchify(images, self.patch))
    B, n, D = patches.shape
    first = jnp.broadcast_to(self.class_embedding[...].astype(images.dtype), (B, 1, D))
    placed = patches + self.position_embedding[...][:n].astype(images.dtype)
    x = self.norm_pre(jnp.concatenate([first, placed], axis=1))
    if record is not None:
        record |= {"patches": patches, "tokens": x}
    return self.norm_post(run_blocks(self.blocks, x, None, jnp.zeros(B, int), record))


@wrong("6.2", "has the class token no position? Row 0 of the table is its own")
def image_encoder_class_token_without_position(self, images, record=None):
    patches = self.patch_embedding(patchify(images, self.patch))
    B, _, D = patches.shape
    first = jnp.broadcast_to(self.class_embedding[...].astype(images.dtype), (B, 1, D))
    placed = patches + self.position_embedding[...][1:].astype(images.dtype)
    x = self.norm_pre(jnp.concatenate([first, placed], axis=1))
    if record is not None:
        record |= {"patches": patches, "tokens": x}
    return self.norm_post(run_blocks(self.blocks, x, None, jnp.zeros(B, int), record))


@wrong("6.2", "did you forget norm_pre, before the first block?")
def image_encoder_without_norm_pre(self, images, record=None):
    patches = self.patch_embedding(patchify(images, self.patch))
    B, _, D = patches.shape
    first = jnp.broadcast_to(self.class_embedding[...].astype(images.dtype), (B, 1, D))
    x = jnp.concatenate([first, patches], axis=1) + self.position_embedding[...].astype(images.dtype)
    if record is not None:
        record |= {"patches": patches, "tokens": x}
    return self.norm_post(run_blocks(self.blocks, x, None, jnp.zeros(B, int), record))


@wrong("6.2", "are the positions added after norm_pre? They are normalised with the rest")
def image_encoder_positions_after_the_norm(self, images, record=None):
    patches = self.patch_embedding(patchify(images, self.patch))
    B, _, D = patches.shape
    first = jnp.broadcast_to(self.class_embedding[...].astype(images.dtype), (B, 1, D))
    x = self.norm_pre(jnp.concatenate([first, patches], axis=1)) + self.position_embedding[...].astype(images.dtype)
    if record is not None:
        record |= {"patches": patches, "tokens": x}
    return self.norm_post(run_blocks(self.blocks, x, None, jnp.zeros(B, int), record))


@wrong("6.2", "are only the patches normalised? The class token goes through norm_pre with them")
def image_encoder_class_token_not_normalised(self, images, record=None):
    patches = self.patch_embedding(patchify(images, self.patch))
    B, _, D = patches.shape
    positions = self.position_embedding[...].astype(images.dtype)
    first = jnp.broadcast_to(self.class_embedding[...].astype(images.dtype) + positions[0], (B, 1, D))
    x = jnp.concatenate([first, self.norm_pre(patches + positions[1:])], axis=1)
    if record is not None:
        record |= {"patches": patches, "tokens": x}
    return self.norm_post(run_blocks(self.blocks, x, None, jnp.zeros(B, int), record))


@wrong("6.2", "is there a causal mask? Then the class token, the first, sees only itself, and all pictures look the same to it")
def image_encoder_with_a_causal_mask(self, images, record=None):
    patches = self.patch_embedding(patchify(images, self.patch))
    B, n, D = patches.shape
    first = jnp.broadcast_to(self.class_embedding[...].astype(images.dtype), (B, 1, D))
    x = self.norm_pre(jnp.concatenate([first, patches], axis=1) + self.position_embedding[...].astype(images.dtype))
    if record is not None:
        record |= {"patches": patches, "tokens": x}
    return self.norm_post(run_blocks(self.blocks, x, causal_mask(n + 1), jnp.zeros(B, int), record))


@wrong("6.2", "is it read at the last patch? The class token is there to collect the picture, and it stands first")
def image_encoder_read_at_the_last_patch(self, images, record=None):
    patches = self.patch_embedding(patchify(images, self.patch))
    B, n, D = patches.shape
    first = jnp.broadcast_to(self.class_embedding[...].astype(images.dtype), (B, 1, D))
    x = self.norm_pre(jnp.concatenate([first, patches], axis=1) + self.position_embedding[...].astype(images.dtype))
    if record is not None:
        record |= {"patches": patches, "tokens": x}
    return self.norm_post(run_blocks(self.blocks, x, None, jnp.full(B, n), record))


@wrong("6.2", "is it the mean of all tokens? A CLIP of OpenAI's is read off its class token")
def image_encoder_read_as_the_mean(self, images, record=None):
    patches = self.patch_embedding(patchify(images, self.patch))
    B, _, D = patches.shape
    first = jnp.broadcast_to(self.class_embedding[...].astype(images.dtype), (B, 1, D))
    x = self.norm_pre(jnp.concatenate([first, patches], axis=1) + self.position_embedding[...].astype(images.dtype))
    if record is not None:
        record |= {"patches": patches, "tokens": x}
    for i, block in enumerate(self.blocks):
        x, attention = block(x)
        if record is not None:
            record |= {f"block_{i}": x, f"attention_{i}": attention}
    return self.norm_post(x.mean(1))


@wrong("6.2", "did you forget norm_post?")
def image_encoder_without_norm_post(self, images, record=None):
    patches = self.patch_embedding(patchify(images, self.patch))
    B, _, D = patches.shape
    first = jnp.broadcast_to(self.class_embedding[...].astype(images.dtype), (B, 1, D))
    x = self.norm_pre(jnp.concatenate([first, patches], axis=1) + self.position_embedding[...].astype(images.dtype))
    if record is not None:
        record |= {"patches": patches, "tokens": x}
    return run_blocks(self.blocks, x, None, jnp.zeros(B, int), record)


@wrong("6.2", "the blocks write themselves into the record: who notes what came before them, `patches` and `tokens`?")
def image_encoder_that_notes_no_tokens(self, images, record=None):
    patches = self.patch_embedding(patchify(images, self.patch))
    B, _, D = patches.shape
    first = jnp.broadcast_to(self.class_embedding[...].astype(images.dtype), (B, 1, D))
    x = self.norm_pre(jnp.concatenate([first, patches], axis=1) + self.position_embedding[...].astype(images.dtype))
    return self.norm_post(run_blocks(self.blocks, x, None, jnp.zeros(B, int), record))


@wrong("6.2", "class token and positions are float32, and make float32 of what they touch: in which dtype did the images come?")
def image_encoder_in_float32(self, images, record=None):
    patches = self.patch_embedding(patchify(images, self.patch))
    B, _, D = patches.shape
    first = jnp.broadcast_to(self.class_embedding[...], (B, 1, D))
    x = self.norm_pre(jnp.concatenate([first, patches], axis=1) + self.position_embedding[...])
    if record is not None:
        record |= {"patches": patches, "tokens": x}
    return self.norm_post(run_blocks(self.blocks, x, None, jnp.zeros(B, int), record))


@right("6.2")
def image_encoder_that_runs_all_rows(self, images, record=None):
    notes = {} if record is None else record
    patches = notes["patches"] = self.patch_embedding(patchify(images, self.patch))
    positions = self.position_embedding[...].astype(images.dtype)
    first = jnp.tile(self.class_embedding[...].astype(images.dtype) + positions[0], (len(images), 1))
    x = notes["tokens"] = self.norm_pre(jnp.concatenate([first[:, None], patches + positions[1:]], axis=1))
    for i, block in enumerate(self.blocks):
        x, notes[f"attention_{i}"] = block(x)
        notes[f"block_{i}"] = x
    return self.norm_post(x)[:, 0]


@right("6.2")
def image_encoder_into_a_row_left_free(self, images, record=None):
    patches = self.patch_embedding(patchify(images, self.patch))
    x = jnp.pad(patches, ((0, 0), (1, 0), (0, 0))).at[:, 0].set(self.class_embedding[...].astype(patches.dtype))
    x = self.norm_pre(x + jnp.asarray(self.position_embedding[...], patches.dtype))
    if record is not None:
        record["patches"], record["tokens"] = patches, x
    return self.norm_post(run_blocks(self.blocks, x, None, jnp.full(len(images), 0), record))
