"""Streams against exact values, against their own bound, and against each other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from adlib.metrics import PROTOCOLS, EvaluationProtocol, StreamingScores, score_maps
from tests.metrics.test_regions import tied_maps

some = settings(max_examples=200, deadline=None, derandomize=True, database=None)


def blobs(n: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """n smooth maps of 64 x 48 with up to three defects each."""
    rng = np.random.default_rng(seed)
    maps = gaussian_filter(rng.random((n, 64, 48)), (0, 2, 2))
    y, x = np.mgrid[:64, :48]
    masks = np.zeros(maps.shape, bool)
    for i in range(n):
        for _ in range(int(rng.integers(0, 4)) if i else 2):
            r2 = ((y - rng.uniform(8, 56)) / rng.uniform(2, 7)) ** 2
            r2 = r2 + ((x - rng.uniform(8, 40)) / rng.uniform(2, 7)) ** 2
            masks[i] |= r2 < 1
            maps[i] += rng.uniform(0.0, 0.5) * np.exp(-r2)
    return maps.astype(np.float32), masks


@some
@given(tied_maps(), st.sampled_from([0.05, 0.3, 1.0]))
def test_few_distinct_scores_are_scored_exactly(
    case: tuple[np.ndarray, np.ndarray], limit: float
) -> None:
    protocol = EvaluationProtocol(aupro_limit=limit)
    stream = StreamingScores(protocol=protocol).update(*case)
    assert stream.compute() == pytest.approx(score_maps(*case, protocol=protocol), abs=1e-9)
    assert set(stream.error().values()) == {0.0}


@some
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([0.05, 0.3, 1.0]))
def test_exact_values_lie_within_the_stated_error(seed: int, bins: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    masks = rng.random((3, 9, 8)) < rng.uniform(0.05, 0.9)
    masks.flat[:2] = True, False
    maps = rng.normal(size=masks.shape) + rng.uniform(-1, 3) * masks + rng.uniform(-9, 9)
    maps = maps.astype(np.float32)
    protocol = EvaluationProtocol(aupro_limit=limit)
    exact = score_maps(maps, masks, protocol=protocol)
    stream = StreamingScores(protocol=protocol, bins=bins).update(maps, masks)
    found, error = stream.compute(), stream.error()
    assert len(stream.normal.low) <= bins
    for name, bound in error.items():
        assert abs(found[name] - exact[name]) <= bound + 1e-9, name


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: np.exp(9 * x),
        lambda x: x - 0.6,
        lambda x: 100 + 0.01 * x,
        lambda x: np.maximum(x - 0.5, 0),
        lambda x: -1 / (x + 0.01),
        lambda x: np.round(x * 255) / 255,
    ],
)  # fmt: skip
def test_bins_follow_the_scores_on_any_scale(change) -> None:
    maps, masks = blobs()
    maps = change(maps).astype(np.float32)
    exact = score_maps(maps, masks)
    stream = StreamingScores(bins=4096).update(maps, masks)
    for name, value in stream.compute().items():
        if name != "f1_threshold":
            assert value == pytest.approx(exact[name], abs=1e-4)
    assert max(stream.error().values()) < 0.01


def test_streams_merged_in_any_order_give_the_same_numbers() -> None:
    maps, masks = blobs(n=9)
    maps[3] *= 1000  # widens the bins half-way
    masks[5:7] = False  # a stream without anomalies
    whole = StreamingScores(bins=256).update(maps, masks)
    rng = np.random.default_rng(0)
    for _ in range(10):
        parts = np.array_split(rng.permutation(9), rng.integers(1, 6))
        streams = [StreamingScores(bins=256).update(maps[p], masks[p]) for p in parts]
        while len(streams) > 1:  # as a tree with random branches
            a = streams.pop(int(rng.integers(len(streams))))
            b = int(rng.integers(len(streams)))
            streams[b] = streams[b].merge(a) if rng.random() < 0.5 else a.merge(streams[b])
        (merged,) = streams
        assert merged.compute() == whole.compute()
        assert merged.error() == whole.error()
        for one, other in zip(
            (*whole.normal, *whole.anomalous), (*merged.normal, *merged.anomalous), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_merging_with_a_stream_that_saw_nothing_changes_nothing() -> None:
    maps, masks = blobs(n=2)
    stream = StreamingScores().update(maps, masks)
    before = stream.compute()
    assert stream.merge(StreamingScores()).compute() == before
    assert StreamingScores().merge(stream).compute() == before
    assert stream.update(maps[:0], masks[:0]).compute() == before


def test_maps_of_several_sizes_and_types_may_be_mixed() -> None:
    maps, masks = blobs(n=3)
    stream = StreamingScores().update(maps[:, :40].astype(np.float16), masks[:, :40])
    stream.update(maps[:, 40:].astype(np.float64), masks[:, 40:])
    scores = np.concatenate([maps[:, :40].astype(np.float16).ravel(), maps[:, 40:].ravel()])
    truth = np.concatenate([masks[:, :40].ravel(), masks[:, 40:].ravel()])
    one_row = score_maps(scores[None, None], truth[None, None])
    assert stream.compute()["auroc"] == pytest.approx(one_row["auroc"], abs=1e-9)


def test_a_protocol_is_applied_to_each_batch() -> None:
    maps, masks = blobs(n=3)
    protocol = EvaluationProtocol(size=(32, 24), smoothing=(1.0, 3), aupro_limit=0.2)
    stream = StreamingScores(protocol=protocol).update(maps, masks)
    assert stream.compute() == pytest.approx(score_maps(maps, masks, protocol=protocol), abs=1e-9)


def test_what_a_stream_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'dinomaly' .* score_maps"):
        StreamingScores(protocol=PROTOCOLS["dinomaly"])
    with pytest.raises(ValueError, match="'as-is' with 8 bins and 'ours' with 8"):
        StreamingScores(bins=8).merge(StreamingScores(bins=8, protocol=PROTOCOLS["ours"]))
    with pytest.raises(ValueError, match="got 0 anomalous and 12 normal pixels"):
        StreamingScores().update(np.zeros((1, 3, 4)), np.zeros((1, 3, 4), bool)).compute()


@pytest.mark.parametrize(
    ("bad", "shown"), [(np.nan, "nan"), (-np.inf, "-inf"), (1e39, "inf")]
)  # fmt: skip
def test_a_score_that_float32_cannot_hold_is_refused_by_name(bad: float, shown: str) -> None:
    maps = np.zeros((140, 64, 65))  # more than one chunk
    maps[138, 2, 1] = bad
    names = [f"{i}.png" for i in range(140)]
    words = rf"image 138 \(138.png\) has {shown} at \(2, 1\)"
    with pytest.raises(ValueError, match=words):
        StreamingScores().update(maps, np.zeros(maps.shape, bool), names=names)
