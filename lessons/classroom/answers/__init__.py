"""What learners write, lesson by lesson: mistakes, each with the sentence that answers it, and right answers written another way.

They are read as text and spliced into the library in place of the exercise's function (see `lessons/classroom/splice.py`), never called from
here. Names of the function's own module are imported only so that a reader, and ruff, can follow.
"""

from collections.abc import Callable
from typing import Any


def wrong(exercise: str, sentence: str) -> Callable[[Any], Any]:
    """Marks a mistake people make in this exercise; `sentence` is what somebody who makes it should read."""
    return lambda function: function


def right(exercise: str) -> Callable[[Any], Any]:
    """Marks an answer that is right and written unlike the library's."""
    return lambda function: function
