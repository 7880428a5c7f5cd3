"""Frozen timm backbones that turn images into levels: token maps from several depths."""

import math
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from adlib.nn.rounding import guard_rounding
from adlib.nn.weights import PRESETS, Preset, State, WeightsError, digest, find_weights


def _import_timm():
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # torchvision's operators may not fit torch
        found = {d.name: d.version for d in distributions() if d.name in ("torch", "torchvision")}
        raise ImportError(
            f"timm cannot be imported ({error}). It needs a matched pair of torch and torchvision, "
            f"for example torch 2.14.1 with torchvision 0.29.1; found {found}"
        ) from error
    return timm


def find_preset(name: str) -> Preset:
    """Return the preset of this name; raise ValueError with the names that exist otherwise."""
    if name not in PRESETS:
        near = get_close_matches(name, PRESETS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"unknown encoder {name!r}{hint} Known are {', '.join(PRESETS)}")
    return PRESETS[name]


def check_size(size: tuple[int, int], multiple: int) -> None:
    """Raise ValueError, naming the two nearest sizes that work, unless both sides are multiples."""
    for side, axis in zip(size, ("height", "width"), strict=True):
        if side < multiple or side % multiple:
            below = max(side, 0) // multiple * multiple
            near = [n for n in (below, below + multiple) if n > 0]
            raise ValueError(
                f"{axis} {side} is not a multiple of the encoder's patch of {multiple} pixels; "
                f"the nearest that work are {' and '.join(map(str, near))}"
            )


def resize_positions(
    table: Float[Tensor, "1 n c"], grid: tuple[int, int], prefix: int
) -> Float[Tensor, "1 m c"]:
    """Resize a ViT's square position table to another grid: bicubic, without antialiasing.

    Dinomaly and INP-Former do it so; timm's own resizing uses antialiasing, which moves tokens at
    224 pixels to a cosine of .993. `prefix` positions (class, registers) are kept as they are.
    """
    head, body = table[:, :prefix], table[:, prefix:]
    side = round(body.shape[1] ** 0.5)
    if (side, side) == grid:
        return table
    square = body.reshape(1, side, side, -1).permute(0, 3, 1, 2).float()  # 1 c side side
    resized = F.interpolate(square, size=grid, mode="bicubic", align_corners=False)
    return torch.cat([head, resized.flatten(2).mT.to(table.dtype)], dim=1)  # 1 m c


class Encoder(nn.Module):
    """A frozen backbone at one input size.

    It is always in eval mode, no parameter wants a gradient, and no buffer moves. It runs only up
    to the last layer asked for, with timm's scaled-dot-product attention; under autocast a ViT
    rounds with care (`adlib.nn.rounding`). Its levels are those of equation :eq:`eq-levels`,
    chapter 5.

    Args:
        name: A preset of `adlib.nn.weights.PRESETS`.
        size: Height and width in pixels; multiples of the patch (ViT) or of the last stage's
            stride (CNN).
        layers: Zero-based blocks (ViT) or stages (CNN), in the order of their levels; one may stand
            twice. Defaults to the preset's.
        weights: A weights file, or "random" for weights of seed 0, for tests. Defaults to the
            places of `adlib.nn.weights`.
        offline: Never touch the network.
    Attributes:
        widths: Channels of each level.
        grids: Rows and columns of each level's token map.
        source: Where the weights came from, for people.
    Raises:
        ValueError: Unknown name, size or layer.
        WeightsError: Weights that cannot be found or do not fit.
    """

    model: Any  # timm's, whose attributes the type checker does not know
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        size: tuple[int, int],
        *,
        layers: tuple[int, ...] | None = None,
        weights: Path | str | None = None,
        offline: bool = False,
    ) -> None:
        super().__init__()
        preset = find_preset(name)
        self.name, self.size = name, (size[0], size[1])  # a list, as of JSON, does too
        self.layers = preset.layers if layers is None else tuple(layers)
        self.model, levels = _build(preset, self.size, self.layers)
        self.widths = tuple(int(level["num_chs"]) for level in levels)
        strides = [int(level["reduction"]) for level in levels]
        self.grids = tuple((size[0] // s, size[1] // s) for s in strides)
        if str(weights) == "random":
            self.source = "random weights, seed 0"
        else:
            path = None if weights is None else Path(weights)
            pretrained = self.model.pretrained_cfg
            own = self.model.state_dict()
            state, self.source = find_weights(preset, pretrained, own, path, offline=offline)
            _load(self.model, state, self.source)
        self.register_buffer("mean", torch.tensor(self.model.pretrained_cfg["mean"]), False)
        self.register_buffer("std", torch.tensor(self.model.pretrained_cfg["std"]), False)
        self.requires_grad_(False)
        super().train(False)
        self._digest: str | None = None

    def train(self, mode: bool = True) -> "Encoder":
        """Stay in eval mode, whatever the model around it does."""
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the weights: what an encoder is, wherever it came from."""
        if self._digest is None:
            self._digest = digest(self.model.state_dict())
        return self._digest

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _"]]:
        """Return one token map (b n c, rows first) for each layer, without class and registers.

        Args:
            images: sRGB in [0, 1], at the encoder's size; normalised here.
        """
        if tuple(images.shape[2:]) != self.size:
            raise ValueError(f"expected images of {self.size}, got {tuple(images.shape[2:])}")
        x = (images - self.mean[:, None, None]) / self.std[:, None, None]
        once = sorted(set(self.layers))  # timm returns each once, the lowest first
        maps = self.model.forward_intermediates(
            x, indices=once, norm=False, stop_early=True, intermediates_only=True
        )  # b c rows columns each
        levels = {i: level.flatten(2).mT for i, level in zip(once, maps, strict=True)}  # b n c
        return [levels[i] for i in self.layers]


def _build(
    preset: Preset, size: tuple[int, int], layers: tuple[int, ...]
) -> tuple[Any, list[dict[str, Any]]]:
    """Return timm's model with drawn weights, and what timm knows of each layer asked for."""
    timm = _import_timm()
    is_vit = preset.model.startswith("vit_")
    if is_vit:
        check_size(size, int(preset.model.split("_patch")[1].split("_")[0]))
    options: dict[str, Any] = {"img_size": size} if is_vit else {}
    with torch.random.fork_rng(devices=[]):  # timm draws initial weights from the global generator
        torch.manual_seed(0)
        model: Any = timm.create_model(preset.model, pretrained=False, num_classes=0, **options)
    if is_vit:
        guard_rounding(model)
    info = model.feature_info if isinstance(model.feature_info, list) else model.feature_info.info
    if not layers or not all(0 <= i < len(info) for i in layers):
        raise ValueError(f"layers must lie in 0..{len(info) - 1} for {preset.model}, got {layers}")
    levels = [info[i] for i in layers]
    check_size(size, max(int(level["reduction"]) for level in levels))
    return model.eval(), levels


def _load(model: Any, state: Mapping[str, Tensor], source: str) -> None:
    """Load weights strictly, after fitting the position table and dropping a classifier."""
    own: State = model.state_dict()
    heads = model.pretrained_cfg.get("classifier") or "head"  # a name, or several
    prefixes = tuple(f"{name}." for name in ([heads] if isinstance(heads, str) else heads))
    state = {k: v for k, v in state.items() if k in own or not k.startswith(prefixes)}
    if "pos_embed" in state and "pos_embed" in own:
        grid = model.patch_embed.grid_size
        n = state["pos_embed"].shape[1]
        prefix = n - math.isqrt(n) ** 2  # 37 x 37 positions and one of the class token, say
        state["pos_embed"] = resize_positions(state["pos_embed"], grid, prefix)
    missing, unexpected = sorted(own.keys() - state), sorted(state.keys() - own.keys())
    shapes = [k for k in own.keys() & state if own[k].shape != state[k].shape]
    if missing or unexpected or shapes:
        raise WeightsError(
            f"the weights from {source} do not fit {type(model).__name__}: "
            f"{len(missing)} missing {missing[:3]}, {len(unexpected)} unexpected {unexpected[:3]}, "
            f"{len(shapes)} of another shape {sorted(shapes)[:3]}"
        )
    model.load_state_dict(state)
