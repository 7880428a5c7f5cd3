"""Where the product is in its photograph, so that anomalies are made on it and not beside it.

PRN's paper is not known to say where its foregrounds came from; the sibling code has saliency masks
for objects, the unofficial code a file of masks. All rules and numbers here are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

COLOURS = 8  # that the border is described by, dark to bright
BORDER = 32  # the border is one part in so many of the shorter side
SMOOTHING = 128  # Gaussian sigma: one part in so many of the shorter side
SAMPLES = 16  # normal images to estimate from
MOST_BORDER = 0.10  # share of the border that may look like foreground, if it is to be plain
LEAST_CENTRE = 0.15  # share of the middle that must; mere edges between two border colours do not
LEAST_CONTRAST = 10.0  # levels of 255 (Euclidean over R, G, B) from which a difference is one
CLOSING = 85  # gaps narrower than two parts in so many of the shorter side are closed
HOLE = 0.02  # of the image: holes up to this size are filled, larger ones show the ground
SPECK = 0.05  # of the largest piece: smaller pieces are dropped


@dataclass(frozen=True, kw_only=True)
class Foreground:
    """How to tell the product from the ground in the images of one category."""

    kind: Literal["object", "texture"]  # an object on a plain ground; else the whole image
    threshold: float = 0.0  # levels from the border's colours above which a pixel is product
    border: float = 1.0  # share of the border above it, the median over images
    centre: float = 1.0  # share of the middle half (by height and width) above it, likewise

    def mask(self, image: UInt8[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
        """True on the product; the whole image for a texture, and where no product is found."""
        whole = np.ones(image.shape[:2], dtype=bool)
        if self.kind == "texture":
            return whole
        found = _tidy(border_distance(image) > self.threshold)
        return found if found.any() else whole

    def describe(self) -> str:
        """Say in one line what was decided, and from what."""
        where = "an object on a plain ground" if self.kind == "object" else "the whole image"
        measured = f"{self.border:.0%} of the border and {self.centre:.0%} of the middle"
        return f"{where} ({measured} differ by {self.threshold:.0f} levels)"


WHOLE = Foreground(kind="texture")  # every pixel, without a look


def estimate(images: Sequence[UInt8[np.ndarray, "h w 3"]]) -> Foreground:
    """Decide between an object and a texture, from normal images of one category and size.

    The border of an image is described by a few colours, and each pixel by the square root of its
    distance to the nearest of them; Otsu's method splits the pixels of all images in two. It is an
    object if hardly any of the border is on the far side, much more of the middle is, and the two
    sides differ visibly. Otherwise the border holds the colours of the product itself, and the
    whole image is foreground. That is the safe side: then anomalies may come anywhere.

    Source: ours; Otsu, IEEE Trans. SMC 9 (1979). The root keeps a thin bright part from being
        lost beside a broad black one.
    """
    from skimage.filters import threshold_otsu

    distance = np.stack([border_distance(image) for image in images])  # n h w
    if distance.max() == distance.min():
        return WHOLE
    threshold = float(threshold_otsu(np.sqrt(distance))) ** 2
    far = distance > threshold
    h, w = distance.shape[1:]
    border = float(np.median(far[:, _ring((h, w))].mean(axis=1)))
    middle = far[:, h // 4 : h - h // 4, w // 4 : w - w // 4]
    centre = float(np.median(middle.mean(axis=(1, 2))))
    plain = border <= MOST_BORDER and centre >= max(LEAST_CENTRE, 3 * border)
    return Foreground(
        kind="object" if plain and threshold >= LEAST_CONTRAST else "texture",
        threshold=threshold,
        border=border,
        centre=centre,
    )


def spread(n: int, most: int = SAMPLES) -> list[int]:
    """Which of n images to look at: at most so many, evenly spread."""
    k = min(n, most)
    return [i * n // k for i in range(k)]


def border_distance(image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w"]:
    """Distance in levels of each smoothed pixel to the nearest of the border's colours.

    The border's pixels, ordered by brightness, make `COLOURS` groups of equal size, and each
    group's median is a colour: a shadow or a reflection that reaches the border is ground as well.
    """
    from scipy import ndimage

    sigma = min(image.shape[:2]) / SMOOTHING
    smooth = ndimage.gaussian_filter(
        image.astype(np.float32), (sigma, sigma, 0), mode="nearest", truncate=3
    )
    border = smooth[_ring(image.shape[:2])]  # k 3
    border = border[np.argsort(border.sum(axis=1), kind="stable")]
    least = np.full(image.shape[:2], np.inf, dtype=np.float32)
    for group in np.array_split(border, min(COLOURS, len(border))):
        away = smooth - np.median(group, axis=0)
        np.minimum(least, np.einsum("hwc,hwc->hw", away, away), out=least)
    return np.sqrt(least)


def _ring(size: tuple[int, ...]) -> Bool[np.ndarray, "h w"]:
    h, w = size[:2]
    width = max(1, round(min(h, w) / BORDER))
    ring = np.ones((h, w), dtype=bool)
    ring[width : h - width, width : w - width] = False
    return ring


def _tidy(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Close gaps, fill small holes, drop specks."""
    from scipy import ndimage

    reach = max(1, round(min(mask.shape) / CLOSING))
    wide = np.pad(mask, reach, mode="edge")
    closed = ndimage.binary_closing(wide, iterations=reach)[reach:-reach, reach:-reach] | mask
    holes, areas = _pieces(~closed)
    rim = np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]])
    areas[rim] = np.inf  # ground that reaches the edge is no hole
    closed = closed | (holes > 0) & (areas <= HOLE * mask.size)[holes]
    pieces, areas = _pieces(closed)
    return (areas >= SPECK * areas.max())[pieces] & (pieces > 0)


def _pieces(mask: Bool[np.ndarray, "h w"]) -> tuple[np.ndarray, Float[np.ndarray, " k"]]:
    """Number of the piece of each pixel, from 1 on (0: none), and the pieces' areas by number."""
    from scipy import ndimage

    numbers, _ = ndimage.label(mask)  # pyright: ignore[reportGeneralTypeIssues]
    areas = np.bincount(numbers.ravel()).astype(float)
    areas[0] = 0.0
    return numbers, areas
