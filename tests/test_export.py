"""An exported file says what `predict` says, or it is not there."""

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

import adlib
from adlib.cli import main
from adlib.engine import export
from adlib.engine.export import Deployed, ParityError, describe, export_onnx
from adlib.engine.features import transform_of
from adlib.engine.scoring import OURS, score_features
from adlib.methods import ProAD
from adlib.methods.detector import Detector
from adlib.metrics import prepare_maps
from adlib.metrics.threshold import Calibration
from tests.conftest import tiny_config
from tests.methods.small import cached, show

ROOT = Path(__file__).resolve().parent.parent
RATE = 0.7  # of false alarms: so high that both verdicts occur
# With the interpreter as its own judge: what the example must never load is looked for at its end.
ALONE = (
    "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__'); "
    "sys.exit(bool({'torch', 'adlib', 'scipy'} & set(sys.modules)))"
)


def photographs(folder: Path, sizes: list[tuple[int, int]], seed: int) -> Path:
    """Noise of several brightnesses, larger and smaller than the model's size and the map's."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i, size in enumerate(sizes):
        pixels = rng.integers(20 * i % 90, 140 + 10 * i, size=(*size, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels)
        picture = picture.convert("L") if i == 1 else picture
        picture.save(folder / f"{i:02}.png")
    return folder


@dataclass
class Exported:
    run: Path
    file: Path
    method: ProAD


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A tiny run, exported by the command line; it cuts the centre, and no two axes are equal."""
    place = tmp_path_factory.mktemp("export")
    for split, n in (("train", 12), ("test", 2)):
        photographs(place / "parts" / "nut" / split / "good", [(40, 50)] * n, seed=n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADLIB_CACHE", str(place / "cache"))
        method = ProAD(tiny_config(resize=(40, 60)))
        data = adlib.load_data(place / "parts")
        adlib.fit(method, data, out=place / "run", holdout=0.4, precision="fp32")
        assert main(["export", str(place / "run"), "--false-alarms", str(RATE)]) == 0
    return Exported(run=place / "run", file=place / "run" / "model.onnx", method=method)


def session(file: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


class Plain(Detector):
    """A method of no paper, to see that export asks for nothing but a detector's functions."""

    name = "plain"

    def __init__(self, *, fixed: bool = False) -> None:
        nn.Module.__init__(self)
        self.weight = nn.Parameter(torch.tensor([0.2, 0.3, 0.5]))
        self.config = SimpleNamespace(size=(24, 36))
        self.encoder = SimpleNamespace(name="none", digest="0" * 64)
        self.calibration = Calibration(scores={"nut": [0.1, 0.2]})
        self.provenance: dict[str, Any] = {}
        self.fixed = fixed

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b g t c"]:
        return images.flatten(2).mT.unsqueeze(1)  # b 1 t 3

    def maps(self, features: Float[Tensor, "b g t c"]) -> Float[Tensor, "b h w"]:
        batch = len(features) if self.fixed else features.shape[0]
        return (features * self.weight).sum(dim=-1).reshape(batch, *self.config.size)

    def image_score(self, maps: Float[Tensor, "b h w"]) -> Float[Tensor, " b"]:
        return maps.amax(dim=(1, 2))

    def unused(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AssertionError("exporting trains nothing")

    reset_parameters = fit_prototypes = configure_optimizer = loss = unused


@pytest.mark.parametrize("resize", [None, (40, 61)])
def test_the_graph_prepares_maps_as_numpy_does(resize: tuple[int, int] | None) -> None:
    method = ProAD(tiny_config(resize=resize))
    maps = torch.rand(2, 32, 48, generator=torch.Generator().manual_seed(0))
    by_numpy = prepare_maps(transform_of(method).restore(maps.numpy()), OURS)
    assert np.abs(Deployed(method).prepare(maps).numpy() - by_numpy).max() < 1e-6


def test_the_file_computes_what_torch_computes_at_any_batch(exported: Exported) -> None:
    model, method = session(exported.file), exported.method
    generator = torch.Generator().manual_seed(7)
    for b in (1, 2, 4, 5):
        images = torch.rand(b, 3, 32, 48, generator=generator)
        with torch.no_grad():
            features = method.encode(images).half()
        maps, scores = score_features(method, features, torch.float32)
        found = [np.asarray(a) for a in model.run(None, {"images": images.numpy()})]
        assert found[0].shape == maps.shape
        assert np.abs(found[0] - maps).max() < 1e-4
        assert np.abs(found[1] - scores).max() < 1e-5
        names = ["threshold", "decision", "pixel_threshold", "mask"]
        outputs = model.run(names, {"images": images.numpy()})
        limit, decision, level, mask = map(np.asarray, outputs)
        assert method.calibration is not None
        assert level == np.float32(method.calibration.pixel_threshold(RATE))
        assert np.array_equal(decision, found[1] > limit)
        assert np.array_equal(mask, found[0] > level)
        assert maps.std() > 1e-3  # there is something to get wrong


def test_the_file_holds_threshold_and_origin_and_nothing_of_this_machine(
    exported: Exported,
) -> None:
    onnx.checker.check_model(exported.file, full_check=True)
    model, method = session(exported.file), exported.method
    assert method.calibration is not None
    limit = model.run(["threshold"], {"images": np.zeros((1, 3, 32, 48), np.float32)})[0]
    assert limit == method.calibration.threshold(RATE)
    assert [d.shape[0] for d in (*model.get_inputs(), *model.get_outputs()[:2])] == ["b"] * 3
    facts = model.get_modelmeta().custom_metadata_map
    assert facts == describe(method, RATE, None)
    assert facts["method"] == "pro-ad"
    assert facts["adlib"] == adlib.__version__
    assert json.loads(facts["size"]) == [32, 48]
    assert json.loads(facts["resize"]) == [40, 60]
    assert json.loads(facts["encoder"])["sha256"] == method.encoder.digest
    assert json.loads(facts["data"])["hash"] == method.provenance["data"]["hash"]
    assert (facts["category"], json.loads(facts["false_alarm_rate"])) == ("all", RATE)
    content = exported.file.read_bytes()
    assert not [word for word in (str(ROOT), sys.prefix, "stack_trace") if word.encode() in content]
    assert names(exported.run) == ["model.onnx", "run.json", "weights.safetensors"]


def test_metadata_carries_a_category_and_the_data_set_s_licence() -> None:
    method: Any = Plain()
    method.provenance = {"data": {"name": "cells", "hash": "12ab", "notice": "non-commercial"}}
    facts = describe(method, 0.1, "nut")
    assert facts["notice"] == "non-commercial"
    assert facts["category"] == "nut"
    assert json.loads(facts["resize"]) == [24, 36]  # straight to the size
    assert json.loads(facts["expected_false_alarm_rate"]) == pytest.approx(1 / 3)


def test_the_example_says_what_predict_says_without_torch(
    exported: Exported, tmp_path: Path
) -> None:
    sizes = [(40, 50), (70, 33), (300, 280), (256, 256), (20, 400), (64, 64), (90, 17)]
    folder = photographs(tmp_path / "photos", sizes, seed=3)
    words = [ROOT / "examples" / "onnx_predict.py", exported.file, folder]
    options = ["--batch", "3", "--maps", tmp_path / "maps"]
    command = [sys.executable, "-W", "error", "-c", ALONE, *words, *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")

    expected = adlib.predict(exported.method, folder, rate=RATE, precision="fp32")
    assert expected.decisions is not None
    assert 0 < expected.decisions.sum() < len(sizes)
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [row["path"] for row in rows] == expected.paths
    found = np.array([float(row["score"]) for row in rows])
    assert np.abs(found - expected.scores).max() < 1e-5
    assert float(rows[0]["threshold"]) == pytest.approx(expected.threshold, abs=1e-6)
    assert [row["verdict"] == "defective" for row in rows] == expected.decisions.tolist()
    files = sorted((tmp_path / "maps").iterdir())
    for file, size, heat in zip(files, sizes, expected.maps, strict=True):
        with Image.open(file) as picture:
            assert (picture.height, picture.width) == size
            assert np.abs(np.asarray(picture) - heat).max() < 1e-4


def test_the_example_refuses_what_it_cannot_interpret(exported: Exported, tmp_path: Path) -> None:
    """It names the file and goes on; an opaque alpha channel is no cause, as for `predict`."""
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    taken = [tmp_path / "opaque.png", tmp_path / "opaque_gray.png"]
    Image.fromarray(pixels).save(taken[0])
    Image.fromarray(pixels).convert("LA").save(taken[1])
    pixels[3, 5, 3] = 200
    Image.fromarray(pixels).save(tmp_path / "glass.png")
    Image.fromarray(np.zeros((40, 50), np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "cut.png").write_bytes(taken[0].read_bytes()[:2000])
    (tmp_path / "lost.png").symlink_to(tmp_path / "gone")
    for name in (".thumbs", "__MACOSX", "masks", "ground_truth", "found/overlays"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.png").write_bytes(taken[0].read_bytes())
    (tmp_path / "found" / "predictions.csv").touch()
    words = [ROOT / "examples" / "onnx_predict.py", exported.file, tmp_path]
    options = ["--maps", tmp_path / "maps"]
    command = [sys.executable, *words, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "deep.png: expected 8-bit gray or RGB, got mode I;16" in done.stderr
    assert "glass.png: expected an opaque image, got transparent pixels" in done.stderr
    assert "cut.png: " in done.stderr
    assert "lost.png: " in done.stderr
    assert "4 of 6 images cannot be read" in done.stderr
    rows = list(csv.DictReader(done.stdout.splitlines()))
    expected = adlib.predict(exported.method, taken, rate=RATE, precision="fp32")
    assert [row["path"] for row in rows] == expected.paths == [str(path) for path in taken]
    assert [float(row["score"]) for row in rows] == pytest.approx(expected.scores, abs=1e-5)
    assert names(tmp_path / "maps") == [f"{row['name']}.tiff" for row in rows]


def test_a_file_that_differs_from_torch_is_not_kept(
    exported: Exported,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def translated(*_: object) -> onnx.ModelProto:  # as it was before the thresholds came to it
        model = onnx.load(exported.file)
        del model.graph.node[-4:], model.graph.output[-4:]
        return model

    def shifted(*arguments: Any) -> Any:
        maps, scores = score_features(*arguments)
        return maps, scores + np.float32(0.02)

    monkeypatch.setattr(export, "_translate", translated)
    export_onnx(exported.method, tmp_path / "good.onnx", rate=RATE)
    assert (tmp_path / "good.onnx").read_bytes() == exported.file.read_bytes()

    monkeypatch.setattr(export, "score_features", shifted)
    with pytest.raises(ParityError, match=r"differ by 0\.02 in a score at a batch of 1; at most"):
        export_onnx(exported.method, tmp_path / "model.onnx")
    assert main(["export", str(exported.run), "--out", str(tmp_path / "model.onnx")]) == 1
    assert "differ by 0.02 in a score" in capsys.readouterr().err
    assert names(tmp_path) == ["good.onnx"]


def test_another_method_is_exported_too_unless_it_fixes_its_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method: Any = Plain()
    done = export_onnx(method, tmp_path / "new" / "plain.onnx", rate=0.6, category="nut")
    assert done.threshold == 0.2
    assert max(done.map_gap, done.score_gap) < 1e-5
    assert next(method.parameters()).requires_grad  # it is left as it was
    assert method.training
    with pytest.raises(ValueError, match=r"the batch of plain got fixed at 3: .* as len\(x\) does"):
        export_onnx(Plain(fixed=True), tmp_path / "fixed.onnx")  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(export, "LARGEST", 8)
    with pytest.raises(ValueError, match=r"GiB of weights and one ONNX file holds at most"):
        export_onnx(method, tmp_path / "large.onnx")
    assert names(tmp_path) == ["new"]


def test_a_wrong_request_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method: Any = Plain()
    (tmp_path / "mine.onnx").write_text("mine")
    with pytest.raises(FileExistsError, match=r"mine.onnx exists already; name another file"):
        export_onnx(method, tmp_path / "mine.onnx")
    for opset in (17, 99):
        with pytest.raises(ValueError, match=rf"opset must lie in 18\.\.\d+, got {opset}"):
            export_onnx(method, tmp_path / "new.onnx", opset=opset)
    with pytest.raises(ValueError, match="no threshold for category 'bolt'; the run has seen nut"):
        export_onnx(method, tmp_path / "new.onnx", category="bolt")
    method.calibration = None
    with pytest.raises(ValueError, match=r"no threshold to export: it was trained with holdout 0"):
        export_onnx(method, tmp_path / "new.onnx")
    for name in ("onnxruntime", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    words = r"needs onnxruntime, onnxscript, not found here: pip install 'adlib-anomaly\[export\]'"
    with pytest.raises(ModuleNotFoundError, match=words):
        export_onnx(method, tmp_path / "new.onnx")
    assert names(tmp_path) == ["mine.onnx"]
    assert (tmp_path / "mine.onnx").read_text() == "mine"


def test_the_command_line_says_2_to_a_wrong_request(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, error in (
        ([exported.run], "model.onnx exists already"),
        ([tmp_path, "--out", tmp_path / "new.onnx"], "no run at"),
        ([exported.run, "--out", tmp_path / "new.onnx", "--opset", "9"], "got 9"),
        ([exported.run, "--out", tmp_path / "new.onnx", "--false-alarms", "2"], "must lie in (0"),
    ):
        assert main(["export", *map(str, words)]) == 2
        assert error in capsys.readouterr().err
    assert names(tmp_path) == []


def test_a_dictionary_is_exported(tmp_path: Path) -> None:
    method = ProAD(tiny_config(dictionary=9, nearest=3, constraint="none", prototypes=4))
    show(method, cached(method))
    method.calibration = Calibration(scores={"nut": [0.1, 0.2]})
    assert export_onnx(method, tmp_path / "model.onnx").map_gap < 1e-4
    model = session(tmp_path / "model.onnx")
    assert [output.name for output in model.get_outputs()][2:] == ["threshold", "decision"]
