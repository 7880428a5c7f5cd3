"""Which images train and which test: seen defects, a few normal images, several sets as one."""

import warnings
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np

from adlib.data.dataset import DataSplits, ImageDataset, ImageRef, Sample

Places = Mapping[ImageRef, tuple[ImageDataset, int]]  # where each image of a joined set comes from
SEEN = 10  # defects of each category; the unofficial code of PRN


def supervise(data: DataSplits, seen: int = SEEN, seed: int = 0) -> DataSplits:
    """Take some defects of each category out of the test set, for methods that learn from them.

    They are drawn by the seed, and the kinds of defect take turns, so that ten defects of five
    kinds are two of each. Which ones are drawn of a category does not depend on the others. A copy
    of a drawn image, byte by byte and with the same mask, leaves the test set with it. Where a
    category has no more than `seen`, half of them are drawn, so that some are left to test on.

    Args:
        data: With masks for the defects to draw from.
        seen: Defects of each category; 0 draws none.
        seed: Draws which.
    Returns:
        The same normal images, the drawn defects as `seen`, and the rest as `test`.
    Raises:
        ValueError: The data are split already, the number is negative, or no defect of a category
            has a mask.
    Warns:
        RuntimeWarning: A category has too few.
    Source: PRN trains on a few seen defects (abstract); that kinds take turns is ours.
    """
    if data.seen is not None:
        raise ValueError(f"{data.name} is split already: it has {len(data.seen)} seen defects")
    if seen < 0:
        raise ValueError(f"seen counts defects of each category, from 0 on; got {seen}")
    out: list[int] = []
    for category in data.test.categories if seen else ():
        drawn = _draw(data, category, seen, seed)
        defects = [r.path for r in data.test.references if r.label and r.category == category]
        if len(defects) > 1 and not drawn:
            raise ValueError(
                f"{data.name}/{category}: learning from defects needs their masks, and none of "
                f"{len(defects)} has one, such as {defects[0]}; with seen=0 a method learns from "
                "made anomalies alone"
            )
        if len(drawn) < seen:
            warnings.warn(
                f"{data.name}/{category} has {len(defects)} defects in its test set, too few to "
                f"take {seen} with a mask and leave some to test on: {len(drawn)} are taken",
                RuntimeWarning,
                stacklevel=2,
            )
        out += drawn
    return _split(data, out, (seen, seed))


def without_seen(
    data: DataSplits, seen: Collection[str], drawn: Sequence[int] | None = None
) -> DataSplits:
    """Leave the defects that a run trained on out of the test set, as `supervise` did for it.

    They are known by their content, so the folder may have another name by now, or other defects
    beside them. Where a draw still yields all of a category's, all that it yields leave the test
    set: of those drawn, a run may have trained on the first few only (`show_first`). Where it does
    not, just those leave it that the run trained on.

    Args:
        data: As it was loaded, not split.
        seen: Fingerprints in hex of the defects that a run trained on (its provenance's `seen`).
        drawn: How many of each category were asked for, and the seed (its provenance's `drawn`).
    Returns:
        The split; the data as they are where none of their test images was trained on.
    """
    prints, references = data.test.fingerprints, data.test.references
    trained = set(seen)
    known = [i for i, mark in enumerate(prints) if mark.hex() in trained]
    out: list[int] = []
    for category in data.test.categories:
        shown = [i for i in known if references[i].category == category]
        again = _draw(data, category, *drawn) if shown and drawn else []
        same = {prints[i] for i in shown} <= {prints[i] for i in again}
        out += again if same else shown
    return _split(data, out, None if drawn is None else (drawn[0], drawn[1])) if out else data


def show_first(split: DataSplits, k: int) -> DataSplits:
    """Leave the test set as it is, and of the drawn defects the first of each category to train on.

    Defects are drawn one after another, so the first k are those that a draw of k would take. Runs
    that learn from different numbers of defects are so tested on the same images.

    Args:
        split: What `supervise` returned.
        k: Defects of each category; 0 shows none.
    Returns:
        The split with fewer `seen`. Its `drawn` still says how its test set came about.
    Raises:
        ValueError: The data are not split, or so many were not drawn.
    """
    if split.seen is None or split.drawn is None:
        raise ValueError(f"{split.name} is not split: supervise(data, seen, seed) does it")
    if not 0 <= k <= split.drawn[0]:
        raise ValueError(f"expected k from 0 to the {split.drawn[0]} defects drawn, got {k}")
    seen = split.seen
    of = {c: [i for i, r in enumerate(seen.references) if r.category == c] for c in seen.categories}
    first = sorted(i for mine in of.values() for i in mine[:k])
    return replace(split, seen=seen.select(first))


def refuse_seen(seen: Collection[str], test: ImageDataset, name: str) -> None:
    """Refuse to test on defects that were trained on.

    Args:
        seen: Fingerprints in hex of the defects that a run trained on; no file is read without any.
        test: The images to test on.
        name: Of the data set, for the message.
    Raises:
        ValueError: Some are among them; names the first, and says what helps.
    """
    both = zip(test.references, test.fingerprints, strict=True) if seen else ()
    if again := [reference.path for reference, mark in both if mark.hex() in seen]:
        raise ValueError(
            f"{len(again)} test images of {name} were trained on, the first is {again[0]}; split "
            "the data as the run did: `adlib evaluate` does it, or supervise(data, seen, seed), or "
            "without_seen(data, method.provenance['seen']) where the folder has changed since"
        )


def keep_few(data: DataSplits, few: int, seed: int = 0) -> DataSplits:
    """Keep some of the normal images of each category; the test stays as it is.

    They are drawn by the seed one after another, so that the five of a draw of 5 are among the ten
    of a draw of 10. A category that has no more keeps all. What is drawn of a category does not
    depend on the others.

    Args:
        data: Its `train` images are all normal.
        few: Images of each category, at least 1.
        seed: Draws which.
    Raises:
        ValueError: `few` is below 1.
    """
    if few < 1:
        raise ValueError(f"few counts normal images of each category, from 1 on; got {few}")
    kept: list[int] = []
    for category in data.train.categories:
        mine = [i for i, r in enumerate(data.train.references) if r.category == category]
        rng = np.random.default_rng([seed, zlib.crc32(category.encode())])
        kept += rng.permutation(mine)[:few].tolist()
    return replace(data, train=data.train.select(sorted(kept)))


def join(parts: Sequence[DataSplits]) -> DataSplits:
    """Join data sets; each keeps its images, and its categories are called NAME/CATEGORY.

    Their seen defects are left out: methods that learn from defects are trained a category each.

    Args:
        parts: At least two, of different names.
    Returns:
        A data set called after all of them, such as "builtin+solar", with all their notices.
    Raises:
        ValueError: There is only one, or two of one name, whose categories could not be told apart.
    """
    names = [part.name for part in parts]
    if len(set(names)) < max(2, len(names)):
        raise ValueError(f"expected two data sets of different names, got {', '.join(names)}")
    return DataSplits(
        name="+".join(names),
        train=_together({part.name: part.train for part in parts}),
        test=_together({part.name: part.test for part in parts}),
        notice="\n".join(dict.fromkeys(part.notice for part in parts if part.notice)),
        notes=tuple(note for part in parts for note in part.notes),
    )


def _draw(data: DataSplits, category: str, seen: int, seed: int) -> list[int]:
    """Return indices into the test set of the defects drawn of one category."""
    references = data.test.references
    defects = [i for i, r in enumerate(references) if r.label and r.category == category]
    rng = np.random.default_rng([seed, zlib.crc32(category.encode())])
    piles = [
        rng.permutation([i for i in defects if references[i].defect == kind]).tolist()
        for kind in rng.permutation(sorted({references[i].defect for i in defects}))
    ]
    turns = max(map(len, piles), default=0)
    in_turn: list[int] = [pile[t] for t in range(turns) for pile in piles if t < len(pile)]
    # what is rendered has a mask, and no file for it
    masked = (i for i in in_turn if references[i].mask or data.test[i].mask is not None)
    return list(islice(masked, seen if len(defects) > seen else len(defects) // 2))


def _split(data: DataSplits, out: Sequence[int], drawn: tuple[int, int] | None) -> DataSplits:
    """Take defects out of the test set to be `seen`, where it has none, and their copies too."""
    prints, chosen = data.test.fingerprints, data.test.select(out)
    taken = {prints[i] for i in out}
    left = data.test.select([i for i, mark in enumerate(prints) if mark not in taken])
    return replace(data, test=left, seen=chosen if data.seen is None else data.seen, drawn=drawn)


def _together(parts: Mapping[str, ImageDataset]) -> ImageDataset:
    places: dict[ImageRef, tuple[ImageDataset, int]] = {}
    for name, images in parts.items():
        for i, reference in enumerate(images.references):
            places[replace(reference, category=f"{name}/{reference.category}")] = images, i
    return ImageDataset(tuple(places), partial(_read, places), partial(_fingerprint, places))


def _read(places: Places, reference: ImageRef) -> Sample:
    images, i = places[reference]
    return replace(images[i], category=reference.category)


def _fingerprint(places: Places, reference: ImageRef) -> bytes:
    images, i = places[reference]
    return images.fingerprints[i]
