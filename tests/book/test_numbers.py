"""No result is typed into prose: a number there comes from code, or is none, and says why."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
UNITS = r"%|per cent|percent|points?|times|ms|s|seconds?|minutes?|hours?|[KMG]i?B|images/s|million"
# A decimal, or a whole number with a unit that a result would have. Years, sizes, seeds, counts and
# names such as ViT-B/14 are none.
RESULT = re.compile(
    rf"(?<![\w.,/-])[-+−]?(?:\d[\d,]*\.\d+(?!\.?\w)|\d[\d,]*(?=\s?(?:{UNITS})(?!\w)))"
)
SILENT = (  # what holds no prose: mathematics, code, roles with their targets, addresses, tags
    r"(?s:\$\$.*?\$\$)(?: \(.*?\))?|\$[^$]+\$",
    r"\{[\w:]+\}`[^`]*`|`[^`]*`",
    r"\]\([^)]*\)|https?://\S+|</?[a-z][^>]*>",
    r"^\((?:[\w-]+)\)=$|^:\w+: .*$",
)
ALLOWED: dict[str, dict[str, str]] = yaml.safe_load(
    Path(__file__).with_name("numbers.yml").read_text(encoding="utf-8")
)


def without_code(markdown: str) -> str:
    """Drop blocks of code; keep what stands in directives, exercises and solutions among them."""
    kept, fences = [], []
    for line in markdown.splitlines():
        mark = re.match(r"\s*(```+|:::+)(.*)", line)
        if mark and not mark[2].strip() and fences:
            fences.pop()
        elif mark:
            fences.append(mark[2].startswith("{") and not mark[2].startswith("{eval-rst"))
        elif all(fences):
            kept.append(line)
    return "\n".join(kept)


def plain(markdown: str) -> str:
    """The words of Markdown, with single spaces."""
    text = without_code(markdown)
    for pattern in SILENT:
        text = re.sub(pattern, " ", text, flags=re.MULTILINE)
    return " ".join(text.split())


def written(path: Path) -> Iterator[str]:
    """The Markdown of a page, and its captions."""
    if path.suffix == ".md":
        yield path.read_text(encoding="utf-8")
        return
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            yield cell.source
        yield cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "")


def shown(path: Path) -> Iterator[str]:
    """What a page says: as written, in descriptions, and in words around computed numbers."""
    yield from written(path)
    cells = [] if path.suffix == ".md" else nbformat.read(path, as_version=4).cells
    for cell in (c for c in cells if c.cell_type == "code"):
        yield cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        source = re.sub(r"^(\s*)[%!].*$", r"\1pass", cell.source, flags=re.MULTILINE)
        for call in ast.walk(ast.parse(source)):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Markdown":
                strings = (n.value for n in ast.walk(call) if isinstance(n, ast.Constant))
                yield "\n\n".join(s for s in strings if isinstance(s, str))


def typed(text: str, allowed: list[str]) -> list[str]:
    """Numbers that look like results, each with its surroundings, but for the allowed ones."""
    free = [m.span() for words in allowed for m in re.finditer(re.escape(words), text)]
    return [
        text[max(0, hit.start() - 40) : hit.end() + 20]
        for hit in RESULT.finditer(text)
        if not any(start <= hit.start() and hit.end() <= end for start, end in free)
    ]


PAGES = [
    path
    for folder, kind in (("book", "*.md"), ("book/api", "*.md"), ("notebooks", "*.ipynb"))
    for path in sorted((ROOT / folder).glob(kind))
]


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_a_result_in_prose_comes_from_code(path: Path) -> None:
    allowed = [*ALLOWED["everywhere"], *ALLOWED.get(path.stem, {})]
    assert [hit for text in shown(path) for hit in typed(plain(text), allowed)] == []


def test_what_is_allowed_is_there_and_has_a_reason() -> None:
    texts = {path.stem: " ".join(plain(text) for text in shown(path)) for path in PAGES}
    assert set(ALLOWED) <= {"everywhere", *texts}
    for stem, entries in ALLOWED.items():
        where = " ".join(texts.values()) if stem == "everywhere" else texts[stem]
        assert [words for words in entries if words not in where] == []
        assert all(len(reason) > 10 for reason in entries.values()), stem


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("It reached 87.3 in the end.", 1),
        ("Pro-AD has 98 % and Dinomaly 3 points less, in 12 seconds.", 3),
        ("an AUROC of 0.87, **1.5 times** as much; 4 GiB", 3),
        ("In 2024, 15 categories, seed 0, ViT-S/14, 256 pixels, {cite}`x2024`, `0.5`, $0.5$", 0),
        ("torch 2.6.0 of arXiv 2506.13097v1 and a share of 1/11", 0),
        ("```{solution} a\n:class: dropdown\nIt is 0.9.\n```\n\n```python\nx = 0.5\n```\n", 1),
        ("$$\n0.5\n$$ (eq-x)\n\n10-fold, top-5 and chapter 3", 0),
    ],
)
def test_results_are_told_from_other_numbers(said: str, found: int) -> None:
    assert len(typed(plain(said), [])) == found
