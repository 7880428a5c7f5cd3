"""Images that occur more than once, byte by byte: within a split, and in train and test at once."""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

from adlib.data.dataset import DataSplits


def alike(files: Sequence[str]) -> list[list[str]]:
    """Groups of files with the same bytes, in order; only equal lengths are read."""
    by_length = _groups((Path(file).stat().st_size, file) for file in files)
    digests = ([(hashlib.sha256(Path(f).read_bytes()).digest(), f) for f in g] for g in by_length)
    return [same for group in digests for same in _groups(group)]


def duplicates(data: DataSplits) -> list[str]:
    """Sentences about images that train twice, or train (if only as seen defects) and test.

    It rests on the fingerprints that `data.hash` computes as well: beside it, it costs nothing. An
    image whose mask makes the fingerprint another is not found here; `adlib data check` finds it.
    """
    learns = [data.train] if data.seen is None else [data.train, data.seen]
    marks = [
        (mark, reference.path)
        for images in (*learns, data.test)
        for mark, reference in zip(images.fingerprints, images.references, strict=True)
    ]
    train = {r.path for images in learns for r in images.references}
    return describe(_groups(marks), train, {r.path for r in data.test.references})


def describe(groups: Sequence[Sequence[str]], train: set[str], test: set[str]) -> list[str]:
    """Sentences about groups of equal images that a method learns from or is tested on."""
    leaks = [g for g in groups if train.intersection(g) and test.intersection(g)]
    said = []
    if leaks:
        n = sum(len(test.intersection(g)) for g in leaks)
        one = next(f for f in leaks[0] if f in train)
        two = next(f for f in leaks[0] if f in test)
        said.append(
            f"{n} test image{'s are' if n > 1 else ' is'} also trained on, byte by byte, which "
            f"flatters every score; the first: {two} is the same as {one}"
        )
    return said + repeats(groups, "training", train)


def repeats(groups: Sequence[Sequence[str]], kind: str, split: set[str]) -> list[str]:
    """A sentence about images that are in one split more than once, or none."""
    twice = [g for g in groups if len(split.intersection(g)) > 1]
    if not twice:
        return []
    n = sum(len(split.intersection(g)) - 1 for g in twice)
    one, two = [f for f in twice[0] if f in split][:2]
    return [
        f"{n} {kind} image{'s repeat others' if n > 1 else ' repeats another'}, byte by byte; the "
        f"first: {two} is the same as {one}"
    ]


def _groups(pairs: Iterable[tuple[Hashable, str]]) -> list[list[str]]:
    """Second parts of the pairs whose first parts are equal, where there are several."""
    found: dict[Hashable, list[str]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return [group for group in found.values() if len(group) > 1]
