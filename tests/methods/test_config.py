"""What all configs refuse, in the same words."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from adlib.engine.runs import config_from
from adlib.methods import METHODS
from adlib.methods.config import check

Form = Literal["square", "scaled"]


@dataclass
class Config:
    steps: int = 1
    prototypes: int | None = None
    blocks: int = 2
    top: float = 0.0
    hardness: float = 0.0
    lr: float = 1e-3
    warmup: int = 0
    attention: Literal["linear", "softmax"] = "linear"
    residuals: Form | Literal["off"] = "off"
    weights: Path | Literal["random"] | None = None

    def __post_init__(self) -> None:
        check(
            self,
            at_least_one=("steps", "prototypes"),
            shares=("top",),
            not_negative=("hardness",),
        )


def test_what_the_encoder_decides_passes() -> None:
    assert Config(prototypes=None).prototypes is None
    assert Config(weights=Path("a.pth")).weights != "random"  # words, and other things beside


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"top": 1.0}, r"top must lie in \[0, 1\), got 1.0"),
        ({"hardness": -1.0}, "hardness must not be negative, got -1.0"),
        ({"blocks": 3}, "blocks must be even .*, got 3"),
        ({"attention": "cubic"}, "unknown attention 'cubic'; known are linear, softmax"),
        ({"residuals": "Off"}, "unknown residuals 'Off'; known are square, scaled, off"),
        ({"steps": 2.5}, "steps must be a whole number, got 2.5"),
        ({"lr": -1.0}, "lr must be positive and finite, got -1.0"),
        ({"lr": float("nan")}, "lr must be positive and finite, got nan"),
        ({"warmup": -5}, "warmup must not be negative, got -5"),
    ],
)
def test_each_refusal_names_field_and_value(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Config(**changes)


@pytest.mark.parametrize(
    ("method", "field", "value"),
    [
        ("pro-ad", "update", "every_block"),  # each was another arm, and said nothing
        ("pro-ad", "mining", "easy_points"),
        ("pro-ad", "start", "feature"),
        ("pro-ad", "noise", "ramp"),
        ("pro-ad", "attention", "topk"),
        ("pro-ad", "constraint", "ankor"),
        ("prn", "fusion", "Own"),
        ("prn", "schedule", "cos"),
        ("prn", "norm", "layer"),
        ("prn", "optimiser", "sgd"),
        ("prn", "residuals", "squared"),
        ("prn", "patch_attention", "G"),
        ("dinomaly", "attention", "relu"),
    ],
)
def test_a_mistyped_switch_is_no_other_arm(method: str, field: str, value: str) -> None:
    config = METHODS[method][1]()  # jaxtyping, on in tests only, would refuse the word before
    object.__setattr__(config, field, value)
    with pytest.raises(ValueError, match=f"unknown {field} '{value}'; known are "):
        config.__post_init__()


@pytest.mark.parametrize("method", ["pro-ad", "dinomaly", "inp-former"])
@pytest.mark.parametrize("changes", [{"clip": 0.0}, {"mlp_ratio": 0.0}, {"heads": 0}])
def test_no_decoder_is_made_without_width_or_gradient(method: str, changes: dict[str, Any]) -> None:
    (field,) = changes
    with pytest.raises(ValueError, match=f"{field} must be "):
        config_from(METHODS[method][1], changes)
