"""On real photographs, with real weights: the whole way works, and finds real defects.

The floors are far below what a full run reaches; they catch a broken part, not a point lost.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import adlib
from adlib.data.dataset import DataSplits, ImageDataset
from adlib.engine import scoring
from adlib.nn.weights import PRESETS, packaged_path

DINO = PRESETS["dinov2-s-packaged"].packaged
assert DINO is not None
pytestmark = [
    pytest.mark.skipif(
        packaged_path(DINO) is None, reason=f"package not installed: {DINO.install}"
    ),
    pytest.mark.timeout(400),
]


def few(images: ImageDataset, normal: int, anomalous: int) -> ImageDataset:
    """The first images of each category and class."""
    kind = np.array([r.category for r in images.references])
    chosen: list[int] = []
    for category in images.categories:
        for bad, n in ((False, normal), (True, anomalous)):
            chosen += np.flatnonzero((kind == category) & (images.labels == bad))[:n].tolist()
    return images.select(chosen)


def test_solar_cells_are_told_apart_after_a_minute_of_training() -> None:
    solar = adlib.load_data("solar", limit=40)
    run = adlib.fit(adlib.ProAD(adlib.ProADConfig(offline=True)), solar, steps=40)
    record = adlib.evaluate(run.method, solar)
    assert record["mean"]["image_auroc"] > 0.75
    assert record["mean"]["pixel_auroc"] is None  # there are no masks
    assert record["encoder"]["name"] == "dinov2-s-packaged"


@pytest.mark.skipif("ADLIB_DATA" not in os.environ, reason="ADLIB_DATA names no folder")
def test_a_folder_of_four_categories_gives_seven_metrics_for_each() -> None:
    whole = adlib.load_data(Path(os.environ["ADLIB_DATA"]))
    data = DataSplits(whole.name, few(whole.train, 20, 0), few(whole.test, 10, 10))
    run = adlib.fit(adlib.ProAD(adlib.ProADConfig(offline=True)), data, steps=60)
    record = adlib.evaluate(run.method, data)
    assert tuple(record["categories"]) == whole.categories
    for row in record["categories"].values():
        assert all(isinstance(row[name], float) for name in scoring.METRICS)
    assert record["mean"]["pixel_auroc"] > 0.75
    assert replace(data, name="x").hash == data.hash
