"""Whether a folder holds what it should, in plain words: `adlib data check`."""

import os
from collections import Counter

from adlib.data.readers.benchmarks import locate, not_own, read
from adlib.data.readers.files import expanded
from adlib.data.readers.folders import list_folder
from adlib.data.readers.layouts import Found
from adlib.data.readers.manifest import is_manifest, list_manifest
from adlib.data.tools.catalogue import BENCHMARKS, Benchmark
from adlib.data.tools.checks import CheckReport, are, counted, look, some, use_of

WORDS = {
    "train": "normal images to train on",
    "good": "normal images to test on",
    "bad": "defective images to test on",
    "seen": "defective images in its training split",
}


def check_benchmark(
    name: str, root: str | os.PathLike[str] | None = None, *, decode: bool = False
) -> CheckReport:
    """Look whether a folder holds a benchmark, whole.

    Args:
        name: Of the benchmark.
        root: As `load_benchmark` takes it.
        decode: Decode every file, instead of its header and end only.
    """
    benchmark = BENCHMARKS[name]
    try:
        place = locate(name, root)
    except FileNotFoundError as error:
        where = root or "its usual place"
        return CheckReport(f"{benchmark.title} in {where}", problems=[str(error)])
    found, report = (
        read(name, place, benchmark.categories),
        CheckReport(f"{benchmark.title} in {place}"),
    )
    _compare(report, benchmark, found)
    broken = list(found.wrong)
    if found.missing:
        broken.append(f"{are(found.missing, 'file')} missing: {some(found.missing)}")
    report.problems += broken
    if found.strays:
        report.notes.append(
            f"{counted(found.strays, 'file')} without a place in the layout, or without an image, "
            f"will not be used: {some(found.strays)}"
        )
    unreadable = look(report, found.train, found.test, found.seen, own=False, decode=decode)
    if found.all and not broken and not unreadable:
        report.use = (
            f"it will be used as {len(found.train):,} textures for simulated anomalies"
            if name == "dtd"
            else use_of(found.train, found.test, found.seen)
        )
    return report


def check_own(path: str | os.PathLike[str], *, decode: bool = False) -> CheckReport:
    """Look whether a folder or manifest of one's own photographs can be used, and as what."""
    place = expanded(path)
    report = CheckReport(f"own photographs in {place}")
    try:
        data = list_manifest(place) if is_manifest(place) else list_folder(place)
    except (ValueError, FileNotFoundError) as error:
        report.problems.append(f"{error}{not_own(place) if place.is_dir() else ''}")
        return report
    report.notes += data.notes
    train, test = data.train.references, data.test.references
    seen = () if data.seen is None else data.seen.references
    if not look(report, train, test, seen, own=True, decode=decode):
        report.use = use_of(train, test, seen)
    return report


def _compare(report: CheckReport, benchmark: Benchmark, found: Found) -> None:
    """Compare categories and counts with what is known."""
    there = {reference.category for reference in found.all}
    total = len(benchmark.categories)
    absent = [category for category in benchmark.categories if category not in there]
    if absent:
        named = f"{len(absent)} of {total} categories missing: {', '.join(absent)}"
        report.problems.append(named if there else "no image of any category")
    elif total > 1:
        report.fine.append(f"{total} of {total} categories")
    parts = (("train", found.train, False), ("good", found.test, False),
             ("bad", found.test, True), ("seen", found.seen, True))  # fmt: skip
    have = Counter(
        (r.category, word) for word, part, label in parts for r in part if r.label == label
    )
    known = [(f"{c}: ", {c}, counts) for c, counts in benchmark.each.items() if c in there]
    if not benchmark.each and not absent:
        known = [("", there, benchmark.counts)]
    off = []
    for prefix, categories, counts in known:
        for word, text in WORDS.items():
            n, expected = sum(have[c, word] for c in categories), getattr(counts, word)
            if expected not in (None, n):
                off.append(f"{prefix}{n:,} {text}, where its authors have {expected:,}")
    report.problems += off
    whole, expected = len(found.all), benchmark.counts.images
    if off or absent or expected is None:
        return
    if whole == expected:
        report.fine.append(f"{whole:,} images, as many as its authors have")
    else:
        report.problems.append(f"{whole:,} images, where its authors have {expected:,}")
