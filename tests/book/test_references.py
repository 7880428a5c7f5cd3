"""What is cited is listed and the other way round; the vendored files are those that are named."""

import hashlib
import re
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent


def prose() -> str:
    """All Markdown of pages and notebooks."""
    pages = [p.read_text(encoding="utf-8") for p in sorted((ROOT / "book").rglob("*.md"))]
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        pages += [cell.source for cell in cells if cell.cell_type == "markdown"]
    return "\n".join(pages)


def test_cited_works_and_listed_works_are_the_same() -> None:
    bib = (ROOT / "book/references.bib").read_text(encoding="utf-8")
    listed = re.findall(r"^@\w+\{([^,]+),", bib, re.MULTILINE)
    cited = {
        key.strip()
        for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", prose())
        for key in keys.split(",")
    }
    assert len(listed) == len(set(listed))
    assert cited == set(listed)


def test_vendored_files_are_those_of_the_list() -> None:
    folder = ROOT / "book/_static/vendor"
    told = re.findall(r"sha256 ([0-9a-f]{64})  (\S+)", (folder / "README.md").read_text())
    assert told
    for digest, name in told:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert (ROOT / "book/_static" / config["sphinx"]["config"]["mathjax_path"]).is_file()
