"""The rules that choose two defaults, on runs whose outcome is known."""

from collections.abc import Mapping, Sequence

import pandas as pd
import pytest

from adlib.methods import PRNConfig, ProADConfig
from adlib.study import summary as report
from adlib.study.choice import best_form, best_residual, residual_scores, scores

Runs = Mapping[tuple[str, int], Sequence[float]]


def table(runs: Runs) -> pd.DataFrame:
    """Runs of an arm and steps: image AUROC by seed; pixel AP is half of it."""
    rows = [
        {"arm": arm, "steps": steps, "seed": seed, "image_auroc": x, "pixel_ap": x / 2}
        for (arm, steps), values in runs.items()
        for seed, x in enumerate(values)
    ]
    return pd.DataFrame(rows)


CLEAR: Runs = {
    ("A4 project", 800): (0.70, 0.71, 0.72),
    ("A4 project", 1600): (0.80, 0.81, 0.82),
    ("A4 anchor", 800): (0.60, 0.61, 0.62),
    ("A4 anchor", 1600): (0.70, 0.72, 0.71),
    ("A3 bidirectional", 800): (0.90, 0.90, 0.90),
    ("A3 bidirectional", 1600): (0.95, 0.95, 0.95),
}


def test_the_highest_of_the_constrained_wins() -> None:
    assert best_form(table(CLEAR)) == "A4 project"


def test_scores_are_the_mean_of_both_metrics_in_per_cent() -> None:
    found = scores(table(CLEAR).iloc[::-1])
    assert list(found.columns) == [800, 1600]
    assert found.index[0] == "A3 bidirectional"
    assert found.loc["A4 anchor", 1600] == pytest.approx(100 * (0.71 + 0.355) / 2)


def test_within_one_standard_error_the_first_in_order_wins() -> None:
    runs = {**CLEAR, ("A4 anchor", 1600): (0.83, 0.80, 0.79)}  # gaps -.03, .01, .03: error .018
    assert best_form(table(runs)) == "A4 anchor"
    runs = {**CLEAR, ("A4 anchor", 1600): (0.79, 0.80, 0.81)}  # gaps of .01 with no spread
    assert best_form(table(runs)) == "A4 project"


def test_a_changed_order_asks_for_longer_runs() -> None:
    runs = {**CLEAR, ("A4 anchor", 800): (0.75, 0.75, 0.75)}
    with pytest.raises(ValueError, match="A4 project and A4 anchor of 3200 steps"):
        best_form(table(runs))
    longer = {
        ("A4 anchor", 3200): (0.88, 0.89, 0.90),
        ("A4 project", 3200): (0.84, 0.85, 0.86),
    }
    assert best_form(table({**runs, **longer})) == "A4 anchor"


def test_missing_runs_are_named() -> None:
    with pytest.raises(ValueError, match=r"expected runs of \(800, 1600\) steps, got \[800\]"):
        best_form(table({("A4 anchor", 800): (0.5, 0.6)}))


def test_the_default_is_what_the_rule_chose() -> None:
    """All that makes the arm, against the records that decided."""
    rows = report.read_results("forms")
    winner = best_form(report.runs_table(rows))
    default = ProADConfig()
    records = [row["files"]["record.json"] for row in rows]
    configs = [r["config"] for r in records if r["arm"]["name"] == winner]
    assert len(configs) == 6  # three seeds, twice the steps
    for config in configs:
        for name in ("constraint", "start", "shortcut", "own", "prototype_lr", "attention",
                     "update", "context", "coherence", "noise", "mining"):  # fmt: skip
            assert config[name] == getattr(default, name), name


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
    found = residual_scores(residuals(square=(0.6, 0.7), off=(0.4, 0.4)))
    assert found["square"].tolist() == pytest.approx([0.5, 0.6])
    assert found["off"].tolist() == pytest.approx([0.3, 0.3])


def test_the_residual_of_the_highest_score_wins_unless_a_nearer_one_ties() -> None:
    clear = {"square": (0.5, 0.6, 0.7), "scaled": (0.6, 0.7, 0.8), "absolute": (0.7, 0.8, 0.9)}
    assert best_residual(residuals(**clear)) == "absolute"
    assert best_residual(residuals(**clear, off=(0.9, 0.9, 0.9))) == "absolute"  # no candidate
    near = clear | {"scaled": (0.72, 0.80, 0.87)}  # gaps -.02, 0, .03: error .015
    assert best_residual(residuals(**near)) == "scaled"
    both = near | {"square": (0.9, 0.8, 0.7)}  # gaps -.2, 0, .2
    assert best_residual(residuals(**both)) == "square"


def test_runs_of_a_residual_that_are_missing_are_told() -> None:
    with pytest.raises(ValueError, match=r"expected runs of .*'absolute'.* at the same points"):
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
        ((-0.01, 0.01, 0.03), "A4 anchor"),  # mean .01, error .0115, of n in place of n - 1 .0094
        ((-0.005, 0.015, 0.035), "A4 project"),  # mean .015, above the error and below the spread
    ],
)
def test_the_error_is_that_of_a_mean_of_few(gaps: tuple[float, ...], winner: str) -> None:
    runs = {**CLEAR, ("A4 project", 1600): [0.8 + gap for gap in gaps]}
    assert best_form(table({**runs, ("A4 anchor", 1600): [0.8] * 3})) == winner
    forms = {"absolute": [0.8 + gap for gap in gaps], "scaled": [0.8] * 3, "square": [0.1] * 3}
    tied = winner == "A4 anchor"
    assert best_residual(residuals(**forms)) == ("scaled" if tied else "absolute")
