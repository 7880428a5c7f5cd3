"""Benchmarks whose splits stand in files: VisA's CSV, Real-IAD's JSON, DAGM's ellipses."""

import csv
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool

from adlib.data.dataset import GOOD, ImageRef, Sample, hash_files, read_files
from adlib.data.image_io import read_image
from adlib.data.readers.folders import check_files, hold_out
from adlib.data.readers.layouts import BAD, Found, walk

VISA_SPLIT = "split_csv/1cls.csv"  # the 1-class split, which comes with the archive
VISA_COLUMNS = ["object", "split", "label", "image", "mask"]
REAL_IAD_JSON = ("realiad_jsons/{listing}", "{listing}")  # where unpacking may have put it
REAL_IAD_IMAGES = (
    "realiad_1024",
    "realiad_512",
    "realiad_256",
    "realiad_raw",
    "",
)  # Dinomaly: 1024
ELLIPSE = "ellipse "  # a mask that is no file: semi-axes, angle in radians and centre in x, y
DAGM_HOLDOUT = 0.2  # of the normal images goes to the test, since the set has no split; ours


def read_visa(root: Path, categories: tuple[str, ...]) -> Found:
    """VisA as it is downloaded: `CATEGORY/Data/Images/*/*.JPG`, divided by `split_csv/1cls.csv`."""
    found, listed = Found(), root / VISA_SPLIT
    if not listed.is_file():
        found.missing.append(f"{listed} (which images train and which test; it is in the archive)")
        return found
    with listed.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        head = next(rows, [])
        if head != VISA_COLUMNS:
            found.wrong.append(f"{listed}: expected the columns {VISA_COLUMNS}, got {head}")
            return found
        for row in rows:
            if row and len(row) != len(head):
                where = f"{listed}, line {rows.line_num}"
                found.wrong.append(f"{where}: expected {len(head)} values, got {len(row)}")
            elif row and row[0] in categories:
                category, split, label, image, mask = row
                defect = GOOD if label == "normal" else label
                _add(found, root, split, category, defect, image, mask)
    return found


def read_real_iad(
    root: Path,
    categories: tuple[str, ...],
    listing: str = "realiad_jsons",
    images: str | None = None,
    views: Sequence[str] | None = None,
) -> Found:
    """Real-IAD: `realiad_1024/CATEGORY/...` (five views of each object), divided by its JSON files.

    A view that does not show the defect of its object is a normal image, as its authors have it.

    Args:
        root: Holds the folders of images and of JSON files.
        categories: Only these; those without a JSON file are passed over.
        listing: Folder of JSON files; "realiad_jsons_sv" is the single-view split.
        images: Folder of images; by default the first there is of 1024, 512, 256 and raw.
        views: Of "C1" to "C5"; all by default.
    """
    found = Found()
    sizes = REAL_IAD_IMAGES if images is None else (images,)
    for category in categories:
        files = [root / p.format(listing=listing) / f"{category}.json" for p in REAL_IAD_JSON]
        listed = next((file for file in files if file.is_file()), None)
        if listed is None:
            continue
        try:
            content = json.loads(listed.read_text(encoding="utf-8"))
            rows = [(s, i, row) for s in ("train", "test") for i, row in enumerate(content[s])]
        except (ValueError, KeyError, TypeError) as error:
            found.wrong.append(f"{listed}: expected lists 'train' and 'test', but {error!r}")
            continue
        normal = content.get("meta", {}).get("normal_class", "OK")
        there = [root / size / category for size in sizes if (root / size / category).is_dir()]
        base = there[0] if there else root / sizes[0] / category
        if not there:
            found.missing.append(f"{base} (the images that {listed} lists)")
            continue
        for split, i, row in rows:
            try:
                defect, image, mask = row["anomaly_class"], row["image_path"], row.get("mask_path")
            except (KeyError, TypeError, AttributeError) as error:
                found.wrong.append(f"{listed}: {split}[{i}] lacks {error}, got {row!r}")
                continue
            if views is None or _view(image) in views:
                defect = GOOD if defect == normal else defect
                _add(found, base, split, category, defect, image, mask)
    return found


def read_dagm_ellipses(root: Path, categories: tuple[str, ...]) -> Found:
    """DAGM 2007 as it was first given out: `Class1/*.png`, `Class1_def/*.png` and an ellipse each.

    `Class1_def/labels.txt` holds the number of an image, semi-major and semi-minor axis, angle, and
    the centre's x and y (K2, from public readers of it; that the angle is in radians is taken from
    one of them, and a larger one is refused). There is no test split: a fifth of the normal images,
    by the SHA-256 of their names, and all defective ones make it; ours.
    """
    found = Found()
    for category in categories:
        good, bad = root / category, root / f"{category}_def"
        if not (good.is_dir() and (bad / "labels.txt").is_file()):
            continue
        ellipses = _ellipses(bad / "labels.txt", found)
        names = list(walk(good, 0))
        held = hold_out(names, DAGM_HOLDOUT)
        for name in names:
            found.add(
                "test" if name in held else "train",
                ImageRef(path=str(good / name), category=category, defect=GOOD),
            )
        for name in walk(bad, 0):
            number = re.sub(r"\D", "", Path(name).stem).lstrip("0")
            mask = ellipses.get(number)
            if mask is None:
                found.missing.append(f"the ellipse of {bad / name} in {bad / 'labels.txt'}")
            found.add(
                "test",
                ImageRef(path=str(bad / name), category=category, defect=BAD, mask=mask),
            )
    return found


def read_marked(reference: ImageRef) -> Sample:
    """As `read_files`; but a mask may be an ellipse in words."""
    if not _has_ellipse(reference):
        return read_files(reference)
    assert reference.mask is not None
    image = read_image(reference.path)
    values = np.array(reference.mask.removeprefix(ELLIPSE).split(), dtype=float)
    return Sample(
        image=image,
        mask=ellipse(values, image.shape[0], image.shape[1]),
        label=reference.label,
        category=reference.category,
        defect=reference.defect,
        path=reference.path,
    )


def hash_marked(reference: ImageRef) -> bytes:
    """As `hash_files`; the words of an ellipse count as its mask."""
    if not _has_ellipse(reference):
        return hash_files(reference)
    assert reference.mask is not None
    words = hashlib.sha256(reference.mask.encode()).digest()
    return hashlib.sha256(Path(reference.path).read_bytes()).digest() + words


def check_marked(reference: ImageRef) -> None:
    """As `check_files`; an ellipse fits any image."""
    check_files(replace(reference, mask=None) if _has_ellipse(reference) else reference)


def ellipse(values: np.ndarray, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """Pixels within ((dx cos a + dy sin a) / major)^2 + ((dy cos a - dx sin a) / minor)^2 <= 1.

    Args:
        values: Semi-major and semi-minor axis, angle in radians, and the centre's x and y, pixels.
        height: Of the image.
        width: Of the image.
    """
    major, minor, angle, x, y = values
    dy, dx = np.mgrid[:height, :width] - np.array([y, x])[:, None, None]
    along = (dx * np.cos(angle) + dy * np.sin(angle)) / major
    across = (dy * np.cos(angle) - dx * np.sin(angle)) / minor
    return along**2 + across**2 <= 1


def _has_ellipse(reference: ImageRef) -> bool:
    return reference.mask is not None and reference.mask.startswith(ELLIPSE)


def _ellipses(file: Path, found: Found) -> dict[str, str]:
    """Ellipse of each image by its number."""
    masks = {}
    for line, text in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        words = text.split()
        try:
            major, minor, angle, _, _ = map(float, words[1:])
            if not (major > 0 and minor > 0 and abs(angle) <= 2 * np.pi):
                raise ValueError
        except ValueError:
            if words:
                found.wrong.append(
                    f"{file}, line {line}: expected a number, two semi-axes above 0, an angle in "
                    f"radians, x and y; got {text!r}"
                )
            continue
        number = re.sub(r"\D", "", words[0].rpartition(".")[0] or words[0]).lstrip("0")
        masks[number] = ELLIPSE + " ".join(words[1:])
    return masks


def _view(image: str) -> str | None:
    """The camera in a name such as audiojack_0001_OK_C1_20231023.jpg."""
    hit = re.search(r"_(C\d+)_", PurePosixPath(image).name)
    return hit[1] if hit else None


def _add(
    found: Found, base: Path, split: str, category: str, defect: str, image: str, mask: Any
) -> None:
    """Add a listed image, unless something of it is wrong or not there."""
    for path in map(PurePosixPath, [image, mask] if mask else [image]):
        if path.is_absolute() or ".." in path.parts:
            found.wrong.append(f"a listed file lies outside of {base}: {path}")
            return
    if split not in ("train", "test"):
        found.wrong.append(f"{base / image}: expected the split train or test, got {split!r}")
        return
    if not (base / image).is_file():
        found.missing.append(f"{base / image} (a listed image)")
        return
    if mask and not (base / mask).is_file():
        found.missing.append(f"{base / mask} (the mask of {base / image})")
        mask = None
    file = str(base / mask) if mask and defect != GOOD else None
    found.add(split, ImageRef(path=str(base / image), category=category, defect=defect, mask=file))
