"""A manifest: a table that names images instead of folders that hold them (CSV or Parquet)."""

import csv
import difflib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from adlib.data.dataset import GOOD, DataSplits, ImageDataset, ImageRef, hash_files
from adlib.data.readers.files import expanded, nfc, respelled
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
from adlib.data.readers.masks import check_black, gather
from adlib.system.disk import is_file
from adlib.system.printable import closest

ENDINGS = frozenset({".csv", ".tsv", ".parquet"})
COLUMNS = {  # and other programs' names for them, as `word` spells them
    "path": "imagepath image img imgpath imagefile imagename file filename filepath uri",
    "split": "subset partition set",
    "label": "target class isanomaly anomaly anomalous defective isdefective result classification",
    "mask": "maskpath maskfile maskfilename groundtruth gt gtpath",
    "category": "object product objectname classname",
    "defect": "defecttype defectclass anomalytype anomalyclass kind",
}
MOST_COLUMNS = 1000  # a head with more is no table of images; ours
# written by programs for nothing
EMPTY = frozenset({"nan", "none", "null", "na", "n/a", "n.a.", "<na>", "nil", "-", "[]", "\\n"})


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
    path: str | os.PathLike[str], categories: Sequence[str] | None = None, holdout: float = 0.2
) -> DataSplits:
    """Reads the table and checks the header of every image and mask that it names.

    Columns, of which only `path` and `label` are needed; `COLUMNS` has other names for them, and
    others are passed over:

    - path: of the image, from the folder of the table or from the root of the file system.
    - label: good, ok, normal, pass, false or 0; bad, ng, defective, anomalous, fail, true or 1.
    - split: train or test. Without it, or where it is empty, defective images test, and of the
      normal ones the fraction `holdout` whose paths, as written, have the smallest SHA-256.
    - mask: of a defective image; may be empty. Of soft edges values above the middle count.
    - category: the name of the table, where there is none.
    - defect: the kind of defect; "bad", where there is none.

    Defective images of the training split become `seen`: methods that learn from normal images
    alone do not get them. Values are separated by commas, semicolons, tabs or bars, as the first
    line is. "nan", "none", "null" and "-" count as empty. The mask of a normal image is black.

    Args:
        path: A .csv or .tsv file in UTF-8, or a .parquet file, for which pandas needs pyarrow.
        categories: Names of those to read; all by default.
        holdout: As above; 0.2 is ours.
    Raises:
        FileNotFoundError: The table, an image or a mask is not there; names the line.
        ModuleNotFoundError: The package that reads Parquet is not installed.
        ValueError: A column or value is wrong, or an image twice in the table; names the line.
    """
    return checked(list_manifest(path, categories, holdout))


def list_manifest(
    path: str | os.PathLike[str], categories: Sequence[str] | None = None, holdout: float = 0.2
) -> DataSplits:
    """As `load_manifest`, but opens no image of a defect."""
    if not 0 < holdout < 1:
        raise ValueError(f"holdout must lie in (0, 1), got {holdout}")
    table = Path(os.path.abspath(expanded(path)))  # noqa: PTH100
    if not table.is_file():
        raise FileNotFoundError(f"no manifest {table}")
    lost: list[tuple[str, Path]] = []  # files that are not there, and their lines
    rows = list(_rows(table, lost))
    masks = {row.reference.mask: row.where for row in rows if row.reference.mask}
    for row in rows:
        if row.reference.path in masks:
            mask = masks[row.reference.path]
            raise ValueError(f"{row.where}: {row.written} is an image here, and a mask in {mask}")
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
    if lost:
        where, file = lost[0]
        are = f"s that {table} names are" if len(lost) > 1 else f" that {table} names is"
        raise FileNotFoundError(f"{len(lost)} file{are} not there, the first is {file} ({where})")
    shared = [m for m, n in Counter(r.reference.mask for r in rows).items() if m and n > 1]
    notes = [
        f"{len(shared)} of the masks in {table} belong to several images each, such as {mask}: "
        "make sure that their defects are the same"
        for mask in shared[:1]
    ]
    bad = sum(row.reference.label for row in rows)
    if (good := len(rows) - bad) < bad:
        notes.append(
            f"{table} names more defective than good images, {bad:,} and {good:,}: 0 and false "
            "mean good, so make sure that the labels are not exchanged"
        )
    images = {k: ImageDataset(v, read_own, hash_files) for k, v in splits.items()}
    seen = images["seen"] if splits["seen"] else None
    return DataSplits(table.stem, images["train"], images["test"], seen=seen, notes=tuple(notes))


def list_paths(table: Path) -> dict[Path, str]:
    """The images that a table names, with their categories, "" where it has none.

    Of its columns only `path` and `category` are read.

    Raises:
        ModuleNotFoundError: The package that reads Parquet is not installed.
        ValueError: It is no table, lacks the column, names no image, or names a mask as one.
    """
    names: dict[Path, dict[str, str]] = {}
    paths: dict[Path, str] = {}
    categories: dict[Path, str] = {}
    for where, values in _values(table, ("path",)):
        if values["path"]:
            path = _place(table, values["path"], names)
            paths[path], categories[path] = where, nfc(values.get("category", ""))
    _refuse_masks(table, paths)
    return categories


def _refuse_masks(table: Path, images: dict[Path, str]) -> None:
    """Refuse a table without images, and one that names the mask of an image as an image."""
    if not images:
        raise ValueError(f"{table} names no image; expected a line for each below the head")
    for image, mask in gather(table.parent, list(filter(is_file, images))).masks.items():
        raise ValueError(
            f"{images[mask]}: {mask} is the mask of {image}, by its name and content; name it in "
            "the column 'mask' of its image"
        )


def _rows(table: Path, lost: list[tuple[str, Path]]) -> Iterator[_Row]:
    """What each line says; `lost` takes files that are not there."""
    lines: dict[Path, str] = {}
    names: dict[Path, dict[str, str]] = {}
    rows: list[_Row] = []
    for where, values in _values(table, ("path", "label")):
        path = _place(table, values["path"], names) if values["path"] else table
        row = _row(table, where, values, path, names)
        first = lines.setdefault(path, where)
        if first != where:
            raise ValueError(f"{where}: {values['path']} is named already, in {first}")
        files = [path] if row.reference.mask is None else [path, Path(row.reference.mask)]
        lost += [(where, file) for file in files if not is_file(file)]
        rows.append(row)
    _refuse_masks(table, lines)
    yield from rows


def _values(table: Path, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Place and values of each line, by column; values that mean nothing are empty."""
    read = _parquet if table.suffix.lower() == ".parquet" else _csv
    for where, values in read(table, needed):
        yield (
            where,
            {k: "" if v.lower() in EMPTY and k != "label" else v for k, v in values.items()},
        )


def _csv(table: Path, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = None
        try:
            separator = max(",;\t|", key=file.readline().count)
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
    plain = [word(name.strip()) for name in names]
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
            hint = f"; is {slip[0]!r} a slip of it?" if slip else ""
            if len(names) == 1:
                hint = "; columns are separated by commas, semicolons, tabs or bars"
            raise ValueError(
                f"{table}: expected a column {name!r}; the first line holds: "
                f"{', '.join(names) or '-'}{hint}"
            )
    for name in strange:
        if hint := closest(name, [c for c in COLUMNS if c not in plain]):
            raise ValueError(f"{table}: the head holds the column {name!r}{hint}")
    return plain


def _row(
    table: Path, where: str, values: dict[str, str], path: Path, names: dict[Path, dict[str, str]]
) -> _Row:
    written, label = values["path"], values["label"].lower()
    split, mask = values.get("split", "").lower(), values.get("mask")
    defect = nfc(values.get("defect", ""))
    number = float(label) if label.replace(".", "", 1).isdecimal() else None
    bad = number == 1 or label == "true" or DEFECTIVE.fullmatch(word(label)) is not None
    if not (bad or number == 0 or label == "false" or NORMAL.fullmatch(word(label))):
        raise ValueError(
            f"{where}: expected a label good or bad (or ok and ng, normal and anomalous, pass and "
            f"fail, false and true, 0 and 1), got {values['label']!r}; the kind of defect has a "
            "column of its own, 'defect'"
        )
    split = {"training": "train", "testing": "test"}.get(split, split)
    if split not in ("train", "test", ""):
        no_validation = "; there are no validation images: say train or test"
        cure = no_validation if VALIDATION.fullmatch(word(split)) else ""
        raise ValueError(
            f"{where}: expected the split train or test, got {values['split']!r}{cure}"
        )
    if not written:
        raise ValueError(f"{where}: expected the path of an image, got nothing")
    place = _place(table, mask, names) if mask else None
    if place and not bad:
        if is_file(place):
            check_black(place, f"{where}: {written}")
        place = None
    reference = ImageRef(
        path=str(path),
        category=nfc(values.get("category") or table.stem),
        defect=GOOD if not bad else BAD if NORMAL.fullmatch(word(defect)) else defect or BAD,
        mask=str(place) if place else None,
    )
    return _Row(where, written, split, reference)


def _place(table: Path, written: str, names: dict[Path, dict[str, str]]) -> Path:
    """Where the file lies that a table names, seen from the table, whether it is there or not."""
    path = table.parent / expanded(written)
    return path if is_file(path) else respelled(path, names) or path
