"""Where a point lies on disk, and the tables of all; book/sweeps.md draws the folder.

A point is finished if and only if its folder exists: the work folder is renamed when all is in it.
"""

import json
import os
import reprlib
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adlib.sweep.plan import Point, SweepError, Values, is_id
from adlib.system.disk import locked, remove_leftovers, sync_folder, write_json, write_text

try:
    import fcntl
except ImportError as error:  # Windows
    raise SweepError("a sweep needs the file locks of Linux or macOS; use WSL") from error

OUTCOME = ("status", "seconds", "attempts", "error")  # columns between parameters and metrics
Result = dict[str, Any]  # the content of point.json


class Slot:
    """The places of one point below a sweep's folder, and who may write there."""

    def __init__(self, out: Path, point: str) -> None:
        self.finished = out / "points" / point
        self.work = out / "points" / f"{point}.work"
        self.failed = out / "failed" / f"{point}.json"
        self.log = out / "logs" / f"{point}.log"

    @contextmanager
    def lock(self) -> Iterator[int | None]:
        """Give the log, open and locked, or None while somebody else works on the point.

        The lock belongs to the open file. Processes that are started with it as their output hold
        it, too, so it is free when the last one that could write is gone, however it ended.
        """
        log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield log
        finally:
            os.close(log)

    def is_busy(self) -> bool:
        """Whether somebody works on the point."""
        if not self.log.exists():
            return False
        with self.lock() as log:
            return log is None

    def result(self) -> Result:
        """How the point finished, else how its last attempt failed, else an empty mapping."""
        path = self.finished / "point.json" if self.finished.is_dir() else self.failed
        return check_result(path) if path != self.failed or path.is_file() else {}

    def begun(self) -> int:
        """How many attempts were begun in the work folder."""
        path = self.work / "point.json"
        return read_json(path)["attempts"] if path.is_file() else 0

    def begin(self, point: Point, **made: Any) -> Result:
        """Note an attempt that begins now, and count it; only for the holder of the lock."""
        self.work.mkdir(exist_ok=True)
        for path in (self.work / "point.json", self.failed):
            remove_leftovers(path.parent, f".{path.name}-*", held=True)
        result = {"id": point.id, "parameters": point.parameters, "status": "begun"}
        result |= {"attempts": self.begun() + 1} | made
        write_json(self.work / "point.json", result)
        return result

    def settle(self, result: Result) -> Result:
        """Note how an attempt ended: the work folder becomes the finished one, or stays."""
        result["status"] = "failed" if result["error"] else "finished"
        if result["error"]:
            write_json(self.failed, result)
            return result
        write_json(self.work / "point.json", result)
        for path in self.work.rglob("*"):
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        self.work.rename(self.finished)
        sync_folder(self.finished.parent)
        self.failed.unlink(missing_ok=True)
        return result


def open_folder(out: Path) -> None:
    """Make a sweep's folder, or take the one that is there; SweepError if it is no sweep's."""
    if out.exists() and not (
        out.is_dir() and ((out / "points").is_dir() or not any(out.iterdir()))
    ):
        raise SweepError(
            f"{out} is a file or holds something else than a sweep; name another folder"
        )
    for name in ("points", "failed", "logs", "notebooks"):
        (out / name).mkdir(parents=True, exist_ok=True)


def finished_ids(out: Path) -> list[str]:
    """The finished points below a sweep's folder, sorted."""
    return sorted(p.name for p in (out / "points").glob("*") if is_id(p.name) and p.is_dir())


def failed_ids(out: Path) -> list[str]:
    """Points that failed and have not finished since, sorted."""
    failed = {p.stem for p in (out / "failed").glob("*.json") if is_id(p.stem)}
    return sorted(failed - set(finished_ids(out)))


def _parse(text: bytes) -> Any:
    def refuse(word: str) -> None:
        raise ValueError(f"it holds {word}, which JSON does not have")

    return json.loads(text, parse_constant=refuse)


def read_json(path: Path) -> Any:
    """Read a JSON file; SweepError if it is none, or holds NaN."""
    try:
        return _parse(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SweepError(f"{path} cannot be read: {error}") from error


def check_result(path: Path) -> Result:
    """Read a point.json; SweepError if it holds no point with its parameters."""
    value = read_json(path)
    if not isinstance(value, dict) or not isinstance(value.get("parameters"), dict):
        raise SweepError(f"{path} cannot be read: expected a point, got {reprlib.repr(value)}")
    return value


def read_files(folder: Path) -> Values:
    """The content of the JSON files that a notebook left in its folder, by their names."""
    return {p.name: read_json(p) for p in sorted(folder.glob("*.json")) if p.name != "point.json"}


def metrics_of(record: Any) -> dict[str, float]:
    """The main numbers of a record: its `mean` over categories, else the numbers at its top."""
    source = record.get("mean", record) if isinstance(record, dict) else {}
    numbers = source.items() if isinstance(source, dict) else ()
    return {k: float(v) for k, v in numbers if type(v) in (int, float)}  # no truth values


def write_records(out: Path) -> dict[str, Values]:
    """Make records.jsonl and table.csv anew from the points in a sweep's folder, sorted by id.

    A line of records.jsonl is the content of point.json, with the notebook's own JSON files by
    their names under `files`. The table has the failed points, too.

    Returns:
        Of each point in the table, by id: `parameters`, `outcome` and `metrics`.
    """
    from pandas import DataFrame, concat  # not above: it takes a second to import

    finished = finished_ids(out)
    lines, rows = [], {}
    for point in sorted([*finished, *failed_ids(out)]):
        slot = Slot(out, point)
        result, files = slot.result(), read_files(slot.finished)
        if point in finished:
            lines.append(json.dumps({**result, "files": files}, allow_nan=False) + "\n")
        rows[point] = {
            "parameters": result["parameters"],
            "outcome": {name: result.get(name) for name in OUTCOME},
            "metrics": metrics_of(files.get("record.json")),
        }
    parts = [  # side by side: a metric may be called as a parameter is
        DataFrame([row[key] for row in rows.values()], list(rows), names, dtype=object)
        for key, names in (("parameters", None), ("outcome", OUTCOME), ("metrics", None))
    ]
    table = concat(parts, axis=1).rename_axis("id")
    table = table.map(lambda v: json.dumps(v) if isinstance(v, list | dict | bool) else v)
    texts = {"records.jsonl": "".join(lines), "table.csv": table.to_csv(lineterminator="\n")}
    with locked(out / ".lock", wait=True):
        for name, content in texts.items():
            remove_leftovers(out, f".{name}-*", held=True)
            write_text(out / name, content)
    return rows


def merge(out: Path, sources: Sequence[Path]) -> list[str]:
    """Copy the finished points of other sweeps' folders to this one, and note what failed there.

    A point that lies here already is passed over if it is the same result, down to when and for how
    long it ran. A line of a records.jsonl that is no point is passed over with a warning.

    Args:
        out: This sweep's folder.
        sources: Sweeps' folders, or their records.jsonl, which bring all but the notebooks.
    Returns:
        The ids that were copied, sorted.
    Raises:
        SweepError: A source is neither, a point is not whole or has two different results
            (nothing is copied then), or somebody works on a point at this moment.
    """
    found: dict[str, tuple[Path, Result, Values | None]] = {}  # files: None to copy the folder
    failures: dict[str, Result] = {}
    for source in [out, *sources]:
        if source.is_file():
            points = list(_read_lines(source))
        elif source == out or any((source / n).is_dir() for n in ("points", "failed")):
            slots = [Slot(source, point) for point in finished_ids(source)]
            points = [(slot.finished, slot.result(), None) for slot in slots]
            failures |= {point: Slot(source, point).result() for point in failed_ids(source)}
        else:
            raise SweepError(f"{source} is no sweep's folder, with points in it, or records.jsonl")
        for place, result, files in points:
            first = found.setdefault(place.name, (place, result, files))
            if first[1] != result:
                both = f"{first[0]} and {place}; remove the one that is not to count"
                raise SweepError(f"two results of one point: {both}")
    copied = sorted(set(found) - set(finished_ids(out)))
    open_folder(out)
    for point in copied:
        place, result, files = found[point]
        slot, partial = Slot(out, point), out / "points" / f"{point}.merge"
        with slot.lock() as log:
            if log is None or slot.finished.exists():
                raise SweepError(f"another sweep works on {slot.finished}; merge after it")
            shutil.rmtree(partial, ignore_errors=True)  # of a merge that was cut off
            if files is None:
                shutil.copytree(place, partial)
            else:
                partial.mkdir()
                for name, content in (files | {"point.json": result}).items():
                    write_json(partial / name, content)
            partial.rename(slot.finished)
            slot.failed.unlink(missing_ok=True)
    for point in set(failures) - set(found):
        write_json(Slot(out, point).failed, failures[point])
    return copied


def _read_lines(path: Path) -> Iterator[tuple[Path, Result, Values]]:
    """The points of a records.jsonl; their place is the path, with the id as its last part."""
    for number, line in enumerate(path.read_bytes().splitlines(), 1):  # bytes: not at U+2028
        try:
            result = _parse(line)
            match result:
                case {"id": str(point), "status": "finished", "parameters": dict()} if is_id(point):
                    files = result.pop("files", None)
                case _:
                    raise ValueError(f"expected a finished point, got {reprlib.repr(result)}")
            if not isinstance(files, dict) or any(Path(n).name != n or n == ".." for n in files):
                raise ValueError(f"expected files by their names, got {reprlib.repr(files)}")
        except (ValueError, RecursionError) as error:
            warnings.warn(f"{path}, line {number} is passed over: {error}", stacklevel=2)
        else:
            yield path / point, result, files
