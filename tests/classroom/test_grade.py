"""Grading: three invented learners, all right, half right and hostile; nobody's harm reaches anybody else."""

import csv
import os
import shutil

import pytest
from invented import BY_ID, LIBRARY, write_answers

from lessons.__main__ import main
from lessons.classroom import checks, grade, handout, learner
from lessons.classroom.checks import NOT_ATTEMPTED, NOT_YET, PASSED, TIMED_OUT

pytestmark = pytest.mark.classroom

IDS = list(BY_ID)
HALF = {number: ("right", "wrong", "", "library")[k % 4] for k, number in enumerate(IDS)}
HOSTILE = {  # what the function does, and what must come of it
    "1.1": ("while True:\n    pass", TIMED_OUT, "more than"),
    "2.1": ("import os\nos._exit(0)", NOT_YET, "Python itself ended"),
    "2.2": ("import numpy\nnumpy.ones(10 << 27).sum()", NOT_YET, "MemoryError"),
    "3.2": ("while True:\n    print('flood' * 1000)", TIMED_OUT, "more than"),
    "4.1": ("import sys\nsys.exit(0)", NOT_YET, "SystemExit"),
    "4.2": ("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)", NOT_YET, "Python itself ended"),
    "5.1": ("import ctypes\nctypes.string_at(0)", NOT_YET, "Python itself ended"),
    "6.1": ("return patchify(images, patch)", NOT_YET, "RecursionError"),
    "7.1": ("import pytest\npytest.exit('all is well', 0)", NOT_YET, ""),
    "7.4": ("raise KeyboardInterrupt", NOT_YET, ""),
    "8.1": ("import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\nreturn jnp.float32(0)", NOT_YET, "want"),
    "7.3": ("return '\\x1b[2J=cmd'", NOT_YET, ""),
    "9.3": ("import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'while True: pass'])\nreturn dy", NOT_YET, "want"),
    "10.1": ("import helpers, sys\nhelpers.check = lambda *a, **k: None\nreturn 0.0", NOT_YET, ""),
    "11.1": ("import os\nfor name in ('helpers.py', 'test_evaluate.py'):\n    open(f'tests/{name}', 'w').close()\nreturn embeddings", NOT_YET, ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    people = tmp_path_factory.mktemp("class")
    for name in ("amina", "bruno", "mallory"):
        handout.make(people / name, "", [], True)
    write_answers(people / "amina", {number: "right" if k % 2 else "library" for k, number in enumerate(IDS)})
    write_answers(people / "bruno", {number: kind for number, kind in HALF.items() if kind})
    write_answers(people / "mallory", {number: body for number, (body, _, _) in HOSTILE.items()} | {"10.2": "library"})
    mallory = people / "mallory"
    (mallory / "tests" / "test_train.py").write_text("def test(): pass\n")
    (mallory / "tests" / "conftest.py").write_text("raise SystemExit('my own conftest')\n")
    (mallory / "conftest.py").write_text("import os\nos._exit(0)\n")
    (mallory / "tinyclip" / "search.py").write_bytes(b"\x00\xff\xfe not Python \xff")
    (mallory / "tinyclip" / "world" / "worlds.py").write_text("def broken(:\n")
    (mallory / "tinyclip" / "world" / "caption.py").unlink()
    os.mkfifo(mallory / "tinyclip" / "world" / "caption.py")
    table = people.parent / "grades.csv"
    assert main(["grade", str(people), "--csv", str(table), "--seconds", "8", "--seed", "5"]) == 0
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["learner"], row["exercise"]): row for row in rows}, people


def test_there_is_a_row_for_every_learner_and_exercise(graded):
    rows, _ = graded
    assert set(rows) == {(name, number) for name in ("amina", "bruno", "mallory") for number in IDS}


def test_who_has_all_right_passes_everything(graded):
    rows, _ = graded
    for number in IDS:
        assert rows["amina", number]["state"] == PASSED, f"{number} is right, but graded {rows['amina', number]}"


@pytest.mark.parametrize("number", IDS)
def test_who_has_half_right_gets_what_each_function_deserves(graded, number):
    row = graded[0]["bruno", number]
    if HALF[number] == "":
        assert row["state"] == NOT_ATTEMPTED, row
    elif HALF[number] == "wrong":
        sentence = next(answer.sentence for answer in LIBRARY.answers if answer.exercise == number and answer.sentence)
        assert (row["state"], row["mistake"]) == (NOT_YET, sentence), row
    else:
        assert row["state"] == PASSED, row


@pytest.mark.parametrize("number", HOSTILE)
def test_harm_is_called_what_it_is(graded, number):
    row, (_, state, said) = graded[0]["mallory", number], HOSTILE[number]
    assert row["state"] == state and said in row["message"], row
    assert "\x1b" not in row["message"]


def test_files_that_are_no_python_are_named(graded):
    rows, _ = graded
    for number, said in (("11.3", "is missing, or is not text"), ("2.4", "worlds.py:1 is not Python yet"), ("2.3", "is missing, or is not text")):
        row = rows["mallory", number]
        assert row["state"] == NOT_YET and said in row["message"], row
    assert rows["mallory", "10.2"]["state"] == PASSED, "an edited test or a conftest.py changes nothing, for better or worse"


def test_what_was_solved_in_the_handout_is_given_and_not_passed(tmp_path, capsys):
    handout.make(tmp_path / "dora", "7", ["7.2,7.3"], True)
    write_answers(tmp_path / "dora", {"7.4": "library"})
    shutil.copytree(tmp_path / "dora", tmp_path / "other" / "dora")
    assert main(["grade", str(tmp_path / "dora"), str(tmp_path / "other"), "--lessons", "6-7", "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert said.count("1/2") == 2 and "gg" in said, said


def test_folders_are_found_as_zip_files_nest_them(tmp_path):
    for path in ("amina/my-course/my-course", "bruno", "carla/my-course"):
        (tmp_path / path / "tinyclip").mkdir(parents=True)
    (tmp_path / "carla" / "__MACOSX").mkdir()
    (tmp_path / "dora").mkdir()
    found = {one.name: str(one.folder.relative_to(tmp_path)) for one in grade.learners([tmp_path])}
    assert found == {"amina": "amina/my-course/my-course", "bruno": "bruno", "carla": "carla/my-course", "dora": "dora"}, found


def test_without_the_handouts_list_it_is_said_what_the_grade_cannot_know(tmp_path, capsys):
    handout.make(tmp_path / "emil", "7", ["7.2,7.3"], True)
    (tmp_path / "emil" / "lessons" / "handout.json").unlink()
    table = tmp_path / "t.csv"
    assert main(["grade", str(tmp_path / "emil"), "--lessons", "7", "--jobs", "1", "--csv", str(table)]) == 0
    said = capsys.readouterr().out
    assert "emil: what their hand-out had solved counts as theirs" in said and table.is_file(), said


@pytest.mark.parametrize(("words", "said"), [(["--seed", "-1"], "--seed"), (["--jobs", "-1"], "--jobs"), (["--jobs", "0"], "--jobs")])
def test_numbers_that_would_accuse_everybody_are_refused(tmp_path, words, said):
    with pytest.raises(SystemExit, match=said):
        main(["grade", str(tmp_path), *words])


def test_checks_without_pytest_are_refused_and_accuse_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: None if name == "hypothesis" else object())
    with pytest.raises(SystemExit, match="hypothesis, not installed here"):
        main(["grade", str(tmp_path)])


def test_a_digest_changes_with_every_method_that_may_be_a_helper():
    exercise = next(e for e in BY_ID.values() if e.name == "Attention.__call__")
    text = LIBRARY.files[exercise.file]
    other = text.replace("return x.reshape(B, T, self.heads, D // self.heads)", "return x.reshape(B, T, -1, 1)")
    assert other != text and learner.digest(exercise, other) != learner.digest(exercise, text), "a changed helper leaves an old verdict standing"
    remark = text.replace("return x.reshape(B, T,", "# a remark\n        return x.reshape(B, T,")
    assert learner.digest(exercise, remark) == learner.digest(exercise, text), "a remark changes nothing"


def test_a_mark_at_a_files_beginning_does_not_matter(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n", encoding="utf-8-sig")
    assert learner.text_of(tmp_path / "a.py") == "x = 1\n"


def test_names_cannot_steer_the_teachers_table():
    assert grade.printable("a\x1b[31mb\nc\u202ed") == "a [31mb c d"
