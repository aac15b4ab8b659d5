"""Animals: every factor shows in the picture, masks are where the animal is, and every size shows the same."""

from itertools import combinations, product

import numpy as np
import pytest

from tinyclip.world import get_world
from tinyclip.world.animals import ACTIONS, ANIMALS, COATS, PLACES
from tinyclip.world.scene import Scenes

FACTORS = ("animal", "coat", "action", "place")
BALL, SLEEP = ACTIONS.index("playing with a ball"), ACTIONS.index("sleeping")
# Backdrop, facing right, x, y, size, light, where things stand, wag and ball: everything in the middle.
MIDDLE = np.array([40, 0, 128, 128, 128, 128, 90, 128])


@pytest.fixture(scope="module")
def everything(in_bulk):
    """All meanings with the same looks, as (animal, coat, action, place, ...); then 25 that face left and 25 with another ball."""
    sizes = (len(ANIMALS), len(COATS), len(ACTIONS), len(PLACES))
    every = np.array(list(product(*map(range, sizes))))
    n, playing = len(every), every[every[:, 2] == BALL]
    meaning = np.concatenate([every, every[:: n // 25][:25], playing[:: len(playing) // 25][:25]])
    looks = np.tile(MIDDLE, (n + 50, 1))
    looks[n : n + 25, 1] = 255
    looks[n + 25 :, 7] = 129  # another ball
    pictures, masks = in_bulk("animals", Scenes(meaning, looks))
    return pictures[:n].reshape(*sizes, 24, 24, 3), masks[:n].reshape(*sizes, 2, 24, 24), meaning[n:], pictures[n:], masks[n:]


def test_cat_dog_and_lion_are_there_and_at_least_four_values_of_every_factor():
    assert {"cat", "dog", "lion"} <= set(ANIMALS), f"the animals are {ANIMALS}"
    factors = (ANIMALS, COATS, ACTIONS, PLACES)
    for name, values in zip(FACTORS, factors, strict=True):
        assert len(values) >= 4, f"there are {len(values)} values of {name}, fewer than 4"
    world = get_world("animals")
    rows = {tuple(map(int, row)) for row in np.concatenate([world.seen, world.held_out])}
    assert rows == set(product(*(range(len(values)) for values in factors))), "animals does not hold every animal x coat x action x place"


@pytest.mark.parametrize("factor", FACTORS)
def test_every_factor_shows_in_the_picture(factor, everything):
    pictures = np.moveaxis(everything[0], FACTORS.index(factor), 0)
    for a, b in combinations(range(len(pictures)), 2):
        # The number of pixels, of 576, that change by more than a tenth in some channel.
        changed = (np.abs(pictures[a] - pictures[b]).max(-1) > 0.1).sum((-1, -2))
        assert changed.min() >= 15, f"{factor} {a} and {b} differ in only {changed.min()} pixels of 24 x 24 in some picture"


def test_animals_are_told_apart_by_their_heads(everything):
    pictures = everything[0][:, :, ACTIONS.index("standing")]
    axis = (np.arange(24) + 0.5) / 12 - 1
    x, y = np.meshgrid(axis, axis)
    # With all looks in the middle an animal's head has its centre at (0.225, 0.075) and a radius of 0.3; ears stand above it.
    head = np.hypot(x - 0.225, y + 0.075) < 0.35
    for a, b in combinations(range(len(ANIMALS)), 2):
        changed = ((np.abs(pictures[a] - pictures[b]).max(-1) > 0.1) & head).sum((-1, -2)).min()
        assert changed >= head.sum() / 4, f"the heads of {ANIMALS[a]} and {ANIMALS[b]} differ in only {changed} of {head.sum()} pixels"


def test_a_place_fills_the_picture_around_the_animal(everything):
    pictures, masks = everything[:2]
    ground = (masks.max(4) == 0)[..., None]
    for a, b in combinations(range(len(PLACES)), 2):
        shown = ground[:, :, :, a]
        far = (np.abs(pictures[:, :, :, a] - pictures[:, :, :, b]) * shown).sum() / shown.sum() / 3
        assert far > 0.05, f"{PLACES[a]!r} and {PLACES[b]!r} look alike: their pixels differ by {far:.3f} on average"


def test_a_place_leaves_the_animal_and_its_mask_as_they_are(everything):
    masks = everything[1]
    assert np.ptp(masks, axis=3).max() < 1e-5, "the mask of an animal depends on the place"
    assert np.ptp(masks, axis=1).max() < 1e-5, "the mask of an animal depends on its coat"


def test_a_coat_colours_the_animal(everything):
    pictures, masks = everything[:2]
    inside = masks[..., 0, :, :] == 1
    share = np.zeros((len(COATS), len(COATS)))  # of the pixels of an animal with one coat, how many have about the colour of another
    for drawn_as, asked in product(range(len(COATS)), range(len(COATS))):
        colour = np.array(list(COATS.values())[asked]) / 255 * 0.94  # the middle light dims it so
        near = np.abs(pictures[:, drawn_as] - colour).max(-1) < 0.06
        share[drawn_as, asked] = near[inside[:, drawn_as]].mean()
    for k, name in enumerate(COATS):
        assert share[:, k].argmax() == k, f"the colour of {name} is commonest on the {list(COATS)[share[:, k].argmax()]} animals"
        assert share[k, k] > 0.15, f"only {share[k, k]:.0%} of the pixels of a {name} animal are {name}"


def test_an_animal_is_large_enough_to_see_and_small_enough_to_leave_its_place(drawn):
    area = drawn("animals", 24)[3][:, 0].mean((1, 2))
    assert area.min() > 0.10, f"an animal covers only {area.min():.0%} of its picture"
    assert area.max() < 0.6, f"an animal covers {area.max():.0%} of its picture"


def test_there_is_a_ball_if_and_only_if_it_is_played_with(drawn):
    meaning, _, _, masks = drawn("animals", 24)
    ball, playing = masks[:, 1].sum((1, 2)), meaning[:, 2] == BALL
    assert (ball[~playing] == 0).all(), "there is a ball in a picture where nobody plays"
    assert (ball[playing] > 5).all(), "an animal plays with a ball that cannot be seen"


def test_the_ball_is_drawn_where_its_mask_is(everything):
    pictures, masks, meaning, others, _ = everything
    changed = np.abs(others[25:] - pictures[tuple(meaning[25:].T)]).max(-1)
    ball = masks[tuple(meaning[25:].T)][:, 1]
    assert (changed[ball == 1] > 0.02).mean() > 0.8, "another ball does not change the pixels under the mask of the ball"
    # The byte of the ball is also that of the wag: the tail moves by a 256th of it.
    assert changed[ball == 0].max() < 0.1, "another ball changes pixels outside the mask of the ball"


def test_an_animal_faces_either_way(everything):
    _, masks, meaning, _, turned = everything
    right, left = masks[tuple(meaning[:25].T)][:, 0], turned[:25, 0]
    far = np.abs(right[..., ::-1] - left).mean()
    assert far < 0.01, f"the mask of an animal that faces left is not the mirror image of the one that faces right: {far:.3f}"
    assert np.abs(right - left).mean() > 0.02, "facing left or right makes no difference"


def test_an_animal_that_jumps_is_off_the_ground(everything):
    pictures, masks = everything[0][:, 0].mean(-1), everything[1][:, 0, :, :, 0]  # of black coats: (animal, action, place, 24, 24)
    lit = np.where(masks == 0, pictures, 0).max((0, 1))  # each pixel of a place without an animal or a shadow over it
    shadow = (lit - pictures > 0.12) & (masks == 0)
    lowest = 23 - (masks > 0.5).any(-1)[..., ::-1].argmax(-1)  # (animal, action, place)
    below = np.median((shadow & (np.arange(24)[:, None] > lowest[..., None, None])).sum((-1, -2)), axis=2)  # pixels of shadow under the paws
    standing, jumping = (below[:, ACTIONS.index(name)] for name in ("standing", "jumping"))
    assert (jumping > standing + 3).all(), f"under jumping animals there are {jumping} pixels of shadow, under standing ones {standing}"
    masks = everything[1][:, :, :, :, 0]
    height = (masks > 0.5).any(-1).sum(-1)[:, 0, :, 0]
    assert (height[:, SLEEP] < height[:, ACTIONS.index("sitting")]).all(), "a sleeping animal is as tall as a sitting one"


@pytest.mark.slow  # one more resolution is one more program, which takes 5 s to compile
def test_animals_look_the_same_at_24_and_at_96_pixels(drawn):
    (_, _, coarse, low), (_, _, fine, high) = drawn("animals", 24), drawn("animals", 96)
    for what, a, b in (("picture", np.moveaxis(coarse[:20], -1, 1), np.moveaxis(fine, -1, 1)), ("mask", low[:20], high)):
        far = np.abs(b.reshape(20, -1, 24, 4, 24, 4).mean((3, 5)) - a)
        # Lines thinner than a pixel (whiskers, rims) come out a little stronger or weaker than their average.
        assert far.mean() < 0.03, f"an animal's {what} at 24 px and the averaged one at 96 px differ by {far.mean():.4f} on average"
        much = (far > 0.3).mean()
        assert much < 0.01, f"an animal's {what} at 24 px and the averaged one at 96 px differ much in {much:.1%} of the pixels"


@pytest.mark.slow  # compiling every part of every animal and place for the whole batch takes 8 s
def test_drawing_the_whole_batch_of_animals_at_once_gives_the_same_pictures(drawn, drawn_at_once):
    meaning, looks, pictures, masks = drawn("animals", 24)
    scenes = Scenes(meaning[:20], looks[:20])
    at_once, loops = drawn_at_once("animals", scenes)
    assert loops <= {1}, f"an accelerator is given a loop of {max(loops)} rounds over the animals instead of the whole batch"
    for what, a, b in (("picture", at_once[0], pictures[:20]), ("mask", at_once[1], masks[:20])):
        far = np.abs(np.asarray(a) - b).max()
        assert far < 1 / 255, f"a {what} drawn as on an accelerator differs by {far:.4f} from the one drawn one at a time"
