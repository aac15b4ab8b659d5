"""What the space knows, in numbers: zero-shot accuracy, recall@k, binding, a linear probe, and the geometry of the space.

The first half are measures on plain arrays; the second half puts a model through them on pictures it has never seen. Seen and held-out
combinations are always reported apart. Lesson 11; CLIP paper, sections 3.1 and 3.2.
"""

from collections.abc import Callable, Iterator
from functools import cache
from math import comb

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from .bundle import Bundle
from .compiling import on_cpu
from .folder import Folder
from .world import World
from .world.scene import Scenes

Similarity = Float[np.ndarray, "Q G"]  # of Q queries to G things in the gallery
ROUNDING = 5e-7  # cosines in float32 that differ by less may be equal: which one comes out larger depends on the CPU
PIXELS = 2**20  # drawn at once: 64 pictures of 128 x 128, or one of 1024 x 1024; a larger picture is drawn alone


def recall_at_k(similarity: Similarity, relevant: Bool[np.ndarray, "Q G"], k: int) -> float:
    """The share of queries with at least one relevant thing among their k nearest. Lesson 11.

    Several things may be relevant to one query. Ties (within `ROUNDING`) count as what random order among them would give on average: a
    collapsed model, for which all is equally near, gets chance, not 100 %, and so does one whose embeddings are no numbers.
    Raises `ValueError` if nothing is relevant to a query.
    """
    similarity = np.nan_to_num(similarity, nan=-1e30)  # NaN is farther than anything
    if not relevant.any(axis=1).all():
        raise ValueError("recall_at_k: every query needs at least one relevant thing in the gallery")
    best = np.where(relevant, similarity, -np.inf).max(axis=1, keepdims=True)  # (Q, 1)
    level = np.abs(similarity - best) <= ROUNDING
    above = ((similarity > best) & ~level & ~relevant).sum(1)
    ties, chances = (level & ~relevant).sum(1), (level & relevant).sum(1)
    hits = 0.0
    for above_, ties_, chances_ in zip(above.tolist(), ties.tolist(), chances.tolist(), strict=True):
        places = k - above_  # left for those that tie
        if places > 0:
            hits += 1.0 if places > ties_ else 1 - comb(ties_, places) / comb(ties_ + chances_, places)
    return hits / len(similarity)


def zero_shot_accuracy(
    image_embeddings: Float[np.ndarray, "B E"], class_embeddings: Float[np.ndarray, "C E"], true: Bool[np.ndarray, "B C"]
) -> float:
    """The share of pictures whose nearest class sentence is true of them. Lesson 11; CLIP paper, section 3.1."""
    return recall_at_k(image_embeddings @ class_embeddings.T, true, 1)


def prompt_ensemble(embeddings: Float[np.ndarray, "P C E"]) -> Float[np.ndarray, "C E"]:
    """One vector a class from P sentences for it: normalise each, take the mean, normalise again. Lesson 11; CLIP paper, section 3.1.4.

    The mean of unit vectors is shorter than 1, so the last step is not redundant. Averaged in embedding space, not over probabilities.
    """
    mean = to_unit(embeddings).mean(0)
    return to_unit(mean)


def binding_scores(similarity: Float[np.ndarray, "n 2 2"]) -> dict[str, float]:
    """Winoground's three scores (Thrush et al. 2022) from `similarity[:, picture, caption]` of two pictures and their swapped captions.

    `binding_text`: each picture prefers its caption. `binding_image`: each caption prefers its picture. `binding_group`: both. A tie is not right.
    Chance is 1/4, 1/4, 1/6. Lesson 12.
    """
    (a, b), (c, d) = similarity[:, 0].T, similarity[:, 1].T  # a: picture 0 with caption 0, b: picture 0 with caption 1, ...
    text, image = (a > b) & (d > c), (a > c) & (d > b)
    return {"binding_text": float(text.mean()), "binding_image": float(image.mean()), "binding_group": float((text & image).mean())}


def linear_probe(
    train: Float[np.ndarray, "B E"],
    labels: Int[np.ndarray, "B"],
    test: Float[np.ndarray, "b E"],
    answers: Int[np.ndarray, "b"],
    ridge: float = 1e-3,
) -> float:
    """Accuracy of the best linear reading of a label from frozen embeddings, by ridge regression to one-hot targets in closed form. Lesson 11.

    With a column of ones for the bias. `ridge` is per example: it is multiplied by their number.
    """
    x = np.concatenate([train, np.ones((len(train), 1))], axis=1).astype(np.float64)
    y = np.eye(labels.max() + 1)[labels]
    weights = np.linalg.solve(x.T @ x + ridge * len(x) * np.eye(x.shape[1]), x.T @ y)  # (E + 1, classes)
    guess = (np.concatenate([test, np.ones((len(test), 1))], axis=1) @ weights).argmax(1)
    return float((guess == answers).mean())


def modality_gap(images: Float[np.ndarray, "B E"], texts: Float[np.ndarray, "M E"]) -> float:
    """Distance between the mean picture and the mean sentence (Liang et al. 2022); 0.82 for OpenAI's CLIP on COCO. Lesson 14."""
    return float(np.linalg.norm(images.mean(0) - texts.mean(0)))


def alignment(images: Float[np.ndarray, "B E"], texts: Float[np.ndarray, "B E"]) -> float:
    """Mean squared distance within pairs, 0..4; lower is closer (Wang & Isola 2020). Lessons 01 and 14."""
    return float(((images - texts) ** 2).sum(1).mean())


def uniformity(embeddings: Float[np.ndarray, "B E"]) -> float:
    """log mean exp(-2 |x - y|²) over all different pairs; lower is more evenly spread over the sphere (Wang & Isola 2020). Lesson 14."""
    n = len(embeddings)
    kernel = np.exp(-2 * (2 - 2 * np.clip(embeddings @ embeddings.T, -1, 1)))
    return float(np.log((kernel.sum() - np.trace(kernel)) / (n * (n - 1))))


def to_unit(x: Float[np.ndarray, "*B E"]) -> Float[np.ndarray, "*B E"]:
    """Every row to length 1; a row of zeros stays zeros."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def _draw(world: World, scenes: Scenes, size: int) -> Float[Array, "B S S 3"]:
    return _program()(world, scenes, size)


@cache
def _program() -> Callable[[World, Scenes, int], Float[Array, "B S S 3"]]:
    """Drawing, compiled soon: of animals, it is most of what a first `tinyclip draw` waits for."""
    return jax.jit(lambda world, scenes, size: world.draw(scenes, size)[0], static_argnums=(0, 2), compiler_options=on_cpu(1))


def drawn(world: World, scenes: Scenes, size: int) -> Iterator[UInt8[np.ndarray, "b S S 3"]]:
    """Pictures as bytes, as they would come from a file; some at a time, in pieces of one shape that memory has room for whatever their size."""
    n, piece = len(scenes.meaning), min(max(PIXELS // size**2, 1), 256)
    for start in range(0, n, piece):
        rows = np.minimum(np.arange(start, start + piece), n - 1)
        pictures = _draw(world, Scenes(np.asarray(scenes.meaning)[rows], np.asarray(scenes.looks)[rows]), size)
        yield np.asarray(pictures * 255 + 0.5).astype(np.uint8)[: n - start]


def draw_bytes(world: World, scenes: Scenes, size: int) -> UInt8[np.ndarray, "B S S 3"]:
    """The pictures of all scenes, as bytes."""
    return np.concatenate(list(drawn(world, scenes, size)))


def zero_shot_world(bundle: Bundle, world: World, number: int = 2000, seed: int = 1) -> dict[str, float]:
    """Top-1 over all distinct canonical captions, seen and held-out ones together, on new pictures of seen and of held-out combinations.

    Where the grammar has several ways to say the same, also with each class as the ensemble of all of them.
    """
    (_, said), (held, held_said) = world.canonical(), world.canonical(held_out=True)
    said = np.concatenate([said, held_said])
    same = [text for text, _ in world.grammar.templates if (world.grammar.said(text) == world.grammar.said(world.grammar.templates[0][0])).all()]
    every = np.stack([bundle.embed_texts([world.grammar.describe(row, text) for row in said]) for text in same])  # (P, C, E)
    classes = {"zero_shot": every[0]} | ({"zero_shot_ensemble": prompt_ensemble(every)} if len(same) > 1 else {})
    scores = {}
    for suffix, held_out in (("seen", False), ("held_out", True)):
        if len(held) or not held_out:
            scenes = world.sample(jax.random.key(seed), number, "test", held_out)
            images = bundle.embed_images(draw_bytes(world, scenes, bundle.config.image.size))
            true = np.asarray(world.true_of(said, scenes.meaning))
            scores |= {f"{name}_{suffix}": zero_shot_accuracy(images, texts, true) for name, texts in classes.items()}
    return scores


def distinct_scenes(world: World, number: int, seed: int, held_out: bool = False) -> Scenes:
    """New scenes no two of which have the same canonical caption: at most `number`, fewer if the world has no more."""
    told = world.grammar.said(world.grammar.templates[0][0])
    scenes = world.sample(jax.random.key(seed), 20 * number, "test", held_out)
    said = world.one_reading(np.where(told, np.asarray(scenes.meaning), -1))
    first = np.sort(np.unique(said, axis=0, return_index=True)[1])[:number]
    return Scenes(np.asarray(scenes.meaning)[first], np.asarray(scenes.looks)[first])


def retrieval_world(bundle: Bundle, world: World, number: int = 1000, seed: int = 2, held_out: bool = False) -> dict[str, float]:
    """recall@1, 5 and 10 both ways among `number` distinct scenes and their canonical captions, and the geometry of those pairs."""
    scenes = distinct_scenes(world, number, seed, held_out)
    images = bundle.embed_images(draw_bytes(world, scenes, bundle.config.image.size))
    meanings = world.one_reading(scenes.meaning)
    texts = bundle.embed_texts([world.grammar.describe(row) for row in meanings])
    told = world.grammar.said(world.grammar.templates[0][0])
    captions, first = np.unique(np.where(told, meanings, -1), axis=0, return_index=True)
    true = np.asarray(world.true_of(captions, scenes.meaning))
    scores = recalls(images, texts[first], true, "_held_out" if held_out else "")
    return scores if held_out else scores | geometry(images, texts)


def recalls(images: Float[np.ndarray, "B E"], texts: Float[np.ndarray, "M E"], true: Bool[np.ndarray, "B M"], suffix: str = "") -> dict[str, float]:
    """recall@1, 5 and 10, pictures to captions and captions to pictures; `true[i, j]`: caption j is true of picture i."""
    scores = {}
    for k in (1, 5, 10):
        scores[f"image_to_text_recall_at_{k}{suffix}"] = recall_at_k(images @ texts.T, true, k)
        scores[f"text_to_image_recall_at_{k}{suffix}"] = recall_at_k(texts @ images.T, true.T, k)
    return scores


def geometry(images: Float[np.ndarray, "B E"], texts: Float[np.ndarray, "B E"]) -> dict[str, float]:
    """Modality gap, alignment, and the mean uniformity of both modalities, of B pairs; one pair has no uniformity."""
    spread = {"uniformity": (uniformity(images) + uniformity(texts)) / 2} if len(images) > 1 else {}
    return {"modality_gap": modality_gap(images, texts), "alignment": alignment(images, texts)} | spread


def binding_world(bundle: Bundle, world: World, number: int = 400, seed: int = 3) -> dict[str, float]:
    """Winoground's scores on new pictures of scenes and of each of their swaps; over all kinds together, and the group score of each kind."""
    scenes, totals, scores = distinct_scenes(world, number, seed), [], {}
    size, told = bundle.config.image.size, world.one_reading(scenes.meaning)
    meanings = np.asarray(world.swaps(told))  # (n, kinds, F)
    images = bundle.embed_images(draw_bytes(world, scenes, size))
    texts = bundle.embed_texts([world.grammar.describe(row) for row in told])
    for kind, name in enumerate(world.swap_names):
        swapped = world.dress(jax.random.key(seed + 1 + kind), meanings[:, kind])
        other_images = bundle.embed_images(draw_bytes(world, swapped, size))
        other_texts = bundle.embed_texts([world.grammar.describe(row) for row in meanings[:, kind]])
        similarity = np.einsum("inE,jnE->nij", np.stack([images, other_images]), np.stack([texts, other_texts]))
        totals.append(similarity)
        scores[f"binding_group_{name}"] = binding_scores(similarity)["binding_group"]
    return binding_scores(np.concatenate(totals)) | scores


def probe_world(bundle: Bundle, world: World, number: int = 2000, seed: int = 4) -> dict[str, float]:
    """Linear probes on image embeddings, one for each factor a canonical caption tells, and their mean as `linear_probe`."""
    train, test = (world.sample(jax.random.key(seed + i), number, split) for i, split in enumerate(("validation", "test")))
    x, y = (bundle.embed_images(draw_bytes(world, scenes, bundle.config.image.size)) for scenes in (train, test))
    told, accuracy = world.grammar.said(world.grammar.templates[0][0]), []
    for factor in np.flatnonzero(told):
        accuracy.append(linear_probe(x, np.asarray(train.meaning)[:, factor], y, np.asarray(test.meaning)[:, factor]))
    return {"linear_probe": float(np.mean(accuracy))}


def evaluate_world(bundle: Bundle, world: World) -> dict[str, float]:
    """All the numbers of a model on a toy world, as one flat dict. Lesson 11."""
    scores = zero_shot_world(bundle, world) | retrieval_world(bundle, world)
    if len(world.held_out):
        scores |= retrieval_world(bundle, world, held_out=True)
    if world.swaps is not None:
        scores |= binding_world(bundle, world)
    return scores | probe_world(bundle, world) | {"logit_scale": float(bundle.model.logit_scale)}


def pairs_to_ask(bundle: Bundle, folder: Folder) -> tuple[Int[np.ndarray, "n"], bool]:
    """The pairs of a folder to measure a model on, and whether they are new to it.

    Of the folder that it was trained on, those kept from training; but all of them, as of any other folder, if they are of fewer than two pictures,
    or if the folder has changed: which were kept can then not be told.
    """
    same, kept = bundle.trained_on.get("captioned") == folder.fingerprint(), folder.validation_pairs()
    few = len(set(folder.picture_of[kept].tolist())) < 2
    own = same or bundle.trained_on.get("data") == str(folder.path.resolve())
    return (kept, True) if same and not few else (np.arange(len(folder.captions)), not own)


def evaluate_folder(bundle: Bundle, folder: Folder, number: int = 1000) -> dict[str, float]:
    """Retrieval among the first `number` of the pairs that `pairs_to_ask` gives."""
    rows, captions, true = folder.told(pairs_to_ask(bundle, folder)[0][:number])
    images, texts = bundle.embed_images(np.asarray(folder.pixels[rows])), bundle.embed_texts(captions)
    return (
        recalls(images, texts, true)
        | geometry(images, texts[true.argmax(1)])
        | {"pictures": len(rows), "captions": len(captions), "logit_scale": float(bundle.model.logit_scale)}
    )
