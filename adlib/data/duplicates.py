"""Images that occur more than once, byte by byte: within a split, and in train and test at once."""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

from adlib.data.sample import Data


def alike(files: Sequence[str]) -> list[list[str]]:
    """Groups of files with the same bytes, in the order of their first.

    Only files of equal length are read.
    """
    by_length = _groups((Path(file).stat().st_size, file) for file in files)
    return [
        same
        for group in by_length
        for same in _groups((hashlib.sha256(Path(f).read_bytes()).digest(), f) for f in group)
    ]


def duplicates(data: Data) -> list[str]:
    """Sentences about images that train twice, or train and are tested on.

    It rests on the fingerprints that `data.hash` computes as well: beside it, it costs nothing. An
    image whose mask makes the fingerprint another is not found here; `adlib data check` finds it.
    """
    marks = [
        (mark, reference.path)
        for images in (data.train, data.test)
        for mark, reference in zip(images.fingerprints, images.references, strict=True)
    ]
    train = {r.path for r in data.train.references}
    return describe(_groups(marks), train, {r.path for r in data.test.references})


def describe(groups: Sequence[Sequence[str]], train: set[str], test: set[str]) -> list[str]:
    """Sentences about groups of equal images, the worst first; empty where there are none."""
    leaks = [g for g in groups if train.intersection(g) and test.intersection(g)]
    twice = [g for g in groups if len(train.intersection(g)) > 1]
    said = []
    if leaks:
        n = sum(len(test.intersection(g)) for g in leaks)
        one = next(f for f in leaks[0] if f in train)
        two = next(f for f in leaks[0] if f in test)
        said.append(
            f"{n} test image{'s are' if n > 1 else ' is'} also trained on, byte by byte, which "
            f"flatters every score; the first: {two} is {one}"
        )
    if twice:
        n = sum(len(train.intersection(g)) - 1 for g in twice)
        one, two = [f for f in twice[0] if f in train][:2]
        said.append(
            f"{n} training image{'s repeat others' if n > 1 else ' repeats another'}, byte by "
            f"byte; the first: {two} is {one}"
        )
    return said


def _groups(pairs: Iterable[tuple[Hashable, str]]) -> list[list[str]]:
    """Second parts of the pairs whose first parts are equal, where there are several."""
    found: dict[Hashable, list[str]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return [group for group in found.values() if len(group) > 1]
