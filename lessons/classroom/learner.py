"""For the learner: what is done and what is next, checks, hints, a watch on the files, and lessons that run while half of the library is blank."""

import ast
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from lessons.classroom import progress, splice, warm
from lessons.classroom.checks import NOT_ATTEMPTED, NOT_YET, PASSED, TIMED_OUT, WAITING, Checker, Verdict, Worker, need_tools
from lessons.classroom.manifest import ROOT, Exercise, exercises, find, in_handout, syntax
from lessons.classroom.trees import Bench, Library, without_answers

CHANGED = "changed"  # since its last check
SIGNS = {PASSED: ("✓", "green"), NOT_YET: ("✗", "red"), TIMED_OUT: ("✗", "red"), CHANGED: ("~", "yellow"), WAITING: ("…", "yellow")}
MARGIN = "    "


def text_of(file: Path) -> str | None:
    """A learner's file, or None if it is missing, no file, too large to be one, or not text."""
    try:
        if not file.is_file() or file.stat().st_size > 1 << 20:
            return None
        return file.read_text(encoding="utf-8-sig")  # some of Windows' editors begin a file with a mark that Python overlooks
    except (OSError, ValueError):
        return None


def digest(exercise: Exercise, text: str | None) -> str:
    """Changes when the learner's function does, or a helper of theirs in the same file, and with nothing else."""
    with contextlib.suppress(splice.UnusableError):
        module = splice.parse(text or "", exercise.file)
        found = splice.locate(module, exercise.name)
        if found:
            others = {other.name.split(".")[0] for other in exercises() if other.file == exercise.file}
            helpers = [node for node in module.body if not splice.bound(node) & others]
            if found[1]:
                methods = {other.name for other in exercises() if other.file == exercise.file}
                helpers += [node for node in found[1].body if not {f"{found[1].name}.{name}" for name in splice.bound(node)} & methods]
            return hashlib.sha256("".join(ast.dump(node) for node in [found[0], *helpers]).encode()).hexdigest()[:16]
    return ""


@dataclass(frozen=True)
class Standing:
    """Where an exercise stands in this tree, without running anything."""

    exercise: Exercise
    state: str
    sentence: str
    digest: str
    line: int

    @property
    def where(self) -> str:
        return f"{self.exercise.file}:{self.line}"


def standing(exercise: Exercise) -> Standing:
    """What was last said of the function as it stands now."""
    text = text_of(ROOT / exercise.file)
    now, line, sentence = digest(exercise, text), 1, ""
    if now:
        function, _ = splice.locate(syntax(text), exercise.name)
        line = function.lineno
        if splice.is_blank(function):
            return Standing(exercise, NOT_ATTEMPTED, "", now, line)
    else:
        try:
            splice.parse(text or "", exercise.file)
        except splice.UnusableError as error:
            sentence = str(error)
    noted = progress.read("exercises").get(exercise.id, {})
    if now and noted.get("digest") == now:
        return Standing(exercise, noted["state"], noted["sentence"], now, line)
    return Standing(exercise, CHANGED, sentence, now, line)


@contextlib.contextmanager
def checking(seconds: float = 20.0) -> Iterator[Checker]:
    """A checker whose worker begins to warm up at once. Ends the program if pytest is not installed."""
    need_tools()
    with Worker() as worker:
        worker.start()
        with Bench(Library.here()) as bench:
            yield Checker(bench, worker, seconds=seconds)


def verdict_on(checker: Checker, exercise: Exercise) -> Verdict:
    """Check the learner's version of an exercise, and remember the verdict for as long as the function stays as it is."""
    text = text_of(ROOT / exercise.file)
    verdict = checker.verdict(exercise, text)
    if verdict.state != NOT_ATTEMPTED:
        progress.note("exercises", exercise.id, {"state": verdict.state, "sentence": verdict.sentence, "digest": digest(exercise, text)})
    return verdict


# What is printed


def overview(console: Console, stands: list[Standing] | None = None) -> None:
    """All exercises of this tree, a line each, and what is next."""
    stands = [standing(exercise) for exercise in exercises()] if stands is None else stands
    for lesson in dict.fromkeys(stand.exercise.lesson for stand in stands):
        mine = [stand for stand in stands if stand.exercise.lesson == lesson]
        line = Text(f"  lesson {lesson:02}  ")
        for stand in mine:
            sign, style = SIGNS.get(stand.state, ("·", "dim"))
            line.append(f"{sign} {stand.exercise.id:<6}", style)
        console.print(line)
    for stand in stands:
        if stand.state in (NOT_YET, TIMED_OUT, WAITING):
            console.print(Text(f"  {stand.exercise.id} {stand.exercise.name}: {stand.state}. {stand.sentence}"), soft_wrap=True)
    done = sum(stand.state == PASSED for stand in stands)
    filled = round(24 * done / max(1, len(stands)))
    console.print(Text(f"  [{'#' * filled}{'.' * (24 - filled)}] {done} of {len(stands)} done"))
    console.print(Text("  ✓ done  ✗ not yet  … waiting for another  ~ changed since its check  · not attempted", "dim"))
    following(console, stands)


def following(console: Console, stands: list[Standing] | None = None) -> None:
    """What to do next: the first exercise that is not done."""
    stands = [standing(exercise) for exercise in exercises()] if stands is None else stands
    left = [stand for stand in stands if stand.state != PASSED]
    if left:
        first, exercise = left[0], left[0].exercise
        said = f"next: {exercise.id} {exercise.title}: write {exercise.name} at {first.where}   (stuck? python -m lessons hint {exercise.id})"
        if first.state == CHANGED:  # or its file is no Python, of which only that is known
            said = f"next: {first.sentence}" if first.sentence else f"next: {exercise.id} {exercise.title}: python -m lessons check {exercise.id}"
        console.print(Text(said), soft_wrap=True)
    elif stands:
        console.print("All exercises are done.")


def show_verdict(console: Console, exercise: Exercise, verdict: Verdict, compare: bool = True) -> None:
    """What a check says; after success, the reference to `compare` with."""
    sign, style = SIGNS.get(verdict.state, ("·", "dim"))
    head = f"{sign} {exercise.id} {exercise.name}: {'done' if verdict.state == PASSED else verdict.state}. "
    console.print(Text(head, style).append(verdict.sentence if verdict.state != PASSED else exercise.title, "default"), soft_wrap=True)
    if verdict.said.strip():
        lines = verdict.said.strip().splitlines()
        console.print(Text("\n".join(f"{MARGIN}it printed: {line[:200]}" for line in lines[:8]) + ("\n    …" if len(lines) > 8 else ""), "dim"))
    if verdict.state == PASSED and compare:
        reference(console, exercise)


def reference(console: Console, exercise: Exercise) -> None:
    """The library's version with file and line, and the hints that were not asked for."""
    if without_answers():
        console.print(f"{MARGIN}(Your teacher kept the library's version.)")
    else:
        text = Library.here().files[exercise.file]
        function, _ = splice.locate(syntax(text), exercise.name)
        console.print(f"{MARGIN}The library's version, {exercise.file}:{function.lineno} before it was made blank:")
        body = "\n".join(splice.body_lines(text, exercise.name))
        console.print(Syntax(body, "python", background_color="default", start_line=function.lineno, word_wrap=True))
    used = progress.read("hints").get(exercise.id, 0)
    for number, hint in enumerate(exercise.hints[used:], used + 1):
        console.print(Text(f"{MARGIN}hint {number}, not used: {hint}", "dim"), soft_wrap=True)


# The commands


def check(words: list[str], seconds: float, console: Console) -> int:
    """Check the exercises named, or all that were begun; 1 if one of them is not right yet."""
    wanted = [exercise for word in words for exercise in find(word)] or [e for e in exercises() if standing(e).state != NOT_ATTEMPTED]
    if not wanted:
        console.print("Nothing was written yet.")
    bad = 0
    with checking(seconds) as checker:
        for exercise in wanted:
            done = standing(exercise).state == PASSED
            verdict = verdict_on(checker, exercise)
            show_verdict(console, exercise, verdict, compare=bool(words) or not done)  # of many, what failed would be lost among references
            bad += verdict.state not in (PASSED, NOT_ATTEMPTED)
    following(console)
    return int(bad > 0)


def hint(word: str, console: Console) -> int:
    """One more hint; after success, the reference and the hints that are left."""
    found = find(word)
    exercise = next((e for e in found if standing(e).state != PASSED), found[0])
    console.print(Text(f"{exercise.id} {exercise.title} ({exercise.name}, {standing(exercise).where})"))
    if standing(exercise).state == PASSED:
        console.print("This one is done.")
        reference(console, exercise)
        return 0
    given = min(progress.read("hints").get(exercise.id, 0) + 1, len(exercise.hints))
    progress.note("hints", exercise.id, given)
    for number, text in enumerate(exercise.hints[:given], 1):
        console.print(Text(f"{MARGIN}hint {number} of {len(exercise.hints)}: {text}", "bold" if number == given else "dim"), soft_wrap=True)
    if given == len(exercise.hints):
        console.print(f"{MARGIN}That was the last. The lesson explains it: python -m lessons show {exercise.lesson}")
    return 0


def watch(seconds: float, console: Console) -> int:
    """Check again whatever changes when a file is saved, until Ctrl-C."""
    stands = [standing(exercise) for exercise in exercises()]
    overview(console, stands)
    console.print("Watching: save a file, and its exercise is checked. Ctrl-C ends.")
    times = {exercise.file: stamp(exercise.file) for exercise in exercises()}
    with checking(seconds) as checker, Worker(behind=True) as second:
        ahead(Checker(checker.bench, second, seconds=seconds, known=checker.known), stands)
        seen = {stand.exercise.id: stand.digest for stand in stands}
        while True:
            time.sleep(0.1)
            for file in [file for file in times if stamp(file) != times[file]]:
                while times[file] != (times := times | {file: stamp(file)})[file]:
                    time.sleep(0.03)  # an editor may be half-way through writing it
                saved(console, checker, [exercise for exercise in exercises() if exercise.file == file], seen)


def saved(console: Console, checker: Checker, those: list[Exercise], seen: dict[str, str]) -> None:
    """A file with these exercises was saved: check the ones that are not as they were `seen`."""
    now = [standing(exercise) for exercise in those]
    if not any(stand.digest for stand in now):  # no Python at all, which is said once
        now, seen = now[:1], {}
    changed = [stand for stand in now if stand.digest != seen.get(stand.exercise.id, "-")]
    for stand in changed:
        seen[stand.exercise.id] = stand.digest
        verdict = Verdict(NOT_ATTEMPTED) if stand.state == NOT_ATTEMPTED else verdict_on(checker, stand.exercise)
        console.print(Text(time.strftime("%H:%M:%S "), "dim"), end="")
        show_verdict(console, stand.exercise, verdict)
    if changed:
        following(console)


def stamp(file: str) -> tuple:
    """What changes when the file is saved."""
    try:
        found = (ROOT / file).stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def ahead(checker: Checker, stands: Iterable[Standing]) -> None:
    """Run the known mistakes of what is not done yet while nothing else is to do, so that an answer need not wait for them."""
    left = [stand.exercise for stand in stands if stand.state != PASSED]
    Thread(target=lambda: [checker.mistakes(exercise) for exercise in left], daemon=True).start()


def run_lesson(number: str, options: list[str], console: Console) -> int:
    """A lesson with the learner's functions where they pass, and the library's for the rest."""
    library, mine, lent = Library.here(), [], []
    changed: dict[str, str] = {}
    with checking() as checker:
        for exercise in exercises():
            text = text_of(ROOT / exercise.file)
            now = standing(exercise)
            state = verdict_on(checker, exercise).state if now.state == CHANGED else now.state
            if state == PASSED:
                base = changed.get(exercise.file, library.files[exercise.file])
                changed[exercise.file] = splice.splice(base, exercise.name, text, exercise.file).text
            (mine if state == PASSED else lent).append(f"{exercise.id} {exercise.name}")
        console.print(Text(f"Yours: {', '.join(mine) or 'nothing yet'}.\nThe library's: {', '.join(lent) or 'nothing'}.\n", "dim"), soft_wrap=True)
        tree = checker.bench.tree()
        warm.place(changed, tree)
        lend(ROOT / "data", tree / "data")
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tree), str(ROOT)]), "TINYCLIP_LESSON": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.call([sys.executable, "-P", "-m", "lessons", "run", number, *options], env=environment)


def lend(folder: Path, place: Path) -> None:
    """A folder to read from, without copying it where links are allowed."""
    try:
        place.symlink_to(folder, target_is_directory=True)
    except OSError:
        shutil.copytree(folder, place)


def only_in_a_handout(command: str) -> None:
    """Ends the program where there is nothing to write."""
    if not in_handout():
        raise SystemExit(
            f"lessons: {command} is for a hand-out, and this is the library with every answer in it: make yours with "
            f"`python -m lessons handout ../my-course`, and work there."
        )


def lends() -> bool:
    """Is a lesson to be run with the library's functions in place of blanks? Not if this is that very run."""
    return in_handout() and not without_answers() and not os.environ.get("TINYCLIP_LESSON")
