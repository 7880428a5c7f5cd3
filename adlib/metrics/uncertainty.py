"""How far a metric may be trusted: bootstrap intervals, and two methods on the same images.

Images are drawn, not pixels, since the pixels of an image are anything but independent; normal and
anomalous images are drawn apart, so that every draw has both. Each image is turned once into a row
of counts per bin of score, after which a draw is a weighted sum of rows.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from adlib.metrics.draws import BINS, Rows, drawn_metrics, equal_edges, image_rows, pixel_rows
from adlib.metrics.pixels import score_maps
from adlib.metrics.protocol import EvaluationProtocol, prepare_maps, prepare_mask
from adlib.metrics.ranking import score_images

LEVEL = 0.95
RESAMPLES = 2_000  # ours: the ends of a 95 % interval rest on 50 draws each
BATCH = 100  # draws at once; bounds memory at about 20 MiB


class Interval(NamedTuple):
    """A metric and the percentile interval of its bootstrap distribution."""

    value: float
    low: float
    high: float


class Comparison(NamedTuple):
    """Metric of the first method minus the second's, its interval, and a two-sided p-value."""

    difference: float
    low: float
    high: float
    p_value: float


def image_intervals(
    scores: Float[np.ndarray, " n"],
    labels: Bool[np.ndarray, " n"],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of image AUROC, AP and best F1 over the choice of images.

    The best F1 picks its threshold again in every draw, and so leans upwards.

    Raises:
        ValueError: Fewer than two images of a class, or a score that is not finite.
        TypeError: The labels are not bool, such as 0 and 1.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), the percentile interval.
    """
    exact = score_images(scores, labels)
    rows = image_rows(np.unique(scores, return_inverse=True)[1], labels)
    return _intervals(rows, exact, 1.0, level, resamples, seed)


def pixel_intervals(
    maps: Float[np.ndarray, "n h w"],
    masks: Bool[np.ndarray, "n h w"],
    *,
    protocol: EvaluationProtocol | None = None,
    prepared: bool = False,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of pixel AUROC, AP, best F1 and AUPRO over the choice of images.

    Raises:
        ValueError: Fewer than two images with or without a defect (none is fine), or what
            `score_maps` refuses.
    """
    protocol = protocol or EvaluationProtocol()
    maps, masks = _prepare(maps, masks, protocol, prepared)
    exact = score_maps(maps, masks, protocol=protocol, prepared=True)
    rows = pixel_rows(maps, masks, equal_edges(maps, masks), protocol)
    return _intervals(rows, exact, protocol.aupro_limit, level, resamples, seed)


def compare_images(
    first: Float[np.ndarray, " n"],
    second: Float[np.ndarray, " n"],
    labels: Bool[np.ndarray, " n"],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Comparison]:
    """Compare two methods that scored the same images.

    The interval draws images, with both methods' scores; the p-value exchanges the two methods'
    ranks within images at random, which changes nothing where they are equally good.

    Raises:
        ValueError: Fewer than two images of a class, or a score that is not finite.
        TypeError: The labels are not bool, such as 0 and 1.
    Source: Bandos, Rockette and Gur, Statistics in Medicine 24 (2005), the permutation of ranks.
    """
    from scipy.stats import rankdata

    exact = score_images(first, labels), score_images(second, labels)
    both = np.concatenate([rankdata(first), rankdata(second)])
    rank = np.unique(both, return_inverse=True)[1]
    rows = image_rows(rank, np.tile(labels, 2), len(labels))
    return _compare(rows, exact, 1.0, level, resamples, seed)


def compare_maps(
    first: Float[np.ndarray, "n h w"],
    second: Float[np.ndarray, "n h w"],
    masks: Bool[np.ndarray, "n h w"],
    *,
    protocol: EvaluationProtocol | None = None,
    prepared: bool = False,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Comparison]:
    """Compare two methods' maps of the same images, as `compare_images` does their scores.

    Raises:
        ValueError: Fewer than two images with or without a defect (none is fine), or what
            `score_maps` refuses.
    """
    protocol = protocol or EvaluationProtocol()
    exact, rows = [], []
    for maps in (first, second):
        ready, truth = _prepare(maps, masks, protocol, prepared)
        exact.append(score_maps(ready, truth, protocol=protocol, prepared=True))
        shares = np.linspace(0, 1, 2 * BINS + 1)[1:-1]
        shares = np.concatenate((shares, 1 - np.geomspace(1 / (2 * BINS), 1e-5, BINS)))
        edges = np.quantile(ready, np.sort(shares))  # equal shares for both: ranks in common
        rows.append(pixel_rows(ready, truth, edges, protocol))
    a, b, c = (np.concatenate(pair) for pair in zip(rows[0][:3], rows[1][:3], strict=True))
    return _compare(
        Rows(a, b, c, rows[0].strata),
        (exact[0], exact[1]),
        protocol.aupro_limit,
        level,
        resamples,
        seed,
    )


def _prepare(
    maps: np.ndarray, masks: np.ndarray, protocol: EvaluationProtocol, prepared: bool
) -> tuple[np.ndarray, np.ndarray]:
    if prepared:
        return maps, masks
    return prepare_maps(maps, protocol), np.stack([prepare_mask(m, protocol) for m in masks])


def _bootstrap(
    strata: tuple[Int[np.ndarray, " _"], ...],
    statistic: Callable[[np.ndarray], np.ndarray],
    level: float,
    resamples: int,
    seed: int,
) -> Any:
    from scipy.stats import bootstrap

    if min(map(len, strata)) < 2:
        raise ValueError(
            "drawing images needs two of each kind, got "
            + " and ".join(str(len(s)) for s in strata)
        )

    def drawn(*parts: np.ndarray, axis: int = -1) -> np.ndarray:
        assert axis == -1
        shape = np.broadcast_shapes(*(x.shape[:-1] for x in parts))
        return statistic(
            np.concatenate([np.broadcast_to(x, (*shape, x.shape[-1])) for x in parts], axis=-1)
        )

    return bootstrap(
        strata, drawn, n_resamples=resamples, batch=BATCH, vectorized=True, axis=-1,
        confidence_level=level, method="percentile", rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip


def _intervals(
    rows: Rows, exact: dict[str, float], limit: float, level: float, resamples: int, seed: int
) -> dict[str, Interval]:
    whole = drawn_metrics(rows, np.arange(len(rows.normal)), limit)

    def statistic(draws: np.ndarray) -> np.ndarray:
        return np.stack(list(drawn_metrics(rows, draws, limit).values()))

    low, high = _bootstrap(rows.strata, statistic, level, resamples, seed)
    found = {}
    for i, name in enumerate(whole):
        shift = exact[name] - float(whole[name])  # what binning moved
        found[name] = Interval(exact[name], float(low[i]) + shift, float(high[i]) + shift)
    return found


def _compare(
    rows: Rows,
    exact: tuple[dict[str, float], dict[str, float]],
    limit: float,
    level: float,
    resamples: int,
    seed: int,
) -> dict[str, Comparison]:
    from scipy.stats import permutation_test

    images = len(rows.normal) // 2  # rows of the first method, then of the second

    def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        one, two = drawn_metrics(rows, a, limit), drawn_metrics(rows, b, limit)
        return np.stack([one[name] - two[name] for name in one])

    whole = difference(np.arange(images), np.arange(images) + images)
    names = [n for n in ("auroc", "ap", "f1_max", "aupro") if n in exact[0]]
    low, high = _bootstrap(rows.strata, lambda d: difference(d, d + images), level, resamples, seed)
    p_values = permutation_test(
        (np.arange(images), np.arange(images) + images), lambda a, b, axis: difference(a, b).T,
        permutation_type="samples", vectorized=True, n_resamples=resamples, batch=BATCH, axis=-1,
        rng=np.random.default_rng(seed),
    ).pvalue  # fmt: skip
    p_values = np.asarray(p_values)
    found = {}
    for i, name in enumerate(names):
        value = exact[0][name] - exact[1][name]
        shift = value - float(whole[i])
        found[name] = Comparison(
            value, float(low[i]) + shift, float(high[i]) + shift, float(p_values[i])
        )
    return found
