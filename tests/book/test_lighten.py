"""Pages lose what they do not show and nothing else, their pictures are light, faults mended."""

import base64
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from book.lighten import FORMULAS, ICONS, PICTURE_BYTES, LightenError, lighten

OTHERS = 'var c={monero:[496,512,[],"f3d0","M35"],"arrow-up":[384,512,[8593,"upward"],"f062","M2"]'
SCRIPT = OTHERS + ',list:[576,512,["list-squares"],"f03a",["M1","M2"]]};draw(c)'
SHEET = """@font-face{font-family:A;src:url(fonts/A.woff2) format("woff2"),url(fonts/A.ttf)}\
@font-face{font-family:B;src:url(fonts/B.woff2) format("woff2")}.katex{color:red}"""
PAGE = '<i class="fa-solid fa-list-squares"></i><summary><span class="toctree-toggle" role="x">'
LIST = "<ul><li>a</li>\n<li>b{}\n<ul><li>b.c</li>\n<li>b.d</li>\n</ul>{}<li>e</li>\n</ul>"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site of two pages, which shows a list by one of its names, and a script with an arrow."""
    for name, text in (
        ("index.html", PAGE),
        ("_modules/index.html", LIST.format("</li>", "")),
        ("_static/other.js", 'add("fa-upward")'),
        (ICONS, SCRIPT),
        (FORMULAS, SHEET),
        (str(Path(FORMULAS).with_name("fonts") / "A.woff2"), "\0font"),
    ):
        (path := tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_only_what_is_named_stays_and_two_faults_are_mended(site: Path) -> None:
    lighten(site)
    assert (site / ICONS).read_text() == SCRIPT.replace('monero:[496,512,[],"f3d0","M35"],', "")
    data = base64.b64encode(b"\0font").decode()
    assert (site / FORMULAS).read_text() == (
        f'@font-face{{font-family:A;src:url(data:font/woff2;base64,{data}) format("woff2")}}'
        ".katex{color:red}"
    )
    assert '<summary aria-label="more pages"><span' in (site / "index.html").read_text()
    assert (site / "_modules/index.html").read_text() == LIST.format("", "</li>")


@pytest.mark.parametrize(
    ("name", "told"), [(ICONS, "expected icons"), (FORMULAS, "expected fonts")]
)
def test_a_file_of_another_form_is_told_and_one_that_is_absent_is_not(
    site: Path, name: str, told: str
) -> None:
    (site / name).write_text("another")
    with pytest.raises(LightenError, match=told):
        lighten(site)
    (site / name).unlink()
    lighten(site)


def test_large_pictures_are_packed_and_pages_show_them(site: Path) -> None:
    (folder := site / "_images").mkdir()
    y, x = np.mgrid[:200, :300]
    shade = (120 + 60 * np.sin(x / 40) * np.cos(y / 30))[..., None]
    noise = np.random.default_rng(0).normal(0, 5, (200, 300, 3))
    photograph = (shade + noise).clip(0, 255).astype(np.uint8)
    Image.fromarray(photograph).save(folder / "large.png")
    Image.fromarray(photograph[:9, :9]).save(folder / "small.png")
    before = (folder / "large.png").stat().st_size
    (page := site / "index.html").write_text('<img src="../_images/large.png">_images/small.png')
    lighten(site)
    assert page.read_text() == '<img src="../_images/large.webp">_images/small.png'
    assert sorted(p.name for p in folder.iterdir()) == ["large.webp", "small.png"]
    assert before > PICTURE_BYTES
    assert (folder / "large.webp").stat().st_size < before / 2
    with Image.open(folder / "large.webp") as image:
        seen = np.asarray(image.convert("RGB")).astype(float)
    assert abs(seen - photograph).mean() < 5  # levels of 255; less than the noise has
