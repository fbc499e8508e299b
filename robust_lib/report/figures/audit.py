"""An audit at a glance: every change on one axis, and how the slices of a test set differ."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from robust_lib.report.figures import look

SIDES = {  # what the verdict says of a change: colour, marker, name in the legend
    "worse": (look.RED, "v", "worse"),
    "better": (look.GREEN, "^", "better"),
    "none": (look.GREY, "o", "no change, or within the control"),
    "unknown": ("0.5", "X", "cannot be told"),
}
EDGE = 5.0  # times what matters: where the axis ends, if anything lies beyond
WIDTH = 4.6  # inches: legible on a phone
BAND: Mapping[str, Any] = {"color": look.SKY, "alpha": 0.35, "linewidth": 0}


def changes_figure(frame: pd.DataFrame) -> Figure:
    """Changes of many measures, each in units of the change that matters in it, worse to the left of 0.

    Columns: group, name (of the row), value, low, high, band_low, band_high (what two trainings of one model differ by;
    NaN where that is not known), side (of SIDES), told (the number in its own unit). Lines are 95 % intervals; a change
    beyond EDGE stands at the edge as an arrow.
    """
    heights = look.heights(frame["name"], frame["group"])
    with plt.rc_context(look.STYLE):
        figure, (axis,) = look.panels([""], width=WIDTH, height=1.4 + 0.4 * (max(heights.values()) + 1))
        numbers = frame[["value", "low", "high", "band_low", "band_high"]].to_numpy()
        reach = np.abs(numbers[np.isfinite(numbers)]).max()
        edge = float(np.clip(1.1 * reach, 1.5, EDGE))
        axis.set_xlim(-edge, edge)
        axis.axvspan(-1, 1, color="0.95", linewidth=0, zorder=0)
        axis.axvline(0, color="black", linewidth=1)
        for row in frame.to_dict("records"):
            at = heights[row["name"]]
            _named(axis, at, row)
            if pd.notna(row["band_low"]):
                axis.fill_between(_within(row, "band_low", "band_high", edge), at - 0.2, at + 0.2, **BAND)
            _interval(axis, at, row, edge)
        axis.set_xlabel("← worse · change, in units of what matters · better →")
        _rows(axis, heights)
        known = [Patch(color="0.95", label="less than matters")]
        if frame["band_low"].notna().any():
            known.append(Patch(**BAND, label="two trainings of one model"))
        _legend(figure, frame, known)
    return figure


def slices_figure(frame: pd.DataFrame) -> Figure:
    """How far a model is from the original on each slice: a panel for each measure, slices as rows.

    Columns: group (what the set is sliced by), name (of the slice), measure, unit, value, low, high, whole (the value
    on the whole set, a dashed line), side (of SIDES), told (the number with its unit). Lines are 95 % intervals.
    """
    rows = frame.drop_duplicates(["group", "name"])
    heights = look.heights(rows["name"], rows["group"])
    measures = list(dict.fromkeys(frame["measure"]))
    with plt.rc_context(look.STYLE):
        height = 1.2 + 0.4 * (max(heights.values()) + 1)
        figure, columns = look.grid([measures], width=WIDTH, height=height)
        for axis, measure in zip(columns[0], measures, strict=True):
            mine = frame[frame["measure"] == measure]
            axis.axvline(mine["whole"].iloc[0], color="black", linestyle="--", linewidth=1)
            for row in mine.to_dict("records"):
                _named(axis, heights[row["name"]], row)
                _interval(axis, heights[row["name"]], row, np.inf)
            axis.set_xlabel(str(mine["unit"].iloc[0]))
            _rows(axis, heights)
        _legend(figure, frame, [Line2D([], [], color="black", linestyle="--", label="whole set")])
    return figure


def _within(row: Mapping[Any, Any], low: str, high: str, edge: float) -> look.Floats:
    return np.array([row[low], row[high]], dtype=np.float64).clip(-edge, edge)


def _named(axis: Axes, at: float, row: Mapping[Any, Any]) -> None:
    """What a row is, above it: names of any length leave the axis its width."""
    for place, text, side in ((0, row["name"], "left"), (1, row["told"], "right")):
        axis.text(
            place, at - 0.28, text, transform=axis.get_yaxis_transform(), ha=side, va="bottom", size=9,
            color="black" if side == "left" else SIDES[row["side"]][0], parse_math=False,
        )  # fmt: skip


def _interval(axis: Axes, at: float, row: Mapping[Any, Any], edge: float) -> None:
    colour, marker, _ = SIDES[row["side"]]
    axis.plot(_within(row, "low", "high", edge), [at, at], color=colour, linewidth=1.6)
    if abs(row["value"]) > edge:
        marker = "<" if row["value"] < 0 else ">"
    place = np.clip(row["value"], -edge, edge)
    axis.plot([place], [at], marker=marker, color=colour, markersize=6, clip_on=False)


def _rows(axis: Axes, heights: Mapping[str, float]) -> None:
    axis.set_ylim(max(heights.values()) + 0.5, -0.8)
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)


def _legend(figure: Figure, frame: pd.DataFrame, more: Sequence[Artist]) -> None:
    points = [
        Line2D([], [], color=colour, marker=marker, label=told)
        for side, (colour, marker, told) in SIDES.items()
        if (frame["side"] == side).any()
    ]
    figure.legend(handles=[*points, *more], loc="outside lower center", ncols=2, fontsize=8.5)
