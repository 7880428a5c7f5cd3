"""Perlin noise by its definition, and masks of any size."""

import math
from typing import Any

import numpy as np
import pytest

from adlib.anomalies import perlin
from adlib.anomalies.perlin import field, gradients, noise, perlin_mask


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def slow_noise(lattice: np.ndarray, v: float, u: float) -> float:
    """The definition, one place at a time."""
    i, j = math.floor(v), math.floor(u)
    total = 0.0
    for a in (i, i + 1):
        for b in (j, j + 1):
            near = [1 - abs(v - a), 1 - abs(u - b)]
            weight = math.prod(6 * t**5 - 15 * t**4 + 10 * t**3 for t in near)
            total += weight * float(lattice[a, b] @ np.array([v - a, u - b]))
    return math.sqrt(2) * total


def test_noise_is_its_definition() -> None:
    draw = rng()
    lattice = gradients(draw, (4, 6))
    assert np.allclose(np.linalg.norm(lattice, axis=-1), 1)
    v, u = draw.uniform(0, 3, (5, 7)), draw.uniform(0, 5, (5, 7))
    slow = [slow_noise(lattice, *place) for place in zip(v.ravel(), u.ravel(), strict=True)]
    assert np.allclose(noise(lattice, v, u).ravel(), slow, rtol=0, atol=1e-12)
    single = noise(lattice, v.astype(np.float32), u.astype(np.float32))
    assert single.dtype == np.float32
    assert np.allclose(single.ravel(), slow, rtol=0, atol=1e-5)


def test_noise_is_zero_at_lattice_points_continuous_between_and_within_one() -> None:
    lattice, step = gradients(rng(1), (4, 6)), 1e-7
    v, u = np.meshgrid(np.arange(4.0), np.arange(6.0), indexing="ij")
    assert not noise(lattice, v, u).any()
    v, u = np.meshgrid([1.0, 1.3, 2.0], np.linspace(0.1, 4.9, 50), indexing="ij")
    across = noise(lattice, v + step, u) - noise(lattice, v - step, u)
    along = noise(lattice, v, u + step) - noise(lattice, v, u - step)
    assert 0 < np.abs(across).max() < 10 * step
    assert np.abs(along).max() < 10 * step
    draw = rng(2)
    lattice = gradients(draw, (40, 40))
    values = noise(lattice, draw.uniform(0, 39, (300, 300)), draw.uniform(0, 39, (300, 300)))
    assert 0.9 < np.abs(values).max() <= 1


def test_a_lattice_that_is_not_turned_lies_on_the_image() -> None:
    values = field(rng(3), (40, 60), (4, 3), 0.0)
    assert values.shape == (40, 60)
    assert np.abs(values[::10, ::20]).max() < 1e-5
    assert np.abs(values).max() > 0.2


@pytest.mark.parametrize("degrees", [-90.0, -31.0, 17.0, 90.0])
def test_a_lattice_turns_about_the_middle(degrees: float) -> None:
    values = field(rng(4), (38, 252), (2, 4), degrees)
    assert abs(values[19, 126]) < 1e-5  # a lattice point of 2 x 4 cells, whatever the angle
    assert np.abs(values[:3, :3]).max() > 0.01  # and corners are not empty
    assert np.abs(values[-3:, -3:]).max() > 0.01


def test_a_turned_lattice_has_its_points_where_a_rotation_puts_them() -> None:
    """At the angle of a triangle of sides 3, 4 and 5, cells of 10 pixels turn to whole pixels."""
    values = field(rng(6), (40, 40), (4, 4), math.degrees(math.atan2(3, 4)))
    for a in (-1, 0, 1):
        for b in (-1, 0, 1):
            assert abs(values[20 + 8 * a + 6 * b, 20 - 6 * a + 8 * b]) < 1e-4
    assert np.abs(values).max() > 0.2


def test_masks_of_any_size() -> None:
    draws = [perlin_mask(rng(seed), (37, 251)) for seed in range(60)]
    assert {mask.shape for mask in draws} == {(37, 251)}
    assert 0.02 < np.mean([mask.mean() for mask in draws]) < 0.25
    assert len({mask.tobytes() for mask in draws}) >= 55  # some may be empty
    assert np.any(draws, axis=0).mean() > 0.9  # every place gets its turn, corners as well
    assert perlin_mask(rng(7), (37, 251)).tobytes() == draws[7].tobytes()


def test_a_mask_is_where_noise_of_drawn_cells_and_turn_exceeds_the_threshold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[int, int, float]] = []

    def note(draw: Any, size: tuple[int, int], cells: tuple[int, int], degrees: float) -> Any:
        seen.append((*cells, degrees))
        return np.array([[0.49, 0.5, 0.51]])

    monkeypatch.setattr(perlin, "field", note)
    draw = rng()
    for _ in range(300):
        assert perlin_mask(draw, (1, 3)).tolist() == [[False, False, True]]
    rows, columns, degrees = (np.array(x) for x in zip(*seen, strict=True))
    for cells in (rows, columns):
        found, counts = np.unique(cells, return_counts=True)
        assert found.tolist() == [1, 2, 4, 8, 16, 32]
        assert counts.min() > 25  # of 50 on average
    assert (rows != columns).any()
    assert -90 <= degrees.min() < -80
    assert 80 < degrees.max() <= 90
