"""The choice of test images as a source of chance, where a record holds the images' scores.

`adlib.evaluate(..., intervals=True)` keeps them under `images`, in the form that `by_category`
gives to scores from elsewhere, and intervals of its metrics, pixels' too, under `intervals`:
`{CATEGORY: {METRIC: [low, high]}}`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from adlib.metrics.draws import drawn_metrics, image_rows
from adlib.report.records import Run, Section

RESAMPLES = 1_000  # ours: each end of a 95 % interval rests on 25 draws
LEVELS = 512  # distinct scores that are kept apart; ours: moves an interval by less than 1e-3
NEAR = 2e-3  # how far scores may land from the record's metric; ours, above what LEVELS costs


@dataclass(frozen=True)
class Draws:
    """Image metrics of one arm in many draws of the test images: mean over categories and seeds."""

    values: dict[str, Float[np.ndarray, " r"]]
    exact: dict[str, float]  # on the images themselves
    images: int


def by_category(
    categories: Sequence[str], labels: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"]
) -> dict[str, dict[str, list]]:
    """Arrange the image scores of a data set for a record's `images`.

    Args:
        categories: Of each of n test images.
        labels: True for an anomalous image.
        scores: Larger for more anomalous, such as `adlib.engine.scores_of` returns.
    Returns:
        {CATEGORY: {"labels": [0, 1, ...], "scores": [0.1, 0.7, ...]}}, in the images' order.
    """
    of = np.asarray(categories)
    return {
        name: {
            "labels": labels[of == name].astype(int).tolist(),
            "scores": scores[of == name].astype(float).tolist(),
        }
        for name in dict.fromkeys(categories)
    }


def draw(section: Section, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Draws]:
    """Draw test images with replacement, within category and label, the same for all arms.

    Returns:
        By arm; one without scores in every one of its runs is left out.
    Raises:
        ValueError: Other labels than in another run, a category with fewer than two images of a
            kind, or scores that do not give the record's own image AUROC.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993).
    """
    found = {}
    for arm in section.arms:
        runs = section.of(arm)
        if runs and all(run.record.get("images") for run in runs):
            found[arm] = _draw_arm(section, runs, resamples, seed)
    return found


def _draw_arm(section: Section, runs: list[Run], resamples: int, seed: int) -> Draws:
    first = next(run for run in section.runs if run.record.get("images"))
    parts: list[dict[str, np.ndarray]] = []
    images = 0
    for i, category in enumerate(section.categories):
        labels = np.array(_of(first, category)["labels"], bool)
        images += len(labels)
        strata = [np.flatnonzero(labels == kind) for kind in (False, True)]
        if min(map(len, strata)) < 2:
            raise ValueError(
                f"{first.id}, {category}: drawing images needs two of each kind, got "
                f"{len(strata[0])} normal and {len(strata[1])} anomalous"
            )
        rng = np.random.default_rng([seed, i])
        drawn = np.concatenate([rng.choice(s, (resamples, len(s))) for s in strata], axis=1)  # r n
        drawn = np.concatenate([np.arange(len(labels))[None], drawn])  # 1+r n: all images, first
        for run in runs:
            own = _of(run, category)
            scores = np.array(own["scores"], float)
            if not np.array_equal(np.array(own["labels"], bool), labels):
                raise ValueError(f"{run.id}, {category}: other labels than {first.id} has")
            if len(scores) != len(labels):
                raise ValueError(
                    f"{run.id}, {category}: {len(scores)} scores for {len(labels)} images"
                )
            rank = np.unique(scores, return_inverse=True)[1]
            rank = rank * LEVELS // max(LEVELS, rank.max() + 1) if rank.max() >= LEVELS else rank
            values = drawn_metrics(image_rows(rank, labels), drawn, 1.0)
            recorded = run.record["categories"][category]["image_auroc"]
            if abs(float(values["auroc"][0]) - recorded) > NEAR:
                raise ValueError(
                    f"{run.id}, {category}: the scores give image AUROC "
                    f"{values['auroc'][0]:.4f}, the record says {recorded:.4f}"
                )
            parts.append(values)
    means = {f"image_{name}": np.mean([part[name] for part in parts], axis=0) for name in parts[0]}
    exact = {name: float(np.mean([run.record["mean"][name] for run in runs])) for name in means}
    shifted = {name: m[1:] + (exact[name] - m[0]) for name, m in means.items()}  # what LEVELS moved
    return Draws(shifted, exact, images)


def _of(run: Run, category: str) -> Any:
    try:
        return run.record["images"][category]
    except KeyError as error:
        raise ValueError(f"{run.id}: its images have no category {category!r}") from error


def recorded_intervals(run: Run, category: str, metric: str) -> tuple[float, float] | None:
    """The interval over images that the run's own record holds, if it does."""
    interval = (run.record.get("intervals") or {}).get(category, {}).get(metric)
    return None if interval is None else (float(interval[0]), float(interval[1]))
