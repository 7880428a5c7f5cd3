"""PatchCore against slow versions of its definitions."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Subset

from adlib.methods import PatchCore, PatchCoreConfig, patchcore
from adlib.methods.patchcore import nearest_rows
from adlib.nn.coreset import greedy_coreset
from tests.methods.small import build, seeded, show
from tests.nn.tensors import random
from tests.nn.test_coreset import naive_coreset, radius


def cached(images: int = 7, seed: int = 0) -> Tensor:
    """Features as the cache holds them, with more images than are used."""
    return random(images, 2, 15, 192, seed=seed).half()


def fitted(images: Sequence[int] = (0, 1, 3, 6), **changes: Any) -> tuple[PatchCore, Tensor]:
    """A method whose memory was made of some images, and their features."""
    method, features = build("patchcore", **changes), cached()
    method.fit_prototypes(Subset(features, images))  # pyright: ignore[reportArgumentType]  # indexable
    return method.eval(), features[list(images)].float()


# Patches


def slow_patches(image: Tensor, side: int, normalise: bool) -> Tensor:
    """Patches (15 2c) of one image (2 15 c) on 3 x 5 tokens, by their definition, in float64."""
    rows = []
    for i in range(15):
        halves = []
        for group in image.double():
            r = side // 2
            near = [
                group[k] for k in range(15) if abs(k // 5 - i // 5) <= r and abs(k % 5 - i % 5) <= r
            ]
            mean = sum(near, torch.zeros(len(group[0])).double()) / len(near)
            halves.append(mean / mean.square().sum().sqrt() if normalise else mean)
        rows.append(torch.cat(halves) / math.sqrt(2))
    return torch.stack(rows)


@pytest.mark.parametrize(("side", "normalise"), [(1, True), (3, True), (3, False)])
def test_patches_average_their_neighbours(side: int, normalise: bool) -> None:
    method = build("patchcore", patch=side, normalise=normalise)
    groups = random(2, 2, 15, 192)
    groups[:, 1] *= 30  # the second group is far longer
    expected = torch.stack([slow_patches(image, side, normalise) for image in groups])
    torch.testing.assert_close(method.patches(groups).double(), expected, atol=1e-5, rtol=1e-5)


def test_normalised_distances_are_cosine_distances() -> None:
    method = build("patchcore", patch=1)
    groups = random(2, 2, 15, 192)
    x, y = method.patches(groups)
    cosines = torch.cosine_similarity(groups[0], groups[1], dim=-1).mean(dim=0)  # 15
    torch.testing.assert_close((x - y).square().sum(dim=1), 2 * (1 - cosines))


# Distances


@pytest.mark.parametrize("rows", [4, 16, 50])  # parts of the memory: many, a rest, one
def test_distances_are_those_of_brute_force(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patchcore, "ROWS", rows)
    x, memory = random(30, 8), random(50, 8, seed=1)
    gaps = [min(math.dist(a, b) for b in memory.tolist()) for a in x.tolist()]
    assert nearest_rows(x, memory).tolist() == pytest.approx(gaps, abs=1e-5)


def test_the_images_in_a_full_memory_are_at_distance_zero() -> None:
    method, features = fitted(memory=60)  # 4 images of 15 patches: all of them
    assert torch.equal(method.distances(features), torch.zeros(4, 1, 15))
    assert (method.distances(random(2, 2, 15, 192, seed=9)) > 0.1).all()


def slow_distances(method: PatchCore, image: Tensor) -> list[float]:
    """Distances of one image from the memory."""
    memory = method.memory.double().tolist()
    x = slow_patches(image, method.config.patch, method.config.normalise).tolist()
    return [min(math.dist(row, m) for m in memory) for row in x]


@pytest.mark.parametrize("changes", [{}, {"normalise": False}])
def test_a_map_enlarges_distances_from_the_memory(changes: dict) -> None:
    method, _ = fitted(**changes)
    groups = random(3, 2, 15, 192, seed=5)
    heat = method.maps(groups)
    for k in range(3):
        d = slow_distances(method, groups[k])
        assert method.distances(groups)[k, 0].tolist() == pytest.approx(d, rel=1e-4)
        for i, (row, column) in {0: (0, 0), 4: (0, 79), 10: (47, 0), 14: (47, 79)}.items():
            assert heat[k, row, column].item() == pytest.approx(d[i], rel=1e-4)  # aligned corners
    scores = method.image_score(heat)
    assert torch.equal(scores, heat.flatten(1).max(dim=1).values)


def test_bf16_does_not_touch_distances() -> None:
    method, features = fitted(memory=60)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(method.distances(features), torch.zeros(4, 1, 15))


# Memory


def test_the_memory_is_the_coreset_of_the_projected_patches() -> None:
    method, features = fitted(projection=400)  # wider than a patch: nothing is projected
    patches = method.patches(features).flatten(0, 1)
    start = (method.memory[0] == patches).all(dim=1).nonzero().item()
    torch.testing.assert_close(method.memory, patches[naive_coreset(patches, 10, int(start))])


def test_a_projection_chooses_nearly_as_well() -> None:
    method, features = fitted(projection=64)
    patches = method.patches(features).flatten(0, 1)
    assert method.memory.shape == (10, 384)  # exactly as many as asked for, at full width
    assert all((row == patches).all(dim=1).any() for row in method.memory)
    chosen = [int((row == patches).all(dim=1).nonzero()[0]) for row in method.memory]
    assert len(set(chosen)) == 10
    exact = radius(patches, naive_coreset(patches, 10, chosen[0]))
    assert radius(patches, chosen) < 1.2 * exact


def seen_by_the_choice(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """What `fit_prototypes` chooses from from now on, and what is chosen of it."""
    seen: list[tuple[Tensor, Tensor]] = []

    def choose(x: Tensor, size: int, start: int) -> Tensor:
        seen.append((x, greedy_coreset(x, size, start)))
        return seen[-1][1]

    monkeypatch.setattr(patchcore, "greedy_coreset", choose)
    return seen


def test_candidates_are_drawn_alike_from_every_image(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = seen_by_the_choice(monkeypatch)
    method, features = fitted(memory=5, candidates=11, projection=400)  # 4 images: 2 patches each
    candidates, chosen = seen[0]
    patches = method.patches(features)  # 4 15 384
    owners = [(row == patches).all(dim=2).nonzero().squeeze(0).tolist() for row in candidates]
    assert [image for image, _ in owners] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len({token for _, token in owners}) > 2  # anywhere in the image
    assert torch.equal(method.memory, candidates[chosen])
    assert method.memory.shape == (5, 384)


def test_where_all_patches_fit_all_are_kept_and_none_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = seen_by_the_choice(monkeypatch)
    method, features = fitted(memory=100)
    assert torch.equal(method.memory, method.patches(features).flatten(0, 1))  # 60, in order
    assert seen == []


def test_reading_in_larger_parts_changes_nothing() -> None:
    together, _ = fitted(batch=4, candidates=16)
    one_by_one, _ = fitted(batch=1, candidates=16)
    torch.testing.assert_close(together.memory, one_by_one.memory)


def test_a_seed_decides_the_memory() -> None:
    (method, features), (other, _) = fitted(), fitted()
    assert torch.equal(method.memory, other.memory)
    other.reset_parameters(seeded(5))
    assert len(other.memory) == 0
    show(other, features)
    assert not torch.equal(method.memory, other.memory)


def test_nothing_is_trained_and_a_memory_of_another_width_is_refused() -> None:
    method, features = fitted()
    with pytest.raises(ValueError, match=r"steps=0, got 3"):
        method.configure_optimizer(3)
    with pytest.raises(ValueError, match="no loss"):
        method.loss(features)
    with pytest.raises(RuntimeError, match="size mismatch for memory"):
        method.load_state_dict({"memory": torch.zeros(4, 7)}, strict=False)


def test_the_papers_size_takes_all_patches_as_candidates() -> None:
    config = PatchCoreConfig.paper()
    assert (config.encoder, config.size, config.resize) == ("dinov2-b", (392, 392), (448, 448))
    images = round(0.9 * 3629)  # of MVTec AD, less those held out
    assert config.candidates // images >= 28 * 28
    assert config.memory == pytest.approx(0.01 * 3629 * 28 * 28, rel=0.02)
