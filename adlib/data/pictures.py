"""What `predict` takes: a data set, a file, a folder, an array in sRGB, or several."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from adlib.data.photograph import is_image, read_image
from adlib.data.sample import Images

Picture = Path | str | UInt8[np.ndarray, "_ _ 3"]


def list_pictures(images: Images | Picture | Sequence[Picture]) -> Images | list[Picture]:
    """Spell out what `predict` accepts: a folder becomes its image files, one becomes a list.

    Raises:
        FileNotFoundError: Nothing there, or a folder without images.
    """
    if isinstance(images, Images):
        return images
    if isinstance(images, np.ndarray):
        return [images]
    if isinstance(images, str | Path):
        path = Path(images)
        if not path.exists():
            raise FileNotFoundError(f"no file or folder {path}")
        if path.is_file():
            return [path]
        files: list[Picture] = sorted(p for p in path.rglob("*") if is_image(p))
        if not files:
            raise FileNotFoundError(f"no images in {path}, nor in the folders inside it")
        return files
    return list(images)


def read_each(pictures: Images | list[Picture]) -> Iterator[tuple[str, UInt8[np.ndarray, "_ _ 3"]]]:
    """Yield name and pixels of each picture; files are decoded one at a time."""
    for i, picture in enumerate(pictures):
        if isinstance(picture, str | Path):
            yield str(picture), read_image(Path(picture))
        elif isinstance(picture, np.ndarray):
            yield f"image {i}", picture
        else:
            yield picture.path, picture.image
