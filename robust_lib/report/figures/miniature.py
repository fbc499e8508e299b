"""The figures of paper 2: agreement over K, agreement of all pairs, accuracy under attack."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FormatStrFormatter, MaxNLocator, NullLocator

from robust_lib.report.figures import look
from robust_lib.report.miniature import SPELLINGS

CONTROL = "another seed"  # ends the name of a model, and of a pair, that is the control
CHARACTERISTICS = {  # of paper 2: title of their panel
    "errors": "Prediction errors",
    "before": "Data representation\nbefore fine-tuning",
    "after": "Data representation\nafter fine-tuning",
    "distribution": "Data distribution",
}
PANELS = {  # of Figure 1
    name: f"{letter}  {CHARACTERISTICS[name]}"
    for letter, name in zip("abc", ("before", "after", "distribution"), strict=True)
}
GROUPS = {  # of pairs
    "with the\noriginal": look.BLUE,
    "among the\ncompressed": look.ORANGE,
    "control": "black",
}
BEFORE, AFTER = look.BLUE, look.RED


def neighbour_figure(frame: pd.DataFrame) -> Figure:
    """Figure 1 of paper 2: agreement of each compressed model with the original over the number of neighbours.

    Columns: panel (before, after: neighbours of the representation; distribution: points called OOD), model, k, value,
    low, high (Jaccard coefficients), chance (that of two unrelated models), n (points), seeds. The control, the
    original trained again, is the model whose name ends with "another seed". Dotted is chance, the mean over the
    models. Raises ValueError for an unknown panel.
    """
    shown = _shown("panel", frame["panel"], PANELS)
    with plt.rc_context(look.STYLE):
        titles = [PANELS[name] for name in shown]
        figure, axes = look.panels(titles, width=1.0 + 3.7 * max(len(shown), 1.4), height=4.4, sharey=True)
        series = _series(frame["model"])
        for axis, name in zip(axes, shown, strict=True):
            mine = frame[frame["panel"] == name].sort_values("k")
            for model, arm in mine.groupby("model", sort=False):
                _curve(axis, arm, str(model), *series[str(model)])
            _chance(axis, mine)
            _numbers(axis, mine["k"])
        axes[0].set_ylabel("agreement with the original (Jaccard)")
        axes[0].set_ylim(bottom=0)
        axes[-1].plot([], [], ":", color=look.GREY, label="two unrelated models")
        look.legend(figure, ncols=4)
    return figure


def pairs_figure(frame: pd.DataFrame) -> Figure:
    """Table 2 of paper 2 as a figure: a panel for each characteristic, a row for each pair of models.

    Columns: characteristic (errors, before, after, distribution), pair ("BERT-large / BERT-base"), value, low, high
    (Jaccard coefficients with their 95 % intervals); and, NaN where there is none, chance (that of two unrelated
    models with sets of these sizes, a tick), bound (the largest that sets of these sizes can reach, a bracket),
    printed (the paper's, hollow), control_low and control_high (the interval of two trainings of one model, shaded).

    Pairs stand in order of appearance, those with the original, which is the first pair's first, on top; a pair of
    the control ends with "another seed". Raises ValueError for an unknown characteristic.
    """
    shown = _shown("characteristic", frame["characteristic"], CHARACTERISTICS)
    rows = pd.DataFrame({"pair": frame["pair"].unique()})
    rows["group"] = _groups(rows["pair"])
    rows = rows.sort_values("group", key=lambda group: group.map(list(GROUPS).index), kind="stable")
    heights = look.heights(rows["pair"], rows["group"])
    colours = dict(zip(rows["pair"], rows["group"].map(GROUPS), strict=True))
    with plt.rc_context(look.STYLE):
        figure, axes = look.panels(
            [CHARACTERISTICS[name] for name in shown],
            width=3.8 + 2.4 * len(shown),
            height=1.7 + 0.26 * (max(heights.values()) + 1),
            sharey=True,
        )
        for axis, name in zip(axes, shown, strict=True):
            mine = frame[frame["characteristic"] == name].reset_index(drop=True)
            for one in mine.to_dict("records"):
                _pair(axis, one, heights[one["pair"]], colours[one["pair"]])
            axis.set_xlabel("Jaccard coefficient")
            axis.set_xlim(left=-0.03 * axis.get_xlim()[1])
            axis.xaxis.set_major_locator(MaxNLocator(4))
            axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        look.rows(axes, heights)
        look.groups(axes[-1], heights, rows["group"], GROUPS)
        _explain(axes[0], frame)
        look.legend(figure, ncols=5)
    return figure


def robustness_under_attack_figure(frame: pd.DataFrame) -> Figure:
    """Table 3 of paper 2 as a figure: a row for each model, its accuracy before and after the attack, joined.

    Columns: model, before, before_low, before_high, after, after_low, after_high: shares of the texts with their 95 %
    intervals; and, NaN where there is none, printed_before and printed_after (the paper's, hollow, below ours).
    In the margin stands the change in percent of the accuracy before, ours and the paper's.
    """
    heights = dict(zip(frame["model"], np.arange(len(frame), dtype=float).tolist(), strict=True))
    with plt.rc_context(look.STYLE):
        figure, (axis,) = look.panels(
            ["Accuracy before and after the attack"], width=8.4, height=1.6 + 0.46 * len(frame)
        )
        for one in frame.to_dict("records"):
            _dumbbell(axis, one, heights[one["model"]])
        axis.set_xlim(-2, 102)
        axis.set_xlabel("accuracy (% of the texts)")
        look.rows([axis], heights)
        for colour, label in ((BEFORE, "before"), (AFTER, "after the attack")):
            axis.plot([], [], "o-", color=colour, markersize=6, label=f"{label}, 95 % interval")
        if "printed_before" in frame and frame["printed_before"].notna().any():
            look.hollow(axis, [], [], colour=look.GREY, marker="D", label="paper")
        look.legend(figure, ncols=3)
    return figure


def _shown(what: str, given: "pd.Series[str]", names: Mapping[str, str]) -> list[str]:
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(f"unknown {what} {unknown[0]!r}; there are {', '.join(names)}")
    return [name for name in names if (given == name).any()]


# -- over K ----------------------------------------------------------------------------------------------------


def _series(models: "pd.Series[str]") -> dict[str, tuple[Any, str]]:
    """Colour and marker of each model: the paper's models have theirs in every figure, others come behind."""
    compressed = [name for name in [*SPELLINGS, *models.unique()][1:] if not name.endswith(CONTROL)]
    named = dict(zip(dict.fromkeys(compressed), look.SERIES * len(models), strict=False))
    return {name: named.get(name, ("black", "")) for name in models.unique()}


def _curve(axis: Axes, arm: pd.DataFrame, model: str, colour: Any, marker: str) -> None:
    """A line with a bar at each K, and for the control a band: six bands hide each other."""
    arm = arm.dropna(subset="value")  # two empty sets have no agreement
    arm = arm.assign(low=arm["low"].clip(lower=0), high=arm["high"].clip(upper=1))
    if model.endswith(CONTROL):
        look.band(axis, arm["k"], arm, label=model, colour=colour, marker=marker, line="--")
        return
    axis.plot(arm["k"], arm["value"], color=colour, marker=marker, markersize=5, label=model)
    axis.vlines(arm["k"], arm["low"], arm["high"], color=colour, linewidth=1.2, alpha=0.5)


def _chance(axis: Axes, mine: pd.DataFrame) -> None:
    """One dotted line, the mean over the models where they do not share it."""
    levels = mine.groupby("k")["chance"].mean().dropna()
    axis.plot(levels.index, levels, ":", color=look.GREY, linewidth=1.5)


def _numbers(axis: Axes, ks: "pd.Series[int]") -> None:
    """A log axis with a tick at each K."""
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(sorted(set(ks))))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_xlabel("K (nearest neighbours)")


# -- pairs -----------------------------------------------------------------------------------------------------


def _groups(pairs: "pd.Series[str]") -> list[str]:
    original = pairs.iloc[0].partition(" / ")[0]
    with_it, among, control = GROUPS

    def group(pair: str) -> str:
        if pair.endswith(CONTROL):
            return control
        return with_it if original in pair.split(" / ") else among

    return [group(pair) for pair in pairs]


def _pair(axis: Axes, one: dict[Any, Any], height: float, colour: Any) -> None:
    known = {name for name, value in one.items() if not pd.isna(value)}
    if {"control_low", "control_high"} <= known:
        low, high = np.clip([one["control_low"], one["control_high"]], 0, 1)
        axis.fill_betweenx([height - 0.5, height + 0.5], low, high, color="black", alpha=0.1, linewidth=0)
    if pd.isna(one["value"]):  # two empty sets have no agreement
        return
    limits = [np.clip(one[name], 0, 1) for name in ("low", "high")]  # of one item they are infinite
    axis.plot(limits, [height, height], color=colour, linewidth=1.6, alpha=0.7, zorder=5)
    axis.plot([one["value"]], [height], "o", color=colour, markersize=5, zorder=6)
    if "chance" in known:
        axis.plot([one["chance"]], [height], "|", color=look.GREY, markersize=10, markeredgewidth=1.8)
    if "bound" in known:
        axis.plot(
            [one["bound"]],
            [height],
            color=look.GREY,
            marker="$]$",
            linestyle="none",
            markersize=9,
            markeredgewidth=0.4,
        )
    if "printed" in known:
        look.hollow(axis, [one["printed"]], [height], colour=colour, marker="D")


def _explain(axis: Axes, frame: pd.DataFrame) -> None:
    """What the marks are, in grey."""
    there = {name for name in frame if frame[name].notna().any()}
    axis.plot([], [], "o-", color=look.GREY, markersize=5, label="ours, 95 % interval")
    if "control_low" in there:
        axis.fill_between([], [], color="black", alpha=0.1, label="two trainings of a model, at these sizes")
    if "chance" in there:
        axis.plot(
            [], [], "|", color=look.GREY, markersize=10, markeredgewidth=1.8, label="two unrelated models"
        )
    if "bound" in there:
        axis.plot(
            [],
            [],
            color=look.GREY,
            marker="$]$",
            linestyle="none",
            markersize=9,
            label="largest for these sizes",
        )
    if "printed" in there:
        look.hollow(axis, [], [], colour=look.GREY, marker="D", label="paper")


# -- attack ----------------------------------------------------------------------------------------------------


def _dumbbell(axis: Axes, one: dict[Any, Any], height: float) -> None:
    axis.plot(
        [100 * one["before"], 100 * one["after"]], [height, height], color="0.75", linewidth=2.5, zorder=1
    )
    told = _change(one["before"], one["after"])
    for name, colour in (("before", BEFORE), ("after", AFTER)):
        limits = [100 * np.clip(one[f"{name}_{end}"], 0, 1) for end in ("low", "high")]
        axis.plot(
            limits, [height, height], color=colour, linewidth=5, alpha=0.35, zorder=2, solid_capstyle="butt"
        )
        axis.plot([100 * one[name]], [height], "o", color=colour, markersize=7, zorder=5)
        if not pd.isna(printed := one.get(f"printed_{name}", np.nan)):
            look.hollow(axis, [100 * printed], [height + 0.28], colour=colour, marker="D")
    if not pd.isna(one.get("printed_after", np.nan)):
        told += f"  (paper {_change(one['printed_before'], one['printed_after'])})"
    margin = axis.get_yaxis_transform()
    axis.text(1.02, height, told, transform=margin, va="center", color="0.25", size=9)


def _change(before: float, after: float) -> str:
    """In percent of the accuracy before: −40 %"""
    return f"{100 * (after - before) / before:+.0f} %".replace("-", "−") if before else "undefined"
