"""Films, the two ways of pooling their frames, and the model on top."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import call, check, differs, equals, jitted, numbers, numpy_block, numpy_layer_norm, randomised, seeded

from tinyclip.bundle import Bundle
from tinyclip.clip import CLIP
from tinyclip.config import CLIPConfig, ImageConfig
from tinyclip.data import normalise
from tinyclip.senses import video
from tinyclip.world.scene import RADII, Scenes

IMAGE = ImageConfig(width=12, depth=1, heads=3, mlp=20, patch=16)


def scenes_of(motion, B=5):
    rng = seeded(1)
    meaning = np.stack([rng.integers(0, 8, B), rng.integers(0, 8, B), np.full(B, motion)], axis=1)
    return Scenes(jnp.asarray(meaning), jnp.asarray(rng.integers(0, 256, (B, 8))))


@pytest.mark.parametrize("motion", range(6))
def test_a_thing_does_what_its_motion_says(motion):
    things = video.place_moving(scenes_of(motion), jnp.linspace(0, 1, 7))
    name, fields = video.MOTIONS[motion], {"x": things.x, "y": things.y, "radius": things.radius}
    moving, sign = {
        "moving left": ("x", -1), "moving right": ("x", 1), "moving up": ("y", -1),
        "moving down": ("y", 1), "shrinking": ("radius", -1), "growing": ("radius", 1),
    }[name]  # fmt: skip
    for field, values in fields.items():
        steps = np.diff(values, axis=1)
        if field == moving:
            assert (sign * steps > 0.015).all(), f"{name}: {field} should change by a clear step in one direction, but its steps are {steps[0]}"
        else:
            check(f"{name}: the steps of {field}", steps, np.zeros_like(steps), 1e-6, "only one thing changes in a film")


@pytest.mark.parametrize("motion", range(6))
def test_the_thing_stays_in_the_picture(motion):
    things = video.place_moving(scenes_of(motion, 200), jnp.linspace(0, 1, 8))
    furthest = np.maximum(np.abs(things.x), np.abs(things.y)) + np.asarray(things.radius)
    assert furthest.max() <= 0.96 + 1e-6, f"{video.MOTIONS[motion]}: the centre plus the radius reaches {furthest.max():.3f} of half a picture"
    small, large = RADII
    assert small - 1e-6 <= things.radius.min() and things.radius.max() <= large + 1e-6, "a thing has a radius between small and large"


@pytest.mark.parametrize("motion", [0, 2, 4])
def test_a_film_run_backward_is_the_opposite_motion(motion):
    forward = scenes_of(motion)
    opposite = Scenes(forward.meaning.at[:, 2].add(1), forward.looks)
    films = jax.jit(lambda *scenes: [video.film(each, 16) for each in scenes])(forward, opposite)
    check(f"{video.MOTIONS[motion]} run backward", films[0][:, ::-1], films[1], 1e-4, f"it is {video.MOTIONS[motion + 1]}")
    differs("a film's first and last frame", films[0][:, 0], films[0][:, -1], 0.1)


def test_the_backdrop_stands_still():
    film = np.asarray(jax.jit(lambda scenes: video.film(scenes, 32))(scenes_of(5)))  # growing: the corners are never covered
    corner = film[:, :, 0, :2]
    check("the corner of every frame", corner, np.broadcast_to(corner[:, :1], corner.shape), 1e-6, "nothing moves there")


def test_sentences_of_films_are_told_apart():
    world = video.moving_world()
    captions, said = world.canonical()
    equals("number of sentences", len(captions), 4 * 4 * 6)
    assert "a red circle moving left" in captions, f"there is no red circle moving left among {captions[:6]} and so on"
    check("which sentence is true of which film", np.asarray(world.true_of(said, said)), np.eye(len(said), dtype=bool), 0)
    again = [world.grammar.parse(caption)[0].tolist() for caption in captions]
    equals("captions parsed again", again, said.tolist())


def test_scenes_in_pairs_differ_in_motion_only():
    scenes = video.paired_scenes(each=3)
    meaning, looks = np.asarray(scenes.meaning).reshape(-1, 2, 3, 3), np.asarray(scenes.looks).reshape(-1, 2, 3, 8)
    check("meanings", np.asarray(scenes.meaning)[::3], video.moving_world().seen, 0, "each comes three times, in the world's order")
    check("looks of a motion's reverse", looks[:, 1], looks[:, 0], 0, "the two share their looks")
    check("motion of a motion's reverse", meaning[:, 1] - meaning[:, 0], np.broadcast_to([0, 0, 1], meaning[:, 0].shape), 0)
    assert len(np.unique(looks[:, 0].reshape(-1, 8), axis=0)) > 100, "looks should differ from pair to pair"


@pytest.mark.exercise("16.1")
def test_a_mean_direction_by_hand():
    rng = seeded(2)
    vectors = rng.normal(size=(4, 3, 5)) * rng.uniform(0.2, 5, (4, 3, 1))
    expected = []
    for clip in vectors:
        mean = sum(frame / np.sqrt((frame**2).sum()) for frame in clip) / 3
        expected.append(mean / np.sqrt((mean**2).sum()))
    check("mean_direction of 4 clips of 3 frames", np.asarray(video.mean_direction(vectors)), np.array(expected, np.float32), 1e-5,
          "each frame is a direction, however long its vector, and so is the result")  # fmt: skip
    check("mean_direction, jitted", jitted("mean_direction", video.mean_direction, vectors), np.array(expected, np.float32), 1e-5)


@pytest.mark.exercise("16.1")
def test_a_mean_direction_of_one_and_of_opposites():
    vectors = np.array([[[3.0, 4.0]], [[0.0, -2.0]]])
    check("mean_direction of clips of 1 frame", np.asarray(video.mean_direction(vectors)), np.array([[0.6, 0.8], [0, -1.0]], np.float32), 1e-6)
    middle = np.asarray(video.mean_direction(np.array([[[7.0, 0.0], [0.0, 0.1]]])))
    check("mean_direction of (7, 0) and (0, 0.1)", middle, np.full((1, 2), 0.5**0.5, np.float32), 1e-5, "the two count alike, so it lies midway")
    nothing = np.asarray(video.mean_direction(np.array([[[1.0, 0.0], [-1.0, 0.0]]])))
    check("mean_direction of two opposite vectors", nothing, np.zeros((1, 2), np.float32), 1e-5, "they leave no direction, and no NaN either")


def test_the_mean_of_frames_knows_no_order():
    vectors = seeded(3).normal(size=(4, 8, 6))
    check("frames run backward", video.mean_direction(vectors[:, ::-1]), video.mean_direction(vectors), 1e-6, "a sum has no order")


def temporal(positions=True):
    return randomised(lambda: video.Temporal(12, 5, heads=3, positions=positions, rngs=nnx.Rngs(0)))


@pytest.mark.parametrize("positions", [True, False])
def test_the_temporal_transformer_in_numpy(positions):
    module, frames = temporal(positions), seeded(4).normal(size=(4, 5, 12)).astype(np.float32)
    p = numbers(module)
    x = np.concatenate([np.broadcast_to(p["class_embedding"], (4, 1, 12)), frames], axis=1)
    x = x + p["position_embedding"] if positions else x
    expected = numpy_layer_norm(p["norm"], numpy_block(p["blocks"][0], x, 3)[:, 0])
    check("Temporal", call(module, jnp.asarray(frames)), expected.astype(np.float32), 1e-4, "it is read off the class token, which comes first")


def test_order_is_known_by_positions_alone():
    frames = jnp.asarray(seeded(5).normal(size=(4, 5, 12)), jnp.float32)
    without, with_ = temporal(False), temporal(True)
    check("without positions, frames run backward", call(without, frames[:, ::-1]), call(without, frames), 1e-5, "attention itself knows no order")
    differs("with positions, a film and its reverse", call(with_, frames[:, ::-1]), call(with_, frames), 0.01)


def test_thumbnails_are_means_of_squares():
    pixels = seeded(6).random((2, 6, 6, 3)).astype(np.float32)
    expected = [[pixels[b, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((0, 1)) for y in range(3) for x in range(3)] for b in range(2)]
    check("thumbnails of 3 x 3", video.thumbnails(jnp.asarray(pixels), 3), np.array(expected).reshape(2, -1), 1e-5, "row by row, then by channel")


def test_the_features_of_a_frame_are_the_tower_and_a_thumbnail():
    model = randomised(lambda: CLIP(CLIPConfig(image=IMAGE), rngs=nnx.Rngs(0)))
    films = seeded(7).random((2, 3, 32, 32, 3)).astype(np.float32)
    features = video.frame_features(Bundle(model, video.moving_world().tokenizer()), films)
    equals("shape of the features", features.shape, (2, 3, IMAGE.width + 3 * video.THUMBNAIL**2))
    frame = normalise(films[1, 2][None], IMAGE)
    check("what the tower sees of a frame", features[1, 2, : IMAGE.width], call(model.image, frame)[0], 1e-4, "the tower sees every frame alone")
    check("the thumbnail of a frame", features[1, 2, IMAGE.width :], video.thumbnails(frame)[0], 1e-4, "of normalised pixels")


@pytest.mark.parametrize("pool", ["mean", "transformer", "no positions"])
def test_films_and_sentences_become_unit_vectors(pool):
    model = randomised(lambda: video.VideoCLIP(9, pool, width=12, embed=7, rngs=nnx.Rngs(0)))
    films = jnp.asarray(seeded(8).normal(size=(3, 8, 9)), jnp.float32)
    together, alone, backward = jax.jit(lambda films: [model.encode_video(each) for each in (films, films[1:2], films[:, ::-1])])(films)
    equals("shape of the embeddings", together.shape, (3, 7))
    check("lengths of films", jnp.linalg.norm(together, axis=1), np.ones(3, np.float32), 1e-5)
    check("a film embedded alone", alone, together[1:2], 1e-5, "the other films of the batch cannot matter")
    if pool == "transformer":
        differs("a film and its reverse", backward, together, 0.01)
    else:
        check("a film run backward", backward, together, 1e-5, "nothing here knows the order of the frames")


@pytest.mark.slow
def test_sentences_become_unit_vectors():
    model, world = randomised(lambda: video.VideoCLIP(9, "mean", width=12, embed=7, rngs=nnx.Rngs(0))), video.moving_world()
    texts = model.encode_text(world.tokenizer()(["a red circle moving left", "something growing"]))
    equals("shape of the embeddings", texts.shape, (2, 7))
    check("lengths of sentences", jnp.linalg.norm(texts, axis=1), np.ones(2, np.float32), 1e-5)


@pytest.mark.slow
def test_learning_lowers_the_loss_and_repeats_itself():
    scenes = video.moving_world().sample(jax.random.key(0), 32)
    features = np.eye(6, dtype=np.float32)[np.asarray(scenes.meaning)[:, 2]][:, None].repeat(8, axis=1)  # the motion, told in every frame
    start = randomised(lambda: video.VideoCLIP(6, "mean", width=8, embed=7, rngs=nnx.Rngs(0)))
    losses = [video.learn(start, features, np.asarray(scenes.meaning), steps=40, batch_size=8)[1] for _ in range(2)]
    check("losses of the same training, twice", losses[1], losses[0], 1e-6, "everything follows from the seed")
    assert losses[0][-8:].mean() < losses[0][:8].mean() - 0.2, f"the loss should fall, but goes from {losses[0][:8]} to {losses[0][-8:]}"
