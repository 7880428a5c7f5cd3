r"""Pro-AD: detect anomalies by what learnable prototypes of the normal cannot rebuild.

**This is a reconstruction.** Of the paper (arXiv 2506.13097) only the abstract and the first lines
of the introduction could be read. Marks: `abstract` (read), `second-hand` (a machine-written
review), `inferred` (from what is named), `ours`. The book's table "Where we differ, where we
guess" has a row for each.

Notation: x_l target stream, P_l prototype stream (both b n c), LCA linear cross-attention, LN layer
norm, F_I the fused input feature. Everything between the frozen encoder and the map is here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Subset

from adlib.calibration import Calibration
from adlib.nn.attention import MLP, LinearAttention
from adlib.nn.encoder import Encoder
from adlib.nn.reconstruction import (
    GROUPS_ID,
    cosine_distances,
    distance_maps,
    draw_decoder,
    one_grid,
    top_mean,
    two_groups,
    weighted_cosine_loss,
)
from adlib.nn.share import batch_mean
from adlib.nn.stable_adamw import StableAdamW, warmup_cosine


@dataclass(frozen=True, kw_only=True)
class ProADConfig:
    """What a run may change; each default ends with its origin.

    The defaults suit two CPU cores; `ProADConfig.paper()` has the papers' size.
    """

    encoder: str = "dinov2-s-packaged"  # ours: works offline; second-hand: a DINOv2 ViT
    weights: Path | Literal["random"] | None = (
        None  # a file in place of the preset's; "random" in tests
    )
    offline: bool = False  # never ask the network for weights
    size: tuple[int, int] = (224, 224)  # pixels, height and width; ours, for the CPU
    resize: tuple[int, int] | None = None  # resize to this and cut `size` from the centre
    layers: tuple[int, ...] | None = None  # None: the preset's eight; second-hand, "2nd to 9th"
    prototypes: int | None = None  # None: as many as tokens; second-hand
    blocks: int = 2  # of the decoder; ours, for the CPU; 8 inferred from Dinomaly
    heads: int | None = None  # None: width / 64; inferred from Dinomaly
    mlp_ratio: float = 2.0  # hidden width over width; ours, for the CPU; 4 inferred from Dinomaly
    dropout: float = 0.2  # of the noisy bottleneck; inferred from Dinomaly (0.4 on Real-IAD)
    constraint: Literal["anchor", "none", "nores"] = "anchor"  # ours: the paper's form is unknown
    hardness: float = 3.0  # exponent of the loss's gradient weights; inferred from INP-Former
    top: float = 0.01  # share of pixels whose mean is the image score; inferred from both
    batch: int = 8  # images; ours, for the CPU; 16 in Dinomaly
    steps: int = 800  # optimiser steps; ours, for the CPU; 10,000 in Dinomaly
    lr: float = 2e-3  # inferred from Dinomaly
    warmup: int = 100  # steps; inferred from Dinomaly
    clip: float = 0.1  # gradient norm; inferred from Dinomaly

    def __post_init__(self) -> None:
        for name in ("blocks", "batch", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.prototypes is not None and self.prototypes < 1:
            raise ValueError(f"prototypes must be at least 1, got {self.prototypes}")
        for name in ("dropout", "top"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.blocks % 2:
            raise ValueError(f"blocks must be even (two groups of outputs), got {self.blocks}")
        if self.constraint not in CONSTRAINTS:
            known = ", ".join(CONSTRAINTS)
            raise ValueError(f"unknown constraint {self.constraint!r}; known are {known}")

    @staticmethod
    def paper() -> "ProADConfig":
        """The papers' size: ViT-B/14 at 392 pixels, 784 tokens and prototypes, eight blocks."""
        return ProADConfig(
            encoder="dinov2-b",
            size=(392, 392),
            resize=(448, 448),
            blocks=8,
            mlp_ratio=4.0,
            batch=16,
            steps=10_000,
        )


# Reconstruction with the prototype-based constraint: y = R(u, P), where a(u, P) is the read-out of
# the prototypes. The paper's form is unknown; each is ours.

Reconstruct = Callable[[Tensor, Tensor, Tensor], Tensor]


def anchor(u: Tensor, p: Tensor, read_out: Tensor) -> Tensor:
    """Y = P + LCA(u, P): the prototypes' own residual takes the place of the target's.

    Token i is anchored on prototype i, so the numbers of both must be equal. UniAD and OneNIP keep
    the residual on the normal side in the same way.
    """
    return p + read_out


def none(u: Tensor, p: Tensor, read_out: Tensor) -> Tensor:
    """Y = u + LCA(u, P): no constraint, the target passes straight through."""
    return u + read_out


def nores(u: Tensor, p: Tensor, read_out: Tensor) -> Tensor:
    """Y = LCA(u, P): INP-Former's removed residual; the output is made of prototypes only."""
    return read_out


CONSTRAINTS: Mapping[str, Reconstruct] = MappingProxyType(
    {"anchor": anchor, "none": none, "nores": nores}
)


class BidirectionalBlock(nn.Module):
    r"""One block of the dynamic bidirectional decoder (DBD).

    1. aggregation (prototypes gather normal information from the image's features):
       $P' = P_{l-1} + \mathrm{LCA}(P_{l-1}, x_{l-1})$, $P_l = P' + \mathrm{MLP}(\mathrm{LN} P')$
    2. context (the target sees its own surroundings):
       $u = x_{l-1} + \mathrm{LSA}(\mathrm{LN}\, x_{l-1})$
    3. constrained reconstruction: $y = R(u, P_l)$, $x_l = y + \mathrm{MLP}(\mathrm{LN}\, y)$

    The three parts are the abstract's; their inner form is inferred from OneNIP and ours.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, reconstruct: Reconstruct) -> None:
        super().__init__()
        self.reconstruct = reconstruct
        self.gather = LinearAttention(width, heads)
        self.context = LinearAttention(width, heads)
        self.read = LinearAttention(width, heads)
        self.mlp_p, self.mlp_x = MLP(width, mlp_ratio), MLP(width, mlp_ratio)
        self.ln_p, self.ln_p2, self.ln_p3 = (nn.LayerNorm(width, eps=1e-8) for _ in range(3))
        self.ln_x, self.ln_u, self.ln_y = (nn.LayerNorm(width, eps=1e-8) for _ in range(3))

    def forward(
        self, x: Float[Tensor, "b n c"], p: Float[Tensor, "b m c"]
    ) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b m c"]]:
        x_norm = self.ln_x(x)
        p = p + self.gather(self.ln_p(p), x_norm)
        p = p + self.mlp_p(self.ln_p2(p))
        u = x + self.context(x_norm, x_norm)
        y = self.reconstruct(u, p, self.read(self.ln_u(u), self.ln_p3(p)))
        return y + self.mlp_x(self.ln_y(y)), p


class ProAD(nn.Module):
    """The whole: frozen encoder, noisy bottleneck, prototypes, decoder, map and image score.

    Args:
        config: What a run may change.
    Raises:
        ValueError: A size, layer or constraint that does not fit the encoder.
        WeightsError: The encoder's weights cannot be had.
    """

    name = "pro-ad"
    extract_id = GROUPS_ID

    def __init__(self, config: ProADConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ProADConfig()
        self.encoder = Encoder(
            config.encoder,
            config.size,
            layers=config.layers,
            weights=config.weights,
            offline=config.offline,
        )
        width, self.grid = one_grid(self.encoder)
        tokens = self.grid[0] * self.grid[1]
        m = tokens if config.prototypes is None else config.prototypes
        if config.constraint == "anchor" and m != tokens:
            raise ValueError(
                f"the constraint 'anchor' needs one prototype a token, {tokens} at size "
                f"{config.size}; got prototypes={m}"
            )
        heads = max(1, width // 64) if config.heads is None else config.heads
        reconstruct = CONSTRAINTS[config.constraint]
        self.bottleneck = MLP(width, config.mlp_ratio, config.dropout)
        self.prototypes = nn.Parameter(torch.empty(m, width))
        self.decoder = nn.ModuleList(
            BidirectionalBlock(width, heads, config.mlp_ratio, reconstruct)
            for _ in range(config.blocks)
        )
        self.calibration: Calibration | None = None  # what `fit` learns from held-out normals
        self.provenance: dict[str, Any] = {}  # seed, steps, data, versions of the fit
        self.reset(torch.Generator().manual_seed(0))

    def reset(self, generator: torch.Generator) -> None:
        """Draw all trainable weights anew.

        Linear weights: normal of deviation 0.01 at width 768 (Dinomaly), scaled by sqrt(768 / c)
        for narrower ones, cut at three deviations; prototypes: deviation 0.02; both ours beyond
        Dinomaly's number.
        """
        for part in (self.bottleneck, self.decoder):
            draw_decoder(part, self.prototypes.shape[1], generator)
        nn.init.trunc_normal_(self.prototypes, 0.0, 0.02, -0.06, 0.06, generator)

    def optimiser(self, steps: int) -> tuple[StableAdamW, LambdaLR]:
        """StableAdamW with warm-up and cosine decay to a tenth; inferred from Dinomaly.

        The prototypes know no weight decay, which would pull them to zero and not to the normal;
        ours.
        """
        others = [p for n, p in self.named_parameters() if p.requires_grad and n != "prototypes"]
        groups = [{"params": others}, {"params": [self.prototypes], "decay": 0.0}]
        optimiser = StableAdamW(groups, lr=self.config.lr)
        warmup = min(self.config.warmup, steps // 10)  # a short run warms up for a tenth; ours
        return optimiser, LambdaLR(optimiser, lambda step: warmup_cosine(step, steps, warmup))

    def prepare(self, normal: Subset[Tensor]) -> None:
        """Do nothing: the prototypes are learnt."""

    def extract(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2 n c"]:
        """Return the two groups of fused levels, the frozen part that the engine caches.

        Groups are the first and the second half of the layers, each averaged; inferred from
        Dinomaly.
        """
        return two_groups(self.encoder(images))

    def forward(self, groups: Float[Tensor, "b 2 n c"]) -> Float[Tensor, "b 2 n c"]:
        """Rebuild both groups from the prototypes."""
        f_i = groups.mean(dim=1)  # F_I: second-hand as a sum; the mean as Dinomaly does
        x = self.bottleneck(f_i)  # adaptive noisy bottleneck; what is adaptive is unknown
        p = self.prototypes.expand(x.shape[0], -1, -1)  # b m c
        outputs: list[Tensor] = []
        for block in self.decoder:
            x, p = block(x, p)
            outputs.insert(0, x)  # the last block rebuilds the first levels; inferred
        return two_groups(outputs)

    def loss(self, groups: Float[Tensor, "b 2 n c"]) -> Float[Tensor, ""]:
        """Return the mean over images and groups of 1 - cos of the flattened maps.

        The gradient at each token is scaled by (d / mean d)^hardness, d its own cosine distance:
        what is rebuilt well already matters less. Inferred from INP-Former; the paper's
        "distance-weighted decay loss" is a second-hand keyword.
        """
        target, rebuilt = groups.float(), self(groups).float()
        d = cosine_distances(target, rebuilt.detach())
        weight = (d / batch_mean(d, (0, 2))) ** self.config.hardness
        return weighted_cosine_loss(target, rebuilt, weight)

    def distances(self, groups: Float[Tensor, "b 2 n c"]) -> Float[Tensor, "b 2 n"]:
        """Return each token's cosine distance from its reconstruction, in [0, 2]."""
        return cosine_distances(groups, self(groups))

    def maps(self, groups: Float[Tensor, "b 2 n c"]) -> Float[Tensor, "b h w"]:
        """Return anomaly maps at the encoder's size, from cached groups; inferred from both."""
        return distance_maps(self.distances(groups), self.grid, self.config.size)

    def anomaly_map(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b h w"]:
        """Return one map an image; larger is more anomalous, on the scale of cosine distances."""
        return self.maps(self.extract(images))

    def image_score(self, maps: Float[Tensor, "b h w"]) -> Float[Tensor, " b"]:
        """Return the mean of the top share of pixels; inferred from both, 1 %."""
        return top_mean(maps, self.config.top)
