"""What rebuilding detectors share, each against its definition."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from adlib.nn.attention import MLP
from adlib.nn.encoder import Encoder
from adlib.nn.reconstruction import (
    coherence_loss,
    cosine_distances,
    distance_maps,
    distance_weights,
    draw_decoder,
    easy_point_weights,
    one_grid,
    top_mean,
    two_groups,
    weighted_cosine_loss,
)
from tests.nn.tensors import random


def test_groups_are_the_means_of_the_halves() -> None:
    levels = [torch.full((2, 5, 3), value) for value in (1.0, 3.0, 10.0, 20.0)]
    groups = two_groups(levels)
    assert groups[:, 0].unique().item() == 2
    assert groups[:, 1].unique().item() == 15


def test_distances_ignore_length_and_reach_two() -> None:
    x = random(2, 3, 5, 7)
    torch.testing.assert_close(cosine_distances(x, 4 * x), torch.zeros(2, 3, 5), atol=1e-6, rtol=0)
    torch.testing.assert_close(cosine_distances(x, -x), torch.full((2, 3, 5), 2.0))
    low = cosine_distances(x.bfloat16(), x.bfloat16() * 2)
    assert low.dtype == torch.float32
    assert low.abs().max() < 1e-6


def test_weights_scale_the_gradient_of_their_token_and_not_the_loss() -> None:
    target, start = random(2, 3, 5, 7), random(2, 3, 5, 7, seed=1)
    weight = random(2, 3, 5, seed=2).abs()
    losses, gradients = [], []
    for w in (weight, torch.ones(2, 3, 5)):
        rebuilt = start.clone().requires_grad_()
        loss = weighted_cosine_loss(target, rebuilt, w)
        loss.backward()
        losses.append(loss.item())
        gradients.append(rebuilt.grad)
    assert losses[0] == losses[1]
    torch.testing.assert_close(gradients[0], weight[..., None] * gradients[1])
    flat = F.cosine_similarity(target.flatten(2), start.flatten(2), dim=-1)
    assert losses[0] == pytest.approx((1 - flat).mean().item())
    with torch.no_grad():  # nothing to weigh
        assert weighted_cosine_loss(target, start, weight).item() == losses[0]


def test_a_map_passes_through_the_groups_means_at_its_tokens() -> None:
    d = random(2, 3, 4 * 5).abs()
    maps = distance_maps(d, (4, 5), (10, 17))  # three pixels from row to row, four along a row
    at_tokens = maps[:, ::3, ::4]
    torch.testing.assert_close(at_tokens.flatten(1), d.mean(dim=1))


def test_the_top_share_is_one_pixel_at_least() -> None:
    maps = torch.arange(2 * 4 * 5.0).view(2, 4, 5)
    assert top_mean(maps, 0.0).tolist() == [19, 39]
    assert top_mean(maps, 0.15).tolist() == [18, 38]  # three of twenty
    assert top_mean(maps, 0.19).tolist() == [18, 38]  # 3.8 are three, as Dinomaly cuts


def test_linear_weights_spread_with_the_root_of_the_width() -> None:
    part = nn.Sequential(MLP(48, 4.0), nn.LayerNorm(48), MLP(48, 4.0))
    with torch.no_grad():
        for p in part.parameters():
            p.fill_(7)
    draw_decoder(part, 48, torch.Generator().manual_seed(0))
    std = 0.01 * 4  # the root of 768 / 48
    for name, p in part.named_parameters():
        if p.ndim == 2:
            assert p.abs().max() <= 3 * std
            assert p.std().item() == pytest.approx(std, rel=0.05)
        else:
            assert p.unique().item() == (1 if name == "1.weight" else 0)


def test_levels_of_one_shape_and_even_number_are_asked_for() -> None:
    vit = Encoder("vit-tiny", (32, 48), layers=(0, 1), weights="random")
    assert one_grid(vit) == (192, (2, 3))
    cnn = Encoder("resnet18", (32, 64), layers=(1, 2), weights=Path("random"))
    with pytest.raises(ValueError, match=r"one width and one grid; .*'resnet18'.*Choose a ViT"):
        one_grid(cnn)


def test_what_rounding_takes_below_zero_has_no_weight() -> None:
    d = torch.tensor([[[-1e-7, 0.0, 0.3, 0.9]]])  # 1 - cos of a perfect token may be below 0
    expected = torch.tensor([[[0.0, 0.0, 1.0, 3.0]]]) ** 2.5
    torch.testing.assert_close(distance_weights(d, 2.5), expected)
    assert torch.equal(distance_weights(torch.zeros(2, 1, 3), 2.5), torch.zeros(2, 1, 3))


@pytest.mark.parametrize("share", [0.0, 0.35, 0.9])
def test_easy_points_are_those_below_the_quantile_of_their_group(share: float) -> None:
    d = random(3, 2, 7).abs()
    d[:, 1] += 5  # were the groups ranked together, all of the first would be easy
    weights = easy_point_weights(d, torch.tensor(share), 0.1)
    for g in range(2):
        values = d[:, g].flatten().sort().values
        easy = d[:, g] < values[math.ceil(share * 20)]  # of 21 points
        assert torch.equal(weights[:, g], torch.where(easy, 0.1, 1.0))
        assert easy.sum().item() == math.ceil(share * 20)


def test_points_of_one_distance_are_all_hard() -> None:
    d = torch.full((2, 2, 5), 0.3)
    assert torch.equal(easy_point_weights(d, torch.tensor(0.9), 0.1), torch.ones(2, 2, 5))


def test_coherence_is_zero_where_every_token_has_its_prototype() -> None:
    p = random(2, 3, 8)
    tokens = torch.cat([2 * p[:, 2:], 5 * p, p[:, :1]], dim=1)  # 2 5 8, in lengths of their own
    assert coherence_loss(tokens, p).item() == pytest.approx(0, abs=1e-6)
    assert coherence_loss(-p[:, :1], p[:, :1]).item() == pytest.approx(2)
