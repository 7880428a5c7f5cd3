"""What `predict` takes: a data set, a file, a folder, an array in sRGB, or several."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from adlib.data.dataset import ImageDataset, Sample
from adlib.data.image_io import check_header, is_image, leads_nowhere, read_image
from adlib.data.readers.folders import MASKS, NOT_OURS, TRUTH

Picture = Path | str | UInt8[np.ndarray, "_ _ 3"]


def list_pictures(
    images: ImageDataset | Picture | Sequence[Picture],
) -> ImageDataset | list[Picture]:
    """Spell out what `predict` accepts: a folder becomes its image files, one becomes a list.

    Of the folders inside a folder, some hold no photographs to judge and are passed over: hidden
    ones, what archive tools leave, `masks` and `ground_truth`, and what `adlib predict` wrote
    (`predictions.csv` beside `overlays`). The folder that was asked for is never one of them.

    Raises:
        FileNotFoundError: Nothing there, or a folder without images.
    """
    if isinstance(images, ImageDataset):
        return images
    if isinstance(images, np.ndarray):
        return [images]
    if isinstance(images, str | Path):
        path = Path(images)
        if path.is_file() or leads_nowhere(path):  # whoever reads it says where it leads
            return [path]
        if not path.exists():
            raise FileNotFoundError(f"no file or folder {path}")
        files: list[Picture] = sorted(_photographs(path))
        if not files:
            raise FileNotFoundError(
                f"no images in {path}, nor in the folders inside it; hidden ones, {MASKS}, {TRUTH} "
                "and earlier results are passed over"
            )
        return files
    return list(images) if isinstance(images, Iterable) else [images]


def _photographs(folder: Path) -> Iterator[Path]:
    """The image files in a folder and the folders inside it that may hold photographs."""
    for place, inside, files in os.walk(folder):
        inside[:] = [name for name in inside if _may_hold_photographs(Path(place, name))]
        yield from (path for name in files if is_image(path := Path(place, name)))


def _may_hold_photographs(folder: Path) -> bool:
    if folder.name.startswith(".") or folder.name in {*NOT_OURS, MASKS, TRUTH}:
        return False
    return not ((folder / "predictions.csv").is_file() and (folder / "overlays").is_dir())


def check_pictures(pictures: ImageDataset | Sequence[Any]) -> None:
    """Check arrays, and the headers of all files; those of a data set were when it was built.

    Raises:
        FileNotFoundError: One file is not there.
        ValueError: A file is not what `read_image` accepts, or several are not, which are all
            named; or an array is not uint8 (h, w, 3).
        TypeError: Something else stands in the place of an image.
    """
    if isinstance(pictures, ImageDataset):
        return
    bad: list[Exception] = []
    for i, picture in enumerate(tqdm(pictures, desc="checking images", delay=2, leave=False)):
        expected = f"image {i}: expected uint8 (h, w, 3) in sRGB, got"
        if isinstance(picture, str | Path):
            try:
                check_header(picture)
            except (OSError, ValueError) as error:
                bad.append(error)
        elif isinstance(picture, np.ndarray):
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
                raise ValueError(f"{expected} {picture.dtype} {picture.shape}")
        elif not isinstance(picture, Sample):
            kind = type(picture)
            raise TypeError(f"{expected} {kind.__module__}.{kind.__qualname__}")
    if len(bad) == 1:
        raise bad[0]
    if bad:
        listed = "\n".join(map(str, bad))
        raise ValueError(f"{len(bad)} of {len(pictures)} files cannot be used:\n{listed}")


def read_each(
    pictures: ImageDataset | list[Picture],
) -> Iterator[tuple[str, UInt8[np.ndarray, "_ _ 3"]]]:
    """Yield name and pixels of each picture; files are decoded one at a time."""
    for i, picture in enumerate(pictures):
        if isinstance(picture, str | Path):
            yield str(picture), read_image(Path(picture))
        elif isinstance(picture, np.ndarray):
            yield f"image {i}", picture
        else:
            yield picture.path, picture.image
