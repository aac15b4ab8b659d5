"""The commands, as they are typed: what they print, what they write, and how each mistake ends."""

import importlib.metadata
import json
import math
import os
import re
import resource
import subprocess
import sys
import wave
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from helpers import importing
from PIL import Image
from trained import ARGS, fails, folder_of_pictures, folder_run, home, run, works, world_run, world_run_and_output

import tinyclip
from tinyclip import run as running
from tinyclip.cli import Evaluate, Plot, Train
from tinyclip.tokenizer import WordTokenizer
from tinyclip.world import get_world

ROOT = Path(tinyclip.__file__).parent.parent


def picture(path):
    """A picture file, wholly read and closed."""
    with Image.open(path) as image:
        image.load()
        return image


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Commands run in an empty folder, as what they write by default lands there."""
    monkeypatch.chdir(tmp_path)


def python(*args, **environment):
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, env=os.environ | importing(ROOT) | environment)


def test_neither_the_package_nor_its_command_line_loads_jax():
    code = "import sys, tinyclip, tinyclip.cli; print(sorted({'jax', 'flax', 'optax', 'matplotlib', 'orbax', 'numpy'} & set(sys.modules)))"
    result = python("-c", code)
    assert result.stdout.strip() == "[]", f"importing tinyclip.cli should be quick, but loads {result.stdout}{result.stderr}"


def test_help_takes_less_than_two_seconds():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = python("-m", "tinyclip", "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime  # of the processor: the machine may be busy
    assert result.returncode == 0, f"--help should end with 0: {result.stderr}"
    for command in ("train", "evaluate", "search", "classify", "caption", "draw", "plot", "export", "bench"):
        assert re.search(rf"\b{command}\b", result.stdout), f"--help should tell of {command}, got {result.stdout}"
    assert spent < 2, f"--help should take less than 2 seconds of one processor, took {spent:.1f}"


def test_the_program_keeps_what_it_compiles_unless_told_not_to(tmp_path):
    code = "from tinyclip import cli; import sys; cli.main = lambda: __import__('jax').jit(lambda x: x + 1)(1) and 0; cli.entry()"
    for more, kept in (({"JAX_ENABLE_COMPILATION_CACHE": "false"}, False), ({}, True)):
        result = python("-c", code, XDG_CACHE_HOME=str(tmp_path), JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0", **more)
        assert result.returncode == 0, result.stderr
        found = any((tmp_path / "tinyclip" / "compiled").glob("*"))
        assert found == kept, f"with {more or 'nothing said'}, what was compiled should {'' if kept else 'not '}be in the user's cache"


def test_without_a_model_it_is_shapes():
    assert Evaluate().model == Plot().model == "shapes", "evaluate and plot should take shapes where no model is named"
    named = works("search", "a large red circle", "-k", 1)
    assert named == works("search", "shapes", "a large red circle", "-k", 1), f"search should take shapes where no model is named, got {named}"


def test_letters_that_a_pipe_cannot_hold_are_escaped():
    code = "from tinyclip import cli, show; cli.main = lambda: show.result('a café') or show.line('in 東') or 0; cli.entry()"
    result = python("-c", code, PYTHONIOENCODING="ascii:strict")
    assert result.returncode == 0, f"a caption should be printed even where its letters cannot be, got {result.stderr[-300:]}"
    said = (result.stdout.strip(), result.stderr.strip())
    assert said == (r"a caf\xe9", r"in \u6771"), f"letters that ASCII lacks should be escaped on both streams, got {said}"


def test_public_names_are_where_the_design_says():
    for name in tinyclip.__all__:
        assert getattr(tinyclip, name) is not None, f"tinyclip.{name} should be there"
    assert set(tinyclip.__all__) <= set(dir(tinyclip)), "dir(tinyclip) should list its public names"
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = tinyclip.no_such_name
    assert re.fullmatch(r"\d+\.\d+\.\d+", tinyclip.__version__), f"want a version, got {tinyclip.__version__}"
    assert importlib.metadata.version("tyro"), "the command line is tyro's"


def test_training_prints_a_table_its_figures_and_what_to_try_next():
    _, printed = world_run_and_output()
    for word in ("zero shot seen", "image to text recall at 1", "logit scale", "training.png", "similarity.png", "space.png", "try next", "search"):
        assert word in printed, f"training should print {word!r}, got {printed}"


@pytest.mark.slow  # three commands, each as if from the start
def test_every_command_the_run_suggests_works():
    _, printed = world_run_and_output()
    sentence = re.search(r'tinyclip search \S+ "([^"]+)"', printed)
    assert sentence, f"a search should be suggested, got {printed}"
    works("search", world_run(), sentence[1])
    works("draw", sentence[1], "picture.png")
    works("caption", world_run(), "picture.png")


def test_of_a_folder_of_long_captions_a_few_words_are_suggested(monkeypatch):
    from tinyclip import commands

    model = tinyclip.load(world_run())
    monkeypatch.setattr(commands.run, "train_into", lambda *_, **__: model)
    monkeypatch.setattr(commands, "_scores", lambda *_: {})
    monkeypatch.setattr(commands, "draw_figures", lambda *_: [])
    captions = [f"Here, in picture {i}, one can see a very large and slightly faded red circle to the left of a small blue star." for i in range(3)]
    Path("mine").mkdir()
    for i in range(3):
        Image.fromarray(np.full((8, 8, 3), 60 * i, np.uint8)).save(f"mine/{i}.png")
    Path("mine/metadata.jsonl").write_text("".join(json.dumps({"file_name": f"{i}.png", "text": text}) + "\n" for i, text in enumerate(captions)))
    printed = works("train", "--data", "mine", "--size", "nano", "--out", "out")
    sentence = re.search(r'tinyclip search out "([^"]+)"', printed)
    assert sentence and len(sentence[1]) < 60, f"a command to try should fit a line, got {printed}"
    assert WordTokenizer.of(captions)([sentence[1]]).any(), "every word of it should be one that the model knows"


def test_figures_that_cannot_be_written_do_not_hide_what_was_trained(monkeypatch):
    from tinyclip import commands

    model = tinyclip.load(world_run())
    monkeypatch.setattr(commands.run, "train_into", lambda *_, **__: model)
    Path("out").mkdir()
    Path("out/figures").write_text("in the way")
    code, printed, said = run("train", *ARGS, "--out", "out")
    assert code == 2, f"figures that cannot be written are an error, got {code}"
    assert "zero shot seen" in printed, f"the table should be printed before the figures are drawn, got {printed!r}"
    for words in ("saved in out", "could not write", "out/figures/similarity.png"):
        assert words in said.splitlines()[-1], f"the error should tell {words!r}, got {said!r}"


def scores_of(*args):
    printed = works("evaluate", *args, "--json")
    assert len(printed.strip().splitlines()) == 1, f"--json should print one line and nothing else, got {printed}"
    scores = json.loads(printed)
    for key, value in scores.items():
        assert type(value) in (int, float) and math.isfinite(value), f"--json should be a flat object of numbers, but {key} is {value!r}"
    return scores


@cache
def scores_of_the_run():
    return scores_of(world_run())


def test_evaluate_prints_one_flat_object_or_a_table():
    scores = scores_of_the_run()
    recall = {f"{way}_recall_at_{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)}
    wanted = recall | {"zero_shot_seen", "linear_probe", "modality_gap", "alignment", "uniformity", "logit_scale"}
    assert set(scores) == wanted, f"sixteen has no held-out pairs and no binding: missing {wanted - set(scores)}, beyond {set(scores) - wanted}"
    table = works("evaluate", world_run())
    shown = re.search(r"zero shot seen\D+([\d.]+) %", table)
    assert shown and abs(float(shown[1]) - 100 * scores["zero_shot_seen"]) < 0.06, f"the table should tell the same, got {table}"


def test_search_prints_scores_best_first_and_saves_a_grid():
    printed = works("search", world_run(), "a red circle", "-k", 3).strip().splitlines()
    scores = [float(line.split()[0]) for line in printed[:3]]
    assert len(printed) == 4 and scores == sorted(scores, reverse=True), f"want three scores, best first, and the grid's path, got {printed}"
    world = get_world("sixteen")
    for line in printed[:3]:
        caption = line.split(maxsplit=1)[1]
        assert world.grammar.parse(caption), f"each picture should be named by its caption, got {caption!r}"
    assert printed[3] == "grid: search.png" and picture("search.png").format == "PNG", f"a grid should be saved, got {printed[3]}"


def test_search_draws_only_so_many_pictures(monkeypatch):
    from tinyclip import commands, plots

    drawn = []
    monkeypatch.setattr(commands, "GRID", 3)
    monkeypatch.setattr(plots, "picture_grid", lambda pictures, titles, *_: drawn.append((len(pictures), len(titles))) or "grid.png")
    code, printed, said = run("search", world_run(), "a red circle", "--images", folder_of_pictures(), "-k", 5)
    assert code == 0 and len(printed.splitlines()) == 6, f"all five that were asked for should be printed, and the grid's path, got {printed}{said}"
    assert drawn == [(3, 3)], f"a grid of more than GRID pictures takes minutes, and should be of the nearest 3, got {drawn}"
    assert "the 3 nearest" in said, f"that the grid holds only 3 should be told, got {said!r}"
    said = run("search", world_run(), "a red circle", "--images", folder_of_pictures(), "-k", 3)[2]
    assert "nearest" not in said, f"of a grid that holds all there is nothing should be told, got {said!r}"


def test_search_looks_through_a_folder_with_or_without_captions():
    printed = works("search", world_run(), "a red circle", "--images", folder_of_pictures(), "-k", 99, "--out", "deep/grid.png")
    names = [line.split(maxsplit=1)[1] for line in printed.strip().splitlines()[:-1]]
    assert sorted(names) == sorted(p.name for p in folder_of_pictures().glob("*.png")), f"each picture should be listed once, got {names}"
    assert Path("deep/grid.png").is_file(), "the grid should be where --out says"
    assert works("search", world_run(), "a red circle", "-k", 1, "--out", "found").splitlines()[-1] == "grid: found.png", "PNG is the form of a grid"
    for number, name in enumerate(("in/b.JPG", "a.png", "in/deep/c.png")):
        Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9 + number, 30, 3), 60 * number, np.uint8)).save(Path("photos", name))
    Path("photos/notes.txt").write_text("no picture")
    printed = works("search", world_run(), "a blue star", "--images", "photos")
    names = sorted(line.split(maxsplit=1)[1] for line in printed.strip().splitlines()[:-1])
    assert names == ["a.png", "in/b.JPG", "in/deep/c.png"], f"every picture below the folder should be found, got {names}"


@pytest.mark.parametrize("captioned", [True, False])
def test_search_leaves_out_what_it_cannot_read(captioned):
    Path("photos").mkdir()
    Path("photos/a.png").write_text("no picture")
    for name in ("b.png", "c.png"):
        Path("photos", name).write_bytes((folder_of_pictures() / "00003.png").read_bytes())
    if captioned:
        lines = [json.dumps({"file_name": name, "text": "a red circle"}) for name in ("a.png", "b.png", "c.png")]
        Path("photos/metadata.jsonl").write_text("\n".join([*lines, "no json"]))
    code, out, err = run("search", world_run(), "a red circle", "--images", "photos")
    assert code == 0, f"one bad picture should not keep the others from being searched, but: {err}"
    names = sorted(line.split(maxsplit=1)[1] for line in out.strip().splitlines()[:-1])
    assert names == ["b.png", "c.png"], f"the two good pictures should be found by their own names, got {names}"
    wanted = ["left out: line 4 ", "2 entries left out, 2 used"] if captioned else ["1 entry left out, 2 used"]
    for words in ["left out: the picture photos/a.png", *wanted]:
        assert words in err, f"what is left out should be told and counted, with {words!r}, got {err}"


def test_classify_prints_probabilities_that_sum_to_one():
    works("draw", "a red circle", "circle.png", "--world", "sixteen")
    captions = ["a red circle", "a blue star", "a green square"]
    printed = works("classify", world_run(), "circle.png", *captions).strip().splitlines()
    found = {line.split("%", 1)[1].strip(): float(line.split("%")[0]) for line in printed}
    assert set(found) == set(captions), f"each caption should be listed once, got {printed}"
    assert abs(sum(found.values()) - 100) < 0.1, f"probabilities should sum to 100 %, got {found}"
    assert list(found.values()) == sorted(found.values(), reverse=True), f"the best should come first, got {printed}"
    turned = works("classify", world_run(), "circle.png", *captions[::-1])
    assert turned.strip().splitlines() == printed, "the order of the captions should not matter"


def test_caption_prints_the_nearest_captions():
    works("draw", "a red circle", "circle.png", "--world", "sixteen")
    printed = works("caption", world_run(), "circle.png").strip().splitlines()
    captions = get_world("sixteen").canonical()[0]
    assert len(printed) == 5 and all(line.split(maxsplit=1)[1] in captions for line in printed), f"want 5 captions of the world, got {printed}"
    everything = works("caption", world_run(), "circle.png", "-k", 50).strip().splitlines()
    assert len(everything) == 16 and everything[:5] == printed, f"with a large -k all 16 captions should come, got {len(everything)}"
    Path("mine.txt").write_text("a blue star\n\n  a red circle  \n")
    own = works("caption", world_run(), "circle.png", "--captions", "mine.txt").strip().splitlines()
    assert sorted(line.split(maxsplit=1)[1] for line in own) == ["a blue star", "a red circle"], f"want the two captions of the file, got {own}"


def test_a_sentence_can_be_heard(tmp_path):
    assert works("draw", "a red star", tmp_path / "star.wav").strip() == str(tmp_path / "star.wav"), "the sound's path should be printed"
    with wave.open(str(tmp_path / "star.wav")) as sound:
        found = (sound.getnchannels(), sound.getsampwidth(), sound.getframerate(), sound.getnframes())
        assert found == (1, 2, 8000, 4000), f"want half a second of one channel, 16 bits, 8,000 samples a second, got {found}"
        samples = np.frombuffer(sound.readframes(4000), "<i2")
    assert np.abs(samples).max() > 3000, f"the sound should be heard, but its loudest sample is {np.abs(samples).max()} of 32,767"
    fails("draw", "a red cat", tmp_path / "cat.wav", names=("cat",))
    fails("draw", "a brown lion sleeping", tmp_path / "lion.wav", "--world", "animals", names=("animals", "single", "heard"))
    works("draw", "a red star", tmp_path / "new" / "x.wav")
    assert (tmp_path / "new" / "x.wav").is_file(), "the folder of a sound should be made, as that of a PNG is"
    fails("draw", "a red star", tmp_path / "star.wav" / "x.wav", names=("x.wav",))


def test_a_sentence_is_drawn_and_the_same_seed_draws_the_same():
    printed = works("draw", "A large red circle.", "deep/out.png")
    assert printed.strip() == "deep/out.png", f"the file should be named, got {printed!r}"
    image = np.asarray(picture("deep/out.png")).astype(int)
    assert image.shape == (256, 256, 3), f"a sentence is drawn at 256 pixels, got {image.shape}"
    red = (image[..., 0] > 180) & (image[..., 1:].max(-1) < 120)
    assert 0.02 < red.mean() < 0.6, f"a large red circle should cover some of the picture, but {red.mean():.1%} is red"
    works("draw", "a large red circle", "again.png")
    works("draw", "a large red circle", "other.png", "--seed", 5)
    assert Path("again.png").read_bytes() == Path("deep/out.png").read_bytes(), "the same sentence and seed should give the same picture"
    assert Path("other.png").read_bytes() != Path("again.png").read_bytes(), "another seed should give another picture"
    name = works("draw", "a red circle left of a blue square", "--size", 48).strip()
    assert picture(name).size == (48, 48), f"without a file the sentence names it, at the size asked for, got {name!r}"


@pytest.mark.parametrize("world", ["pairs", pytest.param("animals", marks=pytest.mark.slow)])
def test_a_drawn_folder_has_pictures_and_true_captions(world):
    printed = works("draw", "--world", world, "--count", 7, "out", "--size", 24, "--seed", 2)
    assert "7 pictures" in printed, f"the number of pictures should be told, got {printed!r}"
    entries = [json.loads(line) for line in Path("out/metadata.jsonl").read_text().splitlines()]
    assert [entry["file_name"] for entry in entries] == [f"0000{i}.png" for i in range(7)], f"want one line a picture, in order, got {entries}"
    for entry in entries:
        assert picture(Path("out", entry["file_name"])).size == (24, 24), "every picture should be of the size asked for"
        assert get_world(world).grammar.parse(entry["text"]), f"every caption should parse in the world's grammar, not {entry['text']!r}"
    fails("draw", "--world", world, "--count", 3, "out", names=("out", "already holds"))


def test_the_captions_of_a_drawn_folder_are_true_of_its_pictures(monkeypatch):
    from tinyclip import commands

    drawn = []
    real = commands.measure.drawn
    monkeypatch.setattr(commands.measure, "drawn", lambda world, scenes, size: drawn.append(scenes) or real(world, scenes, size))
    works("draw", "--world", "single", "--count", 40, "out", "--size", 16)
    world, entries = get_world("single"), [json.loads(line) for line in Path("out/metadata.jsonl").read_text().splitlines()]
    meanings = np.asarray(drawn[0].meaning)
    for meaning, entry in zip(meanings, entries, strict=True):
        said = world.grammar.parse(entry["text"])
        true = any(all(s in (-1, m) for s, m in zip(row, meaning, strict=True)) for row in said)
        assert true, f"{entry['text']!r} is not true of the scene {meaning}: is each picture beside its own caption?"
    assert len({entry["text"] for entry in entries}) > 20, "captions should vary"


@pytest.mark.slow  # it would take a good part of the fast suite's four minutes
def test_a_folder_of_pictures_is_trained_on_evaluated_and_searched():
    out = folder_run()
    config = json.loads((out / "config.json").read_text())
    assert config["data"] == str(folder_of_pictures().resolve()), f"config.json should name the folder, got {config.get('data')}"
    assert config["train"]["batch_size"] == 22, f"a batch larger than the folder becomes all of it, got {config['train']['batch_size']}"
    scores = scores_of(out)
    assert scores["pictures"] == 2, f"of 24 pictures 2 were kept from training, but {scores['pictures']} are tested on"
    assert scores_of(out, "--data", folder_of_pictures())["pictures"] == 2, "the folder it was trained on should be known again"
    texts = [json.loads(line)["text"] for line in (folder_of_pictures() / "metadata.jsonl").read_text().splitlines()]
    printed = works("search", out, texts[0], "-k", 2).strip().splitlines()
    assert all((folder_of_pictures() / line.split(maxsplit=1)[1]).is_file() for line in printed[:-1]), f"want files of the folder, got {printed}"
    printed = works("caption", out, folder_of_pictures() / "00000.png", "-k", 2).strip().splitlines()
    assert len(printed) == 2 and all(line.split(maxsplit=1)[1] in texts for line in printed), f"want captions of the folder, got {printed}"
    again = running.plan(Train(out=out, resume=True, devices=1), config)
    different = running.differences({key: value for key, value in config.items() if key != "format"}, again.settings)
    assert not different, f"the run should be resumable with its own settings, but these differ: {different}"


def test_plot_draws_the_figures_again_at_a_place_of_ones_choice():
    printed = works("plot", world_run(), "--out", "mine").split()
    assert printed == ["mine/similarity.png", "mine/space.png", "mine/training.png"], f"want three figures, got {printed}"
    assert all(picture(path).format == "PNG" for path in printed), "figures should be PNG files"


def test_an_exported_model_is_the_model_and_no_more():
    printed = works("export", world_run(), "out/copy")
    names = sorted(p.name for p in Path("out/copy").iterdir())
    assert names == ["config.json", "history.json", "model.safetensors", "tokenizer.json"], f"no training state should be exported, got {names}"
    assert all(name in printed for name in names), f"what was written should be told, got {printed}"
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        wanted, got = ((path / name).read_bytes() for path in (world_run(), Path("out/copy")))
        assert wanted == got, f"{name} should be exported as it is"
    assert scores_of("out/copy") == scores_of_the_run(), "an exported model should score the same"
    fails("export", world_run(), "out/copy", names=("out/copy", "not an empty folder"))
    Path("file").write_text("x")
    fails("export", world_run(), "file", names=("file", "not an empty folder"))
    Path("empty").mkdir()
    works("export", world_run(), "empty")


def test_a_model_that_names_no_world_asks_for_one():
    works("export", world_run(), "bare")
    config = json.loads(Path("bare/config.json").read_text())
    del config["world"]
    Path("bare/config.json").write_text(json.dumps(config))
    fails("evaluate", "bare", names=("'bare'", "--world", "--data"))
    fails("plot", "bare", names=("'bare'",))
    assert scores_of("bare", "--world", "sixteen")["zero_shot_seen"] >= 0, "with a world it can be tested"


MISTAKES = {
    "unknown model": (("evaluate", "no-model"), ("'no-model'",)),
    "unknown word": (("search", "MODEL", "a purpel circle"), ("'purpel'",)),
    "unknown word with near ones": (("search", "MODEL", "a red circel"), ("'circel'", "'circle'")),
    "unknown word in classify": (("classify", "MODEL", "PICTURE", "a red circle", "a red hat"), ("'hat'",)),
    "caption too long": (("search", "MODEL", "a red circle a red circle a red circle"), ("9 words",)),
    "empty caption": (("search", "MODEL", "  "), ("empty",)),
    "no model for search": (("search", "a", "b", "c"), ("one caption",)),
    "k of 0": (("search", "MODEL", "a red circle", "-k", "0"), ("-k is 0",)),
    "k below 0": (("caption", "MODEL", "PICTURE", "-k", "-3"), ("-k is -3",)),
    "no picture": (("caption", "MODEL", "none.png"), ("none.png", "does not exist")),
    "a text as picture": (("classify", "MODEL", "words.txt", "a red circle", "a blue star"), ("words.txt",)),
    "a folder as picture": (("caption", "MODEL", "."), ("folder",)),
    "no captions to classify": (("classify", "MODEL", "PICTURE"), ("captions",)),
    "one caption to classify": (("classify", "MODEL", "PICTURE", "a red circle"), ("two captions",)),
    "no file of captions": (("caption", "MODEL", "PICTURE", "--captions", "none.txt"), ("none.txt",)),
    "an empty file of captions": (("caption", "MODEL", "PICTURE", "--captions", "empty.txt"), ("empty.txt",)),
    "no folder of pictures": (("search", "MODEL", "a red circle", "--images", "none"), ("none",)),
    "an empty folder of pictures": (("search", "MODEL", "a red circle", "--images", "void"), ("void", "no pictures")),
    "a folder with a bad picture": (("search", "MODEL", "a red circle", "--images", "bad"), ("bad/a.png",)),
    "a grid that cannot be written": (("search", "MODEL", "a red circle", "--out", "words.txt/grid.png"), ("words.txt/grid.png",)),
    "world and data": (("evaluate", "MODEL", "--world", "single", "--data", "void"), ("--world", "--data")),
    "data without metadata": (("evaluate", "MODEL", "--data", "void"), ("metadata.jsonl",)),
    "a world with unknown words": (("evaluate", "MODEL", "--world", "animals"), ("'animals'",)),
    "draw an unknown word": (("draw", "a red circel", "x.png"), ("'circel'", "'circle'")),
    "draw no sentence": (("draw", "circle red a", "x.png"), ("'circle red a'",)),
    "draw too many words": (("draw", "a", "red", "circle"), ("one sentence",)),
    "draw nothing": (("draw", " ", "x.png"), ()),
    "draw too small": (("draw", "a red circle", "x.png", "--size", "3"), ("--size is 3",)),
    "draw nothing wide": (("draw", "a red circle", "x.png", "--size", "0"), ("--size is 0",)),
    "draw too large": (("draw", "a red circle", "x.png", "--size", "5000"), ("--size is 5000",)),
    "draw none": (("draw", "--count", "0", "f"), ("count",)),
    "draw fewer than none": (("draw", "--count", "-4", "f"), ("count",)),
    "draw many to two places": (("draw", "--count", "4", "f", "g"), ("one folder",)),
    "draw many among others": (("draw", "--count", "4", "bad"), ("bad already holds a.png", "empty folder")),
    "draw into a file": (("draw", "--count", "4", "words.txt"), ("words.txt",)),
    "draw where nothing can be": (("draw", "a red circle", "words.txt/x.png"), ("words.txt/x.png",)),
    "draw with an unknown ending": (("draw", "a red circle", "x.nonsense"), ("x.nonsense",)),
    "draw with a seed below 0": (("draw", "a red circle", "x.png", "--seed", "-1"), ("seed",)),
    "export for others where nothing can be": (("export", "MODEL", "words.txt/f", "--format", "hf"), ("words.txt/f",)),
    "export over a folder": (("export", "MODEL", "bad"), ("bad",)),
    "plot where nothing can be": (("plot", "MODEL", "--out", "words.txt/f"), ("words.txt/f",)),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_ends_in_one_sentence_and_leaves_nothing(kind):
    command, names = MISTAKES[kind]
    Path("words.txt").write_text("hello")
    Path("empty.txt").write_text("\n")
    Path("void").mkdir()
    Path("bad").mkdir()
    Path("bad/a.png").write_text("no picture")
    before = sorted(str(p) for p in Path().rglob("*"))
    stand_in = {"MODEL": world_run(), "PICTURE": folder_of_pictures() / "00003.png"}
    message = fails(*(stand_in.get(word, word) for word in command), names=names)
    assert len(message) < 900, f"the message should be a sentence, not {len(message)} characters: {message}"
    assert sorted(str(p) for p in Path().rglob("*")) == before, f"nothing may be left behind, but there is {sorted(Path().rglob('*'))}"


@pytest.mark.parametrize("command", [["train", "--world", "mars"], ["fly"], ["train", "--steps", "many"], ["export", "x", "y", "--format", "onnx"]])
def test_a_command_line_that_is_none_ends_with_2(command, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*command)
    assert stop.value.code == 2, f"{' '.join(command)} should end with exit code 2, got {stop.value.code}"
    assert home().exists() and "Traceback" not in capsys.readouterr().err, "no traceback is wanted"


def test_an_interrupted_command_ends_without_a_traceback(monkeypatch):
    from tinyclip import commands

    def stopped(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "evaluate", stopped)
    code, out, err = run("evaluate", world_run())
    assert (code, out, err.strip()) == (130, "", "stopped"), f"Ctrl-C should end a command with 130 and one word, got {code}, {out!r}, {err!r}"
