"""Numbers that others published, as CSV files beside this one; each says where it stands.

```text
unsupervised.csv         means over categories, of methods that see normal images only
dinomaly_categories.csv  Dinomaly's categories of MVTec AD, VisA and Real-IAD, one by one
categories.csv           bottle and screw of MVTec AD and capsules of VisA, by other methods
supervised.csv           PRN, its categories of MVTec AD, and its rivals; some defects were seen
reruns.csv               what came out when others, or the authors again, ran a method
ablations.csv            a method with and without one of its parts
```

No paper's number has the packaged encoder. Nearest to it are the means of Dinomaly with the variant
"ViT-S" on MVTec AD; its weights and its image size differ.

A row is a number: per cent, as it was printed. Its columns:

- `setting`: "multi-class" (one model for all categories of a data set), "super-multi-class" (one
  for several data sets), "one-per-category", "supervised" (one per category, seen defects).
- `run`: "paper" (the authors' claim), "weights" (their weights, scored again by others),
  "retrained" (trained again, by others or by them with another seed), "ablation" (the authors'
  method with a part left out, no claim; the variant begins "with" or "without").
- `protocol`: how maps became numbers: "dinomaly" and "inp-former" are `adlib.metrics.PROTOCOLS`;
  "ader" is ADer's (256 pixels, image score after 16 x 16 mean pooling, pixel F1 at 21 thresholds);
  "unknown" was not said where the number was read.
- `mark`: "primary" was read in the text or repository of whoever measured it, "second-hand"
  elsewhere. What is only remembered is not shipped.
"""

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

TITLES = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1_max": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1-max",
    "aupro": "AUPRO",
}
METRICS = tuple(TITLES)
MEAN = "mean"  # in place of a category: the mean over all of them
CATEGORIES = {  # how many each data set has
    "mvtec-ad": 15, "visa": 12, "real-iad": 30, "btad": 3, "adnet": 380,
}  # fmt: skip
LEAST = 0.1  # points; ours: a digit of a table that has one decimal


class Published(NamedTuple):
    """One published number; its columns are explained above."""

    method: str  # as its authors write it
    variant: str  # encoder or input size, where a method has several
    data: str
    setting: str
    category: str  # or MEAN
    metric: str
    per_cent: float
    run: str
    protocol: str
    mark: str
    source: str  # where a stranger can look it up
    note: str

    @property
    def name(self) -> str:
        """The method as the command line and a record name it."""
        return self.method.lower()


@cache
def everything() -> tuple[Published, ...]:
    """All rows of all files, sorted by file."""
    rows = []
    for path in sorted(Path(__file__).parent.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file, strict=True):
                rows.append(Published(**{**line, "per_cent": float(line["per_cent"])}))
    return tuple(rows)


def published(**wanted: str | None) -> list[Published]:
    """Find rows by the words in their columns; `method` in any case.

    Args:
        wanted: Word by column, such as `data="visa", metric="aupro"`; None matches every word.
    Raises:
        ValueError: A column or a word that no row has; says which there are.
    """
    found = list(everything())
    for column, word in wanted.items():
        if column not in Published._fields or column == "per_cent":
            known = ", ".join(Published._fields)
            raise ValueError(f"no column {column!r} to choose by; there are {known}")
        if word is None:
            continue
        attribute = "name" if column == "method" else column
        word = word.lower() if column == "method" else word
        words = {getattr(row, attribute) for row in everything()}
        if word not in words:
            raise ValueError(f"no {column} {word!r}; published are {', '.join(sorted(words))}")
        found = [row for row in found if getattr(row, attribute) == word]
    return found


def ranked(**wanted: str | None) -> list[tuple[int, Published]]:
    """Claimed means, the highest of each method, in falling order; each with its place.

    Equal numbers share a place. The digits are those that were printed, so methods that are told
    apart by the last digit alone may be equal.

    Args:
        wanted: As for `published`; one data set, setting and metric, or the order means nothing.
    """
    best: dict[str, Published] = {}
    for row in published(category=MEAN, run="paper", **wanted):
        if row.method not in best or row.per_cent > best[row.method].per_cent:
            best[row.method] = row
    order = sorted(best.values(), key=lambda row: -row.per_cent)
    return [(1 + sum(o.per_cent > row.per_cent for o in order), row) for row in order]


class Drift(NamedTuple):
    """How far a run that was made again landed from what was published, in points."""

    points: float
    rerun: Published
    reference: Published


def drifts(**wanted: str | None) -> list[Drift]:
    """Reruns beside the number that they repeat: same method, setting, metric and protocol.

    The reference is the paper's number, or the authors' weights scored again under the protocol of
    the rerun. A rerun whose protocol is unknown, or that has no reference, is left out.

    Args:
        wanted: As for `published`; of the rerun.
    """

    def key(row: Published) -> tuple[str, ...]:
        same = ("method", "variant", "data", "setting", "category", "metric", "protocol")
        return tuple(getattr(row, column) for column in same)

    references = {key(row): row for row in published(run="weights") + published(run="paper")}
    return [
        Drift(round(row.per_cent - reference.per_cent, 3), row, reference)
        for row in published(run="retrained", **wanted)
        if row.protocol != "unknown" and (reference := references.get(key(row)))
    ]


class Tolerance(NamedTuple):
    """How far a rerun may land from a published mean: per cent points, and who was rerun."""

    points: float
    methods: str  # separated by commas
    why: str  # how many reruns there were, and the farthest of them


def tolerance(row: Published) -> Tolerance | None:
    """How far a rerun may land from a published mean before it says something.

    The largest drift among public reruns of this metric and setting, at least `LEAST`: of the same
    method and data set, else on that data set, else of that method, else of any. Ours.

    Returns:
        Points, and the reruns that they come from; None where nothing was rerun.
    """
    alike = drifts(metric=row.metric, setting=row.setting, category=MEAN)
    for columns in (("method", "data"), ("data",), ("method",), ()):
        found = [d for d in alike if all(getattr(d.rerun, c) == getattr(row, c) for c in columns)]
        if found:
            most = max(found, key=lambda d: abs(d.points))
            return Tolerance(
                max(abs(most.points), LEAST),
                ", ".join(sorted({d.rerun.method for d in found})),
                f"{len(found)} rerun{'s' * (len(found) > 1)}, the farthest by {most.points:+.2f}: "
                f"{most.rerun.source}",
            )
    return None
