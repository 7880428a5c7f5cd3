"""The papers' claims as a figure, and the papers' own runs: command lines, and what they need.

Sizes are those of each config's `paper()`. Steps of a data set are from the repositories of
Dinomaly (10,000, and 50,000 on Real-IAD) and INP-Former (200 epochs of batches of 16, the last one
dropped); Pro-AD's and PRN's are inferred, as their configs say.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from pandas import DataFrame

from adlib.data.tools.catalogue import BENCHMARKS
from adlib.methods import METHODS
from adlib.report.figures import legend_below, plain_axes
from adlib.report.published import MEAN, METRICS, TITLES, drifts, published
from adlib.report.records import Row, Section
from adlib.report.reproduction import OURS, printed, reproduction

TIMED = {"dinomaly": "Dinomaly", "inp-former": "INP-Former", "pro-ad": "Pro-AD, anchor"}
"""Which row of `tests/benchmarks/paper_size.py` a method's time and memory are taken from."""
OPTIMISER_BYTES = 16  # a trained weight in a checkpoint: itself and three numbers of StableAdamW
CHECKPOINTS = 2  # kept while a run trains
FP16 = 2  # bytes of a cached number
NOT_MEASURED = "not measured"
LARGE_NOISE: dict[str, Any] = {"dropout": 0.4, "steps": 50_000}  # Dinomaly on Real-IAD
DATA = {"mvtec-ad": "MVTec AD", "visa": "VisA", "real-iad": "Real-IAD"}  # of the figure
VARIANTS = ("", "ViT-B", "DINOv3 ViT-B")  # of methods with several: the one their table leads with
BLUE, VERMILION, GREEN, GRAY = "#0072B2", "#D55E00", "#009E73", "0.45"  # Okabe and Ito's, and gray
ADER = "run again by ADer, under its own protocol"
ROW, WIDTH = 0.2, 7.0  # inches; legible at half the width, as on a phone
LEAST = 0.02  # points from 100 that the axis can show
MISSES = (50, 20, 10, 5, 1, 0.2)  # ticks where almost all is right, in points from 100


@dataclass(frozen=True, kw_only=True)
class PaperRun:
    """A method on a data set, as its paper trains it.

    Attributes:
        method: As the command line names it.
        data: Likewise.
        changes: Of the config's `paper()`, for this data set.
        protocol: Under which its paper scores, or is taken to.
        each: Whether each category has a model of its own.
    """

    method: str
    data: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    protocol: str = "dinomaly"
    each: bool = False

    @property
    def config(self) -> Any:
        """The method's config at the paper's size."""
        return replace(METHODS[self.method][1].paper(), **self.changes)

    @property
    def out(self) -> str:
        """Folder of the run."""
        return f"runs/{self.method}-{self.data}" + ("-$c" if self.each else "")

    def commands(self, **changes: Any) -> list[str]:
        """Return the command lines that train and score it, in order.

        Args:
            changes: Of the config, such as `steps=2` for a trial.
        """
        words = " ".join(flags(replace(self.config, **changes)))
        place = f"--data {self.data}" + " --categories $c" * self.each
        return [  # the papers train on every normal image
            f"adlib train {self.method} {place} {words} --holdout 0 --out {self.out}",
            f"adlib evaluate {self.out} {place} --protocol {self.protocol} --intervals",
        ]

    def line(self) -> str:
        """One line for a shell; a loop over the categories where each has a model of its own."""
        line = " && ".join(self.commands())
        names = " ".join(BENCHMARKS[self.data].categories)
        return f"for c in {names}; do {line}; done" if self.each else line


RUNS = (
    PaperRun(method="pro-ad", data="mvtec-ad"),
    PaperRun(method="pro-ad", data="visa"),
    PaperRun(method="pro-ad", data="real-iad", changes=LARGE_NOISE),
    PaperRun(method="dinomaly", data="mvtec-ad"),
    PaperRun(method="dinomaly", data="visa"),
    PaperRun(method="dinomaly", data="real-iad", changes=LARGE_NOISE),
    PaperRun(method="inp-former", data="mvtec-ad"),
    PaperRun(method="inp-former", data="visa", changes={"steps": 200 * 541}),
    PaperRun(method="inp-former", data="real-iad", changes={"steps": 200 * 2279}),
    PaperRun(method="prn", data="mvtec-ad", protocol="ours", each=True),
    PaperRun(method="prn", data="btad", protocol="ours", each=True),
)


def flags(config: Any) -> list[str]:
    """The words of a command line that make this config out of its class's defaults.

    Raises:
        ValueError: A field of a kind that has no plain word, such as a config within the config.
    """
    words: list[str] = []
    for each in fields(config):
        value, name = getattr(config, each.name), each.name.replace("_", "-")
        if value == getattr(type(config)(), each.name):
            continue
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, int | float | str | tuple):
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{name}", *(shlex.quote(str(v)) for v in values)]
        else:
            raise ValueError(f"{each.name} {value!r} has no plain word for the command line")
    return words


def needs(run: PaperRun, timed: Iterable[Row]) -> dict[str, Any]:
    """What a run takes: hours and GPU memory as measured, disk as counted.

    Args:
        run: One of `RUNS`.
        timed: Lines of `paper_size.jsonl`: seconds a step from cached features, on one GPU.
    Returns:
        `hours`, `memory_gib`, and `disk_gb` (cached features of all images and two checkpoints,
        without the data set); empty where no step was measured.
    """
    row = next((r for r in timed if r["method"] == TIMED.get(run.method)), None)
    if row is None:
        return {}
    counts = BENCHMARKS[run.data].counts
    numbers, trained = _shape(run.method)
    images = counts.images or (counts.train or 0) + (counts.good or 0) + (counts.bad or 0)
    disk = images * numbers * FP16 + CHECKPOINTS * OPTIMISER_BYTES * trained
    return {
        "hours": run.config.steps * row["seconds_a_step"] / 3600,
        "memory_gib": row["peak_memory_mib"] / 1024,
        "disk_gb": disk / 1e9,
    }


@cache
def _shape(method: str) -> tuple[int, int]:
    """Numbers of an image's cached features at the paper's size, and trainable weights."""
    build, config = METHODS[method]
    with torch.device("meta"):  # shapes without numbers
        made = build(replace(config.paper(), weights="random"))
    tokens, width = made.grid[0] * made.grid[1], made.encoder.widths[0]
    trained = sum(p.numel() for p in made.parameters() if p.requires_grad)
    return 2 * tokens * width, trained  # two groups of levels


def papers_table(sections: Sequence[Section], timed: Sequence[Row]) -> DataFrame:
    """One row a run of the papers: what it needs, what to expect, and what came out here."""
    claims: Any = reproduction(sections, everywhere=True)
    claims = claims.sort_values("metric", key=lambda m: m.map(METRICS.index), kind="stable")
    rows = []
    for run in RUNS:
        need, setting = needs(run, timed), "supervised" if run.method == "prn" else "multi-class"
        mine = claims[(claims["data"] == run.data) & (claims["setting"] == setting)]
        published, here = [], []
        for row in mine[mine["method"].str.lower() == run.method].to_dict("records"):
            drift = "" if row["tolerance"] != row["tolerance"] else f" ± {row['tolerance']:g}"
            published.append(f"{TITLES[row['metric']]} {printed(row['published'])}{drift}")
            here.append(row["state"] + (f" ({row['but']})" if row["but"] else ""))
        rows.append(
            {
                "method": run.method,
                "data": run.data,
                "steps": f"{run.config.steps:,}" + (" a category" if run.each else ""),
                "GPU, GiB": f"{need['memory_gib']:,.1f}" if need else NOT_MEASURED,
                "hours": f"{need['hours']:,.2f}" if need else NOT_MEASURED,
                "disk, GB": f"{need['disk_gb']:,.0f}" if need else NOT_MEASURED,
                "published": "; ".join(dict.fromkeys(published)),
                "here": "; ".join(dict.fromkeys(here)),
            }
        )
    return DataFrame(rows)


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
    auroc = [r for r in claims if r.metric == "image_auroc"]
    claimed = {r.method: r.per_cent for r in auroc}
    claimed |= {r.method: r.per_cent for r in auroc if r.data == "mvtec-ad"}
    methods = sorted(claimed, key=lambda method: -claimed[method])
    size = (WIDTH, 1.1 + len(metrics) * (0.75 + ROW * len(methods)))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(metrics), len(DATA), sharey=True, squeeze=False)
    ran = [
        row
        for row in reproduction(sections).to_dict("records")
        if row["setting"] == "multi-class" and row["seeds"] and row["ours"] == row["ours"]
    ]
    at = methods.index
    for line, metric in zip(panels, metrics, strict=True):
        for axes, data in zip(line, DATA, strict=True):
            for row in claims:
                if (row.data, row.metric) == (data, metric):
                    colour = BLUE if row.name in OURS else "black"
                    axes.plot(row.per_cent, at(row.method), "o", ms=6, mec=colour, zorder=3,
                              color="white" if row.mark == "second-hand" else colour,
                              label=None if row.name in OURS else f"claim, {row.mark}")  # fmt: skip
            # A bar from each number to its repetition; one under another protocol has no bar.
            asked = {"data": data, "metric": metric}
            for drift in drifts(**asked, setting="multi-class", category=MEAN):
                ends, y = [drift.reference.per_cent, drift.rerun.per_cent], at(drift.rerun.method)
                axes.plot(ends, [y] * 2, color=VERMILION, lw=3, alpha=0.5, zorder=1)
                axes.plot(ends[1], y, "|", color=VERMILION, ms=11, mew=1.6, zorder=2,
                          label="run again, same protocol")  # fmt: skip
            for row in published(**asked, run="retrained", protocol="ader"):
                if row.method in methods and row.category == MEAN:
                    axes.plot(row.per_cent, at(row.method), "^", color=GRAY, ms=4.5, zorder=2,
                              mfc="none", label=ADER)  # fmt: skip
            for row in ran:
                if (row["data"], row["metric"]) == (data, metric):
                    axes.plot(row["ours"], at(row["method"]), "D", color=GREEN, ms=5, zorder=4,
                              label="run here")  # fmt: skip
            _style(axes, metric, methods)
    for axes, title in zip(panels[0], DATA.values(), strict=True):
        axes.set_title(title, fontsize=12)
    legend_below(figure, panels.flat, ncols=2, fontsize=10)
    return figure


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
    missed = (  # per cent to minus the logarithm of what is missing to 100, and back
        lambda value: -np.log10(np.maximum(100 - value, LEAST)),
        lambda log: 100 - 10.0**-log,
    )
    axes.set_xscale("function", functions=missed)
    axes.set_xlim(100 - 1.2 * (100 - drawn.min()), 100 - 0.6 * (100 - drawn.max()))
    axes.xaxis.set_major_locator(FixedLocator([100 - m for m in MISSES]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{100 - m:g}" for m in MISSES])
