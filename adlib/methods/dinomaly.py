r"""Dinomaly: rebuild a frozen encoder's tokens from themselves, through noise and a weak attention.

A yardstick for Pro-AD on the same encoder and loop. Every normal token can be rebuilt from its
surroundings; dropout in the bottleneck, attention that cannot focus, and targets that are means of
many levels keep the decoder from copying what it has never seen.

Marks: `Dinomaly` stands for the authors' published code (Guo et al., CVPR 2025), read; `ours` for
the rest. Two things differ from it: the class and register tokens are dropped before the decoder
and not after it (the feature cache holds patches only; INP-Former drops them first as well), and
the weights' deviation grows for encoders narrower than ViT-B.

Notation: f_I fused input feature, x_l output of decoder block l (both b n c), LN layer norm, d the
cosine distance of a token from its reconstruction.
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
    cosine_distances,
    draw_decoder,
    easy_point_weights,
    two_groups,
    weighted_cosine_loss,
)
from adlib.nn.stable_adamw import StableAdamW, warmed_up
from adlib.settings import Origin


@dataclass(frozen=True, kw_only=True)
class DinomalyConfig:
    """What a run may change.

    The defaults suit two CPU cores; `DinomalyConfig.paper()` has the paper's size.
    """

    encoder: Annotated[str, Origin("ours", "works offline; a ViT-B with registers in Dinomaly")] = (
        "dinov2-s-packaged"
    )
    weights: Path | Literal["random"] | None = None
    offline: bool = False
    size: Annotated[tuple[int, int], Origin("ours", "for CPUs; 448 cut to 392 in Dinomaly")] = (
        224,
        224,
    )
    resize: tuple[int, int] | None = None
    tile: int | None = None
    overlap: int = 64
    layers: Annotated[tuple[int, ...] | None, Origin("read", "Dinomaly: blocks 2 to 9")] = None
    blocks: Annotated[int, Origin("ours", "for CPUs; 8 in Dinomaly")] = 2
    heads: Annotated[int | None, Origin("read", "Dinomaly")] = None
    attention: Annotated[
        Literal["linear", "softmax"], Origin("read", "Dinomaly; softmax is its ablation")
    ] = "linear"
    """Kind of attention in the decoder. Softmax can single out one place and copy it; linear
    cannot, and is the fastest on many places."""
    mlp_ratio: Annotated[float, Origin("ours", "for CPUs; 4 in Dinomaly")] = 2.0
    dropout: Annotated[float, Origin("read", "Dinomaly, 0.4 on Real-IAD")] = 0.2
    easy: Annotated[float, Origin("read", "Dinomaly")] = 0.9
    """Share of the places that are reproduced best and count less in training, from 0 up to 1."""
    easy_gradient: Annotated[float, Origin("read", "Dinomaly")] = 0.1
    """How much those places count, from 0 to 1; at 1 all places count alike."""
    ramp: Annotated[int, Origin("read", "Dinomaly")] = 1_000
    """Steps in which `easy` grows from 0 to its full size."""
    top: Annotated[float, Origin("read", "Dinomaly")] = 0.01
    batch: Annotated[int, Origin("ours", "for CPUs; 16 in Dinomaly")] = 8
    steps: Annotated[int, Origin("ours", "for CPUs; 10,000 in Dinomaly")] = 800
    lr: Annotated[float, Origin("read", "Dinomaly")] = 2e-3
    warmup: Annotated[int, Origin("read", "Dinomaly; a tenth of all steps at most is ours")] = 100
    clip: Annotated[float, Origin("read", "Dinomaly")] = 0.1

    def __post_init__(self) -> None:
        check(self)

    @staticmethod
    def paper() -> "DinomalyConfig":
        """The paper's size: ViT-B/14 at 392 pixels, 784 tokens, eight blocks, 10,000 steps."""
        return DinomalyConfig(**PAPER, steps=10_000)


class DecoderBlock(nn.Module):
    r"""A pre-norm ViT block with self-attention A.

    $$u = x_{l-1} + \mathrm{A}(\mathrm{LN}\,x_{l-1}),\qquad
      x_l = u + \mathrm{MLP}(\mathrm{LN}\,u)$$

    Linear attention, the default, cannot focus on one token and copy it (Dinomaly).
    """

    def __init__(self, width: int, mlp_ratio: float, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.mlp = MLP(width, mlp_ratio)
        self.ln_x, self.ln_u = (nn.LayerNorm(width, eps=1e-8) for _ in range(2))  # Dinomaly

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        x_norm = self.ln_x(x)
        u = x + self.attention(x_norm, x_norm)
        return u + self.mlp(self.ln_u(u))


class Dinomaly(TokenDetector):
    """The whole: frozen encoder, noisy bottleneck, decoder, map and image score.

    Args:
        config: What a run may change.
    Attributes:
        step: Batches trained on; decides which share of the points is easy, and is saved with the
            weights so that a resumed run goes on where it stopped.
    Raises:
        ValueError: A size or layer that does not fit the encoder.
        WeightsError: The encoder's weights cannot be had.
    """

    name = "dinomaly"
    config: DinomalyConfig
    step: Tensor

    def __init__(self, config: DinomalyConfig | None = None) -> None:
        config = config or DinomalyConfig()
        super().__init__(config, encoder_of(config))
        heads = heads_for(self.width) if config.heads is None else config.heads
        self.bottleneck = MLP(self.width, config.mlp_ratio, config.dropout)
        self.decoder = nn.ModuleList(
            DecoderBlock(
                self.width, config.mlp_ratio, Attention(self.width, heads, config.attention)
            )
            for _ in range(config.blocks)
        )
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.reset_parameters(torch.Generator().manual_seed(0))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw all trainable weights anew, as `draw_decoder` says, and count steps from 0."""
        for part in (self.bottleneck, self.decoder):
            draw_decoder(part, self.width, generator)
        self.step.zero_()

    def configure_optimizer(self, steps: int) -> tuple[StableAdamW, LambdaLR]:
        """StableAdamW with warm-up and cosine decay to a tenth; Dinomaly."""
        return warmed_up([{"params": self.trained()}], self.config.lr, self.config.warmup, steps)

    def fit_prototypes(self, normal: Subset[Tensor]) -> None:
        """Do nothing: all is learnt step by step."""

    def forward(self, groups: Float[Tensor, "b 2 n c"]) -> Float[Tensor, "b 2 n c"]:
        """Rebuild both groups from their mean."""
        f_i = groups.mean(dim=1)  # the mean of all levels, for the groups are equally large
        x = self.bottleneck(f_i)
        outputs: list[Tensor] = []
        for block in self.decoder:
            x = block(x)
            outputs.insert(0, x)  # the last blocks rebuild the first levels; Dinomaly
        return two_groups(outputs)

    def easy_share(self) -> Float[Tensor, ""]:
        """Return the share of easy points at this step: from 0 to `easy`, linear over `ramp`."""
        return self.config.easy * (self.step / self.config.ramp).clamp(max=1)

    def loss(self, groups: Float[Tensor, "b 2 n c"]) -> Float[Tensor, ""]:
        """Return the mean over images and groups of 1 - cos of the flattened maps.

        Easy points have their gradient multiplied by `easy_gradient`. In training, a call ends a
        step.
        """
        target, rebuilt = groups.float(), self(groups).float()
        d = cosine_distances(target, rebuilt.detach())
        factor, share = self.config.easy_gradient, self.easy_share()
        weight = easy_point_weights(d, share, factor)
        if self.training:
            self.step += 1
        return weighted_cosine_loss(target, rebuilt, weight)

    def distances(self, groups: Float[Tensor, "b 2 n c"]) -> Float[Tensor, "b 2 n"]:
        """Return each token's cosine distance from its reconstruction, in [0, 2]."""
        return cosine_distances(groups, self(groups))
