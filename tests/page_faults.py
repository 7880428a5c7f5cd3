"""What a browser shows to be wrong with a rendered page, in sentences."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page
from playwright.sync_api import TimeoutError as Late

from book.pdf import BROWSERS
from tests.site_files import weight_faults

CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
NO_BROWSER = f"needs one of {', '.join(BROWSERS)} on PATH; on Debian, `apt install chromium`"
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
RUN = "axe.run({resultTypes: ['violations'], preload: false})"  # its preload needs a server
BUSY_SECONDS = 2.0  # of a page's own thread, until it has loaded; ours
WAIT = 120_000  # milliseconds until a page counts as hung; machines are slow that do other things
ICONS_WAIT = 20_000  # milliseconds until an icon counts as not drawn: it may come after the page
VIEWS = (("light", 1300), ("dark", 390))  # colour scheme, and width in CSS pixels

# Faults that stand in no file of ours: the rule of axe, how the element begins, why it stays.
THEME = {
    ("definition-list", "<dl>"): "Sphinx lists the parameters of a long signature as dd without dt",
    ("aria-required-children", '<div role="list" class="citation-list">'): "docutils' citations",
}
# Messages of the console that are no fault: what they begin with, and why they come.
KNOWN = {
    "Identifier 'THEBE_JS_URL' has already been": "sphinx-thebe declares it twice; it is not used",
    "Got invalid theme mode: .": "the theme's own word on a first visit; it asks the system then",
}

ICON = "i[class*='fa-']"  # until the theme's script has drawn it; then it is an svg
SEEN = r"""undrawn => {
  const told = [];
  for (const formula of document.querySelectorAll(".math"))
    if (!formula.querySelector(".katex, .katex-error"))
      told.push(`formula is not drawn: ${formula.textContent.slice(0, 60)}`);
  for (const formula of document.querySelectorAll("div.math .formula"))
    if (formula.querySelector(".katex-html .base")?.getBoundingClientRect().left
        < formula.parentElement.getBoundingClientRect().left - 1)
      told.push(`formula begins beyond the edge: ${formula.textContent.slice(0, 60)}`);
  for (const error of document.querySelectorAll(".katex-error"))
    told.push(`formula has an error: ${error.title}`);
  for (const red of document.querySelectorAll("[mathcolor='#cc0000']"))
    told.push(`formula has an unknown command: ${red.textContent}`);
  for (const icon of document.querySelectorAll(`${undrawn}, svg:has(> .missing)`))
    told.push(`icon is not drawn: ${icon.outerHTML.slice(0, 80)}`);
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const { data, parentElement } = texts.currentNode;
    const kept = parentElement.closest("pre, code, script, style, .katex");
    if (!kept && /\$\$|\\\(|\\\[/.test(data))
      told.push(`formula stands as text: ${data.trim().slice(0, 60)}`);
  }
  for (const image of document.images)
    if (!image.complete || !image.naturalWidth)
      told.push(`picture is not shown: ${image.src.slice(0, 100)}`);
  const { scrollWidth, clientWidth } = document.scrollingElement;
  if (scrollWidth > clientWidth)
    told.push(`page scrolls sideways: ${scrollWidth} px on a screen of ${clientWidth} px`);
  return told;
}"""


@dataclass
class Visit:
    """A page as a browser without a network shows it, and what came to light on the way."""

    page: Page
    faults: list[str] = field(default_factory=list)
    requests: set[str] = field(default_factory=set)


def visit(browser: Browser, path: Path, scheme: Any, width: int) -> Visit:
    """Open a page from disk, wait until its formulas are drawn, and look at it.

    Args:
        browser: Chromium.
        path: the page, in a site.
        scheme: "light" or "dark".
        width: of the screen, in CSS pixels.
    """
    size = {"width": width, "height": 800}
    page = browser.new_page(viewport=size, color_scheme=scheme, offline=True)  # type: ignore[arg-type]
    page.set_default_timeout(WAIT)
    seen = Visit(page)

    def hear(kind: str, text: str) -> None:
        if kind == "error" and not text.startswith(tuple(KNOWN)):
            seen.faults.append(f"console: {text}")

    page.on("console", lambda message: hear(message.type, message.text))
    page.on("pageerror", lambda error: hear("error", str(error)))
    page.on("request", lambda request: seen.requests.add(request.url.partition("#")[0]))
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(path.as_uri())
    measured = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    if (busy := measured["TaskDuration"]) > BUSY_SECONDS:
        seen.faults.append(f"page computes for {busy:.1f} s until it has loaded")
    page.evaluate("document.fonts.ready.then(() => null)")
    with suppress(Late):
        page.wait_for_function(f'!document.querySelector("{ICON}")', timeout=ICONS_WAIT)
    seen.faults += page.evaluate(SEEN, ICON)
    if (theme := page.evaluate("document.documentElement.dataset.theme")) != scheme:
        seen.faults.append(f"page is {theme} where {scheme} is asked for")
    seen.faults += weight_faults(seen.requests)
    return seen


def axe_faults(page: Page) -> list[str]:
    """Serious and critical findings of axe-core, less those of the theme."""
    page.evaluate(AXE)
    found = page.evaluate(RUN)["violations"]
    return [
        f"axe {rule['id']}: {node['html'][:120]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
        if not any(rule["id"] == known and node["html"].startswith(tag) for known, tag in THEME)
    ]


def slider_faults(page: Page) -> list[str]:
    """Sliders that do not change their picture, or do not say their value, by mouse or by keys."""
    found = []

    picture = """e => [...e.closest(".adlib-slide").querySelectorAll("img")]
      .findIndex(image => !image.hidden)"""

    def moved(slider: Locator, by: str, move: Callable[[], None]) -> None:
        before = slider.evaluate(picture)
        move()
        told = slider.evaluate("e => e.parentElement.querySelector('output').value")
        if slider.evaluate(picture) == before:
            found.append(f"slider {slider.get_attribute('id')} changes nothing by {by}")
        elif slider.get_attribute("aria-valuetext") != told:
            found.append(f"slider {slider.get_attribute('id')} does not say {told}")

    for slider in page.locator(".adlib-slide input").all():
        last = "e => e.value === e.max"
        key = "ArrowLeft" if slider.evaluate(last) else "ArrowRight"
        moved(slider, "keys", lambda s=slider, k=key: s.press(k))
        box = slider.bounding_box()
        assert box is not None
        x = box["width"] * (0.02 if slider.evaluate(last) else 0.98)
        at = {"x": x, "y": box["height"] / 2}
        moved(slider, "mouse", lambda s=slider, a=at: s.click(position=a))  # type: ignore[arg-type]
    return found


def fold_faults(page: Page) -> list[str]:
    """Solutions that lie open, that no key opens, or whose button shows no focus."""
    found = []
    for fold in page.locator(".admonition.dropdown").all():
        content, button = fold.locator(".admonition-title ~ *").first, fold.locator("button")
        name = fold.get_attribute("id")
        if content.is_visible():
            found.append(f"solution {name} lies open")
        page.keyboard.press("Tab")  # a key, so that the focus shows
        button.focus()
        if button.evaluate("e => getComputedStyle(e).outlineStyle") == "none":
            found.append(f"solution {name}: its button shows no focus")
        button.press("Enter")
        if not content.is_visible() or button.get_attribute("aria-expanded") != "true":
            found.append(f"solution {name} does not open by a key")
    return found


def walk_faults(page: Page) -> list[str]:
    """Elements that hold the focus, or that the Tab key passes over, on a page with sliders.

    Elsewhere all that takes the focus is the theme's, and there may be a thousand links.
    """
    if not page.locator(".adlib-slide").count():
        return []
    step = """() => {
      const e = document.activeElement, seen = (window.focused ??= []), place = seen.indexOf(e);
      if (place < 0 && e !== document.body) seen.push(e);
      return e === document.body ? "body" : place === 0 ? "round" : place > 0 ? e.outerHTML : "";
    }"""
    page.evaluate("document.body.tabIndex = -1, document.body.focus()")  # begin at the top
    page.keyboard.press("Tab")
    nowhere = 0
    while (end := page.evaluate(step)) in ("", "body"):
        nowhere = nowhere + 1 if end == "body" else 0
        if nowhere == 3:  # once is no end: what had the focus may have gone, and Tab goes on
            break
        page.keyboard.press("Tab")
    if end not in ("round", "body"):
        return [f"focus does not leave {end[:120]}"]
    return page.evaluate(
        """[...document.querySelectorAll("a[href], button, input, summary, [tabindex='0']")]
        .filter(e => e.checkVisibility({visibilityProperty: true}) && !focused.includes(e))
        .map(e => `Tab passes over ${e.outerHTML.slice(0, 120)}`)"""
    )
