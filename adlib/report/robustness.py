"""Whether methods stand in the same order under other protocols, encoders and numbers of steps.

A *condition* is data set, protocol, encoder and steps. Only runs count that were trained on the
data set that they were tested on, and on all of its normal images. A method that trains nothing
stands in the conditions of every number of steps.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from adlib.report.records import Run, Section
from adlib.report.summary import difference, name_of, sign

if TYPE_CHECKING:
    from pandas import DataFrame

FIRST = "first"
SAME = "as in the first"
SURE = " (told apart)"
ALONE = "–"  # fewer than two methods in common with the first condition


class Condition(NamedTuple):
    """What is the same for all methods that are compared."""

    data: str
    data_hash: str
    protocol: str
    rules: str  # all of the protocol, which its name may not say
    encoder: str
    weights: str
    steps: int | None  # None where all methods that ran train nothing


@dataclass(frozen=True)
class Standing:
    """The metric of each method under one condition, by seed."""

    condition: Condition
    runs: dict[str, dict[int, float]]

    def order(self) -> tuple[str, ...]:
        """The methods, the best mean over seeds first."""
        means = {name: self.mean(name) for name in self.runs}
        return tuple(sorted(means, key=lambda name: -means[name]))

    def mean(self, name: str) -> float:
        """The metric of a method in the mean over its seeds, a fraction."""
        return sum(self.runs[name].values()) / len(self.runs[name])

    def sure(self, one: str, other: str) -> bool:
        """Whether two methods are told apart over the seeds that both ran with."""
        from pandas import DataFrame

        if not set(self.runs[one]) & set(self.runs[other]):
            return False
        left, right = (
            DataFrame({"seed": list(runs), "value": list(runs.values())})
            for runs in (self.runs[one], self.runs[other])
        )
        return sign(difference(left, right, "value")) != 0


def standings(sections: Sequence[Section], metric: str) -> list[Standing]:
    """Put the runs of all sources under their conditions, in the order in which they are found.

    A run that several sources hold counts once. Conditions under which only one method ran are
    left out.

    Args:
        sections: Of all sources.
        metric: Its name; runs without it are passed over.
    """
    found: dict[Condition, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    still: list[tuple[Condition, str, Run]] = []
    for run in (run for section in sections for run in section.runs):
        value = run.record["mean"].get(metric)
        if value is None or not _whole(run):
            continue
        condition = _condition(run)
        name = _name(run)
        if run.record.get("steps"):
            found[condition][name][run.seed] = float(value)
        else:
            still.append((condition, name, run))
    for condition, name, run in still:
        alike = [c for c in found if c[:-1] == condition[:-1]] or [condition]
        for each in alike:
            found[each][name][run.seed] = float(run.record["mean"][metric])
    made = [Standing(c, dict(methods)) for c, methods in found.items() if len(methods) > 1]
    return sorted(made, key=lambda s: _places(made, s))


def robustness(sections: Sequence[Section], metric: str) -> "DataFrame":
    """One row a condition: the order of methods, and which stand otherwise than in the first.

    The first condition of a data set is the one that most methods and seeds ran under.

    Args:
        sections: Of all sources.
        metric: Its name.
    Returns:
        Columns data, protocol, encoder, steps, seeds, order, changes; empty without two methods.
    """
    from pandas import DataFrame

    rows = []
    first: dict[str, Standing] = {}
    for standing in standings(sections, metric):
        reference = first.setdefault(standing.condition.data_hash, standing)
        seeds = {len(runs) for runs in standing.runs.values()}
        found = FIRST if reference is standing else changes(reference, standing)
        rows.append(
            {
                **standing.condition._asdict(),
                "steps": standing.condition.steps or "–",
                "seeds": "–".join(str(n) for n in sorted({min(seeds), max(seeds)})),
                "order": " > ".join(
                    f"{name} {100 * standing.mean(name):.1f}" for name in standing.order()
                ),
                "changes": found,
            }
        )
    columns = ["data", "protocol", "encoder", "steps", "seeds", "order", "changes"]
    return DataFrame(rows, columns=columns)


def of_methods(sections: Sequence[Section]) -> list[Section]:
    """The sections of those sources that compare methods: two or more, and one name for each.

    A source with several arms of one method is a study of that method, and no standing of methods.
    """
    named: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for run in (run for section in sections for run in section.runs):
        named[run.source].add((run.record["method"], _name(run)))
    chosen = {
        source
        for source, pairs in named.items()
        if 1 < len(pairs) == len({m for m, _ in pairs}) == len({n for _, n in pairs})
    }
    return [section for section in sections if section.source in chosen]


def told(frame: "DataFrame") -> str:
    """Say in how many conditions the order is another one, and where the seeds are sure of it."""
    compared = [row for row in frame.to_dict("records") if row["changes"] not in (FIRST, ALONE)]
    if not compared:
        return "There is one condition, so nothing can be said about others."
    turned = [row for row in compared if row["changes"] != SAME]
    sure = [row for row in turned if SURE in row["changes"]]
    said = (
        f"Under {len(compared)} other conditions the order of the means is another one in "
        f"{len(turned)}; in {len(sure)} of these the seeds tell apart, under both conditions, "
        "methods that changed places"
    )
    where = [
        f"{row['data']}, protocol {row['protocol']}, {row['encoder']}, {row['steps']} steps "
        f"({row['order']})"
        for row in sure
    ]
    return f"{said}{': ' if where else ''}{'; '.join(where)}."


def changes(first: Standing, other: Standing) -> str:
    """Name the pairs of methods that stand the other way round, and by how much, in points.

    "told apart" means that the 95 % interval of the paired differences over seeds leaves out 0 in
    both conditions; all other changes may be chance.
    """
    common = [name for name in first.order() if name in other.runs]
    if len(common) < 2:
        return ALONE
    turned = []
    for ahead, behind in combinations(common, 2):
        gap = other.mean(behind) - other.mean(ahead)
        if gap > 0:
            sure = first.sure(ahead, behind) and other.sure(ahead, behind)
            before = first.mean(ahead) - first.mean(behind)
            turned.append(
                f"{behind} before {ahead} by {100 * gap:.1f}, was behind by {100 * before:.1f}"
                + SURE * sure
            )
    return "; ".join(turned) or SAME


def _places(made: Sequence[Standing], standing: Standing) -> tuple[int, int, int]:
    """Sort by data set as found, the condition with most runs first, then as found."""
    data = [s.condition.data_hash for s in made].index(standing.condition.data_hash)
    runs = -sum(len(runs) for runs in standing.runs.values())
    return data, runs, made.index(standing)


def _whole(run: Run) -> bool:
    trained = (run.record.get("trained_on") or {}).get("hash")
    return not run.record.get("few") and trained in (None, run.record["data"]["hash"])


def _condition(run: Run) -> Condition:
    record = run.record
    layers = sorted(set(record.get("config", {}).get("layers") or ()))
    encoder = record.get("encoder") or {}
    return Condition(
        data=record["data"]["name"],
        data_hash=record["data"]["hash"],
        protocol=str(record["protocol"].get("name")),
        rules=json.dumps(record["protocol"], sort_keys=True),
        encoder=f"{encoder.get('name')}{_named(layers)}",
        weights=str(encoder.get("sha256")),
        steps=record.get("steps") or None,
    )


def _named(layers: Sequence[int]) -> str:
    """Layers that are not the preset's, for the name of a condition."""
    if len(layers) < 2:
        return f", layer {layers[0]}" if layers else ""
    return f", layers {layers[0]} to {layers[-1]}"


def _name(run: Run) -> str:
    arm = run.record.get("arm")
    return name_of(arm) if isinstance(arm, dict) else str(run.record["method"])
