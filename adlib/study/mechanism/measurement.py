"""A trained method's mechanism on a data set, as plain JSON.

Distances are means over groups of 1 - cos, before any smoothing. What is measured and how follows
the pilot of this reconstruction, so all of it is ours.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from adlib.anomalies.simulated import simulated
from adlib.anomalies.textures import Textures
from adlib.data.dataset import DataSplits, ImageDataset
from adlib.data.order import hold_out
from adlib.data.transform import ImageTransform
from adlib.engine.features import cached_features, transform_of
from adlib.methods import PatchCore
from adlib.metrics import mean_over
from adlib.study.mechanism.separation import defect_shares, patch_classes, separation
from adlib.system.hardware import autocast, choose_dtype
from adlib.system.progress import track

CHANGED, LENGTH = 0.1, 0.7  # share of tokens that the noise probe changes, and by how much; ours
BATCH = 4  # images at a time; ours
HELD_OUT = 0.1  # share of the normal images, as `fit` holds out
SIDE = 0.3  # of the pasted square, as a share of the grid's; ours
HALF = 0.5  # share of a patch that a made anomaly must cover to count; ours
IMAGES = 12  # of a category that foreign tokens are pasted into, or taken from; ours

Method = Any  # adlib.methods.Method that also has `distances` and `grid`


@torch.no_grad()
def distances_of(method: Method, features: Float[Tensor, "n g t c"]) -> Float[Tensor, "n t"]:
    """Return each token's distance from its reconstruction, the mean over groups of 1 - cos.

    Of PatchCore it is the same, from the nearest of its memory and after averaging neighbours.
    All is computed batch by batch where the method is; the result lies on the CPU.

    Raises:
        ValueError: A PatchCore whose distances are no cosines, for they are not normalised.
    """
    memory, device = isinstance(method, PatchCore), next(method.parameters()).device
    if memory and not method.config.normalise:
        raise ValueError("patchcore's distances are cosines with normalise=True only, got False")
    method.eval()
    found = []
    for part in features.split(BATCH):
        d = method.distances(part.to(device, torch.float32))
        d = d.square() / 2 if memory else d  # its patches have length 1
        found.append(d.mean(dim=1).cpu())
    return torch.cat(found)


def noise_probe(
    method: Method, features: Float[Tensor, "n g t c"], generator: torch.Generator
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
    found = []
    for part in features.split(BATCH):
        noisy = part.to(torch.float32, copy=True)
        changed = torch.zeros(len(part), tokens, dtype=torch.bool)
        for image, flags in zip(noisy, changed, strict=True):
            at = torch.randperm(tokens, generator=generator)[:k]
            direction = F.normalize(torch.randn(k, width, generator=generator), dim=-1)
            image[:, at] += LENGTH * image[:, at].norm(dim=-1, keepdim=True) * direction  # g k c
            flags[at] = True
        d = distances_of(method, noisy)
        found.append((d[changed], d[~changed]))
    near, far = (torch.cat(parts).mean().item() for parts in zip(*found, strict=True))
    return near, far


@torch.no_grad()
def survival(
    method: Method,
    before: Float[Tensor, "b g n c"],
    after: Float[Tensor, "b g n c"],
    changed: Bool[Tensor, "b n"],
) -> float | None:
    r"""Return the share of a change of the input that its reconstruction shows.

    An identity mapping hands all of it on, a decoder that knows the normal only nothing.

    $$\frac{\sum \langle s\,(\hat y' - \hat y),\, f' - f \rangle}{\sum \lVert f' - f
    \rVert^2}$$

    over the changed tokens, with f and f' the input without and with the change, and y hat their
    reconstructions. The loss knows no length, so s brings the unchanged image's reconstruction to
    its input's, by least squares in each group.

    Args:
        method: A trained method whose call rebuilds groups of tokens.
        before: Features of normal images.
        after: The same with foreign tokens.
        changed: Where they are.
    Returns:
        1 for an identity mapping, 0 where the reconstruction does not move; None where nothing is
        changed.
    """
    method.eval()
    rebuilt = (method(x) for x in (before, after))  # some with their prototypes beside it
    y, moved = (x[0].float() if isinstance(x, tuple) else x.float() for x in rebuilt)
    s = (before * y).sum(dim=(2, 3), keepdim=True) / y.square().sum(dim=(2, 3), keepdim=True)
    delta = after - before
    kept = (s * (moved - y) * delta).sum(dim=(1, 3))[changed].sum()
    whole = delta.square().sum(dim=(1, 3))[changed].sum()
    return (kept / whole).item() if whole > 0 else None


def pasted(
    normal: Float[Tensor, "b g n c"],
    foreign: Float[Tensor, "k g n c"],
    grid: tuple[int, int],
    generator: torch.Generator,
) -> tuple[Float[Tensor, "b g n c"], Bool[Tensor, "b n"]]:
    """Paste a square of a foreign image's tokens into each normal one, at one drawn place.

    Returns:
        The images with the square, and where it lies.
    """
    sides = [max(1, round(SIDE * side)) for side in grid]
    made = normal.clone()
    changed = torch.zeros(len(normal), *grid, dtype=torch.bool)
    for i, flags in enumerate(changed):
        top, left = (
            int(torch.randint(whole - side + 1, (), generator=generator))
            for whole, side in zip(grid, sides, strict=True)
        )
        flags[top : top + sides[0], left : left + sides[1]] = True
        donor = int(torch.randint(len(foreign), (), generator=generator))
        made[i][:, flags.flatten()] = foreign[donor][:, flags.flatten()]
    return made, changed.flatten(1)


@torch.no_grad()
def made_features(
    method: Method, images: ImageDataset, seed: int
) -> tuple[Float[Tensor, "b g n c"], Float[Tensor, "b g n c"], Bool[Tensor, "b n"]]:
    """Encode normal images without and with a simulated anomaly, as PRN makes them.

    Returns:
        Features without it and with it, and the patches that it covers at least by half.
    """
    frame, textures, rng = transform_of(method), Textures(), np.random.default_rng(seed)
    everywhere, device = np.ones(frame.size, dtype=bool), next(method.parameters()).device
    pairs, covered = [], []
    for sample in images:
        plain = np.rint(frame.image(sample.image).transpose(1, 2, 0) * 255).astype(np.uint8)
        made, mask = simulated(plain, everywhere, textures, rng)
        pair = torch.from_numpy(np.stack([plain, made]).transpose(0, 3, 1, 2) / np.float32(255))
        pairs.append(method.encode(pair.to(device)))
        shares = defect_shares(mask, ImageTransform(size=frame.size), method.grid)
        covered.append(torch.from_numpy(shares > HALF - 1e-9))  # up to rounding
    before, after = torch.stack(pairs, dim=1)
    return before, after, torch.stack(covered)


def held_out_distances(
    method: Method, data: DataSplits, *, seed: int = 0, precision: str = "fp32"
) -> dict[str, float]:
    """Return the mean distance on the normal images that only calibrated, by category.

    How well normal features are fitted, without a look at the test set. While a method trains it
    does not know yet what was held out: a tenth, as `fit` does by default, drawn by the fit's seed.
    """
    fitted = {"holdout": HELD_OUT, "seed": seed} | method.provenance
    _, held = hold_out(data.train, fitted["holdout"], fitted["seed"])
    if not held:
        return {}
    device = next(method.parameters()).device
    dtype = choose_dtype(precision, device)
    features = cached_features(method, data.train, device=device, dtype=dtype)
    with autocast(device, dtype):
        each = distances_of(method, features[held]).mean(dim=1)
    found: dict[str, list[float]] = {}
    for i, d in zip(held, each.tolist(), strict=True):
        found.setdefault(data.train.references[i].category, []).append(d)
    return {category: float(np.mean(d)) for category, d in found.items()}


def measure(
    method: Method, data: DataSplits, *, precision: str = "fp32", fit_seed: int = 0
) -> dict[str, Any]:
    """Measure the mechanism of a method on the test images of a data set.

    Args:
        method: Has `distances`; it may be in the middle of its training.
        data: Its `test` images, and the held-out ones of `train`.
        precision: Of encoder and decoder, as in `evaluate`; distances are taken in fp32.
        fit_seed: Of the fit, while it goes on.
    Returns:
        {"method", "categories": {CATEGORY: row}, "mean": row}. A row has the fields of `Separation`
        (`d_normal`, `d_anomalous`, `ratio`, `gap`, `z`, `auroc`, `normal_patches`,
        `anomalous_patches`), `noise_changed` and `noise_unchanged` on the normal test images
        (`noise_probe`), `d_held_out` (`held_out_distances`), `survival_other` and `survival_made`
        (`survival` of patches of another category and of made anomalies; PatchCore rebuilds
        nothing). None where a category has no such patch or image, as without masks. The mean is
        the plain mean over categories, so of ratios too; None where one lacks the figure; it has no
        counts.
    Raises:
        TypeError: A method without distances of tokens.
    """
    if not hasattr(method, "distances"):
        raise TypeError(f"only methods with `distances` of tokens can be measured, got {method!r}")
    device = next(method.parameters()).device
    dtype = choose_dtype(precision, device)
    held = held_out_distances(method, data, seed=fit_seed, precision=precision)
    every = cached_features(method, data.test, device=device, dtype=dtype, label="encode test")
    classes = patch_classes(data.test, transform_of(method), method.grid)
    names, good = np.array([r.category for r in data.test.references]), ~data.test.labels
    rows: dict[str, dict[str, Any]] = {}
    for category in track(data.test.categories, "measure", unit="category"):
        mine, noise = names == category, (None, None)
        features = every[torch.from_numpy(mine & good)]
        with autocast(device, dtype):
            d = distances_of(method, every[torch.from_numpy(mine)])
            if len(features):
                noise = noise_probe(method, features, torch.Generator().manual_seed(0))
        normal, anomalous = (d[flags[mine]].numpy() for flags in classes)
        row = rows[category] = separation(normal, anomalous)._asdict()
        row |= {"noise_changed": noise[0], "noise_unchanged": noise[1]}
        row |= {"d_held_out": held.get(category), "survival_other": None, "survival_made": None}
        if not len(features) or isinstance(method, PatchCore):
            continue
        images = data.test.select(np.flatnonzero(mine & good)[:IMAGES])
        before, after, covered = made_features(method, images, seed=0)
        row["survival_made"] = survival(method, before, after, covered)
        others = every[torch.from_numpy(~mine & good)][:IMAGES].float()
        if len(others):
            before, generator = features[:IMAGES].float(), torch.Generator().manual_seed(0)
            after, changed = pasted(before, others, method.grid, generator)
            row["survival_other"] = survival(method, before.to(device), after.to(device), changed)
    mean = {k: v for k, v in mean_over(rows).items() if not k.endswith("_patches")}
    return {"method": method.name, "categories": rows, "mean": mean}
