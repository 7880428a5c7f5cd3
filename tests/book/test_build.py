"""Staging, executing and rendering, on a tree of a few small notebooks."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book import build as builder
from book.build import BookError, add_notebook, add_notebooks, build, foreign_addresses, stage
from book.execute import (
    NotebookError,
    Outcome,
    as_page,
    check_parameters,
    describe,
    fingerprint,
    read_profile,
    wait_while_it_computes,
)

NOTEBOOK = Path("notebooks/01_a.ipynb")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree, in a folder with a space, whose one notebook fails if `steps` is negative."""
    root = tmp_path / "a tree"
    for name, text in {
        "adlib/__init__.py": "",
        "constraints.txt": "",
        "_config.yml": "title: t\n",
        "book/_toc.yml": "root: book/index\nparts: [{chapters: [{file: notebooks/01_a}]}]\n",
        "book/index.md": "# t\n",
        "book/build.py": "",
        "book/_static/vendor/LICENSE.x": "",
        "notebooks/profiles/smoke.yml": "01_a: {steps: 3}\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    cells = [
        new_markdown_cell("# A"),
        new_code_cell("steps = 20  # optimiser steps", metadata={"tags": ["parameters"]}),
        new_code_cell("from pathlib import Path\nPath('made.txt').write_text('x')"),
        new_code_cell("assert steps >= 0, 'steps are counted'\nsteps"),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "p", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), root / NOTEBOOK)
    return root


@pytest.mark.timeout(120)
def test_notebook_is_executed_once_and_failures_are_never_pages(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    folder, source = tree / "_build/stage", (tree / NOTEBOOK).read_bytes()
    folder.mkdir(parents=True)
    (folder / "stale.md").touch()
    stage(tree, folder)
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert files == {"_config.yml", "_toc.yml", "book/index.md", "book/_static/vendor/LICENSE.x"}
    assert not add_notebook(tree, folder, NOTEBOOK, "smoke", {"steps": 3}).reused
    page = nbformat.read(folder / NOTEBOOK, as_version=4)
    assert [o["data"]["text/plain"] for o in page.cells[-1].outputs] == ["3"]
    assert (folder / "notebooks/made.txt").is_file()  # beside the page, not in the tree
    assert sorted(p.name for p in (tree / "notebooks").iterdir()) == ["01_a.ipynb", "profiles"]
    assert (tree / NOTEBOOK).read_bytes() == source

    stage(tree, folder)
    assert add_notebook(tree, folder, NOTEBOOK, "smoke", {"steps": 3}).reused
    assert nbformat.read(folder / NOTEBOOK, as_version=4) == page

    stage(tree, folder)
    with pytest.raises(NotebookError, match="steps are counted") as failure:
        add_notebook(tree, folder, NOTEBOOK, "smoke", {"steps": -1})
    for told in ("01_a.ipynb, cell [4]", "assert steps >= 0", "AssertionError"):
        assert told in str(failure.value)
    assert not (folder / NOTEBOOK).exists()
    assert (tree / "_build/executed/smoke/01_a.failed.ipynb").is_file()


def python(code: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code])


def test_what_computes_is_waited_for_and_what_stands_still_is_ended_with_its_children() -> None:
    spin = "import time; t = time.monotonic()\nwhile time.monotonic() - t < 6: pass"
    assert wait_while_it_computes(python(spin + "\nraise SystemExit(3)"), stall=2) == 3
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {spin!r}])"
    assert wait_while_it_computes(python(inner), stall=2) == 0  # as a kernel below papermill
    sleep = "import subprocess; subprocess.run(['sleep', '98.7'])"
    assert wait_while_it_computes(idle := python(sleep), stall=2) is None
    assert idle.poll() is not None
    assert subprocess.run(["pgrep", "-f", "^sleep 98.7"], check=False).returncode == 1


def test_a_paused_process_does_not_stand_still() -> None:
    child = python("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")
    timer = threading.Timer(4, child.send_signal, [18])
    timer.start()
    assert wait_while_it_computes(child, stall=1) == 0
    timer.join()


def test_the_cell_that_stood_still_is_shown(tmp_path: Path) -> None:
    cells = [new_code_cell(f"x = {i}") for i in range(3)]
    cells[1].metadata["papermill"] = {"status": "running"}
    nbformat.write(new_notebook(cells=cells), path := tmp_path / "a.failed.ipynb")
    told = describe(Path("a.ipynb"), path, stalled=True)
    assert "a.ipynb computed nothing for 15 minutes" in told
    assert "\nx = 1\n" in told
    assert str(path) in told
    path.write_text("{half")
    assert "computed nothing" in describe(Path("a.ipynb"), path, stalled=True)


def test_every_input_moves_the_fingerprint(tree: Path) -> None:
    notebook = tree / NOTEBOOK
    marks = {fingerprint(tree, notebook, {}), fingerprint(tree, notebook, {"steps": 1})}
    for name in ("adlib/__init__.py", "constraints.txt", str(NOTEBOOK)):
        with (tree / name).open("a") as file:
            file.write("\n")
        marks.add(fingerprint(tree, notebook, {}))
    assert len(marks) == 5
    assert fingerprint(tree, notebook, {}) in marks


def test_new_records_move_the_fingerprint_of_whoever_reads_them(tree: Path) -> None:
    notebook, results = tree / NOTEBOOK, tree / "book/results"
    results.mkdir()
    before = fingerprint(tree, notebook, {})
    (results / "a.jsonl").write_text("{}\n")
    assert fingerprint(tree, notebook, {}) == before
    notebook.write_text(notebook.read_text().replace("steps", "read_results"))
    marks = {fingerprint(tree, notebook, {})}
    for name in ("a.jsonl", "b.csv", "README.md"):
        (results / name).write_text("new\n")
        marks.add(fingerprint(tree, notebook, {}))
    assert len(marks) == 3  # prose is none


@pytest.fixture
def kitchen(monkeypatch: pytest.MonkeyPatch) -> dict:
    """Four chapters, `t` timed, `a` and `b` at once, on four cores for two; who ran beside whom."""
    running, done, lock, meet = [], {}, threading.Lock(), threading.Barrier(2, timeout=20)

    def add(root: Path, folder: Path, notebook: Path, profile: str, values: dict, threads: int):
        name = notebook.stem
        with lock:
            running.append(name)
        if name in ("a", "b"):
            meet.wait()  # so both are here at once
        with lock:
            done[name] = (sorted(running), threads)
        if name in ("a", "b"):
            meet.wait()
        with lock:
            running.remove(name)
        if values:
            raise NotebookError(f"{name} failed")
        return Outcome(notebook, 1.0, reused=False)

    monkeypatch.setattr(builder, "chapters", lambda root: [Path(f"{n}.ipynb") for n in "tabc"])
    monkeypatch.setattr(builder, "TIMED", {"t"})
    monkeypatch.setattr(builder, "MOST", 2)
    monkeypatch.setattr(builder.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(builder, "add_notebook", add)
    monkeypatch.setattr(builder, "preview", lambda _, n: done.setdefault("read", n.stem))
    return done


def test_chapters_share_the_cores_and_what_measures_time_runs_alone(
    kitchen: dict, tmp_path: Path
) -> None:
    outcomes = add_notebooks(tmp_path, tmp_path, "book", {n: {} for n in "tabc"})
    assert {path.stem for path in outcomes} == set("tabc")
    assert kitchen["a"] == kitchen["b"] == (["a", "b"], 2)
    assert kitchen["t"] == (["t"], None)  # last, with all cores
    assert list(kitchen)[-2:] == ["t", "read"]
    assert kitchen["read"] == "t"  # the first of the contents is rendered once it has run


def test_a_chapter_that_fails_stops_those_that_have_not_begun(
    kitchen: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "MOST", 1)
    monkeypatch.setattr(builder, "chapters", lambda root: [Path(f"{n}.ipynb") for n in "cbat"])
    with pytest.raises(NotebookError, match="c failed"):
        add_notebooks(tmp_path, tmp_path, "book", {"c": {"fail": 1}, "b": {}, "a": {}, "t": {}})
    assert set(kitchen) == {"c"}


def test_a_failure_says_that_finished_chapters_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise NotebookError("04 failed")

    monkeypatch.setattr(builder, "build", fail)
    with pytest.raises(SystemExit, match=r"04 failed\nFinished chapters are kept"):
        builder.main([])


def test_wrong_parameters_and_profiles_are_refused_with_those_there_are(tree: Path) -> None:
    with pytest.raises(NotebookError, match="has no parameter stepz; it has: steps"):
        check_parameters(tree / NOTEBOOK, {"stepz": 1})
    folder = tree / "notebooks/profiles"
    with pytest.raises(NotebookError, match=r"no profile 'gpu' in .*; there are: smoke"):
        read_profile(folder / "gpu.yml")
    (folder / "odd.yml").write_text("[1, 2]")
    with pytest.raises(NotebookError, match="must map each notebook's name to a mapping"):
        read_profile(folder / "odd.yml")
    (folder / "smoke.yml").write_text("02_b: {}\n")
    with pytest.raises(BookError, match="only one of them has 01_a, 02_b"):
        build(tree, "smoke")


def test_page_says_its_run_and_drops_what_differs_from_run_to_run() -> None:
    metadata = {"tags": ["parameters"], "papermill": {"duration": 1}}
    cells = [
        new_code_cell("steps = 20", metadata=metadata),
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
        <img srcset="a.png 1x, http://{far}4 2x"> <iframe src="https://{far}5"></iframe>
        <img alt="a > b" src="https://{far}6"> <link href="http://{far}7" rel="icon">
        <p>src="https://{far}8"</p> <video poster='//{far}9'></video>"""
    )
    found = foreign_addresses(tmp_path)
    assert [address[-1] for address in found] == ["2", "3", "4", "5", "6", "7", "9"]
    assert all(address.startswith("sub/page.html: ") for address in found)
