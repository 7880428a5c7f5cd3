"""Image, heat map and mask of a photograph that is not square stay on top of each other."""

import numpy as np
import pytest

from adlib.anomalies.transformed_images import transform_mask
from adlib.data.transform import ImageTransform
from adlib.metrics import PROTOCOLS
from adlib.metrics.protocol import prepare_maps, prepare_mask


@pytest.mark.parametrize("shape", [(300, 900), (900, 300)])
@pytest.mark.parametrize(
    "protocol", [PROTOCOLS["ours"], PROTOCOLS["dinomaly"]], ids=["ours", "dinomaly"]
)
@pytest.mark.parametrize(
    "frame",
    [ImageTransform(size=(392, 392)), ImageTransform(size=(392, 392), resize=(448, 448))],
    ids=["squeezed", "cropped"],
)
def test_a_white_defect_and_its_mask_move_alike(shape, protocol, frame) -> None:
    h, w = shape
    mask = np.zeros(shape, dtype=bool)
    mask[h // 4 : h // 2, w // 4 : w // 3] = True  # off the centre on both axes
    photograph = (255 * mask[:, :, None]).astype(np.uint8).repeat(3, axis=2)

    image = frame.image(photograph)[0]
    small = transform_mask(mask, frame)
    assert overlap(image > 0.5, small) > 0.95

    heat = prepare_maps(frame.restore(image[None]), protocol)[0]  # as if the map were the image
    truth = prepare_mask(mask, protocol)
    assert overlap(heat > 0.5 * heat.max(), truth) > 0.8
    turned = prepare_mask(mask.T, protocol)
    assert overlap(heat > 0.5 * heat.max(), turned) < 0.5


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union."""
    return float((one & other).sum() / (one | other).sum())
