"""What a learner has done so far, in `lessons/progress.json`: lessons run, verdicts, hints asked for."""

import contextlib
import json
import os
from typing import Any

from lessons.classroom.manifest import LESSONS

FILE = LESSONS / "progress.json"
KINDS = ("lessons", "exercises", "hints")


def read(kind: str) -> dict[str, Any]:
    """What is noted under this kind; nothing if the file is missing or damaged."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found = json.loads(FILE.read_text(encoding="utf-8")).get(kind)
        if isinstance(found, dict):
            return found
    return {}


def note(kind: str, name: str, value: Any) -> None:
    """Note one thing; the file is replaced as a whole, so that it is never half-written."""
    everything = {each: read(each) for each in KINDS}
    everything[kind][name] = value
    part = FILE.with_suffix(".part")
    part.write_text(json.dumps(everything, indent=1), encoding="utf-8")
    os.replace(part, FILE)
