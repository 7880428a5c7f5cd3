"""The methods: the papers' own and the yardsticks they are measured against."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from adlib.methods.dinomaly import Dinomaly, DinomalyConfig
from adlib.methods.inp_former import INPFormer, INPFormerConfig
from adlib.methods.patchcore import PatchCore, PatchCoreConfig
from adlib.methods.prn import PRN, PRNConfig
from adlib.methods.pro_ad import ProAD, ProADConfig

METHODS: Mapping[str, tuple[Any, Any]] = MappingProxyType(
    {
        "pro-ad": (ProAD, ProADConfig),
        "prn": (PRN, PRNConfig),
        "dinomaly": (Dinomaly, DinomalyConfig),
        "inp-former": (INPFormer, INPFormerConfig),
        "patchcore": (PatchCore, PatchCoreConfig),
    }
)
"""Name on the command line and in a record: the method's class and its config's."""

__all__ = [
    "METHODS",
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
]
