"""The figures of paper 3, which has a diagram alone: loyalty and robustness of each method, and transfer of attacks."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robust_lib.report.figures import look
from robust_lib.report.loyalty import GROUPS

QUANTITIES = {  # quantity: title of its panel, name of its axis
    "accuracy": ("Accuracy", "% of examples"),
    "label_loyalty": ("Label loyalty", "% of examples"),
    "probability_loyalty": ("Probability loyalty", "1 − JS distance (%)"),
    "after_attack_accuracy": ("After-attack accuracy", "% of examples"),
}


def loyalty_figure(frame: pd.DataFrame) -> Figure:
    """The metrics of paper 3's Figure 1, measured: methods are rows, accuracy, both loyalties and robustness panels.

    Columns of `frame`: group (teacher, truncation, KD, ...), method (readable), quantity (of QUANTITIES), value, low,
    high, all in percent; and where there are: chance (what an unrelated model of the same accuracy reaches, a tick) and
    printed (the paper's value, an open marker), NaN where there is none. Groups and methods stand in order of
    appearance; a group has one colour and its name at the right. Lines are 95 % intervals. Raises ValueError for an
    unknown quantity.
    """
    unknown = sorted(set(frame["quantity"]) - set(QUANTITIES))
    if unknown:
        raise ValueError(f"unknown quantity {unknown[0]!r}; there are {', '.join(QUANTITIES)}")
    rows = frame.drop_duplicates("method")[["group", "method"]]
    heights = look.heights(rows["method"], rows["group"])
    shown = [name for name in QUANTITIES if (frame["quantity"] == name).any()]
    with plt.rc_context(look.STYLE):
        figure, axes = look.panels(
            [QUANTITIES[name][0] for name in shown],
            width=2.6 + 2.5 * len(shown),
            height=1.5 + 0.26 * (max(heights.values()) + 1),
            sharey=True,
        )
        colours = _colours(rows)
        for axis, name in zip(axes, shown, strict=True):
            mine = frame[frame["quantity"] == name]
            for one in mine.to_dict("records"):
                _point(axis, one, heights[one["method"]], colours[one["group"]])
            axis.set_xlabel(QUANTITIES[name][1])
            axis.margins(x=0.08)
        look.rows(axes, heights)
        look.groups(axes[-1], heights, rows["group"], colours)
        _explain(axes[0], frame)
        look.legend(figure, ncols=3)
    return figure


def transfer_figure(frame: pd.DataFrame) -> Figure:
    """Which models the adversarial texts found on one model fool as well: sources are rows, targets columns.

    Columns: source, target (readable names), value (share of the texts, in percent), n (texts). Sources stand in order
    of appearance, targets in the same order, others behind. A pair that is not in the frame stays empty.
    """
    sources = list(dict.fromkeys(frame["source"]))
    tried = set(frame["target"])
    targets = [name for name in dict.fromkeys([*sources, *frame["target"]]) if name in tried]
    shares = frame.pivot(index="source", columns="target", values="value").loc[sources, targets].to_numpy()
    with plt.rc_context(look.STYLE | {"axes.grid": False}):
        figure, (axis,) = look.panels(
            ["Transfer of attacks"],
            width=3.6 + 0.5 * len(targets),
            height=2.3 + 0.36 * max(len(sources), 5),
        )
        image = axis.imshow(shares, vmin=0, vmax=100, cmap="cividis", aspect="auto")
        for (row, column), share in np.ndenumerate(shares):
            if not np.isnan(share):
                colour = "white" if share < 50 else "black"
                axis.text(column, row, f"{share:.0f}", ha="center", va="center", color=colour, size=8.5)
        axis.set_xticks(range(len(targets)), targets, rotation=40, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(len(sources)), [_counted(frame, source) for source in sources])
        axis.set_xlabel("tried on")
        axis.set_ylabel("found on (n texts)")
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
        bar = figure.colorbar(image, ax=axis, shrink=0.9, aspect=30)
        bar.set_label("fooled (% of texts)")
        bar.outline.set_visible(False)
    return figure


def _colours(rows: pd.DataFrame) -> dict[str, Any]:
    """A colour for each group, the same in every figure; those that GROUPS has not come behind."""
    palette = ["black", *(colour for colour, _ in look.SERIES), look.RED]
    groups = list(dict.fromkeys([*GROUPS, *rows["group"]]))
    return {group: palette[place % len(palette)] for place, group in enumerate(groups)}


def _point(axis: Axes, one: dict[Any, Any], height: float, colour: Any) -> None:
    limits = [np.clip(one[name], 0, 100) for name in ("low", "high")]  # of one item they are infinite
    axis.plot(limits, [height, height], color=colour, linewidth=1.6, alpha=0.7, zorder=5)
    axis.plot([one["value"]], [height], "o", color=colour, markersize=5, zorder=6)
    if not np.isnan(one.get("chance", np.nan)):
        axis.plot([one["chance"]], [height], "|", color=look.GREY, markersize=10, markeredgewidth=1.8)
    if not np.isnan(one.get("printed", np.nan)):
        look.hollow(axis, [one["printed"]], [height], colour=colour, marker="D")


def _explain(axis: Axes, frame: pd.DataFrame) -> None:
    """What the marks are, in grey."""
    axis.plot([], [], "o-", color=look.GREY, markersize=5, label="ours, 95 % interval")
    if "chance" in frame and frame["chance"].notna().any():
        label = "an unrelated model of the same accuracy"
        axis.plot([], [], "|", color=look.GREY, markersize=10, markeredgewidth=1.8, label=label)
    if "printed" in frame and frame["printed"].notna().any():
        look.hollow(axis, [], [], colour=look.GREY, marker="D", label="paper (BERT-base)")


def _counted(frame: pd.DataFrame, source: str) -> str:
    counts = frame["n"][frame["source"] == source]
    ends = " to ".join(dict.fromkeys(f"{n:g}" for n in (counts.min(), counts.max())))
    return f"{source} (n = {ends})"
