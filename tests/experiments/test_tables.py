"""The tables people read, `data/experiments/README.md`, say what the files of results say."""

import json
import re

import pytest

from lessons.experiments import HOME

CELL = re.compile(r"(-?[\d.]+)(?: %)? \((-?[\d.]+)(?:–| to )(-?[\d.]+)\)(?: %)?")  # 94.2 (93.6–94.7), or 65 % (61 to 72)
ROWS = [line for line in (HOME / "README.md").read_text().splitlines() if line.startswith("| ") and CELL.search(line)]


def said(values, places):
    """Mean, least and largest as a table says them, as they are and in %."""
    return {tuple(f"{factor * x:.{places}f}" for x in (sum(values) / len(values), min(values), max(values))) for factor in (1, 100)}


@pytest.fixture(scope="module")
def known():
    """Every score of every condition of every experiment, by the number of decimal places it is said with."""
    found = {places: set() for places in range(4)}
    for path in sorted(HOME.glob("*/results.json")):
        for seeds in json.loads(path.read_text())["results"].values():
            for score in {name for scores in seeds.values() for name in scores}:
                values = [scores[score] for scores in seeds.values() if score in scores]
                for places in found:
                    found[places] |= said(values, places)
    return found


def test_there_are_tables():
    assert len(ROWS) >= 50, f"data/experiments/README.md has only {len(ROWS)} rows with a mean and its spread"


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_every_mean_and_its_spread_is_in_a_file_of_results(row, known):
    for cell in row.strip("| ").split(" | "):
        if match := CELL.fullmatch(cell.strip()):
            places = len(match[1].partition(".")[2])
            assert match.groups() in known[places], f"data/experiments/README.md says {cell.strip()}, which no results.json does, in the row {row}"
