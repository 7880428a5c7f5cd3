"""Few images and several data sets stand beside the training on all images of one, by seed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adlib.report.records import read_folder
from adlib.study.trainings import ALL, SEVERAL, leaders, trainings, trainings_figure
from tests.made_records import folder_of, record

METRICS = ("image_auroc", "aupro")
OF = {"of": "c0ffee" * 8}


def runs(method: str, levels: tuple[float, ...], **changes: Any) -> list[dict[str, Any]]:
    """A record of each seed; one category, so that its image AUROC is the level."""
    names = ("bolt",)
    return [record(method, seed, at, names=names, **changes) for seed, at in enumerate(levels)]


def read(tmp_path: Path, *records: dict[str, Any]) -> Any:
    return read_folder(folder_of(tmp_path, *records)).sections


def test_each_training_has_its_spread_and_its_paired_difference(tmp_path: Path) -> None:
    made = runs("dinomaly", (0.70, 0.72, 0.74))
    made += runs("dinomaly", (0.60, 0.63, 0.63), few={"images": 10, **OF})
    made += runs("dinomaly", (0.50, 0.52, 0.55), few={"images": 5, **OF})
    joined: dict[str, Any] = {"setting": "super-multi-class", "steps": 2400}
    made += runs("dinomaly", (0.70, 0.73, 0.73), **joined) + runs("pro-ad", (0.9, 0.9))
    shown = trainings(read(tmp_path, *made), METRICS)
    ways = ["5 normal images", "10 normal images", ALL, SEVERAL]
    assert list(shown.index) == [("parts", "dinomaly", way) for way in ways]  # no pro-ad: one way
    assert shown["image AUROC"].tolist() == ["52.3 ± 2.5", "62.0 ± 1.7", "72.0 ± 2.0", "72.0 ± 1.7"]
    gaps = shown["image AUROC, difference"].tolist()
    assert gaps[0] == "-19.7 (-21.1 to -18.2)"
    assert gaps[1] == "-10.0 (-12.5 to -7.5)"
    assert gaps[2:] == ["–", "+0.0 (-2.5 to +2.5)"]
    (alone,) = trainings(read(tmp_path, made[0], made[3]), METRICS)["AUPRO, difference"].tolist()[
        :1
    ]
    assert alone == "-10.0 (one seed)"
    assert set(shown["seeds"]) == {"3"}


@pytest.mark.parametrize(
    "other",
    [
        {"protocol": {"name": "mvtec"}},
        {"encoder": {"name": "vit-tiny", "sha256": "cd" * 32}},
        {"data": {"name": "parts", "hash": "beef" * 12}},
        {"protocol": {"name": "ours", "crop": [8, 8]}},
    ],
)
def test_other_images_and_protocols_are_never_compared(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    made = runs("dinomaly", (0.7, 0.7))
    made += runs("dinomaly", (0.5, 0.5), few={"images": 5, **OF}, **other)
    assert trainings(read(tmp_path, *made), METRICS).empty


def test_a_missing_mask_or_seed_is_a_dash(tmp_path: Path) -> None:
    made = runs("dinomaly", (0.7,), masks=False)
    made.append(record(seed=3, masks=False, names=("bolt",), few={"images": 5, **OF}))
    shown = trainings(read(tmp_path, *made), METRICS)
    assert set(shown["AUPRO"]) == set(shown["AUPRO, difference"]) == {"–"}
    assert set(shown["image AUROC, difference"]) == {"–"}  # no seed in common


def test_the_leader_of_each_training_is_named_with_the_next_ones_distance(tmp_path: Path) -> None:
    few: dict[str, Any] = {"few": {"images": 5, **OF}}
    made = runs("dinomaly", (0.70, 0.72, 0.74)) + runs("pro-ad", (0.80, 0.83, 0.83))
    made += runs("dinomaly", (0.60, 0.62, 0.64), **few) + runs("pro-ad", (0.50, 0.53, 0.53), **few)
    made += runs("patchcore", (0.99, 0.99, 0.99))  # in one way only
    shown = leaders(read(tmp_path, *made), ["image_auroc"])
    assert list(shown.index) == [("parts", "5 normal images"), ("parts", ALL)]
    assert shown["image AUROC"].tolist() == ["dinomaly, 62.0 ± 2.0", "pro-ad, 82.0 ± 1.7"]
    assert shown["image AUROC, next"].tolist() == [
        "pro-ad, -10.0 (-12.5 to -7.5)",
        "dinomaly, -10.0 (-12.5 to -7.5)",
    ]
    alone = leaders(read(tmp_path, *made[:3], *made[6:9]), ["image_auroc"])
    assert set(alone["image AUROC"]) == set(alone["image AUROC, next"]) == {"–"}  # no rival


def test_the_figure_has_every_seed_and_their_mean(tmp_path: Path) -> None:
    few: dict[str, Any] = {"few": {"images": 5, **OF}}
    made = runs("dinomaly", (0.70, 0.72, 0.74)) + runs("pro-ad", (0.80, 0.83, 0.83))
    made += runs("dinomaly", (0.60, 0.62, 0.64), masks=False, **few)
    made += runs("pro-ad", (0.9, 0.9), setting="super-multi-class", steps=2400)
    figure = trainings_figure(read(tmp_path, *made), METRICS)
    left = figure.axes[0]
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["5", "all", SEVERAL]
    lines = {line.get_label(): line for line in left.lines}
    drawn = {name: np.asarray(lines[name].get_ydata()) for name in ("dinomaly", "pro-ad")}
    assert drawn["dinomaly"] == pytest.approx([62, 72])
    assert drawn["pro-ad"] == pytest.approx([82, 90])
    assert np.round(np.asarray(lines["pro-ad"].get_xdata())).tolist() == [1, 2]  # none at 5
    dots = [line for line in left.lines if str(line.get_label()).startswith("_")]
    assert sorted(len(np.asarray(line.get_ydata())) for line in dots) == [2, 3, 3, 3]
    right = [line for line in figure.axes[1].lines if line.get_label() == "dinomaly"]
    assert len(np.asarray(right[0].get_ydata())) == 1  # the few have no masks
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dinomaly", "pro-ad"]


def test_the_figure_needs_two_trainings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no method was trained in two ways on one data set"):
        trainings_figure(read(tmp_path, *runs("dinomaly", (0.7, 0.7))), METRICS)
