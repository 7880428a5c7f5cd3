"""The rules that choose two defaults, on runs whose outcome is known."""

from collections.abc import Sequence

import pandas as pd
import pytest

from adlib.methods import PatchCoreConfig, PRNConfig
from adlib.study import summary as report
from adlib.study.choice import best_residual, convergence, default_arm, nearest_arm, scores

READ, PLAIN, SMALL = "span 4096, reading", "span 4096", "span 1024"
FLOPS = {READ: 3.0, PLAIN: 2.0, SMALL: 1.0}


def table(**runs: Sequence[float]) -> pd.DataFrame:
    """Runs of an arm: image AUROC by seed; pixel AP is half of it."""
    names = {"read": READ, "plain": PLAIN, "small": SMALL}
    return pd.DataFrame(
        {"arm": names[arm], "flops": FLOPS[names[arm]], "seed": seed,
         "image_auroc": x, "pixel_ap": x / 2}
        for arm, values in runs.items()
        for seed, x in enumerate(values)
    )  # fmt: skip


def test_scores_are_the_mean_of_both_metrics_in_per_cent() -> None:
    found = scores(table(plain=(0.7, 0.8), small=(0.6, 0.5)))
    assert found[PLAIN].tolist() == pytest.approx([52.5, 60])
    assert found[SMALL].tolist() == pytest.approx([45, 37.5])


@pytest.mark.parametrize(
    ("runs", "winner"),
    [
        ({"read": (0.7, 0.71, 0.72), "plain": (0.8, 0.81, 0.82), "small": (0.6,) * 3}, PLAIN),
        ({"read": (0.83, 0.80, 0.79), "plain": (0.8, 0.81, 0.82), "small": (0.6,) * 3}, READ),
        ({"plain": (0.83, 0.80, 0.79), "small": (0.8, 0.81, 0.82)}, SMALL),
        ({"plain": (0.83, 0.81, 0.85), "small": (0.8, 0.81, 0.82)}, PLAIN),  # error .0115
        (
            {"plain": (0.79, 0.81, 0.85), "small": (0.8, 0.81, 0.82)},
            SMALL,
        ),  # error .0120
    ],
)
def test_the_abstract_goes_first_among_the_undistinguished_then_the_cheaper(
    runs: dict[str, Sequence[float]], winner: str
) -> None:
    assert default_arm(table(**runs)) == winner


def test_one_seed_chooses_nothing() -> None:
    with pytest.raises(ValueError, match="at the same points, two at least"):
        default_arm(table(plain=(0.5,), small=(0.6, 0.7)))


def test_convergence_is_the_fall_at_each_doubling() -> None:
    runs = pd.DataFrame(
        [("a", 800, 0, 0.10), ("a", 1600, 0, 0.06), ("a", 1600, 1, 0.10), ("a", 6400, 0, 0.05)],
        columns=["arm", "steps", "seed", "d_held_out"],
    )
    found = convergence(runs)
    assert list(found.columns) == [1600]
    assert found.loc["a", 1600] == pytest.approx(0.2)


def test_the_nearest_neighbours_default_is_what_the_rule_chose() -> None:
    rows = [row for row in report.read_results("nearest") if "categories" not in row["parameters"]]
    arms = {row["parameters"]["arm"]["name"]: row["parameters"]["arm"] for row in rows}
    memory = {name: arm["memory"] for name, arm in arms.items()}
    chosen = arms[nearest_arm(report.runs_table(rows), memory)]
    default = PatchCoreConfig()
    assert (chosen["patch"], chosen["memory"]) == (default.patch, default.memory)
    assert "candidates" not in chosen
    scored = table(plain=(0.8, 0.8, 0.81), small=(0.7, 0.7, 0.72), read=(0.8, 0.81, 0.80))
    assert nearest_arm(scored, {READ: 2, PLAIN: 3, SMALL: 1}) == READ


def residuals(**scored: Sequence[float]) -> pd.DataFrame:
    """Rows of each form, point by point; one kind is easier by as much as one is harder."""
    rows = [
        {"form": form, "category": "nut", "seed": seed, "kind": kind, "image_auroc": x + d,
         "pixel_ap": x - 0.2 + d}
        for form, values in scored.items()
        for seed, x in enumerate(values)
        for kind, d in (("extended", 0.1), ("simulated", -0.1))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_residuals_score_is_the_mean_of_both_metrics_and_kinds() -> None:
    found = scores(residuals(square=(0.6, 0.7), off=(0.4, 0.4)), "form", ["category", "seed"])
    assert found["square"].tolist() == pytest.approx([50, 60])
    assert found["off"].tolist() == pytest.approx([30, 30])


def test_the_residual_of_the_highest_score_wins_unless_a_nearer_one_ties() -> None:
    clear = {"square": (0.5, 0.6, 0.7), "scaled": (0.6, 0.7, 0.8), "absolute": (0.7, 0.8, 0.9)}
    assert best_residual(residuals(**clear)) == "absolute"
    assert best_residual(residuals(**clear, off=(0.9, 0.9, 0.9))) == "absolute"  # no candidate
    near = clear | {"scaled": (0.72, 0.80, 0.87)}  # gaps -.02, 0, .03: error .015
    assert best_residual(residuals(**near)) == "scaled"
    both = near | {"square": (0.9, 0.8, 0.7)}  # gaps -.2, 0, .2
    assert best_residual(residuals(**both)) == "square"


def test_runs_of_a_residual_that_are_missing_are_told() -> None:
    with pytest.raises(ValueError, match=r"expected runs of .*absolute.* at the same points"):
        best_residual(residuals(square=(0.5, 0.6), scaled=(0.6, 0.7)))
    with pytest.raises(ValueError, match="two at least"):  # one has no spread to go by
        best_residual(residuals(square=(0.5,), scaled=(0.6,), absolute=(0.7,)))
    rows = residuals(square=(0.5, 0.6), scaled=(0.6, 0.7), absolute=(0.5, 0.5))
    with pytest.raises(ValueError, match="at the same points"):
        best_residual(rows.query("form != 'scaled' or seed != 1"))


def test_the_default_residual_is_what_the_rule_chose() -> None:
    rows = pd.read_csv(report.results_folder() / "prn_residuals.csv")
    assert best_residual(rows) == PRNConfig().residuals
    assert PRNConfig.paper().residuals == "square"  # as inferred


@pytest.mark.parametrize(
    ("gaps", "winner"),
    [
        ((-0.01, 0.01, 0.03), "scaled"),  # mean .01, error .0115, of n in place of n - 1 .0094
        ((-0.005, 0.015, 0.035), "absolute"),  # mean .015, above the error and below the spread
    ],
)
def test_the_error_is_that_of_a_mean_of_few(gaps: tuple[float, ...], winner: str) -> None:
    forms = {"absolute": [0.8 + gap for gap in gaps], "scaled": [0.8] * 3, "square": [0.1] * 3}
    assert best_residual(residuals(**forms)) == winner
