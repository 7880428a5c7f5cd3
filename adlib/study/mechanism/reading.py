"""How a decoder reads its prototypes, block by block.

Notation: u, P, r, y, x as in `adlib.methods.pro_ad`; n tokens, m prototypes, width c, h heads. The
figures are ours.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from adlib.methods import INPFormer, ProAD


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one decoder block made of its input, and how it read the prototypes."""

    u: Float[Tensor, "b n c"]  # the target after its context
    p: Float[Tensor, "b m c"]  # the prototypes that this block reads
    r: Float[Tensor, "b n c"]  # what it read of them
    y: Float[Tensor, "b n c"]  # the constrained sum
    x: Float[Tensor, "b n c"]  # the block's output
    weights: Float[
        Tensor, "b h n m"
    ]  # of the reading; with ReLU, as INP-Former's, not brought to the sum 1


def steps(method: ProAD | INPFormer, groups: Float[Tensor, "b 2 n c"]) -> Iterator[Step]:
    """Run the decoder in eval mode, and yield each block's step, so that one is held at a time."""
    method.eval()
    if isinstance(method, INPFormer):
        f_i = groups.mean(dim=1)
        x, p = method.bottleneck(f_i), method.extractor(method.tokens.expand(len(f_i), -1, -1), f_i)
        for block in list[Any](method.decoder):
            a, b = block.ln(x), block.ln(p)
            u, y = x, block.attention(a, b)
            x = y + block.mlp(block.ln_y(y))
            yield Step(u=u, p=p, r=y, y=y, x=x, weights=block.attention.weights(a, b))
        return
    x, p = method.decoder_input(groups)
    for block in list[Any](method.decoder):
        p = p if block.aggregation is None else block.aggregation(p, x)
        u = x if block.context is None else block.context(x)
        part = block.reconstruction
        a, b = part.ln_u(u), part.ln_p(p)
        r, weights = part.attention(a, b), part.attention.weights(a, b)
        y = part.constraint(u, p, r)
        x = y + part.mlp(part.ln_y(y))
        yield Step(u=u, p=p, r=r, y=y, x=x, weights=weights)


def walk(method: ProAD | INPFormer, groups: Float[Tensor, "b 2 n c"]) -> list[Step]:
    """Run the decoder block by block, in eval mode, and keep all that it makes."""
    return list(steps(method, groups))


def attention_entropy(weights: Float[Tensor, "b h n m"]) -> Float[Tensor, "b n"]:
    """Return the entropy of each token's attention over log m, the mean over heads.

    1: all prototypes alike; 0: one prototype, or m = 1. Rows are first brought to the sum 1, since
    INP-Former's ReLU weights have any. A head that reads nothing is left out; NaN where all do.
    """
    m = weights.shape[-1]
    if m == 1:
        return torch.zeros_like(weights[:, 0, :, 0])
    shares = weights / weights.sum(dim=-1, keepdim=True)  # 0 / 0 is NaN
    return (torch.special.entr(shares).sum(dim=-1) / math.log(m)).nanmean(dim=1)


def span_distance(x: Float[Tensor, "b n c"], p: Float[Tensor, "b m c"]) -> Float[Tensor, "b n"]:
    r"""$\lVert x - \Pi_P x \rVert / \lVert x \rVert$: how far a token is from the prototypes' span.

    0 in the span (and for x = 0), 1 at a right angle to it. Only the directions of the prototypes
    count: c independent ones span everything, and x drawn at random lies at about
    $\sqrt{1 - m / c}$. Compare at equal m.
    """
    p = p[:1] if p.stride(0) == 0 else p  # the same for all images: factor it once
    p = p.double()  # squares lose half the digits, of twice as many: a GPU's SVD is too slow
    squares, basis = torch.linalg.eigh(p.mT @ p)  # b c, b c c
    s = squares.clamp(min=0).sqrt()
    rank = s > s[:, -1:] * max(p.shape[1:]) * torch.finfo(torch.float32).eps  # as matrix_rank's
    basis = basis * rank.unsqueeze(-2)
    x = x.double()
    left = x - x @ basis @ basis.mT
    length = x.norm(dim=-1).clamp(min=torch.finfo(s.dtype).tiny)
    return (left.norm(dim=-1) / length).clamp(max=1).float()
