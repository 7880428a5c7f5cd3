"""Files are decoded whole and upright, or refused with words that help."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adlib.data.image_io import check_header, is_image, read_image, read_mask

H, W = 17, 29


def pixels(channels: int = 3, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 256, size=(H, W, channels), dtype=np.uint8)
    return values[..., 0] if channels == 1 else values


def saved(path: Path, array: np.ndarray, **options: Any) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def png16(path: Path, colour_type: int) -> Path:
    """A 16-bit PNG by hand: Pillow writes no 16-bit colour, and reads it as 8-bit."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    channels = {0: 1, 2: 3, 6: 4}[colour_type]
    header = struct.pack(">IIBBBBB", W, H, 16, colour_type, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(W * channels * 2) for _ in range(H)))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".tiff", ".PNG", ".BMP"])
def test_lossless_formats_give_the_same_pixels_and_header(tmp_path: Path, ending: str) -> None:
    path = saved(tmp_path / f"a{ending}", pixels())
    assert is_image(path)
    assert np.array_equal(read_image(path), pixels())
    assert check_header(path) == (H, W)


@pytest.mark.parametrize("ending", [".jpg", ".jpeg", ".webp"])
def test_lossy_formats_come_close(tmp_path: Path, ending: str) -> None:
    flat = np.full((H, W, 3), (200, 100, 50), dtype=np.uint8)
    path = saved(tmp_path / f"a{ending}", flat, quality=95)
    assert np.abs(read_image(path).astype(int) - flat).max() < 8
    assert check_header(path) == (H, W)


def test_gray_is_repeated_and_opaque_alpha_is_dropped(tmp_path: Path) -> None:
    gray = saved(tmp_path / "gray.png", pixels(1))
    assert np.array_equal(read_image(gray), np.repeat(pixels(1)[..., None], 3, axis=2))
    opaque = pixels(4)
    opaque[..., 3] = 255
    path = saved(tmp_path / "rgba.png", opaque)
    assert np.array_equal(read_image(path), opaque[..., :3])
    assert check_header(path) == (H, W)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_image_and_mask_alike(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    a = pixels()
    b = np.swapaxes(a, 0, 1)
    # TIFF 6.0: where row 0 and column 0 of the stored picture lie in the seen one
    seen = {
        1: a, 2: a[:, ::-1], 3: a[::-1, ::-1], 4: a[::-1],
        5: b, 6: b[:, ::-1], 7: b[::-1, ::-1], 8: b[::-1],
    }[orientation]  # fmt: skip
    path = saved(tmp_path / "a.png", a, exif=exif)
    assert np.array_equal(read_image(path), seen)
    assert np.array_equal(read_mask(path), seen.max(axis=2) > 0)
    assert check_header(path) == check_header(path, mask=True) == seen.shape[:2]
    jpeg = saved(tmp_path / "a.jpg", a, exif=exif)
    assert check_header(jpeg) == read_image(jpeg).shape[:2] == seen.shape[:2]


def test_mask_is_every_value_above_zero_even_in_a_label_map(tmp_path: Path) -> None:
    labels = (np.arange(H * W).reshape(H, W) % 3).astype(np.uint8)  # 0, 1, 2: looks black
    assert np.array_equal(read_mask(saved(tmp_path / "m.png", labels)), labels > 0)
    bits = Image.fromarray(labels > 0)
    bits.save(tmp_path / "bits.png")
    assert bits.mode == "1"
    assert np.array_equal(read_mask(tmp_path / "bits.png"), labels > 0)


def test_mask_in_a_lossy_file_is_cut_at_half(tmp_path: Path) -> None:
    truth = np.zeros((32, 48), dtype=bool)
    truth[8:24, 16:40] = True
    path = saved(tmp_path / "m.jpg", np.where(truth, 255, 0).astype(np.uint8), quality=70)
    assert (np.asarray(Image.open(path)) > 0).sum() > truth.sum()  # the artefacts are there
    assert np.array_equal(read_mask(path), truth)


def glass(path: Path) -> None:
    values = pixels(4)
    values[..., 3] = 255
    values[3, 5, 3] = 200
    saved(path, values)


def pages(path: Path) -> None:
    Image.fromarray(pixels()).save(path, save_all=True, append_images=[Image.new("RGB", (W, H))])


def plain(mode: str, size: tuple[int, int] = (W, H)) -> Callable[[Path], Any]:
    return lambda path: Image.new(mode, size).save(path)


DEEP, SMALL = r"got 16-bit pixels \(mode {}\); scale it", "expected at least 16 pixels a side, got "
GLASS = r"transparent pixels \(least alpha {} of 255\); flatten it"
REFUSED = [  # name, what makes it, words, and whether it is a mask nevertheless
    ("a.jpg", plain("CMYK"), "expected 8-bit gray or RGB, got mode CMYK; convert it to RGB", False),
    ("a.png", plain("P"), "got palette image mode P; convert the palette", True),
    ("a.png", plain("I;16"), DEEP.format("I;16"), True),
    ("a.tif", plain("I;16"), DEEP.format("I;16"), True),
    ("a.tif", plain("I"), r"got more than 8-bit pixels \(mode I\)", True),
    ("a.tif", plain("F"), r"got more than 8-bit pixels \(mode F\)", False),
    ("a.png", plain("1"), "got mode 1; convert it to 8-bit gray", True),
    ("a.png", lambda path: png16(path, 0), "got 16-bit pixels", True),
    ("a.png", lambda path: png16(path, 2), "got 16-bit pixels", False),  # where Pillow says RGB
    ("a.png", lambda path: png16(path, 6), "got 16-bit pixels", False),
    ("a.png", glass, GLASS.format(200), False),
    ("a.png", lambda path: saved(path, pixels(1) * 0, transparency=0), GLASS.format(0), False),
    ("a.png", plain("L", (1, 1)), f"{SMALL}1 x 1", False),
    ("a.png", plain("L", (15, 40)), f"{SMALL}15 x 40", False),
    ("a.png", plain("L", (40, 15)), f"{SMALL}40 x 15", False),
    ("a.tif", pages, "expected one picture, got 2 pages or frames", False),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "words", "mask"), REFUSED)
def test_what_is_no_8_bit_photograph_is_refused_by_name(
    tmp_path: Path, name: str, make: Callable[[Path], Any], words: str, mask: bool
) -> None:
    make(path := tmp_path / name)
    for read in (read_image, check_header):
        with pytest.raises(ValueError, match=words) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")
    if mask:
        assert not read_mask(path).any()
        assert check_header(path, mask=True) == (H, W)
    else:
        with pytest.raises(ValueError, match=words):
            read_mask(path)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize("kept", [0.4, 0.8])
def test_a_file_cut_short_is_refused_when_the_set_is_built(
    tmp_path: Path, ending: str, kept: float
) -> None:
    path = saved(tmp_path / f"half{ending}", np.tile(pixels(), (4, 4, 1)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    for read in (read_image, check_header):
        with pytest.raises(ValueError, match=r"half.*: expected a whole image file, but decoding"):
            read(path)


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", pixels())
    path.write_bytes(path.read_bytes() + b"a phone's own notes")
    assert check_header(path) == (H, W)


def test_what_is_no_image_or_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"a.png: expected a whole image file, but its content"):
        check_header(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError, match=r"b.png"):
        read_image(tmp_path / "b.png")


def test_too_large_an_image_is_said_to_be_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "vast.png", pixels())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # an error is raised at twice as many
    words = rf"vast.png: .*too large: .*{H * W} pixels.* 400 pixels; shrink it or crop it$"
    for read in (read_image, read_mask, check_header):
        with pytest.raises(ValueError, match=words):
            read(path)


def test_a_link_that_leads_nowhere_is_an_image_that_is_missing(tmp_path: Path) -> None:
    link = tmp_path / "a.png"
    link.symlink_to(tmp_path / "b.png")
    assert is_image(link)
    for read in (read_image, check_header):
        with pytest.raises(
            FileNotFoundError, match=rf"{link} -> .*b\.png is a link that leads now"
        ):
            read(link)
    (tmp_path / "b.png").mkdir()
    assert not is_image(link)


def test_what_the_system_refuses_is_no_cause_of_itself(tmp_path: Path) -> None:
    """An error that is its own cause has no end for who follows the causes."""
    for read in (read_image, read_mask, check_header):
        with pytest.raises(IsADirectoryError, match=str(tmp_path)) as caught:
            read(tmp_path)
        assert caught.value.__cause__ is not caught.value


def test_libtiff_does_not_write_to_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path / "a.tif", pixels(), compression="tiff_adobe_deflate")
    content = path.read_bytes()
    path.write_bytes(content.replace(content[20:28], bytes(8)))
    with pytest.raises(ValueError, match=r"a\.tif: expected a whole image file"):
        read_image(path)
    assert capfd.readouterr().err == ""
    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"
