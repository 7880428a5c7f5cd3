"""Tell defective from good with an exported model, by onnxruntime, numpy and Pillow alone.

    pip install onnxruntime numpy pillow
    python examples/onnx_predict.py model.onnx photos --maps maps > predictions.csv

It says what `adlib predict` says in fp32, without adlib and without torch: a row for each image
with its score, the threshold and the verdict, and with --maps a 32-bit TIFF at the image's size.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


def list_images(path: Path) -> list[Path]:
    """The file itself, or all images in a folder and the folders inside it, sorted."""
    if path.is_file():
        return [path]
    visible = (p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
    return sorted(p for p in visible if p.suffix.lower() in ENDINGS)


def read(path: Path) -> Image.Image:
    """Decode an image upright; 16 bits, a palette or transparency are not for us to interpret."""
    with Image.open(path) as picture:
        # Pillow reads 16-bit colour as 8-bit without a word; only the raw mode still shows it
        deep = any(";16" in str(tile[3]) for tile in getattr(picture, "tile", []))
        if deep or picture.mode not in ("L", "RGB") or "transparency" in picture.info:
            raise SystemExit(f"{path}: expected 8-bit gray or RGB, got mode {picture.mode}")
        return ImageOps.exif_transpose(picture).convert("RGB")


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


def predict(model: Path, images: list[Path], batch: int) -> Iterator[tuple]:
    """Yield path, score, threshold and the map at the image's size."""
    session = onnxruntime.InferenceSession(str(model))
    facts = session.get_modelmeta().custom_metadata_map
    resize, size = (tuple(json.loads(facts[key])) for key in ("resize", "size"))
    if "notice" in facts:
        print(facts["notice"], file=sys.stderr)
    for start in range(0, len(images), batch):
        paths = images[start : start + batch]
        pictures = [read(path) for path in paths]
        pixels = np.stack([frame(picture, resize, size) for picture in pictures])  # b 3 h w
        outputs = session.run(["anomaly_map", "image_score", "threshold"], {"images": pixels})
        maps, scores, threshold = map(np.asarray, outputs)
        for path, picture, heat, score in zip(paths, pictures, maps, scores, strict=True):
            yield path, score, threshold, enlarge(heat, (picture.height, picture.width))


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
    table.writerow(["path", "score", "threshold", "verdict"])
    found = predict(words.model, images, words.batch)
    for i, (path, score, threshold, heat) in enumerate(found):
        verdict = "defective" if score > threshold else "good"
        table.writerow([path, f"{score:.6f}", f"{threshold:.6f}", verdict])
        if words.maps:
            words.maps.mkdir(parents=True, exist_ok=True)
            Image.fromarray(heat).save(words.maps / f"{i:05}-{path.stem}.tiff")


if __name__ == "__main__":
    main()
