"""Each page of a site as a reader without a network meets it: small site, and book if it is there.

The book is the one in `_build/html`, or in the folder that ADLIB_SITE names.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, sync_playwright

from book.build import foreign_addresses
from tests import small_site
from tests.page_faults import (
    CHROMIUM,
    NO_BROWSER,
    VIEWS,
    axe_faults,
    fold_faults,
    slider_faults,
    visit,
    walk_faults,
)
from tests.site_files import SITE_BYTES, broken_links, pages_of, weight_faults

ROOT = Path(__file__).resolve().parent.parent.parent
BUILT = ROOT / "_build/html"
BOOK = Path(os.environ.get("ADLIB_SITE", BUILT)).resolve()
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)


def unfit() -> str:
    """Why the book is not tested, or nothing."""
    if not (BOOK / "index.html").is_file():
        return f"no book in {BOOK}: run `make book`, or set ADLIB_SITE"
    if BOOK != BUILT:
        return ""
    sources = [ROOT / "_config.yml"]
    for folder in ("adlib", "book", "notebooks"):
        sources += [path for path in (ROOT / folder).rglob("*.*") if path.suffix != ".pyc"]
    newest = max(sources, key=lambda path: path.stat().st_mtime)
    if newest.stat().st_mtime > (BOOK / "index.html").stat().st_mtime:
        return f"_build/html is older than {newest.relative_to(ROOT)}: run `make book`"
    return ""


UNFIT = unfit()
book = pytest.param("book", marks=pytest.mark.skipif(bool(UNFIT), reason=UNFIT))
each_site = pytest.mark.parametrize("name", ["small", book])
each_page = pytest.mark.parametrize(
    ("name", "page"),
    [("small", page) for page in small_site.PAGES]
    + [("book", page) for page in ([] if UNFIT else pages_of(BOOK))],
)


@pytest.fixture
def site(name: str, small: Path) -> Path:
    """The folder of the site of that name."""
    return {"small": small, "book": BOOK}[name]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, which draws without a graphics card."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--disable-gpu"])
        yield browser
        browser.close()


def faults(browser: Browser, path: Path, scheme: str, width: int) -> list[str]:
    """All that is wrong with a page in one view."""
    seen = visit(browser, path, scheme, width)
    look = (axe_faults, slider_faults, fold_faults, walk_faults)
    found = [fault for part in look for fault in part(seen.page)]
    seen.page.context.close()
    return seen.faults + found


@each_site
def test_links_lead_somewhere_and_site_is_light(site: Path) -> None:
    assert broken_links(site) == []
    assert sum(p.stat().st_size for p in site.rglob("*") if p.is_file()) <= SITE_BYTES


@needs_browser
@pytest.mark.parametrize(("scheme", "width"), VIEWS)
@each_page
def test_page_reads_well(browser: Browser, site: Path, page: str, scheme: str, width: int) -> None:
    assert faults(browser, site / page, scheme, width) == []


BREAKS = (  # what is changed in the chapter, by what, and the faults that must be told
    (' alt="A line, up and down."', "", ["axe image-alt"]),
    (">number</label>", "></label>", ["axe label"]),
    ('box.addEventListener("input", show);', "", ["by keys", "by mouse"] * 2),
    ("solution dropdown", "solution dropdown toggle-shown", ["lies open", "not open by a key"]),
    (
        r"\tfrac12 x",
        r"\left( x",
        ["formula has an error: ParseError", 'axe color-contrast: <span class="katex-error'],
    ),
    ("<p>It is ", "<p>$$x$$ It is ", ["formula stands as text: $$x$$"]),
    (
        '<article class="bd-article">',
        r"""<article class="bd-article"><div style="width: 1500px">wide</div>
        <p style="color: #777; background: #888">pale</p>
        <span class="math">y</span> <span class="math">\(\wrong\)</span>
        <script>console.error("broken")</script>
        <link rel="stylesheet" href="gone.css"> <img src="https://example.org/z.png" alt="z">
        <style>button.toggle-button { outline: none !important; }</style>
        <i class="fa-solid fa-unicorn"></i>
        <button onkeydown="event.preventDefault()">stay</button>""",
        [
            "scrolls sideways: 15",
            "axe color-contrast: <p style",
            "formula is not drawn: y",
            r"formula has an unknown command: \wrong",
            'axe color-contrast: <span class="mord"',
            "icon is not drawn: <svg",
            "console: broken",
            "console: Failed to load resource: net::ERR_FILE_NOT_FOUND",
            "console: Failed to load resource: net::ERR_INTERNET_DISCONNECTED",
            "loads a file that is not there",
            "asks for https://example.org/z.png",
            "picture is not shown: https://example.org/z.png",
            "shows no focus",
            "focus does not leave <button",
        ],
    ),
)


@needs_browser
def test_whatever_is_broken_is_told(browser: Browser, small: Path, tmp_path: Path) -> None:
    shutil.copytree(small, html := tmp_path / "site")
    text = (html / "chapter.html").read_text(encoding="utf-8")
    for old, new, _ in BREAKS:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (html / "chapter.html").write_text(text, encoding="utf-8")
    found = faults(browser, html / "chapter.html", "dark", 390)
    for _, _, told in BREAKS:
        for words in told:
            fault = next((f for f in found if words in f), None)
            assert fault, f"{words!r} is not told: {found}"
            found.remove(fault)
    assert found == []


def test_links_that_lead_nowhere_and_heavy_pages_are_told(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b c.html").write_text('<h1 id="here"></h1><a href="../d.html#far">')
    (tmp_path / "d.html").write_text(
        """<meta http-equiv="Refresh" content="0; url=a/gone.html"> <a href="a/b%20c.html#here">
        <a href="a/b%20c.html#there"><a href="#"><a href="https://example.org/#x"><img src="e.png">
        <a href="a">"""
    )
    told = ["a/b c.html: ../d.html#far", "d.html: a/gone.html", "d.html: a/b%20c.html#there"]
    assert broken_links(tmp_path) == [*told, "d.html: e.png", "d.html: a"]
    (heavy := tmp_path / "f g.png").write_bytes(bytes(3_000_001))
    (fault,) = weight_faults({heavy.as_uri(), "data:image/png;base64,AA"})
    assert re.fullmatch(r"page weighs 3\.0 MB with its files", fault)


@needs_browser
def test_quiz_counts_the_first_answer_to_each_question_and_works_by_keys(
    browser: Browser, small: Path
) -> None:
    page = visit(browser, small / "chapter.html", "light", 1300).page
    said = page.locator(".quiz [role=status]")
    for answer, told in (("two", "0 of 1."), ("three", "0 of 1."), ("four", "1 of 2. You have")):
        page.locator(".quiz summary", has_text=answer).press("Enter")
        page.wait_for_function(
            "t => document.querySelector('.quiz [role=status]').textContent.includes(t)", arg=told
        )
    opened = page.locator(".quiz details[open] summary").all_inner_texts()
    assert opened == ["three", "four"]  # one of each question
    assert said.inner_text().startswith("Right at the first try")
    page.context.close()


@needs_browser
@each_site
def test_search_finds_the_prototype_from_any_page(browser: Browser, site: Path) -> None:
    page = visit(browser, site / "genindex.html", "light", 1300).page
    page.keyboard.press("Control+k")
    page.keyboard.type("prototype")
    page.keyboard.press("Enter")
    found = page.locator("#search-results li a")
    found.first.wait_for()
    found.first.click()
    assert "prototype" in page.locator("article").inner_text().lower()
    page.context.close()


def test_small_site_has_the_pages_that_are_tested_and_a_slider_without_widgets(small: Path) -> None:
    assert sorted(pages_of(small)) == sorted(small_site.PAGES)
    page = nbformat.read(small.parent / "stage/chapter.ipynb", as_version=4)
    assert "widgets" not in page.metadata  # each state of theirs would be a part of the page
    (output,) = page.cells[-2].outputs  # the slider, and no figure that was left open
    assert set(output.data) == {"text/html", "text/plain"}
    assert foreign_addresses(small) == []


@needs_browser
@pytest.mark.parametrize(("scheme", "width"), VIEWS)
def test_slider_shows_the_picture_of_its_values(
    browser: Browser, small: Path, scheme: str, width: int
) -> None:
    page = visit(browser, small / "chapter.html", scheme, width).page
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
    page.context.close()
