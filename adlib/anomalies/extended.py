"""Extended anomalies: seen defects, cut out, mildly changed and pasted into normal images.

The unofficial code draws three of a long list of changes (after BGAD), strong ones among them, such
as optical distortion and embossing. The ten kept here are geometry and light within what another
photograph of the same kind of defect may show; so they and their ranges are ours.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from adlib.anomalies.simulated import Mask, differing, last_resort
from adlib.anomalies.textures import Picture

COUNT = 3  # changes of the ten below; unofficial code
MARGIN = 4  # pixels kept around a defect, so that its edge is mixed with what was there; ours
SHIFT = 0.06  # of each side, to either direction; unofficial code
SCALE = 0.2  # by which it grows or shrinks at most; unofficial code
TURN = 45.0  # degrees to either side; unofficial code
LIGHT = 0.1  # by which brightness and contrast change at most; ours
NOISE = (1.0, 4.0)  # standard deviation in levels; ours
BLUR = (0.3, 1.0)  # sigma in pixels; ours
IN_PLACE = 2 / 3  # of the mask on the foreground, above which it stays; unofficial code
ATTEMPTS = 20  # before the last resort; ours
PIECES = 64  # of a defect that are moved one by one, the largest ones; ours


@dataclass(frozen=True)
class Cutout:
    """A defect cut from its image, with a margin around it, and which of its pixels are defect.

    `centre` says where its middle belongs, as shares of the image (y, x).
    """

    pixels: Picture
    mask: Mask
    centre: tuple[float, float]


Change = Callable[[Cutout, np.random.Generator], Cutout]


def extended(
    target: Picture, defect: Picture, mask: Mask, foreground: Mask, rng: np.random.Generator
) -> tuple[Picture, Mask]:
    """A normal image with a seen defect pasted in, and the mask of the pixels that changed.

    Where nothing changes, because nothing of the mask is left or it shows what was there, all is
    drawn again, and after `ATTEMPTS` times `last_resort` sees to it that the mask is not empty.

    Args:
        target: A normal image.
        defect: An image with a defect.
        mask: Its defective pixels; not empty.
        foreground: Of the target; nowhere counts as everywhere.
        rng: Draws changes and places.
    Source: the unofficial code, after BGAD; that only mild changes are made, and that the mask is
        what changed, is ours.
    """
    if not foreground.any():
        foreground = np.ones(mask.shape, dtype=bool)
    whole = cut_out(defect, mask)
    for _ in range(ATTEMPTS):
        made = paste(target, change(whole, rng), foreground, rng)
        changed = differing(made, target)
        if changed.any():
            return made, changed
    return last_resort(target, foreground, rng)


def cut_out(image: Picture, mask: Mask) -> Cutout:
    """The smallest rectangle around a mask that is not empty, and `MARGIN` pixels more.

    What the margin needs beyond the image is continued from its edge.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    around = ((MARGIN, MARGIN), (MARGIN, MARGIN))
    high, wide = slice(top, bottom + 2 * MARGIN), slice(left, right + 2 * MARGIN)
    h, w = mask.shape
    return Cutout(
        pixels=np.pad(image, (*around, (0, 0)), mode="edge")[high, wide],
        mask=np.pad(mask, around)[high, wide],
        centre=(float(top + bottom) / 2 / h, float(left + right) / 2 / w),
    )


def change(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    """Apply `COUNT` different mild changes of place, shape or light, in drawn order."""
    changes = list(CHANGES.values())
    for k in rng.permutation(len(changes))[:COUNT]:
        cutout = changes[k](cutout, rng)
    return cutout


def paste(target: Picture, cutout: Cutout, foreground: Mask, rng: np.random.Generator) -> Picture:
    """Copy a defect into an image, hard-edged; what leaves the image is cut off.

    It stays where its centre says if more than the share `IN_PLACE` of its mask falls on the
    foreground. Else each connected piece (by sides or corners) of it goes to a foreground point of
    its own, drawn anew.
    """
    from scipy import ndimage

    h, w = foreground.shape
    made = target.copy()
    high, wide = cutout.mask.shape
    top, left = round(cutout.centre[0] * h - high / 2), round(cutout.centre[1] * w - wide / 2)
    here, there = _overlap((h, w), (high, wide), (top, left))
    inside = np.count_nonzero(foreground[here] & cutout.mask[there])
    if inside > IN_PLACE * np.count_nonzero(cutout.mask):
        _stamp(made, cutout.pixels, cutout.mask, (top, left))
        return made
    numbers, count = ndimage.label(cutout.mask, np.ones((3, 3)))  # pyright: ignore[reportGeneralTypeIssues]
    boxes, places = ndimage.find_objects(numbers), np.flatnonzero(foreground)
    areas = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
    for k in sorted(np.argsort(-areas, kind="stable")[:PIECES].tolist()):  # the largest
        piece = numbers[boxes[k]] == k + 1
        y, x = divmod(int(rng.choice(places)), w)
        corner = (y - piece.shape[0] // 2, x - piece.shape[1] // 2)
        _stamp(made, cutout.pixels[boxes[k]], piece, corner)
    return made


def _overlap(
    size: tuple[int, ...], piece: tuple[int, ...], corner: tuple[int, int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a piece lies in the image, and what of the piece lies in it."""
    here = [
        (min(max(0, c), s), max(0, min(s, c + p)))
        for c, p, s in zip(corner, piece, size, strict=True)
    ]
    there = [(a - c, max(a, b) - c) for (a, b), c in zip(here, corner, strict=True)]
    return tuple(slice(*x) for x in here), tuple(slice(*x) for x in there)


def _stamp(made: Picture, pixels: np.ndarray, mask: np.ndarray, corner: tuple[int, int]) -> None:
    here, there = _overlap(made.shape[:2], mask.shape, corner)
    made[here][mask[there]] = pixels[there][mask[there]]


def _quarter_turns(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    for _ in range(int(rng.integers(1, 3, endpoint=True))):
        y, x = cutout.centre
        cutout = Cutout(np.rot90(cutout.pixels), np.rot90(cutout.mask), (1 - x, y))
    return cutout


def _mirrored(cutout: Cutout, axis: int) -> Cutout:
    y, x = cutout.centre
    centre = (y, 1 - x) if axis else (1 - y, x)
    return Cutout(np.flip(cutout.pixels, axis), np.flip(cutout.mask, axis), centre)


def _shifted(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    y, x = np.array(cutout.centre) + rng.uniform(-SHIFT, SHIFT, size=2)
    return replace(cutout, centre=(float(y), float(x)))


def _resampled(
    cutout: Cutout, move: Callable[[Image.Image, Image.Resampling], Image.Image]
) -> Cutout:
    pixels, mask = (np.ascontiguousarray(x) for x in (cutout.pixels, cutout.mask))
    moved = move(Image.fromarray(pixels), Image.Resampling.BILINEAR)
    moved_mask = move(Image.fromarray(mask.view(np.uint8)), Image.Resampling.NEAREST)
    return replace(cutout, pixels=np.array(moved), mask=np.array(moved_mask) > 0)


def _scaled(cutout: Cutout, factor: float) -> Cutout:
    h, w = (max(1, round(factor * side)) for side in cutout.mask.shape)
    return _resampled(cutout, lambda image, how: image.resize((w, h), how))


def _turned(cutout: Cutout, degrees: float) -> Cutout:
    return _resampled(cutout, lambda image, how: image.rotate(degrees, how, expand=True))


def _relit(cutout: Cutout, levels: np.ndarray) -> Cutout:
    return replace(cutout, pixels=np.clip(np.rint(levels), 0, 255).astype(np.uint8))


def _contrasted(cutout: Cutout, factor: float) -> Cutout:
    mean = cutout.pixels.mean()
    return _relit(cutout, mean + (cutout.pixels - mean) * factor)


def _noisy(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    grain = rng.standard_normal(cutout.pixels.shape)
    return _relit(cutout, cutout.pixels + grain * rng.uniform(*NOISE))


def _blurred(cutout: Cutout, sigma: float) -> Cutout:
    from scipy import ndimage

    levels, sigmas = cutout.pixels.astype(float), (sigma, sigma, 0)
    return _relit(cutout, ndimage.gaussian_filter(levels, sigmas, mode="nearest", truncate=3))


CHANGES: dict[str, Change] = {
    "quarter turns": _quarter_turns,
    "left to right": lambda cutout, rng: _mirrored(cutout, 1),
    "upside down": lambda cutout, rng: _mirrored(cutout, 0),
    "shift": _shifted,
    "scale": lambda cutout, rng: _scaled(cutout, rng.uniform(1 - SCALE, 1 + SCALE)),
    "turn": lambda cutout, rng: _turned(cutout, rng.uniform(-TURN, TURN)),
    "brightness": lambda cutout, rng: _relit(
        cutout, cutout.pixels * rng.uniform(1 - LIGHT, 1 + LIGHT)
    ),
    "contrast": lambda cutout, rng: _contrasted(cutout, rng.uniform(1 - LIGHT, 1 + LIGHT)),
    "noise": _noisy,
    "blur": lambda cutout, rng: _blurred(cutout, rng.uniform(*BLUR)),
}
