"""Notebooks of a few lines, for the tests of sweeps: they import nothing heavy."""

import json
from pathlib import Path


def write_notebook(path: Path, parameters: str | None, *cells: str) -> Path:
    """Write a notebook with a cell tagged `parameters`, unless that is None, and further cells."""
    sources = [] if parameters is None else [(parameters, ["parameters"])]
    sources += [(cell, []) for cell in cells]
    notebook = {
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{i}",
                "metadata": {"tags": tags},
                "source": source,
                "outputs": [],
                "execution_count": None,
            }
            for i, (source, tags) in enumerate(sources)
        ],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "p", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook))
    return path
