"""Attention between patches against slow loops over patches."""

from typing import Any

import pytest
import torch
from torch import Tensor

from adlib.nn.convolution import draw_convolutions
from adlib.nn.patch_attention import (
    SplitAttention,
    SplitBlock,
    attend,
    from_patches,
    patch_size,
    to_patches,
)
from tests.nn.tensors import random

PATCHES = (1, 2, 4)


def drawn(part: Any) -> Any:
    draw_convolutions(part, torch.Generator().manual_seed(2))
    return part


def slow_attention(q: Tensor, k: Tensor, v: Tensor, parts: int) -> Tensor:
    """One image (c h w), patch after patch; scores are divided by the root of a patch's width."""
    (_, h, w), out = v.shape, torch.zeros_like(v)
    r, s = -(-h // parts), -(-w // parts)
    d = v.shape[0] * r * s
    corners = [(i, j) for i in range(0, h, r) for j in range(0, w, s)]

    def patch(x: Tensor, corner: tuple[int, int]) -> Tensor:
        whole = torch.zeros(len(x), r, s)
        cut = x[:, corner[0] : corner[0] + r, corner[1] : corner[1] + s]
        whole[:, : cut.shape[1], : cut.shape[2]] = cut
        return whole

    for at in corners:
        scores = torch.stack([(patch(q, at) * patch(k, other)).sum() for other in corners])
        weights = (scores / d**0.5).exp()
        weights = weights / weights.sum()
        mixed = sum(w * patch(v, other) for w, other in zip(weights, corners, strict=True))
        assert isinstance(mixed, Tensor)
        cut = out[:, at[0] : at[0] + r, at[1] : at[1] + s]
        cut[:] = mixed[:, : cut.shape[1], : cut.shape[2]]
    return out


@pytest.mark.parametrize("grid", [(4, 12), (5, 7), (3, 2), (1, 4)])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_patches_are_where_they_were(grid: tuple[int, int], parts: int) -> None:
    x = random(2, 3, *grid)
    size = patch_size(grid, parts)
    tokens = to_patches(x, size)
    assert torch.equal(from_patches(tokens, size, grid), x)
    torch.testing.assert_close(tokens.square().sum(), x.square().sum())  # the rest is zero
    assert (tokens != 0).any(dim=2).all()  # no token is empty
    assert tokens.shape[1] <= parts**2
    first = x[0, :, : size[0], : size[1]]  # in the order rows, columns, channels
    assert torch.equal(tokens[0, 0], first.permute(1, 2, 0).flatten())


def test_attending_is_softmax_and_in_fp32() -> None:
    q, k, v = (random(2, 5, 70, seed=i) for i in range(3))
    weights = (q @ k.mT / 7).softmax(dim=2)
    torch.testing.assert_close(attend(q, k, v, 1 / 7), weights @ v)
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(100 * q, 100 * k, v, 1 / 7e4)  # scores in the thousands before the scale
    torch.testing.assert_close(found.float(), weights @ v, atol=0.03, rtol=0.03)


@pytest.mark.parametrize("grid", [(4, 8), (5, 7)])
def test_attention_is_a_loop_over_heads_and_patches(grid: tuple[int, int]) -> None:
    part = drawn(SplitAttention(6, grid, PATCHES))
    x = random(2, 6, *grid)
    q, k, v = part.q(x), part.k(x), part.v(x)
    for image in range(2):
        expected = [v[image, :2]]  # one patch: nothing to compare
        for head, parts in ((1, 2), (2, 4)):
            these, values = slice(2 * head - 2, 2 * head), slice(2 * head, 2 * head + 2)
            heads = q[image, these], k[image, these], v[image, values]
            expected.append(slow_attention(*heads, parts))
        torch.testing.assert_close(part(x)[image], torch.cat(expected), atol=1e-5, rtol=1e-4)


def test_one_patch_is_a_linear_map() -> None:
    """What softmax over one token comes to, with any queries and keys."""
    x, y = random(2, 6, 4, 8), random(2, 6, 4, 8, seed=1)
    part = drawn(SplitAttention(6, (4, 8), (1,)))
    v = part.v(x)
    assert torch.equal(part(x), v)
    q, k, one = (to_patches(t, (4, 8)) for t in (x, y, v))
    torch.testing.assert_close(attend(q, k, one, 1.0), one)


def test_a_block_is_its_equations() -> None:
    x = random(2, 6, 4, 8)
    block = drawn(SplitBlock(6, (4, 8), PATCHES)).eval()
    y = x + block.merge(block.attention(x))
    torch.testing.assert_close(block(x), y + block.feed(y))
    assert block.feed[0][0].dilation == (2, 2)
    assert [part.slope for part in (block.merge, *block.feed)] == [0.2] * 3


def test_parts_of_an_image_attend_to_its_far_side() -> None:
    block: Any = drawn(SplitBlock(6, (16, 16), (1, 2))).eval()
    x = random(1, 6, 16, 16)
    other = x.clone()
    other[:, :, 13:, 13:] += 3
    moved = (block(other) - block(x)).abs().amax(dim=1)[0]
    assert moved[:4, :4].min() > 1e-6  # beyond the reach of all convolutions
    assert moved[13:, 13:].min() > moved[:4, :4].max()


def test_sizes_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="4 patch sizes do not divide 6 channels"):
        SplitBlock(6, (4, 8), (1, 2, 4, 8))
