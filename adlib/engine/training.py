"""The training loop, and what stands before and after it: features, threshold, the run on disk."""

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from adlib.data.dataset import DataSplits
from adlib.data.order import hold_out, noise_seed
from adlib.data.tools.duplicates import duplicates
from adlib.engine import runs
from adlib.engine.checkpoints import Checkpointer, TrainingState
from adlib.engine.features import cached_features
from adlib.engine.feed import Course, Portion, serve_cached, serve_made
from adlib.engine.meter import ProgressLogger
from adlib.engine.scoring import score_features
from adlib.methods.method import Method, Supervised
from adlib.metrics.threshold import calibrate
from adlib.nn.share import Share, sharing
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


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How a run is computed and watched; only `ema` is meant to change its result.

    With BatchNorm, as in PRN, `accumulate` does as well: each part is normalised by itself.
    """

    accumulate: int = 1  # parts of a batch whose gradients are added up, to save memory
    ema: float | None = None  # decay of a moving average that replaces the last weights; off
    compile: bool = False  # torch.compile the trained part; on a CPU it needs a C++ compiler
    channels_last: bool = True  # memory layout of the encoder; off where convolutions want it so
    checkpoint_every: int = 200  # steps, after which an interrupted run can go on; ours
    workers: int = 0  # processes that make training images, for methods that learn from such
    tracker: str | None = None  # tensorboard, wandb, ...: any that Accelerate knows

    def __post_init__(self) -> None:
        for name in ("accumulate", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.workers < 0:
            raise ValueError(f"workers must not be negative, got {self.workers}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema is a decay in (0, 1), got {self.ema}")


class _Loss(nn.Module):
    """A method whose forward pass is its loss: what Accelerate wraps."""

    def __init__(self, method: Any) -> None:
        super().__init__()
        self.method = method

    def forward(self, *batch: Tensor) -> Tensor:
        return self.method.loss(*batch)


def fit(
    method: Method,
    data: DataSplits,
    *,
    steps: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    holdout: float = 0.1,
    device: str | torch.device | None = None,
    precision: str = "auto",
    options: TrainOptions = TrainOptions(),  # frozen
) -> runs.Run:
    """Train a method on the normal images of a data set, and calibrate its threshold.

    One model for all categories. A share of the normal images is held out and only calibrates;
    the test images are not looked at. A method that learns from defects (it has `training_set`)
    also gets `data.seen`. Under `accelerate launch` every process takes its share of
    each batch, and the first one writes. A run that was interrupted goes on where it stopped when
    it is begun again with the same `out` and settings, and ends with the same weights.

    Args:
        method: A method; its trainable weights are drawn anew from `seed`.
        data: Its `train` images, all normal, and what `adlib.data.supervise` took as `seen`.
        steps: Optimiser steps, at least 1, or 0 for a method that trains nothing (its config's
            are 0); None takes the config's.
        seed: Draws weights, order, noise and the held-out images.
        out: A new folder for the run; None keeps it in memory.
        holdout: Share of the normal images that calibrates.
        device: Where; None takes the GPU if there is one.
        precision: "auto", "fp32", "bf16" or "fp16" for matrix products; sums that matter stay in
            fp32.
        options: How it is computed and watched.
    Warns:
        RuntimeWarning: Images occur twice, in training or on both sides; Pro-AD's constraint
            cannot hold (`adlib.nn.constraint.warn_if_unconstrained`); or a method that learns from
            defects was given none, or such as its frame cuts off.
    Returns:
        The run: the calibrated method, its losses, its provenance and where it was written.
    Raises:
        RunError: `out` holds a finished run, or checkpoints of another one, or another process
            writes to it.
        ValueError: Too few steps, defects among the training images, nothing to train on, or a
            batch that does not divide into the shares of processes and accumulation.
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
        method.reset_parameters(torch.Generator().manual_seed(seed))
        method.calibration = None  # that of an earlier fit, whose weights are gone
        method.to(place)
        fitted, held = hold_out(data.train, holdout, seed)
        seen = data.seen if isinstance(method, Supervised) else None
        features = cached_features(
            method, data.train, device=place, dtype=dtype, channels_last=options.channels_last
        )
        method.fit_prototypes(Subset(features, fitted))  # pyright: ignore[reportArgumentType]  # indexable

        before = time.perf_counter() - started
        folder = None if out is None else runs.checkpoints_of(out)
        keeper = Checkpointer(folder, about, options.checkpoint_every, first)
        losses: list[float] = []
        facts: runs.Record = {"seconds": 0.0, "resumed_at": []}
        if steps:  # a memory of normal features is made by `fit_prototypes` alone
            if isinstance(method, Supervised):
                made = method.training_set(data.train.select(fitted), seen, seed)
                for sentence in made.missing:
                    warnings.warn(sentence, RuntimeWarning, stacklevel=2)
                serve = partial(serve_made, made, workers=options.workers)
            else:
                names = [data.train.references[i].path for i in fitted]
                serve = partial(serve_cached, features, fitted, names)
            losses, facts = _train(method, serve, steps, seed, accelerator, keeper, options)

        if held:
            maps, scores = score_features(method, features[held], dtype)
            categories = [data.train.references[i].category for i in held]
            method.calibration = calibrate(scores, categories, maps)
        method.provenance = {
            "seed": seed,
            "steps": steps,
            "holdout": holdout,
            **facts,
            "seconds": round(before + facts["seconds"], 3),
            "processes": accelerator.num_processes,
            "options": to_json(options),
            "peak_memory_mib": peak_memory_mib(),
            "device": describe(place),
            "precision": about["precision"],
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
    method: Method,
    serve: Callable[[Course], Iterator[Portion]],
    steps: int,
    seed: int,
    accelerator: Any,
    keeper: Checkpointer,
    options: TrainOptions,
) -> tuple[list[float], runs.Record]:
    """Run the steps that are left: batch, loss, backward, step, record.

    Args:
        method: Prepared; its weights end as those of the last step.
        serve: Yields the batches of a course.
        steps: Of the whole run.
        seed: Draws order and noise.
        accelerator: Accelerate's view of precision and processes.
        keeper: Of the checkpoints.
        options: As `fit` got them.
    Returns:
        The loss of every step, and what a run's provenance says of its speed.
    """
    optimiser, schedule = method.configure_optimizer(steps)
    batch, clip, first = method.config.batch, method.config.clip, accelerator.is_main_process
    state = TrainingState(
        method=method, optimiser=optimiser, schedule=schedule, scaler=accelerator.scaler
    )
    if options.ema is not None:
        state.begin_average()
    keeper.resume(state)
    start, spent = len(state.losses), state.seconds
    method.train()
    model, optimiser = accelerator.prepare(_Loss(method), optimiser)
    weights = [p for _, p in state.trained()]
    parts, rank = options.accumulate, accelerator.process_index
    shares = [Share(rank * parts + i, accelerator.num_processes * parts) for i in range(parts)]
    course = Course(start=start, steps=steps, batch=batch, shares=shares, seed=seed)
    bar = track(serve(course), "train", total=steps, initial=start, unit="step", show=first)
    meter = ProgressLogger(bar, accelerator, options.tracker, batch, method.config)
    place = next(method.parameters()).device
    forked = torch.random.fork_rng(devices=[place] if place.type == "cuda" else [])
    with forked, keeper.stop_requests(), _compiled(method, options.compile):
        for step, portion in enumerate(bar, start):
            loss = _backward(model, portion, shares, accelerator, noise_seed(seed, step))
            norm = accelerator.clip_grad_norm_(weights, clip).item()
            if not math.isfinite(loss) or not (math.isfinite(norm) or state.scaler):
                raise FloatingPointError(
                    f"the loss is {loss} and its gradient's norm {norm} at step {step}, on "
                    f"{portion.names()}; last good checkpoint: "
                    f"{keeper.last or 'none'}"
                )
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            if not accelerator.optimizer_step_was_skipped:  # fp16, where its scale was too large
                schedule.step()
            state.move_average(options.ema)
            state.losses.append(loss)
            state.seconds = spent + meter.show(step, loss, optimiser.param_groups[0]["lr"])
            keeper.after_step(state)
    meter.close()
    state.take_average()
    return state.losses, {
        "seconds": state.seconds,
        "images_per_second": meter.rate,  # of the median step, so without compiling
        "first_step_seconds": meter.ends[0] if meter.ends else None,
        "resumed_at": state.resumed_at,
    }


@contextmanager
def _compiled(method: Method, wanted: bool) -> Iterator[None]:
    """Compile the forward pass inside; the loss around it keeps its hooks as they are."""
    if wanted:
        method.compile()
    try:
        yield
    finally:
        method._compiled_call_impl = None  # what is scored and saved is the plain one


def _backward(
    model: nn.Module, portion: Portion, shares: list[Share], accelerator: Any, noise: int
) -> float:
    """Add up the gradients of one batch over its parts; return the loss of the whole batch."""
    device = next(model.parameters()).device
    total = torch.zeros((), device=device)
    for share, part in zip(shares, portion.parts, strict=True):
        batch = [_placed(x, device) for x in part]
        torch.manual_seed(noise)  # equal for every share, which cuts its own part of the noise
        last = share == shares[-1]
        with sharing(share), nullcontext() if last else accelerator.no_sync(model):
            loss = model(*batch) / len(shares)
            accelerator.backward(loss)
        total += loss.detach()
    return accelerator.reduce(total, "mean").item()


def _placed(x: Tensor, device: torch.device) -> Tensor:
    """Move features and images as fp32, and masks as they are."""
    return x.to(device, torch.float32) if x.is_floating_point() else x.to(device)
