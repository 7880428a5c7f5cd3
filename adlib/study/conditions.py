"""The same methods elsewhere: trained on less or on more, with other steps and encoders.

Two questions are asked of records. `orders`: in which order do methods stand under other
conditions? `differences`, `leaders` and `trainings_figure`: what do a few normal images, or several
data sets in one model, change beside the training on all normal images of one data set?
"""

from collections.abc import Iterable, Sequence
from typing import Any

import seaborn as sns
from matplotlib.figure import Figure
from pandas import DataFrame, concat

from adlib.report.paired import interval
from adlib.report.published import METRICS, TITLES
from adlib.report.records import Section, as_text, name_of
from adlib.report.tables import ABSENT, runs_table, with_deviation
from adlib.study.arms_plot import lines
from adlib.study.summary import in_points

ALL, SEVERAL = "all of this data set", "several data sets"  # what a method was trained on
SCORED = ["data", "data_hash", "protocol", "weights"]  # how runs are alike
CONDITION = [*SCORED, "encoder", "steps"]
APART = 0.08  # between methods of one training, so that no mark hides another; a tick is 1


def _frame(sections: Iterable[Section]) -> Any:
    """A row a run, each once: how it was trained and scored, and its means over categories."""
    runs, more = [run for section in sections for run in section.runs], []
    for record in (run.record for run in runs):
        parts = (record.get(key) or {} for key in ("few", "encoder", "trained_on", "config"))
        drawn, encoder, trained, config = parts
        few, layers = drawn.get("images", 0), sorted(set(config.get("layers") or ()))
        read = f", layers {layers[0]} to {layers[-1]}" if len(layers) > 1 else ""
        read = f", layer {layers[0]}" if len(layers) == 1 else read
        way = SEVERAL if record.get("setting") == "super-multi-class" else ALL
        more.append(
            {
                "protocol": as_text(record["protocol"]),  # all rules, which its name may not say
                "weights": str(encoder.get("sha256")),
                "encoder": f"{encoder.get('name')}{read}",
                "way": f"{few} normal images" if few else way,
                "place": (few or float("inf"), way == SEVERAL),  # few images come first
                "whole": not few and trained.get("hash") in (None, record["data"]["hash"]),
                "name": name_of(record),
            }
        )
    frame = runs_table(runs).join(DataFrame(more)).fillna({"steps": 0})
    frame = frame.drop_duplicates([*CONDITION, "way", "whole", "name", "seed"], keep="last")
    return frame.astype({**dict.fromkeys(METRICS, float), "steps": int})


def orders(sections: Sequence[Section], metric: str) -> DataFrame:
    """One row a condition (data set, protocol, encoder, steps): the order of methods under it.

    Only runs count that were trained on all normal images of the data set that they were tested on.
    A method that trains nothing stands at every number of steps. A condition under which one
    method ran alone is left out.

    Args:
        sections: Of all sources.
        metric: Its name.
    Returns:
        Columns data, encoder, steps, order.
    """
    runs = _frame(sections)
    runs = runs[runs["whole"] & runs[metric].notna()]
    still, trained = runs[runs["steps"] == 0], runs[runs["steps"] != 0]
    known = trained[CONDITION].drop_duplicates()
    still = still.drop(columns="steps").merge(known, how="left").fillna({"steps": 0})
    joined: Any = concat([trained, still])
    rows = []
    for (data, *_, encoder, steps), mine in joined.groupby(CONDITION, sort=False):
        means = mine.groupby("name")[metric].mean().sort_values(ascending=False)
        order = " > ".join(f"{name} {100 * mean:.1f}" for name, mean in means.items())
        if len(means) > 1:
            rows.append((data, encoder, int(steps), order))
    return DataFrame(rows, columns=["data", "encoder", "steps", "order"])


def _trained_twice(sections: Iterable[Section]) -> Any:
    """The runs of methods that were trained in two ways on a data set; ValueError if none was."""
    runs = _frame(sections)
    ways = runs.groupby([*SCORED, "name"])["way"].transform("nunique")
    runs = runs[ways > 1].sort_values([*SCORED, "place", "name"], kind="stable")
    if runs.empty:
        raise ValueError("no method was trained in two ways on one data set; nothing to compare")
    return runs


def differences(sections: Sequence[Section], metrics: Sequence[str]) -> DataFrame:
    """One row a data set, method and training: how far each metric lies from training on `ALL`.

    Differences are over equal seeds, in points, with Student's 95 % interval; a dash where no seed
    has both.

    Args:
        sections: Of sources whose runs differ in nothing else, such as equal steps an image.
        metrics: Their names.
    Raises:
        ValueError: Nothing was trained in two ways.
    """
    rows = []
    for (data, *_, name), runs in _trained_twice(sections).groupby([*SCORED, "name"]):
        seeds = runs.pivot(index="seed", columns="way", values=list(metrics))
        for way in runs["way"].unique():
            if way != ALL:
                gaps = (seeds[metric][way] - seeds[metric].get(ALL) for metric in metrics)
                rows.append((data, name, way, *map(_gap, gaps)))
    titles = [f"{TITLES[metric]}, difference" for metric in metrics]
    index = ["data", "method", "trained on"]
    return DataFrame(rows, columns=[*index, *titles]).set_index(index)


def leaders(sections: Sequence[Section], metric: str) -> DataFrame:
    """One row a data set and training: the method with the highest mean, and the next one's gap.

    Gaps are as in `differences`, of that pair alone. A training without two methods has no row.

    Args:
        sections: As of `differences`.
        metric: Its name.
    """
    rows = []
    for (data, *_, way), runs in _trained_twice(sections).groupby([*SCORED, "way"], sort=False):
        seeds = runs.pivot(index="seed", columns="name", values=metric).dropna(axis=1, how="all")
        best, *others = seeds.mean().sort_values(ascending=False).index
        if others:
            gap = _gap(seeds[others[0]] - seeds[best])
            ahead = f"{best}, {with_deviation(seeds[best])}"
            rows.append((data, way, ahead, f"{others[0]}, {gap}"))
    index, title = ["data", "trained on"], TITLES[metric]
    return DataFrame(rows, columns=[*index, title, f"{title}, next"]).set_index(index)


def _gap(differences: Any) -> str:
    gaps = differences.dropna().to_numpy()
    return in_points(interval(gaps)) if len(gaps) else ABSENT


def trainings_figure(sections: Sequence[Section], metrics: Sequence[str]) -> Figure:
    """Show each method's mean over seeds, and every seed, by the number of normal images.

    Args:
        sections: As of `differences`.
        metrics: Their names, a column of panels each; a data set is a row of panels.
    """
    runs = _trained_twice(sections)
    ways, names = list(runs.sort_values("place")["way"].unique()), sorted(runs["name"].unique())
    shift = APART * (runs["name"].map(names.index) - (len(names) - 1) / 2)
    runs["at"] = runs["way"].map(ways.index) + shift
    panels = {metric: f"{TITLES[metric]}, %" for metric in metrics}
    hues = {"hue": "name", "hue_order": names, "palette": "colorblind"}
    look = {"style": "name", "style_order": names, "markers": True, "dashes": False}
    grid = lines(runs, "at", panels, row="data", errorbar=None, **hues, **look)
    grid.map_dataframe(sns.scatterplot, "at", "value", **hues, s=14, alpha=0.5, legend=False)
    grid.set(xticks=range(len(ways)), xticklabels=[way.split()[0] for way in ways])
    grid.set_axis_labels("normal images per category", "").set_titles("{row_name}: {col_name}")
    return grid.figure
