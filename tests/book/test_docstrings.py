"""Docstrings as Sphinx gets them, and the pages that show them."""

import re
from dataclasses import dataclass
from pathlib import Path

from adlib.methods import DinomalyConfig
from book.docstrings import as_rst, field_lines, fields_of, process

ROOT = Path(__file__).resolve().parents[2]
SHOWN_NOWHERE = {  # in the chapters; runs `cli`; hold nothing but modules
    "adlib",
    "adlib.__main__",
    *(f"adlib.{wing}" for wing in ("system", "anomalies", "study")),
    *(f"adlib.data.{wing}" for wing in ("readers", "rendered", "tools")),
}


def test_formulas_and_fences_become_directives() -> None:
    text = (
        "Of $x_l$ and $y$:\n\n    $$a = b,\\qquad\n      c = d$$\n\nThen\n\n```text\ncost $5\n```\n"
    )
    assert as_rst(text) == (
        "Of :math:`x_l` and :math:`y`:\n\n\n    .. math::\n\n       a = b,\\qquad c = d\n"
        "\n\nThen\n\n\n.. code-block:: text\n\n   cost $5\n\n"
    )


@dataclass(frozen=True)
class Small:
    """Of tests."""

    steps: int = 800  # optimiser steps; ours
    sizes: tuple[int, ...] = (  # pixels
        3,
        4,
    )  # a*b of the paper
    form: str = "none"
    """Sphinx shows this one itself."""
    plain: int = 0


def test_a_field_keeps_the_comment_behind_it() -> None:
    assert fields_of(Small) == {
        "steps": ("800", "optimiser steps; ours"),
        "sizes": ("(3, 4)", "a*b of the paper"),
        "plain": ("0", ""),
    }
    assert field_lines(Small)[1:-1] == [
        "* ``steps = 800``: optimiser steps; ours",
        "* ``sizes = (3, 4)``: a\\*b of the paper",
        "* ``plain = 0``",
    ]


def test_a_config_has_a_table_with_the_origin_of_each_default() -> None:
    lines: list[str] = []
    process(None, "class", "DinomalyConfig", DinomalyConfig, None, lines)
    i = lines.index("   * - ``ramp``")
    assert lines[i + 1] == "     - ``1000``"
    assert lines[i + 2] == "     - Steps in which `easy` grows from 0 to its full size."
    assert lines[i + 3] == "     - read in Dinomaly"


def test_every_module_is_in_the_reference() -> None:
    modules = set()
    for path in (ROOT / "adlib").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        modules.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    pages = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "book/api").glob("*.md"))
    shown = re.findall(r"automodule:: (\S+)", pages)
    assert len(shown) == len(set(shown))
    assert set(shown) == modules - SHOWN_NOWHERE
