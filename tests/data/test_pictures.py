"""What `predict` takes is checked before anything is computed."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from adlib.data.dataset import Sample
from adlib.data.readers.pictures import check_pictures, list_pictures
from adlib.engine.gallery import write_gallery
from adlib.engine.predict import predict_each
from adlib.methods import ProAD
from adlib.metrics.threshold import Levels

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


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(GOOD).save(path)
    return path


def test_a_folder_s_photographs_are_those_outside_of_hidden_masks_and_earlier_results(
    tmp_path: Path,
) -> None:
    root = tmp_path / "photos"
    mine = [save(root / name) for name in ("a.png", "day/b.png", "day/overlays/c.png")]
    for name in (".thumbs/t.jpg", "__MACOSX/a.jpg", "day/._b.png", "ground_truth/cut/a_mask.png"):
        save(root / name)
    save(root / "day/masks/b_mask.png")
    heat = np.zeros(GOOD.shape[:2], dtype=np.float32)
    row = ("a.png", GOOD, heat, 0.1)
    write_gallery(
        root / "day/found", [row], levels=Levels(threshold=0.5, scale=(0.0, 1.0)), promise=""
    )
    assert list_pictures(root) == mine
    mask = root / "day/masks/b_mask.png"
    assert list_pictures(root / "day/masks") == [mask]  # as asked for
    assert len(list_pictures(root / "day/found")) == 2
    assert list_pictures(root / ".thumbs") == [root / ".thumbs/t.jpg"]
    for path in mine:
        path.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"no images in .*photos,.* folders of masks and earlier"
    ):
        list_pictures(root)


def test_a_link_that_leads_nowhere_is_said_to(tmp_path: Path) -> None:
    for name in ("a.png", "b"):
        (tmp_path / name).symlink_to(tmp_path / "gone")
        for asked in (tmp_path / name, tmp_path)[: 2 if name == "a.png" else 1]:
            words = rf"/{name} -> .*/gone is a link that leads nowhere$"
            with pytest.raises(FileNotFoundError, match=words):
                check_pictures(list_pictures(asked))


def test_what_is_an_image_passes_and_what_is_not_there_is_still_that(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    sample = Sample(image=GOOD, mask=None, label=False, category="c", defect="good", path="p")
    check_pictures([GOOD, tmp_path / "a.png", str(tmp_path / "a.png"), sample])
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        check_pictures([GOOD, tmp_path / "nowhere.png"])


def test_unreadable_files_can_be_left_out(tmp_path: Path, tiny: ProAD) -> None:
    for name in ("a.png", "c.png", "d.png"):
        save(tmp_path / name)
    (tmp_path / "b.png").write_bytes(b"no image")
    (tmp_path / "e.jpg").symlink_to(tmp_path / "gone")
    content = bytearray((tmp_path / "c.png").read_bytes())
    at = content.index(b"IDAT") + 8
    content[at : at + 12] = bytes(12)  # the end is whole, so that decoding alone shows it
    (tmp_path / "c.png").write_bytes(content)
    unreadable: list[str] = []
    rows = list(predict_each(tiny, tmp_path, unreadable=unreadable))
    assert [Path(row[0]).name for row in rows] == ["a.png", "d.png"]
    assert [Path(text.split(": ")[0].split(" -> ")[0]).name for text in unreadable] == [
        "b.png", "e.jpg", "c.png",
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"2 of 5 files cannot be used:\n.*b\.png"):
        next(predict_each(tiny, tmp_path))
