"""A data set is a list of references; its digest is that of its content."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adlib.data.dataset import DataSplits, ImageDataset, ImageRef, hash_files, read_files


def images(root: Path) -> ImageDataset:
    """Five images in two categories, one of them defective with a mask."""
    rng = np.random.default_rng(0)
    references = []
    for k, kind in enumerate(("nut/good", "bolt/good", "nut/bent", "bolt/good", "nut/good")):
        path, (category, defect) = root / kind / f"{k}.png", kind.split("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 31, 3), dtype=np.uint8)).save(path)
        mask = None if defect == "good" else str(root / "mask.png")
        references.append(ImageRef(path=str(path), category=category, defect=defect, mask=mask))
    Image.fromarray(np.eye(20, 31, dtype=np.uint8) * 255).save(root / "mask.png")
    return ImageDataset(references, read_files, hash_files)


def test_samples_labels_and_categories(tmp_path: Path) -> None:
    data = images(tmp_path)
    assert len(data) == len(list(data)) == 5
    assert data.categories == ("bolt", "nut")
    assert data.labels.tolist() == [False, False, True, False, False]
    good, bent = data[0], data[np.int64(2)]
    assert good.mask is not None
    assert not good.label
    assert not good.mask.any()
    assert good.mask.shape == good.image.shape[:2] == (20, 31)
    assert bent.label
    assert bent.mask is not None
    assert np.array_equal(bent.mask, np.eye(20, 31, dtype=bool))
    with pytest.raises(IndexError):
        data[5]


def test_select_and_of_keep_the_order(tmp_path: Path) -> None:
    data = images(tmp_path)
    names = [r.name for r in data.select([4, 0]).references]
    assert names == ["4.png", "0.png"]
    assert [r.name for r in data.select(data.labels).references] == ["2.png"]
    assert [r.name for r in data.of("nut").references] == ["0.png", "2.png", "4.png"]
    assert len(data.select([])) == 0
    with pytest.raises(IndexError):
        data.select([5])
    with pytest.raises(ValueError, match="no category 'net'; there are: bolt, nut"):
        data.of("net")


def test_it_pickles_without_pixels(tmp_path: Path) -> None:
    data = images(tmp_path)
    packed = pickle.dumps(data)
    assert len(packed) < 2_000
    copy = pickle.loads(packed)  # noqa: S301
    assert np.array_equal(copy[3].image, data[3].image)
    assert copy.digest == data.digest


def test_digest_knows_content_and_names_but_neither_place_nor_order(tmp_path: Path) -> None:
    here, there = images(tmp_path / "here"), images(tmp_path / "far" / "there")
    assert here.digest == there.digest
    assert here.select([4, 2, 0, 1, 3]).digest == here.digest
    assert here.select([0, 1, 2, 3]).digest != here.digest

    for part in ("path", "mask"):  # one flipped byte of an image, and of a mask
        changed = images(tmp_path / part)
        file = Path(getattr(changed.references[2], part))
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        assert changed.digest != here.digest

    renamed = images(tmp_path / "renamed")
    references = list(renamed.references)
    Path(references[0].path).rename(tmp_path / "renamed" / "9.png")
    references[0] = ImageRef(
        path=str(tmp_path / "renamed" / "9.png"), category="nut", defect="good"
    )
    assert ImageDataset(references, read_files, hash_files).digest != here.digest


def test_digest_tells_apart_what_joins_to_the_same_text() -> None:
    def digest(category: str, defect: str) -> str:
        one = ImageRef(path="x", category=category, defect=defect)
        return ImageDataset([one], read_files, lambda _: b"same").digest

    assert digest("ab", "c") != digest("a", "bc")


def test_data_joins_both_splits(tmp_path: Path) -> None:
    everything = images(tmp_path)
    train, test = everything.select([0]), everything.select([1, 2])
    data = DataSplits("parts", train, test)
    assert data.categories == ("bolt", "nut")
    assert data.notice == ""
    assert data.hash == DataSplits("other", train, test).hash
    assert data.hash != DataSplits("parts", test, train).hash


def test_mask_of_another_size_is_named(tmp_path: Path) -> None:
    data = images(tmp_path)
    Image.new("L", (30, 20)).save(tmp_path / "mask.png")
    words = r"mask.png: expected a mask of the size of its image .*2.png, 31 x 20 .*got 30 x 20"
    with pytest.raises(ValueError, match=words):
        data[2]
