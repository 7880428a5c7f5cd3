"""Which patches are normal and which anomalous, and how far apart their distances are.

Rules as in the pilot of this reconstruction, so ours: a patch is normal when nothing in it is
defect, wherever its image comes from, and anomalous when at least a tenth of its area is.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from adlib.data.dataset import ImageDataset
from adlib.data.transform import ImageTransform
from adlib.metrics import auroc

ANOMALOUS = 0.1  # share of a patch's area that is defect, from which on it counts; ours
ROUNDING = 1e-6  # distances and shares below this are rounding


@dataclass(frozen=True, kw_only=True)
class Separation:
    """How far apart normal and anomalous patches are; None where it is undefined.

    Equation :eq:`eq-separation`, chapter 4.

    Attributes:
        d_normal: Mean distance of normal patches.
        d_anomalous: And of anomalous ones.
        ratio: d_anomalous / d_normal; None if d_normal is rounding only.
        gap: d_anomalous - d_normal.
        z: Gap over the standard deviation of d on normal patches.
        auroc: Probability that an anomalous patch is farther than a normal one.
        normal_patches: How many there were.
        anomalous_patches: And of these.
    """

    d_normal: float | None
    d_anomalous: float | None
    ratio: float | None
    gap: float | None
    z: float | None
    auroc: float | None
    normal_patches: int
    anomalous_patches: int


def separation(normal: Float[np.ndarray, " n"], anomalous: Float[np.ndarray, " k"]) -> Separation:
    """Compare the distances of n normal and k anomalous patches; either may be 0."""
    d_n = float(normal.mean(dtype=np.float64)) if len(normal) else None
    d_a = float(anomalous.mean(dtype=np.float64)) if len(anomalous) else None
    ratio = gap = z = ranked = None
    if d_n is not None and d_a is not None:
        std, gap = float(normal.std(dtype=np.float64)), d_a - d_n
        ratio = d_a / d_n if d_n > ROUNDING else None
        z = gap / std if std > ROUNDING else None
        labels = np.arange(len(normal) + len(anomalous)) >= len(normal)
        ranked = auroc(np.concatenate([normal, anomalous]), labels)
    return Separation(
        d_normal=d_n, d_anomalous=d_a, ratio=ratio, gap=gap, z=z, auroc=ranked,
        normal_patches=len(normal), anomalous_patches=len(anomalous),
    )  # fmt: skip


def defect_shares(
    masks: Bool[Tensor, "n h w"] | Float[Tensor, "n h w"], grid: tuple[int, int]
) -> Float[Tensor, "n tokens"]:
    """Return the share of each patch's area that is defect, patches row by row.

    Args:
        masks: At the frame's size: flags, or the share of each pixel that is defect.
        grid: Rows and columns of patches.
    Raises:
        ValueError: The patches do not tile the masks.
    """
    (h, w), (rows, columns) = masks.shape[1:], grid
    if h % rows or w % columns:
        raise ValueError(f"a grid of {rows} x {columns} patches does not tile masks of {h} x {w}")
    patches = masks.float().unflatten(2, (columns, -1)).unflatten(1, (rows, -1))
    return patches.mean(dim=(2, 4)).flatten(1)  # of n rows height columns width


def framed(mask: Bool[np.ndarray, "_ _"], frame: ImageTransform) -> Float[np.ndarray, "h w"]:
    """Return the share of each pixel of the frame that is defect, exactly."""
    outer, (top, left) = frame.resize or frame.size, frame.corner

    def overlap(new: int, old: int) -> Float[np.ndarray, "new old"]:
        edge, pixel = np.arange(new + 1)[:, None] * (old / new), np.arange(old)
        length = np.minimum(edge[1:], pixel + 1) - np.maximum(edge[:-1], pixel)
        return length.clip(min=0) * (new / old)

    whole = overlap(outer[0], mask.shape[0]) @ mask @ overlap(outer[1], mask.shape[1]).T
    return whole[top : top + frame.size[0], left : left + frame.size[1]]


def patch_classes(
    images: ImageDataset, frame: ImageTransform, grid: tuple[int, int]
) -> tuple[Bool[Tensor, "n tokens"], Bool[Tensor, "n tokens"]]:
    """Return which patches are normal (no defect in them) and which anomalous (10 % or more).

    Those in between are neither, nor is any patch of a defective image without a mask.
    """
    normal = torch.ones(len(images), grid[0] * grid[1], dtype=torch.bool)
    anomalous = ~normal
    for i in np.flatnonzero(images.labels).tolist():
        mask = images[i].mask
        normal[i] = False
        if mask is not None:
            share = defect_shares(torch.from_numpy(framed(mask, frame)[None]), grid)[0]
            normal[i], anomalous[i] = share < ROUNDING, share > ANOMALOUS - ROUNDING
    return normal, anomalous
