"""The cache of frozen features: what the encoder says of each image, computed once.

One safetensors file a set of images: `features` (n, g, t, c) in fp16, memory-mapped when read. Its
name is a hash of everything that its content depends on, so a cache that does not fit is never
found, and it appears by renaming a finished file, so one half-written is never read.
"""

import hashlib
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float16
from torch import Tensor

from adlib.data.frame import Frame
from adlib.data.sample import Images, Sample
from adlib.progress import track

BATCH = 16  # images through the encoder at a time; ours


@runtime_checkable
class Extractor(Protocol):
    """What a method shows of its frozen part."""

    encoder: Any
    config: Any

    def extract(self, images: Float[Tensor, "b 3 h w"], /) -> Float[Tensor, "b g t c"]: ...


def cache_folder() -> Path:
    """ADLIB_CACHE, else the user's cache folder."""
    if folder := os.environ.get("ADLIB_CACHE"):
        return Path(folder)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "adlib"


def frame_of(method: Extractor) -> Frame:
    """The frame that a method's config asks for."""
    return Frame(size=method.config.size, resize=getattr(method.config, "resize", None))


def cache_key(method: Extractor, images: Images, dtype: torch.dtype) -> str:
    """SHA-256 of the weights, layers, frame, precision and the images' content, in hex."""
    frame = frame_of(method)
    parts = {
        "format": 1,
        "extract": getattr(type(method), "extract_id", type(method).__name__),
        "weights": method.encoder.digest,
        "layers": method.encoder.layers,
        "size": frame.size,
        "resize": frame.resize,
        "dtype": str(dtype),
        "images": images.digest,
        "order": [(r.category, r.defect, r.name) for r in images.references],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def batches(
    images: Images, frame: Frame, size: int = BATCH
) -> Iterator[tuple[list[Sample], Tensor]]:
    """Yield the samples of a batch and their framed pixels (b 3 h w, in [0, 1])."""
    for start in range(0, len(images), size):
        samples = [images[i] for i in range(start, min(start + size, len(images)))]
        yield samples, torch.from_numpy(np.stack([frame.image(s.image) for s in samples]))


def extract(
    method: Extractor, images: Images, device: torch.device, dtype: torch.dtype, label: str
) -> Iterator[Float[Tensor, "b g t c"]]:
    """Yield the frozen features of batch after batch, on `device`, computed in `dtype`."""
    frame = frame_of(method)
    bar = track(range(len(images)), label, unit="image")
    with torch.no_grad(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        for samples, pixels in batches(images, frame):
            yield method.extract(pixels.to(device))
            bar.update(len(samples))
    bar.close()


def cached_features(
    method: Extractor,
    images: Images,
    *,
    device: torch.device,
    dtype: torch.dtype,
    label: str = "encode",
) -> Float16[Tensor, "n g t c"]:
    """Return the features of all images in their order, from the cache or into it.

    Args:
        method: Gives `encoder`, `config` and `extract`.
        images: n images.
        device: Where to compute what is missing; the result lies on the CPU, memory-mapped.
        dtype: Precision of the encoder's forward pass.
    Raises:
        OSError: The cache's folder cannot be written, or its disk is too small; both are named.
    """
    if len(images) == 0:
        raise ValueError("no images to encode")
    path = cache_folder() / "features" / f"{cache_key(method, images, dtype)}.safetensors"
    if not path.is_file():
        _write(path, extract(method, images, device, dtype, label), len(images))
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.get_tensor("features")


def _write(path: Path, batches: Iterator[Tensor], n: int) -> None:
    """Write a safetensors file batch by batch, so that no set of images must fit in memory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first = next(batches).to("cpu", torch.float16)
    shape = [n, *first.shape[1:]]
    size = 2 * int(np.prod(shape, dtype=np.int64))
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise OSError(
            f"the feature cache needs {size / 2**20:,.0f} MiB and {path.parent} has "
            f"{free / 2**20:,.0f} MiB free; set ADLIB_CACHE to a folder on a larger disk"
        )
    header = {"features": {"dtype": "F16", "shape": shape, "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.write(first.numpy().tobytes())
            for batch in batches:
                file.write(batch.to("cpu", torch.float16).numpy().tobytes())
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
