"""Where a point lies on disk, and who may work on it.

```text
OUT/points/ID/           a finished point, and nothing else: point.json, executed.ipynb, its files
OUT/points/ID.work/      a point that was begun; the next attempt goes on in it
OUT/failed/ID.json       a point whose last attempt failed
OUT/logs/ID.log          what its processes wrote to stderr; also its lock
OUT/notebooks/SHA.ipynb  the notebook that was run
OUT/records.jsonl        what the finished points hold, one a line, sorted by id
OUT/table.csv            finished and failed points, one a row
```

A point is finished if and only if its folder exists: the work folder is renamed when all is in it.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adlib.sweep.point import SweepError, is_id
from adlib.system.disk import remove_leftovers, sync_folder, write_json

try:
    import fcntl
except ImportError as error:  # Windows
    raise SweepError(
        "a sweep needs the file locks of Linux or macOS; on Windows use WSL"
    ) from error

Result = dict[str, Any]  # the content of point.json
FOLDERS = ("points", "failed", "logs", "notebooks")


@dataclass(frozen=True)
class Slot:
    """The places of one point below a sweep's folder."""

    out: Path
    id: str

    @property
    def finished(self) -> Path:
        """The folder that exists if and only if the point is finished."""
        return self.out / "points" / self.id

    @property
    def work(self) -> Path:
        """The folder that the notebook works in, over all attempts."""
        return self.out / "points" / f"{self.id}.work"

    @property
    def failed(self) -> Path:
        """What is known of the last attempt, if it failed."""
        return self.out / "failed" / f"{self.id}.json"

    @property
    def log(self) -> Path:
        """The file that the point's processes write to, which is its lock as well."""
        return self.out / "logs" / f"{self.id}.log"

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

    def result(self) -> Result | None:
        """What is known of the point: how it finished, else how its last attempt failed."""
        for path in (self.finished / "point.json", self.failed):
            if path.is_file():
                return json.loads(path.read_text(encoding="utf-8"))
        return None

    def begun(self) -> int:
        """How many attempts were begun in the work folder."""
        path = self.work / "point.json"
        return json.loads(path.read_text(encoding="utf-8"))["attempts"] if path.is_file() else 0

    def begin(self, result: Result) -> None:
        """Note an attempt that begins now."""
        self.work.mkdir(exist_ok=True)
        remove_leftovers(self.work, "point.json")
        write_json(self.work / "point.json", result)

    def finish(self, result: Result) -> None:
        """Make the work folder the finished point, by one rename."""
        write_json(self.work / "point.json", result)
        for path in self.work.rglob("*"):
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        self.work.rename(self.finished)
        sync_folder(self.finished.parent)
        self.failed.unlink(missing_ok=True)

    def fail(self, result: Result) -> None:
        """Note a failed attempt; the work folder stays for the next one."""
        write_json(self.failed, result)


def open_folder(out: Path) -> None:
    """Make a sweep's folder, or take the one that is there.

    Raises:
        SweepError: It holds something else.
    """
    if out.exists() and not out.is_dir():
        raise SweepError(f"{out} is a file; expected a folder, or a new name")
    if out.is_dir() and any(out.iterdir()) and not (out / "points").is_dir():
        raise SweepError(f"{out} holds something else than a sweep; name another folder")
    for name in FOLDERS:
        (out / name).mkdir(parents=True, exist_ok=True)


def finished_ids(out: Path) -> list[str]:
    """The finished points below a sweep's folder, sorted."""
    return sorted(p.name for p in (out / "points").glob("*") if is_id(p.name) and p.is_dir())


def failed_ids(out: Path) -> list[str]:
    """Points that failed and have not finished since, sorted."""
    failed = {p.stem for p in (out / "failed").glob("*.json") if is_id(p.stem)}
    return sorted(failed - set(finished_ids(out)))


def read_json_files(folder: Path) -> dict[str, Any]:
    """Read the JSON files that a notebook left in its folder, by name.

    Raises:
        ValueError: One cannot be read as JSON, or holds NaN, which JSON does not have.
    """

    def refuse(word: str) -> None:
        raise ValueError(f"it holds {word}, which JSON does not have")

    found = {}
    for path in sorted(folder.glob("*.json")):
        if path.name != "point.json":
            try:
                found[path.name] = json.loads(
                    path.read_text(encoding="utf-8"), parse_constant=refuse
                )
            except ValueError as error:
                raise ValueError(f"{path.name} cannot be read: {error}") from error
    return found


def copy_point(source: Slot, target: Slot) -> None:
    """Copy a finished point into another sweep's folder, whole or not at all."""
    partial = target.finished.with_name(f"{target.id}.merge")
    shutil.rmtree(partial, ignore_errors=True)  # of a merge that was cut off
    shutil.copytree(source.finished, partial)
    partial.rename(target.finished)
    target.failed.unlink(missing_ok=True)
