"""A new sense joins a space that is already there: one small encoder and one call, `align`.

Both towers stay frozen. The new encoder learns to put its reading of a scene where the picture of that scene lies, by CLIP's own loss, against
pictures only. It never meets a sentence; but sentences lie beside their pictures already, so the sense comes to lie beside them too. ImageBind
(Girdhar et al. 2023, section 3) calls that emergent alignment. Lesson 16.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

from ..bundle import Bundle
from ..clip import l2_normalise
from ..config import TrainConfig
from ..data import normalise
from ..encoders import run_blocks
from ..evaluate import recall_at_k
from ..losses import contrastive_loss
from ..train import make_optimizer
from ..transformer import Block, LayerNorm, Linear
from ..world import World
from ..world.scene import ANY

Readings = Float[Array, "B n c"]
Sense = Callable[[Array, Int[Array | np.ndarray, "B F"]], Readings]  # a random key and the scenes' meanings -> what is sensed of them


class SenseEncoder(nnx.Module):
    """n readings of c numbers become n tokens, and a class token collects them: the image encoder without the cutting into patches.

    Readings should lie around 0 with a spread of about 1: what is far from 0 everywhere looks alike once it is normalised.
    """

    def __init__(self, n: int, c: int, embed: int, *, width: int = 64, depth: int = 2, heads: int = 4, rngs: nnx.Rngs) -> None:
        std = width**-0.5
        self.embedding = Linear(c, width, rngs=rngs)
        self.class_embedding = nnx.Param(std * jax.random.normal(rngs.params(), (width,)))
        self.position_embedding = nnx.Param(std * jax.random.normal(rngs.params(), (n + 1, width)))
        self.blocks = nnx.List([Block(width, heads, 4 * width, depth, activation="quick_gelu", eps=1e-5, rngs=rngs) for _ in range(depth)])
        self.norm = LayerNorm(width, eps=1e-5, rngs=rngs)
        self.projection = Linear(width, embed, bias=False, rngs=rngs)

    def __call__(self, readings: Readings) -> Float[Array, "B E"]:
        """Readings -> unit vectors."""
        tokens = self.embedding(readings)  # (B, n, D)
        B, _, D = tokens.shape
        first = jnp.broadcast_to(self.class_embedding[...], (B, 1, D))
        x = jnp.concatenate([first, tokens], axis=1) + self.position_embedding[...]  # (B, n + 1, D)
        return l2_normalise(self.projection(self.norm(run_blocks(self.blocks, x, None, jnp.zeros(B, int), None))))


def told_by(meaning: Int[Array | np.ndarray, "B F"], tells: Sequence[int]) -> Int[Array, "B F"]:
    """What a sense says of scenes, as a caption's meaning: the factors (columns) in `tells`, and nothing (-1) about the others."""
    return jnp.where(jnp.isin(jnp.arange(meaning.shape[1]), jnp.asarray(tells)), meaning, ANY)


def align(
    bundle: Bundle, world: World, encoder: nnx.Module, sense: Sense, tells: Sequence[int], *,
    seed: int = 0, steps: int = 300, batch_size: int = 128, learning_rate: float = 5e-3,
) -> tuple[nnx.Module, Float[np.ndarray, "steps"]]:  # fmt: skip
    """The encoder, trained to put `sense(key, meaning)` where the frozen model puts pictures of the same scenes; and the losses, in nats.

    `tells` names the factors (columns of a meaning) that the sense can tell: a picture that agrees in these is as true as the scene's own, and
    shares the target. Fresh scenes of `world.seen` every step, drawn on the device, all steps in one call.
    """
    graph, params = nnx.split(encoder, nnx.Param)
    clip_graph, clip_params = nnx.split(bundle.model)
    run = TrainConfig(steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed)

    @jax.jit
    def trained(params: nnx.State, clip_params: nnx.State, key: Array) -> tuple[nnx.State, Float[Array, "steps"]]:
        clip = nnx.merge(clip_graph, clip_params)

        def loss(params: nnx.State, number: Int[Array, ""]) -> Float[Array, ""]:
            scene_key, sense_key = jax.random.split(jax.random.fold_in(key, number))
            scenes = world.sample(scene_key, batch_size)
            pictures, _ = world.draw(scenes, clip.config.image.size)
            images, readings = clip.encode_image(normalise(pictures, clip.config.image)), sense(sense_key, scenes.meaning)
            positives = world.true_of(told_by(scenes.meaning, tells), scenes.meaning)
            return contrastive_loss(images, nnx.merge(graph, params)(readings), clip.logit_scale, positives)

        return descend(loss, params, run)

    params, losses = trained(params, clip_params, jax.random.key(seed))
    return nnx.merge(graph, params), np.asarray(losses)


def descend(
    loss: Callable[[nnx.State, Int[Array, ""]], Float[Array, ""]], params: nnx.State, run: TrainConfig
) -> tuple[nnx.State, Float[Array, "steps"]]:
    """All steps of a small training in one scan, to be traced: the parameters after them, and the loss of each, in nats. Lesson 16.

    `loss` is a function of the parameters and the step's number, from 0.
    """
    optimizer = make_optimizer(run)

    def step(state: tuple[nnx.State, Any], number: Int[Array, ""]) -> tuple[tuple[nnx.State, Any], Float[Array, ""]]:
        params, opt_state = state
        value, gradient = jax.value_and_grad(loss)(params, number)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), jnp.arange(run.steps))
    return params, losses


def embed_sense(encoder: nnx.Module, sense: Sense, meaning: Int[Array | np.ndarray, "B F"], seed: int = 0) -> Float[np.ndarray, "B E"]:
    """Unit vectors of fresh readings of these scenes."""
    graph, params = nnx.split(encoder)
    return np.asarray(_embed(graph, sense, params, jax.random.key(seed), jnp.asarray(meaning)))


@partial(jax.jit, static_argnums=(0, 1))
def _embed(graph: nnx.GraphDef, sense: Sense, params: nnx.State, key: Array, meaning: Int[Array, "B F"]) -> Float[Array, "B E"]:
    return nnx.merge(graph, params)(sense(key, meaning))


def sentences(bundle: Bundle, world: World, template: str) -> tuple[Float[np.ndarray, "M E"], Int[np.ndarray, "M F"]]:
    """All that a template ("a {colour} {shape}") can say of the world, held-out combinations too: their unit vectors, and what each says."""
    every = np.concatenate([world.seen, world.held_out])
    said = np.unique(np.where(world.grammar.said(template), every, ANY), axis=0)
    return bundle.embed_texts([world.grammar.describe(row, template) for row in said]), said


def emergent_scores(bundle: Bundle, world: World, encoder: nnx.Module, sense: Sense, template: str, seed: int = 1) -> dict[str, float]:
    """recall@1 between the sense and the sentences of a template, which were never trained together; `chance` is one over their number.

    Every meaning of the world is sensed once, so each sentence is true of equally many readings. Queries of seen and of held-out combinations are
    reported apart; what is searched always holds both.
    """
    texts, said = sentences(bundle, world, template)
    scores = {"chance": 1 / len(said)}
    meaning = np.concatenate([world.seen, world.held_out])
    similarity = embed_sense(encoder, sense, meaning, seed) @ texts.T  # (B, M)
    true = np.asarray(world.true_of(said, meaning))
    held_out = np.arange(len(meaning)) >= len(world.seen)
    of_held_out = ~true[~held_out].any(0)  # sentences that are true of no seen scene
    for suffix, rows, columns in (("seen", ~held_out, ~of_held_out), ("held_out", held_out, of_held_out)):
        if rows.any():
            scores[f"to_text_{suffix}"] = recall_at_k(similarity[rows], true[rows], 1)
        if columns.any():
            scores[f"from_text_{suffix}"] = recall_at_k(similarity.T[columns], true.T[columns], 1)
    return scores


def confusions(
    bundle: Bundle, world: World, encoder: nnx.Module, sense: Sense, template: str, seed: int = 1
) -> tuple[list[str], Float[np.ndarray, "M M"]]:
    """The sentences of a template, and `[i, j]`: of all readings of which sentence i is true, the share whose nearest sentence is j."""
    texts, said = sentences(bundle, world, template)
    meaning = np.concatenate([world.seen, world.held_out])
    nearest = (embed_sense(encoder, sense, meaning, seed) @ texts.T).argmax(1)
    true = np.asarray(world.true_of(said, meaning), float)  # (B, M)
    return [world.grammar.describe(row, template) for row in said], true.T @ np.eye(len(said))[nearest] / true.sum(0)[:, None]
