"""What looking through images brought to light, in sentences."""

import math
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from adlib.data.dataset import ImageRef
from adlib.data.image_io import check_header
from adlib.data.readers.split_files import check_marked, read_marked
from adlib.data.tools.duplicates import alike, describe, repeats

WIDE = 4000  # pixels of the longer side from which it is said how large photographs are read; ours
STRETCH = 1.1  # between a category's widest and narrowest shape, from which it is said; ours
SHOWN = 3  # files named of many


@dataclass
class Report:
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
        for sign, sentences in (
            ("ok", self.fine),
            ("note", self.notes),
            ("PROBLEM", self.problems),
        ):
            yield from (f"  {sign:<9}{sentence}" for sentence in sentences)
        count = len(self.problems)
        verdict = f"{count} problem{'s' * (count != 1)}" if count else "no problem"
        use = self.use or "it cannot be used until that is mended"
        yield f"{verdict}; {use}"


def look(
    report: Report,
    train: Sequence[ImageRef],
    test: Sequence[ImageRef],
    seen: Sequence[ImageRef],
    decode: bool,
) -> list[str]:
    """Open every file and compare their bytes; return complaints about those that are no use."""
    every = [*train, *test, *seen]
    unreadable: list[str] = []
    sizes: Counter[tuple[int, int]] = Counter()
    shapes: dict[str, list[float]] = {}  # width / height, by category
    blank: list[str] = []  # masks of defective images that show no defect
    for reference in tqdm(every, desc="opening images", delay=2, leave=False):
        try:
            height, width = check_header(reference.path)
            sizes[height, width] += 1
            shapes.setdefault(reference.category, []).append(width / height)
            if decode:
                sample = read_marked(reference)
                if sample.label and sample.mask is not None and not sample.mask.any():
                    blank.append(reference.mask or reference.path)
            elif reference.mask is not None:
                check_marked(reference)
        except (ValueError, OSError) as error:
            unreadable.append(str(error))
    if unreadable:
        report.problems.append(
            f"{len(unreadable)} of {len(every):,} images cannot be read, or not with their mask: "
            f"{some(unreadable)}"
        )
    elif every:
        how = "decoded" if decode else "opened; --decode reads them to the last pixel"
        report.fine.append(f"every image and mask was {how}")
    if blank:
        report.notes.append(
            f"the mask shows no defect on {len(blank):,} defective image{'s' * (len(blank) > 1)}, "
            f"so that all pixels would count as normal: {some(blank)}"
        )
    if len(sizes) > 1:
        least, most = min(sizes, key=math.prod), max(sizes, key=math.prod)  # by area
        report.notes.append(
            f"images of {len(sizes)} sizes, from {least[1]} x {least[0]} to {most[1]} x {most[0]} "
            "(width x height)"
        )
    if uneven := [c for c, each in shapes.items() if max(each) > STRETCH * min(each)]:
        each = shapes[uneven[0]]
        report.notes.append(
            f"images of unlike shapes in {some(uneven)}: width / height from {min(each):.2f} to "
            f"{max(each):.2f}; every image is squeezed to the method's input, so the same part "
            "looks stretched in some of them; crop all to one shape"
        )
    if sizes and max(map(max, sizes)) >= WIDE:
        report.notes.append(
            "large photographs are decoded whole, one at a time, and resized to the method's input "
            "(they are not cut into tiles): a defect of a few pixels is lost; crop to what matters"
        )
    files = [r.path for r in every if Path(r.path).is_file()]
    found = alike(files)
    trained, tested = {r.path for r in (*train, *seen)}, {r.path for r in test}
    for sentence in describe(found, trained, tested):
        leak = "also trained on" in sentence
        (report.problems if leak else report.notes).append(sentence)
    report.notes += repeats(found, "test", tested)
    if files and not found:
        report.fine.append("no image is there twice, by the hash of its content")
    return unreadable


def scorable(test: Sequence[ImageRef]) -> list[str]:
    """Categories with normal and with anomalous test images, sorted: metrics need both."""
    kinds = {(r.category, r.label) for r in test}
    return sorted(c for c, label in kinds if label and (c, False) in kinds)


def unscored(categories: Sequence[str], able: Sequence[str]) -> str:
    """A sentence about the categories that `scorable` leaves out, or none.

    Args:
        categories: All that were asked for.
        able: What `scorable` returned.
    Returns:
        Which cannot be scored, why, and the option that scores the others, if there are any.
    """
    lacking = [c for c in categories if c not in able]
    if not lacking:
        return ""
    said = f"{', '.join(lacking)} cannot be scored, for want of normal or of defective test images"
    rest = f"; adlib evaluate scores the others with --categories {shlex.join(able)}"
    return said + rest * bool(able)


def use_of(train: Sequence[ImageRef], test: Sequence[ImageRef], seen: Sequence[ImageRef]) -> str:
    """What the images will be used as, as the end of a sentence."""
    categories = sorted({r.category for r in (*train, *test)})
    bad, able = [r for r in test if r.label], scorable(test)
    masked = sum(r.mask is not None for r in bad)
    many = f"{len(categories)} categories" if len(categories) > 1 else f"category {categories[0]}"
    said = f"it will be used as {many}: {_normal(len(train))} to train on"
    most = max(Counter(r.category for r in train).values(), default=0)
    if most < 2:  # the hold-out never takes the last one
        said += " (a threshold needs two of one category)"
    if test:
        said += f", {_normal(len(test) - len(bad))} and {len(bad):,} defective to test on"
    if not able:
        can = "train and set a threshold, but not" if most > 1 else "train, but not"
        why = ", which takes normal and defective test images of one category" if bad else ""
        return f"{said}: it can {can} be evaluated{why}"
    if masked == len(bad):
        said += ", each defect with a mask: scores of images and of pixels"
    elif masked and len(categories) == 1:
        said += (
            f", {masked:,} of the defects with a mask: scores of images only, until all have one"
        )
    elif masked:
        said += (
            f", {masked:,} of the defects with a mask: pixels are scored in the categories where "
            "all have one"
        )
    else:
        said += ", without masks: scores of images only"
    if seen:
        said += f"; {len(seen):,} more defective ones for methods that learn from defects"
    lacking = unscored(categories, able)
    return f"{said}; {lacking}" if lacking else said


def _normal(count: int) -> str:
    return f"{count:,} normal image{'s' * (count != 1)}"


def count_files(names: Sequence[str]) -> str:
    """Their number with its noun."""
    return f"{len(names):,} file{'s' * (len(names) != 1)}"


def some(names: Sequence[str]) -> str:
    """The first few of them, and how many more."""
    more = f"; and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return "; ".join(names[:SHOWN]) + more
