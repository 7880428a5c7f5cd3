"""What a training run shows while it runs, and what a tracker logs of it."""

import statistics
import time
from itertools import pairwise
from typing import Any

from adlib.system.disk import to_json
from adlib.system.hardware import peak_memory_mib


class ProgressLogger:
    """What a training run shows and logs at each step: loss, images per second, memory.

    Args:
        bar: That of the steps; it knows the time left.
        accelerator: Accelerate's, which holds the tracker.
        tracker: Its name; None logs nothing.
        batch: Images a step, over all processes.
        config: For the tracker's table of settings.
    """

    def __init__(
        self, bar: Any, accelerator: Any, tracker: str | None, batch: int, config: Any
    ) -> None:
        self.bar, self.accelerator, self.tracker, self.batch = bar, accelerator, tracker, batch
        self.begun = time.perf_counter()
        self.ends: list[float] = []  # seconds from the beginning to the end of each step
        if tracker is not None:
            accelerator.init_trackers("adlib", {k: str(v) for k, v in to_json(config).items()})

    def show(self, step: int, loss: float, lr: float) -> float:
        """Show step `step`, counted from 0; return the seconds since the first that was shown."""
        seconds = time.perf_counter() - self.begun
        self.ends.append(seconds)
        rate = self.batch * len(self.ends) / seconds
        if not self.bar.disable:
            memory = peak_memory_mib() or 0
            text = f"loss {loss:.4f}, {rate:.1f} images/s, {memory:,.0f} MiB"
            self.bar.set_postfix_str(text, refresh=False)
        if self.tracker is not None:
            values = {"loss": loss, "lr": lr, "images_per_second": rate}
            self.accelerator.log(values, step=step)
        return seconds

    @property
    def rate(self) -> float | None:
        """Images per second of the median step; None where none was run."""
        if not self.ends:
            return None
        return self.batch / statistics.median(b - a for a, b in pairwise([0.0, *self.ends]))

    def close(self) -> None:
        """Let the tracker write what it holds; Accelerate's own end would part the processes."""
        for tracker in self.accelerator.trackers:
            tracker.finish()
