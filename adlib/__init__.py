"""adlib: Pro-AD and PRN, two papers on visual anomaly detection, readable, checkable and usable.

Importing adlib does no work: each name below brings its module, and with it torch or timm, when it
is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from adlib import metrics
    from adlib.data import load_data
    from adlib.engine import TrainOptions, evaluate, fit, load_run, predict
    from adlib.methods import (
        PRN,
        Dinomaly,
        DinomalyConfig,
        INPFormer,
        INPFormerConfig,
        PatchCore,
        PatchCoreConfig,
        PRNConfig,
        ProAD,
        ProADConfig,
    )

_HOMES = {
    "load_data": "adlib.data",
    "Dinomaly": "adlib.methods",
    "DinomalyConfig": "adlib.methods",
    "INPFormer": "adlib.methods",
    "INPFormerConfig": "adlib.methods",
    "PatchCore": "adlib.methods",
    "PatchCoreConfig": "adlib.methods",
    "PRN": "adlib.methods",
    "PRNConfig": "adlib.methods",
    "ProAD": "adlib.methods",
    "ProADConfig": "adlib.methods",
    "TrainOptions": "adlib.engine",
    "fit": "adlib.engine",
    "evaluate": "adlib.engine",
    "predict": "adlib.engine",
    "load_run": "adlib.engine",
}

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
    if name == "metrics":
        return import_module("adlib.metrics")
    if name not in _HOMES:
        raise AttributeError(f"module 'adlib' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
