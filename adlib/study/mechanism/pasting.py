"""What of a foreign patch survives a decoder: soft identity mapping, asked directly.

Normal images get foreign tokens: those of another category, or those of a made anomaly. An identity
mapping hands the whole difference on, a decoder that knows the normal only none of it. All of it is
ours.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from adlib.anomalies.simulated import simulated
from adlib.anomalies.textures import Textures
from adlib.data.dataset import ImageDataset
from adlib.engine.features import transform_of
from adlib.study.mechanism.separation import defect_shares

SIDE = 0.3  # of the pasted square, as a share of the grid's
HALF = 0.5  # share of a patch that a made anomaly must cover to count
IMAGES = 12  # of a category that the probes look at


@torch.no_grad()
def survival(
    method: Any,
    before: Float[Tensor, "b g n c"],
    after: Float[Tensor, "b g n c"],
    changed: Bool[Tensor, "b n"],
) -> float | None:
    r"""Return the share of a change of the input that its reconstruction shows.

    $$\\frac{\\sum \\langle s\\,(\\hat y' - \\hat y),\\, f' - f \\rangle}{\\sum \\lVert f' - f
    \\rVert^2}$$

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
    y, moved = (_rebuilt(method, x).float() for x in (before, after))
    s = (before * y).sum(dim=(2, 3), keepdim=True) / y.square().sum(dim=(2, 3), keepdim=True)
    delta = after - before
    kept = (s * (moved - y) * delta).sum(dim=(1, 3))[changed].sum()
    whole = delta.square().sum(dim=(1, 3))[changed].sum()
    return (kept / whole).item() if whole > 0 else None


def _rebuilt(method: Any, groups: Tensor) -> Tensor:
    out = method(groups)
    return out[0] if isinstance(out, tuple) else out


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
    method: Any, images: ImageDataset, seed: int
) -> tuple[Float[Tensor, "b g n c"], Float[Tensor, "b g n c"], Bool[Tensor, "b n"]]:
    """Encode normal images without and with a simulated anomaly, as PRN makes them.

    Returns:
        Features without it and with it, and the patches that it covers at least by half.
    """
    frame, textures, rng = transform_of(method), Textures(), np.random.default_rng(seed)
    device = next(method.parameters()).device
    before, after, covered = [], [], []
    everywhere = np.ones(frame.size, dtype=bool)
    for sample in images:
        plain = np.rint(frame.image(sample.image).transpose(1, 2, 0) * 255).astype(np.uint8)
        made, mask = simulated(plain, everywhere, textures, rng)
        pair = torch.from_numpy(np.stack([plain, made]).transpose(0, 3, 1, 2) / np.float32(255))
        both = method.encode(pair.to(device))
        before.append(both[0])
        after.append(both[1])
        covered.append(defect_shares(torch.from_numpy(mask)[None], method.grid)[0] >= HALF)
    return torch.stack(before), torch.stack(after), torch.stack(covered)
