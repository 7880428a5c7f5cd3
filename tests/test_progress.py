"""What is shown while something runs, and to whom."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import adlib
from adlib.cli import main
from adlib.methods import ProAD
from adlib.system import progress
from adlib.system.progress import LOG, track


def test_nothing_is_shown_where_nobody_watches(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "DELAY", 0.0)
    monkeypatch.delenv(LOG, raising=False)
    assert sum(track(range(5), "add")) == 10
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_whole_lines_with_loss_rate_memory_and_time_left(
    folder: Callable[..., Path],
    tiny: ProAD,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "DELAY", 0.0)
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    monkeypatch.setenv(LOG, "log")
    run = adlib.fit(tiny, adlib.load_data(folder()), steps=6)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train: ")]
    assert "6/6" in lines[-1]
    assert re.search(rf"loss {run.losses[5]:.4f}, \d+\.\d images/s, [\d,]+ MiB", lines[-1])
    assert any("<00:00" in line for line in lines)  # the time left
    rate = run.provenance["images_per_second"]
    assert rate > tiny.config.batch / run.provenance["seconds"]


def test_an_error_of_the_command_line_shows_names_escaped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["predict", "/nowhere/run", "/nowhere/\x1b[2J\u202ephotos", "--out", "x"]) == 2
    assert r"no file or folder /nowhere/\x1b[2J\u202ephotos" in capsys.readouterr().err
