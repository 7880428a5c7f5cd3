"""Large photographs as overlapping squares, and the squares' maps as one map of the photograph."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8

from adlib.data.dataset import ImageDataset, ImageRef, Sample
from adlib.data.image_io import read_header

CELLS = 64  # pixels of a joined map along a tile, where an encoder has 14 to 28 tokens; ours


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """Cut photographs into squares of `side` pixels that share at least `overlap` with the next.

    They lie evenly, the last of a row at the border. A photograph smaller than a square is taken
    whole along that axis. What is no longer than `overlap` lies whole in at least one square.
    """

    side: int
    overlap: int

    def corners(self, height: int, width: int) -> list[tuple[int, int]]:
        """Row and column at which each tile begins."""
        return [*product(self._starts(height), self._starts(width))]

    def _starts(self, length: int) -> list[int]:
        free = max(length - self.side, 0)
        steps = math.ceil(free / (self.side - self.overlap))
        return [round(i * free / steps) for i in range(steps + 1)] if steps else [0]

    def cut(self, image: UInt8[np.ndarray, "h w 3"]) -> list[UInt8[np.ndarray, "_ _ 3"]]:
        """Return the tiles, as views."""
        corners = self.corners(*image.shape[:2])
        return [image[y : y + self.side, x : x + self.side] for y, x in corners]

    def parts(
        self, mask: Bool[np.ndarray, "h2 w2"], height: int, width: int
    ) -> list[Bool[np.ndarray, "_ _"]]:
        """Return the tiles' parts of a mask of the whole photograph, whatever the mask's size."""
        (h, w), found = mask.shape, []
        for y, x in self.corners(height, width):
            bottom, right = min(y + self.side, height), min(x + self.side, width)
            rows = slice(y * h // height, -(-bottom * h // height))
            found.append(mask[rows, x * w // width : -(-right * w // width)])
        return found

    def join(
        self, maps: Float[np.ndarray, "k h w"], height: int, width: int
    ) -> Float[np.ndarray, "h2 w2"]:
        """Join the tiles' maps into one of the photograph, 64 pixels to the side of a tile.

        Where tiles overlap it is their mean, weighted by the distance to the tile's border: what
        a tile sees cut off counts least; ours.
        """
        scale = CELLS / self.side
        total = np.zeros((2, math.ceil(height * scale), math.ceil(width * scale)), np.float32)
        for heat, (y, x) in zip(maps, self.corners(height, width), strict=True):
            top, left = math.floor(y * scale), math.floor(x * scale)
            bottom = math.ceil(min(y + self.side, height) * scale)
            right = math.ceil(min(x + self.side, width) * scale)
            size = (bottom - top, right - left)
            small = F.adaptive_avg_pool2d(torch.from_numpy(heat)[None], size)[0].numpy()
            rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) + 1.0 for n in size)
            weight = np.minimum(rows[:, None], columns[None])
            total[:, top:bottom, left:right] += np.stack([weight * small, weight])
        return total[0] / total[1]


class Tiled(NamedTuple):
    """Where one photograph's tiles lie among the tiles of many."""

    rows: slice
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class TileRef(ImageRef):
    """A tile of an image: the image's index, and row and column of the tile there."""

    image: int
    corner: tuple[int, int]


class TiledImages(ImageDataset):
    """The tiles of images, one image after another, as images of their own.

    Args:
        images: The photographs; each is decoded once while its tiles are read in order.
        tiling: How they are cut.
    Attributes:
        photographs: Where the tiles of each lie.
    """

    def __init__(self, images: ImageDataset, tiling: Tiling) -> None:
        self.photographs = list[Tiled]()
        self._images, self._side = images, tiling.side
        self._last: tuple[int, Sample] | None = None
        tiles: list[TileRef] = []
        for i, reference in enumerate(images.references):
            known = Path(reference.path).is_file()
            height, width = read_header(reference.path)[:2] if known else images[i].image.shape[:2]
            start, corners = len(tiles), tiling.corners(height, width)
            tiles += [TileRef(**vars(reference), image=i, corner=corner) for corner in corners]
            self.photographs.append(Tiled(slice(start, len(tiles)), height, width))
        super().__init__(tiles, self._tile, self._mark)

    def rows(self, indices: Iterable[int]) -> list[int]:
        """The numbers of the tiles of some photographs."""
        each = (self.photographs[i].rows for i in indices)
        return [row for rows in each for row in range(rows.start, rows.stop)]

    def _tile(self, reference: Any) -> Sample:
        if self._last is None or self._last[0] != reference.image:
            self._last = (reference.image, self._images[reference.image])
        whole, (y, x) = self._last[1], reference.corner
        part = np.s_[y : y + self._side, x : x + self._side]
        mask = None if whole.mask is None else whole.mask[part]
        return replace(whole, image=whole.image[part], mask=mask)

    def _mark(self, reference: Any) -> bytes:
        whole = self._images.fingerprints[reference.image]
        return whole + repr((self._side, reference.corner)).encode()
