"""What the methods' configs have in common: what is checked, and the encoder they name."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf
from numbers import Integral
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import Tensor

from adlib.nn.encoder import Encoder

PAPER: Mapping[str, Any] = MappingProxyType(
    {
        "encoder": "dinov2-b",
        "size": (392, 392),
        "resize": (448, 448),
        "blocks": 8,
        "mlp_ratio": 4.0,
        "batch": 16,
    }
)
"""Size that Dinomaly and INP-Former have in their papers, and Pro-AD's by inference."""


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


def heads_for(width: int) -> int:
    """Return the attention heads that suit a width where a config leaves them open."""
    return max(1, width // 64)


def resolved(method: Any) -> Any:
    """Return a method's config with each None that the encoder or the data decided filled in.

    These are `layers`, `heads`, and `prototypes`: of PRN only once they have been fitted.
    """
    config = method.config
    prototypes = getattr(method, "prototypes", None)
    if isinstance(prototypes, Tensor):
        count = prototypes.shape[-2]
    else:  # a set at each scale, or no prototypes
        count = (len(prototypes[0].p) if prototypes else 0) or None
    decided = {
        "layers": method.encoder.layers,
        "heads": heads_for(method.encoder.widths[0]),
        "prototypes": count,
    }
    unset = [name for name in decided if getattr(config, name, 0) is None]
    return replace(config, **{name: decided[name] for name in unset})


WHOLE = "be a whole number"
RANGES: Mapping[str, tuple[Callable[[float], bool], str]] = MappingProxyType(
    dict.fromkeys(("dropout", "top", "easy"), (lambda x: 0 <= x < 1, "lie in [0, 1)"))
    | dict.fromkeys(("lr", "clip", "mlp_ratio"), (lambda x: 0 < x < inf, "be positive and finite"))
    | {"easy_gradient": (lambda x: 0 <= x <= 1, "lie in [0, 1]")}
    | {"ratio": (lambda x: 0 < x <= 1, "lie in (0, 1]")}
    | dict.fromkeys(
        ("hardness", "coherence", "prototype_lr", "decay"), (lambda x: x >= 0, "not be negative")
    )
)
"""Of the fields that are no whole numbers: what is allowed, and how it is said."""


def check(config: Any, *, zero: tuple[str, ...] = (), even_blocks: bool = True) -> None:
    """Refuse what no run can be made with; None, "as the encoder has it", passes.

    A field whose type is a `Literal` must have one of its words. Whole numbers must be at least 1;
    `dictionary`, `overlap`, `warmup` and those in `zero` may be 0. `RANGES` has the other fields.

    Args:
        config: A method's config, a dataclass.
        zero: Names of further whole numbers that may be 0.
        even_blocks: Whether it has `blocks`, whose outputs make two groups.
    Raises:
        ValueError: Names the field, what was expected and what came.
    """
    for name, hint in get_type_hints(type(config)).items():
        known, value = _words(hint), getattr(config, name)
        if known and value not in known:
            raise ValueError(f"unknown {name} {value!r}; known are {', '.join(known)}")
        if value is None:
            continue
        if hint in (int, int | None):
            least = 0 if name in ("dictionary", "overlap", "warmup", *zero) else 1
            whole = isinstance(value, Integral)
            good, expected = value >= least and whole, f"be at least {least}" if whole else WHOLE
        elif name in RANGES:
            allows, expected = RANGES[name]
            good = allows(value)
        elif name in ("size", "resize"):
            good, expected = min(value) >= 1, "be a height and a width of at least 1"
        else:
            continue
        if not good:
            raise ValueError(f"{name} must {expected}, got {value}")
    if getattr(config, "tile", None) is not None and config.overlap >= config.tile:
        raise ValueError(f"overlap must be below the tile's {config.tile}, got {config.overlap}")
    if even_blocks and config.blocks % 2:
        raise ValueError(f"blocks must be even (two groups of outputs), got {config.blocks}")


def _words(hint: Any) -> tuple[str, ...]:
    """The words that a type allows, if it allows words only."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    parts = [_words(part) for part in get_args(hint)]
    return tuple(word for part in parts for word in part) if parts and all(parts) else ()
