"""Encoders by timm's names: the features are timm's own, and what cannot work is refused.

All weights are random: none of these models was run here with trained ones.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from adlib.nn.encoder import Encoder, default_layers, find_preset
from adlib.nn.rounding import QueryKeyValue
from adlib.nn.weights import PRESETS, WeightsError
from tests.nn.tensors import random

DINOV3 = "vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m"  # registers, and rotated queries and keys
SIZE = (64, 96)


def moved(name: str, **options: Any) -> Encoder:
    """Return an encoder whose weights are all random, layer scales and biases, too."""
    encoder = Encoder(f"timm:{name}", SIZE, weights="random", **options)
    with torch.no_grad():
        for p in encoder.model.parameters():
            p.add_(0.1 * random(*p.shape))
    return encoder


@pytest.mark.parametrize(
    ("name", "layers", "strides", "widths"),
    [
        ("test_vit2.r160_in1k", (1, 2, 2, 3, 4, 4, 5, 6), (16,) * 8, (64,) * 8),
        (DINOV3, tuple(range(2, 10)), (16,) * 8, (192,) * 8),
        ("test_resnet.r160_in1k", (1, 2, 3, 4), (4, 8, 16, 32), (32, 48, 192, 96)),
        ("test_convnext.r160_in1k", (0, 1, 2, 3), (4, 8, 16, 32), (24, 32, 48, 64)),
        ("test_efficientnet.r160_in1k", (1, 2, 3, 4), (4, 8, 16, 32), (24, 32, 48, 64)),
        ("regnety_002.pycls_in1k", (1, 2, 3, 4), (4, 8, 16, 32), (24, 56, 152, 368)),
    ],
)
def test_layers_follow_from_the_model_and_features_are_timms(
    name: str, layers: tuple[int, ...], strides: tuple[int, ...], widths: tuple[int, ...]
) -> None:
    encoder = moved(name)
    assert (encoder.name, encoder.layers) == (f"timm:{name}", layers)
    assert encoder.grids == tuple((64 // s, 96 // s) for s in strides)
    assert encoder.widths == widths

    once = sorted({*layers})
    options: dict[str, Any] = {"img_size": SIZE} if "vit" in name else {}
    theirs = timm.create_model(name, features_only=True, out_indices=once, **options).eval()
    state = dict(zip(theirs.state_dict(), encoder.model.state_dict().values(), strict=False))
    theirs.load_state_dict(state)  # the same weights in the same order, under other names
    images = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    normalised = (images - encoder.mean[:, None, None]) / encoder.std[:, None, None]
    with torch.no_grad():
        maps = dict(zip(once, theirs(normalised), strict=True))  # b c rows columns
    for level, i in zip(encoder(images), layers, strict=True):
        assert torch.equal(level, maps[i].flatten(2).mT)


@pytest.mark.parametrize(
    ("strides", "presets"),
    [
        ([14] * 12, ("dinov2-s", "dinov2-b", "dinov2-s-packaged", "vit-tiny", "dinov3-b")),
        ([14] * 24, ("dinov2-l",)),
        ([2, 4, 8, 16, 32], ("resnet18", "efficientnet-lite0")),
    ],
)
def test_the_rule_for_layers_is_that_of_the_presets(
    strides: Sequence[int], presets: Sequence[str]
) -> None:
    assert {PRESETS[name].layers for name in presets} == {default_layers(strides, "m")}
    assert default_layers([4, 8, 8, 16], "m") == (0, 2, 3)  # the last of each stride


def test_a_preset_by_timms_name_is_that_preset() -> None:
    for preset in PRESETS.values():
        assert find_preset(f"timm:{preset.model}") is preset
        assert timm.is_model(preset.model.partition(".")[0])
    assert find_preset("timm:vit_small_patch16_dinov3") is PRESETS["dinov3-s"]  # timm's own tag
    assert find_preset("timm:resnet18").model == "resnet18.a1_in1k"  # not that of the preset
    one = Encoder("vit-tiny", (32, 32), layers=(0, 1), weights="random")
    other = Encoder(f"timm:{PRESETS['vit-tiny'].model}", (32, 32), layers=(0, 1), weights="random")
    assert (other.name, other.digest) == ("vit-tiny", one.digest)  # and so one entry in the cache


@pytest.mark.parametrize(
    ("name", "size", "layers", "words"),
    [
        ("resnt18", SIZE, None, r"no model 'resnt18'; did you mean resnet18 or "),
        ("resnet18.tv_in2k", SIZE, None, r"'resnet18.tv_in2k'; did you mean resnet18.tv_in1k"),
        ("hf-hub:a/b", SIZE, None, "no model 'hf-hub:a/b'$"),  # asks no hub
        (DINOV3, (60, 96), None, "height 60 .* 16 .* 48 and 64$"),
        (DINOV3, SIZE, (3, 12), r"0\.\.11 for vit_tiny_patch16_dinov3_qkvb.* \(3, 12\)"),
        ("test_convnext", (64, 90), None, "width 90 .* 32 .* 64 and 96$"),
        ("crossvit_tiny_240", SIZE, None, r"crossvit_tiny_240.* \[12, .*17\]; expected 4, 8, 16 "),
        ("pit_ti_224", SIZE, None, r"pit_ti_224.in1k .* 64 x 96 .*\(77, 64\).*\(96, 64\)"),
        ("inception_next_tiny", SIZE, (9,), r"0\.\.3 for inception_next_tiny.* \(9,\)"),
    ],
)
def test_a_model_that_cannot_work_is_refused_with_the_reason(
    name: str, size: tuple[int, int], layers: tuple[int, ...] | None, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Encoder(f"timm:{name}", size, layers=layers, weights="random")


def test_what_timm_raises_at_a_size_is_said_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise AssertionError("window\n  does not divide grid")

    monkeypatch.setattr(timm.models.resnet.ResNet, "forward_intermediates", fails)
    with pytest.raises(ValueError, match=r"test_resnet.* 64 x 96 pixels: window does not divide"):
        Encoder("timm:test_resnet", SIZE, weights="random")
    monkeypatch.delattr(timm.models.resnet.ResNet, "forward_intermediates")
    with pytest.raises(ValueError, match=r"timm's resnet10t.c3_in1k does not give features"):
        Encoder("timm:resnet10t", SIZE, weights="random")


def test_weights_come_from_a_file_a_cache_or_the_hub(tmp_path: Path) -> None:
    file = tmp_path / "vit.safetensors"
    theirs = timm.create_model("test_vit")  # made for 160 x 160, with a classifier
    save_file(theirs.state_dict(), file)
    encoder = Encoder("timm:test_vit", SIZE, weights=file)
    own = encoder.model.state_dict()
    assert own["pos_embed"].shape == (1, 1 + 4 * 6, 64)
    same = own.keys() - {"pos_embed"}
    assert same == theirs.state_dict().keys() - {"pos_embed", "head.weight", "head.bias"}
    assert all(torch.equal(own[k], theirs.state_dict()[k]) for k in same)

    save_file(timm.create_model("levit_128s").state_dict(), file)  # biases for each pair of places
    assert Encoder("timm:levit_128s", (224, 224), weights=file).grids == ((14, 14), (7, 7))
    with pytest.raises(WeightsError, match=r"another shape .*; timm made .* 224 x 224 pixels"):
        Encoder("timm:levit_128s", SIZE, weights=file)
    with pytest.raises(WeightsError, match=r"cache: no timm/test_vit.r160_in1k; .* not asked"):
        Encoder("timm:test_vit", SIZE, offline=True)
    with pytest.raises(WeightsError, match=r"tried: timm names no pretrained weights"):
        Encoder("timm:test_vit_relpos", SIZE, offline=True)


def test_rotated_or_normalised_keys_keep_their_bias_in_half_precision() -> None:
    def guarded(model: Any) -> bool:
        return any(isinstance(part, QueryKeyValue) for part in model.modules())

    assert guarded(Encoder("timm:test_vit", SIZE, weights="random").model)
    encoder = moved(DINOV3, layers=(11,))
    assert not guarded(encoder.model)
    theirs: Any = timm.create_model(DINOV3, num_classes=0, img_size=SIZE).eval()
    theirs.load_state_dict(encoder.model.state_dict())
    images = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    normalised = (images - encoder.mean[:, None, None]) / encoder.std[:, None, None]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        tokens = theirs.forward_features(normalised)[:, 5:]  # 1 class, 4 registers
        assert torch.equal(theirs.norm(encoder(images)[0]), tokens)
