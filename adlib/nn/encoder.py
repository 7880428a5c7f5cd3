"""Frozen timm backbones that turn images into levels: token maps from several depths.

An encoder is named by its preset (`adlib.nn.weights.PRESETS`), or by any name that timm knows after
`timm:`, such as `timm:convnext_tiny.fb_in22k`. No model beyond the presets was run with weights
here: the tests compare five families with timm on random weights.
"""

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from adlib.nn.rounding import guard_rounding
from adlib.nn.weights import PRESETS, Preset, State, WeightsError, digest, find_weights

TIMM = "timm:"
"""What stands before the name of a model of timm."""


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
    """Return the preset of this name, or one made for a model of timm (`timm:NAME`).

    Where a preset has that model, it is returned, so both names mean one encoder: layers, places of
    weights and cached features.

    Raises:
        ValueError: Neither adlib nor timm knows the name, or timm's model gives no features; says
            which names are near.
    """
    if name.startswith(TIMM):
        return _timm_preset(name.removeprefix(TIMM))
    if name not in PRESETS:
        near = get_close_matches(name, PRESETS, n=2)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
        known = f"{', '.join(PRESETS)}, and {TIMM}NAME for any other model of timm"
        raise ValueError(f"unknown encoder {name!r}{hint} Known are {known}")
    return PRESETS[name]


@cache
def _timm_preset(name: str) -> Preset:
    timm = _import_timm()
    tagged = timm.list_pretrained()  # resnet18.tv_in1k; without its tag, timm takes a default one
    known = {*timm.list_models(), *tagged}
    if name not in known:
        near = get_close_matches(name, sorted(known), n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"timm {timm.__version__} knows no model {name!r}{hint}")
    config: Any = timm.models.get_pretrained_cfg(name)
    full = f"{config.architecture}.{config.tag}"
    for preset in PRESETS.values():
        if preset.model == full:
            return preset
    model = full if full in tagged else name
    with torch.device("meta"):  # shapes only
        sketch = timm.create_model(model, pretrained=False, num_classes=0)
    strides = [int(level["reduction"]) for level in _levels(sketch, model)]
    return Preset(model=model, layers=default_layers(strides, model))


def default_layers(strides: Sequence[int], model: str) -> tuple[int, ...]:
    """Return the layers to take of a model that has no preset, by the strides of all its layers.

    One stride, as of a ViT's L blocks: blocks floor(i L / 12), i = 2 to 9. Dinomaly takes 2 to 9 of
    12, and twice these numbers of 24 (its authors in issue 26 of their repository); other depths
    are ours. Several strides, as of a CNN's stages: the last stage of stride 4, 8, 16 and 32, as
    PRN's encoder has them (inferred).

    Raises:
        ValueError: No stage has one of these strides.
    """
    if len(set(strides)) == 1:
        return tuple(i * len(strides) // 12 for i in range(2, 10))
    last = {stride: i for i, stride in enumerate(strides)}
    layers = tuple(last[stride] for stride in (4, 8, 16, 32) if stride in last)
    if not layers:
        raise ValueError(f"timm's {model} has stages of strides {strides}; expected 4, 8, 16 or 32")
    return layers


def _levels(model: Any, name: str) -> list[dict[str, Any]]:
    """Return what timm knows of each layer whose output it gives, its channels and its stride."""
    info = getattr(model, "feature_info", None)
    levels = getattr(info, "info", info)
    if not levels or not hasattr(model, "forward_intermediates"):
        raise ValueError(f"timm's {name} does not give features of its layers; choose another")
    return levels


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
        name: A preset of `adlib.nn.weights.PRESETS`, or `timm:` and a name of timm's.
        size: Height and width in pixels; multiples of the patch (ViT) or of the last stage's
            stride (CNN).
        layers: Zero-based blocks (ViT) or stages (CNN), in the order of their levels; one may stand
            twice. Defaults to the preset's, or to `default_layers`.
        weights: A weights file, or "random" for weights of seed 0, for tests. Defaults to the
            places of `adlib.nn.weights`.
        offline: Never touch the network.
    Attributes:
        name: The preset's, or `timm:` and timm's name with the tag of its weights.
        widths: Channels of each level.
        grids: Rows and columns of each level's token map.
        source: Where the weights came from, for people.
    Raises:
        ValueError: Unknown name, size or layer, or a model that gives no features at this size.
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
        names = [short for short, known in PRESETS.items() if known is preset]
        self.name = names[0] if names else f"{TIMM}{preset.model}"
        self.size = (size[0], size[1])  # a list, as of JSON, does too
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
        if not names:
            self._try()

    def _try(self) -> None:
        """Encode one image of a model that nobody tried; raise ValueError if that fails."""
        try:
            found = [tuple(level.shape[1:]) for level in self(torch.zeros(1, 3, *self.size))]
        except Exception as error:  # each family refuses a size by a kind of its own
            raise ValueError(_refusal(self.name, self.size, error)) from error
        told = [(h * w, c) for (h, w), c in zip(self.grids, self.widths, strict=True)]
        if found != told:
            why = f"it gives tokens and channels {found}, where timm announces {told}"
            raise ValueError(_refusal(self.name, self.size, why))

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
    config: Any = timm.models.get_pretrained_cfg(preset.model)
    fixed = config.fixed_input_size and size != tuple(config.input_size[1:])
    options: dict[str, Any] = {"img_size": size} if fixed else {}
    try:
        with torch.random.fork_rng(devices=[]):  # timm draws weights from the global generator
            torch.manual_seed(0)
            model: Any = timm.create_model(preset.model, False, num_classes=0, **options)
    except Exception as error:  # each family refuses a size by a kind of its own
        raise ValueError(_refusal(preset.model, size, error)) from error
    info = _levels(model, preset.model)
    if not layers or not all(0 <= i < len(info) for i in layers):
        raise ValueError(f"layers must lie in 0..{len(info) - 1} for {preset.model}, got {layers}")
    levels = [info[i] for i in layers]
    check_size(size, max(int(level["reduction"]) for level in levels))
    guard_rounding(model)
    return model.eval(), levels


def _refusal(model: str, size: tuple[int, int], reason: object) -> str:
    why = " ".join(str(reason).split()) or type(reason).__name__
    return f"{model} cannot take images of {size[0]} x {size[1]} pixels: {why}"


def _load(model: Any, state: Mapping[str, Tensor], source: str) -> None:
    """Load weights strictly, after fitting the position table and dropping a classifier."""
    own: State = model.state_dict()
    heads = model.pretrained_cfg.get("classifier") or "head"  # a name, or several
    names = [heads] if isinstance(heads, str) else heads
    prefixes = tuple(f"{name.partition('.')[0]}." for name in names)  # head.fc, say
    state = {k: v for k, v in state.items() if k in own or not k.startswith(prefixes)}
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    if grid and all("pos_embed" in each and each["pos_embed"].ndim == 3 for each in (own, state)):
        n = state["pos_embed"].shape[1]
        prefix = n - math.isqrt(n) ** 2  # 37 x 37 positions and one of the class token, say
        state["pos_embed"] = resize_positions(state["pos_embed"], grid, prefix)
    missing, unexpected = sorted(own.keys() - state), sorted(state.keys() - own.keys())
    shapes = [k for k in own.keys() & state if own[k].shape != state[k].shape]
    if missing or unexpected or shapes:
        sides = " x ".join(map(str, model.pretrained_cfg["input_size"][1:]))
        hint = f"; timm made the model for images of {sides} pixels" if shapes else ""
        raise WeightsError(
            f"the weights from {source} do not fit {type(model).__name__}: "
            f"{len(missing)} missing {missing[:3]}, {len(unexpected)} unexpected {unexpected[:3]}, "
            f"{len(shapes)} of another shape {sorted(shapes)[:3]}{hint}"
        )
    model.load_state_dict(state)
