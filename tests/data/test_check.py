"""`adlib data check` says in plain words what is wrong with a folder, and what it is good for."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from adlib.data import load_data
from adlib.data.tools import catalogue
from adlib.data.tools.catalogue import Counts
from adlib.data.tools.check import check_benchmark, check_own
from adlib.data.tools.duplicates import alike, duplicates
from tests import made_benchmarks as made


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small MVTec AD, and a catalogue by which it is complete."""
    one = Counts(train=3, good=2, bad=4)
    each = {"bottle": one, "cable": one}
    whole = Counts(train=6, good=4, bad=8, images=18)
    known = catalogue.BENCHMARKS["mvtec-ad"]
    small = replace(known, categories=tuple(each), each=each, counts=whole)
    monkeypatch.setitem(catalogue.BENCHMARKS, "mvtec-ad", small)
    return made.mvtec_ad(tmp_path / "mvtec")


def said(name: str, place: Path, **options: bool) -> str:
    report = check_benchmark(name, place, **options) if name else check_own(place, **options)
    return "\n".join(report.lines())


def test_a_right_folder(root: Path) -> None:
    assert said("mvtec-ad", root.parent).splitlines() == [
        f"MVTec AD in {root}",
        "  ok       2 of 2 categories",
        "  ok       18 images, as many as its authors have",
        "  ok       every image and mask opens (add --decode to read each to its last pixel)",
        "  ok       no image occurs twice",
        "no problem; it will be used as 2 categories: 6 good images to train on, 4 good images "
        "and 8 defective to test on, each defective one with a mask: images and pixels can be "
        "scored",
    ]


def hurt(path: Path, start: int | None, stop: int) -> None:
    """Cut a file at a place, or clear twelve bytes of its pixels."""
    content = bytearray(path.read_bytes())
    if start is None:
        del content[stop:]
    else:
        at = content.index(b"IDAT") + start
        content[at : at + stop] = bytes(stop)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "harm", "by_headers", "by_pixels"),
    [
        ("train/good/001.png", lambda p: hurt(p, None, 60),
         "1 of 18 images cannot be used: {0}: expected a whole image file", ""),
        ("train/good/001.png", lambda p: hurt(p, 8, 12), "", "1 of 18 images cannot be used: {0}"),
        ("ground_truth/broken/000_mask.png", lambda p: Image.new("L", made.SIZE).save(p),
         "", "1 mask is all black though the image is defective"),
        ("ground_truth/broken/001_mask.png", Path.unlink,
         "1 file is missing: {0} (the mask of {1}/bottle/test/b", ""),
        ("ground_truth/broken/099_mask.png", lambda p: made.mask(p, 3),
         "1 file without a place in the layout, or without an image, will not be used: {0}", ""),
    ],
)  # fmt: skip
def test_a_harmed_file_is_named(
    root: Path, file: str, harm: Callable[[Path], object], by_headers: str, by_pixels: str
) -> None:
    path = root / "bottle" / file
    harm(path)
    for words, decode in ((by_headers, False), (by_headers or by_pixels, True)):
        text = said("mvtec-ad", root, decode=decode)
        assert words.format(path, root) in text
        usable = not any(fault in words for fault in ("cannot be used", "missing"))
        assert text.endswith("it cannot be used until that is mended") != usable
        assert ("every image and mask" in text) == ("cannot be used:" not in text)


def test_leakage_and_repeated_images(root: Path) -> None:
    train = root / "bottle/train/good"
    shutil.copy(train / "000.png", root / "bottle/test/good/001.png")
    shutil.copy(train / "001.png", root / "bottle/test/broken/000.png")
    shutil.copy(train / "002.png", root / "cable/train/good/002.png")
    text = said("mvtec-ad", root)
    assert "PROBLEM  2 test images are also trained on, byte by byte" in text
    assert f"{root}/bottle/test/good/001.png is the same as {train}/000.png" in text
    assert "note     1 training image repeats another, byte by byte" in text
    assert f"{root}/cable/train/good/002.png is the same as {train}/002.png" in text
    assert "1 problem; it will be used as 2 categories" in text  # it can be, if one insists


def test_a_seen_defect_among_the_test_images_is_leakage(tmp_path: Path) -> None:
    root = made.ksdd2(tmp_path)
    shutil.copy(root / "train/10004.png", root / "test/20004.png")  # both defective
    words = "1 test image is also trained on, byte by byte"
    assert f"PROBLEM  {words}" in said("ksdd2", root)
    shutil.copy(root / "train/10004_GT.png", root / "test/20004_GT.png")
    (leak,) = duplicates(load_data("ksdd2", root=root))
    assert leak.startswith(words)


@pytest.mark.parametrize(
    ("make", "name", "fragments", "use"),
    [
        (made.visa, "btad", ["{0} does not look like BTAD: expected {0}/01/train/ok; it looks like",
                             "it looks like VisA, whose name here is visa", "BTAD in {0}\n"],
         "1 problem; it cannot be used until that is mended"),
        (made.mvtec_ad, "mvtec-ad",
         ["PROBLEM  13 of 15 categories missing: capsule, carpet, grid, hazelnut",
          "bottle: 3 normal images to train on, where its authors have 209",
          "cable: 4 defective images to test on, where its authors have 92",
          "; it will be used as 2 categories: 6 good images to train on"], ""),
        (made.ksdd2, "ksdd2",
         ["3 normal images to train on, where its authors have 2,085",
          "2 defective images in its training split, where its authors have 246",
          "note     2 files without a place in the layout", "10301 (copy).png"],
         "it will be used as category ksdd2: 3 good images to train on, 3 good images and 2 "
         "defective to test on, each defective one with a mask: images and pixels can be scored; "
         "2 more defective ones for methods that learn from defects"),
        (made.dtd, "dtd", ["45 of 47 categories missing"],
         "1 problem; it will be used as 6 textures for simulated anomalies"),
    ],
)  # fmt: skip
def test_another_or_incomplete_benchmark(
    tmp_path: Path, make: Callable[[Path], Path], name: str, fragments: list[str], use: str
) -> None:
    make(tmp_path)
    text = said(name, tmp_path)
    for fragment in fragments:
        assert fragment.format(tmp_path) in text
    assert text.endswith(use)


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
    for fragment in (
        f"own photographs in {tmp_path}\n",
        "no images that adlib reads: 2 .heic, 1 .txt; convert .heic to JPEG or PNG",
        "images of 2 sizes, from 40 x 32 to 4032 x 3024 (width x height)",
        "large photographs are shrunk to the method's input as a whole",
        "1 of them with a mask: pixels can be scored once all have one",
    ):
        assert fragment in text
    shutil.rmtree(tmp_path / "masks")
    assert "2 defective to test on, without masks: images can be scored" in said("", tmp_path)
    shutil.rmtree(tmp_path / "bad")
    assert "it can train and set a threshold, but not be evaluated" in said("", tmp_path)


@pytest.mark.parametrize(
    ("files", "use"),
    [
        (["A/good/0", "A/good/1", "A/good/2", "A/good/3", "A/bad/x", "C c/good/0", "C c/good/1",
          "C c/good/2", "C c/good/3", "C c/bad/x", "B b/good/0", "B b/good/1"],
         "pixels cannot; B b cannot be scored, for want of normal or of defective test images; "
         "adlib evaluate scores the others with --categories A 'C c'"),
        (["good/0", "bad/x"], "0 good images and 1 defective to test on: it can train, but not be "
         "evaluated, which takes good and defective test images of one category"),
        (["A/good/0", "A/good/1", "A/bad/x", "B/good/0", "B/good/1", "B/bad/x"],
         "1 of them with a mask: pixels can be scored in categories where all have one"),
    ],
)  # fmt: skip
def test_what_own_photographs_can_be_used_for(tmp_path: Path, files: list[str], use: str) -> None:
    for k, file in enumerate(files):
        made.image(tmp_path / f"{file}.png", k)
    if "B/bad/x" in files:
        made.mask(tmp_path / "B/masks/x.png", 7)
    assert said("", tmp_path).endswith(use)


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    made.image(tmp_path / "good/0.png")
    for k in (1, 2):
        (tmp_path / f"good/{k}.png").symlink_to(tmp_path / "disk" / f"{k}.png")
    text = said("", tmp_path)
    assert f"PROBLEM  2 of 3 images in {tmp_path}/good are links that lead nowhere" in text
    assert "it cannot be used until that is mended" in text


def test_sizes_are_told_by_area_and_unlike_shapes_for_each_category(tmp_path: Path) -> None:
    def save(file: str, size: tuple[int, int], **options: Any) -> None:
        Image.new("RGB", size, (9, 9, 9)).save(made.image(tmp_path / file), **options)

    for k, size in enumerate([(40, 30), (80, 60), (42, 30)]):  # width, height
        save(f"nut/good/{k}.png", size)
    save("bolt/good/0.png", (48, 24))
    text = said("", tmp_path)
    assert "images of 4 sizes, from 48 x 24 to 80 x 60 (width x height)" in text
    assert "unlike shapes" not in text  # a bolt may be longer than a nut, and 1.40 is nearly 1.33
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, seen upright
    save("nut/good/9.png", (40, 30), exif=exif)
    text = said("", tmp_path)
    assert "images of unlike shapes in nut, width / height from 0.75 to 1.40: each" in text


def test_own_photographs_of_no_layout(tmp_path: Path) -> None:
    made.image(tmp_path / "a.png")
    assert "1 loose image; put the good ones into" in said("", tmp_path)
    made.btad(tmp_path / "downloads")
    assert "it looks like BTAD, whose name here is btad" in said("", tmp_path / "downloads")
    table = tmp_path / "parts.csv"
    table.write_text("path,label\na.png,god\n")
    assert "line 2: expected a label good or bad" in said("", table)
    table.write_text("path,label\na.png,good\n")
    assert "1 good image to train on (a threshold needs two of one category)" in said("", table)


def test_equal_files_are_found_by_reading_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {"a": b"12", "b": b"34", "c": b"12", "d": b"12345", "e": b"34", "f": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    opened, read = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: opened.append(self.name) or read(self))
    groups = alike([str(tmp_path / name) for name in contents])
    assert [[Path(f).name for f in group] for group in groups] == [["a", "c"], ["b", "e"]]
    assert sorted(opened) == ["a", "b", "c", "e"]


def test_duplicates_of_a_data_set_come_from_its_fingerprints(root: Path) -> None:
    train = root / "bottle/train/good"
    assert duplicates(load_data("mvtec-ad", root=root)) == []
    shutil.copy(train / "000.png", root / "bottle/test/good/001.png")
    shutil.copy(train / "001.png", train / "002.png")
    data = load_data("mvtec-ad", root=root)
    before = data.hash
    shutil.rmtree(root)  # nothing is read again
    leak, twice = duplicates(data)
    assert leak.startswith("1 test image is also trained on, byte by byte")
    assert twice.startswith("1 training image repeats another, byte by byte")
    assert data.hash == before
    assert duplicates(load_data("builtin", size=32, train=4, test=4)) == []
