"""Checkpoints: the newest three, bit for bit, and damage named."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from helpers import importing, raises_one_sentence

import tinyclip
from tinyclip import checkpoint
from tinyclip.checkpoint import FOLDER, Checkpoints
from tinyclip.errors import UserError
from tinyclip.train import State


def state(step: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed + step)
    params = nnx.state(nnx.Dict(kernel=nnx.Param(jnp.asarray(rng.normal(size=(3, 5)), jnp.float32)), scale=nnx.Param(jnp.float32(rng.normal()))))
    return State(params, optax.adam(0.1).init(params), jnp.asarray(step, jnp.int32))


def equal(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_the_newest_three_are_kept_and_the_newest_restored_bit_for_bit(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (2, 4, 6, 9, 11):
        assert checkpoints.save(state(step)) == step, "save should return the step it saved"
    checkpoints.close()
    again = Checkpoints(tmp_path)
    names = sorted(int(p.name) for p in (tmp_path / FOLDER).iterdir() if p.name.isdigit())
    assert names == [6, 9, 11], f"the newest three checkpoints should be kept, got {names}"
    assert again.latest() == 11, f"the newest step is 11, got {again.latest()}"
    restored = again.restore(state(0))
    assert jax.tree.structure(restored) == jax.tree.structure(state(0)), "what is restored should have the state's structure"
    assert equal(restored, state(11)), "what is restored should equal what was saved bit for bit"
    again.close()


def test_a_step_that_is_saved_is_not_saved_again(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(3))
    checkpoints.save(state(3, seed=9))
    assert equal(checkpoints.restore(state(0)), state(3)), "a step that is there already should be left as it is"


def test_without_a_checkpoint_there_is_nothing_to_resume(tmp_path):
    raises_one_sentence(UserError, lambda: Checkpoints(tmp_path).restore(state(0)), "no checkpoint to resume from", str(tmp_path / FOLDER))


DAMAGES = ("removed", "emptied", "cut", "of another shape")


def damage_all(places: str) -> None:
    """A checkpoint damaged in every way, each in a place of its own: what `restore` says of it."""
    said = {}
    for kind in DAMAGES:
        place, like = Path(places) / kind, state(0)
        checkpoints = Checkpoints(place)
        checkpoints.save(state(3))
        checkpoints.close()
        if kind == "of another shape":
            other = nnx.state(nnx.Dict(kernel=nnx.Param(jnp.zeros((4, 5))), scale=nnx.Param(jnp.float32(0))))
            like = State(other, optax.adam(0.1).init(other), jnp.asarray(0))
        else:
            files = [p for p in (place / FOLDER / "3").rglob("*") if p.is_file() and p.name != "_CHECKPOINT_METADATA"]
            for file in files:
                if kind == "removed":
                    file.unlink()
                else:
                    file.write_bytes(b"" if kind == "emptied" else file.read_bytes()[: file.stat().st_size // 2])
        try:
            Checkpoints(place).restore(like)
            said[kind] = ("nothing", "")
        except Exception as error:
            said[kind] = (type(error).__name__, str(error))
    print(json.dumps(said))


@pytest.fixture(scope="module")
def complaints(tmp_path_factory):
    """In a process of its own: when one of Orbax's reads fails it leaves others unfinished, which would trouble later tests."""
    places = tmp_path_factory.mktemp("damaged")
    paths = importing(Path(__file__).parent, Path(tinyclip.__file__).parent.parent) | {"JAX_PLATFORMS": "cpu"}
    code = "import sys, test_checkpoint; test_checkpoint.damage_all(sys.argv[1])"
    result = subprocess.run([sys.executable, "-c", code, str(places)], capture_output=True, text=True, env={**os.environ, **paths})
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout), places


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_checkpoint_is_named(complaints, kind):
    raised, text = complaints[0][kind]
    assert raised == "UserError", f"{kind}: restore should raise a UserError, but raised {raised}: {text}"
    assert "\n" not in text and text.endswith("."), f"{kind}: the message should be one line that ends with a full stop, got {text!r}"
    for words in (str(complaints[1] / kind / FOLDER / "3"), "cannot be read"):
        assert words in text, f"{kind}: the message should tell {words!r}, but it is {text!r}"


def test_a_checkpoint_that_was_being_written_is_not_seen(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(3))
    checkpoints.close()
    shutil.copytree(tmp_path / FOLDER / "3", tmp_path / FOLDER / "7.orbax-checkpoint-tmp-123")
    again = Checkpoints(tmp_path)
    assert again.latest() == 3, f"half a checkpoint of step 7 should not be seen, got {again.latest()}"
    assert equal(again.restore(state(0)), state(3)), "the last whole checkpoint should be restored"


def test_a_checkpoint_that_does_not_fit_is_not_begun(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(3))
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: SimpleNamespace(free=40))
    monkeypatch.setattr(checkpoints.manager, "save", lambda *_, **__: pytest.fail("Orbax's threads would each print a traceback"))
    raises_one_sentence(UserError, lambda: checkpoints.save(state(5)), "0.0 MB are free", "step 3")


def test_threads_that_fail_while_saving_print_nothing(capsys):
    with checkpoint.tracebacks_aside():
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
    assert capsys.readouterr().err == "", "what such a thread raises is raised again where it is waited for, and told in one sentence"
    before = sys.excepthook
    with pytest.raises(OSError), checkpoint.tracebacks_aside():
        raise OSError("full")
    hook, sys.excepthook = sys.excepthook, before
    hook(RuntimeError, RuntimeError("Event loop is closed"), None)
    assert capsys.readouterr().err == "", "a call that comes too late is not the user's concern"
    hook(ValueError, ValueError("something else"), None)
    assert "something else" in capsys.readouterr().err, "anything else should be printed as ever"


def test_a_checkpoint_that_cannot_be_written_says_which_one_is_still_good(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(3))

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.manager, "save", full)
    raises_one_sentence(UserError, lambda: checkpoints.save(state(5)), "No space left", "step 3")
    monkeypatch.undo()
    assert equal(checkpoints.restore(state(0)), state(3)), "the older checkpoint should stay"


def test_a_place_that_cannot_be_made_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("x")
    raises_one_sentence(UserError, lambda: Checkpoints(tmp_path / "file"), "could not make", str(tmp_path / "file"))
