"""A run with everything around it: resumed bit for bit, stopped kindly, refused where it would do harm."""

import json
import shutil
import signal
from pathlib import Path
from unittest import mock

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import check, raises_one_sentence
from orbax.checkpoint import CheckpointManager
from trained import ARGS, BATCH, CHUNK, STEPS, fails, folder_of_pictures, folder_run, quick, run, works, world_run

from tinyclip import bundle, show
from tinyclip import run as running
from tinyclip.checkpoint import Checkpoints, new_folder, newest_folder
from tinyclip.cli import Train
from tinyclip.config import TrainConfig
from tinyclip.errors import UserError
from tinyclip.folder import Folder
from tinyclip.losses import contrastive_loss
from tinyclip.train import Measures, Report, State
from tinyclip.world import World

WEIGHTS = "model.safetensors"


def plan(**args):
    return running.plan(Train(**({"world": "sixteen", "size": "nano", "steps": STEPS, "batch_size": BATCH, "devices": 1} | args)))


def steps_saved(out: Path) -> list[int]:
    return sorted(int(p.name) for p in (out / "checkpoints").iterdir() if p.name.isdigit())


def test_a_run_leaves_a_whole_model_its_history_figures_and_checkpoints():
    out = world_run()
    names = {p.name for p in out.iterdir()}
    wanted = {"config.json", WEIGHTS, "tokenizer.json", "history.json", "figures", "checkpoints"}
    assert names == wanted, f"a run's folder should hold {sorted(wanted)}, got {sorted(names)}"
    figures = {p.name for p in (out / "figures").iterdir()}
    assert figures == {"similarity.png", "space.png", "training.png"}, f"want three figures, got {figures}"
    assert steps_saved(out) == [STEPS], f"the last step should be saved, got {steps_saved(out)}"
    history = json.loads((out / "history.json").read_text())
    for key in ("loss", "floor", "logit_scale"):
        assert len(history[key]) == STEPS, f"the history should hold {key} for every step, got {len(history[key])}"
    assert [step for step, _ in history["accuracy"]] == [2, 4], f"accuracy should be noted after every chunk of 2, got {history['accuracy']}"
    assert abs(history["log_n"] - np.log(BATCH)) < 1e-6, f"log_n should be ln {BATCH}, got {history['log_n']}"
    config = json.loads((out / "config.json").read_text())
    assert config["world"] == "sixteen" and config["train"]["steps"] == STEPS, f"config.json should tell the world and the run, got {config}"


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    with quick():
        running.train_into(plan(), tmp_path / "again", resume=False)
    wanted = (world_run() / WEIGHTS).read_bytes()
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == wanted, "the same command twice should give the same weights, byte for byte"


def interrupt_after_the_first_chunk(monkeypatch, times=1):
    seen = []
    update = show.Progress.update

    def pressed(self, step, **measures):
        update(self, step, **measures)
        seen.append(step)
        if len(seen) == 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(show.Progress, "update", pressed)
    return seen


@pytest.mark.slow  # three programs one after the other
def test_stopped_by_ctrl_c_and_resumed_is_the_same_as_never_stopped(tmp_path, monkeypatch):
    out, original = tmp_path / "stopped", signal.signal(signal.SIGINT, signal.SIG_IGN)  # any handler but Python's own
    with monkeypatch.context() as patch:
        steps = interrupt_after_the_first_chunk(patch)
        code, printed, err = run("train", *ARGS, "--out", out)
    after = signal.signal(signal.SIGINT, original)
    assert code == 130, f"a run stopped by Ctrl-C should end with exit code 130, got {code}: {err}"
    assert steps == [2], f"Ctrl-C during the first chunk should stop the run after it, but chunks ended at {steps}"
    assert f"--out {out} --devices 1 --resume" in err and "step 2" in err, f"the message should say how to resume, got {err!r}"
    assert "Traceback" not in err and not printed, f"no traceback and no result is wanted, got {err!r}, {printed!r}"
    assert after is signal.SIG_IGN, "Ctrl-C should mean again what it meant before the run"
    assert steps_saved(out) == [2], f"the state after the chunk should be saved, got {steps_saved(out)}"
    assert not (out / WEIGHTS).exists(), "an unfinished run should not look like a finished model"
    works("train", "--out", out, "--resume")
    assert (out / WEIGHTS).read_bytes() == (world_run() / WEIGHTS).read_bytes(), "stopped and resumed should equal never stopped, byte for byte"
    resumed, whole = (json.loads((path / "history.json").read_text()) for path in (out, world_run()))
    for key in ("loss", "floor", "logit_scale", "accuracy"):
        assert resumed[key] == whole[key], f"the history of {key} should be as if never stopped, got {resumed[key]} and {whole[key]}"


def test_a_second_ctrl_c_ends_at_once():
    with pytest.raises(KeyboardInterrupt), running.Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.asked, "the first Ctrl-C should be noted"
        signal.raise_signal(signal.SIGINT)


def test_a_second_ctrl_c_says_what_there_is_to_continue_from(tmp_path, monkeypatch):
    def twice(self, step, **measures):
        if step == 2 * CHUNK:
            raise KeyboardInterrupt

    monkeypatch.setattr(show.Progress, "update", twice)
    monkeypatch.setattr(running, "SAVE_EVERY", -1.0)
    code, _, err = run("train", *ARGS, "--out", tmp_path / "a run")
    assert code == 130 and "last checkpoint" in err, f"a checkpoint was saved before: want a sentence that says so, got {code}, {err!r}"
    assert f'tinyclip train --out "{tmp_path / "a run"}" --devices 1 --resume' in err, f"the command should be as one types it, got {err!r}"


@pytest.fixture
def nothing_is_compiled(monkeypatch):
    """For mistakes that are to be told at once."""
    world_run()  # which they are made about
    for compiling in ("initial_state", "train"):
        monkeypatch.setattr(running, compiling, lambda *_: pytest.fail("a mistake should be told before XLA compiles anything, not seconds later"))


def test_resuming_with_other_settings_names_them_and_leaves_the_run_as_it_was(nothing_is_compiled):
    out = world_run()
    before = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
    message = fails("train", "--out", out, "--resume", "--steps", 9, "--batch-size", 7, names=("train.steps", "train.batch_size", "9", "7"))
    assert "seed" not in message, f"only what differs should be named, got {message!r}"
    fails("train", "--out", out, "--resume", "--world", "single", names=("world",))
    fails("train", "--out", out, "--resume", "--loss", "sigmoid", names=("model.loss", "sigmoid"))
    fails("train", "--out", out, "--resume", "--size", "tiny", names=("model.",))
    after = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
    assert before == after, "a refused resume must leave the run's files as they were"


def test_resuming_a_finished_run_with_its_own_settings_changes_no_weight():
    before = (world_run() / WEIGHTS).read_bytes()
    works("train", "--out", world_run(), "--resume", "--steps", STEPS)
    assert (world_run() / WEIGHTS).read_bytes() == before, "resuming a finished run should leave its weights as they are"


def test_there_must_be_a_run_to_resume(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails("train", "--resume", names=("no run of single", "--out"))
    fails("train", "--world", "pairs", "--resume", names=("no run of pairs", "--out"))
    fails("train", "--out", tmp_path / "none", "--resume", names=(tmp_path / "none",))
    (tmp_path / "bare").mkdir()
    for name in ("config.json", "history.json"):
        (tmp_path / "bare" / name).write_bytes((world_run() / name).read_bytes())
    fails("train", "--out", tmp_path / "bare", "--resume", names=("no checkpoint", tmp_path / "bare"))


def test_a_run_that_ends_before_its_first_checkpoint_takes_its_folder_back(tmp_path, monkeypatch):
    out = tmp_path / "nan"
    pretend(monkeypatch, [False, True])
    assert run("train", *ARGS, "--out", out)[0] == 2, "a loss that is not finite should end the run"
    assert not out.exists(), "nothing of it can be resumed: its folder should be free for the next"
    pretend(monkeypatch, [True, True], [True, True])
    works("train", *ARGS, "--out", out)


def test_a_run_that_has_no_checkpoint_yet_is_left_alone(tmp_path, nothing_is_compiled):
    (tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp").mkdir(parents=True)  # being written, or its writer was killed
    (tmp_path / "config.json").write_bytes((world_run() / "config.json").read_bytes())
    fails("train", *ARGS, "--out", tmp_path, names=(tmp_path, "already holds a run"))
    fails("train", "--out", tmp_path, "--resume", names=(tmp_path, "no checkpoint", "another --out"))
    assert {p.name for p in tmp_path.iterdir()} == {"checkpoints", "config.json"}, "it may be training still: nothing of it may be removed"


def test_killed_just_after_its_first_checkpoint_a_run_can_be_resumed(tmp_path, monkeypatch):
    save = Checkpoints.save

    def killed(checkpoints, state):
        save(checkpoints, state)
        raise KeyboardInterrupt

    pretend(monkeypatch, [True, True], [True, True])
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", killed)
        assert run("train", *ARGS, "--out", tmp_path / "killed")[0] == 130, "this run should have been killed"
    pretend(monkeypatch)
    works("train", "--out", tmp_path / "killed", "--resume")


def test_resuming_with_a_broken_config_is_a_user_error(tmp_path):
    for name, text in (("config.json", "{"), ("config.json", "[1]"), ("config.json", '{"format": "tinyclip", "train": {"colour": 3}}')):
        (tmp_path / name).write_text(text)
        fails("train", "--out", tmp_path, "--resume", names=())


def test_resuming_with_a_broken_history_is_a_user_error(tmp_path):
    (tmp_path / "config.json").write_bytes((world_run() / "config.json").read_bytes())
    (tmp_path / "checkpoints" / str(STEPS)).mkdir(parents=True)
    for text in ("{", "[1]", '{"colour": 3}'):
        (tmp_path / "history.json").write_text(text)
        fails("train", "--out", tmp_path, "--resume", names=(tmp_path / "history.json",))


def test_an_out_folder_that_holds_something_is_left_alone(tmp_path, nothing_is_compiled):
    before = sorted(p.name for p in world_run().iterdir())
    fails("train", *ARGS, "--out", world_run(), names=(world_run(), "already holds a run", "--resume"))
    (tmp_path / "mine").write_text("x")
    fails("train", *ARGS, "--out", tmp_path, names=(tmp_path, "not an empty folder"))
    fails("train", *ARGS, "--out", tmp_path / "mine", names=(tmp_path / "mine", "not an empty folder"))
    fails("train", *ARGS, "--out", tmp_path / "mine" / "run", names=(tmp_path / "mine" / "run", "could not make"))
    assert sorted(p.name for p in world_run().iterdir()) == before, "a run that is refused should change nothing"
    assert [p.name for p in tmp_path.iterdir()] == ["mine"], "a run that is refused should leave nothing behind"


def pretend(monkeypatch, *finite):
    """Training is replaced by chunks of 2 steps that report these, and change nothing but the step."""

    def chunks(model, run, source, state, mesh):
        for number, chunk in enumerate(finite, 1):
            numbers = np.ones(2, np.float32)
            state = (state or running.initial_state(model, run, mesh))._replace(step=jnp.asarray(2 * number, jnp.int32))
            yield Report(state, Measures(numbers, numbers, numbers, numbers, np.array(chunk)), 0.1)

    monkeypatch.setattr(running, "train", chunks)
    monkeypatch.setattr(running, "Watch", lambda plan: lambda bundle: 50.0)


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    pretend(monkeypatch, [True, True], [True, False])
    monkeypatch.setattr(running, "SAVE_EVERY", -1.0)
    code, out, err = run("train", *ARGS, "--out", tmp_path / "nan")
    last = err.strip().splitlines()[-1]
    assert code == 2 and not out, f"a loss that is not finite should end with exit code 2 and no result, got {code}, {out!r}"
    for words in ("at step 4:", "--learning-rate", "step 2 is kept"):
        assert words in last, f"the message should tell the step, what to try and what is kept, but {words!r} is not in {last!r}"
    assert steps_saved(tmp_path / "nan") == [2], f"nothing may be saved after it, got {steps_saved(tmp_path / 'nan')}"
    assert not (tmp_path / "nan" / WEIGHTS).exists(), "no model may be written from it"


def test_a_loss_that_is_not_finite_at_once_says_that_nothing_was_saved(tmp_path, monkeypatch):
    pretend(monkeypatch, [False, True])
    _, _, err = run("train", *ARGS, "--out", tmp_path / "nan")
    assert "at step 1:" in err and "no checkpoint was saved" in err, f"want the first bad step and that nothing was saved, got {err!r}"


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("steps", "0"), ("steps", "-1"), ("steps", "100000000"), ("batch-size", "0"), ("batch-size", "1"), ("batch-size", "-1"),
        ("batch-size", "10000000"), ("seed", "-1"), ("seed", "4294967296"), ("learning-rate", "0"), ("learning-rate", "-1"),
        ("learning-rate", "nan"), ("learning-rate", "inf"),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_named(tmp_path, flag, value):
    fails("train", "--world", "sixteen", f"--{flag}", value, "--out", tmp_path / "x", names=(f"--{flag}",))
    assert not (tmp_path / "x").exists(), "a run that is refused should leave nothing behind"


def test_contradictions_are_named(tmp_path):
    fails("train", "--world", "single", "--data", tmp_path, "--out", tmp_path / "x", names=("--world", "--data"))
    fails("train", "--world", "single", "--hard-negatives", "captions", "--out", tmp_path / "x", names=("--hard-negatives", "pairs"))
    fails("train", "--data", tmp_path / "none", "--out", tmp_path / "x", names=(tmp_path / "none",))
    assert not (tmp_path / "x").exists(), "a run that is refused should leave nothing behind"


def test_a_batch_larger_than_the_folder_becomes_all_of_it(capsys):
    with quick():
        made = running.plan(Train(data=folder_of_pictures(), size="nano", batch_size=50, devices=1))
    training = len(made.folder.training_pairs())
    assert training == 22, f"of 24 pictures two are kept from training, got {training} to train on"
    assert made.run.batch_size == training, f"a batch of 50 should become the {training} pairs there are, got {made.run.batch_size}"
    assert "22 pairs" in capsys.readouterr().err, "it should be said that the batch is smaller than asked for"
    assert len(made.source.inputs(0, 1)["text"][0]) == training, "the source should use the smaller batch"


def test_what_a_folder_lacks_is_told_and_too_little_is_refused(tmp_path, capsys):
    lines = (folder_of_pictures() / "metadata.jsonl").read_text().splitlines()
    for number, line in enumerate(lines[:3]):
        (tmp_path / json.loads(line)["file_name"]).write_bytes((folder_of_pictures() / json.loads(line)["file_name"]).read_bytes())
        (tmp_path / "metadata.jsonl").write_text("\n".join([*lines[: number + 1], '{"file_name": "gone.png", "text": "a"}', "no json"]) + "\n")
        with quick():
            action = lambda: running.plan(Train(data=tmp_path, size="nano", skip_bad=True))  # noqa: E731
            if number == 0:
                raises_one_sentence(UserError, action, "1 captioned picture", str(tmp_path))
            else:
                assert len(action().folder.captions) == number + 1, "the good pictures should be used"
    err = capsys.readouterr().err
    assert "gone.png" in err and "line 5" in err and "2 entries left out, 3 used" in err, f"what is left out should be named and counted, got {err}"
    (tmp_path / "metadata.jsonl").write_text("\n".join([lines[0], lines[0].replace('"text": "', '"text": "another '), "no json"]) + "\n")
    with quick():
        raises_one_sentence(UserError, action, "only 1 captioned picture", str(tmp_path))  # with two captions, but nothing to tell it from
    err = capsys.readouterr().err
    assert "1 entry left out, 2 used" in err, f"one entry is not 'entries', got {err}"


def test_switches_reach_the_run_and_its_accuracy_is_of_validation_pictures(monkeypatch):
    with quick():
        planned = [running.plan(Train(world="sixteen", remat=remat)).run.remat for remat in (False, True)]
        assert planned == [False, True], f"--remat, and its absence, should reach the run, got {planned}"
        plan, splits, real = running.plan(Train(world="sixteen")), [], World.sample
        monkeypatch.setattr(World, "sample", lambda world, key, n, split="train", **more: splits.append(split) or real(world, key, n, split))
        running.Watch(plan)
    assert splits == ["validation"], f"the accuracy while training is of pictures that training never draws, got {splits}"


def test_runs_are_numbered_and_the_newest_found(tmp_path):
    assert new_folder(tmp_path, "single") == tmp_path / "single-001", "the first run should be 001"
    for name in ("single-001", "single-009", "single-010", "single-x", "pairs-050"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
    assert new_folder(tmp_path, "single") == tmp_path / "single-011", f"want 011, got {new_folder(tmp_path, 'single')}"
    (tmp_path / "single-x" / "checkpoints").rmdir()
    assert newest_folder(tmp_path, "single") == tmp_path / "single-010", f"want 010, got {newest_folder(tmp_path, 'single')}"
    for name in ("single-999", "single-1000", "single-and-2000", "my [2024]-001"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
    newest = newest_folder(tmp_path, "single")
    assert newest == tmp_path / "single-1000", f"the highest number is 1000, got {newest}: are names sorted as words, or longer names counted in?"
    assert new_folder(tmp_path, "my [2024]").name == "my [2024]-002", "a name's brackets are no pattern"
    raises_one_sentence(UserError, lambda: newest_folder(tmp_path / "none", "single"), "no run of single")


@pytest.mark.parametrize("edit", [("a ", "the "), ("a ", "a shiny ")])
def test_a_folder_whose_captions_changed_cannot_be_resumed(tmp_path, monkeypatch, edit):
    shutil.copytree(folder_of_pictures(), tmp_path / "pictures")
    shutil.copytree(folder_run(), tmp_path / "run")
    monkeypatch.setattr(running, "train", lambda *_: pytest.fail("it would be trained on other tokens than before"))
    config, metadata = tmp_path / "run" / "config.json", tmp_path / "pictures" / "metadata.jsonl"
    config.write_text(config.read_text().replace(json.dumps(str(folder_of_pictures())), json.dumps(str(tmp_path / "pictures"))))
    metadata.write_text(metadata.read_text().replace(*edit))
    fails("train", "--out", tmp_path / "run", "--resume", names=("captioned", "24 pairs"))


def test_a_small_folders_batch_fits_its_devices_and_micro_batches(capsys):
    def batch(**args):
        return running.plan(Train(data=folder_of_pictures(), size="nano", **args)).run.batch_size

    with quick():
        assert batch(devices=1) == 22, "of 24 pictures, 22 are trained on"
        assert batch(devices=8) == 16, "22 pairs cannot be shared by 8 devices evenly, 16 can"
        assert batch(devices=1, batch_size=60, micro_batch=5) == 20, "22 pairs do not come in micro-batches of 5, 20 do"
        assert "22 pairs to train on: a batch is 20 of them" in capsys.readouterr().err
        raises_one_sentence(UserError, lambda: batch(devices=1, batch_size=60, micro_batch=30), "22 pairs", "batches of 30")


def test_devices_that_a_micro_batch_leaves_idle_are_told_of(capsys):
    with quick():
        assert plan(devices=None, batch_size=64, micro_batch=4).mesh.size == 4, "of eight devices, four can share 4 rows evenly"
    said = capsys.readouterr().err
    assert "a micro-batch of 4 is shared evenly by 4 of 8 devices" in said, f"not the batch of 64 is what eight could not share: {said!r}"


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path):
    fails("train", "--out", tmp_path / "nowhere", "--resume", names=(tmp_path / "nowhere", "no run to resume"))


def test_a_folder_in_which_nothing_fits_is_not_left_behind(tmp_path, monkeypatch):
    def full(path, data):
        raise UserError(f"could not write {path}: No space left on device.")

    monkeypatch.setattr(bundle, "write_atomically", full)
    fails("train", *ARGS, "--out", tmp_path / "new", names=("No space left", "config.json"))
    assert not (tmp_path / "new").exists(), "an empty folder would be in the way of nothing, but nobody asked for it"


def test_a_folders_run_is_resumed_by_the_folders_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, arguments = folder_of_pictures(), ("--size", "nano", "--batch-size", "4", "--devices", "1")
    shutil.copytree(data, "my [2024]")
    with quick():
        works("train", "--data", "my [2024]", "--steps", "2", *arguments)
        said = works("train", "--data", "my [2024]", "--resume")
    assert "data/runs/my (2024)-001/figures" in said, f"the run in data/runs/my (2024)-001 should be found and resumed, got {said}"
    assert 'search "data/runs/my (2024)-001" ' in said, f"what to try next should be quoted, got {said}"
    fails("train", "--world", "sixteen", *arguments, "--steps", "2", "--out", "x[1]", names=("x[1]", "--out"))
    assert not Path("x[1]").exists(), "Orbax could not read it again: it should not be begun"


@pytest.mark.parametrize(("word", "as_typed"), [
    ("data/runs/single-001", "data/runs/single-001"), (r"data\runs\a-001", r"data\runs\a-001"), ("a red circle", '"a red circle"'),
    ("circle", "circle"), ("a $5 bill", "'a $5 bill'"), ('say "no"', "'say \"no\"'"),
])  # fmt: skip
def test_what_to_try_can_be_typed(word, as_typed):
    assert show.typed(word) == as_typed, f"{word!r} should be suggested as {as_typed}, got {show.typed(word)}"


def test_a_folder_that_holds_something_else_is_not_resumed(tmp_path):
    ours = {"format": "tinyclip", "model": {}}
    for held in ({"model_type": "clip"}, {"format": "tinyclip"}, ours, ours | {"world": ["single"]}, ours | {"world": "single", "data": 5}):
        (tmp_path / "config.json").write_text(json.dumps(held))
        fails("train", "--resume", "--out", tmp_path, names=(tmp_path / "config.json", "does not describe a run"))
    (tmp_path / "config.json").write_text(json.dumps(ours | {"world": "moving"}))
    fails("train", "--resume", "--out", tmp_path, names=("no world called 'moving'", "sixteen"))


def test_each_caption_of_a_picture_is_right_while_training(tmp_path):
    pixels, captions = np.zeros((12, 8, 8, 3), np.uint8), [f"{name} {i}" for i in range(12) for name in ("a", "b")]
    folder = Folder(tmp_path, [f"{i}.png" for i in range(12)], pixels, np.repeat(np.arange(12), 2), captions, [])
    watch = running.Watch(mock.Mock(spec=running.Plan, world=None, folder=folder))
    assert watch.pictures.shape[0] == 1 and watch.texts == ["a 9", "b 9"], f"of the kept picture both captions should be asked for, got {watch.texts}"
    assert watch.true.tolist() == [[True, True]], f"both captions are true of the picture, got {watch.true}"


def test_ln_n_is_what_equal_logits_cost():
    for negatives, texts in (("none", 128), ("scenes", 128), ("captions", 256)):
        history = running.History()
        report = Report(State({}, {}, jnp.int32(1)), Measures(*(np.ones(1) for _ in range(4)), np.ones(1, bool)), 1.0)
        history.add(report, 50.0, TrainConfig(batch_size=128, hard_negatives=negatives), True)
        wanted = float(contrastive_loss(jnp.zeros((128, 4)), jnp.zeros((texts, 4)), 1.0))
        check(f"the upper ruler with hard negatives {negatives!r}", history.log_n, wanted, 1e-5, "swapped captions are texts to choose from, too")


def test_differences_name_each_field_once():
    saved = {"model": {"embed": 3, "image": {"size": 8}}, "train": {"steps": 5}, "world": "single"}
    assert running.differences(saved, saved) == [], "equal settings have no differences"
    asked = {"model": {"embed": 3, "image": {"size": 9}}, "train": {"steps": 5, "seed": 1}, "data": "x"}
    found = running.differences(saved, asked)
    assert [text.split()[0] for text in found] == ["data", "model.image.size", "train.seed", "world"], f"each difference once, got {found}"


def test_going_back_forgets_what_came_after():
    history = running.History([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [[1.0, 5.0], [2.0, 6.0], [3.0, 100.0]], all_right={"step": 3.0})
    history.back_to(2)
    assert history.loss == [1.0, 2.0] and history.floor == [1.0, 2.0] and history.logit_scale == [1.0, 2.0], f"want two steps, got {history}"
    assert history.accuracy == [[1, 5.0], [2, 6.0]] and history.all_right is None, f"what was measured after step 2 should be forgotten: {history}"


def test_the_first_time_all_is_right_is_noted_once():
    class Measures:
        loss = floor = logit_scale = np.array([0.12345649, 2.0])

    class Report:
        measures, seconds = Measures, 1.5

        class state:  # noqa: N801
            step = 2

    history = running.History()
    history.add.__wrapped__(history, Report, 99.0, TrainConfig(batch_size=8), True)
    assert history.all_right is None and history.seconds == 0, f"the first chunk compiles, so its time does not count: {history}"
    history.add.__wrapped__(history, Report, 100.0, TrainConfig(batch_size=8), False)
    history.add.__wrapped__(history, Report, 100.0, TrainConfig(batch_size=8), False)
    assert history.all_right == {"step": 2, "pairs": 16, "seconds": 1.5}, f"want the first time all was right, got {history.all_right}"
    assert history.loss == [0.123456, 2.0] * 3, f"losses should be rounded to 6 digits, got {history.loss}"


def test_a_disk_that_fills_up_while_training_says_what_is_still_good(tmp_path, monkeypatch):
    pretend(monkeypatch, [True, True], [True, True])
    monkeypatch.setattr(running, "SAVE_EVERY", -1.0)
    real = CheckpointManager.save

    def full(self, step, *args, **kwargs):
        if step == 4:
            raise OSError(28, "No space left on device")
        return real(self, step, *args, **kwargs)

    monkeypatch.setattr(CheckpointManager, "save", full)
    code, out, err = run("train", *ARGS, "--out", tmp_path / "full")
    assert code == 2 and not out, f"a full disk should end with exit code 2 and no result, got {code}, {out!r}"
    for words in ("No space left", "step 2"):
        assert words in err.splitlines()[-1], f"the message should tell {words!r}, got {err!r}"
    assert not (tmp_path / "full" / WEIGHTS).exists(), "no model may be written after that"
    assert steps_saved(tmp_path / "full") == [2], f"the older checkpoint should stay, got {steps_saved(tmp_path / 'full')}"
