"""Time and memory of the pixel metrics beside others, on the same maps.

    python tests/benchmarks/metrics.py                     # 100 maps of 256 x 256
    python tests/benchmarks/metrics.py --images 2000 --cases sort exact streaming

Every case runs in a process of its own: it loads the maps, warms up on two of them, measures the
peak of the resident memory above them in one call, and times further calls. All cases take turns,
and the best time of each is reported. Libraries get one thread; ours labels regions in a second one
while it sorts. adeval and anomalib are measured where they can be imported (adeval 1.1.0 needs cv2
but not its own pin of numpy: `np.trapz` is put back); what fails is left out, with the reason.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

CASES = ("sort", "exact", "streaming", "scikit-learn", "adeval", "anomalib")
Values = dict[str, float]


def make_maps(images: int, side: int, folder: Path) -> None:
    """Smooth noise with soft bumps on 70 % of the images; about 2 % of the pixels are defective."""
    from scipy.ndimage import gaussian_filter, zoom

    rng = np.random.default_rng(0)
    maps = np.empty((images, side, side), np.float32)
    masks = np.zeros((images, side, side), bool)
    y, x = np.mgrid[:side, :side]
    for i in range(images):
        score = zoom(rng.random((28, 28)), side / 28, order=1)
        if rng.random() < 0.7:
            for _ in range(rng.integers(1, 5)):
                cy, cx = rng.integers(side // 12, side - side // 12, 2)
                ry, rx = rng.uniform(side / 64, side / 8.5, 2)
                r2 = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2
                masks[i] |= r2 < 1
                score = score + rng.uniform(0.8, 2) * np.exp(-r2)
        maps[i] = gaussian_filter(score, 2)
    np.save(folder / "maps.npy", maps)
    np.save(folder / "masks.npy", masks)


def prepare(case: str, maps: np.ndarray, masks: np.ndarray) -> Callable[[], Values]:
    """What is timed; conversions that the case asks for are done beforehand."""
    if case == "sort":
        normal = maps[~masks]

        def sort() -> Values:
            np.sort(normal)
            return {}

        return sort
    if case == "exact":
        from adlib.metrics import score_maps

        return lambda: score_maps(maps, masks)
    if case == "streaming":
        from adlib.metrics import StreamingScores

        return lambda: StreamingScores().update(maps, masks).compute()
    if case == "scikit-learn":
        from sklearn import metrics as sk

        def three() -> Values:
            truth, scores = masks.ravel(), maps.ravel()
            precision, recall, _ = sk.precision_recall_curve(truth, scores)
            f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
            auroc, ap = sk.roc_auc_score(truth, scores), sk.average_precision_score(truth, scores)
            return {"auroc": float(auroc), "ap": float(ap), "f1_max": float(f1.max())}

        return three
    if case == "adeval":
        setattr(np, "trapz", np.trapezoid)  # noqa: B010, removed in numpy 2.4
        from adeval import auroc_aupr_aupro  # pyright: ignore[reportMissingImports]

        truth = masks.astype(np.uint8)
        return lambda: dict(
            zip(("auroc", "ap", "aupro"), map(float, auroc_aupr_aupro(maps, truth)), strict=True)
        )
    import torch
    from anomalib.metrics import AUPR, AUPRO, AUROC, F1Max  # pyright: ignore[reportMissingImports]

    fields = {"anomaly_map": torch.from_numpy(maps), "gt_mask": torch.from_numpy(masks).int()}
    kinds = {"auroc": AUROC, "ap": AUPR, "f1_max": F1Max, "aupro": AUPRO}

    def four() -> Values:
        found = {}
        for name, kind in kinds.items():
            metric = kind(fields=tuple(fields))
            metric.update(SimpleNamespace(**fields))  # its batches are objects with these fields
            found[name] = float(metric.compute())
        return found

    return four


def memory(name: str) -> int:
    """VmRSS or VmHWM of this process in KiB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise RuntimeError(f"no {name} in /proc/self/status")


def measure(case: str, folder: Path, repeats: int) -> dict[str, Any]:
    maps, masks = np.load(folder / "maps.npy"), np.load(folder / "masks.npy")
    if case != "sort":
        prepare(case, maps[:2].copy(), np.stack([masks[masks.any(axis=(1, 2))][0]] * 2))()
    work = prepare(case, maps, masks)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # peak starts here
    values = work()
    extra = memory("VmHWM") - before
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return {"seconds": seconds, "extra_mib": extra / 1024, "values": values}


def run(case: str, folder: Path, repeats: int) -> dict[str, Any] | str:
    """Measure in a fresh process with one thread; the reason where it cannot be measured."""
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    options = ["--case", case, "--folder", str(folder), "--repeats", str(repeats)]
    done = subprocess.run(
        [sys.executable, __file__, *options],
        env=os.environ | single | {"PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def table(found: dict[str, dict[str, Any]], pixels: int) -> str:
    """One row a case; ratios against numpy's sort and against adeval where it ran."""
    best = {case: min(r["seconds"]) for case, r in found.items()}
    rows = [
        "case            best s  median s  x sort  x adeval  extra MiB  bytes/px  "
        "auroc     ap        f1_max    aupro"
    ]
    for case, r in found.items():
        sort = f"{best[case] / best['sort']:.2f}" if "sort" in best else "-"
        peer = f"{best[case] / best['adeval']:.2f}" if "adeval" in best else "-"
        names = ("auroc", "ap", "f1_max", "aupro")
        values = "  ".join(f"{r['values'][k]:.6f}" if k in r["values"] else "-" * 8 for k in names)
        rows.append(
            f"{case:14s} {best[case]:7.3f} {np.median(r['seconds']):9.3f} {sort:>7} {peer:>9} "
            f"{r['extra_mib']:10.1f} {r['extra_mib'] * 2**20 / pixels:9.2f}  {values}"
        )
    if {"exact", "streaming"} <= set(found):
        exact, stream = found["exact"]["values"], found["streaming"]["values"]
        gaps = {k: abs(exact[k] - stream[k]) for k in ("auroc", "ap", "f1_max", "aupro")}
        rows.append("|streaming - exact|: " + ", ".join(f"{k} {v:.1e}" for k, v in gaps.items()))
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5, help="timed calls per round")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(args.case, args.folder, args.repeats)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_maps(args.images, args.side, folder)
        share = np.load(folder / "masks.npy").mean()
        found: dict[str, dict[str, Any]] = {}
        left_out: dict[str, str] = {}
        for _ in range(args.rounds):
            for case in [case for case in args.cases if case not in left_out]:
                result = run(case, folder, args.repeats)
                if isinstance(result, str):
                    left_out[case] = result
                elif case in found:
                    found[case]["seconds"] += result["seconds"]
                else:
                    found[case] = result
    pixels = args.images * args.side**2
    print(
        f"{args.images} maps of {args.side} x {args.side}, {share:.1%} defective; "
        f"best of {args.rounds} x {args.repeats} calls"
    )
    print(table(found, pixels))
    for case, reason in left_out.items():
        print(f"{case:14s} is left out: {reason}")


if __name__ == "__main__":
    main()
