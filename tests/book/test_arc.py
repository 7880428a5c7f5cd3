"""Each chapter opens with a question and an answer one can see, and ends with a way on."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
HEADINGS = ("A check by hand", "What could fool us", "Summary", "Exercises")


def numbered() -> list[str]:
    """Chapters: the notebooks of the parts that are numbered."""
    toc = yaml.safe_load((ROOT / "book/_toc.yml").read_text(encoding="utf-8"))
    files = [c["file"] for part in toc["parts"] if part.get("numbered") for c in part["chapters"]]
    return [Path(f).name for f in files if f.startswith("notebooks/")]


each_chapter = pytest.mark.parametrize("stem", numbered())


def cells(stem: str, kind: str = "markdown") -> list[NotebookNode]:
    notebook = nbformat.read(ROOT / f"notebooks/{stem}.ipynb", as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def prose(stem: str) -> str:
    return "\n\n".join(cell.source for cell in cells(stem))


@each_chapter
def test_it_opens_with_question_answer_needs_and_time(stem: str) -> None:
    opening = next(cell.source for cell in cells(stem) if "**Question.**" in cell.source)
    paragraphs = opening.split("\n\n")
    marks = ("# ", "**Question.**", "**Answer.**", "*You need*")
    assert [p[: len(m)] for p, m in zip(paragraphs, marks, strict=False)] == list(marks)
    assert "*It takes*" in paragraphs[3]
    shown = re.findall(r"\{numref\}`([^`]+)`", paragraphs[2])
    named = [
        c.metadata.get("mystnb", {}).get("figure", {}).get("name") for c in cells(stem, "code")
    ]
    assert shown
    assert set(shown) <= set(named)


@each_chapter
def test_it_checks_by_hand_doubts_sums_up_and_asks_in_this_order(stem: str) -> None:
    found = re.findall(r"^##+ (.+)$", prose(stem), re.MULTILINE)
    assert [h for h in found if h in HEADINGS] == list(HEADINGS)


@each_chapter
def test_each_exercise_has_a_folded_solution_whose_numbers_a_cell_checks(stem: str) -> None:
    text = prose(stem)
    asked = re.findall(r"```\{exercise\}\n:label: (\S+)", text)
    solved = re.findall(r"```\{solution\} (\S+)\n:class: dropdown", text)
    assert 2 <= len(asked) <= 3
    assert solved == asked
    notebook = nbformat.read(ROOT / f"notebooks/{stem}.ipynb", as_version=4)
    last = max(i for i, cell in enumerate(notebook.cells) if "```{solution}" in cell.source)
    check = notebook.cells[last + 1]
    assert check.cell_type == "code"
    assert "assert" in check.source
    assert "hide-cell" in check.metadata["tags"]  # it would tell the answer


@each_chapter
def test_it_ends_with_what_to_read_next_and_what_its_numbers_come_from(stem: str) -> None:
    assert re.match(r"\*\*Next:\*\* \{doc\}`", cells(stem)[-1].source)
    assert "report.origin(" in cells(stem, "code")[-1].source
