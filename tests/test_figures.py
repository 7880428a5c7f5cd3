"""Figures keep one scale, and say what they show."""

import numpy as np
import pytest
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle

from adlib import figures
from adlib.engine.decisions import decision_row


def test_a_cold_map_leaves_the_photograph_gray_and_a_hot_one_colours_it() -> None:
    image = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    heat = np.full((5, 7), 0.1)
    cold = figures.overlay(image, heat, scale=(0.1, 0.5))
    gray = image.mean(axis=2, keepdims=True)
    assert np.abs(cold - gray).max() <= 1
    heat[2, 3] = 9.0  # far beyond the scale: as hot as the scale's end, and no hotter
    hot = figures.overlay(image, heat, scale=(0.1, 0.5))
    assert np.array_equal(
        np.delete(hot.reshape(-1, 3), 2 * 7 + 3, 0), np.delete(cold.reshape(-1, 3), 17, 0)
    )
    assert np.ptp(hot[2, 3].astype(int)) > 50
    heat[2, 3] = 0.5
    assert np.array_equal(figures.overlay(image, heat, scale=(0.1, 0.5)), hot)


def test_the_same_value_has_the_same_colour_in_every_image() -> None:
    image = np.full((4, 6, 3), 128, dtype=np.uint8)
    calm, wild = np.full((4, 6), 0.2), np.full((4, 6), 0.2)
    wild[0, 0] = 5.0
    a, b = (figures.overlay(image, m, scale=(0.0, 0.4)) for m in (calm, wild))
    assert np.array_equal(a[1:], b[1:])


def test_detections_show_pairs_with_outlines() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (20, 30, 3), dtype=np.uint8) for _ in range(3)]
    mask = np.zeros((20, 30), dtype=bool)
    mask[5:9, 10:20] = True
    figure = figures.detections(
        images,
        [rng.random((20, 30))] * 3,
        (0.0, 1.0),
        ["a", "b", "c"],
        [mask, None, None],
        columns=2,
    )
    drawn = [axes for axes in figure.axes if axes.images]
    assert len(drawn) == 6
    assert [axes.get_title(loc="left") for axes in drawn[::2]] == ["a", "b", "c"]
    assert len(drawn[0].collections) == 1  # the outline
    assert len(drawn[2].collections) == 0
    assert figure.axes[-1].get_ylabel() == "anomaly score"


def test_an_outline_goes_around_a_defect_and_hides_nothing_of_it() -> None:
    mask = np.zeros((90, 120), dtype=bool)
    mask[30:50:2, 40:60:2] = True  # specks, which are one defect
    axes = Figure().subplots()
    figures.outline(axes, mask)
    (drawn,) = axes.collections
    (path,) = drawn.get_paths()
    (polygon,) = path.to_polygons()
    ring = np.asarray(polygon)
    y, x = np.argwhere(mask).T
    near = np.hypot(ring[:, :1] - x, ring[:, 1:] - y).min(axis=1)  # of each point to a speck
    assert near.min() > 1.4
    assert near.max() < 2.0
    assert path.contains_points(np.stack([x, y], axis=1)).all()
    axes = Figure().subplots()
    figures.outline(axes, np.ones((90, 120), dtype=bool))  # nothing is left to go around
    figures.outline(axes, np.zeros((90, 120), dtype=bool))
    figures.outline(axes, None)
    assert not axes.collections


def test_rows_of_detections_are_as_high_as_their_tallest_photograph() -> None:
    def height(*shapes: tuple[int, int]) -> float:
        images = [np.zeros((*shape, 3), dtype=np.uint8) for shape in shapes]
        maps = [np.zeros(shape) for shape in shapes]
        figure = figures.detections(images, maps, (0.0, 1.0), ["x"] * len(shapes), columns=1)
        width, height = figure.get_size_inches()
        return (height / len(shapes) - 0.4) / (width / 2)  # without titles, in photographs' widths

    assert height((20, 20)) == pytest.approx(1)
    assert height((15, 20)) == pytest.approx(0.75)
    assert height((15, 20), (40, 30)) == pytest.approx(4 / 3)


def test_histogram_counts_every_image_once() -> None:
    axes = Figure().subplots()
    scores = np.random.default_rng(0).random(50)
    figures.score_histogram(axes, scores, scores > 0.7, threshold=0.6)
    assert sum(bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)) == 50
    assert axes.get_xlabel() == "image score"


def test_alike_tokens_are_alike_in_colour_whatever_their_length() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(12, 8))
    tokens[7] = tokens[2]
    first, second = figures.token_colours([tokens, tokens * rng.uniform(0.1, 9, (12, 1))], (3, 4))
    assert first.shape == (3, 4, 3)
    np.testing.assert_allclose(first, second, atol=1e-12)
    np.testing.assert_allclose(first[1, 3], first[0, 2])  # tokens 7 and 2
    assert len(np.unique(first.reshape(-1, 3).round(6), axis=0)) == 11


def test_token_maps_have_one_scale_or_say_their_own() -> None:
    calm = np.linspace(0.25, 0.5, 15).reshape(3, 5)
    wild = np.linspace(0.0, 20.0, 15).reshape(3, 5)
    picture = np.full((6, 9, 3), 100, dtype=np.uint8)
    own = figures.token_maps([picture, calm, wild], ["a", "b", "c"], columns=2, ring=(1, 4))
    assert isinstance(own, Figure)
    photo, first, second, left_over = own.axes
    assert [axes.get_title() for axes in own.axes] == ["a", "b", "c", ""]
    assert [axes.get_xlabel() for axes in own.axes[:3]] == ["", "0.25 to 0.5", "0 to 20"]
    assert not left_over.get_visible()
    assert first.images[0].get_clim() == (0.25, 0.5)
    assert [len(axes.lines) for axes in (photo, first)] == [0, 1]
    (ring,) = second.lines
    assert (np.asarray(ring.get_xdata())[0], np.asarray(ring.get_ydata())[0]) == (4, 1)

    same = figures.token_maps([calm, wild], ["b", "c"], scale=(0.0, 4.0), label="error")
    assert isinstance(same, Figure)
    assert [axes.images[0].get_clim() for axes in same.axes[:2]] == [(0.0, 4.0)] * 2
    assert [axes.get_xlabel() for axes in same.axes[:2]] == ["", ""]
    assert same.axes[-1].get_ylabel() == "error"
    part = Figure().subfigures(1, 1)
    assert isinstance(part, SubFigure)
    assert figures.token_maps([calm], ["b"], columns=1, figure=part) is part


def test_the_operating_curve_joins_the_shares_at_every_threshold_and_marks_the_shipped_one() -> (
    None
):
    scores = np.array([0.1, 0.3, 0.3, 0.7, 0.2, 0.3, 0.6, 0.9])
    kinds = ["good"] * 4 + ["cut"] * 4
    labels = np.array([kind != "good" for kind in kinds])
    decided = decision_row(scores, kinds, 0.5)
    axes = Figure().subplots()
    figures.operating_curve(axes, scores, labels, decided)
    false, found = np.asarray(axes.lines[0].get_xydata()).T
    expected = {(0.0, 0.0)} | {
        (100 * (scores[~labels] >= t).mean(), 100 * (scores[labels] >= t).mean()) for t in scores
    }
    assert set(zip(false, found, strict=True)) == expected
    (mark,) = (c[0] for c in axes.containers)
    assert mark.get_xydata().tolist() == [[25.0, 50.0]]
    assert np.asarray(axes.lines[-1].get_xydata()).tolist() == [[75.0, 95.0]]
