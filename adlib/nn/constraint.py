r"""The prototype-based constraint: what of a target token may enter its own reconstruction.

Each form is a function $y = R(u, P, r)$ of the target after its context u, the prototypes P, and
what the target has read of them, $r = \mathrm{A}(u, P)$. The abstract names the constraint and says
where it acts; its form is unknown, so these are ours unless they say otherwise. No form looks at
another image. `adlib.nn.dictionary` acts earlier, on the input of the decoder.
"""

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

RIDGE = 0.01  # of `project`, as a share of a prototype's squared length; ours

Target = Float[Tensor, "b n c"]
Prototypes = Float[Tensor, "b m c"]


def none(u: Target, p: Prototypes, read: Target) -> Target:
    """Y = u + r: no constraint, the target passes straight through."""
    return u + read


def nores(u: Target, p: Prototypes, read: Target) -> Target:
    """Y = r: the output is made of prototypes only. INP-Former removes this residual."""
    return read


def project(u: Target, p: Prototypes, read: Target) -> Target:
    r"""$y = \Pi_P u + r$: of the target's residual, what prototypes can be combined to.

    $\Pi_P u = u\,\hat P^\top(\hat P\hat P^\top + \lambda I)^{-1}\hat P$, $\hat P$ the prototypes at
    length 1: least squares with a little ridge, in fp32. Directions that no prototype has are cut,
    those that many have pass whole, and those in which a few differ by little are damped by the
    ridge, which alone is left to cut where there are more prototypes than channels.
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


CONSTRAINTS: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = MappingProxyType(
    {"none": none, "nores": nores, "project": project}
)


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
