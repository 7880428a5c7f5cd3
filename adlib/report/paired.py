"""Two arms side by side: on the same seeds, the same categories, the same images.

Three questions, three sources of chance. *Seeds*: would other seeds give the same order on these
images? *Categories*: would other categories? *Images*: would other images of these categories? An
answer to one is none to another.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from jaxtyping import Float

from adlib.report.images import Draws
from adlib.report.records import Section
from adlib.report.summary import LEVEL, interval

ALPHA = 1 - LEVEL
FLIPS = 9_999  # sign flips drawn where all are more; ours, an error of p below 0.005 at 0.05
ALL_PAIRS = 6  # arms up to which each is compared with each, not only with one; ours


@dataclass(frozen=True)
class Gap:
    """Mean difference, its interval, how many pairs it rests on, and a two-sided p-value.

    `compare` adjusts the p-value for how many pairs were compared; the interval is of this one.
    """

    mean: float
    low: float
    high: float
    n: int
    p: float

    @property
    def significant(self) -> bool:
        """Whether so large a difference would be rare by chance alone."""
        return self.p <= ALPHA


@dataclass(frozen=True)
class Pair:
    """First minus second in one metric, by each source of chance that the records allow."""

    first: str
    second: str
    metric: str
    seeds: Gap | None
    categories: Gap | None
    images: Gap | None


def over_seeds(section: Section, first: str, second: str, metric: str) -> Gap | None:
    """Student's t on the differences of equal seeds, in the mean over categories.

    Returns:
        None unless two seeds are in common: one seed has no spread.
    Source: as `adlib.report.summary.interval`.
    """
    from scipy.stats import t

    one, other = (
        {
            run.seed: value
            for run, value in zip(section.of(arm), section.means(arm, metric), strict=True)
            if not np.isnan(value)
        }
        for arm in (first, second)
    )
    gaps = np.array([one[seed] - other[seed] for seed in one if seed in other])
    if len(gaps) < 2:
        return None
    mean, low, high, n = interval(gaps)
    error = (high - mean) / float(t.ppf((1 + LEVEL) / 2, n - 1))
    if error <= abs(mean) * 1e-12:  # equal differences, up to rounding
        return Gap(mean, low, high, n, float(mean == 0))
    return Gap(mean, low, high, n, float(2 * t.sf(abs(mean) / error, n - 1)))


def over_categories(section: Section, first: str, second: str, metric: str) -> Gap | None:
    """Test the categories' differences (of means over common seeds) by flipping their signs.

    With n categories no p-value lies below 2 / 2^n, so four or five decide nothing at 0.05. The
    interval is Student's.

    Returns:
        None with fewer than two categories that both have.
    Source: Fisher, The Design of Experiments (1935), the permutation test for matched pairs.
    """
    from scipy.stats import permutation_test, t

    seeds = {run.seed for run in section.of(first)} & {run.seed for run in section.of(second)}
    one, other = (
        section.values(arm, metric)[[run.seed in seeds for run in section.of(arm)]]
        for arm in (first, second)
    )  # s c
    gaps = one.mean(axis=0) - other.mean(axis=0) if seeds else np.empty(0)
    gaps = gaps[~np.isnan(gaps)]
    if len(gaps) < 2:
        return None
    mean = float(gaps.mean())
    half = float(t.ppf((1 + LEVEL) / 2, len(gaps) - 1) * gaps.std(ddof=1) / np.sqrt(len(gaps)))
    p = permutation_test(
        (gaps,), np.mean, permutation_type="samples", vectorized=True, n_resamples=FLIPS,
        rng=np.random.default_rng(0),
    ).pvalue  # fmt: skip
    return Gap(mean, mean - half, mean + half, len(gaps), float(p))


def over_images(
    one: Float[np.ndarray, " r"], other: Float[np.ndarray, " r"], mean: float, images: int
) -> Gap:
    """Test a difference over draws of the test images, the same for both arms.

    The p-value is twice the share of draws in which the difference has the other sign.

    Args:
        one: The first arm's metric (mean over categories and seeds) in each of r draws.
        other: The second arm's, in the same draws.
        mean: The difference on all images.
        images: How many there are.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), the percentile interval.
    """
    gaps = one - other
    low, high = np.quantile(gaps, [ALPHA / 2, 1 - ALPHA / 2])
    against = min(int((gaps <= 0).sum()), int((gaps >= 0).sum()))
    p = min(1.0, (1 + 2 * against) / (1 + len(gaps)))
    return Gap(mean, float(low), float(high), images, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for how many tests were made, so that one false alarm stays unlikely.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    adjusted, least = [0.0] * len(p_values), 0.0
    for done, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - done) * p_values[i]))
        adjusted[i] = least
    return adjusted


def choose_pairs(arms: Sequence[str], against: str | None) -> list[tuple[str, str]]:
    """Each arm with each; with many arms, or where one is named, each with that one.

    Raises:
        ValueError: The named arm is not there.
    """
    if against is not None and against not in arms:
        raise ValueError(f"no runs of {against!r} to compare with; there are {', '.join(arms)}")
    if against is None and len(arms) <= ALL_PAIRS:
        return list(combinations(arms, 2))
    one = against or arms[0]
    return [(one, other) for other in arms if other != one]


def compare(
    section: Section,
    metrics: Iterable[str],
    *,
    against: str | None = None,
    draws: Mapping[str, Draws] | None = None,
) -> list[Pair]:
    """Compare the arms of a section two by two; p-values are adjusted within each metric.

    Args:
        section: Runs under one protocol on the same images.
        metrics: Their names.
        against: Compare with this arm only.
        draws: Of the test images, by arm, from `adlib.report.images.draw`.
    """
    drawn, present = draws or {}, section.ran()
    chosen = choose_pairs(present, against if against in present else None)
    found: list[Pair] = []
    for metric in metrics:
        pairs = []
        for names in chosen:
            seeds, images = over_seeds(section, *names, metric), None
            if all(name in drawn and metric in drawn[name].values for name in names):
                a, b = (drawn[name] for name in names)
                images = over_images(
                    a.values[metric], b.values[metric], a.exact[metric] - b.exact[metric], a.images
                )
            categories = over_categories(section, *names, metric)
            pairs.append(Pair(*names, metric, seeds, categories, images))
        found += _adjust(pairs)
    return [pair for pair in found if pair.seeds or pair.categories or pair.images]


def _adjust(pairs: list[Pair]) -> list[Pair]:
    for kind in ("seeds", "categories", "images"):
        tested = [(i, gap) for i, pair in enumerate(pairs) if (gap := getattr(pair, kind))]
        for (i, gap), p in zip(tested, holm([gap.p for _, gap in tested]), strict=True):
            pairs[i] = replace(pairs[i], **{kind: replace(gap, p=p)})
    return pairs
