"""What simulated anomalies look like: textures, distorted, or the image's own shuffled parts."""

import math
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageEnhance, ImageOps

from adlib.anomalies.transformed_images import ArrayCache
from adlib.data.image_io import check_header, read_image
from adlib.data.readers.files import images_in, walk

# In scikit-image's wheel, all CC0 as its docstrings say: three gray textures (brick and gravel of
# CC0Textures, grass by linolafett) and two photographs for their colours (a cat's fur by S. van
# der Walt, a cup on a table by R. Michetti). The choice is ours.
PACKAGED = ("brick", "grass", "gravel", "chelsea", "coffee")
KEPT = 256 * 2**20  # bytes of decoded textures kept in memory; ours
WINDOW = (0.5, 1.0)  # share of each side that is used; DiffusionAD takes all of 5,640 pictures'
DISTORTIONS = 3  # of the ten below; unofficial code and DiffusionAD
GRID = 8  # tiles along each side; DiffusionAD

Picture = UInt8[np.ndarray, "h w 3"]
Change = Callable[[Picture, np.random.Generator], Picture]


class Textures:
    """Pictures to take anomalous appearance from; nothing is ever fetched.

    Args:
        folder: Any folder of images, such as the Describable Textures Dataset, searched with all
            folders in it. Defaults to the five pictures that scikit-image carries.
    Raises:
        FileNotFoundError: The folder is not there, or scikit-image lacks its pictures.
        ValueError: The folder holds no image, or one that cannot be read.
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder is None:  # found without running scikit-image's code
            (package,) = getattr(find_spec("skimage"), "submodule_search_locations", None) or [""]
            self.files = tuple(Path(package) / f"data/{name}.png" for name in PACKAGED)
        elif folder.is_dir():
            self.files = tuple(sorted(images_in(walk(folder))))
        else:
            raise FileNotFoundError(f"textures: expected a folder of images, but {folder} is none")
        if not self.files:
            raise ValueError(f"textures: expected images in {folder} or below it, found none")
        for file in self.files:
            check_header(file)
        self._cache = ArrayCache(KEPT)

    def __len__(self) -> int:
        return len(self.files)

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> Picture:
        """A drawn window of a drawn picture, squeezed to a height and width."""
        number = int(rng.integers(len(self.files)))
        picture = self._cache.get(number, partial(read_image, self.files[number]))
        high, wide = (side * rng.uniform(*WINDOW) for side in picture.shape[:2])
        top = rng.uniform(0, picture.shape[0] - high)
        left = rng.uniform(0, picture.shape[1] - wide)
        window = (left, top, left + wide, top + high)
        squeezed = (size[1], size[0])
        image = Image.fromarray(picture).resize(squeezed, Image.Resampling.BILINEAR, box=window)
        return np.array(image)


def distort(picture: Picture, rng: np.random.Generator) -> Picture:
    """Apply `DISTORTIONS` different changes of colour or direction, in drawn order.

    Source: the ten and their ranges as in DRAEM's code, which the unofficial code and DiffusionAD
        share; written anew, and each always acts where there some act by chance.
    """
    changes = list(CHANGES.values())
    for k in rng.permutation(len(changes))[:DISTORTIONS]:
        picture = changes[k](picture, rng)
    return picture


def shuffled(picture: Picture, rng: np.random.Generator) -> Picture:
    """Cut a picture into `GRID` x `GRID` tiles and put them back in drawn order.

    A side that they do not divide is first continued from its other end, then cut off again.

    Source: DiffusionAD ("self-augmentation"); any size is ours.
    """
    h, w = picture.shape[:2]
    rows, columns = min(GRID, h), min(GRID, w)
    high, wide = -(-h // rows), -(-w // columns)  # of a tile
    whole = np.pad(picture, ((0, rows * high - h), (0, columns * wide - w), (0, 0)), mode="wrap")
    tiles = whole.reshape(rows, high, columns, wide, 3).swapaxes(1, 2)
    tiles = tiles.reshape(rows * columns, high, wide, 3)[rng.permutation(rows * columns)]
    back = tiles.reshape(rows, columns, high, wide, 3).swapaxes(1, 2)
    return np.ascontiguousarray(back.reshape(rows * high, columns * wide, 3)[:h, :w])


def _by_level(picture: Picture, *tables: Float[np.ndarray, "256"]) -> Picture:
    """Replace each level by its entry in a table, one for all channels or one each."""
    table = np.concatenate(tables if len(tables) == 3 else tables * 3)
    levels = np.clip(np.rint(table), 0, 255).astype(int).tolist()
    return np.array(Image.fromarray(picture).point(levels))


def _gamma(picture: Picture, rng: np.random.Generator) -> Picture:
    level = np.arange(256) / 255
    return _by_level(picture, *(255 * level ** rng.uniform(0.5, 2.0) for _ in range(3)))


def _hue_and_saturation(picture: Picture, rng: np.random.Generator) -> Picture:
    hsv = np.array(Image.fromarray(picture).convert("HSV"))
    hue, saturation = rng.integers(-50, 50, size=2, endpoint=True)
    hsv[..., 0] += np.uint8(hue % 256)  # a circle
    hsv[..., 1] = np.clip(hsv[..., 1].astype(np.int16) + saturation, 0, 255)
    return np.array(Image.fromarray(hsv, "HSV").convert("RGB"))


def _solarized(picture: Picture, threshold: float) -> Picture:
    level = np.arange(256.0)
    return _by_level(picture, np.where(level < threshold, level, 255 - level))


def _filtered(picture: Picture, change: Callable[[Image.Image], Image.Image]) -> Picture:
    return np.array(change(Image.fromarray(picture)))


def _turn(picture: Picture, rng: np.random.Generator) -> Picture:
    """Turn by up to 45 degrees, with the corners mirrored in; the mirror is ours."""
    h, w = picture.shape[:2]
    reach = int(np.hypot(h, w) / 2) + 2
    down, right = max(0, reach - h // 2), max(0, reach - w // 2)
    wide = np.pad(picture, ((down, down), (right, right), (0, 0)), mode="symmetric")
    angle = math.radians(rng.uniform(-45, 45))
    c, s = math.cos(angle), math.sin(angle)
    # from a place (x, y) of the result to that of the padded picture, middle to middle
    x = right + w / 2 - c * w / 2 + s * h / 2
    y = down + h / 2 - s * w / 2 - c * h / 2
    affine = Image.Transform.AFFINE, (c, -s, x, s, c, y), Image.Resampling.BILINEAR
    return np.array(Image.fromarray(wide).transform((w, h), *affine))


CHANGES: dict[str, Change] = {
    "gamma": _gamma,
    "brightness": lambda picture, rng: _by_level(
        picture, np.arange(256) * rng.uniform(0.8, 1.2) + rng.uniform(-30, 30)
    ),
    "sharpness": lambda picture, rng: _filtered(
        picture, lambda image: ImageEnhance.Sharpness(image).enhance(rng.uniform(0.1, 1.9))
    ),
    "hue and saturation": _hue_and_saturation,
    "solarize": lambda picture, rng: _solarized(picture, rng.uniform(32, 128)),
    "posterize": lambda picture, rng: (
        picture & np.uint8(256 - 2 ** (8 - int(rng.integers(1, 8, endpoint=True))))
    ),
    "invert": lambda picture, rng: 255 - picture,
    "autocontrast": lambda picture, rng: _filtered(
        picture, lambda image: ImageOps.autocontrast(image, cutoff=rng.uniform(0, 20))
    ),
    "equalize": lambda picture, rng: _filtered(picture, ImageOps.equalize),
    "turn": _turn,
}
