"""What all configs refuse, in the same words."""

from types import SimpleNamespace
from typing import Any

import pytest

from adlib.methods.config import check


def test_what_the_encoder_decides_passes() -> None:
    check(SimpleNamespace(blocks=2, prototypes=None), at_least_one=("blocks", "prototypes"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"top": 1.0}, r"top must lie in \[0, 1\), got 1.0"),
        ({"hardness": -1.0}, "hardness must not be negative, got -1.0"),
        ({"blocks": 3}, "blocks must be even .*, got 3"),
        ({"attention": "cubic"}, "unknown attention 'cubic'; known are linear, softmax"),
    ],
)
def test_each_refusal_names_field_and_value(changes: dict[str, Any], words: str) -> None:
    good = {"steps": 1, "top": 0.0, "hardness": 0.0, "blocks": 2, "attention": "linear"}
    with pytest.raises(ValueError, match=words):
        check(
            SimpleNamespace(**(good | changes)),
            at_least_one=("steps",),
            shares=("top",),
            not_negative=("hardness",),
        )
