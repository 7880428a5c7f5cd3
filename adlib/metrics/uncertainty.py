"""How far a metric may be trusted: bootstrap intervals over the choice of images.

Images are drawn, not pixels, since the pixels of an image are not independent. Normal and anomalous
images are drawn apart, so that every draw has both. Each image becomes once a row of counts per bin
of score; a draw is a weighted sum of rows.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from adlib.metrics.pixels import score_maps
from adlib.metrics.protocol import EvaluationProtocol, prepare
from adlib.metrics.ranking import score_images
from adlib.metrics.regions import label_regions

LEVEL = 0.95  # of the intervals
RESAMPLES = 2_000  # ours: the ends of a 95 % interval rest on 50 draws each
BINS = 1_024  # per class, at equal shares of its pixels; ours: moves an interval by less than 1e-3
BATCH = 100  # draws at once; bounds memory at about 20 MiB


class Interval(NamedTuple):
    """A metric and the percentile interval of its bootstrap distribution."""

    value: float
    low: float
    high: float


class Rows(NamedTuple):
    """One row of counts per image; bins rise with the score."""

    normal: Float[np.ndarray, "n k"]
    anomalous: Float[np.ndarray, "n k"]
    overlap: Float[np.ndarray, "n k"] | None  # regions found per bin, as fractions; None for images
    strata: tuple[Int[np.ndarray, " _"], ...]  # images drawn apart from each other


def image_rows(rank: Int[np.ndarray, " n"], labels: Bool[np.ndarray, " n"]) -> Rows:
    """Rows of images from the rank of each score; equal scores have one rank."""
    one = np.zeros((len(rank), int(rank.max()) + 1), np.float32)
    one[np.arange(len(rank)), rank] = 1
    strata = (np.flatnonzero(~labels), np.flatnonzero(labels))
    return Rows(one * ~labels[:, None], one * labels[:, None], None, strata)


def pixel_rows(
    maps: Float[np.ndarray, "n h w"],
    masks: Bool[np.ndarray, "n h w"],
    protocol: EvaluationProtocol,
    roi: Bool[np.ndarray, "h w"] | None = None,
) -> Rows:
    """Rows of images from their pixels; a bin has equal shares of the pixels of a class."""
    shares = np.linspace(0, 1, BINS + 1)[1:]
    inside = np.ones(maps.shape[1:], bool) if roi is None else roi
    masks = masks & inside
    # sorted first, since quantile alone takes 2.7 times as long
    sides = (np.sort(maps[inside & ~masks]), np.sort(maps[masks]))
    edges = np.unique([np.quantile(side, shares) for side in sides])
    k = len(edges) + 1
    counts = np.zeros((3, len(maps), k), np.float32)
    for i, (scores, mask) in enumerate(zip(maps, masks, strict=True)):
        bins = np.searchsorted(edges, scores.ravel(), "right")
        where = np.flatnonzero(mask)
        region, pixels = label_regions(where, (1, *mask.shape), protocol.connectivity)
        counts[1, i] = np.bincount(bins[where], minlength=k)
        counts[0, i] = np.bincount(bins[inside.ravel()], minlength=k) - counts[1, i]
        counts[2, i] = np.bincount(bins[where], 1 / pixels[region], minlength=k)
    defective = masks.any(axis=(1, 2))
    strata = (np.flatnonzero(~defective), np.flatnonzero(defective))
    return Rows(counts[0], counts[1], counts[2], tuple(s for s in strata if len(s)))


def drawn_metrics(
    rows: Rows, draws: Int[np.ndarray, "*b n"], limit: float
) -> dict[str, Float[np.ndarray, "*b"]]:
    """The metrics of each draw of images; scores in one bin count as tied."""
    flat = draws.reshape(-1, draws.shape[-1])
    n_rows = len(rows.normal)
    place = (flat + n_rows * np.arange(len(flat))[:, None]).ravel()
    times = np.bincount(place, minlength=len(flat) * n_rows)  # how often each image was drawn
    times = times.reshape(len(flat), n_rows).astype(np.float32)
    normal, anomalous = (
        (times @ x).astype(np.float64)[:, ::-1] for x in (rows.normal, rows.anomalous)
    )
    alarms, hits = normal.cumsum(axis=1), anomalous.cumsum(axis=1)  # from the highest bin down
    n, p = alarms[:, -1:], hits[:, -1:]
    called = np.maximum(alarms + hits, 1)
    found = {
        "auroc": 1 - ((alarms - normal / 2) * anomalous / (n * p)).sum(axis=1),
        "ap": (anomalous * hits / called / p).sum(axis=1),
        "f1_max": (2 * hits / (called + p)).max(axis=1),
    }
    if rows.overlap is not None:
        overlap = (times @ rows.overlap).astype(np.float64)[:, ::-1]
        a, b = (alarms - normal) / n, alarms / n
        area = np.where(b <= limit, limit - (a + b) / 2, 0)
        cut = (a < limit) & (b > limit)
        area[cut] = (limit - a[cut]) ** 2 / (2 * (b - a)[cut])
        found["aupro"] = (area * overlap).sum(axis=1) / overlap.sum(axis=1) / limit
    return {name: value.reshape(draws.shape[:-1]) for name, value in found.items()}


def image_intervals(
    scores: Float[np.ndarray, " n"],
    labels: Bool[np.ndarray, " n"],
    *,
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
    return _intervals(rows, exact, 1.0, resamples, seed)


def pixel_intervals(
    maps: Float[np.ndarray, "n h w"],
    masks: Bool[np.ndarray, "n h w"],
    *,
    protocol: EvaluationProtocol | None = None,
    prepared: bool = False,
    roi: Bool[np.ndarray, "h2 w2"] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of pixel AUROC, AP, best F1 and AUPRO over the choice of images.

    `roi` is that of `score_maps`.

    Raises:
        ValueError: Fewer than two images with or without a defect (none is fine), or what
            `score_maps` refuses.
    """
    protocol = protocol or EvaluationProtocol()
    if not prepared:
        maps, masks = prepare(maps, masks, protocol)
    exact = score_maps(maps, masks, protocol=protocol, prepared=True, roi=roi)
    return _intervals(
        pixel_rows(maps, masks, protocol, roi), exact, protocol.aupro_limit, resamples, seed
    )


def _intervals(
    rows: Rows, exact: dict[str, float], limit: float, resamples: int, seed: int
) -> dict[str, Interval]:
    from scipy.stats import bootstrap

    if min(map(len, rows.strata)) < 2:
        numbers = " and ".join(str(len(s)) for s in rows.strata)
        raise ValueError(f"drawing images needs two of each kind, got {numbers}")

    def drawn(*parts: np.ndarray, axis: int) -> np.ndarray:
        shape = np.broadcast_shapes(*(x.shape[:-1] for x in parts))
        draws = np.concatenate([np.broadcast_to(x, (*shape, x.shape[-1])) for x in parts], axis)
        return np.stack(list(drawn_metrics(rows, draws, limit).values()))

    low, high = bootstrap(
        rows.strata, drawn, n_resamples=resamples, batch=BATCH, vectorized=True, axis=-1,
        confidence_level=LEVEL, method="percentile", rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    whole = drawn_metrics(rows, np.arange(len(rows.normal)), limit)
    found = {}
    for i, name in enumerate(whole):
        shift = exact[name] - float(whole[name])  # due to the bins
        found[name] = Interval(exact[name], float(low[i]) + shift, float(high[i]) + shift)
    return found
