"""Batches for the training loop: order, parts, and going on where a run stopped."""

import torch
from torch import Tensor
from torch.utils.data import Dataset

from adlib.data.order import batch_order
from adlib.engine.feed import Course, serve_cached, serve_made
from adlib.nn.share import Share


def course(start: int = 0, shares: int = 1, mine: slice = slice(None)) -> Course:
    """Five steps of six images."""
    parts = [Share(i, shares) for i in range(shares)][mine]
    return Course(start=start, steps=5, batch=6, shares=parts, seed=3)


class Made(Dataset[tuple[Tensor, Tensor]]):
    """Samples that say which they are."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.full((3, 2, 4), float(index)), torch.full((2, 4), index % 2 == 1)

    def __len__(self) -> int:
        return 30

    def source(self, index: int) -> str:
        return f"image {index}"


def test_cached_batches_follow_the_order() -> None:
    features, fitted = torch.arange(40.0).reshape(10, 1, 2, 2), [1, 2, 5, 7, 8, 9, 0]
    names = [f"{i}.png" for i in fitted]
    order = list(batch_order(7, 6, 5, torch.Generator().manual_seed(3)))
    for step, portion in enumerate(serve_cached(features, fitted, names, course())):
        rows = [fitted[i] for i in order[step].tolist()]
        (batch,) = portion.parts[0]
        assert torch.equal(batch, features[rows])
        assert portion.names() == [f"{i}.png" for i in rows]


def test_parts_of_a_batch_make_the_batch() -> None:
    features, fitted = torch.randn(7, 1, 2, 3), list(range(7))
    whole = [p.parts[0][0] for p in serve_cached(features, fitted, ["x"] * 7, course())]
    for mine in (slice(None), slice(0, 2)):
        parts = serve_cached(features, fitted, ["x"] * 7, course(shares=3, mine=mine))
        for batch, portion in zip(whole, parts, strict=True):
            joined = torch.cat([part[0] for part in portion.parts])
            assert torch.equal(joined, batch[: len(joined)])


def test_a_later_start_gets_the_later_batches() -> None:
    features, fitted = torch.randn(7, 1, 2, 3), list(range(7))
    whole = list(serve_cached(features, fitted, ["x"] * 7, course()))
    rest = list(serve_cached(features, fitted, ["x"] * 7, course(start=3)))
    assert len(rest) == 2
    for a, b in zip(whole[3:], rest, strict=True):
        assert torch.equal(a.parts[0][0], b.parts[0][0])


def test_made_samples_come_slot_by_slot() -> None:
    portions = list(serve_made(Made(), course(start=2, shares=3)))
    assert len(portions) == 3
    for step, portion in enumerate(portions, 2):
        images = torch.cat([part[0] for part in portion.parts])
        masks = torch.cat([part[1] for part in portion.parts])
        assert images[:, 0, 0, 0].tolist() == list(range(step * 6, step * 6 + 6))
        assert masks.dtype == torch.bool
        assert masks.float().mean() == 0.5
        assert portion.names() == [f"image {i}" for i in range(step * 6, step * 6 + 6)]


def test_workers_change_no_byte() -> None:
    alone = list(serve_made(Made(), course(shares=2)))
    helped = list(serve_made(Made(), course(shares=2), workers=2))
    for a, b in zip(alone, helped, strict=True):
        for x, y in zip(a.parts, b.parts, strict=True):
            assert torch.equal(x[0], y[0])
            assert torch.equal(x[1], y[1])
