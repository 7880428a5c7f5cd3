"""The drawn architectures: in the names of the code, marked by origin, and legible."""

import itertools
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", ["pro_ad", "prn"])
def test_a_drawing_fits_its_code_and_its_boxes_do_not_overlap(name: str) -> None:
    drawn = (ROOT / f"book/_static/{name}.svg").read_text(encoding="utf-8")
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")
    root = ElementTree.fromstring(drawn)
    files = [ROOT / f"adlib/methods/{module}.py" for module in (name, "detector")]
    source = "".join(path.read_text(encoding="utf-8") for path in files)
    codes = [str(text.text) for text in root.iter(f"{SVG}text") if text.get("class") == "c"]
    assert len(codes) > 8
    assert [code for code in codes if not re.search(rf"\b{code}\b", source)] == []
    width, height = int(root.attrib["width"]), int(root.attrib["height"])
    rects = [r for r in root.iter(f"{SVG}rect") if r.get("stroke") and r.get("fill") != "none"]
    boxes = [tuple(float(r.attrib[k]) for k in ("x", "y", "width", "height")) for r in rects]
    assert len(boxes) > 14
    assert all(x >= 0 and x + w <= width and y + h <= height for x, y, w, h in boxes)
    for (x, y, w, h), (p, q, r, s) in itertools.combinations(boxes, 2):
        assert x + w <= p or p + r <= x or y + h <= q or q + s <= y, ((x, y), (p, q))
    legend = rects[-4:]  # each mark has a colour and a line of its own
    marks = {(r.get("fill"), r.get("stroke"), r.get("stroke-dasharray")) for r in legend}
    assert len(marks) == 4
    assert {(r.get("fill"), r.get("stroke"), r.get("stroke-dasharray")) for r in rects} <= marks
