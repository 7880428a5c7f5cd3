"""A section as tables: arms against metrics, categories, seeds and cost, and all of it in numbers.

Shown tables hold text in per cent, mean ± standard deviation over seeds; `results` holds fractions.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from pandas import DataFrame, Index

from adlib.report.paired import ALPHA, KINDS, LEVEL, Draws, interval
from adlib.report.published import MEAN, METRICS, TITLES
from adlib.report.records import DECISIONS, DIGITS, Row, Run, Section

NOT_RUN = "not run"
ABSENT = "–"  # a run that has no such number: there were no masks
ONE_FOR_ALL = "one for all"  # the threshold that predict takes where no category is named
COSTS = {
    "seconds": "training, s",
    "test_seconds": "evaluation, s",
    "inference_ms": "inference, ms an image",
    "peak_memory_mib": "peak memory, MiB",
}


def table(record: Mapping[str, Any]) -> DataFrame:
    """Show a record as the field's tables do: a row a category and their mean, in per cent.

    A metric that no category has (there were no masks) gets no column.
    """
    rows = {**record["categories"], "mean": record["mean"]}
    frame = DataFrame.from_dict(rows, orient="index").rename(columns=TITLES)
    frame.index.name = "category"
    return frame.dropna(axis="columns", how="all").astype(float).mul(100).round(1)


def decision_sentences(record: Mapping[str, Any]) -> str:
    """Say in plain words what the shipped threshold does, a line each; "" where there is none."""
    if not (decided := record.get("decisions")):
        return ""
    rows = dict(decided["categories"])
    if decided["pooled"] not in rows.values():  # as it is of a method of this one category
        rows[ONE_FOR_ALL] = decided["pooled"]
    lines, rates = [], []
    for name, row in rows.items():
        kinds = [f"{k} {n['missed']} of {n['of']}" for k, n in row["kinds"].items() if n["missed"]]
        miss = row.get("miss_promised")  # where labelled defects set the threshold
        promise = f"{row['promised']:.1%}" if miss is None else f"{miss:.1%} misses"
        lines.append(
            f"At the shipped threshold{f', {name}' if len(rows) > 1 else ''} "
            f"({promise} promised): {row['false_alarms']} of {row['good']} good images "
            f"called defective, {row['missed']} of {row['defective']} defects missed"
            + (f" ({', '.join(kinds)})." if kinds else ".")
        )
        if (rate := row["false_alarm_rate_at_95"]) is not None:
            rates.append(f"{f'{name} ' if len(rows) > 1 else ''}{rate:.1%}")
    at_95 = f"False alarms at a threshold that finds 95% of the defects: {', '.join(rates)}."
    return "\n".join([*lines, at_95] if rates else lines)


def decisions_table(section: Section) -> DataFrame | None:
    """One row an arm and category: what the shipped threshold does; None if no record says."""
    rows = []
    for arm in section.ran():
        held = [d for run in section.of(arm) if (d := run.record.get("decisions"))]
        names = [*section.categories, ONE_FOR_ALL] if held else []
        if all(d["pooled"] in d["categories"].values() for d in held):
            names = names[:-1]
        for name in names:
            each = [d["categories"].get(name, d["pooled"]) for d in held]
            row = {"arm": arm, "category": name}
            for key, title in DECISIONS.items():
                row[title] = with_deviation([one.get(key) for one in each])
                if len(each) == 1 and (ends := each[0].get(f"{key}_interval")):
                    row[title] += f" ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})"
            masks = [one.get("pixel_f1", {}).get(name) for one in held]
            row["pixel F1 of the masks"] = with_deviation(masks)
            rows.append(row)
    return DataFrame(rows).set_index(["arm", "category"]) if rows else None


def runs_table(runs: Iterable[Run]) -> DataFrame:
    """One row a run: where it comes from, what it was, what it took, the mean of each metric."""
    keys = ("seed", "steps", *COSTS, "device", "precision", "commit")
    return DataFrame(
        [
            {
                "source": run.source,
                "id": run.id,
                "arm": run.arm,
                "method": run.record["method"],
                "data": run.record["data"]["name"],
                "data_hash": run.record["data"]["hash"],
                **{key: run.record.get(key) for key in keys},
                **{metric: run.mean.get(metric) for metric in METRICS},
            }
            for run in runs
        ]
    )


def spread(frame: DataFrame, by: Sequence[str], columns: Sequence[str]) -> DataFrame:
    """Mean and standard deviation over the runs of each group, as text; and how many there are.

    Metrics are in per cent with one decimal, seconds are whole, the rest has three decimals. Groups
    keep their first order.
    """

    def text(values: Any, column: str) -> str:
        factor, digits = (100.0, 1) if column in TITLES else (1.0, 0 if column == "seconds" else 3)
        return with_deviation(values, factor, digits)

    groups = frame.groupby(list(by), sort=False, dropna=False)
    shown = groups.agg({c: lambda v, c=c: text(v, c) for c in columns})
    shown.insert(0, "runs", groups.size())
    return shown.rename(columns=TITLES)


def with_deviation(numbers: Any, factor: float = 100.0, digits: int = 1) -> str:
    """Mean and standard deviation, such as "76.8 ± 0.2"; a dash where all are None or NaN."""
    values = np.array(numbers, float)
    values = values[~np.isnan(values)]
    if not len(values):
        return ABSENT
    mean = f"{factor * np.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {factor * np.std(values, ddof=1):.{digits}f}"


def with_interval(section: Section, arm: str, metric: str) -> str:
    """An arm's mean over seeds and its 95 % interval, such as "76.8 (76.1 to 77.4)".

    The interval is Student's, over seeds; of one seed it is the record's own, with a star.
    """
    values = section.means(arm, metric)
    values = values[~np.isnan(values)]
    if not len(values):
        return ABSENT
    mean, low, high, n = interval(values)
    if n > 1:
        return f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})"
    over = images_interval(section, arm, MEAN, metric, {})
    return f"{100 * mean:.1f}" + (f" ({100 * over[0]:.1f} to {100 * over[1]:.1f}*)" if over else "")


def metrics_table(section: Section, metrics: Sequence[str] = METRICS) -> DataFrame:
    """One row an arm: how many seeds ran, and metrics in the mean over categories."""

    def cells(arm: str) -> dict[str, str]:
        found = {TITLES[m]: with_deviation(section.means(arm, m)) for m in metrics}
        return {"seeds": f"{len(section.of(arm))} of {len(section.seeds)}"} | found

    return _each_arm(section, cells)


def categories_table(section: Section, metric: str) -> DataFrame:
    """One row an arm, one column a category, and their mean."""

    def cells(arm: str) -> dict[str, str]:
        each = map(with_deviation, section.values(arm, metric).T)
        found = dict(zip(section.categories, each, strict=True))
        return found | {MEAN: with_deviation(section.means(arm, metric))}

    return _each_arm(section, cells)


def cost_table(section: Section) -> DataFrame:
    """What each arm took: steps, seconds to train and to evaluate, memory, parameters, device."""

    def cells(arm: str) -> dict[str, str]:
        records = [run.record for run in section.of(arm)]
        row = {"steps": _joined(r.get("steps") for r in records)}
        for key, title in COSTS.items():
            values = [float(r[key]) for r in records if r.get(key) is not None]
            row[title] = f"{np.mean(values):,.0f}" if values else ABSENT
        counts = [(r.get("cost") or {}).get("parameters") for r in records]
        row["trained parameters"] = _joined(f"{n:,}" for n in counts if n is not None) or ABSENT
        return row | {"device": _joined(r.get("device") for r in records)}

    return _each_arm(section, cells)


def overview(sections: Sequence[Section], metric: str) -> DataFrame:
    """One row an arm, one column a section: the metric, and the arm's place there."""
    columns = {}
    for section in sections:
        best = section.order(metric)
        cells = dict.fromkeys(section.arms, NOT_RUN) | dict.fromkeys(section.ran(), ABSENT)
        cells |= {arm: f"{100 * section.means(arm, metric).mean():.1f} ({place})"
                  for place, arm in enumerate(best, 1)}  # fmt: skip
        columns[section.title.removeprefix(f"{section.source}: ")] = cells
    return DataFrame(columns).rename_axis("arm")


def pairs_table(pairs: DataFrame) -> DataFrame:
    """One row a pair: its difference in points, and whether each source of chance tells it apart.

    Args:
        pairs: Of one metric, as `adlib.report.paired.compare` returns them.
    """

    def cell(pair: Row, kind: str) -> str:
        low, high, n, p = (pair[f"{kind}_{key}"] for key in ("low", "high", "n", "p"))
        if p != p:
            return ABSENT
        apart = ", told apart" if p <= ALPHA else ""
        return f"{100 * low:+.1f} to {100 * high:+.1f}, p = {p:.2g} ({n:.0f}){apart}"

    rows = {}
    for pair in pairs.to_dict("records"):
        means = (pair[f"{kind}_mean"] for kind in KINDS if pair[f"{kind}_p"] == pair[f"{kind}_p"])
        rows[f"{pair['first']} – {pair['second']}"] = [f"{100 * next(means):+.1f}"] + [
            cell(pair, kind) for kind in KINDS
        ]
    columns = ["points", *(f"over {kind}" for kind in KINDS)]
    return DataFrame(list(rows.values()), columns=columns, index=Index(list(rows)))


def apart(pairs: DataFrame, arm: str) -> set[str]:
    """The arms that the seeds tell from one, by one metric's pairs (`adlib.report.paired`)."""
    sure = pairs[pairs["seeds_p"] <= ALPHA]
    return {*sure.loc[sure["first"] == arm, "second"], *sure.loc[sure["second"] == arm, "first"]}


def leader(section: Section, metric: str, pairs: DataFrame) -> str:
    """One clause about one metric: who has the highest mean, and whom the seeds tell from it.

    Args:
        section: Runs under one protocol on the same images.
        metric: Its name.
        pairs: Of this metric, as `adlib.report.paired.compare` returns them.
    """
    best = section.order(metric)
    if len(best) < 2:
        return f"nothing to compare by {TITLES[metric]}"
    sure = apart(pairs, best[0])
    named = [arm for arm in best if arm in sure]
    names = f"{', '.join(named)}, " if 0 < len(named) < 4 else ""
    return (
        f"by {TITLES[metric]} {best[0]}, {with_interval(section, best[0], metric)}; the seeds "
        f"tell it from {names}{len(named) or 'none'} of {len(best) - 1} others"
    )


def results(section: Section, draws: Mapping[str, Draws]) -> DataFrame:
    """All of a section in numbers: a row for each arm, category (or mean) and metric.

    `low` and `high` are Student's interval over seeds, `images_low` and `images_high` the one over
    test images where records allow it; fractions.
    """
    rows = []
    for arm, category, metric in product(section.ran(), (MEAN, *section.categories), METRICS):
        values = section.means(arm, metric)
        if category != MEAN:
            values = section.values(arm, metric)[:, section.categories.index(category)]
        values = values[~np.isnan(values)]
        mean, low, high, n = interval(values) if len(values) else (np.nan, np.nan, np.nan, 0)
        over = images_interval(section, arm, category, metric, draws) or (None, None)
        rows.append(
            [section.title, section.runs[0].record["data"]["hash"], arm, category, metric, n, mean]
            + ([float(values.std(ddof=1)), low, high] if n > 1 else [np.nan, None, None])
            + [*over]
        )
    columns = ["section", "data_hash", "arm", "category", "metric", "seeds", "mean", "deviation"]
    return DataFrame(rows, columns=[*columns, "low", "high", "images_low", "images_high"])


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
        rows, around = run.record["categories"], run.record.get("intervals") or {}
        value = (run.mean if category == MEAN else rows[category]).get(metric)
        parts = [(rows[c].get(metric), around.get(c, {}).get(metric)) for c in names]
        if value is None or any(None in part for part in parts):
            return None
        sides = [(at - low, high - at) for at, (low, high) in parts]
        below, above = np.sqrt(np.square(sides).sum(axis=0)) / len(names)
        found.append((value - below, value + above))
    return (float(np.mean([f[0] for f in found])), float(np.mean([f[1] for f in found])))


def intervals_table(section: Section, draws: Mapping[str, Draws]) -> DataFrame | None:
    """One row an arm: the interval over test images of each metric; None if no record holds any."""

    def cell(arm: str, metric: str) -> str:
        ends = images_interval(section, arm, MEAN, metric, draws)
        return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}" if ends else ABSENT

    shown = _each_arm(section, lambda arm: {TITLES[m]: cell(arm, m) for m in METRICS})
    return None if shown.isin([ABSENT, NOT_RUN]).all(axis=None) else shown


def provenance(section: Section) -> str:
    """Say what the runs of a section come from: seeds, data hash, commits, devices, precision."""
    records: list[Row] = [run.record for run in section.runs]
    seeds = sorted({run.seed for run in section.runs})
    commits = _joined(str(r.get("commit"))[:DIGITS] for r in records)
    return (
        f"{len(records)} runs; seed{'s' * (len(seeds) > 1)} {_joined(seeds)}; "
        f"data {records[0]['data']['hash'][:DIGITS]}, "
        f"{len(section.categories)} categories; commit {commits}; "
        f"{_joined(r.get('device') for r in records)}; "
        f"{_joined(r.get('precision') for r in records)}."
    )


def _each_arm(section: Section, cells: Callable[[str], dict[str, str]]) -> DataFrame:
    """A row for each arm of the source, in their order; those that did not run say so."""
    frame = DataFrame.from_dict({arm: cells(arm) for arm in section.ran()}, orient="index")
    return frame.reindex(list(section.arms), fill_value=NOT_RUN).rename_axis("arm")


def _joined(values: Any) -> str:
    return ", ".join(dict.fromkeys(str(v) for v in values if v is not None))
