"""Layouts are read by name, and what is missing or wrong is said when the set is built."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adlib.data.readers.folders import held_names, load_folder


def draw(path: Path, value: int = 0, size: tuple[int, int] = (23, 19)) -> Path:
    """An image of (width, height) whose first pixel tells it from others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", size, (90, 90, 90))
    picture.putpixel((0, 0), (value, 0, 0))
    picture.save(path)
    return path


def mask(path: Path, column: int = 0, size: tuple[int, int] = (23, 19)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("L", size)
    picture.putpixel((column, 1), 255)
    picture.save(path)
    return path


def mvtec(root: Path, defects: Sequence[str] = ("dent", "hole")) -> Path:
    """A category with 3 training images, 2 good ones, and 2 of each defect with masks."""
    for k in range(3):
        draw(root / "train/good" / f"{k:03}.png", k)
    for k in range(2):
        draw(root / "test/good" / f"{k:03}.png", 10 + k)
        for d, defect in enumerate(defects):
            draw(root / "test" / defect / f"{k:03}.png", 20 + 10 * d + k)
            mask(root / "ground_truth" / defect / f"{k:03}_mask.png", 2 * d + k)
    return root


def test_mvtec_layout_of_several_categories_and_of_one(tmp_path: Path) -> None:
    mvtec(tmp_path / "parts/nut")
    mvtec(tmp_path / "parts/bolt")
    (tmp_path / "parts/readme.txt").write_text("hello")
    data = load_folder(tmp_path / "parts")
    assert data.name == "parts"
    assert data.categories == ("bolt", "nut")
    assert (len(data.train), len(data.test)) == (6, 12)
    assert not data.train.labels.any()
    assert data.test.labels.sum() == 8
    assert {r.defect for r in data.test.references} == {"good", "dent", "hole"}
    one = load_folder(tmp_path / "parts/nut")
    assert one.name == "nut"
    assert one.categories == ("nut",)
    assert one.test.digest == load_folder(tmp_path / "parts", categories=["nut"]).test.digest


def test_masks_are_paired_by_name_never_by_order(tmp_path: Path) -> None:
    root = mvtec(tmp_path / "nut", defects=())
    columns = {"9": 1, "10": 2, "b.2": 3, "B": 4, "a_mask": 5}  # sorted otherwise as masks
    for stem, column in columns.items():
        draw(root / "test/dent" / f"{stem}.JPG", column)
    for k, (stem, column) in enumerate(columns.items()):
        mask(root / "ground_truth/dent" / (stem + ("_mask.png", ".bmp")[k % 2]), column)
    for sample in load_folder(root).test.select(load_folder(root).test.labels):
        assert sample.mask is not None
        expected = columns[Path(sample.path).stem]
        assert np.argwhere(sample.mask).tolist() == [[1, expected]]


def test_missing_masks_and_masks_without_image_are_counted(tmp_path: Path) -> None:
    root = mvtec(tmp_path / "nut")
    (root / "ground_truth/hole/001_mask.png").unlink()
    words = r"1 of 4 defective images have no mask, .*ground_truth/hole/001_mask\.png"
    with pytest.raises(FileNotFoundError, match=words):
        load_folder(root)
    mask(root / "ground_truth/hole/001_mask.png")
    mask(root / "ground_truth/hole/007_mask.png")
    mask(root / "ground_truth/dirt/000_mask.png")
    words = r"2 of 6 masks have no image, the first is .*ground_truth/dirt/000_mask\.png"
    with pytest.raises(FileNotFoundError, match=words):
        load_folder(root)


def test_ambiguous_names_are_refused(tmp_path: Path) -> None:
    root = mvtec(tmp_path / "nut")
    two = mask(root / "ground_truth/dent/001.png")
    with pytest.raises(ValueError, match=r"dent/001.png has two masks, .*001.* and .*001"):
        load_folder(root)
    two.unlink()
    two = mask(root / "ground_truth/dent/001_mask.bmp")
    with pytest.raises(ValueError, match=r"001_mask.* and .*001_mask.* are masks of one name"):
        load_folder(root)
    two.unlink()
    draw(root / "test/dent/001.jpg")
    with pytest.raises(ValueError, match=r"have one name, so a mask fits both; rename one"):
        load_folder(root)


def test_mask_of_another_size_fails_when_the_set_is_built(tmp_path: Path) -> None:
    root = mvtec(tmp_path / "nut")
    mask(root / "ground_truth/hole/001_mask.png", size=(19, 23))
    words = r"hole/001_mask.png: expected a mask of the size of its image .*23 x 19.*got 19 x 23"
    with pytest.raises(ValueError, match=words):
        load_folder(root)


def test_mask_fits_the_image_as_it_is_seen(tmp_path: Path) -> None:
    root = mvtec(tmp_path / "nut", defects=())
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    (root / "test/dent").mkdir()
    Image.new("RGB", (23, 19)).save(root / "test/dent/000.jpg", exif=exif)
    mask(root / "ground_truth/dent/000_mask.png", size=(19, 23))
    test = load_folder(root).test
    (sample,) = test.select(test.labels)
    assert sample.mask is not None
    assert sample.mask.shape == sample.image.shape[:2] == (23, 19)


@pytest.mark.parametrize("split", ["train/good", "test/hole"])
def test_a_bad_image_fails_when_the_set_is_built(tmp_path: Path, split: str) -> None:
    root = mvtec(tmp_path / "nut")
    path = root / split / "000.png"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"000.png: expected a whole image file"):
        load_folder(root)


def test_plain_folder_holds_out_by_the_hash_of_the_name(tmp_path: Path) -> None:
    root = tmp_path / "screws"
    names = [f"{k}.png" for k in range(10)]
    for k, name in enumerate(names):
        draw(root / "good" / name, k)
    draw(root / "bad/x.png", 50)
    draw(root / "bad/y.png", 51)
    mask(root / "masks/y.png", 4)
    data = load_folder(root, holdout=0.3)
    ranked = sorted(names, key=lambda n: hashlib.sha256(n.encode()).hexdigest())
    good = [r for r in data.test.references if not r.label]
    assert {r.name for r in good} == set(ranked[:3])
    assert {r.name for r in data.train.references} == set(ranked[3:])
    assert data.categories == ("screws",)
    x, y = (data.test[k] for k in np.flatnonzero(data.test.labels))
    assert (x.defect, x.mask) == ("bad", None)
    assert y.mask is not None
    assert np.argwhere(y.mask).tolist() == [[1, 4]]


def test_plain_categories_and_train_disjoint_from_test(tmp_path: Path) -> None:
    for c, category in enumerate(("nut", "bolt")):
        for k in range(5):
            draw(tmp_path / category / "good" / f"{k}.png", 10 * c + k)
    data = load_folder(tmp_path)
    assert data.categories == ("bolt", "nut")
    assert (len(data.train), len(data.test)) == (8, 2)
    contents = [{s.image.tobytes() for s in split} for split in (data.train, data.test)]
    assert contents[0].isdisjoint(contents[1])
    assert len(contents[0] | contents[1]) == 10


@pytest.mark.parametrize(
    ("n", "fraction", "held"), [(1, 0.2, 0), (2, 0.2, 1), (2, 0.9, 1), (10, 0.25, 2)]
)
def test_held_names_takes_at_least_one_and_never_all(n: int, fraction: float, held: int) -> None:
    assert len(held_names([str(k) for k in range(n)], fraction)) == held


def test_a_later_image_changes_at_most_one_that_is_held_out() -> None:
    names = [f"{k}.png" for k in range(50)]
    before, after = held_names(names, 0.2), held_names([*names, "later.png"], 0.2)
    assert len(before ^ after) <= 2


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "screws").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no folder .*/screw; did you mean 'screws'\?"):
        load_folder(tmp_path / "screw")
    with pytest.raises(FileNotFoundError, match=r"screws holds no image and no folder; expected"):
        load_folder(tmp_path / "screws")
    (tmp_path / "screws/fine").mkdir()
    with pytest.raises(
        FileNotFoundError,
        match=r"no folder 'good' under .*screws, only fine; rename 'fine' to 'good'$",
    ):
        load_folder(tmp_path / "screws")
    (tmp_path / "screws/good").mkdir()
    (tmp_path / "screws/fine").rmdir()
    with pytest.raises(
        FileNotFoundError, match=r"no images in .*good: it is empty; expected files"
    ):
        load_folder(tmp_path / "screws")


def test_train_without_good_and_a_missing_test(tmp_path: Path) -> None:
    draw(tmp_path / "nut/train/fine/0.png")
    with pytest.raises(FileNotFoundError, match=r"no folder 'good' in .*nut; .*nut/train/good/"):
        load_folder(tmp_path / "nut")
    draw(tmp_path / "bolt/train/good/0.png")
    with pytest.raises(FileNotFoundError, match=r"no folder .*bolt/test; expected .*test/DEFECT/"):
        load_folder(tmp_path / "bolt")
    (tmp_path / "bolt/test").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no images under .*bolt/test; expected"):
        load_folder(tmp_path / "bolt")
    draw(tmp_path / "bolt/test/dent/0.png")
    words = r"in .*/nut; .*if it is no category, ask for the others only: bolt$"
    with pytest.raises(FileNotFoundError, match=words):
        load_folder(tmp_path)
    assert load_folder(tmp_path, categories=["bolt"]).categories == ("bolt",)


def test_loose_images_are_told_where_to_go(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    draw(tmp_path / "b.jpg")
    words = r"holds 2 loose images; put the good ones into .*good and the defective .*bad"
    with pytest.raises(ValueError, match=words):
        load_folder(tmp_path)
    draw(tmp_path / "good/c.png")
    with pytest.raises(ValueError, match=words):
        load_folder(tmp_path)
    with pytest.raises(ValueError, match=r"a.png is a file; expected a folder of images"):
        load_folder(tmp_path / "a.png")


def test_folders_out_of_place_are_refused(tmp_path: Path) -> None:
    root = mvtec(tmp_path / "nut")
    draw(root / "groundtruth/dent/000.png")
    words = r"holds a folder 'groundtruth'; expected only train, test, ground_truth; did you mean"
    with pytest.raises(ValueError, match=words):
        load_folder(root)
    plain = tmp_path / "bolt"
    draw(plain / "good/0.png")
    draw(plain / "ugly/0.png")
    with pytest.raises(ValueError, match="holds a folder 'ugly'; expected only good, bad, masks"):
        load_folder(plain)


def test_unknown_category_and_nonsense_holdout(tmp_path: Path) -> None:
    mvtec(tmp_path / "nut")
    mvtec(tmp_path / "bolt")
    words = r"no category 'bolts' in .*; there are: bolt, nut; did you mean 'bolt'\?"
    with pytest.raises(ValueError, match=words):
        load_folder(tmp_path, categories=["nut", "bolts"])
    with pytest.raises(ValueError, match=r"no category \(none named\)"):
        load_folder(tmp_path, categories=[])
    for nonsense in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match=r"holdout must lie in \(0, 1\), got"):
            load_folder(tmp_path, holdout=nonsense)


def test_a_link_and_a_relative_path_keep_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mvtec(tmp_path / "store" / "v1")
    (tmp_path / "nut").symlink_to(tmp_path / "store" / "v1")
    monkeypatch.chdir(tmp_path / "nut")
    assert load_folder(tmp_path / "nut").name == "nut"
    monkeypatch.chdir(tmp_path / "store")
    assert load_folder(Path("v1")).categories == ("v1",)
