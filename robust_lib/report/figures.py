"""Figures in one look, from the frame of `compare.points` alone."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

_BLUE, _ORANGE = sns.color_palette("colorblind")[:2]
LOOK = {  # method: label, colour, marker
    "dense": ("dense", "black", "D"),
    "pruned": ("pruned", _BLUE, "o"),
    "control": ("dense control, trained for as many steps", _ORANGE, "s"),
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


def id_ood_figure(points: pd.DataFrame) -> Figure:
    """In-distribution against OOD accuracy, a panel for each task: pruned models and their dense controls.

    Crosses are the intervals, numbers the percent of weights removed (of the pruned model that a control is
    for), the line follows growing sparsity, the dotted one is an even guess among the OOD labels.
    """
    with plt.rc_context(STYLE):
        figure, panels = _panels(points, height=4.3)
        for axis, mine in panels:
            _chance(axis, mine)
            path = mine[mine["method"].isin(["dense", "pruned"])]
            axis.plot(100 * path["id"], 100 * path["ood"], color=LOOK["pruned"][1], linewidth=1, alpha=0.6)
            for method in ("control", "pruned", "dense"):
                _crosses(axis, mine[mine["method"] == method], method)
            axis.set_xlabel("in-distribution accuracy (%)")
            axis.margins(0.08)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
        panels[0][0].set_ylabel("OOD accuracy (%)")
        _legend(figure, panels[0][0])
    return figure


def sparsity_figure(points: pd.DataFrame) -> Figure:
    """Accuracy over sparsity, a panel for each task: in distribution (solid) and OOD (dashed), bands the intervals.

    A dense control stands at the sparsity of the pruned model that was trained as long; the dotted line is
    an even guess among the OOD labels.
    """
    with plt.rc_context(STYLE):
        figure, panels = _panels(points, height=4.0)
        for axis, mine in panels:
            _chance(axis, mine)
            for where, line in (("id", "-"), ("ood", "--")):
                for method in ("control", "pruned"):
                    _band(axis, mine, method, where, line)
                _start(axis, mine[mine["method"] == "dense"], where)
                _name(axis, mine, where)
            axis.set_xlabel("sparsity (% of weights removed)")
            axis.margins(y=0.1)
        panels[0][0].set_ylabel("accuracy (%)")
        _legend(figure, panels[0][0])
    return figure


def _panels(points: pd.DataFrame, *, height: float) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    tasks = list(dict.fromkeys(points["task"]))
    width = 1.0 + 3.9 * max(len(tasks), 1.4)
    figure, axes = plt.subplots(1, len(tasks), figsize=(width, height), squeeze=False)
    plt.close(figure)  # pyplot would show it a second time at the end of a notebook's cell
    panels = []
    for axis, task in zip(axes[0], tasks, strict=True):
        axis.set_title(task.upper())
        panels.append((axis, points[points["task"] == task].sort_values("sparsity")))
    return figure, panels


def _legend(figure: Figure, axis: Axes) -> None:
    handles = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    labels = [label for label, _, _ in LOOK.values() if label in handles]
    figure.legend([handles[label] for label in labels], labels, loc="outside lower center", ncols=3)


def _chance(axis: Axes, mine: pd.DataFrame) -> None:
    """Named in the margin, where no data can lie on the name."""
    height = 100 * float(mine["chance"].iloc[0])
    axis.axhline(height, color="0.35", linestyle=":", linewidth=1.2)
    axis.text(1, height, " chance", transform=axis.get_yaxis_transform(), va="center", color="0.35", size=8)


def _crosses(axis: Axes, arm: pd.DataFrame, method: str) -> None:
    label, colour, marker = LOOK[method]
    x, y = 100 * arm["id"], 100 * arm["ood"]
    axis.errorbar(
        x,
        y,
        xerr=_spans(arm, "id"),
        yerr=_spans(arm, "ood"),
        fmt="none",
        ecolor=colour,
        elinewidth=1,
        alpha=0.4,
    )
    size = 6 if method == "dense" else 13
    axis.plot(
        x, y, marker, color=colour, markersize=size, markeredgecolor="white", markeredgewidth=0.6, label=label
    )
    if method != "dense":  # the sparsity inside the point: beside it, numbers of close points would collide
        for at_x, at_y, sparsity in zip(x, y, arm["sparsity"], strict=True):
            axis.text(at_x, at_y, f"{100 * sparsity:g}", color="white", size=7, ha="center", va="center")


def _spans(arm: pd.DataFrame, where: str) -> NDArray[np.float64]:
    """Percent below and above the value, as matplotlib wants them."""
    value, low, high = (100 * arm[name].to_numpy() for name in (where, f"{where}_low", f"{where}_high"))
    return np.stack([value - low, high - value]).clip(min=0)


def _band(axis: Axes, mine: pd.DataFrame, method: str, where: str, line: str) -> None:
    label, colour, marker = LOOK[method]
    arm = mine[mine["method"].isin([method, "dense"])]
    x, low, high = (100 * arm[name] for name in ("sparsity", f"{where}_low", f"{where}_high"))
    axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    shown = label if where == "id" else None
    axis.plot(x, 100 * arm[where], line, color=colour, marker=marker, markersize=5, label=shown)


def _name(axis: Axes, mine: pd.DataFrame, where: str) -> None:
    """The lines' name, above all they show at the left."""
    left = mine[mine["sparsity"] == mine["sparsity"].min()]
    place = (100 * left["sparsity"].iloc[0], 100 * left[f"{where}_high"].max())
    text = {"id": "in distribution", "ood": "OOD"}[where]
    axis.annotate(text, place, xytext=(0, 4), textcoords="offset points", color="0.25", size=9)


def _start(axis: Axes, dense: pd.DataFrame, where: str) -> None:
    label, colour, marker = LOOK["dense"]
    shown = label if where == "id" else None
    axis.plot(100 * dense["sparsity"], 100 * dense[where], marker, color=colour, label=shown, zorder=3)
