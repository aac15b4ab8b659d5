"""Batches: drawn from the toy world on the device, or read from a folder of captioned pictures.

Both give the training loop two things. `inputs(start, stop)` runs on the host, once a chunk, and returns what steps start..stop need (for a
world, only the step numbers). `batch(one_input)` is traced into the step. Step s is the same batch whenever it is run, so a resumed run
continues exactly, and no random state has to be saved. With a `mesh` of devices each of them draws, and each process reads, its own rows of the
batch, which is the same batch whatever the mesh. Lessons 10 and 17.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from .config import CLIPConfig, ImageConfig, TrainConfig
from .errors import UserError
from .folder import Folder
from .parallel import by_rows, each_its_rows, from_own_rows, share
from .tokenizer import WordTokenizer
from .world import World


class Batch(NamedTuple):
    """B pictures, M >= B captions (the first B belong to the pictures, the others are hard negatives), and which caption is true of which."""

    images: Float[Array, "B S S 3"]
    tokens: Int[Array, "M T"]
    positives: Bool[Array, "B M"]


@runtime_checkable
class Source(Protocol):
    """Where a training run's batches come from."""

    def inputs(self, start: int, stop: int) -> Any:
        """What steps start..stop need from the host: arrays stacked along a first axis of stop - start."""

    def batch(self, inputs: Any) -> Batch:
        """One step's batch; jit-able."""


def normalise(pixels: Float[Array | np.ndarray, "B S S 3"], config: ImageConfig) -> Float[Array, "B S S 3"]:
    """Pixels in 0..1 to what the image encoder expects: (pixel - mean) / std, a channel at a time."""
    return (pixels - jnp.asarray(config.mean, jnp.float32)) / jnp.asarray(config.std, jnp.float32)


def shared_out(batch: Batch, mesh: Mesh | None) -> Batch:
    """The rows of a batch shared out to the devices of a mesh: from here on, XLA splits the whole step in the same way."""
    return batch if mesh is None else jax.lax.with_sharding_constraint(batch, by_rows(mesh))


class WorldSource:
    """Fresh scenes and captions every step, drawn inside the jitted step: no loader, no epochs, nothing to overfit. Lesson 10."""

    def __init__(self, world: World, model: CLIPConfig, run: TrainConfig, mesh: Mesh | None = None) -> None:
        if run.hard_negatives != "none" and world.swaps is None:
            raise UserError(f"--hard-negatives needs a world with swaps, which {world.name} has not: train on --world pairs.")
        self.world, self.model, self.run, self.mesh = world, model, run, mesh
        self.draw = each_its_rows(lambda scenes: world.draw(scenes, model.image.size)[0], mesh)

    def inputs(self, start: int, stop: int) -> Int[np.ndarray, "steps"]:
        return np.arange(start, stop)

    def batch(self, inputs: Int[Array, ""]) -> Batch:
        scene_key, caption_key, swap_key = jax.random.split(jax.random.fold_in(jax.random.key(self.run.seed), inputs), 3)
        scenes = self.world.sample(scene_key, self.run.batch_size)
        if self.run.hard_negatives == "scenes":
            swaps = self.world.swaps(scenes.meaning)  # (B, kinds, F)
            groups = jnp.concatenate([scenes.meaning[:, None], swaps], axis=1)[: -(-len(swaps) // (swaps.shape[1] + 1))]
            scenes = scenes._replace(meaning=groups.reshape(-1, groups.shape[-1])[: len(swaps)])
        pictures = self.draw(scenes)
        tokens, said = self.world.caption(caption_key, scenes.meaning)
        if self.run.hard_negatives == "captions":
            pick, speak = jax.random.split(swap_key)
            swaps = self.world.swaps(scenes.meaning)  # (B, kinds, F)
            kind = jax.random.randint(pick, (len(swaps), 1, 1), 0, swaps.shape[1])
            swapped = self.world.caption(speak, jnp.take_along_axis(swaps, kind, axis=1)[:, 0])
            tokens, said = jnp.concatenate([tokens, swapped.tokens]), jnp.concatenate([said, swapped.said])
        return shared_out(Batch(normalise(pictures, self.model.image), tokens, self.world.true_of(said, scenes.meaning)), self.mesh)


class FolderSource:
    """Pictures and captions from a folder, every step a random draw without repetition; pixels stay in their memory-mapped cache."""

    def __init__(self, folder: Folder, tokenizer: WordTokenizer, model: CLIPConfig, run: TrainConfig, mesh: Mesh | None = None) -> None:
        self.folder, self.model, self.run, self.mesh = folder, model, run, mesh
        texts = {caption: i for i, caption in enumerate(dict.fromkeys(folder.captions))}
        self.tokens = tokenizer(list(texts))  # (texts, T)
        self.text_of = np.array([texts[caption] for caption in folder.captions])  # of each pair
        self.pairs = folder.training_pairs()

    def inputs(self, start: int, stop: int) -> dict[str, Array | np.ndarray]:
        pairs = np.stack(
            [np.random.default_rng((self.run.seed, step)).choice(self.pairs, self.run.batch_size, replace=False) for step in range(start, stop)]
        )  # (steps, B)
        picture, text = self.folder.picture_of[pairs], self.text_of[pairs]
        rows = share(pairs.shape[1], jax.process_count())
        own = picture[:, jax.process_index() * rows :][:, :rows]
        images = from_own_rows(self.folder.pixels[own], self.mesh, axis=1)
        return {"images": images, "tokens": self.tokens[text], "picture": picture, "text": text}

    def batch(self, inputs: dict[str, Array]) -> Batch:
        picture, text = inputs["picture"], inputs["text"]
        # A caption is true of its own picture, of that picture's other entries, and of any picture with the very same caption.
        positives = (picture[:, None] == picture[None, :]) | (text[:, None] == text[None, :])
        return shared_out(Batch(normalise(inputs["images"].astype(jnp.float32) / 255, self.model.image), inputs["tokens"], positives), self.mesh)
