"""How each benchmark lies on the disk: one table of templates, and what walks a folder by them.

A template is a path below the root, without its ending, with fields in braces. An image and a mask
belong together when the fields that both templates have are equal: never by order.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from adlib.data.dataset import GOOD, ImageRef
from adlib.data.image_io import read_mask
from adlib.data.readers.files import images_in, nfc, walk

BAD = "bad"  # the defect where a benchmark names no kinds
FIELDS = {"category": "[^/]+", "split": "train|test", "defect": "[^/]+", "stem": "[^/]+"}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where images and masks lie.

    Attributes:
        image: Template of an image. Without {split} all images train.
        masks: Templates of its mask, of which one is there.
        ending: Of a mask, to name one that is missing; any is read.
        good: What the folder of normal images is called.
        label: What makes an image defective: the {defect} folder it lies in, a mask that is there,
            or a mask that is not black all over.
        names: Regular expressions for fields, where they are narrower than any name.
        named_in: Template of a text file that names the masks there should be.
        mark: Glob of what shows that a category is there.
    """

    image: str
    masks: tuple[str, ...] = ()
    ending: str = ".png"
    good: str = GOOD
    label: Literal["folder", "mask", "content"] = "folder"
    names: dict[str, str] = field(default_factory=dict)
    named_in: str | None = None
    mark: str


MVTEC = Layout(
    image="{category}/{split}/{defect}/{stem}",
    masks=(
        "{category}/ground_truth/{defect}/{stem}_mask",
        "{category}/ground_truth/{defect}/{stem}",
    ),
    mark="{category}/train/good",
)
LAYOUTS: dict[str, Layout] = {
    "mvtec-ad": MVTEC,
    "mpdd": MVTEC,
    "visa": Layout(  # as its authors' script arranges it; as it is downloaded: `split_files`
        image=MVTEC.image, masks=MVTEC.masks[::-1], mark=MVTEC.mark
    ),
    "btad": Layout(  # BMP and PNG, of images and of masks
        image=MVTEC.image,
        masks=MVTEC.masks[1:],
        ending=".*",
        good="ok",
        mark="{category}/train/ok",
    ),
    "dagm": Layout(
        image="{category}/{split}/{stem}",
        masks=("{category}/{split}/Label/{stem}_label",),
        label="mask",
        names={"category": r"Class\d+", "split": "Train|Test"},
        named_in="{category}/{split}/Label/Labels.txt",
        mark="{category}/Train",
    ),
    "ksdd2": Layout(  # the archive also holds a copy, "10301 (copy).png", which is no number
        image="{split}/{stem}",
        masks=("{split}/{stem}_GT",),
        label="content",
        names={"stem": r"\d+"},
        mark="train/*_GT.*",
    ),
    "dtd": Layout(image="images/{category}/{stem}", mark="images/{category}"),
}


@dataclass
class Found:
    """What a folder holds of a benchmark."""

    train: list[ImageRef] = field(default_factory=list)  #: normal images to train on
    test: list[ImageRef] = field(default_factory=list)
    seen: list[ImageRef] = field(default_factory=list)  #: defective images of the training split
    missing: list[str] = field(default_factory=list)  #: files that should be there and are not
    wrong: list[str] = field(default_factory=list)  #: sentences about contradictions
    strays: list[str] = field(default_factory=list)  #: images without a place, masks without image

    @property
    def all(self) -> list[ImageRef]:
        """Every image that is used."""
        return self.train + self.test + self.seen

    def add(self, split: str, reference: ImageRef) -> None:
        """Put a reference where it belongs."""
        if split.lower() == "test":
            self.test.append(reference)
        else:
            (self.seen if reference.label else self.train).append(reference)


def scan(layout: Layout, root: Path, categories: tuple[str, ...]) -> Found:
    """Find the images of a layout, their labels and masks; raises for nothing that is missing.

    Args:
        layout: Of the benchmark.
        root: Its folder.
        categories: Only these; others are passed over.
    """
    found = Found()
    image, masks = _pattern(layout, layout.image), [_pattern(layout, m) for m in layout.masks]
    pictures: list[tuple[Path, dict[str, str]]] = []
    # fields -> file, one for each template
    places: list[dict[tuple[str, ...], Path]] = [{} for _ in masks]
    for path in images_in(walk(root, depth=3)):  # the deepest template has three folders
        stem = nfc(path.relative_to(root).with_suffix("").as_posix())
        hits = [m.fullmatch(stem) for m in masks]
        for place, hit in zip(places, hits, strict=True):
            if hit and hit.groupdict().get("category", categories[0]) in categories:
                twin = place.setdefault(tuple(hit.groupdict().values()), path)
                if twin != path:
                    found.wrong.append(f"{twin} and {path} are masks of one name")
        if hit := image.fullmatch(stem):
            fields = {"category": categories[0]} | hit.groupdict()  # a set may be one category
            if fields["category"] in categories:
                pictures.append((path, fields))
        elif not any(hits):
            found.strays.append(str(path))
    used: dict[Path, Path] = {}
    for path, fields in pictures:
        keys = [tuple(fields[name] for name in m.groupindex) for m in masks]
        hits = [place[key] for place, key in zip(places, keys, strict=True) if key in place]
        if len(set(hits)) > 1:
            found.wrong.append(f"{path} has two masks, {hits[0]} and {hits[1]}")
        mask = hits[0] if hits else None
        if layout.label == "folder":
            defect = fields.get("defect", GOOD)
            defect = GOOD if defect == layout.good else defect
        elif layout.label == "mask" or mask is None:
            defect = BAD if mask else GOOD
        else:
            defect = _content(mask, found)
        if mask and defect != GOOD and mask in used:
            found.wrong.append(
                f"{used[mask]} and {path} have one name, so the mask {mask} fits both"
            )
        used |= dict.fromkeys(hits, path)
        wanted = layout.label == "content" or (layout.label == "folder" and defect != GOOD)
        if wanted and mask is None:
            first = layout.masks[0].format(**fields)
            found.missing.append(f"{root / first}{layout.ending} (the mask of {path})")
        file = str(mask) if mask and defect != GOOD else None
        reference = ImageRef(path=str(path), category=fields["category"], defect=defect, mask=file)
        found.add(fields.get("split", "train"), reference)
    lost = {path for place in places for path in place.values()} - used.keys()
    found.strays += sorted(map(str, lost))
    found.missing += _named(layout, root, {(f["category"], f.get("split")) for _, f in pictures})
    return found


def _pattern(layout: Layout, template: str) -> re.Pattern[str]:
    fields = FIELDS | layout.names
    parts = re.split(r"\{(\w+)\}", template)
    parts[::2] = map(re.escape, parts[::2])
    parts[1::2] = [f"(?P<{name}>{fields[name]})" for name in parts[1::2]]
    return re.compile("".join(parts))


def _content(mask: Path, found: Found) -> str:
    """The label that a mask shows: defective where any pixel of it is."""
    try:
        return BAD if read_mask(mask).any() else GOOD
    except (ValueError, OSError) as error:
        found.wrong.append(str(error))
        return GOOD


def _named(layout: Layout, root: Path, groups: set[tuple[str, str | None]]) -> list[str]:
    """Masks that a text file names and that are not there; their folder, where it holds none."""
    missing = []
    for category, split in sorted(groups, key=str) if layout.named_in else []:
        listed = root / str(layout.named_in).format(category=category, split=split)
        names = os.listdir(listed.parent) if listed.parent.is_dir() else []  # noqa: PTH208
        there = {Path(name).stem.lower() for name in names}
        if listed.is_file():
            text = listed.read_text(encoding="utf-8", errors="replace")
            words = re.findall(r"\S+_label\.\w+", text)
            missing += [str(listed.parent / w) for w in words if Path(w).stem.lower() not in there]
        elif not any(name.endswith("_label") for name in there):
            missing.append(f"{listed.parent}/*_label.* (they tell defective images from normal)")
    return missing
