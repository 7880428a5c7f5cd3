"""What the engine asks of a method."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Subset

from adlib.data.dataset import ImageDataset
from adlib.metrics.threshold import Calibration


@runtime_checkable
class Method(Protocol):
    """What the engine asks of a method, besides being a torch module."""

    name: str
    config: Any
    if TYPE_CHECKING:  # Python 3.12's isinstance does not see the modules of a module
        encoder: Any
    calibration: Calibration | None
    provenance: dict[str, Any]
    _compiled_call_impl: Any

    def parameters(self) -> Iterator[torch.nn.Parameter]: ...
    def to(self, device: torch.device, /) -> Any: ...
    def train(self, mode: bool = True, /) -> Any: ...
    def eval(self) -> Any: ...
    def compile(self) -> None: ...

    def reset_parameters(self, generator: torch.Generator, /) -> None:
        """Draw all trainable weights anew."""
        ...

    def encode(self, images: Float[Tensor, "b 3 h w"], /) -> Float[Tensor, "b g t c"]:
        """Return the frozen features, which the engine caches."""
        ...

    def fit_prototypes(self, normal: Subset[Float[Tensor, "g t c"]], /) -> None:
        """See all normal features once before training: prototypes, memory; may do nothing."""
        ...

    def configure_optimizer(self, steps: int, /) -> tuple[torch.optim.Optimizer, Any]:
        """Return the optimiser and its schedule, both stepped once a batch."""
        ...

    def loss(self, *batch: Any, **none: Any) -> Float[Tensor, ""]:  # any arguments, to a checker
        """Return what a step lowers, of cached features (b g t c)."""
        ...

    def maps(self, features: Float[Tensor, "b g t c"], /) -> Float[Tensor, "b h w"]:
        """Return anomaly maps at the frame's size; larger is more anomalous."""
        ...

    def image_score(self, maps: Float[Tensor, "b h w"], /) -> Float[Tensor, " b"]:
        """Return one score a map."""
        ...


@runtime_checkable
class Supervised(Method, Protocol):
    """What the engine asks of a method that learns from defects: images and masks to train on."""

    def training_set(self, normal: ImageDataset, seen: ImageDataset | None, seed: int, /) -> Any:
        """Return samples by index: an image (3 h w) in [0, 1], and where it is defective (h w).

        `loss` takes batches of both in the place of features. Sample `i` belongs to slot
        `i % batch` of step `i // batch` and follows from `seed` and `i` alone; `source(i)` names
        the file that it was made from, and `missing` holds a sentence for each thing that was asked
        for and cannot be made.

        Args:
            normal: Images that train, normal ones.
            seen: Defects with masks; None where there are none.
            seed: Draws whatever is drawn.
        """
        ...
