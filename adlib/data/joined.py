"""Several data sets as one, for one model of all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from adlib.data.dataset import DataSplits, ImageDataset, ImageRef, Sample

Places = Mapping[ImageRef, tuple[ImageDataset, int]]  # where each image of the whole comes from


def join(parts: Sequence[DataSplits]) -> DataSplits:
    """Join data sets; each keeps its images, and its categories are called NAME/CATEGORY.

    Their seen defects are left out: methods that learn from defects are trained a category each.

    Args:
        parts: At least two, of different names.
    Returns:
        A data set called after all of them, such as "builtin+solar", with all their notices.
    Raises:
        ValueError: There is only one, or two of one name, whose categories could not be told apart.
    """
    names = [part.name for part in parts]
    if len(set(names)) < max(2, len(names)):
        raise ValueError(f"expected two data sets of different names, got {', '.join(names)}")
    return DataSplits(
        name="+".join(names),
        train=_together({part.name: part.train for part in parts}),
        test=_together({part.name: part.test for part in parts}),
        notice="\n".join(dict.fromkeys(part.notice for part in parts if part.notice)),
    )


def _together(parts: Mapping[str, ImageDataset]) -> ImageDataset:
    places: dict[ImageRef, tuple[ImageDataset, int]] = {}
    for name, images in parts.items():
        for i, reference in enumerate(images.references):
            places[replace(reference, category=f"{name}/{reference.category}")] = images, i
    return ImageDataset(tuple(places), partial(_read, places), partial(_fingerprint, places))


def _read(places: Places, reference: ImageRef) -> Sample:
    images, i = places[reference]
    return replace(images[i], category=reference.category)


def _fingerprint(places: Places, reference: ImageRef) -> bytes:
    images, i = places[reference]
    return images.fingerprints[i]
