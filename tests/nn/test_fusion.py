"""Multi-scale fusion against its sum, written out."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adlib.nn.convolution import draw_convolutions
from adlib.nn.fusion import Fusion, Up, resample
from tests.nn.tensors import random

WIDTHS, GRIDS = (4, 6, 10), ((12, 20), (6, 10), (3, 5))  # factors of 2 and 4, as in the papers


def maps(widths: tuple[int, ...], grids: tuple[tuple[int, int], ...]) -> list[Tensor]:
    return [random(2, c, *grid, seed=i) for i, (c, grid) in enumerate(zip(widths, grids))]  # noqa: B905


def bilinear(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Corners on corners."""
    return F.interpolate(x, grid, mode="bilinear", align_corners=True)


def strided(x: Tensor, convolution: nn.Conv2d, factor: tuple[int, int]) -> Tensor:
    """The grouped convolution around every cell, of which every `factor`-th is kept."""
    weight, bias, groups = convolution.weight, convolution.bias, convolution.groups
    reach = weight.shape[2] // 2, weight.shape[3] // 2
    dense = F.conv2d(x, weight, bias, padding=reach, groups=groups)
    return dense[:, :, :: factor[0], :: factor[1]]


def slow_step(t: nn.Module, x: Tensor, grid: tuple[int, int]) -> Tensor:
    if isinstance(t, Up):  # first larger, then mixed, as the definition has it
        weight, bias = t.convolution.weight[:, :, 0, 0], t.convolution.bias
        assert bias is not None
        return torch.einsum("dc,bchw->bdhw", weight, bilinear(x, grid)) + bias.view(-1, 1, 1)
    assert isinstance(t, nn.Conv2d)
    return strided(x, t, (x.shape[2] // grid[0], x.shape[3] // grid[1]))


@pytest.mark.parametrize(
    ("widths", "grids"),
    [
        (WIDTHS, GRIDS),
        ((4, 4, 4), ((5, 7), (5, 7), (5, 7))),  # one grid, as of a ViT
        ((3, 5), ((12, 14), (4, 7))),  # a factor of its own along each axis
        ((4, 6), ((6, 7), (3, 7))),
    ],
)
def test_fusion_is_its_sum(widths: tuple[int, ...], grids: tuple[tuple[int, int], ...]) -> None:
    fusion = Fusion(widths, grids)
    draw_convolutions(fusion, torch.Generator().manual_seed(1))
    X = maps(widths, grids)
    Y = fusion(list(X))
    for i, grid in enumerate(grids):
        expected = X[i].clone()
        others = [j for j in range(len(grids)) if j != i]
        steps: list[nn.Module] = list(fusion.steps[i])  # pyright: ignore[reportArgumentType]
        for j, t in zip(others, steps, strict=True):
            expected += slow_step(t, X[j], grid)
        torch.testing.assert_close(Y[i], expected, atol=1e-5, rtol=1e-5)


def test_the_papers_steps_are_those_of_its_re_implementation() -> None:
    fusion = Fusion((64, 128, 256), ((64, 64), (32, 32), (16, 16)))
    down = {m.in_channels: [] for m in fusion.modules() if isinstance(m, nn.Conv2d)}
    for m in fusion.modules():
        if isinstance(m, nn.Conv2d):
            down[m.in_channels].append((m.out_channels, m.kernel_size, m.stride, m.groups))
    one, three, five = (1, 1), (3, 3), (5, 5)
    assert down[64] == [(128, three, (2, 2), 64), (256, five, (4, 4), 64)]
    assert down[128] == [(64, one, one, 1), (256, three, (2, 2), 128)]
    assert down[256] == [(64, one, one, 1), (128, one, one, 1)]


def test_without_steps_nothing_is_exchanged() -> None:
    fusion = Fusion(WIDTHS, GRIDS)
    with torch.no_grad():
        for weights in fusion.parameters():
            weights.zero_()
    X = maps(WIDTHS, GRIDS)
    assert all(torch.equal(x, y) for x, y in zip(X, fusion(list(X)), strict=True))


def test_a_grid_that_is_no_whole_factor_smaller_is_refused() -> None:
    with pytest.raises(ValueError, match=r"by whole factors, got grids \(7, 8\) and \(3, 4\)"):
        resample(4, 4, (7, 8), (3, 4))
    with pytest.raises(ValueError, match="by whole factors"):
        resample(4, 4, (7, 8), (14, 4))  # larger along one axis and smaller along the other
