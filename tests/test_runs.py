"""A run is written whole or not at all, and read back as it was or not at all."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import timm
from safetensors.torch import save_file

import adlib
from adlib.engine import load_run, runs
from adlib.engine.runs import RunError, claimed, config_from
from adlib.methods import ProAD, ProADConfig
from adlib.nn.weights import PRESETS
from tests.conftest import tiny_config


@pytest.fixture
def run_folder(folder: Callable[..., Path], tmp_path: Path) -> Path:
    out = tmp_path / "a run"
    adlib.fit(ProAD(tiny_config()), adlib.load_data(folder()), seed=3, out=out)
    return out


def edit(path: Path, **changes: object) -> None:
    saved = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(saved | changes))


def test_a_run_read_back_predicts_the_same(folder: Callable[..., Path], tmp_path: Path) -> None:
    data = adlib.load_data(folder())
    run = adlib.fit(ProAD(tiny_config()), data, seed=3, out=tmp_path / "run")
    again = load_run(tmp_path / "run")
    assert again.losses == run.losses
    assert again.method.config == run.method.config
    assert again.method.calibration == run.method.calibration
    a, b = (adlib.predict(m, data.test) for m in (run.method, again.method))
    assert np.array_equal(a.scores, b.scores)
    pairs = zip(run.method.encoder.parameters(), again.method.encoder.parameters(), strict=True)
    assert all(p.stride() == q.stride() for p, q in pairs)  # or some processors round otherwise
    assert a.threshold == b.threshold
    first, second = (adlib.evaluate(m, data) for m in (run.method, again.method))
    for key in ("categories", "mean", "seed", "steps", "config", "data", "protocol"):
        assert first[key] == second[key]


def test_a_run_is_json_and_safetensors_and_small(run_folder: Path) -> None:
    assert sorted(p.name for p in run_folder.iterdir()) == ["run.json", "weights.safetensors"]
    saved = json.loads((run_folder / "run.json").read_text())
    assert {"python", "torch", "numpy", "timm"} <= set(saved["provenance"]["versions"])
    assert saved["provenance"]["data"]["name"] == "parts"
    trained = 4 * sum(p.numel() for p in ProAD(tiny_config()).parameters() if p.requires_grad)
    assert (run_folder / "weights.safetensors").stat().st_size < 1.01 * trained  # no encoder in it


def test_an_existing_folder_is_not_overwritten(run_folder: Path, folder, tmp_path: Path) -> None:
    before = (run_folder / "run.json").read_bytes()
    with pytest.raises(RunError, match="a run exists already; name another folder"):
        adlib.fit(ProAD(tiny_config()), adlib.load_data(folder()), out=run_folder)
    assert (run_folder / "run.json").read_bytes() == before


def test_a_failure_while_writing_leaves_nothing(
    folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, value: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        adlib.fit(ProAD(tiny_config()), adlib.load_data(folder()), out=tmp_path / "runs" / "one")
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["checkpoints/epoch=12.ckpt", "weights.safetensors"], "checkpoints/epoch=12.ckpt"),
        (["weights.safetensors"], "weights.safetensors"),
        (["logs/events", "weights.safetensors"], "weights.safetensors"),
    ],
)
def test_what_another_program_left_is_no_run_and_stays(
    tmp_path: Path, names: list[str], found: str
) -> None:
    for name in names:
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_bytes(b"x")
    with pytest.raises(RunError, match=f"is no run: .* found {found};"), claimed(tmp_path / "out"):
        raise RuntimeError
    assert all((tmp_path / "out" / name).exists() for name in names)


def test_a_run_that_failed_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    with suppress(RuntimeError), claimed(tmp_path / "out"):
        (tmp_path / "out/weights.safetensors").write_bytes(b"ours")
        (tmp_path / "out/checkpoints/notes.txt").write_bytes(b"another's")
        raise RuntimeError
    left = [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert left == ["notes.txt"]


@pytest.mark.parametrize(
    "left",
    [
        ".run.json-ab12cd",
        ".weights.safetensors-ab12cd",
        ".tmpA1b2C3",  # safetensors' own
        "checkpoints/.step-3.safetensors-x",
        "checkpoints/.tmpA1b2C3",
    ],
)
def test_a_file_half_written_when_its_writer_was_killed_is_removed(
    tmp_path: Path, left: str
) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in (left, "checkpoints/lock", "weights.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    with claimed(tmp_path):
        assert not (tmp_path / left).exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run at .*; expected .*run\.json"):
        load_run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match="is not a run's description"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 99}, "is a run of format 99, this adlib reads format 1; it was written with"),
        ({"method": "pro-add"}, "is a run of 'pro-add'; known are pro-ad"),
        (
            {"encoder": {"name": "x", "sha256": "f" * 64, "source": "hub"}},
            "trained on the encoder x with SHA-256 f{16} .* but found",
        ),
    ],
)
def test_a_run_of_another_kind_is_refused(run_folder: Path, changes: dict, words: str) -> None:
    edit(run_folder, **changes)
    with pytest.raises(RunError, match=words):
        load_run(run_folder)


@pytest.mark.parametrize(
    ("part", "damaged", "words"),
    [
        ("config", None, "config cannot be read: .*found None"),
        ("config", {"stepz": 3}, "config cannot be read: .*unknown config key 'stepz'"),
        ("config", {"steps": "many"}, "config cannot be read"),
        ("method", ["pro-ad"], "method cannot be read"),
        ("encoder", {"name": "x"}, "encoder cannot be read: KeyError.'source'"),
        ("calibration", {"low": 0.0, "top": 1.0}, "calibration cannot be read: .*'top'"),
        ("calibration", {"scores": [0.1, 0.2]}, "calibration cannot be read"),
        ("calibration", {"scores": {"nut": [0.1, None]}}, "calibration cannot be read"),
        ("provenance", 3, "provenance cannot be read"),
        ("losses", 0.5, "losses cannot be read: .*found 0.5"),
    ],
)
def test_a_damaged_part_of_a_run_is_named(
    run_folder: Path, part: str, damaged: object, words: str
) -> None:
    edit(run_folder, **{part: damaged})
    with pytest.raises(RunError, match=rf"run\.json: its {words}"):
        load_run(run_folder)


@pytest.mark.parametrize(
    "part", ["method", "config", "encoder", "calibration", "provenance", "losses"]
)
def test_a_missing_part_of_a_run_is_named(run_folder: Path, part: str) -> None:
    saved = json.loads((run_folder / "run.json").read_text())
    del saved[part]
    (run_folder / "run.json").write_text(json.dumps(saved))
    with pytest.raises(RunError, match=rf"run\.json: its {part} cannot be read: KeyError"):
        load_run(run_folder)


def test_damaged_or_foreign_weights_are_refused(run_folder: Path) -> None:
    path = run_folder / "weights.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match=r"weights\.safetensors cannot be read"):
        load_run(run_folder)
    path.write_bytes(whole)
    saved = json.loads((run_folder / "run.json").read_text())
    edit(run_folder, config=saved["config"] | {"blocks": 4})
    with pytest.raises(RunError, match=r"weights do not fit: missing \['decoder\.2"):
        load_run(run_folder)
    edit(run_folder, config=saved["config"] | {"mlp_ratio": 2.0})
    with pytest.raises(RunError, match=r"weights do not fit: (?s:.*)size mismatch"):
        load_run(run_folder)


def test_an_unknown_config_key_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown config key 'stepz' .* did you mean 'steps'\?"):
        config_from(ProADConfig, {"stepz": 3})
    with pytest.raises(ValueError, match=r"'zzz' for ProADConfig\. Known: encoder, "):
        config_from(ProADConfig, {"zzz": 3})
    built = config_from(ProADConfig, {"size": [28, 42], "weights": "a/b.pth", "layers": None})
    assert built == ProADConfig(size=(28, 42), weights=Path("a/b.pth"))


def test_what_json_cannot_say_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        runs.write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_weights_is_found_from_any_folder(
    folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_file(timm.create_model(PRESETS["vit-tiny"].model).state_dict(), "w.safetensors")
    config = tiny_config(weights=Path("w.safetensors"), steps=1)
    adlib.fit(ProAD(config), adlib.load_data(folder()), out=tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = adlib.load_run(tmp_path / "run").method.config.weights
    assert found == tmp_path / "w.safetensors"
