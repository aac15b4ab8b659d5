"""Video: F frames a clip, in a world where one shape moves, grows or shrinks.

Motion lives in the *order* of the frames. There are two ways to make one vector of a clip's frames, whatever encodes a single frame: their mean,
which is the same in whatever order they come, and a small transformer over them, whose position embeddings tell early from late. Here a film of
"moving left" run backward is a film of "moving right", frame by frame: what ignores order cannot tell the two apart.
B clips · F frames · S picture side · D features of a frame · E joint embedding · M sentences · T text tokens.
CLIP4Clip (Luo et al. 2021) compares these and other ways of pooling. Lesson 16.
"""

from functools import cache
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from ..bundle import Bundle
from ..clip import l2_normalise
from ..config import TextConfig, TrainConfig
from ..data import normalise
from ..encoders import TextEncoder, run_blocks
from ..losses import contrastive_loss
from ..transformer import MLP, Block, LayerNorm, Linear
from ..world import World
from ..world.caption import Grammar, Slot
from ..world.draw import draw_things
from ..world.scene import COLOURS, MAX_TILT, RADII, SHAPES, Scenes, Things, unit
from .align import descend

FRAMES = 8  # F
THUMBNAIL = 4  # pixels along a side
PIECE = 64  # films embedded at once
SCALE = 1 / 0.07  # on the cosines; fixed, which is enough here (lesson 08)
MOTIONS = ("moving left", "moving right", "moving up", "moving down", "shrinking", "growing")  # motion ^ 1 is its film run backward
THINGS = tuple(product(range(4), range(4)))  # the first four colours and shapes, as in the world `sixteen`

MOVING = Grammar(
    factors=3,
    slots={
        "colour": Slot(0, tuple((name,) for name in list(COLOURS)[:4])),
        "shape": Slot(1, tuple((name,) for name in SHAPES[:4])),
        "motion": Slot(2, tuple((name,) for name in MOTIONS)),
    },
    templates=(("a {colour} {shape} {motion}", 6), ("something {motion}", 1), ("a {colour} {shape}", 1)),
)


def place_moving(scenes: Scenes, moments: Float[Array, "F"]) -> Things:
    """One thing at F moments of its film, each in 0..1: fields (B, F), lengths in units of half a picture.

    `meaning` is colour, shape, motion; `looks` is backdrop, its shade, its direction, x and y, how much of the free way is gone, size, tilt.
    Motions come in pairs along one axis (x, y, size), and the second of a pair is the first run backward.
    """
    colour, shape, motion = (column[:, None] for column in jnp.asarray(scenes.meaning).T)  # (B, 1) each
    _, _, _, x, y, way, size, tilt = (column[:, None] for column in unit(jnp.asarray(scenes.looks)).T)
    small, large = RADII
    way = 0.6 + 0.4 * way
    gone = way * (0.5 - jnp.where(motion % 2 == 0, moments, 1 - moments))  # (B, F): left, up and smaller are the lower ends
    sideways, upright, swelling = (motion // 2 == axis for axis in range(3))
    radius = jnp.where(swelling, (small + large) / 2 + (large - small) * gone, small + 0.13 * size)
    room = 0.96 - jnp.where(swelling, large, radius)  # the centre stays in [-room, room], as in `place_single`
    x, y = (
        room * jnp.where(moves, (1 - way) * (2 * middle - 1) + 2 * gone, 2 * middle - 1) for moves, middle in ((sideways, x), (upright, y))
    )
    return Things(*jnp.broadcast_arrays(shape, colour, radius, x, y, MAX_TILT * (2 * tilt - 1)))


def film(scenes: Scenes, size: int = 32, frames: int = FRAMES) -> Float[Array, "B F S S 3"]:
    """The clips of these scenes, pixels in 0..1; the backdrop stands still. jit-able. Lesson 16."""
    things = place_moving(scenes, jnp.linspace(0, 1, frames))
    looks = jnp.repeat(jnp.asarray(scenes.looks), frames, axis=0)  # (B·F, L)
    pictures, _ = draw_things(Things(*(field.reshape(-1, 1) for field in things)), looks, size)
    return pictures.reshape(-1, frames, size, size, 3)


@cache
def moving_world() -> World:
    """The world of `film`: 4 colours x 4 shapes x 6 motions. Drawn as a single picture it shows the middle of the film."""

    def still(scenes: Scenes, size: int) -> tuple[Float[Array, "B S S 3"], Float[Array, "B n S S"]]:
        return draw_things(place_moving(scenes, jnp.full(1, 0.5)), jnp.asarray(scenes.looks), size)

    meanings = np.array([(*thing, motion) for thing in THINGS for motion in range(len(MOTIONS))])
    return World("moving", MOVING, meanings, np.zeros((0, 3), int), looks=8, render=still)


def mean_direction(embeddings: Float[Array | np.ndarray, "B F E"]) -> Float[Array, "B E"]:
    """One unit vector of F: normalise each, take the mean, normalise again. Of a clip's frames, or of several senses of one scene. Lesson 16.

    The order of the F cannot matter. Called "meanP" in CLIP4Clip.
    """
    return l2_normalise(l2_normalise(jnp.asarray(embeddings)).mean(axis=1))


class Temporal(nnx.Module):
    """A transformer over F frames, read off a class token that comes first: the image encoder with frames for patches. Lesson 16.

    Without `positions` it still compares the frames, but cannot know which came first.
    """

    def __init__(self, width: int, frames: int, *, heads: int = 4, positions: bool = True, rngs: nnx.Rngs) -> None:
        std = width**-0.5
        self.class_embedding = nnx.Param(std * jax.random.normal(rngs.params(), (width,)))
        self.position_embedding = nnx.Param(std * jax.random.normal(rngs.params(), (frames + 1, width))) if positions else None
        self.blocks = nnx.List([Block(width, heads, 2 * width, 1, activation="quick_gelu", eps=1e-5, rngs=rngs)])
        self.norm = LayerNorm(width, eps=1e-5, rngs=rngs)

    def __call__(self, frames: Float[Array, "B F D"]) -> Float[Array, "B D"]:
        """The frames' features in their order -> one vector a clip."""
        B, _, D = frames.shape
        x = jnp.concatenate([jnp.broadcast_to(self.class_embedding[...], (B, 1, D)), frames], axis=1)  # (B, F + 1, D)
        if self.position_embedding is not None:
            x = x + self.position_embedding[...]
        return self.norm(run_blocks(self.blocks, x, None, jnp.zeros(B, int), None))


def thumbnails(pixels: Float[Array, "B S S 3"], side: int = THUMBNAIL) -> Float[Array, "B t"]:
    """Pictures at `side` x `side` pixels, each the mean of a square, as rows of numbers."""
    B, S, _, _ = pixels.shape
    return pixels.reshape(B, side, S // side, side, S // side, 3).mean((2, 4)).reshape(B, -1)


def frame_features(bundle: Bundle, films: Float[Array | np.ndarray, "B F S S 3"]) -> Float[np.ndarray, "B F D"]:
    """Every frame (pixels in 0..1) as a pretrained, frozen image tower sees it, and beside that as a thumbnail. Lesson 16.

    The tower knows *what* is there. *Where* it has mostly forgotten, since few captions told it; the thumbnail has kept that.
    """
    graph, params = nnx.split(bundle.model)
    return np.concatenate([np.asarray(_features(graph, params, jnp.asarray(films[i : i + PIECE]))) for i in range(0, len(films), PIECE)])


@jax.jit(static_argnums=0)
def _features(graph: nnx.GraphDef, params: nnx.State, films: Float[Array, "B F S S 3"]) -> Float[Array, "B F D"]:
    model = nnx.merge(graph, params)
    pixels = normalise(films.reshape(-1, *films.shape[2:]), model.config.image)
    return jnp.concatenate([model.image(pixels), thumbnails(pixels)], axis=1).reshape(*films.shape[:2], -1)


class VideoCLIP(nnx.Module):
    """CLIP for films: each frame's features through a small network, the frames pooled to one vector; sentences as always. Lesson 16.

    `pool` is "mean" (`mean_direction`), "transformer" (`Temporal`) or "no positions" (`Temporal` without them).
    """

    def __init__(self, features: int, pool: str, *, width: int = 64, embed: int = 32, rngs: nnx.Rngs) -> None:
        tokenizer = moving_world().tokenizer()
        text = TextConfig(tokenizer.vocab, tokenizer.context, tokenizer.end, width=32, depth=1, heads=4, mlp=64)
        self.embedding = Linear(features, width, rngs=rngs)
        self.norm = LayerNorm(width, eps=1e-5, rngs=rngs)
        self.mlp = MLP(width, 2 * width, "quick_gelu", out_std=width**-0.5, rngs=rngs)
        self.temporal = None if pool == "mean" else Temporal(width, FRAMES, positions=pool == "transformer", rngs=rngs)
        self.video_projection = Linear(width, embed, bias=False, rngs=rngs)
        self.text = TextEncoder(text, rngs=rngs)
        self.text_projection = Linear(text.width, embed, bias=False, rngs=rngs)

    def encode_video(self, features: Float[Array | np.ndarray, "B F D"]) -> Float[Array, "B E"]:
        """Films, as `frame_features`, to unit vectors."""
        frames = self.mlp(self.norm(self.embedding(jnp.asarray(features))))  # (B, F, width)
        if self.temporal is None:
            return mean_direction(self.video_projection(frames))
        return l2_normalise(self.video_projection(self.temporal(frames)))

    def encode_text(self, tokens: Int[Array | np.ndarray, "M T"]) -> Float[Array, "M E"]:
        """Token ids of `moving_world().tokenizer()` to unit vectors."""
        return l2_normalise(self.text_projection(self.text(jnp.asarray(tokens), jnp.dtype("float32"))))


def learn(
    model: VideoCLIP, features: Float[np.ndarray, "n F D"], meaning: Int[np.ndarray, "n 3"], *,
    seed: int = 0, steps: int = 400, batch_size: int = 64, learning_rate: float = 3e-3,
) -> tuple[VideoCLIP, Float[np.ndarray, "steps"]]:  # fmt: skip
    """The model, trained by CLIP's loss on n films (as `frame_features`) with captions drawn anew every step; and the losses, in nats. Lesson 16."""
    world = moving_world()
    graph, params = nnx.split(model, nnx.Param)
    run = TrainConfig(steps=steps, batch_size=batch_size, learning_rate=learning_rate, weight_decay=0.1, seed=seed)

    @jax.jit
    def trained(params: nnx.State, films: Float[Array, "n F D"], meanings: Int[Array, "n 3"]) -> tuple[nnx.State, Float[Array, "steps"]]:
        def loss(params: nnx.State, number: Int[Array, ""]) -> Float[Array, ""]:
            pick, speak = jax.random.split(jax.random.fold_in(jax.random.key(seed), number))
            rows = jax.random.randint(pick, (batch_size,), 0, len(films))
            tokens, said = world.caption(speak, meanings[rows])
            model = nnx.merge(graph, params)
            return contrastive_loss(model.encode_video(films[rows]), model.encode_text(tokens), SCALE, world.true_of(said, meanings[rows]))

        return descend(loss, params, run)

    params, losses = trained(params, jnp.asarray(features), jnp.asarray(meaning))
    return nnx.merge(graph, params), np.asarray(losses)


def paired_scenes(each: int = 10, seed: int = 0) -> Scenes:
    """New scenes, `each` of every meaning, in the order of `moving_world().seen`; a motion and its reverse share their looks."""
    world = moving_world()
    pairs = np.repeat(world.seen[::2], each, axis=0)  # (n / 2, 3)
    looks = np.asarray(world.dress(jax.random.key(seed), pairs).looks).reshape(-1, 1, each, world.looks)
    looks = np.broadcast_to(looks, (len(looks), 2, each, world.looks)).reshape(-1, world.looks)
    return Scenes(np.repeat(world.seen, each, axis=0), looks)
