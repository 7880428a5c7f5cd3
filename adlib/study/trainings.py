"""The same method on the same test images, trained on less or on more than the data set itself.

Less: a few normal images of each category. More: several data sets in one model. Each is set beside
the run of equal seed that was trained on all normal images of this data set alone.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adlib.report.figures import legend_below, plain_axes
from adlib.report.paired import over_common
from adlib.report.published import TITLES
from adlib.report.records import Run, Section, as_text, by_seed, name_of
from adlib.report.tables import ABSENT, with_deviation

if TYPE_CHECKING:
    from pandas import DataFrame

ALL = "all of this data set"
SEVERAL = "several data sets"
STYLES = (
    ("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"),
    ("#56B4E9", "P"),
)  # fmt: skip
"""A colour and a mark of each method; Okabe and Ito's colours."""
WIDTH, HEIGHT = 5.6, 2.4  # inches, of the figure and of a row; legible at half of it, on a phone
APART = 0.08  # between methods of one training, so that no mark hides another; a tick is 1
Gap = tuple[float, float, float, int]


class Kind(NamedTuple):
    """What must be the same before two trainings are compared."""

    data: str
    data_hash: str
    rules: str  # all of the protocol
    weights: str  # of the encoder
    name: str


def by_training(sections: Sequence[Section]) -> dict[Kind, dict[str, list[Run]]]:
    """Sort runs by what must be the same, and then by what they were trained on, in words."""
    found: dict[Kind, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in (run for section in sections for run in section.runs):
        record, few = run.record, run.record.get("few")
        way = SEVERAL if record.get("setting") == "super-multi-class" else ALL
        if few:
            way = f"{few['images']} normal images"
        weights = str((record.get("encoder") or {}).get("sha256"))
        kind = Kind(
            record["data"]["name"],
            record["data"]["hash"],
            as_text(record["protocol"]),
            weights,
            name_of(record),
        )
        found[kind][way].append(run)
    return {kind: {way: found[kind][way] for way in sorted(found[kind], key=_place)}
            for kind in sorted(found)}  # fmt: skip


def trainings(sections: Sequence[Section], metrics: Sequence[str]) -> "DataFrame":
    """One row a data set, method and training: each metric, and how far it lies from `ALL`.

    Differences are over equal seeds, in points, with Student's 95 % interval. A method that was not
    trained in two ways on a data set is left out.

    Args:
        sections: Of sources whose runs differ in nothing else, such as equal steps an image.
        metrics: Their names; runs without one show a dash.
    """
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for kind, ways in by_training(sections).items():
        for way, runs in ways.items() if len(ways) > 1 else ():
            row = rows[kind.data, kind.name, way] = {"seeds": str(len({r.seed for r in runs}))}
            for metric in metrics:
                values, whole = (by_seed(ways.get(one, ()), metric) for one in (way, ALL))
                row[TITLES[metric]] = with_deviation([*values.values()])
                gap = None if way == ALL else over_common(values, whole)
                row[f"{TITLES[metric]}, difference"] = _points(gap)
    return _frame(rows, "data", "method", "trained on")


def leaders(sections: Sequence[Section], metrics: Sequence[str]) -> "DataFrame":
    """One row a data set and training: the method with the highest mean, and the next one's gap.

    Differences are over equal seeds, in points, with Student's 95 % interval of that pair alone.
    What has no rival shows a dash; a data set on which all were trained in one way is left out.

    Args:
        sections: As of `trainings`.
        metrics: Their names.
    """
    rivals: dict[tuple[tuple[str, ...], str], dict[str, list[Run]]] = defaultdict(dict)
    for kind, ways in by_training(sections).items():
        for way, runs in ways.items() if len(ways) > 1 else ():
            rivals[kind[:-1], way][kind.name] = runs
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for same, way in sorted(rivals, key=lambda key: (key[0], _place(key[1]))):
        row = rows[same[0], way] = {}
        for metric in metrics:
            scored = {n: by_seed(runs, metric) for n, runs in rivals[same, way].items()}
            scored = {n: v for n, v in scored.items() if v}
            order = sorted(scored, key=lambda n: -np.mean([*scored[n].values()]))
            cells = ABSENT, ABSENT
            if len(order) > 1:
                best, second = (scored[n] for n in order[:2])
                cells = (f"{order[0]}, {with_deviation([*best.values()])}",
                         f"{order[1]}, {_points(over_common(second, best))}")  # fmt: skip
            row[TITLES[metric]], row[f"{TITLES[metric]}, next"] = cells
    return _frame(rows, "data", "trained on")


def _place(way: str) -> tuple[int, int]:
    """Key to sort trainings by: few images, by their number, then all, then several data sets."""
    number = way.split()[0]
    return (0, int(number)) if number.isdigit() else (1 + (way == SEVERAL), 0)


def _points(gap: Gap | None) -> str:
    """A difference in points and its interval: "-4.2 (-7.2 to -1.2)"."""
    if gap is None:
        return ABSENT
    mean, low, high, n = gap
    around = f"{100 * low:+.1f} to {100 * high:+.1f}" if n > 1 else "one seed"
    return f"{100 * mean:+.1f} ({around})"


def _frame(rows: Mapping[tuple[str, ...], dict[str, str]], *names: str) -> "DataFrame":
    from pandas import DataFrame, MultiIndex

    index = MultiIndex.from_tuples(list(rows), names=names) if rows else None
    return DataFrame(list(rows.values()), index=index)


def trainings_figure(sections: Sequence[Section], metrics: Sequence[str]) -> Figure:
    """Show each method's mean over seeds, and every seed, by training: a row of panels a data set.

    As in `trainings`, what was trained in one way only is left out.

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
        ticks = sorted({way for ways in mine.values() for way in ways}, key=_place)
        for axes, metric in zip(line, metrics, strict=True):
            for i, name in enumerate(names):
                _method(axes, mine.get(name, {}), ticks, metric, i - (len(names) - 1) / 2, name,
                        *STYLES[i % len(STYLES)])  # fmt: skip
            _style(axes, ticks, metric, block[0])
    legend_below(figure, panels.flat, ncols=4, order=names)
    return figure


def _method(
    axes: Axes,
    ways: Mapping[str, Sequence[Run]],
    ticks: Sequence[str],
    metric: str,
    beside: float,
    name: str,
    colour: str,
    mark: str,
) -> None:
    """Draw one method's line in a panel."""
    means: list[tuple[float, float]] = []
    for tick, way in enumerate(ticks):
        seeds = [100 * value for value in by_seed(ways.get(way, ()), metric).values()]
        x = tick + APART * beside
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
    plain_axes(axes, "y", "top", "right")
    if not axes.lines:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no masks", transform=axes.transAxes, ha="center")
