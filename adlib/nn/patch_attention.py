r"""Multi-size self-attention: the tokens of a map are its patches, of several sizes at once.

For each size r the map is cut into patches; a patch's values in a row are one token, and the tokens
attend to each other. A convolution merges what the sizes found. That much the paper's Fig. 3 has.
The inside is reconstructed after the same laboratory's PyDeepFakeDet: the channels are split, and
each head has its share of them and a size of its own. The unofficial code gives all channels to
each size.

A size is given as how many patches a side there are. One patch is one token, which can only read
itself: softmax over it is 1, so queries and keys are left out. So is a bias of the keys: it is the
same for all patches, and softmax takes it out.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from adlib.nn.convolution import Convolution

Grid = tuple[int, int]
SLOPE = 0.2  # of the leaky ReLU; PyDeepFakeDet


def patch_size(grid: Grid, parts: int) -> Grid:
    """Return rows and columns of a patch, `parts` of them along each side.

    Rounded up where they do not divide: then the last patch is cut short, and what it lacks counts
    as zero, which adds nothing to any product. No patch is empty. Ours; the papers' sizes divide.
    """
    return -(-grid[0] // parts), -(-grid[1] // parts)


def to_patches(x: Float[Tensor, "b c h w"], patch: Grid) -> Float[Tensor, "b n d"]:
    """Cut a map into patches, rows first, each flattened to one token of width d = r² c.

    Channels come last in a token, as they do in memory (channels_last).
    """
    (h, w), (r, s) = x.shape[2:], patch
    x = F.pad(x, (0, -w % s, 0, -h % r)).permute(0, 2, 3, 1)  # b h w c
    x = x.unflatten(2, (-1, s)).unflatten(1, (-1, r))  # b i r j s c
    return x.transpose(2, 3).flatten(3).flatten(1, 2)


def from_patches(x: Float[Tensor, "b n d"], patch: Grid, grid: Grid) -> Float[Tensor, "b c h w"]:
    """Put patches back where `to_patches` took them from."""
    (h, w), (r, s) = grid, patch
    x = x.unflatten(2, (r, s, -1)).unflatten(1, (-1, -(-w // s)))  # b i j r s c
    x = x.transpose(2, 3).flatten(3, 4).flatten(1, 2)  # b i*r j*s c
    return x[:, :h, :w].permute(0, 3, 1, 2)


def attend(
    q: Float[Tensor, "b n d"], k: Float[Tensor, "b n d"], v: Float[Tensor, "b n d"], scale: float
) -> Float[Tensor, "b n d"]:
    r"""$\mathrm{softmax}(\mathrm{scale} \cdot q k^\top)\, v$; the scores are sums over d in fp32.

    There are at most hundreds of tokens, each up to a hundred thousand wide, so the matrix of
    scores is small and fused attention, which saves it, has nothing to save.
    """
    with torch.autocast(q.device.type, enabled=False):
        scores = q.float() @ k.float().mT * scale  # b n n
    return scores.softmax(dim=-1).to(v.dtype) @ v


class SplitAttention(nn.Module):
    r"""Heads of c / 4 channels each, one patch size a head; softmax(q kᵀ / √d) v.

    Args:
        width: Channels c.
        grid: Rows and columns of the map.
        patches: How many patches a side, one number a head.
    Raises:
        ValueError: The heads do not divide the channels.
    """

    def __init__(self, width: int, grid: Grid, patches: Sequence[int]) -> None:
        super().__init__()
        if width % len(patches):
            raise ValueError(f"{len(patches)} patch sizes do not divide {width} channels")
        self.grid, self.width = grid, width // len(patches)
        self.sizes = [patch_size(grid, parts) for parts in patches]
        compared = self.width * sum(size != grid for size in self.sizes)
        self.q = nn.Conv2d(width, compared, 1) if compared else None
        self.k = nn.Conv2d(width, compared, 1, bias=False) if compared else None
        self.v = nn.Conv2d(width, width, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        queries, keys = (
            iter(() if part is None else part(x).split(self.width, dim=1))
            for part in (self.q, self.k)
        )
        heads = []
        for size, v in zip(self.sizes, self.v(x).split(self.width, dim=1), strict=True):
            if size != self.grid:
                q, k, v = (to_patches(part, size) for part in (next(queries), next(keys), v))
                v = from_patches(attend(q, k, v, q.shape[2] ** -0.5), size, self.grid)
            heads.append(v)
        return torch.cat(heads, dim=1)


class SplitBlock(nn.Module):
    r"""One block: attention and two convolutions, each beside a residual; 30 c² weights.

    $$y = x + \mathrm{C}(\mathrm{A}(x)),\qquad z = y + \mathrm{C}(\mathrm{C}_2(y))$$

    A: `SplitAttention`. C: 3 x 3 convolution, norm, leaky ReLU; C₂ the same with dilation 2.
    """

    def __init__(self, width: int, grid: Grid, patches: Sequence[int]) -> None:
        super().__init__()
        self.attention = SplitAttention(width, grid, patches)
        self.merge = Convolution(width, width, slope=SLOPE)
        self.feed = nn.Sequential(
            Convolution(width, width, dilation=2, slope=SLOPE),
            Convolution(width, width, slope=SLOPE),
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        x = x + self.merge(self.attention(x))
        return x + self.feed(x)
