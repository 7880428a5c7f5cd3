"""The cache holds what the encoder said, once, and never anything half-written."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

import adlib
from adlib import features
from adlib.data.frame import Frame
from adlib.methods import ProAD
from tests.conftest import tiny_config

CPU, FP32 = torch.device("cpu"), torch.float32


def files() -> list[Path]:
    return sorted((features.cache_folder() / "features").iterdir())


def test_the_encoder_sees_each_image_once(
    folder: Callable[..., Path], tiny: ProAD, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = adlib.load_data(folder()).train
    seen = []
    extract = ProAD.extract

    def counted(self: ProAD, pixels: torch.Tensor) -> torch.Tensor:
        seen.append(len(pixels))
        return extract(self, pixels)

    monkeypatch.setattr(ProAD, "extract", counted)
    first = features.cached_features(tiny, images, device=CPU, dtype=FP32)
    again = features.cached_features(tiny, images, device=CPU, dtype=FP32)
    assert sum(seen) == len(images) == 14
    assert torch.equal(first, again)
    assert first.dtype == torch.float16
    frame = features.frame_of(tiny)
    pixels = torch.stack([torch.from_numpy(frame.image(s.image)) for s in images])
    with torch.no_grad():
        torch.testing.assert_close(first.float(), extract(tiny, pixels), atol=2e-3, rtol=2e-3)


def test_the_key_follows_content_order_size_and_weights(folder: Callable[..., Path]) -> None:
    root = folder()
    images = adlib.load_data(root).train
    key = features.cache_key(ProAD(tiny_config()), images, FP32)
    assert features.cache_key(ProAD(tiny_config(blocks=4)), images, FP32) == key  # decoder only
    others = {
        "size": features.cache_key(ProAD(tiny_config(size=(48, 32))), images, FP32),
        "resize": features.cache_key(ProAD(tiny_config(resize=(64, 64))), images, FP32),
        "layers": features.cache_key(ProAD(tiny_config(layers=(1, 2))), images, FP32),
        "precision": features.cache_key(ProAD(tiny_config()), images, torch.bfloat16),
        "order": features.cache_key(ProAD(tiny_config()), images.select([1, 0]), FP32),
        "subset": features.cache_key(ProAD(tiny_config()), images.select([0, 1]), FP32),
    }
    path = Path(images.references[0].path)
    Image.new("RGB", (50, 40), "gray").save(path)
    changed = adlib.load_data(root).train
    others["content"] = features.cache_key(ProAD(tiny_config()), changed, FP32)
    assert len({key, *others.values()}) == 8


def test_a_crash_while_writing_leaves_no_cache(
    folder: Callable[..., Path], tiny: ProAD, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = adlib.load_data(folder()).train

    def breaks(*args: object) -> Iterator[torch.Tensor]:
        yield torch.ones(8, 2, 6, 4)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(features, "extract", breaks)
        with pytest.raises(KeyboardInterrupt):
            features.cached_features(tiny, images, device=CPU, dtype=FP32)
    assert files() == []
    whole = features.cached_features(tiny, images, device=CPU, dtype=FP32)
    assert whole.shape == (14, 2, 6, 192)


def test_a_full_disk_is_named_before_anything_is_written(
    folder: Callable[..., Path], tiny: ProAD, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = adlib.load_data(folder()).train
    usage = features.shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr(features.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"cache needs \d+ MiB and .* set ADLIB_CACHE"):
        features.cached_features(tiny, images, device=CPU, dtype=FP32)
    assert files() == []


def test_a_frame_cuts_its_centre_and_puts_it_back() -> None:
    import numpy as np

    frame = Frame(size=(4, 6), resize=(8, 10))
    image = np.zeros((16, 20, 3), dtype=np.uint8)
    image[4:12, 4:16] = 255  # what the cut shows
    assert frame.image(image).shape == (3, 4, 6)
    assert frame.image(image)[:, 1:-1, 1:-1].min() > 0.9
    maps = np.random.default_rng(0).random((2, 4, 6))
    whole = frame.restore(maps)
    assert whole.shape == (2, 8, 10)
    assert np.array_equal(whole[:, 2:6, 2:8], maps)
    assert (whole[1, 0] == maps[1].min()).all()
    with pytest.raises(ValueError, match=r"cannot cut \(9, 4\) from an image resized to \(8, 8\)"):
        Frame(size=(9, 4), resize=(8, 8))
