"""Batches from the toy world: the same batch for the same step, and a truth that can be checked by reading the sentences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import check, differs

from tinyclip.config import CLIPConfig, ImageConfig, TrainConfig
from tinyclip.data import Batch, Source, WorldSource, normalise
from tinyclip.world import get_world

B, S = 24, 16


def a_source(world="pairs", **changes):
    world = get_world(world)
    tokenizer = world.tokenizer()
    text = {"vocab": tokenizer.vocab, "end_token": tokenizer.end, "context": tokenizer.context}
    image = {"size": S, "patch": 4, "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)}
    return WorldSource(world, CLIPConfig.preset("nano", image=image, text=text), TrainConfig(**({"batch_size": B, "seed": 3} | changes)))


@pytest.fixture(scope="module")
def plain():
    """Steps 0 to 4 of a run in the world of pairs, all in one call as the training loop has them."""
    source = a_source()
    return jax.jit(lambda inputs: jax.lax.map(source.batch, inputs))(source.inputs(0, 5))


@pytest.fixture(scope="module")
def hard():
    return jax.jit(a_source(hard_negatives="captions").batch)(jnp.asarray(2))


def at(batches, step):
    return jax.tree.map(lambda leaf: leaf[step], batches)


def test_a_batch_has_these_shapes_and_types(plain, hard):
    T = get_world("pairs").context
    for batch, M, name in ((at(plain, 0), B, "a plain batch"), (hard, 2 * B, "a batch with hard negatives")):
        for part, value, shape, dtype in (
            ("images", batch.images, (B, S, S, 3), "float32"),
            ("tokens", batch.tokens, (M, T), "int32"),
            ("positives", batch.positives, (B, M), "bool"),
        ):
            got = (value.shape, str(value.dtype))
            assert got == (shape, dtype), f"{name}: {part} should be {shape} {dtype}, got {got[0]} {got[1]}"


def test_a_world_source_is_a_source():
    source = a_source()
    assert isinstance(source, Source), "WorldSource must have the methods of Source: inputs and batch"
    assert len(source.inputs(5, 12)) == 7, f"inputs(5, 12) should be stacked along a first axis of 7, got {len(source.inputs(5, 12))}"


def test_step_s_is_the_same_batch_whenever_it_is_asked_for(plain):
    source = a_source()
    (input_3,) = source.inputs(3, 4)
    alone = jax.jit(source.batch)(jnp.asarray(input_3))
    check("tokens of step 3, alone and among others", alone.tokens, plain.tokens[3], 0, "a resumed run would see other sentences")
    check("images of step 3, alone and among others", alone.images, plain.images[3], 1e-5, "a resumed run would see other pictures")
    check("positives of step 3, alone and among others", alone.positives, plain.positives[3], 0, "a resumed run would have another truth")


def test_other_steps_and_other_seeds_are_other_batches(plain):
    for step in range(1, 5):
        differs(f"images of steps 0 and {step}", plain.images[step], plain.images[0], 0.1, "every step should draw fresh scenes")
        differs(f"tokens of steps 0 and {step}", plain.tokens[step], plain.tokens[0], 1, "every step should draw fresh captions")
    other = jax.jit(a_source(seed=4).batch)(jnp.asarray(0))
    differs("images of step 0 with another seed", other.images, plain.images[0], 0.1, "is the seed used?")
    differs("tokens of step 0 with another seed", other.tokens, plain.tokens[0], 1, "is the seed used?")


def test_every_caption_is_true_of_its_own_picture(plain, hard):
    for positives in (*plain.positives, hard.positives):
        own = np.diagonal(np.asarray(positives)[:, :B])
        assert own.all(), f"positives: caption {np.flatnonzero(~own)[0]} should be true of its own picture: captions of other scenes?"
    assert not np.asarray(plain.positives).all(), "positives: most captions are false of most pictures, but all are called true"


TOLD = [1, 2, 3, 5, 6]  # colour, shape, relation, colour, shape; sizes are columns 0 and 4


def readings(batch):
    """What each caption says, both ways round: (M, 2, 7), with -1 for what it leaves open, read back from its words."""
    world = get_world("pairs")
    tokenizer = world.tokenizer()
    said = []
    for row in np.asarray(batch.tokens):
        sentence = tokenizer.decode(row)
        meanings = world.grammar.parse(sentence)
        assert meanings, f"the caption {sentence!r} is no sentence of its own world"
        said.append((meanings[0], np.concatenate([meanings[0][4:], [r ^ 1 if (r := meanings[0][3]) >= 0 else r], meanings[0][:3]])))
    return np.array(said)


def test_positives_are_what_reading_the_captions_says(plain, hard):
    """A caption that tells colours, shapes and relation tells its scene; then any caption without sizes can be judged by reading it."""
    seen = 0
    for batch in (at(plain, 0), at(plain, 1), hard):
        said = readings(batch)
        for i in range(B):
            scene = said[i, 0]
            if (scene[TOLD] < 0).any():
                continue
            for j in range(len(said)):
                if (said[j, 0, [0, 4]] < 0).all():
                    true = any(((caption == scene) | (caption < 0))[TOLD].all() for caption in said[j])
                    got = bool(batch.positives[i, j])
                    assert got == true, (
                        f"positives[{i}, {j}]: caption {said[j, 0]} is {'' if true else 'not '}true of scene {scene}, but it says {got}"
                    )
                    seen += 1
    assert seen > 500, f"only {seen} pairs could be judged: the world's captions have changed, so change this test"


def test_hard_negatives_say_the_same_words_of_another_scene(hard):
    said, fully = readings(hard), 0
    for i in range(B):
        own, extra = said[i, 0], said[B + i, 0]
        if (extra[TOLD] >= 0).all():
            fully += 1
            assert not hard.positives[i, B + i], (
                f"the extra caption {B + i} tells the whole swapped scene and must be false of its own picture {i}"
            )
            if (own[TOLD] >= 0).all():
                for what, columns in (("colours", [1, 5]), ("shapes", [2, 6])):
                    same = sorted(own[columns]) == sorted(extra[columns])
                    assert same, (
                        f"extra caption {B + i} should have the {what} of caption {i}, {sorted(own[columns])}, not {sorted(extra[columns])}"
                    )
    assert fully >= 5, f"only {fully} extra captions tell a whole scene: the world's captions have changed, so change this test"


def test_hard_negatives_exchange_colours_shapes_or_things_by_lot():
    said, exchanged = readings(jax.jit(a_source(hard_negatives="captions", batch_size=96).batch)(jnp.asarray(1))), [0, 0, 0]
    for own, extra in zip(said[:96], said[96:], strict=True):
        if (own[0, TOLD] >= 0).all() and (extra[0, TOLD] >= 0).all():
            for k, swap in enumerate(np.asarray(get_world("pairs").swaps(jnp.asarray(own[:1])))[0]):
                exchanged[k] += any((swap == reading)[TOLD].all() for reading in extra)
    assert min(exchanged) >= 3, f"colours, shapes and things should be exchanged equally often, not in {exchanged} of 96 captions"


def test_scenes_as_hard_negatives_stand_beside_all_their_swaps():
    batch = jax.jit(a_source(hard_negatives="scenes", batch_size=22).batch)(jnp.asarray(1))  # 22 is no multiple of a group of 4
    assert batch.positives.shape == (22, 22), (
        f"hard negatives as scenes bring their own pictures: want positives (22, 22), got {batch.positives.shape}"
    )
    said, judged = readings(batch), 0
    for first in range(0, 22, 4):
        group = range(first, min(first + 4, 22))
        for i in group:
            for j in group:
                if i != j and (said[j, 0, TOLD] >= 0).all():
                    judged += 1
                    assert not batch.positives[i, j], (
                        f"caption {j} tells a whole scene, and picture {i} beside it is a swap of that scene: false"
                    )
        for i in (i for i in group if (said[i, 0, TOLD] >= 0).all()):
            for j in (j for j in group if (said[j, 0, TOLD] >= 0).all()):
                same = sorted(said[i, 0, [1, 5]]) == sorted(said[j, 0, [1, 5]]) and sorted(said[i, 0, [2, 6]]) == sorted(said[j, 0, [2, 6]])
                assert same, f"captions {i} and {j} belong to swaps of one scene and should have the same colours and shapes"
    assert judged >= 10, f"only {judged} captions could be judged: the world's captions have changed, so change this test"


def test_the_first_captions_are_the_same_with_and_without_hard_negatives(plain, hard):
    check(
        "the first B captions of a batch with hard negatives",
        hard.tokens[:B],
        plain.tokens[2],
        0,
        "the extra captions come after the own ones",
    )


def test_normalise_takes_the_mean_and_divides_by_the_deviation_of_each_channel():
    config = ImageConfig(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    pixels = np.random.default_rng(0).uniform(size=(2, S, S, 3)).astype(np.float32)
    got = normalise(jnp.asarray(pixels), config)
    want = np.stack([(pixels[..., c] - config.mean[c]) / config.std[c] for c in range(3)], axis=-1)
    check("normalise", got, want, 1e-6, mistakes={
        "did you forget the mean?": pixels / np.float32(config.std),
        "did you multiply by std instead of dividing?": (pixels - np.float32(config.mean)) * np.float32(config.std),
        "are the pixels in 0..255? Want 0..1": (pixels / 255 - np.float32(config.mean)) / np.float32(config.std),
    })  # fmt: skip
    check("normalise and back", got * np.float32(config.std) + np.float32(config.mean), pixels, 1e-6, "pixel = normalised * std + mean")
    check("normalise of a NumPy array", normalise(pixels, config), got, 1e-6)


def test_a_batchs_pictures_are_normalised_pixels(plain):
    pixels = np.asarray(plain.images) * np.float32((0.5, 0.6, 0.7)) + np.float32((0.1, 0.2, 0.3))
    assert pixels.min() > -1e-5 and pixels.max() < 1 + 1e-5, (
        f"back in pixels, a batch should lie in 0..1, got {pixels.min():.3f} to {pixels.max():.3f}"
    )
    assert pixels.std() > 0.05, "a batch's pictures should not be of one colour"
    assert isinstance(at(plain, 0), Batch), "batch() should return a Batch"
