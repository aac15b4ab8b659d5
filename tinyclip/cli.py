"""The commands. Each is a dataclass whose fields are its command line; imports that take time wait until a command runs.

A mistake of the user's is a `UserError` anywhere below: it is caught in `main` and nowhere else, printed as one sentence, exit code 2.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, arg

from .errors import UserError

WorldName = Literal["single", "pairs", "animals", "sixteen"]
Model = Annotated[str, arg(metavar="MODEL", help="a folder written by train, or the name of a pretrained model")]
Words = Positional[Annotated[tuple[str, ...], arg(metavar="[MODEL] CAPTION")]]


@dataclass
class Train:
    """Train a tiny CLIP, and show what it learned."""

    world: WorldName | None = None
    """The toy world to train on (single, if no --data is given)."""
    data: Path | None = None
    """Or a folder of your own pictures, with a metadata.jsonl."""
    size: Literal["nano", "tiny", "small"] | None = None
    """How large a model; each world has its own default."""
    steps: int | None = None
    """Batches to train on; each world has its own default."""
    batch_size: int | None = None
    """Pairs in a batch (128); every other pair in it is a negative."""
    learning_rate: float | None = None
    """At its peak."""
    seed: int | None = None
    """Of everything random (0). The same seed gives the same model, bit for bit, on one machine."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """What the towers compute in; weights and similarities stay float32."""
    loss: Literal["contrastive", "sigmoid"] | None = None
    """Softmax over the batch, as CLIP, or a sigmoid for each pair, as SigLIP."""
    shared_positives: bool | None = None
    """Whether a caption that is true of several pictures in the batch counts as a positive of each (True)."""
    hard_negatives: Literal["none", "captions", "scenes"] | None = None
    """In worlds that have swaps: add swapped captions as extra negatives, or put every scene beside its swaps."""
    out: Path | None = None
    """The run's folder (data/runs/WORLD-NNN, a new number each time)."""
    resume: Annotated[bool, FlagCreatePairsOff[bool]] = False
    """Continue the run in --out, or the newest of that world."""
    skip_bad: Annotated[bool, FlagCreatePairsOff[bool]] = False
    """With --data: leave out, and count, pictures and lines that cannot be read."""

    def run(self) -> None:
        from . import commands

        commands.train(self)


@dataclass
class Evaluate:
    """Measure a model on new pictures: zero-shot, retrieval, binding, probe, geometry."""

    model: Positional[Model] = "shapes"
    world: WorldName | None = None
    """The toy world to test on (the one the model was trained on)."""
    data: Path | None = None
    """Or a folder of captioned pictures."""
    json: Annotated[bool, FlagCreatePairsOff[bool]] = False
    """Print one flat JSON object."""

    def run(self) -> None:
        from . import commands

        commands.evaluate(self)


@dataclass
class Search:
    """Find the pictures nearest to a sentence; a grid of them is saved."""

    words: Words
    images: Path | None = None
    """A folder of pictures to search (else 1,000 new pictures of the model's world)."""
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
    captions: Path | None = None
    """A file with one caption a line (else all canonical captions of the model's world)."""
    k: Annotated[int, arg(aliases=["-k"])] = 5
    """How many."""

    def run(self) -> None:
        from . import commands

        commands.caption(self)


@dataclass
class Draw:
    """Draw a sentence as a picture, or many random scenes with --count as a folder of captioned pictures."""

    words: Positional[Annotated[tuple[str, ...], arg(metavar="SENTENCE [OUT.png] | FOLDER")]]
    world: WorldName | None = None
    """The toy world to draw from (the first that knows the sentence; single with --count)."""
    count: int | None = None
    """Draw this many random scenes into FOLDER, with their captions in metadata.jsonl."""
    size: int | None = None
    """Pixels along one side (256; with --count 32)."""
    seed: int = 0
    """Of all that the sentence leaves open."""

    def run(self) -> None:
        from . import commands

        commands.draw(self)


@dataclass
class Plot:
    """Draw a model's figures: similarity matrix, the space in 2-D, training curve."""

    model: Positional[Model] = "shapes"
    out: Path | None = None
    """Where they go (the model's folder/figures; for a pretrained model, figures/MODEL here)."""

    def run(self) -> None:
        from . import commands

        commands.plot(self)


@dataclass
class Export:
    """Write a model as a folder of config, safetensors and tokenizer, without its training state."""

    model: Positional[Model]
    out: Positional[Path]
    format: Literal["tinyclip"] = "tinyclip"
    """The form to write."""

    def run(self) -> None:
        from . import commands

        commands.export(self)


@dataclass
class Bench:
    """Measure speed on this machine: drawing, training and embedding, against its own matrix-product rate."""

    size: Literal["nano", "tiny", "small"] = "tiny"
    """The model to train and embed with."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What its towers compute in."""
    json: Annotated[bool, FlagCreatePairsOff[bool]] = False
    """Print one flat JSON object."""

    def run(self) -> None:
        from . import commands

        commands.bench(self)


COMMANDS = (Train, Evaluate, Search, Classify, Caption, Draw, Plot, Export, Bench)


def main(args: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    choices = {command.__name__.lower(): command for command in COMMANDS}
    command = tyro.extras.subcommand_cli_from_dict(choices, prog="tinyclip", description="CLIP from scratch on captioned shapes.", args=args)
    try:
        command.run()
    except UserError as error:
        print(f"tinyclip: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"\n{stop}" if str(stop) else "\nstopped", file=sys.stderr)
        return 130
    return 0


def entry() -> None:
    """The `tinyclip` program."""
    sys.exit(main())
