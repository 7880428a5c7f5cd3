"""Each form of the constraint against its definition, token by token."""

import pytest
import torch
from torch import Tensor

from adlib.nn.constraint import CONSTRAINTS, RIDGE, warn_if_unconstrained
from tests.nn.tensors import random


def projected(u: Tensor, p: Tensor) -> Tensor:
    """Ridge regression of each token on its image's prototypes, as least squares of more rows."""
    out = torch.zeros_like(u)
    for image, prototypes in enumerate(p):
        unit = prototypes / prototypes.norm(dim=1, keepdim=True)  # m c
        rows = torch.cat([unit.mT, RIDGE**0.5 * torch.eye(len(unit), dtype=u.dtype)])  # c+m m
        for n, token in enumerate(u[image]):
            wanted = torch.cat([token, torch.zeros(len(unit), dtype=u.dtype)])
            out[image, n] = torch.linalg.lstsq(rows, wanted[:, None]).solution[:, 0] @ unit
    return out


@pytest.mark.parametrize("prototypes", [4, 11])
def test_each_form_is_its_definition(prototypes: int) -> None:
    u, p, r = random(2, 5, 7), random(2, prototypes, 7, seed=1), random(2, 5, 7, seed=2)
    expected = {"none": u + r, "nores": r, "project": projected(u.double(), p.double()) + r}
    assert set(expected) == set(CONSTRAINTS)
    for name, form in CONSTRAINTS.items():
        torch.testing.assert_close(
            form(u, p, r).double(), expected[name].double(), atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize(("prototypes", "passes"), [(8, False), (28, True)])  # of 12 channels
def test_more_prototypes_than_channels_hold_nothing_back(prototypes: int, passes: bool) -> None:
    u, p = random(1, 50, 12), random(1, prototypes, 12, seed=1)
    y = CONSTRAINTS["project"](u, p, torch.zeros_like(u))
    assert ((y - u).norm() < 0.1 * u.norm()) == passes
    if passes:
        with pytest.warns(RuntimeWarning, match=r"28 prototypes .* 12 .* prototypes=8"):
            warn_if_unconstrained("project", prototypes, 12)
    else:
        warn_if_unconstrained("project", prototypes, 12)
    warn_if_unconstrained("none", prototypes, 12)  # pytest makes a warning an error
