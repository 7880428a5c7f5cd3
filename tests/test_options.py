"""How a run is computed changes what it costs, and not what comes out."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import adlib
from adlib.cli import main
from adlib.engine import TrainOptions
from adlib.methods import ProAD
from tests.conftest import tiny_config
from tests.test_cli import TINY

ROOT = Path(__file__).resolve().parent.parent
Folder = Callable[..., Path]


def weights(method: ProAD) -> list[torch.Tensor]:
    return [p.detach().clone() for p in method.parameters() if p.requires_grad]


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="checkpoint_every must be at least 1, got 0"):
        TrainOptions(checkpoint_every=0)
    with pytest.raises(ValueError, match="workers must not be negative, got -1"):
        TrainOptions(workers=-1)


def test_a_gradient_that_is_not_finite_stops_before_it_is_taken(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, method, seen = adlib.load_data(folder()), ProAD(tiny_config()), []

    def steep(features: torch.Tensor) -> torch.Tensor:
        seen.append(weights(method))
        return (method.prototypes * 0).abs().sqrt().sum()  # 0, with the gradient 0 times infinity

    monkeypatch.setattr(method, "loss", steep)
    with pytest.raises(FloatingPointError, match=r"loss is 0\.0 and its .* norm nan at step 0, on"):
        adlib.fit(method, data)
    for before, after in zip(seen[0], weights(method), strict=True):
        assert torch.equal(before, after)


def test_a_tracker_gets_loss_and_rate_of_each_step(folder: Folder, tmp_path: Path) -> None:
    data, out = adlib.load_data(folder()), tmp_path / "run"
    run = adlib.fit(
        ProAD(tiny_config()), data, steps=3, out=out, options=TrainOptions(tracker="tensorboard")
    )
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = min((out / "logs").rglob("events.out.tfevents.*"), key=lambda p: len(p.parts))
    found = EventAccumulator(str(events.parent)).Reload()
    assert [e.value for e in found.Scalars("loss")] == pytest.approx(run.losses)
    assert [e.step for e in found.Scalars("images_per_second")] == [0, 1, 2]
    assert found.Scalars("lr")[0].value <= 2e-3


def test_a_tracker_that_is_not_there_is_named(folder: Folder) -> None:
    data = adlib.load_data(folder())
    with pytest.raises(ValueError, match=r"unknown tracker 'tensorbord'; .*tensorboard"):
        adlib.fit(ProAD(tiny_config()), data, options=TrainOptions(tracker="tensorbord"))
    with pytest.raises(ModuleNotFoundError, match=r"'aim' is not installed: pip install aim"):
        adlib.fit(ProAD(tiny_config()), data, options=TrainOptions(tracker="aim"))


def launch(start: list[str], data: Path, out: Path, *words: str) -> tuple[list[float], str]:
    """Train 20 steps of batch 4 by the command line: here, or where `start` starts processes."""
    words = ("train", "pro-ad", "--data", str(data), *TINY, "--batch", "4", *words)
    words, shown = (*words, "--steps", "20", "--out", str(out)), ""
    if start:
        done = subprocess.run(
            [sys.executable, "-m", *start, *words],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "ADLIB_CACHE": str(out) + "-cache"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        shown = done.stdout
    else:
        assert main(list(words)) == 0
    losses = json.loads((out / "run.json").read_text())["losses"]
    assert len(losses) == 20
    return losses, shown


@pytest.mark.parametrize(
    ("words", "apart"),
    [(("--hardness", "0", "--dropout", "0"), 1e-5), ((), 0.05)],  # noise and weights of each part
)
def test_two_processes_train_as_one(
    folder: Folder, tmp_path: Path, words: tuple[str, ...], apart: float
) -> None:
    data, words = folder(good=12), ("--precision", "fp32", *words)
    # The option has its launcher start two processes; without a GPU they talk by gloo.
    two = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines"]
    two += ["1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    one, _ = launch([], data, tmp_path / "one", *words)
    both, shown = launch([*two, "-m", "adlib"], data, tmp_path / "two", *words)
    saved = json.loads((tmp_path / "two" / "run.json").read_text())
    assert saved["provenance"]["processes"] == 2
    assert shown.count("run written to") == 1  # one of them speaks
    np.testing.assert_allclose(both, one, rtol=0, atol=apart)


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_training_loses_as_plain(folder: Folder, tmp_path: Path) -> None:
    data, words = folder(good=12), ("--precision", "fp32", "--dropout", "0")
    plain, _ = launch([], data, tmp_path / "plain", *words)
    compiled, _ = launch(["adlib"], data, tmp_path / "compiled", *words, "--compile")
    np.testing.assert_allclose(compiled, plain, rtol=0, atol=1e-4)
