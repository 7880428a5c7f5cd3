"""Folders as people and their machines leave them: what is used, and what is said of the rest."""

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from adlib.cli import main
from adlib.command_line import load
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


@pytest.mark.parametrize("layout", ["plain", "mvtec"])
@pytest.mark.parametrize(
    "name",
    ["010_mask.png", "010_GT.png", "010_gt.bmp", "010-seg.PNG", "010_label.png", "mask_010.png",
     "010 mask.png", "010Mask.png", "010_groundtruth.png", "010_mask_0.png", "010.png"],
)  # fmt: skip
def test_a_mask_beside_its_photograph_is_no_photograph(parts: Path, layout: str, name: str) -> None:
    root = mvtec(parts) if layout == "mvtec" else parts
    bad = root / ("test/bad" if layout == "mvtec" else "bad")
    mask(bad / name)
    data = load_data(root)
    assert areas(data) == {"010.jpg": 100, "011.jpg": None}
    assert name not in names(data)
    assert any("1 file beside a photograph" in note and name in note for note in data.notes)
    pictures = list_pictures(root)
    assert isinstance(pictures, list)
    assert len(pictures) == (8 if layout == "mvtec" else 7)
    assert name not in {Path(str(p)).name for p in pictures}
    assert any(name in note for note in notes_on(root))


def test_black_masks_of_good_photographs_are_left_out_and_others_are_refused(parts: Path) -> None:
    mask(parts / "good/000_mask.png", None)
    mask(parts / "good/001.png", None)
    data = load_data(parts)
    assert names(data) == [f"{k:03}.jpg" for k in (0, 1, 2, 3, 4, 10, 11)]
    mask(parts / "good/000_mask.png")
    with pytest.raises(ValueError, match=r"good/000\.jpg is called good, but .*000_mask\.png"):
        load_data(parts)


@pytest.mark.parametrize("where", ["good", "bad"])
def test_what_may_be_a_mask_is_refused_with_both_names(parts: Path, where: str) -> None:
    first = "000" if where == "good" else "010"
    photograph(parts / where / f"{first}_label.png", 50)  # a photograph of the label, or an overlay
    words = rf"{where}/{first}_label\.png may be a photograph, or the mask of .*/{first}\.jpg"
    for read in (load_data, list_pictures):
        with pytest.raises(ValueError, match=words):
            read(parts)
    (parts / where / f"{first}_label.png").unlink()
    mask(parts / where / "777_GT.png")
    with pytest.raises(ValueError, match=r"777_GT\.png looks like a mask, but no photograph 777\."):
        load_data(parts)


def test_two_photographs_of_one_name_stay_photographs(parts: Path) -> None:
    photograph(parts / "bad/010.png", 12)
    photograph(parts / "bad/part_label.jpg", 13)  # no photograph is called "part"
    assert len(areas(load_data(parts))) == 4


def test_folders_of_masks_inside_the_photographs(parts: Path) -> None:
    mask(parts / "bad/masks/010.png")
    mask(parts / "bad/GT/011_gt.png", (0, 0, 5, 5))
    assert areas(load_data(parts)) == {"010.jpg": 100, "011.jpg": 25}
    root = mvtec(parts)
    shutil.rmtree(root / "test/bad/masks")
    shutil.rmtree(root / "test/bad/GT")
    mask(root / "test/masks/010.png")
    with pytest.raises(
        ValueError, match=r"test holds a folder 'masks'; put masks into .*ground_tr"
    ):
        load_data(root)


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
    pictures = list_pictures(parts / "good")
    assert isinstance(pictures, list)
    assert {Path(str(p)).name for p in pictures} > set(FORMATS)


def test_other_files_are_counted_by_their_ending_in_every_command(parts: Path) -> None:
    for name in ("good/a.HEIC", "bad/b.heic", "good/c.gif", "good/notes.txt", "README", "good/raw"):
        (parts / name).write_bytes(b"no image")
    words = "1 .gif, 2 .heic, 1 .txt, 2 without an ending; convert .gif and .heic to JPEG or PNG"
    data = load_data(parts)
    assert [note.split(": ")[1] for note in data.notes] == [words]
    assert words in said(parts)
    assert any(words in note for note in notes_on(parts))
    shutil.rmtree(parts / "good")
    (parts / "good").mkdir()
    (parts / "good/a.heic").touch()
    with pytest.raises(FileNotFoundError, match=r"no images in .*good: .*1 \.heic; convert .heic"):
        load_data(parts)


SYSTEM = [
    "@eaDir", "#recycle", "$RECYCLE.BIN", ".Trash-1000", ".Trashes", "__MACOSX", ".thumbnails",
    "lost+found", "System Volume Information", "@Recycle", ".@__thumb", "RECYCLER", "found.000",
]  # fmt: skip


@pytest.mark.parametrize("layout", ["plain", "mvtec"])
def test_what_systems_leave_behind_is_not_read(parts: Path, layout: str) -> None:
    root = mvtec(parts) if layout == "mvtec" else parts
    expected = names(load_data(root)), list_pictures(root)
    places = [p for p in (root, *root.rglob("*")) if p.is_dir()]
    for place in places:
        for name in SYSTEM:
            photograph(place / name / "deleted.jpg")
            photograph(place / name / "000.jpg/SYNOPHOTO_THUMB_M.jpg")
        for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._000.jpg", "~$x.jpg"):
            (place / name).write_bytes(b"x")
    data = load_data(root)
    assert (names(data), list_pictures(root)) == expected
    assert data.notes == ()
    assert "PROBLEM" not in said(root)


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
    pictures = list_pictures(parts)
    assert isinstance(pictures, list)
    assert len(pictures) == 10  # each is judged once


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
    for wrong in ("good/defective", "bad/ok", "bad/good", "good/test"):
        photograph(parts / wrong / "0.jpg", 30)
        with pytest.raises(
            ValueError, match=rf"{wrong[:3]}.* holds a folder '{wrong.split('/')[1]}'"
        ):
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


def test_masks_that_cannot_be_right_are_counted_and_named(parts: Path) -> None:
    name = parts / "masks/010.png"
    assert " mask is " not in masks_of(parts, lambda m: m)
    for draw in (lambda m: 255 - m, lambda m: np.full_like(m, 255)):
        text = masks_of(parts, draw)
        assert "1 mask is white over more than half of the image" in text
        assert f"exchanged: {name}" in text
    assert "1 mask is all black" in masks_of(parts, np.zeros_like)


@pytest.mark.parametrize("draw", [lambda m: 255 - m, np.ones_like, np.zeros_like])
def test_train_and_evaluate_name_wrong_masks(
    parts: Path, capsys: pytest.CaptureFixture[str], draw: Callable[[np.ndarray], np.ndarray]
) -> None:
    assert " mask is " not in masks_of(parts, lambda m: m)
    load(str(parts), ())
    assert "note" not in capsys.readouterr().out
    text = masks_of(parts, draw)
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


def test_names_are_alike_in_every_unicode_form(parts: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Prüfung é") for form in ("NFC", "NFD"))
    photograph(parts / f"bad/{composed}.jpg", 30)
    mask(parts / f"masks/{decomposed}_mask.png")
    assert areas(load_data(parts))[f"{composed}.jpg"] == 100
    table = parts / "parts.csv"
    lines = [f"good/{k:03}.jpg,good," for k in range(5)]
    written = f"bad/{decomposed}.jpg,bad,masks/{composed}_mask.png"
    table.write_text("\n".join(["path,label,mask", *lines, written]), encoding="utf-8")
    assert list(areas(load_data(table)).values()) == [100]
    (parts / f"bad/{composed}.jpg").rename(parts / f"bad/{decomposed}.jpg")
    (parts / f"masks/{decomposed}_mask.png").rename(parts / f"masks/{composed}_mask.png")
    assert areas(load_data(parts))[f"{decomposed}.jpg"] == 100
    shutil.move(parts / "bad", parts / f"{decomposed}")
    table.write_text(table.read_text(encoding="utf-8").replace("bad/", f"{composed}/"), "utf-8")
    assert list(areas(load_data(table)).values()) == [100]


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


@pytest.mark.parametrize("name", ["val", "validation"])
def test_a_folder_of_validation_images_is_told(parts: Path, name: str) -> None:
    root = mvtec(parts)
    photograph(root / name / "good/0.jpg", 80)
    (note,) = load_data(root).notes
    assert f"{root / name} is passed over; there are no validation images" in note
    assert note in said(root)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("not_good", "bad"), ("no-good", "bad"), ("NG", "bad"), ("ok", "good"), ("defects", "bad"),
     ("Good", "good"), ("Normal", "good"), ("GT", "masks"), ("mask", "masks")],
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
