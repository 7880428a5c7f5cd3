"""Staging, executing and rendering, on a tree of a few small notebooks."""

import json
import threading
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book import build as builder
from book.build import (
    BookError,
    add_notebook,
    add_notebooks,
    build,
    chapters,
    foreign_addresses,
    stage,
)
from book.execute import (
    NotebookError,
    Outcome,
    as_page,
    check_parameters,
    fingerprint,
    read_profile,
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree, in a folder with a space, whose one notebook fails if `steps` is negative."""
    root = tmp_path / "a tree"
    for folder in ("adlib", "book/_static/vendor", "notebooks/profiles"):
        (root / folder).mkdir(parents=True)
    (root / "adlib/__init__.py").write_text("")
    (root / "constraints.txt").write_text("")
    (root / "_config.yml").write_text("title: t\n")
    (root / "book/_toc.yml").write_text(
        "root: book/index\nparts: [{chapters: [{file: notebooks/01_a}, {file: book/end}]}]\n"
    )
    (root / "book/index.md").write_text("# t\n")
    (root / "book/build.py").write_text("")
    (root / "book/_static/vendor/LICENSE.x").write_text("")
    (root / "notebooks/profiles/smoke.yml").write_text("01_a: {steps: 3}\n")
    cells = [
        new_markdown_cell("# A"),
        new_code_cell("steps = 20  # optimiser steps", metadata={"tags": ["parameters"]}),
        new_code_cell("from pathlib import Path\nPath('made.txt').write_text('x')"),
        new_code_cell("assert steps >= 0, 'steps are counted'\nsteps"),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "p", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), root / "notebooks/01_a.ipynb")
    return root


def test_stage_holds_the_sources_at_the_same_paths_and_nothing_else(tree: Path) -> None:
    (folder := tree / "_build/stage").mkdir(parents=True)
    (folder / "stale.md").touch()
    stage(tree, folder)
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert files == {"_config.yml", "_toc.yml", "book/index.md", "book/_static/vendor/LICENSE.x"}
    assert chapters(tree) == [Path("notebooks/01_a.ipynb")]


@pytest.mark.timeout(120)
def test_notebook_is_executed_once_and_failures_are_never_pages(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    folder, notebook = tree / "_build/stage", Path("notebooks/01_a.ipynb")
    source = (tree / notebook).read_bytes()
    stage(tree, folder)
    first = add_notebook(tree, folder, notebook, "smoke", {"steps": 3})
    assert not first.reused
    page = nbformat.read(folder / notebook, as_version=4)
    assert [o["data"]["text/plain"] for o in page.cells[-1].outputs] == ["3"]
    assert (folder / "notebooks/made.txt").is_file()  # beside the page, not in the tree
    assert sorted(p.name for p in (tree / "notebooks").iterdir()) == ["01_a.ipynb", "profiles"]
    assert (tree / notebook).read_bytes() == source

    stage(tree, folder)
    again = add_notebook(tree, folder, notebook, "smoke", {"steps": 3})
    assert again.reused
    assert nbformat.read(folder / notebook, as_version=4) == page

    stage(tree, folder)
    with pytest.raises(NotebookError, match="steps are counted") as failure:
        add_notebook(tree, folder, notebook, "smoke", {"steps": -1})
    message = str(failure.value)
    assert "01_a.ipynb, cell [4]" in message
    assert "assert steps >= 0" in message  # the cell's source
    assert "AssertionError" in message
    assert not (folder / notebook).exists()
    assert (tree / "_build/executed/smoke/01_a.failed.ipynb").is_file()


def test_every_input_moves_the_fingerprint(tree: Path) -> None:
    notebook = tree / "notebooks/01_a.ipynb"
    marks = [fingerprint(tree, notebook, {}), fingerprint(tree, notebook, {"steps": 1})]
    for name in ("adlib/__init__.py", "constraints.txt", "notebooks/01_a.ipynb"):
        with (tree / name).open("a") as file:
            file.write("\n")
        marks.append(fingerprint(tree, notebook, {}))
    assert len(set(marks)) == 5
    assert fingerprint(tree, notebook, {}) == marks[-1]


def test_new_records_move_the_fingerprint_of_whoever_reads_them(tree: Path) -> None:
    notebook, results = tree / "notebooks/01_a.ipynb", tree / "book/results"
    results.mkdir(parents=True, exist_ok=True)
    before = fingerprint(tree, notebook, {})
    (results / "a.jsonl").write_text("{}\n")
    assert fingerprint(tree, notebook, {}) == before
    notebook.write_text(notebook.read_text().replace("steps", "read_results"))
    marks = {fingerprint(tree, notebook, {})}
    for name in ("a.jsonl", "b.csv"):
        (results / name).write_text("new\n")
        marks.add(fingerprint(tree, notebook, {}))
    (results / "README.md").write_text("prose\n")
    marks.add(fingerprint(tree, notebook, {}))
    assert len(marks) == 3


class Kitchen:
    """Stands for `add_notebook`: notes who runs beside whom, and with how many threads."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.running, self.done = fails, [], {}
        self.lock, self.meet = threading.Lock(), threading.Barrier(2, timeout=20)

    def __call__(
        self,
        root: Path,
        folder: Path,
        notebook: Path,
        profile: str,
        values: object,
        threads: object,
    ) -> Outcome:
        name = notebook.stem
        with self.lock:
            self.running.append(name)
        if name in ("a", "b"):
            self.meet.wait()  # so both are here at once
        with self.lock:
            self.done[name] = (sorted(self.running), threads)
        if name in ("a", "b"):
            self.meet.wait()
        with self.lock:
            self.running.remove(name)
        if name == self.fails:
            raise NotebookError(f"{name} failed")
        return Outcome(notebook, 1.0, reused=False)


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Four chapters, of which `t` is timed, on four cores that two may share."""
    notebooks = [Path(f"notebooks/{name}.ipynb") for name in "tabc"]
    monkeypatch.setattr(builder, "chapters", lambda root: notebooks)
    monkeypatch.setattr(builder, "TIMED", {"t"})
    monkeypatch.setattr(builder, "MOST", 2)
    monkeypatch.setattr(builder.os, "cpu_count", lambda: 4)
    return notebooks


def test_chapters_share_the_cores_and_what_measures_time_runs_alone(
    four: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(builder, "add_notebook", kitchen := Kitchen())
    outcomes = add_notebooks(tmp_path, tmp_path, "smoke", {n.stem: {} for n in four})
    assert set(outcomes) == set(four)
    assert kitchen.done["a"] == kitchen.done["b"] == (["a", "b"], 2)
    assert kitchen.done["t"] == (["t"], None)  # last, with all cores
    assert list(kitchen.done)[-1] == "t"


def test_a_chapter_that_fails_stops_those_that_have_not_begun(
    four: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(builder, "MOST", 1)
    monkeypatch.setattr(builder, "chapters", lambda root: four[::-1])  # c, b, a, t
    monkeypatch.setattr(builder, "add_notebook", kitchen := Kitchen(fails="c"))
    monkeypatch.setattr(kitchen, "meet", threading.Barrier(1))
    with pytest.raises(NotebookError, match="c failed"):
        add_notebooks(tmp_path, tmp_path, "smoke", {n.stem: {} for n in four})
    assert "t" not in kitchen.done
    assert "a" not in kitchen.done


def test_unknown_parameter_is_refused_with_those_there_are(tree: Path) -> None:
    with pytest.raises(NotebookError, match="has no parameter stepz; it has: steps"):
        check_parameters(tree / "notebooks/01_a.ipynb", {"stepz": 1})


def test_unknown_profile_is_refused_with_those_there_are(tree: Path) -> None:
    folder = tree / "notebooks/profiles"
    with pytest.raises(NotebookError, match=r"no profile 'gpu' in .*; there are: smoke"):
        read_profile(folder / "gpu.yml")
    (folder / "odd.yml").write_text("[1, 2]")
    with pytest.raises(NotebookError, match="must map each notebook's name to a mapping"):
        read_profile(folder / "odd.yml")


def test_profile_must_name_the_notebooks_of_the_contents(tree: Path) -> None:
    (tree / "notebooks/profiles/smoke.yml").write_text("02_b: {}\n")
    with pytest.raises(BookError, match="only one of them has 01_a, 02_b"):
        build(tree, "smoke")


def test_page_says_its_run_and_drops_what_differs_from_run_to_run() -> None:
    cells = [
        new_code_cell(
            "steps = 20", metadata={"tags": ["parameters"], "papermill": {"duration": 1}}
        ),
        new_code_cell("steps = 3", metadata={"tags": ["injected-parameters"]}),
        new_code_cell("steps", metadata={"execution": {"iopub.execute_input": "now"}}),
    ]
    raw = new_notebook(cells=cells, metadata={"papermill": {"duration": 2.5}})
    page = as_page(raw, "book", {"steps": 3})
    assert "papermill" not in json.dumps(page)
    assert "execution" not in page.cells[-1].metadata
    assert page.cells[1].id == "injected-parameters"
    assert page.cells[1].metadata["tags"] == ["injected-parameters", "remove-cell"]
    assert page.cells[2].source.endswith("a run with the profile `book`: `steps = 3`.*")
    assert page.metadata["language_info"]["pygments_lexer"] == "ipython3"
    nbformat.validate(page)


def test_addresses_that_load_from_another_host_are_found(tmp_path: Path) -> None:
    far = "cdn.example.org/x"
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/page.html").write_text(
        f"""<a href="https://{far}0"></a> <link rel="canonical" href="https://{far}1">
        <img src="data:image/png;base64,AA"> <script src="../_static/a.js?v=1"></script>
        <script src="https://{far}2"></script> <link rel="stylesheet" href="//{far}3">
        <img srcset="a.png 1x, http://{far}4 2x"> <iframe src="https://{far}5"></iframe>"""
    )
    found = foreign_addresses(tmp_path)
    assert [address[-1] for address in found] == ["2", "3", "4", "5"]
    assert all(address.startswith("sub/page.html: ") for address in found)
