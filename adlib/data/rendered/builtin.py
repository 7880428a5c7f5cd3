"""The built-in data set: made parts and surfaces with exact masks, rendered on demand, seeded."""

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np
from jaxtyping import Bool, Float, UInt8

from adlib.data.dataset import GOOD, DataSplits, ImageDataset, ImageRef, Sample
from adlib.data.rendered.fields import Rng
from adlib.data.rendered.glass import bottle
from adlib.data.rendered.labels import label
from adlib.data.rendered.optics import Camera, quantise
from adlib.data.rendered.parts import header, screw
from adlib.data.rendered.surfaces import board, denim, steel
from adlib.data.rendered.tablets import blister
from adlib.data.rendered.tiles import tile
from adlib.system.printable import closest

RECIPE = 1  # raise it with every change that moves a byte of an image: it enters the content hash
VISIBLE = 3.0  # levels of 255, before grain, from which a change belongs to the mask; ours
SMALLEST_AREA = 4e-4  # of the image: a defect that shows less (5 x 5 of 256 x 256) is drawn again
ATTEMPTS = 40
REMEMBERED = 512  # rendered samples, 128 MiB at 256 x 256: masks are asked for again and again

# Returns linear light. Draws its scene from one generator and its defect from another, so that the
# same scene can be had without the defect.
Scene = Callable[[Rng, int, str, Rng], Float[np.ndarray, "h w 3"]]

# what to call for a category, and its kinds of defect in the order in which the test shows them
SCENES: dict[str, tuple[Scene, tuple[str, ...]]] = {
    "blister": (blister, ("broken", "missing", "specks", "swapped", "wrong")),
    "board": (board, ("crack", "hole", "scratch", "stain")),
    "bottle": (bottle, ("bubble", "chip", "crack", "dirt")),
    "denim": (denim, ("cut", "pull", "mispick", "stain")),
    "header": (header, ("bent", "missing", "wrong", "bridge", "chip")),
    "label": (label, ("misprint", "scratch", "smear", "swapped", "torn")),
    "screw": (screw, ("thread", "scratch", "tip", "rust")),
    "steel": (steel, ("scratch", "dent", "pits", "fingerprint")),
    "tile": (tile, ("chip", "crack", "grout", "scratch", "swapped")),
}


def load_builtin(
    size: int = 256,
    train: int = 60,
    test: int = 40,
    seed: int = 0,
    categories: Sequence[str] | None = None,
) -> DataSplits:
    """Made images of four surfaces and five objects, with natural variation and exact masks.

    Every image follows from (seed, category, split, index) alone and is rendered when it is asked
    for, in memory; asking for more of them leaves the first ones as they are. In the test every
    second image is good; the others take turns at the category's kinds of defect.

    A mask is exact: the same scene is rendered with and without its defect, and the pixels that
    differ by more than a trace are the mask. Outside it both images are equal byte by byte, inside
    it every pixel differs.

    Three kinds of defect are logical: what is "swapped" on a blister, a label or a tiled wall is
    right in itself, and wrong only where it is.

    Args:
        size: Side of the square images in pixels.
        train: Normal images per category to train on.
        test: Images per category to test on, half of them good.
        seed: Another seed gives another data set of the same kind.
        categories: Of the names in `SCENES`; all nine by default.
    Raises:
        ValueError: A size or number makes no sense, or a category is unknown.
    Source: ours, after the kinds of objects and textures of MVTec AD (CVPR 2019).
    """
    if not 32 <= size <= 4096:
        raise ValueError(f"size must lie in 32..4096 pixels, got {size}")
    if train < 1 or test < 2:
        raise ValueError(f"expected train >= 1 and test >= 2, got train {train}, test {test}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    wanted = tuple(SCENES) if categories is None else tuple(categories)
    for name in wanted:
        if name not in SCENES:
            there = f"{', '.join(SCENES)}{closest(name, SCENES)}"
            raise ValueError(f"no built-in category {name!r}; there are: {there}")
    chosen = [name for name in SCENES if name in wanted]

    def images(split: str, count: int) -> ImageDataset:
        references = [_reference(c, split, i) for c in chosen for i in range(count)]
        read = partial(read_builtin, size=size, seed=seed)
        return ImageDataset(references, read, partial(recipe, size=size, seed=seed))

    return DataSplits(name="builtin", train=images("train", train), test=images("test", test))


def _reference(category: str, split: str, index: int) -> ImageRef:
    kinds = SCENES[category][1]
    defect = kinds[index // 2 % len(kinds)] if split == "test" and index % 2 else GOOD
    path = f"builtin/{category}/{split}/{defect}/{index:03d}"
    return ImageRef(path=path, category=category, defect=defect)


def recipe(reference: ImageRef, size: int, seed: int) -> bytes:
    """Stands for an image's content without rendering it: everything that the bytes follow from."""
    return f"{RECIPE} {size} {seed} {reference.path}".encode()


@lru_cache(maxsize=REMEMBERED)
def read_builtin(reference: ImageRef, size: int, seed: int) -> Sample:
    """Renders the image that a reference names; its arrays are shared, so they are read-only."""
    _, image, mask = render(reference, size, seed)
    image.flags.writeable = mask.flags.writeable = False
    about = {key: getattr(reference, key) for key in ("label", "category", "defect", "path")}
    return Sample(image=image, mask=mask, **about)


def render(
    reference: ImageRef, size: int, seed: int
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """The scene without its defect, with it, and the mask of all pixels that differ.

    The defective image is the clean one outside the mask, byte by byte: a change of less than
    `VISIBLE` levels, such as the last trace of a shadow, is left out of both.
    """
    draw = SCENES[reference.category][0]
    camera, levels = _exposure(reference, size, seed, draw, GOOD, 0)
    grain = camera.speckle(_stream(reference, seed, "grain", 0), levels)
    clean = quantise(levels + grain)
    image, mask = clean, np.zeros((size, size), dtype=bool)
    if not reference.label:
        return clean, image, mask
    for attempt in range(ATTEMPTS):
        _, flawed = _exposure(reference, size, seed, draw, reference.defect, attempt)
        image = quantise(flawed + grain)  # the same grain, so that only the defect differs
        mask = np.abs(flawed - levels).max(axis=2) > VISIBLE
        mask &= (image != clean).any(axis=2)  # values may meet where both are clipped
        if mask.mean() >= SMALLEST_AREA:
            break
    assert mask.any(), f"{reference.path} shows no defect in {ATTEMPTS} attempts"
    return clean, np.where(mask[..., None], image, clean), mask


def _exposure(
    reference: ImageRef, size: int, seed: int, draw: Scene, defect: str, attempt: int
) -> tuple[Camera, Float[np.ndarray, "h w 3"]]:
    """The camera, and the levels without grain of a scene with a defect or without."""
    camera = Camera.draw(_stream(reference, seed, "camera", 0))
    scene = _stream(reference, seed, "scene", 0)
    radiance = draw(scene, size, defect, _stream(reference, seed, "flaw", attempt))
    return camera, camera.develop(radiance)


def _stream(reference: ImageRef, seed: int, part: str, attempt: int) -> Rng:
    """Random numbers of their own for each part of each image."""
    _, category, split, _, index = reference.path.split("/")
    name = hashlib.sha256(f"{category}/{split}/{index}/{part}/{attempt}".encode()).digest()
    return np.random.default_rng(np.random.SeedSequence([seed, int.from_bytes(name, "big")]))
