"""What `predict` takes: a data set, a file, a folder, an array in sRGB, or several."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from adlib.data.dataset import ImageDataset, ImageRef, Sample
from adlib.data.image_io import check_header, leads_nowhere, read_image
from adlib.data.readers.files import nfc, passed_over, walk
from adlib.data.readers.manifest import is_manifest, list_paths
from adlib.data.readers.masks import Gathered, beside, gather, holds_masks

Picture = Path | str | UInt8[np.ndarray, "_ _ 3"]


def list_pictures(
    images: ImageDataset | Picture | Sequence[Picture],
) -> ImageDataset | list[Picture]:
    """Spell out what `predict` accepts: a folder becomes its image files, one becomes a list.

    Of a table, as `load_manifest` reads it, the column `path` counts.

    Of a folder it takes what training would read: links to folders are followed, and what a system
    left there, folders of masks and masks beside photographs are passed over; so is what
    `adlib predict` wrote (`predictions.csv` beside `overlays`). The folder that was asked for is
    never passed over. `notes_on` says what was.

    Raises:
        FileNotFoundError: Nothing there, or a folder without images.
        ValueError: A table that names no image, or a file that may be a photograph or a mask.
    """
    if isinstance(images, ImageDataset):
        return images
    if not isinstance(images, str | Path):
        if isinstance(images, np.ndarray) or not isinstance(images, Iterable):
            return [images]
        return list(images)
    path = Path(images)
    if is_manifest(path):
        return [*list_paths(path)]
    if path.is_file() or leads_nowhere(path):  # its reader reports where the link leads
        return [path]
    if not path.exists():
        raise FileNotFoundError(f"no file or folder {path}")
    found, _ = _photographs(path)
    if not found.images:
        raise FileNotFoundError(
            f"no images in {path}, nor in the folders inside it; hidden ones, folders of masks "
            f"and earlier results are passed over{'; '.join(['', *passed_over(found.others)])}"
        )
    return [*sorted(found.images)]


def categories_of(
    images: ImageDataset | Picture | Sequence[Picture],
    pictures: ImageDataset | Sequence[Picture],
    known: Collection[str],
) -> dict[str, str]:
    """Return the categories of pictures by their names, as far as they are told and known.

    A data set tells them, a table by its column `category`, a folder by the names of the folders in
    it. Where one category alone is known, all others are of it.

    Args:
        images: What `list_pictures` was given.
        pictures: What it returned.
        known: Categories of the run.
    """
    source = Path(images) if isinstance(images, str | Path) else None
    table = list_paths(source) if source and is_manifest(source) else {}
    root = source if source and source.is_dir() else None
    told: dict[str, str] = {}
    each = pictures.references if isinstance(pictures, ImageDataset) else pictures
    for i, picture in enumerate(each):
        if isinstance(picture, ImageRef | Sample):
            told[picture.path] = picture.category
        elif isinstance(picture, np.ndarray):
            told[f"image {i}"] = ""
        else:
            path = Path(picture)
            inner = [nfc(part) for part in path.relative_to(root).parts[:-1]] if root else []
            told[str(picture)] = next((n for n in [table.get(path), *inner] if n in known), "")
    only = next(iter(known)) if len(known) == 1 else ""
    named = {name: category if category in known else only for name, category in told.items()}
    return {name: category for name, category in named.items() if category}


def notes_on(images: Path) -> list[str]:
    """Sentences about what `list_pictures` passes over in a folder."""
    if not images.is_dir():
        return []
    found, masks = _photographs(images)
    name = f"folder{'s' * (len(masks) > 1)} of masks passed over, such as"
    folders = [f"{len(masks)} {name} {masks[0]}"] if masks else []
    return beside([found]) + folders + passed_over(found.others)


def _photographs(folder: Path) -> tuple[Gathered, list[Path]]:
    """The photographs in a folder and those inside it, and the folders of masks left out."""
    masks: list[Path] = []

    def may_hold_photographs(inner: Path) -> bool:
        if holds_masks(inner):
            masks.append(inner)
            return False
        return not ((inner / "predictions.csv").is_file() and (inner / "overlays").is_dir())

    return gather(folder, walk(folder, enter=may_hold_photographs)), sorted(masks)


def check_pictures(
    pictures: ImageDataset | Sequence[Any], refused: list[str] | None = None
) -> ImageDataset | list[Any]:
    """Check arrays, and the headers of all files; those of a data set were when it was built.

    Args:
        pictures: What `list_pictures` returned.
        refused: Takes a sentence for each file that cannot be used, which is then left out.
    Returns:
        Those that can be used.
    Raises:
        FileNotFoundError: One file is not there.
        ValueError: A file is not what `read_image` accepts, or several are not, which are all
            named; or an array is not uint8 (h, w, 3).
        TypeError: Something else stands in the place of an image.
    """
    if isinstance(pictures, ImageDataset):
        return pictures
    usable: list[Any] = []
    bad: list[Exception] = []
    for i, picture in enumerate(tqdm(pictures, desc="checking images", delay=2, leave=False)):
        expected = f"image {i}: expected uint8 (h, w, 3) in sRGB, got"
        if isinstance(picture, str | Path):
            try:
                check_header(picture)
            except (OSError, ValueError) as error:
                bad.append(error)
                continue
        elif isinstance(picture, np.ndarray):
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
                raise ValueError(f"{expected} {picture.dtype} {picture.shape}")
        elif not isinstance(picture, Sample):
            kind = type(picture)
            raise TypeError(f"{expected} {kind.__module__}.{kind.__qualname__}")
        usable.append(picture)
    if refused is not None:
        refused += map(str, bad)
    elif len(bad) == 1:
        raise bad[0]
    elif bad:
        error = ValueError(f"{len(bad)} of {len(pictures)} files cannot be used:")
        for each in bad:
            error.add_note(str(each))  # a line of its own
        raise error
    return usable


def read_each(
    pictures: ImageDataset | list[Picture], refused: list[str] | None = None
) -> Iterator[tuple[str, UInt8[np.ndarray, "_ _ 3"]]]:
    """Yield name and pixels of each picture; files are decoded one at a time.

    With `refused`, which takes the reasons, a file that cannot be decoded is left out.
    """
    for i, picture in enumerate(pictures):
        if isinstance(picture, str | Path):
            try:
                yield str(picture), read_image(picture)
            except (OSError, ValueError) as error:
                if refused is None:
                    raise
                refused.append(str(error))
        elif isinstance(picture, np.ndarray):
            yield f"image {i}", picture
        else:
            yield picture.path, picture.image
