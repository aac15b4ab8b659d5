"""The committed sample pictures: a model is trained on them, saved, loaded and searched."""

from pathlib import Path

import numpy as np
import pytest

from tinyclip.cli import main
from tinyclip.folder import fit, open_image, read_metadata
from tinyclip.world import get_world

SAMPLES = Path(__file__).parent.parent / "data" / "samples"


def test_the_samples_are_a_few_dozen_captioned_scenes():
    pairs, wrong = read_metadata(SAMPLES)
    assert len(pairs) == 48 and not wrong, f"data/samples wants 48 good lines in metadata.jsonl, got {len(pairs)} and {wrong}"
    for name, caption in pairs:
        image = open_image(SAMPLES / name)
        assert image.size == (128, 128), f"{name} is {image.size}, want 128 x 128"
        assert np.asarray(image).std() > 5, f"{name} is nearly one flat colour: was nothing drawn?"
        assert get_world("single").grammar.parse(caption), f"{caption!r} is no sentence of the world it was drawn from"


@pytest.mark.slow  # sixty steps, from the command line to the search
def test_a_model_trains_on_the_samples_and_finds_a_picture_by_its_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "run"
    assert main(["train", "--data", str(SAMPLES), "--size", "nano", "--steps", "60", "--devices", "1", "--out", str(out)]) == 0
    caption = read_metadata(SAMPLES)[0][0][1]
    capsys.readouterr()
    assert main(["search", str(out), caption, "-k", "1", "--out", str(tmp_path / "grid.png")]) == 0
    best = capsys.readouterr().out.splitlines()[0].split()[1]
    captions = {}
    for file, text in read_metadata(SAMPLES)[0]:
        captions.setdefault(file, []).append(text)
    assert caption in captions[best], f"searching {caption!r} among its own training pictures found {best}, which shows {captions[best]}"
    assert fit(open_image(tmp_path / "grid.png"), 64).shape == (64, 64, 3)
