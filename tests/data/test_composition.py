"""Batches hold the kinds of samples in their shares; what cannot be made gives its share away."""

from collections import Counter
from fractions import Fraction

import pytest

from adlib.anomalies.composition import KINDS, AnomalyConfig, BatchComposition, share_out

SHARES = (0.5, 0.125, 0.125, 0.25)


def kinds(composition: BatchComposition, steps: int) -> list[list[str]]:
    size = composition.batch
    return [[composition.kind_of(size * s + i)[0] for i in range(size)] for s in range(steps)]


@pytest.mark.parametrize("batch", [1, 2, 5, 8, 16, 48])
@pytest.mark.parametrize("thirds", [False, True])
def test_shares_even_out_over_batches(batch: int, thirds: bool) -> None:
    exact = [Fraction(1, 3), Fraction(1, 3), Fraction(0), Fraction(1, 3)]
    exact = exact if thirds else [Fraction(share) for share in SHARES]
    composition = BatchComposition(batch, tuple(map(float, exact)))  # pyright: ignore[reportArgumentType]
    found: Counter[str] = Counter()
    for step, batch_of in enumerate(kinds(composition, 48), 1):
        found.update(batch_of)
        assert batch_of == sorted(batch_of, key=KINDS.index)
        for kind, share in zip(KINDS, exact, strict=True):
            assert abs(found[kind] - step * batch * share) <= 1  # never more than a sample off
            if batch == 16 and not thirds:
                assert batch_of.count(kind) == 16 * share
    for kind, share in zip(KINDS, exact, strict=True):
        assert found[kind] == 48 * batch * share


def test_each_kind_is_numbered_without_a_gap_as_a_function_of_the_index_alone() -> None:
    composition = BatchComposition(7, SHARES)
    numbers: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for index in range(7 * 40):
        kind, number = composition.kind_of(index)
        numbers[kind].append(number)
    for found in numbers.values():
        assert found == list(range(len(found)))
    assert composition.kind_of(10**9) == BatchComposition(7, SHARES).kind_of(10**9)


@pytest.mark.parametrize(
    ("switches", "seen", "shares", "note"),
    [
        ({}, True, (0.5, 0.125, 0.125, 0.25), ""),
        ({}, False, (0.5, 0, 0, 0.5), "no seen samples (no defect was seen), no extended sam"),
        ({"seen": False}, True, (0.5, 0, 0.25, 0.25), "no seen samples (switched off)"),
        ({"extended": False}, True, (0.5, 0.25, 0, 0.25), "no extended samples (switched off)"),
        ({"simulated": False}, True, (0.5, 0.25, 0.25, 0), "no simulated samples (switched off)"),
        ({"simulated": False, "extended": False}, True, (0.5, 0.5, 0, 0), "go"),
        ({"seen": False, "extended": False}, False, (0.5, 0, 0, 0.5), "their share goes to: simu"),
        ({"shares": (0.4, 0.2, 0.4), "seen_share": 0.25}, True, (0.4, 0.05, 0.15, 0.4), ""),
        ({"shares": (0.4, 0.2, 0.4), "seen": False}, True, (0.4, 0, 0.2, 0.4), "switched off"),
    ],
)
def test_missing_kinds_leave_their_share_to_the_others(
    switches: dict, seen: bool, shares: tuple[float, ...], note: str
) -> None:
    found, notes = share_out(AnomalyConfig(**switches), seen)
    assert found == pytest.approx(shares)
    assert sum(found) == pytest.approx(1)
    assert bool(notes) == bool(note)
    assert note in "".join(notes)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"seen": False, "extended": False, "simulated": False}, "seen, extended or simulated"),
        ({"shares": (0.5, 0.5, 0.5)}, "shares"),
        ({"shares": (0.75, 0.5, -0.25)}, "shares"),
        ({"shares": (1.0, 0.0, 0.0)}, "not all of it normal"),
        ({"seen_share": 1.5}, "seen_share"),
        ({"beta": (0.8, 0.2)}, "beta"),
        ({"beta": (0.2, 1.0)}, "beta"),
    ],
)
def test_nonsense_is_refused_where_it_is_written(options: dict, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        AnomalyConfig(**options)
