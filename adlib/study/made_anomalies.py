"""How well made anomalies are found on normal images that were held out: when training may stop.

No test image decides how long a method trains. Made anomalies on held-out normal images can: PRN
trains on their like, and has seen neither these backgrounds nor these anomalies.
"""

from typing import Any

import numpy as np
import torch

from adlib.anomalies.training_set import AnomalyConfig, TrainingSet
from adlib.data.dataset import DataSplits
from adlib.data.order import hold_out
from adlib.engine.features import transform_of
from adlib.metrics import score_maps
from adlib.system.hardware import autocast, choose_dtype

HELD_OUT = 0.1  # share of the normal images, as `fit` holds out
SAMPLES = 64  # images, half of them normal; ours
OTHER = 1_000_003  # added to the seed, so that no anomaly of the training comes again; ours


class MadeAnomalies:
    """Made once, looked at as often as is asked; seen defects are never shown as they are.

    Args:
        method: Any detector.
        data: Its held-out normal images get the anomalies; `seen` defects are pasted where there
            are some.
        precision: As in `fit`.
        fit_seed: Of the fit.
    """

    def __init__(
        self, method: Any, data: DataSplits, *, precision: str = "fp32", fit_seed: int = 0
    ) -> None:
        self.method, self.place = method, next(method.parameters()).device
        self.dtype = choose_dtype(precision, self.place)
        _, held = hold_out(data.train, HELD_OUT, fit_seed)
        made = TrainingSet(
            data.train.select(held),
            data.seen,
            frame=transform_of(method),
            batch=8,
            seed=fit_seed + OTHER,
            recipe=AnomalyConfig(seen=False),
        )
        images, masks = zip(*(made[i] for i in range(SAMPLES)), strict=True)
        with torch.no_grad(), autocast(self.place, self.dtype):
            parts = [method.encode(x.to(self.place)).cpu() for x in torch.stack(images).split(8)]
        self.features = torch.cat(parts)
        self.masks = np.stack([mask.numpy() for mask in masks])

    @torch.no_grad()
    def look(self) -> dict[str, float | None]:
        """Return pixel AUROC, AP and AUPRO on the made images."""
        self.method.eval()
        with autocast(self.place, self.dtype):
            parts = [
                self.method.maps(x.to(self.place, torch.float32)).float().cpu()
                for x in self.features.split(8)
            ]
        found = score_maps(torch.cat(parts).numpy(), self.masks)
        return {f"made_{name}": found[name] for name in ("auroc", "ap", "aupro")}
