"""The drawn architectures: up to date, and in the names of the code."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from book.drawings import DRAWINGS, STATIC, Box, picture

METHODS = Path(__file__).resolve().parents[2] / "adlib/methods"


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_is_what_its_code_draws(name: str) -> None:
    drawn = (STATIC / f"{name}.svg").read_text(encoding="utf-8")
    assert drawn == picture(*DRAWINGS[name]), "python -m book.drawings draws it anew"
    ElementTree.fromstring(drawn)
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_uses_the_names_of_the_code(name: str) -> None:
    source = "".join((METHODS / f"{n}.py").read_text(encoding="utf-8") for n in (name, "detector"))
    boxes = [part for part in DRAWINGS[name][2] if isinstance(part, Box)]
    assert len(boxes) > 10
    for box in boxes:
        assert re.search(rf"\b{box.code}\b", source), f"{box.title}: no {box.code} in {name}.py"


@pytest.mark.parametrize("name", DRAWINGS)
def test_boxes_neither_overlap_nor_leave_the_drawing(name: str) -> None:
    _, height, parts = DRAWINGS[name]
    boxes = [part for part in parts if isinstance(part, Box)]
    for i, a in enumerate(boxes):
        assert a.x >= 0
        assert a.x + a.width <= 440
        assert a.y + a.height <= height
        for b in boxes[:i]:
            beside = a.x + a.width <= b.x or b.x + b.width <= a.x
            assert beside or a.y + a.height <= b.y or b.y + b.height <= a.y, (a.title, b.title)
