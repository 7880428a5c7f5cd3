"""Folders of image files: the MVTec AD layout, and plain folders of good (and bad) images."""

import difflib
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from adlib.data.dataset import GOOD, DataSplits, ImageDataset, ImageRef, hash_files, read_files
from adlib.data.image_io import ENDINGS, check_header, is_image, leads_nowhere
from adlib.data.readers.masks import pair

BAD, MASKS = "bad", "masks"
TRAIN, TEST, TRUTH = "train", "test", "ground_truth"
NOT_OURS = frozenset({"__MACOSX"})  # left by archive tools; hidden folders are passed over as well
LAYOUTS = (
    "expected FOLDER/good/*.png (and FOLDER/bad/*.png where there are any), or the MVTec AD layout "
    "FOLDER/CATEGORY/train/good/*.png, FOLDER/CATEGORY/test/DEFECT/*.png"
)


def load_folder(
    path: str | os.PathLike[str],
    categories: Sequence[str] | None = None,
    holdout: float = 0.2,
) -> DataSplits:
    """Reads the layout of a folder and checks the header of every image and mask in it.

    Each category lies in a folder of its own, or is the folder itself:

    - MVTec AD: `train/good/*`, `test/DEFECT/*`, and masks `ground_truth/DEFECT/STEM_mask.*` (or
      `STEM.*`). Without a folder `ground_truth` there are no masks; with one, every defective
      image has its mask and every mask its image.
    - plain: `good/*`, and where there are any `bad/*` and `masks/STEM_mask.*` (or `STEM.*`) for
      some of the bad ones. The normal images whose names have the smallest SHA-256 are held out
      for the test, so that later images hardly change who is held out.

    Hidden files and files without an image ending are passed over. Images may differ in size and
    ending; a photograph is decoded whole and upright when it is asked for, one at a time (one of
    6000 x 4000 takes 250 MiB at its peak), and a method resizes it: it is not cut into tiles.

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
    path: str | os.PathLike[str],
    categories: Sequence[str] | None = None,
    holdout: float = 0.2,
) -> DataSplits:
    """As `load_folder`, but opens no image: names and places are checked, and nothing inside."""
    if not 0 < holdout < 1:
        raise ValueError(f"holdout must lie in (0, 1), got {holdout}")
    # not resolve(): a link keeps its own name, which becomes that of the data set
    root = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100
    folders = _category_folders(root, categories)
    train: list[ImageRef] = []
    test: list[ImageRef] = []
    for name, folder in folders.items():
        mvtec = (folder / TRAIN / GOOD).is_dir()
        normal, tested = _mvtec(folder, name) if mvtec else _plain(folder, name, holdout)
        train += normal
        test += tested
    return DataSplits(
        name=root.name,
        train=ImageDataset(train, read_files, hash_files),
        test=ImageDataset(test, read_files, hash_files),
    )


def hold_out(names: Sequence[str], fraction: float) -> frozenset[str]:
    """The given fraction of names whose SHA-256 is smallest; at least one of two, never all."""
    count = min(max(1, round(len(names) * fraction)), len(names) - 1)
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    return frozenset(ranked[: max(count, 0)])


def closest(word: str, known: Iterable[str]) -> str:
    """A question after the known word most like the given one, or an empty string."""
    match = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


def _category_folders(root: Path, wanted: Sequence[str] | None) -> dict[str, Path]:
    """Name and folder of each category to read, in alphabetical order."""
    if not root.exists():
        siblings = [p.name for p in root.parent.iterdir()] if root.parent.is_dir() else []
        raise FileNotFoundError(f"no folder {root}{closest(root.name, siblings)}")
    if not root.is_dir():
        raise ValueError(f"{root} is a file; expected a folder of images")
    inside = _subfolders(root)
    if GOOD in inside or TRAIN in inside:
        known = {root.name: root}
    else:
        known = {name: root / name for name in inside}
        if not any(_is_category(folder) for folder in known.values()):
            _refuse_loose(root)
            if not inside:
                raise FileNotFoundError(f"{root} holds no image and no folder; {LAYOUTS}")
            raise FileNotFoundError(
                f"no folder {GOOD!r} under {root}, only {', '.join(inside)}; {LAYOUTS}"
            )
    if wanted is not None:
        names = [wanted] if isinstance(wanted, str) else wanted
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            asked = repr(unknown[0]) if unknown else "(none named)"
            raise ValueError(
                f"no category {asked} in {root}; there are: {', '.join(known)}"
                + (closest(unknown[0], known) if unknown else "")
            )
        known = {name: known[name] for name in known if name in names}
    for folder in known.values():
        if not _is_category(folder):
            others = "; if it is no category, name those that are with categories=[...]"
            raise FileNotFoundError(
                f"no folder {GOOD!r} in {folder}; expected {folder / GOOD}/*.png or "
                f"{folder / TRAIN / GOOD}/*.png" + others * (folder != root)
            )
    return known


def _is_category(folder: Path) -> bool:
    return (folder / GOOD).is_dir() or (folder / TRAIN / GOOD).is_dir()


def _refuse_loose(folder: Path) -> None:
    """Refuses images beside, and not in, the folder of good ones."""
    count = sum(is_image(p) for p in folder.iterdir())
    if count:
        raise ValueError(
            f"{folder} holds {count} loose image{'s' * (count != 1)}; put the good ones into "
            f"{folder / GOOD} and the defective ones, where there are any, into {folder / BAD}"
        )


def _subfolders(folder: Path) -> list[str]:
    return sorted(
        p.name
        for p in folder.iterdir()
        if p.is_dir() and not p.name.startswith(".") and p.name not in NOT_OURS
    )


def _images(folder: Path) -> list[Path]:
    """The image files right in a folder, by name; refuses to pass over a folder or lost image."""
    nested = _subfolders(folder)
    if nested:
        raise ValueError(
            f"{folder} holds a folder {nested[0]!r}; expected image files only, put them right in "
            f"{folder}"
        )
    images = sorted((p for p in folder.iterdir() if is_image(p)), key=lambda p: p.name)
    if not images:
        others = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
        held = f"it holds other files only, such as {others[0]}" if others else "it is empty"
        raise FileNotFoundError(
            f"no images in {folder}: {held}; expected files ending in {' '.join(sorted(ENDINGS))}"
        )
    if lost := [p for p in images if leads_nowhere(p)]:
        raise FileNotFoundError(
            f"{len(lost)} of {len(images)} images in {folder} are links that lead nowhere, the "
            f"first is {lost[0]} -> {lost[0].readlink()}"
        )
    return images


def _check_names(folder: Path, expected: Sequence[str], *, strict: bool) -> None:
    """Refuses a folder that is not one of those expected; if not strict, only a likely slip."""
    for name in _subfolders(folder):
        if name in expected:
            continue
        hint = closest(name, expected)
        if strict or hint:
            raise ValueError(
                f"{folder} holds a folder {name!r}; expected only {', '.join(expected)}{hint}"
            )


def _mvtec(folder: Path, category: str) -> tuple[list[ImageRef], list[ImageRef]]:
    """Train and test references of one category in the MVTec AD layout."""
    _check_names(folder, (TRAIN, TEST, TRUTH), strict=False)
    _check_names(folder / TRAIN, (GOOD,), strict=True)
    train = [_reference(p, category, GOOD) for p in _images(folder / TRAIN / GOOD)]
    if not (folder / TEST).is_dir():
        raise FileNotFoundError(f"no folder {folder / TEST}; expected {folder / TEST}/DEFECT/*.png")
    test: list[ImageRef] = []
    for defect in _subfolders(folder / TEST):
        images = _images(folder / TEST / defect)
        test += [_reference(p, category, defect) for p in images]
    if not test:
        raise FileNotFoundError(
            f"no images under {folder / TEST}; expected {folder / TEST}/DEFECT/*.png"
        )
    truth = folder / TRUTH
    if truth.is_dir():
        masks = [p for d in _subfolders(truth) for p in sorted(_images(truth / d))]
        test = pair(test, masks, truth, every=True)
    return train, test


def _plain(folder: Path, category: str, holdout: float) -> tuple[list[ImageRef], list[ImageRef]]:
    """Train and test references of one folder of good, and maybe bad, images."""
    _check_names(folder, (GOOD, BAD, MASKS), strict=True)
    _refuse_loose(folder)
    good = [_reference(p, category, GOOD) for p in _images(folder / GOOD)]
    held = hold_out([r.name for r in good], holdout)
    bad: list[ImageRef] = []
    if (folder / BAD).is_dir():
        bad = [_reference(p, category, BAD) for p in _images(folder / BAD)]
    if (folder / MASKS).is_dir():
        bad = pair(bad, _images(folder / MASKS), folder / MASKS, every=False)
    return [r for r in good if r.name not in held], [r for r in good if r.name in held] + bad


def _reference(path: Path, category: str, defect: str) -> ImageRef:
    return ImageRef(path=str(path), category=category, defect=defect)


def checked(data: DataSplits) -> DataSplits:
    """Return the data after the files of all their images were opened."""
    splits = [split for split in (data.train, data.test, data.seen) if split is not None]
    every = [reference for split in splits for reference in split.references]
    for reference in tqdm(every, desc="checking images", delay=2, leave=False):
        check_files(reference)
    return data


def check_files(reference: ImageRef) -> None:
    """Checks headers only, unless they do not agree: then the decoded sizes count.

    Raises:
        FileNotFoundError: The image or its mask is not there.
        ValueError: One of them is not what `read_image` and `read_mask` accept, or they differ in
            size.
    """
    size = check_header(reference.path)
    if reference.mask is not None and check_header(reference.mask, mask=True) != size:
        read_files(reference)  # raises where they differ indeed
