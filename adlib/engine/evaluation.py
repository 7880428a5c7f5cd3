"""A trained method against the test images of a data set: the record."""

import time
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from adlib.data.dataset import DataSplits, ImageDataset
from adlib.data.split import refuse_seen, supervise, without_seen
from adlib.engine import runs
from adlib.engine.decisions import decisions
from adlib.engine.features import cached_features, select, tiles_of
from adlib.engine.record import Record, check_place
from adlib.engine.scoring import OURS, SPAN, Scored, check_method, score_category, score_photographs
from adlib.methods.config import resolved
from adlib.methods.detector import Detector
from adlib.metrics import EvaluationProtocol, mean_over
from adlib.metrics.protocol import protocol_named
from adlib.system.disk import to_json, write_json
from adlib.system.hardware import choose_dtype, describe, peak_memory_mib
from adlib.system.progress import track

RULES = ("size", "crop", "smoothing", "border", "image_score")  # that make an image score


def scores_of(
    method: Detector, images: ImageDataset, *, precision: str = "auto"
) -> Float[np.ndarray, " n"]:
    """Return the image scores of n images, in their order, by way of the feature cache."""
    check_method(method)
    device = next(method.parameters()).device
    dtype = choose_dtype(precision, device)
    tiles = tiles_of(method, images)
    features = cached_features(method, tiles or images, device=device, dtype=dtype)
    spans = (range(i, min(i + SPAN, len(images))) for i in range(0, len(images), SPAN))
    parts = (select(features, tiles, span) for span in spans)
    return np.concatenate([score_photographs(method, *part, dtype)[1] for part in parts])


def evaluate(
    method: Detector,
    data: DataSplits,
    *,
    protocol: EvaluationProtocol | str = OURS,
    precision: str = "auto",
    intervals: bool = False,
    out: Path | str | None = None,
    replace: bool = False,
) -> Record:
    """Score a trained method on the test images of a data set, each category by itself.

    Defects that the method was trained on, or that set its threshold, leave the test set first
    (`as_in_training`).

    Args:
        method: A trained method.
        data: Its `test` images, normal and anomalous.
        protocol: How maps and masks become numbers, or the name of one of `PROTOCOLS`.
        precision: As in `fit`.
        intervals: Also keep the scores of single images (`images`), so that `adlib report` can
            compare methods on them, and the metrics' intervals over the choice of images
            (`intervals`). Costs a second or two a category.
        out: A file for the record. A record that stands there is replaced if it is of the same
            images and protocol.
        replace: Replace any record at `out`.
    Returns:
        The record: seven metrics per category and their mean over categories, fractions in
        [0, 1]; and `decisions` at the threshold that `predict` takes, whatever the protocol, with
        `pixel_f1` of its masks by category, where the protocol scores the same maps. Pixel
        metrics are None where a defective image has no mask, or where no mask of a category shows
        a defective pixel. Categories too large for memory are scored by streaming, whose error
        bounds stand in the record.
    Raises:
        TypeError: A `Run` in the place of its method.
        ValueError: An unknown protocol; images of several sizes where it takes them as they are;
            a category without normal or without anomalous test images (two of each for intervals);
            or a test image that was trained on, since the data were split in another way.
        FileExistsError: The file at `out` must not be replaced.
        OSError: `out` cannot be written.
    Warns:
        RuntimeWarning: Masks of defective images that are empty, or that the protocol empties; or
            categories that the method was not trained on.
    """
    check_method(method)
    protocol = protocol_named(protocol) if isinstance(protocol, str) else protocol
    started = time.perf_counter()
    data = as_in_training(method, data)
    refuse_seen(method.provenance.get("seen", []), data.test, data.name)
    out = None if out is None else Path(out)
    about = {"data": {"name": data.name, "hash": data.hash}, "protocol": protocol.to_json()}
    if out is not None:
        check_place(out, about, replace=replace)
    device = next(method.parameters()).device
    dtype = choose_dtype(precision, device)
    least, need = (2, "intervals need two") if intervals else (1, "metrics need")
    names = np.array([r.category for r in data.test.references])
    for category in data.test.categories:
        mine = data.test.labels[names == category]
        good, bad = int((~mine).sum()), int(mine.sum())
        if min(good, bad) < least:
            raise ValueError(
                f"{data.name}/{category}: {need} normal and {'two ' * intervals}anomalous test "
                f"images, got {good} normal and {bad} anomalous"
            )
    _warn_of_unknown_categories(method, data)
    tiles = tiles_of(method, data.test)
    place = {"device": device, "dtype": dtype, "label": "encode test"}
    features = cached_features(method, tiles or data.test, **place)
    found: dict[str, Scored] = {}
    same = all(getattr(protocol, rule) == getattr(OURS, rule) for rule in RULES)  # as `predict`
    for category in track(data.test.categories, "score", unit="category"):
        mine = np.flatnonzero(names == category)
        part, photographs = select(features, tiles, mine.tolist())
        images, limit = data.test.select(mine), None
        if same and method.calibration:
            own = category if category in method.calibration.peaks else None
            limit = method.calibration.pixel_threshold(category=own)
        found[category] = score_category(
            method, images, part, dtype, protocol, intervals, photographs, limit
        )
    if lost := [path for each in found.values() for path in each.lost]:
        bare = [repr(c) for c, each in found.items() if each.lost and each.metrics["aupro"] is None]
        warnings.warn(
            f"under protocol {protocol.name!r} no defective pixel is left of the masks of "
            f"{len(lost)} image{'s' * (len(lost) > 1)}, so that all pixels count as normal: "
            f"{lost[0]}" + f"; no pixel metrics for {', '.join(bare)}" * bool(bare),
            RuntimeWarning,
            stacklevel=2,
        )
    decided = None
    if method.calibration is not None:
        if same:
            scores = np.zeros(len(names))
            for category, each in found.items():
                scores[names == category] = each.scores
        else:  # the threshold is one for other scores
            scores = scores_of(method, data.test, precision=precision).astype(float)
        decided = decisions(scores, data.test.references, method.calibration)
        shipped = {c: f1 for c, each in found.items() if (f1 := each.mask_f1) is not None}
        if decided and shipped:
            decided["pixel_f1"] = shipped
    categories = {category: each.metrics for category, each in found.items()}
    trained = method.provenance
    record = Record.from_json(
        {
            "method": method.name,
            "config": to_json(resolved(method)),
            "encoder": {"name": method.encoder.name, "sha256": method.encoder.digest},
            **about,
            "trained_on": trained.get("data"),
            "drawn": data.drawn,
            "categories": categories,
            "mean": mean_over(categories),
            "pixel_error_bounds": {c: each.bounds for c, each in found.items() if each.bounds},
            "images": {c: each.images for c, each in found.items()} if intervals else None,
            "intervals": {c: each.intervals for c, each in found.items()} if intervals else None,
            "decisions": decided,
            **{name: trained.get(name) for name in ("seed", "steps", "holdout", "seconds")},
            "test_seconds": round(time.perf_counter() - started, 3),
            "peak_memory_mib": peak_memory_mib(),
            "device": describe(device),
            "precision": str(dtype).removeprefix("torch."),
            "versions": runs.versions(),
            "commit": runs.commit(),
        }
    )
    if out is not None:
        write_json(out, record)
    return record


def as_in_training(method: Detector, data: DataSplits) -> DataSplits:
    """Leave out of the test set the defects that left it in training, or that set the threshold.

    They are known by their content, whatever their folder is called by now and however many
    categories are asked for. A method that trained on none of the defects drawn for it loses them
    by the data set's name. Data that are split already are returned as they are.
    """
    trained, drawn = method.provenance, method.provenance.get("drawn")
    if data.drawn is None:
        if seen := trained.get("seen"):
            data = without_seen(data, seen, drawn)
        elif drawn and data.name == trained["data"]["name"]:
            data = supervise(data, *drawn)
    defects = method.calibration.defects if method.calibration else None
    marks = data.test.fingerprints if defects else ()
    left = [i for i, mark in enumerate(marks) if defects and mark.hex() not in defects.prints]
    return replace(data, test=data.test.select(left)) if len(left) < len(marks) else data


def _warn_of_unknown_categories(method: Detector, data: DataSplits) -> None:
    """Warn of categories without a threshold, on which the method was not trained.

    A category with a single normal image has none either: none of it was held out.
    """
    known = list(method.calibration.scores) if method.calibration else []
    normal = Counter(r.category for r in data.train.references)
    unknown = [c for c in data.test.categories if c not in known and normal[c] != 1]
    if known and unknown:
        warnings.warn(
            f"the run knows no category {', '.join(unknown)}, only {', '.join(known)}: unless it "
            "was renamed, the model is scored on images that it was not trained for",
            RuntimeWarning,
            stacklevel=3,
        )
