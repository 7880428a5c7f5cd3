"""What `adlib predict` and `adlib data suspects` leave behind: tables, overlays, and one page."""

import csv
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from adlib.data.dataset import ImageDataset
from adlib.engine.suspects import Suspect
from adlib.figures import overlay
from adlib.metrics.threshold import Levels
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
{filters}<main>
{figures}
</main>
</html>
"""

FILTERS = """<input type="checkbox" id="bad" checked><label for="bad"> defective</label>
<input type="checkbox" id="good" checked><label for="good"> good</label>
"""

FIGURE = """<figure class="{kind}">
<img src="overlays/{stem}-photo.jpg" alt="photograph {name}" loading="lazy"
><img src="overlays/{stem}-heat.jpg" alt="heat map of {name}" loading="lazy">
<figcaption><strong>{verdict}</strong> {score:.4f}<br>{name}
<div class="bar"><i style="width:{width:.1f}%"></i><b style="left:{mark:.1f}%"></b></div>
</figcaption></figure>"""


@dataclass(frozen=True, kw_only=True)
class Region:
    """A connected part of a defect mask, in pixels of the image; its box, area and peak."""

    left: int
    top: int
    width: int
    height: int
    area: int
    peak: float  #: the highest value of the map in it


def find_regions(
    heat: Float[np.ndarray, "h w"], threshold: float, size: tuple[int, int] | None = None
) -> list[Region]:
    """List the regions where a map is above a threshold, those with the highest peak first.

    Args:
        heat: The map.
        threshold: As `Calibration.pixel_threshold` gives it.
        size: Height and width of the image, which a smaller map is scaled to. Defaults to the
            map's size.
    """
    from skimage.measure import label, regionprops

    height, width = size or heat.shape
    down, across = height / heat.shape[0], width / heat.shape[1]
    found = []
    for part in regionprops(label(heat > threshold, connectivity=2), heat):
        top, left, bottom, right = part.bbox
        y, x = round(top * down), round(left * across)
        found.append(
            Region(
                left=x,
                top=y,
                width=max(1, round(right * across) - x),
                height=max(1, round(bottom * down) - y),
                area=max(1, round(part.area * down * across)),
                peak=float(part.intensity_max),
            )
        )
    return sorted(found, key=lambda region: -region.peak)


def draw_contours(
    picture: Shaped[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]
) -> Shaped[np.ndarray, "h w 3"]:
    """Draw a white line with a black one around it along the border of a mask."""
    from scipy.ndimage import binary_dilation, binary_erosion

    drawn = picture.copy()
    inside, near, around = (
        np.asarray(m, bool)
        for m in (binary_erosion(mask), binary_dilation(mask), binary_dilation(mask, iterations=2))
    )
    drawn[around & ~mask] = 0
    drawn[near & ~inside] = 255
    return drawn


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One image's row."""

    path: str
    stem: str  # what its overlays' and its map's file names begin with
    score: float
    levels: Levels
    regions: list[Region]

    @property
    def defective(self) -> bool:
        """Whether its score is above its threshold."""
        return self.score > self.levels.threshold

    @property
    def verdict(self) -> str:
        """Its verdict in a word."""
        return "defective" if self.defective else "good"


def write_gallery(
    out: Path,
    predictions: Iterable[tuple[str, UInt8[np.ndarray, "_ _ 3"], Float[np.ndarray, "_ _"], float]],
    *,
    levels: Levels,
    promise: str,
    keep_maps: bool = False,
    keep_masks: bool = False,
    own: Mapping[str, Levels] | None = None,
) -> list[Verdict]:
    """Write `predictions.csv`, `overlays/` and `index.html` into a new folder, whole or not at all.

    The column `name` is what the files of an image are called: `overlays/NAME-photo.jpg`,
    `overlays/NAME-heat.jpg`, `maps/NAME.tiff` and `masks/NAME.png`. With a pixel threshold there is
    also `regions.csv`, a row a region, and the overlays have its contours.

    Args:
        out: The folder; must not exist, or be empty.
        predictions: Path, image, map of any size, score; read one by one.
        levels: Thresholds and heat-map scale; without a pixel threshold there are no masks and no
            regions.
        promise: A sentence about the threshold, shown on the page.
        keep_maps: Also write each map, as it comes, as a 32-bit TIFF into `maps/`.
        keep_masks: Also write each mask, at its image's size, 0 and 255, as a PNG into `masks/`.
        own: Levels of the images whose category is known, by path, in place of `levels`. With any,
            `predictions.csv` has a column `category`.
    Returns:
        A verdict an image, those farthest above their threshold first.
    """
    from PIL import Image

    verdicts: list[Verdict] = []
    with new_folder(out) as work:
        for kept, folder in ((True, "overlays"), (keep_maps, "maps"), (keep_masks, "masks")):
            if kept:
                (work / folder).mkdir()
        for i, (path, image, heat, score) in enumerate(predictions):
            stem = f"{i:05d}-{_slug(Path(path).stem)}"
            mine = (own or {}).get(path, levels)
            limit, level, found = mine.pixel_threshold, Image.fromarray(np.float32(heat)), []
            _save_overlay(work / "overlays", stem, image, heat, mine.scale, limit)
            if limit is not None:
                found = find_regions(heat, limit, image.shape[:2])
            if keep_maps:
                level.save(work / "maps" / f"{stem}.tiff")
            if keep_masks and limit is not None:
                size = image.shape[1], image.shape[0]
                full = np.asarray(level.resize(size, Image.Resampling.BILINEAR)) > limit
                Image.fromarray(full.astype(np.uint8) * 255).save(work / "masks" / f"{stem}.png")
            verdicts.append(Verdict(path=path, stem=stem, score=score, levels=mine, regions=found))
        verdicts.sort(key=lambda v: (v.levels.threshold - v.score, -v.score))
        columns = ["path", "score", "threshold", "verdict", "name", *["category"] * bool(own)]
        rows = [
            [v.path, f"{v.score:.6f}", f"{v.levels.threshold:.6f}", v.verdict, v.stem]
            + [v.levels.category] * bool(own)
            for v in verdicts
        ]
        _table(work / "predictions.csv", columns, rows)
        if levels.pixel_threshold is not None:
            rows = [[v.path, v.stem, *astuple(part)] for v in verdicts for part in v.regions]
            columns = ["path", "name", *(f.name for f in fields(Region))]
            _table(work / "regions.csv", columns, rows)
        write_text(work / "index.html", _page(verdicts, levels.threshold, promise))
    return verdicts


def write_suspects(out: Path, images: ImageDataset, ranked: Sequence[Suspect], note: str) -> None:
    """Write `suspects.csv`, `overlays/` and `index.html` into a new folder, whole or not at all.

    Args:
        out: The folder; must not exist, or be empty.
        images: Those that were ranked; the photographs of the page are read one by one.
        ranked: What `find_suspects` returned; the page shows those that have a heat map.
        note: Sentences that say how to read the ranking, shown on the page.
    """
    columns = ["path", "category", "rank", "score", "deviations"]
    top = {s.category: max(s.score, 1e-12) for s in ranked if s.rank == 1}
    with new_folder(out) as work:
        (work / "overlays").mkdir()
        rows = [[s.path, s.category, s.rank, s.score, s.deviations] for s in ranked]
        rows = [[*row, f"{score:.6f}", f"{by:.2f}"] for *row, score, by in rows]
        _table(work / "suspects.csv", columns, rows)
        figures: list[str] = []
        for s in ranked:
            if s.heat is None:
                continue
            stem = f"{len(figures):05d}-{_slug(Path(s.path).stem)}"
            _save_overlay(work / "overlays", stem, images[s.index].image, s.heat, s.scale)
            about = f"{s.category}, rank {s.rank}: {s.deviations:+.1f} deviations,"
            figures.append(
                FIGURE.format(
                    kind="fine",
                    stem=stem,
                    name=html.escape(printable(s.path)),
                    verdict=html.escape(printable(about)),
                    score=s.score,
                    width=100 * s.score / top[s.category],
                    mark=100 * s.median / top[s.category],
                )
            )
        title = f"adlib: the {len(figures)} most suspicious of {len(ranked)} training images"
        shown = "\n".join(figures)
        page = PAGE.format(title=title, summary=html.escape(note), filters="", figures=shown)
        write_text(work / "index.html", page)


def _save_overlay(
    folder: Path,
    stem: str,
    image: UInt8[np.ndarray, "_ _ 3"],
    heat: Float[np.ndarray, "_ _"],
    scale: tuple[float, float],
    pixel_threshold: float | None = None,
) -> None:
    """Save a photograph and its heat map beside each other, small, with contours if asked for."""
    from PIL import Image

    # smaller first: at a photograph's own size an overlay takes a hundred bytes a pixel
    small = max(1, -(-max(image.shape[:2]) // LONGEST))
    photo, level = Image.fromarray(image).reduce(small), Image.fromarray(np.float32(heat))
    drawn = np.asarray(level.resize(photo.size, Image.Resampling.BILINEAR))
    laid = overlay(np.asarray(photo), drawn, scale)
    if pixel_threshold is not None:
        laid = draw_contours(laid, drawn > pixel_threshold)
    for kind, picture in (("photo", photo), ("heat", Image.fromarray(laid))):
        picture.save(folder / f"{stem}-{kind}.jpg", quality=88)


def _slug(name: str) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name)
    return kept[:60] or "image"


def _table(file: Path, columns: list[str], rows: list[list[Any]]) -> None:
    """Write a table whose first cells, paths, no spreadsheet takes for a formula.

    Bytes of a path that are no text are escaped.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for path, *rest in rows:
        cell = path.encode("utf-8", "backslashreplace").decode()
        cell = f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
        writer.writerow([cell, *rest])
    write_text(file, text.getvalue())


def _page(verdicts: list[Verdict], threshold: float, promise: str) -> str:
    thresholds = sorted({v.levels.threshold for v in verdicts}) or [threshold]
    top = max([*thresholds, *(v.score for v in verdicts)]) or 1.0
    figures = [
        FIGURE.format(
            kind="defective" if v.defective else "fine",
            stem=v.stem,
            name=html.escape(printable(v.path)),
            verdict=v.verdict,
            score=v.score,
            width=100 * max(v.score, 0) / top,
            mark=100 * max(v.levels.threshold, 0) / top,
        )
        for v in verdicts
    ]
    bad = sum(v.defective for v in verdicts)
    at = " or ".join(f"{threshold:.4f}" for threshold in thresholds)
    summary = f"{bad} of {len(verdicts)} called defective, at a threshold of {at}. "
    title = f"adlib: {bad} of {len(verdicts)} images called defective"
    summary, shown = html.escape(summary + promise), "\n".join(figures)
    return PAGE.format(title=title, summary=summary, filters=FILTERS, figures=shown)
