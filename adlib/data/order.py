"""Which images train, which calibrate, and in what order they come."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from adlib.data.sample import Images


def hold_out(images: Images, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Split normal images into those to fit on and those to calibrate on, category by category.

    Args:
        images: Normal images.
        share: Fraction held out of each category, at least one image where it has two or more.
        seed: Draws which.
    Returns:
        Indices to fit on and indices held out, both sorted.
    """
    rng = np.random.default_rng(seed)
    names = np.array([r.category for r in images.references])
    held: list[int] = []
    for category in images.categories:
        mine = np.flatnonzero(names == category)
        k = max(1, round(share * len(mine))) if share and len(mine) > 1 else 0
        held += rng.permutation(mine)[:k].tolist()
    return sorted(set(range(len(images))) - set(held)), sorted(held)


def batch_order(n: int, batch: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield `steps` index batches: one shuffle of all n after another, cut into batches.

    Every image is seen equally often, give or take one, whatever n and batch are.
    """
    pool = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        while len(pool) < batch:
            pool = torch.cat([pool, torch.randperm(n, generator=generator)])
        yield pool[:batch]
        pool = pool[batch:]
