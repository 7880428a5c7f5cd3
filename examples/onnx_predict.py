"""Tell defective from good with an exported model, by onnxruntime, numpy and Pillow alone.

    pip install onnxruntime numpy pillow
    python examples/onnx_predict.py model.onnx photos --maps maps > predictions.csv

It says what `adlib predict` says in fp32, without adlib and without torch: a row for each image
with its score, the threshold and the verdict, and with --maps a 32-bit TIFF at the image's size,
called as the row's last column says. An image that cannot be read is named on stderr and left out;
the exit status is then 1.
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")  # by content; others may start programs
NO_PHOTOGRAPHS = {"__MACOSX", "ground_truth", "masks"}


def list_images(path: Path) -> list[Path]:
    """The file itself, or all images in a folder and the folders inside it, sorted.

    Passed over are hidden files and folders, those of masks, and what `adlib predict` wrote.
    """
    if path.is_file():
        return [path]
    found: list[Path] = []
    for place, inside, names in os.walk(path):
        inside[:] = [name for name in inside if may_hold_photographs(Path(place, name))]
        visible = (Path(place, name) for name in names if not name.startswith("."))
        found += (p for p in visible if p.suffix.lower() in ENDINGS)
    return sorted(p for p in found if p.is_file() or not p.exists())  # a lost link fails when read


def may_hold_photographs(folder: Path) -> bool:
    """Whether to look into a folder inside the one that was asked for."""
    if folder.name.startswith(".") or folder.name in NO_PHOTOGRAPHS:
        return False
    return not ((folder / "predictions.csv").is_file() and (folder / "overlays").is_dir())


def read(path: Path) -> Image.Image:
    """Decode an image upright; 16 bits, a palette or transparency are not for us to interpret."""
    with Image.open(path, formats=FORMATS) as picture:
        # Pillow reads 16-bit colour as 8-bit without a word; only the raw mode still shows it
        deep = any(";16" in str(tile[3]) for tile in getattr(picture, "tile", []))
        if deep or picture.mode not in ("L", "LA", "RGB", "RGBA"):
            raise ValueError(f"expected 8-bit gray or RGB, got mode {picture.mode}")
        upright = ImageOps.exif_transpose(picture)
    if upright.mode in ("LA", "RGBA") or "transparency" in upright.info:
        least = upright.convert("RGBA").getchannel("A").getextrema()[0]
        if least != 255:
            raise ValueError(f"expected an opaque image, got transparent pixels (alpha {least})")
    return upright.convert("RGB")


def read_each(paths: list[Path], refused: list[Path]) -> Iterator[tuple[str, Path, Image.Image]]:
    """Yield name, path and pixels; what cannot be read is named, and put among the refused."""
    for i, path in enumerate(paths):
        try:
            picture = read(path)
        except Exception as error:  # Pillow has many kinds for a damaged file
            print(f"{path}: {error}", file=sys.stderr)
            refused.append(path)
        else:
            yield f"{i:05}-{path.stem}", path, picture


def frame(picture: Image.Image, resize: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Resize to (height, width) and cut `size` from the centre; 3 h w, in [0, 1]."""
    wide = picture.resize((resize[1], resize[0]), Image.Resampling.BILINEAR)
    top, left = (resize[0] - size[0]) // 2, (resize[1] - size[1]) // 2
    pixels = np.asarray(wide, np.float32)[top : top + size[0], left : left + size[1]]
    return pixels.transpose(2, 0, 1) / np.float32(255)


def enlarge(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a map to (height, width): bilinear between pixel centres, without antialiasing.

    Pillow's own resize is another: it averages where a map is made smaller.
    """
    for axis, (old, new) in enumerate(zip(heat.shape, size, strict=True)):
        centre = ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
        low = centre.astype(int)
        share = (centre - low).astype(np.float32)
        share = share[:, None] if axis == 0 else share
        near, far = heat.take(low, axis), heat.take((low + 1).clip(max=old - 1), axis)
        heat = near + share * (far - near)
    return heat


def predict(
    model: Path, images: Iterator[tuple[str, Path, Image.Image]], batch: int
) -> Iterator[tuple]:
    """Yield name, path, score, threshold and the map at the image's size."""
    session = onnxruntime.InferenceSession(str(model))
    facts = session.get_modelmeta().custom_metadata_map
    resize, size = (tuple(json.loads(facts[key])) for key in ("resize", "size"))
    if "notice" in facts:
        print(facts["notice"], file=sys.stderr)
    while some := list(islice(images, batch)):
        pixels = np.stack([frame(picture, resize, size) for _, _, picture in some])  # b 3 h w
        outputs = session.run(["anomaly_map", "image_score", "threshold"], {"images": pixels})
        maps, scores, threshold = map(np.asarray, outputs)
        for (name, path, picture), heat, score in zip(some, maps, scores, strict=True):
            yield name, path, score, threshold, enlarge(heat, (picture.height, picture.width))


def main() -> None:
    """Print a table of verdicts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path, help="what `adlib export RUN` wrote")
    parser.add_argument("images", type=Path, help="an image, or a folder of images")
    parser.add_argument("--batch", type=int, default=4, help="images at a time")
    parser.add_argument("--maps", type=Path, help="a folder for the maps, as 32-bit TIFF")
    words = parser.parse_args()
    images = list_images(words.images)
    if not images:
        parser.error(f"no images in {words.images}")
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["path", "score", "threshold", "verdict", "name"])
    refused: list[Path] = []
    found = predict(words.model, read_each(images, refused), words.batch)
    for name, path, score, threshold, heat in found:
        verdict = "defective" if score > threshold else "good"
        formula = str(path).startswith(("=", "+", "-", "@", "\t", "\r"))  # to a spreadsheet
        cell = f"'{path}" if formula else path
        table.writerow([cell, f"{score:.6f}", f"{threshold:.6f}", verdict, name])
        if words.maps:
            words.maps.mkdir(parents=True, exist_ok=True)
            Image.fromarray(heat).save(words.maps / f"{name}.tiff")
    if refused:
        raise SystemExit(f"{len(refused)} of {len(images)} images cannot be read and were left out")


if __name__ == "__main__":
    main()
