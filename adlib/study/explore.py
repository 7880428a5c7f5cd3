"""A picture that follows one slider or two.

On a page without a kernel all pictures are drawn beforehand, and lie in one piece of HTML with its
own script. Widgets that ask a live kernel draw a picture when it is first asked for.
"""

import base64
import hashlib
import io
import itertools
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from adlib.system.progress import live_kernel

MOST = 64  # pictures on a page; 45 to 80 kB each if they hold photographs; ours
INCH = 100  # CSS pixels for an inch of a figure, as in matplotlib's inline pictures
DENSITY = 1.5  # dots for each CSS pixel, so that letters stay sharp; ours
PAGE = Path(__file__).with_suffix(".html")
# Jupyter Lab would take the arrow keys for its own.
SETTING = """<div><label for="{name}">{label}</label>:
<b><output for="{name}" aria-live="off">{value}</output></b>
<input type="range" id="{name}" min="0" max="{last}" value="{start}" autocomplete="off"
aria-controls="{page}-pictures" aria-valuetext="{value}" data-values="{values}"
data-lm-suppress-shortcuts="true"></div>"""

_shown = itertools.count()


@dataclass(frozen=True)
class Slides:
    """What `slide` returns: pictures and sliders as HTML, and text for those who see none."""

    html: str
    text: str

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.text}


def slide(
    draw: Callable[..., Figure],
    settings: Mapping[str, Sequence[Any]],
    *,
    alt: Callable[..., str],
    start: Mapping[str, Any] | None = None,
    live: bool | None = None,
) -> Any:
    """Show a figure that follows a slider, as the last line of a cell.

    With the settings `{"prototypes": [6, 64], "constraint": ["none", "anchor"]}`, for instance,
    `draw(64, "none")` and `alt(64, "none")` are called.

    Args:
        draw: Makes the figure at one value of each setting, in their order, always at one size.
        settings: Label of one slider or two, and the values on it from left to right.
        alt: Describes that figure for those who do not see it; called as `draw` is.
        start: Values to begin with, by label; the first ones where nothing is said.
        live: Whether to show widgets; by default as `progress.live_kernel` says.
    Returns:
        `Slides`, or a box of ipywidgets.
    Raises:
        ValueError: There is no value, one value twice, no such start, or too much for a page; `alt`
            says nothing, or `draw` makes no figure or one of another size.
    """
    chosen = {label: list(values) for label, values in settings.items()}
    for label, values in chosen.items():
        if len({str(v) for v in values}) < max(1, len(values)):
            raise ValueError(f"{label!r} must have values, and each of them once; got {values}")
    if not chosen or (start and start.keys() - chosen.keys()):
        raise ValueError(f"start {start} must name sliders, which are {list(chosen)}")
    first = tuple((start or {}).get(label, values[0]) for label, values in chosen.items())
    begin = [values.index(value) for values, value in zip(chosen.values(), first, strict=True)]
    if live_kernel() if live is None else live:
        return _widgets(draw, alt, chosen, first)
    if (count := math.prod(map(len, chosen.values()))) > MOST:
        raise ValueError(f"a page takes at most {MOST} pictures; {count} are asked for")
    images, sizes = [], {}
    for values in itertools.product(*chosen.values()):
        words = ", ".join(f"{k} {v}" for k, v in zip(chosen, values, strict=True))
        if not (text := alt(*values)).strip():
            raise ValueError(f"alt must describe the picture, got {text!r} for {words}")
        if not isinstance(figure := draw(*values), Figure):
            raise ValueError(f"draw must return a Figure, got {figure!r} for {words}")
        data, size = encode(figure)
        sizes.setdefault(size, words)
        if size != (known := next(iter(sizes))):
            raise ValueError(
                f"pictures must be of one size, or the page would jump; got {size} for {words}, "
                f"but {known} for {sizes[known]} (width, height)"
            )
        images.append(
            f'<img width="{size[0]}" height="{size[1]}" alt="{escape(text)}" decoding="sync" '
            f'style="max-width: 100%; height: auto"{" hidden" * (values != first)} '
            f'src="data:image/webp;base64,{base64.b64encode(data).decode()}">'
        )
    digest = hashlib.sha256("".join(images).encode()).hexdigest()[:8]
    page = f"adlib-slide-{digest}-{next(_shown)}"  # kernels may share a page
    ranges = [
        SETTING.format(
            page=page, name=f"{page}-{i}", label=escape(label), last=len(values) - 1,
            start=begin[i], value=escape(str(first[i])),
            values=escape(json.dumps([str(v) for v in values])),
        )
        for i, (label, values) in enumerate(chosen.items())
    ]  # fmt: skip
    html = Template(PAGE.read_text(encoding="utf-8")).substitute(
        name=page, labels=escape(" and ".join(chosen)), settings="\n".join(ranges),
        start=escape(", ".join(f"{k} {v}" for k, v in zip(chosen, first, strict=True))),
        pictures="\n".join(images),
    )  # fmt: skip
    return Slides(html, alt(*first))


def _widgets(
    draw: Callable[..., Figure],
    alt: Callable[..., str],
    chosen: Mapping[str, Sequence[Any]],
    first: Sequence[Any],
) -> Any:
    import ipywidgets

    sliders = {
        label: ipywidgets.SelectionSlider(
            options=[(str(value), value) for value in values],
            value=value,
            description=label,
            continuous_update=False,  # drawing may be slower than a finger
            style={"description_width": "initial"},
            layout={"width": "100%", "max_width": "40rem"},
        )
        for (label, values), value in zip(chosen.items(), first, strict=True)
    }
    drawn = cache(lambda *values: base64.b64encode(encode(draw(*values))[0]).decode())

    def show(**named: Any) -> None:
        from IPython.display import HTML, display

        values = named.values()
        source = f'src="data:image/webp;base64,{drawn(*values)}"'
        display(HTML(f'<img style="max-width: 100%" alt="{escape(alt(*values))}" {source}>'))

    picture = ipywidgets.interactive_output(show, sliders)  # shows errors of `draw`, too
    return ipywidgets.VBox([*sliders.values(), picture])


def encode(figure: Figure) -> tuple[bytes, tuple[int, int]]:
    """Draw a figure as WebP, close it, and return its size in CSS pixels, too."""
    dots = io.BytesIO()
    with rc_context({"savefig.bbox": None}):  # "tight" would give each picture its own size
        figure.savefig(dots, format="png", dpi=DENSITY * INCH, pil_kwargs={"compress_level": 1})
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close(figure)  # else the inline backend shows it once more
    with Image.open(dots, formats=("PNG",)) as image:
        width, height = (round(n / DENSITY) for n in image.size)
        return as_webp(image), (width, height)


def as_webp(image: Image.Image) -> bytes:
    """Pack a picture as WebP, lossless or at quality 90, whichever is smaller.

    Of a plot the lossless file is; of photographs it would be five times as large.
    """
    files = []
    for options in ({"lossless": True, "quality": 20}, {"quality": 90}):
        image.save(file := io.BytesIO(), format="webp", **options)
        files.append(file.getvalue())
    return min(files, key=len)
