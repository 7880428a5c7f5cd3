"""Convolutions with BatchNorm behind them, as maps pass through them, and how they are drawn."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Convolution(nn.Sequential):
    """Convolution that keeps the grid, BatchNorm, leaky ReLU.

    The norm's shift is the convolution's bias. `side` of the kernel is odd; `slope` is that of the
    activation below zero: 0 is ReLU, 1 none at all.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        *,
        side: int = 3,
        dilation: int = 1,
        slope: float = 0.0,
    ) -> None:
        reach = dilation * (side // 2)
        super().__init__(
            nn.Conv2d(c_in, c_out, side, padding=reach, dilation=dilation, bias=False),
            nn.BatchNorm2d(c_out),
        )
        self.slope = slope

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return F.leaky_relu(super().forward(x), self.slope)


def resize(x: Float[Tensor, "b c _ _"], size: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    """Resize bilinearly; the centres of corner cells stay in the corners (aligned corners).

    Source: the unofficial code, in its fusion; elsewhere ours, so that all maps lie alike.
    """
    if tuple(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


@torch.no_grad()
def draw_convolutions(part: nn.Module, generator: torch.Generator) -> None:
    r"""Draw the weights of all convolutions inside, and start all norms anew.

    Weights and biases: uniform in $\pm 1/\sqrt{n}$ for n inputs of an output; torch's own law, as
    is what norms start from.
    """
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            bound = module.weight[0].numel() ** -0.5
            for weights in module.parameters():
                weights.uniform_(-bound, bound, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
