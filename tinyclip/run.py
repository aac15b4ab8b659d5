"""A training run with everything hung on the loop that people want around it: a folder, a progress bar, an accuracy now and then, checkpoints,
and Ctrl-C. The loop itself is `train.py` and knows of none of this.
"""

import contextlib
import dataclasses
import json
import math
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Mesh

from . import evaluate, parallel, show
from .bundle import CONFIG, HISTORY, Bundle, read_history, read_json, save_bundle, write_all, write_atomically
from .checkpoint import FOLDER, Checkpoints, any_saved
from .config import CLIPConfig, TrainConfig, recipe_for
from .data import FolderSource, Source, WorldSource
from .errors import UserError
from .folder import Folder, read_folder
from .tokenizer import WordTokenizer
from .train import Report, State, initial_state, make_model, train
from .world import World, get_world

if TYPE_CHECKING:
    from . import cli

SAVE_EVERY = 60.0  # seconds between checkpoints


@dataclass
class Plan:
    """All that is decided before the first step."""

    model: CLIPConfig
    run: TrainConfig
    source: Source
    tokenizer: WordTokenizer
    mesh: Mesh
    world: World | None = None
    folder: Folder | None = None
    again: str = ""  # what a command that resumes must say besides the folder

    @property
    def trained_on(self) -> dict[str, str]:
        """As it stands in `config.json`."""
        if self.world:
            return {"world": self.world.name}
        return {"data": str(self.folder.path.resolve()), "captioned": self.folder.fingerprint()}  # other captions are other tokens

    @property
    def settings(self) -> dict[str, Any]:
        """All of `config.json` that a resumed run must share."""
        return json.loads(json.dumps({"model": self.model.to_json()} | self.extra | self.trained_on))

    @property
    def extra(self) -> dict[str, Any]:
        """What `config.json` tells of a run, beside the model and what it was trained on."""
        return {"train": dataclasses.asdict(self.run)}


def plan(args: "cli.Train", saved: dict[str, Any] | None = None) -> Plan:
    """What was asked for, filled in from the world's recipe, or, when resuming, from the saved run's `config.json`."""
    if args.world is not None and args.data is not None:
        raise UserError("--world and --data were both given: train on one of them.")
    saved = saved or {}
    data = args.data or (saved.get("data") if args.world is None else None)
    name = args.world or saved.get("world") or "single"
    world = None if data else get_world(name)
    recipe = recipe_for("folder" if data else name, args.loss)
    asked = {f.name: value for f in dataclasses.fields(TrainConfig) if (value := getattr(args, f.name, None)) is not None}
    if not args.remat:  # a switch, which is off where it was not asked for
        del asked["remat"]
    try:
        run = TrainConfig(**(saved.get("train", recipe["train"]) | asked))
    except TypeError as error:
        raise UserError(f"the run's settings are not ones of tinyclip's: {error}.") from None
    size, kind = args.size or recipe["size"], {"loss": args.loss, "dtype": args.dtype}
    kind = {key: None if value == "float32" else value for key, value in kind.items() if value is not None}
    if run.hard_negatives != "none" and data:
        raise UserError("--hard-negatives needs a world with swaps, which a folder of pictures has not: train on --world pairs.")

    def model_of(tokenizer: WordTokenizer, mean: tuple[float, ...], std: tuple[float, ...]) -> CLIPConfig:
        if saved and args.size is None:
            return dataclasses.replace(CLIPConfig.from_json(saved["model"]), **kind)
        text = {"vocab": tokenizer.vocab, "context": tokenizer.context, "end_token": tokenizer.end}
        image = {"mean": mean, "std": std}
        if args.size is None:
            image, text = image | recipe.get("image", {}), text | recipe.get("text", {})
        return CLIPConfig.preset(size, image=image, text=text, **kind)

    again = " --skip-bad" * args.skip_bad + (f" --devices {args.devices}" if args.devices else "")
    if world is not None:
        model = model_of(world.tokenizer(), world.mean, world.std)
        mesh = _mesh(args, run)
        return Plan(model, run, WorldSource(world, model, run, mesh), world.tokenizer(), mesh, world=world, again=again)
    folder = read_folder(data, CLIPConfig.preset(size).image.size, args.skip_bad, show.track)
    show.left_out(folder.skipped, len(folder.captions))
    tokenizer, pairs = WordTokenizer.of(folder.captions), len(folder.training_pairs())
    if len(folder.files) < 2:
        raise UserError(f"{data} has only 1 captioned picture to train on, but a contrast needs at least 2.")
    if run.batch_size > pairs:
        even = math.lcm((args.devices or 1) * jax.process_count(), run.micro_batch or 1)  # of which a batch is a multiple
        if pairs < max(2, even):
            raise UserError(f"{data} has {pairs} pairs to train on, too few for batches of {even}: take fewer devices, or smaller micro-batches.")
        run = dataclasses.replace(run, batch_size=pairs // even * even)
        show.line(f"the folder has {pairs} pairs to train on: a batch is {'all' if run.batch_size == pairs else run.batch_size} of them")
    model, mesh = model_of(tokenizer, *folder.statistics()), _mesh(args, run)
    return Plan(model, run, FolderSource(folder, tokenizer, model, run, mesh), tokenizer, mesh, folder=folder, again=again)


def _mesh(args: "cli.Train", run: TrainConfig) -> Mesh:
    """All devices, or those asked for; a line says so where some have nothing to do, or only pretend."""
    what, rows = ("micro-batch", run.micro_batch) if run.micro_batch else ("batch", run.batch_size)  # what is embedded at once, all of them share
    mesh = parallel.make_mesh(args.devices, rows, what)
    if mesh.size < jax.device_count() and args.devices is None:
        show.line(f"a {what} of {rows} is shared evenly by {mesh.size} of {jax.device_count()} devices: the others have nothing to do")
    elif mesh.size > 1:
        show.line(f"{mesh.size} devices, {run.batch_size // mesh.size} pairs on each")
    return mesh


def differences(saved: dict[str, Any], asked: dict[str, Any], prefix: str = "") -> list[str]:
    """The fields in which two configurations differ, each as one phrase."""
    found = []
    for key in sorted(saved.keys() | asked.keys()):
        a, b = saved.get(key), asked.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key} is {json.dumps(a)} there and {json.dumps(b)} now")
    return found


@dataclass
class History:
    """What is kept of a run, as `history.json`: each step's measures, and the accuracy after each chunk."""

    loss: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    logit_scale: list[float] = field(default_factory=list)
    accuracy: list[list[float | int]] = field(default_factory=list)  # [step, top-1 on new pictures in %]
    log_n: float = 0.0  # the loss of equal logits: ln N, the mean over both directions
    seconds: float = 0.0  # in chunks after the first, which compiles
    all_right: dict[str, float | int] | None = None  # when every new picture was first right: its step, pairs seen, and seconds as above

    def add(self, report: Report, accuracy: float, run: TrainConfig, first: bool) -> None:
        """Note one chunk."""
        step = int(report.state.step)
        for name in ("loss", "floor", "logit_scale"):
            getattr(self, name).extend(float(f"{value:.6g}") for value in getattr(report.measures, name))
        self.accuracy.append([step, round(accuracy, 2)])
        texts = run.batch_size * (2 if run.hard_negatives == "captions" else 1)  # among which each picture must find its own
        self.log_n, self.seconds = (math.log(run.batch_size) + math.log(texts)) / 2, self.seconds + (0 if first else report.seconds)
        if accuracy == 100 and self.all_right is None:
            self.all_right = {"step": step, "pairs": step * run.batch_size, "seconds": round(self.seconds, 2)}

    def back_to(self, step: int) -> None:
        """Forget what came after a checkpoint."""
        for name in ("loss", "floor", "logit_scale"):
            del getattr(self, name)[step:]
        self.accuracy = [entry for entry in self.accuracy if entry[0] <= step]
        if self.all_right is not None and self.all_right["step"] > step:
            self.all_right = None


class Watch:
    """Top-1 accuracy on new pictures (on all there are, if a folder has fewer than ten), cheap enough to measure after every chunk."""

    def __init__(self, plan: Plan) -> None:
        if plan.world is not None:
            self.texts, said = plan.world.canonical()
            scenes = plan.world.sample(jax.random.key(11), 1600 if plan.world.name == "sixteen" else 256, "validation")
            self.pictures = evaluate.draw_bytes(plan.world, scenes, plan.model.image.size)
            self.true = np.asarray(plan.world.true_of(said, scenes.meaning))
        else:
            pairs = plan.folder.validation_pairs()
            rows, self.texts, self.true = plan.folder.told((pairs if len(pairs) else plan.folder.training_pairs())[:256])
            self.pictures = np.asarray(plan.folder.pixels[rows])

    def __call__(self, bundle: Bundle) -> float:
        """In %."""
        return 100 * evaluate.zero_shot_accuracy(bundle.embed_images(self.pictures), bundle.embed_texts(self.texts), self.true)


class Interrupt:
    """Ctrl-C is noted, and acted on after the chunk; a second one ends the program at once."""

    def __enter__(self) -> "Interrupt":
        self.asked = False
        self.before = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.asked = True
        show.line("stopping after this chunk (Ctrl-C again to stop at once, without saving)")

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self.before)


def train_into(plan: Plan, out: Path, resume: bool) -> Bundle | None:
    """Train into a folder; of several processes all train, but only the main one looks, writes, and returns the model.

    Raises `UserError` for a folder that holds another run, `KeyboardInterrupt` after saving on Ctrl-C. What ends before its first checkpoint
    leaves nothing behind.
    """
    main = parallel.is_main()
    if not parallel.all_say(json.dumps(plan.settings | {"data": None})):  # which may lie elsewhere on each host
        raise UserError("the processes were not started with the same settings: give all of them one command, but for --process-id.")
    history = parallel.for_all(lambda: open_folder(plan, out, resume) if main else History())  # before XLA compiles: a mistake is told at once
    try:
        checkpoints, state = Checkpoints(out) if main else None, None
        if resume:
            like = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(lambda: initial_state(plan.model, plan.run)))
            state = parallel.from_main(checkpoints.restore(like) if main else like)
            history.back_to(int(state.step))
            show.line(f"continuing at step {int(state.step)} of {plan.run.steps}")
            state = jax.device_put(state, parallel.everywhere(plan.mesh))
        state = _loop(plan, out, checkpoints, state, history)
    except BaseException as error:  # Ctrl-C, too
        if main and not resume and not any_saved(out):
            _take_back(out)
        elif main and isinstance(error, KeyboardInterrupt) and not error.args and any_saved(out):
            raise KeyboardInterrupt(f"stopped at once; {how_to_resume(plan, out, 'the last checkpoint')}") from None
        raise
    if not main:
        return None
    bundle = Bundle(make_model(plan.model, parallel.here(state.params)), plan.tokenizer, out.name, plan.trained_on, dataclasses.asdict(history))
    save_bundle(out, bundle, plan.extra)
    return bundle


def open_folder(plan: Plan, out: Path, resume: bool) -> History:
    """Make the run's folder with its `config.json`, or check that it holds this run. Raises `UserError` if it cannot be had."""
    history = History()
    if resume:
        if (out / CONFIG).is_file() and not any_saved(out):
            raise UserError(f"{out} holds no checkpoint to resume from: start the run again with another --out.")
        different = differences({key: value for key, value in read_json(out / CONFIG).items() if key != "format"}, plan.settings)
        if different:
            raise UserError(f"{out} cannot be resumed with other settings ({'; '.join(different)}): leave these out, or choose another --out.")
        try:
            history = History(**read_history(out))
        except TypeError:
            raise UserError(f"{out / HISTORY} is damaged: it does not hold a run's history.") from None
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        what = "already holds a run: continue it with --resume, or" if (out / CONFIG).is_file() else "is not an empty folder:"
        raise UserError(f"{out} {what} choose another --out.")
    write_all(out, {CONFIG: {"format": "tinyclip"} | plan.settings})
    return history


def how_to_resume(plan: Plan, out: Path, where: str) -> str:
    """The command, as it is typed."""
    return f"continue at {where} with: tinyclip train --out {show.typed(str(out))}{plan.again} --resume"


def _take_back(out: Path) -> None:
    """Remove what a run wrote into its new folder before its first checkpoint: it cannot be resumed, and would be in the way of the next."""
    for name in (CONFIG, HISTORY):
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / FOLDER, ignore_errors=True)
    with contextlib.suppress(OSError):
        out.rmdir()


def _loop(plan: Plan, out: Path, checkpoints: Checkpoints | None, state: State | None, history: History) -> State:
    """The chunks, and what happens between them; without `checkpoints`, as in all processes but the main one, nothing is looked at or written."""
    run, watch, saved, first = plan.run, None, time.monotonic(), True
    with Interrupt() as interrupt, show.Progress(run.steps, int(state.step) if state else 0) as progress:
        for report in train(plan.model, run, plan.source, state, plan.mesh):
            state, measures, step = report.state, report.measures, int(report.state.step)
            if not measures.finite.all():
                bad, last = step - len(measures.finite) + int(np.argmin(measures.finite)) + 1, checkpoints and checkpoints.latest()
                kept = "no checkpoint was saved yet" if last is None else f"the checkpoint of step {last} is kept"
                raise UserError(f"the loss or its gradient was not finite at step {bad}: try a --learning-rate below {run.learning_rate:g}; {kept}.")
            if checkpoints:
                watch = watch or Watch(plan)  # after the first chunk: drawing its pictures should not keep anybody waiting for that
                accuracy = watch(Bundle(make_model(plan.model, parallel.here(state.params)), plan.tokenizer))
                history.add(report, accuracy, run, first)
                rate = math.nan if first else run.batch_size * len(measures.loss) / report.seconds
                rulers = (history.log_n, float(measures.floor.mean())) if plan.model.loss == "contrastive" else None
                progress.update(step, loss=float(measures.loss.mean()), rulers=rulers, accuracy=accuracy, rate=rate)
            first, stop = False, parallel.anyone(interrupt.asked) and step < run.steps
            if checkpoints and (stop or step == run.steps or time.monotonic() - saved > SAVE_EVERY):
                write_atomically(out / HISTORY, json.dumps(dataclasses.asdict(history)) + "\n")  # first: what is ahead of a checkpoint is forgotten
                checkpoints.save(state)
                saved = time.monotonic()
            if stop:
                raise KeyboardInterrupt(f"stopped and saved; {how_to_resume(plan, out, f'step {step}')}")
    return state
