"""Pictures of samples show image and mask as they are."""

import numpy as np
from matplotlib.figure import Figure

from adlib.anomalies.foreground import Foreground
from adlib.data import load_builtin
from adlib.data.transform import ImageTransform
from adlib.study.anomaly_figures import dim, foreground_check, pictures, samples

IMAGES = [np.random.default_rng(i).integers(0, 255, (20, 30, 3), dtype=np.uint8) for i in range(5)]
MASKS = [image[..., 0] > 200 for image in IMAGES]


def test_a_sample_stands_above_its_mask() -> None:
    figure = samples(IMAGES, MASKS, list("abcde"), columns=3)
    assert isinstance(figure, Figure)
    grid = [axes for axes in figure.axes if axes.get_visible()]
    assert len(grid) == 10
    by_title = {axes.get_title(): axes for axes in grid if axes.get_title()}
    for image, mask, title in zip(IMAGES, MASKS, "abcde", strict=True):
        above = by_title[title]
        assert np.array_equal(np.asarray(above.images[0].get_array()), image)
        place = above.get_subplotspec()
        assert place is not None
        below = [
            axes
            for axes in grid
            if (spec := axes.get_subplotspec()) is not None
            and (spec.rowspan.start, spec.colspan.start)
            == (place.rowspan.start + 1, place.colspan.start)
        ]
        assert np.array_equal(np.asarray(below[0].images[0].get_array()), mask)
        assert below[0].images[0].get_clim() == (0, 1)  # one that is all True stays white


def test_pictures_lie_in_rows_and_spare_places_are_empty() -> None:
    figure = pictures([*IMAGES[:3], MASKS[0]], list("abcd"), columns=3, outlines=[None, MASKS[1]])
    assert isinstance(figure, Figure)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == list("abcd")
    assert len(figure.axes) == 6
    assert [bool(axes.collections) for axes in shown] == [False, True, False, False]


def test_the_ground_is_dimmed_and_the_product_is_not() -> None:
    image = np.full((60, 80, 3), 100, dtype=np.uint8)
    image[20:40, 30:50] = 200
    rule = Foreground(kind="object", threshold=80.0)
    shown, product = dim(image, rule), rule.mask(image)
    assert np.array_equal(shown[product], image[product])
    assert (shown[~product] == np.rint(image[~product] * 0.3)).all()
    assert np.array_equal(dim(image, Foreground(kind="texture")), image)


def test_the_check_has_a_row_a_category_that_says_what_was_decided() -> None:
    data = load_builtin(size=64, train=3, test=2, categories=["screw", "steel"])
    figure = foreground_check(data.train, ImageTransform(size=(64, 64)), number=2)
    assert isinstance(figure, Figure)
    titles = [row.get_suptitle() for row in figure.subfigs]
    assert titles[0].startswith("screw: an object on a plain ground")
    assert titles[1].startswith("steel: the whole image")
    assert [len(row.axes) for row in figure.subfigs] == [2, 2]
    corners = [np.asarray(row.axes[0].images[0].get_array())[0, 0].mean() for row in figure.subfigs]
    assert corners[0] < 0.35 * data.train[0].image[0, 0].mean()  # the screw's ground is dimmed
    assert corners[1] == data.train[3].image[0, 0].mean()  # and the steel's surface is not
