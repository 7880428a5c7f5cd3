"""Figures of runs, a panel a metric: every run a dot, or lines over what was varied."""

from collections.abc import Mapping, Sequence
from typing import Any

import seaborn as sns
from pandas import DataFrame

from adlib.report.published import TITLES

STROKE = "#d55e00"


def dots(runs: DataFrame, panels: Mapping[str, str], **facets: Any) -> sns.FacetGrid:
    """A row an arm, a panel a column: each run is a dot, their mean a stroke.

    Args:
        runs: As `adlib.study.summary.runs_table` gives them.
        panels: Titles by column. Metrics are shown in per cent.
        facets: Of seaborn's `FacetGrid`, such as `row="category"`.
    """
    how = {"x": "value", "y": "arm", "order": list(runs["arm"].unique())}
    grid = sns.FacetGrid(_long(runs, panels), col="panel", sharex="col", **facets)
    grid.map_dataframe(sns.stripplot, **how, alpha=0.6, jitter=False)
    how |= {"marker": "|", "markersize": 16, "color": STROKE}
    grid.map_dataframe(sns.pointplot, **how, errorbar=None, linestyle="none")
    return grid.set_axis_labels("", "").set_titles("{col_name}")


def lines(
    runs: DataFrame, x: str, panels: Mapping[str, str], ticks: Sequence[float] = (), **look: Any
) -> sns.FacetGrid:
    """Lines over x; unless `look` says otherwise, means over seeds with their deviations.

    Args:
        runs: A row a run or look at it, such as `adlib.study.summary.runs_table` gives them.
        x: The column that was varied, such as "steps".
        panels: Titles by column. Metrics are shown in per cent.
        ticks: Of a logarithmic axis of x; without, the axis is linear.
        look: Of seaborn's `lineplot`, such as `hue="arm"`.
    """
    how = {"errorbar": "sd", "err_style": "bars", "marker": "o", "palette": "colorblind"} | look
    size = {"height": 3, "aspect": 2.2 / len(panels), "facet_kws": {"sharey": False}}
    grid = sns.relplot(_long(runs, panels), x=x, y="value", col="panel", kind="line", **how, **size)
    sns.move_legend(grid, "lower center", ncols=3, bbox_to_anchor=(0.45, 1), title="")
    for axes in grid.axes.flat if ticks else ():
        axes.set_xscale("log")
        axes.set_xticks(ticks, ticks)
        axes.minorticks_off()
    return grid.set_axis_labels(x, "").set_titles("{col_name}")


def _long(runs: DataFrame, panels: Mapping[str, str]) -> DataFrame:
    """A row a run and panel: the columns of the run, `panel` and `value`."""
    scaled = runs.assign(**{c: 100 * runs[c].astype(float) for c in panels if c in TITLES})
    rest = [column for column in runs if column not in panels]
    return scaled.rename(columns=dict(panels)).melt(rest, list(panels.values()), "panel", "value")
