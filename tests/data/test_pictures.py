"""What `predict` takes is checked before anything is computed."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from adlib.data.pictures import check_pictures, list_pictures
from adlib.data.sample import Sample

GOOD = np.full((20, 30, 3), 90, dtype=np.uint8)


@pytest.mark.parametrize(
    ("picture", "got"),
    [
        (GOOD[..., 0], r"uint8 \(20, 30\)"),
        (GOOD.astype(np.float32), r"float32 \(20, 30, 3\)"),
        (GOOD.astype(np.uint16), r"uint16 \(20, 30, 3\)"),
        (GOOD[None], r"uint8 \(1, 20, 30, 3\)"),
        (np.concatenate([GOOD, GOOD[..., :1]], axis=2), r"uint8 \(20, 30, 4\)"),
        (torch.from_numpy(GOOD), r"torch\.Tensor"),
        (Image.fromarray(GOOD), r"PIL\.Image\.Image"),
    ],
)
def test_what_is_no_image_in_srgb_is_named(picture: Any, got: str) -> None:
    words = rf"^image 1: expected uint8 \(h, w, 3\) in sRGB, got {got}$"
    with pytest.raises((TypeError, ValueError), match=words):
        check_pictures([GOOD, picture])


def test_one_thing_that_is_no_sequence_is_a_list_of_one() -> None:
    picture = Image.fromarray(GOOD)
    unchecked: Any = inspect.unwrap(list_pictures)  # as outside of the tests
    assert unchecked(picture) == [picture]


def test_what_is_an_image_passes(tmp_path: Path) -> None:
    Image.fromarray(GOOD).save(tmp_path / "a.png")
    sample = Sample(image=GOOD, mask=None, label=False, category="c", defect="good", path="p")
    check_pictures([GOOD, tmp_path / "a.png", str(tmp_path / "a.png"), sample])


def test_a_file_that_is_not_there_is_still_that(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        check_pictures([GOOD, tmp_path / "nowhere.png"])
