"""Loading a data set against a plain PIL + torch Dataset, and what listing many files costs.

    python tests/benchmarks/loading.py
    python tests/benchmarks/loading.py --images 200 --size 1024 --files 100000

Both sides decode the same files, resize them to the encoder's input (Pillow, bilinear) and make a
float tensor of each; adlib also checks that a file is whole, turns it upright, and gives mask,
label and path. Listing is measured in processes of its own, on a folder of links to one image: what
it adds to the peak of resident memory (Linux), and how long it takes.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from adlib.data import load_folder
from adlib.data.dataset import ImageDataset
from adlib.data.transform import ImageTransform

INPUT = (392, 392)  # of the papers' encoder
LISTING = """
import re, time
from pathlib import Path
from adlib.data import {load}
def peak():  # of this process alone: what getrusage tells goes back to the one that began it
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 2**10
before = peak()
begun = time.perf_counter()
data = {load}({words})
took = time.perf_counter() - begun
count = len(data.train) + len(data.test)
print(f"{{count}} {{took}} {{peak() - before}}")
"""


class Plain(Dataset[Tensor]):
    """What most tutorials write."""

    def __init__(self, files: list[str]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.files[index]) as picture:
            wide = (INPUT[1], INPUT[0])  # Pillow counts the width first
            resized = picture.convert("RGB").resize(wide, Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(resized)).permute(2, 0, 1).float() / 255  # 3 h w


class Ours(Dataset[Tensor]):
    """The same from a data set of adlib."""

    def __init__(self, images: ImageDataset) -> None:
        self.images, self.frame = images, ImageTransform(size=INPUT)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(self.frame.image(self.images[index].image))  # 3 h w


def make(root: Path, count: int, size: int, ending: str) -> Path:
    """A plain folder of photographs-like images: smooth noise, so that files have usual lengths."""
    rng = np.random.default_rng(0)
    folder = root / f"set-{ending}" / "good"
    folder.mkdir(parents=True)
    for k in range(count):
        coarse = rng.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        picture.save(folder / f"{k:05}.{ending}", quality=92)
    return folder.parent


def rate(dataset: Dataset[Tensor], count: int) -> float:
    """Images a second."""
    begun = time.perf_counter()
    for k in range(count):
        dataset[k]
    return count / (time.perf_counter() - begun)


def compare(folder: Path, rounds: int) -> str:
    """A line with both rates, the best of the rounds, and the median of the rounds' ratios."""
    images = load_folder(folder).train
    sets: dict[str, Dataset[Tensor]] = {
        "plain": Plain([reference.path for reference in images.references]),
        "ours": Ours(images),
    }
    same = torch.equal(sets["plain"][0], sets["ours"][0])
    found: dict[str, list[float]] = {name: [] for name in sets}
    for k in range(rounds + 1):
        for name, dataset in sets.items():
            value = rate(dataset, len(images))
            found[name] += [value] if k else []  # the first round warms up
    ratios = np.array(found["ours"]) / np.array(found["plain"])
    return (
        f"{folder.name:10} {max(found['plain']):12.1f} {max(found['ours']):12.1f} "
        f"{np.median(ratios):8.2f}   equal tensors: {same}"
    )


def listing(root: Path, count: int, load: Callable[[Path, int], tuple[str, str]]) -> str:
    """A line on what listing that many files takes."""
    name, words = load(root, count)
    code = LISTING.format(load=name, words=words)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    listed, took, grown = done.stdout.split()
    each = float(grown) * 2**20 / int(listed)
    seconds, mib = float(took), float(grown)
    return f"{name:14} {int(listed):9,} files {seconds:8.1f} s {mib:8.0f} MiB {each:8.0f} B a file"


def links(root: Path, count: int) -> tuple[str, str]:
    """A plain folder of hard links to one image, each opened as `load_folder` does."""
    folder = root / "many/good"
    folder.mkdir(parents=True)
    seed = folder / "0000000.png"
    Image.new("RGB", (16, 16)).save(seed)
    source = seed
    for k in range(1, count):
        if k % 30_000 == 0:  # a file system has a limit to the links of one file
            source = folder / f"{k:07}.png"
            Image.new("RGB", (16, 16)).save(source)
            continue
        (folder / f"{k:07}.png").hardlink_to(source)
    return "load_folder", f"{str(root / 'many')!r}"


def table(root: Path, count: int) -> tuple[str, str]:
    """A manifest of the same files."""
    lines = [f"many/good/{k:07}.png,good" for k in range(count)]
    (root / "many.csv").write_text("path,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return "load_manifest", f"{str(root / 'many.csv')!r}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument(
        "--size", type=int, default=900, help="pixels a side; MVTec AD: 700 to 1024"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=100_000, help="to list; 0 for none")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        print(f"{'files':10} {'plain im/s':>12} {'adlib im/s':>12} {'ratio':>8}")
        for ending in ("png", "jpg"):
            print(compare(make(root, args.images, args.size, ending), args.rounds), flush=True)
        if args.files:
            for load in (links, table):
                print(listing(root, args.files, load), flush=True)


if __name__ == "__main__":
    main()
