"""What stands between a model's maps and a number: the evaluation protocol, as an object.

The same maps give other numbers under other mask rules, sizes, crops and thresholds, so a result is
stored with the protocol that made it, and the rules of other projects are presets.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
    """How maps and masks become metrics. The defaults change neither and use every threshold."""

    name: str = "as-is"
    size: tuple[int, int] | None = None  # h, w at which pixels are scored; None: the map's own
    crop: tuple[int, int] | None = None  # (side resized to, side of the centre kept) before `size`
    mask_filter: Literal["area", "bilinear", "nearest"] = "area"  # how a mask is made smaller
    mask_rule: Literal["any", "half"] = "half"  # defective where the resized mask is > 0 or > 0.5
    smoothing: tuple[float, int] | None = None  # Gaussian's sigma and odd side, in pixels of `size`
    border: Literal["zero", "edge"] = "edge"  # what the Gaussian sees outside the map
    image_score: Literal["max", "mean_top", "method"] = "mean_top"  # "method": its own rule
    top: float | int = 0.01  # mean_top: a share of the pixels (float) or their number (int)
    connectivity: Literal[4, 8] = 8
    aupro_limit: float = 0.3
    ap_form: Literal["step", "trapezoid"] = "step"
    thresholds: Literal["all", "score", "rank"] = "all"  # AUPRO: every score, or equal steps in ...
    steps: int = 0  # how many steps, unless "all"
    binned_ranking: bool = False  # pixel AUROC and AP from the same steps, by trapezoids
    aupro_end: Literal["interpolate", "rescale"] = "interpolate"  # at the limit, or last below it

    def __post_init__(self) -> None:
        if self.smoothing is not None and (self.smoothing[1] % 2 == 0 or self.smoothing[0] <= 0):
            raise ValueError(f"smoothing needs sigma > 0 and an odd kernel, got {self.smoothing}")
        if self.crop is not None and not 0 < self.crop[1] <= self.crop[0]:
            raise ValueError(f"crop keeps at most the side resized to, got {self.crop}")
        if not 0 < self.aupro_limit <= 1:
            raise ValueError(f"aupro_limit must lie in (0, 1], got {self.aupro_limit}")
        if self.top <= 0 or (isinstance(self.top, float) and self.top > 1):
            raise ValueError(
                f"top must be a share in (0, 1] or a count of at least 1, got {self.top}"
            )
        if (self.thresholds == "all") != (self.steps == 0):
            raise ValueError(f"{self.steps} steps do not fit thresholds={self.thresholds!r}")
        if self.binned_ranking and self.thresholds != "score":
            raise ValueError('binned_ranking needs thresholds="score"')

    def to_json(self) -> dict[str, Any]:
        """A plain dict for the record, with lists for tuples, as JSON has them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


# guojiajeremy/Dinomaly: dataset.get_data_transforms, utils.evaluation_batch, compute_pro.
_DINOMALY = EvaluationProtocol(
    name="dinomaly",
    size=(256, 256),
    crop=(448, 392),
    mask_filter="bilinear",
    mask_rule="any",
    smoothing=(4.0, 5),
    border="zero",
    thresholds="score",
    steps=200,
    aupro_end="rescale",
)
PROTOCOLS: dict[str, EvaluationProtocol] = {
    # Whole image, so that no defect at a border is lost (ours); all thresholds.
    "ours": EvaluationProtocol(
        name="ours",
        size=(256, 256),  # Dinomaly, INP-Former and anomalib score at 256
        mask_filter="area",  # exact coverage of each pixel; ours
        mask_rule="half",  # INP-Former: a pixel belongs to the class that covers most of it
        smoothing=(4.0, 5),  # Dinomaly
        border="edge",  # ours: zeros would calm the border of every map
        image_score="method",  # ours: each as its paper has it; Pro-AD's is Dinomaly's top 1 %
    ),
    "dinomaly": _DINOMALY,
    # luow23/INP-Former: as Dinomaly, masks > 0.5; AUROC, AP and AUPRO by adeval with 200 strips.
    "inp-former": replace(
        _DINOMALY,
        name="inp-former",
        mask_rule="half",
        ap_form="trapezoid",
        binned_ranking=True,
        aupro_end="interpolate",
    ),
    # MVTec's evaluation code (pro_curve_util.py, as bundled with adeval and open-iad): original
    # size, thresholds at 100 equal steps through the sorted normal pixels.
    "mvtec": EvaluationProtocol(
        name="mvtec", mask_rule="any", image_score="max", thresholds="rank", steps=100
    ),
    # anomalib 2.7: masks resized as torchvision masks (nearest), exact PRO curve, step-wise AP.
    "anomalib": EvaluationProtocol(
        name="anomalib", size=(256, 256), mask_filter="nearest", mask_rule="any", image_score="max"
    ),
}


def protocol_named(name: str) -> EvaluationProtocol:
    """The preset of this name; raise ValueError that lists the names where there is none."""
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}; known are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def prepare_mask(
    mask: Bool[np.ndarray, "h w"], protocol: EvaluationProtocol
) -> Bool[np.ndarray, "h2 w2"]:
    """Crop and resize one mask as the protocol says.

    With a crop the mask is resized to a square by `mask_filter`, cropped, and brought to `size` by
    nearest neighbour, as Dinomaly does; without one it is resized to `size` by `mask_filter`.
    """
    value, how = mask.astype(np.float32), protocol.mask_filter
    if protocol.crop is not None:
        side, keep = protocol.crop
        value, how = _centre(_resize_mask(value, (side, side), how), keep), "nearest"
    if protocol.size is not None:
        value = _resize_mask(value, protocol.size, how)
    return value > (0.5 if protocol.mask_rule == "half" else 0.0) + 1e-6  # above rounding


def prepare_maps(
    maps: Float[np.ndarray, "n h w"], protocol: EvaluationProtocol
) -> Float[np.ndarray, "n h2 w2"]:
    """Crop, resize (bilinear, as torch with align_corners=False) and smooth whole images' maps."""
    if protocol.crop is not None:
        side, keep = protocol.crop
        maps = _centre(_resize_maps(maps, (side, side)), keep)
    if protocol.size is not None:
        maps = _resize_maps(maps, protocol.size)
    if protocol.smoothing is not None:
        maps = _smooth(maps, *protocol.smoothing, protocol.border)
    return maps


def prepare(
    maps: Float[np.ndarray, "n h w"], masks: Bool[np.ndarray, "n h w"], protocol: EvaluationProtocol
) -> tuple[Float[np.ndarray, "n h2 w2"], Bool[np.ndarray, "n h2 w2"]]:
    """Prepare n maps and their masks."""
    return prepare_maps(maps, protocol), np.stack([prepare_mask(mask, protocol) for mask in masks])


def image_scores(
    maps: Float[np.ndarray, "n h w"], protocol: EvaluationProtocol
) -> Float[np.ndarray, " n"]:
    """One score per prepared map: its largest value, or the mean of its largest values.

    Raises:
        ValueError: The protocol leaves the score to the method, which the engine asks.
    """
    if protocol.image_score == "method":
        raise ValueError(f"protocol {protocol.name!r} leaves the image score to the method")
    flat = maps.reshape(len(maps), -1)
    if protocol.image_score == "max":
        return flat.max(axis=1)
    pixels = flat.shape[1]
    top = int(protocol.top * pixels) if isinstance(protocol.top, float) else protocol.top
    top = min(max(top, 1), pixels)
    return np.partition(flat, pixels - top, axis=1)[:, -top:].mean(axis=1)


def _centre(stack: np.ndarray, keep: int) -> np.ndarray:
    top, left = (round((side - keep) / 2) for side in stack.shape[-2:])
    return stack[..., top : top + keep, left : left + keep]


def _resize_mask(
    value: Float[np.ndarray, "h w"], size: tuple[int, int], how: str
) -> Float[np.ndarray, "h2 w2"]:
    if value.shape == size:
        return value
    if how == "nearest":  # the rule of torch's "nearest": floor(i * h / h2)
        rows, columns = (np.arange(s) * n // s for n, s in zip(value.shape, size, strict=True))
        return value[rows[:, None], columns]
    if how == "bilinear":  # as torchvision resizes an 8-bit mask image: rounded to 256 levels
        from PIL import Image

        image = Image.fromarray((value * 255).astype(np.uint8))
        resized = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        return np.asarray(resized, np.float32) / 255
    for axis, (old, new) in enumerate(zip(value.shape, size, strict=True)):  # share covered
        value = np.moveaxis(value, axis, 0)
        total = np.zeros((old + 1, value.shape[1]))
        np.cumsum(value, axis=0, out=total[1:])
        edge = np.arange(new + 1) * old / new
        low = np.minimum(edge.astype(np.int64), old - 1)
        at = total[low] + (edge - low)[:, None] * (total[low + 1] - total[low])
        value = np.moveaxis(np.diff(at, axis=0) * new / old, 0, axis)
    return value


def _resize_maps(
    maps: Float[np.ndarray, "n h w"], size: tuple[int, int]
) -> Float[np.ndarray, "n h2 w2"]:
    for axis, (old, new) in enumerate(zip(maps.shape[1:], size, strict=True), start=1):
        if old == new:
            continue
        centre = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.minimum(centre.astype(np.int64), max(old - 2, 0))
        share = (centre - low).astype(maps.dtype)
        share = share[:, None] if axis == 1 else share
        near, far = maps.take(low, axis), maps.take(np.minimum(low + 1, old - 1), axis)
        maps = near + share * (far - near)
    return maps


def _smooth(
    maps: Float[np.ndarray, "n h w"], sigma: float, kernel: int, border: str
) -> Float[np.ndarray, "n h w"]:
    from scipy.ndimage import correlate1d

    offset = np.arange(kernel) - kernel // 2
    weight = np.exp(-(offset**2) / (2 * sigma**2))
    weight /= weight.sum()  # a normalised 2-D Gaussian is the product of two normalised 1-D ones
    mode = "constant" if border == "zero" else "nearest"
    work = maps.astype(np.float32) if maps.dtype == np.float16 else maps
    return correlate1d(correlate1d(work, weight, 1, mode=mode), weight, 2, mode=mode)
