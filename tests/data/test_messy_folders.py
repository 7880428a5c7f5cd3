"""Folders as people and their machines leave them: what is used, and what is said of the rest."""

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from adlib.cli import main
from adlib.commands.options import load
from adlib.data import load_data
from adlib.data.dataset import DataSplits
from adlib.data.readers.pictures import check_pictures, list_pictures, notes_on
from adlib.data.tools.check import check_own

W, H = 60, 40


def photograph(path: Path, seed: int = 0, size: tuple[int, int] = (W, H)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 230, (5, 5, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    noise = rng.integers(-9, 10, (size[1], size[0], 3))
    made = np.clip(np.asarray(picture).astype(int) + noise, 0, 255)
    picture = Image.fromarray(made.astype(np.uint8))
    picture.save(path, quality=95) if path.suffix else picture.save(path, "PNG")
    return path


def mask(path: Path, box: tuple[int, int, int, int] | None = (10, 8, 20, 18)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("L", (W, H))
    if box:
        picture.paste(255, box)
    picture.save(path)
    return path


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Five good photographs and two bad ones, plain."""
    root = tmp_path / "parts"
    for k in range(5):
        photograph(root / f"good/{k:03}.jpg", k)
    for k in (10, 11):
        photograph(root / f"bad/{k:03}.jpg", k)
    return root


def mvtec(parts: Path) -> Path:
    """The same photographs in the layout of MVTec AD."""
    (parts / "train").mkdir()
    (parts / "good").rename(parts / "train/good")
    (parts / "test").mkdir()
    (parts / "bad").rename(parts / "test/bad")
    photograph(parts / "test/good/900.jpg", 90)
    return parts


def names(data: DataSplits) -> list[str]:
    return sorted(Path(r.path).name for r in (*data.train.references, *data.test.references))


def areas(data: DataSplits) -> dict[str, int | None]:
    """Marked pixels of the defective images."""
    return {
        Path(s.path).name: None if s.mask is None else int(s.mask.sum())
        for s in data.test
        if s.label
    }


def said(root: Path) -> str:
    return "\n".join(check_own(root).lines())


def judged(root: Path) -> list[str]:
    """Names of the pictures that predict takes of a folder or a table."""
    pictures = list_pictures(root)
    assert isinstance(pictures, list)
    return sorted(Path(str(p)).name for p in pictures)


@pytest.mark.parametrize("layout", ["plain", "mvtec"])
@pytest.mark.parametrize(
    "name",
    ["010_mask.png", "010_GT.png", "010_gt.bmp", "010-seg.PNG", "010_label.png", "mask_010.png",
     "010 mask.png", "010Mask.png", "010_groundtruth.png", "010_mask_0.png", "010.png",
     "010.mask.tif", "010_gt_mask.png", "010_anomaly_mask.png", "mask010.png", "010(mask).png",
     "010_msk.png", "010_binary.png", "010_m.png", "masks/010.png", "GT/010_gt.png",
     "bad_masks/010.png", "labels/010_mask.png"],
)  # fmt: skip
def test_a_mask_beside_its_photograph_is_no_photograph(parts: Path, layout: str, name: str) -> None:
    root = mvtec(parts) if layout == "mvtec" else parts
    mask(root / ("test/bad" if layout == "mvtec" else "bad") / name)
    data = load_data(root)
    assert areas(data) == {"010.jpg": 100, "011.jpg": None}
    assert Path(name).name not in names(data)
    assert any("1 file beside a photograph" in note and name in note for note in data.notes)
    assert judged(root) == names(data)
    assert any(name.split("/")[0] in note for note in notes_on(root))


@pytest.mark.parametrize(
    "folder", ["masks", "Ground Truth", "bad_masks", "gt_bad", "labels", "json", "masks_png", "seg"]
)
def test_predict_judges_no_mask_in_a_folder_beside_the_photographs(
    parts: Path, folder: str
) -> None:
    expected = judged(parts)
    mask(parts / folder / "010_mask.png")
    assert judged(parts) == expected
    assert any(folder in note for note in notes_on(parts))
    shutil.move(parts / folder, mvtec(parts) / "test" / folder)
    with pytest.raises(ValueError, match=f"test holds a folder '{folder}' of masks; put them into"):
        load_data(parts)


def test_black_masks_of_good_photographs_are_left_out_and_others_are_refused(parts: Path) -> None:
    mask(parts / "good/000_mask.png", None)
    mask(parts / "good/001.png", None)
    assert names(load_data(parts)) == [f"{k:03}.jpg" for k in (0, 1, 2, 3, 4, 10, 11)]
    with_truth = mvtec(shutil.copytree(parts, parts.parent / "mvtec") and parts.parent / "mvtec")
    mask(with_truth / "ground_truth/bad/010.png")
    mask(with_truth / "ground_truth/bad/011.png")
    mask(with_truth / "ground_truth/good/900.png", None)
    assert areas(load_data(with_truth)) == {"010.jpg": 100, "011.jpg": 100}
    mask(with_truth / "ground_truth/good/900.png")
    with pytest.raises(ValueError, match=r"good/900\.jpg is called good, but .*900\.png marks"):
        load_data(with_truth)
    mask(parts / "good/000_mask.png")
    with pytest.raises(ValueError, match=r"good/000\.jpg is called good, but .*000_mask\.png"):
        load_data(parts)


@pytest.mark.parametrize("where", ["good/000", "bad/010"])
def test_what_may_be_a_mask_is_refused_with_both_names(parts: Path, where: str) -> None:
    for name in (f"{where}_label.png", f"{where}_overlay.jpg"):
        photograph(parts / name, 50)  # a photograph of the label, or of no use
        words = rf"{name} may be a photograph, or the mask of .*/{where}\.jpg"
        for read in (load_data, list_pictures):
            with pytest.raises(ValueError, match=words):
                read(parts)
        (parts / name).unlink()
    Image.new("L", (W // 2, H // 2)).save(parts / f"{where}_mask.png")  # of another size
    with pytest.raises(ValueError, match=rf"{where}_mask\.png may be .* of .*/{where}\.jpg"):
        load_data(parts)
    (parts / f"{where}_mask.png").unlink()
    mask(parts / "bad/777_GT.png")
    with pytest.raises(ValueError, match=r"777_GT\.png looks like a mask, but no photograph 777\."):
        load_data(parts)


def test_photographs_of_like_names_stay_photographs(parts: Path) -> None:
    photograph(parts / "bad/010.png", 12)
    photograph(parts / "bad/part_label.jpg", 13)  # no photograph is called "part"
    photograph(parts / "bad/010_left.jpg", 14)
    mask(parts / "bad/011_2.png")  # a number makes no mask
    for name in ("dark.png", "dark_left.png"):
        mask(parts / "bad" / name)  # black for the most part, both of them
    photograph(parts / "bad/labels/torn.jpg", 15)  # a kind of defect
    mask(parts / "bad/labels/dark.png")
    assert set(areas(load_data(parts)).values()) == {None}
    assert len(names(load_data(parts))) == len(judged(parts)) == 15


FORMATS = {"a.jfif": "JPEG", "b.JPE": "JPEG", "c.pgm": "PPM", "d.PPM": "PPM", "e.pnm": "PPM",
           "IMG_0001": "JPEG", "f": "PNG", "g.PNG": "JPEG", "h.jpg": "TIFF"}  # fmt: skip


def test_what_pillow_decodes_is_read_by_its_content(parts: Path) -> None:
    for name, form in FORMATS.items():
        picture = Image.open(photograph(parts / "x.png", 60 + len(name)))
        picture.convert("L" if name.endswith("pgm") else "RGB").save(parts / "good" / name, form)
        (parts / "x.png").unlink()
    data = load_data(parts)
    assert set(FORMATS) < set(names(data))
    assert data.notes == ()
    assert all(sample.image.shape == (H, W, 3) for sample in data.train)
    assert set(judged(parts / "good")) > set(FORMATS)


def test_other_files_are_counted_by_their_ending_in_every_command(parts: Path) -> None:
    for name in ("good/a.HEIC", "bad/b.heic", "good/c.gif", "good/notes.txt", "README", "good/raw"):
        (parts / name).write_bytes(b"no image")
    words = "1 .gif, 2 .heic, 1 .txt, 2 without an ending; convert .gif and .heic to JPEG or PNG"
    assert [note.split(": ")[1] for note in load_data(parts).notes] == [words]
    assert words in said(parts)
    assert any(words in note for note in notes_on(parts))
    shutil.rmtree(parts / "good")
    (parts / "good").mkdir()
    (parts / "good/a.heic").touch()
    with pytest.raises(FileNotFoundError, match=r"no images in .*good: .*1 \.heic; convert .heic"):
        load_data(parts)


def test_images_beside_the_folders_of_a_layout_are_told(parts: Path) -> None:
    root = mvtec(parts)
    photograph(root / "loose.jpg", 60)
    (note,) = load_data(root).notes
    assert note == f"1 image lies in no folder of the layout, such as {root}/loose.jpg"
    photograph(root.parent / "more.jpg", 61)
    (note,) = load_data(root.parent).notes
    assert note.startswith("2 images lie in no folder of the layout, such as ")


SYSTEM = [
    "@eaDir", "#recycle", "$RECYCLE.BIN", ".Trash-1000", ".Trashes", "__MACOSX", ".thumbnails",
    "lost+found", "System Volume Information", "@Recycle", ".@__thumb", "RECYCLER", "found.000",
    "LOST.DIR", "@__thumb", "~snapshot", "_gsdata_", "RECYCLE.BIN",
]  # fmt: skip


@pytest.mark.parametrize("layout", ["plain", "mvtec"])
def test_what_systems_leave_behind_is_not_read(parts: Path, layout: str) -> None:
    root = mvtec(parts) if layout == "mvtec" else parts
    expected = names(load_data(root)), judged(root)
    places = [p for p in (root, *root.rglob("*")) if p.is_dir()]
    for place in places:
        for name in SYSTEM:
            photograph(place / name / "deleted.jpg")
            photograph(place / name / "000.jpg/SYNOPHOTO_THUMB_M.jpg")
        for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._000.jpg", "~$x.jpg"):
            (place / name).write_bytes(b"x")
    data = load_data(root)
    assert (names(data), judged(root)) == expected
    assert data.notes == ()
    assert "PROBLEM" not in said(root)


@pytest.mark.parametrize("layout", ["plain", "mvtec"])
@pytest.mark.parametrize("name", ["Thumbs", "thumbnails", "Trash", "Recycle Bin", "A.lrdata"])
def test_folders_that_may_hold_photographs_are_passed_over_with_a_note(
    parts: Path, layout: str, name: str
) -> None:
    root = mvtec(parts) if layout == "mvtec" else parts
    expected = names(load_data(root)), judged(root)
    for count, inner in enumerate((".", "good", "bad"), start=1):
        place = root / ("test" if layout == "mvtec" else "") / inner / name
        photograph(place / "000.jpg", 77)
        if layout == "plain":
            photograph(place / "bad/001.jpg", 78)
        (note,) = load_data(root).notes
        assert f"{count} folder{' is' if count == 1 else 's are'} passed over" in note
        assert name in note
        assert note in said(root)
        assert notes_on(root) == [note]
        assert (names(load_data(root)), judged(root)) == expected


def test_links_to_folders_are_followed_and_circles_end(parts: Path, tmp_path: Path) -> None:
    photograph(tmp_path / "disk/day/a.jpg", 70)
    for place in ("good", "bad"):
        (parts / place / "more").symlink_to(tmp_path / "disk" / place)
        photograph(tmp_path / "disk" / place / f"{place}.jpg", 71)
        (tmp_path / "disk" / place / "back").symlink_to(parts / place)
        (tmp_path / "disk" / place / "other").symlink_to(tmp_path / "disk" / place)
    data = load_data(parts)
    assert len(names(data)) == len(set(names(data))) == 9
    assert {r.defect for r in data.test.references if r.label} == {"bad", "more"}
    (parts / "linked").symlink_to(tmp_path / "disk/day")
    assert len(judged(parts)) == 10  # each is judged once


def test_links_in_a_circle_and_what_is_no_file_are_told(parts: Path) -> None:
    (parts / "good/loop").symlink_to("loop")
    os.mkfifo(parts / "good/pipe.png")
    (parts / "bad/zero.png").symlink_to("/dev/zero")
    expected = "adlib reads: 2 .png, 1 without an ending"
    assert expected in " ".join(load_data(parts).notes)
    assert expected in " ".join(notes_on(parts))
    (parts / "good/x.png").symlink_to("x.png")
    with pytest.raises(FileNotFoundError, match=r"1 of 6 .*lead nowhere, .*good/x\.png -> x\.png"):
        load_data(parts)
    (parts / "good/x.png").unlink()
    (parts / "good/up").symlink_to(parts)  # so that bad images would be called good
    with pytest.raises(ValueError, match=r"good holds a folder 'bad', which belongs beside it"):
        load_data(parts)


def test_names_that_are_no_text_are_names(parts: Path) -> None:
    before = load_data(parts).hash
    for place in ("good", "bad", "bad/kind"):
        source = os.fsencode(photograph(parts / place / "x.jpg", 50 + len(place)))
        Path(source.decode()).rename(os.fsdecode(source.replace(b"x.jpg", b"\xff\xfe.jpg")))
    data = load_data(parts)
    assert data.hash != before
    assert len(names(data)) == 10
    assert "no problem" in said(parts)


def test_folders_inside_good_and_bad_are_kinds(parts: Path) -> None:
    photograph(parts / "good/line 2/000.jpg", 20)
    photograph(parts / "bad/scratch/deep/a.jpg", 21)
    photograph(parts / "bad/dent/a.jpg", 22)
    mask(parts / "masks/scratch/deep/a_mask.png", (0, 0, 3, 4))
    mask(parts / "masks/011.png")
    data = load_data(parts)
    assert len(data.train) + int((~data.test.labels).sum()) == 6
    kinds = {Path(r.path).parent.name: r.defect for r in data.test.references if r.label}
    assert kinds == {"bad": "bad", "deep": "scratch", "dent": "dent"}
    marked = {s.path: int(s.mask.sum()) for s in data.test if s.label and s.mask is not None}
    assert marked == {str(parts / "bad/scratch/deep/a.jpg"): 12, str(parts / "bad/011.jpg"): 100}
    for wrong in ("good/defective", "bad/ok", "bad/good", "good/test", "bad/non-defective"):
        photograph(parts / wrong / "0.jpg", 30)
        with pytest.raises(ValueError, match=f"holds a folder '{wrong.split('/')[1]}', which bel"):
            load_data(parts)
        shutil.rmtree(parts / wrong)


def resaved(source: Path, target: Path, form: str) -> None:
    with Image.open(source) as opened:
        picture = opened.copy()
    if form == "half":
        picture = picture.resize((picture.width // 2, picture.height // 2))
    target.parent.mkdir(parents=True, exist_ok=True)
    if form == "bytes":
        shutil.copy(source, target)
    else:
        picture.save(target, quality=50)


@pytest.mark.parametrize("form", ["bytes", "png", "jpg", "webp", "half"])
@pytest.mark.parametrize("as_table", [False, True])
def test_an_image_called_good_and_bad_is_a_contradiction(
    tmp_path: Path, form: str, as_table: bool
) -> None:
    root = tmp_path / "parts"
    for k in range(6):
        photograph(root / f"good/{k}.jpg", k, (320, 240))
    photograph(root / "bad/x.jpg", 9, (320, 240))
    assert "called good and defective" not in said(root)
    ending = "jpg" if form in ("bytes", "half") else form
    resaved(root / "good/3.jpg", root / f"bad/y.{ending}", form)
    place = root
    if as_table:
        place = root / "parts.csv"
        lines = [f"good/{k}.jpg,good" for k in range(6)] + ["bad/x.jpg,bad", f"bad/y.{ending},bad"]
        place.write_text("\n".join(["path,label", *lines]))
    text = said(place)
    assert "PROBLEM  1 image is called good and defective at once" in text
    assert f"{root}/good/3.jpg and {root}/bad/y.{ending} show the same" in text


def test_train_names_contradicting_labels(parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resaved(parts / "good/003.jpg", parts / "bad/y.png", "png")
    (parts.parent / "run").mkdir()
    (parts.parent / "run/mine").write_text("x")  # so that it stops before it trains
    assert main(["train", "pro-ad", "--data", str(parts), "--out", str(parts.parent / "run")]) == 2
    (note,) = (x for x in capsys.readouterr().out.splitlines() if "good and defective" in x)
    assert f"{parts}/good/003.jpg and {parts}/bad/y.png" in note


def test_photographs_of_one_fine_texture_do_not_contradict(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for k in range(8):
        path = tmp_path / ("bad" if k < 3 else "good") / f"{k}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(105, 135, (300, 300), dtype=np.uint8)).save(path)
    assert "called good and defective" not in said(tmp_path)


def masks_of(parts: Path, draw: Callable[[np.ndarray], np.ndarray]) -> str:
    """What is said where the mask of 010 is made from a right one, and that of 011 is right."""
    right = np.zeros((H, W), dtype=np.uint8)
    right[8:18, 10:20] = 255
    (parts / "masks").mkdir(exist_ok=True)
    Image.fromarray(draw(right)).save(parts / "masks/010.png")
    Image.fromarray(right).save(parts / "masks/011.png")
    return said(parts)


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda m: 255 - m, "white over more than half of the image"),
        (np.ones_like, "white over more than half of the image"),
        (np.zeros_like, "all black"),
    ],
)
def test_masks_that_cannot_be_right_are_named_by_check_and_train(
    parts: Path,
    capsys: pytest.CaptureFixture[str],
    draw: Callable[[np.ndarray], np.ndarray],
    words: str,
) -> None:
    assert " mask is " not in masks_of(parts, lambda m: m)
    load(str(parts), ())
    assert "note" not in capsys.readouterr().out
    text = masks_of(parts, draw)
    assert f"1 mask is {words}" in text
    load(str(parts), ())
    (note,) = capsys.readouterr().out.splitlines()
    assert f"  note     {note.removeprefix('note: ')}" in text
    assert str(parts / "masks/010.png") in note


def test_soft_edges_are_cut_at_the_middle_and_label_maps_are_not(parts: Path) -> None:
    def soft(right: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(right).filter(ImageFilter.GaussianBlur(2)))

    text = masks_of(parts, soft)
    assert "1 mask is gray at the edges" in text
    assert str(parts / "masks/010.png") in text
    area = areas(load_data(parts))["010.jpg"]
    assert area is not None
    assert 88 <= area <= 100  # where any value above 0 gave more than 250
    for classes in ((1, 2), (100, 255), (60, 180)):
        masks_of(parts, lambda m, c=classes: np.vstack([m[:20] // 255 * c[0], m[20:] + np.roll(m, 22, 0)[20:] // 255 * c[1]]).astype(np.uint8))  # noqa: E501  # fmt: skip
        assert areas(load_data(parts))["010.jpg"] == 200, classes


@pytest.mark.parametrize("mode", ["P", "RGBA", "I;16", "1", "PA"])
def test_masks_of_every_kind_are_read(parts: Path, mode: str) -> None:
    right = Image.open(mask(parts / "right.png")).copy()
    (parts / "right.png").unlink()
    (parts / "masks").mkdir()
    if mode == "I;16":
        right = Image.fromarray(np.asarray(right).astype(np.uint16) * 200)
        right.save(parts / "masks/010.png")
    elif mode == "PA":
        right.convert("P").save(parts / "masks/010.png", transparency=bytes([255] * 256))
    else:
        right.convert(mode).save(parts / "masks/010.png")
    assert areas(load_data(parts))["010.jpg"] == 100


def turned(path: Path, orientation: object, size: tuple[int, int] = (W, H)) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(photograph(path, 40, size)) as picture:
        picture.copy().save(path, exif=exif)


def test_exif_is_named_where_it_turns_the_photograph_and_not_the_mask(parts: Path) -> None:
    turned(parts / "bad/010.jpg", 6)
    mask(parts / "masks/010.png")
    with pytest.raises(ValueError, match=r"010\.png: .* 40 x 60 .*got 60 x 40; EXIF turns the ima"):
        load_data(parts)
    assert "EXIF turns the image (orientation 6)" in said(parts)
    turned(parts / "bad/010.jpg", 3)
    (note,) = load_data(parts).notes
    assert "EXIF turns 1 of the defective images and not their masks" in note
    assert str(parts / "bad/010.jpg") in note
    assert "1 defective image is turned by EXIF and the mask is not" in said(parts)
    turned(parts / "bad/010.jpg", 6, (W, W))
    Image.new("L", (W, W)).save(parts / "masks/010.png")
    assert len(load_data(parts).notes) == 1
    turned(parts / "bad/010.jpg", 1)
    mask(parts / "masks/010.png")
    assert load_data(parts).notes == ()
    turned(parts / "masks/010.png", 8)
    with pytest.raises(ValueError, match=r"EXIF turns the mask \(orientation 8\) and not "):
        load_data(parts)


@pytest.mark.parametrize("value", ["6", b"\x06\x00", 6.0, (6, 6), 0, 99])
def test_a_senseless_orientation_is_ignored(parts: Path, value: object) -> None:
    for ending in ("jpg", "png", "tif"):
        try:
            turned(parts / f"good/odd.{ending}", value)
        except Exception:  # Pillow cannot write this one
            continue
        for sample in load_data(parts).train:
            assert sample.image.shape == (H, W, 3)


def test_a_turned_tiff_is_seen_upright(parts: Path) -> None:
    turned(parts / "good/odd.tif", 6)
    data = load_data(parts, holdout=0.01)
    shapes = {Path(s.path).name: s.image.shape for s in (*data.train, *data.test)}
    assert shapes["odd.tif"] == (W, H, 3)
    assert "1 images cannot" not in said(parts)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_are_alike_in_every_unicode_form(parts: Path, forms: tuple[Any, Any]) -> None:
    here, there = (unicodedata.normalize(form, "Prüfung é") for form in forms)
    composed = unicodedata.normalize("NFC", here)
    photograph(parts / f"bad/{here}.jpg", 30)
    photograph(parts / f"bad/{here}/a.jpg", 31)
    photograph(parts / f"bad/{there}/b.jpg", 32)
    mask(parts / f"masks/{there}_mask.png")
    mask(parts / f"masks/{there}/a.png")
    data = load_data(parts)
    assert areas(data)[f"{here}.jpg"] == areas(data)["a.jpg"] == 100
    assert {r.defect for r in data.test.references} == {"good", "bad", composed}
    shutil.move(parts, parts.parent / here / here)
    (root := parts.parent / here).rename(parts.parent / "all")
    root = root.with_name("all")
    assert load_data(root, categories=[there]).categories == (composed,)
    shutil.move(root / here / "bad", root / here / here)
    lines = [f"good/{k:03}.jpg,good,,{(here, there)[k % 2]}" for k in range(5)]
    table = root / here / "parts.csv"
    written = f"{there}/{there}.jpg,bad,masks/{here}_mask.png,{here}"
    table.write_text("\n".join(["path,label,mask,category", *lines, written]), encoding="utf-8")
    data = load_data(table, categories=there)
    assert list(areas(data).values()) == [100]
    assert data.categories == (composed,)


def test_long_images_are_told_which_size_keeps_their_shape(tmp_path: Path) -> None:
    for k in range(3):
        photograph(tmp_path / f"rail/good/{k}.jpg", k, (90, 30))
        photograph(tmp_path / f"rod/good/{k}.jpg", k, (30, 75))
        photograph(tmp_path / f"nut/good/{k}.jpg", k, (40, 30))
        photograph(tmp_path / f"web/good/{k}.jpg", k, (16, 208))
    text = said(tmp_path)
    assert "images of rail are 3.0 times as wide as high" in text
    assert "--size 224 672" in text
    assert "images of rod are 2.5 times as high as wide" in text
    assert "--size 560 224" in text
    assert "--size 1456 112, or cut them into pieces" in text
    assert "images of nut" not in text


def test_few_and_empty_photographs_are_told(parts: Path) -> None:
    assert "parts: only one good image to test on" in said(parts)
    for name, gray in (("black", 2), ("white", 255)):
        Image.new("RGB", (W, H), (gray,) * 3).save(parts / f"good/{name}.png")
    Image.new("RGB", (W, H), (2, 2, 2)).save(parts / "good/dark.png")
    text = said(parts)
    assert "3 good images are black or white all over" in text
    assert f": {parts}/good/black.png" in text
    assert "repeats another" not in text  # it is said once, what to do with them
    for path in (parts / "good").iterdir():
        path.unlink()
    photograph(parts / "good/0.jpg")
    assert "parts: only one good image to train on; add good images" in said(parts)


@pytest.mark.parametrize("name", ["val", "validation", "Valid Set", "dev"])
def test_a_folder_of_validation_images_is_told(parts: Path, name: str) -> None:
    photograph(parts / name / "good/0.jpg", 80)
    with pytest.raises(ValueError, match=f"a folder '{name}'; .*there are no validation images"):
        load_data(parts)
    root = mvtec(parts)
    (note,) = load_data(root).notes
    assert f"{root / name} is passed over; there are no validation images" in note
    assert note in said(root)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("not_good", "bad"), ("no-good", "bad"), ("NG", "bad"), ("ok", "good"), ("defects", "bad"),
     ("Good", "good"), ("Normal", "good"), ("GT", "masks"), ("mask", "masks"), ("n.i.O.", "bad"),
     ("no_defect", "good"), ("defect-free", "good"), ("non_anomalous", "good"), ("i.O.", "good"),
     ("not_normal", "bad"), ("good parts", "good")],
)  # fmt: skip
def test_a_folder_of_another_name_is_understood(parts: Path, name: str, meant: str) -> None:
    photograph(parts / name / "0.jpg", 80)
    with pytest.raises(ValueError, match=rf"holds a folder '{name}'; .*did you mean '{meant}'\?"):
        load_data(parts)


def test_a_broken_folder_of_one_s_own_is_no_incomplete_benchmark(parts: Path) -> None:
    root = parts.parent / "own"
    root.mkdir()
    mvtec(parts).rename(root / "bottle")
    shutil.rmtree(root / "bottle/test")
    with pytest.raises(FileNotFoundError, match=r"no folder .*bottle/test; expected") as error:
        load_data(root)
    for text in (str(error.value), said(root)):
        assert "MVTec" not in text.replace("MVTec AD layout", "")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("train/ok/0.jpg", "test/ng/0.jpg"), r"train holds a folder 'ok'; .*mean 'good'\?"),
        (("train/0.jpg", "test/0.jpg"), r"train holds 1 loose image; put the images into .*/good$"),
        (("train/0.jpg", "bad/0.jpg"), r"train holds 1 loose image; put the images into .*/good$"),
        (("good/0.jpg", "bad/1.jpg", "masks/bad/1.png"),
         r"1 of 1 masks have no image, .*/bad/1\.png; the mask of .*/1\.jpg is .*/1_mask\.png or"),
        (("good/0.jpg", "bad/1.jpg", "bad/1_mask_1.png", "bad/1_mask_2.png"), "; merge them$"),
    ],
)  # fmt: skip
def test_a_layout_nearly_right_is_told_what_to_change(
    tmp_path: Path, names: tuple[str, ...], words: str
) -> None:
    for k, name in enumerate(names):
        _ = mask(tmp_path / name) if "mask" in name else photograph(tmp_path / name, k)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        load_data(tmp_path)
    assert "PROBLEM" in said(tmp_path)


def test_advice_holds_in_a_shell(parts: Path) -> None:
    root = parts.parent / "several"
    root.mkdir()
    parts.rename(root / "nut")
    (root / "notes").mkdir()
    with pytest.raises(FileNotFoundError, match=r"ask for the others only: nut$"):
        load_data(root)


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x", "x.tif", "x.pnm"])
def test_no_other_program_is_started(
    parts: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """PostScript is opened by Ghostscript; one that leaves a trace stands first on the path."""
    tools, trace = parts.parent / "tools", parts.parent / "trace"
    tools.mkdir()
    for program in ("gs", "gswin64c", "djpeg"):
        (tools / program).write_text(f"#!/bin/sh\ntouch {trace}\nexit 1\n")
        (tools / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 60 40\n%%EndComments\nshowpage\n%%EOF\n"
    for place in ("good", "bad", "masks"):
        (parts / place).mkdir(exist_ok=True)
        target = parts / place / (name if place != "masks" else f"010{Path(name).suffix or '.png'}")
        target.write_bytes(script)
        if target.suffix:
            with pytest.raises(
                ValueError, match=f"{target.name}: .*its content is none that is re"
            ):
                load_data(parts)
            with pytest.raises(ValueError, match="content is none"):
                check_pictures([target])
        said(parts)
        target.unlink()
    table = parts / "parts.csv"
    (parts / name).write_bytes(script)
    table.write_text(f"path,label\n{name},good\ngood/000.jpg,good\n")
    with pytest.raises(ValueError, match="content is none"):
        load_data(table)
    assert not trace.exists()
