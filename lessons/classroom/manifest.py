"""What is asked (exercises.toml) and what people answer (answers/NN.py), read as text: nothing of the library is imported."""

import ast
import difflib
import json
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock

LESSONS = Path(__file__).resolve().parents[1]
ROOT = LESSONS.parent
HANDOUT = LESSONS / "handout.json"
PARSING = Lock()


@dataclass(frozen=True)
class Exercise:
    """One function, or method, that a learner writes again."""

    id: str
    target: str
    also: tuple[str, ...]
    title: str
    minutes: int
    difficulty: int
    needs: tuple[str, ...]
    hints: tuple[str, ...]

    @property
    def lesson(self) -> int:
        return int(self.id.split(".")[0])

    @property
    def name(self) -> str:
        """The function without its module: `Grammar.describe`."""
        return self.target.partition(":")[2]

    @property
    def file(self) -> str:
        """Where it stands, from the root."""
        return file_of(self.target)


@dataclass(frozen=True)
class Answer:
    """A function of answers/NN.py. `sentence` is empty for a right one."""

    exercise: str
    sentence: str
    name: str
    file: Path


def syntax(text: str) -> ast.Module:
    """The syntax tree of a file. One thread at a time: until Python 3.12, two at once may end in a SystemError about recursion depth."""
    with PARSING:
        return ast.parse(text)


def file_of(target: str) -> str:
    """`tinyclip.world.draw:box` stands in `tinyclip/world/draw.py`."""
    return target.partition(":")[0].replace(".", "/") + ".py"


@cache
def all_exercises() -> tuple[Exercise, ...]:
    """Every exercise of the course, in order. Ends the program where they are not."""
    if not (LESSONS / "exercises.toml").is_file():
        raise SystemExit("lessons: the course is not beside this installed tinyclip: clone the repository, and there `pip install -e .`")
    declared = tomllib.loads((LESSONS / "exercises.toml").read_text(encoding="utf-8")).get("exercise", [])
    return tuple(Exercise(**{key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}) for entry in declared)


def in_handout() -> bool:
    """Is this a learner's tree, with bodies removed?"""
    return HANDOUT.exists()


def exercises() -> tuple[Exercise, ...]:
    """Those that are to be written here: in a hand-out the ones it asks for, in the library all of them."""
    if not in_handout():
        return all_exercises()
    asked = json.loads(HANDOUT.read_text(encoding="utf-8"))["exercises"]
    return tuple(exercise for exercise in all_exercises() if exercise.id in asked)


def find(words: str) -> list[Exercise]:
    """The exercises that "7.2", "7", "07" or a function's name stand for. Ends the program with a suggestion if there are none."""
    known = exercises()
    lesson, _, number = words.partition(".")
    if lesson.isdigit():
        found = [e for e in known if e.lesson == int(lesson) and (not number or e.id == f"{int(lesson)}.{number}")]
    else:
        found = [e for e in known if words in (e.name, e.name.split(".")[-1], e.target)]
    if found:
        return found
    near = difflib.get_close_matches(words, [name for e in known for name in (e.id, e.name)], 1, 0.5)
    given = " (it is solved already in this hand-out)" if any(words in (e.id, e.name) for e in all_exercises()) else ""
    raise SystemExit(f"lessons: there is no exercise {words!r} here{given}{f': did you mean {near[0]}?' if near else '.'}")


def answers(text: str, file: Path) -> list[Answer]:
    """The answers in a file of them."""
    found = []
    for node in syntax(text).body:
        for mark in getattr(node, "decorator_list", []):
            if isinstance(mark, ast.Call) and getattr(mark.func, "id", "") in ("wrong", "right"):
                exercise, *sentence = (ast.literal_eval(argument) for argument in mark.args)
                found.append(Answer(exercise, *(sentence or [""]), node.name, file))
    return found
