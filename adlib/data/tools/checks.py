"""What looking through images shows, in sentences."""

import math
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from adlib.data.dataset import ImageRef, read_files
from adlib.data.image_io import check_header, has_soft_edges, mask_values, read_mask, thumbnail
from adlib.data.readers.folders import check_files
from adlib.data.tools.duplicates import SIDE, alike, both_labels, describe_pairs, leaks, repeats

WIDE = 4000  # pixels of the longer side from which it is said how large photographs are read; ours
STRETCH = 1.1  # between a category's widest and narrowest shape, from which it is said; ours
LONG = 2  # between the sides of images, from which another input size is proposed; ours
VERY_LONG = 8  # from which the proposed size has half the shorter side; ours
UNIFORM = 8  # gray values from black or white, within which an image shows nothing; ours
SHOWN = 3  # files named of many
MORE = 9  # reasons shown why files cannot be read, besides the first
# what files may show: how one is called, and what is said of it after "is" or "are"
FINDINGS = {
    "blank": ("mask", "all black though the image is defective, so that all its pixels count as "
              "good"),
    "large": ("mask", "white over more than half of the image; white must mark the defect, so look "
              "whether black and white are exchanged"),
    "soft": ("mask", "gray at the edges, of which values above the middle count as defective"),
    "turned": ("defective image", "turned by EXIF and the mask is not; look whether it fits the "
               "upright image"),
    "uniform": ("good image", "black or white all over and of no use, so delete them"),
}  # fmt: skip
Findings = Mapping[str, list[str]]  # paths of the files that show each of these


@dataclass
class CheckReport:
    """What was found.

    Attributes:
        title: What was looked for, and where.
        fine: Sentences about what is as it should be.
        notes: About what one may want to know.
        problems: About what is not as it should be.
        use: What the folder will be used as; empty where it cannot be.
    """

    title: str
    fine: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    use: str = ""

    def lines(self) -> Iterator[str]:
        """The report, to be printed."""
        yield self.title
        for sign in ("ok", "note", "PROBLEM"):
            sentences = {"ok": self.fine, "note": self.notes, "PROBLEM": self.problems}[sign]
            yield from (f"  {sign:<9}{sentence}" for sentence in sentences)
        verdict = counted(self.problems, "problem") if self.problems else "no problem"
        yield f"{verdict}; {self.use or 'it cannot be used until that is mended'}"


def mask_notes(references: Iterable[ImageRef]) -> list[str]:
    """Sentences about masks in people's folders that cannot be right; decodes each mask."""
    found: Findings = defaultdict(list)
    for reference in references:
        if reference.label and reference.mask is not None:
            mask = read_mask(reference.mask, soft=True)
            _judge(found, reference.mask, mask, own=True)
    return _sentences(found)


def _judge(found: Findings, name: str, mask: np.ndarray, *, own: bool) -> None:
    """Note a defect's mask that cannot be right; of one's own, the values in its file as well."""
    if not mask.any():
        found["blank"].append(name)
    elif mask.mean() > 0.5:
        found["large"].append(name)
    if own and has_soft_edges(mask_values(name)[0]):
        found["soft"].append(name)


def _sentences(found: Findings) -> list[str]:
    return [
        f"{are(found[kind], noun)} {words}: {some(found[kind])}"
        for kind, (noun, words) in FINDINGS.items()
        if found[kind]
    ]


def look(
    report: CheckReport,
    train: Sequence[ImageRef],
    test: Sequence[ImageRef],
    seen: Sequence[ImageRef],
    *,
    own: bool,
    decode: bool,
) -> list[str]:
    """Open every file and compare their contents; return complaints about those that are no use.

    Args:
        report: Takes what is found.
        train: Normal images.
        test: Images to test on.
        seen: Defects to train on.
        own: Photographs of one's own: masks and thumbnails are looked at as well.
        decode: Decode every file to its last pixel.
    """
    every, found, unreadable = [*train, *test, *seen], defaultdict(list), []
    sizes: dict[str, list[tuple[int, int]]] = defaultdict(list)  # width, height, by category
    thumbnails: dict[str, np.ndarray] = {}
    for reference in tqdm(every, desc="opening images", delay=2, leave=False):
        path, mask = reference.path, None
        try:
            height, width = check_header(path)
            sizes[reference.category].append((width, height))
            if check_files(reference):
                found["turned"].append(path)
            if own:
                small = thumbnails[path] = thumbnail(path, SIDE)
                if not reference.label and (small.max() <= UNIFORM or small.min() >= 255 - UNIFORM):
                    found["uniform"].append(path)
            if decode:
                mask = read_files(reference, soft=own).mask
            elif own and reference.mask is not None:
                mask = read_mask(reference.mask, soft=True)
            if reference.label and mask is not None:
                _judge(found, reference.mask or path, mask, own=own)
        except (ValueError, OSError) as error:
            unreadable.append(str(error))
    if unreadable:
        first, *others = unreadable
        report.problems.append(
            f"{len(unreadable)} of {len(every):,} images cannot be used"
            f"{'; the first' * bool(others)}: {first}"
        )
        report.problems += others[:MORE]
        if len(others) > MORE:
            report.notes.append(f"{len(others) - MORE:,} more images cannot be used")
    elif every:
        how = "was decoded" if decode else "opens (add --decode to read each to its last pixel)"
        report.fine.append(f"every image and mask {how}")
    report.notes += [*_sentences(found), *_about_sizes(sizes), *_lone(train, test)]
    pairs = both_labels(every, thumbnails)
    report.problems += describe_pairs(pairs)
    files = [r.path for r in every if Path(r.path).is_file()]
    groups, told = alike(files), {*found["uniform"], *(path for pair in pairs for path in pair)}
    same = [group for group in groups if not told.issuperset(group)]
    trained, tested = {r.path for r in (*train, *seen)}, {r.path for r in test}
    report.problems += leaks(same, trained, tested)
    report.notes += [*repeats(same, "training", trained), *repeats(same, "test", tested)]
    if files and not groups and not pairs:
        report.fine.append("no image occurs twice")
    return unreadable


def _about_sizes(sizes: Mapping[str, list[tuple[int, int]]]) -> Iterator[str]:
    """Sentences about sizes (width, height) and shapes that need a decision."""
    every = {size for each in sizes.values() for size in each}
    if len(every) > 1:
        (w, h), *_, (wide, high) = sorted(every, key=lambda s: (math.prod(s), s[::-1]))  # by area
        yield f"images of {len(every)} sizes, from {w} x {h} to {wide} x {high} (width x height)"
    shapes = {c: [width / height for width, height in each] for c, each in sizes.items()}
    uneven = [c for c, each in shapes.items() if max(each) > STRETCH * min(each)]
    if uneven:
        each = shapes[uneven[0]]
        yield (
            f"images of unlike shapes in {some(uneven)}, width / height from {min(each):.2f} "
            f"to {max(each):.2f}: each is squeezed to the same input, so that parts look "
            "stretched in some; crop all to one shape"
        )
    for category, each in shapes.items():
        ratio = float(np.median(each))
        times = max(ratio, 1 / ratio)
        if times >= LONG and category not in uneven:
            short = 224 if times <= VERY_LONG else 112
            long = 112 * round(short * times / 112)  # a multiple of 14 and of 16
            size = f"{short} {long}" if ratio > 1 else f"{long} {short}"
            yield (
                f"images of {category} are {times:.1f} times as "
                f"{'wide as high' if ratio > 1 else 'high as wide'}, and squeezed to a square "
                f"by default; train with --size H W of their shape, such as --size {size}"
                f"{', or cut them into pieces' * (times > VERY_LONG)}"
            )
    if any(max(size) >= WIDE for size in every):
        yield (
            "large photographs are shrunk to the method's input as a whole, not cut into "
            "tiles, so that a defect of a few pixels is lost; crop to what matters"
        )


def _lone(train: Sequence[ImageRef], test: Sequence[ImageRef]) -> Iterator[str]:
    """Sentences about categories with a single normal image."""
    tested = Counter(r.category for r in test if not r.label)
    if few := [c for c in scorable(test) if tested[c] == 1]:
        yield (
            f"{some(few)}: only one good image to test on, so that every score hangs on it; add "
            "good images"
        )
    if lone := [c for c, count in Counter(r.category for r in train).items() if count == 1]:
        yield f"{some(lone)}: only one good image to train on; add good images"


def counted(things: Sequence[object], noun: str) -> str:
    """A number and the noun that it belongs to."""
    return f"{len(things):,} {noun}{'s' * (len(things) != 1)}"


def are(things: Sequence[object], noun: str) -> str:
    """The same, and the verb after it."""
    return f"{counted(things, noun)} {'is' if len(things) == 1 else 'are'}"


def some(names: Sequence[str]) -> str:
    """The first few of them, and how many more."""
    more = f"; and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return "; ".join(names[:SHOWN]) + more


def scorable(test: Sequence[ImageRef]) -> list[str]:
    """Categories with normal and with anomalous test images, sorted: metrics need both."""
    kinds = {(r.category, r.label) for r in test}
    return sorted(c for c, label in kinds if label and (c, False) in kinds)


def unscored(categories: Sequence[str], able: Sequence[str]) -> str:
    """A sentence about the categories that cannot be scored, or none.

    Args:
        categories: All that were asked for.
        able: What `scorable` returned.
    """
    lacking = [c for c in categories if c not in able]
    rest = f"; adlib evaluate scores the others with --categories {shlex.join(able)}" * bool(able)
    said = f"{', '.join(lacking)} cannot be scored, for want of normal or of defective test images"
    return f"{said}{rest}" if lacking else ""


def use_of(train: Sequence[ImageRef], test: Sequence[ImageRef], seen: Sequence[ImageRef]) -> str:
    """What the images will be used as, as the end of a sentence."""
    categories = sorted({r.category for r in (*train, *test)})
    bad, able = [r for r in test if r.label], scorable(test)
    masked = sum(r.mask is not None for r in bad)
    many = f"{len(categories)} categories" if len(categories) > 1 else f"category {categories[0]}"
    said = f"it will be used as {many}: {counted(train, 'good image')} to train on"
    most = max(Counter(r.category for r in train).values(), default=0)
    if most < 2:  # the hold-out never takes the last one
        said += " (a threshold needs two of one category)"
    if test:
        normal = [r for r in test if not r.label]
        said += f", {counted(normal, 'good image')} and {len(bad):,} defective to test on"
    if not able:
        can = "train and set a threshold, but not" if most > 1 else "train, but not"
        why = ", which takes good and defective test images of one category" if bad else ""
        return f"{said}: it can {can} be evaluated{why}"
    if masked == len(bad):
        said += ", each defective one with a mask: images and pixels can be scored"
    elif masked:
        where = "once all" if len(categories) == 1 else "in categories where all"
        said += f", {masked:,} of them with a mask: pixels can be scored {where} have one"
    else:
        said += ", without masks: images can be scored, pixels cannot"
    if seen:
        said += f"; {len(seen):,} more defective ones for methods that learn from defects"
    lacking = unscored(categories, able)
    return f"{said}; {lacking}" if lacking else said
