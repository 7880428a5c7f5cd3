"""How Pro-AD's decoder reads its prototypes, block by block.

Notation: u, P, r, y, x as in `adlib.methods.pro_ad`; n tokens, m prototypes, width c, h heads.
"""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from adlib.methods import ProAD


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one decoder block made of its input, and how it read the prototypes."""

    u: Float[Tensor, "b n c"]  # the target after its context
    p: Float[Tensor, "b m c"]  # the prototypes that this block reads
    r: Float[Tensor, "b n c"]  # what it read of them
    y: Float[Tensor, "b n c"]  # the constrained sum
    x: Float[Tensor, "b n c"]  # the block's output
    weights: Float[Tensor, "b h n m"]  # of the reading


def walk(method: ProAD, groups: Float[Tensor, "b 2 n c"]) -> list[Step]:
    """Run the decoder block by block, in eval mode, and keep all that it makes."""
    method.eval()
    x, p = method.decoder_input(groups)
    walked = []
    for block in list[Any](method.decoder):
        p = p if block.aggregation is None else block.aggregation(p, x)
        u = x if block.context is None else block.context(x)
        part = block.reconstruction
        a, b = part.ln_u(u), part.ln_p(p)
        r, weights = part.attention(a, b), part.attention.weights(a, b)
        y = part.constraint(u, p, r)
        x = y + part.mlp(part.ln_y(y))
        walked.append(Step(u=u, p=p, r=r, y=y, x=x, weights=weights))
    return walked
