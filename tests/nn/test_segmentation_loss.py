"""Focal loss and smooth L1 against their definitions, also where probabilities round to 1."""

import math

import pytest
import torch
from torch import Tensor

from adlib.nn.segmentation_loss import focal_loss, smooth_l1_loss

ALPHA, GAMMA = 0.5, 4.0


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def masks() -> Tensor:
    return random(2, 5, 7, seed=1) > 0.4


@pytest.mark.parametrize(("alpha", "gamma"), [(0.5, 4.0), (0.25, 2.0), (1.0, 0.0)])
def test_focal_loss_is_its_definition(alpha: float, gamma: float) -> None:
    z, truth = 3 * random(2, 5, 7), masks()
    terms = []
    for logit, anomalous in zip(z.flatten().tolist(), truth.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        p_t = p if anomalous else 1 - p
        terms.append(-alpha * (1 - p_t) ** gamma * math.log(p_t))
    found = focal_loss(z, truth, alpha, gamma)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)


def test_gradients_are_finite_differences() -> None:
    z, truth = (2 * random(2, 5, 7)).requires_grad_(), masks()
    assert torch.autograd.gradcheck(lambda z: focal_loss(z, truth, ALPHA, GAMMA), (z,))
    assert torch.autograd.gradcheck(lambda z: smooth_l1_loss(z, truth), (z,))


@pytest.mark.parametrize("size", [20.0, 200.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_logits_have_finite_losses_and_gradients(size: float, dtype: torch.dtype) -> None:
    z = torch.full((2, 1, 1), size, dtype=dtype)
    z[1] = -size
    z.requires_grad_()
    for truth, wrong in ((torch.tensor([True, False]), False), (torch.tensor([False, True]), True)):
        loss = focal_loss(z, truth.view(2, 1, 1), ALPHA, GAMMA)
        (gradient,) = torch.autograd.grad(loss, z)
        value = z[0].item()  # as bf16 has it
        assert loss.item() == pytest.approx(ALPHA * value if wrong else 0.0, rel=1e-6)
        expected = torch.tensor([ALPHA / 2, -ALPHA / 2]) if wrong else torch.zeros(2)
        torch.testing.assert_close(gradient.flatten().float(), expected, rtol=1e-2, atol=1e-12)


def test_losses_are_in_fp32_under_autocast() -> None:
    z, truth = random(2, 5, 7).float(), masks()
    exact = focal_loss(z, truth, ALPHA, GAMMA), smooth_l1_loss(z, truth)
    with torch.autocast("cpu", torch.bfloat16):
        found = focal_loss(z, truth, ALPHA, GAMMA), smooth_l1_loss(z, truth)
        rounded = focal_loss(z.bfloat16(), truth, ALPHA, GAMMA)
    assert all(torch.equal(a, b) for a, b in zip(exact, found, strict=True))
    assert rounded.dtype == torch.float32
    assert torch.equal(rounded, focal_loss(z.bfloat16().float(), truth, ALPHA, GAMMA))


def test_smooth_l1_is_half_the_squared_error_of_probabilities() -> None:
    z, truth = 5 * random(2, 5, 7), masks()
    expected = (1 / (1 + (-z).exp()) - truth.double()).square().mean() / 2
    torch.testing.assert_close(smooth_l1_loss(z, truth), expected)
