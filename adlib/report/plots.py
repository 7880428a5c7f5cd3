"""A section as two figures: a forest plot of metrics, and a diagram of average ranks."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adlib.report.images import Draws
from adlib.report.published import MEAN
from adlib.report.ranks import Ranks
from adlib.report.records import Section
from adlib.report.reproduction import claims, data_name, setting_of
from adlib.report.summary import TITLES
from adlib.report.tables import images_interval

OURS, THEIRS, FAINT = "#0072B2", "#D55E00", "0.55"  # Okabe and Ito's blue and vermilion
ROW = 0.34  # inches of an arm's row
GAP = 0.22  # between the bars of a rank diagram, in rows
LETTER = 0.078  # inches of a letter at 9 points, about
MOST = 12  # numbers on that line
LINE = 3.6  # inches of the line of ranks, at least


def forest(section: Section, metrics: Sequence[str], draws: Mapping[str, Draws]) -> Figure:
    """Show each arm's metrics: every seed, their mean, the interval over images, the claim.

    Args:
        section: Runs under one protocol on the same images.
        metrics: One panel each.
        draws: Of the test images, by arm.
    """
    return forests([section], metrics, [draws])


def forests(
    sections: Sequence[Section], metrics: Sequence[str], draws: Sequence[Mapping[str, Draws]]
) -> Figure:
    """Show several sections, a row of panels each; a metric that a section lacks stays empty."""
    parts = [section.ran() for section in sections]
    heights = [1.0 + ROW * len(arms) for arms in parts]
    size = (2.2 + 3.0 * len(metrics), 0.3 + sum(heights))
    figure = Figure(figsize=size, layout="constrained")
    rows = figure.subfigures(len(sections), 1, squeeze=False, height_ratios=heights)[:, 0]
    panels: list[Axes] = []
    for part, section, arms, drawn in zip(rows, sections, parts, draws, strict=True):
        found = part.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for axes, metric in zip(found, metrics, strict=True):
            for row, arm in enumerate(arms):
                _arm(axes, row, section, arm, metric, drawn)
            _style(axes, metric, bool(axes.lines))
        found[0].set_yticks(range(len(arms)), arms)
        found[0].set_ylim(len(arms) - 0.5, -0.5)
        part.suptitle(f"{section.title}, seeds {_seeds(section)}", fontsize=10)
        panels.extend(found)
    legends = [axes.get_legend_handles_labels() for axes in panels]
    handles = {label: handle for pair in legends for handle, label in zip(*pair, strict=True)}
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=8,
        frameon=False,
    )  # fmt: skip
    return figure


def _style(axes: Axes, metric: str, drawn: bool) -> None:
    axes.set_xlabel(f"{TITLES[metric]}, %" if drawn else f"no {TITLES[metric]}: no masks")
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if not drawn:
        axes.set_xticks([])


def _seeds(section: Section) -> str:
    return ", ".join(str(seed) for seed in sorted({run.seed for run in section.runs}))


def _arm(
    axes: Axes,
    row: int,
    section: Section,
    arm: str,
    metric: str,
    draws: Mapping[str, Draws],
) -> None:
    """Draw one row of a panel."""
    runs = section.of(arm)
    values = [100 * v for run in runs if (v := run.record["mean"].get(metric)) is not None]
    if not values:
        return
    interval = images_interval(section, arm, MEAN, metric, draws)
    if interval is not None:
        ends = [100 * end for end in interval]
        axes.plot(ends, [row, row], color=OURS, lw=2.5, alpha=0.45, solid_capstyle="butt",
                  label="95 % over test images")  # fmt: skip
    axes.plot(
        values, [row] * len(values), "o", color=OURS, ms=5, mec="white", mew=0.8, label="a seed"
    )
    mean = sum(values) / len(values)
    axes.plot(mean, row, "D", color=OURS, ms=6.5, label="mean over seeds")
    data = data_name(section.data)
    claim = [] if data is None else [
        c for c in claims(data, runs[0].record["method"], setting_of(runs[0].record))
        if c.metric == metric
    ]  # fmt: skip
    for each in claim:
        axes.plot(each.per_cent, row, "|", color=THEIRS, ms=15, mew=2, label="published")


def rank_diagram(ranks: Ranks, title: str = "") -> Figure:
    """Show average ranks on a line; a bar joins arms that the critical difference leaves alike.

    Source: Demsar, JMLR 7 (2006), figure 1.
    """
    k, groups = len(ranks.arms), ranks.groups()
    half = (k + 1) // 2
    top = 1.0 + GAP * len(groups)
    labels = [f"{arm}  {rank:.2f}" for arm, rank in zip(ranks.arms, ranks.average, strict=True)]
    beside = LETTER * max(map(len, labels))  # inches on either side of the line
    line = max(LINE, 7.6 - 2 * beside)
    figure = Figure(figsize=(line + 2 * beside, 1.2 + ROW * (top + half)), layout="constrained")
    axes = figure.subplots()
    margin = beside * (k - 1) / line
    axes.set_xlim(1 - margin, k + margin)
    axes.set_ylim(top + half - 0.5, -2.1)
    axes.plot([1, k], [0, 0], color="black", lw=1.2)
    for tick in range(1, k + 1):
        axes.plot([tick, tick], [0, -0.25], color="black", lw=1.2)
        if (tick - 1) % (1 + (k - 1) // MOST) == 0:
            axes.text(tick, -0.4, str(tick), ha="center", va="bottom", fontsize=9)
    for i, (label, rank) in enumerate(zip(labels, ranks.average, strict=True)):
        left = i < half
        y = top + (i if left else k - 1 - i)
        edge = 1.0 if left else float(k)
        axes.plot([rank, rank, edge], [0, y, y], color=FAINT, lw=1)
        axes.plot(rank, 0, "o", color=OURS, ms=5)
        side = "right" if left else "left"
        axes.text(edge, y, f" {label} ", ha=side, va="center", fontsize=9)
    for i, group in enumerate(groups):
        places = [ranks.average[ranks.arms.index(arm)] for arm in group]
        y = 0.45 + GAP * i
        wide = 0.01 * (k - 1)
        axes.plot([min(places) - wide, max(places) + wide], [y, y], color=THEIRS, lw=3.5,
                  solid_capstyle="butt")  # fmt: skip
    if ranks.critical is not None and ranks.critical <= k - 1:
        axes.plot([1, 1 + ranks.critical], [-1.35, -1.35], "|-", color="black", lw=1.2, ms=7)
        axes.text(1, -1.6, f"critical difference {ranks.critical:.2f}", va="bottom", fontsize=8)
    axes.set_axis_off()
    axes.set_title(
        f"{title}{': ' if title else ''}average rank by {TITLES[ranks.metric]} over "
        f"{ranks.categories} categories; bars join what is not told apart", fontsize=9,
    )  # fmt: skip
    return figure
