"""What a folder holds of records: lines that sweeps left, and single records of evaluated runs.

A run that was scored under several protocols, or on several data sets, left a record for each:
`record.json` and others beside it, such as `record_mvtec.json`. They are runs of their own here, in
sections of their own.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adlib.report.records import Run, Section, divide
from adlib.report.summary import read_results

PARTS = {"method", "data", "categories", "mean", "protocol", "seed"}  # what makes a record
LINES = "records.jsonl"  # a sweep's


@dataclass
class Found:
    """What a folder holds."""

    sections: list[Section]
    notes: list[str] = field(default_factory=list)  # what was passed over, and why


def is_record(value: Any) -> bool:
    """Whether this is what `adlib.evaluate` returns for a run with a seed, not another mapping."""
    return (
        isinstance(value, dict)
        and value.keys() >= PARTS
        and isinstance(value["seed"], int)
        and isinstance(value["data"], dict)
        and "hash" in value["data"]
    )


def read_folder(folder: Path) -> Found:
    """Read every record of a folder: `*.jsonl`, sweeps' folders, and single records.

    Single records may lie in the folder or in the runs' folders right below it.

    Raises:
        FileNotFoundError: No such folder, or no record in it.
        NotADirectoryError: It is a file.
        ValueError: A file that is no JSON, or two runs of one arm and seed.
    """
    if folder.is_file():
        raise NotADirectoryError(
            f"{folder} is a file; expected the folder that holds it: {folder.parent}"
        )
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; expected one that holds records")
    found = Found([])
    sources: dict[str, list[Run]] = defaultdict(list)
    for path in [*sorted(folder.glob("*.jsonl")), *sorted(folder.glob(f"*/{LINES}"))]:
        source = path.resolve().parent.name if path.name == LINES else path.stem
        if source in sources:
            source = str(path.relative_to(folder))
        sources[source] = _read_lines(path, source, found.notes)
    for path in sorted([*folder.glob("*.json"), *folder.glob("*/*.json")]):
        name = str(path.relative_to(folder))
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{name} cannot be read as JSON: {error}") from error
        if is_record(value):
            source = folder.resolve().name
            sources[source].append(Run(source, name, value))
        elif isinstance(value, dict) and value.keys() >= PARTS:
            found.notes.append(f"{name}: a record without seed or data hash was passed over")
    for runs in sources.values():
        found.sections += divide(runs)
    if not found.sections:
        raise FileNotFoundError(
            f"no record in {folder}; expected *.jsonl of sweeps, or record.json of evaluated runs"
            + "".join(f"; {note}" for note in found.notes)
        )
    return found


def _read_lines(path: Path, source: str, notes: list[str]) -> list[Run]:
    runs, empty = [], 0
    lines = read_results(path)
    for number, line in enumerate(lines, 1):
        name = str(line.get("id", f"line {number}"))
        held = {"record.json": line} if is_record(line) else line.get("files") or {}
        records = {file: value for file, value in held.items() if is_record(value)}
        runs += [
            Run(source, name if file == "record.json" else f"{name}/{file}", record)
            for file, record in records.items()
        ]
        empty += not records
    if empty:
        notes.append(f"{source}: {empty} of {len(lines)} lines hold no record")
    failed = sorted(p.stem for p in (path.parent / "failed").glob("*.json"))
    if failed:
        notes.append(f"{source}: {len(failed)} runs failed, such as {failed[0]}")
    return runs
