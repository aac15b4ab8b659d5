"""Every exercise: it can be done with what it needs and nothing else, a blank is called a blank, each known mistake gets its sentence."""

import builtins
import os
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

import pytest

from lessons.classroom import splice
from lessons.classroom.checks import NOT_ATTEMPTED, NOT_YET, PASSED, WAITING, Checker, Variant, Verdict, Worker
from lessons.classroom.manifest import Exercise, all_exercises, file_of
from lessons.classroom.trees import Bench, Library

pytestmark = pytest.mark.classroom

LIBRARY = Library.here()
EXERCISES = {exercise.id: exercise for exercise in all_exercises()}
ANSWERS = {f"{answer.exercise} {answer.name}": answer for answer in LIBRARY.answers}
WRONG = [label for label, answer in ANSWERS.items() if answer.sentence]
RIGHT = [label for label, answer in ANSWERS.items() if not answer.sentence]
NEEDS = [(exercise.id, need) for exercise in EXERCISES.values() for need in exercise.needs]


def blanked(exercises: list[Exercise]) -> dict[str, str]:
    """The files in which the functions of these exercises, and their twins, are blank."""
    by_file: dict[str, dict[str, str]] = {}
    for exercise in exercises:
        for target in (exercise.target, *exercise.also):
            by_file.setdefault(file_of(target), {})[target.partition(":")[2]] = exercise.id
    return {file: splice.blank(LIBRARY.files[file], file, names) for file, names in by_file.items()}


def all_that_it_needs(exercise: Exercise) -> set[str]:
    return {exercise.id}.union(*(all_that_it_needs(EXERCISES[need]) for need in exercise.needs))


@dataclass
class Pool:
    """Checkers, one a core, that work ahead: whatever the selected tests will ask for is begun at once."""

    threads: ThreadPoolExecutor
    checkers: SimpleQueue
    begun: dict[tuple, Future]

    def ask(self, kind: str, label: object) -> Verdict:
        return self.begin(kind, label).result()[kind, label]

    def begin(self, kind: str, label: object) -> Future:
        """An exercise's known mistakes run together in one process, and so do its blanks; a right answer runs alone, as a learner's does."""
        number = label[0] if kind == "needs" else label.split()[0]
        key = (kind, label) if kind == "right" else (kind == "wrong", number)
        if key not in self.begun:
            self.begun[key] = self.threads.submit(self.work, EXERCISES[number], kind, label)
        return self.begun[key]

    def work(self, exercise: Exercise, kind: str, label: object) -> dict[tuple, Verdict]:
        checker = self.checkers.get()
        try:
            if kind == "right":
                runs = {(kind, label): checker.run_answers(exercise, [ANSWERS[label]])[0]}
            elif kind == "wrong":
                runs = {("wrong", f"{exercise.id} {answer.name}"): run for answer, run in checker.mistakes(exercise)}
            else:
                asked = variants_of(exercise)
                runs = dict(zip(asked, checker.run(exercise, *asked.values()), strict=True))
            return {key: checker.judge(exercise, run) for key, run in runs.items()}
        finally:
            self.checkers.put(checker)


def variants_of(exercise: Exercise) -> dict[tuple, Variant]:
    """The library with this exercise blank, and so on; each with every file that any of them changes, since they follow one another."""
    needed = all_that_it_needs(exercise)
    files = {("alone", exercise.id): blanked([other for other in EXERCISES.values() if other.id not in needed])}
    files["blank", exercise.id] = blanked([exercise])
    files |= {("needs", (exercise.id, need)): blanked([EXERCISES[need]]) for need in exercise.needs}
    every = {file: LIBRARY.files[file] for changed in files.values() for file in changed}
    return {key: Variant(every | changed, {}) for key, changed in files.items()}


@pytest.fixture(scope="module")
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    cores, known = os.cpu_count() or 1, {}
    with Bench(LIBRARY) as bench, ThreadPoolExecutor(cores) as threads:
        workers = [Worker() for _ in range(cores)]
        pool = Pool(threads, SimpleQueue(), {})
        for worker in workers:
            pool.checkers.put(Checker(bench, worker, known=known))
        for item in request.session.items:
            if item.path == request.path and getattr(item, "callspec", None) and (kind := item.callspec.params.get("kind")):
                pool.begin(kind, item.callspec.params["label"])
        yield pool
        threads.shutdown(cancel_futures=True)
        for worker in workers:
            worker.stop()


@pytest.mark.parametrize(("kind", "label"), [("alone", number) for number in EXERCISES], ids=list(EXERCISES))
def test_the_library_passes_with_nothing_in_it_but_what_the_exercise_needs(pool: Pool, kind: str, label: str) -> None:
    """All other exercises are blank."""
    verdict = pool.ask(kind, label)
    assert verdict.state == PASSED, f"{label}: its tests want more than `needs` declares: {verdict.state}: {verdict.sentence}"
    assert verdict.seconds < 15, f"{label}: its checks, which compile everything anew here, take {verdict.seconds:.1f} s; a class waits for them"


@pytest.mark.parametrize(("kind", "label"), [("blank", number) for number in EXERCISES], ids=list(EXERCISES))
def test_a_blank_is_not_attempted(pool: Pool, kind: str, label: str) -> None:
    verdict = pool.ask(kind, label)
    assert verdict.state == NOT_ATTEMPTED, f"{label} blank: {verdict.state}: {verdict.sentence} {verdict.said}"


@pytest.mark.parametrize(("kind", "label"), [("needs", pair) for pair in NEEDS], ids=[f"{a} without {b}" for a, b in NEEDS])
def test_a_test_that_reaches_another_blank_is_waiting_for_it(pool: Pool, kind: str, label: tuple[str, str]) -> None:
    verdict = pool.ask(kind, label)
    assert (verdict.state, verdict.message) == (WAITING, f"waiting for {label[1]}"), f"{label}: {verdict}"


@pytest.mark.parametrize(("kind", "label"), [("wrong", label) for label in WRONG], ids=WRONG)
def test_a_known_mistake_gets_its_sentence(pool: Pool, kind: str, label: str) -> None:
    verdict = pool.ask(kind, label)
    assert verdict.state != PASSED, f"{label}: this mistake passes every test of the exercise"
    assert verdict.state == NOT_YET, f"{label}: {verdict.state} {verdict.sentence}"
    assert verdict.mistake == ANSWERS[label].sentence, f"{label} is taken for another mistake: {verdict.sentence}"


@pytest.mark.parametrize(("kind", "label"), [("right", label) for label in RIGHT], ids=RIGHT)
def test_a_right_answer_written_another_way_passes(pool: Pool, kind: str, label: str) -> None:
    verdict = pool.ask(kind, label)
    assert verdict.state == PASSED, f"{label} is right, but: {verdict.sentence} {verdict.said}"


@pytest.mark.parametrize("number", EXERCISES)
def test_the_last_hint_calls_only_what_its_file_knows(number):
    exercise = EXERCISES[number]
    called = re.findall(r"(?<![\w.])([A-Za-z_]\w*)\(", exercise.hints[-1])
    unknown = [name for name in called if not hasattr(builtins, name) and not re.search(rf"\b{name}\b", LIBRARY.files[exercise.file])]
    assert not unknown, f"{exercise.id}: the last hint calls {unknown}, which {exercise.file} does not have: {exercise.hints[-1]}"
