"""Do maps of "what the model looked at" show the thing that was named? Nothing is trained: `tinyclip.load("pairs")` and freshly drawn scenes.

`python -m lessons.experiments.looking_inside` scores every map on three sets of 500 scenes of two things, named in turn, and once more with a
model whose weights are random, and writes `data/experiments/looking_inside/results.json`. Lesson 13 shows them.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

import tinyclip
from lessons.experiments import Experiment
from tinyclip import explain
from tinyclip.bundle import Bundle
from tinyclip.config import TrainConfig
from tinyclip.evaluate import draw_bytes
from tinyclip.train import initial_state, make_model
from tinyclip.world import get_world
from tinyclip.world.scene import Scenes

EXPERIMENT = Experiment("looking_inside", "Does the map's largest pixel lie on the thing that was named, and not on the other?", ())
SCENES, SEEDS = 500, (0, 1, 2)
CHANGES = {"colour": 1, "shape": 2, "relation": 3}  # what is otherwise in a twin, and its column; colour and shape are the first thing's
WORLD = get_world("pairs")


class Asked(NamedTuple):
    """B pictures of two things, each with a sentence for one of them and one for the other."""

    scenes: Scenes
    pictures: np.ndarray  # (B, S, S, 3), bytes
    images: np.ndarray  # the same, preprocessed
    named: list[str]
    other: list[str]
    named_mask: np.ndarray  # (B, S, S): where the named thing covers more than half of a pixel
    other_mask: np.ndarray


def ask(bundle: Bundle, number: int, seed: int) -> Asked:
    """New scenes; the sentence names the first thing of one scene, the second of the next, and so on."""
    scenes, size = WORLD.sample(jax.random.key(seed), number, "test"), bundle.config.image.size
    masks = np.asarray(jax.jit(lambda scenes: WORLD.draw(scenes, size)[1])(scenes)) > 0.5  # (B, 2, S, S)
    pictures, which, row = draw_bytes(WORLD, scenes, size), np.arange(number) % 2, np.arange(number)
    readings = np.stack([np.asarray(scenes.meaning), np.asarray(WORLD.turn(scenes.meaning))])  # told from its first, from its second thing
    named, other = ([WORLD.grammar.describe(meaning, "a {colour_1} {shape_1}") for meaning in readings[w, row]] for w in (which, 1 - which))
    return Asked(scenes, pictures, bundle.preprocess(pictures), named, other, masks[row, which], masks[row, 1 - which])


def both_ways(asked: Asked, i: int) -> Asked:
    """Scene i twice: as it was asked, and asked for its other thing."""
    row, names, masks = np.array([i, i]), [asked.named[i], asked.other[i]], np.stack([asked.named_mask[i], asked.other_mask[i]])
    scenes = Scenes(*(np.asarray(each)[row] for each in asked.scenes))
    return Asked(scenes, asked.pictures[row], asked.images[row], names, names[::-1], masks, masks[::-1])


def random_weights(bundle: Bundle, seed: int) -> Bundle:
    """The same architecture, with nothing learned."""
    return Bundle(make_model(bundle.config, initial_state(bundle.config, TrainConfig(seed=seed)).params), bundle.tokenizer)


def direction(bundle: Bundle, asked: Asked) -> np.ndarray:
    """From the other thing's sentence to the named one's: what speaks for this one and against that?"""
    return bundle.embed_texts(asked.named) - bundle.embed_texts(asked.other)


def maps(model: tinyclip.CLIP, images: np.ndarray, towards: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """Every map, by name, not yet computed."""
    patch = model.config.image.patch
    of_patches = {
        "attention": lambda images: explain.class_attention(model, images),
        "patch similarity": lambda images: explain.patch_similarity(model, images, towards),
        "relevance": lambda images: explain.image_relevance(model, images, towards),
    }
    fine = {name: partial(explain.on_shifted_grids, method, images, patch, 2) for name, method in of_patches.items()}
    return {
        "gradient x input": lambda: np.asarray(explain.gradient_times_input(model, images, towards)),
        **fine,
        "relevance, one grid": partial(explain.on_shifted_grids, of_patches["relevance"], images, patch, patch),
        "occlusion": lambda: np.asarray(explain.occlusion(model, images, towards, size=patch, stride=2)),
    }


def guesses(asked: Asked, patch: int) -> dict[str, Callable[[], np.ndarray]]:
    """Maps that never see the model: no idea, the middle, and the best that patches of one grid could do if they knew the mask."""
    number, size = asked.named_mask.shape[:2]

    def share_of_mask(images: np.ndarray) -> np.ndarray:
        return asked.named_mask.reshape(number, size // patch, patch, -1, patch).mean(axis=(2, 4))

    return {
        "any pixel": lambda: np.zeros(asked.named_mask.shape),
        "the middle": lambda: explain.centre_prior(number, size),
        "the mask, one grid": lambda: explain.on_shifted_grids(share_of_mask, asked.images, patch, patch),
    }


def score(drawn: np.ndarray, asked: Asked) -> dict[str, float]:
    """Pointing game on the named and on the other thing, and IoU with the named one."""
    pointing = {which: explain.pointing_game(drawn, mask) for which, mask in (("named", asked.named_mask), ("other", asked.other_mask))}
    return pointing | {"iou": explain.iou(drawn, asked.named_mask)}


def twins(bundle: Bundle, asked: Asked, change: str, seed: int = 0) -> np.ndarray:
    """For each picture another that differs in one thing only: the first thing's colour, its shape, or the relation."""
    random = np.random.default_rng(seed)
    meaning = np.array([random.choice(WORLD.seen[_differs_only_in(row, CHANGES[change])]) for row in np.asarray(asked.scenes.meaning)])
    return draw_bytes(WORLD, Scenes(meaning, asked.scenes.looks), bundle.config.image.size)


def word_relevance(bundle: Bundle, asked: Asked, change: str, contrast: bool = True) -> np.ndarray:
    """The relevance of each word of each picture's caption for this picture and against its twin, (B, T - 1); -1 where there is no word.

    Without `contrast` the twin is left out of the question: what speaks for this picture?
    """
    tokens = bundle.tokenizer([WORLD.grammar.describe(row) for row in np.asarray(asked.scenes.meaning)])
    towards = bundle.embed_images(asked.pictures) - contrast * bundle.embed_images(twins(bundle, asked, change))
    relevance = np.asarray(explain.text_relevance(bundle.model, tokens, towards))[:, 1:]  # the start token is no word
    return np.where(np.cumsum(tokens == bundle.tokenizer.end, axis=1)[:, 1:] == 0, relevance, -1)


def words(bundle: Bundle, asked: Asked, change: str, contrast: bool = True) -> dict[str, float]:
    """In what share of the captions is the most relevant word the one that the twin makes false? Beside it, a random word's chance."""
    relevance = word_relevance(bundle, asked, change, contrast)
    right = relevance.argmax(axis=1) == CHANGES[change]  # "a red star above a ...": word 1 is the colour, 2 the shape, 3 the relation
    return {"right word": float(right.mean()), "any word": float((1 / (relevance >= 0).sum(axis=1)).mean())}


def _differs_only_in(meaning: np.ndarray, column: int) -> np.ndarray:
    same = WORLD.seen == meaning
    return np.delete(same, column, axis=1).all(axis=1) & ~same[:, column]


def run(number: int = SCENES, seeds: tuple[int, ...] = SEEDS) -> dict[str, dict[str, dict[str, float]]]:
    """The whole table: condition -> seed (of the scenes, and of the random weights) -> its scores."""
    trained, results = tinyclip.load("pairs"), {}

    def judge(draw: Callable[[], np.ndarray], asked: Asked) -> dict[str, float]:
        return score(draw(), asked)

    for seed in seeds:
        asked = ask(trained, number, seed)
        for suffix, bundle in (("", trained), (", random weights", random_weights(trained, seed))):
            drawn = maps(bundle.model, asked.images, direction(bundle, asked))
            todo = {name: partial(judge, draw, asked) for name, draw in drawn.items()}
            todo |= {f"words, {change}": partial(words, bundle, asked, change) for change in CHANGES}
            if not suffix:
                todo |= {f"words, {change}, no twin": partial(words, bundle, asked, change, contrast=False) for change in CHANGES}
                todo |= {name: partial(judge, draw, asked) for name, draw in guesses(asked, bundle.config.image.patch).items()}
            for name, compute in todo.items():
                clock = time.perf_counter()
                scores = {key: round(value, 4) for key, value in compute().items()} | {"seconds": round(time.perf_counter() - clock, 1)}
                results.setdefault(name + suffix, {})[str(seed)] = scores
                print(f"{name}{suffix} · seed {seed} · " + ", ".join(f"{key} {value:g}" for key, value in scores.items()), flush=True)
    return results


if __name__ == "__main__":
    EXPERIMENT.write(run(), "python -m lessons.experiments.looking_inside")
