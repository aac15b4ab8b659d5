"""Two models of a few steps, trained once for all tests that need one: on the world `sixteen`, and on a small folder of drawn pictures."""

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from unittest import mock

import jax

from tinyclip import cli
from tinyclip.config import RECIPES

STEPS, BATCH, CHUNK = 4, 6, 2
ARGS = ("--world", "sixteen", "--size", "nano", "--steps", str(STEPS), "--batch-size", str(BATCH))


def home() -> Path:
    """The session's folder, which its workers share; conftest.py makes and removes it."""
    return Path(os.environ["TINYCLIP_TESTS"])


def once(name: str, make: Callable[[Path], str]) -> tuple[Path, str]:
    """The folder that `make` fills, and what it printed: the first worker to ask makes it, the others wait."""
    out, said = home() / name, home() / f"{name}.txt"
    try:
        (home() / f"{name}.made").mkdir()
    except FileExistsError:
        for _ in range(600):
            if said.exists():
                return out, said.read_text()
            time.sleep(0.2)
        raise AssertionError(f"another worker did not finish {name}") from None
    printed = make(out)
    (home() / f"{name}.part").write_text(printed)
    (home() / f"{name}.part").rename(said)
    return out, printed


KEPT = {  # what JAX is told, so that all that is compiled is kept for the session: name -> value here, JAX's own value
    "jax_compilation_cache_dir": (str(home() / "compiled"), None),
    "jax_persistent_cache_min_compile_time_secs": (0.0, 1.0),
    "jax_persistent_cache_min_entry_size_bytes": (-1, 0),
}
COMPILED_ONCE = {name.upper(): str(value) for name, (value, _) in KEPT.items()}  # the same, in the environment of a program of its own


@contextlib.contextmanager
def compiled_once() -> Iterator[None]:
    """What is compiled here is kept for the session."""
    for name, (value, _) in KEPT.items():
        jax.config.update(name, value)
    try:
        yield
    finally:
        for name, (_, value) in KEPT.items():
            jax.config.update(name, value)


@contextlib.contextmanager
def quick() -> Iterator[None]:
    """Compiling, which is most of these tests' time, is done once; chunks are of `CHUNK` steps."""
    chunks = [mock.patch.dict(RECIPES[name]["train"], {"chunk": CHUNK}) for name in RECIPES]
    cached = mock.patch.dict("os.environ", {"XDG_CACHE_HOME": str(home() / "cache")})
    with contextlib.ExitStack() as stack:
        for patch in (*chunks, cached, compiled_once()):
            stack.enter_context(patch)
        yield


def run(*args: object) -> tuple[int, str, str]:
    """A command line, run in this process: its exit code, stdout and stderr."""
    jax.devices()  # JAX begins with the tests' eight, or the first command that is run would choose for all that follow
    if args[0] == "train" and "--devices" not in args:
        args = (*args, "--devices", 1)  # of the eight that the tests pretend
    out, err = io.StringIO(), io.StringIO()
    with quick(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([str(arg) for arg in args])
    return code, out.getvalue(), err.getvalue()


def works(*args: object) -> str:
    """A command line that must succeed: its stdout."""
    __tracebackhide__ = True
    code, out, err = run(*args)
    assert code == 0, f"`tinyclip {' '.join(map(str, args))}` should succeed, but ended with {code}: {err}"
    return out


def fails(*args: object, names: tuple[object, ...]) -> str:
    """A command line that must end as a user's mistake does: exit code 2, nothing on stdout, one sentence on stderr that holds all of `names`."""
    __tracebackhide__ = True
    code, out, err = run(*args)
    command = f"`tinyclip {' '.join(map(str, args))}`"
    assert code == 2, f"{command} is a mistake and should end with exit code 2, not {code}: {err}"
    assert not out, f"{command} should print nothing to stdout, got {out!r}"
    lines = err.strip().splitlines()
    whole = len(lines) == 1 and lines[0].startswith("tinyclip: ") and lines[0].endswith((".", "?"))
    assert whole, f"{command} should end in one sentence, got {err!r}"
    for name in names:
        assert str(name) in err, f"the message of {command} should name {name}, but it is {err!r}"
    return err


@cache
def world_run_and_output() -> tuple[Path, str]:
    """A run of a few steps on the world `sixteen`, by the command line, and what it printed."""
    return once("sixteen-run", lambda out: works("train", *ARGS, "--out", out))


def world_run() -> Path:
    """The run's folder."""
    return world_run_and_output()[0]


@cache
def folder_of_pictures() -> Path:
    """24 drawn pictures of 40 x 40 with captions, by the command line."""
    return once("drawn", lambda out: works("draw", "--world", "single", "--count", 24, "--size", 40, "--seed", 3, out))[0]


@cache
def folder_run() -> Path:
    """A run of a few steps on that folder."""
    data = folder_of_pictures()
    return once("folder-run", lambda out: works("train", "--data", data, "--size", "nano", "--steps", 2, "--batch-size", 50, "--out", out))[0]
