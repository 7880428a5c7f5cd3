"""A section as tables: arms against metrics, categories, seeds and cost, and all of it in numbers.

Shown tables hold text in per cent, mean ± standard deviation over seeds; `results` holds fractions.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from adlib.report.images import Draws, recorded_intervals
from adlib.report.published import MEAN, METRICS
from adlib.report.records import DIGITS, Section
from adlib.report.summary import LEVEL, TITLES, spread

if TYPE_CHECKING:
    from pandas import DataFrame

NOT_RUN = "not run"
ABSENT = "–"  # a run that has no such number: there were no masks
COSTS = {
    "seconds": "training, s",
    "test_seconds": "evaluation, s",
    "inference_ms": "inference, ms an image",
    "peak_memory_mib": "peak memory, MiB",
}


def metrics_table(section: Section) -> "DataFrame":
    """One row an arm: how many seeds ran, and the seven metrics in the mean over categories."""
    from pandas import DataFrame

    rows = [{"arm": arm, **dict(zip(METRICS, row, strict=True))} for arm in section.ran()
            for row in zip(*(section.means(arm, m) for m in METRICS), strict=True)]  # fmt: skip
    shown = spread(DataFrame(rows), ["arm"], METRICS)
    shown["runs"] = [f"{n} of {len(section.seeds)}" for n in shown["runs"]]
    return _all_arms(shown.rename(columns={"runs": "seeds"}), section)


def categories_table(section: Section, metric: str) -> "DataFrame":
    """One row an arm, one column a category, and their mean."""
    from pandas import DataFrame

    shown = {}
    for i, column in enumerate((*section.categories, MEAN)):
        rows = [
            {"arm": arm, metric: value}
            for arm in section.ran()
            for value in (
                section.means(arm, metric) if column == MEAN else section.values(arm, metric)[:, i]
            )
        ]
        shown[column] = spread(DataFrame(rows), ["arm"], [metric])[TITLES[metric]]
    return _all_arms(DataFrame(shown), section)


def seeds_table(section: Section, metric: str) -> "DataFrame":
    """One row an arm, one column a seed: the mean over categories of each single run."""
    from pandas import DataFrame

    rows = {
        arm: {
            f"seed {seed}": next(
                (_percent(run.record["mean"].get(metric)) for run in section.of(arm)
                 if run.seed == seed), NOT_RUN,
            )
            for seed in section.seeds
        }
        for arm in section.arms
    }  # fmt: skip
    return _named(DataFrame.from_dict(rows, orient="index"))


def cost_table(section: Section) -> "DataFrame":
    """What each arm took: steps, seconds to train and to evaluate, memory, parameters, device."""
    from pandas import DataFrame

    rows: dict[str, dict[str, str]] = {}
    for arm in section.arms:
        records = [run.record for run in section.of(arm)]
        if not records:
            continue
        row = {"steps": _joined(r.get("steps") for r in records)}
        for key, title in COSTS.items():
            values = [float(r[key]) for r in records if r.get(key) is not None]
            row[title] = f"{np.mean(values):,.0f}" if values else ABSENT
        parameters = [cost["parameters"] for r in records if (cost := r.get("cost"))]
        row["trained parameters"] = _joined(f"{n:,}" for n in parameters) or ABSENT
        row["device"] = _joined(r.get("device") for r in records)
        rows[arm] = row
    return _all_arms(DataFrame.from_dict(rows, orient="index"), section)


def overview(sections: Sequence[Section], metric: str) -> "DataFrame":
    """One row an arm, one column a section: the metric, and the arm's place there."""
    from pandas import DataFrame

    columns = {}
    for section in sections:
        best = section.order(metric)
        cells = dict.fromkeys(section.arms, NOT_RUN) | dict.fromkeys(section.ran(), ABSENT)
        cells |= {a: f"{_percent(section.means(a, metric).mean())} ({best.index(a) + 1})"
                  for a in best}  # fmt: skip
        columns[section.title.removeprefix(f"{section.source}: ")] = cells
    return _named(DataFrame(columns))


def results(section: Section, draws: Mapping[str, Draws]) -> "DataFrame":
    """All of a section in numbers: a row for each arm, category (or mean) and metric.

    `low` and `high` are Student's interval over seeds, `images_low` and `images_high` the one over
    test images where records allow it; fractions.
    """
    from pandas import DataFrame
    from scipy.stats import t

    rows = []
    for arm, category, metric in product(section.ran(), (MEAN, *section.categories), METRICS):
        values = section.means(arm, metric)
        if category != MEAN:
            values = section.values(arm, metric)[:, section.categories.index(category)]
        values = values[~np.isnan(values)]
        n = len(values)
        mean = float(values.mean()) if n else float("nan")
        deviation = float(values.std(ddof=1)) if n > 1 else float("nan")
        half = float(t.ppf((1 + LEVEL) / 2, n - 1)) * deviation / n**0.5 if n > 1 else None
        over = images_interval(section, arm, category, metric, draws)
        rows.append(
            {
                "section": section.title,
                "data_hash": section.runs[0].record["data"]["hash"],
                "arm": arm,
                "category": category,
                "metric": metric,
                "seeds": n,
                "mean": mean,
                "deviation": deviation,
                "low": None if half is None else mean - half,
                "high": None if half is None else mean + half,
                "images_low": over and over[0],
                "images_high": over and over[1],
            }
        )
    return DataFrame(rows)


def images_interval(
    section: Section, arm: str, category: str, metric: str, draws: Mapping[str, Draws]
) -> tuple[float, float] | None:
    """The interval over test images, of the mean over an arm's seeds; None where records have none.

    Of a mean over categories it is that of the draws, or of the categories' own intervals, which
    are independent: the square root of the sum of squares. Of several seeds the ends are averaged.
    """
    if category == MEAN and arm in draws and metric in draws[arm].values:
        ends = np.quantile(draws[arm].values[metric], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(ends[0]), float(ends[1])
    names = section.categories if category == MEAN else (category,)
    found = []
    for run in section.of(arm):
        value = (run.record["mean"] if category == MEAN else run.record["categories"][category])[
            metric
        ]
        parts = [(name, recorded_intervals(run, name, metric)) for name in names]
        sides = [(run.record["categories"][name][metric] - i[0],
                  i[1] - run.record["categories"][name][metric])
                 for name, i in parts if i is not None]  # fmt: skip
        if value is None or len(sides) < len(names):
            return None
        below, above = np.sqrt(np.square(sides).sum(axis=0)) / len(names)
        found.append((value - below, value + above))
    return (float(np.mean([f[0] for f in found])), float(np.mean([f[1] for f in found])))


def intervals_table(section: Section, draws: Mapping[str, Draws]) -> "DataFrame | None":
    """One row an arm: the interval over test images of each metric; None if no record holds any."""
    from pandas import DataFrame

    rows = {
        arm: {
            TITLES[m]: ABSENT if i is None else f"{100 * i[0]:.1f} to {100 * i[1]:.1f}"
            for m in METRICS
            for i in [images_interval(section, arm, MEAN, m, draws)]
        }
        for arm in section.arms
        if section.of(arm)
    }
    if all(cell == ABSENT for row in rows.values() for cell in row.values()):
        return None
    return _named(DataFrame.from_dict(rows, orient="index"))


def runs(section: Section) -> "DataFrame":
    """One row a run: where it comes from, what it was, what it took, the mean of each metric."""
    from pandas import DataFrame

    keys = ("seed", "steps", *COSTS, "device", "precision", "commit")
    return DataFrame(
        [
            {
                "section": section.title,
                "id": run.id,
                "arm": run.arm,
                "method": run.record["method"],
                "data_hash": run.record["data"]["hash"],
                **{key: run.record.get(key) for key in keys},
                **{metric: run.record["mean"].get(metric) for metric in METRICS},
            }
            for run in section.runs
        ]
    )


def provenance(section: Section) -> str:
    """Say what the runs of a section come from: seeds, data hash, commits, devices, precision."""
    records = [run.record for run in section.runs]
    seeds = sorted({run.seed for run in section.runs})
    commits = _joined(str(r.get("commit"))[:DIGITS] for r in records)
    return (
        f"{len(records)} runs; seed{'s' * (len(seeds) > 1)} {_joined(seeds)}; "
        f"data {records[0]['data']['hash'][:DIGITS]}, "
        f"{len(section.categories)} categories; commit {commits}; "
        f"{_joined(r.get('device') for r in records)}; "
        f"{_joined(r.get('precision') for r in records)}."
    )


def _all_arms(frame: "DataFrame", section: Section) -> "DataFrame":
    """Give each arm of the source a row, in their order; those that did not run say so."""
    return _named(frame.reindex(list(section.arms), fill_value=NOT_RUN))


def _named(frame: "DataFrame") -> "DataFrame":
    return frame.rename_axis(index="arm", columns=None)


def _percent(value: Any) -> str:
    return ABSENT if value is None or value != value else f"{100 * float(value):.1f}"


def _joined(values: Any) -> str:
    return ", ".join(dict.fromkeys(str(v) for v in values if v is not None))
