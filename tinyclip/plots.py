"""One function a figure; each takes arrays and a path, writes a PNG, and returns the path.

Colours are safe for colour-blind readers (Okabe & Ito), sizes are for a README.
"""

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from rich.text import Text

from . import show
from .errors import UserError

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10, "figure.dpi": 120, "savefig.dpi": 120}
Pictures = UInt8[np.ndarray, "B S S 3"]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure in the project's style, `width` x `height` in inches."""
    matplotlib.rcParams.update(STYLE)
    return Figure(figsize=(width, height), layout="constrained")  # no pyplot: nothing global, no window, no leak


def plain(text: str, longest: int = 50) -> str:
    """Text that Matplotlib shows as it is: between two dollars it would see mathematics. What is longer than any caption of the worlds is cut."""
    words = Text(text)
    words.truncate(longest, overflow="ellipsis")  # it counts wide letters, such as Chinese ones, as two
    return words.plain.replace("$", r"\$")


def _save(figure: Figure, path: Path) -> Path:
    path = path if path.suffix else path.with_name(f"{path.name}.png")
    nameless = {"metadata": {"Software": None}} if path.suffix.lower() == ".png" else {}  # the same file from every version of Matplotlib
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.filterwarnings("always", "Glyph")  # one for each letter
            figure.savefig(path, **nameless)
    except (OSError, ValueError) as error:
        raise UserError(f"could not write the figure {path}: {getattr(error, 'strerror', None) or error}.") from None
    if any("missing from font" in str(warning.message) for warning in caught):
        _letters_are_missing()
    return path


@cache  # said once is enough
def _letters_are_missing() -> None:
    show.line("Matplotlib's font lacks some of the captions' letters: in figures, boxes stand for them")


def similarity_matrix(similarity: Float[np.ndarray, "B M"], pictures: Pictures, captions: Sequence[str], path: Path) -> Path:
    """The cosine of every picture (rows, thumbnails) with every caption (columns); the true pairs lie on the diagonal. Lesson 01."""
    B, M = similarity.shape
    figure = new_figure(3.4 + 0.42 * M, 2.6 + 0.42 * B)
    axes = figure.add_subplot()
    shown = axes.imshow(similarity, cmap="cividis", vmin=min(0.0, float(similarity.min())), vmax=1.0, aspect="equal")
    for i in range(B):
        for j in range(M):
            value, dark = similarity[i, j], similarity[i, j] < 0.6
            axes.text(j, i, f"{value:.2f}".replace("0.", ".", 1), ha="center", va="center", fontsize=6.5, color="white" if dark else "black")
    axes.set_xticks(range(M), map(plain, captions), rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(B), [""] * B)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for i, picture in enumerate(pictures):
        box = OffsetImage(picture, zoom=22 / picture.shape[0], interpolation="antialiased")
        axes.add_artist(AnnotationBbox(box, (-0.5, i), xybox=(-15, 0), boxcoords="offset points", frameon=False, annotation_clip=False))
    figure.colorbar(shown, ax=axes, shrink=0.7, label="cosine similarity")
    axes.set_title("Every picture with every caption")
    return _save(figure, path)


def space_map(images: Float[np.ndarray, "B E"], texts: Float[np.ndarray, "M E"], pictures: Pictures, captions: Sequence[str], path: Path) -> Path:
    """Pictures (thumbnails) and captions (words) on one 2-D map: the two main directions of the joint space.

    The mean of each modality is taken off first, or the gap between pictures and sentences would be all one sees (lesson 14). A flat map of
    many dimensions loses distances: near on the map need not be near in the space.
    """
    joint = np.concatenate([images - images.mean(0), texts - texts.mean(0)])
    _, strength, directions = np.linalg.svd(joint, full_matrices=False)
    points = joint @ directions[:2].T  # (B + M, 2)
    share = float((strength[:2] ** 2).sum() / max((strength**2).sum(), 1e-30))
    figure = new_figure(7.2, 5.6)
    axes = figure.add_subplot()
    axes.scatter(*points.T, s=0)
    for picture, point in zip(pictures, points, strict=False):
        axes.add_artist(AnnotationBbox(OffsetImage(picture, zoom=19 / picture.shape[0]), point, frameon=False))
    words = points[len(images) :]
    axes.scatter(*words.T, s=16, marker="D", color=RED, zorder=3, label="sentences")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel("first direction (no unit)")
    axes.set_ylabel("second direction (no unit)")
    axes.set_title(f"Pictures and sentences in one space, flattened to 2-D ({share:.0%} of the variance)")
    figure.legend(loc="outside lower right", frameon=False)  # inside, it would look like one more sentence
    _label(figure, axes, captions, words)
    return _save(figure, path)


def _label(figure: Figure, axes: Axes, captions: Sequence[str], points: Float[np.ndarray, "M 2"]) -> None:
    """Words beside points, on the side towards the middle or else on the other; none where they would cover others or leave the figure."""
    figure.draw_without_rendering()  # or nothing has its place yet, and labels cannot be measured
    middle, taken = np.mean(axes.get_xlim()), []
    box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.75, "linewidth": 0}
    for word, point in zip(captions, points, strict=True):
        for side in ("right", "left") if point[0] > middle else ("left", "right"):  # which side of the words is at the point
            offset = {"xytext": (-5 if side == "right" else 5, 0), "textcoords": "offset points", "ha": side, "va": "center"}
            label = axes.annotate(plain(word), point, **offset, fontsize=7, zorder=4, bbox=box, in_layout=False)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Glyph")  # `_save` tells it
                place = label.get_window_extent().padded(2)
            if figure.bbox.x0 <= place.x0 and place.x1 <= figure.bbox.x1 and not place.count_overlaps(taken):
                taken.append(place)
                break
            label.remove()


def training_curve(history: Mapping[str, Any], loss: str, path: Path) -> Path:
    """A run's `history.json`: its loss against step, between two rulers, ln N (knowing nothing) and the floor that captions true of several
    pictures impose. The rulers belong to the contrastive loss; for the sigmoid loss they are left out. Lessons 07 and 10.
    """
    steps, log_n, accuracy = range(1, len(history["loss"]) + 1), history["log_n"], history.get("accuracy")
    figure = new_figure(7.2, 3.8)
    axes = figure.add_subplot()
    axes.plot(steps, history["loss"], color=BLUE, linewidth=1.2, label=f"{loss} loss")
    if loss == "contrastive":
        axes.axhline(log_n, color=GREY, linestyle="--", linewidth=1, label=f"ln N = {log_n:.2f}: knowing nothing")
        axes.plot(steps, history["floor"], color=ORANGE, linewidth=1, label="floor: mean entropy of the targets")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("step")
    axes.set_ylabel("nats")
    handles, labels = axes.get_legend_handles_labels()
    if accuracy:
        right = axes.twinx()
        right.plot(*zip(*accuracy, strict=True), color=GREEN, linewidth=1.2, marker=".", markersize=4, label="accuracy on new pictures")
        right.set_ylim(0, 102)
        right.set_ylabel("top-1 accuracy, %")
        right.spines["right"].set_visible(True)
        handles, labels = handles + right.get_legend_handles_labels()[0], labels + right.get_legend_handles_labels()[1]
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=2)  # inside, a curve may pass anywhere
    axes.set_title("Training, between its rulers")
    return _save(figure, path)


def picture_grid(pictures: Sequence[UInt8[np.ndarray, "h w 3"]], titles: Sequence[str], path: Path, heading: str = "") -> Path:
    """Pictures in rows of up to six, each with a line above it."""
    columns = min(6, max(1, len(pictures)))
    rows = -(-len(pictures) // columns)
    figure = new_figure(max(4.0, 1.5 * columns), 1.75 * rows + (0.4 if heading else 0))
    for i, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.imshow(picture, interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(plain(title, 24), fontsize=8)
    if heading:
        figure.suptitle(plain(heading), fontsize=10)
    return _save(figure, path)


def loss_costs(costs: Mapping[str, Sequence[tuple[int, float, float]]], path: Path) -> Path:
    """Memory and time of a loss against N, for each form a list of (N, bytes, seconds), on logarithmic axes. Lesson 17."""
    figure = new_figure(6.6, 3.0)
    memory, time = figure.subplots(1, 2)
    for (name, rows), colour, marker in zip(costs.items(), (ORANGE, BLUE), "os", strict=True):
        n, taken, seconds = map(np.array, zip(*rows, strict=True))
        memory.loglog(n, taken / 1e6, marker=marker, markersize=4, color=colour, label=name)
        time.loglog(n, seconds, marker=marker, markersize=4, color=colour, label=name)
    memory.set(xlabel="pairs N in the batch", ylabel="memory for it, MB", title="Memory")
    time.set(xlabel="pairs N in the batch", ylabel="loss and gradients, s", title="Time", xlim=memory.get_xlim())
    memory.legend(frameon=False)
    return _save(figure, path)
