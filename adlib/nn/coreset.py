"""A few vectors that stand for many: farthest-point choice, for memories and first prototypes."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Subset

CANDIDATES = 100_000  # tokens to choose from, at most; ours, as PatchCore's here
PROJECTION = 128  # width in which they are compared; PatchCore


def greedy_coreset(x: Float[Tensor, "n p"], size: int, start: int) -> Int[Tensor, " k"]:
    r"""Choose rows one after another, each the farthest from all that were chosen before it.

    $$i_{t+1} = \arg\max_i \min_{s \le t} \lVert x_i - x_{i_s} \rVert$$

    No row is chosen twice, and the first k chosen are the coreset of size k. The largest distance
    from any row to its nearest chosen one is at most twice the smallest that is possible.

    Args:
        x: n rows.
        size: How many to choose.
        start: The first.
    Returns:
        Their numbers in the order of choice. It takes 2 n p size FLOPs (a running minimum) and,
        besides `x`, 4 n numbers.
    Raises:
        ValueError: There are fewer rows.
    Source: Gonzalez 1985; PatchCore, Algorithm 1, which leaves the first open.
    """
    if size > len(x):
        raise ValueError(f"cannot choose {size} of {len(x)} rows")
    square = x.square().sum(dim=1)  # n
    nearest = torch.full_like(square, float("inf"))  # squared distance from those chosen
    chosen = torch.empty(size, dtype=torch.int64, device=x.device)
    i = torch.tensor(start, device=x.device)
    for t in range(size):
        chosen[t] = i
        torch.minimum(nearest, torch.addmv(square, x, x[i], alpha=-2) + square[i], out=nearest)
        nearest[i] = float("-inf")
        i = nearest.argmax()  # stays on the device
    return chosen


def coreset_tokens(
    normal: Subset[Tensor], count: int, generator: torch.Generator
) -> Float[Tensor, "count c"]:
    """Choose tokens of normal images that lie as far apart as can be, by cosine; ours.

    Rare looks of the normal get tokens of their own, where a random choice repeats the common ones.

    Args:
        normal: Cached features, g n c each; of each token the mean over groups counts.
        count: How many.
        generator: Draws the candidates, the projection and the first token.
    Returns:
        Tokens of length 1.
    Raises:
        ValueError: There are fewer candidates than `count`.
    """
    each = max(1, CANDIDATES // len(normal))
    tokens = []
    for i in range(len(normal)):
        fused = normal[i].float().mean(dim=0)  # n c
        drawn = torch.randperm(len(fused), generator=generator)[:each]
        tokens.append(F.normalize(fused[drawn.to(fused.device)], dim=-1))
    candidates = torch.cat(tokens)
    width = candidates.shape[1]
    projected = candidates
    if width > PROJECTION:
        project = torch.randn(width, PROJECTION, generator=generator) / PROJECTION**0.5
        projected = candidates @ project.to(candidates.device)
    start = int(torch.randint(len(candidates), (), generator=generator))
    return candidates[greedy_coreset(projected, count, start)]
