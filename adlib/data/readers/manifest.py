"""A manifest: a table that names images instead of folders that hold them (CSV or Parquet)."""

import csv
import difflib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adlib.data.dataset import GOOD, DataSplits, ImageDataset, ImageRef, hash_files
from adlib.data.readers.files import expanded, respelled
from adlib.data.readers.folders import (
    BAD,
    DEFECTIVE,
    NORMAL,
    VALIDATION,
    checked,
    choose,
    held_names,
    read_own,
    word,
)
from adlib.system.disk import is_file
from adlib.system.printable import closest

ENDINGS = frozenset({".csv", ".parquet"})
COLUMNS = {  # and what other programs call them
    "path": "image_path image img img_path image_file file filename file_name filepath file_path",
    "split": "subset partition set",
    "label": "target class is_anomaly anomaly anomalous defective is_defective",
    "mask": "mask_path mask_file mask_filename ground_truth gt gt_path",
    "category": "object product object_name class_name",
    "defect": "defect_type defect_class anomaly_type anomaly_class kind",
}
MOST_COLUMNS = 1000  # a head with more is no table of images; ours
EMPTY = frozenset({"nan", "none", "null", "na", "n/a", "<na>"})  # what programs write for nothing


@dataclass(frozen=True)
class _Row:
    where: str  # "parts.csv, line 3"
    written: str  # the path as it stands in the table, alike on every machine
    split: str  # train, test, or "" for the hold-out to decide
    reference: ImageRef
    lost: tuple[str, ...]  # files that are not there


def is_manifest(path: Path) -> bool:
    """True for a file that ends as a manifest does."""
    return path.suffix.lower() in ENDINGS and path.is_file()


def load_manifest(
    path: str | os.PathLike[str],
    categories: Sequence[str] | None = None,
    holdout: float = 0.2,
) -> DataSplits:
    """Reads the table and checks the header of every image and mask that it names.

    Columns, of which only `path` and `label` are needed; `COLUMNS` has other names for them, and
    others are passed over:

    - path: of the image, from the folder of the table or from the root of the file system.
    - label: good, ok, normal, false or 0; bad, ng, defective, anomalous, anomaly, true or 1.
    - split: train or test. Without it, or where it is empty, defective images test, and of the
      normal ones the fraction `holdout` whose paths, as written, have the smallest SHA-256.
    - mask: of a defective image; may be empty. Of soft edges values above the middle count.
    - category: the name of the table, where there is none.
    - defect: the kind of defect; "bad", where there is none.

    Defective images of the training split become `seen`: methods that learn from normal images
    alone do not get them. Values are separated by commas, semicolons or tabs, as the first line is.
    "nan", "none" and "null" count as empty.

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
    table = Path(os.path.abspath(expanded(path)))  # noqa: PTH100
    if not table.is_file():
        raise FileNotFoundError(f"no manifest {table}")
    rows = list(_rows(table))
    notes = []
    masks = {row.reference.mask: row.where for row in rows if row.reference.mask}
    for row in rows:
        if row.reference.path in masks:
            mask = masks[row.reference.path]
            raise ValueError(f"{row.where}: {row.written} is an image here, and a mask in {mask}")
    shared = [m for m, n in Counter(r.reference.mask for r in rows).items() if m and n > 1]
    if shared:
        notes.append(
            f"{len(shared)} of the masks in {table} belong to several images each, such as "
            f"{shared[0]}: make sure that their defects are the same"
        )
    if not rows:
        raise ValueError(f"{table} names no image; expected a line for each below the head")
    kept = choose(categories, sorted({row.reference.category for row in rows}), str(table))
    rows = [row for row in rows if row.reference.category in kept]
    held: set[str] = set()
    for category in kept:
        normal = (row for row in rows if not (row.split or row.reference.label))
        free = [row.written for row in normal if row.reference.category == category]
        held |= held_names(free, holdout)
    splits: dict[str, list[ImageRef]] = {"train": [], "test": [], "seen": []}
    for row in rows:
        bad = row.reference.label
        split = row.split or ("test" if bad or row.written in held else "train")
        splits["seen" if split == "train" and bad else split].append(row.reference)
    if not splits["train"]:
        raise ValueError(f"{table} names no normal image to train on: label good, split train")
    if lost := [(row.where, file) for row in rows for file in row.lost]:
        where, file = lost[0]
        are = "s that {} names are" if len(lost) > 1 else " that {} names is"
        raise FileNotFoundError(
            f"{len(lost)} file{are.format(table)} not there, the first is {file} ({where})"
        )
    images = {k: ImageDataset(v, read_own, hash_files) for k, v in splits.items()}
    seen = images["seen"] if splits["seen"] else None
    return DataSplits(
        table.stem, train=images["train"], test=images["test"], seen=seen, notes=tuple(notes)
    )


def list_paths(table: Path) -> list[Path]:
    """The images that a table names; of its columns only `path` is read.

    Raises:
        ModuleNotFoundError: What reads Parquet is not installed.
        ValueError: It is no table, lacks the column, or names no image.
    """
    names: dict[Path, dict[str, str]] = {}
    paths = [_place(table, v["path"], names) for _, v in _values(table, ("path",)) if v["path"]]
    if not paths:
        raise ValueError(f"{table} names no image; expected a line for each below the head")
    return list(dict.fromkeys(paths))


def _rows(table: Path) -> Iterator[_Row]:
    lines: dict[str, str] = {}
    names: dict[Path, dict[str, str]] = {}
    for where, values in _values(table, ("path", "label")):
        row = _row(table, where, values, names)
        first = lines.setdefault(row.reference.path, where)
        if first != where:
            raise ValueError(f"{where}: {values['path']} is named already, in {first}")
        yield row


def _values(table: Path, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Place and values of each line, by column."""
    return (_parquet if table.suffix.lower() == ".parquet" else _csv)(table, needed)


def _csv(table: Path, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    rows = None
    with table.open(encoding="utf-8-sig", newline="") as file:
        try:
            head = file.readline()
            separator = max(",;\t", key=head.count)
            file.seek(0)
            rows = csv.reader(file, delimiter=separator, strict=True)
            names = _check_columns(table, next(rows, []), needed)
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
            line = 1 if rows is None else rows.line_num
            raise ValueError(f"{table}, line {line}: expected a table, but {error}") from error


def _parquet(table: Path, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    import pandas as pd

    try:
        frame = pd.read_parquet(table)
    except ImportError as error:
        raise ModuleNotFoundError(
            f"reading {table} needs pyarrow: pip install pyarrow; or save the table as CSV"
        ) from error
    names = _check_columns(table, [str(name) for name in frame.columns], needed)
    for i, values in enumerate(frame.itertuples(index=False, name=None)):
        words = ("" if v is None or v != v else str(v).strip() for v in values)  # NaN: v != v
        yield f"{table}, row {i}", dict(zip(names, words, strict=True))


def _check_columns(table: Path, names: list[str], needed: Sequence[str]) -> list[str]:
    """What each column is to adlib; refuses a likely slip and a missing one."""
    if len(names) > MOST_COLUMNS:
        raise ValueError(
            f"{table}: expected a table with a line for each image, got {len(names):,} columns"
        )
    plain = [name.strip().lower() for name in names]
    for name, others in COLUMNS.items():
        twice = [other for other in plain if other == name]
        hits = twice or [other for other in plain if other in others.split()]
        if len(hits) > 1:
            said = f"column {name!r} twice" if twice else f"columns {' and '.join(hits)}"
            cure = "" if twice else f"; call the one to be read {name!r}"
            raise ValueError(f"{table}: the head holds the {said}{cure}")
        if hits:
            plain[plain.index(hits[0])] = name
    known = {*COLUMNS, *" ".join(COLUMNS.values()).split()}
    strange = [name for name in plain if name not in known]
    for name in needed:
        if name not in plain:
            slip = difflib.get_close_matches(name, strange, n=1)
            raise ValueError(
                f"{table}: expected a column {name!r}; the head holds: {', '.join(names) or '-'}"
                + (f"; is {slip[0]!r} a slip of it?" if slip else "")
            )
    for name in strange:
        if hint := closest(name, [c for c in COLUMNS if c not in plain]):
            raise ValueError(f"{table}: the head holds the column {name!r}{hint}")
    return plain


def _row(
    table: Path, where: str, values: Mapping[str, str], names: dict[Path, dict[str, str]]
) -> _Row:
    def get(column: str) -> str:
        value = values.get(column, "")
        return "" if value.lower() in EMPTY else value

    def place(written: str) -> str:
        path = _place(table, written, names)
        if not is_file(path):
            lost.append(str(path))
        return str(path)

    lost: list[str] = []
    split, mask, defect = get("split").lower(), get("mask"), get("defect")
    label = values["label"].lower()
    bad = label in ("1", "1.0", "true") or DEFECTIVE.fullmatch(word(label)) is not None
    if not (bad or label in ("0", "0.0", "false") or NORMAL.fullmatch(word(label))):
        raise ValueError(
            f"{where}: expected a label good or bad (or ok and ng, normal and anomalous, 0 and 1), "
            f"got {values['label']!r}; the kind of defect has a column of its own, 'defect'"
        )
    split = {"training": "train", "testing": "test"}.get(split, split)
    if split not in ("train", "test", ""):
        cure = "; there are no validation images: say train or test" * bool(
            VALIDATION.fullmatch(split)
        )
        raise ValueError(
            f"{where}: expected the split train or test, got {values['split']!r}{cure}"
        )
    if not get("path"):
        raise ValueError(
            f"{where}: expected the path of an image, got {values['path'] or 'nothing'}"
        )
    if mask and not bad:
        raise ValueError(
            f"{where}: {values['path']} is {values['label']} and has a mask {mask}; one is wrong"
        )
    if NORMAL.fullmatch(word(defect)):
        defect = ""
    reference = ImageRef(
        path=place(values["path"]),
        category=get("category") or table.stem,
        defect=(defect or BAD) if bad else GOOD,
        mask=place(mask) if mask else None,
    )
    return _Row(where, values["path"], split, reference, tuple(lost))


def _place(table: Path, written: str, names: dict[Path, dict[str, str]]) -> Path:
    """Where the file lies that a table names, seen from the table, whether it is there or not."""
    path = table.parent / expanded(written)
    return path if is_file(path) else respelled(path, names) or path
