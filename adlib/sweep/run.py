"""What `adlib sweep` does: all points on Dask, on this machine or any scheduler by its address."""

import hashlib
import os
import signal
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import dask.config
from dask.system import CPU_COUNT
from distributed import Client, Future, LocalCluster, Status, as_completed, get_worker

from adlib.sweep.execution import Job, attempt
from adlib.sweep.parameters import OUT, check
from adlib.sweep.plan import Plan, Point, SweepError, Values, as_finished, read_plan, take_shard
from adlib.sweep.results import Result, Slot, finished_ids, merge, open_folder, write_records
from adlib.system.disk import locked, remove_leftovers, write_text

PAUSE = 0.5  # seconds between two looks at the points, and before a busy one is asked for again
PATIENCE = 10  # seconds for a scheduler to answer, and for attempts to end
CORES_A_WORKER = 4  # where nothing else is said
WIDTH = 48  # characters of an error in the table on the terminal
LOOPBACK = "127.0.0.1"
LOCAL = {  # Dask's settings on this machine, which its workers take over
    # Points take minutes; looking after them each 10 or 20 ms took 5 % of a core a process.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
}


def describe(path: Path, out: Path, shard: str | None = None) -> str:
    """Say what `run_sweep` would run, and what is finished already; its checks are the same."""
    plan, _, points, done = _open(path, out, shard)
    swept = ", ".join(dict.fromkeys(name for point in points for name in point.values))
    finished = f"{sum(p.id in done for p in points)} of them are finished in {out}"
    first = f"{path.name} fits {plan.notebook.name}: {len(points)} points over {swept}; {finished}"
    return "\n".join([first, *(f"  {p.id}{' (finished)' * (p.id in done)}" for p in points)])


def run_sweep(
    path: Path,
    out: Path,
    shard: str | None = None,
    *,
    workers: int | None = None,
    threads: int | None = None,
    scheduler: str | None = None,
    retries: int = 0,
) -> None:
    """Run what is not finished of a sweep, and end with its table; see `adlib sweep --help`.

    Raises:
        SweepError: The request was wrong; nothing was run.
        RuntimeError: Points failed; the others are finished.
        KeyboardInterrupt: Stopped by Ctrl-C or SIGTERM; says what is finished.
    """
    plan, known, points, done = _open(path, out, shard)
    share = plan.resources.get("GPU", 0.0)
    workers, threads, gpus = choose_crew(workers, threads, scheduler, share)
    open_folder(out)
    source, name = plan.notebook.read_bytes(), plan.notebook.name
    digest = hashlib.sha256(source).hexdigest()
    kept = out / "notebooks" / f"{digest}.ipynb"
    with locked(out / ".lock", wait=True):
        remove_leftovers(kept.parent, f".{kept.name}-*", held=True)
        if not kept.is_file():
            write_text(kept, source.decode())
    job = Job(
        out=str(out.resolve()),
        takes_out=OUT in known,
        notebook={"name": name, "sha256": digest},
        timeout=plan.timeout,
        threads=threads,
        gpus=gpus,
    )
    old = [p for p in points if p.id in done and done[p.id].get("notebook") != job.notebook]
    if old:
        print(
            f"{len(old)} finished points were made by another version of {name}, such as "
            f"{old[0].id}; they are kept. Remove their folders, or name another --out, to run "
            "them again"
        )
    todo = [point for point in points if point.id not in done]
    print(f"{len(points)} points, {len(points) - len(todo)} of them finished before; into {out}")
    try:
        if todo:
            with (
                noted_signals() as came,
                connect(scheduler, workers, plan.resources) as client,
                closing(run_points(client, job, todo, plan.resources, retries, came)) as results,
            ):
                for line in progress(results, len(todo)):
                    print(line, flush=True)
    except KeyboardInterrupt:
        count = len(set(finished_ids(out)) & {p.id for p in points})
        raise KeyboardInterrupt(
            f"stopped; {count} of {len(points)} points are finished in {out}. "
            "The same command goes on with the others"
        ) from None
    finally:
        rows = write_records(out)
    _conclude(points, rows, out)


def run_merge(path: Path, sources: Sequence[Path], out: Path, shard: str | None = None) -> None:
    """Merge the folders of shards, and end with the table of the whole sweep.

    Raises:
        SweepError: A folder is no sweep's, or a point has two results; nothing was copied.
        RuntimeError: Points failed, or are missing.
    """
    _open(path, out, shard)
    print(f"{len(merge(out, sources))} points copied into {out}")
    _conclude(_open(path, out, shard)[2], write_records(out), out)


def _open(
    path: Path, out: Path, shard: str | None
) -> tuple[Plan, dict[str, Any], list[Point], dict[str, Result]]:
    """The plan, its notebook's parameters, the points asked for, and what is finished of them."""
    plan = read_plan(path)
    known, ids = check(plan), set(finished_ids(out))
    points = as_finished(plan.points if shard is None else take_shard(plan.points, shard), ids)
    done = {p.id: Slot(out, p.id).result() or {} for p in points if p.id in ids}
    return plan, known, points, done


def _conclude(points: Sequence[Point], found: dict[str, Values], out: Path) -> None:
    """Show the table of a sweep; RuntimeError unless all of its points are finished."""
    from pandas import DataFrame  # not above: it takes a second to import

    rows = []
    for point in points:
        row = found.get(point.id, {"status": "not run", "seconds": None, "error": None})
        shown = {name: row[name] for name in ("status", "seconds")} | row.get("metrics", {})
        shown |= {"error": row["error"][:WIDTH]} if row["error"] else {}
        rows.append({"id": point.id, **point.values, **shown})
    print(DataFrame(rows).to_string(index=False, na_rep=""))
    print(f"table in {out / 'table.csv'}, records in {out / 'records.jsonl'}")
    counts = Counter(row["status"] for row in rows)
    why = f"failed; {out / 'failed'} says why, the same command tries them again"
    for status, words in (("failed", why), ("not run", "have not been run")):
        if counts[status]:
            raise RuntimeError(f"{counts[status]} of {len(points)} points {words}")


def progress(results: Iterator[Result], total: int) -> Iterator[str]:
    """A line for each point that is settled, with the time that the others may take."""
    started = time.monotonic()
    for count, result in enumerate(results, 1):
        left = timedelta(seconds=round((time.monotonic() - started) / count * (total - count)))
        line = f"{count}/{total} {result['id']} {result['status']}"
        line += "" if result["seconds"] is None else f" in {result['seconds']:.1f} s"
        line += f", attempt {result['attempts']}" if result["attempts"] > 1 else ""
        line += f": {result['error']}" if result["error"] else ""
        yield line + (f"; about {left} left" if count < total else "")


def choose_crew(
    workers: int | None, threads: int | None, scheduler: str | None, share: float
) -> tuple[int, int | None, tuple[str, ...]]:
    """Settle what was left open: the workers by GPUs or cores, the threads by workers.

    Returns:
        Workers of this machine, CPU threads of each point, and CUDA_VISIBLE_DEVICES of each worker.
    Raises:
        SweepError: More workers than `share` of a GPU is there for, or workers beside a scheduler.
    """
    for name, number in (("workers", workers), ("threads-per-worker", threads)):
        if number is not None and number < 1:
            raise SweepError(f"--{name}: expected at least 1, got {number}")
    if scheduler is not None:
        if workers is not None:
            raise SweepError(
                f"--workers is for this machine; the scheduler {scheduler} has its own"
            )
        return 0, threads, ()
    gpus = share_gpus(find_gpus(), share) if share else ()
    if share and len(gpus) < (workers or 1):
        raise SweepError(
            f"GPU {share:g} for each of {workers or 1} points at a time: the GPUs of this machine "
            f"have room for {len(gpus)}"
        )
    workers = workers or len(gpus) or max(1, CPU_COUNT // CORES_A_WORKER)
    return workers, threads or max(1, CPU_COUNT // workers), gpus


def find_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return [str(i) for i in range(count)] if named is None else named.split(",")[:count]


def share_gpus(gpus: list[str], share: float) -> tuple[str, ...]:
    """The GPUs of each worker, joined by commas; a share below 1 lies on one GPU."""
    if share < 1:
        each = int(1 / share + 1e-9)  # 1 / (1 / 49) is a little less than 49
        return tuple(gpu for gpu in gpus for _ in range(each))
    n = int(share)
    return tuple(",".join(gpus[i : i + n]) for i in range(0, len(gpus) - n + 1, n))


@contextmanager
def connect(scheduler: str | None, workers: int, resources: dict[str, float]) -> Iterator[Client]:
    """Give a client of a local cluster, which ends with it, or of a running scheduler.

    Raises:
        ConnectionError: No scheduler answers at the address.
    """
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"no Dask scheduler answers at {scheduler} within {PATIENCE} s: {error}"
            ) from error
        with client:
            has = [w["resources"] for w in client.scheduler_info(n_workers=-1)["workers"].values()]
            able = sum(all(some.get(n, 0) >= a for n, a in resources.items()) for some in has)
            print(f"{len(has)} workers at {scheduler}, {able} of which can take a point")
            yield client
        return
    with (
        dask.config.set(LOCAL),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host=LOOPBACK,
            memory_limit=0,  # a point's memory is its kernel's, which Dask does not see
            resources=resources,
            preload=["adlib.sweep.run"],
            # `dashboard_address=None` would still take the fixed port 8787.
            scheduler_kwargs={"dashboard": False, "dashboard_address": f"{LOOPBACK}:0"},
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def run_points(
    client: Client,
    job: Job,
    points: Sequence[Point],
    resources: dict[str, float],
    retries: int = 0,
    came: Sequence[int] = (),
) -> Generator[Result]:
    """Run all points, and yield the result of each when it is settled.

    A point whose worker dies is run again by another; one that fails, `retries` times more; one
    that another process works on is asked for again until that one is done or gone.

    Raises:
        ConnectionError: The scheduler was lost.
        KeyboardInterrupt: `came` holds a signal by now.
    """
    waiting = as_completed(loop=client.loop)
    running: dict[Any, Point] = {}
    left = dict.fromkeys((point.id for point in points), retries)
    again = list(points)
    try:
        while running or again:
            for point in again:
                future = client.submit(work, job, point, pure=False, resources=resources or None)
                running[future.key] = point
                waiting.add(future)
            again = []
            time.sleep(PAUSE)
            if came:
                raise KeyboardInterrupt
            for future in waiting.next_batch(block=False):
                point = running.pop(future.key)
                result = _settle(future, job, point)
                if result["status"] in ("busy", "stopped"):  # or its worker was closed under it
                    again.append(point)
                elif result["status"] == "failed" and left[point.id] > 0:
                    left[point.id] -= 1
                    again.append(point)
                else:
                    yield result
    finally:
        client.cancel(list(waiting.futures))
        # Attempts that are called off end by themselves; then Dask has nothing to complain of.
        deadline = time.monotonic() + PATIENCE
        for slot in (Slot(Path(job.out), point.id) for point in running.values()):
            while slot.log.exists() and time.monotonic() < deadline:
                with slot.lock() as log:
                    if log is not None:
                        break
                time.sleep(PAUSE / 5)


def _settle(future: Future, job: Job, point: Point) -> Result:
    """The result of a task that has ended; what the worker could not note is noted here."""
    if future.status == "finished":
        return future.result()
    if future.status != "error":
        raise ConnectionError("the Dask scheduler was lost; the same command goes on")
    slot, error = Slot(Path(job.out), point.id), future.exception()
    result: Result = {"id": point.id, "parameters": point.parameters, "status": "failed"}
    result |= {"attempts": slot.begun(), "seconds": None}
    return slot.settle(result | {"error": f"{type(error).__name__}: {error}", "traceback": []})


def work(job: Job, point: Point) -> Result:
    """Make one attempt in this Dask worker, and end it when the sweep that asked for it is gone."""
    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        gone = worker.status in (Status.closing, Status.closed, Status.failed)
        return not gone and task is not None and task.state == "executing"

    number = worker.name if isinstance(worker.name, int) else 0  # a local cluster counts them
    return attempt(job, point, wanted=wanted, worker=number)


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C to the sweep, whose terminal sends it to its workers, too; run by `preload`."""
    signal.signal(signal.SIGINT, lambda number, frame: None)


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Note Ctrl-C, and SIGTERM by which batch systems end a job, in the list that it gives.

    Python's own KeyboardInterrupt may come in a callback of Dask's, which swallows it.
    """
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: came.append(number)) for number in numbers]
    try:
        yield came
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
