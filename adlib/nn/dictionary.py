r"""What of a token a dictionary of prototypes can rebuild, at a strength free of their number.

Each form maps tokens f and prototypes p, a dictionary of the normal that all images share, to
tokens of the same shape. A projection on the span of *all* prototypes lets more through with every
prototype, and everything from as many as channels on. These forms let as much through with 4,096 as
with 64. All are ours. Sums are in fp32.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

RIDGE = 6e-4  # beside a covariance whose trace is 1, in `nearest_span`; ours
TEMPERATURE = 0.1  # of the softmax over cosines by which near prototypes weigh more; ours
QUANTILE = 0.95  # of normal tokens that `Gate` calls typical; ours
MOMENTUM = 0.99  # of the running quantile in `Gate`; ours
SHARE = 0.25  # of the channels that `leading` lets through; ours
ROUNDS = 60  # of the bisection in `leading`, to the last bit of fp32

Tokens = Float[Tensor, "b n c"]
Vectors = Float[Tensor, "m c"]


class _NearestSpan(torch.autograd.Function):
    """`nearest_span` of t tokens and unit prototypes, with its gradient written out.

    With B the k nearest prototypes of a token f as rows, S the roots of their weights on a diagonal
    and w = S (S B B' S + ridge)^-1 S B f, the result is y = B' w. For a gradient g of y, let a be
    the coefficients of g in place of f, and g^ = B' a. Then g^ is the gradient of f, and
    w (g - g^)' + a (f - y)' that of B. Which prototypes are nearest, and S, have no gradient.
    """

    @staticmethod
    def forward(ctx: Any, f: Tensor, p: Tensor, k: int) -> Tensor:
        y, *parts = _span(f, p, k)
        ctx.save_for_backward(f, p, *parts, y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        f, p, nearest, root, factor, w, y = ctx.saved_tensors
        g = g.contiguous()
        a = _solve(factor, root, (g @ p.T).gather(1, nearest))
        g_hat = _combine(nearest, p, a)
        g_p = None
        if ctx.needs_input_grad[1]:
            spread = torch.zeros(len(f), len(p), dtype=f.dtype, device=f.device)  # t m
            g_p = spread.scatter_(1, nearest, w).T @ (g - g_hat)
            g_p += spread.scatter_(1, nearest, a).T @ (f - y)
        return g_hat, g_p, None


def _span(f: Tensor, p: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return y, the nearest prototypes, S, the factor of what is solved, and w."""
    cosines = f @ p.T  # t m, times the token's length
    nearest = cosines.topk(k, dim=-1).indices  # t k
    products = cosines.gather(1, nearest)  # t k
    length = f.norm(dim=1, keepdim=True).clamp(min=torch.finfo(f.dtype).tiny)
    root = (products / length / TEMPERATURE).softmax(dim=1).sqrt()  # t k
    gram = (p @ p.T)[nearest.unsqueeze(2), nearest.unsqueeze(1)]  # t k k
    gram = gram * (root.unsqueeze(1) * root.unsqueeze(2))
    gram = gram + RIDGE * torch.eye(k, dtype=f.dtype, device=f.device)
    factor = torch.linalg.cholesky_ex(gram).L  # unchecked: the ridge makes it definite
    w = _solve(factor, root, products)
    return _combine(nearest, p, w), nearest, root, factor, w


def _solve(
    factor: Float[Tensor, "t k k"], root: Float[Tensor, "t k"], right: Float[Tensor, "t k"]
) -> Float[Tensor, "t k"]:
    return root * torch.cholesky_solve((root * right).unsqueeze(-1), factor).squeeze(-1)


def _combine(nearest: Tensor, p: Tensor, w: Tensor) -> Tensor:
    """Return the sum of each token's nearest prototypes, weighted; t c."""
    return F.embedding_bag(nearest, p, per_sample_weights=w, mode="sum")


def nearest_span(f: Tokens, p: Vectors, k: int) -> Tokens:
    r"""Return what a token's nearest prototypes can be combined to, by ridge least squares.

    $$\Pi f = C (C + \lambda I)^{-1} f,\qquad C = \sum_j \kappa_j\, \hat p_j \hat p_j^\top,
      \qquad \kappa_j = \frac{e^{\cos(f, p_j) / T}}{\sum_l e^{\cos(f, p_l) / T}}$$

    over the k prototypes of the highest cosine to f, brought to length 1. The weights add up to 1,
    so that a prototype that stands there twice weighs as much as once; at most k directions pass,
    however many prototypes there are. More prototypes only choose the directions better.

    Equation :eq:`eq-projection`, chapter 5.

    Source: ours; locally linear embedding (Roweis and Saul 2000) rebuilds points in this way.
    """
    with torch.autocast(f.device.type, enabled=False):
        unit = F.normalize(p.float(), dim=-1)
        flat = f.float().flatten(0, 1)
        plain = not torch.is_grad_enabled()  # which can be exported
        span = (lambda *given: _span(*given)[0]) if plain else _NearestSpan.apply
        return span(flat, unit, min(k, len(p))).view(f.shape)


def nearest_mean(f: Tokens, p: Vectors, k: int) -> Tokens:
    r"""Return the mean of a token's k nearest prototypes, weighted by a softmax of their cosines.

    A sparse reading with normalised weights: what comes out lies between prototypes.
    """
    with torch.autocast(f.device.type, enabled=False):
        cosines = F.normalize(f.float(), dim=-1) @ F.normalize(p.float(), dim=-1).T  # b n m
        best = cosines.topk(min(k, len(p)), dim=-1)
        weights = (best.values / TEMPERATURE).softmax(dim=-1)
        return _combine(best.indices.flatten(0, 1), p.float(), weights.flatten(0, 1)).view(f.shape)


def leading(f: Tokens, p: Vectors, share: float = SHARE) -> Tokens:
    r"""Project on the leading directions of all prototypes, a fixed share of the channels.

    $$\Pi f = G (G + \lambda I)^{-1} f,\qquad G = \hat P^\top \hat P / m$$

    with the ridge $\lambda$ at which $\mathrm{tr}\,\Pi$ is that share of the channels c, or their
    rank where they have less. Repeating every prototype changes neither G nor this. The ridge has
    no gradient.
    """
    with torch.autocast(f.device.type, enabled=False):
        unit = F.normalize(p.float(), dim=-1)
        g = unit.T @ unit / len(unit)  # c c
        values = torch.linalg.eigvalsh(g.detach().double()).clamp(min=0)
        low, high = values.new_zeros(()), values.max() * len(values)
        for _ in range(ROUNDS):
            middle = (low + high) / 2
            wide = (values / (values + middle)).sum() > share * len(values)
            low, high = torch.where(wide, middle, low), torch.where(wide, high, middle)
        eye = torch.eye(len(g), device=g.device)
        ridge = high.float().clamp(min=torch.finfo(torch.float32).eps)
        factor = torch.linalg.cholesky_ex(g + ridge * eye).L
        return f.float() @ torch.cholesky_solve(g, factor)  # G and its inverse commute


class Gate(nn.Module):
    r"""A typical token passes; of another, what its nearest prototypes can be combined to.

    $y = s f + (1 - s)\,\Pi_k f$ with $s = \sigma(4 (1 - d / \tau))$, d the cosine distance of f
    from $\Pi_k f$ and $\tau$ its 95 % quantile over normal tokens, kept as a running mean while
    training.

    Attributes:
        tau: The quantile; 0 before the first step.
    """

    tau: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("tau", torch.zeros(()))

    def forward(self, f: Tokens, p: Vectors, k: int) -> Tokens:
        y = nearest_span(f, p, k)
        d = 1 - F.cosine_similarity(f.detach().float(), y.detach(), dim=-1)
        if self.training:
            now = torch.quantile(d.flatten(), QUANTILE)
            self.tau.copy_(torch.where(self.tau > 0, torch.lerp(now, self.tau, MOMENTUM), now))
        s = torch.sigmoid(4 * (1 - d / self.tau.clamp(min=1e-6))).unsqueeze(-1)
        return s * f + (1 - s) * y


class Dictionary(nn.Module):
    """Learnt feature vectors, and what of a token they let through.

    Args:
        count: How many, m.
        width: Of a token, c.
        nearest: How many each token is rebuilt from; "leading" takes all.
        form: "span" (`nearest_span`), "mean" (`nearest_mean`), "leading" or "gate" (`Gate`).
    Attributes:
        vectors: (m, c); their lengths do not count, but in "mean".
    """

    def __init__(self, count: int, width: int, nearest: int, form: str = "span") -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.empty(count, width))
        self.nearest, self.form = nearest, form
        self.gate = Gate() if form == "gate" else None

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the vectors as Pro-AD's prototypes are drawn; forget what is typical."""
        nn.init.trunc_normal_(self.vectors, 0.0, 0.02, -0.06, 0.06, generator)
        if self.gate is not None:
            self.gate.tau.zero_()

    def start_from(self, tokens: Vectors) -> None:
        """Take tokens as the first vectors, brought to length 1."""
        self.vectors.detach().copy_(F.normalize(tokens, dim=-1))

    def forward(self, f: Tokens) -> Tokens:
        """Return what the vectors can rebuild of each token."""
        if self.form == "leading":
            return leading(f, self.vectors)
        rebuild = self.gate or {"span": nearest_span, "mean": nearest_mean}[self.form]
        return rebuild(f, self.vectors, self.nearest)
