"""Nearest neighbours, exactly; and probabilities over captions."""

import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from flax import nnx
from helpers import check, equals, randomised, seeded
from jaxtyping import Float

from tinyclip import search
from tinyclip.bundle import Bundle
from tinyclip.clip import CLIP
from tinyclip.config import CLIPConfig, ImageConfig, TextConfig
from tinyclip.tokenizer import WordTokenizer


def slow(query, gallery, k):
    scores = gallery @ query
    order = sorted(range(len(gallery)), key=lambda row: (-scores[row], row))[:k]
    return np.array(order, int), scores[order]


def check_nearest(what, query, gallery, k, hint=""):
    found = search.nearest(query, gallery, k)
    assert isinstance(found, tuple) and len(found) == 2, "nearest should return two arrays: the rows, and their products"
    wanted, scores = slow(query, gallery, k)
    equals(f"rows of nearest, {what}", np.asarray(found[0]).tolist(), wanted.tolist(), hint)
    check(f"rows of nearest, {what}", found[0], wanted, 0)
    check(f"products of nearest, {what}", found[1], scores, 1e-5, "each stands beside its row")


@pytest.mark.exercise("11.3")
def test_the_nearest_come_best_first_with_their_products():
    rng = seeded(1)
    query, gallery = rng.normal(size=3).astype(np.float32), (rng.normal(size=(20, 3)) * rng.uniform(0.2, 5, (20, 1))).astype(np.float32)
    check_nearest("the 4 best of 20", query, gallery, 4, "the largest product first; rows are not normalised")
    check_nearest("k = 25 of 20 rows", query, gallery, 25, "a k larger than the gallery gives all of it")


@pytest.mark.exercise("11.3")
def test_among_ties_the_lower_index_comes_first(monkeypatch):
    monkeypatch.setattr(search, "BLOCK", 7)
    rng = seeded(2)
    gallery = rng.integers(-1, 2, (30, 2)).astype(np.float32)
    query = np.array([1, 2], np.float32)
    check_nearest("30 rows with many ties, BLOCK 7, k = 5", query, gallery, 5, "ties go to the lower index")
    check_nearest("30 equal rows, BLOCK 7, k = 12", query, np.ones((30, 2), np.float32), 12, "ties go to the lower index")
    monkeypatch.setattr(search, "BLOCK", 1000)
    check_nearest("900 equal rows, BLOCK 1000, k = 5", query, np.ones((900, 2), np.float32), 5, "ties go to the lower index, also within a piece")


@pytest.mark.exercise("11.3")
def test_the_pieces_together_are_the_whole(monkeypatch):
    monkeypatch.setattr(search, "BLOCK", 7)
    rng = seeded(3)
    query, gallery = rng.normal(size=3).astype(np.float32), rng.normal(size=(30, 3)).astype(np.float32)
    gallery = gallery[np.argsort(gallery @ query)[::-1]]  # the best ones all lie in the first piece
    for k in (3, 10):
        check_nearest(f"BLOCK 7, the best of 30 rows first, k = {k}", query, gallery, k, "the same as without pieces")
        check_nearest(f"BLOCK 7, the best of 30 rows last, k = {k}", query, gallery[::-1].copy(), k, "the same as without pieces")


@pytest.mark.exercise("11.3")
def test_memory_stays_small_however_large_the_gallery(monkeypatch):
    monkeypatch.setattr(search, "BLOCK", 1000)
    rng = seeded(4)
    query, gallery = rng.normal(size=2).astype(np.float32), rng.normal(size=(400_000, 2)).astype(np.float32)
    tracemalloc.start()
    search.nearest(query, gallery, 4)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 800_000, "nearest with BLOCK = 1000 takes the memory of more than 200,000 scores at once: only the best are needed of each piece"


@pytest.mark.parametrize("block", [1, 3, 7, 50, 65_536])
@pytest.mark.parametrize("k", [1, 4, 17, 50, 51])
def test_the_nearest_are_those_of_a_full_sort_ties_by_lower_index(monkeypatch, block, k):
    monkeypatch.setattr(search, "BLOCK", block)
    rng = np.random.default_rng(block * 100 + k)
    for gallery in (rng.integers(-1, 2, (50, 3)).astype(np.float32), rng.normal(size=(50, 3)).astype(np.float32), np.ones((50, 3), np.float32)):
        query = np.array([1, 2, -1], np.float32)
        rows, scores = search.nearest(query, gallery, k)
        wanted, wanted_scores = slow(query, gallery, k)
        assert rows.tolist() == wanted.tolist(), f"block {block}, k {k}: want rows {wanted.tolist()}, got {rows.tolist()}: ties go to the lower index"
        check("the scores", scores, wanted_scores, 1e-6)


def test_more_than_the_gallery_gives_the_whole_gallery():
    gallery = np.eye(3, dtype=np.float32)
    rows, scores = search.nearest(np.array([1, 3, 2], np.float32), gallery, 99)
    assert rows.tolist() == [1, 2, 0], f"all three rows should come, best first, got {rows.tolist()}"
    assert scores.tolist() == [3, 2, 1], f"scores should belong to their rows, got {scores.tolist()}"


def test_a_gallery_on_disk_is_searched_a_block_at_a_time(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    gallery = np.lib.format.open_memmap(tmp_path / "g.npy", "w+", np.float32, (40, 5))
    gallery[:] = rng.normal(size=(40, 5))
    largest = []

    class Watched(np.memmap):
        def __getitem__(self, key):
            if isinstance(key, slice):
                largest.append(len(range(*key.indices(len(self)))))
            return np.asarray(super().__getitem__(key))

    monkeypatch.setattr(search, "BLOCK", 9)
    query = rng.normal(size=5).astype(np.float32)
    rows, _ = search.nearest(query, gallery.view(Watched), 6)
    assert rows.tolist() == slow(query, np.asarray(gallery), 6)[0].tolist(), "a memory-mapped gallery should give the same rows"
    assert largest and max(largest) == 9, f"at most 9 rows should be read at once, got {largest}"


@dataclass(frozen=True)
class Fixed(Bundle):
    """A bundle whose sentences have known embeddings."""

    def embed_texts(self, sentences: list[str]) -> Float[np.ndarray, "B E"]:
        at = {"right": [1, 0], "wrong": [-1, 0], "beside": [0, 1]}
        return np.array([at[sentence] for sentence in sentences], np.float32)


def bundle(loss):
    text = TextConfig(vocab=7, context=5, end_token=6, width=6, depth=1, heads=2, mlp=8)
    config = CLIPConfig(ImageConfig(size=8, patch=4, width=6, depth=1, heads=2, mlp=8), text, embed=2, loss=loss)
    model = randomised(lambda: CLIP(config, rngs=nnx.Rngs(0)))
    model.log_logit_scale[...] = np.log(3.0).astype(np.float32)
    if loss == "sigmoid":
        model.logit_bias[...] = np.float32(-1.5)
    return Fixed(model, WordTokenizer(["a", "b", "c", "d"], 5))


def test_probabilities_are_the_softmax_of_the_scaled_cosines():
    image, captions = np.array([1, 0], np.float32), ["right", "beside", "wrong"]
    found = search.classify(bundle("contrastive"), image, captions)
    weights = np.exp([3.0, 0.0, -3.0])
    check("probabilities", found, (weights / weights.sum()).astype(np.float32), 1e-5, "is the logit scale exponentiated once, and used?")
    turned = search.classify(bundle("contrastive"), image, captions[::-1])
    check("probabilities of the captions turned round", turned, found[::-1], 1e-6, "order must not matter")
    alone = search.classify(bundle("contrastive"), image, ["wrong"])
    check("the probability of a single caption", alone, np.ones(1, np.float32), 1e-6)


def test_a_sigmoid_model_judges_every_caption_by_itself():
    image = np.array([1, 0], np.float32)
    found = search.classify(bundle("sigmoid"), image, ["right", "beside", "wrong"])
    wanted = 1 / (1 + np.exp(-(np.array([3.0, 0.0, -3.0], np.float32) - 1.5)))
    check("probabilities", found, wanted, 1e-5, "is the bias added?")
    alone = search.classify(bundle("sigmoid"), image, ["beside"])
    check("the probability of one caption alone", alone, wanted[1:2], 1e-5, "other captions must not change it")
