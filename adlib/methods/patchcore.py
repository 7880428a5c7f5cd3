r"""PatchCore: keep the most varied patches of normal images, and measure the distance to them.

A yardstick that trains nothing: what a nearest neighbour in the encoder's features can do. Each
patch of a test image is as anomalous as it is far from the nearest patch of a memory; the memory is
a greedy k-center coreset of the normal images' patches.

Marks: `PatchCore` stands for the paper (Roth et al., CVPR 2022) or the authors' published code,
read; `inferred` for what follows from them; `ours` for the rest. Its setting is one model for each
category on a convolutional encoder; here one memory serves all categories, on the ViT and the two
groups of levels that the other methods have, so that all read one cache of features.

Notation: x_i a patch (width D = 2c), M the memory, d_i the distance of a patch from it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Subset

from adlib.methods.config import check, encoder_of
from adlib.methods.detector import TokenDetector
from adlib.nn.coreset import greedy_coreset
from adlib.settings import Origin

ROWS = 2048  # of the memory that are compared at a time; bounds memory, changes no result
BY_PRODUCTS = "use_mm_for_euclid_dist"  # always: left to choose, torch would look at the batch


@dataclass(frozen=True, kw_only=True)
class PatchCoreConfig:
    """What a run may change.

    The defaults suit two CPU cores; `PatchCoreConfig.paper()` has the size of the other methods'
    papers.
    """

    encoder: Annotated[
        str, Origin("ours", "as for the other methods; a WideResNet-50 in PatchCore")
    ] = "dinov2-s-packaged"
    weights: Path | Literal["random"] | None = None
    offline: bool = False
    size: Annotated[tuple[int, int], Origin("read", "PatchCore")] = (224, 224)
    resize: tuple[int, int] | None = None
    tile: int | None = None
    overlap: int = 64
    layers: Annotated[tuple[int, ...] | None, Origin("ours", "as for the other methods")] = None
    patch: Annotated[int, Origin("ours", "by the rule of nearest.yml; 3 in PatchCore")] = 1
    """Side of the neighbourhood that is averaged around each place, an odd number. Raise it if
    maps are speckled."""
    normalise: Annotated[bool, Origin("ours", "PatchCore takes patches as they are")] = True
    """Bring the features of each place to length 1, so that only their direction counts."""
    memory: Annotated[int, Origin("ours", "1 to 25 % of all in PatchCore")] = 8_000
    """Patches of normal images that are kept for comparison. Raise it if normal images are very
    varied; time and memory grow with it."""
    candidates: Annotated[int, Origin("ours", "all in PatchCore")] = 100_000
    """Patches that `memory` is chosen from, at least as many as that."""
    projection: Annotated[int, Origin("read", "PatchCore")] = 128
    """Numbers to which a patch is reduced while choosing. Raise it for a more faithful choice."""
    top: Annotated[float, Origin("read", "PatchCore")] = 0.0
    """Share of an image's pixels, the most suspicious ones, whose mean is the score of the image;
    0 takes the largest alone."""
    batch: Annotated[int, Origin("ours", "changes no result")] = 8
    """Images read at a time. Lower it if memory runs out; it changes no result."""
    steps: Annotated[int, Origin("read", "PatchCore")] = 0
    """Always 0: nothing is trained step by step."""

    def __post_init__(self) -> None:
        check(self, zero=("steps",), even_blocks=False)
        if self.patch % 2 == 0:
            raise ValueError(f"patch must be odd, with a token in its centre, got {self.patch}")
        if self.candidates < self.memory:
            raise ValueError(
                f"candidates must not be fewer than the {self.memory} kept in memory, got "
                f"{self.candidates}"
            )
        if self.steps:
            raise ValueError(f"patchcore trains nothing: steps must be 0, got {self.steps}")

    @staticmethod
    def paper() -> "PatchCoreConfig":
        """ViT-B/14 at 392 pixels as in the other papers, and 1 % of MVTec AD's patches; ours."""
        return PatchCoreConfig(
            encoder="dinov2-b",
            size=(392, 392),
            resize=(448, 448),
            memory=28_000,
            candidates=2_800_000,
            batch=16,
        )


def nearest_rows(x: Float[Tensor, "n c"], memory: Float[Tensor, "m c"]) -> Float[Tensor, " n"]:
    """Return the distance of each row from the nearest of the memory.

    Found by matrix products, `ROWS` of the memory at a time (2 n m c FLOPs), and then measured by
    subtraction, so that equal rows are at distance 0 to the last bit.
    """
    distances, indices = [], []
    for k, part in enumerate(memory.split(ROWS)):
        found = torch.cdist(x, part, compute_mode=BY_PRODUCTS).min(dim=1)
        distances.append(found.values)
        indices.append(found.indices + k * ROWS)
    best = torch.stack(distances).argmin(dim=0, keepdim=True)  # 1 n
    j = torch.stack(indices).gather(0, best).squeeze(0)  # n
    return (x - memory[j]).norm(dim=1)


class PatchCore(TokenDetector):
    """The whole: frozen encoder, patches, memory, map and image score.

    Args:
        config: What a run may change.
    Attributes:
        memory: Patches of normal images (m D), in the order of choice; saved with the weights.
    Raises:
        ValueError: A size or layer that does not fit the encoder.
        WeightsError: The encoder's weights cannot be had.
    """

    name = "patchcore"
    config: PatchCoreConfig
    memory: Tensor

    def __init__(self, config: PatchCoreConfig | None = None) -> None:
        config = config or PatchCoreConfig()
        super().__init__(config, encoder_of(config))
        self.register_buffer("memory", torch.empty(0, 2 * self.width))
        self.reset_parameters(torch.Generator().manual_seed(0))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Forget the memory, and draw the seed of what `fit_prototypes` draws."""
        self.memory = self.memory[:0]
        self.seed = int(torch.randint(2**62, (), generator=generator))

    def configure_optimizer(self, steps: int) -> NoReturn:
        """Refuse: there is nothing to train."""
        raise ValueError(f"patchcore trains nothing: fit it with steps=0, got {steps}")

    def loss(self, groups: Float[Tensor, "b 2 n c"]) -> NoReturn:
        """Refuse: there is nothing to train."""
        raise ValueError("patchcore has no loss: its memory is made once, by `fit_prototypes`")

    @torch.no_grad()
    def fit_prototypes(self, normal: Subset[Tensor]) -> None:
        """Make the memory: a coreset of the patches of all normal images, whatever their category.

        Each image gives equally many of its patches, drawn at random, as candidates. These are
        chosen from after a random projection, which keeps distances nearly (Johnson and
        Lindenstrauss). The features are read twice, `batch` images at a time; in memory are the
        projected candidates (candidates times projection numbers) and the memory. At the defaults
        the choice takes 205 GFLOP, a minute of one core.
        """
        config, device = self.config, self.memory.device
        generator = torch.Generator().manual_seed(self.seed)
        n, tokens, width = len(normal), self.grid[0] * self.grid[1], self.memory.shape[1]
        each = max(1, min(tokens, config.candidates // n))
        drawn = torch.stack(
            [torch.randperm(tokens, generator=generator)[:each].sort().values for _ in range(n)]
        )  # n each
        project = torch.eye(width)
        if config.projection < width:
            project = torch.randn(width, config.projection, generator=generator)
            project /= config.projection**0.5  # so that squared distances are right on average
        project = project.to(device)
        projected = torch.empty(n * each, project.shape[1], device=device)
        for rows, patches in self._read(normal):
            mine = torch.cat([x[drawn[i]] for i, x in zip(rows, patches, strict=True)])
            projected[rows[0] * each : (rows[-1] + 1) * each] = mine @ project
        size = min(config.memory, len(projected))
        start = int(torch.randint(len(projected), (), generator=generator))
        chosen = torch.arange(size)
        if size < len(projected):  # else all are kept, and there is nothing to choose
            chosen = greedy_coreset(projected, size, start).cpu()
        memory = torch.empty(size, width, device=device)
        image, token = chosen // each, drawn.flatten()[chosen]
        for rows, patches in self._read(normal):
            (at,) = torch.where((image >= rows[0]) & (image <= rows[-1]))
            memory[at] = patches[image[at] - rows[0], token[at]]
        self.memory = memory

    def _read(self, normal: Subset[Tensor]) -> Iterator[tuple[list[int], Tensor]]:
        """Yield image numbers and the patches (b n D) of those images, in their order."""
        batch = self.config.batch
        for first in range(0, len(normal), batch):
            rows = list(range(first, min(first + batch, len(normal))))
            groups: Tensor = normal[rows]  # pyright: ignore[reportArgumentType]  # takes lists
            yield rows, self.patches(groups.to(self.memory.device, torch.float32))

    def patches(self, groups: Float[Tensor, "b 2 n c"]) -> Float[Tensor, "b n D"]:
        r"""Average each token with its neighbours, and put both groups side by side.

        At the border the average is over the tokens that there are. Each group weighs one half;
        normalised, $\lVert x - y \rVert^2 = 2 \cdot \mathrm{mean}_g (1 - \cos(x_g, y_g))$.
        """
        side = self.config.patch
        maps = groups.float().mT.unflatten(3, self.grid).flatten(0, 1)  # b*2 c rows columns
        maps = F.avg_pool2d(maps, side, 1, side // 2, count_include_pad=False)
        x = maps.unflatten(0, (-1, 2)).flatten(3)  # b 2 c n
        if self.config.normalise:
            x = F.normalize(x, dim=2)
        return x.flatten(1, 2).mT / 2**0.5  # b n D

    def distances(self, groups: Float[Tensor, "b 2 n c"]) -> Float[Tensor, "b 1 n"]:
        """Return each patch's distance from the memory.

        The factor by which the paper weighs the score of an image is left out, as in its code.

        Raises:
            ValueError: The memory is empty.
        """
        if not len(self.memory):
            raise ValueError("patchcore's memory is empty: fit it, or load a run, first")
        with torch.autocast(groups.device.type, enabled=False):  # in bf16, near ones are all alike
            x = self.patches(groups)
            d = nearest_rows(x.flatten(0, 1), self.memory)
        return d.unflatten(0, (-1, 1, x.shape[1]))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kw: Any) -> None:
        """Take a memory of any length, which torch would refuse."""
        saved = state_dict.get(f"{prefix}memory")
        if saved is not None and saved.shape[1:] == self.memory.shape[1:]:
            self.memory = self.memory.new_empty(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kw)
