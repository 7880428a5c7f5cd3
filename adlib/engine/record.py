"""What an evaluation found, with all that the numbers depend on: one record."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from pathlib import Path
from typing import Any

from adlib.system.disk import write_json

METRICS = ("image_auroc", "image_ap", "image_f1_max",
           "pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro")  # fmt: skip
RECORD = "record.json"  # its name in a run's folder
LEFT_OUT = ("images", "intervals", "decisions")  # of which a record that lacks them has no key


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


KINDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("a text that is not empty", _name),
    "object": ("an object", lambda v: isinstance(v, Mapping)),
    "count": ("a whole number from 0 on", _count),
    "amount": ("a number from 0 on", lambda v: _number(v) and v >= 0),
    "share": ("a fraction in [0, 1]", lambda v: _number(v) and 0 <= v <= 1),
    "draw": ("two whole numbers from 0 on",
             lambda v: isinstance(v, list | tuple) and len(v) == 2 and all(map(_count, v))),
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

    Attributes:
        method: Name of the method.
        config: Its settings, with the values that the encoder decided.
        data: `name` and `hash` of the test images.
        categories: The metrics of each category, by name.
        mean: Their means over the categories.
        protocol: How maps and masks became numbers.
        seed: Of the training; None for a method that was never trained, as of all that follows
            from training.
        steps: Of the training.
        seconds: Of the training.
        peak_memory_mib: The most memory that the process held.
        device: Where it was scored.
        versions: Of the packages that a number can depend on.
        commit: Of adlib's source; None outside git.
        encoder: `name` and `sha256` of the frozen part.
        trained_on: `name` and `hash` of the training images.
        drawn: How many defects of each category left the test set, and the seed that drew them.
        pixel_error_bounds: Of pixel metrics that were streamed, by category.
        holdout: Share of the normal images that was held out.
        test_seconds: Of the evaluation.
        precision: Of matrix products.
        images: Labels and scores of single images, by category; on request.
        intervals: Two ends of each metric, by category; on request.
        decisions: What the threshold of `predict` does, by category and pooled
            (`adlib.engine.decisions`); only of a method that has a threshold.
        extras: Any other keys, such as "arm".
    """

    method: str
    config: dict[str, Any]
    encoder: dict[str, Any] | None = None
    data: dict[str, Any]
    trained_on: dict[str, Any] | None = None
    drawn: list[int] | tuple[int, ...] | None = None
    categories: dict[str, dict[str, float | None]]
    mean: dict[str, float | None]
    protocol: dict[str, Any]
    pixel_error_bounds: dict[str, Any] | None = None
    images: dict[str, Any] | None = None
    intervals: dict[str, Any] | None = None
    decisions: dict[str, Any] | None = None
    seed: int | None
    steps: int | None
    holdout: float | None = None
    seconds: float | None
    test_seconds: float | None = None
    peak_memory_mib: float | None
    device: str
    precision: str | None = None
    versions: dict[str, str]
    commit: str | None
    extras: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def from_json(value: Any) -> "Record":
        """Make a record of what JSON holds, such as of `to_json`.

        Raises:
            ValueError: A field is missing, of another type or out of range; names it, what was
                expected and what came.
        """
        if not isinstance(value, Mapping):
            raise ValueError(f"a record must be an object, got {_short(value)}")
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


def write_record(record: Record, path: Path) -> None:
    """Write a record to its file, whole or not at all."""
    write_json(path, record)


def check_place(
    out: Path, data_name: str, data_hash: str, protocol: Mapping[str, Any], *, replace: bool
) -> None:
    """Make the folder of a file for a record, and refuse a file that the record must not replace.

    Args:
        out: The file.
        data_name: Of the images that the record will be of.
        data_hash: Of the same images.
        protocol: Under which they will be scored, as in a record.
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
    if not replace and (there.data["hash"], there.protocol) != (data_hash, protocol):
        raise FileExistsError(
            f"{out} holds a record of other images or another protocol: {there.data['name']} "
            f"({there.data['hash']}) under {there.protocol['name']!r}, where {data_name} "
            f"({data_hash}) under {protocol['name']!r} was asked for; name another file with "
            "--out, or this one to replace it"
        )


def _check(path: str, value: Any, kind: str) -> None:
    expected, fits = KINDS[kind.removesuffix("?")]
    or_null = kind.endswith("?")
    if not (fits(value) or (or_null and value is None)):
        raise ValueError(f"{path} must be {expected}{' or null' * or_null}, got {_short(value)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
