"""All points of a sweep on Dask: a local cluster of processes, or any scheduler by its address."""

import os
import queue
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.config
from dask.system import CPU_COUNT
from distributed import Client, Future, LocalCluster

from adlib.sweep.attempt import Order, workers_per_device
from adlib.sweep.folder import Result, Slot
from adlib.sweep.point import SweepError
from adlib.sweep.worker import work

PAUSE = 0.5  # seconds before a point that another process works on is asked for again; ours
PATIENCE = 10  # seconds for a scheduler to answer, and for attempts to end; ours
DEATHS = 3  # workers that may die while they hold a point before it counts as failed; Dask's
CORES_A_WORKER = 4  # where nothing else is said; ours
LOOPBACK = "127.0.0.1"
LOCAL = {  # Dask's settings on this machine, which its workers take over
    "distributed.scheduler.allowed-failures": DEATHS,
    # Points take minutes; looking after them each 10 or 20 ms took 5 % of a core a process.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
}


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who works: how many workers, on which GPUs, or a scheduler that knows.

    Args:
        workers: Processes on this machine; each works on one point at a time.
        threads: CPU threads of each point's libraries; None leaves them to the cluster.
        devices: GPUs of this machine to share among the workers; None where none is asked for.
        scheduler: Address of a Dask scheduler, in place of local workers.
    """

    workers: int = 1
    threads: int | None = None
    devices: list[str] | None = None
    scheduler: str | None = None


def choose_crew(
    resources: dict[str, float],
    *,
    workers: int | None,
    threads: int | None,
    scheduler: str | None,
    devices: Callable[[], list[str]],
) -> Crew:
    """Settle what was left open: the workers by GPUs or cores, the threads by workers.

    Raises:
        SweepError: More workers or GPUs than there are, or workers of a cluster, which has its own.
    """
    for name, number in (("workers", workers), ("threads a worker", threads)):
        if number is not None and number < 1:
            raise SweepError(f"expected at least 1 {name}, got {number}")
    if scheduler is not None:
        if workers is not None:
            raise SweepError(f"workers are counted for this machine; {scheduler} has its own")
        return Crew(threads=threads, scheduler=scheduler)
    found, share = None, resources.get("GPU", 0.0)
    if share:
        found = devices()
        most = workers_per_device(share) * len(found) if share < 1 else int(len(found) / share)
        if most < (workers or 1):
            raise SweepError(
                f"GPU: {share:g} for each point, {workers or 1} at a time, is more than the "
                f"{len(found)} of this machine have room for, which is {most}"
            )
        workers = workers or most
    workers = workers or max(1, CPU_COUNT // CORES_A_WORKER)
    return Crew(workers=workers, threads=threads or max(1, CPU_COUNT // workers), devices=found)


def find_devices() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return [str(i) for i in range(count)] if named is None else named.split(",")[:count]


@contextmanager
def connect(crew: Crew, resources: dict[str, float]) -> Iterator[Client]:
    """Give a client of a local cluster, which ends with it, or of a running scheduler.

    Raises:
        ConnectionError: No scheduler answers at the address.
    """
    if crew.scheduler is not None:
        try:
            client = Client(crew.scheduler, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"no Dask scheduler answers at {crew.scheduler} within {PATIENCE} s: {error}"
            ) from error
        with client:
            yield client
        return
    with (
        dask.config.set(LOCAL),
        LocalCluster(
            n_workers=crew.workers,
            threads_per_worker=1,
            processes=True,
            host=LOOPBACK,
            memory_limit=0,  # a point's memory is its kernel's, which Dask does not see
            resources=resources,
            preload=["adlib.sweep.worker"],
            # `dashboard_address=None` would still take the fixed port 8787.
            scheduler_kwargs={"dashboard": False, "dashboard_address": f"{LOOPBACK}:0"},
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def run_orders(
    client: Client,
    orders: Sequence[Order],
    resources: dict[str, float],
    *,
    retries: int = 0,
    stopped: Callable[[], bool] = bool,
) -> Generator[Result]:
    """Run all orders, and yield the result of each point when it is settled.

    A point whose worker dies is run again by another; one that fails, `retries` times more; one
    that another process works on is asked for again until that one is done or gone.

    Raises:
        ConnectionError: The scheduler was lost.
        KeyboardInterrupt: `stopped`, asked time and again, says so.
    """
    done: queue.SimpleQueue[Future] = queue.SimpleQueue()
    running: dict[Any, tuple[Future, Order]] = {}  # by Dask's key; a dropped future is cancelled
    later = [(0.0, order) for order in reversed(orders)]  # when to submit; the next one is last
    left = {order.id: retries for order in orders}
    try:
        while running or later:
            if stopped():
                raise KeyboardInterrupt
            while later and later[-1][0] <= time.monotonic():
                order = later.pop()[1]
                future = client.submit(work, order, pure=False, resources=resources or None)
                running[future.key] = (future, order)
                future.add_done_callback(done.put)
            try:
                future = done.get(timeout=PAUSE)
            except queue.Empty:
                continue
            order = running.pop(future.key)[1]
            result = _settle(future, order)
            if result["status"] in ("busy", "stopped"):  # or its worker was closed under it
                later.insert(0, (time.monotonic() + PAUSE, order))
            elif result["status"] == "failed" and left[order.id]:
                left[order.id] -= 1
                later.append((0.0, order))
            else:
                yield result
    finally:
        if running:
            client.cancel([future for future, _ in running.values()])
            _wait_for_locks([order for _, order in running.values()])


def _wait_for_locks(orders: Sequence[Order]) -> None:
    """Let attempts that are called off end by themselves; then Dask has nothing to complain of."""
    deadline = time.monotonic() + PATIENCE
    for slot in (Slot(Path(order.out), order.id) for order in orders):
        while slot.log.exists() and time.monotonic() < deadline:
            with slot.lock() as log:
                if log is not None:
                    break
            time.sleep(PAUSE / 5)
    time.sleep(PAUSE)


def _settle(future: Future, order: Order) -> Result:
    """The result of a task that has ended; what the worker could not note is noted here."""
    if future.status == "finished":
        return future.result()
    if future.status != "error":
        raise ConnectionError("the Dask scheduler was lost; the same command goes on")
    slot, error = Slot(Path(order.out), order.id), future.exception()
    result: Result = {
        "id": order.id,
        "parameters": order.parameters,
        "status": "failed",
        "attempts": slot.begun(),
        "seconds": None,
        "error": f"{type(error).__name__}: {error}",
        "traceback": [],
    }
    slot.fail(result)
    return result
