"""Which mask belongs to which image: found by name, never by order."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from adlib.data.dataset import ImageRef


def pair(
    images: Sequence[ImageRef], masks: Sequence[Path], truth: Path, *, every: bool
) -> list[ImageRef]:
    """The references with their masks, found by name: STEM_mask.* or STEM.*, never by order.

    Masks lie in `truth/DEFECT`, or right in `truth` for a plain folder. With `every`, each
    defective image needs one.

    Raises:
        FileNotFoundError: A mask has no image, or with `every` a defective image no mask.
        ValueError: Two masks fit one image, or one mask two images.
    """
    unused = {mask.with_suffix(""): mask for mask in masks}
    if len(unused) < len(masks):
        twice = next(m for m in masks if unused[m.with_suffix("")] != m)
        raise ValueError(f"{twice} and {unused[twice.with_suffix('')]} are masks of one name")
    paired, missing = [], []
    taken: dict[Path, str] = {}
    for image in images:
        place = truth / image.defect if every else truth
        stem = place / Path(image.path).stem
        names = [stem.with_name(f"{stem.name}_mask"), stem]
        if stem in taken and (image.label or not every):
            raise ValueError(
                f"{taken[stem]} and {image.path} have one name, so a mask fits both; rename one"
            )
        taken[stem] = image.path
        found = [unused.pop(name) for name in names if name in unused]
        if len(found) > 1:
            raise ValueError(f"{image.path} has two masks, {found[0]} and {found[1]}; remove one")
        if image.label and not found:
            missing.append(f"{names[0]}.png")
        # a normal image's mask, which some sets have, says nothing: all False is known already
        paired.append(replace(image, mask=str(found[0])) if found and image.label else image)
    if missing and every:
        defective = sum(image.label for image in images)
        raise FileNotFoundError(
            f"{len(missing)} of {defective} defective images have no mask, the first mask missing "
            f"is {missing[0]}; remove {truth} to go without masks"
        )
    if unused:
        first = min(unused.values())
        raise FileNotFoundError(
            f"{len(unused)} of {len(masks)} masks have no image, the first is {first}; a mask is "
            "named STEM_mask or STEM after its image"
        )
    return paired
