"""Notebooks of a few lines and sweeps of them: they import nothing heavy."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_notebook(path: Path, parameters: str | None, *cells: str) -> Path:
    """Write a notebook with a cell tagged `parameters`, unless that is None, and further cells."""
    sources = [] if parameters is None else [(parameters, ["parameters"])]
    sources += [(cell, []) for cell in cells]
    notebook = {
        "cells": [
            {"cell_type": "code", "id": f"cell-{i}", "metadata": {"tags": tags}, "source": source,
             "outputs": [], "execution_count": None}
            for i, (source, tags) in enumerate(sources)
        ],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "p", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook))
    return path


def write_sweep(folder: Path, text: str, *cells: str, parameters: str | None = "steps = 1") -> Path:
    """Write a sweep's file beside its notebook `n.ipynb`, in a folder with a space in its name."""
    write_notebook(folder / "a {sweep}/n.ipynb", parameters, *cells)
    path = folder / "a {sweep}/s.yml"
    path.write_text(text)
    return path


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 90) -> Any:
    """Wait until the condition gives something, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.05)
    return found
