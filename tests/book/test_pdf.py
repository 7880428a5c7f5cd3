"""The book as one page: its links stay inside, its ids differ, and nothing is left folded."""

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from book import pdf
from book.pdf import PrintError
from tests.page_faults import CHROMIUM, NO_BROWSER

TOC = """root: book/index
parts:
  - caption: First & last
    chapters:
      - file: notebooks/01_a
        sections: [{file: book/api/b}]
"""
INDEX = """<html><head><link rel="stylesheet" href="../_static/a.css"><link rel="icon" href="i.ico">
<script src="../_static/vendor/katex.min.js"></script><script src="../_static/formulas.js"></script>
<script src="../_static/other.js"></script></head><body><nav>bar</nav><article>
<h1>The book<a class="headerlink" href="#top">#</a></h1><section id="top">
<a href="../notebooks/01_a.html#s">chapter</a> <a href="#top">here</a> <a href="../x.zip">zip</a>
<a href="https://example.org/p.html#q">far</a><button>copy</button></section></article></body></html>
"""
CHAPTER = """<article><h1>1. A</h1><section id="s"><img src="../_images/a.png" alt="a">
<a href="../book/api/b.html">b</a><details><summary>Solution</summary>folded</details></section>
<div class="adlib-slide" id="adlib-slide-1"></div></article>"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree, in a folder with a space, whose site has three pages."""
    root = tmp_path / "a tree"
    pages = {"book/index": INDEX, "notebooks/01_a": CHAPTER}
    pages["book/api/b"] = '<article><h1>B</h1><p id="s">b</p></article>'
    for name, text in pages.items():
        path = root / f"_build/html/{name}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "book").mkdir()
    (root / "book/_toc.yml").write_text(TOC)
    (root / "_config.yml").write_text(
        "title: a book\nauthor: us\nrepository: {url: https://example.org/a}\n"
    )
    return root


def printed(root: Path) -> BeautifulSoup:
    return BeautifulSoup(pdf.one_page(root, root / "_build/html"), "html.parser")


def test_pages_come_in_the_order_of_the_contents_and_each_is_listed(tree: Path) -> None:
    page = printed(tree)
    order = [str(article["id"]) for article in page.select("body > article")]
    assert order == ["book/index", "notebooks/01_a", "book/api/b"]
    listed = {str(a["href"]): a.get_text() for a in page.select(".contents a")}
    assert listed == {"#book/index": "The book", "#notebooks/01_a": "1. A", "#book/api/b": "B"}
    assert page.select(".contents b")[0].get_text() == "First & last"


def test_every_link_stays_inside_or_goes_far_away(tree: Path) -> None:
    page = printed(tree)
    ids = [str(tag["id"]) for tag in page.select("[id]")]
    assert len(set(ids)) == len(ids)  # `s` is in two pages
    links = [str(a["href"]) for a in page.select("article a")]
    assert links == [
        "#notebooks/01_a--s",
        "#book/index--top",
        "https://example.org/p.html#q",
        "#book/api/b",
    ]
    inside = {link[1:] for link in links if link.startswith("#")}
    assert inside <= set(ids)
    assert "zip" in page.get_text()  # the words of a link that leads nowhere on paper
    assert "adlib-slide-1" in ids  # a page's script asks for it by this name


def test_page_is_whole_beside_the_site_with_open_solutions_and_no_bars(tree: Path) -> None:
    page = printed(tree)
    assert [image["src"] for image in page.select("img")] == ["html/_images/a.png"]
    assert [link["href"] for link in page.select("link")] == ["html/_static/a.css"]
    scripts = [script.get("src") for script in page.select("head script")]
    assert scripts == ["html/_static/vendor/katex.min.js", "html/_static/formulas.js"]
    assert page.select("details[open]")
    assert not page.select("details:not([open]), nav, button, .headerlink")


def test_missing_page_and_missing_text_are_refused(tree: Path) -> None:
    path = tree / "_build/html/book/api/b.html"
    path.write_text("<p>not a page</p>")
    with pytest.raises(PrintError, match=r"b\.html holds no <article>"):
        printed(tree)
    path.unlink()
    with pytest.raises(PrintError, match=r"b\.html is missing: render the whole book"):
        printed(tree)


def test_missing_browser_is_refused_with_what_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ADLIB_CHROMIUM", raising=False)
    with pytest.raises(PrintError, match=r"no Chromium .* tried google-.*set ADLIB_CHROMIUM"):
        pdf.find_browser()
    (program := tmp_path / "my chromium").write_text("#!/bin/sh\n")
    monkeypatch.setenv("ADLIB_CHROMIUM", str(program))
    with pytest.raises(PrintError, match=r"tried .*my chromium"):
        pdf.find_browser()
    program.chmod(0o755)
    assert pdf.find_browser() == str(program)


@pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)
def test_each_page_begins_a_sheet_and_headings_are_bookmarks(tree: Path) -> None:
    page, target = tree / "_build/print.html", tree / "_build/a.pdf"
    page.write_text(re.sub(r"<(script|link|img)\b[^>]*>(.*?</script>)?", "", str(printed(tree))))
    pdf.print_page(page, target, pdf.find_browser())
    content = target.read_bytes()
    assert len(re.findall(rb"/Type\s*/Page\b", content)) == 5  # cover, contents, three pages
    assert b"/Outlines" in content
