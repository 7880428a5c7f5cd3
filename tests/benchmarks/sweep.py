"""Two workers of a sweep beside one: the same points of fixed, single-threaded work.

    python tests/benchmarks/sweep.py               # 8 points of about 5 s each
    python tests/benchmarks/sweep.py --seconds 20

A point is a notebook that counts in plain Python, so its work is the same wherever it runs; the
count is set by a trial run at the start. One worker and two take turns for `--rounds` rounds and
the best time of each is reported, since other work on the machine only ever adds. The clock runs
over the whole command: start of the cluster, kernels, records. One process does the bare work of
all points without a sweep, so its ratio to one worker is what a sweep costs; two at once show what
this machine has to give. `--sleep` waits in place of counting, which shows what the sweep itself
allows where the cores are not free. A benchmark, not a test: it asserts no time.
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


def measure(parts: int, sweep: Path | None, work: str, count: int) -> float:
    """Seconds of all points in so many bare processes, or in a sweep of so many workers."""
    with tempfile.TemporaryDirectory() as out:
        bare = f"for _ in range({POINTS // parts}):\n    exec({work!r}, {{'count': {count}}})"
        commands = [[sys.executable, "-c", bare]] * parts
        if sweep is not None:
            options = ["--workers", str(parts), "--threads-per-worker", "1", "--out", out]
            commands = [[sys.executable, "-m", "adlib", "sweep", str(sweep), *options]]
        started = time.perf_counter()
        running = [
            subprocess.Popen(c, env=os.environ | SINGLE, stdout=subprocess.DEVNULL)
            for c in commands
        ]
        codes = [process.wait() for process in running]  # of all, before one is judged
        if any(codes):
            raise RuntimeError(f"failed: {commands[0]}")
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=5.0, help="of work in a point")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--sleep", action="store_true", help="wait, which needs no core")
    args = parser.parse_args()
    work = SLEEP if args.sleep else WORK
    count = round(1000 * args.seconds) if args.sleep else calibrate(args.seconds)
    told = f"wait {args.seconds:g} s" if args.sleep else f"count to {count:,}"
    print(f"{POINTS} points that {told}; best of {args.rounds}, {os.cpu_count()} CPUs")
    with tempfile.TemporaryDirectory() as name:
        sweep = write_sweep(Path(name), work, count)
        cases = [(1, None), (2, None), (1, sweep), (2, sweep)]
        rounds = [
            [measure(parts, path, work, count) for parts, path in cases] for _ in range(args.rounds)
        ]
    one, two, worker, workers = map(min, zip(*rounds, strict=True))
    print(f"one process {one:.1f} s, two processes {two:.1f} s: {one / two:.2f} times faster")
    print(f"one worker {worker:.1f} s, two workers {workers:.1f} s: {worker / workers:.2f} times")
    overhead = (worker - one) / POINTS
    print(f"a sweep adds {overhead:.1f} s to a point, its share of the cluster's start in it")


if __name__ == "__main__":
    main()
