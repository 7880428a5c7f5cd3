"""What `adlib sweep` does: all points on Dask, on this machine or any scheduler by its address."""

import hashlib
import os
import signal
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import dask.config
from dask.system import CPU_COUNT
from distributed import Client, Future, LocalCluster, Status, get_worker

from adlib.sweep.execution import Job, attempt
from adlib.sweep.plan import Point, SweepError, as_finished, read_plan, take_shard
from adlib.sweep.results import Result, Slot, finished_ids, open_folder, write_records
from adlib.sweep.results import merge as join
from adlib.system.disk import locked, on_signals, remove_leftovers, write_text

PAUSE = 0.5  # seconds between two looks at the points, and before a busy one is asked for again
PATIENCE = 10  # seconds for a scheduler to answer, and for attempts to end
CORES_A_WORKER = 4  # where nothing else is said
WIDTH = 48  # characters of an error in the table on the terminal
LOCAL = {  # Points take minutes; looking after them each 10 or 20 ms took 5 % of a core a process.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
}


def run(
    file: Path,
    *,
    out: Path | None,
    check: bool,
    workers: int | None,
    threads_per_worker: int | None,
    scheduler: str | None,
    shard: str | None,
    retries: int,
    merge: Sequence[Path],
) -> None:
    """Check, merge (if there are folders to merge) or run a sweep; see `adlib sweep --help`.

    Raises:
        SweepError: The request was wrong; nothing was run or copied.
        RuntimeError: Points failed, or are missing; the others are finished.
        KeyboardInterrupt: Stopped by Ctrl-C or SIGTERM; says what is finished.
    """
    plan, out = read_plan(file), out or Path("runs") / f"sweep-{file.stem}"
    wanted = plan.points if shard is None else take_shard(plan.points, shard)

    def found() -> tuple[list[Point], dict[str, Result]]:
        """The points asked for, and the results of those that are finished."""
        ids = set(finished_ids(out))
        points = as_finished(wanted, ids)
        return points, {p.id: Slot(out, p.id).result() for p in points if p.id in ids}

    points, done = found()
    if check:
        swept = ", ".join(dict.fromkeys(name for point in points for name in point.values))
        print(
            f"{file.name} fits {plan.notebook.name}: {len(points)} points over {swept}; "
            f"{len(done)} of them are finished in {out}"
        )
        print(*(f"  {p.id}{' (finished)' * (p.id in done)}" for p in points), sep="\n")
        return
    if merge:
        print(f"{len(join(out, merge))} points copied into {out}")
        _conclude(found()[0], write_records(out), out)
        return
    share = plan.resources.get("GPU", 0.0)
    workers, threads, gpus = choose_crew(workers, threads_per_worker, scheduler, share)
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
        takes_out=plan.takes_out,
        notebook={"name": name, "sha256": digest},
        timeout=plan.timeout,
        retries=retries,
        threads=threads,
        gpus=gpus,
    )
    if old := [point for point, result in done.items() if result.get("notebook") != job.notebook]:
        print(
            f"{len(old)} finished points were made by another version of {name}, such as {old[0]}; "
            "they are kept. Remove their folders, or name another --out, to run them again"
        )
    todo = [point for point in points if point.id not in done]
    print(f"{len(points)} points, {len(done)} of them finished before; into {out}")
    # Python's own KeyboardInterrupt may come in a callback of Dask's, which swallows it.
    came: list[int] = []
    try:
        if todo:
            with (  # batch systems end a job by SIGTERM
                on_signals(lambda number, _: came.append(number), signal.SIGINT, signal.SIGTERM),
                connect(scheduler, workers, plan.resources) as client,
                closing(run_points(client, job, todo, plan.resources, came)) as results,
            ):
                for count, result in enumerate(results, 1):
                    print(progress(result, f"{count}/{len(todo)}"), flush=True)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; {len(found()[1])} of {len(points)} points are finished in {out}. "
            "The same command goes on with the others"
        ) from None
    finally:
        rows = write_records(out)
    _conclude(points, rows, out)


def _conclude(points: Sequence[Point], found: dict[str, Result], out: Path) -> None:
    """Show the table of a sweep; RuntimeError unless all of its points are finished."""
    from pandas import DataFrame  # not above: it takes a second to import

    rows, nothing = [], {"outcome": {"status": "not run", "seconds": None}, "metrics": {}}
    for point in points:
        row = found.get(point.id, nothing)
        shown = {key: row["outcome"][key] for key in ("status", "seconds")} | row["metrics"]
        if error := row["outcome"].get("error"):
            shown["error"] = error[:WIDTH]
        rows.append({"id": point.id, **point.values, **shown})
    print(DataFrame(rows).to_string(index=False, na_rep=""))
    print(f"table in {out / 'table.csv'}, records in {out / 'records.jsonl'}")
    counts = Counter(row["status"] for row in rows)
    why = f"failed; {out / 'failed'} says why, the same command tries them again"
    for status, words in (("failed", why), ("not run", "have not been run")):
        if counts[status]:
            raise RuntimeError(f"{counts[status]} of {len(points)} points {words}")


def progress(result: Result, place: str) -> str:
    """Return a line for a point that is settled, such as "2/20 seed=0_3eb48647 finished"."""
    seconds = "" if result["seconds"] is None else f" in {result['seconds']:.1f} s"
    again = f", attempt {result['attempts']}" if result["attempts"] > 1 else ""
    error = f": {result['error']}" if result["error"] else ""
    return f"{place} {result['id']} {result['status']}{seconds}{again}{error}"


def choose_crew(
    workers: int | None, threads: int | None, scheduler: str | None, share: float
) -> tuple[int, int | None, tuple[str, ...]]:
    """Settle what was left open: the workers by GPUs or cores, the threads by workers.

    Returns:
        Workers of this machine, CPU threads of each point, and CUDA_VISIBLE_DEVICES of each worker.
    Raises:
        SweepError: More workers than GPUs are there for, or workers beside a scheduler.
    """
    for name, number in (("workers", workers), ("threads-per-worker", threads)):
        if number is not None and number < 1:
            raise SweepError(f"--{name}: expected at least 1, got {number}")
    if scheduler is not None:
        if workers is not None:
            raise SweepError(f"--workers is for this machine; {scheduler} has its own workers")
        return 0, threads, ()
    gpus = find_gpus() if share else []
    if 0 < share < 1:  # several points on a GPU; 1 / (1 / 49) is a little less than 49
        gpus = [gpu for gpu in gpus for _ in range(int(1 / share + 1e-9))]
    elif n := int(share):
        gpus = [",".join(gpus[i : i + n]) for i in range(0, len(gpus) - n + 1, n)]
    if share and len(gpus) < (workers or 1):
        raise SweepError(
            f"GPU {share:g} for each of {workers or 1} points at a time: the GPUs of this machine "
            f"have room for {len(gpus)}"
        )
    workers = workers or len(gpus) or max(1, CPU_COUNT // CORES_A_WORKER)
    return workers, threads or max(1, CPU_COUNT // workers), tuple(gpus)


def find_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return [str(i) for i in range(count)] if named is None else named.split(",")[:count]


@contextmanager
def connect(scheduler: str | None, workers: int, resources: dict[str, float]) -> Iterator[Client]:
    """Give a client of workers in this process, which end with it, or of a running scheduler.

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
            processes=False,  # an attempt is a process of its own, whose memory Dask does not see
            memory_limit=0,
            resources=resources,
            # `dashboard_address=None` would still take the fixed port 8787.
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def run_points(
    client: Client, job: Job, points: Sequence[Point], resources: dict[str, float], came: list[int]
) -> Generator[Result]:
    """Run all points, and yield the result of each when it is settled.

    A point whose worker dies is run again by another; one that another process works on is asked
    for again until that one is done or gone.

    Raises:
        ConnectionError: The scheduler was lost.
        KeyboardInterrupt: `came` holds a signal by now.
    """

    def submit(point: Point) -> Future:
        return client.submit(work, job, point, pure=False, resources=resources or None)

    running = {submit(point): point for point in points}
    try:
        while running:
            time.sleep(PAUSE)
            if came:
                raise KeyboardInterrupt
            for future in [future for future in running if future.done()]:
                point = running.pop(future)
                result = _settle(future, job, point)
                if result["status"] in ("busy", "stopped"):  # or its worker was closed under it
                    running[submit(point)] = point
                else:
                    yield result
    finally:
        client.cancel(list(running))
        # Attempts that are called off end by themselves; then Dask has nothing to complain of.
        deadline = time.monotonic() + PATIENCE
        for slot in (Slot(Path(job.out), point.id) for point in running.values()):
            while slot.is_busy() and time.monotonic() < deadline:
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
    """Run a point in this Dask worker, and end it when the sweep that asked for it is gone."""
    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        gone = worker.status in (Status.closing, Status.closed, Status.failed)
        return not gone and task is not None and task.state == "executing"

    number = worker.name if isinstance(worker.name, int) else 0  # a local cluster counts them
    for _ in range(job.retries):
        result = attempt(job, point, wanted=wanted, worker=number)
        if result["status"] != "failed":
            return result
    return attempt(job, point, wanted=wanted, worker=number)
