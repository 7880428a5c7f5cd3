"""ELPV: electroluminescence photographs of solar cells, real and shipped in a Python package.

Source: Buerhop-Lutz et al., A Benchmark for Visual Identification of Defective Solar Cells in
Electroluminescence Imagery, EU PVSEC 2018; Deitsch et al., Solar Energy 185 (2019) 455-468;
Deitsch et al., Machine Vision and Applications 32(4) (2021).
"""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from adlib.data.dataset import GOOD, DataSplits, ImageDataset, ImageRef, hash_files, read_files
from adlib.data.readers.folders import choose, held_names

PACKAGE = "elpv_dataset"
CATEGORIES = ("mono", "poly")  # mono- and polycrystalline
DEFECT = "defective"  # the data set names no kinds
HOLDOUT = 0.2  # share of the normal cells that goes to the test; ours
NOTICE = (
    "ELPV solar cells: licensed CC BY-NC-SA 4.0, for non-commercial use only. Please cite "
    "Buerhop-Lutz et al., A Benchmark for Visual Identification of Defective Solar Cells in "
    "Electroluminescence Imagery, EU PVSEC 2018, doi:10.4229/35thEUPVSEC20182018-5CV.3.15; "
    "Deitsch et al., Automatic classification of defective photovoltaic module cells in "
    "electroluminescence images, Solar Energy 185 (2019) 455-468, "
    "doi:10.1016/j.solener.2019.02.067; Deitsch et al., Segmentation of photovoltaic module cells "
    "in uncalibrated electroluminescence images, Machine Vision and Applications 32(4) (2021), "
    "doi:10.1007/s00138-021-01191-9."
)


def load_solar(
    categories: Sequence[str] | None = None, limit: int | None = None, folder: Path | None = None
) -> DataSplits:
    """Solar cells: sound ones to train on, held-out sound ones against surely defective ones.

    Experts gave each of the 2,624 cells a defect probability of 0, 1/3, 2/3 or 1. Training takes
    probability 0; the test takes the fifth of probability 0 whose file names have the smallest
    SHA-256, against all of probability 1. The 401 cells in between are left out, since their truth
    is unsure. There are no masks. Images are gray, 300 x 300 pixels.

    Args:
        categories: Of "mono" and "poly"; both by default.
        limit: At most so many images per category and split, the first in the order of the SHA-256
            of their names; in the test half of them sound, half defective. For quick runs.
        folder: Holds `labels.csv` and `images`; by default that in the installed package.
    Raises:
        ModuleNotFoundError: The package elpv-dataset is not installed.
        FileNotFoundError: Images or labels are missing.
        ValueError: A category is unknown, `limit` is below 2, or a label cannot be read.
    Source: see the module.
    """
    if limit is not None and limit < 2:
        raise ValueError(f"limit must be at least 2, a sound and a defective cell, got {limit}")
    wanted = choose(categories, CATEGORIES, "the solar cells")
    labels = _labels(_package_folder() if folder is None else folder)
    by_hash = sorted(labels, key=lambda file: hashlib.sha256(file.name.encode()).digest())
    train: list[ImageRef] = []
    test: list[ImageRef] = []
    for category in wanted:
        sound, broken = ([f for f in by_hash if labels[f] == (p, category)] for p in (0, 1))
        held = held_names([file.name for file in sound], HOLDOUT)
        kept = [file for file in sound if file.name in held]
        if limit is not None:
            kept, broken = kept[: (limit + 1) // 2], broken[: limit // 2]
        rest = [file for file in sound if file.name not in held][:limit]
        for split, files, defect in (
            (train, rest, GOOD),
            (test, kept, GOOD),
            (test, broken, DEFECT),
        ):
            split += [ImageRef(path=str(f), category=category, defect=defect) for f in files]
    splits = (ImageDataset(split, read_files, hash_files) for split in (train, test))
    return DataSplits("solar", *splits, notice=NOTICE)


def _package_folder() -> Path:
    """Where the package keeps its data, found without running any of its code."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "the solar cells come with the package elpv-dataset, which is not installed; run "
            "`pip install elpv-dataset` (90 MB, CC BY-NC-SA 4.0, non-commercial use only)",
            name=PACKAGE,
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def _labels(folder: Path) -> dict[Path, tuple[float, str]]:
    """Image file -> (defect probability, category), from lines such as `images/a.png 1.0 mono`."""
    table = folder / "labels.csv"
    if not table.is_file():
        raise FileNotFoundError(f"no {table}; install elpv-dataset again")
    labels: dict[Path, tuple[float, str]] = {}
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            name, share, category = line.split() or ("", 0, CATEGORIES[0])
            labels[folder / name] = float(share), CATEGORIES[CATEGORIES.index(category)]
        except ValueError as error:
            raise ValueError(
                f"{table}, line {number}: expected an image, a probability and mono or poly, got "
                f"{line!r}"
            ) from error
    labels.pop(folder, None)  # of empty lines
    if missing := [file for file in labels if not file.is_file()]:
        raise FileNotFoundError(
            f"{len(missing)} of {len(labels)} solar cells are missing, the first is {missing[0]}; "
            "install elpv-dataset again"
        )
    return labels
