"""The rule by which the default arm of Pro-AD is chosen; book/results/README.md has it in words.

It was written down before the runs that it judges. It reads the tables of `adlib.report`, in which
the forms of the constraint that compete are the arms "A4 FORM".
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

STEPS = (800, 1600)  # the second decides, the first tells whether the order still changes
LONGER = 3200  # decides between the first two where it does
ORDER = ("anchor", "nores", "content", "nearest", "scaled", "topk", "gate", "project", "limit")
RUNG = "A4 "


def scores(runs: "DataFrame") -> "DataFrame":
    """Return an arm's score at each number of steps: (image AUROC + pixel AP) / 2, in per cent.

    Args:
        runs: As `adlib.report.runs_table` gives them; the mean is over seeds.
    """
    scored = runs.assign(score=50 * (runs["image_auroc"] + runs["pixel_ap"]))
    table = scored.pivot_table(values="score", index="arm", columns="steps").sort_index(axis=1)
    return table.sort_values(table.columns[-1], ascending=False)


def best_form(runs: "DataFrame") -> str:
    """Return the arm that the rule chooses among those named "A4 FORM".

    Raises:
        ValueError: Runs are missing that the rule asks for.
    """
    forms = runs[runs["arm"].str.startswith(RUNG)]
    forms = forms.assign(score=(forms["image_auroc"] + forms["pixel_ap"]) / 2)
    means = forms.pivot_table(values="score", index="arm", columns="steps")
    if not {*STEPS} <= {*means.columns}:
        raise ValueError(f"expected runs of {STEPS} steps, got {list(means.columns)}")
    first, second = map(str, means.nlargest(2, STEPS[1]).index)
    steps = STEPS[1]
    if means.loc[second, STEPS[0]] > means.loc[first, STEPS[0]]:
        steps = LONGER  # the order changes
    sides = [forms[(forms["arm"] == a) & (forms["steps"] == steps)] for a in (first, second)]
    if any(side.empty for side in sides):
        raise ValueError(f"expected runs of {first} and {second} of {steps} steps")
    pairs = sides[0].merge(sides[1], on="seed")
    gaps = (pairs["score_x"] - pairs["score_y"]).to_numpy()  # seed by seed
    if abs(gaps.mean()) <= gaps.std(ddof=1) / len(gaps) ** 0.5:
        return min(first, second, key=lambda arm: ORDER.index(arm.split()[1]))
    return first if gaps.mean() > 0 else second
