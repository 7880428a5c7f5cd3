"""Committed notebooks: clean, short-lined, with one cell of parameters, and nothing but calls."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat import NotebookNode

from adlib.sweep.plan import read_plan
from book.build import chapters
from book.execute import check_parameters, read_profile

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROFILES = sorted((ROOT / "notebooks/profiles").glob("*.yml"))
WIDTH = 79  # characters that fit beside the contents at 1300 px
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(notebook: NotebookNode, tag: str) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def python(cell: NotebookNode) -> ast.Module:
    """A cell's syntax tree; lines for IPython alone count as `pass`."""
    return ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", cell.source, flags=re.MULTILINE))


def test_there_are_notebooks_and_the_two_profiles() -> None:
    assert NOTEBOOKS
    assert {"book", "smoke"} <= {path.stem for path in PROFILES}


@each_notebook
def test_notebook_is_valid_and_without_outputs(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in code(notebook):
        assert not cell.outputs
        assert cell.execution_count is None
    assert "widgets" not in notebook.metadata
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)


@each_notebook
def test_first_heading_is_the_only_title(path: Path) -> None:
    prose = [c.source for c in read(path).cells if c.cell_type == "markdown"]
    titles = [line for source in prose for line in source.splitlines() if line.startswith("# ")]
    assert len(titles) == 1


@each_notebook
def test_badge_opens_this_very_file_in_colab(path: Path) -> None:
    repository = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]
    where = repository["url"].removeprefix("https://github.com/")
    address = (
        f"https://colab.research.google.com/github/{where}/blob/{repository['branch']}"
        f"/notebooks/{path.name}"
    )
    badge = read(path).cells[0]
    assert badge.cell_type == "markdown"
    assert f"({address})" in badge.source
    assert "remove-cell" in badge.metadata.get("tags", [])  # the page has a button of its own


@each_notebook
def test_install_cell_acts_in_colab_alone(path: Path) -> None:
    installing = [cell for cell in code(read(path)) if re.search(r"\bpip\b", cell.source)]
    assert len(installing) == 1
    (cell,) = installing
    assert "remove-cell" in cell.metadata.get("tags", [])
    pip = next(line for line in cell.source.splitlines() if re.search(r"\bpip\b", line))
    assert pip.startswith("    ")
    tests = [ast.unparse(n.test) for n in ast.walk(python(cell)) if isinstance(n, ast.If)]
    assert tests == ["'google.colab' in sys.modules"]


@each_notebook
def test_one_cell_of_parameters_with_a_comment_on_each_line(path: Path) -> None:
    (cell,) = tagged(read(path), "parameters")
    for line in cell.source.splitlines():
        assert re.fullmatch(r"[a-z]\w* = .*\S  # \S.*|\s*# .*|", line), line
    assert all(isinstance(node, ast.Assign) for node in python(cell).body)


@each_notebook
def test_code_fits_the_page(path: Path) -> None:
    lines = [line for cell in code(read(path)) for line in cell.source.splitlines()]
    assert [line for line in lines if len(line) > WIDTH] == []


@each_notebook
def test_notebook_calls_and_defines_no_class_no_loop_over_steps(path: Path) -> None:
    for cell in code(read(path)):
        nodes = list(ast.walk(python(cell)))
        assert not [n for n in nodes if isinstance(n, ast.ClassDef | ast.While)]
        called = {
            n.func.attr
            for n in nodes
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)
        }
        assert not called & {"backward", "zero_grad"}
        imported = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
        imported |= {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}
        assert not {name for name in imported if name.split(".")[0] == "myst_nb"}


@each_notebook
def test_captioned_figure_has_a_name_and_alt_text(path: Path) -> None:
    for cell in code(read(path)):
        if figure := cell.metadata.get("mystnb", {}).get("figure"):
            assert figure["name"]
            assert len(cell.metadata["mystnb"]["image"]["alt"]) > 20


def test_every_notebook_and_page_is_in_the_contents() -> None:
    assert sorted(chapters(ROOT)) == [p.relative_to(ROOT) for p in NOTEBOOKS]
    toc = (ROOT / "book/_toc.yml").read_text(encoding="utf-8")
    named = re.findall(r"(?:file|root): (\S+)", toc)
    written = [*(ROOT / "book").glob("*.md"), *(ROOT / "book/api").glob("*.md")]
    pages = {str(p.relative_to(ROOT).with_suffix("")) for p in written}
    assert pages == {name for name in named if name.startswith("book/")}
    assert len(named) == len(set(named))


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.stem)
def test_profile_names_every_notebook_and_only_its_parameters(profile: Path) -> None:
    values = read_profile(profile)
    assert set(values) == {path.stem for path in NOTEBOOKS}
    for path in NOTEBOOKS:
        check_parameters(path, values[path.stem])


@pytest.mark.parametrize("stem", ["09_training_prn", "11_benchmark_reproduction"])
def test_it_counts_the_points_that_its_sweeps_plan(stem: str) -> None:
    source = "\n".join(cell.source for cell in code(read(ROOT / f"notebooks/{stem}.ipynb")))
    planned = ast.literal_eval(re.findall(r"PLANNED = (\{.*?\})", source, re.DOTALL)[0])
    plans = {name: read_plan(ROOT / f"notebooks/sweeps/{name}.yml") for name in planned}
    assert planned == {name: len(plan.points) for name, plan in plans.items()}
