"""Convolution, norm and activation; resizing; the law that weights are drawn by."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adlib.nn.convolution import Convolution, draw_convolutions, resize
from tests.nn.tensors import random


@pytest.mark.parametrize(
    ("side", "dilation", "slope"), [(3, 1, 0.0), (3, 2, 0.2), (1, 1, 1.0), (5, 1, 0.5)]
)
def test_a_convolution_keeps_its_grid_and_is_its_parts(
    side: int, dilation: int, slope: float
) -> None:
    part = Convolution(3, 4, side=side, dilation=dilation, slope=slope)
    x = random(2, 3, 5, 7)
    reach = dilation * (side // 2)
    weight: Tensor = part[0].weight  # pyright: ignore[reportAssignmentType]
    mapped = F.conv2d(F.pad(x, (reach,) * 4), weight, dilation=dilation)
    y = F.batch_norm(mapped, None, None, training=True, eps=1e-5)
    torch.testing.assert_close(part(x), torch.where(y > 0, y, slope * y))
    assert part[0].bias is None


def test_resizing_keeps_corners_and_planes() -> None:
    rows, columns = torch.linspace(0, 1, 5), torch.linspace(0, 1, 7)
    plane = (2 * rows[:, None] - 3 * columns).expand(2, 3, 5, 7)
    rows, columns = torch.linspace(0, 1, 11), torch.linspace(0, 1, 29)
    expected = (2 * rows[:, None] - 3 * columns).expand(2, 3, 11, 29)
    torch.testing.assert_close(resize(plane, (11, 29)), expected)
    assert resize(plane, (5, 7)) is plane


def test_weights_are_drawn_by_their_inputs_and_by_the_generator_alone() -> None:
    part = nn.Sequential(nn.Conv2d(4, 300, 3, groups=2), nn.BatchNorm2d(300), nn.Conv2d(300, 9, 1))
    with torch.no_grad():
        for weights in part.parameters():
            weights.fill_(7)
    part(random(2, 4, 5, 7))  # the norm's statistics move
    draw_convolutions(part, torch.Generator().manual_seed(3))
    for convolution, inputs in ((part[0], 2 * 9), (part[2], 300)):
        assert isinstance(convolution, nn.Conv2d)
        for weights in convolution.parameters():
            assert weights.abs().max() < inputs**-0.5
        assert convolution.weight.std().item() == pytest.approx((3 * inputs) ** -0.5, rel=0.05)
    fresh, norm = nn.BatchNorm2d(300).state_dict(), part[1].state_dict()
    assert all(torch.equal(norm[name], value) for name, value in fresh.items())
    first = [weights.clone() for weights in part.parameters()]
    draw_convolutions(part, torch.Generator().manual_seed(3))
    assert all(torch.equal(a, b) for a, b in zip(first, part.parameters(), strict=True))
