"""Cross-fitted thresholds: all normal images train, and a model without it scores each."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Subset

import adlib
from adlib.data.order import folds_of
from adlib.engine.features import cached_features
from adlib.engine.runs import is_finished
from adlib.engine.scoring import score_features
from adlib.metrics.threshold import calibrate
from tests.methods.small import build, config_of, seeded

CPU = torch.device("cpu")


def test_folds_divide_the_images_and_each_category_evenly() -> None:
    data = adlib.load_data("builtin", categories=["board", "screw"], train=7, test=2)
    parts = folds_of(data.train, 4, seed=3)
    assert sorted(i for part in parts for i in part) == list(range(14))
    assert {len(part) for part in parts} == {3, 4}
    for category in data.categories:
        mine = {i for i, r in enumerate(data.train.references) if r.category == category}
        assert {len(mine & set(part)) for part in parts} <= {1, 2}
    assert folds_of(data.train, 4, seed=3) == parts != folds_of(data.train, 4, seed=4)
    for folds in (1, 15):
        with pytest.raises(ValueError, match=rf"2 to 14 folds of 14 images, got {folds}"):
            folds_of(data.train, folds, seed=0)


@pytest.mark.parametrize("name", ["patchcore", "dinomaly"])
def test_all_images_train_and_each_is_scored_by_a_model_that_has_not_seen_it(
    name: str, tmp_path: Path
) -> None:
    data = adlib.load_data("builtin", categories=["board"], train=9, test=2)
    steps = 2 if name == "dinomaly" else 0
    how: dict[str, Any] = {"steps": steps, "seed": 5, "precision": "fp32"}
    changes = {"steps": steps} if steps else {}
    run = adlib.fit(build(name, **changes), data, folds=3, out=tmp_path / "run", **how)
    whole = adlib.fit(build(name), data, holdout=0.0, **how)
    assert run.losses == whole.losses
    for key, value in whole.method.state_dict().items():
        assert torch.equal(run.method.state_dict()[key], value), key

    scores, maps, names = [], [], []
    for part in folds_of(data.train, 3, seed=5):
        rest = [i for i in range(9) if i not in part]
        if steps:
            less = replace(data, train=data.train.select(rest))
            method = adlib.fit(build(name), less, holdout=0.0, **how).method
        else:
            method = build(name)
            method.reset_parameters(seeded(5))
            cached = cached_features(method, data.train, device=CPU, dtype=torch.float32)
            method.fit_prototypes(Subset(cached, rest))  # pyright: ignore[reportArgumentType]
        cached = cached_features(method, data.train, device=CPU, dtype=torch.float32)
        found = score_features(method, cached[part], torch.float32)
        maps, scores = [*maps, *found[0]], [*scores, *found[1]]
        names += ["board"] * len(part)

    expected = calibrate(np.array(scores), names, np.stack(maps))
    assert run.method.calibration.scores["board"] == pytest.approx(expected.scores["board"])
    assert run.method.calibration.peaks["board"] == pytest.approx(expected.peaks["board"])
    assert run.provenance["images"] == {"fit": 9, "held_out": 9, "seen": 0}
    saved = adlib.load_run(tmp_path / "run")
    assert saved.method.calibration == run.method.calibration
    config = config_of(name, **changes)
    asked = {"method": name, "config": config, "data": data.hash, "seed": 5}
    assert is_finished(tmp_path / "run", **asked, holdout=0.1, folds=3)
    assert not is_finished(tmp_path / "run", **asked, holdout=0.1, folds=0)
    assert not is_finished(tmp_path / "run", **asked, holdout=0.0, folds=0)
