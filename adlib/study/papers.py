"""The papers' own runs: a command line for each, and what it needs.

Sizes are those of each config's `paper()`. Steps of a data set are from the repositories of
Dinomaly (10,000, and 50,000 on Real-IAD) and INP-Former (200 epochs of batches of 16, the last one
dropped); Pro-AD's and PRN's are inferred, as their configs say.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from adlib.data.tools.catalogue import BENCHMARKS
from adlib.methods import METHODS
from adlib.report.published import METRICS, TITLES
from adlib.report.records import Row, Section
from adlib.report.reproduction import printed, reproduction

if TYPE_CHECKING:
    from pandas import DataFrame

TIMED = {"dinomaly": "Dinomaly", "inp-former": "INP-Former", "pro-ad": "Pro-AD, anchor"}
"""Which row of `tests/benchmarks/paper_size.py` a method's time and memory are taken from."""
OPTIMISER_BYTES = 16  # a trained weight in a checkpoint: itself and three numbers of StableAdamW
CHECKPOINTS = 2  # kept while a run trains
FP16 = 2  # bytes of a cached number
NOT_MEASURED = "not measured"
NEEDS = (("GPU, GiB", "memory_gib", 1), ("hours", "hours", 2), ("disk, GB", "disk_gb", 0))
LARGE_NOISE: dict[str, Any] = {"dropout": 0.4, "steps": 50_000}  # Dinomaly on Real-IAD


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
        config = replace(self.config, **changes)
        only = ["--categories", "$c"] if self.each else []
        place = ["--data", self.data, *only]
        whole = ["--holdout", "0"]  # the papers train on every normal image
        train = ["adlib", "train", self.method, *place, *flags(config), *whole, "--out", self.out]
        score = ["adlib", "evaluate", self.out, *place, "--protocol", self.protocol, "--intervals"]
        return [" ".join(train), " ".join(score)]

    def line(self) -> str:
        """One line for a shell; a loop over the categories where each has a model of its own."""
        line = " && ".join(self.commands())
        if not self.each:
            return line
        names = " ".join(BENCHMARKS[self.data].categories)
        return f"for c in {names}; do {line}; done"


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
        elif isinstance(value, int | float | str):
            words += [f"--{name}", shlex.quote(str(value))]
        elif isinstance(value, tuple):
            words += [f"--{name}", *map(str, value)]
        else:
            raise ValueError(f"{each.name} {value!r} has no plain word for the command line")
    return words


def needs(run: PaperRun, timed: Iterable[Row]) -> dict[str, Any]:
    """What a run takes: hours and GPU memory as measured, disk as counted.

    Args:
        run: One of `RUNS`.
        timed: Lines of `paper_size.jsonl`: seconds a step from cached features, on one GPU.
    Returns:
        steps, hours and memory_gib (None where no step was measured), disk_gb (cached features of
        all images and two checkpoints, without the data set; None where images are not cached), and
        `origin`, in words.
    """
    counts = BENCHMARKS[run.data].counts
    steps = run.config.steps
    found: dict[str, Any] = {"steps": steps, "hours": None, "memory_gib": None,
                             "disk_gb": None, "origin": NOT_MEASURED}  # fmt: skip
    row = next((r for r in timed if r["method"] == TIMED.get(run.method)), None)
    if row is None:
        return found
    numbers, trained = _shape(run.method)
    images = counts.images or (counts.train or 0) + (counts.good or 0) + (counts.bad or 0)
    features = images * numbers * FP16
    return found | {
        "hours": steps * row["seconds_a_step"] / 3600,
        "memory_gib": row["peak_memory_mib"] / 1024,
        "disk_gb": (features + CHECKPOINTS * OPTIMISER_BYTES * trained) / 1e9,
        "origin": f"{row['method']}, {row['device']}, {row['precision']}",
    }


@cache
def _shape(method: str) -> tuple[int, int]:
    """Numbers of an image's cached features at the paper's size, and trainable weights."""
    import torch

    build, config = METHODS[method]
    with torch.device("meta"):  # shapes without numbers
        made = build(replace(config.paper(), weights="random"))
    tokens, width = made.grid[0] * made.grid[1], made.encoder.widths[0]
    trained = sum(p.numel() for p in made.parameters() if p.requires_grad)
    return 2 * tokens * width, trained  # two groups of levels


def papers_table(sections: Sequence[Section], timed: Sequence[Row]) -> "DataFrame":
    """One row a run of the papers: what it needs, what to expect, and what came out here."""
    from pandas import DataFrame

    claims = reproduction(sections, everywhere=True).to_dict("records")
    claims.sort(key=lambda row: METRICS.index(row["metric"]))
    rows = []
    for run in RUNS:
        need, setting = needs(run, timed), "supervised" if run.method == "prn" else "multi-class"
        wanted = run.data, run.method, setting
        claimed = [r for r in claims if (r["data"], r["method"].lower(), r["setting"]) == wanted]
        numbers = dict.fromkeys(
            f"{TITLES[row['metric']]} {printed(row['published'])}"
            + ("" if row["tolerance"] != row["tolerance"] else f" ± {row['tolerance']:g}")
            for row in claimed
        )
        states = dict.fromkeys(
            row["state"] + (f" ({row['but']})" if row["but"] else "") for row in claimed
        )
        rows.append(
            {
                "method": run.method,
                "data": run.data,
                "steps": f"{need['steps']:,}" + (" a category" if run.each else ""),
                **{
                    title: NOT_MEASURED if need[key] is None else f"{need[key]:,.{digits}f}"
                    for title, key, digits in NEEDS
                },
                "published": "; ".join(numbers),
                "here": "; ".join(states),
            }
        )
    return DataFrame(rows)
