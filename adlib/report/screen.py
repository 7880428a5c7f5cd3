"""What a folder holds, on one screen."""

import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from pandas import DataFrame

from adlib.report.paired import ALL_PAIRS, compare
from adlib.report.published import TITLES
from adlib.report.records import Found, Section
from adlib.report.tables import apart, with_interval
from adlib.system.printable import printable

WIDTH, LINES = 110, 50  # of the screen, about
LEADING = ("image_auroc", "pixel_ap")  # what the screen shows


def screen(found: Found) -> str:
    """What a folder holds in about 50 lines: every section if they fit, else every source.

    Metrics are means over categories and seeds in per cent. Differences are tested by paired
    t-tests over equal seeds; the p-values of a section and metric are adjusted (Holm).
    """
    records = [run.record for section in found.sections for run in section.runs]
    sources = {section.source for section in found.sections}
    head = [
        f"{len(records)} records, {len(sources)} sources, {len(found.sections)} sections (same "
        "images and protocol)",
        f"Data sets: {_counted(record['data']['name'] for record in records)}",
        f"Methods: {_counted(record['method'] for record in records)}",
    ]
    tail = [f"Skipped: {note}" for note in found.skipped[:4]] or ["Skipped: nothing"]
    if (more := len(found.skipped) - 4) > 0:
        tail.append(f"Skipped: {more} more; report.md of --out names each")
    room = LINES - len(head) - len(tail) - 5
    if sum(2 + len(section.ran()) for section in found.sections) <= room:
        body = [line for section in found.sections for line in ["", *_arms(section)]]
        note = "Apart: arms that the seeds tell from it, by their numbers"
    else:
        body, note = _leaders(found.sections, room), "Apart: from how many others"
    note += " (paired t-test, Holm, 5 %). Intervals: 95 % over seeds; * over test images, one seed."
    hint = "--section NAME prints all tables of a section or source, --out FOLDER writes everything"
    lines = [*head, *body, "", *textwrap.wrap(note, WIDTH), *tail, hint]
    return "\n".join(_cut(line, WIDTH) for line in lines)


def _arms(section: Section) -> list[str]:
    """A section's title and a line for each arm, the best image AUROC first."""
    order, widths = (
        list(dict.fromkeys([*section.order(LEADING[0]), *section.ran()])),
        (38, 24, 24, 18),
    )
    pairs = [_compare(section, metric) for metric in LEADING]
    seeds = ", ".join(map(str, sorted({run.seed for run in section.runs})))
    lines = [f"{section.title}: {len(section.categories)} categories, seeds {seeds}"]
    lines.append(_line(["", *(TITLES[m] for m in LEADING), "apart, by each"], widths))
    for number, arm in enumerate(order, 1):
        others = [sorted(order.index(other) + 1 for other in apart(each, arm)) for each in pairs]
        told = "; ".join(",".join(map(str, numbers)) or "–" for numbers in others)
        means = [with_interval(section, arm, metric) for metric in LEADING]
        lines.append(_line([f"{number} {arm}", *means, told], widths))
    return lines


def _leaders(sections: Sequence[Section], room: int) -> list[str]:
    """Who leads by each metric: in each section if there is room, else in each source's first."""
    by_source: dict[str, list[Section]] = defaultdict(list)
    for section in sections:
        by_source[section.source].append(section)
    most, left = (room - 3) // 2, []
    shown = {section.title: section for section in sections}
    if len(sections) > most:  # a source's first stands for it
        left = list(by_source)[most:]
        shown = {
            part[0].title.replace(one, f"{one} (1 of {len(part)})", len(part) > 1): part[0]
            for one, part in list(by_source.items())[:most]
        }
    widths = (35, 11, 28, 21, 7)
    lines = ["", _line(["section", "metric", "leads", "mean", "apart"], widths)]
    for title, section in shown.items():
        for metric in LEADING:
            if order := section.order(metric):
                others, seeds = len(order) - 1, {run.seed for run in section.runs}
                told = f"{len(apart(_compare(section, metric), order[0]))} of {others}"
                if others < 1 or len(seeds) < 2:
                    told = "–"  # nothing to compare, or one seed
                mean = with_interval(section, order[0], metric)
                lines.append(_line([title, TITLES[metric], order[0], mean, told], widths))
                title = ""
    return lines + [f"and {len(left)} more sources: {', '.join(left)}"] * bool(left)


def _compare(section: Section, metric: str) -> DataFrame:
    """Pairs of arms by the seeds; of many arms each is compared with the first."""
    order = section.order(metric)
    against = order[0] if len(section.ran()) > ALL_PAIRS and order else None
    return compare(section, (metric,), against=against, kinds=("seeds",))


def _counted(names: Iterable[str]) -> str:
    return ", ".join(f"{name} ({n} records)" for name, n in Counter(names).most_common())


def _cut(text: str, width: int) -> str:
    text = printable(text)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(_cut(c, w).ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()
