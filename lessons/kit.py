"""What every lesson shares, so that a lesson holds nothing but its idea: flags, predictions, figures, and the numbers its test asserts.

A lesson is a script of cells (`# %%`), runs as a script, cell by cell in an editor, or as a notebook, and begins with `lesson = Lesson("07")`.
Where `__file__` and the command line are a notebook's, flags come from the environment: TINYCLIP_FAST=1 is --fast.
"""

import contextlib
import inspect
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lessons.classroom import manifest, progress
from lessons.course import course
from tinyclip import plots
from tinyclip.cli import begin_quickly

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PACKAGE = Path(plots.__file__).resolve().parent
FIGURES = Path(os.environ.get("TINYCLIP_FIGURES") or HERE / "figures")
BLUE, ORANGE, GREEN, RED, GREY = plots.BLUE, plots.ORANGE, plots.GREEN, plots.RED, plots.GREY


def exercises(lesson: str) -> list[manifest.Exercise]:
    """The exercises of a lesson."""
    return [exercise for exercise in manifest.exercises() if exercise.lesson == int(lesson)]


def target(name: str) -> Any:
    """The object that "tinyclip.losses:contrastive_loss" names."""
    module, _, path = name.partition(":")
    found = __import__(module, fromlist=["_"])
    for part in path.split("."):
        found = getattr(found, part)
    return found


def place(thing: Any) -> str:
    """Where a function or class stands, as `tinyclip/losses.py:33`; computed, so that it is never out of date."""
    thing = inspect.unwrap(thing.func if hasattr(thing, "func") else thing)
    file, line = Path(inspect.getsourcefile(thing)).resolve().relative_to(PACKAGE.parent), inspect.getsourcelines(thing)[1]
    if PACKAGE.parent != ROOT:  # the library was lent to a hand-out, which has the same function at another line
        line = line_of(ROOT / file, thing.__qualname__) or line
    return f"{file.as_posix()}:{line}"


def line_of(file: Path, name: str) -> int | None:
    """Where a function, a class or a method (`Class.method`) begins in a file; None if it is not there."""
    with contextlib.suppress(OSError, SyntaxError, ValueError, IndexError):
        node = manifest.syntax(file.read_text(encoding="utf-8"))
        for part in name.split("."):
            node = [inner for inner in node.body if getattr(inner, "name", None) == part][-1]
        return min(first.lineno for first in (node, *node.decorator_list))
    return None


def to_write(thing: Any) -> str:
    """In a hand-out: that a function is an exercise, or a class holds one, which does not pass yet. Its source would be the answer."""
    if not manifest.in_handout():
        return ""
    from lessons.classroom import checks, learner

    name, file = inspect.unwrap(thing).__qualname__, place(thing).partition(":")[0]
    for exercise in manifest.exercises():
        for asked in (exercise.target, *exercise.also):
            inside = f"{asked.partition(':')[2]}.".startswith(f"{name}.")
            if inside and manifest.file_of(asked) == file and learner.standing(exercise).state != checks.PASSED:
                return f"(exercise {exercise.id} is yours to write: its source is shown when yours passes)"
    return ""


def shown(path: Path) -> Path:
    """A path as one types it in the project's folder."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def in_notebook() -> bool:
    """Is this a notebook or an editor's cells?"""
    return "ipykernel" in sys.modules and hasattr(sys.modules["builtins"], "get_ipython")


def calmly(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """In a hand-out, a lesson that reaches a blank says so in a sentence; any other error is shown as always."""
    if issubclass(kind, NotImplementedError) and str(error).startswith("exercise "):
        print(f"\nThis needs what is not written yet: {error}\n`python -m lessons run` lends you the library's version.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


class Lesson:
    """One lesson while it runs. `results` holds every number it states; `functions` all it has shown."""

    def __init__(self, number: str) -> None:
        (self.entry,) = (entry for entry in course() if entry.number == number)
        arguments = [] if in_notebook() else sys.argv[1:]
        self.fast = "--fast" in arguments or os.environ.get("TINYCLIP_FAST") == "1"
        self.sources = "--show" in arguments or os.environ.get("TINYCLIP_SHOW") == "1"
        self.asks = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty() and not self.fast
        self.results: dict[str, Any] = {}
        self.functions: list[Any] = []
        self.figures: list[Path] = []
        self.guess, self.started = "", time.monotonic()
        unknown = [a for a in arguments if a.startswith("-") and a not in ("--fast", "--show")]
        if unknown:
            raise SystemExit(f"lessons/{self.entry.path.name}: unknown option {unknown[0]}; there are --fast and --show.")
        if manifest.in_handout():
            sys.excepthook = calmly
        if "TINYCLIP_TESTS" not in os.environ:
            begin_quickly()  # a second run need not compile again
        print(f"Lesson {number} · {self.entry.title}\n{self.entry.question}\n")

    def predict(self, question: str) -> None:
        """A question to answer before going on: asked on a terminal, printed elsewhere. `answer` follows once it has been computed."""
        print(f"Predict: {question}")
        if self.asks:
            try:
                self.guess = input("  your guess (Enter to go on): ").strip()
            except EOFError:
                self.guess = ""

    def answer(self, text: str) -> None:
        """The answer to the last prediction, beside the guess."""
        if self.guess:
            print(f"You said: {self.guess}")
        print(f"Answer:  {text}\n")
        self.guess = ""

    def show(self, *things: Callable | type) -> None:
        """Name functions of the library with file and line; with --show, print their source."""
        for thing in things:
            self.functions.append(thing)
            print(f"  read: {place(thing)}  {thing.__qualname__}")
            if self.sources:
                waiting = to_write(thing)
                print(f"\n  {waiting}\n" if waiting else "\n" + inspect.getsource(inspect.unwrap(thing)))

    def shapes(self, **arrays: Any) -> None:
        """The shapes of real arrays, by name."""
        for name, array in arrays.items():
            print(f"  {name:<18} {np.shape(array)!s:<18} {np.asarray(array).dtype if not hasattr(array, 'dtype') else array.dtype}")

    def compare(self, what: str, slow: Any, fast: Any) -> float:
        """Print and return the largest difference between the plain version's numbers and the library's."""
        difference = float(np.abs(np.asarray(slow, np.float64) - np.asarray(fast, np.float64)).max())
        print(f"  {what}: the two ways differ by at most {difference:.1e}")
        self.results[f"difference in {what}"] = difference
        return difference

    def claim(self, name: str, value: Any) -> Any:
        """Note a number that the lesson states; its test asserts a range for it. Returns the number."""
        self.results[name] = value
        return value

    def new_figure(self, width: float = 7.0, height: float = 3.5) -> Any:
        """An empty figure in the project's style; inches."""
        return plots.new_figure(width, height)

    def figure(self, figure: Any) -> Path:
        """Save the lesson's figure, and show it where pictures can be shown."""
        path = FIGURES / f"{self.entry.path.stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110, metadata={"Software": None})
        self.figures.append(path)
        if in_notebook():
            from IPython.display import Image, display

            display(Image(filename=str(path)))
        print(f"  figure: {shown(path)}")
        return path

    def recap(self, *lines: str) -> None:
        """Three lines to take away."""
        print("\nRecap")
        for line in lines:
            print(f"  · {line}")

    def try_this(self, edit: str, expect: str) -> None:
        """An edit to make, and what will happen."""
        print(f"\nTry this: {edit}\n  Expect: {expect}")

    def end(self) -> None:
        """The exercises, the next lesson, and a note that this one was done."""
        mine = exercises(self.entry.number)
        if mine:
            print("\nExercises" if manifest.in_handout() else "\nExercises (write these again in a hand-out: python -m lessons handout MY-COURSE)")
            for exercise in mine:
                print(f"  {exercise.id:<5} {exercise.title}  [{exercise.minutes} min]  {place(target(exercise.target))}")
        following = [entry for entry in course() if entry.number > self.entry.number]
        print(f"\nNext: lesson {following[0].number} · {following[0].title}" if following else "\nThat was the last lesson there is so far.")
        if not self.fast and not os.environ.get("TINYCLIP_FIGURES"):
            progress.note("lessons", self.entry.number, time.time())
        print(f"({time.monotonic() - self.started:.0f} s{'; with --fast, it is not noted as done' if self.fast else ''})")
