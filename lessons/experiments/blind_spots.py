"""Blind spots: does a model know who is where, or only which words go with which picture? Lesson 12.

A small part of the world `pairs`, in which every scene has its three swaps (colours, shapes or things exchanged). What differs is the company
that a pair is trained in. In a *sorted* batch some colours and some shapes stand on the left only, the others on the right only; which ones is
drawn anew for every batch. So of a scene and its swaps never more than one is there, and words alone say which caption belongs to which
picture. The cure adds to each picture one of its swaps as a caption without a picture, for which the model must look who is where.

`one a set` goes further: of each set of swaps a single scene ever occurs, chosen by lot, and it is scored on other sets, of which training had no
scene at all, neither drawn nor said. It takes many sets, so that a swapped caption, which is never true of anything, is not known by heart: all
colours, shapes and both relations.

`given away` is why the sorting changes from batch to batch. If the same colours and shapes are on the left for ever, a swapped caption can be
told without looking, since it says what never is; it teaches nothing. (Yuksekgonul et al. 2023 for the failure and the cure; Thrush et al. 2022,
Winoground, for the scores; Hsieh et al. 2023, SugarCrepe, for negatives that give themselves away.)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

import tinyclip
from lessons.experiments import Condition, Experiment, Params
from tinyclip.bundle import Bundle
from tinyclip.clip import CLIP
from tinyclip.config import CLIPConfig, TrainConfig
from tinyclip.data import Batch, WorldSource
from tinyclip.evaluate import binding_scores, draw_bytes, recall_at_k
from tinyclip.tokenizer import WordTokenizer
from tinyclip.train import make_model, train
from tinyclip.world import World, get_world
from tinyclip.world.caption import Grammar, Slot
from tinyclip.world.scene import COLOURS, Scenes

N = 6  # colours, and shapes: the first of them
STEPS, BATCH = 1600, 128
MANY_STEPS = 3000  # for all colours, shapes and relations


def small_world(n: int = N, relations: Sequence[int] = (0,)) -> World:
    """The scenes of `pairs` in n colours and n shapes, both things large, side by side unless more `relations` are asked for; one sentence for
    each, read from its left (or upper) thing.
    """
    world = get_world("pairs")
    size_1, colour_1, shape_1, relation, size_2, colour_2, shape_2 = world.seen.T
    few = (np.maximum(colour_1, colour_2) < n) & (np.maximum(shape_1, shape_2) < n)
    rows = world.seen[few & (size_1 == 1) & (size_2 == 1) & np.isin(relation, relations)]
    slots = {name: Slot(slot.column, tuple(ways[:1] for ways in slot.phrases)) for name, slot in world.grammar.slots.items()}
    return replace(world, seen=rows, grammar=Grammar(world.grammar.factors, slots, world.grammar.templates[:1]), turn=None)


def sorted_by(rows: Int[Array | np.ndarray, "M 7"], left_colours: Bool[Array, "N"], left_shapes: Bool[Array, "N"]) -> Bool[Array, "M"]:
    """In which scenes do only these colours and shapes stand on the left, and none of them on the right?"""
    _, colour_1, shape_1, _, _, colour_2, shape_2 = jnp.asarray(rows).T
    return left_colours[colour_1] & ~left_colours[colour_2] & left_shapes[shape_1] & ~left_shapes[shape_2]


def one_of_each(rows: Int[np.ndarray, "M 7"], seed: int = 12) -> Int[np.ndarray, "m 7"]:
    """Of every scene and its swaps a single one, at random."""
    rows = np.random.default_rng(seed).permutation(rows)
    words = np.concatenate([np.sort(rows[:, [1, 5]]), np.sort(rows[:, [2, 6]]), rows[:, 3:4]], axis=1)  # all that tells one set of swaps from another
    return rows[np.unique(words, axis=0, return_index=True)[1]]


@dataclass(frozen=True, eq=False)
class SortedBatches(World):
    """The same world, but in whatever is drawn at once a colour or a shape comes always first or always second: no scene meets its swap."""

    def sample(self, key: Array, number: int, split: str = "train", held_out: bool = False) -> Scenes:
        """`number` random scenes, all sorted by the same random half of the colours and half of the shapes."""
        colours, shapes, pick, looks = jax.random.split(key, 4)
        half = jnp.arange(self.seen[:, 1].max() + 1) % 2 == 0
        fits = sorted_by(self.seen, jax.random.permutation(colours, half), jax.random.permutation(shapes, half)).astype(jnp.float32)
        rows = jax.random.choice(pick, len(fits), (number,), p=fits / fits.sum())
        return self.dress(looks, jnp.asarray(self.seen, jnp.int32)[rows], split)


WORLD = small_world()
HALF = jnp.arange(N) % 2 == 0  # every other colour and shape: those on the left where the sorting never changes
GALLERY = replace(WORLD, seen=one_of_each(WORLD.seen))  # to search in: words alone identify its scenes
SORTED = SortedBatches(**vars(WORLD))
LARGER = small_world(len(COLOURS), (0, 2))
LOT = np.random.default_rng(12).permutation(one_of_each(LARGER.seen))
ONE_A_SET = SortedBatches(**(vars(LARGER) | {"seen": LOT[len(LOT) // 5 :]}))
OTHER_SETS = replace(LARGER, seen=LOT[: len(LOT) // 5])  # to be scored on
FOREVER = replace(WORLD, seen=WORLD.seen[np.asarray(sorted_by(WORLD.seen, HALF, HALF))])


class BagOfWords(WorldSource):
    """Batches in which every sentence has its words in the order of the alphabet: all that is left is which words it has."""

    def batch(self, inputs: Int[Array, ""]) -> Batch:
        batch = super().batch(inputs)
        return batch._replace(tokens=jnp.sort(batch.tokens))  # padding is the lowest id, the end token the highest: it stays last


class BagTokenizer(WordTokenizer):
    """Sentences as bags of words; swaps become the very same tokens."""

    def __call__(self, sentences: Sequence[str], truncate: bool = False) -> Int[np.ndarray, "B T"]:
        return np.sort(super().__call__(sentences, truncate))


def model_config() -> CLIPConfig:
    """Nano towers that read pixels and words of this world."""
    words = {"vocab": WORLD.tokenizer().vocab, "context": WORLD.context, "end_token": WORLD.tokenizer().end}
    return CLIPConfig.preset("nano", image={"mean": WORLD.mean, "std": WORLD.std}, text=words)


def run_config(seed: int = 0, hard_negatives: str = "none", steps: int = STEPS) -> TrainConfig:
    """How every condition is trained."""
    return TrainConfig(steps, BATCH, learning_rate=3e-3, warmup=50, weight_decay=0.1, hard_negatives=hard_negatives, chunk=50, seed=seed)


def trained(source: type[WorldSource], world: World, hard_negatives: str, seed: int, steps: int = STEPS) -> Params:
    """Parameters after a whole run."""
    run = run_config(seed, hard_negatives, steps)
    for report in train(model_config(), run, source(world, model_config(), run)):
        params = report.state.params
    return params


def bundle(params: Params, bag: bool = False) -> Bundle:
    """A model with these parameters."""
    tokenizer = WORLD.tokenizer()
    return Bundle(make_model(model_config(), params), BagTokenizer(tokenizer.words, tokenizer.context) if bag else tokenizer, "blind spots")


def views(model: Bundle, world: World, seed: int = 3) -> tuple[Float[np.ndarray, "n 4 E"], Float[np.ndarray, "n 4 E"]]:
    """Embeddings of new pictures of every scene of a world and of its three swaps, and of their captions."""
    meanings = np.concatenate([world.seen[:, None], np.asarray(world.swaps(world.seen))], axis=1)  # (n, 4, F)
    size, shape = model.config.image.size, meanings.shape[:2]
    scenes = world.dress(jax.random.key(seed), meanings.reshape(-1, meanings.shape[2]), "test")
    images = model.embed_images(draw_bytes(world, scenes, size))
    texts = model.embed_texts([world.grammar.describe(row) for row in scenes.meaning])
    return images.reshape(*shape, -1), texts.reshape(*shape, -1)


def cases(images: Float[np.ndarray, "n 4 E"], texts: Float[np.ndarray, "n 4 E"]) -> Float[np.ndarray, "k 2 2"]:
    """Similarities [case, picture, caption] of every scene with each of its swaps, k = 3 n: what Winoground's scores are made of."""
    similarity = np.einsum("nie,nje->nij", images, texts)
    return np.concatenate([similarity[:, [0, k]][:, :, [0, k]] for k in (1, 2, 3)])


def measure(images: Float[np.ndarray, "n 4 E"], texts: Float[np.ndarray, "n 4 E"]) -> dict[str, float]:
    """Recall@1 among the scenes themselves, Winoground's scores on their swaps, and how often a picture prefers its own caption to a swap: asked
    as it should be, and asked without the picture, the mean of all pictures in its place.
    """
    similarity, own = images[:, 0] @ texts[:, 0].T, np.eye(len(images), dtype=bool)
    swapped = cases(images, texts)
    blindfold = texts @ images[:, 0].mean(0)  # (n, 4): how near a caption is to pictures in general
    return (
        {"image_to_text_recall_at_1": recall_at_k(similarity, own, 1), "text_to_image_recall_at_1": recall_at_k(similarity.T, own, 1)}
        | binding_scores(swapped)
        | {f"binding_group_{kind}": binding_scores(part)["binding_group"] for kind, part in zip(WORLD.swap_names, np.split(swapped, 3), strict=True)}
        | {"own_caption": float((swapped[:, 0, 0] > swapped[:, 0, 1]).mean())}
        | {"own_caption_unseen": float((blindfold[:, :1] > blindfold[:, 1:]).mean())}
    )


def fresh() -> Params:
    """Parameters of the structure that is saved."""
    return nnx.state(CLIP(model_config(), rngs=nnx.Rngs(0)), nnx.Param)


def _condition(name: str, world: World, scored: World, hard_negatives: str = "none", bag: bool = False, steps: int = STEPS) -> Condition:
    source = BagOfWords if bag else WorldSource
    return Condition(
        name, lambda seed: trained(source, world, hard_negatives, seed, steps), lambda params: measure(*views(bundle(params, bag), scored)), fresh
    )


EXPERIMENT = Experiment(
    "blind_spots",
    "Trained on batches in which words alone identify the scene, does a model learn who is where? And with swapped captions as hard negatives?",
    (
        _condition("blind", SORTED, GALLERY),
        _condition("bag of words", SORTED, GALLERY, bag=True),
        _condition("cured", SORTED, GALLERY, "captions"),
        _condition("given away", FOREVER, FOREVER, "captions"),
        _condition("one a set", ONE_A_SET, OTHER_SETS, steps=MANY_STEPS),
        _condition("one a set cured", ONE_A_SET, OTHER_SETS, "captions", steps=MANY_STEPS),
        # Trained for minutes by `tinyclip train --world pairs`, on everything: a yardstick, with nothing to train here.
        Condition("core pairs", lambda seed: {}, lambda params: measure(*views(tinyclip.load("pairs"), GALLERY)), dict),
    ),
)
