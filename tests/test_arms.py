"""An arm of an experiment: its mechanism along the training, without a trace in the result."""

from pathlib import Path

import pytest

import adlib
from adlib.data import DataSplits
from adlib.study.arms import run_arm
from adlib.study.mechanism import without_counts

ARM = {"name": "any", "method": "inp-former", "batch": 2, "prototypes": 3, "weights": "random"}


@pytest.fixture(scope="module")
def data() -> DataSplits:
    return adlib.load_data("builtin", train=4, test=4)


def test_looking_on_the_way_changes_nothing(data: DataSplits, tmp_path: Path) -> None:
    blind = run_arm(ARM, data, steps=3, seed=1, intervals=False)
    seeing = run_arm(ARM, data, steps=3, seed=1, intervals=False, trace=[1, 3], out=tmp_path)
    assert seeing["mean"] == blind["mean"]
    assert [row["step"] for row in seeing["trace"]] == [1, 3]
    last = {k: v for k, v in without_counts(seeing["mechanism"]["mean"]).items() if k != "blocks"}
    assert seeing["trace"][-1] == pytest.approx({"step": 3, **last}, rel=1e-6)  # also d_held_out
    assert seeing["trace"][0]["d_normal"] != last["d_normal"]
    again = run_arm(ARM, data, steps=3, seed=1, intervals=False, trace=[1, 3], out=tmp_path)
    assert again["trace"] == seeing["trace"]  # read, not looked at anew
