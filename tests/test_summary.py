"""Records become tables and sentences, and unlike runs are kept apart."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ttest_rel

from adlib.engine import runs
from adlib.report.records import Row
from adlib.study import summary as report
from tests.made_records import record as made_record

PROTOCOL = {"name": "ours"}


def row(arm: dict[str, Any], seed: int = 0, **changes: Any) -> Row:
    """A line of a sweep with made numbers."""
    record = {
        "method": arm["method"],
        "arm": arm,
        "config": {"constraint": arm.get("constraint", "anchor"), "prototypes": None},
        "data": {"name": "parts", "hash": "a1"},
        "protocol": PROTOCOL,
        "mean": {"image_auroc": 0.75 + seed / 100, "pixel_ap": None},
        "mechanism": {"mean": {"d_normal": 0.1, "ratio": 2.0}},
        "cost": {"parameters": 7},
        "steps": 800,
        "seed": seed,
        "seconds": 60.5,
        "commit": "0123456789",
    } | changes
    return {"id": f"point_{seed}", "files": {"record.json": record}}


NONE = {"method": "pro-ad", "constraint": "none"}


def test_a_run_is_a_row() -> None:
    frame = report.runs_table([row(NONE), row({"name": "A0", "method": "dinomaly"}, 1)])
    assert frame["arm"].tolist() == ["none", "A0"]
    assert frame["image_auroc"].tolist() == [0.75, 0.76]
    assert frame["ratio"].tolist() == [2.0, 2.0]
    assert frame["parameters"].tolist() == [7, 7]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("protocol", {"name": "mvtec"}),
        ("data", {"name": "parts", "hash": "b2"}),
        ("precision", "bfloat16"),
    ],
)
def test_unlike_runs_are_never_averaged(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"point_1 has another {key} than the first"):
        report.runs_table([row(NONE), row(NONE, 1, **{key: value})])
    if key != "data":  # of which each draw of seen defects leaves another
        with pytest.raises(ValueError, match=f"point_1 has another {key} than the first"):
            report.runs_table([supervised("PRN"), supervised("base", 1, **{key: value})])


def test_a_plain_record_of_evaluate_is_a_row_and_none_is_named() -> None:
    frame = report.runs_table([{"id": "a", "files": {"record.json": made_record("prn", seed=3)}}])
    assert frame[["arm", "seed", "prototypes", "ratio"]].values.tolist() == [["prn", 3, None, None]]
    assert report.runs_table([]).empty
    with pytest.raises(ValueError, match="point_9 left no record"):
        report.runs_table([{"id": "point_9", "files": {}}])


def supervised(arm: str, seed: int = 0, **changes: Any) -> Row:
    record = {"category": "nut", "seen": 10, "test": {"digest": f"d{seed}"}} | changes
    return row({"name": arm, "method": "prn"}, seed, **record)


def test_a_supervised_run_is_a_row_with_its_category_and_number_of_seen() -> None:
    frame = report.runs_table([supervised("PRN"), supervised("base", 1, seen=5)])
    assert frame["arm"].tolist() == ["PRN", "base"]
    assert frame["category"].tolist() == ["nut", "nut"]
    assert frame["seen"].tolist() == [10, 5]
    assert frame["image_auroc"].tolist() == [0.75, 0.76]


def test_supervised_runs_are_compared_on_the_same_test_images_only() -> None:
    report.runs_table([supervised("PRN"), supervised("PRN", 1)])  # another seed
    other = supervised("base", test={"digest": "x"})
    with pytest.raises(ValueError, match="has another test of parts nut, seed 0 than the first"):
        report.runs_table([supervised("PRN"), other])


def test_one_seed_may_be_tested_on_a_category_of_each_of_two_data_sets() -> None:
    other: dict[str, Any] = {"data": {"name": "glass", "hash": "b2"}, "test": {"digest": "x"}}
    frame = report.runs_table(
        [supervised("PRN", category=""), supervised("PRN", category="", **other)]
    )
    assert frame["data"].tolist() == ["parts", "glass"]
    with pytest.raises(ValueError, match="has another test of parts , seed 0 than the first"):
        report.runs_table(
            [supervised("PRN", category=""), supervised("b", category="", test={"digest": "x"})]
        )


def test_spread_is_mean_and_deviation_over_seeds() -> None:
    frame = report.runs_table([row(NONE, seed) for seed in (0, 1, 2)])
    shown = report.spread(frame, ["arm"], ["image_auroc", "pixel_ap", "ratio", "seconds"])
    assert shown.loc["none"].tolist() == [3, "76.0 ± 1.0", "–", "2.000 ± 0.000", "60 ± 0"]
    assert shown.columns.tolist() == ["runs", "image AUROC", "pixel AP", "ratio", "seconds"]
    alone = report.spread(frame.head(1), ["arm"], ["image_auroc"])
    assert alone.loc["none", "image AUROC"] == "75.0"


def test_a_difference_is_the_paired_t_interval() -> None:
    one = pd.DataFrame({"seed": [0, 1, 2, 3], "x": [0.5, 0.9, 0.4, 0.7]})
    other = pd.DataFrame({"seed": [3, 1, 0, 2], "x": [0.6, 0.7, 0.45, 0.2]})
    known = ttest_rel([0.5, 0.9, 0.4, 0.7], [0.45, 0.7, 0.2, 0.6])
    interval = known.confidence_interval(0.95)
    gap = report.difference(one, other, "x")
    assert gap == pytest.approx((0.1375, interval.low, interval.high, 4))
    assert report.sign(gap) == 1
    assert report.sign((-0.1, -0.2, -0.05, 3)) == -1
    assert report.sign((-0.1, -0.2, 0.05, 3)) == 0
    assert report.points(gap).startswith("+13.8 points (95 % interval +")
    assert report.points((0.25, 0.1, 0.4, 3)) == (
        "+25.0 points (95 % interval +10.0 to +40.0, 3 seeds)"
    )


def test_arms_are_compared_pair_by_pair_and_metric_by_metric() -> None:
    one = pd.DataFrame({"seed": [0, 1], "pixel_ap": [0.5, 0.52], "aupro": [0.1, 0.9]})
    other = pd.DataFrame({"seed": [1, 0], "pixel_ap": [0.2, 0.2], "aupro": [0.2, 0.3]})
    pairs = {"there": (one, other), "back": (other, one), "first": (one.head(1), other)}
    pairs |= {"none": (one.head(0), other), "apart": (one.assign(seed=9), other)}
    found = report.verdicts(pairs, ["pixel_ap", "aupro"])
    half = 12.7062 * np.std([30, 32], ddof=1) / 2**0.5  # Student's t, one degree of freedom
    assert found["pixel AP"].to_dict() == {
        "there": f"ahead, +31.0 ({31 - half:+.1f} to {31 + half:+.1f})",
        "back": f"behind, -31.0 ({-31 - half:+.1f} to {half - 31:+.1f})",
        "first": "open, +30.0 (one seed)",
        "none": "not run",
        "apart": "not run",
    }
    assert found.loc["there", "AUPRO"].startswith("open, +25.0 (-")
    with pytest.raises(ValueError, match="expected one run of each seed on both sides"):
        report.verdicts({"twice": (pd.concat([one, one]), other)}, ["pixel_ap"])


def test_one_seed_decides_nothing() -> None:
    one = pd.DataFrame({"seed": [0], "x": [0.9]})
    gap = report.difference(one, one.assign(x=0.1), "x")
    assert report.sign(gap) == 0
    assert report.points(gap) == "+80.0 points (one seed)"


@pytest.mark.parametrize("seeds", [[5, 6], [0, 0]])
def test_seeds_must_pair(seeds: list[int]) -> None:
    one = pd.DataFrame({"seed": [0, 1], "x": [0.9, 0.8]})
    with pytest.raises(ValueError, match=r"one run of each seed on both sides, got seeds \[0, 1\]"):
        report.difference(one, pd.DataFrame({"seed": seeds, "x": [0.1, 0.2]}), "x")


def test_a_page_says_where_its_numbers_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "commit", lambda: "89abcdef0123+changes")
    rows = [row(NONE, 1, device="gpu"), row(NONE, 0, device="gpu"), row(NONE, 2, device="cpu")]
    records = "Records: 3 runs, seeds 0, 1, 2, commit 0123456, on gpu (2), cpu (1)."
    assert report.origin(rows) == f"*{records}*"
    both = report.origin(rows, seeds=[7], device=torch.device("meta"))
    assert both.endswith(f" {records}*")
    assert "seed 7, commit 89abcde+changes, on meta" in both
    exact = [row(NONE, 0, device="cpu", precision=p) for p in ("float32", "bfloat16")]
    assert report.origin(exact).endswith("on cpu in float32 (1), cpu in bfloat16 (1).*")
    timed = [{"device": "gpu", "commit": None}]  # as in paper_size.jsonl, which has no seed
    assert report.origin(timed) == "*Records: 1 runs, no seed kept, commit unknown, on gpu (1).*"
    with pytest.raises(ValueError, match="rows of records, or the seeds"):
        report.origin()


def test_arms_are_compared_where_they_rebuild_equally_well() -> None:
    """Ratios that are straight in log d_normal are read off exactly."""

    def row(name: str, seed: int, *looks: tuple[float, float]) -> dict[str, Any]:
        trace = [
            {"step": step, "d_normal": d, "ratio": ratio}
            for step, (d, ratio) in enumerate(looks, start=1)
        ]
        record = {"arm": {"name": name}, "seed": seed, "trace": trace}
        return {"id": name, "files": {"record.json": record}}

    rows = [
        row("few", 0, (0.4, 1.0), (0.1, 3.0)),
        row("many", 0, (0.8, 1.0), (0.2, 2.0)),
        row("many", 1, (0.2, 1.5), (0.05, 2.5)),
    ]
    looks = report.traces(rows)
    assert list(looks["step"]) == [1, 2, 1, 2, 1, 2]
    found = report.at_equal_distance(looks, ["ratio"])
    assert set(found["d_normal"]) == {0.2}  # which the first run of "many" just reached
    assert found["ratio"].tolist() == pytest.approx([2.0, 2.0, 1.5])
    assert found[["arm", "seed"]].to_numpy().tolist() == [["few", 0], ["many", 0], ["many", 1]]
