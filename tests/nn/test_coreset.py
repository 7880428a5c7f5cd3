"""A few rows that stand for many: the definition, and what it is good for."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Subset

from adlib.nn.coreset import coreset_tokens, greedy_coreset
from tests.methods.small import seeded
from tests.nn.tensors import random


def naive_coreset(x: Tensor, size: int, start: int) -> list[int]:
    """The definition: all distances, from every row to every one chosen, again and again."""
    rows, chosen = x.double().tolist(), [start]
    while len(chosen) < size:
        gaps = [min(math.dist(row, rows[c]) for c in chosen) for row in rows]
        chosen.append(max(range(len(rows)), key=lambda i: gaps[i]))
    return chosen


def radius(x: Tensor, chosen: Tensor | list[int]) -> float:
    """The largest distance from any row to its nearest chosen one."""
    return torch.cdist(x.double(), x[chosen].double()).min(dim=1).values.max().item()


@pytest.mark.parametrize("start", [0, 17])
def test_the_coreset_is_the_naive_one(start: int) -> None:
    x = random(60, 5)
    chosen = greedy_coreset(x, 20, start).tolist()
    assert chosen == naive_coreset(x, 20, start)
    assert greedy_coreset(x, 7, start).tolist() == chosen[:7]
    assert sorted(greedy_coreset(x, 60, start).tolist()) == list(range(60))


def test_the_coreset_covers_better_than_chance_and_at_most_twice_the_best() -> None:
    blobs = random(20, 4, seed=1) * 10  # 20 clusters of unequal size, so that chance misses some
    sizes = torch.tensor([400 if k < 4 else 5 for k in range(20)])
    x = blobs.repeat_interleave(sizes, dim=0) + 0.1 * random(int(sizes.sum()), 4)
    greedy = radius(x, greedy_coreset(x, 20, 0))
    draws = [torch.randperm(len(x), generator=seeded(k)) for k in range(20)]
    assert greedy < 0.3 * min(radius(x, draw[:20]) for draw in draws)
    centres = torch.arange(20).repeat_interleave(sizes)
    best = (x - blobs[centres]).norm(dim=1).max().item()  # of 20 balls around these; none is better
    assert greedy <= 2 * best


def test_rows_that_are_equal_are_chosen_once_each() -> None:
    x = random(3, 4).repeat(4, 1)
    chosen = greedy_coreset(x, 12, 5).tolist()
    assert sorted(chosen) == list(range(12))
    assert {i % 3 for i in chosen[:3]} == {0, 1, 2}
    with pytest.raises(ValueError, match="cannot choose 13 of 12 rows"):
        greedy_coreset(x, 13, 0)


def test_rare_tokens_get_prototypes_of_their_own() -> None:
    common, rare = F.normalize(random(1, 300), dim=-1), F.normalize(random(4, 300, seed=1), dim=-1)
    tokens = common.expand(5, 2, 40, 300) + 0.01 * random(5, 2, 40, 300, seed=2)
    for i in range(4):
        tokens[i, :, 7] = 3 * rare[i]  # one token of an image, of another length
    normal = Subset(tokens, range(5))  # pyright: ignore[reportArgumentType]  # indexable
    chosen = coreset_tokens(normal, 8, seeded(0))
    torch.testing.assert_close(chosen.norm(dim=1), torch.ones(8))
    assert ((chosen @ rare.T).amax(dim=0) > 0.99).all()
    units = F.normalize(tokens.mean(dim=1), dim=-1).flatten(0, 1)
    assert torch.allclose((chosen @ units.T).amax(dim=1), torch.ones(8), atol=1e-5)
    assert torch.equal(chosen, coreset_tokens(normal, 8, seeded(0)))
