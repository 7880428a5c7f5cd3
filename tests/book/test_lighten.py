"""Pages lose the icons and fonts that they do not show, and nothing else."""

import base64
from pathlib import Path

import pytest

from book.lighten import FORMULAS, ICONS, LightenError, lighten

OTHERS = 'var c={monero:[496,512,[],"f3d0","M35"],"arrow-up":[384,512,[8593,"upward"],"f062","M2"]'
SCRIPT = OTHERS + ',list:[576,512,["list-squares"],"f03a",["M1","M2"]]};draw(c)'
SHEET = """@font-face{font-family:A;src:url(fonts/A.woff2) format("woff2"),url(fonts/A.ttf)}\
@font-face{font-family:B;src:url(fonts/B.woff2) format("woff2")}.katex{color:red}"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site of one page, which shows a list by one of its names, and a script with an arrow."""
    for name, text in (
        ("index.html", '<i class="fa-solid fa-list-squares"></i>'),
        ("_static/other.js", 'add("fa-upward")'),
        (ICONS, SCRIPT),
        (FORMULAS, SHEET),
    ):
        (path := tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (fonts := tmp_path / FORMULAS).parent.joinpath("fonts").mkdir()
    (fonts.parent / "fonts/A.woff2").write_bytes(b"\0font")
    return tmp_path


def test_only_icons_that_are_named_stay(site: Path) -> None:
    lighten(site)
    assert (site / ICONS).read_text() == SCRIPT.replace('monero:[496,512,[],"f3d0","M35"],', "")


def test_fonts_that_are_there_stand_in_the_sheet_and_others_are_not_asked_for(site: Path) -> None:
    lighten(site)
    data = base64.b64encode(b"\0font").decode()
    assert (site / FORMULAS).read_text() == (
        f'@font-face{{font-family:A;src:url(data:font/woff2;base64,{data}) format("woff2")}}'
        ".katex{color:red}"
    )


@pytest.mark.parametrize(
    ("name", "told"), [(ICONS, "expected icons"), (FORMULAS, "expected fonts")]
)
def test_a_file_of_another_form_is_told(site: Path, name: str, told: str) -> None:
    (site / name).write_text("another")
    with pytest.raises(LightenError, match=told):
        lighten(site)


def test_a_site_without_them_is_left_alone(tmp_path: Path) -> None:
    lighten(tmp_path)
    assert list(tmp_path.iterdir()) == []
