"""Attention, linear (its cost grows with n + m and not with n times m) and with softmax; MLPs."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from adlib.nn.noise import Dropout

EPSILON = 1e-6  # in the divisor; the value that Dinomaly's authors advise against NaN


def linear_attention(
    q: Float[Tensor, "b n c"],
    k: Float[Tensor, "b m c"],
    v: Float[Tensor, "b m c"],
    heads: int,
) -> Float[Tensor, "b n c"]:
    r"""Attend with the feature map $\phi(x) = \mathrm{elu}(x) + 1$ in place of softmax.

    $$o_i = \frac{\phi(q_i)^\top S}{\phi(q_i)^\top z + \epsilon},\qquad
      S = \sum_j \phi(k_j) v_j^\top,\qquad z = \sum_j \phi(k_j)$$

    per head of width d = c / heads; S is d by d, so the prototypes' number never enters the cost
    of reading. The sums are taken in fp32 whatever the inputs are.

    Source: Katharopoulos et al. 2020; the form without scaling is Dinomaly's.
    """
    b, n, c = q.shape
    with torch.autocast(q.device.type, enabled=False):
        phi_q, phi_k = (
            F.elu(x.float()).add(1).view(b, -1, heads, c // heads).transpose(1, 2) for x in (q, k)
        )  # b heads n d, b heads m d
        values = v.float().view(b, -1, heads, c // heads).transpose(1, 2)  # b heads m d
        s = phi_k.mT @ values  # b heads d d
        z = phi_k.sum(dim=2).unsqueeze(-1)  # b heads d 1
        out = (phi_q @ s) / (phi_q @ z + EPSILON)  # b heads n d
    return out.transpose(1, 2).reshape(b, n, c).to(v.dtype)


class LinearAttention(nn.Module):
    """LCA(a, b): queries from `a`, keys and values from `b`, both already normalised.

    With a = b it is self-attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, a: Float[Tensor, "b n c"], b: Float[Tensor, "b m c"]
    ) -> Float[Tensor, "b n c"]:
        k, v = self.kv(b).chunk(2, dim=-1)
        return self.out(linear_attention(self.q(a), k, v, self.heads))


class SoftmaxAttention(nn.Module):
    """Attention as of Vaswani et al. 2017 on the projections of `LinearAttention`, in its place.

    Scores are divided by the root of the head's width; the cost grows with n times m.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, a: Float[Tensor, "b n c"], b: Float[Tensor, "b m c"]
    ) -> Float[Tensor, "b n c"]:
        k, v = self.kv(b).chunk(2, dim=-1)
        q, k, v = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (self.q(a), k, v)
        )  # b heads n d, b heads m d
        out = F.scaled_dot_product_attention(q, k, v)  # b heads n d
        return self.out(out.transpose(1, 2).flatten(2))


class MLP(nn.Sequential):
    """Linear, GELU, Linear, with dropout before, between and after when `dropout` > 0."""

    def __init__(self, width: int, ratio: float, dropout: float = 0.0) -> None:
        hidden = int(width * ratio)
        super().__init__(
            Dropout(dropout),
            nn.Linear(width, hidden),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(hidden, width),
            Dropout(dropout),
        )
