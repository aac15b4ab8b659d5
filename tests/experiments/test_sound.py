"""Sound: found among sentences that it was never trained with."""

import pytest
from claims import lies_within, mean_within, scores_again, table_is_whole

from lessons.experiments import get, rounded

SOUND = get("sound")
CLAIM = {"to_text_all": (0.60, 1), "from_text_seen": (0.60, 1), "chance_text": (0.0156, 0.0157)}


def test_the_table_is_whole():
    table_is_whole(SOUND)


def test_sound_finds_its_sentence_among_64_though_it_was_never_trained_to():
    lies_within(SOUND, "aligned", CLAIM)


def test_held_out_combinations_are_far_above_chance_but_below_the_seen():
    lies_within(SOUND, "aligned", {"to_text_seen": (0.95, 1), "to_text_held_out": (0.10, 0.90)})


def test_an_untrained_ear_is_at_chance():
    for name in ("to_text_all", "to_text_seen", "from_text_seen"):
        mean_within(SOUND, "untrained", {name: (0, 0.05)})


@pytest.mark.slow
@pytest.mark.parametrize("condition", ["aligned", "untrained"])
def test_the_committed_model_scores_what_the_table_says(condition):
    scores_again(SOUND, condition)


@pytest.mark.slow
def test_training_again_reaches_the_claim():
    scores = SOUND["aligned"].score(rounded(SOUND["aligned"].train(1)))
    for name, (least, most) in CLAIM.items():
        assert least <= scores[name] <= most, f"sound, trained again with seed 1: {name} is {scores[name]:.4f}, not between {least} and {most}"
