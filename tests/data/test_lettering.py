"""Ink lies where it is printed, as much of it as was asked for, and nowhere else."""

import numpy as np
import pytest

from adlib.data.rendered.lettering import STROKES, bars, fill, frame, print_at, write

SIZE = 120


def paper() -> np.ndarray:
    return np.zeros((SIZE, SIZE))


def test_a_rectangle_holds_its_area_of_ink_wherever_its_edges_fall() -> None:
    ink = paper()
    fill(ink, 0.1013, 0.2027, 0.3331, 0.7149)
    assert ink.mean() == pytest.approx((0.3331 - 0.1013) * (0.7149 - 0.2027), abs=1e-12)
    assert ink.max() == pytest.approx(1.0)
    fill(ink, 0.1013, 0.2027, 0.3331, 0.7149)  # ink over ink is ink
    assert ink.max() == pytest.approx(1.0)


def test_a_frame_is_a_rectangle_without_a_smaller_one() -> None:
    ink = paper()
    frame(ink, 0.10, 0.20, 0.60, 0.90, 0.05)
    assert ink.mean() == pytest.approx(0.5 * 0.7 - 0.4 * 0.6, abs=1e-12)


def test_bars_are_every_other_run() -> None:
    ink = paper()
    bars(ink, "2131", (0.25, 0.5), 0.5, 0.025)  # bars of 2 and 3 modules, gaps of 1
    row = ink[SIZE // 2]
    expected = np.zeros(SIZE)
    expected[60:66] = expected[69:78] = 1
    assert np.allclose(row, expected, atol=1e-9)
    assert ink.mean() == pytest.approx(5 * 0.025 * 0.5)


def test_print_at_returns_the_ink_and_blends_between_pixels() -> None:
    ink = np.random.default_rng(0).random((9, 9))
    y, x = np.meshgrid((np.arange(9) + 0.5) / 9, (np.arange(9) + 0.5) / 9, indexing="ij")
    assert np.allclose(print_at(ink, y, x), ink)
    between = print_at(ink, y[:8, :8] + 0.5 / 9, x[:8, :8])
    assert np.allclose(between, (ink[:8, :8] + ink[1:, :8]) / 2)
    assert not print_at(ink, y + 1.5, x).any()
    assert not print_at(ink, y, x - 1.5).any()


def test_letters_stand_in_their_line_and_differ() -> None:
    shapes = set()
    reach = 0.3 * 0.16 / 2 * SIZE + 1  # half a stroke and a soft edge
    for sign in STROKES:
        ink = paper()
        write(ink, sign, (0.25, 0.5), 0.3)
        if sign == " ":
            assert not ink.any()
            continue
        rows, columns = np.nonzero(ink)
        assert 30 - reach <= rows.min() <= rows.max() <= 66 + reach
        assert 60 - reach <= columns.min() <= columns.max() <= 60 + 24 + reach
        assert ink.max() == 1
        shapes.add(ink.tobytes())
    assert len(shapes) == len(STROKES) - 2  # the space is empty, and O and 0 are one shape


def test_a_word_is_its_letters_side_by_side() -> None:
    word, apart = paper(), paper()
    write(word, "TEN", (0.2, 0.1), 0.25)
    for k, sign in enumerate("TEN"):
        write(apart, sign, (0.2, 0.1 + k * 0.92 * 0.25), 0.25)
    assert np.array_equal(word, apart)


def test_what_does_not_fit_is_cut_off() -> None:
    inside, over = paper(), paper()
    write(inside, "H", (0.25, 0.25), 0.3)
    write(over, "H", (-0.15, -0.05), 0.3)
    moved = inside[48:, 36:]
    assert np.array_equal(over[: len(moved), : moved.shape[1]], moved)
    assert not over[len(moved) :].any()
    write(over, "HH", (0.9, 0.9), 0.3)
    assert over[-1].any()
