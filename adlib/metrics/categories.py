"""From images to a data set: per category, the mean over categories, and pooled.

The three are different numbers and keep different names. The mean weighs every category the same
and needs no common scale of scores; pooling throws all images into one ranking, as if one threshold
had to serve every category.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from adlib.metrics.ranking import score_images


def mean_over(
    categories: Mapping[str, Mapping[str, float | None]],
) -> dict[str, float | None]:
    """The mean of each metric over the categories; thresholds are left out, scales may differ.

    None where a category lacks the metric: a mean over fewer categories is another number.
    """
    rows = list(categories.values())
    names = [name for name in (rows[0] if rows else ()) if not name.endswith("threshold")]
    columns = {name: [row.get(name) for row in rows] for name in names}
    return {
        name: None if None in column else sum(column) / len(column)  # pyright: ignore
        for name, column in columns.items()
    }


def score_categories(
    scores: Float[np.ndarray, " n"],
    labels: Bool[np.ndarray, " n"],
    categories: Sequence[str],
) -> dict[str, dict]:
    """Image metrics of a data set.

    For pixels, call `score_maps` per category and `mean_over`; the pooled value is that of all
    categories' `StreamingScores` merged.

    Args:
        scores: One value per image on any scale, larger for more anomalous.
        labels: True for an anomalous image.
        categories: The category of every image.
    Returns:
        {"categories": {name: metrics}, "mean": metrics, "pooled": metrics}.
    Raises:
        ValueError: A category lacks normal or anomalous images (the message names it).
        TypeError: The labels are not bool, such as 0 and 1.
    """
    of = np.asarray(categories)
    rows: dict[str, dict[str, float]] = {}
    for name in sorted(set(categories)):
        try:
            rows[name] = score_images(scores[of == name], labels[of == name])
        except ValueError as error:
            raise ValueError(f"category {name!r}: {error}") from error
    return {"categories": rows, "mean": mean_over(rows), "pooled": score_images(scores, labels)}
