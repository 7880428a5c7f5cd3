"""A run is written whole or not at all, and read back as it was or not at all."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import adlib
from adlib.engine import load_run, runs
from adlib.engine.runs import RunError, claimed, config_from
from adlib.methods import ProAD, ProADConfig
from adlib.nn import weights
from adlib.nn.weights import PRESETS
from adlib.system.disk import write_tensors
from tests.conftest import tiny_config

DEFECTS = {"miss": 0.1, "scores": {"nut": [0.5]}, "prints": ["00"]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("trained")
    for i, split in enumerate(["train/good"] * 4 + ["test/good", "test/dent"]):
        path = place / "parts" / "nut" / split / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 40), (90 + 9 * i, 100, 80)).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADLIB_CACHE", str(place / "cache"))
        data = adlib.load_data(place / "parts")
        adlib.fit(ProAD(tiny_config()), data, seed=3, out=place / "a run")
    return place / "a run"


@pytest.fixture
def run_folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to damage."""
    return Path(shutil.copytree(trained, tmp_path / "a run"))


def edit(path: Path, **changes: object) -> None:
    """Change parts of a run's description, and its digest with them."""
    saved = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(runs.sealed(saved | changes)))


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
    ("part", "value", "words"),
    [
        ("format", 99, "is a run of format 99, this adlib reads format 1"),
        ("method", "pro-add", "unknown method 'pro-add'; known are pro-ad"),
        ("method", ["pro-ad"], r"method must be a text, got \['pro-ad'\]"),
        ("config", None, "config must be a dict, got None"),
        ("config", {"stepz": 3}, "unknown config key 'config.stepz' .* did you mean 'steps'"),
        ("config", {"steps": "many"}, "config.steps must be a whole number, got 'many'"),
        ("config", {"steps": True}, "config.steps must be a whole number, got True"),
        ("config", {"lr": float("nan")}, "config.lr must be a finite number, got nan"),
        ("config", {"size": [28]}, r"config.size must have 2 values, got \[28\]"),
        ("config", {"weights": 3}, "config.weights must be a path, got 3"),
        ("config", {"weights": "/nowhere/w.pth"}, "no weights file at /nowhere/w.pth"),
        ("config", {"encoder": "vit"}, "config: unknown encoder 'vit'"),
        ("config", {"attention": "hard"}, "unknown config.attention 'hard'; known are linear"),
        ("encoder", {"name": "x"}, "encoder.source is missing"),
        ("encoder", {"name": "x", "source": "hub", "sha256": "f" * 64}, "on the encoder x with"),
        ("calibration", {"low": 0.0, "top": 1.0}, "unknown config key 'calibration.top'"),
        ("calibration", {"scores": [0.1, 0.2]}, "calibration.scores must be a dict"),
        ("calibration", {"scores": {"nut": [0.1, None]}}, r"scores.nut\[1\] must be a finite num"),
        ("calibration", {"scores": {"nut": [True]}}, r"scores.nut\[0\] must .* got True"),
        ("calibration", {"scores": {"nut": ["0.1"]}}, r"scores.nut\[0\] must .* got '0.1'"),
        ("calibration", {"scores": {"nut": [float("nan")]}}, r"scores.nut\[0\] must .* got nan"),
        ("calibration", {"high": float("inf")}, "calibration.high must be a finite number"),
        ("calibration", {"low": 2.0, "high": 1.0}, "calibration.low 2.0 is not below its high"),
        ("calibration", {"scales": {"nut": [2.0, 1.0]}}, r"scales.nut must .* got 2.0 and 1.0"),
        ("calibration", {"scales": {"nut": [1.0]}}, "calibration.scales.nut must have 2 values"),
        ("calibration", {"defects": DEFECTS | {"miss": 1.0}}, r"defects.miss must lie in \(0, 1\)"),
        (
            "calibration",
            {"defects": DEFECTS | {"miss": "low"}},
            "defects.miss must be a finite num",
        ),
        (
            "calibration",
            {"defects": DEFECTS | {"scores": {"nut": []}}},
            "defects.scores must hold a",
        ),
        (
            "calibration",
            {"defects": DEFECTS | {"scores": {}}},
            "defects.scores must hold a score of",
        ),
        (
            "calibration",
            {"defects": DEFECTS | {"prints": [1]}},
            r"defects.prints\[0\] must be a text",
        ),
        ("calibration", {"defects": {"miss": 0.1}}, "calibration.defects.scores is missing"),
        ("provenance", 3, "provenance must be a dict, got 3"),
        ("provenance", {"drawn": [1]}, "provenance.drawn must have 2 values"),
        ("provenance", {"seen": "all"}, "provenance.seen must be a list, got 'all'"),
        ("provenance", {"rates": [float("nan")]}, r"provenance.rates\[0\] must be a finite number"),
        ("losses", 0.5, "losses must be a list, got 0.5"),
        ("losses", [0.5, float("-inf")], r"losses\[1\] must be a finite number, got -inf"),
        ("weights", "0" * 64, "weights.safetensors belongs to another run"),
        ("notes", "mine", "unknown config key 'notes' for Description"),
    ],
)
def test_a_value_that_does_not_belong_is_named(
    run_folder: Path, part: str, value: Any, words: str
) -> None:
    if part == "config" and value:
        value = json.loads((run_folder / "run.json").read_text())["config"] | value
    edit(run_folder, **{part: value})
    with pytest.raises(RunError, match=words) as caught:
        load_run(run_folder)
    assert str(run_folder) in str(caught.value)


@pytest.mark.parametrize(
    "part", ["method", "config", "encoder", "calibration", "provenance", "losses"]
)
def test_a_missing_part_of_a_run_is_named(run_folder: Path, part: str) -> None:
    saved = json.loads((run_folder / "run.json").read_text())
    del saved[part]
    (run_folder / "run.json").write_text(json.dumps(runs.sealed(saved)))
    with pytest.raises(RunError, match=rf"run\.json: {part} is missing"):
        load_run(run_folder)


def flip(path: Path, place: int) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_and_the_weights_of_another_run_are_noticed(
    run_folder: Path, folder: Callable[..., Path], tmp_path: Path
) -> None:
    path, text = run_folder / "weights.safetensors", (run_folder / "run.json").read_text()
    whole = path.read_bytes()
    flip(path, -1)
    with pytest.raises(RunError, match=r"weights\.safetensors cannot be read: its SHA-256 is"):
        load_run(run_folder)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match=r"weights\.safetensors cannot be read"):
        load_run(run_folder)
    adlib.fit(ProAD(tiny_config()), adlib.load_data(folder()), seed=4, out=tmp_path / "other")
    path.write_bytes((tmp_path / "other" / "weights.safetensors").read_bytes())
    with pytest.raises(RunError, match=r"weights\.safetensors belongs to another run"):
        load_run(run_folder)
    path.write_bytes(whole)
    score = json.loads(text)["calibration"]["low"]
    (run_folder / "run.json").write_text(text.replace(f"{score}", f"{score / 2}", 1))
    with pytest.raises(RunError, match=r'run\.json is not as it was written: .* key "sha256"'):
        load_run(run_folder)


def test_weights_that_do_not_fit_are_refused_and_those_of_an_encoder_too(run_folder: Path) -> None:
    saved = json.loads((run_folder / "run.json").read_text())
    edit(run_folder, config=saved["config"] | {"blocks": 4})
    with pytest.raises(RunError, match=r"weights do not fit: missing .* \['decoder\.2"):
        load_run(run_folder)
    edit(run_folder, config=saved["config"] | {"mlp_ratio": 2.0})
    with pytest.raises(RunError, match=r"weights do not fit: .*size mismatch"):
        load_run(run_folder)
    edit(run_folder, config=saved["config"])
    state, path = runs.read_run(run_folder)[1], run_folder / "weights.safetensors"
    name = "encoder.model.norm.weight"
    edit(run_folder, weights=write_tensors(path, state | {name: torch.ones(192)}))
    with pytest.raises(RunError, match=rf"weights do not fit: .*{name}"):
        load_run(run_folder)


def test_a_run_without_digests_is_read_with_a_note(run_folder: Path) -> None:
    saved = json.loads((run_folder / "run.json").read_text())
    expected = load_run(run_folder)
    state = runs.read_run(run_folder)[1]
    save_file(state, run_folder / "weights.safetensors")  # as before there were digests
    (run_folder / "run.json").write_text(
        json.dumps({k: v for k, v in saved.items() if k not in ("sha256", "weights")})
    )
    with pytest.warns(RuntimeWarning, match=r"a run has no digests"):
        found = load_run(run_folder)
    assert found.losses == expected.losses
    again = runs.trained_state(found.method)
    assert all(torch.equal(again[k], v) for k, v in state.items())


def test_a_run_is_read_without_the_network_unless_it_is_allowed(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def hub(repo: str, name: str) -> NoReturn:
        asked.append(repo)
        raise OSError("no network")

    saved = json.loads((run_folder / "run.json").read_text())
    edit(run_folder, config=saved["config"] | {"weights": None, "offline": False})
    for name in ("ADLIB_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(weights, "_from_cache", lambda repo: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", hub)
    with pytest.raises(RunError, match=r"no weights for vit_tiny(?s:.*)load_run\(.*offline=False"):
        load_run(run_folder)
    assert asked == []
    with pytest.raises(RunError, match=r"no weights for vit_tiny"):
        load_run(run_folder, offline=False)
    assert asked == ["timm/vit_tiny_patch16_224.augreg_in21k"]


def test_an_unknown_config_key_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown config key 'stepz' .* did you mean 'steps'\?"):
        config_from(ProADConfig, {"stepz": 3})
    with pytest.raises(ValueError, match=r"'zzz' for ProADConfig; known: encoder, "):
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
