r"""Pro-AD: detect anomalies by what learnable prototypes of the normal cannot rebuild.

**This is a reconstruction.** Of the paper (arXiv 2506.13097) only the abstract and the first lines
of the introduction could be read. Marks: `abstract` (read), `second-hand` (a machine-written
review), `inferred` (from what is named), `ours`. The book's table "Where we differ, where we
guess" has a row for each.

Notation: x_l target stream (b n c), P_l prototype stream (b m c), A attention, LN layer norm, F_I
the fused input feature. Everything between the frozen encoder and the map is here; the forms of the
constraint R are in `adlib.nn.constraint`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Subset

from adlib.methods.config import check, encoder_of
from adlib.methods.detector import TokenDetector
from adlib.nn.attention import MLP, Attention
from adlib.nn.constraint import constraint, warn_if_unconstrained
from adlib.nn.dictionary import Gate, leading, nearest_mean, nearest_span
from adlib.nn.reconstruction import (
    coherence_loss,
    cosine_distances,
    distance_weights,
    draw_decoder,
    draw_tokens,
    easy_point_weights,
    two_groups,
    weighted_cosine_loss,
)
from adlib.nn.stable_adamw import StableAdamW, warmed_up

RAMP = 1_000  # steps until what is ramped has its full size, which fewer do not reach; Dinomaly
EASY, EASY_GRADIENT = 0.9, 0.1  # share of easy points, factor on their gradient; Dinomaly


@dataclass(frozen=True, kw_only=True)
class ProADConfig:
    """What a run may change; each default ends with its origin.

    The defaults suit two CPU cores and the packaged ViT, on which they were chosen; with fewer
    channels than prototypes, such as on a CNN, the constraint cannot hold (chapter 6).
    `ProADConfig.paper()` has the papers' size. From `update` on, each field is an arm of the
    ablations that moves one thing.

    Raises:
        ValueError: A value that no run can be made with; names the field.
    """

    encoder: str = "dinov2-s-packaged"  # ours: works offline; second-hand: a DINOv2 ViT
    weights: Path | Literal["random"] | None = None  # a file for the preset's; "random" in tests
    offline: bool = False  # never ask the network for weights
    size: tuple[int, int] = (224, 224)  # pixels, height and width; ours, for the CPU
    resize: tuple[int, int] | None = None  # resize to this and cut `size` from the centre
    layers: tuple[int, ...] | None = None  # None: the preset's eight; second-hand, "2nd to 9th"
    prototypes: int | None = None  # None: as many as tokens; second-hand
    blocks: int = 2  # of the decoder; ours, for the CPU; 8 inferred from Dinomaly
    heads: int | None = None  # None: width / 64; inferred from Dinomaly
    mlp_ratio: float = 2.0  # hidden width over width; ours, for the CPU; 4 inferred from Dinomaly
    dropout: float = 0.2  # of the noisy bottleneck; inferred from Dinomaly (0.4 on Real-IAD)
    hardness: float = 3.0  # exponent of the loss's gradient weights; inferred from INP-Former
    top: float = 0.01  # share of pixels whose mean is the image score; inferred from Dinomaly
    batch: int = 8  # images; ours, for the CPU; 16 in Dinomaly
    steps: int = 800  # optimiser steps; ours, for the CPU; 10,000 in Dinomaly
    lr: float = 2e-3  # inferred from Dinomaly
    warmup: int = 100  # steps, a tenth of all at most (ours); inferred from Dinomaly
    clip: float = 0.1  # gradient norm; inferred from Dinomaly

    update: Literal["never", "once", "every-block"] = "every-block"
    """When the image updates the prototypes. Every block: the bidirectional decoder (abstract).
    Once, from F_I before a one-way decoder: as INP-Former. Never: static, and one-way."""
    attention: Literal["linear", "softmax", "relu"] = "linear"  # second-hand: a keyword
    context: bool = True  # the target attends to itself; abstract, "its own context"
    constraint: Literal[
        "none", "nores", "anchor", "nearest", "content", "scaled", "topk", "gate", "project",
        "limit",
    ] = "project"  # fmt: skip
    """What of a token may enter its own reconstruction; the paper's form is unknown. Ours, and so
    are `start` and `shortcut`: chosen among forms by a rule written down before the runs that it
    judged, 2026-11-22 (`adlib.study.choice`, book/results/README.md)."""
    dictionary: int = 0
    """How many prototypes, learnt and shared by all images, the decoder's input is rebuilt from
    before anything else reads it; 0: it enters as it is. Ours; the forms are in
    `adlib.nn.dictionary`, and `nearest` and `share` are theirs."""
    entry: Literal["span", "mean", "leading", "gate"] = "span"  # of `dictionary`; ours
    nearest: int = 32  # prototypes of `dictionary` that a token is rebuilt from; ours
    share: float = 0.25  # of the channels that "leading" lets through; ours
    reading: bool = True  # the decoder reads prototypes by attention; abstract
    coherence: float = 0.0  # weight of INP-Former's coherence loss on the last prototypes, or on
    # the dictionary where there is one; ours
    noise: Literal["fixed", "ramped"] = "fixed"  # ours: what is adaptive is unknown
    mining: Literal["distance", "easy-points"] = "distance"  # inferred: INP-Former; or Dinomaly's
    start: Literal["random", "features"] = "features"  # prototypes: drawn, or normal tokens; ours
    shortcut: bool = True  # F_I itself enters the decoder beside the bottleneck's output; ours
    own: bool = False  # each block starts from prototypes of its own; ours
    prototype_lr: float = 1.0  # factor on the prototypes' learning rate; ours

    def __post_init__(self) -> None:
        check(
            self,
            at_least_one=("prototypes", "blocks", "heads", "batch", "steps", "nearest"),
            shares=("dropout", "top", "share"),
            not_negative=("hardness", "coherence", "prototype_lr", "dictionary"),
        )
        if not self.reading and (self.update != "never" or self.constraint != "none"):
            raise ValueError(
                "reading=False leaves nothing to update or to constrain: it goes with "
                f'update="never" and constraint="none", got {self.update!r}, {self.constraint!r}'
            )
        if self.own and self.update == "once":
            raise ValueError("own prototypes are gathered by every block or never, not once")

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


class Aggregation(nn.Module):
    r"""Prototypes gather normal information from the image's features (abstract).

    $$P' = P_{l-1} + \mathrm{A}(\mathrm{LN}\,P_{l-1}, \mathrm{LN}\,x_{l-1}),\qquad
      P_l = P' + \mathrm{MLP}(\mathrm{LN}\,P')$$

    Residual and MLP inferred from OneNIP, norms before and not after them from Dinomaly. Equation
    :eq:`eq-aggregation`, chapter 5.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, attention: str) -> None:
        super().__init__()
        self.attention = Attention(width, heads, attention)
        self.mlp = MLP(width, mlp_ratio)
        self.ln_p, self.ln_x, self.ln_p2 = (nn.LayerNorm(width, eps=1e-8) for _ in range(3))

    def forward(
        self, p: Float[Tensor, "b m c"], x: Float[Tensor, "b n c"]
    ) -> Float[Tensor, "b m c"]:
        p = p + self.attention(self.ln_p(p), self.ln_x(x))
        return p + self.mlp(self.ln_p2(p))


class Context(nn.Module):
    r"""The target sees its own surroundings: $u = x_{l-1} + \mathrm{A}(\mathrm{LN}\,x_{l-1})$.

    "Its own context" (abstract); the form is inferred from Dinomaly. Equation :eq:`eq-context`,
    chapter 5.
    """

    def __init__(self, width: int, heads: int, attention: str) -> None:
        super().__init__()
        self.attention = Attention(width, heads, attention)
        self.ln_x = nn.LayerNorm(width, eps=1e-8)

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        x_norm = self.ln_x(x)
        return x + self.attention(x_norm, x_norm)


class Reconstruction(nn.Module):
    r"""The target is rebuilt from the prototypes, under the constraint R (abstract).

    $$r = \mathrm{A}(\mathrm{LN}\,u, \mathrm{LN}\,P_l),\qquad y = R(u, P_l, r),\qquad
      x_l = y + \mathrm{MLP}(\mathrm{LN}\,y)$$

    Who reads whom is inferred from OneNIP, residual, norms and MLP from Dinomaly, R is ours.
    Equations :eq:`eq-reading` and :eq:`eq-constraint`, chapter 5.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, attention: str, form: str) -> None:
        super().__init__()
        self.attention = Attention(width, heads, "topk" if form == "topk" else attention)
        self.constraint = constraint(form, width)
        self.mlp = MLP(width, mlp_ratio)
        self.ln_u, self.ln_p, self.ln_y = (nn.LayerNorm(width, eps=1e-8) for _ in range(3))

    def before_mlp(
        self, u: Float[Tensor, "b n c"], p: Float[Tensor, "b m c"]
    ) -> Float[Tensor, "b n c"]:
        """Return y."""
        r = self.attention(self.ln_u(u), self.ln_p(p))
        return self.constraint(u, p, r)

    def forward(
        self, u: Float[Tensor, "b n c"], p: Float[Tensor, "b m c"]
    ) -> Float[Tensor, "b n c"]:
        y = self.before_mlp(u, p)
        return y + self.mlp(self.ln_y(y))


class Alone(nn.Module):
    """A reconstruction that reads no prototypes: $x_l = u + \\mathrm{MLP}(\\mathrm{LN}\\,u)$."""

    def __init__(self, width: int, mlp_ratio: float) -> None:
        super().__init__()
        self.mlp = MLP(width, mlp_ratio)
        self.ln_u = nn.LayerNorm(width, eps=1e-8)

    def forward(
        self, u: Float[Tensor, "b n c"], p: Float[Tensor, "b m c"]
    ) -> Float[Tensor, "b n c"]:
        return u + self.mlp(self.ln_u(u))


class Keep(nn.Module):
    """An aggregation that leaves the prototypes as they are."""

    def forward(
        self, p: Float[Tensor, "b m c"], x: Float[Tensor, "b n c"]
    ) -> Float[Tensor, "b m c"]:
        return p


class DecoderBlock(nn.Module):
    """One block of the dynamic bidirectional decoder: aggregation, context, reconstruction.

    Equation :eq:`eq-blocks`, chapter 5.
    """

    def __init__(self, width: int, heads: int, config: ProADConfig) -> None:
        super().__init__()
        ratio, kind = config.mlp_ratio, config.attention
        each = config.update == "every-block"
        self.aggregation = Aggregation(width, heads, ratio, kind) if each else Keep()
        self.context = Context(width, heads, kind) if config.context else nn.Identity()
        self.reconstruction = (
            Reconstruction(width, heads, ratio, kind, config.constraint)
            if config.reading
            else Alone(width, ratio)
        )

    def forward(
        self, x: Float[Tensor, "b n c"], p: Float[Tensor, "b m c"]
    ) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b m c"]]:
        p = self.aggregation(p, x)
        u = self.context(x)
        return self.reconstruction(u, p), p


class ProAD(TokenDetector):
    """The whole: frozen encoder, noisy bottleneck, prototypes, decoder, map and image score.

    Args:
        config: What a run may change.
    Attributes:
        prototypes: One set of m, or one for each block (1 or blocks, m, c); shared by all images
            and categories.
        step: Batches trained on, by which what is ramped goes; saved with the weights.
    Raises:
        ValueError: A size, layer or constraint that does not fit the encoder.
        WeightsError: The encoder's weights cannot be had.
    """

    name = "pro-ad"
    config: ProADConfig
    step: Tensor

    def __init__(self, config: ProADConfig | None = None) -> None:
        config = config or ProADConfig()
        super().__init__(config, encoder_of(config))
        tokens = self.grid[0] * self.grid[1]
        m = tokens if config.prototypes is None else config.prototypes
        if config.constraint == "anchor" and m != tokens:
            raise ValueError(
                f"the constraint 'anchor' needs one prototype a token, {tokens} at size "
                f"{config.size}; got prototypes={m}"
            )
        heads = max(1, self.width // 64) if config.heads is None else config.heads
        once = config.update == "once"
        self.bottleneck = MLP(self.width, config.mlp_ratio, config.dropout)
        self.prototypes = nn.Parameter(
            torch.empty(config.blocks if config.own else 1, m, self.width)
        )
        self.extractor = (
            Aggregation(self.width, heads, config.mlp_ratio, config.attention) if once else Keep()
        )
        self.decoder = nn.ModuleList(
            DecoderBlock(self.width, heads, config) for _ in range(config.blocks)
        )
        self.dictionary = (
            nn.Parameter(torch.empty(config.dictionary, self.width)) if config.dictionary else None
        )
        self.gate = Gate() if config.entry == "gate" else None
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.reset_parameters(torch.Generator().manual_seed(0))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw all trainable weights anew, and count steps from 0.

        Linear weights as `draw_decoder` says; prototypes: deviation 0.02, cut at three; ours.
        """
        for part in (self.bottleneck, self.extractor, self.decoder):
            draw_decoder(part, self.width, generator)
        nn.init.trunc_normal_(self.prototypes, 0.0, 0.02, -0.06, 0.06, generator)
        if self.dictionary is not None:
            nn.init.trunc_normal_(self.dictionary, 0.0, 0.02, -0.06, 0.06, generator)
        if self.gate is not None:
            self.gate.tau.zero_()
        self.seed = generator.initial_seed()  # of `fit_prototypes`
        self.step.zero_()

    def configure_optimizer(self, steps: int) -> tuple[StableAdamW, LambdaLR]:
        """StableAdamW with warm-up and cosine decay to a tenth; inferred from Dinomaly.

        The prototypes know no weight decay, which would pull them to zero and not to the normal;
        ours.
        """
        sets = [p for p in (self.prototypes, self.dictionary) if p is not None]
        others = [
            p for p in self.parameters() if p.requires_grad and all(p is not one for one in sets)
        ]
        lr, factor = self.config.lr, self.config.prototype_lr
        prototypes = {"params": sets, "decay": 0.0, "lr": factor * lr}
        return warmed_up([{"params": others}, prototypes], lr, self.config.warmup, steps)

    def fit_prototypes(self, normal: Subset[Tensor]) -> None:
        """Let the prototypes start as tokens of normal images, if the config says so; ours.

        Warns:
            RuntimeWarning: The constraint cannot hold anything back (`warn_if_unconstrained`).
        """
        warn_if_unconstrained(self.config.constraint, *self.prototypes.shape[1:])
        if self.config.start == "features":
            generator = torch.Generator().manual_seed(self.seed)
            for prototypes in self.prototypes.detach():  # m c
                prototypes.copy_(draw_tokens(normal, len(prototypes), generator))
            if self.dictionary is not None:
                drawn = draw_tokens(normal, len(self.dictionary), generator)
                self.dictionary.detach().copy_(F.normalize(drawn, dim=-1))  # lengths do not count

    def forward(
        self, groups: Float[Tensor, "b 2 n c"]
    ) -> tuple[Float[Tensor, "b 2 n c"], Float[Tensor, "b m c"]]:
        """Rebuild both groups from the prototypes, and return the last of these as well."""
        f_i = groups.mean(dim=1)  # F_I: second-hand as a sum; the mean as Dinomaly does
        f_i = self.constrained(f_i)
        x = self.bottled(f_i)
        p = self.extractor(self.start_of(0, x), f_i)
        outputs: list[Tensor] = []
        for block, decode in enumerate(self.decoder):
            if self.config.own:
                p = self.start_of(block, x)
            x, p = decode(x, p)
            outputs.insert(0, x)  # the last block rebuilds the first levels; inferred
        return two_groups(outputs), p

    def constrained(self, f_i: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        """Return what the dictionary can rebuild of the input, or the input where there is none."""
        if self.dictionary is None:
            return f_i
        match self.config.entry:
            case "leading":
                return leading(f_i, self.dictionary, self.config.share)
            case "mean":
                return nearest_mean(f_i, self.dictionary, self.config.nearest)
            case "gate":
                assert self.gate is not None
                return self.gate(f_i, self.dictionary, self.config.nearest)
        return nearest_span(f_i, self.dictionary, self.config.nearest)

    def bottled(self, f_i: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        """Return x_0 of the adaptive noisy bottleneck; what is adaptive is unknown.

        Equation :eq:`eq-bottleneck`, chapter 5.
        """
        x = self.bottleneck(f_i)
        return x + f_i if self.config.shortcut else x

    def start_of(self, block: int, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b m c"]:
        """Return the learnt prototypes of a block, P_0, for each image.

        Equation :eq:`eq-prototypes`, chapter 5.
        """
        return self.prototypes[block].expand(x.shape[0], -1, -1)

    def ramp(self, steps: int) -> Float[Tensor, ""]:
        """Return the share of `steps` that lies behind, up to 1."""
        return (self.step / max(1, steps)).clamp(max=1).float()

    def loss(self, groups: Float[Tensor, "b 2 n c"]) -> Float[Tensor, ""]:
        """Return the mean over images and groups of 1 - cos of the flattened maps.

        The gradient at each token is scaled by (d / mean d)^hardness, d its own cosine distance:
        what is rebuilt well already matters less. Inferred from INP-Former; the paper's
        "distance-weighted decay loss" is a second-hand keyword. In training, a call ends a
        step.
        """
        if self.config.noise == "ramped":
            for part in self.bottleneck:
                if isinstance(part, nn.Dropout):
                    part.p = self.config.dropout * self.ramp(RAMP).item()
        rebuilt, p = self(groups)
        target, rebuilt = groups.float(), rebuilt.float()
        d = cosine_distances(target, rebuilt.detach())
        if self.config.mining == "distance":
            weight = distance_weights(d, self.config.hardness)
        else:
            weight = easy_point_weights(d, EASY * self.ramp(RAMP), EASY_GRADIENT)
        loss = weighted_cosine_loss(target, rebuilt, weight)
        if self.config.coherence:
            f_i = target.mean(dim=1)
            far = (
                coherence_loss(f_i, p)
                if self.dictionary is None
                else (1 - F.cosine_similarity(f_i, self.constrained(f_i), dim=-1)).mean()
            )
            loss = loss + self.config.coherence * far
        if self.training:
            self.step += 1
        return loss

    def distances(self, groups: Float[Tensor, "b 2 n c"]) -> Float[Tensor, "b 2 n"]:
        """Return each token's cosine distance from its reconstruction, 0 to 2."""
        return cosine_distances(groups, self(groups)[0])
