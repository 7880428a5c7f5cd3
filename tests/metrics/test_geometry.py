"""Map and mask lie on the same place of an image that is not square."""

import numpy as np
import pytest

from adlib.data.transform import ImageTransform
from adlib.metrics import PROTOCOLS, prepare_maps, prepare_mask, score_maps

SPOTS = [(slice(60, 110), slice(400, 470)), (slice(150, 260), slice(700, 760))]
TRANSFORMS = [
    ImageTransform(size=(224, 224)),
    ImageTransform(size=(392, 392), resize=(448, 448)),
    ImageTransform(size=(112, 336)),
]


def bright_defect(spot: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """An image of 300 rows and 900 columns whose defect is its only bright place."""
    mask = np.zeros((300, 900), dtype=bool)
    mask[spot] = True
    return np.repeat(mask[..., None] * np.uint8(255), 3, axis=2), mask


@pytest.mark.parametrize("spot", SPOTS)
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("protocol", ["ours", "dinomaly", "inp-former", "anomalib"])
def test_a_map_of_brightness_finds_the_bright_defect(
    protocol: str, transform: ImageTransform, spot: tuple[slice, slice]
) -> None:
    image, mask = bright_defect(spot)
    rule = PROTOCOLS[protocol]
    maps = prepare_maps(transform.restore(transform.image(image).mean(axis=0)[None]), rule)
    truth = prepare_mask(mask, rule)[None]
    assert score_maps(maps, truth)["auroc"] > 0.999
    rows, columns = (np.average(np.arange(256), weights=maps[0].sum(axis=a)) for a in (1, 0))
    expected = [np.flatnonzero(truth[0].any(axis=a)).mean() for a in (1, 0)]
    assert (rows, columns) == pytest.approx(expected, abs=1.5)  # of 256 pixels
