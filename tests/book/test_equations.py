"""Equations are numbered, and chapters and docstrings name each other's by labels that exist."""

import ast
import re
from collections import Counter
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^\$\$\n(.+?)^\$\$ *(?:\((.*?)\))?$", re.DOTALL | re.MULTILINE)
SAID = re.compile(r":eq:`([^`]+)`(?:\s+and\s+:eq:`([^`]+)`)?,\s+chapter\s+(\d+)")


def pages() -> dict[str, str]:
    """The Markdown of each notebook and page, by the name of its file."""
    found = {p.name: p.read_text(encoding="utf-8") for p in (ROOT / "book").rglob("*.md")}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        found[path.name] = "\n\n".join(c.source for c in cells if c.cell_type == "markdown")
    return found


def docstrings() -> dict[str, str]:
    """Each docstring of the library, by its file and name."""
    found = {}
    for path in (ROOT / "adlib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                name = f"{path.relative_to(ROOT)}: {getattr(node, 'name', '')}"
                found[name] = ast.get_docstring(node, clean=False) or ""
    return found


def labels() -> list[tuple[str, str]]:
    """Each label of an equation, with the page that it is on."""
    return [
        (label, page)
        for page, text in pages().items()
        for label in re.findall(r"^\$\$ \((eq-[a-z0-9-]+)\)$", text, re.MULTILINE)
    ]


def test_every_displayed_equation_has_a_number() -> None:
    bare = [
        f"{page}: {body.strip()[:60]}"
        for page, text in pages().items()
        for body, label in BLOCK.findall(text)
        if not label.startswith("eq-")
    ]
    assert not bare


def test_every_label_is_on_one_page_only() -> None:
    assert labels()
    counts = Counter(label for label, _ in labels())
    assert [label for label, count in counts.items() if count > 1] == []


def test_every_reference_resolves_and_every_number_is_referred_to() -> None:
    known = {label for label, _ in labels()}
    said = {
        (where, label)
        for texts, role in ((pages(), r"\{eq\}`([^`]+)`"), (docstrings(), r":eq:`([^`]+)`"))
        for where, text in texts.items()
        for label in re.findall(role, text)
    }
    assert [f"{where}: {label}" for where, label in sorted(said) if label not in known] == []
    assert sorted(known - {label for _, label in said}) == []


def test_a_docstring_names_the_chapter_that_holds_its_equation() -> None:
    chapter = {label: int(page[:2]) for label, page in labels()}
    for where, text in docstrings().items():
        told = [(label, int(n)) for a, b, n in SAID.findall(text) for label in (a, b) if label]
        assert len(told) == text.count(":eq:"), f"{where}: say ':eq:`...`, chapter N'"
        assert [label for label, n in told if chapter.get(label, n) != n] == [], where


def test_each_chapter_leads_to_the_code_that_names_its_equations() -> None:
    """The docstrings lead to the chapter already, so links go both ways."""
    linked = {
        page: re.findall(r"\{py:obj\}`~?([\w.]+)`", text)
        for page, text in pages().items()
        if page.endswith(".ipynb")
    }
    assert [page for page, names in linked.items() if not names] == []
    for where, text in docstrings().items():
        module = where.split(".py:")[0].replace("/", ".")
        for _, _, n in SAID.findall(text):
            (names,) = (names for page, names in linked.items() if int(page[:2]) == int(n))
            assert any(name.startswith(f"{module}.") for name in names), f"chapter {n}: {module}"
