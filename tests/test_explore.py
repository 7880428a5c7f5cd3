"""A slider shows the picture of its values, on a page without a kernel as well."""

import base64
import io
import itertools
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.figure import Figure
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from adlib.study import explore
from tests.page_faults import CHROMIUM, NO_BROWSER

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)
NUMBERS, COLOURS = [6, 64, 256], ["red", "lime"]
SETTINGS = {"number of prototypes": NUMBERS, "colour": COLOURS}
PAIRS = list(itertools.product(NUMBERS, COLOURS))


def draw(number: int, colour: str) -> Figure:
    """A picture of 200 x 100 CSS pixels that says by its colours what it was drawn for."""
    red, green = number / 256, float(colour == "lime")
    return plt.figure(figsize=(2, 1), facecolor=(red, green, 0.2))


def alt(number: int, colour: str) -> str:
    return f"{number} in {colour}"


class Tags(HTMLParser):
    """Every start tag of a piece of HTML, with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def pixels(attributes: dict[str, str | None]) -> np.ndarray:
    """The dots of an `<img>` that holds its own data."""
    source = attributes["src"] or ""
    assert source.startswith("data:image/webp;base64,")
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB"))


def test_page_holds_the_picture_of_each_combination_once() -> None:
    start = {"number of prototypes": 64, "colour": "lime"}
    images = Tags(explore.slide(draw, SETTINGS, alt=alt, start=start).html).of("img")
    assert [image["alt"] for image in images] == [alt(*pair) for pair in PAIRS]
    assert [pair for pair, i in zip(PAIRS, images, strict=True) if "hidden" not in i] == [
        (64, "lime")
    ]
    for (number, colour), image in zip(PAIRS, images, strict=True):
        wanted = [number / 256, colour == "lime", 0.2]
        dots = pixels(image)
        assert np.abs(dots / 255 - wanted).max() < 1 / 255  # a flat picture is kept exactly
        assert dots.shape == (150, 300, 3)
        assert (image["width"], image["height"]) == ("200", "100")


def test_ids_are_unique_and_each_reference_meets_one() -> None:
    slides = explore.slide(draw, SETTINGS, alt=alt)
    other = explore.slide(lambda n: draw(n, "red"), {"alone": NUMBERS}, alt=str)
    again = explore.slide(draw, SETTINGS, alt=alt)  # the same pictures on one page
    tags = Tags(slides.html + again.html + other.html)
    ids = [attributes["id"] for _, attributes in tags.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) == 3 * 2 + 5
    for _, attributes in tags.tags:
        for name in ("for", "aria-controls"):
            assert attributes.get(name, ids[0]) in ids


def test_labels_and_values_are_text_and_never_markup() -> None:
    odd = ["<b>&", 'a "quote"', "it's {x}"]
    slides = explore.slide(lambda _: draw(6, "red"), {"<i>{k}": odd}, alt=lambda v: f"<u>{v}")
    tags = Tags(slides.html)
    assert not {"i", "u"} & {tag for tag, _ in tags.tags}
    assert len(tags.of("b")) == 1  # the page's own
    assert [image["alt"] for image in tags.of("img")] == [f"<u>{v}" for v in odd]
    assert tags.of("input")[0]["aria-valuetext"] == "<b>&"


def test_photographs_are_packed_with_loss_and_plots_without() -> None:
    noise = np.random.default_rng(0).random((100, 200, 3))
    photograph = Figure(figsize=(2, 1))
    photograph.figimage(np.kron(noise, np.ones((2, 2, 1)))[:150, :300])
    data, size = explore.encode(photograph)
    assert size == (200, 100)
    assert b"VP8 " in data[:40]  # the lossy chunk
    assert b"VP8L" in explore.encode(draw(6, "red"))[0][:40]


def test_figures_are_closed_and_keep_their_size_under_tight_boxes() -> None:
    with plt.rc_context({"savefig.bbox": "tight"}):
        assert explore.encode(draw(6, "red"))[1] == (200, 100)
    assert plt.get_fignums() == []


def test_a_notebook_gets_html_and_whoever_sees_none_the_text() -> None:
    slides = explore.slide(draw, SETTINGS, alt=alt, start={"colour": "lime"})
    data, _ = DisplayFormatter().format(slides)
    assert data == {"text/html": slides.html, "text/plain": "6 in lime"}


@pytest.mark.parametrize(
    ("settings", "start", "words"),
    [
        ({}, None, r"start None must name sliders, which are \[\]"),
        ({"n": []}, None, r"'n' must have values, .*; got \[\]"),
        ({"n": [6, 64, 6]}, None, r"each of them once; got \[6, 64, 6\]"),
        ({"n": [6, 64]}, {"n": 7}, "7 is not in list"),
        ({"n": [6, 64]}, {"m": 6}, r"start {'m': 6} must name sliders, which are \['n'\]"),
        ({"n": range(13), "m": range(5)}, None, "at most 64 pictures; 65 are asked for"),
    ],
)
def test_settings_that_make_no_slider_are_refused(
    settings: dict[str, Any], start: dict[str, Any] | None, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        explore.slide(draw, settings, alt=alt, start=start)


def test_pictures_that_make_no_page_are_refused() -> None:
    two = {"n": [6, 64]}
    with pytest.raises(ValueError, match=r"draw must return a Figure, got None for n 6"):
        explore.slide(lambda _: None, two, alt=str)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"alt must describe the picture, got ' ' for n 6"):
        explore.slide(lambda n: draw(n, "red"), two, alt=lambda _: " ")
    with pytest.raises(
        ValueError, match=r"got \(64, 100\) for n 64, but \(6, 100\) for n 6 \(width"
    ):
        explore.slide(lambda n: Figure(figsize=(n / 100, 1)), two, alt=str)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A phone that shows two sliders, the first with two settings; nothing else styles them."""
    first = explore.slide(draw, SETTINGS, alt=alt, start={"number of prototypes": 64})
    second = explore.slide(lambda n: draw(n, "red"), {"alone": NUMBERS}, alt=str)
    (tmp_path / "page.html").write_text(
        '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"{first.html}{second.html}<p id=after>after</p>"
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.goto(f"file://{tmp_path}/page.html")
        yield page
        browser.close()


@needs_browser
def test_arrow_keys_bring_the_picture_of_the_combination(page: Page) -> None:
    def seen() -> list[str | None]:
        return [image.get_attribute("alt") for image in page.locator("img:visible").all()]

    number, colour, alone = page.locator("input").all()
    below = page.locator("#after").bounding_box()
    assert seen() == ["64 in red", "6"]
    number.press("ArrowRight")
    assert seen() == ["256 in red", "6"]
    colour.press("End")
    assert seen() == ["256 in lime", "6"]
    number.press("Home")
    alone.press("ArrowRight")
    assert seen() == ["6 in lime", "64"]
    assert page.locator("output").all_inner_texts() == ["6", "lime", "64"]
    assert page.get_by_label("number of prototypes", exact=True).get_attribute("value") == "1"
    assert page.get_by_role("slider", name="colour").get_attribute("aria-valuetext") == "lime"
    assert page.locator("#after").bounding_box() == below  # the page stays still
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for slider in (number, colour, alone):
        box = slider.bounding_box()
        assert box is not None
        assert box["height"] >= 44  # a thumb's width
    assert re.search("3px", page.evaluate("getComputedStyle(document.activeElement).outline"))


@needs_browser
def test_without_script_there_is_the_first_picture_and_a_word(page: Page) -> None:
    browser = page.context.browser
    assert browser is not None
    plain = browser.new_page(java_script_enabled=False)
    plain.goto(page.url)
    images = plain.locator("img:visible").all()
    assert [image.get_attribute("alt") for image in images] == ["64 in red", "6"]
    assert not plain.locator("input:visible").all()
    told = plain.get_by_text("the picture shows number of prototypes 64, colour red")
    assert told.is_visible()
    assert not page.get_by_text("JavaScript").first.is_visible()


def test_widgets_draw_a_picture_when_it_is_first_asked_for_and_once() -> None:
    drawn = []

    def noted(number: int, colour: str) -> Figure:
        drawn.append((number, colour))
        return draw(number, colour)

    box = explore.slide(noted, SETTINGS, alt=alt, start={"number of prototypes": 64}, live=True)
    number, colour, _ = box.children
    assert [name for name, _ in number.options] == ["6", "64", "256"]
    assert drawn == [(64, "red")]
    for slider, value in ((number, 6), (colour, "lime"), (number, 64), (colour, "red")):
        slider.value = value
    assert drawn == [(64, "red"), (6, "red"), (6, "lime"), (64, "lime")]


@pytest.mark.parametrize(("session", "live"), [(None, False), ("a.ipynb", True)])
def test_a_kernel_that_somebody_watches_gets_widgets(
    monkeypatch: pytest.MonkeyPatch, session: str | None, live: bool
) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    if session:
        monkeypatch.setenv("JPY_SESSION_NAME", session)
    shown = explore.slide(draw, SETTINGS, alt=alt)
    assert isinstance(shown, explore.Slides) != live
