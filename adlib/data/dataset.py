"""What a data set yields: an image, its mask and label, and where they come from."""

import hashlib
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import SupportsIndex

import numpy as np
from jaxtyping import Bool, Int, UInt8
from tqdm import tqdm

from adlib.data.image_io import read_header, read_image, read_mask

GOOD = "good"  # the name of the folder of normal images in MVTec AD


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One decoded image at its original size."""

    image: UInt8[np.ndarray, "h w 3"]  #: sRGB, 8 bit, upright
    #: True where a pixel is defective; all False if normal; None for a defective one without mask
    mask: Bool[np.ndarray, "h w"] | None
    label: bool  #: True for anomalous
    category: str  #: the product or surface shown
    defect: str  #: the kind of defect, "good" when normal
    path: str  #: the file, or a made name such as "builtin/weave/test/cut/003"


@dataclass(frozen=True, kw_only=True)
class ImageRef:
    """Where a sample comes from, without its pixels; `mask` is a file path or None."""

    path: str
    category: str
    defect: str
    mask: str | None = None

    @property
    def label(self) -> bool:
        """True for anomalous."""
        return self.defect != GOOD

    @property
    def name(self) -> str:
        """The last part of the path in Unicode form C, alike on every file system."""
        return unicodedata.normalize("NFC", Path(self.path).name)


class ImageDataset:
    """A map-style data set of samples; each access decodes or renders one image anew.

    It holds references only, so it is cheap to copy, to pickle and to send to a worker.

    Args:
        references: One per image, in the order of the index.
        read: Makes the sample of a reference; a module-level function or a `functools.partial` of
            one, so that it can be pickled.
        fingerprint: Bytes that change when the content of a reference's image or mask does.
    """

    def __init__(
        self,
        references: Sequence[ImageRef],
        read: Callable[[ImageRef], Sample],
        fingerprint: Callable[[ImageRef], bytes],
    ) -> None:
        self.references = tuple(references)
        self._read = read
        self._fingerprint = fingerprint

    def __len__(self) -> int:
        return len(self.references)

    def __getitem__(self, index: SupportsIndex) -> Sample:
        return self._read(self.references[index])

    def __iter__(self) -> Iterator[Sample]:
        return map(self._read, self.references)

    @property
    def labels(self) -> Bool[np.ndarray, " n"]:
        """True for each anomalous image, in the order of the index; reads no file."""
        return np.array([r.label for r in self.references], dtype=bool)

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories that occur, sorted."""
        return tuple(sorted({r.category for r in self.references}))

    def select(
        self, indices: Sequence[int] | Int[np.ndarray, " k"] | Bool[np.ndarray, " n"]
    ) -> "ImageDataset":
        """The images at the given indices in the given order, or where a flag is True.

        Raises:
            IndexError: An index lies outside, or there is not one flag per image.
        """
        chosen = np.arange(len(self))[np.asarray(indices) if len(indices) else []]  # k
        return ImageDataset([self.references[i] for i in chosen], self._read, self._fingerprint)

    def of(self, category: str) -> "ImageDataset":
        """The images of one category.

        Raises:
            ValueError: No image has that category.
        """
        if category not in self.categories:
            raise ValueError(f"no category {category!r}; there are: {', '.join(self.categories)}")
        return self.select(np.array([r.category == category for r in self.references]))

    @cached_property
    def fingerprints(self) -> tuple[bytes, ...]:
        """Of each image, bytes that are equal where content and mask are; reads every file once."""
        each = tqdm(self.references, desc="hashing images", delay=2, leave=False)
        return tuple(self._fingerprint(r) for r in each)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the set of images as hex digits: category, defect, file name, content, mask.

        Neither the order nor the place of the files counts. Reads every file, once.
        """
        lines = []
        for r, mark in zip(self.references, self.fingerprints, strict=True):
            texts = (r.category, r.defect, r.name)  # a name on disk may be no text
            parts = [s.encode(errors="surrogateescape") for s in texts] + [mark]
            # each part is hashed by itself, so that no separator can be forged by a name
            lines.append(b"".join(hashlib.sha256(part).digest() for part in parts))
        return hashlib.sha256(b"".join(sorted(lines))).hexdigest()


@dataclass(frozen=True)
class DataSplits:
    """A data set: normal images to train on, images to test on, and the licence to show."""

    name: str  #: in a record
    train: ImageDataset  #: normal images only
    test: ImageDataset  #: normal and anomalous images, none of them in `train` or `seen`
    notice: str = ""  #: licence and citation, to be shown before use; empty where nothing is asked
    seen: ImageDataset | None = None  #: defects to train on (`adlib.data.split.supervise`), or None
    drawn: tuple[int, int] | None = None  #: how many of each category were asked for, and the seed
    notes: tuple[str, ...] = ()  #: sentences about surprises in the files

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories of either split, sorted."""
        return tuple(sorted({*self.train.categories, *self.test.categories}))

    @property
    def splits(self) -> tuple[ImageDataset, ...]:
        """Train, test, and seen where it is there."""
        both = (self.train, self.test)
        return both if self.seen is None else (*both, self.seen)

    @property
    def references(self) -> tuple[ImageRef, ...]:
        """Those of all splits."""
        return tuple(r for split in self.splits for r in split.references)

    @property
    def hash(self) -> str:
        """SHA-256 over the digests of the splits, as hex digits."""
        return hashlib.sha256(" ".join(s.digest for s in self.splits).encode()).hexdigest()


def read_files(reference: ImageRef, *, soft: bool = False) -> Sample:
    """Decodes the image file of a reference, and its mask file where it has one.

    Args:
        reference: Of files.
        soft: As `read_mask` takes it; benchmarks count every value above 0, as their papers do.
    Raises:
        ValueError: A file is not what `read_image` and `read_mask` accept, or the mask has another
            size than the image.
    """
    image = read_image(reference.path)
    (h, w), mask = image.shape[:2], None
    if reference.mask is not None:
        mask = read_mask(reference.mask, soft=soft)
        if mask.shape != (h, w):
            turns = {
                "image": read_header(reference.path)[2],
                "mask": read_header(reference.mask, mask=True)[2],
            }
            one, other = sorted(turns, key=turns.__getitem__)
            exif = (
                f"; EXIF turns the {other} (orientation {turns[other]}) and not the {one}: turn "
                "both alike"
            )
            raise ValueError(
                f"{reference.mask}: expected a mask of the size of its image {reference.path}, "
                f"{w} x {h} (width x height), got {mask.shape[1]} x {mask.shape[0]}"
                + (exif if turns[other] > 4 and mask.shape == (w, h) else "")
            )
    elif not reference.label:
        mask = np.zeros((h, w), dtype=bool)
    return Sample(
        image=image,
        mask=mask,
        label=reference.label,
        category=reference.category,
        defect=reference.defect,
        path=reference.path,
    )


def hash_files(reference: ImageRef) -> bytes:
    """SHA-256 of the image file followed by that of the mask file, where there is one."""
    files = [reference.path] if reference.mask is None else [reference.path, reference.mask]
    return b"".join(hashlib.sha256(Path(file).read_bytes()).digest() for file in files)
