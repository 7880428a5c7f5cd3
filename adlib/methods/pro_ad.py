r"""Pro-AD: detect anomalies by what learnable prototypes of normal images cannot rebuild.

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
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Subset

from adlib.methods.config import check, encoder_of, heads_for
from adlib.methods.detector import TokenDetector
from adlib.nn.attention import MLP, Attention
from adlib.nn.constraint import constraint, warn_if_unconstrained
from adlib.nn.coreset import coreset_tokens
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
from adlib.settings import Origin

RAMP = 1_000  # ramp-up steps, whose end shorter runs never reach; Dinomaly
EASY, EASY_GRADIENT = 0.9, 0.1  # share of easy points, factor on their gradient; Dinomaly


@dataclass(frozen=True, kw_only=True)
class ProADConfig:
    """What a run may change.

    The defaults suit two CPU cores and the packaged ViT, on which they were chosen; with fewer
    channels than prototypes, such as on a CNN, the constraint cannot hold (chapter 6).
    `ProADConfig.paper()` has the papers' size. From `update` on, each field is an arm of the
    ablations that moves one thing.

    Raises:
        ValueError: A value that no run can be made with; names the field.
    """

    encoder: Annotated[
        str, Origin("ours", "for CPUs; a ViT-B/14 with four registers is inferred")
    ] = "dinov2-s-packaged"
    weights: Path | Literal["random"] | None = None
    offline: bool = False
    size: Annotated[
        tuple[int, int], Origin("ours", "for CPUs; 448 cut to 392 is inferred from Dinomaly")
    ] = (224, 224)
    resize: tuple[int, int] | None = None
    layers: Annotated[
        tuple[int, ...] | None,
        Origin("second-hand", "a review; counting from 0 is inferred from Dinomaly"),
    ] = None
    prototypes: Annotated[int | None, Origin("second-hand", "a review")] = None
    """How many typical patterns of normal images the model learns. Defaults to one for each
    position on the encoder's grid. Keep it below the encoder's channels (384 by default)."""
    blocks: Annotated[int, Origin("ours", "for CPUs; 8 is inferred from Dinomaly")] = 2
    heads: Annotated[int | None, Origin("inferred", "Dinomaly")] = None
    mlp_ratio: Annotated[float, Origin("ours", "for CPUs; 4 is inferred from Dinomaly")] = 2.0
    dropout: Annotated[float, Origin("inferred", "Dinomaly, 0.4 on Real-IAD")] = 0.2
    hardness: Annotated[float, Origin("inferred", "INP-Former")] = 3.0
    top: Annotated[float, Origin("inferred", "Dinomaly and INP-Former")] = 0.01
    batch: Annotated[int, Origin("ours", "for CPUs; 16 in Dinomaly")] = 8
    steps: Annotated[int, Origin("ours", "for CPUs; 10,000 in Dinomaly")] = 800
    lr: Annotated[float, Origin("inferred", "Dinomaly")] = 2e-3
    warmup: Annotated[int, Origin("inferred", "Dinomaly; a tenth of all steps at most is ours")] = (
        100
    )
    clip: Annotated[float, Origin("inferred", "Dinomaly")] = 0.1

    update: Annotated[
        Literal["never", "once", "every-block"],
        Origin("read", "the abstract; its form is inferred from OneNIP and Dinomaly"),
    ] = "every-block"
    """When the prototypes are adapted to the image at hand: in every block, once before the first
    block, or never."""
    attention: Annotated[
        Literal["linear", "softmax", "relu"],
        Origin("second-hand", "a keyword of a review; its form is inferred from Dinomaly"),
    ] = "linear"
    """Kind of attention in the decoder. Softmax and relu can single out one place; linear cannot,
    and is the fastest on many places."""
    context: Annotated[bool, Origin("read", "the abstract; its form is inferred from Dinomaly")] = (
        True
    )
    """Let each place of an image look at the other places of that image."""
    constraint: Annotated[
        Literal[
            "none", "nores", "anchor", "nearest", "content", "scaled", "topk", "gate", "project",
            "limit",
        ],
        Origin("ours", "by the rule of chapter 6; that there is one is in the abstract"),
    ] = "project"  # fmt: skip
    """What keeps a defect from being copied into the reconstruction. "project" removes from the
    input all that the prototypes cannot express; "none" lets everything through. Chapter 6 of
    the book explains the others."""
    dictionary: Annotated[int, Origin("ours")] = 0
    """Rebuild the input from this many learnt feature vectors before anything else reads it; 0
    leaves the input as it is."""
    entry: Annotated[Literal["span", "mean", "leading", "gate"], Origin("ours")] = "span"
    """How the input is rebuilt from `dictionary`; without a dictionary it has no
    effect."""
    nearest: Annotated[int, Origin("ours")] = 32
    """How many vectors of `dictionary` each place of an image is rebuilt from."""
    share: Annotated[float, Origin("ours")] = 0.25
    """Share of the channels that the entry "leading" lets through."""
    reading: Annotated[bool, Origin("read", "the abstract; its place is inferred from OneNIP")] = (
        True
    )
    """Let the decoder read the prototypes. Off needs --update never and --constraint none."""
    coherence: Annotated[float, Origin("ours")] = 0.0
    """Weight of a second loss, which keeps the prototypes (or `dictionary`, if there is one) close
    to the image's features; 0 leaves it out."""
    noise: Annotated[Literal["fixed", "ramped"], Origin("ours", "what is adaptive is unknown")] = (
        "fixed"
    )
    """Dropout of full size from the first step on, or growing over the first 1,000 steps."""
    mining: Annotated[Literal["distance", "easy-points"], Origin("inferred", "INP-Former")] = (
        "distance"
    )
    """Which places count more in training: weights that grow with the distance (`hardness`), or
    less weight on the easiest nine tenths."""
    start: Annotated[
        Literal["random", "features", "coreset"], Origin("ours", "by the rule of chapter 6")
    ] = "features"
    """First prototypes: random numbers, features of normal images drawn at random, or (of
    "dictionary") features of normal images that lie far apart."""
    shortcut: Annotated[bool, Origin("ours", "by the rule of chapter 6")] = True
    """Give the decoder the input without dropout as well."""
    own: Annotated[bool, Origin("ours")] = False
    """Give each block prototypes of its own instead of one set for all."""
    prototype_lr: Annotated[float, Origin("ours")] = 1.0
    """Learning rate of the prototypes, as a multiple of the rest's."""

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
            raise ValueError(
                'own=True needs update="every-block" or update="never", got update="once"'
            )

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
        step: Batches trained on, which drive the ramps; saved with the weights.
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
        heads = heads_for(self.width) if config.heads is None else config.heads
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

        The prototypes get no weight decay, which would pull them to zero and not to
        normal features; ours.
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
        if self.config.start != "random":
            generator = torch.Generator().manual_seed(self.seed)
            for prototypes in self.prototypes.detach():  # m c
                prototypes.copy_(draw_tokens(normal, len(prototypes), generator))
            if self.dictionary is not None:
                choose = coreset_tokens if self.config.start == "coreset" else draw_tokens
                drawn = choose(normal, len(self.dictionary), generator)
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
