"""Save and resume a run: parameters, optimiser and step, by Orbax, atomically, the newest three.

There is no random key to save: every step's randomness is `fold_in(key(seed), step)`. Lesson 10.
"""

import contextlib
import logging
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from .errors import UserError
from .train import State

FOLDER = "checkpoints"


def any_saved(run: Path) -> bool:
    """Whether the run's folder holds a checkpoint, without importing Orbax, which gives one its number for a name when it is whole."""
    return any(path.name.isdigit() for path in (run / FOLDER).glob("*"))


def numbered(runs: Path, name: str) -> dict[int, Path]:
    """What is called NAME-NNN under `runs`, by its number."""
    entries = runs.iterdir() if runs.is_dir() else ()
    return {int(found[1]): path for path in entries if (found := re.fullmatch(rf"{re.escape(name)}-([0-9]+)", path.name))}


def new_folder(runs: Path, name: str) -> Path:
    """`runs/NAME-001`, or the number after the highest there is."""
    return runs / f"{name}-{max(numbered(runs, name), default=0) + 1:03d}"


def newest_folder(runs: Path, name: str) -> Path:
    """The run of that name with the highest number. Raises `UserError` if there is none."""
    found = {number: path for number, path in numbered(runs, name).items() if (path / FOLDER).is_dir()}
    if not found:
        raise UserError(f"there is no run of {name} under {runs} to resume: name its folder with --out.")
    return found[max(found)]


class Checkpoints:
    """The checkpoints of one run's folder. A checkpoint that was being written when the machine stopped is not seen again."""

    def __init__(self, run: Path, keep: int = 3) -> None:
        self.folder, self.keep = (run / FOLDER).resolve(), keep
        # Orbax takes what stands in brackets for a pattern when it puts a checkpoint together, and a backslash, anywhere, for a slash.
        if sign := next((name for mark, name in (("[", "brackets"), ("\\", "backslash")) if mark in self.folder.as_posix()), None):
            raise UserError(f"checkpoints in {self.folder} could not be read again, because of the {sign} in its path: choose another --out.")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"could not make {run / FOLDER}: {error.strerror or error}.") from None

    @cached_property
    def ocp(self) -> ModuleType:
        """Orbax: slow to import, which should not keep anybody waiting for the first step."""
        logging.getLogger("absl").setLevel(logging.ERROR)
        import orbax.checkpoint as ocp

        return ocp

    @cached_property
    def manager(self) -> Any:
        """Orbax's own keeper of the folder."""
        options = self.ocp.CheckpointManagerOptions(max_to_keep=self.keep, create=False, enable_async_checkpointing=False)
        if jax.process_count() > 1:  # one process writes for all: the others must not be waited for
            options.multiprocessing_options = self.ocp.options.MultiprocessingOptions(
                primary_host=jax.process_index(), active_processes={jax.process_index()}, barrier_sync_key_prefix="tinyclip"
            )
        return self.ocp.CheckpointManager(self.folder, options=options)

    def save(self, state: State) -> int:
        """Write the state; returns its step. Raises `UserError` if it cannot be written; older checkpoints stay."""
        step = int(state.step)
        if step not in self.manager.all_steps():
            leaves = tuple(jax.device_get(jax.tree.leaves(state)))
            try:
                size, free = sum(leaf.nbytes for leaf in leaves), shutil.disk_usage(self.folder).free
                if size > free:  # before Orbax's threads meet the end of the disk, each with a traceback of its own
                    raise OSError(f"it takes {size / 1e6:.1f} MB, and {free / 1e6:.1f} MB are free")
                with tracebacks_aside():
                    self.manager.save(step, args=self.ocp.args.StandardSave(leaves))
                    self.manager.wait_until_finished()
            except (OSError, ValueError) as error:
                last = f"the last good one is of step {self.latest()}" if self.latest() is not None else "none was saved before"
                raise UserError(
                    f"could not write a checkpoint to {self.manager.directory} ({_first_line(error)}): free some space; {last}."
                ) from None
        return step

    def latest(self) -> int | None:
        """The newest step saved, if any."""
        return self.manager.latest_step()

    def restore(self, like: State) -> State:
        """The newest state, in NumPy. `like` gives structure and shapes. Raises `UserError` if there is none, or it is damaged."""
        step = self.latest()
        if step is None:
            raise UserError(f"{self.manager.directory} holds no checkpoint to resume from: start the run again with another --out.")
        leaves, structure = jax.tree.flatten(jax.device_get(like))
        try:
            with tracebacks_aside():
                saved = self.manager.restore(step, args=self.ocp.args.StandardRestore(tuple(leaves)))
            if [leaf.shape for leaf in saved] != [leaf.shape for leaf in leaves]:
                raise ValueError("its arrays are of other shapes")
        except Exception as error:  # Orbax raises what its storage layers raise, of any type, for a damaged file
            raise UserError(f"the checkpoint {self.manager.directory / str(step)} cannot be read ({_first_line(error)}).") from None
        return jax.tree.unflatten(structure, saved)

    def close(self) -> None:
        """Let Orbax stop its threads."""
        self.manager.close()


@contextlib.contextmanager
def tracebacks_aside() -> Iterator[None]:
    """What Orbax's threads raise reaches us anyway, but they print it, too; and tensorstore's, after a failure, call into a loop that is closed."""
    of_threads, of_all = threading.excepthook, sys.excepthook
    threading.excepthook = lambda _: None
    try:
        yield
    except Exception:
        sys.excepthook = lambda kind, error, trace: None if str(error) == "Event loop is closed" else of_all(kind, error, trace)
        raise
    finally:
        threading.excepthook = of_threads


def _first_line(error: Exception) -> str:
    if "No space left" in str(error):
        return "No space left on the disk"
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
