"""Multi-head attention of several kinds, and MLPs.

Linear attention's cost grows with n + m, that of the others with n times m, for n queries and m
keys. Each kind is a function of what its projections give; `weights` writes the same attention out
as a matrix, to look at.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

EPSILON = 1e-6  # in the divisor; the value that Dinomaly's authors advise against NaN


def phi(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    r"""Return $\phi(x) = \mathrm{elu}(x) + 1 > 0$, the feature map of linear attention, in fp32.

    Source: Katharopoulos et al. 2020.
    """
    return F.elu(x.float()) + 1


class LinearAttention(torch.autograd.Function):
    """Linear attention in fp32 with its gradient written out: two thirds of autograd's time."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        phi_q, phi_k = phi(q), phi(k)
        s = phi_k.mT @ v  # b h d d
        z = phi_k.sum(dim=2, keepdim=True)  # b h 1 d
        total = phi_q @ z.mT + EPSILON  # b h n 1
        out = (phi_q @ s).div_(total)  # b h n d
        ctx.save_for_backward(phi_q, phi_k, v, s, z, total, out)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        phi_q, phi_k, v, s, z, total, out = ctx.saved_tensors
        g = g.contiguous() / total
        g_total = (g * out).sum(dim=-1, keepdim=True)  # b h n 1, with its sign turned
        g_s, g_z = phi_q.mT @ g, phi_q.mT @ g_total
        g_q = (g @ s.mT).addcmul_(g_total, z, value=-1)
        g_k = (v @ g_s.mT).sub_(g_z.mT)
        slope_q, slope_k = phi_q.clamp(max=1), phi_k.clamp(max=1)  # of phi
        return g_q.mul_(slope_q), g_k.mul_(slope_k), phi_k @ g_s


def linear_attention(
    q: Float[Tensor, "b h n d"], k: Float[Tensor, "b h m d"], v: Float[Tensor, "b h m d"]
) -> Float[Tensor, "b h n d"]:
    r"""Attend with the feature map $\phi(x) = \mathrm{elu}(x) + 1$ in place of softmax.

    $$o_i = \frac{\phi(q_i)^\top S}{\phi(q_i)^\top z + \epsilon},\qquad
      S = \sum_j \phi(k_j) v_j^\top,\qquad z = \sum_j \phi(k_j)$$

    per head of width d; S is d by d, so the number of keys never enters the cost of reading, and
    all that is read of them goes through d numbers a head. Sums are in fp32 whatever comes in.
    Equation :eq:`eq-linear`, chapter 5, without the $\epsilon$.

    Source: Katharopoulos et al. 2020; the form without scaling is Dinomaly's.
    """
    layout = torch.contiguous_format
    with torch.autocast(q.device.type, enabled=False):
        parts = (x.to(torch.float32, memory_format=layout) for x in (q, k, v))
        return LinearAttention.apply(*parts).to(v.dtype)


def softmax_attention(
    q: Float[Tensor, "b h n d"], k: Float[Tensor, "b h m d"], v: Float[Tensor, "b h m d"]
) -> Float[Tensor, "b h n d"]:
    r"""$\mathrm{softmax}(q k^\top / \sqrt d)\, v$, as of Vaswani et al. 2017."""
    return F.scaled_dot_product_attention(q, k, v)


def relu_attention(
    q: Float[Tensor, "b h n d"], k: Float[Tensor, "b h m d"], v: Float[Tensor, "b h m d"]
) -> Float[Tensor, "b h n d"]:
    r"""$\sum_j \max(0, q_i^\top k_j)\, v_j$: weights of a token need not sum to one (INP-Former).

    One that no key resembles reads zero. `Attention` gives it queries and keys of length 1, and
    the queries times a learnt scale of each head.
    """
    return relu_weights(q, k).to(v.dtype) @ v


def linear_weights(
    q: Float[Tensor, "b h n d"], k: Float[Tensor, "b h m d"]
) -> Float[Tensor, "b h n m"]:
    r"""$\phi(q_i)^\top\phi(k_j)$ over its sum along j: what `linear_attention` mixes by."""
    products = phi(q) @ phi(k).mT
    return products / (products.sum(dim=-1, keepdim=True) + EPSILON)


def softmax_weights(
    q: Float[Tensor, "b h n d"], k: Float[Tensor, "b h m d"]
) -> Float[Tensor, "b h n m"]:
    """What `softmax_attention` mixes by."""
    return (q.float() @ k.float().mT / q.shape[-1] ** 0.5).softmax(dim=-1)


def relu_weights(
    q: Float[Tensor, "b h n d"], k: Float[Tensor, "b h m d"]
) -> Float[Tensor, "b h n m"]:
    """What `relu_attention` sums by."""
    return F.relu(q @ k.mT)


Read = Callable[[Tensor, Tensor, Tensor], Tensor]
Weigh = Callable[[Tensor, Tensor], Tensor]

KINDS: Mapping[str, tuple[Read, Weigh]] = MappingProxyType(
    {
        "linear": (linear_attention, linear_weights),
        "softmax": (softmax_attention, softmax_weights),
        "relu": (relu_attention, relu_weights),
    }
)


class Attention(nn.Module):
    """A(a, b): queries from `a`, keys and values from `b`, both already normalised.

    With a = b it is self-attention.

    Args:
        width: Of the tokens, c.
        heads: Each of width c / heads.
        kind: A key of `KINDS`.
    Raises:
        ValueError: The heads do not divide the width, or the kind is unknown.
    """

    def __init__(self, width: int, heads: int, kind: str = "linear") -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        if kind not in KINDS:
            raise ValueError(f"unknown attention {kind!r}; known are {', '.join(KINDS)}")
        self.heads, self.kind = heads, kind
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.scale = nn.Parameter(torch.ones(heads, 1, 1)) if kind == "relu" else None

    def project(
        self, a: Float[Tensor, "b n c"], b: Float[Tensor, "b m c"]
    ) -> tuple[Float[Tensor, "b h n d"], Float[Tensor, "b h m d"], Float[Tensor, "b h m d"]]:
        """Return queries, keys and values, the heads apart."""
        q, k, v = self.split(self.q(a)), self.split(self.k(b)), self.split(self.v(b))
        if self.scale is not None:
            q, k = self.scale * F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        return q, k, v

    def split(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b h n d"]:
        """Return the heads apart."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(
        self, a: Float[Tensor, "b n c"], b: Float[Tensor, "b m c"]
    ) -> Float[Tensor, "b n c"]:
        out = KINDS[self.kind][0](*self.project(a, b))
        return self.out(out.transpose(1, 2).flatten(2))

    def weights(
        self, a: Float[Tensor, "b n c"], b: Float[Tensor, "b m c"]
    ) -> Float[Tensor, "b h n m"]:
        """Return what each token of `a` reads of each of `b`; rows sum to 1, but of "relu"."""
        q, k, _ = self.project(a, b)
        return KINDS[self.kind][1](q, k)

    def extra_repr(self) -> str:
        return f"heads={self.heads}, kind={self.kind}"


class MLP(nn.Sequential):
    """Linear, GELU, Linear, with dropout before, between and after when `dropout` > 0."""

    def __init__(self, width: int, ratio: float, dropout: float = 0.0) -> None:
        hidden = int(width * ratio)
        super().__init__(
            nn.Dropout(dropout),
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
            nn.Dropout(dropout),
        )
