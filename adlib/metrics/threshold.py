"""From scores to decisions: thresholds that promise a false-alarm rate, and one heat-map scale.

Both come from held-out *normal* images only, never from a defect or the test set.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

DEFAULT_RATE = 0.01  # false alarms that are accepted among normal images; ours


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Scores and map levels of held-out normal images.

    Args:
        scores: Image scores of the held-out normal images, by category.
        low: Median pixel of their maps: the cold end of the heat map.
        high: The hot end: twice as far from `low` as their 99.9th percentile pixel is, so that a
            normal image stays in the lower half of the colours.
        peaks: The largest pixel of each of their maps, by category; empty in runs of an older
            adlib.
    """

    scores: dict[str, list[float]] = field(default_factory=dict)
    low: float = 0.0
    high: float = 1.0
    peaks: dict[str, list[float]] = field(default_factory=dict)

    def pool(self, category: str | None = None) -> list[float]:
        """The scores of a category, or of all when it is None."""
        return _pooled(self.scores, category)

    def pixel_threshold(
        self, rate: float = DEFAULT_RATE, category: str | None = None
    ) -> float | None:
        """Return the map value above which a pixel is called defective; None without `peaks`.

        It is the `threshold` of the maps' largest pixels: a new normal image shows a defective
        pixel, and so a false region, with probability at most `rate`, or 1 / (n + 1) if larger.
        """
        if not self.peaks:
            return None
        return Calibration(scores=self.peaks).threshold(rate, category)

    def threshold(self, rate: float = DEFAULT_RATE, category: str | None = None) -> float:
        """Return the score above which an image is called defective.

        With n held-out scores the k-th smallest, k = ceil((n + 1)(1 - rate)), is exceeded by a new
        normal image with probability at most `rate`. When n is too small for that (k > n) it is
        the largest score; `expected_rate` says what that promises. Equation :eq:`eq-threshold`,
        chapter 1.

        Source: split conformal prediction (Vovk et al. 2005), for exchangeable images.
        """
        if not 0 < rate < 1:
            raise ValueError(f"the false-alarm rate must lie in (0, 1), got {rate}")
        scores = self.pool(category)
        if not scores:
            raise ValueError("no held-out normal scores, so there is no threshold; fit with more")
        return scores[_rank(len(scores), rate) - 1]

    def expected_rate(self, rate: float = DEFAULT_RATE, category: str | None = None) -> float:
        """The false-alarm rate that `threshold` can promise: `rate`, or 1 / (n + 1) if larger."""
        return max(rate, 1 / (len(self.pool(category)) + 1))

    def rate_interval(
        self, rate: float = DEFAULT_RATE, category: str | None = None, level: float = 0.9
    ) -> tuple[float, float]:
        """Return where the false-alarm rate of this one threshold lies, with probability `level`.

        `expected_rate` is the mean over many draws of n held-out images. The share of new normal
        images above the k-th smallest of n scores follows Beta(n + 1 - k, k) for independent
        images, whatever continuous distribution their scores have; ties only lower it. The interval
        leaves equally much out at both ends; level 0.9 is ours.

        Raises:
            ValueError: A rate or level outside (0, 1), or no held-out scores.
        Source: order statistics; for conformal thresholds Vovk, Machine Learning 92 (2013).
        """
        from scipy.special import betaincinv  # the quantile; scipy.stats takes long to import

        if not 0 < level < 1:
            raise ValueError(f"the level must lie in (0, 1), got {level}")
        self.threshold(rate, category)  # refuses what has no threshold
        n = len(self.pool(category))
        k = _rank(n, rate)
        low, high = betaincinv(n + 1 - k, k, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def _pooled(scores: dict[str, list[float]], category: str | None) -> list[float]:
    if category is None:
        return sorted(s for some in scores.values() for s in some)
    if category not in scores:
        known = ", ".join(scores)
        raise ValueError(f"no threshold for category {category!r}; the run has seen {known}")
    return sorted(scores[category])


def _rank(n: int, rate: float) -> int:
    """Which of n scores, counted from the smallest as 1, is the threshold."""
    return min(math.ceil((n + 1) * (1 - rate)), n)


def calibrate(
    scores: Float[np.ndarray, " n"], categories: list[str], maps: Iterable[Float[np.ndarray, "_ _"]]
) -> Calibration:
    """Calibrate on n held-out normal images: their scores, categories and maps."""
    by_category: dict[str, list[float]] = {c: [] for c in sorted(set(categories))}
    peaks: dict[str, list[float]] = {c: [] for c in by_category}
    for score, category, heat in zip(scores.tolist(), categories, maps, strict=True):
        by_category[category].append(score)
        peaks[category].append(float(heat.max()))
    pixels = np.concatenate([heat.ravel() for heat in maps])
    low, top = (float(q) for q in np.quantile(pixels, [0.5, 0.999]))
    high = low + 2 * max(top - low, 1e-6)
    return Calibration(scores=by_category, low=low, high=high, peaks=peaks)
