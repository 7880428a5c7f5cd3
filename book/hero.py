"""The pictures on the landing page and in the README: the whole method on good and defective parts.

`python -m book.hero` trains on the built-in set and writes `book/_static/hero.png`, the landing
pictures of its defective parts, and `hero.json`, which says how they were made. Each
picture is the first of its kind in the test set; the kinds were chosen because they show the method
at work. Chapter 1 shows those that it misses, too.
"""

import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

import adlib
from adlib import figures
from adlib.engine.features import transform_of
from adlib.engine.runs import commit, versions, write_json
from adlib.system.hardware import choose_device, choose_dtype

STEPS, SEED = 400, 0
CATEGORIES = ("board", "denim", "header", "screw", "steel")  # five, as the caption says; ours
SHOWN = (("denim", "good"), ("denim", "cut"), ("steel", "scratch"))
STAGES = ("photograph", "its features", "rebuilt from prototypes", "what could not be rebuilt")
STATIC = Path(__file__).resolve().parent / "_static"


def main() -> None:
    """Train, draw, write."""
    start = time.monotonic()
    data = adlib.load_data("builtin", train=40, test=40, categories=CATEGORIES)
    run = adlib.fit(adlib.ProAD(adlib.ProADConfig(steps=STEPS)), data, seed=SEED)
    method, calibration = run.method, run.method.calibration
    frame, dtype = transform_of(method), choose_dtype("auto", choose_device())
    references = data.test.references
    picks = [
        next(i for i, r in enumerate(references) if (r.category, r.defect) == kind)
        for kind in SHOWN
    ]
    samples = [data.test[i] for i in picks]
    pixels = torch.from_numpy(np.stack([frame.image(s.image) for s in samples]))
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        features = method.encode(pixels).float()
        rebuilt = method(features)[0].float()
    found = adlib.predict(method, [s.image for s in samples])
    scale = (calibration.low, calibration.high)
    rows, titles = [], []
    for i, sample in enumerate(samples):
        tokens = [x[i, 1].numpy() for x in (features, rebuilt)]  # the deeper group
        painted = figures.token_colours(tokens, method.grid)
        heat = figures.overlay(sample.image, found.maps[i], scale)
        rows.append((sample.image, *painted, heat))
        bad = found.scores[i] > calibration.threshold(category=sample.category)
        truth = "sound" if not sample.label else sample.defect
        titles.append(f"{sample.category}: {truth}\n{'called defective' if bad else 'called good'}")
    figure = Figure(figsize=(10, 2.55 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(STAGES), squeeze=False)
    for axes, stage in zip(grid[0], STAGES, strict=True):
        axes.set_title(stage, fontsize=11)
    for line, pictures, title, sample in zip(grid, rows, titles, samples, strict=True):
        for axes, picture in zip(line, pictures, strict=True):
            axes.imshow(picture, interpolation="nearest")
            figures.bare(axes)
        line[0].set_ylabel(title, fontsize=11)
        figures.outline(line[0], sample.mask)
    figure.savefig(STATIC / "hero.png", dpi=110, metadata={"Software": None})
    for (category, _), row in zip(SHOWN[1:], rows[1:], strict=True):  # to be moved over each other
        for name, picture in (("photograph", row[0]), ("heat", row[-1])):
            path = STATIC / f"hero_{category}_{name}.webp"
            Image.fromarray(picture).save(path, quality=90)
    record = {"made_by": "python -m book.hero", "shown": SHOWN}
    record |= {"data": {"name": data.name, "hash": data.hash}, "encoder": method.encoder.source}
    record |= {"steps": STEPS, "seed": SEED, "seconds": round(time.monotonic() - start)}
    write_json(STATIC / "hero.json", record | {"versions": versions(), "commit": commit()})


if __name__ == "__main__":
    main()
