"""The frame: how an image becomes the encoder's input, and how a map finds its way back."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8


@dataclass(frozen=True, kw_only=True)
class ImageTransform:
    """Resize to `resize`, then cut `size` from the centre; without `resize`, straight to `size`.

    Sizes are (height, width) in pixels. The aspect ratio is not kept: an image is squeezed, as
    Dinomaly and INP-Former do, so that nothing of it is lost.
    """

    size: tuple[int, int]
    resize: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.resize and (self.resize[0] < self.size[0] or self.resize[1] < self.size[1]):
            raise ValueError(f"cannot cut {self.size} from an image resized to {self.resize}")

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column at which the cut begins."""
        outer = self.resize or self.size
        return (outer[0] - self.size[0]) // 2, (outer[1] - self.size[1]) // 2

    def image(self, image: UInt8[np.ndarray, "_ _ 3"]) -> Float32[np.ndarray, "3 h w"]:
        """Resize (bilinear, antialiased as Pillow does) and cut; values in [0, 1]."""
        from PIL import Image

        outer, (top, left), (h, w) = self.resize or self.size, self.corner, self.size
        wide = (outer[1], outer[0])  # Pillow counts the width first
        resized = Image.fromarray(image).resize(wide, Image.Resampling.BILINEAR)
        cut = np.asarray(resized, dtype=np.float32)[top : top + h, left : left + w]
        return np.ascontiguousarray(cut.transpose(2, 0, 1)) / np.float32(255)

    def restore(self, maps: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, "n _ _"]:
        """Put maps of the cut back where it was in the whole frame.

        What lies outside the cut was not looked at; it gets each map's smallest value.
        """
        if self.resize is None or self.resize == self.size:
            return maps
        (top, left), (h, w) = self.corner, self.size
        low = maps.min(axis=(1, 2))[:, None, None]
        whole = np.broadcast_to(low, (len(maps), *self.resize)).copy()
        whole[:, top : top + h, left : left + w] = maps
        return whole
