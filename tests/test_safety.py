"""Nothing that could run code is read or written, and no network is touched without being asked."""

import re
import socket
from pathlib import Path

import pytest
import torch

import adlib
from adlib.cli import main
from adlib.engine.checkpoint import read_checkpoint
from adlib.nn import weights
from tests.test_house import tracked

ROOT = Path(__file__).resolve().parent.parent


def test_no_source_unpickles() -> None:
    forbidden = re.compile(
        r"\bimport (?:cloud)?pickle|\bjoblib\b|allow_pickle|weights_only=False|torch\.save\("
        r"|\bshelve\b|\bmarshal\b|torch\.load\((?![^)]*weights_only=True)"
    )
    found = [
        f"{path.name}: {hit}"
        for path in tracked()  # tests send a data set to a worker in this form
        if path.suffix in {".py", ".ipynb"} and ROOT / "tests" not in path.parents
        for hit in forbidden.findall(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple:
            return (Path(tmp_path / "ran").touch, ())

    write = torch.save  # as a stranger would
    write({"model": Runs()}, tmp_path / "evil.pth")
    with pytest.raises(weights.WeightsError, match=r"evil\.pth"):
        weights.find_weights(
            weights.PRESETS["vit-tiny"], {}, {}, tmp_path / "evil.pth", offline=True
        )
    assert not (tmp_path / "ran").exists()


def test_the_main_job_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = []

    def refuse(*arguments: object, **_: object) -> None:
        tried.append(arguments)
        raise OSError(f"the network was asked for: {arguments}")

    for name in ("ADLIB_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    data = adlib.load_data("builtin", categories=["screw"], train=6, test=4)
    method = adlib.ProAD(adlib.ProADConfig(size=(112, 112), steps=2))
    assert "package" in method.encoder.source
    run = adlib.fit(method, data, out=tmp_path / "run")
    assert adlib.evaluate(adlib.load_run(tmp_path / "run").method, data)["mean"]["image_auroc"]
    assert len(adlib.predict(run.method, data.test).scores) == len(data.test)
    assert main(["info"]) == 0
    assert tried == [], capsys.readouterr().err


def test_a_checkpoint_is_read_as_tensors_and_json_only(tmp_path: Path) -> None:
    path = tmp_path / "step-00000001.safetensors"
    torch.save({"losses": torch.ones(2)}, path)
    with pytest.raises(ValueError, match=r"step-00000001\.safetensors is damaged"):
        read_checkpoint(path)
