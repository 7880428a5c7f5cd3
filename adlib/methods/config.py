"""What the methods' configs have in common: what is checked, and the encoder they name."""

from typing import Any

from adlib.nn.attention import check_kind
from adlib.nn.encoder import Encoder


def encoder_of(config: Any) -> Encoder:
    """Return the frozen encoder that a config names.

    Raises:
        ValueError: A size or layer that does not fit it.
        WeightsError: Its weights cannot be had.
    """
    return Encoder(
        config.encoder,
        config.size,
        layers=config.layers,
        weights=config.weights,
        offline=config.offline,
    )


def check(
    config: Any,
    *,
    at_least_one: tuple[str, ...] = (),
    shares: tuple[str, ...] = (),
    not_negative: tuple[str, ...] = (),
    even_blocks: bool = True,
) -> None:
    """Refuse what no run can be made with; None, "as the encoder has it", passes.

    Args:
        config: A method's config.
        at_least_one: Names of whole numbers.
        shares: Names of numbers in [0, 1).
        not_negative: Names of numbers from 0 on.
        even_blocks: Whether it has `blocks`, whose outputs make two groups.
    Raises:
        ValueError: Names the field, what was expected and what came.
    """
    for names, ok, expected in (
        (at_least_one, lambda x: x >= 1, "be at least 1"),
        (shares, lambda x: 0 <= x < 1, "lie in [0, 1)"),
        (not_negative, lambda x: x >= 0, "not be negative"),
    ):
        for name in names:
            value = getattr(config, name)
            if value is not None and not ok(value):
                raise ValueError(f"{name} must {expected}, got {value}")
    if hasattr(config, "attention"):
        check_kind(config.attention)
    if even_blocks and config.blocks % 2:
        raise ValueError(f"blocks must be even (two groups of outputs), got {config.blocks}")
