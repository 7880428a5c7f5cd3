"""A trained method's mechanism on a data set, as plain JSON.

Distances are means over groups of 1 - cos, before any smoothing. What is measured and how follows
the pilot of this reconstruction, so all of it is ours.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from adlib.data.dataset import DataSplits
from adlib.data.order import hold_out
from adlib.engine.features import cached_features, transform_of
from adlib.methods import PatchCore
from adlib.metrics import mean_over
from adlib.study.mechanism.pasting import IMAGES, made_features, pasted, survival
from adlib.study.mechanism.separation import patch_classes, separation
from adlib.system.hardware import autocast, choose_dtype
from adlib.system.progress import track

CHANGED, LENGTH = 0.1, 0.7  # share of tokens that the noise probe changes, and by how much; ours
BATCH = 4  # images at a time; explicit attention weights are kept for as many; ours

Method = Any  # adlib.methods.Method that also has `distances` and `grid`


@torch.no_grad()
def token_distances(method: Method, groups: Float[Tensor, "b g n c"]) -> Float[Tensor, "b n"]:
    """Return each token's distance from its reconstruction, the mean over groups of 1 - cos.

    Of PatchCore it is the same, from the nearest of its memory and after averaging neighbours.

    Raises:
        ValueError: A PatchCore whose distances are no cosines, for they are not normalised.
    """
    memory = isinstance(method, PatchCore)
    if memory and not method.config.normalise:
        raise ValueError("patchcore's distances are cosines with normalise=True only, got False")
    method.eval()
    d = method.distances(groups)
    d = d.square() / 2 if memory else d  # its patches have length 1
    return d.mean(dim=1)


def noise_probe(
    method: Method,
    features: Float[Tensor, "n g t c"],
    generator: torch.Generator,
    *,
    batch: int = BATCH,
) -> tuple[float, float]:
    """Ask whether tokens that were never seen are rebuilt as well: soft identity mapping.

    Of each image `CHANGED` of the tokens, one at least, get a random direction added, the same in
    all groups and of `LENGTH` times the token's length, in input and target alike. The generator
    draws places and directions, image by image.

    Returns:
        The mean distance of changed and of unchanged tokens. An identity mapping gives 0 for both;
        one that has learnt the normal only, a large first number.
    """
    tokens, width = features.shape[2:]
    k = max(1, round(CHANGED * tokens))
    found: list[tuple[Tensor, Tensor]] = []
    for groups in _batches(method, features, batch):
        changed = torch.zeros(len(groups), tokens, dtype=torch.bool)
        for image, flags in zip(groups, changed, strict=True):
            at = torch.randperm(tokens, generator=generator)[:k]
            direction = F.normalize(torch.randn(k, width, generator=generator), dim=-1)
            size = LENGTH * image[:, at].norm(dim=-1, keepdim=True)  # g k 1
            image[:, at] += size * direction.to(image.device)
            flags[at] = True
        d = token_distances(method, groups).cpu()
        found.append((d[changed], d[~changed]))
    near, far = (torch.cat(parts).mean().item() for parts in zip(*found, strict=True))
    return near, far


def held_out_distances(
    method: Method,
    data: DataSplits,
    *,
    holdout: float = 0.1,
    seed: int = 0,
    batch: int = BATCH,
    precision: str = "fp32",
) -> dict[str, float]:
    """Return the mean distance on the normal images that only calibrated, by category.

    How well normal features are fitted, without a look at the test set. `seed` is that of the fit,
    while its method does not know it.

    Raises:
        ValueError: The run held out another number of images of this data set.
    """
    seen, device = method.provenance, next(method.parameters()).device
    _, held = hold_out(data.train, holdout, seen.get("seed", seed))
    if seen and seen["data"]["hash"] == data.hash and seen["images"]["held_out"] != len(held):
        raise ValueError(
            f"the run held out {seen['images']['held_out']} images of {data.name}; holdout="
            f"{holdout} gives {len(held)}. Pass the share that `fit` was given"
        )
    if not held:
        return {}
    dtype = choose_dtype(precision, device)
    features = cached_features(method, data.train, device=device, dtype=dtype)
    found: dict[str, list[float]] = {}
    with autocast(device, dtype):
        parts = [token_distances(method, g) for g in _batches(method, features[held], batch)]
    for i, d in zip(held, torch.cat(parts).mean(dim=1).tolist(), strict=True):
        found.setdefault(data.train.references[i].category, []).append(d)
    return {category: float(np.mean(d)) for category, d in found.items()}


class Probes:
    """What is asked of a method on a data set, made once for every look at it.

    Args:
        method: Has `distances`; it may train between two looks.
        data: Its `test` images, and the held-out ones of `train`.
        batch: Images at a time.
        precision: Of encoder and decoder, as in `evaluate`; distances are taken in fp32.
        holdout: The share of normal images that `fit` holds out.
        seed: Of the noise probe, in each category anew.
        fit_seed: Of the fit, while it goes on.
    Raises:
        TypeError: A method without distances of tokens.
    """

    def __init__(
        self,
        method: Method,
        data: DataSplits,
        *,
        batch: int = BATCH,
        precision: str = "fp32",
        holdout: float = 0.1,
        seed: int = 0,
        fit_seed: int = 0,
    ) -> None:
        if not hasattr(method, "distances"):
            raise TypeError(
                f"only methods with `distances` of tokens can be measured, got {method!r}"
            )
        self.method, self.data, self.batch, self.seed = method, data, batch, seed
        self.precision, self.holdout, self.fit_seed = precision, holdout, fit_seed
        self.place = next(method.parameters()).device
        self.dtype = choose_dtype(precision, self.place)
        features = cached_features(
            method, data.test, device=self.place, dtype=self.dtype, label="encode test"
        )
        names = np.array([r.category for r in data.test.references])
        self.parts: dict[str, _Part] = {}
        for category in data.test.categories:
            mine = np.flatnonzero(names == category)
            images = data.test.select(mine)
            others = features[torch.from_numpy((names != category) & ~data.test.labels)][:IMAGES]
            normals = images.select(np.flatnonzero(~images.labels)[:IMAGES])
            rebuilds = len(normals) and not isinstance(method, PatchCore)
            self.parts[category] = _Part(
                features[torch.from_numpy(mine)],
                torch.from_numpy(~images.labels),
                *patch_classes(images, transform_of(method), method.grid),
                others.float(),
                made_features(method, normals, seed) if rebuilds else None,
            )

    def look(self) -> dict[str, dict[str, Any]]:
        """Return the figures of each category, as `measure` describes them."""
        how = {"holdout": self.holdout, "batch": self.batch, "precision": self.precision}
        held = held_out_distances(self.method, self.data, seed=self.fit_seed, **how)
        rows: dict[str, dict[str, Any]] = {}
        for category, part in track(list(self.parts.items()), "measure", unit="category"):
            good, noise = part.features[part.good], (None, None)
            with autocast(self.place, self.dtype):
                each = _batches(self.method, part.features, self.batch)
                d = torch.cat([token_distances(self.method, g).cpu() for g in each])
                if len(good):
                    generator = torch.Generator().manual_seed(self.seed)
                    noise = noise_probe(self.method, good, generator, batch=self.batch)
            row = asdict(separation(d[part.normal].numpy(), d[part.anomalous].numpy()))
            row |= {"noise_changed": noise[0], "noise_unchanged": noise[1]}
            row |= {"d_held_out": held.get(category)}
            row |= self._survivals(part, good[:IMAGES].float())
            rows[category] = row
        return rows

    def _survivals(
        self, part: "_Part", normal: Float[Tensor, "b g n c"]
    ) -> dict[str, float | None]:
        """Return what survives of patches of other categories, and of made anomalies.

        None where nothing can be pasted. PatchCore rebuilds nothing, so nothing can survive in it.
        """
        found: dict[str, float | None] = {"survival_other": None, "survival_made": None}
        if part.made is None:
            return found
        if len(part.others):
            generator = torch.Generator().manual_seed(self.seed)
            after, changed = pasted(normal, part.others, self.method.grid, generator)
            found["survival_other"] = survival(
                self.method, normal.to(self.place), after.to(self.place), changed
            )
        found["survival_made"] = survival(self.method, *part.made)
        return found


@dataclass(frozen=True)
class _Part:
    """A category's test images: features, labels, classes of patches, and foreign features."""

    features: Tensor  # n g t c
    good: Tensor  # n
    normal: Tensor  # n t
    anomalous: Tensor  # n t
    others: Tensor  # k g t c
    made: tuple[Tensor, Tensor, Tensor] | None


def measure(
    method: Method,
    data: DataSplits,
    *,
    batch: int = BATCH,
    precision: str = "fp32",
    holdout: float = 0.1,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure the mechanism of a method on the test images of a data set.

    Args:
        method: A trained method that has `distances`.
        data: Its `test` images, and the held-out ones of `train`.
        batch: Images at a time.
        precision: Of encoder and decoder, as in `evaluate`; distances are taken in fp32.
        holdout: The share of normal images that `fit` held out.
        seed: Of the noise probe, in each category anew.
    Returns:
        {"method", "categories": {CATEGORY: row}, "mean": row}. A row has the fields of `Separation`
        (`d_normal`, `d_anomalous`, `ratio`, `gap`, `z`, `auroc`, `normal_patches`,
        `anomalous_patches`), `noise_changed` and `noise_unchanged` on the normal test images
        (`noise_probe`), `d_held_out` (`held_out_distances`), `survival_other` and `survival_made`
        (`survival` of patches of another category and of made anomalies). None where a category has
        no such patch or image, as without masks. The mean is the plain mean over categories, so of
        ratios too; None where one lacks the figure; it has no counts.
    Raises:
        TypeError: A method without distances of tokens.
    """
    probes = Probes(method, data, batch=batch, precision=precision, holdout=holdout, seed=seed)
    rows = probes.look()
    mean = without_counts(mean_over(rows))
    return {"method": method.name, "categories": rows, "mean": mean}


def without_counts(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without its numbers of patches, whose mean says nothing."""
    return {name: value for name, value in row.items() if not name.endswith("_patches")}


def _batches(method: Method, features: Float[Tensor, "n g t c"], batch: int) -> Iterator[Tensor]:
    """Yield cached features batch by batch, as fp32 copies where the method is."""
    device = next(method.parameters()).device
    for part in features.split(batch):
        yield part.to(device, torch.float32, copy=True)
