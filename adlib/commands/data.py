"""The commands about data: `adlib data list | check | suspects | get | cache`."""

import io
import os
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial, wraps
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import Positional

from adlib.commands.options import load, sentence
from adlib.data.readers.benchmarks import HOME, locate
from adlib.data.readers.files import expanded
from adlib.data.rendered.builtin import SCENES
from adlib.data.tools.archives import MOST_BYTES, MOST_FILES, unpack
from adlib.data.tools.catalogue import BENCHMARKS, Benchmark
from adlib.data.tools.check import check_benchmark, check_own
from adlib.data.tools.download import agrees, by_hand, fetch
from adlib.system.disk import check_new
from adlib.system.printable import closest, printable

FIRST = 10  # suspects of a category that are printed; the table has all


def about_data(words: list[str]) -> None:
    """Run one of the commands about data; errors as in `parse`, and SystemExit(1) for a problem."""
    commands = {"list": show, "check": check, "suspects": suspects, "get": get, "cache": cache}
    later = {name: _bound(command) for name, command in commands.items()}
    about, told = "Data: what there is and what is here.", io.StringIO()
    try:
        with redirect_stderr(told):
            run = tyro.extras.subcommand_cli_from_dict(
                later, prog="adlib data", description=about, args=words
            )
    except SystemExit as stop:
        if not stop.code:  # help
            raise
        raise ValueError(f"{sentence(told.getvalue())}; see adlib data --help") from stop
    run()


def _bound(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """What tyro calls in the place of a command, which begins when all words are understood."""

    @wraps(command)
    def bind(*values: Any, **named: Any) -> Callable[[], None]:
        return partial(command, *values, **named)

    return bind


def show(name: Positional[str | None] = None) -> None:
    """Say which data sets there are, under which licence, and which of them are here.

    Args:
        name: only this one, with its categories
    """
    if name is not None:
        benchmark = _benchmark(name)
        print(_about(name, benchmark))
        print(f"  {'categories':<11}{', '.join(benchmark.categories)}")
        return
    print(f"builtin: {len(SCENES)} categories, made in memory, with exact masks; free\n")
    print("solar: real solar cells from the package elpv-dataset; CC BY-NC-SA 4.0\n")
    for name, benchmark in BENCHMARKS.items():
        print(_about(name, benchmark), end="\n\n")
    print("Your own: a folder with good/ (and bad/), or as MVTec AD's, or a table of paths.")


def check(
    name: Positional[str], path: Positional[Path | None] = None, decode: bool = False
) -> None:
    """Say whether a folder is complete, what cannot be read, and what it will be used as.

    Exit status 0 where nothing is wrong, 1 where something is.

    Args:
        name: a benchmark, or a folder or manifest of your own photographs
        path: where the benchmark lies; looked for below ADLIB_BENCHMARKS by default
        decode: decode every file to its last pixel, not only its header and its end
    """
    if name in BENCHMARKS:
        report = check_benchmark(name, path, decode=decode)
    elif not expanded(name).exists():
        raise ValueError(_unknown(name, "file, folder or benchmark"))
    elif path is not None:
        own = f"for photographs of your own: adlib data check {name}"
        raise ValueError(f"{name!r} is no benchmark, so a second path has no use; {own}")
    else:
        report = check_own(name, decode=decode)
    print("\n".join(map(printable, report.lines())))
    if report.problems:
        raise SystemExit(1)


def suspects(data: Positional[str], out: Path, categories: tuple[str, ...] = ()) -> None:
    """Rank the training images by how strange they are to the rest: a defect may be among them.

    Args:
        data: images, as for `adlib train`
        out: new folder for suspects.csv, overlays/ and index.html
        categories: rank these categories only
    """
    from adlib.engine.gallery import write_suspects
    from adlib.engine.suspects import find_suspects

    check_new(out)
    loaded = load(data, categories)
    images, left = loaded.train, int((~loaded.test.labels).sum())
    ranked = find_suspects(images)
    note = (
        "Look at the first ones: nothing here says which are defective, since no image is known to "
        "be good. The deviations say how far a score lies above its category's median, in robust "
        "standard deviations (of the median absolute deviation); they help to compare ranks. "
        "Defects that look alike hide each other."
    )
    write_suspects(out, images, ranked, note)
    counts = Counter(suspect.category for suspect in ranked)
    for one in ranked:
        if one.rank == 1:
            print(printable(f"{one.category}, the first of {counts[one.category]} images:"))
        if one.rank <= FIRST:
            about = f"{one.score:10.4f}  {one.deviations:+6.1f} deviations"
            print(f"{one.rank:4d}{about}  {printable(one.path)}")
    print(f"{note} Good images of the test are not ranked: {left}." if left else note)
    print(f"see {out / 'index.html'}")


def get(
    name: Positional[str],
    to: Path | None = None,
    archive: tuple[Path, ...] = (),
    accept_licence: bool = False,
    max_gib: float = MOST_BYTES / 2**30,
    max_files: int = MOST_FILES,
) -> None:
    """Download a benchmark, or unpack archives of it that you have; shows the licence first.

    Args:
        name: as `adlib data list` has it
        to: a new folder; NAME below the folder that ADLIB_BENCHMARKS names, by default
        archive: unpack these (zip, tar, tar.gz, tar.xz) instead of downloading
        accept_licence: do not ask
        max_gib: refuse archives that grow larger
        max_files: refuse archives that hold more
    """
    benchmark, home = _benchmark(name), os.environ.get(HOME)
    print(_about(name, benchmark))
    if not archive and benchmark.address is None:
        raise ValueError(by_hand(name))
    if to is None and not home:
        raise ValueError(f"say where to: --to DIR, or set {HOME} to the folder for all benchmarks")
    target = to or expanded(str(home)) / name
    check_new(target)
    for file in archive:
        if not file.is_file():
            raise FileNotFoundError(f"no archive {file}")
    if not accept_licence:
        try:
            answer = input(f"Do you accept the licence of {benchmark.title}? [y/N] ")
        except EOFError:
            raise ValueError(
                "nobody is there to accept the licence: say --accept-licence"
            ) from None
        if answer.strip().lower() not in ("y", "yes"):
            raise ValueError(f"the licence of {benchmark.title} was not accepted; nothing was done")
    if len(archive) == 1 and (known := agrees(archive[0], benchmark)) is not None:
        print(f"the archive is {'' if known else 'NOT '}the one that is known of {benchmark.title}")
    archives = archive or (fetch(name, target.parent),)
    count = unpack(archives, target, most_bytes=int(max_gib * 2**30), most_files=max_files)
    print(f"{count:,} files and folders unpacked into {target}")
    if not archive:
        print(f"the archive stays at {archives[0]}; remove it when you like")
    print(f"next: adlib data check {name} {target}")


def cache(prune: bool = False, days: float = 0.0) -> None:
    """Show what the feature cache holds, and remove it if asked to.

    Args:
        prune: remove the files, which are computed again when they are needed
        days: with --prune: only what was not used for so many days
    """
    from adlib.engine.features import cache_files, cache_folder, cache_mib, prune_cache

    if days and not prune:
        raise ValueError("--days belongs to --prune; without it nothing is removed")
    files = cache_files()
    for file in files:
        known = [file.about[k] for k in ("images", "encoder", "frame") if k in file.about]
        about = printable("; ".join(known)) or "of an earlier version, or a leftover"
        print(f"{file.mib:10,.1f} MiB  {file.days:6.1f} days ago  {about}")
    print(f"{cache_mib():10,.1f} MiB  in {len(files)} files of {cache_folder() / 'features'}")
    if prune:
        freed = prune_cache(days)
        print(f"{freed:10,.1f} MiB  removed; {cache_mib():,.1f} MiB left")


def _unknown(name: str, what: str = "benchmark") -> str:
    return f"no {what} {name!r}{closest(name, BENCHMARKS)}; benchmarks: {', '.join(BENCHMARKS)}"


def _benchmark(name: str) -> Benchmark:
    if name not in BENCHMARKS:
        raise ValueError(_unknown(name))
    return BENCHMARKS[name]


def _about(name: str, benchmark: Benchmark) -> str:
    """What is known of a benchmark, and whether it is here."""
    counts, many = benchmark.counts, len(benchmark.categories)
    textures = counts.bad == 0  # which are only there to make anomalies of
    numbers = {
        f"categor{'ies' if many > 1 else 'y'}": many,
        "normal images to train on": None if textures else counts.train,
        "defective ones beside them": counts.seen,
        "normal ones to test on": counts.good,
        "defective ones to test on": counts.bad,
        "images": counts.images if textures or counts.train is None else None,
    }
    try:
        here = str(locate(name))
    except FileNotFoundError:
        here = "no" if os.environ.get(HOME) else f"not looked for: {HOME} is not set"
    rows = {
        "holds": ", ".join(f"{number:,} {what}" for what, number in numbers.items() if number),
        "licence": benchmark.licence,
        "cite": benchmark.cite,
        "home page": benchmark.home,
        "needs": benchmark.needs + ("; adlib can fetch it" if benchmark.address else ""),
        "here": here,
    }
    return "\n".join([f"{name}: {benchmark.title}", *(f"  {k:<11}{v}" for k, v in rows.items())])
