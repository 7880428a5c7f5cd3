"""Published numbers are typed, sourced and marked, and their means agree with their categories."""

from collections import defaultdict
from pathlib import Path

import pytest

from adlib.report import published as module
from adlib.report.published import (
    MEAN,
    Published,
    drifts,
    everything,
    published,
    ranked,
    read,
    tolerance,
)
from adlib.report.reproduction import claims

PRN_TYPO = ("PRN", "mvtec-ad", "image_auroc", "carpet")  # its note explains it
ROUNDING = 0.06  # a mean is rounded by 0.05, that of the categories' roundings is small beside it
LINE = "PRN,,btad,supervised,mean,aupro,78.0,paper,unknown,second-hand,a list,"


def agreeing_means() -> dict[tuple[str, ...], tuple[float, list[float]]]:
    """Each mean that has a row for each of its categories, and these."""
    groups: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    for row in everything():
        key = (row.method, row.variant, row.data, row.setting, row.run, row.metric, row.protocol)
        groups[key].setdefault(row.category, row.per_cent)
    return {
        key: (row.pop(MEAN), list(row.values()))
        for key, row in groups.items()
        if len(row) == module.CATEGORIES[key[2]] + 1
    }


def test_means_agree_with_their_categories() -> None:
    found = agreeing_means()
    assert len(found) == 3 * 7 + 2 + 2  # Dinomaly's three data sets, PRN, and its rerun
    off = {
        key: (mean, round(sum(rows) / len(rows), 2))
        for key, (mean, rows) in found.items()
        if abs(mean - sum(rows) / len(rows)) > ROUNDING
    }
    prn = ("PRN", "", "mvtec-ad", "supervised", "paper", "image_auroc", "unknown")
    assert off == {prn: (99.4, 99.24)}  # the typo below, and nothing else


def test_prns_one_disagreement_is_its_carpet_and_is_explained() -> None:
    rows = published(method="PRN", data="mvtec-ad", metric="image_auroc", run="paper")
    values = {row.category: row.per_cent for row in rows}
    (noted,) = [row for row in rows if row.note and row.category != MEAN]
    assert (noted.method, noted.data, noted.metric, noted.category) == PRN_TYPO
    assert "typo for 99.7" in noted.note
    mean = values.pop(MEAN)
    corrected = values | {"carpet": 99.7}
    assert abs(sum(corrected.values()) / 15 - mean) <= ROUNDING


def test_what_is_only_remembered_is_not_shipped() -> None:
    assert {row.mark for row in everything()} == {"primary", "second-hand"}
    prn = [row for row in published(method="prn") if row.category != MEAN]
    assert {row.metric for row in prn} == {"image_auroc", "pixel_auroc"}
    for rival in ("DevNet", "DRA"):
        assert {(r.category, r.metric) for r in published(method=rival)} == {
            (MEAN, "image_auroc"),
            (MEAN, "pixel_auroc"),
        }
    btad = published(method="PRN", data="btad")
    assert {row.category for row in btad} == {MEAN}
    assert {row.data for row in published(method="PRN")} == {"mvtec-ad", "btad"}


def test_every_row_can_be_looked_up() -> None:
    known = ("arXiv", "repository", "issue", "GitHub", "hyper.ai", "ADer", "anomalib")
    assert all(any(word in row.source for word in known) for row in everything())


@pytest.mark.parametrize("data", ["mvtec-ad", "visa", "real-iad"])
def test_the_named_methods_are_there(data: str) -> None:
    named = "RD4AD UniAD SimpleNet DeSTSeg DiAD ViTAD MambaAD Dinomaly INP-Former HVQ-Trans"
    rows = published(data=data, setting="multi-class", category=MEAN, run="paper")
    complete = defaultdict(set)
    for row in rows:
        complete[row.method].add(row.metric)
    for method in f"{named} ReContrast OmiAD RAD".split():
        assert complete[method] == set(module.METRICS)
    assert complete["Pro-AD"] == {"image_auroc", "pixel_auroc"}
    (figure,) = [r for r in rows if (r.method, r.metric) == ("Pro-AD", "image_auroc")]
    assert figure.mark == "second-hand"


def test_larger_variants_stand_apart_from_the_papers_setting() -> None:
    wanted = {"data": "mvtec-ad", "setting": "multi-class", "category": MEAN, "run": "paper"}
    rows = published(metric="pixel_ap", **wanted)
    values = {(row.method, row.variant): row.per_cent for row in rows}
    assert values["Dinomaly", "DINOv3 ViT-L"] == 74.22
    assert values["CostFilter-AD", "on Dinomaly"] == 75.6
    assert [row.per_cent for row in claims("mvtec-ad", "dinomaly") if row.metric == "pixel_ap"] == [
        values["Dinomaly", "ViT-B"], 68.9,  # the latter one model a category
    ]  # fmt: skip


def test_methods_stand_in_falling_order_by_their_highest_claim() -> None:
    def places(data: str, metric: str, setting: str) -> dict[str, tuple[int, float]]:
        found = ranked(data=data, metric=metric, setting=setting)
        return {row.method: (place, row.per_cent) for place, row in found}

    first = places("mvtec-ad", "image_auroc", "multi-class")
    assert first["Dinomaly2"] == (1, 99.9)
    assert {first[m] for m in ("Pro-AD", "INP-Former++", "ShortcutBreaker")} == {(2, 99.8)}
    assert first["Dinomaly"] == (5, 99.77)  # its ViT-L
    assert places("mvtec-ad", "pixel_ap", "supervised") == {"WeakREST": (1, 87.6), "PRN": (2, 78.6)}
    best = places("real-iad", "image_auroc", "multi-class")
    assert best["RAD"] == (1, 92.0)
    with_moe = places("adnet", "image_auroc", "multi-class")  # the drop never without this one
    assert with_moe == {"Dinomaly-m": (1, 83.2), "best earlier method": (2, 78.5)}


def test_one_category_of_many_methods_is_there() -> None:
    for data, category in (("mvtec-ad", "bottle"), ("mvtec-ad", "screw"), ("visa", "capsules")):
        rows = published(data=data, category=category, setting="multi-class", metric="aupro")
        assert {row.name for row in rows} >= {"dinomaly", "uniad", "rd4ad", "vitad", "realnet"}
    rows = published(category="screw", setting="one-per-category", metric="pixel_auroc")
    assert {(r.method, r.per_cent) for r in rows} == {
        ("PatchCore", 98.9), ("RD4AD", 99.6), ("Dinomaly", 99.7), ("GLASS", 97.1),
    }  # fmt: skip


def test_an_ablation_has_both_sides_and_is_no_claim() -> None:
    sides: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    for row in published(run="ablation"):
        side, part = row.variant.split(" ", 1)
        sides[row.method, part, row.data, row.metric][side] = row.per_cent
    assert all(set(pair) == {"with", "without"} for pair in sides.values())
    noise = sides["Dinomaly", "noise in the bottleneck", "mvtec-ad", "pixel_ap"]
    assert noise["with"] - noise["without"] == pytest.approx(6.18)
    for method in ("dinomaly", "inp-former"):
        assert all(not row.variant.startswith("with") for row in claims("mvtec-ad", method))


def test_only_dinomaly_was_published_with_the_packaged_size() -> None:
    rows = [row for row in everything() if "ViT-S" in row.variant]
    assert {(r.method, r.data, r.category) for r in rows} == {("Dinomaly", "mvtec-ad", MEAN)}
    assert {row.metric for row in rows} == set(module.METRICS)


def test_rows_are_found_by_their_words_and_typos_are_refused() -> None:
    (row,) = published(
        method="dinomaly", data="visa", setting="multi-class", category="pcb2", metric="aupro"
    )
    assert (row.per_cent, row.fraction, row.name) == (91.3, pytest.approx(0.913), "dinomaly")
    assert published(metric=None) == list(everything())
    with pytest.raises(ValueError, match=r"no data 'mvtec'; published are adnet, btad, mvtec-ad"):
        published(data="mvtec")
    with pytest.raises(ValueError, match="no column 'metrics' to choose by; there are method, "):
        published(metrics="aupro")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE.replace("second-hand", "recalled"), "mark 'recalled'; expected one of primary, sec"),
        (LINE.replace("78.0", "780"), r"per_cent must lie in \[0, 100\], got 780.0"),
        (LINE.replace("78.0", "n/a"), "could not convert string to float: 'n/a'"),
        (LINE.replace("aupro", "pro"), "metric 'pro'; expected one of image_auroc, "),
        (LINE.replace("a list", ""), "method, category and source must not be empty"),
        (LINE + ",7", "expected 12 cells, got another number"),
        ("PRN,,btad", "expected 12 cells, got another number"),
        (LINE + "\n" + LINE.replace("78.0", "79.0"), "the same number as in an earlier line: "),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(",".join(module.COLUMNS) + "\n" + LINE.replace("aupro", "pixel_ap") + "\n")
    assert read(path)[0].metric == "pixel_ap"
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=rf"rows\.csv, line [34]: .*{message}"):
        read(path)
    path.write_text("method,value\nPRN,1\n")
    with pytest.raises(ValueError, match=r"expected the columns method, .*, got method, value"):
        read(path)


def test_a_drift_compares_like_with_like() -> None:
    found = drifts(method="INP-Former", data="real-iad", metric="pixel_ap", setting="multi-class")
    (only,) = found  # masks > 0.5: not against the paper's 47.5, whose masks are > 0
    assert (only.points, only.reference.run, only.reference.per_cent) == (-1.5, "weights", 44.19)
    assert not drifts(method="PRN")  # nobody knows the protocols
    assert all(d.rerun.protocol == d.reference.protocol for d in drifts())


def test_a_tolerance_is_the_farthest_rerun() -> None:
    def of(method: str, data: str, metric: str) -> Published:
        wanted = {"setting": "multi-class", "category": MEAN, "run": "paper"}
        rows = published(method=method, data=data, metric=metric, **wanted)
        return next(row for row in rows if row.variant in ("ViT-B", ""))

    own = tolerance(of("Dinomaly", "mvtec-ad", "pixel_ap"))
    assert own is not None
    assert own.points == pytest.approx(69.3 - 68.64)
    assert own.methods == "Dinomaly"
    assert own.why.startswith("6 reruns, the farthest by -0.66: ")
    small = tolerance(of("Dinomaly", "visa", "image_auroc"))
    assert small is not None
    assert small.points == module.LEAST
    assert small.why.startswith("1 rerun, ")
    borrowed = tolerance(of("Pro-AD", "real-iad", "image_auroc"))
    assert borrowed is not None
    assert borrowed.points == pytest.approx(0.52)
    assert borrowed.methods == "INP-Former"
    (prn,) = published(method="PRN", data="btad", metric="aupro")
    assert tolerance(prn) is None
