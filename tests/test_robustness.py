"""The order of methods under other conditions: who changed places, and whether that is sure."""

from pathlib import Path
from typing import Any

import pytest

from adlib.report.records import read_folder
from adlib.study.robustness import ALONE, SAME, changes_sentence, robustness, standings
from tests.made_records import folder_of, record

MVTEC: dict[str, Any] = {"protocol": {"name": "mvtec"}}


def runs(method: str, levels: tuple[float, ...], **changes: Any) -> list[dict[str, Any]]:
    """A record of each seed, whose image AUROC is the level in every category."""
    names = ("bolt",)
    return [
        record(method, seed, level, names=names, **changes) for seed, level in enumerate(levels)
    ]


def test_a_change_of_places_is_named_with_what_it_was(tmp_path: Path) -> None:
    made = runs("pro-ad", (0.70, 0.71, 0.72)) + runs("dinomaly", (0.60, 0.61, 0.62))
    made += runs("pro-ad", (0.70, 0.71, 0.72), **MVTEC)
    made += runs("dinomaly", (0.80, 0.81, 0.82), **MVTEC)
    made += runs("pro-ad", (0.66, 0.70), steps=400) + runs("dinomaly", (0.71, 0.66), steps=400)
    folder_of(tmp_path, *made[:12])
    folder_of(tmp_path, *made[12:], name="robustness")  # another source, the same data
    frame = robustness(read_folder(tmp_path).sections, "image_auroc")
    assert frame["protocol"].tolist() == ["ours", "mvtec", "ours"]
    assert frame["steps"].tolist() == [800, 800, 400]
    assert frame["seeds"].tolist() == ["3", "3", "2"]
    assert frame["order"].tolist()[:2] == [
        "pro-ad 71.0 > dinomaly 61.0", "dinomaly 81.0 > pro-ad 71.0",
    ]  # fmt: skip
    assert frame["changes"].tolist() == [
        "first",
        "dinomaly before pro-ad by 10.0, was behind by 10.0 (told apart)",
        "dinomaly before pro-ad by 0.5, was behind by 10.0",
    ]
    assert changes_sentence(frame) == (
        "Under 2 other conditions the order of the means is another one in 2; in 1 of these the "
        "seeds tell apart, under both conditions, methods that changed places: parts, protocol "
        "mvtec, vit-tiny, 800 steps (dinomaly 81.0 > pro-ad 71.0)."
    )
    assert changes_sentence(frame.head(1)).startswith("There is one condition")


def test_a_method_without_training_stands_at_every_number_of_steps(tmp_path: Path) -> None:
    made = runs("patchcore", (0.5, 0.5), steps=0)
    made += runs("dinomaly", (0.6, 0.6)) + runs("dinomaly", (0.4, 0.45), steps=1600)
    frame = robustness(read_folder(folder_of(tmp_path, *made)).sections, "image_auroc")
    assert frame["steps"].tolist() == [800, 1600]
    assert frame["order"].tolist() == [
        "dinomaly 60.0 > patchcore 50.0",
        "patchcore 50.0 > dinomaly 42.5",
    ]
    alone = read_folder(folder_of(tmp_path, *made[:2])).sections
    assert standings(alone, "image_auroc") == {}
    assert len(robustness(alone, "image_auroc")) == 0


def test_encoders_are_apart_and_other_training_data_is_left_out(tmp_path: Path) -> None:
    deep: dict[str, Any] = {"config": {"layers": [0, 1, 7]}}
    whole: dict[str, Any] = {"config": {"layers": None}}
    made = [r for m in ("pro-ad", "dinomaly", "inp-former") for r in runs(m, (0.6,), **whole)]
    made += runs("pro-ad", (0.7,), **deep) + runs("dinomaly", (0.6,), **deep)
    elsewhere = runs("pro-ad", (0.1,), few={"images": 5, "of": "x"}, **whole)
    elsewhere += runs("dinomaly", (0.9,), trained_on={"hash": "another"}, **whole)
    frame = robustness(read_folder(folder_of(tmp_path, *made, *elsewhere)).sections, "image_auroc")
    assert frame["encoder"].tolist() == ["vit-tiny", "vit-tiny, layers 0 to 7"]
    assert frame["changes"].tolist() == ["first", SAME]
    assert "90.0" not in " ".join(frame["order"])
    other = [r for r in made if (r["method"], r["config"]) != ("pro-ad", deep["config"])]
    other += runs("patchcore", (0.4,), **deep)
    frame = robustness(read_folder(folder_of(tmp_path, *other)).sections, "image_auroc")
    assert frame["changes"].tolist() == ["first", ALONE]  # dinomaly alone is in both
    twice = [{**r, "config": {"layers": [3, 3]}} for r in made[:2]]
    frame = robustness(read_folder(folder_of(tmp_path, *twice)).sections, "image_auroc")
    assert frame["encoder"].tolist() == ["vit-tiny, layer 3"]


@pytest.mark.parametrize(
    "other",
    [
        {"protocol": {"name": "ours", "crop": [8, 8]}},  # even under the same name
        {"encoder": {"name": "vit-tiny", "sha256": "cd" * 32}},
        {"data": {"name": "parts", "hash": "beef" * 12}},
    ],
)
def test_unlike_runs_are_in_conditions_of_their_own(tmp_path: Path, other: dict[str, Any]) -> None:
    made = runs("pro-ad", (0.7, 0.7)) + runs("dinomaly", (0.6, 0.6))
    made += [record(m, 2, 0.9, names=("bolt",), **other) for m in ("pro-ad", "dinomaly")]
    found = standings(read_folder(folder_of(tmp_path, *made)).sections, "image_auroc")
    assert [{n: sorted(seeds) for n, seeds in runs.items()} for runs in found.values()] == [
        {"pro-ad": [0, 1], "dinomaly": [0, 1]},
        {"pro-ad": [2], "dinomaly": [2]},
    ]
    assert next(iter(found.values()))["pro-ad"] == {0: 0.7, 1: 0.7}


def test_no_masks_are_no_standing(tmp_path: Path) -> None:
    made = [record(m, masks=False) for m in ("pro-ad", "dinomaly")]
    sections = read_folder(folder_of(tmp_path, *made)).sections
    assert len(robustness(sections, "aupro")) == 0
    assert len(robustness(sections, "image_auroc")) == 1
