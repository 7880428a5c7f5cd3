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
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Subset

from adlib.methods.config import PAPER, check, encoder_of, heads_for
from adlib.methods.detector import TokenDetector
from adlib.nn.attention import MLP, Attention
from adlib.nn.constraint import CONSTRAINTS, warn_if_unconstrained
from adlib.nn.coreset import coreset_tokens
from adlib.nn.dictionary import Dictionary
from adlib.nn.reconstruction import (
    cosine_distances,
    distance_weights,
    draw_decoder,
    draw_tokens,
    two_groups,
    weighted_cosine_loss,
)
from adlib.nn.stable_adamw import StableAdamW, warmed_up
from adlib.settings import Origin


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
    tile: int | None = None
    overlap: int = 64
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
        Literal["never", "every-block"],
        Origin("read", "the abstract; its form is inferred from OneNIP and Dinomaly"),
    ] = "every-block"
    """Whether each block of the decoder adapts the prototypes to the image at hand."""
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
        Literal["none", "nores", "project"],
        Origin("ours", "by the rule of chapter 6; that there is one is in the abstract"),
    ] = "project"
    """What keeps a defect from being copied into the reconstruction. "project" removes from the
    input all that the prototypes cannot express; "nores" leaves only what is read of them; "none"
    lets everything through."""
    dictionary: Annotated[int, Origin("ours")] = 0
    """Rebuild the input from this many learnt feature vectors before anything else reads it; 0
    leaves the input as it is."""
    entry: Annotated[Literal["span", "mean", "leading", "gate"], Origin("ours")] = "span"
    """How the input is rebuilt from `dictionary`; without a dictionary it has no
    effect."""
    nearest: Annotated[int, Origin("ours")] = 32
    """How many vectors of `dictionary` each place of an image is rebuilt from."""
    reading: Annotated[bool, Origin("read", "the abstract; its place is inferred from OneNIP")] = (
        True
    )
    """Let the decoder read the prototypes. Off needs --update never and --constraint none."""
    start: Annotated[Literal["features", "coreset"], Origin("ours", "by the rule of chapter 6")] = (
        "features"
    )
    """First vectors of the dictionary: features of normal images, drawn at random or such that they
    lie far apart. Prototypes always start from random ones."""
    shortcut: Annotated[bool, Origin("ours", "by the rule of chapter 6")] = True
    """Give the decoder the input without dropout as well."""
    prototype_lr: Annotated[float, Origin("ours")] = 1.0
    """Learning rate of the prototypes and the dictionary, as a multiple of the rest's."""

    def __post_init__(self) -> None:
        check(self)
        if not self.reading and (self.update != "never" or self.constraint != "none"):
            raise ValueError(
                "reading=False leaves nothing to update or to constrain: it goes with "
                f'update="never" and constraint="none", got {self.update!r}, {self.constraint!r}'
            )

    @staticmethod
    def paper() -> "ProADConfig":
        """The papers' size: ViT-B/14 at 392 pixels, 784 tokens and prototypes, eight blocks."""
        return ProADConfig(**PAPER, steps=10_000)


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

    def __init__(
        self, width: int, heads: int, mlp_ratio: float, attention: str, constraint: str
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, attention)
        self.constraint = CONSTRAINTS[constraint]
        self.mlp = MLP(width, mlp_ratio)
        self.ln_u, self.ln_p, self.ln_y = (nn.LayerNorm(width, eps=1e-8) for _ in range(3))

    def forward(
        self, u: Float[Tensor, "b n c"], p: Float[Tensor, "b m c"]
    ) -> Float[Tensor, "b n c"]:
        r = self.attention(self.ln_u(u), self.ln_p(p))
        y = self.constraint(u, p, r)
        return y + self.mlp(self.ln_y(y))


class FeedForward(nn.Module):
    """A reconstruction that reads no prototypes: $x_l = u + \\mathrm{MLP}(\\mathrm{LN}\\,u)$."""

    def __init__(self, width: int, mlp_ratio: float) -> None:
        super().__init__()
        self.mlp = MLP(width, mlp_ratio)
        self.ln_u = nn.LayerNorm(width, eps=1e-8)

    def forward(self, u: Float[Tensor, "b n c"], p: Tensor) -> Float[Tensor, "b n c"]:
        return u + self.mlp(self.ln_u(u))


class DecoderBlock(nn.Module):
    """One block of the dynamic bidirectional decoder: aggregation, context, reconstruction.

    Without an aggregation the prototypes, without a context the target go on as they are. Equation
    :eq:`eq-blocks`, chapter 5.
    """

    def __init__(
        self,
        aggregation: Aggregation | None,
        context: Context | None,
        reconstruction: Reconstruction | FeedForward,
    ) -> None:
        super().__init__()
        self.aggregation, self.context = aggregation, context
        self.reconstruction = reconstruction

    def forward(
        self, x: Float[Tensor, "b n c"], p: Float[Tensor, "b m c"]
    ) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b m c"]]:
        p = p if self.aggregation is None else self.aggregation(p, x)
        u = x if self.context is None else self.context(x)
        return self.reconstruction(u, p), p


class ProAD(TokenDetector):
    """The whole: frozen encoder, noisy bottleneck, prototypes, decoder, map and image score.

    Args:
        config: What a run may change.
    Attributes:
        prototypes: (m, c), shared by all blocks, images and categories.
        dictionary: What the input is rebuilt from, or None.
    Raises:
        ValueError: A size or layer that does not fit the encoder.
        WeightsError: The encoder's weights cannot be had.
    """

    name = "pro-ad"
    config: ProADConfig

    def __init__(self, config: ProADConfig | None = None) -> None:
        config = config or ProADConfig()
        super().__init__(config, encoder_of(config))
        width, ratio, kind = self.width, config.mlp_ratio, config.attention
        heads = heads_for(width) if config.heads is None else config.heads
        m = self.grid[0] * self.grid[1] if config.prototypes is None else config.prototypes
        self.bottleneck = MLP(width, ratio, config.dropout)
        self.prototypes = nn.Parameter(torch.empty(m, width))
        self.decoder = nn.ModuleList(
            DecoderBlock(
                None if config.update == "never" else Aggregation(width, heads, ratio, kind),
                Context(width, heads, kind) if config.context else None,
                Reconstruction(width, heads, ratio, kind, config.constraint)
                if config.reading
                else FeedForward(width, ratio),
            )
            for _ in range(config.blocks)
        )
        self.dictionary = (
            Dictionary(config.dictionary, width, config.nearest, config.entry)
            if config.dictionary
            else None
        )
        self.reset_parameters(torch.Generator().manual_seed(0))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw all trainable weights anew.

        Linear weights as `draw_decoder` says; prototypes: deviation 0.02, cut at three; ours.
        """
        draw_decoder(self.bottleneck, self.width, generator)
        draw_decoder(self.decoder, self.width, generator)
        nn.init.trunc_normal_(self.prototypes, 0.0, 0.02, -0.06, 0.06, generator)
        if self.dictionary is not None:
            self.dictionary.reset_parameters(generator)
        self.seed = generator.initial_seed()  # of `fit_prototypes`

    def configure_optimizer(self, steps: int) -> tuple[StableAdamW, LambdaLR]:
        """StableAdamW with warm-up and cosine decay to a tenth; inferred from Dinomaly.

        Prototypes and dictionary get no weight decay, which would pull them to zero and not to
        normal features; ours.
        """
        learnt = [self.prototypes]
        if self.dictionary is not None:
            learnt.append(self.dictionary.vectors)
        others = [p for p in self.trained() if all(p is not one for one in learnt)]
        config = self.config
        prototypes = {"params": learnt, "decay": 0.0, "lr": config.prototype_lr * config.lr}
        return warmed_up([{"params": others}, prototypes], config.lr, config.warmup, steps)

    def fit_prototypes(self, normal: Subset[Tensor]) -> None:
        """Let prototypes and dictionary start as tokens of normal images; ours.

        Warns:
            RuntimeWarning: The constraint cannot hold anything back (`warn_if_unconstrained`).
        """
        warn_if_unconstrained(self.config.constraint, *self.prototypes.shape)
        generator = torch.Generator().manual_seed(self.seed)
        self.prototypes.detach().copy_(draw_tokens(normal, len(self.prototypes), generator))
        if self.dictionary is not None:
            draw = coreset_tokens if self.config.start == "coreset" else draw_tokens
            self.dictionary.start_from(draw(normal, self.config.dictionary, generator))

    def forward(self, groups: Float[Tensor, "b 2 n c"]) -> Float[Tensor, "b 2 n c"]:
        """Rebuild both groups from the prototypes."""
        x, p = self.decoder_input(groups)
        outputs: list[Tensor] = []
        for block in self.decoder:
            x, p = block(x, p)
            outputs.insert(0, x)  # the last block rebuilds the first levels; inferred
        return two_groups(outputs)

    def decoder_input(
        self, groups: Float[Tensor, "b 2 n c"]
    ) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b m c"]]:
        """Return $x_0$ and $P_0$.

        $x_0$ comes out of the "adaptive noisy bottleneck"; in what it adapts is unknown. Equations
        :eq:`eq-bottleneck` and :eq:`eq-prototypes`, chapter 5.
        """
        f_i = groups.mean(dim=1)  # F_I: second-hand as a sum; the mean as Dinomaly does
        f_i = f_i if self.dictionary is None else self.dictionary(f_i)
        x = self.bottleneck(f_i)
        p = self.prototypes.expand(x.shape[0], -1, -1)  # not len(x): export would fix the batch
        return (x + f_i if self.config.shortcut else x), p

    def loss(self, groups: Float[Tensor, "b 2 n c"]) -> Float[Tensor, ""]:
        """Return the mean over images and groups of 1 - cos of the flattened maps.

        The gradient at each token is scaled by (d / mean d)^hardness, d its own cosine distance:
        what is rebuilt well already matters less. Inferred from INP-Former; the paper's
        "distance-weighted decay loss" is a second-hand keyword.
        """
        target, rebuilt = groups.float(), self(groups).float()
        d = cosine_distances(target, rebuilt.detach())
        weight = distance_weights(d, self.config.hardness)
        return weighted_cosine_loss(target, rebuilt, weight)

    def distances(self, groups: Float[Tensor, "b 2 n c"]) -> Float[Tensor, "b 2 n"]:
        """Return each token's cosine distance from its reconstruction, 0 to 2."""
        return cosine_distances(groups, self(groups))
