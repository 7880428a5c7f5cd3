"""What the shipped threshold does: counted slowly, with its intervals, from record to figure."""

import json
from collections.abc import Callable
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adlib
from adlib.data.dataset import ImageRef
from adlib.engine.decisions import decision_row, decisions
from adlib.engine.predict import predict_each
from adlib.engine.record import read_record
from adlib.engine.scoring import OURS
from adlib.methods import ProAD
from adlib.metrics import prepare_mask
from adlib.metrics.threshold import Calibration
from adlib.report.document import compose
from adlib.report.records import read_folder
from adlib.report.tables import decision_sentences, decisions_table
from adlib.system.disk import write_json
from tests.conftest import tiny_config
from tests.made_records import folder_of, record, section_of

Folder = Callable[..., Path]
Row = dict[str, Any]


def made() -> tuple[np.ndarray, list[ImageRef], Calibration]:
    """Scores with many ties of three categories, of which the calibration knows two."""
    rng = np.random.default_rng(0)
    kinds = rng.choice(["good", "good", "cut", "dent"], size=90)
    names = rng.choice(["bolt", "nut", "ring"], size=90)
    scores = rng.integers(0, 6, size=90) + (kinds != "good") * rng.integers(0, 4, size=90)
    images = [ImageRef(path=f"{i}.png", category=str(c), defect=str(k))
              for i, (c, k) in enumerate(zip(names, kinds, strict=True))]  # fmt: skip
    held = {"bolt": [0.0, 3.0, 4.0, 4.0], "nut": [2.0, 5.0]}
    return scores.astype(float), images, Calibration(scores=held)


def test_the_counts_are_those_of_a_slow_count() -> None:
    scores, images, calibration = made()
    found = decisions(scores, images, calibration)
    assert found is not None
    # The largest held-out score of so few: 4 for the bolt, 5 for the nut and for all together.
    cases = {"bolt": (4.0, 1 / 5), "nut": (5.0, 1 / 3), "ring": (5.0, 1 / 7), None: (5.0, 1 / 7)}
    assert set(found["categories"]) == {"bolt", "nut", "ring"}
    for name, (threshold, promised) in cases.items():
        row = found["pooled"] if name is None else found["categories"][name]
        mine = [(s, r) for s, r in zip(scores, images, strict=True) if name in (None, r.category)]
        good, bad = ([s for s, r in mine if r.label == label] for label in (False, True))
        alarms, hits = sum(s > threshold for s in good), sum(s > threshold for s in bad)
        assert 0 < hits < len(bad)
        expected = {"threshold": threshold, "promised": promised, "good": len(good),
                    "defective": len(bad), "false_alarms": alarms, "missed": len(bad) - hits,
                    "false_alarm_rate": alarms / len(good), "detection_rate": hits / len(bad),
                    "precision": hits / (hits + alarms)}  # fmt: skip
        assert {key: row[key] for key in expected} == pytest.approx(expected)
        for kind in ("cut", "dent"):
            own = [s for s, r in mine if r.defect == kind]
            lost = sum(s <= threshold for s in own)
            assert row["kinds"][kind] == {"missed": lost, "of": len(own)}
        enough = [t for t in {*scores} if sum(s >= t for s in bad) >= 0.95 * len(bad)]
        assert row["threshold_at_95"] == max(enough)
        assert row["false_alarm_rate_at_95"] == sum(s >= max(enough) for s in good) / len(good)
    assert found["pooled"] == {"promised": 1 / 7} | decision_row(
        scores, [r.defect for r in images], 5.0
    )
    assert decisions(scores, images, Calibration()) is None


@pytest.mark.parametrize("n", [1, 19, 20, 21, 39, 40, 41])
def test_at_most_one_defect_in_twenty_lies_below_the_threshold_at_95(n: int) -> None:
    row = decision_row(np.arange(n + 1.0), ["good", *["cut"] * n], 0.0)
    below = row["threshold_at_95"] - 1  # of the defects 1, 2, ..., n
    assert below / n <= 0.05 < (below + 1) / n


@pytest.mark.parametrize(("k", "n"), [(0, 7), (2, 40), (40, 40), (13, 25), (1, 1)])
def test_an_end_of_the_interval_is_where_the_count_or_a_stranger_one_has_a_fortieth(
    k: int, n: int
) -> None:
    scores = np.arange(n, dtype=float)
    low, high = decision_row(scores, ["good"] * n, n - k - 0.5)["false_alarm_rate_interval"]

    def chance(p: float, counts: range) -> float:
        return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in counts)

    assert low == 0 if k == 0 else chance(low, range(k, n + 1)) == pytest.approx(0.025, abs=1e-4)
    assert high == 1 if k == n else chance(high, range(k + 1)) == pytest.approx(0.025, abs=1e-4)


def test_a_rate_of_no_image_is_none() -> None:
    row = decision_row(np.array([1.0, 2.0]), ["good", "good"], 2.0)
    empty = ("detection_rate", "precision", "precision_interval", "threshold_at_95")
    assert [row[name] for name in (*empty, "false_alarm_rate_at_95")] == [None] * 5
    row = decision_row(np.array([1.0, 2.0]), ["cut", "cut"], 1.0)
    assert (row["false_alarm_rate"], row["detection_rate"], row["precision"]) == (None, 0.5, 1)
    assert (row["threshold_at_95"], row["false_alarm_rate_at_95"], row["kinds"]) == (1, None, {})


def test_evaluate_counts_what_predict_decides_under_any_protocol(
    folder: Folder, tmp_path: Path
) -> None:
    data = adlib.load_data(folder(good=9))
    method = adlib.fit(ProAD(tiny_config()), data, steps=10, holdout=0.4).method
    found = adlib.evaluate(method, data, out=tmp_path / "record.json")
    decided = found["decisions"]
    for name in (None, "bolt", "nut"):
        images = data.test if name is None else data.test.of(name)
        pixels = [sample.image for sample in images]  # whose category nobody tells
        called = adlib.predict(method, pixels, category=name)
        assert called.decisions is not None
        row = decided["pooled"] if name is None else decided["categories"][name]
        assert row["threshold"] == called.threshold
        assert row["false_alarms"] == (called.decisions & ~images.labels).sum()
        assert row["missed"] == (~called.decisions & images.labels).sum()
    other = adlib.evaluate(method, data, protocol="anomalib")["decisions"]
    assert other == {name: value for name, value in decided.items() if name != "pixel_f1"}
    assert read_record(tmp_path / "record.json") == found
    assert json.loads(json.dumps(decided)) == decided


def test_the_pixel_f1_of_a_record_is_that_of_the_masks_that_predict_makes(folder: Folder) -> None:
    data = adlib.load_data(folder(("bolt", "nut")))
    method = adlib.fit(ProAD(tiny_config()), data, steps=10, holdout=0.3).method
    assert method.calibration is not None
    shipped = adlib.evaluate(method, data)["decisions"]["pixel_f1"]
    assert shipped.keys() == {"bolt", "nut"}
    for category in data.categories:
        images = data.test.of(category)
        limit = method.calibration.pixel_threshold(category=category)
        found = predict_each(method, images, enlarge=False)
        called = np.stack([heat for _, _, heat, _ in found]) > limit
        truth = np.stack([prepare_mask(s.mask, OURS) for s in images if s.mask is not None])
        hits = (called & truth).sum()
        recall, precision = hits / truth.sum(), hits / max(called.sum(), 1)
        f1 = 2 * recall * precision / (recall + precision) if hits else 0.0
        assert shipped[category] == pytest.approx(f1)


def test_without_a_threshold_there_are_no_decisions(folder: Folder, tmp_path: Path) -> None:
    data = adlib.load_data(folder(("bolt",)))
    method = adlib.fit(ProAD(tiny_config()), data, steps=1, holdout=0.0).method
    found = adlib.evaluate(method, data)
    assert "decisions" not in found
    assert decision_sentences(found) == ""
    write_json(tmp_path / "record.json", found)
    assert "decisions" not in json.loads((tmp_path / "record.json").read_text())


def row(alarms: int, missed: int, kinds: bool = False) -> Row:
    """40 good images and 60 defects, of which some are called wrongly."""
    scores = np.repeat([0.0, 2.0, 0.0, 2.0], [40 - alarms, alarms, missed, 60 - missed])
    names = ["good"] * 40 + ["scratch"] * 3 + ["dent"] * 57
    made = decision_row(scores, names, 1.0)
    return {"promised": 0.01} | made | ({} if kinds else {"kinds": {}})


def decided(*rows: Row, pooled: Row) -> Row:
    names = ("bolt", "nut")[: len(rows)]
    each = {"categories": dict(zip(names, rows, strict=True)), "pooled": pooled}
    return record(names=names) | {"decisions": {"rate": 0.01} | each}


def test_the_sentences_name_counts_kinds_and_categories() -> None:
    one = row(2, 5, kinds=True)
    assert decision_sentences(decided(one, pooled=one)) == (
        "At the shipped threshold (1.0% promised): 2 of 40 good images called defective, 5 of 60 "
        "defects missed (dent 2 of 57, scratch 3 of 3).\n"
        "False alarms at a threshold that finds 95% of the defects: 100.0%."
    )
    lines = decision_sentences(decided(one, row(0, 1), pooled=row(4, 0))).splitlines()
    heads = ["bolt (1.0% promised): 2 of 40", "nut (1.0% promised): 0 of 40",
             "one for all (1.0% promised): 4 of 40"]  # fmt: skip
    assert [line.startswith(f"At the shipped threshold, {head}")
            for line, head in zip(lines, heads, strict=False)] == [True] * 3  # fmt: skip
    assert lines[3].endswith("bolt 100.0%, nut 0.0%, one for all 10.0%.")


def test_the_report_shows_decisions_of_records_that_have_them(tmp_path: Path) -> None:
    caption = "Decisions at the shipped threshold"
    assert decisions_table(section_of(tmp_path, record())) is None
    assert caption not in compose(read_folder(tmp_path)).text()
    new = decided(row(2, 5), row(0, 1), pooled=row(4, 0))
    table = decisions_table(section_of(tmp_path, new, record("prn", names=("bolt", "nut"))))
    assert table is not None
    assert list(table.index) == [("dinomaly", name) for name in ("bolt", "nut", "one for all")]
    assert table.loc[("dinomaly", "bolt"), "false alarms"] == "5.0 (0.6 to 16.9)"
    assert caption in compose(read_folder(tmp_path)).text()
    seeds = [decided(one, pooled=one) | {"seed": k} for k, one in enumerate([row(2, 5), row(4, 5)])]
    table = decisions_table(section_of(tmp_path, *seeds))
    assert table is not None
    assert table["false alarms"].tolist() == ["7.5 ± 3.5"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pooled": 1}, "decisions.pooled must be an object, got 1"),
        ({"categories": {"bolt": {}}}, "decisions.categories.nut must be an object, got null"),
        ({"pooled": {"precision": 2}}, r"decisions.pooled.precision must be a fraction .*, got 2"),
        ({"pooled": {"precision_interval": [1]}}, "precision_interval must be a low and a high"),
    ],
)
def test_decisions_that_are_none_are_skipped_by_name(
    tmp_path: Path, changes: Row, words: str
) -> None:
    new = decided(row(2, 5), row(0, 1), pooled=row(4, 0))
    new["decisions"] |= changes
    with pytest.raises(FileNotFoundError, match=words):
        read_folder(folder_of(tmp_path, new))
