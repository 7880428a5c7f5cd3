"""The command `adlib sweep`."""

import dataclasses
from pathlib import Path

from tyro.conf import Positional


@dataclasses.dataclass(kw_only=True)
class Sweep:
    """Run a notebook over a grid of its parameters; goes on where it was stopped.

    Each point is a folder below OUT/points; all together make OUT/table.csv and OUT/records.jsonl.
    """

    file: Positional[Path]
    """YAML file with notebook and grid, and optionally fixed, include, exclude, profile, resources
    and timeout."""
    check: bool = False
    """Only compare the file with the notebook's parameters, and list the points."""
    out: Path | None = None
    """Folder for the points. Defaults to runs/sweep-FILE."""
    workers: int | None = None
    """Points at a time on this machine. Defaults to one for each GPU, or for four cores."""
    threads_per_worker: int | None = None
    """CPU threads of each point. By default the workers share the cores."""
    scheduler: str | None = None
    """Address of a Dask scheduler, such as tcp://node1:8786, instead of workers here."""
    shard: str | None = None
    """k/n: run only every n-th point, from the k-th on."""
    retries: int = 0
    """How often a point that failed is tried again."""
    merge: tuple[Path, ...] = ()
    """Run nothing; copy the finished points of these folders, such as of shards, or of these
    records.jsonl into OUT."""


def sweep(command: Sweep) -> None:
    """Check, run or merge a sweep."""
    try:
        from adlib.sweep import run
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}; pip install 'adlib-anomaly[sweep]' brings it"
        ) from error
    run.run(**vars(command))
