"""AUPRO against the explicit curve, regions against scipy, pixels against scikit-learn."""

import doctest

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import adlib.metrics.regions
from adlib.metrics import aupro, pro_curve, score_maps
from adlib.metrics.regions import label_regions
from tests.metrics import slow

many = settings(max_examples=1000, deadline=None, derandomize=True, database=None)
some = settings(many, max_examples=200)
LIMITS = st.sampled_from([0.05, 0.3, 0.71, 1.0])
CONNECTIVITY = st.sampled_from([4, 8])


@st.composite
def tied_maps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """1 to 3 maps of 5 x 4 pixels with at most 7 distinct scores, and masks with both classes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, levels = draw(st.integers(1, 3)), draw(st.integers(0, 3))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    masks = rng.random((n, 5, 4)) < rng.random()
    masks.flat[:2] = True, False
    return rng.integers(-levels, levels + 1, (n, 5, 4)).astype(dtype), masks


@many
@given(tied_maps(), LIMITS, CONNECTIVITY)
def test_aupro_is_the_area_under_the_explicit_curve(
    case: tuple[np.ndarray, np.ndarray], limit: float, connectivity: int
) -> None:
    maps, masks = case
    expected = slow.aupro(maps, masks, limit, connectivity)
    assert aupro(maps, masks, limit, connectivity) == pytest.approx(expected, abs=1e-12)  # pyright: ignore[reportArgumentType]


@some
@given(tied_maps())
def test_score_maps_agrees_with_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    maps, masks = case
    found = score_maps(maps, masks)
    truth, scores = masks.ravel(), maps.ravel()
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(truth, scores), abs=1e-12)
    assert found["ap"] == pytest.approx(sk.average_precision_score(truth, scores), abs=1e-12)
    assert (found["f1_max"], found["f1_threshold"]) == pytest.approx(slow.best_f1(scores, truth))
    assert found["aupro"] == aupro(maps, masks)


@some
@given(tied_maps())
def test_only_the_order_of_the_pixels_counts(case: tuple[np.ndarray, np.ndarray]) -> None:
    maps, masks = case
    maps = maps.astype(np.float64)
    found, again = score_maps(maps, masks), score_maps(np.exp(maps) - 3, masks)
    assert {k: v for k, v in found.items() if k != "f1_threshold"} == {
        k: v for k, v in again.items() if k != "f1_threshold"
    }


@some
@given(tied_maps(), CONNECTIVITY)
def test_curve_for_figures_is_the_explicit_one(
    case: tuple[np.ndarray, np.ndarray], connectivity: int
) -> None:
    fpr, pro, thresholds = pro_curve(*case, connectivity)  # pyright: ignore[reportArgumentType]
    slow_fpr, slow_pro = slow.pro_curve(*case, connectivity)
    np.testing.assert_allclose(fpr[::-1], slow_fpr)
    np.testing.assert_allclose(pro[::-1], slow_pro, atol=1e-12)
    np.testing.assert_array_equal(thresholds, np.unique(case[0]))


@some
@given(arrays(bool, (2, 7, 6)), CONNECTIVITY)
def test_regions_are_those_of_scipy(masks: np.ndarray, connectivity: int) -> None:
    where = np.flatnonzero(masks)
    region, pixels = label_regions(where, masks.shape, connectivity)  # pyright: ignore[reportArgumentType]
    ours = {frozenset(where[region == k].tolist()) for k in range(len(pixels))}
    assert ours == {
        frozenset(np.flatnonzero(r).tolist()) for r in slow.regions(masks, connectivity)
    }
    np.testing.assert_array_equal(np.bincount(region, minlength=len(pixels)), pixels)


@pytest.mark.parametrize("connectivity", [4, 8])
def test_a_spiral_is_one_region(connectivity: int) -> None:
    side = 41
    spiral = np.zeros((side, side), bool)
    spiral[0::4, :-2], spiral[2::4, 2:] = True, True  # a snake: rows joined at alternating ends
    for row in range(0, side - 2, 2):
        spiral[row : row + 3, -3 if (row // 2) % 2 == 0 else 2] = True
    masks = np.stack([spiral, spiral.T])
    _, pixels = label_regions(np.flatnonzero(masks), masks.shape, connectivity)  # pyright: ignore[reportArgumentType]
    assert len(pixels) == len(slow.regions(masks, connectivity))


def test_a_region_of_one_pixel_weighs_as_much_as_a_large_one() -> None:
    maps = np.zeros((1, 6, 7), np.float32)
    masks = np.zeros((1, 6, 7), bool)
    masks[0, :4, :4] = masks[0, 5, 6] = True
    maps[0, 5, 6] = 1  # the small one is found, the large one ties with every normal pixel
    assert aupro(maps, masks, limit=0.3) == pytest.approx(0.5 + 0.5 * 0.15)


def test_constant_maps_are_chance() -> None:
    masks = np.zeros((2, 5, 7), bool)
    masks[0, :2, :3] = True
    found = score_maps(np.full((2, 5, 7), -3, np.float32), masks)
    assert found["auroc"] == 0.5
    assert found["ap"] == pytest.approx(masks.mean())
    assert found["aupro"] == pytest.approx(0.15)
    assert found["f1_threshold"] == -3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(2, 0, 4), (2, 3, 1)])
def test_a_pixel_that_is_not_finite_is_refused_by_name(
    bad: float, place: tuple[int, int, int]
) -> None:
    maps = np.random.default_rng(0).random((4, 5, 7))
    masks = np.zeros(maps.shape, bool)
    masks[2, :2] = True  # one place is defective, the other is not
    maps[place] = bad
    words = rf"image 2 \(cut/003.png\) has {bad} at \({place[1]}, {place[2]}\)"
    with pytest.raises(ValueError, match=words):
        score_maps(maps, masks, names=["a", "b", "cut/003.png", "d"])


@pytest.mark.parametrize("all_of_them", [True, False])
def test_a_missing_class_of_pixels_is_named(all_of_them: bool) -> None:
    maps = np.random.default_rng(0).random((2, 5, 7))
    masks = np.full(maps.shape, all_of_them)
    words = "70 anomalous and 0 normal" if all_of_them else "0 anomalous and 70 normal"
    for metric in (score_maps, aupro, pro_curve):
        with pytest.raises(ValueError, match=f"{words} pixels"):
            metric(maps, masks)


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.01, np.nan])
def test_a_limit_outside_the_unit_interval_is_refused(limit: float) -> None:
    with pytest.raises(ValueError, match=f"limit .* {limit}"):
        aupro(np.zeros((1, 2, 2)), np.ones((1, 2, 2), bool), limit)


def test_input_is_left_as_it_was() -> None:
    rng = np.random.default_rng(0)
    maps, masks = rng.random((2, 5, 7), np.float32), rng.random((2, 5, 7)) < 0.3
    copies = maps.copy(), masks.copy()
    score_maps(maps, masks)
    np.testing.assert_array_equal(maps, copies[0])
    np.testing.assert_array_equal(masks, copies[1])
    assert score_maps(maps[:, ::-1], masks[:, ::-1])["auroc"] == score_maps(maps, masks)["auroc"]


def test_shapes_and_types_that_numpy_would_mistake_are_refused() -> None:
    check = adlib.metrics.regions.check_stack
    maps, masks = np.zeros((2, 5, 7), np.float32), np.zeros((2, 5, 7), bool)
    with pytest.raises(ValueError, match=r"\(2, 5, 7\) and \(2, 5, 5\)"):
        check(maps, masks[..., :5])
    with pytest.raises(TypeError, match=r"masks .* bool .* uint8"):
        check(maps, masks.astype(np.uint8))
    with pytest.raises(TypeError, match=r"maps .* int64"):
        check(maps.astype(np.int64), masks)


def test_the_worked_example_of_aupro() -> None:
    ran = doctest.testmod(adlib.metrics.regions)
    assert (ran.attempted > 0, ran.failed) == (True, 0)
