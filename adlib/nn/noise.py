"""Dropout that does not depend on how a batch is spread."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adlib.nn.share import share


class Dropout(nn.Module):
    """Set each value to zero with probability `p` while training, and scale the rest by 1/(1 - p).

    As torch's, but the mask of the whole batch is drawn and this share's part of it used, so that
    equal seeds give equal noise on one process and on several, at one go and accumulated.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        if not self.training or self.p == 0:
            return x
        part = share()
        whole = torch.rand(part.count * len(x), *x.shape[1:], device=x.device)  # fp32 always
        keep = part.of(whole) >= self.p  # half of bernoulli's time on a CPU
        return x * keep / (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"
