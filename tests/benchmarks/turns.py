"""Cases that take turns, so that other work on the machine disturbs all of them alike."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

K = TypeVar("K")


def take_turns(cases: Mapping[K, Callable[[], Any]], rounds: int) -> dict[K, np.ndarray]:
    """Return wall and processor seconds (rounds 2) of every case, after a round that warms up."""
    seconds: dict[K, list[tuple[float, float]]] = {name: [] for name in cases}
    for k in range(rounds + 1):
        for name, case in cases.items():
            wall, cpu = time.perf_counter(), time.process_time()
            case()
            if k:
                seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: np.array(found) for name, found in seconds.items()}
