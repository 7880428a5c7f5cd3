"""Two arms side by side: on the same seeds, the same categories, the same images.

Three questions, three sources of chance. *Seeds*: would other seeds give the same order on these
images? *Categories*: would other categories? *Images*: would other images of these categories? An
answer to one is none to another.

Images can be drawn again where a record holds their scores: `adlib.evaluate(..., intervals=True)`
keeps them under `images`, as {CATEGORY: {"labels": [0, 1, ...], "scores": [0.1, 0.7, ...]}}.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from pandas import DataFrame
from scipy.special import stdtr, stdtrit

from adlib.metrics.uncertainty import drawn_metrics, image_rows
from adlib.report.published import METRICS
from adlib.report.records import Run, Section

LEVEL = 0.95  # of the intervals; ours
ALPHA = 1 - LEVEL
KINDS = ("seeds", "categories", "images")  # sources of chance
FLIPS = 9_999  # sign flips drawn where all are more; ours, an error of p below 0.005 at 0.05
ALL_PAIRS = 6  # arms up to which each is compared with each, not only with one; ours
RESAMPLES = 1_000  # ours: each end of a 95 % interval rests on 25 draws
LEVELS = 512  # distinct scores that are kept apart; ours: moves an interval by less than 1e-3
NEAR = 2e-3  # how far scores may land from the record's metric; ours, above what LEVELS costs


class Gap(NamedTuple):
    """Mean difference, its interval, how many pairs it rests on, and a two-sided p-value."""

    mean: float
    low: float
    high: float
    n: int
    p: float


class Draws(NamedTuple):
    """Image metrics of one arm in many draws of the test images: mean over categories and seeds."""

    values: dict[str, Float[np.ndarray, " r"]]
    exact: dict[str, float]  # on the images themselves
    images: int


def student(n: int) -> float:
    """How many standard errors a 95 % interval reaches to either side, of n values."""
    return float(stdtrit(n - 1, (1 + LEVEL) / 2))


def interval(gaps: Float[np.ndarray, " n"]) -> tuple[float, float, float, int]:
    """Mean of paired differences, the ends of its 95 % t-interval, and how many there are.

    With one difference the interval is unbounded.

    Source: Student's t on paired differences; that seeds are drawn at random is assumed.
    """
    mean, n = float(gaps.mean()), len(gaps)
    half = float(student(n) * gaps.std(ddof=1) / np.sqrt(n)) if n > 1 else float("inf")
    return mean, mean - half, mean + half, n


def sign(gap: tuple[float, float, float, int]) -> int:
    """1 or -1 if the interval leaves 0 out on that side, else 0."""
    _, low, high, _ = gap
    return 1 if low > 0 else -1 if high < 0 else 0


def over_seeds(section: Section, first: str, second: str, metric: str) -> Gap | None:
    """Student's t on the differences of equal seeds, in the mean over categories.

    Returns:
        None unless two seeds are in common: one seed has no spread.
    """
    one, other = (section.by_seed(arm, metric) for arm in (first, second))
    gaps = np.array([one[seed] - other[seed] for seed in one if seed in other])
    if len(gaps) < 2:
        return None
    mean, low, high, n = interval(gaps)
    error = (high - mean) / student(n)
    equal = error <= abs(mean) * 1e-12  # up to rounding
    p = float(mean == 0) if equal else 2 * stdtr(n - 1, -abs(mean) / error)
    return Gap(mean, low, high, n, float(p))


def over_categories(section: Section, first: str, second: str, metric: str) -> Gap | None:
    """Test the categories' differences (of means over common seeds) by flipping their signs.

    With n categories no p-value lies below 2 / 2^n, so four or five decide nothing at 0.05. The
    interval is Student's.

    Returns:
        None with fewer than two categories that both have.
    Source: Fisher, The Design of Experiments (1935), the permutation test for matched pairs.
    """
    from scipy.stats import permutation_test

    seeds = {run.seed for run in section.of(first)} & {run.seed for run in section.of(second)}
    one, other = (
        section.values(arm, metric)[[run.seed in seeds for run in section.of(arm)]]
        for arm in (first, second)
    )  # s c
    gaps = one.mean(axis=0) - other.mean(axis=0) if seeds else np.empty(0)
    gaps = gaps[~np.isnan(gaps)]
    if len(gaps) < 2:
        return None
    p = permutation_test(
        (gaps,), np.mean, permutation_type="samples", vectorized=True, n_resamples=FLIPS,
        rng=np.random.default_rng(0),
    ).pvalue  # fmt: skip
    return Gap(*interval(gaps), float(p))


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


def holm(p_values: Iterable[float]) -> Float[np.ndarray, " n"]:
    """Adjust p-values for how many tests were made, so that one false alarm stays unlikely.

    NaN is no test and stays.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    p = np.array([*p_values], float)
    order = np.argsort(p)  # NaN last
    tests = (~np.isnan(p)).sum() - np.arange(len(p))
    p[order] = np.maximum.accumulate(np.minimum(1, tests * p[order]))
    return p


def choose_pairs(arms: Sequence[str], against: str | None) -> list[tuple[str, str]]:
    """Each arm with each; with many arms, or where one is named, each with that one."""
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
    kinds: Sequence[str] = KINDS,
) -> DataFrame:
    """Compare the arms of a section two by two, by each source of chance that the records allow.

    Args:
        section: Runs under one protocol on the same images.
        metrics: Their names.
        against: Compare with this arm only.
        draws: Of the test images, by arm, from `draw`.
        kinds: Which sources of chance to ask about.
    Returns:
        A row a metric and pair, first minus second: `metric`, `first`, `second`, and for each of
        `KINDS` the fields of `Gap`, such as `seeds_low`; NaN where nothing can be said. The
        p-values are adjusted within a metric, the intervals are of the pair alone.
    """
    drawn, present, rows = draws or {}, section.ran(), []
    chosen = choose_pairs(present, against if against in present else None)
    over = {"seeds": over_seeds, "categories": over_categories}
    for metric, pair in product(metrics, chosen):
        gaps = {kind: over[kind](section, *pair, metric) for kind in over if kind in kinds}
        if all(name in drawn and metric in drawn[name].values for name in pair):
            a, b = (drawn[name] for name in pair)
            mean = a.exact[metric] - b.exact[metric]
            gaps["images"] = over_images(a.values[metric], b.values[metric], mean, a.images)
        if any(gaps.values()):
            row = {"metric": metric, "first": pair[0], "second": pair[1]}
            for kind, gap in gaps.items():
                row |= {f"{kind}_{name}": gap and getattr(gap, name) for name in Gap._fields}
            rows.append(row)
    columns = [f"{kind}_{name}" for kind in KINDS for name in Gap._fields]
    frame = DataFrame(rows, columns=["metric", "first", "second", *columns])
    for column in (f"{kind}_p" for kind in KINDS):
        frame[column] = frame[column].astype(float).groupby(frame["metric"]).transform(holm)
    return frame


def draw(section: Section, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Draws]:
    """Draw test images with replacement, within category and label, the same for all arms.

    Returns:
        By arm; one without scores in every one of its runs is left out.
    Raises:
        ValueError: Other labels than in another run, a category with fewer than two images of a
            kind, or scores that do not give the record's own image AUROC.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993).
    """
    arms = {arm: section.of(arm) for arm in section.ran()}
    arms = {a: runs for a, runs in arms.items() if all(run.record.get("images") for run in runs)}
    if not arms:
        return {}
    parts: dict[str, list[dict[str, np.ndarray]]] = {arm: [] for arm in arms}
    first, images = next(iter(arms.values()))[0], 0
    for i, category in enumerate(section.categories):
        labels = _scored(first, category)[0]
        images += len(labels)
        strata = [np.flatnonzero(labels == kind) for kind in (False, True)]
        if min(map(len, strata)) < 2:
            raise ValueError(
                f"{first.id}, {category}: drawing images needs two of each kind, got "
                f"{len(strata[0])} normal and {len(strata[1])} anomalous"
            )
        rng = np.random.default_rng([seed, i])
        drawn = np.concatenate([rng.choice(s, (resamples, len(s))) for s in strata], axis=1)  # r n
        drawn = np.concatenate([np.arange(len(labels))[None], drawn])  # 1+r n: all images, first
        for arm, run in ((arm, run) for arm, runs in arms.items() for run in runs):
            own, scores = _scored(run, category)
            if not np.array_equal(own, labels):
                raise ValueError(f"{run.id}, {category}: other labels than {first.id} has")
            rank = np.unique(scores, return_inverse=True)[1]
            rank = rank * LEVELS // max(LEVELS, rank.max() + 1) if rank.max() >= LEVELS else rank
            values = drawn_metrics(image_rows(rank, labels), drawn, 1.0)
            recorded = run.record["categories"][category].get("image_auroc")
            if recorded is None or abs(float(values["auroc"][0]) - recorded) > NEAR:
                raise ValueError(
                    f"{run.id}, {category}: the scores give image AUROC "
                    f"{values['auroc'][0]:.4f}, the record says {recorded}"
                )
            parts[arm].append(values)
    return {arm: _shifted(arms[arm], found, images) for arm, found in parts.items()}


def _shifted(runs: list[Run], parts: list[dict[str, np.ndarray]], images: int) -> Draws:
    """The mean over categories and seeds, moved by what `LEVELS` took from the exact values."""
    known = {m for m in METRICS if all(run.mean.get(m) is not None for run in runs)}
    means = {f"image_{name}": np.mean([part[name] for part in parts], axis=0) for name in parts[0]}
    means = {name: values for name, values in means.items() if name in known}
    exact = {name: float(np.mean([run.mean[name] for run in runs])) for name in means}
    shifted = {name: m[1:] + (exact[name] - m[0]) for name, m in means.items()}
    return Draws(shifted, exact, images)


def _scored(run: Run, category: str) -> tuple[Bool[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    if (held := run.record["images"].get(category)) is None:
        raise ValueError(f"{run.id}: its images have no category {category!r}")
    return np.array(held["labels"], bool), np.array(held["scores"], float)
