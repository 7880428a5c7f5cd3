"""What the threshold of a trained method does to test images: false alarms and missed defects."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from adlib.data.dataset import GOOD, ImageRef
from adlib.metrics.threshold import DEFAULT_RATE, Calibration

LEVEL = 0.95  # of the intervals
DIGITS = 6  # of an interval's end in a record


def decisions(
    scores: Float[np.ndarray, " n"], images: Sequence[ImageRef], calibration: Calibration
) -> dict[str, Any] | None:
    """Count the decisions on n test images at the threshold that `predict` takes by default.

    Args:
        scores: Image scores as `predict` gives them.
        images: Their references.
        calibration: Of the method.
    Returns:
        `rate`, the accepted false alarms; `categories`, a `decision_row` each, at the category's
        own threshold if the calibration knows it, else at the pooled one; and `pooled`, a row of
        all images at the pooled one. `promised` is the expected rate of false alarms; where
        labelled defects set the threshold it is None, and `miss_promised` the expected rate of
        misses. None without a held-out score.
    """
    if not calibration.pool():
        return None
    rows = {}
    for name in [*sorted({image.category for image in images}), None]:
        mine = [i for i, image in enumerate(images) if name in (None, image.category)]
        of = name if name in calibration.scores else None
        kinds, threshold = [images[i].defect for i in mine], calibration.threshold(category=of)
        row = decision_row(scores[mine], kinds, threshold)
        rows[name] = {"promised": calibration.expected_rate(category=of)} | row
        if (mirrored := calibration.mirrored(None, of)) and calibration.defects:
            miss = mirrored.expected_rate(calibration.defects.miss, of)
            rows[name] |= {"promised": None, "miss_promised": miss}
    return {"rate": DEFAULT_RATE, "pooled": rows.pop(None), "categories": rows}


def decision_row(
    scores: Float[np.ndarray, " n"], kinds: Sequence[str], threshold: float
) -> dict[str, Any]:
    """Count the decisions "defective when the score is above the threshold" on n images.

    Args:
        scores: One an image.
        kinds: The kind of defect of each image, "good" where it has none.
        threshold: From `Calibration`.
    Returns:
        Counts and rates, each rate with its 95 % `_interval` over the choice of images. `kinds`
        has how many of each kind of defect were `missed`, if there are several.
        `threshold_at_95` is the highest score from which on 95 % of the defects lie, and
        `false_alarm_rate_at_95` the share of good images from there on. The test picks that
        threshold, so that they tell of the order alone. A rate of no image is None.
    Source: Clopper and Pearson, Biometrika 26 (1934), the exact interval of a binomial share.
    """
    from scipy.stats import binomtest

    labels = np.array([kind != GOOD for kind in kinds], bool)
    good, bad = scores[~labels], np.sort(scores[labels])
    alarms, found = int((good > threshold).sum()), int((bad > threshold).sum())
    row: dict[str, Any] = {"threshold": threshold, "good": len(good), "defective": len(bad)}
    row |= {"false_alarms": alarms, "missed": len(bad) - found}
    shares = {
        "false_alarm_rate": (alarms, len(good)),
        "detection_rate": (found, len(bad)),
        "precision": (found, found + alarms),
    }
    for name, (k, n) in shares.items():
        ends = binomtest(k, n).proportion_ci(LEVEL, method="exact") if n else None
        row[name] = k / n if n else None
        row[f"{name}_interval"] = ends and [round(float(end), DIGITS) for end in ends]
    of = Counter(kind for kind in kinds if kind != GOOD)
    missed = Counter(kind for kind, score in zip(kinds, scores, strict=True) if score <= threshold)
    each = {kind: {"missed": missed[kind], "of": of[kind]} for kind in sorted(of)}
    row["kinds"] = each if len(each) > 1 else {}
    start = float(bad[len(bad) // 20]) if len(bad) else None  # one in twenty may lie below
    rate = float((good >= start).mean()) if start is not None and len(good) else None
    return row | {"threshold_at_95": start, "false_alarm_rate_at_95": rate}
