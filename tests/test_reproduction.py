"""Runs beside the published numbers: judged where both are the same kind of mean."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adlib.methods import METHODS
from adlib.metrics import PROTOCOLS
from adlib.report.figures import forests
from adlib.report.published import MEAN, published
from adlib.report.records import read_folder
from adlib.report.reproduction import (
    OURS,
    beside,
    claims,
    claims_table,
    data_name,
    join_categories,
    reproduction,
    setting_of,
)
from tests.made_records import folder_of, record, section_of

MVTEC = [
    row.category
    for row in published(data="mvtec-ad", method="PRN", metric="pixel_auroc", run="paper")
    if row.category != MEAN
]


def mvtec(method: str, change: float = 0.0, **changes: Any) -> dict[str, Any]:
    """A record on MVTec AD, as far as its published mean as is asked for."""
    made = record(method, names=MVTEC, **changes)
    made["data"] = {"name": "mvtec-ad", "hash": "aa" * 32}
    for row in claims("mvtec-ad", method, setting_of(made)):
        made["mean"][row.metric] = min((row.per_cent + change) / 100, 1.0)
    return made


DINOMALY: dict[str, Any] = {
    "protocol": {"name": "dinomaly"},
    "encoder": {"name": "dinov2-b", "sha256": "00"},
}


@pytest.mark.parametrize(
    ("change", "state"), [(0.05, "within"), (-0.09, "within"), (-0.8, "below"), (0.8, "above")]
)
def test_a_rerun_is_judged_by_the_drift_of_others(
    tmp_path: Path, change: float, state: str
) -> None:
    section = section_of(tmp_path, mvtec("dinomaly", change, **DINOMALY))
    frame = reproduction([section])
    ran = frame[(frame["method"] == "Dinomaly") & (frame["setting"] == "multi-class")]
    assert len(ran) == 7
    assert set(ran["state"]) == {state}
    assert set(ran["but"]) == {""}
    assert all("reruns, the farthest by" in str(why) for why in ran["tolerance_from"])
    assert set(frame[frame["method"] == "INP-Former"]["state"]) == {"not run"}


@pytest.mark.parametrize(
    ("changes", "but"),
    [
        ({"protocol": {"name": "ours"}}, "protocol dinomaly there, ours here"),
        (
            {"protocol": PROTOCOLS["dinomaly"].to_json() | {"mask_rule": "all", "size": [9, 9]}},
            "protocol dinomaly with another mask_rule, size here",
        ),
        ({"names": ("bolt", "nut")}, "2 of 15 categories"),
        ({"masks": False}, "no masks"),
    ],
)
def test_what_cannot_be_compared_is_not_judged(
    tmp_path: Path, changes: dict[str, Any], but: str
) -> None:
    names: Any = changes.pop("names", MVTEC)
    made = record("dinomaly", names=names, **({**DINOMALY, **changes}))
    made["data"] = {"name": "mvtec_anomaly_detection", "hash": "bb"}
    frame = reproduction([section_of(tmp_path, made)])
    row = frame[(frame["method"] == "Dinomaly") & (frame["metric"] == "aupro")].iloc[0]
    assert (row["state"], row["but"]) == ("not judged", but)
    shown = claims_table(frame)
    ours = shown[shown["made with"] != ""].iloc[0]
    assert str(ours["AUPRO"]).endswith("there: not judged")
    assert but in str(ours["but"])


def test_doubts_are_named(tmp_path: Path) -> None:
    made = [mvtec("pro-ad"), mvtec("prn", arm={"method": "prn", "name": "PRN"})]
    frame = reproduction([section_of(tmp_path, *made)])
    found = frame[frame["seeds"] > 0].groupby("method").first()
    assert found.loc["Pro-AD", "but"] == (
        "protocol there unknown; encoder dinov2-b there, vit-tiny here"
    )
    assert found.loc["PRN", ["state", "but"]].tolist() == [
        "not judged",
        "no rerun to judge by; protocol there unknown",
    ]


def test_a_model_for_each_category_counts_as_one_run_of_them_all(tmp_path: Path) -> None:
    one_each = [
        record("prn", seed=seed, names=(name,), level=0.5 + 0.01 * i + 0.1 * seed)
        | {"data": {"name": "mvtec-ad", "hash": f"{i:02}"}}
        for seed in (0, 1)
        for i, name in enumerate(MVTEC)
        if (seed, name) != (1, MVTEC[3])  # of seed 1 one category is missing
    ]
    sections = read_folder(folder_of(tmp_path, *one_each)).sections
    assert len(sections) == len(MVTEC)
    found = reproduction(sections)
    row = found.query("method == 'PRN' and metric == 'image_auroc'").iloc[0]
    assert row["seeds"] == 1
    assert row["ours"] == pytest.approx(100 * np.mean([0.5 + 0.01 * i for i in range(15)]))
    assert row["but"] == "no rerun to judge by; protocol there unknown"
    few = [made for made in one_each if made["data"]["hash"] in ("00", "01") and not made["seed"]]
    found = reproduction(read_folder(folder_of(tmp_path, *few)).sections)
    assert set(found.query("method == 'PRN' and seeds > 0")["but"]) == {"2 of 15 categories"}
    twice = [*few, few[0] | {"data": {"name": "mvtec-ad", "hash": "99"}}]  # other images of it
    apart = read_folder(folder_of(tmp_path, *twice)).sections
    assert join_categories(apart) == apart


def test_our_methods_and_data_sets_are_known_by_name() -> None:
    assert set(METHODS) <= set(OURS)
    assert [data_name(n) for n in ("MVTec", "mvtec_ad", "VisA", "Real-IAD", "parts")] == [
        "mvtec-ad", "mvtec-ad", "visa", "real-iad", None,
    ]  # fmt: skip
    everything = reproduction([], everywhere=True)
    assert set(everything["state"]) == {"not run"}
    assert set(everything["data"]) == {"mvtec-ad", "visa", "real-iad", "btad"}
    assert reproduction([]).empty


def test_published_rows_stand_below_ours(tmp_path: Path) -> None:
    section = section_of(tmp_path, mvtec("dinomaly", **DINOMALY))
    theirs = beside(section)
    assert theirs is not None
    assert theirs.loc["MambaAD", ["image AUROC", "mark"]].tolist() == ["98.6", "second-hand"]
    assert theirs.loc["Pro-AD", ["pixel AUROC", "AUPRO"]].tolist() == ["98.8", "–"]
    assert "PRN" not in theirs.index  # supervised; nothing here was
    assert beside(section_of(tmp_path, record())) is None


def test_the_forest_shows_seeds_means_intervals_and_claims(tmp_path: Path) -> None:
    made = [mvtec("dinomaly", change, seed=s, **DINOMALY) for s, change in ((0, -1.0), (1, -2.0))]
    section = section_of(tmp_path, *made)
    figure = forests([section], ("image_auroc", "aupro"), [{}])
    panels = figure.axes
    assert [a.get_xlabel() for a in panels] == ["image AUROC, %", "AUPRO, %"]
    marks = {str(line.get_label()): line.get_xdata() for line in panels[0].lines}
    assert marks["a seed"] == pytest.approx([98.6, 97.6])
    assert marks["mean over seeds"] == pytest.approx([98.1])
    assert marks["published"] == pytest.approx([99.6])
    assert "95 % over test images" not in marks
