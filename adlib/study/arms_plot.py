"""Figures of arms: every run a dot, or a curve over what was varied."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from adlib.report.published import TITLES

DOT, MEAN = "#0072b2", "#d55e00"


def dots(runs: DataFrame, panels: Mapping[str, str], width: float = 6.4) -> Figure:
    """A row an arm, a panel a column: each run is a dot, their mean a bar.

    Args:
        runs: As `adlib.study.summary.runs_table` gives them.
        panels: Titles by column. Metrics are shown in per cent.
        width: Of the figure, in inches.
    """
    arms = list(dict.fromkeys(runs["arm"]))
    size = width, 1 + 0.3 * len(arms)
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    for axis, column, title in _each(axes, panels):
        for place, arm in enumerate(arms):
            chosen: Any = runs[runs["arm"] == arm][column]
            values = (100 if column in TITLES else 1) * chosen
            axis.plot(values, [place] * len(values), "o", color=DOT, alpha=0.6)
            axis.plot(values.mean(), place, "|", color=MEAN, ms=18, mew=2)
        axis.set(xlabel=title, yticks=range(len(arms)), yticklabels=arms)
        axis.grid(axis="x", alpha=0.3)
    axes[0, 0].invert_yaxis()
    figure.tight_layout()
    return figure


def curves(runs: DataFrame, x: str, panels: Mapping[str, str]) -> Figure:
    """A line an arm over x, on a logarithmic axis; bars are deviations over seeds.

    Args:
        runs: As `adlib.study.summary.runs_table` gives them.
        x: The column that was varied, such as "steps".
        panels: Titles by column. Metrics are shown in per cent.
    """
    arms, values = list(dict.fromkeys(runs["arm"])), sorted(runs[x].unique())
    figure, axes = plt.subplots(1, len(panels), figsize=(6.4, 3.4), squeeze=False)
    for axis, column, title in _each(axes, panels):
        for arm, colour in zip(arms, sns.color_palette("colorblind", len(arms)), strict=True):
            found = runs[runs["arm"] == arm].groupby(x)[column].agg(["mean", "std"]).fillna(0)
            mean, deviation = (100 if column in TITLES else 1) * found.to_numpy().T
            axis.errorbar(
                found.index, mean, deviation, marker="o", ms=4, capsize=3, color=colour, label=arm
            )
        axis.set(xscale="log", xlabel=x, title=title)
        axis.set_xticks(values, values, fontsize=8)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    return _with_legend(figure, axes, 0.13)


def walks(looks: DataFrame, families: Mapping[str, str], panels: Mapping[str, str]) -> Figure:
    """Figures against the normal distance, a line a run along its training, from right to left.

    Args:
        looks: As `adlib.study.summary.traces` gives them, with `family` and `prototypes`.
        families: A line style by family.
        panels: Titles by column.
    """
    counts = sorted(looks["prototypes"].unique())
    colours = dict(zip(counts, sns.color_palette("viridis", len(counts)), strict=True))
    figure, axes = plt.subplots(1, len(panels), figsize=(6.4, 3.6), squeeze=False)
    for axis, column, title in _each(axes, panels):
        for key, run in looks.groupby(["family", "prototypes", "seed"]):
            family, count, _ = cast(tuple[str, int, int], key)
            axis.plot(
                run["d_normal"], run[column], families[family], marker="o", ms=3,
                color=colours[count], label=f"{family}, {count}",
            )  # fmt: skip
        axis.set(xscale="log", xlabel="distance of normal patches", title=title)
        axis.grid(alpha=0.3)
    return _with_legend(figure, axes, 0.16)


def _each(axes: Any, panels: Mapping[str, str]) -> Iterator[tuple[Axes, str, str]]:
    """Yield each panel with its column and title."""
    for axis, (column, title) in zip(axes.flat, panels.items(), strict=True):
        yield axis, column, title


def _with_legend(figure: Figure, axes: Any, room: float) -> Figure:
    """Add one legend below, each label once."""
    handles: Sequence[Any]
    handles, names = axes[0, 0].get_legend_handles_labels()
    known = dict(zip(names, handles, strict=True))
    where = {"loc": "lower center", "ncols": 3, "fontsize": 8, "frameon": False}
    figure.legend(known.values(), known.keys(), **where)
    figure.tight_layout(rect=(0, room, 1, 1))
    return figure
