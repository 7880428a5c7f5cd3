"""Photographs in tiles: nothing is lost between them, and what a whole image hides is found."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

import adlib
from adlib.data.tiles import CELLS, TiledImages, Tiling
from adlib.engine.export import export_onnx
from adlib.engine.features import cached_features, tiles_of
from adlib.engine.predict import predict_each
from adlib.engine.scoring import score_tiles
from adlib.methods import PatchCore, PatchCoreConfig

RNG = np.random.default_rng(0)
DEFECT = 8  # pixels, on photographs of 400 x 600


def config(**changes: Any) -> PatchCoreConfig:
    small = {"encoder": "vit-tiny", "weights": "random", "layers": (0, 1), "size": (48, 48),
             "memory": 300, "candidates": 4_000}  # fmt: skip
    return PatchCoreConfig(**(small | changes))


def photograph(corner: tuple[int, int] | None = None, seed: int = 0) -> np.ndarray:
    """A cloudy gray surface, with a dark square at a corner."""
    clouds = gaussian_filter(np.random.default_rng(seed).normal(size=(400, 600)), 12)
    gray = 128 + 8 * clouds / clouds.std()
    image = np.repeat(gray.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    if corner is not None:
        y, x = corner
        image[y : y + DEFECT, x : x + DEFECT] = 20
    return image


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiles") / "plate"
    pictures = {f"train/good/{i}.png": photograph(seed=i) for i in range(6)}
    pictures |= {f"test/good/{i}.png": photograph(seed=10 + i) for i in range(3)}
    pictures |= {f"test/spot/{i}.png": photograph(p, 20 + i)
                 for i, p in enumerate([(5, 5), (93, 295), (380, 580)])}  # fmt: skip
    for name, image in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name)
    masks = folder / "ground_truth/spot"
    masks.mkdir(parents=True)
    for i, (y, x) in enumerate([(5, 5), (93, 295), (380, 580)]):
        mask = np.zeros((400, 600), np.uint8)
        mask[y : y + DEFECT, x : x + DEFECT] = 255
        Image.fromarray(mask).save(masks / f"{i}_mask.png")
    return folder.parent


@pytest.mark.parametrize("shape", [(400, 600), (100, 37), (101, 449), (1, 1000), (333, 100)])
def test_every_window_as_long_as_the_overlap_lies_in_one_tile(shape: tuple[int, int]) -> None:
    tiling = Tiling(side=100, overlap=30)
    whole, corners = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8), tiling.corners(*shape)
    for (y, x), tile in zip(corners, tiling.cut(whole), strict=True):
        np.testing.assert_array_equal(tile, whole[y : y + 100, x : x + 100])
    for axis in (0, 1):
        length, starts = shape[axis], {corner[axis] for corner in corners}
        window = min(30, length)
        for start in range(length - window + 1):
            assert any(s <= start and start + window <= s + 100 for s in starts)
        assert max(starts) + min(100, length) == length  # and none hangs over the border
    assert len(corners) == np.prod([1 + -(-max(n - 100, 0) // 70) for n in shape])


def test_joined_maps_are_the_weighted_mean_of_the_tiles_that_see_a_place() -> None:
    tiling, (h, w) = Tiling(side=128, overlap=32), (200, 300)
    maps = RNG.random((len(tiling.corners(h, w)), 64, 64), dtype=np.float32)  # 64 are kept as is
    joined = tiling.join(maps, h, w)
    assert joined.shape == (100, 150)  # CELLS for each 128 pixels
    for row, column in ((0, 0), (50, 75), (99, 149), (40, 60), (63, 64)):
        parts = []
        for heat, (y, x) in zip(maps, tiling.corners(h, w), strict=True):
            i, j = row - y // 2, column - x // 2
            if 0 <= i < CELLS and 0 <= j < CELLS:
                parts.append((min(i, j, CELLS - 1 - i, CELLS - 1 - j) + 1, heat[i, j]))
        expected = np.average([v for _, v in parts], weights=[k for k, _ in parts])
        assert joined[row, column] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(tiling.join(np.ones_like(maps), h, w), 1, rtol=1e-6)


def test_tiles_are_images_of_their_own_with_their_part_of_the_mask(root: Path) -> None:
    images = adlib.load_data(root).test
    tiled = TiledImages(images, Tiling(side=256, overlap=64))
    assert len(tiled) == 6 * len(images)
    assert tiled.rows([2, 0]) == [*range(12, 18), *range(6)]
    for i, where in enumerate(tiled.photographs):
        whole = images[i]
        assert whole.mask is not None
        for row, (y, x) in zip(range(where.rows.start, where.rows.stop),
                               Tiling(side=256, overlap=64).corners(400, 600),
                               strict=True):  # fmt: skip
            np.testing.assert_array_equal(tiled[row].image, whole.image[y : y + 256, x : x + 256])
            np.testing.assert_array_equal(tiled[row].mask, whole.mask[y : y + 256, x : x + 256])
    assert len({*tiled.fingerprints}) == len(tiled)
    assert tiled.digest != TiledImages(images, Tiling(side=256, overlap=150)).digest


def test_a_small_defect_that_the_whole_image_hides_is_found_in_tiles_also_on_a_seam(
    root: Path,
) -> None:
    data, found = adlib.load_data(root), {}
    for side in (None, 100):
        method = PatchCore(config(tile=side, overlap=24))
        adlib.fit(method, data, holdout=0.2)
        found[side] = adlib.evaluate(method, data)["mean"]
    assert found[100]["image_auroc"] == 1.0
    assert found[None]["image_auroc"] < 1.0
    assert found[100]["pixel_ap"] > 2 * found[None]["pixel_ap"]
    for corner in ((93, 295), (94, 45), (200, 76)):  # tiles begin each 75 or 71.4 pixels
        result = adlib.predict(method, photograph(corner, seed=99))
        assert result.decisions is not None
        assert result.decisions.all()
        peak = np.unravel_index(result.maps[0].argmax(), (400, 600))
        assert abs(np.array(peak) - np.array(corner) - DEFECT / 2).max() < 17  # half a token


def test_predict_scores_as_the_cache_does_whatever_the_batch(root: Path) -> None:
    data = adlib.load_data(root)
    method = PatchCore(config(tile=200, overlap=50))
    adlib.fit(method, data, holdout=0.2)
    by_cache, tiles = adlib.engine.scores_of(method, data.test, precision="fp32"), []
    for batch in (1, 8):
        each = [*predict_each(method, data.test, precision="fp32", batch=batch, enlarge=False)]
        np.testing.assert_allclose([score for *_, score in each], by_cache, atol=2e-5)
        tiles.append([heat for _, _, heat, _ in each])
    np.testing.assert_allclose(tiles[0], tiles[1], atol=2e-5)
    kinds = {"device": torch.device("cpu"), "dtype": torch.float32}
    cut = tiles_of(method, data.test)
    assert cut is not None
    whole = cached_features(method, cut, **kinds)
    maps, _ = score_tiles(method, whole, torch.float32, cut.photographs)
    np.testing.assert_allclose(tiles[0], maps, atol=2e-5)


def test_a_run_with_tiles_comes_back_and_is_not_exported(root: Path, tmp_path: Path) -> None:
    data = adlib.load_data(root)
    method = PatchCore(config(tile=200, overlap=50, resize=(64, 64)))
    adlib.fit(method, data, holdout=0.2, out=tmp_path / "run")
    again = adlib.load_run(tmp_path / "run").method
    image = photograph((93, 295))
    assert adlib.predict(again, image).scores == adlib.predict(method, image).scores
    with pytest.raises(ValueError, match="tiles"):
        export_onnx(again, tmp_path / "model.onnx")


@pytest.mark.parametrize(("changes", "named"), [({"tile": 0}, "tile"), ({"overlap": -1}, "overlap"),
                                                ({"tile": 64, "overlap": 64}, "64")])  # fmt: skip
def test_tiles_that_cannot_be_are_refused(changes: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        config(**changes)
