"""A progress bar with the time left, for whatever takes longer than two seconds."""

import os
import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

DELAY = 2.0  # seconds before a bar appears; quick things stay silent


def live_kernel() -> bool:
    """Whether a person watches this process in a notebook (Jupyter Server or Colab)."""
    return "google.colab" in sys.modules or "JPY_SESSION_NAME" in os.environ


def track(
    items: Iterable[T], label: str, *, total: int | None = None, unit: str = "it"
) -> "tqdm[T]":
    """Iterate with a bar on stderr; silent where nobody watches (papermill, a pipe, CI)."""
    show = live_kernel() or sys.stderr.isatty()
    return tqdm(items, desc=label, total=total, unit=unit, delay=DELAY, disable=not show)
