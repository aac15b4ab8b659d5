"""`tinyclip draw`: a sentence as a picture or as a sound, or many random scenes as a folder of captioned pictures."""

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from . import evaluate, show
from .errors import UserError
from .folder import METADATA, check_empty, write_folder
from .world import World, get_world, read_anywhere

if TYPE_CHECKING:
    from . import cli


def draw(args: "cli.Draw") -> None:
    """Draw one sentence as a PNG, or let it sound in a WAV, or draw many scenes as a folder."""
    words = list(args.words)
    if not 0 <= args.seed < 2**32:
        raise UserError(f"--seed is {args.seed}, but must lie between 0 and 2^32 - 1.")
    if args.count is not None:
        if len(words) != 1 or not 1 <= args.count <= 10_000_000:
            raise UserError("with --count, give one folder and a count from 1: tinyclip draw --world pairs --count 1000 FOLDER.")
        draw_folder(get_world(args.world or "single"), args.count, Path(words[0]), _size(args.size, 32), args.seed)
        return
    if not 1 <= len(words) <= 2:
        raise UserError('give one sentence in quotes and a file: tinyclip draw "a small red circle" OUT.png.')
    if words[1:] and words[1].lower().endswith(".wav"):
        from .senses import sound

        if args.world not in (None, "single"):
            raise UserError(f"the world {args.world} can be seen, but only what is said of single can be heard: leave out --world.")
        sound.write_wav(Path(words[1]), sound.speak(words[0], args.seed))
        show.result(words[1])
        return
    world, said = read_anywhere(words[0], args.world)
    scenes = world.dress(jax.random.key(args.seed), world.fill(said, args.seed)[None])
    picture = evaluate.draw_bytes(world, scenes, _size(args.size, 256))[0]
    path = Path(words[1] if len(words) == 2 else "-".join(words[0].lower().split()) + ".png")
    save_picture(picture, path)
    show.result(str(path))


def draw_folder(world: World, count: int, path: Path, size: int, seed: int) -> None:
    """`count` random scenes with random captions, as PNG files and a metadata.jsonl."""
    check_empty(path)  # before anything is drawn
    key, speak = jax.random.split(jax.random.key(seed))
    scenes, tokenizer = world.sample(key, count), world.tokenizer()
    captions = [tokenizer.decode(row) for row in np.asarray(world.caption(speak, scenes.meaning).tokens)]
    pictures = chain.from_iterable(evaluate.drawn(world, scenes, size))
    write_folder(path, pictures, show.track(captions, "writing pictures"))
    show.result(f"{path}: {count} pictures with captions in {METADATA}")


def save_picture(picture: UInt8[np.ndarray, "S S 3"], path: Path) -> None:
    """Write a PNG (or what the ending asks for). Raises `UserError` if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    except (OSError, ValueError) as error:
        raise UserError(f"could not write {path}: {getattr(error, 'strerror', None) or error}.") from None


def _size(size: int | None, usual: int) -> int:
    size = usual if size is None else size
    if not 8 <= size <= 4096:
        raise UserError(f"--size is {size}, but must lie between 8 and 4096 pixels.")
    return size
