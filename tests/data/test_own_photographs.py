"""A folder as a telephone and a person make it, from the files to maps at their own size."""

from pathlib import Path

import numpy as np
from PIL import Image

import adlib
from adlib.data import load_data
from adlib.methods import ProAD

SIZES = [(90, 60), (60, 90), (64, 64), (120, 40), (33, 47)]  # width, height as stored
ENDINGS = [".jpg", ".JPEG", ".PNG", ".bmp", ".tif"]


def photograph(path: Path, size: tuple[int, int], seed: int, turned: bool = False) -> Path:
    """Noise, brighter in the half that is stored above; as a telephone held upright stores it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 90, (size[1], size[0], 3), dtype=np.uint8)
    pixels[: size[1] // 2] += 150
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6  # to be turned clockwise to be seen
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def folder(root: Path) -> Path:
    """Ten good photographs of five sizes and endings, some turned; three bad, one with a mask."""
    for k in range(10):
        name = f"good/IMG_{k}{ENDINGS[k % 5]}"
        photograph(root / name, SIZES[k % 5], k, turned=k % 5 < 2)
    for k in range(3):
        photograph(root / f"bad/IMG_{k}.jpg", SIZES[k], 20 + k, turned=True)
    (root / "masks").mkdir()
    Image.new("L", (SIZES[1][1], SIZES[1][0]), 255).save(root / "masks/IMG_1.png")
    return root


def test_from_files_to_maps(tmp_path: Path, tiny: ProAD) -> None:
    data = load_data(folder(tmp_path / "parts"), holdout=0.2)
    assert (len(data.train), len(data.test)) == (8, 5)
    masks = {Path(s.path).name: s.mask for s in data.test if s.label}
    assert [name for name, mask in masks.items() if mask is not None] == ["IMG_1.jpg"]
    run = adlib.fit(tiny, data, steps=2)
    record = adlib.evaluate(run.method, data)
    assert record["mean"]["image_auroc"] is not None
    assert record["mean"]["pixel_auroc"] is None  # two defects have no mask
    result = adlib.predict(run.method, tmp_path / "parts/bad")
    upright = SIZES[:3]  # height, width: the stored width became the height
    assert [each.shape for each in result.maps] == upright
    assert result.decisions is not None
