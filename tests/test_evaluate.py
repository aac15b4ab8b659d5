"""The measures, each against a slow or a known answer; and a model that knows everything, which must score 100 %."""

import itertools
import math
import re
from dataclasses import dataclass, field
from functools import cache

import jax
import numpy as np
import pytest
from flax import nnx
from helpers import check, equals, randomised, seeded
from jaxtyping import Float
from trained import quick

from tinyclip import evaluate
from tinyclip.bundle import Bundle
from tinyclip.clip import CLIP
from tinyclip.config import CLIPConfig, ImageConfig, TextConfig
from tinyclip.folder import Folder
from tinyclip.tokenizer import WordTokenizer
from tinyclip.world import World, get_world
from tinyclip.world.scene import Scenes


def slow_recall(similarity, relevant, k):
    """The mean over all orders of the gallery, ties broken by order."""
    hits, orders = 0, list(itertools.permutations(range(similarity.shape[1])))
    for order in orders:
        for scores, true in zip(similarity, relevant, strict=True):
            best = sorted(order, key=lambda j, scores=scores: -scores[j])[:k]  # stable: ties stay in this order
            hits += any(true[j] for j in best)
    return hits / len(orders) / len(similarity)


def recall(similarity, relevant, k):
    return np.float64(evaluate.recall_at_k(similarity.astype(np.float32), relevant, k))


@pytest.mark.exercise("11.2")
def test_recall_counts_queries_whose_own_is_among_the_k_nearest():
    rng = seeded(1)
    ranks = [0, 0, 1, 2, 4, 4]  # how many wrong ones lie above the right one, of each query
    similarity = np.stack([rng.permutation(6) for _ in ranks]) + 0.5
    relevant = np.stack([row == 5.5 - rank for row, rank in zip(similarity, ranks, strict=True)])
    for k, want in ((1, 2), (2, 3), (4, 4), (5, 6)):
        hint = f"the right ones come 1st, 1st, 2nd, 3rd, 5th and 5th: {want} of 6 are among the first {k}"
        check(f"recall_at_k with k = {k} of 6 queries, one thing relevant to each", recall(similarity, relevant, k), want / 6, 1e-9, hint)


@pytest.mark.exercise("11.2")
def test_recall_asks_for_one_of_several_relevant_things():
    similarity = np.tile(np.arange(5.0)[::-1], (3, 1))
    relevant = np.array([[1, 1, 0, 1, 0], [0, 1, 0, 0, 1], [0, 0, 0, 1, 1]], bool)
    turn = seeded(2).permutation(5)
    for k, want in ((1, 1), (2, 2), (3, 2), (4, 3)):
        hint = f"the first relevant ones come 1st, 2nd and 4th: {want} of 3 queries have one among the first {k}"
        check(f"recall_at_k with k = {k}, several things relevant", recall(similarity[:, turn], relevant[:, turn], k), want / 3, 1e-9, hint)


@pytest.mark.exercise("11.2")
def test_a_collapsed_model_gets_chance():
    for k in (1, 5, 10):
        found = recall(np.full((20, 20), seeded(3).normal()), np.eye(20, dtype=bool), k)
        check(f"recall_at_k with k = {k} among 20 things, all similarities equal", found, k / 20, 1e-9, f"by luck {k} of 20 queries find their own")


@pytest.mark.exercise("11.2")
def test_a_model_whose_numbers_are_none_gets_chance():
    for k in (1, 5):
        found = recall(np.full((20, 20), np.nan), np.eye(20, dtype=bool), k)
        check(f"recall_at_k with k = {k} of similarities that are NaN", found, k / 20, 1e-9, "NaN is farther than anything, and ties with itself")
    one = np.eye(4)
    one[0, 0] = np.nan
    check("recall_at_k where one similarity is NaN", recall(one, np.eye(4, dtype=bool), 1), 0.75, 1e-9, "what is no number is near to nothing")


@pytest.mark.exercise("11.2")
def test_what_differs_by_rounding_alone_ties():
    rng = seeded(5)
    similarity, relevant = rng.uniform(-1, 1, (20, 1)) + rng.uniform(-1e-7, 1e-7, (20, 20)), np.eye(20, dtype=bool)
    for k in (1, 5):
        found, hint = recall(similarity, relevant, k), "what differs by no more than ROUNDING ties"
        check(f"recall_at_k with k = {k} of a collapsed model on a CPU that rounds", found, k / 20, 1e-9, hint)
    apart = np.array([[0.5, 0.5 - 2e-6]])
    for first, want in ((0, 1), (1, 0)):
        found = recall(apart, np.arange(2)[None] == first, 1)
        check("recall_at_k of two that are 2e-6 apart", found, np.float64(want), 1e-9, "more than rounding is no tie")


@pytest.mark.parametrize("k", [1, pytest.param(2, marks=pytest.mark.exercise("11.2")), pytest.param(3, marks=pytest.mark.exercise("11.2")), 5, 6, 9])
@pytest.mark.parametrize("seed", [0, 1])
def test_recall_is_what_random_order_among_ties_gives_on_average(k, seed):
    rng = seeded(4 + seed)
    similarity = rng.integers(0, 3, (7, 5))  # many ties
    relevant = rng.random((7, 5)) < 0.4
    relevant[np.arange(7), rng.integers(0, 5, 7)] = True
    want = slow_recall(similarity, relevant, k)
    found = recall(similarity, relevant, k)
    check(f"recall_at_k with k = {k} where similarities tie", found, want, 1e-9, "the mean over all 120 orders of the 5 things")


@pytest.mark.exercise("11.2")
def test_a_query_without_an_answer_is_refused():
    relevant = np.eye(3, dtype=bool)
    relevant[1] = False
    raised = "nothing"
    try:
        evaluate.recall_at_k(np.eye(3, dtype=np.float32), relevant, 1)
    except ValueError:
        raised = "ValueError"
    equals("what recall_at_k raises where nothing is relevant to a query", raised, "ValueError", "there is nothing that could be found")


def test_zero_shot_counts_pictures_whose_nearest_class_is_true():
    classes = np.eye(3, dtype=np.float32)
    images = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    true = np.array([[1, 0, 0], [0, 1, 1], [1, 0, 1], [0, 0, 1]], bool)
    found = evaluate.zero_shot_accuracy(images, classes, true)
    assert found == 0.75, f"three of four pictures have a true nearest class, got {found}"


def test_both_ways_of_retrieval_are_told_apart():
    images = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    texts = np.array([[1, 0], [0, 1]], np.float32)
    true = np.array([[1, 0], [0, 1], [0, 1]], bool)
    scores = evaluate.recalls(images, texts, true, "_x")
    assert scores["image_to_text_recall_at_1_x"] == pytest.approx(2 / 3), f"two of three pictures find their caption first, got {scores}"
    assert scores["text_to_image_recall_at_1_x"] == 1, f"both captions find a picture of theirs first, got {scores}"
    assert scores["image_to_text_recall_at_5_x"] == 1, f"among two captions everything is within the first 5, got {scores}"


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.exercise("11.1")
def test_an_ensemble_of_one_sentence_a_class_is_that_sentence_normalised():
    sentence = np.array([[[3.0, 4.0, 0.0], [0.0, 0.0, -0.2]]])
    want = np.array([[0.6, 0.8, 0.0], [0.0, 0.0, -1.0]])
    check("prompt_ensemble of (3, 4, 0) and (0, 0, -0.2), one sentence for each of 2 classes", evaluate.prompt_ensemble(sentence), want, 1e-9)


@pytest.mark.exercise("11.1")
def test_prompts_are_normalised_then_averaged_then_normalised():
    rng = seeded(6)
    prompts = rng.normal(size=(4, 3, 5)) * rng.uniform(0.1, 9, (4, 3, 1))
    kept, want = prompts.copy(), np.zeros((3, 5))
    for c in range(3):
        total = np.zeros(5)
        for p in range(4):
            total += prompts[p, c] / math.sqrt((prompts[p, c] ** 2).sum())
        want[c] = total / math.sqrt((total**2).sum())
    got = evaluate.prompt_ensemble(prompts)
    check("prompt_ensemble of 4 sentences for each of 3 classes", got, want, 1e-9, "every sentence counts alike, and every class has length 1")
    check("the embeddings given to prompt_ensemble, afterwards", prompts, kept, 0, "it returns a new array")
    opposite = evaluate.prompt_ensemble(np.array([[[3.0, 0.0]], [[-0.5, 0.0]]]))
    check("prompt_ensemble of two opposite sentences", opposite, np.zeros((1, 2)), 1e-5, "they leave no direction, and no NaN either")


def test_leaving_out_a_normalisation_would_change_the_winner():
    # Class 0 has one long sentence far from the picture; class 1 has two that agree. Without the first step the long one wins the mean.
    picture = np.array([1.0, 0.0])
    prompts = np.array([[[9.0, 12.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]])
    scores = evaluate.prompt_ensemble(prompts) @ picture
    assert scores.argmax() == 0, f"class 0 should win, got {scores}: is each sentence normalised first?"
    assert (unit(prompts.mean(0)) @ picture).argmax() == 1, "the case should be one in which the first step decides"
    # Class 0 points at the picture but its sentences disagree, so their mean is short; class 1 is a little off but agrees.
    prompts = np.array([[[1.0, 2.0], [1.0, 0.8]], [[1.0, -2.0], [1.0, 0.8]]])
    scores = evaluate.prompt_ensemble(prompts) @ picture
    assert scores.argmax() == 0, f"class 0 should win, got {scores}: is the mean normalised again?"
    assert (unit(prompts).mean(0) @ picture).argmax() == 1, "the case should be one in which the last step decides"


# similarity[picture, caption]; the diagonal is right
BINDING = {
    "all right": ([[3, 1], [1, 3]], (1, 1, 1)),
    "pictures choose right, captions do not": ([[5, 4], [1, 2]], (1, 0, 0)),
    "captions choose right, pictures do not": ([[5, 1], [4, 2]], (0, 1, 0)),
    "all wrong": ([[1, 3], [3, 1]], (0, 0, 0)),
    "all tie": ([[2, 2], [2, 2]], (0, 0, 0)),
    "one picture cannot decide": ([[2, 2], [1, 3]], (0, 1, 0)),
    "the other picture cannot decide": ([[3, 1], [2, 2]], (0, 1, 0)),
    "one caption cannot decide": ([[2, 1], [2, 3]], (1, 0, 0)),
    "the other caption cannot decide": ([[3, 2], [1, 2]], (1, 0, 0)),
}


@pytest.mark.parametrize("case", BINDING)
def test_binding_is_scored_as_winoground_does(case):
    similarity, wanted = BINDING[case]
    found = evaluate.binding_scores(np.array([similarity], float))
    got = tuple(found[f"binding_{kind}"] for kind in ("text", "image", "group"))
    assert got == wanted, f"{case}: want text, image, group {wanted}, got {got}"


def test_binding_of_random_numbers_is_at_chance():
    found = evaluate.binding_scores(np.random.default_rng(0).normal(size=(40_000, 2, 2)))
    for kind, chance in (("text", 1 / 4), ("image", 1 / 4), ("group", 1 / 6)):
        value = found[f"binding_{kind}"]
        assert abs(value - chance) < 0.012, f"binding_{kind} of random numbers should be {chance:.3f}, got {value:.3f}"


def test_a_linear_probe_reads_what_can_be_read_and_no_more():
    rng = np.random.default_rng(0)
    centres = np.array([[3, 0, 0], [0, 3, 0], [-3, 0, 1], [0, -3, 1]], float)
    labels, answers = rng.integers(0, 4, 300), rng.integers(0, 4, 200)
    x, y = (centres[of] + 0.2 * rng.normal(size=(len(of), 3)) for of in (labels, answers))
    found = evaluate.linear_probe(x, labels, y, answers)
    assert found == 1.0, f"separate clusters should be read without a mistake, got {found}"
    noise = evaluate.linear_probe(rng.normal(size=(300, 3)), labels, rng.normal(size=(200, 3)), answers)
    assert 0.12 < noise < 0.38, f"noise tells nothing about 4 labels: want about 0.25, got {noise}"
    shifted = evaluate.linear_probe(x + 7, labels, y + 7, answers)
    assert shifted == 1.0, f"the probe should have a bias, so that a shift of all points does not matter, got {shifted}"


@pytest.mark.exercise("11.4")
def test_the_probe_gives_the_share_of_right_answers():
    """Four clusters, and every fourth answer is a wrong one; far from the origin, so that the boundaries need a bias."""
    rng = seeded(7)
    centres = 100 + 3 * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
    labels = np.arange(40) % 4
    train, test = ((centres[labels] + 0.2 * rng.normal(size=(40, 3))).astype(np.float32) for _ in range(2))
    answers = np.where(np.arange(40) < 10, (labels + 1) % 4, labels)
    found = np.float64(evaluate.linear_probe(train, labels, test, answers, ridge=1e-9))
    hint = "every guess can be right, but 10 of 40 answers are not those of the clusters"
    check("linear_probe of 4 separate clusters around 100", found, 0.75, 1e-9, hint)


@pytest.mark.exercise("11.4")
@pytest.mark.parametrize("ridge", [1e-9, 1.0])
def test_the_probe_is_least_squares_with_a_ridge(ridge):
    """Classes of one size and numbers that sum to 0 in each column: so it does not matter whether the ridge falls on the bias too."""
    rng = seeded(8)
    x, labels, y = rng.normal(size=(90, 4)) * [0.3, 1, 2, 4], np.arange(90) % 3, rng.normal(size=(4000, 4))
    x[:, 0] += labels
    x -= x.mean(0)
    ones = np.concatenate([x, np.ones((90, 1))], 1)
    rows = np.concatenate([ones, np.sqrt(ridge * 90) * np.eye(5)])
    weights = np.linalg.lstsq(rows, np.concatenate([np.eye(3)[labels], np.zeros((5, 3))]), rcond=None)[0]
    answers = (np.concatenate([y, np.ones((4000, 1))], 1) @ weights).argmax(1)
    found = np.float64(evaluate.linear_probe(x, labels, y, answers, ridge=ridge))
    hint = "least squares towards rows of the identity, with ridge · n on the diagonal, n the number of training vectors"
    check(f"the share of 4000 guesses of linear_probe that are those of np.linalg.lstsq, ridge {ridge:g}", found, 1.0, 2e-3, hint)


@pytest.mark.exercise("11.4")
def test_the_probe_can_learn_from_fewer_vectors_than_numbers():
    rng = seeded(9)
    labels, directions = np.array([0, 2, 1, 2]), np.linalg.qr(rng.normal(size=(9, 9)))[0]
    train, test = directions[:4], directions[[2, 0, 3, 1]] + directions[4:8]
    found = np.float64(evaluate.linear_probe(train, labels, test, labels[[2, 0, 3, 1]]))
    check("linear_probe from 4 vectors of 9 numbers", found, 1.0, 1e-9, "the ridge decides among the many ways to fit them")


def test_the_modality_gap_is_the_distance_of_the_means():
    images, texts = np.array([[3.0, 0], [3, 2]]), np.array([[0.0, 5], [0, 5], [0, 5]])
    found = evaluate.modality_gap(images, texts)
    assert found == pytest.approx(5), f"the means (3, 1) and (0, 5) are 5 apart, got {found}"


def test_alignment_is_the_mean_squared_distance_of_pairs():
    points = unit(np.random.default_rng(0).normal(size=(6, 3)))
    same, opposite = evaluate.alignment(points, points), evaluate.alignment(points, -points)
    assert same == 0 and opposite == pytest.approx(4), f"equal pairs are 0 apart and opposite ones 4, got {same} and {opposite}"
    right = evaluate.alignment(np.eye(2), np.eye(2)[::-1].copy())
    assert right == pytest.approx(2), f"pairs at right angles are 2 apart (squared), got {right}"


@pytest.mark.exercise("1.2")
def test_alignment_is_the_mean_of_the_squared_distances():
    rng = seeded(12)
    images, texts = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.normal(size=(2, 5, 3)))
    apart = [sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for x, y in zip(images.tolist(), texts.tolist(), strict=True)]
    check("alignment of 5 pairs", evaluate.alignment(images, texts), sum(apart) / 5, 1e-9, "the mean of 5 squared distances, each 2 - 2 cosine")
    check("alignment of opposite pairs", evaluate.alignment(images, -images), 4.0, 1e-9, "opposite points of the sphere are 2 apart")
    equals("the kind of number that alignment returns is", type(evaluate.alignment(images, texts)).__name__, "float")


def test_uniformity_of_known_points():
    same = evaluate.uniformity(np.tile([[0.6, 0.8]], (5, 1)))
    assert same == pytest.approx(0), f"points in one place have uniformity 0, got {same}"
    antipodes = evaluate.uniformity(np.array([[1.0, 0], [-1, 0]]))
    assert antipodes == pytest.approx(-8), f"two opposite points have log exp(-2 * 4) = -8, got {antipodes}: do pairs with themselves count?"
    axes = evaluate.uniformity(np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]]))
    wanted = math.log((math.exp(-8) + 2 * math.exp(-4)) / 3)
    assert axes == pytest.approx(wanted), f"four points on the axes have {wanted:.4f}, got {axes:.4f}"


def vector(row):
    """A unit vector of its own for every meaning."""
    return _vector(tuple(row.tolist()))


@cache
def _vector(row):
    return unit(np.random.default_rng([value + 1 for value in row]).normal(size=24)).astype(np.float32)


@cache
def patterns(world):
    """Every template as a regular expression; the grammar's own parser is too slow for ten thousand sentences."""
    found = []
    for template, _ in world.grammar.templates:
        parts, usual = [], {}
        for piece in world.grammar.pieces(template):
            if isinstance(piece, str):
                parts.append(piece)
            else:
                usual[piece.column] = {ways[0]: value for value, ways in enumerate(piece.phrases)}
                parts.append(f"(?P<f{piece.column}>{'|'.join(sorted(usual[piece.column], key=len, reverse=True))})")
        found.append((re.compile(" ".join(parts)), usual))
    return found


def understand(world, sentence):
    """The meaning of a sentence in its usual words, -1 for what it leaves open."""
    for pattern, usual in patterns(world):
        match = pattern.fullmatch(sentence)
        if match:
            meaning = np.full(world.grammar.factors, -1)
            for column, values in usual.items():
                meaning[column] = values[match[f"f{column}"]]
            return meaning
    raise AssertionError(f"{sentence!r} is no sentence of {world.name} in its usual words")


@dataclass(frozen=True)
class Oracle(Bundle):
    """A model that knows everything: with `draw_bytes` replaced, a picture's first bytes are its meaning."""

    world: World = field(default=None)
    confused: bool = False  # an oracle that tells no picture from another

    def told(self, meanings):
        told = self.world.grammar.said(self.world.grammar.templates[0][0])
        return self.world.one_reading(np.where(told, meanings, -1))

    def embed_images(self, images: np.ndarray) -> Float[np.ndarray, "B E"]:
        meanings = np.asarray(images).reshape(len(images), -1)[:, : self.world.grammar.factors].astype(int)
        return np.stack([vector(row * (not self.confused)) for row in self.told(meanings)])

    def embed_texts(self, sentences: list[str]) -> Float[np.ndarray, "B E"]:
        return np.stack([vector(row) for row in self.told(np.array([understand(self.world, sentence) for sentence in sentences]))])


def model_of(context, embed=24):
    text = TextConfig(vocab=context, context=context, end_token=context - 1, width=6, depth=1, heads=2, mlp=8)
    config = CLIPConfig(ImageConfig(size=8, patch=4, width=6, depth=1, heads=2, mlp=8), text, embed=embed)
    return randomised(lambda: CLIP(config, rngs=nnx.Rngs(0)))


@pytest.fixture
def oracle(monkeypatch):
    drawn = []

    def draw_meanings(world, scenes, size):
        meaning = np.asarray(scenes.meaning)
        drawn.append(scenes)
        pixels = np.zeros((len(meaning), size * size * 3), np.uint8)
        pixels[:, : meaning.shape[1]] = meaning
        return pixels.reshape(len(meaning), size, size, 3)

    monkeypatch.setattr(evaluate, "draw_bytes", draw_meanings)

    def make(name, confused=False):
        world = get_world(name)
        return Oracle(model_of(9), world.tokenizer(), world=world, confused=confused), world, drawn

    return make


COMMON = {f"{way}_recall_at_{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)} | {
    "zero_shot_seen", "modality_gap", "alignment", "uniformity", "linear_probe", "logit_scale",
}  # fmt: skip
HELD_OUT = {f"{way}_recall_at_{k}_held_out" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)} | {"zero_shot_held_out"}
BINDS = {"binding_text", "binding_image", "binding_group", *(f"binding_group_{kind}" for kind in ("colours", "shapes", "things"))}
ENSEMBLE = {"zero_shot_ensemble_seen", "zero_shot_ensemble_held_out"}
LARGE = COMMON | HELD_OUT | ENSEMBLE
KEYS = {"sixteen": COMMON, "single": LARGE, "animals": LARGE, "pairs": LARGE | BINDS}


@pytest.mark.parametrize("name", [name if name == "sixteen" else pytest.param(name, marks=pytest.mark.slow) for name in KEYS])
def test_a_model_that_knows_everything_scores_100_percent_in_every_number_a_world_has(oracle, name):
    bundle, world, drawn = oracle(name)
    with quick():
        scores = evaluate.evaluate_world(bundle, world)
    assert set(scores) == KEYS[name], f"{name}: keys missing {KEYS[name] - set(scores)}, beyond {set(scores) - KEYS[name]}"
    for key, value in scores.items():
        assert type(value) is float and math.isfinite(value), f"{name}: {key} should be a plain finite float, got {value!r}"
        if any(word in key for word in ("zero_shot", "recall", "binding")):
            assert value == 1.0, f"{name}: {key} of a model that knows everything should be 1, got {value}"
    assert scores["alignment"] == 0 and scores["modality_gap"] < 1e-6, f"{name}: pictures and captions coincide here, got {scores['alignment']}"
    assert scores["logit_scale"] == pytest.approx(float(bundle.model.logit_scale)), f"{name}: logit_scale should be the exponentiated one"
    backdrops = [np.asarray(scenes.looks)[:, 0] for scenes in drawn]
    share = np.concatenate([backdrops[i] for i in range(len(backdrops)) if i != len(backdrops) - 2])  # but the probe's own training pictures
    assert share.min() >= 228, f"{name}: every picture tested on should have a backdrop of the test split, got number {share.min()}"


def test_a_model_that_tells_nothing_apart_is_at_chance_in_every_number(oracle):
    bundle, world, _ = oracle("pairs", confused=True)
    with quick():
        scores = evaluate.evaluate_world(bundle, world)
    for key, value in scores.items():
        if any(word in key for word in ("zero_shot", "recall", "binding")):
            assert value < 0.08, f"{key} of a model for which all pictures are equal should be near 0, got {value}"


@pytest.mark.parametrize(("name", "held_out"), [("single", False), ("single", True), ("pairs", False), ("pairs", True), ("sixteen", False)])
def test_distinct_scenes_are_distinct_new_and_of_the_share_asked_for(name, held_out):
    world = get_world(name)
    with quick():
        scenes = evaluate.distinct_scenes(world, 60, 5, held_out)
    told = world.grammar.said(world.grammar.templates[0][0])
    said = {tuple(row) for row in world.one_reading(np.where(told, scenes.meaning, -1)).tolist()}
    least = {"sixteen": 16, "single": 16 if held_out else 60, "pairs": 60}[name]
    assert least <= len(scenes.meaning) <= 60, f"{name}: want {least} scenes, got {len(scenes.meaning)}"
    assert len(said) == len(scenes.meaning), f"{name}: {len(scenes.meaning)} scenes have only {len(said)} different canonical captions"
    assert scenes.looks[:, 0].min() >= 228, f"{name}: scenes should come from the test split, but one has backdrop {scenes.looks[:, 0].min()}"
    share = {tuple(row) for row in (world.held_out if held_out else world.seen).tolist()}
    assert {tuple(row) for row in scenes.meaning.tolist()} <= share, f"{name}: scenes should be {'held-out' if held_out else 'seen'} ones"


def test_pictures_drawn_in_pieces_are_those_drawn_one_by_one(monkeypatch):
    monkeypatch.setattr(evaluate, "PIXELS", 50 * 16**2)
    world = get_world("sixteen")
    with quick():
        scenes = world.sample(jax.random.key(0), 53, "test")
        together = evaluate.draw_bytes(world, scenes, 16)
        pick = jax.numpy.array([0, 3, 49, 50, 52])
        some = np.asarray(world.draw(jax.tree.map(lambda x: x[pick], scenes), 16)[0])
    assert together.shape == (53, 16, 16, 3) and together.dtype == np.uint8, f"want 53 pictures of bytes, got {together.shape}"
    off = np.abs(together[np.asarray(pick)] - some * 255).max()
    assert off < 0.51, f"each picture should be its own scene, in bytes rounded to the nearest; the largest difference is {off}"


@pytest.mark.parametrize(("size", "number", "pieces"), [(16, 300, [256, 44]), (512, 6, [4, 2]), (2048, 2, [1, 1])])
def test_however_large_pictures_are_drawing_them_takes_no_more_memory(size, number, pieces, monkeypatch):
    drawn = []

    def draw(world, scenes, size):
        drawn.append(len(scenes.meaning))
        return np.zeros((len(scenes.meaning), size, size, 3), np.float32)

    monkeypatch.setattr(evaluate, "_draw", draw)
    world = get_world("sixteen")
    scenes = Scenes(np.resize(world.seen, (number, 5)), np.zeros((number, world.looks), int))
    got = [len(part) for part in evaluate.drawn(world, scenes, size)]
    assert got == pieces, f"{number} pictures of {size} x {size} should come in pieces of {pieces}, but come in {got}"
    assert len(set(drawn)) == 1, f"pieces of several shapes are as many programs to compile: {drawn}"
    most = max(drawn) * size**2
    assert most <= max(evaluate.PIXELS, size**2), f"{most:,} pixels of {size} x {size} are drawn at once, more than the {evaluate.PIXELS:,} of PIXELS"


@dataclass(frozen=True)
class Reader(Bundle):
    """Reads a picture's first byte as an index, and a caption as a number: caption n is at picture n // 10."""

    def embed_images(self, images: np.ndarray) -> Float[np.ndarray, "B E"]:
        return np.eye(24, dtype=np.float32)[images[:, 0, 0, 0]]

    def embed_texts(self, sentences: list[str]) -> Float[np.ndarray, "B E"]:
        return np.eye(24, dtype=np.float32)[[int(sentence) // 10 for sentence in sentences]]


def test_a_probe_is_scored_on_pictures_that_it_was_not_fitted_to(monkeypatch):
    world, drawn, asked = get_world("sixteen"), [], []

    def sample(world, key, number, split="train", held_out=False):
        drawn.append(split)
        rows = np.arange(number) % len(world.seen)
        return Scenes(world.seen[rows], np.zeros((number, world.looks), np.int32))

    class LearnedByHeart(Reader):
        def embed_images(self, images: np.ndarray) -> Float[np.ndarray, "B E"]:
            asked.append(len(images))
            told = np.eye(16, dtype=np.float32)[world.seen[np.arange(len(images)) % len(world.seen)][:, 1:3] @ [4, 1]]
            return told if len(asked) == 1 else 0 * told  # of the pictures that it is fitted to it knows all, of others nothing

    monkeypatch.setattr(World, "sample", sample)
    monkeypatch.setattr(evaluate, "draw_bytes", lambda world, scenes, size: np.zeros((len(scenes.meaning), 1, 1, 3), np.uint8))
    scores = evaluate.probe_world(LearnedByHeart(model_of(9), WordTokenizer(["a"], 9)), world, number=1600)
    assert drawn == ["validation", "test"], f"a probe is fitted to validation pictures and scored on test pictures, got {drawn}"
    assert scores["linear_probe"] < 0.3, f"who knows nothing of new pictures names a colour of 4 by luck, but scores {scores['linear_probe']:.2f}"


def test_a_folder_is_tested_on_what_was_kept_from_training_and_all_captions_count(tmp_path):
    pixels = np.zeros((20, 8, 8, 3), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(20)
    pixels = np.ascontiguousarray(pixels)
    picture_of = np.array([*range(20), 9, 19, 3])
    captions = [*(str(10 * i) for i in range(20)), "91", "191", "31"]
    folder = Folder(tmp_path, [f"{i}.png" for i in range(20)], pixels, picture_of, captions, [])
    tokenizer = WordTokenizer(["a"], 9)
    elsewhere = evaluate.evaluate_folder(Reader(model_of(9), tokenizer), folder)
    here = evaluate.evaluate_folder(Reader(model_of(9), tokenizer, "m", {"captioned": folder.fingerprint()}), folder)
    assert (elsewhere["pictures"], elsewhere["captions"]) == (20, 23), f"a folder it was not trained on is used whole, got {elsewhere}"
    assert (here["pictures"], here["captions"]) == (2, 4), f"of its own folder only what was kept from training counts, got {here}"
    for scores in (elsewhere, here):
        wrong = {key: value for key, value in scores.items() if "recall" in key and value != 1}
        assert not wrong, f"a model that reads every picture should have recall 1, got {wrong}: are all captions of a picture right?"
        assert scores["alignment"] == 0, f"each picture should be beside its own caption, got {scores['alignment']}"
        assert all(type(value) in (int, float) for value in scores.values()), f"want plain numbers, got {scores}"


def test_equal_captions_in_a_folder_are_right_for_each_of_their_pictures(tmp_path):
    pixels = np.zeros((3, 8, 8, 3), np.uint8)
    pixels[:, 0, 0, 0] = (0, 1, 0)
    folder = Folder(tmp_path, ["a", "b", "c"], pixels, np.arange(3), ["0", "10", "0"], [])
    scores = evaluate.evaluate_folder(Reader(model_of(9), WordTokenizer(["a"], 9)), folder)
    assert scores["text_to_image_recall_at_1"] == 1 and scores["image_to_text_recall_at_1"] == 1, f"equal captions should be one, got {scores}"
    assert scores["captions"] == 2, f"two different captions, got {scores['captions']}"


def test_one_picture_has_no_uniformity_and_a_small_folder_of_its_own_is_not_called_new(tmp_path):
    pixels = np.zeros((12, 8, 8, 3), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(12)
    names, said = [f"{i}.png" for i in range(12)], [str(10 * i) for i in range(12)]
    one = evaluate.evaluate_folder(Reader(model_of(9), WordTokenizer(["a"], 9)), Folder(tmp_path, names[:1], pixels[:1], np.arange(1), said[:1], []))
    assert "uniformity" not in one and not any(np.isnan(list(one.values()))), f"one picture has no spread: leave uniformity out, got {one}"
    folder = Folder(tmp_path, names, pixels, np.arange(12), said, [])
    for trained_on, wanted in (({}, True), ({"data": str(tmp_path.resolve())}, False)):
        pairs, new = evaluate.pairs_to_ask(Reader(model_of(9), WordTokenizer(["a"], 9), "m", trained_on), folder)
        assert len(pairs) == 12 and new is wanted, f"trained on {trained_on or 'something else'}: want 12, new: {wanted}; got {len(pairs)}, {new}"


def test_of_a_folder_that_changed_since_nothing_is_called_new(tmp_path):
    """Every tenth picture is kept from training: one picture less, and others are every tenth."""
    names, said = [f"{i}.png" for i in range(40)], ["a"] * 40

    def asked(first, path=tmp_path):
        folder = Folder(path, names[first:], np.zeros((40 - first, 8, 8, 3), np.uint8), np.arange(40 - first), said[first:], [])
        pairs, new = evaluate.pairs_to_ask(Reader(model_of(9), WordTokenizer(["a"], 9), "m", trained_on), folder)
        return [folder.files[folder.picture_of[pair]] for pair in pairs], new

    whole = Folder(tmp_path, names, np.zeros((40, 8, 8, 3), np.uint8), np.arange(40), said, [])
    trained_on = {"data": str(tmp_path.resolve()), "captioned": whole.fingerprint()}
    kept = [f"{i}.png" for i in (9, 19, 29, 39)]
    assert asked(0) == (kept, True), f"of the folder it was trained on, {kept} are new, got {asked(0)}"
    assert asked(0, tmp_path / "moved") == (kept, True), f"elsewhere they are the same pictures, got {asked(0, tmp_path / 'moved')}"
    assert asked(1) == (names[1:], False), f"with a picture less, the others are no longer known to be new, got {asked(1)}"
