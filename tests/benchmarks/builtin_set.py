"""Does the built-in data set separate methods? Three of them, each trained on one category alone.

    python tests/benchmarks/builtin_set.py                          # all categories, one by one
    python tests/benchmarks/builtin_set.py --categories tile screw  # these only

(a) a Gaussian for each pixel and colour, from the training images; (b) PatchCore on an encoder with
random weights; (c) PatchCore on the packaged encoder. The rule for a new category: if (a) solves it
(image AUROC above 0.90), it tests nothing; if it is hopeless for (c) (below 0.60), or (c) is not
ahead of (a) by 0.05, it teaches nothing; then its natural variation is changed, or its weak kinds
of defect are made stronger. Logical kinds may stay out of reach. The last clause was added when the
first version of the label had been seen; bottle, label and tile were changed by the rule, at seed
0, so that the figures of this seed are those that chose. Seed 1 was run once, after the last
change, and changed nothing.

Rows that the file of results already holds for the same settings are kept and not made again; take
the file away to begin anew. Takes less than a minute a category on one core. Needs the package of
`dinov2-s-packaged`, asks no network and asserts no time.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.utils.data import Subset

from adlib.data import DataSplits, ImageDataset, load_builtin
from adlib.data.rendered.builtin import SCENES
from adlib.data.transform import ImageTransform
from adlib.engine import runs
from adlib.methods import PatchCore, PatchCoreConfig
from adlib.metrics import (
    PROTOCOLS,
    image_scores,
    prepare_maps,
    prepare_mask,
    score_images,
    score_maps,
)
from adlib.system import hardware
from adlib.system.disk import write_text

OUT = Path(__file__).parents[2] / "book/results/builtin_set.csv"
RULE = replace(PROTOCOLS["ours"], image_score="max")  # PatchCore's image score, for all three
RENDERED = 256  # pixels a side at which images are made; the set's default
MEMORY = 1_000  # patches of PatchCore's memory, a tenth of those of 40 images; 1 to 25 % in it
LEVEL = 1 / 255  # added to the spread of a pixel, which is known no better than to one level
CPU = torch.device("cpu")
ALL = "all"  # in place of a kind of defect

Maps = Float32[np.ndarray, "n h w"]
Maker = Callable[[Maps, Maps, int, int], Maps]  # training and test images, size, seed -> maps


def framed(images: ImageDataset, size: int) -> Float32[np.ndarray, "n 3 h w"]:
    """Return images as a model sees them."""
    frame = ImageTransform(size=(size, size))
    return np.stack([frame.image(sample.image) for sample in images])


def gaussian(train: Any, test: Any, size: int, seed: int) -> Maps:
    """Squared distance from each pixel's mean, in its variances; the mean of three colours."""
    mean, variance = train.mean(axis=0), train.var(axis=0) + LEVEL**2
    return ((test - mean) ** 2 / variance).mean(axis=1)


def patchcore(train: Any, test: Any, size: int, seed: int, weights: Any = None) -> Maps:
    """Distances from a memory of normal patches, at the defaults but for the memory's length."""
    config = PatchCoreConfig(size=(size, size), weights=weights, memory=MEMORY, offline=True)
    method = PatchCore(config)
    method.reset_parameters(torch.Generator().manual_seed(seed))

    def features(images: np.ndarray) -> Tensor:
        batches = torch.from_numpy(images).split(config.batch)
        with hardware.autocast(CPU, hardware.choose_dtype("auto", CPU)):  # as adlib.fit does
            return torch.cat([method.encode(batch).float() for batch in batches])

    normal = features(train)
    method.fit_prototypes(Subset(normal, range(len(normal))))  # pyright: ignore[reportArgumentType]  # indexable
    return torch.cat([method.maps(part) for part in features(test).split(config.batch)]).numpy()


METHODS: dict[str, Maker] = {
    "Gaussian": gaussian,
    "PatchCore, random": partial(patchcore, weights="random"),
    "PatchCore": patchcore,
}


def scores(maps: Maps, images: ImageDataset) -> dict[str, tuple[float, float]]:
    """Image AUROC and pixel AP of all defects, and of each kind against the good images."""
    prepared = prepare_maps(maps, RULE)
    truth = np.stack([prepare_mask(s.mask, RULE) for s in images if s.mask is not None])
    image, labels = image_scores(prepared, RULE), images.labels
    kinds = np.array([r.defect for r in images.references])
    found = {}
    for kind in (ALL, *sorted(set(kinds[labels]))):
        mine = ~labels | (kinds == kind) if kind != ALL else np.ones(len(labels), dtype=bool)
        pixel = score_maps(prepared[mine], truth[mine], protocol=RULE, prepared=True)
        found[kind] = (score_images(image[mine], labels[mine])["auroc"], pixel["ap"])
    return found


def measure(data: DataSplits, name: str, size: int, seed: int) -> list[dict[str, str]]:
    """Return a row for all defects of a category, and one for each kind."""
    train, test = framed(data.train, size), framed(data.test, size)
    started = time.process_time()  # which other work on the machine disturbs less
    maps = METHODS[name](train, test, size, seed)
    about = {
        "train": len(data.train),
        "test": len(data.test),
        "size": size,
        "seed": seed,
        "cpu_seconds": f"{time.process_time() - started:.1f}",
        "device": hardware.describe(CPU),
        "precision": str(hardware.choose_dtype("auto", CPU)).removeprefix("torch."),
        "commit": runs.commit() or "",
    }
    rows = []
    for kind, (auroc, ap) in scores(maps, data.test).items():
        found = {"image_auroc": f"{auroc:.4f}", "pixel_ap": f"{ap:.4f}"}
        row = {"method": name, "category": data.categories[0], "defect": kind} | found | about
        rows.append({key: str(value) for key, value in row.items()})
    return rows


def table(rows: list[dict[str, str]], settings: dict[str, str]) -> str:
    """Per cent, image AUROC / pixel AP; one line a category, in Markdown."""
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        if row["defect"] == ALL and settings.items() <= row.items():
            both = (f"{100 * float(row[key]):.1f}" for key in ("image_auroc", "pixel_ap"))
            cells.setdefault(row["category"], {})[row["method"]] = " / ".join(both)
    lines = [f"| category | {' | '.join(METHODS)} |", "|---|" + "---:|" * len(METHODS)]
    for category in filter(cells.get, SCENES):
        values = (cells[category].get(name, "") for name in METHODS)
        lines.append(f"| {category} | {' | '.join(values)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--categories", nargs="+", choices=list(SCENES), default=list(SCENES))
    parser.add_argument("--size", type=int, default=224, help="pixels that a method sees")
    parser.add_argument("--train", type=int, default=40)
    parser.add_argument("--test", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0, help="of the images and of the memory")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    settings = {k: str(getattr(args, k)) for k in ("train", "test", "size", "seed")}
    rows: list[dict[str, str]] = []
    if args.out.exists():
        rows = pd.read_csv(args.out, dtype=str, keep_default_na=False).to_dict("records")
    for category in args.categories:
        data = load_builtin(RENDERED, args.train, args.test, args.seed, [category])
        for name in METHODS:
            point = settings | {"method": name, "category": category}
            if any(point.items() <= row.items() for row in rows):
                continue
            rows += measure(data, name, args.size, args.seed)
            write_text(args.out, pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))
            print(f"{category}, {name}: {rows[-1]['cpu_seconds']} s", flush=True)
    print(table(rows, settings))


if __name__ == "__main__":
    main()
