"""The order of methods elsewhere, and what more or fewer training images change, seed by seed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adlib.report.records import read_folder
from adlib.study.conditions import (
    ALL,
    SAME,
    SEVERAL,
    leaders,
    robustness,
    trainings,
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


def test_a_change_of_places_is_named_with_what_it_was(tmp_path: Path) -> None:
    made = runs("pro-ad", 0.70, 0.71, 0.72) + runs("dinomaly", 0.60, 0.61, 0.62)
    made += runs("pro-ad", 0.70, 0.71, 0.72, **MVTEC) + runs("dinomaly", 0.80, 0.81, 0.82, **MVTEC)
    folder_of(tmp_path, *made)
    less = runs("pro-ad", 0.66, 0.70, steps=400) + runs("dinomaly", 0.71, 0.66, steps=400)
    folder_of(tmp_path, *less, *made[:6], name="robustness")  # another source; some runs again
    frame = robustness(read_folder(tmp_path).sections, "image_auroc")
    assert frame[["protocol", "steps", "seeds"]].to_numpy().tolist() == [
        ["ours", 800, "3"], ["mvtec", 800, "3"], ["ours", 400, "2"],
    ]  # fmt: skip
    assert frame["order"].tolist()[:2] == [
        "pro-ad 71.0 > dinomaly 61.0", "dinomaly 81.0 > pro-ad 71.0",
    ]  # fmt: skip
    assert frame["changes"].tolist() == [
        "first",
        "dinomaly before pro-ad by 10.0, was behind by 10.0 (told apart)",
        "dinomaly before pro-ad by 0.5, was behind by 10.0",
    ]


def test_a_method_without_training_stands_at_every_number_of_steps(tmp_path: Path) -> None:
    made = runs("patchcore", 0.5, 0.5, steps=0)
    made += runs("dinomaly", 0.6, 0.6) + runs("dinomaly", 0.4, 0.45, steps=1600)
    frame = robustness(read(tmp_path, *made), "image_auroc")
    assert frame[["steps", "order"]].to_numpy().tolist() == [
        [800, "dinomaly 60.0 > patchcore 50.0"], [1600, "patchcore 50.0 > dinomaly 42.5"],
    ]  # fmt: skip
    assert robustness(read(tmp_path, *made[:2]), "image_auroc").empty
    still = made[:2] + runs("padim", 0.4, steps=0)
    assert robustness(read(tmp_path, *still), "image_auroc")["steps"].tolist() == ["–"]


def test_encoders_are_apart_and_other_training_data_is_left_out(tmp_path: Path) -> None:
    deep: dict[str, Any] = {"config": {"layers": [0, 1, 7]}}
    whole: dict[str, Any] = {"config": {"layers": None}}
    made = [r for m in ("pro-ad", "dinomaly", "inp-former") for r in runs(m, 0.6, **whole)]
    made += runs("pro-ad", 0.7, **deep) + runs("dinomaly", 0.6, **deep)
    elsewhere = runs("pro-ad", 0.1, **FEW, **whole)
    elsewhere += runs("dinomaly", 0.9, trained_on={"hash": "another"}, **whole)
    frame = robustness(read(tmp_path, *made, *elsewhere), "image_auroc")
    assert frame["encoder"].tolist() == ["vit-tiny", "vit-tiny, layers 0 to 7"]
    assert frame["changes"].tolist() == ["first", SAME]
    assert "90.0" not in " ".join(frame["order"])
    other = [r for r in made if (r["method"], r["config"]) != ("pro-ad", deep["config"])]
    other += runs("patchcore", 0.4, **deep)
    frame = robustness(read(tmp_path, *other), "image_auroc")
    assert frame["changes"].tolist() == ["first", "–"]  # dinomaly alone is in both
    twice = [{**r, "config": {"layers": [3, 3]}} for r in made[:2]]
    assert robustness(read(tmp_path, *twice), "image_auroc")["encoder"].tolist() == [
        "vit-tiny, layer 3"
    ]


@pytest.mark.parametrize("other", UNLIKE)
def test_unlike_runs_are_in_conditions_of_their_own(tmp_path: Path, other: dict[str, Any]) -> None:
    made = runs("pro-ad", 0.7, 0.7) + runs("dinomaly", 0.6, 0.6)
    made += [record(m, 2, 0.9, names=("bolt",), **other) for m in ("pro-ad", "dinomaly")]
    frame = robustness(read(tmp_path, *made), "image_auroc")
    assert frame["seeds"].tolist() == ["2", "1"]
    assert frame["order"].tolist()[0] == "pro-ad 70.0 > dinomaly 60.0"


def test_no_masks_are_no_standing(tmp_path: Path) -> None:
    sections = read(tmp_path, *(record(m, masks=False) for m in ("pro-ad", "dinomaly")))
    assert [len(robustness(sections, metric)) for metric in ("aupro", "image_auroc")] == [0, 1]


def test_each_training_has_its_spread_and_its_paired_difference(tmp_path: Path) -> None:
    made = runs("dinomaly", 0.70, 0.72, 0.74)
    made += runs("dinomaly", 0.60, 0.63, 0.63, few={**FEW["few"], "images": 10})
    made += runs("dinomaly", 0.50, 0.52, 0.55, **FEW)
    made += runs("dinomaly", 0.70, 0.73, 0.73, **JOINED) + runs("pro-ad", 0.9, 0.9)
    shown = trainings(read(tmp_path, *made), METRICS)
    ways = ["5 normal images", "10 normal images", ALL, SEVERAL]
    assert list(shown.index) == [("parts", "dinomaly", way) for way in ways]  # no pro-ad: one way
    assert shown["image AUROC"].tolist() == ["52.3 ± 2.5", "62.0 ± 1.7", "72.0 ± 2.0", "72.0 ± 1.7"]
    assert shown["image AUROC, difference"].tolist() == [
        "-19.7 (-21.1 to -18.2)", "-10.0 (-12.5 to -7.5)", "–", "+0.0 (-2.5 to +2.5)",
    ]  # fmt: skip
    alone = trainings(read(tmp_path, made[0], made[3]), METRICS)
    assert alone["AUPRO, difference"].iloc[0] == "-10.0 (one seed)"
    assert set(shown["seeds"]) == {"3"}


@pytest.mark.parametrize("other", [MVTEC, *UNLIKE])
def test_trainings_on_other_images_or_protocols_are_never_compared(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    made = runs("dinomaly", 0.7, 0.7) + runs("dinomaly", 0.5, 0.5, **FEW, **other)
    sections = read(tmp_path, *made)
    assert trainings(sections, METRICS).empty
    with pytest.raises(ValueError, match="no method was trained in two ways on one data set"):
        trainings_figure(sections, METRICS)


def test_a_missing_mask_or_seed_is_a_dash(tmp_path: Path) -> None:
    made = [*runs("dinomaly", 0.7, masks=False)]
    made.append(record(seed=3, masks=False, names=("bolt",), **FEW))
    shown = trainings(read(tmp_path, *made), METRICS)
    for column in ("AUPRO", "AUPRO, difference", "image AUROC, difference"):  # no common seed
        assert set(shown[column]) == {"–"}


def test_the_leader_of_each_training_is_named_with_the_next_ones_distance(tmp_path: Path) -> None:
    made = runs("dinomaly", 0.70, 0.72, 0.74) + runs("pro-ad", 0.80, 0.83, 0.83)
    made += runs("dinomaly", 0.60, 0.62, 0.64, **FEW) + runs("pro-ad", 0.50, 0.53, 0.53, **FEW)
    made += runs("patchcore", 0.99, 0.99, 0.99)  # in one way only
    shown = leaders(read(tmp_path, *made), ["image_auroc"])
    assert list(shown.index) == [("parts", "5 normal images"), ("parts", ALL)]
    assert shown["image AUROC"].tolist() == ["dinomaly, 62.0 ± 2.0", "pro-ad, 82.0 ± 1.7"]
    assert shown["image AUROC, next"].tolist() == [
        "pro-ad, -10.0 (-12.5 to -7.5)", "dinomaly, -10.0 (-12.5 to -7.5)",
    ]  # fmt: skip
    alone = leaders(read(tmp_path, *made[:3], *made[6:9]), ["image_auroc"])
    assert set(alone["image AUROC"]) == set(alone["image AUROC, next"]) == {"–"}  # no rival


def test_the_figure_has_every_seed_and_their_mean(tmp_path: Path) -> None:
    made = runs("dinomaly", 0.70, 0.72, 0.74) + runs("pro-ad", 0.80, 0.83, 0.83)
    made += runs("dinomaly", 0.60, 0.62, 0.64, masks=False, **FEW)
    made += runs("pro-ad", 0.9, 0.9, **JOINED)
    figure = trainings_figure(read(tmp_path, *made), METRICS)
    left, right = ({str(line.get_label()): line for line in a.lines} for a in figure.axes)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["5", "all", SEVERAL]
    assert np.asarray(left["dinomaly"].get_ydata()) == pytest.approx([62, 72])
    assert np.asarray(left["pro-ad"].get_ydata()) == pytest.approx([82, 90])
    assert np.round(np.asarray(left["pro-ad"].get_xdata())).tolist() == [1, 2]  # none at 5
    dots = [line for label, line in left.items() if label.startswith("_")]
    assert sorted(len(np.asarray(line.get_ydata())) for line in dots) == [5, 6]  # every seed
    assert len(np.asarray(right["dinomaly"].get_ydata())) == 1  # the few have no masks
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dinomaly", "pro-ad"]
