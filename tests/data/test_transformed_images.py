"""Transformed images are the transform's, and each is decoded once while there is room."""

import pickle
from collections import Counter

import numpy as np
import pytest

from adlib.anomalies.transformed_images import (
    ArrayCache,
    TransformedImages,
    transform_mask,
    transform_pixels,
)
from adlib.data.dataset import ImageDataset, ImageRef, Sample
from adlib.data.transform import ImageTransform

READ: Counter[str] = Counter()
BLANK = np.zeros((40, 60), dtype=bool)


def make(reference: ImageRef) -> Sample:
    """A picture that follows from its name; the mask is a corner."""
    READ[reference.path] += 1
    rng = np.random.default_rng(int(reference.path))
    mask = BLANK.copy()
    mask[:4, :6] = reference.label
    return Sample(
        image=rng.integers(0, 255, (40, 60, 3), dtype=np.uint8),
        mask=None if reference.defect == "unmarked" else mask,
        label=reference.label,
        category="a",
        defect=reference.defect,
        path=reference.path,
    )


def images(*defects: str) -> TransformedImages:
    references = [ImageRef(path=str(i), category="a", defect=d) for i, d in enumerate(defects)]
    data = ImageDataset(references, make, lambda r: r.path.encode())
    return TransformedImages(data, ImageTransform(size=(20, 30)))


@pytest.mark.parametrize(
    "frame", [ImageTransform(size=(37, 51)), ImageTransform(size=(20, 30), resize=(32, 45))]
)
def test_bytes_are_those_behind_the_transform(frame: ImageTransform) -> None:
    image = make(ImageRef(path="0", category="a", defect="good")).image
    pixels = transform_pixels(image, frame)
    assert pixels.shape == (*frame.size, 3)
    assert np.array_equal(pixels.transpose(2, 0, 1) / np.float32(255), frame.image(image))


def test_masks_are_resized_to_the_nearest_pixel_and_cut_with_the_image() -> None:
    mask = BLANK.copy()
    mask[10:20, 30:45] = True
    for size, resize, expected in (
        ((20, 30), None, mask[::2, ::2]),
        ((20, 30), (40, 60), mask[10:30, 15:45]),
        ((80, 120), None, mask.repeat(2, 0).repeat(2, 1)),
    ):
        assert np.array_equal(
            transform_mask(mask, ImageTransform(size=size, resize=resize)), expected
        )


@pytest.mark.parametrize(("y", "x"), [(39, 59), (13, 17), (0, 0), (21, 1)])
def test_a_defect_of_one_pixel_survives(y: int, x: int) -> None:
    mask = BLANK.copy()
    mask[y, x] = True
    small = transform_mask(mask, ImageTransform(size=(10, 7)))
    assert small.sum() == 1
    assert small[y * 10 // 40, x * 7 // 60]


def test_each_image_is_decoded_once() -> None:
    READ.clear()
    transformed = images("good", "cut", "good")
    assert len(transformed) == 3
    for _ in range(4):
        for i in range(3):
            transformed.pixels(i)
    assert set(READ.values()) == {1}
    assert transformed.mask(1)[:2, :3].all()
    with pytest.raises(ValueError, match="read-only"):
        transformed.pixels(0)[0, 0] = 1


def test_a_full_cache_keeps_what_it_has_and_makes_the_rest_anew() -> None:
    made: Counter[int] = Counter()

    def array(i: int) -> np.ndarray:
        made[i] += 1
        return np.full(100, i, dtype=np.uint8)

    cache = ArrayCache(250)
    for _ in range(3):
        for i in range(4):
            assert (cache.get(i, lambda i=i: array(i)) == i).all()
    assert cache.bytes == 200
    assert made == {0: 1, 1: 1, 2: 3, 3: 3}
    copy = pickle.loads(pickle.dumps(cache))  # noqa: S301
    assert (copy.limit, copy.bytes) == (250, 0)


def test_a_mask_without_a_defect_is_refused_by_name() -> None:
    transformed = images("unmarked", "good")
    for i, words in ((0, "0: .* it has none"), (1, "1: .* an empty one")):
        with pytest.raises(ValueError, match=words):
            transformed.mask(i)
