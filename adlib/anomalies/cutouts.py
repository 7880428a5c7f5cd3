"""Seen defects, cut out of their images and mildly changed: what extended anomalies are made of.

The unofficial code draws three of a long list of changes (after BGAD), strong ones among them, such
as optical distortion and embossing. The ten kept here are geometry and light within what another
photograph of the same kind of defect may show; so they and their ranges are ours.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

COUNT = 3  # changes of the ten below; unofficial code
MARGIN = 4  # pixels kept around a defect, so that its edge is mixed with what was there; ours
SHIFT = 0.06  # of each side, to either direction; unofficial code
SCALE = 0.2  # by which it grows or shrinks at most; unofficial code
TURN = 45.0  # degrees to either side; unofficial code
LIGHT = 0.1  # by which brightness and contrast change at most; ours
NOISE = (1.0, 4.0)  # standard deviation in levels; ours
BLUR = (0.3, 1.0)  # sigma in pixels; ours


@dataclass(frozen=True)
class Cutout:
    """A defect cut from its image.

    Attributes:
        pixels: The defect and a margin around it.
        mask: Which of them are defect.
        centre: Where the middle of `pixels` belongs, as shares of the image (y, x).
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"]
    centre: tuple[float, float]


def cut_out(image: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]) -> Cutout:
    """The smallest rectangle around a mask that is not empty, and `MARGIN` pixels more.

    What the margin needs beyond the image is continued from its edge.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    around = ((MARGIN, MARGIN), (MARGIN, MARGIN))
    high, wide = slice(top, bottom + 2 * MARGIN), slice(left, right + 2 * MARGIN)
    return Cutout(
        pixels=np.pad(image, (*around, (0, 0)), mode="edge")[high, wide],
        mask=np.pad(mask, around)[high, wide],
        centre=(
            float(top + bottom) / 2 / mask.shape[0],
            float(left + right) / 2 / mask.shape[1],
        ),
    )


def change(cutout: Cutout, rng: np.random.Generator, count: int = COUNT) -> Cutout:
    """Apply so many different mild changes of place, shape or light, in drawn order.

    Args:
        cutout: A defect.
        rng: Draws which of the ten, and how strongly.
        count: From 0 to 10.
    """
    for k in rng.permutation(len(CHANGES))[:count]:
        cutout = CHANGES[k](cutout, rng)
    return cutout


def _quarter_turns(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    for _ in range(int(rng.integers(1, 3, endpoint=True))):
        y, x = cutout.centre
        cutout = Cutout(np.rot90(cutout.pixels), np.rot90(cutout.mask), (1 - x, y))
    return cutout


def _left_to_right(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    y, x = cutout.centre
    return Cutout(cutout.pixels[:, ::-1], cutout.mask[:, ::-1], (y, 1 - x))


def _upside_down(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    y, x = cutout.centre
    return Cutout(cutout.pixels[::-1], cutout.mask[::-1], (1 - y, x))


def _shift(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    dy, dx = rng.uniform(-SHIFT, SHIFT, size=2)
    y, x = cutout.centre
    return replace(cutout, centre=(float(y + dy), float(x + dx)))


def _scale(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    factor = rng.uniform(1 - SCALE, 1 + SCALE)
    h, w = (max(1, round(factor * side)) for side in cutout.mask.shape)
    pixels = Image.fromarray(np.ascontiguousarray(cutout.pixels))
    mask = Image.fromarray(np.ascontiguousarray(cutout.mask).view(np.uint8))
    return replace(
        cutout,
        pixels=np.array(pixels.resize((w, h), Image.Resampling.BILINEAR)),
        mask=np.array(mask.resize((w, h), Image.Resampling.NEAREST)) > 0,
    )


def _turn(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    degrees = rng.uniform(-TURN, TURN)
    pixels = Image.fromarray(np.ascontiguousarray(cutout.pixels))
    mask = Image.fromarray(np.ascontiguousarray(cutout.mask).view(np.uint8))
    return replace(
        cutout,
        pixels=np.array(pixels.rotate(degrees, Image.Resampling.BILINEAR, expand=True)),
        mask=np.array(mask.rotate(degrees, Image.Resampling.NEAREST, expand=True)) > 0,
    )


def _brightness(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    return _relight(cutout, cutout.pixels * rng.uniform(1 - LIGHT, 1 + LIGHT))


def _contrast(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    mean = cutout.pixels.mean()
    return _relight(cutout, mean + (cutout.pixels - mean) * rng.uniform(1 - LIGHT, 1 + LIGHT))


def _noise(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    grain = rng.standard_normal(cutout.pixels.shape) * rng.uniform(*NOISE)
    return _relight(cutout, cutout.pixels + grain)


def _blur(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    from scipy import ndimage

    sigma = rng.uniform(*BLUR)
    levels = cutout.pixels.astype(float)
    blurred = ndimage.gaussian_filter(levels, (sigma, sigma, 0), mode="nearest", truncate=3)
    return _relight(cutout, blurred)


def _relight(cutout: Cutout, levels: np.ndarray) -> Cutout:
    return replace(cutout, pixels=np.clip(np.rint(levels), 0, 255).astype(np.uint8))


CHANGES: tuple[Callable[[Cutout, np.random.Generator], Cutout], ...] = (
    _quarter_turns,
    _left_to_right,
    _upside_down,
    _shift,
    _scale,
    _turn,
    _brightness,
    _contrast,
    _noise,
    _blur,
)
