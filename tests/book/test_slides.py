"""A slider on a page of the book: executed, rendered, and moved in a browser without a network."""

from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import sync_playwright

from book.build import foreign_addresses
from tests.page_faults import CHROMIUM, NO_BROWSER


def test_page_holds_the_slider_and_no_state_of_widgets(small: Path) -> None:
    page = nbformat.read(small.parent / "stage/chapter.ipynb", as_version=4)
    assert "widgets" not in page.metadata  # each state of theirs would be a part of the page
    (output,) = page.cells[-2].outputs  # the slider, and no figure that was left open
    assert set(output.data) == {"text/html", "text/plain"}
    assert foreign_addresses(small) == []


@pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)
def test_slider_moves_on_a_page_of_the_book(small: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        for scheme, width in (("light", 1300), ("light", 390), ("dark", 390)):
            size = {"width": width, "height": 800}
            page = browser.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
            page.goto((small / "chapter.html").as_uri())
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
            assert page.get_by_role("link", name="Fig. 1").is_visible()
        browser.close()
