"""Every method, small: random encoder weights and a few tokens, so that a step takes no time."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from adlib.methods import METHODS

TOKENS: dict[str, Any] = {
    "encoder": "vit-tiny",
    "weights": Path("random"),
    "layers": (0, 1),
    "size": (32, 48),  # 2 x 3 tokens of width 192
    "batch": 3,
}
SMALL: dict[str, dict[str, Any]] = {
    "pro-ad": TOKENS | {"blocks": 2, "mlp_ratio": 1.0, "steps": 4},
    "dinomaly": TOKENS | {"blocks": 4, "mlp_ratio": 0.25, "steps": 4, "ramp": 10},
    "inp-former": TOKENS | {"blocks": 4, "mlp_ratio": 0.25, "steps": 4, "prototypes": 4},
    "patchcore": TOKENS | {"size": (48, 80), "memory": 10, "candidates": 1_000},  # 3 x 5 tokens
    "prn": {  # scales of 16 x 24, 8 x 12 and 4 x 6
        "encoder": "efficientnet-lite0",
        "weights": Path("random"),
        "size": (64, 96),
        "prototypes": 3,
        "batch": 4,
    },
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def config_of(name: str, **changes: Any) -> Any:
    return METHODS[name][1](**(SMALL[name] | changes))


def build(name: str, **changes: Any) -> Any:
    return METHODS[name][0](config_of(name, **changes))


def pictures(method: Any, n: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, *method.config.size, generator=seeded(seed))


def cached(method: Any, n: int = 5, seed: int = 7) -> Tensor:
    """Features of random images, as the cache holds them."""
    return method.encode(pictures(method, n, seed)).half()


def show(method: Any, normal: Tensor) -> None:
    """Let a method see all normal features, as the engine does before training."""
    method.fit_prototypes(Subset(normal, range(len(normal))))  # pyright: ignore[reportArgumentType]


def fitted(name: str, **changes: Any) -> Any:
    """A method that has seen a few random images, which need not be as many as its prototypes."""
    method = build(name, **changes)
    show(method, cached(method))
    return method


def batch(method: Any, n: int = 3, seed: int = 0) -> tuple[Tensor, ...]:
    """What `loss` takes: features, or images and masks, the first of which is normal."""
    images = pictures(method, n, seed)
    if not method.learns_from_defects:
        return (method.encode(images),)
    masks = torch.zeros(n, *method.config.size, dtype=torch.bool)
    masks[1:, 10:30, 20:50] = True
    return images, masks


def step(method: Any, steps: int = 1) -> list[float]:
    """Train on one batch; the losses of the steps."""
    optimiser, schedule = method.configure_optimizer(steps)
    seen, losses = batch(method), []
    method.train()
    for _ in range(steps):
        optimiser.zero_grad()
        loss = method.loss(*seen)
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def copies(method: Any) -> dict[str, Tensor]:
    """All that is saved of a method, as it is now."""
    return {name: value.clone() for name, value in method.state_dict().items()}
