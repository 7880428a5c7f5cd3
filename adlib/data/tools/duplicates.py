"""Images that occur more than once: in one split, in train and test, or as good and defective."""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from adlib.data.dataset import DataSplits, ImageRef
from adlib.data.image_io import thumbnail

SIDE = 32  # pixels of the thumbnails that are compared first
FINE = 128  # and of those that decide
# The largest difference of two thumbnails in gray values, and the least correlation of their fine
# structure, that make one image of two; ours. Saved as JPEG (quality 30 to 95) or WebP, or at half
# the size, images of ball_screw, cookie, deeppcb, screw, the solar cells and the built-in set came
# to at most 5.8 and at least 0.91; their nearest pairs of a good and a bad image are 8.4 apart.
# Photographs of fine textures are nearer than 6, and correlate by 0.03.
NEAR, ALIKE = 6.0, 0.5


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
    test, groups = {r.path for r in data.test.references}, _groups(marks)
    return [*leaks(groups, train, test), *repeats(groups, "training", train)]


def leaks(groups: Sequence[Sequence[str]], train: set[str], test: set[str]) -> list[str]:
    """A sentence about groups of equal images that a method learns from and is tested on."""
    both = [g for g in groups if train.intersection(g) and test.intersection(g)]
    n = sum(len(test.intersection(g)) for g in both)
    return [
        f"{n} test image{'s are' if n > 1 else ' is'} also trained on, byte by byte, which "
        f"flatters every score; the first: {next(f for f in g if f in test)} is the same as "
        f"{next(f for f in g if f in train)}"
        for g in both[:1]
    ]


def repeats(groups: Sequence[Sequence[str]], kind: str, split: set[str]) -> list[str]:
    """A sentence about images that are in one split more than once, or none."""
    inside = [[f for f in g if f in split] for g in groups]
    twice = [files for files in inside if len(files) > 1]
    n = sum(len(files) - 1 for files in twice)
    many = "s repeat others" if n > 1 else " repeats another"
    return [
        f"{n} {kind} image{many}, byte by byte; the first: {two} is the same as {one}"
        for one, two, *_ in twice[:1]
    ]


def _groups(pairs: Iterable[tuple[Hashable, str]]) -> list[list[str]]:
    """Second parts of the pairs whose first parts are equal, where there are several."""
    found: dict[Hashable, list[str]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return [group for group in found.values() if len(group) > 1]


def contradictions(data: DataSplits) -> list[str]:
    """A sentence about images that a category of files has among its good and its bad ones.

    Decodes every image once, a JPEG only as far as a thumbnail needs.
    """
    with_bad = {r.category for r in data.references if r.label}
    chosen = [r for r in data.references if r.category in with_bad]
    shown = tqdm(chosen, desc="comparing images", delay=2, leave=False)
    return describe_pairs(both_labels(chosen, {r.path: thumbnail(r.path, SIDE) for r in shown}))


def describe_pairs(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """A sentence about images with both labels, or none."""
    many = "images are" if len(pairs) > 1 else "image is"
    return [
        f"{len(pairs)} {many} called good and defective at once, so delete the wrong one: {good} "
        f"and {bad} show the same"
        for good, bad in pairs[:1]
    ]


def both_labels(
    references: Iterable[ImageRef], thumbnails: Mapping[str, Float[np.ndarray, "s s"]]
) -> list[tuple[str, str]]:
    """Paths of a good and a defective image of one category that are the same, for each defect.

    Args:
        references: Images of files.
        thumbnails: Of their paths; those without one are passed over.
    """
    from scipy.spatial.distance import cdist

    of: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for reference in references:
        if reference.path in thumbnails:
            of[reference.category, reference.label].append(reference.path)
    structure, pairs = cache(_fine), []
    for category in dict.fromkeys(category for category, label in of if label):
        good, bad = of[category, False], of[category, True]
        if not good:
            continue
        a, b = (np.stack([thumbnails[p].ravel() for p in paths]) for paths in (bad, good))
        for i, j in np.argwhere(cdist(a, b, "chebyshev") <= NEAR):
            path, other = bad[i], good[j]
            done = bool(pairs) and pairs[-1][1] == path
            if not done and _same(structure(other), structure(path)):
                pairs.append((other, path))
    return pairs


def _same(a: Float[np.ndarray, "s s"], b: Float[np.ndarray, "s s"]) -> bool:
    """Whether the fine structure of two images agrees."""
    norms = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return bool(np.array_equal(a, b)) or float((a * b).sum()) >= ALIKE * max(norms, 1.0)


def _fine(path: str) -> Float[np.ndarray, "s s"]:
    """A thumbnail less its means over squares of eight pixels."""
    image = thumbnail(path, FINE)
    squares = image.reshape(FINE // 8, 8, FINE // 8, 8)
    return (squares - squares.mean(axis=(1, 3), keepdims=True)).reshape(FINE, FINE)
