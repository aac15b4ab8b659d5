"""A pytest plugin: in a hand-out `pytest` alone checks every exercise that was begun, calmly, and shows where the learner stands."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lessons.classroom import learner
from lessons.classroom.checks import NOT_ATTEMPTED, PASSED, WAITING, Checker
from lessons.classroom.manifest import LESSONS, Exercise, exercises

CHECKER = pytest.StashKey[Checker]()
OPEN = pytest.StashKey[contextlib.ExitStack]()
STANDS = pytest.StashKey[list]()


class NotYetError(Exception):
    """The verdict's sentence, without a traceback."""


class OneExercise(pytest.Item):
    """One exercise of the hand-out."""

    exercise: Exercise

    def runtest(self) -> None:
        stash = self.session.stash
        now = learner.standing(self.exercise)
        if now.state != NOT_ATTEMPTED:
            if CHECKER not in stash:
                stash[OPEN] = contextlib.ExitStack()
                stash[CHECKER] = stash[OPEN].enter_context(learner.checking())
            verdict = learner.verdict_on(stash[CHECKER], self.exercise)
            now = dataclasses.replace(now, state=verdict.state, sentence=verdict.sentence)
        stash.setdefault(STANDS, []).append(now)
        if now.state in (NOT_ATTEMPTED, WAITING):
            pytest.skip(now.sentence or now.state)
        if now.state != PASSED:
            raise NotYetError(f"{self.exercise.id} {self.exercise.name}: {now.state}. {now.sentence}")

    def repr_failure(self, excinfo: Any) -> str:
        return str(excinfo.value) if excinfo.errisinstance(NotYetError) else super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.exercise.id} {self.exercise.title}"


class Course(pytest.File):
    """exercises.toml, as a file of tests."""

    def collect(self) -> Iterator[OneExercise]:
        for exercise in exercises():
            item = OneExercise.from_parent(self, name=f"{exercise.id} {exercise.name}")
            item.exercise = exercise
            yield item


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Course | None:
    return Course.from_parent(parent, path=file_path) if file_path == LESSONS / "exercises.toml" else None


def pytest_sessionfinish(session: pytest.Session) -> None:
    if OPEN in session.stash:
        session.stash[OPEN].close()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    stands = terminalreporter._session.stash.get(STANDS, [])
    if stands:
        terminalreporter.write_line("")
        learner.overview(Console(highlight=False, width=None), stands)
