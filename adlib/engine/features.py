"""The cache of frozen features: what the encoder says of each image, computed once.

One safetensors file a set of images: `features` (n, g, t, c) in fp16, memory-mapped when read. Its
name is a hash of everything that its content depends on, so a cache that does not fit is never
found, and it appears by renaming a finished file, so one half-written is never read. Several
processes may want the same file: the first computes it, the others wait for it.

Size and SHA-256 of a file are checked before it is mapped, at 1.5 GB a second on a processor that
computes SHA-256 itself; a file that another program cuts short after that ends the process with
SIGBUS, which no library can turn into a message.
"""

import hashlib
import json
import math
import os
import struct
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float16
from torch import Tensor

from adlib.data.dataset import ImageDataset
from adlib.data.tiles import Tiled, TiledImages, Tiling
from adlib.data.transform import ImageTransform
from adlib.methods.detector import Detector
from adlib.system.disk import (
    UNSEALED,
    BusyError,
    check_seal,
    free_mib,
    locked,
    remove_leftovers,
    replacing,
    seal,
)
from adlib.system.hardware import autocast
from adlib.system.progress import track

BATCH = 16  # images through the encoder at a time; ours


def cache_folder() -> Path:
    """ADLIB_CACHE, else the user's cache folder."""
    if folder := os.environ.get("ADLIB_CACHE"):
        return Path(folder)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "adlib"


def transform_of(method: Detector) -> ImageTransform:
    """The frame that a method's config asks for; of a tile nothing is cut off."""
    resize = None if tiling_of(method) else getattr(method.config, "resize", None)
    return ImageTransform(size=method.config.size, resize=resize)


def tiling_of(method: Detector) -> Tiling | None:
    """How a method's config cuts photographs into tiles, if it does."""
    side = getattr(method.config, "tile", None)  # PRN has none
    return None if side is None else Tiling(side=side, overlap=method.config.overlap)


def tiles_of(method: Detector, images: ImageDataset) -> TiledImages | None:
    """The tiles of images, where a method's config asks for tiles."""
    tiling = tiling_of(method)
    return None if tiling is None else TiledImages(images, tiling)


def select(
    features: Float[Tensor, "n g t c"], tiles: TiledImages | None, indices: Sequence[int]
) -> tuple[Float[Tensor, "m g t c"], list[Tiled] | None]:
    """Return the features of some images; or those of all tiles, and where the images' lie."""
    if tiles is None:
        return features[list(indices)], None
    return features, [tiles.photographs[i] for i in indices]


def cache_key(method: Detector, images: ImageDataset, dtype: torch.dtype) -> str:
    """SHA-256 of the weights, layers, frame, precision and the images' content, in hex."""
    frame = transform_of(method)
    parts = {
        "format": 3,  # raised when the features of the same encoder or the key's parts change
        "extract": method.feature_key,
        "weights": method.encoder.digest,
        "layers": method.encoder.layers,
        "size": frame.size,
        "resize": frame.resize,
        "dtype": str(dtype),
        "images": images.digest,
        "order": [
            (r.category, r.defect, r.name, mark.hex())  # two folders may hold one name
            for r, mark in zip(images.references, images.fingerprints, strict=True)
        ],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def encode(
    method: Detector,
    images: ImageDataset,
    device: torch.device,
    dtype: torch.dtype,
    label: str,
) -> Iterator[Float[Tensor, "b g t c"]]:
    """Yield the frozen features of batch after batch, on `device`, computed in `dtype`."""
    frame = transform_of(method)
    bar = track(range(len(images)), label, unit="image")
    for start in range(0, len(images), BATCH):
        numbers = range(start, min(start + BATCH, len(images)))
        pixels = torch.from_numpy(np.stack([frame.image(images[i].image) for i in numbers]))
        with torch.no_grad(), autocast(device, dtype):  # not around the yield, where others work
            made = method.encode(pixels.to(device, memory_format=torch.channels_last))
        yield made
        bar.update(len(numbers))
    bar.close()


def cached_features(
    method: Detector,
    images: ImageDataset,
    *,
    device: torch.device,
    dtype: torch.dtype,
    label: str = "encode",
) -> Float16[Tensor, "n g t c"]:
    """Return the features of all images in their order, from the cache or into it.

    They are computed on `device` in `dtype`; the result lies on the CPU, memory-mapped.

    Raises:
        OSError: The cache's folder cannot be written, or its disk is too small; both are named.
    Warns:
        RuntimeWarning: The file in the cache is damaged; it is made anew.
    """
    if len(images) == 0:
        raise ValueError("no images to encode")
    method.encoder.to(memory_format=torch.channels_last)  # as convolutions like it
    path = cache_folder() / "features" / f"{cache_key(method, images, dtype)}.safetensors"
    with suppress(ValueError):
        if (found := _read(path)) is not None:
            return found
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"the feature cache cannot be made: {error}; set ADLIB_CACHE to a folder that can "
            "be written"
        ) from error
    with locked(path.with_suffix(".lock"), wait=True):  # who removes a file holds it too
        try:
            found = _read(path)  # another process may have made it meanwhile
        except ValueError as error:
            found, words = None, f"{path} is damaged and made anew: {error}"
            warnings.warn(words, RuntimeWarning, stacklevel=2)
        if found is None:
            path.unlink(missing_ok=True)
            remove_leftovers(path.parent, f".{path.name}*-*", held=True)
            height, width = transform_of(method).size
            named = ", ".join(images.categories[:3]) + ", ..." * (len(images.categories) > 3)
            about = {  # in words, for `adlib data cache`
                "encoder": f"{method.encoder.name}, layers {list(method.encoder.layers)}",
                "frame": f"{height} x {width}",
                "images": f"{len(images)} of {named}",
            }
            _write(path, encode(method, images, device, dtype, label), len(images), about)
            found = _read(path)
    if found is None:
        raise OSError(f"{path} was just written and cannot be read back")
    return found


def _read(path: Path) -> Float16[Tensor, "n g t c"] | None:
    """The features in a file of the cache; None where there is none, or an older adlib's.

    Raises:
        ValueError: It is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if check_seal(path) is None:
            return None
        with safe_open(path, framework="pt") as file:
            features = file.get_tensor("features")
    except FileNotFoundError:
        return None
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    with suppress(OSError):  # another user's, or removed just now
        os.utime(path)  # when it was last used, for who wants to remove the oldest
    return features


def _write(path: Path, batches: Iterator[Tensor], n: int, about: dict[str, str]) -> None:
    """Write a safetensors file batch by batch, so that no set of images must fit in memory."""
    first = next(batches).to("cpu", torch.float16)
    shape = [n, *first.shape[1:]]
    size = 2 * math.prod(shape)
    if size / 2**20 > free_mib(path.parent):
        raise OSError(
            f"the feature cache needs {size / 2**20:,.0f} MiB and {path.parent} has "
            f"{free_mib(path.parent):,.0f} MiB free; set ADLIB_CACHE to a folder on a larger disk"
        )
    header = {
        "__metadata__": about | {"sha256": UNSEALED},
        "features": {"dtype": "F16", "shape": shape, "data_offsets": [0, size]},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as work:
        with work.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for batch in chain([first], batches):
                file.write(batch.to("cpu", torch.float16).numpy().tobytes())
        seal(work)


@dataclass(frozen=True, kw_only=True)
class CacheFile:
    """One file of the cache."""

    path: Path
    mib: float
    days: float  #: since it was last used
    about: dict[str, str]  #: encoder, frame and images, in words; empty for a leftover


def cache_files() -> list[CacheFile]:
    """Return all files of the cache, those used last first."""
    from safetensors import SafetensorError, safe_open

    found = []
    for path in (cache_folder() / "features").glob("*.safetensors*"):
        try:
            with safe_open(path, framework="pt") as file:
                about = {k: v for k, v in (file.metadata() or {}).items() if k != "sha256"}
        except (OSError, SafetensorError):
            about = {}
        stat = path.stat()
        days = max(0.0, (time.time() - stat.st_mtime) / 86400)  # 0 where the clock was set back
        found.append(CacheFile(path=path, mib=stat.st_size / 2**20, days=days, about=about))
    return sorted(found, key=lambda f: f.days)


def cache_mib() -> float:
    """Return what all files of the cache take, in MiB."""
    return sum((file.mib for file in cache_files()), 0.0)


def prune_cache(older: float = 0.0) -> float:
    """Remove cached features; a file being written is left.

    Args:
        older: Only files that were not used for so many days, at least 0.
    Returns:
        What was freed, in MiB.
    Raises:
        ValueError: `older` is negative or not a number.
    """
    if not older >= 0:  # so that NaN is refused as well
        raise ValueError(f"expected an age of 0 days or more, got {older}")
    freed = 0.0
    for file in cache_files():
        key = file.path.name.lstrip(".").split(".")[0]
        with suppress(BusyError):
            if file.days >= older:
                with locked(file.path.parent / f"{key}.lock", wait=False):
                    file.path.unlink(missing_ok=True)
                    freed += file.mib
    return freed
