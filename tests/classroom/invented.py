"""Invented learners: hand-outs into which right, wrong or hostile functions are written."""

import random
import sys
from collections.abc import Callable
from pathlib import Path

from lessons.classroom import handout, splice
from lessons.classroom.manifest import all_exercises
from lessons.classroom.trees import Library

LIBRARY = Library.here()
BY_ID = {exercise.id: exercise for exercise in all_exercises()}


def write_answers(folder: Path, answers: dict[str, str], pick: Callable[[int], int] = lambda number: 0) -> None:
    """Into a hand-out: "library" is the library's function, "right" and "wrong" are known answers (`pick` which), else the lines of a body."""
    for number, kind in answers.items():
        exercise = BY_ID[number]
        file = folder / exercise.file
        text = file.read_text()
        if kind == "library":
            text = splice.splice(text, exercise.name, LIBRARY.files[exercise.file], exercise.file).text
        elif kind in ("right", "wrong"):
            known = [a for a in LIBRARY.answers if a.exercise == number and bool(a.sentence) == (kind == "wrong")]
            answer = known[pick(len(known))]
            text = splice.splice(text, exercise.name, LIBRARY.files[answer.file.as_posix()], str(answer.file), wanted=answer.name).text
        else:
            function, _ = splice.locate(splice.parse(text, exercise.file), exercise.name)
            lines, body = text.split("\n"), function.body[-1]
            lines[body.lineno - 1 : body.end_lineno] = [" " * body.col_offset + line for line in kind.split("\n")]
            text = "\n".join(lines)
        file.write_text(text)


def make_class(folder: Path, number: int) -> None:
    """A class of so many: each function written as in the library, otherwise, wrongly, or not at all, and no two files alike."""
    for k in range(number):
        chance = random.Random(k)
        place = folder / f"learner-{k:02}"
        handout.make(place, "", [], True)
        kinds = {number: chance.choice(["library", "library", "right", "wrong", "wrong", ""]) for number in BY_ID}
        write_answers(place, {number: kind for number, kind in kinds.items() if kind}, chance.randrange)
        for path in (place / "tinyclip").rglob("*.py"):
            path.write_text(path.read_text() + f"\n# {place.name}\n")


if __name__ == "__main__":  # python tests/classroom/invented.py FOLDER NUMBER, to time: python -m lessons grade FOLDER
    make_class(Path(sys.argv[1]), int(sys.argv[2]))
