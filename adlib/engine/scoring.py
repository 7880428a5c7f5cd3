"""From features to maps and scores, and from those to the seven metrics of a category."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from adlib.data.dataset import ImageDataset
from adlib.data.tiles import Tiled
from adlib.engine import runs
from adlib.engine.features import tiling_of, transform_of
from adlib.engine.record import METRICS
from adlib.methods.detector import Detector
from adlib.metrics import (
    EXACT_PIXELS,
    PROTOCOLS,
    EvaluationProtocol,
    Interval,
    StreamingScores,
    image_intervals,
    image_scores,
    pixel_intervals,
    prepare_maps,
    prepare_mask,
    score_images,
    score_maps,
)
from adlib.system.hardware import autocast

OURS = PROTOCOLS["ours"]
T = TypeVar("T")
DIGITS = 6  # of an image's score in a record: as many as fp32 is sure of
SPAN = 256  # maps in memory at a time where only their scores are wanted
CHUNK = 8  # cached images through the decoder at a time when scoring


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The part of a record that one category has."""

    metrics: dict[str, float | None]  #: fractions; None for pixels without masks or defects
    bounds: dict[str, float] | None  #: of the error of pixel metrics that were streamed
    scores: Float[np.ndarray, " n"]  #: of its images, in their order
    images: dict[str, list]  #: labels, and the same scores as a record has them
    intervals: dict[str, list[float]]  #: two ends of each metric that can have some
    mask_f1: float | None  #: of all pixels above `limit`; None without one, or without masks
    lost: list[str]  #: files whose masks show a defect that the protocol takes away


def check_method(method: object) -> None:
    """Raise TypeError where a `Run` stands in the place of the method that it holds."""
    if isinstance(method, runs.Run):
        raise TypeError("expected a method, got the Run that holds it: pass run.method")


def region_of_interest(
    method: Detector, protocol: EvaluationProtocol
) -> Bool[np.ndarray, "h w"] | None:
    """Return where a method's prepared maps count; None if everywhere."""
    rule = replace(protocol, mask_rule="half")
    return None if method.roi is None else prepare_mask(method.roi, rule)


@torch.no_grad()
def score_features(
    method: Detector,
    features: Float[Tensor, "n g t c"],
    dtype: torch.dtype,
    protocol: EvaluationProtocol = OURS,
) -> tuple[Float[np.ndarray, "n h w"], Float[np.ndarray, " n"]]:
    """Turn features into maps prepared by the protocol, and image scores.

    Outside the method's region of interest a map has its smallest value.
    """
    maps = _prepared(method, features, dtype, protocol)
    if (roi := region_of_interest(method, protocol)) is not None:
        maps = np.where(roi, maps, maps.min(axis=(1, 2), keepdims=True))
    return maps, _image_scores(method, maps, protocol)


@torch.no_grad()
def _prepared(
    method: Detector,
    features: Float[Tensor, "n g t c"],
    dtype: torch.dtype,
    protocol: EvaluationProtocol,
) -> Float[np.ndarray, "n h w"]:
    method.eval()
    device = next(method.parameters()).device
    maps: list[np.ndarray] = []
    with autocast(device, dtype):
        for chunk in features.split(CHUNK):
            raw = method.maps(chunk.to(device, torch.float32)).float().cpu().numpy()
            maps.append(prepare_maps(transform_of(method).restore(raw), protocol))
    return np.concatenate(maps)


def _image_scores(
    method: Detector, maps: Float[np.ndarray, "n h w"], protocol: EvaluationProtocol
) -> Float[np.ndarray, " n"]:
    if protocol.image_score == "method":
        return method.image_score(torch.from_numpy(maps)).numpy()
    return image_scores(maps, protocol)


def score_tiles(
    method: Detector,
    features: Float[Tensor, "n g t c"],
    dtype: torch.dtype,
    photographs: Sequence[Tiled],
    protocol: EvaluationProtocol = OURS,
) -> tuple[list[Float[np.ndarray, "_ _"]], Float[np.ndarray, " k"]]:
    """Turn the features of n tiles into a joined map and a score for each of k photographs.

    The score is the highest of its tiles, which is ours. A tile is prepared as a whole image is,
    but for a crop; one that lies outside the region of interest counts for nothing.
    """
    tiling, rule = tiling_of(method), replace(protocol, crop=None, size=OURS.size)
    assert tiling is not None, "only of a method with tiles"
    joined, scores = [], []
    for photograph in photographs:
        maps = _prepared(method, features[photograph.rows], dtype, rule)
        size, known = (photograph.height, photograph.width), np.ones(len(maps), bool)
        if method.roi is not None:
            cut = [prepare_mask(part, replace(rule, mask_rule="half"))
                   for part in tiling.parts(method.roi, *size)]  # fmt: skip
            known = np.array([part.any() for part in cut])
            maps = np.where(cut, maps, maps.min(axis=(1, 2), keepdims=True))
        joined.append(tiling.join(maps, *size))
        scores.append(_image_scores(method, maps[known], protocol).max())
    return joined, np.array(scores)


def score_photographs(
    method: Detector,
    features: Float[Tensor, "n g t c"],
    photographs: Sequence[Tiled] | None,
    dtype: torch.dtype,
    protocol: EvaluationProtocol = OURS,
) -> tuple[Float[np.ndarray, "k h w"], Float[np.ndarray, " k"]]:
    """Return prepared maps and scores, of k = n images or of `photographs` in tiles."""
    if photographs is None:
        return score_features(method, features, dtype, protocol)
    maps, scores = score_tiles(method, features, dtype, photographs, protocol)
    rule = replace(protocol, smoothing=None)  # of the tiles already
    return np.concatenate([prepare_maps(heat[None], rule) for heat in maps]), scores


def score_category(
    method: Detector,
    images: ImageDataset,
    features: Float[Tensor, "n g t c"],
    dtype: torch.dtype,
    protocol: EvaluationProtocol,
    intervals: bool = False,
    photographs: Sequence[Tiled] | None = None,
    limit: float | None = None,
) -> Scored:
    """Score one category, with intervals over its images if they are asked for.

    The features are of the n images, or of the tiles in which `photographs` finds each image's.
    `predict` calls a pixel defective whose value in a map is above `limit`. Maps and masks are held
    span by span; all together only where the exact metrics need them.
    """
    rule, stream, roi = protocol, None, None
    scored: list[np.ndarray] = []
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    sizes: dict[tuple[int, ...], None] = {}
    blank, lost = list[str](), list[str]()
    overlap, areas = 0, 0  # of masks above the limit: what they hit, and the sum of both areas
    masked, marked = True, 0  # all have a mask; how many show a defect once that is prepared
    paths = [r.path for r in images.references]
    for start in range(0, len(images), SPAN):
        span = images.select(range(start, min(start + SPAN, len(images))))
        masks: list[Bool[np.ndarray, "_ _"]] = []
        for sample in span:
            sizes[sample.image.shape[:2]] = None  # with or without a mask, which has this size
            if sample.mask is not None:
                masks.append(sample.mask)
                if sample.label and not sample.mask.any():
                    blank.append(sample.path)
        rule = at_one_size(protocol, [*sizes])
        part = slice(start, start + SPAN)
        if photographs is None:
            maps, scores = score_features(method, features[part], dtype, rule)
        else:
            maps, scores = score_photographs(method, features, photographs[part], dtype, rule)
        scored.append(scores)
        masked = masked and len(masks) == len(span)
        if not masked:  # no pixel metrics for a category that lacks a mask
            continue
        truth = np.stack([prepare_mask(mask, rule) for mask in masks])
        roi = region_of_interest(method, rule)
        truth = truth if roi is None else truth & roi
        marked += int(truth.any(axis=(1, 2)).sum())
        if limit is not None:
            called = maps > limit
            overlap += int((called & truth).sum())
            areas += int(called.sum() + truth.sum())
        prepared = zip(span.references, masks, truth, strict=True)
        lost += [r.path for r, mask, after in prepared if mask.any() and not after.any()]
        if maps[0].size * len(images) <= EXACT_PIXELS or protocol.thresholds != "all":
            kept.append((maps, truth))
        else:
            stream = stream or StreamingScores(protocol=rule, prepared=True, roi=roi)
            stream.update(maps, truth, names=[r.path for r in span.references])
    if blank:
        warnings.warn(
            f"the mask shows no defect on {len(blank)} defective image{'s' * (len(blank) > 1)} of "
            f"{images.references[0].category!r}, so that all pixels count as normal: {blank[0]}",
            RuntimeWarning,
            stacklevel=2,
        )
    pixel: dict[str, float] = {}
    ends: dict[str, Interval] = {}
    bounds = None
    if masked and marked and stream is not None:
        pixel, bounds = stream.compute(), stream.error()
    elif masked and marked:
        maps, truth = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        pixel = score_maps(maps, truth, protocol=rule, names=paths, prepared=True, roi=roi)
        if intervals and marked > 1:  # of one image there is nothing to draw
            ends = pixel_intervals(maps, truth, protocol=rule, prepared=True, roi=roi)
    together, labels = np.concatenate(scored), images.labels
    row = named(score_images(together, labels), pixel)
    around = named(image_intervals(together, labels), ends) if intervals else {}
    rounded = [float(f"{score:.{DIGITS}g}") for score in together]
    return Scored(
        metrics={name: row.get(name) for name in METRICS},
        bounds=bounds,
        scores=together,
        images={"labels": labels.astype(int).tolist(), "scores": rounded},
        intervals={m: [around[m].low, around[m].high] for m in METRICS if m in around},
        mask_f1=2 * overlap / areas if masked and marked and limit is not None else None,
        lost=lost if masked else [],
    )


def named(image: Mapping[str, T], pixel: Mapping[str, T]) -> dict[str, T]:
    """Image and pixel metrics under the names that a record has for them."""
    row = {f"image_{k}": v for k, v in image.items()}
    return row | {k if k == "aupro" else f"pixel_{k}": v for k, v in pixel.items()}


def at_one_size(protocol: EvaluationProtocol, shapes: list[tuple[int, ...]]) -> EvaluationProtocol:
    """Spell out "the images' own size" where a protocol asks for it, as that of MVTec AD does."""
    if protocol.size is not None:
        return protocol
    if len(shapes) > 1:
        raise ValueError(
            f"protocol {protocol.name!r} scores at the images' own size, but they come in "
            f"{len(shapes)} sizes, such as {shapes[0]} and {shapes[1]}; set its size"
        )
    height, width = shapes[0]
    return replace(protocol, size=(height, width))
