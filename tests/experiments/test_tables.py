"""The tables people read, `data/experiments/README.md`, say what the files of results say: every cell its own condition's score."""

import json
import re

import pytest

from lessons.experiments import HOME

CELL = re.compile(r"(-?[\d.]+)(?: %)? \((-?[\d.]+)(?:–| to )(-?[\d.]+)\)(?: %)?")  # 94.2 (93.6–94.7), or 65 % (61 to 72)
SAID = (HOME / "README.md").read_text()
RESULTS = {path.parent.name: json.loads(path.read_text())["results"] for path in HOME.glob("*/results.json")}

# The first words of a table's head -> what each of its columns shows: the experiment, what is added to the row's condition, and the score.
COLUMNS = {
    "condition | picture → text": [("blind_spots", "", score) for score in (
        "image_to_text_recall_at_1", "text_to_image_recall_at_1", "binding_text", "binding_image", "binding_group", "own_caption_unseen"
    )],
    "map | named": [("looking_inside", more, score) for more, score in (
        ("", "named"), ("", "other"), ("", "iou"), (", random weights", "named"), (", random weights", "other")
    )],
    "twin with another | ": [("looking_inside", more, "right word") for more in ("", ", no twin", ", random weights")],
    "condition | gap | found": [
        ("gap", "", score) for score in ("gap", "picture to caption, share 0", "picture to caption, share 1", "pictures ~ captions")
    ],
    "condition | among captions": [("gap", "", f"analogy: {way}, nothing excluded") for way in (
        "captions", "pictures", "caption's direction, picture to caption", "captions, shuffled directions"
    )],
    "condition | red circles": [("fairness", "", score) for score in (
        "red circles", "other red things", "other circles", "all others", "gap", "gap, colour said", "false circles, red less others",
        "true circles, red less others", "all kinds even", "kinds as in the biased collection", "colour",
    )],
    "frames pooled by | ": [("video", "", score) for score in ("thing", "axis", "direction", "film to sentence", "sentence to film")],
    "noise (spread) | ": [("film_with_sound", "", score) for score in ("film", "sound", "both")],
}  # fmt: skip
# The conditions of rows that are called otherwise there.
CONDITIONS = {
    "colour": "words, colour", "shape": "words, shape", "relation": "words, relation",
    "their mean": "mean", "a transformer without positions (control)": "no positions", "a transformer": "transformer",
    "none": "no noise", "0.12 on pixels": "noisy film", "0.02 on samples": "noisy sound", "0.1 on samples": "drowned sound",
}  # fmt: skip
# The last table has a score in each row, and in its columns the aligned encoder and the untrained one.
SENSES = {
    'sound → text, all 64 sentences "a {colour} {shape}"': ("sound", "to_text_all"),
    "… scenes of the 56 seen combinations": ("sound", "to_text_seen"),
    "… scenes of the 8 held-out combinations": ("sound", "to_text_held_out"),
    "text → sound, seen": ("sound", "from_text_seen"),
    "text → sound, held out": ("sound", "from_text_held_out"),
    "sound → picture, seen": ("sound", "to_picture_seen"),
    "sound → picture, held out": ("sound", "to_picture_held_out"),
    'touch → "a {shape}"': ("touch", "to_shape_all"),
    'touch → "a {size} {shape}"': ("touch", "to_size_and_shape_all"),
    'touch → "something {colour}"': ("touch", "to_colour_all"),
    'touch → "a {colour} {shape}"': ("touch", "to_colour_and_shape_all"),
    'smell → "something {colour}"': ("smell", "to_colour_all"),
    'smell → "a {shape}"': ("smell", "to_shape_all"),
}


def cells(row):
    return [cell.strip() for cell in row.strip().strip("|").split(" | ")]


def scores_of_rows():
    """Of every row with a mean and its spread: what it says, and the (experiment, condition, score) of each of its cells."""
    found, head = [], ""
    lines = SAID.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if following.startswith("|---"):
            head = line.strip("| ")
        elif line.startswith("| ") and CELL.search(line):
            label, *said = cells(line)
            if known := next((columns for start, columns in COLUMNS.items() if head.startswith(start)), None):
                where = [(experiment, CONDITIONS.get(label, label) + more, score) for experiment, more, score in known]
            else:
                experiment, score = SENSES[re.sub(r" \((chance|this).*\)$", "", label)]
                where = [(experiment, condition, score) for condition in ("aligned", "untrained")]
            found.append((label, said, where))
    return found


ROWS = scores_of_rows()


def test_there_are_tables():
    assert len(ROWS) == 58, f"data/experiments/README.md has {len(ROWS)} rows with a mean and its spread: does this test know the new ones?"


@pytest.mark.parametrize(("label", "said", "where"), ROWS, ids=range(len(ROWS)))
def test_every_cell_is_its_own_score(label, said, where):
    assert len(said) == len(where), f"the row {label!r} should have {len(where)} cells, got {said}"
    for cell, (experiment, condition, score) in zip(said, where, strict=True):
        if cell == "–":
            assert condition not in RESULTS[experiment], f"{label}: {score} of {condition} was measured, and should be said"
            continue
        values = [scores[score] for scores in RESULTS[experiment][condition].values()]
        mean_least_most, places = CELL.fullmatch(cell).groups(), len(cell.split("(")[0].rstrip(" %").partition(".")[2])
        factor = 1 if places == 2 else 100  # what has two places is a distance or a correlation, all else is in %
        want = tuple(f"{factor * x:.{places}f}" for x in (sum(values) / len(values), min(values), max(values)))
        assert mean_least_most == want, f"{label}: {score} of {condition} is {want}, but data/experiments/README.md says {cell}"
