"""The rules by which two defaults are chosen; book/results/README.md has them in words.

Both were written down before the runs that they judge. That of Pro-AD's arm reads the tables of
`adlib.study.summary`, in which the forms of the constraint that compete are the arms "A4 FORM".
That of PRN's residual reads rows of book/results/prn_residuals.csv.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

STEPS = (800, 1600)  # the second decides, the first tells whether the order still changes
LONGER = 3200  # decides between the first two where it does
ORDER = ("anchor", "nores", "content", "nearest", "scaled", "topk", "gate", "project", "limit")
RUNG = "A4 "
RESIDUALS = ("square", "scaled", "absolute")  # the nearest to what is inferred first


def scores(runs: "DataFrame") -> "DataFrame":
    """Return an arm's score at each number of steps: (image AUROC + pixel AP) / 2, in per cent.

    Args:
        runs: As `adlib.study.summary.runs_table` gives them; the mean is over seeds.
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


def residual_scores(rows: "DataFrame") -> "DataFrame":
    """Return the score of each form of PRN's residual: mean of image AUROC and pixel AP, in [0, 1].

    Args:
        rows: With `form`, `category`, `seed`, `image_auroc`, `pixel_ap`; a row for each kind of
            made anomaly.
    Returns:
        A row for each category and seed, a column for each form.
    """
    scored = rows.assign(score=(rows["image_auroc"] + rows["pixel_ap"]) / 2)
    return scored.pivot_table(values="score", index=["category", "seed"], columns="form")


def best_residual(rows: "DataFrame") -> str:
    """Return the form of PRN's residual that the rule chooses.

    Args:
        rows: As `residual_scores` takes them.
    Raises:
        ValueError: A form is missing that the rule compares, or was not run at each point, or there
            is one point alone.
    """
    table = residual_scores(rows).reindex(columns=list(RESIDUALS))
    if len(table) < 2 or table.isna().any(axis=None):
        raise ValueError(
            f"expected runs of {RESIDUALS} at the same points, two at least, got\n{table}"
        )
    first = table[table.mean().idxmax()]
    gaps = table.rsub(first, axis=0)  # of each form, point by point
    tied = gaps.mean() <= gaps.std(ddof=1) / len(gaps) ** 0.5
    return next(form for form in RESIDUALS if tied[form])  # the highest ties with itself
