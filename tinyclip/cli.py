"""The commands. Each is a dataclass whose fields are its command line; imports that take time wait until a command runs.

A mistake of the user's is a `UserError` anywhere below, and is printed in `main` and nowhere else: one sentence, exit code 2.
"""

import gc
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, arg

from .config import cache_folder
from .errors import UserError

WorldName = Literal["single", "pairs", "animals", "sixteen"]
Model = Annotated[str, arg(metavar="MODEL", help="a folder written by train, or the name of a pretrained model")]
Words = Positional[
    Annotated[tuple[str, ...], arg(metavar="[MODEL] CAPTION", help="a model (shapes, if left out), and what to look for", help_behavior_hint="")]
]


def default(hint: str, metavar: str | None = None) -> object:
    """What the help says in place of "(default: None)", for what is decided later."""
    return arg(help_behavior_hint=f"(default: {hint})", metavar=metavar)


RECIPE = "the world's own"


@dataclass
class Train:
    """Train a tiny CLIP, and show what it learned."""

    world: Annotated[WorldName | None, default("single", "single|pairs|animals|sixteen")] = None
    """The toy world to train on."""
    data: Annotated[Path | None, default("none", "FOLDER")] = None
    """Or a folder of your own pictures, with a metadata.jsonl."""
    size: Annotated[Literal["nano", "tiny", "small"] | None, default(RECIPE, "nano|tiny|small")] = None
    """How large a model."""
    steps: Annotated[int | None, default(RECIPE, "N")] = None
    """Batches to train on."""
    batch_size: Annotated[int | None, default(RECIPE, "N")] = None
    """Pairs in a batch; every other pair in it is a negative."""
    micro_batch: Annotated[int | None, default("the whole batch", "N")] = None
    """Pairs the towers embed at once: for batches larger than memory. The same gradients, one forward pass more."""
    learning_rate: Annotated[float | None, default(RECIPE, "RATE")] = None
    """At its peak."""
    seed: Annotated[int | None, default("0", "N")] = None
    """Of everything random. The same seed gives the same model, bit for bit, on one machine."""
    dtype: Annotated[Literal["float32", "bfloat16"] | None, default("float32", "float32|bfloat16")] = None
    """What the towers compute in; weights and similarities stay float32."""
    loss: Annotated[Literal["contrastive", "sigmoid"] | None, default("contrastive", "contrastive|sigmoid")] = None
    """Softmax over the batch, as CLIP, or a sigmoid for each pair, as SigLIP; this takes twice the steps at half the rate."""
    shared_positives: Annotated[bool | None, default("True", "True|False")] = None
    """Whether a caption that is true of several pictures in the batch counts as a positive of each."""
    hard_negatives: Annotated[Literal["none", "captions", "scenes"] | None, default(RECIPE, "none|captions|scenes")] = None
    """In worlds that have swaps: add swapped captions as extra negatives, or put every scene beside its swaps."""
    remat: bool = False
    """Keep only each block's output for the way back and compute the rest again: for cards that are short of memory; more time."""
    out: Annotated[Path | None, default("data/runs/WORLD-NNN, a new number each time", "FOLDER")] = None
    """The run's folder."""
    resume: bool = False
    """Continue the run in --out, or the newest of that world."""
    skip_bad: bool = False
    """With --data: leave out, and count, pictures and lines that cannot be read."""
    devices: Annotated[int | None, default("all there are", "N")] = None
    """Devices of this machine to share the batch out to; a CPU pretends to be as many."""
    coordinator: Annotated[str | None, default("JAX_COORDINATOR_ADDRESS, if set", "HOST:PORT")] = None
    """With several processes: where process 0 can be reached, or "auto" on a cluster that JAX knows."""
    processes: Annotated[int | None, default("JAX_NUM_PROCESSES, if set", "N")] = None
    """How many there are; each is started with the same command but for its own --process-id."""
    process_id: Annotated[int | None, default("JAX_PROCESS_ID, if set", "I")] = None
    """Which one this is, from 0."""

    def run(self) -> None:
        from . import commands

        commands.train(self)


@dataclass
class Evaluate:
    """Measure a model on new pictures: zero-shot, retrieval, binding, probe, geometry."""

    model: Positional[Model] = "shapes"
    world: Annotated[WorldName | None, default("the one the model was trained on", "single|pairs|animals|sixteen")] = None
    """The toy world to test on."""
    data: Annotated[Path | None, default("none", "FOLDER")] = None
    """Or a folder of captioned pictures."""
    json: bool = False
    """Print one flat JSON object."""

    def run(self) -> None:
        from . import commands

        commands.evaluate(self)


@dataclass
class Search:
    """Find the pictures nearest to a sentence; a grid of them is saved."""

    words: Words
    images: Annotated[Path | None, default("1,000 new pictures of the model's world", "FOLDER")] = None
    """A folder of pictures to search."""
    k: Annotated[int, arg(aliases=["-k"])] = 6
    """How many."""
    out: Path = Path("search.png")
    """Where the grid goes."""

    def run(self) -> None:
        from . import commands

        commands.search(self)


@dataclass
class Classify:
    """How well each of several captions fits a picture, as probabilities over them."""

    model: Positional[Model]
    image: Positional[Path]
    captions: Positional[Annotated[tuple[str, ...], arg(metavar="CAPTION ...")]]

    def run(self) -> None:
        from . import commands

        commands.classify(self)


@dataclass
class Caption:
    """Find the captions nearest to a picture."""

    model: Positional[Model]
    image: Positional[Path]
    captions: Annotated[Path | None, default("all canonical captions of the model's world", "FILE")] = None
    """A file with one caption a line."""
    k: Annotated[int, arg(aliases=["-k"])] = 5
    """How many."""

    def run(self) -> None:
        from . import commands

        commands.caption(self)


@dataclass
class Draw:
    """Draw a sentence as a picture (or let it sound, in a .wav), or many random scenes with --count as a folder of captioned pictures."""

    words: Positional[
        Annotated[
            tuple[str, ...],
            arg(metavar="SENTENCE [OUT.png|OUT.wav] | FOLDER", help="a sentence and where it goes, or with --count a folder", help_behavior_hint=""),
        ]
    ]
    world: Annotated[WorldName | None, default("the first that knows the sentence; with --count, single", "single|pairs|animals|sixteen")] = None
    """The toy world to draw from."""
    count: Annotated[int | None, default("one picture of the sentence", "N")] = None
    """Draw this many random scenes into FOLDER, with their captions in metadata.jsonl."""
    size: Annotated[int | None, default("256; with --count, 32", "N")] = None
    """Pixels along one side."""
    seed: int = 0
    """Of all that the sentence leaves open."""

    def run(self) -> None:
        from . import drawing

        drawing.draw(self)


@dataclass
class Plot:
    """Draw a model's figures: similarity matrix, the space in 2-D, training curve."""

    model: Positional[Model] = "shapes"
    out: Annotated[Path | None, default("the model's folder/figures; for a pretrained model, figures/MODEL here", "FOLDER")] = None
    """Where they go."""

    def run(self) -> None:
        from . import commands

        commands.plot(self)


@dataclass
class Export:
    """Write a model as a folder of config, safetensors and tokenizer, without its training state."""

    model: Positional[Model]
    out: Positional[Path]
    format: Literal["tinyclip", "hf"] = "tinyclip"
    """The form to write; hf is a snapshot for transformers.CLIPModel.from_pretrained."""

    def run(self) -> None:
        from . import commands

        commands.export(self)


@dataclass
class Bench:
    """Measure speed on this machine: training, embedding, drawing and search, against its own matrix-product rate."""

    size: Annotated[Literal["nano", "tiny", "small", "vit_b_32", "vit_b_16", "vit_l_14", "vit_l_14_336"], arg(metavar="SIZE")] = "tiny"
    """The model to train and embed with: nano, tiny, small, or one of OpenAI's, such as vit_b_32."""
    batch_size: Annotated[int, arg(metavar="N")] = 128
    """Pairs a step."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What its towers compute in."""
    tricks: bool = False
    """Also measure how many times as fast each thing makes it that was done for speed (a minute more)."""
    start: bool = False
    """Instead, measure how long it takes from a command to the first training step."""
    losses: Annotated[Path | None, default("none", "OUT.png")] = None
    """Instead, draw memory and time of the loss against the number of pairs: with the full matrix, and in blocks of rows."""
    json: bool = False
    """Print one flat JSON object."""

    def run(self) -> None:
        from . import commands

        commands.bench(self)


COMMANDS = (Train, Evaluate, Search, Classify, Caption, Draw, Plot, Export, Bench)


CONFIG = (FlagCreatePairsOff,)  # --resume, without a --no-resume beside it


def main(args: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    choices = {command.__name__.lower(): command for command in COMMANDS}
    about = "CLIP from scratch on captioned shapes."
    command = tyro.extras.subcommand_cli_from_dict(choices, prog="tinyclip", description=about, args=args, config=CONFIG)
    try:
        command.run()
    except UserError as error:
        print(f"tinyclip: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"\n{stop}" if str(stop) else "\nstopped", file=sys.stderr)
        return 130
    return 0


def begin_quickly() -> None:
    """What XLA compiles is kept from one run to the next; JAX_ENABLE_COMPILATION_CACHE=false turns it off.

    To be called before NumPy is imported; what is said to JAX it hears later, too.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")  # the many small programs, too
    # After a product, NumPy's threads look for more work for 30 ms, in XLA's way: an accuracy after a chunk made the next one 1.2x as slow.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # as a power of two, in cycles
    if "jax" in sys.modules:  # it has read the environment already
        import jax

        jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
        jax.config.update("jax_persistent_cache_min_compile_time_secs", float(os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"]))
    gc.set_threshold(100_000, 50, 50)  # importing and tracing make many objects and little garbage: do not look for it so often


def entry() -> None:
    """The `tinyclip` program."""
    begin_quickly()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # for a code page or a pipe that lacks a caption's letters
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:  # `tinyclip ... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)
