"""The pixel metrics of one category, exact, under a protocol."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from adlib.metrics.protocol import EvaluationProtocol, prepare_maps, prepare_mask
from adlib.metrics.ranking import Totals, precision_trapezoid
from adlib.metrics.regions import check_stack, overlap, split_pixels, weighted_ranks
from adlib.metrics.steps import stepped_aupro, strip_auroc_ap


def score_maps(
    maps: Float[np.ndarray, "n h w"],
    masks: Bool[np.ndarray, "n h w"],
    *,
    protocol: EvaluationProtocol | None = None,
    names: Sequence[str] | None = None,
    prepared: bool = False,
) -> dict[str, float]:
    """The pixel-level metrics of one category.

    Args:
        maps: n maps of scores on any scale, larger for more anomalous; they cover the whole image.
        masks: True where a pixel is defective.
        protocol: Crops, resizes and smooths both first, then chooses the rules of the metrics; None
            takes them as they are, with 8 neighbours, limit 0.3 and all thresholds.
        names: What to call the images in an error.
        prepared: `prepare_maps` and `prepare_mask` have been applied already; only the rules of the
            metrics are taken from the protocol.
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
        maps = prepare_maps(maps, protocol)
        masks = np.stack([prepare_mask(mask, protocol) for mask in masks])
    pixels = split_pixels(maps, masks, protocol.connectivity, names)
    total = Totals(len(pixels.anomalous), len(pixels.normal))
    area = 0.0
    for r, weight in weighted_ranks(pixels):
        total.add(r)
        area += overlap(r, weight, total.normal, protocol.aupro_limit)
    scores = total.metrics() | {"aupro": area / protocol.aupro_limit}
    if protocol.ap_form == "trapezoid" and not protocol.binned_ranking:
        scores["ap"] = precision_trapezoid(pixels.normal, pixels.anomalous)
    if protocol.binned_ranking:
        scores["auroc"], scores["ap"] = strip_auroc_ap(pixels, protocol.steps)
    if protocol.thresholds != "all":
        scores["aupro"] = stepped_aupro(
            pixels, protocol.thresholds, protocol.steps, protocol.aupro_end, protocol.aupro_limit
        )
    return scores
