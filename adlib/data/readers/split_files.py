"""Benchmarks whose splits stand in files: VisA's CSV and Real-IAD's JSON."""

import csv
import json
from pathlib import Path, PurePosixPath

from adlib.data.dataset import GOOD, ImageRef
from adlib.data.readers.layouts import Found
from adlib.system.disk import is_file

VISA_SPLIT = "split_csv/1cls.csv"  # the 1-class split, which comes with the archive
VISA_COLUMNS = ["object", "split", "label", "image", "mask"]
REAL_IAD_JSON = ("realiad_jsons/{listing}", "{listing}")  # where unpacking may have put it
REAL_IAD_IMAGES = ("realiad_1024", "realiad_512", "realiad_256", "realiad_raw", ".")


def read_visa(root: Path, categories: tuple[str, ...]) -> Found:
    """VisA as it is downloaded: `CATEGORY/Data/Images/*/*.JPG`, divided by `split_csv/1cls.csv`."""
    found, listed = Found(), root / VISA_SPLIT
    if not listed.is_file():
        found.missing.append(f"{listed} (which images train and which test; it is in the archive)")
        return found
    try:
        with listed.open(encoding="utf-8-sig", newline="") as file:
            head, *rows = [*csv.reader(file)] or [[]]
    except (ValueError, csv.Error) as error:
        found.wrong.append(f"{listed}: expected a table in UTF-8, but {error}")
        return found
    if head != VISA_COLUMNS:
        found.wrong.append(f"{listed}: expected the columns {VISA_COLUMNS}, got {head}")
        return found
    for line, row in enumerate(rows, 2):
        if row and len(row) != len(head):
            found.wrong.append(
                f"{listed}, line {line}: expected {len(head)} values, got {len(row)}"
            )
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
) -> Found:
    """Real-IAD: `realiad_1024/CATEGORY/...` (five views of each object), divided by its JSON files.

    A view that does not show the defect of its object is a normal image, as its authors have it.

    Args:
        root: Holds the folders of images and of JSON files.
        categories: Only these; those without a JSON file are passed over.
        listing: Folder of JSON files; "realiad_jsons_sv" is the single-view split.
        images: Folder of images; by default the first there is of 1024 (as Dinomaly has it), 512,
            256 and raw.
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
            normal = content.get("meta", {}).get("normal_class", "OK")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            found.wrong.append(f"{listed}: expected lists 'train' and 'test', but {error!r}")
            continue
        places = [root / size / category for size in sizes]
        base = next((place for place in places if place.is_dir()), None)
        if base is None:
            found.missing.append(f"{places[0]} (the images that {listed} lists)")
            continue
        for split, i, row in rows:
            try:
                defect, image, mask = row["anomaly_class"], row["image_path"], row.get("mask_path")
            except (KeyError, TypeError, AttributeError) as error:
                found.wrong.append(f"{listed}: {split}[{i}] lacks {error}, got {row!r:.100}")
                continue
            if not all(isinstance(text, str) for text in (defect, image, mask or "")):
                found.wrong.append(f"{listed}: {split}[{i}] must hold texts, got {row!r:.100}")
                continue
            _add(found, base, split, category, GOOD if defect == normal else defect, image, mask)
    return found


def _add(
    found: Found, base: Path, split: str, category: str, defect: str, image: str, mask: str | None
) -> None:
    """Add a listed image, unless something of it is wrong or not there."""
    for path in map(PurePosixPath, [image, mask] if mask else [image]):
        if path.is_absolute() or ".." in path.parts:
            found.wrong.append(f"a listed file lies outside of {base}: {path}")
            return
    if split not in ("train", "test"):
        found.wrong.append(f"{base / image}: expected the split train or test, got {split!r}")
    elif not is_file(base / image):
        found.missing.append(f"{base / image} (a listed image)")
    else:
        file = str(base / mask) if mask and defect != GOOD else None
        if mask and not is_file(base / mask):
            found.missing.append(f"{base / mask} (the mask of {base / image})")
            file = None
        reference = ImageRef(path=str(base / image), category=category, defect=defect, mask=file)
        found.add(split, reference)
