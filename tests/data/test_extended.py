"""Extended anomalies: cut by their mask, mildly changed, pasted where they belong."""

import numpy as np
import pytest

from adlib.anomalies import extended as module
from adlib.anomalies.extended import CHANGES, MARGIN, Cutout, change, cut_out, extended, paste

SIZE = (37, 51)
TARGET = np.random.default_rng(0).integers(90, 120, (*SIZE, 3), dtype=np.uint8)
DEFECT = np.random.default_rng(1).integers(180, 240, (*SIZE, 3), dtype=np.uint8)
EVERYWHERE = np.ones(SIZE, dtype=bool)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def box(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


BLOB = box(10, 16, 20, 33)
BLOB[10:13, 20:25] = False  # so that no mirror image is the same
TWO = box(2, 5, 3, 6) | box(20, 25, 30, 31)


def test_an_image_changes_exactly_inside_its_mask_as_the_seed_says() -> None:
    before, digests = (TARGET.copy(), DEFECT.copy()), []
    for seed in range(60):
        made, mask = extended(TARGET, DEFECT, BLOB, EVERYWHERE, rng(seed))
        assert np.array_equal((made != TARGET).any(axis=2), mask)
        assert 20 <= mask.sum() <= 150  # 63 pixels, scaled, turned and cut at the border
        digests.append(made.tobytes())
    assert np.array_equal(TARGET, before[0])
    assert np.array_equal(DEFECT, before[1])
    assert len(set(digests)) == 60
    assert extended(TARGET, DEFECT, BLOB, EVERYWHERE, rng(7))[0].tobytes() == digests[7]


def test_pasting_unchanged_puts_every_pixel_where_it_was() -> None:
    for mask in (BLOB, EVERYWHERE, box(0, 3, 48, 51), box(36, 37, 0, 1)):
        made = paste(TARGET, cut_out(DEFECT, mask), EVERYWHERE, rng())
        assert np.array_equal(made, np.where(mask[..., None], DEFECT, TARGET))


@pytest.mark.parametrize("name", ["left to right", "upside down", "quarter turns"])
@pytest.mark.parametrize("mask", [BLOB, box(0, 2, 30, 51)])
def test_a_mirrored_or_turned_defect_goes_where_that_image_has_it(
    name: str, mask: np.ndarray
) -> None:
    mirror = {"left to right": np.fliplr, "upside down": np.flipud}
    side = np.s_[:37, :37] if name == "quarter turns" else np.s_[:, :]
    target, defect, mask = TARGET[side], DEFECT[side], mask[side]
    found = set()
    for seed in range(12):
        piece = CHANGES[name](cut_out(defect, mask), rng(seed))
        made = paste(target, piece, np.ones(mask.shape, dtype=bool), rng())
        moves = (
            [mirror[name]] if name in mirror else [lambda x, k=k: np.rot90(x, k) for k in (1, 2, 3)]
        )
        fits = [
            k
            for k, move in enumerate(moves)
            if np.array_equal(made, np.where(move(mask)[..., None], move(defect), target))
        ]
        assert len(fits) == 1
        found.add(fits[0])
    assert found == set(range(1 if name in mirror else 3))


def test_a_shift_moves_by_the_same_share_of_any_image() -> None:
    for seed in range(20):
        before = cut_out(DEFECT, BLOB)
        after = CHANGES["shift"](before, rng(seed))
        assert np.abs(np.subtract(after.centre, before.centre)).max() <= 0.06
        assert after.centre != before.centre
        assert after.pixels is before.pixels


@pytest.mark.parametrize(("name", "low", "high"), [("scale", 0.8**2, 1.2**2), ("turn", 1, 1)])
def test_scaling_and_turning_keep_the_defect_apart_from_its_surroundings(
    name: str, low: float, high: float
) -> None:
    image = np.where(BLOB[..., None], np.uint8(200), TARGET)
    for seed in range(30):
        after = CHANGES[name](cut_out(image, BLOB), rng(seed))
        area = after.mask.sum() / BLOB.sum()
        assert 0.7 * low <= area <= 1.3 * high  # whole pixels of a small thing
        inside = after.pixels[after.mask].astype(int)
        assert inside.min() > 90  # no black from beyond the cut-out
        assert inside.mean() > 170


@pytest.mark.parametrize(
    ("name", "most"), [("brightness", 24), ("contrast", 12), ("noise", 24), ("blur", 60)]
)
def test_changes_of_light_are_mild_and_move_nothing(name: str, most: int) -> None:
    before, most_seen = cut_out(DEFECT, BLOB), 0
    for seed in range(20):
        after = CHANGES[name](before, rng(seed))
        assert after.mask is before.mask
        assert after.centre == before.centre
        moved = np.abs(after.pixels.astype(int) - before.pixels)
        assert moved.mean() < 22
        most_seen = max(most_seen, moved.max())
    assert 0 < most_seen <= most


def test_a_cutout_keeps_a_margin_and_continues_beyond_the_edge() -> None:
    found = cut_out(DEFECT, box(0, 3, 48, 51))
    assert found.mask.shape == (3 + 2 * MARGIN, 3 + 2 * MARGIN)
    assert found.mask.sum() == 9
    assert np.array_equal(found.pixels[MARGIN:, :-MARGIN], DEFECT[: 3 + MARGIN, -3 - MARGIN :])
    assert (found.pixels[0, -MARGIN - 1 :] == DEFECT[0, -1]).all()
    assert found.centre == (1.5 / 37, 49.5 / 51)


def test_three_different_changes_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    applied: list[int] = []

    def noted(k: int, cutout: Cutout) -> Cutout:
        applied.append(k)
        return cutout

    noting = {str(k): lambda cutout, rng, k=k: noted(k, cutout) for k in range(10)}
    monkeypatch.setattr(module, "CHANGES", noting)
    orders = set()
    for seed in range(20):
        applied.clear()
        change(cut_out(DEFECT, BLOB), rng(seed))
        assert len(applied) == len(set(applied)) == 3
        orders.add(tuple(applied))
    assert len(orders) > 15


def test_it_stays_in_place_above_two_thirds_on_the_foreground() -> None:
    mask, far = box(10, 13, 20, 26), box(30, 37, 40, 51)  # 18 pixels; 12 are two thirds
    for inside, stays in ((13, True), (12, False), (0, False)):
        foreground = far.copy()
        foreground.ravel()[np.flatnonzero(mask)[:inside]] = True
        made = paste(TARGET, cut_out(DEFECT, mask), foreground, rng(1))
        assert np.array_equal((made != TARGET).any(axis=2), mask) == stays


def test_pixels_that_leave_the_image_are_not_on_the_foreground() -> None:
    leaving = Cutout(DEFECT[:10, :10], np.ones((10, 10), dtype=bool), (0.0, 0.5))  # half of it out
    made = paste(TARGET, leaving, EVERYWHERE, rng(3))
    assert not np.array_equal((made != TARGET).any(axis=2), box(0, 5, 20, 30))


def test_each_piece_goes_to_a_foreground_point_of_its_own() -> None:
    made = paste(TARGET, cut_out(DEFECT, TWO), box(33, 34, 7, 8), rng())
    expected = TARGET.copy()
    expected[32:35, 6:9] = DEFECT[2:5, 3:6]  # both onto the only point, each by its middle
    expected[31:36, 7:8] = DEFECT[20:25, 30:31]
    assert np.array_equal(made, expected)
    places = set()
    for seed in range(30):
        made = paste(TARGET, cut_out(DEFECT, TWO), box(20, 37, 0, 20), rng(seed))
        changed = (made != TARGET).any(axis=2)
        places.add(changed.tobytes())
        assert 5 <= changed.sum() <= 14
        assert not changed[:17].any()
        assert not changed[:, 22:].any()
    assert len(places) > 25


def test_of_very_many_pieces_the_largest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECES", 1)
    made = paste(TARGET, cut_out(DEFECT, TWO), box(18, 19, 18, 19), rng())
    assert (made != TARGET).any(axis=2).sum() == 9


ONE = box(36, 37, 50, 51)


@pytest.mark.parametrize(
    ("defect", "mask", "foreground"),
    [
        (DEFECT, BLOB, np.zeros(SIZE, dtype=bool)),
        (DEFECT, ONE, EVERYWHERE),
        (DEFECT, ONE, box(0, 1, 0, 1)),
        (DEFECT, EVERYWHERE, EVERYWHERE),
        (DEFECT, EVERYWHERE, ONE),
        (TARGET, BLOB, EVERYWHERE),  # may show what was there
        (np.full_like(TARGET, 50), BLOB, box(5, 9, 5, 9)),
    ],
    ids=["no foreground", "one pixel", "one on one", "all", "all on one", "camouflage", "flat"],
)
def test_no_mask_is_ever_empty(
    defect: np.ndarray, mask: np.ndarray, foreground: np.ndarray
) -> None:
    for seed in range(50):  # seven cases: 350 draws
        made, changed = extended(TARGET, defect, mask, foreground, rng(seed))
        assert changed.any()
        assert np.array_equal((made != TARGET).any(axis=2), changed)


def test_a_defect_that_can_never_be_seen_comes_to_the_last_resort(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "COUNT", 0)
    flat = np.full((*SIZE, 3), 50, dtype=np.uint8)
    made, mask = extended(flat, flat, BLOB, box(5, 9, 5, 9), rng())
    assert mask.any()
    assert not mask[9:].any()
    assert (made[mask] == 178).all()
