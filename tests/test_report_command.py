"""A folder's records become a report beside the published numbers, on paper and on the terminal."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tyro

from adlib.methods import METHODS
from adlib.metrics import PROTOCOLS, image_intervals, score_images
from adlib.report import images, paired, plots, ranks, tables
from adlib.report.command import Report, report
from adlib.report.composition import HEADLINE, compose
from adlib.report.document import Document, Heading, Table, markdown_table
from adlib.report.folder import read_folder
from adlib.report.published import MEAN, published
from adlib.report.reproduction import (
    OURS,
    beside,
    claims,
    data_name,
    join_categories,
    reproduction,
    setting_of,
    summary,
)
from adlib.report.summary import TITLES
from tests.made_records import CATEGORIES, folder_of, noisy, record, section_of

LABELS = np.arange(20) % 3 > 0
MVTEC = [
    row.category
    for row in published(data="mvtec-ad", method="PRN", metric="pixel_auroc", run="paper")
    if row.category != MEAN
]


def with_scores(method: str, seed: int, shift: float, n: int = 20) -> dict[str, Any]:
    """A record whose metrics are those of the image scores that it holds."""
    rng = np.random.default_rng([seed, len(method)])
    made = record(method, seed)
    scores = {c: rng.normal(size=n) + shift * LABELS for c in CATEGORIES}
    made["images"] = images.by_category(
        [c for c in CATEGORIES for _ in range(n)],
        np.tile(LABELS, len(CATEGORIES)),
        np.concatenate(list(scores.values())),
    )
    for name, values in scores.items():
        own = score_images(values, LABELS)
        made["categories"][name] |= {f"image_{k}": own[k] for k in ("auroc", "ap", "f1_max")}
    for metric in made["mean"]:
        made["mean"][metric] = float(np.mean([made["categories"][c][metric] for c in CATEGORIES]))
    return made


def test_image_scores_give_intervals_over_images(tmp_path: Path) -> None:
    made = with_scores("dinomaly", 0, 1.0)
    one = made | {"categories": {"nut": made["categories"]["nut"]}}
    one["mean"] = one["categories"]["nut"]
    section = section_of(tmp_path, one)
    drawn = images.draw(section, resamples=4_000)
    scores = np.array(made["images"]["nut"]["scores"])
    for metric, known in image_intervals(scores, LABELS, resamples=4_000).items():
        low, high = np.quantile(drawn["dinomaly"].values[f"image_{metric}"], [0.025, 0.975])
        assert (low, high) == pytest.approx((known.low, known.high), abs=0.02)
    shown = tables.intervals_table(section, drawn)
    assert shown is not None
    assert re.fullmatch(r"\d+\.\d to \d+\.\d", str(shown.loc["dinomaly", "image AUROC"]))
    assert shown.loc["dinomaly", "AUPRO"] == "–"


def test_arms_are_compared_on_the_same_draws_of_images(tmp_path: Path) -> None:
    strong = [with_scores("dinomaly", seed, 2.5) for seed in (0, 1)]
    weak = [with_scores("pro-ad", seed, 0.0) for seed in (0, 1)]
    copy = [r | {"method": "prn"} for r in strong]
    section = section_of(tmp_path, *strong, *weak, *copy)
    found = paired.compare(section, ("image_auroc",), draws=images.draw(section))
    gaps = {(p.first, p.second): p.images for p in found}
    same, apart = gaps["dinomaly", "prn"], gaps["dinomaly", "pro-ad"]
    assert same is not None
    assert apart is not None
    assert (same.mean, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    assert apart.significant
    assert apart.p == pytest.approx(3 / 1_001)  # none of 1,000 draws is against it; three pairs
    assert apart.low < apart.mean < apart.high
    assert apart.n == 80
    mean = [np.mean([r["mean"]["image_auroc"] for r in part]) for part in (strong, weak)]
    assert apart.mean == pytest.approx(mean[0] - mean[1])


def test_scores_must_fit_their_record(tmp_path: Path) -> None:
    made = with_scores("dinomaly", 0, 1.0)
    made["categories"]["nut"]["image_auroc"] = 0.123
    with pytest.raises(
        ValueError, match=r"point_0, nut: the scores give image AUROC 0\.\d{4}, the"
    ):
        images.draw(section_of(tmp_path, made))
    other = with_scores("pro-ad", 0, 1.0)
    other["images"]["bolt"]["labels"] = [1, 0] * 10
    section = section_of(tmp_path, with_scores("dinomaly", 0, 1.0), other)
    with pytest.raises(ValueError, match="point_1, bolt: other labels than point_0 has"):
        images.draw(section)
    del other["images"]["bolt"]
    with pytest.raises(ValueError, match="point_1: its images have no category 'bolt'"):
        images.draw(section_of(tmp_path, with_scores("dinomaly", 0, 1.0), other))
    few = with_scores("dinomaly", 0, 1.0)
    few["images"]["bolt"]["labels"] = [1] * 19 + [0]
    with pytest.raises(
        ValueError, match="point_0, bolt: drawing images needs two of each kind, go"
    ):
        images.draw(section_of(tmp_path, few))
    assert images.draw(section_of(tmp_path, record())) == {}


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
    del made["intervals"]["nut"]
    section = section_of(tmp_path, made)
    assert tables.images_interval(section, "dinomaly", MEAN, "aupro", {}) is None


def mvtec(method: str, change: float = 0.0, **changes: Any) -> dict[str, Any]:
    """A record on MVTec AD, as far as its published mean as is asked for."""
    made = record(method, names=MVTEC, **changes)
    made["data"] = {"name": "mvtec-ad", "hash": "aa" * 32}
    for row in claims("mvtec-ad", method, setting_of(made)):
        made["mean"][row.metric] = row.fraction + change / 100
    return made


DINOMALY: dict[str, Any] = {
    "protocol": {"name": "dinomaly"},
    "encoder": {"name": "dinov2-b", "sha256": "00"},
}


@pytest.mark.parametrize(
    ("change", "state"), [(0.05, "within"), (-0.09, "within"), (-0.8, "below"), (0.8, "above")]
)
def test_a_rerun_is_judged_by_the_drift_of_others(
    tmp_path: Path, change: float, state: str
) -> None:
    section = section_of(tmp_path, mvtec("dinomaly", change, **DINOMALY))
    frame = reproduction([section])
    ran = frame[(frame["method"] == "Dinomaly") & (frame["setting"] == "multi-class")]
    assert len(ran) == 7
    assert set(ran["state"]) == {state}
    assert set(ran["but"]) == {""}
    assert all("reruns, the farthest by" in str(why) for why in ran["tolerance_from"])
    assert set(frame[frame["method"] == "INP-Former"]["state"]) == {"not run"}


@pytest.mark.parametrize(
    ("changes", "but"),
    [
        ({"protocol": {"name": "ours"}}, "protocol dinomaly there, ours here"),
        (
            {"protocol": PROTOCOLS["dinomaly"].to_json() | {"mask_rule": "all", "size": [9, 9]}},
            "protocol dinomaly with another mask_rule, size here",
        ),
        ({"names": ("bolt", "nut")}, "2 of 15 categories"),
        ({"masks": False}, "no masks"),
    ],
)
def test_what_cannot_be_compared_is_not_judged(
    tmp_path: Path, changes: dict[str, Any], but: str
) -> None:
    names: Any = changes.pop("names", MVTEC)
    made = record("dinomaly", names=names, **({**DINOMALY, **changes}))
    made["data"] = {"name": "mvtec_anomaly_detection", "hash": "bb"}
    frame = reproduction([section_of(tmp_path, made)])
    row = frame[(frame["method"] == "Dinomaly") & (frame["metric"] == "aupro")].iloc[0]
    assert (row["state"], row["but"]) == ("not judged", but)
    shown = summary(frame)
    ours = shown[shown[""] == "verdict"].iloc[0]
    assert ours["AUPRO"] == "not judged"
    assert but in str(ours["remark"])


def test_doubts_are_named(tmp_path: Path) -> None:
    made = [mvtec("pro-ad"), mvtec("prn", arm={"method": "prn", "name": "PRN"})]
    frame = reproduction([section_of(tmp_path, *made)])
    found = frame[frame["seeds"] > 0].groupby("method").first()
    assert found.loc["Pro-AD", "but"] == (
        "protocol there unknown; encoder dinov2-b there, vit-tiny here"
    )
    assert found.loc["PRN", ["state", "but"]].tolist() == [
        "not judged",
        "no rerun to judge by; protocol there unknown",
    ]


def test_a_model_for_each_category_counts_as_one_run_of_them_all(tmp_path: Path) -> None:
    one_each = [
        record("prn", seed=seed, names=(name,), level=0.5 + 0.01 * i + 0.1 * seed)
        | {"data": {"name": "mvtec-ad", "hash": f"{i:02}"}}
        for seed in (0, 1)
        for i, name in enumerate(MVTEC)
        if (seed, name) != (1, MVTEC[3])  # of seed 1 one category is missing
    ]
    sections = read_folder(folder_of(tmp_path, *one_each)).sections
    assert len(sections) == len(MVTEC)
    found = reproduction(sections)
    row = found.query("method == 'PRN' and metric == 'image_auroc'").iloc[0]
    assert row["seeds"] == 1
    assert row["ours"] == pytest.approx(100 * np.mean([0.5 + 0.01 * i for i in range(15)]))
    assert row["but"] == "no rerun to judge by; protocol there unknown"
    few = [made for made in one_each if made["data"]["hash"] in ("00", "01") and not made["seed"]]
    found = reproduction(read_folder(folder_of(tmp_path, *few)).sections)
    assert set(found.query("method == 'PRN' and seeds > 0")["but"]) == {"2 of 15 categories"}
    twice = [*few, few[0] | {"data": {"name": "mvtec-ad", "hash": "99"}}]  # other images of it
    apart = read_folder(folder_of(tmp_path, *twice)).sections
    assert join_categories(apart) == apart


def test_our_methods_and_data_sets_are_known_by_name() -> None:
    assert set(METHODS) <= set(OURS)
    assert [data_name(n) for n in ("MVTec", "mvtec_ad", "VisA", "Real-IAD", "parts")] == [
        "mvtec-ad", "mvtec-ad", "visa", "real-iad", None,
    ]  # fmt: skip
    everything = reproduction([], everywhere=True)
    assert set(everything["state"]) == {"not run"}
    assert set(everything["data"]) == {"mvtec-ad", "visa", "real-iad", "btad"}
    assert reproduction([]).empty


def test_published_rows_stand_below_ours(tmp_path: Path) -> None:
    section = section_of(tmp_path, mvtec("dinomaly", **DINOMALY))
    theirs = beside(section)
    assert theirs is not None
    assert theirs.loc["MambaAD", ["image AUROC", "mark"]].tolist() == ["98.6", "second-hand"]
    assert theirs.loc["Pro-AD", ["pixel AUROC", "AUPRO"]].tolist() == ["98.8", "–"]
    assert "PRN" not in theirs.index  # supervised; nothing here was
    assert beside(section_of(tmp_path, record())) is None


def test_the_report_is_written_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "in", tmp_path / "deep" / "out"
    folder.mkdir()
    made = [*noisy("dinomaly", 0.7), *noisy("pro-ad", 0.6), *noisy("prn", 0.65)]
    folder_of(folder, *made)
    report(Report(folder=folder, out=out))
    said = capsys.readouterr().out
    text = (out / "report.txt").read_text()
    assert said.startswith(text)
    assert said.endswith(f"12 files written to {out}, first of all report.md\n")
    assert "benchmark: parts, protocol ours\n====" in text
    assert "The records hold no scores of single images" in text
    stems = ["forest-benchmark-parts-protocol-ours"]
    stems += [f"ranks-benchmark-parts-protocol-ours-{m.replace('_', '-')}" for m in HEADLINE]
    for stem in stems:
        assert (out / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (out / f"{stem}.svg").read_text()
        assert f"]({stem}.svg)" in (out / "report.md").read_text()
    results = pd.read_csv(out / "results.csv")
    assert len(results) == 3 * 5 * 7  # arms, categories and their mean, metrics
    assert len(pd.read_csv(out / "runs.csv")) == 9
    assert len(pd.read_csv(out / "pairs.csv")) == 3 * 7
    assert not (out / "published.csv").exists()
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    report(Report(folder=folder, out=out))
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before  # the same bytes each time


def test_data_sets_whose_names_have_no_latin_letter_keep_their_own_figures(tmp_path: Path) -> None:
    names = {"螺丝": "ab" * 12, "螺母": "cd" * 12}
    made = [record(data={"name": n, "hash": h}, level=0.5) for n, h in names.items()]
    figures = list(compose(read_folder(folder_of(tmp_path, *made))).figures)
    assert [f for f in figures if f.startswith("forest-")] == [
        "forest-benchmark-protocol-ours",
        "forest-benchmark-protocol-ours-cdcdcdc",
    ]


def test_deleting_a_record_shows_in_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [
        record(m, s, level) for m, level in (("dinomaly", 0.7), ("pro-ad", 0.6)) for s in (0, 1)
    ]
    report(Report(folder=folder_of(tmp_path, *made)))
    assert "not run" not in capsys.readouterr().out
    lines = (tmp_path / "benchmark.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "benchmark.jsonl").write_text("".join(lines[:-1]))
    report(Report(folder=tmp_path))
    said = capsys.readouterr().out
    assert re.search(r"pro-ad +63\.0 +not run", said)  # its row of single runs
    assert re.search(r"pro-ad +1 of 2 +63\.0 ", said)


def test_requests_that_cannot_be_met(tmp_path: Path) -> None:
    folder_of(tmp_path, record(), record("pro-ad"))
    with pytest.raises(ValueError, match=r"no arm 'prn'; there are dinomaly; pro-ad"):
        report(Report(folder=tmp_path, against="prn"))
    document = compose(read_folder(tmp_path), against="pro-ad", everywhere=True)
    assert set(document.numbers["pairs"]["first"]) == {"pro-ad"}
    assert set(document.numbers["published"]["state"]) == {"not run"}
    assert "Pro-AD" in document.text()


def test_the_command_line_is_read() -> None:
    words = ["book/results", "--out", "made", "--against", "dinomaly", "--published"]
    assert tyro.cli(Report, args=words) == Report(
        folder=Path("book/results"), out=Path("made"), against="dinomaly", published=True
    )
    assert tyro.cli(Report, args=["runs"]) == Report(folder=Path("runs"))


def test_blocks_become_text_and_markdown() -> None:
    frame = pd.DataFrame({"a|b": ["1", "not run"]}, index=["x", "y"]).rename_axis("arm")
    assert markdown_table(frame) == ("| arm | a\\|b |\n| --- | --- |\n| x | 1 |\n| y | not run |")
    document = Document([Heading(2, "Cost"), "word " * 30, Table("Each", frame)])
    assert document.text().startswith("Cost\n----\n\nword ")
    assert max(map(len, document.text().splitlines())) <= 100
    assert document.markdown().startswith("## Cost\n\nword ")


def test_the_forest_shows_seeds_means_intervals_and_claims(tmp_path: Path) -> None:
    made = [mvtec("dinomaly", change, seed=s, **DINOMALY) for s, change in ((0, -1.0), (1, -2.0))]
    section = section_of(tmp_path, *made)
    figure = plots.forest(section, ("image_auroc", "aupro"), {})
    panels = figure.axes
    assert [a.get_xlabel() for a in panels] == ["image AUROC, %", "AUPRO, %"]
    marks = {str(line.get_label()): line.get_xdata() for line in panels[0].lines}
    assert marks["a seed"] == pytest.approx([98.6, 97.6])
    assert marks["mean over seeds"] == pytest.approx([98.1])
    assert marks["published"] == pytest.approx([99.6])
    assert "95 % over test images" not in marks


def test_forests_stand_below_each_other_and_say_which_metric_is_missing(tmp_path: Path) -> None:
    solar: dict[str, Any] = {"data": {"name": "solar", "hash": "50" * 24}, "masks": False}
    made = [record(m, s, **d) for m in ("dinomaly", "pro-ad") for s in (0, 2) for d in ({}, solar)]
    sections = read_folder(folder_of(tmp_path, *made)).sections
    figure = plots.forests(sections, HEADLINE, [{}, {}])
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "image AUROC, %", "pixel AP, %", "image AUROC, %", "no pixel AP: no masks",
    ]  # fmt: skip
    titles = [part.get_suptitle() for part in figure.subfigs]
    assert titles == [f"benchmark: {d}, protocol ours, seeds 0, 2" for d in ("parts", "solar")]
    below = [label.get_text() for label in figure.axes[2].get_yticklabels()]
    assert below == ["dinomaly", "pro-ad"]


def test_the_rank_diagram_joins_groups() -> None:
    found = ranks.Ranks("aupro", ("a", "b", "c", "d"), (1.5, 1.5, 3.0, 4.0), 4, 0.01, 2.5)
    axes = plots.rank_diagram(found).axes[0]
    bars = [line for line in axes.lines if line.get_linewidth() == 3.5]
    ends = [tuple(np.round(np.asarray(bar.get_xdata(), float), 2)) for bar in bars]
    assert ends == [(1.47, 3.03), (2.97, 4.03)]
    words = [text.get_text() for text in axes.texts]
    assert "critical difference 2.50" in words
    assert " a  1.50 " in words
    assert TITLES["aupro"] in axes.get_title()


def test_a_record_as_json_is_what_evaluate_returns() -> None:
    assert json.loads(json.dumps(record())) == record()


def test_each_category_draws_its_own_images_and_all_seeds_the_same(tmp_path: Path) -> None:
    made = with_scores("dinomaly", 0, 1.0)
    nut, scores = made["categories"]["nut"], made["images"]["nut"]
    many = made | {"categories": dict.fromkeys(CATEGORIES, nut), "mean": nut}
    many["images"] = dict.fromkeys(CATEGORIES, scores)
    one = made | {"categories": {"nut": nut}, "mean": nut}

    def drawn(*records: dict[str, Any]) -> np.ndarray:
        section = section_of(tmp_path, *records)
        return images.draw(section, resamples=4_000)["dinomaly"].values["image_auroc"]

    single = drawn(one)
    assert drawn(many).std() == pytest.approx(single.std() / 2, rel=0.05)  # over sqrt(4)
    np.testing.assert_allclose(drawn(one, one | {"seed": 1}), single)
