"""What the engine asks of a method, against the methods; as Python 3.12 asks it, too.

From 3.12 on `isinstance` with a protocol looks attributes up without calling `__getattr__`, by
which torch finds the modules of a module.
"""

import inspect
from typing import Any

import pytest

from adlib.engine.features import Extractor
from adlib.methods import METHODS
from adlib.methods.method import Method, Supervised

SIZE = {"prn": (64, 64)}


def made(name: str) -> Any:
    build, settings = METHODS[name]
    return build(settings(weights="random", size=SIZE.get(name, (28, 28))))


def members(protocol: type) -> set[str]:
    """Names that a protocol asks for, with those of the protocols it is made of."""
    asked = [c for c in protocol.__mro__ if getattr(c, "_is_protocol", False)]
    functions = {n for c in asked for n, v in vars(c).items() if inspect.isfunction(v)}
    notes = {n for c in asked for n in vars(c).get("__annotations__", {})}
    return {n for n in functions | notes if n not in ("__init__", "__subclasshook__")} - {
        "_no_init_or_replace_init"
    }


@pytest.mark.parametrize("name", METHODS)
def test_all_that_is_asked_for_is_there_without_getattr(name: str) -> None:
    method = made(name)
    asked = [Method, Extractor] + ([Supervised] if name == "prn" else [])
    for protocol in asked:
        assert isinstance(method, protocol)
        assert len(members(protocol)) > 1
        for member in members(protocol):
            inspect.getattr_static(method, member)


def test_only_who_learns_from_defects_is_supervised() -> None:
    assert [name for name in METHODS if isinstance(made(name), Supervised)] == ["prn"]
