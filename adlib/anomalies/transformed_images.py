"""Images and masks at the size at which anomalies are made, decoded once and kept in memory."""

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from adlib.data.dataset import ImageDataset
from adlib.data.transform import ImageTransform

KEPT = 512 * 2**20  # bytes of transformed images kept in memory, in each process


def transform_pixels(
    image: UInt8[np.ndarray, "_ _ 3"], frame: ImageTransform
) -> UInt8[np.ndarray, "h w 3"]:
    """The bytes behind `frame.image`: divided by 255 they are the same numbers."""
    return np.rint(frame.image(image).transpose(1, 2, 0) * 255).astype(np.uint8)


def transform_mask(mask: Bool[np.ndarray, "_ _"], frame: ImageTransform) -> Bool[np.ndarray, "h w"]:
    """Resize a mask to the nearest pixel and cut it as the transform cuts its image.

    A defect so small that every sample falls beside it is not lost: then each pixel that covers
    some of it counts.
    """
    outer, (top, left), (h, w) = frame.resize or frame.size, frame.corner, frame.size
    rows, columns = (
        np.arange(new) * old // new for old, new in zip(mask.shape, outer, strict=True)
    )
    nearest = mask[rows[:, None], columns]
    if mask.any() and not nearest.any():
        y, x = np.nonzero(mask)
        nearest[y * outer[0] // mask.shape[0], x * outer[1] // mask.shape[1]] = True
    return np.ascontiguousarray(nearest[top : top + h, left : left + w])


class ArrayCache:
    """Remembers arrays by key until `limit` bytes are full; others are made anew each time.

    Nothing is thrown out to make room: where all images are visited in turn, that would throw out
    each one just before it is needed again. A copy sent to another process starts empty.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self._kept: dict[Hashable, np.ndarray] = {}

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of a key; read-only, since others get the same one."""
        if key in self._kept:
            return self._kept[key]
        made = make()
        made.flags.writeable = False
        if self.bytes + made.nbytes <= self.limit:
            self._kept[key] = made
            self.bytes += made.nbytes
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {"limit": self.limit, "bytes": 0, "_kept": {}}


class TransformedImages:
    """Images of any size by number, as bytes behind a transform, each decoded once if it fits."""

    def __init__(self, images: ImageDataset, frame: ImageTransform, limit: int = KEPT) -> None:
        self.images, self.frame = images, frame
        self.references = images.references
        self._cache = ArrayCache(limit)

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, i: int) -> UInt8[np.ndarray, "h w 3"]:
        """Image i, read-only."""
        return self._cache.get(i, lambda: transform_pixels(self.images[i].image, self.frame))

    def mask(self, i: int) -> Bool[np.ndarray, "h w"]:
        """The mask of image i, read-only.

        Raises:
            ValueError: It has none, or one in which no pixel is defective.
        """
        return self._cache.get(("mask", i), lambda: self._read_mask(i))

    def _read_mask(self, i: int) -> Bool[np.ndarray, "h w"]:
        sample = self.images[i]
        if sample.mask is None:
            raise ValueError(f"{sample.path}: to train on a defect takes a mask, and it has none")
        if not sample.mask.any():
            raise ValueError(f"{sample.path}: expected a mask with a defect, got an empty one")
        return transform_mask(sample.mask, self.frame)
