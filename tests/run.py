"""`make test`: lint, format, types and tests, all of them even if one fails, and what each took."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORKERS = min(os.cpu_count() or 1, 8)
STAGES = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "pyright": ["pyright"],
    "pytest": ["pytest", "-q", "-n", str(WORKERS), "--dist", "worksteal", "--durations", "10"],
}


def main() -> int:
    """Run every stage; 0 if all passed."""
    # Each worker computes with one thread: the cores are shared among the workers already.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    rows = []
    for name, command in STAGES.items():
        print(f"== {name}", flush=True)
        start = time.monotonic()
        code = subprocess.call([sys.executable, "-m", *command], cwd=ROOT, env=os.environ | threads)
        rows.append((time.monotonic() - start, name, "passed" if code == 0 else f"FAILED ({code})"))
    print("\n".join(f"{seconds:8.1f} s  {name:<12} {outcome}" for seconds, name, outcome in rows))
    return int(any(not outcome.startswith("passed") for _, _, outcome in rows))


if __name__ == "__main__":
    sys.exit(main())
