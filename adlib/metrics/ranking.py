"""Metrics of an order: how well scores put anomalous things above normal ones.

Only the places of the anomalous scores among the sorted normal scores matter, so one sort of the
normal scores gives AUROC, average precision and the best F1 exactly, with no curve built.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

BLOCK = 1 << 14  # anomalous scores handled at once, so that the work stays in cache; ours


class Ranks(NamedTuple):
    """Anomalous things in rising order of score, and their places among the normal ones.

    `hits` and `alarms` are what the decision "anomalous when score >= this score" finds; counts are
    whole numbers kept as float64 (exact up to 2^53), since they enter divisions only.
    """

    score: Float[np.ndarray, " k"]
    number: Float[np.ndarray, " k"]  # anomalous things that this entry stands for
    hits: Float[np.ndarray, " k"]  # anomalous things with this score or a higher one
    alarms: Float[np.ndarray, " k"]  # normal things with this score or a higher one
    tied: Float[np.ndarray, " k"]  # normal things with exactly this score


@dataclass
class Totals:
    """Sums over the anomalous things of one set, from which its ranking metrics follow."""

    anomalous: int
    normal: int
    lost: float = 0.0  # pairs of an anomalous and a normal thing in the wrong order; ties count 1/2
    precision: float = 0.0  # precision once each anomalous thing is let in
    best: float = -1.0  # highest F1 so far, of equal ones at the highest threshold
    threshold: float = math.nan

    def add(self, r: Ranks) -> None:
        """Take in the next anomalous things, in rising order of score."""
        self.lost += float(r.number @ (r.alarms - r.tied / 2))
        self.precision += float(r.number @ (r.hits / (r.hits + r.alarms)))
        f1 = 2 * r.hits / (r.hits + r.alarms + self.anomalous)
        i = len(f1) - 1 - int(f1[::-1].argmax())
        if f1[i] >= self.best:
            self.best, self.threshold = float(f1[i]), float(r.score[i])

    def metrics(self) -> dict[str, float]:
        """AUROC, step-wise average precision, best F1 and its threshold."""
        return {
            "auroc": 1 - self.lost / (self.anomalous * self.normal),
            "ap": self.precision / self.anomalous,
            "f1_max": self.best,
            "f1_threshold": self.threshold,
        }


def ties(
    ordered: Float[np.ndarray, " n"],
    needles: Float[np.ndarray, " k"],
    places: Int[np.ndarray, " k"],
) -> Float[np.ndarray, " k"]:
    """How often each needle stands in `ordered`, from its place there on."""
    found = np.zeros(len(needles))
    same = np.flatnonzero(ordered.take(places, mode="clip") == needles)
    found[same] = np.searchsorted(ordered, needles[same], "right") - places[same]
    return found


def ranks(
    normal: Float[np.ndarray, " n"], anomalous: Float[np.ndarray, " p"], block: int = BLOCK
) -> Iterator[Ranks]:
    """The places of anomalous scores among normal ones, block by block; both in rising order."""
    begin = 0
    one = np.ones(block)
    while begin < len(anomalous):
        end = min(begin + block, len(anomalous))
        part = anomalous[begin:end]
        first = np.arange(begin, end, dtype=np.float64)  # where this score begins
        same = part[1:] == part[:-1]
        first[1:][same] = 0
        first[0] = np.searchsorted(anomalous, part[0])
        np.maximum.accumulate(first, out=first)
        # Rising needles let the search be narrowed, which keeps it in cache.
        low = min(int(np.searchsorted(normal, part[0])), len(normal) - 1)
        near = normal[low : max(int(np.searchsorted(normal, part[-1], "right")), low + 1)]
        below = np.searchsorted(near, part)
        yield Ranks(
            score=part,
            number=one[: len(part)],
            hits=len(anomalous) - first,
            alarms=(len(normal) - low - below).astype(np.float64),
            tied=ties(near, part, below),
        )
        begin = end


def refuse(scores: Float[np.ndarray, "n ..."], names: Sequence[str] | None, first: int = 0) -> None:
    """Raise ValueError that names the first image (counted from `first`) with a bad score."""
    bad = ~np.isfinite(scores)
    if bad.any():
        i, *place = map(int, np.unravel_index(bad.argmax(), bad.shape))
        name = f" ({names[first + i]})" if names is not None else ""
        where = f" at {tuple(place)}" if place else ""
        value = scores[i, *place]
        raise ValueError(f"scores must be finite, image {first + i}{name} has {value}{where}")


def need_both(anomalous: int, normal: int, things: str) -> None:
    """Refuse a set in which no pair can be ordered."""
    if min(anomalous, normal) == 0:
        raise ValueError(
            f"metrics need both classes, got {anomalous} anomalous and {normal} normal {things}"
        )


def sort_classes(
    scores: Float[np.ndarray, " n"], labels: Bool[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " a"], Float[np.ndarray, " b"]]:
    """Normal and anomalous scores, each in rising order."""
    if scores.shape != labels.shape:
        raise ValueError(f"one label a score is needed, got {scores.shape} and {labels.shape}")
    if labels.dtype != np.bool_:  # numpy would take 0 and 1 for places
        raise TypeError(
            f"labels must be bool (True = anomalous), got {labels.dtype}: use labels > 0"
        )
    refuse(scores, None)
    scores = scores.astype(np.float32) if scores.dtype == np.float16 else scores  # exact, faster
    normal, anomalous = np.sort(scores[~labels]), np.sort(scores[labels])
    need_both(len(anomalous), len(normal), "scores")
    return normal, anomalous


def score_images(
    scores: Float[np.ndarray, " n"], labels: Bool[np.ndarray, " n"]
) -> dict[str, float]:
    """The image-level metrics of one category.

    Args:
        scores: One value per image on any scale, larger for more anomalous.
        labels: True for an anomalous image.
    Returns:
        {"auroc", "ap", "f1_max", "f1_threshold"}: three fractions in [0, 1], and the score from
        which on an image is called anomalous for the best F1.
    Raises:
        ValueError: A class is absent, or a score is not finite.
        TypeError: The labels are not bool, such as 0 and 1.
    """
    normal, anomalous = sort_classes(scores, labels)
    total = Totals(len(anomalous), len(normal))
    for r in ranks(normal, anomalous):
        total.add(r)
    return total.metrics()


def auroc(scores: Float[np.ndarray, " n"], labels: Bool[np.ndarray, " n"]) -> float:
    """Probability that a random anomaly outscores a random normal; ties count one half.

    A fraction in [0, 1], where 0.5 is chance. Arguments and errors are those of `score_images`.
    Equation :eq:`eq-auroc`, chapter 2.

    Source: Hanley and McNeil, Radiology 143 (1982), the rank-sum form.
    """
    return score_images(scores, labels)["auroc"]


def average_precision(scores: Float[np.ndarray, " n"], labels: Bool[np.ndarray, " n"]) -> float:
    """Mean, over the anomalies, of the precision reached when each is just let in.

    A fraction in [0, 1], where the share of anomalies is chance. Tied scores are let in together,
    as in scikit-learn's `average_precision_score`. Arguments and errors are those of
    `score_images`. Equation :eq:`eq-ap`, chapter 2.

    Source: Davis and Goadrich, ICML 2006, on why no lines join the points of the curve.
    """
    return score_images(scores, labels)["ap"]


def best_f1(scores: Float[np.ndarray, " n"], labels: Bool[np.ndarray, " n"]) -> tuple[float, float]:
    """Highest F1 of any rule "anomalous when score >= threshold", and that threshold.

    The threshold is the score of an anomaly: between two of them F1 can only be lower. Of several
    thresholds with the same F1 the highest is returned, which has the fewest false alarms.
    Arguments and errors are those of `score_images`. Equation :eq:`eq-f1`, chapter 2.
    """
    found = score_images(scores, labels)
    return found["f1_max"], found["f1_threshold"]


def precision_trapezoid(
    normal: Float[np.ndarray, " a"], anomalous: Float[np.ndarray, " b"]
) -> float:
    """Area under the precision-recall curve with lines between its points, from sorted scores.

    The lines are optimistic; some projects draw them.
    """
    scores = np.unique(np.concatenate((normal, anomalous)))
    alarms = len(normal) - np.searchsorted(normal, scores)
    hits = len(anomalous) - np.searchsorted(anomalous, scores)
    precision, recall = np.append(hits / (hits + alarms), 1), np.append(hits / hits[0], 0)
    return -float(np.trapezoid(precision, recall))


def mean_over(categories: Mapping[str, Mapping[str, float | None]]) -> dict[str, float | None]:
    """The mean of each metric over the categories, each of which weighs the same.

    It needs no common scale of scores. Thresholds are left out. The mean is None where a category
    lacks the metric: a mean over fewer categories is another number.
    """
    rows = list(categories.values())
    names = [name for name in (rows[0] if rows else ()) if not name.endswith("threshold")]
    columns = {name: [row.get(name) for row in rows] for name in names}
    return {
        name: None if None in column else sum(column) / len(column)  # pyright: ignore
        for name, column in columns.items()
    }
