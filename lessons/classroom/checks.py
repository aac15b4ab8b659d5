"""The verdict on one function: spliced into the untouched library, run through its exercise's tests, and compared with mistakes known by name.

A mistake is recognised only if everything the tests looked at is what that mistake gives: the same tests fail, on the same numbers. Any other wrong
answer gets the plain numbers.
"""

import ast
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from lessons.classroom import splice, trees, warm
from lessons.classroom.manifest import Answer, Exercise, syntax
from lessons.classroom.trees import Bench

PASSED, NOT_YET, NOT_ATTEMPTED, WAITING, TIMED_OUT = "passed", "not yet", "not attempted", "waiting", "timed out"
SECONDS, MEMORY = 30.0, 8 << 30
Run = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What became of an exercise. `message` says what was wrong; `mistake` is the sentence of a recognised one; `said` is what it printed."""

    state: str
    message: str = ""
    mistake: str = ""
    said: str = ""
    seconds: float = 0.0

    @property
    def sentence(self) -> str:
        return f"{self.message}{f': {self.mistake}' if self.mistake else ''}"


class Variant(NamedTuple):
    """Files of the library changed, and the lines of the exercise's file that its author wrote, with their numbers in the author's own."""

    files: dict[str, str]
    lines: dict[int, int]


def need_tools() -> None:
    """Ends the program where checks cannot run: a plain `pip install -e .` has neither pytest nor hypothesis."""
    missing = [name for name in ("pytest", "hypothesis") if importlib.util.find_spec(name) is None]
    if missing:
        raise SystemExit(f"lessons: checks need {' and '.join(missing)}, not installed here: {sys.executable} -m pip install -e \".[classroom]\"")


class Worker:
    """A warm process that runs checks, one at a time (see `warm.py`). A context manager; it starts when first used.

    One that works `behind` gives way to all others.
    """

    def __init__(self, behind: bool = False) -> None:
        self.process: subprocess.Popen | None = None
        self.closed = False  # for good: another thread may still want to run a check
        self.options = ["--behind"] if behind else []

    def start(self) -> None:
        """Begin to import JAX, without waiting for it."""
        if self.process is None and hasattr(os, "fork") and not self.closed:
            # -P: not the folder it stands in; its own session: Ctrl-C is for the parent, which ends it.
            command, pipe = [sys.executable, "-P", str(Path(warm.__file__)), *self.options], subprocess.PIPE
            self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment(), start_new_session=True)

    def run(self, job: warm.Job) -> Run:
        """Run one check: {"outcome": "ended" | "timed out", "tests": [...], "said": what it printed}."""
        self.start()
        process, gone = self.process, {"outcome": "ended", "code": 1, "said": ""}
        if process is None:
            return gone if self.closed else self.alone(job)
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())
        except (OSError, ValueError):  # it is gone: the next check starts another
            self.stop()
            return gone

    def alone(self, job: warm.Job) -> Run:
        """The same in a new interpreter, where processes cannot fork."""
        command = [sys.executable, "-P", str(Path(warm.__file__)), "--once"]
        try:
            done = subprocess.run(
                command, input=json.dumps(job), capture_output=True, text=True, errors="replace", timeout=job["seconds"] + 10, env=environment()
            )
        except subprocess.TimeoutExpired:
            return {"outcome": "timed out", "said": ""}
        return {"outcome": "ended", "code": done.returncode, "said": done.stderr[: warm.KEPT]}  # where what is printed goes, see `warm.main`

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError, ValueError):
                    pipe.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True
        self.stop()


def environment() -> dict[str, str]:
    """Nothing of the caller's Python path or settings reaches a check.

    Each of XLA's threads, one a core, would set aside 64 MB of addresses for its own use: on 20 cores, more than a check may have.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "TINYCLIP", "JAX", "XLA"))}
    return kept | {"MALLOC_ARENA_MAX": "2", "PYTHONUTF8": "1"}


class Checker:
    """Gives verdicts. The workers of a grading share one bench, one store of `known` mistakes, and the verdicts on functions that are the same."""

    def __init__(
        self,
        bench: Bench,
        worker: Worker,
        seed: int = 0,
        seconds: float = SECONDS,
        memory: int = MEMORY,
        known: dict | None = None,
        shared: dict[str, Verdict] | None = None,
    ) -> None:
        self.bench, self.worker, self.seed, self.seconds, self.memory = bench, worker, seed, seconds, memory
        self.known: dict[str, tuple[Lock, list[tuple[Answer, Run]]]] = {} if known is None else known
        self.shared = shared

    def run(self, exercise: Exercise, *variants: Variant) -> list[Run]:
        """The exercise's tests on variants of the library, one after the other in one process."""
        tree = self.bench.tree()
        try:
            job = {
                "exercise": exercise.id, "tree": str(tree), "files": self.bench.library.tests_of(exercise.id), "file": exercise.file,
                "variants": [variant._asdict() for variant in variants], "seed": self.seed, "seconds": self.seconds * len(variants),
                "memory": self.memory, "result": str(tree / "result.json"), "cache": str(self.bench.home / "compiled"),
            }  # fmt: skip
            run, results = self.worker.run(job), [{}] * len(variants)
            with contextlib.suppress(OSError, ValueError):
                results = json.loads((tree / "result.json").read_text())
            return [run | result for result in results]
        finally:
            trees.Bench.drop(tree)

    def run_answers(self, exercise: Exercise, answers: list[Answer]) -> list[Run]:
        """The tests with each of these known answers in place."""
        files, variants = self.bench.library.files, []
        for answer in answers:
            spliced = splice.splice(files[exercise.file], exercise.name, files[answer.file.as_posix()], str(answer.file), wanted=answer.name)
            variants.append(Variant({exercise.file: spliced.text}, spliced.lines))
        return self.run(exercise, *variants)

    def verdict(self, exercise: Exercise, text: str | None) -> Verdict:
        """The verdict on the exercise's function as it stands in `text`, somebody's version of its file (None: there is no such file)."""
        if text is None:
            return Verdict(NOT_YET, f"{exercise.file} is missing, or is not text: take it from a fresh hand-out")
        try:
            found = splice.locate(splice.parse(text, exercise.file), exercise.name)
            if found and splice.is_blank(found[0]):
                return Verdict(NOT_ATTEMPTED, f"write {exercise.name} at {exercise.file}:{found[0].lineno}")
            if trees.without_answers():
                changed, lines = {**trees.Library.here().files}, {line: line for line in range(1, text.count("\n") + 2)}
            else:
                spliced = splice.splice(self.bench.library.files[exercise.file], exercise.name, text, exercise.file)
                changed, lines = {exercise.file: spliced.text}, spliced.lines
        except splice.UnusableError as error:
            return Verdict(NOT_YET, str(error))
        key = exercise.id + ast.dump(syntax(changed[exercise.file])) if self.shared is not None else ""
        here = key + repr(lines)  # what is said of a mistake names lines of its author's file
        if key and (found := self.shared.get(key) or self.shared.get(here)):
            return found
        (run,) = self.run(exercise, Variant(changed, lines))
        verdict = self.judge(exercise, run)
        if key and "tests" in run:  # not what was timed out or ended: that may be the machine's doing
            self.shared[key if verdict.state == PASSED else here] = verdict
        return verdict

    def judge(self, exercise: Exercise, run: Run) -> Verdict:
        """The verdict on a run: its first test that did not pass speaks."""
        said, seconds = run["said"], run.get("seconds", 0.0)
        if run["outcome"] == "timed out":
            return Verdict(TIMED_OUT, f"it took more than {self.seconds:g} s: is there a loop that does not end?", "", said, self.seconds)
        if "tests" not in run:
            return Verdict(NOT_YET, f"Python itself ended while it ran (exit code {run['code']}): does it call exit?", "", said, seconds)
        if not run["tests"]:
            raise RuntimeError(f"no test is marked as a check of exercise {exercise.id}")
        failed = next((test for test in run["tests"] if test["outcome"] != "passed"), None)
        if failed is None:
            return Verdict(PASSED, "", "", said, seconds)
        if failed["outcome"] == "blank":
            if failed["waits"] == exercise.id:
                message = f"the line raise NotImplementedError(...) still stands in {exercise.name}: delete it"
                return Verdict(NOT_ATTEMPTED, message, "", said, seconds)
            return Verdict(WAITING, f"waiting for {failed['waits']}", "", said, seconds)
        mistake, hint = self.recognised(exercise, run), failed.get("hint")
        return Verdict(NOT_YET, failed["message"] + (f": {hint}" if hint and not mistake else ""), mistake, said, seconds)

    def recognised(self, exercise: Exercise, run: Run) -> str:
        """The sentence of the known mistake that gives all that was seen here, or nothing."""
        return next((answer.sentence for answer, other in self.mistakes(exercise) if same(run, other)), "")

    def mistakes(self, exercise: Exercise) -> list[tuple[Answer, Run]]:
        """The known mistakes, and what the tests see of them: run when the exercise is first failed, and kept."""
        lock, runs = self.known.setdefault(exercise.id, (Lock(), []))
        with lock:
            wrong = [answer for answer in self.bench.library.answers if answer.exercise == exercise.id and answer.sentence]
            if wrong and not runs:
                runs += zip(wrong, self.run_answers(exercise, wrong), strict=True)
        return runs


def same(run: Run, other: Run) -> bool:
    """Did two runs look alike to every test: the same ones failed, on the same numbers, or stopped with the same words?"""
    mine, theirs = run.get("tests"), other.get("tests")
    if mine is None or theirs is None:
        return (run["outcome"], run.get("code")) == (other["outcome"], other.get("code"))
    return len(mine) == len(theirs) and all(alike(a, b) for a, b in zip(mine, theirs, strict=True))


def alike(test: Run, other: Run) -> bool:
    if (test["id"], test["outcome"]) != (other["id"], other["outcome"]) or len(test["seen"]) != len(other["seen"]):
        return False
    told = test.get("compared") or test.get("what") == other.get("what")
    return bool(told) and all(equal(a, b) for a, b in zip(test["seen"], other["seen"], strict=True))


def equal(seen: list, other: list) -> bool:
    """The same numbers, but for rounding."""
    (name, kind, shape, numbers), (name_, kind_, shape_, numbers_) = seen, other
    if (name, kind, shape) != (name_, kind_, shape_) or not isinstance(numbers, list) or not isinstance(numbers_, list):
        return (name, kind, shape, numbers) == (name_, kind_, shape_, numbers_)
    a, b = (np.array(x, np.float64) for x in (numbers, numbers_))
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~np.isfinite(b)], equal_nan=True) or (finite != np.isfinite(b)).any():
        return False
    return bool((np.abs(a[finite] - b[finite]) <= 1e-5 * max(1.0, np.abs(b[finite]).max(initial=0))).all())
