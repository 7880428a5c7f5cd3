"""Thresholds from labelled defects, and levels of each category's own: rule, run and commands."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import adlib
from adlib.cli import main
from adlib.data.readers.pictures import categories_of, list_pictures
from adlib.engine.calibration import calibrate_by_defects
from adlib.engine.export import describe
from adlib.engine.gallery import write_gallery
from adlib.engine.runs import Run, load_run, save_calibration, sealed
from adlib.methods import ProAD
from adlib.metrics.threshold import Calibration, LabelledDefects, Levels, calibrate
from adlib.report.tables import decision_sentences
from tests.conftest import tiny_config

Folder = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


def by(miss: float, **scores: list[float]) -> Calibration:
    held = {category: [0.0, 1.0, 2.0] for category in scores}
    return Calibration(scores=held, defects=LabelledDefects(miss=miss, scores=scores, prints=[]))


def test_the_miss_rate_is_kept_on_average() -> None:
    rng = np.random.default_rng(0)
    for m, miss in ((99, 0.05), (19, 0.2), (12, 0.05)):
        missed, below = [], 0
        for _ in range(3000):
            labelled = by(miss, x=rng.gumbel(size=m).tolist())
            threshold = labelled.threshold()
            missed.append((rng.gumbel(size=50) <= threshold).mean())
            mirrored = labelled.mirrored(None)
            assert mirrored is not None
            low, high = mirrored.rate_interval(miss)
            true = np.exp(-np.exp(-threshold))  # the share of Gumbel's distribution below, exactly
            below += low <= true <= high
        exact = max(1, np.floor((m + 1) * miss + 1e-9)) / (m + 1)  # the k-th of m exchangeable ones
        assert exact <= max(miss, 1 / (m + 1)) + 1e-12
        assert np.mean(missed) == pytest.approx(exact, abs=0.006)
        assert below / 3000 == pytest.approx(0.9, abs=0.02)


def test_the_defect_that_sets_the_threshold_is_found_and_the_rate_rule_is_still_there() -> None:
    scores = np.random.default_rng(1).random(40).astype(np.float32).tolist()
    known = by(0.1, x=scores)
    threshold = known.threshold(category="x")
    assert sum(s <= threshold for s in scores) == 3  # the fourth smallest: floor(41 * 0.1)
    assert threshold == np.nextafter(np.float32(sorted(scores)[3]), np.float32(0))
    assert known.threshold(0.3, "x") == replace(known, defects=None).threshold(0.3) == 2.0
    few = by(0.05, x=[5.0, 3.0, 4.0])
    mirrored = few.mirrored(None, "x")
    assert mirrored is not None
    assert 2.99 < few.threshold() < 3.0
    assert mirrored.expected_rate(0.05) == 1 / 4
    ties = by(0.5, x=[2.0, 2.0, 2.0])
    assert ties.threshold() < 2.0  # a new defect of 2.0 is found


def test_a_category_without_labelled_defects_keeps_its_false_alarm_rate() -> None:
    held = {"bolt": [float(i) for i in range(200)], "nut": [7.0]}
    defects = LabelledDefects(miss=0.1, scores={"nut": [3.0, 4.0]}, prints=[])
    known = Calibration(scores=held, defects=defects)
    assert known.threshold(category="bolt") == known.threshold(0.01, "bolt") == 198.0
    assert known.mirrored(None, "bolt") is None
    assert known.threshold(category="nut") == known.threshold() < 3.0


def test_each_category_has_the_scale_of_its_own_maps_and_an_old_run_has_none() -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((6, 20, 30)) * np.array([1, 1, 1, 9, 9, 9])[:, None, None]
    known = calibrate(np.zeros(6), ["a"] * 3 + ["b"] * 3, maps)
    for category, mine in (("a", maps[:3]), ("b", maps[3:])):
        alone = calibrate(np.zeros(3), ["x"] * 3, mine)
        assert known.levels(0.5, category).scale == (alone.low, alone.high)
    assert known.levels(0.5).scale == (known.low, known.high)
    assert replace(known, scales={}).levels(0.5, "a").scale == (known.low, known.high)


def test_an_image_of_a_known_category_gets_its_own_verdict_and_colours(tmp_path: Path) -> None:
    photo, heat = np.full((32, 32, 3), 90, np.uint8), np.full((32, 32), 2.0, np.float32)
    own = {"a.png": Levels(threshold=1.0, scale=(0.0, 2.0), pixel_threshold=1.5, category="a")}
    write_gallery(
        tmp_path / "out", [("b.png", photo, heat, 3.0), ("a.png", photo, heat, 2.0)],
        levels=Levels(threshold=5.0, scale=(0.0, 200.0), pixel_threshold=9.0), promise="", own=own,
    )  # fmt: skip
    table = list(csv.DictReader((tmp_path / "out/predictions.csv").read_text().splitlines()))
    assert list(table[0]) == ["path", "score", "threshold", "verdict", "name", "category"]
    assert [tuple(row.values()) for row in table] == [
        ("a.png", "2.000000", "1.000000", "defective", "00001-a", "a"),
        ("b.png", "3.000000", "5.000000", "good", "00000-b", ""),
    ]
    regions = list(csv.DictReader((tmp_path / "out/regions.csv").read_text().splitlines()))
    assert [row["path"] for row in regions] == ["a.png"]
    spread = {
        name: np.ptp(adlib_picture(tmp_path / f"out/overlays/{name}-heat.jpg"), axis=2).max()
        for name in ("00001-a", "00000-b")
    }
    assert spread["00001-a"] > 50 > 10 > spread["00000-b"]  # gray where it is cold
    assert "at a threshold of 1.0000 or 5.0000" in (tmp_path / "out/index.html").read_text()


def adlib_picture(file: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(file) as picture:
        return np.asarray(picture).astype(int)


@pytest.fixture
def trained(folder: Folder, tmp_path: Path) -> tuple[Path, Run]:
    """Parts of two categories with three defects each, and a run of them."""
    data = folder(good=9)
    method = ProAD(tiny_config())
    return data, adlib.fit(method, adlib.load_data(data), holdout=0.4, out=tmp_path / "run")


def two_scales(run: Run, data: Path) -> None:
    """Give the run's nut its own scale, and the bolt scores above all defects of the nut."""
    bad = [s for s in adlib.load_data(data, categories=["nut"]).test if s.label]
    scores = adlib.predict(run.method, [s.image for s in bad], rate=0.1).scores
    held = {"bolt": [2 * float(scores.max())] * 5, "nut": [float(scores.min()) / 2] * 5}
    run.method.calibration = replace(
        run.method.calibration, scores=held, peaks=held, scales={"nut": (0.0, 0.5)}
    )


def test_the_pooled_threshold_misses_what_the_category_s_own_finds(
    trained: tuple[Path, Run],
) -> None:
    data, run = trained
    two_scales(run, data)
    images = adlib.load_data(data, categories=["nut"]).test
    own = adlib.predict(run.method, images)
    pooled = adlib.predict(run.method, [sample.image for sample in images])
    assert own.decisions is not None
    assert own.thresholds is not None
    assert pooled.decisions is not None
    assert (own.decisions[images.labels].sum(), pooled.decisions[images.labels].sum()) == (3, 0)
    known = run.method.calibration
    assert set(own.thresholds) == {known.threshold(category="nut")}
    assert own.threshold == pooled.threshold == known.threshold()
    inside = adlib.predict(run.method, data / "nut")  # its own name is no folder's inside it
    assert inside.thresholds is not None
    assert set(inside.thresholds) == {known.threshold()}
    named = adlib.predict(run.method, data / "nut/test/dent", category="nut")
    assert named.decisions is not None
    assert named.decisions.all()
    assert own.masks is not None
    limit = known.pixel_threshold(category="nut")
    assert all(np.array_equal(m, h > limit) for m, h in zip(own.masks, own.maps, strict=True))


def test_predict_takes_the_levels_of_folders_and_of_a_table(
    trained: tuple[Path, Run], tmp_path: Path, capsys: Capture
) -> None:
    data, run = trained
    two_scales(run, data)
    save_calibration(tmp_path / "run", run.method.calibration)
    dents = sorted((data / "nut/test/dent").iterdir())
    table = tmp_path / "new.csv"
    lines = [f"{path},nut" for path in dents[:2]] + [f"{dents[2]},ring"]
    table.write_text("\n".join(["path,category", *lines]))
    found = {}
    for name, images in (("folder", data), ("table", table), ("one", dents[0].parent)):
        out = tmp_path / name
        assert main(["predict", str(tmp_path / "run"), str(images), "--out", str(out)]) == 0
        rows = list(csv.DictReader((out / "predictions.csv").read_text().splitlines()))
        found[name] = {row["path"]: row for row in rows}
        shown = capsys.readouterr().out
        assert ("nut: About" in shown) == (name != "one")
        assert ("--category takes its own" in shown) == (name != "folder")
    assert {found["folder"][str(path)]["verdict"] for path in dents} == {"defective"}
    assert {row["category"] for row in found["folder"].values()} == {"bolt", "nut"}
    told = [(row["category"], row["verdict"]) for row in found["table"].values()]
    assert told == [("nut", "defective")] * 2 + [("", "good")]
    assert {row["verdict"] for row in found["one"].values()} == {"good"}
    assert "category" not in next(iter(found["one"].values()))


def test_categories_are_told_by_data_tables_folders_or_a_run_of_one(folder: Folder) -> None:
    root = folder()
    data, known = adlib.load_data(root), {"bolt": 0, "nut": 0}
    told = categories_of(data.test, data.test, known)
    assert told == {r.path: r.category for r in data.test.references}
    files = list_pictures(root)
    inner = categories_of(root, files, known)
    assert inner == {str(p): Path(str(p)).relative_to(root).parts[0] for p in files}
    assert categories_of(root / "nut", list_pictures(root / "nut"), known) == {}
    assert categories_of(str(root), files, {"nut": 0, "x": 0}).keys() == {
        path for path, name in inner.items() if name == "nut"
    }
    image, path = data.test[0].image, data.test.references[0].path
    assert categories_of([image, path], [image, path], known) == {}
    both = categories_of([image, path], [image, path], {"nut": 0})
    assert both == {"image 0": "nut", path: "nut"}


def test_calibrate_writes_the_run_anew_and_every_command_says_so(
    trained: tuple[Path, Run], tmp_path: Path, capsys: Capture
) -> None:
    data, run = trained
    path = tmp_path / "run"
    before = json.loads((path / "run.json").read_text())
    words = ["calibrate", str(path), "--data", str(data), "--miss", "0.3"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    after = json.loads((path / "run.json").read_text())
    assert after == sealed(before | {"calibration": after["calibration"]})
    again = load_run(path).method
    expected = calibrate_by_defects(run.method, adlib.load_data(data), 0.3)
    assert again.calibration == expected
    assert replace(expected, defects=None) == run.method.calibration
    nut = expected.threshold(category="nut")
    assert f"nut: threshold {nut:.4f}. It misses at most 30.0% of defects like the 3 la" in shown
    over = sum(s > nut for s in expected.scores["nut"])
    assert f"It calls {over} of {len(expected.scores['nut'])} held-out normal images" in shown
    assert "one for all: threshold" in shown

    photos = data / "nut/test"
    for k, (option, said) in enumerate(
        (([], "misses at most"), (["--false-alarms", ".2"], "About"))
    ):
        out = ["--out", str(tmp_path / f"found{k}"), "--category", "nut", *option]
        assert main(["predict", str(path), str(photos), *out]) == 0
        assert said in capsys.readouterr().out
    assert adlib.predict(again, photos, category="nut").threshold == nut
    facts = describe(again, None, "nut")
    assert (facts["miss_rate"], facts["labelled_defects"]) == ("0.3", "3")
    assert "false_alarm_rate" not in facts
    assert "miss_rate" not in describe(again, 0.01, "nut")

    assert main(["evaluate", str(path), "--data", str(data)]) == 2  # no defect is left to test on
    told = capsys.readouterr()
    assert (
        "6 defects are excluded from the test set, because they are training data, or" in told.out
    )
    assert "bolt, nut cannot be scored" in told.err
    assert main([*words[:-1], "1"]) == 2
    assert "the miss rate must lie in (0, 1), got 1.0" in capsys.readouterr().err


def test_evaluate_leaves_the_defects_out_that_set_the_threshold_and_says_what_it_promises(
    trained: tuple[Path, Run],
) -> None:
    data, run = trained
    loaded = adlib.load_data(data)
    bad = np.flatnonzero(loaded.test.labels).tolist()
    used = loaded.test.select([bad[0], bad[3], bad[4]])  # one of the bolt, two of the nut
    run.method.calibration = calibrate_by_defects(run.method, replace(loaded, test=used), 0.05)
    record = adlib.evaluate(run.method, loaded)
    rows = record["decisions"]["categories"]
    assert {name: row["defective"] for name, row in rows.items()} == {"bolt": 2, "nut": 1}
    assert {name: row["miss_promised"] for name, row in rows.items()} == {
        "bolt": 1 / 2,
        "nut": 1 / 3,
    }
    assert [row["promised"] for row in rows.values()] == [None, None]
    said = decision_sentences(record)
    assert "At the shipped threshold, nut (33.3% misses promised): " in said


def test_what_cannot_calibrate_is_one_sentence(trained: tuple[Path, Run]) -> None:
    data, run = trained
    loaded, method = adlib.load_data(data), run.method
    good = replace(loaded, test=loaded.test.select(~loaded.test.labels))
    with pytest.raises(ValueError, match=r"parts: expected labelled defects .*, got none"):
        calibrate_by_defects(method, good, 0.05)
    method.provenance["seen"] = [mark.hex() for mark in loaded.test.fingerprints]
    with pytest.raises(ValueError, match="that the run was not trained on, got none"):
        calibrate_by_defects(method, loaded, 0.05)
    del method.provenance["seen"]
    twice = replace(loaded, seen=loaded.test)  # a copy counts once
    known = calibrate_by_defects(method, twice, 0.05).defects
    assert known is not None
    assert [len(some) for some in known.scores.values()] == [3, 3]
    assert len(known.prints) == 6
    held = method.calibration
    method.calibration = replace(held, scores={"nut": [0.1], "ring": [0.1]})
    with pytest.raises(
        ValueError, match=r"knows no category bolt, only nut, ring; .* --categories"
    ):
        calibrate_by_defects(method, loaded, 0.05)
    method.calibration = replace(held, scores={"ring": [0.1]})
    nut = adlib.load_data(data, categories=["nut"])  # a run of one, whose folder was renamed
    known = calibrate_by_defects(method, nut, 0.05).defects
    assert known is not None
    assert list(known.scores) == ["ring"]
    method.calibration = None
    with pytest.raises(ValueError, match="no threshold: it was trained with holdout 0"):
        calibrate_by_defects(method, loaded, 0.05)


def test_a_run_of_an_older_adlib_is_read_and_pools_its_scale(
    trained: tuple[Path, Run], tmp_path: Path
) -> None:
    file = tmp_path / "run/run.json"
    saved = json.loads(file.read_text())
    for name in ("scales", "defects"):
        del saved["calibration"][name]
    file.write_text(json.dumps(sealed(saved)))
    known = load_run(tmp_path / "run").method.calibration
    assert known.levels(0.5, "nut").scale == (known.low, known.high)
    assert known == replace(trained[1].method.calibration, scales={})
