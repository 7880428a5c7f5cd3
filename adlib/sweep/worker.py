"""What a Dask worker does: attempts, and what is left of Ctrl-C to a process that is not asked."""

import signal
from typing import Any

from distributed import Status, get_worker

from adlib.sweep.attempt import Order, attempt
from adlib.sweep.folder import Result


def work(order: Order) -> Result:
    """Make one attempt in this worker, and end it when the sweep that asked for it is gone."""
    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        gone = worker.status in (Status.closing, Status.closed, Status.failed)
        return not gone and task is not None and task.state == "executing"

    number = worker.name if isinstance(worker.name, int) else 0  # a local cluster counts them
    return attempt(order, wanted=wanted, worker=number)


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C to the sweep, whose terminal sends it to its workers, too; run by `preload`."""
    signal.signal(signal.SIGINT, lambda number, frame: None)
