"""What the engine may ask of a method: `Detector`, and `TokenDetector` for maps of tokens."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.data import Subset

from adlib.anomalies.training_set import TrainingSet
from adlib.data.dataset import ImageDataset
from adlib.metrics.threshold import Calibration
from adlib.nn.encoder import Encoder
from adlib.nn.reconstruction import distance_maps, one_grid, top_mean, two_groups


class Detector(nn.Module, ABC):
    """A frozen encoder, a trained part, and what makes a map of them.

    The engine encodes all images once and caches it; training and scoring start from the cache. A
    method implements what is abstract here and, if it learns from defects, `training_set`.

    Args:
        config: What a run may change; a frozen dataclass.
        encoder: The frozen part.
    Attributes:
        name: On the command line and in a record.
        feature_key: Names what `encode` returns, in the key of the cache. Methods that cache the
            same share it.
        learns_from_defects: Whether `training_set` makes what it trains on.
        calibration: What `fit` learns from held-out normal images; None before.
        provenance: Seed, steps, data and versions of the fit; empty before.
        roi: Region of interest (h w) of whole images, squeezed to the size of scored maps; where
            it is False nothing counts. None for all.
    """

    name: ClassVar[str]
    feature_key: ClassVar[str]
    learns_from_defects: ClassVar[bool] = False
    roi: Bool[np.ndarray, "h w"] | None = None

    def __init__(self, config: Any, encoder: Encoder) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        self.calibration: Calibration | None = None
        self.provenance: dict[str, Any] = {}

    @abstractmethod
    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw all trainable weights anew, and forget what was learnt of normal images."""

    @abstractmethod
    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b g t c"]:
        """Return the frozen features, which the engine caches."""

    @abstractmethod
    def fit_prototypes(self, normal: Subset[Tensor]) -> None:
        """See all normal features (g t c each) once before training; may do nothing."""

    def training_set(
        self, normal: ImageDataset, seen: ImageDataset | None, seed: int
    ) -> TrainingSet:
        """Return samples by index to train on, in place of cached features.

        Only of a method that learns from defects. A sample is an image (3 h w) in [0, 1] and where
        it is defective (h w); `loss` takes batches of both. Sample `i` belongs to slot `i % batch`
        of step `i // batch` and follows from `seed` and `i` alone. `source(i)` names the file that
        it was made from; `missing` holds a sentence for each thing that was asked for and cannot be
        made.

        Args:
            normal: Normal images to train on.
            seen: Defects with masks; None where there are none.
            seed: Draws whatever is drawn.
        """
        raise TypeError(f"{self.name} trains on cached features")

    @abstractmethod
    def configure_optimizer(self, steps: int) -> tuple[torch.optim.Optimizer, Any]:
        """Return the optimizer and its schedule, both stepped once a batch."""

    @abstractmethod
    def loss(self, *args: Any, **kwargs: Any) -> Float[Tensor, ""]:  # each has its own
        """Return the loss to minimise, of cached features (b g t c) or of a batch of samples."""

    @abstractmethod
    def maps(self, features: Float[Tensor, "b g t c"]) -> Float[Tensor, "b h w"]:
        """Return anomaly maps at the config's size; larger is more anomalous."""

    @abstractmethod
    def image_score(self, maps: Float[Tensor, "b h w"]) -> Float[Tensor, " b"]:
        """Return one score a map."""

    def anomaly_map(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b h w"]:
        """Return anomaly maps of images, as `maps` of what `encode` returns."""
        return self.maps(self.encode(images))

    def trained(self) -> list[nn.Parameter]:
        """Return the weights that training moves."""
        return [p for p in self.parameters() if p.requires_grad]


class TokenDetector(Detector):
    """A detector whose map is made of distances of tokens, on one grid that all levels share.

    Attributes:
        width: Channels of a token, c.
        grid: Rows and columns of tokens.
    Raises:
        ValueError: The levels share no grid or width, or their number is odd.
    """

    feature_key = "two groups, each the mean of its levels"

    def __init__(self, config: Any, encoder: Encoder) -> None:
        super().__init__(config, encoder)
        self.width, self.grid = one_grid(encoder)

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2 n c"]:
        """Return the means of the first and of the second half of the levels; Dinomaly."""
        return two_groups(self.encoder(images))

    @abstractmethod
    def distances(self, groups: Float[Tensor, "b 2 n c"]) -> Float[Tensor, "b g n"]:
        """Return how far each token is from what is normal, in one or two groups."""

    def maps(self, features: Float[Tensor, "b 2 n c"]) -> Float[Tensor, "b h w"]:
        """Return anomaly maps at the encoder's size: distances, enlarged and averaged; Dinomaly."""
        return distance_maps(self.distances(features), self.grid, self.config.size)

    def image_score(self, maps: Float[Tensor, "b h w"]) -> Float[Tensor, " b"]:
        """Return the mean of the top share of pixels, at least one; Dinomaly, 1 %."""
        return top_mean(maps, self.config.top)
