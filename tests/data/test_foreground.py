"""Objects on a plain ground are found; where there is doubt, everything is foreground."""

import os
from pathlib import Path

import numpy as np
import pytest

from adlib.anomalies.foreground import WHOLE, Foreground, border_distance, estimate, spread
from adlib.anomalies.transformed_images import transform_pixels
from adlib.data import load_builtin, load_folder
from adlib.data.transform import ImageTransform

Y, X = np.mgrid[:120, :160]


def photograph(
    shape: np.ndarray, seed: int = 0, colour: tuple[int, ...] = (190, 120, 60)
) -> np.ndarray:
    """A product of one colour on a gray ground that gets brighter to the right, with grain."""
    ground = (70 + 40 * X / 160)[..., None].repeat(3, axis=2)
    clean = np.where(shape[..., None], np.array(colour), ground)
    grain = np.random.default_rng(seed).normal(0, 3, clean.shape)
    return np.clip(np.rint(clean + grain), 0, 255).astype(np.uint8)


def disc(y: float, x: float, radius: float) -> np.ndarray:
    return (Y - y) ** 2 + (X - x) ** 2 < radius**2


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_an_object_is_found_on_a_plain_ground() -> None:
    places = [(60, 80), (50, 70), (70, 90)]
    images = [photograph(disc(*place, 30), seed) for seed, place in enumerate(places)]
    rule = estimate(images)
    assert rule.kind == "object"
    assert rule.border < 0.01
    for image, place in zip(images, places, strict=True):
        assert overlap(rule.mask(image), disc(*place, 30)) > 0.95


def test_small_holes_are_product_large_ones_are_ground_and_crumbs_are_no_product() -> None:
    whole = disc(60, 80, 40)
    rule = estimate([photograph(whole)])
    assert not rule.mask(photograph(whole & ~disc(60, 80, 20)))[60, 80]
    assert rule.mask(photograph(whole & ~disc(60, 80, 4)))[60, 80]
    assert not rule.mask(photograph(whole | disc(12, 12, 4)))[12, 12]


def test_ground_in_a_corner_is_no_hole() -> None:
    corner = (Y + X) < 24  # 1.5 % of the image, cut off by the product
    wide = ~corner & (Y > 5) & (Y < 115) & (X > 5) & (X < 155)
    rule = Foreground(kind="object", threshold=30.0)
    found = rule.mask(photograph(wide | ((Y + X >= 24) & (Y + X <= 32))))
    assert not found[3, 3]
    assert found[60, 80]


def test_thin_bright_parts_are_not_lost_beside_a_dark_one() -> None:
    block = (np.abs(Y - 60) < 12) & (np.abs(X - 80) < 60)
    pins = (np.abs(Y - 60) < 40) & (X % 16 < 4) & (np.abs(X - 80) < 60)
    image = photograph(pins, colour=(140, 125, 75))
    image[block] = 5
    rule = estimate([np.where(block[..., None], np.uint8(5), image)])
    found = rule.mask(image)
    assert found[pins].mean() > 0.9
    assert found[block].mean() > 0.9


@pytest.mark.parametrize(
    "image",
    [
        photograph(np.abs(X - 80) < 30),  # reaches the border above and below
        np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8),
        photograph(X // 10 % 2 == 0),
        photograph(disc(60, 80, 30), colour=(94, 94, 94)),  # hardly to be seen
    ],
    ids=["bar", "noise", "stripes", "faint"],
)
def test_where_the_border_shows_the_product_all_is_foreground(image: np.ndarray) -> None:
    rule = estimate([image])
    assert rule.kind == "texture"
    assert rule.mask(image).all()
    assert "the whole image" in rule.describe()


def test_an_image_without_the_product_is_foreground_everywhere() -> None:
    rule = estimate([photograph(disc(60, 80, 30))])
    assert rule.mask(photograph(np.zeros((120, 160), dtype=bool))).all()
    assert estimate([np.full((37, 51, 3), 9, dtype=np.uint8)]) == WHOLE


def test_distance_counts_levels_from_the_nearest_colour_of_the_border() -> None:
    image = np.full((64, 96, 3), 50, dtype=np.uint8)
    image[:, 48:] = 90  # two colours, both of them at the border
    image[28:36, 20:28] = (50, 80, 90)
    away = border_distance(image)
    assert away[0, 0] == away[40, 80] == 0
    assert away[31, 23] == pytest.approx(1700**0.5, abs=0.1)  # (40, 10, 0) from the bright one


def test_shifting_every_image_in_brightness_changes_nothing() -> None:
    rule = estimate([photograph(disc(60, 80, 30))])
    image = photograph(disc(40, 60, 25))
    assert np.array_equal(rule.mask(image), rule.mask(image + np.uint8(40)))


def test_built_in_categories() -> None:
    data = load_builtin(size=128, train=4, test=2)
    kinds = {
        name: estimate([sample.image for sample in data.train.of(name)]).kind
        for name in data.categories
    }
    objects = {name for name, kind in kinds.items() if kind == "object"}
    assert objects == {"blister", "bottle", "header", "label", "screw"}


def test_images_are_spread_evenly() -> None:
    assert spread(5) == [0, 1, 2, 3, 4]
    assert spread(100, 4) == [0, 25, 50, 75]


@pytest.mark.skipif("ADLIB_DATA" not in os.environ, reason="ADLIB_DATA names no photographs")
def test_real_categories() -> None:
    data, frame = load_folder(Path(os.environ["ADLIB_DATA"])), ImageTransform(size=(128, 128))
    rules: dict[str, Foreground] = {}
    for name in data.categories:
        mine = data.train.of(name)
        rules[name] = estimate([transform_pixels(mine[i].image, frame) for i in spread(len(mine))])
    objects = {name for name, rule in rules.items() if rule.kind == "object"}
    assert objects & {"screw", "cookie", "ball_screw", "deeppcb"} == {"screw", "cookie"} & set(
        rules
    )
