"""What the commands do, one function each; `cli.py` holds their command lines."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from . import evaluate as measure
from . import parallel, run, show
from . import search as find
from .bundle import CONFIG, HISTORY, PRETRAINED, Bundle, load, read_json, save_bundle, save_for_hugging_face, write_atomically
from .bundle import find as find_model
from .checkpoint import new_folder, newest_folder
from .errors import UserError
from .folder import METADATA, Folder, fit, open_image, read_folder, read_metadata
from .world import WORLDS, World, get_world

if TYPE_CHECKING:
    from . import cli

RUNS = Path("data/runs")
GRID = 60  # pictures in the grid of a search: a thousand would take minutes to draw
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"}


def train(args: "cli.Train") -> None:
    """Train, then show a table, three figures, and what to try next."""
    parallel.start(args.devices, args.coordinator, args.processes, args.process_id, show.line)
    show.only_if(parallel.is_main())
    out, saved = args.out, None
    name = args.data.resolve().name.translate(str.maketrans("[]", "()")) if args.data else args.world or "single"  # see `Checkpoints`
    if args.resume:
        out = out or newest_folder(RUNS, name)
        if not (out / CONFIG).is_file():
            raise UserError(f"{out} holds no run to resume: name its folder with --out, or start one without --resume.")
        saved = read_json(out / CONFIG)
        trained_on = saved.get("data", saved.get("world"))
        if saved.get("format") != "tinyclip" or not isinstance(saved.get("model"), dict) or not isinstance(trained_on, str):
            raise UserError(f"{out / CONFIG} does not describe a run of tinyclip: name the run's folder with --out.")
    plan = parallel.for_all(lambda: run.plan(args, saved))
    out = out or new_folder(RUNS, name)
    bundle = run.train_into(plan, out, resume=args.resume)
    parallel.leave()
    if bundle is None:
        return
    scores = _scores(bundle, plan.world, plan.folder)
    _table(bundle, {key: value for key, value in scores.items() if not any(detail in key for detail in DETAILS)}, plan.folder)
    if plan.world is not None and bundle.history.get("all_right"):
        first = bundle.history["all_right"]
        show.result(f"all new pictures right after {first['seconds']:.1f} s of training and {first['pairs']:,} pairs")
    try:
        figures = draw_figures(bundle, out / "figures", plan.world, plan.folder)
    except UserError as error:
        raise UserError(f"the model is trained and saved in {out}, but not all its figures: {error}") from None
    show.result("\nfigures: " + "\n         ".join(map(str, figures)))
    said = plan.world.grammar.describe(plan.world.seen[0]) if plan.world else plan.folder.captions[0]
    example = plan.tokenizer.decode(plan.tokenizer([said])[0][:11])  # a folder's may be long: ten words of it, which the model knows
    model, example = show.typed(str(out)), show.typed(example)
    picture = f"tinyclip draw {example} picture.png && tinyclip caption {model} picture.png" if plan.world else f"tinyclip caption {model} YOUR.png"
    show.result(f"try next: tinyclip search {model} {example}\n          {picture}")


DETAILS = ("_at_5", "_at_10", "_at_1_held_out", "ensemble", "group_", "alignment", "uniformity")  # left to `tinyclip evaluate`


def evaluate(args: "cli.Evaluate") -> None:
    """Measure a model and print a table, or one flat JSON object."""
    bundle = load(args.model)
    world, folder = _tested_on(bundle, args.world, args.data)
    scores = _scores(bundle, world, folder)
    if args.json:
        show.result(json.dumps({key: round(value, 6) for key, value in scores.items()}))
    else:
        _table(bundle, scores, folder)


def search(args: "cli.Search") -> None:
    """Print the nearest pictures with their scores, and save them as a grid."""
    from . import plots

    model, sentence = _model_and_sentence(args.words)
    bundle = load(model)
    k = _at_least_one(args.k)
    query = bundle.embed_texts([sentence])[0]  # first, since an unknown word should not cost a minute of embedding
    names, pictures = _gallery(bundle, args.images)
    rows, scores = find.nearest(query, bundle.embed_images(np.asarray(pictures)), k)
    grid = plots.picture_grid([pictures[row] for row in rows[:GRID]], [f"{score:.3f}" for score in scores[:GRID]], args.out, sentence)
    for row, score in zip(rows, scores, strict=True):
        show.result(f"{score:.3f}  {names[row]}")
    show.result(f"grid: {grid}")
    if len(rows) > GRID:
        show.line(f"the grid shows the {GRID} nearest of them")


def classify(args: "cli.Classify") -> None:
    """Print each caption's probability, best first."""
    bundle = load(args.model)
    image = bundle.embed_images([open_image(args.image)])[0]
    captions = list(args.captions)
    if len(captions) < 2:
        raise UserError("give at least two captions to choose from.")
    for probability, caption in sorted(zip(find.classify(bundle, image, captions), captions, strict=True), reverse=True):
        show.result(f"{probability:7.2%}  {caption}")


def caption(args: "cli.Caption") -> None:
    """Print the nearest captions with their scores."""
    bundle = load(args.model)
    image = bundle.embed_images([open_image(args.image)])[0]
    captions = _captions(bundle, args.captions)
    rows, scores = find.nearest(image, bundle.embed_texts(captions), _at_least_one(args.k))
    for row, score in zip(rows, scores, strict=True):
        show.result(f"{score:.3f}  {captions[row]}")


def plot(args: "cli.Plot") -> None:
    """Draw a model's figures again."""
    folder, bundle = find_model(args.model), load(args.model)
    world, data = _tested_on(bundle, ask="plot draws what a model was trained on: take one that says so")
    shipped = folder.resolve().is_relative_to(PRETRAINED)
    for path in draw_figures(bundle, args.out or (Path("figures") / folder.name if shipped else folder / "figures"), world, data):
        show.result(str(path))


def export(args: "cli.Export") -> None:
    """Copy a model without its training state."""
    bundle = load(args.model)
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise UserError(f"{args.out} is not an empty folder: choose another.")
    if args.format == "hf":
        save_for_hugging_face(args.out, bundle)
    else:
        config = find_model(args.model) / CONFIG
        saved = read_json(config) if config.is_file() else {}
        save_bundle(args.out, bundle, {"train": saved["train"]} if "train" in saved else {})
        if bundle.history:
            write_atomically(args.out / HISTORY, json.dumps(bundle.history) + "\n")
    show.result(f"{args.out}: {', '.join(sorted(path.name for path in args.out.iterdir()))}")


def bench(args: "cli.Bench") -> None:
    """Measure this machine."""
    from .benchmark import benchmark, losses, start_up

    if not 2 <= args.batch_size <= 1_000_000:
        raise UserError(f"--batch-size is {args.batch_size}, but must lie between 2 and 1,000,000.")
    if args.losses:
        figures = losses(args.losses)
    elif args.start:
        figures = start_up()
    else:
        figures = benchmark(args.size, args.dtype, args.batch_size, args.tricks)
    if args.json:
        show.result(json.dumps({name: round(value, 3) for name, (value, _) in figures.items()}))
    else:
        rows = [(name.replace("_", " "), f"{value:,.0f}" if value >= 100 else f"{value:.2f}", unit) for name, (value, unit) in figures.items()]
        show.table("on this machine, now", rows, ("", "", "unit"))


def draw_figures(bundle: Bundle, out: Path, world: World | None, folder: Folder | None) -> list[Path]:
    """The similarity matrix, the space in 2-D, and (where its history is known) the training curve."""
    from . import plots  # matplotlib is slow to import: not before the first step of a training

    if world is not None:
        scenes = measure.distinct_scenes(world, 40, seed=7)
        pictures = measure.draw_bytes(world, scenes, 96)
        captions = [world.grammar.describe(row) for row in scenes.meaning]
    else:
        pairs = np.unique(folder.picture_of, return_index=True)[1][:40]
        pictures, captions = np.asarray(folder.pixels[folder.picture_of[pairs]]), [folder.captions[i] for i in pairs]
    images, texts = bundle.embed_images(pictures), bundle.embed_texts(captions)
    few = 10
    paths = [
        plots.similarity_matrix(images[:few] @ texts[:few].T, pictures[:few], captions[:few], out / "similarity.png"),
        plots.space_map(images, texts[:12], pictures, captions[:12], out / "space.png"),
    ]
    history = bundle.history
    if history.get("loss"):
        paths.append(plots.training_curve(history, bundle.config.loss, out / "training.png"))
    return paths


def _scores(bundle: Bundle, world: World | None, folder: Folder | None) -> dict[str, float]:
    if world is not None:
        try:
            return measure.evaluate_world(bundle, world)
        except UserError as error:
            raise UserError(f"this model cannot be tested on the world {world.name!r}: {error}") from None
    return measure.evaluate_folder(bundle, folder)


def _table(bundle: Bundle, scores: dict[str, float], folder: Folder | None) -> None:
    percent = ("zero_shot", "recall", "binding", "linear")
    rows = []
    for key, value in scores.items():
        shown = f"{100 * value:.1f} %" if any(word in key for word in percent) else f"{value:.3f}" if isinstance(value, float) else str(value)
        rows.append((key.replace("_", " "), shown))
    new = folder is None or measure.pairs_to_ask(bundle, folder)[1]
    show.table(bundle.name, rows, (f"measured on {'new pictures' if new else 'what it was trained on'}", ""))


def _tested_on(
    bundle: Bundle, world: str | None = None, data: Path | None = None, ask: str = f"add --world {'|'.join(WORLDS)} or --data FOLDER"
) -> tuple[World | None, Folder | None]:
    """The world or folder asked for, else the one the model names; if it names none, the error says what to `ask` for."""
    if world is not None and data is not None:
        raise UserError("--world and --data were both given: choose one.")
    if world is None and data is None:
        world, data = bundle.trained_on.get("world"), bundle.trained_on.get("data")
    if world is not None:
        return get_world(world), None
    if data is not None:
        folder = read_folder(data, bundle.config.image.size, skip_bad=True, progress=show.track)
        show.left_out(folder.skipped, len(folder.captions))
        return None, folder
    raise UserError(f"the model {bundle.name!r} does not say what it was trained on: {ask}.")


def _model_and_sentence(words: tuple[str, ...]) -> tuple[str, str]:
    if len(words) == 1:
        return "shapes", words[0]
    if len(words) == 2:
        return words[0], words[1]
    raise UserError('give a model and one caption in quotes: tinyclip search shapes "a large red circle".')


def _gallery(bundle: Bundle, images: Path | None) -> tuple[list[str], Any]:
    """Names and pictures to search: a folder's, or 1,000 new ones of the model's world."""
    size = bundle.config.image.size
    if images is None:
        world, folder = _tested_on(bundle, ask="name the pictures to search with --images FOLDER")
        if folder is not None:
            return folder.files, folder.pixels
        scenes = world.sample(jax.random.key(17), 1000, "test")
        return [world.grammar.describe(row) for row in np.asarray(scenes.meaning)], measure.draw_bytes(world, scenes, size)
    if not images.is_dir():
        raise UserError(f"there is no folder {images} to search.")
    if (images / METADATA).is_file():
        pairs, wrong = read_metadata(images, skip_bad=True)
        files = list(dict.fromkeys(name for name, _ in pairs))
    else:
        files, wrong = sorted(str(path.relative_to(images)) for path in images.rglob("*") if path.suffix.lower() in PICTURES), []
    if not files:
        show.left_out(wrong, 0)
        raise UserError(f"{images} holds no pictures ({', '.join(sorted(PICTURES))}).")
    names, pictures = [], []
    for name in show.track(files, "reading pictures"):
        try:
            pictures.append(fit(open_image(images / name), size))
            names.append(name)
        except UserError as error:
            wrong.append(str(error))
    if not names:
        raise UserError(wrong[-1])
    show.left_out(wrong, len(names))
    return names, np.stack(pictures)


def _captions(bundle: Bundle, path: Path | None) -> list[str]:
    """The captions to choose from: a file's lines, or all canonical captions of the model's world, or those of its folder."""
    if path is not None:
        try:
            captions = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"could not read the captions in {path}: {getattr(error, 'strerror', None) or error}.") from None
        if not captions:
            raise UserError(f"{path} holds no captions: write one a line.")
        return captions
    world, folder = _tested_on(bundle, ask="give the captions to choose from with --captions FILE")
    return list(dict.fromkeys(folder.captions)) if folder is not None else world.canonical()[0] + world.canonical(held_out=True)[0]


def _at_least_one(k: int) -> int:
    if k < 1:
        raise UserError(f"-k is {k}, but must be 1 or more.")
    return k
