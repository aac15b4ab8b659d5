"""`python -m lessons`: the course at a glance, and its lessons run or read."""

import difflib
import re
import subprocess
import sys
import traceback

from rich.console import Console
from rich.markdown import Markdown
from rich.syntax import Syntax
from rich.table import Table

from lessons.kit import HERE, Entry, course, exercises, progress

GALLERY = """# The course

How do pictures and sentences come to live in one space? Each lesson answers one question with one picture, in a script of a few minutes: read it, run
it, change it. All of them need a laptop and nothing else.

```
python -m lessons            # the course, and what is next
python -m lessons run 1      # a lesson from its first cell to its last; --show prints the library's code it talks about
python lessons/01_similarity.py
```

They open cell by cell in VS Code, PyCharm or Spyder, and as notebooks: `jupytext --to ipynb lessons/01_similarity.py`.
"""
USAGE = "usage: python -m lessons [list | run N [--fast] [--show] | run all | show N]"


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
    """The course, its minutes, and what was run already."""
    done, shown = progress(), Table(title="tinyclip, the course", title_justify="left", show_lines=False, expand=False)
    for name, justify in (("", "left"), ("lesson", "left"), ("the question", "left"), ("min", "right"), ("exercises", "right"), ("done", "left")):
        shown.add_column(name, justify=justify)
    for entry in course():
        number = len(exercises(entry.number))
        shown.add_row(entry.number, entry.title, entry.question, f"{entry.minutes:g}", str(number or "—"), "✓" if entry.number in done else "")
    console.print(shown)
    left = [entry for entry in course() if entry.number not in done]
    console.print(f"next: python -m lessons run {left[0].number}   ({left[0].title})" if left else "You have run them all.")


def find(words: str) -> Entry:
    """The lesson of that number or name. Ends the program with a suggestion if there is none."""
    lessons = course()
    for entry in lessons:
        if (words.lstrip("0") == entry.number.lstrip("0") and words.isdigit()) or words in (entry.name, entry.path.name, entry.path.stem):
            return entry
    names = [entry.name for entry in lessons]
    near = difflib.get_close_matches(words, names, 1, 0.4)
    hint = f"did you mean {near[0]}?" if near else f"there are {lessons[0].number} to {lessons[-1].number}."
    raise SystemExit(f"lessons: there is no lesson {words!r}: {hint}")


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
    """lessons/README.md, made from the lessons themselves."""
    rows = [GALLERY]
    for entry in course():
        file, picture = entry.path.name, f"figures/{entry.path.stem}.png"
        head = f"## {entry.number} · [{entry.title}]({file})\n\n{entry.question} *({entry.minutes:g} min)*"
        rows.append(f"{head}\n\n[![{entry.title}]({picture})]({file})\n")
    return "\n".join(rows)


def main(arguments: list[str]) -> int:
    """Run one command; returns the exit code."""
    console, words = Console(highlight=False), [a for a in arguments if not a.startswith("-")]
    match words:
        case [] | ["list"]:
            table(console)
        case ["run", "all"]:
            for entry in course():
                if subprocess.call([sys.executable, str(entry.path), *(a for a in arguments if a.startswith("-"))]):
                    print(f"lessons: lesson {entry.number} did not reach its end; see above.", file=sys.stderr)
                    return 1
        case ["run", which]:
            entry = find(which)
            sys.argv = [str(entry.path), *(a for a in arguments if a.startswith("-"))]
            try:
                run(entry, console)
            except Exception:
                traceback.print_exc()
                return 1
        case ["show", which]:
            for kind, text, _ in cells(find(which)):
                console.print(Markdown(text) if kind == "markdown" else Syntax(text, "python", background_color="default"))
                console.print()
        case ["gallery"]:
            (HERE / "README.md").write_text(gallery(), encoding="utf-8")
        case _:
            print(f"lessons: {' '.join(words)!r} is not a command. {USAGE}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)
