"""The command `adlib report`: the records of a folder on one screen, or all of it in a folder."""

import dataclasses
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tyro.conf import Positional

from adlib.report.paired import ALL_PAIRS, compare
from adlib.report.published import TITLES
from adlib.report.records import Found, Section, read_folder
from adlib.report.tables import with_interval
from adlib.system.printable import printable

WIDTH, LINES = 110, 50  # of the screen, about
LEADING = ("image_auroc", "pixel_ap")  # what the screen shows


@dataclasses.dataclass(kw_only=True)
class Report:
    """Show the records of a folder on one screen: who leads, and whom the seeds tell apart.

    Reads `*.jsonl` of sweeps, sweeps' folders, and record.json of evaluated runs. Runs under
    another protocol, or on other images, stand in sections of their own.
    """

    folder: Positional[Path]
    """a folder that holds records, such as book/results or runs"""
    section: str | None = None
    """print all tables of this section, by its title, or of all sections of this source"""
    out: Path | None = None
    """write everything into this folder: report.md, CSV files and figures"""
    against: str | None = None
    """in --section and --out, compare each arm with this one only"""


def report(command: Report) -> None:
    """Print a folder's records on one screen, or a section; write all of it if asked to."""
    found = read_folder(command.folder)
    chosen = found
    if command.section is not None:
        chosen = Found(_named(found, command.section), [])
    document = None
    if command.out is not None or command.section is not None:
        from adlib.report.document import compose

        document = compose(chosen, against=command.against)
    print(screen(found) if command.section is None or document is None else document.text())
    if command.out is not None and document is not None:
        written = document.write(command.out)
        print(f"{len(written)} files written to {command.out}, first of all {written[0].name}")


def _named(found: Found, name: str) -> list[Section]:
    sections = [s for s in found.sections if name in (s.title, s.source)]
    if not sections:
        names = [*dict.fromkeys(s.source for s in found.sections)]
        if len(found.sections) <= LINES // 2:
            names += [s.title for s in found.sections]
        raise ValueError(f"no section {printable(name)!r}; there are {printable('; '.join(names))}")
    return sections


def screen(found: Found) -> str:
    """What a folder holds in about 50 lines: every section if they fit, else every source.

    Metrics are means over categories and seeds in per cent. Differences are tested by paired
    t-tests over equal seeds; the p-values of a section and metric are adjusted (Holm).
    """
    runs = [run for section in found.sections for run in section.runs]
    sources = list(dict.fromkeys(section.source for section in found.sections))
    head = [
        f"{len(runs)} records, {len(sources)} sources, {len(found.sections)} sections (same images "
        "and protocol)",
        f"Data sets: {_counted(run.record['data']['name'] for run in runs)}",
        f"Methods: {_counted(run.record['method'] for run in runs)}",
    ]
    tail = [_cut(f"Skipped: {note}", WIDTH) for note in found.skipped[:4]] or ["Skipped: nothing"]
    if (more := len(found.skipped) - 4) > 0:
        tail.append(f"Skipped: {more} more; report.md of --out names each")
    room = LINES - len(head) - len(tail) - 4
    if sum(2 + len(section.ran()) for section in found.sections) <= room:
        body = [line for section in found.sections for line in ["", *_arms(section)]]
        note = "Apart: arms that the seeds tell from it, by their numbers"
    else:
        body, note = (
            _leaders(found.sections, sources, (room - 3) // 2),
            "Apart: from how many others",
        )
    note = (
        f"{note} (paired t-test, Holm, 5 %). Intervals: 95 % over seeds; * over test images, of "
        "one seed."
    )
    hint = "--section NAME prints all tables of a section or source, --out FOLDER writes everything"
    wrapped = (textwrap.wrap(line, WIDTH) for line in ("", note, *tail, hint))
    head = [_cut(line, WIDTH) for line in head]
    return "\n".join([*head, *body, *(part for lines in wrapped for part in lines or [""])])


def _arms(section: Section) -> list[str]:
    """A section's title and a line for each arm, the best image AUROC first."""
    order = list(dict.fromkeys([*section.order(LEADING[0]), *section.ran()]))
    seeds = ", ".join(map(str, sorted({run.seed for run in section.runs})))
    title = f"{section.title}: {len(section.categories)} categories, seeds {seeds}"
    cells = [["", *(TITLES[m] for m in LEADING), "apart, by each"]]
    apart = [_apart(section, metric) for metric in LEADING]
    for number, arm in enumerate(order, 1):
        told = [",".join(str(order.index(o) + 1) for o in found.get(arm, [])) for found in apart]
        means = [with_interval(section, arm, metric) for metric in LEADING]
        cells.append([f"{number} {arm}", *means, "; ".join(each or "–" for each in told)])
    return [_cut(title, WIDTH), *(_line(row, (38, 24, 24, 18)) for row in cells)]


def _leaders(sections: Sequence[Section], sources: Sequence[str], most: int) -> list[str]:
    """Who leads by each metric: in each section if there is room, else in each source's first."""
    shown = {section.title: section for section in sections}
    if len(sections) > most:  # a source's first stands for it
        parts = {one: [s for s in sections if s.source == one] for one in sources[:most]}
        shown = {
            f"{one} (1 of {len(part)}): {part[0].short}" if len(part) > 1 else part[0].title: part[
                0
            ]
            for one, part in parts.items()
        }
    widths = (35, 11, 28, 21, 7)
    lines = ["", _line(["section", "metric", "leads", "mean", "apart"], widths)]
    for title, section in shown.items():
        for metric in LEADING:
            order = list(section.order(metric))
            if order:
                apart = f"{len(_apart(section, metric).get(order[0], []))} of {len(order) - 1}"
                if len(order) < 2 or len({run.seed for run in section.runs}) < 2:
                    apart = "–"  # nothing to compare, or one seed
                mean = with_interval(section, order[0], metric)
                lines.append(_line([title, TITLES[metric], order[0], mean, apart], widths))
                title = ""
    left = len(sources) - most
    more = _cut(f"and {left} more sources: {', '.join(sources[most:])}", WIDTH)
    return lines + [more] * (left > 0)


def _apart(section: Section, metric: str) -> dict[str, list[str]]:
    """By arm, those that the seeds tell from it; of many arms each is compared with the first."""
    order = section.order(metric)
    against = order[0] if len(section.ran()) > ALL_PAIRS and order else None
    found: dict[str, list[str]] = {}
    for pair in compare(section, (metric,), against=against, kinds=("seeds",)):
        if pair.seeds is not None and pair.seeds.significant:
            found.setdefault(pair.first, []).append(pair.second)
            found.setdefault(pair.second, []).append(pair.first)
    return found


def _counted(names: Iterable[str]) -> str:
    return ", ".join(f"{name} ({n} records)" for name, n in Counter(names).most_common())


def _cut(text: str, width: int) -> str:
    text = printable(text)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(_cut(c, w).ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()
