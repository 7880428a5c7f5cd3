"""The commands about data: `adlib data list | check | get | cache`."""

import dataclasses
import os
from pathlib import Path

import tyro
from tyro.conf import Positional

from adlib.data.readers.benchmarks import HOME, locate
from adlib.data.readers.folders import closest
from adlib.data.rendered.builtin import SCENES
from adlib.data.tools.archives import MOST_BYTES, MOST_FILES, unpack
from adlib.data.tools.catalogue import BENCHMARKS, Benchmark
from adlib.data.tools.check import check_benchmark, check_own
from adlib.data.tools.download import agrees, by_hand, fetch
from adlib.system.disk import check_new


@dataclasses.dataclass(kw_only=True)
class List:
    """Say which data sets there are, under which licence, and which of them are here."""

    name: Positional[str | None] = None
    """only this one, with its categories"""


@dataclasses.dataclass(kw_only=True)
class Check:
    """Say whether a folder is complete, what cannot be read, and what it will be used as.

    Exit status 0 where nothing is wrong, 1 where something is.
    """

    name: Positional[str]
    """a benchmark, or a folder or manifest of your own photographs"""
    path: Positional[Path | None] = None
    """where the benchmark lies; looked for below ADLIB_BENCHMARKS by default"""
    decode: bool = False
    """decode every file to its last pixel, not only its header and its end"""


@dataclasses.dataclass(kw_only=True)
class Get:
    """Download a benchmark, or unpack archives of it that you have; shows the licence first."""

    name: Positional[str]
    """as `adlib data list` has it"""
    to: Path | None = None
    """a new folder; NAME below the folder that ADLIB_BENCHMARKS names, by default"""
    archive: tuple[Path, ...] = ()
    """unpack these (zip, tar, tar.gz, tar.xz) instead of downloading"""
    accept_licence: bool = False
    """do not ask"""
    max_gib: float = MOST_BYTES / 2**30
    """refuse archives that grow larger"""
    max_files: int = MOST_FILES
    """refuse archives that hold more"""


@dataclasses.dataclass(kw_only=True)
class Cache:
    """Show what the feature cache holds, and remove it if asked to."""

    prune: bool = False
    """remove the files, which are computed again when they are needed"""
    days: float = 0.0
    """with --prune: only what was not used for so many days"""


COMMANDS = {"list": List, "check": Check, "get": Get, "cache": Cache}


def about_data(words: list[str]) -> None:
    """Run one of the commands about data, which stand below `adlib data`.

    Raises:
        SystemExit: The words were wrong (2), or a check found a problem (1).
    """
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS, prog="adlib data", description="Data: what there is and what is here.", args=words
    )
    run = {List: show, Check: check, Get: get, Cache: cache}
    run[type(command)](command)


def show(command: List) -> None:
    """Print the table, or all about one benchmark."""
    if command.name is not None:
        benchmark = _benchmark(command.name)
        print("\n".join(_lines(command.name, benchmark)))
        print(f"  {'categories':<11}{', '.join(benchmark.categories)}")
        return
    print(f"builtin: {len(SCENES)} categories, made in memory, with exact masks; free\n")
    print("solar: real solar cells from the package elpv-dataset; CC BY-NC-SA 4.0\n")
    for name, benchmark in BENCHMARKS.items():
        print("\n".join(_lines(name, benchmark)), end="\n\n")
    print(
        "Your own: a folder with good/ (and bad/), one in MVTec AD's layout, or a table of paths."
    )


def check(command: Check) -> None:
    """Print a report; leave with status 1 where it names a problem."""
    if command.name in BENCHMARKS:
        report = check_benchmark(command.name, command.path, decode=command.decode)
    elif not Path(command.name).expanduser().exists():
        raise ValueError(
            f"{command.name!r} is no file or folder here, and no benchmark"
            f"{closest(command.name, BENCHMARKS)}; benchmarks are: {', '.join(BENCHMARKS)}"
        )
    elif command.path is not None:
        raise ValueError(
            f"{command.name!r} is no benchmark{closest(command.name, BENCHMARKS)}, so a second "
            f"path has no use; for photographs of your own: adlib data check {command.name}"
        )
    else:
        report = check_own(command.name, decode=command.decode)
    print("\n".join(report.lines()))
    if report.problems:
        raise SystemExit(1)


def get(command: Get) -> None:
    """Show the licence, ask, fetch or take the archives, unpack them."""
    name, benchmark = command.name, _benchmark(command.name)
    print("\n".join(_lines(name, benchmark)))
    if not command.archive and benchmark.address is None:
        raise ValueError(by_hand(name))
    target = _target(command)
    check_new(target)
    for archive in command.archive:
        if not archive.is_file():
            raise FileNotFoundError(f"no archive {archive}")
    if not command.accept_licence and not _agreed(benchmark):
        raise ValueError(f"the licence of {benchmark.title} was not accepted; nothing was done")
    archives = command.archive or (fetch(name, target.parent),)
    if (
        command.archive
        and len(archives) == 1
        and (known := agrees(archives[0], benchmark)) is not None
    ):
        print(f"the archive is {'' if known else 'NOT '}the one that is known of {benchmark.title}")
    count = unpack(
        archives,
        target,
        most_bytes=int(command.max_gib * 2**30),
        most_files=command.max_files,
    )
    print(f"{count:,} files and folders unpacked into {target}")
    if not command.archive:
        print(f"the archive stays at {archives[0]}; remove it when you like")
    print(f"next: adlib data check {name} {target}")


def cache(command: Cache) -> None:
    """List the feature cache; prune it."""
    from adlib.engine.features import cache_files, cache_folder, cache_mib, prune_cache

    if command.days and not command.prune:
        raise ValueError("--days belongs to --prune; without it nothing is removed")
    files = cache_files()
    for file in files:
        known = [file.about[k] for k in ("images", "encoder", "frame") if k in file.about]
        about = "; ".join(known) or "of an earlier version, or a leftover"
        print(f"{file.mib:10,.1f} MiB  {file.days:6.1f} days ago  {about}")
    print(f"{cache_mib():10,.1f} MiB  in {len(files)} files of {cache_folder() / 'features'}")
    if command.prune:
        freed = prune_cache(command.days)
        print(f"{freed:10,.1f} MiB  removed; {cache_mib():,.1f} MiB left")


def _benchmark(name: str) -> Benchmark:
    if name not in BENCHMARKS:
        raise ValueError(
            f"no benchmark {name!r}{closest(name, BENCHMARKS)}; there are: {', '.join(BENCHMARKS)}"
        )
    return BENCHMARKS[name]


def _lines(name: str, benchmark: Benchmark) -> list[str]:
    """What is known of a benchmark, and whether it is here."""
    counts, many = benchmark.counts, len(benchmark.categories)
    tests = counts.bad != 0  # textures are only there to make anomalies of
    told = [f"{many} categor{'ies' if many > 1 else 'y'}"]
    for number, what in (
        (counts.train if tests else None, "normal images to train on"),
        (counts.seen, "defective ones beside them"),
        (counts.good, "normal ones to test on"),
        (counts.bad, "defective ones to test on"),
        (counts.images if counts.train is None or not tests else None, "images"),
    ):
        told += [f"{number:,} {what}"] if number else []
    try:
        here = str(locate(name))
    except FileNotFoundError:
        here = "no" if os.environ.get(HOME) else f"not looked for: {HOME} is not set"
    rows = {
        "holds": ", ".join(told),
        "licence": benchmark.licence,
        "cite": benchmark.cite,
        "home page": benchmark.home,
        "needs": benchmark.needs + ("; adlib can fetch it" if benchmark.address else ""),
        "here": here,
    }
    return [f"{name}: {benchmark.title}", *(f"  {k:<11}{v}" for k, v in rows.items())]


def _target(command: Get) -> Path:
    home = os.environ.get(HOME)
    if command.to is None and not home:
        raise ValueError(f"say where to: --to DIR, or set {HOME} to the folder for all benchmarks")
    return command.to or Path(str(home)).expanduser() / command.name


def _agreed(benchmark: Benchmark) -> bool:
    try:
        answer = input(f"Do you accept the licence of {benchmark.title}? [y/N] ")
    except EOFError as error:
        raise ValueError(
            "nobody is there to accept the licence; if you do, say --accept-licence"
        ) from error
    return answer.strip().lower() in ("y", "yes")
