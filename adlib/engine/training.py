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
from adlib.engine.feed import Batch, cached_batches, made_batches
from adlib.engine.meter import ProgressLogger
from adlib.engine.scoring import score_features
from adlib.methods.detector import Detector
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
    device: str | torch.device | None = None,
    precision: str = "auto",
    options: TrainOptions = TrainOptions(),  # frozen
    on_step: Callable[[int], None] | None = None,
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
        on_step: Called after each step with the number of steps done. It may look at the method,
            and leaves it in training mode.
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
    chosen = choose_device(device)
    dtype = choose_dtype(precision, chosen)
    accelerator = make_accelerator(chosen, dtype, options.tracker, out)
    forget_peak_memory()
    place = accelerator.device if launched() else chosen
    first = accelerator.is_main_process
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
        "holdout": holdout,
        "precision": str(dtype).removeprefix("torch."),
    }
    with runs.claimed(out) if out is not None and first else nullcontext():
        accelerator.wait_for_everyone()
        method.to(torch.device("cpu"))  # where the generator lives: one start on every device
        method.reset_parameters(torch.Generator().manual_seed(seed))
        method.calibration = None  # that of an earlier fit, whose weights are gone
        method.to(place)
        fitted, held = hold_out(data.train, holdout, seed)
        seen = data.seen if method.learns_from_defects else None
        features = cached_features(method, data.train, device=place, dtype=dtype)
        method.fit_prototypes(Subset(features, fitted))  # pyright: ignore[reportArgumentType]  # indexable

        before = time.perf_counter() - started
        folder = None if out is None else runs.checkpoints_of(out)
        keeper = Checkpointer(folder, about, options.checkpoint_every, first)
        losses: list[float] = []
        facts: runs.Record = {"seconds": 0.0, "resumed_at": []}
        if steps:  # a memory of normal features is made by `fit_prototypes` alone
            batch, part = method.config.batch, _part(method.config.batch, accelerator)
            if method.learns_from_defects:
                made = method.training_set(data.train.select(fitted), seen, seed)
                for sentence in made.missing:
                    warnings.warn(sentence, RuntimeWarning, stacklevel=2)
                feed = partial(
                    made_batches, made, batch, steps=steps, part=part, workers=options.workers
                )
                name = made.source
            else:
                feed = partial(
                    cached_batches, features, fitted, batch, steps=steps, seed=seed, part=part
                )
                name = [data.train.references[i].path for i in fitted].__getitem__
            losses, facts = _train(
                method, feed, name, steps, seed, accelerator, keeper, options, on_step
            )

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


def _part(batch: int, accelerator: Any) -> slice:
    """What of a batch this process takes."""
    size = batch // accelerator.num_processes
    return slice(accelerator.process_index * size, (accelerator.process_index + 1) * size)


def _train(
    method: Detector,
    feed: Callable[..., Iterator[Batch]],
    name: Callable[[int], str],
    steps: int,
    seed: int,
    accelerator: Any,
    keeper: Checkpointer,
    options: TrainOptions,
    on_step: Callable[[int], None] | None,
) -> tuple[list[float], runs.Record]:
    """Run the steps that are left: batch, loss, backward, step, record.

    Args:
        method: With its prototypes; its weights end as those of the last step.
        feed: Yields the batches from a step `start` on.
        name: Tells from which file a sample of a batch was made.
        steps: Of the whole run.
        seed: Draws order and noise.
        accelerator: Accelerate's view of precision and processes.
        keeper: Of the checkpoints.
        options: As `fit` got them.
        on_step: As `fit` got it.
    Returns:
        The loss of every step, and what a run's provenance says of its speed.
    """
    optimizer, schedule = method.configure_optimizer(steps)
    state = TrainingState(
        method=method, optimizer=optimizer, schedule=schedule, scaler=accelerator.scaler
    )
    keeper.resume(state)
    start, spent, clip = len(state.losses), state.seconds, method.config.clip
    method.train()
    model, optimizer = accelerator.prepare(_Loss(method), optimizer)
    weights, first = method.trained(), accelerator.is_main_process
    bar = track(feed(start=start), "train", total=steps, initial=start, unit="step", show=first)
    log = ProgressLogger(bar, accelerator, options.tracker, method.config.batch, method.config)
    place = next(method.parameters()).device
    forked = torch.random.fork_rng(devices=[place] if place.type == "cuda" else [])
    with forked, keeper.stop_requests(), _compiled(method, options.compile):
        for step, (batch, numbers) in enumerate(bar, start):
            torch.manual_seed(noise_seed(seed, step, accelerator.process_index))
            loss = model(*(_placed(x, place) for x in batch))
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(weights, clip).item()
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
            state.losses.append(value)
            state.seconds = spent + log.show(step, value, optimizer.param_groups[0]["lr"])
            keeper.after_step(state)
            if on_step is not None:
                on_step(step + 1)
    log.close()
    return state.losses, {
        "seconds": state.seconds,
        "images_per_second": log.rate,  # of the median step, so without compiling
        "first_step_seconds": log.ends[0] if log.ends else None,
        "resumed_at": state.resumed_at,
    }


@contextmanager
def _compiled(method: Detector, wanted: bool) -> Iterator[None]:
    """Compile the forward pass inside; the loss around it keeps its hooks as they are."""
    if wanted:
        method.compile()
    try:
        yield
    finally:
        method._compiled_call_impl = None  # what is scored and saved is the plain one


def _placed(x: Tensor, device: torch.device) -> Tensor:
    """Move features and images as fp32, and masks as they are."""
    return x.to(device, torch.float32) if x.is_floating_point() else x.to(device)
