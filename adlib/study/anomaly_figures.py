"""Pictures of images made to train on, and of the foregrounds they were made within.

Nothing here shows or saves; the caller does.
"""

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
from jaxtyping import Bool, UInt8
from matplotlib.figure import Figure, FigureBase

from adlib.anomalies.foreground import Foreground, estimate, spread
from adlib.anomalies.transformed_images import transform_pixels
from adlib.data.dataset import ImageDataset
from adlib.data.transform import ImageTransform
from adlib.figures import outline

DIMMED = 0.3  # how much of the ground is left; ours
WIDTH = 6.6  # inches, which fit a page; ours


def pictures(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"] | Bool[np.ndarray, "_ _"] | None],
    titles: Sequence[str],
    *,
    columns: int = 4,
    outlines: Sequence[Bool[np.ndarray, "_ _"] | None] = (),
    figure: FigureBase | None = None,
) -> FigureBase:
    """Lay images and masks beside each other.

    Args:
        images: n images in sRGB, or masks, which are white where they are True; None leaves a
            place empty.
        titles: One short line for each.
        columns: Images in a row.
        outlines: Masks whose border is drawn on the images.
        figure: Where to draw; None makes a figure.
    """
    rows = -(-len(images) // columns)
    side = min(1.6, WIDTH / columns)
    figure = figure or Figure(figsize=(side * columns, (side + 0.3) * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, image, title, mask in zip_longest(grid.flat, images, titles, outlines):
        axes.set(xticks=[], yticks=[], visible=image is not None)
        axes.spines[:].set_visible(False)
        if image is not None:
            axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set_title(title, fontsize=9)
        outline(axes, mask)
    return figure


def samples(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    masks: Sequence[Bool[np.ndarray, "_ _"]],
    titles: Sequence[str],
    *,
    columns: int = 4,
    figure: FigureBase | None = None,
) -> FigureBase:
    """Lay samples beside each other, each with its mask below it, so that nothing is drawn over.

    Args:
        images: n images in sRGB.
        masks: Their anomalous pixels.
        titles: One short line for each.
        columns: Samples in a row.
        figure: Where to draw; None makes a figure.
    """
    rows = -(-len(images) // columns)
    laid: list[np.ndarray | None] = [None] * (2 * rows * columns)
    words = [""] * len(laid)
    for i, title in enumerate(titles):
        place = i + columns * (i // columns)  # in every second row
        laid[place], laid[place + columns], words[place] = images[i], masks[i], title
    return pictures(laid, words, columns=columns, figure=figure)


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
    rows = np.atleast_1d(np.array(figure.subfigures(len(names), 1), dtype=object))
    for row, name in zip(rows, names, strict=True):
        mine = images.of(name)
        looked_at = [transform_pixels(mine[i].image, frame) for i in spread(len(mine))]
        rule = estimate(looked_at)
        shown = [dim(looked_at[i], rule) for i in spread(len(looked_at), number)]
        pictures(shown, [""] * len(shown), columns=number, figure=row)
        row.suptitle(f"{name}: {rule.describe()}", fontsize=9, x=0.01, ha="left")
    return figure


def dim(image: UInt8[np.ndarray, "h w 3"], rule: Foreground) -> UInt8[np.ndarray, "h w 3"]:
    """Darken what a rule takes for ground."""
    light = np.where(rule.mask(image), 1.0, DIMMED)[..., None]
    return np.rint(image * light).astype(np.uint8)
