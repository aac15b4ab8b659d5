"""The course: every lesson runs, says what is true, keeps to its recipe and its time, and is found by its front door.

`CLAIMS` holds, for every number that a lesson states, the range it must lie in: (least, most), or the value itself.
"""

import ast
import inspect
import math
import os
import re
import runpy
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

import tinyclip
from lessons import kit
from lessons.__main__ import cells, main

PACKAGE = Path(tinyclip.__file__).parent
COURSE = kit.course()
NUMBERS = [entry.number for entry in COURSE]
ENTRIES = {entry.number: entry for entry in COURSE}
SLOW = 60.0  # seconds a lesson may take on two cores

CLAIMS: dict[str, dict] = {}
CLAIMS["00"] = {}
CLAIMS["01"] = {
    "nearest by dot product": 2,
    "nearest by cosine": 1,
    "cosine with the dog": (0.90, 0.92),
    "cosine with the loud one": (0.43, 0.45),
    "a sentence with itself, wrong axis": (0.5, 0.7),
    "difference in dot products": (0, 1e-12),
    "difference in unit vectors": (0, 1e-6),
}
CLAIMS["02"] = {}
CLAIMS["03"] = {}
CLAIMS["04"] = {}
CLAIMS["05"] = {}
CLAIMS["06"] = {}
CLAIMS["07"] = {}
CLAIMS["08"] = {}
CLAIMS["09"] = {}
CLAIMS["10"] = {}
CLAIMS["11"] = {}


@pytest.fixture(scope="module", autouse=True)
def figures_elsewhere(tmp_path_factory):
    """The committed figures stay as they are."""
    kit.FIGURES = tmp_path_factory.mktemp("figures")
    os.environ["TINYCLIP_FIGURES"] = str(kit.FIGURES)
    yield
    del os.environ["TINYCLIP_FIGURES"]


@cache
def ran(number):
    """The lesson after a run with --fast, and its seconds."""
    before, sys.argv = sys.argv, [str(ENTRIES[number].path), "--fast"]
    start = time.monotonic()
    try:
        scope = runpy.run_path(str(ENTRIES[number].path), run_name="__main__")
    finally:
        sys.argv = before
    return scope["lesson"], time.monotonic() - start


@pytest.mark.lessons
@pytest.mark.parametrize("number", NUMBERS)
def test_a_lesson_states_what_is_true(number):
    lesson, seconds = ran(number)
    assert CLAIMS[number].keys() == lesson.results.keys(), (
        f"lesson {number} computed other numbers than its test knows: {sorted(CLAIMS[number].keys() ^ lesson.results.keys())}"
    )
    for name, wanted in CLAIMS[number].items():
        got = lesson.results[name]
        if isinstance(wanted, tuple):
            assert wanted[0] <= got <= wanted[1], f"lesson {number}: {name} is {got}, not between {wanted[0]} and {wanted[1]}"
        else:
            assert got == wanted, f"lesson {number}: {name} is {got}, not {wanted}"
    assert seconds < SLOW, f"lesson {number} took {seconds:.0f} s with --fast"
    assert len(lesson.figures) == 1 and lesson.figures[0].is_file(), f"lesson {number} should save one figure"


@pytest.mark.lessons
@pytest.mark.parametrize("number", NUMBERS)
def test_what_a_lesson_shows_points_back_to_it(number):
    for thing in ran(number)[0].functions:
        doc = inspect.getdoc(inspect.unwrap(thing)) or ""
        module = inspect.getdoc(sys.modules[inspect.unwrap(thing).__module__]) or ""
        assert number in lessons_named(doc) | lessons_named(module), (
            f"lesson {number} shows {thing.__qualname__}, whose docstring (and its file's) does not name lesson {number}"
        )


@pytest.mark.lessons
def test_what_names_a_lesson_is_shown_by_it():
    shown = {number: {kit.place(thing) for thing in ran(number)[0].functions} for number in NUMBERS}
    files = {number: {place.split(":")[0] for place in places} for number, places in shown.items()}
    for path in sorted(PACKAGE.rglob("*.py")):
        tree, name = ast.parse(path.read_text()), str(path.relative_to(kit.ROOT))
        for number in lessons_named(ast.get_docstring(tree) or "") & set(NUMBERS):
            assert name in files[number], f"{name} names lesson {number}, which shows nothing of that file"
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                for number in lessons_named(ast.get_docstring(node) or "") & set(NUMBERS):
                    assert f"{name}:{first}" in shown[number], f"{node.name} in {name} names lesson {number}, which does not show it"


def lessons_named(text):
    """The numbers in "Lesson 04", "Lessons 05 and 06", "Lessons 07, 08 and 10"."""
    return {n for found in re.findall(r"[Ll]essons? ((?:\d\d(?:, | and )?)+)", text) for n in re.findall(r"\d\d", found)}


@pytest.mark.lessons
@pytest.mark.parametrize("number", NUMBERS)
def test_a_lesson_runs_as_a_notebook(number, tmp_path, monkeypatch):
    import jupytext
    from nbclient import NotebookClient

    monkeypatch.setenv("TINYCLIP_FAST", "1")
    monkeypatch.setenv("TINYCLIP_FIGURES", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(kit.ROOT))
    notebook = jupytext.read(ENTRIES[number].path)
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs), f"the notebook of lesson {number} shows no figure"


# What follows needs no run.


@pytest.mark.parametrize("number", NUMBERS)
def test_a_lesson_keeps_to_the_recipe(number):
    text = ENTRIES[number].path.read_text()
    lines = text.splitlines()
    assert 80 <= len(lines) <= 260, f"lesson {number} has {len(lines)} lines"
    for call in ("lesson.predict(", "lesson.answer(", "lesson.shapes(", "lesson.figure(", "lesson.show(", "lesson.recap(", "lesson.end("):
        assert call in text, f"lesson {number} lacks {call})"
    assert text.count("lesson.try_this(") == 2, f"lesson {number} should have two edits to try"
    assert re.search(r"# ## .*[Bb]reak", text), f"lesson {number} breaks nothing on purpose (a heading with 'Break')"
    for wrong in ("np.allclose", "import torch", "warnings.filter"):
        assert wrong not in text, f"lesson {number} has {wrong}"


@pytest.mark.parametrize("number", NUMBERS)
def test_a_lessons_figure_is_there_and_small(number):
    path = kit.HERE / "figures" / f"{ENTRIES[number].path.stem}.png"
    assert path.is_file(), f"the figure of lesson {number} is missing: run it once"
    assert path.stat().st_size <= 150_000, f"{path.name} takes {path.stat().st_size:,} bytes, more than 150,000"
    with Image.open(path) as picture:
        assert 400 <= picture.width <= 1200, f"{path.name} is {picture.width} pixels wide"


def test_lessons_are_numbered_without_a_gap():
    assert NUMBERS == [f"{k:02d}" for k in range(len(NUMBERS))]


@pytest.mark.parametrize("number", NUMBERS)
def test_the_gallery_shows_every_lesson(number):
    entry, gallery = ENTRIES[number], (kit.HERE / "README.md").read_text()
    for piece in (entry.path.name, f"figures/{entry.path.stem}.png", entry.question, f"{entry.minutes:g} min"):
        assert piece in gallery, f"lessons/README.md lacks {piece!r} of lesson {number}: write it with `python -m lessons gallery`"


def test_every_exercise_names_a_function_that_exists():
    ids = []
    for number in NUMBERS:
        for exercise in kit.exercises(number):
            assert set(exercise) == {"id", "target", "also", "title", "minutes", "difficulty", "needs", "hints"}, f"{exercise['id']}: fields"
            assert inspect.isroutine(kit.target(exercise["target"])) and len(exercise["hints"]) == 3, f"{exercise['id']}"
            assert all(tuple(map(int, need.split("."))) < tuple(map(int, exercise["id"].split("."))) for need in exercise["needs"])
            assert all(need in ids for need in exercise["needs"]), f"{exercise['id']} needs an exercise that does not exist"
            ids.append(exercise["id"])
    assert len(set(ids)) == len(ids)


def test_cells_are_all_of_a_lesson():
    for entry in COURSE:
        kinds = [kind for kind, _, _ in cells(entry)]
        assert kinds[0] == "markdown" and "code" in kinds, f"lesson {entry.number} should begin with prose"


def test_the_front_door_lists_the_course(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    for entry in COURSE:
        assert entry.number in out and entry.title.split()[0] in out, f"the table lacks lesson {entry.number}"
    assert "next:" in out or "run them all" in out


def test_a_mistyped_lesson_gets_a_suggestion():
    with pytest.raises(SystemExit, match="did you mean similarity"):
        main(["run", "similarty"])
    with pytest.raises(SystemExit, match="there are 00 to"):
        main(["show", "99"])
    assert main(["rnu"]) == 2


def test_a_lesson_is_found_by_number_and_by_name(capsys):
    for words in ("1", "01", "similarity", "01_similarity.py"):
        assert main(["show", words]) == 0
        assert "Similarity" in capsys.readouterr().out


def test_a_lesson_without_a_terminal_never_blocks(tmp_path):
    entry = ENTRIES["01"]
    environment = os.environ | {"TINYCLIP_FIGURES": str(tmp_path), "PYTHONPATH": str(kit.ROOT)}
    ended = subprocess.run([sys.executable, str(entry.path)], stdin=subprocess.PIPE, capture_output=True, text=True, timeout=60, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert "Predict: " in ended.stdout and "Answer: " in ended.stdout
    wrong = subprocess.run([sys.executable, str(entry.path), "--fats"], capture_output=True, text=True, timeout=60, env=environment)
    assert wrong.returncode and "unknown option --fats" in wrong.stderr


def test_every_claim_is_a_range_that_can_fail():
    for number, claims in CLAIMS.items():
        for name, wanted in claims.items():
            if isinstance(wanted, tuple):
                assert wanted[0] <= wanted[1] and math.isfinite(wanted[0]), f"lesson {number}: {name}"
