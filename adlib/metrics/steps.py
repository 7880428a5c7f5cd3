"""Metrics from a few thresholds, as other projects compute them: for comparison with their numbers.

Each rule below reads a curve off at equal steps, of the score or of the rank; the exact metrics of
`ranking` and `regions` use every score and need no steps.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float

from adlib.metrics.regions import Pixels


def strips(pixels: Pixels, steps: int) -> Float[np.ndarray, " k"]:
    """Thresholds at equal steps from the lowest to the highest score."""
    low = min(pixels.normal[0], pixels.anomalous[0])
    high = max(pixels.normal[-1], pixels.anomalous[-1])
    return np.linspace(0, 1, steps + 1, dtype=np.float32) * (high - low) + low


def strip_auroc_ap(pixels: Pixels, steps: int) -> tuple[float, float]:
    """AUROC and AP by trapezoids over strips of equal score, decided by score >= threshold.

    Source: the rule of the package adeval 1.1.0 (mem_effic); INP-Former calls it with 200 strips.
    """
    grid = strips(pixels, steps)
    alarms = len(pixels.normal) - np.searchsorted(pixels.normal, grid)
    hits = len(pixels.anomalous) - np.searchsorted(pixels.anomalous, grid)
    called = hits + alarms
    precision = np.divide(hits, called, out=np.ones(len(grid)), where=called > 0)
    recall, fpr = hits / len(pixels.anomalous), alarms / len(pixels.normal)
    return -float(np.trapezoid(recall, fpr)), -float(np.trapezoid(precision, recall))


def stepped_aupro(
    pixels: Pixels,
    thresholds: Literal["score", "rank"],
    steps: int,
    end: Literal["interpolate", "rescale"],
    limit: float,
) -> float:
    """AUPRO from a curve read off at `steps` thresholds.

    - score, rescale: `steps` thresholds from the lowest score up, score > threshold; only points
      with a rate below the limit count, and the rate is divided by the largest of them (Dinomaly).
    - score, interpolate: `steps` strips, score >= threshold (adeval).
    - rank: thresholds at equal steps through the sorted normal pixels, score > threshold (MVTec).

    Raises:
        ValueError: Fewer than two thresholds have a false-positive rate below the limit.
    """
    n = len(pixels.normal)
    if thresholds == "rank":
        place = np.linspace(0, n - 1, num=steps, dtype=int)
        # The rate follows from the place, also where normal pixels tie.
        fpr, pro = 1 - (place + 1) / n, _overlap(pixels, pixels.normal[place], "right")
        fpr, pro = np.append(1.0, fpr), np.append(1.0, pro)
    elif end == "interpolate":
        grid = strips(pixels, steps)
        fpr, pro = 1 - np.searchsorted(pixels.normal, grid) / n, _overlap(pixels, grid, "left")
    else:
        grid = strips(pixels, steps)
        grid = np.arange(grid[0], grid[-1], (grid[-1] - grid[0]) / steps)
        fpr = 1 - np.searchsorted(pixels.normal, grid, "right") / n
        pro = _overlap(pixels, grid, "right")
    fpr, pro = fpr[::-1], pro[::-1]  # rising rate
    below = fpr < limit if end == "rescale" else fpr <= limit
    if below.sum() < 2 or fpr[below][-1] == 0:
        raise ValueError(
            f"too few of {steps} thresholds by {thresholds} have a false-positive rate < {limit}"
        )
    if end == "rescale":
        return float(np.trapezoid(pro[below], fpr[below] / fpr[below][-1]))
    x = np.append(fpr[below], limit)
    y = np.append(pro[below], np.interp(limit, fpr, pro))
    return float(np.trapezoid(y, x)) / limit


def _overlap(
    pixels: Pixels, thresholds: Float[np.ndarray, " k"], side: Literal["left", "right"]
) -> Float[np.ndarray, " k"]:
    """PRO at each threshold: score >= threshold ("left") or score > threshold ("right")."""
    missed = np.append(0, np.cumsum(pixels.share[pixels.region]))
    return 1 - missed[np.searchsorted(pixels.anomalous, thresholds, side)]
