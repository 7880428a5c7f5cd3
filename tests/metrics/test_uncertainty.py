"""Intervals cover, comparisons are paired, and both see images rather than pixels."""

import numpy as np
import pytest

from adlib.metrics import (
    EvaluationProtocol,
    compare_images,
    compare_maps,
    image_intervals,
    pixel_intervals,
    score_images,
    score_maps,
)
from adlib.metrics.draws import drawn_metrics, equal_edges, image_rows, pixel_rows
from tests.metrics.test_streaming import blobs

FEW = 200  # resamples, where only the machinery is tested


def gaussians(n: int, gap: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3 == 0
    return rng.normal(size=n) + gap * labels, labels


def test_a_draw_of_image_rows_is_the_exact_metric_of_the_drawn_images() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 6, 40) / 4, rng.random(40) < 0.4
    rows = image_rows(np.unique(scores, return_inverse=True)[1], labels)
    draws = rng.integers(0, 40, (7, 5, 40))
    found = drawn_metrics(rows, draws, 1.0)
    for i, j in np.ndindex(7, 5):
        exact = score_images(scores[draws[i, j]], labels[draws[i, j]])
        assert {k: v[i, j] for k, v in found.items()} == pytest.approx(
            {k: exact[k] for k in found}, abs=1e-9
        )


def test_a_draw_of_pixel_rows_is_nearly_the_metric_of_the_drawn_images() -> None:
    maps, masks = blobs(n=8)
    protocol = EvaluationProtocol(aupro_limit=0.2)
    rows = pixel_rows(maps, masks, equal_edges(maps, masks), protocol)
    draw = np.array([0, 3, 3, 5, 1, 7, 0, 2])
    exact = score_maps(maps[draw], masks[draw], protocol=protocol)
    for name, value in drawn_metrics(rows, draw, 0.2).items():
        assert value == pytest.approx(exact[name], abs=2e-3)


def test_intervals_cover_the_true_auroc_about_as_often_as_they_say() -> None:
    truth = 0.7602  # of two unit normals one apart: the normal distribution at 1 / sqrt(2)
    inside = 0
    for seed in range(60):
        found = image_intervals(*gaussians(120, 1.0, seed), resamples=FEW, level=0.9)["auroc"]
        assert found.low <= found.value <= found.high
        inside += found.low <= truth <= found.high
    assert 46 <= inside <= 60  # 54 expected, standard deviation 2.3


def test_perfect_separation_has_an_interval_of_one_point() -> None:
    scores = np.arange(20.0)
    found = image_intervals(scores, scores > 12, resamples=FEW)
    assert found["auroc"] == (1, 1, 1)


def test_a_seed_makes_the_same_interval() -> None:
    scores, labels = gaussians(50, 1.0, 0)
    one = image_intervals(scores, labels, resamples=FEW, seed=3)
    assert one == image_intervals(scores, labels, resamples=FEW, seed=3)
    assert one != image_intervals(scores, labels, resamples=FEW, seed=4)


def test_pixel_intervals_hold_the_exact_value_and_know_images_from_pixels() -> None:
    maps, masks = blobs(n=10)
    found = pixel_intervals(maps, masks, resamples=FEW)
    exact = score_maps(maps, masks)
    for name, interval in found.items():
        assert interval.value == exact[name]
        assert interval.low <= interval.value <= interval.high
    # Every image twice: many more pixels, but the width shrinks as for twice the images, no more.
    twice = pixel_intervals(np.tile(maps, (2, 1, 1)), np.tile(masks, (2, 1, 1)), resamples=FEW)
    ratio = (twice["auroc"].high - twice["auroc"].low) / (found["auroc"].high - found["auroc"].low)
    assert 0.5 < ratio < 0.95


def test_a_pair_tells_apart_what_two_intervals_cannot() -> None:
    rng = np.random.default_rng(0)
    first, labels = gaussians(300, 1.2, 1)
    second = first - 0.25 * labels + 0.05 * rng.normal(size=300)  # nearly the same, a bit worse
    alone = image_intervals(first, labels, resamples=FEW)["auroc"]
    worse = image_intervals(second, labels, resamples=FEW)["auroc"]
    assert alone.low < worse.high  # the intervals overlap
    found = compare_images(first, second, labels, resamples=FEW)["auroc"]
    assert found.low > 0
    assert found.p_value < 0.02
    assert found.difference == alone.value - worse.value


def test_equal_methods_are_seldom_told_apart() -> None:
    p_values = []
    for seed in range(40):
        rng = np.random.default_rng(1000 + seed)
        skill, labels = gaussians(60, 1.0, seed)
        one, two = (skill + 0.7 * rng.normal(size=60) for _ in range(2))
        scaled = np.exp(5 * two) + 100  # another scale must not matter
        p_values.append(compare_images(one, scaled, labels, resamples=FEW)["auroc"].p_value)
    assert np.mean(np.array(p_values) < 0.05) <= 0.15
    assert np.mean(np.array(p_values) < 0.5) > 0.25


def test_maps_are_compared_in_pairs() -> None:
    maps, masks = blobs(n=12)
    noise = np.random.default_rng(0).random(maps.shape, np.float32)
    found = compare_maps(maps, 3 * maps + 0.6 * noise, masks, resamples=FEW)
    exact = score_maps(maps, masks), score_maps(3 * maps + 0.6 * noise, masks)
    for name, comparison in found.items():
        assert comparison.difference == exact[0][name] - exact[1][name]
    assert found["ap"].low > 0
    assert found["ap"].p_value < 0.05
    same = compare_maps(maps, np.exp(maps), masks, resamples=FEW)
    for comparison in same.values():
        assert comparison.difference == pytest.approx(0, abs=1e-6)  # exp ties in float32
        assert comparison.p_value > 0.5


def test_too_few_images_are_refused() -> None:
    scores, labels = np.arange(5.0), np.arange(5) == 4
    with pytest.raises(ValueError, match="drawing images needs two of each kind, got 4 and 1"):
        image_intervals(scores, labels)
