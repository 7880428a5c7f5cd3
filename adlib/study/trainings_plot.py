"""Each method against what it was trained on, as a figure."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adlib.report.records import Run, Section
from adlib.report.summary import TITLES
from adlib.study.trainings import ALL, SEVERAL, by_training, place_of, values_of

STYLES = (
    ("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"),
    ("#56B4E9", "P"),
)  # fmt: skip
"""A colour and a mark of each method; Okabe and Ito's colours."""
WIDTH, HEIGHT = 5.6, 2.4  # inches, of the figure and of a row; legible at half of it, on a phone
APART = 0.08  # between methods of one training, so that no mark hides another; a tick is 1


def trainings_figure(sections: Sequence[Section], metrics: Sequence[str]) -> Figure:
    """Show each method's mean over seeds, and every seed, by training: a row of panels a data set.

    As in `adlib.study.trainings.trainings`, what was trained in one way only is left out.

    Args:
        sections: Of sources whose runs differ in nothing else, such as equal steps an image.
        metrics: Their names, a column of panels each.
    Raises:
        ValueError: Nothing was trained in two ways.
    """
    found = {kind: ways for kind, ways in by_training(sections).items() if len(ways) > 1}
    if not found:
        raise ValueError("no method was trained in two ways on one data set; nothing to draw")
    names = sorted({kind.name for kind in found})
    blocks = sorted({kind[:-1] for kind in found})  # all but the method's name
    figure = Figure(figsize=(WIDTH, 0.6 + HEIGHT * len(blocks)), layout="constrained")
    panels = figure.subplots(len(blocks), len(metrics), squeeze=False)
    for line, block in zip(panels, blocks, strict=True):
        mine = {kind.name: ways for kind, ways in found.items() if kind[:-1] == block}
        ticks = sorted({way for ways in mine.values() for way in ways}, key=place_of)
        for axes, metric in zip(line, metrics, strict=True):
            for i, name in enumerate(names):
                _method(axes, mine.get(name, {}), ticks, metric, i, len(names), name)
            _style(axes, ticks, metric, block[0])
    handles = {
        label: handle
        for axes in panels.flat
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    drawn = [name for name in names if name in handles]
    figure.legend(
        [handles[name] for name in drawn], drawn, loc="outside lower center", ncols=4, frameon=False
    )
    return figure


def _method(
    axes: Axes,
    ways: Mapping[str, Sequence[Run]],
    ticks: Sequence[str],
    metric: str,
    number: int,
    of: int,
    name: str,
) -> None:
    """Draw one method's line in a panel."""
    colour, mark = STYLES[number % len(STYLES)]
    means: list[tuple[float, float]] = []
    for tick, way in enumerate(ticks):
        seeds = [100 * value for value in values_of(ways.get(way, ()), metric).values()]
        x = tick + APART * (number - (of - 1) / 2)
        if seeds:
            axes.plot([x] * len(seeds), seeds, "o", color=colour, ms=3, alpha=0.5, mew=0)
            means.append((x, sum(seeds) / len(seeds)))
    if means:
        axes.plot(*zip(*means, strict=True), mark + "-", color=colour, ms=6, lw=1.2, label=name)


def _style(axes: Axes, ticks: Sequence[str], metric: str, data: str) -> None:
    few = any(way not in (ALL, SEVERAL) for way in ticks)
    words = {ALL: "all" if few else ALL.removeprefix("all of "), SEVERAL: SEVERAL}
    axes.set_xticks(range(len(ticks)), [words.get(way, way.split()[0]) for way in ticks])
    axes.set_xlim(-0.4, len(ticks) - 0.6)
    axes.set_xlabel("normal images per category" if few else "trained on")
    axes.set_title(f"{data}: {TITLES[metric]}, %")
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if not axes.lines:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no masks", transform=axes.transAxes, ha="center")
