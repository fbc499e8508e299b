"""What a number of seeds can tell: printed differences against the smallest detectable one."""

import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

from robust_lib.report.figures import look

RUNS = 3  # of the papers


def resolution_figure(curves: pd.DataFrame, differences: pd.DataFrame) -> Figure:
    """How many seeds resolve a printed difference, a panel for each test bed.

    Columns of `curves`: testbed, seeds (trainings of each model), detectable (percentage points, the smallest
    difference found with 80 % power). Columns of `differences`: testbed, label, difference (points; its sign is
    left out, and a difference of zero has no place on the log axis). A line runs from the seeds that a difference
    needs to its label, which is grey where the papers' three do not suffice.
    """
    with plt.rc_context(look.STYLE):
        testbeds = list(dict.fromkeys(curves["testbed"]))
        figure, axes = look.panels(testbeds, width=1.0 + 5.4 * len(testbeds), height=5.2)
        needed = []
        for axis, testbed in zip(axes, testbeds, strict=True):
            curve = curves[curves["testbed"] == testbed].sort_values("seeds")
            needed.append(_needed(curve, _merged(differences[differences["testbed"] == testbed])))
            axis.plot(
                curve["seeds"], curve["detectable"], color=look.BLUE, label="detectable with 80 % power"
            )
            axis.axvline(
                RUNS, color="black", linestyle="--", linewidth=1, label="the papers' three trainings"
            )
            _scales(axis, curve)
        axes[0].set_ylabel("difference in accuracy (percentage points)")
        look.legend(figure)
        for axis, mine in zip(axes, needed, strict=True):
            _labels(figure, axis, mine)
    return figure


def _merged(differences: pd.DataFrame) -> pd.DataFrame:
    """One row for each size of difference, its labels together."""
    sized = differences.assign(difference=differences["difference"].abs().round(1))
    sized = sized[sized["difference"] > 0]
    return sized.groupby("difference")["label"].agg(", ".join).reset_index()


def _needed(curve: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """The seeds that each difference needs, between the curve's points on log scales; NaN beyond its end."""
    falling = curve.iloc[::-1]
    size, seeds = np.log(falling["detectable"]), np.log(falling["seeds"])
    found = np.interp(np.log(differences["difference"]), size, seeds, left=np.nan)
    return differences.assign(seeds=np.exp(found), most=curve["seeds"].max())


def _scales(axis: Axes, curve: pd.DataFrame) -> None:
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlim(curve["seeds"].min(), curve["seeds"].max())
    for scale, ticks in (
        (axis.xaxis, [2, 3, 5, 10, 20, 50, 100]),
        (axis.yaxis, [0.1, 0.2, 0.5, 1, 2, 5, 10, 20]),
    ):
        scale.set_major_locator(FixedLocator(ticks))
        scale.set_minor_locator(NullLocator())
        scale.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_xlabel("trainings (seeds) of each model")


def _labels(figure: Figure, axis: Axes, differences: pd.DataFrame) -> None:
    """Lines to the right edge and labels beside it, spread so that they can be read."""
    heights, end = differences["difference"].to_numpy(), axis.get_xlim()[1]
    axis.scatter(differences["seeds"].fillna(end), heights, s=0)  # so that the axis holds them all
    figure.draw_without_rendering()
    told = [textwrap.fill(_told(one), 42) for one in differences.to_dict("records")]
    lines = np.array([text.count("\n") + 1.0 for text in told])
    places = look.apart(axis, heights, size=8, lines=lines)
    margin = axis.get_yaxis_transform()
    for text, height, seeds, place in zip(told, heights, differences["seeds"], places, strict=True):
        colour = "black" if seeds <= RUNS else look.GREY
        line: dict[str, Any] = {"color": colour, "linewidth": 0.6}
        axis.plot([seeds, end], [height, height], **line)
        axis.annotate(
            text, (1, height), xytext=(1.06, place), xycoords=margin, textcoords=margin, va="center", size=8,
            color=colour, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "relpos": (0, 0.5), "shrinkA": 0, "shrinkB": 0, **line},
        )  # fmt: skip


def _told(one: Mapping[Any, Any]) -> str:
    """Only the blanks between labels may break the line."""
    seeds = f"over {one['most']:g}" if np.isnan(one["seeds"]) else f"{np.ceil(one['seeds'] - 1e-9):g}"
    labels = one["label"].replace(" ", "\u00a0").replace(",\u00a0", ", ")
    return f"{labels}: {one['difference']:.1f}\u00a0points,\u00a0{seeds}\u00a0seeds"
