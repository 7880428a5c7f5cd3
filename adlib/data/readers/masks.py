"""Which mask belongs to which photograph: found by name, never by order."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from adlib.data.dataset import ImageRef
from adlib.data.image_io import check_header, mask_values, read_mask
from adlib.data.readers.files import MASK_FOLDERS, check_links, images_in, nfc, walk

_WORD = (
    r"(?:masks?|maske|msk|gts?|ground[ _-]?truth|seg(?:m|map|mentation)?|labels?"
    r"|anno(?:tation)?s?|overlay|heat[ _-]?map)"
)
# "000_mask", "000-GT", "000_label 2", "000mask", "000(mask)", "mask_000", "mask000": all of "000"
MARK = re.compile(
    rf"(.*[^ _.(-])[ _.(-]*{_WORD}(?:[ _-]?\d+|[_)])?|{_WORD}(?:[ _.-]|(?=\d))(.+)", re.IGNORECASE
)
# folders that may hold masks: "labels", "masks_png", "bad_gt", "000_json"
MASK_WORDS = re.compile(rf"(?:.*[ _.-])?(?:{_WORD}|json)(?:[ _.-].*)?", re.IGNORECASE)
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

    A mask's name is a photograph's name in its folder, or holds it (`MARK`, or another word before
    or behind it). A mask has the photograph's size, and is black and white. It may lie in a folder
    inside that folder, or in one beside it that is called after it ("bad_masks" beside "bad").

    Args:
        root: The folder.
        files: Those to look at; by default all below the folder.
    Raises:
        ValueError: A file may be a mask or a photograph; names both.
    """
    found = Gathered(root)
    files = walk(root) if files is None else files
    named = [(path, nfc(path.stem), path.parent) for path in images_in(files, found.others)]
    folders = dict.fromkeys(folder for _, _, folder in named)
    apart = {folder: folder != root and holds_masks(folder) for folder in folders}
    near = {f: [f.parent, *map(f.with_name, _owners(f.name))] if f != root else [] for f in apart}
    photographs: dict[tuple[Path, str], list[Path]] = {}
    for path, stem, folder in named:
        if not apart[folder]:
            photographs.setdefault((folder, stem), []).append(path)

    def first(places: Sequence[Path], names: Sequence[str]) -> list[Path]:
        hits = (photographs.get((place, name)) for place in places for name in names)
        return next(filter(None, hits), [])

    for path, stem, folder in named:
        owners = _owners(stem)
        marked = bool(owners) and MARK.fullmatch(stem) is not None
        if apart[folder]:
            owned = first(near[folder], [stem, *owners])
        else:
            same = [p for p in photographs[folder, stem] if p != path]
            owned = first([folder], owners)
            if not (marked and owned):
                inside = first(near[folder], [stem, *owners])
                owned = same or owned or inside
                if not ((owned or marked) and looks_like_mask(path)):
                    found.images.append(path)
                    continue
                if not owned:
                    raise ValueError(
                        f"{path} looks like a mask, but no photograph {owners[0]}.* lies beside "
                        "it; name it after its photograph, or remove it"
                    )
                if not same and all(map(looks_like_mask, owned)):  # dark photographs
                    found.images.append(path)
                    continue
        photograph = _photograph_of(path, owned, marked=marked, apart=apart[folder])
        if twice := found.masks.get(photograph):
            raise ValueError(f"{photograph} has two masks, {twice} and {path}; merge them")
        found.masks[photograph] = path
    return found


def beside(found: Sequence[Gathered]) -> list[str]:
    """A sentence about masks that lie among photographs, or none."""
    masks = [mask for each in found for mask in each.masks.values()]
    are = "s beside photographs are read as their masks" if len(masks) > 1 else ""
    are = are or " beside a photograph is read as its mask"
    return [f"{len(masks)} file{are}, such as {masks[0]}"] if masks else []


def _owners(stem: str) -> list[str]:
    """Names that a photograph may have whose mask is called `stem`, the likeliest first."""
    if not re.search(r"[^\W\d]", stem):  # without a letter it holds no word but a name
        return []
    hit = MARK.fullmatch(stem)
    cuts = [cut.span() for cut in re.finditer(r"[ _.()-]+", stem)]
    heads = [(stem[:start], stem[end:]) for start, end in reversed(cuts)]
    tails = [(stem[end:], stem[:start]) for start, end in cuts]
    words = [name for name, rest in heads + tails if name and re.search(r"[^\W\d]", rest)]
    return [hit[1] or hit[2], *words] if hit else words


def looks_like_mask(path: Path) -> bool:
    """Whether a file is black and white, or black for the most part in shades of gray."""
    try:
        values, gray, _ = mask_values(path)
    except (ValueError, OSError):
        return False
    white = np.iinfo(values.dtype).max
    margin = white // 32  # what lossy formats make of black and white
    extreme = float(((values <= margin) | (values >= white - margin)).mean())
    return extreme >= ONLY_EXTREMES or (gray and float((values == 0).mean()) >= 0.5)


def check_black(mask: Path, image: str) -> None:
    """Raise ValueError where the mask of a good image marks a defect."""
    if read_mask(mask, soft=True).any():
        raise ValueError(f"{image} is called good, but {mask} marks a defect; one is wrong")


def holds_masks(folder: Path) -> bool:
    """Whether a folder holds masks by its name; where that is not certain, its images decide."""
    if MASK_FOLDERS.fullmatch(folder.name):
        return True
    images = images_in(walk(folder)) if MASK_WORDS.fullmatch(folder.name) else []
    return bool(images) and all(map(looks_like_mask, images))


def _photograph_of(mask: Path, owned: list[Path], *, marked: bool, apart: bool) -> Path:
    """The photograph of a mask that is called after it, or lies apart, where that is certain."""
    if len(owned) > 1:
        owned = [path for path in owned if not looks_like_mask(path)]
    if len(owned) != 1:
        raise ValueError(f"{mask} lies among masks, but no one photograph beside them has its name")
    photograph = owned[0]
    if not apart:
        sure = looks_like_mask(mask) and (marked or not looks_like_mask(photograph))
        sizes = [sorted(check_header(p, mask=True)) for p in (mask, photograph) if sure]
        if not sure or sizes[0] != sizes[1]:
            raise ValueError(
                f"{mask} may be a photograph, or the mask of {photograph} by its name; rename it, "
                "or put masks into a folder of their own"
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
    masks = images_in(walk(truth), found[-1].others)
    check_links(masks, found[-1].others, truth)
    unused: dict[str, Path] = {}
    owned: dict[str, list[str]] = {}  # key of a photograph -> keys of its masks
    for mask in masks:
        key = _key(mask, truth)
        if unused.setdefault(key, mask) != mask:
            raise ValueError(f"{mask} and {unused[key]} are masks of one name")
        folder, _, stem = key.rpartition("/")
        hit = MARK.fullmatch(stem)
        for name in (hit[1] or hit[2], stem) if hit else (stem,):
            owned.setdefault(f"{folder}/{name}".lstrip("/"), []).append(key)
    near = {photograph: mask for each in found for photograph, mask in each.masks.items()}
    paired, missing = [], []
    taken: dict[str, str] = {}
    for image in images:
        key = _key(Path(image.path), base)
        if key not in owned and not every:
            key = key.rpartition("/")[2]
        if image.label and key in taken and (key in owned or every):
            raise ValueError(
                f"{taken[key]} and {image.path} have one name, so a mask fits both; rename one"
            )
        taken[key] = image.path
        mine = [unused.pop(k) for k in owned.get(key, []) if k in unused]
        mine += [near[Path(image.path)]] if Path(image.path) in near else []
        if len(mine) > 1:
            raise ValueError(f"{image.path} has two masks, {mine[0]} and {mine[1]}; merge them")
        if image.label and not mine:
            missing.append(truth / f"{key}_mask.png")
        if mine and not image.label:
            check_black(mine[0], image.path)
        paired.append(replace(image, mask=str(mine[0])) if mine and image.label else image)
    if missing and every:
        defective = sum(image.label for image in images)
        raise FileNotFoundError(
            f"{len(missing)} of {defective} defective images have no mask, the first mask missing "
            f"is {missing[0]}; remove {truth} to go without masks"
        )
    if unused:
        own = next((Path(r.path) for r in images if r.label), base / "STEM")
        raise FileNotFoundError(
            f"{len(unused)} of {len(masks)} masks have no image, the first is "
            f"{min(unused.values())}; the mask of {own} is {truth / _key(own, base)}_mask.png or "
            f"{own.stem}.png"
        )
    return paired


def _key(path: Path, base: Path) -> str:
    """The place of a file below a folder without its ending, alike on every file system."""
    return nfc(path.relative_to(base).with_suffix("").as_posix())
