"""Runs of sweeps on a local cluster, single attempts, shards and their merging."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adlib.cli import main
from adlib.sweep.attempt import Order, attempt, take_devices
from adlib.sweep.cluster import choose_crew, connect
from adlib.sweep.folder import Slot, finished_ids, open_folder
from adlib.sweep.plan import read_plan
from adlib.sweep.point import SweepError
from adlib.sweep.session import Settings, duration, progress, run_sweep
from tests.small_notebook import write_notebook


@pytest.fixture
def sheet(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of a sweep's file beside its notebook `n.ipynb`, in a folder with a space."""

    def make(text: str, *cells: str, parameters: str = "steps = 1  # s") -> Path:
        folder = tmp_path / "a {sweep}"
        write_notebook(folder / "n.ipynb", parameters, *cells)
        path = folder / "s.yml"
        path.write_text(text)
        return path

    return make


COUNTING = """\
import json
from pathlib import Path
with open(Path(log) / "runs.txt", "a") as file:
    file.write(f"{steps}\\n")
assert steps != 3 or (Path(log) / "allowed").exists(), "three is not allowed"
record = {"mean": {"image_auroc": steps / 10}, "log": log}
Path(out, "record.json").write_text(json.dumps(record))
"""
SWEEP = "notebook: n.ipynb\nfixed: {{log: {log!r}}}\ngrid: {{steps: [1, 2, 3]}}\n"


def counting(sheet: Callable[..., Path], log: Path, pause: str = "") -> Path:
    """A sweep of three points that note each run in a file; the third fails until it is allowed."""
    parameters = "steps = 1  # s\nlog = ''  # folder\nout = None  # folder"
    return sheet(SWEEP.format(log=str(log)), COUNTING + pause, parameters=parameters)


@pytest.mark.timeout(300)
def test_a_sweep_skips_what_is_finished_and_tries_again_what_failed(
    sheet: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = counting(sheet, tmp_path), tmp_path / "an {out}"
    words = ["sweep", str(path), "--out", str(out), "--workers", "2"]
    assert main([*words, "--retries", "1"]) == 1
    told = capsys.readouterr()
    assert "1 of 3 points failed" in told.err
    assert "AssertionError: three is not allowed" in told.out
    assert sorted((tmp_path / "runs.txt").read_text().split()) == ["1", "2", "3", "3"]
    ids = {point.values["steps"]: point.id for point in read_plan(path).points}
    assert finished_ids(out) == [ids[1], ids[2]]
    failed = json.loads((out / f"failed/{ids[3]}.json").read_text())
    assert (failed["status"], failed["attempts"]) == ("failed", 2)
    assert failed["error"] == "cell [3]: AssertionError: three is not allowed"
    assert "AssertionError" in failed["traceback"][-1]
    rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    assert [(r["steps"], r["status"], r["image_auroc"]) for r in rows] == [
        ("1", "finished", "0.1"),
        ("2", "finished", "0.2"),
        ("3", "failed", ""),
    ]

    (tmp_path / "allowed").touch()
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "3 points, 2 of them finished before" in told
    assert f"1/1 {ids[3]} finished" in told
    assert "attempt 3" in told
    assert sorted((tmp_path / "runs.txt").read_text().split()) == ["1", "2", "3", "3", "3"]
    assert not list((out / "failed").iterdir())
    lines = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == sorted(ids.values())
    for line in lines:
        assert (
            line["files"]["record.json"]["mean"]["image_auroc"] == line["parameters"]["steps"] / 10
        )
        folder = out / "points" / line["id"]
        assert {p.name for p in folder.iterdir()} == {"executed.ipynb", "point.json", "record.json"}
        cells = json.loads((folder / "executed.ipynb").read_text())["cells"]
        assert f"steps = {line['parameters']['steps']}\n" in cells[1]["source"]

    assert main(words) == 0  # nothing is left to do
    assert len((tmp_path / "runs.txt").read_text().split()) == 5

    # Other notebook, same grid: what is finished stays, and that is said.
    write_notebook(path.parent / "n.ipynb", "steps = 1  # s\nlog = ''  # f", "1 / 0")
    assert main(words) == 0
    assert "3 finished points were made by another version of n.ipynb" in capsys.readouterr().out

    # A grid that grows keeps its points, though their ids would now name one value more.
    text = f"notebook: n.ipynb\ngrid: {{steps: [1, 2, 3], log: [{str(tmp_path)!r}]}}\n"
    path.write_text(text)
    assert main(words) == 0
    assert "3 points, 3 of them finished before" in capsys.readouterr().out


@pytest.mark.timeout(300)
def test_two_sweeps_at_once_run_no_point_twice(sheet: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "allowed").touch()
    path = counting(sheet, tmp_path, "import time; time.sleep(0.5)")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "adlib", "sweep", str(path), "--out", str(out)]
    both = [
        subprocess.Popen([*command, "--workers", "1"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted((tmp_path / "runs.txt").read_text().split()) == ["1", "2", "3"]
    assert all(text.count(" finished in ") == 3 for text in told)  # each tells of all
    assert len(finished_ids(out)) == 3


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_says_what_is_finished_and_leaves_nobody_behind(
    number: signal.Signals, sheet: Callable[..., Path], tmp_path: Path
) -> None:
    path = counting(sheet, tmp_path, "import time; time.sleep(100)")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "adlib", "sweep", str(path), "--out", str(out)]
    sweep = subprocess.Popen(
        [*command, "--workers", "2"],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 90
    while not (tmp_path / "runs.txt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    if number == signal.SIGINT:
        os.killpg(sweep.pid, number)  # as a terminal does: its workers get it, too
    else:
        sweep.send_signal(number)
    told = sweep.communicate(timeout=60)[1]
    assert sweep.returncode == 1
    assert "Traceback" not in told
    assert told.endswith(
        f"adlib: error: stopped; 0 of 3 points are finished in {out}. "
        "The same command goes on with the others\n"
    )
    assert (out / "table.csv").read_text().startswith("id,")
    for point in read_plan(path).points:
        with Slot(out, point.id).lock() as log:
            assert log is not None


def order_for(out: Path, notebook: Path, **changes: Any) -> Order:
    """An order for the single point of a notebook without values of its own."""
    open_folder(out)
    shutil.copy(notebook, out / "notebooks/0.ipynb")
    settings: dict[str, Any] = {"parameters": {}, "takes_out": True} | changes
    return Order(out=str(out), id="point_00000000", notebook="0", name=notebook.name, **settings)


def test_an_attempt_ends_at_its_timeout_and_the_next_goes_on_in_its_folder(tmp_path: Path) -> None:
    code = (
        "import time\nfrom pathlib import Path\n"
        "state = Path(out, 'state')\n"
        "again = state.exists()\nstate.touch()\ntime.sleep(0 if again else 60)"
    )
    notebook = write_notebook(tmp_path / "n.ipynb", "out = None  # f", code)
    order = order_for(tmp_path / "out", notebook, timeout=15.0)  # a busy machine starts slowly
    slot = Slot(tmp_path / "out", order.id)
    result = attempt(order)
    assert (result["status"], result["attempts"]) == ("failed", 1)
    assert result["error"] == "it took longer than the timeout of 15 s"
    assert (slot.work / "state").exists()
    assert not slot.finished.exists()
    deadline = time.monotonic() + 10
    while (result := attempt(order))["status"] == "busy":  # until its last process is gone
        assert time.monotonic() < deadline
    assert (result["status"], result["attempts"]) == ("finished", 2)
    assert (slot.finished / "state").exists()
    assert not slot.work.exists()
    assert not slot.failed.exists()


def test_a_record_that_is_no_json_is_a_failure(tmp_path: Path) -> None:
    code = "open(out + '/record.json', 'w').write('{\"auroc\": NaN}')"
    notebook = write_notebook(tmp_path / "n.ipynb", "out = None  # f", code)
    result = attempt(order_for(tmp_path / "out", notebook))
    assert result["status"] == "failed"
    assert "record.json cannot be read: it holds NaN, which JSON does not have" in result["error"]
    assert finished_ids(tmp_path / "out") == []


def test_the_kernel_takes_its_threads_and_not_what_dask_sets_for_its_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "MALLOC_TRIM_THRESHOLD_": "65536",
        "MPLBACKEND": "agg",
        "KEPT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    code = "import json, os\njson.dump(dict(os.environ), open(out + '/seen.json', 'w'))"
    notebook = write_notebook(tmp_path / "n.ipynb", "out = None  # f", code)
    attempt(order := order_for(tmp_path / "out", notebook, threads=3))
    seen = json.loads((Slot(tmp_path / "out", order.id).finished / "seen.json").read_text())
    assert seen["OMP_NUM_THREADS"] == "3"
    assert seen["KEPT"] == "1"
    assert "MALLOC_TRIM_THRESHOLD_" not in seen
    assert "inline" in seen["MPLBACKEND"]  # the kernel's own, for pictures in the notebook


def test_a_kernel_that_dies_and_an_attempt_nobody_wants(tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path / "n.ipynb", "out = None  # f", "import os; os._exit(7)")
    result = attempt(order_for(tmp_path / "out", notebook))
    assert result["status"] == "failed"
    assert "Kernel died" in result["error"]
    asked = iter([True, False])
    order = order_for(tmp_path / "out", notebook)
    stopped = attempt(order, wanted=lambda: next(asked))
    assert stopped == {"id": order.id, "status": "stopped"}
    with pytest.raises(FileNotFoundError, match="sees no folder /nowhere; every worker"):
        attempt(Order(out="/nowhere", id="p_00000000", parameters={}, takes_out=False,
                      notebook="0", name="n"))  # fmt: skip


def test_no_process_of_a_killed_worker_lives_on_or_shares_the_work_folder(tmp_path: Path) -> None:
    code = (
        "import time\n"
        "for i in range(1200):\n"
        "    with open(out + '/beat', 'a') as file:\n"
        "        file.write('.')\n"
        "    time.sleep(0.05)\n"
    )
    notebook = write_notebook(tmp_path / "n.ipynb", "out = None  # f", code)
    order = order_for(tmp_path / "out", notebook)
    slot = Slot(tmp_path / "out", order.id)
    script = (
        "import json, sys\nfrom adlib.sweep.attempt import Order, attempt\n"
        "attempt(Order(**json.loads(sys.argv[1])))"
    )
    told = json.dumps(vars(order))
    worker = subprocess.Popen([sys.executable, "-c", script, told])
    try:
        beat, deadline = slot.work / "beat", time.monotonic() + 60
        while not beat.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert attempt(order) == {"id": order.id, "status": "busy"}
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    deadline = time.monotonic() + 10
    while True:
        with slot.lock() as log:
            if log is not None:
                size = beat.stat().st_size
                time.sleep(0.5)
                assert beat.stat().st_size == size
                break
        assert time.monotonic() < deadline, "somebody still holds the lock"


def test_the_lock_is_held_until_the_last_who_could_write_is_gone(tmp_path: Path) -> None:
    open_folder(tmp_path / "out")
    slot = Slot(tmp_path / "out", "point_00000000")
    with slot.lock() as log:
        assert log is not None
        with slot.lock() as second:
            assert second is None
        # As a kernel that is left behind: started with the log, and by somebody who is gone.
        left = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=log
        )
    try:
        with slot.lock() as second:
            assert second is None
    finally:
        left.kill()
        left.communicate()
    with slot.lock() as third:
        assert third is not None


def finish_by_hand(out: Path, point: str, **about: Any) -> Slot:
    """Lay down a finished point, as `attempt` would."""
    open_folder(out)
    slot = Slot(out, point)
    slot.begin({"id": point})
    (slot.work / "record.json").write_text('{"mean": {"aupro": 0.5}}')
    result = {"id": point, "parameters": {"steps": 1}, "status": "finished", "seconds": 1.5}
    slot.finish({**result, "attempts": 1, "error": None, **about})
    return slot


def test_merge_joins_shards_and_says_what_is_missing(
    sheet: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sheet("notebook: n.ipynb\ngrid: {steps: [1, 2, 3]}\n")
    points = read_plan(path).points
    for i, point in enumerate(points[:2]):
        finish_by_hand(tmp_path / f"shard-{i}", point.id, parameters=point.parameters)
    Slot(tmp_path / "shard-1", points[2].id).fail(
        {"parameters": points[2].parameters, "status": "failed", "error": "E: no luck"}
    )
    out = tmp_path / "all"
    words = ["sweep", str(path), "--out", str(out)]
    shards = [str(tmp_path / "shard-0"), str(tmp_path / "shard-1")]
    assert main([*words, "--merge", *shards]) == 1
    told = capsys.readouterr()
    assert "2 points copied" in told.out
    assert "E: no luck" in told.out
    assert "1 of 3 points failed" in told.err
    rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    assert [(r["steps"], r["status"], r["aupro"]) for r in rows] == [
        ("1", "finished", "0.5"), ("2", "finished", "0.5"), ("3", "failed", ""),
    ]  # fmt: skip

    finish_by_hand(tmp_path / "shard-2", points[2].id, parameters=points[2].parameters)
    assert main([*words, "--merge", str(tmp_path / "shard-2"), *shards]) == 0
    assert "1 points copied" in capsys.readouterr().out
    lines = (out / "records.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == sorted(p.id for p in points)
    assert not list((out / "failed").iterdir())

    before = (out / "records.jsonl").read_bytes()
    finish_by_hand(tmp_path / "again", points[0].id, seconds=2.5)
    assert main([*words, "--merge", str(tmp_path / "again")]) == 2
    assert "two results of one point" in capsys.readouterr().err
    assert main([*words, "--merge", str(tmp_path / "nothing")]) == 2
    assert "nothing is no sweep's folder" in capsys.readouterr().err
    (tmp_path / "again/points" / points[0].id / "point.json").unlink()
    assert main([*words, "--merge", str(tmp_path / "again")]) == 2
    assert "has no point.json" in capsys.readouterr().err
    assert (out / "records.jsonl").read_bytes() == before


def test_a_sweep_goes_on_from_kept_records(
    sheet: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sheet("notebook: n.ipynb\ngrid: {steps: [1, 2]}\n")
    points = read_plan(path).points
    first = finish_by_hand(tmp_path / "one", points[0].id, parameters=points[0].parameters)
    assert (
        main(["sweep", str(path), "--out", str(tmp_path / "one"), "--merge", str(first.out)]) == 1
    )
    kept, out = tmp_path / "kept.jsonl", tmp_path / "two"
    (first.out / "records.jsonl").rename(kept)
    words = ["sweep", str(path), "--out", str(out), "--merge", str(kept)]
    assert main(words) == 1
    assert "1 of 2 points have not been run" in capsys.readouterr().err
    assert (out / "records.jsonl").read_bytes() == kept.read_bytes()
    assert main([*words, str(first.out)]) == 1  # the folder says the same, to the byte
    assert "0 points copied" in capsys.readouterr().out

    before = (out / "records.jsonl").read_bytes()
    for line in ("{", "[]", '{"id": "x"}', '{"id": "../x_12345678", "files": {}}'):
        kept.write_text(before.decode() + line + "\n")
        assert main(words) == 2
        assert "line 2: expected a point as in a sweep's records.jsonl" in capsys.readouterr().err
    assert (out / "records.jsonl").read_bytes() == before
    assert sorted(p.name for p in (out / "points").iterdir()) == [points[0].id]


def test_a_merge_that_finds_too_little_ends_with_1(
    sheet: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sheet("notebook: n.ipynb\ngrid: {steps: [1, 2]}\n")
    finish_by_hand(tmp_path / "one", read_plan(path).points[1].id)
    assert main(["sweep", str(path), "--out", str(tmp_path), "--merge", str(tmp_path / "one")]) == 2
    assert "holds something else than a sweep" in capsys.readouterr().err
    words = ["sweep", str(path), "--out", str(tmp_path / "all")]
    assert main([*words, "--merge", str(tmp_path / "one")]) == 1
    assert "1 of 2 points have not been run" in capsys.readouterr().err


def test_the_crew_fits_the_machine() -> None:
    def crew(resources: dict[str, float], count: int, **asked: Any) -> Any:
        settings = {"workers": None, "threads": None, "scheduler": None} | asked
        devices = [str(i) for i in range(count)]
        return choose_crew(resources, devices=lambda: devices, **settings)

    assert crew({"GPU": 2.0}, 5).workers == 2
    assert crew({"GPU": 0.5}, 3).workers == 6
    assert crew({"GPU": 0.6}, 2).workers == 2  # what is left of the two is not one share
    assert crew({"GPU": 1 / 49}, 1).workers == 49
    assert crew({}, 8).devices is None
    assert crew({}, 0, workers=3, threads=2).threads == 2
    with pytest.raises(SweepError, match=r"GPU: 1 for each point, 1 at a time, .* the 0 of this"):
        crew({"GPU": 1.0}, 0)
    with pytest.raises(SweepError, match=r"GPU: 2 for each point, 3 at a time, .* the 5 of this"):
        crew({"GPU": 2.0}, 5, workers=3)
    with pytest.raises(SweepError, match=r"GPU: 0.6 .* 3 at a time, .* room for, which is 2"):
        crew({"GPU": 0.6}, 2, workers=3)
    with pytest.raises(SweepError, match="expected at least 1 workers, got 0"):
        crew({}, 0, workers=0)
    with pytest.raises(SweepError, match="tcp://a:1 has its own"):
        crew({}, 0, workers=2, scheduler="tcp://a:1")


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0, 2.0])
def test_no_gpu_is_given_out_beyond_its_share(share: float) -> None:
    devices = ["GPU-a", "GPU-b", "GPU-c", "GPU-d"]
    taken = [take_devices(devices, share, worker) for worker in range(int(4 / share))]
    assert all(len(some) == max(1, share) for some in taken)
    for device in devices:
        assert sum(device in some for some in taken) * min(1, share) == 1


@pytest.mark.parametrize(("share", "each"), [(0.6, 1), (0.3, 3), (0.1, 10), (1 / 49, 49)])
def test_a_share_lies_on_one_gpu(share: float, each: int) -> None:
    taken = [take_devices(["GPU-a", "GPU-b"], share, worker) for worker in range(2 * each)]
    assert taken == [["GPU-a"]] * each + [["GPU-b"]] * each


def test_no_scheduler_at_the_address_is_said() -> None:
    crew = choose_crew({}, workers=None, threads=None, scheduler="tcp:/x", devices=list)
    with pytest.raises(ConnectionError, match="no Dask scheduler answers at tcp:/x"):
        connect(crew, {}).__enter__()


def test_progress_tells_count_time_and_error() -> None:
    results = [
        {"id": "a", "status": "finished", "seconds": 2.0, "attempts": 1, "error": None},
        {"id": "b", "status": "failed", "seconds": None, "attempts": 2, "error": "E: x"},
    ]
    first, second = progress(iter(results), 2)
    assert first.startswith("1/2 a finished in 2.0 s; about ")
    assert second == "2/2 b failed, attempt 2: E: x"
    assert [duration(s) for s in (5.0, 300.0, 9000.0)] == ["5 s", "5 min", "2.5 h"]


def test_a_sweep_does_not_write_into_a_folder_of_something_else(
    sheet: Callable[..., Path], tmp_path: Path
) -> None:
    path = sheet("notebook: n.ipynb\ngrid: {steps: [1]}\n")
    with pytest.raises(SweepError, match="holds something else than a sweep"):
        run_sweep(path, Settings(out=path.parent))
    with pytest.raises(SweepError, match="is a file; expected a folder"):
        run_sweep(path, Settings(out=path))
