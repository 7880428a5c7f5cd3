"""An arm of an experiment: its mechanism along the training, without a trace in the result."""

from pathlib import Path

import pytest

import adlib
from adlib.data import DataSplits
from adlib.data.split import supervise
from adlib.study.arms import run_arm

ARM = {"name": "any", "method": "inp-former", "batch": 2, "prototypes": 3, "weights": "random"}


@pytest.fixture(scope="module")
def data() -> DataSplits:
    return adlib.load_data("builtin", train=4, test=4, categories=["screw", "tile"])


def test_looking_on_the_way_changes_nothing(data: DataSplits, tmp_path: Path) -> None:
    blind = run_arm(ARM, data, steps=3, seed=1, intervals=False)
    seeing = run_arm(ARM, data, steps=3, seed=1, intervals=False, trace=[1, 3], out=tmp_path)
    assert seeing["mean"] == blind["mean"]
    assert [row["step"] for row in seeing["trace"]] == [1, 3]
    last = seeing["mechanism"]["mean"]
    assert seeing["trace"][-1] == pytest.approx({"step": 3, **last}, rel=1e-6)  # also d_held_out
    assert seeing["trace"][0]["d_normal"] != last["d_normal"]
    again = run_arm(ARM, data, steps=3, seed=1, intervals=False, trace=[1, 3], out=tmp_path)
    assert again["trace"] == seeing["trace"]  # read, not looked at anew


def test_prn_is_watched_on_anomalies_made_of_held_out_images(data: DataSplits) -> None:
    arm = {"name": "PRN", "method": "prn", "batch": 4, "weights": "random", "size": (64, 64)}
    split = supervise(data, 1, 0)
    record = run_arm(arm, split, steps=2, seed=0, intervals=False, trace=[1, 2], also=["dinomaly"])
    assert record["mechanism"] is None
    assert [set(row) for row in record["trace"]] == 2 * [
        {"step", "made_auroc", "made_ap", "made_aupro"}
    ]
    assert record["also"]["dinomaly"]["protocol"]["name"] == "dinomaly"
