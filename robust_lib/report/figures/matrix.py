"""The matrix of methods by measures as one picture, and what each robustness costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FormatStrFormatter
from scipy.cluster import hierarchy

from robust_lib.report.figures import look

COLOURS = "PuOr"  # orange: worse than the control, purple: better; told apart by colour-blind eyes
LARGEST = 2.5  # standard deviations, at the ends of the colours
TREE: dict[str, Any] = {"color": look.GREY, "linewidth": 0.8}
PALETTE = ("0.45", look.BLUE, look.GREEN, look.RED, look.PURPLE, look.SKY, look.ORANGE, "black", look.BROWN)


def matrix_figure(frame: pd.DataFrame, families: Sequence[str]) -> Figure:
    """A clustered heat map: methods are rows, measures columns, a cell how much better a method is than the control.

    Columns of `frame`: method, family, measure, value, low, high (standard deviations of methods, better upwards) and
    told, as `compare.standardised` makes them. Rows and columns that are alike stand together (average linkage of
    Euclidean distances, for rows, and of 1 - correlation, for columns; what is not measured counts as 0). A cell that
    cannot be told from the control is hatched; one that is not measured is empty. Names have the colour of
    their family, of `families`.
    """
    names = list(dict.fromkeys(frame["measure"]))
    values = frame.pivot(index="method", columns="measure", values="value")[names]
    told = frame.pivot(index="method", columns="measure", values="told").reindex_like(values)
    rows, columns = _tree(values, "euclidean"), _tree(values.T, "correlation")
    order, across = hierarchy.leaves_list(rows), hierarchy.leaves_list(columns)
    values, told = values.iloc[order, across], told.iloc[order, across]
    colours = _colours(frame, families)
    with plt.rc_context(look.STYLE | {"axes.grid": False}):
        height = 3.4 + 0.235 * len(values)
        figure = plt.figure(figsize=(4.8 + 0.56 * values.shape[1], height))
        plt.close(figure)
        axes = figure.subplots(2, 2, width_ratios=(1, 0.62 * values.shape[1]), height_ratios=(1, height))
        axes[0, 0].remove()
        _draw_tree(axes[0, 1], columns, "top")
        _draw_tree(axes[1, 0], rows, "left")
        image = _cells(axes[1, 1], values, told)
        of_method = frame.drop_duplicates("method").set_index("method")["family"]
        for label in axes[1, 1].get_yticklabels():
            label.set_color(colours[of_method[label.get_text()]])
        bar = figure.colorbar(image, ax=axes[:, 1], location="bottom", shrink=0.6, aspect=40, pad=0.01)
        bar.set_label(
            "worse than a second training of the teacher  ←  standard deviations of methods  →  better"
        )
        bar.outline.set_visible(False)
        handles = [Patch(facecolor=colour, label=family) for family, colour in colours.items()]
        handles.append(Patch(facecolor="white", edgecolor="0.5", hatch="/////", label="not told apart"))
        figure.legend(handles=handles, loc="outside lower center", ncols=5)
    return figure


def pareto_figure(frame: pd.DataFrame, cost: str, families: Sequence[str]) -> Figure:
    """What each robustness costs: a panel for each measure, a point for each method, the front linked and named.

    Columns of `frame`: measure, method, family, cost (on a log axis that is named by `cost`), value, low, high, better
    (1 where more is better, else -1) and front (whether no other method is as good in both and better in one). Axes of
    measures of which less is better are turned: up is better everywhere. Bars are 95 % intervals. Colours go by
    `families`.
    """
    names, colours = list(dict.fromkeys(frame["measure"])), _colours(frame, families)
    columns = [names[at::3] for at in range(min(3, len(names)))]
    with plt.rc_context(look.STYLE):
        figure, panels = look.grid(columns, width=4.6, height=3.6)
        for titles, axes in zip(columns, panels, strict=True):
            for name, axis in zip(titles, axes, strict=True):
                _points(axis, frame[frame["measure"] == name].sort_values("cost"), colours)
                axis.set_xlabel(cost)
        for family, colour in colours.items():
            panels[0][0].plot([], [], "o", color=colour, label=family)
        panels[0][0].plot(
            [], [], "-", color=look.GREY, label="no method is as good in both, and better in one"
        )
        look.legend(figure, ncols=5)
        for titles, axes in zip(columns, panels, strict=True):
            for name, axis in zip(titles, axes, strict=True):
                front = frame[(frame["measure"] == name) & frame["front"]].assign(
                    label=lambda one: one["method"]
                )
                inks = [colours[family] for family in front["family"]]
                look.beside(figure, axis, front["cost"].to_numpy(), front.reset_index(drop=True), inks)
    return figure


def _colours(frame: pd.DataFrame, families: Sequence[str]) -> dict[str, Any]:
    """A colour for each family there is, the same in every figure of the same `families`."""
    there, palette = set(frame["family"]), [*PALETTE, *(colour for colour, _ in look.SERIES)]
    return {name: colour for name, colour in zip(families, palette, strict=False) if name in there}


def _tree(values: pd.DataFrame, metric: str) -> Any:
    """Rows that are alike, joined; a row that is the same everywhere is like none."""
    filled = values.fillna(0).to_numpy(dtype=np.float64)
    if metric == "correlation":
        filled = filled + 1e-9 * np.arange(filled.shape[1])
    return hierarchy.linkage(filled, method="average", metric=metric, optimal_ordering=True)


def _draw_tree(axis: Axes, tree: Any, side: str) -> None:
    drawn = hierarchy.dendrogram(tree, no_plot=True)
    for places, heights in zip(drawn["icoord"], drawn["dcoord"], strict=True):
        along = np.asarray(places) / 10 - 0.5
        axis.plot(along, heights, **TREE) if side == "top" else axis.plot(heights, along, **TREE)
    leaves = (-0.5, len(drawn["leaves"]) - 0.5)
    if side == "top":
        axis.set_xlim(*leaves)
    else:
        axis.set_ylim(*reversed(leaves))
        axis.invert_xaxis()
    axis.set_axis_off()


def _cells(axis: Axes, values: pd.DataFrame, told: pd.DataFrame) -> Any:
    image = axis.imshow(values.to_numpy(), vmin=-LARGEST, vmax=LARGEST, cmap=COLOURS, aspect="auto")
    for (row, column), value in np.ndenumerate(values.to_numpy()):
        if np.isnan(value):
            continue
        if not told.iat[row, column]:
            corner = column - 0.5, row - 0.5
            axis.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="0.6", hatch="/////", linewidth=0))
        fill = image.cmap(image.norm(value))
        dark = np.dot(fill[:3], (0.299, 0.587, 0.114)) < 0.5
        box = {"facecolor": fill, "edgecolor": "none", "pad": 0.6}
        axis.text(
            column, row, f"{round(value, 1) + 0.0:+.1f}".replace("-", "−"), bbox=box, size=6.5,
            ha="center", va="center", color="white" if dark else "black",
        )  # fmt: skip
    axis.set_xticks(range(values.shape[1]), values.columns, rotation=40, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(values)), values.index)
    axis.yaxis.tick_right()
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return image


def _points(axis: Axes, points: pd.DataFrame, colours: Mapping[str, Any]) -> None:
    front = points[points["front"]]
    axis.plot(front["cost"], front["value"], "-", color=look.GREY, linewidth=1.2)
    for one in points.to_dict("records"):
        colour, limits = colours[one["family"]], (one["low"], one["high"])
        axis.vlines(one["cost"], *np.clip(limits, -1e6, 1e6), color=colour, linewidth=1, alpha=0.35)
        face = colour if one["front"] else "white"
        axis.plot(one["cost"], one["value"], "o", color=colour, markerfacecolor=face, markersize=5)
    bottom, top = points["value"].min(), points["value"].max()
    reach = top - bottom or 1.0  # an unbounded interval goes so far beyond
    low, high = points["low"].clip(lower=bottom - reach).min(), points["high"].clip(upper=top + reach).max()
    axis.set_ylim(low, high)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    if points["better"].iloc[0] < 0:
        axis.invert_yaxis()
