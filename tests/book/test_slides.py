"""A slider on a page of the book: executed, rendered, and moved in a browser without a network."""

import shutil
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from playwright.sync_api import sync_playwright

from book.build import foreign_addresses, render
from book.execute import as_page, execute

ROOT = Path(__file__).resolve().parent.parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CELL = """import matplotlib.pyplot as plt
from adlib import explore

def draw(number, colour):
    return plt.figure(figsize=(8, 2), facecolor=colour)

explore.slide(
    draw,
    {"number": [6, 64], "colour": ["red", "lime", "blue"]},
    alt=lambda number, colour: f"{number} in {colour}",
    start={"colour": "lime"},
)"""


def rendered(tree: Path) -> Path:
    """Execute and render a book of one page with this project's settings and styles."""
    stage, source = tree / "_build/stage", tree / "slider.ipynb"
    stage.mkdir(parents=True)
    (tree / "constraints.txt").touch()
    figure = {"figure": {"caption": "Moves.", "name": "fig-slide"}}
    cells = [
        new_markdown_cell("# Slider\n\n{numref}`fig-slide` moves."),
        new_code_cell("seed = 0", metadata={"tags": ["parameters"]}),
        new_code_cell(CELL, metadata={"mystnb": figure}),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "p", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), source)
    done = execute(source, {}, root=tree, cache=tree / "executed", cwd=tree)
    page = as_page(nbformat.read(done.path, as_version=4), "book", {})
    assert "widgets" not in page.metadata  # each state of theirs would be a part of the page
    (output,) = page.cells[-1].outputs  # the slider, and no figure that was left open
    assert set(output.data) == {"text/html", "text/plain"}
    nbformat.write(page, stage / source.name)
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    del config["bibtex_bibfiles"], config["sphinx"]["config"]["bibtex_reference_style"]
    (stage / "_config.yml").write_text(yaml.safe_dump(config))
    (stage / "_toc.yml").write_text("root: slider\n")
    shutil.copytree(ROOT / "book/_static", stage / "book/_static")
    return render(stage, tree / "_build")


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome")
def test_slider_moves_on_a_page_of_the_book(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "opened.ipynb")  # as in a terminal of Jupyter
    html = rendered(tmp_path)
    assert foreign_addresses(html) == []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        for scheme, width in (("light", 1300), ("light", 390), ("dark", 390)):
            size = {"width": width, "height": 800}
            page = browser.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
            page.goto(f"file://{html}/slider.html")
            picture = page.locator(".adlib-slide img:visible")
            assert picture.get_attribute("alt") == "6 in lime"
            page.get_by_role("slider", name="number").press("ArrowRight")
            page.get_by_role("slider", name="colour").press("ArrowRight")
            assert picture.get_attribute("alt") == "64 in blue"
            box, article = picture.bounding_box(), page.locator("article").bounding_box()
            assert box is not None
            assert article is not None
            assert article["x"] <= box["x"]
            assert box["x"] + box["width"] <= article["x"] + article["width"]
            assert abs(box["width"] / box["height"] - 4) < 0.05  # 8 x 2 inches
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.get_by_role("link", name="Fig. 1").is_visible()
        browser.close()
