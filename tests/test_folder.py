"""Folders of captioned pictures: read as they are meant, decoded once, and every mistake in them named."""

import io
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import importing, raises_one_sentence
from PIL import Image

from tinyclip import folder
from tinyclip.config import CLIPConfig, TrainConfig
from tinyclip.data import FolderSource
from tinyclip.errors import UserError
from tinyclip.tokenizer import WordTokenizer


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Decoded pictures go to a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tinyclip"


def picture(height=9, width=13, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def make(path, entries, pictures=()):
    """A folder with a metadata.jsonl of these entries (strings as they are) and these pictures."""
    path.mkdir(exist_ok=True)
    lines = [entry if isinstance(entry, str) else json.dumps(dict(zip(("file_name", "text"), entry, strict=True))) for entry in entries]
    (path / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for i, name in enumerate(pictures):
        (path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture(seed=i)).save(path / name)
    return path


def test_what_is_written_is_read_back_pixel_for_pixel(tmp_path):
    pictures, captions = [picture(12, 12, i) for i in range(5)], ["a red circle", "ein größerer Kreis", "a b", "a b", "c, d!"]
    count = folder.write_folder(tmp_path / "new" / "f", pictures, captions, digits=3)
    read = folder.read_folder(tmp_path / "new" / "f", 12)
    assert count == 5, f"write_folder should say that it wrote 5 pictures, got {count}"
    assert read.captions == captions, f"the captions should come back in order, got {read.captions}"
    assert read.files == [f"00{i}.png" for i in range(5)], f"files should be numbered with 3 digits, got {read.files}"
    assert np.array_equal(read.pixels, pictures), "pictures of the size asked for should come back unchanged: is something resized or reordered?"
    assert isinstance(read.pixels, np.memmap) and read.pixels.dtype == np.uint8, "pixels should be memory-mapped bytes"


def test_writing_beside_an_older_metadata_is_refused_and_changes_nothing(tmp_path):
    make(tmp_path / "f", [("a.png", "old")])
    before = (tmp_path / "f" / "metadata.jsonl").read_text()
    raises_one_sentence(UserError, lambda: folder.write_folder(tmp_path / "f", [picture(4, 4)], ["new"]), "already holds", "metadata.jsonl")
    assert (tmp_path / "f" / "metadata.jsonl").read_text() == before, "an older metadata.jsonl must not be touched"
    assert [p.name for p in (tmp_path / "f").iterdir()] == ["metadata.jsonl"], "no picture may be written beside an older metadata.jsonl"


def test_writing_among_other_files_is_refused_and_changes_nothing(tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "00000.png").write_bytes(b"a picture of the user's own")
    raises_one_sentence(UserError, lambda: folder.write_folder(tmp_path / "f", [picture(4, 4)], ["new"]), "already holds 00000.png", "empty folder")
    left = {p.name: p.read_bytes() for p in (tmp_path / "f").iterdir()}
    assert left == {"00000.png": b"a picture of the user's own"}, f"the user's own pictures must not be touched, but there is {left}"


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("when", ["a picture", "the metadata", "the renaming", "Ctrl-C"])
def test_a_folder_that_cannot_be_finished_is_not_begun(tmp_path, monkeypatch, when, new):
    def full(*args):
        raise OSError(28, "No space left on device")

    def half(file, text=""):
        file.write_bytes(b"half")
        full()

    def pictures():
        yield picture(4, 4)
        if when == "a picture":
            monkeypatch.setattr(Image.Image, "save", lambda image, file: half(file))
        if when == "Ctrl-C":
            raise KeyboardInterrupt
        yield picture(4, 4)

    path = tmp_path / "f"
    if not new:
        path.mkdir()
    if when == "the metadata":
        monkeypatch.setattr(Path, "write_text", half)
    if when == "the renaming":
        monkeypatch.setattr(folder.os, "replace", full)
    write = lambda: folder.write_folder(path, pictures(), ["a", "b"])  # noqa: E731
    if when == "Ctrl-C":
        with pytest.raises(KeyboardInterrupt):
            write()
    else:
        raises_one_sentence(UserError, write, "could not write", str(path), "No space left")
    left = sorted(p.name for p in path.glob("*"))
    assert not left and path.exists() != new, f"all should be as before, so that the next try is not refused, but {path.exists()=} with {left}"


def test_a_folder_that_cannot_be_written_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    raises_one_sentence(UserError, lambda: folder.write_folder(tmp_path / "file" / "f", [picture(4, 4)], ["a"]), "could not write", str(tmp_path))


@pytest.mark.parametrize(("mode", "name"), [("RGB", "a.jpg"), ("RGB", "a.png"), ("RGBA", "a.png"), ("L", "a.png"), ("P", "a.png"), ("LA", "a.png")])
def test_every_common_kind_of_picture_becomes_three_bytes_a_pixel(tmp_path, mode, name):
    grey = Image.fromarray(np.full((8, 8, 3), 120, np.uint8))
    path = make(tmp_path / "f", [(name, "a")])
    (grey.quantize(4) if mode == "P" else grey.convert(mode)).save(path / name)
    read = folder.read_folder(path, 8)
    assert read.pixels.shape == (1, 8, 8, 3), f"one picture should be (1, 8, 8, 3), got {read.pixels.shape}"
    assert np.abs(read.pixels.astype(int) - 120).max() <= 3, f"grey 120 saved as {mode} {name} should be read as 120, got {read.pixels[0, 4, 4]}"


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_pictures_of_16_bits_keep_their_greys(tmp_path, ending):
    grey = np.arange(256).reshape(16, 16)
    Image.fromarray(np.minimum(257 * grey + 100, 65535).astype(np.uint16)).save(tmp_path / f"a.{ending}")
    read = np.asarray(folder.open_image(tmp_path / f"a.{ending}"))
    assert np.array_equal(read, np.stack([grey] * 3, -1)), f"0 to 65,535 should become 0 to 255, got {read[..., 0]}: Pillow makes all above 255 white"


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_pixels_of_32_bits_are_refused(tmp_path, dtype):
    Image.fromarray(np.full((4, 4), 70_000, dtype)).save(tmp_path / "a.tif")
    raises_one_sentence(UserError, lambda: folder.open_image(tmp_path / "a.tif"), "a.tif", "32 bits", "save it")


def notes(orientation):
    """What a camera notes with a picture (EXIF): tag 0x10f who made it, 0x112 how it was held."""
    exif = Image.Exif()
    exif.update({0x10F: "maker", 0x112: orientation})
    return exif


@pytest.mark.parametrize(("orientation", "turned"), [
    (1, lambda x: x), (2, np.fliplr), (3, lambda x: np.rot90(x, 2)), (4, np.flipud),
    (5, lambda x: x.swapaxes(0, 1)), (6, lambda x: np.rot90(x, -1)), (7, lambda x: np.rot90(x, 2).swapaxes(0, 1)), (8, np.rot90),
])  # fmt: skip
def test_a_photo_is_turned_as_its_camera_was_held(tmp_path, orientation, turned):
    Image.fromarray(picture()).save(tmp_path / "a.png", exif=notes(orientation))
    read = np.asarray(folder.open_image(tmp_path / "a.png"))
    assert np.array_equal(read, turned(picture())), f"orientation {orientation} should turn (9, 13, 3) as EXIF says, got {read.shape}"


def test_odd_notes_of_a_camera_do_no_harm(tmp_path):
    whole = notes(6).tobytes()
    words_for_a_width = whole.replace(b"\x01\x0f\x00\x02", b"\x01\x00\x00\x02")  # Pillow cannot write back a width that is text
    odd = {"cut": (whole[:20], (13, 9)), "noise": (b"Exif\0\0" + b"\xff" * 40, (13, 9)), "wrong": (words_for_a_width, (9, 13))}
    for name, (exif, wanted) in odd.items():
        with warnings.catch_warnings(action="ignore"):
            Image.fromarray(picture()).save(tmp_path / f"{name}.jpg", exif=exif)
        try:
            size = folder.open_image(tmp_path / f"{name}.jpg").size
        except Exception as error:
            raise AssertionError(f"the pixels of {name}.jpg are whole: its notes should not stop the reading, but {error!r} did") from error
        assert size == wanted, f"{name}.jpg should be {wanted}, turned if its notes can be read, got {size}"


def test_what_is_transparent_is_white(tmp_path):
    pixels = np.dstack([picture(), np.zeros((9, 13), np.uint8)])
    pixels[0, 0, 3], pixels[1, 1] = 255, (0, 0, 0, 51)
    colours = Image.fromarray(picture()).quantize(4)
    Image.fromarray(pixels).save(tmp_path / "alpha.png")
    colours.save(tmp_path / "palette.png", transparency=bytes([0, 0, 0, 0]))  # Pillow would warn
    read = np.asarray(folder.open_image(tmp_path / "alpha.png"))
    assert (read[2:] == 255).all(), f"hidden colours should not show, but there is {read[2, 0]} under alpha 0"
    assert read[0, 0].tolist() == pixels[0, 0, :3].tolist(), f"what is opaque should keep its colour, got {read[0, 0]}"
    assert read[1, 1].tolist() == [204] * 3, f"a fifth of black on white is 204, got {read[1, 1]}"
    read = np.asarray(folder.open_image(tmp_path / "palette.png"))
    assert (read == 255).all(), f"a palette of transparent colours should show white, got {read[0, 0]}"


def test_too_large_a_picture_is_called_so_and_a_large_one_is_read_quietly(tmp_path, monkeypatch):
    Image.fromarray(picture(40, 50)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)  # Pillow warns above it, and refuses twice as many
    assert folder.open_image(tmp_path / "a.png").size == (50, 40), "a picture that Pillow only warns of should be read"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    raises_one_sentence(UserError, lambda: folder.open_image(tmp_path / "a.png"), "a.png", "too large", "2,000 pixels", "at most 1,800")


def test_what_the_system_does_not_let_one_read_is_not_called_damaged(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    for name, why in {"file/a.png": "Not a directory", "a" * 300 + ".png": "File name too long"}.items():
        with pytest.raises(UserError, match=why) as caught:
            folder.open_image(tmp_path / name)
        assert "could not be read" in str(caught.value) and "damaged" not in str(caught.value), f"nothing is damaged there: {caught.value}"
    monkeypatch.setattr(Image, "open", refuse)
    raises_one_sentence(UserError, lambda: folder.open_image(tmp_path / "file"), "file", "could not be read (Permission denied)")


@pytest.mark.parametrize(("width", "height"), [(60, 20), (20, 60), (61, 23), (1500, 4), (3, 900), (1, 1), (8, 8)])
def test_pictures_of_any_shape_become_squares(width, height):
    fitted = folder.fit(Image.fromarray(picture(height, width)), 8)
    assert fitted.shape == (8, 8, 3) and fitted.dtype == np.uint8, f"{width} x {height} should become (8, 8, 3) bytes, got {fitted.shape}"


@pytest.mark.parametrize("size", [10, 20, 40])
@pytest.mark.parametrize("tall", [False, True])
def test_the_centre_is_kept_and_the_shortest_side_fills_the_square(size, tall):
    stripes = np.zeros((20, 60, 3), np.uint8)
    stripes[:, :20], stripes[:, 20:40], stripes[:, 40:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    stripes = stripes.transpose(1, 0, 2) if tall else stripes
    fitted = folder.fit(Image.fromarray(stripes), size)
    inner = fitted[2:-2, 2:-2]  # the filter mixes colours at the very edge
    assert (inner == (0, 255, 0)).all(), f"size {size}: only the green centre should be left, but there is {inner.reshape(-1, 3).mean(0)}"
    if size == 20:
        assert (fitted == (0, 255, 0)).all(), "a picture whose shortest side is right should be cut, not filtered"


def test_the_filter_is_pillows_bicubic():
    image = Image.fromarray(picture(30, 30))
    wanted = np.asarray(image.resize((7, 7), Image.Resampling.BICUBIC))
    assert np.array_equal(folder.fit(image, 7), wanted), "pictures should be resized with Pillow's bicubic filter, as OpenAI does"


def test_the_second_reading_uses_the_cache(tmp_path, monkeypatch):
    path = make(tmp_path / "f", [("a.png", "a"), ("b.png", "b")], ["a.png", "b.png"])
    first = np.array(folder.read_folder(path, 6).pixels)

    def never(path):
        raise AssertionError(f"{path} was decoded again: the second reading should use the cache")

    monkeypatch.setattr(folder, "open_image", never)
    assert np.array_equal(folder.read_folder(path, 6).pixels, first), "the cache should hold the same pixels"
    assert folder.read_folder(str(path), 6).captions == ["a", "b"], "captions should be read from metadata.jsonl as it is now"


def test_a_changed_picture_is_decoded_anew(tmp_path):
    path = make(tmp_path / "f", [("a.png", "a"), ("b.png", "b")], ["a.png", "b.png"])
    before = np.array(folder.read_folder(path, 6).pixels)
    Image.fromarray(np.full((9, 13, 3), 7, np.uint8)).save(path / "a.png")
    after = folder.read_folder(path, 6).pixels
    assert (after[0] == 7).all() and np.array_equal(after[1], before[1]), "a picture that changed should be decoded again: is its stamp in the key?"


def test_what_an_older_tinyclip_decoded_is_not_used(tmp_path, monkeypatch):
    path = make(tmp_path / "f", [("a.png", "a")])
    Image.fromarray(picture(8, 8)).save(path / "a.png", exif=notes(6))
    with monkeypatch.context() as older:
        older.setattr(folder, "READING", folder.READING - 1)
        older.setattr(folder.ImageOps, "exif_transpose", lambda image, in_place: None)
        folder.read_folder(path, 8)
    wanted = np.rot90(picture(8, 8), -1)
    assert np.array_equal(folder.read_folder(path, 8).pixels[0], wanted), "pictures decoded otherwise lie in the cache: is READING in its key?"


def test_another_size_is_another_cache(tmp_path):
    path = make(tmp_path / "f", [("a.png", "a")], ["a.png"])
    shapes = [folder.read_folder(path, size).pixels.shape for size in (6, 5, 6)]
    assert shapes == [(1, 6, 6, 3), (1, 5, 5, 3), (1, 6, 6, 3)], f"each size should have its own pixels, got {shapes}"


def test_without_the_variable_the_cache_is_under_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder.cache_folder() == tmp_path / ".cache" / "tinyclip", f"want ~/.cache/tinyclip, got {folder.cache_folder()}"


BAD_LINES = {
    "not json": ('{"file_name": ', "not valid JSON"),
    "no object": ('["a.png", "a"]', "is not a JSON object"),
    "a number": ("7", "is not a JSON object"),
    "no text": ('{"file_name": "a.png"}', "lacks 'text'"),
    "no file": ('{"text": "a"}', "lacks 'file_name'"),
    "neither": ("{}", "lacks 'file_name' and 'text'"),
    "empty text": ('{"file_name": "a.png", "text": "  "}', "lacks 'text'"),
    "no word": ('{"file_name": "a.png", "text": "?!"}', "'?!'"),
    "a token of our own": ('{"file_name": "a.png", "text": "the <END> of it"}', "'<end>'"),
    "text is a list": ('{"file_name": "a.png", "text": ["a"]}', "lacks 'text'"),
    "above": ('{"file_name": "../x.png", "text": "a"}', "'../x.png'"),
    "absolute": ('{"file_name": "/etc/x.png", "text": "a"}', "'/etc/x.png'"),
    "above after all": ('{"file_name": "in/../../x.png", "text": "a"}', "'in/../../x.png'"),
    "null byte": ('{"file_name": "a\\u0000.png", "text": "a"}', "a"),
    "half a character in the name": ('{"file_name": "\\ud800.png", "text": "a"}', "'\\ud800.png'"),
    "half a character in the text": ('{"file_name": "a.png", "text": "a \\ud800 b"}', "'\\ud800'"),
    "null byte in the text": ('{"file_name": "a.png", "text": "a \\u0000 b"}', "'\\x00'"),
    "too deep": ("[" * 100_000, "brackets too deep"),
    "too long a number": ('{"file_name": "a.png", "text": "a", "id": ' + "1" * 5000 + "}", "a number too long"),
}


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_bad_line_is_named_by_its_number(tmp_path, kind):
    line, why = BAD_LINES[kind]
    path = make(tmp_path / "f", [("a.png", "a"), "", line, ("b.png", "b")], ["a.png", "b.png"])
    raises_one_sentence(UserError, lambda: folder.read_folder(path, 6), "line 3", str(path / "metadata.jsonl"), why, "--skip-bad")
    read = folder.read_folder(path, 6, skip_bad=True)
    assert read.captions == ["a", "b"], f"with skip_bad only the bad line should be left out, got {read.captions}"
    assert len(read.skipped) == 1 and "line 3" in read.skipped[0], f"the line left out should be listed once, got {read.skipped}"


def damage(path, kind):
    """The picture b.png is missing, truncated, a text file, empty or a folder."""
    target = path / "b.png"
    whole = target.read_bytes()
    target.unlink()
    if kind == "truncated":
        target.write_bytes(whole[: len(whole) // 2])
    elif kind == "a text file":
        target.write_text("hello")
    elif kind == "empty":
        target.write_bytes(b"")
    elif kind == "a folder":
        target.mkdir()


@pytest.mark.parametrize("kind", ["missing", "truncated", "a text file", "empty", "a folder"])
def test_a_bad_picture_is_named_or_left_out_and_counted(tmp_path, cache, kind):
    path = make(tmp_path / "f", [("a.png", "a"), ("b.png", "b"), ("c.png", "c"), ("b.png", "again")], ["a.png", "b.png", "c.png"])
    damage(path, kind)
    raises_one_sentence(UserError, lambda: folder.read_folder(path, 6), str(path / "b.png"), "--skip-bad")
    assert list(cache.iterdir()) == [], "after a failure nothing half-written may be left in the cache"
    read = folder.read_folder(path, 6, skip_bad=True)
    assert (read.files, read.captions) == (["a.png", "c.png"], ["a", "c"]), f"only b.png should be left out, got {read.files}, {read.captions}"
    assert len(read.skipped) == 1 and str(path / "b.png") in read.skipped[0], f"b.png should be listed as left out, got {read.skipped}"
    for row, name in enumerate(read.files):
        wanted = folder.fit(folder.open_image(path / name), 6)
        assert np.array_equal(read.pixels[row], wanted), f"row {row} should be {name}: do rows shift when a picture is left out?"
    assert len(read.pixels) == 2, f"2 pictures are left, but pixels has {len(read.pixels)} rows: statistics would count blank ones"
    again = folder.read_folder(path, 6, skip_bad=True)
    assert again.skipped == read.skipped, "what was left out should be told on the second reading too"
    raises_one_sentence(UserError, lambda: folder.read_folder(path, 6), str(path / "b.png"), "--skip-bad")
    assert sorted(each.suffix for each in cache.iterdir()) == [".bytes", ".json"], f"one cache, and nothing beside it: {list(cache.iterdir())}"


def test_statistics_do_not_count_pictures_left_out(tmp_path):
    good = make(tmp_path / "good", [("a.png", "a")], ["a.png"])
    bad = make(tmp_path / "bad", [("a.png", "a"), ("no.png", "b"), ("no2.png", "b")], ["a.png"])
    wanted, got = (folder.read_folder(path, 6, skip_bad=True).statistics() for path in (good, bad))
    assert got == wanted, f"the statistics should be those of the good picture, {wanted}, got {got}: are blank rows counted?"


def test_statistics_are_of_each_channel_in_0_to_1(tmp_path):
    path = make(tmp_path / "f", [("a.png", "a"), ("b.png", "b")])
    Image.fromarray(np.full((6, 6, 3), (255, 51, 0), np.uint8)).save(path / "a.png")
    Image.fromarray(np.full((6, 6, 3), (0, 51, 255), np.uint8)).save(path / "b.png")
    mean, std = folder.read_folder(path, 6).statistics()
    assert mean == (0.5, 0.2, 0.5), f"want means 0.5, 0.2, 0.5, got {mean}"
    assert std == (0.5, 0.01, 0.5), f"want deviations 0.5, 0.01 (no less, or it would divide by 0), 0.5, got {std}"


def test_a_failed_write_of_the_cache_is_a_user_error_and_leaves_nothing(tmp_path, cache, monkeypatch):
    path = make(tmp_path / "f", [("a.png", "a")], ["a.png"])

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder.os, "replace", full)
    raises_one_sentence(UserError, lambda: folder.read_folder(path, 6), "No space left", str(cache))
    assert not [p for p in cache.iterdir() if p.suffix != ".json"], "no half-written pixels may be left in the cache"
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    assert folder.read_folder(path, 6).captions == ["a"], "after a failure the next reading should simply work"


def test_a_disk_that_fills_up_while_decoding_is_a_user_error_and_leaves_nothing(tmp_path, cache, monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    path = make(tmp_path / "f", [("a.png", "a")], ["a.png"])
    monkeypatch.setattr(folder, "open", Full, raising=False)
    raises_one_sentence(UserError, lambda: folder.read_folder(path, 6), "No space left", str(cache))
    assert list(cache.iterdir()) == [], f"nothing half-written may be left in the cache, but there is {list(cache.iterdir())}"


def test_a_disk_that_is_really_full_does_not_end_the_program(tmp_path):
    path = make(tmp_path / "f", [(f"{i}.png", "a") for i in range(5)], [f"{i}.png" for i in range(5)])
    code = """
import os, sys
from tinyclip.errors import UserError
from tinyclip.folder import read_folder
try:
    read_folder(sys.argv[1], 200)
except UserError as error:
    print(error, os.listdir(os.environ["XDG_CACHE_HOME"] + "/tinyclip"))
"""
    small = 'mount -t tmpfs -o size=300k none "$XDG_CACHE_HOME" && exec "$@"'
    (tmp_path / "disk").mkdir()
    environment = os.environ | importing(Path(folder.__file__).parent.parent) | {"XDG_CACHE_HOME": str(tmp_path / "disk")}
    inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*inside, small, "sh", "true"], env=environment, capture_output=True).returncode:
        pytest.skip("a small disk can be had here only as an administrator")
    result = subprocess.run([*inside, small, "sh", sys.executable, "-c", code, str(path)], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, f"a full disk ended the program with {result.returncode}: are pixels written through a memory map? {result.stderr}"
    said = "(No space left on device): XDG_CACHE_HOME may name another place. []"
    assert said in result.stdout, f"want one sentence and nothing left behind, got {result.stdout}"


def test_a_cache_that_can_be_nowhere_is_a_user_error(tmp_path, monkeypatch):
    path = make(tmp_path / "f", [("a.png", "a")], ["a.png"])
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    raises_one_sentence(UserError, lambda: folder.read_folder(path, 6), "could not write the cache", str(tmp_path / "file"))


def test_folders_that_are_no_folders_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    make(tmp_path / "nothing", [""])
    make(tmp_path / "latin", [])
    (tmp_path / "latin" / "metadata.jsonl").write_bytes(b'{"file_name": "a.png", "text": "\xe9"}\n')
    why = {"none": "no folder", "file": "no folder", "empty": "has no metadata.jsonl", "nothing": "no usable picture", "latin": "cannot be read"}
    for name, words in why.items():
        raises_one_sentence(UserError, lambda name=name: folder.read_folder(tmp_path / name, 6), str(tmp_path / name), words)


def test_a_folder_with_only_bad_pictures_has_nothing_to_use(tmp_path):
    path = make(tmp_path / "f", [("a.png", "a")])
    raises_one_sentence(UserError, lambda: folder.read_folder(path, 6, skip_bad=True), str(path), "no usable picture")


def test_only_newlines_end_a_line(tmp_path):
    path = make(tmp_path / "f", ['{"file_name": "a.png", "text": "one\u2028two\x85three"}'], ["a.png"])
    try:
        captions = folder.read_folder(path, 6).captions
    except UserError as error:
        raise AssertionError(f"a line separator inside a caption is valid JSON and ends no line, but: {error}") from error
    assert captions == ["one\u2028two\x85three"], f"the caption should be read as it is, got {captions}"


def test_pictures_in_folders_within_are_found(tmp_path):
    path = make(tmp_path / "f", [("in/a.png", "a")], ["in/a.png"])
    assert folder.read_folder(path, 6).files == ["in/a.png"], "a picture in a folder within should be found"


def test_links_in_the_folder_are_in_it(tmp_path):
    make(tmp_path / "blobs", [], ["1f.png"])
    path = make(tmp_path / "f", [("a.png", "a"), ("in/../..b.png", "b")])
    (path / "in").mkdir()
    for name in ("a.png", "..b.png"):
        (path / name).symlink_to("../blobs/1f.png")
    try:
        files = folder.read_folder(path, 6).files
    except UserError as error:
        raise AssertionError(f"snapshots of huggingface_hub hold links to ../../blobs, and should be read, but: {error}") from error
    assert files == ["a.png", "in/../..b.png"], f"want both links' pictures, got {files}"


def test_one_picture_may_have_several_captions(tmp_path):
    path = make(tmp_path / "f", [("a.png", "a"), ("b.png", "b"), ("a.png", "c")], ["a.png", "b.png"])
    read = folder.read_folder(path, 6)
    assert read.files == ["a.png", "b.png"] and len(read.pixels) == 2, f"two files should be decoded once each, got {read.files}"
    assert read.picture_of.tolist() == [0, 1, 0], f"pairs should be of pictures 0, 1, 0, got {read.picture_of}"


def many(tmp_path, number, twice=False):
    entries = [(f"{i}.png", f"caption {i}") for i in range(number)] + ([("9.png", "more"), ("3.png", "more")] if twice else [])
    return folder.read_folder(make(tmp_path / "f", entries, [f"{i}.png" for i in range(number)]), 5)


def test_every_tenth_picture_is_kept_from_training_with_all_its_captions(tmp_path):
    read = many(tmp_path, 21, twice=True)
    kept = sorted(read.picture_of[read.validation_pairs()].tolist())
    assert kept == [9, 9, 19], f"pictures 9 (twice captioned) and 19 should be kept from training, got {kept}"
    both = sorted([*read.training_pairs(), *read.validation_pairs()])
    assert both == list(range(23)), f"each pair should be in exactly one share, got {both}"


def test_a_folder_of_fewer_than_ten_is_all_for_training(tmp_path):
    read = many(tmp_path, 9)
    assert len(read.training_pairs()) == 9 and len(read.validation_pairs()) == 0, "nine pictures should all be trained on"
    (tmp_path / "g").mkdir()
    assert len(many(tmp_path / "g", 10).validation_pairs()) == 1, "of ten pictures one should be kept"


def source_of(read, **run):
    tokenizer = WordTokenizer.of(read.captions)
    text = {"vocab": tokenizer.vocab, "context": tokenizer.context, "end_token": tokenizer.end}
    config = CLIPConfig.preset("nano", image={"size": 5, "patch": 5, "mean": (0.5, 0.4, 0.3), "std": (0.1, 0.2, 0.3)}, text=text)
    return FolderSource(read, tokenizer, config, TrainConfig(**run)), tokenizer, config


def test_a_step_is_the_same_batch_whenever_it_is_run(tmp_path):
    read = many(tmp_path, 21)
    source = source_of(read, batch_size=4, seed=5)[0]
    all_at_once, later, other = source.inputs(0, 6), source.inputs(4, 6), source_of(read, batch_size=4, seed=6)[0].inputs(0, 6)
    for key in all_at_once:
        assert np.array_equal(all_at_once[key][4:], later[key]), f"steps 4 and 5 should not depend on where the chunk starts ({key})"
    assert not np.array_equal(all_at_once["picture"], other["picture"]), "another seed should give other batches"
    assert len({tuple(row) for row in all_at_once["picture"]}) == 6, "different steps should be different batches"


def test_a_batch_repeats_no_pair_and_holds_no_picture_kept_from_training(tmp_path):
    read = many(tmp_path, 21)
    inputs = source_of(read, batch_size=7)[0].inputs(0, 30)
    assert all(len(set(row)) == 7 for row in inputs["picture"].tolist()), "no pair may be twice in a batch"
    seen = Counter(inputs["picture"].ravel().tolist())
    assert set(seen) == set(range(21)) - {9, 19}, f"all pictures but 9 and 19 should be trained on, got {sorted(seen)}"


def test_a_batch_has_its_pictures_its_captions_and_what_is_true(tmp_path):
    path = make(tmp_path / "f", [("a.png", "one"), ("b.png", "two"), ("a.png", "three"), ("c.png", "two")], ["a.png", "b.png", "c.png"])
    read = folder.read_folder(path, 5)
    source, tokenizer, config = source_of(read, batch_size=4)
    inputs = source.inputs(0, 1)
    batch = source.batch(jax.tree.map(lambda x: jax.numpy.asarray(x[0]), inputs))
    pairs = [(int(p), tokenizer.decode(row)) for p, row in zip(inputs["picture"][0], np.asarray(batch.tokens), strict=True)]
    assert sorted(pairs) == [(0, "one"), (0, "three"), (1, "two"), (2, "two")], f"each picture should have its own caption, got {pairs}"
    for i, (a, said) in enumerate(pairs):
        for j, (b, also) in enumerate(pairs):
            wanted = a == b or said == also
            assert bool(batch.positives[i, j]) == wanted, f"caption {also!r} of picture {b} should be {wanted} of picture {a} ({said!r})"
    wanted = (read.pixels[inputs["picture"][0]] / 255 - np.array(config.image.mean)) / np.array(config.image.std)
    assert np.abs(np.asarray(batch.images) - wanted).max() < 1e-5, "images should be pixels in 0..1, less the mean, over the deviation"
