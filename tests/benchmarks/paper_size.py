"""A training step at the papers' size: ViT-B/14 at 392 pixels, 784 tokens, 8 blocks, 16 images.

    python tests/benchmarks/paper_size.py --out book/results/paper_size.jsonl

Every method steps from cached features (random here, as are all weights: they do not change the
time) in the precision that the device has, one after another in one run: forward pass, loss,
backward pass, clip, optimiser. Prints the median of the rounds, what 10,000 steps would take, and
the most memory. Needs a GPU; on a CPU, with `--rounds`, one round takes minutes. Asserts no time.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset

from adlib.engine import runs
from adlib.methods import METHODS, DinomalyConfig, INPFormerConfig, ProADConfig
from adlib.study.cost import cost
from adlib.system import hardware

WARM_UP, STEPS = 3, 10_000


def cases() -> Iterator[tuple[str, str, Any]]:
    """Yield a label, a method's name and its config."""
    paper = ProADConfig.paper()
    yield "Dinomaly", "dinomaly", DinomalyConfig.paper()
    yield "INP-Former", "inp-former", INPFormerConfig.paper()
    yield "Pro-AD", "pro-ad", paper
    yield "Pro-AD, anchor", "pro-ad", replace(paper, constraint="anchor", shortcut=False)
    yield "Pro-AD, project", "pro-ad", replace(paper, constraint="project")
    yield "Pro-AD, none", "pro-ad", replace(paper, constraint="none")
    yield "Pro-AD, none, softmax", "pro-ad", replace(paper, constraint="none", attention="softmax")


def measure(method: Any, device: torch.device, dtype: torch.dtype, rounds: int) -> list[float]:
    """Return the seconds of each of some steps."""
    tokens, width = method.grid[0] * method.grid[1], method.encoder.widths[0]
    features = torch.randn(method.config.batch, 2, tokens, width)
    method.fit_prototypes(Subset(features, range(len(features))))  # pyright: ignore[reportArgumentType]  # indexable
    features = features.to(device)
    method.to(device).train()
    optimiser, schedule = method.configure_optimizer(STEPS)
    weights = [p for group in optimiser.param_groups for p in group["params"]]
    seconds: list[float] = []
    for _ in range(WARM_UP + rounds):
        started = time.perf_counter()
        with hardware.autocast(device, dtype):
            loss = method.loss(features)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, method.config.clip)
        optimiser.step()
        schedule.step()
        assert loss.isfinite()  # and waits for the device
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return seconds[WARM_UP:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, help="20 on a GPU; a CPU is asked only if given")
    parser.add_argument("--out", type=Path, help="a file for the records, one line a method")
    args = parser.parse_args()
    device = hardware.choose_device()
    dtype = hardware.choose_dtype("auto", device)
    if device.type == "cpu" and args.rounds is None:
        print("left out, no GPU here; --rounds 1 asks the CPU, for minutes a method")
        return
    rounds = args.rounds or 20
    print(f"{hardware.describe(device)}, {dtype}; median of {rounds} steps")
    records: list[dict[str, Any]] = []
    for label, name, config in cases():
        method = METHODS[name][0](replace(config, weights="random"))
        hardware.forget_peak_memory()
        seconds = statistics.median(measure(method, device, dtype, rounds))
        record = {
            "method": label,
            "batch": config.batch,
            "seconds_a_step": seconds,
            "hours_for_10000": STEPS * seconds / 3600,
            "peak_memory_mib": hardware.peak_memory_mib(),
            "device": hardware.describe(device),
            "precision": str(dtype).removeprefix("torch."),
            "versions": runs.versions(),
            "commit": runs.commit(),
            **cost(config),
        }
        records.append(record)
        print(
            f"{label:24} {1e3 * seconds:9.1f} ms  {record['hours_for_10000']:6.2f} h  "
            f"{record['peak_memory_mib']:8.0f} MiB  x {seconds / records[0]['seconds_a_step']:.2f}",
            flush=True,
        )
        del method
    if args.out:
        args.out.write_text("".join(json.dumps(r) + "\n" for r in records))


if __name__ == "__main__":
    main()
