"""Folders of image files: the MVTec AD layout, and plain folders of good (and bad) images."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from adlib.data.dataset import GOOD, DataSplits, ImageDataset, ImageRef, hash_files, read_files
from adlib.data.image_io import read_header
from adlib.data.readers.files import (
    MASK_FOLDERS,
    check_links,
    expanded,
    images_in,
    nfc,
    passed_over,
    subfolders,
    walk,
)
from adlib.data.readers.masks import Gathered, beside, check_black, gather, holds_masks, pair
from adlib.system.printable import closest

BAD, MASKS = "bad", "masks"
TRAIN, TEST, TRUTH = "train", "test", "ground_truth"
# words for folders and labels, as `word` spells them
NORMAL = re.compile(
    "good(parts?|images?)?|ok|io|normal|fine|pass(ed)?|accept(ed)?|sound|intact|healthy|clean|flawless"
    "|(non?|un|without)(defects?|defective|anomal(y|ies|ous)|faulty?|damaged)"
    "|(defect|anomaly|fault)free"
)
DEFECTIVE = re.compile(
    "bad(parts?|images?)?|ng|nok|nio|(not?|un)(ok|good|normal)|defects?|defective"
    "|anomal(y|ies|ous)|abnormal|faulty?|fail(ed)?|reject(s|ed)?|broken|damaged"
)
VALIDATION = re.compile("(val(id|idation)?|dev)(set|images|data)?")
LAYOUTS = (
    "expected FOLDER/good/*.png (and FOLDER/bad/*.png where there are any), or the MVTec AD layout "
    "FOLDER/CATEGORY/train/good/*.png, FOLDER/CATEGORY/test/DEFECT/*.png"
)
read_own = partial(read_files, soft=True)  # masks that people draw may have soft edges


def load_folder(
    path: str | os.PathLike[str], categories: Sequence[str] | None = None, holdout: float = 0.2
) -> DataSplits:
    """Reads the layout of a folder and checks the header of every image and mask in it.

    Each category lies in a folder of its own, or is the folder itself:

    - MVTec AD: `train/good/*`, `test/DEFECT/*`, and masks `ground_truth/DEFECT/STEM_mask.*` (or
      `STEM.*`). Without a folder `ground_truth` there are no masks; with one, every defective
      image has its mask and every mask its image.
    - plain: `good/*`, and where there are any `bad/*` and `masks/STEM_mask.*` (or `STEM.*`) for
      some of the bad ones. The normal images whose names have the smallest SHA-256 are held out
      for the test, so that later images hardly change who is held out.

    Folders in `bad` are kinds of defect; those in `good` are read as well. A mask may also lie
    beside its photograph (`gather`). Other files are passed over and counted in `notes`. An image
    is decoded whole and upright when it is asked for (one of 6000 x 4000 takes 250 MiB at its
    peak), and a method resizes it: it is not cut into tiles. Masks are read with `soft` edges.

    Args:
        path: The folder.
        categories: Names of those to read; all by default.
        holdout: Fraction of a plain folder's normal images that goes to the test (at least one
            where there are two); 0.2 is ours.
    Raises:
        FileNotFoundError: A folder, image or mask that belongs there is not there.
        ValueError: The layout, an image or a mask is wrong, or a category is unknown.
    Source: layout from Bergmann et al., MVTec AD, CVPR 2019.
    """
    return checked(list_folder(path, categories, holdout))


def list_folder(
    path: str | os.PathLike[str], categories: Sequence[str] | None = None, holdout: float = 0.2
) -> DataSplits:
    """As `load_folder`, but opens no image: names and places are checked, and nothing inside."""
    if not 0 < holdout < 1:
        raise ValueError(f"holdout must lie in (0, 1), got {holdout}")
    # not resolve(): a link keeps its own name, which becomes that of the data set
    root = Path(os.path.abspath(expanded(path)))  # noqa: PTH100
    folders = _category_folders(root, categories)
    train: list[ImageRef] = []
    test: list[ImageRef] = []
    notes: list[str] = []
    found: list[Gathered] = []
    for name, folder in folders.items():
        if (folder / TRAIN / GOOD).is_dir():
            normal, tested = _mvtec(folder, nfc(name), found, notes)
        else:
            normal, tested = _plain(folder, nfc(name), found, holdout)
        train += normal
        test += tested
    others = [path for each in found for path in each.others]
    places = {root, *(f / part for f in folders.values() for part in ("", TRAIN, TEST))}
    loose = images_in((p for f in places if f.is_dir() for p in walk(f, depth=0)), others)
    if loose:
        are = "images lie" if len(loose) > 1 else "image lies"
        notes.append(f"{len(loose)} {are} in no folder of the layout, such as {min(loose)}")
    return DataSplits(
        name=root.name,
        train=ImageDataset(train, read_own, hash_files),
        test=ImageDataset(test, read_own, hash_files),
        notes=(*notes, *beside(found), *passed_over(others)),
    )


def held_names(names: Sequence[str], fraction: float) -> frozenset[str]:
    """The given fraction of names whose SHA-256 is smallest; at least one of two, never all."""
    count = min(max(1, round(len(names) * fraction)), len(names) - 1)
    ranked = sorted(
        names, key=lambda name: hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    )
    return frozenset(ranked[: max(count, 0)])


def choose(wanted: Sequence[str] | None, known: Sequence[str], where: str) -> tuple[str, ...]:
    """The known categories that are wanted, in their known order; all by default.

    Raises:
        ValueError: One is unknown, or none is named; says where it was looked for.
    """
    names = known if wanted is None else [wanted] if isinstance(wanted, str) else wanted
    spelled = {nfc(name) for name in names}
    unknown = [name for name in names if nfc(name) not in map(nfc, known)]
    if unknown or not names:
        asked = repr(unknown[0]) if unknown else "(none named)"
        hint = closest(unknown[0], known) if unknown else ""
        raise ValueError(f"no category {asked} in {where}; there are: {', '.join(known)}{hint}")
    return tuple(name for name in known if nfc(name) in spelled)


def word(name: str) -> str:
    """A name in small letters, without blanks, dashes and full stops."""
    return re.sub(r"[ _.-]", "", name.lower())


def _meant(name: str, expected: Sequence[str]) -> str:
    """What a folder of another name is for, or an empty string; no "good" for "not_good"."""
    kinds = ((NORMAL, GOOD), (DEFECTIVE, BAD), (MASK_FOLDERS, MASKS), (MASK_FOLDERS, TRUTH))
    for words, known in kinds:
        if known in expected and words.fullmatch(word(name)):
            return f"; did you mean {known!r}?"
    if VALIDATION.fullmatch(word(name)):
        return "; there are no validation images: move its good ones to train/good"
    return "" if DEFECTIVE.fullmatch(word(name)) else closest(name, expected)


def _category_folders(root: Path, wanted: Sequence[str] | None) -> dict[str, Path]:
    """Name and folder of each category to read, in alphabetical order."""
    if not root.exists():
        siblings = [p.name for p in root.parent.iterdir()] if root.parent.is_dir() else []
        raise FileNotFoundError(f"no folder {root}{closest(root.name, siblings)}")
    if not root.is_dir():
        raise ValueError(
            f"{root} is a file; expected a folder of images, or a table that ends in .csv, .tsv or "
            ".parquet"
        )
    inside = subfolders(root)
    alone = GOOD in inside or TRAIN in inside
    known = {root.name: root} if alone else {name: root / name for name in inside}
    able = [
        name
        for name, folder in known.items()
        if (folder / GOOD).is_dir() or (folder / TRAIN / GOOD).is_dir()
    ]
    if not able and not alone:
        _refuse_loose(root)
        if not inside:
            raise FileNotFoundError(f"{root} holds no image and no folder; {LAYOUTS}")
        meant = {name: _meant(name, (GOOD, BAD)).partition("mean ")[2][:-1] for name in inside}
        cures = [f"rename {n!r} to {new}" for n, new in meant.items() if new not in ("", repr(n))]
        raise FileNotFoundError(
            f"no folder {GOOD!r} under {root}, only {', '.join(inside)}; "
            f"{' and '.join(cures) or LAYOUTS}"
        )
    known = {name: known[name] for name in choose(wanted, list(known), str(root))}
    for name in known.keys() - able:
        folder = known[name]
        if alone and (folder / TRAIN).is_dir():
            _check_train(folder / TRAIN)
        others = f"; if it is no category, ask for the others only: {', '.join(able)}" * bool(able)
        raise FileNotFoundError(
            f"no folder {GOOD!r} in {folder}; expected {folder / GOOD}/*.png or "
            f"{folder / TRAIN / GOOD}/*.png{others}"
        )
    return known


def _refuse_loose(folder: Path, places: str = "") -> None:
    """Refuses images beside, and not in, the folders where they belong."""
    if count := len(images_in(walk(folder, depth=0))):
        belong = f"good ones into {folder / GOOD} and the defective ones, where there are any, into"
        raise ValueError(
            f"{folder} holds {count} loose image{'s' * (count != 1)}; put the "
            f"{places or f'{belong} {folder / BAD}'}"
        )


def _references(folder: Path, found: list[Gathered], category: str, defect: str) -> list[ImageRef]:
    """The photographs below a folder; a folder inside `bad` is the kind of defect.

    Refuses a folder without photographs, folders that belong elsewhere, and a good photograph whose
    mask marks a defect.
    """
    each = gather(folder)
    strange = DEFECTIVE if folder.name == GOOD else NORMAL
    for inner in sorted({path.parent for path in each.images}):
        for name in inner.relative_to(folder).parts:
            if name in (TRAIN, TEST) or strange.fullmatch(word(name)):
                raise ValueError(f"{folder} holds a folder {name!r}, which belongs beside it")
    check_links([*each.images, *each.masks.values()], each.others, folder)
    found.append(each)
    made = []
    for path in each.images:
        mask, kind = each.masks.get(path), defect
        if mask and defect == GOOD:
            check_black(mask, str(path))
        if defect == BAD and path.parent != folder:
            kind = nfc(path.relative_to(folder).parts[0])
        file = str(mask) if mask and kind != GOOD else None
        made.append(ImageRef(path=str(path), category=category, defect=kind, mask=file))
    return made


def _check_names(folder: Path, expected: Sequence[str], *, strict: bool) -> list[str]:
    """Refuses a folder that is not one of those expected; if not strict, only a likely slip."""
    others = [name for name in subfolders(folder) if name not in expected]
    for name in others:
        hint = _meant(name, expected)
        if strict or "did you mean" in hint:
            raise ValueError(
                f"{folder} holds a folder {name!r}; expected only {', '.join(expected)}{hint}"
            )
    return others


def _check_train(train: Path) -> None:
    """Refuses what does not belong into the folder for training of the MVTec AD layout."""
    _check_names(train, (GOOD,), strict=True)
    _refuse_loose(train, f"images into {train / GOOD}")


def _mvtec(
    folder: Path, category: str, found: list[Gathered], notes: list[str]
) -> tuple[list[ImageRef], list[ImageRef]]:
    """Train and test references of one category in the MVTec AD layout."""
    train, tests, truth = folder / TRAIN, folder / TEST, folder / TRUTH
    for name in _check_names(folder, (TRAIN, TEST, TRUTH), strict=False):
        why = _meant(name, ()) or ", which the layout does not have"
        notes.append(f"the folder {folder / name} is passed over{why}")
    _check_train(train)
    normal = _references(train / GOOD, found, category, GOOD)
    if not tests.is_dir():
        raise FileNotFoundError(f"no folder {tests}; expected {tests}/DEFECT/*.png")
    _refuse_loose(tests, f"images into {tests / GOOD} and {tests}/DEFECT")
    tested: list[ImageRef] = []
    for defect in subfolders(tests):
        if holds_masks(tests / defect):
            raise ValueError(
                f"{tests} holds a folder {defect!r} of masks; put them into {truth}/DEFECT"
            )
        if defect != GOOD and NORMAL.fullmatch(word(defect)):
            raise ValueError(f"{tests} holds a folder {defect!r}; did you mean {GOOD!r}?")
        tested += _references(tests / defect, found, category, nfc(defect))
    if not tested:
        raise FileNotFoundError(f"no images under {tests}; expected {tests}/DEFECT/*.png")
    return normal, pair(tested, tests, truth, found, every=True) if truth.is_dir() else tested


def _plain(
    folder: Path, category: str, found: list[Gathered], holdout: float
) -> tuple[list[ImageRef], list[ImageRef]]:
    """Train and test references of one folder of good, and maybe bad, images."""
    _check_names(folder, (GOOD, BAD, MASKS), strict=True)
    _refuse_loose(folder)
    good = _references(folder / GOOD, found, category, GOOD)
    names = [nfc(r.path[len(str(folder / GOOD)) + 1 :]).replace(os.sep, "/") for r in good]
    held = held_names(names, holdout)
    bad: list[ImageRef] = []
    if (folder / BAD).is_dir():
        bad = _references(folder / BAD, found, category, BAD)
    if (folder / MASKS).is_dir():
        bad = pair(bad, folder / BAD, folder / MASKS, found, every=False)
    both = list(zip(good, names, strict=True))
    train = [r for r, name in both if name not in held]
    return train, [r for r, name in both if name in held] + bad


def checked(data: DataSplits) -> DataSplits:
    """Return the data after all their files were opened, with a note on turned images."""
    shown = tqdm(data.references, desc="checking images", delay=2, leave=False)
    turned = [reference.path for reference in shown if check_files(reference)]
    if not turned:
        return data
    note = (
        f"EXIF turns {len(turned)} of the defective images and not their masks: look whether they "
        f"fit the upright images, such as {turned[0]}"
    )
    return replace(data, notes=(*data.notes, note))


def check_files(reference: ImageRef) -> bool:
    """Checks headers only, unless they do not agree: then the decoded sizes count.

    Returns:
        Whether EXIF turns the image and not its mask, and their sizes cannot tell which is right.
    Raises:
        FileNotFoundError: The image or its mask is not there.
        ValueError: One of them is not what `read_image` and `read_mask` accept, or they differ in
            size.
    """
    *size, turn = read_header(reference.path)
    if reference.mask is None:
        return False
    *mask_size, mask_turn = read_header(reference.mask, mask=True)
    if mask_size != size:
        read_files(reference)  # raises where they differ indeed
    return turn != mask_turn and (1 < turn < 5 or (turn > 4 and size[0] == size[1]))
