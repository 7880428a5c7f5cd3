"""k-means on whole maps: from their products as from the maps themselves."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Subset

from adlib.nn import prototype_maps
from adlib.nn.prototype_maps import (
    PrototypeMaps,
    Residual,
    cluster_means,
    distances_from_means,
    draw_start,
    gram_matrices,
    kmeans,
    lloyd,
    mean_variance,
)
from tests.nn.tensors import random

WIDTHS = (60, 33)  # numbers of two scales; five more lie behind them


def cached(n: int = 23) -> Tensor:
    """Maps of four blobs and noise, as the cache holds them."""
    blobs = 2 * random(4, 98, seed=1)
    return (blobs[torch.arange(n) % 4] + random(n, 98)).half()[:, None, None]


def normal(n: int = 23) -> Any:
    """All of them but two."""
    return Subset(cached(n + 2), range(2, n + 2))  # pyright: ignore[reportArgumentType]


def flat(scale: int, n: int = 23) -> Tensor:
    """What `normal` has of one scale, in float64."""
    return cached(n + 2)[2:, 0, 0].double().split([*WIDTHS, 5], dim=1)[scale]


def gram(x: Tensor) -> Tensor:
    return x.double() @ x.double().T


def slow_kmeans(x: Tensor, labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Lloyd's rounds on the maps themselves, in float64."""
    while True:
        centres = torch.stack([x[labels == c].mean(dim=0) for c in range(k)])
        new = torch.cdist(x, centres, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=1)
        if torch.equal(new, labels):
            return labels, centres
        labels = new


@pytest.mark.parametrize(("rows", "columns"), [(64, 16_384), (5, 7), (23, 60)])
def test_products_do_not_depend_on_how_they_are_read(
    rows: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prototype_maps, "ROWS", rows)
    monkeypatch.setattr(prototype_maps, "COLUMNS", columns)
    for scale, found in enumerate(gram_matrices(normal(), WIDTHS)):
        torch.testing.assert_close(found, gram(flat(scale)), rtol=1e-12, atol=1e-10)
        assert torch.equal(found, found.T)


@pytest.mark.parametrize("k", [2, 4, 9])
def test_clusters_are_those_of_the_maps_themselves(k: int) -> None:
    for scale, products in enumerate(gram_matrices(normal(), WIDTHS)):
        start = draw_start(products, k, torch.Generator().manual_seed(scale))
        labels, total = lloyd(products, start, k)
        expected, centres = slow_kmeans(flat(scale), start, k)
        assert torch.equal(labels, expected)
        inertia = (flat(scale) - centres[expected]).square().sum().item()
        assert total == pytest.approx(inertia, rel=1e-9)
        means = cluster_means(normal(), WIDTHS, [labels, labels])[scale]
        torch.testing.assert_close(means.double(), centres, rtol=1e-5, atol=1e-5)


def test_distances_from_means_are_those_in_the_space_itself() -> None:
    x = random(7, 5).double()
    labels = torch.tensor([0, 2, 0, 2, 2, 0, 3])  # cluster 1 has no member
    d = distances_from_means(gram(x), labels, 4)
    for cluster in (0, 2, 3):
        mean = x[labels == cluster].mean(dim=0)
        torch.testing.assert_close(
            d[:, cluster], (x - mean).square().sum(dim=1), atol=1e-12, rtol=0
        )
    assert d[:, 1].isinf().all()
    assert d.min() >= 0


def test_a_start_is_drawn_by_squared_distance() -> None:
    """Of rows at 0, 1 and 5, the last two stay together only if 0 and 1 are drawn."""
    x, generator = torch.tensor([[0.0], [1.0], [5.0]]).double(), torch.Generator().manual_seed(0)
    starts = [draw_start(gram(x), 2, generator).tolist() for _ in range(3000)]
    together = sum(start[1] == start[2] for start in starts) / 3000
    expected = (1 / (1 + 25) + 1 / (1 + 16)) / 3  # by distance alone it would be .12
    assert together == pytest.approx(expected, abs=0.01)
    assert all(len(set(start)) == 2 for start in starts)


def test_no_cluster_stays_empty() -> None:
    x = torch.tensor([[0.0], [1.0], [10.0], [11.0], [50.0]]).double()
    labels, total = lloyd(gram(x), torch.tensor([0, 0, 0, 0, 0]), 3)  # two have no member
    assert labels.unique().tolist() == [0, 1, 2]
    assert total == pytest.approx(0.5 + 0.5)
    assert labels[0] == labels[1] != labels[2] == labels[3] != labels[4] != labels[0]


def test_equal_maps_make_fewer_clusters() -> None:
    x = random(3, 8).repeat_interleave(torch.tensor([2, 1, 3]), dim=0)
    labels = kmeans(gram(x), 6, torch.Generator().manual_seed(0))
    assert labels.bincount().min() > 0
    for a in range(6):
        for b in range(6):
            if labels[a] == labels[b]:
                assert torch.equal(x[a], x[b])
    with pytest.raises(ValueError, match="cannot make 7 clusters of 6 maps"):
        kmeans(gram(x), 7, torch.Generator())


def test_more_starts_are_never_worse_and_a_generator_decides() -> None:
    x = flat(0)

    def inertia(restarts: int, seed: int) -> float:
        labels = kmeans(gram(x), 5, torch.Generator().manual_seed(seed), restarts)
        means = torch.stack([x[labels == c].mean(dim=0) for c in range(5)])
        return (x - means[labels]).square().sum().item()

    for seed in range(5):
        assert inertia(8, seed) <= inertia(1, seed)
        assert inertia(8, seed) == inertia(8, seed)
    assert len({inertia(1, seed) for seed in range(5)}) > 1


def test_a_variance_over_maps_follows_from_their_products() -> None:
    for scale, (products, width) in enumerate(
        zip(gram_matrices(normal(), WIDTHS), WIDTHS, strict=True)
    ):
        x = flat(scale).numpy()
        slow = np.mean([np.var(x[:, i]) for i in range(width)])
        assert mean_variance(products, width).item() == pytest.approx(slow, rel=1e-10)
    assert mean_variance(gram(random(1, 9)), 9) == 0
    assert mean_variance(gram(random(1, 9).expand(7, 9)), 9) == 0  # whatever rounding leaves


FORMS: list[Residual] = ["square", "scaled", "absolute"]


def prototypes(k: int = 4, form: Residual = "square", seed: int = 0) -> PrototypeMaps:
    """Some maps, each a prototype of its own."""
    part, x = PrototypeMaps((3, 5, 7), form), random(k, 5, 7, 3, seed=seed).flatten(1)
    part.learn(x, gram(x))
    return part


@pytest.mark.parametrize("form", FORMS)
def test_a_residual_is_to_the_nearest_whole_map(form: Residual) -> None:
    part, f = prototypes(form=form), random(2, 3, 5, 7, seed=1)
    variance = part.p.double().var(dim=0, unbiased=False).mean().item()
    for image, found in zip(f, part(f), strict=True):
        maps = [p.permute(2, 0, 1) for p in part.p]
        nearest = min(maps, key=lambda p: (image - p).norm().item())
        expected = {
            "square": (image - nearest) ** 2,
            "scaled": (image - nearest) ** 2 / variance,
            "absolute": (image - nearest).abs(),
        }
        torch.testing.assert_close(found, expected[form])


def test_maps_that_do_not_vary_are_in_units_of_one() -> None:
    """One normal image, or equal ones, leave no variance to divide by."""
    part = PrototypeMaps((3, 5, 7), "scaled")
    for n in (1, 7):
        x = 30 * random(1, 105).expand(n, 105)
        part.learn(x[:1], gram(x))
        assert part.variance == 1


def test_a_map_that_is_a_prototype_has_residual_zero() -> None:
    part = prototypes()
    f = part.p[[2, 0]].permute(0, 3, 1, 2)
    assert torch.equal(part(f), torch.zeros(2, 3, 5, 7))
    with torch.autocast("cpu", torch.bfloat16):  # too coarse to tell near maps apart
        near = PrototypeMaps((3, 5, 7))
        near.p = 100 + 0.1 * random(4, 5, 7, 3)
        assert near.nearest(near.p).tolist() == [0, 1, 2, 3]


def test_prototypes_of_any_number_are_loaded() -> None:
    part, other = PrototypeMaps((3, 5, 7)), prototypes(6)
    with pytest.raises(ValueError, match="no prototypes"):
        part(random(2, 3, 5, 7))
    part.load_state_dict(other.state_dict())
    assert torch.equal(part.p, other.p)
    assert part.variance == other.variance != 1  # or the scaled form would see another unit
    with pytest.raises(RuntimeError, match="size mismatch for p"):
        part.load_state_dict({"p": torch.zeros(6, 5, 7, 2), "variance": torch.ones(())})
