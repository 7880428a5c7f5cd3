"""What the chapters say of records; a chapter imports it as `report`.

A sweep leaves a line of JSON for each run (`adlib.sweep`). The lines that the book was made from
are in its repository under book/results, and travel with the installed package.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pandas import DataFrame, Index

from adlib.engine import runs as engine_runs
from adlib.report.paired import interval, sign
from adlib.report.published import TITLES
from adlib.report.records import DIGITS, Row, Run, name_of, read_results, results_folder
from adlib.report.tables import NOT_RUN, spread, table
from adlib.report.tables import runs_table as plain_table
from adlib.system.hardware import choose_device, describe

__all__ = [
    "TITLES", "at_equal_distance", "difference", "in_points", "interval", "origin", "points",
    "read_results", "results_folder", "runs_table", "sign", "spread", "table", "traces", "verdicts",
]  # fmt: skip
COLUMNS = (  # of a record, its config, cost and mechanism
    "category", "seen", "constraint", "prototypes", "parameters", "flops", "d_normal",
    "d_anomalous", "ratio", "gap", "z", "d_held_out", "noise_changed", "noise_unchanged",
)  # fmt: skip
AHEAD = {1: "ahead", 0: "open", -1: "behind"}


def runs_table(rows: Iterable[Row]) -> DataFrame:
    """One row a run: the columns of `adlib.report.tables.runs_table`, and what chapters look at.

    These are `COLUMNS`; null where a record has none. Metrics are fractions in [0, 1].

    Runs that left seen defects out of the test say which images were tested (`test`). Of these,
    runs of one category and seed must have the same; all others must have one data set.

    Raises:
        ValueError: Two protocols, precisions or sets of test images among the rows, which must not
            be averaged, or a run without record.
    """
    runs, more = [], []
    first: dict[str, Any] = {}
    for row in rows:
        if (record := row["files"].get("record.json")) is None:
            raise ValueError(f"the run {row['id']} left no record.json")
        data, tested = record["data"], record.get("test")
        alike = {key: record.get(key) for key in ("protocol", "precision")}
        if tested:
            place = f"{data['name']} {record['category']}, seed {record['seed']}"
            alike[f"test of {place}"] = tested["digest"]
        else:
            alike["data"] = data["hash"]
        for key, value in alike.items():
            if first.setdefault(key, value) != value:
                raise ValueError(
                    f"the run {row['id']} has another {key} than the first; their numbers "
                    "cannot be compared"
                )
        parts = record, record.get("config"), record.get("cost"), record.get("mechanism")
        own, config, cost, mechanism = (part or {} for part in parts)
        values = {**own, **config, **cost, **(mechanism.get("mean") or {})}
        runs.append(Run("", str(row["id"]), record, name_of(record)))
        more.append({column: values.get(column) for column in COLUMNS})
    return plain_table(runs).join(DataFrame(more)) if runs else DataFrame()


def traces(rows: Iterable[Row]) -> DataFrame:
    """The figures along each training: a row for each run and number of steps looked at.

    Columns are `arm`, `seed`, `step` and the figures of `adlib.study.mechanism`.
    """
    records = [row["files"]["record.json"] for row in rows]
    return DataFrame(
        {"arm": name_of(record), "seed": record["seed"], **look}
        for record in records
        for look in record["trace"]
    )


def at_equal_distance(looks: DataFrame, columns: Sequence[str]) -> DataFrame:
    """Compare arms where they rebuild what is normal equally well.

    Args:
        looks: As `traces` gives them.
        columns: Figures to read off.
    Returns:
        A row for each arm and seed with "d_normal" and the columns, interpolated along the training
        at the smallest normal distance that every run reached.
    """
    runs: Any = looks.groupby(["arm", "seed"], sort=False)
    d = runs["d_normal"].min().max()
    found = []
    for (arm, seed), run in runs:
        way = run.sort_values("d_normal")
        at = {c: np.interp(np.log(d), np.log(way["d_normal"]), way[c]) for c in columns}
        found.append({"arm": arm, "seed": seed, "d_normal": d, **at})
    return DataFrame(found)


def difference(one: DataFrame, other: DataFrame, column: str) -> tuple[float, float, float, int]:
    """Compare two arms seed by seed: the mean of one minus other, and its interval.

    Returns:
        Mean, lower and upper end of the 95 % t-interval of the paired differences, and the number
        of seeds that both have. With one seed the interval is unbounded.
    Raises:
        ValueError: No seed in common, or two runs of one seed.
    """
    pairs: Any = one.merge(other, on="seed")[[f"{column}_x", f"{column}_y"]].dropna().astype(float)
    if pairs.empty or any(side["seed"].duplicated().any() for side in (one, other)):
        raise ValueError(
            f"expected one run of each seed on both sides, got seeds {sorted(one['seed'])} and "
            f"{sorted(other['seed'])}"
        )
    return interval((pairs[f"{column}_x"] - pairs[f"{column}_y"]).to_numpy())


def points(gap: tuple[float, float, float, int]) -> str:
    """A difference in words: "+1.2 points (95 % interval +0.3 to +2.1, 3 seeds)"."""
    mean, ends = in_points(gap).split(" ", 1)
    around = f"(95 % interval {ends[1:-1]}, {gap[3]} seeds)" if gap[3] > 1 else ends
    return f"{mean} points {around}"


def in_points(gap: tuple[float, float, float, int]) -> str:
    """A difference in points and its interval: "+1.2 (+0.3 to +2.1)", or "+1.2 (one seed)"."""
    mean, low, high = (100 * value for value in gap[:3])
    return f"{mean:+.1f} ({f'{low:+.1f} to {high:+.1f}' if gap[3] > 1 else 'one seed'})"


def verdicts(pairs: Mapping[str, tuple[DataFrame, DataFrame]], columns: Sequence[str]) -> DataFrame:
    """Whether one arm of a pair is ahead: a row a pair, a column a metric.

    Args:
        pairs: By what names the row, the runs of two arms.
        columns: Metrics, in [0, 1].
    Returns:
        Cells such as "ahead, +1.2 (+0.3 to +2.1)", in points, with the 95 % t-interval; "open" if
        it does not leave 0 out or there is one seed, "not run" if no seed is common.
    Raises:
        ValueError: Two runs of one seed.
    """

    def cell(one: DataFrame, other: DataFrame, column: str) -> str:
        if not set(one["seed"]) & set(other["seed"]):
            return NOT_RUN
        gap = difference(one, other, column)
        return f"{AHEAD[sign(gap)]}, {in_points(gap)}"

    rows = [[cell(*sides, column) for column in columns] for sides in pairs.values()]
    return DataFrame(rows, columns=[TITLES[c] for c in columns], index=Index(list(pairs)))


def origin(
    rows: Iterable[Row] = (), seeds: Iterable[int] = (), device: torch.device | None = None
) -> str:
    """Where the numbers of a page come from, in one or two sentences of Markdown.

    The page itself names its profile, below its parameters (`book.execute`).

    Args:
        rows: Lines of sweeps (`read_results`) that the page shows, or single records.
        seeds: Of what the page ran itself; none if it ran nothing.
        device: Where it ran that. Defaults to the device that `adlib.fit` takes.
    Raises:
        ValueError: Neither rows nor seeds.
    """
    records = [row["files"]["record.json"] if "files" in row else row for row in rows]
    own, sentences = sorted(set(seeds)), []
    if not records and not own:
        raise ValueError("expected rows of records, or the seeds of what the page ran; got neither")
    if own:
        sentences.append(
            "This page's own numbers: the profile and the values named below its parameters, "
            f"{_seeds(own)}, commit {_commit(engine_runs.commit())}, "
            f"on {describe(device or choose_device())}."
        )
    if records:
        keys = ("device", "precision")
        machines = Counter(" in ".join(r[key] for key in keys if r.get(key)) for r in records)
        drawn = sorted({r["seed"] for r in records if "seed" in r})
        sentences.append(
            f"Records: {len(records)} runs, {_seeds(drawn)}, "
            f"commit {', '.join(sorted({_commit(r['commit']) for r in records}))}, "
            f"on {', '.join(f'{name} ({n})' for name, n in machines.most_common())}."
        )
    return f"*{' '.join(sentences)}*"


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}" if seeds else "no seed kept"


def _commit(commit: str | None) -> str:
    """A commit as it is shown, with the note of changes that it may carry."""
    name, plus, note = (commit or "unknown").partition("+")
    return f"{name[:DIGITS]}{plus}{note}"
