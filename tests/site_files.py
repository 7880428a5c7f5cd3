"""What is wrong with the files of a rendered site, in sentences: links, and their weight."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

PAGE_BYTES = 3_000_000  # of a page and all that it loads, on disk; a server sends less; ours
SITE_BYTES = 60_000_000  # on disk; ours


class Links(HTMLParser):
    """Collects what a page offers as anchors, and the addresses that it names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the anchor and the addresses among `attrs`."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values["id"]} if "id" in values else set()
        self.addresses += [values[name] for name in ("href", "src") if name in values]
        if values.get("http-equiv", "").lower() == "refresh":
            self.addresses.append(values["content"].partition("url=")[2])


def broken_links(html: Path) -> list[str]:
    """`PAGE: ADDRESS` of all that the pages below `html` name and that is not there."""
    paths = [path for path in html.rglob("*.html") if path.relative_to(html).parts[0] != "_static"]
    pages = {path: Links(path.read_text(encoding="utf-8")) for path in paths}  # no templates
    found = []
    for page, links in sorted(pages.items()):
        for address in dict.fromkeys(links.addresses):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchor = unquote(parts.fragment)
            if not target.is_file() or (
                anchor and target in pages and anchor not in pages[target].anchors
            ):
                found.append(f"{page.relative_to(html)}: {address}")
    return found


def pages_of(html: Path) -> list[str]:
    """The pages that differ from each other, relative to `html`.

    Left out is what a browser need not show: a page that only leads on, and all listings of source
    code but one, since the theme alone makes them.
    """
    paths = [path.relative_to(html) for path in sorted(html.rglob("*.html"))]
    listings = [path for path in paths if path.parts[0] == "_modules" and path.stem != "index"]
    return [
        str(path)
        for path in paths
        if path not in listings[1:]
        and path.parts[0] != "_static"
        and b'http-equiv="Refresh"' not in (html / path).read_bytes()[:200]
    ]


def weight_faults(requests: set[str]) -> list[str]:
    """Say what a page loads from elsewhere, what is missing, and whether all of it is too much."""
    found, size = [], 0
    for address in sorted(requests):
        parts = urlsplit(address)
        path = Path(unquote(parts.path))
        if parts.scheme in ("data", "blob"):
            continue
        if parts.scheme != "file":
            found.append(f"page asks for {address}")
        elif not path.is_file():
            found.append(f"page loads a file that is not there: {path}")
        else:
            size += path.stat().st_size
    if size > PAGE_BYTES:
        found.append(f"page weighs {size / 1e6:.1f} MB with its files")
    return found
