"""Committed notebooks: clean, with one cell of parameters, nothing but calls, and the same parts.

A chapter opens with a question and an answer one can see, and ends with a way on. Equations are
numbered, and chapters and docstrings name each other's; what is cited is listed.
"""

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat import NotebookNode

from adlib.sweep.plan import read_plan
from book.build import chapters
from book.execute import check_parameters, read_profile

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROFILES = sorted((ROOT / "notebooks/profiles").glob("*.yml"))
TOC = yaml.safe_load((ROOT / "book/_toc.yml").read_text(encoding="utf-8"))
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
NUMBERED = {
    Path(chapter["file"]).name
    for part in TOC["parts"]
    if part.get("numbered")
    for chapter in part["chapters"]
}
WIDTH = 79  # characters that fit beside the contents at 1300 px
HEADINGS = ("A check by hand", "What could fool us", "Summary", "Exercises")
BLOCK = re.compile(r"^\$\$\n(.+?)^\$\$ *(?:\((.*?)\))?$", re.DOTALL | re.MULTILINE)
SAID = re.compile(r":eq:`([^`]+)`(?:\s+and\s+:eq:`([^`]+)`)?,\s+chapter\s+(\d+)")
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
each_chapter = pytest.mark.parametrize(
    "path", [p for p in NOTEBOOKS if p.stem in NUMBERED], ids=lambda p: p.stem
)


@cache
def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def cells(path: Path, kind: str) -> list[NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == kind]


def prose(path: Path) -> str:
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    return "\n\n".join(cell.source for cell in cells(path, "markdown"))


def nodes(cell: NotebookNode) -> Iterator[ast.AST]:
    """A cell's syntax tree; lines for IPython alone count as `pass`."""
    source = re.sub(r"^(\s*)[%!].*$", r"\1pass", cell.source, flags=re.MULTILINE)
    return ast.walk(ast.parse(source))


def figure(cell: NotebookNode) -> dict:
    return cell.metadata.get("mystnb", {}).get("figure", {})


@each_notebook
def test_notebook_is_valid_without_outputs_and_fits_the_page(path: Path) -> None:
    notebook, code = read(path), cells(path, "code")
    nbformat.validate(notebook)
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert "widgets" not in notebook.metadata
    assert max(Counter(cell.id for cell in notebook.cells).values()) == 1
    assert len(re.findall(r"^# ", prose(path), re.MULTILINE)) == 1
    lines = [line for cell in code for line in cell.source.splitlines()]
    assert [line for line in lines if len(line) > WIDTH] == []
    for cell in filter(figure, code):
        assert figure(cell)["name"]
        assert len(cell.metadata["mystnb"]["image"]["alt"]) > 20


@each_notebook
def test_badge_opens_this_very_file_and_the_install_cell_acts_in_colab_alone(path: Path) -> None:
    where = CONFIG["repository"]["url"].removeprefix("https://github.com/")
    address = f"{where}/blob/{CONFIG['repository']['branch']}/notebooks/{path.name}"
    badge = read(path).cells[0]
    assert f"(https://colab.research.google.com/github/{address})" in badge.source
    (cell,) = [cell for cell in cells(path, "code") if re.search(r"\bpip\b", cell.source)]
    assert [n for n in (badge, cell) if "remove-cell" not in n.metadata.get("tags", [])] == []
    assert re.findall(r"^.*\bpip\b", cell.source, re.MULTILINE)[0].startswith("    ")
    tests = [ast.unparse(node.test) for node in nodes(cell) if isinstance(node, ast.If)]
    assert tests == ["'google.colab' in sys.modules"]


@each_notebook
def test_one_cell_of_parameters_and_otherwise_calls_no_class_no_loop_over_steps(path: Path) -> None:
    code = cells(path, "code")
    (parameters,) = [c for c in code if "parameters" in c.metadata.get("tags", [])]
    for line in parameters.source.splitlines():
        assert re.fullmatch(r"[a-z]\w* = .*\S  # \S.*|\s*# .*|", line), line
    assert all(isinstance(node, ast.Assign) for node in ast.parse(parameters.source).body)
    for node in (node for cell in code for node in nodes(cell)):
        assert not isinstance(node, ast.ClassDef | ast.While)
        assert getattr(node, "attr", "") not in ("backward", "zero_grad")
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert "myst_nb" not in ast.unparse(node)


@each_chapter
def test_it_opens_with_question_answer_needs_and_time(path: Path) -> None:
    markdown = cells(path, "markdown")
    opening = next(cell.source for cell in markdown if "**Question.**" in cell.source)
    paragraphs = opening.split("\n\n")
    marks = ("# ", "**Question.**", "**Answer.**", "*You need*")
    assert [p[: len(m)] for p, m in zip(paragraphs, marks, strict=False)] == list(marks)
    assert "*It takes*" in paragraphs[3]
    shown = set(re.findall(r"\{numref\}`([^`]+)`", paragraphs[2]))
    assert shown
    assert shown <= {figure(cell).get("name") for cell in cells(path, "code")}


@each_chapter
def test_it_checks_by_hand_doubts_sums_up_asks_and_leads_on(path: Path) -> None:
    text, every = prose(path), read(path).cells
    found = re.findall(r"^##+ (.+)$", text, re.MULTILINE)
    assert [h for h in found if h in HEADINGS] == list(HEADINGS)
    asked = re.findall(r"```\{exercise\}\n:label: (\S+)", text)
    assert re.findall(r"```\{solution\} (\S+)\n:class: dropdown", text) == asked
    assert 2 <= len(asked) <= 3
    check = every[1 + max(i for i, cell in enumerate(every) if "```{solution}" in cell.source)]
    assert check.cell_type == "code"
    assert "assert" in check.source
    assert "hide-cell" in check.metadata["tags"]  # it would tell the answer
    assert re.match(r"\*\*Next:\*\* \{doc\}`", cells(path, "markdown")[-1].source)
    assert "report.origin(" in cells(path, "code")[-1].source


def test_every_notebook_and_page_is_in_the_contents() -> None:
    assert sorted(chapters(ROOT)) == [p.relative_to(ROOT) for p in NOTEBOOKS]
    toc = (ROOT / "book/_toc.yml").read_text(encoding="utf-8")
    named = re.findall(r"(?:file|root): (\S+)", toc)
    written = [*(ROOT / "book").glob("*.md"), *(ROOT / "book/api").glob("*.md")]
    pages = {str(p.relative_to(ROOT).with_suffix("")) for p in written}
    assert pages == {name for name in named if name.startswith("book/")}
    assert len(named) == len(set(named))


def test_profiles_name_every_notebook_and_only_its_parameters() -> None:
    assert {"book", "smoke"} <= {path.stem for path in PROFILES}
    for values in map(read_profile, PROFILES):
        assert set(values) == {path.stem for path in NOTEBOOKS}
        for path in NOTEBOOKS:
            check_parameters(path, values[path.stem])


@pytest.mark.parametrize("stem", ["09_training_prn", "11_benchmark_reproduction"])
def test_it_counts_the_points_that_its_sweeps_plan(stem: str) -> None:
    code = cells(ROOT / f"notebooks/{stem}.ipynb", "code")
    source = "\n".join(cell.source for cell in code)
    planned = ast.literal_eval(re.findall(r"PLANNED = (\{.*?\})", source, re.DOTALL)[0])
    plans = {name: read_plan(ROOT / f"notebooks/sweeps/{name}.yml") for name in planned}
    assert planned == {name: len(plan.points) for name, plan in plans.items()}


def pages() -> dict[str, str]:
    """The Markdown of each notebook and page, by the name of its file."""
    return {path.name: prose(path) for path in [*(ROOT / "book").rglob("*.md"), *NOTEBOOKS]}


def docstrings() -> dict[str, str]:
    """Each docstring of the library, by its file and name."""
    return {
        f"{path.relative_to(ROOT)}: {getattr(node, 'name', '')}": ast.get_docstring(node, False)
        or ""
        for path in (ROOT / "adlib").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    }


def test_equations_are_numbered_once_and_referred_to() -> None:
    blocks = [(page, *found) for page, text in pages().items() for found in BLOCK.findall(text)]
    assert [b for b in blocks if not re.fullmatch(r"eq-[a-z0-9-]+", b[2])] == []
    known = Counter(label for *_, label in blocks)
    assert max(known.values()) == 1
    said = {
        (where, label)
        for texts, role in ((pages(), r"\{eq\}`([^`]+)`"), (docstrings(), r":eq:`([^`]+)`"))
        for where, text in texts.items()
        for label in re.findall(role, text)
    }
    assert [f"{where}: {label}" for where, label in sorted(said) if label not in known] == []
    assert sorted(set(known) - {label for _, label in said}) == []


def test_docstrings_and_chapters_lead_to_each_other() -> None:
    """A docstring names the chapter of its equation, and that chapter links to its module."""
    chapter = {label: page for page, text in pages().items() for _, label in BLOCK.findall(text)}
    linked = {
        int(path.name[:2]): re.findall(r"\{py:obj\}`~?([\w.]+)`", prose(path)) for path in NOTEBOOKS
    }
    assert [number for number, names in linked.items() if not names] == []
    for where, text in docstrings().items():
        told = [(label, int(n)) for a, b, n in SAID.findall(text) for label in (a, b) if label]
        assert len(told) == text.count(":eq:"), f"{where}: say ':eq:`...`, chapter N'"
        module = where.split(".py:")[0].replace("/", ".")
        for label, n in told:
            assert int(chapter[label][:2]) == n, where
            assert any(name.startswith(f"{module}.") for name in linked[n]), f"{n}: {module}"


def test_cited_works_are_listed_and_vendored_files_are_those_of_the_list() -> None:
    bib = (ROOT / "book/references.bib").read_text(encoding="utf-8")
    listed = re.findall(r"^@\w+\{([^,]+),", bib, re.MULTILINE)
    keys = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", "\n".join(pages().values()))
    assert sorted({key.strip() for each in keys for key in each.split(",")}) == sorted(listed)
    folder = ROOT / "book/_static/vendor"
    told = re.findall(r"sha256 ([0-9a-f]{64})  (\S+)", (folder / "README.md").read_text())
    assert told
    for digest, name in told:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert (ROOT / "book/_static" / CONFIG["sphinx"]["config"]["mathjax_path"]).is_file()
