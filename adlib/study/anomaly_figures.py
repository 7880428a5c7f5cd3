"""Pictures of images made to train on, and of the foregrounds they were made within."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from matplotlib.figure import Figure, FigureBase

from adlib.anomalies.foreground import estimate, spread
from adlib.anomalies.transformed_images import transform_pixels
from adlib.data.dataset import ImageDataset
from adlib.data.transform import ImageTransform
from adlib.figures import outline, token_maps

DIMMED = 0.3  # how much of the ground is left; ours
WIDTH = 6.6  # inches, which fit a page; ours


def pictures(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"] | Bool[np.ndarray, "_ _"]],
    titles: Sequence[str],
    *,
    columns: int = 4,
    outlines: Sequence[Bool[np.ndarray, "_ _"] | None] = (),
    figure: FigureBase | None = None,
) -> FigureBase:
    """Lay images and masks beside each other.

    Args:
        images: n images in sRGB, or masks, which are white where they are True.
        titles: One short line for each.
        columns: Images in a row.
        outlines: Masks whose border is drawn on the images.
        figure: Where to draw; None makes a figure.
    """
    side, rows = min(1.6, WIDTH / columns), -(-len(images) // columns)
    figure = figure or Figure(figsize=(side * columns, (side + 0.3) * rows), layout="constrained")
    shown = [np.stack([255 * np.uint8(x)] * 3, axis=2) if x.ndim == 2 else x for x in images]
    drawn: Any = token_maps(shown, titles, columns=columns, figure=figure)
    for axes, mask in zip_longest(drawn.axes, outlines):
        axes.title.set_fontsize(9)
        outline(axes, mask)
    return drawn


def foreground_check(images: ImageDataset, frame: ImageTransform, number: int = 4) -> Figure:
    """The picture to check foregrounds by: what is taken for ground is dimmed.

    Args:
        images: Normal images of one or more categories; a row each.
        frame: How they become input.
        number: Images of each category; they and those that the estimate looks at are spread
            evenly over the category.
    """
    names = images.categories
    height = (WIDTH / number + 0.35) * len(names)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    rows = figure.subfigures(len(names), 1, squeeze=False)[:, 0]
    for row, name in zip(rows, names, strict=True):
        mine = images.of(name)
        looked_at = [transform_pixels(mine[i].image, frame) for i in spread(len(mine))]
        rule = estimate(looked_at)
        shown = []
        for image in (looked_at[i] for i in spread(len(looked_at), number)):
            light = np.where(rule.mask(image), 1.0, DIMMED)[..., None]
            shown.append(np.rint(image * light).astype(np.uint8))
        pictures(shown, [""] * len(shown), columns=number, figure=row)
        row.suptitle(f"{name}: {rule.describe()}", fontsize=9, x=0.01, ha="left")
    return figure
