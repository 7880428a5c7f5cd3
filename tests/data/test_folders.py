"""Layouts are read by name, and what is missing or wrong is said when the set is built."""

import hashlib
import re
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


def mvtec(root: Path, defects: tuple[str, ...] = ("dent", "hole")) -> Path:
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
    data = load_folder(tmp_path / "parts")
    assert data.name == "parts"
    assert data.categories == ("bolt", "nut")
    assert (len(data.train), len(data.test)) == (6, 12)
    assert not data.train.labels.any()
    assert data.test.labels.sum() == 8
    assert {r.defect for r in data.test.references} == {"good", "dent", "hole"}
    one = load_folder(tmp_path / "parts/nut")
    assert (one.name, one.categories) == ("nut", ("nut",))
    assert one.test.digest == load_folder(tmp_path / "parts", categories=["nut"]).test.digest


def test_masks_are_paired_by_name_never_by_order(tmp_path: Path) -> None:
    root = mvtec(tmp_path / "nut", defects=())
    columns = {"9": 1, "10": 2, "b.2": 3, "B": 4, "a_mask": 5}  # sorted otherwise as masks
    for stem, column in columns.items():
        draw(root / "test/dent" / f"{stem}.JPG", column)
    for k, (stem, column) in enumerate(columns.items()):
        mask(root / "ground_truth/dent" / (stem + ("_mask.png", ".bmp")[k % 2]), column)
    test = load_folder(root).test
    for sample in test.select(test.labels):
        assert sample.mask is not None
        assert np.argwhere(sample.mask).tolist() == [[1, columns[Path(sample.path).stem]]]


T = "nut/ground_truth/"
WRONG = [  # files to remove (-), masks (m) or images to add, folders (/), and what is said
    (f"-{T}hole/001_mask.png", rf"1 of 4 defective images have no mask, .*{T}hole/001_mask\.png"),
    (f"m{T}hole/007_mask.png m{T}dirt/000_mask.png",
     rf"2 of 6 masks have no image, the first is .*{T}dirt/000_mask\.png"),
    (f"m{T}dent/001.png", r"dent/001.png has two masks, .*001.* and .*001"),
    (f"m{T}dent/001_mask.bmp", r"001_mask.* and .*001_mask.* are masks of one name"),
    ("nut/test/dent/001.jpg", r"have one name, so a mask fits both; rename one"),
    ("nut/groundtruth/dent/000.png",
     r"a folder 'groundtruth'; expected only train, test, ground_truth; did you mean 'ground_tr"),
    ("nut/test/masks/000.png", r"test holds a folder 'masks' of masks; put them into .*truth/DEF"),
    *((f"nut/test/{name}/0.png", rf"test holds a folder '{name}'; did you mean 'good'\?")
      for name in ("Good", "OK", "normal", "no_defect")),
    ("nut/train/bad/0.png", r"train holds a folder 'bad'; expected only good"),
    ("nut/test/dent/good/0.png", r"dent holds a folder 'good', which belongs beside it"),
    ("nut/test/0.png nut/test/1.jpg", r"test holds 2 loose images; put the images into .*test/goo"),
    ("bolt/train/fine/0.png", r"no folder 'good' in .*bolt; .*bolt/train/good/.*only: nut$"),
    ("bolt/train/good/0.png", r"no folder .*bolt/test; expected .*bolt/test/DEFECT/"),
    ("bolt/train/good/0.png bolt/test/", r"no images under .*bolt/test; expected"),
    ("bolt/good/0.png bolt/ugly/0.png", r"a folder 'ugly'; expected only good, bad, masks$"),
    ("bolt/good/", r"no images in .*bolt/good: it is empty; expected files ending in \.bmp"),
    ("bolt/good/0.png bolt/1.png", r"holds 1 loose image; put the good ones into .*bolt/good and"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), WRONG)
def test_a_folder_that_is_not_as_it_should_be_is_explained(
    tmp_path: Path, changes: str, words: str
) -> None:
    mvtec(tmp_path / "nut")
    for change in changes.split():
        path = tmp_path / re.sub("^[-m]", "", change)
        if change[0] == "-":
            path.unlink()
        elif change.endswith("/"):
            path.mkdir(parents=True)
        else:
            (mask if change[0] == "m" else draw)(path)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        load_folder(tmp_path)
    if "nut/" not in changes:  # the other category can be read nevertheless
        assert load_folder(tmp_path, categories="nut").categories == ("nut",)


@pytest.mark.parametrize(
    ("files", "asked", "words"),
    [
        ("screws/", "screw", r"no folder .*/screw; did you mean 'screws'\?"),
        ("screws/", "screws", r"screws holds no image and no folder; expected FOLDER/good"),
        ("s/fine/", "s", r"no folder 'good' under .*s, only fine; rename 'fine' to 'good'$"),
        ("s/defect-free/ s/NG/", "s", r"rename 'NG' to 'bad' and rename 'defect-free' to 'good'$"),
        ("a.png b.jpg", "", r"holds 2 loose images; put the good ones into .*good and the defec"),
        ("a.png", "a.png", r"a.png is a file; expected a folder of images, or a table that ends"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, files: str, asked: str, words: str) -> None:
    for name in files.split():
        path = tmp_path / name
        path.mkdir(parents=True) if name.endswith("/") else draw(path)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        load_folder(tmp_path / asked)


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
    path = mvtec(tmp_path / "nut") / split / "000.png"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"000.png: expected a whole image file"):
        load_folder(tmp_path / "nut")


def test_plain_folder_holds_out_by_the_hash_of_the_name(tmp_path: Path) -> None:
    names = [f"{k}.png" for k in range(10)]
    for k, name in enumerate(names):
        draw(tmp_path / "screws/good" / name, k)
        draw(tmp_path / "nuts/good" / name, 100 + k)
    for k, name in enumerate("xy"):
        draw(tmp_path / "screws/bad" / f"{name}.png", 50 + k)
    mask(tmp_path / "screws/masks/y.png", 4)
    data = load_folder(tmp_path, holdout=0.3)
    assert data.categories == ("nuts", "screws")
    ranked = sorted(names, key=lambda n: hashlib.sha256(n.encode()).hexdigest())
    for category in data.categories:
        good = [r for r in data.test.of(category).references if not r.label]
        assert {r.name for r in good} == set(ranked[:3])
        assert {r.name for r in data.train.of(category).references} == set(ranked[3:])
    x, y = data.test.select(data.test.labels)
    assert (x.defect, x.mask) == ("bad", None)
    assert y.mask is not None
    assert np.argwhere(y.mask).tolist() == [[1, 4]]


@pytest.mark.parametrize(
    ("n", "fraction", "held"), [(1, 0.2, 0), (2, 0.2, 1), (2, 0.9, 1), (10, 0.25, 2)]
)
def test_held_names_takes_at_least_one_and_never_all(n: int, fraction: float, held: int) -> None:
    assert len(held_names([str(k) for k in range(n)], fraction)) == held


def test_a_later_image_changes_at_most_one_that_is_held_out() -> None:
    names = [f"{k}.png" for k in range(50)]
    before, after = held_names(names, 0.2), held_names([*names, "later.png"], 0.2)
    assert len(before ^ after) <= 2


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
    monkeypatch.chdir(tmp_path / "store")
    assert load_folder(tmp_path / "nut").name == "nut"
    assert load_folder(Path("v1")).categories == ("v1",)
