"""Imports run one way, and `import adlib` is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Each row may import from the rows below it, and never from its own: the arrows of CONTRIBUTING.md.
ROWS = (
    ("__main__",),
    ("cli",),
    ("data_commands", "report_command"),
    ("comparison",),
    (
        "sweep",
        "report",
        "explore",
        "gallery",
        "export",
        "mechanism",
        "cost",
        "anomaly_figures",
        "choice",
        "guesses",
    ),
    ("engine",),
    ("methods", "features", "runs", "figures", "linear_autoencoder"),
    ("data", "nn", "metrics", "calibration", "hardware", "progress", "published"),
    ("disk",),
)
HEAVY = {"torch", "torchvision", "timm", "matplotlib", "scipy", "sklearn", "skimage", "pandas"}


def row_of(part: str) -> int:
    """Which row a module or package directly below adlib stands in."""
    found = [i for i, names in enumerate(ROWS) if part in names]
    assert found, f"adlib/{part} stands in no row of tests/test_imports.py; give it one"
    return found[0]


def imported_parts(source: str, package: tuple[str, ...]) -> set[str]:
    """Parts of adlib that a module imports, anywhere in it.

    Args:
        source: its text.
        package: the package that it lies in, such as ("adlib", "data").
    """
    parts = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*start, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        parts |= {name.split(".")[1] for name in names if name.startswith("adlib.")}
    return parts


def wrong_arrows(part: str, imported: set[str]) -> list[str]:
    """Imports of `part` that go up or sideways; its own package and adlib's version are free."""
    others = imported - {part, "__version__"}
    return sorted(f"{part} -> {other}" for other in others if row_of(other) <= row_of(part))


def test_imports_run_downwards() -> None:
    wrong = []
    for path in sorted((ROOT / "adlib").rglob("*.py")):
        package = ("adlib", *path.relative_to(ROOT / "adlib").parent.parts)
        part = package[1] if len(package) > 1 else path.stem
        if part != "__init__":  # the front door offers every part, lazily
            wrong += wrong_arrows(part, imported_parts(path.read_text(encoding="utf-8"), package))
    assert not wrong


@pytest.mark.parametrize(
    ("source", "package", "parts"),
    [
        ("from adlib.nn.encoder import Encoder", ("adlib",), {"nn"}),
        ("from adlib import runs, data", ("adlib",), {"runs", "data"}),
        ("from ..nn import encoder", ("adlib", "methods"), {"nn"}),
        ("from . import prn", ("adlib", "methods"), {"methods"}),
        ("def f():\n    import adlib.engine as e", ("adlib", "data"), {"engine"}),
        ("import numpy, adlibrary.data", ("adlib",), set()),
    ],
)
def test_every_form_of_import_is_seen(
    source: str, package: tuple[str, ...], parts: set[str]
) -> None:
    assert imported_parts(source, package) == parts


def test_up_and_sideways_are_wrong() -> None:
    assert wrong_arrows("methods", {"methods", "nn", "metrics", "__version__"}) == []
    assert wrong_arrows("data", {"nn"}) == ["data -> nn"]
    assert wrong_arrows("runs", {"engine", "data"}) == ["runs -> engine"]


def test_importing_adlib_loads_nothing_heavy() -> None:
    code = "import sys, adlib; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    assert "adlib" in loaded
    assert not HEAVY & set(loaded)
