"""Every figure is written, of a sensible size, and leaves nothing behind."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers import check, raises_one_sentence
from matplotlib.offsetbox import AnnotationBbox
from matplotlib.text import Text
from PIL import Image
from rich.cells import cell_len

from tinyclip import plots
from tinyclip.errors import UserError

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (9, 12, 12, 3), dtype=np.uint8)
WORDS = [f"a large purple triangle number {i}" for i in range(9)]
POINTS = RNG.normal(size=(16, 5))
HISTORY = {
    "loss": [4.0, 3.0, 2.5, 2.0, 1.9, 1.8], "floor": [0.5] * 6, "log_n": 4.2, "logit_scale": [14.0] * 6, "accuracy": [[3, 20.0], [6, 50.0]],
}  # fmt: skip

FIGURES = {
    "similarity": lambda path: plots.similarity_matrix(RNG.uniform(-0.2, 1, (7, 6)), PICTURES[:7], WORDS[:6], path),
    "space": lambda path: plots.space_map(POINTS[:9], POINTS[9:14], PICTURES, WORDS[:5], path),
    "curve": lambda path: plots.training_curve(HISTORY, "contrastive", path),
    "curve of the sigmoid loss": lambda path: plots.training_curve(HISTORY, "sigmoid", path),
    "curve of one step": lambda path: plots.training_curve({"loss": [1.0], "floor": [0.1], "log_n": 2.0, "accuracy": []}, "contrastive", path),
    "costs of the loss": lambda path: plots.loss_costs({"full": [(8, 1e6, 0.1), (16, 4e6, float("nan"))], "blocks": [(8, 1e5, 0.2)]}, path),
    "grid of one": lambda path: plots.picture_grid(list(PICTURES[:1]), ["0.5"], path, "a red circle"),
    "grid of nine": lambda path: plots.picture_grid(list(PICTURES), WORDS, path),
}


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn from now on, laid out and saved."""
    drawn, save = [], plots._save
    monkeypatch.setattr(plots, "_save", lambda figure, path: drawn.append(figure) or save(figure, path))
    return drawn


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_a_png_of_a_readable_size_and_leaves_no_figure_open(tmp_path, name):
    path = tmp_path / "deep" / "figure.png"
    returned = FIGURES[name](path)
    assert returned == path, f"{name}: a figure's function should return its path, got {returned}"
    with Image.open(path) as image:
        assert image.format == "PNG", f"{name}: want a PNG, got {image.format}"
        width, height = image.size
        shades = len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0))
    assert 400 <= width <= 1300 and 150 <= height <= 1300, f"{name}: want 400 to 1300 pixels wide, got {width} x {height}"
    assert shades > 20, f"{name}: the figure looks empty: it has {shades} colours"
    assert plt.get_fignums() == [], f"{name}: no pyplot figure may be left open, got {plt.get_fignums()}"


def test_dollars_are_dollars(tmp_path, figures):
    priced = ["a $5 bill and a $20 bill", r"$\frac$ and \o/"]
    plots.picture_grid(list(PICTURES[:2]), priced, tmp_path / "a.png", priced[1])
    plots.similarity_matrix(RNG.uniform(0, 1, (2, 2)), PICTURES[:2], priced, tmp_path / "b.png")
    plots.space_map(POINTS[:2], POINTS[2:4], PICTURES[:2], priced, tmp_path / "c.png")
    for figure in figures:
        figure.canvas.draw()  # what Matplotlib took for mathematics would fail here
        found = [text.get_text() for text in figure.findobj(Text)]
        assert all(any(plots.plain(each) == text for text in found) for each in priced), f"{priced} should be in the figure as they are, got {found}"


def test_every_picture_stands_where_it_belongs(tmp_path, figures):
    similarity = RNG.uniform(-0.2, 1, (7, 6))
    plots.similarity_matrix(similarity, PICTURES[:7], WORDS[:6], tmp_path / "a.png")
    plots.space_map(POINTS[:9] + 5, POINTS[9:14] - 5, PICTURES, WORDS[:5], tmp_path / "b.png")
    plots.picture_grid(list(PICTURES), WORDS, tmp_path / "c.png")
    plots.training_curve(HISTORY, "contrastive", tmp_path / "d.png")
    matrix, space, grid, curve = figures

    def thumbnails(axes):
        return [(box.xy, np.asarray(box.offsetbox.get_data())) for box in axes.artists if isinstance(box, AnnotationBbox)]

    check("the matrix that is shown", np.asarray(matrix.axes[0].images[0].get_array()), similarity, 1e-12)
    for i, (place, picture) in enumerate(thumbnails(matrix.axes[0])):
        assert place[1] == i and (picture == PICTURES[i]).all(), f"beside row {i} of the matrix should be picture {i}"
    flat = np.array([place for place, _ in thumbnails(space.axes[0])])
    assert all((picture == PICTURES[i]).all() for i, (_, picture) in enumerate(thumbnails(space.axes[0]))), "on the map, pictures are exchanged"
    check("the middle of the pictures on the map", flat.mean(0), np.zeros(2), 1e-9, "the gap should be taken off")
    far, near = ((a[:, None] - a).reshape(-1, a.shape[1]) for a in (POINTS[:9], flat))
    assert (np.linalg.norm(near, axis=1) <= np.linalg.norm(far, axis=1) + 1e-9).all(), "flattened, two points cannot be farther apart than before"
    for i, axes in enumerate(grid.axes):
        assert (axes.images[0].get_array() == PICTURES[i]).all() and plots.plain(WORDS[i], 24) == axes.get_title(), f"picture {i} has another's title"
    drawn = {line.get_label(): line.get_xydata() for axes in curve.axes for line in axes.lines}
    check("the accuracy that is drawn", drawn["accuracy on new pictures"], np.array(HISTORY["accuracy"]), 0)
    check("the loss that is drawn", drawn["contrastive loss"][:, 1], np.array(HISTORY["loss"]), 0)


def test_no_label_on_the_map_covers_another_or_leaves_it(tmp_path, figures):
    captions = [f"a sentence of some length about picture {i}" for i in range(40)]
    plots.space_map(RNG.normal(size=(9, 3)), RNG.normal(size=(40, 3)), PICTURES, captions, tmp_path / "map.png")
    (figure,) = figures
    labels = [text for text in figure.findobj(Text) if text.get_text() in captions]
    boxes = [label.get_window_extent() for label in labels]
    assert len(labels) >= 8, f"some sentences should find room, got {len(labels)} of 40"
    for i, (label, box) in enumerate(zip(labels, boxes, strict=True)):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, f"{label.get_text()!r} leaves the figure: {box}"
        covered = [labels[j].get_text() for j in range(i) if box.overlaps(boxes[j])]
        assert not covered, f"{label.get_text()!r} covers {covered}"


@pytest.mark.parametrize("sentence", ["a very large and slightly faded red circle left of a blue star " * 2, "一只红色的猫坐在蓝色的垫子上" * 8])
def test_long_captions_are_cut(tmp_path, figures, sentence):
    captions = [f"{i} {sentence}" for i in range(9)]
    plots.picture_grid(list(PICTURES), captions, tmp_path / "a.png", captions[0])
    plots.similarity_matrix(RNG.uniform(0, 1, (9, 9)), PICTURES, captions, tmp_path / "b.png")
    plots.space_map(POINTS[:5], POINTS[5:14], PICTURES[:5], captions, tmp_path / "c.png")
    for name, figure in zip(("grid", "matrix", "map"), figures, strict=True):
        shown = [text.get_text() for text in figure.findobj(Text) if text.get_text().endswith("…")]
        widest = max(map(cell_len, shown), default=None)
        assert widest and widest <= 50, f"{name}: captions should be cut to 50 columns with an ellipsis, got {widest}: {shown[:2]}"
        axes = figure.axes[0]
        size = axes.get_window_extent().width / figure.bbox.width
        assert size > (0.1 if name == "grid" else 0.4), f"{name}: captions should leave room for the figure, but its axes take {size:.0%} of it"
    titles = [axes.get_title() for axes in figures[0].axes]
    assert max(map(cell_len, titles)) <= 24, f"in a row of six, a title of more than 24 columns covers the next, got {titles[:2]}"


def test_letters_that_no_font_has_are_told_of_once(tmp_path, capsys):
    plots._letters_are_missing.cache_clear()
    for name in ("a.png", "b.png"):
        plots.picture_grid(list(PICTURES[:2]), ["红色的猫", "a cat"], tmp_path / name, "红色的猫")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "letters" in said[0], f"missing letters should be told of in one line for all figures, got {said}"


@pytest.mark.parametrize(("name", "written"), [("a.jpg", "a.jpg"), ("a.svg", "a.svg"), ("a.webp", "a.webp"), ("a", "a.png"), ("a.b", None)])
def test_a_figure_takes_the_form_of_its_ending_and_without_one_png(tmp_path, name, written):
    if written is None:
        return raises_one_sentence(UserError, lambda: FIGURES["grid of one"](tmp_path / name), name)
    path = FIGURES["grid of one"](tmp_path / name)
    assert path == tmp_path / written, f"{name} should be written as {written}, but {path} is said"
    assert [file.name for file in tmp_path.iterdir()] == [written], f"want {written} alone, got {list(tmp_path.iterdir())}"


def test_the_same_figure_is_the_same_file(tmp_path):
    first, second = (plots.training_curve(HISTORY, "contrastive", tmp_path / name) for name in ("a.png", "b.png"))
    assert first.read_bytes() == second.read_bytes(), "a figure drawn twice should be the same bytes"
    with Image.open(first) as image:
        assert set(image.info) <= {"dpi"}, f"a date, or Matplotlib's version, would make another file of the same figure: it holds {image.info}"


@pytest.mark.parametrize("name", ["similarity", "space", "curve", "grid of one"])
def test_a_figure_that_cannot_be_written_is_a_user_error(tmp_path, name):
    (tmp_path / "file").write_text("x")
    raises_one_sentence(UserError, lambda: FIGURES[name](tmp_path / "file" / "figure.png"), "could not write", str(tmp_path / "file"))
    raises_one_sentence(UserError, lambda: FIGURES[name](tmp_path / "figure.nonsense"), "could not write", "figure.nonsense")


def test_the_sigmoid_loss_has_no_rulers(tmp_path, figures):
    for loss in ("contrastive", "sigmoid"):
        plots.training_curve(HISTORY, loss, tmp_path / "x.png")
    lines = [[line.get_label() for line in figure.axes[0].lines] for figure in figures]
    assert len(lines[0]) == 3, f"the contrastive loss lies between two rulers, got the lines {lines[0]}"
    assert lines[1] == ["sigmoid loss"], f"ln N and the floor do not belong to the sigmoid loss, got the lines {lines[1]}"
