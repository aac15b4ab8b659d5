"""Lesson 18: OpenAI's numbers in our layout."""

import jax
import jax.numpy as jnp
import numpy as np

from lessons.classroom.answers import right, wrong

# 18.1 from_convolution


@wrong("18.1", "are the numbers still in the order (channel, y, x)? Our patches are laid out as (y, x, channel)")
def from_convolution_channels_first(x):
    return x.reshape(x.shape[0], -1).T


@wrong("18.1", "are y and x exchanged? Our patches run row by row")
def from_convolution_columns_first(x):
    return x.transpose(3, 2, 1, 0).reshape(-1, x.shape[0])


@wrong("18.1", "is it still (out, in)? Our linear layers are (in, out)")
def from_convolution_not_turned(x):
    return x.transpose(0, 2, 3, 1).reshape(x.shape[0], -1)


@wrong("18.1", "is it cut up without turning it? A reshape alone moves no axis")
def from_convolution_reshaped(x):
    return x.reshape(-1, x.shape[0])


@right("18.1")
def from_convolution_by_loops(x):
    channels, P = x.shape[1:3]
    rows = [x[:, c, i, j] for i in range(P) for j in range(P) for c in range(channels)]
    return np.stack(rows)


# 18.2 resize_positions


@wrong("18.2", "was the class token resized with the others? It belongs to no place in the picture")
def resize_positions_with_the_class_token(positions, grid):
    return jax.image.resize(positions, (grid * grid + 1, positions.shape[1]), "bicubic")


@wrong("18.2", "were the patches resized as a row? They lie on a square: neighbours above and below are neighbours, too")
def resize_positions_as_a_row(positions, grid):
    return jnp.concatenate([positions[:1], jax.image.resize(positions[1:], (grid * grid, positions.shape[1]), "bicubic")])


@wrong("18.2", "is the class token last? It stands in front")
def resize_positions_class_token_last(positions, grid):
    old = round((len(positions) - 1) ** 0.5)
    patches = jax.image.resize(positions[1:].reshape(old, old, -1), (grid, grid, positions.shape[1]), "bicubic")
    return jnp.concatenate([patches.reshape(grid * grid, -1), positions[:1]])


@wrong("18.2", "is it resized linearly? open_clip takes a bicubic curve, and so do we")
def resize_positions_linearly(positions, grid):
    old = round((len(positions) - 1) ** 0.5)
    patches = jax.image.resize(positions[1:].reshape(old, old, -1), (grid, grid, positions.shape[1]), "linear")
    return jnp.concatenate([positions[:1], patches.reshape(grid * grid, -1)])


@wrong("18.2", "is nothing smoothed where the grid shrinks? Then it keeps one position in a few and forgets the others")
def resize_positions_without_smoothing(positions, grid):
    old = round((len(positions) - 1) ** 0.5)
    patches = jax.image.resize(positions[1:].reshape(old, old, -1), (grid, grid, positions.shape[1]), "bicubic", antialias=False)
    return jnp.concatenate([positions[:1], patches.reshape(grid * grid, -1)])


@wrong("18.2", "is the class token lost?")
def resize_positions_without_class_token(positions, grid):
    old = round((len(positions) - 1) ** 0.5)
    return jax.image.resize(positions[1:].reshape(old, old, -1), (grid, grid, positions.shape[1]), "bicubic").reshape(grid * grid, -1)


@right("18.2")
def resize_positions_axis_by_axis(positions, grid):
    old, D = round((len(positions) - 1) ** 0.5), positions.shape[1]
    patches = jnp.reshape(positions[1:], (old, old, D))
    for shape in ((grid, old, D), (grid, grid, D)):
        patches = jax.image.resize(patches, shape, method="cubic")
    return jnp.vstack([positions[0], patches.reshape(-1, D)])
