"""What was published, as a figure: claims, where reruns landed, and where a run here did."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from adlib.report.figures import legend_below, plain_axes
from adlib.report.published import MEAN, TITLES, Published, drifts, published
from adlib.report.records import Section
from adlib.report.reproduction import OURS, reproduction

DATA = {"mvtec-ad": "MVTec AD", "visa": "VisA", "real-iad": "Real-IAD"}
VARIANTS = ("", "ViT-B", "DINOv3 ViT-B")  # of methods with several: the one their table leads with
BLUE, VERMILION, GREEN, GRAY = "#0072B2", "#D55E00", "#009E73", "0.45"  # Okabe and Ito's, and gray
ROW = 0.2  # inches; with the sizes below legible at half the width, as on a phone
WIDTH = 7.0  # inches
LEAST = 0.02  # points from 100 that the axis can show
MISSES = (50, 20, 10, 5, 1, 0.2)  # ticks where almost all is right, in points from 100


def claims_figure(metrics: Sequence[str], sections: Sequence[Section] = ()) -> Figure:
    """Show multi-class claims by method: a column a data set, a row of panels a metric.

    AUROC is drawn by its distance from 100 on a logarithmic axis, since most of it is above 95.

    Args:
        metrics: Their names.
        sections: Runs of one's own; those on a whole data set of the papers are shown.
    """
    claims = [
        row
        for row in published(category=MEAN, run="paper", setting="multi-class")
        if row.variant in VARIANTS and row.data in DATA
    ]
    methods = _methods(claims)
    size = (WIDTH, 1.1 + len(metrics) * (0.75 + ROW * len(methods)))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(metrics), len(DATA), sharey=True, squeeze=False)
    ran = [
        row
        for row in reproduction(sections).to_dict("records")
        if row["setting"] == "multi-class" and row["seeds"] and row["ours"] == row["ours"]
    ]
    for line, metric in zip(panels, metrics, strict=True):
        for axes, data in zip(line, DATA, strict=True):
            mine = [row for row in claims if (row.data, row.metric) == (data, metric)]
            _claims(axes, mine, methods)
            _reruns(axes, data, metric, methods)
            for row in ran:
                if (row["data"], row["metric"]) == (data, metric):
                    axes.plot(row["ours"], methods.index(row["method"]), "D", color=GREEN, ms=5,
                              label="run here", zorder=4)  # fmt: skip
            _style(axes, metric, methods)
    for axes, title in zip(panels[0], DATA.values(), strict=True):
        axes.set_title(title, fontsize=12)
    legend_below(figure, panels.flat, ncols=2, fontsize=10)
    return figure


def _methods(claims: Sequence[Published]) -> list[str]:
    """Methods by what they claim on MVTec AD, the best first."""
    first = {r.method: r.per_cent for r in claims if r.metric == "image_auroc"}
    first |= {
        r.method: r.per_cent for r in claims if (r.metric, r.data) == ("image_auroc", "mvtec-ad")
    }
    return sorted(first, key=lambda method: -first[method])


def _claims(axes: Axes, rows: Sequence[Published], methods: list[str]) -> None:
    for row in rows:
        second = row.mark == "second-hand"
        ours = row.name in OURS
        axes.plot(
            row.per_cent, methods.index(row.method), "o", ms=6, mec=BLUE if ours else "black",
            color="white" if second else BLUE if ours else "black", zorder=3,
            label=f"claim, {row.mark}" if not ours else None,
        )  # fmt: skip


def _reruns(axes: Axes, data: str, metric: str, methods: list[str]) -> None:
    """Draw a bar from what was repeated to each rerun; one under another protocol has no bar."""
    for drift in drifts(data=data, metric=metric, setting="multi-class", category=MEAN):
        row = methods.index(drift.rerun.method)
        ends = [drift.reference.per_cent, drift.rerun.per_cent]
        axes.plot(ends, [row, row], color=VERMILION, lw=3, alpha=0.5, zorder=1)
        axes.plot(ends[1], row, "|", color=VERMILION, ms=11, mew=1.6, zorder=2,
                  label="run again, same protocol")  # fmt: skip
    for row in published(run="retrained", data=data, metric=metric, protocol="ader"):
        if row.method in methods and row.category == MEAN:
            axes.plot(row.per_cent, methods.index(row.method), "^", color=GRAY, ms=4.5, zorder=2,
                      mfc="none", label="run again by ADer, under its own protocol")  # fmt: skip


def _style(axes: Axes, metric: str, methods: list[str]) -> None:
    axes.set_xlabel(f"{TITLES[metric]}, %", fontsize=11)
    axes.set_yticks(range(len(methods)), methods, fontsize=11)
    for label in axes.get_yticklabels():
        label.set_color(BLUE if label.get_text().lower() in OURS else "black")
    axes.set_ylim(len(methods) - 0.4, -0.6)
    plain_axes(axes, "x", "top", "right", "left")
    axes.tick_params(axis="x", labelsize=10)
    if not metric.endswith("auroc"):
        return
    drawn = np.concatenate([np.asarray(points.get_xdata(), float) for points in axes.lines])
    axes.set_xscale("function", functions=(_missed, _reached))
    axes.set_xlim(100 - 1.2 * (100 - drawn.min()), 100 - 0.6 * (100 - drawn.max()))
    axes.xaxis.set_major_locator(FixedLocator([100 - m for m in MISSES]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{100 - m:g}" for m in MISSES])


def _missed(value: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Per cent to minus the logarithm of what is missing to 100."""
    return -np.log10(np.maximum(100 - value, LEAST))


def _reached(missed: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The inverse of `_missed`."""
    return 100 - 10.0**-missed
