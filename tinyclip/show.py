"""What people see: progress bars on a terminal, plain lines elsewhere, small tables. Everything goes to stderr except results."""

import re
import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

T = TypeVar("T")
AS_WRITTEN = {"highlight": False, "markup": False, "emoji": False, "soft_wrap": True}  # or Rich would read [bold] and :smile: in a name
errors = Console(stderr=True, **AS_WRITTEN)
out = Console(**AS_WRITTEN)
PATIENCE = 2.0  # seconds: what takes longer shows that it is alive


def only_if(speaking: bool) -> None:
    """Whether anything is shown at all: of several processes only one speaks."""
    errors.quiet = out.quiet = not speaking


def line(text: str) -> None:
    """One plain line for the person watching."""
    errors.print(text)


def result(text: str) -> None:
    """One line of output proper, for the person or the pipe."""
    out.print(text)


def typed(word: str) -> str:
    """A word or a sentence as one types it in a shell: in double quotes, which all shells know, unless something in it asks for more."""
    if re.fullmatch(r"[\w./\\:-]+", word):
        return word
    return shlex.quote(word) if set(word) & set('"$`!\\') else f'"{word}"'


def track(items: Iterable[T], label: str) -> Iterator[T]:
    """The items, with a progress bar on a terminal, and elsewhere a line every two seconds."""
    items = list(items)
    if errors.is_terminal:
        with Bar(TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=errors, transient=True) as bar:
            yield from bar.track(items)
        return
    last = time.monotonic()
    for i, item in enumerate(items):
        if time.monotonic() - last > PATIENCE:
            line(f"{label}: {i} of {len(items)}")
            last = time.monotonic()
        yield item


def left_out(problems: Sequence[str], used: int) -> None:
    """What of a folder of pictures could not be used, if anything."""
    for problem in problems[:10]:
        line(f"left out: {problem}")
    if problems:
        line(f"{len(problems)} {'entry' if len(problems) == 1 else 'entries'} left out, {used} used")


def table(title: str, rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> None:
    """A small table: the first column is text, the others numbers."""
    grid = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    for i, name in enumerate(columns):
        grid.add_column(name, justify="right" if i else "left")
    for row in rows:
        grid.add_row(*map(str, row))
    out.print(grid)


class _TwoLines(Bar):
    """A bar, and its note below it: beside it, the note takes its place in a narrow terminal."""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield from super().get_renderables()
        yield from (Text(task.fields["note"], no_wrap=False, overflow="fold") for task in self.tasks)


class Progress:
    """How a training run is doing: loss between its rulers, accuracy, speed, time left."""

    def __init__(self, steps: int, done: int) -> None:
        self.steps, self.done, self.last = steps, done, 0.0
        self.bar = None
        if errors.is_terminal:
            self.bar = _TwoLines(TextColumn("step"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn(), console=errors)
            self.task = self.bar.add_task("train", total=steps, completed=done, note="compiling …")

    def __enter__(self) -> "Progress":
        if self.bar:
            self.bar.start()
        else:
            line("compiling …")
        self.start = time.monotonic()
        return self

    def update(self, step: int, *, loss: float, rulers: tuple[float, float] | None, accuracy: float, rate: float) -> None:
        """After a chunk. `rulers`: ln N and the floor, between which a contrastive loss lies; `rate` may be NaN while it is not known yet."""
        between = f" (ln N {rulers[0]:.2f}, floor {rulers[1]:.2f})" if rulers else ""
        pairs = "—" if rate != rate else f"{rate:,.0f}"
        note, now = f"loss {loss:.3f}{between} · accuracy {accuracy:5.1f} % · {pairs} pairs/s", time.monotonic()
        if self.bar:
            self.bar.update(self.task, completed=step, note=note)
        elif now - self.last > 5 or step == self.steps:
            left = (now - self.start) / max(1, step - self.done) * (self.steps - step)
            line(f"step {step} of {self.steps} · {note} · {left:.0f} s left")
            self.last = now

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()
