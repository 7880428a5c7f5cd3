"""Public benchmarks by name, read from where they lie on this machine by one reader."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from adlib.data.dataset import DataSplits, ImageDataset, hash_files, read_files
from adlib.data.readers.files import expanded, subfolders
from adlib.data.readers.folders import check_files, choose
from adlib.data.readers.layouts import LAYOUTS, MVTEC, Found, scan
from adlib.data.readers.split_files import read_real_iad, read_visa
from adlib.data.tools.catalogue import BENCHMARKS

HOME = "ADLIB_BENCHMARKS"  # the environment variable that names the folder where benchmarks lie
# what shows that a category of a benchmark is there, in any of its forms
MARKS: dict[str, tuple[str, ...]] = {name: (layout.mark,) for name, layout in LAYOUTS.items()}
MARKS["visa"] += ("{category}/Data/Images",)
MARKS["real-iad"] = ("realiad_jsons/{category}.json", "realiad_jsons*/*/{category}.json",
                     "realiad_jsons_sv/{category}.json")  # fmt: skip
# marks that a folder of one's own in MVTec AD's layout may have as well
OWN_MARKS = frozenset({MVTEC.mark, LAYOUTS["btad"].mark})
OPTIONS = {"real-iad": ("listing", "images")}


def load_benchmark(
    name: str,
    root: str | os.PathLike[str] | None = None,
    categories: Sequence[str] | None = None,
    **options: Any,
) -> DataSplits:
    """Reads a benchmark and checks the header of every image and mask of it.

    Defective images of a training split (DAGM, KolektorSDD2) become `seen`: methods that learn
    from normal images alone do not get them. Of DTD every texture trains, and there is no test.

    Args:
        name: One of `adlib.data.tools.catalogue.BENCHMARKS`.
        root: Where it lies. By default it is looked for in the folder that the environment variable
            ADLIB_BENCHMARKS names, under its short name or that of its archive.
        categories: Names of those to read; by default all that are there.
        options: For Real-IAD: `listing` and `images`, as `read_real_iad` takes them.
    Raises:
        FileNotFoundError: It is not there, or an image or mask of it is not.
        ValueError: An image, mask or listing is wrong, or a category is unknown.
    """
    benchmark = BENCHMARKS[name]
    wanted = choose(categories, benchmark.categories, benchmark.title)
    found = read(name, locate(name, root), wanted, **options)
    if found.wrong:
        raise ValueError(_first(found.wrong, f"things are wrong with {benchmark.title}"))
    if found.missing:
        raise FileNotFoundError(_first(found.missing, f"files of {benchmark.title} are missing"))
    there = {reference.category for reference in found.all}
    absent = [c for c in wanted if c not in there]
    if absent and (categories is not None or not there):
        raise FileNotFoundError(
            f"no images of {', '.join(absent)} in {locate(name, root)}; there are: "
            f"{', '.join(sorted(there)) or 'none'}"
        )
    for reference in tqdm(found.all, desc="checking images", delay=2, leave=False):
        check_files(reference)
    return DataSplits(
        name,
        train=ImageDataset(found.train, read_files, hash_files),
        test=ImageDataset(found.test, read_files, hash_files),
        notice=benchmark.notice,
        seen=ImageDataset(found.seen, read_files, hash_files) if found.seen else None,
    )


def read(name: str, place: Path, categories: tuple[str, ...], **options: Any) -> Found:
    """What is there of a benchmark, in whichever of its forms; problems are listed, not raised."""
    allowed = OPTIONS.get(name, ())
    for option in options:
        if option not in allowed:
            known = ", ".join(("root", "categories", *allowed))
            raise TypeError(f"the data set {name!r} takes no option {option!r}; it takes: {known}")
    if name == "real-iad":
        return read_real_iad(place, categories, **options)
    if name == "visa" and any((place / c / "Data").is_dir() for c in categories):
        return read_visa(place, categories)
    return scan(LAYOUTS[name], place, categories)


def locate(name: str, root: str | os.PathLike[str] | None = None) -> Path:
    """The folder in which the layout of a benchmark begins, at `root` or a little below it.

    Raises:
        FileNotFoundError: It is not there; says where it was looked for, and what is there instead.
    """
    benchmark, home = BENCHMARKS[name], os.environ.get(HOME, "")
    if root is not None:
        folder = expanded(root)
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {folder}; expected {benchmark.title} there")
        found = recognise(folder)
        if name in found:
            return found[name][0]
        expected = " or ".join(str(folder / m) for m in MARKS[name])
        raise FileNotFoundError(
            f"{folder} does not look like {benchmark.title}: expected "
            f"{expected.format(category=benchmark.categories[0])}{other_than(name, found)}"
        )
    for folder in [expanded(home) / f for f in (name, *benchmark.folders)] if home else []:
        if folder.is_dir() and name in (found := recognise(folder)):
            return found[name][0]
    as_named = f"it is not in {home}, as {name} or {benchmark.folders[0]}"
    raise FileNotFoundError(
        f"{benchmark.title} was not found: {as_named if home else f'{HOME} is not set'}; name its "
        f"folder (`adlib data check {name} FOLDER`, in Python root=...), or set {HOME} to the "
        f"folder that holds it (`adlib data get {name}` says how to download it)"
    )


def at_home() -> dict[str, Path]:
    """Where each benchmark begins that lies below the folder that ADLIB_BENCHMARKS names."""
    here = {}
    for name in BENCHMARKS:
        with suppress(FileNotFoundError):
            here[name] = locate(name)
    return here


def recognise(folder: Path) -> dict[str, tuple[Path, int]]:
    """Benchmarks that a folder looks like: where each begins, and how many categories it has there.

    Looks into the folder, and two levels below it. The most complete comes first.
    """
    best: dict[str, tuple[Path, int]] = {}
    level, places = [folder], [folder]
    for _ in range(2):  # of a folder of many, the first hundred: data sets have fewer; ours
        level = [place / name for place in level for name in subfolders(place)][:100]
        places += level
    for place in places:  # nearest first
        for name, marks in MARKS.items():
            count = sum(_marked(place, marks, c) for c in BENCHMARKS[name].categories)
            if count > best.get(name, (place, 0))[1]:
                best[name] = (place, count)
    share = {name: count / len(BENCHMARKS[name].categories) for name, (_, count) in best.items()}
    return {name: best[name] for name in sorted(best, key=lambda name: -share[name])}


def other_than(name: str, found: dict[str, tuple[Path, int]]) -> str:
    """A clause on what a folder looks like instead, or an empty string."""
    other = next((other for other in found if other != name), None)
    return f"; it looks like {BENCHMARKS[other].title}, whose name here is {other}" if other else ""


def not_own(folder: Path) -> str:
    """A clause on the benchmark that a folder of no usable layout looks like, or an empty string.

    A few categories in MVTec AD's layout are a folder of one's own, and no incomplete benchmark.
    """
    for name, (place, count) in recognise(folder).items():
        categories = BENCHMARKS[name].categories
        others = tuple(mark for mark in MARKS[name] if mark not in OWN_MARKS)
        if count == len(categories) or any(_marked(place, others, c) for c in categories):
            says = f"`adlib data check {name} {folder}` says what is there"
            return f"{other_than('', {name: (place, count)})} ({says})"
    return ""


def _marked(place: Path, marks: tuple[str, ...], category: str) -> bool:
    paths = [mark.format(category=category) for mark in marks]
    return any(any(place.glob(p)) if "*" in p else (place / p).exists() for p in paths)


def _first(problems: list[str], what: str) -> str:
    more = f"{len(problems)} {what}; the first: " if len(problems) > 1 else ""
    return f"{more}{problems[0]}"
