"""What the training loop is fed: batches of cached features, or of images made to train on.

Both are functions of seed and step, so a run that goes on where it stopped gets what it would have
got. Of several processes, each takes its own contiguous part of every batch.
"""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from adlib.data.order import batch_order

Batch = tuple[tuple[Tensor, ...], list[int]]
"""The arguments of `loss`, and the numbers of the samples that the whole batch is made of."""


def cached_batches(
    features: Tensor, fitted: list[int], batch: int, start: int, steps: int, seed: int, part: slice
) -> Iterator[Batch]:
    """Yield batches of cached features, one shuffle of the fitted images after another.

    Args:
        features: Of all images (n g t c).
        fitted: Which of them train; a sample's number is its place here.
        batch: Images a step, of all processes together.
        start: The first step that is wanted.
        steps: Of the whole run.
        seed: Draws the order.
        part: What of a batch this process takes.
    """
    generator, rows = torch.Generator().manual_seed(seed), torch.tensor(fitted)
    for chosen in islice(batch_order(len(fitted), batch, steps, generator), start, None):
        yield (features[rows[chosen[part]]],), chosen.tolist()


def made_batches(
    samples: Dataset[tuple[Tensor, ...]],
    batch: int,
    start: int,
    steps: int,
    part: slice,
    workers: int = 0,
) -> Iterator[Batch]:
    """Yield batches of made samples; sample `i` belongs to slot `i % batch` of step `i // batch`.

    Args:
        samples: To index.
        batch: As in `cached_batches`, and so are `start`, `steps` and `part`.
        workers: Processes that make samples ahead of time; 0 makes them here. Changes no byte.
    """
    numbers = [list(range(step * batch, (step + 1) * batch)) for step in range(start, steps)]
    loader = DataLoader(samples, batch_sampler=[n[part] for n in numbers], num_workers=workers)
    for made, whole in zip(loader, numbers, strict=True):
        yield tuple(made), whole
