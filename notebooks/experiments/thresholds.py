"""Do thresholds keep their promise? A held-out part against five folds.

    python notebooks/experiments/thresholds.py   # half an hour on one core

Good cells of ELPV, monocrystalline. Of n = 10, 30 or 100 of them, drawn 20
times, a nearest neighbour (PatchCore at its defaults) is made, once with a
tenth held out and once with five folds. All other good cells tell the
false-alarm rate that its threshold for 5 % really has, the defective ones how
many it finds. Writes book/results/thresholds.csv.
"""

import csv
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset

import adlib
from adlib.data.order import folds_of, hold_out
from adlib.engine import runs
from adlib.engine.features import cached_features
from adlib.engine.scoring import score_features
from adlib.methods import PatchCore
from adlib.metrics.threshold import Calibration

OUT = Path(__file__).resolve().parents[2] / "book/results/thresholds.csv"
RATE, FOLDS, DRAWS, COUNTS = 0.05, 5, 20, (10, 30, 100)
CPU = torch.device("cpu")


def scores_of(
    method: PatchCore, features: Tensor, fitted: list[int], at: list[int]
) -> np.ndarray:
    """Image scores of some images by a memory of others."""
    method.reset_parameters(torch.Generator().manual_seed(0))
    method.fit_prototypes(Subset(features, fitted))  # pyright: ignore[reportArgumentType]
    return score_features(method, features[at], torch.float32)[1]


def main() -> None:
    """Measure, and write the table."""
    data = adlib.load_data("solar", categories=["mono"])
    method = PatchCore()
    parts = data.train, data.test
    features = torch.cat(
        [
            cached_features(method, part, device=CPU, dtype=torch.float32)
            for part in parts
        ]
    )
    labels = np.concatenate([part.labels for part in parts])
    sound, broken = np.flatnonzero(~labels), np.flatnonzero(labels).tolist()
    rows = []
    for n in COUNTS:
        for draw in range(DRAWS):
            order = (
                np.random.default_rng([n, draw]).permutation(sound).tolist()
            )
            mine, others = order[:n], order[n:]
            few = data.train.select(
                range(n)
            )  # of the same number and category
            fitted, held = hold_out(few, 0.1, draw)
            for kind in ("held out", "folds"):
                if kind == "held out":
                    train = [mine[i] for i in fitted]
                    calibrating = scores_of(
                        method, features, train, [mine[i] for i in held]
                    )
                else:
                    train, each = mine, []
                    for part in folds_of(few, FOLDS, draw):
                        rest = [
                            mine[i] for i in sorted(set(range(n)) - set(part))
                        ]
                        each.append(
                            scores_of(
                                method, features, rest, [mine[i] for i in part]
                            )
                        )
                    calibrating = np.concatenate(each)
                known = Calibration(scores={"mono": calibrating.tolist()})
                found = scores_of(method, features, train, others + broken)
                above = found > known.threshold(RATE)
                rows.append(
                    {
                        "n": n,
                        "draw": draw,
                        "kind": kind,
                        "asked": RATE,
                        "promised": known.expected_rate(RATE),
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
