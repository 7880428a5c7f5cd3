"""Masks and regions, against a flood fill and against what the pixel threshold promises."""

import csv
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Bool
from PIL import Image

import adlib
from adlib.engine.gallery import find_regions, write_gallery
from adlib.methods import ProAD
from adlib.metrics.threshold import Calibration, Levels, calibrate
from tests.conftest import tiny_config


def flooded(mask: Bool[np.ndarray, "h w"]) -> list[set[tuple[int, int]]]:
    """The connected parts, corners counted as touching, each as its pixels."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    parts = []
    while left:
        part, edge = set(), {left.pop()}
        while edge:
            part |= edge
            around = {(y + i, x + j) for y, x in edge for i in (-1, 0, 1) for j in (-1, 0, 1)}
            edge = around & left
            left -= edge
        parts.append(part)
    return parts


def test_regions_are_the_connected_parts_with_their_boxes_areas_and_peaks() -> None:
    heat = np.random.default_rng(0).random((12, 17)).astype(np.float32)
    found, parts = find_regions(heat, 0.8), flooded(heat > 0.8)
    assert len(found) == len(parts) > 3
    assert [r.peak for r in found] == sorted((r.peak for r in found), reverse=True)
    expected = set()
    for part in parts:
        rows, columns = zip(*part, strict=True)
        peak = max(float(heat[p]) for p in part)
        size = max(columns) - min(columns) + 1, max(rows) - min(rows) + 1
        expected.add((min(columns), min(rows), *size, len(part), peak))
    assert {(r.left, r.top, r.width, r.height, r.area, r.peak) for r in found} == expected
    assert find_regions(heat, 1.0) == []


def test_a_box_of_a_small_map_is_one_of_the_image() -> None:
    heat = np.zeros((4, 8), np.float32)
    heat[1:3, 2:4] = 0.7
    (region,) = find_regions(heat, 0.5, size=(40, 160))
    assert (region.left, region.top, region.width, region.height) == (40, 10, 40, 20)
    assert region.area == 800
    assert region.peak == pytest.approx(0.7)


def test_the_pixel_threshold_keeps_its_promise_on_new_normal_maps() -> None:
    rng = np.random.default_rng(1)
    shown = []
    for _ in range(3000):
        maps = rng.exponential(size=(20, 3, 4)) * rng.exponential(size=(20, 1, 1))
        limit = calibrate(np.zeros(19), ["a"] * 19, maps[:19]).pixel_threshold(0.1)
        shown.append((maps[19] > limit).any())
    assert np.mean(shown) == pytest.approx(0.1, abs=0.018)  # three standard errors


def test_each_category_has_its_own_and_an_old_run_has_none() -> None:
    maps = np.array([[[1.0, 5.0]], [[2.0, 0.0]], [[9.0, 9.0]]])
    known = calibrate(np.zeros(3), ["a", "a", "b"], maps)
    assert known.peaks == {"a": [5.0, 2.0], "b": [9.0]}
    assert [known.pixel_threshold(category=c) for c in ("a", "b", None)] == [5, 9, 9]
    with pytest.raises(ValueError, match="no threshold for category 'c'; the run has seen a, b"):
        known.pixel_threshold(category="c")
    assert Calibration(scores={"a": [1.0]}).pixel_threshold() is None


def test_predict_and_the_gallery_show_what_is_above_it(tmp_path: Path) -> None:
    data = adlib.load_data("builtin", categories=["board"], train=8, test=4)
    run = adlib.fit(ProAD(tiny_config()), data, steps=2, precision="fp32")
    found = adlib.predict(run.method, data.test, rate=0.3, precision="fp32")
    assert found.masks is not None
    assert found.pixel_threshold == run.method.calibration.pixel_threshold(0.3)
    for heat, mask in zip(found.maps, found.masks, strict=True):
        assert np.array_equal(mask, heat > found.pixel_threshold)
    limit = float(np.median(found.maps[0]))  # so that there is something to show
    shown = found.paths, found.maps
    rows = [(p, np.zeros((*m.shape, 3), np.uint8), m, 0.5) for p, m in zip(*shown, strict=True)]
    levels = Levels(threshold=0.4, scale=(0.0, 1.0), pixel_threshold=limit)
    write_gallery(tmp_path / "out", rows, levels=levels, promise="", keep_masks=True)
    text = (tmp_path / "out/regions.csv").read_text("utf-8")
    table = list(csv.DictReader(text.splitlines()))
    first = [row for row in table if row["path"] == found.paths[0]]
    assert [float(row["peak"]) for row in first] == [
        r.peak for r in find_regions(found.maps[0], limit)
    ]
    with Image.open(tmp_path / "out/masks" / f"{first[0]['name']}.png") as mask:
        assert np.array_equal(np.asarray(mask) > 0, found.maps[0] > limit)
    with Image.open(tmp_path / "out/overlays" / f"{first[0]['name']}-heat.jpg") as laid:
        assert np.asarray(laid).max() > 200  # the contour is white
