"""The rules by which defaults are chosen; book/results/README.md has them in words.

They were written down before the runs that they judge. That of Pro-AD's arm reads the tables of
`adlib.study.summary`. That of PRN's residual reads rows of book/results/prn_residuals.csv.
"""

from collections.abc import Mapping
from typing import Any

from pandas import DataFrame

from adlib.report.paired import interval, sign

RESIDUALS = ("square", "scaled", "absolute")  # the nearest to what is inferred first
READING = "reading"  # in the name of an arm whose decoder reads prototypes
CONVERGED = 0.03  # fall of the held-out distance as the steps double


def arm_scores(runs: DataFrame) -> DataFrame:
    """Return (image AUROC + pixel AP) / 2, in per cent: a row a seed, a column an arm.

    Args:
        runs: As `adlib.study.summary.runs_table` gives them, of one number of steps.
    """
    scored = runs.assign(score=50 * (runs["image_auroc"] + runs["pixel_ap"]))
    return scored.pivot_table(values="score", index="seed", columns="arm")


def default_arm(runs: DataFrame) -> str:
    """Return the arm that the rule chooses to be Pro-AD's default.

    The highest score wins. Among the arms that are not distinguished from it, one whose decoder
    reads prototypes goes first, then the one of fewer FLOPs.

    Args:
        runs: Of the candidates alone.
    Raises:
        ValueError: Fewer than two seeds that all candidates have.
    """
    table = arm_scores(runs).dropna()
    if len(table) < 2:
        raise ValueError(f"expected two seeds of every candidate or more, got {len(table)}")
    tied = _undistinguished(table)
    flops: Any = runs.groupby("arm")["flops"].mean()
    return min(tied, key=lambda arm: (READING not in arm, flops[arm]))


def nearest_arm(runs: DataFrame, memory: Mapping[str, int]) -> str:
    """Return the arm of the nearest neighbour that the rule chooses to be PatchCore's default.

    The smallest memory wins among the arm of the highest score and those that a paired t-test over
    seeds does not tell apart from it.

    Args:
        runs: Of the arms that compete.
        memory: Patches that each keeps, by arm.
    """
    table = arm_scores(runs).dropna()
    best = table[table.mean().idxmax()]
    tied = [arm for arm in table if not sign(interval((best - table[arm]).to_numpy()))]
    return min(tied, key=memory.__getitem__)


def convergence(runs: DataFrame) -> DataFrame:
    """Return how much the held-out distance falls as the steps double: a row an arm, in [0, 1].

    Args:
        runs: As `adlib.study.summary.runs_table` gives them; the mean is over seeds. A column is
            the larger number of steps. Below `CONVERGED` an arm counts as converged.
    """
    table = runs.pivot_table(values="d_held_out", index="arm", columns="steps", sort=False)
    table = table.sort_index(axis=1)
    doubled = [steps for steps in table.columns if steps // 2 in table.columns]
    falls: Any = 1 - table[doubled] / table[[steps // 2 for steps in doubled]].to_numpy()
    return falls


def _undistinguished(table: DataFrame) -> list[str]:
    """The best column and those whose mean gap to it is no larger than its standard error."""
    gaps = table.rsub(table[table.mean().idxmax()], axis=0)  # point by point
    return list(table.columns[gaps.mean() <= gaps.std(ddof=1) / len(gaps) ** 0.5])


def residual_scores(rows: DataFrame) -> DataFrame:
    """Return the score of each form of PRN's residual: mean of image AUROC and pixel AP, in [0, 1].

    Args:
        rows: With `form`, `category`, `seed`, `image_auroc`, `pixel_ap`; a row for each kind of
            made anomaly.
    Returns:
        A row for each category and seed, a column for each form.
    """
    scored = rows.assign(score=(rows["image_auroc"] + rows["pixel_ap"]) / 2)
    return scored.pivot_table(values="score", index=["category", "seed"], columns="form")


def best_residual(rows: DataFrame) -> str:
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
    tied = set(_undistinguished(table))
    return next(form for form in RESIDUALS if form in tied)  # the highest ties with itself
