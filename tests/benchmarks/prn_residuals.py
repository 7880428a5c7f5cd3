"""Which form of PRN's residuals is the default? Told by made anomalies on held-out normal images.

    export ADLIB_DATA=/path/to/the/categories
    python tests/benchmarks/prn_residuals.py                       # seeds 101 and 102
    python tests/benchmarks/prn_residuals.py --seeds 102 --threads 1

No test image is looked at. For a category and a seed, ten defects are taken out of the test set as
for every run of PRN. The first five are what it sees. A fifth of the normal training images is held
out, and anomalies are made on these: extended ones, which paste the other five defects, and
simulated ones. PRN at its defaults is trained with each form on what is left, and scored on the
held-out images, as they are and with anomalies, each kind by itself.

The rule, written before the first run: a form's score is the mean, over categories, seeds and both
kinds, of (image AUROC + pixel AP) / 2. The highest is the default. If the paired differences from
another form over categories and seeds have a mean within one standard error of 0, the one that is
nearer to what is inferred goes first: square, scaled, absolute. "off", without residuals, is no
candidate; it says what they bring.

Rows that the file of results holds for the same point are kept and not made again. Some four
minutes a point on one core. Asserts no time, asks no network.
"""

import argparse
import csv
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import adlib
from adlib.anomalies.training_set import AnomalyConfig, TrainingSet
from adlib.data import DataSplits
from adlib.data.split import show_first, supervise
from adlib.data.transform import ImageTransform
from adlib.engine import runs
from adlib.methods import PRN, PRNConfig
from adlib.metrics import auroc, average_precision
from adlib.system import hardware

OUT = Path(__file__).parents[2] / "book/results/prn_residuals.csv"
CATEGORIES = ("screw", "ball_screw", "cookie")
SEEDS = (101, 102)  # no sweep has them
FORMS = ("square", "scaled", "absolute", "off")
STEPS = 400
TAKEN, SHOWN = 10, 5  # defects that leave the test, and those of them that PRN sees
MADE = 40  # anomalies of each kind that a run is scored on
KINDS = ("extended", "simulated")


def divided(data: DataSplits, seed: int) -> tuple[DataSplits, Any, Any]:
    """Return what PRN is trained on, the held-out normal images and the defects to paste there."""
    data = supervise(data, TAKEN, seed)
    assert data.seen is not None
    others = data.seen.select(list(range(SHOWN, len(data.seen))))
    order = np.random.default_rng([seed, 77]).permutation(len(data.train)).tolist()
    few = len(order) // 5
    held, rest = data.train.select(sorted(order[:few])), data.train.select(sorted(order[few:]))
    return show_first(replace(data, train=rest), SHOWN), held, others


def made(held: Any, others: Any, seed: int) -> dict[str, list[tuple[Any, Any]]]:
    """Return image and mask of the held-out images as they are, and of anomalies of each kind."""
    size = PRNConfig().size
    frame = ImageTransform(size=size)
    found: dict[str, list[tuple[Any, Any]]] = {kind: [] for kind in ("normal", *KINDS)}
    for i in range(len(held)):
        image = torch.from_numpy(frame.image(held[i].image))
        found["normal"].append((image, torch.zeros(size, dtype=torch.bool)))
    recipe = AnomalyConfig(seen=False)
    samples = TrainingSet(held, others, frame=frame, batch=8, seed=seed, recipe=recipe)
    index = 0
    while min(len(found[kind]) for kind in KINDS) < MADE:
        kind = samples.plan(index).kind
        if kind in KINDS and len(found[kind]) < MADE:
            image, mask, *_ = samples[index]
            found[kind].append((image, mask))
        index += 1
    return found


def measure(category: str, seed: int, form: Any, root: Path) -> list[dict[str, Any]]:
    """Return a row for each kind of anomaly."""
    data, held, others = divided(adlib.load_data(root, categories=[category]), seed)
    begun = time.perf_counter()
    method = PRN(PRNConfig(residuals=form))
    run = adlib.fit(method, data, steps=STEPS, seed=seed, precision="bf16", holdout=0.0)
    samples = made(held, others, seed + 1_000)
    images = [image for kind in samples.values() for image, _ in kind]
    with torch.no_grad(), hardware.autocast(torch.device("cpu"), torch.bfloat16):
        parts = [run.method.anomaly_map(torch.stack(images[i : i + 8]))
                 for i in range(0, len(images), 8)]  # fmt: skip
    maps = torch.cat(parts).float()
    score = run.method.image_score(maps).numpy()
    kinds = np.repeat([*samples], [len(kind) for kind in samples.values()])
    masks = torch.stack([mask for kind in samples.values() for _, mask in kind]).numpy()
    rows = []
    for kind in KINDS:
        mine = (kinds == "normal") | (kinds == kind)
        ap = average_precision(maps.numpy()[mine].ravel(), masks[mine].ravel())
        rows.append({
            "category": category,
            "seed": seed,
            "form": form,
            "kind": kind,
            "pixel_ap": f"{ap:.4f}",
            "image_auroc": f"{auroc(score[mine], (kinds != 'normal')[mine]):.4f}",
            "normal": len(held),
            "made": MADE,
            "steps": STEPS,
            "seconds": f"{time.perf_counter() - begun:.0f}",
            "device": hardware.describe(torch.device("cpu")),
            "commit": runs.commit() or "",
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--categories", nargs="+", default=list(CATEGORIES))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    root = os.environ.get("ADLIB_DATA")
    if not root:
        print("set ADLIB_DATA to the folder of the development categories")
        return
    torch.set_num_threads(args.threads)
    for form in args.forms:
        for category in args.categories:
            for seed in args.seeds:
                point = {"category": category, "seed": str(seed), "form": form}
                old = args.out.read_text(encoding="utf-8") if args.out.exists() else ""
                if any(point.items() <= row.items() for row in csv.DictReader(old.splitlines())):
                    continue
                rows = measure(category, seed, form, Path(root))
                with args.out.open("a", encoding="utf-8", newline="") as file:  # others append too
                    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                    if not file.tell():
                        writer.writeheader()
                    writer.writerows(rows)
                print(*(" ".join(map(str, row.values())) for row in rows), sep="\n", flush=True)


if __name__ == "__main__":
    main()
