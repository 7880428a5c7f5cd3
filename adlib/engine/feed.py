"""What the training loop is fed: batches of cached features, or of images made to train on.

A batch comes in the parts whose gradients are added up. Both kinds are functions of seed and step,
so a run that goes on where it stopped gets what it would have got.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from adlib.data.order import batch_order
from adlib.nn.share import Share


@dataclass(frozen=True, kw_only=True)
class Course:
    """Which batches of a run are wanted, and what of each.

    Attributes:
        start: The first step.
        steps: Of the whole run.
        batch: Images a step, of all processes together.
        shares: Those of this process, one after another.
        seed: Draws the order.
    """

    start: int
    steps: int
    batch: int
    shares: list[Share]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Portion:
    """What one step needs.

    Attributes:
        parts: The arguments of `loss`, for each share.
        names: Tells which files the whole batch was made from.
    """

    parts: list[tuple[Tensor, ...]]
    names: Callable[[], list[str]]


def serve_cached(
    features: Tensor, fitted: list[int], names: list[str], course: Course
) -> Iterator[Portion]:
    """Yield batches of cached features, one shuffle of all images after another.

    Args:
        features: Of all images (n g t c).
        fitted: Which of them train.
        names: Their files.
        course: What is wanted.
    """
    generator, rows = torch.Generator().manual_seed(course.seed), torch.tensor(fitted)
    order = batch_order(len(fitted), course.batch, course.steps, generator)
    for chosen in islice(order, course.start, None):
        yield Portion(
            parts=[(features[rows[share.of(chosen)]],) for share in course.shares],
            names=lambda chosen=chosen: [names[i] for i in chosen.tolist()],
        )


def serve_made(samples: Any, course: Course, workers: int = 0) -> Iterator[Portion]:
    """Yield batches of made samples; sample `i` belongs to slot `i % batch` of step `i // batch`.

    Args:
        samples: A map-style data set of tensors by index, with `source(i)`, a file's name.
        course: What is wanted.
        workers: Processes that make samples ahead of time; 0 makes them here. Changes no byte.
    """
    slots = torch.arange(course.batch)
    wanted = [
        (step * course.batch + share.of(slots)).tolist()
        for step in range(course.start, course.steps)
        for share in course.shares
    ]
    parts = iter(DataLoader(samples, batch_sampler=wanted, num_workers=workers))
    for step in range(course.start, course.steps):
        first = step * course.batch
        yield Portion(
            parts=[tuple(next(parts)) for _ in course.shares],
            names=lambda first=first: [samples.source(first + i) for i in range(course.batch)],
        )
