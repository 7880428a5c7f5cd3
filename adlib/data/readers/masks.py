"""Which mask belongs to which photograph: found by name, never by order."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from adlib.data.dataset import ImageRef
from adlib.data.image_io import check_header, mask_values
from adlib.data.readers.files import MASK_FOLDERS, images_in, instead, nfc, refuse_lost, walk

_WORD = r"(?:masks?|gts?|ground[ _-]?truth|seg(?:m|mentation)?|labels?|anno(?:tation)?s?)"
# "000_mask", "000-GT", "000_label 2", "000mask" and "mask_000" are masks of "000"
MARK = re.compile(rf"(.+?)[ _.-]?{_WORD}(?:[ _-]?\d+)?|{_WORD}[ _.-](.+)", re.IGNORECASE)
ONLY_EXTREMES = 0.9  # of a mask's pixels are black or white at least, soft edges included; ours


@dataclass
class Gathered:
    """Photographs below a folder, the masks of some that lie there as well, and other files."""

    root: Path
    images: list[Path] = field(default_factory=list)
    masks: dict[Path, Path] = field(default_factory=dict)
    others: list[Path] = field(default_factory=list)


def gather(root: Path, files: Sequence[Path] | None = None) -> Gathered:
    """Tell the photographs below a folder from the masks among them.

    A mask is named after a photograph in its folder (`MARK`, or the same name with another ending),
    has its size, and is black and white. It may lie in a folder of masks inside that folder.

    Args:
        root: The folder.
        files: Those to look at; by default all below the folder.
    Raises:
        ValueError: A file may be a mask or a photograph; names both.
    """
    found = Gathered(root)
    files = walk(root) if files is None else files
    named = [(path, nfc(path.stem), path.parent) for path in images_in(files, found.others)]
    photographs: dict[tuple[Path, str], list[Path]] = {}
    for path, stem, folder in named:
        if not _in_mask_folder(folder, root):
            photographs.setdefault((folder, stem), []).append(path)
    for path, stem, folder in named:
        apart, owner = _in_mask_folder(folder, root), _owner(stem)
        home = folder.parent if apart else folder
        same = [p for p in photographs.get((home, stem), []) if p != path]
        marked = photographs.get((home, owner), []) if owner else []
        if not (apart or marked):
            looks = (owner or same) and looks_like_mask(path)
            if looks and not same:
                raise ValueError(
                    f"{path} looks like a mask, but no photograph {owner}.* lies beside it; name "
                    "it after its photograph, or remove it"
                )
            if not looks:
                found.images.append(path)
                continue
        candidates = same if apart and same else marked or same
        photograph = _photograph_of(path, candidates, apart or bool(marked), apart)
        if twice := found.masks.get(photograph):
            raise ValueError(f"{photograph} has two masks, {twice} and {path}; remove one")
        found.masks[photograph] = path
    return found


def beside(found: Sequence[Gathered]) -> list[str]:
    """A sentence about masks that lie among photographs, or none."""
    masks = [mask for each in found for mask in each.masks.values()]
    are = "s beside photographs are read as their masks" if len(masks) > 1 else ""
    are = are or " beside a photograph is read as its mask"
    return [f"{len(masks)} file{are}, such as {masks[0]}"] if masks else []


def _in_mask_folder(folder: Path, root: Path) -> bool:
    return MASK_FOLDERS.fullmatch(folder.name) is not None and folder != root


def _owner(stem: str) -> str:
    """The name of the photograph that the name of a mask tells, or an empty string."""
    hit = MARK.fullmatch(stem)
    return (hit[1] or hit[2]) if hit else ""


def looks_like_mask(path: Path) -> bool:
    """Whether a file is black and white, or black for the most part in shades of gray."""
    try:
        values, gray, _ = mask_values(path)
    except (ValueError, OSError):
        return False
    white = np.iinfo(values.dtype).max
    margin = white // 32  # what lossy formats make of black and white
    black = values <= margin
    extreme = float((black | (values >= white - margin)).mean())
    return extreme >= ONLY_EXTREMES or (gray and float((values == 0).mean()) >= 0.5)


def _photograph_of(mask: Path, candidates: Sequence[Path], named: bool, apart: bool) -> Path:
    """The photograph of a mask that is called after it, or lies apart, where that is certain."""
    if len(candidates) > 1:
        candidates = [path for path in candidates if not looks_like_mask(path)]
    if len(candidates) != 1:
        raise ValueError(f"{mask} lies among masks, but no one photograph beside them has its name")
    photograph = candidates[0]
    sure = apart or (looks_like_mask(mask) and (named or not looks_like_mask(photograph)))
    if not apart and sure:
        sizes = [sorted(check_header(p, mask=True)) for p in (mask, photograph)]
        sure = sizes[0] == sizes[1]
    if not sure:
        raise ValueError(
            f"{mask} may be a photograph, or the mask of {photograph} by its name; rename it, or "
            "put masks into a folder of their own"
        )
    return photograph


def pair(
    images: Sequence[ImageRef], base: Path, truth: Path, found: Sequence[Gathered], *, every: bool
) -> list[ImageRef]:
    """The references with their masks: STEM_mask.* or STEM.* in the same folder below `truth`.

    Args:
        images: Photographs below `base`.
        base: Where their folders begin.
        truth: Where the folders of masks begin; those of a plain folder may lie right in it.
        found: What `gather` returned, with the masks that lie beside photographs.
        every: Each defective image needs a mask.
    Raises:
        FileNotFoundError: A mask has no image, or with `every` a defective image no mask.
        ValueError: Two masks fit one image, or one mask two images.
    """
    masks = images_in(files := walk(truth), found[-1].others)
    refuse_lost(masks, truth)
    if not masks:
        raise FileNotFoundError(f"no images in {truth}: {instead(files)}")
    unused: dict[str, Path] = {}
    owned: dict[str, list[str]] = {}  # key of a photograph -> keys of its masks
    for mask in masks:
        key = _key(mask, truth)
        if unused.setdefault(key, mask) != mask:
            raise ValueError(f"{mask} and {unused[key]} are masks of one name")
        folder, _, stem = key.rpartition("/")
        for name in filter(None, (_owner(stem), stem)):
            owned.setdefault(f"{folder}/{name}".lstrip("/"), []).append(key)
    near = {photograph: mask for each in found for photograph, mask in each.masks.items()}
    paired, missing = [], []
    taken: dict[str, str] = {}
    for image in images:
        key = _key(Path(image.path), base)
        if key not in owned and not every:
            key = key.rpartition("/")[2]
        keys = [k for k in owned.get(key, []) if k in unused]
        beside = near.get(Path(image.path))
        if image.label and key in taken and (key in owned or every):
            raise ValueError(
                f"{taken[key]} and {image.path} have one name, so a mask fits both; rename one"
            )
        taken[key] = image.path
        mine = [str(unused.pop(k)) for k in keys] + ([str(beside)] if beside else [])
        if len(mine) > 1:
            raise ValueError(f"{image.path} has two masks, {mine[0]} and {mine[1]}; remove one")
        if image.label and not mine:
            missing.append(str(truth / f"{key}_mask.png"))
        # a normal image's mask, which some sets have, says nothing: all False is known already
        paired.append(replace(image, mask=mine[0]) if mine and image.label else image)
    if missing and every:
        defective = sum(image.label for image in images)
        raise FileNotFoundError(
            f"{len(missing)} of {defective} defective images have no mask, the first mask missing "
            f"is {missing[0]}; remove {truth} to go without masks"
        )
    if unused:
        raise FileNotFoundError(
            f"{len(unused)} of {len(masks)} masks have no image, the first is "
            f"{min(unused.values())}; a mask is named STEM_mask or STEM after its image"
        )
    return paired


def _key(path: Path, base: Path) -> str:
    """The place of a file below a folder without its ending, alike on every file system."""
    return nfc(path.relative_to(base).with_suffix("").as_posix())
