"""Executes one notebook at a profile's parameters, and makes of the result a page of the book.

An executed notebook is kept with the fingerprint of all that went into it, and is executed again
only when that has changed. Papermill runs in a process of its own (`python -m book.execute`), so
that the environment of its kernel is nobody else's.
"""

import hashlib
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
import psutil
import yaml
from nbformat import NotebookNode

from adlib.sweep.execution import KERNEL_ENVIRONMENT, KERNEL_REFUSES

RECORD_READERS = ("read_results", "results_folder")  # of adlib.report.records
LAST_LINES = 12  # of an error's traceback
STALL_SECONDS = 900.0  # a notebook that computes nothing for so long hangs; ours
LEAST_SHARE = 0.01  # of one core over that time, below which nothing is computed; ours
POLL_SECONDS = 2.0
START_SECONDS = 600  # until a kernel must answer: a busy machine takes minutes
# As a sweep does; and sets and dicts of strings come in one order.
ENVIRONMENT = KERNEL_ENVIRONMENT | {"PYTHONHASHSEED": "0"}


class NotebookError(Exception):
    """A notebook could not be executed; the message shows where and why."""


@dataclass(frozen=True)
class Outcome:
    """An executed notebook: where it lies, and whether it had to be run, for how long."""

    path: Path
    seconds: float
    reused: bool


def read_profile(path: Path) -> dict[str, dict[str, Any]]:
    """Parameters for each notebook's stem; NotebookError if there is no such profile."""
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yml"))) or "none"
        raise NotebookError(f"no profile {path.stem!r} in {path.parent}; there are: {known}")
    profile = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    good = isinstance(profile, dict) and all(isinstance(v, dict | None) for v in profile.values())
    if not good:
        raise NotebookError(f"{path} must map each notebook's name to a mapping of parameters")
    return {stem: values or {} for stem, values in profile.items()}


def fingerprint(root: Path, notebook: Path, parameters: Mapping[str, Any]) -> str:
    """SHA-256 over all that an output depends on: notebook, parameters, library, versions.

    And the records in book/results, for notebooks that name one of the functions that find them.
    """
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode())
    library = (p for p in (root / "adlib").rglob("*") if p.suffix in {".py", ".csv"})
    reads = any(word in notebook.read_text(encoding="utf-8") for word in RECORD_READERS)
    records = (root / "book" / "results").glob("*.[jc]s*") if reads else ()  # .jsonl and .csv
    inputs = [notebook, root / "constraints.txt", Path(__file__), *sorted(library)]
    for path in [*inputs, *sorted(records)]:
        digest.update(b"\0" + path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def check_parameters(notebook: Path, parameters: Mapping[str, Any]) -> None:
    """Refuse a parameter that the notebook lacks; papermill itself would run on with defaults."""
    known = set(papermill.inspect_notebook(str(notebook)))
    if unknown := sorted(set(parameters) - known):
        raise NotebookError(
            f"{notebook.name} has no parameter {', '.join(unknown)}; it has: "
            f"{', '.join(sorted(known)) or 'none'}"
        )


def execute(
    notebook: Path,
    parameters: Mapping[str, Any],
    *,
    root: Path,
    cache: Path,
    cwd: Path,
    threads: int | None = None,
) -> Outcome:
    """Execute a notebook, or take the kept result if nothing that it depends on has changed.

    Args:
        notebook: the source, without outputs; it is not touched.
        parameters: values to set below its `parameters` cell.
        root: the tree, whose `adlib` and `constraints.txt` count as input.
        cache: folder for executed notebooks and their stamps.
        cwd: where its relative paths begin, and where it may write.
        threads: that it computes with, unless OMP_NUM_THREADS says so; None: all cores.
    Raises:
        NotebookError: A cell failed, with its number, source and error. What was executed until
            then is kept as `NAME.failed.ipynb`, never as the result.
    """
    cache.mkdir(parents=True, exist_ok=True)
    done, stamp = cache / notebook.name, cache / f"{notebook.stem}.json"
    failed = cache / f"{notebook.stem}.failed.ipynb"
    mark = fingerprint(root, notebook, parameters)
    if done.is_file() and stamp.is_file():
        kept = json.loads(stamp.read_text())
        if kept["fingerprint"] == mark:
            return Outcome(done, kept["seconds"], reused=True)
    check_parameters(notebook, parameters)
    for old in (stamp, done, failed):
        old.unlink(missing_ok=True)
    kernel = {k: v for k, v in os.environ.items() if k not in KERNEL_REFUSES} | ENVIRONMENT
    if threads is not None:
        kernel = {"OMP_NUM_THREADS": str(threads)} | kernel
    order = {"input_path": str(notebook), "output_path": str(failed), "cwd": str(cwd)}
    start = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "book.execute"],
        stdin=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parent.parent,
        env=kernel,
    )
    assert child.stdin is not None
    with child.stdin:
        json.dump(order | {"parameters": dict(parameters)}, child.stdin)
    ended = wait_while_it_computes(child)
    if ended != 0:
        raise NotebookError(describe(notebook, failed, stalled=ended is None))
    seconds = time.monotonic() - start
    failed.replace(done)
    stamp.write_text(json.dumps({"fingerprint": mark, "seconds": round(seconds, 1)}))
    return Outcome(done, seconds, reused=False)


def processor_seconds(pid: int) -> float:
    """What a process and its descendants have computed; infinite where one of them is paused."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        for process in (parent := psutil.Process(pid), *parent.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                if process.status() == psutil.STATUS_STOPPED:  # by a person, who will let it go on
                    return math.inf
                total += sum(process.cpu_times()[:4])  # with those of children that have ended
    return total


def wait_while_it_computes(child: subprocess.Popen, stall: float = STALL_SECONDS) -> int | None:
    """Wait for a process however long it takes, and end it once it and its children stand still.

    A run that makes progress uses the processor, on a busy machine as well. What spins without end
    is not noticed.

    Returns:
        Its exit status; None if it stood still for `stall` seconds and was ended.
    """
    seen, since = 0.0, time.monotonic()
    while True:
        with suppress(subprocess.TimeoutExpired):
            return child.wait(timeout=min(POLL_SECONDS, stall / 4))
        now = processor_seconds(child.pid)
        if now == math.inf or abs(now - seen) > LEAST_SHARE * stall:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > stall:
            for process in psutil.Process(child.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            child.kill()
            child.wait()
            return None


def describe(notebook: Path, executed: Path, stalled: bool = False) -> str:
    """Name the cell that failed or stood still, and show its source and the end of its error."""
    try:
        cells = nbformat.read(executed, as_version=4).cells
    except (OSError, ValueError):  # not written yet, or in part
        cells = []
    until = f"--- all until then: {executed}"
    if stalled:
        at = [c for c in cells if c.metadata.get("papermill", {}).get("status") == "running"]
        where = f"\n--- the cell where it stood still\n{at[0].source}\n{until}" if at else ""
        return f"{notebook.name} computed nothing for {STALL_SECONDS / 60:.0f} minutes{where}"
    for cell in cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                plain = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(output.traceback))  # no colours
                trace = plain.splitlines()[-LAST_LINES:]
                return (
                    f"{notebook.name}, cell [{cell.execution_count}] failed: "
                    f"{output.ename}: {output.evalue}\n--- its source\n{cell.source}\n"
                    "--- its error\n" + "\n".join(trace) + f"\n{until}"
                )
    return f"{notebook.name} stopped without an error in a cell: its kernel died; see above"


def as_page(executed: NotebookNode, profile: str, parameters: Mapping[str, Any]) -> NotebookNode:
    """Say which run a page shows, and drop what differs from run to run though nothing changed.

    The notebook is changed in place and returned.
    """
    values = ", ".join(f"`{name} = {value!r}`" for name, value in parameters.items())
    sentence = "The outputs on this page come from a run with the profile " + (
        f"`{profile}`: {values}." if values else f"`{profile}`, which keeps the values above."
    )
    note = nbformat.v4.new_markdown_cell(f"*{sentence}*", id="run-of-this-page")
    where = None
    for i, cell in enumerate(executed.cells):
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags:
            cell.id, cell.metadata["tags"] = "injected-parameters", [*tags, "remove-cell"]
        if "injected-parameters" in tags or "parameters" in tags:
            where = i
        for name in ("papermill", "execution"):
            cell.metadata.pop(name, None)
    if where is not None:
        executed.cells.insert(where + 1, note)
    executed.metadata.pop("papermill", None)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    executed.metadata["kernelspec"] = kernel
    language = executed.metadata.setdefault("language_info", {"name": "python"})
    language["pygments_lexer"] = "ipython3"  # else a line with %pip does not lex
    return executed


def main() -> None:
    """Run papermill as the JSON on standard input says."""
    try:
        papermill.execute_notebook(
            **json.load(sys.stdin),
            kernel_name="python3",
            start_timeout=START_SECONDS,
            progress_bar=False,  # several notebooks run at a time
            extra_arguments=["--log-level=ERROR"],  # each kernel notes that it talks over TCP
        )
    except papermill.PapermillExecutionError:
        sys.exit(1)  # the caller reads what failed from the notebook


if __name__ == "__main__":
    main()
