r"""PRN: segment what differs from the nearest normal feature map, learnt from made anomalies.

**This is a reconstruction.** Of the paper (arXiv 2212.02031) the abstract, the first part of the
introduction and Fig. 3 with its caption could be read. Marks: `abstract` and `Fig. 3` (read),
`unofficial code` (a re-implementation, read), `inferred` (from what is named), `ours`. The book's
table "Where we differ, where we guess" has a row for each.

Notation: F_j encoder map of scale j (c_j h_j w_j; three scales), D_j its squared residual to the
nearest prototype (over v_j, a variance; ours), MF multi-scale fusion, Z_j what attention and
decoder see, MSA multi-size self-attention. Everything between the frozen encoder and the map is
here but for the parts' insides (`adlib.nn.prototype_maps`, `fusion`, `patch_attention`).

BatchNorm (inferred from the unofficial code and PyDeepFakeDet) takes its statistics of the images
that pass at once: a batch that is spread over processes has those of each part.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import floor, prod
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Subset

from adlib.anomalies.training_set import AnomalyConfig, TrainingSet
from adlib.data.dataset import ImageDataset
from adlib.data.transform import ImageTransform
from adlib.methods.config import check, encoder_of
from adlib.methods.detector import Detector
from adlib.nn.convolution import Convolution, draw_convolutions, resize
from adlib.nn.encoder import find_preset
from adlib.nn.fusion import Fusion
from adlib.nn.patch_attention import SplitBlock
from adlib.nn.prototype_maps import PrototypeMaps, Residual, cluster_means, gram_matrices, kmeans
from adlib.nn.segmentation_loss import focal_loss, smooth_l1_loss
from adlib.nn.stable_adamw import warmup_cosine
from adlib.settings import Origin

LEVELS = 4  # three scales that have prototypes and a deeper map; Fig. 3
LAMBDA, ALPHA, GAMMA = 5.0, 0.5, 4.0  # of the focal loss; inferred: three codes agree
WARMUP = 20  # the part of the steps, one in so many, in which the rate rises; ours
HEAD = 64  # channels of the mask's head; unofficial code
NO_CLIP = 1e12  # a gradient norm that none has; not infinity, which a run's JSON cannot hold


@dataclass(frozen=True, kw_only=True)
class PRNConfig:
    """What a run may change.

    The defaults suit two CPU cores; `PRNConfig.paper()` has the size that is inferred for the
    paper. From `residuals` on, each field is an arm of the ablations that moves one thing.

    Raises:
        ValueError: A value that no run can be made with; names the field.
    """

    encoder: Annotated[
        str, Origin("ours", "for CPUs; a ResNet-18 is inferred from two re-implementations")
    ] = "efficientnet-lite0"
    weights: Path | Literal["random"] | None = None
    offline: bool = False
    size: Annotated[tuple[int, int], Origin("inferred", "two re-implementations")] = (256, 256)
    resize: tuple[int, int] | None = None
    layers: Annotated[
        tuple[int, ...] | None,
        Origin("inferred", "Fig. 3; every second of a ViT's eight is ours"),
    ] = None
    """Four layers of the encoder, from the finest to the coarsest, counted from 0. Defaults to the
    encoder's recommended ones, or to every second of eight."""
    prototypes: Annotated[int | None, Origin("inferred", "two re-implementations")] = None
    """How many typical normal images are kept for comparison. Defaults to `ratio` of them."""
    ratio: Annotated[float, Origin("inferred", "two re-implementations")] = 0.1
    """Typical images kept for each normal training image, above 0 up to 1. Raise it if normal
    images are very varied."""
    patches: Annotated[tuple[int, ...], Origin("inferred", "two public codes")] = (1, 2, 4, 8)
    """Into how many parts a side is cut where parts of an image are compared with each other; one
    number for each size of parts."""
    enlarge: Annotated[int, Origin("ours", "for CPUs; 4 in the unofficial code")] = 1
    """How far the finest map is enlarged before the last layers. Use 4 on a GPU for sharper
    maps."""
    batch: Annotated[int, Origin("ours", "for CPUs; 48 in the unofficial code")] = 8
    steps: Annotated[int, Origin("ours", "for CPUs; 700 epochs in the unofficial code")] = 400
    lr: Annotated[float, Origin("ours", "for few steps; 0.0001 in the unofficial code")] = 1e-3
    schedule: Annotated[
        Literal["cosine", "constant"],
        Origin(
            "ours",
            "for few steps, as in a second port: weights and BatchNorm's averages that still move "
            "at the full rate in the end make poor maps; constant in the unofficial code",
        ),
    ] = "cosine"
    """Learning rate over the steps: constant, or a rise and then a fall to a tenth."""
    decay: Annotated[float, Origin("inferred", "the unofficial code")] = 1e-2
    """Weight decay. Raise it if training images are found well and new ones are not."""
    clip: Annotated[float, Origin("inferred", "the unofficial code")] = NO_CLIP
    """Largest length of the gradient; a longer one is cut to it. The default cuts none."""
    top: Annotated[
        int, Origin("inferred", "two re-implementations; 50 in the author's next code")
    ] = 100
    """Pixels of a map, the most suspicious ones, whose mean is the score of the image."""
    recipe: AnomalyConfig = field(default_factory=AnomalyConfig)  # how anomalies are made

    residuals: Annotated[
        Residual | Literal["off"],
        Origin(
            "ours",
            "by a rule on made anomalies (chapter 9): the square, which is inferred from two "
            "re-implementations, drowns the features that deviate by much",
        ),
    ] = "scaled"
    """What the network sees of the difference from the nearest typical image: its square, the
    square divided by the usual variance, its absolute value, or nothing (off)."""
    fusion: Annotated[
        Literal["own", "off"],
        Origin(
            "inferred",
            '"separately" in the caption of Fig. 3; one for both in the unofficial code',
        ),
    ] = "own"
    """Exchange between coarse and fine maps: one for features and another for differences (own), or
    none (off)."""
    patch_attention: Annotated[
        Literal["g", "off"],
        Origin("ours", "after PyDeepFakeDet; all channels for each size in the unofficial code"),
    ] = "g"
    """Attention between parts of the image: in groups of channels (g), or none (off)."""
    blocks: Annotated[int, Origin("ours", "for CPUs; 3 in the unofficial code")] = 1
    """Blocks of attention between parts of the image, one after another. Use 3 on a GPU."""

    def __post_init__(self) -> None:
        check(self, even_blocks=False)
        if not self.patches or min(self.patches) < 1:
            raise ValueError(f"patches must be numbers of at least 1, got {self.patches}")

    @staticmethod
    def paper() -> "PRNConfig":
        """The inferred size: ResNet-18 at 256 pixels; steps as 700 epochs of `bottle` had."""
        return PRNConfig(
            encoder="resnet18",
            residuals="square",
            enlarge=4,
            blocks=3,
            batch=48,
            steps=5_600,
            lr=1e-4,
            schedule="constant",
        )


class Decoder(nn.Module):
    """From the deepest map up through the scales to one map of logits (Fig. 3; unofficial code).

    Args:
        widths: Channels c_j of each scale, the finest first: of what is decoded there.
        skips: Channels of Z_j.
        deepest: Channels of the deepest map.
        size: Of the map of logits.
        enlarge: How far the finest scale is enlarged before the head; bilinear steps do the rest.
    """

    def __init__(
        self,
        widths: Sequence[int],
        skips: Sequence[int],
        deepest: int,
        size: tuple[int, int],
        enlarge: int,
    ) -> None:
        super().__init__()
        self.size, self.enlarge, below = size, enlarge, [*widths[1:], deepest]
        self.up = nn.ModuleList(Convolution(b, c) for b, c in zip(below, widths, strict=True))
        self.merge = nn.ModuleList(
            nn.Sequential(Convolution(c + s, c), Convolution(c, c))
            for c, s in zip(widths, skips, strict=True)
        )
        self.head = Convolution(widths[0], HEAD)
        self.mask = nn.Conv2d(HEAD, 1, 3, padding=1)

    def forward(
        self, Z: list[Float[Tensor, "b _ _ _"]], x: Float[Tensor, "b _ _ _"]
    ) -> Float[Tensor, "b h w"]:
        for z, up, merge in zip(Z[::-1], list(self.up)[::-1], list(self.merge)[::-1], strict=True):
            x = up(resize(x, (z.shape[2], z.shape[3])))
            x = merge(torch.cat([x, z], dim=1))
        h, w = (min(self.enlarge * n, m) for n, m in zip(x.shape[2:], self.size, strict=True))
        x = self.head(resize(x, (h, w)))
        # in bf16 a logit of -10 has neighbours 0.06 away: many pixels would tie in the ranking
        with torch.autocast(x.device.type, enabled=False):
            logits = self.mask(x.to(self.mask.weight.dtype))
        return resize(logits, self.size).squeeze(1)


def layers_of(config: PRNConfig) -> tuple[int, ...]:
    """Return the four levels that a config asks for.

    Raises:
        ValueError: It, or the preset it leaves the choice to, has another number of them.
    """
    layers = find_preset(config.encoder).layers if config.layers is None else config.layers
    if config.layers is None and len(layers) == 2 * LEVELS:
        layers = layers[1::2]  # ours
    if len(layers) != LEVELS:
        raise ValueError(
            f"prn needs {LEVELS} levels, three scales and a deeper one; got layers={layers} of "
            f"{config.encoder!r}"
        )
    return layers


class PRN(Detector):
    """The whole: frozen encoder, prototypes, fusion, attention, decoder, map and image score.

    Args:
        config: What a run may change.
    Attributes:
        shapes: Channels, rows and columns of each level.
        prototypes: Of each scale; data, saved with the weights.
    Raises:
        ValueError: A size, layer or width that does not fit the encoder.
        WeightsError: The encoder's weights cannot be had.
    """

    name = "prn"
    feature_key = "levels"
    learns_from_defects = True
    config: PRNConfig
    prototypes: Any  # a ModuleList, of whose parts the type checker knows nothing

    def __init__(self, config: PRNConfig | None = None) -> None:
        config = config or PRNConfig()
        super().__init__(config, encoder_of(replace(config, layers=layers_of(config))))
        if any(b > a for a, b in pairwise(prod(grid) for grid in self.encoder.grids)):
            raise ValueError(
                f"prn takes its levels from the finest to the coarsest; layers={config.layers} of "
                f"{config.encoder!r} have grids {self.encoder.grids}"
            )
        levels = zip(self.encoder.widths, self.encoder.grids, strict=True)
        self.shapes = [(c, h, w) for c, (h, w) in levels]
        widths, grids = list(self.encoder.widths[:-1]), list(self.encoder.grids[:-1])
        self.prototypes = nn.ModuleList()
        if config.residuals != "off":
            self.prototypes.extend(PrototypeMaps(s, config.residuals) for s in self.shapes[:-1])
        sources = 2 if self.prototypes else 1  # F, and D beside it
        skips = [sources * c for c in widths]
        fuse = (lambda *_: nn.Identity()) if config.fusion == "off" else Fusion
        self.fusion = nn.ModuleList(fuse(widths, grids) for _ in range(sources))
        blocks = 0 if config.patch_attention == "off" else config.blocks
        self.attention = nn.ModuleList(
            nn.Sequential(*(SplitBlock(c, grid, config.patches) for _ in range(blocks)))
            for c, grid in zip(skips, grids, strict=True)
        )
        self.refusion = fuse(skips, grids)
        below = self.shapes[-1][0]
        self.decoder = Decoder(widths, skips, below, config.size, config.enlarge)
        self.reset_parameters(torch.Generator().manual_seed(0))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw all trainable weights anew by torch's own laws, and forget the prototypes."""
        for part in (self.fusion, self.attention, self.refusion, self.decoder):
            draw_convolutions(part, generator)
        for part in self.prototypes:
            part.p = part.p[:0]
        self.seed = int(torch.randint(2**62, (), generator=generator))  # of `fit_prototypes`

    def configure_optimizer(self, steps: int) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Adam, the decay part of the gradient (L2); unofficial code. The rate as configured."""
        optimizer = torch.optim.Adam(
            self.trained(), lr=self.config.lr, weight_decay=self.config.decay
        )
        if self.config.schedule == "constant":
            return optimizer, LambdaLR(optimizer, lambda step: 1.0)
        return optimizer, LambdaLR(optimizer, lambda i: warmup_cosine(i, steps, steps // WARMUP))

    def training_set(
        self, normal: ImageDataset, seen: ImageDataset | None, seed: int
    ) -> TrainingSet:
        """Return what `loss` takes, by index: normal images, and made and seen anomalies."""
        config = self.config
        frame = ImageTransform(size=config.size, resize=config.resize)
        return TrainingSet(
            normal, seen, frame=frame, batch=config.batch, seed=seed, recipe=config.recipe
        )

    @torch.no_grad()
    def fit_prototypes(self, normal: Subset[Tensor]) -> None:
        """Make the prototypes of each scale: k-means on the flattened maps of normal images.

        The features are read some 64 images at a time, each about n / 128 + 2 times for n images.
        Equation :eq:`eq-prototype-maps`, chapter 7.
        """
        if not self.prototypes:
            return
        n, config = len(normal), self.config
        k = floor(config.ratio * n + 1e-9) if config.prototypes is None else config.prototypes
        k = max(1, min(k, n))
        widths = [prod(shape) for shape in self.shapes[:-1]]
        generator = torch.Generator().manual_seed(self.seed)
        grams = gram_matrices(normal, widths)
        means = cluster_means(normal, widths, [kmeans(g, k, generator) for g in grams])
        for part, centres, gram in zip(self.prototypes, means, grams, strict=True):
            part.learn(centres, gram)

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 1 d"]:
        """Return the levels, flattened and side by side, which the engine caches."""
        return torch.cat([x.flatten(1) for x in self.encoder(images)], dim=1)[:, None, None]

    def levels(self, features: Float[Tensor, "b 1 1 d"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Take what `encode` gives apart: one map (b c h w) a level.

        In memory the channels come last, as convolutions like it: a training step takes a third
        less time on a CPU.
        """
        parts = features.flatten(1).split([prod(shape) for shape in self.shapes], dim=1)
        tokens = [x.unflatten(1, s[1:] + s[:1]) for x, s in zip(parts, self.shapes, strict=True)]
        return [x.contiguous().permute(0, 3, 1, 2) for x in tokens]  # b h w c -> b c h w

    def forward(self, features: Float[Tensor, "b 1 1 d"]) -> Float[Tensor, "b h w"]:
        """Return logits of being anomalous, as Fig. 3 has it."""
        *F, deepest = self.levels(features)
        Z = self.fusion[0](F)
        if self.prototypes:
            D = [residual(f) for residual, f in zip(self.prototypes, F, strict=True)]
            Z = [torch.cat(pair, dim=1) for pair in zip(Z, self.fusion[-1](D), strict=True)]
        Z = [attend(z) for attend, z in zip(self.attention, Z, strict=True)]
        return self.decoder(self.refusion(Z), deepest)

    def loss(
        self, images: Float[Tensor, "b 3 h w"], masks: Bool[Tensor, "b h w"]
    ) -> Float[Tensor, ""]:
        """Return smooth L1 on probabilities plus five times the focal loss of the logits.

        Equation :eq:`eq-prn-loss`, chapter 9. Both by Fig. 3; the factor and the focal loss's
        exponents are inferred.
        """
        logits = self(self.encode(images))
        return smooth_l1_loss(logits, masks) + LAMBDA * focal_loss(logits, masks, ALPHA, GAMMA)

    def maps(self, features: Float[Tensor, "b 1 1 d"]) -> Float[Tensor, "b h w"]:
        """Return the probability of each pixel at the encoder's size, from cached levels."""
        return self(features).float().sigmoid()

    def image_score(self, maps: Float[Tensor, "b h w"]) -> Float[Tensor, " b"]:
        """Return the mean of the top pixels of each map, at the size it comes in; inferred, 100."""
        flat = maps.flatten(1)
        return flat.topk(min(self.config.top, flat.shape[1]), dim=1).values.mean(dim=1)
