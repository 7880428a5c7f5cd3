"""A trained method on images of any kind, and how it is read back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8

from adlib.data.dataset import ImageDataset
from adlib.data.readers.pictures import Picture, check_pictures, list_pictures, read_each
from adlib.engine import runs
from adlib.engine.features import transform_of
from adlib.engine.scoring import check_method, score_features
from adlib.methods import METHODS
from adlib.methods.detector import Detector
from adlib.metrics.threshold import DEFAULT_RATE, Calibration
from adlib.system.hardware import autocast, choose_dtype
from adlib.system.progress import track

PARTS = {"method": str, "config": dict, "encoder": dict, "calibration": (dict, type(None)),
         "provenance": dict, "losses": list}  # fmt: skip  # of run.json, as `save_run` leaves them


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a method says of images.

    Attributes:
        paths: Their files, or "image 0", "image 1", ...
        maps: An anomaly map for each, at the image's own size.
        scores: Image scores; larger is more anomalous.
        decisions: True where the score is above the threshold; None without a calibration.
        threshold: The score above which an image is called defective, None likewise.
    """

    paths: list[str]
    maps: list[Float[np.ndarray, "_ _"]]
    scores: Float[np.ndarray, " n"]
    decisions: Bool[np.ndarray, " n"] | None
    threshold: float | None


def predict(
    method: Detector,
    images: ImageDataset | Picture | Sequence[Picture],
    *,
    rate: float = DEFAULT_RATE,
    category: str | None = None,
    precision: str = "auto",
) -> Prediction:
    """Map and score images, and decide by a threshold from held-out normal images.

    Args:
        method: A trained method.
        images: `ImageDataset`, a file, a folder of files, an array (h, w, 3) in sRGB, or several.
        rate: Accepted false alarms among normal images.
        category: Use the threshold of this category; None pools all that the method was
            trained on.
        precision: As in `fit`.
    Returns:
        Maps at the images' own sizes, scores, decisions.
    Raises:
        FileNotFoundError: A file or folder that is not there.
        ValueError: Files that are no usable images, all of them named before any is computed; an
            array that is not uint8 (h, w, 3); a category that was not trained on.
        TypeError: Something else in the place of an image, or a `Run` in that of the method.
        FloatingPointError: A map or score is not finite; names the image.
    """
    check_method(method)
    threshold = None
    if method.calibration is not None and method.calibration.scores:
        threshold = method.calibration.threshold(rate, category)
    paths: list[str] = []
    maps: list[np.ndarray] = []
    scores: list[float] = []
    for path, _, each, score in predict_each(method, images, precision=precision):
        paths.append(path)
        maps.append(each)
        scores.append(score)
    array = np.array(scores)
    decisions = None if threshold is None else array > threshold
    return Prediction(
        paths=paths, maps=maps, scores=array, decisions=decisions, threshold=threshold
    )


def predict_each(
    method: Detector, images: ImageDataset | Picture | Sequence[Picture], *, precision: str = "auto"
) -> Iterator[tuple[str, UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "h w"], float]]:
    """Yield path, image, map at the image's size and score, one image at a time.

    Raises:
        FileNotFoundError: As `predict`, and so for the others.
        ValueError: Files or an array that are no usable images.
        TypeError: Something else in the place of an image, or a `Run` in that of the method.
        FloatingPointError: A map or score is not finite.
    """
    check_method(method)
    device = next(method.parameters()).device
    dtype, frame = choose_dtype(precision, device), transform_of(method)
    pictures = list_pictures(images)
    check_pictures(pictures)
    for path, image in track(read_each(pictures), "predict", total=len(pictures), unit="image"):
        pixels = torch.from_numpy(frame.image(image)).unsqueeze(0).to(device)  # 1 3 h w
        with torch.no_grad(), autocast(device, dtype):
            features = method.encode(pixels)
        maps, scores = score_features(method, features.half(), dtype)  # fp16, as from the cache
        if not (np.isfinite(maps).all() and np.isfinite(scores).all()):
            cure = (
                "its features leave the range of fp16, or the weights are not finite: train again, "
                "or on another encoder"
                if dtype == torch.float32
                else "try precision fp32"
            )
            raise FloatingPointError(f"{path}: the anomaly map or its score is not finite; {cure}")
        whole = F.interpolate(torch.from_numpy(maps)[None], image.shape[:2], mode="bilinear")
        yield path, image, whole[0, 0].numpy(), float(scores[0])


def load_run(path: Path | str, *, offline: bool | None = None) -> runs.Run:
    """Read a run back, with its method ready to evaluate and predict.

    Args:
        path: The folder that `fit` wrote.
        offline: Never touch the network for the encoder; None keeps what the run was made with.
    Raises:
        RunError: No run there, a run of another format, a part of `run.json` that is missing or
            cannot be read, another encoder, or weights that do not fit.
    """
    path = Path(path)
    saved, state = runs.read_run(path)
    file = path / "run.json"
    for part, kind in PARTS.items():
        with _reading(file, part):
            if not isinstance(saved[part], kind):
                raise TypeError(f"found {saved[part]!r:.60}")
    if saved["method"] not in METHODS:
        known = ", ".join(METHODS)
        raise runs.RunError(f"{path} is a run of {saved['method']!r}; known are {known}")
    cls, config_cls = METHODS[saved["method"]]
    values = saved["config"] | ({} if offline is None else {"offline": offline})
    with _reading(file, "config"):
        config = runs.config_from(config_cls, values)
    calibration = None
    with _reading(file, "calibration"):
        if saved["calibration"] is not None:
            calibration = Calibration(**saved["calibration"])
            np.array([calibration.low, calibration.high, *calibration.pool()], float)
    with _reading(file, "encoder"):
        name, source, digest = (str(saved["encoder"][k]) for k in ("name", "source", "sha256"))
    method = cls(config)
    found = method.encoder
    if found.digest != digest:
        raise runs.RunError(
            f"{path} was trained on the encoder {name} with SHA-256 {digest[:16]} ({source}), but "
            f"found {found.digest[:16]} ({found.source})"
        )
    try:
        missing, unexpected = method.load_state_dict(state, strict=False)
    except RuntimeError as error:  # of other shapes
        raise runs.RunError(f"{path}: weights do not fit: {error}") from error
    missing = [name for name in missing if not name.startswith("encoder.")]
    if missing or unexpected:
        raise runs.RunError(
            f"{path}: weights do not fit: missing {missing}, unexpected {unexpected}"
        )
    method.encoder.to(memory_format=torch.channels_last)  # as `fit` left it: it rounds alike
    method.calibration = calibration
    with _reading(file, "provenance"):
        method.provenance = {**saved["provenance"]}
    return runs.Run(
        method=method, losses=saved["losses"], provenance=saved["provenance"], path=path
    )


@contextmanager
def _reading(file: Path, part: str) -> Iterator[None]:
    """Turn what a part of a run's description raises into an error that names file and part."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise runs.RunError(f"{file}: its {part} cannot be read: {error!r}") from error
