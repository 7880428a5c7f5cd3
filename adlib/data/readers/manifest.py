"""A manifest: a table that names images instead of folders that hold them (CSV or Parquet)."""

import csv
import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adlib.data.dataset import GOOD, DataSplits, ImageDataset, ImageRef, hash_files, read_files
from adlib.data.readers.folders import checked, closest, hold_out

ENDINGS = frozenset({".csv", ".parquet"})
COLUMNS = ("path", "split", "label", "mask", "category", "defect")
NORMAL = frozenset({"good", "ok", "normal", "0"})
DEFECTIVE = frozenset({"bad", "ng", "defective", "anomalous", "anomaly", "1"})
BAD = "bad"  # the kind of defect where the table names none


@dataclass(frozen=True)
class _Row:
    where: str  # "parts.csv, line 3"
    written: str  # the path as it stands in the table, alike on every machine
    split: str  # train, test, or "" for the hold-out to decide
    reference: ImageRef


def is_manifest(path: Path) -> bool:
    """True for a file that ends as a manifest does."""
    return path.suffix.lower() in ENDINGS and path.is_file()


def load_manifest(
    path: str | os.PathLike[str],
    categories: Sequence[str] | None = None,
    holdout: float = 0.2,
) -> DataSplits:
    """Reads the table and checks the header of every image and mask that it names.

    Columns, of which only `path` and `label` are needed; others are passed over:

    - path: of the image, from the folder of the table or from the root of the file system.
    - label: good, ok, normal or 0; bad, ng, defective, anomalous, anomaly or 1.
    - split: train or test. Without it, or where it is empty, defective images test, and of the
      normal ones the fraction `holdout` whose paths, as written, have the smallest SHA-256.
    - mask: of a defective image; may be empty.
    - category: the name of the table, where there is none.
    - defect: the kind of defect; "bad", where there is none.

    Defective images of the training split become `seen`: methods that learn from normal images
    alone do not get them. Values are separated by commas, semicolons or tabs, as the first line is.

    Args:
        path: A .csv file in UTF-8, or a .parquet file, for which pandas needs pyarrow.
        categories: Names of those to read; all by default.
        holdout: As above; 0.2 is ours.
    Raises:
        FileNotFoundError: The table, an image or a mask is not there; names the line.
        ModuleNotFoundError: What reads Parquet is not installed.
        ValueError: A column or value is wrong, or an image twice in the table; names the line.
    """
    return checked(list_manifest(path, categories, holdout))


def list_manifest(
    path: str | os.PathLike[str],
    categories: Sequence[str] | None = None,
    holdout: float = 0.2,
) -> DataSplits:
    """As `load_manifest`, but opens no image."""
    if not 0 < holdout < 1:
        raise ValueError(f"holdout must lie in (0, 1), got {holdout}")
    table = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100
    if not table.is_file():
        raise FileNotFoundError(f"no manifest {table}")
    rows = list(_rows(table))
    if categories is not None:
        known = sorted({row.reference.category for row in rows})
        names = [categories] if isinstance(categories, str) else list(categories)
        for name in names:
            if name not in known:
                raise ValueError(
                    f"no category {name!r} in {table}; there are: {', '.join(known)}"
                    f"{closest(name, known)}"
                )
        rows = [row for row in rows if row.reference.category in names]
    if not rows:
        raise ValueError(f"{table} names no image; expected a line for each below the head")
    held: set[str] = set()
    for category in {row.reference.category for row in rows}:
        free = [
            row.written
            for row in rows
            if row.reference.category == category and not row.split and not row.reference.label
        ]
        held |= hold_out(free, holdout) if free else set()
    splits: dict[str, list[ImageRef]] = {"train": [], "test": [], "seen": []}
    for row in rows:
        split = row.split
        if not split:
            tested = row.reference.label or row.written in held
            split = "test" if tested else "train"
        elif split == "train" and row.reference.label:
            split = "seen"
        splits[split].append(row.reference)
    if not splits["train"]:
        raise ValueError(f"{table} names no normal image to train on: label good, split train")
    _check_there(table, rows)
    images = {k: ImageDataset(v, read_files, hash_files) for k, v in splits.items()}
    seen = images["seen"] if splits["seen"] else None
    return DataSplits(table.stem, train=images["train"], test=images["test"], seen=seen)


def _rows(table: Path) -> Iterator[_Row]:
    lines: dict[str, str] = {}
    for where, values in _parquet(table) if table.suffix.lower() == ".parquet" else _csv(table):
        row = _row(table, where, values)
        first = lines.setdefault(row.reference.path, where)
        if first != where:
            raise ValueError(f"{where}: {values['path']} is named already, in {first}")
        yield row


def _csv(table: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Place and values of each line."""
    with table.open(encoding="utf-8-sig", newline="") as file:
        try:
            head = file.readline()
            separator = max(",;\t", key=head.count)
            file.seek(0)
            rows = csv.reader(file, delimiter=separator, strict=True)
            names = _check_columns(table, next(rows, []))
            for values in rows:
                where = f"{table}, line {rows.line_num}"
                if any(value.strip() for value in values):
                    if len(values) != len(names):
                        raise ValueError(
                            f"{where}: expected {len(names)} values as in the head, got "
                            f"{len(values)}"
                        )
                    yield where, dict(zip(names, map(str.strip, values), strict=True))
        except UnicodeDecodeError as error:
            raise ValueError(f"{table}: expected UTF-8, but {error}; save it as UTF-8") from error
        except csv.Error as error:
            raise ValueError(f"{table}: expected a table, but {error}") from error


def _parquet(table: Path) -> Iterator[tuple[str, dict[str, str]]]:
    import pandas as pd

    try:
        frame = pd.read_parquet(table)
    except ImportError as error:
        raise ModuleNotFoundError(
            f"reading {table} needs pyarrow: pip install pyarrow; or save the table as CSV"
        ) from error
    names = _check_columns(table, [str(name) for name in frame.columns])
    frame.columns = pd.Index(names)
    for i, values in enumerate(frame.to_dict("records")):
        empty = {k for k, v in values.items() if v is None or v != v}  # NaN is not itself
        yield (
            f"{table}, row {i}",
            {str(k): "" if k in empty else _word(v) for k, v in values.items()},
        )


def _word(value: Any) -> str:
    """A value as CSV has it: 1.0 and True count as 1."""
    return str(int(value)) if isinstance(value, bool | float) and value in (0, 1) else str(value)


def _check_columns(table: Path, names: list[str]) -> list[str]:
    """The names in small letters; refuses a likely slip and a missing one."""
    plain = [name.strip().lower() for name in names]
    for name in ("path", "label"):
        if name not in plain:
            others = [other for other in plain if other not in COLUMNS]
            slip = difflib.get_close_matches(name, others, n=1)
            raise ValueError(
                f"{table}: expected a column {name!r}; the head holds: {', '.join(names) or '-'}"
                + (f"; is {slip[0]!r} a slip of it?" if slip else "")
            )
    for name in plain:
        if plain.count(name) > 1 and name in COLUMNS:
            raise ValueError(f"{table}: the head holds the column {name!r} twice")
        if name not in COLUMNS and (hint := closest(name, [c for c in COLUMNS if c not in plain])):
            raise ValueError(f"{table}: the head holds the column {name!r}{hint}")
    return plain


def _row(table: Path, where: str, values: Mapping[str, str]) -> _Row:
    label, split = values["label"].lower(), values.get("split", "").lower()
    if label not in NORMAL | DEFECTIVE:
        raise ValueError(
            f"{where}: expected a label good or bad (or ok and ng, normal and anomalous, 0 and 1), "
            f"got {values['label']!r}; the kind of defect has a column of its own, 'defect'"
        )
    if split not in ("train", "test", ""):
        raise ValueError(f"{where}: expected the split train or test, got {values['split']!r}")
    if not values["path"]:
        raise ValueError(f"{where}: expected the path of an image, got nothing")
    bad, mask = label in DEFECTIVE, values.get("mask", "")
    if mask and not bad:
        raise ValueError(
            f"{where}: {values['path']} is {label} and has a mask {mask}; one is wrong"
        )
    defect = values.get("defect", "")
    if defect.lower() in NORMAL:
        defect = ""
    return _Row(
        where,
        values["path"],
        split,
        ImageRef(
            path=str(table.parent / Path(values["path"]).expanduser()),
            category=values.get("category", "") or table.stem,
            defect=(defect or BAD) if bad else GOOD,
            mask=str(table.parent / Path(mask).expanduser()) if mask else None,
        ),
    )


def _check_there(table: Path, rows: Sequence[_Row]) -> None:
    lost = [
        (row.where, file)
        for row in rows
        for file in (row.reference.path, row.reference.mask)
        if file is not None and not Path(file).is_file()
    ]
    if lost:
        where, file = lost[0]
        are = "files that {} names are" if len(lost) > 1 else "file that {} names is"
        raise FileNotFoundError(
            f"{len(lost)} {are.format(table)} not there, the first is {file} ({where})"
        )
