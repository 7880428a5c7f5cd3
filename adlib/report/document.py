"""The report: headings, sentences and tables, as text, Markdown, CSV and figures."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adlib.system.disk import replacing, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

WIDTH = 100  # of a line of text
WIDE = 140  # of a table's line; one that is wider goes on below
DPI = 150


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


Block = Heading | Table | str


@dataclass
class Document:
    """A report before it is written.

    Args:
        blocks: In order; a str is a paragraph.
        numbers: Tables of numbers by the name of their CSV file.
        figures: By file name; drawn when they are written.
    """

    blocks: list[Block] = field(default_factory=list)
    numbers: dict[str, "DataFrame"] = field(default_factory=dict)
    figures: dict[str, Callable[[], "Figure"]] = field(default_factory=dict)

    def text(self) -> str:
        """All blocks for a terminal."""
        parts = []
        for block in self.blocks:
            if isinstance(block, Heading):
                parts.append(f"{block.words}\n{'=-'[block.level - 1] * len(block.words)}")
            elif isinstance(block, Table):
                table = block.frame.to_string(line_width=WIDE)
                parts.append(f"{block.caption}\n{table}")
            else:
                parts.append(textwrap.fill(block, WIDTH))
        return "\n\n".join(parts) + "\n"

    def markdown(self) -> str:
        """All blocks, and links to the figures at the end."""
        parts = []
        for block in self.blocks:
            if isinstance(block, Heading):
                parts.append(f"{'#' * block.level} {block.words}")
            elif isinstance(block, Table):
                parts.append(f"{block.caption}\n\n{markdown_table(block.frame)}")
            else:
                parts.append(block)
        parts += [f"![{name.replace('-', ' ')}]({name}.svg)" for name in self.figures]
        return "\n\n".join(parts) + "\n"

    def write(self, out: Path) -> list[Path]:
        """Write report.txt, report.md, the CSV files, and each figure as PNG and SVG.

        Files of these names are replaced, each as a whole; others stay.

        Returns:
            What was written.
        """
        import matplotlib as mpl

        out.mkdir(parents=True, exist_ok=True)
        texts = {"report.txt": self.text(), "report.md": self.markdown()}
        texts |= {f"{n}.csv": f.to_csv(index=False) for n, f in self.numbers.items()}
        for name, text in texts.items():
            write_text(out / name, text)
        names = list(texts)
        for name, make in self.figures.items():
            figure = make()
            for kind in ("png", "svg"):
                about = {"Date": None} if kind == "svg" else {"Software": None}
                with (
                    mpl.rc_context({"svg.hashsalt": "adlib"}),  # the same bytes each time
                    replacing(out / f"{name}.{kind}") as work,
                ):
                    figure.savefig(work, format=kind, dpi=DPI, metadata=about)
                names.append(f"{name}.{kind}")
        return [out / name for name in names]


def markdown_table(frame: "DataFrame") -> str:
    """A table in Markdown, its index first."""
    shown = frame.reset_index()

    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |"

    rule = "| " + " | ".join(["---"] * shown.shape[1]) + " |"
    rows = shown.itertuples(index=False, name=None)
    return "\n".join([line(list(shown.columns)), rule, *(line(row) for row in rows)])
