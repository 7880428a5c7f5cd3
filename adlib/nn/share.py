"""One batch in several shares: what each process, or each accumulated part, has of it.

A batch may be spread over processes (`accelerate launch`) and over parts whose gradients are
accumulated. What is taken over the whole batch, and the noise drawn for it, must not depend on how
it was spread, or the loss would; so both ask here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Share:
    """The `index`-th of `count` equal, contiguous parts of a batch."""

    index: int = 0
    count: int = 1

    def of(self, batch: Tensor) -> Tensor:
        """Cut this share from what belongs to the whole batch, along the first axis."""
        size, rest = divmod(len(batch), self.count)
        if rest:
            raise ValueError(f"{len(batch)} images do not divide into {self.count} equal shares")
        return batch[self.index * size : (self.index + 1) * size]


_share = Share()


def share() -> Share:
    """The share that is being computed; all of the batch unless the engine says otherwise."""
    return _share


@contextmanager
def sharing(part: Share) -> Iterator[None]:
    """Compute `part` of a batch inside."""
    global _share
    before, _share = _share, part
    try:
        yield
    finally:
        _share = before


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def last_part() -> bool:
    """Whether no further part of this process's batch is to come, so that its step ends here."""
    parts = max(1, _share.count // _processes())  # of each process; outside an engine, one
    return (_share.index + 1) % parts == 0


def batch_mean(x: Tensor, dim: tuple[int, ...]) -> Tensor:
    """Mean over axes, the batch's among them, and over all processes; keeps the axes.

    Without a gradient. Accumulated parts see their own mean only.
    """
    mean = x.detach().mean(dim=dim, keepdim=True)
    if _processes() > 1:
        dist.all_reduce(mean)
        mean /= _processes()
    return mean


def gather_batch(x: Tensor) -> Tensor:
    """The first axis of all processes, one after another; without a gradient.

    Accumulated parts see their own only.
    """
    x = x.detach()
    if _processes() == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(_processes())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)
