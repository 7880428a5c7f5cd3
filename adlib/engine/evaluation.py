"""A trained method against the test images of a data set: the record."""

import time

import numpy as np
import torch
from jaxtyping import Float

from adlib import runs
from adlib.data.sample import Data, Images
from adlib.data.split import refuse_seen
from adlib.disk import to_json
from adlib.engine.scoring import OURS, SPAN, score_category, score_features
from adlib.features import cached_features
from adlib.hardware import (
    choose_dtype,
    describe,
    peak_memory_mib,
)
from adlib.methods.method import Method
from adlib.metrics import EvaluationProtocol, mean_over
from adlib.progress import track


def scores_of(
    method: Method, images: Images, *, precision: str = "auto"
) -> Float[np.ndarray, " n"]:
    """Return the image scores of n images, in their order, by way of the feature cache."""
    device = next(method.parameters()).device
    dtype = choose_dtype(precision, device)
    features = cached_features(method, images, device=device, dtype=dtype)
    parts = [score_features(method, part, dtype)[1] for part in features.split(SPAN)]
    return np.concatenate(parts)


def evaluate(
    method: Method,
    data: Data,
    *,
    protocol: EvaluationProtocol = OURS,
    precision: str = "auto",
) -> runs.Record:
    """Score a trained method on the test images of a data set, each category by itself.

    Args:
        method: A trained method.
        data: Its `test` images, normal and anomalous.
        protocol: How maps and masks become numbers; stored with them.
        precision: As in `fit`.
    Returns:
        The record: seven metrics per category and their mean over categories, fractions in
        [0, 1]. Pixel metrics are None where a defective image has no mask. Categories too
        large for memory are scored by streaming, whose error bounds stand in the record.
    Raises:
        ValueError: A category without normal or without anomalous test images, or a test image
            that the method was trained on.
    """
    started = time.perf_counter()
    refuse_seen(method.provenance.get("seen", []), data.test, data.name)
    device = next(method.parameters()).device
    dtype = choose_dtype(precision, device)
    for category in data.test.categories:
        mine = data.test.of(category).labels
        if mine.all() or not mine.any():
            raise ValueError(
                f"{data.name}/{category}: metrics need normal and anomalous test images, got "
                f"{(~mine).sum()} normal and {mine.sum()} anomalous"
            )
    features = cached_features(method, data.test, device=device, dtype=dtype, label="encode test")
    names = np.array([r.category for r in data.test.references])
    categories: dict[str, dict[str, float | None]] = {}
    bounds: dict[str, dict[str, float]] = {}
    for category in track(data.test.categories, "score", unit="category"):
        mine = np.flatnonzero(names == category)
        images, part = data.test.select(mine), features[torch.from_numpy(mine)]
        categories[category], bound = score_category(method, images, part, dtype, protocol)
        if bound is not None:
            bounds[category] = bound
    seen = method.provenance
    return {
        "method": method.name,
        "config": to_json(method.config),
        "encoder": {"name": method.encoder.name, "sha256": method.encoder.digest},
        "data": {"name": data.name, "hash": data.hash},
        "trained_on": seen.get("data"),
        "drawn": data.drawn,
        "categories": categories,
        "mean": mean_over(categories),
        "protocol": protocol.to_json(),
        "pixel_error_bounds": bounds,
        "seed": seen.get("seed"),
        "steps": seen.get("steps"),
        "seconds": seen.get("seconds"),
        "test_seconds": round(time.perf_counter() - started, 3),
        "peak_memory_mib": peak_memory_mib(),
        "device": describe(device),
        "precision": str(dtype).removeprefix("torch."),
        "versions": runs.versions(),
        "commit": runs.commit(),
    }
