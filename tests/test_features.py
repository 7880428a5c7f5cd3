"""The cache holds what the encoder said, once, and never anything half-written."""

import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import adlib
from adlib import metrics
from adlib.cli import main
from adlib.data.dataset import ImageDataset, ImageRef, hash_files, read_files
from adlib.data.transform import ImageTransform
from adlib.engine import features, scoring
from adlib.methods import ProAD
from adlib.system.disk import locked
from tests.conftest import tiny_config

CPU, FP32 = torch.device("cpu"), torch.float32


def files() -> list[Path]:
    folder = features.cache_folder() / "features"
    return sorted(path for path in folder.iterdir() if path.suffix != ".lock")


def test_the_encoder_sees_each_image_once(
    folder: Callable[..., Path], tiny: ProAD, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = adlib.load_data(folder()).train
    seen = []
    extract = ProAD.encode

    def counted(self: ProAD, pixels: torch.Tensor) -> torch.Tensor:
        seen.append(len(pixels))
        return extract(self, pixels)

    monkeypatch.setattr(ProAD, "encode", counted)
    first = features.cached_features(tiny, images, device=CPU, dtype=FP32)
    again = features.cached_features(tiny, images, device=CPU, dtype=FP32)
    assert sum(seen) == len(images) == 14
    assert torch.equal(first, again)
    assert first.dtype == torch.float16
    frame = features.transform_of(tiny)
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


def test_the_key_tells_images_of_one_name_in_two_folders_apart(tiny: ProAD, tmp_path: Path) -> None:
    references = []
    for colour in ("red", "blue"):
        path = tmp_path / colour / "0001.png"
        path.parent.mkdir()
        Image.new("RGB", (50, 40), colour).save(path)
        references.append(ImageRef(path=str(path), category="cam", defect="good"))
    images = ImageDataset(references, read_files, hash_files)
    swapped = images.select([1, 0])
    assert images.digest == swapped.digest
    assert features.cache_key(tiny, images, FP32) != features.cache_key(tiny, swapped, FP32)


@pytest.mark.parametrize("damage", ["cut", "bit", "old"])
def test_a_damaged_cache_is_told_and_made_again(
    folder: Callable[..., Path], tiny: ProAD, damage: str
) -> None:
    images = adlib.load_data(folder()).train
    whole = features.cached_features(tiny, images, device=CPU, dtype=FP32).clone()
    (path,) = files()
    content = path.read_bytes()
    if damage == "old":  # from before there were digests, whose features are not trusted
        save_file({"features": torch.zeros_like(whole)}, path, {"images": "14 of bolt, nut"})
    else:
        path.write_bytes(content[:200] if damage == "cut" else content[:-1] + b"\x7f")
    silent = nullcontext()
    told = pytest.warns(RuntimeWarning, match=rf"{path.name} is damaged and made anew: ")
    with silent if damage == "old" else told:
        again = features.cached_features(tiny, images, device=CPU, dtype=FP32)
    assert torch.equal(again, whole)
    assert path.read_bytes() == content


def test_a_cache_of_another_user_or_removed_meanwhile_is_read_and_never_left_empty(
    folder: Callable[..., Path], tiny: ProAD, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = adlib.load_data(folder()).train
    whole = features.cached_features(tiny, images, device=CPU, dtype=FP32)
    errors = [PermissionError("not yours"), FileNotFoundError("gone")]

    def refuse(path: Path) -> None:
        if len(errors) == 1:
            path.unlink()  # as another process that prunes
        raise errors.pop(0)

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(Path, "touch", lambda path: os.utime(path))  # which is what it does
    for _ in range(2):
        again = features.cached_features(tiny, images, device=CPU, dtype=FP32)
        assert torch.equal(again, whole)
    assert files() == errors == []


def test_a_crash_while_writing_leaves_no_cache(
    folder: Callable[..., Path], tiny: ProAD, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = adlib.load_data(folder()).train

    def breaks(*args: object) -> Iterator[torch.Tensor]:
        yield torch.ones(8, 2, 6, 4)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(features, "encode", breaks)
        with pytest.raises(KeyboardInterrupt):
            features.cached_features(tiny, images, device=CPU, dtype=FP32)
    assert files() == []
    whole = features.cached_features(tiny, images, device=CPU, dtype=FP32)
    assert whole.shape == (14, 2, 6, 192)


def test_a_full_disk_is_named_before_anything_is_written(
    folder: Callable[..., Path], tiny: ProAD, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = adlib.load_data(folder()).train
    monkeypatch.setattr(features, "free_mib", lambda folder: 0.001)
    words = r"cache needs \d+ MiB and .* set ADLIB_CACHE"
    with pytest.raises(OSError, match=words) as held:  # and with it all that was on the way
        features.cached_features(tiny, images, device=CPU, dtype=torch.bfloat16)
    assert files() == []
    assert torch.is_grad_enabled(), held
    assert not torch.is_autocast_enabled("cpu"), held


def test_maps_from_the_cache_move_no_metric(folder: Callable[..., Path]) -> None:
    data = adlib.load_data(folder(("bolt",), bad=4))
    method = adlib.fit(ProAD(tiny_config()), data, steps=15, precision="fp32").method
    cached = adlib.evaluate(method, data, precision="fp32")["mean"]
    frame = features.transform_of(method)
    pixels = torch.stack([torch.from_numpy(frame.image(s.image)) for s in data.test])
    with torch.no_grad():
        fresh = method.anomaly_map(pixels)  # in fp32 throughout, nothing stored as fp16
    maps = metrics.prepare_maps(fresh.numpy(), scoring.OURS)
    masks = np.stack(
        [metrics.prepare_mask(s.mask, scoring.OURS) for s in data.test if s.mask is not None]
    )
    pixel = metrics.score_maps(maps, masks, protocol=scoring.OURS, prepared=True)
    scores = method.image_score(torch.from_numpy(maps)).numpy()
    image = metrics.score_images(scores, data.test.labels)
    for name in ("auroc", "ap", "f1_max"):
        assert pixel[name] == pytest.approx(cached[f"pixel_{name}"], abs=1e-3)
        assert image[name] == pytest.approx(cached[f"image_{name}"], abs=1e-3)
    assert pixel["aupro"] == pytest.approx(cached["aupro"], abs=1e-3)


def test_two_who_want_the_same_features_compute_them_once(
    folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, extract, seen = adlib.load_data(folder()).train, ProAD.encode, []

    def slow(self: ProAD, pixels: torch.Tensor) -> torch.Tensor:
        seen.append(len(pixels))
        time.sleep(0.3)
        return extract(self, pixels)

    monkeypatch.setattr(ProAD, "encode", slow)

    def work(method: ProAD) -> torch.Tensor:
        return features.cached_features(method, images, device=CPU, dtype=FP32)

    methods = [ProAD(tiny_config()) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(work, methods)
    assert sum(seen) == len(images)
    assert all(torch.equal(first, other) for other in others)


def test_a_killed_writers_leftover_is_removed_by_the_next(
    folder: Callable[..., Path], tiny: ProAD
) -> None:
    images = adlib.load_data(folder()).train
    place = features.cache_folder() / "features"
    place.mkdir(parents=True)
    left = place / f".{features.cache_key(tiny, images, FP32)}.safetensors-abc"
    left.write_bytes(b"half")
    features.cached_features(tiny, images, device=CPU, dtype=FP32)
    assert not left.exists()


def test_the_cache_is_listed_and_pruned_but_not_what_is_being_written(
    folder: Callable[..., Path], tiny: ProAD, capsys: pytest.CaptureFixture[str]
) -> None:
    images = adlib.load_data(folder()).train
    for chosen in (images, images.of("nut")):
        features.cached_features(tiny, chosen, device=CPU, dtype=FP32)
    whole, part = sorted(files(), key=lambda path: -path.stat().st_size)
    ten_days_ago = time.time() - 10 * 86400
    os.utime(whole, (ten_days_ago, ten_days_ago))
    os.utime(part, (4e9, 4e9))  # as if the clock had been set back since
    assert main(["data", "cache"]) == 0
    shown = capsys.readouterr().out
    assert "14 of bolt, nut; vit-tiny, layers [0, 1]; 32 x 48" in shown
    assert re.search(r"10\.0 days ago .*14 of bolt, nut", shown)
    assert re.search(r"0\.0 days ago .*7 of nut", shown)
    assert f"in 2 files of {whole.parent}" in shown

    assert main(["data", "cache", "--days", "5"]) == 2
    assert "--days belongs to --prune" in capsys.readouterr().err
    with locked(whole.with_suffix(".lock"), wait=False):
        assert features.prune_cache() > 0
    assert files() == [whole]  # its lock was held
    assert main(["data", "cache", "--prune", "--days", "5"]) == 0
    assert re.search(r"0\.\d MiB  removed; 0\.0 MiB left", capsys.readouterr().out)
    assert files() == []


@pytest.mark.parametrize("days", [-5.0, float("nan")])
def test_no_cache_is_pruned_by_an_age_that_is_none(
    folder: Callable[..., Path], tiny: ProAD, days: float, capsys: pytest.CaptureFixture[str]
) -> None:
    features.cached_features(tiny, adlib.load_data(folder()).train, device=CPU, dtype=FP32)
    with pytest.raises(ValueError, match=rf"expected an age of 0 days or more, got {days}"):
        features.prune_cache(days)
    assert main(["data", "cache", "--prune", "--days", str(days)]) == 2
    assert f"0 days or more, got {days}" in capsys.readouterr().err
    assert len(files()) == 1


def test_a_frame_cuts_its_centre_and_puts_it_back() -> None:
    frame = ImageTransform(size=(4, 6), resize=(8, 10))
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
        ImageTransform(size=(9, 4), resize=(8, 8))
