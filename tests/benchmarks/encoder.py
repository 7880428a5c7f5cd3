"""Time of a frozen ViT as timm ships it against ours, and how far bf16 moves its features.

    python tests/benchmarks/encoder.py --size 224 --batch 8 --threads 1

As timm ships it: all 12 blocks, fp32, attention with its matrix written out. Ours: stop after the
last level used, scaled-dot-product attention (SDPA), bf16 with guarded rounding. Each is also
measured alone. `x best` compares the best times, `x cpu` is the median of the rounds' ratios of
processor time. Errors are relative (Frobenius norm of the difference over that of the fp32
features): of the two fused groups, and of the worst level.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor
from turns import take_turns

import adlib
from adlib.data.transform import ImageTransform
from adlib.nn.encoder import Encoder
from adlib.nn.reconstruction import two_groups
from adlib.nn.weights import PRESETS, WeightsError
from adlib.system.hardware import choose_dtype

Levels = list[Tensor]
Case = Callable[[], Levels]


def pictures(size: int, batch: int) -> Tensor:
    """Normal images of the built-in data set, category after category (b 3 h w)."""
    train, frame = adlib.load_data("builtin").train, ImageTransform(size=(size, size))
    of = [train.of(c) for c in train.categories]
    chosen = [of[i % len(of)][i // len(of)].image for i in range(batch)]
    return torch.from_numpy(np.stack([frame.image(image) for image in chosen]))


def load(name: str, size: int) -> Encoder:
    try:
        return Encoder(name, (size, size), offline=True)
    except WeightsError:
        print(f"{name}: no weights found here, drawn at random; errors mean little then")
        return Encoder(name, (size, size), weights="random")


def as_shipped(encoder: Encoder) -> Any:
    """Build timm's own model with the same weights, nothing of ours in it."""
    name, state = PRESETS[encoder.name].model, encoder.model.state_dict()
    model: Any = timm.create_model(name, pretrained=False, num_classes=0, img_size=encoder.size)
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def run(
    model: Any,
    x: Tensor,
    layers: tuple[int, ...],
    *,
    dtype: torch.dtype = torch.float32,
    fused: bool = False,
    stop: bool = False,
) -> Levels:
    """Run timm's model in one way or another."""
    for block in model.blocks:
        block.attn.fused_attn = fused
    with torch.no_grad(), torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
        maps = model.forward_intermediates(
            x, indices=list(layers), stop_early=stop, norm=False, intermediates_only=True
        )
    return [level.flatten(2).mT for level in maps]


def ours(encoder: Encoder, x: Tensor, dtype: torch.dtype) -> Levels:
    with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
        return encoder(x)


def error(levels: Levels, exact: Levels) -> tuple[str, str]:
    """Return the relative errors of the groups and of the worst level."""

    def relative(a: Tensor, b: Tensor) -> float:
        return ((a.float() - b).norm() / b.norm()).item()

    each = [relative(a, b) for a, b in zip(levels, exact, strict=True)]
    return f"{relative(two_groups(levels), two_groups(exact)):.1e}", f"{max(each):.1e}"


def table(cases: dict[str, Case], rounds: int, batch: int) -> str:
    """One row a case; the first is what the others are compared with."""
    first, exact = next(iter(cases)), next(iter(cases.values()))()
    errors = {name: error(case(), exact) for name, case in cases.items()}
    seconds = take_turns(cases, rounds)
    rows = [f"{'':38} s/image best  median  x best  x cpu   groups  worst level"]
    for name, found in seconds.items():
        wall, cpu = found[:, 0], np.median(seconds[first][:, 1] / found[:, 1])
        groups, worst = errors[name]
        rows.append(
            f"{name:38} {wall.min() / batch:12.4f} {np.median(wall) / batch:7.4f} "
            f"{seconds[first][:, 0].min() / wall.min():7.2f} {cpu:6.2f} {groups:>8} {worst:>12}"
        )
    return "\n".join(rows)


def vit_cases(encoder: Encoder, images: Tensor, dtype: torch.dtype) -> dict[str, Case]:
    shipped, layers = as_shipped(encoder), encoder.layers
    x = (images - encoder.mean[:, None, None]) / encoder.std[:, None, None]
    low = str(dtype).removeprefix("torch.")
    stop = f"{max(layers) + 1} of {len(shipped.blocks)} blocks"
    go = partial(run, shipped, x, layers)
    return {
        f"timm: {len(shipped.blocks)} blocks, fp32, explicit": go,
        f"  alone: {stop}": partial(go, stop=True),
        "  alone: SDPA": partial(go, fused=True),
        f"  alone: {low}": partial(go, dtype=dtype),
        f"{stop}, SDPA": partial(ours, encoder, images, torch.float32),
        f"ours: {stop}, SDPA, {low}": partial(ours, encoder, images, dtype),
        f"  without guarded rounding, {low}": partial(go, dtype=dtype, fused=True, stop=True),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--encoder", default="dinov2-s-packaged")
    parser.add_argument("--size", type=int, default=392)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--precision", default="auto", help="auto, fp32, fp16 or bf16")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    dtype = choose_dtype(args.precision, torch.device("cpu"))
    print(f"CPU, {args.threads} threads; best and median of {args.rounds} rounds")

    encoder = load(args.encoder, args.size)
    images = pictures(args.size, args.batch)
    print(f"\n{args.encoder} at {args.size}, batch {args.batch}, levels {encoder.layers}")
    print(table(vit_cases(encoder, images, dtype), args.rounds, args.batch))


if __name__ == "__main__":
    main()
