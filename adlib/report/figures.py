"""Sections as a forest plot of metrics."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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
    heights = [1.0 + ROW * len(section.ran()) for section in sections]
    size = (2.2 + 3.0 * len(metrics), 0.3 + sum(heights))
    figure = Figure(figsize=size, layout="constrained")
    parts = figure.subfigures(len(sections), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, section, drawn in zip(parts, sections, draws, strict=True):
        arms = section.ran()
        panels = part.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for axes, metric in zip(panels, metrics, strict=True):
            for row, arm in enumerate(arms):
                _arm(axes, row, section, arm, metric, drawn)
            plain_axes(axes)
            axes.set_xlabel(f"{TITLES[metric]}, %")
            if not axes.lines:
                axes.set(xlabel=f"no {TITLES[metric]}: no masks", xticks=[])
        panels[0].set_yticks(range(len(arms)), [printable(arm) for arm in arms])
        panels[0].set_ylim(len(arms) - 0.5, -0.5)
        seeds = ", ".join(map(str, sorted({run.seed for run in section.runs})))
        part.suptitle(f"{printable(section.title)}, seeds {seeds}", fontsize=10)
    legend_below(figure, figure.axes, ncols=4, fontsize=8)
    return figure


def legend_below(figure: Figure, panels: Iterable[Axes], **options: Any) -> None:
    """One legend for all panels, each label once, as found."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found[label] = handle
    figure.legend(
        list(found.values()), list(found), loc="outside lower center", frameon=False, **options
    )


def plain_axes(axes: Axes) -> None:
    """A light grid of x behind what is drawn, and no line but the one below."""
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _arm(
    axes: Axes, row: int, section: Section, arm: str, metric: str, draws: Mapping[str, Draws]
) -> None:
    """Draw one row of a panel."""
    record = section.of(arm)[0].record
    values = [100 * v for run in section.of(arm) if (v := run.mean.get(metric)) is not None]
    if not values:
        return
    if interval := images_interval(section, arm, MEAN, metric, draws):
        axes.plot([100 * end for end in interval], [row, row], color=OURS, lw=2.5, alpha=0.45,
                  solid_capstyle="butt", label="95 % over test images")  # fmt: skip
    style = {"color": OURS, "ms": 5, "mec": "white", "mew": 0.8}
    axes.plot(values, [row] * len(values), "o", label="a seed", **style)
    axes.plot(sum(values) / len(values), row, "D", color=OURS, ms=6.5, label="mean over seeds")
    data = data_name(section.data)
    for claim in claims(data, record["method"], setting_of(record)) if data else ():
        if claim.metric == metric:
            axes.plot(claim.per_cent, row, "|", color=THEIRS, ms=15, mew=2, label="published")
