"""Guarded rounding: the same function in fp32, and closer to it in half precision."""

from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor, nn

from adlib.nn.encoder import Encoder
from adlib.nn.rounding import BiasLast, PatchProjection, QueryKeyValue
from adlib.nn.weights import PRESETS, packaged_path
from tests.nn.tensors import random

DINO = PRESETS["dinov2-s-packaged"]
assert DINO.packaged is not None
needs_dino = pytest.mark.skipif(
    packaged_path(DINO.packaged) is None, reason=f"not installed: {DINO.packaged.install}"
)


def unguarded(encoder: Encoder) -> Any:
    """timm's own model with the same weights, under the same names."""
    model = timm.create_model(
        PRESETS[encoder.name].model, pretrained=False, num_classes=0, img_size=encoder.size
    )
    model.load_state_dict(encoder.model.state_dict(), strict=True)
    return model.eval()


def levels(model: Any, encoder: Encoder, images: Tensor) -> list[Tensor]:
    x = (images - encoder.mean[:, None, None]) / encoder.std[:, None, None]
    maps = model.forward_intermediates(
        x, indices=list(encoder.layers), intermediates_only=True, output_fmt="NLC"
    )
    return [level.detach() for level in maps]


def test_in_fp32_features_are_timms_to_the_last_bit() -> None:
    encoder = Encoder("vit-tiny", (32, 48), layers=(0, 3), weights="random")
    with torch.no_grad():
        for p in encoder.model.parameters():
            p.add_(0.1 * random(*p.shape))  # so that biases are not zero
    images = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    theirs = levels(unguarded(encoder), encoder, images)
    assert all(torch.equal(a, b) for a, b in zip(encoder(images), theirs, strict=True))


@needs_dino
def test_in_bf16_real_features_stay_within_a_hundredth() -> None:
    encoder = Encoder("dinov2-s-packaged", (126, 140), offline=True)
    photos = [p[:252:2, :280:2] / np.float32(255) for p in (data.chelsea(), data.coffee())]
    images = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2)  # b 3 h w
    exact = encoder(images)
    with torch.autocast("cpu", torch.bfloat16):
        guarded, plain = encoder(images), levels(unguarded(encoder), encoder, images)

    def error(found: list[Tensor]) -> Tensor:
        pairs = zip(found, exact, strict=True)
        return torch.stack([(a.float() - b).norm() / b.norm() for a, b in pairs])

    assert error(guarded).max() < 1e-2
    assert (error(guarded) < 0.9 * error(plain)).all()


def test_patches_are_projected_in_fp32_whatever_autocast_says() -> None:
    convolution = nn.Conv2d(3, 5, 7, 7)
    part, x = PatchProjection(convolution), random(2, 3, 14, 21)
    with torch.autocast("cpu", torch.bfloat16):
        low, exact = convolution(x), part(x)
    assert torch.equal(exact, convolution(x))
    assert not torch.equal(low.float(), exact)


def attend(qkv: Tensor) -> Tensor:
    q, k, v = qkv.unsqueeze(1).chunk(3, dim=-1)  # one head
    return F.scaled_dot_product_attention(q, k, v)


def test_the_keys_bias_cancels_in_softmax_and_hurts_in_bf16() -> None:
    off = np.zeros(2)
    for seed in range(10):  # of one layer alone chance may have it otherwise
        linear = nn.Linear(6, 18)
        with torch.no_grad():
            linear.weight.copy_(random(18, 6, seed=seed) / 4)
            linear.bias.zero_()
            linear.bias[6:12] = torch.tensor([37.0, -20.0, 5.0, 9.0, -30.0, 14.0])
        part, x = QueryKeyValue(linear), random(2, 5, 6)
        with torch.no_grad():
            exact = linear(x)
            bare = exact.clone()
            bare[..., 6:12] -= linear.bias[6:12]
            torch.testing.assert_close(attend(bare), attend(exact), atol=1e-4, rtol=1e-4)
            with torch.autocast("cpu", torch.bfloat16):
                guarded, plain = part(x).float(), linear(x).float()
        torch.testing.assert_close(guarded, bare, atol=0.02, rtol=0.02)
        off += [(attend(y) - attend(exact)).norm().item() for y in (guarded, plain)]
    assert off[0] < off[1] / 3


def test_a_late_bias_is_not_rounded() -> None:
    linear = nn.Linear(4, 3)
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.copy_(torch.tensor([1 + 2**-12, 100.001, -3.14159]))
    part, x = BiasLast(linear), random(2, 5, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(part(x), linear.bias.expand(2, 5, 3))
        assert not torch.equal(linear(x).float(), linear.bias.expand(2, 5, 3))
