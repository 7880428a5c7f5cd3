"""Which files and folders count: one rule for what is trained on, tested on, checked and judged."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from adlib.data.image_io import ENDINGS, is_image, leads_nowhere
from adlib.system.disk import is_file

# left in folders by desktops, network disks and archive tools, besides names that begin with a dot
SYSTEM = re.compile(
    r"\..*|~(\$.*|snapshot)|@(eadir|recycle|recently-snapshot|sharebin|tmp|__thumb)"
    r"|#(recycle|snapshot)|\$(recycle\.bin|extend)|recycle(r|d|\.bin)|found\.\d+|lost(\+found|\.dir)"
    r"|system volume information|__macosx|_gsdata_|network trash folder|temporary items|icon\r"
    r"|(eh)?thumbs\.db|desktop\.ini",
    re.IGNORECASE,
)
# folders that hold no photographs by their name, which is not certain: they are always named
LEFT = re.compile(
    r"thumb(nail)?s?|previews?|trash|deleted|recycle[ _]bin|.*\.(lrdata|photoslibrary)",
    re.IGNORECASE,
)
# folders that hold masks, and no photographs
MASK_FOLDERS = re.compile("masks?|ground[ _-]?truth|gt|segmentations?|annotations?", re.IGNORECASE)
# pictures by their ending that are not read; telephones and cameras can be set to JPEG
PICTURES = re.compile(
    r"\.(hei[cf]|avif|gif|j[p2x][2kl]|psd|dng|cr[23]|nef|arw|orf|rw2|ra[fw]|svg|e?ps|tga|exr|dib)"
)


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with ~ as the home folder; ~ of an unknown user stays as it is written."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def nfc(name: str | os.PathLike[str]) -> str:
    """A name in Unicode form C: archives made on a Mac hold another form of the same letters."""
    return unicodedata.normalize("NFC", os.fspath(name))


def _entries(folder: Path) -> Iterable[tuple[str, bool, bool]]:
    """Name, whether it is a folder to look into, and whether a link, of all that counts there."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not SYSTEM.fullmatch(entry.name):
                try:
                    is_folder = entry.is_dir() and not LEFT.fullmatch(entry.name)
                except OSError:  # links in a circle: the reader of the file reports them
                    is_folder = False
                yield entry.name, is_folder, entry.is_symlink()


def subfolders(folder: Path) -> list[str]:
    """Names of the folders right in a folder that count, links to folders included, sorted."""
    return sorted(name for name, is_folder, _ in _entries(folder) if is_folder)


def walk(
    root: Path, *, depth: int | None = None, enter: Callable[[Path], bool] = lambda _: True
) -> list[Path]:
    """The files below a folder that count, those of a folder before those of the folders in it.

    So do folders of thumbnails and of deleted files, which are not looked into.
    Links to folders are followed. Without a depth each folder is read once, by its own place before
    that of a link, so that links in a circle come to an end.

    Args:
        root: The folder, which may be hidden itself.
        depth: How many folders deep to look.
        enter: Whether to look into a folder below it.
    """
    found: list[tuple[tuple[str, ...], list[str], Path]] = []
    read: set[tuple[int, int]] = set()
    folders, links = [(root, 0)], []
    while folders or links:
        folder, level = folders.pop() if folders else links.pop(0)
        about = folder.stat()
        if depth is None and (about.st_dev, about.st_ino) in read:
            continue
        read.add((about.st_dev, about.st_ino))
        names: list[str] = []
        for name, is_folder, is_link in _entries(folder):
            if not is_folder:
                names.append(name)
            elif (depth is None or level < depth) and enter(folder / name):
                (links if is_link else folders).append((folder / name, level + 1))
        found.append((folder.parts, sorted(names), folder))
    return [folder / name for _, names, folder in sorted(found) for name in names]


def images_in(files: Iterable[Path], others: list[Path] | None = None) -> list[Path]:
    """Those that are images by their ending, or that have no ending and an image's content.

    Args:
        files: As `walk` returns them.
        others: Takes the rest.
    """
    images = []
    for path in files:
        if is_image(path):
            images.append(path)
        elif others is not None:
            others.append(path)
    return images


def passed_over(others: Sequence[Path]) -> list[str]:
    """Sentences that count files that are no images by their ending, and folders left out."""
    left = sorted(path for path in others if LEFT.fullmatch(path.name))
    folders = f"{len(left)} folders are" if len(left) > 1 else "1 folder is"
    told = [
        f"{folders} passed over, since the name says thumbnails or deleted files, such as {first}; "
        "rename it if it holds photographs to be used"
        for first in left[:1]
    ]
    files = [path for path in others if path not in left]
    counts = Counter(path.suffix.lower() or "without an ending" for path in files)
    if not counts:
        return told
    pictures = sorted(ending for ending in counts if PICTURES.fullmatch(ending))
    counted = sorted(counts.items(), key=lambda item: (item[0] not in pictures, item[0]))
    listed = ", ".join(f"{count:,} {ending}" for ending, count in counted)
    cure = f"; convert {' and '.join(pictures)} to JPEG or PNG" if pictures else ""
    return [*told, f"passed over, since they are no images that adlib reads: {listed}{cure}"]


def check_links(images: list[Path], others: list[Path], folder: Path) -> None:
    """Raise FileNotFoundError where a folder has no image, or links to images that lead nowhere."""
    if not images:
        held = "; ".join(passed_over(others)) or "it is empty"
        raise FileNotFoundError(
            f"no images in {folder}: {held}; expected files ending in {' '.join(sorted(ENDINGS))}"
        )
    if lost := [p for p in images if leads_nowhere(p)]:
        raise FileNotFoundError(
            f"{len(lost)} of {len(images)} images in {folder} are links that lead nowhere, the "
            f"first is {lost[0]} -> {lost[0].readlink()}"
        )


def respelled(path: Path, names: dict[Path, dict[str, str]]) -> Path | None:
    """A file whose path is written with backslashes, or in another Unicode form, if it is there.

    Args:
        path: As it is written.
        names: Of the folders that were looked into, Unicode form C -> name; it is filled.
    """
    parts = Path(path.as_posix().replace("\\", "/")).parts
    place = Path(parts[0])
    for part in parts[1:]:
        if not os.path.lexists(place / part) and os.path.isdir(place) and place not in names:  # noqa: PTH112
            names[place] = {nfc(entry.name): entry.name for entry in place.iterdir()}
        place /= names.get(place, {}).get(nfc(part), part)
    return place if is_file(place) else None
