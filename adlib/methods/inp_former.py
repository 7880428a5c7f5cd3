r"""INP-Former: rebuild an image from a few prototypes that are drawn out of that image itself.

A yardstick for Pro-AD on the same encoder and loop. Six learnt tokens gather, by attention, what is
normal in the image at hand: its intrinsic normal prototypes (INPs). The decoder makes its output of
them alone: attention weights are ReLU-sharpened, and the residual around the attention, by which an
anomalous token could pass straight through, is removed.

Marks: `INP-Former` stands for the authors' published code (Luo et al., CVPR 2025), read, its
attention in copies of it; `ours` for the rest. One thing differs from it: the weights' deviation
grows for encoders narrower than ViT-B.

Notation: f_I fused input feature, x_l output of decoder block l (both b n c), T learnt tokens, P
prototypes (b m c), LN layer norm, d the cosine distance of a token from its reconstruction.
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
from adlib.nn.reconstruction import (
    coherence_loss,
    cosine_distances,
    distance_weights,
    draw_decoder,
    two_groups,
    weighted_cosine_loss,
)
from adlib.nn.stable_adamw import StableAdamW, warmed_up
from adlib.settings import Origin


@dataclass(frozen=True, kw_only=True)
class INPFormerConfig:
    """What a run may change.

    The defaults suit two CPU cores; `INPFormerConfig.paper()` has the paper's size.
    """

    encoder: Annotated[
        str, Origin("ours", "works offline; a ViT-B with registers in INP-Former")
    ] = "dinov2-s-packaged"
    weights: Path | Literal["random"] | None = None
    offline: bool = False
    size: Annotated[tuple[int, int], Origin("ours", "for CPUs; 448 cut to 392 in INP-Former")] = (
        224,
        224,
    )
    resize: tuple[int, int] | None = None
    tile: int | None = None
    overlap: int = 64
    layers: Annotated[tuple[int, ...] | None, Origin("read", "INP-Former: blocks 2 to 9")] = None
    prototypes: Annotated[int, Origin("read", "INP-Former")] = 6
    """How many feature vectors are drawn out of each image to rebuild it from. More of them can
    also express defects."""
    blocks: Annotated[int, Origin("ours", "for CPUs; 8 in INP-Former")] = 2
    heads: Annotated[int | None, Origin("read", "INP-Former")] = None
    mlp_ratio: Annotated[float, Origin("ours", "for CPUs; 4 in INP-Former")] = 2.0
    dropout: Annotated[float, Origin("read", "INP-Former, without noise")] = 0.0
    hardness: Annotated[float, Origin("read", "INP-Former")] = 3.0
    coherence: Annotated[float, Origin("read", "INP-Former")] = 0.2
    """Weight of a second loss, which keeps those vectors close to the image's features; 0 leaves
    it out."""
    top: Annotated[float, Origin("read", "INP-Former")] = 0.01
    batch: Annotated[int, Origin("ours", "for CPUs; 16 in INP-Former")] = 8
    steps: Annotated[int, Origin("ours", "for CPUs; 45,200 in INP-Former on MVTec AD")] = 800
    lr: Annotated[float, Origin("read", "INP-Former")] = 1e-3
    warmup: Annotated[int, Origin("read", "INP-Former; a tenth of all steps at most is ours")] = 100
    clip: Annotated[float, Origin("read", "INP-Former")] = 0.1

    def __post_init__(self) -> None:
        check(self)

    @staticmethod
    def paper() -> "INPFormerConfig":
        """The paper's size: ViT-B/14 at 392 pixels, eight blocks, 200 epochs of MVTec AD."""
        return INPFormerConfig(**PAPER, steps=45_200)


class PrototypeExtractor(nn.Module):
    r"""Draw the prototypes of an image out of its tokens, by cross-attention A with softmax.

    $$P' = T + \mathrm{A}(\mathrm{LN}\,T, \mathrm{LN}\,f_I),\qquad
      P = P' + \mathrm{MLP}(\mathrm{LN}'\,P')$$

    Queries are the learnt tokens T, keys and values the image's. Both go through one and the same
    norm LN (INP-Former).
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, "softmax")
        self.mlp = MLP(width, mlp_ratio)
        self.ln, self.ln_p = (nn.LayerNorm(width, eps=1e-8) for _ in range(2))  # INP-Former

    def forward(
        self, t: Float[Tensor, "b m c"], f_i: Float[Tensor, "b n c"]
    ) -> Float[Tensor, "b m c"]:
        p = t + self.attention(self.ln(t), self.ln(f_i))
        return p + self.mlp(self.ln_p(p))


class GuidedBlock(nn.Module):
    r"""A block of the INP-guided decoder, PA being attention with ReLU on the prototypes.

    $$y = \mathrm{PA}(\mathrm{LN}\,x_{l-1}, \mathrm{LN}\,P),\qquad
      x_l = y + \mathrm{MLP}(\mathrm{LN}'\,y)$$

    No residual leads from $x_{l-1}$ to y, so that y is made of the prototypes' values alone. Tokens
    and prototypes go through one and the same norm LN (INP-Former).
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, "relu")
        self.mlp = MLP(width, mlp_ratio)
        self.ln, self.ln_y = (nn.LayerNorm(width, eps=1e-8) for _ in range(2))  # INP-Former

    def forward(
        self, x: Float[Tensor, "b n c"], p: Float[Tensor, "b m c"]
    ) -> Float[Tensor, "b n c"]:
        y = self.attention(self.ln(x), self.ln(p))
        return y + self.mlp(self.ln_y(y))


class INPFormer(TokenDetector):
    """The whole: frozen encoder, extractor, bottleneck, guided decoder, map and image score.

    Args:
        config: What a run may change.
    Raises:
        ValueError: A size or layer that does not fit the encoder.
        WeightsError: The encoder's weights cannot be had.
    """

    name = "inp-former"
    config: INPFormerConfig

    def __init__(self, config: INPFormerConfig | None = None) -> None:
        config = config or INPFormerConfig()
        super().__init__(config, encoder_of(config))
        width = self.width
        heads = heads_for(width) if config.heads is None else config.heads
        self.tokens = nn.Parameter(torch.empty(config.prototypes, width))
        self.extractor = PrototypeExtractor(width, heads, config.mlp_ratio)
        self.bottleneck = MLP(width, config.mlp_ratio, config.dropout)
        self.decoder = nn.ModuleList(
            GuidedBlock(width, heads, config.mlp_ratio) for _ in range(config.blocks)
        )
        self.reset_parameters(torch.Generator().manual_seed(0))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw all trainable weights anew: as `draw_decoder` says, tokens N(0, 1), scales 1."""
        for part in (self.extractor, self.bottleneck, self.decoder):
            draw_decoder(part, self.tokens.shape[1], generator)
        nn.init.normal_(self.tokens, generator=generator)

    def configure_optimizer(self, steps: int) -> tuple[StableAdamW, LambdaLR]:
        """StableAdamW with warm-up and cosine decay to a tenth; INP-Former."""
        return warmed_up([{"params": self.trained()}], self.config.lr, self.config.warmup, steps)

    def fit_prototypes(self, normal: Subset[Tensor]) -> None:
        """Do nothing: all is learnt step by step."""

    def forward(
        self, groups: Float[Tensor, "b 2 n c"]
    ) -> tuple[Float[Tensor, "b 2 n c"], Float[Tensor, "b m c"]]:
        """Rebuild both groups from the image's prototypes, and return these as well."""
        f_i = groups.mean(dim=1)  # the mean of all levels, for the groups are equally large
        p = self.extractor(self.tokens.expand(f_i.shape[0], -1, -1), f_i)  # b m c
        x = self.bottleneck(f_i)
        outputs: list[Tensor] = []
        for block in self.decoder:
            x = block(x, p)
            outputs.insert(0, x)  # the last blocks rebuild the first levels; INP-Former
        return two_groups(outputs), p

    def loss(self, groups: Float[Tensor, "b 2 n c"]) -> Float[Tensor, ""]:
        """Return the mean over images and groups of 1 - cos of the flattened maps, plus coherence.

        Soft mining: the gradient of the first at each token is scaled by (d / mean d)^hardness, the
        mean running over its group in the whole batch.
        """
        rebuilt, p = self(groups)
        target, rebuilt = groups.float(), rebuilt.float()
        d = cosine_distances(target, rebuilt.detach())
        weight = distance_weights(d, self.config.hardness)
        coherence = coherence_loss(target.mean(dim=1), p)
        return weighted_cosine_loss(target, rebuilt, weight) + self.config.coherence * coherence

    def distances(self, groups: Float[Tensor, "b 2 n c"]) -> Float[Tensor, "b 2 n"]:
        """Return each token's cosine distance from its reconstruction, in [0, 2]."""
        return cosine_distances(groups, self(groups)[0])
