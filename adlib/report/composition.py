"""From a folder's records to the blocks, numbers and figures of a report."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adlib.report import findings, paired, reproduction, robustness, tables
from adlib.report.document import Block, Document, Heading, Table
from adlib.report.folder import Found
from adlib.report.images import draw
from adlib.report.published import METRICS
from adlib.report.ranks import average_ranks
from adlib.report.records import DIGITS, Section
from adlib.report.summary import TITLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

# What sentences and figures are about; ours: one of images, and of pixels the one that moves most
# between methods and between protocols.
HEADLINE = ("image_auroc", "pixel_ap")
NO_IMAGES = (
    "The records hold no scores of single images and no intervals, so there is no interval over "
    "test images: ± is the standard deviation over seeds only."
)


def compose(found: Found, *, against: str | None = None, everywhere: bool = False) -> Document:
    """Make the report of a folder's records.

    Args:
        found: What `adlib.report.folder.read_folder` returns.
        against: Compare each arm with this one only.
        everywhere: Also list published means of data sets that nothing was run on.
    Raises:
        ValueError: `against` is the name of no arm, or image scores do not fit their record.
    """
    from pandas import concat

    known = list(dict.fromkeys(run.arm for s in found.sections for run in s.runs))
    if against is not None and against not in known:
        raise ValueError(f"no arm {against!r}; there are {'; '.join(known)}")
    document = Document([Heading(1, "Benchmark report"), *found.notes])
    by_source: dict[str, list[Section]] = {}
    for section in found.sections:
        by_source.setdefault(section.source, []).append(section)
    numbers: dict[str, list[DataFrame]] = {"runs": [], "results": [], "pairs": [], "ranks": []}
    for sections in by_source.values():
        if len(sections) > 1:
            document.blocks += _overview(sections)
        for section in sections:
            for name, frame in _section(document, section, against).items():
                numbers[name].append(frame)
    numbers["robustness"] = _robustness(document, found.sections)
    document.numbers = {name: concat(frames) for name, frames in numbers.items() if frames}
    claims = reproduction.reproduction(found.sections, everywhere=everywhere)
    if len(claims):
        document.numbers["published"] = claims
        document.blocks += [
            Heading(1, "Beside the published numbers"),
            "Ours is judged where it is the mean of all categories: within, above or below what "
            "public reruns drifted by. published.csv has sources and tolerances.",
            Table("Mean over categories, per cent", reproduction.summary(claims)),
        ]
    return document


def _overview(sections: Sequence[Section]) -> list[Block]:
    blocks: list[Block] = [Heading(1, f"{sections[0].source}: everything at a glance")]
    for metric in HEADLINE:
        table = tables.overview(sections, metric)
        blocks.append(Table(f"{TITLES[metric]}, mean over categories (place)", table))
        if any(section.order(metric) for section in sections):
            blocks.append(findings.changes_of_order(sections, metric))
    return blocks


def _robustness(document: Document, sections: Sequence[Section]) -> list["DataFrame"]:
    """Add in which conditions methods change places, if there are several; return the tables."""
    frames = []
    for metric in HEADLINE:
        frame = robustness.robustness(robustness.of_methods(sections), metric)
        if len(frame) == frame["data"].nunique():  # one condition each
            continue
        if not frames:
            document.blocks.append(Heading(1, "Does the order of methods hold?"))
        caption = f"{TITLES[metric]}, mean over categories and seeds, per cent"
        document.blocks += [Table(caption, frame.set_index("data")), robustness.told(frame)]
        frames.append(frame.assign(metric=metric))
    return frames


def _section(document: Document, section: Section, against: str | None) -> dict[str, "DataFrame"]:
    """Add a section's blocks and figures to the document; return its numbers."""
    from pandas import DataFrame

    draws = draw(section)
    blocks = document.blocks
    blocks += [
        Heading(1, section.title),
        tables.provenance(section),
        Table("Mean over categories, per cent, ± standard deviation over seeds",
              tables.metrics_table(section)),
    ]  # fmt: skip
    over_images = tables.intervals_table(section, draws)
    if over_images is None:
        blocks.append(NO_IMAGES)
    else:
        blocks.append(Table("95 % intervals over the test images, per cent", over_images))
    theirs = reproduction.beside(section)
    if theirs is not None:
        blocks.append(Table(f"Published on {section.data}, per cent", theirs))
    pairs = paired.compare(section, METRICS, against=against, draws=draws)
    ranks = {metric: average_ranks(section, metric) for metric in METRICS}
    blocks.append(Heading(2, "What is significant, and what is not"))
    blocks += [
        findings.finding(section, m, [p for p in pairs if p.metric == m], ranks[m])
        for m in HEADLINE
    ]
    for metric in HEADLINE:
        if section.order(metric):
            blocks.append(Heading(2, f"{TITLES[metric]}, in detail"))
            blocks.append(Table("Each category", tables.categories_table(section, metric)))
            blocks.append(Table("Each run", tables.seeds_table(section, metric)))
    blocks += [Heading(2, "Cost"), Table("Mean over seeds", tables.cost_table(section))]
    _add_figures(document, section, draws, ranks)
    return {
        "runs": tables.runs(section),
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


def _add_figures(document: Document, section: Section, draws: Any, ranks: Any) -> None:
    slug = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")
    if f"forest-{slug}" in document.figures:  # names in other letters than a to z leave nothing
        slug += f"-{section.runs[0].record['data']['hash'][:DIGITS]}"
    shown = [metric for metric in HEADLINE if section.order(metric)]

    def forest() -> "Figure":
        from adlib.report import plots

        return plots.forest(section, shown, draws)

    document.figures[f"forest-{slug}"] = forest
    for metric in shown:
        if (each := ranks[metric]) is not None and len(each.arms) > 2:

            def diagram(each: Any = each) -> "Figure":
                from adlib.report import plots

                return plots.rank_diagram(each, section.title)

            document.figures[f"ranks-{slug}-{metric.replace('_', '-')}"] = diagram


def _row(section: Section, pair: paired.Pair) -> dict[str, Any]:
    row: dict[str, Any] = {"section": section.title, "metric": pair.metric,
                           "first": pair.first, "second": pair.second}  # fmt: skip
    for kind in ("seeds", "categories", "images"):
        gap: paired.Gap | None = getattr(pair, kind)
        for name in ("mean", "low", "high", "n", "p"):
            row[f"{kind}_{name}"] = None if gap is None else getattr(gap, name)
    return row
