"""The pixel metrics of one category under a protocol: exact, or from a few thresholds.

Some projects read their curves off at equal steps, of the score or of the rank; their rules are
here so that their numbers can be compared. The exact metrics use every score and need no steps.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from adlib.metrics.protocol import EvaluationProtocol, prepare
from adlib.metrics.ranking import Totals, precision_trapezoid
from adlib.metrics.regions import Pixels, check_stack, overlap, split_pixels, weighted_ranks


def score_maps(
    maps: Float[np.ndarray, "n h w"],
    masks: Bool[np.ndarray, "n h w"],
    *,
    protocol: EvaluationProtocol | None = None,
    names: Sequence[str] | None = None,
    prepared: bool = False,
    roi: Bool[np.ndarray, "h2 w2"] | None = None,
) -> dict[str, float]:
    """The pixel-level metrics of one category.

    Args:
        maps: n maps of scores on any scale, larger for more anomalous; they cover the whole image.
        masks: True where a pixel is defective.
        protocol: Crops, resizes and smooths both first, then chooses the rules of the metrics.
            Defaults to none of the three, 8 neighbours, limit 0.3 and all thresholds.
        names: Names of the images, for an error.
        prepared: `prepare_maps` and `prepare_mask` have been applied already; only the rules of the
            metrics are taken from the protocol.
        roi: Of the size of prepared maps; pixels where it is False are left out. Defaults to all.
    Returns:
        {"auroc", "ap", "f1_max", "f1_threshold", "aupro"}: fractions in [0, 1], and the score from
        which on a pixel is called defective for the best F1.
    Raises:
        ValueError: No defective or no normal pixel, or a score that is not finite.
        TypeError: Masks that are not bool, or maps of integers.
    """
    protocol = protocol or EvaluationProtocol()
    check_stack(maps, masks)
    if not prepared:
        maps, masks = prepare(maps, masks, protocol)
    pixels = split_pixels(maps, masks, protocol.connectivity, names, roi)
    total = Totals(len(pixels.anomalous), len(pixels.normal))
    area = 0.0
    for r, weight in weighted_ranks(pixels):
        total.add(r)
        area += overlap(r, weight, total.normal, protocol.aupro_limit)
    scores = total.metrics() | {"aupro": area / protocol.aupro_limit}
    if protocol.binned_ranking:
        scores["auroc"], scores["ap"] = strip_auroc_ap(pixels, protocol.steps)
    elif protocol.ap_form == "trapezoid":
        scores["ap"] = precision_trapezoid(pixels.normal, pixels.anomalous)
    if protocol.thresholds != "all":
        scores["aupro"] = stepped_aupro(pixels, protocol)
    return scores


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


def stepped_aupro(pixels: Pixels, protocol: EvaluationProtocol) -> float:
    """AUPRO from a curve read off at the protocol's thresholds, by its `thresholds` and end.

    - score, rescale: `steps` thresholds from the lowest score up, score > threshold; only points
      with a rate below the limit count, and the rate is divided by the largest of them (Dinomaly).
    - score, interpolate: `steps` strips, score >= threshold (adeval).
    - rank: thresholds at equal steps through the sorted normal pixels, score > threshold (MVTec).

    Raises:
        ValueError: Fewer than two thresholds have a false-positive rate below the limit.
    """
    n, steps, limit = len(pixels.normal), protocol.steps, protocol.aupro_limit
    rescale = protocol.aupro_end == "rescale"
    if protocol.thresholds == "rank":
        place = np.linspace(0, n - 1, num=steps, dtype=int)
        # The rate follows from the place, also where normal pixels tie.
        fpr, pro = 1 - (place + 1) / n, _overlap(pixels, pixels.normal[place], "right")
        fpr, pro = np.append(1.0, fpr), np.append(1.0, pro)
    else:
        grid = strips(pixels, steps)
        if rescale:
            grid = np.arange(grid[0], grid[-1], (grid[-1] - grid[0]) / steps)
        side = "right" if rescale else "left"
        fpr = 1 - np.searchsorted(pixels.normal, grid, side) / n
        pro = _overlap(pixels, grid, side)
    fpr, pro = fpr[::-1], pro[::-1]  # rising rate
    below = fpr < limit if rescale else fpr <= limit
    if below.sum() < 2 or fpr[below][-1] == 0:
        raise ValueError(
            f"too few of {steps} thresholds by {protocol.thresholds} have a false-positive rate "
            f"< {limit}"
        )
    if rescale:
        return float(np.trapezoid(pro[below], fpr[below] / fpr[below][-1]))
    x = np.append(fpr[below], limit)
    y = np.append(pro[below], np.interp(limit, fpr, pro))
    return float(np.trapezoid(y, x)) / limit


def _overlap(
    pixels: Pixels, thresholds: Float[np.ndarray, " k"], side: Literal["left", "right"]
) -> Float[np.ndarray, " k"]:
    """PRO at each threshold: score >= threshold ("left") or score > threshold ("right")."""
    missed = np.append(0, np.cumsum(pixels.share[pixels.region]))
    share = 1 - missed[np.searchsorted(pixels.anomalous, thresholds, side)]
    return np.maximum(share, 0.0)  # below which rounding takes it
