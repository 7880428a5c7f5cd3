"""Whether a folder holds what it should, in plain words: `adlib data check`."""

import os
from dataclasses import fields

from adlib.data.dataset import DataSplits, ImageRef
from adlib.data.readers.benchmarks import locate, not_own, read
from adlib.data.readers.files import expanded
from adlib.data.readers.folders import list_folder
from adlib.data.readers.layouts import Found
from adlib.data.readers.manifest import is_manifest, list_manifest
from adlib.data.tools.catalogue import BENCHMARKS, Benchmark, Counts
from adlib.data.tools.checks import CheckReport, counted, look, some, use_of

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
        return CheckReport(
            f"{benchmark.title} in {root or 'its usual place'}", problems=[str(error)]
        )
    found = read(name, place, benchmark.categories)
    report = CheckReport(f"{benchmark.title} in {place}")
    _compare(report, benchmark, found)
    broken = found.wrong + _lost(found)
    report.problems += broken
    if found.strays:
        report.notes.append(
            f"{counted(found.strays, 'file')} without a place in the layout, or without an image, "
            f"will not be used: {some(found.strays)}"
        )
    unreadable = look(report, found.train, found.test, found.seen, own=False, decode=decode)
    if found.all and not broken and not unreadable:
        report.use = use_of(found.train, found.test, found.seen)
        if name == "dtd":
            report.use = f"it will be used as {len(found.train):,} textures for simulated anomalies"
    return report


def check_own(path: str | os.PathLike[str], *, decode: bool = False) -> CheckReport:
    """Look whether a folder or manifest of one's own photographs can be used, and as what."""
    place = expanded(path)
    report = CheckReport(f"own photographs in {place}")
    try:
        data: DataSplits = list_manifest(place) if is_manifest(place) else list_folder(place)
    except (ValueError, FileNotFoundError) as error:
        report.problems.append(f"{error}{not_own(place) if place.is_dir() else ''}")
        return report
    report.notes += data.notes
    train, test = data.train.references, data.test.references
    seen = () if data.seen is None else data.seen.references
    unreadable = look(report, train, test, seen, own=True, decode=decode)
    if not unreadable:
        report.use = use_of(train, test, seen)
    return report


def _compare(report: CheckReport, benchmark: Benchmark, found: Found) -> None:
    """Compare categories and counts with what is known."""
    there = {reference.category for reference in found.all}
    absent = [category for category in benchmark.categories if category not in there]
    total = len(benchmark.categories)
    if absent:
        report.problems.append(
            f"{len(absent)} of {total} categories missing: {', '.join(absent)}"
            if there
            else "no image of any category"
        )
    elif total > 1:
        report.fine.append(f"{total} of {total} categories")
    if benchmark.each:
        each = [(c, known) for c, known in benchmark.each.items() if c in there]
        pairs = [(f"{c}: ", _counts(found, {c}), known) for c, known in each]
    else:
        pairs = [] if absent else [("", _counts(found, there), benchmark.counts)]
    off = 0
    for category, count, known in pairs:
        for word in fields(Counts):
            have, expected = getattr(count, word.name), getattr(known, word.name)
            if expected is None or have == expected or word.name == "images":
                continue
            off += 1
            report.problems.append(
                f"{category}{have:,} {WORDS[word.name]}, where its authors have {expected:,}"
            )
    whole = len(found.all)
    if not off and not absent and benchmark.counts.images not in (None, whole):
        report.problems.append(
            f"{whole:,} images, where its authors have {benchmark.counts.images:,}"
        )
    elif not off and not absent and benchmark.counts.images is not None:
        report.fine.append(f"{whole:,} images, as many as its authors have")


def _counts(found: Found, categories: set[str]) -> Counts:
    def of(references: list[ImageRef], label: bool) -> int:
        return sum(r.label == label and r.category in categories for r in references)

    return Counts(
        train=of(found.train, False),
        good=of(found.test, False),
        bad=of(found.test, True),
        seen=of(found.seen, True),
    )


def _lost(found: Found) -> list[str]:
    """One sentence about all files that are missing."""
    if not found.missing:
        return []
    are = "is" if len(found.missing) == 1 else "are"
    return [f"{counted(found.missing, 'file')} {are} missing: {some(found.missing)}"]
