"""What the engine may ask of a method: every method is a final `Detector`."""

import inspect

import pytest

from adlib.data import load_builtin
from adlib.methods import METHODS
from adlib.methods.detector import Detector, TokenDetector

MAY_BE_ANSWERED_ANEW = {"__init__", "training_set"}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_implements_what_is_abstract_and_overrides_nothing_else(name: str) -> None:
    build, settings = METHODS[name]
    assert issubclass(build, Detector)
    assert build.name == name
    assert not inspect.isabstract(build)
    for base in (Detector, TokenDetector):
        if issubclass(build, base):
            functions = {n: f for n, f in vars(base).items() if inspect.isfunction(f)}
            done = {n for n, f in functions.items() if not hasattr(f, "__isabstractmethod__")}
            assert not done & {*vars(build)} - MAY_BE_ANSWERED_ANEW
    assert build.__init__.__annotations__["config"] == settings | None


def test_only_prn_learns_from_defects() -> None:
    assert [n for n, (build, _) in METHODS.items() if build.learns_from_defects] == ["prn"]
    build, settings = METHODS["dinomaly"]
    method = build(settings(weights="random", size=(28, 28)))
    with pytest.raises(TypeError, match="dinomaly trains on cached features"):
        method.training_set(load_builtin(train=1, test=2).train, None, 0)
