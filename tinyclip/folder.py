"""A folder of captioned pictures: `metadata.jsonl` with `file_name` and `text` on every line, the imagefolder convention of Hugging Face.

Pictures (PNG or JPEG, any size) are decoded once, into a file in the user's cache folder that is memory-mapped to be read. Photos are turned
as the camera was held, and what is transparent is white. Every tenth picture is kept from training, to see how the model does on pictures it
has not seen.
"""

import hashlib
import json
import os
import re
import uuid
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image, ImageOps

from .config import cache_folder
from .errors import UserError
from .tokenizer import OWN, split_words

METADATA = "metadata.jsonl"
READING = 2  # counts how `open_image` and `fit` have changed: what an older one decoded is not in the cache for a newer one
NO_CHARACTER = re.compile("[\0\ud800-\udfff]")  # JSON can spell them, but no file name and no figure can show them
Progress = Callable[[Iterable, str], Iterable]


def fit(image: Image.Image, size: int) -> UInt8[np.ndarray, "S S 3"]:
    """Shortest side to `size` with Pillow's bicubic filter on bytes, as OpenAI does, then the centre square, as Hugging Face cuts it."""
    image = image.convert("RGB")
    width, height = (size * side // min(image.size) for side in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


def open_image(path: Path) -> Image.Image:
    """A picture file, wholly read, as one sees it: turned as its camera was held (EXIF), and on white where it is transparent.

    Raises `UserError` that names it if it is missing, truncated, too large or no picture.
    """
    try:
        # What Pillow warns of either does not matter here (a camera's odd notes, an odd palette) or is an error below.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            image.load()
            if image.mode == "F" or (image.mode == "I" and image.getextrema()[1] > 65535):
                raise UserError(f"the picture {path} has pixels of 32 bits, and nothing says which of them are white: save it with 8 or 16 bits.")
            with suppress(Exception):  # it turns the pixels first: what it cannot write back of the camera's notes is no loss
                ImageOps.exif_transpose(image, in_place=True)
            return _on_white(image)
    except FileNotFoundError:
        raise UserError(f"the picture {path} does not exist.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, not a picture.") from None
    except Image.UnidentifiedImageError:
        reason = "it is no picture Pillow can read"
    except Image.DecompressionBombError as error:  # the size is only in its words, as nothing was opened
        reason = f"it is too large ({int(re.search('[0-9]+', str(error))[0]):,} pixels: shrink it to at most {2 * Image.MAX_IMAGE_PIXELS:,})"
    except (OSError, SyntaxError, ValueError) as error:
        said = getattr(error, "strerror", None)  # the system's word; Pillow's own errors have none
        reason = f"it could not be read ({said})" if said else f"it is damaged ({error})"
    raise UserError(f"the picture {path} cannot be used: {reason}.")


def _on_white(image: Image.Image) -> Image.Image:
    """Three bytes a pixel. Under what is transparent, files keep colours that nobody was meant to see: it shows white, as on a page."""
    if image.mode.startswith("I"):  # 16 bits: Pillow would make everything above 255 white
        image = Image.fromarray((np.asarray(image) // 257).clip(0).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


@dataclass(frozen=True)
class Folder:
    """P pictures and their pairs: pair i is picture `picture_of[i]` with `captions[i]`."""

    path: Path
    files: list[str]
    pixels: UInt8[np.ndarray, "P S S 3"]  # memory-mapped
    picture_of: Int[np.ndarray, "pairs"]
    captions: list[str]
    skipped: list[str]  # what was wrong with each entry left out

    def fingerprint(self) -> str:
        """Which pairs these are, in a few characters: the same for the same file names with the same captions."""
        pairs = [(self.files[picture], caption) for picture, caption in zip(self.picture_of, self.captions, strict=True)]
        return f"{len(pairs)} pairs, {hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:12]}"

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel in 0..1, from at most 500 pictures; no deviation is below 0.01."""
        sample = self.pixels[:: -(-len(self.pixels) // 500)].reshape(-1, 3) / 255
        return tuple(sample.mean(0).round(4).tolist()), tuple(np.maximum(sample.std(0), 0.01).round(4).tolist())

    def training_pairs(self) -> Int[np.ndarray, "n"]:
        """The pairs to train on: all but those of every tenth picture (all, where there are fewer than ten)."""
        return np.flatnonzero((self.picture_of % 10 != 9) | (len(self.files) < 10))

    def validation_pairs(self) -> Int[np.ndarray, "n"]:
        """The pairs of every tenth picture."""
        return np.setdiff1d(np.arange(len(self.captions)), self.training_pairs())

    def told(self, pairs: Int[np.ndarray, "n"]) -> tuple[Int[np.ndarray, "B"], list[str], Bool[np.ndarray, "B M"]]:
        """The pictures of these pairs, each once, their distinct captions, and `[i, j]`: does picture i have caption j?"""
        pictures, row = np.unique(self.picture_of[pairs], return_inverse=True)
        column: dict[str, int] = {}
        said = [column.setdefault(self.captions[pair], len(column)) for pair in pairs]
        true = np.zeros((len(pictures), len(column)), bool)
        true[row, said] = True
        return pictures, list(column), true


def read_metadata(path: Path, skip_bad: bool = False) -> tuple[list[tuple[str, str]], list[str]]:
    """The (file name, caption) pairs of a folder, and what was wrong with each line left out.

    Raises `UserError` naming the line, for a line that is no JSON object, lacks a key, or names a file outside the folder; with `skip_bad`,
    such lines are left out instead.
    """
    metadata = path / METADATA
    if not path.is_dir():
        raise UserError(f"there is no folder {path}: name one with pictures and a {METADATA}.")
    if not metadata.is_file():
        raise UserError(f"{path} has no {METADATA}: write one line for each picture, such as " + '{"file_name": "1.png", "text": "a red circle"}.')
    pairs, wrong = [], []
    try:
        lines = metadata.read_text(encoding="utf-8-sig").split("\n")  # not splitlines: JSON strings may hold other separators
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{metadata} cannot be read: {error}.") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        problem = None
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict):
                problem = "is not a JSON object"
            elif missing := [key for key in ("file_name", "text") if not isinstance(entry.get(key), str) or not entry[key].strip()]:
                problem = f"lacks {' and '.join(map(repr, missing))} (each a string)"
            elif own := sorted(set(OWN) & set(split_words(entry["text"]))):
                problem = f"has the word {own[0]!r} in its text, which is the tokenizer's own"
            elif not split_words(entry["text"]):
                problem = f"has no word in its text {entry['text']!r}"
            elif found := NO_CHARACTER.search(entry["text"]):
                problem = f"has {found[0]!r} in its text, which is no character"
            elif NO_CHARACTER.search(entry["file_name"]):
                problem = f"names {entry['file_name']!r}, which is no file name"
            elif _leads_out(entry["file_name"]):
                problem = f"names {entry['file_name']!r}, which is outside the folder"
        except json.JSONDecodeError as error:
            problem = f"is not valid JSON ({error.msg})"
        except (ValueError, RecursionError):
            problem = "has a number too long, or brackets too deep, to be read"
        if problem is None:
            pairs.append((entry["file_name"], entry["text"]))
        elif skip_bad:
            wrong.append(f"line {number} {problem}")
        else:
            raise UserError(f"line {number} of {metadata} {problem}: mend it, or leave such entries out with --skip-bad.")
    return pairs, wrong


def _leads_out(name: str) -> bool:
    """By its text alone: what the user has linked into the folder is in it, as in a snapshot of huggingface_hub, whose files are all links."""
    return bool(Path(name).anchor) or Path(os.path.normpath(name)).parts[:1] == ("..",)


def read_folder(path: str | Path, size: int, skip_bad: bool = False, progress: Progress = lambda items, _: items) -> Folder:
    """A folder's pictures as S x S bytes, decoded on first use and memory-mapped from then on, with their captions.

    Raises `UserError` naming the first file that is missing, damaged or no picture; with `skip_bad`, those are left out and listed.
    """
    path = Path(path)
    pairs, skipped = read_metadata(path, skip_bad)
    files = list(dict.fromkeys(name for name, _ in pairs))
    key = hashlib.sha256(json.dumps([READING, str(path.resolve()), size, [(name, _stamp(path / name)) for name in files]]).encode()).hexdigest()
    cache, index = cache_folder() / f"{key[:32]}.bytes", cache_folder() / f"{key[:32]}.json"
    if not (cache.is_file() and index.is_file()):
        _decode(path, files, size, skip_bad, cache, index, progress)
    bad = json.loads(index.read_text())
    if bad and not skip_bad:
        raise _unusable(next(iter(bad.values())))
    files = [name for name in files if name not in bad]
    pairs = [(name, text) for name, text in pairs if name not in bad]
    if not pairs:
        raise UserError(f"{path} has no usable picture.")
    number = {name: i for i, name in enumerate(files)}
    picture_of = np.array([number[name] for name, _ in pairs])
    pixels = np.memmap(cache, np.uint8, "r", shape=(len(files), size, size, 3))
    return Folder(path, files, pixels, picture_of, [text for _, text in pairs], skipped + list(bad.values()))


def _unusable(problem: str) -> UserError:
    return UserError(f"{problem[:-1]}; mend it, or leave such files out with --skip-bad.")


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return (0, 0)
    return (stat.st_size, stat.st_mtime_ns)


def _decode(path: Path, files: list[str], size: int, skip_bad: bool, cache: Path, index: Path, progress: Progress) -> None:
    """Write beside the final names and rename last: an interrupted decoding leaves nothing half-written, and two at once do not meet."""
    own, bad = f".{uuid.uuid4().hex}.part", {}
    beside, index_beside = cache.with_suffix(own), index.with_suffix(f".json{own}")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as pixels:  # not memory-mapped: there, a full disk is no error but the end of the program (SIGBUS)
            for name in progress(files, "decoding pictures"):
                try:
                    pixels.write(fit(open_image(path / name), size).tobytes())
                except UserError as error:
                    if not skip_bad:
                        raise _unusable(str(error)) from None
                    bad[name] = str(error)
        index_beside.write_text(json.dumps(bad))
        os.replace(index_beside, index)
        os.replace(beside, cache)
    except OSError as error:
        why = error.strerror or error
        raise UserError(f"could not write the cache of decoded pictures in {cache.parent} ({why}): XDG_CACHE_HOME may name another place.") from None
    finally:
        for part in (beside, index_beside):
            with suppress(OSError):
                part.unlink()


def check_empty(path: Path) -> None:
    """Raises `UserError` if the folder holds anything: what is written into it could replace the user's own pictures."""
    if held := min(path.glob("*"), default=None):
        raise UserError(f"{path} already holds {held.name}: choose an empty folder, or a new one.")


def write_folder(path: Path, pictures: Iterable[UInt8[np.ndarray, "S S 3"]], captions: Iterable[str], digits: int = 5) -> int:
    """Write pictures as PNG with a `metadata.jsonl`, the form `read_folder` reads, into a new or an empty folder. Returns how many.

    Raises `UserError` if the folder holds anything, or if something cannot be written; whatever stops it, nothing is left behind.
    """
    check_empty(path)
    made, written, entries = not path.exists(), [], []
    try:
        path.mkdir(parents=True, exist_ok=True)
        for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
            name = f"{i:0{digits}d}.png"
            written.append(path / name)
            Image.fromarray(picture).save(path / name)
            entries.append(json.dumps({"file_name": name, "text": caption}))
        written.append(path / f"{METADATA}.part")
        written[-1].write_text("\n".join(entries) + "\n")
        os.replace(written[-1], path / METADATA)
    except BaseException as error:  # Ctrl-C as well: pictures without their captions are of no use, and would stop the next try
        with suppress(OSError):
            for file in written:
                file.unlink(missing_ok=True)
            if made:
                path.rmdir()
        if isinstance(error, OSError):
            raise UserError(f"could not write to {path}: {error.strerror or error}.") from None
        raise
    return len(entries)
