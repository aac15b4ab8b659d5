"""Several processes and several devices, from the command line: one training, whoever takes part in it, and whoever resumes it.

These are real programs that talk over localhost.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import check, importing
from trained import COMPILED_ONCE

STEPS, CHUNK = 30, 10
ARGS = ("--world", "sixteen", "--size", "nano", "--batch-size", "64")  # as its recipe has it: with 16, rounding grows faster
PROGRAM = Path(__file__).parent / "one_process.py"

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def start(*args) -> subprocess.Popen:
    environment = os.environ | COMPILED_ONCE | importing(PROGRAM.parent.parent) | {"JAX_PLATFORMS": "cpu"}  # which pretends eight devices
    return subprocess.Popen([sys.executable, PROGRAM, *map(str, args)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def begin(layout, *args) -> list[subprocess.Popen]:
    """The programs of a layout: "one", "eight" (devices) or "two" (processes)."""
    if layout != "two":
        return [start(*args, "--devices", 8 if layout == "eight" else 1)]
    where = f"localhost:{free_port()}"
    return [start(*args, "--devices", 1, "--coordinator", where, "--processes", 2, "--process-id", i) for i in (0, 1)]


def finish(programs) -> list[str]:
    said = [program.communicate(timeout=300)[0] for program in programs]
    for program, text in zip(programs, said, strict=True):
        assert program.returncode == 0, f"a process of {len(programs)} should succeed, but ended with {program.returncode}: {text[-1500:]}"
    return said


def losses(out: Path) -> np.ndarray:
    return np.array(json.loads((out / "history.json").read_text())["loss"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run three times: on one device, on eight, and in two processes."""
    folder, said = tmp_path_factory.mktemp("layouts"), {}
    for layout in ("one", "eight", "two"):
        said[layout] = finish(begin(layout, *ARGS, "--steps", STEPS, "--out", folder / layout))
    return folder, said


def test_eight_devices_and_two_processes_train_as_one_device_does(runs):
    folder, _ = runs
    for layout in ("eight", "two"):
        relative = losses(folder / layout) / losses(folder / "one")
        check(f"the {STEPS} losses of {layout}, relative to those of one device", relative, np.ones(STEPS), 1e-5)


def test_only_one_process_speaks_and_writes(runs):
    folder, said = runs
    main, other = said["two"]
    assert f"step {STEPS} of {STEPS}" in main and "2 devices, 32 pairs on each" in main, f"process 0 should show its progress, got {main!r}"
    assert "step" not in other, f"process 1 should be silent, got {other!r}"
    names = {layout: sorted(p.name for p in (folder / layout).iterdir()) for layout in said}
    assert names["two"] == names["one"], f"two processes should leave the same files as one, got {names['two']} and {names['one']}"


@pytest.mark.parametrize(("saved", "resumed"), [("one", "eight"), ("one", "two"), ("eight", "one"), ("two", "one")])
def test_a_run_saved_by_one_layout_goes_on_in_another(runs, tmp_path, saved, resumed):
    """From the checkpoint after the first ten steps: the next twenty have the losses of the run that was never stopped."""
    folder, _ = runs
    out = tmp_path / "run"
    shutil.copytree(folder / saved, out)
    for later in range(2 * CHUNK, STEPS + 1, CHUNK):
        shutil.rmtree(out / "checkpoints" / str(later))
    said = finish(begin(resumed, "--resume", "--out", out))[0]
    assert f"continuing at step {CHUNK} of {STEPS}" in said, f"the run should go on at step {CHUNK}, but it said {said!r}"
    relative = losses(out)[CHUNK:] / losses(folder / "one")[CHUNK:]
    check(f"the losses of a run saved by {saved} and resumed by {resumed}, relative to one device", relative, np.ones(STEPS - CHUNK), 1e-5)


@pytest.mark.parametrize("killed", [0, 1])
def test_when_a_process_dies_the_other_stops_and_both_can_resume(tmp_path, killed):
    out, steps = tmp_path / "run", 80
    programs = begin("two", *ARGS, "--steps", steps, "--out", out)
    waited = time.monotonic()
    while not (out / "checkpoints" / str(2 * CHUNK)).exists():
        assert time.monotonic() - waited < 200, "no checkpoint appeared within 200 s"
        assert all(program.poll() is None for program in programs), f"a process stopped by itself: {[p.communicate()[0][-800:] for p in programs]}"
        time.sleep(0.1)
    programs[killed].send_signal(signal.SIGKILL)
    clock, other = time.monotonic(), programs[1 - killed]
    try:
        other.wait(timeout=120)
    except subprocess.TimeoutExpired:
        other.kill()
        pytest.fail(f"process {1 - killed} should stop within 120 s after process {killed} was killed")
    print(f"process {1 - killed} stopped {time.monotonic() - clock:.0f} s after process {killed}")
    assert other.returncode != 0, f"process {1 - killed} should not pretend to have succeeded when process {killed} was killed"
    for program in programs:
        program.communicate()
    said = finish(begin("two", "--resume", "--out", out))[0]
    assert "continuing at step" in said and len(losses(out)) == steps, f"both should resume and finish, but they said {said[-500:]!r}"


def test_a_batch_that_the_devices_cannot_share_is_refused_in_a_sentence(tmp_path):
    (program,) = begin("eight", *ARGS[:-1], "12", "--steps", STEPS, "--out", tmp_path / "run")
    said = program.communicate(timeout=120)[0]
    assert program.returncode == 2 and "cannot be shared evenly by 8 devices: choose 8 or 16." in said, f"want one sentence, got {said!r}"


@pytest.mark.parametrize("difference", ["seed", "devices", "folder"])
def test_processes_that_do_not_fit_together_all_end_in_a_sentence(tmp_path, difference):
    """Else they would train a mixture, or wait for each other."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    where, out, each = f"localhost:{free_port()}", tmp_path / ("full" if difference == "folder" else "run"), {"seed": (0, 1), "devices": (1, 2)}
    programs = []
    for i in (0, 1):
        asked = {"--seed": 0, "--devices": 1} | ({f"--{difference}": each[difference][i]} if difference in each else {})
        options = [word for pair in asked.items() for word in pair]
        programs.append(start(*ARGS, "--steps", 20, "--out", out, *options, "--coordinator", where, "--processes", 2, "--process-id", i))
    told = {"seed": ("same settings",) * 2, "devices": ("1, 2 devices",) * 2, "folder": ("not an empty folder", "another process")}[difference]
    for program, words in zip(programs, told, strict=True):
        said = program.communicate(timeout=120)[0]
        assert program.returncode == 2 and words in said.splitlines()[-1], f"want exit code 2 and {words!r}, got {program.returncode} and {said!r}"
    assert not (tmp_path / "run").exists(), "nothing should be left behind"
