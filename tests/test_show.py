"""What people see: whole on a terminal of any width, and letter by letter what was said."""

import io
import re

import pytest
from rich.console import Console

from tinyclip import show


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_a_training_on_a_terminal_shows_everything_at_any_width(monkeypatch, width):
    monkeypatch.setenv("TERM", "xterm")
    screen = io.StringIO()
    monkeypatch.setattr(show, "errors", Console(file=screen, force_terminal=True, width=width, soft_wrap=True, color_system=None))
    with show.Progress(12000, 0) as progress:
        progress.update(12000, loss=2.131, rulers=(4.16, 1.51), accuracy=100.0, rate=13223.0)
    lines = re.sub(r"\x1b\[[?\d;]*[A-Za-z]|\r", "\n", screen.getvalue()).splitlines()
    for words in ("12000/12000", "━━━━━━━━━━", "0:00:00", "loss 2.131 (ln N 4.16, floor 1.51)", "accuracy 100.0 %", "13,223 pairs/s"):
        assert any(words in line for line in lines), f"{width} columns should show {words!r} in one piece, got {lines[-8:]}"
    longest = max(lines, key=len)
    assert len(longest) <= width, f"{width} columns do not hold a line of {len(longest)}, the terminal would break it: {longest!r}"


def test_elsewhere_than_on_a_terminal_what_takes_long_says_so_every_two_seconds(monkeypatch):
    screen, clock = io.StringIO(), iter(range(100))
    monkeypatch.setattr(show, "errors", Console(file=screen, **show.AS_WRITTEN))
    monkeypatch.setattr(show.time, "monotonic", lambda: next(clock))  # a second passes between one look and the next
    assert list(show.track("abcdefg", "reading")) == list("abcdefg"), "the items should come through, in order"
    lines = screen.getvalue().splitlines()
    assert lines == ["reading: 2 of 7", "reading: 5 of 7"], f"want a line once more than two seconds have passed (writing takes one), got {lines}"


def test_on_a_terminal_what_takes_long_has_a_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    screen = io.StringIO()
    monkeypatch.setattr(show, "errors", Console(file=screen, force_terminal=True, width=80, color_system=None))
    assert list(show.track("abc", "reading")) == list("abc"), "the items should come through, in order"
    assert "reading" in screen.getvalue() and "3/3" in screen.getvalue(), f"want a bar with its label and 3/3, got {screen.getvalue()!r}"


def test_what_is_said_is_shown_as_it_is(capsys):
    words = "a:smile:b [bold]c[/bold] [red"
    show.result(words)
    show.table(words, [(words, 1)], (words, "n"))
    show.line(words)
    said = capsys.readouterr()
    assert said.err.strip() == words, f"a line should be {words!r}, got {said.err!r}"
    assert said.out.count(words) == 4, f"a result, a table's title, head and cell should each be {words!r}, got {said.out!r}"
