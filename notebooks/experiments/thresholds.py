"""Do thresholds keep their promise? A held-out part against five folds.

    python notebooks/experiments/thresholds.py   # 15 minutes on one core

Good cells of ELPV, monocrystalline. Of n = 10, 30 or 100 of them, drawn 20
times, a nearest neighbour that keeps every patch is made, once with a tenth
held out and once with five folds. All other good cells tell the false-alarm
rate that its threshold for 5 % really has, the defective ones how many it
finds. Writes book/results/thresholds.csv.

Each patch's distance from each image is computed once. A memory is a choice of
images, so its distance is the smallest among theirs.
"""

import csv
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import adlib
from adlib.data.order import folds_of, hold_out
from adlib.engine import runs
from adlib.engine.features import cached_features
from adlib.engine.scoring import OURS
from adlib.methods import PatchCore
from adlib.metrics import prepare_maps
from adlib.metrics.threshold import Calibration
from adlib.nn.reconstruction import distance_maps

OUT = Path(__file__).resolve().parents[2] / "book/results/thresholds.csv"
RATE, FOLDS, DRAWS, COUNTS = 0.05, 5, 20, (10, 30, 100)
PLACE = {"device": torch.device("cpu"), "dtype": torch.float32}


@torch.no_grad()
def distances_of(
    method: PatchCore, features: Tensor, known: list[int]
) -> Tensor:
    """Distances of all patches from each known image (image patch k)."""
    x = torch.cat(
        [method.patches(part.float()) for part in features.split(16)]
    )  # i p c
    found = torch.empty(*x.shape[:2], len(known))
    for column, image in enumerate(known):
        products = x.flatten(0, 1) @ x[image].T  # patches have length 1
        found[:, :, column] = products.amax(dim=1).unflatten(0, x.shape[:2])
    return (2 - 2 * found).clamp(min=0).sqrt()


@torch.no_grad()
def scores_of(method: PatchCore, nearest: Tensor) -> np.ndarray:
    """Image scores of patches' distances (image patch), as PatchCore's."""
    found = []
    for part in nearest.split(16):
        maps = distance_maps(
            part.unsqueeze(1), method.grid, method.config.size
        )
        prepared = torch.from_numpy(prepare_maps(maps.numpy(), OURS))
        found.append(method.image_score(prepared).numpy())
    return np.concatenate(found)


def main() -> None:
    """Measure, and write the table."""
    data = adlib.load_data("solar", categories=["mono"])
    method = PatchCore()
    parts = data.train, data.test
    features = torch.cat(
        [cached_features(method, part, **PLACE) for part in parts]
    )
    labels = np.concatenate([part.labels for part in parts])
    sound, broken = (
        np.flatnonzero(~labels).tolist(),
        np.flatnonzero(labels).tolist(),
    )
    orders = {
        (n, draw): np.random.default_rng([n, draw]).permutation(sound).tolist()
        for n in COUNTS
        for draw in range(DRAWS)
    }
    known = sorted(
        {image for (n, _), order in orders.items() for image in order[:n]}
    )
    column = {image: i for i, image in enumerate(known)}
    distances = distances_of(method, features, known)

    def scored(images: list[int], memory: list[int]) -> np.ndarray:
        columns = [column[image] for image in memory]
        return scores_of(method, distances[images][:, :, columns].amin(dim=2))

    rows = []
    for (n, draw), order in orders.items():
        mine, others = order[:n], order[n:]
        few = data.train.select(range(n))  # of the same number and category
        fitted, held = hold_out(few, 0.1, draw)
        folds = folds_of(few, FOLDS, draw)
        each = [scored([mine[i] for i in part],
                       [mine[i] for i in range(n) if i not in part])
                for part in folds]  # fmt: skip
        ways = {
            "held out": ([mine[i] for i in fitted], None),
            "folds": (mine, np.concatenate(each)),
        }
        for kind, (memory, calibrating) in ways.items():
            if calibrating is None:
                calibrating = scored([mine[i] for i in held], memory)
            calibration = Calibration(scores={"mono": calibrating.tolist()})
            above = scored(others + broken, memory) > calibration.threshold(
                RATE
            )
            rows.append(
                {
                    "n": n,
                    "draw": draw,
                    "kind": kind,
                    "asked": RATE,
                    "promised": calibration.expected_rate(RATE),
                    "false_alarms": above[: len(others)].mean(),
                    "detected": above[len(others) :].mean(),
                    "commit": runs.commit(),
                }
            )
        print(
            n,
            draw,
            *(f"{row['false_alarms']:.3f}" for row in rows[-2:]),
            flush=True,
        )
    with OUT.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()
