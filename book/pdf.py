"""Prints the rendered book as one PDF: `make pdf`, or `python -m book.pdf` where it is rendered.

All pages become one, in the order of the contents, so that links between them stay inside the PDF
and its pages are counted through. Chromium prints it, with the headings as bookmarks.
"""

import os
import posixpath
import re
import shutil
import sys
import time
from html import escape
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

import yaml
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import sync_playwright

import adlib
from adlib.engine.runs import commit
from book.build import ROOT, documents

# Chrome comes first: Ubuntu's Chromium is a snap, which may not read below /tmp.
BROWSERS = ("google-chrome", "google-chrome-stable", "chromium", "chromium-browser")
BROWSER_VARIABLE = "ADLIB_CHROMIUM"
OFF_PAPER = "a.headerlink, a.viewcode-back, .viewcode-link, button, footer.prev-next-footer"
OWN_NAME = "adlib-slide"  # ids that a page's script asks for, each the only one in the book
PAPER = {"top": "18mm", "bottom": "20mm", "left": "18mm", "right": "18mm"}  # of A4; ours
NUMBER = (
    '<div style="width: 100%; font: 8pt sans-serif; text-align: center; color: #555">'
    '<span class="pageNumber"></span></div>'
)
STYLE = """
html { font-size: 13px; }
body { max-width: none; }
body > article, .contents { break-before: page; }
.cover { padding-top: 30vh; text-align: center; }
.contents ul { list-style: none; padding-left: 1.2em; }
pre, pre span { overflow-wrap: anywhere; white-space: pre-wrap !important; }
div.highlight pre { font-size: 0.85em; padding: 0.6em 0.8em; }
.bd-article table { display: table; font-size: 0.85em; overflow: visible; }
.bd-article td, .bd-article th { overflow-wrap: break-word; padding: 0.2em 0.6em; }
dt { break-after: avoid; }
img { max-height: 225mm; object-fit: contain; }
figure, img, tr, .katex-display { break-inside: avoid; }
h1, h2, h3, h4 { break-after: avoid; }
a { text-decoration: none; }
"""


class PrintError(Exception):
    """The book cannot be printed; the message says why."""


def find_browser() -> str:
    """Path of the Chromium to print with: the variable's, else the first on PATH."""
    named = os.environ.get(BROWSER_VARIABLE)
    found = [path for name in ([named] if named else BROWSERS) if (path := shutil.which(name))]
    if not found:
        tried = named or ", ".join(BROWSERS)
        raise PrintError(
            f"no Chromium to print with; tried {tried}. Install one (Debian: apt install "
            f"chromium), or set {BROWSER_VARIABLE} to its path"
        )
    return found[0]


def article(html: Path, document: str, known: set[str]) -> Tag:
    """One page's text, its links, ids and pictures fit for a file that lies beside `html`.

    Links to the pages that are `known` stay links, those to other files become text.

    Raises:
        PrintError: The page is missing, or holds no text.
    """
    path = html / f"{document}.html"
    if not path.is_file():
        raise PrintError(f"{path} is missing: render the whole book first, with `make book`")
    page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    if (text := page.select_one("article")) is None:
        raise PrintError(f"{path} holds no <article>: is it a page of the book?")
    for tag in text.select(OFF_PAPER):
        tag.decompose()
    for tag in text.select("details"):
        tag["open"] = ""
    for tag in text.select("[id]"):
        if not str(tag["id"]).startswith(OWN_NAME):
            tag["id"] = f"{document}--{tag['id']}"
    move(text, html, document)
    for tag in text.select("a[href]"):
        link, fragment = urldefrag(str(tag["href"]))
        if urlsplit(link).scheme:
            continue
        name = (resolve(document, link) if link else document).removesuffix(".html")
        if name in known:
            tag["href"] = f"#{name}--{fragment}" if fragment else f"#{name}"
        else:
            tag.unwrap()
    text["id"] = document
    return text


def resolve(document: str, address: str) -> str:
    """A page's relative address as it is from the top of the site."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(document), address))


def move(text: Tag, html: Path, document: str) -> None:
    """Make addresses of pictures, scripts and styles those from the folder that holds `html`."""
    for tag in text.select("[src], link[href]"):
        name = "href" if tag.name == "link" else "src"
        if not urlsplit(str(tag[name])).scheme:
            tag[name] = posixpath.join(html.name, resolve(document, str(tag[name])))


def contents(root: Path, titles: dict[str, str]) -> str:
    """Parts and pages of the table of contents as a list of links."""

    def listed(entries: list[dict]) -> str:
        items = [
            f'<li><a href="#{entry["file"]}">{escape(titles[entry["file"]])}</a>'
            f"{listed(entry.get('sections', []))}</li>"
            for entry in entries
        ]
        return f"<ul>{''.join(items)}</ul>" if items else ""

    toc = yaml.safe_load((root / "book/_toc.yml").read_text(encoding="utf-8"))
    parts = [
        f"<p><b>{escape(part.get('caption', ''))}</b></p>{listed(part['chapters'])}"
        for part in toc["parts"]
    ]
    listing = "".join([listed([{"file": toc["root"]}]), *parts])
    return f'<section class="contents bd-article"><h1>Contents</h1>{listing}</section>'


def head(html: Path, document: str) -> str:
    """The site's styles and what draws its formulas, from a page's head; no other script."""
    page = BeautifulSoup((html / f"{document}.html").read_text(encoding="utf-8"), "html.parser")
    move(page, html, document)
    kept = page.select('head link[rel="stylesheet"]')
    kept += [s for s in page.select("head script") if re.search("/vendor/|/formulas.js", str(s))]
    return "".join(map(str, kept))


def one_page(root: Path, html: Path) -> str:
    """All pages of the site `html` as one, to be written beside it."""
    names = documents(root)
    texts = {name: article(html, name, set(names)) for name in names}
    site = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    name, address = escape(site["title"]), site["repository"]["url"]
    told = " · ".join(filter(None, (f"version {adlib.__version__}", commit())))
    cover = (
        f'<section class="cover bd-article"><p style="font-size: 4em">{name}</p>'
        f"<p>{escape(site['author'])}</p><p>{told}</p>"
        f'<p><a href="{address}">{address}</a></p></section>'
    )
    headings = {n: text.select_one("h1") or text for n, text in texts.items()}
    titles = {n: " ".join(h.get_text().split()) for n, h in headings.items()}
    return (
        f'<!DOCTYPE html>\n<html lang="en" data-theme="light"><head><meta charset="utf-8">'
        f"<title>{name}</title>{head(html, names[0])}<style>{STYLE}</style></head>"
        f"<body>{cover}{contents(root, titles)}{''.join(map(str, texts.values()))}</body></html>"
    )


def print_page(page: Path, pdf: Path, browser: str) -> None:
    """Print a page of this disk, once its pictures are there and its formulas drawn."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = chromium.new_page()
        tab.set_default_timeout(900_000)  # milliseconds; a whole book, on a machine that is busy
        tab.goto(page.resolve().as_uri())
        tab.evaluate("document.fonts.ready.then(() => null)")
        tab.pdf(
            path=pdf,
            format="A4",
            margin=PAPER,  # pyright: ignore[reportArgumentType]
            print_background=True,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=NUMBER,
            outline=True,
            tagged=True,  # the bookmarks are made of the tags
        )
        chromium.close()


def main(html: Path = ROOT / "_build/html", pdf: Path = ROOT / "_build/adlib.pdf") -> None:
    """Print the site that `make book` has rendered."""
    start = time.monotonic()
    try:
        browser = find_browser()
        page = html.parent / "print.html"
        page.write_text(one_page(ROOT, html), encoding="utf-8")
    except PrintError as error:
        sys.exit(f"make pdf: {error}")
    print_page(page, pdf, browser)
    print(f"{pdf}: {pdf.stat().st_size / 1e6:.1f} MB, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))  # another site, and the PDF to write
