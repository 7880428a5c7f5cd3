"""The points that a sweep's file asks for, and their check against the notebook."""

import hashlib
import itertools
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adlib.cli import main
from adlib.sweep.plan import (
    SweepError,
    as_finished,
    as_json,
    is_id,
    point_of,
    read_parameters,
    read_plan,
    take_shard,
)
from adlib.sweep.results import merge, write_records
from tests.small_notebook import write_notebook, write_sweep

ROOT = Path(__file__).resolve().parent.parent
PARAMETERS = """\
steps = 40  # optimiser steps = updates
rate: float = 1  # learning rate
limit = 12  # images; None takes all
method = "pro-ad"  # which
layers = (2, 5)  # of the encoder
augment = False  # flip at random
root = 2 * 3  # an expression
out = None  # folder of the run
"""
BOMB = "notebook: n.ipynb\na: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "\n".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in itertools.pairwise("abcdefghi")
)


def sheet(folder: Path, text: str, parameters: str | None = PARAMETERS) -> Path:
    return write_sweep(folder, text, parameters=parameters)


def test_points_are_the_product_less_the_excluded_and_the_included_ones(tmp_path: Path) -> None:
    text = (
        "notebook: n.ipynb\nfixed: {rate: 0.5}\ngrid:\n  steps: [1, 2, 3]\n  limit: [4, null]\n"
        "exclude: [{steps: 2}, {steps: 3, limit: null}]\ninclude: [{steps: 2, rate: 0.1}]\n"
    )
    plan = read_plan(sheet(tmp_path, text))
    product = itertools.product([1, 2, 3], [4, None])
    kept = [(s, n) for s, n in product if s != 2 and (s, n) != (3, None)]
    expected = [{"steps": s, "limit": n, "rate": 0.5} for s, n in kept]
    expected.append({"steps": 2, "rate": 0.1})
    assert [point.parameters for point in plan.points] == expected
    assert (plan.notebook.name, plan.resources, plan.timeout) == ("n.ipynb", {}, None)


def test_profile_lies_below_fixed_and_fixed_below_the_grid(tmp_path: Path) -> None:
    text = "notebook: n.ipynb\nprofile: quick\nfixed: {limit: 2}\ngrid: {steps: [7]}\n"
    path = sheet(tmp_path, text)
    (path.parent / "profiles").mkdir()
    (path.parent / "profiles/quick.yml").write_text("n: {steps: 1, limit: 1, rate: 0.25}\n")
    (point,) = read_plan(path).points
    assert point.parameters == {"steps": 7, "limit": 2, "rate": 0.25}
    (path.parent / "profiles/quick.yml").write_text("n:\n  stepz: 1\n")
    with pytest.raises(SweepError, match=r"quick\.yml, line 1: .*'stepz'"):
        read_plan(path)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("aB7é/. -", max_size=9),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)  # fmt: skip
given_values = st.dictionaries(st.sampled_from(["steps", "rate", "limit", "method"]), plain)


@given(given_values, given_values)
def test_ids_tell_points_apart_and_do_not_hang_on_order(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    notebook = Path("n.ipynb")
    point = point_of(notebook, first, {})
    assert point_of(notebook, dict(reversed(first.items())), {}).id == point.id
    same = as_json(first) == as_json(second)
    assert (point_of(notebook, second, {}).id == point.id) == same
    assert point_of(Path("m.ipynb"), first, {}).id != point.id
    assert is_id(point.id)
    assert not is_id(f"{point.id}.work")
    assert not is_id(f"../{point.id}")
    assert len(point.id) < 80
    assert re.fullmatch(r"[A-Za-z0-9.+=_-]+", point.id)


def test_ids_stay_as_they_are() -> None:
    # Folders of finished sweeps are named by them, so a change here would run them all again.
    point = point_of(Path("n.ipynb"), {"steps": 40, "rate": 0.1}, {"seed": 0})
    hashed = b'["n.ipynb", {"rate": 0.1, "seed": 0, "steps": 40}]'
    assert point.id == f"rate=0.1_steps=40_{hashlib.sha256(hashed).hexdigest()[:8]}"


@pytest.mark.parametrize(("sweep", "kept"), [("convergence", 5), ("benchmark", 36)])
def test_a_sweep_goes_on_from_the_books_records(sweep: str, kept: int, tmp_path: Path) -> None:
    records = ROOT / f"book/results/{sweep}.jsonl"
    ids = merge(tmp_path, [records])
    write_records(tmp_path)
    assert (tmp_path / "records.jsonl").read_bytes() == records.read_bytes()
    points = as_finished(read_plan(ROOT / f"notebooks/sweeps/{sweep}.yml").points, ids)
    assert len({point.id for point in points} & set(ids)) >= kept


@given(st.integers(0, 40), st.integers(1, 9))
def test_shards_are_disjoint_and_together_all(count: int, n: int) -> None:
    points = tuple(point_of(Path("n.ipynb"), {"seed": i}, {}) for i in range(count))
    shards = [take_shard(points, f"{k}/{n}") for k in range(1, n + 1)]
    assert sorted(p.id for s in shards for p in s) == sorted(p.id for p in points)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize("shard", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3"])
def test_a_wrong_shard_is_refused(shard: str) -> None:
    with pytest.raises(SweepError, match=f"--shard.*'{shard}'"):
        take_shard((), shard)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("grid: {steps: [1]}", "notebook: PATH"),
        ("notebook: m.ipynb\ngrid: {steps: [1]}", "line 1: no notebook at .*m.ipynb"),
        ("notebook: n.ipynb\ngird: {steps: [1]}", "line 2: .*'gird'; did you mean 'grid"),
        ("notebook: n.ipynb\n7: 1", "line 2: .* 7; known: notebook, profile"),
        ("notebook: n.ipynb", "no point; expected `grid:` or `include:`"),
        ("notebook: n.ipynb\ngrid: {steps: 4}", "line 2: steps must be a list .* 4"),
        ("notebook: n.ipynb\ngrid: {steps: []}", "line 2: steps must be a list of values"),
        ("notebook: n.ipynb\ngrid: [steps]", "line 2: grid must be a mapping"),
        ("notebook: n.ipynb\ngrid: {steps: [4, 4]}", "twice .*'steps': 4"),
        ("notebook: n.ipynb\ngrid:\n  steps: [4]\n  steps: [5]", "line 4: 'steps' .* line 3"),
        ("notebook: n.ipynb\nfixed: {steps: 1}\ngrid: {steps: [4]}", "line 3: .* fixed already"),
        ("notebook: n.ipynb\ngrid: {steps: [4]}\nexclude: [{steps: 5}]", "line 3: .* 5"),
        ("notebook: n.ipynb\ngrid: {steps: [4]}\ninclude:\n- steps: 4", "twice"),
        ("notebook: n.ipynb\ngrid: {steps: [4]}\ninclude:\n- 4", "line 4: .* got 4"),
        ("notebook: n.ipynb\ngrid: {method: [2024-01-31]}", "line 2: .*datetime.date"),
        ("notebook: n.ipynb\ngrid: {rate: [.inf]}", "line 2: rate .* finite numbers"),
        ("notebook: n.ipynb\ngrid: {steps: [4]}\ntimeout: soon", "line 3: .*'soon'"),
        ("notebook: n.ipynb\ngrid: {steps: [4]}\ntimeout: -1", "line 3: .* -1"),
        ("notebook: n.ipynb\ngrid: {steps: [4]}\nresources: {GPU: 1.5}", "GPU must be whole"),
        ("notebook: n.ipynb\ngrid: {steps: [4]}\nresources: {GPU: no}", "above 0, got False"),
        ("notebook: n.ipynb\ngrid: {steps: [4]}\nprofile: fast", "values for n in .*fast"),
        ("notebook: [n.ipynb", "line 1: it is not YAML"),
        ("- 1", "must hold a mapping, got list"),
        ("? [a, b]\n: 1", "line 1: it is not YAML: found unhashable key"),
    ],
)  # fmt: skip
def test_a_file_that_asks_for_nonsense_is_refused_with_its_line(
    text: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(SweepError, match=rf"s\.yml.*{words}"):
        read_plan(sheet(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{BOMB}\ngrid: {{steps: *i}}", 2),
        (BOMB.replace("[", "{<<: [").replace("]", "]}"), 2),
        ("notebook: n.ipynb\ngrid: {steps: &a [*a]}", 2),
        ("notebook: n.ipynb\ngrid: " + "[" * 5000, 2),
        (f"notebook: n.ipynb\ngrid:\n  steps: {[*range(3000)]}\n  limit: {[*range(3000)]}", 2),
        (f"notebook: n.ipynb\ngrid: {{steps: [1]}}\nfixed: {{limit: {'9' * 5000}}}", 1),
    ],
    ids=["anchors", "merged anchors", "a list in itself", "nested", "9 million points", "digits"],
)
def test_a_file_that_unfolds_without_end_is_refused_within_seconds(
    text: str, line: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, started = sheet(tmp_path, text), time.process_time()
    assert main(["sweep", str(path), "--check"]) == 2
    assert time.process_time() - started < 10
    told = capsys.readouterr().err
    assert f"{path}, line " in told
    assert int(told.split(", line ")[1].partition(":")[0]) >= line
    assert told.count("\n") == 1
    assert len(told) < 500


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("stepz: [1]", r"line 4: n\.ipynb .* 'stepz'; did you mean 'steps'\?; it has"),
        ("steps: ['1']", r"line 4: steps must be int \(.*40\), got str '1'"),
        ("steps: [1,\n   2.5]", "line 5: steps must be int .*, got float 2.5"),
        ("steps: [yes]", "steps must be int .*, got bool True"),
        ("steps: [null]", "steps must be int .*, got null"),
        ("rate: [1e-3]", r"rate must be float .*, got str '1e-3'; YAML takes 1e-3 for text"),
        ("augment: [0]", "augment must be bool .*, got int 0"),
        ("layers: [[2, a]]", r"layers must be list .*, got list \[2, 'a'\]"),
        ("method: [1]", "method must be str .*'pro-ad'.*, got int 1"),
        ("limit: [a]", "limit must be int or null .*, got str 'a'"),
        ("out: [x]", "out is set by the sweep"),
    ],
)
def test_check_names_the_line_what_is_expected_and_what_came(
    entry: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sheet(tmp_path, f"notebook: n.ipynb\nfixed: {{root: any}}\ngrid:\n  {entry}\n")
    with pytest.raises(SweepError, match=words):
        read_plan(path)
    out = path.parent / "out"
    assert main(["sweep", str(path), "--out", str(out)]) == 2  # before a run as well
    assert "line" in capsys.readouterr().err
    assert not out.exists()


def test_check_takes_what_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        "notebook: n.ipynb\nfixed: {rate: 0.5, root: text, layers: [1, 2, 3]}\n"
        "grid: {limit: [null, 3], augment: [yes, no]}\n"
    )
    assert main(["sweep", str(sheet(tmp_path, text)), "--check", "--shard", "1/2"]) == 0
    told = capsys.readouterr().out
    assert "s.yml fits n.ipynb: 2 points over limit, augment; 0 of them are finished" in told
    assert sum(is_id(line.strip()) for line in told.splitlines()) == 2


def test_all_wrong_values_are_told_at_once(tmp_path: Path) -> None:
    text = "notebook: n.ipynb\nfixed: {rate: a}\ngrid: {steps: [b, c], limt: [1]}\n"
    with pytest.raises(SweepError) as error:
        read_plan(sheet(tmp_path, text))
    lines = str(error.value).splitlines()
    assert [re.findall(r"line \d+: (\S+)", line) for line in lines] == [
        ["rate"], ["steps"], ["steps"], ["n.ipynb"],
    ]  # fmt: skip


def test_a_notebook_without_parameters_or_none_at_all_is_refused(tmp_path: Path) -> None:
    path = sheet(tmp_path, "notebook: n.ipynb\ngrid: {steps: [1]}\n", parameters=None)
    with pytest.raises(SweepError, match=r"n\.ipynb has no cell tagged `parameters`"):
        read_plan(path)
    (path.parent / "n.ipynb").write_text("{}")
    with pytest.raises(SweepError, match=r"n\.ipynb is no notebook"):
        read_plan(path)
    write_notebook(path.parent / "n.ipynb", "steps = = 1")
    with pytest.raises(SweepError, match=r"n\.ipynb is no notebook .* SyntaxError"):
        read_plan(path)


def test_parameters_agree_with_papermills_own_reading() -> None:
    import papermill

    path = ROOT / "notebooks/02_reading_the_scores.ipynb"
    found = {name: parameter.default for name, parameter in read_parameters(path).items()}
    named = papermill.inspect_notebook(str(path)).items()
    assert found == {name: json.loads(about["default"]) for name, about in named}


def test_the_sweeps_of_the_tree_fit_their_notebooks(capsys: pytest.CaptureFixture[str]) -> None:
    for path in sorted((ROOT / "notebooks/sweeps").glob("*.yml")):
        assert main(["sweep", str(path), "--check"]) == 0
        assert "points over" in capsys.readouterr().out
