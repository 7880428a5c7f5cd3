"""`adlib data check` says in plain words what is wrong with a folder, and what it is good for."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from PIL import Image

from adlib.data import load_data
from adlib.data.tools import catalogue
from adlib.data.tools.catalogue import Counts
from adlib.data.tools.check import check_benchmark, check_own
from adlib.data.tools.duplicates import alike, duplicates
from tests import made_benchmarks as made


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """MVTec AD as if it held what the made one does, so that a small folder is complete."""
    one = Counts(train=3, good=2, bad=4)
    monkeypatch.setitem(
        catalogue.BENCHMARKS,
        "mvtec-ad",
        replace(
            catalogue.BENCHMARKS["mvtec-ad"],
            categories=("bottle", "cable"),
            each=MappingProxyType({"bottle": one, "cable": one}),
            counts=Counts(train=6, good=4, bad=8, images=18),
        ),
    )


def said(name: str, root: Path, **options: bool) -> str:
    report = check_benchmark(name, root, **options) if name else check_own(root, **options)
    return "\n".join(report.lines())


def test_a_right_folder(tmp_path: Path, small: None) -> None:
    root = made.mvtec_ad(tmp_path / "mvtec")
    assert said("mvtec-ad", tmp_path).splitlines() == [
        f"MVTec AD in {root}",
        "  ok       2 of 2 categories",
        "  ok       18 images, as many as its authors have",
        "  ok       every image and mask opens (add --decode to read each to its last pixel)",
        "  ok       no image occurs twice",
        "no problem; it will be used as 2 categories: 6 good images to train on, 4 good images "
        "and 8 defective to test on, each defective one with a mask: images and pixels can be "
        "scored",
    ]


def test_one_that_lacks_masks(tmp_path: Path, small: None) -> None:
    root = made.mvtec_ad(tmp_path)
    (root / "bottle/ground_truth/broken/001_mask.png").unlink()
    shutil.rmtree(root / "cable/ground_truth")
    text = said("mvtec-ad", root)
    truth = root / "bottle/ground_truth/broken/001_mask.png"
    assert f"PROBLEM  5 files are missing: {truth} (the mask of {root}/bottle/test/b" in text
    assert "and 2 more" in text
    assert text.endswith("1 problem; it cannot be used until that is mended")


def test_a_truncated_image(tmp_path: Path, small: None) -> None:
    root = made.mvtec_ad(tmp_path)
    path = root / "bottle/train/good/001.png"
    path.write_bytes(path.read_bytes()[:60])
    text = said("mvtec-ad", root)
    words = f"PROBLEM  1 of 18 images cannot be used: {path}: expected a "
    assert f"{words}whole image file" in text
    assert "opened" not in text
    assert text.endswith("1 problem; it cannot be used until that is mended")


def test_damage_inside_a_file_takes_decoding_to_see(tmp_path: Path, small: None) -> None:
    root = made.mvtec_ad(tmp_path)
    path = root / "bottle/train/good/001.png"
    content = bytearray(path.read_bytes())
    at = content.index(b"IDAT") + 8
    content[at : at + 12] = bytes(12)
    path.write_bytes(content)
    assert "no problem" in said("mvtec-ad", root)
    text = said("mvtec-ad", root, decode=True)
    assert f"1 of 18 images cannot be used: {path}" in text


def test_a_defect_whose_mask_is_black(tmp_path: Path, small: None) -> None:
    root = made.mvtec_ad(tmp_path)
    path = sorted((root / "bottle/ground_truth").rglob("*.png"))[0]
    with Image.open(path) as mask:
        Image.new("L", mask.size).save(path)
    words = "1 mask is all black though the image is defective, so that all its pixels count as"
    assert words not in said("mvtec-ad", root)  # headers do not tell
    assert f"note     {words} good: {path}" in said("mvtec-ad", root, decode=True)


def test_leakage_and_repeated_images(tmp_path: Path, small: None) -> None:
    root = made.mvtec_ad(tmp_path)
    train = root / "bottle/train/good"
    shutil.copy(train / "000.png", root / "bottle/test/good/001.png")
    shutil.copy(train / "001.png", root / "bottle/test/broken/000.png")
    shutil.copy(train / "002.png", root / "cable/train/good/002.png")
    text = said("mvtec-ad", root)
    assert (
        "PROBLEM  2 test images are also trained on, byte by byte, which flatters every score; the "
        f"first: {root}/bottle/test/good/001.png is the same as {train}/000.png"
    ) in text
    assert (
        "note     1 training image repeats another, byte by byte; the first: "
        f"{root}/cable/train/good/002.png is the same as {train}/002.png"
    ) in text
    assert "1 problem; it will be used as 2 categories" in text  # it can be, if one insists


def test_a_seen_defect_among_the_test_images_is_leakage(tmp_path: Path) -> None:
    root = made.ksdd2(tmp_path)
    shutil.copy(root / "train/10004.png", root / "test/20004.png")  # both defective
    words = "1 test image is also trained on, byte by byte"
    assert f"PROBLEM  {words}" in said("ksdd2", root)
    shutil.copy(root / "train/10004_GT.png", root / "test/20004_GT.png")
    (leak,) = duplicates(load_data("ksdd2", root=root))
    assert leak.startswith(words)


def test_another_benchmark_than_named(tmp_path: Path) -> None:
    made.visa(tmp_path)
    text = said("btad", tmp_path)
    assert (
        f"{tmp_path} does not look like BTAD: expected {tmp_path}/01/train/ok; it looks like "
        in text
    )
    assert "it looks like VisA, whose name here is visa" in text
    assert text.startswith(f"BTAD in {tmp_path}\n")
    assert text.endswith("1 problem; it cannot be used until that is mended")


def test_an_incomplete_one_names_what_is_missing(tmp_path: Path) -> None:
    made.mvtec_ad(tmp_path)
    text = said("mvtec-ad", tmp_path)
    assert "PROBLEM  13 of 15 categories missing: capsule, carpet, grid, hazelnut" in text
    assert "bottle: 3 normal images to train on, where its authors have 209" in text
    assert "cable: 4 defective images to test on, where its authors have 92" in text
    assert "; it will be used as 2 categories: 6 good images to train on" in text


def test_strays_and_defects_to_learn_from(tmp_path: Path) -> None:
    made.ksdd2(tmp_path)
    text = said("ksdd2", tmp_path)
    assert "3 normal images to train on, where its authors have 2,085" in text
    assert "2 defective images in its training split, where its authors have 246" in text
    assert (
        "note     2 files without a place in the layout, or without an image, will not be" in text
    )
    assert "10301 (copy).png" in text
    assert text.endswith(
        "it will be used as category ksdd2: 3 good images to train on, 3 good images and 2 "
        "defective to test on, each defective one with a mask: images and pixels can be scored; 2 "
        "more "
        "defective ones for methods that learn from defects"
    )


def test_textures(tmp_path: Path) -> None:
    text = said("dtd", made.dtd(tmp_path))
    assert "45 of 47 categories missing" in text
    assert text.endswith("1 problem; it will be used as 6 textures for simulated anomalies")


def test_a_mask_without_an_image(tmp_path: Path, small: None) -> None:
    root = made.mvtec_ad(tmp_path)
    made.mask(root / "bottle/ground_truth/broken/099_mask.png", 3)
    assert f"note     1 file without a place in the layout, or without an image, will not be used: {root}/bottle/ground_truth/broken/099_mask.png" in said("mvtec-ad", root)  # noqa: E501  # fmt: skip


def test_own_photographs(tmp_path: Path) -> None:
    for k in range(5):
        made.image(tmp_path / f"good/{k}.JPG", k)
    Image.new("RGB", (4032, 3024), (9, 9, 9)).save(tmp_path / "good/big.jpeg")
    made.image(tmp_path / "bad/x.png", 7)
    made.image(tmp_path / "bad/y.PNG", 8)
    made.mask(tmp_path / "masks/y.png", 8)
    for name in ("IMG_1.HEIC", "IMG_2.heic", "notes.txt"):
        (tmp_path / "good" / name).write_bytes(b"x")
    text = said("", tmp_path)
    assert text.startswith(f"own photographs in {tmp_path}\n")
    assert "no images that adlib reads: 2 .heic, 1 .txt; convert .heic to JPEG or PNG" in text
    assert "images of 2 sizes, from 40 x 32 to 4032 x 3024 (width x height)" in text
    assert "large photographs are shrunk to the method's input as a whole" in text
    assert "1 of them with a mask: pixels can be scored once all have one" in text
    shutil.rmtree(tmp_path / "masks")
    assert "2 defective to test on, without masks: images can be scored, pixels" in said(
        "", tmp_path
    )
    shutil.rmtree(tmp_path / "bad")
    assert "it can train and set a threshold, but not be evaluated" in said("", tmp_path)


def test_a_category_without_defects_is_named_with_those_that_can_be_scored(tmp_path: Path) -> None:
    for k in range(4):
        made.image(tmp_path / f"A/good/{k}.png", k)
        made.image(tmp_path / f"B b/good/{k}.png", k + 4)
        made.image(tmp_path / f"C c/good/{k}.png", k + 8)
    made.image(tmp_path / "A/bad/x.png", 12)
    made.image(tmp_path / "C c/bad/x.png", 13)
    assert said("", tmp_path).endswith(
        "2 defective to test on, without masks: images can be scored, pixels cannot; B b cannot "
        "be scored, for want of normal or of defective test images; adlib evaluate scores the "
        "others with --categories A 'C c'"
    )
    shutil.rmtree(tmp_path / "B b")
    assert said("", tmp_path).endswith("without masks: images can be scored, pixels cannot")


def test_one_good_photograph_trains_and_leaves_none_to_score_defects_against(
    tmp_path: Path,
) -> None:
    made.image(tmp_path / "good/0.png", 0)
    made.image(tmp_path / "bad/x.png", 1)
    assert said("", tmp_path).endswith(
        "0 good images and 1 defective to test on: it can train, but not be evaluated, which "
        "takes good and defective test images of one category"
    )


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    made.image(tmp_path / "good/0.png")
    for k in (1, 2):
        (tmp_path / f"good/{k}.png").symlink_to(tmp_path / "disk" / f"{k}.png")
    text = said("", tmp_path)
    assert f"PROBLEM  2 of 3 images in {tmp_path}/good are links that lead nowhere" in text
    assert "it cannot be used until that is mended" in text


def test_masks_for_some_of_several_categories(tmp_path: Path) -> None:
    for name in ("bolt", "nut"):
        for k in range(2):
            made.image(tmp_path / f"{name}/good/{k}.png", k)
        made.image(tmp_path / f"{name}/bad/x.png", 7)
    made.mask(tmp_path / "nut/masks/x.png", 7)
    text = said("", tmp_path)
    assert "1 of them with a mask: pixels can be scored in categories where all" in text


def test_the_smallest_and_the_largest_size_are_told_by_area(tmp_path: Path) -> None:
    for k, size in enumerate([(40, 30), (30, 36), (80, 60), (50, 64)]):  # width, height
        Image.new("RGB", size, (k, k, k)).save(made.image(tmp_path / f"good/{k}.png"))
    assert "images of 4 sizes, from 30 x 36 to 80 x 60 (width x height)" in said("", tmp_path)


def test_photographs_of_unlike_shapes_are_told_for_each_category(tmp_path: Path) -> None:
    for k, size in enumerate([(40, 30), (80, 60), (42, 30)]):
        made.image(tmp_path / f"nut/good/{k}.png", k)
        Image.new("RGB", size, (k, k, k)).save(tmp_path / f"nut/good/{k}.png")
    Image.new("RGB", (64, 32), (8, 8, 8)).save(made.image(tmp_path / "bolt/good/0.png"))
    text = said("", tmp_path)
    assert "images of 4 sizes" in text
    assert "unlike shapes" not in text  # a bolt may be longer than a nut, and 1.40 is nearly 1.33
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, seen upright
    Image.new("RGB", (40, 30), (9, 9, 9)).save(tmp_path / "nut/good/9.png", exif=exif)
    text = said("", tmp_path)
    assert "images of unlike shapes in nut, width / height from 0.75 to 1.40: each" in text


def test_own_photographs_of_no_layout(tmp_path: Path) -> None:
    made.image(tmp_path / "a.png")
    text = said("", tmp_path)
    assert "PROBLEM" in text
    assert "1 loose image; put the good ones into" in text
    made.btad(tmp_path / "downloads")
    assert "it looks like BTAD, whose name here is btad" in said("", tmp_path / "downloads")
    table = tmp_path / "parts.csv"
    table.write_text("path,label\na.png,god\n")
    assert "line 2: expected a label good or bad" in said("", table)
    table.write_text("path,label\na.png,good\n")
    assert said("", table).endswith(
        "category parts: 1 good image to train on (a threshold needs two of one category): it "
        "can train, but not be evaluated"
    )


def test_equal_files_are_found_by_reading_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {"a": b"12", "b": b"34", "c": b"12", "d": b"12345", "e": b"34", "f": b""}
    files = []
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        files.append(str(tmp_path / name))
    opened = []
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: opened.append(self.name) or read(self))
    groups = [[Path(f).name for f in group] for group in alike(files)]
    assert groups == [["a", "c"], ["b", "e"]]
    assert sorted(opened) == ["a", "b", "c", "e"]


def test_duplicates_of_a_data_set_come_from_its_fingerprints(tmp_path: Path) -> None:
    root = made.mvtec_ad(tmp_path)
    assert duplicates(load_data("mvtec-ad", root=root)) == []
    train = root / "bottle/train/good"
    shutil.copy(train / "000.png", root / "bottle/test/good/001.png")
    shutil.copy(train / "001.png", train / "002.png")
    data = load_data("mvtec-ad", root=root)
    before = data.hash
    shutil.rmtree(root)  # nothing is read again
    leak, twice = duplicates(data)
    assert leak.startswith("1 test image is also trained on, byte by byte")
    assert twice.startswith("1 training image repeats another, byte by byte")
    assert data.hash == before


def test_made_images_are_not_taken_for_equal() -> None:
    assert duplicates(load_data("builtin", size=32, train=4, test=4)) == []
