"""What the figures share: style, colours, panels, lines with bands, names in the margin, labels that do not collide."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from scipy import optimize

Floats = NDArray[np.float64]

BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, _, _, _, SKY = sns.color_palette("colorblind")
GREY = "0.35"
SERIES = list(zip((BLUE, ORANGE, GREEN, PURPLE, SKY, BROWN), "os^DvP", strict=True))  # colour, marker
LEVELS = [("black", (0, (5, 2))), (RED, (0, (6, 2, 1, 2))), (BROWN, (0, (2, 1)))]  # colour, dashes
LOOK = {  # method: label, colour, marker
    "dense": ("dense", "black", "D"),
    "pruned": ("pruned", BLUE, "o"),
    "vanilla": ("pruned, Vanilla", BLUE, "o"),
    "rmc": ("pruned, RMC", GREEN, "^"),
    "control": ("dense control, trained for as many steps", ORANGE, "s"),
}
STYLE: dict[Any, Any] = {
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.93",
    "legend.frameon": False,
    "svg.hashsalt": "robust_lib",
}


@dataclass(frozen=True)
class Line:
    """A method as figures and tables show it: its readable name, and where the next of SERIES will not do, because a
    method keeps its colour from figure to figure, colour and marker of its line."""

    method: str
    name: str
    colour: Any = None
    marker: str = ""


def known(points: pd.DataFrame, lines: Sequence[Line]) -> None:
    """Raise ValueError unless there are points of every line's method."""
    there = list(dict.fromkeys(points["method"]))
    missing = [line.method for line in lines if line.method not in there]
    if missing:
        raise ValueError(f"no points of method {missing[0]!r}; there are {', '.join(map(repr, there))}")


def panels(
    titles: Sequence[str],
    *,
    width: float,
    height: float,
    ratios: Sequence[float] | None = None,
    sharey: bool = False,
) -> tuple[Figure, list[Axes]]:
    """Panels side by side, their widths in the given ratios."""
    size = (width, height)
    figure, axes = plt.subplots(
        1, len(titles), figsize=size, squeeze=False, width_ratios=ratios, sharey=sharey
    )
    plt.close(figure)  # pyplot would show it a second time at the end of a notebook's cell
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title)
    return figure, list(axes[0])


def grid(columns: Sequence[Sequence[str]], *, width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
    """Columns of panels from the titles in each, of the given width and height; a shorter column ends earlier."""
    rows = max(map(len, columns))
    size = (width * len(columns), height * rows + 0.9)
    figure, axes = plt.subplots(rows, len(columns), figsize=size, squeeze=False)
    plt.close(figure)
    for titles, column in zip(columns, axes.T, strict=True):
        for title, axis in zip(titles, column, strict=False):
            axis.set_title(title)
        for axis in column[len(titles) :]:
            axis.remove()
    return figure, [list(column[: len(titles)]) for titles, column in zip(columns, axes.T, strict=True)]


def legend(figure: Figure, *, ncols: int = 3) -> None:
    """Below all panels, each label once, in the order of LOOK and then of drawing; in fewer columns where too wide."""
    handles: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    methods = [label for label, _, _ in LOOK.values() if label in handles]
    labels = [*methods, *(label for label in handles if label not in methods)]
    for columns in range(ncols, 0, -1):
        drawn = figure.legend(
            [handles[label] for label in labels], labels, loc="outside lower center", ncols=columns
        )
        figure.draw_without_rendering()
        if drawn.get_window_extent().width <= figure.bbox.width or columns == 1:
            break
        drawn.remove()


def band(
    axis: Axes,
    x: Any,
    arm: pd.DataFrame,
    *,
    label: str | None,
    colour: Any,
    marker: str = "",
    line: str = "-",
    linewidth: float = 1.5,
) -> None:
    """Values of `arm` over x as a line, between low and high as a band; of one point alone, a bar."""
    low, high = (arm[name].clip(-1e6, 1e6) for name in ("low", "high"))  # unbounded: beyond every axis
    collection = axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    collection.sticky_edges.y.clear()
    if len(arm) == 1:
        axis.errorbar(
            x, arm["value"], errors(arm.assign(low=low, high=high)), fmt="none", ecolor=colour, alpha=0.4
        )
    axis.plot(
        x, arm["value"], line, color=colour, marker=marker, markersize=5, linewidth=linewidth, label=label
    )


def errors(arm: pd.DataFrame) -> Floats:
    """How far low and high lie below and above the value, as matplotlib wants them."""
    value, low, high = (arm[name].to_numpy(dtype=np.float64) for name in ("value", "low", "high"))
    return np.stack([value - low, high - value]).clip(min=0)


def sparsities(axis: Axes) -> None:
    """Name an x axis of sparsity in percent, and leave room above and below."""
    axis.set_xlabel("sparsity (% of weights removed)")
    axis.margins(y=0.1)


def hollow(axis: Axes, x: Any, y: Any, *, colour: Any, marker: str, label: str | None = None) -> None:
    """What the paper prints."""
    shape: dict[str, Any] = {"marker": marker, "markersize": 8, "markeredgewidth": 1.5, "linestyle": "none"}
    axis.plot(x, y, color=colour, markerfacecolor="white", zorder=4, label=label, **shape)


def heights(names: "pd.Series[str]", groups: "pd.Series[str]") -> dict[str, float]:
    """Where each row of a figure stands, from above, with a gap between groups."""
    changes = (groups != groups.shift()).cumsum() - 1
    places = np.arange(len(names)) + 0.6 * changes.to_numpy()
    return dict(zip(names, places.tolist(), strict=True))


def rows(axes: Sequence[Axes], heights: Mapping[str, float]) -> None:
    """Names of rows at the left of panels that share their y axis, the first on top."""
    axes[0].set_yticks(list(heights.values()), list(heights))
    axes[0].set_ylim(max(heights.values()) + 0.7, -0.7)
    for axis in axes:
        axis.spines["left"].set_visible(False)
        axis.tick_params(axis="y", length=0)


def groups(
    axis: Axes, heights: Mapping[str, float], groups: "pd.Series[str]", colours: Mapping[str, Any]
) -> None:
    """The name of each group of rows, at the right of the last panel."""
    for group, mine in pd.Series(list(heights.values()), index=groups.to_numpy()).groupby(
        level=0, sort=False
    ):
        axis.text(
            1.03, float(mine.mean()), str(group), transform=axis.get_yaxis_transform(), va="center",
            color=colours[str(group)], size=9,
        )  # fmt: skip


def levels(figure: Figure, axis: Axes, heights: Mapping[str, float]) -> None:
    """Horizontal dotted lines, named in the right margin, where no data can lie on the name; call it last."""
    at = np.array(list(heights.values()), dtype=np.float64)
    for height in at:
        axis.axhline(height, color=GREY, linestyle=":", linewidth=1.2)
    figure.draw_without_rendering()
    for name, place in zip(heights, apart(axis, at, size=8), strict=True):
        axis.text(1, place, f" {name}", transform=axis.get_yaxis_transform(), va="center", color=GREY, size=8)


def apart(axis: Axes, heights: Floats, *, size: float, lines: Floats | None = None) -> Floats:
    """Heights for labels of that font size, moved as little as lets each stand clear of the others.

    `lines` counts the lines of each label. The figure must have been laid out.
    """
    if not len(heights):
        return heights
    order = np.argsort(heights, kind="stable")
    room = (np.ones(len(heights)) if lines is None else lines[order]) * 1.35 * size * axis.figure.dpi / 72
    pixels = axis.transData.transform(np.stack([np.ones(len(heights)), heights[order]], axis=1))[:, 1]
    centres = np.cumsum(room) - room / 2
    moved = optimize.isotonic_regression(pixels - centres).x + centres
    placed = np.empty(len(heights))
    placed[order] = axis.transData.inverted().transform(np.stack([np.zeros(len(moved)), moved], axis=1))[:, 1]
    return placed


def beside(figure: Figure, axis: Axes, x: Floats, arm: pd.DataFrame, colours: Sequence[Any]) -> None:
    """The `label` of each point beside it, off the points, their intervals and other labels; call it last.

    Of the places round a point the first free one is taken, and where none is the emptiest.
    """
    figure.draw_without_rendering()
    at, low, high = (
        axis.transData.transform(np.stack([x, arm[k]], axis=1)) for k in ("value", "low", "high")
    )
    taken = [Bbox([centre - 5, centre + 5]) for centre in at]
    side = np.array([2.0, 0.0])
    taken += [Bbox([bottom - side, top + side]) for bottom, top in zip(low, high, strict=True)]
    inside = axis.get_window_extent()
    for centre, place, text, colour in zip(
        at, zip(x, arm["value"], strict=True), arm["label"], colours, strict=True
    ):
        label = axis.annotate(text, place, xytext=(0, 0), textcoords="offset points", color=colour, size=8)
        label.set_in_layout(False)
        extent = label.get_window_extent()
        best = min(_places(centre, *extent.size), key=lambda box: _hidden(box, inside, taken))
        label.set_position(tuple((best.p0 - extent.p0) * 72 / figure.dpi))
        taken.append(best)


def _places(at: Any, width: float, height: float) -> Iterator[Bbox]:
    """Boxes round a point, nearest first: right, left, beside and above, below, above, then farther off."""
    for off in (9, 15, 24, 36):
        for dx, dy in ((1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1)):
            rise = off * (0.5 if dx else 1.0) + height / 2
            centre = (at[0] + dx * (off + width / 2), at[1] + dy * rise)
            yield Bbox.from_bounds(centre[0] - width / 2, centre[1] - height / 2, width, height)


def _hidden(box: Bbox, inside: Bbox, taken: Sequence[Bbox]) -> float:
    """Area of a box that lies on what is taken, or outside."""
    overlaps = (Bbox.intersection(box, other) for other in taken)
    kept = Bbox.intersection(box, inside)
    outside = box.width * box.height - (kept.width * kept.height if kept else 0.0)
    return float(outside + sum(one.width * one.height for one in overlaps if one))
