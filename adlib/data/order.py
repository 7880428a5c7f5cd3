"""Which images train, which calibrate, and in what order they come."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from adlib.data.dataset import ImageDataset


def hold_out(images: ImageDataset, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Split normal images into those to fit on and those to calibrate on, category by category.

    Args:
        images: Normal images.
        share: Fraction in [0, 1) held out of each category: at least one image where it has two or
            more, and never all.
        seed: Draws which.
    Returns:
        Indices to fit on and indices held out, both sorted.
    Raises:
        ValueError: A share outside [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"the share held out must lie in [0, 1), got {share}")
    rng = np.random.default_rng(seed)
    names = np.array([r.category for r in images.references])
    held: list[int] = []
    for category in images.categories:
        mine = np.flatnonzero(names == category)
        k = min(max(1, round(share * len(mine))), len(mine) - 1) if share else 0
        held += rng.permutation(mine)[:k].tolist()
    return sorted(set(range(len(images))) - set(held)), sorted(held)


def folds_of(images: ImageDataset, folds: int, seed: int) -> list[list[int]]:
    """Divide normal images into folds, category by category, as evenly as can be.

    Args:
        images: Normal images.
        folds: How many, from 2 to the number of images.
        seed: Draws which image is in which.
    Returns:
        Indices of each fold, sorted; no fold is empty.
    Raises:
        ValueError: Fewer than two folds, or more than there are images.
    """
    if not 2 <= folds <= len(images):
        raise ValueError(f"expected 2 to {len(images)} folds of {len(images)} images, got {folds}")
    rng = np.random.default_rng(seed)
    names = np.array([r.category for r in images.references])
    order = [rng.permutation(np.flatnonzero(names == c)) for c in images.categories]
    dealt = np.concatenate(order)
    return [sorted(dealt[k::folds].tolist()) for k in range(folds)]


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


def noise_seed(seed: int, step: int, process: int = 0) -> int:
    """A seed for the noise of one step: what came before need not be run again to have it."""
    parts = (seed, step, process) if process else (seed, step)
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
