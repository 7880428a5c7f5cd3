"""Which patches are normal and which anomalous, and how far apart their distances are.

Rules as in the pilot of this reconstruction, so ours: a patch is normal when nothing in it is
defect, wherever its image comes from, and anomalous when at least a tenth of its area is.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from adlib.data.dataset import ImageDataset
from adlib.data.transform import ImageTransform
from adlib.metrics import auroc

ANOMALOUS = 0.1  # share of a patch's area that is defect, from which on it counts; ours
ROUNDING = 1e-6  # distances and shares below this are rounding


class Separation(NamedTuple):
    """How far apart normal and anomalous patches are; None where it is undefined.

    Equation :eq:`eq-separation`, chapter 4.
    """

    d_normal: float | None  #: mean distance of normal patches
    d_anomalous: float | None  #: and of anomalous ones
    ratio: float | None  #: d_anomalous / d_normal; None if d_normal is rounding only
    gap: float | None  #: d_anomalous - d_normal
    z: float | None  #: gap over the standard deviation of d on normal patches
    auroc: float | None  #: probability that an anomalous patch is farther than a normal one
    normal_patches: int  #: how many there were
    anomalous_patches: int  #: and of these


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
    return Separation(d_n, d_a, ratio, gap, z, ranked, len(normal), len(anomalous))


def defect_shares(
    mask: Bool[np.ndarray, "_ _"], frame: ImageTransform, grid: tuple[int, int]
) -> Float[np.ndarray, " tokens"]:
    """Return the share of each patch's area that is defect, exactly, patches row by row.

    Args:
        mask: Of an image, at the image's own size.
        frame: How the image becomes input.
        grid: Rows and columns of patches, which fill the frame.
    """
    outer = frame.resize or frame.size

    def overlap(axis: int) -> Float[np.ndarray, "patches pixels"]:
        side, pixel = frame.size[axis] / grid[axis], np.arange(mask.shape[axis])
        edge = frame.corner[axis] + side * np.arange(grid[axis] + 1)[:, None]
        edge = edge * (mask.shape[axis] / outer[axis])  # in the image's pixels
        length = np.minimum(edge[1:], pixel + 1) - np.maximum(edge[:-1], pixel)
        return length.clip(min=0) / (edge[1] - edge[0])

    return (overlap(0) @ mask @ overlap(1).T).ravel()


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
            share = torch.from_numpy(defect_shares(mask, frame, grid))
            normal[i], anomalous[i] = share < ROUNDING, share > ANOMALOUS - ROUNDING
    return normal, anomalous
