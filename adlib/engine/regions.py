"""From an anomaly map to a defect mask, and from the mask to regions."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped


@dataclass(frozen=True, kw_only=True)
class Region:
    """A connected part of a defect mask, in pixels of the image.

    Attributes:
        left: First column of its box.
        top: First row of its box.
        width: Of its box.
        height: Of its box.
        area: Its pixels.
        peak: The highest value of the map in it.
    """

    left: int
    top: int
    width: int
    height: int
    area: int
    peak: float


def find_regions(
    heat: Float[np.ndarray, "h w"], threshold: float, size: tuple[int, int] | None = None
) -> list[Region]:
    """List the regions where a map is above a threshold, those with the highest peak first.

    Args:
        heat: The map.
        threshold: As `Calibration.pixel_threshold` gives it.
        size: Height and width of the image, which a smaller map is scaled to. Defaults to the
            map's size.
    """
    from skimage.measure import label, regionprops

    height, width = size or heat.shape
    down, across = height / heat.shape[0], width / heat.shape[1]
    found = []
    for part in regionprops(label(heat > threshold, connectivity=2), heat):
        top, left, bottom, right = part.bbox
        y, x = round(top * down), round(left * across)
        found.append(
            Region(
                left=x,
                top=y,
                width=max(1, round(right * across) - x),
                height=max(1, round(bottom * down) - y),
                area=max(1, round(part.area * down * across)),
                peak=float(part.intensity_max),
            )
        )
    return sorted(found, key=lambda region: -region.peak)


def draw_contours(
    picture: Shaped[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]
) -> Shaped[np.ndarray, "h w 3"]:
    """Draw a white line with a black one around it along the border of a mask."""
    from scipy.ndimage import binary_dilation, binary_erosion

    drawn = picture.copy()
    inside, near, around = (
        np.asarray(m, bool)
        for m in (binary_erosion(mask), binary_dilation(mask), binary_dilation(mask, iterations=2))
    )
    drawn[around & ~mask] = 0
    drawn[near & ~inside] = 255
    return drawn
