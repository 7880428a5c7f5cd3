"""A folder's records on one screen, section by section, and as files that nothing can spoil."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from adlib.cli import main
from adlib.report.command import Report, report
from adlib.report.document import HEADLINE, Document, compose, markdown_table
from adlib.report.figures import forests
from adlib.report.records import read_folder, results_folder
from adlib.report.screen import LINES, WIDTH, screen
from tests.made_records import folder_of, noisy, record

HOSTILE = "=1+1|<script>alert(1)</script>\x1b[31m\u202e$\\frac{$"
OTHER: dict[str, Any] = {"protocol": {"name": "mvtec"}}


def test_a_small_folder_shows_every_arm_with_intervals_and_whom_it_is_told_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [*noisy("dinomaly", 0.6), *noisy("pro-ad", 0.8), record(), record("prn", masks=False)]
    folder_of(tmp_path, *made, {"method": "prn", "mean": 1})
    assert main(["report", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert shown == screen(read_folder(tmp_path)) + "\n"
    lines = shown.splitlines()
    assert "Data sets: parts (8 records)" in lines
    (start,) = [i for i, line in enumerate(lines) if "protocol ours, part0, part1" in line]
    first, second = (re.split(" {2,}", lines[start + i].strip()) for i in (2, 3))
    assert first[0] == "1 pro-ad"
    assert re.fullmatch(r"8\d\.\d \(\d+\.\d to \d+\.\d\)", first[1])
    assert (first[3], second[3]) == ("2; 2", "1; 1")  # told apart by either metric
    assert re.search(r"prn +53\.0 +– ", shown)  # no masks, one seed
    (note,) = [line for line in lines if line.startswith("Skipped: ")]
    assert note.startswith("Skipped: benchmark.jsonl, line 9: data must be an object")


def test_the_books_records_fit_a_screen_in_three_seconds_of_the_processor() -> None:
    begun = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "adlib", "report", str(results_folder())],
        capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    taken = os.times()
    lines = done.stdout.splitlines()
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= WIDTH
    for name in ("real", "builtin", "solar", "patchcore", "benchmark", "robustness"):
        assert name in done.stdout
    assert "Skipped: paper_size.jsonl: 3 of 3 lines hold no record" in lines
    spent = taken.children_user + taken.children_system - begun.children_user
    assert spent - begun.children_system < 6  # 2.8 alone; twice that beside other tests


def test_many_sections_show_who_leads_in_each_or_in_each_sources_first(tmp_path: Path) -> None:
    made = [
        r | {"data": {"name": f"set{i}", "hash": f"{i:08}"}}
        for i in range(12)
        for m, level in (("dinomaly", 0.6), ("pro-ad", 0.8))
        for r in noisy(m, level)
    ]
    shown = screen(read_folder(folder_of(tmp_path, *made)))
    assert len(re.findall(r"image AUROC  pro-ad +8\d\.\d \(.* 1 of 1", shown)) == 12
    more = [r | {"data": {"name": "x", "hash": f"{i}x"}} for i in range(40) for r in made[:1]]
    lines = screen(read_folder(folder_of(tmp_path, *more, name="many"))).splitlines()
    assert len(lines) <= LINES
    assert sum("benchmark (1 of 12): set0" in line for line in lines) == 1
    assert sum("(1 of 40)" in line for line in lines) == 1
    for i in range(30):
        folder_of(tmp_path, *made[:2], name=f"source{i:02}")
    assert len(lines := screen(read_folder(tmp_path)).splitlines()) <= LINES
    assert any(re.match(r"and \d+ more sources: ", line) for line in lines)


def test_a_section_is_printed_whole_by_title_or_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [record(m, s, **d) for m in ("dinomaly", "pro-ad") for s in (0, 1) for d in ({}, OTHER)]
    folder_of(tmp_path, *made)
    folder_of(tmp_path, record("prn"), name="second")
    words = ["report", str(tmp_path), "--section"]
    assert main([*words, "benchmark: parts, protocol mvtec"]) == 0
    said = capsys.readouterr().out
    assert "benchmark: parts, protocol mvtec\n=====" in said
    assert "protocol ours" not in said
    assert "The records hold no scores of single images" in said
    assert main([*words, "benchmark"]) == 0
    said = capsys.readouterr().out
    assert said.count("\ndinomaly – pro-ad ") == 4  # two protocols, two metrics
    assert re.search(r"dinomaly +53\.0 \(1\) +53\.0 \(1\)", said)  # at a glance
    assert main([*words, "third"]) == 2
    message = capsys.readouterr().err
    assert "'third'; there are benchmark; second; benchmark: parts, protoc" in message
    assert message.count("\n") == 1


def test_everything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "in", tmp_path / "deep" / "out"
    folder.mkdir()
    folder_of(folder, *noisy("dinomaly", 0.7), *noisy("pro-ad", 0.6), *noisy("prn", 0.65))
    report(Report(folder=folder, out=out))
    assert capsys.readouterr().out.endswith(f"6 files written to {out}, first of all report.md\n")
    text = (out / "report.md").read_text()
    assert "# benchmark: parts, protocol ours\n" in text
    stem = "forest-benchmark-parts-protocol-ours"
    assert (out / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / f"{stem}.svg").read_text()
    assert f"]({stem}.svg)" in text
    sizes = {n: len(pd.read_csv(out / f"{n}.csv")) for n in ("results", "runs", "pairs")}
    assert sizes == {"results": 3 * 5 * 7, "runs": 9, "pairs": 3 * 7}
    assert not (out / "published.csv").exists()
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    report(Report(folder=folder, out=out))
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before  # the same bytes each time


def test_names_of_others_stay_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a spreadsheet, a browser, a terminal and a figure."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    made = [
        record(HOSTILE, s, names=(HOSTILE, "@x"), data={"name": HOSTILE, "hash": HOSTILE})
        for s in (0, 1)
    ]
    broken = record(HOSTILE) | {"seed": HOSTILE}
    folder_of(folder, *made, record("-2", data=made[0]["data"], names=("+1", "\tt")), broken)
    report(Report(folder=folder, out=out))
    report(Report(folder=folder, section="benchmark"))
    texts = [capsys.readouterr().out, *(p.read_text() for p in out.glob("*.[mc]*"))]
    for text in texts:
        assert not any(c in text for c in "\x1b\u202e")
    markdown = (out / "report.md").read_text()
    assert "<script>" not in markdown
    assert "&lt;script&gt;" in markdown
    rows = [re.sub(r"\\\|", "", r) for r in markdown.splitlines() if r.startswith("| =1+1")]
    assert len({row.count("|") for row in rows}) <= 4  # as many cells as its table has columns
    for path in out.glob("*.csv"):
        frame = pd.read_csv(path, keep_default_na=False, dtype=str)
        suspects = {c for column in frame for c in frame[column] if c and c[0] in "=+-@\t"}
        assert all(re.fullmatch(r"-[\d.e-]+", c) for c in suspects)  # numbers
    assert "'+1" in set(pd.read_csv(out / "results.csv")["category"])


def test_data_sets_whose_names_have_no_latin_letter_keep_their_own_figures(tmp_path: Path) -> None:
    names = {"螺丝": "ab" * 12, "螺母": "cd" * 12, "x" * 300: "ef" * 12}
    made = [record(data={"name": n, "hash": h}, level=0.5) for n, h in names.items()]
    one, two, long = compose(read_folder(folder_of(tmp_path, *made))).figures
    assert one == "forest-benchmark-protocol-ours"
    assert two == "forest-benchmark-protocol-ours-cdcdcdc"
    assert len(long) < 100


def test_scores_that_do_not_fit_are_named_and_left_out(tmp_path: Path) -> None:
    made = record()
    made["images"] = {c: {"labels": [0, 0, 1, 1], "scores": [1, 2, 3, 4]}
                      for c in made["categories"]}  # fmt: skip
    document = compose(read_folder(folder_of(tmp_path, made)))
    assert "The scores of single images are not used: point_0, bolt: the sco" in document.text()


def test_deleting_a_record_shows_in_the_report(tmp_path: Path) -> None:
    made = [record(m, s, x) for m, x in (("dinomaly", 0.7), ("pro-ad", 0.6)) for s in (0, 1)]
    assert "not run" not in compose(read_folder(folder_of(tmp_path, *made))).text()
    said = compose(read_folder(folder_of(tmp_path, *made[:-1]))).text()
    assert re.search(r"pro-ad +1 of 2 +63\.0 ", said)


def test_blocks_become_text_and_markdown() -> None:
    frame = pd.DataFrame({"a|b": ["1", "not run"]}, index=["x", "y"]).rename_axis("arm")
    assert markdown_table(frame) == ("| arm | a\\|b |\n| --- | --- |\n| x | 1 |\n| y | not run |")
    document = Document(["# All", "## Cost", "word " * 30, "Each", frame])
    assert document.text().startswith("All\n===\n\nCost\n----\n\nword ")
    assert max(map(len, document.text().splitlines())) <= 100
    assert document.markdown().startswith("# All\n\n## Cost\n\nword ")


def test_forests_stand_below_each_other_and_say_which_metric_is_missing(tmp_path: Path) -> None:
    solar: dict[str, Any] = {"data": {"name": "solar", "hash": "50" * 24}, "masks": False}
    made = [record(m, s, **d) for m in ("dinomaly", "pro-ad") for s in (0, 2) for d in ({}, solar)]
    sections = read_folder(folder_of(tmp_path, *made)).sections
    figure = forests(sections, HEADLINE, [{}, {}])
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "image AUROC, %", "pixel AP, %", "image AUROC, %", "no pixel AP: no masks",
    ]  # fmt: skip
    titles = [part.get_suptitle() for part in figure.subfigs]
    assert titles == [f"benchmark: {d}, protocol ours, seeds 0, 2" for d in ("parts", "solar")]
    below = [label.get_text() for label in figure.axes[2].get_yticklabels()]
    assert below == ["dinomaly", "pro-ad"]
