"""The whole report: headings, sentences and tables, as text, Markdown, CSV and figures."""

import html
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adlib.report import reproduction, tables
from adlib.report.paired import KINDS, Draws, Pair, average_ranks, compare, draw
from adlib.report.published import METRICS, TITLES
from adlib.report.records import DIGITS, Found, Section
from adlib.system.disk import replacing, write_text
from adlib.system.printable import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

# What sentences and figures are about; ours: one of images, and of pixels the one that moves most
# between methods and between protocols.
HEADLINE = ("image_auroc", "pixel_ap")
WIDTH = 100  # of a line of text
WIDE = 140  # of a table's line; one that is wider goes on below
SLUG = 80  # letters of a figure's file name, at most about
DPI = 150
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first letters that a spreadsheet would compute
NO_IMAGES = (
    "The records hold no scores of single images and no intervals, so there is no interval over "
    "test images: ± is the standard deviation over seeds only."
)


@dataclass(frozen=True)
class Heading:
    """A heading of the first or second level."""

    level: int
    words: str


@dataclass(frozen=True)
class Table:
    """A table with a caption above it."""

    caption: str
    frame: "DataFrame"


@dataclass
class Document:
    """A report before it is written.

    Args:
        blocks: In order; a str is a paragraph.
        numbers: Tables of numbers by the name of their CSV file.
        figures: By file name; drawn when they are written.
    """

    blocks: list[Heading | Table | str] = field(default_factory=list)
    numbers: dict[str, "DataFrame"] = field(default_factory=dict)
    figures: dict[str, Callable[[], "Figure"]] = field(default_factory=dict)

    def text(self) -> str:
        """All blocks for a terminal."""
        parts = []
        for block in self.blocks:
            if isinstance(block, Heading):
                words = printable(block.words)
                parts.append(f"{words}\n{'=-'[block.level - 1] * len(words)}")
            elif isinstance(block, Table):
                shown = _mapped(block.frame, printable).to_string(line_width=WIDE)
                parts.append(f"{printable(block.caption)}\n{shown}")
            else:
                parts.append(textwrap.fill(printable(block), WIDTH))
        return "\n\n".join(parts) + "\n"

    def markdown(self) -> str:
        """All blocks, and links to the figures at the end."""
        parts = []
        for block in self.blocks:
            if isinstance(block, Heading):
                parts.append(f"{'#' * block.level} {_plain(block.words)}")
            elif isinstance(block, Table):
                parts.append(f"{_plain(block.caption)}\n\n{markdown_table(block.frame)}")
            else:
                parts.append(_plain(block))
        parts += [f"![{name.replace('-', ' ')}]({name}.svg)" for name in self.figures]
        return "\n\n".join(parts) + "\n"

    def write(self, out: Path) -> list[Path]:
        """Write report.md, the CSV files, and each figure as PNG and SVG.

        Files of these names are replaced, each as a whole; others stay.

        Returns:
            What was written.
        """
        import matplotlib as mpl

        out.mkdir(parents=True, exist_ok=True)
        texts = {"report.md": self.markdown()}
        texts |= {
            f"{n}.csv": _mapped(f, _cell).to_csv(index=False) for n, f in self.numbers.items()
        }
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


def markdown_table(frame: "DataFrame") -> str:
    """A table in Markdown, its index first; no cell can end its table or become a tag."""
    shown = frame.reset_index()

    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in cells) + " |"

    rule = "| " + " | ".join(["---"] * shown.shape[1]) + " |"
    rows = shown.itertuples(index=False, name=None)
    return "\n".join([line(list(shown.columns)), rule, *(line(row) for row in rows)])


def _plain(value: Any) -> str:
    return html.escape(printable(value), quote=False)


def _cell(value: str) -> str:
    """A text for a CSV file that no spreadsheet computes."""
    value = printable(value)
    return f"'{value}" if value.startswith(FORMULA) else value


def _mapped(frame: "DataFrame", change: Callable[[str], str]) -> "DataFrame":
    """A frame whose texts are changed, in its cells, index and columns."""

    def one(value: Any) -> Any:
        return change(value) if isinstance(value, str) else value

    return frame.map(one).rename(index=one, columns=one)


def compose(found: Found, *, against: str | None = None) -> Document:
    """Make the report of a folder's records.

    Args:
        found: What `adlib.report.records.read_folder` returns.
        against: Compare each arm with this one only.
    Raises:
        ValueError: `against` is the name of no arm.
    """
    from pandas import DataFrame, concat

    known = list(dict.fromkeys(run.arm for s in found.sections for run in s.runs))
    if against is not None and against not in known:
        raise ValueError(printable(f"no arm {against!r}; there are {'; '.join(known)}"))
    document = Document([Heading(1, "Benchmark report"), *found.skipped])
    by_source: dict[str, list[Section]] = {}
    for section in found.sections:
        by_source.setdefault(section.source, []).append(section)
    numbers: dict[str, list[DataFrame]] = {"runs": [], "results": [], "pairs": [], "ranks": []}
    for source, sections in by_source.items():
        if len(sections) > 1:
            document.blocks.append(Heading(1, f"{source}: everything at a glance"))
            document.blocks += [
                Table(f"{TITLES[metric]}, mean over categories (place)",
                      tables.overview(sections, metric))
                for metric in HEADLINE
            ]  # fmt: skip
        for section in sections:
            for name, frame in _add_section(document, section, against).items():
                numbers[name].append(frame)
    joined = {name: concat(frames) for name, frames in numbers.items() if frames}
    document.numbers = {name: frame for name, frame in joined.items() if len(frame)}
    claims = reproduction.reproduction(found.sections)
    if len(claims):
        document.numbers["published"] = claims
        document.blocks += [
            Heading(1, "Beside the published numbers"),
            "Ours is judged where it is the mean of all categories: within, above or below what "
            "public reruns drifted by. published.csv has sources and tolerances.",
            Table("Mean over categories, per cent", reproduction.claims_table(claims)),
        ]
    return document


def _add_section(
    document: Document, section: Section, against: str | None
) -> dict[str, "DataFrame"]:
    """Add a section's blocks and figure to the document; return its numbers."""
    from pandas import DataFrame

    blocks = document.blocks
    blocks += [
        Heading(1, section.title),
        tables.provenance(section),
        Table("Mean over categories, per cent, ± standard deviation over seeds",
              tables.metrics_table(section)),
    ]  # fmt: skip
    draws: Mapping[str, Draws] = {}
    try:
        draws = draw(section)
    except ValueError as error:
        blocks.append(f"The scores of single images are not used: {error}.")
    over_images = tables.intervals_table(section, draws)
    blocks.append(
        NO_IMAGES
        if over_images is None
        else Table("95 % intervals over the test images, per cent", over_images)
    )
    if (decided := tables.decisions_table(section)) is not None:
        caption = "Decisions at the shipped threshold, per cent (95 % over images, or ± over seeds)"
        blocks.append(Table(caption, decided))
    theirs = reproduction.beside(section)
    if theirs is not None:
        blocks.append(Table(f"Published on {section.data}, per cent", theirs))
    pairs = compare(section, METRICS, against=against, draws=draws)
    ranks = {metric: average_ranks(section, metric) for metric in METRICS}
    shown = [metric for metric in HEADLINE if section.order(metric)]
    for metric in shown:
        mine = [pair for pair in pairs if pair.metric == metric]
        blocks.append(Heading(2, TITLES[metric]))
        blocks.append(f"The highest mean: {tables.leader(section, metric, mine)}.")
        if mine:
            caption = "Differences in points, 95 % intervals, p-values (Holm) and their number"
            blocks.append(Table(caption, tables.pairs_table(mine)))
        if (order := ranks[metric]) is not None:
            blocks.append(tables.ranks_sentence(order))
        blocks.append(Table("Each category", tables.categories_table(section, metric)))
        blocks.append(Table("Each run", tables.seeds_table(section, metric)))
    blocks += [Heading(2, "Cost"), Table("Mean over seeds", tables.cost_table(section))]
    document.figures[_figure_name(section, document.figures)] = lambda: _forest(
        section, shown, draws
    )
    return {
        "runs": tables.runs_table(section.runs).assign(section=section.title),
        "results": tables.results(section, draws),
        "pairs": DataFrame([_row(section, pair) for pair in pairs]),
        "ranks": DataFrame(
            [
                {"section": section.title, "metric": metric, "arm": arm, "average_rank": average,
                 "categories": each.categories, "friedman_p": each.p, "critical": each.critical}
                for metric, each in ranks.items() if each
                for arm, average in zip(each.arms, each.average, strict=True)
            ]
        ),
    }  # fmt: skip


def _figure_name(section: Section, taken: Mapping[str, Any]) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", section.title.lower())[:SLUG].strip("-")
    name = f"forest-{slug}"
    if name in taken:  # names in other letters than a to z leave nothing
        name += "-" + re.sub("[^a-z0-9]", "", section.runs[0].record["data"]["hash"])[:DIGITS]
    return name if name not in taken else f"{name}-{len(taken)}"


def _forest(section: Section, metrics: Sequence[str], draws: Mapping[str, Draws]) -> "Figure":
    from adlib.report.figures import forests

    return forests([section], metrics or HEADLINE[:1], [draws])


def _row(section: Section, pair: Pair) -> dict[str, Any]:
    row: dict[str, Any] = {"section": section.title, "metric": pair.metric,
                           "first": pair.first, "second": pair.second}  # fmt: skip
    for kind in KINDS:
        gap = getattr(pair, kind)
        for name in ("mean", "low", "high", "n", "p"):
            row[f"{kind}_{name}"] = None if gap is None else getattr(gap, name)
    return row
