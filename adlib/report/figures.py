"""Sections as a forest plot of metrics."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adlib.report.paired import Draws
from adlib.report.published import MEAN, TITLES
from adlib.report.records import Section
from adlib.report.reproduction import claims, data_name, setting_of
from adlib.report.tables import images_interval
from adlib.system.printable import printable

OURS, THEIRS = "#0072B2", "#D55E00"  # Okabe and Ito's blue and vermilion
ROW = 0.34  # inches of an arm's row


def forests(
    sections: Sequence[Section], metrics: Sequence[str], draws: Sequence[Mapping[str, Draws]]
) -> Figure:
    """Show each arm's metrics: every seed, their mean, the interval over images, the claim.

    Args:
        sections: A row of panels each; a metric that a section lacks stays empty.
        metrics: A column of panels each.
        draws: Of each section's test images, by arm.
    """
    parts = [section.ran() for section in sections]
    heights = [1.0 + ROW * len(arms) for arms in parts]
    size = (2.2 + 3.0 * len(metrics), 0.3 + sum(heights))
    figure = Figure(figsize=size, layout="constrained")
    rows = figure.subfigures(len(sections), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, section, arms, drawn in zip(rows, sections, parts, draws, strict=True):
        found = part.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for axes, metric in zip(found, metrics, strict=True):
            for row, arm in enumerate(arms):
                _arm(axes, row, section, arm, metric, drawn)
            _style(axes, metric, bool(axes.lines))
        found[0].set_yticks(range(len(arms)), [printable(arm) for arm in arms])
        found[0].set_ylim(len(arms) - 0.5, -0.5)
        seeds = ", ".join(map(str, sorted({run.seed for run in section.runs})))
        part.suptitle(f"{printable(section.title)}, seeds {seeds}", fontsize=10)
    legend_below(figure, figure.axes, ncols=4, fontsize=8)
    return figure


def legend_below(
    figure: Figure, panels: Iterable[Axes], order: Sequence[str] = (), **options: Any
) -> None:
    """One legend for all panels, each label once: as found, or in an order."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found[label] = handle
    names = [name for name in order or found if name in found]
    handles = [found[name] for name in names]
    figure.legend(handles, names, loc="outside lower center", frameon=False, **options)


def plain_axes(axes: Axes, along: Literal["x", "y"], *hidden: str) -> None:
    """A light grid behind what is drawn; no ticks at a side without a line."""
    axes.grid(axis=along, color="0.9")
    axes.set_axisbelow(True)
    axes.spines[list(hidden)].set_visible(False)
    if "left" in hidden:
        axes.tick_params(axis="y", length=0)


def _style(axes: Axes, metric: str, drawn: bool) -> None:
    axes.set_xlabel(f"{TITLES[metric]}, %" if drawn else f"no {TITLES[metric]}: no masks")
    plain_axes(axes, "x", "top", "right", "left")
    if not drawn:
        axes.set_xticks([])


def _arm(
    axes: Axes,
    row: int,
    section: Section,
    arm: str,
    metric: str,
    draws: Mapping[str, Draws],
) -> None:
    """Draw one row of a panel."""
    runs = section.of(arm)
    values = [100 * v for run in runs if (v := run.mean.get(metric)) is not None]
    if not values:
        return
    interval = images_interval(section, arm, MEAN, metric, draws)
    if interval is not None:
        ends = [100 * end for end in interval]
        axes.plot(ends, [row, row], color=OURS, lw=2.5, alpha=0.45, solid_capstyle="butt",
                  label="95 % over test images")  # fmt: skip
    axes.plot(
        values, [row] * len(values), "o", color=OURS, ms=5, mec="white", mew=0.8, label="a seed"
    )
    mean = sum(values) / len(values)
    axes.plot(mean, row, "D", color=OURS, ms=6.5, label="mean over seeds")
    data = data_name(section.data)
    claim = [] if data is None else [
        c for c in claims(data, runs[0].record["method"], setting_of(runs[0].record))
        if c.metric == metric
    ]  # fmt: skip
    for each in claim:
        axes.plot(each.per_cent, row, "|", color=THEIRS, ms=15, mew=2, label="published")
