"""What people are shown: a bar for all that takes longer than two seconds, and safe names."""

import os
import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

DELAY = 2.0  # seconds before a bar appears; quick things stay silent
PAUSE = 30.0  # seconds between the lines of a log, which keeps them all
LOG = "ADLIB_PROGRESS"  # set it to "log" for lines where nobody watches; the command line does


class _Lines:
    """A log as tqdm's file: each state of the bar is a line of its own."""

    def write(self, text: str) -> None:
        if line := text.strip("\r\n "):
            print(line, file=sys.stderr, flush=True)

    def flush(self) -> None:
        sys.stderr.flush()


def live_kernel() -> bool:
    """Whether a person watches this process in a notebook (Jupyter Server or Colab)."""
    return "google.colab" in sys.modules or "JPY_SESSION_NAME" in os.environ


def track(
    items: Iterable[T], label: str, *, total: int | None = None, initial: int = 0,
    unit: str = "it", show: bool = True,
) -> "tqdm[T]":  # fmt: skip
    """Iterate with a bar where somebody watches, with lines in a log of the command line.

    Args:
        items: What to go through, and `total`, their number where it cannot be asked of them.
        label: What is being done.
        initial: How many an earlier run has done, of the name `unit`.
        show: False in all processes but the first.
    """
    watched = live_kernel() or sys.stderr.isatty()
    logged = not watched and os.environ.get(LOG) == "log"
    return tqdm(
        items,
        desc=label,
        total=total,
        initial=initial,
        unit=unit,
        delay=DELAY,
        disable=not show or not (watched or logged),
        **({"file": _Lines(), "mininterval": PAUSE, "ncols": 0} if logged else {}),
    )
