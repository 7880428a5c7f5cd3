"""An arm of an experiment: its mechanism along the training, without a trace in the result."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks/experiments/arm.ipynb"
SMALL = {"encoder": "vit-tiny", "weights": "random", "size": [32, 48], "batch": 2}
INP_FORMER = {"name": "any", "method": "inp-former", "prototypes": 3, "layers": [0, 1], **SMALL}
PRN = {"name": "PRN", "method": "prn", "batch": 4, "weights": "random", "size": [64, 64]}


def run(**parameters: Any) -> dict[str, Any]:
    """Run the cells of the experiment with these parameters; return its record."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    first, *rest = ("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    names: dict[str, Any] = {}
    exec(first, names)
    assert parameters.keys() <= names.keys()
    names |= parameters
    for source in rest:
        exec(source, names)
    return names["record"]


def test_looking_on_the_way_changes_nothing(folder: Callable[..., Path], tmp_path: Path) -> None:
    how = {"data": str(folder()), "arm": INP_FORMER, "steps": 3, "seed": 1}
    blind = run(**how)
    seeing = run(**how, trace=[1, 3], out=str(tmp_path / "out"))
    assert "trace" not in blind
    assert seeing["mean"] == blind["mean"]
    assert [row["step"] for row in seeing["trace"]] == [1, 3]
    last = seeing["mechanism"]["mean"]
    known = {name: value for name, value in last.items() if value is not None}  # also d_held_out
    assert known == pytest.approx({name: seeing["trace"][-1][name] for name in known}, rel=1e-6)
    assert seeing["trace"][0]["d_normal"] != last["d_normal"]
    assert json.loads((tmp_path / "out/record.json").read_text())["arm"] == INP_FORMER
    again = run(**how, trace=[1, 3], out=str(tmp_path / "out"))
    assert again["trace"] == seeing["trace"]  # read, not looked at anew


def test_prn_is_watched_on_anomalies_made_of_held_out_images(folder: Callable[..., Path]) -> None:
    how = {"data": str(folder()), "arm": PRN, "steps": 2, "tested_without": 1, "seen": 1}
    record = run(**how, trace=[1, 2], also=["dinomaly"], also_without=1)
    assert record["mechanism"] is None
    assert [set(row) for row in record["trace"]] == 2 * [
        {"step", "made_auroc", "made_ap", "made_aupro"}
    ]
    assert record["also"]["dinomaly"]["protocol"]["name"] == "dinomaly"
    assert record["reduced"]["mean"]["image_auroc"] is not None
    assert record["cost"]["parameters"] > 0
