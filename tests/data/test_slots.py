"""Shares are kept in every batch, as nearly as whole samples allow."""

from collections import Counter

import pytest

from adlib.anomalies.slots import KINDS, Slots

SHARES = (0.5, 0.125, 0.125, 0.25)


def kinds(slots: Slots, steps: int) -> list[list[str]]:
    return [
        [slots.of(step * slots.batch + slot)[0] for slot in range(slots.batch)]
        for step in range(steps)
    ]


def test_a_batch_that_the_shares_divide_is_the_same_each_time() -> None:
    for batch in kinds(Slots(16, SHARES), 5):
        assert batch == ["normal"] * 8 + ["seen"] * 2 + ["extended"] * 2 + ["simulated"] * 4


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 7, 48])
@pytest.mark.parametrize(
    "shares", [SHARES, (0.5, 0.0, 0.25, 0.25), (0.4, 0.3, 0.0, 0.3), (0, 0, 1, 0)]
)
def test_shares_are_kept_over_batches(batch: int, shares: tuple[float, ...]) -> None:
    slots = Slots(batch, tuple(map(float, shares)))  # pyright: ignore[reportArgumentType]
    so_far: Counter[str] = Counter()
    for step, each in enumerate(kinds(slots, 20), start=1):
        so_far.update(each)
        assert each == sorted(each, key=KINDS.index)
        for kind, share in zip(KINDS, shares, strict=True):
            assert abs(so_far[kind] - step * batch * share) <= 1.5
            if not share:
                assert kind not in so_far


def test_samples_of_a_kind_are_counted_without_a_gap() -> None:
    slots = Slots(7, SHARES)
    found: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for index in range(7 * 40):
        kind, number = slots.of(index)
        found[kind].append(number)
    for numbers in found.values():
        assert numbers == list(range(len(numbers)))


def test_late_batches_follow_the_same_rule() -> None:
    slots = Slots(5, SHARES)
    late = 10**11
    assert kinds(slots, 8) == [
        [slots.of((late * 8 + step) * 5 + slot)[0] for slot in range(5)] for step in range(8)
    ]


def test_it_says_what_a_batch_holds() -> None:
    assert Slots(5, (0.5, 0.0, 0.25, 0.25)).describe() == (
        "a batch of 5: 2.5 normal, 1.25 extended, 1.25 simulated"
    )
