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


def test_what_is_said_is_shown_as_it_is(capsys):
    words = "a:smile:b [bold]c[/bold] [red"
    show.result(words)
    show.table(words, [(words, 1)], (words, "n"))
    show.line(words)
    said = capsys.readouterr()
    assert said.err.strip() == words, f"a line should be {words!r}, got {said.err!r}"
    assert said.out.count(words) == 4, f"a result, a table's title, head and cell should each be {words!r}, got {said.out!r}"
