"""Images to train a supervised detector on: normal, seen defects, and anomalies made of both.

A reconstruction: the abstract of PRN names anomalies of seen and of unseen appearance, and no more
of its recipe was recovered. DiffusionAD is the next public code of its first author, `unofficial
code` a re-implementation by others; where they are silent or wrong, a choice is ours and says so.
"""

from dataclasses import dataclass
from functools import lru_cache
from operator import index as to_int
from typing import SupportsIndex

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from adlib.anomalies.composition import KINDS, AnomalyConfig, BatchComposition, Kind, share_out
from adlib.anomalies.extended import extended
from adlib.anomalies.foreground import WHOLE, Foreground, estimate, spread
from adlib.anomalies.simulated import simulated
from adlib.anomalies.textures import Textures
from adlib.anomalies.transformed_images import KEPT, ArrayCache, TransformedImages
from adlib.data.dataset import ImageDataset
from adlib.data.transform import ImageTransform

__all__ = ["AnomalyConfig", "Plan", "TrainingSet"]

OWN = 0.5  # chance of the image's own tiles instead of a texture, on objects; DiffusionAD
LENGTH = 2**40  # samples: more than any run asks for
ORDER, PLAN, PIXELS = 1, 2, 3  # streams of random numbers


@dataclass(frozen=True)
class Plan:
    """What a sample is made of: positions in `normal` and `seen`, None where it needs none."""

    kind: Kind
    normal: int | None = None
    seen: int | None = None


class TrainingSet(Dataset[tuple[Tensor, Tensor]]):
    """Transformed images in [0, 1] with their masks; sample i is place i % batch of a step.

    All of a sample follows from the seed and its index, whatever was asked for before, and by which
    process. Normal images come each once before one comes again, and so do seen ones. The share of
    a kind that is off, or that cannot be made without seen defects, goes to the others.

    Args:
        normal: Normal images.
        seen: Defects with masks; None or no images leaves simulated anomalies only.
        frame: How images become input.
        batch: Samples of a step.
        seed: Draws everything.
        recipe: What to make.
    Attributes:
        foregrounds: What was estimated, by category.
        missing: What is missing though it was asked for, and where its share went, a sentence
            each: there is no seen defect, or one lies outside the frame.
    Raises:
        FileNotFoundError: There are no textures.
        ValueError: There is nothing to make anomalies of, a seen image has no mask or shows no
            defect, a normal one is a defect, or textures cannot be read.
    """

    def __init__(
        self,
        normal: ImageDataset,
        seen: ImageDataset | None,
        *,
        frame: ImageTransform,
        batch: int,
        seed: int,
        recipe: AnomalyConfig,
    ) -> None:
        if len(normal) == 0:
            raise ValueError("a training set needs normal images, got none")
        if normal.labels.any():
            defect = next(r for r in normal.references if r.label)
            raise ValueError(f"expected normal images, but {defect.path} is a defect")
        if batch < 1 or seed < 0:
            raise ValueError(f"expected batch >= 1 and seed >= 0, got batch {batch}, seed {seed}")
        self.seed, self.recipe, self.size = seed, recipe, frame.size
        self.normal = TransformedImages(normal, frame)
        self.seen = TransformedImages(normal.select([]) if seen is None else seen, frame)
        names = np.array([r.category for r in normal.references])
        self._of = {name: np.flatnonzero(names == name) for name in normal.categories}
        self._visible, lost = self._look_at_seen() if recipe.seen or recipe.extended else ([], [])
        shares, moved = share_out(recipe, bool(self._visible))
        self.composition = BatchComposition(batch, shares)
        defects = recipe.seen or recipe.extended
        self.missing = (*lost, *(moved if defects and not self._visible else ()))
        made = {kind for kind, share in zip(KINDS, shares, strict=True) if share}
        self.textures = Textures(recipe.textures) if "simulated" in made else None
        looks = (recipe.foreground or recipe.self_augmentation) and made & {"extended", "simulated"}
        self.foregrounds = {
            name: estimate([self.normal.pixels(int(mine[i])) for i in spread(len(mine))])
            if looks
            else WHOLE
            for name, mine in self._of.items()
        }
        self._found = ArrayCache(KEPT)

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(
        self, index: SupportsIndex
    ) -> tuple[Float32[Tensor, "3 h w"], Bool[Tensor, "h w"]]:
        image, mask = self.make(to_int(index))
        scaled = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / np.float32(255)
        return torch.from_numpy(scaled), torch.from_numpy(mask.copy())  # the kept one is read-only

    def make(self, index: int) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
        """The sample as bytes, before it is scaled, and the mask of its anomalous pixels."""
        plan = self.plan(index)
        seen = None
        if plan.seen is not None:
            seen = self.seen.pixels(plan.seen), self.seen.mask(plan.seen)
            if plan.normal is None:
                return seen
        assert plan.normal is not None, "a sample is planned with an image"
        image = self.normal.pixels(plan.normal)
        if plan.kind == "normal":
            return image, np.zeros(self.size, dtype=bool)
        rng = np.random.default_rng([self.seed, PIXELS, index])
        foreground = self.foreground(plan.normal)
        if seen is not None:
            return extended(image, *seen, foreground, rng)
        assert self.textures is not None, "without textures no sample is planned as simulated"
        is_object = self._rule(plan.normal).kind == "object"
        own = OWN if self.recipe.self_augmentation and is_object else 0.0
        return simulated(image, foreground, self.textures, rng, beta=self.recipe.beta, own=own)

    def plan(self, index: int) -> Plan:
        """What the sample of an index is made of; decodes nothing."""
        if not 0 <= index < LENGTH:
            raise IndexError(f"samples are numbered from 0 to {LENGTH - 1}, got {index}")
        kind, number = self.composition.kind_of(index)
        if kind == "seen":
            return Plan(kind, seen=self._visible[self._nth(kind, number, len(self._visible))])
        if kind == "extended":
            rng = np.random.default_rng([self.seed, PLAN, index])
            seen = self._visible[int(rng.integers(len(self._visible)))]
            alike = self._of[self.seen.references[seen].category]
            return Plan(kind, int(rng.choice(alike)), seen)
        return Plan(kind, self._nth(kind, number, len(self.normal)))

    def source(self, index: int) -> str:
        """Kind and files of a sample, for messages."""
        plan = self.plan(index)
        used = ((self.seen, plan.seen), (self.normal, plan.normal))
        files = [images.references[i].path for images, i in used if i is not None]
        return f"{plan.kind}: {' in '.join(files)}"

    def foreground(self, i: int) -> Bool[np.ndarray, "h w"]:
        """Where anomalies may lie in normal image i; read-only."""
        if not self.recipe.foreground:
            return np.ones(self.size, dtype=bool)
        return self._found.get(i, lambda: self._rule(i).mask(self.normal.pixels(i)))

    def _rule(self, i: int) -> Foreground:
        return self.foregrounds[self.normal.references[i].category]

    def _nth(self, kind: Kind, number: int, n: int) -> int:
        """Which of n images the sample is made of that is `number` among its kind."""
        lap, place = divmod(number, n)
        return int(_order(self.seed, KINDS.index(kind), lap, n)[place])

    def _look_at_seen(self) -> tuple[list[int], list[str]]:
        """Which seen defects lie within the frame, and a note on those that do not."""
        visible, lost = [], []
        for i, reference in enumerate(self.seen.references):
            if not reference.label:
                raise ValueError(f"expected seen defects, but {reference.path} is normal")
            if reference.category not in self._of:
                raise ValueError(
                    f"{reference.path}: no normal image of its category {reference.category!r}; "
                    f"there are: {', '.join(self._of)}"
                )
            (visible if self.seen.mask(i).any() else lost).append(i)
        if not lost:
            return visible, []
        first = self.seen.references[lost[0]].path
        return visible, [f"{len(lost)} seen defects lie outside the frame's cut, such as {first}"]


@lru_cache(maxsize=16)
def _order(seed: int, stream: int, lap: int, n: int) -> Int[np.ndarray, " n"]:
    """The order in which n images come in one lap."""
    return np.random.default_rng([seed, ORDER, stream, lap]).permutation(n)
