"""Each form of the constraint against its definition, token by token."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from adlib.nn.constraint import CONSTRAINTS, RIDGE, TEMPERATURE, constraint, warn_if_unconstrained
from tests.nn.tensors import random


def by_definition(name: str, u: Tensor, p: Tensor, r: Tensor) -> Tensor:
    """One image's tokens, one by one, in float64; n c."""
    u, p, r = u.double(), p.double(), r.double()
    cosine = torch.stack([F.cosine_similarity(row[None], p, dim=1) for row in u])  # n m
    mixed = torch.stack([(c / TEMPERATURE).softmax(dim=0) @ p for c in cosine])
    away = [(a - b).norm() for a, b in zip(u, mixed, strict=True)]
    rows = []
    for i in range(len(u)):
        close = p[cosine[i].argmax()]
        s = cosine[i].max().clamp(min=0)
        rows.append(
            {
                "none": lambda i=i: u[i] + r[i],
                "nores": lambda i=i: r[i],
                "topk": lambda i=i: r[i],
                "anchor": lambda i=i: p[i] + r[i],
                "nearest": lambda i=i, close=close: close + r[i],
                "content": lambda i=i: mixed[i] + r[i],
                "scaled": lambda i=i: mixed[i] + r[i],  # its scale starts at 1
                "gate": lambda i=i, s=s, close=close: s * r[i] + (1 - s) * close,
                "project": lambda i=i: ridge(u[i], p) + r[i],
                "limit": lambda i=i: (
                    mixed[i] + min(1, sum(away) / len(away) / away[i]) * (u[i] - mixed[i]) + r[i]
                ),
            }[name]()
        )
    return torch.stack(rows)


def ridge(target: Tensor, p: Tensor) -> Tensor:
    """Least squares with ridge as an ordinary least-squares problem of more rows."""
    unit = p / p.norm(dim=1, keepdim=True)
    rows = torch.cat([unit.mT, RIDGE**0.5 * torch.eye(len(p), dtype=p.dtype)])  # c+m m
    wanted = torch.cat([target, torch.zeros(len(p), dtype=p.dtype)])
    return torch.linalg.lstsq(rows, wanted[:, None]).solution[:, 0] @ unit


@pytest.mark.parametrize("prototypes", [4, 11])
@pytest.mark.parametrize("name", CONSTRAINTS)
def test_each_form_is_its_definition(name: str, prototypes: int) -> None:
    n = prototypes if name == "anchor" else 5
    u, p, r = random(2, n, 7), random(2, prototypes, 7, seed=1), random(2, n, 7, seed=2)
    y = constraint(name, 7)(u, p, r)
    expected = torch.stack([by_definition(name, *one) for one in zip(u, p, r, strict=True)])
    torch.testing.assert_close(y.double(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("prototypes", "passes"), [(8, False), (28, True)])  # of 12 channels
def test_more_prototypes_than_channels_hold_nothing_back(prototypes: int, passes: bool) -> None:
    u, p = random(1, 50, 12), random(1, prototypes, 12, seed=1)
    y = constraint("project", 12)(u, p, torch.zeros_like(u))
    assert ((y - u).norm() < 0.1 * u.norm()) == passes
    if passes:
        with pytest.warns(RuntimeWarning, match=r"28 prototypes .* 12 .* prototypes=8"):
            warn_if_unconstrained("project", prototypes, 12)
    else:
        warn_if_unconstrained("project", prototypes, 12)
    warn_if_unconstrained("none", prototypes, 12)  # pytest makes a warning an error


def test_limit_pulls_back_outliers_and_leaves_the_rest() -> None:
    p = random(1, 6, 7, seed=1)
    u = random(1, 9, 7)
    u[0, 4] *= 40
    y = constraint("limit", 7)(u, p, torch.zeros_like(u))
    kept = torch.tensor([i for i in range(9) if i != 4])
    torch.testing.assert_close(y[0, kept], u[0, kept], atol=1e-4, rtol=1e-4)
    assert y[0, 4].norm() < u[0, 4].norm() / 5


def test_the_learnt_scale_has_one_number_a_channel() -> None:
    form = constraint("scaled", 7)
    assert isinstance(form, torch.nn.Module)
    (scale,) = form.parameters()
    with torch.no_grad():
        scale.copy_(torch.arange(7.0))
    u, p, r = random(2, 5, 7), random(2, 4, 7, seed=1), random(2, 5, 7, seed=2)
    mixed = constraint("content", 7)(u, p, torch.zeros_like(r))
    torch.testing.assert_close(form(u, p, r), mixed * torch.arange(7.0) + r)


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown constraint 'ankor'; known are none, nores"):
        constraint("ankor", 7)
