"""A hand-out: the library with the bodies of the exercises removed, in a fresh folder without history, and the answers sealed in one file."""

import json
import re
import shutil
from pathlib import Path

from lessons.classroom import splice
from lessons.classroom.manifest import HANDOUT, LESSONS, ROOT, Exercise, all_exercises, file_of, in_handout
from lessons.classroom.trees import SEALED, Library

README = """# tinyclip, to be completed

How do pictures and sentences come to live in one space? In this copy of tinyclip {number} functions are blank. You write them
again, lesson by lesson, and the library's own tests say what is right. Everything else works.{twins}

Install, and see the course:

```
python3 -m venv .venv && .venv/bin/pip install -q -e ".[classroom]" && .venv/bin/python -m lessons
```

See where you stand:

```
.venv/bin/python -m pytest
```

On Windows, in PowerShell, these are `py -m venv .venv`, then `.venv\\Scripts\\pip install -q -e ".[classroom]"`, and the programs lie in
`.venv\\Scripts`. Then, with the environment active (`source .venv/bin/activate`, on Windows `.venv\\Scripts\\Activate.ps1`):

```
python -m lessons run {lesson}       # a lesson, from its first cell to its last{borrowed}
python -m lessons show {lesson}      # the same to read, with its code; "try this" means to edit it, in lessons/, and to run it again
python -m lessons check {exercise}   # is it right?
python -m lessons hint {exercise}    # one more hint each time
python -m lessons watch       # checks again whenever you save
```

An exercise is a function whose body is `raise NotImplementedError("exercise {exercise} · ...")`: replace that line. Its docstring
says what is wanted, the lesson why. You may add helpers, constants and imports to the same file. {sealed}
"""
SEALED_NOTE = "`lessons/sealed.bin` holds the library's versions: they are shown when yours pass."
KEPT_NOTE = "Your teacher has the library's versions."
TWINS_NOTE = """

{twins} of them have a twin in `tinyclip/by_hand/`, blank under the same number: the same function in plain NumPy. No check asks for it; write
it if you like."""


def lesson_range(words: str) -> set[int]:
    """"1-8", "3" or "0-2,5" as numbers. Ends the program if it is none."""
    numbers: set[int] = set()
    for part in words.split(","):
        found = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        if not found or int(found[1]) > int(found[2] or found[1]):
            raise SystemExit(f"lessons: {words!r} is no range of lessons: write 3, or 1-8, or 0-2,5.")
        numbers |= set(range(int(found[1]), int(found[2] or found[1]) + 1))
    return numbers


def chosen(words: list[str]) -> set[str]:
    """The exercises that "4.3", "5" or "0-4" stand for, by id."""
    found: set[str] = set()
    for word in (part for each in words for part in each.split(",") if part.strip()):
        ids = {e.id for e in all_exercises() if e.id == word.strip()} if "." in word else {
            e.id for e in all_exercises() if e.lesson in lesson_range(word)
        }  # fmt: skip
        if not ids:
            raise SystemExit(f"lessons: --solve {word}: there is no such exercise.")
        found |= ids
    return found


def make(folder: Path, lessons: str, solve: list[str], answers: bool) -> list[Exercise]:
    """Write a hand-out to a new folder; returns what it asks for."""
    if in_handout():
        raise SystemExit("lessons: this is a hand-out already; make others from the whole library.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SystemExit(f"lessons: {folder} holds something already: name a new folder.")
    if not (ROOT / "pyproject.toml").exists():
        raise SystemExit("lessons: a hand-out is made from a clone of the repository, and this tinyclip is an installed package.")
    folder = folder.resolve()
    wanted, solved = lesson_range(lessons) if lessons else {e.lesson for e in all_exercises()}, chosen(solve)
    asked = [exercise for exercise in all_exercises() if exercise.lesson in wanted and exercise.id not in solved]
    if not asked:
        raise SystemExit("lessons: nothing is left to write: choose other --lessons, or solve less.")
    library = Library.of(ROOT)
    part = folder.with_name(f".{folder.name}.part")  # an interrupted hand-out must not look whole
    shutil.rmtree(part, ignore_errors=True)
    write(part, library, asked, wanted)
    if answers:
        (part / SEALED.relative_to(ROOT)).write_bytes(library.sealed())
    twins = sum(bool(exercise.also) for exercise in asked)
    readme = README.format(
        twins=TWINS_NOTE.format(twins=twins) if twins else "",
        number=len(asked), lesson=asked[0].lesson, exercise=asked[0].id, sealed=SEALED_NOTE if answers else KEPT_NOTE,
        borrowed=", with what of yours has passed, and the library's version of all else" if answers else "; it says which blank it needs",
    )  # fmt: skip
    (part / "README.md").write_text(readme, encoding="utf-8")
    if folder.exists():
        folder.rmdir()
    part.rename(folder)
    return asked


def write(folder: Path, library: Library, asked: list[Exercise], lessons: set[int]) -> None:
    """The tree, but for its README and its sealed file."""
    blanks: dict[str, dict[str, str]] = {}
    for exercise in asked:
        for target in (exercise.target, *exercise.also):
            blanks.setdefault(file_of(target), {})[target.partition(":")[2]] = exercise.id
    for path, text in library.files.items():
        if path.startswith("tinyclip/") or (path.startswith("tests/") and is_for_learners(path, text)):
            put(folder / path, splice.blank(text, path, blanks[path]) if path in blanks else text)
    put(folder / "pyproject.toml", settings((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    for name in ("LICENSE", ".gitignore", "lessons/exercises.toml"):
        put(folder / name, (ROOT / name).read_text(encoding="utf-8"))
    for path in (*LESSONS.glob("*.py"), *LESSONS.glob("classroom/*.py"), *LESSONS.glob("experiments/*.py")):
        if not path.name[:2].isdigit() or int(path.name[:2]) in lessons:
            put(folder / path.relative_to(ROOT), path.read_text(encoding="utf-8"))
    put(folder / HANDOUT.relative_to(ROOT), json.dumps({"exercises": [exercise.id for exercise in asked]}) + "\n")
    for models in ("pretrained", "experiments"):
        shutil.copytree(ROOT / "data" / models, folder / "data" / models)


def is_for_learners(path: str, text: str) -> bool:
    """Tests that check exercises, and what they import."""
    return "mark.exercise(" in text or not path.split("/")[-1].startswith("test_")


def settings(text: str) -> str:
    """pyproject.toml with one change: `pytest` alone shows where the learner stands."""
    section = re.search(r"\[tool\.pytest\.ini_options\]\n.*?(?=\n\[)", text, re.S)
    alone = section[0].replace('testpaths = ["tests"]', 'testpaths = ["lessons/exercises.toml"]')
    alone = re.sub(r"addopts = .*", 'addopts = "-p lessons.classroom.overview -q --no-header --tb=no -rN --strict-markers"', alone)
    return text.replace(section[0], alone)


def put(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
