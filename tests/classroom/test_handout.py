"""Hand-outs: they work on their own, and nothing in them gives an answer away."""

import ast
import json
import lzma
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from invented import BY_ID, LIBRARY, write_answers

from lessons.__main__ import main
from lessons.classroom import splice
from lessons.classroom.manifest import all_exercises, file_of
from lessons.classroom.trees import Library

pytestmark = pytest.mark.classroom


@pytest.fixture(scope="module")
def handout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "course"
    assert main(["handout", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Lessons 5 to 8 alone, and the teacher keeps the answers."""
    folder = tmp_path_factory.mktemp("kept") / "course"
    assert main(["handout", str(folder), "--lessons", "5-8", "--solve", "7.4", "--without-answers"]) == 0
    return folder


def inside(folder: Path, *words: str, lent: bool = False) -> subprocess.CompletedProcess:
    """A command line as the learner types it in the hand-out."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TINYCLIP", "PYTEST"))}
    environment |= {"PYTHONPATH": str(folder), "COLUMNS": "150"}
    return subprocess.run([sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def squeezed(text: str) -> str:
    return "".join(text.split()).replace("jnp", "np")


def removed_runs() -> set[str]:
    """Every run of three removed lines, or the whole body if shorter, of more than 40 characters."""
    runs = set()
    for exercise in all_exercises():
        for target in (exercise.target, *exercise.also):
            lines = [line for line in splice.body_lines(LIBRARY.files[file_of(target)], target.partition(":")[2]) if line.strip()]
            runs |= {squeezed("\n".join(lines[i : i + 3])) for i in range(max(1, len(lines) - 2))}
    return {run for run in runs if len(run) > 40}


def test_nothing_in_it_gives_an_answer_away(handout):
    runs = removed_runs()
    assert len(runs) > 100
    for path in handout.rglob("*"):
        assert path.suffix != ".pyc" and path.name != "__pycache__", f"{path} is bytecode, which can be read back"
        if path.is_file():
            text = squeezed(path.read_bytes().decode("utf-8", "replace"))
            for run in runs:
                assert run not in text, f"{path.relative_to(handout)} holds removed lines: {run}"
    assert not list((handout / "lessons").glob("classroom/answers/*")), "the answers are in plain sight"


def test_the_sealed_file_is_the_library_and_cannot_be_read_by_accident(handout):
    sealed = (handout / "lessons" / "sealed.bin").read_bytes()
    assert Library.unsealed(sealed).files == LIBRARY.files
    assert b"def " not in sealed and b"return" not in sealed
    assert json.loads(lzma.decompress(sealed)) == LIBRARY.files


def test_every_exercise_is_a_stub_with_its_signature_and_docstring(handout):
    for exercise in all_exercises():
        for target in (exercise.target, *exercise.also):
            name = target.partition(":")[2]
            text = (handout / file_of(target)).read_text()
            stub, _ = splice.locate(ast.parse(text), name)
            whole, _ = splice.locate(ast.parse(LIBRARY.files[file_of(target)]), name)
            assert splice.is_blank(stub), f"{target} is not blank"
            assert ast.unparse(stub.args) == ast.unparse(whole.args) and ast.get_docstring(stub) == ast.get_docstring(whole)
            line = next(i for i, line in enumerate(text.splitlines(), 1) if f'"exercise {exercise.id} · {name} · {file_of(target)}:{i}"' in line)
            assert stub.lineno < line <= stub.end_lineno


@pytest.mark.parametrize("which", ["handout", "kept"])
def test_it_imports_and_its_tests_are_collected(which, request):
    folder = request.getfixturevalue(which)
    names = [f"tinyclip.{name}" for name in ("losses", "by_hand", "world", "train", "evaluate", "search", "cli", "plots")]
    where = inside(folder, "timeit", "-n1", "-r1", f"import {', '.join(names)}; assert tinyclip.__file__.startswith({str(folder)!r})")
    assert where.returncode == 0, where.stderr
    collected = inside(folder, "pytest", "tests", "--collect-only", "-q")
    assert collected.returncode == 0, collected.stdout[-3000:]


def test_pytest_alone_is_calm_before_anything_is_written(handout):
    shown = inside(handout, "pytest")
    assert shown.returncode == 0, shown.stdout
    assert f"{len(all_exercises())} skipped" in shown.stdout and "0 of" in shown.stdout and "next: 0.1" in shown.stdout
    assert "Error" not in shown.stdout and "Traceback" not in shown.stdout


def test_a_learners_way_through_it(handout, tmp_path):
    """Right, wrong, and not yet begun: check, pytest, hints, a lesson with borrowed functions."""
    folder = tmp_path / "course"
    assert main(["handout", str(folder)]) == 0
    write_answers(folder, {"7.1": "library", "7.2": "wrong", "1.1": "right"})
    checked = inside(folder, "lessons", "check", "7.2")
    assert checked.returncode == 1 and "7.2 contrastive_loss: not yet. " in checked.stdout
    assert any(answer.sentence in checked.stdout for answer in LIBRARY.answers if answer.exercise == "7.2" and answer.sentence), checked.stdout
    done = inside(folder, "lessons", "check", "7.1")
    assert done.returncode == 0 and "7.1 cross_entropy: done" in done.stdout and "The library's version, tinyclip/losses.py:" in done.stdout
    assert done.stdout.count("not used") == 3, "after success, the hints that were not asked for"
    begun = inside(folder, "lessons", "check")
    assert begun.stdout.count("The library's version") == 1, f"of all that was begun, only 1.1 is newly done, to be compared: {begun.stdout}"
    calm = inside(folder, "lessons", "check", "7.3")
    assert calm.returncode == 0 and "not attempted" in calm.stdout and "Traceback" not in calm.stdout + calm.stderr
    shown = inside(folder, "pytest")
    assert shown.returncode == 1 and "1 failed, 2 passed" in shown.stdout, shown.stdout
    assert "7.2 contrastive_loss: not yet. " in shown.stdout and "next: 0.1" in shown.stdout and "Traceback" not in shown.stdout
    for number in (1, 2, 3):
        hinted = inside(folder, "lessons", "hint", "7.2").stdout
        assert hinted.count("    hint ") == number and BY_ID["7.2"].hints[number - 1][:40] in hinted
    assert "That was the last" in inside(folder, "lessons", "hint", "contrastive_loss").stdout
    run = inside(folder, "lessons", "run", "1", "--fast", "--show")
    assert run.returncode == 0, run.stderr
    assert "Yours: 1.1 l2_normalise, 7.1 cross_entropy." in run.stdout
    assert "def l2_normalise(" in run.stdout, "with --show, the source of what passes is shown"
    assert "exercise 1.2 is yours to write" in run.stdout and "def alignment(" not in run.stdout, "the source of what was lent would be the answer"
    assert "7.2 contrastive_loss" in run.stdout.split("The library's: ")[1]
    read = re.findall(r"read: (\S+):(\d+)  (\S+)", run.stdout)
    assert len(read) > 1, f"lesson 1 should name functions to read: {run.stdout}"
    for file, line, name in read:
        there = (folder / file).read_text().splitlines()[int(line) - 1 :][:3]
        assert any(f" {name.split('.')[-1]}" in text for text in there), f"{name} should begin at line {line} of the hand-out's {file}, not {there}"
    write_answers(folder, {"1.2": "library"})
    script = inside(folder, "lessons.01_similarity", "--fast")
    assert script.returncode == 0, "lesson 1 needs nothing but what was written"
    script = inside(folder, "lessons.07_contrastive_loss", "--fast")
    assert script.returncode == 1 and "needs what is not written yet: exercise" in script.stderr and "Traceback" not in script.stderr
    table = inside(folder, "lessons").stdout
    assert "2 of" in table and "✗ 7.2" in table
    write_answers(folder, {"0.1": "library"})
    assert ": python -m lessons check 0.1" in inside(folder, "lessons").stdout, "what was written, but not checked, is to be checked next"
    words = folder / "tinyclip/tokenizer.py"
    words.write_text(words.read_text() + "\ndef (\n")
    last = len(words.read_text().splitlines())
    assert f"next: tinyclip/tokenizer.py:{last} is not Python yet" in inside(folder, "lessons").stdout, "a file that is no Python is to be mended"


def test_an_unforeseen_mistake_gets_numbers_and_no_name(handout, tmp_path):
    folder = tmp_path / "course"
    assert main(["handout", str(folder)]) == 0
    write_answers(folder, {"7.1": "library"})
    file = folder / "tinyclip/losses.py"
    file.write_text(file.read_text().replace("return -(targets * jax.nn", "return -1.2345 * (targets * jax.nn"))
    said = inside(folder, "lessons", "check", "7.1").stdout
    assert "not yet" in said and "want " in said and "got " in said, said
    for answer in LIBRARY.answers:
        assert not answer.sentence or answer.sentence not in said, f"a mistake that nobody foresaw is called {answer.sentence!r}"


def test_a_class_that_begins_at_lesson_5(kept):
    asked = json.loads((kept / "lessons" / "handout.json").read_text())["exercises"]
    assert asked == ["5.1", "5.2", "6.1", "6.2", "7.1", "7.2", "7.3", "8.1", "8.2"]
    assert sorted(path.name[:2] for path in (kept / "lessons").glob("[0-9][0-9]_*.py")) == ["05", "06", "07", "08"]
    assert not (kept / "lessons" / "sealed.bin").exists()
    shown = inside(kept, "pytest")
    assert shown.returncode == 0 and "9 skipped" in shown.stdout and "next: 5.1" in shown.stdout, shown.stdout
    assert "4.1" not in shown.stdout, "what is solved is not asked for"
    other = inside(kept, "lessons", "check", "4.1")
    assert other.returncode == 1 and "solved already" in other.stderr


def test_without_answers_there_are_numbers_no_names_and_blanks_are_waited_for(kept):
    write_answers(kept, {"7.2": "library"})
    waiting = inside(kept, "lessons", "check", "7.2")
    assert "waiting for 7.1" in waiting.stdout, waiting.stdout
    write_answers(kept, {"7.1": "wrong"})
    wrong = inside(kept, "lessons", "check", "7.1")
    assert "not yet" in wrong.stdout and "want " in wrong.stdout
    for answer in LIBRARY.answers:
        assert not answer.sentence or answer.sentence not in wrong.stdout, wrong.stdout
    write_answers(kept, {"7.1": "library"})
    right = inside(kept, "lessons", "check", "7.1", "7.2")
    assert right.returncode == 0 and right.stdout.count(": done. ") == 2 and "Your teacher kept" in right.stdout, right.stdout
    lesson = inside(kept, "lessons", "run", "7", "--fast")
    assert lesson.returncode == 1 and "lesson 07 needs what is not written yet: exercise 7.2" in lesson.stderr, "the twin by hand is still blank"


def test_what_cannot_be_done_is_said_in_a_sentence(handout, tmp_path, capsys):
    for words, said in (
        (["handout", str(handout)], "holds something already"),
        (["handout", str(tmp_path / "a"), "--lessons", "8-5"], "no range of lessons"),
        (["handout", str(tmp_path / "a"), "--lessons", "x"], "no range of lessons"),
        (["handout", str(tmp_path / "a"), "--solve", "7.99"], "no such exercise"),
        (["handout", str(tmp_path / "a"), "--lessons", "40"], "nothing is left to write"),
        (["check", "7.1"], "is for a hand-out"),
        (["watch"], "is for a hand-out"),
        (["grade", str(tmp_path / "nobody")], "is no folder"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert said in str(ended.value), f"{words}: {ended.value}"
    assert not (tmp_path / "a").exists(), "a hand-out that failed leaves nothing behind"
    assert "no exercise '7.99' here" in inside(handout, "lessons", "check", "7.99").stderr
    assert "did you mean contrastive_loss" in inside(handout, "lessons", "hint", "contrastive_los").stderr
    assert "this is a hand-out" in inside(handout, "lessons", "grade", ".").stderr
