"""Arrays to figures. Nothing here shows or saves; the caller does."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, FigureBase
from scipy.ndimage import distance_transform_edt

HEAT = "inferno"  # perceptually even and readable by the colour-blind; hot is anomalous
NORMAL, DEFECT = "#0072B2", "#D55E00"  # Okabe and Ito's blue and vermilion
OUTLINE = "#00E5FF"  # of a true defect; not in the heat map's range of colours
MARGIN = 0.014  # of the longer side, between a defect and its outline; ours


def overlay(
    image: UInt8[np.ndarray, "h w 3"],
    heat: Float[np.ndarray, "h w"],
    scale: tuple[float, float],
    strength: float = 0.65,
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay a heat map over its image.

    The map's value on the model's one scale sets both colour and opacity, so that a normal image
    never turns red by being stretched to its own extremes. `scale` holds the values that count as
    cold and as hot, the same for all images of a model; `strength` is the opacity of the hottest.
    """
    low, high = scale
    level = np.clip((heat - low) / (high - low), 0, 1)  # h w
    colour = colormaps[HEAT](level)[..., :3]  # h w 3
    opacity = strength * level[..., None]
    gray = image.mean(axis=2, keepdims=True).repeat(3, axis=2) / 255
    mixed = (1 - opacity) * gray + opacity * colour
    return (255 * mixed + 0.5).astype(np.uint8)


def outline(axes: Axes, mask: Bool[np.ndarray, "h w"] | None) -> None:
    """Draw a line around a true defect, so far from it that it hides nothing and joins specks."""
    if mask is not None and mask.any():
        away = np.asarray(distance_transform_edt(~mask))  # from the defect, in pixels
        margin = MARGIN * max(mask.shape)
        if away.max() > margin:
            axes.contour(away, levels=[margin], colors=[OUTLINE], linewidths=1.2)


def detections(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    maps: Sequence[Float[np.ndarray, "_ _"]],
    scale: tuple[float, float],
    titles: Sequence[str],
    masks: Sequence[Bool[np.ndarray, "_ _"] | None] | None = None,
    columns: int = 2,
) -> Figure:
    """Show pairs of photograph and heat map on one scale, `columns` pairs in a row.

    The maps have their photographs' sizes, `scale` is that of `overlay`, and `masks` are true
    defects, drawn as an outline on the photograph.
    """
    rows = -(-len(images) // columns)
    tallest = max(image.shape[0] / image.shape[1] for image in images)
    height = 1.7 * tallest + 0.4  # of a row, with its titles
    figure = Figure(figsize=(1.7 * 2 * columns, height * rows), layout="constrained")
    grid = figure.subplots(rows, 2 * columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for i, (image, heat) in enumerate(zip(images, maps, strict=True)):
        row, column = divmod(i, columns)
        left, right = grid[row, 2 * column], grid[row, 2 * column + 1]
        left.imshow(image)
        outline(left, masks[i] if masks is not None else None)
        right.imshow(overlay(image, heat, scale))
        left.set_title(titles[i], fontsize=12, loc="left")  # legible at half this width, too
    mapped = ScalarMappable(Normalize(*scale), HEAT)
    _bar(figure, grid, mapped, "anomaly score", 11, pad=0.02, extend="max")
    return figure


def _bar(
    figure: FigureBase, grid: np.ndarray, mapped: ScalarMappable, label: str, size: int, **more: Any
) -> None:
    """Lay a bar of the colours beside a grid of axes."""
    bar = figure.colorbar(mapped, ax=grid[:, -1].tolist(), fraction=0.06, **more)
    bar.set_label(label, fontsize=size)
    bar.ax.tick_params(labelsize=size - 1)


def bare(axes: Axes) -> None:
    """Take ticks and frame away from around a picture."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def token_colours(
    tokens: Sequence[Float[np.ndarray, "n c"]], grid: tuple[int, int]
) -> list[Float[np.ndarray, "rows columns 3"]]:
    """Paint token maps so that alike tokens are alike in colour.

    The three principal components of the first map's tokens become red, green and blue; the others
    are painted with the same axes and range, so that a difference in colour is a difference in
    features. Only directions count, as in the cosine distance: a token's length is divided out.
    The n tokens of a map fill the grid of rows and columns.
    """
    units = [t / np.linalg.norm(t, axis=1, keepdims=True) for t in tokens]  # n c
    centre = units[0].mean(axis=0)
    axes = np.linalg.svd(units[0] - centre, full_matrices=False)[2][:3]  # 3 c
    projected = [(u - centre) @ axes.T for u in units]  # n 3
    low, high = np.quantile(projected[0], [0.02, 0.98], axis=0)
    return [np.clip((p - low) / (high - low), 0, 1).reshape(*grid, 3) for p in projected]


def token_maps(
    maps: Sequence[Float[np.ndarray, "_ _"] | Shaped[np.ndarray, "_ _ 3"]],
    titles: Sequence[str],
    *,
    columns: int = 4,
    scale: tuple[float, float] | None = None,
    colours: str = HEAT,
    label: str = "",
    ring: tuple[int, int] | None = None,
    figure: FigureBase | None = None,
) -> FigureBase:
    """Lay maps of one number a token beside each other, and pictures between them.

    Args:
        maps: Numbers on a grid of tokens, or pictures (h, w, 3), which are shown as they are.
        titles: One short line for each.
        columns: Maps in a row.
        scale: Cold and hot for all maps, with a bar beside them; without, each map has its own
            range, which stands below it.
        colours: A matplotlib colour map; `HEAT` is kept for anomaly maps.
        label: Of the bar.
        ring: Row and column of a token to mark in each map.
        figure: Where to draw; None makes a figure.
    """
    rows = -(-len(maps) // columns)
    figure = figure or Figure(figsize=(1.6 * columns, 1.95 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    titled = list(zip(maps, titles, strict=True))
    for axes, (each, title) in zip(grid.flat, titled, strict=False):
        low, high = scale or (float(each.min()), float(each.max()))
        axes.imshow(each, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
        axes.set_title(title, fontsize=10)
        if each.ndim == 2 and scale is None:
            axes.set_xlabel(f"{low:.2g} to {high:.2g}", fontsize=9)
        if each.ndim == 2 and ring is not None:
            axes.plot(ring[1], ring[0], "o", markersize=9, fillstyle="none", color=OUTLINE)
    for i, axes in enumerate(grid.flat):
        bare(axes)
        axes.set_visible(i < len(maps))
    if scale is not None:
        _bar(figure, grid, ScalarMappable(Normalize(*scale), colours), label, 9)
    return figure


def score_histogram(
    axes: Axes,
    scores: Float[np.ndarray, " n"],
    labels: Bool[np.ndarray, " n"],
    threshold: float | None = None,
) -> None:
    """Show the image scores of normal and defective images, and the threshold between them."""
    bins = np.linspace(scores.min(), scores.max(), 40).tolist()
    axes.hist(scores[~labels], bins=bins, color=NORMAL, alpha=0.75, label="normal")
    axes.hist(scores[labels], bins=bins, color=DEFECT, alpha=0.6, label="defective", hatch="//")
    if threshold is not None:
        axes.axvline(threshold, color="black", linestyle="--", linewidth=1.2, label="threshold")
    axes.set(xlabel="image score", ylabel="images")
    axes.legend(frameon=False, fontsize=8)


def operating_curve(
    axes: Axes,
    scores: Float[np.ndarray, " n"],
    labels: Bool[np.ndarray, " n"],
    decided: Mapping[str, Any],
) -> None:
    """Show, for every threshold, which share of the defects it finds at which false-alarm rate.

    Args:
        axes: Where to draw.
        scores: Image scores.
        labels: True for defective ones, of which there is one at least, as of good ones.
        decided: What the shipped threshold does, as `adlib.engine.decisions.decision_row` says it;
            it is marked with its intervals.
    """
    from sklearn.metrics import roc_curve

    false, found, _ = roc_curve(labels, scores, drop_intermediate=False)
    axes.plot(100 * false, 100 * found, color="0.4", label="every threshold")
    x, y = (100 * decided[name] for name in ("false_alarm_rate", "detection_rate"))
    sides = [np.abs(100 * np.array(decided[f"{name}_interval"])[:, None] - at) for name, at in
             (("false_alarm_rate", x), ("detection_rate", y))]  # fmt: skip
    axes.errorbar(x, y, sides[1], sides[0], "o", color="black", label="the shipped threshold, 95 %")
    at_95 = 100 * decided["false_alarm_rate_at_95"]
    axes.axhline(95, color="0.8", linestyle=":", zorder=0)
    axes.plot(at_95, 95, "D", color=DEFECT, label="95 % found")
    axes.set(xlabel="good images called defective, %", ylabel="defects found, %")
    axes.set(xlim=(-2, 102), ylim=(-2, 102))
    axes.legend(frameon=False, fontsize=8, loc="lower right")
