"""What `adlib predict` leaves behind: a table, overlays, and one page to look at."""

import csv
import html
import io
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from adlib.engine.regions import Region, draw_contours, find_regions
from adlib.figures import overlay
from adlib.system.disk import new_folder, write_text
from adlib.system.printable import printable

LONGEST = 640  # pixels of an overlay's longer side; ours, so that the page stays light

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font-family: system-ui, sans-serif; }}
body {{ margin: 1.5rem auto; max-width: 75rem; padding: 0 1rem; }}
main {{ display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); }}
figure {{ margin: 0; border: 2px solid #8886; border-radius: .5rem; overflow: hidden; }}
figure.defective {{ border-color: #d55e00; }}
img {{ width: 50%; aspect-ratio: 1; object-fit: contain; vertical-align: top; background: #8882; }}
figcaption {{ padding: .4rem .6rem; overflow-wrap: anywhere; font-size: .9rem; }}
.bar {{ height: .5rem; background: #8884; position: relative; border-radius: .25rem; }}
.bar i {{ position: absolute; inset: 0 auto 0 0; border-radius: .25rem; background: #0072b2; }}
.defective .bar i {{ background: #d55e00; }}
.bar b {{ position: absolute; top: -.15rem; bottom: -.15rem; width: 2px; background: CanvasText; }}
#good:not(:checked) ~ main .fine, #bad:not(:checked) ~ main .defective {{ display: none; }}
</style>
<h1>{title}</h1>
<p>{summary}</p>
<input type="checkbox" id="bad" checked><label for="bad"> defective</label>
<input type="checkbox" id="good" checked><label for="good"> good</label>
<main>
{figures}
</main>
</html>
"""

FIGURE = """<figure class="{kind}">
<img src="overlays/{stem}-photo.jpg" alt="photograph {name}" loading="lazy"
><img src="overlays/{stem}-heat.jpg" alt="heat map of {name}" loading="lazy">
<figcaption><strong>{verdict}</strong> {score:.4f}<br>{name}
<div class="bar"><i style="width:{width:.1f}%"></i><b style="left:{mark:.1f}%"></b></div>
</figcaption></figure>"""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One image's row."""

    path: str
    stem: str  # what its overlays' and its map's file names begin with
    score: float
    defective: bool
    regions: list[Region]


def write_gallery(
    out: Path,
    predictions: Iterable[tuple[str, UInt8[np.ndarray, "_ _ 3"], Float[np.ndarray, "_ _"], float]],
    *,
    threshold: float,
    scale: tuple[float, float],
    promise: str,
    keep_maps: bool = False,
    pixel_threshold: float | None = None,
    keep_masks: bool = False,
) -> list[Verdict]:
    """Write `predictions.csv`, `overlays/` and `index.html` into a new folder, whole or not at all.

    The column `name` is what the files of an image are called: `overlays/NAME-photo.jpg`,
    `overlays/NAME-heat.jpg`, `maps/NAME.tiff` and `masks/NAME.png`. With a pixel threshold there is
    also `regions.csv`, a row a region, and the overlays have its contours.

    Args:
        out: The folder; must not exist, or be empty.
        predictions: Path, image, map of any size, score; read one by one.
        threshold: Above it an image is called defective.
        scale: Cold and hot end of the heat map, one for all images.
        promise: A sentence about the threshold, shown on the page.
        keep_maps: Also write each map, as it comes, as a 32-bit TIFF into `maps/`.
        pixel_threshold: Above it a pixel is called defective; None leaves masks and regions out.
        keep_masks: Also write each mask, at its image's size, 0 and 255, as a PNG into `masks/`.
    Returns:
        A verdict an image, highest score first.
    """
    from PIL import Image

    verdicts: list[Verdict] = []
    with new_folder(out) as work:
        (work / "overlays").mkdir()
        for kept, folder in ((keep_maps, "maps"), (keep_masks, "masks")):
            if kept:
                (work / folder).mkdir()
        for i, (path, image, heat, score) in enumerate(predictions):
            stem = f"{i:05d}-{_slug(Path(path).stem)}"
            # smaller first: at a photograph's own size an overlay takes a hundred bytes a pixel
            small = max(1, -(-max(image.shape[:2]) // LONGEST))
            photo, level = Image.fromarray(image).reduce(small), Image.fromarray(np.float32(heat))
            drawn = level.resize(photo.size, Image.Resampling.BILINEAR)
            laid, found = overlay(np.asarray(photo), np.asarray(drawn), scale), []
            if pixel_threshold is not None:
                laid = draw_contours(laid, np.asarray(drawn) > pixel_threshold)
                found = find_regions(heat, pixel_threshold, image.shape[:2])
            for kind, picture in (("photo", photo), ("heat", Image.fromarray(laid))):
                picture.save(work / "overlays" / f"{stem}-{kind}.jpg", quality=88)
            if keep_maps:
                level.save(work / "maps" / f"{stem}.tiff")
            if keep_masks and pixel_threshold is not None:
                size = image.shape[1], image.shape[0]
                full = np.asarray(level.resize(size, Image.Resampling.BILINEAR)) > pixel_threshold
                Image.fromarray(full.astype(np.uint8) * 255).save(work / "masks" / f"{stem}.png")
            defective = score > threshold
            verdicts.append(
                Verdict(path=path, stem=stem, score=score, defective=defective, regions=found)
            )
        verdicts.sort(key=lambda v: -v.score)
        write_text(work / "predictions.csv", _table(verdicts, threshold))
        if pixel_threshold is not None:
            write_text(work / "regions.csv", _regions(verdicts))
        write_text(work / "index.html", _page(verdicts, threshold, promise))
    return verdicts


def _slug(name: str) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name)
    return kept[:60] or "image"


def _cell(path: str) -> str:
    """Return a path that no spreadsheet takes for a formula; bytes that are no text are escaped."""
    text = path.encode("utf-8", "backslashreplace").decode()
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _table(verdicts: list[Verdict], threshold: float) -> str:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["path", "score", "threshold", "verdict", "name"])
    for v in verdicts:
        verdict = "defective" if v.defective else "good"
        rows.writerow([_cell(v.path), f"{v.score:.6f}", f"{threshold:.6f}", verdict, v.stem])
    return text.getvalue()


def _regions(verdicts: list[Verdict]) -> str:
    text = io.StringIO()
    rows = csv.writer(text)
    columns = [f.name for f in fields(Region)]
    rows.writerow(["path", "name", *columns])
    for v in verdicts:
        rows.writerows(
            [_cell(v.path), v.stem, *(getattr(region, c) for c in columns)] for region in v.regions
        )
    return text.getvalue()


def _page(verdicts: list[Verdict], threshold: float, promise: str) -> str:
    top = max([threshold, *(v.score for v in verdicts)]) or 1.0
    figures = [
        FIGURE.format(
            kind="defective" if v.defective else "fine",
            stem=v.stem,
            name=html.escape(printable(v.path)),
            verdict="defective" if v.defective else "good",
            score=v.score,
            width=100 * max(v.score, 0) / top,
            mark=100 * max(threshold, 0) / top,
        )
        for v in verdicts
    ]
    bad = sum(v.defective for v in verdicts)
    summary = f"{bad} of {len(verdicts)} called defective, at a threshold of {threshold:.4f}. "
    title = f"adlib: {bad} of {len(verdicts)} images called defective"
    return PAGE.format(
        title=title, summary=html.escape(summary + promise), figures="\n".join(figures)
    )
