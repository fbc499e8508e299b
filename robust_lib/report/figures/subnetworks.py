"""The figures of paper 4: subnetworks over sparsities, mask training from varied starts, and its length."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FormatStrFormatter

from robust_lib.report.figures import look
from robust_lib.report.figures.look import Line

MEASURES = {"accuracy": "accuracy (%)", "f1": "F1 (%)"}
UNREAD = {"accuracy": "chance", "f1": "all duplicate"}  # how a reader is told the baseline


def subnetwork_figure(
    points: pd.DataFrame,
    *,
    lines: Sequence[Line],
    full: Sequence[Line] = (),
    controls: Sequence[Line] = (),
    beds: Mapping[str, str] | None = None,
) -> Figure:
    """Figures 2 to 6 of paper 4: each task a column, the in-distribution test bed above its OOD sets.

    `points` is `compare.by_testbed`. `lines` are methods over sparsity, `full` the models they were cut from, which
    stand as dashed horizontal lines, `controls` dense models: at sparsity 0 a thin horizontal line, else thin lines at
    the sparsity of the subnetwork that was trained as long. Bands are standard deviations over seeds as in the paper,
    thin bars 95 % intervals; what was trained once has no band. Lines stand a little beside each other, and the bars of
    full models left of all. Dotted: an even guess among the labels (accuracy out of distribution), or calling all
    duplicate (F1). `beds` are readable names of test beds.

    Raises ValueError for a method without points.
    """
    percent = _percent(points).assign(x=100 * points["sparsity"])
    figure, panels = _figure(percent, lines=lines, full=full, controls=controls, beds=beds or {})
    for axis in panels:
        axis.set_xlabel("sparsity (% of weights removed)")
    return figure


def lengths_figure(
    points: pd.DataFrame,
    *,
    lines: Sequence[Line] = (Line("fixed", "fixed"), Line("gradual", "gradual")),
    full: Sequence[Line] = (),
    controls: Sequence[Line] = (),
    beds: Mapping[str, str] | None = None,
) -> Figure:
    """Figure 8 of paper 4: fixed sparsity against its gradual increase, over the epochs of mask training.

    `points` is `compare.by_testbed` of one sparsity with a column `epochs`, and with the method named after how it
    gets to the sparsity. Layout and all else as in `subnetwork_figure`.
    """
    percent = _percent(points).assign(x=points["epochs"])
    figure, panels = _figure(percent, lines=lines, full=full, controls=controls, beds=beds or {})
    for axis in panels:
        axis.set_xlabel("epochs of mask training")
    return figure


def curves_figure(courses: pd.DataFrame, *, beds: Mapping[str, str] | None = None) -> Figure:
    """Figure 7 of paper 4: accuracy in the course of mask training, a panel for each test bed.

    Columns of `courses`: measure (accuracy or f1), testbed, start (label of the fine-tuning that the mask is trained
    on), step (of mask training), value (a share), seed. Test beds and starts in their order of appearance; later
    starts are darker. Lines are means over seeds, bands their standard deviation.
    """
    with plt.rc_context(look.STYLE):
        testbeds, starts = (list(dict.fromkeys(courses[name])) for name in ("testbed", "start"))
        figure, [panels] = look.grid(
            [[(beds or {}).get(bed, bed) for bed in testbeds]], width=6.4, height=2.8
        )
        colours = plt.get_cmap("viridis")(np.linspace(0.85, 0, len(starts)))
        for axis, testbed in zip(panels, testbeds, strict=True):
            for place, (start, colour) in enumerate(zip(starts, colours, strict=True)):
                mine = courses[(courses["testbed"] == testbed) & (courses["start"] == start)]
                course = (100 * mine.groupby("step")["value"].agg(["mean", "std"])).reset_index()
                course = course.rename(columns={"step": "x", "mean": "value", "std": "sd"})
                marker = look.SERIES[place % len(look.SERIES)][1]
                _spread(axis, course, colour)
                axis.plot(
                    course["x"], course["value"], color=colour, marker=marker, markersize=4, label=start
                )
            axis.set_ylabel(MEASURES[courses["measure"].iloc[0]])
            axis.margins(x=0.02, y=0.08)
        panels[-1].set_xlabel("steps of mask training")
        _explain(panels[0], bands=bool(courses["seed"].nunique() > 1), bars=False)
        look.legend(figure, ncols=3)
    return figure


def _percent(points: pd.DataFrame) -> pd.DataFrame:
    """Shares as percent."""
    shares = ["value", "low", "high", "sd", "baseline"]
    return points.assign(**{name: 100 * points[name] for name in shares})


def _figure(
    points: pd.DataFrame,
    *,
    lines: Sequence[Line],
    full: Sequence[Line],
    controls: Sequence[Line],
    beds: Mapping[str, str],
) -> tuple[Figure, list[Axes]]:
    """Columns of tasks, rows of test beds, and the lowest panel of each column."""
    look.known(points, (*lines, *full, *controls))
    tasks = list(dict.fromkeys(points["task"]))
    columns = {task: list(dict.fromkeys(points["testbed"][points["task"] == task])) for task in tasks}
    titles = [[beds.get(bed, bed) for bed in column] for column in columns.values()]
    width = 3.8 if len(tasks) > 1 else 5.6
    with plt.rc_context(look.STYLE):
        figure, axes = look.grid(titles, width=width, height=2.8)
        ticks = np.unique(points["x"][points["method"].isin([line.method for line in lines])])
        for panels, (task, column) in zip(axes, columns.items(), strict=True):
            for axis, bed in zip(panels, column, strict=True):
                mine = points[(points["task"] == task) & (points["testbed"] == bed)]
                _panel(axis, mine.sort_values("x"), ticks, lines, full, controls)
        _explain(axes[0][0], bands=bool((points["seeds"] > 1).any()), bars=True)
        look.legend(figure, ncols=max(2, len(tasks)))
        for axis, heights in _baselines(axes, columns, points):
            look.levels(figure, axis, heights)
    return figure, [panels[-1] for panels in axes]


def _panel(
    axis: Axes,
    mine: pd.DataFrame,
    ticks: look.Floats,
    lines: Sequence[Line],
    full: Sequence[Line],
    controls: Sequence[Line],
) -> None:
    span = float(np.ptp(ticks)) or 10.0
    left = ticks[0] - 0.05 * span
    for place, line in enumerate(full):
        colour, dashes = look.LEVELS[place % len(look.LEVELS)]
        _level(axis, mine[mine["method"] == line.method], line, left - 0.02 * span * place, colour, dashes)
    for place, line in enumerate(controls, start=len(full)):
        _control(axis, mine[mine["method"] == line.method], line, ticks, left - 0.02 * span * place)
    for place, line in enumerate(lines):
        colour, marker = look.SERIES[place % len(look.SERIES)]
        colour, marker = line.colour or colour, line.marker or marker
        arm = mine[mine["method"] == line.method]
        arm = arm.assign(x=arm["x"] + 0.012 * span * (place - (len(lines) - 1) / 2))
        _spread(axis, arm, colour)
        _bars(axis, arm["x"], arm, colour)
        axis.plot(arm["x"], arm["value"], color=colour, marker=marker, markersize=5, label=line.name)
    axis.xaxis.set_major_locator(FixedLocator(ticks.tolist()))
    axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_xlim(left - 0.02 * span * (len(full) + len(controls) + 1), ticks[-1] + 0.05 * span)
    axis.margins(y=0.08)
    axis.set_ylabel(MEASURES[mine["measure"].iloc[0]])


def _level(axis: Axes, arm: pd.DataFrame, line: Line, left: float, colour: Any, dashes: Any) -> None:
    """A full model: one value, from edge to edge."""
    for one in arm.head(1).to_dict("records"):
        colour = line.colour or colour
        if one["sd"] > 0:
            axis.axhspan(
                one["value"] - one["sd"], one["value"] + one["sd"], color=colour, alpha=0.08, linewidth=0
            )
        axis.axhline(one["value"], color=colour, linestyle=dashes, linewidth=1.3, label=line.name)
        _bars(axis, [left], arm.head(1), colour)


def _control(axis: Axes, arm: pd.DataFrame, line: Line, ticks: look.Floats, left: float) -> None:
    """Thin: a level of a control at sparsity 0, else a line."""
    style: dict[str, Any] = {"color": line.colour or look.GREY, "linewidth": 0.8, "label": line.name}
    if len(arm) == 1 and not np.isin(arm["x"], ticks).any():
        axis.axhline(arm["value"].iloc[0], **style)
        _bars(axis, [left], arm, style["color"])
    elif len(arm):
        face: dict[str, Any] = {"marker": line.marker or "s", "markersize": 4, "markerfacecolor": "white"}
        _bars(axis, arm["x"], arm, style["color"])
        axis.plot(arm["x"], arm["value"], **style, **face)


def _spread(axis: Axes, arm: pd.DataFrame, colour: Any) -> None:
    """A standard deviation to either side, where there is one."""
    known = arm.dropna(subset="sd")
    low, high = ((known["value"] + sign * known["sd"]).clip(0, 100) for sign in (-1, 1))
    axis.fill_between(known["x"], low, high, color=colour, alpha=0.13, linewidth=0)


def _bars(axis: Axes, x: Any, arm: pd.DataFrame, colour: Any) -> None:
    axis.errorbar(x, arm["value"], look.errors(arm), fmt="none", ecolor=colour, elinewidth=0.8, alpha=0.6)


def _explain(axis: Axes, *, bands: bool, bars: bool) -> None:
    """What bands and bars are, for the legend."""
    if bands:
        axis.plot([], [], color=look.GREY, linewidth=8, alpha=0.2, label="± standard deviation over seeds")
    if bars:
        axis.plot([], [], "|", color=look.GREY, markersize=11, label="95 % interval")


def _baselines(
    axes: Sequence[Sequence[Axes]], columns: Mapping[str, Sequence[str]], points: pd.DataFrame
) -> list[tuple[Axes, dict[str, float]]]:
    """What answers that read nothing reach, by panel; not for accuracy in distribution, which is far above."""
    found = []
    for panels, (task, column) in zip(axes, columns.items(), strict=True):
        for axis, bed in zip(panels, column, strict=True):
            one = points[(points["task"] == task) & (points["testbed"] == bed)].iloc[0]
            if one["measure"] == "f1" or one["where"] == "ood":
                found.append((axis, {UNREAD[one["measure"]]: float(one["baseline"])}))
    return found
