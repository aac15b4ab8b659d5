"""The untouched library and its tests: in a clone they are the files themselves, in a hand-out they come out of `lessons/sealed.bin`.

A check runs in a temporary tree made of them, so neither a wrong neighbour nor an edited test can change its verdict.
"""

import compileall
import json
import lzma
import re
import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lessons.classroom.manifest import LESSONS, ROOT, Answer, answers, in_handout

SEALED = LESSONS / "sealed.bin"
PYTEST = """[pytest]
pythonpath = . tests
markers =
    exercise(id): checks that exercise
    slow: takes long
    lessons: runs lessons
    classroom: runs checks
"""


@dataclass(frozen=True)
class Library:
    """Text files by their path from the root: `tinyclip/`, `tests/` and `lessons/classroom/answers/`."""

    files: dict[str, str]

    @classmethod
    def of(cls, root: Path) -> "Library":
        """As it stands in this folder."""
        folders = ("tinyclip", "tests", "lessons/classroom/answers")
        paths = sorted(path for folder in folders for path in (root / folder).rglob("*.py"))
        return cls({path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths})

    @classmethod
    def here(cls) -> "Library":
        """The untouched one. In a hand-out without answers there is none: the learner's own stands in for it."""
        if SEALED.exists():
            return cls.unsealed(SEALED.read_bytes())
        return cls.of(ROOT)

    def sealed(self) -> bytes:
        return lzma.compress(json.dumps(self.files).encode(), preset=6)

    @classmethod
    def unsealed(cls, data: bytes) -> "Library":
        return cls(json.loads(lzma.decompress(data)))

    @cached_property
    def answers(self) -> list[Answer]:
        """The wrong and right answers it comes with; none in a hand-out without answers."""
        return [answer for path, text in self.files.items() if re.search(r"answers/\d\d\.py$", path) for answer in answers(text, Path(path))]

    def tests_of(self, exercise: str) -> list[str]:
        """The test files with a check of this exercise."""
        mark = f'exercise("{exercise}")'
        return [path for path, text in self.files.items() if path.startswith("tests/") and path.split("/")[-1].startswith("test_") and mark in text]


class Bench:
    """A temporary folder with the library, compiled once; trees with one file changed are quick copies of it. A context manager."""

    def __init__(self, library: Library) -> None:
        self.library = library

    def __enter__(self) -> "Bench":
        self._folder = tempfile.TemporaryDirectory(prefix="tinyclip-check-", ignore_cleanup_errors=True)
        self.home = Path(self._folder.name).resolve()  # as pytest names it: on a Mac, the temporary folder is a link
        base, count = self.home / "library", 0
        for path, text in self.library.files.items():
            if path.startswith(("tinyclip/", "tests/")):
                (base / path).parent.mkdir(parents=True, exist_ok=True)
                (base / path).write_text(text, encoding="utf-8")
                count += 1
        (base / "pytest.ini").write_text(PYTEST)
        compileall.compile_dir(base, quiet=2)
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def tree(self) -> Path:
        """A copy in a folder of its own. Remove it with `drop` when done."""
        tree = Path(tempfile.mkdtemp(prefix="tree-", dir=self.home))
        shutil.copytree(self.home / "library", tree, dirs_exist_ok=True)
        return tree

    @staticmethod
    def drop(tree: Path) -> None:
        shutil.rmtree(tree, ignore_errors=True)


def without_answers() -> bool:
    """Is this a hand-out whose teacher kept the answers?"""
    return in_handout() and not SEALED.exists()
