"""A trained method against the test images of a data set: the record."""

import json
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from adlib.data.dataset import DataSplits, ImageDataset
from adlib.data.split import refuse_seen
from adlib.engine import runs
from adlib.engine.features import cached_features
from adlib.engine.scoring import OURS, SPAN, Scored, check_method, score_category, score_features
from adlib.methods.detector import Detector
from adlib.metrics import EvaluationProtocol, mean_over
from adlib.metrics.protocol import protocol_named
from adlib.system.disk import to_json
from adlib.system.hardware import (
    choose_dtype,
    describe,
    peak_memory_mib,
)
from adlib.system.progress import track

DIGITS = 6  # of an image's score in a record; ours: as many as fp32 is sure of
RECORD = "record.json"  # what a run's is called
PARTS = {"method", "data", "categories", "mean", "protocol"}  # by which a record is known


def scores_of(
    method: Detector, images: ImageDataset, *, precision: str = "auto"
) -> Float[np.ndarray, " n"]:
    """Return the image scores of n images, in their order, by way of the feature cache."""
    check_method(method)
    device = next(method.parameters()).device
    dtype = choose_dtype(precision, device)
    features = cached_features(method, images, device=device, dtype=dtype)
    parts = [score_features(method, part, dtype)[1] for part in features.split(SPAN)]
    return np.concatenate(parts)


def evaluate(
    method: Detector,
    data: DataSplits,
    *,
    protocol: EvaluationProtocol | str = OURS,
    precision: str = "auto",
    intervals: bool = False,
) -> runs.Record:
    """Score a trained method on the test images of a data set, each category by itself.

    Args:
        method: A trained method.
        data: Its `test` images, normal and anomalous.
        protocol: How maps and masks become numbers, or the name of one of `PROTOCOLS`; stored
            with them.
        precision: As in `fit`.
        intervals: Also keep the scores of single images (`images`), so that `adlib report` can
            compare methods on them, and the metrics' intervals over the choice of images
            (`intervals`). Costs a second or two a category, which `test_seconds` includes.
    Returns:
        The record: seven metrics per category and their mean over categories, fractions in
        [0, 1]. Pixel metrics are None where a defective image has no mask, or where the masks of a
        category have no defective pixel, as the protocol leaves them. Categories too large for
        memory are scored by streaming, whose error bounds stand in the record.
    Raises:
        TypeError: A `Run` in the place of its method.
        ValueError: An unknown protocol; a category without normal or without anomalous test
            images, or with fewer than two of each where intervals are asked for; or a test image
            that was trained on.
    Warns:
        RuntimeWarning: Masks of defective images that are empty, or that the protocol empties.
    """
    check_method(method)
    protocol = protocol_named(protocol) if isinstance(protocol, str) else protocol
    started = time.perf_counter()
    refuse_seen(method.provenance.get("seen", []), data.test, data.name)
    device = next(method.parameters()).device
    dtype = choose_dtype(precision, device)
    least, what = 1, "metrics need normal and anomalous"
    if intervals:
        least, what = 2, "intervals need two normal and two anomalous"
    for category in data.test.categories:
        mine = data.test.of(category).labels
        if min((~mine).sum(), mine.sum()) < least:
            raise ValueError(
                f"{data.name}/{category}: {what} test images, got "
                f"{(~mine).sum()} normal and {mine.sum()} anomalous"
            )
    features = cached_features(method, data.test, device=device, dtype=dtype, label="encode test")
    names = np.array([r.category for r in data.test.references])
    found: dict[str, Scored] = {}
    single: dict[str, dict[str, list]] = {}
    for category in track(data.test.categories, "score", unit="category"):
        mine = np.flatnonzero(names == category)
        images, part = data.test.select(mine), features[torch.from_numpy(mine)]
        each = score_category(method, images, part, dtype, protocol, intervals)
        found[category] = each
        single[category] = {
            "labels": images.labels.astype(int).tolist(),
            "scores": [float(f"{score:.{DIGITS}g}") for score in each.scores],
        }
    if lost := [path for each in found.values() for path in each.lost]:
        bare = [repr(c) for c, each in found.items() if each.lost and each.metrics["aupro"] is None]
        warnings.warn(
            f"under protocol {protocol.name!r} no defective pixel is left of the masks of "
            f"{len(lost)} image{'s' * (len(lost) > 1)}, so that all pixels count as normal: "
            f"{lost[0]}" + f"; no pixel metrics for {', '.join(bare)}" * bool(bare),
            RuntimeWarning,
            stacklevel=2,
        )
    categories = {category: each.metrics for category, each in found.items()}
    around = {c: {m: list(ends) for m, ends in each.intervals.items()} for c, each in found.items()}
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
        "pixel_error_bounds": {c: each.bounds for c, each in found.items() if each.bounds},
        **({"images": single, "intervals": around} if intervals else {}),
        "seed": seen.get("seed"),
        "steps": seen.get("steps"),
        "holdout": seen.get("holdout"),
        "seconds": seen.get("seconds"),
        "test_seconds": round(time.perf_counter() - started, 3),
        "peak_memory_mib": peak_memory_mib(),
        "device": describe(device),
        "precision": str(dtype).removeprefix("torch."),
        "versions": runs.versions(),
        "commit": runs.commit(),
    }


def check_replaceable(out: Path) -> None:
    """Raise FileExistsError where a file stands at `out` that is no record of an evaluation.

    What has a record's own name may be replaced even if it is damaged.
    """
    if not out.exists() or out.name == RECORD:
        return
    try:
        value = json.loads(out.read_text(encoding="utf-8"))
    except ValueError:  # no JSON, or no text
        value = None
    if not isinstance(value, dict) or not value.keys() >= PARTS:
        raise FileExistsError(
            f"{out} exists already and is no record of an evaluation; name another file"
        )
