"""A trained method on images of any kind."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float16, UInt8
from torch import Tensor

from adlib.data.dataset import ImageDataset
from adlib.data.readers.pictures import (
    Picture,
    categories_of,
    check_pictures,
    list_pictures,
    read_each,
)
from adlib.data.tiles import Tiled, Tiling
from adlib.engine.features import tiling_of, transform_of
from adlib.engine.scoring import check_method, score_features, score_tiles
from adlib.methods.detector import Detector
from adlib.system.hardware import autocast, choose_dtype
from adlib.system.printable import printable
from adlib.system.progress import track

BATCH = 8  # images through encoder and decoder at a time, for GPUs; on two cores it gains nothing
PIXELS = 50_000_000  # of photographs that wait for their batch: 150 MB

Predicted = tuple[str, UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "h2 w2"], float]
"""Path, image, anomaly map and score."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a method says of images; without a calibration it decides nothing."""

    paths: list[str]  #: their files, or "image 0", "image 1", ...
    maps: list[Float[np.ndarray, "_ _"]]  #: at the images' own sizes
    scores: Float[np.ndarray, " n"]  #: larger is more anomalous
    decisions: Bool[np.ndarray, " n"] | None  #: True where the score is above the threshold
    threshold: float | None  #: above it an image is called defective whose category is not known
    thresholds: Float[np.ndarray, " n"] | None = None  #: of each image: of its category if known
    masks: list[Bool[np.ndarray, "_ _"]] | None = None  #: where a map is above `pixel_threshold`
    pixel_threshold: float | None = None  #: a share `rate` of normal images shows a pixel above it;
    #: as `threshold`, of images whose category is not known


def predict(
    method: Detector,
    images: ImageDataset | Picture | Sequence[Picture],
    *,
    rate: float | None = None,
    category: str | None = None,
    precision: str = "auto",
    batch: int = BATCH,
) -> Prediction:
    """Map and score images, and decide by a threshold from held-out normal images.

    Args:
        method: A trained method.
        images: `ImageDataset`, a file, a folder of files, an array (h, w, 3) in sRGB, or several.
        rate: Accepted false alarms among normal images; also of false regions in the masks.
            Defaults to the labelled defects' threshold where there is one, else to 1 %.
        category: Use the thresholds of this category. Defaults to each image's own where it is
            known (`categories_of`), else to all that the method was trained on, pooled.
        precision: As in `fit`.
        batch: Images at a time. In fp32 it changes a score by less than 1e-5.
    Returns:
        Maps and masks at the images' own sizes, scores, decisions.
    Raises:
        FileNotFoundError: A file or folder that is not there.
        ValueError: Files that are no usable images, all of them named before any is computed; an
            array that is not uint8 (h, w, 3); a category that was not trained on.
        TypeError: Something else in the place of an image, or a `Run` in that of the method.
        FloatingPointError: A map or score is not finite; names the image.
    """
    check_method(method)
    pictures, levels, known = list_pictures(images), None, {}
    if (calibration := method.calibration) is not None and calibration.scores:
        levels = calibration.levels(rate, category)
        known = {c: calibration.levels(rate, c) for c in calibration.scores if category is None}
    named = categories_of(images, pictures, known)
    paths, maps, found = [], [], []
    for path, _, heat, score in predict_each(method, pictures, precision=precision, batch=batch):
        paths.append(path)
        maps.append(heat)
        found.append(score)
    scores = np.array(found)
    own = [known[named[path]] if path in named else levels for path in paths]
    thresholds = np.array([each.threshold for each in own if each])
    limits = [each.pixel_threshold for each in own if each]
    masks = [heat > limit for heat, limit in zip(maps, limits, strict=False) if limit is not None]
    return Prediction(
        paths=paths,
        maps=maps,
        scores=scores,
        decisions=None if levels is None else scores > thresholds,
        threshold=levels and levels.threshold,
        thresholds=None if levels is None else thresholds,
        masks=masks if levels and levels.pixel_threshold is not None else None,
        pixel_threshold=levels and levels.pixel_threshold,
    )


def predict_each(
    method: Detector,
    images: ImageDataset | Picture | Sequence[Picture],
    *,
    precision: str = "auto",
    batch: int = BATCH,
    enlarge: bool = True,
    unreadable: list[str] | None = None,
) -> Iterator[Predicted]:
    """Yield path, image, map and score of each image, in order.

    Arguments and errors are those of `predict`. With `enlarge` a map has its image's size, without
    it the size at which it is scored. With `unreadable`, files that cannot be read are left out,
    and it takes a sentence for each. Of large photographs fewer than `batch` are held at a time.
    """
    check_method(method)
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    pictures = check_pictures(list_pictures(images), unreadable)
    dtype = choose_dtype(precision, next(method.parameters()).device)
    tiling = tiling_of(method)
    waiting: list[tuple[str, np.ndarray]] = []
    read = read_each(pictures, unreadable)
    for each in track(read, "predict", total=len(pictures), unit="image"):
        if tiling is not None:
            yield _predict_tiled(method, *each, tiling, dtype, batch, enlarge)
            continue
        waiting.append(each)
        pixels = sum(image.shape[0] * image.shape[1] for _, image in waiting)
        if len(waiting) == batch or pixels > PIXELS:
            yield from _predict_batch(method, waiting, dtype, enlarge)
            waiting = []
    if waiting:
        yield from _predict_batch(method, waiting, dtype, enlarge)


def _predict_batch(
    method: Detector, named: list[tuple[str, np.ndarray]], dtype: torch.dtype, enlarge: bool
) -> Iterator[Predicted]:
    """Yield what `predict_each` does of images that are computed together."""
    features = _encode(method, [image for _, image in named], dtype)
    maps, scores = score_features(method, features, dtype)
    for (path, image), heat, score in zip(named, maps, scores, strict=True):
        yield _predicted(path, image, heat, float(score), dtype, enlarge)


def _predict_tiled(
    method: Detector,
    path: str,
    image: UInt8[np.ndarray, "h w 3"],
    tiling: Tiling,
    dtype: torch.dtype,
    batch: int,
    enlarge: bool,
) -> Predicted:
    """Return what `predict_each` yields of a photograph, `batch` of its tiles at a time."""
    tiles = tiling.cut(image)
    parts = [_encode(method, tiles[i : i + batch], dtype) for i in range(0, len(tiles), batch)]
    height, width = image.shape[:2]
    photograph = Tiled(slice(0, len(tiles)), height, width)
    (heat,), (score,) = score_tiles(method, torch.cat(parts), dtype, [photograph])
    return _predicted(path, image, heat, float(score), dtype, enlarge)


def _encode(
    method: Detector, images: list[np.ndarray], dtype: torch.dtype
) -> Float16[Tensor, "b g t c"]:
    """Return the features of images, in fp16 as from the cache."""
    device, transform = next(method.parameters()).device, transform_of(method)
    pixels = torch.from_numpy(np.stack([transform.image(image) for image in images]))  # b 3 h w
    with torch.no_grad(), autocast(device, dtype):
        return method.encode(pixels.to(device)).half()


def _predicted(
    path: str,
    image: np.ndarray,
    heat: np.ndarray,
    score: float,
    dtype: torch.dtype,
    enlarge: bool,
) -> Predicted:
    """Check an image's map and score, and bring the map to the image's size with `enlarge`."""
    if not (np.isfinite(heat).all() and np.isfinite(score)):
        cure = "try precision fp32"
        if dtype == torch.float32:
            cure = "its features leave the range of fp16, or the weights are not finite"
        where = printable(path)
        raise FloatingPointError(f"{where}: the anomaly map or its score is not finite; {cure}")
    if enlarge:
        one = torch.from_numpy(heat)[None, None]
        heat = F.interpolate(one, image.shape[:2], mode="bilinear")[0, 0].numpy()
    return path, image, heat, score
