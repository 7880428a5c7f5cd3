"""Finished points -> records.jsonl and table.csv, made anew each time; merging of both kinds."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from adlib.sweep.folder import (
    Result,
    Slot,
    copy_point,
    failed_ids,
    finished_ids,
    open_folder,
    read_json_files,
)
from adlib.sweep.point import SweepError, is_id
from adlib.system.disk import write_json, write_text

RECORD = "record.json"  # as adlib.evaluate returns it; other notebooks may write any mapping
OUTCOME = ("status", "seconds", "attempts", "error")  # columns between parameters and metrics
WIDTH = 48  # characters of an error on the terminal; ours
Row = dict[str, Any]


def metrics_of(record: Any) -> dict[str, float]:
    """The main numbers of a record: its `mean` over categories, else the numbers at its top."""
    source = record.get("mean", record) if isinstance(record, dict) else {}
    numbers = source.items() if isinstance(source, dict) else ()
    return {k: float(v) for k, v in numbers if type(v) in (int, float)}  # no truth values


def summary(out: Path, point: str) -> Row:
    """What the end of a sweep shows of a point: status, seconds, metrics, the error in brief."""
    row = row_of(out, point)
    shown = {"status": row["status"], "seconds": row["seconds"]} | row["metrics"]
    return shown | ({"error": row["error"][:WIDTH]} if row["error"] else {})


def row_of(out: Path, point: str) -> Row:
    """What is known of a point: parameters, status, seconds, attempts, error, metrics."""
    slot = Slot(out, point)
    result = slot.result() or {"status": "not run", "parameters": {}}
    files = read_json_files(slot.finished) if slot.finished.is_dir() else {}
    row = {name: result.get(name) for name in ("parameters", *OUTCOME)}
    return {"id": point, **row, "metrics": metrics_of(files.get(RECORD))}


def write_records(out: Path) -> None:
    """Make records.jsonl and table.csv anew from what lies in a sweep's folder, sorted by id.

    A line of records.jsonl is the content of point.json, with the notebook's own JSON files by
    their names under `files`. The table has the failed points, too.
    """
    finished = finished_ids(out)
    lines = []
    for point in finished:
        slot = Slot(out, point)
        record = {**(slot.result() or {}), "files": read_json_files(slot.finished)}
        lines.append(json.dumps(record, allow_nan=False) + "\n")
    write_text(out / "records.jsonl", "".join(lines))
    rows = [row_of(out, point) for point in sorted([*finished, *failed_ids(out)])]
    parameters, metrics = (
        list(dict.fromkeys(name for row in rows for name in row[key]))
        for key in ("parameters", "metrics")
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", *parameters, *OUTCOME, *metrics])
    for row in rows:
        values = [row["id"], *(row["parameters"].get(name) for name in parameters)]
        values += [row[name] for name in OUTCOME] + [row["metrics"].get(name) for name in metrics]
        writer.writerow(json.dumps(v) if isinstance(v, list | dict | bool) else v for v in values)
    write_text(out / "table.csv", text.getvalue())


def merge(out: Path, sources: Sequence[Path]) -> list[str]:
    """Copy the finished points of other sweeps' folders to this one, and what failed there.

    A point that lies here already is passed over if it is the same result, to the byte of its
    point.json, which holds when and for how long it ran. Two results of one id are refused.

    Args:
        out: This sweep's folder.
        sources: Sweeps' folders, or records.jsonl of such, which bring all but the notebooks.
    Returns:
        The ids that were copied, sorted.
    Raises:
        SweepError: A source is neither, a point is not whole, a point has two different
            results (nothing is copied then), or somebody works on a point at this moment.
    """
    with TemporaryDirectory() as unpacked:
        folders = []
        for i, source in enumerate(sources):
            folders.append(Path(unpacked) / str(i) if source.is_file() else source)
            if source.is_file():
                unpack(source, folders[-1])
        return _merge(out, folders)


def unpack(records: Path, out: Path) -> None:
    """Lay out the points of a records.jsonl as a sweep's folder, without executed notebooks.

    Raises:
        SweepError: A line of it is no finished point.
    """
    open_folder(out)
    for number, line in enumerate(records.read_text(encoding="utf-8").splitlines(), 1):
        try:
            result = json.loads(line)
            files, point = result.pop("files"), result["id"]
            if not is_id(point) or Path(point).name != point or not isinstance(files, dict):
                raise ValueError(f"{point!r} is no point's id")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SweepError(
                f"{records}, line {number}: expected a point as in a sweep's records.jsonl; {error}"
            ) from error
        slot = Slot(out, point)
        slot.work.mkdir()
        for name, content in files.items():
            write_json(slot.work / Path(name).name, content)
        slot.finish(result)


def _merge(out: Path, sources: Sequence[Path]) -> list[str]:
    whole: dict[str, Slot] = {}
    failures: dict[str, Result] = {}
    for source in sources:
        if not any((source / name).is_dir() for name in ("points", "failed")):
            raise SweepError(
                f"{source} is no sweep's folder; expected {source}/points, or a records.jsonl"
            )
    for folder in [out, *sources]:
        for point in finished_ids(folder):
            slot = Slot(folder, point)
            first = whole.setdefault(point, slot)
            if _bytes(first) != _bytes(slot):
                raise SweepError(
                    f"two results of one point: {first.finished} and {slot.finished}; "
                    "remove the one that is not to count"
                )
        for point in failed_ids(folder):
            failures[point] = Slot(folder, point).result() or {}
    open_folder(out)
    copied = sorted(point for point, slot in whole.items() if slot.out != out)
    for point in copied:
        target = Slot(out, point)
        with target.lock() as log:
            if log is None or target.finished.exists():
                raise SweepError(f"another sweep works on {target.finished}; merge after it")
            copy_point(whole[point], target)
    for point, result in failures.items():
        if point not in whole:
            Slot(out, point).fail(result)
    return copied


def _bytes(slot: Slot) -> bytes:
    path = slot.finished / "point.json"
    if not path.is_file():
        raise SweepError(f"{slot.finished} is not a whole point: it has no point.json")
    return path.read_bytes()
