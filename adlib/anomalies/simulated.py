"""Simulated anomalies: patches of foreign or shuffled texture, blended into a normal image."""

import numpy as np
from jaxtyping import Bool

from adlib.anomalies.perlin import perlin_mask
from adlib.anomalies.textures import Picture, Textures, distort, shuffled

BETA = (0.2, 0.8)  # how much of the image shows through; DiffusionAD (unofficial code: 0 to 0.8)
ATTEMPTS = 20  # before the last resort; ours
SMALLEST = 1e-4  # of the image, 7 pixels of 256 x 256: less is drawn again; ours

Mask = Bool[np.ndarray, "h w"]


def simulated(
    image: Picture,
    foreground: Mask,
    textures: Textures,
    rng: np.random.Generator,
    *,
    beta: tuple[float, float] = BETA,
    own: float = 0.0,
) -> tuple[Picture, Mask]:
    """A normal image with a simulated anomaly, and the mask of the pixels that changed.

    A Perlin mask, cut by the foreground, says where; a texture, or with the chance `own` the
    image's own tiles in drawn order, distorted before, says what; `blend` mixes. Where nothing of
    the mask lies on the foreground, or nothing changes, all is drawn again, and after `ATTEMPTS`
    times `last_resort` sees to it that the mask is not empty.

    Args:
        image: A normal image.
        foreground: Where anomalies may lie; nowhere counts as everywhere.
        textures: To draw from.
        rng: Draws everything.
        beta: Range of the share in which the image shows through.
        own: Chance in [0, 1] of the image's own tiles instead of a texture.
    Source: DiffusionAD, the next public code of PRN's first author; the paper's recipe is unknown.
    """
    size = image.shape[:2]
    if not foreground.any():
        foreground = np.ones(size, dtype=bool)
    least = max(1, round(SMALLEST * foreground.size))
    for _ in range(ATTEMPTS):
        mask = perlin_mask(rng, size) & foreground
        if np.count_nonzero(mask) < least:
            continue
        if rng.random() < own:
            source = shuffled(distort(image, rng), rng)
        else:
            source = distort(textures.draw(rng, size), rng)
        made = blend(image, source, mask, rng.uniform(*beta))
        changed = differing(made, image)
        if np.count_nonzero(changed) >= least:
            return made, changed
    return last_resort(image, foreground, rng)


def blend(image: Picture, source: Picture, mask: Mask, beta: float) -> Picture:
    r"""$x (1 - M) + (1 - \beta) M a + \beta M x$, with both in levels of 255; rounded.

    Equation :eq:`eq-blend`, chapter 8.

    Source: DiffusionAD and the unofficial code; the latter divides only $a$ by 255, so that its
        patches are nearly black.
    """
    made = image.copy()
    inside = np.flatnonzero(mask)
    x, a = (picture.reshape(-1, 3)[inside] for picture in (image, source))  # k 3
    made.reshape(-1, 3)[inside] = np.rint((1 - beta) * a.astype(np.float64) + beta * x)
    return made


def differing(a: Picture, b: Picture) -> Mask:
    """Pixels in which two images differ, in any channel."""
    differ = a != b  # h w 3
    return differ[..., 0] | differ[..., 1] | differ[..., 2]  # ten times faster than `any`


def last_resort(image: Picture, foreground: Mask, rng: np.random.Generator) -> tuple[Picture, Mask]:
    """A patch around a foreground point, every level in it moved by 128: certain to change."""
    h, w = image.shape[:2]
    y, x = divmod(int(rng.choice(np.flatnonzero(foreground))), w)
    down, right = max(1, h // 16), max(1, w // 16)  # an eighth of each side; ours
    mask = np.zeros((h, w), dtype=bool)
    mask[max(0, y - down) : y + down + 1, max(0, x - right) : x + right + 1] = True
    mask &= foreground
    made = image.copy()
    made[mask] ^= np.uint8(128)
    return made, mask
