"""A record is checked by field, read as a mapping, and written where nothing else is lost."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import adlib
from adlib.data.split import supervise
from adlib.engine.evaluation import as_in_training
from adlib.engine.record import METRICS, Record, read_record
from adlib.methods import (
    PRN,
    Dinomaly,
    DinomalyConfig,
    INPFormer,
    INPFormerConfig,
    PatchCore,
    PatchCoreConfig,
    PRNConfig,
    ProAD,
    ProADConfig,
)
from adlib.methods.config import resolved
from adlib.report.records import results_folder
from adlib.system.disk import write_json
from tests.conftest import tiny_config
from tests.made_records import record as made_record

Folder = Callable[..., Path]
Made = dict[str, Any]


def made(**changes: Any) -> Made:
    return made_record() | {"versions": {"torch": "2"}} | changes


def committed() -> list[Made]:
    lines = [line for path in sorted(results_folder().glob("*.jsonl"))
             for line in path.read_text(encoding="utf-8").splitlines()]  # fmt: skip
    files = [json.loads(line).get("files", {}).items() for line in lines]
    return [value for named in files for name, value in named if name.startswith("record")]


def test_every_committed_record_is_one_and_keeps_its_keys() -> None:
    records = committed()
    assert len(records) > 500
    for value in records:
        record = Record.from_json(value)
        added = {key: None for key in record if key not in value}
        assert added.keys() <= {"drawn", "holdout"}  # older ones have none
        assert record.to_json() == value | added


def test_a_record_is_read_as_a_mapping_and_keeps_what_is_added() -> None:
    record = Record.from_json(made(arm={"name": "a"}))
    assert record["mean"]["image_auroc"] == record.mean["image_auroc"]
    assert record["arm"] == {"name": "a"}
    assert "images" not in record
    assert record.get("intervals") is None
    more = record | {"cost": None, "seed": 3}
    assert (more["cost"], more.seed, record.seed) == (None, 3, 0)
    assert list(more) == [*record, "cost"]
    assert json.loads(json.dumps(more.to_json())) == dict(more)
    with pytest.raises(TypeError):
        record["seed"] = 1  # pyright: ignore[reportIndexIssue]
    with pytest.raises(KeyError):
        _ = record["extras"]


def test_a_record_is_written_and_read_as_it_was(tmp_path: Path) -> None:
    record = Record.from_json(made(arm={"name": "a"}))
    write_json(tmp_path / "r.json", record)
    assert read_record(tmp_path / "r.json") == record
    (tmp_path / "r.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"r\.json .* object, got \[1\]"):
        read_record(tmp_path / "r.json")


ROW = dict.fromkeys(METRICS, 0.5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": ""}, r"method must be a text .*, got ''"),
        ({"seed": -1}, "seed must be .* from 0 on or null, got -1"),
        ({"seed": True}, "seed must be .*, got True"),
        ({"steps": 2.5}, "steps must be a whole number .*, got 2.5"),
        ({"seconds": float("nan")}, "seconds must be a number from 0 on .*, got nan"),
        ({"holdout": 1.5}, r"holdout must be a fraction in \[0, 1\] or null, got 1.5"),
        ({"drawn": [3]}, r"drawn must be two whole numbers .*, got \[3\]"),
        ({"data": {"name": "parts"}}, "data.hash must be a text .*, got None"),
        ({"data": "parts"}, "data must be an object, got 'parts'"),
        ({"protocol": {}}, "protocol.name must be a text .*, got None"),
        ({"device": None}, "device must be a text .*, got None"),
        ({"versions": {"torch": 2}}, "versions.torch must be a text .*, got 2"),
        ({"categories": {}}, "categories must hold one"),
        ({"categories": {"nut": [1]}}, r"categories\.nut must be an object, got \[1\]"),
        ({"categories": {"nut": {"aupro": 1}}}, r"categories\.nut must hold image_auroc, .* aupro"),
        ({"categories": {"nut": ROW | {"aupro": 1.2}}}, r"categories\.nut\.aupro .*, got 1\.2"),
        ({"mean": ROW | {"image_ap": "1"}}, r"mean\.image_ap must be a fraction .*, got '1'"),
    ],
)
def test_a_wrong_record_names_the_field(changes: Made, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Record.from_json(made(**changes))


@pytest.mark.parametrize("field", ["mean", "seed", "commit", "versions"])
def test_a_record_without_a_field_names_it(field: str) -> None:
    value = made()
    del value[field]
    with pytest.raises(ValueError, match=f"must have {field}"):
        Record.from_json(value)


SMALL: Made = {"weights": "random", "size": (28, 28)}


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (lambda: ProAD(ProADConfig(**SMALL)), {"prototypes": 4, "heads": 6}),
        (lambda: ProAD(ProADConfig(**SMALL, prototypes=3, heads=2)), {"prototypes": 3, "heads": 2}),
        (lambda: Dinomaly(DinomalyConfig(**SMALL)), {"heads": 6}),
        (lambda: INPFormer(INPFormerConfig(**SMALL)), {"prototypes": 6, "heads": 6}),
        (lambda: PatchCore(PatchCoreConfig(**SMALL)), {}),
    ],
)
def test_a_resolved_config_makes_the_same_method(
    method: Callable[[], Any], expected: dict[str, int]
) -> None:
    found = method()
    config = resolved(found)
    assert config.layers == (2, 3, 4, 5, 6, 7, 8, 9)
    for name, value in expected.items():
        assert getattr(config, name) == value
    again = type(found)(config)
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (found, again)]
    assert shapes[0] == shapes[1]


def test_prn_counts_its_prototypes_once_they_are_fitted(folder: Folder) -> None:
    config = PRNConfig(weights="random", size=(32, 32), batch=4, steps=1, ratio=0.3)
    method, data = PRN(config), adlib.load_data(folder(("bolt",), good=10))
    assert resolved(method).prototypes is None
    run = adlib.fit(method, supervise(data, 1, 0), holdout=0.0)
    assert resolved(run.method).prototypes == 3


def test_evaluate_records_the_resolved_config(folder: Folder) -> None:
    data = adlib.load_data(folder(("bolt",)))
    record = adlib.evaluate(ProAD(tiny_config()), data)
    assert isinstance(record, Record)
    assert record.config["prototypes"] == 6  # 2 x 3 tokens
    assert record.config["heads"] == 3  # 192 channels
    assert record.config["layers"] == [0, 1]


def test_a_record_replaces_one_of_the_same_images_and_protocol_only(
    folder: Folder, tiny: ProAD, tmp_path: Path
) -> None:
    data, out = adlib.load_data(folder(("bolt",))), tmp_path / "new" / "record.json"
    first = adlib.evaluate(tiny, data, out=out)
    assert read_record(out) == first
    adlib.evaluate(tiny, data, out=out)
    before = out.read_bytes()
    with pytest.raises(FileExistsError, match=r"record\.json .* another protocol: parts .* 'ours'"):
        adlib.evaluate(tiny, data, protocol="dinomaly", out=out)
    assert out.read_bytes() == before
    adlib.evaluate(tiny, data, protocol="dinomaly", out=out, replace=True)
    assert read_record(out).protocol["name"] == "dinomaly"
    out.write_text("{")  # damaged
    with pytest.raises(FileExistsError, match=r"record\.json is not a record"):
        adlib.evaluate(tiny, data, out=out)
    adlib.evaluate(tiny, data, out=out, replace=True)


@pytest.mark.parametrize("content", [b'{"method": "pro-ad", "losses": []}', b"[1]", b"\xff"])
def test_what_is_no_record_is_never_replaced(
    folder: Folder, tiny: ProAD, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = adlib.load_data(folder(("bolt",))), tmp_path / "run.json"
    out.write_bytes(content)
    monkeypatch.setattr("adlib.engine.evaluation.cached_features", None)  # it is refused before
    with pytest.raises(FileExistsError, match=r"run\.json is not a record"):
        adlib.evaluate(tiny, data, out=out, replace=True)
    assert out.read_bytes() == content
    with pytest.raises(FileExistsError, match="is a folder; name a file"):
        adlib.evaluate(tiny, data, out=tmp_path)
    with pytest.raises(OSError, match=r"cannot write .*run\.json/a\.json"):
        adlib.evaluate(tiny, data, out=out / "a.json")


def test_defects_that_were_trained_on_leave_the_test_set(folder: Folder, tiny: ProAD) -> None:
    data = adlib.load_data(folder())
    split = supervise(data, 1, 0)
    assert split.seen is not None
    marks = [mark.hex() for mark in split.seen.fingerprints]
    tiny.provenance = {"seen": marks, "drawn": [1, 0], "data": {"name": "parts"}}
    assert adlib.evaluate(tiny, data).data["hash"] == adlib.evaluate(tiny, split).data["hash"]
    assert as_in_training(tiny, split) is split
    other = next(s for s in (supervise(data, 1, k) for k in range(1, 99)) if s.hash != split.hash)
    with pytest.raises(ValueError, match="were trained on, the first is"):
        adlib.evaluate(tiny, other)
    tiny.provenance = {"seen": [], "drawn": [1, 0], "data": {"name": "parts"}}  # it used none
    assert as_in_training(tiny, data).hash == split.hash
    tiny.provenance["data"] = {"name": "others"}
    assert as_in_training(tiny, data) is data


def test_a_category_that_the_run_does_not_know_is_told(folder: Folder) -> None:
    data = adlib.load_data(folder())
    part = adlib.load_data(folder(), categories=["nut"])
    method = adlib.fit(ProAD(tiny_config()), part).method
    with pytest.warns(RuntimeWarning, match="knows no category bolt, only nut"):
        adlib.evaluate(method, data)
