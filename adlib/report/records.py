"""Records, kept apart where they must never be averaged.

A *source* is one experiment: a file of lines that a sweep left, or all single records of a folder.
Within a source, a *section* holds the runs on the same images, of the same categories, under the
same protocol. An *arm* is what is compared: a method with its settings, whatever its seed.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from adlib.report.summary import Row, name_of

PLACES = ("weights", "offline")  # settings of where an encoder's weights lay; their digest counts
DIGITS = 7  # of a hash or a commit, where it is shown


@dataclass(frozen=True)
class Run:
    """A record, and where it was found."""

    source: str
    id: str
    record: Row
    arm: str = ""

    @property
    def seed(self) -> int:
        """The seed that drew weights, order and noise."""
        return self.record["seed"]

    @property
    def kind(self) -> tuple[Any, ...]:
        """What must be the same before two runs may stand in one table."""
        data, protocol = self.record["data"], _text(self.record["protocol"])
        names = tuple(sorted(self.record["categories"]))
        return self.source, data["name"], data["hash"], protocol, names


@dataclass(frozen=True)
class Section:
    """Runs that may be averaged and compared.

    Args:
        runs: Sorted by arm and seed; one of each.
        arms: Those of the whole source: methods as they were found, and of one method first the
            smaller setting. One that did not run here has no run.
        seeds: Of the whole source.
    """

    runs: tuple[Run, ...]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    title: str = ""

    @property
    def source(self) -> str:
        """The experiment that the runs belong to."""
        return self.runs[0].source

    @property
    def data(self) -> str:
        """The name of the data set."""
        return self.runs[0].record["data"]["name"]

    @property
    def protocol(self) -> str:
        """The name of the protocol."""
        return self.runs[0].record["protocol"].get("name", "unnamed")

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categories, as the first record has them."""
        return tuple(self.runs[0].record["categories"])

    def of(self, arm: str) -> list[Run]:
        """The runs of one arm, by seed."""
        return [run for run in self.runs if run.arm == arm]

    def ran(self) -> list[str]:
        """The arms that have a run here, in the source's order."""
        return [arm for arm in self.arms if self.of(arm)]

    def means(self, arm: str, metric: str) -> Float[np.ndarray, " s"]:
        """The mean over categories in each of an arm's s runs; NaN where a run has none."""
        return np.array([run.record["mean"].get(metric) for run in self.of(arm)], float)

    def values(self, arm: str, metric: str) -> Float[np.ndarray, "s c"]:
        """A metric in each of an arm's s runs and each category; NaN where a run has none."""
        rows = [
            [run.record["categories"][name].get(metric) for name in self.categories]
            for run in self.of(arm)
        ]
        return np.array(rows, float).reshape(-1, len(self.categories))

    def order(self, metric: str) -> tuple[str, ...]:
        """The arms of which every run has the metric, the best mean over seeds first."""
        means = {arm: float(self.means(arm, metric).mean()) for arm in self.ran()}
        return tuple(sorted((a for a in means if means[a] == means[a]), key=lambda a: -means[a]))


def divide(runs: Sequence[Run]) -> list[Section]:
    """Name the arms of a source and divide its runs into sections.

    Raises:
        ValueError: Two runs of one arm and seed, which a mean over seeds would count twice.
    """
    kinds: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run, arm in zip(runs, _name_arms(runs), strict=True):
        kinds[run.kind].append(Run(run.source, run.id, run.record, arm))
    arms = _in_order(run.arm for part in kinds.values() for run in part)
    seeds = tuple(sorted({run.seed for run in runs}))
    sections = []
    for part, title in zip(
        kinds.values(), _titles([part[0] for part in kinds.values()]), strict=True
    ):
        part.sort(key=lambda run: (arms.index(run.arm), run.seed))
        for one, other in pairwise(part):
            if (one.arm, one.seed) == (other.arm, other.seed):
                raise ValueError(
                    f"{title}: two runs of {one.arm}, seed {one.seed}: {one.id} and {other.id}; a "
                    "mean over seeds would count the seed twice"
                )
        sections.append(Section(tuple(part), arms, seeds, title))
    return sections


def _titles(firsts: Sequence[Run]) -> list[str]:
    """Name each section, by the first of its runs, so that no two are called the same."""
    kinds = []
    for run in firsts:
        data, protocol = run.record["data"], run.record["protocol"]
        kinds.append(
            {
                "name": f"{run.source}: {data['name']}, protocol {protocol.get('name')}",
                "data": data["hash"][:DIGITS],
                "categories": str(len(run.record["categories"])),
                **{k: _text(v) for k, v in protocol.items() if k != "name"},
            }
        )
    found = []
    for kind in kinds:
        alike = [other for other in kinds if other["name"] == kind["name"]]
        keys = dict.fromkeys(key for other in alike for key in other)
        differ = [key for key in keys if len({other.get(key) for other in alike}) > 1]
        found.append(", ".join([kind["name"], *(f"{key} {kind.get(key)}" for key in differ)]))
    return found


def settings(record: Row) -> dict[str, str]:
    """All that sets an arm apart, as text: config, steps, encoder, precision, training data.

    A record from before it said what was held out is like any other.
    Where each seed drew its own few normal images (`few`), their number counts, and what they were
    drawn of.
    """
    config = {k: v for k, v in record.get("config", {}).items() if k not in PLACES}
    encoder, trained = record.get("encoder") or {}, record.get("trained_on") or {}
    few = record.get("few") or {}
    held = {} if record.get("holdout") is None else {"holdout": float(record["holdout"])}
    values = {
        **config,
        "steps": record.get("steps"),
        "encoder": encoder.get("name"),
        "weights": str(encoder.get("sha256"))[:DIGITS],
        "precision": record.get("precision"),
        "normal images": few.get("images", "all"),
        "trained on": str(few.get("of", trained.get("hash")))[:DIGITS],
        **held,
    }
    return {k: v if isinstance(v, str) else _text(v) for k, v in values.items()}


def _name_arms(runs: Sequence[Run]) -> list[str]:
    """Name each run's arm by its method, and by those settings that set two arms apart.

    Only settings that differ within some section count, so that an arm has one name throughout.
    """
    bases = [
        name_of(arm) if isinstance(arm := run.record.get("arm"), dict) else run.record["method"]
        for run in runs
    ]
    seen: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    all_settings = [settings(run.record) for run in runs]
    for run, base, values in zip(runs, bases, all_settings, strict=True):
        for key, value in values.items():
            seen[base, run.kind, key].add(value)
    differ: dict[str, list[str]] = defaultdict(list)
    for (base, _, key), values in seen.items():
        if len(values) > 1 and key not in differ[base]:
            differ[base].append(key)
    return [
        ", ".join([base, *filter(None, (_told(key, values.get(key)) for key in differ[base]))])
        for base, values in zip(bases, all_settings, strict=True)
    ]


def _told(key: str, value: str | None) -> str:
    """A setting in a name: nothing where it is null, the two ends of a run of integers."""
    if value == "null":
        return ""
    found = json.loads(value) if value and re.fullmatch(r"\[\d+(, \d+){2,}\]", value) else []
    if found and found == list(range(found[0], found[-1] + 1)):
        return f"{key} {found[0]} to {found[-1]}"
    return f"{key} {'–' if value is None else value}"


def _in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once: by what stands before the first comma as found, then by settings as read.

    Numbers are sorted as numbers, so that 5 stands before 10.
    """
    found = list(dict.fromkeys(names))
    first = {base: i for i, base in reversed([*enumerate(n.split(", ")[0] for n in found)])}

    def place(name: str) -> tuple[Any, ...]:
        base, *rest = name.split(", ")
        parts = [re.split(r"(\d+\.?\d*)", each) for each in rest]
        return first[base], [[float(x) if i % 2 else x for i, x in enumerate(p)] for p in parts]

    return tuple(sorted(found, key=place))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
