"""One image that is called good and defective, also where it was saved once more."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from adlib.data.dataset import DataSplits, ImageRef
from adlib.data.image_io import thumbnail

SIDE = 32  # pixels of the thumbnails that are compared first
FINE = 128  # and of those that decide
# The largest difference of two thumbnails in gray values, and the least correlation of their fine
# structure, that make one image of two; ours. Saved as JPEG (quality 30 to 95) or WebP, or at half
# the size, images of ball_screw, cookie, deeppcb, screw, the solar cells and the built-in set came
# to at most 5.8 and at least 0.91; their nearest pairs of a good and a bad image are 8.4 apart.
# Photographs of fine textures are nearer than 6, and correlate by 0.03.
NEAR, ALIKE = 6.0, 0.5


def contradictions(data: DataSplits) -> list[str]:
    """A sentence about images that a category of files has among its good and its bad ones.

    Decodes every image once, a JPEG only as far as a thumbnail needs.
    """
    with_bad = {r.category for r in data.references if r.label}
    chosen = [r for r in data.references if r.category in with_bad]
    shown = tqdm(chosen, desc="comparing images", delay=2, leave=False)
    return describe_pairs(both_labels(chosen, {r.path: thumbnail(r.path, SIDE) for r in shown}))


def describe_pairs(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """A sentence about images with both labels, or none."""
    if not pairs:
        return []
    many = "images are" if len(pairs) > 1 else "image is"
    good, bad = pairs[0]
    return [
        f"{len(pairs)} {many} called good and defective at once, so one label is wrong: {good} and "
        f"{bad} show the same"
    ]


def both_labels(
    references: Iterable[ImageRef], thumbnails: dict[str, Float[np.ndarray, "s s"]]
) -> list[tuple[str, str]]:
    """Paths of a good and a defective image of one category that are the same, for each defect.

    Args:
        references: Images of files.
        thumbnails: Of their paths; those without one are passed over.
    """
    of: dict[tuple[str, bool], list[str]] = {}
    for reference in references:
        if reference.path in thumbnails:
            of.setdefault((reference.category, reference.label), []).append(reference.path)
    pairs = []
    fine: dict[str, np.ndarray] = {}
    for (category, label), bad in of.items():
        good = of.get((category, False), []) if label else []
        if not good:
            continue
        known = np.stack([thumbnails[path] for path in good])  # n s s
        coarse = _blocks(known)  # n 4 4: no further apart than the thumbnails are
        for path in bad:
            near = np.abs(coarse - _blocks(thumbnails[path][None])).max(axis=(1, 2)) <= NEAR
            for i in np.flatnonzero(near):
                if np.abs(known[i] - thumbnails[path]).max() <= NEAR and _same(good[i], path, fine):
                    pairs.append((good[i], path))
                    break
    return pairs


def _blocks(images: Float[np.ndarray, "n s s"]) -> Float[np.ndarray, "n 4 4"]:
    """Means over sixteen squares."""
    side = images.shape[1] // 4
    return images.reshape(len(images), 4, side, 4, side).mean(axis=(2, 4))


def _same(one: str, other: str, fine: dict[str, np.ndarray]) -> bool:
    """Whether the fine structure of two images agrees."""
    for path in (one, other):
        if path not in fine:
            fine[path] = _fine(path)
    a, b = fine[one], fine[other]
    norms = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return bool(np.array_equal(a, b)) or float((a * b).sum()) >= ALIKE * max(norms, 1.0)


def _fine(path: str) -> Float[np.ndarray, "s s"]:
    """A thumbnail less its means over squares of eight pixels."""
    image = thumbnail(path, FINE)
    squares = image.reshape(FINE // 8, 8, FINE // 8, 8)
    return (squares - squares.mean(axis=(1, 3), keepdims=True)).reshape(FINE, FINE)
