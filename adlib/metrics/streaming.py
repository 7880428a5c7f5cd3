"""The pixel metrics in constant memory, for data sets whose maps do not fit.

Scores are counted in bins. A bin is the leading bits of a float32, written so that integers sort as
the floats do: bins are fine where scores are small and coarse where they are large, on any scale,
and no range has to be known beforehand. How many bits are kept follows the scores: the most that
leave at most `BINS` bins occupied in each class. That makes the state a function of the scores
alone, so streams may be cut and merged in any order and give the same numbers to the last bit.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt32

from adlib.metrics.protocol import EvaluationProtocol, prepare
from adlib.metrics.ranking import Ranks, Totals, need_both, refuse
from adlib.metrics.regions import check_stack, label_regions, overlap, sort_together

BINS = 1 << 15  # per class; ours: 3 MiB of state, errors near 1e-6 on smooth maps
CHUNK = 1 << 19  # pixels sorted at once: 2 MiB of float32
UNIT = 1 << 40  # weight of one region, in integers so that sums do not depend on their order
EXACT_PIXELS = 1 << 28  # a category with more is better streamed; ours: maps of 1 GiB in float32


class Bins(NamedTuple):
    """Occupied bins of one class, in rising order."""

    low: UInt32[np.ndarray, " k"]  # lowest key in the bin
    high: UInt32[np.ndarray, " k"]  # highest key in the bin
    amount: Int[np.ndarray, "c k"]  # pixels; of anomalous ones also the weight, in region / UNIT


def to_keys(scores: Float[np.ndarray, " n"]) -> UInt32[np.ndarray, " n"]:
    """Integers in the order of the scores; works in place."""
    scores += 0.0  # -0.0 becomes 0.0, as the two are equal
    bits = scores.view(np.int32)
    bits ^= (bits >> 31) & 0x7FFFFFFF
    return bits.view(np.uint32) ^ np.uint32(0x80000000)


def to_scores(keys: UInt32[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    bits = (keys ^ np.uint32(0x80000000)).view(np.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(np.float32)


def collect(
    low: UInt32[np.ndarray, " n"], high: UInt32[np.ndarray, " n"], amount: Int[np.ndarray, "c n"],
    shift: int,
) -> Bins:  # fmt: skip
    """Put together what lies in one bin of a width; `low` rises."""
    if len(low) == 0:
        return Bins(low, high, amount)
    bins = low >> np.uint32(shift)
    start = np.append(0, np.flatnonzero(bins[1:] != bins[:-1]) + 1)
    highest = np.maximum.reduceat(high, start)
    return Bins(low[start], highest, np.add.reduceat(amount, start, axis=1))


def join(one: Bins, other: Bins, shift: int) -> Bins:
    """Add two sets of bins up at one width, to which both are brought."""
    low, high, amount = (np.concatenate(pair, axis=-1) for pair in zip(one, other, strict=True))
    order = np.argsort(low, kind="stable")
    return collect(low[order], high[order], amount.take(order, axis=1), shift)


def least_shift(low: UInt32[np.ndarray, " n"], most: int) -> int:
    """The fewest trailing bits to ignore so that at most `most` bins are occupied."""
    apart = np.bitwise_xor(low[1:], low[:-1])
    shift = 0
    while 1 + np.count_nonzero(apart >> np.uint32(shift)) > most:
        shift += 1
    return shift


class StreamingScores:
    """Pixel AUROC, AP, best F1 and AUPRO of maps that are seen once.

    `error()` bounds the distance to the exact values. Scores are kept as float32; where a class
    has at most `BINS` distinct scores (8-bit maps, small sets) the values are exact.

    Args:
        protocol: As for `score_maps`; one that reads its curve off at steps is refused.
        prepared: As for `score_maps`.
        roi: As for `score_maps`; for prepared maps of one size.
        bins: The most occupied bins per class.
    """

    def __init__(
        self,
        *,
        protocol: EvaluationProtocol | None = None,
        prepared: bool = False,
        roi: Bool[np.ndarray, "h w"] | None = None,
        bins: int = BINS,
    ) -> None:
        self.protocol = protocol or EvaluationProtocol()
        if self.protocol.thresholds != "all" or self.protocol.ap_form != "step":
            raise ValueError(
                f"streaming uses all thresholds and step-wise AP, protocol {self.protocol.name!r} "
                "does not: use score_maps"
            )
        self.prepared, self.roi = prepared, roi
        self.bins = bins
        self.shift = 0  # trailing bits that a bin ignores
        self.regions = 0
        empty = np.empty(0, np.uint32)
        self.normal = Bins(empty, empty, np.empty((1, 0), np.int64))
        self.anomalous = Bins(empty, empty, np.empty((2, 0), np.int64))

    def update(
        self,
        maps: Float[np.ndarray, "n h w"],
        masks: Bool[np.ndarray, "n h w"],
        *,
        names: Sequence[str] | None = None,
    ) -> "StreamingScores":
        """Count the pixels of a batch; batches may differ in size.

        Raises:
            ValueError: A score that is not finite in float32.
            TypeError: Masks that are not bool, or maps of integers.
        """
        check_stack(maps, masks)
        few = max(1, CHUNK // max(1, maps[0].size)) if len(maps) else 1
        for begin in range(0, len(maps), few):
            batch, truth = maps[begin : begin + few], masks[begin : begin + few]
            if not self.prepared:
                batch, truth = prepare(batch, truth, self.protocol)
            self._add(*self._count(batch, truth, names, begin))
        return self

    def merge(self, other: "StreamingScores") -> "StreamingScores":
        """Take in what another stream has counted; the other is left as it is.

        Raises:
            ValueError: The other follows another protocol or number of bins.
        """
        if (other.protocol, other.bins) != (self.protocol, self.bins):
            raise ValueError(
                f"streams differ: {self.protocol.name!r} with {self.bins} bins and "
                f"{other.protocol.name!r} with {other.bins} bins"
            )
        self.shift = max(self.shift, other.shift)
        self._add(other.normal, other.anomalous, other.regions)
        return self

    def compute(self) -> dict[str, float]:
        """The keys of `score_maps`; raises its ValueError where a class is absent."""
        r, weight, mixed = self._ranks()
        total = Totals(int(r.number.sum()), int(self.normal.amount[0].sum()))
        total.add(r)
        scores = total.metrics()
        scores["ap"] = float(_precision(r, mixed).sum()) / total.anomalous
        limit = self.protocol.aupro_limit
        scores["aupro"] = overlap(r, weight, total.normal, limit) / limit
        return scores

    def error(self) -> dict[str, float]:
        """For each metric, how far `compute` can be from the exact value, at most.

        In a bin that holds both classes the order is unknown; each metric is bounded by the best
        and the worst order of every such bin. Region weights add at most 2^-40 a pixel of a region.
        """
        r, weight, mixed = self._ranks()
        p, n = r.hits[0], float(self.normal.amount[0].sum())
        before, above = r.hits - r.number, r.alarms - r.tied
        best = r.number * r.hits / (r.hits + above)
        # The sum over j <= c of (t + j) / (t + j + n) is at least its integral from 0 to c.
        worst = r.number - r.alarms * np.log1p(r.number / np.maximum(before + r.alarms, 0.5))
        here = _precision(r, mixed)
        limit = self.protocol.aupro_limit * n
        width = np.minimum(r.alarms, limit) - np.minimum(above, limit)
        width[r.alarms <= limit] /= 2  # the middle is taken, except where the limit cuts a bin
        f1 = (2 * r.hits / (r.hits + r.alarms + p)).max()
        hoped = (2 * r.hits / (r.hits + np.where(mixed, above, r.alarms) + p)).max()
        return {
            "auroc": float((r.number * r.tied)[mixed].sum() / (2 * p * n)),
            "ap": float(np.maximum(best - here, here - worst)[mixed].sum() / p),
            "f1_max": float(hoped - f1),
            "aupro": float((weight * width)[mixed].sum() / limit),
        }

    def _count(
        self,
        maps: Float[np.ndarray, "n h w"],
        masks: Bool[np.ndarray, "n h w"],
        names: Sequence[str] | None,
        begin: int,
    ) -> tuple[Bins, Bins, int]:
        """The bins of a few maps, and their number of regions."""
        with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite: refused below
            scores = np.array(maps, dtype=np.float32, order="C")
        refuse(scores, names, first=begin)
        scores = scores.ravel()
        out = np.flatnonzero(np.broadcast_to(~self.roi, maps.shape)) if self.roi is not None else []
        where = np.flatnonzero(masks if self.roi is None else masks & self.roi)
        region, pixels = label_regions(where, maps.shape, self.protocol.connectivity)
        anomalous, region = sort_together(scores[where], region)
        weight = (UNIT // np.maximum(pixels, 1))[region]
        keys = to_keys(scores)
        keys[out] = keys[where] = 0xFFFFFFFF  # a NaN's key: sorts behind every score and is cut off
        keys.sort()
        keys = keys[: len(keys) - len(where) - len(out)]
        if self.shift == 0:  # the first scores: begin with bins that fit
            self.shift = least_shift(keys, self.bins)
        normal = collect(keys, keys, np.ones((1, len(keys)), np.int64), self.shift)
        keys, amount = to_keys(anomalous), np.stack([np.ones_like(weight), weight])
        return normal, collect(keys, keys, amount, self.shift), len(pixels)

    def _add(self, normal: Bins, anomalous: Bins, regions: int) -> None:
        """Add bins up and widen them until they are few enough."""
        self.regions += regions
        assert self.regions < 1 << 22, "the weight of four million regions overflows 64 bits"
        self.normal = join(self.normal, normal, self.shift)
        self.anomalous = join(self.anomalous, anomalous, self.shift)
        wanted = max(least_shift(own.low, self.bins) for own in (self.normal, self.anomalous))
        if wanted > self.shift:
            self.shift = wanted
            self.normal = collect(*self.normal, wanted)
            self.anomalous = collect(*self.anomalous, wanted)

    def _ranks(self) -> tuple[Ranks, Float[np.ndarray, " k"], Bool[np.ndarray, " k"]]:
        """The places of the anomalous bins, their weights, and which bins mix several scores."""
        normal, anomalous = self.normal, self.anomalous
        count, weight = anomalous.amount.astype(np.float64)
        need_both(int(count.sum()), int(normal.amount[0].sum()), "pixels")
        from_top = np.append(np.cumsum(normal.amount[0][::-1])[::-1], 0)
        place = np.searchsorted(normal.low >> self.shift, anomalous.low >> self.shift)
        alarms = from_top[place].astype(np.float64)
        last = np.minimum(place, len(normal.low) - 1)
        low, high = normal.low[last], normal.high[last]
        shared = (place < len(normal.low)) & (low >> self.shift == anomalous.low >> self.shift)
        tied = np.where(shared, normal.amount[0][last], 0).astype(np.float64)
        below = shared & (high < anomalous.low)  # one bin, but every normal score is lower ...
        alarms[below] -= tied[below]
        tied[below | (shared & (low > anomalous.high))] = 0  # ... or higher
        same = anomalous.low == anomalous.high
        mixed = ~(same & ((tied == 0) | ((low == high) & (low == anomalous.low))))
        hits = np.cumsum(count[::-1])[::-1]
        score = to_scores(anomalous.low)
        return Ranks(score, count, hits, alarms, tied), weight / weight.sum(), mixed


def _precision(r: Ranks, mixed: Bool[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """Precision summed over the anomalous pixels of each bin.

    Where a bin holds one score they are let in together. Otherwise its c anomalous and m normal
    pixels are taken as evenly mixed: with t anomalous and n normal pixels above, and s = t + n,
    the sum of (t + j) / (s + j + (j - 1/2) m / c) over j = 1..c is, by the midpoint rule, the
    integral of (t + 1/2 + y) / (s + 1/2 + (1 + m/c) y) over y from 0 to c.
    """
    slope = 1 + r.tied / r.number
    t = r.hits - r.number + 0.5
    s = t + r.alarms - r.tied
    blend = r.number / slope + (t - s / slope) / slope * np.log1p(slope * r.number / s)
    return np.where(mixed, blend, r.number * r.hits / (r.hits + r.alarms))
