"""The only loops: fit, evaluate, predict."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float16, Int, UInt8
from torch import Tensor, nn
from torch.utils.data import Subset

from adlib import runs
from adlib.calibration import DEFAULT_RATE, Calibration, calibrate
from adlib.checkpoints import Keeper, TrainingState
from adlib.data.order import batch_order, hold_out, noise_seed
from adlib.data.pictures import Picture, list_pictures, read_each
from adlib.data.sample import Data, Images
from adlib.disk import to_json
from adlib.features import cached_features, frame_of
from adlib.hardware import (
    choose_device,
    choose_dtype,
    describe,
    forget_peak_memory,
    launched,
    make_accelerator,
    peak_memory_mib,
)
from adlib.meter import Meter
from adlib.methods import METHODS
from adlib.methods.method import Method
from adlib.metrics import EvaluationProtocol, mean_over
from adlib.nn.share import Share, sharing
from adlib.progress import track
from adlib.scoring import OURS, SPAN, score_category, score_features


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a run is computed and watched; only `ema` is meant to change its result."""

    accumulate: int = 1  # parts of a batch whose gradients are added up, to save memory
    ema: float | None = None  # decay of a moving average that replaces the last weights; off
    compile: bool = False  # torch.compile the trained part; on a CPU it needs a C++ compiler
    channels_last: bool = False  # memory layout of the encoder; for convolutions
    checkpoint_every: int = 200  # steps, after which an interrupted run can go on; ours
    tracker: str | None = None  # tensorboard, wandb, ...: any that Accelerate knows

    def __post_init__(self) -> None:
        for name in ("accumulate", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema is a decay in (0, 1), got {self.ema}")


class _Loss(nn.Module):
    """A method whose forward pass is its loss: what Accelerate wraps."""

    def __init__(self, method: Any) -> None:
        super().__init__()
        self.method = method

    def forward(self, features: Tensor) -> Tensor:
        return self.method.loss(features)


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
    options: Options = Options(),  # frozen
) -> runs.Run:
    """Train a method on the normal images of a data set, and calibrate its threshold.

    One model for all categories. A share of the normal images is held out and only calibrates;
    the test images are not looked at. Under `accelerate launch` every process takes its share of
    each batch, and the first one writes. A run that was interrupted goes on where it stopped when
    it is begun again with the same `out` and settings, and ends with the same weights.

    Args:
        method: A method; its trainable weights are drawn anew from `seed`.
        data: Its `train` images, all normal.
        steps: Optimiser steps; None takes the config's.
        seed: Draws weights, order, noise and the held-out images.
        out: A new folder for the run; None keeps it in memory.
        holdout: Share of the normal images that calibrates.
        device: Where; None takes the GPU if there is one.
        precision: "auto", "fp32", "bf16" or "fp16" for matrix products; sums that matter stay in
            fp32.
        options: How it is computed and watched.
    Returns:
        The run: the calibrated method, its losses, its provenance and where it was written.
    Raises:
        RunError: `out` holds a finished run, or checkpoints of another one, or another process
            writes to it.
        ValueError: Defects among the training images, nothing to train on, or a batch that does
            not divide into the shares of processes and accumulation.
        FloatingPointError: The loss or its gradient is not finite; names step and images.
        KeyboardInterrupt: SIGTERM or SIGINT came; with `out`, the steps so far are saved.
        OSError: `out` cannot be written, such as on a full disk.
    """
    started, out = time.perf_counter(), None if out is None else Path(out)
    if data.train.labels.any():
        worst = data.train.references[int(np.argmax(data.train.labels))]
        raise ValueError(f"training images must be normal, got a defect: {worst.path}")
    steps = int(method.config.steps) if steps is None else steps
    chosen = choose_device(device)
    dtype = choose_dtype(precision, chosen)
    accelerator = make_accelerator(chosen, dtype, options.tracker, out)
    forget_peak_memory()
    place = accelerator.device if launched() else chosen
    first, shares = accelerator.is_main_process, accelerator.num_processes * options.accumulate
    if method.config.batch % shares:
        raise ValueError(
            f"a batch of {method.config.batch} does not divide into {shares} equal shares: "
            f"{accelerator.num_processes} processes, {options.accumulate} accumulated parts"
        )
    about = {
        "method": method.name,
        "config": method.config,
        "encoder": method.encoder.digest,
        "data": data.hash,
        "seed": seed,
        "steps": steps,
        "holdout": holdout,
        "precision": str(dtype).removeprefix("torch."),
        "ema": options.ema,
    }
    with runs.claimed(out) if out is not None and first else nullcontext():
        accelerator.wait_for_everyone()
        method.to(torch.device("cpu"))  # where the generator lives: one start on every device
        method.reset(torch.Generator().manual_seed(seed))
        method.to(place)
        fitted, held = hold_out(data.train, holdout, seed)
        features = cached_features(
            method, data.train, device=place, dtype=dtype, channels_last=options.channels_last
        )
        method.prepare(Subset(features, fitted))  # pyright: ignore[reportArgumentType]  # indexable

        optimiser, schedule = method.optimiser(steps)
        state = TrainingState(
            method=method, optimiser=optimiser, schedule=schedule, scaler=accelerator.scaler
        )
        if options.ema is not None:
            state.average = {name: p.detach().clone() for name, p in state.trained()}
        folder = None if out is None else runs.checkpoints_of(out)
        keeper = Keeper(folder, about, options.checkpoint_every, first)
        keeper.resume(state)
        before, spent, resumed = time.perf_counter() - started, state.seconds, len(state.losses)
        method.train()
        if options.compile:
            method.compile()  # its forward pass; the loss around it keeps its hooks
        model, optimiser = accelerator.prepare(_Loss(method), optimiser)
        weights = [p for _, p in state.trained()]
        generator = torch.Generator().manual_seed(seed)
        order = batch_order(len(fitted), method.config.batch, steps, generator)
        bar = track(islice(order, resumed, None), "train", total=steps, initial=resumed,
                    unit="step", show=first)  # fmt: skip
        meter = Meter(bar, accelerator, options.tracker, method.config.batch, method.config)
        with torch.random.fork_rng(), keeper.stop_requests():
            for step, batch in enumerate(bar, start=resumed):
                noise = noise_seed(seed, step)
                images = torch.tensor([fitted[i] for i in batch.tolist()])
                loss = _backward(model, features, images, accelerator, options.accumulate, noise)
                norm = accelerator.clip_grad_norm_(weights, method.config.clip).item()
                if not math.isfinite(loss) or not (math.isfinite(norm) or state.scaler):
                    names = [data.train.references[i].path for i in images.tolist()]
                    raise FloatingPointError(
                        f"the loss is {loss} and its gradient's norm {norm} at step {step}, on "
                        f"{names}; last good checkpoint: {keeper.last or 'none'}"
                    )
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
                if not accelerator.optimizer_step_was_skipped:  # fp16, where its scale was too big
                    schedule.step()
                state.move_average(options.ema)
                state.losses.append(loss)
                state.seconds = spent + meter.show(step, loss, optimiser.param_groups[0]["lr"])
                keeper.after_step(state)
        meter.close()
        if options.compile:
            method._compiled_call_impl = None  # what is scored and saved is the plain one
        state.take_average()

        if held:
            maps, scores = score_features(method, features[held], dtype)
            categories = [data.train.references[i].category for i in held]
            method.calibration = calibrate(scores, categories, maps)
        method.provenance = {
            "seed": seed,
            "steps": steps,
            "seconds": round(before + state.seconds, 3),
            "images_per_second": meter.rate,  # of the median step, so without compiling
            "first_step_seconds": meter.ends[0] if meter.ends else None,
            "resumed_at": state.resumed_at,
            "processes": accelerator.num_processes,
            "options": to_json(options),
            "peak_memory_mib": peak_memory_mib(),
            "device": describe(place),
            "precision": about["precision"],
            "data": {"name": data.name, "hash": data.hash, "notice": data.notice},
            "images": {"fit": len(fitted), "held_out": len(held)},
            "versions": runs.versions(),
            "commit": runs.commit(),
        }
        run = runs.Run(method=method, losses=state.losses, provenance=method.provenance, path=out)
        if out is not None and first:
            runs.save_run(run, out)
        accelerator.wait_for_everyone()
    return run


def _backward(
    model: nn.Module,
    features: Float16[Tensor, "n g t c"],
    images: Int[Tensor, " b"],
    accelerator: Any,
    accumulate: int,
    noise: int,
) -> float:
    """Add up the gradients of one batch over its parts; return the loss of the whole batch."""
    device, rank = next(model.parameters()).device, accelerator.process_index
    total = torch.zeros((), device=device)
    for part in range(accumulate):
        last = part == accumulate - 1
        mine = Share(rank * accumulate + part, accelerator.num_processes * accumulate, last)
        batch = features[mine.of(images)].to(device, torch.float32)
        torch.manual_seed(noise)  # equal for every share, which cuts its own part of the noise
        with sharing(mine), nullcontext() if last else accelerator.no_sync(model):
            loss = model(batch) / accumulate
            accelerator.backward(loss)
        total += loss.detach()
    return accelerator.reduce(total, "mean").item()


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
