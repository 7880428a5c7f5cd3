"""Records are found in every form; what is malformed is named, and the rest is read."""

import json
from pathlib import Path
from typing import Any

import pytest

from adlib.report import records
from adlib.report.document import compose
from adlib.report.published import METRICS
from adlib.report.records import divide, name_of, read_folder, read_results
from adlib.report.screen import screen
from adlib.report.tables import metrics_table, table
from tests.made_records import CATEGORIES, folder_of, record, section_of


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
    assert found.skipped == [
        "lines.jsonl: 1 of 2 lines hold no record",
        "sweep-a/records.jsonl: 1 runs failed, such as seed=3_0123abcd",
    ]
    assert read_folder(sweep).sections[0].source == "sweep-a"
    (tmp_path / "empty").mkdir()
    for name, error, words in (
        ("empty", FileNotFoundError, r"no record in .*empty; expected \*\.jsonl of sw"),
        ("absent", FileNotFoundError, r"no folder .*absent; expected one that holds"),
        ("lines.jsonl", NotADirectoryError, r"lines\.jsonl is a file; expected the folder"),
    ):
        with pytest.raises(error, match=words):
            read_folder(tmp_path / name)


def test_a_run_may_leave_a_record_for_each_protocol(tmp_path: Path) -> None:
    other: dict[str, Any] = {"protocol": {"name": "mvtec"}}
    lines = [
        {"id": f"p{i}", "files": {"record.json": record(m), "record_mvtec.json": record(m, **other),
                                  "losses.json": {"step": [1], "mean": [0.5]}}}
        for i, m in enumerate(("dinomaly", "pro-ad"))
    ]  # fmt: skip
    (tmp_path / "benchmark.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    found = read_folder(tmp_path)
    assert [(s.protocol, s.ran()) for s in found.sections] == [
        ("ours", ["dinomaly", "pro-ad"]), ("mvtec", ["dinomaly", "pro-ad"]),
    ]  # fmt: skip
    ids = [run.id for s in found.sections for run in s.of("pro-ad")]
    assert ids == ["p1", "p1/record_mvtec.json"]
    assert found.skipped == []


NEST = [[[{}]]]
MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"method": None}, "method must be a text, got null"),
    ({"seed": None}, "seed must be a whole number, got null"),
    ({"seed": 0.5}, "seed must be a whole number, got 0.5"),
    ({"seed": True}, "seed must be a whole number, got true"),
    ({"steps": "many"}, 'steps must be a whole number, got "many"'),
    ({"steps": float("inf")}, "steps must be a whole number, got Infinity"),
    ({"seconds": {}}, "seconds must be a finite number, got an object"),
    ({"peak_memory_mib": float("nan")}, "peak_memory_mib must be a finite number, got NaN"),
    ({"holdout": "0.1"}, "holdout must be a finite number"),
    ({"commit": NEST}, "commit must be a text, got a list"),
    ({"protocol": "ours"}, 'protocol must be an object, got "ours"'),
    ({"data": "parts"}, 'data must be an object, got "parts"'),
    ({"data": {"name": "parts"}}, "data.hash must be a text, got null"),
    ({"config": [1]}, "config must be an object, got a list"),
    ({"encoder": "vit"}, 'encoder must be an object, got "vit"'),
    ({"few": {"images": "5"}}, 'few.images must be a whole number, got "5"'),
    ({"cost": {"parameters": "7"}}, 'cost.parameters must be a whole number, got "7"'),
    ({"categories": {}}, "categories must name one category at least"),
    ({"categories": {"nut": None}}, "categories.nut must be an object, got null"),
    ({"categories": {"nut": {"aupro": 98.6}}}, "categories.nut.aupro must be a fraction"),
    ({"mean": [1]}, "mean must be an object, got a list"),
    ({"mean": {"image_auroc": float("nan")}}, "mean.image_auroc must be a fraction in [0, 1]"),
    ({"intervals": {"nut": {"aupro": [0.1]}}}, "intervals.nut.aupro must be a low and a high end"),
    ({"images": {"nut": {"labels": [0, 1], "scores": [1]}}}, "images.nut must be an object of as"),
    (
        {"images": {"nut": {"labels": [0, 2], "scores": [1, 2]}}},
        "images.nut must be an object of as",
    ),
    ({"images": {"nut": NEST}}, "images.nut must be an object of as"),
]


@pytest.mark.parametrize(("changes", "words"), MALFORMED)
def test_a_malformed_record_is_named_by_line_and_the_rest_is_read(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    wrong = record("pro-ad") | changes
    found = read_folder(folder_of(tmp_path, record(), wrong))
    assert [run.arm for section in found.sections for run in section.runs] == ["dinomaly"]
    (note,) = found.skipped
    assert note.startswith(f"benchmark.jsonl, line 2: {words}")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "record.json").write_text(json.dumps(wrong))
    assert read_folder(tmp_path).skipped[1].startswith(f"run/record.json: {words}")
    assert f"Skipped: {note}"[:60] in screen(found)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "cannot be read as JSON: "),
        (b"\xff{}", "cannot be read as JSON: "),
        (b"[" * 100_000, "nested too deeply"),
        (b"[1]", "expected an object, got a list"),
        (b'"\xe2\x80\xae"', r'expected an object, got "\u202e"'),
        (b'{"files": {"record.json": 5}}', "expected a record, got 5"),
        (b'{"files": [1]}', None),
        (b"", None),
    ],
)
def test_a_line_that_is_no_object_spoils_no_other(
    tmp_path: Path, line: bytes, words: str | None
) -> None:
    good = json.dumps(record()).encode()
    path = tmp_path / "lines.jsonl"
    path.write_bytes(good + b"\n" + line + b"\n" + good.replace(b'"seed": 0', b'"seed": 1'))
    found = read_folder(tmp_path)
    assert [run.seed for section in found.sections for run in section.runs] == [0, 1]
    if words:
        assert found.skipped[0].startswith(f"lines.jsonl, line 2: {words}")
    (tmp_path / "record.json").write_bytes(line)
    if words and not line.startswith(b'{"'):
        assert any(note.startswith("record.json: ") for note in read_folder(tmp_path).skipped)
    if words and not line.startswith(b'{"'):
        with pytest.raises(ValueError, match=r"lines\.jsonl, line 2: "):
            read_results(path)


def test_only_newlines_end_a_line(tmp_path: Path) -> None:
    made = record(data={"name": "a\u2028b\x85", "hash": "c0"})
    (tmp_path / "a.jsonl").write_text(
        json.dumps(made, ensure_ascii=False) + "\r\n", encoding="utf-8", newline=""
    )
    found = read_folder(tmp_path)
    assert (found.skipped, found.sections[0].data) == ([], "a\u2028b\x85")
    assert read_results(tmp_path / "a.jsonl") == [made]


def test_a_plain_record_is_enough_for_every_table(tmp_path: Path) -> None:
    needed = {"method", "data", "categories", "mean", "protocol", "seed"}
    bare = {key: value for key, value in record(masks=False).items() if key in needed}
    found = read_folder(folder_of(tmp_path, bare, bare | {"method": "prn"}))
    assert found.skipped == []
    compose(found).write(tmp_path / "out")
    assert "dinomaly" in screen(found)
    assert table(bare).shape == (len(CATEGORIES) + 1, 3)  # no column without masks
    gone = bare | {"mean": {}, "categories": {"nut": {}}}
    (section,) = read_folder(folder_of(tmp_path, gone, record("prn", names=("nut",)))).sections
    assert metrics_table(section).loc["dinomaly"].tolist() == ["1 of 1"] + ["–"] * len(METRICS)
    compose(read_folder(tmp_path)).text()


def test_a_second_run_of_one_seed_is_left_out_and_named(tmp_path: Path) -> None:
    folder_of(tmp_path, record(level=0.4), name="first")
    found = read_folder(folder_of(tmp_path, record(level=0.6), record(), name="second"))
    assert [s.title.split(":")[0] for s in found.sections] == ["first", "second"]
    assert [len(s.runs) for s in found.sections] == [1, 1]
    (note,) = found.skipped
    assert "two runs of dinomaly, seed 0: point_0 and point_1; a mean over seeds would" in note
    assert found.sections[1].runs[0].id == "point_0"
    twice = [records.Run("s", name, record()) for name in "ab"]
    with pytest.raises(ValueError, match="two runs of dinomaly, seed 0: a and b"):
        divide(twice)
    assert divide([]) == []


def test_an_arm_is_a_method_and_its_settings(tmp_path: Path) -> None:
    short = {"steps": 400, "config": {"steps": 400, "weights": "/elsewhere/w", "lr": 0.002}}
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
    more = record(holdout=0.5), record(holdout=0), record(seed=1, holdout=0.0)
    section = section_of(tmp_path, older, newer, *more)
    assert {arm: [run.seed for run in section.of(arm)] for arm in section.arms} == {
        "dinomaly, holdout 0.0": [0, 1],
        "dinomaly, holdout 0.1": [1],
        "dinomaly, holdout 0.5": [0],
        "dinomaly, holdout –": [0],
    }


def test_a_few_normal_images_drawn_by_the_seed_are_one_arm(tmp_path: Path) -> None:
    made = [
        record(seed=s, trained_on={"hash": f"{k}{s}"}, few={"images": k, "of": "c0ffee" * 8})
        for k in (10, 25, 5)
        for s in (0, 1)
    ]
    section = section_of(tmp_path, *made)
    assert section.arms == tuple(f"dinomaly, normal images {k}" for k in (5, 10, 25))
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


@pytest.mark.parametrize(
    ("arm", "name"),
    [
        ({"method": "pro-ad", "constraint": "none"}, "none"),
        ({"method": "dinomaly"}, "dinomaly"),
        ({"method": "pro-ad", "constraint": "none", "update": "never"}, "none, update never"),
        ({"method": "pro-ad", "constraint": "none", "name": "A3"}, "A3"),
        (None, "prn"),
        (["garbage"], "prn"),
    ],
)
def test_an_arm_is_named_by_what_sets_it_apart(arm: Any, name: str) -> None:
    assert name_of(record("prn") | {"arm": arm}) == name


def test_results_are_read_by_name_and_by_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (records.results_folder() / "README.md").is_file()
    monkeypatch.setattr(records, "results_folder", lambda: tmp_path)
    (tmp_path / "ladder.jsonl").write_text(json.dumps({"id": "a"}) + "\n")
    assert read_results("ladder") == read_results(tmp_path / "ladder.jsonl") == [{"id": "a"}]
    with pytest.raises(FileNotFoundError, match=r"no records at forms\.jsonl; there: ladder"):
        read_results("forms")
