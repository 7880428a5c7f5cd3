"""Parameters and FLOPs against counts by hand."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adlib.methods import (
    DinomalyConfig,
    INPFormerConfig,
    PatchCoreConfig,
    PRNConfig,
    ProADConfig,
)
from adlib.nn.attention import MLP, Attention
from adlib.nn.constraint import project
from adlib.study.cost import cost, flops
from tests.conftest import tiny_config


def attention(n: int, m: int, c: int, heads: int) -> int:
    """FLOPs of linear attention of n queries on m keys, by its equations."""
    d = c // heads
    projections = 2 * n * c * c + 2 * m * c * 2 * c + 2 * n * c * c  # q; k and v; out
    sums = heads * 2 * m * d * d  # S; z only adds
    reads = heads * (2 * n * d * d + 2 * n * d)  # of S and of z
    return projections + sums + reads


def mlp(n: int, c: int, ratio: int) -> int:
    return 2 * 2 * n * c * ratio * c


def meta(cls: Callable[..., nn.Module], *arguments: Any) -> nn.Module:
    with torch.device("meta"):
        return cls(*arguments)


def test_a_linear_attention_block_by_hand() -> None:
    a, b = (2, 5, 12), (2, 7, 12)
    assert flops(meta(Attention, 12, 3, "linear"), a, b) == 2 * attention(5, 7, 12, 3)
    assert flops(meta(MLP, 12, 2.0), a) == 2 * mlp(5, 12, 2)
    softmax = 2 * 5 * 12 * 12 + 2 * 7 * 12 * 24 + 2 * 5 * 12 * 12 + 2 * 2 * 5 * 7 * 12
    assert flops(meta(Attention, 12, 3, "softmax"), a, b) == 2 * softmax


def test_a_factorisation_is_counted() -> None:
    class Project(nn.Module):
        def forward(self, u: Tensor, p: Tensor) -> Tensor:
            return project(u, p, u)

    n, m, c = 7, 6, 12
    products = 2 * m * m * c + 2 * m * n * c + 2 * n * m * c  # Gram, its right sides, the sum
    by_hand = products + m**3 // 3 + 2 * m * m * n
    assert flops(Project(), (2, n, c), (2, m, c)) == 2 * by_hand


def test_the_whole_is_its_parts() -> None:
    n, c, heads = 6, 192, 3
    config = tiny_config(blocks=4, prototypes=5, constraint="none", mlp_ratio=1.0)
    block = attention(5, n, c, heads) + mlp(5, c, 1)  # aggregation
    block += attention(n, n, c, heads) + attention(n, 5, c, heads) + mlp(n, c, 1)
    found = cost(config)
    assert found["flops"] == mlp(n, c, 1) + 4 * block
    an_mlp, an_attention = 2 * (c * c + c), 4 * (c * c + c)
    norms = 3 + 1 + 3  # of aggregation, context and reconstruction
    weights = 3 * an_attention + 2 * an_mlp + norms * 2 * c
    assert found["parameters"] == an_mlp + 4 * weights + 5 * c


def test_arms_cost_what_they_do() -> None:
    n, m, c, heads = 6, 5, 192, 3

    def of(**changes: Any) -> int:
        return cost(tiny_config(blocks=2, prototypes=m, constraint="none", **changes))["flops"] // 2

    assert of() - of(context=False) == attention(n, n, c, heads)
    assert of() - of(update="never") == attention(m, n, c, heads) + mlp(m, c, 1)
    reading = of(update="never", context=False)
    softmax = 4 * n * m * c - (attention(n, m, c, heads) - 4 * n * c * c - 4 * m * c * c)
    assert of(update="never", context=False, attention="softmax") - reading == softmax


def test_the_papers_sizes() -> None:
    paper = cost(ProADConfig.paper())
    n, c, heads = 784, 768, 12
    block = 2 * (attention(n, n, c, heads) + mlp(n, c, 4)) + attention(n, n, c, heads)
    block += 4 * n * c * c  # of `project`, in the width: the Gram matrix and its right sides
    block += c**3 // 3 + 2 * n * c * c  # its factor, and solving with that
    assert paper["flops"] == mlp(n, c, 4) + 8 * block
    dinomaly, inp_former = cost(DinomalyConfig.paper()), cost(INPFormerConfig.paper())
    assert dinomaly["parameters"] == pytest.approx(61.4e6, rel=0.001)
    assert dinomaly["flops"] == mlp(n, c, 4) + 8 * (attention(n, n, c, heads) + mlp(n, c, 4))
    assert inp_former["parameters"] == pytest.approx(68.5e6, rel=0.001)
    assert inp_former["flops"] < dinomaly["flops"]  # six keys to project, not 784


def test_prn_is_counted_with_its_pyramid() -> None:
    plain = PRNConfig(fusion="off", patch_attention="off", enlarge=1)
    shapes = ((24, 64, 64), (40, 32, 32), (112, 16, 16), (320, 8, 8))  # of EfficientNet-Lite0
    by_hand = weights = 0
    for (c, h, w), (below, _, _) in pairwise(shapes):
        products = 9 * (below * c + 3 * c * c + c * c)  # up; two that merge
        by_hand += 2 * h * w * products + 2 * c * h * w  # and the distance to a prototype
        weights += products + 3 * 2 * c
    by_hand += 2 * 64 * 64 * 9 * (24 * 64 + 64)
    weights += 9 * (24 * 64 + 64) + 1 + 2 * 64
    assert cost(plain) == {"parameters": weights, "flops": by_hand}
    base = cost(replace(plain, residuals="off"))
    skips = sum(9 * c * c for c, _, _ in shapes[:3])  # half of what is merged with
    assert weights - base["parameters"] == skips
    assert cost(PRNConfig())["flops"] > by_hand


def test_what_trains_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="cost counts what is trained, got PatchCoreConfig"):
        cost(PatchCoreConfig.paper())
    with pytest.raises(ValueError, match="cost counts what is trained, got 'pro-ad'"):
        cost("pro-ad")
