"""A process that has imported JAX and waits: every check runs in a fork of it, with limits, and starts in a blink instead of seconds.

Run as a script by `checks.Worker`; one JSON line in, one JSON line out. It must not import tinyclip, whose edited copy each check brings along,
nor start JAX's threads, which a fork would lose. Where there is no fork (Windows), `--once` runs a single check and ends.
"""

import contextlib
import importlib
import json
import os
import select
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

Job = dict[str, Any]
KEPT = 4_000  # characters of what a check prints that are shown


class Outcomes:
    """A pytest plugin: keeps the tests of one exercise, and notes how each ended and what it compared on the way."""

    def __init__(self, job: Job, lines: dict[str, int]) -> None:
        self.job, self.lines, self.tests, self.seen = job, {int(line): number for line, number in lines.items()}, [], []

    def pytest_collection_modifyitems(self, items: list) -> None:
        items[:] = [item for item in items if any(mark.args == (self.job["exercise"],) for mark in item.iter_markers("exercise"))]

    def pytest_runtest_setup(self, item: Any) -> None:
        import helpers

        self.seen = []
        helpers.listen = lambda name, value: self.seen.append(picture(name, value))

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            message = last_line(str(report.longrepr))
            self.tests.append({"id": report.nodeid, "outcome": "stopped", "message": message, "what": message, "seen": []})

    def pytest_runtest_makereport(self, call: Any) -> None:
        self.error = call.excinfo.value if call.excinfo else None  # returns nothing, so that pytest makes the report

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when != "call" and report.passed:
            return
        test = {"id": report.nodeid, "outcome": report.outcome, "message": "", "seen": self.seen}
        if report.failed:
            test |= self.told(self.error)
        self.tests.append(test)

    def told(self, error: BaseException) -> dict[str, str]:
        """What became of a test that did not pass: a comparison's own words, a blank that it reached, or where the author's code stopped."""
        text = str(error).strip()
        first = text.splitlines()[0] if text else ""
        if isinstance(error, NotImplementedError) and first.startswith("exercise "):
            return {"outcome": "blank", "message": first, "waits": first.split()[1]}
        if isinstance(error, AssertionError) and not self.place(error):
            compared = hasattr(error, "problem")
            message, hint = (error.problem, error.hint) if compared else (first, "")
            return {"outcome": "failed", "message": message, "hint": hint, "compared": compared, "what": first}
        kind, said = type(error).__name__, f": {first[:300]}" if first else ""
        return {"outcome": "stopped", "message": f"it stops with {kind}{self.place(error)}{said}", "what": f"{kind}{said}"}

    def place(self, error: BaseException) -> str:
        """The last line of the author's that the error passed through, with its text."""
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if frame.lineno in self.lines and Path(frame.filename).as_posix().endswith(self.job["file"]):
                return f" at {self.job['file']}:{self.lines[frame.lineno]} ({frame.line})"
        return ""


def last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("E").strip()[:300] if lines else ""


def picture(name: str, value: Any) -> list:
    """What was compared, small enough to write down: its kind, its shape, and at most 4,096 of its numbers."""
    import numpy as np

    try:
        array = np.asarray(value)
        if array.dtype.kind in "biufV":  # V: bfloat16
            numbers = array.astype(np.float64).ravel()[:4096]
            return [name, str(array.dtype), list(array.shape), [n if np.isfinite(n) else str(n) for n in numbers.tolist()]]
    except Exception:  # anything may have been returned
        pass
    return [name, type(value).__name__, [], repr(value)[:2000]]


def limit(job: Job) -> None:
    """No more memory than given, no core files."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (job["memory"], job["memory"]))


def check(job: Job) -> None:
    """Run the tests of the exercise in this process, on each variant of the library, and write what came of them to the job's result file.

    A learner's function comes alone. Known answers come together, since most of a check's time is its start.
    """
    tree = Path(job["tree"])
    os.environ |= {"TINYCLIP_SEED": str(job["seed"]), "TINYCLIP_CHECK": "1", "TINYCLIP_TESTS": str(tree)}
    os.environ |= {"JAX_PLATFORMS": "cpu", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    os.chdir(tree)
    sys.dont_write_bytecode = True
    sys.path[:0] = [str(tree), str(tree / "tests")]
    import jax
    import pytest

    # What one check compiled, all others find: most of a check's time is compiling.
    jax.config.update("jax_compilation_cache_dir", job["cache"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    limit(job)
    runs = []
    for variant in job["variants"]:
        place(variant["files"], tree)
        outcomes, clock = Outcomes(job, variant["lines"]), time.perf_counter()
        options = ["-c", "pytest.ini", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:terminal", "-p", "no:faulthandler", "-s"]
        pytest.main([*options, *job["files"]], plugins=[outcomes])
        runs.append({"tests": outcomes.tests, "seconds": time.perf_counter() - clock})
    result = Path(job["result"])
    result.with_suffix(".part").write_text(json.dumps(runs))
    result.with_suffix(".part").replace(result)


def place(files: dict[str, str], tree: Path) -> None:
    """Put a variant's files into the tree, and forget what was imported from it."""
    for path, text in files.items():
        (tree / path).write_text(text, encoding="utf-8")
        for compiled in (tree / path).parent.glob(f"__pycache__/{Path(path).stem}.*.pyc"):
            compiled.unlink()  # its date is to the second only, and could pass for the new file's
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(f"{tree}{os.sep}"):
            del sys.modules[name]
    importlib.invalidate_caches()


def forked(job: Job, mine: int) -> dict[str, Any]:
    """The job in a fork, killed with all it started when its time is over."""
    inside, outside = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setsid()
            os.close(mine)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(outside, 1)
            os.dup2(outside, 2)
            sys.stdout.reconfigure(line_buffering=True)  # what a check prints is kept even if it must be killed
            check(job)
            code = 0
        finally:
            os._exit(code)
    os.close(outside)
    os.set_blocking(inside, False)
    said, stop, ended, status = b"", time.monotonic() + job["seconds"], 0, 0
    while True:
        if select.select([inside], [], [], 0.01 if not ended else 0)[0] and (piece := os.read(inside, 65536)):
            said += piece[: KEPT - len(said)]
        elif not ended:
            time.sleep(0.005)  # its output is closed, or there is nothing to read
        if ended:
            break
        ended, status = os.waitpid(child, os.WNOHANG)
        if not ended and time.monotonic() > stop:
            kill(child)
            os.waitpid(child, 0)
            os.close(inside)
            return {"outcome": "timed out", "said": said.decode(errors="replace")}
    kill(child)  # what it may have left running
    os.close(inside)
    return {"outcome": "ended", "code": os.waitstatus_to_exitcode(status), "said": said.decode(errors="replace")}


def kill(group: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(group, signal.SIGKILL)


def main() -> None:
    if "--behind" in sys.argv and hasattr(os, "nice"):
        os.nice(10)
    out = os.dup(1)
    os.set_inheritable(out, False)
    os.dup2(2, 1)  # nothing but answers goes to the parent
    for name in ("numpy", "jax.numpy", "flax.nnx", "optax", "jaxtyping", "pytest", "hypothesis"):
        importlib.import_module(name)
    if "--once" in sys.argv:
        check(json.loads(sys.stdin.readline()))
        return
    for line in sys.stdin:
        os.write(out, json.dumps(forked(json.loads(line), out)).encode() + b"\n")


if __name__ == "__main__":
    main()
