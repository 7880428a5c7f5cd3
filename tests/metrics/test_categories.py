"""Per category, mean and pooled are three numbers."""

import numpy as np
import pytest

from adlib.metrics import mean_over, score_categories


def test_mean_and_pooled_differ_where_scales_differ() -> None:
    scores = np.array([0.1, 0.2, 10.0, 11.0])
    labels = np.array([False, True, False, True])
    found = score_categories(scores, labels, ["a", "a", "b", "b"])
    assert [row["auroc"] for row in found["categories"].values()] == [1, 1]
    assert found["mean"] == {"auroc": 1, "ap": 1, "f1_max": 1}
    assert found["pooled"]["auroc"] == 0.75


def test_mean_weighs_categories_not_images() -> None:
    assert mean_over({"a": {"ap": 0.2}, "b": {"ap": 0.8}}) == {"ap": 0.5}
    assert mean_over({"a": {"ap": 0.2}, "b": {"ap": None}}) == {"ap": None}
    assert mean_over({}) == {}


def test_a_category_without_a_class_is_named() -> None:
    with pytest.raises(ValueError, match="category 'b': metrics need both classes, got 0 anomal"):
        score_categories(np.arange(3.0), np.array([False, True, False]), ["a", "a", "b"])
