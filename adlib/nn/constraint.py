r"""The prototype-based constraint: what of a target token may enter its own reconstruction.

Each form is a function $y = R(u, P, r)$ of the target after its context u, the prototypes P, and
what the target has read of them, $r = \mathrm{A}(u, P)$. The abstract names the constraint and says
where it acts; its form is unknown, so all of these are ours unless they say otherwise. Where two
tokens are compared, it is by cosine, in fp32. No form looks at another image.
"""

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

TEMPERATURE = 0.1  # of the softmax over cosines in `blend`; ours
RIDGE = 0.01  # of `project`, as a share of a prototype's squared length; ours

Target = Float[Tensor, "b n c"]
Prototypes = Float[Tensor, "b m c"]
Constraint = Callable[[Tensor, Tensor, Tensor], Tensor]


def cosines(u: Target, p: Prototypes) -> Float[Tensor, "b n m"]:
    """Return the cosine of each token with each prototype."""
    with torch.autocast(u.device.type, enabled=False):
        return F.normalize(u.float(), dim=-1) @ F.normalize(p.float(), dim=-1).mT


def pick(u: Target, p: Prototypes) -> Target:
    """Return the prototype that is nearest to each token."""
    j = cosines(u, p).argmax(dim=-1, keepdim=True)  # b n 1
    return p.gather(1, j.expand(-1, -1, p.shape[-1]))  # b n c


def blend(u: Target, p: Prototypes) -> Target:
    """Return the mean of the prototypes, weighted by how near each is to the token."""
    return (cosines(u, p) / TEMPERATURE).softmax(dim=-1).to(p.dtype) @ p


def none(u: Target, p: Prototypes, read: Target) -> Target:
    """Y = u + r: no constraint, the target passes straight through."""
    return u + read


def nores(u: Target, p: Prototypes, read: Target) -> Target:
    """Y = r: the output is made of prototypes only. INP-Former removes this residual."""
    return read


def anchor(u: Target, p: Prototypes, read: Target) -> Target:
    """Y_i = P_i + r_i: the residual of the prototypes takes the place of the target's.

    Token i is tied to prototype i, so the numbers of both must be equal. UniAD and OneNIP keep the
    residual on the normal side in the same way.
    """
    return p + read


def nearest(u: Target, p: Prototypes, read: Target) -> Target:
    """Y = P_j + r, j the prototype nearest to u: tied to what a token is and not where."""
    return pick(u, p) + read


def content(u: Target, p: Prototypes, read: Target) -> Target:
    """Y = blend(u, P) + r: as `nearest`, softly."""
    return blend(u, p) + read


def gate(u: Target, p: Prototypes, read: Target) -> Target:
    """Y = s r + (1 - s) P_j, s = max(0, cos(u, P_j)) of the nearest: far tokens read nothing."""
    s = cosines(u, p).amax(dim=-1, keepdim=True).clamp(min=0).to(read.dtype)  # b n 1
    return s * read + (1 - s) * pick(u, p)


def project(u: Target, p: Prototypes, read: Target) -> Target:
    r"""$y = \Pi_P u + r$: of the target's residual, what prototypes can be combined to.

    $\Pi_P u = u\,\hat P^\top(\hat P\hat P^\top + \lambda I)^{-1}\hat P$, $\hat P$ the prototypes at
    length 1: least squares with a little ridge, in fp32. Directions that no prototype has are cut,
    those that many have pass whole, and those in which a few differ by little are damped by the
    ridge, which alone is left to cut where there are more prototypes than channels.
    Equation :eq:`eq-projection`, chapter 5.
    """
    with torch.autocast(u.device.type, enabled=False):
        unit = F.normalize(p.float(), dim=-1)  # b m c
        m, c = unit.shape[1:]
        gram = unit @ unit.mT if m <= c else unit.mT @ unit  # the smaller one; both give the same
        ridge = gram + RIDGE * torch.eye(gram.shape[-1], device=u.device)
        factor = torch.linalg.cholesky_ex(ridge).L  # unchecked: the ridge makes it definite
        if m <= c:
            shares = torch.cholesky_solve(unit @ u.float().mT, factor)  # b m n
            return (shares.mT @ unit).to(u.dtype) + read
        shares = torch.cholesky_solve(gram @ u.float().mT, factor)  # b c n
        return shares.mT.to(u.dtype) + read


def limit(u: Target, p: Prototypes, read: Target) -> Target:
    """Y = c + s (u - c) + r, c = blend(u, P), s = min(1, mean length of u - c / its length).

    A token may leave what the prototypes offer, but no further than its image's tokens do on the
    mean: what normal tokens need passes, and an outlier is pulled back.
    """
    c = blend(u, p)
    away = u - c
    length = away.float().norm(dim=-1, keepdim=True)  # b n 1
    kept = (length.mean(dim=1, keepdim=True) / length.clamp(min=1e-12)).clamp(max=1)
    return c + kept.to(away.dtype) * away + read


class Scaled(nn.Module):
    """Y = g * blend(u, P) + r: as `content`, with a learnt scale g a channel that starts at 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, u: Target, p: Prototypes, read: Target) -> Target:
        return self.scale * blend(u, p) + read


CONSTRAINTS: Mapping[str, Constraint | type[Scaled]] = MappingProxyType(
    {
        "none": none,
        "nores": nores,
        "anchor": anchor,
        "nearest": nearest,
        "content": content,
        "scaled": Scaled,
        "topk": nores,  # with attention that reads few prototypes
        "gate": gate,
        "project": project,
        "limit": limit,
    }
)


def constraint(name: str, width: int) -> Constraint:
    """Return the form of this name for tokens of a width.

    Raises:
        ValueError: There is none of this name.
    """
    if name not in CONSTRAINTS:
        raise ValueError(f"unknown constraint {name!r}; known are {', '.join(CONSTRAINTS)}")
    form = CONSTRAINTS[name]
    return form(width) if isinstance(form, type) else form


def warn_if_unconstrained(name: str, prototypes: int, channels: int) -> None:
    """Warn of a form that cannot hold anything back.

    Args:
        name: Of the form.
        prototypes: How many there are, m.
        channels: Width of a token, c.
    Warns:
        RuntimeWarning: `project` with as many prototypes as channels, or more.
    """
    if name == "project" and prototypes >= channels:
        fewer = max(1, 2 * channels // 3)  # the default's share on the packaged ViT
        warnings.warn(
            f"{prototypes} prototypes may span all {channels} channels, so that the constraint "
            "'project' holds little or nothing back; ask for fewer, such as "
            f"prototypes={fewer}, or for another constraint",
            RuntimeWarning,
            stacklevel=4,  # who called `fit`, which calls `fit_prototypes`
        )
