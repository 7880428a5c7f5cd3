"""Whether methods stand in the same order under other protocols, encoders and numbers of steps.

A *condition* is data set, protocol, encoder and steps. Only runs count that were trained on the
data set that they were tested on, and on all of its normal images. A method that trains nothing
stands in the conditions of every number of steps.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from adlib.report.paired import over_common, sign
from adlib.report.records import Run, Section, as_text, name_of

if TYPE_CHECKING:
    from pandas import DataFrame

FIRST = "first"
SAME = "as in the first"
SURE = " (told apart)"
ALONE = "–"  # fewer than two methods in common with the first condition
Values = dict[str, dict[int, float]]  # a metric's mean over categories, by method and seed


class Condition(NamedTuple):
    """What is the same for all methods that are compared."""

    data: str
    data_hash: str
    protocol: str
    rules: str  # all of the protocol, which its name may not say
    encoder: str
    weights: str
    steps: int | None  # None where all methods that ran train nothing


def standings(sections: Sequence[Section], metric: str) -> dict[Condition, Values]:
    """Put the runs of all sources under their conditions, data set by data set.

    Of a data set the condition that most runs were made under comes first. A run that several
    sources hold counts once. Conditions under which only one method ran are left out, as are runs
    without the metric.
    """
    found: dict[Condition, Values] = defaultdict(lambda: defaultdict(dict))
    still: list[tuple[Condition, Run]] = []
    for run in (run for section in sections for run in section.runs):
        trained = (run.record.get("trained_on") or {}).get("hash")
        whole = not run.record.get("few") and trained in (None, run.record["data"]["hash"])
        if whole and run.mean.get(metric) is not None:
            still.append((_condition(run), run))
    for condition, run in sorted(still, key=lambda item: item[0].steps is None):
        alike = [c for c in found if c[:-1] == condition[:-1]] if condition.steps is None else []
        for each in alike or [condition]:
            found[each][name_of(run.record)][run.seed] = run.mean[metric]
    made = {c: dict(methods) for c, methods in found.items() if len(methods) > 1}
    hashes = [condition.data_hash for condition in made]
    return dict(
        sorted(
            made.items(),
            key=lambda item: (hashes.index(item[0].data_hash), -sum(map(len, item[1].values()))),
        )
    )


def _condition(run: Run) -> Condition:
    record = run.record
    layers = sorted(set((record.get("config") or {}).get("layers") or ()))
    named = f", layers {layers[0]} to {layers[-1]}" if len(layers) > 1 else ""
    named = f", layer {layers[0]}" if len(layers) == 1 else named
    encoder = record.get("encoder") or {}
    return Condition(
        data=record["data"]["name"],
        data_hash=record["data"]["hash"],
        protocol=str(record["protocol"].get("name")),
        rules=as_text(record["protocol"]),
        encoder=f"{encoder.get('name')}{named}",
        weights=str(encoder.get("sha256")),
        steps=record.get("steps") or None,
    )


def robustness(sections: Sequence[Section], metric: str) -> "DataFrame":
    """One row a condition: the order of methods, and which stand otherwise than in the first.

    Args:
        sections: Of all sources.
        metric: Its name.
    Returns:
        Columns data, protocol, encoder, steps, seeds, order, changes; empty without two methods.
    """
    from pandas import DataFrame

    rows = []
    first: dict[str, Values] = {}
    for condition, runs in standings(sections, metric).items():
        reference = first.setdefault(condition.data_hash, runs)
        seeds = sorted({len(of_one) for of_one in runs.values()})
        rows.append(
            condition._asdict()
            | {
                "steps": condition.steps or "–",
                "seeds": "–".join(map(str, dict.fromkeys((seeds[0], seeds[-1])))),
                "order": " > ".join(f"{n} {100 * _mean(runs[n]):.1f}" for n in _order(runs)),
                "changes": FIRST if reference is runs else changes(reference, runs),
            }
        )
    columns = ["data", "protocol", "encoder", "steps", "seeds", "order", "changes"]
    return DataFrame(rows, columns=columns)


def changes(first: Values, other: Values) -> str:
    """Name the pairs of methods that stand the other way round, and by how much, in points.

    "told apart" means that the 95 % interval of the paired differences over seeds leaves out 0 in
    both conditions; all other changes may be chance.
    """
    common = [name for name in _order(first) if name in other]
    if len(common) < 2:
        return ALONE
    turned = []
    for ahead, behind in combinations(common, 2):
        gap = _mean(other[behind]) - _mean(other[ahead])
        if gap > 0:
            sure = all(_apart(runs[ahead], runs[behind]) for runs in (first, other))
            before = _mean(first[ahead]) - _mean(first[behind])
            turned.append(
                f"{behind} before {ahead} by {100 * gap:.1f}, was behind by {100 * before:.1f}"
                + SURE * sure
            )
    return "; ".join(turned) or SAME


def changes_sentence(frame: "DataFrame") -> str:
    """In how many conditions the order is another one, and where the seeds are sure of it."""
    compared = [row for row in frame.to_dict("records") if row["changes"] not in (FIRST, ALONE)]
    if not compared:
        return "There is one condition, so nothing can be said about others."
    turned = [row for row in compared if row["changes"] != SAME]
    sure = [
        f"{row['data']}, protocol {row['protocol']}, {row['encoder']}, {row['steps']} steps "
        f"({row['order']})"
        for row in turned
        if SURE in row["changes"]
    ]
    return (
        f"Under {len(compared)} other conditions the order of the means is another one in "
        f"{len(turned)}; in {len(sure)} of these the seeds tell apart, under both conditions, "
        f"methods that changed places{': ' * bool(sure)}{'; '.join(sure)}."
    )


def _mean(values: dict[int, float]) -> float:
    return sum(values.values()) / len(values)


def _order(runs: Values) -> list[str]:
    return sorted(runs, key=lambda name: -_mean(runs[name]))


def _apart(one: dict[int, float], other: dict[int, float]) -> bool:
    gap = over_common(one, other)
    return gap is not None and sign(gap) != 0
