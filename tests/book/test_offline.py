"""The zip of the site: complete, the same each time, and without a dead link to itself."""

import os
import re
from pathlib import Path
from zipfile import ZipFile

from book.offline import DATE, FOLDER, NAME, pack

ROOT = Path(__file__).resolve().parents[2]


def test_zip_holds_each_file_of_the_site_but_itself_and_depends_on_content_alone(
    tmp_path: Path,
) -> None:
    html = tmp_path / "a site"
    files = {
        ".nojekyll": b"",
        "_images/a.png": bytes(range(256)),
        "book/index.html": f'<p><a href="../{NAME}" download="">the zip</a></p>'.encode(),
        "index.html": b'<a href="book/index.html">book</a>',
    }
    for name, content in files.items():
        (html / name).parent.mkdir(parents=True, exist_ok=True)
        (html / name).write_bytes(content)
    pack(html)
    first = pack(html).read_bytes()  # the second time the zip lies in the site
    with ZipFile(html / NAME) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {DATE}
        packed = {name: archive.read(name) for name in archive.namelist()}
    there = files | {"book/index.html": b"<p>the zip</p>"}
    assert packed == {f"{FOLDER}/{name}": content for name, content in there.items()}
    assert NAME in (html / "book/index.html").read_text()  # the site keeps its link
    for path in html.rglob("*"):
        os.utime(path, (1, 1))
        if path.is_file():
            path.chmod(0o600)
    assert pack(html).read_bytes() == first
    (html / "_images/a.png").write_bytes(b"b")
    assert pack(html).read_bytes() != first
    assert [path.name for path in html.parent.iterdir()] == [html.name]  # no .part is left


def test_landing_page_offers_this_zip() -> None:
    landing = (ROOT / "book/index.md").read_text(encoding="utf-8")
    assert re.findall(r'<a href="\.\./([^"]+)" download>', landing) == [NAME]
