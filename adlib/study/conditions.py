"""The same methods elsewhere: trained on less or on more, and under other protocols and encoders.

Two questions are asked of records. `robustness`: do methods stand in the same order under other
conditions? A *condition* is data set, protocol, encoder and steps; a method that trains nothing
stands in those of every number of steps. `trainings`: what do a few normal images, or several data
sets in one model, change beside the training on all normal images of one data set?
"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

from matplotlib.figure import Figure
from pandas import DataFrame, MultiIndex, concat

from adlib.report.figures import legend_below, plain_axes
from adlib.report.paired import interval, sign
from adlib.report.published import METRICS, TITLES
from adlib.report.records import Section, as_text, name_of
from adlib.report.tables import ABSENT, with_deviation

FIRST = "first"
SAME = "as in the first"
SURE = " (told apart)"
ALL, SEVERAL = "all of this data set", "several data sets"  # what a method was trained on
SCORED = ["data", "data_hash", "protocol", "rules", "weights"]  # how runs are alike
CONDITION = [*SCORED, "encoder", "steps"]
# A colour and a mark of each method; Okabe and Ito's colours.
STYLES = (
    ("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"),
    ("#56B4E9", "P"),
)  # fmt: skip
WIDTH, HEIGHT = 5.6, 2.4  # inches, of the figure and of a row; legible at half of it, on a phone
APART = 0.08  # between methods of one training, so that no mark hides another; a tick is 1


def _frame(sections: Iterable[Section]) -> Any:
    """A row a run: how it was trained and scored, and its means over categories."""
    rows = []
    for run in (run for section in sections for run in section.runs):
        record, few = run.record, run.record.get("few")
        encoder, trained = record.get("encoder") or {}, record.get("trained_on") or {}
        layers = sorted(set((record.get("config") or {}).get("layers") or ()))
        named = f", layers {layers[0]} to {layers[-1]}" if len(layers) > 1 else ""
        way = SEVERAL if record.get("setting") == "super-multi-class" else ALL
        row = {
            "data": record["data"]["name"],
            "data_hash": record["data"]["hash"],
            "protocol": str(record["protocol"].get("name")),
            "rules": as_text(record["protocol"]),  # all of it, which its name may not say
            "weights": str(encoder.get("sha256")),
            "encoder": f"{encoder.get('name')}"
            + (f", layer {layers[0]}" if len(layers) == 1 else named),
            "steps": record.get("steps") or 0,
            "way": f"{few['images']} normal images" if few else way,
            "few": few["images"] if few else 0,
            "whole": not few and trained.get("hash") in (None, record["data"]["hash"]),
            "name": name_of(record),
            "seed": run.seed,
        }
        rows.append(row | {metric: run.mean.get(metric) for metric in METRICS})
    columns = [*CONDITION, "way", "few", "whole", "name", "seed", *METRICS]
    return DataFrame(rows, columns=columns).astype(dict.fromkeys(METRICS, float))


def _by_seed(runs: Any, metric: str) -> Any:
    """A metric by seed; a run that several sources hold counts once."""
    return runs.drop_duplicates("seed", keep="last").set_index("seed")[metric].dropna()


def robustness(sections: Sequence[Section], metric: str) -> DataFrame:
    """One row a condition: the order of methods, and which stand otherwise than in the first.

    Only runs count that were trained on all normal images of the data set that they were tested on.
    Of a data set the condition that most runs were made under comes first. Conditions under which
    only one method ran are left out, as are runs without the metric.

    Args:
        sections: Of all sources.
        metric: Its name.
    Returns:
        Columns data, protocol, encoder, steps, seeds, order, changes; empty without two methods.
    """
    runs = _frame(sections)
    runs = runs[runs["whole"].astype(bool) & runs[metric].notna()]
    still, trained = runs[runs["steps"] == 0], runs[runs["steps"] != 0]
    known = trained[CONDITION].drop_duplicates()
    still = still.drop(columns="steps").merge(known, how="left").fillna({"steps": 0})
    joined: Any = concat([trained, still])
    found = []
    for condition, part in joined.groupby(CONDITION, sort=False):
        values = {name: _by_seed(mine, metric) for name, mine in part.groupby("name", sort=False)}
        if len(values) > 1:
            found.append((dict(zip(CONDITION, condition, strict=True)), values))
    hashes = [condition["data_hash"] for condition, _ in found]
    found.sort(key=lambda f: (hashes.index(f[0]["data_hash"]), -sum(map(len, f[1].values()))))
    rows, first = [], {}
    for condition, values in found:
        reference = first.setdefault(condition["data_hash"], values)
        seeds = sorted({len(of_one) for of_one in values.values()})
        rows.append(
            condition
            | {
                "steps": int(condition["steps"]) or ABSENT,
                "seeds": ABSENT.join(map(str, dict.fromkeys((seeds[0], seeds[-1])))),
                "order": " > ".join(f"{n} {100 * values[n].mean():.1f}" for n in _order(values)),
                "changes": FIRST if reference is values else _changes(reference, values),
            }
        )
    columns = ["data", "protocol", "encoder", "steps", "seeds", "order", "changes"]
    return DataFrame(rows, columns=columns)


def _order(values: dict[str, Any]) -> list[str]:
    return sorted(values, key=lambda name: -values[name].mean())


def _changes(first: dict[str, Any], other: dict[str, Any]) -> str:
    """Name the pairs of methods that stand the other way round, and by how much, in points.

    "told apart" means that the 95 % interval of the paired differences over seeds leaves out 0 in
    both conditions; all other changes may be chance.
    """
    common = [name for name in _order(first) if name in other]
    if len(common) < 2:
        return ABSENT
    turned = []
    for ahead, behind in combinations(common, 2):
        was, gap = (x[behind].mean() - x[ahead].mean() for x in (first, other))
        if gap > 0:
            seeds = [(x[ahead] - x[behind]).dropna().to_numpy() for x in (first, other)]
            sure = all(len(gaps) and sign(interval(gaps)) for gaps in seeds)
            turned.append(
                f"{behind} before {ahead} by {100 * gap:.1f}, was behind by {-100 * was:.1f}"
                + SURE * sure
            )
    return "; ".join(turned) or SAME


def _trained_twice(sections: Iterable[Section]) -> Any:
    """The runs of methods that were trained in two ways on a data set; few images come first."""
    runs = _frame(sections)
    ways = runs.groupby([*SCORED, "name"])["way"].transform("nunique")
    place = {ALL: 1, SEVERAL: 2}
    runs = runs[ways > 1].assign(place=lambda found: found["way"].map(place).fillna(0))
    return runs.sort_values([*SCORED, "name", "place", "few"], kind="stable")


def trainings(sections: Sequence[Section], metrics: Sequence[str]) -> DataFrame:
    """One row a data set, method and training: each metric, and how far it lies from `ALL`.

    Differences are over equal seeds, in points, with Student's 95 % interval. A method that was not
    trained in two ways on a data set is left out.

    Args:
        sections: Of sources whose runs differ in nothing else, such as equal steps an image.
        metrics: Their names; runs without one show a dash.
    """
    rows: dict[Any, dict[str, Any]] = {}
    for (data, *_, name), runs in _trained_twice(sections).groupby([*SCORED, "name"]):
        whole = runs[runs["way"] == ALL]
        for way, mine in runs.groupby("way", sort=False):
            row = rows[data, name, way] = {"seeds": str(mine["seed"].nunique())}
            for metric in metrics:
                values = _by_seed(mine, metric)
                row[TITLES[metric]] = with_deviation(values)
                gap = ABSENT if way == ALL else _points(values - _by_seed(whole, metric))
                row[f"{TITLES[metric]}, difference"] = gap
    return _indexed(rows, "data", "method", "trained on")


def leaders(sections: Sequence[Section], metrics: Sequence[str]) -> DataFrame:
    """One row a data set and training: the method with the highest mean, and the next one's gap.

    Differences are over equal seeds, in points, with Student's 95 % interval of that pair alone.
    What has no rival shows a dash; a data set on which all were trained in one way is left out.

    Args:
        sections: As of `trainings`.
        metrics: Their names.
    """
    rows: dict[Any, dict[str, str]] = {}
    runs = _trained_twice(sections).sort_values([*SCORED, "place", "few"], kind="stable")
    for (data, *_, way), mine in runs.groupby([*SCORED, "way"], sort=False):
        row = rows[data, way] = {}
        for metric in metrics:
            scored = {name: _by_seed(of_one, metric) for name, of_one in mine.groupby("name")}
            scored = {name: values for name, values in scored.items() if len(values)}
            cells = ABSENT, ABSENT
            if len(order := _order(scored)) > 1:
                best, second = (scored[name] for name in order[:2])
                cells = (f"{order[0]}, {with_deviation(best)}",
                         f"{order[1]}, {_points(second - best)}")  # fmt: skip
            row[TITLES[metric]], row[f"{TITLES[metric]}, next"] = cells
    return _indexed(rows, "data", "trained on")


def _points(differences: Any) -> str:
    """Differences in points and their interval: "-4.2 (-7.2 to -1.2)"."""
    if not len(gaps := differences.dropna().to_numpy()):
        return ABSENT
    mean, low, high, n = interval(100 * gaps)
    return f"{mean:+.1f} ({f'{low:+.1f} to {high:+.1f}' if n > 1 else 'one seed'})"


def _indexed(rows: dict[Any, dict[str, Any]], *names: str) -> DataFrame:
    index = MultiIndex.from_tuples(list(rows), names=names) if rows else None
    return DataFrame(list(rows.values()), index=index)


def trainings_figure(sections: Sequence[Section], metrics: Sequence[str]) -> Figure:
    """Show each method's mean over seeds, and every seed, by training: a row of panels a data set.

    As in `trainings`, what was trained in one way only is left out.

    Args:
        sections: Of sources whose runs differ in nothing else, such as equal steps an image.
        metrics: Their names, a column of panels each.
    Raises:
        ValueError: Nothing was trained in two ways.
    """
    found = _trained_twice(sections)
    if found.empty:
        raise ValueError("no method was trained in two ways on one data set; nothing to draw")
    names, blocks = sorted(found["name"].unique()), found.groupby(SCORED)
    figure = Figure(figsize=(WIDTH, 0.6 + HEIGHT * len(blocks)), layout="constrained")
    panels = figure.subplots(len(blocks), len(metrics), squeeze=False)
    for line, ((data, *_), runs) in zip(panels, blocks, strict=True):
        ticks = list(runs.sort_values(["place", "few"])["way"].unique())
        few = runs["few"].any()
        words = {ALL: "all" if few else ALL.removeprefix("all of "), SEVERAL: SEVERAL}
        for axes, metric in zip(line, metrics, strict=True):
            axes.set_xticks(range(len(ticks)), [words.get(way, way.split()[0]) for way in ticks])
            axes.set_xlim(-0.4, len(ticks) - 0.6)
            axes.set_xlabel("normal images per category" if few else "trained on")
            axes.set_title(f"{data}: {TITLES[metric]}, %")
            plain_axes(axes, "y", "top", "right")
            for i, name in enumerate(names):
                mine = runs[(runs["name"] == name) & runs[metric].notna()]
                x = mine["way"].map(ticks.index) + APART * (i - (len(names) - 1) / 2)
                seeds, (colour, mark) = 100 * mine[metric], STYLES[i % len(STYLES)]
                means = seeds.groupby(x).mean()
                if len(mine):
                    axes.plot(x, seeds, "o", color=colour, ms=3, alpha=0.5, mew=0)
                    axes.plot(
                        means.index, means, f"{mark}-", color=colour, ms=6, lw=1.2, label=name
                    )
            if not axes.lines:
                axes.set_yticks([])
                axes.text(0.5, 0.5, "no masks", transform=axes.transAxes, ha="center")
    legend_below(figure, panels.flat, ncols=4, order=names)
    return figure
