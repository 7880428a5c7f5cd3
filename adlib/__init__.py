"""adlib: Pro-AD and PRN, two papers on visual anomaly detection, readable, checkable and usable.

Names load lazily: torch and timm are imported when a name that needs them is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from adlib import metrics
    from adlib.data import *
    from adlib.engine import *
    from adlib.methods import *

__all__ = [
    "PRN",
    "Dinomaly",
    "DinomalyConfig",
    "INPFormer",
    "INPFormerConfig",
    "PRNConfig",
    "PatchCore",
    "PatchCoreConfig",
    "ProAD",
    "ProADConfig",
    "TrainOptions",
    "evaluate",
    "fit",
    "load_data",
    "load_run",
    "metrics",
    "predict",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'adlib' has no attribute {name!r}")
    if name == "metrics":
        return import_module("adlib.metrics")
    parts = map(import_module, ("adlib.data", "adlib.methods", "adlib.engine"))
    return next(getattr(part, name) for part in parts if name in part.__all__)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
