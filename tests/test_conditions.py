"""The order of methods elsewhere, and what more or fewer training images change, seed by seed."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

from adlib.report.records import read_folder
from adlib.study.conditions import (
    ALL,
    SEVERAL,
    differences,
    leaders,
    orders,
    trainings_figure,
)  # fmt: skip
from tests.made_records import folder_of, record

METRICS = ("image_auroc", "aupro")
MVTEC: dict[str, Any] = {"protocol": {"name": "mvtec"}}
FEW: dict[str, Any] = {"few": {"images": 5, "of": "c0ffee" * 8}}
JOINED: dict[str, Any] = {"setting": "super-multi-class", "steps": 2400}
UNLIKE: list[dict[str, Any]] = [
    {"protocol": {"name": "ours", "crop": [8, 8]}},  # even under the same name
    {"encoder": {"name": "vit-tiny", "sha256": "cd" * 32}},
    {"data": {"name": "parts", "hash": "beef" * 12}},
]


def runs(method: str, *levels: float, **changes: Any) -> list[dict[str, Any]]:
    """A record of each seed; of one category, so that its image AUROC is the level."""
    return [record(method, seed, at, names=("bolt",), **changes) for seed, at in enumerate(levels)]


def read(tmp_path: Path, *records: dict[str, Any]) -> Any:
    return read_folder(folder_of(tmp_path, *records)).sections


def test_each_condition_has_its_order(tmp_path: Path) -> None:
    made = runs("pro-ad", 0.70, 0.71, 0.72) + runs("dinomaly", 0.60, 0.61, 0.62)
    fewer = runs("pro-ad", 0.66, 0.70, steps=400) + runs("dinomaly", 0.71, 0.66, steps=400)
    folder_of(tmp_path, *made, *fewer)
    folder_of(tmp_path, *made, name="robustness")  # another source; a run again counts once
    frame = orders(read_folder(tmp_path).sections, "image_auroc")
    assert sorted(frame[["data", "steps", "order"]].to_numpy().tolist()) == [
        ["parts", 400, "dinomaly 68.5 > pro-ad 68.0"],
        ["parts", 800, "pro-ad 71.0 > dinomaly 61.0"],
    ]


def test_a_method_without_training_stands_at_every_number_of_steps(tmp_path: Path) -> None:
    made = runs("patchcore", 0.5, 0.5, steps=0)
    made += runs("dinomaly", 0.6, 0.6) + runs("dinomaly", 0.4, 0.45, steps=1600)
    frame = orders(read(tmp_path, *made), "image_auroc")
    assert frame[["steps", "order"]].to_numpy().tolist() == [
        [800, "dinomaly 60.0 > patchcore 50.0"], [1600, "patchcore 50.0 > dinomaly 42.5"],
    ]  # fmt: skip
    assert orders(read(tmp_path, *made[:2]), "image_auroc").empty
    still = made[:2] + runs("padim", 0.4, steps=0)
    assert orders(read(tmp_path, *still), "image_auroc")["steps"].tolist() == [0]


def test_encoders_are_apart_and_other_training_data_is_left_out(tmp_path: Path) -> None:
    deep: dict[str, Any] = {"config": {"layers": [0, 1, 7]}}
    whole: dict[str, Any] = {"config": {"layers": None}}
    made = [r for m in ("pro-ad", "dinomaly", "inp-former") for r in runs(m, 0.6, **whole)]
    made += runs("pro-ad", 0.7, **deep) + runs("dinomaly", 0.6, **deep)
    elsewhere = runs("pro-ad", 0.1, **FEW, **whole)
    elsewhere += runs("dinomaly", 0.9, trained_on={"hash": "another"}, **whole)
    frame = orders(read(tmp_path, *made, *elsewhere), "image_auroc")
    orders_by = dict(zip(frame["encoder"], frame["order"], strict=True))
    assert set(orders_by) == {"vit-tiny", "vit-tiny, layers 0 to 7"}
    assert orders_by["vit-tiny, layers 0 to 7"] == "pro-ad 70.0 > dinomaly 60.0"
    assert "90.0" not in " ".join(frame["order"])
    twice = [{**r, "config": {"layers": [3, 3]}} for r in made[:2]]
    assert orders(read(tmp_path, *twice), "image_auroc")["encoder"].tolist() == [
        "vit-tiny, layer 3"
    ]


@pytest.mark.parametrize("other", UNLIKE)
def test_unlike_runs_are_in_conditions_of_their_own(tmp_path: Path, other: dict[str, Any]) -> None:
    made = runs("pro-ad", 0.7, 0.7) + runs("dinomaly", 0.6, 0.6)
    made += [record(m, 2, 0.9, names=("bolt",), **other) for m in ("pro-ad", "dinomaly")]
    frame = orders(read(tmp_path, *made), "image_auroc")
    assert len(frame) == 2
    assert frame["order"].tolist()[0] == "pro-ad 70.0 > dinomaly 60.0"


def test_no_masks_are_no_standing(tmp_path: Path) -> None:
    sections = read(tmp_path, *(record(m, masks=False) for m in ("pro-ad", "dinomaly")))
    assert [len(orders(sections, metric)) for metric in ("aupro", "image_auroc")] == [0, 1]


def test_each_training_has_its_paired_difference(tmp_path: Path) -> None:
    made = runs("dinomaly", 0.70, 0.72, 0.74)
    made += runs("dinomaly", 0.60, 0.63, 0.63, few={**FEW["few"], "images": 10})
    made += runs("dinomaly", 0.50, 0.52, 0.55, **FEW)
    made += runs("dinomaly", 0.70, 0.73, 0.73, **JOINED) + runs("pro-ad", 0.9, 0.9)
    shown = differences(read(tmp_path, *made), METRICS)
    assert shown["image AUROC, difference"].to_dict() == {
        ("parts", "dinomaly", "5 normal images"): "-19.7 (-21.1 to -18.2)",
        ("parts", "dinomaly", "10 normal images"): "-10.0 (-12.5 to -7.5)",
        ("parts", "dinomaly", SEVERAL): "+0.0 (-2.5 to +2.5)",
    }  # no pro-ad: one way
    alone = differences(read(tmp_path, made[0], made[3]), METRICS)
    assert alone["AUPRO, difference"].tolist() == ["-10.0 (one seed)"]


@pytest.mark.parametrize("other", [MVTEC, *UNLIKE])
def test_trainings_on_other_images_or_protocols_are_never_compared(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    made = runs("dinomaly", 0.7, 0.7) + runs("dinomaly", 0.5, 0.5, **FEW, **other)
    sections = read(tmp_path, *made)
    compared: Any = ((differences, METRICS), (trainings_figure, METRICS), (leaders, "aupro"))
    for compare, asked in compared:
        with pytest.raises(ValueError, match="no method was trained in two ways on one data set"):
            compare(sections, asked)


def test_a_missing_mask_or_seed_is_a_dash(tmp_path: Path) -> None:
    made = [*runs("dinomaly", 0.7, masks=False)]
    made.append(record(seed=3, masks=False, names=("bolt",), **FEW))
    shown = differences(read(tmp_path, *made), METRICS)
    assert set(shown.to_numpy().ravel()) == {"–"}  # no common seed


def test_the_leader_of_each_training_is_named_with_the_next_ones_distance(tmp_path: Path) -> None:
    made = runs("dinomaly", 0.70, 0.72, 0.74) + runs("pro-ad", 0.80, 0.83, 0.83)
    made += runs("dinomaly", 0.60, 0.62, 0.64, **FEW) + runs("pro-ad", 0.50, 0.53, 0.53, **FEW)
    made += runs("patchcore", 0.99, 0.99, 0.99)  # in one way only
    shown = leaders(read(tmp_path, *made), "image_auroc")
    assert list(shown.index) == [("parts", "5 normal images"), ("parts", ALL)]
    assert shown["image AUROC"].tolist() == ["dinomaly, 62.0 ± 2.0", "pro-ad, 82.0 ± 1.7"]
    assert shown["image AUROC, next"].tolist() == [
        "pro-ad, -10.0 (-12.5 to -7.5)", "dinomaly, -10.0 (-12.5 to -7.5)",
    ]  # fmt: skip
    assert leaders(read(tmp_path, *made[:3], *made[6:9]), "image_auroc").empty  # no rival


def test_the_figure_has_every_seed_and_their_mean(tmp_path: Path) -> None:
    made = runs("dinomaly", 0.70, 0.72, 0.74) + runs("pro-ad", 0.80, 0.83, 0.83)
    made += runs("dinomaly", 0.60, 0.62, 0.64, masks=False, **FEW)
    made += runs("pro-ad", 0.9, 0.9, few={**FEW["few"], "images": 10})
    figure = trainings_figure(read(tmp_path, *made), METRICS)
    left, right = figure.axes
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["5", "10", "all"]
    means = [np.asarray(line.get_xydata()) for line in left.lines if np.size(line.get_xydata())]
    dinomaly, pro_ad = (x for x in means)
    assert dinomaly[:, 1] == pytest.approx([62, 72])
    assert pro_ad[:, 1] == pytest.approx([90, 82])
    assert np.round(pro_ad[:, 0]).tolist() == [1, 2]  # none at 5
    dots = np.concatenate([np.asarray(c.get_offsets()) for c in left.collections])
    assert sorted(np.round(dots[:, 1])) == [60, 62, 64, 70, 72, 74, 80, 83, 83, 90, 90]
    assert len(np.asarray(right.lines[0].get_xydata())) == 1  # the few have no masks
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dinomaly", "pro-ad"]
    plt.close(figure)
