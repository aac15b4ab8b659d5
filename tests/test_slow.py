"""Whole trainings, as a user starts them: minutes each, so they run with `-m slow`."""

import json
import time

import pytest

from tinyclip.cli import main

pytestmark = pytest.mark.slow
ONE = ("--devices", "1")  # as a user's CPU is, of the eight that the tests pretend


def scores_of(folder, capsys) -> dict[str, float]:
    capsys.readouterr()
    assert main(["evaluate", str(folder), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_first_command_of_the_readme_reaches_its_accuracy(tmp_path, capsys):
    out, clock = tmp_path / "run", time.monotonic()
    assert main(["train", "--out", str(out), *ONE]) == 0, "tinyclip train failed"
    seconds = time.monotonic() - clock
    scores = scores_of(out, capsys)
    assert scores["zero_shot_seen"] >= 0.99, f"only {scores['zero_shot_seen']:.1%} of new pictures of seen combinations are right, want 99 %"
    assert scores["zero_shot_held_out"] >= 0.95, f"only {scores['zero_shot_held_out']:.1%} of held-out combinations are right, want 95 %"
    # The goal is 60 s on two idle cores; run-time type checks and a busy machine may take their share, a lost order of magnitude may not.
    assert seconds < 180, f"training took {seconds:.0f} s"


def test_sixteen_is_all_right_within_the_yardsticks_pairs(tmp_path):
    assert main(["train", "--world", "sixteen", "--out", str(tmp_path / "run"), *ONE]) == 0
    first = json.loads((tmp_path / "run" / "history.json").read_text())["all_right"]
    assert first is not None and first["pairs"] <= 46_000, f"want all 1,600 new pictures right within 46,000 pairs, got {first}"


def test_bfloat16_and_the_sigmoid_loss_learn_too(tmp_path, capsys):
    arguments = ["train", "--world", "sixteen", "--out", str(tmp_path / "run"), "--dtype", "bfloat16", "--loss", "sigmoid", *ONE]
    assert main(arguments) == 0
    scores = scores_of(tmp_path / "run", capsys)
    assert scores["zero_shot_seen"] >= 0.95, f"bfloat16 with the sigmoid loss reaches only {scores['zero_shot_seen']:.1%} on sixteen"
