"""Counts of scores in bins that are the leading bits of a float32, and how they add up."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt32


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


def group(keys: UInt32[np.ndarray, " n"], weight: Int[np.ndarray, " n"] | None, shift: int) -> Bins:
    """Bins of sorted keys."""
    amount = [] if weight is None else [weight]
    if len(keys) == 0:
        return Bins(keys, keys, np.empty((1 + len(amount), 0), np.int64))
    start = starts(keys, shift)
    end = np.append(start[1:], len(keys))
    sums = [end - start, *(np.add.reduceat(x, start) for x in amount)]
    return Bins(keys[start], keys[end - 1], np.stack(sums))


def starts(keys: UInt32[np.ndarray, " n"], shift: int) -> Int[np.ndarray, " k"]:
    bins = keys >> np.uint32(shift)
    return np.append(0, np.flatnonzero(bins[1:] != bins[:-1]) + 1)


def join(parts: Sequence[Bins], shift: int) -> Bins:
    """Add several sets of bins up at one width, to which all are brought."""
    low = np.concatenate([part.low for part in parts])
    order = np.argsort(low, kind="stable")
    high = np.concatenate([part.high for part in parts])[order]
    amount = np.concatenate([part.amount for part in parts], axis=1).take(order, axis=1)
    return coarsen(Bins(low[order], high, amount), shift)


def coarsen(bins: Bins, shift: int) -> Bins:
    if len(bins.low) == 0:
        return bins
    start = starts(bins.low, shift)
    if len(start) == len(bins.low):
        return bins
    return Bins(
        bins.low[start],
        np.maximum.reduceat(bins.high, start),
        np.add.reduceat(bins.amount, start, axis=1),
    )


def least_shift(bins: Bins, most: int) -> int:
    """The fewest trailing bits to ignore so that at most `most` bins are occupied."""
    apart = np.bitwise_xor(bins.low[1:], bins.low[:-1])
    shift = 0
    while 1 + np.count_nonzero(apart >> np.uint32(shift)) > most:
        shift += 1
    return shift
