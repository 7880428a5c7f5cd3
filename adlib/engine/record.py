"""What an evaluation found, with all that the numbers depend on: one record."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

METRICS = ("image_auroc", "image_ap", "image_f1_max",
           "pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro")  # fmt: skip
RECORD = "record.json"  # its name in a run's folder
LEFT_OUT = ("images", "intervals", "decisions")  # of which a record that lacks them has no key


def _number(value: Any, kind: type = object) -> bool:
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    return fits and isinstance(value, kind) and 0 <= value < float("inf")


KINDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("a text that is not empty", lambda v: isinstance(v, str) and v != ""),
    "object": ("an object", lambda v: isinstance(v, Mapping)),
    "count": ("a whole number from 0 on", lambda v: _number(v, int)),
    "amount": ("a number from 0 on", _number),
    "share": ("a fraction in [0, 1]", lambda v: _number(v) and v <= 1),
    "draw": ("two whole numbers from 0 on",
             lambda v: isinstance(v, list | tuple) and [_number(n, int) for n in v] == [True] * 2),
}  # fmt: skip
CHECKS = {  # a question mark: or null
    "method": "name", "config": "object", "encoder": "object?", "data": "object",
    "data.name": "name", "data.hash": "name", "trained_on": "object?", "drawn": "draw?",
    "categories": "object", "mean": "object", "protocol": "object", "protocol.name": "name",
    "pixel_error_bounds": "object?", "images": "object?", "intervals": "object?",
    "decisions": "object?", "seed": "count?", "steps": "count?", "holdout": "share?",
    "seconds": "amount?",
    "test_seconds": "amount?", "peak_memory_mib": "amount?", "device": "name",
    "precision": "name?", "versions": "object", "commit": "name?",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Record(Mapping[str, Any]):
    """What an evaluation found; also a read-only mapping, with the keys of its JSON.

    `record | {"arm": arm}` is a new record with one more key. Metrics are fractions in [0, 1], or
    None where masks are missing.
    """

    method: str
    config: dict[str, Any]  #: with the values that the encoder decided
    encoder: dict[str, Any] | None = None  #: `name` and `sha256` of the frozen part
    data: dict[str, Any]  #: `name` and `hash` of the test images
    trained_on: dict[str, Any] | None = None  #: `name` and `hash` of the training images
    drawn: list[int] | tuple[int, ...] | None = None  #: defects a category out of the test; seed
    categories: dict[str, dict[str, float | None]]  #: the metrics of each, by name
    mean: dict[str, float | None]  #: over the categories
    protocol: dict[str, Any]  #: how maps and masks became numbers
    pixel_error_bounds: dict[str, Any] | None = None  #: of streamed metrics, by category
    images: dict[str, Any] | None = None  #: labels and scores, by category; on request
    intervals: dict[str, Any] | None = None  #: two ends of each metric, by category; on request
    decisions: dict[str, Any] | None = None  #: `adlib.engine.decisions` at the threshold, if any
    seed: int | None  #: of the training; None for a method never trained, as are the next ones
    steps: int | None
    holdout: float | None = None  #: share of the normal images
    seconds: float | None  #: of the training
    test_seconds: float | None = None  #: of the evaluation
    peak_memory_mib: float | None  #: the most that the process held
    device: str  #: where it was scored
    precision: str | None = None  #: of matrix products
    versions: dict[str, str]  #: of the packages that a number can depend on
    commit: str | None  #: of adlib's source; None outside git
    extras: dict[str, Any] = field(default_factory=dict)  #: any other keys, such as "arm"

    @staticmethod
    def from_json(value: Any) -> "Record":
        """Make a record of what JSON holds, such as of `to_json`.

        Raises:
            ValueError: A field is missing, of another type or out of range; names it, what was
                expected and what came.
        """
        if not isinstance(value, Mapping):
            raise ValueError(f"a record must be an object, got {value!r:.60}")
        own = {f.name for f in fields(Record)} - {"extras"}
        optional = {f.name for f in fields(Record) if f.default is None}
        for name in own - optional - value.keys():
            raise ValueError(f"a record must have {name}, got only {', '.join(value) or 'nothing'}")
        for path, kind in CHECKS.items():
            outer, _, inner = path.partition(".")
            _check(path, value[outer].get(inner) if inner else value.get(outer), kind)
        if not value["categories"]:
            raise ValueError("categories must hold one category at least, got none")
        rows = {f"categories.{name}": row for name, row in value["categories"].items()}
        for path, row in {**rows, "mean": value["mean"]}.items():
            _check(path, row, "object")
            if {*row} != {*METRICS}:
                raise ValueError(f"{path} must hold {', '.join(METRICS)}; got {', '.join(row)}")
            for metric in METRICS:
                _check(f"{path}.{metric}", row[metric], "share?")
        for name, version in value["versions"].items():
            _check(f"versions.{name}", version, "name")
        known = {name: value[name] for name in own & value.keys()}
        return Record(**known, extras={k: v for k, v in value.items() if k not in own})

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON has it."""
        return dict(self)

    def __getitem__(self, key: str) -> Any:
        if key in self.extras:
            return self.extras[key]
        if key not in [*self]:
            raise KeyError(key)
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        own = [f.name for f in fields(self) if f.name != "extras"]
        kept = [k for k in own if k not in LEFT_OUT or getattr(self, k) is not None]
        return iter([*kept, *self.extras])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __or__(self, more: Mapping[str, Any]) -> "Record":
        return Record.from_json({**self, **more})


def read_record(path: Path) -> Record:
    """Read a record from its file.

    Raises:
        ValueError: It is no record; names the file and what is wrong with it.
        OSError: It cannot be read.
    """
    try:
        if not path.is_file():  # reading a pipe or a device would not end
            raise ValueError("it is no file")
        return Record.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a record: {error}") from error


def check_place(out: Path, about: Mapping[str, Any], *, replace: bool) -> None:
    """Make the folder of a file for a record, and refuse a file that the record must not replace.

    Args:
        out: The file.
        about: `data` and `protocol` of the record to come.
        replace: Whether a record of other images or of another protocol may be replaced.
    Raises:
        FileExistsError: It is a folder, no record, or a record of others without `replace`.
        OSError: It cannot be written.
    """
    if out.is_dir():
        raise FileExistsError(f"{out} is a folder; name a file with --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise OSError(f"cannot write {out}: {error}; name another file with --out") from error
    if not out.exists() or (replace and out.name == RECORD):  # which may be damaged
        return
    try:
        there = read_record(out)
    except ValueError as error:
        raise FileExistsError(f"{error}; name another file with --out") from error
    found, asked = (
        f"{r['data']['name']} ({r['data']['hash']}) under {r['protocol']['name']!r}"
        for r in (there, about)
    )
    same = (there.data["hash"], there.protocol) == (about["data"]["hash"], about["protocol"])
    if not (same or replace):
        raise FileExistsError(
            f"{out} holds a record of other images or another protocol: {found}, where {asked} was "
            "asked for; name another file with --out, or this one to replace it"
        )


def _check(path: str, value: Any, kind: str) -> None:
    expected, fits = KINDS[kind.removesuffix("?")]
    or_null = kind.endswith("?")
    if not (fits(value) or (or_null and value is None)):
        raise ValueError(f"{path} must be {expected}{' or null' * or_null}, got {value!r:.60}")
