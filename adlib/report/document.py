"""The whole report: headings, sentences and tables, as text, Markdown, CSV and figures."""

import html
import re
import textwrap
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from pandas import DataFrame, concat

from adlib.report import reproduction, tables
from adlib.report.figures import forests
from adlib.report.paired import compare, draw
from adlib.report.published import METRICS, TITLES
from adlib.report.records import DIGITS, Found, Section
from adlib.system.disk import replacing, write_text
from adlib.system.printable import printable

# What sentences and figures are about; ours: one of images, and of pixels the one that moves most
# between methods and between protocols.
HEADLINE = ("image_auroc", "pixel_ap")
WIDTH = 100  # of a line of text
WIDE = 140  # of a table's line; one that is wider goes on below
SLUG = 80  # letters of a figure's file name, at most about
DPI = 150
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first letters that a spreadsheet would compute


@dataclass
class Document:
    """A report before it is written.

    Args:
        blocks: In order: headings, which start with # or ## as in Markdown; paragraphs; tables.
        numbers: Tables of numbers by the name of their CSV file.
        figures: By file name; drawn when they are written.
    """

    blocks: list[str | DataFrame] = field(default_factory=list)
    numbers: dict[str, DataFrame] = field(default_factory=dict)
    figures: dict[str, Callable[[], Figure]] = field(default_factory=dict)

    def text(self) -> str:
        """All blocks for a terminal."""
        parts = []
        for block in self.blocks:
            if not isinstance(block, str):
                parts.append(_mapped(block, printable).to_string(line_width=WIDE))
            elif heading := re.match("(##?) (.*)", printable(block)):
                parts.append(f"{heading[2]}\n{'=-'[len(heading[1]) - 1] * len(heading[2])}")
            else:
                parts.append(textwrap.fill(printable(block), WIDTH))
        return "\n\n".join(parts) + "\n"

    def markdown(self) -> str:
        """All blocks, and links to the figures at the end."""
        parts = [_plain(b) if isinstance(b, str) else markdown_table(b) for b in self.blocks]
        parts += [f"![{name.replace('-', ' ')}]({name}.svg)" for name in self.figures]
        return "\n\n".join(parts) + "\n"

    def write(self, out: Path) -> list[Path]:
        """Write report.md, the CSV files, and each figure as PNG and SVG; return their paths.

        Files of these names are replaced, each as a whole; others stay.
        """
        out.mkdir(parents=True, exist_ok=True)
        texts = {"report.md": self.markdown()}
        for name, frame in self.numbers.items():
            texts[f"{name}.csv"] = _mapped(frame, _cell).to_csv(index=False)
        for name, text in texts.items():
            write_text(out / name, text)
        names = list(texts)
        for name, make in self.figures.items():
            # The same bytes each time; a dollar in a name is no formula.
            with mpl.rc_context({"svg.hashsalt": "adlib", "text.parse_math": False}):
                figure = make()
                for kind, about in (("png", "Software"), ("svg", "Date")):
                    with replacing(out / f"{name}.{kind}") as work:
                        figure.savefig(work, format=kind, dpi=DPI, metadata={about: None})
                    names.append(f"{name}.{kind}")
        return [out / name for name in names]


def markdown_table(frame: DataFrame) -> str:
    """A table in Markdown, its index first; no cell can end its table or become a tag."""
    shown = frame.reset_index()
    rows = [list(shown.columns), ["---"] * shown.shape[1], *shown.itertuples(index=False)]
    cells = ([_plain(cell).replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _plain(value: Any) -> str:
    return html.escape(printable(value), quote=False)


def _cell(value: str) -> str:
    """A text for a CSV file that no spreadsheet computes."""
    value = printable(value)
    return f"'{value}" if value.startswith(FORMULA) else value


def _mapped(frame: DataFrame, change: Callable[[str], str]) -> DataFrame:
    """A frame whose texts are changed, in its cells, index and columns."""

    def one(value: Any) -> Any:
        return change(value) if isinstance(value, str) else value

    return frame.map(one).rename(index=one, columns=one)


def compose(found: Found) -> Document:
    """Make the report of the records that `adlib.report.records.read_folder` found."""
    document = Document(["# Benchmark report", *found.skipped])
    by_source: dict[str, list[Section]] = defaultdict(list)
    for section in found.sections:
        by_source[section.source].append(section)
    numbers: dict[str, list[DataFrame]] = defaultdict(list)
    for source, sections in by_source.items():
        if len(sections) > 1:
            document.blocks.append(f"# {source}: everything at a glance")
            for metric in HEADLINE:
                caption = f"{TITLES[metric]}, mean over categories (place)"
                document.blocks += [caption, tables.overview(sections, metric)]
        for section in sections:
            _add_section(document, section, numbers)
    joined = {name: concat(frames) for name, frames in numbers.items()}
    document.numbers = {name: frame for name, frame in joined.items() if len(frame)}
    claims = reproduction.reproduction(found.sections)
    if len(claims):
        document.numbers["published"] = claims
        document.blocks += [
            "# Beside the published numbers",
            "Ours is judged where it is the mean of all categories: within, above or below what "
            "public reruns drifted by. published.csv has sources and tolerances.",
            "Mean over categories, per cent",
            reproduction.claims_table(claims),
        ]
    return document


def _add_section(document: Document, section: Section, numbers: dict[str, list[DataFrame]]) -> None:
    """Add a section's blocks, figure and numbers."""
    blocks, draws = document.blocks, {}

    def add(caption: str, table: DataFrame | None) -> None:
        if table is not None:
            blocks.extend([caption, table])

    blocks += [f"# {section.title}", tables.provenance(section)]
    add("Mean over categories, per cent, ± standard deviation over seeds",
        tables.metrics_table(section))  # fmt: skip
    try:
        draws = draw(section)
    except ValueError as error:
        blocks.append(f"The scores of single images are not used: {error}.")
    over_images = tables.intervals_table(section, draws)
    add("95 % intervals over the test images, per cent", over_images)
    if over_images is None:
        blocks.append(
            "The records hold no scores of single images and no intervals, so there is no interval "
            "over test images: ± is the standard deviation over seeds only."
        )
    add("Decisions at the shipped threshold, per cent (95 % over images, or ± over seeds)",
        tables.decisions_table(section))  # fmt: skip
    add(f"Published on {section.data}, per cent", reproduction.beside(section))
    pairs = compare(section, METRICS, draws=draws)
    shown = [metric for metric in HEADLINE if section.order(metric)]
    for metric in shown:
        mine: Any = pairs[pairs["metric"] == metric]
        blocks.append(f"## {TITLES[metric]}")
        blocks.append(f"The highest mean: {tables.leader(section, metric, mine)}.")
        if len(mine):
            add("Differences in points, 95 % intervals, p-values (Holm) and their number",
                tables.pairs_table(mine))  # fmt: skip
        add("Each category", tables.categories_table(section, metric))
    add("Cost, mean over seeds", tables.cost_table(section))
    slug = re.sub(r"[^a-z0-9]+", "-", section.title.lower())[:SLUG].strip("-")
    name = f"forest-{slug}"
    if name in document.figures:  # names in other letters than a to z leave nothing
        name += "-" + re.sub("[^a-z0-9]", "", section.runs[0].record["data"]["hash"])[:DIGITS]
    name = name if name not in document.figures else f"{name}-{len(document.figures)}"
    document.figures[name] = partial(forests, [section], shown or HEADLINE[:1], [draws])
    numbers["runs"].append(tables.runs_table(section.runs).assign(section=section.title))
    numbers["results"].append(tables.results(section, draws))
    pairs.insert(0, "section", section.title)
    numbers["pairs"].append(pairs)
