"""Records with made numbers, in the form that `adlib.evaluate` and a sweep leave."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from adlib.report.published import METRICS
from adlib.report.records import Section, read_folder

CATEGORIES = ("bolt", "nut", "ring", "washer")


def record(
    method: str = "dinomaly", seed: int = 0, level: float = 0.5, masks: bool = True, **changes: Any
) -> dict[str, Any]:
    """A record as `adlib.evaluate` makes it, with made numbers: each category and metric its own.

    Args:
        level: Image AUROC of the first category.
        masks: Whether there are pixel metrics.
    """
    names = changes.pop("names", CATEGORIES)
    rows = {
        name: {
            metric: level + 0.02 * i - 0.01 * j if masks or metric.startswith("image") else None
            for j, metric in enumerate(METRICS)
        }
        for i, name in enumerate(names)
    }
    made = {
        "method": method,
        "config": {"steps": 800, "weights": None, "offline": False, "lr": 0.002},
        "encoder": {"name": "vit-tiny", "sha256": "ab" * 32},
        "data": {"name": "parts", "hash": "c0ffee" * 8},
        "categories": rows,
        "protocol": {"name": "ours", "crop": None},
        "seed": seed,
        "steps": 800,
        "seconds": 60.5,
        "test_seconds": 2.0,
        "peak_memory_mib": 512.0,
        "device": "cpu, 1 threads",
        "precision": "float32",
        "commit": "0123456789",
    } | changes
    own = made["categories"].values()
    made["mean"] = {
        m: None if any(row[m] is None for row in own) else float(np.mean([row[m] for row in own]))
        for m in METRICS
    }
    return made


def folder_of(tmp_path: Path, *records: dict[str, Any], name: str = "benchmark") -> Path:
    """A folder with one sweep's lines."""
    lines = [{"id": f"point_{i}", "files": {"record.json": r}} for i, r in enumerate(records)]
    (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def section_of(tmp_path: Path, *records: dict[str, Any]) -> Section:
    (section,) = read_folder(folder_of(tmp_path, *records)).sections
    return section


def noisy(
    method: str, level: float, seeds: int = 3, n: int = 4, noise: float = 0.01
) -> list[dict[str, Any]]:
    """Records of several seeds, each category of each drawn on its own."""
    rng = np.random.default_rng([ord(c) for c in method])
    names = [f"part{i}" for i in range(n)]
    found = []
    for seed in range(seeds):
        values = level + 0.01 * np.arange(n)[:, None] + noise * rng.normal(size=(n, len(METRICS)))
        rows = [dict(zip(METRICS, map(float, row), strict=True)) for row in values]
        categories = dict(zip(names, rows, strict=True))
        found.append(record(method, seed, categories=categories))
    return found
