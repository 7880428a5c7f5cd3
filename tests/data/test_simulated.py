"""Simulated anomalies change exactly their mask, show their texture, and are never empty."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adlib.anomalies.simulated import blend, differing, last_resort, simulated
from adlib.anomalies.textures import Textures

SIZE = (37, 51)
IMAGE = np.random.default_rng(0).integers(60, 140, (*SIZE, 3), dtype=np.uint8)
FLAT = np.full((*SIZE, 3), 127, dtype=np.uint8)
EVERYWHERE = np.ones(SIZE, dtype=bool)
NOWHERE = np.zeros(SIZE, dtype=bool)
LEFT = np.arange(51)[None, :].repeat(37, axis=0) < 20
ONE = np.arange(37 * 51).reshape(SIZE) == 37 * 51 - 1


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def plain(folder: Path, level: int) -> Textures:
    """A texture without any structure."""
    Image.fromarray(np.full((20, 30, 3), level, dtype=np.uint8)).save(folder / "plain.png")
    return Textures(folder)


def test_blending_is_its_formula() -> None:
    draw = rng(1)
    source, mask = draw.integers(0, 255, IMAGE.shape, dtype=np.uint8), draw.random(SIZE) < 0.3
    made = blend(IMAGE, source, mask, 0.3)
    M = mask[..., None]
    slow = IMAGE * (1 - M) + 0.7 * M * source + 0.3 * M * IMAGE
    assert np.array_equal(made, np.rint(slow))
    assert np.array_equal(blend(IMAGE, source, mask, 0.0)[mask], source[mask])


@pytest.mark.parametrize("own", [0.0, 0.5, 1.0])
def test_an_image_changes_exactly_inside_its_mask_as_the_seed_says(own: float) -> None:
    textures, before, digests = Textures(), IMAGE.copy(), []
    for seed in range(40):
        made, mask = simulated(IMAGE, LEFT, textures, rng(seed), own=own)
        assert np.array_equal((made != IMAGE).any(axis=2), mask)
        assert mask.any()
        assert not (mask & ~LEFT).any()
        digests.append(made.tobytes())
    assert np.array_equal(IMAGE, before)
    assert len(set(digests)) == 40
    assert simulated(IMAGE, LEFT, textures, rng(3), own=own)[0].tobytes() == digests[3]


def test_the_texture_reaches_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the unofficial code divides the texture by 255 and the image not: its patches are nearly black
    textures, gray = plain(tmp_path, 200), np.full((*SIZE, 3), 100, dtype=np.uint8)
    with monkeypatch.context() as patch:
        patch.setattr("adlib.anomalies.simulated.distort", lambda picture, rng: picture)
        for seed in range(10):
            made, mask = simulated(gray, EVERYWHERE, textures, rng(seed), beta=(0.4, 0.4))
            assert (made[mask] == 160).all()  # 0.6 * 200 + 0.4 * 100
    levels = []
    for seed in range(60):
        made, mask = simulated(gray, EVERYWHERE, Textures(), rng(seed))
        levels.append(made[mask].mean())
    assert np.mean(np.array(levels) > 110) > 0.2  # brighter than the image, many of them
    assert 85 < np.mean(levels) < 140


def test_beta_bounds_how_far_a_level_moves() -> None:
    for seed in range(30):
        made, mask = simulated(IMAGE, EVERYWHERE, Textures(), rng(seed), beta=(0.75, 0.8))
        moved = np.abs(made[mask].astype(int) - IMAGE[mask])
        assert moved.max() <= 0.25 * 255 + 0.5


@pytest.mark.parametrize(
    ("image", "foreground", "own"),
    [
        (IMAGE, NOWHERE, 0.5),
        (IMAGE, ONE, 0.5),
        (FLAT, EVERYWHERE, 1.0),  # shuffling shows nothing
        (FLAT, ONE, 1.0),
        (FLAT, EVERYWHERE, 0.0),  # the texture has its very colour
    ],
    ids=["no foreground", "one pixel", "flat", "flat pixel", "camouflage"],
)
def test_no_mask_is_ever_empty(
    image: np.ndarray, foreground: np.ndarray, own: float, tmp_path: Path
) -> None:
    textures = plain(tmp_path, 127)
    for seed in range(60):  # five cases: 300 draws
        made, mask = simulated(image, foreground, textures, rng(seed), own=own)
        assert mask.any()
        assert np.array_equal((made != image).any(axis=2), mask)
        assert not (mask & ~foreground).any() or not foreground.any()


def test_the_last_resort_changes_every_pixel_of_its_mask() -> None:
    for seed in range(30):
        made, mask = last_resort(IMAGE, LEFT, rng(seed))
        assert mask.any()
        assert not (mask & ~LEFT).any()
        assert (np.abs(made[mask].astype(int) - IMAGE[mask]) == 128).all()
        assert np.array_equal(differing(made, IMAGE), mask)
