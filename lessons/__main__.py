"""`python -m lessons`: the course at a glance, its lessons run or read, and its exercises checked, hinted at, handed out and graded."""

import argparse
import difflib
import re
import subprocess
import sys
import traceback
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.syntax import Syntax
from rich.table import Table

from lessons.classroom import learner, manifest, progress
from lessons.course import HERE, Entry, course, find

BEGIN, END = "<!-- the lessons, written by `python -m lessons gallery` -->", "<!-- end of the lessons -->"


def cells(entry: Entry) -> list[tuple[str, str, int]]:
    """A lesson's cells as (kind, text, line): "markdown" without its comment signs, or "code"."""
    found, lines = [], entry.path.read_text(encoding="utf-8").splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("# %%")]
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        body = lines[start + 1 : stop]
        if "[markdown]" in lines[start]:
            found.append(("markdown", "\n".join(re.sub(r"^# ?", "", line) for line in body).strip(), start + 1))
        else:
            found.append(("code", "\n".join(body).rstrip(), start + 1))
    return found


def table(console: Console) -> None:
    """The course, its minutes, and what was run already; in a hand-out, the exercises too."""
    done, shown = progress.read("lessons"), Table(title="tinyclip, the course", title_justify="left", show_lines=False, expand=False)
    for name, justify in (("", "left"), ("lesson", "left"), ("the question", "left"), ("min", "right"), ("exercises", "right"), ("done", "left")):
        shown.add_column(name, justify=justify)
    for entry in course():
        number = sum(exercise.lesson == int(entry.number) for exercise in manifest.exercises())
        shown.add_row(entry.number, entry.title, entry.question, f"{entry.minutes:g}", str(number or "—"), "✓" if entry.number in done else "")
    console.print(shown)
    left = [entry for entry in course() if entry.number not in done]
    console.print(f"next: python -m lessons run {left[0].number}   ({left[0].title})" if left else "You have run them all.")
    if manifest.in_handout():
        console.print()
        learner.overview(console)


def run(entry: Entry, console: Console) -> None:
    """A lesson from its first cell to its last: its prose, and what its code prints."""
    scope = {"__name__": "__main__", "__file__": str(entry.path)}
    for kind, text, line in cells(entry):
        if kind == "markdown":
            console.print(Markdown(text))
            console.print()
        else:
            exec(compile("\n" * line + text, str(entry.path), "exec"), scope)


def gallery() -> str:
    """lessons/README.md, the part between its two marks made anew from the lessons themselves."""
    rows = []
    for entry in course():
        file, picture = entry.path.name, f"figures/{entry.path.stem}.png"
        head = f"## {entry.number} · [{entry.title}]({file})\n\n{entry.question} *({entry.minutes:g} min)*"
        rows.append(f"{head}\n\n[![{entry.title}]({picture})]({file})\n")
    before, _, rest = (HERE / "README.md").read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{chr(10).join(rows)}\n{END}{after}"


def run_all(options: list[str]) -> int:
    """Every lesson, each in a process of its own."""
    for entry in course():
        if subprocess.call([sys.executable, "-m", "lessons", "run", entry.number, *options]):
            print(f"lessons: lesson {entry.number} did not reach its end; see above.", file=sys.stderr)
            return 1
    return 0


def run_one(entry: Entry, options: list[str], console: Console) -> int:
    """One lesson, in this process; in a hand-out, with the library's version of what is still blank."""
    if learner.lends():
        return learner.run_lesson(entry.number, options, console)
    sys.argv = [str(entry.path), *options]
    try:
        run(entry, console)
    except NotImplementedError as error:
        if not str(error).startswith("exercise "):
            raise
        print(f"lessons: lesson {entry.number} needs what is not written yet: {error}", file=sys.stderr)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lessons", description="The course of tinyclip: lessons, exercises, hand-outs, grading.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="without a command, the course and what is next")
    commands.add_parser("list", help="the course, its minutes and your progress")
    command = commands.add_parser("run", help="run a lesson from its first cell to its last")
    command.add_argument("lesson", help="its number or name, or all")
    command.add_argument("--fast", action="store_true", help="smaller numbers, no questions")
    command.add_argument("--show", action="store_true", help="print the library's source it talks about")
    command = commands.add_parser("show", help="read a lesson without running it")
    command.add_argument("lesson", help="its number or name")
    command = commands.add_parser("check", help="is an exercise right? (in a hand-out)")
    command.add_argument("exercises", nargs="*", help="7.2, or 7 for all of a lesson, or a function's name; default: all that were begun")
    command.add_argument("--seconds", type=float, default=20.0, help="how long a check may take (default: %(default)g)")
    command = commands.add_parser("hint", help="one more hint each time (in a hand-out)")
    command.add_argument("exercise")
    command = commands.add_parser("watch", help="check again whenever a file is saved (in a hand-out)")
    command.add_argument("--seconds", type=float, default=10.0, help="how long a check may take (default: %(default)g)")
    command = commands.add_parser("handout", help="make a hand-out: the library with the exercises blank")
    command.add_argument("folder", type=Path, help="a new folder")
    command.add_argument("--lessons", default="", metavar="1-8", help="only these lessons; the exercises of all others are solved")
    command.add_argument("--solve", action="append", default=[], metavar="4.3,5", help="solve these exercises, or all of a lesson")
    command.add_argument("--without-answers", action="store_true", help="leave out the sealed file: no known mistakes, no reference")
    command = commands.add_parser("grade", help="check the hand-outs of a class")
    command.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="hand-outs, or a folder that holds them")
    command.add_argument("--csv", type=Path, metavar="FILE", help="write one line a learner and exercise")
    command.add_argument("--lessons", default="", metavar="1-8", help="grade only these lessons")
    command.add_argument("--seed", type=int, help="the random numbers of the tests (default: new ones)")
    command.add_argument("--seconds", type=float, default=15.0, help="how long one check may take (default: %(default)g)")
    command.add_argument("--jobs", type=int, help="how many at once (default: one a core)")
    commands.add_parser("gallery", help="write lessons/README.md anew")
    return parser


def main(words: list[str]) -> int:
    """Run one command; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # rather a ? than no table, where a file or a terminal knows no ✓
    names = list(arguments()._subparsers._group_actions[0].choices)
    if words and not words[0].startswith("-") and words[0] not in names:
        near = difflib.get_close_matches(words[0], names, 1, 0.4)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}."
        print(f"lessons: {words[0]!r} is not a command: {hint}", file=sys.stderr)
        return 2
    given, console = arguments().parse_args(words), Console(highlight=False)
    match given.command:
        case None | "list":
            table(console)
        case "run":
            options = [f"--{name}" for name in ("fast", "show") if getattr(given, name)]
            return run_all(options) if given.lesson == "all" else run_one(find(given.lesson), options, console)
        case "show":
            for kind, text, _ in cells(find(given.lesson)):
                console.print(Markdown(text) if kind == "markdown" else Syntax(text, "python", background_color="default", word_wrap=True))
                console.print()
        case "check" | "hint" | "watch":
            learner.only_in_a_handout(given.command)
            if given.command == "check":
                return learner.check(given.exercises, given.seconds, console)
            return learner.hint(given.exercise, console) if given.command == "hint" else learner.watch(given.seconds, console)
        case "handout":
            from lessons.classroom import handout

            asked = handout.make(given.folder, given.lessons, given.solve, not given.without_answers)
            console.print(f"{given.folder}: {len(asked)} exercises, {asked[0].id} to {asked[-1].id}. Its README.md says how to begin.", markup=False)
        case "grade":
            from lessons.classroom import grade

            grade.grade(given.folders, given.csv, given.lessons, given.seed, given.seconds, given.jobs, console)
        case "gallery":
            if not (HERE / "README.md").is_file():
                raise SystemExit("lessons: the gallery is made in a clone of the repository: there is no lessons/README.md here.")
            (HERE / "README.md").write_text(gallery(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)
