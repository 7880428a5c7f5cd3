"""Killed at any moment, on a full disk or a read-only one: nothing is lost or half read."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import adlib
from adlib import cli
from adlib.engine.runs import read_run
from adlib.methods import ProAD
from tests.conftest import tiny_config

ROOT = Path(__file__).resolve().parent.parent
Folder = Callable[..., Path]
SUDO = [] if os.geteuid() == 0 else ["sudo", "-n"]


def drive(data: Path, out: Path, phase: str, kills: int, seed: int) -> dict[str, int]:
    words = [str(data), str(out), phase, str(kills), str(seed)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash_driver", *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "ADLIB_CACHE": str(out.parent / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("phase", "kills"), [("cache", 6), ("train", 7), ("checkpoint", 7)])
def test_killed_at_random_moments_a_run_ends_as_an_undisturbed_one(
    folder: Folder, tmp_path: Path, phase: str, kills: int
) -> None:
    data = folder(good=20)
    seen = drive(data, tmp_path / "killed", phase, kills, seed=kills)
    assert seen["at_work"] >= kills // 2, seen  # most kills met a process at work
    if phase != "cache":
        assert seen["resumable"], seen
    (saved, a), (other, b) = (read_run(tmp_path / name) for name in ("quiet", "killed"))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert a.keys() == b.keys()
    changing = ["seconds", "images_per_second", "first_step_seconds", "peak_memory_mib"]
    for key in [*changing, "resumed_at", "options"]:
        del saved["provenance"][key], other["provenance"][key]
    assert saved == other
    assert list((tmp_path / "cache" / "features").glob(".*")) == []
    kept = sorted(path.name for path in (tmp_path / "killed").iterdir())
    assert kept == ["run.json", "weights.safetensors"]


def mount(folder: Path, options: str) -> str:
    """Mount a file system of its own; return why not, where this user may not."""
    words = [*SUDO, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return done.stderr if done.returncode else ""


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small disk, where this user may mount one."""
    folder.mkdir()
    if refused := mount(folder, options):
        pytest.skip(f"no right to mount a file system here: {refused.strip()}")
    try:
        yield folder
    finally:
        subprocess.run([*SUDO, "umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_fills_up_costs_the_steps_since_the_last_checkpoint_only(
    folder: Folder, tmp_path: Path
) -> None:
    data = adlib.load_data(folder())
    options = adlib.TrainOptions(checkpoint_every=2)
    whole = adlib.fit(ProAD(tiny_config()), data, steps=7, out=tmp_path / "whole")
    weights = (tmp_path / "whole" / "weights.safetensors").stat().st_size
    with mounted(tmp_path / "small", f"size={int(9.5 * weights)}") as disk:
        out = disk / "run"  # a checkpoint is four times the weights: two fit, a third does not
        words = r"step-00000006.* could not be written: .*No space.* MiB free.*step-00000004"
        with pytest.raises(OSError, match=words):
            adlib.fit(ProAD(tiny_config()), data, steps=7, out=out, options=options)
        kept = sorted(path.name for path in (out / "checkpoints").glob("*step*"))
        assert kept == ["step-00000002.safetensors", "step-00000004.safetensors"]
        mount(disk, f"remount,size={16 * weights}")  # the user makes room
        run = adlib.fit(ProAD(tiny_config()), data, steps=7, out=out, options=options)
        assert run.provenance["resumed_at"] == [4]
        assert run.losses == whole.losses
        a, b = read_run(tmp_path / "whole")[1], read_run(out)[1]
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_cache_on_a_small_disk_says_what_it_needs(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = adlib.load_data(folder())
    with mounted(tmp_path / "small", "size=16k") as disk:
        monkeypatch.setenv("ADLIB_CACHE", str(disk))
        with pytest.raises(OSError, match=r"cache needs 0 MiB .* set ADLIB_CACHE .* larger disk"):
            adlib.fit(ProAD(tiny_config()), data)
        assert list(disk.rglob("*.safetensors")) == []


def test_a_read_only_folder_is_named_before_any_work(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    data = folder()
    with mounted(tmp_path / "fixed", "ro,size=1m") as disk:
        monkeypatch.setattr(ProAD, "encode", lambda method, images: 1 / 0)  # work would fail
        with pytest.raises(OSError, match=r"cannot write the run .*Read-only.*another folder"):
            adlib.fit(ProAD(tiny_config()), adlib.load_data(data), out=disk / "run")
        with pytest.raises(OSError, match=r"cannot write the run .*Read-only.*another folder"):
            adlib.fit(ProAD(tiny_config()), adlib.load_data(data), out=disk / "a" / "run")
        monkeypatch.setenv("ADLIB_CACHE", str(disk / "cache"))
        with pytest.raises(OSError, match=r"cache cannot be made: .*Read-only.*set ADLIB_CACHE"):
            adlib.fit(ProAD(tiny_config()), adlib.load_data(data))
        words = ["train", "pro-ad", "--data", str(data), "--out", str(disk / "run")]
        tiny = ["--encoder", "vit-tiny", "--weights", "random", "--layers", "0", "1"]
        assert cli.main([*words, *tiny, "--size", "32", "48"]) == 1
        assert "Read-only" in capsys.readouterr().err
