"""`make test`: lint, types, the book from short runs, tests; all of them, and what each took.

The whole book is built once, at the profile `smoke`: every cell of every chapter runs, and every
page is rendered with warnings as errors. The tests of the pages then read it in a browser. Types
are checked beside the book at low priority, on the core that is idle while it renders.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORKERS = min(os.cpu_count() or 1, 8)
SMOKE = ROOT / "_build/smoke"  # beside the book that `make book` made
STAGES = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "book": ["book.build", "--profile", "smoke", "--out", str(SMOKE)],
    "pyright": ["pyright"],
    "pytest": ["pytest", "-q", "-n", str(WORKERS), "--dist", "worksteal", "--durations", "10"],
}


def main() -> int:
    """Run every stage; 0 if all passed."""
    # Each worker computes with one thread: the cores are shared among the workers already.
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    site = {"ADLIB_SITE": str(SMOKE / "_build/html")}
    environment = site | os.environ | dict.fromkeys(names, "1")
    begun = time.monotonic()

    def start(name: str, out: int | None = None) -> subprocess.Popen:
        print(f"== {name}", flush=True)
        command = ["nice", "-n", "19"] if name == "pyright" else []
        command += [sys.executable, "-m", *STAGES[name]]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out)

    rows, beside = [], None
    for name in STAGES:
        since = time.monotonic()
        if name == "book":
            beside = start("pyright", subprocess.PIPE)
        if name == "pyright":
            assert beside is not None
            told, _ = beside.communicate()
            print(f"== {name}\n{told.decode()}", end="", flush=True)
            code = beside.returncode
        else:
            code = start(name).wait()
        rows.append((time.monotonic() - since, name, f"FAILED ({code})" if code else "passed"))
    rows.append((time.monotonic() - begun, "in all", ""))
    print("\n".join(f"{seconds:8.1f} s  {name:<12} {outcome}" for seconds, name, outcome in rows))
    return int(any(outcome.startswith("FAILED") for _, _, outcome in rows))


if __name__ == "__main__":
    sys.exit(main())
