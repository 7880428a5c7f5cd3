"""Stages the sources, executes the notebooks, renders the book, and checks that it reads offline.

`python -m book.build --profile book`; `make book` does so in the environment that it makes.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import yaml

from book.execute import NotebookError, Outcome, as_page, execute, read_profile
from book.lighten import LightenError, lighten
from book.offline import pack

ROOT = Path(__file__).resolve().parent.parent
SOURCES = (
    ".md",
    ".bib",
    ".css",
    ".js",
    ".json",
    ".csv",
    ".svg",
    ".png",
    ".jpg",
    ".webp",
    ".parquet",
    ".woff2",
)
TIMED = {"10_gpu_training"}  # measures speed on its page, so nothing else runs beside it
MOST = 4  # notebooks at a time, for the memory that each takes; ours
LOADING_LINKS = {
    "stylesheet",
    "icon",
    "preload",
    "prefetch",
    "preconnect",
    "modulepreload",
    "manifest",
}
LOADING = {
    ("script", "src"), ("img", "src"), ("iframe", "src"), ("embed", "src"), ("object", "data"),
    ("source", "src"), ("video", "src"), ("video", "poster"), ("audio", "src"), ("track", "src"),
}  # fmt: skip


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
        if path.suffix in SOURCES or path.name.startswith("LICENSE"):
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
    """Execute a chapter inside the stage and put its page there; one that fails is not put there.

    Raises:
        NotebookError: A cell failed, or a parameter is unknown.
    """
    cache = root / "_build/executed" / profile
    outcome = execute(
        root / notebook,
        parameters,
        root=root,
        cache=cache,
        cwd=folder / notebook.parent,
        threads=threads,
    )
    page = as_page(nbformat.read(outcome.path, as_version=4), profile, parameters)
    nbformat.write(page, folder / notebook)
    return outcome


def add_notebooks(
    root: Path, folder: Path, profile: str, values: dict[str, dict[str, object]]
) -> dict[Path, Outcome]:
    """Execute all chapters, several at a time on cores of their own, those that time alone at last.

    Each computes with its share of the cores: two trainings beside each other use two cores better
    than one training does, whose steps are small. How much is gained was not measured.

    Raises:
        NotebookError: A notebook failed; those that were running are finished before, and kept.
    """
    notebooks, cores = chapters(root), os.cpu_count() or 1
    workers = min(cores, MOST)

    def add(notebook: Path, threads: int | None = None) -> Outcome:
        outcome = add_notebook(root, folder, notebook, profile, values[notebook.stem], threads)
        told = "unchanged" if outcome.reused else f"{outcome.seconds:.0f} s"
        print(f"{notebook}: {told}", file=sys.stderr, flush=True)
        return outcome

    with ThreadPoolExecutor(workers) as pool:
        begun = {n: pool.submit(add, n, cores // workers) for n in notebooks if n.stem not in TIMED}
        try:
            wait(begun.values(), return_when=FIRST_EXCEPTION)
        finally:  # a notebook failed, or somebody stops the build
            for future in begun.values():
                future.cancel()
    outcomes = {n: future.result() for n, future in begun.items() if not future.cancelled()}
    return outcomes | {n: add(n) for n in notebooks if n.stem in TIMED}


def render(folder: Path, build: Path) -> Path:
    """Render a stage to `build`/html, each warning an error, lighten it, and pack the site's zip.

    Raises:
        BookError: The renderer warned or failed; the message holds its warnings.
        LightenError: The theme's files are not as expected.
    """
    html, log = build / "html", build / "render.log"
    for old in (html, build / ".doctrees", build / ".jupyter_cache"):
        shutil.rmtree(old, ignore_errors=True)  # pages of an earlier run would hide warnings
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build"]
    command += [str(folder), "--path-output", str(build.parent), "-W", "-n", "--keep-going"]
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, "NO_COLOR": "1"}
        )
    if done.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        told = [line for line in lines if "WARNING" in line or "ERROR" in line] or lines[-20:]
        shown = "\n".join(told[:40])
        raise BookError(f"the renderer exits with {done.returncode}; see {log}\n{shown}")
    (html / ".nojekyll").touch()  # GitHub Pages drops folders that begin with _ otherwise
    lighten(html)
    pack(html)
    return html


class Loads(HTMLParser):
    """Collects the addresses that a browser fetches by itself when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note each attribute of `attrs` that makes the browser load something."""
        values = dict(attrs)
        relations = set((values.get("rel") or "").lower().split())
        for name, value in attrs:
            if (tag, name) in LOADING or (
                tag == "link" and relations & LOADING_LINKS and name == "href"
            ):
                self.addresses.append(value or "")
            elif name == "srcset":
                self.addresses += [
                    part.split()[0] for part in (value or "").split(",") if part.strip()
                ]


def foreign_addresses(html: Path) -> list[str]:
    """`PAGE: ADDRESS` of all that the pages below `html` would load from another host."""
    found = []
    for page in sorted(html.rglob("*.html")):
        parser = Loads()
        parser.feed(page.read_text(encoding="utf-8"))
        found += [
            f"{page.relative_to(html)}: {address}"
            for address in parser.addresses
            if urlsplit(address).netloc
        ]
    return found


def build(root: Path, profile: str, out: Path | None = None) -> Path:
    """Build the whole book; print what took how long.

    Args:
        root: the tree.
        profile: of notebooks/profiles.
        out: a folder for `_build/html` of its own; the tree by default.

    Raises:
        BookError: The profile and the table of contents differ, the renderer warned, or a page
            loads something from another host.
        NotebookError: A notebook failed.
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
    except (BookError, LightenError, NotebookError) as error:
        sys.exit(f"make book: {error}")
    except KeyboardInterrupt:
        sys.exit("make book: stopped; the next call goes on with the notebook that was running")


if __name__ == "__main__":
    main()
