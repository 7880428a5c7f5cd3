"""The rules by which defaults are chosen; book/results/README.md has them in words.

They were written down before the runs that they judge. Rules for arms take tables of
`adlib.study.summary.runs_table`, the one for PRN's residual rows of book/results/prn_residuals.csv.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pandas import DataFrame

from adlib.report.paired import interval, sign

RESIDUALS = ("square", "scaled", "absolute")  # the nearest to what is inferred first
READING = "reading"  # in the name of an arm whose decoder reads prototypes
CONVERGED = 0.03  # fall of the held-out distance as the steps double


def scores(runs: DataFrame, of: str = "arm", points: Sequence[str] = ("seed",)) -> DataFrame:
    """Return the mean of image AUROC and pixel AP, in per cent: a row a point, a column each `of`.

    Args:
        runs: With these columns; arms of one number of steps.
        of: What is compared, such as "form" of residuals.
        points: What is the same for all that is compared; the mean over other runs is taken.
    """
    scored = runs.assign(score=50 * (runs["image_auroc"] + runs["pixel_ap"]))
    return scored.pivot_table(values="score", index=list(points), columns=of)


def default_arm(runs: DataFrame) -> str:
    """Return the arm that the rule chooses to be Pro-AD's default.

    The highest score wins. Among the arms that are not distinguished from it, one whose decoder
    reads prototypes goes first, then the one of fewer FLOPs.

    Args:
        runs: Of the candidates alone.
    Raises:
        ValueError: Fewer than two seeds that all candidates have.
    """
    flops: Any = runs.groupby("arm")["flops"].mean()
    return _first(scores(runs).dropna(), lambda arm: (READING not in arm, flops[arm]))


def best_residual(rows: DataFrame) -> str:
    """Return the form of PRN's residual that the rule chooses: of those that tie the nearest.

    Args:
        rows: With `form`, `category`, `seed`, `image_auroc`, `pixel_ap`; a row for each kind of
            made anomaly.
    Raises:
        ValueError: A form is missing that the rule compares, or was not run at each point, or there
            is one point alone.
    """
    table = scores(rows, "form", ["category", "seed"]).reindex(columns=list(RESIDUALS))
    return _first(table, RESIDUALS.index)


def nearest_arm(runs: DataFrame, memory: Mapping[str, int]) -> str:
    """Return the arm of the nearest neighbour that the rule chooses to be PatchCore's default.

    The smallest memory wins among the arm of the highest score and those that a paired t-test over
    seeds does not tell apart from it.

    Args:
        runs: Of the arms that compete.
        memory: Patches that each keeps, by arm.
    """
    table = scores(runs).dropna()
    best = table[table.mean().idxmax()]
    tied = [arm for arm in table if not sign(interval((best - table[arm]).to_numpy()))]
    return min(tied, key=memory.__getitem__)


def convergence(runs: DataFrame) -> DataFrame:
    """Return how much the held-out distance falls as the steps double: a row an arm, in [0, 1].

    Args:
        runs: The mean is over seeds. A column is the larger number of steps. Below `CONVERGED` an
            arm counts as converged.
    """
    table = runs.pivot_table(values="d_held_out", index="arm", columns="steps", sort=False)
    table = table.sort_index(axis=1)
    doubled = [steps for steps in table.columns if steps // 2 in table.columns]
    falls: Any = 1 - table[doubled] / table[[steps // 2 for steps in doubled]].to_numpy()
    return falls


def _first(table: DataFrame, place: Callable[[str], Any]) -> str:
    """Of the best column and those whose mean gap to it is within its standard error, the first."""
    if len(table) < 2 or table.isna().any(axis=None):
        raise ValueError(
            f"expected runs of {', '.join(table)} at the same points, two at least, got\n{table}"
        )
    gaps = table.rsub(table[table.mean().idxmax()], axis=0)  # point by point
    tied = table.columns[gaps.mean() <= gaps.std(ddof=1) / len(gaps) ** 0.5]
    return min(tied, key=place)
