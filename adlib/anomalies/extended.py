"""Extended anomalies: seen defects, cut out, mildly changed and pasted into normal images."""

import numpy as np
from jaxtyping import Bool, Int, UInt8

from adlib.anomalies.cutouts import COUNT, Cutout, change, cut_out
from adlib.anomalies.simulated import differing, last_resort

IN_PLACE = 2 / 3  # of the mask on the foreground, above which it stays; unofficial code
ATTEMPTS = 20  # before the last resort; ours
PIECES = 64  # of a defect that are moved one by one, the largest ones; ours


def extended(
    target: UInt8[np.ndarray, "h w 3"],
    defect: UInt8[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"],
    foreground: Bool[np.ndarray, "h w"],
    rng: np.random.Generator,
    *,
    in_place: float = IN_PLACE,
    changes: int = COUNT,
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """A normal image with a seen defect pasted in, and the mask of the pixels that changed.

    Where nothing changes, because nothing of the mask is left or it shows what was there, all is
    drawn again, and after `ATTEMPTS` times `last_resort` sees to it that the mask is not empty.

    Args:
        target: A normal image.
        defect: An image with a defect.
        mask: Its defective pixels; not empty.
        foreground: Of the target; nowhere counts as everywhere.
        rng: Draws changes and places.
        in_place: As in `paste`.
        changes: As in `change`.
    Source: the unofficial code, after BGAD; that only mild changes are made, and that the mask is
        what changed, is ours.
    """
    if not foreground.any():
        foreground = np.ones(mask.shape, dtype=bool)
    whole = cut_out(defect, mask)
    for _ in range(ATTEMPTS):
        made = paste(target, change(whole, rng, changes), foreground, rng, in_place)
        changed = differing(made, target)
        if changed.any():
            return made, changed
    return last_resort(target, foreground, rng)


def paste(
    target: UInt8[np.ndarray, "h w 3"],
    cutout: Cutout,
    foreground: Bool[np.ndarray, "h w"],
    rng: np.random.Generator,
    in_place: float = IN_PLACE,
) -> UInt8[np.ndarray, "h w 3"]:
    """Copy a defect into an image, hard-edged; what leaves the image is cut off.

    It stays where its centre says if more than the share `in_place` of its mask falls on the
    foreground. Else each connected piece (by sides or corners) of it goes to a foreground point of
    its own, drawn anew.
    """
    from scipy import ndimage

    h, w = foreground.shape
    made = target.copy()
    high, wide = cutout.mask.shape
    top, left = round(cutout.centre[0] * h - high / 2), round(cutout.centre[1] * w - wide / 2)
    here, there = _overlap((h, w), (high, wide), top, left)
    inside = np.count_nonzero(foreground[here] & cutout.mask[there])
    if inside > in_place * np.count_nonzero(cutout.mask):
        _stamp(made, cutout.pixels, cutout.mask, top, left)
        return made
    numbers, count = ndimage.label(cutout.mask, np.ones((3, 3)))  # pyright: ignore[reportGeneralTypeIssues]
    boxes = ndimage.find_objects(numbers)
    places = np.flatnonzero(foreground)
    for k in _largest(numbers, count):
        box = boxes[k - 1]
        piece = numbers[box] == k
        y, x = divmod(int(rng.choice(places)), w)
        _stamp(made, cutout.pixels[box], piece, y - piece.shape[0] // 2, x - piece.shape[1] // 2)
    return made


def _largest(numbers: Int[np.ndarray, "h w"], count: int) -> list[int]:
    """Numbers of the largest pieces, in their order."""
    areas = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
    return sorted((np.argsort(-areas, kind="stable")[:PIECES] + 1).tolist())


def _overlap(
    size: tuple[int, int], piece: tuple[int, int], top: int, left: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a piece lies in the image, and what of the piece lies in it."""
    corner = top, left
    here = [
        slice(min(max(0, c), s), max(0, min(s, c + p)))
        for c, p, s in zip(corner, piece, size, strict=True)
    ]
    there = [
        slice(part.start - c, max(part.start, part.stop) - c)
        for part, c in zip(here, corner, strict=True)
    ]
    return (here[0], here[1]), (there[0], there[1])


def _stamp(
    made: UInt8[np.ndarray, "h w 3"],
    pixels: UInt8[np.ndarray, "h2 w2 3"],
    mask: Bool[np.ndarray, "h2 w2"],
    top: int,
    left: int,
) -> None:
    size, piece = (made.shape[0], made.shape[1]), (mask.shape[0], mask.shape[1])
    here, there = _overlap(size, piece, top, left)
    made[here][mask[there]] = pixels[there][mask[there]]
