"""The papers' claims as a figure, and the papers' own runs: command lines, and what they need.

Sizes are those of each config's `paper()`. Steps of a data set are from the repositories of
Dinomaly (10,000, and 50,000 on Real-IAD) and INP-Former (200 epochs of batches of 16, the last one
dropped); Pro-AD's and PRN's are inferred, as their configs say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from types import MappingProxyType
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from pandas import DataFrame, concat

from adlib.data.tools.catalogue import BENCHMARKS
from adlib.methods import METHODS
from adlib.report.figures import legend_below, plain_axes
from adlib.report.published import MEAN, TITLES, drifts, published
from adlib.report.records import Row, Section
from adlib.report.reproduction import OURS, reproduction

TIMED = {"dinomaly": "Dinomaly", "inp-former": "INP-Former", "pro-ad": "Pro-AD, anchor"}
"""Which row of `tests/benchmarks/paper_size.py` a method's time and memory are taken from."""
NOT_MEASURED = "not measured"
LARGE_NOISE: dict[str, Any] = {"dropout": 0.4, "steps": 50_000}  # Dinomaly on Real-IAD
DATA = {"mvtec-ad": "MVTec AD", "visa": "VisA", "real-iad": "Real-IAD"}  # of the figure
VARIANTS = ("", "ViT-B", "DINOv3 ViT-B")  # of methods with several: the one their table leads with
BLUE, VERMILION, GREEN, GRAY = "#0072B2", "#D55E00", "#009E73", "0.45"  # Okabe and Ito's, and gray
RERUN, ADER = "run again, same protocol", "run again by ADer, under its own protocol"
MARKS: dict[str, dict[str, Any]] = {  # of the figure, by what a number is
    "claim, primary": {"marker": "o", "ms": 6, "zorder": 3},
    "claim, second-hand": {"marker": "o", "ms": 6, "zorder": 3, "mfc": "white"},
    RERUN: {"marker": "|", "ms": 11, "mew": 1.6, "color": VERMILION},
    ADER: {"marker": "^", "mfc": "none", "color": GRAY},
    "run here": {"marker": "D", "ms": 5, "color": GREEN, "zorder": 4},
}
ROW, WIDTH = 0.2, 7.0  # inches; legible at half the width, as on a phone
LEAST = 0.02  # points from 100 that the axis can show
MISSES = (50, 20, 10, 5, 1, 0.2)  # ticks where almost all is right, in points from 100


class PaperRun(NamedTuple):
    """A method on a data set, as its paper trains it."""

    method: str  # as the command line names it
    data: str  # likewise
    changes: Mapping[str, Any] = MappingProxyType({})  # of the config's `paper()`, on this data

    @property
    def config(self) -> Any:
        """The method's config at the paper's size."""
        return replace(METHODS[self.method][1].paper(), **self.changes)

    @property
    def each(self) -> bool:
        """Whether each category has a model of its own."""
        return self.method == "prn"

    def commands(self) -> list[str]:
        """Return the command lines that train and score it; `$c` is the category, if one each."""
        out = f"runs/{self.method}-{self.data}" + "-$c" * self.each
        place = f"--data {self.data}" + " --categories $c" * self.each
        words = "".join(f" --{name} {value}" for name, value in self.changes.items())
        protocol = "ours" if self.each else "dinomaly"  # of the paper, or taken to be
        return [  # the papers train on every normal image
            f"adlib train {self.method} --preset paper {place}{words} --holdout 0 --out {out}",
            f"adlib evaluate {out} {place} --protocol {protocol} --intervals",
        ]

    def line(self) -> str:
        """One line for a shell; a loop over the categories where each has a model of its own."""
        line, names = " && ".join(self.commands()), " ".join(BENCHMARKS[self.data].categories)
        return f"for c in {names}; do {line}; done" if self.each else line


RUNS = (
    PaperRun("pro-ad", "mvtec-ad"),
    PaperRun("pro-ad", "visa"),
    PaperRun("pro-ad", "real-iad", LARGE_NOISE),
    PaperRun("dinomaly", "mvtec-ad"),
    PaperRun("dinomaly", "visa"),
    PaperRun("dinomaly", "real-iad", LARGE_NOISE),
    PaperRun("inp-former", "mvtec-ad"),
    PaperRun("inp-former", "visa", {"steps": 200 * 541}),
    PaperRun("inp-former", "real-iad", {"steps": 200 * 2279}),
    PaperRun("prn", "mvtec-ad"),
    PaperRun("prn", "btad"),
)


def papers_table(timed: Sequence[Row]) -> DataFrame:
    """One row a run of the papers: its steps, and hours and GPU memory where steps were measured.

    Args:
        timed: Lines of `paper_size.jsonl`: seconds a step from cached features, on one GPU.
    """
    measured = {row["method"]: row for row in timed}
    rows = []
    for run in RUNS:
        need, steps = measured.get(TIMED.get(run.method, "")), run.config.steps
        hours = f"{steps * need['seconds_a_step'] / 3600:,.2f}" if need else NOT_MEASURED
        memory = f"{need['peak_memory_mib'] / 1024:,.1f}" if need else NOT_MEASURED
        each = " a category" if run.each else ""
        rows.append((run.method, run.data, f"{steps:,}{each}", hours, memory))
    return DataFrame(rows, columns=["method", "data", "steps", "hours", "GPU, GiB"])


def claims_figure(metrics: Sequence[str], sections: Sequence[Section] = ()) -> Figure:
    """Show multi-class claims by method: a column a data set, a row of panels a metric.

    AUROC is drawn by its distance from 100 on a logarithmic axis, since most of it is above 95.

    Args:
        metrics: Their names.
        sections: Runs of one's own; those on a whole data set of the papers are shown.
    """
    asked = {"setting": "multi-class", "category": MEAN}
    claims: Any = DataFrame(published(**asked, run="paper"))
    claims = claims[claims["variant"].isin(VARIANTS) & claims["data"].isin(DATA)]
    auroc = claims[claims["metric"] == "image_auroc"].groupby("method")["per_cent"].mean()
    methods = list(auroc.sort_values(ascending=False).index)
    own: Any = reproduction(sections, everywhere=True)
    own = own[(own["setting"] == "multi-class") & own["ours"].notna()]
    points: Any = concat([
        claims.assign(kind="claim, " + claims["mark"]),
        DataFrame(drift.rerun for drift in drifts(**asked)).assign(kind=RERUN),
        DataFrame(published(category=MEAN, run="retrained", protocol="ader")).assign(kind=ADER),
        own.assign(per_cent=own["ours"], kind="run here"),
    ], ignore_index=True)  # fmt: skip
    points = points[points["method"].isin(methods)]
    missed = (100 - points["per_cent"]).clip(lower=LEAST)
    points["at"] = missed.where(points["metric"].str.endswith("auroc"), points["per_cent"])
    size = (WIDTH, 1.1 + len(metrics) * (0.75 + ROW * len(methods)))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(metrics), len(DATA), sharey=True, squeeze=False)
    for (row, metric), (column, data) in product(enumerate(metrics), enumerate(DATA)):
        axes = panels[row, column]
        here = points[(points["data"] == data) & (points["metric"] == metric)]
        for point in here.itertuples():
            ours = point.method.lower() in OURS
            look = {"color": BLUE if ours else "black", "ls": ""} | MARKS[point.kind]
            label = None if ours and "claim" in point.kind else point.kind
            axes.plot(point.at, methods.index(point.method), label=label, **look)
        axes.set_xlabel(f"{TITLES[metric]}, %", fontsize=11)
        axes.set_yticks(range(len(methods)), methods, fontsize=11)
        for label in axes.get_yticklabels():
            label.set_color(BLUE if label.get_text().lower() in OURS else "black")
        axes.set_ylim(len(methods) - 0.4, -0.6)
        if metric.endswith("auroc"):
            axes.set_xscale("log")
            axes.set_xticks(MISSES, [f"{100 - miss:g}" for miss in MISSES])
            axes.minorticks_off()
            axes.set_xlim(1.2 * here["at"].max(), 0.8 * here["at"].min())
        plain_axes(axes)
        axes.tick_params(axis="x", labelsize=10)
        axes.set_title(DATA[data] if row == 0 else "", fontsize=12)
    legend_below(figure, panels.flat, ncols=2, fontsize=10)
    return figure
