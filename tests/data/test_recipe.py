"""A recipe refuses nonsense, and what cannot be made leaves its share to what can."""

import json
from dataclasses import asdict
from typing import Any

import pytest

from adlib.anomalies.recipe import Recipe, share_out


@pytest.mark.parametrize(
    ("switches", "seen", "shares", "words"),
    [
        ({}, True, (0.5, 0.125, 0.125, 0.25), None),
        ({}, False, (0.5, 0, 0, 0.5), "no seen samples (no defect was seen), no extended samples"),
        ({"seen": False}, True, (0.5, 0, 0.25, 0.25), "no seen samples (switched off)"),
        ({"extended": False}, True, (0.5, 0.25, 0, 0.25), "no extended samples (switched off)"),
        ({"simulated": False}, True, (0.5, 0.25, 0.25, 0), "share goes to: seen, extended"),
        ({"seen": False, "simulated": False}, True, (0.5, 0, 0.5, 0), "goes to: extended"),
        ({"extended": False, "simulated": False}, True, (0.5, 0.5, 0, 0), "goes to: seen"),
        ({"seen": False, "extended": False}, True, (0.5, 0, 0, 0.5), "goes to: simulated"),
        ({"seen_share": 0.2}, True, (0.5, 0.05, 0.2, 0.25), None),
    ],
)
def test_the_share_of_what_cannot_be_made_goes_to_the_rest(
    switches: dict[str, Any], seen: bool, shares: tuple[float, ...], words: str | None
) -> None:
    found, notes = share_out(Recipe(**switches), seen)
    assert found == pytest.approx(shares)
    assert len(notes) == (words is not None)
    assert words is None or words in notes[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seen": False, "extended": False, "simulated": False}, "needs one kind of anomaly"),
        ({"shares": (0.5, 0.5, 0.5)}, r"add up to 1, not all of it normal; got \(0.5, 0.5, 0.5\)"),
        ({"shares": (1.0, 0.0, 0.0)}, "not all of it normal"),
        ({"shares": (0.5, 0.75, -0.25)}, "three numbers from 0 on"),
        ({"seen_share": 1.5}, r"seen_share must lie in \[0, 1\], got 1.5"),
        ({"beta": (0.5, 1.0)}, r"beta must be a range within \[0, 1\), got \(0.5, 1.0\)"),
        ({"beta": (0.5, 0.2)}, "beta must be a range"),
    ],
)
def test_a_recipe_refuses_nonsense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Recipe(**options)


def test_a_recipe_can_be_written_as_json() -> None:
    kept = json.loads(json.dumps(asdict(Recipe(beta=(0.1, 0.5)))))
    assert kept["beta"] == [0.1, 0.5]
    assert kept["textures"] is None
