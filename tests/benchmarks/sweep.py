"""Two workers of a sweep beside one: the same points of fixed, single-threaded work.

    python tests/benchmarks/sweep.py               # 8 points of about 5 s each
    python tests/benchmarks/sweep.py --seconds 20

A point is a notebook that counts in plain Python, so its work is the same wherever it runs; the
count is set by a trial run at the start. One worker and two take turns for `--rounds` rounds and
the best time of each is reported, since other work on the machine only ever adds. The clock runs
over the whole command: start of the cluster, kernels, records. `one process` is the bare work of
all points without a sweep, so its ratio to one worker is what a sweep costs; `two processes` is
the same in two processes at once, so its ratio is what this machine has to give: two cores that
share a clock or a core with others give less than 2. `--sleep` waits in place of counting, which
shows what the sweep itself allows where the cores are not free. A benchmark, not a test: it
asserts no time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

POINTS = 8
WORK = "total = 0\nfor i in range(count):\n    total += i * i % 7\n"
SLEEP = "import time\ntime.sleep(count / 1000)\n"
ALONE = {  # each case, and the one that it is compared with
    "one process": "one process",
    "two processes": "one process",
    "one worker": "one worker",
    "two workers": "one worker",
}
SINGLE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def write_sweep(folder: Path, work: str, count: int) -> Path:
    """A notebook that counts, and a sweep of it over seeds."""
    cells = [("count = 1  # steps\nseed = 0  # of nothing", ["parameters"]), (work, [])]
    notebook = {
        "cells": [
            {"cell_type": "code", "id": f"cell-{i}", "metadata": {"tags": tags}, "source": source,
             "outputs": [], "execution_count": None}
            for i, (source, tags) in enumerate(cells)
        ],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "p", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }  # fmt: skip
    (folder / "count.ipynb").write_text(json.dumps(notebook))
    path = folder / "count.yml"
    seeds = list(range(POINTS))
    path.write_text(f"notebook: count.ipynb\nfixed: {{count: {count}}}\ngrid: {{seed: {seeds}}}\n")
    return path


def calibrate(seconds: float) -> int:
    """How far this machine counts in so many seconds."""
    trial = 2_000_000
    started = time.perf_counter()
    exec(WORK, {"count": trial})
    return int(trial * seconds / (time.perf_counter() - started))


def measure(case: str, sweep: Path, work: str, count: int) -> float:
    """Seconds of one case, from a folder that holds no point yet."""
    with tempfile.TemporaryDirectory() as out:
        if "process" in case:
            parts = 1 if case == "one process" else 2
            bare = f"for _ in range({POINTS // parts}):\n    exec({work!r}, {{'count': {count}}})"
            commands = [[sys.executable, "-c", bare]] * parts
        else:
            workers = "1" if case == "one worker" else "2"
            options = ["--workers", workers, "--threads-per-worker", "1", "--out", out]
            commands = [[sys.executable, "-m", "adlib", "sweep", str(sweep), *options]]
        started = time.perf_counter()
        running = [
            subprocess.Popen(c, env=os.environ | SINGLE, stdout=subprocess.DEVNULL)
            for c in commands
        ]
        codes = [process.wait() for process in running]
        if any(codes):
            raise RuntimeError(f"{case} failed: {commands[0]}")
        return time.perf_counter() - started


def table(found: dict[str, list[float]]) -> str:
    """One row a case: best and median seconds, and how many times faster than alone."""
    best = {case: min(seconds) for case, seconds in found.items()}
    rows = ["case            best s  median s  against one"]
    for case, seconds in found.items():
        median = sorted(seconds)[len(seconds) // 2]
        rows.append(
            f"{case:14s} {best[case]:7.1f} {median:9.1f} {best[ALONE[case]] / best[case]:12.2f}"
        )
    overhead = (best["one worker"] - best["one process"]) / POINTS
    rows.append(f"a sweep adds {overhead:.1f} s to a point, its share of the cluster's start in it")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=5.0, help="of work in a point")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--sleep", action="store_true", help="wait, which needs no core")
    args = parser.parse_args()
    work = SLEEP if args.sleep else WORK
    count = round(1000 * args.seconds) if args.sleep else calibrate(args.seconds)
    found: dict[str, list[float]] = {case: [] for case in ALONE}
    with tempfile.TemporaryDirectory() as name:
        sweep = write_sweep(Path(name), work, count)
        for _ in range(args.rounds):
            for case in ALONE:
                found[case].append(measure(case, sweep, work, count))
    told = f"wait {args.seconds:g} s" if args.sleep else f"count to {count:,}"
    print(f"{POINTS} points that {told}; best of {args.rounds}, {os.cpu_count()} CPUs")
    print(table(found))


if __name__ == "__main__":
    main()
