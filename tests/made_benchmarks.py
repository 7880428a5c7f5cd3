"""Small copies of the benchmarks' layouts: a few made images each, in the places of the real ones.

Number k of an image is its gray level (10 k), and the column of the one pixel of its mask: a mask
that went to another image is seen at once. A coloured corner makes every file another.
"""

import csv
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from adlib.data.dataset import Sample

SIZE = (40, 32)  # width, height
_serial = itertools.count(1)


def image(path: Path, k: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    serial = next(_serial)
    pixels = np.full((SIZE[1], SIZE[0], 3), 10 * k, dtype=np.uint8)
    pixels[24:, 32:] = (serial % 256, serial // 256 % 256, 77)  # one block of a JPEG
    Image.fromarray(pixels).save(path)
    return path


def mask(path: Path, k: int, value: int | None = 255) -> Path:
    """A mask whose row 3 and column k is `value`; black all over for None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
    if value is not None:
        pixels[3, k] = value
    Image.fromarray(pixels).save(path)
    return path


def number(sample: Sample) -> int:
    """Number k of an image, from its pixels."""
    return round(float(sample.image[:20, :20].mean()) / 10)


def mvtec_like(
    root: Path,
    categories: tuple[str, ...],
    good: str = "good",
    defects: tuple[str, ...] = ("bent",),
) -> Path:
    """Three images to train on, two good ones to test on, two of each defect, per category."""
    for category in categories:
        for k in range(3):
            image(root / category / "train" / good / f"{k:03}.png", k)
        for k in range(2):
            image(root / category / "test" / good / f"{k:03}.png", k)
            for d, defect in enumerate(defects):
                image(root / category / "test" / defect / f"{k:03}.png", 5 + 2 * d + k)
                mask(root / category / "ground_truth" / defect / f"{k:03}_mask.png", 5 + 2 * d + k)
    return root


def mvtec_ad(root: Path) -> Path:
    (root / "license.txt").parent.mkdir(parents=True, exist_ok=True)
    (root / "license.txt").write_text("CC BY-NC-SA 4.0")
    return mvtec_like(root, ("bottle", "cable"), defects=("broken", "contamination"))


def mpdd(root: Path) -> Path:
    return mvtec_like(root, ("connector", "tubes"), defects=("parts_mismatch",))


def visa(root: Path) -> Path:
    """As it is downloaded: the CSV divides, masks hold 1, 2, ... and look black."""
    rows = []
    for category in ("candle", "pcb1"):
        data = Path(category) / "Data"
        for k in range(5):
            name = data / "Images/Normal" / f"{k:04}.JPG"
            image(root / name, k)
            rows.append([category, "train" if k < 3 else "test", "normal", str(name), ""])
        for k in (7, 9, 8):
            name, truth = data / f"Images/Anomaly/{k:03}.JPG", data / f"Masks/Anomaly/{k:03}.png"
            image(root / name, k)
            mask(root / truth, k, value=k - 6)
            rows.append([category, "test", "anomaly", str(name), str(truth)])
    (root / "split_csv").mkdir()
    with (root / "split_csv/1cls.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["object", "split", "label", "image", "mask"], *rows])
    return root


def visa_prepared(root: Path) -> Path:
    """As its authors' script arranges it: masks without `_mask` in their names."""
    mvtec_like(root, ("candle", "pcb1"), defects=("bad",))
    for path in root.rglob("*_mask.png"):
        path.rename(path.with_name(path.name.replace("_mask", "")))
    return root


def real_iad(root: Path) -> Path:
    """Three objects in three views; view C2 of the defective one does not show the defect."""
    objects = (("train", "OK", "S0001"), ("test", "OK", "S0002"), ("test", "BX", "S0003"))
    for category in ("toy", "usb"):
        rows: dict[str, list[dict[str, str | None]]] = {"train": [], "test": []}
        for (o, (split, kind, name)), view in itertools.product(enumerate(objects), (1, 2, 3)):
            k = 3 * o + view
            folder = "OK" if kind == "OK" else f"NG/{kind}"
            stem = f"{folder}/{name}/{category}_{name[1:]}_{kind}_C{view}_20230921"
            image(root / "realiad_1024" / category / f"{stem}.jpg", k)
            seen = kind if view != 2 else "OK"
            truth = None if seen == "OK" else f"{stem}.png"
            if truth is not None:
                mask(root / "realiad_1024" / category / truth, k)
            row = {"category": category, "anomaly_class": seen, "image_path": f"{stem}.jpg"}
            rows[split].append(row | {"mask_path": truth})
        meta = {"meta": {"prefix": f"{category}/", "normal_class": "OK"}}
        first = {s: [r for r in part if "_C1_" in str(r["image_path"])] for s, part in rows.items()}
        for listing, content in (("realiad_jsons", rows), ("realiad_jsons_sv", first)):
            file = root / "realiad_jsons" / listing / f"{category}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(meta | content))
    return root


def btad(root: Path) -> Path:
    """Images in BMP and PNG, masks in PNG and BMP, below the folder that the archive brings."""
    root = root / "BTech_Dataset_transformed"
    endings = {"01": (".bmp", ".png"), "02": (".png", ".png"), "03": (".bmp", ".bmp")}
    for category, (of_image, of_mask) in endings.items():
        for k in range(3):
            image(root / category / "train/ok" / f"{k:04}{of_image}", k)
            image(root / category / "test/ok" / f"{k:04}{of_image}", k)
            image(root / category / "test/ko" / f"{k:04}{of_image}", 5 + k)
            mask(root / category / "ground_truth/ko" / f"{k:04}{of_mask}", 5 + k)
    return root.parent


def dagm(root: Path) -> Path:
    for category in ("Class1", "Class10"):
        for split, start in (("Train", 576), ("Test", 1)):
            folder = root / category / split
            lines = ["1"]
            for k in range(6):
                name = f"{start + k:04}"
                image(folder / f"{name}.PNG", k)
                if k in (1, 4):
                    mask(folder / "Label" / f"{name}_label.PNG", k)
                    lines.append(f"{k}\t1\t{name}.PNG\t0\t{name}_label.PNG")
                else:
                    lines.append(f"{k}\t0\t{name}.PNG\t0\t0")
            (folder / "Label/Labels.txt").write_text("\n".join(lines))
    return root


def ksdd2(root: Path) -> Path:
    """Every image has a mask, and most are black; the archive holds a stray copy."""
    for split, start in (("train", 10000), ("test", 20000)):
        for k in range(5):
            image(root / split / f"{start + k}.png", k)
            mask(root / split / f"{start + k}_GT.png", k, value=None if k < 3 else 1)
    (root / "train/10301 (copy).png").write_bytes((root / "train/10000.png").read_bytes())
    (root / "train/10301_GT (copy).png").write_bytes((root / "train/10000_GT.png").read_bytes())
    return root


def dtd(root: Path) -> Path:
    for category in ("banded", "woven"):
        for k in range(3):
            image(root / "dtd/images" / category / f"{category}_{k:04}.jpg", k)
    (root / "dtd/labels").mkdir()
    return root


MAKERS: dict[str, Callable[[Path], Path]] = {
    "mvtec-ad": mvtec_ad,
    "visa": visa,
    "real-iad": real_iad,
    "btad": btad,
    "dagm": dagm,
    "ksdd2": ksdd2,
    "mpdd": mpdd,
    "dtd": dtd,
}
