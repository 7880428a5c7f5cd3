"""Records of runs: read from a folder, and kept apart where they must never be averaged.

A *source* is one experiment: a file of lines that a sweep left, or all single records of a folder.
Within a source, a *section* holds the runs on the same images, of the same categories, under the
same protocol. An *arm* is what is compared: a method with its settings, whatever its seed.

A run that was scored under several protocols, or on several data sets, left a record for each:
`record.json` and others beside it, such as `record_mvtec.json`. They are runs of their own here.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Float

from adlib.report.published import METRICS
from adlib.system.printable import printable

Row = dict[str, Any]
LINES = "records.jsonl"  # a sweep's
PLACES = ("weights", "offline")  # settings of where an encoder's weights lay; their digest counts
DIGITS = 7  # of a hash or a commit, where it is shown
LARGE = 1e15  # no number of a record is as large
DECISIONS = {  # fractions of `adlib.engine.decisions`, as tables call them
    "promised": "promised",
    "false_alarm_rate": "false alarms",
    "detection_rate": "detection",
    "precision": "precision",
    "false_alarm_rate_at_95": "false alarms at 95 % detection",
}


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < LARGE


def _is_scored(value: Any) -> bool:
    labels, scores = (
        (value.get("labels"), value.get("scores")) if isinstance(value, dict) else (None, None)
    )
    if not isinstance(labels, list) or not isinstance(scores, list):
        return False
    known = all(type(v) in (int, bool) and v in (0, 1) for v in labels)
    return known and len(labels) == len(scores) and all(map(_is_number, scores))


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "number": ("a finite number", _is_number),
    "whole": ("a whole number", lambda v: type(v) is int and abs(v) < LARGE),
    "share": ("a fraction in [0, 1]", lambda v: type(v) in (int, float) and 0 <= v <= 1),
    "text": ("a text", lambda v: isinstance(v, str)),
    "object": ("an object", lambda v: isinstance(v, dict)),
    "ends": ("a low and a high end",
             lambda v: isinstance(v, list) and len(v) == 2 and all(map(_is_number, v))),
    "scored": ("an object of as many labels (0 or 1) as finite scores", _is_scored),
}  # fmt: skip
SHARES: Row = {f"{metric}?": "share" for metric in METRICS}
RATES: Row = {f"{rate}?": "share" for rate in DECISIONS}
RATES |= {f"{rate}_interval?": "ends" for rate in DECISIONS} | {"miss_promised?": "share"}
SHAPE: Row = {  # what tables rely on; ?: or null; *: every name that is there; @: every category
    "method": "text", "data": {"name": "text", "hash": "text"}, "seed": "whole",
    "categories": {"*": SHARES}, "mean": SHARES, "protocol": "object",
    "config?": "object", "encoder?": "object", "trained_on?": "object",
    "few?": {"images?": "whole"}, "cost?": {"parameters?": "whole"}, "steps?": "whole",
    **dict.fromkeys(("holdout?", "seconds?", "test_seconds?", "inference_ms?"), "number"),
    "peak_memory_mib?": "number", "device?": "text", "precision?": "text", "commit?": "text",
    "setting?": "text", "intervals?": {"*": {f"{metric}?": "ends" for metric in METRICS}},
    "images?": {"*": "scored"},
    "decisions?": {"categories": {"@": RATES}, "pooled": RATES, "pixel_f1?": {"*": "share"}},
}  # fmt: skip


def as_record(value: Any) -> Row:
    """Return the record that a JSON value is: the one place that decides what tables may rely on.

    Raises:
        ValueError: A part is missing or of another kind; says which, and what it is.
    """
    if not isinstance(value, dict):
        raise ValueError(f"expected a record, got {_short(value)}")
    _check(value, SHAPE, "", value)
    if not value["categories"]:
        raise ValueError("categories must name one category at least")
    return value


def _check(value: Row, shape: Row, where: str, record: Row) -> None:
    for key, kind in shape.items():
        name = key.removesuffix("?")
        names = record["categories"] if name == "@" else value if name == "*" else [name]
        for each in names:
            found: Any = value.get(each)
            if found is None and key.endswith("?"):
                continue
            expected, fits = KINDS["object" if isinstance(kind, dict) else kind]
            if not fits(found):
                raise ValueError(f"{where}{each} must be {expected}, got {_short(found)}")
            if isinstance(kind, dict):
                _check(cast("Row", found), kind, f"{where}{each}.", record)


def _short(value: Any) -> str:
    return {dict: "an object", list: "a list"}.get(type(value)) or json.dumps(value)[:40]


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
    def mean(self) -> dict[str, Any]:
        """The metrics in the mean over categories, fractions or None."""
        return self.record["mean"]

    @property
    def kind(self) -> tuple[Any, ...]:
        """What must be the same before two runs may stand in one table."""
        data, protocol = self.record["data"], as_text(self.record["protocol"])
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
        return str(self.runs[0].record["protocol"].get("name", "unnamed"))

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categories, as the first record has them."""
        return tuple(self.runs[0].record["categories"])

    @cached_property
    def _by_arm(self) -> dict[str, list[Run]]:
        return {arm: [run for run in self.runs if run.arm == arm] for arm in self.arms}

    def of(self, arm: str) -> list[Run]:
        """The runs of one arm, by seed."""
        return self._by_arm.get(arm, [])

    def ran(self) -> list[str]:
        """The arms that have a run here, in the source's order."""
        return [arm for arm in self.arms if self.of(arm)]

    def means(self, arm: str, metric: str) -> Float[np.ndarray, " s"]:
        """The mean over categories in each of an arm's s runs; NaN where a run has none."""
        return np.array([run.mean.get(metric) for run in self.of(arm)], float)

    def by_seed(self, arm: str, metric: str) -> dict[int, float]:
        """The mean over categories, a fraction, of each of an arm's seeds whose run has it."""
        return {run.seed: v for run in self.of(arm) if (v := run.mean.get(metric)) is not None}

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


class Found(NamedTuple):
    """What a folder holds: sections, and what was skipped and why, a sentence each."""

    sections: list[Section]
    skipped: list[str]


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
    skipped: list[str] = []
    rows = [row for _, row in _read_lines(path, path.name, skipped)]
    if skipped:
        raise ValueError(skipped[0])
    return rows


def read_folder(folder: Path) -> Found:
    """Read every record of a folder: `*.jsonl`, sweeps' folders, and single records.

    Single records may lie in the folder or in the runs' folders right below it. What is malformed
    is named in `skipped`, by file and line; the rest is read.

    Raises:
        FileNotFoundError: No such folder, or no record in it.
        NotADirectoryError: It is a file.
    """
    shown = printable(str(folder))
    if folder.is_file():
        raise NotADirectoryError(f"{shown} is a file; expected the folder that holds it")
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {shown}; expected one that holds records")
    skipped: list[str] = []
    sources: dict[str, list[Run]] = defaultdict(list)

    def add(value: Any, source: str, name: str, where: str) -> None:
        try:
            sources[source].append(Run(source, name, as_record(value)))
        except ValueError as error:
            skipped.append(f"{where}: {error}")

    for path, name in _files(folder, "*.jsonl"):
        if path.parent != folder and path.name != LINES:
            continue
        source = path.resolve().parent.name if path.name == LINES else path.stem
        source = name if source in sources else source
        lines, empty = _read_lines(path, name, skipped), 0
        for number, line in lines:
            files = {"record.json": line} if _is_meant("", line) else line.get("files")
            meant = [f for f in files.items() if _is_meant(*f)] if isinstance(files, dict) else []
            for file, value in meant:
                inner, noted = ("", "") if file == "record.json" else (f"/{file}", f", {file}")
                run_id = f"{line.get('id', f'line {number}')}{inner}"
                add(value, source, run_id, f"{name}, line {number}{noted}")
            empty += not meant
        if empty:
            skipped.append(f"{name}: {empty} of {len(lines)} lines hold no record")
        if failed := sorted(p.stem for p in (path.parent / "failed").glob("*.json")):
            skipped.append(f"{name}: {len(failed)} runs failed, such as {failed[0]}")
    for path, name in _files(folder, "*.json"):
        try:
            value = _parse(path.read_bytes())
        except (OSError, ValueError) as error:
            skipped.append(f"{name}: {error}")
        else:
            if _is_meant(path.name, value):
                add(value, folder.resolve().name, name, name)
    sections = [section for runs in sources.values() for section in divide(runs, skipped)]
    skipped = [printable(note) for note in skipped]
    if not sections:
        expected = f"no record in {shown}; expected *.jsonl of sweeps, or record.json of runs"
        raise FileNotFoundError("; ".join([expected, *skipped]))
    return Found(sections, skipped)


def _files(folder: Path, pattern: str) -> list[tuple[Path, str]]:
    """Files in a folder and right below it, with their names from there."""
    found = [*sorted(folder.glob(pattern)), *sorted(folder.glob(f"*/{pattern}"))]
    return [(path, str(path.relative_to(folder))) for path in found if path.is_file()]


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text.decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError("nested too deeply to be JSON of a record") from error
    except ValueError as error:
        raise ValueError(f"cannot be read as JSON: {error}") from error


def _is_meant(name: str, value: Any) -> bool:
    """Whether a JSON file is meant to be a record, malformed or not."""
    parts = isinstance(value, dict) and "method" in value and {"categories", "mean"} & {*value}
    return bool(parts) or name.startswith("record")


def _read_lines(path: Path, name: str, skipped: list[str]) -> list[tuple[int, Row]]:
    """The objects of a file and the numbers of their lines, which end with newlines alone."""
    rows = []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        skipped.append(f"{name}: {error}")
        return []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                row = _parse(line)
                if not isinstance(row, dict):
                    raise ValueError(f"expected an object, got {_short(row)}")
                rows.append((number, row))
        except ValueError as error:
            skipped.append(f"{name}, line {number}: {error}")
    return rows


def divide(runs: Sequence[Run], skipped: list[str] | None = None) -> list[Section]:
    """Name the arms of a source and divide its runs into sections.

    Args:
        runs: Of one source.
        skipped: Where to note a second run of one arm and seed, which is left out.
    Raises:
        ValueError: There is such a run, which a mean over seeds would count twice, and no list.
    """
    kinds: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run, arm in zip(runs, _name_arms(runs), strict=True):
        kinds[run.kind].append(replace(run, arm=arm))
    arms = _in_order(run.arm for part in kinds.values() for run in part)
    seeds = tuple(sorted({run.seed for run in runs}))
    titles = _titles([part[0] for part in kinds.values()])
    sections = []
    for part, title in zip(kinds.values(), titles, strict=True):
        part.sort(key=lambda run: (arms.index(run.arm), run.seed))
        kept: dict[tuple[str, int], Run] = {}
        for run in part:
            first = kept.setdefault((run.arm, run.seed), run)
            if first is not run:
                note = (
                    f"{title}: two runs of {run.arm}, seed {run.seed}: {first.id} and {run.id}; a "
                    "mean over seeds would count the seed twice"
                )
                if skipped is None:
                    raise ValueError(note)
                skipped.append(f"{note}, so the second is left out")
        sections.append(Section(tuple(kept.values()), arms, seeds, title))
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
                **{k: as_text(v) for k, v in protocol.items() if k != "name"},
            }
        )
    found = []
    for kind in kinds:
        alike = [other for other in kinds if other["name"] == kind["name"]]
        keys = dict.fromkeys(key for other in alike for key in other)
        differ = [key for key in keys if len({other.get(key) for other in alike}) > 1]
        found.append(", ".join([kind["name"], *(f"{key} {kind.get(key)}" for key in differ)]))
    names = [", ".join(run.record["categories"]) for run in firsts]
    both = zip(found, names, strict=True)
    return [title if found.count(title) == 1 else f"{title}, {name}" for title, name in both]


def settings(record: Row) -> dict[str, str]:
    """All that sets an arm apart, as text: config, steps, encoder, precision, training data.

    A record that does not say what was held out is like any other. Where each seed drew its own
    few normal images (`few`), their number counts, and what they were drawn of.
    """
    encoder, trained = record.get("encoder") or {}, record.get("trained_on") or {}
    few, held = record.get("few") or {}, record.get("holdout")
    values = {k: v for k, v in (record.get("config") or {}).items() if k not in PLACES} | {
        "steps": record.get("steps"),
        "encoder": encoder.get("name"),
        "weights": str(encoder.get("sha256"))[:DIGITS],
        "precision": record.get("precision"),
        "normal images": few.get("images", "all"),
        "trained on": str(few.get("of", trained.get("hash")))[:DIGITS],
    }
    values |= {} if held is None else {"holdout": float(held)}
    return {k: v if isinstance(v, str) else as_text(v) for k, v in values.items()}


def name_of(record: Row) -> str:
    """Name a run's method, or its arm, where a sweep noted one: by its `name` or its settings."""
    arm = record.get("arm")
    if not isinstance(arm, dict):
        return record["method"]
    if "name" in arm:
        return str(arm["name"])
    rest = [f"{k} {v}" if k != "constraint" else str(v) for k, v in arm.items() if k != "method"]
    return ", ".join(rest) or str(arm.get("method", record["method"]))


def _name_arms(runs: Sequence[Run]) -> list[str]:
    """Name each run's arm by its method, and by those settings that set two arms apart.

    Only settings that differ within some section count, so that an arm has one name throughout.
    """
    named = [(name_of(run.record), settings(run.record)) for run in runs]
    seen: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for run, (base, values) in zip(runs, named, strict=True):
        for key, value in values.items():
            seen[base, run.kind, key].add(value)
    differ: dict[str, dict[str, None]] = defaultdict(dict)  # settings in order, each once
    for (base, _, key), values in seen.items():
        if len(values) > 1:
            differ[base][key] = None
    settled = [(base, [_setting(key, values.get(key)) for key in differ[base]])
               for base, values in named]  # fmt: skip
    return [", ".join([base, *filter(None, parts)]) for base, parts in settled]


def _setting(key: str, value: str | None) -> str:
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


def as_text(value: Any) -> str:
    """A JSON value as text that is the same for the same value."""
    return json.dumps(value, sort_keys=True)
