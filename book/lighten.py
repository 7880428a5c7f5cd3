"""Makes a rendered site light, and mends what the theme writes: a reader may be on a phone.

Pages lose what they load and do not show, large pictures are packed anew, and two faults of the
theme's pages, which a screen reader meets, are mended.
"""

import base64
import re
from pathlib import Path

from PIL import Image

from adlib.study.explore import as_webp

ICONS = "_static/scripts/fontawesome.js"  # two thousand, of which the theme shows thirty
FORMULAS = "_static/vendor/katex.min.css"
ICON = re.compile(
    r'(?P<name>"[a-z0-9-]+"|[a-z0-9]+):'
    r'\[\d+,\d+,\[(?P<others>[^\]]*)\],"[0-9a-f]+",(?:"[^"]*"|\["[^"]*","[^"]*"\])\],?'
)
FONT = re.compile(r"(?P<head>@font-face\{[^}]*src:)url\((?P<file>[^)]*\.woff2)\)[^}]*\}")

PICTURE_BYTES = 50_000  # what is smaller stays as it is; ours
TOGGLE = '<summary><span class="toctree-toggle"'  # of the contents; it has no name


class LightenError(Exception):
    """A file is not as it was when this was written; the message says which."""


def lighten(html: Path) -> None:
    """Drop of a rendered site what it does not show, pack large pictures, mend two faults.

    Raises:
        LightenError: The theme's file of icons, or the style sheet of the formulas, has another
            form.
    """
    icons, sheet = html / ICONS, html / FORMULAS
    if icons.is_file():
        icons.write_text(fewer_icons(icons.read_text(encoding="utf-8"), named_icons(html)))
    if sheet.is_file():
        sheet.write_text(with_fonts(sheet.read_text(encoding="utf-8"), sheet.parent))
    packed = smaller_pictures(html / "_images")
    for page in html.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        new = text.replace(TOGGLE, TOGGLE.replace(">", ' aria-label="more pages">', 1))
        new = re.sub(r"(?<=_images/)[^\"/]+\.png", lambda m: packed.get(m[0], m[0]), new)
        if page == html / "_modules/index.html":  # a list may not stand beside the items of another
            new = re.sub(r"</li>\n(<ul>(?:(?!<ul>).)*?</ul>)", r"\n\1</li>", new, flags=re.DOTALL)
        if new != text:
            page.write_text(new, encoding="utf-8")


def smaller_pictures(folder: Path) -> dict[str, str]:
    """Pack each large PNG of a folder as WebP if that is smaller; the new names by the old ones."""
    packed = {}
    for path in sorted(folder.glob("*.png")):
        if path.stat().st_size > PICTURE_BYTES:
            with Image.open(path) as image:
                data = as_webp(image)
            if len(data) < path.stat().st_size:
                new = path.with_suffix(".webp")
                new.write_bytes(data)
                path.unlink()
                packed[path.name] = new.name
    return packed


def named_icons(html: Path) -> set[str]:
    """Icons that pages and scripts name: `fa-list` names `list`."""
    files = [*html.rglob("*.html"), *html.rglob("*.js")]
    texts = (path.read_text(encoding="utf-8") for path in files if path != html / ICONS)
    return {name for text in texts for name in re.findall(r"\bfa-([a-z0-9-]+)", text)}


def fewer_icons(script: str, named: set[str]) -> str:
    """The script of icons without those that nothing names, by their own name or another one."""

    def kept(icon: re.Match[str]) -> str:
        names = {icon["name"].strip('"'), *re.findall(r'"([^"]+)"', icon["others"])}
        return icon[0] if names & named else ""

    if not ICON.search(script):
        raise LightenError(f"expected icons as name:[width,height,[names],code,path] in {ICONS}")
    return ICON.sub(kept, script)


def with_fonts(sheet: str, folder: Path) -> str:
    """The style sheet with the fonts of `folder` in it, and without the others."""

    def within(face: re.Match[str]) -> str:
        if not (file := folder / face["file"]).is_file():
            return ""
        data = base64.b64encode(file.read_bytes()).decode()
        return f'{face["head"]}url(data:font/woff2;base64,{data}) format("woff2")}}'

    if not FONT.search(sheet):
        raise LightenError(f"expected fonts as url(NAME.woff2) in {FORMULAS}")
    return FONT.sub(within, sheet)
