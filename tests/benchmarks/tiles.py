"""A 6000 x 4000 photograph with a defect of 40 pixels: whole and in tiles; time and peak memory.

Run it from the repository's root: python -m tests.benchmarks.tiles
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

import adlib
from adlib.engine.predict import predict_each
from adlib.system.hardware import peak_memory_mib

SHAPE, DEFECT, CORNER = (4000, 6000), 40, (1873, 2611)
TILE, OVERLAP = 448, 64


def photograph(seed: int, *, bad: bool = False) -> np.ndarray:
    """A brushed, cloudy gray surface; a bad one has a square that is a little darker."""
    rng = np.random.default_rng(seed)
    clouds = gaussian_filter(rng.normal(size=(400, 600)), 12)
    clouds = np.kron(clouds / clouds.std(), np.ones((10, 10)))
    brushed = gaussian_filter(rng.normal(size=SHAPE).astype(np.float32), (1, 20))
    gray = (128 + 8 * clouds + 4 * brushed / brushed.std()).clip(0, 255).astype(np.uint8)
    if bad:
        (y, x) = CORNER
        gray[y : y + DEFECT, x : x + DEFECT] = 100
    return np.repeat(gray[:, :, None], 3, axis=2)


def judge(folder: Path, tile: int | None) -> str:
    """Train on the good photographs, and say how the scores of good and bad ones lie."""
    config = adlib.PatchCoreConfig(tile=tile, overlap=OVERLAP)
    method = adlib.PatchCore(config)
    adlib.fit(method, adlib.load_data(folder / "plate"), holdout=0.34)
    before, started = peak_memory_mib() or 0, time.process_time()
    scores = {}
    for path, _, heat, score in predict_each(method, folder / "new", enlarge=False):
        peak = np.unravel_index(heat.argmax(), heat.shape)
        at = tuple(round(p * n / m) for p, n, m in zip(peak, SHAPE, heat.shape, strict=True))
        scores[Path(path).stem] = f"{score:.3f}, highest at row {at[0]}, column {at[1]}"
    seconds, memory = time.process_time() - started, peak_memory_mib() or 0
    lines = [f"  {name}: {found}" for name, found in sorted(scores.items())]
    took = f"{seconds / len(scores):.1f} s of processor time a photograph, peak memory"
    head = f"{'whole' if tile is None else f'tiles of {tile}'}: {took} {memory:,.0f} MiB"
    return "\n".join([f"{head} ({before:,.0f} MiB after training)", *lines])


def main() -> None:
    """Make the photographs, and judge them in a process each."""
    if len(sys.argv) > 1:
        print(judge(Path(sys.argv[1]), int(sys.argv[2]) or None))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i in range(6):
            place = folder / ("plate/good" if i < 4 else "new") / f"good{i}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photograph(i)).save(place, compress_level=1)
        Image.fromarray(photograph(9, bad=True)).save(folder / "new" / "bad.png", compress_level=1)
        for tile in (0, TILE):
            subprocess.run([sys.executable, "-m", "tests.benchmarks.tiles", name, str(tile)],
                           check=True)  # fmt: skip


if __name__ == "__main__":
    main()
