"""Labelled defects set the threshold of a trained method."""

from dataclasses import replace

from adlib.data.dataset import DataSplits
from adlib.engine.evaluation import scores_of
from adlib.methods.detector import Detector
from adlib.metrics.threshold import Calibration, LabelledDefects


def calibrate_by_defects(
    method: Detector, data: DataSplits, miss: float, *, precision: str = "auto"
) -> Calibration:
    """Return a method's calibration with the scores of the defects of a data set.

    Args:
        method: A trained and calibrated method.
        data: Its defects, of the test or `seen`, without those that the method was trained on. A
            copy counts once, so that it does not weigh twice.
        miss: Accepted share of defects like these that are missed.
        precision: As in `fit`.
    Raises:
        ValueError: A rate outside (0, 1), a method without a threshold, no defect that it was not
            trained on, or a category that it does not know.
    """
    known = method.calibration
    if not 0 < miss < 1:
        raise ValueError(f"the miss rate must lie in (0, 1), got {miss}")
    if known is None or not known.scores:
        raise ValueError("the run has no threshold: it was trained with holdout 0, or on one image")
    scores: dict[str, list[float]] = {}
    marks = set(method.provenance.get("seen", []))
    prints: list[str] = []
    for images in data.splits:
        chosen: list[int] = []
        for i in images.labels.nonzero()[0].tolist():
            if (mark := images.fingerprints[i].hex()) not in marks:
                marks.add(mark)
                prints.append(mark)
                chosen.append(i)
        if chosen:
            defects = images.select(chosen)
            found = scores_of(method, defects, precision=precision).tolist()
            for reference, score in zip(defects.references, found, strict=True):
                scores.setdefault(reference.category, []).append(score)
    if not scores:
        raise ValueError(
            f"{data.name}: expected labelled defects that the run was not trained on, got none"
        )
    if len(known.scores) == len(scores) == 1:  # its folder may have another name by now
        scores = dict(zip(known.scores, scores.values(), strict=True))
    if unknown := sorted(scores.keys() - known.scores):
        raise ValueError(
            f"{data.name}: the run knows no category {', '.join(unknown)}, only "
            f"{', '.join(known.scores)}; name those that it knows with --categories"
        )
    return replace(known, defects=LabelledDefects(miss=miss, scores=scores, prints=prints))
