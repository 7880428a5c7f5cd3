"""What is shown while something runs, and to whom."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from adlib.engine.meter import ProgressLogger
from adlib.system import progress
from adlib.system.progress import LOG, track


def test_nothing_is_shown_where_nobody_watches(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "DELAY", 0.0)
    monkeypatch.delenv(LOG, raising=False)
    assert sum(track(range(5), "add")) == 10
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_whole_lines_with_rate_memory_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "DELAY", 0.0)
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    monkeypatch.setenv(LOG, "log")
    accelerator: Any = SimpleNamespace(trackers=[])
    bar = track(range(2, 6), "train", total=6, initial=2, unit="step")
    meter = ProgressLogger(bar, accelerator, None, 8, None)
    for step in bar:
        time.sleep(0.02)
        seconds = meter.show(step, 0.5 / (1 + step), 1e-3)
        assert seconds >= 0.02 * (step - 1)
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("train: ") for line in lines)
    assert "6/6" in lines[-1]
    assert any(
        "loss 0.0833, " in line and " images/s, " in line and "MiB" in line for line in lines
    )
    assert any("<00:00" in line for line in lines)  # the time left
    assert meter.rate == pytest.approx(8 / 0.02, rel=0.5)


def test_a_meter_without_a_step_knows_no_rate() -> None:
    bar: Any = SimpleNamespace(disable=True)
    accelerator: Any = SimpleNamespace(trackers=[])
    assert ProgressLogger(bar, accelerator, None, 8, None).rate is None
