"""Training images that are strange to the rest of their category, and so perhaps not normal.

Each image is scored by a PatchCore whose memory holds the patches of all *other* images (leave one
out), so a defect that slipped into the folder cannot vouch for itself. Two alike ones can vouch for
each other.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from adlib.data.dataset import ImageDataset
from adlib.engine.features import cached_features
from adlib.engine.scoring import score_features
from adlib.methods import PatchCore, PatchCoreConfig
from adlib.system.hardware import choose_device, choose_dtype
from adlib.system.progress import track

MEMORY = 50_000  # patches of a category that are compared with, 150 MB at width 768; ours
SHOWN = 24  # images of a category whose heat maps are kept, the first by rank; ours
MAD = 1.4826  # standard deviations of a normal distribution in one median absolute deviation


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """One training image, and how strange it is."""

    index: int  #: in the images that were ranked
    path: str
    category: str
    rank: int  #: in its category, 1 for the strangest
    score: float  #: as PatchCore's, from the patches of all other images of the category
    deviations: float  #: robust standard deviations above the median score; a rank aid, no test
    median: float  #: of the category's scores
    scale: tuple[float, float]  #: cold and hot end of the category's heat maps
    heat: Float[np.ndarray, "h w"] | None  #: the map, of the first `SHOWN` by rank


def find_suspects(
    images: ImageDataset,
    config: PatchCoreConfig | None = None,
    *,
    device: str | torch.device | None = None,
    precision: str = "auto",
) -> list[Suspect]:
    """Rank n images of each category by how strange they are to the others.

    In memory are at most `MEMORY` patches, or one an image if that is more. Where a category has
    more, each image gives equally many, drawn at random. A greedy coreset would not do: of two
    alike patches it keeps one, whose own image is then left without the other. A category takes
    2 n t m D FLOPs for t patches of width D an image and m in memory.

    Args:
        images: Supposed to be normal; features come from the cache that training uses.
        config: Encoder, size and patches. Defaults to PatchCore's.
        device: Defaults to the GPU if there is one.
        precision: Of the encoder, as in `fit`.
    Returns:
        All images, category by category, the strangest first.
    Raises:
        ValueError: There is no image, or only one of a category; names it.
    Source: the leave-one-out use is ours; score and patches as in PatchCore.
    """
    for category in images.categories or ("the data set",):
        count = sum(r.category == category for r in images.references)
        if count < 2:
            raise ValueError(
                f"{category}: expected at least 2 training images to compare with each other, got "
                f"{count}"
            )
    method, place = PatchCore(config), choose_device(device)
    dtype = choose_dtype(precision, place)
    features = cached_features(method.to(place), images, device=place, dtype=dtype)
    found: list[Suspect] = []
    for category in images.categories:
        mine = [i for i, r in enumerate(images.references) if r.category == category]
        generator, tokens = torch.Generator().manual_seed(0), features.shape[2]
        each = max(1, min(tokens, MEMORY // len(mine)))
        memory = torch.empty(len(mine) * each, method.memory.shape[1], device=place)
        for k, i in enumerate(mine):
            drawn = torch.randperm(tokens, generator=generator)[:each]
            patches = method.patches(features[i : i + 1].to(place))[0]  # t D
            memory[k * each : (k + 1) * each] = patches[drawn.to(place)]
        scores, colds = np.empty(len(mine)), np.empty(len(mine))
        heats: dict[int, np.ndarray] = {}  # of the strangest so far
        for k, i in enumerate(track(mine, f"compare {category}", unit="image")):
            method.memory = torch.cat([memory[: k * each], memory[(k + 1) * each :]])
            maps, score = score_features(method, features[i : i + 1], dtype)
            scores[k], colds[k], heats[k] = score[0], np.median(maps[0]), maps[0]
            if len(heats) > SHOWN:
                del heats[min(heats, key=lambda j: (scores[j], -j))]
        middle, cold = float(np.median(scores)), float(np.median(colds))
        gap, spread = scores - middle, MAD * float(np.median(np.abs(scores - middle)))
        with np.errstate(divide="ignore", invalid="ignore"):  # where most scores are equal
            deviations = np.where(gap == 0, 0.0, gap / spread)
        order = np.argsort(-scores, kind="stable").tolist()
        found += [
            Suspect(
                index=mine[k],
                path=images.references[mine[k]].path,
                category=category,
                rank=rank,
                score=float(scores[k]),
                deviations=float(deviations[k]),
                median=middle,
                scale=(cold, cold + 2 * max(middle - cold, 1e-6)),
                heat=heats.get(k),
            )
            for rank, k in enumerate(order, 1)
        ]
    return found
