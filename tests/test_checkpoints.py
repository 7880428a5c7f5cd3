"""A checkpoint holds all that a step changes, and a run goes on from it as if nothing had been."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

import adlib
from adlib import engine
from adlib.engine import checkpoint, runs
from adlib.engine.checkpoint import Checkpointer, TrainingState, read_checkpoint
from adlib.engine.runs import RunError, claimed, read_run
from adlib.methods import ProAD
from adlib.nn.stable_adamw import StableAdamW
from adlib.system.disk import write_tensors
from tests.conftest import tiny_config

Folder = Callable[..., Path]
EVERY = engine.TrainOptions(checkpoint_every=2)


class Interrupt:
    """Kills a fit at one step, as a signal that came while it computed would."""

    def __init__(self, step: int, number: int = signal.SIGTERM) -> None:
        self.step, self.number, self.loss = step, number, ProAD.loss

    def __call__(self, method: ProAD, features: torch.Tensor) -> torch.Tensor:
        if self.step == 0:
            os.kill(os.getpid(), self.number)
        self.step -= 1
        return self.loss(method, features)


def stop_at(step: int, patch: pytest.MonkeyPatch, number: int = signal.SIGTERM) -> None:
    interrupt = Interrupt(step, number)
    patch.setattr(ProAD, "loss", lambda method, features: interrupt(method, features))


def fitted(data: object, out: Path, steps: int = 9, **changes: object) -> runs.Run:
    return adlib.fit(ProAD(tiny_config(**changes)), data, steps=steps, out=out, options=EVERY)  # pyright: ignore


def step_of(make: Callable) -> tuple[nn.Module, torch.optim.Optimizer, LambdaLR]:
    torch.manual_seed(1)
    model = nn.Linear(3, 5)
    optimiser = make(model.parameters())
    return model, optimiser, LambdaLR(optimiser, lambda step: 1 / (1 + step))


@pytest.mark.parametrize(
    "make",
    [
        lambda p: StableAdamW(p, lr=0.1),
        lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    ],
)
def test_any_optimiser_goes_on_to_the_same_bits(make: Callable, tmp_path: Path) -> None:
    batch = torch.randn(20, 4, 3, generator=torch.Generator().manual_seed(0))

    def run(state: TrainingState, start: int, end: int) -> None:
        for x in batch[start:end]:
            state.optimizer.zero_grad()
            loss = state.method(x).square().mean()
            loss.backward()
            state.optimizer.step()
            state.losses.append(loss.item())
            state.schedule.step()

    def begin() -> TrainingState:
        model, optimiser, schedule = step_of(make)
        return TrainingState(method=model, optimizer=optimiser, schedule=schedule)

    about = {"steps": 20, "config": {}}
    whole, first, second = begin(), begin(), begin()
    run(whole, 0, 20)
    run(first, 0, 11)
    Checkpointer(tmp_path, about, 5, True).save(first)
    Checkpointer(tmp_path, about, 5, True).resume(second)
    assert second.resumed_at == [11]
    run(second, 11, 20)
    assert second.losses == whole.losses
    for a, b in zip(whole.method.parameters(), second.method.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_step_and_the_run_goes_on_to_the_same_weights(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    data = adlib.load_data(folder())
    whole = fitted(data, tmp_path / "whole")
    handler = signal.getsignal(number)
    with monkeypatch.context() as patch:
        stop_at(4, patch, number)
        words = r"stopped by SIG\w+ after step 5, which is saved .*same command goes on"
        with pytest.raises(KeyboardInterrupt, match=words):
            fitted(data, tmp_path / "cut")
    assert signal.getsignal(number) is handler
    with pytest.raises(RunError, match=r"unfinished, its last checkpoint is step-0+5\."):
        adlib.load_run(tmp_path / "cut")
    run = fitted(data, tmp_path / "cut")
    assert run.losses == whole.losses
    assert run.provenance["resumed_at"] == [5]
    a, b = (read_run(tmp_path / name)[1] for name in ("whole", "cut"))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert run.method.calibration == whole.method.calibration
    assert sorted(p.name for p in (tmp_path / "cut").iterdir()) == [
        "run.json",
        "weights.safetensors",
    ]


@pytest.fixture
def cut(folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was stopped after step 7, with checkpoints at 6 and 7."""
    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        stop_at(6, patch)
        with pytest.raises(KeyboardInterrupt):
            fitted(adlib.load_data(folder()), out)
    return out


def test_the_last_two_are_kept_by_step_whatever_the_clock_says(
    cut: Path, folder: Folder, tmp_path: Path
) -> None:
    kept = sorted((cut / "checkpoints").glob("step-*"))
    assert [path.name[:13] for path in kept] == ["step-00000006", "step-00000007"]
    os.utime(kept[0], (4e9, 4e9))  # in the year 2096
    os.utime(kept[1], (0, 0))
    data = adlib.load_data(folder())
    assert fitted(data, cut).provenance["resumed_at"] == [7]


def test_a_checkpoint_of_another_run_is_refused_with_what_differs(
    cut: Path, folder: Folder
) -> None:
    data = adlib.load_data(folder())
    before = {p: p.read_bytes() for p in (cut / "checkpoints").glob("step-*")}
    words = r"another run: lr was 0.002 and is 0.1; steps was 9 and is 12\. .* nothing was changed"
    with pytest.raises(RunError, match=words):
        fitted(data, cut, steps=12, lr=0.1)
    with pytest.raises(RunError, match=r"another run: seed was 0 and is 1\."):
        adlib.fit(ProAD(tiny_config()), data, steps=9, seed=1, out=cut, options=EVERY)
    assert {p: p.read_bytes() for p in (cut / "checkpoints").glob("step-*")} == before


def test_a_checkpoint_of_another_format_or_other_tensors_is_refused(
    cut: Path, folder: Folder
) -> None:
    data = adlib.load_data(folder())
    path = max((cut / "checkpoints").glob("step-*"))
    tensors, values = read_checkpoint(path)
    lost = "method.prototypes"
    write_tensors(path, {"method.extra" if k == lost else k: v for k, v in tensors.items()}, values)
    words = r"tensors do not fit: missing \['method.prototypes'\], unexpected \['method.extra'\]"
    with pytest.raises(RunError, match=words):
        fitted(data, cut)
    del values["about"]["format"]  # as before there was one
    write_tensors(path, tensors, values)
    words = r"07.* is a checkpoint of format None, this adlib goes on from format 2; .* begin anew"
    with pytest.raises(RunError, match=words):
        fitted(data, cut)


def test_processes_that_would_go_on_from_different_steps_are_refused(
    cut: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "gathered", lambda mine: [mine, 0])  # the second found none
    words = r"go on from steps 7, 0, by rank; every one must see the same checkpoints in .*cut"
    with pytest.raises(RunError, match=words):
        fitted(adlib.load_data(folder()), cut)


def test_a_checkpoint_cut_short_is_named_and_the_one_before_is_used(
    cut: Path, folder: Folder, tmp_path: Path
) -> None:
    data = adlib.load_data(folder())
    older, last = sorted((cut / "checkpoints").glob("step-*"))
    content = last.read_bytes()
    last.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(RunError, match=r"step-00000007.safetensors is damaged: its SHA-256 is"):
        read_checkpoint(last)
    last.write_bytes(content[:-100])
    with pytest.raises(RunError, match=r"step-00000007.safetensors is damaged: "):
        read_checkpoint(last)
    aside = older.rename(tmp_path / "aside")
    words = r"step-00000007.* is damaged: .*; no other is there, remove .* to begin anew"
    with pytest.raises(RunError, match=words):
        fitted(data, cut)
    aside.rename(older)
    with pytest.warns(RuntimeWarning, match=r"step-00000007.* is damaged: .* going on from .*06"):
        run = fitted(data, cut)
    assert run.losses == fitted(data, tmp_path / "whole").losses


def test_two_processes_do_not_write_one_run(
    cut: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = adlib.load_data(folder())
    with claimed(cut), pytest.raises(RunError, match=r"another process is writing the run .*cut"):
        fitted(data, cut)
    assert fitted(data, cut).provenance["resumed_at"] == [7]


def test_a_folder_that_is_no_run_is_not_written_to(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"x")
    with pytest.raises(RunError, match=r"photos exists already and is no run: .* found cat.png"):
        fitted(adlib.load_data(folder()), tmp_path / "photos")
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["cat.png"]


def test_checkpoints_left_beside_a_finished_run_go_when_it_is_refused(
    folder: Folder, tmp_path: Path
) -> None:
    data, out = adlib.load_data(folder()), tmp_path / "run"
    fitted(data, out)
    (out / "checkpoints").mkdir()  # as if killed before it tidied
    (out / "checkpoints/step-00000007.safetensors").write_bytes(b"x")
    with pytest.raises(RunError, match=r"its run is finished"):
        fitted(data, out)
    assert sorted(p.name for p in out.iterdir()) == ["run.json", "weights.safetensors"]


def test_a_full_disk_keeps_the_checkpoint_before(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, write = adlib.load_data(folder()), checkpoint.write_tensors

    def full(path: Path, *rest: object) -> None:
        if "00000006" in path.name:
            raise OSError(28, "No space left on device")
        write(path, *rest)  # pyright: ignore

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_tensors", full)
        words = r"No space left on device.* Last good checkpoint: .*step-00000004"
        with pytest.raises(OSError, match=words):
            fitted(data, tmp_path / "run")
    run = fitted(data, tmp_path / "run")
    assert run.provenance["resumed_at"] == [4]
    assert run.losses == fitted(data, tmp_path / "whole").losses


def test_without_a_folder_nothing_is_written_and_signals_act_as_ever(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(
        ProAD,
        "loss",
        lambda method, features: (
            seen.append(signal.getsignal(signal.SIGTERM)) or method.prototypes.sum()
        ),
    )
    data = adlib.load_data(folder())
    adlib.fit(ProAD(tiny_config()), data, steps=2)
    assert set(seen) == {signal.getsignal(signal.SIGTERM)}
    assert [p.name for p in tmp_path.iterdir() if p.name not in ("cache", "parts")] == []
