"""From scores to decisions: thresholds that promise a rate of false alarms or misses, and scales.

False alarms are promised by held-out *normal* images; heat-map scales come from them, too. Misses
are promised by labelled defects, where there are some, which then must not test.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

DEFAULT_RATE = 0.01  # false alarms that are accepted among normal images; ours


@dataclass(frozen=True, kw_only=True)
class LabelledDefects:
    """Scores of defects that set the threshold in place of a false-alarm rate.

    Args:
        miss: Accepted share of defects like these that are missed.
        scores: Image scores of the defects, by category.
        prints: Their fingerprints in hex, so that they are not tested on.
    """

    miss: float
    scores: dict[str, list[float]]
    prints: list[str]


@dataclass(frozen=True, kw_only=True)
class Levels:
    """What makes a verdict and a picture of an image's score and map."""

    threshold: float  #: above it an image is called defective
    scale: tuple[float, float]  #: cold and hot end of the heat map
    pixel_threshold: float | None = None  #: above it a pixel is called defective
    category: str | None = None  #: whose they are; None for all together


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
        scales: `low` and `high` of each category's own maps; empty in runs of an older adlib.
        defects: Labelled defects that set the threshold where no false-alarm rate is asked for.
    """

    scores: dict[str, list[float]] = field(default_factory=dict)
    low: float = 0.0
    high: float = 1.0
    peaks: dict[str, list[float]] = field(default_factory=dict)
    scales: dict[str, tuple[float, float]] = field(default_factory=dict)
    defects: LabelledDefects | None = None

    def levels(self, rate: float | None = None, category: str | None = None) -> Levels:
        """The levels of a category, or of all; an older run has one heat-map scale for all."""
        return Levels(
            threshold=self.threshold(rate, category),
            scale=self.scales.get(category or "", (self.low, self.high)),
            pixel_threshold=self.pixel_threshold(rate, category),
            category=category,
        )

    def mirrored(self, rate: float | None, category: str | None = None) -> "Calibration | None":
        """Return the labelled defects that set the threshold, with negated scores, or None.

        They do so where no `rate` is asked for and some of the category (or any, if it is None) are
        known. Negated, a missed defect is what a false alarm is: its score is above the threshold.
        So `expected_rate` and `rate_interval` of `defects.miss` are those of misses.
        """
        known = self.defects
        if rate is not None or known is None or category not in (None, *known.scores):
            return None
        return Calibration(scores={c: [-s for s in some] for c, some in known.scores.items()})

    def pool(self, category: str | None = None) -> list[float]:
        """The scores of a category, or of all when it is None."""
        return _pooled(self.scores, category)

    def pixel_threshold(
        self, rate: float | None = None, category: str | None = None
    ) -> float | None:
        """Return the map value above which a pixel is called defective; None without `peaks`.

        It is the `threshold` of the maps' largest pixels: a new normal image shows a defective
        pixel, and so a false region, with probability at most `rate`, or 1 / (n + 1) if larger.
        Labelled defects do not move it: few say where in the image they are.
        """
        if not self.peaks:
            return None
        return Calibration(scores=self.peaks).threshold(rate, category)

    def threshold(self, rate: float | None = None, category: str | None = None) -> float:
        """Return the score above which an image is called defective.

        With n held-out scores the k-th smallest, k = ceil((n + 1)(1 - rate)), is exceeded by a new
        normal image with probability at most `rate`. When n is too small for that (k > n) it is
        the largest score; `expected_rate` says what that promises. Equation :eq:`eq-threshold`,
        chapter 1.

        Without a rate it is just below the k-th smallest score of m labelled defects, k =
        floor((m + 1) miss) or 1 if that is 0, where there are some; else the rate is
        `DEFAULT_RATE`. A new defect like them is missed with probability at most `miss`, or
        1 / (m + 1) if larger: it is the same rule, `mirrored`.

        Source: split conformal prediction (Vovk et al. 2005), for exchangeable images.
        """
        if (mirrored := self.mirrored(rate, category)) and self.defects:
            lowest = np.float32(-mirrored.threshold(self.defects.miss, category))
            return float(np.nextafter(lowest, np.float32("-inf")))  # called defective, if equal
        rate = DEFAULT_RATE if rate is None else rate
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
    low, high = _scale(maps)
    own = {c: [heat for heat, name in zip(maps, categories, strict=True) if name == c]
           for c in by_category}  # fmt: skip
    scales = {c: _scale(some) for c, some in own.items()}
    return Calibration(scores=by_category, low=low, high=high, peaks=peaks, scales=scales)


def _scale(maps: Iterable[Float[np.ndarray, "_ _"]]) -> tuple[float, float]:
    pixels = np.concatenate([heat.ravel() for heat in maps])
    low, top = (float(q) for q in np.quantile(pixels, [0.5, 0.999]))
    return low, low + 2 * max(top - low, 1e-6)
