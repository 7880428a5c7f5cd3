"""A method looked at while it trains: at its mechanism, or at anomalies made of held-out images."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from adlib.anomalies.training_set import AnomalyConfig, TrainingSet
from adlib.data.dataset import DataSplits
from adlib.data.order import hold_out
from adlib.engine.features import transform_of
from adlib.metrics import score_maps
from adlib.study.mechanism.measurement import HELD_OUT, measure
from adlib.system.hardware import autocast, choose_dtype

SAMPLES, BATCH = 64, 8  # images, half of them normal, and how many at a time; ours
OTHER = 1_000_003  # added to the seed, so that no anomaly of the training comes again; ours


class Trace:
    """What `fit` calls after each step (`on_step`): at some steps it notes a method's figures.

    They are the means of `mechanism.measure`, or `made_anomalies` of a method that learns from
    such. `rows` holds them by step, each with its "step".

    Args:
        method: Which trains.
        data: What it trains and is tested on.
        steps: After how many it looks.
        log: A file to which rows are added, so that a run that is taken up keeps them; or None.
        how: `precision` and `fit_seed` of the fit.
    """

    def __init__(
        self, method: Any, data: DataSplits, steps: Sequence[int], log: Path | None, **how: Any
    ) -> None:
        self.method, self.data, self.steps, self.log, self.how = method, data, steps, log, how
        kept = log.read_text().splitlines() if log is not None and log.is_file() else []
        self.rows = {row["step"]: row for row in map(json.loads, kept)}

    def __call__(self, step: int) -> None:
        if step not in self.steps or step in self.rows:
            return
        if self.method.learns_from_defects:
            found = made_anomalies(self.method, self.data, **self.how)
        else:
            found = measure(self.method, self.data, **self.how)["mean"]
        self.rows[step] = {"step": step, **found}
        self.method.train()
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(json.dumps(self.rows[step]) + "\n")


@torch.no_grad()
def made_anomalies(
    method: Any, data: DataSplits, *, precision: str, fit_seed: int
) -> dict[str, float | None]:
    """Score a method on anomalies made on held-out normal images: when may training stop?

    No test image decides how long a method trains. These can: PRN trains on their like, and has
    seen neither these backgrounds nor these anomalies. The seed makes the same at every look.

    Args:
        method: Any detector.
        data: Its held-out normal images get the anomalies; pieces of `seen` defects are pasted
            where there are some, but none is shown as it is.
        precision, fit_seed: Of the fit.
    Returns:
        Pixel AUROC, AP and AUPRO as "made_auroc", "made_ap" and "made_aupro".
    """
    held = data.train.select(hold_out(data.train, HELD_OUT, fit_seed)[1])
    how = {"batch": BATCH, "seed": fit_seed + OTHER, "recipe": AnomalyConfig(seen=False)}
    made = TrainingSet(held, data.seen, frame=transform_of(method), **how)
    images, masks = zip(*(made[i] for i in range(SAMPLES)), strict=True)
    device = next(method.parameters()).device
    method.eval()
    with autocast(device, choose_dtype(precision, device)):
        maps = [method.maps(method.encode(batch.to(device)).float()).float().cpu()
                for batch in torch.stack(images).split(BATCH)]  # fmt: skip
    found = score_maps(torch.cat(maps).numpy(), torch.stack(masks).numpy())
    return {f"made_{name}": found[name] for name in ("auroc", "ap", "aupro")}
