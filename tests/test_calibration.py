"""Thresholds keep the promise that they make."""

import numpy as np
import pytest

from adlib.metrics.threshold import Calibration, calibrate


def test_the_false_alarm_rate_is_kept_on_average() -> None:
    rng = np.random.default_rng(0)
    for n, rate in ((99, 0.01), (49, 0.1), (20, 0.25)):
        alarms = []
        for _ in range(3000):
            held = rng.gumbel(size=n)
            threshold = Calibration(scores={"x": held.tolist()}).threshold(rate)
            alarms.append((rng.gumbel(size=50) > threshold).mean())
        k = np.ceil((n + 1) * (1 - rate))
        exact = 1 - k / (n + 1)  # the expected share above the k-th of n exchangeable scores
        assert exact <= rate + 1e-12
        assert np.mean(alarms) == pytest.approx(exact, abs=0.006)


def test_too_few_images_give_the_largest_score_and_say_what_it_promises() -> None:
    few = Calibration(scores={"bolt": [3.0, 1.0], "nut": [2.0]})
    assert few.threshold(0.01) == 3.0
    assert few.threshold(0.01, "nut") == 2.0
    assert few.expected_rate(0.01) == pytest.approx(1 / 4)
    assert few.expected_rate(0.5) == 0.5
    assert few.threshold(0.5) == 2.0  # the second of three: ceil(4 * 0.5)


def test_the_rate_of_one_threshold_lies_in_its_interval_as_often_as_said() -> None:
    rng = np.random.default_rng(1)
    for n, rate, level in ((19, 0.05, 0.9), (40, 0.2, 0.8), (5, 0.01, 0.9)):
        below = above = 0
        for _ in range(2000):
            held = Calibration(scores={"x": rng.exponential(size=n).tolist()})
            low, high = held.rate_interval(rate, level=level)
            true = np.exp(-held.threshold(rate))  # the share of an exponential above it, exactly
            below, above = below + (true < low), above + (true > high)
        tail = (1 - level) / 2
        assert below / 2000 == pytest.approx(tail, abs=0.02)
        assert above / 2000 == pytest.approx(tail, abs=0.02)


def test_more_held_out_images_narrow_the_interval() -> None:
    width = {}
    for n in (9, 99, 999):
        scores = np.arange(n, dtype=float).tolist()
        low, high = Calibration(scores={"x": scores}).rate_interval(0.1)
        assert low < 0.1 < high
        width[n] = high - low
    assert width[9] > 2 * width[99] > 4 * width[999]
    with pytest.raises(ValueError, match=r"level must lie in \(0, 1\), got 1"):
        Calibration(scores={"x": [1.0]}).rate_interval(level=1.0)
    with pytest.raises(ValueError, match="no held-out normal scores"):
        Calibration().rate_interval()


def test_unknown_categories_and_rates_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no threshold for category 'screw'; .* seen bolt"):
        Calibration(scores={"bolt": [1.0]}).threshold(category="screw")
    with pytest.raises(ValueError, match=r"rate must lie in \(0, 1\), got 1"):
        Calibration(scores={"bolt": [1.0]}).threshold(1.0)
    with pytest.raises(ValueError, match="no held-out normal scores"):
        Calibration().threshold()


def test_normal_pixels_stay_in_the_lower_half_of_the_colours() -> None:
    maps = np.random.default_rng(0).random((3, 40, 50)).astype(np.float32)
    calibration = calibrate(np.array([0.1, 0.3, 0.2]), ["a", "b", "a"], maps)
    assert calibration.scores == {"a": [0.1, 0.2], "b": [0.3]}
    level = (maps - calibration.low) / (calibration.high - calibration.low)
    assert (level > 0.5).mean() == pytest.approx(0.001, abs=2e-4)
    assert np.median(level) == pytest.approx(0, abs=1e-3)


def test_a_category_is_promised_what_its_own_images_can_promise() -> None:
    bolt, nut = ([float(i) for i in range(n)] for n in (9, 99))
    both = Calibration(scores={"bolt": bolt, "nut": nut})
    for category, scores in (("bolt", bolt), ("nut", nut)):
        alone = Calibration(scores={category: scores})
        assert both.threshold(0.05, category) == alone.threshold(0.05)
        assert both.expected_rate(0.05, category) == alone.expected_rate(0.05)
        assert both.rate_interval(0.05, category) == alone.rate_interval(0.05)
    assert both.expected_rate(0.05, "bolt") == pytest.approx(1 / 10)
    assert both.expected_rate(0.05, "nut") == both.expected_rate(0.05) == 0.05
