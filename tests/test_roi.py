"""A region of interest: what lies outside counts in no score, threshold or metric."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import adlib
from adlib import metrics
from adlib.data.tiles import Tiling
from adlib.engine import runs
from adlib.engine.export import export_onnx
from adlib.engine.predict import predict_each
from adlib.engine.train import read_roi
from adlib.methods import PatchCore, PatchCoreConfig
from adlib.metrics import StreamingScores, pixel_intervals, score_maps

Folder = Callable[..., Path]
BOX = np.s_[8:30, 5:37]  # of maps of 40 x 50


def config(**changes: Any) -> PatchCoreConfig:
    small = {"encoder": "vit-tiny", "weights": "random", "layers": (0, 1), "size": (48, 48),
             "memory": 60, "candidates": 4_000}  # fmt: skip
    return PatchCoreConfig(**(small | changes))


@pytest.fixture
def stack() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maps, masks with defects in, across and out of the box, and the box as a region."""
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(6, 40, 50)).astype(np.float32).round(1)  # with ties
    masks, roi = np.zeros((6, 40, 50), bool), np.zeros((40, 50), bool)
    masks[0, 10:14, 6:9] = masks[0, 26:36, 30:45] = masks[1, 0:12, 0:9] = True
    masks[2, 20, 20] = masks[3, 35:, 40:] = True
    maps[masks] += 1
    roi[BOX] = True
    return maps, masks, roi


@pytest.mark.parametrize("name", metrics.PROTOCOLS)
def test_pixel_metrics_in_a_box_are_those_of_the_stack_cut_to_it(name: str, stack: Any) -> None:
    maps, masks, roi = stack
    keys: dict[str, Any] = {"protocol": metrics.PROTOCOLS[name], "prepared": True}
    inside = np.s_[:, *BOX]
    expected = score_maps(maps[inside], masks[inside], **keys)
    assert score_maps(maps, masks, roi=roi, **keys) == pytest.approx(expected, abs=1e-12)
    changed = np.where(roi, maps, 9.0).astype(np.float32)
    assert score_maps(changed, masks, roi=roi, **keys) == pytest.approx(expected, abs=1e-12)
    assert score_maps(maps, masks, **keys) != pytest.approx(expected, abs=1e-3)


def test_streaming_and_intervals_leave_out_the_same_pixels(stack: Any) -> None:
    maps, masks, roi = stack
    inside = np.s_[:, *BOX]
    stream = StreamingScores(prepared=True, roi=roi).update(maps[:2], masks[:2])
    stream.update(maps[2:], masks[2:])
    assert stream.compute() == pytest.approx(score_maps(maps, masks, prepared=True, roi=roi))
    whole = pixel_intervals(maps, masks, prepared=True, roi=roi, resamples=50)
    cut = pixel_intervals(maps[inside], masks[inside], prepared=True, resamples=50)
    assert whole == cut


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_region_is_written_as_lengths_and_read_back(share: float) -> None:
    mask = np.random.default_rng(1).random((16, 24)) < share
    lengths = runs.to_lengths(mask)
    assert sum(lengths) == mask.size
    np.testing.assert_array_equal(runs.from_lengths(lengths, mask.shape), mask)


def test_what_lies_outside_counts_neither_in_scores_nor_in_thresholds(
    folder: Folder, tmp_path: Path
) -> None:
    data = adlib.load_data(folder(("bolt",)))
    roi = np.zeros((40, 50), bool)
    roi[:, :20] = True
    plain, method = PatchCore(config()), PatchCore(config())
    adlib.fit(plain, data, holdout=0.3)
    adlib.fit(method, data, holdout=0.3, roi=roi, out=tmp_path / "run")
    assert method.roi is not None
    np.testing.assert_array_equal(method.roi.any(axis=0), np.arange(256) < 256 * 20 / 50 - 0.5)
    image = data.test[0].image
    (before,), (after,) = (adlib.predict(m, image).maps for m in (plain, method))
    np.testing.assert_allclose(after[:, :18], before[:, :18], atol=1e-5)
    np.testing.assert_allclose(after[:, 22:], before.min(), atol=0.05)
    (_, _, heat, score), *_ = predict_each(method, image, enlarge=False)
    assert score == heat[method.roi].max()  # the score of PatchCore
    assert heat[~method.roi].max() == heat.min()
    assert method.calibration is not None
    assert plain.calibration is not None
    assert method.calibration.threshold() <= plain.calibration.threshold()
    again = adlib.load_run(tmp_path / "run").method
    np.testing.assert_array_equal(again.roi, method.roi)
    assert adlib.predict(again, image).scores == adlib.predict(method, image).scores
    by_roi = adlib.evaluate(method, data)["mean"]["pixel_auroc"]
    assert by_roi != adlib.evaluate(plain, data)["mean"]["pixel_auroc"]
    export_onnx(again, tmp_path / "model.onnx")  # compares with torch


def test_a_tile_outside_the_region_counts_for_nothing(folder: Folder) -> None:
    data = adlib.load_data(folder(("bolt",)))
    roi = np.zeros((40, 50), bool)
    roi[:, :20] = True  # tiles begin in columns 0, 15 and 30
    method = PatchCore(config(tile=20, overlap=5))
    adlib.fit(method, data, holdout=0.3, roi=roi)
    image = data.test[0].image.copy()
    loud = image.copy()
    loud[:, 36:] = np.random.default_rng(0).integers(0, 256, (40, 14, 3))
    scores = adlib.predict(method, [image, loud], precision="fp32").scores
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)  # a tile is encoded by itself
    heat = adlib.predict(method, loud).maps[0]
    assert heat[:, :20].max() > heat[:, 36:].max()


def test_a_mask_is_cut_as_the_photograph_is() -> None:
    tiling = Tiling(side=64, overlap=16)
    mask = np.random.default_rng(0).random((100, 150)) < 0.5
    same = tiling.parts(mask, 100, 150)
    photo = np.repeat(mask.astype(np.uint8)[:, :, None], 3, axis=2)
    for part, tile in zip(same, tiling.cut(photo), strict=True):
        np.testing.assert_array_equal(part, tile[:, :, 0] > 0)
    halved = tiling.parts(np.kron(mask, np.ones((2, 2), bool)), 100, 150)
    for part, small in zip(halved, same, strict=True):
        np.testing.assert_array_equal(part[::2, ::2], small)


def test_a_region_that_cannot_be_is_refused_by_the_file_s_name(
    folder: Folder, tmp_path: Path
) -> None:
    images = adlib.load_data(folder(("bolt",))).train  # of 50 x 40
    Image.new("L", (50, 40)).save(tmp_path / "black.png")
    Image.new("L", (40, 50), "white").save(tmp_path / "turned.png")
    Image.new("L", (25, 20), "white").save(tmp_path / "half.png")
    with pytest.raises(ValueError, match=r"black\.png.*white"):
        read_roi(tmp_path / "black.png", images)
    with pytest.raises(ValueError, match=r"turned\.png.*50 x 40.*40 x 50"):
        read_roi(tmp_path / "turned.png", images)
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        read_roi(tmp_path / "none.png", images)
    assert read_roi(tmp_path / "half.png", images).all()
