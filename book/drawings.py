"""The two architectures, drawn: `python -m book.drawings` writes them into `book/_static`.

A box says what the papers call a part, what adlib calls it, and where it is known from: colour and
line of its border are its mark. The drawings are narrow, so that a phone can show them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

STATIC = Path(__file__).resolve().parent / "_static"
WIDTH = 440
INK, FAINT = "#1b1f24", "#57606a"
MARKS = {  # fill, border, dashes, words; after Okabe and Ito, the fills made light
    "read": ("#dcecf7", "#0072b2", "none", "read in the paper"),
    "second-hand": ("#d9f0e8", "#009e73", "7 2", "second-hand"),
    "inferred": ("#f3f3f3", "#57606a", "4 3", "inferred"),
    "ours": ("#fdebd9", "#d55e00", "1.5 2.5", "ours"),
}
STYLE = (
    "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;"
    f"fill:{INK};font-size:11.5px}}.t{{font-size:13px;font-weight:600}}.n{{fill:{FAINT}}}"
    ".f{paint-order:stroke;stroke:#fff;stroke-width:5px}"
    ".c{font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:10.5px;"
    f"fill:{FAINT}}}"
)
HEAD = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    f'orient="auto"><path d="M0 0 8 4 0 8Z" fill="{INK}"/></marker></defs>'
)


def text(x: float, y: float, words: str, style: str = "n", anchor: str = "middle") -> str:
    """Words, in which `_` lowers the letters and signs behind it."""
    low = '<tspan dy="3" font-size="75%">\\1</tspan><tspan dy="-3">\u200b</tspan>'
    told = escape(words) if style == "c" else re.sub(r"_([\w−]+)", low, escape(words))
    return f'<text x="{x:g}" y="{y:g}" class="{style}" text-anchor="{anchor}">{told}</text>'


@dataclass(frozen=True)
class Box:
    """A part; `code` is its name in the method's module, empty if it has none of its own."""

    x: int
    y: int
    width: int
    height: int
    mark: str
    title: str
    below: str = ""
    code: str = ""

    def __str__(self) -> str:
        named = [(self.title, "t"), (self.below, "s"), (self.code, "c")]
        rows = [(words, style) for words, style in named if words]
        first = self.y + self.height / 2 - 15 * (len(rows) - 1) / 2 + 4
        lines = [border(self.x, self.y, self.width, self.height, self.mark)]
        for i, (words, style) in enumerate(rows):
            lines.append(text(self.x + self.width / 2, first + 15 * i, words, style))
        return "\n".join(lines)


def border(x: float, y: float, width: float, height: float, mark: str, filled: bool = True) -> str:
    """A rounded rectangle that shows a mark."""
    fill, colour, dashes, _ = MARKS[mark]
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" '
        f'fill="{fill if filled else "none"}" stroke="{colour}" stroke-width="1.6" '
        f'stroke-dasharray="{dashes}"/>'
    )


def arrow(*points: tuple[float, float], mark: str | None = None) -> str:
    """A line through points, with a head at the last."""
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    colour, dashes = (INK, "none") if mark is None else MARKS[mark][1:3]
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5" '
        f'stroke-dasharray="{dashes}" marker-end="url(#head)"/>'
    )


def frame(y: int, height: int, mark: str, title: str) -> str:
    """A frame around several boxes, with its name at the top."""
    return border(44, y, 386, height, mark, filled=False) + text(56, y + 18, title, "t f", "start")


def legend(y: int) -> Iterable[str]:
    """The four marks, in a row."""
    for x, (mark, (*_, words)) in zip((12, 158, 268, 366), MARKS.items(), strict=True):
        yield border(x, y, 16, 12, mark)
        yield text(x + 22, y + 10, words, "n", "start")


PRO_AD: tuple[object, ...] = (
    Box(110, 12, 180, 28, "inferred", "photograph"),
    arrow((200, 40), (200, 60)),
    Box(110, 60, 180, 56, "second-hand", "frozen encoder", "a ViT, eight levels", "encoder"),
    arrow((200, 116), (200, 136)),
    Box(90, 136, 220, 56, "inferred", "two groups", "means of the lower, the upper four",
        "two_groups"),
    arrow((90, 164), (22, 164), (22, 903), (90, 903)),
    text(30, 182, "targets", anchor="start"),
    arrow((200, 192), (200, 224)),
    text(208, 211, "their mean F_I", anchor="start"),
    Box(66, 224, 268, 56, "ours", "constraint: a dictionary", "read: that there is a constraint",
        "dictionary"),
    arrow((200, 280), (200, 312)),
    text(208, 299, "f, what it can rebuild", anchor="start"),
    Box(66, 312, 204, 56, "second-hand", "adaptive noisy bottleneck", "inferred: MLP, dropout",
        "bottleneck"),
    arrow((200, 294), (54, 294), (54, 384), (149, 384), mark="ours"),
    text(60, 398, "shortcut", anchor="start"),
    Box(286, 312, 140, 56, "read", "prototypes P_0", "learnt, m tokens", "prototypes"),
    arrow((150, 368), (150, 470)),
    arrow((356, 368), (356, 470)),
    text(158, 398, "x_0", anchor="start"),
    frame(410, 400, "read", "dynamic bidirectional decoder: L blocks"),
    text(158, 460, "x_l−1", anchor="start"),
    text(364, 460, "P_l−1", anchor="start"),
    Box(56, 470, 190, 56, "read", "context", "the target sees itself", "Context"),
    Box(284, 470, 138, 56, "read", "aggregation", "P_l gathers from x", "Aggregation"),
    arrow((150, 448), (265, 448), (265, 488), (284, 488)),
    arrow((150, 526), (150, 558)),
    text(158, 545, "u", anchor="start"),
    arrow((356, 526), (356, 586), (246, 586)),
    text(364, 545, "P_l", anchor="start"),
    Box(56, 558, 190, 56, "read", "reconstruction", "reads prototypes: r", "Reconstruction"),
    arrow((150, 614), (150, 646)),
    Box(56, 646, 190, 60, "ours", "y = u + r", "forms without u: R(u, P_l, r)",
        "constraint"),
    arrow((150, 706), (150, 738)),
    Box(56, 738, 190, 34, "inferred", "MLP"),
    arrow((150, 772), (150, 826)),
    text(158, 794, "x_l", anchor="start"),
    arrow((356, 586), (356, 802)),
    text(348, 796, "P_l, to the next block", anchor="end"),
    Box(90, 826, 220, 42, "inferred", "two groups, rebuilt", "the last blocks give the lower one"),
    arrow((200, 868), (200, 884)),
    Box(90, 884, 220, 42, "inferred", "cosine distance, each token", "", "distances"),
    arrow((200, 926), (200, 944)),
    Box(90, 944, 220, 42, "inferred", "anomaly map, enlarged", "", "maps"),
    arrow((200, 986), (200, 1004)),
    Box(90, 1004, 220, 42, "inferred", "image score: the top 1 %", "", "image_score"),
    *legend(1064),
)  # fmt: skip
PRN: tuple[object, ...] = (
    Box(71, 12, 180, 28, "inferred", "photograph"),
    arrow((161, 40), (161, 60)),
    Box(56, 60, 210, 56, "read", "frozen encoder", "three scales and a deeper map", "encoder"),
    arrow((56, 88), (22, 88), (22, 757), (90, 757)),
    text(30, 140, "deeper map", anchor="start"),
    arrow((138, 116), (138, 256)),
    text(146, 140, "F_j, scale j = 1, 2, 3", anchor="start"),
    Box(284, 60, 142, 56, "read", "prototypes p_j", "k-means: inferred", "prototypes"),
    arrow((355, 116), (355, 156)),
    arrow((138, 184), (264, 184)),
    Box(264, 156, 162, 56, "inferred", "residual D_j", "(F_j − nearest p)² / v_j", "PrototypeMaps"),
    arrow((345, 212), (345, 256)),
    Box(48, 256, 180, 56, "read", "fusion of scales", "MF, one for F", "fusion"),
    Box(264, 256, 162, 56, "read", "fusion of scales", "MF, one for D", "fusion"),
    arrow((138, 312), (138, 344)),
    arrow((345, 312), (345, 362), (310, 362)),
    Box(90, 344, 220, 36, "read", "Z_j: both, side by side"),
    arrow((200, 380), (200, 440)),
    frame(402, 228, "read", "multi-size self-attention (MSA): N blocks"),
    Box(66, 440, 340, 56, "read", "patches of several sizes", "inferred: 1, 4, 16 and 64 of them",
        "patches"),
    arrow((200, 496), (200, 514)),
    Box(66, 514, 340, 56, "inferred", "attention among the patches of each size",
        "channels split: a quarter a size", "attention"),
    arrow((200, 570), (200, 588)),
    Box(66, 588, 340, 30, "read", "a convolution merges them"),
    arrow((200, 618), (200, 650)),
    Box(90, 650, 220, 56, "read", "fusion of scales", "MF, once more", "refusion"),
    arrow((200, 706), (200, 726)),
    Box(90, 726, 220, 62, "read", "decoder", "from the deeper map up", "Decoder"),
    arrow((200, 788), (200, 808)),
    Box(90, 808, 220, 42, "read", "anomaly map", "", "maps"),
    arrow((200, 850), (200, 870)),
    Box(90, 870, 220, 42, "inferred", "image score: 100 top pixels", "", "image_score"),
    arrow((310, 829), (338, 829), (338, 848)),
    Box(322, 848, 104, 64, "read", "loss", "smooth L1, focal", "loss"),
    *legend(932),
)  # fmt: skip
DRAWINGS = {
    "pro_ad": ("The architecture of Pro-AD as reconstructed here", 1088, PRO_AD),
    "prn": ("The architecture of PRN as reconstructed here", 956, PRN),
}


def picture(title: str, height: int, parts: Iterable[object]) -> str:
    """A whole SVG; on white, so that dark pages show it as well."""
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>{HEAD}",
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#fff"/>',
    )
    return "\n".join([*head, *map(str, parts), "</svg>\n"])


def main() -> None:
    """Write all drawings."""
    for name, drawing in DRAWINGS.items():
        (STATIC / f"{name}.svg").write_text(picture(*drawing), encoding="utf-8")


if __name__ == "__main__":
    main()
