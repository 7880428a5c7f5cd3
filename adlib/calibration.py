"""From scores to decisions: thresholds that promise a false-alarm rate, and one heat-map scale.

Both come from held-out *normal* images only, never from a defect and never from the test set.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

DEFAULT_RATE = 0.01  # false alarms that are accepted among normal images; ours


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What held-out normal images said.

    Args:
        scores: Image scores of the held-out normal images, by category.
        low: Median pixel of their maps: the cold end of the heat map.
        high: The hot end: twice as far from `low` as their 99.9th percentile pixel is, so that a
            normal image stays in the lower half of the colours.
    """

    scores: dict[str, list[float]] = field(default_factory=dict)
    low: float = 0.0
    high: float = 1.0

    def pool(self, category: str | None = None) -> list[float]:
        """The scores of a category, or of all when it is None."""
        if category is None:
            return sorted(s for scores in self.scores.values() for s in scores)
        if category not in self.scores:
            known = ", ".join(self.scores)
            raise ValueError(f"no threshold for category {category!r}; the run has seen {known}")
        return sorted(self.scores[category])

    def threshold(self, rate: float = DEFAULT_RATE, category: str | None = None) -> float:
        """Return the score above which an image is called defective.

        With n held-out scores the k-th smallest, k = ceil((n + 1)(1 - rate)), is exceeded by a new
        normal image with probability at most `rate`. When n is too small for that (k > n) it is
        the largest score; `expected_rate` says what that promises.

        Source: split conformal prediction (Vovk et al. 2005), for exchangeable images.
        """
        if not 0 < rate < 1:
            raise ValueError(f"the false-alarm rate must lie in (0, 1), got {rate}")
        scores = self.pool(category)
        if not scores:
            raise ValueError("no held-out normal scores, so there is no threshold; fit with more")
        k = math.ceil((len(scores) + 1) * (1 - rate))
        return scores[min(k, len(scores)) - 1]

    def expected_rate(self, rate: float = DEFAULT_RATE, category: str | None = None) -> float:
        """The false-alarm rate that `threshold` can promise: `rate`, or 1 / (n + 1) if larger."""
        return max(rate, 1 / (len(self.pool(category)) + 1))


def calibrate(
    scores: Float[np.ndarray, " n"], categories: list[str], maps: Float[np.ndarray, "n h w"]
) -> Calibration:
    """Calibrate on n held-out normal images: their scores, categories and maps."""
    by_category: dict[str, list[float]] = {c: [] for c in sorted(set(categories))}
    for score, category in zip(scores.tolist(), categories, strict=True):
        by_category[category].append(score)
    low, top = (float(q) for q in np.quantile(maps, [0.5, 0.999]))
    return Calibration(scores=by_category, low=low, high=low + 2 * max(top - low, 1e-6))
