"""The methods: the papers' own and the yardsticks they are measured against."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from adlib.methods.dinomaly import Dinomaly, DinomalyConfig
from adlib.methods.pro_ad import ProAD, ProADConfig

METHODS: Mapping[str, tuple[Any, Any]] = MappingProxyType(
    {"pro-ad": (ProAD, ProADConfig), "dinomaly": (Dinomaly, DinomalyConfig)}
)
"""Name on the command line and in a record: the method's class and its config's."""

__all__ = ["METHODS", "Dinomaly", "DinomalyConfig", "ProAD", "ProADConfig"]
