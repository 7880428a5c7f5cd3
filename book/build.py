"""Stages the sources, executes the notebooks, renders the book, and checks that it reads offline.

`python -m book.build --profile book`; `make book` does so in the environment that it makes.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

import nbformat
import yaml

from book.execute import NotebookError, Outcome, as_page, execute, read_profile
from book.lighten import LightenError, lighten
from book.offline import pack

ROOT = Path(__file__).resolve().parent.parent
SOURCES = re.compile(r"\.(md|bib|css|js|json|csv|svg|png|jpg|webp|parquet|woff2)")
TIMED = {"10_gpu_training"}  # measures speed on its page, so nothing else runs beside it
GO_ON = "Finished chapters are kept: the same command goes on with those that are not."
MOST = 4  # notebooks at a time, for the memory that each takes; ours
# What a browser fetches by itself when it shows a page: these tags, and links of these kinds.
LOADING = re.compile(
    r"<(?:script|img|iframe|embed|object|source|video|audio|track"
    r"|link(?=[^>]*\brel=[\"'][^\"']*\b(?:stylesheet|icon|manifest|pre\w+|modulepreload)\b))"
    r"\b(?:[^>\"']|\"[^\"]*\"|'[^']*')*>"
)
FOREIGN = re.compile(
    r"\b(?:src|data|poster|href)=[\"']\s*((?:https?:)?//[^\"']+)"
    r"|\bsrcset=[\"'](?:[^\"']*[\s,])?((?:https?:)?//[^\"'\s]+)"
)


class BookError(Exception):
    """The book cannot be built; the message says why."""


def documents(root: Path) -> list[str]:
    """Pages of the table of contents, in its order, relative to the tree and without ending."""
    toc = yaml.safe_load((root / "book/_toc.yml").read_text(encoding="utf-8"))

    def files(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            yield from (str(node[key]) for key in ("root", "file") if key in node)
            for value in node.values():
                yield from files(value)
        elif isinstance(node, list):
            for item in node:
                yield from files(item)

    return list(files(toc))


def chapters(root: Path) -> list[Path]:
    """Notebooks of the table of contents, in its order, relative to the tree."""
    return [Path(f"{f}.ipynb") for f in documents(root) if (root / f"{f}.ipynb").is_file()]


def stage(root: Path, folder: Path) -> None:
    """Lay out, anew, what the renderer reads: both settings files and `book`, at the same paths."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "notebooks").mkdir(parents=True)
    shutil.copy2(root / "_config.yml", folder)
    shutil.copy2(root / "book/_toc.yml", folder)
    for path in sorted((root / "book").rglob("*")):
        if SOURCES.fullmatch(path.suffix) or path.name.startswith("LICENSE"):
            target = folder / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)


def add_notebook(
    root: Path,
    folder: Path,
    notebook: Path,
    profile: str,
    parameters: dict[str, object],
    threads: int | None = None,
) -> Outcome:
    """Execute a chapter inside the stage and put its page there, unless it fails."""
    outcome = execute(
        root / notebook,
        parameters,
        root=root,
        cache=root / "_build/executed" / profile,
        cwd=folder / notebook.parent,
        threads=threads,
    )
    page = as_page(nbformat.read(outcome.path, as_version=4), profile, parameters)
    nbformat.write(page, folder / notebook)
    told = "unchanged" if outcome.reused else f"{outcome.seconds:.0f} s"
    print(f"{notebook}: {told}", file=sys.stderr, flush=True)
    return outcome


def add_notebooks(
    root: Path, folder: Path, profile: str, values: dict[str, dict[str, object]]
) -> dict[Path, Outcome]:
    """Execute all chapters, several at a time on cores of their own, those that time alone at last.

    Each computes with its share of the cores: two trainings beside each other use two cores better
    than one training does, whose steps are small. At the profile `book`, the first chapter is
    rendered by itself as soon as it has run. Where one fails, those that were running are finished
    before, and kept.
    """
    notebooks, cores = chapters(root), os.cpu_count() or 1
    workers = min(cores, MOST)
    alone = TIMED if profile == "book" else set()  # elsewhere no time is shown that means anything

    def add(notebook: Path, threads: int | None = None) -> Outcome:
        outcome = add_notebook(root, folder, notebook, profile, values[notebook.stem], threads)
        if profile == "book" and notebook == notebooks[0] and not outcome.reused:
            preview(folder, notebook)
        return outcome

    together = [n for n in notebooks if n.stem not in alone]
    if profile != "book":
        together.reverse()  # nobody waits for the first, and the longest stand at the end
    with ThreadPoolExecutor(workers) as pool:
        begun = {n: pool.submit(add, n, cores // workers) for n in together}
        try:
            wait(begun.values(), return_when=FIRST_EXCEPTION)
        finally:  # a notebook failed, or somebody stops the build
            for future in begun.values():
                future.cancel()
    outcomes = {n: future.result() for n, future in begun.items() if not future.cancelled()}
    return outcomes | {n: add(n) for n in notebooks if n.stem in alone}


def sphinx(folder: Path, build: Path, *flags: str) -> tuple[int, Path]:
    """Render a stage to `build`/html; the renderer's exit status, and its log."""
    for old in ("html", ".doctrees", ".jupyter_cache"):
        shutil.rmtree(build / old, ignore_errors=True)  # pages of an earlier run hide warnings
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build"]
    command += [str(folder), "--path-output", str(build.parent), *flags]
    with (log := build / "render.log").open("w", encoding="utf-8") as file:
        environment = {**os.environ, "NO_COLOR": "1"}
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    return done.returncode, log


def preview(folder: Path, notebook: Path) -> None:
    """Render one chapter of a stage by itself, to be read while the others run."""
    first = folder.parent / "first/_build/stage"
    shutil.rmtree(first.parent, ignore_errors=True)
    shutil.copytree(folder / "book/_static", first / "book/_static")
    for name in ("_config.yml", "book/references.bib", str(notebook)):
        (first / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / name, first / name)
    (first / "_toc.yml").write_text(f"format: jb-book\nroot: {notebook.with_suffix('')}\n")
    sphinx(first, first.parent, "-q")  # links to the other chapters lead nowhere yet
    page = first.parent / "html" / notebook.with_suffix(".html")
    if page.is_file():
        print(f"the first chapter can be read: {page}", file=sys.stderr, flush=True)


def render(folder: Path, build: Path) -> Path:
    """Render a stage to `build`/html, each warning an error, lighten it, and pack its zip."""
    status, log = sphinx(folder, build, "-W", "-n", "--keep-going")
    if status:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        told = [line for line in lines if "WARNING" in line or "ERROR" in line] or lines[-20:]
        shown = "\n".join(told[:40])
        raise BookError(f"the renderer exits with {status}; see {log}\n{shown}")
    html = build / "html"
    (html / ".nojekyll").touch()  # GitHub Pages drops folders that begin with _ otherwise
    lighten(html)
    pack(html)
    return html


def foreign_addresses(html: Path) -> list[str]:
    """`PAGE: ADDRESS` of all that the pages below `html` would load from another host."""
    return [
        f"{page.relative_to(html)}: {''.join(address)}"
        for page in sorted(html.rglob("*.html"))
        for tag in LOADING.findall(page.read_text(encoding="utf-8"))
        for address in FOREIGN.findall(tag)
    ]


def build(root: Path, profile: str, out: Path | None = None) -> Path:
    """Build the whole book, below `out` or the tree; print what took how long.

    Raises:
        BookError: The profile and the table of contents differ, the renderer warned, or a page
            loads something from another host.
    """
    start, made = time.monotonic(), (root if out is None else out) / "_build"
    folder = made / "stage"
    values = read_profile(root / "notebooks/profiles" / f"{profile}.yml")
    notebooks = chapters(root)
    if set(values) != (stems := {n.stem for n in notebooks}):
        raise BookError(
            f"profile {profile!r} and book/_toc.yml name different notebooks: only one of them has "
            f"{', '.join(sorted(set(values) ^ stems))}"
        )
    stage(root, folder)
    if (folder / "book/try_it.md").is_file():
        from book.try_it import SCRIPT, script  # loads torch

        (folder / SCRIPT).write_text(script(), encoding="utf-8")
    times: list[tuple[str, float, str]] = []
    for notebook, outcome in add_notebooks(root, folder, profile, values).items():
        note = f"unchanged; took {outcome.seconds:.0f} s before" if outcome.reused else "executed"
        times.append((str(notebook), 0.0 if outcome.reused else outcome.seconds, note))
    before = time.monotonic()
    html = render(folder, made)
    times.append(("pages", time.monotonic() - before, "rendered without a warning"))
    if foreign := foreign_addresses(html):
        raise BookError("pages load from other hosts:\n" + "\n".join(foreign[:40]))
    times.append(("in all", time.monotonic() - start, f"profile {profile}"))
    print("\n".join(f"{seconds:8.1f} s  {name:<40} {note}" for name, seconds, note in times))
    return html / "index.html"


def main(arguments: list[str] | None = None) -> None:
    """Build at the profile that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m book.build", description=__doc__)
    parser.add_argument("--profile", default="book", help="a file of notebooks/profiles")
    parser.add_argument("--out", type=Path, help="a folder for _build/html of its own")
    given = parser.parse_args(arguments)
    try:
        print(build(ROOT, given.profile, given.out))
    except (BookError, LightenError) as error:
        sys.exit(f"make book: {error}")
    except NotebookError as error:
        sys.exit(f"make book: {error}\n{GO_ON}")
    except KeyboardInterrupt:
        sys.exit(f"make book: stopped. {GO_ON}")


if __name__ == "__main__":
    main()
