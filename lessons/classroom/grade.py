"""For the teacher: every learner's functions, one at a time, in the untouched library.

A learner's folder is only read, as text: nothing of it is run but the one function in question and its helpers, in a process with limits on
time and memory. It is no sandbox: somebody who means harm can do what any program can.
"""

import csv
import os
import secrets
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lessons.classroom import splice
from lessons.classroom.checks import NOT_ATTEMPTED, NOT_YET, PASSED, TIMED_OUT, Checker, Verdict, Worker, need_tools
from lessons.classroom.handout import lesson_range
from lessons.classroom.learner import text_of
from lessons.classroom.manifest import HANDOUT, ROOT, Exercise, all_exercises, in_handout
from lessons.classroom.trees import Bench, Library

GIVEN = "given"  # solved in the hand-out already
SIGNS = {PASSED: "[green]✓[/]", NOT_YET: "[red]✗[/]", TIMED_OUT: "[red]t[/]", NOT_ATTEMPTED: "[dim]·[/]", GIVEN: "[dim]g[/]"}
SECONDS, MEMORY = 15.0, 4 << 30


@dataclass(frozen=True)
class Learner:
    """A folder, and its name in the table."""

    name: str
    folder: Path


def unpacked(folder: Path) -> Path:
    """The hand-out in a folder, or in the only folder in it, and so on, as zip files nest them; the folder itself if there is none."""
    inner = folder
    while not (inner / "tinyclip").is_dir():
        inside = [path for path in inner.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))]
        if len(inside) != 1:
            return folder
        inner = inside[0]
    return inner


def learners(folders: list[Path]) -> list[Learner]:
    """Each folder, or the folders within it if it is no hand-out itself but holds some. Ends the program for a folder that does not exist."""
    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise SystemExit(f"lessons: {folder} is no folder: name the learners' hand-outs, or one folder that holds them all.")
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        whole = (folder / "tinyclip").is_dir() or not any((unpacked(path) / "tinyclip").is_dir() for path in inside)
        found += [folder] if whole else inside
    names = Counter(folder.resolve().name for folder in found)
    return [Learner(printable(f.resolve().name if names[f.resolve().name] == 1 else str(f)), unpacked(f)) for f in found]


def printable(text: str) -> str:
    """Without control characters: a learner's text must not steer the teacher's terminal or table."""
    return "".join(char if char.isprintable() else " " for char in text)


def verdict_on(checker: Checker, learner: Learner, exercise: Exercise) -> Verdict:
    """The verdict on one function of one learner. Whatever happens here is that learner's verdict and nobody else's."""
    try:
        text = text_of(learner.folder / exercise.file)
        if text is not None and is_given(learner, exercise, text, checker.bench.library):
            return Verdict(GIVEN)
        return checker.verdict(exercise, text)
    except Exception as error:
        return Verdict(NOT_YET, f"this could not be checked: {type(error).__name__}: {error}")


def is_given(learner: Learner, exercise: Exercise, text: str, library: Library) -> bool:
    """Was it solved in the hand-out? The hand-out does not ask for it, and it is the library's, to the letter."""
    asked = text_of(learner.folder / "lessons" / "handout.json")
    if asked is None or f'"{exercise.id}"' in asked:
        return False
    try:
        return splice.body_lines(text, exercise.name) == splice.body_lines(library.files[exercise.file], exercise.name)
    except (SyntaxError, ValueError, TypeError):
        return False


def grade(
    folders: list[Path], table: Path | None, lessons: str, seed: int | None, seconds: float, jobs: int | None, console: Console
) -> dict[tuple[str, str], Verdict]:
    """Grade all learners; prints a table, writes the CSV file, returns verdicts by (learner, exercise)."""
    if in_handout():
        raise SystemExit("lessons: grading needs the library itself, and this is a hand-out: run it in a clone of the repository.")
    need_tools()
    if (seed is not None and not 0 <= seed < 1 << 31) or (jobs is not None and jobs < 1):
        raise SystemExit("lessons: --seed must lie between 0 and 2^31 - 1, and --jobs be 1 or more.")
    if table is not None and not table.resolve().parent.is_dir():
        raise SystemExit(f"lessons: {table} cannot be written: its folder does not exist.")
    wanted = lesson_range(lessons) if lessons else None
    exercises = [exercise for exercise in all_exercises() if wanted is None or exercise.lesson in wanted]
    if not exercises:
        raise SystemExit(f"lessons: no exercises in lessons {lessons}.")
    people, seed, cores = learners(folders), secrets.randbelow(1 << 31) if seed is None else seed, jobs or os.cpu_count() or 1
    console.print(f"{len(people)} learners, {len(exercises)} exercises, seed {seed} (--seed {seed} repeats it).")
    if unsure := [learner.name for learner in people if not (learner.folder / HANDOUT.relative_to(ROOT)).is_file()]:
        said = "what their hand-out had solved counts as theirs, since lessons/handout.json is missing: ask for the whole folder."
        console.print(f"{', '.join(unsure)}: {said}", markup=False, soft_wrap=True)
    # Exercise by exercise, so that what one check compiled is there for all others of its kind.
    tasks = [(learner, exercise) for exercise in exercises for learner in people]
    verdicts = run_all(tasks, seed, seconds, cores, console)
    if table is not None:
        write(table, people, exercises, verdicts)
    show(console, people, exercises, verdicts)
    if table is not None:
        console.print(f"table: {table}")
    return verdicts


def run_all(
    tasks: list[tuple[Learner, Exercise]], seed: int, seconds: float, cores: int, console: Console
) -> dict[tuple[str, str], Verdict]:
    """All tasks, on `cores` workers, with progress."""
    known, shared = {}, {}
    verdicts: dict[tuple[str, str], Verdict] = {}
    checkers: SimpleQueue[Checker] = SimpleQueue()
    with Bench(Library.here()) as bench, ThreadPoolExecutor(cores) as threads, Bar(console, len(tasks)) as advance:
        workers = [Worker() for _ in range(cores)]
        for worker in workers:
            worker.start()
            checkers.put(Checker(bench, worker, seed, seconds, MEMORY, known, shared))

        def one(learner: Learner, exercise: Exercise) -> None:
            checker = checkers.get()
            try:
                verdicts[learner.name, exercise.id] = verdict_on(checker, learner, exercise)
            finally:
                checkers.put(checker)
                advance()

        try:
            for begun in [threads.submit(one, *task) for task in tasks]:
                begun.result()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)
            for worker in workers:
                worker.stop()
    return verdicts


class Bar:
    """A bar on a terminal, a line every tenth elsewhere."""

    def __init__(self, console: Console, number: int) -> None:
        columns = TextColumn("grading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self.console, self.number, self.done = console, number, 0
        self.bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None

    def __enter__(self) -> Callable[[], None]:
        if self.bar:
            self.bar.start()
            self.task = self.bar.add_task("", total=self.number)
        return self.advance

    def advance(self) -> None:
        self.done += 1
        if self.bar:
            self.bar.advance(self.task)
        elif self.done * 10 // self.number > (self.done - 1) * 10 // self.number:
            self.console.print(f"{self.done} of {self.number} checked")

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()


def show(console: Console, people: list[Learner], exercises: list[Exercise], verdicts: dict[tuple[str, str], Verdict]) -> None:
    """A row a learner, a sign an exercise; then the mistakes that most of the class make."""
    shown = Table(box=None, pad_edge=False)
    shown.add_column("")
    shown.add_column("done", justify="right")
    lessons = list(dict.fromkeys(exercise.lesson for exercise in exercises))
    for lesson in lessons:
        shown.add_column(f"{lesson:02}")
    for learner in people:
        mine = {exercise.id: verdicts[learner.name, exercise.id].state for exercise in exercises}
        asked = [state for state in mine.values() if state != GIVEN]
        signs = ["".join(SIGNS.get(mine[e.id], "?") for e in exercises if e.lesson == lesson) for lesson in lessons]
        shown.add_row(learner.name.replace("[", "\\["), f"{asked.count(PASSED)}/{len(asked)}", *signs)
    console.print(shown)
    console.print("✓ passed  ✗ not yet  t timed out  · not attempted  g given")
    mistakes = Counter((number, verdict.mistake) for (_, number), verdict in verdicts.items() if verdict.state == NOT_YET and verdict.mistake)
    for (number, sentence), count in mistakes.most_common(5):
        console.print(f"{count} x {number}: {sentence}", markup=False, soft_wrap=True)


def write(table: Path, people: list[Learner], exercises: list[Exercise], verdicts: dict[tuple[str, str], Verdict]) -> None:
    """One line for each learner and exercise."""
    part = table.with_name(table.name + ".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["learner", "exercise", "title", "state", "mistake", "message"])
        for learner in people:
            for exercise in exercises:
                verdict = verdicts[learner.name, exercise.id]
                cells = [learner.name, exercise.id, exercise.title, verdict.state, verdict.mistake, printable(verdict.message)]
                rows.writerow([f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell for cell in cells])  # no formulas in a spreadsheet
    part.replace(table)
