"""Batches for the training loop: order, parts, and going on where a run stopped."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from adlib.data.order import batch_order
from adlib.engine.train import cached_batches, made_batches

ALL, HALVES = slice(None), (slice(0, 3), slice(3, 6))
FEATURES, FITTED = torch.arange(40.0).reshape(10, 1, 2, 2), [1, 2, 5, 7, 8, 9, 0]


class Made(Dataset[tuple[Tensor, Tensor]]):
    """Samples that say which they are."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.full((3, 2, 4), float(index)), torch.full((2, 4), index % 2 == 1)

    def __len__(self) -> int:
        return 30


MADE: Any = Made()
CACHED = partial(cached_batches, FEATURES, FITTED, 6, steps=5, seed=3)
both = pytest.mark.parametrize("feed", [CACHED, partial(made_batches, MADE, 6, steps=5)])


def test_batches_are_what_the_order_and_the_slots_ask_for() -> None:
    order = list(batch_order(7, 6, 5, torch.Generator().manual_seed(3)))
    for chosen, ((batch,), numbers) in zip(order, CACHED(start=0, part=ALL), strict=True):
        assert torch.equal(batch, FEATURES[[FITTED[i] for i in chosen.tolist()]])
        assert numbers == chosen.tolist()
    for step, ((images, masks), numbers) in enumerate(made_batches(MADE, 6, 2, 5, ALL), 2):
        assert images[:, 0, 0, 0].tolist() == numbers == list(range(step * 6, step * 6 + 6))
        assert masks.dtype == torch.bool
        assert masks.float().mean() == 0.5


@both
def test_the_parts_of_all_processes_make_the_batch_and_a_later_start_the_later_ones(
    feed: Callable[..., Any],
) -> None:
    whole, *halves = (list(feed(start=0, part=part)) for part in (ALL, *HALVES))
    for one, *several in zip(whole, *halves, strict=True):
        assert torch.equal(one[0][0], torch.cat([part[0][0] for part in several]))
        assert all(part[1] == one[1] for part in several)  # numbers are those of the whole batch
    rest = list(feed(start=3, part=ALL))
    assert len(rest) == 2
    assert all(torch.equal(a[0][0], b[0][0]) for a, b in zip(whole[3:], rest, strict=True))


def test_workers_change_no_byte() -> None:
    alone, helped = (list(made_batches(MADE, 6, 0, 5, ALL, workers=n)) for n in (0, 2))
    for (one, _), (other, _) in zip(alone, helped, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
