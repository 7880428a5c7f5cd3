"""The curves themselves, where a figure wants them; no metric but trapezoidal AP needs one."""

import numpy as np
from jaxtyping import Bool, Float, Int

from adlib.metrics.ranking import sort_classes


def precision_trapezoid(
    normal: Float[np.ndarray, " a"], anomalous: Float[np.ndarray, " b"]
) -> float:
    """Area under the precision-recall curve with lines between its points, from sorted scores."""
    precision, recall, _ = _precision_recall(normal, anomalous)
    return -float(np.trapezoid(precision, recall))


def precision_recall_curve(
    scores: Float[np.ndarray, " n"], labels: Bool[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " j"], Float[np.ndarray, " j"], Float[np.ndarray, " k"]]:
    """Precision, recall and rising thresholds, for a figure; ends with precision 1, recall 0."""
    return _precision_recall(*sort_classes(scores, labels))


def roc_curve(
    scores: Float[np.ndarray, " n"], labels: Bool[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " j"], Float[np.ndarray, " j"], Float[np.ndarray, " k"]]:
    """False- and true-positive rate and rising thresholds, for a figure; ends at (0, 0)."""
    alarms, hits, scores = _counts(*sort_classes(scores, labels))
    return np.append(alarms / alarms[0], 0), np.append(hits / hits[0], 0), scores


def _counts(
    normal: Float[np.ndarray, " a"], anomalous: Float[np.ndarray, " b"]
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    scores = np.unique(np.concatenate((normal, anomalous)))
    alarms = len(normal) - np.searchsorted(normal, scores)
    return alarms, len(anomalous) - np.searchsorted(anomalous, scores), scores


def _precision_recall(
    normal: Float[np.ndarray, " a"], anomalous: Float[np.ndarray, " b"]
) -> tuple[Float[np.ndarray, " j"], Float[np.ndarray, " j"], Float[np.ndarray, " k"]]:
    alarms, hits, scores = _counts(normal, anomalous)
    return np.append(hits / (hits + alarms), 1), np.append(hits / hits[0], 0), scores
