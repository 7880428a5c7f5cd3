"""A training step from cached features against one that runs the encoder again, for every method.

    python tests/benchmarks/training.py --precision fp32 --threads 1 --rounds 7

Both steps are what `fit` does with a batch: loss, backward, clip, optimiser, schedule. One reads
the features from a memory-mapped fp16 file, as the cache is; the other has the pixels ready in
memory and passes them through the frozen encoder first. PRN learns from made anomalies, which no
cache holds, and so has the second kind of step only. Every method runs at its defaults; Dinomaly
also at the papers' decoder. Encoder weights are random: they do not change the time. `x best`
compares the best times, `x cpu` is the median of the rounds' ratios of processor time.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Subset
from turns import take_turns

from adlib.methods import METHODS, DinomalyConfig
from adlib.system.hardware import choose_dtype

CPU = torch.device("cpu")


def cases(batch: int | None) -> Iterator[tuple[str, Any]]:
    """Yield what is measured: a label and a method, built when its turn comes."""
    papers = DinomalyConfig(weights="random", size=(392, 392), blocks=8, mlp_ratio=4.0)
    configs = [("dinomaly, 8 blocks x 4", "dinomaly", papers)]
    configs += [(name, name, cls(weights="random")) for name, (_, cls) in METHODS.items()]
    for label, name, config in configs:
        if config.steps == 0:
            print(f"{label:24} trains nothing")
            continue
        config = config if batch is None else replace(config, batch=batch)
        yield label, METHODS[name][0](config)


def stepper(method: Any, dtype: torch.dtype) -> Callable[..., None]:
    """What `fit` does with a batch: features, or images and masks."""
    optimiser, schedule = method.configure_optimizer(1_000)
    weights = [p for group in optimiser.param_groups for p in group["params"]]

    def step(first: Tensor, *masks: Tensor) -> None:
        with torch.autocast(CPU.type, dtype, enabled=dtype != torch.float32):
            loss = method.loss(first.to(CPU, torch.float32), *masks)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, method.config.clip)
        optimiser.step()
        schedule.step()

    return step


def measure(method: Any, dtype: torch.dtype, rounds: int) -> dict[str, np.ndarray]:
    """Return wall and processor seconds (rounds 2) of each kind of step, after a warm-up."""
    batch = method.config.batch
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(2 * batch, 3, *method.config.size, generator=generator)

    def encode(images: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(CPU.type, dtype, enabled=dtype != torch.float32):
            return method.encode(images)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.safetensors"
        save_file(
            {"features": torch.cat([encode(part) for part in pixels.split(batch)]).half()}, path
        )
        with safe_open(path, framework="pt") as file:
            features = file.get_tensor("features")  # memory-mapped
        method.fit_prototypes(Subset(features, range(len(features))))
        method.train()
        step = stepper(method, dtype)

        def some() -> Tensor:
            return torch.randperm(2 * batch, generator=generator)[:batch]

        def on_masks() -> None:
            step(pixels[chosen := some()], pixels[chosen, 0] > 0.9)

        kinds: dict[str, Callable[[], None]] = {"recomputed": on_masks}
        if not method.learns_from_defects:
            kinds = {"cached": lambda: step(features[some()])}
            kinds["recomputed"] = lambda: step(encode(pixels[some()]))
        return take_turns(kinds, rounds)


def row(label: str, method: Any, found: dict[str, np.ndarray]) -> str:
    config, encoder = method.config, method.encoder
    again = found["recomputed"]  # rounds 2
    cached = found.get("cached", np.full_like(again, np.nan))
    best, cpu = again[:, 0].min() / cached[:, 0].min(), np.median(again[:, 1] / cached[:, 1])
    trained = sum(p.numel() for p in method.parameters() if p.requires_grad) / 1e6
    what = f"{encoder.name} {config.size[0]}"
    return (
        f"{label:24} {what:24} {config.batch:5} {trained:9.1f} {cached[:, 0].min():9.3f} "
        f"{again[:, 0].min():11.3f} {best:7.2f} {cpu:6.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--batch", type=int, help="images a step; the methods' own where left out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="auto", help="auto, fp32 or bf16")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    dtype = choose_dtype(args.precision, CPU)
    name = str(dtype).removeprefix("torch.")
    print(f"CPU, {args.threads} threads, {name}; seconds a step, best of {args.rounds} rounds")
    head = "batch  weights M  cached s  recomputed  x best  x cpu"
    print(f"{'method':24} {'encoder, pixels':24} {head}")
    for label, method in cases(args.batch):
        print(row(label, method, measure(method, dtype, args.rounds)), flush=True)


if __name__ == "__main__":
    main()
