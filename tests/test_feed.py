"""Batches for the training loop: order, parts, and going on where a run stopped."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from adlib.data.order import batch_order
from adlib.engine.feed import cached_batches, made_batches

ALL, HALVES = slice(None), (slice(0, 3), slice(3, 6))


class Made(Dataset[tuple[Tensor, Tensor]]):
    """Samples that say which they are."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.full((3, 2, 4), float(index)), torch.full((2, 4), index % 2 == 1)

    def __len__(self) -> int:
        return 30


MADE: Any = Made()


def test_cached_batches_follow_the_order() -> None:
    features, fitted = torch.arange(40.0).reshape(10, 1, 2, 2), [1, 2, 5, 7, 8, 9, 0]
    order = list(batch_order(7, 6, 5, torch.Generator().manual_seed(3)))
    found = list(cached_batches(features, fitted, 6, 0, 5, 3, ALL))
    for chosen, ((batch,), numbers) in zip(order, found, strict=True):
        assert torch.equal(batch, features[[fitted[i] for i in chosen.tolist()]])
        assert numbers == chosen.tolist()


def test_the_parts_of_all_processes_make_the_batch() -> None:
    features, fitted = torch.randn(7, 1, 2, 3), list(range(7))
    whole, *halves = (list(cached_batches(features, fitted, 6, 0, 5, 3, p)) for p in (ALL, *HALVES))
    made, *parts = (list(made_batches(MADE, 6, 0, 5, p)) for p in (ALL, *HALVES))
    for one, *several in [*zip(whole, *halves, strict=True), *zip(made, *parts, strict=True)]:
        assert torch.equal(one[0][0], torch.cat([part[0][0] for part in several]))
        assert all(part[1] == one[1] for part in several)  # numbers are those of the whole batch


def test_a_later_start_gets_the_later_batches() -> None:
    features, fitted = torch.randn(7, 1, 2, 3), list(range(7))
    whole = list(cached_batches(features, fitted, 6, 0, 5, 3, ALL))
    rest = list(cached_batches(features, fitted, 6, 3, 5, 3, ALL))
    assert len(rest) == 2
    for a, b in zip(whole[3:], rest, strict=True):
        assert torch.equal(a[0][0], b[0][0])


def test_made_samples_come_slot_by_slot() -> None:
    for step, ((images, masks), numbers) in enumerate(made_batches(MADE, 6, 2, 5, ALL), 2):
        assert images[:, 0, 0, 0].tolist() == list(range(step * 6, step * 6 + 6))
        assert masks.dtype == torch.bool
        assert masks.float().mean() == 0.5
        assert numbers == list(range(step * 6, step * 6 + 6))


def test_workers_change_no_byte() -> None:
    alone = list(made_batches(MADE, 6, 0, 5, ALL))
    helped = list(made_batches(MADE, 6, 0, 5, ALL, workers=2))
    for (one, _), (other, _) in zip(alone, helped, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
