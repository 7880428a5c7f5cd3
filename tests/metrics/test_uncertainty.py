"""Intervals cover, and see images rather than pixels."""

import numpy as np
import pytest

from adlib.metrics import (
    EvaluationProtocol,
    image_intervals,
    pixel_intervals,
    score_images,
    score_maps,
)
from adlib.metrics.uncertainty import drawn_metrics, image_rows, pixel_rows
from tests.metrics.test_streaming import blobs

FEW = 200  # resamples, where only the machinery is tested


def gaussians(n: int, gap: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(n) % 3 == 0
    return np.random.default_rng(seed).normal(size=n) + gap * labels, labels


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
    rows = pixel_rows(maps, masks, protocol)
    draw = np.array([0, 3, 3, 5, 1, 7, 0, 2])
    exact = score_maps(maps[draw], masks[draw], protocol=protocol)
    for name, value in drawn_metrics(rows, draw, 0.2).items():
        assert value == pytest.approx(exact[name], abs=2e-3)


def test_intervals_cover_the_true_auroc_about_as_often_as_they_say() -> None:
    truth = 0.7602  # of two unit normals one apart: the normal distribution at 1 / sqrt(2)
    inside = 0
    for seed in range(60):
        found = image_intervals(*gaussians(120, 1.0, seed), resamples=FEW)["auroc"]
        assert found.low <= found.value <= found.high
        inside += found.low <= truth <= found.high
    assert 51 <= inside <= 60  # 57 expected, standard deviation 1.7


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


def test_too_few_images_are_refused() -> None:
    scores, labels = np.arange(5.0), np.arange(5) == 4
    with pytest.raises(ValueError, match="two of each kind, got 4 and 1"):
        image_intervals(scores, labels)
