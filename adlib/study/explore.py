"""A picture that follows one slider or two: drawn on demand in a kernel, beforehand in the book.

One call makes both, and `progress.live_kernel` says which is shown. One output that holds both is
no way out: it would draw every picture beforehand in a live kernel too, and a page's renderer
prefers the widget, of which nothing moves without a kernel.
"""

import base64
import hashlib
import io
import itertools
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
Place = tuple[int, ...]  # of a combination: one index a setting, so that values may be anything
Picture = tuple[bytes, tuple[int, int]]  # WebP, and the size to show it at, in CSS pixels


@dataclass(frozen=True, kw_only=True)
class Slides:
    """What `slide` returns and Jupyter shows; no picture is drawn twice."""

    draw: Callable[..., Figure]
    alt: Callable[..., str]
    settings: dict[str, list[Any]]
    start: Place
    live: bool
    drawn: dict[Place, Picture] = field(default_factory=dict)

    def html(self) -> str:
        """All pictures and the sliders in one piece of HTML that needs no kernel and no network."""
        places = itertools.product(*map(range, map(len, self.settings.values())))
        pictures = "\n".join(self.image(p, hidden=p != self.start) for p in places)
        digest = hashlib.sha256(pictures.encode()).hexdigest()[:8]
        page = f"adlib-slide-{digest}-{next(_shown)}"  # kernels may share a page
        settings = [
            SETTING.format(
                page=page, name=f"{page}-{i}", label=escape(label), last=len(values) - 1,
                start=start, value=escape(str(values[start])),
                values=escape(json.dumps([str(v) for v in values])),
            )
            for i, (start, (label, values)) in enumerate(
                zip(self.start, self.settings.items(), strict=True)
            )
        ]  # fmt: skip
        return Template(PAGE.read_text(encoding="utf-8")).substitute(
            name=page, labels=escape(" and ".join(self.settings)), settings="\n".join(settings),
            start=escape(self.words(self.start)), pictures=pictures,
        )  # fmt: skip

    def widget(self) -> Any:
        """An ipywidgets box; a picture is drawn when it is first asked for."""
        import ipywidgets

        sliders = [
            ipywidgets.SelectionSlider(
                options=[(str(value), i) for i, value in enumerate(values)],
                value=start,
                description=label,
                continuous_update=False,  # drawing may be slower than a finger
                style={"description_width": "initial"},
                layout={"width": "100%", "max_width": "40rem"},
            )
            for (label, values), start in zip(self.settings.items(), self.start, strict=True)
        ]
        picture = ipywidgets.HTML(self.image(self.start))
        trouble = ipywidgets.Output()  # an error of `draw` would end in a log otherwise

        def show(_: object) -> None:
            trouble.outputs, picture.layout.visibility = (), "hidden"  # it fits no longer
            with trouble:
                picture.value = self.image(tuple(slider.value for slider in sliders))
                picture.layout.visibility = "visible"

        for slider in sliders:
            slider.observe(show, names="value")
        return ipywidgets.VBox([*sliders, picture, trouble])

    def image(self, place: Place, *, hidden: bool = False) -> str:
        """The `<img>` of a combination, drawn now or taken from before.

        Raises:
            ValueError: `alt` says nothing, or `draw` makes no figure or one of another size.
        """
        values, words = self.values(place), self.words(place)
        if not (alt := self.alt(*values)).strip():
            raise ValueError(f"alt must describe the picture, got {alt!r} for {words}")
        if place not in self.drawn:
            if not isinstance(figure := self.draw(*values), Figure):
                raise ValueError(f"draw must return a Figure, got {figure!r} for {words}")
            picture, first = encode(figure), next(iter(self.drawn), place)
            if (size := picture[1]) != (expected := self.drawn.get(first, picture)[1]):
                raise ValueError(
                    f"pictures must be of one size, or the page would jump; got {size} for "
                    f"{words}, but {expected} for {self.words(first)} (width, height)"
                )
            self.drawn[place] = picture
        data, (width, height) = self.drawn[place]
        return (
            f'<img width="{width}" height="{height}" alt="{escape(alt)}" decoding="sync" '
            f'style="max-width: 100%; height: auto"{" hidden" * hidden} '
            f'src="data:image/webp;base64,{base64.b64encode(data).decode()}">'
        )

    def values(self, place: Place) -> list[Any]:
        """One value of each setting."""
        return [v[i] for v, i in zip(self.settings.values(), place, strict=True)]

    def words(self, place: Place) -> str:
        """A combination in words."""
        return ", ".join(f"{k} {v}" for k, v in zip(self.settings, self.values(place), strict=True))

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if self.live:
            display(self.widget())
        else:
            text = self.alt(*self.values(self.start))
            display({"text/html": self.html(), "text/plain": text}, raw=True)


def slide(
    draw: Callable[..., Figure],
    settings: Mapping[str, Sequence[Any]],
    *,
    alt: Callable[..., str],
    start: Mapping[str, Any] | None = None,
    live: bool | None = None,
) -> Slides:
    """Show a figure that follows a slider, as the last line of a cell.

    With the settings `{"prototypes": [6, 64], "constraint": ["none", "anchor"]}`, for instance,
    `draw(64, "none")` and `alt(64, "none")` are called.

    Args:
        draw: Makes the figure at one value of each setting, in their order, always at one size.
        settings: Label of one slider or two, and the values on it from left to right.
        alt: Describes that figure for those who do not see it; called as `draw` is.
        start: Values to begin with, by label; the first ones where nothing is said.
        live: Whether to show widgets that ask the kernel, or HTML that holds all pictures; by
            default as `progress.live_kernel` says. HTML works in any notebook, too.
    Raises:
        ValueError: There is no value, one value twice, no such start, or too much for a page.
    """
    chosen = {label: list(values) for label, values in settings.items()}
    if not 1 <= len(chosen) <= 2:
        raise ValueError(f"settings must name one slider or two, got {len(chosen)}: {list(chosen)}")
    for label, values in chosen.items():
        if not values or len({str(v) for v in values}) < len(values):
            raise ValueError(f"{label!r} must have values, and each of them once; got {values}")
    first = {label: values[0] for label, values in chosen.items()} | dict(start or {})
    for label, value in first.items():
        if label not in chosen:
            raise ValueError(f"start names {label!r}, but the settings are {list(chosen)}")
        if value not in chosen[label]:
            raise ValueError(f"start {value!r} is none of {label!r}: {chosen[label]}")
    live = live_kernel() if live is None else live
    if not live and (count := math.prod(map(len, chosen.values()))) > MOST:
        raise ValueError(f"a page takes at most {MOST} pictures; {count} are asked for")
    places = tuple(values.index(first[label]) for label, values in chosen.items())
    return Slides(draw=draw, alt=alt, settings=chosen, start=places, live=live)


def encode(figure: Figure) -> Picture:
    """Draw a figure at its own size, pack it as WebP, and close it."""
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
