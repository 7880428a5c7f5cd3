"""The same method on the same test images, trained on less or on more than the data set itself.

Less: a few normal images of each category. More: several data sets in one model. Each is set beside
the run of equal seed that was trained on all normal images of this data set alone.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from adlib.report.records import Run, Section
from adlib.report.summary import TITLES, interval, name_of, sign
from adlib.report.tables import ABSENT

if TYPE_CHECKING:
    from pandas import DataFrame

ALL = "all of this data set"
SEVERAL = "several data sets"
Values = dict[int, float]  # of a metric, by seed


class Kind(NamedTuple):
    """What must be the same before two trainings are compared."""

    data: str
    data_hash: str
    rules: str  # all of the protocol
    weights: str  # of the encoder
    name: str


def training_of(run: Run) -> str:
    """What a run was trained on, in words."""
    few = run.record.get("few")
    if few:
        return f"{few['images']} normal images"
    return SEVERAL if run.record.get("setting") == "super-multi-class" else ALL


def trainings(sections: Sequence[Section], metrics: Sequence[str]) -> "DataFrame":
    """One row a data set, method and training: each metric, and how far it lies from `ALL`.

    Differences are over equal seeds, in points, with Student's 95 % interval. A method that was not
    trained in two ways on a data set is left out.

    Args:
        sections: Of sources whose runs differ in nothing else, such as equal steps an image.
        metrics: Their names; runs without one show a dash.
    """
    from pandas import DataFrame, MultiIndex

    found = by_training(sections)
    places, rows = [], []
    for kind in sorted(found):
        ways = found[kind]
        if len(ways) < 2:
            continue
        for way in sorted(ways, key=place_of):
            row: dict[str, str] = {"seeds": str(len({run.seed for run in ways[way]}))}
            for metric in metrics:
                values = values_of(ways[way], metric)
                row[TITLES[metric]] = _spread(values)
                gap = None if way == ALL else _gap(values, values_of(ways.get(ALL, []), metric))
                row[f"{TITLES[metric]}, difference"] = _told(gap)
            places.append((kind.data, kind.name, way))
            rows.append(row)
    names = ["data", "method", "trained on"]
    return DataFrame(rows, index=MultiIndex.from_tuples(places, names=names) if places else None)


def counted(sections: Sequence[Section], metric: str) -> str:
    """Say how many methods the seeds see ahead of, or behind, their training on `ALL`."""
    tally: dict[str, list[int]] = defaultdict(list)
    for ways in by_training(sections).values():
        for way in set(ways) - {ALL}:
            gap = _gap(values_of(ways[way], metric), values_of(ways.get(ALL, []), metric))
            if gap is not None:
                tally[way].append(sign(gap))
    if not tally:
        return f"By {TITLES[metric]} nothing can be compared."
    parts = (
        f"trained on {way}, {signs.count(-1)} of {len(signs)} are behind and {signs.count(1)} ahead"
        for way, signs in sorted(tally.items(), key=lambda item: place_of(item[0]))
    )
    return (
        f"By {TITLES[metric]}, against {ALL} and as far as the seeds tell: {'; '.join(parts)}. "
        "The others cannot be told apart."
    )


def leaders(sections: Sequence[Section], metrics: Sequence[str]) -> "DataFrame":
    """One row a data set and training: the method with the highest mean, and the next one's gap.

    Differences are over equal seeds, in points, with Student's 95 % interval of that pair alone.
    What has no rival shows a dash; a data set on which all were trained in one way is left out.

    Args:
        sections: As of `trainings`.
        metrics: Their names.
    """
    from pandas import DataFrame, MultiIndex

    rivals: dict[tuple[Any, ...], dict[str, list[Run]]] = defaultdict(dict)
    for kind, ways in by_training(sections).items():
        for way, runs in ways.items() if len(ways) > 1 else ():
            rivals[(*kind[:-1], way)][kind.name] = runs
    places, rows = [], []
    for key in sorted(rivals, key=lambda key: (key[:-1], place_of(key[-1]))):
        row: dict[str, str] = {}
        for metric in metrics:
            scored = {n: v for n, runs in rivals[key].items() if (v := values_of(runs, metric))}
            order = sorted(scored.items(), key=lambda item: -np.mean([*item[1].values()]))
            told = (ABSENT, ABSENT)
            if len(order) > 1:
                (name, best), (other, second) = order[:2]
                told = (f"{name}, {_spread(best)}", f"{other}, {_told(_gap(second, best))}")
            row[TITLES[metric]], row[f"{TITLES[metric]}, next"] = told
        places.append((key[0], key[-1]))
        rows.append(row)
    names = ["data", "trained on"]
    return DataFrame(rows, index=MultiIndex.from_tuples(places, names=names) if places else None)


def by_training(sections: Sequence[Section]) -> dict[Kind, dict[str, list[Run]]]:
    """Sort runs by what must be the same, and then by what they were trained on, in words."""
    found: dict[Kind, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in (run for section in sections for run in section.runs):
        found[_kind(run)][training_of(run)].append(run)
    return found


def _kind(run: Run) -> Kind:
    data, arm = run.record["data"], run.record.get("arm")
    name = name_of(arm) if isinstance(arm, dict) else str(run.record["method"])
    rules = json.dumps(run.record["protocol"], sort_keys=True)
    weights = str((run.record.get("encoder") or {}).get("sha256"))
    return Kind(data["name"], data["hash"], rules, weights, name)


def place_of(way: str) -> tuple[int, int]:
    """Key to sort trainings by: few images, by their number, then all, then several data sets."""
    number = way.split()[0]
    return (0, int(number)) if number.isdigit() else (1 + (way == SEVERAL), 0)


def values_of(runs: Sequence[Run], metric: str) -> Values:
    """A metric's mean over categories, of each seed whose run has it; shares, not per cent."""
    return {r.seed: v for r in runs if (v := r.record["mean"].get(metric)) is not None}


def _gap(one: Values, other: Values) -> tuple[float, float, float, int] | None:
    gaps = np.array([one[seed] - other[seed] for seed in one if seed in other])
    return interval(gaps) if len(gaps) else None


def _told(gap: tuple[float, float, float, int] | None) -> str:
    """A difference in points and its interval: "-4.2 (-7.2 to -1.2)"."""
    if gap is None:
        return ABSENT
    mean, low, high, n = gap
    around = f"{100 * low:+.1f} to {100 * high:+.1f}" if n > 1 else "one seed"
    return f"{100 * mean:+.1f} ({around})"


def _spread(values: Values) -> str:
    if not values:
        return ABSENT
    numbers = 100 * np.array(list(values.values()))
    mean = f"{numbers.mean():.1f}"
    return mean if len(numbers) < 2 else f"{mean} ± {numbers.std(ddof=1):.1f}"
