"""Exact ranking metrics against the definition of each and against scikit-learn."""

from collections.abc import Callable

import jaxtyping
import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from adlib.metrics import (
    auroc,
    average_precision,
    best_f1,
    image_intervals,
    mean_over,
    score_images,
)
from adlib.metrics.ranking import precision_trapezoid, ranks, sort_classes
from tests.metrics import slow

many = settings(max_examples=1000, deadline=None, derandomize=True, database=None)
some = settings(many, max_examples=200)


@st.composite
def tied_scores(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """2 to 30 scores of at most 13 values, both classes present, any float type."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, levels = draw(st.integers(2, 30)), draw(st.integers(1, 6))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    truth = rng.random(n) < rng.random()
    truth[:2] = True, False
    return rng.integers(-levels, levels + 1, n).astype(dtype) / dtype(4), truth


@many
@given(tied_scores())
def test_metrics_are_their_definitions(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, truth = case
    found = score_images(scores, truth)
    assert found["auroc"] == pytest.approx(slow.auroc(scores, truth), abs=1e-12)
    assert found["ap"] == pytest.approx(slow.average_precision(scores, truth), abs=1e-12)
    assert (found["f1_max"], found["f1_threshold"]) == pytest.approx(slow.best_f1(scores, truth))
    assert auroc(scores, truth) == found["auroc"]
    assert average_precision(scores, truth) == found["ap"]
    assert best_f1(scores, truth) == (found["f1_max"], found["f1_threshold"])


@some
@given(tied_scores())
def test_trapezoids_are_those_of_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, truth = case
    precision, recall, _ = sk.precision_recall_curve(truth, scores)
    area = sk.auc(recall, precision)
    assert precision_trapezoid(*sort_classes(scores, truth)) == pytest.approx(area, abs=1e-12)


@some
@given(tied_scores(), st.integers(1, 7))
def test_blocks_do_not_change_the_ranks(case: tuple[np.ndarray, np.ndarray], block: int) -> None:
    normal, anomalous = sort_classes(*case)
    whole = next(iter(ranks(normal, anomalous, 99)))
    parts = list(ranks(normal, anomalous, block))
    for name in whole._fields:
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name))


def test_ties_longer_than_any_walk_are_counted() -> None:
    scores = np.repeat([0.0, 1.0, 2.0], (50, 90, 40))
    truth = np.random.default_rng(0).random(180) < 0.4
    assert auroc(scores, truth) == pytest.approx(slow.auroc(scores, truth), abs=1e-12)


@some
@given(tied_scores())
def test_only_the_order_counts(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, truth = case
    scores = scores.astype(np.float64)
    found = score_images(scores, truth)
    for increasing in (np.exp, np.arctan, lambda x: x**3 - 7):
        again = score_images(increasing(scores), truth)
        assert {k: again[k] for k in ("auroc", "ap", "f1_max")} == {
            k: found[k] for k in ("auroc", "ap", "f1_max")
        }
        assert again["f1_threshold"] == increasing(np.float64(found["f1_threshold"]))


def test_constant_scores_are_chance() -> None:
    truth = np.arange(10) < 3
    found = score_images(np.full(10, 0.7), truth)
    assert found == {"auroc": 0.5, "ap": 0.3, "f1_max": pytest.approx(6 / 13), "f1_threshold": 0.7}


def test_negative_zero_equals_zero() -> None:
    assert auroc(np.array([0.0, -0.0], np.float32), np.array([True, False])) == 0.5


@pytest.mark.parametrize("anomalous", [0, 4])
def test_a_missing_class_is_named(anomalous: int) -> None:
    words = f"got {anomalous} anomalous and {4 - anomalous} normal scores"
    with pytest.raises(ValueError, match=words):
        score_images(np.arange(4.0), np.full(4, anomalous > 0))


@pytest.mark.parametrize(
    "metric", [score_images, auroc, average_precision, best_f1, image_intervals]
)
def test_labels_of_0_and_1_are_refused_where_nobody_checks_annotations(
    metric: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    scores, labels = np.array([0.1, 0.2, 0.3, 0.8, 0.9, 0.4]), np.array([0, 0, 0, 1, 1, 0])
    with pytest.raises(TypeError, match=r"must be bool .* got int64"):
        metric(scores, labels)
    assert auroc(scores, labels > 0) == 1
    with pytest.raises(ValueError, match=r"\(6,\) and \(5,\)"):
        metric(scores, labels[1:] > 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match=f"image 1 has {bad}"):
        score_images(np.array([0.1, bad, 0.3]), np.array([True, False, False]))


def test_the_mean_weighs_categories_not_images_and_no_thresholds() -> None:
    rows = {"a": {"ap": 0.2, "f1_threshold": 1.0}, "b": {"ap": 0.8, "f1_threshold": 9.0}}
    assert mean_over(rows) == {"ap": 0.5}
    assert mean_over({"a": {"ap": 0.2}, "b": {"ap": None}}) == {"ap": None}
    assert mean_over({"a": {"ap": 0.2}, "b": {}}) == {"ap": None}
    assert mean_over({}) == {}
