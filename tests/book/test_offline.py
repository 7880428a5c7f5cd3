"""The zip of the site: complete, the same each time, and without a dead link to itself."""

import os
import re
from pathlib import Path
from zipfile import ZipFile

import pytest

from book.offline import DATE, FOLDER, NAME, pack

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Two pages and a picture, in a folder with a space; the landing page offers the zip."""
    html = tmp_path / "a site"
    (html / "book").mkdir(parents=True)
    (html / "_images").mkdir()
    (html / "index.html").write_text('<meta http-equiv="Refresh" content="0; url=book/index.html">')
    (html / "book/index.html").write_text(
        f'<p><a href="../{NAME}" download="">the zip</a>, <a href="../index.html">home</a></p>'
    )
    (html / "_images/a.png").write_bytes(bytes(range(256)))
    (html / ".nojekyll").touch()
    return html


def test_zip_holds_each_file_of_the_site_but_itself(site: Path) -> None:
    pack(site)
    with ZipFile(pack(site)) as archive:  # the second time the zip lies in the site
        names = archive.namelist()
        entries = archive.infolist()
        picture = archive.read(f"{FOLDER}/_images/a.png")
        landing = archive.read(f"{FOLDER}/book/index.html").decode()
    inside = [".nojekyll", "_images/a.png", "book/index.html", "index.html"]
    assert names == [f"{FOLDER}/{name}" for name in inside]
    assert {entry.date_time for entry in entries} == {DATE}
    assert picture == bytes(range(256))
    assert landing == '<p>the zip, <a href="../index.html">home</a></p>'
    assert f'href="../{NAME}"' in (site / "book/index.html").read_text()  # the site keeps its link


def test_equal_sites_give_equal_bytes(site: Path) -> None:
    first = pack(site).read_bytes()
    for path in site.rglob("*"):
        os.utime(path, (1, 1))
        if path.is_file():
            path.chmod(0o600)
    assert pack(site).read_bytes() == first
    (site / "_images/a.png").write_bytes(b"b")
    assert pack(site).read_bytes() != first
    assert [path.name for path in site.parent.iterdir()] == [site.name]  # no .part is left


def test_landing_page_offers_this_zip() -> None:
    landing = (ROOT / "book/index.md").read_text(encoding="utf-8")
    assert re.findall(r'<a href="\.\./([^"]+)" download>', landing) == [NAME]
