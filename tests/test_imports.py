"""Imports run one way, without circles, and `import adlib` is light."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Each part may import from the parts of the rows below its own: the arrows of CONTRIBUTING.md.
ROWS = (
    ("__main__",),
    ("cli",),
    ("commands", "study"),
    ("report", "sweep"),
    ("engine",),
    ("methods",),
    ("anomalies", "nn", "figures"),
    ("data", "metrics"),
    ("settings", "system"),
)
HEAVY = {"torch", "torchvision", "timm", "matplotlib", "scipy", "sklearn", "skimage", "pandas"}


def imports(source: str, package: str, known: set[str]) -> set[str]:
    """Return the modules among `known` that the source of a module of `package` imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(start if node.level else []), *filter(None, [node.module])])
            found |= {f"{base}.{alias.name}" for alias in node.names} | {base}
    return found & known


def arrows() -> dict[str, set[str]]:
    """Return what each module of adlib imports of adlib; a package stands for its `__init__`."""
    paths = {}
    for path in (ROOT / "adlib").rglob("*.py"):
        parts = ("adlib", *path.relative_to(ROOT / "adlib").with_suffix("").parts)
        paths[".".join(parts).removesuffix(".__init__")] = path
    return {
        name: imports(
            path.read_text(encoding="utf-8"),
            name if path.stem == "__init__" else name.rpartition(".")[0],
            {*paths} - {"adlib"},
        )
        for name, path in paths.items()
        if name != "adlib"  # the front door offers every part, lazily
    }


def wrong(found: dict[str, set[str]]) -> list[str]:
    """Return the arrows that go up or sideways, those within a part left out, and one circle."""
    row = {part: i for i, parts in enumerate(ROWS) for part in parts}  # KeyError: give it a row
    part = {name: name.split(".")[1] for name in {*found, *chain.from_iterable(found.values())}}
    arrows = [(a, b) for a, others in found.items() for b in others if part[a] != part[b]]
    told = [f"{a} -> {b}" for a, b in sorted(arrows) if row[part[a]] >= row[part[b]]]
    graph = {  # a package imports its own modules
        one: {other for other in others if not one.startswith(f"{other}.")}
        for one, others in found.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        told.append(f"circle {error.args[1]}")
    return told


def test_imports_run_downwards_and_in_no_circle() -> None:
    found = arrows()
    assert len(found) > 50
    assert wrong(found) == []


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("from adlib.nn.encoder import Encoder", "adlib.methods", {"adlib.nn", "adlib.nn.encoder"}),
        ("from adlib.nn import encoder", "adlib.methods", {"adlib.nn", "adlib.nn.encoder"}),
        ("from ..nn import encoder", "adlib.methods", {"adlib.nn", "adlib.nn.encoder"}),
        ("from . import encoder", "adlib.nn", {"adlib.nn", "adlib.nn.encoder"}),
        ("def f():\n    import adlib.nn as e", "adlib.data", {"adlib.nn"}),
        ("import numpy, adlibrary.nn", "adlib.data", set()),
    ],
)
def test_every_form_of_import_is_seen(source: str, package: str, expected: set[str]) -> None:
    found = imports(source, package, {"adlib.nn", "adlib.nn.encoder"})
    assert found - {"adlib.nn"} == expected - {"adlib.nn"}
    assert found <= expected


def test_up_sideways_and_circles_are_wrong() -> None:
    assert wrong({"adlib.methods.prn": {"adlib.nn.encoder", "adlib.metrics"}}) == []
    assert wrong({"adlib.data.split": {"adlib.nn"}}) == ["adlib.data.split -> adlib.nn"]
    assert wrong({"adlib.nn.a": {"adlib.anomalies"}}) == ["adlib.nn.a -> adlib.anomalies"]
    assert wrong({"adlib.nn.a": {"adlib.nn.b"}, "adlib.nn.b": {"adlib.nn.a"}})


def test_importing_adlib_loads_nothing_heavy() -> None:
    code = "import sys, adlib; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    assert "adlib" in loaded
    assert not HEAVY & set(loaded)
