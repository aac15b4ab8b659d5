"""What lessons there are, read from their first cells: to add one is to write its script. It imports nothing heavy."""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from lessons.classroom.manifest import LESSONS as HERE


@dataclass(frozen=True)
class Entry:
    """A lesson as its own first cell describes it."""

    number: str
    name: str
    title: str
    question: str
    minutes: float
    path: Path


def course() -> list[Entry]:
    """Every lesson there is, in order, read from the scripts: to add one is to write its script."""
    entries = []
    for path in sorted(HERE.glob("[0-9][0-9]_*.py")):
        text = path.read_text(encoding="utf-8")
        title = re.search(r"^# # Lesson \d\d · (.+)$", text, re.M)
        question = re.search(r"^# \*\*Question\.\*\* ((?:.+\n# ?)*?.+)(?=\n(?:#\n|# %%|\n))", text, re.M)
        minutes = re.search(r"^# \*([\d.]+) min", text, re.M)
        if not (title and question and minutes):
            raise SystemExit(f"lessons/{path.name}: its first cell lacks the title, the **Question.** or the minutes.")
        said = re.sub(r"\n# ?", " ", question[1])
        entries.append(Entry(path.name[:2], path.stem[3:], title[1], said, float(minutes[1]), path))
    return entries


def find(words: str) -> Entry:
    """The lesson of that number or name. Ends the program with a suggestion if there is none."""
    lessons = course()
    for entry in lessons:
        if (words.lstrip("0") == entry.number.lstrip("0") and words.isdigit()) or words in (entry.name, entry.path.name, entry.path.stem):
            return entry
    near = difflib.get_close_matches(words, [entry.name for entry in lessons], 1, 0.4)
    hint = f"did you mean {near[0]}?" if near else f"there are {lessons[0].number} to {lessons[-1].number}."
    raise SystemExit(f"lessons: there is no lesson {words!r}: {hint}")
