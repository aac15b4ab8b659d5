"""The one call: what is trained and what stays frozen, what it may see, and how the result is scored."""

from dataclasses import fields, replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import call, check, numbers, numpy_block, numpy_layer_norm, randomised, seeded
from trained import quick

from tinyclip.bundle import Bundle
from tinyclip.clip import CLIP
from tinyclip.config import CLIPConfig, ImageConfig, TextConfig
from tinyclip.senses import SenseEncoder, align, confusions, embed_sense, emergent_scores, sentences, told_by
from tinyclip.world import World, get_world
from tinyclip.world.scene import SHAPES
from tinyclip.world.splits import HELD_OUT_PAIRS


def plain(scenes, size):
    """Pictures of one grey that tells colour and shape: quick to compile."""
    grey = (8 * scenes.meaning[:, 1] + scenes.meaning[:, 2]) / 64
    return jnp.broadcast_to(grey[:, None, None, None], (len(grey), size, size, 3)), jnp.zeros((len(grey), 1, size, size))


WORLD = replace(get_world("single"), render=plain)
EVERY = np.concatenate([WORLD.seen, WORLD.held_out])
E = 16


@cache
def bundle():
    """A CLIP of random numbers, small enough to be quick."""
    tokenizer = WORLD.tokenizer()
    text = TextConfig(vocab=tokenizer.vocab, context=tokenizer.context, end_token=tokenizer.end, width=8, depth=1, heads=2, mlp=8)
    config = CLIPConfig(ImageConfig(size=16, patch=8, width=8, depth=1, heads=2, mlp=8), text, embed=E)
    return Bundle(randomised(lambda: CLIP(config, rngs=nnx.Rngs(0))), tokenizer)


def sense(key, meaning):
    """Colour and shape as plain as can be, with a little noise: 2 readings of 8 numbers."""
    return jax.nn.one_hot(meaning[:, 1:3], 8) + 0.01 * jax.random.normal(key, (meaning.shape[0], 2, 8))


def encoder(seed=0):
    return SenseEncoder(2, 8, E, width=8, depth=1, heads=2, rngs=nnx.Rngs(seed))


def aligned(bundle, given=None, world=WORLD, seed=0):
    with quick():
        return align(bundle, world, given or encoder(), sense, (1, 2), seed=seed, steps=40, batch_size=16, learning_rate=1e-2)


@cache
def learned():
    """The one that several tests look at."""
    return aligned(bundle())


def leaves(module):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param))]


def test_the_encoder_is_a_transformer_read_off_at_its_class_token():
    module = randomised(lambda: SenseEncoder(3, 5, 6, width=8, depth=2, heads=2, rngs=nnx.Rngs(0)))
    p, readings = numbers(module), seeded(1).normal(size=(4, 3, 5)).astype(np.float32)
    tokens = readings @ p["embedding"]["kernel"] + p["embedding"]["bias"]
    x = np.concatenate([np.broadcast_to(p["class_embedding"], (4, 1, 8)), tokens], axis=1) + p["position_embedding"]
    for i in range(2):
        x = numpy_block(p["blocks"][i], x, heads=2)
    want = numpy_layer_norm(p["norm"], x[:, 0]) @ p["projection"]["kernel"]
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    check("SenseEncoder of 4 scenes, 3 readings of 5 numbers each", call(module, readings), want.astype(np.float32), 1e-5)


def test_told_by_keeps_what_the_sense_tells():
    meaning = np.array([(0, 3, 5, 1, 2), (1, 7, 0, 2, 2)])
    want = np.array([(-1, 3, 5, -1, -1), (-1, 7, 0, -1, -1)])
    check("told_by of a sense of colour and shape", told_by(meaning, (1, 2)), want, 0)


@pytest.mark.slow  # a training of its own
def test_the_encoder_learns_and_everything_else_stays():
    before, given = leaves(bundle().model), encoder()
    moved, losses = aligned(bundle(), given)
    assert losses.shape == (40,), f"there should be one loss a step, got {losses.shape}"
    first, last = losses[:3].mean(), losses[-10:].mean()
    assert last < first - 0.1, f"the loss should fall, but went from {first:.2f} to {last:.2f} nats"
    for a, b in zip(before, leaves(bundle().model), strict=True):
        check("a parameter of the frozen model after align", b, a, 0)
    for a, b in zip(leaves(encoder()), leaves(given), strict=True):
        check("a parameter of the encoder that was given to align", b, a, 0, "align returns another and leaves the given one as it was")
    far = max(np.abs(a - b).max() for a, b in zip(leaves(given), leaves(moved), strict=True))
    assert far > 0.01, f"the encoder should have learned, but nothing moved by more than {far:.4f}"


def test_sentences_are_never_seen():
    blank = nnx.clone(bundle().model)
    for part in (blank.text, blank.text_projection):
        nnx.update(part, jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), nnx.state(part)))
    with_text, without = learned()[0], aligned(replace(bundle(), model=blank))[0]
    for a, b in zip(leaves(with_text), leaves(without), strict=True):
        check("a parameter aligned with a model whose text tower is all NaN", b, a, 0, "the sense is trained against pictures only")


def test_held_out_combinations_and_test_pictures_are_never_drawn():
    met = []

    class Watched(World):
        def sample(self, key, number, split="train", held_out=False):
            met.append((split, held_out))
            return super().sample(key, number, split, held_out)

    watched = Watched(**{field.name: getattr(WORLD, field.name) for field in fields(World)})
    aligned(bundle(), world=watched)
    assert met == [("train", False)], f"the step should draw training scenes of seen combinations only, got (split, held out) = {met}"


def test_a_seed_gives_the_same_encoder_and_another_seed_another():
    one, same, other = (leaves(run()[0]) for run in (learned, lambda: aligned(bundle()), lambda: aligned(bundle(), seed=4)))
    assert all((a == b).all() for a, b in zip(one, same, strict=True)), "the same seed should give the same encoder"
    assert any((a != b).any() for a, b in zip(one, other, strict=True)), "another seed should give another encoder"


def test_pictures_that_the_sense_cannot_tell_apart_share_the_target():
    # In a world of one meaning every picture is as true as the scene's own, so no loss is below ln B and a blind encoder has just that.
    alone = replace(WORLD, seen=WORLD.seen[:1])
    deaf = align(bundle(), alone, encoder(), lambda key, meaning: jnp.zeros((len(meaning), 2, 8)), (1, 2), steps=1, batch_size=16)[1]
    assert deaf[0] >= np.log(16) - 1e-5, f"16 scenes of one meaning share the target, so the loss is at least ln 16 = 2.773, got {deaf[0]:.3f}"
    sharp = nnx.clone(bundle().model)
    sharp.log_logit_scale[...] = jnp.log(50.0)
    two, how = replace(WORLD, seen=WORLD.seen[WORLD.seen[:, 2] == 0][[0, -1]]), {"steps": 20, "batch_size": 16, "learning_rate": 0.05}
    losses = {tells: align(replace(bundle(), model=sharp), two, encoder(), sense, tells, **how)[1][-1] for tells in ((2,), (1, 2))}
    assert losses[2,] >= np.log(16) - 1e-5, f"of two colours of one shape, who tells shapes cannot tell one: at least ln 16, got {losses[2,]:.3f}"
    assert losses[1, 2] < losses[2,] - 0.2, f"who tells colours, too, can, and comes below that, got {losses}"


class Oracle(nnx.Module):
    """Puts a reading exactly where the sentence that it is given lies."""

    def __init__(self, places):
        self.places = nnx.Param(jnp.asarray(places))

    def __call__(self, readings):
        return self.places[...][readings[:, 0, 0].astype(int)]


def test_a_sense_that_lies_on_its_sentences_scores_all_and_a_collapsed_one_chance():
    template = "a {colour} {shape}"
    texts, said = sentences(bundle(), WORLD, template)
    pairs = {(int(colour), int(shape)) for colour, shape in said[:, 1:3]}
    assert len(said) == 64 == len(pairs), f"there are 64 sentences of a colour and a shape, held-out ones too, got {len(said)}"

    def spell(key, meaning):
        return (8.0 * meaning[:, 1] + meaning[:, 2])[:, None, None]

    assert np.array_equal(said[:, 1] * 8 + said[:, 2], np.arange(64)), "the sentences should stand in the order of colour, then shape"
    perfect = emergent_scores(bundle(), WORLD, Oracle(texts), spell, template)
    names = {f"{way}_text_{of}" for way in ("to", "from") for of in ("seen", "held_out")}
    assert perfect == {"chance": 1 / 64} | dict.fromkeys(names, 1.0), f"an oracle should score 1 everywhere, got {perfect}"
    collapsed = emergent_scores(bundle(), WORLD, Oracle(np.tile(texts[:1], (64, 1))), spell, template)
    # All readings lie on one sentence: only those of which it is true find theirs, and each sentence finds a random reading.
    for name, want in {"to_text_seen": 1 / 56, "to_text_held_out": 0, "from_text_seen": 1 / 64, "from_text_held_out": 1 / 64}.items():
        check(f"{name} of a sense that always says the same", collapsed[name], float(want), 1e-6)
    shifted = texts.copy()
    held = [8 * colour + shape for colour, shape in HELD_OUT_PAIRS]
    shifted[held] = texts[held[0] - 1]  # a seen sentence's place
    scores = emergent_scores(bundle(), WORLD, Oracle(shifted), spell, template)
    assert scores["to_text_seen"] == 1 and scores["to_text_held_out"] == 0, f"seen and held-out scenes should be told apart, got {scores}"


def test_a_template_that_leaves_the_pair_open_has_no_held_out_sentences():
    _, said = sentences(bundle(), WORLD, "something {colour}")
    check("what the sentences about colours say", said, np.array([(-1, colour, -1, -1, -1) for colour in range(8)]), 0)
    scores = emergent_scores(bundle(), WORLD, encoder(), sense, "something {colour}")
    assert scores["chance"] == 1 / 8, f"there are 8 colours, got a chance of {scores['chance']}"
    assert "from_text_held_out" not in scores and "to_text_held_out" in scores, f"no sentence is held out, but scenes are: got {sorted(scores)}"


def test_confusions_say_what_is_taken_for_what():
    template = "a {shape}"
    texts, _ = sentences(bundle(), WORLD, template)

    def spell(key, meaning):  # every moon is taken for a heart, and every red ring for a star
        shape = jnp.where(meaning[:, 2] == 7, 4, meaning[:, 2])
        return jnp.where((shape == 6) & (meaning[:, 1] == 0), 3, shape)[:, None, None].astype(float)

    words, shares = confusions(bundle(), WORLD, Oracle(texts), spell, template)
    want = np.eye(8)
    want[7, 7], want[7, 4], want[6, 6], want[6, 3] = 0, 1, 7 / 8, 1 / 8
    assert words == [f"a {shape}" for shape in SHAPES], f"the sentences should name the shapes in order, got {words}"
    check("confusions of shapes, rows true and columns taken for", shares, want, 1e-6)


def test_embedding_is_the_encoder_after_the_sense():
    module, meaning = encoder(2), EVERY[::100]
    want = call(module, sense(jax.random.key(7), meaning))
    check("embed_sense", embed_sense(module, sense, meaning, seed=7), np.asarray(want), 1e-6)
    check("the lengths of embed_sense", np.linalg.norm(want, axis=1), np.ones(len(meaning), np.float32), 1e-5)
