"""The papers' command lines are the papers' configs and run; the figure shows every claim."""

import shlex
from pathlib import Path

import numpy as np
import pytest

from adlib.cli import main, parse_train
from adlib.data.tools.catalogue import BENCHMARKS
from adlib.metrics import PROTOCOLS
from adlib.report.published import CATEGORIES, MEAN, drifts, published
from adlib.report.records import read_folder, read_results
from adlib.report.reproduction import claims, claims_table, reproduction
from adlib.study.papers import DATA, RUNS, PaperRun, claims_figure, papers_table
from tests.made_benchmarks import mvtec_ad
from tests.made_records import record, section_of

TINY = (
    " --encoder vit-tiny --weights random --layers 0 1 --size 32 48 --resize 40 56 --blocks 2"
    " --mlp-ratio 1 --batch 2 --steps 2"
)
NAMES = [f"{run.method} on {run.data}" for run in RUNS]


@pytest.mark.parametrize("run", RUNS, ids=NAMES)
def test_a_command_line_is_the_papers_config(run: PaperRun) -> None:
    train, score = (shlex.split(line) for line in run.commands())
    parsed = parse_train(train[2:])
    assert (parsed.method, parsed.config) == (run.method, run.config)
    assert (parsed.data, str(parsed.out), parsed.holdout) == (run.data, score[2], 0)
    assert score[score.index("--protocol") + 1] in PROTOCOLS
    assert run.data in BENCHMARKS
    assert claims(run.data, run.method)  # there is a number to reach


def test_a_loop_trains_each_category() -> None:
    line = next(run for run in RUNS if run.method == "prn" and run.data == "btad").line()
    assert line.startswith(
        "for c in 01 02 03; do adlib train prn --preset paper --data btad --categories $c --holdout"
    )
    assert line.endswith(" --intervals; done")
    assert line.count("runs/prn-btad-$c") == 2


def test_hours_and_memory_are_those_of_what_was_measured() -> None:
    timed = [{"method": "Dinomaly", "seconds_a_step": 0.5, "peak_memory_mib": 2048.0}]
    table = papers_table(timed).set_index(["method", "data"])
    assert len(table) == len(RUNS)
    assert table.loc["dinomaly", "mvtec-ad"].tolist() == ["10,000", "1.39", "2.0"]
    assert table.loc["dinomaly", "real-iad"].tolist() == ["50,000", "6.94", "2.0"]
    for others in ("pro-ad", "mvtec-ad"), ("prn", "btad"):
        assert table.loc[others, "hours"] == table.loc[others, "GPU, GiB"] == "not measured"
    assert table.loc[("prn", "btad"), "steps"].endswith(" a category")
    kept = papers_table(read_results("paper_size"))
    assert set(kept.loc[kept["hours"] == "not measured", "method"]) == {"prn"}


def test_the_papers_commands_run_from_a_folder_to_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mvtec_ad(tmp_path / "benchmarks" / "mvtec_anomaly_detection")
    monkeypatch.setenv("ADLIB_BENCHMARKS", str(tmp_path / "benchmarks"))
    monkeypatch.chdir(tmp_path)
    run = next(run for run in RUNS if run.method == "dinomaly" and run.data == "mvtec-ad")
    train, score = run.commands()
    for line in (train + TINY, score):
        status = main(shlex.split(line)[1:])
        told = capsys.readouterr()
        assert (status, told.err) == (0, ""), told.err
    found = read_folder(tmp_path / "runs")
    (section,) = found.sections
    found_record = section.runs[0].record
    assert found_record["protocol"]["name"] == "dinomaly"
    assert list(found_record["categories"]) == ["bottle", "cable"]
    assert list(found_record["images"]["cable"]) == ["labels", "scores"]
    frame = reproduction([section])
    mine = frame[(frame["method"] == "Dinomaly") & (frame["setting"] == "multi-class")]
    assert set(mine["state"]) == {"not judged"}  # the mean of two is not the mean of fifteen
    assert set(mine["but"]) == {"2 of 15 categories"}
    ours = dict(zip(mine["metric"], mine["ours"], strict=True))
    assert ours["image_auroc"] == pytest.approx(100 * found_record["mean"]["image_auroc"], abs=0.01)
    shown = claims_table(frame).filter(like="mvtec-ad, multi-class, Dinomaly", axis="index").iloc[0]
    assert shown["image AUROC"].endswith("here, 99.6 there: not judged")


def test_every_claim_and_rerun_stands_at_its_number() -> None:
    figure = claims_figure(("image_auroc", "pixel_ap"))
    panels = np.array(figure.axes).reshape(2, 3)
    assert [axes.get_title() for axes in panels[0]] == list(DATA.values())
    methods = [label.get_text() for label in panels[0, 0].get_yticklabels()]
    for line, metric in zip(panels, ("image_auroc", "pixel_ap"), strict=True):
        for axes, data in zip(line, DATA, strict=True):
            missed = metric == "image_auroc"  # drawn by its distance from 100
            drawn = {
                (round(100 - float(x) if missed else float(x), 2), round(float(y)))
                for points in axes.lines
                for x, y in zip(points.get_xdata(), points.get_ydata(), strict=True)
            }
            rows = published(data=data, metric=metric, setting="multi-class", category=MEAN)
            shown = [r for r in rows if r.run == "paper" and r.variant in ("", "ViT-B")]
            assert len(shown) > 10
            again = [d.rerun for d in drifts(data=data, metric=metric, category=MEAN)]
            assert {(r.per_cent, methods.index(r.method)) for r in [*shown, *again]} <= drawn
            low, high = (100 - x if missed else x for x in axes.get_xlim())
            assert all(low < x < high for x, _ in drawn)
            if missed:
                assert axes.get_xscale() == "log"
                for x, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True):
                    assert float(label.get_text()) == pytest.approx(100 - x)
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert labels >= {"claim, primary", "claim, second-hand", "run again, same protocol"}
    assert "run here" not in labels


def test_a_run_of_ones_own_is_shown(tmp_path: Path) -> None:
    names = tuple(f"c{i}" for i in range(CATEGORIES["visa"]))
    made = record("dinomaly", names=names, data={"name": "visa", "hash": "aa"}, level=0.75)
    figure = claims_figure(("image_auroc",), [section_of(tmp_path, made)])
    (own,) = [p for axes in figure.axes for p in axes.lines if p.get_label() == "run here"]
    at = np.asarray(own.get_xdata(), float)
    assert 100 - at == pytest.approx([100 * made["mean"]["image_auroc"]], abs=0.01)
    assert own.axes is figure.axes[1]
