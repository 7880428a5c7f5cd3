"""Framed images are those of the frame, and each is decoded once while there is room."""

import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from adlib.anomalies.framed import Shelf, TransformedImages, frame_mask, frame_pixels
from adlib.data.dataset import ImageDataset, ImageRef, Sample
from adlib.data.transform import ImageTransform

READ: Counter[str] = Counter()
BLANK = np.zeros((40, 60), dtype=bool)


def make(reference: ImageRef) -> Sample:
    """A picture that follows from its name; the mask is a corner."""
    READ[reference.path] += 1
    pixels = np.random.default_rng(int(reference.path)).integers(
        0, 255, (40, 60, 3), dtype=np.uint8
    )
    mask = BLANK.copy()
    mask[:4, :6] = reference.label
    return Sample(
        image=pixels,
        mask=None if reference.defect == "unmarked" else mask,
        label=reference.label,
        category="a",
        defect=reference.defect,
        path=reference.path,
    )


def images(*defects: str) -> ImageDataset:
    references = [ImageRef(path=str(i), category="a", defect=d) for i, d in enumerate(defects)]
    return ImageDataset(references, make, lambda r: r.path.encode())


@pytest.mark.parametrize(
    "frame", [ImageTransform(size=(37, 51)), ImageTransform(size=(20, 30), resize=(32, 45))]
)
def test_bytes_are_those_behind_the_frame(frame: ImageTransform) -> None:
    image = make(images("good").references[0]).image
    pixels = frame_pixels(image, frame)
    assert pixels.shape == (*frame.size, 3)
    assert np.array_equal(pixels.transpose(2, 0, 1) / np.float32(255), frame.image(image))


def test_masks_are_resized_to_the_nearest_pixel_and_cut_with_the_image() -> None:
    mask = BLANK.copy()
    mask[10:20, 30:45] = True
    half = frame_mask(mask, ImageTransform(size=(20, 30)))
    assert np.array_equal(half, mask[::2, ::2])
    cut = frame_mask(mask, ImageTransform(size=(20, 30), resize=(40, 60)))
    assert np.array_equal(cut, mask[10:30, 15:45])
    assert np.array_equal(
        frame_mask(mask, ImageTransform(size=(80, 120))), mask.repeat(2, 0).repeat(2, 1)
    )


def test_a_defect_of_one_pixel_survives_the_frame() -> None:
    for y, x in ((39, 59), (13, 17), (0, 0), (21, 1)):
        mask = BLANK.copy()
        mask[y, x] = True
        small = frame_mask(mask, ImageTransform(size=(10, 7)))
        assert small.sum() == 1
        assert small[y * 10 // 40, x * 7 // 60]


def test_each_image_is_decoded_once() -> None:
    READ.clear()
    framed = TransformedImages(images("good", "cut", "good"), ImageTransform(size=(20, 30)))
    assert len(framed) == 3
    for _ in range(4):
        for i in range(3):
            framed.pixels(i)
    assert set(READ.values()) == {1}
    assert framed.mask(1)[:2, :3].all()
    with pytest.raises(ValueError, match="read-only"):
        framed.pixels(0)[0, 0] = 1


def test_a_full_shelf_keeps_what_it_has_and_makes_the_rest_anew() -> None:
    made: Counter[int] = Counter()

    def array(i: int) -> np.ndarray:
        made[i] += 1
        return np.full(100, i, dtype=np.uint8)

    shelf = Shelf(250)
    for _ in range(3):
        for i in range(4):
            assert (shelf.get(i, lambda i=i: array(i)) == i).all()
    assert shelf.bytes == 200
    assert made == {0: 1, 1: 1, 2: 3, 3: 3}
    copy = pickle.loads(pickle.dumps(shelf))  # noqa: S301
    assert (copy.limit, copy.bytes) == (250, 0)


def test_a_mask_that_says_nothing_is_refused_by_name() -> None:
    framed = TransformedImages(images("unmarked", "good"), ImageTransform(size=(20, 30)))
    with pytest.raises(ValueError, match="0: to train on a defect takes a mask, and it has none"):
        framed.mask(0)
    with pytest.raises(ValueError, match="1: expected a mask with a defect, got an empty one"):
        framed.mask(1)
    assert replace(framed.references[0], path="7").path == "7"
