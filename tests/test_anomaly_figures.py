"""Pictures show images and masks as they are, and dim the ground alone."""

import numpy as np
from matplotlib.figure import Figure

from adlib.anomalies.foreground import estimate
from adlib.data import load_builtin
from adlib.data.transform import ImageTransform
from adlib.study.anomaly_figures import foreground_check, pictures

IMAGES = [np.random.default_rng(i).integers(0, 255, (20, 30, 3), dtype=np.uint8) for i in range(5)]
MASKS = [image[..., 0] > 200 for image in IMAGES]


def test_pictures_lie_in_rows_and_spare_places_are_empty() -> None:
    figure = pictures([*IMAGES[:3], MASKS[0]], list("abcd"), columns=3, outlines=[None, MASKS[1]])
    assert isinstance(figure, Figure)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == list("abcd")
    assert len(figure.axes) == 6
    assert [bool(axes.collections) for axes in shown] == [False, True, False, False]
    assert np.array_equal(np.asarray(shown[0].images[0].get_array()), IMAGES[0])
    white = np.asarray(shown[3].images[0].get_array())  # where the mask is True
    assert np.array_equal(white, np.repeat(255 * MASKS[0][..., None], 3, axis=2))


def test_the_check_has_a_row_a_category_that_says_what_was_decided() -> None:
    data = load_builtin(size=64, train=3, test=2, categories=["screw", "steel"])
    figure = foreground_check(data.train, ImageTransform(size=(64, 64)), number=2)
    assert isinstance(figure, Figure)
    titles = [row.get_suptitle() for row in figure.subfigs]
    assert titles[0].startswith("screw: an object on a plain ground")
    assert titles[1].startswith("steel: the whole image")
    assert [len(row.axes) for row in figure.subfigs] == [2, 2]
    for row, first, dimmed in zip(figure.subfigs, (0, 3), (0.3, 1.0), strict=True):
        image = data.train[first].image
        ground = ~estimate([data.train[first + i].image for i in range(3)]).mask(image)
        shown = np.asarray(row.axes[0].images[0].get_array())
        assert ground.any() == (dimmed < 1)  # the steel is a surface all over
        assert np.array_equal(shown[~ground], image[~ground])
        assert np.array_equal(shown[ground], np.rint(image[ground] * dimmed))
