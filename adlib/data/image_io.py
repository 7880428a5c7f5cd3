"""An image or mask file, decoded whole and upright or refused with the reason."""

import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image, ImageFile, UnidentifiedImageError

# Pillow decodes these by itself. The content decides, not the ending: a file of another kind may
# start another program (PostScript starts Ghostscript).
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")
_READ = ".png .jpg .jpeg .jpe .jfif .bmp .tif .tiff .webp .pgm .ppm .pnm"
ENDINGS = frozenset(_READ.split())  # in any case; a file without an ending is looked into
HEADS = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"P5", b"P6")
SMALLEST = 16  # pixels a side; below, no encoder has two patches; ours
GRAY_OR_COLOUR = frozenset({"L", "LA", "RGB", "RGBA"})
MASK_MODES = GRAY_OR_COLOUR | {"1", "P", "PA", "I", "I;16", "I;16B", "I;16L"}
LOSSY = frozenset({"JPEG", "MPO", "WEBP"})  # formats whose zero may come back as 1 or 2

# raised by Pillow on damaged bytes; an OSError with an errno comes from the system
UNDECODABLE = (OSError, SyntaxError, TypeError, ValueError, EOFError, struct.error, zlib.error,
               Image.DecompressionBombError)  # fmt: skip
CURES = {"CMYK": "convert it to RGB with its colour profile", "1": "convert it to 8-bit gray"}
_ONE_AT_A_TIME = threading.Lock()  # standard error belongs to the whole process
_T = Image.Transpose
# turns an image of EXIF orientation 2 to 8 upright
UPRIGHT = dict(enumerate((_T.FLIP_LEFT_RIGHT, _T.ROTATE_180, _T.FLIP_TOP_BOTTOM, _T.TRANSPOSE,
                          _T.ROTATE_270, _T.TRANSVERSE, _T.ROTATE_90), start=2))  # fmt: skip


class _RefusedError(ValueError):
    """A readable file that is not used, with the reason."""


def is_image(path: Path) -> bool:
    """True for a visible file with one of the image endings, or with none and an image inside.

    A link that leads nowhere counts, so that its reader reports it and no image is lost in silence.
    """
    ending = path.suffix.lower()
    if path.name.startswith(".") or (ending and ending not in ENDINGS):
        return False
    if ending or not path.is_file():
        return ending != "" and (path.is_file() or leads_nowhere(path))
    with path.open("rb") as file:
        return file.read(6).startswith(HEADS)


def leads_nowhere(path: Path) -> bool:
    """True for a link whose end is not there, such as on a disk that is not mounted."""
    return path.is_symlink() and not os.path.exists(path)  # noqa: PTH110  # Path raises on a circle


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
    return np.array(_decode(path, GRAY_OR_COLOUR)[0].convert("RGB"))


def read_mask(path: str | os.PathLike[str], *, soft: bool = False) -> Bool[np.ndarray, "h w"]:
    """Decodes a mask, turned as its EXIF orientation says: True where a pixel is defective.

    Every value above 0 counts (so label maps that look black work; MVTec AD's masks hold 0 and 255
    only), in a colour file in any channel. In JPEG and WebP files, which do not keep 0 exactly, a
    value above 127 counts; ours.

    Args:
        path: 1-bit, 8-bit, palette or 16-bit gray.
        soft: Count only values above the middle where edges are soft (`has_soft_edges`); ours.
    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As for `read_image`.
    """
    values, _, lossy = mask_values(path)
    middle = np.iinfo(values.dtype).max // 2
    return values > (middle if lossy or (soft and has_soft_edges(values)) else 0)


def has_soft_edges(values: np.ndarray) -> bool:
    """Whether the dark grays of a mask are the edges of a bright area.

    A class of a label map fills areas, whose pixels equal all their neighbours; an edge does not.
    """
    middle = np.iinfo(values.dtype).max // 2
    dark = (values > 0) & (values <= middle)  # h w
    if not dark.any() or values.max() <= middle:
        return False
    (h, w), inner = values.shape, values[1:-1, 1:-1]
    flat = np.ones(inner.shape, dtype=bool)
    for dy, dx in np.ndindex(3, 3):
        flat &= values[dy : h - 2 + dy, dx : w - 2 + dx] == inner
    return bool((flat & dark[1:-1, 1:-1]).sum() < dark.sum() / 2)


def mask_values(path: str | os.PathLike[str]) -> tuple[np.ndarray, bool, bool]:
    """Gray values (8 or 16 bit) of a mask, whether it is stored as gray, and whether it is lossy.

    Of a colour file they are the largest of the channels.
    """
    picture, form = _decode(path, MASK_MODES)
    lossy = form in LOSSY
    if picture.mode.startswith("I"):
        values = np.array(picture).clip(0, 2**16 - 1)
        return values.astype(np.uint16 if values.max() > 255 else np.uint8), True, lossy
    gray = picture.mode not in ("RGB", "RGBA")
    return np.array(picture.convert("RGB")).max(axis=2), gray, lossy


def check_header(path: str | os.PathLike[str], *, mask: bool = False) -> tuple[int, int]:
    """Height and width of a file once upright; see `read_header`."""
    return read_header(path, mask=mask)[:2]


def read_header(path: str | os.PathLike[str], *, mask: bool = False) -> tuple[int, int, int]:
    """Checks a file as `read_image` or `read_mask` would, decoding it only where there is cause.

    Cause is a transparency, or an end that does not look like the format's, as in a copy cut short.

    Returns:
        Height and width in pixels once upright, and the EXIF orientation: 1 (upright) to 8.
    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As for `read_image`.
    """
    modes = MASK_MODES if mask else GRAY_OR_COLOUR
    with _opened(path, modes) as picture:
        transparent = picture.mode in ("LA", "RGBA", "PA") or "transparency" in picture.info
        turn = _orientation(picture)
        width, height = picture.size[::-1] if turn >= 5 else picture.size
        whole = _ends_well(picture)
    if transparent or not whole:
        width, height = _decode(path, modes)[0].size
    return height, width, turn


def thumbnail(path: str | os.PathLike[str], side: int) -> Float32[np.ndarray, "s s"]:
    """The gray values of an upright image, shrunk to a square (bilinear, antialiased).

    Raises:
        ValueError: As for `read_image`.
    """
    picture = _decode(path, GRAY_OR_COLOUR, least=8 * side)[0].convert("L").convert("F")
    return np.array(picture.resize((side, side), Image.Resampling.BILINEAR))


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation, 1 where there is none or no sensible one; Pillow turns TIFF by itself."""
    if picture.format == "TIFF":
        return 1
    # the base class's getexif, since that of PNG decodes the file to look behind the pixels
    value = Image.Image.getexif(picture).get(0x0112, 1)
    return value if isinstance(value, int) and value in UPRIGHT else 1


@contextmanager
def _opened(path: str | os.PathLike[str], modes: frozenset[str]) -> Iterator[ImageFile.ImageFile]:
    """Open a file of known format and mode; an error, also one inside, names the file."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            if reason := _objection(picture, modes):
                raise _RefusedError(reason)
            yield picture
    except _RefusedError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None
    except UNDECODABLE as error:
        raise _undecodable(path, error) from error


def _decode(
    path: str | os.PathLike[str], modes: frozenset[str], least: int | None = None
) -> tuple[Image.Image, str]:
    """Decode a file; with `least`, a JPEG only to a size that is at least this on both sides.

    Returns:
        The upright picture, and the format of the file.
    """
    with _opened(path, modes) as picture:
        turn, form = UPRIGHT.get(_orientation(picture)), picture.format or ""
        if least is not None:
            picture.draft(None, (least, least))
        with _silent_libtiff() if form == "TIFF" else nullcontext():
            picture.load()
        if "transparency" in picture.info or picture.mode == "PA":
            picture = picture.convert("RGBA")
        if picture.mode in ("LA", "RGBA"):
            alpha = picture.getchannel("A").getextrema()[0]
            if alpha != 255:
                raise _RefusedError(
                    f"expected an opaque image, got transparent pixels (least alpha {alpha} of "
                    "255); flatten it onto the background you want"
                )
        return (picture if turn is None else picture.transpose(turn)), form


@contextmanager
def _silent_libtiff() -> Iterator[None]:
    """Hide the lines that libtiff writes to standard error, in C and without a file's name."""
    with _ONE_AT_A_TIME, Path(os.devnull).open("w") as nothing:
        try:
            before = os.dup(2)
        except OSError:  # it is closed
            before = nothing.fileno()
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            if before != nothing.fileno():
                os.close(before)


def _undecodable(path: str | os.PathLike[str], error: Exception) -> Exception:
    name = os.fspath(path)
    if isinstance(error, FileNotFoundError) and leads_nowhere(Path(path)):
        return FileNotFoundError(f"{name} -> {Path(path).readlink()} is a link that leads nowhere")
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, error.strerror, name)  # the system says it best
    if isinstance(error, Image.DecompressionBombError):  # its words: size, limit, then a suspicion
        sizes = str(error).partition(",")[0]
        return ValueError(f"{name}: the image is too large: {sizes}; shrink it or crop it")
    if isinstance(error, UnidentifiedImageError):
        return ValueError(
            f"{name}: expected a whole image file, but its content is none that is read "
            f"({', '.join(FORMATS)}); export it as PNG or JPEG"
        )
    return ValueError(
        f"{name}: expected a whole image file, but decoding stopped: {error}; copy or export the "
        "file again"
    )


def _objection(picture: Image.Image, modes: frozenset[str]) -> str | None:
    """Why a file is refused by its header alone, or None."""
    (width, height), mode = picture.size, picture.mode
    if min(width, height) < SMALLEST:
        return f"expected at least {SMALLEST} pixels a side, got {width} x {height}; leave it out"
    # Pillow reads 16-bit colour as 8-bit without a word; only the raw mode still shows it
    deep = any(";16" in str(tile[3]) for tile in getattr(picture, "tile", []))
    if (deep or mode[:1] in ("I", "F")) and not (mode in modes and mode not in GRAY_OR_COLOUR):
        bits = "16-bit" if deep or mode.startswith("I;16") else "more than 8-bit"
        return (
            f"expected 8-bit gray or RGB, got {bits} pixels (mode {mode}); scale it to 8 bit; "
            "which range of values matters is yours to say"
        )
    if mode not in modes:
        kind = "palette image " if mode in ("P", "PA") else ""
        cure = CURES.get(mode, f"convert {'the palette' if kind else 'it'} to RGB")
        return f"expected 8-bit gray or RGB, got {kind}mode {mode}; {cure}"
    pages = getattr(picture, "n_frames", 1)
    if pages > 1 and picture.format != "MPO":  # a phone's JPEG with a preview behind the photograph
        return f"expected one picture, got {pages} pages or frames; save one of them by itself"
    return None


def _ends_well(picture: ImageFile.ImageFile) -> bool:
    """Whether the file ends as a whole one of its format does; False where that says nothing."""
    file, form = picture.fp, picture.format
    if file is None or form not in ("PNG", "JPEG", "WEBP"):
        return False
    length = file.seek(0, os.SEEK_END)
    if form == "WEBP":
        file.seek(4)  # RIFF: the size of what follows
        return length >= 8 + int.from_bytes(file.read(4), "little")
    file.seek(max(0, length - 12))
    tail = file.read()
    return tail.endswith(b"\xff\xd9") if form == "JPEG" else tail[4:8] == b"IEND"
