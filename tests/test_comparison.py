"""Records are kept apart, averaged, tested and ranked as statistics says."""

import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel

from adlib.metrics import image_intervals, score_images
from adlib.report import paired, tables
from adlib.report.published import MEAN, METRICS, TITLES
from adlib.report.records import read_folder
from tests.made_records import CATEGORIES, folder_of, noisy, record, section_of

LABELS = np.arange(20) % 3 > 0


@pytest.mark.parametrize(
    "other",
    [
        {"protocol": {"name": "ours", "crop": [448, 392]}},  # even under the same name
        {"protocol": {"name": "mvtec"}},
        {"data": {"name": "parts", "hash": "beef" * 12}},
        {"names": ("bolt", "nut")},
    ],
)
def test_unlike_records_are_never_averaged(tmp_path: Path, other: dict[str, Any]) -> None:
    one, unlike = record(level=0.5), record(seed=1, level=0.8, **other)
    found = read_folder(folder_of(tmp_path, one, unlike)).sections
    assert len({section.title for section in found}) == len(found) == 2
    for section, made in zip(found, (one, unlike), strict=True):
        shown = tables.metrics_table(section).loc["dinomaly"]
        assert shown["seeds"] == "1 of 2"
        for metric in METRICS:
            assert shown[TITLES[metric]] == f"{100 * made['mean'][metric]:.1f}"
        assert paired.compare(section, METRICS).empty


def test_a_deleted_record_is_not_run(tmp_path: Path) -> None:
    solar: dict[str, Any] = {"data": {"name": "solar", "hash": "50" * 24}}
    made = [record("dinomaly", 0), record("pro-ad", 0), record("pro-ad", 1)]
    made += [record("dinomaly", s, **solar) for s in (0, 1)]
    first, cells = read_folder(folder_of(tmp_path, *made)).sections
    shown = [tables.metrics_table(cells), tables.categories_table(cells, "aupro")]
    for table in (*shown, tables.cost_table(cells)):
        assert set(table.loc["pro-ad"]) == {"not run"}
        assert "not run" not in set(table.loc["dinomaly"])
    assert tables.metrics_table(first).loc["dinomaly", "seeds"] == "1 of 2"
    seen = tables.overview([first, cells], "image_auroc")
    assert seen["solar, protocol ours"].to_dict() == {"dinomaly": "53.0 (1)", "pro-ad": "not run"}


def test_numbers_are_mean_deviation_and_students_interval(tmp_path: Path) -> None:
    section = section_of(tmp_path, *noisy("dinomaly", 0.6))
    values = section.values("dinomaly", "pixel_ap")
    assert values.shape == (3, 4)
    rows = tables.results(section, {}).set_index(["category", "metric"])
    row = rows.loc[("part2", "pixel_ap")]
    known = ttest_rel(values[:, 2], np.zeros(3)).confidence_interval(0.95)
    assert row[["mean", "deviation", "low", "high"]].tolist() == pytest.approx(
        [values[:, 2].mean(), values[:, 2].std(ddof=1), known.low, known.high]
    )
    means = section.means("dinomaly", "pixel_ap")
    assert means == pytest.approx(values.mean(axis=1))
    shown = tables.metrics_table(section).loc["dinomaly", "pixel AP"]
    assert shown == f"{100 * means.mean():.1f} ± {100 * means.std(ddof=1):.1f}"
    no_masks = section_of(tmp_path, record(masks=False))
    assert tables.metrics_table(no_masks).loc["dinomaly", "AUPRO"] == "–"
    assert no_masks.order("aupro") == ()


def test_seeds_are_compared_by_the_paired_t_test(tmp_path: Path) -> None:
    section = section_of(tmp_path, *noisy("dinomaly", 0.6), *noisy("pro-ad", 0.58, seeds=2))
    gap = paired.over_seeds(section, "dinomaly", "pro-ad", "aupro")
    one, other = section.means("dinomaly", "aupro")[:2], section.means("pro-ad", "aupro")
    known = ttest_rel(one, other)
    ends = known.confidence_interval(0.95)
    assert gap == pytest.approx(((one - other).mean(), ends.low, ends.high, 2, known.pvalue))
    single = section_of(tmp_path, record(), record("pro-ad", 1))
    assert paired.over_seeds(single, "dinomaly", "pro-ad", "aupro") is None
    even = [record("dinomaly", s, 0.5 + s / 8) for s in (0, 1)]
    even += [record("pro-ad", s, 0.25 + s / 8) for s in (0, 1)]
    gap = paired.over_seeds(section_of(tmp_path, *even), "dinomaly", "pro-ad", "aupro")
    assert gap == pytest.approx((0.25, 0.25, 0.25, 2, 0))


def test_categories_are_compared_by_all_flips_of_signs_and_students_interval(
    tmp_path: Path,
) -> None:
    made = [*noisy("dinomaly", 0.6, n=6), *noisy("pro-ad", 0.595, n=6, seeds=2)]
    section = section_of(tmp_path, *made)
    gap = paired.over_categories(section, "dinomaly", "pro-ad", "image_ap")
    one = section.values("dinomaly", "image_ap")[:2].mean(axis=0)  # the seeds that both have
    other = section.values("pro-ad", "image_ap").mean(axis=0)
    flipped = [abs(np.mean((one - other) * signs)) for signs in product((1, -1), repeat=6)]
    p = np.mean(np.array(flipped) >= abs((one - other).mean()) - 1e-12)
    assert 0.05 < p < 1
    ends = ttest_rel(one, other).confidence_interval(0.95)
    assert gap == pytest.approx(((one - other).mean(), ends.low, ends.high, 6, p))
    back = paired.over_categories(section, "pro-ad", "dinomaly", "image_ap")
    assert back == pytest.approx((-gap[0], -gap[2], -gap[1], 6, p)) if gap else False
    alone = section_of(tmp_path, record(names=("bolt",)), record("pro-ad", names=("bolt",)))
    assert paired.over_categories(alone, "dinomaly", "pro-ad", "image_ap") is None


def test_draws_of_images_count_on_both_sides() -> None:
    gaps = np.random.default_rng(0).permutation(np.arange(-39, 961) / 1000)  # 40 are not above 0
    ends = -0.039 + 0.025 * 0.999, 0.96 - 0.025 * 0.999
    found = paired.over_images(gaps + 0.5, np.full(1000, 0.5), 0.4, 7)
    assert found == pytest.approx((0.4, *ends, 7, (1 + 2 * 40) / 1001))
    back = paired.over_images(np.zeros(1000), gaps, -0.4, 7)
    assert back == pytest.approx((-0.4, -ends[1], -ends[0], 7, found.p))


def test_holm_orders_multiplies_and_leaves_out_what_was_not_tested() -> None:
    adjusted = paired.holm([0.01, np.nan, 0.04, 0.03, 0.005])
    assert adjusted == pytest.approx([0.03, np.nan, 0.06, 0.06, 0.02], nan_ok=True)
    assert paired.holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert paired.holm([]).size == 0


def test_many_arms_are_compared_with_one() -> None:
    arms = [f"arm{i}" for i in range(7)]
    assert len(paired.choose_pairs(arms[:6], None)) == 15
    assert paired.choose_pairs(arms, None) == [("arm0", arm) for arm in arms[1:]]
    assert paired.choose_pairs(arms[:3], "arm2") == [("arm2", "arm0"), ("arm2", "arm1")]


def test_comparing_adjusts_within_a_metric(tmp_path: Path) -> None:
    made = [r for i, m in enumerate(("dinomaly", "pro-ad", "prn")) for r in noisy(m, 0.6 + i / 9)]
    section = section_of(tmp_path, *made)
    found = paired.compare(section, ("image_auroc", "aupro"))
    assert found["metric"].tolist() == ["image_auroc"] * 3 + ["aupro"] * 3
    mine = found[3:]
    pairs = list(zip(mine["first"], mine["second"], strict=True))
    for kind, over in (("seeds", paired.over_seeds), ("categories", paired.over_categories)):
        raw = [gap.p for pair in pairs if (gap := over(section, *pair, "aupro"))]
        assert mine[f"{kind}_p"].tolist() == pytest.approx(paired.holm(raw))
    assert mine["categories_p"].tolist() == pytest.approx([3 * 2 / 2**4] * 3)


def test_a_sections_runs_are_named_and_traced(tmp_path: Path) -> None:
    section = section_of(tmp_path, record(seed=2), record("pro-ad", commit="fedcba9876"))
    assert tables.provenance(section) == (
        "2 runs; seeds 0, 2; data c0ffeec, 4 categories; commit 0123456, fedcba9; cpu, 1 threads; "
        "float32."
    )
    frame = tables.runs_table(section.runs)
    assert frame["commit"].tolist() == ["0123456789", "fedcba9876"]
    assert frame["image_auroc"].tolist() == [r.mean["image_auroc"] for r in section.runs]


def test_the_table_of_pairs_says_what_each_source_of_chance_tells_apart(tmp_path: Path) -> None:
    section = section_of(tmp_path, *noisy("dinomaly", 0.6, n=9), *noisy("pro-ad", 0.8, n=9))
    pairs = paired.compare(section, ("image_auroc",))
    shown = tables.pairs_table(pairs).loc["dinomaly – pro-ad"]
    assert shown["points"].startswith("-")
    assert re.fullmatch(r"-.* to -.*, p = .* \(3\), told apart", shown["over seeds"])
    assert shown["over categories"].endswith("p = 0.0039 (9), told apart")  # 2 / 2^9
    assert shown["over images"] == "–"
    only = paired.compare(section, ("image_auroc",), kinds=("seeds",))
    assert only["seeds_p"].equals(pairs["seeds_p"])
    assert np.isnan(only["categories_p"].tolist()).all()
    alike = section_of(tmp_path, *noisy("dinomaly", 0.6), *noisy("pro-ad", 0.6))
    assert "told" not in str(tables.pairs_table(paired.compare(alike, ("aupro",))))


def test_the_leader_is_named_with_those_whom_the_seeds_tell_from_it(tmp_path: Path) -> None:
    made = [*noisy("pro-ad", 0.6), *noisy("dinomaly", 0.8), *noisy("prn", 0.79)]
    section = section_of(tmp_path, *made)
    pairs = paired.compare(section, ("image_auroc",))
    shown = tables.with_interval(section, "dinomaly", "image_auroc")
    known = ttest_rel(section.means("dinomaly", "image_auroc"), np.zeros(3))
    low, high = 100 * np.array(known.confidence_interval(0.95))
    assert shown.endswith(f" ({low:.1f} to {high:.1f})")
    assert tables.leader(section, "image_auroc", pairs) == (
        f"by image AUROC dinomaly, {shown}; the seeds tell it from pro-ad, 1 of 2 others"
    )
    alike = section_of(tmp_path, *noisy("dinomaly", 0.6), *noisy("pro-ad", 0.6))
    pairs = paired.compare(alike, ("image_auroc",))
    assert tables.leader(alike, "image_auroc", pairs).endswith("from none of 1 others")
    one = section_of(tmp_path, record())
    assert tables.leader(one, "image_auroc", pairs) == "nothing to compare by image AUROC"
    assert tables.with_interval(one, "dinomaly", "image_auroc") == "53.0"  # one seed, no images


def with_scores(method: str, seed: int, shift: float, n: int = 20) -> dict[str, Any]:
    """A record whose metrics are those of the image scores that it holds."""
    rng = np.random.default_rng([seed, len(method)])
    made = record(method, seed) | {"images": {}}
    for name, row in made["categories"].items():
        values = rng.normal(size=n) + shift * LABELS
        made["images"][name] = {"labels": LABELS.astype(int).tolist(), "scores": values.tolist()}
        own = score_images(values, LABELS)
        row |= {f"image_{k}": own[k] for k in ("auroc", "ap", "f1_max")}
    for metric in made["mean"]:
        made["mean"][metric] = float(np.mean([made["categories"][c][metric] for c in CATEGORIES]))
    return made


def test_image_scores_give_intervals_over_images(tmp_path: Path) -> None:
    made = with_scores("dinomaly", 0, 1.0)
    one = made | {"categories": {"nut": made["categories"]["nut"]}}
    one["mean"] = one["categories"]["nut"]
    section = section_of(tmp_path, one)
    drawn = paired.draw(section, resamples=4_000)
    scores = np.array(made["images"]["nut"]["scores"])
    for metric, known in image_intervals(scores, LABELS, resamples=4_000).items():
        low, high = np.quantile(drawn["dinomaly"].values[f"image_{metric}"], [0.025, 0.975])
        assert (low, high) == pytest.approx((known.low, known.high), abs=0.02)
    shown = tables.intervals_table(section, drawn)
    assert shown is not None
    assert re.fullmatch(r"\d+\.\d to \d+\.\d", str(shown.loc["dinomaly", "image AUROC"]))
    assert shown.loc["dinomaly", "AUPRO"] == "–"
    assert tables.intervals_table(section, {}) is None


def test_arms_are_compared_on_the_same_draws_of_images(tmp_path: Path) -> None:
    strong = [with_scores("dinomaly", seed, 2.5) for seed in (0, 1)]
    weak = [with_scores("pro-ad", seed, 0.0) for seed in (0, 1)]
    copy = [r | {"method": "prn"} for r in strong]
    section = section_of(tmp_path, *strong, *weak, *copy)
    found = paired.compare(section, ("image_auroc",), draws=paired.draw(section))
    rows = found.set_index(["first", "second"]).filter(like="images_")
    assert rows.loc[("dinomaly", "prn")].tolist() == [0.0, 0.0, 0.0, 80, 1.0]
    mean, low, high, n, p = rows.loc[("dinomaly", "pro-ad")]
    assert p == pytest.approx(3 / 1_001)  # none of 1,000 draws is against it; three pairs
    assert low < mean < high
    assert n == 80
    means = [np.mean([r["mean"]["image_auroc"] for r in part]) for part in (strong, weak)]
    assert mean == pytest.approx(means[0] - means[1])


def test_each_category_draws_its_own_images_and_all_seeds_the_same(tmp_path: Path) -> None:
    made = with_scores("dinomaly", 0, 1.0)
    nut, scores = made["categories"]["nut"], made["images"]["nut"]
    many = made | {"categories": dict.fromkeys(CATEGORIES, nut), "mean": nut}
    many["images"] = dict.fromkeys(CATEGORIES, scores)
    one = made | {"categories": {"nut": nut}, "mean": nut}

    def drawn(*records: dict[str, Any]) -> np.ndarray:
        section = section_of(tmp_path, *records)
        return paired.draw(section, resamples=4_000)["dinomaly"].values["image_auroc"]

    single = drawn(one)
    assert drawn(many).std() == pytest.approx(single.std() / 2, rel=0.05)  # over sqrt(4)
    np.testing.assert_allclose(drawn(one, one | {"seed": 1}), single)


def test_scores_must_fit_their_record(tmp_path: Path) -> None:
    assert paired.draw(section_of(tmp_path, record())) == {}
    good, wrong, other, lacking, few = (with_scores("dinomaly", i, 1.0) for i in range(5))
    wrong["categories"]["nut"]["image_auroc"] = 0.123
    other["images"]["bolt"]["labels"] = [1, 0] * 10
    del lacking["images"]["bolt"]
    few["images"]["bolt"]["labels"] = [1] * 19 + [0]
    for words, *records in (
        (r"point_0, nut: the scores give image AUROC 0\.\d{4}, the record says 0.123", wrong),
        ("point_1, bolt: other labels than point_0 has", good, other),
        ("point_1: its images have no category 'bolt'", good, lacking),
        ("point_0, bolt: drawing images needs two of each kind, got 1 normal and 19", few),
    ):
        with pytest.raises(ValueError, match=words):
            paired.draw(section_of(tmp_path, *records))


def test_a_records_own_intervals_are_combined(tmp_path: Path) -> None:
    made = record()
    made["intervals"] = {
        c: {"aupro": [row["aupro"] - 0.02, row["aupro"] + 0.04]}
        for c, row in made["categories"].items()
    }
    section = section_of(tmp_path, made)
    low, high = tables.images_interval(section, "dinomaly", MEAN, "aupro", {}) or (0, 0)
    mean = made["mean"]["aupro"]
    assert (mean - low, high - mean) == pytest.approx((0.02 / 2, 0.04 / 2))  # over sqrt(4)
    own = tables.images_interval(section, "dinomaly", "nut", "aupro", {})
    assert own == pytest.approx(tuple(made["intervals"]["nut"]["aupro"]))
    assert tables.with_interval(section, "dinomaly", "aupro") == (
        f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f}*)"
    )
    del made["intervals"]["nut"]
    section = section_of(tmp_path, made)
    assert tables.images_interval(section, "dinomaly", MEAN, "aupro", {}) is None
