"""Packs the rendered site into one zip that is read from any folder, without a server."""

import re
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

NAME = "adlib-book.zip"  # the landing page links to it
FOLDER = "adlib-book"  # in the zip, so that unpacking strews nothing about
DATE = (1980, 1, 1, 0, 0, 0)  # the zip format's earliest; one for all, so that only content counts
LINK = re.compile(rb'<a [^>]*href="(?:\.\./)*' + re.escape(NAME.encode()) + rb'"[^>]*>(.*?)</a>')


def pack(html: Path) -> Path:
    """Write the zip into the site and return its path; equal sites give equal bytes.

    The zip does not hold itself, so in its pages the words stand where the link to it stood.

    Args:
        html: the rendered site.
    """
    target, part = html / NAME, html.parent / f"{NAME}.part"
    files = {path.relative_to(html).as_posix(): path for path in html.rglob("*") if path.is_file()}
    files.pop(NAME, None)
    with ZipFile(part, "w") as archive:
        for name, path in sorted(files.items()):
            entry = ZipInfo(f"{FOLDER}/{name}", DATE)
            entry.compress_type = ZIP_DEFLATED
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # a plain file of Unix
            content = path.read_bytes()
            if path.suffix == ".html":
                content = LINK.sub(rb"\1", content)
            archive.writestr(entry, content)
    part.replace(target)
    return target
