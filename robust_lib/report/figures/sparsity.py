"""What sparsity does: accuracy in and out of distribution, on easy and hard items, with mitigation."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from robust_lib.report.figures import look
from robust_lib.report.figures.look import LOOK


def id_ood_figure(points: pd.DataFrame) -> Figure:
    """In-distribution against OOD accuracy, a panel for each task: pruned models and their dense controls.

    From `compare.points`. Crosses are the intervals, numbers the percent of weights removed (of the pruned model
    that a control is for), the line follows growing sparsity, the dotted one is an even guess among the OOD
    labels.
    """
    with plt.rc_context(look.STYLE):
        figure, axes = _tasks(points, height=4.3)
        for axis, mine in axes:
            path = mine[mine["method"].isin(["dense", "pruned"])]
            axis.plot(100 * path["id"], 100 * path["ood"], color=LOOK["pruned"][1], linewidth=1, alpha=0.6)
            for method in ("control", "pruned", "dense"):
                _crosses(axis, mine[mine["method"] == method], method)
            axis.set_xlabel("in-distribution accuracy (%)")
            axis.margins(0.08)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
        axes[0][0].set_ylabel("OOD accuracy (%)")
        look.legend(figure)
        _chance(figure, axes)
    return figure


def sparsity_figure(points: pd.DataFrame) -> Figure:
    """Accuracy over sparsity, a panel for each task: in distribution (solid) and OOD (dashed), bands the intervals.

    From `compare.points`. A dense control stands at the sparsity of the pruned model that was trained as long;
    the dotted line is an even guess among the OOD labels.
    """
    with plt.rc_context(look.STYLE):
        figure, axes = _tasks(points, height=4.0)
        for axis, mine in axes:
            for where, line in (("id", "-"), ("ood", "--")):
                arms = _percent(mine, where)
                for method in ("control", "pruned"):
                    _path(axis, arms, method, line=line)
                _start(axis, arms)
            look.sparsities(axis)
        axes[0][0].set_ylabel("accuracy (%)")
        look.legend(figure)
        _chance(figure, axes)
        for axis, mine in axes:
            named = {"in distribution": _percent(mine, "id"), "OOD": _percent(mine, "ood")}
            _names(figure, axis, named)
    return figure


def easy_hard_figure(points: pd.DataFrame, *, printed: pd.DataFrame | None = None) -> Figure:
    """Figure 1 of paper 1: accuracy on easy and on hard items over sparsity, and the gap between the two.

    Columns of `points`: method (dense, pruned, control), sparsity (share removed), quantity (easy, hard: percent;
    gap = easy - hard: percentage points), value, low, high. The dense control is dashed. `printed` is
    `published.table(1, "Figure 1")`, whose gaps stand as hollow markers.
    """
    with plt.rc_context(look.STYLE):
        titles = ["Accuracy", "Gap, easy − hard"]
        figure, (left, right) = look.panels(titles, width=9.2, height=4.2, ratios=[1.7, 1])
        for quantity, axis in (("easy", left), ("hard", left), ("gap", right)):
            arms = points[points["quantity"] == quantity].sort_values("sparsity")
            for method, line in (("control", "--"), ("pruned", "-")):
                _path(axis, arms, method, line=line)
            _start(axis, arms)
        if printed is not None:
            gaps = printed[printed["metric"] == "easy_hard_gap"]
            sparsity = gaps["row"].str.removeprefix("sparsity ").astype(float)
            look.hollow(
                right, 100 * sparsity, gaps["printed"], colour="black", marker="o", label="paper (BERT-base)"
            )
        for axis, unit in ((left, "accuracy (%)"), (right, "percentage points")):
            look.sparsities(axis)
            axis.set_ylabel(unit)
        right.set_ylim(bottom=min(0.0, right.get_ylim()[0]))
        look.legend(figure, ncols=4)
        _names(
            figure, left, {f"{name} items": points[points["quantity"] == name] for name in ("easy", "hard")}
        )
    return figure


def mitigation_figure(
    points: pd.DataFrame, *, printed: pd.DataFrame | None = None, chance: float | None = None
) -> Figure:
    """Figure 3 of paper 1: RMC against Vanilla over sparsity on MNLI, accuracy on HANS and F_bias.

    Columns of `points`: method (vanilla, rmc, control; dense at sparsity 0 if given), sparsity (share removed),
    quantity (ood: percent; f_bias: ratio), value, low, high; a limit may be infinite. `printed` is
    `published.table(1, "Table 4")`, whose points stand hollow; `chance` is the HANS accuracy of guessing, in
    percent. Bands that leave the right panel are unbounded, or far wider than what it shows.
    """
    with plt.rc_context(look.STYLE):
        figure, (left, right) = look.panels(["HANS", "Relative bias"], width=9.2, height=4.2)
        for quantity, axis in (("ood", left), ("f_bias", right)):
            arms = points[points["quantity"] == quantity].sort_values("sparsity")
            _path(axis, arms, "control", line="-", linewidth=0.8)
            for method in ("vanilla", "rmc"):
                _path(axis, arms, method, line="-")
            _start(axis, arms)
            look.sparsities(axis)
        if printed is not None:
            _printed_mitigation(left, printed, "accuracy", "hans/validation")
            _printed_mitigation(right, printed, "relative_bias", "")
            look.hollow(left, [], [], colour=look.GREY, marker="o", label="paper (BERT-base)")
        left.set_ylabel("HANS accuracy (%)")
        right.set_ylabel("F$_\\mathrm{bias}$ against the dense model (ratio)")
        _within(right, points[points["quantity"] == "f_bias"])
        look.legend(figure, ncols=4)
        look.levels(figure, left, {} if chance is None else {"chance": chance})
        look.levels(figure, right, {"dense": 1.0})
    return figure


def _tasks(points: pd.DataFrame, *, height: float) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    tasks = list(dict.fromkeys(points["task"]))
    width = 1.0 + 3.9 * max(len(tasks), 1.4)
    figure, axes = look.panels([task.upper() for task in tasks], width=width, height=height)
    mine = (points[points["task"] == task].sort_values("sparsity") for task in tasks)
    return figure, list(zip(axes, mine, strict=True))


def _percent(points: pd.DataFrame, where: str) -> pd.DataFrame:
    """Shares of `compare.points` as value, low and high in percent."""
    limits = {name: 100 * points[f"{where}_{name}"] for name in ("low", "high")}
    return points[["method", "sparsity"]].assign(value=100 * points[where], **limits)


def _chance(figure: Figure, axes: list[tuple[Axes, pd.DataFrame]]) -> None:
    for axis, mine in axes:
        look.levels(figure, axis, {"chance": 100 * float(mine["chance"].iloc[0])})


def _crosses(axis: Axes, arm: pd.DataFrame, method: str) -> None:
    label, colour, marker = LOOK[method]
    x, y = _percent(arm, "id"), _percent(arm, "ood")
    spans: dict[str, Any] = {"xerr": look.errors(x), "yerr": look.errors(y)}
    axis.errorbar(x["value"], y["value"], fmt="none", ecolor=colour, elinewidth=1, alpha=0.4, **spans)
    size = 6 if method == "dense" else 13
    edge: dict[str, Any] = {"markersize": size, "markeredgecolor": "white", "markeredgewidth": 0.6}
    axis.plot(x["value"], y["value"], marker, color=colour, label=label, **edge)
    if method != "dense":  # the sparsity inside the point: beside it, numbers of close points would collide
        for at_x, at_y, sparsity in zip(x["value"], y["value"], arm["sparsity"], strict=True):
            axis.text(at_x, at_y, f"{100 * sparsity:g}", color="white", size=7, ha="center", va="center")


def _path(axis: Axes, arms: pd.DataFrame, method: str, *, line: str, linewidth: float = 1.5) -> None:
    """A method over sparsity, from the dense model on; nothing where it was not measured."""
    if not (arms["method"] == method).any():
        return
    label, colour, marker = LOOK[method]
    arm = arms[arms["method"].isin([method, "dense"])]
    x = 100 * arm["sparsity"]
    look.band(axis, x, arm, label=label, colour=colour, marker=marker, line=line, linewidth=linewidth)


def _start(axis: Axes, arms: pd.DataFrame) -> None:
    label, colour, marker = LOOK["dense"]
    dense = arms[arms["method"] == "dense"]
    if len(dense):
        axis.plot(100 * dense["sparsity"], dense["value"], marker, color=colour, label=label, zorder=3)


def _names(figure: Figure, axis: Axes, arms: Mapping[str, pd.DataFrame]) -> None:
    """Each line's name above its left end; call it last."""
    figure.draw_without_rendering()
    left = {name: arm[arm["sparsity"] == arm["sparsity"].min()] for name, arm in arms.items() if len(arm)}
    heights = np.array([arm["value"].max() for arm in left.values()], dtype=np.float64)
    for (name, arm), height in zip(left.items(), look.apart(axis, heights, size=9), strict=True):
        place = (100 * arm["sparsity"].iloc[0], height)
        halo = [withStroke(linewidth=2, foreground="white")]
        axis.annotate(
            name, place, xytext=(5, 6), textcoords="offset points", color="0.25", size=9, path_effects=halo
        )


def _printed_mitigation(axis: Axes, printed: pd.DataFrame, metric: str, testbed: str) -> None:
    """Rows such as "40% – RMC", of MNLI."""
    mine = printed[
        (printed["metric"] == metric)
        & (printed["testbed"] == testbed)
        & printed["column"].str.startswith("MNLI")
    ]
    for sparsity, name, value in zip(
        mine["row"].str.extract(r"^(\d+)%")[0],
        mine["row"].str.split().str[-1].str.lower(),
        mine["printed"],
        strict=True,
    ):
        if name in ("vanilla", "rmc"):
            _, colour, marker = LOOK[name]
            look.hollow(axis, float(sparsity), value, colour=colour, marker=marker)


def _within(axis: Axes, arms: pd.DataFrame) -> None:
    """Limit a panel to the values, and to intervals no farther off than those are from each other and from 1."""
    drawn = [value for line in axis.lines for value in np.asarray(line.get_ydata(), dtype=float)]
    values = np.array([1.0, *drawn])
    low, high = np.nanmin(values), np.nanmax(values)
    room = max(high - low, 0.25)
    ends = np.nanmin([*arms["low"], low]), np.nanmax([*arms["high"], high])
    axis.set_ylim(max(ends[0], low - room) - 0.05 * room, min(ends[1], high + room) + 0.05 * room)
