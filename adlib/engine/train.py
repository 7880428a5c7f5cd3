"""The training loop, what feeds it, and what stands before and after it."""

import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from adlib.data.dataset import DataSplits, ImageDataset
from adlib.data.image_io import read_mask
from adlib.data.order import batch_order, folds_of, hold_out, noise_seed
from adlib.data.tools.duplicates import duplicates
from adlib.engine import runs
from adlib.engine.checkpoint import Checkpointer, TrainingState
from adlib.engine.features import cached_features, select, tiles_of
from adlib.engine.scoring import score_features, score_tiles
from adlib.methods.detector import Detector
from adlib.metrics.protocol import EvaluationProtocol, prepare_mask
from adlib.metrics.threshold import calibrate
from adlib.system.disk import to_json
from adlib.system.hardware import (
    choose_device,
    choose_dtype,
    describe,
    forget_peak_memory,
    launched,
    make_accelerator,
    peak_memory_mib,
)
from adlib.system.progress import track

Batch = tuple[tuple[Tensor, ...], list[int]]
"""The arguments of `loss`, and the numbers of the samples that the whole batch is made of."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How a run is computed and watched. None of it changes the result, but for rounding."""

    compile: bool = False  # torch.compile the trained part; on a CPU it needs a C++ compiler
    checkpoint_every: int = 200  # steps, after which an interrupted run can go on
    workers: int = 0  # processes that make training images, for methods that learn from such
    tracker: str | None = None  # tensorboard, wandb, ...: any that Accelerate knows

    def __post_init__(self) -> None:
        if self.checkpoint_every < 1:
            raise ValueError(f"checkpoint_every must be at least 1, got {self.checkpoint_every}")
        if self.workers < 0:
            raise ValueError(f"workers must not be negative, got {self.workers}")


def cached_batches(
    features: Tensor, fitted: list[int], batch: int, start: int, steps: int, seed: int, part: slice
) -> Iterator[Batch]:
    """Yield batches of cached features, one shuffle of the images `fitted` after another.

    A sample's number is its place in `fitted`. An interrupted run gets the same batches from the
    step `start` on. `batch` images make a step, of which this process takes `part`.
    """
    generator, rows = torch.Generator().manual_seed(seed), torch.tensor(fitted)
    for chosen in islice(batch_order(len(fitted), batch, steps, generator), start, None):
        yield (features[rows[chosen[part]]],), chosen.tolist()


def made_batches(
    samples: Dataset[Any], batch: int, start: int, steps: int, part: slice, workers: int = 0
) -> Iterator[Batch]:
    """Yield batches of made samples; sample `i` belongs to slot `i % batch` of step `i // batch`.

    `workers` processes, if any, make samples ahead of time.
    """
    numbers = [list(range(step * batch, (step + 1) * batch)) for step in range(start, steps)]
    loader = DataLoader(samples, batch_sampler=[n[part] for n in numbers], num_workers=workers)
    for made, whole in zip(loader, numbers, strict=True):
        yield tuple(made), whole


def read_roi(
    roi: Path | str | Bool[np.ndarray, "h w"], images: ImageDataset
) -> Bool[np.ndarray, "h2 w2"]:
    """Squeeze a region of interest to the size of scored maps.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no mask, holds nothing, or is of another shape than the first image.
    """
    known = isinstance(roi, np.ndarray)
    where, mask = ("", roi) if known else (f"{roi}: ", read_mask(roi, soft=True))
    small = prepare_mask(mask, EvaluationProtocol(size=runs.ROI))
    if not small.any():
        raise ValueError(f"{where}expected a region of interest, white where the part is; got none")
    (h, w), (height, width) = mask.shape, images[0].image.shape[:2]
    if abs(w * height - h * width) > max(height, width):  # more than a rounded side
        raise ValueError(
            f"{where}expected a region of interest of the photographs' shape, {width} x {height} "
            f"(width x height) in {images.references[0].path}, got {w} x {h}"
        )
    return small


class _Loss(nn.Module):
    """A method whose forward pass is its loss: what Accelerate wraps."""

    def __init__(self, method: Any) -> None:
        super().__init__()
        self.method = method

    def forward(self, *batch: Tensor) -> Tensor:
        return self.method.loss(*batch)


def fit(
    method: Detector,
    data: DataSplits,
    *,
    steps: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    holdout: float = 0.1,
    folds: int = 0,
    roi: Path | str | Bool[np.ndarray, "h w"] | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    options: TrainOptions = TrainOptions(),  # frozen
    on_step: Callable[[int], None] | None = None,
) -> runs.Run:
    """Train a method on the normal images of a data set, and calibrate its threshold.

    One model for all categories. A share of the normal images is held out and only calibrates;
    the test images are not looked at. A method that learns from defects also gets `data.seen`.
    Under `accelerate launch` every process takes its share of each batch, and the first one writes.
    An interrupted run that is begun again with the same `out` and settings goes on where it
    stopped, and ends with the same weights.

    Args:
        method: A method; its trainable weights are drawn anew from `seed`.
        data: Its `train` images, all normal, and what `adlib.data.supervise` took as `seen`.
        steps: Optimiser steps, at least 1, or 0 for a method whose config has 0. Defaults to the
            config's value.
        seed: Draws weights, order, noise and the held-out images.
        out: A new folder for the run; None keeps it in memory.
        holdout: Share of the normal images that calibrates.
        folds: Instead of `holdout`, the number of folds of the normal images. A model trained on
            the others scores each fold, all scores calibrate, and the model that is kept trains on
            all images. It takes `folds` + 1 trainings, and only the last one resumes. The threshold
            is rather too high than too low, without a guarantee (compare CV+ of Barber et al. 2021,
            which would keep every model).
        roi: Where the part is on every photograph: a mask, white there, or its file. What lies
            outside counts neither in scores and thresholds nor in metrics.
        device: Defaults to the GPU if there is one.
        precision: "auto", "fp32", "bf16" or "fp16" for matrix products; sums stay in fp32.
        options: How it is computed and watched.
        on_step: Called after each step with the number of steps done. It may look at the method,
            and leaves it in training mode.
    Warns:
        RuntimeWarning: Images occur twice; Pro-AD's constraint cannot hold; or a method that
            learns from defects got none, or some that its frame cuts off.
    Returns:
        The run: the calibrated method, its losses, its provenance and where it was written.
    Raises:
        RunError: `out` holds a finished run or another one's checkpoints, or is being written.
        ValueError: Too few steps, defects among the training images, nothing to train on, or a
            batch that does not divide into equal parts for the processes.
        FloatingPointError: The loss or its gradient is not finite; names step and images.
        KeyboardInterrupt: SIGTERM or SIGINT came; with `out`, the steps so far are saved.
        OSError: `out` cannot be written, such as on a full disk.
    """
    started, out = time.perf_counter(), None if out is None else Path(out)
    steps = int(method.config.steps) if steps is None else steps
    if steps < (least := min(int(method.config.steps), 1)):
        raise ValueError(f"steps of {method.name} must be at least {least}, got {steps}")
    if data.train.labels.any():
        worst = data.train.references[int(np.argmax(data.train.labels))]
        raise ValueError(f"training images must be normal, got a defect: {worst.path}")
    for sentence in duplicates(data):
        warnings.warn(sentence, RuntimeWarning, stacklevel=2)
    parts = folds_of(data.train, folds, seed) if folds else []
    region = None if roi is None else read_roi(roi, data.train)
    chosen = choose_device(device)
    dtype = choose_dtype(precision, chosen)
    accelerator = make_accelerator(chosen, dtype, options.tracker, out)
    forget_peak_memory()
    place, first = accelerator.device if launched() else chosen, accelerator.is_main_process
    if method.config.batch % accelerator.num_processes:
        raise ValueError(
            f"a batch of {method.config.batch} does not divide into equal parts for "
            f"{accelerator.num_processes} processes"
        )
    about = {
        "method": method.name,
        "config": method.config,
        "encoder": method.encoder.digest,
        "data": data.hash,
        "seed": seed,
        "steps": steps,
        "holdout": 0.0 if folds else holdout,
        "precision": str(dtype).removeprefix("torch."),
        **({"folds": folds} if folds else {}),
        **({} if region is None else {"roi": runs.to_lengths(region)}),
    }
    method.roi = region
    with runs.claimed(out) if out is not None and first else nullcontext():
        accelerator.wait_for_everyone()
        method.to(place)
        tiles = tiles_of(method, data.train)
        pieces = data if tiles is None else replace(data, train=tiles)
        features = cached_features(method, pieces.train, device=place, dtype=dtype)
        scored: list[tuple[list[np.ndarray], np.ndarray]] = []

        def learn(fitted: list[int], held: list[int], folder: Path | None) -> Any:
            """Train on some of the images, and score those that are held out."""
            keeper = Checkpointer(folder, about, options.checkpoint_every, first)
            rows = fitted if tiles is None else tiles.rows(fitted)
            found = _train(
                method, pieces, features, rows, steps, seed, place, accelerator, keeper, options,
                on_step,
            )  # fmt: skip
            if held:
                part, photographs = select(features, tiles, held)
                maps, scores = (
                    score_features(method, part, dtype)
                    if photographs is None
                    else score_tiles(method, part, dtype, photographs)
                )
                scored.append(([*maps], scores))
            return found

        for part in parts:
            learn(sorted(set(range(len(data.train))) - set(part)), part, None)
        fitted, held = hold_out(data.train, about["holdout"], seed)
        before = time.perf_counter() - started
        losses, facts = learn(fitted, held, None if out is None else runs.checkpoints_of(out))
        if held := [i for part in parts for i in part] + held:
            maps = [heat for some, _ in scored for heat in some]
            scores = np.concatenate([some for _, some in scored])
            names = [data.train.references[i].category for i in held]
            method.calibration = calibrate(scores, names, maps)
        seen = data.seen if method.learns_from_defects else None
        method.provenance = {
            **{key: about[key] for key in ("seed", "steps", "holdout", "precision")},
            "folds": folds,
            **facts,
            "seconds": round(before + facts["seconds"], 3),
            "processes": accelerator.num_processes,
            "options": to_json(options),
            "peak_memory_mib": peak_memory_mib(),
            "device": describe(place),
            "data": {"name": data.name, "hash": data.hash, "notice": data.notice},
            "images": {"fit": len(fitted), "held_out": len(held), "seen": len(seen or ())},
            "drawn": None if seen is None else data.drawn,
            "seen": [] if seen is None else [mark.hex() for mark in seen.fingerprints],
            "versions": runs.versions(),
            "commit": runs.commit(),
        }
        run = runs.Run(method=method, losses=losses, provenance=method.provenance, path=out)
        if out is not None and first:
            runs.save_run(run, out)
        accelerator.wait_for_everyone()
    return run


def _train(
    method: Detector,
    data: DataSplits,
    features: Tensor,
    fitted: list[int],
    steps: int,
    seed: int,
    place: torch.device,
    accelerator: Any,
    keeper: Checkpointer,
    options: TrainOptions,
    on_step: Callable[[int], None] | None,
) -> tuple[list[float], dict[str, Any]]:
    """Train on the images `fitted`, from the start or the last checkpoint on.

    Returns:
        The loss of every step, and the speed for the run's provenance.
    """
    method.to(torch.device("cpu"))  # where the generator lives: one start on every device
    method.reset_parameters(torch.Generator().manual_seed(seed))
    method.calibration = None  # that of an earlier fit, whose weights are gone
    method.to(place)
    method.fit_prototypes(Subset(features, fitted))  # pyright: ignore[reportArgumentType]  # indexable
    if not steps:  # a memory of normal features is made by `fit_prototypes` alone
        return [], {"seconds": 0.0, "resumed_at": []}
    batch, rank = method.config.batch, accelerator.process_index
    size = batch // accelerator.num_processes
    part, first = slice(rank * size, (rank + 1) * size), accelerator.is_main_process
    optimizer, schedule = method.configure_optimizer(steps)
    state = TrainingState(
        method=method, optimizer=optimizer, schedule=schedule, scaler=accelerator.scaler
    )
    keeper.resume(state)
    start, spent = len(state.losses), state.seconds
    if method.learns_from_defects:
        made = method.training_set(data.train.select(fitted), data.seen, seed)
        for sentence in made.missing:
            warnings.warn(sentence, RuntimeWarning, stacklevel=4)
        batches, name = made_batches(made, batch, start, steps, part, options.workers), made.source
    else:
        batches = cached_batches(features, fitted, batch, start, steps, seed, part)
        name = [data.train.references[i].path for i in fitted].__getitem__
    method.train()
    model, optimizer = accelerator.prepare(_Loss(method), optimizer)
    weights = method.trained()
    settings = {k: str(v) for k, v in to_json(method.config).items()}
    accelerator.init_trackers("adlib", settings)
    bar = track(batches, "train", total=steps, initial=start, unit="step", show=first)
    begun, ends = time.perf_counter(), [0.0]  # seconds at the end of each step
    forked = torch.random.fork_rng(devices=[place] if place.type == "cuda" else [])
    if options.compile:
        method.compile()  # the forward pass; the loss around it keeps its hooks as they are
    with forked, keeper.stop_requests():
        for step, (samples, numbers) in enumerate(bar, start):
            torch.manual_seed(noise_seed(seed, step, rank))
            dtypes = [torch.float32 if x.is_floating_point() else x.dtype for x in samples]  # masks
            loss = model(*(x.to(place, t) for x, t in zip(samples, dtypes, strict=True)))
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(weights, method.config.clip).item()
            value = accelerator.reduce(loss.detach(), "mean").item()
            if not math.isfinite(value) or not (math.isfinite(norm) or state.scaler):
                raise FloatingPointError(
                    f"the loss is {value} and its gradient's norm {norm} at step {step}, on "
                    f"{[name(i) for i in numbers]}; last good checkpoint: {keeper.last or 'none'}"
                )
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if not accelerator.optimizer_step_was_skipped:  # fp16, where its scale was too large
                schedule.step()
            ends.append(time.perf_counter() - begun)
            state.losses.append(value)
            state.seconds = spent + ends[-1]
            rate, memory = batch * (len(ends) - 1) / ends[-1], peak_memory_mib() or 0
            words = f"loss {value:.4f}, {rate:.1f} images/s, {memory:,.0f} MiB"
            bar.set_postfix_str(words, refresh=False)
            lr = optimizer.param_groups[0]["lr"]
            accelerator.log({"loss": value, "lr": lr, "images_per_second": rate}, step=step)
            keeper.after_step(state)
            if on_step is not None:
                on_step(step + 1)
    method._compiled_call_impl = None  # what is scored and saved is the plain one
    for tracker in accelerator.trackers:
        tracker.finish()  # Accelerate's own end would part the processes
    each = [b - a for a, b in pairwise(ends)]
    return state.losses, {
        "seconds": state.seconds,
        "images_per_second": batch / statistics.median(each) if each else None,  # not of compiling
        "first_step_seconds": each[0] if each else None,
        "resumed_at": state.resumed_at,
    }
