r"""Multi-scale fusion: each scale of a pyramid takes in what the others say.

$$Y_i = X_i + \sum_{j \ne i} T_{j \to i}(X_j)$$

Up: bilinear and a 1 x 1 convolution; down: one strided convolution, grouped. Without norms and
activations. `unofficial code` (PRN's re-implementation); the exchange is HRNet's. The paper has the
part (Fig. 3) and not its form.
"""

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from adlib.nn.convolution import resize

Grid = tuple[int, int]


class Up(nn.Module):
    """To a grid as large or larger: bilinear, then a 1 x 1 convolution.

    The convolution is done first, on fewer cells: both are linear, and the weights of bilinear
    interpolation sum to 1, so the result is the same.
    """

    def __init__(self, c_in: int, c_out: int, grid: Grid) -> None:
        super().__init__()
        self.convolution, self.grid = nn.Conv2d(c_in, c_out, 1), grid

    def forward(self, x: Float[Tensor, "b c _ _"]) -> Float[Tensor, "b d h w"]:
        return resize(self.convolution(x), self.grid)


def resample(c_in: int, c_out: int, source: Grid, target: Grid) -> nn.Module:
    """Return T from a map on one grid to a map on another.

    To a smaller grid it is one strided convolution, of side 3 for a factor of 2 and 5 for 4
    (`unofficial code`); in general of the smallest odd side that skips no cell. There as many
    groups as channels come; here as many as both widths can be split into, the same wherever the
    widths are multiples (ours).

    Raises:
        ValueError: The target is smaller, and not by a whole factor.
    """
    if target[0] >= source[0] and target[1] >= source[1]:
        return Up(c_in, c_out, target)
    factor = source[0] // target[0], source[1] // target[1]
    if (target[0] * factor[0], target[1] * factor[1]) != source:
        raise ValueError(f"fusion goes down by whole factors, got grids {source} and {target}")
    reach = factor[0] // 2, factor[1] // 2
    side = 2 * reach[0] + 1, 2 * reach[1] + 1
    return nn.Conv2d(c_in, c_out, side, factor, reach, groups=math.gcd(c_in, c_out))


class Fusion(nn.Module):
    """All scales exchange what they know, once.

    Args:
        widths: Channels of each scale.
        grids: Its rows and columns.
    Raises:
        ValueError: Grids that are no whole factors apart.
    """

    def __init__(self, widths: Sequence[int], grids: Sequence[Grid]) -> None:
        super().__init__()
        scales = list(zip(widths, grids, strict=True))
        self.steps = nn.ModuleList(
            nn.ModuleList(
                resample(c_in, c_out, source, target)
                for j, (c_in, source) in enumerate(scales)
                if j != i
            )
            for i, (c_out, target) in enumerate(scales)
        )

    def forward(self, X: list[Float[Tensor, "b _ _ _"]]) -> list[Float[Tensor, "b _ _ _"]]:
        Y = []
        for i, (x, steps) in enumerate(zip(X, self.steps, strict=True)):
            others = X[:i] + X[i + 1 :]
            for t, other in zip(steps, others, strict=True):  # pyright: ignore[reportArgumentType]  # a ModuleList
                x = x + t(other)
            Y.append(x)
        return Y
