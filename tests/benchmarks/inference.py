"""Seconds an image from pixels to map and score, for every method, in fp32 and in bf16.

    python tests/benchmarks/inference.py
    python tests/benchmarks/inference.py --size 392 --batches 1 4 16 --threads 1

`predict` is what a user calls: an array goes in, the map comes out at the array's size, one image
at a time. The rows with a batch are the network alone. Methods are untrained and have random
encoder weights, which does not change the time; a memory is filled from random features of 40
images. `x fp32` compares the best times, `x cpu` is the median of the rounds' ratios of processor
time. Extra memory is the peak of the resident memory in one call (Linux only).
"""

import argparse
import ctypes
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset
from turns import take_turns

import adlib
from adlib.methods import METHODS
from adlib.system.hardware import choose_dtype

CPU = torch.device("cpu")
PRECISIONS = ("fp32", "bf16")
Key = tuple[str, str]
"""What is run, and in which precision."""


def network(method: Any, images: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Return maps and scores of framed images."""
    dtype = choose_dtype(precision, CPU)
    with torch.no_grad(), torch.autocast(CPU.type, dtype, enabled=dtype != torch.float32):
        maps = method.maps(method.encode(images).float()).float()
        return maps, method.image_score(maps)


def fill_memory(method: Any) -> None:
    """Show a method features as a fit does before its steps; most do nothing with them."""
    shape = method.encode(torch.rand(1, 3, *method.config.size)).shape[1:]
    features = torch.randn(40, *shape, generator=torch.Generator().manual_seed(0)).half()
    method.reset_parameters(torch.Generator().manual_seed(0))
    method.fit_prototypes(Subset(features, range(len(features))))  # pyright: ignore[reportArgumentType]  # indexable


def cases(method: Any, batches: list[int]) -> dict[Key, tuple[int, Callable[[], Any]]]:
    """Return the number of images and a call, for each kind of run and each precision."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(max(batches), 3, *method.config.size, generator=generator)
    photo = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    found: dict[Key, tuple[int, Callable[[], Any]]] = {}
    for precision in PRECISIONS:
        call = partial(adlib.predict, method, photo, precision=precision)
        found["predict, 600 x 800", precision] = (1, call)
        for batch in batches:
            call = partial(network, method, pixels[:batch], precision)
            found[f"batch {batch}", precision] = (batch, call)
    return found


def resident(name: str) -> float:
    """VmRSS or VmHWM of this process in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {name} in /proc/self/status")


def extra_memory(call: Callable[[], Any]) -> float:
    """MiB that a second call needs at its peak; not a number where the system does not tell."""
    call()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what earlier calls left with the allocator
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak starts here
        before = resident("VmRSS")
    except (OSError, AttributeError):  # not Linux, or not glibc
        return float("nan")
    call()
    return max(0.0, resident("VmHWM") - before)


def rows(name: str, method: Any, batches: list[int], rounds: int) -> list[str]:
    chosen = cases(method, batches)
    memory = {key: extra_memory(call) for key, (_, call) in chosen.items()}  # and warms up
    seconds = take_turns({key: call for key, (_, call) in chosen.items()}, rounds)
    lines = []
    for (what, precision), (images, _) in chosen.items():
        times, exact = seconds[what, precision], seconds[what, "fp32"]  # rounds 2
        best, median = times[:, 0].min() / images, np.median(times[:, 0]) / images
        lines.append(
            f"{name:10} {what:19} {precision:5} {best:12.4f} {median:8.4f} {1 / best:9.1f} "
            f"{exact[:, 0].min() / times[:, 0].min():7.2f} "
            f"{np.median(exact[:, 1] / times[:, 1]):6.2f} {memory[what, precision]:10.1f}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", type=int, help="pixels a side; the methods' own where left out")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"CPU, {args.threads} threads; best and median of {args.rounds} rounds")
    head = "s/image best   median  images/s  x fp32  x cpu  extra MiB"
    print(f"{'method':10} {'what':19} {'':5} {head}")
    for name, (cls, config_cls) in METHODS.items():
        config = config_cls(weights="random")
        if args.size is not None:
            config = replace(config, size=(args.size, args.size))
        method = cls(config).eval()
        fill_memory(method)
        for line in rows(name, method, args.batches, args.rounds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
