"""Records are kept apart, averaged, tested and ranked as statistics says."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, studentized_range, ttest_rel

from adlib.report import findings, images, paired, ranks, tables
from adlib.report.folder import read_folder
from adlib.report.published import METRICS
from adlib.report.records import Section, divide
from adlib.report.summary import TITLES
from tests.made_records import folder_of, noisy, record, section_of


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
    assert len(found) == 2
    assert len({section.title for section in found}) == 2  # parts, protocol ours, crop null; ...
    for section, made in zip(found, (one, unlike), strict=True):
        shown = tables.metrics_table(section)
        assert shown.loc["dinomaly", "seeds"] == "1 of 2"
        for metric in METRICS:
            assert shown.loc["dinomaly", TITLES[metric]] == f"{100 * made['mean'][metric]:.1f}"
        assert paired.compare(section, METRICS) == []


def test_a_deleted_record_is_not_run(tmp_path: Path) -> None:
    parts: dict[str, Any] = {}
    solar: dict[str, Any] = {"data": {"name": "solar", "hash": "50" * 24}}
    made = [
        record(m, s, **d) for m in ("dinomaly", "pro-ad") for s in (0, 1) for d in (parts, solar)
    ]
    left = [r for r in made if (r["method"], r["data"]["name"]) != ("pro-ad", "solar")]
    left.remove(record("dinomaly", 1))
    first, cells = read_folder(folder_of(tmp_path, *left)).sections
    whole, seeds = tables.metrics_table(cells), tables.seeds_table(first, "image_auroc")
    assert set(whole.loc["pro-ad"]) == {"not run"}
    assert "not run" not in set(whole.loc["dinomaly"])
    assert seeds.loc["dinomaly"].tolist() == ["53.0", "not run"]
    assert tables.metrics_table(first).loc["dinomaly", "seeds"] == "1 of 2"
    assert set(tables.categories_table(cells, "aupro").loc["pro-ad"]) == {"not run"}
    assert set(tables.cost_table(cells).loc["pro-ad"]) == {"not run"}
    seen = tables.overview([first, cells], "image_auroc")
    assert seen["solar, protocol ours"].to_dict() == {"dinomaly": "53.0 (1)", "pro-ad": "not run"}


def test_an_arm_is_a_method_and_its_settings(tmp_path: Path) -> None:
    short: dict[str, Any] = {
        "steps": 400,
        "config": {"steps": 400, "weights": "/elsewhere/w", "lr": 0.002},
    }
    section = section_of(
        tmp_path,
        record(),
        record(seed=1, config={"steps": 800, "lr": 0.002, "offline": True}),  # the same arm
        record(**short),
        record("patchcore"),
        record("pro-ad", arm={"method": "pro-ad", "constraint": "none"}),
    )
    assert section.arms == ("dinomaly, steps 400", "dinomaly, steps 800", "patchcore", "none")
    assert [run.seed for run in section.of("dinomaly, steps 800")] == [0, 1]
    others: list[dict[str, Any]] = [{"precision": "bfloat16"}, {"encoder": {"name": "x"}}]
    for changes in others:
        assert len(section_of(tmp_path, record(), record(seed=1, **changes)).arms) == 2


def test_what_is_held_out_sets_arms_apart(tmp_path: Path) -> None:
    older, newer = record(), record(seed=1, holdout=0.1)
    assert section_of(tmp_path, older, newer).arms == ("dinomaly",)  # the older one does not say
    section = section_of(
        tmp_path,
        older,
        newer,
        record(holdout=0.5),
        record(holdout=0),
        record(seed=1, holdout=0.0),
    )
    seeds = {arm: [run.seed for run in section.of(arm)] for arm in section.arms}
    assert seeds == {
        "dinomaly, holdout 0.0": [0, 1],
        "dinomaly, holdout 0.1": [1],
        "dinomaly, holdout 0.5": [0],
        "dinomaly, holdout –": [0],
    }


def test_sources_are_apart_and_a_seed_counts_once(tmp_path: Path) -> None:
    folder_of(tmp_path, record(level=0.4), name="first")
    sections = read_folder(folder_of(tmp_path, record(level=0.6), name="second")).sections
    assert [s.title.split(":")[0] for s in sections] == ["first", "second"]
    folder_of(tmp_path, record(), record(level=0.6), name="first")
    with pytest.raises(ValueError, match=r"two runs of dinomaly, seed 0: point_0 and point_1; a "):
        read_folder(tmp_path)


def test_records_are_found_in_every_form(tmp_path: Path) -> None:
    made = record()
    (tmp_path / "lines.jsonl").write_text(json.dumps(made) + "\n" + json.dumps({"id": "x"}) + "\n")
    sweep = tmp_path / "sweep-a"
    (sweep / "failed").mkdir(parents=True)
    (sweep / "failed" / "seed=3_0123abcd.json").write_text("{}")
    folder_of(sweep, made, name="records")
    for seed in (0, 1):
        (tmp_path / f"run{seed}").mkdir()
        (tmp_path / f"run{seed}" / "record.json").write_text(json.dumps(record(seed=seed)))
        (tmp_path / f"run{seed}" / "run.json").write_text('{"method": "dinomaly"}')
    found = read_folder(tmp_path)
    assert [s.source for s in found.sections] == ["lines", "sweep-a", tmp_path.name]
    assert [len(s.runs) for s in found.sections] == [1, 1, 2]
    assert found.notes == [
        "lines: 1 of 2 lines hold no record",
        "sweep-a: 1 runs failed, such as seed=3_0123abcd",
    ]
    assert read_folder(sweep).sections[0].source == "sweep-a"
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no record in .*empty; expected \*\.jsonl of sw"):
        read_folder(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"no folder .*absent; expected one that holds"):
        read_folder(tmp_path / "absent")
    with pytest.raises(NotADirectoryError, match=r"lines\.jsonl is a file; expected the folder"):
        read_folder(tmp_path / "lines.jsonl")
    (tmp_path / "run0" / "seedless.json").write_text(json.dumps(made | {"seed": None}))
    assert read_folder(tmp_path).notes[-1].startswith("run0/seedless.json: a record without seed")
    (tmp_path / "run0" / "broken.json").write_text("{")
    with pytest.raises(ValueError, match=r"run0/broken\.json cannot be read as JSON: "):
        read_folder(tmp_path)


def test_a_run_may_leave_a_record_for_each_protocol(tmp_path: Path) -> None:
    other: dict[str, Any] = {"protocol": {"name": "mvtec"}}
    lines = [
        {"id": f"p{i}", "files": {"record.json": record(m), "record_mvtec.json": record(m, **other),
                                  "losses.json": {"step": [1]}}}
        for i, m in enumerate(("dinomaly", "pro-ad"))
    ]  # fmt: skip
    lines.append({"id": "p2", "files": {"losses.json": {}}})
    (tmp_path / "benchmark.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    found = read_folder(tmp_path)
    assert [(s.protocol, s.ran()) for s in found.sections] == [
        ("ours", ["dinomaly", "pro-ad"]), ("mvtec", ["dinomaly", "pro-ad"]),
    ]  # fmt: skip
    assert [run.id for s in found.sections for run in s.of("pro-ad")] == [
        "p1", "p1/record_mvtec.json",
    ]  # fmt: skip
    assert found.notes == ["benchmark: 1 of 3 lines hold no record"]


def test_a_few_normal_images_drawn_by_the_seed_are_one_arm(tmp_path: Path) -> None:
    made = [
        record(seed=s, trained_on={"hash": f"{k}{s}"}, few={"images": k, "of": "c0ffee" * 8})
        for k in (5, 10)
        for s in (0, 1)
    ]
    section = section_of(tmp_path, *made)
    assert section.arms == ("dinomaly, normal images 5", "dinomaly, normal images 10")
    assert [run.seed for run in section.of("dinomaly, normal images 10")] == [0, 1]


def test_arms_of_a_method_stand_together_and_their_names_say_what_is_set(tmp_path: Path) -> None:
    deep: dict[str, Any] = {"config": {"layers": [0, 1, 2, 3]}}
    gaps: dict[str, Any] = {"config": {"layers": [0, 1, 7]}}
    whole: dict[str, Any] = {"config": {"layers": None}}
    made = [record(m, steps=n, **whole) for n in (1600, 400) for m in ("pro-ad", "dinomaly")]
    section = section_of(tmp_path, *made, record("dinomaly", **deep), record("dinomaly", **gaps))
    assert section.arms == (
        "pro-ad, steps 400",
        "pro-ad, steps 1600",
        "dinomaly, layers 0 to 3, steps 800",
        "dinomaly, layers [0, 1, 7], steps 800",
        "dinomaly, steps 400",
        "dinomaly, steps 1600",
    )
    made = [record(few={"images": k, "of": "c0ffee" * 8}) for k in (10, 25, 5)]
    assert [arm.split()[-1] for arm in section_of(tmp_path, *made).arms] == ["5", "10", "25"]


def test_numbers_are_mean_deviation_and_students_interval(tmp_path: Path) -> None:
    section = section_of(tmp_path, *noisy("dinomaly", 0.6))
    values = section.values("dinomaly", "pixel_ap")
    assert values.shape == (3, 4)
    rows = tables.results(section, {}).set_index(["category", "metric"])
    row = rows.loc[("part2", "pixel_ap")]
    assert row["mean"] == pytest.approx(values[:, 2].mean())
    assert row["deviation"] == pytest.approx(values[:, 2].std(ddof=1))
    known = ttest_rel(values[:, 2], np.zeros(3)).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((known.low, known.high))
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
    assert gap is not None
    assert gap.n == 2
    assert gap.p == pytest.approx(known.pvalue)
    assert gap.mean == pytest.approx((one - other).mean())
    assert gap.low == pytest.approx(known.confidence_interval(0.95).low)
    single = section_of(tmp_path, record(), record("pro-ad", 1))
    assert paired.over_seeds(single, "dinomaly", "pro-ad", "aupro") is None
    even = [record("dinomaly", s, 0.5 + s / 8) for s in (0, 1)]
    even += [record("pro-ad", s, 0.25 + s / 8) for s in (0, 1)]
    gap = paired.over_seeds(section_of(tmp_path, *even), "dinomaly", "pro-ad", "aupro")
    assert gap is not None
    assert (gap.mean, gap.low, gap.high, gap.p) == pytest.approx((0.25, 0.25, 0.25, 0))


def test_categories_are_compared_by_all_flips_of_signs(tmp_path: Path) -> None:
    section = section_of(tmp_path, *noisy("dinomaly", 0.6, n=6), *noisy("pro-ad", 0.595, n=6))
    gap = paired.over_categories(section, "dinomaly", "pro-ad", "image_ap")
    assert gap is not None
    gaps = (section.values("dinomaly", "image_ap") - section.values("pro-ad", "image_ap")).mean(0)
    flipped = [abs(np.mean(gaps * signs)) for signs in product((1, -1), repeat=6)]
    p = np.mean(np.array(flipped) >= abs(gaps.mean()) - 1e-12)
    assert 0.05 < p < 1
    assert gap.p == pytest.approx(p)
    assert (gap.mean, gap.n) == (pytest.approx(gaps.mean()), 6)
    alone = section_of(tmp_path, record(names=("bolt",)), record("pro-ad", names=("bolt",)))
    assert paired.over_categories(alone, "dinomaly", "pro-ad", "image_ap") is None


def test_holm_orders_and_multiplies() -> None:
    assert paired.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert paired.holm([0.9, 0.8]) == [1.0, 1.0]
    assert paired.holm([]) == []


def test_many_arms_are_compared_with_one() -> None:
    arms = [f"arm{i}" for i in range(7)]
    assert len(paired.choose_pairs(arms[:6], None)) == 15
    assert paired.choose_pairs(arms, None) == [("arm0", arm) for arm in arms[1:]]
    assert paired.choose_pairs(arms[:3], "arm2") == [("arm2", "arm0"), ("arm2", "arm1")]
    with pytest.raises(ValueError, match="no runs of 'arm9' to compare with; there are arm0, arm1"):
        paired.choose_pairs(arms[:2], "arm9")


def test_comparing_adjusts_within_a_metric(tmp_path: Path) -> None:
    made = [*noisy("dinomaly", 0.7), *noisy("pro-ad", 0.6), *noisy("prn", 0.65)]
    section = section_of(tmp_path, *made)
    found = paired.compare(section, ("image_auroc", "aupro"))
    assert [pair.metric for pair in found] == ["image_auroc"] * 3 + ["aupro"] * 3
    raw = [paired.over_seeds(section, p.first, p.second, "aupro") for p in found[3:]]
    adjusted = [p.seeds.p for p in found[3:] if p.seeds]
    assert adjusted == pytest.approx(paired.holm([gap.p or 0.0 for gap in raw if gap]))


def test_friedman_agrees_with_its_approximations() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(loc=[0, 0, 0.3, 0.5], size=(30, 4))
    p, critical = ranks.friedman(ranks.rank(values))
    assert p == pytest.approx(friedmanchisquare(*values.T).pvalue, abs=0.01)
    q = studentized_range.ppf(0.95, 4, np.inf) / np.sqrt(2)
    assert critical == pytest.approx(q * np.sqrt(4 * 5 / (6 * 30)), abs=2 / 30)  # Nemenyi's


def test_few_categories_cannot_decide() -> None:
    two = np.array([[0.9, 0.1]])
    # Two arms in n categories: all one way has probability 2 / 2^n.
    assert ranks.friedman(ranks.rank(two.repeat(5, axis=0)))[1] is None  # 0.0625
    p, critical = ranks.friedman(ranks.rank(two.repeat(6, axis=0)))
    assert critical == 1.0
    assert p == pytest.approx(2 / 64, abs=0.005)
    assert ranks.rank(np.array([[0.3, 0.7, 0.7]])).tolist() == [[3.0, 1.5, 1.5]]


def test_groups_join_what_is_not_told_apart() -> None:
    def groups(average: tuple[float, ...], critical: float | None) -> list[tuple[str, ...]]:
        arms = tuple("abcd"[: len(average)])
        return ranks.Ranks("aupro", arms, average, 5, 0.01, critical).groups()

    assert groups((1.5, 1.5, 3.0, 4.0), 2.5) == [("a", "b", "c"), ("c", "d")]
    assert groups((1.0, 2.0, 3.5), 1.5) == [("a", "b")]
    assert groups((1.0, 2.0), None) == [("a", "b")]
    assert groups((1.0, 2.0), 0.5) == []


def test_average_ranks_leave_out_who_lacks_a_value(tmp_path: Path) -> None:
    made = [record("dinomaly", level=0.7), record("pro-ad", level=0.6)]
    made += [record("prn", level=0.8, masks=False)]
    section = section_of(tmp_path, *made)
    found = ranks.average_ranks(section, "aupro")
    assert found is not None
    assert (found.arms, found.average) == (("dinomaly", "pro-ad"), (1.0, 2.0))
    assert found.left_out == ("prn",)
    assert ranks.average_ranks(section_of(tmp_path, record()), "aupro") is None


def say(section: Section, metric: str = "image_auroc") -> str:
    drawn = images.draw(section)
    pairs = paired.compare(section, (metric,), draws=drawn)
    return findings.finding(section, metric, pairs, ranks.average_ranks(section, metric))


def test_sentences_say_what_is_significant(tmp_path: Path) -> None:
    clear = say(section_of(tmp_path, *noisy("dinomaly", 0.8, n=9), *noisy("pro-ad", 0.6, n=9)))
    assert (
        "Over seeds (paired t-test) 1 of 1 differences is significant: dinomaly over pro" in clear
    )
    assert (
        "Over categories (sign flips) 1 of 1 differences is significant: dinomaly over p" in clear
    )
    assert "9 categories, p = 0.0039)" in clear  # 2 / 2^9
    assert "the records hold no image scores" in clear
    alike = say(section_of(tmp_path, *noisy("dinomaly", 0.6), *noisy("pro-ad", 0.6)))
    assert "Over seeds (paired t-test) no difference of 1 is significant; the largest is" in alike
    assert "nor can it be: with 4 no p-value lies below 0.125" in alike
    assert "with so few categories no difference of ranks could be significant" in alike


def test_sentences_say_what_cannot_be_said(tmp_path: Path) -> None:
    assert "Only one arm ran" in say(section_of(tmp_path, record()))
    one = [record(names=("bolt",)), record("pro-ad", names=("bolt",))]
    assert say(section_of(tmp_path, *one)).startswith("By image AUROC, on bolt: dinomaly (50.0); ")
    section = section_of(tmp_path, record(masks=False), record("pro-ad", masks=False))
    assert say(section, "aupro") == "No run has AUPRO: there were no masks."
    assert "no two arms have two seeds in common" in say(section)


def test_the_short_form_names_whom_the_seeds_tell_from_the_first(tmp_path: Path) -> None:
    made = [*noisy("pro-ad", 0.6), *noisy("dinomaly", 0.8), *noisy("prn", 0.79)]
    section = section_of(tmp_path, *made)
    pairs = paired.compare(section, ("image_auroc",), draws={})
    (mean,) = tables.metrics_table(section).loc[["dinomaly"], "image AUROC"]
    assert findings.in_short(section, "image_auroc", pairs) == (
        f"by image AUROC dinomaly ({mean}); the seeds tell it from pro-ad, 1 of 2 others"
    )
    alike = section_of(tmp_path, *noisy("dinomaly", 0.6), *noisy("pro-ad", 0.6))
    pairs = paired.compare(alike, ("image_auroc",), draws={})
    assert findings.in_short(alike, "image_auroc", pairs).endswith("tell it from none of 1 others")
    one = section_of(tmp_path, record())
    assert findings.in_short(one, "image_auroc", []) == "nothing to compare by image AUROC"


def test_a_change_of_order_is_named(tmp_path: Path) -> None:
    mvtec: dict[str, Any] = {"protocol": {"name": "mvtec"}}
    made = [record("dinomaly", level=0.7), record("pro-ad", level=0.6)]
    made += [record("dinomaly", level=0.5, **mvtec), record("pro-ad", level=0.6, **mvtec)]
    sections = read_folder(folder_of(tmp_path, *made)).sections
    assert findings.changes_of_order(sections, "aupro") == (
        "By AUPRO the order in parts, protocol ours is dinomaly > pro-ad; it is another one in "
        "parts, protocol mvtec (pro-ad > dinomaly)."
    )
    same = findings.changes_of_order([sections[0], sections[0]], "aupro")
    assert same.endswith("(dinomaly > pro-ad) holds in the other one.")


def test_a_sections_runs_are_named_and_traced(tmp_path: Path) -> None:
    section = section_of(tmp_path, record(), record("pro-ad", commit="fedcba9876"))
    assert tables.provenance(section) == (
        "2 runs; seed 0; data c0ffeec, 4 categories; commit 0123456, fedcba9; cpu, 1 threads; "
        "float32."
    )
    two = section_of(tmp_path, record(seed=2), record("pro-ad", seed=0))
    assert tables.provenance(two).startswith("2 runs; seeds 0, 2; data c0ffeec, ")
    assert tables.runs(section)["commit"].tolist() == ["0123456789", "fedcba9876"]
    assert divide([]) == []


def test_the_interval_over_categories_is_students(tmp_path: Path) -> None:
    made = [*noisy("dinomaly", 0.6, n=6), *noisy("pro-ad", 0.595, n=6, seeds=2)]
    section = section_of(tmp_path, *made)
    gap = paired.over_categories(section, "dinomaly", "pro-ad", "image_ap")
    one = section.values("dinomaly", "image_ap")[:2].mean(axis=0)  # the seeds that both have
    known = ttest_rel(one, section.values("pro-ad", "image_ap").mean(axis=0))
    assert gap is not None
    interval = known.confidence_interval(0.95)
    assert (gap.low, gap.high) == pytest.approx((interval.low, interval.high))
    back = paired.over_categories(section, "pro-ad", "dinomaly", "image_ap")
    assert back is not None
    assert (back.low, back.high, back.p) == pytest.approx((-gap.high, -gap.low, gap.p))


def test_draws_of_images_count_on_both_sides() -> None:
    gaps = np.random.default_rng(0).permutation(np.arange(-39, 961) / 1000)  # 40 are not above 0
    gap = paired.over_images(gaps + 0.5, np.full(1000, 0.5), 0.4, 7)
    assert gap.p == pytest.approx((1 + 2 * 40) / 1001)
    assert (gap.low, gap.high) == pytest.approx((-0.039 + 0.025 * 0.999, 0.96 - 0.025 * 0.999))
    assert (gap.mean, gap.n) == (0.4, 7)
    back = paired.over_images(np.zeros(1000), gaps, -0.4, 7)
    assert (back.low, back.high, back.p) == pytest.approx((-gap.high, -gap.low, gap.p))


def test_categories_are_adjusted_too(tmp_path: Path) -> None:
    made = [r for i, m in enumerate(("dinomaly", "pro-ad", "prn")) for r in noisy(m, 0.6 + i / 9)]
    section = section_of(tmp_path, *made)
    found = paired.compare(section, ("aupro",))
    raw = [paired.over_categories(section, p.first, p.second, "aupro") for p in found]
    assert [gap.p for gap in raw if gap] == pytest.approx([0.125] * 3)  # 2 / 2^4
    assert [p.categories.p for p in found if p.categories] == pytest.approx([0.375] * 3)


def test_ranks_are_of_the_means_over_seeds(tmp_path: Path) -> None:
    made = [record("dinomaly", 0, 0.7), record("dinomaly", 1, 0.3)]
    made += [record("pro-ad", seed, 0.6) for seed in (0, 1)]
    found = ranks.average_ranks(section_of(tmp_path, *made), "aupro")
    assert found is not None
    assert found.arms == ("pro-ad", "dinomaly")


def test_who_is_ahead_is_named_first(tmp_path: Path) -> None:
    made = [*noisy("dinomaly", 0.6, n=9), *noisy("pro-ad", 0.8, n=9)]  # compared the other way
    said = say(section_of(tmp_path, *made))
    assert said.count("1 of 1 differences is significant: pro-ad over dinomaly by ") == 2
    assert "(95 % interval +" in said
    assert "interval -" not in said
