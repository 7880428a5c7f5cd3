"""Records to tables, and tables to sentences.

A sweep leaves a line of JSON for each run (`adlib.sweep`). The lines that the book was made from
are in its repository under book/results, and travel with the installed package.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from pandas import DataFrame

TITLES = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1_max": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1-max",
    "aupro": "AUPRO",
}
MECHANISM = (
    "d_normal", "d_anomalous", "ratio", "gap", "z", "d_held_out", "noise_changed", "noise_unchanged"
)  # fmt: skip
LEVEL = 0.95  # of the intervals; ours
AHEAD = {1: "ahead", 0: "open", -1: "behind"}
Row = dict[str, Any]


def table(record: dict[str, Any]) -> "DataFrame":
    """Show a record as the field's tables do: a row a category and their mean, in per cent.

    A metric that no category has (there were no masks) gets no column.
    """
    from pandas import DataFrame

    rows = {**record["categories"], "mean": record["mean"]}
    frame = DataFrame.from_dict(rows, orient="index").rename(columns=TITLES)
    frame.index.name = "category"
    return frame.dropna(axis="columns", how="all").astype(float).mul(100).round(1)


def results_folder() -> Path:
    """Where the book's records are: in the package, or in the repository that it lies in."""
    packaged = Path(__file__).parents[1] / "results"
    return packaged if packaged.is_dir() else packaged.parents[1] / "book" / "results"


def read_results(name: str | Path) -> list[Row]:
    """Read the lines of a sweep: of the book by its name, such as "ladder", or of your own by path.

    Returns:
        What each finished run left: its `parameters`, `seconds`, `commit` and JSON `files`.
    Raises:
        FileNotFoundError: There is none; says which there are.
        ValueError: A line is no JSON object; says which.
    """
    path = name if isinstance(name, Path) else results_folder() / f"{name}.jsonl"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.jsonl"))) or "none"
        raise FileNotFoundError(f"no records at {path.name}; there: {known}")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path.name}, line {number}: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path.name}, line {number}: expected an object, got {line[:40]!r}")
        rows.append(row)
    return rows


def name_of(arm: dict[str, Any]) -> str:
    """Name an arm as its `name` says, or by its method and what sets it apart."""
    if "name" in arm:
        return str(arm["name"])
    rest = [f"{k} {v}" if k != "constraint" else str(v) for k, v in arm.items() if k != "method"]
    return ", ".join(rest) or str(arm["method"])


def runs_table(rows: Iterable[Row]) -> "DataFrame":
    """One row a run: arm, prototypes, steps, seed, seven metrics, mechanism, seconds, commit.

    Metrics are fractions in [0, 1]. Runs under another protocol, on other data or in another
    precision than the first are refused: they must not be averaged.

    Raises:
        ValueError: Two protocols, data sets or precisions among the rows, or a run without record.
    """
    from pandas import DataFrame

    found: list[Row] = []
    first: tuple[Any, ...] | None = None
    for row in rows:
        record = row["files"].get("record.json")
        if record is None:
            raise ValueError(f"the run {row['id']} left no record.json")
        kind = (record["protocol"], record["data"]["hash"], record.get("precision"))
        first = first or kind
        if kind != first:
            raise ValueError(
                f"the run {row['id']} has another protocol, other data or another precision than "
                "the first; their numbers cannot be compared"
            )
        arm, config = record["arm"], record["config"]
        mechanism = record["mechanism"]["mean"]
        found.append(
            {
                "arm": name_of(arm),
                "method": record["method"],
                "constraint": config.get("constraint"),
                "prototypes": config.get("prototypes"),
                "steps": record["steps"],
                "seed": record["seed"],
                **record["mean"],
                **{name: mechanism.get(name) for name in MECHANISM},
                "parameters": (record.get("cost") or {}).get("parameters"),
                "seconds": record["seconds"],
                "commit": str(record["commit"])[:7],
            }
        )
    return DataFrame(found)


def supervised_table(rows: Iterable[Row]) -> "DataFrame":
    """One row a run: arm, data, category, seen defects, steps, seed, seven metrics.

    Args:
        rows: Lines whose records say which defects left the test set (`tested_without`). An empty
            category is a model of all; its metrics are the means over them.
    Raises:
        ValueError: Two protocols or precisions among the rows, runs of one category and seed that
            were tested on different images, or a run without record.
    """
    from pandas import DataFrame

    found: list[Row] = []
    first: tuple[Any, Any] | None = None
    tests: dict[tuple[str, str, int], str] = {}
    for row in rows:
        record = row["files"].get("record.json")
        if record is None:
            raise ValueError(f"the run {row['id']} left no record.json")
        data, category = record["data"]["name"], record["category"]
        kind = (record["protocol"], record.get("precision"))
        first = first or kind
        if kind != first:
            raise ValueError(
                f"the run {row['id']} has another protocol or another precision than the first; "
                "their numbers cannot be compared"
            )
        digest = record["test"]["digest"]
        if tests.setdefault((data, category, record["seed"]), digest) != digest:
            raise ValueError(
                f"the run {row['id']} was tested on other images of {category or data} than "
                f"another run of seed {record['seed']}; their numbers cannot be compared"
            )
        found.append(
            {
                "arm": name_of(record["arm"]),
                "method": record["method"],
                "data": data,
                "category": category,
                "seen": record["seen"],
                "steps": record["steps"],
                "seed": record["seed"],
                **record["mean"],
                "seconds": record["seconds"],
                "commit": str(record["commit"])[:7],
            }
        )
    return DataFrame(found)


def spread(frame: "DataFrame", by: Sequence[str], columns: Sequence[str]) -> "DataFrame":
    """Mean and standard deviation over the runs of each group, as text; and how many there are.

    Metrics are in per cent with one decimal, seconds are whole, the rest has three decimals. Groups
    keep their first order.
    """

    def text(values: Any, column: str) -> str:
        values = values.dropna().astype(float)
        if values.empty:
            return "–"
        factor, digits = (100, 1) if column in TITLES else (1, 0 if column == "seconds" else 3)
        mean = f"{factor * values.mean():.{digits}f}"
        return mean if len(values) < 2 else f"{mean} ± {factor * values.std():.{digits}f}"

    groups = frame.groupby(list(by), sort=False, dropna=False)
    shown = groups.agg({c: lambda v, c=c: text(v, c) for c in columns})
    shown.insert(0, "runs", groups.size())
    return shown.rename(columns=TITLES)


def difference(
    one: "DataFrame", other: "DataFrame", column: str
) -> tuple[float, float, float, int]:
    """Compare two arms seed by seed: the mean of one minus other, and its interval.

    Returns:
        Mean, lower and upper end of the 95 % t-interval of the paired differences, and the number
        of seeds that both have. With one seed the interval is unbounded.
    Raises:
        ValueError: No seed in common, or two runs of one seed.
    Source: Student's t on paired differences; that seeds are drawn at random is assumed.
    """
    import numpy as np

    pairs = one.merge(other, on="seed")[[f"{column}_x", f"{column}_y"]].dropna()
    if pairs.empty or any(side["seed"].duplicated().any() for side in (one, other)):
        raise ValueError(
            f"expected one run of each seed on both sides, got seeds {sorted(one['seed'])} and "
            f"{sorted(other['seed'])}"
        )
    return interval(
        np.asarray(pairs[f"{column}_x"], float) - np.asarray(pairs[f"{column}_y"], float)
    )


def interval(gaps: "np.ndarray") -> tuple[float, float, float, int]:
    """Mean of paired differences, the ends of its 95 % t-interval, and how many there are."""
    import numpy as np
    from scipy.stats import t

    mean, n = float(gaps.mean()), len(gaps)
    half = float("inf")
    if n > 1:
        half = float(t.ppf((1 + LEVEL) / 2, n - 1) * gaps.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half, n


def origin(
    rows: Iterable[Row] = (), seeds: Iterable[int] = (), device: "torch.device | None" = None
) -> str:
    """Say what the numbers of a page come from: seeds, commit and machine.

    The profile is said by the page itself, below its parameters (`book.execute`).

    Args:
        rows: Lines of sweeps (`read_results`) that the page shows, or single records.
        seeds: Of what the page ran itself; none if it ran nothing.
        device: Where it ran that; None: where `adlib.fit` does.
    Returns:
        One or two sentences in Markdown.
    Raises:
        ValueError: Neither rows nor seeds: nothing to tell the origin of.
    """
    from adlib.engine.runs import commit
    from adlib.system.hardware import choose_device, describe

    records = [row["files"]["record.json"] if "files" in row else row for row in rows]
    own, sentences = sorted(set(seeds)), []
    if not records and not own:
        raise ValueError("expected rows of records, or the seeds of what the page ran; got neither")
    if own:
        sentences.append(
            "This page's own numbers: the profile and the values named below its parameters, "
            f"{_seeds(own)}, commit {_short(commit())}, on {describe(device or choose_device())}."
        )
    if records:
        machines = Counter(
            " in ".join(str(record[key]) for key in ("device", "precision") if record.get(key))
            for record in records
        )
        parts = [
            f"{len(records)} runs",
            _seeds(sorted({record["seed"] for record in records if "seed" in record})),
            f"commit {', '.join(sorted({_short(record['commit']) for record in records}))}",
            f"on {', '.join(f'{name} ({n})' for name, n in machines.most_common())}",
        ]
        sentences.append(f"Records: {', '.join(parts)}.")
    return f"*{' '.join(sentences)}*"


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}" if seeds else "no seed kept"


def _short(commit: str | None) -> str:
    """A commit as it is shown, with the note of changes that it may carry."""
    name, plus, note = (commit or "unknown").partition("+")
    return f"{name[:7]}{plus}{note}"


def told(gap: tuple[float, float, float, int], *, percent: bool = True) -> str:
    """Say a difference: "+1.2 points (95 % interval 0.3 to 2.1, 3 seeds)"."""
    mean, low, high, n = gap
    factor, digits, unit = (100, 1, " points") if percent else (1, 3, "")
    if n < 2:
        return f"{factor * mean:+.{digits}f}{unit} (one seed)"
    return (
        f"{factor * mean:+.{digits}f}{unit} (95 % interval {factor * low:+.{digits}f} to "
        f"{factor * high:+.{digits}f}, {n} seeds)"
    )


def sign(gap: tuple[float, float, float, int]) -> int:
    """1 or -1 if the interval leaves 0 out on that side, else 0."""
    _, low, high, _ = gap
    return 1 if low > 0 else -1 if high < 0 else 0


def verdicts(
    pairs: Mapping[str, tuple["DataFrame", "DataFrame"]], columns: Sequence[str]
) -> "DataFrame":
    """Say of pairs of arms whether one is ahead: a row a pair, a column a metric.

    Args:
        pairs: By what names the row, the runs of two arms.
        columns: Metrics, in [0, 1].
    Returns:
        Cells such as "ahead, +1.2 (0.3 to 2.1)", in points, with the 95 % t-interval; "open" if it
        does not leave 0 out or there is one seed, "not run" if no seed is common.
    Raises:
        ValueError: Two runs of one seed.
    """
    from pandas import DataFrame, Index

    def cell(one: "DataFrame", other: "DataFrame", column: str) -> str:
        if not set(one["seed"]) & set(other["seed"]):
            return "not run"
        gap = difference(one, other, column)
        mean, low, high = (100 * value for value in gap[:3])
        spread = f"{low:+.1f} to {high:+.1f}" if gap[3] > 1 else "one seed"
        return f"{AHEAD[sign(gap)]}, {mean:+.1f} ({spread})"

    rows = [[cell(*sides, column) for column in columns] for sides in pairs.values()]
    names = [TITLES[column] for column in columns]
    return DataFrame(rows, index=Index(list(pairs)), columns=names)


def soft_identity(frame: "DataFrame", *, constrained: bool = False) -> str:
    """Say whether anomalies were rebuilt better, relative to what is normal, by more prototypes.

    Args:
        frame: Runs of one arm at several numbers of prototypes, the same seeds at each.
        constrained: The arm has a constraint, of which the abstract says that it prevents this.
    Returns:
        A sentence on the ratio of anomalous to normal distance between the smallest and the
        largest number, and whether that is what the abstract of Pro-AD claims. That a falling
        ratio stands for its soft identity mapping is our reading; it gives no measure.
    Raises:
        ValueError: Fewer than two numbers, or seeds that do not pair.
    """
    numbers = sorted({int(n) for n in frame["prototypes"].dropna()})
    if len(numbers) < 2:
        raise ValueError(f"expected runs at two numbers of prototypes at least, got {numbers}")
    few, many = (frame.query("prototypes == @n") for n in (numbers[0], numbers[-1]))
    gap = difference(many, few, "ratio")
    claim = "the claim of soft identity mapping"
    fell, rose = f"as {claim} says", f"against {claim}"
    if constrained:
        fell, rose = "which a constraint is said to prevent", "so the constraint held it"
    outcome = {
        -1: f"it **fell**, {fell}",
        0: "which **cannot be told** from no change",
        1: f"it **rose**, {rose}",
    }[sign(gap)]
    distances = (
        f"{name} from {few[column].mean():.3f} to {many[column].mean():.3f}"
        for name, column in (("normal", "d_normal"), ("anomalous", "d_anomalous"))
    )
    return (
        f"From {numbers[0]} to {numbers[-1]} prototypes the ratio of anomalous to "
        f"normal distance changed by {told(gap, percent=False)}: {outcome}. The distance went, "
        f"for patches that are {', and '.join(distances)}."
    )
