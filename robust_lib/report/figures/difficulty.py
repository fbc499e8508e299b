"""Easy and hard samples: confidence on them, how variance tells them apart, the difficulty degree and its cost."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, StrMethodFormatter

from robust_lib.report.figures import look
from robust_lib.report.figures.look import LOOK

CHEAPER = {  # group of cheaper first stages: colour, marker
    "fewer levels": (look.BLUE, "o"),
    "fewer samples": (look.ORANGE, "s"),
    "fewer weights": (look.GREEN, "^"),
    "no training (one-shot)": (look.PURPLE, "D"),
}


def confidence_figure(frame: pd.DataFrame) -> Figure:
    """Observation 2 of paper 1: the confidence of the predicted class on easy and on hard items.

    Columns: method (dense, pruned), subset (easy, hard), confidence (probability of the predicted class),
    correct. Steps are the share of a subset's items; a vertical line is the mean confidence, a dashed one the
    accuracy: a model is over-confident by as much as the first lies right of the second.
    """
    with plt.rc_context(look.STYLE):
        subsets = [name for name in ("easy", "hard") if (frame["subset"] == name).any()]
        titles = [f"{name} items".capitalize() for name in subsets]
        figure, axes = look.panels(titles, width=1.2 + 4.2 * len(subsets), height=4.2, sharey=True)
        edges = np.arange(np.floor(20 * frame["confidence"].min()), 21) / 20
        for axis, subset in zip(axes, subsets, strict=True):
            for place, method in enumerate(("dense", "pruned")):
                mine = frame[(frame["subset"] == subset) & (frame["method"] == method)]
                if len(mine):
                    _confidence(axis, mine, method, edges, place)
            axis.set_xlabel("confidence of the predicted class (%)")
            axis.margins(x=0.02)
        axes[0].set_ylabel("share of the items (%)")
        for line, label in (("-", "mean confidence"), ("--", "accuracy")):
            axes[0].plot([], [], line, color=look.GREY, label=label)
        look.legend(figure, ncols=4)
    return figure


def agreement_figure(
    curve: pd.DataFrame,
    *,
    cut: float | None = None,
    printed: float | None = None,
    constant: float | None = None,
) -> Figure:
    """Section 4.1 of paper 1: agreement of "low loss variance = easy" with the annotation, by where the ranking is cut.

    Columns of `curve`: cut (percent of the items called easy), value, low, high (percent of the items on which the
    two agree). `cut` is the one used elsewhere, `printed` the paper's agreement (82.8), `constant` that of the
    better constant answer, all in percent.
    """
    with plt.rc_context(look.STYLE):
        figure, (axis,) = look.panels(["Loss variance against the annotation"], width=6.4, height=4.2)
        mine = curve.sort_values("cut")
        look.band(axis, mine["cut"], mine, label="agreement", colour=look.BLUE, line="-")
        if cut is not None:
            axis.axvline(cut, color="black", linestyle="--", linewidth=1)
            axis.annotate(
                f"cut at {cut:.3g} %", (cut, 0.02), xycoords=axis.get_xaxis_transform(), xytext=(4, 0),
                textcoords="offset points", size=8,
            )  # fmt: skip
        axis.set_xlabel("items called easy (% with the lowest variance)")
        axis.set_ylabel("agreement (% of items)")
        axis.set_xlim(0, 100)
        named = {"paper": printed, "best constant answer": constant}
        known = {f"{name}, {at:.1f} %": at for name, at in named.items() if at is not None}
        look.levels(figure, axis, known)
    return figure


def stage_one_figure(frame: pd.DataFrame, *, ceiling: float | None = None) -> Figure:
    """How well a cheaper first stage of RMC ranks the samples, against what it costs.

    Columns: group (of CHEAPER), label, cost (share of the full first stage's training work), value, low, high
    (Spearman's rank correlation of the difficulty with that from all five pruned models). A cost below 1 %
    stands at 1 %. `ceiling` is the correlation of the full stage with itself on another seed.
    """
    with plt.rc_context(look.STYLE):
        figure, (axis,) = look.panels(["Cheaper first stages of RMC"], width=7.6, height=4.8)
        cost = (100 * frame["cost"]).clip(lower=1)
        for group, mine in frame.groupby("group", sort=False):
            colour, marker = CHEAPER[str(group)]
            x = cost[mine.index]
            axis.errorbar(
                x, mine["value"], look.errors(mine), fmt=marker, color=colour, elinewidth=1, ecolor=(*colour, 0.5),
                label=group,
            )  # fmt: skip
        axis.set_xscale("log")
        axis.set_xlim(0.6 * cost.min(), 150)
        axis.xaxis.set_major_locator(FixedLocator([1, 2, 5, 10, 20, 30, 50, 70, 100]))
        axis.xaxis.set_minor_locator(NullLocator())
        least = "≤ 1" if (cost == 1).any() else "1"
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: least if x == 1 else f"{x:g}"))
        axis.set_xlabel("training work (% of the full first stage)")
        axis.set_ylabel("rank correlation with all five of another seed (ρ)")
        axis.margins(y=0.12)
        look.legend(figure, ncols=4)
        look.levels(figure, axis, {} if ceiling is None else {"all five": ceiling})
        colours = [CHEAPER[group][0] for group in frame["group"]]
        look.beside(figure, axis, cost.to_numpy(), frame, colours)
    return figure


def difficulty_figure(frame: pd.DataFrame) -> Figure:
    """How the difficulty degree d is spread over each training set, from alpha (easiest) to 1 (hardest).

    Columns: task, difficulty, alpha. Equation 1 of paper 1; counts are on a log axis.
    """
    with plt.rc_context(look.STYLE):
        tasks = list(dict.fromkeys(frame["task"]))
        figure, axes = look.panels(
            [task.upper() for task in tasks], width=1.0 + 3.4 * max(len(tasks), 1.4), height=3.6, sharey=True
        )
        for axis, task in zip(axes, tasks, strict=True):
            mine = frame[frame["task"] == task]
            alpha = float(mine["alpha"].iloc[0])
            counts, edges = np.histogram(mine["difficulty"], bins=40, range=(alpha, 1))
            axis.stairs(counts, edges, fill=True, color=look.BLUE, alpha=0.85)
            axis.axvline(
                mine["difficulty"].median(), color="black", linestyle="--", linewidth=1, label="median"
            )
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            axis.set_xlim(alpha - 0.02 * (1 - alpha), 1 + 0.02 * (1 - alpha))
            axis.set_xlabel(f"difficulty d, from α = {alpha:g} (easiest) to 1")
        axes[0].set_ylabel("training samples of all seeds")
        axes[0].set_ylim(bottom=0.7)
        look.legend(figure)
    return figure


def _confidence(axis: Axes, mine: pd.DataFrame, method: str, edges: look.Floats, place: int) -> None:
    """Steps, the two vertical lines and their numbers, in the corner that holds few confidences."""
    label, colour, _ = LOOK[method]
    counts, _ = np.histogram(mine["confidence"], bins=edges)
    axis.stairs(100 * counts / len(mine), 100 * edges, color=colour, linewidth=1.5, label=label)
    confidence, accuracy = 100 * mine["confidence"].mean(), 100 * mine["correct"].mean()
    for height, line in ((confidence, "-"), (accuracy, "--")):
        axis.axvline(height, color=colour, linestyle=line, linewidth=1.2, alpha=0.8)
    told = f"{label}: confidence {confidence:.1f} %, accuracy {accuracy:.1f} %"
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85}
    at = 0.02, 0.97 - 0.075 * place
    axis.text(*at, told, transform=axis.transAxes, color=colour, va="top", size=8.5, bbox=behind)
