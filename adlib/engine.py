"""The only loops: fit, evaluate, predict."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.utils.data import Subset

from adlib import runs
from adlib.calibration import DEFAULT_RATE, Calibration, calibrate
from adlib.data.order import batch_order, hold_out
from adlib.data.pictures import Picture, list_pictures, read_each
from adlib.data.sample import Data, Images
from adlib.features import cached_features, frame_of
from adlib.hardware import choose_device, choose_dtype, describe, peak_memory_mib
from adlib.methods import METHODS
from adlib.methods.method import Method
from adlib.metrics import (
    EXACT_PIXELS,
    PROTOCOLS,
    EvaluationProtocol,
    StreamingScores,
    image_scores,
    mean_over,
    prepare_maps,
    prepare_mask,
    score_images,
    score_maps,
)
from adlib.progress import track

OURS = PROTOCOLS["ours"]
METRICS = ("image_auroc", "image_ap", "image_f1_max",
           "pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro")  # fmt: skip
SPAN = 256  # maps in memory at a time where only their scores are wanted; ours
CHUNK = 8  # cached images through the decoder at a time when scoring; ours


def fit(
    method: Method,
    data: Data,
    *,
    steps: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    holdout: float = 0.1,
    device: str | torch.device | None = None,
    precision: str = "auto",
) -> runs.Run:
    """Train a method on the normal images of a data set, and calibrate its threshold.

    One model for all categories. A share of the normal images is held out and only calibrates;
    the test images are not looked at.

    Args:
        method: A method; its trainable weights are drawn anew from `seed`.
        data: Its `train` images, all normal.
        steps: Optimiser steps; None takes the config's.
        seed: Draws weights, order, noise and the held-out images.
        out: A new folder for the run; None keeps it in memory.
        holdout: Share of the normal images that calibrates.
        device: Where; None takes the GPU if there is one.
        precision: "auto", "fp32" or "bf16" for matrix products; sums that matter stay in fp32.
    Returns:
        The run: the calibrated method, its losses, its provenance and where it was written.
    Raises:
        RunError: `out` exists.
        ValueError: Defects among the training images, or nothing to train on.
        FloatingPointError: The loss is not finite; names the step and the images.
    """
    started, out = time.perf_counter(), None if out is None else Path(out)
    if out is not None:
        runs.check_new(out)
    if data.train.labels.any():
        worst = data.train.references[int(np.argmax(data.train.labels))]
        raise ValueError(f"training images must be normal, got a defect: {worst.path}")
    steps = int(method.config.steps) if steps is None else steps
    device, dtype = (d := choose_device(device)), choose_dtype(precision, d)
    method.to(torch.device("cpu"))  # where the generator lives: a seed gives one start everywhere
    method.reset(torch.Generator().manual_seed(seed))
    method.to(device)
    fitted, held = hold_out(data.train, holdout, seed)
    features = cached_features(method, data.train, device=device, dtype=dtype)
    method.prepare(Subset(features, fitted))  # pyright: ignore[reportArgumentType]  # indexable

    losses: list[float] = []
    order = batch_order(
        len(fitted), method.config.batch, steps, torch.Generator().manual_seed(seed)
    )
    optimiser, schedule = method.optimiser(steps)
    weights = [p for group in optimiser.param_groups for p in group["params"]]
    method.train()
    with torch.random.fork_rng(), track(order, "train", total=steps, unit="step") as bar:
        torch.manual_seed(seed)  # dropout's noise, which knows no generator of its own
        for step, chosen in enumerate(bar):
            batch = features[torch.tensor(fitted)[chosen]].to(device, torch.float32)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                loss = method.loss(batch)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                names = [data.train.references[fitted[i]].path for i in chosen.tolist()]
                raise FloatingPointError(f"the loss is {losses[-1]} at step {step}, on {names}")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, method.config.clip)
            optimiser.step()
            schedule.step()
            bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
    trained = time.perf_counter() - started

    if held:
        maps, scores = score_features(method, features[held], dtype)
        method.calibration = calibrate(
            scores, [data.train.references[i].category for i in held], maps
        )
    method.provenance = {
        "seed": seed,
        "steps": steps,
        "seconds": round(trained, 3),
        "peak_memory_mib": peak_memory_mib(),
        "device": describe(device),
        "precision": str(dtype).removeprefix("torch."),
        "data": {"name": data.name, "hash": data.hash},
        "images": {"fit": len(fitted), "held_out": len(held)},
        "versions": runs.versions(),
        "commit": runs.commit(),
    }
    run = runs.Run(method=method, losses=losses, provenance=method.provenance)
    if out is not None:
        runs.save_run(run, out)
    return run


@torch.no_grad()
def score_features(
    method: Method,
    features: Float[Tensor, "n g t c"],
    dtype: torch.dtype,
    protocol: EvaluationProtocol = OURS,
) -> tuple[Float[np.ndarray, "n h w"], Float[np.ndarray, " n"]]:
    """Turn features into maps prepared by the protocol, and image scores."""
    method.eval()
    device = next(method.parameters()).device
    maps: list[np.ndarray] = []
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        for chunk in features.split(CHUNK):
            raw = method.maps(chunk.to(device, torch.float32)).float().cpu().numpy()
            maps.append(prepare_maps(frame_of(method).restore(raw), protocol))
    prepared = np.concatenate(maps)
    if protocol.image_score == "method":
        return prepared, method.image_score(torch.from_numpy(prepared)).numpy()
    return prepared, image_scores(prepared, protocol)


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
        ValueError: A category without normal or without anomalous test images.
    """
    started = time.perf_counter()
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
        categories[category], bound = _score_category(method, images, part, dtype, protocol)
        if bound is not None:
            bounds[category] = bound
    seen = method.provenance
    return {
        "method": method.name,
        "config": runs.to_json(method.config),
        "encoder": {"name": method.encoder.name, "sha256": method.encoder.digest},
        "data": {"name": data.name, "hash": data.hash},
        "trained_on": seen.get("data"),
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


def _score_category(
    method: Method,
    images: Images,
    features: Float[Tensor, "n g t c"],
    dtype: torch.dtype,
    protocol: EvaluationProtocol,
) -> tuple[dict[str, float | None], dict[str, float] | None]:
    """Return the seven metrics of one category, and error bounds if its pixels were streamed.

    Maps and masks are held span by span; all together only where the exact metrics need them.
    """
    rule, stream = protocol, None
    scored: list[np.ndarray] = []
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    masked = True
    for start in range(0, len(images), SPAN):
        span = images.select(range(start, min(start + SPAN, len(images))))
        masks = [mask for sample in span if (mask := sample.mask) is not None]
        rule = at_one_size(rule, [mask.shape for mask in masks])
        maps, scores = score_features(method, features[start : start + SPAN], dtype, rule)
        scored.append(scores)
        masked = masked and len(masks) == len(span)
        if not masked:
            continue
        truth = np.stack([prepare_mask(mask, rule) for mask in masks])
        if maps[0].size * len(images) <= EXACT_PIXELS or protocol.thresholds != "all":
            kept.append((maps, truth))
            continue
        stream = stream or StreamingScores(protocol=rule, prepared=True)
        stream.update(maps, truth, names=[r.path for r in span.references])
    pixel: dict[str, float] = {}
    if masked and stream is not None:
        pixel = stream.compute()
    elif masked:
        maps, truth = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        paths = [r.path for r in images.references]
        pixel = score_maps(maps, truth, protocol=rule, names=paths, prepared=True)
    row = score_images(np.concatenate(scored), images.labels)
    row = {f"image_{k}": v for k, v in row.items()}
    row |= {k if k == "aupro" else f"pixel_{k}": v for k, v in pixel.items()}
    bound = stream.error() if masked and stream is not None else None
    return {name: row.get(name) for name in METRICS}, bound


def at_one_size(protocol: EvaluationProtocol, shapes: list[tuple[int, ...]]) -> EvaluationProtocol:
    """Spell out "the images' own size" where a protocol asks for it (MVTec AD's does).

    Raises:
        ValueError: The images of a category differ in size, so that there is no such size.
    """
    if protocol.size is not None or not shapes:
        return protocol
    if len(set(shapes)) > 1:
        raise ValueError(
            f"protocol {protocol.name!r} scores at the images' own size, but they come in "
            f"{len(set(shapes))} sizes, such as {shapes[0]} and {shapes[-1]}; set its size"
        )
    return replace(protocol, size=(shapes[0][0], shapes[0][1]))


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
    method: Method,
    images: Images | Picture | Sequence[Picture],
    *,
    rate: float = DEFAULT_RATE,
    category: str | None = None,
    precision: str = "auto",
) -> Prediction:
    """Map and score images, and decide by a threshold from held-out normal images.

    Args:
        method: A trained method.
        images: `Images`, a file, a folder of files, an array (h, w, 3) in sRGB, or several.
        rate: Accepted false alarms among normal images.
        category: Use the threshold of this category; None pools all that the method was
            trained on.
        precision: As in `fit`.
    Returns:
        Maps at the images' own sizes, scores, decisions.
    Raises:
        FileNotFoundError: A file or folder that is not there.
        ValueError: A file that is no usable image; a category that was not trained on.
    """
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
    method: Method, images: Images | Picture | Sequence[Picture], *, precision: str = "auto"
) -> Iterator[tuple[str, UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "h w"], float]]:
    """Yield path, image, map at the image's size and score, one image at a time."""
    device = next(method.parameters()).device
    dtype, frame = choose_dtype(precision, device), frame_of(method)
    pictures = list_pictures(images)
    for path, image in track(read_each(pictures), "predict", total=len(pictures), unit="image"):
        pixels = torch.from_numpy(frame.image(image)).unsqueeze(0).to(device)  # 1 3 h w
        with torch.no_grad(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            features = method.extract(pixels)
        maps, scores = score_features(method, features.half(), dtype)  # fp16, as from the cache
        whole = F.interpolate(torch.from_numpy(maps)[None], image.shape[:2], mode="bilinear")
        yield path, image, whole[0, 0].numpy(), float(scores[0])


def load_run(path: Path | str, *, offline: bool | None = None) -> runs.Run:
    """Read a run back, with its method ready to evaluate and predict.

    Args:
        path: The folder that `fit` wrote.
        offline: Never touch the network for the encoder; None keeps what the run was made with.
    Raises:
        RunError: No run there, a run of another format, another encoder, or weights that do not
            fit.
    """
    path = Path(path)
    saved, state = runs.read_run(path)
    if saved["method"] not in METHODS:
        known = ", ".join(METHODS)
        raise runs.RunError(f"{path} is a run of {saved['method']!r}; known are {known}")
    cls, config_cls = METHODS[saved["method"]]
    values = saved["config"] | ({} if offline is None else {"offline": offline})
    method = cls(runs.config_from(config_cls, values))
    trained_on, found = saved["encoder"], method.encoder
    if found.digest != trained_on["sha256"]:
        raise runs.RunError(
            f"{path} was trained on the encoder {trained_on['name']} with SHA-256 "
            f"{trained_on['sha256'][:16]} ({trained_on['source']}), but found "
            f"{found.digest[:16]} ({found.source})"
        )
    missing, unexpected = method.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.startswith("encoder.")]
    if missing or unexpected:
        raise runs.RunError(
            f"{path}: weights do not fit: missing {missing}, unexpected {unexpected}"
        )
    if saved["calibration"] is not None:
        method.calibration = Calibration(**saved["calibration"])
    method.provenance = saved["provenance"]
    return runs.Run(
        method=method, losses=saved["losses"], provenance=saved["provenance"], path=path
    )
