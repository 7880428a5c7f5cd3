"""An image or mask file, decoded whole and upright or refused with the reason."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageOps

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})  # in any case
SMALLEST = 16  # pixels a side; below, no encoder has two patches; ours
GRAY_OR_COLOUR = frozenset({"L", "LA", "RGB", "RGBA"})
LOSSY = frozenset({"JPEG", "MPO", "WEBP"})  # formats whose zero may come back as 1 or 2

# what Pillow raises on bytes it cannot follow; an OSError with an errno is the system's, not ours
UNDECODABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
CURES = {
    "CMYK": "convert it to RGB with its colour profile",
    "P": "convert the palette to RGB, or to gray where it is a mask",
    "PA": "convert the palette to RGB, or to gray where it is a mask",
    "1": "convert it to 8-bit gray",
}
TO_8_BIT = "scale it to 8 bit; which range of values matters is yours to say"


def is_image(path: Path) -> bool:
    """True for a visible file with one of the image endings, in any case.

    A link that leads nowhere counts: whoever reads it is told, and no image is lost without a word.
    """
    named = path.suffix.lower() in ENDINGS and not path.name.startswith(".")
    return named and (path.is_file() or leads_nowhere(path))


def leads_nowhere(path: Path) -> bool:
    """True for a link whose end is not there, such as on a disk that is not mounted."""
    return path.is_symlink() and not path.exists()


def read_image(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes an 8-bit gray or RGB file completely, turned as its EXIF orientation says.

    Gray is repeated to three channels and an opaque alpha channel is dropped. Colour profiles are
    not applied: values are taken as sRGB.

    Raises:
        FileNotFoundError: There is no such file, or a link leads nowhere.
        ValueError: The file is cut off or cannot be decoded, has more than 8 bits, a palette, CMYK
            or another mode, transparent pixels, several pages, a side below 16 pixels, or more
            pixels than Pillow opens (twice `PIL.Image.MAX_IMAGE_PIXELS`, 179 million).
    """
    return np.array(_decode(path, GRAY_OR_COLOUR).convert("RGB"))


def read_mask(path: str | os.PathLike[str]) -> Bool[np.ndarray, "h w"]:
    """Decodes a mask, turned as its EXIF orientation says: True where a pixel is defective.

    Every value above 0 counts (so label maps that look black work; MVTec AD's masks hold 0 and 255
    only), in a colour file in any channel. In JPEG and WebP files, which do not keep 0 exactly, a
    value above 127 counts; ours.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As for `read_image`; but a 1-bit mask is welcome.
    """
    picture = _decode(path, GRAY_OR_COLOUR | {"1"})
    threshold = 127 if picture.info["adlib_lossy"] else 0
    return np.array(picture.convert("RGB")).max(axis=2) > threshold


def check_header(path: str | os.PathLike[str], *, mask: bool = False) -> tuple[int, int]:
    """Checks a file as `read_image` or `read_mask` would, decoding it only where there is cause.

    Cause is a transparency, or an end that does not look like the format's, as in a copy cut short.

    Returns:
        Height and width in pixels once upright.
    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As for `read_image`.
    """
    modes = GRAY_OR_COLOUR | {"1"} if mask else GRAY_OR_COLOUR
    try:
        with Image.open(path) as picture:
            reason = _objection(picture, modes)
            transparent = picture.mode in ("LA", "RGBA") or "transparency" in picture.info
            # the base class's getexif, since that of PNG decodes the file to look behind the pixels
            turned = Image.Image.getexif(picture).get(0x0112, 1) >= 5  # orientations 5..8: by 90°
            width, height = picture.size[::-1] if turned else picture.size
            form = picture.format or ""
    except UNDECODABLE as error:
        raise _undecodable(path, error) from error
    if reason is not None:
        raise ValueError(f"{os.fspath(path)}: {reason}")
    if transparent or not _ends_well(path, form):
        width, height = _decode(path, modes).size
    return height, width


def _decode(path: str | os.PathLike[str], modes: frozenset[str]) -> Image.Image:
    try:
        with Image.open(path) as picture:
            reason, lossy = _objection(picture, modes), picture.format in LOSSY
            if reason is None:
                picture.load()
                if "transparency" in picture.info:  # one colour or gray value declared transparent
                    picture = picture.convert("RGBA")
                if picture.mode in ("LA", "RGBA"):
                    least = picture.getchannel("A").getextrema()[0]
                    if least != 255:
                        reason = (
                            f"expected an opaque image, got transparent pixels (least alpha "
                            f"{least} of 255); flatten it onto the background you want"
                        )
                picture = ImageOps.exif_transpose(picture)
    except UNDECODABLE as error:
        raise _undecodable(path, error) from error
    if reason is not None:
        raise ValueError(f"{os.fspath(path)}: {reason}")
    picture.info["adlib_lossy"] = lossy
    return picture


def _undecodable(path: str | os.PathLike[str], error: Exception) -> Exception:
    if isinstance(error, FileNotFoundError) and leads_nowhere(Path(path)):
        where = Path(path).readlink()
        return FileNotFoundError(f"{os.fspath(path)} -> {where} is a link that leads nowhere")
    if isinstance(error, Image.DecompressionBombError):  # its words: size, limit, then a suspicion
        sizes = str(error).partition(",")[0]
        return ValueError(
            f"{os.fspath(path)}: the image is too large: {sizes}; shrink it or crop it"
        )
    if isinstance(error, OSError) and error.errno is not None:
        return error  # not there, not ours to read, a folder: the system says it best
    return ValueError(
        f"{os.fspath(path)}: expected a whole image file, but decoding stopped: {error}; "
        "copy or export the file again"
    )


def _objection(picture: Image.Image, modes: frozenset[str]) -> str | None:
    """Why a file is refused by its header alone, or None."""
    width, height = picture.size
    if min(width, height) < SMALLEST:
        return f"expected at least {SMALLEST} pixels a side, got {width} x {height}; leave it out"
    # Pillow reads 16-bit colour as 8-bit without a word; only the raw mode still shows it
    deep = any(";16" in str(tile[3]) for tile in getattr(picture, "tile", []))
    if deep or picture.mode[:1] in ("I", "F"):
        deeper = "16-bit" if deep or picture.mode.startswith("I;16") else "more than 8-bit"
        return f"expected 8-bit gray or RGB, got {deeper} pixels (mode {picture.mode}); {TO_8_BIT}"
    if picture.mode not in modes:
        kind = "palette image " if picture.mode in ("P", "PA") else ""
        cure = CURES.get(picture.mode, "convert it to RGB")
        return f"expected 8-bit gray or RGB, got {kind}mode {picture.mode}; {cure}"
    pages = getattr(picture, "n_frames", 1)
    if pages > 1 and picture.format != "MPO":  # a phone's JPEG with a preview behind the photograph
        return f"expected one picture, got {pages} pages or frames; save one of them by itself"
    return None


def _ends_well(path: str | os.PathLike[str], form: str) -> bool:
    """Whether the file ends as a whole one of its format does; False where that says nothing."""
    with Path(path).open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - 12))
        tail = file.read()
        file.seek(0)
        head = file.read(8)
    if form == "JPEG":
        return tail.endswith(b"\xff\xd9")  # end of image
    if form == "PNG":
        return tail[4:8] == b"IEND"
    if form == "WEBP":
        return length >= 8 + int.from_bytes(head[4:8], "little")  # RIFF: the size of what follows
    return False
