"""What `adlib sweep` does, from a YAML file to a table."""

import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from distributed import Client

from adlib.sweep.attempt import Order
from adlib.sweep.cluster import choose_crew, connect, find_devices, run_orders
from adlib.sweep.folder import Result, Slot, finished_ids, open_folder
from adlib.sweep.ledger import merge, summary, write_records
from adlib.sweep.parameters import OUT, check
from adlib.sweep.plan import Plan, read_plan
from adlib.sweep.point import Point, as_finished, take_shard
from adlib.system.disk import write_text


class PointsError(RuntimeError):
    """Some points have no result."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the command line says beside the file; see `adlib sweep --help`."""

    out: Path
    workers: int | None = None
    threads: int | None = None
    scheduler: str | None = None
    shard: str | None = None
    retries: int = 0


def describe(path: Path, settings: Settings) -> str:
    """Say what would be run, and what is finished already.

    Raises:
        SweepError: The file does not fit its notebook.
    """
    plan, out = read_plan(path), settings.out
    points = _chosen(plan, settings)
    known, done = check(plan), set(finished_ids(out))
    swept = list(dict.fromkeys(name for point in points for name in point.values))
    lines = [
        f"{plan.path.name} fits {plan.notebook.name}: {len(points)} points over "
        f"{', '.join(swept)}; {sum(p.id in done for p in points)} of them are finished in {out}",
        *(f"  {point.id}{' (finished)' if point.id in done else ''}" for point in points),
    ]
    if OUT not in known:
        lines.append(
            f"{plan.notebook.name} has no parameter `{OUT}`: only the executed notebook is kept, "
            "and an interrupted point starts anew"
        )
    return "\n".join(lines)


def run_sweep(path: Path, settings: Settings, say: Callable[[str], None] = print) -> None:
    """Run what is not finished of a sweep, or of a shard of it, and end with its table.

    Raises:
        SweepError: The request was wrong; nothing was run.
        PointsError: Points failed; the others are finished.
        KeyboardInterrupt: Stopped by Ctrl-C or SIGTERM; says what is finished.
    """
    plan = read_plan(path)
    known = check(plan)
    points = _chosen(plan, settings)
    crew = choose_crew(
        plan.resources,
        workers=settings.workers,
        threads=settings.threads,
        scheduler=settings.scheduler,
        devices=find_devices,
    )
    out = settings.out
    open_folder(out)
    source = plan.notebook.read_bytes()
    digest = hashlib.sha256(source).hexdigest()
    kept = out / "notebooks" / f"{digest}.ipynb"
    if not kept.is_file():
        write_text(kept, source.decode())
    done = set(finished_ids(out))
    others = [p.id for p in points if p.id in done and _digest(Slot(out, p.id)) != digest]
    if others:
        say(
            f"{len(others)} finished points were made by another version of "
            f"{plan.notebook.name}, such as {others[0]}; they are kept. Remove their folders, or "
            "name another --out, to run them again"
        )
    orders = [
        Order(
            out=str(out.resolve()),
            id=point.id,
            parameters=point.parameters,
            takes_out=OUT in known,
            notebook=digest,
            name=plan.notebook.name,
            timeout=plan.timeout,
            threads=crew.threads,
            devices=crew.devices,
            share=plan.resources.get("GPU", 1.0),
        )
        for point in points
        if point.id not in done
    ]
    say(f"{len(points)} points, {len(points) - len(orders)} of them finished before; into {out}")
    try:
        if orders:
            with stopped_by_signal() as stopped, connect(crew, plan.resources) as client:
                if crew.scheduler is not None:
                    say(welcome(client, plan.resources))
                asked = run_orders(
                    client, orders, plan.resources, retries=settings.retries, stopped=stopped
                )
                with closing(asked) as results:  # so that what runs is called off, come what may
                    for line in progress(results, len(orders)):
                        say(line)
    except KeyboardInterrupt:
        count = len(set(finished_ids(out)) & {p.id for p in points})
        raise KeyboardInterrupt(
            f"stopped; {count} of {len(points)} points are finished in {out}. "
            "The same command goes on with the others"
        ) from None
    finally:
        write_records(out)
    conclude(points, out, say)


def run_merge(
    path: Path, sources: Sequence[Path], settings: Settings, say: Callable[[str], None] = print
) -> None:
    """Merge the folders of shards, and end with the table of the whole sweep.

    Raises:
        SweepError: A folder is no sweep's, or a point has two results; nothing was copied.
        PointsError: Points failed, or are missing.
    """
    plan, out = read_plan(path), settings.out
    check(plan)
    copied = merge(out, sources)
    write_records(out)
    say(f"{len(copied)} points copied into {out}")
    conclude(_chosen(plan, settings), out, say)


def conclude(points: Sequence[Point], out: Path, say: Callable[[str], None]) -> None:
    """Show the table of a sweep; raise PointsError unless all of its points are finished."""
    from pandas import DataFrame  # not above: it takes a second to import

    rows = [{"id": p.id, **p.values, **summary(out, p.id)} for p in points]
    if rows:
        say(DataFrame(rows).to_string(index=False, na_rep=""))
    say(f"table in {out / 'table.csv'}, records in {out / 'records.jsonl'}")
    for status, words in (
        ("failed", f"failed; {out / 'failed'} says why, the same command tries them again"),
        ("not run", "have not been run"),
    ):
        count = sum(row["status"] == status for row in rows)
        if count:
            raise PointsError(f"{count} of {len(points)} points {words}")


def progress(results: Iterator[Result], total: int) -> Iterator[str]:
    """A line for each point that is settled, with the time that the others may take."""
    started = time.monotonic()
    for count, result in enumerate(results, 1):
        left = (time.monotonic() - started) / count * (total - count)
        line = f"{count}/{total} {result['id']} {result['status']}"
        if result["seconds"] is not None:
            line += f" in {result['seconds']:.1f} s"
        if result["attempts"] > 1:
            line += f", attempt {result['attempts']}"
        if result["error"]:
            line += f": {result['error']}"
        yield line + (f"; about {duration(left)} left" if count < total else "")


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def welcome(client: Client, resources: dict[str, float]) -> str:
    """Say which workers of a cluster there are, and whether they have what a point needs."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    able = sum(
        all(worker["resources"].get(n, 0) >= a for n, a in resources.items()) for worker in workers
    )
    line = f"workers at {client.scheduler_info()['address']}: {len(workers)}"
    if resources and able < len(workers):
        wanted = " ".join(f"{name}={amount:g}" for name, amount in resources.items())
        line += f", {able} of them with --resources {wanted!r}"
    return line + ("" if able else "; waiting for one that can take a point")


@contextmanager
def stopped_by_signal() -> Iterator[Callable[[], bool]]:
    """Note Ctrl-C, and SIGTERM by which batch systems end a job; gives whether one came.

    Python would raise KeyboardInterrupt wherever it stands, such as in a callback of Dask's that
    swallows it. A second Ctrl-C does so, for whoever cannot wait.
    """
    came = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop(number: int, frame: object) -> None:
        if came.is_set():
            raise KeyboardInterrupt
        came.set()

    if threading.current_thread() is not threading.main_thread():  # its signals are its own
        yield came.is_set
        return
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield came.is_set
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _digest(slot: Slot) -> str | None:
    return (slot.result() or {}).get("notebook", {}).get("sha256")


def _chosen(plan: Plan, settings: Settings) -> list[Point]:
    """The points of the plan, or of a shard of it, under the ids that they have in the folder."""
    points = plan.points if settings.shard is None else take_shard(plan.points, settings.shard)
    done = finished_ids(settings.out)
    return [as_finished(point, done) for point in points]
